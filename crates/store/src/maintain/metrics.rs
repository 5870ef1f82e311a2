//! Metrics of the archive as a whole and of each task.

use std::collections::BTreeMap;

use az::SaturatingAs;
use runlog_model::record::SeverityCounts;
use runlog_model::{RunStatus, TaskId, Timestamp};
use sqlx_macros::FromRow;

use crate::catalog::columns::instant;
use crate::catalog::sql::Sql;
use crate::error::{Error, Result};
use crate::limits;
use crate::maintain::maintenance::Maintenance;

/// Metrics of an archive.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ArchiveMetrics {
    /// Number of records of all logs.
    pub records: u64,
    /// Number of objects that contain records.
    pub segments: u64,
    /// Number of bytes of those objects.
    pub segment_bytes: u64,
    /// Number of requested page files that are not built yet.
    pub pages_waiting: u64,
    /// Number of page files that are reported as failed.
    pub pages_failed: u64,
    /// Number of bytes of page files.
    pub page_bytes: u64,
    /// Number of logs that cannot be sealed because a part of them is lost or damaged.
    pub logs_damaged: u64,
    /// Number of objects that were found damaged or missing.
    pub objects_damaged: u64,
    /// Number of logs that are due for sealing.
    pub logs_to_seal: u64,
    /// The metrics of each task with runs.
    pub tasks: Vec<TaskMetrics>,
}

/// Metrics of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskMetrics {
    /// The ID of the task.
    pub id: TaskId,
    /// The name of the task.
    pub name: String,
    /// The name of its workspace.
    pub workspace: String,
    /// Number of runs by status.
    pub runs: BTreeMap<&'static str, u64>,
    /// The total duration of its finished runs. Unit: milliseconds.
    pub duration_ms: u64,
    /// How many runs `duration_ms` covers.
    pub runs_ended: u64,
    /// Number of records of its logs by severity.
    pub severities: SeverityCounts,
    /// When a run last succeeded.
    pub last_success: Option<Timestamp>,
}

#[derive(FromRow)]
struct Row {
    task_id: String,
    name: String,
    workspace: String,
    status: String,
    runs: i64,
    runs_ended: i64,
    duration_ms: i64,
    last_finished: Option<i64>,
    other: i64,
    trace: i64,
    debug: i64,
    info: i64,
    warn: i64,
    error: i64,
    fatal: i64,
}

impl Maintenance {
    /// Computes all metrics from the catalog; no object is opened.
    pub async fn metrics(&self) -> Result<ArchiveMetrics> {
        let read = self.core.catalog().read();
        let (segments, segment_bytes): (i64, i64) =
            sqlx::query_as("SELECT COUNT(*), CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM segments")
                .fetch_one(read)
                .await?;
        let (waiting, failed, page_bytes): (i64, i64, i64) = sqlx::query_as(
            "SELECT CAST(COALESCE(SUM(CASE WHEN built_at IS NULL AND attempts < $1 THEN 1 ELSE 0 END), 0) AS BIGINT),
                    CAST(COALESCE(SUM(CASE WHEN built_at IS NULL AND attempts >= $1 AND keep_until > $2 THEN 1 ELSE 0 END), 0)
                         AS BIGINT),
                    CAST(COALESCE(SUM(zstd_bytes), 0) AS BIGINT)
             FROM page_files",
        )
        .bind(crate::limits::PAGE_ATTEMPTS_MAX)
        .bind(self.pages().tokens_valid_until().as_millis())
        .fetch_one(read)
        .await?;
        let (_, logs_damaged) = self.damaged_logs(0).await?;
        let (_, objects_damaged) = self.damaged_objects(0).await?;
        let logs_to_seal: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM runs WHERE seal_at <= $1")
            .bind(self.core.now().as_millis())
            .fetch_one(read)
            .await?;
        let tasks = self.task_metrics().await?;
        Ok(ArchiveMetrics {
            records: tasks.iter().map(|task| task.severities.total()).sum(),
            segments: segments.saturating_as::<u64>(),
            segment_bytes: segment_bytes.saturating_as::<u64>(),
            pages_waiting: waiting.saturating_as::<u64>(),
            pages_failed: failed.saturating_as::<u64>(),
            page_bytes: page_bytes.saturating_as::<u64>(),
            logs_damaged,
            objects_damaged,
            logs_to_seal: logs_to_seal.saturating_as::<u64>(),
            tasks,
        })
    }

    /// Computes the metrics of all tasks. Reads a limited number of tasks at a time, so that no statement takes long,
    /// however many runs there are.
    async fn task_metrics(&self) -> Result<Vec<TaskMetrics>> {
        let (mut tasks, mut after) = (Vec::<TaskMetrics>::new(), String::new());
        loop {
            let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM tasks WHERE id > $1 ORDER BY id LIMIT $2")
                .bind(&after)
                .bind(limits::METRICS_TASKS_BATCH)
                .fetch_all(self.core.catalog().read())
                .await?;
            let Some(last) = ids.last() else { return Ok(tasks) };
            after.clone_from(last);
            for row in self.task_rows(ids).await? {
                let undecodable = |what: &str| Error::corrupt(format!("the {what} of a run does not decode"));
                let id: TaskId = row.task_id.parse().map_err(|_| undecodable("task"))?;
                let status: RunStatus = row.status.parse().map_err(|_| undecodable("status"))?;
                if tasks.last().is_none_or(|task| task.id != id) {
                    tasks.push(TaskMetrics::new(id, &row));
                }
                if let Some(task) = tasks.last_mut() {
                    task.add(status, &row)?;
                }
            }
        }
    }

    /// Returns the runs of these tasks by task and status.
    async fn task_rows(&self, ids: Vec<String>) -> Result<Vec<Row>> {
        let mut counting = Sql::new(
            "SELECT r.task_id, t.name, w.name AS workspace, r.status, COUNT(*) AS runs,
                    COUNT(r.finished_at) AS runs_ended,
                    CAST(COALESCE(SUM(r.finished_at - COALESCE(r.started_at, r.triggered_at)), 0) AS BIGINT) AS duration_ms,
                    MAX(r.finished_at) AS last_finished,
                    CAST(SUM(severity_other) AS BIGINT) AS other, CAST(SUM(severity_trace) AS BIGINT) AS trace, CAST(SUM(severity_debug) AS BIGINT) AS debug,
                    CAST(SUM(severity_info) AS BIGINT) AS info, CAST(SUM(severity_warn) AS BIGINT) AS warn, CAST(SUM(severity_error) AS BIGINT) AS error,
                    CAST(SUM(severity_fatal) AS BIGINT) AS fatal
             FROM runs r JOIN tasks t ON t.id = r.task_id JOIN workspaces w ON w.id = r.workspace_id
             WHERE r.task_id IN (",
        );
        counting.push_list(ids).push(") GROUP BY r.task_id, t.name, w.name, r.status ORDER BY r.task_id");
        Ok(counting.build_query_as().fetch_all(self.core.catalog().read()).await?)
    }
}

impl TaskMetrics {
    fn new(id: TaskId, row: &Row) -> Self {
        Self {
            id,
            name: row.name.clone(),
            workspace: row.workspace.clone(),
            runs: BTreeMap::new(),
            duration_ms: 0,
            runs_ended: 0,
            severities: SeverityCounts::default(),
            last_success: None,
        }
    }

    fn add(&mut self, status: RunStatus, row: &Row) -> Result<()> {
        self.runs.insert(status.as_str(), row.runs.saturating_as::<u64>());
        self.runs_ended += row.runs_ended.saturating_as::<u64>();
        self.duration_ms += row.duration_ms.max(0).saturating_as::<u64>();
        let counts = [row.other, row.trace, row.debug, row.info, row.warn, row.error, row.fatal];
        self.severities.add_all(&SeverityCounts::from_array(counts.map(|count| count.saturating_as::<u64>())));
        if status == RunStatus::Successful {
            self.last_success = row.last_finished.map(instant).transpose()?;
        }
        Ok(())
    }
}
