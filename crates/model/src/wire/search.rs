//! Body of the answer of `GET /runlog/v1/search`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{RunId, TaskId, Timestamp, WorkspaceId};

/// Records that were found, the newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SearchAnswer {
    /// The records.
    pub items: Vec<FoundRecord>,
    /// Goes on after these, given as the parameter `cursor`; absent when there is nothing more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// What was looked through for this answer.
    pub scanned: Scanned,
    /// False when its time was up before it had found as many as were asked for: there may be more with the cursor.
    pub complete: bool,
    /// What could not be looked through; absent when everything could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Unreadable>,
}

/// Records that a search could not look at, because what holds them is damaged or gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unreadable {
    /// How many they are.
    pub records: u64,
    /// Their runs, at most 100 of them.
    pub runs: Vec<RunId>,
}

/// A record that was found.
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
    /// `TRACE` to `FATAL`, or whatever the engine wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// The text; a long one is cut, and ends with `…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_message: Option<String>,
}

/// What a search looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Scanned {
    /// Records that were looked at.
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
