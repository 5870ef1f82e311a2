//! Progress of the collection.

use std::sync::Arc;

use runlog_model::RunId;

use super::discover::Discovered;
use crate::fetch::progress::{FetchEvent, NoProgress, Progress};

/// Receives the progress of a collector.
pub trait CollectProgress: Send + Sync {
    /// Reports an event.
    fn report(&self, event: CollectEvent<'_>);
}

/// An event of the collection.
#[derive(Debug)]
pub enum CollectEvent<'a> {
    /// A round of listing has ended.
    Listed(Discovered),
    /// The log of a run is being fetched.
    Fetching(RunId),
    /// This number of further records was received.
    RecordsReceived(u64),
    /// The whole log of a run is in the archive, with this number of records.
    Landed(RunId, u64),
    /// This number of records of a log violated the contract of the service, and were stored as close to their original
    /// form as possible.
    Mended(RunId, u64),
    /// A run has no log.
    NoLog(RunId),
    /// A run could not be landed, and will be retried.
    SetBack(RunId, &'a str),
}

impl CollectProgress for NoProgress {
    fn report(&self, _: CollectEvent<'_>) {}
}

/// Reports the number of records that a fetch has received.
pub(super) struct ProgressAdapter(pub(super) Arc<dyn CollectProgress>);

impl Progress for ProgressAdapter {
    fn report(&self, event: FetchEvent<'_>) {
        if let FetchEvent::PageDone(_, records) = event {
            self.0.report(CollectEvent::RecordsReceived(records));
        }
    }
}
