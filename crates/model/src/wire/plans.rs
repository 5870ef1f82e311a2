//! Bodies of `/processing/…/plans/…`: plan executions and their steps. Source: the processing API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::executions::JobExecution;
use crate::plan::{PlanExecution, PlanStatus, finished_at};
use crate::{ExecutionType, Run, Timestamp, UserType};

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
    /// Number of known runs.
    pub planned_executable_count: usize,
    /// Number of ended runs.
    pub done_executable_count: usize,
    /// The ended runs; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_executable_details: Option<Vec<JobExecution>>,
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
        }
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
