//! The rows that a merge emitted, so that the same records can be read again without searching for them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use az::SaturatingAs;
use runlog_model::RecordOrder;

use crate::core::Core;
use crate::error::Result;
use crate::limits;
use crate::log::merge::rows::{OpenSlice, RowRun, SliceRows};
use crate::log::slices::{Scope, Slice};
use crate::segment::reader::SegmentFile;

/// Maximum number of recorded ranges. Overlapping slices cause more; the records are then merged again.
const PARTS_MAX: usize = 256;

/// The rows that a merge emitted or skipped, newest first.
#[derive(Default)]
pub(crate) struct MergeTrace {
    parts: Vec<Part>,
    is_invalid: bool,
}

enum Part {
    /// All rows of a slice that was not opened.
    Whole(Slice),
    Some(Arc<OpenSlice>, Range<usize>),
}

impl MergeTrace {
    pub(super) fn record_skipped(&mut self, slice: Slice) {
        self.push(Part::Whole(slice));
    }

    pub(super) fn record_emitted(&mut self, row_run: &RowRun) {
        match self.parts.last_mut() {
            Some(Part::Some(slice, rows)) if Arc::ptr_eq(slice, &row_run.slice) && rows.start == row_run.rows.end => {
                rows.start = row_run.rows.start;
            }
            _ => self.push(Part::Some(Arc::clone(&row_run.slice), row_run.rows.clone())),
        }
    }

    /// Discards the trace, because the next rows are not known.
    pub(super) fn invalidate(&mut self) {
        *self = Self { parts: Vec::new(), is_invalid: true };
    }

    fn push(&mut self, part: Part) {
        match self.is_invalid || self.parts.len() >= PARTS_MAX {
            true => self.invalidate(),
            false => self.parts.push(part),
        }
    }

    /// Returns the rows of the `records` records of a scope in an order, as ranges each of which can be read in one
    /// step; a range ends after each `work_item` records. `None` if the trace does not cover them.
    pub(crate) async fn rows(
        self,
        core: &Core,
        scope: &Scope,
        records: u64,
        order: RecordOrder,
        work_item: usize,
    ) -> Result<Option<VecDeque<SliceRows>>> {
        let first_ms = scope.range.first_ms();
        let (mut found, mut count): (Vec<(SegmentFile, Range<usize>)>, u64) = (Vec::new(), 0);
        for part in self.parts {
            let (file, rows) = match part {
                Part::Whole(slice) if slice.first_time >= first_ms => {
                    let file = SegmentFile::open(
                        core.segments(),
                        &slice.object_key,
                        slice.segment_bytes.saturating_as::<u64>(),
                    )
                    .await?;
                    (
                        file,
                        slice.first_row.saturating_as::<usize>()
                            ..(slice.first_row + slice.records).saturating_as::<usize>(),
                    )
                }
                Part::Whole(_) => return Ok(None),
                Part::Some(slice, mut rows) => {
                    rows.start += slice.keys.times[rows.clone()].partition_point(|ms| *ms < first_ms);
                    let Some(in_segment) = slice.in_segment(rows) else { return Ok(None) };
                    (slice.file.clone(), in_segment)
                }
            };
            count += rows.len() as u64;
            match found.last_mut() {
                // Neighbouring rows are read together.
                Some((before, before_rows)) if before.is(&file) && before_rows.start == rows.end => {
                    before_rows.start = rows.start;
                }
                _ => found.push((file, rows)),
            }
        }
        if self.is_invalid || count != records {
            return Ok(None);
        }
        if order == RecordOrder::Asc {
            found.reverse();
        }
        let (mut ranges, mut room_left) = (VecDeque::new(), work_item);
        for (file, rows) in found {
            let most = (2 * limits::CHUNK_BYTES / file.row_bytes().max(1)).max(limits::CHUNK_RECORDS_MIN);
            for rows in readable_ranges(rows, order, &file.row_group_starts(), most, work_item, &mut room_left) {
                ranges.push_back(SliceRows { file: file.clone(), rows, order });
            }
        }
        Ok(Some(ranges))
    }
}

/// Splits rows into ranges in an order: each within a row group and of at most `most` rows; one ends when `room_left`
/// is used up, which is then reset to `work_item`.
fn readable_ranges(
    mut rows: Range<usize>,
    order: RecordOrder,
    group_starts: &[usize],
    most: usize,
    work_item: usize,
    room_left: &mut usize,
) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    while !rows.is_empty() {
        let length = most.min(*room_left);
        let range = match order {
            RecordOrder::Desc => {
                let group = group_starts.iter().rev().find(|start| **start < rows.end).copied().unwrap_or_default();
                rows.end.saturating_sub(length).max(group).max(rows.start)..rows.end
            }
            RecordOrder::Asc => {
                let next_group = group_starts.iter().find(|start| **start > rows.start).copied().unwrap_or(usize::MAX);
                rows.start..rows.end.min(rows.start + length).min(next_group)
            }
        };
        match order {
            RecordOrder::Desc => rows.end = range.start,
            RecordOrder::Asc => rows.start = range.end,
        }
        *room_left -= range.len();
        if *room_left == 0 {
            *room_left = work_item;
        }
        ranges.push(range);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_in_pieces_that_leave_none_out() {
        let ranges = |rows: Range<usize>, order, work_item: usize, most: usize| {
            readable_ranges(rows, order, &[0, 100, 200], most, work_item, &mut { work_item })
        };
        let (desc, asc) = (RecordOrder::Desc, RecordOrder::Asc);
        assert!(ranges(8..8, desc, 9, 9).is_empty());
        assert_eq!(ranges(90..210, desc, 1_000, 1_000), [200..210, 100..200, 90..100]);
        assert_eq!(ranges(90..210, asc, 1_000, 1_000), [90..100, 100..200, 200..210]);
        // A range ends after each work item of 50.
        assert_eq!(ranges(90..210, desc, 50, 1_000), [200..210, 160..200, 110..160, 100..110, 90..100]);
        assert_eq!(ranges(90..210, asc, 50, 1_000), [90..100, 100..140, 140..190, 190..200, 200..210]);
        assert_eq!(ranges(110..170, desc, 50, 30), [140..170, 120..140, 110..120]);
        // The rest of a work item is used for the next rows.
        let mut room_left = 50;
        readable_ranges(0..30, desc, &[0], 1_000, 50, &mut room_left);
        assert_eq!(readable_ranges(0..30, desc, &[0], 1_000, 50, &mut room_left), [10..30, 0..10]);
        assert_eq!(room_left, 40);
    }
}
