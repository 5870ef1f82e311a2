//! Overviews: runs by time and outcome, tasks with their last runs, and the metadata of a log. All of it comes from
//! the catalog; no object is opened.

use std::collections::HashMap;

use az::SaturatingAs;
use runlog_model::wire::overview::{TaskLineBody, WorkspaceLineBody};
use runlog_model::{EnvironmentId, Run, RunId, RunStatus, TaskId, Timestamp, WorkspaceId};
use sqlx_macros::FromRow;

use crate::catalog::columns::words;
use crate::catalog::filters::{containing, push_name_like, push_tag, push_workspaces};
use crate::catalog::sql::Sql;
use crate::error::{Error, Result};
use crate::parts::Runs;
use crate::tables::problems::{LACKS_A_PROBLEM, has_failed};
use crate::tables::runs::{RunRow, no_such_run};

/// Selects the runs that an overview counts.
#[derive(Debug, Clone)]
pub struct OverviewFilter {
    /// Runs of these workspaces; `None` for all.
    pub workspace_ids: Option<Vec<WorkspaceId>>,
    /// Runs triggered at this time or later.
    pub start: Timestamp,
    /// Runs triggered before this time.
    pub end: Timestamp,
    /// The length of a bucket. Unit: milliseconds.
    pub bucket_ms: i64,
}

/// How many runs of a bucket have a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutcomeCount {
    /// The number of the bucket, counted from 0.
    pub bucket: u64,
    /// The status.
    pub status: RunStatus,
    /// How many runs.
    pub runs: u64,
}

/// Selects tasks.
#[derive(Debug, Clone)]
pub struct TaskOverviewFilter {
    /// Tasks of these workspaces, with their runs there; `None` for all. A task that was moved leaves its runs where
    /// they were.
    pub workspace_ids: Option<Vec<WorkspaceId>>,
    /// This task.
    pub task_id: Option<TaskId>,
    /// Tasks whose name contains this, ignoring case.
    pub name_part: Option<String>,
    /// Tasks with this tag.
    pub tag: Option<String>,
    /// Count runs from this time on.
    pub since: Timestamp,
    /// Only tasks with failed runs from this time on.
    pub failing: bool,
    /// The order.
    pub order: TaskOrder,
    /// True for the opposite order.
    pub reversed: bool,
    /// How many of the last runs to return with each task, however long ago they were.
    pub recent: u64,
    /// Most tasks to return.
    pub limit: u64,
    /// How many tasks to skip.
    pub offset: u64,
}

/// The order of tasks. Equal tasks are sorted by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TaskOrder {
    /// By name.
    #[default]
    Name,
    /// Those with the most runs first.
    Runs,
    /// Those with the most failed runs first.
    Failed,
    /// Those that ran last first, however long ago that was.
    LastRun,
    /// Those that failed last first.
    LastFailure,
}

/// Selects workspaces.
#[derive(Debug, Clone)]
pub struct WorkspaceOverviewFilter {
    /// These workspaces; `None` for all.
    pub workspace_ids: Option<Vec<WorkspaceId>>,
    /// Workspaces of this environment.
    pub environment_id: Option<EnvironmentId>,
    /// Workspaces whose name contains this, ignoring case.
    pub name_part: Option<String>,
    /// Count runs from this time on.
    pub since: Timestamp,
    /// The order.
    pub order: WorkspaceOrder,
    /// True for the opposite order.
    pub reversed: bool,
    /// Most workspaces to return.
    pub limit: u64,
    /// How many workspaces to skip.
    pub offset: u64,
}

/// The order of workspaces. Equal workspaces are sorted by environment and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WorkspaceOrder {
    /// By environment and name.
    #[default]
    Name,
    /// Those with the most tasks first.
    Tasks,
    /// Those with the most runs first.
    Runs,
    /// Those with the most failed runs first.
    Failed,
    /// Those with the latest run first, however long ago that was.
    LastRun,
}

/// The metadata of a run's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogMetadata {
    /// Bytes that its records take in the archive.
    pub stored_bytes: u64,
    /// How many times it was deleted.
    pub deletions: u64,
    /// True when it is under legal hold.
    pub is_held: bool,
    /// When its first record was logged.
    pub first: Option<Timestamp>,
    /// When its last record was logged.
    pub last: Option<Timestamp>,
}

#[derive(FromRow)]
struct LineRow {
    task_id: String,
    name: String,
    workspace_id: String,
    workspace: String,
    environment: String,
    tags: String,
    runs: i64,
    failed: i64,
    going: i64,
}

#[derive(FromRow)]
struct WorkspaceRow {
    workspace_id: String,
    name: String,
    description: Option<String>,
    environment_id: String,
    environment: String,
    tasks: i64,
    runs: i64,
    failed: i64,
    going: i64,
    last_run: Option<i64>,
}

/// True of a run `r` that failed.
const R_HAS_FAILED: &str = concat!("r.", has_failed!());

/// Tasks whose latest runs are read with one query: a part of the query for each.
const TASKS_AT_ONCE: usize = 100;

/// Before the trigger time of every run. Unit: epoch milliseconds.
const NEVER: i64 = -i64::MAX;

impl Runs {
    /// Counts runs by bucket and status.
    pub async fn outcome_counts(&self, filter: &OverviewFilter) -> Result<Vec<OutcomeCount>> {
        let mut query = Sql::new("SELECT (triggered_at - ");
        query.push_bind(filter.start.as_millis()).push(") / ").push_bind(filter.bucket_ms.max(1));
        query.push(" AS bucket, status, COUNT(*) AS runs FROM runs WHERE triggered_at >= ");
        query.push_bind(filter.start.as_millis()).push(" AND triggered_at < ").push_bind(filter.end.as_millis());
        push_workspaces(&mut query, "workspace_id", filter.workspace_ids.as_deref());
        query.push(" GROUP BY 1, 2 ORDER BY 1, 2");
        let rows: Vec<(i64, String, i64)> = query.build_query_as().fetch_all(self.core.catalog().read()).await?;
        let read = |(bucket, status, runs): (i64, String, i64)| {
            let status = status.parse().map_err(|_| Error::corrupt("the status of a run does not decode"))?;
            Ok(OutcomeCount { bucket: bucket.saturating_as::<u64>(), status, runs: runs.saturating_as::<u64>() })
        };
        rows.into_iter().map(read).collect()
    }

    /// Counts the failed runs whose problem is not known yet, because their logs are not summarised.
    pub async fn unexplained(&self, filter: &OverviewFilter) -> Result<u64> {
        let mut query = Sql::new("SELECT COUNT(*) FROM runs WHERE triggered_at >= ");
        query.push_bind(filter.start.as_millis()).push(" AND triggered_at < ").push_bind(filter.end.as_millis());
        push_workspaces(&mut query, "workspace_id", filter.workspace_ids.as_deref());
        query.push(format!(" AND {LACKS_A_PROBLEM}"));
        let runs: i64 = query.build_query_scalar().fetch_one(self.core.catalog().read()).await?;
        Ok(runs.saturating_as::<u64>())
    }

    /// Returns the tasks that match the filter, and how many match without limit and offset.
    pub async fn task_overviews(&self, filter: &TaskOverviewFilter) -> Result<(Vec<TaskLineBody>, u64)> {
        let mut counting = Sql::new("SELECT COUNT(*) FROM (SELECT t.id");
        push_lines(&mut counting, filter);
        counting.push(") counted");
        let total: i64 = counting.build_query_scalar().fetch_one(self.core.catalog().read()).await?;

        let mut listing = Sql::new(format!(
            "SELECT t.id AS task_id, t.name AS name, t.workspace_id AS workspace_id, w.name AS workspace,
                    e.name AS environment, t.tags AS tags, COUNT(r.id) AS runs,
                    CAST(COALESCE(SUM(CASE WHEN {R_HAS_FAILED} THEN 1 ELSE 0 END), 0) AS BIGINT) AS failed,
                    CAST(COALESCE(SUM(CASE WHEN r.status IN ('dispatching', 'executing') THEN 1 ELSE 0 END), 0)
                         AS BIGINT) AS going"
        ));
        push_lines(&mut listing, filter);
        push_order(&mut listing, filter);
        listing
            .push(" LIMIT ")
            .push_bind(filter.limit.saturating_as::<i64>())
            .push(" OFFSET ")
            .push_bind(filter.offset.saturating_as::<i64>());
        let rows: Vec<LineRow> = listing.build_query_as().fetch_all(self.core.catalog().read()).await?;
        let all: Vec<&LineRow> = rows.iter().collect();
        let mut recent = self.latest_runs(&all, filter, "", filter.recent).await?;
        let failing: Vec<&LineRow> = rows.iter().filter(|row| row.failed > 0).collect();
        let failed = format!(" AND {R_HAS_FAILED} AND r.triggered_at >= {}", filter.since.as_millis());
        let mut failures = self.latest_runs(&failing, filter, &failed, 1).await?;
        let lines = rows.into_iter().map(|row| {
            let runs = recent.remove(&row.task_id).unwrap_or_default();
            let failure = failures.remove(&row.task_id).and_then(|runs| runs.into_iter().next());
            row.into_line(&runs, failure.as_ref())
        });
        Ok((lines.collect::<Result<_>>()?, total.saturating_as::<u64>()))
    }

    /// Returns the workspaces that match the filter, and how many match without limit and offset.
    pub async fn workspace_overviews(&self, filter: &WorkspaceOverviewFilter) -> Result<(Vec<WorkspaceLineBody>, u64)> {
        let mut counting = Sql::new("SELECT COUNT(*) FROM workspaces w WHERE TRUE");
        push_workspace_conditions(&mut counting, filter);
        let total: i64 = counting.build_query_scalar().fetch_one(self.core.catalog().read()).await?;

        let mut listing = Sql::new(format!(
            "SELECT w.id AS workspace_id, w.name AS name, w.description AS description, e.id AS environment_id,
                    e.name AS environment,
                    (SELECT COUNT(*) FROM tasks t WHERE t.workspace_id = w.id) AS tasks, COUNT(r.id) AS runs,
                    CAST(COALESCE(SUM(CASE WHEN {R_HAS_FAILED} THEN 1 ELSE 0 END), 0) AS BIGINT) AS failed,
                    CAST(COALESCE(SUM(CASE WHEN r.status IN ('dispatching', 'executing') THEN 1 ELSE 0 END), 0)
                         AS BIGINT) AS going,
                    (SELECT MAX(l.triggered_at) FROM runs l WHERE l.workspace_id = w.id) AS last_run
             FROM workspaces w JOIN environments e ON e.id = w.environment_id
             LEFT JOIN runs r ON r.workspace_id = w.id AND r.triggered_at >= "
        ));
        listing.push_bind(filter.since.as_millis()).push(" WHERE TRUE");
        push_workspace_conditions(&mut listing, filter);
        listing.push(" GROUP BY w.id, w.name, w.description, e.id, e.name");
        push_workspace_order(&mut listing, filter);
        listing.push(" LIMIT ").push_bind(filter.limit.saturating_as::<i64>());
        listing.push(" OFFSET ").push_bind(filter.offset.saturating_as::<i64>());
        let rows: Vec<WorkspaceRow> = listing.build_query_as().fetch_all(self.core.catalog().read()).await?;
        let lines = rows.into_iter().map(WorkspaceRow::into_line).collect::<Result<_>>()?;
        Ok((lines, total.saturating_as::<u64>()))
    }

    /// At most `most` runs of each of these tasks that meet a condition, the newest first.
    async fn latest_runs(
        &self,
        tasks: &[&LineRow],
        filter: &TaskOverviewFilter,
        condition: &str,
        most: u64,
    ) -> Result<HashMap<String, Vec<Run>>> {
        let mut recent: HashMap<String, Vec<Run>> = HashMap::new();
        let scope = filter.workspace_ids.as_deref();
        if most == 0 || scope.is_some_and(<[_]>::is_empty) {
            return Ok(recent);
        }
        for tasks in tasks.chunks(TASKS_AT_ONCE) {
            let mut query = Sql::new("");
            for (index, id) in scope.unwrap_or_default().iter().enumerate() {
                query.push(if index == 0 { "WITH scope (id) AS (VALUES (" } else { "), (" }).push_bind(id.to_string());
            }
            query.push(if scope.is_some() { ")) " } else { "" });
            for (index, task) in tasks.iter().enumerate() {
                // The index of the runs of a task ends the search after as many runs, however many there are.
                query.push(if index == 0 { "" } else { " UNION ALL " });
                query.push("SELECT * FROM (SELECT r.* FROM runs r WHERE r.task_id = ").push_bind(task.task_id.clone());
                query.push(if scope.is_some() { " AND r.workspace_id IN (SELECT id FROM scope)" } else { "" });
                query.push(condition).push(" ORDER BY r.triggered_at DESC, r.id DESC LIMIT ");
                query.push_bind(most.saturating_as::<i64>()).push(format!(") latest{index}"));
            }
            let rows: Vec<RunRow> = query.build_query_as().fetch_all(self.core.catalog().read()).await?;
            for row in rows {
                let run = row.into_run()?;
                recent.entry(run.task_id.to_string()).or_default().push(run);
            }
        }
        for runs in recent.values_mut() {
            // The parts of a union have no order.
            runs.sort_by_key(|run| std::cmp::Reverse((run.triggered_at, run.id)));
        }
        Ok(recent)
    }

    /// Returns the metadata of a run's log. `NotFound`: no such run.
    pub async fn log_metadata(&self, run_id: RunId) -> Result<LogMetadata> {
        let row: Option<(i64, i64, i64)> =
            sqlx::query_as("SELECT stored_bytes, log_epoch, legal_hold FROM runs WHERE id = $1")
                .bind(run_id.to_string())
                .fetch_optional(self.core.catalog().read())
                .await?;
        let (stored_bytes, deletions, held) = row.ok_or_else(|| no_such_run(run_id))?;
        let (first, last): (Option<i64>, Option<i64>) =
            sqlx::query_as("SELECT MIN(first_time), MAX(last_time) FROM slices WHERE run_id = $1")
                .bind(run_id.to_string())
                .fetch_one(self.core.catalog().read())
                .await?;
        Ok(LogMetadata {
            stored_bytes: stored_bytes.saturating_as::<u64>(),
            deletions: deletions.saturating_as::<u64>(),
            is_held: held != 0,
            first: first.map(Timestamp::clamped),
            last: last.map(Timestamp::clamped),
        })
    }
}

/// Everything of the list of tasks after its columns, but for its order.
fn push_lines(query: &mut Sql, filter: &TaskOverviewFilter) {
    query.push(
        " FROM tasks t JOIN workspaces w ON w.id = t.workspace_id JOIN environments e ON e.id = w.environment_id
          LEFT JOIN runs r ON r.task_id = t.id AND r.triggered_at >= ",
    );
    query.push_bind(filter.since.as_millis());
    push_workspaces(query, "r.workspace_id", filter.workspace_ids.as_deref());
    query.push(" WHERE TRUE");
    push_workspaces(query, "t.workspace_id", filter.workspace_ids.as_deref());
    if let Some(part) = &filter.name_part {
        query.push(" AND ");
        push_name_like(query, "t.name", part, containing);
    }
    if let Some(id) = filter.task_id {
        query.push(" AND t.id = ").push_bind(id.to_string());
    }
    if let Some(tag) = &filter.tag {
        query.push(" AND ");
        push_tag(query, tag);
    }
    query.push(" GROUP BY t.id, t.name, t.workspace_id, t.tags, w.name, e.name");
    if filter.failing {
        query.push(format!(" HAVING SUM(CASE WHEN {R_HAS_FAILED} THEN 1 ELSE 0 END) > 0"));
    }
}

/// The order of the list of tasks. Tasks without a value are last, or first in the opposite order.
fn push_order(query: &mut Sql, filter: &TaskOverviewFilter) {
    let is_descending = matches!(filter.order, TaskOrder::Name) == filter.reversed;
    let direction = if is_descending { "DESC" } else { "ASC" };
    query.push(" ORDER BY ");
    match filter.order {
        TaskOrder::Name => {
            query.push(format!("LOWER(t.name) {direction}, t.id"));
            return;
        }
        TaskOrder::Runs => query.push("COUNT(r.id)"),
        TaskOrder::Failed => query.push(format!("SUM(CASE WHEN {R_HAS_FAILED} THEN 1 ELSE 0 END)")),
        TaskOrder::LastFailure => {
            query.push(format!("COALESCE(MAX(CASE WHEN {R_HAS_FAILED} THEN r.triggered_at END), {NEVER})"))
        }
        TaskOrder::LastRun => {
            query.push("COALESCE((SELECT MAX(l.triggered_at) FROM runs l WHERE l.task_id = t.id");
            push_workspaces(query, "l.workspace_id", filter.workspace_ids.as_deref());
            query.push(format!("), {NEVER})"))
        }
    };
    query.push(format!(" {direction}, LOWER(t.name), t.id"));
}

fn push_workspace_conditions(query: &mut Sql, filter: &WorkspaceOverviewFilter) {
    push_workspaces(query, "w.id", filter.workspace_ids.as_deref());
    if let Some(id) = filter.environment_id {
        query.push(" AND w.environment_id = ").push_bind(id.to_string());
    }
    if let Some(part) = &filter.name_part {
        query.push(" AND ");
        push_name_like(query, "w.name", part, containing);
    }
}

/// The order of the list of workspaces. One without a run comes last by its last run, or first in the opposite order.
fn push_workspace_order(query: &mut Sql, filter: &WorkspaceOverviewFilter) {
    let is_descending = matches!(filter.order, WorkspaceOrder::Name) == filter.reversed;
    let direction = if is_descending { "DESC" } else { "ASC" };
    let by = match filter.order {
        WorkspaceOrder::Name => {
            query.push(format!(" ORDER BY LOWER(e.name) {direction}, LOWER(w.name) {direction}, w.id"));
            return;
        }
        WorkspaceOrder::Tasks => "(SELECT COUNT(*) FROM tasks o WHERE o.workspace_id = w.id)".to_owned(),
        WorkspaceOrder::Runs => "COUNT(r.id)".to_owned(),
        WorkspaceOrder::Failed => format!("SUM(CASE WHEN {R_HAS_FAILED} THEN 1 ELSE 0 END)"),
        WorkspaceOrder::LastRun => {
            format!("COALESCE((SELECT MAX(o.triggered_at) FROM runs o WHERE o.workspace_id = w.id), {NEVER})")
        }
    };
    query.push(format!(" ORDER BY {by} {direction}, LOWER(e.name), LOWER(w.name), w.id"));
}

impl WorkspaceRow {
    fn into_line(self) -> Result<WorkspaceLineBody> {
        let undecodable = |what: &str| Error::corrupt(format!("the {what} of a workspace does not decode"));
        Ok(WorkspaceLineBody {
            workspace_id: self.workspace_id.parse().map_err(|_| undecodable("id"))?,
            name: self.name,
            description: self.description.filter(|description| !description.is_empty()),
            environment_id: self.environment_id.parse().map_err(|_| undecodable("environment"))?,
            environment_name: self.environment,
            tasks: self.tasks.saturating_as::<u64>(),
            runs: self.runs.saturating_as::<u64>(),
            failed: self.failed.saturating_as::<u64>(),
            going: self.going.saturating_as::<u64>(),
            last_run: self.last_run.map(Timestamp::clamped),
        })
    }
}

impl LineRow {
    fn into_line(self, recent: &[Run], last_failure: Option<&Run>) -> Result<TaskLineBody> {
        let undecodable = |what: &str| Error::corrupt(format!("the {what} of a task does not decode"));
        Ok(TaskLineBody {
            task_id: self.task_id.parse().map_err(|_| undecodable("id"))?,
            workspace_id: self.workspace_id.parse().map_err(|_| undecodable("workspace"))?,
            name: self.name,
            workspace_name: self.workspace,
            environment_name: self.environment,
            tags: words(&self.tags)?,
            runs: self.runs.saturating_as::<u64>(),
            failed: self.failed.saturating_as::<u64>(),
            going: self.going.saturating_as::<u64>(),
            recent: recent.iter().map(Into::into).collect(),
            last_failure: last_failure.map(Into::into),
        })
    }
}
