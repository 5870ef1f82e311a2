//! What a merge came by, so that whoever reads the same records next need not look for them again.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use az::SaturatingAs;
use runlog_model::RecordOrder;

use crate::core::Core;
use crate::error::Result;
use crate::limits;
use crate::log::merge::rows::{OpenSlice, SliceRows, Stretch};
use crate::log::slices::{Scope, Slice};
use crate::segment::reader::SegmentFile;

/// Most parts that are kept. Where slices overlap there are more, and the records are merged anew.
const PARTS_MAX: usize = 256;

/// The rows that a merge gave or passed over, newest first.
#[derive(Default)]
pub(crate) struct Trail {
    parts: Vec<Part>,
    is_lost: bool,
}

enum Part {
    /// All rows of a slice that was not opened.
    Whole(Slice),
    Some(Arc<OpenSlice>, Range<usize>),
}

impl Trail {
    pub(super) fn passed(&mut self, slice: Slice) {
        self.push(Part::Whole(slice));
    }

    pub(super) fn gave(&mut self, stretch: &Stretch) {
        match self.parts.last_mut() {
            Some(Part::Some(slice, rows)) if Arc::ptr_eq(slice, &stretch.slice) && rows.start == stretch.rows.end => {
                rows.start = stretch.rows.start;
            }
            _ => self.push(Part::Some(Arc::clone(&stretch.slice), stretch.rows.clone())),
        }
    }

    /// From here on it is not known what came.
    pub(super) fn lose(&mut self) {
        *self = Self { parts: Vec::new(), is_lost: true };
    }

    fn push(&mut self, part: Part) {
        match self.is_lost || self.parts.len() >= PARTS_MAX {
            true => self.lose(),
            false => self.parts.push(part),
        }
    }

    /// The rows of the scope's `records` records in an order, in pieces that can be read at once: one ends after each
    /// `portion` records. None when the trail does not tell.
    pub(crate) async fn rows(
        self,
        core: &Core,
        scope: &Scope,
        records: u64,
        order: RecordOrder,
        portion: usize,
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
                    rows.start += slice.heads.times[rows.clone()].partition_point(|ms| *ms < first_ms);
                    let Some(in_segment) = slice.in_segment(rows) else { return Ok(None) };
                    (slice.file.clone(), in_segment)
                }
            };
            count += rows.len() as u64;
            match found.last_mut() {
                // What stands together is read together.
                Some((before, before_rows)) if before.is(&file) && before_rows.start == rows.end => {
                    before_rows.start = rows.start;
                }
                _ => found.push((file, rows)),
            }
        }
        if self.is_lost || count != records {
            return Ok(None);
        }
        if order == RecordOrder::Asc {
            found.reverse();
        }
        let (mut pieces, mut room) = (VecDeque::new(), portion);
        for (file, rows) in found {
            let most = (2 * limits::CHUNK_BYTES / file.row_bytes().max(1)).max(limits::CHUNK_RECORDS_MIN);
            for rows in readable(rows, order, &file.row_group_starts(), most, portion, &mut room) {
                pieces.push_back(SliceRows { file: file.clone(), rows, order });
            }
        }
        Ok(Some(pieces))
    }
}

/// Rows in pieces, in an order: each within a row group, of at most `most` rows, and one ends when `room` is used up, which
/// is then `portion` again.
fn readable(
    mut rows: Range<usize>,
    order: RecordOrder,
    group_starts: &[usize],
    most: usize,
    portion: usize,
    room: &mut usize,
) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    while !rows.is_empty() {
        let length = most.min(*room);
        let piece = match order {
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
            RecordOrder::Desc => rows.end = piece.start,
            RecordOrder::Asc => rows.start = piece.end,
        }
        *room -= piece.len();
        if *room == 0 {
            *room = portion;
        }
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_in_pieces_that_leave_none_out() {
        let pieces = |rows: Range<usize>, order, portion: usize, most: usize| {
            readable(rows, order, &[0, 100, 200], most, portion, &mut { portion })
        };
        let (desc, asc) = (RecordOrder::Desc, RecordOrder::Asc);
        assert!(pieces(8..8, desc, 9, 9).is_empty());
        assert_eq!(pieces(90..210, desc, 1_000, 1_000), [200..210, 100..200, 90..100]);
        assert_eq!(pieces(90..210, asc, 1_000, 1_000), [90..100, 100..200, 200..210]);
        // One ends after each portion of 50.
        assert_eq!(pieces(90..210, desc, 50, 1_000), [200..210, 160..200, 110..160, 100..110, 90..100]);
        assert_eq!(pieces(90..210, asc, 50, 1_000), [90..100, 100..140, 140..190, 190..200, 200..210]);
        assert_eq!(pieces(110..170, desc, 50, 30), [140..170, 120..140, 110..120]);
        // What is left of a portion is for the next rows.
        let mut room = 50;
        readable(0..30, desc, &[0], 1_000, 50, &mut room);
        assert_eq!(readable(0..30, desc, &[0], 1_000, 50, &mut room), [10..30, 0..10]);
        assert_eq!(room, 40);
    }
}
