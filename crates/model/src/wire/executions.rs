//! Bodies of `/processing/…`: runs as the processing API shows them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::run::{ArtifactPart, LogLevel, PlanPart, RuntimeKind};
use crate::{
    ExecutionStatus, ExecutionType, LogAbsence, Run, RunId, RunStatus, Runtime, TaskId, Timestamp, UserType,
    WorkspaceId,
};

/// The header of a request for [`RunDetails`] in the response: `true`.
pub const DETAILS_HEADER: &str = "x-runlog-details";

/// The field of a run or plan execution with the details.
pub const DETAILS_FIELD: &str = "runlog";

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListPage<T> {
    /// The items.
    pub items: Vec<T>,
    /// Maximum number of items per page.
    pub limit: u64,
    /// Number of items to skip.
    pub offset: u64,
    /// Total number of items.
    pub total: u64,
}

/// `POST /processing/executions`: requests a run. Unknown fields are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StartExecution {
    /// The task.
    pub executable: String,
    /// Parameters of the run.
    #[serde(default)]
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// The log level of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
    /// Timeout in minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// The response: the run that was started.
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
    /// The task.
    pub task_id: TaskId,
    /// The version of the task.
    pub task_version: String,
    /// The fields that executions of tasks and of jobs share.
    #[serde(flatten)]
    pub shared: ExecutionFields,
    /// Where it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// Whether the task may run several times concurrently.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_execution_allowed: Option<bool>,
    /// Further fields, if they were requested with the header `x-runlog-details`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runlog: Option<RunDetails>,
}

/// The data of a run in the archive beyond the vendor's forms, some of whose clients reject additional fields. Another
/// Runlog requests these details to copy the run completely. Unknown parts are absent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunDetails {
    /// The plan of which it is part: `planId`, `planName`, `planExecutionId`, `planStepId`.
    #[serde(flatten)]
    pub plan: PlanPart,
    /// Its artifact: `artifactId`, `artifactName`, `artifactVersion`.
    #[serde(flatten)]
    pub artifact: ArtifactPart,
    /// The log level of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// Number of attempts to deploy it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u64>,
    /// The container in which it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Kind of failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// Number of rows processed by the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number_of_processed_rows: Option<u64>,
    /// Number of rows rejected by the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number_of_rejected_rows: Option<u64>,
    /// Why it has no log, if it has ended without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_absence: Option<LogAbsence>,
}

/// One run. Source: `JobExecutionStatusV21` of the processing API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobExecution {
    /// The run.
    pub execution_id: RunId,
    /// The task (called job here).
    pub job_id: TaskId,
    /// The version of the task.
    pub job_version: String,
    /// The account; Runlog has one, named after the archive.
    pub account_id: String,
    /// The workspace of the task.
    pub workspace_id: WorkspaceId,
    /// `1.2` or `1.3`.
    pub environment_version: String,
    /// The kind of runtime.
    pub execution_destination: RuntimeKind,
    /// The fields that executions of tasks and of jobs share.
    #[serde(flatten)]
    pub shared: ExecutionFields,
    /// The engine, if it ran on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_engine_id: Option<String>,
    /// The cluster, if it ran on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_engine_cluster_id: Option<String>,
    /// The container in which it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// The run profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_profile_id: Option<String>,
    /// Number of rows processed by the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number_of_processed_rows: Option<u64>,
    /// Number of rows rejected by the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number_of_rejected_rows: Option<u64>,
    /// Kind of failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// Further fields, if they were requested with the header `x-runlog-details`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runlog: Option<RunDetails>,
}

/// Fields that both representations of a run share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionFields {
    /// What started it.
    pub execution_type: ExecutionType,
    /// Status.
    pub status: RunStatus,
    /// Detailed status.
    pub execution_status: ExecutionStatus,
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
    /// The plan, in a list; the plan execution, for a single run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<String>,
    /// Error message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Why it did not start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub misfired_execution_reason: Option<String>,
    /// Timeout in minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// The version of the API through which it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
}

impl From<&Run> for ExecutionFields {
    fn from(run: &Run) -> Self {
        // A client that waits for the end of a run fetches its log then, and would miss what is still being collected.
        let is_over = run.final_since.is_some() || !run.status.coarse().is_final();
        let status = if is_over { run.status } else { ExecutionStatus::Starting };
        Self {
            execution_type: run.execution_type,
            status: status.coarse(),
            execution_status: status,
            trigger_timestamp: run.triggered_at,
            start_timestamp: run.started_at,
            finish_timestamp: run.finished_at.filter(|_| is_over),
            user_id: run.user_id.clone(),
            user_type: run.user_type,
            plan_id: run.plan.id.clone(),
            error_message: run.error_message.clone().filter(|_| is_over),
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
            runlog: None,
        }
    }
}

impl RunDetails {
    /// The details of a run that has no log for this reason, if it has ended without one.
    pub fn new(run: &Run, log_absence: Option<LogAbsence>) -> Self {
        Self {
            plan: run.plan.clone(),
            artifact: run.artifact.clone(),
            log_level: run.log_level.clone(),
            attempts: run.attempts,
            container_id: run.container_id.clone(),
            error_type: run.error_type.clone(),
            number_of_processed_rows: run.processed_rows,
            number_of_rejected_rows: run.rejected_rows,
            log_absence,
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
            runlog: None,
        }
    }
}
