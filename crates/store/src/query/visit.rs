//! Visits: the records of many runs are passed to visitors, which aggregate them; no record is kept.
//!
//! Like a scan, a visit reads only objects that the catalog cannot rule out, only their row groups with the words that
//! the messages must contain, and only the columns that are needed. Each visitor is used by one reader, and there are
//! as many of them as processors.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{RecordBatch, TimestampMillisecondArray};
use futures::{StreamExt, TryStreamExt, stream};
use parquet::arrow::arrow_reader::{ArrowPredicate, RowFilter};
use runlog_model::{RunId, Severity, TaskId, TimeRange, WorkspaceId};
use tokio::sync::Mutex as AsyncMutex;

use crate::core::Core;
use crate::error::Result;
use crate::limits;
use crate::parts::Query;
use crate::query::scan::plan::{Planner, Unit};
use crate::query::scan::read::{UnitRuns, ViewedRows, contains, predicate, rows_together};
use crate::query::scan::request::{RecordView, ScanColumn, ScanFilter, ScanRun};
use crate::segment::reader::SegmentFile;
use crate::segment::values::{TextColumn, column};
use crate::segment::word_index::NeededWords;

/// Selects the records to visit and the fields to read. An absent condition does not restrict the selection.
#[derive(Debug, Clone, Default)]
pub struct VisitQuery {
    /// Records of runs of these workspaces.
    pub workspace_ids: Option<Vec<WorkspaceId>>,
    /// Records of these tasks.
    pub task_ids: Option<Vec<TaskId>>,
    /// Records of these runs.
    pub run_ids: Option<Vec<RunId>>,
    /// Records of these severities.
    pub severities: Option<Vec<Severity>>,
    /// Records in this range of time.
    pub range: TimeRange,
    /// Texts that messages contain, with exact case.
    pub message_parts: Vec<String>,
    /// Texts that messages contain in some case. They only narrow down what is read; the visitor decides.
    pub caseless_parts: Vec<String>,
    /// The fields that the visitors use, in addition to the run and the time.
    pub columns: Vec<ScanColumn>,
}

/// Receives the records of a visit.
pub trait RecordVisitor: Send + 'static {
    /// Returns false for runs whose logs need not be read.
    fn wants_run(&self, run: &ScanRun<'_>) -> bool;

    /// Processes a record; `Break` ends the visit.
    fn visit(&mut self, record: &RecordView<'_>) -> ControlFlow<()>;
}

/// The result of a visit.
#[derive(Debug)]
pub struct VisitOutcome<V> {
    /// The visitors, in no particular order.
    pub visitors: Vec<V>,
    /// Records that were read, or left out because the index of their file says that none of them matches.
    pub records: u64,
    /// Bytes of messages that were read.
    pub bytes: u64,
}

/// The shared state of all readers of a visit.
struct Shared {
    core: Core,
    query: VisitQuery,
    words: NeededWords,
    planner: AsyncMutex<Planner>,
    is_ended: AtomicBool,
    records: AtomicU64,
    bytes: AtomicU64,
}

impl Query {
    /// Passes each matching record to one of several visitors, in no particular order.
    pub async fn visit<V: RecordVisitor>(
        &self,
        query: VisitQuery,
        new_visitor: impl Fn() -> V,
    ) -> Result<VisitOutcome<V>> {
        let mut words = NeededWords::default();
        let parts = query.message_parts.iter().chain(&query.caseless_parts);
        parts.for_each(|part| words.extend(NeededWords::of(part, false)));
        let filter = ScanFilter {
            workspace_ids: query.workspace_ids.clone(),
            task_ids: query.task_ids.clone(),
            run_ids: query.run_ids.clone(),
            range: query.range,
            severities: None,
            message_parts: Vec::new(),
        };
        let shared = Arc::new(Shared {
            core: self.core.clone(),
            planner: AsyncMutex::new(Planner::new(&self.core, filter)),
            query,
            words,
            is_ended: AtomicBool::new(false),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        let readers = self.core.cpu().processors();
        let jobs = (0..readers).map(|_| read_share(Arc::clone(&shared), new_visitor()));
        let visitors = stream::iter(jobs).buffer_unordered(readers).try_collect().await?;
        let (records, bytes) = (shared.records.load(Ordering::Relaxed), shared.bytes.load(Ordering::Relaxed));
        Ok(VisitOutcome { visitors, records, bytes })
    }
}

/// Reads units until there are no more.
async fn read_share<V: RecordVisitor>(shared: Arc<Shared>, visitor: V) -> Result<V> {
    let visitor = Arc::new(Mutex::new(visitor));
    while !shared.is_ended.load(Ordering::Relaxed) {
        let Some(mut unit) = shared.planner.lock().await.next_unit().await? else { break };
        {
            let visitor = visitor.lock().unwrap_or_else(PoisonError::into_inner);
            unit.slices.retain(|slice| visitor.wants_run(&slice.run.as_scan_run()));
        }
        if shared.core.now().millis_since(unit.planned_at) > limits::SCAN_CHECK_MS {
            unit.without_deleted(&shared.core).await?;
        }
        if let Err(error) = read_unit(&shared, &unit, &visitor).await {
            // The log may have been deleted in the meantime.
            unit.without_deleted(&shared.core).await?;
            if !unit.slices.is_empty() {
                return Err(unit.lost(error));
            }
        }
    }
    match Arc::try_unwrap(visitor) {
        Ok(visitor) => Ok(visitor.into_inner().unwrap_or_else(PoisonError::into_inner)),
        // The last task has returned, so no other reference exists.
        Err(_) => Err(crate::error::Error::corrupt("a visitor is still in use after its visit")),
    }
}

async fn read_unit<V: RecordVisitor>(shared: &Arc<Shared>, unit: &Unit, visitor: &Arc<Mutex<V>>) -> Result<()> {
    let Some(mut rows) = rows_together(&unit.slices) else { return Ok(()) };
    let file = SegmentFile::open(shared.core.segments(), &unit.object_key, unit.object_bytes).await?;
    shared.records.fetch_add(unit.slices.iter().map(|slice| slice.records as u64).sum(), Ordering::Relaxed);
    if !shared.words.is_empty()
        && let Some(groups) = file.row_groups_with(&shared.words).await?
    {
        rows = file.rows_in(&groups, rows);
    }
    if rows.is_empty() {
        return Ok(());
    }
    let runs = Arc::new(UnitRuns::of(&unit.slices));
    let mut columns = vec!["time"];
    let named = shared.query.columns.iter().filter(|column| !column.is_of_run() && **column != ScanColumn::Time);
    columns.extend(named.map(|column| column.name()));
    if runs.runs.len() > 1 {
        columns.push("run_id");
    }
    let filter = row_filter(&file, &shared.query, unit);
    let mut batches = file.rows_of(rows, &columns, filter)?;
    loop {
        let (runs, visitor, of_all) = (Arc::clone(&runs), Arc::clone(visitor), Arc::clone(shared));
        let next = batches.next(move |batch| {
            let mut visitor = visitor.lock().unwrap_or_else(PoisonError::into_inner);
            visit_rows(&batch, &runs, &mut *visitor, &of_all)
        });
        match next.await? {
            Some(ControlFlow::Continue(())) if !shared.is_ended.load(Ordering::Relaxed) => {}
            _ => return Ok(()),
        }
    }
}

fn visit_rows(
    batch: &RecordBatch,
    runs: &UnitRuns,
    visitor: &mut impl RecordVisitor,
    shared: &Shared,
) -> Result<ControlFlow<()>> {
    let rows = ViewedRows::of(batch, runs)?;
    shared.bytes.fetch_add(rows.message_bytes(), Ordering::Relaxed);
    for (row, run) in runs.run_of_each_row(batch)?.into_iter().enumerate() {
        if visitor.visit(&rows.view(row, run as usize)).is_break() {
            shared.is_ended.store(true, Ordering::Relaxed);
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn row_filter(file: &SegmentFile, query: &VisitQuery, unit: &Unit) -> Option<RowFilter> {
    let mut predicates: Vec<Box<dyn ArrowPredicate>> = Vec::new();
    let range = query.range;
    if !unit.slices.iter().all(|slice| range.contains(slice.first_time) && range.contains(slice.last_time)) {
        predicates.push(predicate(file, "time", move |batch| {
            let times = column::<TimestampMillisecondArray>(batch, "time")?;
            Ok(times.values().iter().map(|ms| Some(range.contains(*ms))).collect())
        }));
    }
    if let Some(severities) = query.severities.clone() {
        predicates.push(predicate(file, "severity", move |batch| {
            let texts = TextColumn::of(batch, "severity")?;
            Ok((0..batch.num_rows()).map(|row| Some(severities.contains(&Severity::of(texts.text(row))))).collect())
        }));
    }
    predicates.extend(query.message_parts.iter().map(|part| contains(file, part)));
    (!predicates.is_empty()).then(|| RowFilter::new(predicates))
}
