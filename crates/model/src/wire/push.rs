//! Bodies of `/runlog/v1/runs/…`: how engines push runs and their logs.

use serde::{Deserialize, Serialize};

use crate::{ExecutionType, RunStatus, Runtime, TaskId, Timestamp, UserType};

/// `PUT /runlog/v1/runs/{runId}`: a run begins. Repeatable; only the task is required.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// The plan execution it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<String>,
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
            plan_id: None,
            runtime: None,
            timeout: None,
            parallel_execution_allowed: None,
            api_version: None,
            container_id: None,
        }
    }
}

/// `POST /runlog/v1/runs/{runId}/finish`: a run ends. Repeatable with the same status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBatch {
    /// Records of the batch that are durable now.
    pub stored: u64,
    /// True when the batch had been stored before, and nothing was added now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
}
