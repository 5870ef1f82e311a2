//! Body of the answer of `GET /runlog/v1/search`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::severity::SeverityCounts;
use crate::{RunId, TaskId, Timestamp, WorkspaceId};

/// Records found by a search, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SearchAnswer {
    /// The records.
    pub items: Vec<FoundRecord>,
    /// Cursor to continue after these records, for the parameter `cursor`; absent if there are no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The amount of data searched for this response.
    pub scanned: Scanned,
    /// False if the time budget was used up before the limit was reached: there may be more results with the cursor.
    pub complete: bool,
    /// What could not be searched; absent if everything could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Unreadable>,
}

/// Records that could not be searched because they are damaged or missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unreadable {
    /// Number of records.
    pub records: u64,
    /// Their runs, at most 100.
    pub runs: Vec<RunId>,
    /// The keys of the damaged or missing objects, at most 100.
    #[serde(default)]
    pub objects: Vec<String>,
}

/// A record found by a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FoundRecord {
    /// Its run.
    pub run_id: RunId,
    /// The task of the run.
    pub task_id: TaskId,
    /// The name of the task.
    pub task_name: String,
    /// The workspace of the run.
    pub workspace_id: WorkspaceId,
    /// Its position in its log, starting at 0, if the search requested `positions`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// When it was logged. Unit: epoch milliseconds.
    #[schema(value_type = i64, example = 1614696623123_i64)]
    pub log_timestamp: i64,
    /// `TRACE` to `FATAL`, or any other value that the engine sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// The text; truncated and ending with `…` if it is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_message: Option<String>,
}

/// The amount of data searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Scanned {
    /// Number of records that were scanned, or skipped because of an index.
    pub records: u64,
    /// Bytes of messages.
    pub bytes: u64,
}

/// How many records match a search, by the values of their fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SearchFacetsAnswer {
    /// Number of matching records.
    pub records: u64,
    /// False if the time budget was used up, or some records are damaged: all numbers are lower bounds then.
    pub complete: bool,
    /// By task.
    pub tasks: Facet,
    /// By workspace.
    pub workspaces: Facet,
    /// By severity, the most severe first.
    pub severities: Facet,
    /// By component (`bundleName`); an empty value stands for records without one.
    pub components: Facet,
    /// By the status of their run, such as `execution_failed`.
    #[serde(default)]
    pub statuses: Facet,
    /// By day, oldest first; the value is when it begins.
    pub days: Facet,
    /// Over time: of the requested range if it has a start, otherwise from the first to the last matching record.
    #[serde(default)]
    pub histogram: SearchHistogram,
    /// The amount of data searched for this response.
    pub scanned: Scanned,
    /// What could not be counted; absent if everything could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Unreadable>,
}

/// How many records match a search over time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SearchHistogram {
    /// Start of the first bucket; absent without buckets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// Length of a bucket. Unit: milliseconds.
    pub bucket_ms: u64,
    /// Matching records of each bucket by severity, oldest first: OTHER, TRACE, DEBUG, INFO, WARN, ERROR, FATAL. At
    /// most 120 buckets.
    #[schema(value_type = Vec<Vec<u64>>)]
    pub buckets: Vec<SeverityCounts>,
}

/// The values of a field, those with the most records first unless stated otherwise; at most 20.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Facet {
    /// The values.
    pub values: Vec<FacetValue>,
    /// Number of matching records whose value is not listed.
    pub others: u64,
}

/// A value of a field, and how many records have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FacetValue {
    /// The value, for the parameter of the search.
    pub value: String,
    /// Its name, for a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Number of matching records.
    pub count: u64,
}

impl FoundRecord {
    /// When it was logged.
    pub fn time(&self) -> Timestamp {
        Timestamp::clamped(self.log_timestamp)
    }
}
