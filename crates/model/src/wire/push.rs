//! Bodies of `/runlog/v1/runs/…`: how engines push runs and their logs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::run::{ArtifactPart, PlanPart};
use crate::{ExecutionType, RunStatus, Runtime, TaskId, Timestamp, UserType};

/// `PUT /runlog/v1/runs/{runId}`: a run begins. Repeatable; only the task is required.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartRun {
    /// The task that runs.
    pub task_id: TaskId,
    /// The version of the task; the task's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_version: Option<String>,
    /// What started it; `MANUAL` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_type: Option<ExecutionType>,
    /// `dispatching` or `executing`; `executing` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<RunStatus>,
    /// When it was asked for; the start when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_timestamp: Option<Timestamp>,
    /// When it began; now when absent, unless it is still dispatching.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Timestamp>,
    /// Who started it; the caller when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Whether that is a person or a service; what the caller is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_type: Option<UserType>,
    /// The plan it is part of: `planId`, `planName`, `planExecutionId`, `planStepId`.
    #[serde(flatten)]
    pub plan: PlanPart,
    /// What it runs: `artifactId`, `artifactName`, `artifactVersion`.
    #[serde(flatten)]
    pub artifact: ArtifactPart,
    /// From which severity on the job logs, such as `WARN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// How many times it was tried to deploy it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u64>,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// After how many minutes it is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Whether the task may run twice at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_execution_allowed: Option<bool>,
    /// The version of the API it was started through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// The container it runs in.
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

/// `POST /runlog/v1/runs/{runId}/finish`: a run ends. Repeatable with the same status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FinishRun {
    /// A final status, such as `execution_failed`.
    pub status: RunStatus,
    /// When it ended; now when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_timestamp: Option<Timestamp>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// What kind of failure it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// Why it did not begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfired_execution_reason: Option<String>,
    /// Rows that the job processed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number_of_processed_rows: Option<u64>,
    /// Rows that the job rejected.
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
    /// Records of the batch that are durable now.
    pub stored: u64,
    /// True when the batch had been stored before, and nothing was added now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
}

/// Answer to `POST /runlog/v1/runs/{runId}/records`: what became of a batch, line by line where something was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredLines {
    /// Records of the batch that are durable now.
    pub stored: u64,
    /// True when the batch had been stored before, and nothing was added now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
    /// Texts that were not whole (half of a surrogate pair, bytes that are no UTF-8, raw control characters), and were
    /// mended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repaired: u64,
    /// Lines that were not stored; only with `badLines=skip`, and otherwise such a line refuses the batch.
    #[serde(default, rename = "refusedLines", skip_serializing_if = "is_zero")]
    pub refused_lines: u64,
    /// The first hundred of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedLine>,
}

/// A line that was not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusedLine {
    /// Its number, from 1.
    pub line: u64,
    /// Why it was not.
    pub reason: String,
}

/// Answer to `POST /runlog/v1/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredEvents {
    /// Events that are durable now, those stored before included.
    pub stored: u64,
    /// Runs that began with them.
    pub begun: u64,
    /// Runs that ended with them.
    pub ended: u64,
    /// Events that were not stored, and will never be.
    pub refused: u64,
    /// Why the first of those was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Texts that were not whole (half of a surrogate pair, bytes that are no UTF-8, raw control characters), and were
    /// mended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repaired: u64,
    /// Events whose time could not be read: they have the time of their arrival, and keep what they said as a field.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub undated: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
