//! Requests for pages and their results.

use runlog_model::{FileFormat, PageEnd, RecordOrder, RunId, TimeRange};

/// Selects a page of a run's log, and its format.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// The run.
    pub run_id: RunId,
    /// The time range, of which the page contains the newest part.
    pub range: TimeRange,
    /// The format of the file.
    pub format: FileFormat,
    /// The order of the records in the file.
    pub order: RecordOrder,
    /// The file name for downloads.
    pub file_name: String,
}

/// The answer to a [`PageRequest`].
#[derive(Clone)]
pub struct PageTicket {
    /// The token with which to fetch the file, valid for an hour. A UUID.
    pub token: String,
    /// Number of records in the page.
    pub records: u64,
    /// Where the page ends.
    pub end: PageEnd,
    /// True if the run is final and the settle delay has passed: the log is not expected to grow any more.
    pub settled: bool,
    /// Number of records of the log of the run.
    pub log_records: u64,
}

/// The state of the file of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageStatus {
    /// The file is being built.
    InProgress,
    /// The file is ready.
    Ready(PageFile),
}

/// A page file that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageFile {
    /// The key with which to open the file; consists of letters and digits.
    pub key: String,
    /// The file name for downloads.
    pub file_name: String,
}

impl PageFile {
    /// Returns the file name in a form that is safe in a quoted string of a header.
    pub fn quotable_name(&self) -> String {
        let is_plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        self.file_name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
    }
}
