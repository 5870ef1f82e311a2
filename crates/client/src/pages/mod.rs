//! The pages of a log, from the first request for one to the whole log on disk.
//!
//! ```text
//! walk ▸ fetch (status ▸ link ▸ download) ▸ entries ▸ reconcile
//! ```

mod download;
mod encoding;
pub mod entries;
mod fetch;
pub mod reconcile;
mod walk;

pub use download::DownloadSink;
pub use fetch::PageEvent;
pub use walk::{PageWalk, RequestedPage, end_after_oldest};
