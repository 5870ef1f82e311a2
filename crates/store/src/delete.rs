//! Deleting the log of a run: its rows first, then its objects.

use object_store::ObjectStoreExt;
use object_store::path::Path;
use runlog_model::RunId;
use sqlx::{AssertSqlSafe, FromRow};
use tracing::warn;

use crate::error::{Error, Result};
use crate::failpoint;
use crate::runs::no_such_run;
use crate::seal::seal_anew;
use crate::store::Store;

/// What a deletion removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeletedLog {
    /// Records of the run.
    pub records: u64,
    /// Bytes of objects that are gone: its own segments and its page files.
    pub bytes: u64,
    /// Bytes of its records in objects that it shared with other runs; those are written anew without them.
    pub shared_bytes: u64,
}

#[derive(FromRow)]
struct SegmentRow {
    id: String,
    object_key: String,
    bytes: i64,
    /// Its bytes that are of this run.
    own_bytes: i64,
    is_shared: i64,
}

#[derive(FromRow)]
struct LogRow {
    records: i64,
    legal_hold: i64,
}

impl Store {
    /// Deletes a run's log with everything made from it; the run itself stays known.
    ///
    /// `NotFound`: no such run. `Conflict`: the run is under legal hold. Batch ids are forgotten as well, so that the
    /// same log can be stored again. Objects of the run alone are gone at once. Objects that it shares with other runs
    /// are written anew without it by the next sealing, and the old ones go an hour later with the sweep.
    pub async fn delete_log(&self, run_id: RunId) -> Result<DeletedLog> {
        let id = run_id.to_string();
        let mut transaction = self.catalog().begin().await?;
        let looking = format!("SELECT records, legal_hold FROM runs WHERE id = $1{}", self.catalog().for_update());
        let log: Option<LogRow> =
            sqlx::query_as(AssertSqlSafe(looking)).bind(&id).fetch_optional(&mut *transaction).await?;
        let log = log.ok_or_else(|| no_such_run(run_id))?;
        if log.legal_hold != 0 {
            return Err(Error::conflict(format!("run {run_id} is under legal hold: its log is not deleted")));
        }
        let segments: Vec<SegmentRow> = sqlx::query_as(
            "SELECT g.id, g.object_key, g.bytes,
                    CAST(g.bytes * SUM(s.records) / g.records AS BIGINT) AS own_bytes,
                    CAST(MAX(CASE WHEN EXISTS (SELECT 1 FROM slices o WHERE o.segment_id = g.id AND o.run_id <> $1)
                             THEN 1 ELSE 0 END) AS BIGINT) AS is_shared
             FROM slices s JOIN segments g ON g.id = s.segment_id WHERE s.run_id = $1
             GROUP BY g.id, g.object_key, g.bytes, g.records",
        )
        .bind(&id)
        .fetch_all(&mut *transaction)
        .await?;
        let (shared, own): (Vec<_>, Vec<_>) = segments.into_iter().partition(|segment| segment.is_shared != 0);
        let pages: Vec<(String, i64)> = sqlx::query_as(
            "SELECT object_key, zstd_bytes FROM page_files WHERE run_id = $1 AND object_key IS NOT NULL",
        )
        .bind(&id)
        .fetch_all(&mut *transaction)
        .await?;
        for statement in [
            "DELETE FROM slices WHERE run_id = $1",
            "DELETE FROM batches WHERE run_id = $1",
            "DELETE FROM page_files WHERE run_id = $1",
            "DELETE FROM page_tokens WHERE run_id = $1",
            "DELETE FROM summaries WHERE run_id = $1",
            "DELETE FROM problems WHERE run_id = $1",
            "DELETE FROM dead_letters WHERE run_id = $1",
            "UPDATE runs SET records = 0, stored_bytes = 0, seal_at = NULL, summarize_at = NULL, log_epoch = log_epoch + 1,
                    log_version = log_version + 1, severity_other = 0, severity_trace = 0, severity_debug = 0,
                    severity_info = 0, severity_warn = 0, severity_error = 0, severity_fatal = 0
             WHERE id = $1",
        ] {
            sqlx::query(statement).bind(&id).execute(&mut *transaction).await?;
        }
        for segment in &own {
            sqlx::query("DELETE FROM segments WHERE id = $1").bind(&segment.id).execute(&mut *transaction).await?;
        }
        for segment in &shared {
            seal_anew(&mut transaction, &segment.id, self.now().as_millis()).await?;
        }
        transaction.commit().await?;
        failpoint::reach("delete-after-rows");

        let shared_bytes = shared.iter().map(|segment| segment.own_bytes as u64).sum();
        let mut deleted = DeletedLog { records: log.records as u64, bytes: 0, shared_bytes };
        for (object_key, bytes) in own.into_iter().map(|segment| (segment.object_key, segment.bytes)).chain(pages) {
            match self.objects().delete(&Path::from(object_key.as_str())).await {
                Ok(()) => deleted.bytes += bytes as u64,
                Err(error) => warn!(%error, object.key = object_key, "an object of a deleted log is left to the sweep"),
            }
        }
        Ok(deleted)
    }
}
