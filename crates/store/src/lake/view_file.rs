//! Files of catalog rows.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMicrosecondType, TimestampMillisecondType};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::Result;
use crate::lake::table::TableForm;
use crate::limits;
use crate::segment::file_statistics::{FileStatistics, FileStatisticsBuilder};

/// A writer of a file in memory. The same rows result in the same bytes.
pub(super) struct ViewFileWriter {
    writer: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
    statistics: FileStatisticsBuilder,
    rows: usize,
}

/// A complete file.
pub(super) struct EncodedFile {
    pub(super) bytes: Vec<u8>,
    pub(super) rows: usize,
    pub(super) statistics: FileStatistics,
}

impl ViewFileWriter {
    pub(super) fn begin(form: &TableForm) -> Result<Self> {
        let schema = form.arrow_schema();
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(limits::SEALED_ZSTD_LEVEL)?))
            .set_max_row_group_row_count(None)
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
        let statistics = FileStatisticsBuilder::new(form.columns.iter().map(|column| column.has_bounds));
        Ok(Self { writer, schema, statistics, rows: 0 })
    }

    /// Adds rows, which must have the columns of the view.
    pub(super) fn add(&mut self, rows: &RecordBatch) -> Result<()> {
        let columns = rows.columns().iter().map(in_microseconds).collect();
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        self.statistics.add(&rows);
        self.writer.write(&rows)?;
        self.rows += rows.num_rows();
        let is_full = self.writer.in_progress_rows() >= limits::LAKE_VIEW_GROUP_ROWS
            || self.writer.memory_size() >= limits::LAKE_VIEW_GROUP_BYTES;
        if is_full {
            self.writer.flush()?;
        }
        Ok(())
    }

    /// Returns true if further rows must be written to another file.
    pub(super) fn is_full(&self) -> bool {
        self.writer.bytes_written() >= limits::LAKE_VIEW_FILE_BYTES
    }

    pub(super) fn finish(mut self) -> Result<EncodedFile> {
        let metadata = self.writer.finish()?;
        let bytes = std::mem::take(self.writer.inner_mut());
        let statistics = self.statistics.finish(metadata.row_groups());
        Ok(EncodedFile { bytes, rows: self.rows, statistics })
    }
}

/// Converts times to microseconds, because Apache Iceberg does not support milliseconds.
fn in_microseconds(column: &ArrayRef) -> ArrayRef {
    if !matches!(column.data_type(), DataType::Timestamp(TimeUnit::Millisecond, _)) {
        return Arc::clone(column);
    }
    let times = column.as_primitive::<TimestampMillisecondType>();
    let times = times.unary::<_, TimestampMicrosecondType>(|ms| ms.saturating_mul(1_000));
    Arc::new(times.with_timezone("UTC"))
}

#[cfg(test)]
mod tests {
    use arrow_array::{LargeStringArray, TimestampMillisecondArray};

    use super::*;
    use crate::lake::table::LakeTableKind;
    use crate::query::catalog_views::CatalogView;
    use crate::segment::file_statistics::Bound;

    fn file_of(batches: usize) -> EncodedFile {
        let mut writer = ViewFileWriter::begin(&LakeTableKind::Tasks.form()).unwrap();
        for batch in 0..batches {
            let rows = batch * 8_192..(batch + 1) * 8_192;
            let texts = || Arc::new(LargeStringArray::from_iter_values(rows.clone().map(|row| format!("t{row:09}"))));
            let times = rows.clone().map(|row| i64::try_from(row).unwrap());
            let times = TimestampMillisecondArray::from_iter_values(times).with_timezone("UTC");
            let mut columns: Vec<ArrayRef> = (0..9).map(|_| texts() as _).collect();
            columns.push(Arc::new(times));
            let schema = CatalogView::Tasks.schema(&(0..10).collect::<Vec<_>>());
            writer.add(&RecordBatch::try_new(schema, columns).unwrap()).unwrap();
            assert!(writer.writer.memory_size() < limits::LAKE_VIEW_GROUP_BYTES, "row groups are written as they fill");
        }
        writer.finish().unwrap()
    }

    #[test]
    fn a_file_has_row_groups_of_bounded_size_and_bounds_in_microseconds() {
        let file = file_of(20);
        assert_eq!(file.rows, 163_840);
        assert!(file.statistics.row_groups.len() >= 3, "{:?}", file.statistics.row_groups);
        assert_eq!(file.statistics.columns[9].bounds, Some((Bound::Number(0), Bound::Number(163_839_000))));
        assert_eq!(&file.bytes[..4], b"PAR1");
    }

    #[test]
    fn the_same_rows_make_the_same_bytes() {
        assert_eq!(file_of(2).bytes, file_of(2).bytes);
        assert_ne!(file_of(2).bytes, file_of(3).bytes);
    }
}
