//! Scans: the records of many runs as columns, for queries across runs.

pub(crate) mod plan;
pub(crate) mod read;
pub(crate) mod request;
pub(crate) mod stream;
