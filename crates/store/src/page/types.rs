//! What a page is asked for with, and what its caller gets.

use runlog_model::{FileFormat, PageEnd, RecordOrder, RunId, TimeRange};

/// Which page of which run's log is wanted, and in what form.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// The run.
    pub run_id: RunId,
    /// The range of time; the page is the newest part of it.
    pub range: TimeRange,
    /// The form of the file.
    pub format: FileFormat,
    /// The order of the records in the file.
    pub order: RecordOrder,
    /// The name under which it is downloaded.
    pub file_name: String,
}

/// What the caller gets for a [`PageRequest`].
#[derive(Clone)]
pub struct PageTicket {
    /// Asks for the file, for an hour. A UUID.
    pub token: String,
    /// Records in the page.
    pub records: u64,
    /// Where the page ends.
    pub end: PageEnd,
    /// True when the run is final and the settle delay has passed: the log does not grow any more.
    pub settled: bool,
    /// Records of the run's log, in the page or not.
    pub log_records: u64,
}

/// How far a page's file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageStatus {
    /// It is being built.
    InProgress,
    /// It is there.
    Ready(PageFile),
}

/// A page file that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageFile {
    /// The key to open it by; letters and digits.
    pub key: String,
    /// The name under which it is downloaded.
    pub file_name: String,
}

impl PageFile {
    /// The name as it can stand between quotes in a header.
    pub fn quotable_name(&self) -> String {
        let is_plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        self.file_name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
    }
}
