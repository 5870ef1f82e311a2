//! `/processing/…`: the runs of a task, and one run.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use runlog_model::run::LogLevel;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::executions::{
    DETAILS_HEADER, JobExecution, ListPage, RunDetails, StartExecution, StartedExecution, TaskExecution,
};
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::workspaces::Right;
use runlog_model::{Run, RunId, RunStatus};
use runlog_store::accounts::Caller;
use runlog_store::runs::RunFilter;

use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::json;
use crate::http::parameter_groups::{PageQuery, RuntimeQuery, ScopeQuery, WindowQuery};
use crate::http::parameter_types::StringArray;
use crate::http::parameters::{BodyFields, Query, parse_id, query_parameters};
use crate::ingest::run_hook::RequestedRun;

query_parameters! {
    /// Parameters of the list of the runs of a task.
    pub(crate) struct TaskExecutionsQuery {
        ..window: WindowQuery,
        ..page: PageQuery,
        ..runtime: RuntimeQuery,
        /// Only runs with this status.
        status: Option<RunStatus> = "status",
    }
}

query_parameters! {
    /// Parameters of the list of runs.
    pub(crate) struct ExecutionsQuery {
        ..window: WindowQuery,
        ..page: PageQuery,
        ..scope: ScopeQuery,
        ..runtime: RuntimeQuery,
        /// Only runs with this status.
        status: Option<RunStatus> = "status",
    }
}

query_parameters! {
    /// Body of a search of executions.
    pub(crate) struct ExecutionSearch {
        ..query: ExecutionsQuery,
        /// Only executions of tasks with all of these tags.
        tags: StringArray = "tags",
    }
}

/// `GET /processing/executables/tasks/{taskId}/executions`: lists the runs of a task, newest first.
#[utoipa::path(
    get,
    path = "/processing/executables/tasks/{id}/executions",
    tag = "runs",
    params(("id" = runlog_model::TaskId, Path, description = "ID")),
    responses((status = 200, description = "Runs, newest first", body = ListPage<TaskExecution>))
)]
pub(crate) async fn of_task(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    headers: HeaderMap,
    Query(query): Query<TaskExecutionsQuery>,
) -> ApiResult<Json<ListPage<TaskExecution>>> {
    let task_id = parse_id("taskId", &id)?;
    let (limit, offset) = query.page.limit_and_offset();
    let overlapping = query.window.range(app.now(), app.settings().window_days_max)?;
    let (artifact_id, runtime) = query.runtime.into_filters();
    let workspace_ids = rights::workspaces_of_task(app.store(), &caller, task_id).await?;
    let task_id = Some(task_id);
    let filter = RunFilter {
        task_id,
        workspace_ids,
        statuses: query.status.into_iter().collect(),
        ends_with_log: true,
        overlapping,
        artifact_id,
        runtime,
        limit,
        offset,
        ..RunFilter::default()
    };
    let (runs, total) = app.store().runs().list(&filter).await?;
    Ok(Json(ListPage { items: items(&app, &headers, &runs).await?, limit, offset, total }))
}

/// `GET /processing/executables/tasks/executions`: lists the runs of all tasks that the caller may view.
#[utoipa::path(
    get,
    path = "/processing/executables/tasks/executions",
    tag = "runs",
    responses((status = 200, description = "Runs, newest first", body = ListPage<TaskExecution>))
)]
pub(crate) async fn of_all_tasks(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
    Query(query): Query<ExecutionsQuery>,
) -> ApiResult<Json<ListPage<TaskExecution>>> {
    list_all(&app, &caller, &headers, query, Vec::new()).await
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
    headers: HeaderMap,
    BodyFields(search): BodyFields<ExecutionSearch>,
) -> ApiResult<Json<ListPage<TaskExecution>>> {
    list_all(&app, &caller, &headers, search.query, search.tags.0).await
}

async fn list_all(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    query: ExecutionsQuery,
    tags: Vec<String>,
) -> ApiResult<Json<ListPage<TaskExecution>>> {
    let (limit, offset) = query.page.limit_and_offset();
    let overlapping = query.window.range(app.now(), app.settings().window_days_max)?;
    let scope = rights::viewed_scope(app.store(), caller, &query.scope).await?;
    let (artifact_id, runtime) = query.runtime.into_filters();
    let filter = RunFilter {
        task_id: None,
        workspace_ids: scope.workspace_ids,
        environment_id: scope.environment_id,
        tags,
        statuses: query.status.into_iter().collect(),
        ends_with_log: true,
        overlapping,
        artifact_id,
        runtime,
        limit,
        offset,
        id_prefix: None,
    };
    let (runs, total) = app.store().runs().list(&filter).await?;
    Ok(Json(ListPage { items: items(app, headers, &runs).await?, limit, offset, total }))
}

/// The runs of a list, with details if the request asks for them.
async fn items(app: &App, headers: &HeaderMap, runs: &[Run]) -> ApiResult<Vec<TaskExecution>> {
    let mut items: Vec<TaskExecution> = runs.iter().map(Into::into).collect();
    if asks_for_details(headers) {
        for (item, run) in items.iter_mut().zip(runs) {
            item.runlog = Some(details(app, run).await?);
        }
    }
    Ok(items)
}

/// True if a request asks for the fields that the archive adds to the vendor's forms.
pub(super) fn asks_for_details(headers: &HeaderMap) -> bool {
    headers.get(DETAILS_HEADER).is_some_and(|value| value == "true")
}

async fn details(app: &App, run: &Run) -> ApiResult<RunDetails> {
    Ok(RunDetails::new(run, app.store().collection().log_absence(run).await?))
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
        log_level: wanted.log_level.map(|level| level.to_string()),
        timeout: wanted.timeout,
        ..StartRun::of_task(task.id)
    };
    // The run is created before the hook is called, because the hook may start pushing immediately.
    change.store(StatusCode::CREATED).runs().start(run_id, &start, &caller).await?;
    let run = RequestedRun {
        log_level: wanted.log_level.map(LogLevel::as_str),
        timeout: wanted.timeout,
        ..RequestedRun::new(run_id, &task, &caller.name, &wanted.parameters)
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
    headers: HeaderMap,
) -> ApiResult<Json<JobExecution>> {
    let run = rights::run(app.store(), &caller, &id, &[Right::View]).await?;
    let mut execution = JobExecution::new(&run, &app.settings().account_id);
    if asks_for_details(&headers) {
        execution.runlog = Some(details(&app, &run).await?);
    }
    Ok(Json(execution))
}
