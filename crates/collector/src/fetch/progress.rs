//! Progress of a fetch.

/// Receives the progress of a fetch.
pub trait Progress: Send + Sync {
    /// Reports an event.
    fn report(&self, event: FetchEvent<'_>);
}

/// An event of a fetch.
#[derive(Debug, Clone, Copy)]
pub enum FetchEvent<'a> {
    /// The run has not ended; its status as reported by the service.
    RunGoesOn(&'a str),
    /// The run has ended, and its log may still grow for this number of milliseconds.
    Settling(u64),
    /// A page was requested; pages are numbered from 1.
    PageRequested(u32),
    /// The service is building a page.
    PageBuilding(u32),
    /// This number of further bytes of pages was received.
    BytesReceived(u64),
    /// A page is on disk, with this number of records.
    PageDone(u32, u64),
    /// The token or link of a page had expired and was requested again.
    PageRequestedAgain(u32),
    /// All pages are on disk and are being merged.
    Merging,
    /// The service reports a different number of records than were received, and the ends of the pages are requested
    /// again.
    AskingAgainForEnds {
        /// Number of records according to the service.
        expected: u64,
        /// Number of records received.
        got: u64,
    },
}

/// Ignores all events.
#[derive(Debug, Clone, Copy)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn report(&self, _: FetchEvent<'_>) {}
}
