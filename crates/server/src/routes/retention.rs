//! `/runlog/v1/retention` and `/runlog/v1/holds`: what is deleted when, and what is not.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use runlog_model::WorkspaceId;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::retention::{
    HeldRunBody, NewHold, RETENTION_DAYS_MAX, RetentionPreviewBody, RetentionSettings, WorkspaceRetentionBody,
};
use runlog_store::maintenance::{LegalHold, Retention};

use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::json::JsonBody;
use crate::http::parameter_groups::PageQuery;
use crate::http::parameter_types::Number;
use crate::http::parameters::{Query, parse_id, query_parameters};

/// The largest retention by size. Unit: bytes; numbers in JSON are exact up to here.
const RETENTION_BYTES_MAX: u64 = (1 << 53) - 1;

query_parameters! {
    /// The retention that is previewed.
    pub(crate) struct PreviewQuery {
        /// Days after the end of a run; default: no limit.
        days: Option<Number<1, RETENTION_DAYS_MAX>> = "days",
        /// Bytes of all logs of the workspace; default: no limit.
        bytes: Option<Number<0, RETENTION_BYTES_MAX>> = "bytes",
    }
}

query_parameters! {
    /// Parameters of the list of legal holds.
    pub(crate) struct HoldsQuery {
        ..page: PageQuery,
    }
}

/// `GET /runlog/v1/retention`: lists the retention of each workspace.
#[utoipa::path(
    get,
    path = "/runlog/v1/retention",
    tag = "administration",
    responses((status = 200, description = "Every workspace, by environment and name", body = Vec<WorkspaceRetentionBody>))
)]
pub(crate) async fn list(State(app): State<App>) -> ApiResult<Json<Vec<WorkspaceRetentionBody>>> {
    Ok(Json(app.store().maintenance().retentions().await?))
}

/// `GET /runlog/v1/workspaces/{id}/retention/preview`: counts what a retention would delete now; nothing is changed.
#[utoipa::path(
    get,
    path = "/runlog/v1/workspaces/{id}/retention/preview",
    tag = "administration",
    params(("id" = WorkspaceId, Path, description = "ID")),
    responses((status = 200, description = "What would be deleted", body = RetentionPreviewBody), (status = 404, description = "No such workspace", body = ErrorBody))
)]
pub(crate) async fn preview(
    State(app): State<App>,
    Path(id): Path<String>,
    Query(query): Query<PreviewQuery>,
) -> ApiResult<Json<RetentionPreviewBody>> {
    let retention = Retention { days: query.days.map(|days| days.0), bytes: query.bytes.map(|bytes| bytes.0) };
    Ok(Json(app.store().maintenance().preview_retention(parse_id("workspaceId", &id)?, retention).await?))
}

/// `PUT /runlog/v1/workspaces/{id}/retention`: sets how long, or up to what size, logs are kept. An absent field means
/// no limit.
#[utoipa::path(
    put,
    path = "/runlog/v1/workspaces/{id}/retention",
    tag = "administration",
    params(("id" = WorkspaceId, Path, description = "ID")),
    request_body(content = RetentionSettings),
    responses((status = 200, description = "The retention from now on", body = RetentionSettings), (status = 404, description = "No such workspace", body = ErrorBody))
)]
pub(crate) async fn set(
    Path(id): Path<String>,
    change: AuditedChange,
    JsonBody(new): JsonBody<RetentionSettings>,
) -> ApiResult<Json<RetentionSettings>> {
    let workspace: WorkspaceId = parse_id("workspaceId", &id)?;
    if new.days.is_some_and(|days| !(1..=RETENTION_DAYS_MAX).contains(&days)) {
        return Err(ApiError::invalid(format!(
            "days must be between 1 and {RETENTION_DAYS_MAX}, or absent for no limit"
        )));
    }
    if new.bytes.is_some_and(|bytes| bytes > RETENTION_BYTES_MAX) {
        return Err(ApiError::invalid(format!("bytes must be at most {RETENTION_BYTES_MAX}, or absent for no limit")));
    }
    let mut subject = format!("{workspace}");
    subject += &new.days.map(|days| format!(" {days} days")).unwrap_or_default();
    subject += &new.bytes.map(|bytes| format!(" {bytes} bytes")).unwrap_or_default();
    if new == RetentionSettings::default() {
        subject += " no limit";
    }
    let retention = Retention { days: new.days, bytes: new.bytes };
    change.store_about(StatusCode::OK, subject).maintenance().set_retention(workspace, retention).await?;
    Ok(Json(new))
}

/// `GET /runlog/v1/holds`: lists the runs under legal hold.
#[utoipa::path(
    get,
    path = "/runlog/v1/holds",
    tag = "administration",
    responses((status = 200, description = "The runs, those held last first", body = ListPage<HeldRunBody>))
)]
pub(crate) async fn holds(
    State(app): State<App>,
    Query(query): Query<HoldsQuery>,
) -> ApiResult<Json<ListPage<HeldRunBody>>> {
    let (limit, offset) = query.page.limit_and_offset();
    let (items, total) = app.store().maintenance().held_runs(limit, offset).await?;
    Ok(Json(ListPage { items, limit, offset, total }))
}

/// `PUT /runlog/v1/runs/{id}/hold`: puts a run under legal hold, or gives its hold another reason.
#[utoipa::path(
    put,
    path = "/runlog/v1/runs/{id}/hold",
    tag = "administration",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    request_body(content = NewHold),
    responses((status = 204, description = "Held"), (status = 404, description = "No such run", body = ErrorBody))
)]
pub(crate) async fn hold(
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    change: AuditedChange,
    JsonBody(new): JsonBody<NewHold>,
) -> ApiResult<StatusCode> {
    let run = parse_id("runId", &id)?;
    if new.reason.trim().is_empty() {
        return Err(ApiError::invalid("reason is missing: say why the log must not be deleted"));
    }
    let hold = LegalHold { reason: Some(new.reason), by: caller.name };
    change.store(StatusCode::NO_CONTENT).maintenance().set_legal_hold(run, Some(&hold)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /runlog/v1/runs/{id}/hold`: lifts the legal hold of a run.
#[utoipa::path(
    delete,
    path = "/runlog/v1/runs/{id}/hold",
    tag = "administration",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    responses((status = 204, description = "Lifted"), (status = 404, description = "No such run", body = ErrorBody))
)]
pub(crate) async fn release(Path(id): Path<String>, change: AuditedChange) -> ApiResult<StatusCode> {
    let run = parse_id("runId", &id)?;
    change.store(StatusCode::NO_CONTENT).maintenance().set_legal_hold(run, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
