//! Scans: the records of many runs as columns, for questions that no single run answers.

pub(crate) mod plan;
pub(crate) mod read;
pub(crate) mod request;
pub(crate) mod stream;
