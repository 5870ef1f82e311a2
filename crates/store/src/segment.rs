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

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use runlog_model::{Record, RunId};

use crate::error::{Error, Result};
use crate::limits;

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

/// Writes records as a segment: of each run those that are new, in order of arrival. Tells where each run's rows are.
pub(crate) fn encode(runs: &[(RunId, Vec<Arc<Vec<Record>>>)]) -> Result<(Vec<u8>, Vec<RunRows>)> {
    let total = runs.iter().flat_map(|(_, parts)| parts.iter().map(|part| part.len())).sum();
    // The records in order of (run, time, arrival), each with its number in its run's part.
    let mut rows: Vec<(&Record, i64)> = Vec::with_capacity(total);
    let mut run_ids = StringBuilder::with_capacity(total, 36 * total);
    let mut parts = Vec::with_capacity(runs.len());
    for (run_id, new) in runs {
        let first_row = rows.len();
        rows.extend(new.iter().flat_map(|records| records.iter()).zip(0..));
        // The sort is stable, and arrivals ascend: ties stay in order of arrival.
        rows[first_row..].sort_by_key(|(record, _)| record.time);
        let times = || rows[first_row..].iter().map(|(record, _)| record.time.as_millis());
        let (first_time, last_time) = (times().next().unwrap_or_default(), times().last().unwrap_or_default());
        parts.push(RunRows { run_id: *run_id, first_row, records: rows.len() - first_row, first_time, last_time });
        let name = run_id.to_string();
        (first_row..rows.len()).for_each(|_| run_ids.append_value(&name));
    }
    let texts = |field: fn(&Record) -> Option<&str>| -> ArrayRef {
        Arc::new(rows.iter().map(|(record, _)| field(record)).collect::<StringArray>())
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(run_ids.finish()),
        times_column(rows.iter().map(|(record, _)| record.time.as_millis())),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, arrival)| *arrival))),
        texts(|record| record.severity.as_deref()),
        texts(|record| record.log_type.as_deref()),
        texts(|record| record.message.as_deref()),
        texts(|record| record.bundle_name.as_deref()),
        texts(|record| record.bundle_version.as_deref()),
        texts(|record| record.pod_name.as_deref()),
        extras(rows.iter().map(|(record, _)| *record))?,
    ];
    let batch = RecordBatch::try_new(schema(), columns)?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema(), Some(properties(SEGMENT_ZSTD_LEVEL)?))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok((bytes, parts))
}

/// A column of instants. Unit: epoch milliseconds.
pub(crate) fn times_column(times: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC"))
}

fn extras<'a>(records: impl Iterator<Item = &'a Record>) -> Result<ArrayRef> {
    let mut column = StringBuilder::new();
    for record in records {
        match &record.extra {
            None => column.append_null(),
            Some(extra) => column.append_value(
                serde_json::to_string(extra).map_err(|_| Error::invalid("a field of a record has no JSON form"))?,
            ),
        }
    }
    Ok(Arc::new(column.finish()))
}

pub(crate) fn schema() -> SchemaRef {
    let fields = COLUMNS.into_iter().enumerate().map(|(index, name)| {
        let kind = match name {
            "time" => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            "arrival" => DataType::Int64,
            _ => DataType::Utf8,
        };
        let field_id = [("PARQUET:field_id".to_owned(), (index + 1).to_string())];
        Field::new(name, kind, index > 2).with_metadata(field_id.into_iter().collect())
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// How hard a segment is compressed: it is written once, in a hurry, and soon merged.
const SEGMENT_ZSTD_LEVEL: i32 = 1;

/// How segments and sealed files are encoded; the reasons are in decision 0010.
pub(crate) fn properties(zstd_level: i32) -> Result<WriterProperties> {
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
            .set_column_encoding(name.into(), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    }
    Ok(properties.build())
}
