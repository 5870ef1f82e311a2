//! The catalog queries of reports: recent runs in brief, and the error groups found in summaries.
//!
//! When a task is moved to another workspace, its earlier runs stay in the old workspace and are subject to the rights
//! in it. Queries about a task therefore cover only the runs in its current workspace.

use std::collections::HashMap;

use az::SaturatingAs;
use runlog_model::record::SeverityCounts;
use runlog_model::{ErrorGroupKind, Run, RunId, RunStatus, Severity, TaskId, Timestamp, WorkspaceId};
use sqlx_macros::FromRow;

use crate::catalog::columns::instant;
use crate::catalog::sql::Sql;
use crate::error::{Error, Result};
use crate::limits;
use crate::parts::Summaries;
use crate::tables::runs::RunRow;
use crate::tables::summaries::group_kind;

/// The data of a run that reports need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentRun {
    /// The run.
    pub run_id: RunId,
    /// Its task.
    pub task_id: TaskId,
    /// Its status.
    pub status: RunStatus,
    /// When it was triggered.
    pub triggered_at: Timestamp,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Records of its log by severity.
    pub severities: SeverityCounts,
    /// Why the run failed: the reason why it did not start, or else the error message.
    pub error_message: Option<String>,
    /// True if there is a summary of its current log: the error groups of the run are then complete.
    pub is_summarized: bool,
}

/// An error group, over all summarised runs of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorGroup {
    /// The task.
    pub task_id: TaskId,
    /// The property that its records have in common.
    pub kind: ErrorGroupKind,
    /// Its id, the same in every run.
    pub id: String,
    /// One line.
    pub title: String,
    /// The highest severity of its records.
    pub severity: Severity,
    /// Runs whose logs contain it.
    pub runs: u64,
    /// Records in all of them.
    pub records: u64,
    /// When it was first logged, and in which run.
    pub first: (Timestamp, RunId),
    /// When it was last logged, and in which run.
    pub last: (Timestamp, RunId),
}

#[derive(FromRow)]
struct RecentRow {
    id: String,
    task_id: String,
    status: String,
    triggered_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    error_message: Option<String>,
    severity_other: i64,
    severity_trace: i64,
    severity_debug: i64,
    severity_info: i64,
    severity_warn: i64,
    severity_error: i64,
    severity_fatal: i64,
    is_summarized: i64,
}

#[derive(FromRow)]
struct GroupRow {
    task_id: String,
    kind: String,
    id: String,
    title: String,
    severity: i64,
    runs: i64,
    records: i64,
    first_time: i64,
    last_time: i64,
    first_run: String,
    last_run: String,
}

const RECENT_COLUMNS: &str = "id, task_id, status, triggered_at, started_at, finished_at,
    COALESCE(NULLIF(misfired_reason, 'UNKNOWN'), error_message, misfired_reason) AS error_message,
    severity_other, severity_trace, severity_debug, severity_info, severity_warn, severity_error, severity_fatal";

/// Whether there is a summary of the current log of a run. For a row of a table or subquery with the name `runs`.
const IS_SUMMARIZED: &str = "CAST(CASE WHEN EXISTS (SELECT 1 FROM summaries s WHERE s.run_id = runs.id
    AND s.log_epoch = runs.log_epoch AND s.records = runs.records) THEN 1 ELSE 0 END AS BIGINT) AS is_summarized";

/// The condition that the run of a row of `problems` is in the current workspace of its task. The argument is the name
/// of the table in the query.
macro_rules! is_where_its_task_is {
    ($problem:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM runs r JOIN tasks t ON t.id = r.task_id WHERE r.id = ",
            $problem,
            ".run_id AND r.workspace_id = t.workspace_id)"
        )
    };
}

/// The columns selected from `problems p`, grouped, for an [`ErrorGroup`].
const GROUP_COLUMNS: &str = concat!(
    "p.task_id, p.kind, p.id, MIN(p.title) AS title, MAX(p.severity) AS severity,
    COUNT(*) AS runs, CAST(SUM(p.records) AS BIGINT) AS records,
    MIN(p.first_time) AS first_time, MAX(p.last_time) AS last_time,
    (SELECT f.run_id FROM problems f WHERE f.task_id = p.task_id AND f.kind = p.kind AND f.id = p.id AND ",
    is_where_its_task_is!("f"),
    " ORDER BY f.first_time LIMIT 1) AS first_run,
    (SELECT l.run_id FROM problems l WHERE l.task_id = p.task_id AND l.kind = p.kind AND l.id = p.id AND ",
    is_where_its_task_is!("l"),
    " ORDER BY l.first_time DESC LIMIT 1) AS last_run"
);

const IS_WHERE_ITS_TASK_IS: &str = is_where_its_task_is!("p");

impl Summaries {
    /// Returns at most `limit` runs of a task that were triggered since a time, newest first.
    pub async fn recent_runs_of_task(&self, task: TaskId, since: Timestamp, limit: u64) -> Result<Vec<RecentRun>> {
        let listing = format!(
            "SELECT {RECENT_COLUMNS}, {IS_SUMMARIZED} FROM runs WHERE task_id = $1 AND triggered_at >= $2
                AND workspace_id = (SELECT workspace_id FROM tasks WHERE id = $1)
             ORDER BY triggered_at DESC, id DESC LIMIT $3"
        );
        let rows: Vec<RecentRow> = sqlx::query_as(sqlx::AssertSqlSafe(listing))
            .bind(task.to_string())
            .bind(since.as_millis())
            .bind(limit.saturating_as::<i64>())
            .fetch_all(self.core.catalog().read())
            .await?;
        rows.into_iter().map(RecentRow::into_run).collect()
    }

    /// Returns the trigger times of the newest runs of a task since a time, the newest first: at most `limit`.
    pub async fn starts_of_task(&self, task: TaskId, since: Timestamp, limit: u64) -> Result<Vec<Timestamp>> {
        let starts: Vec<i64> = sqlx::query_scalar(
            "SELECT triggered_at FROM runs WHERE task_id = $1 AND triggered_at >= $2
                AND workspace_id = (SELECT workspace_id FROM tasks WHERE id = $1)
             ORDER BY triggered_at DESC LIMIT $3",
        )
        .bind(task.to_string())
        .bind(since.as_millis())
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        Ok(starts.into_iter().map(Timestamp::clamped).collect())
    }

    /// Returns the trigger times of the newest runs of these tasks since a time, the newest first: at most `limit` of
    /// each task. Tasks of other workspaces, and those without such runs, are absent.
    pub async fn starts_of_tasks(
        &self,
        workspace: WorkspaceId,
        tasks: &[TaskId],
        since: Timestamp,
        limit: u64,
    ) -> Result<HashMap<TaskId, Vec<Timestamp>>> {
        let mut starts: HashMap<TaskId, Vec<Timestamp>> = HashMap::new();
        for some in tasks.chunks(limits::START_LOOKUP_BATCH) {
            let (workspace, since) = (workspace.to_string(), since.as_millis());
            // The oldest start to return is looked up once for each task, in the index by task.
            let mut listing = Sql::new(
                "WITH newest AS MATERIALIZED (
                    SELECT t.id, COALESCE((SELECT n.triggered_at FROM runs n WHERE n.task_id = t.id
                        AND n.workspace_id = t.workspace_id AND n.triggered_at >= ",
            );
            listing.push_bind(since).push(" ORDER BY n.triggered_at DESC LIMIT 1 OFFSET ");
            listing.push_bind(limit.saturating_sub(1).saturating_as::<i64>()).push("), ").push_bind(since);
            listing.push(") AS oldest FROM tasks t WHERE t.workspace_id = ").push_bind(workspace.clone());
            listing.push(" AND t.id IN (").push_list(some.iter().map(ToString::to_string));
            listing.push(
                ")) SELECT r.task_id, r.triggered_at FROM newest
                    JOIN runs r ON r.task_id = newest.id AND r.triggered_at >= newest.oldest AND r.workspace_id = ",
            );
            listing.push_bind(workspace).push(" ORDER BY r.task_id, r.triggered_at DESC");
            let rows: Vec<(String, i64)> = listing.build_query_as().fetch_all(self.core.catalog().read()).await?;
            for (task, start) in rows {
                starts.entry(task_id_of(&task)?).or_default().push(Timestamp::clamped(start));
            }
        }
        // More than `limit` starts may match because several runs were triggered at the same time as the oldest.
        starts.values_mut().for_each(|starts| starts.truncate(limit.saturating_as()));
        Ok(starts)
    }

    /// Returns a run, and the runs of its task that were triggered between a time and that run, newest first: at most
    /// `limit` in total.
    pub async fn runs_up_to(&self, run: &Run, since: Timestamp, limit: u64) -> Result<Vec<RecentRun>> {
        let listing = format!(
            "SELECT {RECENT_COLUMNS}, {IS_SUMMARIZED} FROM runs WHERE task_id = $1 AND triggered_at >= $2
                AND workspace_id = (SELECT workspace_id FROM tasks WHERE id = $1)
                AND triggered_at <= $4 AND (triggered_at < $4 OR id <= $5)
             ORDER BY triggered_at DESC, id DESC LIMIT $3"
        );
        let rows: Vec<RecentRow> = sqlx::query_as(sqlx::AssertSqlSafe(listing))
            .bind(run.task_id.to_string())
            .bind(since.as_millis())
            .bind(limit.saturating_as::<i64>())
            .bind(run.triggered_at.as_millis())
            .bind(run.id.to_string())
            .fetch_all(self.core.catalog().read())
            .await?;
        rows.into_iter().map(RecentRow::into_run).collect()
    }

    /// Returns the newest runs of each task of a workspace since a time, at most `per_task` of each and `limit` in
    /// total, ordered by task and then newest first.
    pub async fn recent_runs_of_workspace(
        &self,
        workspace: WorkspaceId,
        since: Timestamp,
        per_task: u64,
        limit: u64,
    ) -> Result<Vec<RecentRun>> {
        let listing = format!(
            "SELECT {RECENT_COLUMNS}, {IS_SUMMARIZED} FROM (
                SELECT {RECENT_COLUMNS}, misfired_reason, log_epoch, records,
                    ROW_NUMBER() OVER (PARTITION BY task_id ORDER BY triggered_at DESC, id DESC) AS place
                FROM runs WHERE workspace_id = $1 AND triggered_at >= $2) AS runs
             WHERE place <= $3 ORDER BY task_id, triggered_at DESC, id DESC LIMIT $4"
        );
        let rows: Vec<RecentRow> = sqlx::query_as(sqlx::AssertSqlSafe(listing))
            .bind(workspace.to_string())
            .bind(since.as_millis())
            .bind(per_task.saturating_as::<i64>())
            .bind(limit.saturating_as::<i64>())
            .fetch_all(self.core.catalog().read())
            .await?;
        rows.into_iter().map(RecentRow::into_run).collect()
    }

    /// Returns the newest runs of the same task and workspace before this one that have a summary: only successful
    /// runs, or all; at most `limit`, the newest first.
    pub async fn previous_runs(&self, before: &Run, must_be_successful: bool, limit: u64) -> Result<Vec<Run>> {
        let rows: Vec<RunRow> = sqlx::query_as(
            "SELECT r.* FROM runs r WHERE r.task_id = $1 AND (r.status = 'execution_successful' OR $4 = 0)
                AND (r.triggered_at < $2 OR (r.triggered_at = $2 AND r.id < $3)) AND r.workspace_id = $5
                AND EXISTS (SELECT 1 FROM summaries s WHERE s.run_id = r.id)
             ORDER BY r.triggered_at DESC, r.id DESC LIMIT $6",
        )
        .bind(before.task_id.to_string())
        .bind(before.triggered_at.as_millis())
        .bind(before.id.to_string())
        .bind(i64::from(must_be_successful))
        .bind(before.workspace_id.to_string())
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        rows.into_iter().map(RunRow::into_run).collect()
    }

    /// Returns at most `limit` error groups of a task that were logged since a time, the last seen first.
    pub async fn error_groups_of_task(&self, task: TaskId, since: Timestamp, limit: u64) -> Result<Vec<ErrorGroup>> {
        let listing = format!(
            "SELECT {GROUP_COLUMNS} FROM problems p WHERE p.task_id = $1 AND {IS_WHERE_ITS_TASK_IS}
             GROUP BY p.task_id, p.kind, p.id
             HAVING MAX(p.last_time) >= $2 ORDER BY MAX(p.last_time) DESC, p.kind, p.id LIMIT $3"
        );
        let rows: Vec<GroupRow> = sqlx::query_as(sqlx::AssertSqlSafe(listing))
            .bind(task.to_string())
            .bind(since.as_millis())
            .bind(limit.saturating_as::<i64>())
            .fetch_all(self.core.catalog().read())
            .await?;
        rows.into_iter().map(GroupRow::into_group).collect()
    }

    /// Returns the error groups of a workspace that were first logged since a time, the newest first: at most `limit`
    /// after the first `offset`.
    pub async fn new_error_groups(
        &self,
        workspace: WorkspaceId,
        since: Timestamp,
        limit: u64,
        offset: u64,
    ) -> Result<Vec<ErrorGroup>> {
        let listing = format!(
            "SELECT {GROUP_COLUMNS} FROM problems p
             WHERE p.task_id IN (SELECT id FROM tasks WHERE workspace_id = $1) AND p.last_time >= $2
                AND {IS_WHERE_ITS_TASK_IS}
                AND NOT EXISTS (SELECT 1 FROM problems e WHERE e.task_id = p.task_id AND e.kind = p.kind
                    AND e.id = p.id AND e.first_time < $2)
             GROUP BY p.task_id, p.kind, p.id ORDER BY MIN(p.first_time) DESC, p.kind, p.id, p.task_id
             LIMIT $3 OFFSET $4"
        );
        let rows: Vec<GroupRow> = sqlx::query_as(sqlx::AssertSqlSafe(listing))
            .bind(workspace.to_string())
            .bind(since.as_millis())
            .bind(limit.saturating_as::<i64>())
            .bind(offset.saturating_as::<i64>())
            .fetch_all(self.core.catalog().read())
            .await?;
        rows.into_iter().map(GroupRow::into_group).collect()
    }

    /// Returns the error groups of each run of a task since a time.
    pub async fn runs_with_error_groups(
        &self,
        task: TaskId,
        since: Timestamp,
    ) -> Result<HashMap<(ErrorGroupKind, String), Vec<RunId>>> {
        let listing = format!(
            "SELECT p.kind, p.id, p.run_id FROM problems p
             WHERE p.task_id = $1 AND p.last_time >= $2 AND {IS_WHERE_ITS_TASK_IS} ORDER BY p.kind, p.id, p.run_id"
        );
        let rows: Vec<(String, String, String)> = sqlx::query_as(sqlx::AssertSqlSafe(listing))
            .bind(task.to_string())
            .bind(since.as_millis())
            .fetch_all(self.core.catalog().read())
            .await?;
        let mut runs: HashMap<(ErrorGroupKind, String), Vec<RunId>> = HashMap::new();
        for (kind, id, run_id) in rows {
            runs.entry((group_kind(&kind)?, id)).or_default().push(run_id_of(&run_id)?);
        }
        Ok(runs)
    }
}

fn run_id_of(text: &str) -> Result<RunId> {
    text.parse().map_err(|_| Error::corrupt("the id of a run does not decode"))
}

fn task_id_of(text: &str) -> Result<TaskId> {
    text.parse().map_err(|_| Error::corrupt("the id of a task does not decode"))
}

impl RecentRow {
    fn into_run(self) -> Result<RecentRun> {
        let counts = [
            self.severity_other,
            self.severity_trace,
            self.severity_debug,
            self.severity_info,
            self.severity_warn,
            self.severity_error,
            self.severity_fatal,
        ];
        Ok(RecentRun {
            run_id: run_id_of(&self.id)?,
            task_id: task_id_of(&self.task_id)?,
            status: self.status.parse().map_err(|_| Error::corrupt("the status of a run does not decode"))?,
            triggered_at: instant(self.triggered_at)?,
            started_at: self.started_at.map(instant).transpose()?,
            finished_at: self.finished_at.map(instant).transpose()?,
            severities: SeverityCounts::from_array(counts.map(|count| count.saturating_as::<u64>())),
            error_message: self.error_message,
            is_summarized: self.is_summarized != 0,
        })
    }
}

impl GroupRow {
    fn into_group(self) -> Result<ErrorGroup> {
        let severity = usize::try_from(self.severity).ok().and_then(|place| Severity::ALL.get(place).copied());
        Ok(ErrorGroup {
            task_id: task_id_of(&self.task_id)?,
            kind: group_kind(&self.kind)?,
            id: self.id,
            title: self.title,
            severity: severity.ok_or_else(|| Error::corrupt("the severity of an error group does not decode"))?,
            runs: self.runs.saturating_as::<u64>(),
            records: self.records.saturating_as::<u64>(),
            first: (instant(self.first_time)?, run_id_of(&self.first_run)?),
            last: (instant(self.last_time)?, run_id_of(&self.last_run)?),
        })
    }
}
