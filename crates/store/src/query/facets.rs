//! Facets of a search: the number of matching records by task, workspace, severity, component, status of the run, and
//! time.
//!
//! Counting does not depend on the order of records: the slices are read from the catalog once, newest first, and
//! counted until none is left or the time limit is reached. In the latter case, the counts are reported as lower
//! bounds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::{RecordBatch, TimestampMillisecondArray};
use az::SaturatingAs;
use futures::{StreamExt, TryStreamExt, stream};
use runlog_model::record::SeverityCounts;
use runlog_model::{Severity, TimeRange, Timestamp};
use tokio::time::Instant;

use crate::core::Core;
use crate::error::Result;
use crate::limits;
use crate::parts::Query;
use crate::query::scan::plan::{Unit, units};
use crate::query::scan::read::UnitRuns;
use crate::query::search::{
    Counts, KnownRowGroups, MatchingRows, SearchQuery, SearchRow, UnreadableRecords, first_cursor, left_out,
    matching_rows,
};
use crate::segment::values::{TextColumn, column};

/// The numbers of records that match a search. [`SearchQuery::limit`] and [`SearchQuery::after`] do not apply.
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
    /// By the status of their run, such as `execution_failed`.
    pub statuses: BTreeMap<String, u64>,
    /// By component; an empty text stands for records without one.
    pub components: BTreeMap<String, u64>,
    /// Matching records whose component is not among these, because there are too many.
    pub other_components: u64,
    /// By the number of their day since 1970, at the requested offset from UTC.
    pub days: BTreeMap<i64, u64>,
    /// Over time. If the search has an earliest time, from that to its latest time or now; otherwise, from the first to
    /// the last matching record.
    pub times: TimeCounts,
    /// Records that were examined, or left out because the index of their file says that none of them matches.
    pub scanned_records: u64,
    /// Bytes of messages that were examined.
    pub scanned_bytes: u64,
    /// What could not be examined.
    pub unreadable: UnreadableRecords,
}

/// Numbers of records over time. The number of buckets is limited: their length depends on the time that they cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeCounts {
    /// The length of a bucket. Unit: milliseconds.
    pub bucket_ms: i64,
    /// Records by the number of their bucket since 1970, at the requested offset from UTC. Buckets without records may
    /// be absent.
    pub buckets: BTreeMap<i64, SeverityCounts>,
}

impl Default for TimeCounts {
    fn default() -> Self {
        Self { bucket_ms: BUCKETS_MS[0], buckets: BTreeMap::new() }
    }
}

const MINUTE_MS: i64 = 60_000;

/// Lengths of buckets, each a multiple of the one before. Beyond the last of them, each length is twice the one before.
/// Unit: milliseconds.
const BUCKETS_MS: [i64; 13] = [
    1_000,
    5_000,
    15_000,
    30_000,
    MINUTE_MS,
    5 * MINUTE_MS,
    15 * MINUTE_MS,
    30 * MINUTE_MS,
    60 * MINUTE_MS,
    180 * MINUTE_MS,
    360 * MINUTE_MS,
    720 * MINUTE_MS,
    limits::DAY_MS,
];

impl TimeCounts {
    /// Merges buckets until they have at least this length.
    fn coarsen(&mut self, bucket_ms: i64) {
        while self.bucket_ms < bucket_ms {
            let longer = BUCKETS_MS.into_iter().find(|ms| *ms > self.bucket_ms);
            let longer = longer.unwrap_or_else(|| self.bucket_ms.saturating_mul(2));
            let times = longer / self.bucket_ms;
            self.bucket_ms = longer;
            for (bucket, counts) in std::mem::take(&mut self.buckets) {
                self.buckets.entry(bucket.div_euclid(times)).or_default().add_all(&counts);
            }
        }
    }

    fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        self.coarsen(other.bucket_ms);
        other.coarsen(self.bucket_ms);
        for (bucket, counts) in other.buckets {
            self.buckets.entry(bucket).or_default().add_all(&counts);
        }
        self.fit();
    }

    /// Adds buckets without records at both ends of a range. Unit: milliseconds since 1970, at the requested offset.
    fn cover(&mut self, first_ms: i64, last_ms: i64) {
        for time in [first_ms, last_ms] {
            self.buckets.entry(time.div_euclid(self.bucket_ms)).or_default();
        }
        self.fit();
    }

    /// Makes buckets longer until there are not too many, those without records included.
    fn fit(&mut self) {
        while let (Some((first, _)), Some((last, _))) = (self.buckets.first_key_value(), self.buckets.last_key_value())
            && last - first >= limits::SEARCH_BUCKETS_MAX
        {
            self.coarsen(self.bucket_ms + 1);
        }
    }
}

/// The buckets of time in which rows are counted.
#[derive(Debug, Clone, Copy)]
struct Calendar {
    /// The time by which days begin before midnight UTC. Unit: milliseconds.
    utc_offset_ms: i64,
    /// The length of a bucket, unless there would be too many. Unit: milliseconds.
    bucket_ms: i64,
}

impl Calendar {
    /// Creates a calendar whose buckets have the length of those of the final counts of the range.
    fn of(range: TimeRange, now: Timestamp, utc_offset_ms: i64) -> Self {
        let mut calendar = Self { utc_offset_ms, bucket_ms: BUCKETS_MS[0] };
        let mut times = TimeCounts::default();
        calendar.cover(&mut times, range, now);
        calendar.bucket_ms = times.bucket_ms;
        calendar
    }

    /// Extends counts to the whole range, if it has an earliest time.
    fn cover(self, times: &mut TimeCounts, range: TimeRange, now: Timestamp) {
        if let Some(start) = range.start {
            let end = range.end.unwrap_or(now).max(start);
            let [first, last] = [start, end].map(|time| time.as_millis().saturating_add(self.utc_offset_ms));
            times.cover(first, last);
        }
    }
}

/// The counts of some rows. Tasks and workspaces are those of the runs, which are numbered.
#[derive(Debug, Default)]
struct RowCounts {
    runs: HashMap<u32, u64>,
    severities: HashMap<Severity, u64>,
    components: HashMap<String, u64>,
    other_components: u64,
    days: HashMap<i64, u64>,
    times: HashMap<i64, SeverityCounts>,
}

impl Query {
    /// Counts the matching records by the values of their fields and over time. Days begin at midnight at an offset
    /// from UTC. Unit of the offset: milliseconds.
    pub async fn facets(&self, search: SearchQuery, utc_offset_ms: i64) -> Result<SearchFacets> {
        let begun = Instant::now();
        let (core, search) = (self.core.clone(), Arc::new(SearchQuery { after: None, ..search }));
        let (counts, row_groups) = (Arc::<Counts>::default(), Arc::<KnownRowGroups>::default());
        let mut facets = SearchFacets::default();
        let calendar = Calendar::of(search.range, core.now(), utc_offset_ms);
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
                async move { count_unit(&core, &search, &counts, &row_groups, unit, calendar).await }
            });
            let mut jobs = stream::iter(jobs).buffer_unordered(threads);
            while let Some(counted) = jobs.try_next().await? {
                match counted {
                    Ok(counted) => facets.add(&counted),
                    Err(unreadable) => {
                        facets.unreadable.add(unreadable);
                        is_complete = false;
                    }
                }
            }
            if round.elapsed() < limits::SEARCH_ROUND_TIME {
                at_a_time = (at_a_time * 2).min(limits::SEARCH_ROUND_SLICES_MAX);
            }
            left = later;
        }
        calendar.cover(&mut facets.times, search.range, core.now());
        facets.task_names.retain(|task, _| facets.tasks.contains_key(task));
        facets.is_complete = is_complete;
        facets.scanned_records = counts.records.load(Ordering::Relaxed);
        facets.scanned_bytes = counts.bytes.load(Ordering::Relaxed);
        Ok(facets)
    }
}

/// Returns the counts of a unit by its runs, or the records of the unit that cannot be read.
async fn count_unit(
    core: &Core,
    search: &Arc<SearchQuery>,
    counts: &Arc<Counts>,
    row_groups: &KnownRowGroups,
    mut unit: Unit,
    calendar: Calendar,
) -> Result<Result<SearchFacets, UnreadableRecords>> {
    if core.now().millis_since(unit.planned_at) > limits::SCAN_CHECK_MS {
        unit.without_deleted(core).await?;
    }
    match count_in_unit(core, search, counts, row_groups, &unit, calendar).await {
        Ok(counted) => Ok(Ok(counted)),
        Err(error) => Ok(left_out(core, unit, error).await?.map_or_else(|| Ok(SearchFacets::default()), Err)),
    }
}

async fn count_in_unit(
    core: &Core,
    search: &Arc<SearchQuery>,
    counts: &Arc<Counts>,
    row_groups: &KnownRowGroups,
    unit: &Unit,
    calendar: Calendar,
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
        let rows = batches.next(move |batch| count_rows(&of_batch, &batch, calendar)).await?;
        let Some(rows) = rows else { return Ok(counted) };
        counted.add_rows(&runs, rows, calendar);
    }
}

fn count_rows(runs: &UnitRuns, batch: &RecordBatch, calendar: Calendar) -> Result<RowCounts> {
    let times = column::<TimestampMillisecondArray>(batch, "time")?;
    let (severities, components) = (TextColumn::of(batch, "severity")?, TextColumn::of(batch, "bundle_name")?);
    let mut counted = RowCounts::default();
    for (row, run) in runs.run_of_each_row(batch)?.into_iter().enumerate() {
        *counted.runs.entry(run).or_default() += 1;
        let severity = Severity::of(severities.text(row));
        *counted.severities.entry(severity).or_default() += 1;
        let time_ms = times.value(row).saturating_add(calendar.utc_offset_ms);
        *counted.days.entry(time_ms.div_euclid(limits::DAY_MS)).or_default() += 1;
        counted.times.entry(time_ms.div_euclid(calendar.bucket_ms)).or_default().add(severity);
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
    fn add_rows(&mut self, runs: &UnitRuns, rows: RowCounts, calendar: Calendar) {
        for (run, count) in rows.runs {
            let run = &runs.runs[run as usize];
            self.records += count;
            *self.tasks.entry(run.task_id.clone()).or_default() += count;
            *self.workspaces.entry(run.workspace_id.clone()).or_default() += count;
            *self.statuses.entry(run.status.clone()).or_default() += count;
        }
        add_all(&mut self.severities, rows.severities);
        add_all(&mut self.days, rows.days);
        self.times.add(&TimeCounts { bucket_ms: calendar.bucket_ms, buckets: rows.times.into_iter().collect() });
        self.other_components += rows.other_components;
        self.add_components(rows.components);
    }

    fn add(&mut self, other: &Self) {
        self.records += other.records;
        add_all(&mut self.tasks, other.tasks.clone());
        add_all(&mut self.workspaces, other.workspaces.clone());
        add_all(&mut self.severities, other.severities.clone());
        add_all(&mut self.statuses, other.statuses.clone());
        add_all(&mut self.days, other.days.clone());
        self.times.add(&other.times);
        self.other_components += other.other_components;
        self.add_components(other.components.clone());
    }

    /// Adds the counts of components. Beyond the maximum number of components, records are counted together.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(times_ms: &[i64], bucket_ms: i64) -> TimeCounts {
        let mut counted = TimeCounts { bucket_ms, buckets: BTreeMap::new() };
        for time_ms in times_ms {
            counted.buckets.entry(time_ms.div_euclid(bucket_ms)).or_default().add(Severity::Warn);
        }
        counted
    }

    #[test]
    fn buckets_are_longer_the_more_time_they_cover() {
        let mut times = TimeCounts::default();
        times.add(&counted(&[0, 500, 119_000], 1_000));
        assert_eq!((times.bucket_ms, times.buckets.len()), (1_000, 2));
        times.add(&counted(&[120_000], 1_000));
        assert_eq!((times.bucket_ms, times.buckets.len()), (5_000, 3));
        times.add(&counted(&[-1], 15_000));
        assert_eq!(times.bucket_ms, 15_000);
        assert_eq!(times.buckets.keys().copied().collect::<Vec<_>>(), [-1, 0, 7, 8]);
        assert_eq!(times.buckets[&0].of(Severity::Warn), 2);
        times.add(&counted(&[Timestamp::MIN.as_millis(), Timestamp::MAX.as_millis()], 1_000));
        assert!(times.buckets.len() <= 6);
        assert_eq!(times.buckets.values().map(SeverityCounts::total).sum::<u64>(), 7);
    }

    #[test]
    fn a_range_is_covered_whole() {
        let now = Timestamp::clamped(8 * limits::DAY_MS);
        let range = TimeRange { start: Some(Timestamp::clamped(limits::DAY_MS)), end: None };
        let calendar = Calendar::of(range, now, 60 * MINUTE_MS);
        assert_eq!(calendar.bucket_ms, 180 * MINUTE_MS);
        let mut times = TimeCounts::default();
        calendar.cover(&mut times, range, now);
        assert_eq!(times.buckets.keys().copied().collect::<Vec<_>>(), [8, 64]);
        assert_eq!(Calendar::of(TimeRange::ALL, now, 0).bucket_ms, 1_000);
    }
}
