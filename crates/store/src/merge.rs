//! A run's records in order, out of slices that may overlap in time.
//!
//! A slice is opened when the merge reaches its first record and dropped after its last, so that what is in memory
//! depends on how many slices overlap and not on how many there are. Times are read first; the rest of a slice only
//! when somebody asks for it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use runlog_model::{RecordOrder, TimeRange};
use tokio::sync::OnceCell;

use crate::error::Result;
use crate::segment::{self, Bodies, Body, Heads};
use crate::slices::{Scope, Slice, SliceWalk};
use crate::store::Store;

/// The records of a scope in one order, given as stretches of consecutive rows of a slice.
pub(crate) struct Merge {
    store: Store,
    scope: Scope,
    order: RecordOrder,
    walk: SliceWalk,
    /// Slices that are not open yet, in the order in which they begin.
    waiting: VecDeque<Slice>,
    open: Vec<Cursor>,
}

/// Rows of one slice that follow each other in the order of the merge.
pub(crate) struct Stretch {
    slice: Arc<OpenSlice>,
    rows: Range<usize>,
    order: RecordOrder,
}

/// What is left of an open slice.
struct Cursor {
    slice: Arc<OpenSlice>,
    rows: Range<usize>,
}

/// Where a record stands: its time, then its number in the run.
type Position = (i64, i64);

struct OpenSlice {
    first_arrival: i64,
    /// The rows of the slice in its segment, those outside the range left out.
    segment_rows: Range<usize>,
    segment: Bytes,
    heads: Heads,
    bodies: OnceCell<Bodies>,
}

impl Merge {
    pub(crate) fn new(store: &Store, scope: Scope, order: RecordOrder) -> Self {
        let walk = SliceWalk::new(scope, order);
        Self { store: store.clone(), scope, order, walk, waiting: VecDeque::new(), open: Vec::new() }
    }

    /// Passes over up to `records_max` records in whole slices, which are not opened for it; tells how many.
    ///
    /// Only right before the first stretch is taken.
    pub(crate) async fn skip_whole_slices(&mut self, records_max: u64) -> Result<u64> {
        let mut skipped = 0;
        loop {
            self.fill_waiting(2).await?;
            let Some(first) = self.waiting.front() else { return Ok(skipped) };
            let is_alone = self.waiting.get(1).is_none_or(|next| self.ends_before(first, next));
            let is_inside = self.scope.range.contains(first.first_time) && self.scope.range.contains(first.last_time);
            if !is_alone || !is_inside || skipped + first.records as u64 > records_max {
                return Ok(skipped);
            }
            skipped += first.records as u64;
            self.waiting.pop_front();
        }
    }

    /// The next rows, as many as follow each other in one slice; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Stretch>> {
        self.open_slices_that_begin().await?;
        let Some(best) = self.index_of_first() else { return Ok(None) };
        let bound = self.bound_of_others(best);
        let order = self.order;
        let cursor = &mut self.open[best];
        let rows = cursor.rows_before(bound, order);
        let slice = Arc::clone(&cursor.slice);
        match order {
            RecordOrder::Desc => cursor.rows.end = rows.start,
            RecordOrder::Asc => cursor.rows.start = rows.end,
        }
        if cursor.rows.is_empty() {
            self.open.swap_remove(best);
        }
        Ok(Some(Stretch { slice, rows, order }))
    }

    /// True when every record of `slice` comes before every record of `next`, which begins after it.
    fn ends_before(&self, slice: &Slice, next: &Slice) -> bool {
        match self.order {
            RecordOrder::Desc => (next.last_time, next.first_arrival) < (slice.first_time, slice.first_arrival),
            RecordOrder::Asc => (next.first_time, next.first_arrival) > (slice.last_time, slice.first_arrival),
        }
    }

    async fn fill_waiting(&mut self, slices_min: usize) -> Result<()> {
        while self.waiting.len() < slices_min {
            let more = self.walk.next(&self.store).await?;
            if more.is_empty() {
                return Ok(());
            }
            self.waiting.extend(more);
        }
        Ok(())
    }

    /// Opens every waiting slice that may hold a record before the first of those that are open.
    async fn open_slices_that_begin(&mut self) -> Result<()> {
        loop {
            self.fill_waiting(1).await?;
            let Some(next) = self.waiting.front() else { return Ok(()) };
            let begins = match (self.index_of_first().map(|index| self.open[index].head(self.order)), self.order) {
                (None, _) => true,
                (Some((time, _)), RecordOrder::Desc) => next.last_time >= time,
                (Some((time, _)), RecordOrder::Asc) => next.first_time <= time,
            };
            if !begins {
                return Ok(());
            }
            if let Some(slice) = self.waiting.pop_front() {
                self.open.extend(Cursor::open(&self.store, slice, self.scope.range).await?);
            }
        }
    }

    fn index_of_first(&self) -> Option<usize> {
        let heads = self.open.iter().enumerate().map(|(index, cursor)| (cursor.head(self.order), index));
        match self.order {
            RecordOrder::Desc => heads.max(),
            RecordOrder::Asc => heads.min(),
        }
        .map(|(_, index)| index)
    }

    /// The first position that some slice other than `best` may hold.
    fn bound_of_others(&self, best: usize) -> Option<Position> {
        let others = self.open.iter().enumerate().filter(|(index, _)| *index != best);
        let heads = others.map(|(_, cursor)| cursor.head(self.order));
        let waiting = self.waiting.front();
        match self.order {
            RecordOrder::Desc => heads.chain(waiting.map(|slice| (slice.last_time, i64::MAX))).max(),
            RecordOrder::Asc => heads.chain(waiting.map(|slice| (slice.first_time, i64::MIN))).min(),
        }
    }
}

impl Cursor {
    /// Reads the times of a slice; none when it has no record inside the range.
    async fn open(store: &Store, slice: Slice, range: TimeRange) -> Result<Option<Self>> {
        let segment = store.objects().get(&Path::from(slice.object_key.as_str())).await?.bytes().await?;
        let first_row = slice.first_row as usize;
        let all_rows = first_row..first_row + slice.records as usize;
        let (segment, all_heads, all_rows) = tokio::task::spawn_blocking(move || {
            segment::decode_heads(&segment, all_rows.clone()).map(|heads| (segment, heads, all_rows))
        })
        .await??;
        let inside = all_heads.times.partition_point(|ms| *ms < range.first_ms())
            ..all_heads.times.partition_point(|ms| *ms <= range.last_ms());
        if inside.is_empty() {
            return Ok(None);
        }
        let heads = Heads {
            times: all_heads.times[inside.clone()].to_vec(),
            arrivals: all_heads.arrivals[inside.clone()].to_vec(),
        };
        let slice = OpenSlice {
            first_arrival: slice.first_arrival,
            segment_rows: all_rows.start + inside.start..all_rows.start + inside.end,
            segment,
            heads,
            bodies: OnceCell::new(),
        };
        Ok(Some(Self { rows: 0..inside.len(), slice: Arc::new(slice) }))
    }

    fn head(&self, order: RecordOrder) -> Position {
        match order {
            RecordOrder::Desc => self.slice.position(self.rows.end - 1),
            RecordOrder::Asc => self.slice.position(self.rows.start),
        }
    }

    /// The rows that come before `bound`.
    fn rows_before(&self, bound: Option<Position>, order: RecordOrder) -> Range<usize> {
        let Some(bound) = bound else { return self.rows.clone() };
        match order {
            RecordOrder::Desc => self.first_row_where(|position| position > bound)..self.rows.end,
            RecordOrder::Asc => self.rows.start..self.first_row_where(|position| position >= bound),
        }
    }

    /// The first row left for which `is_past` holds; it holds for all rows after it.
    fn first_row_where(&self, is_past: impl Fn(Position) -> bool) -> usize {
        let (mut low, mut high) = (self.rows.start, self.rows.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match is_past(self.slice.position(middle)) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        low
    }
}

impl OpenSlice {
    fn position(&self, row: usize) -> Position {
        (self.heads.times[row], self.first_arrival + i64::from(self.heads.arrivals[row]))
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

    /// Its records in the order of the merge, without the first `skipped`.
    pub(crate) async fn records(&self, skipped: usize) -> Result<impl Iterator<Item = (i64, Body<'_>)>> {
        let bodies = self
            .slice
            .bodies
            .get_or_try_init(|| async {
                let (segment, rows) = (self.slice.segment.clone(), self.slice.segment_rows.clone());
                tokio::task::spawn_blocking(move || segment::decode_bodies(&segment, rows)).await?
            })
            .await?;
        Ok(self.rows_in_order().skip(skipped).map(|row| (self.slice.heads.times[row], bodies.row(row))))
    }

    fn rows_in_order(&self) -> impl Iterator<Item = usize> + use<> {
        let (rows, is_newest_first, last) = (self.rows.clone(), self.order == RecordOrder::Desc, self.rows.end);
        let first = rows.start;
        rows.map(move |row| if is_newest_first { last - 1 - (row - first) } else { row })
    }
}

/// How many records of a slice are inside a range.
pub(crate) async fn count_inside(store: &Store, slice: Slice, range: TimeRange) -> Result<u64> {
    let cursor = Cursor::open(store, slice, range).await?;
    Ok(cursor.map_or(0, |cursor| cursor.rows.len() as u64))
}
