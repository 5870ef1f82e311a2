//! Retention: how long logs are kept, and how many bytes of them, workspace by workspace; and legal hold, which comes
//! before it.

use runlog_model::wire::admin::AuditEntry;
use runlog_model::{RunId, WorkspaceId};
use sqlx::FromRow;
use tracing::info;

use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::runs::no_such_run;
use crate::store::Store;

/// How long the logs of a workspace are kept. Without a bound where it is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Days after the end of a run, or after its last record when it has not ended.
    pub days: Option<u64>,
    /// Bytes of all logs of the workspace in their objects; the oldest are deleted first.
    pub bytes: Option<u64>,
}

/// What retention deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retired {
    /// Runs whose logs were deleted.
    pub runs: u64,
    /// Their records.
    pub records: u64,
    /// Their bytes in objects, gone at once or with the next sealing.
    pub bytes: u64,
}

#[derive(FromRow)]
struct RetentionRow {
    id: String,
    retention_days: Option<i64>,
    retention_bytes: Option<i64>,
}

impl Store {
    /// Sets how long the logs of a workspace are kept. `NotFound`: no such workspace.
    pub async fn set_retention(&self, workspace: WorkspaceId, retention: Retention) -> Result<()> {
        let changed = sqlx::query("UPDATE workspaces SET retention_days = $2, retention_bytes = $3 WHERE id = $1")
            .bind(workspace.to_string())
            .bind(retention.days.map(|days| days as i64))
            .bind(retention.bytes.map(|bytes| bytes as i64))
            .execute(self.catalog().write())
            .await?;
        match changed.rows_affected() {
            0 => Err(Error::not_found(format!("there is no workspace {workspace}"))),
            _ => Ok(()),
        }
    }

    /// How long the logs of a workspace are kept. `NotFound`: no such workspace.
    pub async fn retention(&self, workspace: WorkspaceId) -> Result<Retention> {
        let row: Option<RetentionRow> =
            sqlx::query_as("SELECT id, retention_days, retention_bytes FROM workspaces WHERE id = $1")
                .bind(workspace.to_string())
                .fetch_optional(self.catalog().read())
                .await?;
        row.map(|row| row.retention()).ok_or_else(|| Error::not_found(format!("there is no workspace {workspace}")))
    }

    /// Puts a run under legal hold, or takes it away: while it is, its log is deleted by nobody. `NotFound`: no such run.
    pub async fn set_legal_hold(&self, run_id: RunId, is_held: bool) -> Result<()> {
        let changed = sqlx::query("UPDATE runs SET legal_hold = $2 WHERE id = $1")
            .bind(run_id.to_string())
            .bind(i64::from(is_held))
            .execute(self.catalog().write())
            .await?;
        match changed.rows_affected() {
            0 => Err(no_such_run(run_id)),
            _ => Ok(()),
        }
    }

    /// True when a run is under legal hold. `NotFound`: no such run.
    pub async fn is_under_legal_hold(&self, run_id: RunId) -> Result<bool> {
        let held: Option<i64> = sqlx::query_scalar("SELECT legal_hold FROM runs WHERE id = $1")
            .bind(run_id.to_string())
            .fetch_optional(self.catalog().read())
            .await?;
        held.map(|held| held != 0).ok_or_else(|| no_such_run(run_id))
    }

    /// Deletes the logs that are kept no longer, and writes each down in the audit log.
    pub async fn apply_retention(&self) -> Result<Retired> {
        let rows: Vec<RetentionRow> = sqlx::query_as(
            "SELECT id, retention_days, retention_bytes FROM workspaces
             WHERE retention_days IS NOT NULL OR retention_bytes IS NOT NULL",
        )
        .fetch_all(self.catalog().read())
        .await?;
        let mut retired = Retired::default();
        for row in rows {
            let retention = row.retention();
            if let Some(days) = retention.days {
                self.retire_by_age(&row.id, days, &mut retired).await?;
            }
            if let Some(bytes) = retention.bytes {
                self.retire_by_size(&row.id, bytes, &mut retired).await?;
            }
        }
        if retired.runs > 0 {
            let Retired { runs, records, bytes } = retired;
            info!(runs, records_count = records, bytes, "logs were deleted, as their workspaces say");
        }
        Ok(retired)
    }

    async fn retire_by_age(&self, workspace: &str, days: u64, retired: &mut Retired) -> Result<()> {
        let kept_ms = limits::DAY_MS.saturating_mul(i64::try_from(days).unwrap_or(i64::MAX));
        let before = self.now().as_millis().saturating_sub(kept_ms);
        loop {
            let runs: Vec<String> = sqlx::query_scalar(
                "SELECT id FROM runs WHERE workspace_id = $1 AND records > 0 AND legal_hold = 0
                    AND COALESCE(finished_at, last_record_stored_at, triggered_at) < $2
                 ORDER BY triggered_at LIMIT 100",
            )
            .bind(workspace)
            .bind(before)
            .fetch_all(self.catalog().read())
            .await?;
            if runs.is_empty() {
                return Ok(());
            }
            for run in &runs {
                self.retire(run, "retention by age", retired).await?;
            }
        }
    }

    async fn retire_by_size(&self, workspace: &str, bytes_max: u64, retired: &mut Retired) -> Result<()> {
        let bytes: i64 = sqlx::query_scalar(
            "SELECT CAST(COALESCE(SUM(stored_bytes), 0) AS BIGINT) FROM runs WHERE workspace_id = $1",
        )
        .bind(workspace)
        .fetch_one(self.catalog().read())
        .await?;
        let mut excess = (bytes as u64).saturating_sub(bytes_max);
        while excess > 0 {
            let runs: Vec<(String, i64)> = sqlx::query_as(
                "SELECT id, stored_bytes FROM runs WHERE workspace_id = $1 AND records > 0 AND legal_hold = 0
                    AND final_since IS NOT NULL
                 ORDER BY triggered_at LIMIT 100",
            )
            .bind(workspace)
            .fetch_all(self.catalog().read())
            .await?;
            if runs.is_empty() {
                return Ok(());
            }
            for (run, run_bytes) in runs {
                if excess == 0 {
                    return Ok(());
                }
                self.retire(&run, "retention by size", retired).await?;
                excess = excess.saturating_sub(run_bytes as u64);
            }
        }
        Ok(())
    }

    async fn retire(&self, run: &str, why: &str, retired: &mut Retired) -> Result<()> {
        let run_id = run.parse().map_err(|_| Error::corrupt("the id of a run does not decode"))?;
        let deleted = match self.delete_log(run_id).await {
            // It was put under hold meanwhile.
            Err(error) if error.kind() == ErrorKind::Conflict => return Ok(()),
            deleted => deleted?,
        };
        retired.runs += 1;
        retired.records += deleted.records;
        retired.bytes += deleted.bytes + deleted.shared_bytes;
        let entry = AuditEntry {
            at: self.now(),
            caller_id: "runlog".to_owned(),
            caller_name: why.to_owned(),
            action: "delete log".to_owned(),
            subject: run.to_owned(),
            status: 200,
            address: String::new(),
            request_id: String::new(),
        };
        self.audit(entry).await
    }
}

impl RetentionRow {
    fn retention(&self) -> Retention {
        Retention {
            days: self.retention_days.map(|days| days as u64),
            bytes: self.retention_bytes.map(|bytes| bytes as u64),
        }
    }
}
