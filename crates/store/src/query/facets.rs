//! Facets of a search: how many records match, by task, workspace, severity, component and day.
//!
//! Unlike a search, a count has no order to respect: the slices are read from the catalog once, newest first, and counted
//! until there are none left or the time is up. What was counted is then a lower bound, and said to be one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::{RecordBatch, TimestampMillisecondArray};
use az::SaturatingAs;
use futures::{StreamExt, TryStreamExt, stream};
use runlog_model::Severity;
use tokio::time::Instant;

use crate::core::Core;
use crate::error::Result;
use crate::limits;
use crate::parts::Query;
use crate::query::scan::plan::{Unit, units};
use crate::query::scan::read::UnitRuns;
use crate::query::search::{
    Counts, KnownRowGroups, MatchingRows, SearchQuery, SearchRow, first_cursor, left_out, matching_rows,
};
use crate::segment::values::{TextColumn, column};

/// How many records match a search. [`SearchQuery::limit`] and [`SearchQuery::after`] do not apply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SearchFacets {
    /// Matching records.
    pub records: u64,
    /// True if every record was examined; otherwise, all numbers are lower bounds.
    pub is_complete: bool,
    /// By the ID of their task.
    pub tasks: BTreeMap<String, u64>,
    /// The names of these tasks.
    pub task_names: HashMap<String, String>,
    /// By the ID of their workspace.
    pub workspaces: BTreeMap<String, u64>,
    /// By severity.
    pub severities: BTreeMap<Severity, u64>,
    /// By component; an empty text stands for records without one.
    pub components: BTreeMap<String, u64>,
    /// Matching records whose component is not among these, because there are too many.
    pub other_components: u64,
    /// By the number of their day since 1970, at the requested offset from UTC.
    pub days: BTreeMap<i64, u64>,
    /// Records that were examined, or left out because the index of their file says that none of them matches.
    pub scanned_records: u64,
    /// Bytes of messages that were examined.
    pub scanned_bytes: u64,
}

/// The counts of some rows. Tasks and workspaces are those of the runs, which are numbered.
#[derive(Debug, Default)]
struct RowCounts {
    runs: HashMap<u32, u64>,
    severities: HashMap<Severity, u64>,
    components: HashMap<String, u64>,
    other_components: u64,
    days: HashMap<i64, u64>,
}

impl Query {
    /// Counts the records that match, by the values of their fields. Days begin at midnight at an offset from UTC.
    /// Unit of the offset: milliseconds.
    pub async fn facets(&self, search: SearchQuery, utc_offset_ms: i64) -> Result<SearchFacets> {
        let begun = Instant::now();
        let (core, search) = (self.core.clone(), Arc::new(SearchQuery { after: None, ..search }));
        let (counts, row_groups) = (Arc::<Counts>::default(), Arc::<KnownRowGroups>::default());
        let mut facets = SearchFacets::default();
        let is_few = self.is_of_few_runs(&search).await?;
        let rows = self.slices_in_order(&search, is_few, first_cursor(), search.slices_max).await?;
        let mut is_complete = rows.len().saturating_as::<i64>() < search.slices_max;
        let planned_at = core.now();
        let mut slices = Vec::with_capacity(rows.len());
        for SearchRow { slice, task_name } in rows {
            facets.task_names.insert(slice.task_id.clone(), task_name);
            slices.push(slice);
        }
        let threads = core.cpu().processors();
        let (mut left, mut at_a_time) = (slices.as_slice(), threads);
        while !left.is_empty() {
            if begun.elapsed() >= search.time_max && left.len() < slices.len() {
                is_complete = false;
                break;
            }
            let (now, later) = left.split_at(at_a_time.min(left.len()));
            let round = Instant::now();
            let mut now = now.to_vec();
            now.sort_by(|a, b| (&a.object_key, a.first_row).cmp(&(&b.object_key, b.first_row)));
            let jobs = units(now, planned_at).into_iter().map(|unit| {
                let (core, search) = (core.clone(), Arc::clone(&search));
                let (counts, row_groups) = (Arc::clone(&counts), Arc::clone(&row_groups));
                async move { count_unit(&core, &search, &counts, &row_groups, unit, utc_offset_ms).await }
            });
            let mut jobs = stream::iter(jobs).buffer_unordered(threads);
            while let Some(counted) = jobs.try_next().await? {
                match counted {
                    Some(counted) => facets.add(&counted),
                    None => is_complete = false,
                }
            }
            if round.elapsed() < limits::SEARCH_ROUND_TIME {
                at_a_time = (at_a_time * 2).min(limits::SEARCH_ROUND_SLICES_MAX);
            }
            left = later;
        }
        facets.task_names.retain(|task, _| facets.tasks.contains_key(task));
        facets.is_complete = is_complete;
        facets.scanned_records = counts.records.load(Ordering::Relaxed);
        facets.scanned_bytes = counts.bytes.load(Ordering::Relaxed);
        Ok(facets)
    }
}

/// The counts of a unit by its runs; `None` if it cannot be read.
async fn count_unit(
    core: &Core,
    search: &Arc<SearchQuery>,
    counts: &Arc<Counts>,
    row_groups: &KnownRowGroups,
    mut unit: Unit,
    utc_offset_ms: i64,
) -> Result<Option<SearchFacets>> {
    if core.now().millis_since(unit.planned_at) > limits::SCAN_CHECK_MS {
        unit.without_deleted(core).await?;
    }
    match count_in_unit(core, search, counts, row_groups, &unit, utc_offset_ms).await {
        Ok(counted) => Ok(Some(counted)),
        Err(error) => Ok(left_out(core, unit, error).await?.is_none().then(SearchFacets::default)),
    }
}

async fn count_in_unit(
    core: &Core,
    search: &Arc<SearchQuery>,
    counts: &Arc<Counts>,
    row_groups: &KnownRowGroups,
    unit: &Unit,
    utc_offset_ms: i64,
) -> Result<SearchFacets> {
    let mut counted = SearchFacets::default();
    let columns = ["time", "severity", "bundle_name"];
    let Some(matching) = matching_rows(core, search, counts, row_groups, unit, &columns).await? else {
        return Ok(counted);
    };
    let MatchingRows { runs, mut batches } = matching;
    let runs = Arc::new(runs);
    loop {
        let of_batch = Arc::clone(&runs);
        let rows = batches.next(move |batch| count_rows(&of_batch, &batch, utc_offset_ms)).await?;
        let Some(rows) = rows else { return Ok(counted) };
        counted.add_rows(&runs, rows);
    }
}

fn count_rows(runs: &UnitRuns, batch: &RecordBatch, utc_offset_ms: i64) -> Result<RowCounts> {
    let times = column::<TimestampMillisecondArray>(batch, "time")?;
    let (severities, components) = (TextColumn::of(batch, "severity")?, TextColumn::of(batch, "bundle_name")?);
    let mut counted = RowCounts::default();
    for (row, run) in runs.run_of_each_row(batch)?.into_iter().enumerate() {
        *counted.runs.entry(run).or_default() += 1;
        *counted.severities.entry(Severity::of(severities.text(row))).or_default() += 1;
        let day = times.value(row).saturating_add(utc_offset_ms).div_euclid(limits::DAY_MS);
        *counted.days.entry(day).or_default() += 1;
        let component = components.text(row).unwrap_or_default();
        let has_room = counted.components.len() < limits::SEARCH_COMPONENTS_MAX;
        match counted.components.get_mut(component) {
            Some(count) => *count += 1,
            None if has_room => {
                counted.components.insert(component.to_owned(), 1);
            }
            None => counted.other_components += 1,
        }
    }
    Ok(counted)
}

impl SearchFacets {
    fn add_rows(&mut self, runs: &UnitRuns, rows: RowCounts) {
        for (run, count) in rows.runs {
            let run = &runs.runs[run as usize];
            self.records += count;
            *self.tasks.entry(run.task_id.clone()).or_default() += count;
            *self.workspaces.entry(run.workspace_id.clone()).or_default() += count;
        }
        add_all(&mut self.severities, rows.severities);
        add_all(&mut self.days, rows.days);
        self.other_components += rows.other_components;
        self.add_components(rows.components);
    }

    fn add(&mut self, other: &Self) {
        self.records += other.records;
        add_all(&mut self.tasks, other.tasks.clone());
        add_all(&mut self.workspaces, other.workspaces.clone());
        add_all(&mut self.severities, other.severities.clone());
        add_all(&mut self.days, other.days.clone());
        self.other_components += other.other_components;
        self.add_components(other.components.clone());
    }

    /// Adds the counts of components, as long as there are not too many.
    fn add_components(&mut self, components: impl IntoIterator<Item = (String, u64)>) {
        for (component, count) in components {
            let has_room = self.components.len() < limits::SEARCH_COMPONENTS_MAX;
            match self.components.get_mut(&component) {
                Some(known) => *known += count,
                None if has_room => {
                    self.components.insert(component, count);
                }
                None => self.other_components += count,
            }
        }
    }
}

fn add_all<K: Ord>(counts: &mut BTreeMap<K, u64>, more: impl IntoIterator<Item = (K, u64)>) {
    for (key, count) in more {
        *counts.entry(key).or_default() += count;
    }
}
