//! A run's records in order, out of slices that may overlap in time.
//!
//! A slice is opened when the merge reaches its first record and dropped after its last, so that what is in memory
//! depends on how many slices overlap and not on how many there are. Times are read first; the rest of a slice only
//! when somebody asks for it, and a chunk of rows at a time.
//!
//! Slices may be replaced by merged ones while a merge goes on. It notices, and goes on after the record that it gave
//! last: the records and their order stay the same.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, UInt32Array};
use az::SaturatingAs;
use runlog_model::{RecordOrder, TimeRange, Timestamp};
use tokio::sync::Mutex;

use crate::error::{Error, Result};
use crate::limits;
use crate::log::slices::{Scope, Slice, SliceWalk};
use crate::segment::reader::{Bodies, Body, Heads, Rows, SegmentFile};
use crate::store::Store;

mod trail;

pub(crate) use trail::Trail;

/// The records of a scope in one order, given as stretches of consecutive rows of a slice.
pub(crate) struct Merge {
    store: Store,
    scope: Scope,
    order: RecordOrder,
    /// Where more slices come from; none when all are in hand.
    walk: Option<SliceWalk>,
    /// Slices that are not open yet, in the order in which they begin.
    waiting: VecDeque<Slice>,
    open: Vec<Cursor>,
    /// The record that was given last, or a place after it and before what comes next.
    given: Option<Position>,
    /// How many of the waiting slices were not passed over when it was tried.
    kept: usize,
    /// When it was last known that no slice in hand had been replaced.
    checked_at: Timestamp,
    /// None when nobody wants to know.
    trail: Option<Trail>,
}

/// Rows of one slice that follow each other in the order of the merge.
pub(crate) struct Stretch {
    slice: Arc<OpenSlice>,
    rows: Range<usize>,
    order: RecordOrder,
}

/// Rows of a slice that come next, not read yet.
pub(crate) struct SliceRows {
    file: SegmentFile,
    rows: Range<usize>,
    order: RecordOrder,
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

/// What is left of an open slice.
struct Cursor {
    slice: Arc<OpenSlice>,
    rows: Range<usize>,
}

/// Where a record stands: its time, then its number in the run.
pub(crate) type Position = (i64, i64);

/// The rows of a slice that are in the scope, numbered from 0.
struct OpenSlice {
    file: SegmentFile,
    /// The rows of the slice in its segment.
    in_segment: Range<usize>,
    arrival_base: i64,
    heads: Heads,
    /// Which rows of the slice they are.
    rows: RowChoice,
    /// How many rows are read at a time.
    chunk_records: usize,
    /// The chunks that were read last, and their numbers: of two that lie beside each other, several may be asked for in
    /// turn.
    chunks: Mutex<VecDeque<(usize, Arc<Bodies>)>>,
}

enum RowChoice {
    /// All from this one on.
    From(usize),
    These(Vec<u32>),
}

impl Merge {
    pub(crate) fn new(store: &Store, scope: Scope, order: RecordOrder) -> Self {
        Self::with(store, scope, order, Some(SliceWalk::new(scope, order)), VecDeque::new())
    }

    /// The same, newest first, for who wants to know afterwards which rows they were.
    pub(crate) fn with_trail(store: &Store, scope: Scope) -> Self {
        Self { trail: Some(Trail::default()), ..Self::new(store, scope, RecordOrder::Desc) }
    }

    /// Which rows were given or passed over.
    pub(crate) fn into_trail(self) -> Trail {
        self.trail.unwrap_or_default()
    }

    /// The records of these slices alone, oldest first.
    pub(crate) fn of_slices(store: &Store, scope: Scope, mut slices: Vec<Slice>) -> Self {
        slices.sort_by_key(|slice| (slice.first_time, slice.first_arrival));
        Self::with(store, scope, RecordOrder::Asc, None, slices.into())
    }

    fn with(
        store: &Store,
        scope: Scope,
        order: RecordOrder,
        walk: Option<SliceWalk>,
        waiting: VecDeque<Slice>,
    ) -> Self {
        let checked_at = store.now();
        let (store, open) = (store.clone(), Vec::new());
        Self { store, scope, order, walk, waiting, open, given: None, kept: 0, checked_at, trail: None }
    }

    /// Passes over up to `records_max` records in whole slices that come next and are not opened for it; tells how many.
    ///
    /// With `keep`, goes back to the last slice of which it holds, or to the first, unless nothing comes after.
    pub(crate) async fn skip_whole_slices(
        &mut self,
        records_max: u64,
        keep: Option<fn(&Slice) -> bool>,
    ) -> Result<u64> {
        loop {
            match self.try_skip(records_max, keep).await {
                Err(error) => self.restart_if_moved(error).await?,
                skipped => return skipped,
            }
        }
    }

    async fn try_skip(&mut self, records_max: u64, keep: Option<fn(&Slice) -> bool>) -> Result<u64> {
        if !self.open.is_empty() || self.kept > 0 {
            return Ok(0);
        }
        let (mut passed, mut held) = (0, Vec::new());
        loop {
            self.fill_waiting(2).await?;
            let Some(first) = self.waiting.front() else {
                self.given = held.last().map(|last| self.end_of(last)).or(self.given);
                self.pass(held);
                return Ok(passed);
            };
            if !self.is_whole_and_alone(first) || passed + first.records.saturating_as::<u64>() > records_max {
                break;
            }
            passed += first.records.saturating_as::<u64>();
            let Some(slice) = self.waiting.pop_front() else { break };
            if keep.is_none_or(|keep| keep(&slice))
                && let Some(last) = held.last()
            {
                self.given = Some(self.end_of(last));
                self.pass(std::mem::take(&mut held));
            }
            held.push(slice);
        }
        if keep.is_none()
            && let Some(last) = held.pop()
        {
            self.given = Some(self.end_of(&last));
            self.pass(vec![last]);
        }
        passed -= held.iter().map(|slice| slice.records.saturating_as::<u64>()).sum::<u64>();
        // What was kept once is not looked at again for this.
        self.kept = held.len();
        held.into_iter().rev().for_each(|slice| self.waiting.push_front(slice));
        Ok(passed)
    }

    fn pass(&mut self, slices: Vec<Slice>) {
        if let Some(trail) = &mut self.trail {
            slices.into_iter().for_each(|slice| trail.passed(slice));
        }
    }

    /// The place after which nothing of a slice comes that is alone.
    fn end_of(&self, slice: &Slice) -> Position {
        match self.order {
            RecordOrder::Desc => (slice.first_time, slice.first_arrival),
            RecordOrder::Asc => (slice.last_time, slice.last_arrival),
        }
    }

    /// True when the first waiting slice is wholly in the scope, and the next one begins after its end.
    fn is_whole_and_alone(&self, first: &Slice) -> bool {
        let range = self.scope.range;
        let is_after_given = self.given.is_none_or(|given| match self.order {
            RecordOrder::Desc => (first.last_time, first.last_arrival) < given,
            RecordOrder::Asc => (first.first_time, first.first_arrival) > given,
        });
        is_after_given
            && is_alone(self.order, first, &self.waiting, self.walk.as_ref().is_none_or(SliceWalk::is_done))
            && range.contains(first.first_time)
            && range.contains(first.last_time)
            && first.last_arrival < self.scope.arrivals
    }

    /// The next rows; a slice of which all rows come next is not read for it. None at the end.
    pub(crate) async fn next_piece(&mut self) -> Result<Option<Piece>> {
        loop {
            match self.try_whole_slice().await {
                Err(error) => self.restart_if_moved(error).await?,
                Ok(Some(whole)) => return Ok(Some(Piece::Rows(whole))),
                Ok(None) => return Ok(self.next().await?.map(Piece::Stretch)),
            }
        }
    }

    async fn try_whole_slice(&mut self) -> Result<Option<SliceRows>> {
        if !self.open.is_empty() {
            return Ok(None);
        }
        self.fill_waiting(2).await?;
        let Some(slice) = self.waiting.front().filter(|first| self.is_whole_and_alone(first)) else { return Ok(None) };
        if slice.records.saturating_as::<usize>() > 2 * limits::CHUNK_RECORDS {
            return Ok(None);
        }
        let file =
            SegmentFile::open(&self.store, &slice.object_key, slice.segment_bytes.saturating_as::<u64>()).await?;
        if file.row_bytes() * slice.records.saturating_as::<usize>() > 2 * limits::CHUNK_BYTES {
            return Ok(None);
        }
        // No record of another slice stands between these and that place.
        self.given = Some(self.end_of(slice));
        let rows = slice.first_row.saturating_as::<usize>()..(slice.first_row + slice.records).saturating_as::<usize>();
        self.waiting.pop_front();
        self.kept = self.kept.saturating_sub(1);
        Ok(Some(SliceRows { file, rows, order: self.order }))
    }

    /// Some rows of the next slice, when all of its rows come next: `count` of them after `skip`, and no others are read.
    /// Nothing is given of the slice after that. None when its rows do not come alone, or are fewer than `skip`.
    pub(crate) async fn part_of_whole_slice(&mut self, skip: u64, count: usize) -> Result<Option<StretchRecords>> {
        loop {
            match self.try_part(skip, count).await {
                Err(error) => self.restart_if_moved(error).await?,
                Ok(Some(part)) => return part.read().await.map(Some),
                Ok(None) => return Ok(None),
            }
        }
    }

    async fn try_part(&mut self, skip: u64, count: usize) -> Result<Option<SliceRows>> {
        if !self.open.is_empty() {
            return Ok(None);
        }
        self.fill_waiting(2).await?;
        let Some(slice) = self.waiting.front().filter(|first| self.is_whole_and_alone(first)) else { return Ok(None) };
        let (first, end, skip) = (
            slice.first_row.saturating_as::<usize>(),
            (slice.first_row + slice.records).saturating_as::<usize>(),
            skip.saturating_as::<usize>(),
        );
        if first + skip >= end {
            return Ok(None);
        }
        let rows = match self.order {
            RecordOrder::Asc => first + skip..end.min(first + skip + count),
            RecordOrder::Desc => first.max((end - skip).saturating_sub(count))..end - skip,
        };
        let file =
            SegmentFile::open(&self.store, &slice.object_key, slice.segment_bytes.saturating_as::<u64>()).await?;
        self.given = Some(self.end_of(slice));
        self.waiting.pop_front();
        self.kept = self.kept.saturating_sub(1);
        Ok(Some(SliceRows { file, rows, order: self.order }))
    }

    /// The next rows, as many as follow each other in one slice; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Stretch>> {
        if self.walk.is_some()
            && self.store.now().millis_since(self.checked_at) > limits::MERGE_CHECK_MS
            && let Err(error) = self.check_state().await
        {
            self.restart_if_moved(error).await?;
        }
        loop {
            match self.try_next().await {
                Err(error) => self.restart_if_moved(error).await?,
                stretch => return stretch,
            }
        }
    }

    async fn try_next(&mut self) -> Result<Option<Stretch>> {
        self.open_slices_that_begin().await?;
        let Some(best) = self.index_of_first() else { return Ok(None) };
        let bound = self.bound_of_others(best);
        let order = self.order;
        let cursor = &mut self.open[best];
        let rows = cursor.slice.within_chunk(cursor.rows_before(bound, order), order);
        let slice = Arc::clone(&cursor.slice);
        match order {
            RecordOrder::Desc => cursor.rows.end = rows.start,
            RecordOrder::Asc => cursor.rows.start = rows.end,
        }
        if cursor.rows.is_empty() {
            self.open.swap_remove(best);
        }
        self.given = Some(slice.position(if order == RecordOrder::Desc { rows.start } else { rows.end - 1 }));
        let stretch = Stretch { slice, rows, order };
        if let Some(trail) = &mut self.trail {
            trail.gave(&stretch);
        }
        Ok(Some(stretch))
    }

    async fn fill_waiting(&mut self, slices_min: usize) -> Result<()> {
        while self.waiting.len() < slices_min {
            let Some(walk) = self.walk.as_mut().filter(|walk| !walk.is_done()) else { return Ok(()) };
            self.waiting.extend(walk.next(&self.store).await?);
            self.checked_at = self.store.now();
        }
        Ok(())
    }

    /// Fails when a slice in hand may have been replaced.
    async fn check_state(&mut self) -> Result<()> {
        let state = self.store.log_state(self.scope.run_id, self.scope.state).await?;
        self.checked_at = self.store.now();
        self.scope.same_state(state)
    }

    /// Goes on with the new slices when the old ones were replaced; fails with `error` when that is not the reason.
    async fn restart_if_moved(&mut self, error: Error) -> Result<()> {
        let state = self.store.log_state(self.scope.run_id, self.scope.state).await?;
        if self.walk.is_none() || state == self.scope.state {
            return Err(error);
        }
        self.scope.state = state;
        if let Some(trail) = &mut self.trail {
            trail.lose();
        }
        if let Some((time, _)) = self.given {
            let time = Some(Timestamp::clamped(time));
            match self.order {
                RecordOrder::Desc => self.scope.range.end = time,
                RecordOrder::Asc => self.scope.range.start = time,
            }
        }
        self.walk = Some(SliceWalk::new(self.scope, self.order));
        self.waiting.clear();
        self.kept = 0;
        self.open.clear();
        self.checked_at = self.store.now();
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
                self.kept = self.kept.saturating_sub(1);
                let chunk_records = chunk_records(self.open.len() + 1);
                let cursor =
                    Cursor::open(&self.store, &slice, &self.scope, chunk_records, self.given, self.order).await?;
                self.open.extend(cursor);
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

/// True when every record of the first of some slices comes before every record of those after it.
fn is_alone(order: RecordOrder, first: &Slice, slices: &VecDeque<Slice>, are_all: bool) -> bool {
    match order {
        RecordOrder::Asc => {
            let end = (first.last_time, first.last_arrival);
            slices.get(1).is_none_or(|next| (next.first_time, next.first_arrival) > end)
        }
        // They come by the number that arrived first: of those that end at one instant, a later one may hold the number
        // that arrived last, where it was merged of slices on both sides of another.
        RecordOrder::Desc => {
            let start = (first.first_time, first.first_arrival);
            let mut near = slices.iter().skip(1).take_while(|next| next.last_time >= first.first_time);
            let may_go_on = !are_all && slices.back().is_some_and(|last| last.last_time >= first.first_time);
            !may_go_on && near.all(|next| (next.last_time, next.last_arrival) < start)
        }
    }
}

/// How many rows are read at a time when so many slices are open: together they stay inside a bound.
fn chunk_records(open: usize) -> usize {
    (4 * limits::CHUNK_RECORDS / open).clamp(limits::CHUNK_RECORDS_MIN, limits::CHUNK_RECORDS)
}

impl Cursor {
    /// Reads the times of a slice; none when it has no record in the scope after `given`.
    async fn open(
        store: &Store,
        slice: &Slice,
        scope: &Scope,
        chunk_records: usize,
        given: Option<Position>,
        order: RecordOrder,
    ) -> Result<Option<Self>> {
        let file = SegmentFile::open(store, &slice.object_key, slice.segment_bytes.saturating_as::<u64>()).await?;
        let first_row = slice.first_row.saturating_as::<usize>();
        let in_segment = first_row..first_row + slice.records.saturating_as::<usize>();
        let all = file.heads(in_segment.clone()).await?;
        let arrival_base = slice.arrival_base();
        let inside = rows_inside(&all.times, scope.range);
        let is_after_given = given.is_none_or(|given| match order {
            RecordOrder::Desc => (slice.last_time, slice.last_arrival) < given,
            RecordOrder::Asc => (slice.first_time, slice.first_arrival) > given,
        });
        let is_whole = slice.last_arrival < scope.arrivals && is_after_given;
        let (rows, heads) = if is_whole {
            let heads =
                Heads { times: all.times[inside.clone()].to_vec(), arrivals: all.arrivals[inside.clone()].to_vec() };
            (RowChoice::From(inside.start), heads)
        } else {
            let is_wanted = |row: &u32| {
                let position = (all.times[*row as usize], arrival_base + all.arrivals[*row as usize]);
                position.1 < scope.arrivals
                    && given.is_none_or(|given| match order {
                        RecordOrder::Desc => position < given,
                        RecordOrder::Asc => position > given,
                    })
            };
            let rows: Vec<u32> =
                (inside.start.saturating_as::<u32>()..inside.end.saturating_as::<u32>()).filter(is_wanted).collect();
            let pick = |numbers: &[i64]| rows.iter().map(|row| numbers[*row as usize]).collect();
            let heads = Heads { times: pick(&all.times), arrivals: pick(&all.arrivals) };
            (RowChoice::These(rows), heads)
        };
        let count = heads.times.len();
        if count == 0 {
            return Ok(None);
        }
        let chunk_records =
            chunk_records.min((limits::CHUNK_BYTES / file.row_bytes().max(1)).max(limits::CHUNK_RECORDS_MIN));
        let slice = OpenSlice { file, in_segment, arrival_base, heads, rows, chunk_records, chunks: Mutex::default() };
        Ok(Some(Self { rows: 0..count, slice: Arc::new(slice) }))
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
        (self.heads.times[row], self.arrival_base + self.heads.arrivals[row])
    }

    fn row_of_slice(&self, row: usize) -> usize {
        match &self.rows {
            RowChoice::From(first) => first + row,
            RowChoice::These(rows) => rows[row] as usize,
        }
    }

    /// Where some of our rows are in the segment; none when others stand between them.
    fn in_segment(&self, rows: Range<usize>) -> Option<Range<usize>> {
        if rows.is_empty() {
            return Some(self.in_segment.start..self.in_segment.start);
        }
        let (first, last) = (self.row_of_slice(rows.start), self.row_of_slice(rows.end - 1));
        let start = self.in_segment.start;
        (last - first + 1 == rows.len()).then(|| start + first..start + last + 1)
    }

    /// The first of our rows that is not before a row of the slice.
    fn row_from(&self, row_of_slice: usize) -> usize {
        match &self.rows {
            RowChoice::From(first) => row_of_slice.saturating_sub(*first),
            RowChoice::These(rows) => rows.partition_point(|row| (*row as usize) < row_of_slice),
        }
    }

    /// As many of some rows as lie in one chunk: the last ones when the newest come first.
    fn within_chunk(&self, rows: Range<usize>, order: RecordOrder) -> Range<usize> {
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
    async fn read(self) -> Result<StretchRecords> {
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

fn rows_inside(times: &[i64], range: TimeRange) -> Range<usize> {
    let (first_ms, last_ms) = (range.first_ms(), range.last_ms());
    let first = times.partition_point(|ms| *ms < first_ms);
    // A range may end before it starts: nothing is in it.
    first..times.partition_point(|ms| *ms <= last_ms).max(first)
}

/// How many records of a slice are in a scope.
pub(crate) async fn count_inside(store: &Store, slice: &Slice, scope: &Scope) -> Result<u64> {
    let cursor = Cursor::open(store, slice, scope, limits::CHUNK_RECORDS, None, RecordOrder::Asc).await?;
    Ok(cursor.map_or(0, |cursor| cursor.rows.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(times: (i64, i64), arrivals: (i64, i64)) -> Slice {
        Slice {
            segment_id: String::new(),
            object_key: String::new(),
            segment_bytes: 0,
            segment_records: 0,
            merged: 1,
            first_row: 0,
            records: 1,
            first_arrival: arrivals.0,
            last_arrival: arrivals.1,
            first_time: times.0,
            last_time: times.1,
        }
    }

    #[test]
    fn a_slice_is_not_alone_when_a_later_one_holds_a_number_between_its_own_at_the_same_instant() {
        let (first, next) = (slice((5, 10), (50, 60)), slice((5, 5), (40, 45)));
        let around = slice((1, 5), (0, 100));
        let check = |slices: &[&Slice], are_all| {
            let slices: VecDeque<Slice> = slices.iter().map(|slice| (*slice).clone()).collect();
            is_alone(RecordOrder::Desc, &slices[0], &slices, are_all)
        };
        assert!(check(&[&first, &next], true));
        assert!(!check(&[&first, &next, &around], true));
        assert!(!check(&[&first, &next], false), "more of them may come");
        assert!(check(&[&first, &slice((1, 4), (0, 100))], false));
    }
}
