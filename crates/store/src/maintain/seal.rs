//! Sealing: the slices of runs that have ended are merged into files of whole runs.
//!
//! A sealed file is sorted by (run, time, arrival). Small runs share one; a large run is cut into row groups, each a
//! slice of its own, and into several files. Records stream from the slices to the file, so memory depends on how
//! many slices overlap in time; if too many do, some are merged first and the rest in a later pass.
//!
//! Late records make new slices, and only those sealed slices are merged again whose interval of time contains a late
//! record, however far apart they are. A long log is sealed in several passes, each with a transaction of its own.
//!
//! A pass leases its runs and renews the lease ([`Pass`]). A pass that has lost its lease commits nothing, and
//! neither does one whose files were swept meanwhile ([`crate::objects::intents`]).

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use az::SaturatingAs;
use bytes::Bytes;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use runlog_model::{RunId, TimeRange, Timestamp};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, FromRow};
use tokio::io::AsyncWriteExt;
use tracing::{debug, warn};

use crate::catalog::sql::{Connection, Sql, storable};
use crate::cpu::CpuPool;
use crate::error::{Error, ErrorKind, Result};
use crate::log::merge::{Merge, RecordBlock};
use crate::log::slices::{SLICE_COLUMNS, Scope, Slice, share_of_bytes};
use crate::maintain::maintenance::Maintenance;
use crate::objects::checksums::ChecksWriter;
use crate::objects::intents;
use crate::objects::keys;
use crate::segment;
use crate::segment::reader::SegmentFile;
use crate::tables::runs::LogState;
use crate::{failpoint, limits, secret};

/// The result of a sealing pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SealReport {
    /// Runs whose slices were merged.
    pub runs: u64,
    /// Written records.
    pub records: u64,
    /// Bytes of the written files.
    pub bytes: u64,
    /// Bytes of the objects that no row names any more.
    pub bytes_replaced: u64,
}

/// A run whose slices are to be merged.
#[derive(Debug, Clone, FromRow)]
struct DueRun {
    id: String,
    records: i64,
    log_epoch: i64,
    log_version: i64,
    /// How many consecutive times it could not be sealed because it is damaged.
    seal_failures: i64,
}

/// A log that cannot be sealed because a part of it is lost or damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedLog {
    /// The run that it belongs to.
    pub run_id: RunId,
    /// The error, with the object.
    pub problem: String,
    /// Consecutive failed attempts.
    pub failures: u64,
}

/// A sealing pass: some runs that are leased to this node while it merges their slices.
struct Pass {
    maintenance: Maintenance,
    /// Identifies the pass in the catalog.
    token: String,
    runs: Vec<DueRun>,
    /// When the lease was last renewed.
    renewed_at: Timestamp,
}

/// Why nothing could be merged.
struct Unmerged {
    error: Error,
    /// The run that caused it, if known.
    run: Option<usize>,
}

/// What to merge of a run.
struct Plan {
    run_id: RunId,
    state: LogState,
    /// Records of the run when the plan was made.
    records: i64,
    slices: Vec<Slice>,
    /// Where sealed slices begin that stay as they are: no new slice may extend over one.
    barriers: VecDeque<i64>,
    /// False when the new slices still overlap others, because too many do at once.
    is_sealed: bool,
    /// False when another pass must follow.
    is_last: bool,
}

/// The part of a run that is in one row group of one file.
#[derive(Debug, Clone)]
struct NewSlice {
    file: usize,
    first_row: i64,
    records: i64,
    first_arrival: i64,
    last_arrival: i64,
    first_time: i64,
    last_time: i64,
}

/// A written file that no row names yet.
struct NewFile {
    id: String,
    object_key: Path,
    bytes: u64,
    records: i64,
    sha256: String,
    /// See [`crate::objects::checksums`].
    checks: Vec<u8>,
}

impl Maintenance {
    /// Merges the slices of runs whose sealing is due, as many as share a file; all zero when none is due.
    pub async fn seal(&self) -> Result<SealReport> {
        let Some(pass) = self.claim_due_runs().await? else { return Ok(SealReport::default()) };
        // What has been begun is finished, whoever waits for it.
        tokio::spawn(pass.seal()).await?
    }

    /// Returns the first `limit` logs that cannot be sealed because a part of them is lost or damaged, and how many
    /// there are.
    pub async fn damaged_logs(&self, limit: u64) -> Result<(Vec<DamagedLog>, u64)> {
        let total: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM runs WHERE seal_problem IS NOT NULL")
            .fetch_one(self.core.catalog().read())
            .await?;
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT id, seal_problem, seal_failures FROM runs WHERE seal_problem IS NOT NULL ORDER BY id LIMIT $1",
        )
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        let damaged = rows.into_iter().map(|(id, problem, failures)| {
            let run_id = id.parse().map_err(|_| Error::corrupt("the id of a run does not decode"))?;
            Ok(DamagedLog { run_id, problem, failures: failures.saturating_as::<u64>() })
        });
        Ok((damaged.collect::<Result<_>>()?, total.saturating_as::<u64>()))
    }

    /// Claims runs that are due, the longest due first: a few large ones or many small ones. A damaged run is claimed
    /// only when no other is due.
    async fn claim_due_runs(&self) -> Result<Option<Pass>> {
        let (now, lease_now) = (self.core.now(), self.core.catalog_now().await?);
        let mut due: Vec<DueRun> = Vec::new();
        for (kind, limit) in [("seal_problem IS NULL", limits::SEAL_RUNS_MAX), ("seal_problem IS NOT NULL", 1)] {
            let listing = format!(
                "SELECT id, records, log_epoch, log_version, seal_failures FROM runs
                 WHERE seal_at <= $1 AND seal_claimed_until < $3 AND {kind} ORDER BY seal_at LIMIT $2"
            );
            due = sqlx::query_as(AssertSqlSafe(listing))
                .bind(now.as_millis())
                .bind(limit)
                .bind(lease_now.as_millis())
                .fetch_all(self.core.catalog().read())
                .await?;
            if !due.is_empty() {
                break;
            }
        }
        let mut records = 0;
        let fits = |run: &&DueRun| {
            let is_first = records == 0;
            records += run.records.max(1);
            is_first || records <= limits::SEAL_RECORDS_MAX
        };
        let ids: Vec<String> = due.iter().take_while(fits).map(|run| run.id.clone()).collect();
        if ids.is_empty() {
            return Ok(None);
        }
        let token = self.core.random().uuid().to_string();
        let mut claiming = Sql::new("UPDATE runs SET seal_claimed_until = ");
        claiming.push_bind(lease_now.plus_millis(limits::SEAL_LEASE_MS).as_millis());
        claiming.push(", seal_claimed_by = ").push_bind(token.clone());
        claiming.push(" WHERE id IN (SELECT id FROM runs WHERE id IN (").push_list(ids);
        claiming.push(") AND seal_claimed_until < ").push_bind(lease_now.as_millis()).push(" ORDER BY id");
        claiming.push(self.core.catalog().skip_locked());
        claiming.push(") RETURNING id, records, log_epoch, log_version, seal_failures");
        let mut runs: Vec<DueRun> = claiming.build_query_as().fetch_all(self.core.catalog().write()).await?;
        runs.sort_by(|one, other| one.id.cmp(&other.id));
        Ok((!runs.is_empty()).then(|| Pass { maintenance: self.clone(), token, runs, renewed_at: now }))
    }

    async fn plan_sealing(&self, run: &DueRun) -> Result<Plan> {
        let run_id = run.id.parse().map_err(|_| Error::corrupt("the id of a run does not decode"))?;
        let state = LogState { log_epoch: run.log_epoch, log_version: run.log_version };
        let mut slices: Vec<Slice> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT {SLICE_COLUMNS} FROM slices s JOIN segments g ON g.id = s.segment_id
             WHERE s.run_id = $1 AND s.sealed = 0 ORDER BY s.first_time, s.first_arrival LIMIT $2"
        )))
        .bind(&run.id)
        .bind(limits::SEAL_SLICES_MAX)
        .fetch_all(self.core.catalog().read())
        .await?;
        let mut is_last = slices.len().saturating_as::<i64>() < limits::SEAL_SLICES_MAX;
        let mut records = 0;
        let does_not_fit = |slice: &Slice| {
            records += slice.records;
            records > slice.records.max(limits::SEAL_PASS_RECORDS)
        };
        if let Some(count) = slices.iter().position(does_not_fit) {
            slices.truncate(count);
            is_last = false;
        }
        let (touched, barriers) = self.touched_slices(&run.id, &slices).await?;
        slices.extend(touched);
        let is_sealed = match deepest_overlap(&slices) {
            Some(some) => {
                slices = some;
                is_last = false;
                false
            }
            None => true,
        };
        Ok(Plan { run_id, state, records: run.records, slices, barriers, is_sealed, is_last })
    }

    /// The sealed slices of a run whose intervals contain a record of some late slices; and the starts of the slices
    /// between them that stay as they are.
    async fn touched_slices(&self, run_id: &str, late: &[Slice]) -> Result<(Vec<Slice>, VecDeque<i64>)> {
        let first = late.iter().map(|slice| slice.first_time).min();
        let last = late.iter().map(|slice| slice.last_time).max();
        let (Some(first), Some(last)) = (first, last) else { return Ok((Vec::new(), VecDeque::new())) };
        let sealed: Vec<Slice> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT {SLICE_COLUMNS} FROM slices s JOIN segments g ON g.id = s.segment_id
             WHERE s.run_id = $1 AND s.sealed = 1 AND s.last_time >= $2 AND s.first_time <= $3
             ORDER BY s.first_time, s.first_arrival"
        )))
        .bind(run_id)
        .bind(first)
        .bind(last)
        .fetch_all(self.core.catalog().read())
        .await?;
        // Sealed slices do not overlap, so they end in the order in which they begin.
        let mut is_touched = vec![false; sealed.len()];
        for slice in late {
            let from = sealed.partition_point(|sealed| sealed.last_time < slice.first_time);
            let to = sealed.partition_point(|sealed| sealed.first_time <= slice.last_time).max(from);
            let within = &mut is_touched[from..to];
            if within.iter().all(|is_touched| *is_touched) {
                continue;
            }
            if within.len() == 1 {
                within[0] = true;
                continue;
            }
            // It reaches over several: its records may fall into few of them.
            let file =
                SegmentFile::open(self.core.segments(), &slice.object_key, slice.segment_bytes.saturating_as::<u64>())
                    .await?;
            let keys = file
                .read_keys(
                    slice.first_row.saturating_as::<usize>()
                        ..(slice.first_row + slice.records).saturating_as::<usize>(),
                )
                .await?;
            for time in keys.times {
                let at = sealed.partition_point(|sealed| sealed.last_time < time);
                if sealed.get(at).is_some_and(|sealed| sealed.first_time <= time) {
                    is_touched[at] = true;
                }
            }
        }
        let mut touched = Vec::new();
        let mut barriers = VecDeque::new();
        for (slice, is_touched) in sealed.into_iter().zip(is_touched) {
            match is_touched {
                true => touched.push(slice),
                false => barriers.push_back(slice.first_time),
            }
        }
        Ok((touched, barriers))
    }
}

impl Pass {
    /// Merges and commits. A run that is damaged is left out and noted; the others go on.
    async fn seal(mut self) -> Result<SealReport> {
        while !self.runs.is_empty() {
            let Unmerged { error, run } = match self.seal_runs().await {
                Ok(report) => return Ok(report),
                Err(unmerged) => unmerged,
            };
            match run.filter(|_| error.kind() == ErrorKind::Corrupt) {
                Some(run) => {
                    let run = self.runs.remove(run);
                    match self.is_as_claimed(&run).await? {
                        true => self.record_damage(&run, &error).await?,
                        // Its objects are gone because the log was deleted or merged meanwhile.
                        false => debug!(run.id = run.id, "a log was changed while it was merged"),
                    }
                }
                None if error.kind() == ErrorKind::Conflict => {
                    // Another pass has the runs, or they were changed: what was made here is given up.
                    warn!(%error, "a sealing pass was abandoned");
                    self.release().await?;
                    return Ok(SealReport::default());
                }
                None => {
                    self.release().await?;
                    return Err(error);
                }
            }
        }
        Ok(SealReport::default())
    }

    async fn seal_runs(&mut self) -> Result<SealReport, Unmerged> {
        let (merged, files) = self.merge_runs().await?;
        failpoint::reach("seal-after-objects");
        self.commit(&merged, &files).await.map_err(|error| Unmerged { error, run: None })
    }

    /// Writes the files of the runs; no row names them yet.
    async fn merge_runs(&mut self) -> Result<(Vec<(Plan, Vec<NewSlice>)>, Vec<NewFile>), Unmerged> {
        let mut files = SealedFiles::new(&self.maintenance);
        match self.merge_into(&mut files).await {
            Ok(merged) => match files.end_file().await {
                Ok(()) => Ok((merged, files.done)),
                Err(error) => {
                    files.abandon().await;
                    Err(Unmerged { error, run: None })
                }
            },
            Err(unmerged) => {
                files.abandon().await;
                Err(unmerged)
            }
        }
    }

    async fn merge_into(&mut self, files: &mut SealedFiles) -> Result<Vec<(Plan, Vec<NewSlice>)>, Unmerged> {
        let mut merged = Vec::with_capacity(self.runs.len());
        for index in 0..self.runs.len() {
            let at_run = |error| Unmerged { error, run: Some(index) };
            let plan = self.maintenance.plan_sealing(&self.runs[index]).await.map_err(at_run)?;
            let slices = self.merge_run(files, &plan).await.map_err(at_run)?;
            merged.push((plan, slices));
        }
        Ok(merged)
    }

    async fn merge_run(&mut self, files: &mut SealedFiles, plan: &Plan) -> Result<Vec<NewSlice>> {
        let scope = Scope { run_id: plan.run_id, range: TimeRange::ALL, arrivals: i64::MAX, state: plan.state };
        let mut merge = Merge::of_slices(&self.maintenance.core, scope, plan.slices.clone());
        files.begin_run(plan.barriers.clone());
        while let Some(row_run) = merge.next().await? {
            files.add(plan.run_id, row_run.read().await?).await?;
            self.renew_if_old(files).await?;
        }
        let slices = files.end_run();
        let (old, new): (i64, i64) =
            (plan.slices.iter().map(|slice| slice.records).sum(), slices.iter().map(|slice| slice.records).sum());
        match old == new {
            true => Ok(slices),
            false => Err(Error::corrupt(format!(
                "merging run {} produced {new} records but its slices hold {old}; the slices are left unchanged",
                plan.run_id
            ))),
        }
    }

    /// Renews the lease. `Conflict`: another pass has it, or the files were swept.
    async fn renew_if_old(&mut self, files: &mut SealedFiles) -> Result<()> {
        let now = self.maintenance.core.now();
        if now.millis_since(self.renewed_at).abs() < limits::SEAL_RENEW_MS {
            return Ok(());
        }
        let until = self.maintenance.core.catalog_now().await?.plus_millis(limits::SEAL_LEASE_MS);
        let mut renewing = Sql::new("UPDATE runs SET seal_claimed_until = ");
        renewing.push_bind(until.as_millis()).push(" WHERE seal_claimed_by = ").push_bind(self.token.clone());
        renewing.push(" AND id IN (").push_list(self.runs.iter().map(|run| run.id.clone())).push(")");
        let renewed = renewing.build_query().execute(self.maintenance.core.catalog().write()).await?.rows_affected();
        if renewed != self.runs.len() as u64 {
            return Err(Error::conflict("another node has taken over the sealing of these runs"));
        }
        if !self.maintenance.core.intents().renew_intents(&files.keys()).await? {
            return Err(Error::conflict("the files of a pass of sealing were swept, because it stood still for hours"));
        }
        self.renewed_at = now;
        Ok(())
    }

    async fn is_as_claimed(&self, run: &DueRun) -> Result<bool> {
        let same: Option<i64> = sqlx::query_scalar(
            "SELECT CAST(1 AS BIGINT) FROM runs WHERE id = $1 AND log_epoch = $2 AND log_version = $3",
        )
        .bind(&run.id)
        .bind(run.log_epoch)
        .bind(run.log_version)
        .fetch_optional(self.maintenance.core.catalog().read())
        .await?;
        Ok(same.is_some())
    }

    /// Releases the runs; they are retried after a while.
    async fn release(&self) -> Result<()> {
        let again_at = self.maintenance.core.catalog_now().await?.plus_millis(limits::SEAL_RETRY_MS);
        for run in &self.runs {
            sqlx::query("UPDATE runs SET seal_claimed_until = $2 WHERE id = $1 AND seal_claimed_by = $3")
                .bind(&run.id)
                .bind(again_at.as_millis())
                .bind(&self.token)
                .execute(self.maintenance.core.catalog().write())
                .await?;
        }
        Ok(())
    }

    /// Records that a log cannot be sealed. It is retried with increasing delays: the missing part may be put back.
    async fn record_damage(&self, run: &DueRun, error: &Error) -> Result<()> {
        let problem = error_chain(error);
        if run.seal_failures == 0 {
            warn!(problem, run.id = run.id, "a log could not be sealed, because something of it is lost or damaged");
        } else {
            debug!(problem, run.id = run.id, "a damaged log could again not be sealed");
        }
        let wait_ms = limits::SEAL_RETRY_MS << run.seal_failures.clamp(0, limits::SEAL_DAMAGED_DOUBLINGS_MAX);
        let again_at = self.maintenance.core.catalog_now().await?.plus_millis(wait_ms);
        sqlx::query(
            "UPDATE runs SET seal_claimed_until = $2, seal_failures = seal_failures + 1, seal_problem = $4
             WHERE id = $1 AND seal_claimed_by = $3",
        )
        .bind(&run.id)
        .bind(again_at.as_millis())
        .bind(&self.token)
        .bind(storable(&problem))
        .execute(self.maintenance.core.catalog().write())
        .await?;
        Ok(())
    }

    async fn commit(&self, merged: &[(Plan, Vec<NewSlice>)], files: &[NewFile]) -> Result<SealReport> {
        let committed = self.maintenance.core.retry_on_contention(|| self.commit_once(merged, files)).await?;
        match committed {
            Some(report) => Ok(report),
            None => {
                let keys: Vec<Path> = files.iter().map(|file| file.object_key.clone()).collect();
                self.maintenance.core.intents().remove_uncommitted(&keys).await;
                Err(Error::conflict("the files of a pass of sealing were swept, because it stood still for hours"))
            }
        }
    }

    /// Replaces the old slices of each run whose log is unchanged. `None`, and nothing is changed, when one of the
    /// files may have been swept.
    async fn commit_once(&self, merged: &[(Plan, Vec<NewSlice>)], files: &[NewFile]) -> Result<Option<SealReport>> {
        let maintenance = &self.maintenance;
        let mut report = SealReport::default();
        let mut transaction = maintenance.core.catalog().begin().await?;
        let now = maintenance.core.now().as_millis();
        lock_runs(maintenance, &mut transaction, merged.iter().map(|(plan, _)| plan.run_id.to_string())).await?;
        let object_keys: Vec<&Path> = files.iter().map(|file| &file.object_key).collect();
        if !intents::fulfil(&mut transaction, &object_keys).await? {
            return Ok(None);
        }
        for file in files {
            sqlx::query(
                "INSERT INTO segments (id, object_key, bytes, records, created_at, sha256, checks, merged)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, 1)",
            )
            .bind(&file.id)
            .bind(file.object_key.as_ref())
            .bind(file.bytes.saturating_as::<i64>())
            .bind(file.records)
            .bind(now)
            .bind(&file.sha256)
            .bind(&file.checks)
            .execute(&mut *transaction)
            .await?;
        }
        let mut perhaps_free: BTreeSet<&str> = files.iter().map(|file| file.id.as_str()).collect();
        let mut in_vain = BTreeSet::new();
        for (plan, new) in merged {
            if !replace_slices(&mut transaction, &self.token, plan, new, files, now).await? {
                warn!(run.id = %plan.run_id, "a log was changed while it was merged; it is merged again later");
                in_vain.extend(new.iter().map(|slice| files[slice.file].id.as_str()));
                continue;
            }
            report.runs += 1;
            report.records += new.iter().map(|slice| slice.records.saturating_as::<u64>()).sum::<u64>();
            perhaps_free.extend(plan.slices.iter().map(|slice| slice.segment_id.as_str()));
        }
        report.bytes = files.iter().map(|file| file.bytes).sum();
        report.bytes_replaced = free_segments(&mut transaction, perhaps_free, now).await?;
        // They hold records that no row names, of a log that was perhaps deleted meanwhile: those must not stay for as
        // long as the logs of others do.
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

/// An error and its causes.
fn error_chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Locks runs for the rest of a transaction. All lock them in the same order, so that no two wait for each other.
pub(crate) async fn lock_runs(
    maintenance: &Maintenance,
    connection: &mut Connection,
    ids: impl IntoIterator<Item = String>,
) -> Result<()> {
    let mut locking = Sql::new("SELECT id FROM runs WHERE id IN (");
    locking.push_list(ids).push(") ORDER BY id").push(maintenance.core.catalog().for_update());
    locking.build_query().fetch_all(connection).await?;
    Ok(())
}

/// Marks those of some segments that have no slices any more; returns their bytes. The sweep removes them after a
/// while.
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

/// Makes the logs that share a segment due for sealing again, without the rest of the segment.
pub(crate) async fn seal_anew(connection: &mut Connection, segment_id: &str, now: i64) -> Result<()> {
    sqlx::query("UPDATE runs SET seal_at = $2 WHERE id IN (SELECT run_id FROM slices WHERE segment_id = $1)")
        .bind(segment_id)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE slices SET sealed = 0 WHERE segment_id = $1").bind(segment_id).execute(connection).await?;
    Ok(())
}

/// Returns false, and changes nothing, when the log has changed since the plan.
async fn replace_slices(
    connection: &mut Connection,
    token: &str,
    plan: &Plan,
    new: &[NewSlice],
    files: &[NewFile],
    now: i64,
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
                seal_at = CASE WHEN $5 = 0 THEN $7 WHEN records = $6 THEN NULL ELSE seal_at END,
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
    .execute(&mut *connection)
    .await?;
    if changed.rows_affected() != 1 {
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

/// When more slices overlap than may be open at a time: the smallest of those, to be merged first.
fn deepest_overlap(slices: &[Slice]) -> Option<Vec<Slice>> {
    // A slice begins before another ends at the same instant.
    let mut ends: Vec<(i64, bool, usize)> = Vec::with_capacity(2 * slices.len());
    for (index, slice) in slices.iter().enumerate() {
        ends.push((slice.first_time, false, index));
        ends.push((slice.last_time, true, index));
    }
    ends.sort_unstable();
    let (mut open, mut deepest) = (BTreeSet::new(), BTreeSet::new());
    for (_, is_end, index) in ends {
        if is_end {
            open.remove(&index);
        } else {
            open.insert(index);
            if open.len() > deepest.len().max(limits::SEAL_FAN_IN) {
                deepest.clone_from(&open);
            }
        }
    }
    if deepest.is_empty() {
        return None;
    }
    let mut deepest: Vec<Slice> = deepest.into_iter().map(|index| slices[index].clone()).collect();
    deepest.sort_by_key(|slice| slice.records);
    deepest.truncate(limits::SEAL_FAN_IN);
    Some(deepest)
}

/// Writes files of sealed runs.
struct SealedFiles {
    maintenance: Maintenance,
    open: Option<OpenFile>,
    done: Vec<NewFile>,
    /// The slices of the current run.
    slices: Vec<NewSlice>,
    current: Option<NewSlice>,
    /// Times that no slice of the run may extend over.
    barriers: VecDeque<i64>,
}

struct OpenFile {
    id: String,
    object_key: Path,
    cpu: CpuPool,
    /// `None` while it is in use, and after a failure.
    encoder: Option<Box<Encoder>>,
    object: BufWriter,
    /// Rows to be written together.
    pending: Vec<Vec<ArrayRef>>,
    pending_rows: usize,
    rows: i64,
    rows_in_group: usize,
}

/// Encodes a file, and hashes its bytes.
struct Encoder {
    /// Its buffer holds the bytes that were not taken yet.
    writer: ArrowWriter<Vec<u8>>,
    digest: Sha256,
    checks: ChecksWriter,
    bytes: u64,
}

impl SealedFiles {
    fn new(maintenance: &Maintenance) -> Self {
        Self {
            maintenance: maintenance.clone(),
            open: None,
            done: Vec::new(),
            slices: Vec::new(),
            current: None,
            barriers: VecDeque::new(),
        }
    }

    /// Begins a run whose slices may not extend over some times; none of its records has one of these times.
    fn begin_run(&mut self, barriers: VecDeque<i64>) {
        self.barriers = barriers;
    }

    /// Adds records of a run, after those that were added before.
    async fn add(&mut self, run_id: RunId, records: RecordBlock) -> Result<()> {
        let positions: Vec<_> = records.sort_keys().collect();
        let columns = self.maintenance.core.cpu().run_for(positions.len(), move || records.columns()).await?;
        let mut from = 0;
        while from < positions.len() {
            self.end_slice_at_barrier(positions[from].0);
            self.end_slice_if_full(positions[from].0).await?;
            let room = self.open_file().await?.rows_until_full();
            let room = room.min(limits::CHUNK_RECORDS.saturating_sub(self.current_records()));
            // A slice ends between two instants, so that the slices of a run do not overlap.
            let mut to = (from + room.max(1)).min(positions.len());
            while to < positions.len() && positions[to].0 == positions[to - 1].0 {
                to += 1;
            }
            if let Some(barrier) = self.barriers.front() {
                to = to.min(from + positions[from..].partition_point(|(time, _)| time < barrier).max(1));
            }
            let some = &positions[from..to];
            let mut arrays: Vec<ArrayRef> = vec![
                Arc::new(StringArray::from_iter_values(std::iter::repeat_n(run_id.to_string(), some.len()))),
                segment::times_column(some.iter().map(|(time, _)| *time)),
                Arc::new(Int64Array::from_iter_values(some.iter().map(|(_, arrival)| *arrival))),
            ];
            arrays.extend(columns.iter().map(|column| column.slice(from, some.len())));
            self.note(some);
            self.open_file().await?.add(arrays, some.len()).await?;
            from = to;
        }
        Ok(())
    }

    /// Ends the current run; returns its slices.
    fn end_run(&mut self) -> Vec<NewSlice> {
        self.slices.extend(self.current.take());
        std::mem::take(&mut self.slices)
    }

    /// The keys of all files, finished or not.
    fn keys(&self) -> Vec<Path> {
        let open = self.open.iter().map(|file| &file.object_key);
        self.done.iter().map(|file| &file.object_key).chain(open).cloned().collect()
    }

    /// Removes what was written.
    async fn abandon(mut self) {
        let keys = self.keys();
        if let Some(open) = self.open.take() {
            let mut object = open.object;
            if let Err(error) = object.abort().await {
                warn!(%error, object.key = %open.object_key, "parts of an abandoned upload could not be removed");
            }
        }
        self.maintenance.core.intents().remove_uncommitted(&keys).await;
    }

    fn end_slice_at_barrier(&mut self, next_time: i64) {
        while self.barriers.front().is_some_and(|barrier| *barrier < next_time) {
            self.barriers.pop_front();
            self.slices.extend(self.current.take());
        }
    }

    /// Updates the current slice for rows that are about to be added.
    fn note(&mut self, positions: &[(i64, i64)]) {
        let (Some(first), Some(last)) = (positions.first(), positions.last()) else { return };
        let arrivals = || positions.iter().map(|(_, arrival)| *arrival);
        let (least, greatest) = (arrivals().min().unwrap_or_default(), arrivals().max().unwrap_or_default());
        let file = self.done.len();
        let first_row = self.open.as_ref().map_or(0, |file| file.rows);
        let slice = self.current.get_or_insert(NewSlice {
            file,
            first_row,
            records: 0,
            first_arrival: least,
            last_arrival: greatest,
            first_time: first.0,
            last_time: last.0,
        });
        slice.records += positions.len().saturating_as::<i64>();
        slice.first_arrival = slice.first_arrival.min(least);
        slice.last_arrival = slice.last_arrival.max(greatest);
        slice.last_time = last.0;
    }

    fn current_records(&self) -> usize {
        self.current.as_ref().map_or(0, |slice| slice.records.saturating_as::<usize>())
    }

    async fn end_slice_if_full(&mut self, next_time: i64) -> Result<()> {
        let is_full = self.current_records() >= limits::CHUNK_RECORDS;
        let Some(file) = &mut self.open else { return Ok(()) };
        let is_same_instant = self.current.as_ref().is_some_and(|slice| slice.last_time == next_time);
        if is_same_instant {
            return Ok(());
        }
        if !file.is_row_group_full() {
            if is_full {
                self.slices.extend(self.current.take());
            }
            return Ok(());
        }
        file.end_row_group().await?;
        let is_file_full = file.encoder.as_ref().is_some_and(|it| it.bytes >= limits::SEALED_FILE_BYTES as u64);
        self.slices.extend(self.current.take());
        if is_file_full {
            self.end_file().await?;
        }
        Ok(())
    }

    async fn end_file(&mut self) -> Result<()> {
        let Some(mut file) = self.open.take() else { return Ok(()) };
        file.write_pending().await?;
        file.encode(|writer| Ok(writer.finish().map(|_| ())?)).await?;
        file.object.shutdown().await.map_err(unwritten)?;
        let Encoder { digest, checks, bytes, .. } = *file.encoder.ok_or_else(interrupted)?;
        self.done.push(NewFile {
            id: file.id,
            object_key: file.object_key,
            bytes,
            records: file.rows,
            sha256: secret::hex(&digest.finalize()),
            checks: checks.finish(),
        });
        Ok(())
    }

    async fn open_file(&mut self) -> Result<&mut OpenFile> {
        if self.open.is_none() {
            let id = self.maintenance.core.random().uuid();
            let object_key = keys::sealed_file(id, self.maintenance.core.now());
            self.maintenance.core.intents().intend([&object_key]).await?;
            let object = BufWriter::with_capacity(
                Arc::clone(self.maintenance.core.objects()),
                object_key.clone(),
                limits::UPLOAD_PART_BYTES,
            )
            .with_max_concurrency(2);
            let properties = segment::sealed_properties()?;
            let writer = ArrowWriter::try_new(Vec::new(), segment::schema(), Some(properties))?;
            self.open = Some(OpenFile {
                id: id.to_string(),
                object_key,
                cpu: self.maintenance.core.cpu().clone(),
                encoder: Some(Box::new(Encoder {
                    writer,
                    digest: Sha256::new(),
                    checks: ChecksWriter::default(),
                    bytes: 0,
                })),
                object,
                pending: Vec::new(),
                pending_rows: 0,
                rows: 0,
                rows_in_group: 0,
            });
        }
        self.open.as_mut().ok_or_else(|| Error::corrupt("a sealed file could not be begun"))
    }
}

impl OpenFile {
    fn rows_until_full(&self) -> usize {
        limits::ROW_GROUP_RECORDS.saturating_sub(self.rows_in_group)
    }

    fn is_row_group_full(&self) -> bool {
        let memory = self.encoder.as_ref().map_or(0, |encoder| encoder.writer.memory_size());
        self.rows_in_group >= limits::ROW_GROUP_RECORDS || memory >= limits::ROW_GROUP_BYTES
    }

    async fn add(&mut self, columns: Vec<ArrayRef>, rows: usize) -> Result<()> {
        self.pending.push(columns);
        self.pending_rows += rows;
        self.rows += rows.saturating_as::<i64>();
        self.rows_in_group += rows;
        // Stretches may be short; a writer is quicker with many rows at a time.
        if self.pending_rows >= limits::CHUNK_RECORDS / 4 { self.write_pending().await } else { Ok(()) }
    }

    async fn write_pending(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_rows = 0;
        let Some(width) = pending.first().map(Vec::len) else { return Ok(()) };
        self.encode(move |writer| {
            let mut columns = Vec::with_capacity(width);
            for index in 0..width {
                let parts: Vec<&dyn arrow_array::Array> = pending.iter().map(|columns| &*columns[index]).collect();
                columns.push(arrow_select::concat::concat(&parts)?);
            }
            Ok(writer.write(&RecordBatch::try_new(segment::schema(), columns)?)?)
        })
        .await
    }

    async fn end_row_group(&mut self) -> Result<()> {
        self.write_pending().await?;
        self.encode(|writer| Ok(writer.flush()?)).await?;
        self.rows_in_group = 0;
        Ok(())
    }

    /// Encodes some of the file on the CPU pool, and uploads the result.
    async fn encode(
        &mut self,
        work: impl FnOnce(&mut ArrowWriter<Vec<u8>>) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let mut encoder = self.encoder.take().ok_or_else(interrupted)?;
        let encoding = move || {
            work(&mut encoder.writer)?;
            let bytes = Bytes::from(std::mem::take(encoder.writer.inner_mut()));
            encoder.digest.update(&bytes);
            encoder.checks.update(&bytes);
            encoder.bytes += bytes.len() as u64;
            Ok((encoder, bytes))
        };
        let (encoder, bytes) = self.cpu.run(encoding).await?;
        self.encoder = Some(encoder);
        match bytes.is_empty() {
            true => Ok(()),
            false => Ok(self.object.put(bytes).await?),
        }
    }
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Unavailable, "the writing of a sealed file was broken off")
}

fn unwritten(error: std::io::Error) -> Error {
    Error::caused(ErrorKind::Unavailable, "a sealed file cannot be written", error)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    use object_store::ObjectStoreExt;
    use runlog_model::wire::admin::{NewTask, NewWorkspace};
    use runlog_model::wire::push::{FinishRun, StartRun};
    use runlog_model::{Clock, Random, Record, RunStatus, Timestamp};

    use super::*;
    use crate::settings::StoreSettings;
    use crate::store::Store;

    struct Standing(AtomicI64);

    impl Clock for Standing {
        fn now(&self) -> Timestamp {
            Timestamp::clamped(self.0.load(Ordering::Relaxed))
        }
    }

    struct Counting(AtomicU64);

    impl Random for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            let number = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
            bytes.iter_mut().zip(number.iter().cycle()).for_each(|(byte, made)| *byte = *made);
        }
    }

    struct Opened {
        store: Store,
        clock: Arc<Standing>,
        random: Arc<Counting>,
        _folder: tempfile::TempDir,
    }

    async fn opened() -> Opened {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(Standing(AtomicI64::new(1_795_434_850_000)));
        let random = Arc::new(Counting(AtomicU64::new(1)));
        let settings = StoreSettings::in_folder(folder.path());
        let store = Store::open(settings, clock.clone(), random.clone()).await.unwrap();
        Opened { store, clock, random, _folder: folder }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_segment_that_nobody_names_and_nobody_marked_is_swept() {
        let Opened { store, clock, _folder, .. } = opened().await;
        let key = Path::from("segments/2026/11/27/lost.parquet");
        store.core().put_object(&key, Bytes::from_static(b"lost")).await.unwrap();
        sqlx::query("INSERT INTO segments (id, object_key, bytes, records, created_at, sha256) VALUES ('lost', $1, 4, 1, $2, '')")
            .bind(key.as_ref())
            .bind(store.core().now().as_millis())
            .execute(store.core().catalog().write())
            .await
            .unwrap();
        for expected in [0, 0, 4] {
            assert_eq!(
                store.maintenance().sweep().await.unwrap(),
                expected,
                "readers have their hour after it was marked"
            );
            clock.0.fetch_add(limits::REPLACED_RETENTION_MS + 1, Ordering::Relaxed);
        }
        assert!(store.core().objects().head(&key).await.is_err());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_log_that_is_deleted_while_it_is_merged_does_not_stay_in_the_file_of_another() {
        let Opened { store, clock, random, _folder } = opened().await;
        let workspace =
            NewWorkspace { id: None, environment_id: None, name: "team".to_owned(), description: None, owner: None };
        let workspace_id = store.workspaces().create_workspace(&workspace, "admin").await.unwrap().id;
        let task = NewTask {
            id: None,
            workspace_id,
            name: "nightly".to_owned(),
            version: None,
            description: None,
            tags: Vec::new(),
        };
        let task_id = store.workspaces().create_task(&task).await.unwrap().id;
        let token = store.accounts().ensure_administrator().await.unwrap().unwrap();
        let caller = store.accounts().authenticate_token(&token).await.unwrap().unwrap();
        let mut runs = Vec::new();
        for said in ["a secret", "kept"] {
            let run_id = RunId::random(&*random);
            store.runs().start(run_id, &StartRun::of_task(task_id), &caller).await.unwrap();
            let mut batch = store.ingest().begin_batch(run_id, None).await.unwrap();
            let record = Record { message: Some(said.to_owned()), ..Record::at(Timestamp::clamped(7)) };
            batch.push(&record).await.unwrap();
            batch.commit().await.unwrap();
            store.runs().finish(run_id, &FinishRun::with_status(RunStatus::Successful)).await.unwrap();
            runs.push(run_id);
        }
        clock.0.fetch_add(31_000, Ordering::Relaxed);

        let mut pass = store.maintenance().claim_due_runs().await.unwrap().unwrap();
        let Ok((merged, files)) = pass.merge_runs().await else { panic!("not merged") };
        assert_eq!(files.iter().map(|file| file.records).collect::<Vec<_>>(), [2], "both are in one file");
        store.maintenance().delete_log(runs[0]).await.unwrap();
        assert_eq!(pass.commit(&merged, &files).await.unwrap().runs, 1);
        assert_eq!(store.maintenance().seal().await.unwrap().runs, 1, "the other one is merged anew");
        clock.0.fetch_add(2 * limits::REPLACED_RETENTION_MS, Ordering::Relaxed);
        store.maintenance().sweep().await.unwrap();
        let segments: Vec<(i64, String)> = sqlx::query_as("SELECT records, object_key FROM segments")
            .fetch_all(store.core().catalog().read())
            .await
            .unwrap();
        assert_eq!(segments.iter().map(|(records, _)| *records).collect::<Vec<_>>(), [1]);
        assert!(store.core().objects().head(&files[0].object_key).await.is_err(), "the file that held both is gone");
    }

    /// A run of one record that is due for sealing.
    async fn due_run(opened: &Opened) -> RunId {
        let Opened { store, clock, random, .. } = opened;
        let workspace =
            NewWorkspace { id: None, environment_id: None, name: "team".to_owned(), description: None, owner: None };
        let workspace_id = store.workspaces().create_workspace(&workspace, "admin").await.unwrap().id;
        let task = NewTask {
            id: None,
            workspace_id,
            name: "nightly".to_owned(),
            version: None,
            description: None,
            tags: Vec::new(),
        };
        let task_id = store.workspaces().create_task(&task).await.unwrap().id;
        let token = store.accounts().ensure_administrator().await.unwrap().unwrap();
        let caller = store.accounts().authenticate_token(&token).await.unwrap().unwrap();
        let run_id = RunId::random(&**random);
        store.runs().start(run_id, &StartRun::of_task(task_id), &caller).await.unwrap();
        push(store, run_id, 7).await;
        store.runs().finish(run_id, &FinishRun::with_status(RunStatus::Successful)).await.unwrap();
        clock.0.fetch_add(31_000, Ordering::Relaxed);
        run_id
    }

    async fn push(store: &Store, run_id: RunId, time_ms: i64) {
        let mut batch = store.ingest().begin_batch(run_id, None).await.unwrap();
        batch.push(&Record::at(Timestamp::clamped(time_ms))).await.unwrap();
        batch.commit().await.unwrap();
    }

    async fn is_whole(store: &Store) -> bool {
        let verified = store.maintenance().verify(false, |_| ()).await.unwrap();
        (verified.problems, verified.records) == (0, 1)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_pass_that_stood_still_for_hours_commits_nothing_that_was_swept() {
        let opened = opened().await;
        due_run(&opened).await;
        let Opened { store, clock, .. } = &opened;
        let mut pass = store.maintenance().claim_due_runs().await.unwrap().unwrap();
        let Ok((merged, files)) = pass.merge_runs().await else { panic!("not merged") };
        clock.0.fetch_add(7 * 3_600_000, Ordering::Relaxed);
        store.maintenance().sweep().await.unwrap();
        assert!(store.core().objects().head(&files[0].object_key).await.is_err(), "another node has swept it");
        assert_eq!(pass.commit(&merged, &files).await.unwrap_err().kind(), ErrorKind::Conflict);
        assert!(is_whole(store).await);
        assert_eq!(store.maintenance().seal().await.unwrap().runs, 1);
        clock.0.fetch_add(7 * 3_600_000, Ordering::Relaxed);
        store.maintenance().sweep().await.unwrap();
        assert!(is_whole(store).await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_pass_from_which_another_has_taken_over_commits_nothing() {
        let opened = opened().await;
        due_run(&opened).await;
        let Opened { store, clock, .. } = &opened;
        let mut slow = store.maintenance().claim_due_runs().await.unwrap().unwrap();
        let Ok((merged, files)) = slow.merge_runs().await else { panic!("not merged") };
        clock.0.fetch_add(limits::SEAL_LEASE_MS + 1, Ordering::Relaxed);
        let mut quick = store.maintenance().claim_due_runs().await.unwrap().unwrap();
        assert_eq!(slow.commit(&merged, &files).await.unwrap().runs, 0, "even before the other one has done anything");
        let Ok((merged, files)) = quick.merge_runs().await else { panic!("not merged") };
        assert_eq!(quick.commit(&merged, &files).await.unwrap().runs, 1);
        clock.0.fetch_add(7 * 3_600_000, Ordering::Relaxed);
        store.maintenance().sweep().await.unwrap();
        assert!(is_whole(store).await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_log_that_has_grown_since_it_was_seen_is_not_deleted() {
        let opened = opened().await;
        let run_id = due_run(&opened).await;
        let store = &opened.store;
        let seen = crate::maintain::delete::LogSnapshot { epoch: 0, records: 1 };
        push(store, run_id, 8).await;
        assert_eq!(store.maintenance().delete_log_if(run_id, Some(seen)).await.unwrap(), None);
        let seen = crate::maintain::delete::LogSnapshot { epoch: 0, records: 2 };
        assert_eq!(store.maintenance().delete_log_if(run_id, Some(seen)).await.unwrap().unwrap().records, 2);
        push(store, run_id, 9).await;
        push(store, run_id, 9).await;
        assert_eq!(store.maintenance().delete_log_if(run_id, Some(seen)).await.unwrap(), None, "that is another log");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn objects_of_a_deleted_log_that_a_process_left_behind_are_swept() {
        let Opened { store, _folder, .. } = opened().await;
        let key = Path::from("segments/2026/11/27/left.parquet");
        store.core().put_object(&key, Bytes::from_static(b"left")).await.unwrap();
        for gone in [&key, &Path::from("segments/2026/11/27/gone.parquet")] {
            sqlx::query("INSERT INTO deletions (object_key, bytes) VALUES ($1, 4)")
                .bind(gone.as_ref())
                .execute(store.core().catalog().write())
                .await
                .unwrap();
        }
        store.maintenance().sweep().await.unwrap();
        assert!(store.core().objects().head(&key).await.is_err());
        let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM deletions")
            .fetch_one(store.core().catalog().read())
            .await
            .unwrap();
        assert_eq!(left, 0);
    }
}
