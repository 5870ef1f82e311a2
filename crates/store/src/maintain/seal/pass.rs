//! Sealing passes: a pass leases runs, merges their slices and commits the result.

use az::SaturatingAs;
use runlog_model::{RunId, TimeRange, Timestamp, error_chain};
use sqlx::AssertSqlSafe;
use tracing::{debug, warn};

use crate::catalog::sql::{Sql, storable};
use crate::error::{Error, ErrorKind, Result};
use crate::log::merge::Merge;
use crate::log::slices::Scope;
use crate::maintain::maintenance::Maintenance;
use crate::maintain::seal::commit::{Merged, SealReport};
use crate::maintain::seal::files::{NewSlice, RunColumns, SealedFiles};
use crate::maintain::seal::plan::{DueRun, Plan};
use crate::{failpoint, limits};

/// A log that cannot be sealed because a part of it is lost or damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedLog {
    /// The run of the log.
    pub run_id: RunId,
    /// The error, with the object.
    pub problem: String,
    /// Consecutive failed attempts.
    pub failures: u64,
}

/// A sealing pass: runs that are leased to this node while it merges their slices.
pub(super) struct Pass {
    pub(super) maintenance: Maintenance,
    /// Identifies the pass in the catalog.
    pub(super) token: String,
    pub(super) runs: Vec<DueRun>,
    /// When the lease was last renewed.
    pub(super) renewed_at: Timestamp,
}

/// The failure of a merge.
pub(super) struct MergeFailure {
    pub(super) error: Error,
    /// The run that caused it, if known.
    pub(super) run: Option<usize>,
}

impl Maintenance {
    /// Merges the slices of runs that are due for sealing, as many runs as fit in a pass. The report is all zeros if no
    /// run is due.
    pub async fn seal(&self) -> Result<SealReport> {
        let Some(pass) = self.claim_due_runs().await? else { return Ok(SealReport::default()) };
        // The pass is finished even if the caller is cancelled.
        tokio::spawn(pass.seal()).await?
    }

    /// Returns the first `limit` logs that cannot be sealed because a part of them is lost or damaged, and the total
    /// number of these logs.
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

    /// Claims due runs, the longest due first: a few large runs or many small ones. A damaged run is claimed only if no
    /// other run is due.
    pub(super) async fn claim_due_runs(&self) -> Result<Option<Pass>> {
        let now = self.core.catalog_now().await?;
        let mut due: Vec<DueRun> = Vec::new();
        for (kind, limit) in [("seal_problem IS NULL", limits::SEAL_RUNS_MAX), ("seal_problem IS NOT NULL", 1)] {
            let listing = format!(
                "SELECT id, records, log_epoch, log_version, workspace_id, task_id, status, seal_failures, seal_at FROM runs
                 WHERE seal_at <= $1 AND seal_claimed_until < $1 AND {kind} ORDER BY seal_at LIMIT $2"
            );
            due = sqlx::query_as(AssertSqlSafe(listing))
                .bind(now.as_millis())
                .bind(limit)
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
        claiming.push_bind(now.plus_millis(limits::SEAL_LEASE_MS).as_millis());
        claiming.push(", seal_claimed_by = ").push_bind(token.clone());
        claiming.push(" WHERE id IN (SELECT id FROM runs WHERE id IN (").push_list(ids);
        // Runs may have been deleted or sealed since they were listed.
        claiming.push(") AND seal_at <= ").push_bind(now.as_millis());
        claiming.push(" AND seal_claimed_until < ").push_bind(now.as_millis()).push(" ORDER BY id");
        claiming.push(self.core.catalog().skip_locked());
        claiming.push(
            ") RETURNING id, records, log_epoch, log_version, workspace_id, task_id, status, seal_failures, seal_at",
        );
        let mut runs: Vec<DueRun> = claiming.build_query_as().fetch_all(self.core.catalog().write()).await?;
        match self.core.settings().lake {
            // A file contains runs of a single workspace, so the runs are grouped by workspace.
            true => runs.sort_by(|one, other| (&one.workspace_id, &one.id).cmp(&(&other.workspace_id, &other.id))),
            false => runs.sort_by(|one, other| one.id.cmp(&other.id)),
        }
        Ok((!runs.is_empty()).then(|| Pass { maintenance: self.clone(), token, runs, renewed_at: self.core.now() }))
    }
}

impl Pass {
    /// Merges and commits the runs. A damaged run is recorded and left out, and the pass continues with the others.
    pub(super) async fn seal(mut self) -> Result<SealReport> {
        while !self.runs.is_empty() {
            let merge_failure = match self.seal_runs().await {
                Ok(report) => return Ok(report),
                Err(merge_failure) => merge_failure,
            };
            if self.leave_out(&merge_failure).await? {
                continue;
            }
            self.release().await?;
            if merge_failure.error.kind() != ErrorKind::Conflict {
                return Err(merge_failure.error);
            }
            // Another pass has taken over the runs: the result of this pass is discarded.
            warn!(error = %merge_failure.error, "a sealing pass was abandoned");
            return Ok(SealReport::default());
        }
        Ok(SealReport::default())
    }

    /// Returns true if no other pass has taken over the runs of this pass, except the run with this index, which is not
    /// checked.
    async fn holds_all_but(&self, index: usize) -> Result<bool> {
        let others = self.runs.iter().enumerate().filter(|(other, _)| *other != index);
        let others: Vec<String> = others.map(|(_, run)| run.id.clone()).collect();
        if others.is_empty() {
            return Ok(true);
        }
        let count = others.len();
        let mut counting = Sql::new("SELECT COUNT(*) FROM runs WHERE seal_claimed_by = ");
        counting.push_bind(self.token.clone()).push(" AND id IN (").push_list(others).push(")");
        let held: i64 = counting.build_query_scalar().fetch_one(self.maintenance.core.catalog().read()).await?;
        Ok(held.saturating_as::<usize>() == count)
    }

    /// Leaves out the run that caused a merge to fail. Returns false if the cause is not known, or if another attempt
    /// without the run would fail as well.
    pub(super) async fn leave_out(&mut self, merge_failure: &MergeFailure) -> Result<bool> {
        let Some(index) = merge_failure.run else { return Ok(false) };
        // The objects may be missing because the log was deleted or merged in the meantime.
        let is_changed = !self.is_as_claimed(&self.runs[index]).await?;
        let is_of_run =
            merge_failure.error.kind() == ErrorKind::Corrupt || (is_changed && self.holds_all_but(index).await?);
        if !is_of_run {
            return Ok(false);
        }
        let run = self.runs.remove(index);
        match is_changed {
            true => {
                debug!(run.id = run.id, "a log was changed while it was merged");
                self.release_run(&run).await?;
            }
            false => self.record_damage(&run, &merge_failure.error).await?,
        }
        Ok(true)
    }

    pub(super) async fn seal_runs(&mut self) -> Result<SealReport, MergeFailure> {
        let merged = self.merge_runs().await?;
        failpoint::reach("seal-after-objects");
        merged.commit(&self.maintenance, &self.token).await.map_err(|error| MergeFailure { error, run: None })
    }

    /// Writes the files of the runs; no row refers to them yet.
    pub(super) async fn merge_runs(&mut self) -> Result<Merged, MergeFailure> {
        let mut files = SealedFiles::new(&self.maintenance);
        match self.merge_into(&mut files).await {
            Ok(merged) => match files.end_file().await {
                Ok(()) => Ok(Merged { runs: merged, files: files.done }),
                Err(error) => {
                    files.abandon().await;
                    Err(MergeFailure { error, run: None })
                }
            },
            Err(merge_failure) => {
                files.abandon().await;
                Err(merge_failure)
            }
        }
    }

    pub(super) async fn merge_into(
        &mut self,
        files: &mut SealedFiles,
    ) -> Result<Vec<(Plan, Vec<NewSlice>)>, MergeFailure> {
        let mut merged = Vec::with_capacity(self.runs.len());
        for index in 0..self.runs.len() {
            let at_run = |error| MergeFailure { error, run: Some(index) };
            let plan = self.maintenance.plan_sealing(&self.runs[index]).await.map_err(at_run)?;
            files.begin_run(self.run_columns(index).await.map_err(at_run)?).await.map_err(at_run)?;
            let slices = self.merge_run(files, &plan).await.map_err(at_run)?;
            merged.push((plan, slices));
        }
        Ok(merged)
    }

    /// Returns the values of the columns about a run in files for lakehouses.
    pub(super) async fn run_columns(&self, index: usize) -> Result<RunColumns> {
        let run = &self.runs[index];
        let task_name: Option<String> = match self.maintenance.core.settings().lake {
            true => {
                let naming = sqlx::query_scalar("SELECT name FROM tasks WHERE id = $1").bind(&run.task_id);
                naming.fetch_optional(self.maintenance.core.catalog().read()).await?
            }
            false => None,
        };
        Ok(RunColumns {
            run_id: run.id.clone(),
            workspace_id: run.workspace_id.clone(),
            task_id: run.task_id.clone(),
            task_name: task_name.unwrap_or_default(),
            status: run.status.clone(),
        })
    }

    pub(super) async fn merge_run(&mut self, files: &mut SealedFiles, plan: &Plan) -> Result<Vec<NewSlice>> {
        let scope = Scope { run_id: plan.run_id, range: TimeRange::ALL, arrivals: i64::MAX, state: plan.state };
        let merge = Merge::of_slices(&self.maintenance.core, scope, plan.slices.clone());
        self.write_merged(files, plan, merge).await
    }

    /// Writes the records of a run. Their number must match the records of the slices that are replaced.
    pub(super) async fn write_merged(
        &mut self,
        files: &mut SealedFiles,
        plan: &Plan,
        mut merge: Merge,
    ) -> Result<Vec<NewSlice>> {
        files.keep_barriers(plan.barriers.clone());
        while let Some(row_run) = merge.next().await? {
            files.add(row_run.read().await?).await?;
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

    /// Renews the lease if it was not renewed recently. `Conflict`: another pass holds the lease, or the files were
    /// swept.
    pub(super) async fn renew_if_old(&mut self, files: &mut SealedFiles) -> Result<()> {
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
            return Err(Error::conflict("the files of a sealing pass were swept because the pass stalled for hours"));
        }
        self.renewed_at = now;
        Ok(())
    }

    pub(super) async fn is_as_claimed(&self, run: &DueRun) -> Result<bool> {
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

    /// Releases the runs; their sealing is retried after a delay.
    pub(super) async fn release(&self) -> Result<()> {
        for run in &self.runs {
            self.release_run(run).await?;
        }
        Ok(())
    }

    async fn release_run(&self, run: &DueRun) -> Result<()> {
        let again_at = self.maintenance.core.catalog_now().await?.plus_millis(limits::SEAL_RETRY_MS);
        sqlx::query("UPDATE runs SET seal_claimed_until = $2 WHERE id = $1 AND seal_claimed_by = $3")
            .bind(&run.id)
            .bind(again_at.as_millis())
            .bind(&self.token)
            .execute(self.maintenance.core.catalog().write())
            .await?;
        Ok(())
    }

    /// Records that a log cannot be sealed. Sealing is retried with increasing delays, because the missing part may be
    /// restored.
    pub(super) async fn record_damage(&self, run: &DueRun, error: &Error) -> Result<()> {
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
}
