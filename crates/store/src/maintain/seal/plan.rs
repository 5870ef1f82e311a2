//! Plans of sealing: the slices of a run to merge.

use std::collections::{BTreeSet, VecDeque};

use az::SaturatingAs;
use runlog_model::RunId;
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;

use crate::error::{Error, Result};
use crate::limits;
use crate::log::slices::{SLICE_COLUMNS, Slice};
use crate::maintain::maintenance::Maintenance;
use crate::segment::reader::SegmentFile;
use crate::tables::runs::LogState;

/// A run whose slices are to be merged.
#[derive(Debug, Clone, FromRow)]
pub(super) struct DueRun {
    pub(super) id: String,
    pub(super) records: i64,
    pub(super) log_epoch: i64,
    pub(super) log_version: i64,
    pub(super) workspace_id: String,
    pub(super) task_id: String,
    pub(super) status: String,
    /// Number of consecutive attempts to seal the run that failed because it is damaged.
    pub(super) seal_failures: i64,
    /// Since when its sealing was due.
    pub(super) seal_at: i64,
}

/// The slices of a run to merge.
pub(super) struct Plan {
    pub(super) run_id: RunId,
    pub(super) state: LogState,
    /// Number of records of the run when the plan was made.
    pub(super) records: i64,
    /// Since when its sealing was due.
    pub(super) seal_at: i64,
    pub(super) slices: Vec<Slice>,
    /// The start times of sealed slices that are not replaced: no new slice may extend across them.
    pub(super) barriers: VecDeque<i64>,
    /// False if the new slices still overlap other slices because too many slices overlap to be merged in one pass.
    pub(super) is_sealed: bool,
    /// False if another pass must follow.
    pub(super) is_last: bool,
}

impl Maintenance {
    pub(super) async fn plan_sealing(&self, run: &DueRun) -> Result<Plan> {
        let run_id = run.id.parse().map_err(|_| Error::corrupt("the id of a run does not decode"))?;
        let state = LogState { log_epoch: run.log_epoch, log_version: run.log_version };
        let mut slices: Vec<Slice> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT {SLICE_COLUMNS} FROM slices s JOIN segments g ON g.id = s.segment_id
             WHERE s.run_id = $1 AND s.sealed = 0 ORDER BY s.first_time, s.first_arrival LIMIT $2"
        )))
        .bind(&run.id)
        .bind(limits::SEAL_SLICES_MAX)
        .fetch_all(self.core.catalog().read())
        .await?;
        let mut is_last = slices.len().saturating_as::<i64>() < limits::SEAL_SLICES_MAX;
        let mut records = 0;
        let does_not_fit = |slice: &Slice| {
            records += slice.records;
            records > slice.records.max(limits::SEAL_PASS_RECORDS)
        };
        if let Some(count) = slices.iter().position(does_not_fit) {
            slices.truncate(count);
            is_last = false;
        }
        let (touched, barriers) = self.touched_slices(&run.id, &slices).await?;
        slices.extend(touched);
        let is_sealed = match deepest_overlap(&slices) {
            Some(some) => {
                slices = some;
                is_last = false;
                false
            }
            None => true,
        };
        Ok(Plan { run_id, state, records: run.records, seal_at: run.seal_at, slices, barriers, is_sealed, is_last })
    }

    /// Returns the sealed slices of a run whose intervals contain a record of the late slices, and the start times of
    /// the other sealed slices in the same period, which are not replaced.
    async fn touched_slices(&self, run_id: &str, late: &[Slice]) -> Result<(Vec<Slice>, VecDeque<i64>)> {
        let first = late.iter().map(|slice| slice.first_time).min();
        let last = late.iter().map(|slice| slice.last_time).max();
        let (Some(first), Some(last)) = (first, last) else { return Ok((Vec::new(), VecDeque::new())) };
        let sealed: Vec<Slice> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT {SLICE_COLUMNS} FROM slices s JOIN segments g ON g.id = s.segment_id
             WHERE s.run_id = $1 AND s.sealed = 1 AND s.last_time >= $2 AND s.first_time <= $3
             ORDER BY s.first_time, s.first_arrival"
        )))
        .bind(run_id)
        .bind(first)
        .bind(last)
        .fetch_all(self.core.catalog().read())
        .await?;
        // Sealed slices do not overlap, so they are also sorted by their ends.
        let mut is_touched = vec![false; sealed.len()];
        for slice in late {
            let from = sealed.partition_point(|sealed| sealed.last_time < slice.first_time);
            let to = sealed.partition_point(|sealed| sealed.first_time <= slice.last_time).max(from);
            let within = &mut is_touched[from..to];
            if within.iter().all(|is_touched| *is_touched) {
                continue;
            }
            if within.len() == 1 {
                within[0] = true;
                continue;
            }
            // The late slice spans several sealed slices, but its records may be in few of them.
            let file =
                SegmentFile::open(self.core.segments(), &slice.object_key, slice.segment_bytes.saturating_as::<u64>())
                    .await?;
            let keys = file
                .read_keys(
                    slice.first_row.saturating_as::<usize>()
                        ..(slice.first_row + slice.records).saturating_as::<usize>(),
                )
                .await?;
            for time in keys.times {
                let at = sealed.partition_point(|sealed| sealed.last_time < time);
                if sealed.get(at).is_some_and(|sealed| sealed.first_time <= time) {
                    is_touched[at] = true;
                }
            }
        }
        let mut touched = Vec::new();
        let mut barriers = VecDeque::new();
        for (slice, is_touched) in sealed.into_iter().zip(is_touched) {
            match is_touched {
                true => touched.push(slice),
                false => barriers.push_back(slice.first_time),
            }
        }
        Ok((touched, barriers))
    }
}

/// Returns the smallest slices of the largest overlap, to be merged first, if more slices overlap than may be open at a
/// time.
pub(super) fn deepest_overlap(slices: &[Slice]) -> Option<Vec<Slice>> {
    // Starts are sorted before ends of the same time.
    let mut ends: Vec<(i64, bool, usize)> = Vec::with_capacity(2 * slices.len());
    for (index, slice) in slices.iter().enumerate() {
        ends.push((slice.first_time, false, index));
        ends.push((slice.last_time, true, index));
    }
    ends.sort_unstable();
    let (mut open, mut most_open, mut deepest_at) = (0, limits::SEAL_FAN_IN, None);
    for (place, (_, is_end, _)) in ends.iter().enumerate() {
        if *is_end {
            open -= 1;
            continue;
        }
        open += 1;
        if open > most_open {
            (most_open, deepest_at) = (open, Some(place));
        }
    }
    let mut deepest = BTreeSet::new();
    for (_, is_end, index) in &ends[..=deepest_at?] {
        match is_end {
            true => deepest.remove(index),
            false => deepest.insert(*index),
        };
    }
    let mut deepest: Vec<Slice> = deepest.into_iter().map(|index| slices[index].clone()).collect();
    deepest.sort_by_key(|slice| slice.records);
    deepest.truncate(limits::SEAL_FAN_IN);
    Some(deepest)
}
