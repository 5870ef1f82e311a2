//! Files of position deletes, which list the rows of a sealed file that are no longer part of a log.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use az::SaturatingAs;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::Result;
use crate::lake::manifest::{DELETE_PATH_ID, DELETE_POSITION_ID};
use crate::limits;

/// Encodes a file that deletes these rows of the file with this address.
pub(super) fn encode(address: &str, rows: &[Range<i64>]) -> Result<Vec<u8>> {
    let field = |name: &str, kind: DataType, id: i64| {
        let id = [("PARQUET:field_id".to_owned(), id.to_string())];
        Field::new(name, kind, false).with_metadata(id.into_iter().collect())
    };
    let path = field("file_path", DataType::Utf8, DELETE_PATH_ID);
    let schema = Arc::new(Schema::new(vec![path, field("pos", DataType::Int64, DELETE_POSITION_ID)]));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(limits::SEALED_ZSTD_LEVEL)?))
        .set_column_dictionary_enabled("pos".into(), false)
        .set_column_encoding("pos".into(), Encoding::DELTA_BINARY_PACKED)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, Arc::clone(&schema), Some(properties))?;
    for range in rows {
        for from in range.clone().step_by(limits::CHUNK_RECORDS) {
            let some = from..range.end.min(from + limits::CHUNK_RECORDS.saturating_as::<i64>());
            let count = (some.end - some.start).saturating_as::<usize>();
            let paths = StringArray::from_iter_values(std::iter::repeat_n(address, count));
            let rows = [Arc::new(paths) as _, Arc::new(Int64Array::from_iter_values(some)) as _];
            writer.write(&RecordBatch::try_new(Arc::clone(&schema), rows.into())?)?;
        }
    }
    writer.close()?;
    Ok(bytes)
}
