//! `/processing/…`: the runs of a task, and one run.

use axum::Json;
use axum::extract::{Path, State};
use runlog_model::place::Right;
use runlog_model::wire::executions::{JobExecution, ListPage, TaskExecution};
use runlog_model::{TimeRange, Timestamp};
use runlog_store::RunFilter;

use crate::app::App;
use crate::auth::Authenticated;
use crate::error::{ApiError, ApiResult};
use crate::query::Params;
use crate::{access, limits};

const DAY_MS: i64 = 86_400_000;

/// `GET /processing/executables/tasks/{taskId}/executions`: newest first.
pub(crate) async fn of_task(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult<Json<ListPage<TaskExecution>>> {
    let task_id = access::id("taskId", &id)?;
    let limit = params.number("limit", 1..=limits::LIST_PAGE_MAX)?.unwrap_or(limits::LIST_PAGE_MAX);
    let offset = params.number("offset", 0..=u64::MAX)?.unwrap_or(0);
    let (status, overlapping) = (params.word("status")?, window(&app, &params)?);
    access::task(&app, &caller, task_id, &[Right::View]).await?;
    let filter = RunFilter { task_id: Some(task_id), workspace_ids: None, status, overlapping, limit, offset };
    let (runs, total) = app.store().runs(&filter).await?;
    Ok(Json(ListPage { items: runs.iter().map(Into::into).collect(), limit, offset, total }))
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
