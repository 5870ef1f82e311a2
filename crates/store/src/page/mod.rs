//! Pages out: asked for, built and read.

pub(crate) mod build;
pub(crate) mod builders;
pub(crate) mod compressor;
pub(crate) mod file;
mod format;
pub(crate) mod request;
pub(crate) mod types;
