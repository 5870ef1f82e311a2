//! A segment: an object of records as Parquet, that any reader of Parquet can open.
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
//! Sealed files for lakehouses have `time` in microseconds, because Apache Iceberg knows no milliseconds, and three more
//! columns, `task_id`, `task_name` and `run_status`, because engines know nothing of the catalog ([`Form::Lake`]).

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

/// Names of the columns of a sealed file for lakehouses, in order; each is named there by its number, counted from 1.
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

/// True for the columns that questions restrict: engines skip files by their least and greatest values.
pub(crate) fn has_bounds(column: &str) -> bool {
    !matches!(column, "message" | "extra")
}

/// False when each row has a value in this column.
pub(crate) fn may_be_null(column: &str) -> bool {
    !matches!(column, "run_id" | "time" | "arrival" | "task_id" | "task_name" | "run_status")
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// This archive: [`COLUMNS`].
    Archive,
    /// Lakehouses as well: [`LAKE_COLUMNS`].
    Lake,
}

/// Columns with few distinct texts.
pub(crate) const NAME_COLUMNS: [&str; 5] = ["severity", "log_type", "bundle_name", "bundle_version", "pod_name"];

/// The rows of one run in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunRows {
    pub(crate) run_id: RunId,
    pub(crate) first_row: usize,
    pub(crate) records: usize,
    /// Epoch milliseconds.
    pub(crate) first_time: i64,
    pub(crate) last_time: i64,
}

/// Encodes records as a segment: of each run the new ones, in order of arrival. Returns where each run's rows are.
pub(crate) fn encode(runs: &[(RunId, Vec<Arc<RecordColumns>>)]) -> Result<(Vec<u8>, Vec<RunRows>)> {
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, schema(Form::Archive), Some(properties(SEGMENT_ZSTD_LEVEL)?.build()))?;
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
        let (first_time, last_time) = columns.times.first().zip(columns.times.last()).unwrap_or((&0, &0));
        parts.push(RunRows { run_id: *run_id, first_row, records, first_time: *first_time, last_time: *last_time });
        first_row += records;
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(run_id.to_string(), records))),
            times_column(Form::Archive, columns.times.iter().copied()),
            Arc::new(Int64Array::from_iter_values(arrivals.iter().map(|arrival| i64::from(*arrival)))),
        ];
        arrays.extend(columns.texts.iter().map(|column| Arc::new(column.clone()) as ArrayRef));
        writer.write(&RecordBatch::try_new(schema(Form::Archive), arrays)?)?;
    }
    writer.close()?;
    Ok((bytes, parts))
}

/// A column of instants. Unit: epoch milliseconds.
pub(crate) fn times_column(form: Form, times: impl Iterator<Item = i64>) -> ArrayRef {
    match form {
        Form::Archive => Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC")),
        Form::Lake => {
            let times = times.map(|ms| ms.saturating_mul(1_000));
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
        }
    }
}

pub(crate) fn schema(form: Form) -> SchemaRef {
    let (columns, unit) = match form {
        Form::Archive => (&COLUMNS[..], TimeUnit::Millisecond),
        Form::Lake => (&LAKE_COLUMNS[..], TimeUnit::Microsecond),
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

/// The compression level of a segment: it must be written fast, and is merged soon.
const SEGMENT_ZSTD_LEVEL: i32 = 1;

/// The encoding of sealed files; decision 0010 has the reasons.
pub(crate) fn sealed_properties() -> Result<WriterProperties> {
    let mut properties = properties(limits::SEALED_ZSTD_LEVEL)?;
    // Where all rows of a row group have the same name, or none, they are not read.
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
