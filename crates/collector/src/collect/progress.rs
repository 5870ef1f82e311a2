//! What collecting reports on its way.

use std::sync::Arc;

use runlog_model::RunId;

use super::discover::Discovered;
use crate::fetch::progress::{FetchEvent, NoProgress, Progress};

/// Is told what a collector is doing.
pub trait CollectProgress: Send + Sync {
    /// Something happened.
    fn report(&self, event: CollectEvent<'_>);
}

/// What can happen.
#[derive(Debug)]
pub enum CollectEvent<'a> {
    /// A round of listing has come to its end.
    Listed(Discovered),
    /// A run's log is being fetched.
    Fetching(RunId),
    /// So many more records of logs were received.
    RecordsReceived(u64),
    /// A run's whole log is in the archive, with so many records.
    Landed(RunId, u64),
    /// So many records of a run's log were not what the service should send, and were stored as nearly as they came as can
    /// be.
    Mended(RunId, u64),
    /// A run has no log.
    NoLog(RunId),
    /// A run could not be landed, and will be tried again.
    SetBack(RunId, &'a str),
}

impl CollectProgress for NoProgress {
    fn report(&self, _: CollectEvent<'_>) {}
}

/// Reports of a fetch how many records were received.
pub(super) struct ProgressAdapter(pub(super) Arc<dyn CollectProgress>);

impl Progress for ProgressAdapter {
    fn report(&self, event: FetchEvent<'_>) {
        if let FetchEvent::PageDone(_, records) = event {
            self.0.report(CollectEvent::RecordsReceived(records));
        }
    }
}
