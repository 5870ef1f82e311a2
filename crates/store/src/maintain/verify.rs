//! Verification: all data to which the catalog refers is read, counted and compared.

use std::collections::{HashMap, HashSet};

use az::SaturatingAs;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use runlog_model::record::SeverityCounts;
use runlog_model::{RunId, Severity, hex, planted};
use sha2::{Digest, Sha256};
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;
use tracing::warn;

use crate::catalog::sql::Sql;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::log::slices::{SLICE_COLUMNS, Slice, log_state};
use crate::maintain::maintenance::Maintenance;
use crate::objects::intents::Abandoned;
use crate::objects::keys;
use crate::objects::read_error::{listed, read_error};
use crate::parts::{Components, Plans};
use crate::segment::reader::SegmentFile;
use crate::tables::run_locks::lock_runs;
use crate::tables::runs::LogState;
use crate::tables::runs::RunRow;
use crate::tables::summaries::SummaryRow;
use crate::tables::{component_metrics, problems};

/// The maximum number of problems that are described; all problems are counted.
const PROBLEMS_SHOWN_MAX: usize = 1_000;

/// The result of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Number of objects that were read and hashed.
    pub objects: u64,
    /// Number of their bytes.
    pub bytes: u64,
    /// Number of runs whose records were counted.
    pub runs: u64,
    /// Number of their records.
    pub records: u64,
    /// Number of page files that were read and compared.
    pub pages: u64,
    /// Number of orphaned objects: no row refers to them, and they are too old to be still in the process of being
    /// written.
    pub orphans: u64,
    /// Number of bytes of these objects.
    pub orphan_bytes: u64,
    /// Number of differences between the catalog and the objects, not counting orphans.
    pub problems: u64,
    /// Number of problems and orphans that were repaired.
    pub repaired: u64,
    /// Number of records that were restored from objects to which no row referred.
    pub records_restored: u64,
    /// The descriptions of the first thousand problems.
    pub problem_texts: Vec<String>,
    /// Number of notes: runs that could not be repaired, with the reason, and records of writers that ended before they
    /// committed. Such records were never acknowledged, unless an older catalog has been restored since.
    pub notes: u64,
    /// The first thousand notes.
    pub note_texts: Vec<String>,
}

/// The progress of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyProgress {
    /// This many objects were hashed.
    Objects(u64),
    /// This many runs were counted.
    Runs(u64),
    /// This many objects were looked up in the catalog.
    Looked(u64),
}

/// The catalog row of an object with records.
#[derive(FromRow)]
pub(crate) struct ObjectRow {
    pub(crate) id: String,
    pub(crate) object_key: String,
    pub(crate) bytes: i64,
    records: i64,
    pub(crate) sha256: String,
    damaged_at: Option<i64>,
}

/// A summary, and the version of the log of the run.
#[derive(FromRow)]
struct SummaryOfRun {
    #[sqlx(flatten)]
    summary: SummaryRow,
    run_epoch: Option<i64>,
    run_records: Option<i64>,
}

/// The counted contents of the slices of a run.
#[derive(Default)]
struct SliceCounts {
    records: u64,
    severities: SeverityCounts,
    /// A bit set of the arrival numbers that were found.
    arrivals: Vec<u64>,
    problems: Vec<String>,
}

impl VerifyReport {
    pub(crate) fn problem(&mut self, text: String) {
        self.problems += 1;
        if self.problem_texts.len() < PROBLEMS_SHOWN_MAX {
            self.problem_texts.push(text);
        }
    }

    pub(crate) fn note(&mut self, text: String) {
        self.notes += 1;
        if self.note_texts.len() < PROBLEMS_SHOWN_MAX {
            self.note_texts.push(text);
        }
    }
}

impl Maintenance {
    /// Reads and compares all data to which the catalog refers, and searches for records to which no row refers.
    ///
    /// With `repair`, restores records that are missing in their logs, rewrites logs with damaged objects if other
    /// objects contain the same records, removes orphans and the rows of missing or damaged page files, which are
    /// rebuilt on request, and corrects severity counts. Never alters or duplicates a record.
    pub async fn verify(&self, repair: bool, progress: impl FnMut(VerifyProgress) + Send) -> Result<VerifyReport> {
        self.verify_beside(None, repair, progress).await
    }

    /// Like [`verify`](Self::verify) with `repair`, and restores damaged objects and logs from a copy of the archive.
    pub async fn repair_from(&self, copy: &Self, progress: impl FnMut(VerifyProgress) + Send) -> Result<VerifyReport> {
        self.verify_beside(Some(copy), true, progress).await
    }

    async fn verify_beside(
        &self,
        copy: Option<&Self>,
        repair: bool,
        mut progress: impl FnMut(VerifyProgress) + Send,
    ) -> Result<VerifyReport> {
        let mut verified = VerifyReport::default();
        self.verify_objects(copy, repair, &mut verified, &mut progress).await?;
        self.verify_runs(repair, &mut verified, &mut progress).await?;
        self.verify_pages(repair, &mut verified).await?;
        self.verify_summaries(repair, &mut verified).await?;
        self.verify_components(repair, &mut verified).await?;
        self.verify_plans(&mut verified).await?;
        self.verify_tables(repair, &mut verified).await?;
        self.find_orphans(repair, &mut verified, &mut progress).await?;
        Ok(verified)
    }

    async fn verify_objects(
        &self,
        copy: Option<&Self>,
        repair: bool,
        verified: &mut VerifyReport,
        progress: &mut (impl FnMut(VerifyProgress) + Send),
    ) -> Result<()> {
        let (mut after, mut replaced) = (String::new(), None);
        loop {
            let rows: Vec<ObjectRow> = sqlx::query_as(
                "SELECT id, object_key, bytes, records, sha256, damaged_at FROM segments WHERE id > $1 ORDER BY id LIMIT 200",
            )
            .bind(&after)
            .fetch_all(self.core.catalog().read())
            .await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after.clone_from(&last.id);
            for row in rows {
                let problem = self.find_object_damage(&row).await?;
                if row.damaged_at.is_some() != problem.is_some() {
                    self.record_verification(&row.object_key, problem.is_none()).await?;
                }
                if let Some(problem) = problem {
                    // A segment that was swept since its row was read is not a problem.
                    if self.is_named(&row.object_key).await? {
                        verified.problem(format!("object {}: {problem}", row.object_key));
                        if repair && self.repair_object(&row, copy, &mut replaced, verified).await? {
                            verified.repaired += 1;
                        }
                    }
                }
                verified.objects += 1;
                verified.bytes += row.bytes.saturating_as::<u64>();
                progress(VerifyProgress::Objects(verified.objects));
            }
        }
    }

    pub(crate) async fn find_object_damage(&self, row: &ObjectRow) -> Result<Option<String>> {
        let object = match self.core.objects().get(&Path::from(row.object_key.as_str())).await {
            Ok(object) => object,
            Err(object_store::Error::NotFound { .. }) if planted::is("verify-overlooks-lost-objects") => {
                return Ok(None);
            }
            Err(object_store::Error::NotFound { .. }) => return Ok(Some("it is missing".to_owned())),
            Err(error) => return self.unreadable(error).await,
        };
        let (mut stream, mut digest, mut bytes) = (object.into_stream(), Sha256::new(), 0_u64);
        loop {
            match stream.try_next().await {
                Ok(Some(chunk)) => {
                    digest.update(&chunk);
                    bytes += chunk.len() as u64;
                }
                Ok(None) => break,
                Err(error) => return self.unreadable(error).await,
            }
        }
        if bytes != row.bytes.saturating_as::<u64>() {
            return Ok(Some(format!("it has {bytes} bytes where the catalog says {}", row.bytes)));
        }
        if !row.sha256.is_empty() && hex::encode(digest.finalize()) != row.sha256 {
            return Ok(Some("content does not match its checksum".to_owned()));
        }
        match SegmentFile::open(self.core.segments(), &row.object_key, bytes).await {
            Ok(file) if file.rows() == row.records.saturating_as::<usize>() => Ok(None),
            Ok(file) => Ok(Some(format!("it has {} rows where the catalog says {}", file.rows(), row.records))),
            Err(error) => Ok(Some(format!("it cannot be read: {}", error.with_causes()))),
        }
    }

    /// Returns the description of a read error that is caused by the object; fails if the object store is unavailable.
    async fn unreadable(&self, error: object_store::Error) -> Result<Option<String>> {
        match read_error(self.core.objects(), error).await {
            error if error.kind() == ErrorKind::Corrupt => Ok(Some(error.with_causes())),
            error => Err(error),
        }
    }

    async fn is_named(&self, object_key: &str) -> Result<bool> {
        let named: Option<i64> = sqlx::query_scalar("SELECT CAST(1 AS BIGINT) FROM segments WHERE object_key = $1")
            .bind(object_key)
            .fetch_optional(self.core.catalog().read())
            .await?;
        Ok(named.is_some())
    }

    async fn verify_runs(
        &self,
        repair: bool,
        verified: &mut VerifyReport,
        progress: &mut (impl FnMut(VerifyProgress) + Send),
    ) -> Result<()> {
        let mut after = String::new();
        loop {
            let ids: Vec<String> =
                sqlx::query_scalar("SELECT id FROM runs WHERE id > $1 AND records > 0 ORDER BY id LIMIT 500")
                    .bind(&after)
                    .fetch_all(self.core.catalog().read())
                    .await?;
            let Some(last) = ids.last() else { return Ok(()) };
            after.clone_from(last);
            for id in ids {
                self.verify_run(&id, repair, verified).await?;
                verified.runs += 1;
                progress(VerifyProgress::Runs(verified.runs));
            }
        }
    }

    async fn verify_run(&self, id: &str, repair: bool, verified: &mut VerifyReport) -> Result<()> {
        let run_id: RunId = id.parse().map_err(|_| Error::corrupt("the id of a run does not decode"))?;
        loop {
            let row: Option<RunRow> = sqlx::query_as("SELECT * FROM runs WHERE id = $1")
                .bind(id)
                .fetch_optional(self.core.catalog().read())
                .await?;
            let Some(row) = row else { return Ok(()) };
            let state = row.log_state();
            let run = row.into_run()?;
            let slices: Vec<Slice> = sqlx::query_as(AssertSqlSafe(format!(
                "SELECT {SLICE_COLUMNS} FROM slices s JOIN segments g ON g.id = s.segment_id
                 WHERE s.run_id = $1 AND s.first_arrival < $2 ORDER BY s.first_arrival"
            )))
            .bind(id)
            .bind(run.records.saturating_as::<i64>())
            .fetch_all(self.core.catalog().read())
            .await?;
            let mut counted = SliceCounts {
                arrivals: vec![0; run.records.saturating_as::<usize>().div_ceil(64)],
                ..SliceCounts::default()
            };
            for slice in &slices {
                if let Err(error) = self.count_slice(run_id, slice, run.records, &mut counted).await {
                    counted.problems.push(format!("rows in {}: {}", slice.object_key, error.with_causes()));
                }
            }
            match log_state(&self.core, run_id, state).await {
                Ok(now) if now == state => {}
                // The log was sealed or deleted in the meantime, so the slices that were read belong to different
                // states.
                _ => continue,
            }
            let seen: u64 = counted.arrivals.iter().map(|bits| u64::from(bits.count_ones())).sum();
            verified.records += counted.records;
            for problem in counted.problems {
                verified.problem(format!("run {id}: {problem}"));
            }
            if counted.records != run.records || seen != run.records {
                verified.problem(format!(
                    "run {id}: has {} records ({seen} distinct), but the catalog counts {}",
                    counted.records, run.records
                ));
            } else if counted.severities != run.severities {
                let is_of_earlier = is_counted_by_fewer_words(&run.severities, &counted.severities);
                if !is_of_earlier {
                    verified.problem(format!("run {id}: its records by severity are not as the catalog counts them"));
                }
                if repair && self.repair_severities(run_id, state, &counted.severities).await? && !is_of_earlier {
                    verified.repaired += 1;
                }
            }
            return Ok(());
        }
    }

    async fn count_slice(&self, run_id: RunId, slice: &Slice, records: u64, counted: &mut SliceCounts) -> Result<()> {
        let file =
            SegmentFile::open(self.core.segments(), &slice.object_key, slice.segment_bytes.saturating_as::<u64>())
                .await?;
        let rows = slice.first_row.saturating_as::<usize>()..(slice.first_row + slice.records).saturating_as::<usize>();
        let run_ids = file.run_ids(rows.clone()).await?;
        let own = run_id.to_string();
        if !run_ids.iter().all(|id| id == Some(own.as_str())) {
            counted.problems.push(format!("rows {rows:?} of {} are of another run", slice.object_key));
        }
        let keys = file.read_keys(rows.clone()).await?;
        let positions: Vec<(i64, i64)> = keys
            .times
            .iter()
            .zip(&keys.arrivals)
            .map(|(time, arrival)| (*time, slice.arrival_base() + arrival))
            .collect();
        let (first, last) = (positions.first().map(|it| it.0), positions.last().map(|it| it.0));
        let arrivals = || positions.iter().map(|(_, arrival)| *arrival);
        let is_as_named = positions.is_sorted()
            && (first, last) == (Some(slice.first_time), Some(slice.last_time))
            && (arrivals().min(), arrivals().max()) == (Some(slice.first_arrival), Some(slice.last_arrival));
        if !is_as_named {
            counted.problems.push(format!("rows {rows:?} of {} are not as the catalog names them", slice.object_key));
        }
        for arrival in arrivals().filter(|arrival| (*arrival).saturating_as::<u64>() < records) {
            let (word, bit) = (arrival.saturating_as::<usize>() / 64, arrival.saturating_as::<usize>() % 64);
            counted.arrivals[word] |= 1 << bit;
        }
        for start in rows.clone().step_by(limits::CHUNK_RECORDS) {
            let chunk = start..(start + limits::CHUNK_RECORDS).min(rows.end);
            let values = file.read_values(chunk.clone()).await?;
            for row in 0..chunk.len() {
                counted.severities.add(Severity::of(values.severity.text(row)));
            }
        }
        counted.records += slice.records.saturating_as::<u64>();
        Ok(())
    }

    async fn repair_severities(&self, run_id: RunId, state: LogState, counts: &SeverityCounts) -> Result<bool> {
        let counts_now = counts.as_array().map(|count| count.saturating_as::<i64>());
        let done = sqlx::query(
            "UPDATE runs SET severity_other = $4, severity_trace = $5, severity_debug = $6, severity_info = $7,
                    severity_warn = $8, severity_error = $9, severity_fatal = $10
             WHERE id = $1 AND log_epoch = $2 AND records = $3",
        )
        .bind(run_id.to_string())
        .bind(state.log_epoch)
        .bind(counts.total().saturating_as::<i64>())
        .bind(counts_now[0])
        .bind(counts_now[1])
        .bind(counts_now[2])
        .bind(counts_now[3])
        .bind(counts_now[4])
        .bind(counts_now[5])
        .bind(counts_now[6])
        .execute(self.core.catalog().write())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    async fn verify_pages(&self, repair: bool, verified: &mut VerifyReport) -> Result<()> {
        let mut after = String::new();
        loop {
            let pages: Vec<String> = sqlx::query_scalar(
                "SELECT key FROM page_files WHERE built_at IS NOT NULL AND key > $1 ORDER BY key LIMIT 500",
            )
            .bind(&after)
            .fetch_all(self.core.catalog().read())
            .await?;
            let Some(last) = pages.last() else { return Ok(()) };
            after.clone_from(last);
            for key in pages {
                verified.pages += 1;
                let Some(problem) = self.pages().find_page_damage(&key).await? else { continue };
                verified.problem(problem);
                if repair {
                    self.pages().rebuild_page(&key).await?;
                    verified.repaired += 1;
                }
            }
        }
    }

    /// Checks the summaries. With `repair`, removes those that cannot be decoded or whose log no longer exists, so that
    /// they are created again.
    async fn verify_summaries(&self, repair: bool, verified: &mut VerifyReport) -> Result<()> {
        let mut after = String::new();
        loop {
            // One statement reads both, so that a concurrently deleted log is seen either with its summary or without
            // log and summary.
            let summaries: Vec<SummaryOfRun> = sqlx::query_as(
                "SELECT s.*, r.log_epoch AS run_epoch, r.records AS run_records
                 FROM summaries s LEFT JOIN runs r ON r.id = s.run_id WHERE s.run_id > $1 ORDER BY s.run_id LIMIT 100",
            )
            .bind(&after)
            .fetch_all(self.core.catalog().read())
            .await?;
            let Some(last) = summaries.last() else { return Ok(()) };
            after = last.summary.run_id().to_owned();
            for SummaryOfRun { summary, run_epoch, run_records } in summaries {
                let run = summary.run_id().to_owned();
                let problem = match summary.into_stored() {
                    Err(error) => error.with_causes(),
                    Ok(kept) if run_epoch == Some(kept.log.epoch.saturating_as::<i64>()) && run_records > Some(0) => {
                        continue;
                    }
                    Ok(_) => format!("the summary of run {run} belongs to a deleted log"),
                };
                verified.problem(problem);
                if repair {
                    self.remove_summary(&run).await?;
                    verified.repaired += 1;
                }
            }
        }
    }

    /// Verifies that component metrics are as they were written. They cannot be recomputed: with `repair`, only metrics
    /// of deleted logs are removed.
    async fn verify_components(&self, repair: bool, verified: &mut VerifyReport) -> Result<()> {
        let components = Components::new(&self.core);
        let mut after = String::new();
        loop {
            let runs: Vec<(String, i64)> = sqlx::query_as(
                "SELECT c.run_id, CAST(CASE WHEN r.log_epoch = c.log_epoch THEN 1 ELSE 0 END AS BIGINT)
                 FROM component_runs c JOIN runs r ON r.id = c.run_id WHERE c.run_id > $1 ORDER BY c.run_id LIMIT 500",
            )
            .bind(&after)
            .fetch_all(self.core.catalog().read())
            .await?;
            let Some((last, _)) = runs.last() else { return Ok(()) };
            after.clone_from(last);
            for (run, is_current) in runs {
                if is_current == 0 {
                    verified.problem(format!("the component metrics of run {run} belong to a deleted log"));
                    if repair {
                        self.remove_stale_components(&run).await?;
                        verified.repaired += 1;
                    }
                } else if let Some(problem) = components.find_damage(&run).await? {
                    verified.problem(problem);
                }
            }
        }
    }

    /// Verifies that reports of plan executions are as they were written. They cannot be recomputed.
    async fn verify_plans(&self, verified: &mut VerifyReport) -> Result<()> {
        let plans = Plans::new(&self.core);
        let mut after = String::new();
        loop {
            let ids: Vec<String> = sqlx::query_scalar(
                "SELECT execution_id FROM reported_plans WHERE execution_id > $1 ORDER BY execution_id LIMIT 500",
            )
            .bind(&after)
            .fetch_all(self.core.catalog().read())
            .await?;
            let Some(last) = ids.last() else { return Ok(()) };
            after.clone_from(last);
            for id in ids {
                if let Some(problem) = plans.find_damage(&id).await? {
                    verified.problem(problem);
                }
            }
        }
    }

    async fn remove_stale_components(&self, run: &str) -> Result<()> {
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                lock_runs(&self.core, &mut transaction, [run.to_owned()]).await?;
                let stale: Option<i64> = sqlx::query_scalar(
                    "SELECT c.log_epoch FROM component_runs c JOIN runs r ON r.id = c.run_id
                     WHERE c.run_id = $1 AND r.log_epoch <> c.log_epoch",
                )
                .bind(run)
                .fetch_optional(&mut *transaction)
                .await?;
                if stale.is_some() {
                    component_metrics::remove(&mut transaction, run).await?;
                }
                transaction.commit().await
            })
            .await
    }

    async fn remove_summary(&self, run: &str) -> Result<()> {
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                lock_runs(&self.core, &mut transaction, [run.to_owned()]).await?;
                for statement in ["DELETE FROM summaries WHERE run_id = $1", "DELETE FROM problems WHERE run_id = $1"] {
                    sqlx::query(statement).bind(run).execute(&mut *transaction).await?;
                }
                problems::remove_runs(&mut transaction, &[run.to_owned()], self.core.now()).await?;
                sqlx::query("UPDATE runs SET summarize_at = $2 WHERE id = $1 AND records > 0")
                    .bind(run)
                    .bind(self.core.now().as_millis())
                    .execute(&mut *transaction)
                    .await?;
                transaction.commit().await
            })
            .await
    }

    async fn find_orphans(
        &self,
        repair: bool,
        verified: &mut VerifyReport,
        progress: &mut (impl FnMut(VerifyProgress) + Send),
    ) -> Result<()> {
        let mut looked = 0;
        for folder in keys::FOLDERS {
            let mut objects = listed(self.core.objects(), &Path::from(folder)).try_chunks(limits::OBJECT_LOOKUP_BATCH);
            while let Some(some) = objects.try_next().await.map_err(|stopped| stopped.1)? {
                looked += some.len() as u64;
                progress(VerifyProgress::Looked(looked));
                let mut abandoned = match [keys::SEGMENTS, keys::SEALED].contains(&folder) {
                    true => self.core.intents().abandoned(some.iter().map(|it| it.location.to_string())).await?,
                    false => HashMap::new(),
                };
                // An abandoned sealed file contains only records that also exist in their logs, so it is ignored unless
                // the catalog has lost changes.
                abandoned.retain(|_, kind| folder == keys::SEGMENTS || *kind == Abandoned::Suspected);
                for object in self.unreferenced(some, &abandoned).await? {
                    match abandoned.get(object.location.as_ref()) {
                        Some(kind) => self.verify_abandoned(&object, *kind, repair, verified).await?,
                        None => self.verify_orphan(&object, folder, repair, verified).await?,
                    }
                }
            }
        }
        Ok(())
    }

    async fn verify_orphan(
        &self,
        object: &ObjectMeta,
        folder: &str,
        repair: bool,
        verified: &mut VerifyReport,
    ) -> Result<()> {
        let has_no_records = [keys::PAGES, keys::LAKE].contains(&folder);
        let may_go = has_no_records || self.verify_unreferenced(object, repair, verified).await?;
        if !may_go || !self.is_left_behind(object) {
            return Ok(());
        }
        verified.orphans += 1;
        verified.orphan_bytes += object.size;
        if repair {
            match self.remove_orphan(&object.location).await? {
                None => verified.repaired += 1,
                Some(error) => warn!(%error, object.key = %object.location, "an orphan cannot be removed"),
            }
        }
        Ok(())
    }

    /// Reports the records of an abandoned object, which has an intent but whose writer has ended, if they are missing
    /// in their logs. Records that were never acknowledged are reported as notes and not as problems, unless the
    /// catalog has lost changes.
    async fn verify_abandoned(
        &self,
        object: &ObjectMeta,
        kind: Abandoned,
        repair: bool,
        verified: &mut VerifyReport,
    ) -> Result<()> {
        let mut found = VerifyReport::default();
        let may_go = self.verify_unreferenced(object, repair, &mut found).await?;
        verified.records_restored += found.records_restored;
        for text in found.problem_texts {
            match kind {
                Abandoned::Suspected => verified.problem(text),
                Abandoned::Old => verified.note(format!("{text}: probably never acknowledged")),
            }
        }
        if kind == Abandoned::Suspected {
            verified.repaired += found.repaired;
            if repair && may_go {
                self.core.intents().cancel(std::slice::from_ref(&object.location)).await?;
            }
        }
        Ok(())
    }

    /// Returns the objects to which neither a row nor an intent refers, and which are so old that no writer of an
    /// earlier version, which records no intents, can still be writing them.
    pub(crate) async fn orphans(&self, mut objects: Vec<ObjectMeta>) -> Result<Vec<ObjectMeta>> {
        objects.retain(|object| self.is_left_behind(object));
        self.unreferenced(objects, &HashMap::new()).await
    }

    fn is_left_behind(&self, object: &ObjectMeta) -> bool {
        let before = self.core.now().as_millis() - limits::ORPHAN_AGE_MS;
        object.last_modified.timestamp_millis() <= before || planted::is("sweep-without-age")
    }

    /// Returns the objects to which neither a row nor an intent refers, and which are not being deleted. Intents of
    /// abandoned objects are ignored. Objects being deleted are excluded because, between the commit that deletes a log
    /// and the removal of its objects, their records are in no log but are not missing.
    async fn unreferenced(
        &self,
        mut objects: Vec<ObjectMeta>,
        abandoned: &HashMap<String, Abandoned>,
    ) -> Result<Vec<ObjectMeta>> {
        if objects.is_empty() {
            return Ok(objects);
        }
        let keys = || objects.iter().map(|object| object.location.to_string());
        let intents = if planted::is("sweep-without-age") { "deletions" } else { "intents" };
        let mut query = Sql::new("SELECT object_key FROM segments WHERE object_key IN (");
        for table in ["page_files", "lake_objects", "deletions"] {
            query.push_list(keys()).push(format!(") UNION ALL SELECT object_key FROM {table} WHERE object_key IN ("));
        }
        query.push_list(keys()).push(")");
        let held: Vec<String> = keys().filter(|key| !abandoned.contains_key(key)).collect();
        if !held.is_empty() {
            query
                .push(format!(" UNION ALL SELECT object_key FROM {intents} WHERE object_key IN ("))
                .push_list(held)
                .push(")");
        }
        let named: Vec<String> = query.build_query_scalar().fetch_all(self.core.catalog().read()).await?;
        let named: HashSet<String> = named.into_iter().collect();
        objects.retain(|object| !named.contains(object.location.as_ref()));
        Ok(objects)
    }
}

/// Returns true for counts of an earlier version, which did not recognise severities of other loggers, such as
/// `WARNING`.
fn is_counted_by_fewer_words(known: &SeverityCounts, counted: &SeverityCounts) -> bool {
    let severities = Severity::ALL.into_iter().filter(|severity| *severity != Severity::Other);
    known.total() == counted.total() && severities.into_iter().all(|it| known.of(it) <= counted.of(it))
}
