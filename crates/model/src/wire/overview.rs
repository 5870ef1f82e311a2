//! Bodies of what the web UI shows at a glance: runs by time, tasks with their last runs, one run with its log.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::severity::SeverityCounts;
use crate::{
    EnvironmentId, ExecutionStatus, ExecutionType, LogAbsence, Run, RunId, RunStatus, Severity, TaskId, Timestamp,
    UserType, WorkspaceId,
};

/// `GET /runlog/v1/overview`: runs by time and outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverviewBody {
    /// Start of the first bucket.
    pub start: Timestamp,
    /// End of the last bucket.
    pub end: Timestamp,
    /// Length of a bucket. Unit: milliseconds.
    pub bucket_ms: u64,
    /// Runs of each bucket, oldest first.
    pub buckets: Vec<Outcomes>,
    /// All buckets together.
    pub total: Outcomes,
    /// Number of failed runs whose problem is not known yet, because their logs are still being summarised.
    #[serde(default)]
    pub unexplained: u64,
}

/// Number of runs by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Outcomes {
    /// Successful.
    pub successful: u64,
    /// Successful, with rejected rows.
    pub rejected: u64,
    /// Failed, could not be deployed, or ended by a timeout or a shutdown.
    pub failed: u64,
    /// Terminated by a user.
    pub terminated: u64,
    /// Not ended yet.
    pub going: u64,
}

impl Outcomes {
    /// Counts runs of one status.
    pub fn add(&mut self, status: RunStatus, runs: u64) {
        *match status {
            RunStatus::Successful => &mut self.successful,
            RunStatus::Rejected => &mut self.rejected,
            RunStatus::Failed
            | RunStatus::DeployFailed
            | RunStatus::TerminatedTimeout
            | RunStatus::TerminatedShutdown => &mut self.failed,
            RunStatus::Terminated => &mut self.terminated,
            RunStatus::Dispatching | RunStatus::Executing => &mut self.going,
        } += runs;
    }
}

/// A workspace with statistics of its runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceLineBody {
    /// ID.
    pub workspace_id: WorkspaceId,
    /// Name.
    pub name: String,
    /// Description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// ID of the environment.
    pub environment_id: EnvironmentId,
    /// Name of the environment.
    pub environment_name: String,
    /// Number of tasks.
    pub tasks: u64,
    /// Number of runs in the requested period.
    pub runs: u64,
    /// Number of failed runs in the requested period.
    pub failed: u64,
    /// Number of runs of the requested period that are running.
    pub going: u64,
    /// When its latest run was triggered, however long ago; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<Timestamp>,
}

/// A task with statistics of its runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskLineBody {
    /// ID.
    pub task_id: TaskId,
    /// Name.
    pub name: String,
    /// ID of the workspace.
    pub workspace_id: WorkspaceId,
    /// Name of the workspace.
    pub workspace_name: String,
    /// Name of the environment.
    pub environment_name: String,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Number of runs in the requested period.
    pub runs: u64,
    /// Number of failed runs in the requested period.
    pub failed: u64,
    /// Number of running runs.
    pub going: u64,
    /// The latest runs, newest first, however long ago they were, without their headlines.
    pub recent: Vec<RunLineBody>,
    /// The last failed run in the requested period; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<RunLineBody>,
}

/// How long runs took that have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DurationsBody {
    /// Number of runs.
    pub runs: u64,
    /// The median, in milliseconds; absent without a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median_ms: Option<u64>,
    /// The 95th percentile, in milliseconds; absent without a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<u64>,
    /// The longest duration, in milliseconds; absent without a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_ms: Option<u64>,
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunLineBody {
    /// ID.
    pub run_id: RunId,
    /// Status.
    pub status: RunStatus,
    /// When it was triggered.
    pub trigger_timestamp: Timestamp,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_timestamp: Option<Timestamp>,
    /// Number of records in its log.
    pub records: u64,
    /// Number of warnings.
    pub warnings: u64,
    /// Number of records with severity ERROR or FATAL.
    pub errors: u64,
    /// Error message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// The line of its log that states why it failed; absent if it did not fail, or the cause is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headline: Option<String>,
}

impl From<&Run> for RunLineBody {
    fn from(run: &Run) -> Self {
        Self {
            run_id: run.id,
            status: run.status.coarse(),
            trigger_timestamp: run.triggered_at,
            start_timestamp: run.started_at,
            finish_timestamp: run.finished_at,
            records: run.records,
            warnings: run.severities.of(Severity::Warn),
            errors: run.severities.of(Severity::Error) + run.severities.of(Severity::Fatal),
            error_message: run.error_message.clone(),
            headline: None,
        }
    }
}

/// A run in a list of runs of several tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedRunBody {
    /// The run.
    #[serde(flatten)]
    pub run: RunLineBody,
    /// The task.
    pub task_id: TaskId,
    /// Name of the task.
    pub task_name: String,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// Name of the workspace.
    pub workspace_name: String,
    /// Name of the environment.
    pub environment_name: String,
    /// The user or service account that started it.
    pub user_id: String,
}

/// `GET /runlog/v1/runs/{id}/summary`: a run, its task, workspace and environment, and the state of its log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunWithLog {
    /// ID.
    pub run_id: RunId,
    /// The task.
    pub task_id: TaskId,
    /// Name of the task.
    pub task_name: String,
    /// Version of the task.
    pub task_version: String,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// Name of the workspace.
    pub workspace_name: String,
    /// Name of the environment.
    pub environment_name: String,
    /// Status.
    pub status: RunStatus,
    /// Detailed status.
    pub execution_status: ExecutionStatus,
    /// What started it.
    pub execution_type: ExecutionType,
    /// When it was triggered.
    pub trigger_timestamp: Timestamp,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_timestamp: Option<Timestamp>,
    /// The user or service account that started it.
    pub user_id: String,
    /// Whether that is a person or a service.
    pub user_type: UserType,
    /// Error message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Kind of failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// Why it did not start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub misfired_execution_reason: Option<String>,
    /// The log.
    pub log: LogBody,
    /// How many component metrics it has.
    #[serde(default)]
    pub component_metrics: u64,
}

/// The state of the log of a run in the archive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogBody {
    /// Status.
    pub state: LogProgress,
    /// Number of records.
    pub records: u64,
    /// Number of records by severity: OTHER, TRACE, DEBUG, INFO, WARN, ERROR, FATAL.
    #[schema(value_type = Vec<u64>)]
    pub severities: SeverityCounts,
    /// Size of the log in the archive, in bytes.
    pub stored_bytes: u64,
    /// True if the run is under legal hold.
    pub is_held: bool,
    /// Time of the first record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_timestamp: Option<Timestamp>,
    /// Time of the last record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_timestamp: Option<Timestamp>,
    /// Why the log is incomplete, if a collector could not fetch all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setback: Option<LogSetback>,
    /// Why the run has no log, if it has ended without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absence: Option<LogAbsenceBody>,
    /// The upstream from which the log, or the rest of it, is still to be collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaited_from: Option<String>,
}

/// The reason why a run has no log, if it can be determined from the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogAbsenceBody {
    /// The reason.
    pub reason: LogAbsence,
    /// The reason as a sentence.
    pub text: String,
}

impl From<LogAbsence> for LogAbsenceBody {
    fn from(reason: LogAbsence) -> Self {
        Self { reason, text: reason.text().to_owned() }
    }
}

/// Why a log could not be collected completely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogSetback {
    /// The upstream.
    pub upstream: String,
    /// What happened.
    pub problem: String,
    /// Number of records that the upstream reports, if it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
    /// Earliest time of the next attempt; absent if there is none, because the upstream no longer has the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again_at: Option<Timestamp>,
}

/// The progress of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LogProgress {
    /// The run is active and has not logged anything yet.
    Waiting,
    /// The run and its log are active, or it is being collected.
    Going,
    /// It could not be collected completely, and will be retried.
    Incomplete,
    /// The run has ended; its log is still to be collected, or records may come for a moment.
    Settling,
    /// Nothing more will come.
    Settled,
    /// The run has ended without a record.
    Empty,
    /// It was deleted.
    Deleted,
}
