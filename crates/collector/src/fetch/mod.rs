//! Fetches one run completely: waits until it has settled, requests its pages, writes them to disk, and resumes after
//! an interruption.
//!
//! ```text
//! settle ▸ divide ▸ pages (each recorded in the checkpoint) ▸ merge ▸ count ▸ render
//! ```

pub(crate) mod checkpoint;
pub(crate) mod count;
pub(crate) mod divide;
pub(crate) mod error;
#[cfg(test)]
pub(crate) mod fixtures;
pub(crate) mod folder_lock;
pub(crate) mod join;
pub(crate) mod journal;
pub(crate) mod pages;
pub(crate) mod progress;
pub(crate) mod render;
pub(crate) mod request;
pub(crate) mod run;
pub(crate) mod settle;
pub(crate) mod spare_folders;

pub use error::{FetchError, Result};
pub use progress::{FetchEvent, NoProgress, Progress};
pub use request::{Completeness, FetchReport, FetchRequest, Output, OutputFormat};
pub use run::fetch_run;
