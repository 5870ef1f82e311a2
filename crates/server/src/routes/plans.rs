//! `/processing/…/plans/…`: plan executions, as the upstream that ran them describes them or, if none does, derived from
//! the runs that are part of them; and `/orchestration/executables/plans`, the plans of upstreams.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use runlog_model::plan::{PlanExecution, PlanStatus};
use runlog_model::plan_report::{self, Fields, PlanReport, StepReport};
use runlog_model::wire::ErrorBody;
use runlog_model::wire::executions::{DETAILS_FIELD, ListPage};
use runlog_model::wire::plans::{PlanDetails, PlanExecutionBody, PlanItem, StepBody, StepDetailsBody};
use runlog_model::workspaces::Right;
use runlog_model::{Run, TaskId, WorkspaceId};
use runlog_store::accounts::Caller;
use runlog_store::plans::{ListedPlanExecution, PlanDefinition, PlanDefinitionFilter, PlanFilter, StoredPlan};
use serde_json::Value;

use super::executions::asks_for_details;
use crate::app::App;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::parameter_groups::{PageQuery, ScopeQuery, WindowQuery};
use crate::http::parameters::{Query, query_parameters};

query_parameters! {
    /// Parameters of the list of the executions of a plan.
    pub(crate) struct PlanExecutionsQuery {
        ..window: WindowQuery,
        ..page: PageQuery,
        /// Only plan executions with this status.
        status: Option<PlanStatus> = "status",
    }
}

query_parameters! {
    /// Parameters of the list of plan executions.
    pub(crate) struct AllPlanExecutionsQuery {
        ..query: PlanExecutionsQuery,
        ..scope: ScopeQuery,
    }
}

/// `GET /processing/executables/plans/executions`: lists the executions of all plans, newest first.
#[utoipa::path(
    get,
    path = "/processing/executables/plans/executions",
    tag = "plans",
    responses((status = 200, description = "Plan executions, newest first", body = ListPage<PlanExecutionBody>))
)]
pub(crate) async fn of_all_plans(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(AllPlanExecutionsQuery { query, scope }): Query<AllPlanExecutionsQuery>,
) -> ApiResult<Json<ListPage<Value>>> {
    list(&app, &caller, &query, &scope, None).await
}

/// `GET /processing/executables/plans/{planId}/executions`: lists the executions of a plan, newest first.
#[utoipa::path(
    get,
    path = "/processing/executables/plans/{plan_id}/executions",
    tag = "plans",
    params(("plan_id" = String, Path, description = "ID of the plan")),
    responses((status = 200, description = "Plan executions, newest first", body = ListPage<PlanExecutionBody>))
)]
pub(crate) async fn of_plan(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(plan_id): Path<String>,
    Query(query): Query<PlanExecutionsQuery>,
) -> ApiResult<Json<ListPage<Value>>> {
    let everywhere = ScopeQuery { environment_id: None, workspace_id: None };
    list(&app, &caller, &query, &everywhere, Some(plan_id)).await
}

async fn list(
    app: &App,
    caller: &Caller,
    query: &PlanExecutionsQuery,
    scope: &ScopeQuery,
    plan_id: Option<String>,
) -> ApiResult<Json<ListPage<Value>>> {
    let (limit, offset) = query.page.limit_and_offset();
    let overlapping = query.window.range(app.now(), app.settings().window_days_max)?;
    let scope = rights::viewed_scope(app.store(), caller, scope).await?;
    let filter = PlanFilter {
        plan_id,
        workspace_ids: scope.workspace_ids,
        environment_id: scope.environment_id,
        status: query.status,
        overlapping,
        limit,
        offset,
    };
    let (executions, total) = app.store().runs().plan_executions(&filter).await?;
    let item = |execution: ListedPlanExecution| match execution {
        ListedPlanExecution::Reported(reported) => Ok(Value::Object(reported.execution)),
        ListedPlanExecution::OfRuns(execution) => json(&PlanExecutionBody::from(&execution)),
    };
    let items = executions.into_iter().map(item).collect::<ApiResult<_>>()?;
    Ok(Json(ListPage { items, limit, offset, total }))
}

/// `POST /processing/executions/plans`: always fails, because Runlog does not start plan executions.
#[utoipa::path(
    post,
    path = "/processing/executions/plans",
    tag = "plans",
    request_body(content = serde_json::Value, description = "`executable` and other fields that name the plan; ignored"),
    responses((status = 501, description = "Always, because Runlog does not start plan executions", body = ErrorBody))
)]
pub(crate) async fn start() -> ApiError {
    let message = "Runlog does not start plan executions";
    ApiError::new(StatusCode::NOT_IMPLEMENTED, message).with_detail("start the plan in Talend Cloud")
}

/// `GET /processing/executions/plans/{planExecutionId}`: returns a plan execution with its ended runs.
#[utoipa::path(
    get,
    path = "/processing/executions/plans/{id}",
    tag = "plans",
    params(("id" = String, Path, description = "ID")),
    responses((status = 200, description = "The plan execution", body = PlanExecutionBody))
)]
pub(crate) async fn one(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> ApiResult<Json<Value>> {
    let (mut body, details) = match execution(&app, &caller, &id).await? {
        Found::Reported(stored, viewed) => {
            let details = PlanDetails::from(&stored.report);
            (Value::Object(viewed.of(stored.report.execution)), details)
        }
        Found::OfRuns(execution) => {
            let body = json(&PlanExecutionBody::with_runs(&execution, &app.settings().account_id))?;
            (body, PlanDetails::from(&execution))
        }
    };
    if asks_for_details(&headers) {
        body[DETAILS_FIELD] = json(&details)?;
    }
    Ok(Json(body))
}

/// `GET /processing/executions/plans/{planExecutionId}/steps`: lists the steps of a plan execution.
#[utoipa::path(
    get,
    path = "/processing/executions/plans/{id}/steps",
    tag = "plans",
    params(("id" = String, Path, description = "ID")),
    responses((status = 200, description = "The steps, in the order in which they were designed or, if they are derived from runs, of their first runs", body = Vec<StepBody>))
)]
pub(crate) async fn steps(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> ApiResult<Json<Vec<Value>>> {
    let found = match execution(&app, &caller, &id).await? {
        Found::Reported(stored, _) => {
            let listed = stored.report.steps.into_iter().filter(|step| step.is_listed);
            return Ok(Json(listed.map(|step| Value::Object(in_list(step.step))).collect()));
        }
        Found::OfRuns(execution) => steps_of(execution.runs),
    };
    Ok(Json(found.iter().map(|(step, runs)| json(&StepBody::new(step, runs))).collect::<ApiResult<_>>()?))
}

/// `GET /processing/executions/plans/{planExecutionId}/steps/{stepExecutionId}`: returns a step with its runs.
#[utoipa::path(
    get,
    path = "/processing/executions/plans/{id}/steps/{step_id}",
    tag = "plans",
    params(("id" = String, Path, description = "ID"), ("step_id" = String, Path, description = "ID of the step")),
    responses((status = 200, description = "The step", body = StepDetailsBody))
)]
pub(crate) async fn step(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path((id, step_id)): Path<(String, String)>,
) -> ApiResult<Json<Value>> {
    let execution = match execution(&app, &caller, &id).await? {
        Found::Reported(stored, viewed) => {
            let step = step_with_id(&stored.report, &step_id).ok_or_else(|| no_step(&id, &step_id))?;
            return Ok(Json(Value::Object(with_counts(viewed.of(step.step)))));
        }
        Found::OfRuns(execution) => execution,
    };
    let found = steps_of(execution.runs).into_iter().find(|(step, _)| *step == step_id);
    let (step, runs) = found.ok_or_else(|| {
        let message = format!("no run of plan execution {} names the step {}", shown(&id), shown(&step_id));
        ApiError::not_found(message)
    })?;
    Ok(Json(json(&StepDetailsBody::new(&step, &runs, &app.settings().account_id))?))
}

/// `GET /processing/executions/plans/{planExecutionId}/steps/{stepExecutionId}/error-handler`: returns the error handler
/// that ran after a step, with its runs.
#[utoipa::path(
    get,
    path = "/processing/executions/plans/{id}/steps/{step_id}/error-handler",
    tag = "plans",
    params(("id" = String, Path, description = "ID"), ("step_id" = String, Path, description = "ID of the step")),
    responses((status = 200, description = "The error handler", body = StepDetailsBody))
)]
pub(crate) async fn error_handler(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path((id, step_id)): Path<(String, String)>,
) -> ApiResult<Json<Value>> {
    let none = || {
        let message = format!("no error handler ran after step {} of plan execution {}", shown(&step_id), shown(&id));
        ApiError::not_found(message)
    };
    match execution(&app, &caller, &id).await? {
        Found::Reported(stored, viewed) => {
            let step = step_with_id(&stored.report, &step_id).ok_or_else(|| no_step(&id, &step_id))?;
            let handler = step.error_handler.ok_or_else(none)?;
            Ok(Json(Value::Object(with_counts(viewed.of(handler)))))
        }
        Found::OfRuns(_) => Err(none().with_detail("the runs from which the plan execution is derived do not show it")),
    }
}

query_parameters! {
    /// Parameters of the list of plans.
    pub(crate) struct PlansQuery {
        ..page: PageQuery,
        ..scope: ScopeQuery,
        /// Prefix of the name.
        name: Option<String> = "name",
        /// Only this plan.
        plan_id: Option<String> = "planId",
        /// Only plans with this task, in a step or an error handler.
        task_id: Option<TaskId> = "taskId",
    }
}

/// `GET /orchestration/executables/plans`: lists the plans of upstreams, by name.
#[utoipa::path(
    get,
    path = "/orchestration/executables/plans",
    tag = "plans",
    responses((status = 200, description = "Plans with collected executions, by name", body = ListPage<PlanItem>))
)]
pub(crate) async fn definitions(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(PlansQuery { page, scope, name, plan_id, task_id }): Query<PlansQuery>,
) -> ApiResult<Json<ListPage<PlanItem>>> {
    let (limit, offset) = page.limit_and_offset();
    let rights::Scope { environment_id, workspace_ids } = rights::viewed_scope(app.store(), &caller, &scope).await?;
    let filter = PlanDefinitionFilter { plan_id, task_id, name, workspace_ids, environment_id, limit, offset };
    let (plans, total) = app.store().plans().definitions(&filter).await?;
    let mut items = Vec::with_capacity(plans.len());
    for PlanDefinition { plan_id, name, workspace_id, definition } in plans {
        let workspace = match workspace_id {
            Some(id) => app.store().workspaces().get(id).await?,
            None => None,
        };
        items.push(PlanItem {
            executable: plan_id,
            name,
            description: plan_report::text(&definition, "description").map(str::to_owned),
            workspace: workspace.as_ref().map(Into::into),
            chart: None,
        });
    }
    Ok(Json(ListPage { items, limit, offset, total }))
}

/// `GET /orchestration/executables/plans/{planId}`: returns a plan of an upstream, as the upstream defines it.
#[utoipa::path(
    get,
    path = "/orchestration/executables/plans/{plan_id}",
    tag = "plans",
    params(("plan_id" = String, Path, description = "ID of the plan")),
    responses((status = 200, description = "The plan", body = PlanItem))
)]
pub(crate) async fn definition(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(plan_id): Path<String>,
) -> ApiResult<Json<Value>> {
    let none = || {
        ApiError::not_found(format!("the archive has no plan {}", shown(&plan_id)))
            .with_detail("it has the plans of upstreams whose executions were collected")
    };
    let filter = PlanDefinitionFilter { plan_id: Some(plan_id.clone()), limit: 1, ..PlanDefinitionFilter::default() };
    let (plans, _) = app.store().plans().definitions(&filter).await?;
    let plan = plans.into_iter().next().ok_or_else(none)?;
    let workspace_id: WorkspaceId = plan.workspace_id.ok_or_else(none)?;
    rights::require(app.store(), &caller, workspace_id, &[Right::View]).await?;
    Ok(Json(Value::Object(plan.definition)))
}

/// A plan execution of a path.
pub(super) enum Found {
    /// As an upstream describes it, and the workspaces whose runs the caller may view.
    Reported(Box<StoredPlan>, ViewableWorkspaces),
    /// Derived from its runs.
    OfRuns(PlanExecution),
}

/// The workspaces that the caller may view; none for all.
pub(super) struct ViewableWorkspaces(pub(super) Option<Vec<WorkspaceId>>);

impl ViewableWorkspaces {
    /// True if a description of a run, or of a plan execution, names a workspace that the caller may view. Who may not view
    /// all does not see those that name none.
    pub(super) fn has(&self, run: &Fields) -> bool {
        let workspace = plan_report::text(run, "workspaceId").and_then(|id| id.parse::<WorkspaceId>().ok());
        match (&self.0, workspace) {
            (Some(viewed), Some(workspace)) => viewed.contains(&workspace),
            (Some(_), None) => false,
            (None, _) => true,
        }
    }

    /// The same object without the runs, and the plan executions in it, that the caller may not view. They are nested: an
    /// error handler starts plans, which start runs.
    fn of(&self, mut fields: Fields) -> Fields {
        for name in ["doneExecutableDetails", "doneTaskExecutableDetails", "donePlanExecutableDetails"] {
            if let Some(Value::Array(parts)) = fields.get_mut(name) {
                let viewed = std::mem::take(parts).into_iter().filter_map(|part| match part {
                    Value::Object(part) if self.has(&part) => Some(Value::Object(self.of(part))),
                    _ => None,
                });
                *parts = viewed.collect();
            }
        }
        fields
    }
}

/// The plan execution of a path, if the caller may view its workspace or, if it is derived, all of its runs. 404, then 403.
pub(super) async fn execution(app: &App, caller: &Caller, id: &str) -> ApiResult<Found> {
    if let Some(stored) = app.store().plans().get(id).await? {
        match stored.workspace_id {
            Some(workspace) => rights::require(app.store(), caller, workspace, &[Right::View]).await?,
            // Whose it is will be known once one of its runs is.
            None => rights::administrator(caller)?,
        }
        let viewed = app.store().accounts().workspaces_with(caller, Right::View).await?;
        return Ok(Found::Reported(Box::new(stored), ViewableWorkspaces(viewed)));
    }
    let runs = app.store().runs().plan_execution_runs(id).await?;
    for run in &runs {
        rights::require(app.store(), caller, run.workspace_id, &[Right::View]).await?;
    }
    PlanExecution::of_runs(runs).map(Found::OfRuns).ok_or_else(|| {
        ApiError::not_found(format!(
            "no upstream describes a plan execution {}, and no run in this archive is part of it",
            shown(id)
        ))
    })
}

/// A step by its ID, or by that of its execution.
fn step_with_id(report: &PlanReport, id: &str) -> Option<StepReport> {
    let with = |name: &str| {
        report.steps.iter().find(|step| step.is_listed && plan_report::text(&step.step, name) == Some(id)).cloned()
    };
    with("executionId").or_else(|| with("id"))
}

/// The form of a step in the list of steps.
fn in_list(mut step: Fields) -> Fields {
    step.retain(|name, _| !name.starts_with("done") && name != "plannedExecutableCount");
    step
}

/// The form of a step by its ID, which has counts.
fn with_counts(mut step: Fields) -> Fields {
    let runs = plan_report::runs(&step).count();
    for name in ["plannedExecutableCount", "doneExecutableCount"] {
        if !step.get(name).is_some_and(Value::is_number) {
            step.insert(name.to_owned(), Value::from(runs));
        }
    }
    step
}

fn no_step(id: &str, step_id: &str) -> ApiError {
    ApiError::not_found(format!("plan execution {} has no step {}", shown(id), shown(step_id)))
}

fn json(body: &impl serde::Serialize) -> ApiResult<Value> {
    serde_json::to_value(body).map_err(|error| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "a plan execution has no JSON form")
            .with_detail(error.to_string())
    })
}

/// The steps of runs, in the order of their first run.
pub(super) fn steps_of(runs: Vec<Run>) -> Vec<(String, Vec<Run>)> {
    let mut steps: Vec<(String, Vec<Run>)> = Vec::new();
    for run in runs {
        let Some(id) = run.plan.step_id.clone() else { continue };
        match steps.iter_mut().find(|(step, _)| *step == id) {
            Some((_, runs)) => runs.push(run),
            None => steps.push((id, vec![run])),
        }
    }
    steps
}

pub(super) fn shown(id: &str) -> String {
    format!("{:?}", id.chars().take(64).collect::<String>())
}
