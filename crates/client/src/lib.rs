//! Speaks the run-log API of Talend Cloud, or of another Runlog, and hides what is hard about it: paging, waiting,
//! expiry, pace and retry.

pub mod entries;
mod error;
pub mod reconcile;

pub use error::{Error, ErrorKind, Result};
