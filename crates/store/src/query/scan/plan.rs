//! The plan of a scan: the slices that the catalog cannot rule out, grouped by object into units.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use az::SaturatingAs;
use runlog_model::{RunId, Severity, Timestamp};
use sqlx_macros::FromRow;

use crate::catalog::filters::push_workspaces;
use crate::catalog::sql::Sql;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits;
use crate::query::scan::request::{ScanFilter, ScanRun};

/// Finds the units of a scan, a number of runs at a time, so that memory does not grow with the archive.
pub(crate) struct Planner {
    core: Core,
    filter: ScanFilter,
    /// The last planned run: runs are planned in order of their trigger times, the order in which they were sealed, so
    /// that neighbouring slices are planned together.
    after: Option<(i64, String)>,
    units: VecDeque<Unit>,
    is_done: bool,
}

/// Slices of one object that are read together, in order of their rows.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) object_key: Arc<str>,
    pub(crate) object_bytes: u64,
    pub(crate) slices: Vec<PlannedSlice>,
    /// When the catalog was read.
    pub(crate) planned_at: Timestamp,
}

/// A slice of a unit.
#[derive(Debug, Clone)]
pub(crate) struct PlannedSlice {
    pub(crate) run: Arc<PlannedRun>,
    pub(crate) first_row: usize,
    pub(crate) records: usize,
    /// The offset from arrivals in the object to arrivals in the run.
    pub(crate) arrival_base: i64,
    /// The arrival after the last one of the slice, if its records are in order of arrival, as before sealing.
    pub(crate) arrivals_end: Option<i64>,
    pub(crate) first_time: i64,
    pub(crate) last_time: i64,
}

/// The run of a slice.
#[derive(Debug)]
pub(crate) struct PlannedRun {
    pub(crate) id: String,
    pub(crate) task_id: String,
    pub(crate) workspace_id: String,
    pub(crate) status: String,
    pub(crate) log_epoch: i64,
}

impl PlannedRun {
    pub(crate) fn as_scan_run(&self) -> ScanRun<'_> {
        ScanRun { run_id: &self.id, task_id: &self.task_id, workspace_id: &self.workspace_id, status: &self.status }
    }
}

#[derive(FromRow)]
struct RunBound {
    id: String,
    triggered_at: i64,
    records: i64,
}

/// A slice's row in the catalog.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct SliceRow {
    pub(crate) run_id: String,
    pub(crate) task_id: String,
    pub(crate) workspace_id: String,
    pub(crate) status: String,
    pub(crate) log_epoch: i64,
    pub(crate) object_key: String,
    pub(crate) bytes: i64,
    pub(crate) merged: i64,
    pub(crate) first_row: i64,
    pub(crate) records: i64,
    pub(crate) first_arrival: i64,
    pub(crate) first_time: i64,
    pub(crate) last_time: i64,
}

impl Planner {
    pub(crate) fn new(core: &Core, filter: ScanFilter) -> Self {
        Self { core: core.clone(), filter, after: None, units: VecDeque::new(), is_done: false }
    }

    /// The next unit; `None` at the end.
    pub(crate) async fn next_unit(&mut self) -> Result<Option<Unit>> {
        while self.units.is_empty() && !self.is_done {
            self.plan_more().await?;
        }
        Ok(self.units.pop_front())
    }

    async fn plan_more(&mut self) -> Result<()> {
        let runs = self.next_runs().await?;
        let Some(last) = runs.last() else {
            self.is_done = true;
            return Ok(());
        };
        let planned_at = self.core.now();
        let until = (last.triggered_at, last.id.clone());
        let rows = self.slices_of(&until).await?;
        self.units = units(rows, planned_at);
        // The newest units first, so that a query for a few of the newest records ends early.
        self.units.make_contiguous().sort_by_key(|unit| std::cmp::Reverse(unit.last_time()));
        self.after = Some(until);
        Ok(())
    }

    /// Returns the next runs that may have matching records, limited by the number of their slices.
    async fn next_runs(&self) -> Result<Vec<RunBound>> {
        let mut query = Sql::new("SELECT r.id, r.triggered_at, r.records FROM runs r WHERE r.records > 0");
        self.push_conditions(&mut query);
        query.push(" ORDER BY r.triggered_at, r.id LIMIT ").push_bind(limits::SCAN_RUNS_AT_A_TIME);
        let mut runs: Vec<RunBound> = query.build_query_as().fetch_all(self.core.catalog().read()).await?;
        let mut slices = 0;
        let enough = runs.iter().position(|run| {
            // An estimate: a sealed run has one slice for `CHUNK_RECORDS` records, and a run that is being pushed a few
            // times as many.
            slices += 1 + run.records / (limits::CHUNK_RECORDS.saturating_as::<i64>() / 4);
            slices > limits::SCAN_SLICES_AT_A_TIME
        });
        if let Some(enough) = enough {
            runs.truncate(enough + 1);
        }
        Ok(runs)
    }

    async fn slices_of(&self, until: &(i64, String)) -> Result<Vec<SliceRow>> {
        // `CROSS JOIN` makes SQLite join in this order; PostgreSQL chooses its own order.
        let mut query = Sql::new(
            "SELECT r.id AS run_id, r.task_id, r.workspace_id, r.status, r.log_epoch, g.object_key, g.bytes, g.merged,
                    s.first_row, s.records, s.first_arrival, s.first_time, s.last_time
             FROM runs r CROSS JOIN slices s CROSS JOIN segments g
             WHERE s.run_id = r.id AND g.id = s.segment_id AND r.records > 0",
        );
        self.push_conditions(&mut query);
        query.push(" AND (r.triggered_at, r.id) <= (").push_bind(until.0).push(", ").push_bind(until.1.clone());
        query.push(") AND s.last_time >= ").push_bind(self.filter.range.first_ms());
        query.push(" AND s.first_time <= ").push_bind(self.filter.range.last_ms());
        query.push(" ORDER BY g.object_key, s.first_row");
        Ok(query.build_query_as().fetch_all(self.core.catalog().read()).await?)
    }

    fn push_conditions(&self, query: &mut Sql) {
        push_run_conditions(query, &self.filter);
        if let Some((triggered_at, id)) = &self.after {
            query.push(" AND (r.triggered_at, r.id) > (").push_bind(*triggered_at).push(", ");
            query.push_bind(id.clone()).push(")");
        }
    }
}

/// Adds the conditions of a filter on `runs r`.
pub(crate) fn push_run_conditions(query: &mut Sql, filter: &ScanFilter) {
    push_workspaces(query, "r.workspace_id", filter.workspace_ids.as_deref());
    let task_ids = filter.task_ids.as_ref().map(|ids| ids.iter().map(ToString::to_string).collect::<Vec<_>>());
    let run_ids = filter.run_ids.as_ref().map(|ids| ids.iter().map(RunId::to_string).collect::<Vec<_>>());
    for (column, ids) in [("r.task_id", task_ids), ("r.id", run_ids)] {
        match ids {
            None => &mut *query,
            Some(ids) if ids.is_empty() => query.push(" AND FALSE"),
            Some(ids) => query.push(format!(" AND {column} IN (")).push_list(ids).push(")"),
        };
    }
    if let Some(severities) = &filter.severities {
        push_counted(query, severities.iter().map(|text| Severity::of(Some(text.as_str()))));
    }
    if let Some(start) = filter.range.start {
        let start = start.as_millis();
        query.push(" AND r.id IN (SELECT t.run_id FROM slices t WHERE t.last_time >= ").push_bind(start);
        query.push(" AND t.first_time <= ").push_bind(filter.range.last_ms()).push(")");
    }
}

/// Adds the condition that a run has records of one of these severities, by its counts in the catalog: the objects of
/// other runs are not opened.
///
/// Earlier versions counted the severities of other loggers, such as `WARNING`, as other severities.
pub(crate) fn push_counted(query: &mut Sql, severities: impl Iterator<Item = Severity>) {
    let mut columns: Vec<&str> = severities.map(severity_column).collect();
    if columns.is_empty() {
        query.push(" AND FALSE");
        return;
    }
    columns.push(severity_column(Severity::Other));
    columns.sort_unstable();
    columns.dedup();
    query.push(format!(" AND {} > 0", columns.join(" + ")));
}

/// Returns the column of a run with the number of its records of a severity.
fn severity_column(severity: Severity) -> &'static str {
    match severity {
        Severity::Other => "r.severity_other",
        Severity::Trace => "r.severity_trace",
        Severity::Debug => "r.severity_debug",
        Severity::Info => "r.severity_info",
        Severity::Warn => "r.severity_warn",
        Severity::Error => "r.severity_error",
        Severity::Fatal => "r.severity_fatal",
    }
}

/// Groups the slices of each object into units of a suitable size for one reader.
pub(crate) fn units(rows: Vec<SliceRow>, planned_at: Timestamp) -> VecDeque<Unit> {
    let mut runs: HashMap<String, Arc<PlannedRun>> = HashMap::new();
    let mut units: VecDeque<Unit> = VecDeque::new();
    let mut records = 0;
    for row in rows {
        let run = Arc::clone(runs.entry(row.run_id.clone()).or_insert_with(|| {
            Arc::new(PlannedRun {
                id: row.run_id,
                task_id: row.task_id,
                workspace_id: row.workspace_id,
                status: row.status,
                log_epoch: row.log_epoch,
            })
        }));
        let slice = PlannedSlice {
            run,
            first_row: row.first_row.saturating_as::<usize>(),
            records: row.records.saturating_as::<usize>(),
            arrival_base: if row.merged != 0 { 0 } else { row.first_arrival },
            arrivals_end: (row.merged == 0).then(|| row.first_arrival.saturating_add(row.records)),
            first_time: row.first_time,
            last_time: row.last_time,
        };
        let open = units.back_mut().filter(|unit| *unit.object_key == row.object_key);
        match open.filter(|_| records + slice.records <= limits::ROW_GROUP_RECORDS) {
            Some(unit) => {
                records += slice.records;
                unit.slices.push(slice);
            }
            None => {
                records = slice.records;
                units.push_back(Unit {
                    object_key: row.object_key.into(),
                    object_bytes: row.bytes.saturating_as::<u64>(),
                    slices: vec![slice],
                    planned_at,
                });
            }
        }
    }
    units
}

impl Unit {
    fn last_time(&self) -> i64 {
        self.slices.iter().map(|slice| slice.last_time).max().unwrap_or(i64::MIN)
    }

    /// Returns the runs of its slices. The slices are in the order of their runs.
    fn run_ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.slices.iter().map(|slice| slice.run.id.clone()).collect();
        ids.dedup();
        ids
    }

    /// Removes the slices of logs that were deleted since planning.
    pub(crate) async fn without_deleted(&mut self, core: &Core) -> Result<()> {
        let ids = self.run_ids();
        let mut epochs: HashMap<String, i64> = HashMap::new();
        for some in ids.chunks(limits::GROUP_BATCHES_MAX) {
            let mut query = Sql::new("SELECT id, log_epoch FROM runs WHERE id IN (");
            query.push_list(some.iter().cloned()).push(")");
            let rows: Vec<(String, i64)> = query.build_query_as().fetch_all(core.catalog().read()).await?;
            epochs.extend(rows);
        }
        self.slices.retain(|slice| epochs.get(&slice.run.id) == Some(&slice.run.log_epoch));
        Ok(())
    }

    /// Returns the error for an object that cannot be read although its logs exist, with the object and the runs.
    pub(crate) fn lost(&self, error: Error) -> Error {
        let run_ids = self.run_ids();
        let first = run_ids.first().map(String::as_str).unwrap_or_default();
        let logs = match run_ids.len() {
            0 | 1 => format!("the log of run {first}"),
            2 => format!("the logs of run {first} and of another one"),
            runs => format!("the logs of run {first} and of {} others", runs - 1),
        };
        let message = match error.damaged_object() {
            Some(object) => format!("{logs} cannot be read: object {object} is damaged or missing"),
            None => format!("{logs} cannot be read"),
        };
        Error::caused(error.kind(), message, error).of_runs(run_ids)
    }
}
