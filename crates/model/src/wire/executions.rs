//! Bodies of `/processing/…`: runs as the processing API shows them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::run::RuntimeKind;
use crate::{ExecutionStatus, ExecutionType, Run, RunId, RunStatus, Runtime, TaskId, Timestamp, UserType, WorkspaceId};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListPage<T> {
    /// The items.
    pub items: Vec<T>,
    /// Most items that the page may hold.
    pub limit: u64,
    /// Items before the page.
    pub offset: u64,
    /// Items of the whole list.
    pub total: u64,
}

/// `POST /processing/executions`: a run is asked for. Unknown fields are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StartExecution {
    /// The task.
    pub executable: String,
    /// What it is run with.
    #[serde(default)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// From which severity on it logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// After how many minutes it is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// The answer: the run that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StartedExecution {
    /// The run.
    pub execution_id: RunId,
}

/// A run in a list of executions. Source: `TaskExecutionStatus` of the processing API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskExecution {
    /// The run.
    pub execution_id: RunId,
    /// Its task.
    pub task_id: TaskId,
    /// The version of the task.
    pub task_version: String,
    /// What is the same in [`JobExecution`].
    #[serde(flatten)]
    pub shared: ExecutionFields,
    /// Where it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// Whether the task may run twice at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_execution_allowed: Option<bool>,
}

/// One run by its id. Source: `JobExecutionStatusV21` of the processing API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobExecution {
    /// The run.
    pub execution_id: RunId,
    /// Its task (this form calls it job).
    pub job_id: TaskId,
    /// The version of the task.
    pub job_version: String,
    /// The account; Runlog has one, and calls it by the archive's name.
    pub account_id: String,
    /// The workspace of the task.
    pub workspace_id: WorkspaceId,
    /// `1.2` or `1.3`.
    pub environment_version: String,
    /// The kind of place it ran in.
    pub execution_destination: RuntimeKind,
    /// What is the same in [`TaskExecution`].
    #[serde(flatten)]
    pub shared: ExecutionFields,
    /// The engine, when it ran on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_engine_id: Option<String>,
    /// The cluster, when it ran on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_engine_cluster_id: Option<String>,
    /// The container it ran in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// The run profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_profile_id: Option<String>,
    /// Rows that the job processed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number_of_processed_rows: Option<u64>,
    /// Rows that the job rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number_of_rejected_rows: Option<u64>,
    /// What kind of failure it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
}

/// What both forms of a run share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionFields {
    /// What started it.
    pub execution_type: ExecutionType,
    /// How far it is, in nine words.
    pub status: RunStatus,
    /// How far it is, in detail.
    pub execution_status: ExecutionStatus,
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
    /// The plan it belongs to, in a list; the plan execution, in the form of one run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Why it did not begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub misfired_execution_reason: Option<String>,
    /// After how many minutes it is ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// The version of the API it was started through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
}

impl From<&Run> for ExecutionFields {
    fn from(run: &Run) -> Self {
        Self {
            execution_type: run.execution_type,
            status: run.status.coarse(),
            execution_status: run.status,
            trigger_timestamp: run.triggered_at,
            start_timestamp: run.started_at,
            finish_timestamp: run.finished_at,
            user_id: run.user_id.clone(),
            user_type: run.user_type,
            plan_id: run.plan.id.clone(),
            error_message: run.error_message.clone(),
            misfired_execution_reason: run.misfired_reason.clone(),
            timeout: run.timeout_minutes,
            api_version: run.api_version.clone(),
        }
    }
}

impl From<&Run> for TaskExecution {
    fn from(run: &Run) -> Self {
        Self {
            execution_id: run.id,
            task_id: run.task_id,
            task_version: run.task_version.clone(),
            shared: run.into(),
            runtime: run.runtime.clone(),
            parallel_execution_allowed: run.parallel_execution_allowed,
        }
    }
}

impl JobExecution {
    /// The form of one run by its id.
    pub fn new(run: &Run, account_id: &str) -> Self {
        let runtime = run.runtime.clone().unwrap_or_default();
        Self {
            execution_id: run.id,
            job_id: run.task_id,
            job_version: run.task_version.clone(),
            account_id: account_id.to_owned(),
            workspace_id: run.workspace_id,
            environment_version: "1.3".to_owned(),
            execution_destination: runtime.kind.unwrap_or(RuntimeKind::RemoteEngine),
            shared: ExecutionFields { plan_id: run.plan.execution_id.clone(), ..run.into() },
            remote_engine_id: runtime.engine_id,
            remote_engine_cluster_id: runtime.cluster_id,
            container_id: run.container_id.clone(),
            run_profile_id: runtime.run_profile_id,
            number_of_processed_rows: run.processed_rows,
            number_of_rejected_rows: run.rejected_rows,
            error_type: run.error_type.clone(),
        }
    }
}
