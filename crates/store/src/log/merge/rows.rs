//! Rows of slices that follow each other, and the records in them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, UInt32Array};
use az::SaturatingAs;
use runlog_model::RecordOrder;
use tokio::sync::Mutex;

use crate::catalog::columns::Position;
use crate::error::Result;
use crate::segment::reader::{Bodies, Body, Heads, Rows, SegmentFile};

/// Rows of one slice that follow each other in the order of the merge.
pub(crate) struct Stretch {
    pub(super) slice: Arc<OpenSlice>,
    pub(super) rows: Range<usize>,
    pub(super) order: RecordOrder,
}

/// Rows of a slice that come next, not read yet.
pub(crate) struct SliceRows {
    pub(super) file: SegmentFile,
    pub(super) rows: Range<usize>,
    pub(super) order: RecordOrder,
}

/// What comes next of a merge.
pub(crate) enum Piece {
    Stretch(Stretch),
    Rows(SliceRows),
}

/// The records of a [`Stretch`].
pub(crate) struct StretchRecords {
    stretch: Stretch,
    bodies: Arc<Bodies>,
    /// The row of the slice that is the first of `bodies`.
    first_row: usize,
}

/// Chunks of an open slice that are kept.
const CHUNKS_KEPT: usize = 2;

/// The rows of a slice that are in the scope, numbered from 0.
pub(crate) struct OpenSlice {
    pub(super) file: SegmentFile,
    /// The rows of the slice in its segment.
    pub(super) in_segment: Range<usize>,
    pub(super) arrival_base: i64,
    pub(super) heads: Heads,
    /// Which rows of the slice they are.
    pub(super) rows: RowChoice,
    /// How many rows are read at a time.
    pub(super) chunk_records: usize,
    /// The chunks that were read last, and their numbers: of two that lie beside each other, several may be asked for in
    /// turn.
    pub(super) chunks: Mutex<VecDeque<(usize, Arc<Bodies>)>>,
}

pub(crate) enum RowChoice {
    /// All from this one on.
    From(usize),
    These(Vec<u32>),
}

impl OpenSlice {
    pub(super) fn position(&self, row: usize) -> Position {
        (self.heads.times[row], self.arrival_base + self.heads.arrivals[row])
    }

    pub(super) fn row_of_slice(&self, row: usize) -> usize {
        match &self.rows {
            RowChoice::From(first) => first + row,
            RowChoice::These(rows) => rows[row] as usize,
        }
    }

    /// Where some of our rows are in the segment; none when others stand between them.
    pub(super) fn in_segment(&self, rows: Range<usize>) -> Option<Range<usize>> {
        if rows.is_empty() {
            return Some(self.in_segment.start..self.in_segment.start);
        }
        let (first, last) = (self.row_of_slice(rows.start), self.row_of_slice(rows.end - 1));
        let start = self.in_segment.start;
        (last - first + 1 == rows.len()).then(|| start + first..start + last + 1)
    }

    /// The first of our rows that is not before a row of the slice.
    pub(super) fn row_from(&self, row_of_slice: usize) -> usize {
        match &self.rows {
            RowChoice::From(first) => row_of_slice.saturating_sub(*first),
            RowChoice::These(rows) => rows.partition_point(|row| (*row as usize) < row_of_slice),
        }
    }

    /// As many of some rows as lie in one chunk: the last ones when the newest come first.
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

    async fn chunk(&self, number: usize) -> Result<Arc<Bodies>> {
        let mut last = self.chunks.lock().await;
        if let Some((_, bodies)) = last.iter().find(|(last, _)| *last == number) {
            return Ok(Arc::clone(bodies));
        }
        let first = self.in_segment.start + number * self.chunk_records;
        let rows = first..(first + self.chunk_records).min(self.in_segment.end);
        let bodies = Arc::new(self.file.bodies(rows).await?);
        last.truncate(CHUNKS_KEPT - 1);
        last.push_front((number, Arc::clone(&bodies)));
        Ok(bodies)
    }
}

impl Stretch {
    /// How many records it has.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Its times in the order of the merge. Unit: epoch milliseconds.
    pub(crate) fn times(&self) -> impl Iterator<Item = i64> + '_ {
        self.rows_in_order().map(|row| self.slice.heads.times[row])
    }

    /// Where its records stand, oldest first.
    pub(crate) fn positions(&self) -> impl Iterator<Item = Position> {
        self.rows.clone().map(|row| self.slice.position(row))
    }

    /// Reads its records.
    pub(crate) async fn read(self) -> Result<StretchRecords> {
        let bodies = self.slice.chunk(self.chunk_number()).await?;
        Ok(self.with(bodies))
    }

    fn chunk_number(&self) -> usize {
        self.slice.row_of_slice(self.rows.start) / self.slice.chunk_records
    }

    fn with(self, bodies: Arc<Bodies>) -> StretchRecords {
        StretchRecords { first_row: self.chunk_number() * self.slice.chunk_records, stretch: self, bodies }
    }

    fn rows_in_order(&self) -> impl Iterator<Item = usize> + use<> {
        let (rows, is_newest_first, last) = (self.rows.clone(), self.order == RecordOrder::Desc, self.rows.end);
        let first = rows.start;
        rows.map(move |row| if is_newest_first { last - 1 - (row - first) } else { row })
    }
}

impl Piece {
    /// How many records it has.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Stretch(stretch) => stretch.len(),
            Self::Rows(rows) => rows.rows.len(),
        }
    }

    /// Reads its records.
    pub(crate) async fn read(self) -> Result<StretchRecords> {
        match self {
            Self::Stretch(stretch) => stretch.read().await,
            Self::Rows(rows) => rows.read().await,
        }
    }
}

impl SliceRows {
    pub(super) async fn read(self) -> Result<StretchRecords> {
        let (times, bodies) = self.file.times_and_bodies(self.rows.clone()).await?;
        let rows = 0..times.len();
        let slice = OpenSlice {
            file: self.file,
            in_segment: self.rows,
            arrival_base: 0,
            heads: Heads { times, arrivals: Vec::new() },
            rows: RowChoice::From(0),
            chunk_records: rows.len(),
            chunks: Mutex::default(),
        };
        let stretch = Stretch { slice: Arc::new(slice), rows, order: self.order };
        Ok(StretchRecords { stretch, bodies: Arc::new(bodies), first_row: 0 })
    }
}

impl StretchRecords {
    /// How many records they are.
    pub(crate) fn len(&self) -> usize {
        self.stretch.len()
    }

    /// The texts of the records, and of each record in the order of the merge its time and its row there.
    pub(crate) fn texts(&self) -> (&Bodies, impl Iterator<Item = (i64, usize)>) {
        let rows = self.stretch.rows_in_order().map(|row| {
            let slice = &self.stretch.slice;
            (slice.heads.times[row], slice.row_of_slice(row) - self.first_row)
        });
        (&self.bodies, rows)
    }

    /// The records in the order of the merge, with their times.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, Body<'_>)> {
        let (bodies, rows) = self.texts();
        rows.map(|(time, row)| (time, bodies.row(row)))
    }

    /// Where the records stand, oldest first.
    pub(crate) fn positions(&self) -> impl Iterator<Item = Position> {
        self.stretch.positions()
    }

    /// The columns after the times, oldest record first.
    pub(crate) fn columns(&self) -> Result<Vec<ArrayRef>> {
        let rows = self.stretch.rows.clone();
        let columns = match &self.stretch.slice.rows {
            RowChoice::From(first) => {
                let offset = first + rows.start - self.first_row;
                self.bodies.columns(&Rows::Together(offset..offset + rows.len()))?
            }
            RowChoice::These(chosen) => {
                let first_row = self.first_row.saturating_as::<u32>();
                let picked = UInt32Array::from_iter_values(chosen[rows].iter().map(|row| row - first_row));
                self.bodies.columns(&Rows::These(&picked))?
            }
        };
        Ok(columns.into_iter().map(|column| Arc::new(column) as ArrayRef).collect())
    }
}
