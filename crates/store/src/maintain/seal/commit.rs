//! Commit of sealed files: their slices replace the old slices.

use std::collections::{BTreeMap, BTreeSet};

use az::SaturatingAs;
use object_store::path::Path;
use tracing::{debug, warn};

use runlog_model::planted;

use crate::catalog::sql::{Connection, Sql};
use crate::catalog::transaction::WriteTransaction;
use crate::error::{Error, Result};
use crate::lake::changes;
use crate::log::slices::{Slice, share_of_bytes};
use crate::maintain::maintenance::Maintenance;
use crate::maintain::seal::files::{NewFile, NewSlice};
use crate::maintain::seal::plan::Plan;
use crate::objects::intents;
use crate::tables::run_locks::lock_runs;
use crate::{failpoint, limits};

/// The result of a sealing pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SealReport {
    /// Number of runs whose slices were merged.
    pub runs: u64,
    /// Number of records written.
    pub records: u64,
    /// Number of bytes of the written files.
    pub bytes: u64,
    /// Number of bytes of the objects that were replaced.
    pub bytes_replaced: u64,
}

/// The result of a sealing pass before its commit: the runs that it merged, and the files that it wrote.
pub(super) struct Merged {
    pub(super) runs: Vec<(Plan, Vec<NewSlice>)>,
    pub(super) files: Vec<NewFile>,
}

impl Merged {
    pub(super) async fn commit(&self, maintenance: &Maintenance, token: &str) -> Result<SealReport> {
        let committed = maintenance.core.transact(|transaction| self.commit_in(transaction, maintenance, token));
        match committed.await? {
            Some(report) => Ok(report),
            None => {
                let keys: Vec<Path> = self.files.iter().map(|file| file.object_key.clone()).collect();
                maintenance.core.intents().remove_uncommitted(&keys).await;
                Err(Error::conflict("the files of a sealing pass were swept because the pass stalled for hours"))
            }
        }
    }

    /// Replaces the old slices of each run whose log is unchanged. Returns `None`, and changes nothing, if one of the
    /// files may have been swept.
    pub(super) async fn commit_in(
        &self,
        mut transaction: WriteTransaction,
        maintenance: &Maintenance,
        token: &str,
    ) -> Result<Option<SealReport>> {
        let Self { runs: merged, files } = self;
        let mut report = SealReport::default();
        let now = maintenance.core.shared_now().as_millis();
        lock_runs(&maintenance.core, &mut transaction, merged.iter().map(|(plan, _)| plan.run_id.to_string())).await?;
        let object_keys: Vec<&Path> = files.iter().map(|file| &file.object_key).collect();
        if !intents::fulfil(&mut transaction, &object_keys).await? {
            return Ok(None);
        }
        for file in files {
            sqlx::query(
                "INSERT INTO segments (id, object_key, bytes, records, created_at, sha256, checks, statistics, merged)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1)",
            )
            .bind(&file.id)
            .bind(file.object_key.as_ref())
            .bind(file.bytes.saturating_as::<i64>())
            .bind(file.records)
            .bind(now)
            .bind(&file.sha256)
            .bind(&file.checks)
            .bind(file.lake.as_ref().map(|(_, statistics)| statistics))
            .execute(&mut *transaction)
            .await?;
        }
        let mut perhaps_free: BTreeSet<&str> = files.iter().map(|file| file.id.as_str()).collect();
        let mut in_vain = BTreeSet::new();
        for (plan, new) in merged {
            let again_at = (now + limits::IDLE_SEAL_MS, now + maintenance.core.settings().settle_ms);
            if !replace_slices(&mut transaction, token, plan, new, files, now, again_at).await? {
                warn!(run.id = %plan.run_id, "a log was changed while it was merged; it is merged again later");
                in_vain.extend(new.iter().map(|slice| files[slice.file].id.as_str()));
                continue;
            }
            report.runs += 1;
            report.records += new.iter().map(|slice| slice.records.saturating_as::<u64>()).sum::<u64>();
            perhaps_free.extend(plan.slices.iter().map(|slice| slice.segment_id.as_str()));
        }
        let perhaps_replaced: Vec<String> = perhaps_free.iter().map(|id| (*id).to_owned()).collect();
        report.bytes = files.iter().map(|file| file.bytes).sum();
        report.bytes_replaced = free_segments(&mut transaction, perhaps_free, now).await?;
        self.add_to_tables(&mut transaction, perhaps_replaced).await?;
        // These files contain records without slices, possibly of a log that was deleted in the meantime. The other
        // logs in them are sealed again, so that such records are not kept for as long as these logs.
        for file in in_vain {
            seal_anew(&mut transaction, file, now).await?;
        }
        failpoint::reach("seal-before-rows");
        transaction.commit().await?;
        debug!(
            runs = report.runs,
            records_count = report.records,
            bytes = report.bytes,
            bytes_replaced = report.bytes_replaced,
            "runs were sealed"
        );
        Ok(Some(report))
    }
}

impl Merged {
    /// Adds the files to the lakehouse tables of their workspaces, and notes the other files that may have lost rows.
    async fn add_to_tables(&self, connection: &mut Connection, perhaps_replaced: Vec<String>) -> Result<()> {
        let mut added: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for file in &self.files {
            if let Some((workspace_id, _)) = &file.lake {
                added.entry(workspace_id).or_default().push(&file.id);
            }
        }
        for (workspace_id, ids) in added {
            changes::add_files(connection, workspace_id, &ids).await?;
        }
        changes::note_changed(connection, perhaps_replaced).await
    }
}

/// Marks the segments that no longer have slices as replaced; the sweep removes them after some time. Returns the
/// number of their bytes.
pub(crate) async fn free_segments(
    connection: &mut Connection,
    ids: impl IntoIterator<Item = impl AsRef<str>>,
    now: i64,
) -> Result<u64> {
    let ids: Vec<String> = ids.into_iter().map(|id| id.as_ref().to_owned()).collect();
    let mut bytes = 0;
    for some in ids.chunks(limits::GROUP_BATCHES_MAX) {
        let mut freeing = Sql::new("UPDATE segments SET replaced_at = ");
        freeing.push_bind(now).push(" WHERE replaced_at IS NULL AND id IN (").push_list(some.iter().cloned());
        freeing.push(") AND NOT EXISTS (SELECT 1 FROM slices s WHERE s.segment_id = segments.id) RETURNING bytes");
        let freed: Vec<i64> = freeing.build_query_scalar().fetch_all(&mut *connection).await?;
        bytes += freed.into_iter().map(|bytes| bytes.saturating_as::<u64>()).sum::<u64>();
    }
    Ok(bytes)
}

/// Makes the logs that share a segment due for sealing again, so that they are rewritten without the other records of
/// the segment.
pub(crate) async fn seal_anew(connection: &mut Connection, segment_id: &str, now: i64) -> Result<()> {
    sqlx::query("UPDATE runs SET seal_at = $2 WHERE id IN (SELECT run_id FROM slices WHERE segment_id = $1)")
        .bind(segment_id)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE slices SET sealed = 0 WHERE segment_id = $1").bind(segment_id).execute(connection).await?;
    Ok(())
}

/// Replaces the slices of a run. Returns false, and changes nothing, if the log has changed since the plan was made.
///
/// If the log was made due again in the meantime, for example by the deletion of a log that shares an object with it,
/// it remains due. If records have arrived since, they are sealed at one of the times in `again_at`: the first while
/// the run is active, the second after its end.
async fn replace_slices(
    connection: &mut Connection,
    token: &str,
    plan: &Plan,
    new: &[NewSlice],
    files: &[NewFile],
    now: i64,
    again_at: (i64, i64),
) -> Result<bool> {
    let run_id = plan.run_id.to_string();
    let new_bytes: i64 = new
        .iter()
        .map(|slice| {
            share_of_bytes(files[slice.file].bytes.saturating_as::<i64>(), slice.records, files[slice.file].records)
        })
        .sum();
    let old_bytes: i64 = plan.slices.iter().map(Slice::stored_bytes).sum();
    let changed = sqlx::query(
        "UPDATE runs SET log_version = log_version + 1, seal_claimed_until = 0, stored_bytes = stored_bytes + $4,
                seal_failures = 0, seal_problem = NULL,
                seal_at = CASE WHEN $5 = 0 THEN $7 WHEN seal_at <> $9 THEN seal_at WHEN records = $6 THEN NULL
                               WHEN final_since IS NULL THEN $10 ELSE $11 END,
                summarize_at = CASE WHEN $5 = 1 AND records = $6 THEN $7 ELSE summarize_at END
         WHERE id = $1 AND log_epoch = $2 AND log_version = $3 AND seal_claimed_by = $8",
    )
    .bind(&run_id)
    .bind(plan.state.log_epoch)
    .bind(plan.state.log_version)
    .bind(new_bytes - old_bytes)
    .bind(i64::from(plan.is_last))
    .bind(plan.records)
    .bind(now)
    .bind(token)
    .bind(plan.seal_at)
    .bind(again_at.0)
    .bind(again_at.1)
    .execute(&mut *connection)
    .await?;
    if changed.rows_affected() != 1 && !planted::is("sealed-over-a-change") {
        return Ok(false);
    }
    for some in plan.slices.chunks(limits::GROUP_BATCHES_MAX) {
        let mut removing = Sql::new("DELETE FROM slices WHERE run_id = ");
        removing.push_bind(run_id.clone()).push(" AND first_arrival IN (");
        removing.push_list(some.iter().map(|slice| slice.first_arrival)).push(")");
        removing.build_query().execute(&mut *connection).await?;
    }
    for some in new.chunks(limits::GROUP_BATCHES_MAX) {
        let mut inserting = Sql::new(
            "INSERT INTO slices (run_id, segment_id, first_row, records, first_arrival, last_arrival, first_time,
                    last_time, sealed) VALUES ",
        );
        for (index, slice) in some.iter().enumerate() {
            inserting.push(if index == 0 { "(" } else { ", (" });
            inserting.push_bind(run_id.clone()).push(", ").push_bind(files[slice.file].id.clone()).push(", ");
            let numbers = [
                slice.first_row,
                slice.records,
                slice.first_arrival,
                slice.last_arrival,
                slice.first_time,
                slice.last_time,
                i64::from(plan.is_sealed),
            ];
            inserting.push_list(numbers).push(")");
        }
        inserting.build_query().execute(&mut *connection).await?;
    }
    Ok(true)
}
