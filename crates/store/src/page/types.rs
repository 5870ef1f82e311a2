//! Requests for pages and their results.

use runlog_model::{FileFormat, PageEnd, RecordOrder, RunId, TimeRange};

/// Selects a page of a run's log, and its format.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// The run.
    pub run_id: RunId,
    /// The range of time; the page is the newest part of it.
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
    /// The token to fetch the file with, valid for an hour. A UUID.
    pub token: String,
    /// Records in the page.
    pub records: u64,
    /// Where the page ends.
    pub end: PageEnd,
    /// True when the run is final and the settle delay has passed: the log will not grow any more.
    pub settled: bool,
    /// Records of the run's log.
    pub log_records: u64,
}

/// The state of a page's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PageStatus {
    /// It is being built.
    InProgress,
    /// It is ready.
    Ready(PageFile),
}

/// A page file that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageFile {
    /// The key to open it with; letters and digits.
    pub key: String,
    /// The file name for downloads.
    pub file_name: String,
}

impl PageFile {
    /// The name, made safe for a quoted string in a header.
    pub fn quotable_name(&self) -> String {
        let is_plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        self.file_name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
    }
}
