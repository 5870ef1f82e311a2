//! Reads one unit of a scan: conditions first, each on its own column, then the other columns of the rows that
//! passed.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, LargeStringArray, RecordBatch, RecordBatchOptions,
    StringArray, TimestampMillisecondArray, UInt32Array,
};
use arrow_schema::ArrowError;
use az::SaturatingAs;
use memchr::memmem;
use parquet::arrow::arrow_reader::{ArrowPredicate, ArrowPredicateFn, RowFilter};
use runlog_model::TimeRange;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits;
use crate::query::scan::plan::{PlannedRun, PlannedSlice, Unit};
use crate::query::scan::request::{RecordView, ScanColumn, ScanRequest};
use crate::segment::reader::{RowReader, SegmentFile, in_milliseconds};
use crate::segment::values::{TextColumn, column};
use crate::segment::word_index::NeededWords;

/// The batches of a unit.
pub(crate) struct UnitBatches {
    core: Core,
    request: Arc<ScanRequest>,
    unit: Unit,
    runs: Arc<UnitRuns>,
    source: Source,
}

/// The source of the rows.
enum Source {
    /// All selected columns are in the catalog: the next slice, and the number of its rows that were returned.
    Catalog { slice: usize, given: usize },
    /// The object.
    File(Box<RowReader>),
    /// No rows are left to read.
    Nothing,
}

/// The runs of a unit, in the order of their rows.
pub(crate) struct UnitRuns {
    pub(crate) runs: Vec<Arc<PlannedRun>>,
    pub(crate) arrival_bases: Vec<i64>,
    by_id: HashMap<String, usize>,
}

/// Opens the slices of a unit whose logs still exist.
pub(crate) async fn read_unit(
    core: &Core,
    request: &Arc<ScanRequest>,
    range: TimeRange,
    mut unit: Unit,
) -> Result<UnitBatches> {
    if core.now().millis_since(unit.planned_at) > limits::SCAN_CHECK_MS {
        unit.without_deleted(core).await?;
    }
    let mut batches = UnitBatches {
        core: core.clone(),
        request: Arc::clone(request),
        runs: Arc::new(UnitRuns::of(&unit.slices)),
        unit,
        source: Source::Nothing,
    };
    let opened = batches.open(range).await;
    match opened {
        Ok(source) => batches.source = source,
        Err(error) => batches.end_if_deleted(error).await?,
    }
    Ok(batches)
}

impl UnitBatches {
    /// Returns the next rows that meet the conditions; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let batch = match &mut self.source {
                Source::Nothing => return Ok(None),
                Source::Catalog { slice, given } => {
                    let Some(part) = self.unit.slices.get(*slice) else { return Ok(None) };
                    let rows = (part.records - *given).min(limits::SCAN_BATCH_RECORDS);
                    let run = self.runs.by_id.get(&part.run.id).copied().unwrap_or_default();
                    (*slice, *given) =
                        if *given + rows == part.records { (*slice + 1, 0) } else { (*slice, *given + rows) };
                    return Ok(Some(self.runs.batch_of_catalog(&self.request, run, rows)?));
                }
                Source::File(rows) => {
                    let (runs, request) = (Arc::clone(&self.runs), Arc::clone(&self.request));
                    rows.next(move |batch| runs.batch_of_file(&request, &batch)).await
                }
            };
            match batch {
                Ok(Some(batch)) if batch.num_rows() == 0 => {}
                Ok(batch) => return Ok(batch),
                Err(error) => self.end_if_deleted(error).await?,
            }
        }
    }

    async fn open(&mut self, range: TimeRange) -> Result<Source> {
        let Some(mut rows) = rows_together(&self.unit.slices) else { return Ok(Source::Nothing) };
        let conditions = Conditions::of(&self.request, range, &self.unit.slices);
        let mut columns: Vec<&'static str> =
            self.request.columns.iter().filter(|column| !column.is_of_run()).map(|column| column.name()).collect();
        if columns.is_empty() && conditions.is_empty() {
            return Ok(Source::Catalog { slice: 0, given: 0 });
        }
        let needs_run = |column: &ScanColumn| column.is_of_run() || *column == ScanColumn::Arrival;
        if self.runs.runs.len() > 1 && self.request.columns.iter().any(needs_run) {
            columns.push("run_id");
        }
        if columns.is_empty() {
            // Rows can be counted only if at least one column is read.
            columns.push("time");
        }
        let file = SegmentFile::open(self.core.segments(), &self.unit.object_key, self.unit.object_bytes).await?;
        let mut words = NeededWords::default();
        conditions.message_parts.iter().for_each(|part| words.extend(NeededWords::of(part, false)));
        if !words.is_empty()
            && let Some(groups) = file.row_groups_with(&words).await?
        {
            rows = file.rows_in(&groups, rows);
        }
        if rows.is_empty() {
            return Ok(Source::Nothing);
        }
        let filter = conditions.row_filter(&file);
        Ok(Source::File(Box::new(file.rows_of(rows, &columns, filter)?)))
    }

    /// Ends the unit if its logs were deleted in the meantime; otherwise fails with `error`.
    async fn end_if_deleted(&mut self, error: Error) -> Result<()> {
        self.unit.without_deleted(&self.core).await?;
        match self.unit.slices.is_empty() {
            true => self.source = Source::Nothing,
            false => return Err(self.unit.lost(error)),
        }
        Ok(())
    }
}

/// Returns the rows of some slices of one object, with neighbouring slices as one range; `None` without slices.
pub(crate) fn rows_together(slices: &[PlannedSlice]) -> Option<Vec<Range<usize>>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for slice in slices {
        let rows = slice.first_row..slice.first_row + slice.records;
        match ranges.last_mut() {
            Some(last) if last.end == rows.start => last.end = rows.end,
            _ => ranges.push(rows),
        }
    }
    (!ranges.is_empty()).then_some(ranges)
}

/// The conditions to check for each row of a unit.
struct Conditions {
    /// `None` if all rows are in the range.
    range: Option<TimeRange>,
    severities: Option<Arc<HashSet<String>>>,
    message_parts: Vec<String>,
}

impl Conditions {
    fn of(request: &ScanRequest, range: TimeRange, slices: &[PlannedSlice]) -> Self {
        let is_inside = |slice: &PlannedSlice| range.contains(slice.first_time) && range.contains(slice.last_time);
        Self {
            range: (!slices.iter().all(is_inside)).then_some(range),
            severities: request.filter.severities.as_ref().map(|texts| Arc::new(texts.iter().cloned().collect())),
            message_parts: request.filter.message_parts.clone(),
        }
    }

    fn is_empty(&self) -> bool {
        self.range.is_none() && self.severities.is_none() && self.message_parts.is_empty()
    }

    /// Returns the conditions as a row filter, cheap ones first: the columns of the others are read only for rows that
    /// meet these.
    fn row_filter(self, file: &SegmentFile) -> Option<RowFilter> {
        let mut predicates: Vec<Box<dyn ArrowPredicate>> = Vec::new();
        if let Some(range) = self.range {
            predicates.push(predicate(file, "time", move |batch| {
                let times = column::<TimestampMillisecondArray>(batch, "time")?;
                Ok(times.values().iter().map(|ms| Some(range.contains(*ms))).collect())
            }));
        }
        if let Some(severities) = self.severities {
            predicates.push(predicate(file, "severity", move |batch| {
                Ok(rows_named(&TextColumn::of(batch, "severity")?, &severities))
            }));
        }
        predicates.extend(self.message_parts.iter().map(|part| contains(file, part)));
        (!predicates.is_empty()).then(|| RowFilter::new(predicates))
    }
}

/// A condition on one column.
pub(crate) fn predicate(
    file: &SegmentFile,
    name: &'static str,
    mut passes: impl FnMut(&RecordBatch) -> Result<BooleanArray> + Send + 'static,
) -> Box<dyn ArrowPredicate> {
    let failed = |error: Error| ArrowError::ExternalError(Box::new(error));
    Box::new(ArrowPredicateFn::new(file.mask(&[name]), move |batch| {
        in_milliseconds(batch).and_then(|batch| passes(&batch)).map_err(failed)
    }))
}

/// Returns the condition that a message contains a text, with exact case.
pub(crate) fn contains(file: &SegmentFile, part: &str) -> Box<dyn ArrowPredicate> {
    let finder = memmem::Finder::new(part.as_bytes()).into_owned();
    predicate(file, "message", move |batch| Ok(rows_containing(column::<StringArray>(batch, "message")?, &finder)))
}

/// Rows that were read, as records.
pub(crate) struct ViewedRows<'b> {
    runs: &'b UnitRuns,
    times: &'b TimestampMillisecondArray,
    /// Arrivals in the object; absent if they were not read.
    arrivals: Option<Arrivals<'b>>,
    /// Severity, message, log type, bundle name and version, pod name and other fields, as far as they were read.
    texts: [Option<TextColumn>; 7],
}

enum Arrivals<'b> {
    Long(&'b Int64Array),
    /// Segments of the first version had shorter numbers.
    Short(&'b Int32Array),
}

impl<'b> ViewedRows<'b> {
    pub(crate) fn of(batch: &'b RecordBatch, runs: &'b UnitRuns) -> Result<Self> {
        let has = |name: &str| batch.column_by_name(name).is_some();
        let arrivals = match has("arrival") {
            false => None,
            true => Some(match column::<Int64Array>(batch, "arrival") {
                Ok(numbers) => Arrivals::Long(numbers),
                Err(_) => Arrivals::Short(column::<Int32Array>(batch, "arrival")?),
            }),
        };
        let names = ["severity", "message", "log_type", "bundle_name", "bundle_version", "pod_name", "extra"];
        let mut texts = [const { None }; 7];
        for (text, name) in texts.iter_mut().zip(names) {
            if has(name) {
                *text = Some(TextColumn::of(batch, name)?);
            }
        }
        Ok(Self { runs, times: column(batch, "time")?, arrivals, texts })
    }

    /// Returns the total length of the messages. Unit: bytes.
    pub(crate) fn message_bytes(&self) -> u64 {
        match &self.texts[1] {
            Some(TextColumn::Plain(messages)) => {
                let offsets = messages.value_offsets();
                (offsets[messages.len()] - offsets[0]).saturating_as::<u64>()
            }
            Some(coded) => (0..coded.len()).filter_map(|row| coded.text(row)).map(|text| text.len() as u64).sum(),
            None => 0,
        }
    }

    /// Returns the record of a row that belongs to a run of the unit.
    pub(crate) fn view(&self, row: usize, run: usize) -> RecordView<'_> {
        let text = |index: usize| self.texts[index].as_ref().and_then(|texts| texts.text(row));
        let number = match &self.arrivals {
            None => 0,
            Some(Arrivals::Long(numbers)) => numbers.value(row),
            Some(Arrivals::Short(numbers)) => numbers.value(row).into(),
        };
        RecordView {
            run: self.runs.runs[run].as_scan_run(),
            time_ms: self.times.value(row),
            arrival: number + self.runs.arrival_bases[run],
            severity: text(0),
            message: text(1),
            log_type: text(2),
            bundle_name: text(3),
            bundle_version: text(4),
            pod_name: text(5),
            extra: text(6),
        }
    }
}

fn rows_named(texts: &TextColumn, wanted: &HashSet<String>) -> BooleanArray {
    match texts {
        TextColumn::Plain(texts) => texts.iter().map(|text| Some(text.is_some_and(|t| wanted.contains(t)))).collect(),
        TextColumn::Coded { keys, texts } => {
            let is_wanted: Vec<bool> =
                texts.iter().map(|text| text.is_some_and(|text| wanted.contains(text))).collect();
            keys.iter().map(|key| Some(key.is_some_and(|key| is_wanted[key.saturating_as::<usize>()]))).collect()
        }
    }
}

/// Returns the rows whose text contains the needle of a finder. All texts are searched as one buffer, which is faster
/// than a search of each text.
pub(crate) fn rows_containing(texts: &StringArray, finder: &memmem::Finder<'_>) -> BooleanArray {
    let length = finder.needle().len();
    if length == 0 {
        return (0..texts.len()).map(|row| Some(texts.is_valid(row))).collect();
    }
    let (offsets, bytes) = (texts.value_offsets(), texts.value_data());
    let mut held = vec![false; texts.len()];
    let (mut row, mut at) = (0, offsets[0].saturating_as::<usize>());
    let end = offsets[texts.len()].saturating_as::<usize>();
    while let Some(ahead) = finder.find(&bytes[at..end]) {
        let found = at + ahead;
        row += offsets[row + 1..].partition_point(|offset| (*offset).saturating_as::<usize>() <= found);
        let row_end = offsets[row + 1].saturating_as::<usize>();
        if found + length <= row_end {
            held[row] = true;
            at = row_end;
        } else {
            // The match begins in one text and ends in the next.
            at = found + 1;
        }
    }
    held.into()
}

impl UnitRuns {
    pub(crate) fn of(slices: &[PlannedSlice]) -> Self {
        let (mut runs, mut arrival_bases, mut by_id) = (Vec::new(), Vec::new(), HashMap::new());
        for slice in slices {
            if !by_id.contains_key(&slice.run.id) {
                by_id.insert(slice.run.id.clone(), runs.len());
                runs.push(Arc::clone(&slice.run));
                arrival_bases.push(slice.arrival_base);
            }
        }
        Self { runs, arrival_bases, by_id }
    }

    fn batch_of_catalog(&self, request: &ScanRequest, run: usize, rows: usize) -> Result<RecordBatch> {
        let run_of_row = vec![run.saturating_as::<u32>(); rows];
        let columns = request.columns.iter().map(|column| self.column_of_runs(*column, &run_of_row));
        batch(request, columns.collect::<Result<_>>()?, rows)
    }

    fn batch_of_file(&self, request: &ScanRequest, read: &RecordBatch) -> Result<RecordBatch> {
        let run_of_row = self.run_of_each_row(read)?;
        let columns = request.columns.iter().map(|wanted| match wanted {
            ScanColumn::RunId | ScanColumn::TaskId | ScanColumn::WorkspaceId => {
                self.column_of_runs(*wanted, &run_of_row)
            }
            ScanColumn::Time => {
                // The type in the file may have another name for the same time zone.
                let times = column::<TimestampMillisecondArray>(read, "time")?;
                Ok(Arc::new(times.clone().with_timezone("UTC")) as ArrayRef)
            }
            ScanColumn::Arrival => self.arrivals(read, &run_of_row),
            _ => Ok(Arc::new(TextColumn::of(read, wanted.name())?.long()?) as ArrayRef),
        });
        batch(request, columns.collect::<Result<_>>()?, read.num_rows())
    }

    /// Returns the index in `runs` of each row.
    pub(crate) fn run_of_each_row(&self, read: &RecordBatch) -> Result<Vec<u32>> {
        let Ok(ids) = column::<StringArray>(read, "run_id") else { return Ok(vec![0; read.num_rows()]) };
        let (mut last, mut runs) = (0, Vec::with_capacity(ids.len()));
        for row in 0..ids.len() {
            let id = ids.value(row);
            if self.runs[last].id != id {
                let known = self.by_id.get(id).copied();
                last = known.ok_or_else(|| Error::corrupt("a segment has rows of a run where the catalog has none"))?;
            }
            runs.push(last.saturating_as::<u32>());
        }
        Ok(runs)
    }

    fn column_of_runs(&self, column: ScanColumn, run_of_row: &[u32]) -> Result<ArrayRef> {
        let texts = self.runs.iter().map(|run| match column {
            ScanColumn::TaskId => &run.task_id,
            ScanColumn::WorkspaceId => &run.workspace_id,
            _ => &run.id,
        });
        let texts = LargeStringArray::from_iter_values(texts);
        Ok(arrow_select::take::take(&texts, &UInt32Array::from(run_of_row.to_vec()), None)?)
    }

    fn arrivals(&self, read: &RecordBatch, run_of_row: &[u32]) -> Result<ArrayRef> {
        let base = |row: usize| self.arrival_bases[run_of_row[row] as usize];
        let arrivals: Int64Array = match column::<Int64Array>(read, "arrival") {
            Ok(numbers) => numbers.values().iter().enumerate().map(|(row, number)| number + base(row)).collect(),
            // Segments of the first version had shorter numbers.
            Err(_) => {
                let numbers = column::<Int32Array>(read, "arrival")?.values();
                numbers.iter().enumerate().map(|(row, number)| i64::from(*number) + base(row)).collect()
            }
        };
        Ok(Arc::new(arrivals))
    }
}

fn batch(request: &ScanRequest, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    // A batch without columns still has a number of rows.
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(&request.schema), columns, &options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(texts: &[Option<&str>], part: &str) -> Vec<usize> {
        let held = rows_containing(&StringArray::from(texts.to_vec()), &memmem::Finder::new(part));
        (0..held.len()).filter(|row| held.value(*row)).collect()
    }

    #[test]
    fn a_match_does_not_span_two_texts() {
        let texts = [Some("lost conn"), Some("ection"), None, Some("connection, connection"), Some("")];
        assert_eq!(rows(&texts, "connection"), [3]);
        assert_eq!(rows(&texts, "conn"), [0, 3]);
        assert_eq!(rows(&texts, ""), [0, 1, 3, 4]);
        assert_eq!(rows(&[], "a"), [0_usize; 0]);
    }

    #[test]
    fn of_a_slice_of_an_array_only_its_rows_are_looked_through() {
        let texts = StringArray::from(vec!["aa", "ba", "ab", "bb"]).slice(1, 2);
        let held = rows_containing(&texts, &memmem::Finder::new("a"));
        assert_eq!(held, BooleanArray::from(vec![true, true]));
        assert_eq!(rows_containing(&texts, &memmem::Finder::new("bb")), BooleanArray::from(vec![false, false]));
    }
}
