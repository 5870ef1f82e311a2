//! A column of texts as a Parquet column chunk with a dictionary in order of the bytes of its texts.
//!
//! Messages with the same words are next to each other in the dictionary, so that the dictionary and the keys of the
//! rows compress to much less than the messages in order of time. Writers of the `parquet` crate keep a dictionary in
//! order of appearance, which gains nothing where most messages are different. Decision 0010 has the measurements.

use std::collections::HashMap;

use arrow_array::{Array, StringArray};
use az::SaturatingAs;
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// Maximum number of values of a run of packed values: the length of such a run takes one byte.
const PACKED_VALUES_MAX: usize = 504;

/// A column chunk for a row group.
pub(super) struct ColumnChunk {
    pub(super) bytes: Bytes,
    pub(super) close: ColumnCloseResult,
}

/// The texts of some rows, each once.
struct Dictionary<'a> {
    texts: Vec<&'a [u8]>,
    /// For each row, the index of its text.
    keys: Vec<Option<u32>>,
    text_bytes: usize,
}

/// Encodes the rows of a row group; `None` when no row has a text.
pub(super) fn encode(parts: &[StringArray], column: ColumnDescPtr, zstd_level: i32) -> Result<Option<ColumnChunk>> {
    let dictionary = Dictionary::of(parts);
    if dictionary.texts.is_empty() {
        return Ok(None);
    }
    let mut sink = TrackedWrite::new(Vec::new());
    let mut pages = SerializedPageWriter::new(&mut sink);
    let mut uncompressed_bytes = 0;
    let mut write = |plain: &[u8], page: &dyn Fn(Bytes) -> Page| {
        let compressed = zstd::bulk::compress(plain, zstd_level)
            .map_err(|error| Error::caused(ErrorKind::Unavailable, "messages cannot be compressed", error))?;
        let written = pages.write_page(CompressedPage::new(page(compressed.into()), plain.len()))?;
        uncompressed_bytes += written.uncompressed_size;
        Ok::<_, Error>(written)
    };
    let texts = dictionary.texts.len().saturating_as::<u32>();
    write(&dictionary.plain(), &|buf| Page::DictionaryPage {
        buf,
        num_values: texts,
        encoding: Encoding::PLAIN,
        is_sorted: true,
    })?;
    let mut offsets = OffsetIndexBuilder::new();
    let mut data_page_offset = None;
    for keys in dictionary.keys.chunks(limits::CHUNK_RECORDS) {
        let written = write(&data_page(keys, bits_for(texts)), &|buf| Page::DataPage {
            buf,
            num_values: keys.len().saturating_as::<u32>(),
            encoding: Encoding::RLE_DICTIONARY,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        })?;
        let offset = written.offset.saturating_as::<i64>();
        data_page_offset.get_or_insert(offset);
        offsets.append_row_count(keys.len().saturating_as::<i64>());
        offsets.append_offset_and_size(offset, written.compressed_size.saturating_as::<i32>());
    }
    pages.close()?;
    let bytes = Bytes::from(sink.into_inner()?);
    let rows = dictionary.keys.len();
    let metadata = ColumnChunkMetaData::builder(column)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd_level)?))
        .set_encodings(vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY])
        .set_total_compressed_size(bytes.len().saturating_as::<i64>())
        .set_total_uncompressed_size(uncompressed_bytes.saturating_as::<i64>())
        .set_num_values(rows.saturating_as::<i64>())
        .set_dictionary_page_offset(Some(0))
        .set_data_page_offset(data_page_offset.unwrap_or_default())
        .set_unencoded_byte_array_data_bytes(Some(dictionary.text_bytes.saturating_as::<i64>()))
        .build()?;
    let close = ColumnCloseResult {
        bytes_written: bytes.len() as u64,
        rows_written: rows as u64,
        metadata,
        bloom_filter: None,
        column_index: None,
        offset_index: Some(offsets.build()),
    };
    Ok(Some(ColumnChunk { bytes, close }))
}

impl<'a> Dictionary<'a> {
    fn of(parts: &'a [StringArray]) -> Self {
        let rows = parts.iter().map(Array::len).sum();
        let mut numbers: HashMap<&[u8], u32, foldhash::fast::RandomState> = HashMap::default();
        let mut keys = Vec::with_capacity(rows);
        let mut text_bytes = 0;
        for text in parts.iter().flatten() {
            keys.push(text.map(|text| {
                text_bytes += text.len();
                let next = numbers.len().saturating_as::<u32>();
                *numbers.entry(text.as_bytes()).or_insert(next)
            }));
        }
        let mut in_order: Vec<(&[u8], u32)> = numbers.into_iter().collect();
        in_order.sort_unstable();
        let mut places = vec![0; in_order.len()];
        for (place, (_, number)) in in_order.iter().enumerate() {
            places[*number as usize] = place.saturating_as::<u32>();
        }
        for key in keys.iter_mut().flatten() {
            *key = places[*key as usize];
        }
        Self { texts: in_order.into_iter().map(|(text, _)| text).collect(), keys, text_bytes }
    }

    /// Returns the page of the texts, each preceded by its length.
    fn plain(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(self.texts.iter().map(|text| 4 + text.len()).sum());
        for text in &self.texts {
            page.extend(text.len().saturating_as::<u32>().to_le_bytes());
            page.extend_from_slice(text);
        }
        page
    }
}

/// Returns a page of rows: which rows have a text, and the keys of their texts.
fn data_page(keys: &[Option<u32>], bits: u32) -> Vec<u8> {
    let mut present = Vec::new();
    pack(&mut present, keys.iter().map(|key| u32::from(key.is_some())), 1);
    let mut page = Vec::with_capacity(4 + present.len() + 1 + keys.len() * bits as usize / 8 + keys.len() / 256);
    page.extend(present.len().saturating_as::<u32>().to_le_bytes());
    page.append(&mut present);
    page.push(bits.saturating_as::<u8>());
    pack(&mut page, keys.iter().copied().flatten(), bits);
    page
}

/// Appends values in Parquet's hybrid encoding, as runs of packed values.
fn pack(page: &mut Vec<u8>, values: impl Iterator<Item = u32>, bits: u32) {
    let mut values = values.peekable();
    while values.peek().is_some() {
        let header_at = page.len();
        page.push(0);
        let (mut buffer, mut buffered_bits, mut count) = (0_u64, 0, 0_usize);
        for value in values.by_ref().take(PACKED_VALUES_MAX) {
            buffer |= u64::from(value) << buffered_bits;
            buffered_bits += bits;
            count += 1;
            while buffered_bits >= 8 {
                page.push((buffer & 0xff).saturating_as::<u8>());
                buffer >>= 8;
                buffered_bits -= 8;
            }
        }
        if buffered_bits > 0 {
            page.push((buffer & 0xff).saturating_as::<u8>());
        }
        // A run has whole groups of eight values.
        let groups = count.div_ceil(8);
        page.resize(header_at + 1 + groups * bits as usize, 0);
        page[header_at] = (groups << 1 | 1).saturating_as::<u8>();
    }
}

/// Returns the number of bits of a key.
fn bits_for(texts: u32) -> u32 {
    (u32::BITS - texts.saturating_sub(1).leading_zeros()).max(1)
}
