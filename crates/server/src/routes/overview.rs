//! Overviews for the web UI: runs over time, tasks with their latest runs, the runs of one task.

use axum::Json;
use axum::extract::{Path, State};
use az::SaturatingAs;
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::overview::{Outcomes, OverviewBody, RunLineBody, TaskLineBody};
use runlog_model::{RunStatus, TaskId, Timestamp};
use runlog_store::runs::{OverviewFilter, RunFilter, TaskOverviewFilter};

use crate::app::App;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::ApiResult;
use crate::http::parameter_groups::{Offset, PageQuery, ScopeQuery, ordered_range};
use crate::http::parameter_types::NumberOr;
use crate::http::parameters::{Query, parse_id, query_parameters};
use crate::limits;

const HOUR_MS: i64 = 3_600_000;

/// The last hours, 24 by default.
type Hours = NumberOr<1, { limits::OVERVIEW_HOURS_MAX }, 24>;

query_parameters! {
    /// Parameters of the overview of runs.
    pub(crate) struct OverviewQuery {
        ..scope: ScopeQuery,
        /// Number of hours to look back.
        hours: Hours = "hours",
        /// Number of buckets.
        buckets: NumberOr<1, { limits::OVERVIEW_BUCKETS_MAX }, 48> = "buckets",
    }
}

query_parameters! {
    /// Parameters of the overview of tasks.
    pub(crate) struct TasksQuery {
        ..page: PageQuery,
        ..scope: ScopeQuery,
        /// Number of hours whose runs to consider.
        hours: Hours = "hours",
        /// Part of the name, case-insensitive.
        name: Option<String> = "name",
        /// Only this task.
        task_id: Option<TaskId> = "taskId",
        /// If `true`, only tasks with unsuccessful runs, the most recent first; otherwise all tasks by name.
        failing: bool = "failing",
        /// Number of latest runs to return per task.
        recent: NumberOr<0, { limits::RECENT_RUNS_MAX }, 30> = "recent",
    }
}

query_parameters! {
    /// Parameters of the list of the runs of a task.
    pub(crate) struct TaskRunsQuery {
        /// Only runs active at or after this time.
        start_time: Option<Timestamp> = "startTime",
        /// Only runs active at or before this time.
        end_time: Option<Timestamp> = "endTime",
        /// Only runs with this status.
        status: Option<RunStatus> = "status",
        /// Maximum number of items per page.
        limit: NumberOr<1, { limits::RUN_LINES_MAX }, 200> = "limit",
        /// Number of items to skip.
        offset: Offset = "offset",
    }
}

/// `GET /runlog/v1/overview`: counts the runs of the last hours by trigger time and outcome.
#[utoipa::path(
    get,
    path = "/runlog/v1/overview",
    tag = "web",
    responses((status = 200, description = "Runs by time and outcome", body = OverviewBody))
)]
pub(crate) async fn overview(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(query): Query<OverviewQuery>,
) -> ApiResult<Json<OverviewBody>> {
    let (hours, buckets) = (query.hours.0.saturating_as::<i64>(), query.buckets.0.saturating_as::<i64>());
    let scope = rights::viewed_scope(app.store(), &caller, &query.scope).await?;
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
    responses((status = 200, description = "Tasks", body = ListPage<TaskLineBody>))
)]
pub(crate) async fn tasks(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(query): Query<TasksQuery>,
) -> ApiResult<Json<ListPage<TaskLineBody>>> {
    let (limit, offset) = query.page.limit_and_offset();
    let filter = TaskOverviewFilter {
        task_id: query.task_id,
        name_part: query.name,
        since: app.now().plus_millis(-query.hours.0.saturating_as::<i64>() * HOUR_MS),
        failing: query.failing,
        recent: query.recent.0,
        limit,
        offset,
        workspace_ids: rights::viewed_scope(app.store(), &caller, &query.scope).await?.workspace_ids,
    };
    let (items, total) = app.store().runs().task_overviews(&filter).await?;
    Ok(Json(ListPage { items, limit, offset, total }))
}

/// `GET /runlog/v1/tasks/{id}/runs`: lists the runs of a task with the record counts of their logs, newest first.
#[utoipa::path(
    get,
    path = "/runlog/v1/tasks/{id}/runs",
    tag = "web",
    params(("id" = runlog_model::TaskId, Path, description = "ID")),
    responses((status = 200, description = "Runs, newest first", body = ListPage<RunLineBody>))
)]
pub(crate) async fn runs_of_task(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    Query(query): Query<TaskRunsQuery>,
) -> ApiResult<Json<ListPage<RunLineBody>>> {
    let task_id = parse_id("taskId", &id)?;
    let overlapping = ordered_range(query.start_time, query.end_time)?;
    let (status, NumberOr(limit), NumberOr(offset)) = (query.status, query.limit, query.offset);
    let workspace_ids = rights::workspaces_of_task(app.store(), &caller, task_id).await?;
    let task_id = Some(task_id);
    let filter = RunFilter { task_id, workspace_ids, status, overlapping, limit, offset, ..RunFilter::default() };
    let (runs, total) = app.store().runs().list(&filter).await?;
    Ok(Json(ListPage { items: runs.iter().map(Into::into).collect(), limit, offset, total }))
}
