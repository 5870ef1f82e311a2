//! Deleting the log of a run: its rows first, then its objects.

use object_store::ObjectStoreExt;
use object_store::path::Path;
use runlog_model::RunId;
use sqlx::AssertSqlSafe;
use tracing::warn;

use crate::error::Result;
use crate::runs::no_such_run;
use crate::store::Store;

/// What a deletion removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeletedLog {
    /// Records of the run.
    pub records: u64,
    /// Bytes of objects, of its segments and its page files.
    pub bytes: u64,
}

impl Store {
    /// Deletes a run's log with everything made from it; the run itself stays known. `NotFound`: no such run.
    ///
    /// Batch ids are forgotten as well, so that the same log can be stored again.
    pub async fn delete_log(&self, run_id: RunId) -> Result<DeletedLog> {
        let id = run_id.to_string();
        let mut transaction = self.catalog().begin().await?;
        let for_update = self.catalog().for_update();
        let counting = format!("SELECT records FROM runs WHERE id = $1{for_update}");
        let records: Option<i64> =
            sqlx::query_scalar(AssertSqlSafe(counting)).bind(&id).fetch_optional(&mut *transaction).await?;
        let records = records.ok_or_else(|| no_such_run(run_id))?;
        let segments: Vec<(String, i64)> = sqlx::query_as(
            "SELECT object_key, bytes FROM segments g
             WHERE id IN (SELECT segment_id FROM slices WHERE run_id = $1)
               AND NOT EXISTS (SELECT 1 FROM slices s WHERE s.segment_id = g.id AND s.run_id <> $1)",
        )
        .bind(&id)
        .fetch_all(&mut *transaction)
        .await?;
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
            "UPDATE runs SET records = 0, severity_other = 0, severity_trace = 0, severity_debug = 0,
                    severity_info = 0, severity_warn = 0, severity_error = 0, severity_fatal = 0
             WHERE id = $1",
        ] {
            sqlx::query(statement).bind(&id).execute(&mut *transaction).await?;
        }
        for (object_key, _) in &segments {
            sqlx::query("DELETE FROM segments WHERE object_key = $1")
                .bind(object_key)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;

        let mut deleted = DeletedLog { records: records as u64, bytes: 0 };
        for (object_key, bytes) in segments.into_iter().chain(pages) {
            match self.objects().delete(&Path::from(object_key.as_str())).await {
                Ok(()) => deleted.bytes += bytes as u64,
                Err(error) => warn!(%error, object.key = object_key, "an object of a deleted log is left to the sweep"),
            }
        }
        Ok(deleted)
    }
}
