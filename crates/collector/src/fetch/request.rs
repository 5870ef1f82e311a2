//! The request and the result of a fetch.

use std::path::PathBuf;
use std::time::Duration;

use runlog_client::Execution;
use runlog_client::reconcile::LogOrder;
use runlog_model::{RunId, TimeRange, Timestamp};
use serde::Serialize;

/// A request for the log of one run.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The run.
    pub run_id: RunId,
    /// The range of time; the whole log by default.
    pub range: TimeRange,
    /// The format of the result.
    pub form: OutputFormat,
    /// The order of its records.
    pub order: LogOrder,
    /// The destination.
    pub output: Output,
    /// The run, if it is known. If it has ended, it is not requested from the service again.
    pub known: Option<Execution>,
    /// Waits until the run has ended and this time has passed since. None: fetches the records that exist now.
    pub settle: Option<Duration>,
    /// Overlap with the time before each page, which is requested again. Default: none.
    pub overlap: Duration,
    /// Produces a result even if the service reports a different number of records.
    pub allow_incomplete: bool,
    /// Number of pages that are built and downloaded at a time.
    pub pages_in_flight: usize,
    /// Memory for the records of one page while it is downloaded. Unit: bytes.
    pub page_memory_bytes: usize,
}

/// The format of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// One JSON object per line.
    Ndjson,
    /// One JSON array with one object per line.
    Json,
    /// Readable text.
    Text,
}

/// The destination of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A file. It appears once it is complete; until then, the pages are in a folder beside it, to resume from.
    File(PathBuf),
    /// Standard output; the pages are in a temporary folder.
    StandardOutput,
}

/// The result of a fetch.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchReport {
    /// The run.
    pub run_id: RunId,
    /// The final status, as reported by the service.
    pub status: String,
    /// Number of records in the result.
    pub records: u64,
    /// Number of pages.
    pub pages: u32,
    /// Number of records per page, newest page first.
    pub page_records: Vec<u64>,
    /// Number of pages that were on disk from an interrupted attempt.
    pub pages_kept: u32,
    /// Number of records that occurred in several pages; the result contains them once.
    pub repeated: u64,
    /// Number of records without a time, which keep their place beside their neighbours.
    pub records_without_time: u64,
    /// Number of records that were not valid JSON, and are as close to the original as possible.
    pub records_mended: u64,
    /// Number of bytes downloaded, uncompressed.
    pub bytes: u64,
    /// The time of the earliest record.
    pub first: Option<Timestamp>,
    /// The time of the latest record.
    pub last: Option<Timestamp>,
    /// Whether the log is complete.
    pub completeness: Completeness,
}

/// The completeness of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum Completeness {
    /// The service reports the same number of records.
    Verified,
    /// The service reports the same number of records, but the run may still log more.
    SoFar {
        /// The time up to which the log was fetched, as whole seconds; none if there was no limit.
        before: Option<Timestamp>,
    },
    /// The service reports a different number of records.
    Different {
        /// Number of records according to the service.
        expected: u64,
    },
    /// The service does not report the number of records.
    Unknown,
}

/// How long after its end a run may still receive records, unless a request waits for another time.
pub(super) const SETTLE: Duration = Duration::from_secs(30);

impl FetchRequest {
    /// The defaults: the whole log as NDJSON, by time, 30 s after the end of the run.
    pub fn new(run_id: RunId, output: Output) -> Self {
        Self {
            run_id,
            range: TimeRange::ALL,
            form: OutputFormat::Ndjson,
            order: LogOrder::Time,
            output,
            known: None,
            settle: Some(SETTLE),
            overlap: Duration::ZERO,
            allow_incomplete: false,
            pages_in_flight: 3,
            page_memory_bytes: 6 << 20,
        }
    }
}
