//! Pages of logs: requests, builds and reads.

pub(crate) mod build;
pub(crate) mod builders;
pub(crate) mod compressor;
pub(crate) mod file;
mod format;
pub(crate) mod request;
pub(crate) mod types;
