//! `/processing/…`: the runs of a task, and one run.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use runlog_model::place::Right;
use runlog_model::wire::executions::{JobExecution, ListPage, TaskExecution};
use runlog_model::{TimeRange, Timestamp};
use runlog_store::{Caller, RunFilter};
use serde_json::{Map, Value};

use super::json::JsonBody;
use crate::access;
use crate::app::App;
use crate::auth::Authenticated;
use crate::error::{ApiError, ApiResult};
use crate::query::Params;

const DAY_MS: i64 = 86_400_000;

/// `GET /processing/executables/tasks/{taskId}/executions`: newest first.
pub(crate) async fn of_task(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult<Json<ListPage<TaskExecution>>> {
    let task_id = access::id("taskId", &id)?;
    let (limit, offset) = params.limit_and_offset()?;
    let (status, overlapping) = (params.word("status")?, window(&app, &params)?);
    access::task(&app, &caller, task_id, &[Right::View]).await?;
    let filter = RunFilter { task_id: Some(task_id), status, overlapping, limit, offset, ..RunFilter::default() };
    let (runs, total) = app.store().runs(&filter).await?;
    Ok(Json(ListPage { items: runs.iter().map(Into::into).collect(), limit, offset, total }))
}

/// `GET /processing/executables/tasks/executions`: of all tasks that the caller may view.
pub(crate) async fn of_all_tasks(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    params: Params,
) -> ApiResult<Json<ListPage<TaskExecution>>> {
    list_all(&app, &caller, &params, Vec::new()).await
}

/// `POST /processing/executables/tasks/executions`: the same, with the filters in the body, and tags.
pub(crate) async fn search(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> ApiResult<Json<ListPage<TaskExecution>>> {
    let tags = tags(&body)?;
    list_all(&app, &caller, &Params::from_body(&body), tags).await
}

async fn list_all(
    app: &App,
    caller: &Caller,
    params: &Params,
    tags: Vec<String>,
) -> ApiResult<Json<ListPage<TaskExecution>>> {
    let (limit, offset) = params.limit_and_offset()?;
    let (status, overlapping) = (params.word("status")?, window(app, params)?);
    let place = access::viewed_place(app, caller, params).await?;
    let filter = RunFilter {
        task_id: None,
        workspace_ids: place.workspace_ids,
        environment_id: place.environment_id,
        tags,
        status,
        overlapping,
        limit,
        offset,
    };
    let (runs, total) = app.store().runs(&filter).await?;
    Ok(Json(ListPage { items: runs.iter().map(Into::into).collect(), limit, offset, total }))
}

/// The field `tags` of a body: all of them must fit.
pub(crate) fn tags(body: &Map<String, Value>) -> ApiResult<Vec<String>> {
    let wrong = || ApiError::invalid("tags: this is not an array of texts");
    match body.get("tags") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(tags)) => tags.iter().map(|tag| tag.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        Some(_) => Err(wrong()),
    }
}

/// `POST /processing/executions`: Runlog keeps runs and does not start them.
pub(crate) async fn start() -> ApiError {
    ApiError::new(StatusCode::NOT_IMPLEMENTED, "Runlog archives runs and does not start them")
        .with_detail("start the run in Talend Cloud, or push one with PUT /runlog/v1/runs/{runId}")
}

/// `GET /processing/executions/{executionId}`.
pub(crate) async fn one(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> ApiResult<Json<JobExecution>> {
    let run = access::run(&app, &caller, &id, &[Right::View]).await?;
    Ok(Json(JobExecution::new(&run, &app.settings().account_id)))
}

/// The window that a list is asked for: `lastDays`, or `from` and `to`, or the last days that are allowed.
fn window(app: &App, params: &Params) -> ApiResult<TimeRange> {
    let days_max = app.settings().window_days_max;
    let now = app.now();
    if let Some(days) = params.number("lastDays", 1..=days_max.unsigned_abs())? {
        return Ok(TimeRange { start: Some(now.plus_millis(-(days as i64) * DAY_MS)), end: Some(now) });
    }
    let (from, to) = (epoch_ms(params, "from")?, epoch_ms(params, "to")?);
    let end = to.unwrap_or(now);
    let start = from.unwrap_or(end.plus_millis(-days_max * DAY_MS));
    if start > end {
        return Err(ApiError::invalid(format!("from {start} is later than to {end}")));
    }
    if end.millis_since(start) > days_max * DAY_MS {
        return Err(ApiError::invalid(format!("from and to are more than {days_max} days apart; ask in parts")));
    }
    Ok(TimeRange { start: Some(start), end: Some(end) })
}

fn epoch_ms(params: &Params, name: &str) -> ApiResult<Option<Timestamp>> {
    let number = params.number(name, 0..=Timestamp::MAX.as_millis().unsigned_abs())?;
    Ok(number.map(|ms| Timestamp::clamped(ms as i64)))
}
