//! Deletion of the log of a run: first its rows, then its objects.
//!
//! The transaction that removes the rows records the objects to remove. A background task removes them and continues
//! even if the caller is cancelled. Objects that it cannot remove, because the process ended or the bucket was
//! unavailable, are removed by the sweep (`finish_deletions`).

use std::collections::BTreeSet;

use az::SaturatingAs;
use futures::StreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use runlog_model::{RunId, planted};
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;
use tracing::warn;

use crate::catalog::sql::{Connection, Sql};
use crate::catalog::transaction::WriteTransaction;
use crate::error::{Error, Result};
use crate::lake::changes;
use crate::maintain::maintenance::Maintenance;
use crate::tables::problems;
use crate::tables::runs::no_such_run;
use crate::{failpoint, limits};

/// The expression for the start of the retention period of a run, in days.
pub(crate) const ENDED: &str = "COALESCE(finished_at, last_record_stored_at, triggered_at)";

/// The result of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeletedLog {
    /// Number of records of the run.
    pub records: u64,
    /// Number of bytes of removed objects: segments and page files of this run alone.
    pub bytes: u64,
    /// Number of bytes of its records in objects shared with other runs. These objects are rewritten without the
    /// records.
    pub shared_bytes: u64,
}

/// The state of a log when its deletion was decided, and the retention on which the decision was based.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub(crate) struct LogSnapshot {
    #[sqlx(rename = "log_epoch")]
    pub(crate) epoch: i64,
    pub(crate) records: i64,
    /// The start of the retention period in days. Unit: epoch milliseconds.
    pub(crate) ended: i64,
    pub(crate) retention_days: Option<i64>,
    pub(crate) retention_bytes: Option<i64>,
}

/// A log whose rows are removed.
struct RemovedLog {
    records: u64,
    shared_bytes: u64,
    /// The keys of the objects to remove, and their lengths in bytes.
    objects: Vec<(String, i64)>,
}

#[derive(FromRow)]
struct SegmentRow {
    id: String,
    object_key: String,
    bytes: i64,
    /// The bytes of the segment that belong to this run.
    own_bytes: i64,
    is_shared: i64,
}

#[derive(FromRow)]
struct LogRow {
    #[sqlx(flatten)]
    now: LogSnapshot,
    legal_hold: i64,
    workspace_id: String,
}

impl Maintenance {
    /// Deletes the log of a run with all data derived from it. The run itself is kept.
    ///
    /// `NotFound`: no such run. `Conflict`: the run is under legal hold. The batch IDs are deleted as well, so that the
    /// same log can be stored again. Objects of this run alone are removed immediately. Objects shared with other runs
    /// are rewritten without the log by the next sealing pass, and the old objects are removed by the sweep an hour
    /// later.
    pub async fn delete_log(&self, run_id: RunId) -> Result<DeletedLog> {
        let deleted = self.delete_log_if(run_id, None).await?;
        deleted.ok_or_else(|| no_such_run(run_id))
    }

    /// Deletes a log; with `seen`, only if it is unchanged. Returns `None`, and deletes nothing, if it has changed.
    pub(crate) async fn delete_log_if(&self, run_id: RunId, seen: Option<LogSnapshot>) -> Result<Option<DeletedLog>> {
        // The deletion continues if the caller is cancelled.
        let maintenance = self.clone();
        tokio::spawn(async move {
            let removed = maintenance.remove_rows(run_id, seen).await?;
            let Some(RemovedLog { records, shared_bytes, objects }) = removed else { return Ok(None) };
            failpoint::reach("delete-after-rows");
            let bytes = maintenance.remove_deleted(objects).await;
            Ok(Some(DeletedLog { records, bytes, shared_bytes }))
        })
        .await?
    }

    /// Removes the rows of a log, and records which objects to remove.
    async fn remove_rows(&self, run_id: RunId, seen: Option<LogSnapshot>) -> Result<Option<RemovedLog>> {
        loop {
            let removed = self.core.transact(|transaction| self.remove_rows_in(transaction, run_id, seen));
            if let Some(removed) = removed.await? {
                return Ok(removed);
            }
        }
    }

    /// Removes the rows in one transaction. Returns `None`, and removes nothing, if further runs have started to share
    /// an object with this run in the meantime: these must be locked as well.
    async fn remove_rows_in(
        &self,
        mut transaction: WriteTransaction,
        run_id: RunId,
        seen: Option<LogSnapshot>,
    ) -> Result<Option<Option<RemovedLog>>> {
        let id = run_id.to_string();
        if !self.lock_with_sharers(&mut transaction, &id).await? {
            return Ok(None);
        }
        let log: Option<LogRow> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT records, legal_hold, log_epoch, workspace_id, {ENDED} AS ended, retention_days, retention_bytes
             FROM runs LEFT JOIN workspaces w ON w.id = workspace_id WHERE runs.id = $1"
        )))
        .bind(&id)
        .fetch_optional(&mut *transaction)
        .await?;
        let log = log.ok_or_else(|| no_such_run(run_id))?;
        if log.legal_hold != 0 && !planted::is("legal-hold-ignored") {
            return Err(Error::conflict(format!("run {run_id} is under legal hold: its log is not deleted")));
        }
        if seen.is_some_and(|seen| seen != log.now) && !planted::is("deleted-without-looking-again") {
            return Ok(Some(None));
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
        let listing = format!(
            "SELECT object_key, zstd_bytes FROM page_files WHERE run_id = $1 ORDER BY key{}",
            self.core.catalog().for_update()
        );
        let pages: Vec<(Option<String>, Option<i64>)> =
            sqlx::query_as(AssertSqlSafe(listing)).bind(&id).fetch_all(&mut *transaction).await?;
        let pages = pages.into_iter().filter_map(|(key, bytes)| Some((key?, bytes.unwrap_or_default())));
        let objects: Vec<(String, i64)> =
            own.iter().map(|segment| (segment.object_key.clone(), segment.bytes)).chain(pages).collect();
        // Runs that share an object with this run are sealed again without it.
        sqlx::query(
            "UPDATE runs SET seal_at = $2 WHERE id IN (SELECT o.run_id FROM slices o WHERE o.run_id <> $1
                AND o.segment_id IN (SELECT segment_id FROM slices WHERE run_id = $1))",
        )
        .bind(&id)
        .bind(self.core.now().as_millis())
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "UPDATE slices SET sealed = 0 WHERE run_id <> $1 AND sealed = 1
                AND segment_id IN (SELECT s.segment_id FROM slices s WHERE s.run_id = $1)",
        )
        .bind(&id)
        .execute(&mut *transaction)
        .await?;
        for statement in [
            "DELETE FROM slices WHERE run_id = $1",
            "DELETE FROM batches WHERE run_id = $1",
            "DELETE FROM page_files WHERE run_id = $1",
            "DELETE FROM page_tokens WHERE run_id = $1",
            "DELETE FROM summaries WHERE run_id = $1",
            "DELETE FROM problems WHERE run_id = $1",
            "DELETE FROM component_metrics WHERE run_id = $1",
            "DELETE FROM component_processes WHERE run_id = $1",
            "DELETE FROM component_runs WHERE run_id = $1",
            "DELETE FROM dead_letters WHERE run_id = $1",
            "UPDATE runs SET records = 0, stored_bytes = 0, seal_at = NULL, summarize_at = NULL, log_epoch = log_epoch + 1,
                    log_version = log_version + 1, seal_failures = 0, seal_problem = NULL,
                    severity_other = 0, severity_trace = 0, severity_debug = 0,
                    severity_info = 0, severity_warn = 0, severity_error = 0, severity_fatal = 0
             WHERE id = $1",
        ] {
            if planted::is("deleted-pages-stay") && statement.contains(" page_") {
                continue;
            }
            sqlx::query(statement).bind(&id).execute(&mut *transaction).await?;
        }
        changes::note_changed(&mut transaction, own.iter().chain(&shared).map(|segment| &segment.id)).await?;
        problems::remove_runs(&mut transaction, std::slice::from_ref(&id), self.core.now()).await?;
        changes::note_deleted(&mut transaction, &log.workspace_id).await?;
        for some in own.chunks(limits::GROUP_BATCHES_MAX) {
            let mut deleting = Sql::new("DELETE FROM segments WHERE id IN (");
            deleting.push_list(some.iter().map(|segment| segment.id.clone())).push(")");
            deleting.build_query().execute(&mut *transaction).await?;
        }
        record_deletions(&mut transaction, &objects).await?;
        self.core.commit_change(transaction, Some(&id)).await?;
        let shared_bytes = shared.iter().map(|segment| segment.own_bytes.saturating_as::<u64>()).sum();
        Ok(Some(Some(RemovedLog { records: log.now.records.saturating_as::<u64>(), shared_bytes, objects })))
    }

    /// Locks a run and all runs that share an object with it, in the global lock order. Returns false if further runs
    /// have started to share an object in the meantime: locking them now would violate the order.
    async fn lock_with_sharers(&self, connection: &mut Connection, id: &str) -> Result<bool> {
        // The number of runs is unbounded, so their IDs are not passed as parameters of the statement.
        let locking = format!(
            "SELECT id FROM runs WHERE id IN (
                SELECT o.run_id FROM slices o WHERE o.segment_id IN (SELECT segment_id FROM slices WHERE run_id = $1)
                UNION SELECT CAST($1 AS TEXT)) ORDER BY id{}",
            self.core.catalog().for_update()
        );
        let locked: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(locking)).bind(id).fetch_all(&mut *connection).await?;
        let locked: BTreeSet<String> = locked.into_iter().collect();
        let sharers: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT o.run_id FROM slices o WHERE o.segment_id IN (SELECT segment_id FROM slices WHERE run_id = $1)",
        )
        .bind(id)
        .fetch_all(&mut *connection)
        .await?;
        // No further object can include the run while it is locked, but one may have done so before.
        Ok(sharers.iter().all(|sharer| locked.contains(sharer)))
    }

    /// Removes objects that are recorded as deletions, and then these records. Returns the number of bytes removed.
    pub(crate) async fn remove_deleted(&self, objects: Vec<(String, i64)>) -> u64 {
        let mut bytes_freed = 0;
        for some in objects.chunks(limits::GROUP_BATCHES_MAX) {
            let removed: Vec<Option<(String, u64)>> = futures::stream::iter(some.to_vec())
                .map(|(key, bytes)| self.remove_object(key, bytes))
                .buffer_unordered(limits::CONCURRENT_DELETIONS_MAX)
                .collect()
                .await;
            let removed: Vec<(String, u64)> = removed.into_iter().flatten().collect();
            bytes_freed += removed.iter().map(|(_, bytes)| bytes).sum::<u64>();
            if removed.is_empty() {
                continue;
            }
            let mut forgetting = Sql::new("DELETE FROM deletions WHERE object_key IN (");
            forgetting.push_list(removed.into_iter().map(|(key, _)| key)).push(")");
            if let Err(error) = forgetting.build_query().execute(self.core.catalog().write()).await {
                warn!(%error, "objects were deleted, but are still listed as to be deleted; the sweep will look for them again");
            }
        }
        bytes_freed
    }

    /// Removes an object. Returns its key and length on success.
    async fn remove_object(&self, key: String, bytes: i64) -> Option<(String, u64)> {
        match self.core.objects().delete(&Path::from(key.as_str())).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Some((key, bytes.saturating_as::<u64>())),
            Err(error) => {
                warn!(%error, object.key = key, "an object that was deleted is left to the sweep");
                None
            }
        }
    }

    /// Removes the remaining objects of earlier deletions. Returns the number of bytes removed.
    pub(crate) async fn finish_deletions(&self) -> Result<u64> {
        let (mut bytes_freed, mut after) = (0, String::new());
        loop {
            let left: Vec<(String, i64)> = sqlx::query_as(
                "SELECT object_key, bytes FROM deletions WHERE object_key > $1 ORDER BY object_key LIMIT $2",
            )
            .bind(&after)
            .bind(limits::GROUP_BATCHES_MAX.saturating_as::<i64>())
            .fetch_all(self.core.catalog().read())
            .await?;
            let Some((last, _)) = left.last() else { return Ok(bytes_freed) };
            after.clone_from(last);
            bytes_freed += self.remove_deleted(left).await;
        }
    }
}

/// Records objects to be removed. Their rows must be removed by the same transaction.
pub(crate) async fn record_deletions(connection: &mut Connection, objects: &[(String, i64)]) -> Result<()> {
    for some in objects.chunks(limits::GROUP_BATCHES_MAX) {
        let mut noting = Sql::new("INSERT INTO deletions (object_key, bytes) VALUES ");
        for (index, (key, bytes)) in some.iter().enumerate() {
            noting.push(if index == 0 { "(" } else { ", (" });
            noting.push_bind(key.clone()).push(", ").push_bind(*bytes).push(")");
        }
        noting.push(" ON CONFLICT (object_key) DO NOTHING");
        noting.build_query().execute(&mut *connection).await?;
    }
    Ok(())
}
