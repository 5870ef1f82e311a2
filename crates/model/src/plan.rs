//! Plan executions, derived from the runs that are part of them.

use std::fmt;
use std::str::FromStr;

use crate::word::WordError;
use crate::{ExecutionType, Run, RunStatus, Timestamp, UserType};

/// The status of a plan execution. Source: `status` of the processing API's plan executions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanStatus {
    /// One of its runs is active.
    Executing,
    /// All known runs of the plan execution were successful; rejected rows do not count as a failure.
    Successful,
    /// A run of it ended otherwise.
    Failed,
    /// The plan did not begin. The archive never returns this status, because it derives plans from their runs.
    Misfired,
}

impl PlanStatus {
    /// Every value.
    pub const ALL: [Self; 4] = [Self::Executing, Self::Successful, Self::Failed, Self::Misfired];

    /// The coarse word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Executing => "executing",
            Self::Successful => "execution_successful",
            Self::Failed => "execution_failed",
            Self::Misfired => "execution_misfired",
        }
    }

    /// The detailed word on the wire.
    pub fn detailed(self) -> &'static str {
        match self {
            Self::Executing => "STARTED",
            Self::Successful => "EXECUTION_SUCCESS",
            Self::Failed => "EXECUTION_FAILED",
            Self::Misfired => "EXECUTION_MISFIRED",
        }
    }

    /// Of some runs together.
    pub fn of_runs(runs: &[Run]) -> Self {
        let is_good = |run: &Run| matches!(run.status.coarse(), RunStatus::Successful | RunStatus::Rejected);
        match () {
            () if !runs.iter().all(|run| run.status.is_final()) => Self::Executing,
            () if runs.iter().all(is_good) => Self::Successful,
            () => Self::Failed,
        }
    }
}

impl fmt::Display for PlanStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for PlanStatus {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        const ALLOWED: &str = "executing, execution_successful, execution_failed, execution_misfired";
        Self::ALL.into_iter().find(|value| value.as_str() == text).ok_or_else(|| WordError::new(text, ALLOWED))
    }
}

/// One execution of a plan, derived from its runs.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanExecution {
    /// The execution.
    pub id: String,
    /// The plan; empty if no run contains it.
    pub plan_id: String,
    /// Its known runs, in the order in which they were triggered; at least one.
    pub runs: Vec<Run>,
    /// The status of the plan execution.
    pub status: PlanStatus,
    /// What started it.
    pub execution_type: ExecutionType,
    /// When its first run started, or was triggered.
    pub started_at: Timestamp,
    /// When its last run ended; none while one is active.
    pub finished_at: Option<Timestamp>,
    /// The user or service account that started it.
    pub user_id: String,
    /// Whether that is a person or a service.
    pub user_type: UserType,
}

impl PlanExecution {
    /// The plan execution that these runs are part of; none without runs.
    pub fn of_runs(runs: Vec<Run>) -> Option<Self> {
        let first = runs.first()?;
        let status = PlanStatus::of_runs(&runs);
        Some(Self {
            id: first.plan.execution_id.clone().unwrap_or_default(),
            plan_id: runs.iter().find_map(|run| run.plan.id.clone()).unwrap_or_default(),
            status,
            execution_type: first.execution_type,
            started_at: runs.iter().map(|run| run.started_at.unwrap_or(run.triggered_at)).min()?,
            finished_at: finished_at(&runs),
            user_id: first.user_id.clone(),
            user_type: first.user_type,
            runs,
        })
    }
}

/// When the last of some runs ended; none while one is active.
pub fn finished_at(runs: &[Run]) -> Option<Timestamp> {
    let all_ended = runs.iter().all(|run| run.status.is_final());
    runs.iter().filter(|_| all_ended).filter_map(|run| run.finished_at).max()
}
