//! Bodies of what the web UI shows at a glance: runs by time, tasks with their last runs, one run with its log.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::severity::SeverityCounts;
use crate::{
    ExecutionStatus, ExecutionType, Run, RunId, RunStatus, Severity, TaskId, Timestamp, UserType, WorkspaceId,
};

/// `GET /runlog/v1/overview`: runs by time and outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverviewBody {
    /// Where the first bucket begins.
    pub start: Timestamp,
    /// Where the last one ends.
    pub end: Timestamp,
    /// How long a bucket is. Unit: milliseconds.
    pub bucket_ms: u64,
    /// Runs of each bucket, oldest first.
    pub buckets: Vec<Outcomes>,
    /// Runs of all of them.
    pub total: Outcomes,
}

/// Runs by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Outcomes {
    /// Done.
    pub successful: u64,
    /// Done, with rejected rows.
    pub rejected: u64,
    /// Failed, or could not be deployed.
    pub failed: u64,
    /// Ended by a person, a timeout or a shutdown.
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
            RunStatus::Failed | RunStatus::DeployFailed => &mut self.failed,
            RunStatus::Terminated | RunStatus::TerminatedTimeout | RunStatus::TerminatedShutdown => {
                &mut self.terminated
            }
            RunStatus::Dispatching | RunStatus::Executing => &mut self.going,
        } += runs;
    }
}

/// A task with what its runs say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskLineBody {
    /// Its id.
    pub task_id: TaskId,
    /// Its name.
    pub name: String,
    /// Its workspace.
    pub workspace_id: WorkspaceId,
    /// The name of its workspace.
    pub workspace_name: String,
    /// The name of its environment.
    pub environment_name: String,
    /// Runs in the time that was asked for.
    pub runs: u64,
    /// Those that did not end well.
    pub failed: u64,
    /// Those that go on.
    pub going: u64,
    /// Its last runs, newest first.
    pub recent: Vec<RunLineBody>,
}

/// A run in a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunLineBody {
    /// Its id.
    pub run_id: RunId,
    /// How far it is.
    pub status: RunStatus,
    /// When it was asked for.
    pub trigger_timestamp: Timestamp,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_timestamp: Option<Timestamp>,
    /// Records of its log.
    pub records: u64,
    /// Those that warn.
    pub warnings: u64,
    /// Those that tell of an error, fatal ones too.
    pub errors: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
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
        }
    }
}

/// `GET /runlog/v1/runs/{id}/summary`: a run, its place, and what the archive holds of its log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunWithLog {
    /// Its id.
    pub run_id: RunId,
    /// Its task.
    pub task_id: TaskId,
    /// The name of its task.
    pub task_name: String,
    /// The version of its task.
    pub task_version: String,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The name of the workspace.
    pub workspace_name: String,
    /// The name of the environment.
    pub environment_name: String,
    /// How far it is, in nine words.
    pub status: RunStatus,
    /// How far it is, in detail.
    pub execution_status: ExecutionStatus,
    /// What started it.
    pub execution_type: ExecutionType,
    /// When it was asked for.
    pub trigger_timestamp: Timestamp,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_timestamp: Option<Timestamp>,
    /// Who started it.
    pub user_id: String,
    /// Whether that is a person or a service.
    pub user_type: UserType,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// What kind of failure it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// Why it did not begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub misfired_execution_reason: Option<String>,
    /// Its log.
    pub log: LogBody,
}

/// What the archive holds of the log of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogBody {
    /// How far it is.
    pub state: LogProgress,
    /// Its records.
    pub records: u64,
    /// The records of each severity: OTHER, TRACE, DEBUG, INFO, WARN, ERROR, FATAL.
    #[schema(value_type = Vec<u64>)]
    pub severities: SeverityCounts,
    /// Bytes that they take in the archive.
    pub stored_bytes: u64,
    /// True when nobody may delete it.
    pub is_held: bool,
    /// When its first record was logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_timestamp: Option<Timestamp>,
    /// When its last record was logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_timestamp: Option<Timestamp>,
    /// Why it is not whole, where a collector could not bring all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setback: Option<LogSetback>,
}

/// Why a log did not come whole from its upstream; it is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogSetback {
    /// The upstream.
    pub upstream: String,
    /// What happened.
    pub problem: String,
    /// How many records the upstream counts, where it counts others than came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
    /// When it is tried again, at the soonest.
    pub again_at: Timestamp,
}

/// How far a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LogProgress {
    /// The run goes on and has logged nothing yet.
    Waiting,
    /// The run goes on, and so does its log; or it is being collected.
    Going,
    /// It did not come whole from its upstream, and is tried again.
    Incomplete,
    /// The run has ended; records may still come for a moment.
    Settling,
    /// Nothing more will come.
    Settled,
    /// The run has ended without a record.
    Empty,
    /// It was deleted.
    Deleted,
}
