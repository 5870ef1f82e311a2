//! Overviews for the web UI: runs over time, tasks with their latest runs, the runs of one task.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Path, State};
use az::SaturatingAs;
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::overview::{
    DurationsBody, ListedRunBody, Outcomes, OverviewBody, RunLineBody, TaskLineBody, WorkspaceLineBody,
};
use runlog_model::workspaces::Task;
use runlog_model::{Run, RunId, RunIdPrefix, RunStatus, TaskId, Timestamp};
use runlog_store::accounts::Caller;
use runlog_store::runs::{
    OverviewFilter, RunFilter, TaskOrder, TaskOverviewFilter, WorkspaceOrder, WorkspaceOverviewFilter,
};

use crate::app::App;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::ApiResult;
use crate::http::parameter_groups::{Offset, PageQuery, ScopeQuery, ordered_range};
use crate::http::parameter_types::{List, NumberOr, words};
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
        /// Only tasks with this tag.
        tag: Option<String> = "tag",
        /// If `true`, only tasks with failed runs in this period.
        failing: bool = "failing",
        /// The order: `name`, `runs`, `failed`, `lastRun` or `lastFailure`, the most or latest first; by default
        /// `lastFailure` with `failing=true`, otherwise `name`.
        order: Option<Order> = "order",
        /// If `true`, in the opposite order.
        reversed: bool = "reversed",
        /// Number of latest runs to return per task, however long ago they were.
        recent: NumberOr<0, { limits::RECENT_RUNS_MAX }, 30> = "recent",
    }
}

words! {
    /// The order of tasks.
    pub(crate) enum Order {
        /// By name.
        Name = "name",
        /// Those with the most runs in the period first.
        Runs = "runs",
        /// Those with the most failed runs in the period first.
        Failed = "failed",
        /// Those that ran last first.
        LastRun = "lastRun",
        /// Those that failed last first.
        LastFailure = "lastFailure",
    }
}

query_parameters! {
    /// Parameters of the overview of workspaces.
    pub(crate) struct WorkspacesQuery {
        ..page: PageQuery,
        ..scope: ScopeQuery,
        /// Number of hours whose runs to count.
        hours: Hours = "hours",
        /// Part of the name, case-insensitive.
        name: Option<String> = "name",
        /// The order: `name` (by environment and name; the default), `tasks`, `runs`, `failed` or `lastRun`, the most
        /// or latest first.
        order: Option<OrderOfWorkspaces> = "order",
        /// If `true`, in the opposite order.
        reversed: bool = "reversed",
    }
}

words! {
    /// The order of workspaces.
    pub(crate) enum OrderOfWorkspaces {
        /// By environment and name.
        Name = "name",
        /// Those with the most tasks first.
        Tasks = "tasks",
        /// Those with the most runs in the period first.
        Runs = "runs",
        /// Those with the most failed runs in the period first.
        Failed = "failed",
        /// Those with the latest run first.
        LastRun = "lastRun",
    }
}

query_parameters! {
    /// Parameters of the list of the runs of a task.
    pub(crate) struct TaskRunsQuery {
        /// Only runs active at or after this time.
        start_time: Option<Timestamp> = "startTime",
        /// Only runs active at or before this time.
        end_time: Option<Timestamp> = "endTime",
        /// Only runs with one of these statuses.
        status: List<RunStatus> = "status",
        /// Maximum number of items per page.
        limit: NumberOr<1, { limits::RUN_LINES_MAX }, 200> = "limit",
        /// Number of items to skip.
        offset: Offset = "offset",
    }
}

query_parameters! {
    /// Parameters of the durations of the runs of a task.
    pub(crate) struct TaskDurationsQuery {
        /// Only runs active at or after this time.
        start_time: Option<Timestamp> = "startTime",
        /// Only runs active at or before this time.
        end_time: Option<Timestamp> = "endTime",
        /// Only runs with one of these statuses.
        status: List<RunStatus> = "status",
    }
}

query_parameters! {
    /// Parameters of the list of runs.
    pub(crate) struct RunsQuery {
        ..scope: ScopeQuery,
        /// Only runs of this task.
        task_id: Option<TaskId> = "taskId",
        /// Only runs whose ID begins with this: at least 4 hexadecimal digits, with or without hyphens.
        id_prefix: Option<RunIdPrefix> = "idPrefix",
        /// Only runs active at or after this time.
        start_time: Option<Timestamp> = "startTime",
        /// Only runs active at or before this time.
        end_time: Option<Timestamp> = "endTime",
        /// Only runs with one of these statuses.
        status: List<RunStatus> = "status",
        /// Maximum number of items per page.
        limit: NumberOr<1, { limits::RUN_LINES_MAX }, 100> = "limit",
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
        unexplained: app.store().runs().unexplained(&filter).await?,
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
        tag: query.tag,
        since: app.now().plus_millis(-query.hours.0.saturating_as::<i64>() * HOUR_MS),
        failing: query.failing,
        order: match query.order {
            None if query.failing => TaskOrder::LastFailure,
            None | Some(Order::Name) => TaskOrder::Name,
            Some(Order::Runs) => TaskOrder::Runs,
            Some(Order::Failed) => TaskOrder::Failed,
            Some(Order::LastRun) => TaskOrder::LastRun,
            Some(Order::LastFailure) => TaskOrder::LastFailure,
        },
        reversed: query.reversed,
        recent: query.recent.0,
        limit,
        offset,
        workspace_ids: rights::viewed_scope(app.store(), &caller, &query.scope).await?.workspace_ids,
    };
    let (mut items, total) = app.store().runs().task_overviews(&filter).await?;
    let ids: Vec<RunId> = items.iter().filter_map(|task| task.last_failure.as_ref()).map(|run| run.run_id).collect();
    let mut headlines = headlines_of(&app, &caller, &ids).await?;
    for run in items.iter_mut().filter_map(|task| task.last_failure.as_mut()) {
        run.headline = headlines.remove(&run.run_id);
    }
    Ok(Json(ListPage { items, limit, offset, total }))
}

/// `GET /runlog/v1/overview/workspaces`: lists the workspaces that the caller may view, with the numbers of their tasks
/// and runs.
#[utoipa::path(
    get,
    path = "/runlog/v1/overview/workspaces",
    tag = "web",
    responses((status = 200, description = "Workspaces", body = ListPage<WorkspaceLineBody>))
)]
pub(crate) async fn workspaces(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(query): Query<WorkspacesQuery>,
) -> ApiResult<Json<ListPage<WorkspaceLineBody>>> {
    let (limit, offset) = query.page.limit_and_offset();
    let scope = rights::viewed_scope(app.store(), &caller, &query.scope).await?;
    let filter = WorkspaceOverviewFilter {
        workspace_ids: scope.workspace_ids,
        environment_id: scope.environment_id,
        name_part: query.name,
        since: app.now().plus_millis(-query.hours.0.saturating_as::<i64>() * HOUR_MS),
        order: match query.order {
            None | Some(OrderOfWorkspaces::Name) => WorkspaceOrder::Name,
            Some(OrderOfWorkspaces::Tasks) => WorkspaceOrder::Tasks,
            Some(OrderOfWorkspaces::Runs) => WorkspaceOrder::Runs,
            Some(OrderOfWorkspaces::Failed) => WorkspaceOrder::Failed,
            Some(OrderOfWorkspaces::LastRun) => WorkspaceOrder::LastRun,
        },
        reversed: query.reversed,
        limit,
        offset,
    };
    let (items, total) = app.store().runs().workspace_overviews(&filter).await?;
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
    let (List(statuses), NumberOr(limit), NumberOr(offset)) = (query.status, query.limit, query.offset);
    let workspace_ids = rights::workspaces_of_task(app.store(), &caller, task_id).await?;
    let task_id = Some(task_id);
    let filter = RunFilter { task_id, workspace_ids, statuses, overlapping, limit, offset, ..RunFilter::default() };
    let (runs, total) = app.store().runs().list(&filter).await?;
    let ids: Vec<RunId> = runs.iter().map(|run| run.id).collect();
    let mut headlines = headlines_of(&app, &caller, &ids).await?;
    let line = |run: &Run| RunLineBody { headline: headlines.remove(&run.id), ..run.into() };
    Ok(Json(ListPage { items: runs.iter().map(line).collect(), limit, offset, total }))
}

/// `GET /runlog/v1/tasks/{id}/durations`: the median, the 95th percentile and the longest duration of the ended runs of
/// a task.
#[utoipa::path(
    get,
    path = "/runlog/v1/tasks/{id}/durations",
    tag = "web",
    params(("id" = runlog_model::TaskId, Path, description = "ID")),
    responses((status = 200, description = "Durations of the runs that have ended", body = DurationsBody))
)]
pub(crate) async fn durations_of_task(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    Query(query): Query<TaskDurationsQuery>,
) -> ApiResult<Json<DurationsBody>> {
    let task_id = parse_id("taskId", &id)?;
    let overlapping = ordered_range(query.start_time, query.end_time)?;
    let workspace_ids = rights::workspaces_of_task(app.store(), &caller, task_id).await?;
    let (task_id, statuses) = (Some(task_id), query.status.0);
    let filter = RunFilter { task_id, workspace_ids, statuses, overlapping, ..RunFilter::default() };
    Ok(Json(app.store().runs().durations(&filter).await?))
}

/// The causes of failed runs, as far as the caller can read their logs: a headline is a text of the log.
async fn headlines_of(app: &App, caller: &Caller, ids: &[RunId]) -> ApiResult<BTreeMap<RunId, String>> {
    let readable = rights::readable_workspaces(app.store(), caller).await?;
    Ok(app.store().problems().headlines_of_runs(ids, readable.as_deref()).await?)
}

/// `GET /runlog/v1/runs`: lists the runs of all tasks that the caller may view, newest first.
#[utoipa::path(
    get,
    path = "/runlog/v1/runs",
    tag = "web",
    responses((status = 200, description = "Runs, newest first", body = ListPage<ListedRunBody>))
)]
pub(crate) async fn runs(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(query): Query<RunsQuery>,
) -> ApiResult<Json<ListPage<ListedRunBody>>> {
    let scope = rights::viewed_scope(app.store(), &caller, &query.scope).await?;
    let (NumberOr(limit), NumberOr(offset)) = (query.limit, query.offset);
    let filter = RunFilter {
        task_id: query.task_id,
        id_prefix: query.id_prefix.map(|prefix| prefix.to_string()),
        workspace_ids: scope.workspace_ids,
        environment_id: scope.environment_id,
        statuses: query.status.0,
        overlapping: ordered_range(query.start_time, query.end_time)?,
        limit,
        offset,
        ..RunFilter::default()
    };
    let (runs, total) = app.store().runs().list(&filter).await?;
    let task_ids: BTreeSet<TaskId> = runs.iter().map(|run| run.task_id).collect();
    let tasks = app.store().workspaces().tasks_with_ids(&task_ids.into_iter().collect::<Vec<_>>()).await?;
    let tasks: BTreeMap<TaskId, Task> = tasks.into_iter().map(|task| (task.id, task)).collect();
    let ids: Vec<RunId> = runs.iter().map(|run| run.id).collect();
    let mut headlines = headlines_of(&app, &caller, &ids).await?;
    let items = runs.iter().filter_map(|run| {
        // Tasks are never deleted while they have runs.
        let Task { name, workspace, .. } = tasks.get(&run.task_id)?;
        Some(ListedRunBody {
            run: RunLineBody { headline: headlines.remove(&run.id), ..run.into() },
            task_id: run.task_id,
            task_name: name.clone(),
            workspace_id: workspace.id,
            workspace_name: workspace.name.clone(),
            environment_name: workspace.environment.name.clone(),
            user_id: run.user_id.clone(),
        })
    });
    Ok(Json(ListPage { items: items.collect(), limit, offset, total }))
}
