//! Bodies of `/runlog/v1/retention` and `/runlog/v1/holds`: what is deleted when, and what is not.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{EnvironmentId, RunId, TaskId, Timestamp, WorkspaceId};

/// The longest retention. Unit: days.
pub const RETENTION_DAYS_MAX: u64 = 36_500;

/// How long, or up to what size, the logs of a workspace are kept. An absent field means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetentionSettings {
    /// Days after the end of a run, or after its last record if it has not ended; from 1 to 36,500.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 36_500)]
    pub days: Option<u64>,
    /// Bytes of all logs of the workspace in the archive; the oldest are deleted first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// The retention of a workspace, and the logs that it applies to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceRetentionBody {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// Its name.
    pub workspace_name: String,
    /// Its environment.
    pub environment_id: EnvironmentId,
    /// The name of the environment.
    pub environment_name: String,
    /// After how many days logs are deleted; absent without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u64>,
    /// Beyond how many bytes logs are deleted; absent without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
    /// Number of runs with a log.
    pub logs: u64,
    /// Number of their records.
    pub records: u64,
    /// Their bytes in the archive.
    pub bytes: u64,
    /// Number of runs under legal hold.
    pub held_runs: u64,
    /// When the run with the oldest log ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
}

/// What a retention would delete now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPreviewBody {
    /// The current retention of the workspace.
    pub current: RetentionSettings,
    /// Number of runs whose logs would be deleted.
    pub runs: u64,
    /// Number of their records.
    pub records: u64,
    /// Their bytes in the archive.
    pub bytes: u64,
    /// When the first of these runs ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// When the last of these runs ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Timestamp>,
    /// Number of runs that ended long enough ago, but are under legal hold.
    pub held_runs: u64,
}

/// A legal hold to set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHold {
    /// Why the log must not be deleted: up to 500 characters, without control characters.
    #[schema(max_length = 500)]
    pub reason: String,
}

/// A run under legal hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldRunBody {
    /// The run.
    pub run_id: RunId,
    /// Its task.
    pub task_id: TaskId,
    /// The name of the task.
    pub task_name: String,
    /// Its workspace.
    pub workspace_id: WorkspaceId,
    /// The name of the workspace.
    pub workspace_name: String,
    /// When the run ended; absent while it is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_timestamp: Option<Timestamp>,
    /// Number of records of its log.
    pub records: u64,
    /// Their bytes in the archive.
    pub bytes: u64,
    /// Why it is held; absent if no reason was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Name of the caller who set the hold; absent for holds that earlier versions have set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
    /// When it was set; absent for holds that earlier versions have set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_at: Option<Timestamp>,
}
