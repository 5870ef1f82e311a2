//! What is to be fetched, and what came of it.

use std::path::PathBuf;
use std::time::Duration;

use runlog_client::Execution;
use runlog_client::reconcile::LogOrder;
use runlog_model::{RunId, TimeRange, Timestamp};
use serde::Serialize;

/// One run's log, as it is wanted.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The run.
    pub run_id: RunId,
    /// The range of time; all of it by default.
    pub range: TimeRange,
    /// The form of the result.
    pub form: Form,
    /// The order of its records.
    pub order: LogOrder,
    /// Where it goes.
    pub output: Output,
    /// What is known of the run. When it is final, the service is not asked for it again.
    pub known: Option<Execution>,
    /// Waits until the run is final and so much time has passed since its end. None takes what there is now.
    pub settle: Option<Duration>,
    /// How much of the time before each page is asked for again with it. Default: none.
    pub overlap: Duration,
    /// Gives a result even when the service counts other records than came.
    pub allow_incomplete: bool,
    /// Pages that are built and downloaded at once.
    pub pages_in_flight: usize,
    /// Memory for the records of one page on their way to disk. Unit: bytes.
    pub page_memory_bytes: usize,
}

/// The form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON object a line.
    Ndjson,
    /// One JSON array, one object a line.
    Json,
    /// Lines for people.
    Text,
}

/// Where a result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A file. It is put in place whole; until then, a folder beside it holds the pages, to continue from.
    File(PathBuf),
    /// Standard output; what is on its way stands in a temporary folder.
    StandardOutput,
}

/// What a fetch came to.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FetchReport {
    /// The run.
    pub run_id: RunId,
    /// How the run ended, in the service's word.
    pub status: String,
    /// Records in the result.
    pub records: u64,
    /// Pages that the service made of it.
    pub pages: u32,
    /// Records of each of them, newest page first.
    pub page_records: Vec<u64>,
    /// Pages that stood on disk from an interrupted fetch.
    pub pages_kept: u32,
    /// Records that pages had in common, and that stand in the result once.
    pub repeated: u64,
    /// Records without a time, which stand beside their neighbours.
    pub records_without_time: u64,
    /// Records that were not JSON, and are as near to what came as can be.
    pub records_mended: u64,
    /// Bytes downloaded, unpacked.
    pub bytes: u64,
    /// The time of the earliest record.
    pub first: Option<Timestamp>,
    /// The time of the latest.
    pub last: Option<Timestamp>,
    /// Whether the log is whole.
    pub completeness: Completeness,
}

/// Whether a result is the whole log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum Completeness {
    /// The service counts as many records.
    Verified,
    /// The service counts as many records, of a run that may still write more.
    SoFar,
    /// The service counts other records.
    Different {
        /// What the service counts.
        expected: u64,
    },
    /// The service does not count.
    Unknown,
}

impl FetchRequest {
    /// The defaults: the whole log as NDJSON, by time, once the run is final and 30 s have passed.
    pub fn new(run_id: RunId, output: Output) -> Self {
        Self {
            run_id,
            range: TimeRange::ALL,
            form: Form::Ndjson,
            order: LogOrder::Time,
            output,
            known: None,
            settle: Some(Duration::from_secs(30)),
            overlap: Duration::ZERO,
            allow_incomplete: false,
            pages_in_flight: 3,
            page_memory_bytes: 6 << 20,
        }
    }
}
