//! What the web UI shows at a glance: runs by time, tasks with their last runs, the runs of one task.

use axum::Json;
use axum::extract::{Path, State};
use az::SaturatingAs;
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::overview::{Outcomes, OverviewBody, RunLineBody, TaskLineBody};
use runlog_model::{RunStatus, TimeRange, Timestamp};
use runlog_store::runs::{OverviewFilter, RunFilter, TaskOverview, TaskOverviewFilter};

use crate::app::App;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::ApiResult;
use crate::http::parameters::{ListQuery, Params, ScopeQuery, parse_id};
use crate::limits;

const HOUR_MS: i64 = 3_600_000;

/// `GET /runlog/v1/overview`: counts the runs of the last hours by trigger time and outcome.
#[utoipa::path(
    get,
    path = "/runlog/v1/overview",
    tag = "web",
    params(
        ScopeQuery,
        ("hours" = Option<u64>, Query, minimum = 1, maximum = 2160, description = "Number of hours to look back, 1 to 2160; default 24"),
        ("buckets" = Option<u64>, Query, minimum = 1, maximum = 200, description = "Number of buckets, 1 to 200; default 48")
    ),
    responses((status = 200, description = "Runs by time and outcome", body = OverviewBody))
)]
pub(crate) async fn overview(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    params: Params,
) -> ApiResult<Json<OverviewBody>> {
    let hours = hours(&params)?;
    let buckets = params.number("buckets", 1..=limits::OVERVIEW_BUCKETS_MAX)?.unwrap_or(48).saturating_as::<i64>();
    let scope = rights::viewed_scope(app.store(), &caller, &params).await?;
    let bucket_ms = (hours * HOUR_MS / buckets).max(1_000);
    // Buckets start at multiples of their length, so that they stay the same between requests.
    let end = (app.now().as_millis() / bucket_ms + 1) * bucket_ms;
    let start = end - bucket_ms * buckets;
    let filter = OverviewFilter {
        workspace_ids: scope.workspace_ids,
        start: Timestamp::clamped(start),
        end: Timestamp::clamped(end),
        bucket_ms,
    };
    let mut body = OverviewBody {
        start: filter.start,
        end: filter.end,
        bucket_ms: bucket_ms.saturating_as::<u64>(),
        buckets: vec![Outcomes::default(); buckets.saturating_as::<usize>()],
        total: Outcomes::default(),
    };
    for count in app.store().runs().outcome_counts(&filter).await? {
        body.total.add(count.status, count.runs);
        if let Some(bucket) = body.buckets.get_mut(count.bucket.saturating_as::<usize>()) {
            bucket.add(count.status, count.runs);
        }
    }
    Ok(Json(body))
}

/// `GET /runlog/v1/overview/tasks`: lists tasks with their latest runs, optionally only failing ones.
#[utoipa::path(
    get,
    path = "/runlog/v1/overview/tasks",
    tag = "web",
    params(
        ListQuery,
        ScopeQuery,
        ("hours" = Option<u64>, Query, minimum = 1, maximum = 2160, description = "Number of hours whose runs to consider, 1 to 2160; default 24"),
        ("name" = Option<String>, Query, description = "Part of the name, case-insensitive"),
        ("taskId" = Option<String>, Query, description = "Only this task"),
        ("failing" = Option<bool>, Query, description = "If `true`, only tasks with unsuccessful runs, the most recent first; otherwise all tasks by name"),
        ("recent" = Option<u64>, Query, description = "Number of latest runs to return per task, 0 to 100; default 30")
    ),
    responses((status = 200, description = "Tasks", body = ListPage<TaskLineBody>))
)]
pub(crate) async fn tasks(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    params: Params,
) -> ApiResult<Json<ListPage<TaskLineBody>>> {
    let (limit, offset) = params.limit_and_offset()?;
    let since = app.now().plus_millis(-hours(&params)? * HOUR_MS);
    let filter = TaskOverviewFilter {
        task_id: params.text("taskId").map(|text| parse_id("taskId", text)).transpose()?,
        name_part: params.text("name").map(str::to_owned),
        since,
        failing: params.flag("failing")?,
        recent: params.number("recent", 0..=limits::RECENT_RUNS_MAX)?.unwrap_or(30),
        limit,
        offset,
        workspace_ids: rights::viewed_scope(app.store(), &caller, &params).await?.workspace_ids,
    };
    let (lines, total) = app.store().runs().task_overviews(&filter).await?;
    Ok(Json(ListPage { items: lines.into_iter().map(shown).collect(), limit, offset, total }))
}

/// `GET /runlog/v1/tasks/{id}/runs`: lists the runs of a task with the record counts of their logs, newest first.
#[utoipa::path(
    get,
    path = "/runlog/v1/tasks/{id}/runs",
    tag = "web",
    params(
        ("id" = runlog_model::TaskId, Path, description = "ID"),
        ("status" = Option<RunStatus>, Query, description = "Only runs with this status"),
        ("startTime" = Option<Timestamp>, Query, description = "Only runs active at or after this time"),
        ("endTime" = Option<Timestamp>, Query, description = "Only runs active at or before this time"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 500, description = "Maximum number of items per page, 1 to 500; default 200"),
        ("offset" = Option<u64>, Query, description = "Number of items to skip")
    ),
    responses((status = 200, description = "Runs, newest first", body = ListPage<RunLineBody>))
)]
pub(crate) async fn runs_of_task(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult<Json<ListPage<RunLineBody>>> {
    let task_id = parse_id("taskId", &id)?;
    let limit = params.number("limit", 1..=limits::RUN_LINES_MAX)?.unwrap_or(200);
    let offset = params.number("offset", 0..=i64::MAX.unsigned_abs())?.unwrap_or(0);
    let status: Option<RunStatus> = params.word("status")?;
    let overlapping: TimeRange = params.time_range()?;
    let workspace_ids = rights::workspaces_of_task(app.store(), &caller, task_id).await?;
    let task_id = Some(task_id);
    let filter = RunFilter { task_id, workspace_ids, status, overlapping, limit, offset, ..RunFilter::default() };
    let (runs, total) = app.store().runs().list(&filter).await?;
    Ok(Json(ListPage { items: runs.iter().map(Into::into).collect(), limit, offset, total }))
}

fn hours(params: &Params) -> ApiResult<i64> {
    Ok(params.number("hours", 1..=limits::OVERVIEW_HOURS_MAX)?.unwrap_or(24).saturating_as::<i64>())
}

fn shown(line: TaskOverview) -> TaskLineBody {
    TaskLineBody {
        task_id: line.task_id,
        name: line.name,
        workspace_id: line.workspace_id,
        workspace_name: line.workspace,
        environment_name: line.environment,
        runs: line.runs,
        failed: line.failed,
        going: line.running,
        recent: line.recent.iter().map(Into::into).collect(),
    }
}
