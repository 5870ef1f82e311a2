//! Parquet files of records for other programs: each record with its run, task, workspace and environment.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use az::SaturatingAs;
use parquet::arrow::AsyncArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use runlog_model::Record;

use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::objects::bucket::BucketFile;
use crate::segment;

/// Names of the text columns, in order; `time` and `arrival` follow them.
const RUN_COLUMNS: [&str; 8] =
    ["id", "run_id", "task_id", "task", "workspace_id", "workspace", "environment", "status"];
const RECORD_COLUMNS: [&str; 7] =
    ["severity", "log_type", "message", "bundle_name", "bundle_version", "pod_name", "extra"];

/// A record for a file.
#[derive(Debug, Clone, Copy)]
pub struct RecordRow<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its number in the run, in order of arrival.
    pub arrival: u64,
    /// The record.
    pub record: &'a Record,
}

/// Writes a Parquet file of records.
pub struct RecordFileWriter {
    writer: AsyncArrowWriter<BucketFile>,
    schema: SchemaRef,
    /// Run, task (id and name), workspace (id and name), environment, status.
    run: [String; 7],
}

impl RecordFileWriter {
    /// Begins a file of records of one run, whose `run_id`, `task_id`, `task`, `workspace_id`, `workspace`,
    /// `environment` and `status` are repeated in each row.
    pub fn begin(file: BucketFile, run: [String; 7]) -> Result<Self> {
        let schema = schema();
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(limits::SEALED_ZSTD_LEVEL)?))
            .build();
        let writer = AsyncArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))?;
        Ok(Self { writer, schema, run })
    }

    /// Adds records.
    pub async fn add(&mut self, records: &[RecordRow<'_>]) -> Result<()> {
        let texts = |text: fn(&Record) -> Option<&str>| -> ArrayRef {
            Arc::new(StringArray::from_iter(records.iter().map(|filed| text(filed.record))))
        };
        let extra = records.iter().map(|filed| filed.record.extra.as_ref().map(serde_json::to_string).transpose());
        let extra: Vec<Option<String>> = extra
            .collect::<Result<_, _>>()
            .map_err(|error| Error::caused(ErrorKind::Corrupt, "the further fields of a record have no text", error))?;
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from_iter_values(records.iter().map(|filed| filed.id)))];
        for text in &self.run {
            columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, records.len()))));
        }
        columns.push(segment::times_column(
            segment::FilePurpose::Archive,
            records.iter().map(|filed| filed.record.time.as_millis()),
        ));
        columns.push(Arc::new(Int64Array::from_iter_values(
            records.iter().map(|filed| filed.arrival.saturating_as::<i64>()),
        )));
        columns.extend([
            texts(|record| record.severity.as_deref()),
            texts(|record| record.log_type.as_deref()),
            texts(|record| record.message.as_deref()),
            texts(|record| record.bundle_name.as_deref()),
            texts(|record| record.bundle_version.as_deref()),
            texts(|record| record.pod_name.as_deref()),
            Arc::new(StringArray::from(extra)),
        ]);
        self.writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?).await.map_err(unwritten)?;
        if self.writer.memory_size() >= limits::ROW_GROUP_BYTES {
            self.writer.flush().await.map_err(unwritten)?;
        }
        Ok(())
    }

    /// Completes the file.
    pub async fn finish(mut self) -> Result<()> {
        self.writer.finish().await.map_err(unwritten)?;
        Ok(())
    }

    /// Removes what was written.
    pub async fn abandon(self) -> Result<()> {
        self.writer.into_inner().abandon().await
    }
}

fn unwritten(error: parquet::errors::ParquetError) -> Error {
    Error::caused(ErrorKind::Unavailable, "a Parquet file cannot be written", error)
}

fn schema() -> SchemaRef {
    let text = |name: &&str, nullable| Field::new(*name, DataType::Utf8, nullable);
    let mut fields: Vec<Field> = RUN_COLUMNS.iter().map(|name| text(name, false)).collect();
    fields.push(Field::new("time", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false));
    fields.push(Field::new("arrival", DataType::Int64, false));
    fields.extend(RECORD_COLUMNS.iter().map(|name| text(name, true)));
    Arc::new(Schema::new(fields))
}
