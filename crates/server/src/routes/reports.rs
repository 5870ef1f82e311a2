//! `/runlog/v1/…/report`, `…/patterns`, `…/diff/…`: reports and comparisons. They require the rights to read logs,
//! because they contain parts of logs.
//!
//! A run without a log has a report, too: its part `log` explains why there is none.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use az::SaturatingAs;
use runlog_analysis::report::{
    RunDiff, RunPatterns, RunReport, TaskReport, WorkspaceReport, brief_of, run_diff, run_patterns, run_report,
    task_report, workspace_report,
};
use runlog_model::Timestamp;
use runlog_model::workspaces::Right;

use crate::app::App;
use crate::auth::links::base_url;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::ApiResult;
use crate::http::parameter_types::NumberOr;
use crate::http::parameters::{Query, parse_id, query_parameters};
use crate::limits;

query_parameters! {
    /// Parameters of the report on a run.
    pub(crate) struct RunReportQuery {
        /// Return a brief as Markdown, at most 6,000 bytes: the cause, evidence with links to lines, what is new, what to
        /// try. Content from the log is marked as untrusted.
        brief: bool = "brief",
    }
}

query_parameters! {
    /// Parameters of the report on a task.
    pub(crate) struct TaskReportQuery {
        /// Number of days of runs to include.
        last_days: NumberOr<1, { limits::REPORT_DAYS_MAX }, { limits::TASK_REPORT_DAYS }> = "lastDays",
    }
}

query_parameters! {
    /// Parameters of the report on a workspace.
    pub(crate) struct WorkspaceReportQuery {
        /// Number of days that count as recent.
        last_days: NumberOr<1, { limits::REPORT_DAYS_MAX }, { limits::WORKSPACE_REPORT_DAYS }> = "lastDays",
    }
}

/// `GET /runlog/v1/runs/{runId}/patterns`: returns the patterns of a log.
#[utoipa::path(
    get,
    path = "/runlog/v1/runs/{id}/patterns",
    tag = "reports",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    responses((status = 200, description = "Patterns and stack traces of the log; `log` describes their basis, or why there are none", body = RunPatterns))
)]
pub(crate) async fn patterns(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> ApiResult<Json<RunPatterns>> {
    let run = rights::run_brief(app.store(), &caller, &id, &Right::READ_LOGS).await?;
    Ok(Json(run_patterns(app.report_sources(), run.id).await?))
}

/// `GET /runlog/v1/runs/{runId}/report`: reports what failed first and why, and what is new compared with the last
/// successful run.
#[utoipa::path(
    get,
    path = "/runlog/v1/runs/{id}/report",
    tag = "reports",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    responses((status = 200, description = "The report; `log` describes its basis, or why it contains only the run", content((RunReport = "application/json"), (String = "text/markdown"))))
)]
pub(crate) async fn of_run(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    Query(query): Query<RunReportQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let run = rights::run_brief(app.store(), &caller, &id, &Right::READ_LOGS).await?;
    let report = run_report(app.report_sources(), run.id).await?;
    if !query.brief {
        return Ok(Json(report).into_response());
    }
    let base_url = base_url(app.auth().settings(), &headers);
    let brief = brief_of(&report, base_url.trim_end_matches('/'));
    Ok(([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], brief).into_response())
}

/// `GET /runlog/v1/runs/{runId}/diff/{otherId}`: compares two runs, which may belong to different tasks.
#[utoipa::path(
    get,
    path = "/runlog/v1/runs/{id}/diff/{other_id}",
    tag = "reports",
    params(("id" = runlog_model::RunId, Path, description = "ID of the run to compare against"), ("other_id" = runlog_model::RunId, Path, description = "ID of the run to examine")),
    responses((status = 200, description = "The differences; `before.log` and `after.log` describe their basis", body = RunDiff))
)]
pub(crate) async fn diff(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path((id, other_id)): Path<(String, String)>,
) -> ApiResult<Json<RunDiff>> {
    let before = rights::run_brief(app.store(), &caller, &id, &Right::READ_LOGS).await?;
    let after = rights::run_brief(app.store(), &caller, &other_id, &Right::READ_LOGS).await?;
    Ok(Json(run_diff(app.report_sources(), before.id, after.id).await?))
}

/// `GET /runlog/v1/tasks/{taskId}/report`: reports outcomes, durations and kinds of errors of a task.
#[utoipa::path(
    get,
    path = "/runlog/v1/tasks/{id}/report",
    tag = "reports",
    params(("id" = runlog_model::TaskId, Path, description = "ID")),
    responses((status = 200, description = "The report", body = TaskReport))
)]
pub(crate) async fn of_task(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    Query(query): Query<TaskReportQuery>,
) -> ApiResult<Json<TaskReport>> {
    let since = since(&app, query.last_days.0);
    let task = rights::task(app.store(), &caller, parse_id("taskId", &id)?, &Right::READ_LOGS).await?;
    Ok(Json(task_report(app.report_sources(), &task, since, app.now()).await?))
}

/// `GET /runlog/v1/workspaces/{workspaceId}/report`: reports the tasks that need attention.
#[utoipa::path(
    get,
    path = "/runlog/v1/workspaces/{id}/report",
    tag = "reports",
    params(("id" = runlog_model::WorkspaceId, Path, description = "ID")),
    responses((status = 200, description = "The report", body = WorkspaceReport))
)]
pub(crate) async fn of_workspace(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    Query(query): Query<WorkspaceReportQuery>,
) -> ApiResult<Json<WorkspaceReport>> {
    let since = since(&app, query.last_days.0);
    let workspace = rights::workspace(app.store(), &caller, &id, &Right::READ_LOGS).await?;
    Ok(Json(workspace_report(app.report_sources(), &workspace, since, app.now()).await?))
}

/// The time this number of days ago.
fn since(app: &App, days: u64) -> Timestamp {
    app.now().plus_millis(-(days.saturating_as::<i64>() * 86_400_000))
}
