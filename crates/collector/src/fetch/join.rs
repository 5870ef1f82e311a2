//! The interface between fetching the pages of a log and what is made of them.

use runlog_client::reconcile::Merged;

use super::checkpoint::Checkpoint;
use super::error::{FetchError, Result};

/// An event while pages are fetched.
pub(crate) enum PagesEvent<'a> {
    /// A page was requested or written to disk.
    Changed(&'a Checkpoint),
    /// All pages were requested: while the rest of them arrive, the consumer can prepare to join them.
    AllRequested,
    /// All pages were discarded, and others will replace them.
    StartedOver,
}

/// Receives the pages of a log, and joins them into one log.
pub(crate) trait PageConsumer: Send {
    /// Why joining failed.
    type Error: From<FetchError> + Send;

    /// Receives the events in order. A consumer may ignore them and do all its work in [`join`](Self::join).
    fn on_event(&mut self, _: PagesEvent<'_>) {}

    /// Joins the pages, which are all on disk. The result decides whether further pages are requested; then it is
    /// called again.
    fn join(&mut self, pages: &Checkpoint) -> impl Future<Output = Result<Merged, Self::Error>> + Send;
}
