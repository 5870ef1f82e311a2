//! The records of a run in order, merged from slices that may overlap in time.
//!
//! A slice is opened when the merge reaches its first record and closed after its last, so that memory depends on how
//! many slices overlap and not on how many there are. Times are read first; the other columns of a slice are read on
//! request, one chunk of rows at a time.
//!
//! Slices may be replaced by larger ones during a merge. The merge detects the replacement and continues after the last
//! emitted record: the records and their order are the same.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use az::SaturatingAs;
use runlog_model::{RecordOrder, TimeRange, Timestamp, planted};
use tokio::sync::Mutex;

use crate::catalog::columns::SortKey;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits;
use crate::log::merge::rows::{CHUNKS_KEPT, MergedRows, OpenSlice, RecordBlock, RowChoice, RowRun, SliceRows};
use crate::log::merge::trace::MergeTrace;
use crate::log::slices::{Scope, Slice, SliceWalk, log_state};
use crate::segment::reader::SegmentFile;
use crate::segment::values::KeyColumns;

/// The records of a scope in one order, emitted as runs of consecutive rows of a slice.
pub(crate) struct Merge {
    core: Core,
    scope: Scope,
    order: RecordOrder,
    /// The source of further slices; `None` once all slices are known.
    walk: Option<SliceWalk>,
    /// Slices that are not open yet, in the order of their starts.
    waiting: VecDeque<Slice>,
    open: Vec<Cursor>,
    /// The key of the record that was emitted last, or a key between it and the next record.
    last_emitted: Option<SortKey>,
    /// Number of the waiting slices that could not be skipped.
    kept: usize,
    /// When the slices were last checked not to have been replaced.
    checked_at: Timestamp,
    /// `None` when no trace is recorded.
    trace: Option<MergeTrace>,
}

/// The remaining rows of an open slice.
struct Cursor {
    slice: Arc<OpenSlice>,
    rows: Range<usize>,
}

impl Merge {
    pub(crate) fn new(core: &Core, scope: Scope, order: RecordOrder) -> Self {
        Self::with(core, scope, order, Some(SliceWalk::new(scope, order)), VecDeque::new())
    }

    /// Creates a merge, newest first, that records the rows that it emits.
    pub(crate) fn with_trace(core: &Core, scope: Scope) -> Self {
        Self { trace: Some(MergeTrace::default()), ..Self::new(core, scope, RecordOrder::Desc) }
    }

    /// Returns the rows that were emitted or skipped.
    pub(crate) fn into_trace(self) -> MergeTrace {
        self.trace.unwrap_or_default()
    }

    /// Creates a merge of only these slices, oldest first.
    pub(crate) fn of_slices(core: &Core, scope: Scope, mut slices: Vec<Slice>) -> Self {
        slices.sort_by_key(|slice| (slice.first_time, slice.first_arrival));
        Self::with(core, scope, RecordOrder::Asc, None, slices.into())
    }

    fn with(core: &Core, scope: Scope, order: RecordOrder, walk: Option<SliceWalk>, waiting: VecDeque<Slice>) -> Self {
        let checked_at = core.now();
        let (core, open) = (core.clone(), Vec::new());
        Self { core, scope, order, walk, waiting, open, last_emitted: None, kept: 0, checked_at, trace: None }
    }

    /// Skips up to `records_max` of the next records in whole slices, without opening the slices. Returns the number of
    /// skipped records.
    ///
    /// With `keep`, goes back to the last slice for which it holds, or to the first, unless nothing follows.
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
                self.last_emitted = held.last().map(|last| self.end_of(last)).or(self.last_emitted);
                self.record_skipped(held);
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
                self.last_emitted = Some(self.end_of(last));
                self.record_skipped(std::mem::take(&mut held));
            }
            held.push(slice);
        }
        if keep.is_none()
            && let Some(last) = held.pop()
        {
            self.last_emitted = Some(self.end_of(&last));
            self.record_skipped(vec![last]);
        }
        passed -= held.iter().map(|slice| slice.records.saturating_as::<u64>()).sum::<u64>();
        // A slice that was kept is not considered again.
        self.kept = held.len();
        held.into_iter().rev().for_each(|slice| self.waiting.push_front(slice));
        Ok(passed)
    }

    fn record_skipped(&mut self, slices: Vec<Slice>) {
        if let Some(trace) = &mut self.trace {
            slices.into_iter().for_each(|slice| trace.record_skipped(slice));
        }
    }

    /// Returns the last key of a slice that overlaps no other.
    fn end_of(&self, slice: &Slice) -> SortKey {
        match self.order {
            RecordOrder::Desc => (slice.first_time, slice.first_arrival),
            RecordOrder::Asc => (slice.last_time, slice.last_arrival),
        }
    }

    /// Returns true if the first waiting slice is completely in the scope and overlaps no other.
    fn is_whole_and_alone(&self, first: &Slice) -> bool {
        let range = self.scope.range;
        let is_after_last_emitted = self.last_emitted.is_none_or(|last_emitted| match self.order {
            RecordOrder::Desc => (first.last_time, first.last_arrival) < last_emitted,
            RecordOrder::Asc => (first.first_time, first.first_arrival) > last_emitted,
        });
        is_after_last_emitted
            && is_alone(self.order, first, &self.waiting, self.walk.as_ref().is_none_or(SliceWalk::is_done))
            && range.contains(first.first_time)
            && range.contains(first.last_time)
            && first.last_arrival < self.scope.arrivals
    }

    /// Returns the next rows; `None` at the end. A slice that overlaps no other is returned unread.
    pub(crate) async fn next_rows(&mut self) -> Result<Option<MergedRows>> {
        loop {
            match self.try_whole_slice().await {
                Err(error) => self.restart_if_moved(error).await?,
                Ok(Some(whole)) => return Ok(Some(MergedRows::Rows(Box::new(whole)))),
                Ok(None) => return Ok(self.next().await?.map(MergedRows::RowRun)),
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
            SegmentFile::open(self.core.segments(), &slice.object_key, slice.segment_bytes.saturating_as::<u64>())
                .await?;
        if file.row_bytes() * slice.records.saturating_as::<usize>() > 2 * limits::CHUNK_BYTES {
            return Ok(None);
        }
        // No record of another slice is between these records and that key.
        self.last_emitted = Some(self.end_of(slice));
        let rows = slice.first_row.saturating_as::<usize>()..(slice.first_row + slice.records).saturating_as::<usize>();
        self.waiting.pop_front();
        self.kept = self.kept.saturating_sub(1);
        Ok(Some(SliceRows { file, rows, order: self.order }))
    }

    /// Reads `count` rows of the next slice after the first `skip`, if the slice overlaps no other; no other rows are
    /// read. The slice is not emitted afterwards. Returns `None` if it overlaps another slice, or has no more than
    /// `skip` rows.
    pub(crate) async fn read_part_of_slice(&mut self, skip: u64, count: usize) -> Result<Option<RecordBlock>> {
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
            SegmentFile::open(self.core.segments(), &slice.object_key, slice.segment_bytes.saturating_as::<u64>())
                .await?;
        self.last_emitted = Some(self.end_of(slice));
        self.waiting.pop_front();
        self.kept = self.kept.saturating_sub(1);
        Ok(Some(SliceRows { file, rows, order: self.order }))
    }

    /// Returns the next rows that are consecutive in one slice; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<RowRun>> {
        if self.walk.is_some()
            && self.core.now().millis_since(self.checked_at) > limits::MERGE_CHECK_MS
            && let Err(error) = self.check_state().await
        {
            self.restart_if_moved(error).await?;
        }
        loop {
            match self.try_next().await {
                Err(error) => self.restart_if_moved(error).await?,
                row_run => return row_run,
            }
        }
    }

    async fn try_next(&mut self) -> Result<Option<RowRun>> {
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
        self.last_emitted = Some(slice.sort_key(if order == RecordOrder::Desc { rows.start } else { rows.end - 1 }));
        let row_run = RowRun { slice, rows, order };
        if let Some(trace) = &mut self.trace {
            trace.record_emitted(&row_run);
        }
        Ok(Some(row_run))
    }

    async fn fill_waiting(&mut self, slices_min: usize) -> Result<()> {
        while self.waiting.len() < slices_min {
            let Some(walk) = self.walk.as_mut().filter(|walk| !walk.is_done()) else { return Ok(()) };
            self.waiting.extend(walk.next(&self.core).await?);
            self.checked_at = self.core.now();
        }
        Ok(())
    }

    /// Fails if an open slice may have been replaced.
    async fn check_state(&mut self) -> Result<()> {
        let state = log_state(&self.core, self.scope.run_id, self.scope.state).await?;
        self.checked_at = self.core.now();
        self.scope.same_state(state)
    }

    /// Continues with the new slices if the old ones were replaced; otherwise fails with `error`.
    async fn restart_if_moved(&mut self, error: Error) -> Result<()> {
        let state = log_state(&self.core, self.scope.run_id, self.scope.state).await?;
        if self.walk.is_none() || state == self.scope.state {
            return Err(error);
        }
        self.scope.state = state;
        self.last_emitted = self.last_emitted.filter(|_| !planted::is("merge-forgets-its-place"));
        if let Some(trace) = &mut self.trace {
            trace.invalidate();
        }
        if let Some((time, _)) = self.last_emitted {
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
        self.checked_at = self.core.now();
        Ok(())
    }

    /// Opens every waiting slice that may have a record before the first record of the open slices.
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
                let open = self.open.len() + 1;
                let cursor = Cursor::open(&self.core, &slice, &self.scope, open, self.last_emitted, self.order).await?;
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

    /// Returns the first key that a slice other than `best` may contain.
    fn bound_of_others(&self, best: usize) -> Option<SortKey> {
        let others = self.open.iter().enumerate().filter(|(index, _)| *index != best);
        let heads = others.map(|(_, cursor)| cursor.head(self.order));
        let waiting = self.waiting.front();
        match self.order {
            RecordOrder::Desc => heads.chain(waiting.map(|slice| (slice.last_time, i64::MAX))).max(),
            RecordOrder::Asc => heads.chain(waiting.map(|slice| (slice.first_time, i64::MIN))).min(),
        }
    }
}

/// Returns true if every record of the first slice is before all records of the others.
fn is_alone(order: RecordOrder, first: &Slice, slices: &VecDeque<Slice>, are_all: bool) -> bool {
    match order {
        RecordOrder::Asc => {
            let end = (first.last_time, first.last_arrival);
            let may_touch = planted::is("order-of-one-instant-lost");
            slices
                .get(1)
                .is_none_or(|next| (next.first_time, next.first_arrival) > end || may_touch && next.first_time == end.0)
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

/// Returns the number of rows to read at a time with a number of open slices, so that their memory is bounded.
fn chunk_records(open: usize) -> usize {
    (4 * limits::CHUNK_RECORDS / open).clamp(limits::CHUNK_RECORDS_MIN, limits::CHUNK_RECORDS)
}

impl Cursor {
    /// Opens a slice and reads its keys; `None` if it has no record in the scope after `last_emitted`. The more slices
    /// are open, the fewer of its values stay in memory: with many, only its keys.
    async fn open(
        core: &Core,
        slice: &Slice,
        scope: &Scope,
        open: usize,
        last_emitted: Option<SortKey>,
        order: RecordOrder,
    ) -> Result<Option<Self>> {
        let file =
            SegmentFile::open(core.segments(), &slice.object_key, slice.segment_bytes.saturating_as::<u64>()).await?;
        let first_row = slice.first_row.saturating_as::<usize>();
        let in_segment = first_row..first_row + slice.records.saturating_as::<usize>();
        let all = file.read_keys(in_segment.clone()).await?;
        let arrival_base = slice.arrival_base();
        let inside = rows_inside(&all.times, scope.range);
        let is_after_last_emitted = last_emitted.is_none_or(|last_emitted| match order {
            RecordOrder::Desc => (slice.last_time, slice.last_arrival) < last_emitted,
            RecordOrder::Asc => (slice.first_time, slice.first_arrival) > last_emitted,
        });
        let is_whole = slice.last_arrival < scope.arrivals && is_after_last_emitted;
        let (rows, keys) = if is_whole {
            let keys = KeyColumns {
                times: all.times[inside.clone()].to_vec(),
                arrivals: all.arrivals[inside.clone()].to_vec(),
            };
            (RowChoice::From(inside.start), keys)
        } else {
            let is_wanted = |row: &u32| {
                let sort_key = (all.times[*row as usize], arrival_base + all.arrivals[*row as usize]);
                sort_key.1 < scope.arrivals
                    && last_emitted.is_none_or(|last_emitted| match order {
                        RecordOrder::Desc => sort_key < last_emitted,
                        RecordOrder::Asc => sort_key > last_emitted,
                    })
            };
            let rows: Vec<u32> =
                (inside.start.saturating_as::<u32>()..inside.end.saturating_as::<u32>()).filter(is_wanted).collect();
            let pick = |numbers: &[i64]| rows.iter().map(|row| numbers[*row as usize]).collect();
            let keys = KeyColumns { times: pick(&all.times), arrivals: pick(&all.arrivals) };
            (RowChoice::These(rows), keys)
        };
        let count = keys.times.len();
        if count == 0 {
            return Ok(None);
        }
        let chunk_records =
            chunk_records(open).min((limits::CHUNK_BYTES / file.row_bytes().max(1)).max(limits::CHUNK_RECORDS_MIN));
        let (file, chunks_kept) = match open <= limits::SLICES_IN_MEMORY_MAX {
            true => (file, CHUNKS_KEPT),
            false => (file.read_on_demand(core.objects()), 0),
        };
        let chunks = Mutex::default();
        let slice = OpenSlice { file, in_segment, arrival_base, keys, rows, chunk_records, chunks_kept, chunks };
        Ok(Some(Self { rows: 0..count, slice: Arc::new(slice) }))
    }

    fn head(&self, order: RecordOrder) -> SortKey {
        match order {
            RecordOrder::Desc => self.slice.sort_key(self.rows.end - 1),
            RecordOrder::Asc => self.slice.sort_key(self.rows.start),
        }
    }

    /// Returns the rows before `bound`.
    fn rows_before(&self, bound: Option<SortKey>, order: RecordOrder) -> Range<usize> {
        let Some(bound) = bound else { return self.rows.clone() };
        match order {
            RecordOrder::Desc => self.first_row_where(|sort_key| sort_key > bound)..self.rows.end,
            RecordOrder::Asc => self.rows.start..self.first_row_where(|sort_key| sort_key >= bound),
        }
    }

    /// Returns the first remaining row for which `is_past` holds; it must hold for all later rows.
    fn first_row_where(&self, is_past: impl Fn(SortKey) -> bool) -> usize {
        let (mut low, mut high) = (self.rows.start, self.rows.end);
        while low < high {
            let middle = low + (high - low) / 2;
            match is_past(self.slice.sort_key(middle)) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        low
    }
}

fn rows_inside(times: &[i64], range: TimeRange) -> Range<usize> {
    let (first_ms, last_ms) = (range.first_ms(), range.last_ms());
    let first = times.partition_point(|ms| *ms < first_ms);
    // A range may end before it starts, and is then empty.
    first..times.partition_point(|ms| *ms <= last_ms).max(first)
}

/// Returns the number of records of a slice that are in a scope.
pub(crate) async fn count_inside(core: &Core, slice: &Slice, scope: &Scope) -> Result<u64> {
    let cursor = Cursor::open(core, slice, scope, 1, None, RecordOrder::Asc).await?;
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
