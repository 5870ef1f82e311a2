//! Pages out: asked for, built and read.

pub(crate) mod build;
pub(crate) mod file;
pub(crate) mod request;
