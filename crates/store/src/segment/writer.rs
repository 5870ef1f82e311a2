//! A segment: an object of records as Parquet, which any Parquet reader can open.
//!
//! | column | type | encoding |
//! |---|---|---|
//! | `run_id` | string | dictionary |
//! | `time` | timestamp, milliseconds, UTC | delta |
//! | `arrival` | 64-bit integer: number of the record in its slice, in order of arrival; in merged files, in its run | delta |
//! | `severity`, `log_type`, `bundle_name`, `bundle_version`, `pod_name` | string, may be null | dictionary |
//! | `message` | string, may be null | delta length |
//! | `extra` | string (a JSON object), may be null | delta length |
//!
//! Rows are in order of (run, time, arrival), so that a range of time is a range of rows (decision 0005).
//!
//! Sealed files for lakehouses have `time` in microseconds, because Apache Iceberg has no milliseconds, and three more
//! columns, `task_id`, `task_name` and `run_status`, because query engines have no access to the catalog
//! ([`FilePurpose::Lake`]).

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, TimestampMillisecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use az::SaturatingAs;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use runlog_model::RunId;

use crate::error::Result;
use crate::limits;
use crate::segment::columns::{RecordColumns, concatenated};

/// Names of the columns, in order.
pub(crate) const COLUMNS: [&str; 10] = [
    "run_id",
    "time",
    "arrival",
    "severity",
    "log_type",
    "message",
    "bundle_name",
    "bundle_version",
    "pod_name",
    "extra",
];

/// Names of the columns of a sealed file for lakehouses, in order; a lakehouse identifies each by its number, counted
/// from 1.
pub(crate) const LAKE_COLUMNS: [&str; 13] = [
    "run_id",
    "time",
    "arrival",
    "severity",
    "log_type",
    "message",
    "bundle_name",
    "bundle_version",
    "pod_name",
    "extra",
    "task_id",
    "task_name",
    "run_status",
];

/// Returns true for columns that queries restrict: engines skip files by their least and greatest values.
pub(crate) fn has_bounds(column: &str) -> bool {
    !matches!(column, "message" | "extra")
}

/// Returns false if each row has a value in this column.
pub(crate) fn may_be_null(column: &str) -> bool {
    !matches!(column, "run_id" | "time" | "arrival" | "task_id" | "task_name" | "run_status")
}

/// The purpose of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilePurpose {
    /// This archive: [`COLUMNS`].
    Archive,
    /// Lakehouses as well: [`LAKE_COLUMNS`].
    Lake,
}

/// Columns with few distinct texts.
pub(crate) const NAME_COLUMNS: [&str; 5] = ["severity", "log_type", "bundle_name", "bundle_version", "pod_name"];

/// Consecutive rows of one run in a segment, which make a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunRows {
    pub(crate) run_id: RunId,
    pub(crate) first_row: usize,
    pub(crate) records: usize,
    /// Epoch milliseconds.
    pub(crate) first_time: i64,
    pub(crate) last_time: i64,
}

/// Encodes records as a segment: the new records of each run, in order of arrival. Returns the rows of each run.
pub(crate) fn encode(runs: &[(RunId, Vec<Arc<RecordColumns>>)]) -> Result<(Vec<u8>, Vec<RunRows>)> {
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, schema(FilePurpose::Archive), Some(properties(SEGMENT_ZSTD_LEVEL)?.build()))?;
    let (mut parts, mut first_row) = (Vec::with_capacity(runs.len()), 0);
    for (run_id, new) in runs {
        let new: Vec<&RecordColumns> = new.iter().map(|columns| &**columns).collect();
        let whole;
        let mut columns = match new[..] {
            [one] => one,
            _ => {
                whole = concatenated(&new)?;
                &whole
            }
        };
        let mut arrivals: Vec<u32> = (0..columns.times.len().saturating_as::<u32>()).collect();
        let sorted;
        if !columns.times.is_sorted() {
            // The sort is stable, and arrivals ascend: ties stay in order of arrival.
            arrivals.sort_by_key(|row| columns.times[*row as usize]);
            sorted = columns.reordered(&arrivals)?;
            columns = &sorted;
        }
        let records = columns.times.len();
        for rows in slices_of(&columns.times) {
            if rows.len() < records {
                renumber(&mut arrivals[rows.clone()]);
            }
            let times = &columns.times[rows.clone()];
            let (first_time, last_time) = times.first().zip(times.last()).unwrap_or((&0, &0));
            let (first_row, records) = (first_row + rows.start, rows.len());
            parts.push(RunRows { run_id: *run_id, first_row, records, first_time: *first_time, last_time: *last_time });
        }
        first_row += records;
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(run_id.to_string(), records))),
            times_column(FilePurpose::Archive, columns.times.iter().copied()),
            Arc::new(Int64Array::from_iter_values(arrivals.iter().map(|arrival| i64::from(*arrival)))),
        ];
        arrays.extend(columns.texts.iter().map(|column| Arc::new(column.clone()) as ArrayRef));
        writer.write(&RecordBatch::try_new(schema(FilePurpose::Archive), arrays)?)?;
    }
    writer.close()?;
    Ok((bytes, parts))
}

/// Returns the rows of a run in a segment, split at gaps between their times that are longer than the rest in total. A
/// few old records in each batch would otherwise make the slices of all batches overlap, and all of them would be open
/// while one of these records is read.
fn slices_of(times: &[i64]) -> Vec<Range<usize>> {
    let slices_max = if times.len() < limits::SLICE_CUT_RECORDS_MIN { 1 } else { limits::SEGMENT_SLICES_MAX };
    let (mut slices, mut left) = (Vec::new(), Vec::from_iter(std::iter::once(0..times.len())));
    while let Some(rows) = left.pop() {
        let has_place = slices.len() + left.len() + 1 < slices_max;
        match longest_gap(&times[rows.clone()]).filter(|_| has_place) {
            Some(row) => {
                let cut = rows.start + row;
                left.extend([cut..rows.end, rows.start..cut]);
            }
            None => slices.push(rows),
        }
    }
    slices
}

/// Returns the row after the longest gap between some times, if the gap is longer than the rest in total.
fn longest_gap(times: &[i64]) -> Option<usize> {
    let (first, last) = times.first().zip(times.last())?;
    let gaps = times.windows(2).enumerate().map(|(index, pair)| (pair[1].saturating_sub(pair[0]), index + 1));
    let (gap_ms, row) = gaps.max()?;
    let rest_ms = last.saturating_sub(*first).saturating_sub(gap_ms);
    (gap_ms > rest_ms.max(limits::SLICE_GAP_MS_MIN)).then_some(row)
}

/// Numbers some arrivals from 0, in the same order.
fn renumber(arrivals: &mut [u32]) {
    let mut ascending = arrivals.to_vec();
    ascending.sort_unstable();
    for arrival in arrivals {
        let number = *arrival;
        *arrival = ascending.partition_point(|other| *other < number).saturating_as::<u32>();
    }
}

/// A column of instants. Unit: epoch milliseconds.
pub(crate) fn times_column(form: FilePurpose, times: impl Iterator<Item = i64>) -> ArrayRef {
    match form {
        FilePurpose::Archive => Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC")),
        FilePurpose::Lake => {
            let times = times.map(|ms| ms.saturating_mul(1_000));
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
        }
    }
}

pub(crate) fn schema(form: FilePurpose) -> SchemaRef {
    let (columns, unit) = match form {
        FilePurpose::Archive => (&COLUMNS[..], TimeUnit::Millisecond),
        FilePurpose::Lake => (&LAKE_COLUMNS[..], TimeUnit::Microsecond),
    };
    let fields = columns.iter().enumerate().map(|(index, name)| {
        let kind = match *name {
            "time" => DataType::Timestamp(unit, Some("UTC".into())),
            "arrival" => DataType::Int64,
            _ => DataType::Utf8,
        };
        let field_id = [("PARQUET:field_id".to_owned(), (index + 1).to_string())];
        Field::new(*name, kind, may_be_null(name)).with_metadata(field_id.into_iter().collect())
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The compression level of a segment: segments must be written fast, and are merged soon.
const SEGMENT_ZSTD_LEVEL: i32 = 1;

/// The encoding of sealed files; decision 0010 has the reasons.
pub(crate) fn sealed_properties() -> Result<WriterProperties> {
    let mut properties = properties(limits::SEALED_ZSTD_LEVEL)?;
    // With statistics, columns in which all rows of a row group have the same name, or none, need not be read.
    for name in NAME_COLUMNS.into_iter().chain(["extra", "task_id", "task_name", "run_status"]) {
        properties = properties.set_column_statistics_enabled(name.into(), EnabledStatistics::Chunk);
    }
    Ok(properties.build())
}

/// The encoding of segments and sealed files.
fn properties(zstd_level: i32) -> Result<WriterPropertiesBuilder> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd_level)?))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_statistics_enabled("time".into(), EnabledStatistics::Page)
        .set_column_statistics_enabled("run_id".into(), EnabledStatistics::Chunk)
        .set_data_page_row_count_limit(limits::CHUNK_RECORDS)
        .set_data_page_size_limit(4 << 20)
        .set_max_row_group_row_count(None);
    for name in ["time", "arrival"] {
        properties = properties
            .set_column_dictionary_enabled(name.into(), false)
            .set_column_encoding(name.into(), Encoding::DELTA_BINARY_PACKED);
    }
    for name in ["message", "extra"] {
        properties = properties
            .set_column_dictionary_enabled(name.into(), false)
            .set_column_encoding(name.into(), Encoding::PLAIN);
    }
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_old_records_of_a_batch_are_a_slice_of_their_own() {
        let new = (0..98).map(|number| 10_800_000 + number * 1_000);
        let times: Vec<i64> = [0, 5, 3_600_000].into_iter().chain(new).collect();
        assert_eq!(slices_of(&times), [0..2, 2..3, 3..101]);
        assert_eq!(slices_of(&times[..60]).len(), 1, "a few records are read in no time");
        let evenly: Vec<i64> = (0..1_000).map(|number| number * 3_600_000).collect();
        assert_eq!(slices_of(&evenly).len(), 1);
        let far: Vec<i64> = [i64::MIN].into_iter().chain((0..98).map(|number| i64::MAX - 98 + number)).collect();
        assert_eq!(slices_of(&far), [0..1, 1..99]);
        assert_eq!(slices_of(&[]).len(), 1);
    }

    #[test]
    fn arrivals_in_a_slice_are_numbered_from_0_in_their_order() {
        let mut arrivals = [7, 3, 90, 4];
        renumber(&mut arrivals);
        assert_eq!(arrivals, [2, 0, 3, 1]);
    }
}
