//! Rewriting of a log that is damaged or incomplete, from other objects with the same records: the segments that its
//! sealed files have replaced, as long as they exist, or those of a copy of the archive.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use az::SaturatingAs;
use runlog_model::{RunId, TimeRange};
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;

use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::log::merge::Merge;
use crate::log::slices::{SLICE_COLUMNS, Scope, Slice};
use crate::maintain::maintenance::Maintenance;
use crate::maintain::seal::commit::Merged;
use crate::maintain::seal::files::{NewSlice, SealedFiles};
use crate::maintain::seal::pass::Pass;
use crate::maintain::seal::plan::{DueRun, Plan, deepest_overlap};
use crate::maintain::unreferenced_objects::runs_of;
use crate::segment::reader::SegmentFile;
use crate::tables::runs::LogState;

/// The segments that sealed files have replaced, with the rows of each run in them.
pub(crate) struct ReplacedSegments {
    /// The segments in the order in which they were stored.
    segments: Vec<ReplacedSegment>,
    /// For each run, in the same order: the index of the segment, and the rows.
    of_runs: HashMap<String, Vec<(usize, Range<usize>)>>,
}

#[derive(FromRow)]
struct ReplacedSegment {
    id: String,
    object_key: String,
    bytes: i64,
    records: i64,
    created_at: i64,
}

/// The slices that contain all records of a log.
struct Source {
    core: Core,
    state: LogState,
    slices: Vec<Slice>,
}

impl Maintenance {
    /// Rewrites the log of a run. Returns the reason if no source contains all of its records.
    pub(crate) async fn rebuild_log(
        &self,
        run_id: RunId,
        replaced: &[Slice],
        copy: Option<&Self>,
    ) -> Result<Result<(), String>> {
        let Some((run, token)) = self.claim_run(run_id).await? else {
            return Ok(Err("it is being sealed; verify again later".to_owned()));
        };
        let plan = self.plan_rebuilding(&run, run_id).await?;
        let mut pass = Pass { maintenance: self.clone(), token, runs: vec![run], renewed_at: self.core.now() };
        let source = match self.source_of(&pass.runs[0], replaced, copy).await {
            Ok(Ok(source)) => source,
            other => {
                pass.release().await?;
                return Ok(other?.map(drop));
            }
        };
        let outcome = pass.rebuild(plan, source).await;
        if outcome.is_err() {
            pass.release().await?;
        }
        match outcome {
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Conflict) => {
                Ok(Err(error.with_causes()))
            }
            outcome => outcome.map(Ok),
        }
    }

    /// Claims a run like a sealing pass does. Returns the run with the token of the claim.
    async fn claim_run(&self, run_id: RunId) -> Result<Option<(DueRun, String)>> {
        let (token, now) = (self.core.random().uuid().to_string(), self.core.catalog_now().await?);
        let run: Option<DueRun> = sqlx::query_as(
            "UPDATE runs SET seal_claimed_until = $2, seal_claimed_by = $3 WHERE id = $1 AND seal_claimed_until < $4
             RETURNING id, records, log_epoch, log_version, workspace_id, task_id, status, seal_failures,
                       CAST(COALESCE(seal_at, 0) AS BIGINT) AS seal_at",
        )
        .bind(run_id.to_string())
        .bind(now.plus_millis(limits::SEAL_LEASE_MS).as_millis())
        .bind(&token)
        .bind(now.as_millis())
        .fetch_optional(self.core.catalog().write())
        .await?;
        Ok(run.map(|run| (run, token)))
    }

    /// Returns the plan that replaces all slices of a run.
    async fn plan_rebuilding(&self, run: &DueRun, run_id: RunId) -> Result<Plan> {
        Ok(Plan {
            run_id,
            state: LogState { log_epoch: run.log_epoch, log_version: run.log_version },
            records: run.records,
            seal_at: run.seal_at,
            slices: slices_of(&self.core, &run.id).await?,
            barriers: VecDeque::new(),
            is_sealed: true,
            is_last: true,
        })
    }

    async fn source_of(&self, run: &DueRun, replaced: &[Slice], copy: Option<&Self>) -> Result<Result<Source, String>> {
        let is_complete = |slices: &[Slice]| slices.iter().map(|slice| slice.records).sum::<i64>() == run.records;
        // If the log was deleted and stored again, the replaced slices may belong to the earlier log.
        if run.log_epoch == 0 && is_complete(replaced) && deepest_overlap(replaced).is_none() {
            let state = LogState { log_epoch: run.log_epoch, log_version: run.log_version };
            return Ok(Ok(Source { core: self.core.clone(), state, slices: replaced.to_vec() }));
        }
        let Some(copy) = copy else {
            return Ok(Err("no other object here has all of its records; restore it with --from".to_owned()));
        };
        let there: Option<(i64, i64, i64)> =
            sqlx::query_as("SELECT log_epoch, log_version, records FROM runs WHERE id = $1")
                .bind(&run.id)
                .fetch_optional(copy.core.catalog().read())
                .await?;
        let Some((log_epoch, log_version, records)) = there else {
            return Ok(Err("the copy does not have this run".to_owned()));
        };
        if (log_epoch, records) != (run.log_epoch, run.records) {
            return Ok(Err(format!("the copy has {records} of its {} records, or another log", run.records)));
        }
        let slices = slices_of(&copy.core, &run.id).await?;
        if deepest_overlap(&slices).is_some() {
            return Ok(Err("the copy has too many parts of it: run `runlog archive summarize` on the copy".to_owned()));
        }
        Ok(Ok(Source { core: copy.core.clone(), state: LogState { log_epoch, log_version }, slices }))
    }

    /// Lists the replaced segments, and reads which runs they contain.
    pub(crate) async fn replaced_segments(&self) -> Result<ReplacedSegments> {
        let mut replaced = ReplacedSegments {
            segments: sqlx::query_as(
                "SELECT id, object_key, bytes, records, created_at FROM segments
                 WHERE replaced_at IS NOT NULL AND merged = 0 AND damaged_at IS NULL ORDER BY created_at, id",
            )
            .fetch_all(self.core.catalog().read())
            .await?,
            of_runs: HashMap::new(),
        };
        for (index, segment) in replaced.segments.iter().enumerate() {
            // Segments that are damaged as well, or were swept, are skipped.
            let Some(file) = readable(segment.open(&self.core).await)? else { continue };
            let Some(runs) = readable(runs_of(&file).await)? else { continue };
            for (run, rows) in runs {
                replaced.of_runs.entry(run).or_default().push((index, rows));
            }
        }
        Ok(replaced)
    }

    /// Returns the slices of a run in replaced segments other than the damaged one, in the order in which they were
    /// stored. Returns none if that order is not known because several segments were committed at the same time.
    pub(crate) async fn replaced_slices(
        &self,
        replaced: &ReplacedSegments,
        run: &str,
        damaged: &str,
    ) -> Result<Vec<Slice>> {
        let (mut slices, mut stored_at, mut first_arrival) = (Vec::new(), None, 0);
        for (index, rows) in replaced.of_runs.get(run).into_iter().flatten() {
            let segment = &replaced.segments[*index];
            if segment.id == damaged {
                continue;
            }
            if stored_at.replace(segment.created_at) == Some(segment.created_at) {
                return Ok(Vec::new());
            }
            let Some(file) = readable(segment.open(&self.core).await)? else { continue };
            let Some(keys) = readable(file.read_keys(rows.clone()).await)? else { continue };
            let (Some(first_time), Some(last_time)) = (keys.times.first(), keys.times.last()) else { continue };
            let count = rows.len().saturating_as::<i64>();
            slices.push(Slice {
                segment_id: segment.id.clone(),
                object_key: segment.object_key.clone(),
                segment_bytes: segment.bytes,
                segment_records: segment.records,
                merged: 0,
                first_row: rows.start.saturating_as::<i64>(),
                records: count,
                first_arrival,
                last_arrival: first_arrival + count - 1,
                first_time: *first_time,
                last_time: *last_time,
            });
            first_arrival += count;
        }
        Ok(slices)
    }
}

impl ReplacedSegment {
    async fn open(&self, core: &Core) -> Result<SegmentFile> {
        SegmentFile::open(core.segments(), &self.object_key, self.bytes.saturating_as::<u64>()).await
    }
}

/// Returns `None` if the object is damaged, and an error if it cannot be read at the moment.
fn readable<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
        Err(_) => Ok(None),
    }
}

impl Pass {
    /// Replaces all slices of the run by slices of new files with the records of a source.
    async fn rebuild(&mut self, plan: Plan, source: Source) -> Result<()> {
        let mut files = SealedFiles::new(&self.maintenance);
        match self.write_log(&mut files, &plan, source).await {
            Ok(slices) => {
                let merged = Merged { runs: vec![(plan, slices)], files: files.done };
                let report = merged.commit(&self.maintenance, &self.token).await?;
                match report.runs {
                    0 => Err(Error::conflict("its log was changed meanwhile; verify again")),
                    _ => Ok(()),
                }
            }
            Err(error) => {
                files.abandon().await;
                Err(error)
            }
        }
    }

    async fn write_log(&mut self, files: &mut SealedFiles, plan: &Plan, source: Source) -> Result<Vec<NewSlice>> {
        files.begin_run(self.run_columns(0).await?).await?;
        let scope = Scope { run_id: plan.run_id, range: TimeRange::ALL, arrivals: i64::MAX, state: source.state };
        let merge = Merge::of_slices(&source.core, scope, source.slices);
        let slices = self.write_merged(files, plan, merge).await?;
        files.end_file().await?;
        Ok(slices)
    }
}

async fn slices_of(core: &Core, run_id: &str) -> Result<Vec<Slice>> {
    let slices = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT {SLICE_COLUMNS} FROM slices s JOIN segments g ON g.id = s.segment_id WHERE s.run_id = $1"
    )))
    .bind(run_id)
    .fetch_all(core.catalog().read())
    .await?;
    Ok(slices)
}
