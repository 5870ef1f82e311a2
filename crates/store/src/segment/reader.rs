//! Reading segments: some rows of some columns, without the rest.
//!
//! A small object is read whole; of a large one, only the bytes of the required pages are read. The data read to open a
//! segment is cached in memory: objects never change.

use std::ops::Range;
use std::sync::Arc;

use crate::catalog::database::Catalog;
use crate::cpu::CpuPool;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::objects::checksums::Checks;
use crate::objects::damage::Damage;
use crate::objects::read_error::read_error;
use crate::segment::code_index::{self, CodeIndex};
use crate::segment::term_list::RowGroups;
use crate::segment::values::{KeyColumns, ValueColumns, column, severities, times};
use crate::segment::word_index::{self, NeededWords, WordIndex};
use crate::segment::writer::{COLUMNS, FilePurpose, NAME_COLUMNS, times_column};
use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use az::SaturatingAs;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{self, BoxFuture};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowFilter, RowSelection};
use parquet::arrow::async_reader::MetadataFetch;
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::statistics::Statistics;
use runlog_model::{Severity, planted};

/// Opens segments, and caches those that were opened.
pub(crate) struct Segments {
    catalog: Catalog,
    objects: Arc<dyn ObjectStore>,
    cpu: CpuPool,
    damage: Damage,
    /// By the keys of their objects, up to a bounded number of bytes.
    open: moka::sync::Cache<String, SegmentFile>,
}

impl Segments {
    /// Creates a reader for each of some pools. The readers share the cache, and each decodes on its pool.
    pub(crate) fn for_each<const N: usize>(
        pools: &[CpuPool; N],
        catalog: &Catalog,
        objects: &Arc<dyn ObjectStore>,
        damage: &Damage,
    ) -> [Self; N] {
        let weight =
            |key: &String, file: &SegmentFile| (key.len() + file.memory_bytes()).try_into().unwrap_or(u32::MAX);
        let open = moka::sync::Cache::builder().weigher(weight).max_capacity(limits::OPEN_SEGMENTS_BYTES).build();
        pools.each_ref().map(|cpu| Self {
            catalog: catalog.clone(),
            objects: Arc::clone(objects),
            cpu: cpu.clone(),
            damage: damage.clone(),
            open: open.clone(),
        })
    }
}

/// The columns of [`SegmentFile::times_and_values`].
const TIME_AND_VALUE_COLUMNS: [&str; 8] =
    ["time", "severity", "log_type", "message", "bundle_name", "bundle_version", "pod_name", "extra"];

/// A segment that is open for reading.
#[derive(Clone)]
pub(crate) struct SegmentFile {
    source: Source,
    footer: ArrowReaderMetadata,
    cpu: CpuPool,
}

/// Reads rows of a segment: bytes are awaited, and decoded on the CPU pool.
pub(crate) struct RowReader {
    source: Source,
    cpu: CpuPool,
    /// `None` after a failure.
    decoder: Option<(ParquetPushDecoder, Pending)>,
}

/// What a decoder does next.
enum Pending {
    /// It needs these bytes to continue.
    Bytes(Vec<Range<u64>>),
    /// It has decoded some rows.
    Rows(RecordBatch),
    /// It decodes the bytes that it has.
    More,
    End,
}

/// Where the bytes of a segment are.
#[derive(Clone)]
pub(crate) struct Source {
    key: Path,
    bytes: SourceBytes,
    /// `None` when an earlier version wrote the object.
    checks: Option<Checks>,
    damage: Damage,
}

#[derive(Clone)]
enum SourceBytes {
    Memory(Bytes),
    Object { objects: Arc<dyn ObjectStore>, length: u64 },
}

impl SegmentFile {
    /// Opens a segment object of a known length.
    pub(crate) async fn open(segments: &Segments, key: &str, length: u64) -> Result<Self> {
        if let Some(open) = segments.open.get(key) {
            return Ok(Self { cpu: segments.cpu.clone(), ..open });
        }
        let path = Path::from(key);
        let written: Option<Option<Vec<u8>>> = sqlx::query_scalar("SELECT checks FROM segments WHERE object_key = $1")
            .bind(key)
            .fetch_optional(segments.catalog.read())
            .await?;
        let whole = async |path: &Path| match async { segments.objects.get(path).await?.bytes().await }.await {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(read_error(&segments.objects, error).await),
        };
        let bytes = match length <= limits::WHOLE_OBJECT_BYTES_MAX {
            true => SourceBytes::Memory(whole(&path).await.map_err(|error| named(&segments.damage, key, error))?),
            false => SourceBytes::Object { objects: Arc::clone(&segments.objects), length },
        };
        let mut source = Source { key: path, bytes, checks: None, damage: segments.damage.clone() };
        let opening = async {
            source.check_length(length)?;
            if let Some(written) = written.flatten().filter(|written| !written.is_empty()) {
                let checks = Checks::read(&written, length);
                source.checks = Some(checks.ok_or_else(|| Error::corrupt("its checks in the catalog are damaged"))?);
            }
            source.check_whole()?;
            source.read_footer().await
        };
        let footer = opening.await;
        let footer = footer.map_err(|error| source.named(error))?;
        let file = Self { source, footer, cpu: segments.cpu.clone() };
        segments.open.insert(key.to_owned(), file.clone());
        Ok(file)
    }

    /// Returns the segment without the cached bytes of a small object, which are then read when they are needed.
    pub(crate) fn read_on_demand(self, objects: &Arc<dyn ObjectStore>) -> Self {
        let bytes = match self.source.bytes {
            SourceBytes::Memory(bytes) => {
                SourceBytes::Object { objects: Arc::clone(objects), length: bytes.len() as u64 }
            }
            object => object,
        };
        Self { source: Source { bytes, ..self.source }, ..self }
    }

    /// Returns true if both are the same open segment.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.footer.metadata(), other.footer.metadata())
    }

    /// Returns the memory that it takes. Unit: bytes.
    fn memory_bytes(&self) -> usize {
        let bytes = match &self.source.bytes {
            SourceBytes::Memory(bytes) => bytes.len(),
            SourceBytes::Object { .. } => 0,
        };
        let checks = self.source.checks.as_ref().map_or(0, Checks::memory_bytes);
        bytes + checks + self.footer.metadata().memory_size()
    }

    /// Returns the metadata of its row groups, from its footer.
    pub(crate) fn row_groups(&self) -> &[RowGroupMetaData] {
        self.footer.metadata().row_groups()
    }

    /// How many rows it has.
    pub(crate) fn rows(&self) -> usize {
        self.footer.metadata().file_metadata().num_rows().saturating_as::<usize>()
    }

    /// The first row of each row group.
    pub(crate) fn row_group_starts(&self) -> Vec<usize> {
        let groups = self.footer.metadata().row_groups().iter();
        let ends = groups.scan(0, |end, group| {
            *end += group.num_rows().saturating_as::<usize>();
            Some(*end)
        });
        std::iter::once(0).chain(ends).collect()
    }

    /// Returns the row groups that may contain a text with some words; `None` if the file has no index of its words.
    pub(crate) async fn row_groups_with(&self, needed: &NeededWords) -> Result<Option<RowGroups>> {
        let codes_key = (!needed.codes().is_empty()).then_some(code_index::METADATA_KEY);
        let read = future::try_join(self.index(Some(word_index::METADATA_KEY)), self.index(codes_key));
        let (words, codes) = read.await.map_err(|error| self.source.named(error))?;
        let Some(words) = words else { return Ok(None) };
        let needed = needed.clone();
        let look_up = move || {
            let mut groups = WordIndex::read(&words)?.row_groups_with(&needed);
            if let Some(codes) = codes {
                groups.intersect(&CodeIndex::read(&codes)?.row_groups_with(needed.codes()));
            }
            Ok(groups)
        };
        self.cpu.run(look_up).await.map(Some).map_err(|error| self.source.named(error))
    }

    /// Returns the bytes of the index whose place is stored under a key of the footer; `None` if the file has none.
    async fn index(&self, key: Option<&str>) -> Result<Option<Bytes>> {
        let entries = self.footer.metadata().file_metadata().key_value_metadata();
        let place = entries.into_iter().flatten().find(|entry| Some(&*entry.key) == key);
        let Some(place) = place.and_then(|entry| entry.value.as_deref()) else { return Ok(None) };
        let place = place.split_once(',').and_then(|(offset, length)| {
            let offset: u64 = offset.parse().ok()?;
            Some(offset..offset.checked_add(length.parse().ok()?)?)
        });
        let place = place.filter(|place| place.end <= self.source.length());
        let place = place.ok_or_else(|| Error::corrupt("the place of its index of words is not in the object"))?;
        self.source.read(place).await.map(Some)
    }

    /// Returns the rows of some ranges that are in some row groups.
    pub(crate) fn rows_in(&self, groups: &RowGroups, rows: Vec<Range<usize>>) -> Vec<Range<usize>> {
        let starts = self.row_group_starts();
        let wanted = starts.windows(2).enumerate().filter(|(group, _)| groups.contains(*group));
        let wanted: Vec<Range<usize>> = wanted.map(|(_, group)| group[0]..group[1]).collect();
        let within = |rows: Range<usize>| {
            let overlap = wanted.iter().map(move |group| rows.start.max(group.start)..rows.end.min(group.end));
            overlap.filter(|rows| !rows.is_empty()).collect::<Vec<_>>()
        };
        rows.into_iter().flat_map(within).collect()
    }

    /// The average decompressed size of a row. Unit: bytes.
    pub(crate) fn row_bytes(&self) -> usize {
        let columns = self.footer.metadata().row_groups().iter().flat_map(RowGroupMetaData::columns);
        // A text is in a dictionary once, but is read for each row that has it.
        let bytes: i64 = columns
            .map(|column| match column.dictionary_page_offset() {
                Some(_) if column.column_path().string() == "message" => {
                    column.unencoded_byte_array_data_bytes().unwrap_or_default().max(column.uncompressed_size())
                }
                _ => column.uncompressed_size(),
            })
            .sum();
        bytes.saturating_as::<usize>() / self.rows().max(1)
    }

    /// Reads the sort keys of some rows.
    pub(crate) async fn read_keys(&self, rows: Range<usize>) -> Result<KeyColumns> {
        self.read(rows, &["time", "arrival"], |batch| KeyColumns::of(&batch)).await
    }

    /// Reads everything but the sort keys of some rows.
    pub(crate) async fn read_values(&self, rows: Range<usize>) -> Result<ValueColumns> {
        self.read(rows, &COLUMNS[3..], |batch| ValueColumns::of(&batch)).await
    }

    /// Reads the times of some rows, and everything else but their arrivals.
    pub(crate) async fn times_and_values(&self, rows: Range<usize>) -> Result<(Vec<i64>, ValueColumns)> {
        let of = |batch: RecordBatch| Ok((times(&batch)?, ValueColumns::of(&batch)?));
        self.read(rows, &TIME_AND_VALUE_COLUMNS, of).await
    }

    /// Reads the times and severities of some rows, and nothing else.
    pub(crate) async fn times_and_severities(&self, rows: Range<usize>) -> Result<(Vec<i64>, Vec<Severity>)> {
        let of = |batch: RecordBatch| Ok((times(&batch)?, severities(&batch)?));
        self.read(rows, &["time", "severity"], of).await
    }

    /// Reads the runs of some rows.
    pub(crate) async fn run_ids(&self, rows: Range<usize>) -> Result<StringArray> {
        self.read(rows, &COLUMNS[..1], |batch| column::<StringArray>(&batch, "run_id").cloned()).await
    }

    /// The projection of some columns, by name.
    pub(crate) fn mask(&self, columns: &[&str]) -> ProjectionMask {
        ProjectionMask::columns(self.footer.parquet_schema(), columns.iter().copied())
    }

    /// Reads some columns of the rows in some ranges that pass a filter.
    pub(crate) fn rows_of(
        self,
        rows: Vec<Range<usize>>,
        columns: &[&str],
        filter: Option<RowFilter>,
    ) -> Result<RowReader> {
        let total = self.rows();
        if rows.last().is_some_and(|rows| rows.end > total) {
            return Err(Error::corrupt(format!("a segment has {total} rows where the catalog names more")));
        }
        let batch_rows = (limits::SCAN_BATCH_BYTES / self.row_bytes().max(1)).clamp(64, limits::SCAN_BATCH_RECORDS);
        self.reader(rows, columns, batch_rows, filter)
    }

    fn reader(
        &self,
        rows: Vec<Range<usize>>,
        columns: &[&str],
        batch_rows: usize,
        filter: Option<RowFilter>,
    ) -> Result<RowReader> {
        let mut builder = ParquetPushDecoderBuilder::new_with_metadata(self.footer.clone())
            .with_projection(self.mask(columns))
            .with_batch_size(batch_rows)
            .with_max_predicate_cache_size(limits::SCAN_CACHE_BYTES)
            .with_row_selection(RowSelection::from_consecutive_ranges(rows.into_iter(), self.rows()));
        if let Some(filter) = filter {
            builder = builder.with_row_filter(filter);
        }
        let mut decoder = builder.build()?;
        // Without bytes, the decoder only returns the ranges that it needs.
        let pending = Pending::after(&mut decoder)?;
        Ok(RowReader { source: self.source.clone(), cpu: self.cpu.clone(), decoder: Some((decoder, pending)) })
    }

    /// Returns the value that some rows have in common in a column of names, if the footer shows that they have one.
    fn same_text(&self, rows: &Range<usize>, column: &str) -> Option<Option<String>> {
        let index = COLUMNS.iter().position(|name| *name == column)?;
        let (mut first_row, mut same) = (0, None);
        for group in self.footer.metadata().row_groups() {
            let group_rows = first_row..first_row + group.num_rows().saturating_as::<usize>();
            first_row = group_rows.end;
            if group_rows.end <= rows.start || group_rows.start >= rows.end {
                continue;
            }
            let text = only_text(group.columns().get(index)?.statistics()?, group_rows.len())?;
            if same.get_or_insert_with(|| text.clone()) != &text {
                return None;
            }
        }
        same
    }

    /// Reads some columns of some rows, mapped by `look`.
    async fn read<T: Send + 'static>(
        &self,
        rows: Range<usize>,
        columns: &'static [&'static str],
        look: impl FnOnce(RecordBatch) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let total = self.rows();
        if rows.end > total {
            return Err(Error::corrupt(format!("a segment has {total} rows where the catalog names {}", rows.end)));
        }
        let length = rows.len();
        let (mut to_read, mut known) = (Vec::new(), Vec::new());
        for name in columns {
            match self.same_text(&rows, name) {
                Some(text) => known.push((*name, text)),
                None => to_read.push(*name),
            }
        }
        self.reader(vec![rows], &to_read, length.max(1), None)?
            .all(move |batches| {
                let batch = match <[RecordBatch; 1]>::try_from(batches) {
                    Ok([batch]) => batch,
                    Err(batches) => match batches.first() {
                        Some(first) => arrow_select::concat::concat_batches(&first.schema(), &batches)?,
                        None => return Err(Error::corrupt("a segment has no rows where the catalog names some")),
                    },
                };
                if batch.num_rows() != length {
                    return Err(Error::corrupt("a segment ends before the rows that the catalog names"));
                }
                let known = known.into_iter().map(|(name, text)| (name, same_texts(name, text, length))).collect();
                look(with_columns(batch, known)?)
            })
            .await?
            .ok_or_else(|| Error::corrupt("a segment ends before the rows that the catalog names"))
    }
}

impl RowReader {
    /// The next rows that pass, mapped by `look` on the CPU pool; `None` at the end.
    pub(crate) async fn next<T, F>(&mut self, look: F) -> Result<Option<T>>
    where
        T: Send + 'static,
        F: FnOnce(RecordBatch) -> Result<T> + Send + 'static,
    {
        let mut look = Some(look);
        self.advance(move |batch| batch.zip(look.take()).map(|(batch, look)| look(batch)).transpose()).await
    }

    /// All rows that pass, mapped by `look` on the CPU pool.
    async fn all<T, F>(mut self, look: F) -> Result<Option<T>>
    where
        T: Send + 'static,
        F: FnOnce(Vec<RecordBatch>) -> Result<T> + Send + 'static,
    {
        let (mut batches, mut look) = (Vec::new(), Some(look));
        self.advance(move |batch| match batch {
            Some(batch) => {
                batches.push(batch);
                Ok(None)
            }
            None => look.take().map(|look| look(std::mem::take(&mut batches))).transpose(),
        })
        .await
    }

    /// Decodes until `work` returns a result. It is called with what was decoded, and with nothing at the end.
    async fn advance<T, F>(&mut self, work: F) -> Result<Option<T>>
    where
        T: Send + 'static,
        F: FnMut(Option<RecordBatch>) -> Result<Option<T>> + Send + 'static,
    {
        match self.try_advance(work).await {
            Err(error) => Err(self.source.named(error)),
            done => done,
        }
    }

    async fn try_advance<T, F>(&mut self, mut work: F) -> Result<Option<T>>
    where
        T: Send + 'static,
        F: FnMut(Option<RecordBatch>) -> Result<Option<T>> + Send + 'static,
    {
        let Some((mut decoder, mut pending)) = self.decoder.take() else { return Ok(None) };
        loop {
            let mut fetched = match &pending {
                Pending::Bytes(ranges) => self.source.fetch(ranges).await?,
                _ => None,
            };
            let source = self.source.clone();
            let decoding = move || loop {
                let result = match pending {
                    Pending::Bytes(ranges) => {
                        let in_memory_ranges = match fetched.take() {
                            Some(fetched) => Some(source.checked(&ranges, fetched)?),
                            None => source.in_memory_ranges(&ranges)?,
                        };
                        let Some(bytes) = in_memory_ranges else {
                            return Ok((decoder, Pending::Bytes(ranges), work, None));
                        };
                        decoder.push_ranges(ranges, bytes)?;
                        None
                    }
                    Pending::Rows(batch) => work(Some(in_milliseconds(batch)?))?,
                    Pending::More => None,
                    Pending::End => return work(None).map(|result| (decoder, Pending::End, work, Some(result))),
                };
                if result.is_some() {
                    return Ok((decoder, Pending::More, work, Some(result)));
                }
                pending = Pending::after(&mut decoder)?;
            };
            let (decoder_then, pending_then, work_then, result) = self.cpu.run(decoding).await?;
            if let Some(result) = result {
                self.decoder = Some((decoder_then, pending_then));
                return Ok(result);
            }
            (decoder, pending, work) = (decoder_then, pending_then, work_then);
        }
    }
}

impl Pending {
    fn after(decoder: &mut ParquetPushDecoder) -> Result<Self> {
        Ok(match decoder.try_decode()? {
            DecodeResult::NeedsData(ranges) => Self::Bytes(ranges),
            DecodeResult::Data(batch) => Self::Rows(batch),
            DecodeResult::Finished => Self::End,
        })
    }
}

impl Source {
    async fn read_footer(&self) -> Result<ArrowReaderMetadata> {
        let reader = ParquetMetaDataReader::new()
            .with_column_index_policy(PageIndexPolicy::Skip)
            .with_offset_index_policy(PageIndexPolicy::Optional)
            .with_prefetch_hint(Some(limits::FOOTER_BYTES));
        let footer = Arc::new(reader.load_and_finish(self, self.length()).await?);
        let as_written = ArrowReaderMetadata::try_new(Arc::clone(&footer), ArrowReaderOptions::new())?;
        let coded = ArrowReaderOptions::new().with_schema(coded_schema(as_written.schema()));
        Ok(ArrowReaderMetadata::try_new(footer, coded)?)
    }

    fn length(&self) -> u64 {
        match &self.bytes {
            SourceBytes::Memory(bytes) => bytes.len() as u64,
            SourceBytes::Object { length, .. } => *length,
        }
    }

    /// The bytes, if they are in memory.
    fn in_memory_ranges(&self, ranges: &[Range<u64>]) -> Result<Option<Vec<Bytes>>> {
        match &self.bytes {
            SourceBytes::Memory(bytes) => {
                ranges.iter().map(|range| part_of(bytes, range)).collect::<Result<_>>().map(Some)
            }
            SourceBytes::Object { .. } => Ok(None),
        }
    }

    /// Some bytes, verified.
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let ranges = std::slice::from_ref(&range);
        let bytes = match self.in_memory_ranges(ranges)? {
            Some(bytes) => bytes,
            None => match self.fetch(ranges).await? {
                Some(fetched) => self.checked(ranges, fetched)?,
                None => Vec::new(),
            },
        };
        bytes.into_iter().next().ok_or_else(|| Error::corrupt("it gave no bytes"))
    }

    /// Fetches bytes that are not in memory, with those around them that are needed to verify them.
    async fn fetch(&self, ranges: &[Range<u64>]) -> Result<Option<Vec<Fetched>>> {
        let SourceBytes::Object { objects, length } = &self.bytes else { return Ok(None) };
        let around: Vec<Range<u64>> = match &self.checks {
            Some(checks) => ranges.iter().map(|range| checks.around(range, *length)).collect(),
            None => ranges.to_vec(),
        };
        let fetched = match objects.get_ranges(&self.key, &around).await {
            Ok(fetched) => fetched,
            Err(error) => return Err(self.failed(error, *length).await),
        };
        Ok(Some(around.into_iter().map(|range| range.start).zip(fetched).collect()))
    }

    /// Returns the error for bytes that cannot be read: a truncated object is damaged, not unavailable.
    async fn failed(&self, error: object_store::Error, length: u64) -> Error {
        let SourceBytes::Object { objects, .. } = &self.bytes else { return error.into() };
        match objects.head(&self.key).await {
            Ok(found) if found.size != length => wrong_length(found.size, length),
            _ => read_error(objects, error).await,
        }
    }

    /// The bytes of fetched ranges, verified.
    fn checked(&self, ranges: &[Range<u64>], fetched: Vec<Fetched>) -> Result<Vec<Bytes>> {
        let one = |(range, (start, bytes)): (&Range<u64>, Fetched)| {
            if let Some(checks) = &self.checks
                && !checks.are_of(start, &bytes)
            {
                return Err(not_as_written());
            }
            part_of(&bytes, &(range.start.saturating_sub(start)..range.end.saturating_sub(start)))
        };
        ranges.iter().zip(fetched).map(one).collect()
    }

    fn check_length(&self, length: u64) -> Result<()> {
        match self.length() {
            found if found != length => Err(wrong_length(found, length)),
            _ => Ok(()),
        }
    }

    /// Verifies the bytes that are in memory.
    fn check_whole(&self) -> Result<()> {
        match (&self.bytes, &self.checks) {
            _ if planted::is("checksums-not-compared") => Ok(()),
            (SourceBytes::Memory(bytes), Some(checks)) if !checks.are_of(0, bytes) => Err(not_as_written()),
            _ => Ok(()),
        }
    }

    fn named(&self, error: Error) -> Error {
        named(&self.damage, self.key.as_ref(), error)
    }
}

/// An error, with the object that caused it.
fn named(damage: &Damage, key: &str, error: Error) -> Error {
    if error.kind() != ErrorKind::Corrupt {
        return error;
    }
    damage.record(key, &error);
    match error.damaged_object() {
        Some(_) => error,
        None => error.in_object(key),
    }
}

/// Bytes of an object, and their offset.
type Fetched = (u64, Bytes);

fn not_as_written() -> Error {
    Error::corrupt("its content does not match its checksum")
}

fn wrong_length(found: u64, length: u64) -> Error {
    Error::corrupt(format!("it has {found} bytes where the catalog says {length}"))
}

impl MetadataFetch for &Source {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move { Source::read(self, range).await.map_err(|error| ParquetError::External(Box::new(error))) }.boxed()
    }
}

fn part_of(bytes: &Bytes, range: &Range<u64>) -> Result<Bytes> {
    match range.start <= range.end && range.end <= bytes.len() as u64 {
        true => Ok(bytes.slice(range.start.saturating_as::<usize>()..range.end.saturating_as::<usize>())),
        false => Err(Error::corrupt("it is shorter than its own description")),
    }
}

/// Returns the value that all of these rows have; `None` if they differ.
fn only_text(statistics: &Statistics, rows: usize) -> Option<Option<String>> {
    let Statistics::ByteArray(texts) = statistics else { return None };
    let without = texts.null_count_opt()?;
    if without == rows as u64 {
        return Some(None);
    }
    let (least, most) = (texts.min_opt()?, texts.max_opt()?);
    let is_one = without == 0 && least == most && texts.min_is_exact() && texts.max_is_exact();
    is_one.then(|| least.as_utf8().ok().map(|text| Some(text.to_owned()))).flatten()
}

/// A column in which each row has this value, as it would have been read.
fn same_texts(column: &str, text: Option<String>, rows: usize) -> ArrayRef {
    match NAME_COLUMNS.contains(&column) {
        true => {
            let keys = match text {
                Some(_) => Int32Array::from_value(0, rows),
                None => Int32Array::new_null(rows),
            };
            let texts = StringArray::from_iter_values(text);
            // There is a text for each key.
            Arc::new(DictionaryArray::new(keys, Arc::new(texts)))
        }
        false => match text {
            Some(text) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows))),
            None => Arc::new(StringArray::new_null(rows)),
        },
    }
}

fn with_columns(batch: RecordBatch, more: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    if more.is_empty() {
        return Ok(batch);
    }
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    let mut columns = batch.columns().to_vec();
    for (name, column) in more {
        fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
        columns.push(column);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// The same rows, with times in milliseconds: those of files for lakehouses are stored in microseconds.
pub(crate) fn in_milliseconds(batch: RecordBatch) -> Result<RecordBatch> {
    let Some((index, field)) = batch.schema_ref().column_with_name("time") else { return Ok(batch) };
    let Some(times) = batch.column(index).as_any().downcast_ref::<TimestampMicrosecondArray>() else {
        return Ok(batch);
    };
    let times = times_column(FilePurpose::Archive, times.values().iter().map(|time| time.div_euclid(1_000)));
    let field = field.clone().with_data_type(times.data_type().clone());
    let (mut fields, mut columns) = (batch.schema_ref().fields().to_vec(), batch.columns().to_vec());
    fields[index] = Arc::new(field);
    columns[index] = times;
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// The same schema, with dictionaries for names: a name that is repeated is read and formatted once.
fn coded_schema(schema: &Schema) -> SchemaRef {
    let coded = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let fields = schema.fields().iter().map(|field| match NAME_COLUMNS.contains(&field.name().as_str()) {
        true => Arc::new(field.as_ref().clone().with_data_type(coded.clone())),
        false => Arc::clone(field),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::columns::{ColumnBuilder, RecordColumns};
    use crate::segment::sealed_writer::SealedWriter;
    use crate::segment::writer::encode;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use runlog_model::{Record, RunId, Timestamp};

    fn record(time_ms: i64, message: &str) -> Record {
        Record { message: Some(message.to_owned()), ..Record::at(Timestamp::clamped(time_ms)) }
    }

    fn columns(records: &[Record]) -> Vec<Arc<RecordColumns>> {
        let mut columns = ColumnBuilder::new();
        records.iter().for_each(|record| columns.push(record).unwrap());
        vec![Arc::new(columns.take())]
    }

    async fn in_memory(bytes: Vec<u8>) -> Result<SegmentFile> {
        let source = Source {
            key: Path::from("segments/one"),
            bytes: SourceBytes::Memory(bytes.into()),
            checks: None,
            damage: Damage::unconnected(),
        };
        let footer = source.read_footer().await?;
        Ok(SegmentFile { source, footer, cpu: CpuPool::interactive() })
    }

    fn run(number: u8) -> RunId {
        format!("7b2b122e-d6b8-42de-b0ba-fa2f0d36306{number}").parse().unwrap()
    }

    #[tokio::test]
    async fn rows_are_in_order_of_run_then_time_then_arrival() {
        let mut records = vec![record(5, "a"), record(3, "b"), record(5, "c"), record(3, "d")];
        records[1].extra = Some(Box::new([("n".to_owned(), 7.into())].into_iter().collect()));
        let others = vec![record(9, "e"), record(8, "f")];
        let (bytes, parts) = encode(&[(run(1), columns(&records)), (run(2), columns(&others))]).unwrap();
        let places: Vec<_> =
            parts.iter().map(|part| (part.first_row, part.records, part.first_time, part.last_time)).collect();
        assert_eq!(places, [(0, 4, 3, 5), (4, 2, 8, 9)]);
        let segment = in_memory(bytes).await.unwrap();
        let keys = segment.read_keys(0..6).await.unwrap();
        assert_eq!((keys.times, keys.arrivals), (vec![3, 3, 5, 5, 8, 9], vec![1, 3, 0, 2, 1, 0]));
        assert_eq!(segment.run_ids(3..5).await.unwrap().value(1), run(2).to_string());
        let values = segment.read_values(0..4).await.unwrap();
        assert_eq!(values.row(0).to_record(3).unwrap(), records[1]);
        // Some rows alone are the same as those rows of the whole.
        let values = segment.read_values(1..3).await.unwrap();
        assert_eq!(values.row(1).to_record(5).unwrap(), records[0]);
    }

    /// Names that are the same in all rows of a sealed file are taken from its footer; the result is the same as when
    /// they are read.
    #[tokio::test]
    async fn names_that_are_the_same_everywhere_are_not_read_and_come_out_the_same() {
        let named = |number: i64, severity: Option<&str>| Record {
            severity: severity.map(str::to_owned),
            log_type: Some("JOB".to_owned()),
            bundle_name: (number != 1).then(|| "b".to_owned()),
            pod_name: Some("p".repeat(100 + usize::from(number == 2))),
            extra: (number == 0).then(|| Box::new([("n".to_owned(), 7.into())].into_iter().collect())),
            ..record(number, "m")
        };
        let records: Vec<Record> =
            [Some("INFO"), Some("WARN"), None].into_iter().enumerate().map(|(n, it)| named(n as i64, it)).collect();
        let written = [(run(1), columns(&records))];
        let mut writer = SealedWriter::new(FilePurpose::Archive).unwrap();
        let rows = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(encode(&written).unwrap().0)).unwrap();
        rows.build().unwrap().for_each(|batch| writer.write(&batch.unwrap()).unwrap());
        writer.end_row_group().unwrap();
        writer.finish().unwrap();
        let sealed = in_memory(writer.take_bytes()).await.unwrap();
        let known = |name| sealed.same_text(&(1..3), name);
        assert_eq!(known("log_type"), Some(Some("JOB".to_owned())));
        assert_eq!(known("bundle_version"), Some(None));
        let differing = ["severity", "bundle_name", "pod_name", "extra"];
        assert_eq!(differing.map(known), [None, None, None, None]);
        let plain = in_memory(encode(&written).unwrap().0).await.unwrap();
        assert_eq!(plain.same_text(&(1..3), "log_type"), None);
        for segment in [sealed, plain] {
            for rows in [0..3, 1..2] {
                let (times, values) = segment.times_and_values(rows.clone()).await.unwrap();
                let read: Vec<Record> =
                    times.iter().enumerate().map(|(row, time)| values.row(row).to_record(*time).unwrap()).collect();
                assert_eq!(read, records[rows]);
            }
        }
    }

    #[tokio::test]
    async fn a_damaged_segment_is_an_error() {
        let (bytes, _) = encode(&[(run(1), columns(&[record(1, "a")]))]).unwrap();
        assert!(in_memory(bytes[..bytes.len() - 9].to_vec()).await.is_err());
        assert!(in_memory(bytes).await.unwrap().read_keys(0..2).await.is_err());
    }
}
