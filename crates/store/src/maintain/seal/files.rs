//! Files of sealed runs, written from merged records.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use az::SaturatingAs;
use bytes::Bytes;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use parquet::file::metadata::RowGroupMetaData;
use runlog_model::hex;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tracing::warn;

use crate::cpu::CpuPool;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::log::merge::RecordBlock;
use crate::maintain::maintenance::Maintenance;
use crate::objects::checksums::ChecksWriter;
use crate::objects::keys;
use crate::segment;
use crate::segment::FilePurpose;
use crate::segment::code_index::{self, CodeIndexWriter};
use crate::segment::file_statistics::FileStatisticsBuilder;
use crate::segment::sealed_writer::SealedWriter;
use crate::segment::values::column;
use crate::segment::word_index::{self, WordIndexWriter};
use crate::segment::writer::{LAKE_COLUMNS, has_bounds};

/// The part of a run that is in one row group of one file.
#[derive(Debug, Clone)]
pub(super) struct NewSlice {
    pub(super) file: usize,
    pub(super) first_row: i64,
    pub(super) records: i64,
    pub(super) first_arrival: i64,
    pub(super) last_arrival: i64,
    pub(super) first_time: i64,
    pub(super) last_time: i64,
}

/// A file that was written, and to which no row refers yet.
pub(super) struct NewFile {
    pub(super) id: String,
    pub(super) object_key: Path,
    pub(super) bytes: u64,
    pub(super) records: i64,
    pub(super) sha256: String,
    /// See [`crate::objects::checksums`].
    pub(super) checks: Vec<u8>,
    /// For a file of a lakehouse table: the workspace, and the statistics as JSON.
    pub(super) lake: Option<(String, String)>,
}

/// The values of the columns about the run of a record.
pub(super) struct RunColumns {
    pub(super) run_id: String,
    pub(super) workspace_id: String,
    pub(super) task_id: String,
    pub(super) task_name: String,
    pub(super) status: String,
}

/// A writer of files of sealed runs.
pub(super) struct SealedFiles {
    maintenance: Maintenance,
    form: FilePurpose,
    open: Option<OpenFile>,
    /// The current run.
    run: Option<RunColumns>,
    pub(super) done: Vec<NewFile>,
    /// The slices of the current run.
    slices: Vec<NewSlice>,
    current: Option<NewSlice>,
    /// Times across which no slice of the run may extend.
    barriers: VecDeque<i64>,
}

struct OpenFile {
    id: String,
    object_key: Path,
    cpu: CpuPool,
    /// `None` while the encoder is in use, and after a failure.
    encoder: Option<Box<Encoder>>,
    object: BufWriter,
    form: FilePurpose,
    /// Rows that have not been written yet; they are written together.
    pending: Vec<Vec<ArrayRef>>,
    pending_rows: usize,
    rows: i64,
    rows_in_group: usize,
}

/// An encoder of a file, which also hashes its bytes.
struct Encoder {
    /// The buffer of the writer contains the bytes that have not been uploaded yet.
    writer: SealedWriter,
    digest: Sha256,
    checks: ChecksWriter,
    bytes: u64,
    words: WordIndexWriter,
    codes: CodeIndexWriter,
    /// Statistics of a file of a lakehouse table.
    statistics: Option<FileStatisticsBuilder>,
    /// The row groups according to the footer, once it is written.
    row_groups: Vec<RowGroupMetaData>,
}

impl SealedFiles {
    pub(super) fn new(maintenance: &Maintenance) -> Self {
        Self {
            maintenance: maintenance.clone(),
            form: if maintenance.core.settings().lake { FilePurpose::Lake } else { FilePurpose::Archive },
            open: None,
            run: None,
            done: Vec::new(),
            slices: Vec::new(),
            current: None,
            barriers: VecDeque::new(),
        }
    }

    /// Begins a run. Begins a new file if the current file is for lakehouses and contains runs of another workspace.
    pub(super) async fn begin_run(&mut self, run: RunColumns) -> Result<()> {
        let is_elsewhere = self.run.as_ref().is_some_and(|last| last.workspace_id != run.workspace_id);
        if self.form == FilePurpose::Lake && is_elsewhere {
            self.end_file().await?;
        }
        self.run = Some(run);
        Ok(())
    }

    /// Sets the times across which no slice of the run may extend. None of its records has one of these times.
    pub(super) fn keep_barriers(&mut self, barriers: VecDeque<i64>) {
        self.barriers = barriers;
    }

    /// Adds records of the current run, which must follow those added before.
    pub(super) async fn add(&mut self, records: RecordBlock) -> Result<()> {
        let positions: Vec<_> = records.sort_keys().collect();
        let columns = self.maintenance.core.cpu().run_for(positions.len(), move || records.columns()).await?;
        let mut from = 0;
        while from < positions.len() {
            self.end_slice_at_barrier(positions[from].0);
            self.end_slice_if_full(positions[from].0).await?;
            let room = self.open_file().await?.rows_until_full();
            let room = room.min(limits::CHUNK_RECORDS.saturating_sub(self.current_records()));
            // A slice does not end between records of the same time, so that the slices of a run do not overlap.
            let mut to = (from + room.max(1)).min(positions.len());
            while to < positions.len() && positions[to].0 == positions[to - 1].0 {
                to += 1;
            }
            if let Some(barrier) = self.barriers.front() {
                to = to.min(from + positions[from..].partition_point(|(time, _)| time < barrier).max(1));
            }
            let some = &positions[from..to];
            let run = self.run.as_ref().ok_or_else(|| Error::corrupt("records were merged that belong to no run"))?;
            let repeated = |text: &str| -> ArrayRef {
                Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, some.len())))
            };
            let mut arrays: Vec<ArrayRef> = vec![
                repeated(&run.run_id),
                segment::times_column(self.form, some.iter().map(|(time, _)| *time)),
                Arc::new(Int64Array::from_iter_values(some.iter().map(|(_, arrival)| *arrival))),
            ];
            arrays.extend(columns.iter().map(|column| column.slice(from, some.len())));
            if self.form == FilePurpose::Lake {
                arrays.extend([&run.task_id, &run.task_name, &run.status].map(|text| repeated(text)));
            }
            self.note(some);
            self.open_file().await?.add(arrays, some.len()).await?;
            from = to;
        }
        Ok(())
    }

    /// Ends the current run and returns its slices.
    pub(super) fn end_run(&mut self) -> Vec<NewSlice> {
        self.slices.extend(self.current.take());
        std::mem::take(&mut self.slices)
    }

    /// Returns the keys of all files, finished or not.
    pub(super) fn keys(&self) -> Vec<Path> {
        let open = self.open.iter().map(|file| &file.object_key);
        self.done.iter().map(|file| &file.object_key).chain(open).cloned().collect()
    }

    /// Removes all files and uploaded parts.
    pub(super) async fn abandon(mut self) {
        let keys = self.keys();
        if let Some(open) = self.open.take() {
            let mut object = open.object;
            if let Err(error) = object.abort().await {
                warn!(%error, object.key = %open.object_key, "parts of an abandoned upload could not be removed");
            }
        }
        self.maintenance.core.intents().remove_uncommitted(&keys).await;
    }

    fn end_slice_at_barrier(&mut self, next_time: i64) {
        while self.barriers.front().is_some_and(|barrier| *barrier < next_time) {
            self.barriers.pop_front();
            self.slices.extend(self.current.take());
        }
    }

    /// Updates the current slice for rows that are about to be added.
    fn note(&mut self, positions: &[(i64, i64)]) {
        let (Some(first), Some(last)) = (positions.first(), positions.last()) else { return };
        let arrivals = || positions.iter().map(|(_, arrival)| *arrival);
        let (least, greatest) = (arrivals().min().unwrap_or_default(), arrivals().max().unwrap_or_default());
        let file = self.done.len();
        let first_row = self.open.as_ref().map_or(0, |file| file.rows);
        let slice = self.current.get_or_insert(NewSlice {
            file,
            first_row,
            records: 0,
            first_arrival: least,
            last_arrival: greatest,
            first_time: first.0,
            last_time: last.0,
        });
        slice.records += positions.len().saturating_as::<i64>();
        slice.first_arrival = slice.first_arrival.min(least);
        slice.last_arrival = slice.last_arrival.max(greatest);
        slice.last_time = last.0;
    }

    fn current_records(&self) -> usize {
        self.current.as_ref().map_or(0, |slice| slice.records.saturating_as::<usize>())
    }

    async fn end_slice_if_full(&mut self, next_time: i64) -> Result<()> {
        let is_full = self.current_records() >= limits::CHUNK_RECORDS;
        let Some(file) = &mut self.open else { return Ok(()) };
        let is_same_instant = self.current.as_ref().is_some_and(|slice| slice.last_time == next_time);
        if is_same_instant {
            return Ok(());
        }
        if !file.is_row_group_full() {
            if is_full {
                self.slices.extend(self.current.take());
            }
            return Ok(());
        }
        file.end_row_group().await?;
        let is_file_full = file.encoder.as_ref().is_some_and(|it| it.bytes >= limits::SEALED_FILE_BYTES as u64);
        self.slices.extend(self.current.take());
        if is_file_full {
            self.end_file().await?;
        }
        Ok(())
    }

    pub(super) async fn end_file(&mut self) -> Result<()> {
        let Some(file) = &mut self.open else { return Ok(()) };
        // If this fails, `abandon` removes the uploaded parts.
        file.write_pending().await?;
        file.encode(Encoder::finish).await?;
        let Some(mut file) = self.open.take() else { return Ok(()) };
        // An upload that failed may still become an object later. Its intent is kept, so that the sweep removes the
        // object.
        file.object.shutdown().await.map_err(unwritten)?;
        let Encoder { digest, checks, bytes, statistics, row_groups, .. } = *file.encoder.ok_or_else(interrupted)?;
        let lake = match (statistics, &self.run) {
            (Some(statistics), Some(run)) => {
                let statistics = serde_json::to_string(&statistics.finish(&row_groups));
                let statistics = statistics.map_err(|_| Error::corrupt("statistics of a file have no JSON form"))?;
                Some((run.workspace_id.clone(), statistics))
            }
            _ => None,
        };
        self.done.push(NewFile {
            id: file.id,
            object_key: file.object_key,
            bytes,
            records: file.rows,
            sha256: hex::encode(digest.finalize()),
            checks: checks.finish(),
            lake,
        });
        Ok(())
    }

    async fn open_file(&mut self) -> Result<&mut OpenFile> {
        if self.open.is_none() {
            let id = self.maintenance.core.random().uuid();
            let object_key = keys::sealed_file(id, self.maintenance.core.now());
            self.maintenance.core.intents().intend([&object_key]).await?;
            let object = BufWriter::with_capacity(
                Arc::clone(self.maintenance.core.objects()),
                object_key.clone(),
                limits::UPLOAD_PART_BYTES,
            )
            .with_max_concurrency(2);
            let writer = SealedWriter::new(self.form)?;
            self.open = Some(OpenFile {
                id: id.to_string(),
                object_key,
                cpu: self.maintenance.core.cpu().clone(),
                encoder: Some(Box::new(Encoder {
                    writer,
                    digest: Sha256::new(),
                    checks: ChecksWriter::default(),
                    bytes: 0,
                    words: WordIndexWriter::default(),
                    codes: CodeIndexWriter::default(),
                    statistics: (self.form == FilePurpose::Lake)
                        .then(|| FileStatisticsBuilder::new(LAKE_COLUMNS.iter().map(|name| has_bounds(name)))),
                    row_groups: Vec::new(),
                })),
                form: self.form,
                object,
                pending: Vec::new(),
                pending_rows: 0,
                rows: 0,
                rows_in_group: 0,
            });
        }
        self.open.as_mut().ok_or_else(|| Error::corrupt("a sealed file could not be created"))
    }
}

impl OpenFile {
    fn rows_until_full(&self) -> usize {
        limits::ROW_GROUP_RECORDS.saturating_sub(self.rows_in_group)
    }

    fn is_row_group_full(&self) -> bool {
        let memory = self.encoder.as_ref().map_or(0, |encoder| encoder.writer.memory_bytes());
        self.rows_in_group >= limits::ROW_GROUP_RECORDS || memory >= limits::ROW_GROUP_BYTES
    }

    async fn add(&mut self, columns: Vec<ArrayRef>, rows: usize) -> Result<()> {
        self.pending.push(columns);
        self.pending_rows += rows;
        self.rows += rows.saturating_as::<i64>();
        self.rows_in_group += rows;
        // The added batches may be small, and the writer is faster with many rows at a time.
        if self.pending_rows >= limits::CHUNK_RECORDS / 4 { self.write_pending().await } else { Ok(()) }
    }

    async fn write_pending(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_rows = 0;
        let Some(width) = pending.first().map(Vec::len) else { return Ok(()) };
        let schema = segment::schema(self.form);
        self.encode(move |encoder| {
            let mut columns = Vec::with_capacity(width);
            for index in 0..width {
                let parts: Vec<&dyn arrow_array::Array> = pending.iter().map(|columns| &*columns[index]).collect();
                columns.push(arrow_select::concat::concat(&parts)?);
            }
            encoder.write(&RecordBatch::try_new(schema, columns)?)
        })
        .await
    }

    async fn end_row_group(&mut self) -> Result<()> {
        self.write_pending().await?;
        self.encode(|encoder| encoder.writer.end_row_group()).await?;
        self.rows_in_group = 0;
        Ok(())
    }

    /// Encodes a part of the file on the CPU pool, and uploads the result.
    async fn encode(&mut self, work: impl FnOnce(&mut Encoder) -> Result<()> + Send + 'static) -> Result<()> {
        let mut encoder = self.encoder.take().ok_or_else(interrupted)?;
        let encoding = move || {
            work(&mut encoder)?;
            let bytes = Bytes::from(encoder.writer.take_bytes());
            encoder.digest.update(&bytes);
            encoder.checks.update(&bytes);
            encoder.bytes += bytes.len() as u64;
            Ok((encoder, bytes))
        };
        let (encoder, bytes) = self.cpu.run(encoding).await?;
        self.encoder = Some(encoder);
        match bytes.is_empty() {
            true => Ok(()),
            false => Ok(self.object.put(bytes).await?),
        }
    }
}

impl Encoder {
    fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.words.add(&mut self.codes, column(rows, "message")?, self.writer.row_groups());
        if let Some(statistics) = &mut self.statistics {
            statistics.add(rows);
        }
        self.writer.write(rows)
    }

    /// Writes the word index, the code index and the footer.
    fn finish(&mut self) -> Result<()> {
        self.writer.end_row_group()?;
        let (row_groups, file_bytes) = (self.writer.row_groups(), self.writer.bytes_written() as u64);
        if let Some(index) = std::mem::take(&mut self.words).finish(row_groups, file_bytes)? {
            self.writer.append(&index, word_index::METADATA_KEY)?;
        }
        if let Some(index) = std::mem::take(&mut self.codes).finish(row_groups, file_bytes)? {
            self.writer.append(&index, code_index::METADATA_KEY)?;
        }
        self.row_groups = self.writer.finish()?;
        Ok(())
    }
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Unavailable, "writing a sealed file was interrupted")
}

fn unwritten(error: std::io::Error) -> Error {
    Error::caused(ErrorKind::Unavailable, "a sealed file cannot be written", error)
}
