//! A segment: an object of records as Parquet, that any reader of Parquet can open.
//!
//! | column | type | encoding |
//! |---|---|---|
//! | `run_id` | string | dictionary |
//! | `time` | timestamp, milliseconds, UTC | delta |
//! | `arrival` | 32-bit integer: number of the record in its slice, in order of arrival | delta |
//! | `severity`, `log_type`, `bundle_name`, `bundle_version`, `pod_name` | string, may be null | dictionary |
//! | `message` | string, may be null | delta length |
//! | `extra` | string (a JSON object), may be null | delta length |
//!
//! Rows are in order of (run, time, arrival), so that a range of time is a range of rows (decision 0005).

use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, ArrayRef, Int32Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use runlog_model::{Record, RunId, Timestamp};

use crate::error::{Error, Result};

const COLUMNS: [&str; 10] = [
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

/// Writes the records of one run, which are in order of arrival, as a segment.
pub(crate) fn encode(run: RunId, records: &[Record]) -> Result<Vec<u8>> {
    let mut order: Vec<u32> = (0..records.len() as u32).collect();
    // The sort is stable, and arrivals ascend: ties stay in order of arrival.
    order.sort_by_key(|index| records[*index as usize].time);
    let sorted = || order.iter().map(|index| &records[*index as usize]);
    let run = run.to_string();
    let texts =
        |field: fn(&Record) -> Option<&str>| -> ArrayRef { Arc::new(sorted().map(field).collect::<StringArray>()) };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&run, records.len()))),
        Arc::new(
            TimestampMillisecondArray::from_iter_values(sorted().map(|record| record.time.as_millis()))
                .with_timezone("UTC"),
        ),
        Arc::new(Int32Array::from_iter_values(order.iter().map(|index| *index as i32))),
        texts(|record| record.severity.as_deref()),
        texts(|record| record.log_type.as_deref()),
        texts(|record| record.message.as_deref()),
        texts(|record| record.bundle_name.as_deref()),
        texts(|record| record.bundle_version.as_deref()),
        texts(|record| record.pod_name.as_deref()),
        extras(sorted())?,
    ];
    let batch = RecordBatch::try_new(schema(), columns)?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema(), Some(properties()))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(bytes)
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

fn schema() -> SchemaRef {
    let fields = COLUMNS.into_iter().enumerate().map(|(index, name)| {
        let kind = match name {
            "time" => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            "arrival" => DataType::Int32,
            _ => DataType::Utf8,
        };
        let field_id = [("PARQUET:field_id".to_owned(), (index + 1).to_string())];
        Field::new(name, kind, index > 2).with_metadata(field_id.into_iter().collect())
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn properties() -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_statistics_enabled("time".into(), EnabledStatistics::Page)
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
    properties.build()
}

/// When the records of a slice were logged, and in which order they arrived: row by row.
#[derive(Debug)]
pub(crate) struct Heads {
    /// Epoch milliseconds, ascending.
    pub(crate) times: Vec<i64>,
    /// Numbers in the slice.
    pub(crate) arrivals: Vec<i32>,
}

/// What the records of a slice hold beside their times, row by row.
#[derive(Debug)]
pub(crate) struct Bodies {
    severity: StringArray,
    log_type: StringArray,
    message: StringArray,
    bundle_name: StringArray,
    bundle_version: StringArray,
    pod_name: StringArray,
    extra: StringArray,
}

/// One row of [`Bodies`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Body<'a> {
    pub(crate) severity: Option<&'a str>,
    pub(crate) log_type: Option<&'a str>,
    pub(crate) message: Option<&'a str>,
    pub(crate) bundle_name: Option<&'a str>,
    pub(crate) bundle_version: Option<&'a str>,
    pub(crate) pod_name: Option<&'a str>,
    /// A JSON object.
    pub(crate) extra: Option<&'a str>,
}

/// Reads the times of some rows of a segment.
pub(crate) fn decode_heads(segment: &Bytes, rows: Range<usize>) -> Result<Heads> {
    let batch = decode(segment, rows, &["time", "arrival"])?;
    let times = column::<TimestampMillisecondArray>(&batch, "time")?.values().to_vec();
    let arrivals = column::<Int32Array>(&batch, "arrival")?.values().to_vec();
    Ok(Heads { times, arrivals })
}

/// Reads everything but the times of some rows of a segment.
pub(crate) fn decode_bodies(segment: &Bytes, rows: Range<usize>) -> Result<Bodies> {
    let batch = decode(segment, rows, &COLUMNS[3..])?;
    let texts = |name| column::<StringArray>(&batch, name).cloned();
    Ok(Bodies {
        severity: texts("severity")?,
        log_type: texts("log_type")?,
        message: texts("message")?,
        bundle_name: texts("bundle_name")?,
        bundle_version: texts("bundle_version")?,
        pod_name: texts("pod_name")?,
        extra: texts("extra")?,
    })
}

fn decode(segment: &Bytes, rows: Range<usize>, columns: &[&str]) -> Result<RecordBatch> {
    // The schema is this version's own, so the one that is embedded in the file need not be read.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(false);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(segment.clone(), options)?;
    let total = builder.metadata().file_metadata().num_rows() as usize;
    if rows.end > total {
        return Err(Error::corrupt(format!("a segment has {total} rows where the catalog names {}", rows.end)));
    }
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let length = rows.len();
    let mut reader = builder
        .with_projection(mask)
        .with_batch_size(length.max(1))
        .with_row_selection(RowSelection::from_consecutive_ranges(std::iter::once(rows), total))
        .build()?;
    match reader.next().transpose()? {
        Some(batch) if batch.num_rows() == length => Ok(batch),
        _ => Err(Error::corrupt("a segment ends before the rows that the catalog names")),
    }
}

fn column<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a A> {
    batch
        .column_by_name(name)
        .and_then(|column| column.as_any().downcast_ref())
        .ok_or_else(|| Error::corrupt(format!("a segment has no column {name} of the right type")))
}

impl Bodies {
    /// One row.
    pub(crate) fn row(&self, row: usize) -> Body<'_> {
        fn text(column: &StringArray, row: usize) -> Option<&str> {
            column.is_valid(row).then(|| column.value(row))
        }
        Body {
            severity: text(&self.severity, row),
            log_type: text(&self.log_type, row),
            message: text(&self.message, row),
            bundle_name: text(&self.bundle_name, row),
            bundle_version: text(&self.bundle_version, row),
            pod_name: text(&self.pod_name, row),
            extra: text(&self.extra, row),
        }
    }
}

impl Body<'_> {
    /// The record of this row.
    pub(crate) fn to_record(self, epoch_ms: i64) -> Result<Record> {
        let extra = self.extra.map(serde_json::from_str).transpose();
        Ok(Record {
            time: Timestamp::from_millis(epoch_ms).map_err(|error| Error::corrupt(format!("a segment: {error}")))?,
            severity: self.severity.map(str::to_owned),
            log_type: self.log_type.map(str::to_owned),
            message: self.message.map(str::to_owned),
            bundle_name: self.bundle_name.map(str::to_owned),
            bundle_version: self.bundle_version.map(str::to_owned),
            pod_name: self.pod_name.map(str::to_owned),
            extra: extra.map_err(|_| Error::corrupt("the extra fields of a record do not decode"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(time_ms: i64, message: &str) -> Record {
        Record { message: Some(message.to_owned()), ..Record::at(Timestamp::clamped(time_ms)) }
    }

    #[test]
    fn rows_are_in_order_of_time_then_arrival() {
        let mut records = vec![record(5, "a"), record(3, "b"), record(5, "c"), record(3, "d")];
        records[1].extra = Some(Box::new([("n".to_owned(), 7.into())].into_iter().collect()));
        let run = "7b2b122e-d6b8-42de-b0ba-fa2f0d36306e".parse().unwrap();
        let segment = Bytes::from(encode(run, &records).unwrap());
        let heads = decode_heads(&segment, 0..4).unwrap();
        assert_eq!((heads.times, heads.arrivals), (vec![3, 3, 5, 5], vec![1, 3, 0, 2]));
        let bodies = decode_bodies(&segment, 0..4).unwrap();
        assert_eq!(bodies.row(0).to_record(3).unwrap(), records[1]);
        // Some rows alone are the same as those rows of the whole.
        let bodies = decode_bodies(&segment, 1..3).unwrap();
        assert_eq!(bodies.row(1).to_record(5).unwrap(), records[0]);
    }

    #[test]
    fn a_damaged_segment_is_an_error() {
        let run = "7b2b122e-d6b8-42de-b0ba-fa2f0d36306e".parse().unwrap();
        let segment = encode(run, &[record(1, "a")]).unwrap();
        assert!(decode_heads(&Bytes::from(segment[..segment.len() - 9].to_vec()), 0..1).is_err());
        assert!(decode_heads(&Bytes::from(segment), 0..2).is_err());
    }
}
