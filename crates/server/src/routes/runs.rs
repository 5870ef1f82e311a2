//! `/runlog/v1/runs/{id}`: engines report the start and end of a run.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::AppendHeaders;
use runlog_model::RunId;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::executions::TaskExecution;
use runlog_model::wire::push::{FinishRun, LOG_EXPIRES_HEADER, StartRun};
use runlog_model::workspaces::Right;

use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::ApiResult;
use crate::http::json::JsonBody;
use crate::http::parameters::parse_id;

/// `PUT /runlog/v1/runs/{runId}`: starts a run; 201 if it is new, 200 if it exists.
#[utoipa::path(
    put,
    path = "/runlog/v1/runs/{id}",
    tag = "push",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    request_body(content = StartRun),
    responses((status = 200, description = "The run exists already", body = TaskExecution), (status = 201, description = "The run is new", body = TaskExecution), (status = 409, description = "The run belongs to another task", body = ErrorBody))
)]
pub(crate) async fn start(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    change: AuditedChange,
    JsonBody(start): JsonBody<StartRun>,
) -> ApiResult<(StatusCode, Json<TaskExecution>)> {
    let run_id: RunId = parse_id("runId", &id)?;
    rights::task(app.store(), &caller, start.task_id, &[Right::Publish]).await?;
    // The runs of a task that was moved stay in their workspace and are subject to its rights.
    let known = app.store().runs().brief(run_id).await?;
    if let Some(known) = &known {
        rights::require(app.store(), &caller, known.workspace_id, &[Right::Publish]).await?;
    }
    let status = if known.is_none() { StatusCode::CREATED } else { StatusCode::OK };
    let (run, is_new) = change.store(status).runs().start(run_id, &start, &caller).await?;
    Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, Json((&run).into())))
}

/// `GET /runlog/v1/runs/{runId}`: returns a run.
#[utoipa::path(
    get,
    path = "/runlog/v1/runs/{id}",
    tag = "push",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    responses((status = 200, description = "The run", body = TaskExecution))
)]
pub(crate) async fn one(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> ApiResult<Json<TaskExecution>> {
    let run = rights::run(app.store(), &caller, &id, &[Right::View]).await?;
    Ok(Json((&run).into()))
}

/// `POST /runlog/v1/runs/{runId}/finish`: ends a run.
#[utoipa::path(
    post,
    path = "/runlog/v1/runs/{id}/finish",
    tag = "push",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    request_body(content = FinishRun),
    responses((status = 200, description = "The run has ended", body = TaskExecution, headers(("x-runlog-log-expires" = String, description = "Time at which the retention of the workspace deletes the log, which may be in the past; absent if there is no maximum age"))), (status = 409, description = "The run has already ended with another status", body = ErrorBody))
)]
pub(crate) async fn finish(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    change: AuditedChange,
    JsonBody(finish): JsonBody<FinishRun>,
) -> ApiResult<(AppendHeaders<Option<(&'static str, String)>>, Json<TaskExecution>)> {
    let run = rights::run_brief(app.store(), &caller, &id, &[Right::Publish]).await?;
    let run = change.store(StatusCode::OK).runs().finish(run.id, &finish).await?;
    let expires = app.store().maintenance().log_expires(run.id).await?;
    let header = expires.map(|at| (LOG_EXPIRES_HEADER, at.to_string()));
    Ok((AppendHeaders(header), Json((&run).into())))
}
