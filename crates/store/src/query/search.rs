//! Full-text search: records that contain a text, newest first, fast enough for search as you type.
//!
//! A search can also start at the oldest record. It then uses mirrored cursors, whose order is reversed
//! ([`SearchOrder::place`]). The comments below describe a search for the newest records.
//!
//! The catalog lists the slices that may hold such records, those that end last first. All processors read them in
//! rounds, first of few slices, then of more, and the search ends as soon as it has enough records and no remaining
//! slice can contain a newer one. A search for a rare text ends at its time limit: it then returns the records that it
//! has found and a cursor to continue from. The cursor is a position among the records, not among the slices, so slices
//! may be merged between two pages. In sealed files, only row groups with the words of the text are read (decision
//! 0013).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow_array::{Array, RecordBatch, StringArray, TimestampMillisecondArray};
use az::SaturatingAs;
use futures::{StreamExt, TryStreamExt, stream};
use parquet::arrow::arrow_reader::RowFilter;
use runlog_model::{RunId, RunStatus, Severity, TaskId, TimeRange, Timestamp, WorkspaceId};
use sqlx_macros::FromRow;
use tokio::time::Instant;
use tracing::warn;

use crate::catalog::filters::push_workspaces;
use crate::catalog::sql::Sql;
use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::parts::Query;
use crate::query::scan::plan::{PlannedRun, SliceRow, Unit, push_counted, push_run_conditions, units};
use crate::query::scan::read::{UnitRuns, ViewedRows, contains, predicate, rows_together};
use crate::query::scan::request::{RecordView, ScanFilter, ScanRun};
use crate::query::search_text::SearchText;
use crate::segment::reader::{RowReader, SegmentFile};
use crate::segment::term_list::RowGroups;
use crate::segment::values::{TextColumn, column};
use crate::segment::word_index::NeededWords;

/// A search. An absent field does not restrict it.
#[derive(Debug, Clone)]
pub struct SearchQuery {
    /// The text that messages must contain.
    pub text: SearchText,
    /// Records of runs of these workspaces.
    pub workspace_ids: Option<Vec<WorkspaceId>>,
    /// Records of these tasks.
    pub task_ids: Option<Vec<TaskId>>,
    /// Records of these runs.
    pub run_ids: Option<Vec<RunId>>,
    /// Records of runs with one of these statuses.
    pub statuses: Option<Vec<RunStatus>>,
    /// Records of these severities.
    pub severities: Option<Vec<Severity>>,
    /// Records of these components; an empty text stands for records without one.
    pub components: Option<Vec<String>>,
    /// Texts that messages contain, with exact case.
    pub message_parts: Vec<String>,
    /// Texts that messages contain in some case. They only narrow down what is read; `filter` decides.
    pub caseless_parts: Vec<String>,
    /// A further condition.
    pub filter: Option<Arc<dyn RecordFilter>>,
    /// Records in this range of time.
    pub range: TimeRange,
    /// The order of the records.
    pub order: SearchOrder,
    /// Records after this cursor, in this order.
    pub after: Option<SearchCursor>,
    /// Maximum number of records to return.
    pub limit: usize,
    /// Maximum length of all texts of the records that are found. Unit: bytes. A search that exceeds it fails.
    pub bytes_max: usize,
    /// Whether the filter, and the records that are found, have all fields and not only severity and message.
    pub all_fields: bool,
    /// The time after which to return the records that were found.
    pub time_max: Duration,
    /// The number of slices after which to return the records that were found; see [`limits::SEARCH_SLICES_MAX`].
    pub slices_max: i64,
}

impl SearchQuery {
    /// The newest records that contain a text, without any other condition.
    pub fn newest(text: SearchText, limit: usize, time_max: Duration) -> Self {
        Self {
            components: None,
            text,
            workspace_ids: None,
            task_ids: None,
            run_ids: None,
            statuses: None,
            severities: None,
            message_parts: Vec::new(),
            caseless_parts: Vec::new(),
            filter: None,
            range: TimeRange::ALL,
            order: SearchOrder::NewestFirst,
            after: None,
            limit,
            bytes_max: usize::MAX,
            all_fields: false,
            time_max,
            slices_max: limits::SEARCH_SLICES_MAX,
        }
    }
}

/// A condition on runs and records, in addition to the other conditions of a search.
pub trait RecordFilter: Send + Sync + std::fmt::Debug {
    /// Returns false for runs whose logs need not be read.
    fn wants_run(&self, run: &ScanRun<'_>) -> bool;

    /// Returns false if the part of a log with arrivals before `end` need not be read.
    fn wants_arrivals_before(&self, run: &ScanRun<'_>, end: i64) -> bool {
        let _ = (run, end);
        true
    }

    /// Returns true for the records that match.
    fn matches(&self, record: &RecordView<'_>) -> bool;
}

/// The order of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SearchOrder {
    /// Newest record first.
    #[default]
    NewestFirst,
    /// Oldest record first.
    OldestFirst,
}

impl SearchOrder {
    /// Converts a cursor to its place in a search, and a place to its cursor. A search always proceeds from the
    /// greatest place to the least.
    fn place(self, cursor: SearchCursor) -> SearchCursor {
        match self {
            Self::NewestFirst => cursor,
            Self::OldestFirst => {
                SearchCursor { time_ms: !cursor.time_ms, run_id: cursor.run_id.mirrored(), arrival: !cursor.arrival }
            }
        }
    }

    /// The time of the first place in a slice.
    fn first_time(self, slice: &SliceRow) -> i64 {
        match self {
            Self::NewestFirst => slice.last_time,
            Self::OldestFirst => !slice.first_time,
        }
    }
}

/// A position among all records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SearchCursor {
    /// Epoch milliseconds.
    pub time_ms: i64,
    /// The run.
    pub run_id: RunId,
    /// The arrival number of the record in its run.
    pub arrival: i64,
}

/// A record that matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchHit {
    /// Its run.
    pub run_id: RunId,
    /// The task of the run.
    pub task_id: TaskId,
    /// Its name.
    pub task_name: String,
    /// The workspace of the run.
    pub workspace_id: WorkspaceId,
    /// The status of the run, such as `execution_failed`.
    pub status: String,
    /// When it was logged.
    pub time: Timestamp,
    /// Its number in its run, in order of arrival, from 0.
    pub arrival: i64,
    /// As it was logged.
    pub severity: Option<String>,
    /// The whole message.
    pub message: Option<String>,
    /// Its other fields, if requested by the search.
    pub fields: HitFields,
}

/// The fields of a record beside its time, severity and message; see [`Record`](runlog_model::Record).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "they are described there")]
pub struct HitFields {
    pub log_type: Option<String>,
    pub bundle_name: Option<String>,
    pub bundle_version: Option<String>,
    pub pod_name: Option<String>,
    /// A JSON object.
    pub extra: Option<String>,
}

/// The result of a search, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPage {
    /// The matching records.
    pub items: Vec<SearchHit>,
    /// Where to continue; `None` at the end.
    pub next: Option<SearchCursor>,
    /// True if all records up to `next`, or to the end, were searched: the search ended because of its limit and not
    /// because of its time limit.
    pub is_complete: bool,
    /// Records that were examined, or left out because the index of their file says that none of them matches.
    pub scanned_records: u64,
    /// Bytes of messages that were examined.
    pub scanned_bytes: u64,
    /// What could not be examined.
    pub unreadable: UnreadableRecords,
}

/// A slice's row in the catalog, for a search.
#[derive(FromRow)]
pub(super) struct SearchRow {
    #[sqlx(flatten)]
    pub(super) slice: SliceRow,
    pub(super) task_name: String,
}

/// A search in progress.
struct SearchState {
    core: Core,
    search: Arc<SearchQuery>,
    /// The records found so far.
    found: BTreeMap<SearchCursor, HitValues>,
    counts: Arc<Counts>,
    row_groups: Arc<KnownRowGroups>,
    /// Records that could not be searched.
    unreadable: UnreadableRecords,
    /// All records after this cursor were searched.
    searched_until: SearchCursor,
}

/// Records that could not be examined because their objects are damaged or missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnreadableRecords {
    /// How many there are.
    pub records: u64,
    /// Their runs; the first hundred.
    pub runs: BTreeSet<RunId>,
    /// The keys of the objects; the first hundred.
    pub objects: BTreeSet<String>,
}

/// The row groups that may contain the text, by object; `None` for objects without an index. Slices of one object are
/// searched in several rounds.
#[derive(Debug, Default)]
pub(super) struct KnownRowGroups(Mutex<HashMap<String, Option<Arc<RowGroups>>>>);

impl KnownRowGroups {
    async fn of(&self, file: &SegmentFile, object_key: &str, words: &NeededWords) -> Result<Option<Arc<RowGroups>>> {
        if words.is_empty() {
            return Ok(None);
        }
        let known = self.lock().get(object_key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let found = file.row_groups_with(words).await?.map(Arc::new);
        self.lock().insert(object_key.to_owned(), found.clone());
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Option<Arc<RowGroups>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
}

/// The values of a record that are kept until the search ends.
struct HitValues {
    run: Arc<PlannedRun>,
    severity: Option<String>,
    message: Option<String>,
    fields: HitFields,
}

impl HitValues {
    /// Returns the length of its texts. Unit: bytes.
    fn bytes(&self) -> usize {
        let HitFields { log_type, bundle_name, bundle_version, pod_name, extra } = &self.fields;
        let texts = [&self.severity, &self.message, log_type, bundle_name, bundle_version, pod_name, extra];
        texts.into_iter().flatten().map(String::len).sum()
    }
}

/// The first and the last possible cursor.
pub(super) fn first_cursor() -> SearchCursor {
    SearchCursor { time_ms: i64::MAX, run_id: RunId::GREATEST, arrival: i64::MAX }
}

fn last_cursor() -> SearchCursor {
    SearchCursor { time_ms: i64::MIN, run_id: RunId::LEAST, arrival: i64::MIN }
}

impl Query {
    /// Returns the newest records that match, from a cursor on.
    pub async fn search(&self, search: SearchQuery) -> Result<SearchPage> {
        let begun = Instant::now();
        let from = search.after.map_or_else(first_cursor, |after| search.order.place(after));
        let search = Arc::new(search);
        let mut searching = SearchState {
            core: self.core.clone(),
            search: Arc::clone(&search),
            found: BTreeMap::new(),
            counts: Arc::default(),
            row_groups: Arc::default(),
            unreadable: UnreadableRecords::default(),
            searched_until: from,
        };
        let (mut names, mut seen) = (HashMap::new(), HashSet::new());
        let is_few = self.is_of_few_runs(&search).await?;
        // Most searches end with the first few slices; the others then read many slices at a time from the catalog.
        let many = search.slices_max.max(1);
        let mut slices_max = limits::SEARCH_SLICES_FIRST.min(many);
        loop {
            let rows = self.slices_in_order(&search, is_few, searching.searched_until, slices_max).await?;
            let is_all = rows.len().saturating_as::<i64>() < slices_max;
            let mut slices = Vec::new();
            for SearchRow { slice, task_name } in rows {
                if seen.insert((slice.object_key.clone(), slice.first_row)) {
                    names.insert(slice.task_id.clone(), task_name);
                    slices.push(slice);
                }
            }
            let ended = searching.scan_slices(slices, is_all, begun, from).await?;
            if ended || is_all || (slices_max >= many && searching.has_progress(from)) {
                break;
            }
            // Slices may be merged in the meantime into slices that end later: slices already searched are excluded
            // here and not in the catalog's query. The number of requested slices is doubled, so that the search ends
            // regardless of how many slices overlap at one instant.
            slices_max = many.max(slices_max.saturating_mul(2));
        }
        searching.into_page(&names)
    }

    /// Returns true if a search is restricted to so few runs that the runs are looked up before their slices.
    pub(super) async fn is_of_few_runs(&self, search: &SearchQuery) -> Result<bool> {
        let has_few_tasks = search.task_ids.as_ref().is_some_and(|tasks| tasks.len() <= limits::SEARCH_TASKS_FEW);
        if search.run_ids.is_some() || has_few_tasks {
            return Ok(true);
        }
        let Some(workspace_ids) = &search.workspace_ids else { return Ok(false) };
        let mut counting = Sql::new("SELECT COUNT(*) FROM (SELECT id FROM runs WHERE TRUE");
        push_workspaces(&mut counting, "workspace_id", Some(workspace_ids));
        counting.push(" LIMIT ").push_bind(limits::SEARCH_RUNS_FEW + 1).push(") AS few");
        let runs: i64 = counting.build_query_scalar().fetch_one(self.core.catalog().read()).await?;
        Ok(runs <= limits::SEARCH_RUNS_FEW)
    }

    /// Returns slices that may contain matching records from a place on, those that reach closest to the place first.
    /// With `is_few`, runs are looked up first, and then their slices; else the slices, and then their runs.
    pub(super) async fn slices_in_order(
        &self,
        search: &SearchQuery,
        is_few: bool,
        before: SearchCursor,
        slices_max: i64,
    ) -> Result<Vec<SearchRow>> {
        let range = search.range;
        let tables = match is_few {
            false => "slices s CROSS JOIN runs r CROSS JOIN tasks t CROSS JOIN segments g",
            true => "runs r CROSS JOIN slices s CROSS JOIN tasks t CROSS JOIN segments g",
        };
        let mut query = Sql::new(format!(
            "SELECT r.id AS run_id, r.task_id, r.workspace_id, r.status, r.log_epoch, g.object_key, g.bytes, g.merged,
                    s.first_row, s.records, s.first_arrival, s.first_time, s.last_time, t.name AS task_name
             FROM {tables} WHERE s.run_id = r.id AND t.id = r.task_id AND g.id = s.segment_id AND r.records > 0"
        ));
        let filter = ScanFilter {
            workspace_ids: search.workspace_ids.clone(),
            task_ids: search.task_ids.clone(),
            run_ids: search.run_ids.clone(),
            // Runs are not selected by the range: the times of the slices are more precise.
            range: TimeRange::ALL,
            severities: None,
            message_parts: Vec::new(),
        };
        push_run_conditions(&mut query, &filter);
        match search.statuses.as_deref() {
            None => &mut query,
            Some([]) => query.push(" AND FALSE"),
            Some(of) => query.push(" AND r.status IN (").push_list(of.iter().map(|status| status.as_str())).push(")"),
        };
        if let Some(severities) = &search.severities {
            push_counted(&mut query, severities.iter().copied());
        }
        let before_ms = search.order.place(before).time_ms;
        let (first_ms, last_ms) = match search.order {
            SearchOrder::NewestFirst => (range.first_ms(), range.last_ms().min(before_ms)),
            SearchOrder::OldestFirst => (range.first_ms().max(before_ms), range.last_ms()),
        };
        query.push(" AND s.last_time >= ").push_bind(first_ms);
        query.push(" AND s.first_time <= ").push_bind(last_ms);
        // Ordering by an expression prevents SQLite from reading an index over all slices instead of the slices of the
        // few runs.
        query.push(match (search.order, is_few) {
            (SearchOrder::NewestFirst, true) => " ORDER BY s.last_time + 0 DESC",
            (SearchOrder::NewestFirst, false) => " ORDER BY s.last_time DESC",
            (SearchOrder::OldestFirst, _) => " ORDER BY s.first_time + 0",
        });
        query.push(" LIMIT ").push_bind(slices_max);
        Ok(query.build_query_as().fetch_all(self.core.catalog().read()).await?)
    }
}

impl SearchState {
    /// Searches slices in their order. Returns true if the search must end with the records found so far.
    async fn scan_slices(
        &mut self,
        slices: Vec<SliceRow>,
        is_all: bool,
        begun: Instant,
        from: SearchCursor,
    ) -> Result<bool> {
        if slices.is_empty() && is_all {
            self.searched_until = last_cursor();
        }
        let threads = self.core.cpu().processors();
        let (planned_at, order) = (self.core.now(), self.search.order);
        let (mut left, mut at_a_time) = (slices.as_slice(), threads);
        while !left.is_empty() {
            let (now, later) = left.split_at(at_a_time.min(left.len()));
            let round = Instant::now();
            self.scan_round(now.to_vec(), planned_at, threads).await?;
            // The remaining slices have not been searched, and slices after the last one are not known.
            self.searched_until = match (later.first(), now.last()) {
                (Some(next), _) => self.searched_until.min(just_after(order.first_time(next))),
                (None, _) if is_all => last_cursor(),
                (None, Some(last)) => self.searched_until.min(just_after(order.first_time(last))),
                (None, None) => self.searched_until,
            };
            let certain = self.found.range(self.searched_until..).count();
            if certain >= self.search.limit {
                return Ok(true);
            }
            if begun.elapsed() >= self.search.time_max && self.has_progress(from) {
                return Ok(true);
            }
            if round.elapsed() < limits::SEARCH_ROUND_TIME {
                at_a_time = (at_a_time * 2).min(limits::SEARCH_ROUND_SLICES_MAX);
            }
            left = later;
        }
        Ok(false)
    }

    /// Returns true if the search has progressed enough to end. The next page searches slices that overlap its first
    /// cursor again: it would make no progress if the cursor were not past all of them.
    fn has_progress(&self, from: SearchCursor) -> bool {
        self.searched_until < from
    }

    async fn scan_round(&mut self, mut slices: Vec<SliceRow>, planned_at: Timestamp, threads: usize) -> Result<()> {
        slices.sort_by(|a, b| (&a.object_key, a.first_row).cmp(&(&b.object_key, b.first_row)));
        let mut units = units(slices, planned_at);
        if let Some(filter) = &self.search.filter {
            for unit in &mut units {
                unit.slices.retain(|slice| {
                    let run = slice.run.as_scan_run();
                    filter.wants_run(&run)
                        && slice.arrivals_end.is_none_or(|end| filter.wants_arrivals_before(&run, end))
                });
            }
        }
        let jobs = units.into_iter().map(|unit| {
            let (core, search, counts) = (self.core.clone(), Arc::clone(&self.search), Arc::clone(&self.counts));
            let row_groups = Arc::clone(&self.row_groups);
            async move { search_unit(&core, &search, &counts, &row_groups, unit).await }
        });
        let mut jobs = stream::iter(jobs).buffer_unordered(threads);
        while let Some(found) = jobs.try_next().await? {
            let found = match found {
                UnitResult::Records(found) => found,
                UnitResult::Unreadable(unreadable) => {
                    self.unreadable.add(unreadable);
                    continue;
                }
            };
            self.found.extend(found);
            while self.found.len() > self.search.limit {
                self.found.pop_first();
            }
            check_bytes(&self.found, &self.search)?;
        }
        Ok(())
    }

    fn into_page(self, names: &HashMap<String, String>) -> Result<SearchPage> {
        let certain: Vec<(SearchCursor, HitValues)> =
            self.found.into_iter().rev().take_while(|(place, _)| *place >= self.searched_until).collect();
        let is_full = certain.len() >= self.search.limit;
        let next = match certain.last() {
            Some((last, _)) if is_full => Some(*last),
            _ => Some(self.searched_until).filter(|place| *place > last_cursor()),
        };
        let order = self.search.order;
        let items =
            certain.into_iter().map(|(place, body)| body.found(order.place(place), names)).collect::<Result<_>>()?;
        Ok(SearchPage {
            items,
            is_complete: is_full || next.is_none(),
            next: next.map(|place| order.place(place)),
            scanned_records: self.counts.records.load(Ordering::Relaxed),
            scanned_bytes: self.counts.bytes.load(Ordering::Relaxed),
            unreadable: self.unreadable,
        })
    }
}

/// Returns the cursor that is after all records newer than a time.
fn just_after(time_ms: i64) -> SearchCursor {
    SearchCursor { time_ms: time_ms.saturating_add(1), run_id: RunId::LEAST, arrival: i64::MIN }
}

/// Fails if the records that were found take more memory than the search is allowed to use.
fn check_bytes(found: &BTreeMap<SearchCursor, HitValues>, search: &SearchQuery) -> Result<()> {
    if search.bytes_max == usize::MAX {
        return Ok(());
    }
    let bytes: usize = found.values().map(HitValues::bytes).sum();
    match bytes > search.bytes_max {
        false => Ok(()),
        true => Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "the {} records that were found take more than {} MiB; ask for fewer records at a time",
                found.len(),
                search.bytes_max >> 20
            ),
        )),
    }
}

impl HitValues {
    fn found(self, cursor: SearchCursor, names: &HashMap<String, String>) -> Result<SearchHit> {
        let undecodable = |_| Error::corrupt(format!("an id of run {} does not decode", cursor.run_id));
        Ok(SearchHit {
            run_id: cursor.run_id,
            task_name: names.get(&self.run.task_id).cloned().unwrap_or_default(),
            task_id: self.run.task_id.parse().map_err(undecodable)?,
            workspace_id: self.run.workspace_id.parse().map_err(undecodable)?,
            status: self.run.status.clone(),
            time: Timestamp::clamped(cursor.time_ms),
            arrival: cursor.arrival,
            severity: self.severity,
            message: self.message,
            fields: self.fields,
        })
    }
}

/// The result of searching a unit.
enum UnitResult {
    Records(BTreeMap<SearchCursor, HitValues>),
    /// Its object is damaged or missing: the search continues with other objects.
    Unreadable(UnreadableRecords),
}

impl UnreadableRecords {
    fn of(unit: &Unit) -> Self {
        let records = unit.slices.iter().map(|slice| slice.records as u64).sum();
        let runs = unit.slices.iter().filter_map(|slice| slice.run.id.parse().ok()).collect();
        Self { records, runs, objects: BTreeSet::from([unit.object_key.to_string()]) }
    }

    pub(super) fn add(&mut self, more: Self) {
        self.records = self.records.saturating_add(more.records);
        self.objects.extend(more.objects);
        while self.objects.len() > limits::UNREADABLE_OBJECTS_MAX {
            self.objects.pop_last();
        }
        self.runs.extend(more.runs);
        while self.runs.len() > limits::UNREADABLE_RUNS_MAX {
            self.runs.pop_last();
        }
    }
}

/// Returns the newest matching records of a unit, at most as many as the search returns.
async fn search_unit(
    core: &Core,
    search: &Arc<SearchQuery>,
    counts: &Arc<Counts>,
    row_groups: &KnownRowGroups,
    mut unit: Unit,
) -> Result<UnitResult> {
    if core.now().millis_since(unit.planned_at) > limits::SCAN_CHECK_MS {
        unit.without_deleted(core).await?;
    }
    match find_in_unit(core, search, counts, row_groups, &unit).await {
        Ok(found) => Ok(UnitResult::Records(found)),
        Err(error) => Ok(match left_out(core, unit, error).await? {
            Some(unreadable) => UnitResult::Unreadable(unreadable),
            None => UnitResult::Records(BTreeMap::new()),
        }),
    }
}

/// Returns the records of a unit that could not be read; `None` if its logs were deleted in the meantime.
pub(super) async fn left_out(core: &Core, mut unit: Unit, error: Error) -> Result<Option<UnreadableRecords>> {
    unit.without_deleted(core).await?;
    if unit.slices.is_empty() {
        return Ok(None);
    }
    let error = unit.lost(error);
    if error.damaged_object().is_none() {
        return Err(error);
    }
    warn!(error = &error as &dyn std::error::Error, "a search leaves out records that cannot be read");
    Ok(Some(UnreadableRecords::of(&unit)))
}

/// The rows of a unit that match, and its runs.
pub(super) struct MatchingRows {
    pub(super) runs: UnitRuns,
    pub(super) batches: RowReader,
}

/// Opens a unit to read some columns of the matching rows, with the column of runs if there are several; `None` if no
/// rows match.
pub(super) async fn matching_rows(
    core: &Core,
    search: &Arc<SearchQuery>,
    counts: &Arc<Counts>,
    row_groups: &KnownRowGroups,
    unit: &Unit,
    columns: &[&'static str],
) -> Result<Option<MatchingRows>> {
    let Some(mut rows) = rows_together(&unit.slices) else { return Ok(None) };
    let file = SegmentFile::open(core.segments(), &unit.object_key, unit.object_bytes).await?;
    counts.records.fetch_add(unit.slices.iter().map(|slice| slice.records as u64).sum(), Ordering::Relaxed);
    if let Some(groups) = row_groups.of(&file, &unit.object_key, &search.needed_words()).await? {
        rows = file.rows_in(&groups, rows);
        if rows.is_empty() {
            return Ok(None);
        }
    }
    let runs = UnitRuns::of(&unit.slices);
    let mut columns = columns.to_vec();
    if runs.runs.len() > 1 {
        columns.push("run_id");
    }
    let filter = row_filter(&file, search, counts);
    let batches = file.rows_of(rows, &columns, filter)?;
    Ok(Some(MatchingRows { runs, batches }))
}

async fn find_in_unit(
    core: &Core,
    search: &Arc<SearchQuery>,
    counts: &Arc<Counts>,
    row_groups: &KnownRowGroups,
    unit: &Unit,
) -> Result<BTreeMap<SearchCursor, HitValues>> {
    let mut found = BTreeMap::new();
    let mut columns = vec!["time", "arrival", "severity", "message"];
    if search.all_fields {
        columns.extend(["log_type", "bundle_name", "bundle_version", "pod_name", "extra"]);
    }
    let Some(matching) = matching_rows(core, search, counts, row_groups, unit, &columns).await? else {
        return Ok(found);
    };
    let MatchingRows { runs, mut batches } = matching;
    let run_ids: Vec<RunId> = runs
        .runs
        .iter()
        .map(|run| run.id.parse().map_err(|_| Error::corrupt("the id of a run does not decode")))
        .collect::<Result<_>>()?;
    let (runs, run_ids, limit) = (Arc::new(runs), Arc::new(run_ids), search.limit);
    let of_search = Arc::clone(search);
    loop {
        let (search, runs, run_ids) = (Arc::clone(search), Arc::clone(&runs), Arc::clone(&run_ids));
        let counts = Arc::clone(counts);
        let some = batches.next(move |batch| {
            let mut some = BTreeMap::new();
            add_newest(&mut some, &search, &runs, &run_ids, &counts, &batch)?;
            Ok(some)
        });
        let Some(some) = some.await? else { return Ok(found) };
        found.extend(some);
        while found.len() > limit {
            found.pop_first();
        }
        check_bytes(&found, &of_search)?;
    }
}

/// Adds the matching rows, and keeps only the newest.
fn add_newest(
    found: &mut BTreeMap<SearchCursor, HitValues>,
    search: &SearchQuery,
    runs: &UnitRuns,
    run_ids: &[RunId],
    counts: &Counts,
    batch: &RecordBatch,
) -> Result<()> {
    let rows = ViewedRows::of(batch, runs)?;
    if search.filter.is_some() {
        counts.bytes.fetch_add(rows.message_bytes(), Ordering::Relaxed);
    }
    let after = search.after.map(|after| search.order.place(after));
    for (row, run) in runs.run_of_each_row(batch)?.into_iter().enumerate() {
        let run = run as usize;
        let view = rows.view(row, run);
        let place = SearchCursor { time_ms: view.time_ms, run_id: run_ids[run], arrival: view.arrival };
        let place = search.order.place(place);
        let is_after = after.is_none_or(|after| place < after);
        let is_among = found.len() < search.limit || found.first_key_value().is_some_and(|(least, _)| place > *least);
        if !is_after || !is_among || !search.filter.as_ref().is_none_or(|filter| filter.matches(&view)) {
            continue;
        }
        let own = |text: Option<&str>| text.map(str::to_owned);
        let body = HitValues {
            run: Arc::clone(&runs.runs[run]),
            severity: own(view.severity),
            message: own(view.message),
            fields: HitFields {
                log_type: own(view.log_type),
                bundle_name: own(view.bundle_name),
                bundle_version: own(view.bundle_version),
                pod_name: own(view.pod_name),
                extra: own(view.extra),
            },
        };
        found.insert(place, body);
        if found.len() > search.limit {
            found.pop_first();
        }
    }
    Ok(())
}

impl SearchQuery {
    /// Returns the words of all texts that a message must contain.
    fn needed_words(&self) -> NeededWords {
        let mut words = self.text.words().clone();
        let parts = self.message_parts.iter().chain(&self.caseless_parts);
        parts.for_each(|part| words.extend(NeededWords::of(part, false)));
        words
    }
}

fn row_filter(file: &SegmentFile, search: &Arc<SearchQuery>, counts: &Arc<Counts>) -> Option<RowFilter> {
    let mut predicates = Vec::new();
    let after = search.after.map(|after| Timestamp::clamped(after.time_ms));
    let range = match search.order {
        SearchOrder::NewestFirst => {
            TimeRange { start: search.range.start, end: search.range.end.into_iter().chain(after).min() }
        }
        SearchOrder::OldestFirst => TimeRange { start: search.range.start.max(after), end: search.range.end },
    };
    if range != TimeRange::ALL {
        predicates.push(predicate(file, "time", move |batch| {
            let times = column::<TimestampMillisecondArray>(batch, "time")?;
            Ok(times.values().iter().map(|ms| Some(range.contains(*ms))).collect())
        }));
    }
    if let Some(severities) = search.severities.clone() {
        predicates.push(predicate(file, "severity", move |batch| {
            let texts = TextColumn::of(batch, "severity")?;
            Ok((0..batch.num_rows()).map(|row| Some(severities.contains(&Severity::of(texts.text(row))))).collect())
        }));
    }
    if let Some(components) = search.components.clone() {
        predicates.push(predicate(file, "bundle_name", move |batch| {
            let texts = TextColumn::of(batch, "bundle_name")?;
            let is_wanted = |row| components.iter().any(|component| component == texts.text(row).unwrap_or_default());
            Ok((0..batch.num_rows()).map(|row| Some(is_wanted(row))).collect())
        }));
    }
    for part in &search.message_parts {
        predicates.push(contains(file, part));
    }
    if !search.text.is_empty() {
        let (search, counts) = (Arc::clone(search), Arc::clone(counts));
        predicates.push(predicate(file, "message", move |batch| {
            let messages = column::<StringArray>(batch, "message")?;
            let offsets = messages.value_offsets();
            counts.bytes.fetch_add((offsets[messages.len()] - offsets[0]).saturating_as::<u64>(), Ordering::Relaxed);
            Ok(search.text.rows(messages))
        }));
    }
    (!predicates.is_empty()).then(|| RowFilter::new(predicates))
}
