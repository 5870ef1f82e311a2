//! `/runlog/v1/plan-executions`: plan executions for people: what became of each step, and why.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use runlog_model::plan::{PlanExecution, PlanStatus};
use runlog_model::plan_report::{self, Fields, PlanReport, StepOutcome};
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::plans::{PlanLine, PlanPartView, PlanRunView, PlanStepView, PlanView};
use runlog_model::workspaces::Right;
use runlog_model::{Run, RunId, RunStatus, TaskId, TimeRange, Timestamp, WorkspaceId};
use runlog_store::plans::{ListedPlanExecution, PlanFilter, ReportedExecution};

use super::plans::{Found, ViewableWorkspaces, execution, steps_of};
use crate::app::App;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::ApiResult;
use crate::http::parameter_groups::{PageQuery, ScopeQuery};
use crate::http::parameters::{Query, query_parameters};

/// Most earlier executions that are shown with one.
const EARLIER_MAX: u64 = 20;

query_parameters! {
    /// Parameters of the list of plan executions.
    pub(crate) struct PlanListQuery {
        ..page: PageQuery,
        ..scope: ScopeQuery,
        /// Only executions of this plan.
        plan_id: Option<String> = "planId",
        /// Only plan executions with this status.
        status: Option<PlanStatus> = "status",
        /// Only plan executions active at or after this time.
        start_time: Option<Timestamp> = "startTime",
        /// Only plan executions active at or before this time.
        end_time: Option<Timestamp> = "endTime",
    }
}

/// `GET /runlog/v1/plan-executions`: lists plan executions, newest first.
#[utoipa::path(
    get,
    path = "/runlog/v1/plan-executions",
    tag = "plans",
    responses((status = 200, description = "Plan executions, newest first", body = ListPage<PlanLine>))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(query): Query<PlanListQuery>,
) -> ApiResult<Json<ListPage<PlanLine>>> {
    let (limit, offset) = query.page.limit_and_offset();
    let scope = rights::viewed_scope(app.store(), &caller, &query.scope).await?;
    let filter = PlanFilter {
        plan_id: query.plan_id,
        workspace_ids: scope.workspace_ids,
        environment_id: scope.environment_id,
        status: query.status,
        overlapping: TimeRange { start: query.start_time, end: query.end_time },
        limit,
        offset,
    };
    let (found, total) = app.store().runs().plan_executions(&filter).await?;
    Ok(Json(ListPage { items: found.iter().map(line).collect(), limit, offset, total }))
}

/// `GET /runlog/v1/plan-executions/{id}`: returns a plan execution with its steps, their runs, and earlier executions.
#[utoipa::path(
    get,
    path = "/runlog/v1/plan-executions/{id}",
    tag = "plans",
    params(("id" = String, Path, description = "ID")),
    responses((status = 200, description = "The plan execution", body = PlanView))
)]
pub(crate) async fn one(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> ApiResult<Json<PlanView>> {
    let found = execution(&app, &caller, &id).await?;
    let viewed = app.store().accounts().workspaces_with(&caller, Right::View).await?;
    let mut runs = app.store().runs().plan_execution_runs(&id).await?;
    if let Some(viewed) = &viewed {
        runs.retain(|run| viewed.contains(&run.workspace_id));
    }
    let tasks = task_names(&app, &found, &runs).await?;
    let known = KnownRuns { runs: runs.iter().map(|run| (run.id, run)).collect(), tasks: &tasks };
    let mut view = match &found {
        Found::Reported(stored, viewed) => view_of_report(&stored.report, stored.workspace_id, &known, viewed),
        Found::OfRuns(execution) => view_of_runs(execution, &known),
    };
    if let Some(id) = view.plan.workspace_id {
        view.workspace_name = app.store().workspaces().get(id).await?.map(|workspace| workspace.name);
    }
    if !view.plan.plan_id.is_empty() {
        let filter = PlanFilter {
            plan_id: Some(view.plan.plan_id.clone()),
            workspace_ids: viewed,
            overlapping: TimeRange { start: None, end: Some(view.plan.start_timestamp) },
            limit: EARLIER_MAX + 1,
            ..PlanFilter::default()
        };
        let (earlier, _) = app.store().runs().plan_executions(&filter).await?;
        let others = earlier.iter().map(line).filter(|other| other.execution_id != id);
        view.earlier = others.take(usize::try_from(EARLIER_MAX).unwrap_or_default()).collect();
    }
    Ok(Json(view))
}

/// The runs of a plan execution that the archive has, and the names of tasks.
struct KnownRuns<'a> {
    runs: HashMap<RunId, &'a Run>,
    tasks: &'a HashMap<TaskId, String>,
}

async fn task_names(app: &App, found: &Found, runs: &[Run]) -> ApiResult<HashMap<TaskId, String>> {
    let mut ids: Vec<TaskId> = runs.iter().map(|run| run.task_id).collect();
    if let Found::Reported(stored, viewed) = found {
        let parts = stored.report.steps.iter().flat_map(|step| [Some(&step.step), step.error_handler.as_ref()]);
        let of_parts = parts.flatten().chain([&stored.report.execution]).flat_map(plan_report::runs);
        ids.extend(of_parts.filter(|run| viewed.has(run)).filter_map(task_of));
    }
    ids.sort_unstable();
    ids.dedup();
    let tasks = app.store().workspaces().tasks_with_ids(&ids).await?;
    Ok(tasks.into_iter().map(|task| (task.id, task.name)).collect())
}

fn task_of(run: &Fields) -> Option<TaskId> {
    let text = plan_report::text(run, "jobId").or_else(|| plan_report::text(run, "taskId"))?;
    text.parse().ok()
}

impl KnownRuns<'_> {
    /// The runs of a step, an error handler or a whole execution.
    fn of(&self, fields: &Fields, viewed: &ViewableWorkspaces) -> Vec<PlanRunView> {
        let viewed = plan_report::runs(fields).filter(|run| viewed.has(run));
        viewed.filter_map(|run| self.reported(run)).collect()
    }

    /// A run as the archive has it or, if it does not, as the upstream describes it.
    fn reported(&self, run: &Fields) -> Option<PlanRunView> {
        let run_id: RunId = plan_report::text(run, "executionId")?.parse().ok()?;
        if let Some(known) = self.runs.get(&run_id) {
            return Some(self.known(known));
        }
        let task_id = task_of(run);
        let status = plan_report::text(run, "status").or_else(|| plan_report::text(run, "executionStatus"));
        Some(PlanRunView {
            run_id,
            task_id,
            task_name: task_id.and_then(|id| self.tasks.get(&id).cloned()),
            status: status.unwrap_or("unknown").to_ascii_lowercase(),
            start_timestamp: plan_report::time(run, "startTimestamp"),
            finish_timestamp: plan_report::time(run, "finishTimestamp"),
            error_message: plan_report::text(run, "errorMessage").map(str::to_owned),
            is_archived: false,
        })
    }

    fn known(&self, run: &Run) -> PlanRunView {
        PlanRunView {
            run_id: run.id,
            task_id: Some(run.task_id),
            task_name: self.tasks.get(&run.task_id).cloned(),
            status: run.status.coarse().to_string(),
            start_timestamp: run.started_at,
            finish_timestamp: run.finished_at,
            error_message: run.error_message.clone(),
            is_archived: true,
        }
    }
}

fn line(listed: &ListedPlanExecution) -> PlanLine {
    match listed {
        ListedPlanExecution::Reported(reported) => {
            let ReportedExecution { execution, plan_name, workspace_id, status, started_at, finished_at } = reported;
            PlanLine {
                plan_name: plan_name.clone(),
                status: status.clone(),
                start_timestamp: *started_at,
                finish_timestamp: *finished_at,
                ..reported_line(execution, *workspace_id)
            }
        }
        ListedPlanExecution::OfRuns(execution) => derived_line(execution),
    }
}

fn reported_line(execution: &Fields, workspace_id: Option<WorkspaceId>) -> PlanLine {
    let text = |name: &str| plan_report::text(execution, name).map(str::to_owned);
    let count = |name: &str| plan_report::number(execution, name).and_then(|count| u64::try_from(count).ok());
    PlanLine {
        execution_id: text("executionId").unwrap_or_default(),
        plan_id: text("planId").unwrap_or_default(),
        plan_name: None,
        workspace_id,
        status: String::new(),
        start_timestamp: plan_report::time(execution, "startTimestamp").unwrap_or(Timestamp::clamped(0)),
        finish_timestamp: plan_report::time(execution, "finishTimestamp"),
        planned: count("plannedExecutableCount"),
        done: count("doneExecutableCount"),
        misfired_reason: text("misfiredExecutionReason"),
        is_reported: true,
    }
}

fn derived_line(execution: &PlanExecution) -> PlanLine {
    let done = execution.runs.iter().filter(|run| run.status.is_final()).count();
    PlanLine {
        execution_id: execution.id.clone(),
        plan_id: execution.plan_id.clone(),
        plan_name: execution.runs.iter().find_map(|run| run.plan.name.clone()),
        workspace_id: execution.runs.first().map(|run| run.workspace_id),
        status: execution.status.as_str().to_owned(),
        start_timestamp: execution.started_at,
        finish_timestamp: execution.finished_at,
        planned: Some(execution.runs.len() as u64),
        done: Some(done as u64),
        misfired_reason: None,
        is_reported: false,
    }
}

fn view_of_report(
    report: &PlanReport,
    workspace_id: Option<WorkspaceId>,
    known: &KnownRuns<'_>,
    viewed: &ViewableWorkspaces,
) -> PlanView {
    let part = |fields: &Fields| PlanPartView {
        id: plan_report::text(fields, "id").map(str::to_owned),
        outcome: plan_report::step_outcome(fields).as_str().to_owned(),
        execution_status: plan_report::text(fields, "executionStatus").map(str::to_owned),
        start_timestamp: plan_report::time(fields, "startTimestamp"),
        finish_timestamp: plan_report::time(fields, "finishTimestamp"),
        planned: plan_report::number(fields, "plannedExecutableCount").and_then(|count| u64::try_from(count).ok()),
        runs: known.of(fields, viewed),
        plan_executions: plan_report::plans(fields)
            .filter_map(|plan| plan_report::text(plan, "executionId").map(str::to_owned))
            .collect(),
    };
    let steps: Vec<PlanStepView> = report
        .steps
        .iter()
        .enumerate()
        .map(|(position, step)| PlanStepView {
            part: part(&step.step),
            name: step.name.clone(),
            condition: step.condition.clone(),
            not_started_because: report.why_not_started(position),
            error_handler: step.error_handler.as_ref().map(&part),
        })
        .collect();
    let mut other_runs = known.of(&report.execution, viewed);
    let named = |run: &PlanRunView| {
        let parts = steps.iter().flat_map(|step| [Some(&step.part), step.error_handler.as_ref()]).flatten();
        parts.flat_map(|part| &part.runs).any(|other| other.run_id == run.run_id)
    };
    other_runs.retain(|run| !named(run));
    PlanView {
        plan: PlanLine {
            plan_name: report.plan_name.clone(),
            status: report.status(),
            ..reported_line(&report.execution, workspace_id)
        },
        workspace_name: None,
        execution_type: plan_report::text(&report.execution, "executionType").map(str::to_owned),
        user_id: plan_report::text(&report.execution, "userId").unwrap_or_default().to_owned(),
        reason: reason_of(report, &steps),
        steps,
        other_runs,
        earlier: Vec::new(),
    }
}

/// The reason why a plan execution failed, in one sentence.
fn reason_of(report: &PlanReport, steps: &[PlanStepView]) -> Option<String> {
    if let Some(reason) = plan_report::text(&report.execution, "misfiredExecutionReason") {
        return Some(format!("the plan did not start: {reason}"));
    }
    let failed = StepOutcome::Failed.as_str();
    let (position, step) = steps.iter().enumerate().find(|(_, step)| step.part.outcome == failed)?;
    let name = step.name.clone().unwrap_or_else(|| format!("{}", position + 1));
    let mut text = format!("step {name} failed");
    if !step.part.runs.is_empty() {
        let good = [RunStatus::Successful.to_string(), RunStatus::Rejected.to_string()];
        let bad = step.part.runs.iter().filter(|run| !good.contains(&run.status)).count();
        text += &format!(": {bad} of {}", counted(step.part.runs.len(), "run"));
    }
    let left = steps.iter().filter(|step| step.not_started_because.is_some()).count();
    if left > 0 {
        text += &format!(
            "; {} not started",
            if left == 1 { "1 step was".to_owned() } else { format!("{left} steps were") }
        );
    }
    Some(text)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn view_of_runs(execution: &PlanExecution, known: &KnownRuns<'_>) -> PlanView {
    let other_runs =
        execution.runs.iter().filter(|run| run.plan.step_id.is_none()).map(|run| known.known(run)).collect();
    let step = |(id, runs): (String, Vec<Run>)| {
        let outcome = match PlanStatus::of_runs(&runs) {
            PlanStatus::Executing => StepOutcome::Running,
            PlanStatus::Successful => StepOutcome::Succeeded,
            PlanStatus::Failed => StepOutcome::Failed,
            PlanStatus::Misfired => StepOutcome::Unknown,
        };
        PlanStepView {
            part: PlanPartView {
                outcome: outcome.as_str().to_owned(),
                execution_status: Some(PlanStatus::of_runs(&runs).detailed().to_owned()),
                start_timestamp: runs.iter().filter_map(|run| run.started_at).min(),
                finish_timestamp: runlog_model::plan::finished_at(&runs),
                planned: None,
                runs: runs.iter().map(|run| known.known(run)).collect(),
                plan_executions: Vec::new(),
                id: Some(id),
            },
            name: None,
            condition: None,
            not_started_because: None,
            error_handler: None,
        }
    };
    PlanView {
        plan: derived_line(execution),
        workspace_name: None,
        execution_type: Some(execution.execution_type.to_string()),
        user_id: execution.user_id.clone(),
        reason: None,
        steps: steps_of(execution.runs.clone()).into_iter().map(step).collect(),
        other_runs,
        earlier: Vec::new(),
    }
}
