//! Retention: how long logs are kept, and how many bytes of logs, per workspace; and legal holds, which take
//! precedence.

use az::SaturatingAs;
use runlog_model::wire::admin::AuditEntry;
use runlog_model::wire::problems::NOTE_CHARS_MAX;
use runlog_model::wire::retention::{HeldRunBody, RetentionPreviewBody, RetentionSettings, WorkspaceRetentionBody};
use runlog_model::{RunId, Timestamp, WorkspaceId, planted};
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;
use tracing::{info, warn};

use crate::catalog::audit_context::AuditContext;
use crate::catalog::sql::storable;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::maintain::delete::{DeletedLog, ENDED, LogSnapshot};
use crate::maintain::maintenance::Maintenance;
use crate::tables::runs::no_such_run;

/// The retention of a workspace. An absent field means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Number of days after the end of a run, or after its last record if it has not ended.
    pub days: Option<u64>,
    /// Number of bytes of all logs of the workspace. The oldest logs are deleted first.
    pub bytes: Option<u64>,
}

/// A legal hold of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LegalHold {
    /// Why the log must not be deleted.
    pub reason: Option<String>,
    /// The name of the caller who sets the hold.
    pub by: String,
}

/// The result of a retention pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetentionReport {
    /// Number of runs whose logs were deleted.
    pub runs: u64,
    /// Number of their records.
    pub records: u64,
    /// Number of their bytes in objects, which are removed immediately or by the next sealing.
    pub bytes: u64,
    /// Number of runs whose logs could not be deleted; the next pass tries again.
    pub failed: u64,
}

/// A pass over all workspaces.
struct RetentionPass<'s> {
    maintenance: &'s Maintenance,
    report: RetentionReport,
    failures_in_a_row: u32,
}

/// The state of a run whose log is to be deleted.
#[derive(FromRow)]
struct RunSnapshot {
    id: String,
    triggered_at: i64,
    log_epoch: i64,
    records: i64,
    stored_bytes: i64,
    ended: i64,
}

/// A workspace with its retention and its contents.
#[derive(FromRow)]
struct WorkspaceRow {
    id: String,
    name: String,
    environment_id: String,
    environment_name: String,
    retention_days: Option<i64>,
    retention_bytes: Option<i64>,
    logs: i64,
    records: i64,
    bytes: i64,
    held: i64,
    oldest: Option<i64>,
}

/// A run under legal hold.
#[derive(FromRow)]
struct HeldRow {
    id: String,
    task_id: String,
    task_name: String,
    workspace_id: String,
    workspace_name: String,
    finished_at: Option<i64>,
    records: i64,
    stored_bytes: i64,
    hold_reason: Option<String>,
    hold_by: Option<String>,
    hold_at: Option<i64>,
}

/// Counts of logs of a workspace.
#[derive(FromRow)]
struct CountRow {
    runs: i64,
    records: i64,
    bytes: i64,
    oldest: Option<i64>,
    newest: Option<i64>,
}

#[derive(FromRow)]
struct RetentionRow {
    id: String,
    retention_days: Option<i64>,
    retention_bytes: Option<i64>,
}

impl Maintenance {
    /// Sets the retention of a workspace. `NotFound`: no such workspace.
    pub async fn set_retention(&self, workspace: WorkspaceId, retention: Retention) -> Result<()> {
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let changed =
                    sqlx::query("UPDATE workspaces SET retention_days = $2, retention_bytes = $3 WHERE id = $1")
                        .bind(workspace.to_string())
                        .bind(retention.days.map(|days| days.saturating_as::<i64>()))
                        .bind(retention.bytes.map(|bytes| bytes.saturating_as::<i64>()))
                        .execute(&mut *transaction)
                        .await?;
                match changed.rows_affected() {
                    0 => Err(no_such_workspace(workspace)),
                    _ => self.core.commit_change(transaction, None).await,
                }
            })
            .await
    }

    /// Returns the retention of each workspace, ordered by environment and name, with the logs that it applies to.
    pub async fn retentions(&self) -> Result<Vec<WorkspaceRetentionBody>> {
        let rows: Vec<WorkspaceRow> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT w.id, w.name, w.environment_id, e.name AS environment_name, w.retention_days, w.retention_bytes,
                    CAST(COALESCE(SUM(CASE WHEN r.records > 0 THEN 1 ELSE 0 END), 0) AS BIGINT) AS logs,
                    CAST(COALESCE(SUM(r.records), 0) AS BIGINT) AS records,
                    CAST(COALESCE(SUM(r.stored_bytes), 0) AS BIGINT) AS bytes,
                    CAST(COALESCE(SUM(r.legal_hold), 0) AS BIGINT) AS held,
                    MIN(CASE WHEN r.records > 0 THEN {ENDED} END) AS oldest
             FROM workspaces w JOIN environments e ON e.id = w.environment_id
                  LEFT JOIN runs r ON r.workspace_id = w.id
             GROUP BY w.id, w.name, w.environment_id, e.name, w.retention_days, w.retention_bytes
             ORDER BY e.name, w.name, w.id"
        )))
        .fetch_all(self.core.catalog().read())
        .await?;
        rows.into_iter().map(WorkspaceRow::into_body).collect()
    }

    /// Returns the logs of a workspace that a retention would delete now, without deleting them. `NotFound`: no such
    /// workspace.
    pub async fn preview_retention(
        &self,
        workspace: WorkspaceId,
        retention: Retention,
    ) -> Result<RetentionPreviewBody> {
        let now = self.retention(workspace).await?;
        let deleted = self.logs_beyond(workspace, retention, false).await?;
        let kept_back = self.logs_beyond(workspace, retention, true).await?;
        Ok(RetentionPreviewBody {
            current: RetentionSettings { days: now.days, bytes: now.bytes },
            runs: deleted.runs.saturating_as::<u64>(),
            records: deleted.records.saturating_as::<u64>(),
            bytes: deleted.bytes.saturating_as::<u64>(),
            oldest: deleted.oldest.map(Timestamp::clamped),
            newest: deleted.newest.map(Timestamp::clamped),
            held_runs: kept_back.runs.saturating_as::<u64>(),
        })
    }

    /// Counts the logs that exceed a retention: those that can be deleted, or, with `is_held`, those that exceed it by
    /// age but are kept by a legal hold.
    async fn logs_beyond(&self, workspace: WorkspaceId, retention: Retention, is_held: bool) -> Result<CountRow> {
        // Without a limit, the earliest time and the largest size match no log.
        let before = match retention.days {
            Some(days) => self.retention_begins(days).await?,
            None => i64::MIN,
        };
        let bytes_max = retention.bytes.map_or(i64::MAX, |bytes| bytes.saturating_as::<i64>());
        // Logs under hold and logs of unfinished runs count towards the size, but only other logs are deleted because
        // of it: the oldest first, until the remaining logs are within the limit.
        let counting = format!(
            "SELECT COUNT(*) AS runs, CAST(COALESCE(SUM(records), 0) AS BIGINT) AS records,
                    CAST(COALESCE(SUM(stored_bytes), 0) AS BIGINT) AS bytes, MIN(ended) AS oldest, MAX(ended) AS newest
             FROM (SELECT records, stored_bytes, {ENDED} AS ended, legal_hold,
                          CASE WHEN legal_hold = 0 AND {ENDED} < $2 THEN 1 ELSE 0 END AS by_age,
                          CASE WHEN legal_hold = 0 AND {ENDED} >= $2 AND final_since IS NOT NULL THEN 1 ELSE 0 END AS by_size,
                          CAST(SUM(CASE WHEN legal_hold = 0 AND {ENDED} < $2 THEN 0 ELSE stored_bytes END)
                               OVER (PARTITION BY workspace_id) AS BIGINT) AS left_bytes,
                          CAST(COALESCE(SUM(CASE WHEN legal_hold = 0 AND {ENDED} >= $2 AND final_since IS NOT NULL
                                            THEN stored_bytes ELSE 0 END)
                               OVER (PARTITION BY workspace_id ORDER BY triggered_at, id
                                     ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS BIGINT) AS bytes_before
                   FROM runs WHERE workspace_id = $1 AND records > 0) logs
             WHERE {}",
            match is_held {
                true => "legal_hold <> 0 AND ended < $2 AND $3 = $3",
                false => "by_age = 1 OR (by_size = 1 AND left_bytes - bytes_before > $3)",
            }
        );
        Ok(sqlx::query_as(AssertSqlSafe(counting))
            .bind(workspace.to_string())
            .bind(before)
            .bind(bytes_max)
            .fetch_one(self.core.catalog().read())
            .await?)
    }

    /// Returns the time before which runs must have ended for their logs to be deleted. Unit: epoch milliseconds.
    async fn retention_begins(&self, days: u64) -> Result<i64> {
        let kept_ms = limits::DAY_MS.saturating_mul(i64::try_from(days).unwrap_or(i64::MAX));
        Ok(self.core.earliest_now().await?.as_millis().saturating_sub(kept_ms))
    }

    /// Returns the retention of a workspace. `NotFound`: no such workspace.
    pub async fn retention(&self, workspace: WorkspaceId) -> Result<Retention> {
        let row: Option<RetentionRow> =
            sqlx::query_as("SELECT id, retention_days, retention_bytes FROM workspaces WHERE id = $1")
                .bind(workspace.to_string())
                .fetch_optional(self.core.catalog().read())
                .await?;
        row.map(|row| row.retention()).ok_or_else(|| no_such_workspace(workspace))
    }

    /// Puts a run under legal hold, or lifts the hold. The log of a run under hold cannot be deleted. If the run is
    /// already under hold, the reason is replaced. `NotFound`: no such run. `Invalid`: the reason is too long or
    /// contains control characters.
    pub async fn set_legal_hold(&self, run_id: RunId, hold: Option<&LegalHold>) -> Result<()> {
        let reason = hold.and_then(|hold| hold.reason.as_deref()).map(str::trim).filter(|reason| !reason.is_empty());
        if reason.is_some_and(|reason| reason.chars().count() > NOTE_CHARS_MAX || reason.chars().any(char::is_control))
        {
            let message = format!("a reason has up to {NOTE_CHARS_MAX} characters, and no control characters");
            return Err(Error::invalid(message));
        }
        let now = self.core.now().as_millis();
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let changed = sqlx::query(
                    "UPDATE runs SET legal_hold = $2, hold_reason = $3, hold_by = $4, hold_at = $5 WHERE id = $1",
                )
                .bind(run_id.to_string())
                .bind(i64::from(hold.is_some()))
                .bind(reason.map(storable))
                .bind(hold.map(|hold| storable(&hold.by)))
                .bind(hold.map(|_| now))
                .execute(&mut *transaction)
                .await?;
                match changed.rows_affected() {
                    0 => Err(no_such_run(run_id)),
                    _ => self.core.commit_change(transaction, None).await,
                }
            })
            .await
    }

    /// Returns the runs under legal hold, the most recent holds first, and their total number.
    pub async fn held_runs(&self, limit: u64, offset: u64) -> Result<(Vec<HeldRunBody>, u64)> {
        let rows: Vec<HeldRow> = sqlx::query_as(
            "SELECT r.id, r.task_id, t.name AS task_name, r.workspace_id, w.name AS workspace_name, r.finished_at,
                    r.records, r.stored_bytes, r.hold_reason, r.hold_by, r.hold_at
             FROM runs r JOIN tasks t ON t.id = r.task_id JOIN workspaces w ON w.id = r.workspace_id
             WHERE r.legal_hold <> 0 ORDER BY COALESCE(r.hold_at, 0) DESC, r.id LIMIT $1 OFFSET $2",
        )
        .bind(limit.saturating_as::<i64>())
        .bind(offset.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        let total: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM runs WHERE legal_hold <> 0")
            .fetch_one(self.core.catalog().read())
            .await?;
        let runs = rows.into_iter().map(HeldRow::into_body).collect::<Result<_>>()?;
        Ok((runs, total.saturating_as::<u64>()))
    }

    /// Returns the time at which the log of a finished run expires because of its age; `None` if its age is not limited
    /// or the run is under legal hold. A limit on size may delete it earlier.
    pub async fn log_expires(&self, run_id: RunId) -> Result<Option<Timestamp>> {
        let expires: Option<(i64, i64)> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT {ENDED}, w.retention_days FROM runs r JOIN workspaces w ON w.id = r.workspace_id
             WHERE r.id = $1 AND r.legal_hold = 0 AND r.final_since IS NOT NULL AND w.retention_days IS NOT NULL",
        )))
        .bind(run_id.to_string())
        .fetch_optional(self.core.catalog().read())
        .await?;
        let at = |(ended, days): (i64, i64)| ended.saturating_add(limits::DAY_MS.saturating_mul(days));
        Ok(expires.map(at).map(Timestamp::clamped))
    }

    /// Deletes the logs whose retention has ended, each with an audit entry.
    ///
    /// A log is deleted only if the log and the retention of its workspace are unchanged. Several nodes may therefore
    /// do this concurrently, and a pass does not apply a retention that was changed in the meantime: a log that another
    /// node has deleted, or that has received records since, is skipped. A log that cannot be deleted does not end the
    /// pass.
    pub async fn apply_retention(&self) -> Result<RetentionReport> {
        let rows: Vec<RetentionRow> = sqlx::query_as(
            "SELECT id, retention_days, retention_bytes FROM workspaces
             WHERE retention_days IS NOT NULL OR retention_bytes IS NOT NULL ORDER BY id",
        )
        .fetch_all(self.core.catalog().read())
        .await?;
        let mut pass = RetentionPass { maintenance: self, report: RetentionReport::default(), failures_in_a_row: 0 };
        for row in rows {
            let retention = row.retention();
            if let Some(days) = retention.days {
                pass.delete_by_age(&row, days, "records > 0").await?;
                // A run without records can have component metrics.
                let has_only_metrics =
                    "records = 0 AND EXISTS (SELECT 1 FROM component_runs c WHERE c.run_id = runs.id)";
                pass.delete_by_age(&row, days, has_only_metrics).await?;
            }
            if let Some(bytes) = retention.bytes {
                pass.delete_by_size(&row, bytes).await?;
            }
        }
        let report = pass.report;
        if report.runs > 0 {
            let RetentionReport { runs, records, bytes, .. } = report;
            info!(runs, records_count = records, bytes, "logs were deleted, as their workspaces say");
        }
        Ok(report)
    }
}

impl RetentionPass<'_> {
    async fn delete_by_age(&mut self, workspace: &RetentionRow, days: u64, condition: &'static str) -> Result<()> {
        let before = self.maintenance.retention_begins(days).await?;
        let mut after = (i64::MIN, String::new());
        loop {
            let runs: Vec<RunSnapshot> = sqlx::query_as(AssertSqlSafe(format!(
                "SELECT id, triggered_at, log_epoch, records, stored_bytes, {ENDED} AS ended FROM runs
                 WHERE workspace_id = $1 AND {condition} AND legal_hold = 0 AND {ENDED} < $2
                    AND (triggered_at, id) > ($3, $4)
                 ORDER BY triggered_at, id LIMIT 100"
            )))
            .bind(&workspace.id)
            .bind(before + i64::from(planted::is("retention-boundary")))
            .bind(after.0)
            .bind(&after.1)
            .fetch_all(self.maintenance.core.catalog().read())
            .await?;
            let Some(last) = runs.last() else { return Ok(()) };
            after = (last.triggered_at, last.id.clone());
            for run in &runs {
                self.delete(workspace, run, "retention by age").await?;
            }
        }
    }

    async fn delete_by_size(&mut self, workspace: &RetentionRow, bytes_max: u64) -> Result<()> {
        let mut excess = self.excess(&workspace.id, bytes_max).await?;
        let mut after = (i64::MIN, String::new());
        while excess > 0 {
            let runs: Vec<RunSnapshot> = sqlx::query_as(AssertSqlSafe(format!(
                "SELECT id, triggered_at, log_epoch, records, stored_bytes, {ENDED} AS ended FROM runs
                 WHERE workspace_id = $1 AND records > 0 AND legal_hold = 0 AND final_since IS NOT NULL
                    AND (triggered_at, id) > ($2, $3)
                 ORDER BY triggered_at, id LIMIT 100"
            )))
            .bind(&workspace.id)
            .bind(after.0)
            .bind(&after.1)
            .fetch_all(self.maintenance.core.catalog().read())
            .await?;
            let Some(last) = runs.last() else { return Ok(()) };
            after = (last.triggered_at, last.id.clone());
            for run in runs {
                if excess == 0 {
                    return Ok(());
                }
                excess = match self.delete(workspace, &run, "retention by size").await? {
                    true => excess.saturating_sub(run.stored_bytes.saturating_as::<u64>()),
                    // Another node may have deleted logs, so the excess is computed again.
                    false => self.excess(&workspace.id, bytes_max).await?,
                };
            }
        }
        Ok(())
    }

    /// Returns the number of bytes by which the logs of a workspace exceed its limit.
    async fn excess(&self, workspace: &str, bytes_max: u64) -> Result<u64> {
        let bytes: i64 = sqlx::query_scalar(
            "SELECT CAST(COALESCE(SUM(stored_bytes), 0) AS BIGINT) FROM runs WHERE workspace_id = $1",
        )
        .bind(workspace)
        .fetch_one(self.maintenance.core.catalog().read())
        .await?;
        Ok(bytes.saturating_as::<u64>().saturating_sub(bytes_max))
    }

    /// Deletes a log if the log and the retention are unchanged. Returns false if the log is kept, or was deleted by
    /// another node.
    async fn delete(&mut self, workspace: &RetentionRow, run: &RunSnapshot, why: &str) -> Result<bool> {
        match self.try_delete(workspace, run, why).await {
            Ok(deleted) => {
                self.failures_in_a_row = 0;
                let Some(deleted) = deleted else { return Ok(false) };
                self.report.runs += 1;
                self.report.records += deleted.records;
                self.report.bytes += deleted.bytes + deleted.shared_bytes;
                Ok(true)
            }
            // The run was put under hold in the meantime.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
            Err(error) => {
                self.failures_in_a_row += 1;
                self.report.failed += 1;
                let is_away = self.failures_in_a_row.is_multiple_of(limits::RETENTION_FAILURES_MAX)
                    && error.kind() == ErrorKind::Unavailable
                    && !self.catalog_answers().await;
                if is_away || self.failures_in_a_row >= limits::RETENTION_UNDELETABLE_MAX {
                    return Err(error);
                }
                let error: &dyn std::error::Error = &error;
                warn!(error, run.id = run.id, "an expired log could not be deleted; it will be retried");
                Ok(false)
            }
        }
    }

    async fn catalog_answers(&self) -> bool {
        let answer: sqlx::Result<i64> =
            sqlx::query_scalar("SELECT CAST(1 AS BIGINT)").fetch_one(self.maintenance.core.catalog().read()).await;
        answer.is_ok()
    }

    async fn try_delete(&self, workspace: &RetentionRow, run: &RunSnapshot, why: &str) -> Result<Option<DeletedLog>> {
        let run_id = run.id.parse().map_err(|_| Error::corrupt("the id of a run does not decode"))?;
        let audit_context = AuditContext::new(AuditEntry {
            at: self.maintenance.core.now(),
            caller_id: "runlog".to_owned(),
            caller_name: why.to_owned(),
            action: "delete log".to_owned(),
            subject: run.id.clone(),
            status: 200,
            address: String::new(),
            request_id: String::new(),
        });
        let seen = LogSnapshot {
            epoch: run.log_epoch,
            records: run.records,
            ended: run.ended,
            retention_days: workspace.retention_days,
            retention_bytes: workspace.retention_bytes,
        };
        self.maintenance.with_audit(audit_context).delete_log_if(run_id, Some(seen)).await
    }
}

fn no_such_workspace(workspace: WorkspaceId) -> Error {
    Error::not_found(format!("there is no workspace {workspace}"))
}

impl WorkspaceRow {
    fn into_body(self) -> Result<WorkspaceRetentionBody> {
        Ok(WorkspaceRetentionBody {
            workspace_id: self.id.parse().map_err(|_| Error::corrupt("the id of a workspace does not decode"))?,
            workspace_name: self.name,
            environment_id: self
                .environment_id
                .parse()
                .map_err(|_| Error::corrupt("the id of an environment does not decode"))?,
            environment_name: self.environment_name,
            days: self.retention_days.map(|days| days.saturating_as::<u64>()),
            bytes_max: self.retention_bytes.map(|bytes| bytes.saturating_as::<u64>()),
            logs: self.logs.saturating_as::<u64>(),
            records: self.records.saturating_as::<u64>(),
            bytes: self.bytes.saturating_as::<u64>(),
            held_runs: self.held.saturating_as::<u64>(),
            oldest: self.oldest.map(Timestamp::clamped),
        })
    }
}

impl HeldRow {
    fn into_body(self) -> Result<HeldRunBody> {
        let undecodable = |_| Error::corrupt(format!("an id of run {} does not decode", self.id));
        Ok(HeldRunBody {
            run_id: self.id.parse().map_err(|_| Error::corrupt("the id of a run does not decode"))?,
            task_id: self.task_id.parse().map_err(undecodable)?,
            task_name: self.task_name,
            workspace_id: self.workspace_id.parse().map_err(undecodable)?,
            workspace_name: self.workspace_name,
            finish_timestamp: self.finished_at.map(Timestamp::clamped),
            records: self.records.saturating_as::<u64>(),
            bytes: self.stored_bytes.saturating_as::<u64>(),
            reason: self.hold_reason,
            held_by: self.hold_by,
            held_at: self.hold_at.map(Timestamp::clamped),
        })
    }
}

impl RetentionRow {
    fn retention(&self) -> Retention {
        Retention {
            days: self.retention_days.map(|days| days.saturating_as::<u64>()),
            bytes: self.retention_bytes.map(|bytes| bytes.saturating_as::<u64>()),
        }
    }
}
