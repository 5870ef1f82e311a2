//! `/processing/…`: the runs of a task, and one run.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use az::SaturatingAs;
use runlog_model::place::Right;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::executions::{JobExecution, ListPage, StartExecution, StartedExecution, TaskExecution};
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{RunId, RunStatus, TimeRange, Timestamp};
use runlog_store::accounts::Caller;
use runlog_store::runs::RunFilter;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::json::{self, JsonBody};
use crate::http::parameters::{Params, RuntimeQuery, ScopeQuery, WindowQuery, bounded, parse_id};
use crate::ingest::run_hook::WantedRun;

const DAY_MS: i64 = 86_400_000;

/// `GET /processing/executables/tasks/{taskId}/executions`: lists the runs of a task, newest first.
#[utoipa::path(
    get,
    path = "/processing/executables/tasks/{id}/executions",
    tag = "runs",
    params(("id" = runlog_model::TaskId, Path, description = "ID"), WindowQuery, RuntimeQuery, ("status" = Option<RunStatus>, Query, description = "Only runs with this status")),
    responses((status = 200, description = "Runs, newest first", body = ListPage<TaskExecution>))
)]
pub(crate) async fn of_task(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult<Json<ListPage<TaskExecution>>> {
    let task_id = parse_id("taskId", &id)?;
    let (limit, offset) = params.limit_and_offset()?;
    let (status, overlapping) = (params.word("status")?, window(&app, &params)?);
    let workspace_ids = rights::workspaces_of_task(app.store(), &caller, task_id).await?;
    let task_id = Some(task_id);
    let filter = RunFilter {
        task_id,
        workspace_ids,
        status,
        overlapping,
        artifact_id: params.text("artifactId").map(str::to_owned),
        runtime: runtime(&params),
        limit,
        offset,
        ..RunFilter::default()
    };
    let (runs, total) = app.store().runs().list(&filter).await?;
    Ok(Json(ListPage { items: runs.iter().map(Into::into).collect(), limit, offset, total }))
}

/// `GET /processing/executables/tasks/executions`: lists the runs of all tasks that the caller may view.
#[utoipa::path(
    get,
    path = "/processing/executables/tasks/executions",
    tag = "runs",
    params(WindowQuery, ScopeQuery, RuntimeQuery, ("status" = Option<RunStatus>, Query, description = "Only runs with this status")),
    responses((status = 200, description = "Runs, newest first", body = ListPage<TaskExecution>))
)]
pub(crate) async fn of_all_tasks(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    params: Params,
) -> ApiResult<Json<ListPage<TaskExecution>>> {
    list_all(&app, &caller, &params, Vec::new()).await
}

/// `POST /processing/executables/tasks/executions`: the same, with the filters in the body, which also supports tags.
#[utoipa::path(
    post,
    path = "/processing/executables/tasks/executions",
    tag = "runs",
    request_body(content = ExecutionSearch),
    responses((status = 200, description = "Runs, newest first", body = ListPage<TaskExecution>))
)]
pub(crate) async fn search(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> ApiResult<Json<ListPage<TaskExecution>>> {
    let tags = tags(&body)?;
    list_all(&app, &caller, &Params::from_body(&body, SEARCH_FIELDS)?, tags).await
}

/// Fields of the body that are read as parameters.
const SEARCH_FIELDS: &[&str] = &[
    "environmentId",
    "workspaceId",
    "status",
    "lastDays",
    "from",
    "to",
    "limit",
    "offset",
    "artifactId",
    "runtimeType",
    "runtimeId",
    "runtimeRunProfileId",
];

async fn list_all(
    app: &App,
    caller: &Caller,
    params: &Params,
    tags: Vec<String>,
) -> ApiResult<Json<ListPage<TaskExecution>>> {
    let (limit, offset) = params.limit_and_offset()?;
    let (status, overlapping) = (params.word("status")?, window(app, params)?);
    let scope = rights::viewed_scope(app.store(), caller, params).await?;
    let filter = RunFilter {
        task_id: None,
        workspace_ids: scope.workspace_ids,
        environment_id: scope.environment_id,
        tags,
        status,
        overlapping,
        artifact_id: params.text("artifactId").map(str::to_owned),
        runtime: runtime(params),
        limit,
        offset,
    };
    let (runs, total) = app.store().runs().list(&filter).await?;
    Ok(Json(ListPage { items: runs.iter().map(Into::into).collect(), limit, offset, total }))
}

/// The filters by where a run took place.
pub(crate) fn runtime(params: &Params) -> Vec<(&'static str, String)> {
    let names = [("runtimeType", "type"), ("runtimeId", "id"), ("runtimeRunProfileId", "runProfileId")];
    names.into_iter().filter_map(|(name, field)| Some((field, params.text(name)?.to_owned()))).collect()
}

/// The field `tags` of a body: all of them must fit.
pub(crate) fn tags(body: &Map<String, Value>) -> ApiResult<Vec<String>> {
    let wrong = || ApiError::invalid("tags: must be an array of strings");
    match body.get("tags") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(tags)) => {
            let tags = tags.iter().map(|tag| tag.as_str().map(str::to_owned).ok_or_else(wrong));
            bounded("tags", tags.collect::<ApiResult<_>>()?)
        }
        Some(_) => Err(wrong()),
    }
}

/// `POST /processing/executions`: requests a run; requires a run hook, because Runlog itself does not start runs.
#[utoipa::path(
    post,
    path = "/processing/executions",
    tag = "runs",
    request_body(content = StartExecution),
    responses((status = 201, description = "The run hook has accepted the run", body = StartedExecution), (status = 501, description = "No run hook is configured", body = ErrorBody))
)]
pub(crate) async fn start(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    change: AuditedChange,
    body: Body,
) -> ApiResult<(StatusCode, Json<StartedExecution>)> {
    let Some(hook) = &app.settings().run_hook else {
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, "Runlog does not start runs").with_detail(
            "start the run in Talend Cloud, push one with PUT /runlog/v1/runs/{runId}, or set --run-hook",
        ));
    };
    let wanted: StartExecution = json::parse(&json::read(body, app.settings().bounds.body_bytes_max).await?)?;
    if wanted.timeout == Some(0) {
        return Err(ApiError::invalid("timeout: must be at least one minute"));
    }
    let task =
        rights::task(app.store(), &caller, parse_id("executable", &wanted.executable)?, &[Right::Execute]).await?;
    let run_id = RunId::random(app.random());
    let start = StartRun {
        status: Some(RunStatus::Dispatching),
        log_level: wanted.log_level.clone(),
        timeout: wanted.timeout,
        ..StartRun::of_task(task.id)
    };
    // The run is known before the hook is: what the hook starts may push at once.
    change.store(StatusCode::CREATED).runs().start(run_id, &start, &caller).await?;
    let run = WantedRun {
        log_level: wanted.log_level.as_deref(),
        timeout: wanted.timeout,
        ..WantedRun::new(run_id, &task, &caller.name, &wanted.parameters)
    };
    if let Err(error) = hook.call(&run).await {
        let message = format!("run {run_id} was not started: {error}");
        let finish =
            FinishRun { error_message: Some(message.clone()), ..FinishRun::with_status(RunStatus::DeployFailed) };
        app.store().runs().finish(run_id, &finish).await?;
        let cause = Some(std::sync::Arc::new(error) as std::sync::Arc<dyn std::error::Error + Send + Sync>);
        return Err(ApiError { cause, ..ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message) });
    }
    Ok((StatusCode::CREATED, Json(StartedExecution { execution_id: run_id })))
}

/// `DELETE /processing/executions/{executionId}`: always fails, because Runlog cannot stop runs.
#[utoipa::path(
    delete,
    path = "/processing/executions/{id}",
    tag = "runs",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    responses((status = 400, description = "Always for an existing run, because Runlog does not stop runs", body = ErrorBody))
)]
pub(crate) async fn stop(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let run = rights::run_brief(app.store(), &caller, &id, &[Right::Execute]).await?;
    let message = format!("run {} cannot be ended here: Runlog does not control running jobs", run.id);
    Err(ApiError::invalid(message).with_detail(
        "end it in Talend Cloud, or where it runs; use POST /runlog/v1/runs/{runId}/finish to record that it has ended",
    ))
}

/// `GET /processing/executions/{executionId}`: returns a run.
#[utoipa::path(
    get,
    path = "/processing/executions/{id}",
    tag = "runs",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    responses((status = 200, description = "The run", body = JobExecution))
)]
pub(crate) async fn one(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> ApiResult<Json<JobExecution>> {
    let run = rights::run(app.store(), &caller, &id, &[Right::View]).await?;
    Ok(Json(JobExecution::new(&run, &app.settings().account_id)))
}

/// The period of a list: `lastDays`, or `from` and `to`, or the longest allowed one.
pub(crate) fn window(app: &App, params: &Params) -> ApiResult<TimeRange> {
    let days_max = app.settings().window_days_max;
    let now = app.now();
    if let Some(days) = params.number("lastDays", 1..=days_max.unsigned_abs())? {
        return Ok(TimeRange { start: Some(now.plus_millis(-days.saturating_as::<i64>() * DAY_MS)), end: Some(now) });
    }
    let (from, to) = (epoch_ms(params, "from")?, epoch_ms(params, "to")?);
    let end = to.unwrap_or(now);
    let start = from.unwrap_or(end.plus_millis(-days_max * DAY_MS));
    if start > end {
        return Err(ApiError::invalid(format!("from {start} is later than to {end}")));
    }
    if end.millis_since(start) > days_max * DAY_MS {
        return Err(ApiError::invalid(format!("from and to are more than {days_max} days apart; split the request")));
    }
    Ok(TimeRange { start: Some(start), end: Some(end) })
}

fn epoch_ms(params: &Params, name: &str) -> ApiResult<Option<Timestamp>> {
    let number = params.number(name, 0..=Timestamp::MAX.as_millis().unsigned_abs())?;
    Ok(number.map(|ms| Timestamp::clamped(ms.saturating_as::<i64>())))
}

/// Body of a search of executions; read as parameters.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "it is described and never made")]
pub(crate) struct ExecutionSearch {
    /// Only items of this environment.
    environment_id: Option<String>,
    /// Only items of this workspace.
    workspace_id: Option<String>,
    /// Only executions with this status.
    status: Option<runlog_model::RunStatus>,
    /// Only executions of tasks with all of these tags.
    tags: Option<Vec<String>>,
    /// Only items of this artifact.
    artifact_id: Option<String>,
    /// Only items of this kind of runtime, such as `REMOTE_ENGINE`.
    runtime_type: Option<String>,
    /// Only items of this engine or cluster.
    runtime_id: Option<String>,
    /// Only items of this run profile.
    runtime_run_profile_id: Option<String>,
    /// Only executions of the last so many days.
    last_days: Option<u64>,
    /// Epoch milliseconds.
    from: Option<u64>,
    /// Epoch milliseconds.
    to: Option<u64>,
    /// Maximum number of items per page.
    limit: Option<u64>,
    /// Number of items to skip.
    offset: Option<u64>,
}
