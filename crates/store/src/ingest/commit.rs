//! Group commit: batches that arrive at the same time are stored in one object and one transaction.
//!
//! A commit mostly waits for the disk, so one commit takes all batches that have arrived. Several groups may be
//! committed concurrently; the catalog orders them. The memory of waiting batches is bounded: when it is used up, new
//! batches fail with `Busy`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use az::SaturatingAs;
use object_store::path::Path;
use runlog_model::record::SeverityCounts;
use runlog_model::wire::push::StoredBatch;
use runlog_model::{RunId, RunStatus, planted};
use sqlx_macros::FromRow;
use tokio::sync::oneshot;

use crate::catalog::sql::{Connection, Sql};
use crate::catalog::transaction::WriteTransaction;
use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::ingest::queue::{BatchKey, CommitQueue, QueuedBatch, WaitingBatch};
use crate::ingest::segment_writer::{NewSegment, SegmentWriter};
use crate::log::slices::share_of_bytes;
use crate::objects::intents;
use crate::parts::{Deliveries, Runs};
use crate::segment::columns::RecordColumns;
use crate::tables::runs::no_such_run;
use crate::{failpoint, limits};

/// Stores records: begins batches, and commits concurrent ones together. Clones share the memory and the queue.
#[derive(Clone)]
pub struct Ingest {
    pub(crate) core: Core,
    queue: Arc<CommitQueue>,
}

impl Ingest {
    pub(crate) fn new(core: Core, queue: Arc<CommitQueue>) -> Self {
        Self { core, queue }
    }

    pub(crate) fn runs(&self) -> Runs {
        Runs::new(&self.core)
    }

    pub(crate) fn queue(&self) -> &Arc<CommitQueue> {
        &self.queue
    }
}

/// The additions of a transaction to a run.
#[derive(Debug, Default)]
struct RunAddition {
    records: u64,
    severities: SeverityCounts,
    batches: Vec<BatchKey>,
    /// Add only if the log has this many records.
    after: Option<u64>,
}

/// The result of a transaction.
enum Attempt {
    Done,
    /// Nothing was written, because a part cannot be written.
    Refused(Refusal),
    /// Nothing was written, because the segments had been swept.
    Swept,
}

/// The parts of a transaction that cannot be written.
#[derive(Debug, Default)]
struct Refusal {
    /// Runs that do not exist.
    missing: BTreeSet<RunId>,
    /// Runs whose logs have a different number of records than expected.
    changed: BTreeSet<RunId>,
    /// Batches that are stored already.
    stored: HashMap<(RunId, String), BatchRow>,
}

#[derive(FromRow)]
struct StoredBatchRow {
    run_id: String,
    batch_id: String,
    digest: String,
    records: i64,
}

#[derive(FromRow)]
struct RunCounts {
    id: String,
    status: String,
    records: i64,
    final_since: Option<i64>,
}

/// A stored batch.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct BatchRow {
    pub(crate) digest: String,
    pub(crate) records: i64,
}

impl Ingest {
    /// Returns the batches that are already stored, by run and id.
    pub(crate) async fn stored_before(&self, named: &[(RunId, String)]) -> Result<HashMap<(RunId, String), BatchRow>> {
        let mut stored = HashMap::new();
        for some in named.chunks(limits::GROUP_BATCHES_MAX) {
            let Some(query) = select_batches(some.iter().map(|(run_id, id)| (*run_id, id.as_str()))) else {
                break;
            };
            let rows: Vec<StoredBatchRow> = query.build_query_as().fetch_all(self.core.catalog().read_quick()).await?;
            stored.extend(read_stored_batches(rows)?);
        }
        Ok(stored)
    }

    /// Stores a batch together with concurrent ones.
    pub(crate) async fn commit_batch(&self, part: QueuedBatch) -> Result<StoredBatch> {
        part.reservation.mark_received();
        let ingest = self.clone();
        let stored = self.queue().groups.submit(part, async move { ingest.commit_group().await }).await;
        stored.unwrap_or_else(|| Err(Error::new(ErrorKind::Unavailable, "the archive is being closed")))
    }

    /// Stores a batch whose segments are written.
    pub(crate) async fn commit_segments(
        &self,
        segments: SegmentWriter,
        run_id: RunId,
        batch: Option<BatchKey>,
        after: Option<u64>,
        severities: SeverityCounts,
    ) -> Result<StoredBatch> {
        let records = segments.segments.iter().map(|segment| segment.records as u64).sum();
        let addition = RunAddition { records, severities, batches: batch.clone().into_iter().collect(), after };
        match self.attempt(&segments.segments, &BTreeMap::from([(run_id, addition)])).await {
            Ok(Attempt::Done) => Ok(StoredBatch { stored: records, repeated: false }),
            Ok(Attempt::Swept) => {
                segments.remove().await;
                Err(intents::swept())
            }
            Ok(Attempt::Refused(refusal)) => {
                segments.remove().await;
                let answer = refusal.of(run_id, batch.as_ref(), after);
                answer.unwrap_or_else(|| Err(no_such_run(run_id))).map(|(stored, _)| stored)
            }
            // The transaction may have been committed, so the objects are kept; the sweep removes them if it was not.
            Err(error) => Err(error),
        }
    }

    /// Commits one group of waiting batches.
    async fn commit_group(&self) {
        let Some(_turn) = self.queue().groups.turn().await else { return };
        if self.queue().expects_more_batches() {
            tokio::time::sleep(Duration::from_millis(limits::GROUP_WAIT_MS)).await;
        }
        let group = self.queue().take_group();
        if !group.is_empty() {
            self.commit_batches(group).await;
        }
    }

    /// Commits batches, and retries without those that are found to be stored already.
    async fn commit_batches(&self, group: Vec<WaitingBatch>) {
        let mut parts: Vec<QueuedBatch> = Vec::with_capacity(group.len());
        let mut waiters: Vec<oneshot::Sender<_>> = Vec::with_capacity(group.len());
        // The same batch over two connections at the same time: the first is stored, and the other gets the same
        // answer.
        let mut named: HashMap<(RunId, String), usize> = HashMap::new();
        let mut twins: Vec<(usize, RunId, BatchKey, oneshot::Sender<_>)> = Vec::new();
        // Of two batches that require the same state of a log, only the first can be stored.
        let mut changed: BTreeSet<RunId> = BTreeSet::new();
        for (part, waiter) in group {
            if part.after.is_some() && !changed.insert(part.run_id) {
                let _ = waiter.send(Err(log_changed(part.run_id)));
                continue;
            }
            let key = part.batch.as_ref().map(|batch| (part.run_id, batch.id.clone()));
            match (key.as_ref().and_then(|key| named.get(key)), &part.batch) {
                (Some(first), Some(batch)) => twins.push((*first, part.run_id, batch.clone(), waiter)),
                _ => {
                    named.extend(key.map(|key| (key, parts.len())));
                    parts.push(part);
                    waiters.push(waiter);
                }
            }
        }
        let outcomes = self.store_batches(parts).await;
        for (first, run_id, twin, waiter) in twins {
            let outcome = match &outcomes[first] {
                Ok((stored, digest)) => {
                    let row = BatchRow { digest: digest.clone(), records: stored.stored.saturating_as::<i64>() };
                    row.repeated(run_id, Some(&twin))
                }
                Err(error) => Err(error.clone()),
            };
            let _ = waiter.send(outcome);
        }
        for (waiter, outcome) in waiters.into_iter().zip(outcomes) {
            // The caller may have stopped waiting.
            let _ = waiter.send(outcome.map(|(stored, _)| stored));
        }
    }

    /// Stores each batch; returns the answers with the digests of what is stored, in the order of the batches.
    async fn store_batches(&self, parts: Vec<QueuedBatch>) -> Vec<Result<(StoredBatch, String)>> {
        let mut outcomes: Vec<Option<Result<(StoredBatch, String)>>> = parts.iter().map(|_| None).collect();
        loop {
            let left: Vec<usize> = (0..parts.len()).filter(|index| outcomes[*index].is_none()).collect();
            if left.is_empty() {
                break;
            }
            match self.store_once(&parts, &left).await {
                Ok(Attempt::Done) => {
                    for index in left {
                        let part = &parts[index];
                        let digest = part.batch.as_ref().map(|batch| batch.digest.clone()).unwrap_or_default();
                        let stored = StoredBatch { stored: part.severities.total(), repeated: false };
                        outcomes[index] = Some(Ok((stored, digest)));
                    }
                }
                Ok(Attempt::Refused(refusal)) => {
                    for index in left {
                        let part = &parts[index];
                        outcomes[index] = refusal.of(part.run_id, part.batch.as_ref(), part.after);
                    }
                }
                Ok(Attempt::Swept) => {
                    for index in left {
                        outcomes[index] = Some(Err(intents::swept()));
                    }
                }
                Err(error) => {
                    for index in left {
                        outcomes[index] = Some(Err(error.clone()));
                    }
                }
            }
        }
        outcomes.into_iter().flatten().collect()
    }

    async fn store_once(&self, parts: &[QueuedBatch], left: &[usize]) -> Result<Attempt> {
        let mut by_run: BTreeMap<RunId, (Vec<Arc<RecordColumns>>, RunAddition)> = BTreeMap::new();
        for index in left {
            let part = &parts[*index];
            let (records, addition) = by_run.entry(part.run_id).or_default();
            addition.records += part.records.times.len() as u64;
            addition.severities.add_all(&part.severities);
            addition.batches.extend(part.batch.clone());
            addition.after = addition.after.or(part.after);
            if !part.records.times.is_empty() {
                records.push(Arc::clone(&part.records));
            }
        }
        let (mut additions, mut records) = (BTreeMap::new(), Vec::new());
        for (run_id, (run_records, addition)) in by_run {
            additions.insert(run_id, addition);
            if !run_records.is_empty() {
                records.push((run_id, run_records));
            }
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let mut segments = SegmentWriter::new(&self.core);
            if !records.is_empty() {
                segments.write(records.clone(), None).await?;
                segments.settle().await?;
            }
            match self.attempt(&segments.segments, &additions).await? {
                Attempt::Done => return Ok(Attempt::Done),
                refused @ Attempt::Refused(_) => {
                    segments.remove().await;
                    return Ok(refused);
                }
                // The machine was suspended in between. The records are still in memory.
                Attempt::Swept => {
                    segments.remove().await;
                    self.core.intents().discard_unused_intents().await;
                }
            }
            if tries >= limits::WRITE_ATTEMPTS_MAX {
                return Ok(Attempt::Swept);
            }
        }
    }

    async fn attempt(&self, segments: &[NewSegment], additions: &BTreeMap<RunId, RunAddition>) -> Result<Attempt> {
        self.core.transact(|transaction| self.attempt_in(transaction, segments, additions)).await
    }

    async fn attempt_in(
        &self,
        mut transaction: WriteTransaction,
        segments: &[NewSegment],
        additions: &BTreeMap<RunId, RunAddition>,
    ) -> Result<Attempt> {
        // Batches of a run are counted one after another, regardless of the node that commits them; all transactions
        // lock runs in the same order.
        let runs = self.lock_runs(&mut transaction, additions.keys()).await?;
        let mut refusal = Refusal { stored: stored_batches(&mut transaction, additions).await?, ..Refusal::default() };
        for (run_id, addition) in additions {
            match runs.get(run_id) {
                None => _ = refusal.missing.insert(*run_id),
                Some(run) if addition.after.is_some_and(|after| after != run.records.saturating_as::<u64>()) => {
                    refusal.changed.insert(*run_id);
                }
                Some(_) => {}
            }
        }
        if !refusal.is_empty() {
            return Ok(Attempt::Refused(refusal));
        }
        let object_keys: Vec<&Path> = segments.iter().map(|segment| &segment.object_key).collect();
        if !intents::fulfil(&mut transaction, &object_keys).await? {
            return Ok(Attempt::Swept);
        }
        let now = self.core.now().as_millis();
        if !planted::is("batch-id-not-kept") {
            insert_batches(&mut transaction, additions, now).await?;
        }
        insert_segments(&mut transaction, segments, now).await?;
        insert_slices(&mut transaction, segments, &runs).await?;
        self.add_to_runs(&mut transaction, additions, &runs, segments).await?;
        failpoint::reach("commit-before-rows");
        if planted::is("acknowledged-before-commit") {
            tokio::spawn(transaction.commit());
            return Ok(Attempt::Done);
        }
        transaction.commit().await?;
        failpoint::reach("commit-after-rows");
        Ok(Attempt::Done)
    }

    async fn lock_runs(
        &self,
        connection: &mut Connection,
        ids: impl Iterator<Item = &RunId>,
    ) -> Result<HashMap<RunId, RunCounts>> {
        let mut locking = Sql::new("SELECT id, status, records, final_since FROM runs WHERE id IN (");
        let lock = if planted::is("runs-not-locked") { "" } else { self.core.catalog().for_update() };
        locking.push_list(ids.map(RunId::to_string)).push(") ORDER BY id").push(lock);
        let rows: Vec<RunCounts> = locking.build_query_as().fetch_all(&mut *connection).await?;
        rows.into_iter()
            .map(|row| {
                let id = row.id.parse().map_err(|_| Error::corrupt("the id of a run does not decode"))?;
                Ok((id, row))
            })
            .collect()
    }

    async fn add_to_runs(
        &self,
        connection: &mut Connection,
        additions: &BTreeMap<RunId, RunAddition>,
        runs: &HashMap<RunId, RunCounts>,
        segments: &[NewSegment],
    ) -> Result<()> {
        let now = self.core.shared_now();
        // Rounded up to a day, so that the index entry of the row does not change with every batch.
        let seal_idle_at = (now.plus_millis(limits::IDLE_SEAL_MS).as_millis() / limits::DAY_MS + 1) * limits::DAY_MS;
        let seal_ended_at = now.plus_millis(self.core.settings().settle_ms).as_millis();
        // The size of the rows of each run, and the time of the first one.
        let mut rows_of: HashMap<RunId, (i64, i64)> = HashMap::new();
        for (segment, rows) in segments.iter().flat_map(|it| it.runs.iter().map(move |rows| (it, rows))) {
            let bytes = share_of_bytes(
                segment.bytes.saturating_as::<i64>(),
                rows.records.saturating_as::<i64>(),
                segment.records.saturating_as::<i64>(),
            );
            let known = rows_of.entry(rows.run_id).or_insert((0, rows.first_time));
            *known = (known.0 + bytes, known.1.min(rows.first_time));
        }
        let mut updating = Sql::new(
            "WITH added (id, records, bytes, severity_other, severity_trace, severity_debug, severity_info,
                    severity_warn, severity_error, severity_fatal, seal_at) AS (VALUES ",
        );
        for (index, (run_id, addition)) in additions.iter().enumerate() {
            let run = &runs[run_id];
            let rows = rows_of.get(run_id).copied();
            if let Some((_, first_time)) = rows.filter(|_| run.status == RunStatus::Dispatching.as_str()) {
                set_start(connection, *run_id, first_time).await?;
            }
            let seal_at = if run.final_since.is_some() { seal_ended_at } else { seal_idle_at };
            let seal_at = (!planted::is("late-records-not-sealed")).then_some(seal_at);
            let counts = addition.severities.as_array().map(|count| count.saturating_as::<i64>());
            updating.push(if index == 0 { "(" } else { ", (" }).push_bind(run_id.to_string());
            updating.push_next(addition.records.saturating_as::<i64>()).push_next(rows.map_or(0, |(bytes, _)| bytes));
            updating.push(", ").push_list(counts);
            updating.push(", CAST(").push_bind(seal_at).push(" AS BIGINT))");
        }
        updating.push(
            ") UPDATE runs SET records = runs.records + added.records, stored_bytes = stored_bytes + added.bytes,
                    severity_other = runs.severity_other + added.severity_other,
                    severity_trace = runs.severity_trace + added.severity_trace,
                    severity_debug = runs.severity_debug + added.severity_debug,
                    severity_info = runs.severity_info + added.severity_info,
                    severity_warn = runs.severity_warn + added.severity_warn,
                    severity_error = runs.severity_error + added.severity_error,
                    severity_fatal = runs.severity_fatal + added.severity_fatal,
                    seal_at = CASE WHEN added.records > 0 AND (runs.seal_at IS NULL OR runs.seal_at > ",
        );
        // A due run stays due: a deleted log remains in its object until the other logs in it are sealed, regardless of
        // how often records are pushed to one of them.
        updating.push_bind(now.as_millis());
        updating.push(") THEN added.seal_at ELSE runs.seal_at END, last_record_stored_at = ");
        updating.push_bind(now.as_millis()).push(" FROM added WHERE runs.id = added.id");
        updating.build_query().execute(&mut *connection).await?;
        for (run_id, addition) in additions {
            let is_late = runs[run_id].final_since.is_some() && addition.records > 0;
            if is_late && !planted::is("late-records-not-delivered") {
                Deliveries::new(&self.core).reopen(connection, *run_id).await?;
            }
        }
        Ok(())
    }
}

impl BatchRow {
    /// Returns the answer to a repeated batch with this key.
    pub(crate) fn repeated(&self, run_id: RunId, name: Option<&BatchKey>) -> Result<StoredBatch> {
        match name {
            Some(name) if name.digest != self.digest => {
                let id = &name.id;
                let message =
                    format!("batch {id:?} of run {run_id} was stored before with other records: use a new id");
                Err(Error::conflict(message))
            }
            _ => Ok(StoredBatch { stored: self.records.saturating_as::<u64>(), repeated: true }),
        }
    }
}

impl Refusal {
    fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.changed.is_empty() && self.stored.is_empty()
    }

    /// Returns the result of the refusal for a batch, with the digest of the stored batch; `None` if the batch itself
    /// could be written.
    fn of(&self, run_id: RunId, batch: Option<&BatchKey>, after: Option<u64>) -> Option<Result<(StoredBatch, String)>> {
        if self.missing.contains(&run_id) {
            return Some(Err(no_such_run(run_id)));
        }
        if after.is_some() && self.changed.contains(&run_id) {
            return Some(Err(log_changed(run_id)));
        }
        let before = self.stored.get(&(run_id, batch?.id.clone()))?;
        Some(before.repeated(run_id, batch).map(|answer| (answer, before.digest.clone())))
    }
}

fn log_changed(run_id: RunId) -> Error {
    Error::conflict(format!("the log of run {run_id} has other records by now"))
}

/// Records that a dispatched run has started, at the time of its first records, unless its start is known.
async fn set_start(connection: &mut Connection, run_id: RunId, first_time: i64) -> Result<()> {
    sqlx::query(
        "UPDATE runs SET execution_status = $2, status = $3, started_at = COALESCE(started_at, $4) WHERE id = $1",
    )
    .bind(run_id.to_string())
    .bind(RunStatus::Executing.detailed().as_str())
    .bind(RunStatus::Executing.as_str())
    .bind(first_time)
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// Returns the batches that are already stored.
async fn stored_batches(
    connection: &mut Connection,
    additions: &BTreeMap<RunId, RunAddition>,
) -> Result<HashMap<(RunId, String), BatchRow>> {
    let named =
        additions.iter().flat_map(|(run_id, addition)| addition.batches.iter().map(|batch| (*run_id, &*batch.id)));
    let Some(query) = select_batches(named) else { return Ok(HashMap::new()) };
    read_stored_batches(query.build_query_as().fetch_all(connection).await?)
}

/// Selects batches by run and id; `None` without batches.
fn select_batches<'b>(named: impl Iterator<Item = (RunId, &'b str)>) -> Option<Sql> {
    let mut query =
        Sql::new("SELECT run_id, batch_id, digest, records FROM batches WHERE (run_id, batch_id) IN (VALUES ");
    let mut count = 0;
    for (run_id, batch_id) in named {
        query.push(if count == 0 { "(" } else { ", (" });
        query.push_bind(run_id.to_string()).push_next(batch_id.to_owned()).push(")");
        count += 1;
    }
    query.push(")");
    (count > 0).then_some(query)
}

fn read_stored_batches(rows: Vec<StoredBatchRow>) -> Result<HashMap<(RunId, String), BatchRow>> {
    rows.into_iter()
        .map(|row| {
            let run_id = row.run_id.parse().map_err(|_| Error::corrupt("the run of a batch does not decode"))?;
            Ok(((run_id, row.batch_id), BatchRow { digest: row.digest, records: row.records }))
        })
        .collect()
}

async fn insert_batches(connection: &mut Connection, additions: &BTreeMap<RunId, RunAddition>, now: i64) -> Result<()> {
    let mut inserting = Sql::new("INSERT INTO batches (run_id, batch_id, digest, records, stored_at) VALUES ");
    let mut count = 0;
    for (run_id, addition) in additions {
        for batch in &addition.batches {
            inserting.push(if count == 0 { "(" } else { ", (" });
            inserting.push_bind(run_id.to_string()).push(", ").push_bind(batch.id.clone()).push(", ");
            inserting
                .push_bind(batch.digest.clone())
                .push(", ")
                .push_bind(batch.records.saturating_as::<i64>())
                .push(", ");
            inserting.push_bind(now).push(")");
            count += 1;
        }
    }
    if count > 0 {
        inserting.build_query().execute(&mut *connection).await?;
    }
    Ok(())
}

pub(crate) async fn insert_segments(connection: &mut Connection, segments: &[NewSegment], now: i64) -> Result<()> {
    for segment in segments {
        sqlx::query(
            "INSERT INTO segments (id, object_key, bytes, records, created_at, sha256, checks)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&segment.id)
        .bind(segment.object_key.as_ref())
        .bind(segment.bytes.saturating_as::<i64>())
        .bind(segment.records.saturating_as::<i64>())
        .bind(now)
        .bind(&segment.sha256)
        .bind(&segment.checks)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn insert_slices(
    connection: &mut Connection,
    segments: &[NewSegment],
    runs: &HashMap<RunId, RunCounts>,
) -> Result<()> {
    let mut arrivals: HashMap<RunId, i64> = runs.iter().map(|(id, run)| (*id, run.records)).collect();
    let slices: Vec<_> =
        segments.iter().flat_map(|segment| segment.runs.iter().map(move |rows| (segment, rows))).collect();
    for some in slices.chunks(limits::GROUP_BATCHES_MAX) {
        let mut inserting = Sql::new(
            "INSERT INTO slices (run_id, segment_id, first_row, records, first_arrival, last_arrival, first_time,
                    last_time) VALUES ",
        );
        for (index, (segment, rows)) in some.iter().enumerate() {
            let first_arrival = arrivals.entry(rows.run_id).or_default();
            inserting.push(if index == 0 { "(" } else { ", (" });
            inserting.push_bind(rows.run_id.to_string()).push(", ").push_bind(segment.id.clone()).push(", ");
            let numbers = [
                rows.first_row.saturating_as::<i64>(),
                rows.records.saturating_as::<i64>(),
                *first_arrival,
                *first_arrival + rows.records.saturating_as::<i64>() - 1,
                rows.first_time,
                rows.last_time,
            ];
            inserting.push_list(numbers).push(")");
            *first_arrival += rows.records.saturating_as::<i64>();
        }
        inserting.build_query().execute(&mut *connection).await?;
    }
    Ok(())
}
