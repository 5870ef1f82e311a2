//! `/processing/…/plans/…`: plan executions, derived from the runs that are part of them.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use runlog_model::Run;
use runlog_model::place::Right;
use runlog_model::plan::{PlanExecution, PlanStatus};
use runlog_model::wire::ErrorBody;
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::plans::{PlanExecutionBody, StepBody, StepDetailsBody};
use runlog_store::accounts::Caller;
use runlog_store::runs::PlanFilter;

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
) -> ApiResult<Json<ListPage<PlanExecutionBody>>> {
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
) -> ApiResult<Json<ListPage<PlanExecutionBody>>> {
    let everywhere = ScopeQuery { environment_id: None, workspace_id: None };
    list(&app, &caller, &query, &everywhere, Some(plan_id)).await
}

async fn list(
    app: &App,
    caller: &Caller,
    query: &PlanExecutionsQuery,
    scope: &ScopeQuery,
    plan_id: Option<String>,
) -> ApiResult<Json<ListPage<PlanExecutionBody>>> {
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
    Ok(Json(ListPage { items: executions.iter().map(Into::into).collect(), limit, offset, total }))
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
) -> ApiResult<Json<PlanExecutionBody>> {
    let execution = execution(&app, &caller, &id).await?;
    Ok(Json(PlanExecutionBody::with_runs(&execution, &app.settings().account_id)))
}

/// `GET /processing/executions/plans/{planExecutionId}/steps`: lists the steps that the runs of a plan execution name.
#[utoipa::path(
    get,
    path = "/processing/executions/plans/{id}/steps",
    tag = "plans",
    params(("id" = String, Path, description = "ID")),
    responses((status = 200, description = "The steps, in the order of their first runs", body = Vec<StepBody>))
)]
pub(crate) async fn steps(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> ApiResult<Json<Vec<StepBody>>> {
    let steps = steps_of(execution(&app, &caller, &id).await?.runs);
    Ok(Json(steps.iter().map(|(step, runs)| StepBody::new(step, runs)).collect()))
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
) -> ApiResult<Json<StepDetailsBody>> {
    let steps = steps_of(execution(&app, &caller, &id).await?.runs);
    let found = steps.into_iter().find(|(step, _)| *step == step_id);
    let (step, runs) = found.ok_or_else(|| {
        let message = format!("no run of plan execution {} names the step {}", shown(&id), shown(&step_id));
        ApiError::not_found(message)
    })?;
    Ok(Json(StepDetailsBody::new(&step, &runs, &app.settings().account_id)))
}

/// The plan execution of a path, if the caller may view all of its runs. 404, then 403.
async fn execution(app: &App, caller: &Caller, id: &str) -> ApiResult<PlanExecution> {
    let runs = app.store().runs().plan_execution_runs(id).await?;
    for run in &runs {
        rights::require(app.store(), caller, run.workspace_id, &[Right::View]).await?;
    }
    PlanExecution::of_runs(runs)
        .ok_or_else(|| ApiError::not_found(format!("no run in this archive is part of a plan execution {}", shown(id))))
}

/// The steps of runs, in the order of their first run.
fn steps_of(runs: Vec<Run>) -> Vec<(String, Vec<Run>)> {
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

fn shown(id: &str) -> String {
    format!("{:?}", id.chars().take(64).collect::<String>())
}
