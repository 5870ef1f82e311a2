//! Finds plan executions that failed, and plans that did not run. Only plan executions described by an upstream are
//! considered: the end of a plan cannot be determined from its runs alone.

use runlog_analysis::report::{STARTS_MAX, missing_start};
use runlog_model::workspaces::Workspace;
use runlog_model::{Timestamp, millis};
use runlog_store::plans::{FailedPlan, Plans};
use runlog_store::workspaces::Workspaces;
use serde::Serialize;

use super::archive::{LATE_MAX_MS, LATE_MIN_MS, ROWS_MAX, all_pages};
use super::duration::late_in_words;
use super::error::AlertError;
use super::maintenance::AffectedScope;
use super::recover::AlertSubject;
use super::rule::{AlertRule, Condition};
use crate::glob;

/// The description of a plan in an alert.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlanPart {
    plan_id: String,
    plan_name: String,
    /// The execution that failed; none for a plan that did not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) plan_execution_id: Option<String>,
    #[serde(skip)]
    workspace: Option<Workspace>,
}

impl PlanPart {
    pub(super) fn workspace_name(&self) -> Option<&str> {
        self.workspace.as_ref().map(|workspace| workspace.name.as_str())
    }

    /// The plan, for maintenance windows.
    pub(super) fn affected_scope(&self) -> AffectedScope {
        AffectedScope { task: None, name: self.plan_name.clone(), workspace: self.workspace.clone() }
    }
}

/// An occurrence about a plan.
pub(super) struct PlanOccurrence {
    pub(super) key: String,
    pub(super) what: &'static str,
    pub(super) text: String,
    pub(super) plan: PlanPart,
    pub(super) at: Timestamp,
    /// The criterion for its end.
    pub(super) about: AlertSubject,
}

/// The plan executions since then that a rule reports, and with `is_thorough` the plans that are late.
pub(super) async fn occurrences_of_plans(
    (plans, workspaces): (&Plans, &Workspaces),
    rule: &AlertRule,
    (since, stored_since): (Timestamp, Timestamp),
    is_thorough: bool,
    now: Timestamp,
) -> Result<Vec<PlanOccurrence>, AlertError> {
    let mut found = Vec::new();
    let is_wanted = |condition| rule.covers(condition);
    if is_wanted(Condition::PlanFailed) || is_wanted(Condition::PlanNotRun) {
        let failed = |after: Option<FailedPlan>, _| async move {
            plans.failed_since(stored_since, since, after.as_ref(), ROWS_MAX).await
        };
        for plan in all_pages(failed).await? {
            let (condition, what) = match plan.status.as_str() {
                "execution_misfired" => (Condition::PlanNotRun, "plan_not_run"),
                _ => (Condition::PlanFailed, "plan_failed"),
            };
            if !is_wanted(condition) {
                continue;
            }
            let Some(part) = part_of(workspaces, rule, &plan).await? else { continue };
            let text = match condition {
                Condition::PlanNotRun => {
                    let reason = plan.misfired_reason.as_deref().map(|reason| format!(": {reason}"));
                    format!("plan {} did not start{}", part.plan_name, reason.unwrap_or_default())
                }
                _ => match &plan.failed_step {
                    Some(step) => format!("plan {} failed at step {step}", part.plan_name),
                    None => format!("plan {} failed", part.plan_name),
                },
            };
            let key = format!("plan {what} {}", plan.execution_id);
            let part = PlanPart { plan_execution_id: Some(plan.execution_id.clone()), ..part };
            let (id, at) = (plan.plan_id.clone(), plan.at);
            let about = match condition {
                Condition::PlanNotRun => AlertSubject::PlanNotRun { plan: id, after: at },
                _ => AlertSubject::PlanFailed { plan: id, at },
            };
            found.push(PlanOccurrence { key, what, text, plan: part, at, about });
        }
    }
    if is_wanted(Condition::PlanNotRun) && is_thorough {
        found.extend(late_plans(plans, workspaces, rule, now).await?);
    }
    Ok(found)
}

async fn late_plans(
    plans: &Plans,
    workspaces: &Workspaces,
    rule: &AlertRule,
    now: Timestamp,
) -> Result<Vec<PlanOccurrence>, AlertError> {
    let mut found = Vec::new();
    let (from, to) = (now.plus_millis(-LATE_MAX_MS), now.plus_millis(-LATE_MIN_MS));
    let last_started = |after: Option<FailedPlan>, _| async move {
        plans.last_started_between((from, to), after.as_ref(), ROWS_MAX).await
    };
    for plan in all_pages(last_started).await? {
        let starts = plans.recent_starts(&plan.plan_id, STARTS_MAX).await?;
        let Some(missing) = missing_start(&starts, now, &rule.zone, millis(rule.grace)) else { continue };
        let Some(part) = part_of(workspaces, rule, &plan).await? else { continue };
        let text = format!("plan {} {}", part.plan_name, late_in_words(&missing));
        let key = format!("plan late {} since {}", plan.plan_id, plan.at);
        let about = AlertSubject::PlanNotRun { plan: plan.plan_id.clone(), after: plan.at };
        found.push(PlanOccurrence { key, what: "plan_not_run", text, plan: part, at: now, about });
    }
    Ok(found)
}

/// Returns the description of the plan for the alert; none if the rule does not apply to the plan.
async fn part_of(workspaces: &Workspaces, rule: &AlertRule, plan: &FailedPlan) -> Result<Option<PlanPart>, AlertError> {
    let workspace = match plan.workspace_id {
        Some(id) => workspaces.get(id).await?,
        None => None,
    };
    let plan_name = plan.plan_name.clone().unwrap_or_else(|| plan.plan_id.clone());
    if !is_about(rule, &plan_name, workspace.as_ref()) {
        return Ok(None);
    }
    Ok(Some(PlanPart { plan_id: plan.plan_id.clone(), plan_name, plan_execution_id: None, workspace }))
}

/// A rule for some tasks is not about plans; its patterns of names are those of plans, too.
fn is_about(rule: &AlertRule, plan_name: &str, workspace: Option<&Workspace>) -> bool {
    let is_in = |workspace: &Workspace| {
        rule.workspaces.iter().any(|wanted| *wanted == workspace.name || *wanted == workspace.id.to_string())
    };
    rule.tasks.is_empty()
        && (rule.task_names.is_empty() || rule.task_names.iter().any(|pattern| glob::matches(plan_name, pattern)))
        && (rule.workspaces.is_empty() || workspace.is_some_and(is_in))
}
