//! Writes a sealed file: Parquet, with messages in the smaller of two encodings.
//!
//! Messages in order of time are the cheapest to read. With a dictionary in order of their texts, the messages of most
//! logs take a sixth less space (see [`sorted_dictionary`]); messages that are already in order of their texts, such as
//! those with a counter, take more.

use std::sync::Arc;

use arrow_array::{RecordBatch, StringArray};
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::file::metadata::{KeyValue, RowGroupMetaData};
use parquet::file::writer::SerializedFileWriter;

use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::segment::sorted_dictionary::{self, ColumnChunk};
use crate::segment::values::column;
use crate::segment::writer::{FilePurpose, schema, sealed_properties};

/// Writes a sealed file to memory.
pub(crate) struct SealedWriter {
    file: SerializedFileWriter<Vec<u8>>,
    schema: SchemaRef,
    columns: ArrowRowGroupWriterFactory,
    row_group: Option<RowGroup>,
    /// Messages get a dictionary if its size is at most this share of their size without a dictionary. Unit: percent.
    dictionary_percent_max: u64,
}

/// The row group that is being written.
struct RowGroup {
    /// One for each column; that of the messages writes them in order of time.
    writers: Vec<ArrowColumnWriter>,
    /// The same messages, for the dictionary.
    messages: Vec<StringArray>,
    message_bytes: usize,
}

impl SealedWriter {
    pub(crate) fn new(form: FilePurpose) -> Result<Self> {
        let schema = schema(form);
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(sealed_properties()?))?;
        let (file, columns) = writer.into_serialized_writer()?;
        Ok(Self { file, schema, columns, row_group: None, dictionary_percent_max: limits::DICTIONARY_PERCENT_MAX })
    }

    /// Adds rows to the current row group.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let row_group = match &mut self.row_group {
            Some(row_group) => row_group,
            none => none.insert(RowGroup {
                writers: self.columns.create_column_writers(self.file.flushed_row_groups().len())?,
                messages: Vec::new(),
                message_bytes: 0,
            }),
        };
        for ((field, column), writer) in self.schema.fields().iter().zip(rows.columns()).zip(&mut row_group.writers) {
            compute_leaves(field, column)?.iter().try_for_each(|leaf| writer.write(leaf))?;
        }
        let messages: &StringArray = column(rows, "message")?;
        row_group.message_bytes += messages.value_data().len();
        row_group.messages.push(messages.clone());
        Ok(())
    }

    /// How many row groups have ended.
    pub(crate) fn row_groups(&self) -> usize {
        self.file.flushed_row_groups().len()
    }

    /// The memory that the current row group takes. Unit: bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        let Some(row_group) = &self.row_group else { return 0 };
        let encoded: usize = row_group.writers.iter().map(ArrowColumnWriter::memory_size).sum();
        encoded + row_group.message_bytes
    }

    /// Returns the number of bytes of the file written so far, taken or not.
    pub(crate) fn bytes_written(&self) -> usize {
        self.file.bytes_written()
    }

    /// Ends the current row group.
    pub(crate) fn end_row_group(&mut self) -> Result<()> {
        let Some(row_group) = self.row_group.take() else { return Ok(()) };
        let index_of_messages = self.schema.index_of("message")?;
        let of_messages = self.file.schema_descr().column(index_of_messages);
        let mut with_dictionary =
            sorted_dictionary::encode(&row_group.messages, of_messages, limits::DICTIONARY_ZSTD_LEVEL)?;
        let percent_max = self.dictionary_percent_max;
        let mut file = self.file.next_row_group()?;
        for (index, writer) in row_group.writers.into_iter().enumerate() {
            let in_order_of_time = writer.close()?;
            let smaller = with_dictionary.take_if(|other| {
                index == index_of_messages
                    && other.close.bytes_written * 100 <= in_order_of_time.close().bytes_written * percent_max
            });
            match smaller {
                Some(ColumnChunk { bytes, close }) => file.append_column(&bytes, close)?,
                None => in_order_of_time.append_to_row_group(&mut file)?,
            }
        }
        file.close()?;
        Ok(())
    }

    /// Writes bytes that belong to no column between the row groups and the footer, with an entry of the footer that names
    /// their place as `OFFSET,LENGTH`.
    pub(crate) fn append(&mut self, bytes: &[u8], key: &str) -> Result<()> {
        let place = format!("{},{}", self.bytes_written(), bytes.len());
        self.file.write_all(bytes).map_err(unwritten)?;
        self.file.append_key_value_metadata(KeyValue::new(key.to_owned(), place));
        Ok(())
    }

    /// Writes the footer; returns its metadata of the row groups.
    pub(crate) fn finish(&mut self) -> Result<Vec<RowGroupMetaData>> {
        Ok(self.file.finish()?.row_groups().to_vec())
    }

    /// Takes the bytes that were written since the last call.
    pub(crate) fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(self.file.inner_mut())
    }
}

fn unwritten(error: std::io::Error) -> Error {
    Error::caused(ErrorKind::Unavailable, "a sealed file cannot be written", error)
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Int64Array, cast::AsArray};
    use arrow_select::concat::concat_batches;
    use az::SaturatingAs;
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection};
    use parquet::file::metadata::ParquetMetaData;
    use proptest::prelude::*;

    use super::*;
    use crate::segment::times_column;
    use crate::segment::writer::COLUMNS;

    fn rows(messages: &[Option<String>]) -> RecordBatch {
        let number = |row: usize| row.saturating_as::<i64>();
        let texts = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; messages.len()])) };
        let column = |name: &&str| match *name {
            "time" => times_column(FilePurpose::Archive, (0..messages.len()).map(number)),
            "arrival" => Arc::new(Int64Array::from_iter_values((0..messages.len()).map(number))),
            "message" => Arc::new(StringArray::from(messages.to_vec())),
            name => texts(name),
        };
        let columns: Vec<ArrayRef> = COLUMNS.iter().map(column).collect();
        RecordBatch::try_new(schema(FilePurpose::Archive), columns).unwrap()
    }

    /// A file with these row groups, each added in parts of `part` rows.
    fn file(row_groups: &[Vec<Option<String>>], part: usize) -> Bytes {
        file_of(SealedWriter::new(FilePurpose::Archive).unwrap(), row_groups, part)
    }

    fn file_of(mut writer: SealedWriter, row_groups: &[Vec<Option<String>>], part: usize) -> Bytes {
        for row_group in row_groups {
            row_group.chunks(part).for_each(|messages| writer.write(&rows(messages)).unwrap());
            writer.end_row_group().unwrap();
        }
        assert_eq!(writer.row_groups(), row_groups.len());
        writer.append(b"something else", "elsewhere").unwrap();
        writer.finish().unwrap();
        writer.take_bytes().into()
    }

    fn metadata(file: &Bytes) -> Arc<ParquetMetaData> {
        Arc::clone(ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap().metadata())
    }

    /// Returns the messages of some rows as read by a general Parquet reader.
    fn messages(file: &Bytes, selection: Option<std::ops::Range<usize>>) -> Vec<Option<String>> {
        let mut builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap();
        let total = builder.metadata().file_metadata().num_rows().saturating_as::<usize>();
        if let Some(rows) = selection {
            builder = builder.with_row_selection(RowSelection::from_consecutive_ranges([rows].into_iter(), total));
        }
        let batches: Vec<RecordBatch> = builder.build().unwrap().collect::<Result<_, _>>().unwrap();
        let all = concat_batches(&schema(FilePurpose::Archive), &batches).unwrap();
        let column = all.column_by_name("message").unwrap();
        column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
    }

    fn has_dictionary(file: &Bytes, row_group: usize) -> bool {
        let index = COLUMNS.iter().position(|name| *name == "message").unwrap();
        metadata(file).row_group(row_group).column(index).dictionary_page_offset().is_some()
    }

    /// Messages as a job writes them: each is different, and like others before it.
    fn different(count: usize) -> Vec<Option<String>> {
        let verbs = ["rejected", "merged", "looked up", "staged", "wrote", "validated", "flushed"];
        let one = |row: usize| {
            let hash = (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            format!("tDBOutput_{} - {} {} rows of orders", hash >> 60, verbs[row * row % 7], hash >> 50)
        };
        (0..count).map(|row| (row % 97 != 5).then(|| one(row))).collect()
    }

    #[test]
    fn messages_that_are_all_different_get_a_dictionary_and_come_out_in_order() {
        let count = 2 * limits::CHUNK_RECORDS + 1_003;
        let row_groups = [different(count), different(7), vec![None; 9], vec![Some(String::new()); 3]];
        let file = file(&row_groups, 4_096);
        assert!(has_dictionary(&file, 0));
        let all = row_groups.concat();
        assert_eq!(messages(&file, None), all);
        for rows in [0..1, 1_000..20_000, limits::CHUNK_RECORDS - 1..limits::CHUNK_RECORDS + 1, count - 1..all.len()] {
            assert_eq!(messages(&file, Some(rows.clone())), all[rows]);
        }
    }

    /// Such messages are already in order of their bytes: a dictionary saves nothing, and its keys take additional
    /// space.
    #[test]
    fn messages_that_count_get_no_dictionary() {
        let messages: Vec<_> = (0..20_000).map(|row| Some(format!("row {row:06} is written"))).collect();
        assert!(!has_dictionary(&file(&[messages], 20_000), 0));
    }

    #[test]
    fn a_dictionary_is_noticeably_smaller_than_messages_in_order_of_time() {
        let all = StringArray::from(different(limits::ROW_GROUP_RECORDS));
        let in_order_of_time: Vec<u8> = all.iter().flatten().flat_map(|text| text.bytes()).collect();
        let in_order_of_time = zstd::bulk::compress(&in_order_of_time, limits::DICTIONARY_ZSTD_LEVEL).unwrap();
        let file = metadata(&file(&[different(limits::ROW_GROUP_RECORDS)], 8_192));
        let column = file.row_group(0).columns().iter().find(|column| column.column_path().string() == "message");
        let bytes = column.unwrap().compressed_size().saturating_as::<usize>();
        assert!(bytes * 100 < in_order_of_time.len() * 95, "{bytes} of {}", in_order_of_time.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read(
            row_groups in prop::collection::vec(
                prop::collection::vec(prop::option::weighted(0.9, "[a-z]{0,3}|é{0,2}|x{90}"), 1..1_200),
                1..4,
            ),
            part in 1_usize..700,
        ) {
            // Whatever it costs.
            let writer = SealedWriter { dictionary_percent_max: u64::MAX / 1_000_000, ..SealedWriter::new(FilePurpose::Archive).unwrap() };
            let file = file_of(writer, &row_groups, part);
            prop_assert_eq!(has_dictionary(&file, 0), row_groups[0].iter().any(Option::is_some));
            prop_assert_eq!(messages(&file, None), row_groups.concat());
        }
    }
}
