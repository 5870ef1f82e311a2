//! Bodies of `/runlog/v1/runs/…`: how engines push runs and their logs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::run::{ArtifactPart, PlanPart};
use crate::{ExecutionType, RunStatus, Runtime, TaskId, Timestamp, UserType};

/// The header in which the answer to the end of a run says when its log is deleted by the retention of its workspace;
/// it may have passed. RFC 3339; absent if the workspace keeps logs of any age, or the run is under legal hold.
pub const LOG_EXPIRES_HEADER: &str = "x-runlog-log-expires";

/// `PUT /runlog/v1/runs/{runId}`: starts a run. Idempotent; only the task is required.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartRun {
    /// The task that runs.
    pub task_id: TaskId,
    /// Version of the task; default: the version stored with the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_version: Option<String>,
    /// What started it; default `MANUAL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_type: Option<ExecutionType>,
    /// `dispatching` or `executing`; default `executing`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<RunStatus>,
    /// When it was triggered; default: the start time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_timestamp: Option<Timestamp>,
    /// When it started; default now, unless it is still dispatching.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Timestamp>,
    /// ID of the user or service account that started it; default: the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Whether that is a person or a service; default: the kind of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_type: Option<UserType>,
    /// The plan of which it is part: `planId`, `planName`, `planExecutionId`, `planStepId`.
    #[serde(flatten)]
    pub plan: PlanPart,
    /// Its artifact: `artifactId`, `artifactName`, `artifactVersion`.
    #[serde(flatten)]
    pub artifact: ArtifactPart,
    /// The log level of the job, such as `WARN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// Number of attempts to deploy it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u64>,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// Timeout in minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Whether the task may run several times concurrently.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_execution_allowed: Option<bool>,
    /// The version of the API through which it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// The container in which it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
}

impl StartRun {
    /// The start of a run of which only the task is known.
    pub fn of_task(task_id: TaskId) -> Self {
        Self {
            task_id,
            task_version: None,
            execution_type: None,
            status: None,
            trigger_timestamp: None,
            start_timestamp: None,
            user_id: None,
            user_type: None,
            plan: PlanPart::default(),
            artifact: ArtifactPart::default(),
            log_level: None,
            attempts: None,
            runtime: None,
            timeout: None,
            parallel_execution_allowed: None,
            api_version: None,
            container_id: None,
        }
    }
}

/// `POST /runlog/v1/runs/{runId}/finish`: ends a run. Idempotent with the same status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FinishRun {
    /// A final status, such as `execution_failed`.
    pub status: RunStatus,
    /// When it ended; default now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_timestamp: Option<Timestamp>,
    /// Error message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Kind of failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// Why it did not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfired_execution_reason: Option<String>,
    /// Number of rows processed by the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number_of_processed_rows: Option<u64>,
    /// Number of rows rejected by the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number_of_rejected_rows: Option<u64>,
}

impl FinishRun {
    /// The end of a run of which only the status is known.
    pub fn with_status(status: RunStatus) -> Self {
        Self {
            status,
            finish_timestamp: None,
            error_message: None,
            error_type: None,
            misfired_execution_reason: None,
            number_of_processed_rows: None,
            number_of_rejected_rows: None,
        }
    }
}

/// Answer to `POST /runlog/v1/runs/{runId}/records`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredBatch {
    /// Number of records of the batch that are durable.
    pub stored: u64,
    /// True if the batch had been stored before, and nothing was added.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
}

/// Response of `POST /runlog/v1/runs/{runId}/records`: the result of a batch, with details of rejected lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredLines {
    /// Number of records of the batch that are durable.
    pub stored: u64,
    /// True if the batch had been stored before, and nothing was added.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    /// Number of values that were changed: texts with invalid characters (unpaired surrogates, bytes that are not
    /// UTF-8, raw control characters), numbers that JSON readers would change, and fields that occurred more than once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repaired: u64,
    /// Number of lines and elements that were not stored because they are not records.
    #[serde(default, rename = "refusedLines", skip_serializing_if = "is_zero")]
    pub refused_lines: u64,
    /// The first hundred rejected lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedLine>,
}

/// A line that was not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedLine {
    /// Line number, starting at 1.
    pub line: u64,
    /// The reason.
    pub reason: String,
}

/// Response of `POST /runlog/v1/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredEvents {
    /// Number of events that are durable, including those stored before.
    pub stored: u64,
    /// Number of runs started by these events.
    pub begun: u64,
    /// Number of runs ended by these events.
    pub ended: u64,
    /// Number of events that were not stored and never can be.
    pub refused: u64,
    /// The reason why the first of them was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Number of values that were changed: texts with invalid characters (unpaired surrogates, bytes that are not
    /// UTF-8, raw control characters), numbers that JSON readers would change, and fields that occurred more than once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repaired: u64,
    /// Number of events whose time could not be parsed: they have their time of arrival, and keep the original value in
    /// a field.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub undated: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
