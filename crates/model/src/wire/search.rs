//! Body of the answer of `GET /runlog/v1/search`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
    /// Number of records that were scanned, or left out because an index says that none of them matches.
    pub records: u64,
    /// Bytes of messages.
    pub bytes: u64,
}

impl FoundRecord {
    /// When it was logged.
    pub fn time(&self) -> Timestamp {
        Timestamp::clamped(self.log_timestamp)
    }
}
