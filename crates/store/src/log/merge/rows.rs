//! Consecutive rows of slices, and the records in them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, UInt32Array};
use az::SaturatingAs;
use runlog_model::RecordOrder;
use tokio::sync::Mutex;

use crate::catalog::columns::SortKey;
use crate::error::Result;
use crate::segment::reader::SegmentFile;
use crate::segment::values::{KeyColumns, RecordValues, Rows, ValueColumns};

/// Consecutive rows of one slice in the order of the merge, with their keys.
pub(crate) struct RowRun {
    pub(super) slice: Arc<OpenSlice>,
    pub(super) rows: Range<usize>,
    pub(super) order: RecordOrder,
}

/// Consecutive rows of a slice that have not been read yet.
pub(crate) struct SliceRows {
    pub(super) file: SegmentFile,
    pub(super) rows: Range<usize>,
    pub(super) order: RecordOrder,
}

/// The next output of a merge.
pub(crate) enum MergedRows {
    RowRun(RowRun),
    Rows(Box<SliceRows>),
}

/// The records of a [`RowRun`].
pub(crate) struct RecordBlock {
    row_run: RowRun,
    values: Arc<ValueColumns>,
    /// The row of the slice to which the first of `values` belongs.
    first_row: usize,
}

/// How many chunks of an open slice are cached.
pub(super) const CHUNKS_KEPT: usize = 2;

/// The rows of a slice that are in the scope, numbered from 0.
pub(crate) struct OpenSlice {
    pub(super) file: SegmentFile,
    /// The rows of the slice in its segment.
    pub(super) in_segment: Range<usize>,
    pub(super) arrival_base: i64,
    pub(super) keys: KeyColumns,
    /// The rows of the slice that are in the scope.
    pub(super) rows: RowChoice,
    /// How many rows are read at a time.
    pub(super) chunk_records: usize,
    /// How many chunks are cached.
    pub(super) chunks_kept: usize,
    /// The chunks that were read last, with their numbers: the rows of two neighbouring chunks may be requested in
    /// turn.
    pub(super) chunks: Mutex<VecDeque<(usize, Arc<ValueColumns>)>>,
}

pub(crate) enum RowChoice {
    /// All from this one on.
    From(usize),
    These(Vec<u32>),
}

impl OpenSlice {
    pub(super) fn sort_key(&self, row: usize) -> SortKey {
        (self.keys.times[row], self.arrival_base + self.keys.arrivals[row])
    }

    pub(super) fn row_of_slice(&self, row: usize) -> usize {
        match &self.rows {
            RowChoice::From(first) => first + row,
            RowChoice::These(rows) => rows[row] as usize,
        }
    }

    /// Returns the range of some of the rows in the segment; `None` if other rows are between them.
    pub(super) fn in_segment(&self, rows: Range<usize>) -> Option<Range<usize>> {
        if rows.is_empty() {
            return Some(self.in_segment.start..self.in_segment.start);
        }
        let (first, last) = (self.row_of_slice(rows.start), self.row_of_slice(rows.end - 1));
        let start = self.in_segment.start;
        (last - first + 1 == rows.len()).then(|| start + first..start + last + 1)
    }

    /// Returns the first row that is not before a row of the slice.
    pub(super) fn row_from(&self, row_of_slice: usize) -> usize {
        match &self.rows {
            RowChoice::From(first) => row_of_slice.saturating_sub(*first),
            RowChoice::These(rows) => rows.partition_point(|row| (*row as usize) < row_of_slice),
        }
    }

    /// Returns the part of a range of rows that is in one chunk: the first chunk, or the last one for newest first.
    pub(super) fn within_chunk(&self, rows: Range<usize>, order: RecordOrder) -> Range<usize> {
        match order {
            RecordOrder::Desc => {
                let chunk = self.row_of_slice(rows.end - 1) / self.chunk_records;
                self.row_from(chunk * self.chunk_records).max(rows.start)..rows.end
            }
            RecordOrder::Asc => {
                let chunk = self.row_of_slice(rows.start) / self.chunk_records;
                rows.start..self.row_from((chunk + 1) * self.chunk_records).min(rows.end)
            }
        }
    }

    async fn chunk(&self, number: usize) -> Result<Arc<ValueColumns>> {
        let mut last = self.chunks.lock().await;
        if let Some((_, values)) = last.iter().find(|(last, _)| *last == number) {
            return Ok(Arc::clone(values));
        }
        let first = self.in_segment.start + number * self.chunk_records;
        let rows = first..(first + self.chunk_records).min(self.in_segment.end);
        let values = Arc::new(self.file.read_values(rows).await?);
        last.push_front((number, Arc::clone(&values)));
        last.truncate(self.chunks_kept);
        Ok(values)
    }
}

impl RowRun {
    /// How many records it has.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns its times in the order of the merge. Unit: epoch milliseconds.
    pub(crate) fn times(&self) -> impl Iterator<Item = i64> + '_ {
        self.rows_in_order().map(|row| self.slice.keys.times[row])
    }

    /// Returns the sort keys of its records, oldest first.
    pub(crate) fn sort_keys(&self) -> impl Iterator<Item = SortKey> {
        self.rows.clone().map(|row| self.slice.sort_key(row))
    }

    /// Reads its records.
    pub(crate) async fn read(self) -> Result<RecordBlock> {
        let values = self.slice.chunk(self.chunk_number()).await?;
        Ok(self.with(values))
    }

    fn chunk_number(&self) -> usize {
        self.slice.row_of_slice(self.rows.start) / self.slice.chunk_records
    }

    fn with(self, values: Arc<ValueColumns>) -> RecordBlock {
        RecordBlock { first_row: self.chunk_number() * self.slice.chunk_records, row_run: self, values }
    }

    fn rows_in_order(&self) -> impl Iterator<Item = usize> + use<> {
        let (rows, is_newest_first, last) = (self.rows.clone(), self.order == RecordOrder::Desc, self.rows.end);
        let first = rows.start;
        rows.map(move |row| if is_newest_first { last - 1 - (row - first) } else { row })
    }
}

impl MergedRows {
    /// How many records it has.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::RowRun(row_run) => row_run.len(),
            Self::Rows(rows) => rows.rows.len(),
        }
    }

    /// Reads its records.
    pub(crate) async fn read(self) -> Result<RecordBlock> {
        match self {
            Self::RowRun(row_run) => row_run.read().await,
            Self::Rows(rows) => rows.read().await,
        }
    }
}

impl SliceRows {
    pub(super) async fn read(self) -> Result<RecordBlock> {
        let (times, values) = self.file.times_and_values(self.rows.clone()).await?;
        let rows = 0..times.len();
        let slice = OpenSlice {
            file: self.file,
            in_segment: self.rows,
            arrival_base: 0,
            keys: KeyColumns { times, arrivals: Vec::new() },
            rows: RowChoice::From(0),
            chunk_records: rows.len(),
            chunks_kept: CHUNKS_KEPT,
            chunks: Mutex::default(),
        };
        let row_run = RowRun { slice: Arc::new(slice), rows, order: self.order };
        Ok(RecordBlock { row_run, values: Arc::new(values), first_row: 0 })
    }
}

impl RecordBlock {
    /// Returns the number of records.
    pub(crate) fn len(&self) -> usize {
        self.row_run.len()
    }

    /// Returns the values of the records, and for each record, in the order of the merge, its time and its row in the
    /// values.
    pub(crate) fn texts(&self) -> (&ValueColumns, impl Iterator<Item = (i64, usize)>) {
        let rows = self.row_run.rows_in_order().map(|row| {
            let slice = &self.row_run.slice;
            (slice.keys.times[row], slice.row_of_slice(row) - self.first_row)
        });
        (&self.values, rows)
    }

    /// Returns the records in the order of the merge, with their times.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, RecordValues<'_>)> {
        let (values, rows) = self.texts();
        rows.map(|(time, row)| (time, values.row(row)))
    }

    /// Returns the sort keys of the records, oldest first.
    pub(crate) fn sort_keys(&self) -> impl Iterator<Item = SortKey> {
        self.row_run.sort_keys()
    }

    /// Returns the columns after the times, oldest record first.
    pub(crate) fn columns(&self) -> Result<Vec<ArrayRef>> {
        let rows = self.row_run.rows.clone();
        let columns = match &self.row_run.slice.rows {
            RowChoice::From(first) => {
                let offset = first + rows.start - self.first_row;
                self.values.columns(&Rows::Together(offset..offset + rows.len()))?
            }
            RowChoice::These(chosen) => {
                let first_row = self.first_row.saturating_as::<u32>();
                let picked = UInt32Array::from_iter_values(chosen[rows].iter().map(|row| row - first_row));
                self.values.columns(&Rows::These(&picked))?
            }
        };
        Ok(columns.into_iter().map(|column| Arc::new(column) as ArrayRef).collect())
    }
}
