//! Retention: how long logs are kept, and how many bytes of them, per workspace; and legal hold, which takes
//! precedence.

use az::SaturatingAs;
use runlog_model::wire::admin::AuditEntry;
use runlog_model::{RunId, WorkspaceId};
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;
use tracing::{info, warn};

use crate::catalog::audit_context::AuditContext;
use crate::error::{Error, ErrorKind, Result};
use crate::maintain::delete::{DeletedLog, LogSnapshot};
use crate::maintain::maintenance::Maintenance;
use crate::tables::runs::no_such_run;
use crate::{limits, planted};

/// The retention of a workspace. An absent field is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Days after the end of a run, or after its last record if it has not ended.
    pub days: Option<u64>,
    /// Bytes of all logs of the workspace; the oldest are deleted first.
    pub bytes: Option<u64>,
}

/// The result of a retention pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetentionReport {
    /// Runs whose logs were deleted.
    pub runs: u64,
    /// Their records.
    pub records: u64,
    /// Their bytes in objects, removed at once or with the next sealing.
    pub bytes: u64,
    /// Runs whose logs could not be deleted; the next pass tries again.
    pub failed: u64,
}

/// A pass over all workspaces.
struct RetentionPass<'s> {
    maintenance: &'s Maintenance,
    report: RetentionReport,
    failures_in_a_row: u32,
}

/// A run whose log is to be deleted, as it was read.
#[derive(FromRow)]
struct RunSnapshot {
    id: String,
    triggered_at: i64,
    log_epoch: i64,
    records: i64,
    stored_bytes: i64,
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
        let changed = sqlx::query("UPDATE workspaces SET retention_days = $2, retention_bytes = $3 WHERE id = $1")
            .bind(workspace.to_string())
            .bind(retention.days.map(|days| days.saturating_as::<i64>()))
            .bind(retention.bytes.map(|bytes| bytes.saturating_as::<i64>()))
            .execute(self.core.catalog().write())
            .await?;
        match changed.rows_affected() {
            0 => Err(Error::not_found(format!("there is no workspace {workspace}"))),
            _ => Ok(()),
        }
    }

    /// Returns the retention of a workspace. `NotFound`: no such workspace.
    pub async fn retention(&self, workspace: WorkspaceId) -> Result<Retention> {
        let row: Option<RetentionRow> =
            sqlx::query_as("SELECT id, retention_days, retention_bytes FROM workspaces WHERE id = $1")
                .bind(workspace.to_string())
                .fetch_optional(self.core.catalog().read())
                .await?;
        row.map(|row| row.retention()).ok_or_else(|| Error::not_found(format!("there is no workspace {workspace}")))
    }

    /// Sets or lifts the legal hold of a run: its log cannot be deleted while it is held. `NotFound`: no such run.
    pub async fn set_legal_hold(&self, run_id: RunId, is_held: bool) -> Result<()> {
        let changed = sqlx::query("UPDATE runs SET legal_hold = $2 WHERE id = $1")
            .bind(run_id.to_string())
            .bind(i64::from(is_held))
            .execute(self.core.catalog().write())
            .await?;
        match changed.rows_affected() {
            0 => Err(no_such_run(run_id)),
            _ => Ok(()),
        }
    }

    /// Deletes the logs whose retention has ended, each with an audit entry.
    ///
    /// A log is deleted only if it is unchanged, so that several nodes may do this concurrently: a log that another
    /// node has deleted, or that has received records since, is skipped. A log that cannot be deleted does not stop
    /// the pass.
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
                pass.delete_by_age(&row.id, days, "records > 0").await?;
                // A run without a log can have component metrics.
                let has_only_metrics =
                    "records = 0 AND EXISTS (SELECT 1 FROM component_runs c WHERE c.run_id = runs.id)";
                pass.delete_by_age(&row.id, days, has_only_metrics).await?;
            }
            if let Some(bytes) = retention.bytes {
                pass.delete_by_size(&row.id, bytes).await?;
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
    /// Deletes what is older of the runs that fulfil a condition.
    async fn delete_by_age(&mut self, workspace: &str, days: u64, condition: &'static str) -> Result<()> {
        let kept_ms = limits::DAY_MS.saturating_mul(i64::try_from(days).unwrap_or(i64::MAX));
        let before = self.maintenance.core.now().as_millis().saturating_sub(kept_ms);
        let mut after = (i64::MIN, String::new());
        loop {
            let runs: Vec<RunSnapshot> = sqlx::query_as(AssertSqlSafe(format!(
                "SELECT id, triggered_at, log_epoch, records, stored_bytes FROM runs
                 WHERE workspace_id = $1 AND {condition} AND legal_hold = 0
                    AND COALESCE(finished_at, last_record_stored_at, triggered_at) < $2
                    AND (triggered_at, id) > ($3, $4)
                 ORDER BY triggered_at, id LIMIT 100"
            )))
            .bind(workspace)
            .bind(before + i64::from(planted::is("retention-boundary")))
            .bind(after.0)
            .bind(&after.1)
            .fetch_all(self.maintenance.core.catalog().read())
            .await?;
            let Some(last) = runs.last() else { return Ok(()) };
            after = (last.triggered_at, last.id.clone());
            for run in &runs {
                self.delete(run, "retention by age").await?;
            }
        }
    }

    async fn delete_by_size(&mut self, workspace: &str, bytes_max: u64) -> Result<()> {
        let mut excess = self.excess(workspace, bytes_max).await?;
        let mut after = (i64::MIN, String::new());
        while excess > 0 {
            let runs: Vec<RunSnapshot> = sqlx::query_as(
                "SELECT id, triggered_at, log_epoch, records, stored_bytes FROM runs
                 WHERE workspace_id = $1 AND records > 0 AND legal_hold = 0 AND final_since IS NOT NULL
                    AND (triggered_at, id) > ($2, $3)
                 ORDER BY triggered_at, id LIMIT 100",
            )
            .bind(workspace)
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
                excess = match self.delete(&run, "retention by size").await? {
                    true => excess.saturating_sub(run.stored_bytes.saturating_as::<u64>()),
                    // Another node may have deleted logs.
                    false => self.excess(workspace, bytes_max).await?,
                };
            }
        }
        Ok(())
    }

    /// By how many bytes the logs of a workspace exceed its limit.
    async fn excess(&self, workspace: &str, bytes_max: u64) -> Result<u64> {
        let bytes: i64 = sqlx::query_scalar(
            "SELECT CAST(COALESCE(SUM(stored_bytes), 0) AS BIGINT) FROM runs WHERE workspace_id = $1",
        )
        .bind(workspace)
        .fetch_one(self.maintenance.core.catalog().read())
        .await?;
        Ok(bytes.saturating_as::<u64>().saturating_sub(bytes_max))
    }

    /// Deletes a log if it is unchanged. Returns false when it is kept, or was deleted by another node.
    async fn delete(&mut self, run: &RunSnapshot, why: &str) -> Result<bool> {
        match self.try_delete(run, why).await {
            Ok(deleted) => {
                self.failures_in_a_row = 0;
                let Some(deleted) = deleted else { return Ok(false) };
                self.report.runs += 1;
                self.report.records += deleted.records;
                self.report.bytes += deleted.bytes + deleted.shared_bytes;
                Ok(true)
            }
            // It was put under hold meanwhile.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
            Err(error) => {
                self.failures_in_a_row += 1;
                self.report.failed += 1;
                if self.failures_in_a_row >= limits::RETENTION_FAILURES_MAX {
                    return Err(error);
                }
                let error: &dyn std::error::Error = &error;
                warn!(error, run.id = run.id, "a log that is kept no longer could not be deleted, and will be later");
                Ok(false)
            }
        }
    }

    async fn try_delete(&self, run: &RunSnapshot, why: &str) -> Result<Option<DeletedLog>> {
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
        let seen = LogSnapshot { epoch: run.log_epoch, records: run.records };
        self.maintenance.with_audit(audit_context).delete_log_if(run_id, Some(seen)).await
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
