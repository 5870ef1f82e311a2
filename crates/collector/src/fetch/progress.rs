//! What a fetch reports on its way.

/// Is told what a fetch is doing.
pub trait Progress: Send + Sync {
    /// Something happened.
    fn report(&self, event: FetchEvent<'_>);
}

/// What can happen.
#[derive(Debug, Clone, Copy)]
pub enum FetchEvent<'a> {
    /// The run is not final; its status in the service's word.
    RunGoesOn(&'a str),
    /// The run is final, and its log may still grow for so many milliseconds.
    Settling(u64),
    /// A page was asked for; pages are counted from 1.
    PageRequested(u32),
    /// The service is building a page.
    PageBuilding(u32),
    /// So many more bytes of pages came.
    BytesReceived(u64),
    /// A page is on disk, with so many records.
    PageDone(u32, u64),
    /// Token or link of a page had expired, and another was asked for.
    PageAskedAgain(u32),
    /// Everything is on disk and is put together.
    Merging,
    /// The service counts other records than came, and the pages' ends are asked for again.
    AskingAgainForEnds {
        /// What the service counts.
        expected: u64,
        /// What came.
        got: u64,
    },
}

/// Takes no notice.
#[derive(Debug, Clone, Copy)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn report(&self, _: FetchEvent<'_>) {}
}
