//! What becomes of the pages of a log while they are fetched.

use runlog_client::reconcile::Merged;

use super::checkpoint::Checkpoint;
use super::error::{FetchError, Result};

/// What happens to the pages of a log on their way to the disk.
pub(crate) enum PagesEvent<'a> {
    /// More is known of the pages than before, or is on disk.
    Changed(&'a Checkpoint),
    /// All pages are asked for: while they come, what joining them takes can be prepared.
    AllRequested,
    /// All pages that came so far are forgotten, and others come in their place.
    StartedOver,
}

/// Takes the pages of a log, and joins them to one.
pub(crate) trait PageConsumer: Send {
    /// Why it could not.
    type Error: From<FetchError> + Send;

    /// Hears what happens to the pages, in order. Nothing has to be done until they are to be joined.
    fn on_event(&mut self, _: PagesEvent<'_>) {}

    /// Joins the pages, which are all on disk, to the log. Called again when pages came after that.
    fn join(&mut self, pages: &Checkpoint) -> impl Future<Output = Result<Merged, Self::Error>> + Send;
}
