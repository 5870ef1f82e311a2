//! Bodies of `/processing/…/plans/…`: plan executions and their steps. Source: the processing API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::executions::JobExecution;
use crate::plan::{PlanExecution, PlanStatus, finished_at};
use crate::plan_report::{self, PlanReport};
use crate::{ExecutionType, Run, RunId, TaskId, Timestamp, UserType, WorkspaceId};

/// One execution of a plan. Source: `PlanExecutionStatus`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanExecutionBody {
    /// The execution.
    pub execution_id: String,
    /// The plan.
    pub plan_id: String,
    /// Status.
    pub status: String,
    /// Detailed status.
    pub execution_status: String,
    /// What started it.
    pub execution_type: ExecutionType,
    /// When its first run started.
    pub start_timestamp: Timestamp,
    /// When its last run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_timestamp: Option<Timestamp>,
    /// The user or service account that started it.
    pub user_id: String,
    /// Whether that is a person or a service.
    pub user_type: UserType,
    /// Number of planned runs; of a plan execution that is derived from its runs, the number of known ones.
    pub planned_executable_count: usize,
    /// Number of ended runs.
    pub done_executable_count: usize,
    /// The ended runs; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_executable_details: Option<Vec<JobExecution>>,
    /// Why it did not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfired_execution_reason: Option<String>,
    /// The version of the API through which it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
}

/// The data of a plan execution in the archive beyond the vendor's form, for clients that request it with the header
/// `x-runlog-details`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanDetails {
    /// Name of the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_name: Option<String>,
    /// The steps in the order in which they were designed; empty if that is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<PlanStepDetails>,
}

/// The data of a step in the archive beyond the vendor's form.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanStepDetails {
    /// The step.
    pub id: String,
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What must be true for the next step to start, such as `ALL_SUCCEEDED`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

/// A step of a plan execution. Source: `StepExecution`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepBody {
    /// The step.
    pub id: String,
    /// Its execution, identified by the ID of the step.
    pub execution_id: String,
    /// When its first run started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Timestamp>,
    /// When its last run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_timestamp: Option<Timestamp>,
    /// Status.
    pub execution_status: String,
}

/// A step and its runs. Source: `StepExecutionDetails`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepDetailsBody {
    /// The step.
    #[serde(flatten)]
    pub step: StepBody,
    /// Number of known runs.
    pub planned_executable_count: usize,
    /// Number of ended runs.
    pub done_executable_count: usize,
    /// The ended runs.
    pub done_task_executable_details: Vec<JobExecution>,
}

/// A plan execution in a list of Runlog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanLine {
    /// The execution.
    pub execution_id: String,
    /// The plan; empty if it is not known.
    pub plan_id: String,
    /// Name of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_name: Option<String>,
    /// The workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<WorkspaceId>,
    /// `executing`, `execution_successful`, `execution_failed`, `execution_misfired`, or a word of the upstream that is
    /// not known here.
    pub status: String,
    /// When it started.
    pub start_timestamp: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_timestamp: Option<Timestamp>,
    /// Number of planned runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<u64>,
    /// Number of ended runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// Why it did not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfired_reason: Option<String>,
    /// True if the upstream that ran it describes it; false if it is derived from its runs, which do not show whether a
    /// further step follows.
    pub is_reported: bool,
}

/// A plan execution with its steps, and the executions of the plan before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// The plan execution.
    #[serde(flatten)]
    pub plan: PlanLine,
    /// Name of the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_name: Option<String>,
    /// What started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_type: Option<String>,
    /// The user or service account that started it.
    pub user_id: String,
    /// Why it failed, in one sentence; absent if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The steps, in the order in which they were designed or, if they are derived from runs, in which they began.
    pub steps: Vec<PlanStepView>,
    /// Runs that no step names.
    pub other_runs: Vec<PlanRunView>,
    /// Earlier executions of the plan, newest first, at most 20.
    pub earlier: Vec<PlanLine>,
}

/// A step of a plan execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStepView {
    /// What ran.
    #[serde(flatten)]
    pub part: PlanPartView,
    /// Name of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What must be true for the next step to start: `ALL_SUCCEEDED`, `AT_LEAST_ONE_SUCCEEDED` or `ALWAYS_PROCEED_ON`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Why it was not started, if the plan execution has ended without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_started_because: Option<String>,
    /// The error handler that ran after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_handler: Option<PlanPartView>,
}

/// A step or an error handler, and its runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanPartView {
    /// ID in the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `not_started`, `running`, `succeeded`, `failed` or `unknown`.
    pub outcome: String,
    /// Status as reported by the upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_status: Option<String>,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_timestamp: Option<Timestamp>,
    /// Number of planned runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<u64>,
    /// Its runs.
    pub runs: Vec<PlanRunView>,
    /// IDs of plan executions that it started.
    pub plan_executions: Vec<String>,
}

/// A run of a plan execution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanRunView {
    /// The run.
    pub run_id: RunId,
    /// The task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// Name of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_name: Option<String>,
    /// Status.
    pub status: String,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_timestamp: Option<Timestamp>,
    /// Error message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// True if the archive has the run.
    pub is_archived: bool,
}

/// A plan. Source: `PlanExecutableDetails` of the orchestration API. A single plan has the other fields of its
/// upstream, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanItem {
    /// ID of the plan.
    pub executable: String,
    /// Name.
    pub name: String,
    /// Description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<super::workspaces::WorkspaceBody>,
    /// The first step, which has the next one; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub chart: Option<serde_json::Value>,
}

fn done(runs: &[Run]) -> impl Iterator<Item = &Run> {
    runs.iter().filter(|run| run.status.is_final())
}

impl From<&PlanExecution> for PlanExecutionBody {
    fn from(execution: &PlanExecution) -> Self {
        Self {
            execution_id: execution.id.clone(),
            plan_id: execution.plan_id.clone(),
            status: execution.status.as_str().to_owned(),
            execution_status: execution.status.detailed().to_owned(),
            execution_type: execution.execution_type,
            start_timestamp: execution.started_at,
            finish_timestamp: execution.finished_at,
            user_id: execution.user_id.clone(),
            user_type: execution.user_type,
            planned_executable_count: execution.runs.len(),
            done_executable_count: done(&execution.runs).count(),
            done_executable_details: None,
            misfired_execution_reason: None,
            api_version: None,
        }
    }
}

impl From<&PlanReport> for PlanDetails {
    fn from(report: &PlanReport) -> Self {
        let step = |step: &plan_report::StepReport| {
            let id = plan_report::text(&step.step, "id")?.to_owned();
            Some(PlanStepDetails { id, name: step.name.clone(), condition: step.condition.clone() })
        };
        Self { plan_name: report.plan_name.clone(), steps: report.steps.iter().filter_map(step).collect() }
    }
}

impl From<&PlanExecution> for PlanDetails {
    fn from(execution: &PlanExecution) -> Self {
        let plan_name = execution.runs.iter().find_map(|run| run.plan.name.clone());
        Self { plan_name, steps: Vec::new() }
    }
}

impl PlanExecutionBody {
    /// The form of one plan execution by its id, with its runs.
    pub fn with_runs(execution: &PlanExecution, account_id: &str) -> Self {
        let details = done(&execution.runs).map(|run| JobExecution::new(run, account_id)).collect();
        Self { done_executable_details: Some(details), ..execution.into() }
    }
}

impl StepBody {
    /// The step that these runs are of.
    pub fn new(id: &str, runs: &[Run]) -> Self {
        Self {
            id: id.to_owned(),
            execution_id: id.to_owned(),
            start_timestamp: runs.iter().filter_map(|run| run.started_at).min(),
            finish_timestamp: finished_at(runs),
            execution_status: PlanStatus::of_runs(runs).detailed().to_owned(),
        }
    }
}

impl StepDetailsBody {
    /// The step that these runs are of, with them.
    pub fn new(id: &str, runs: &[Run], account_id: &str) -> Self {
        Self {
            step: StepBody::new(id, runs),
            planned_executable_count: runs.len(),
            done_executable_count: done(runs).count(),
            done_task_executable_details: done(runs).map(|run| JobExecution::new(run, account_id)).collect(),
        }
    }
}
