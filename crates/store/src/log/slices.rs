//! Slices: the rows of segments that contain the records of a run.

use az::SaturatingAs;
use runlog_model::{RecordOrder, RunId, TimeRange};
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits;
use crate::tables::runs::LogState;

/// The part of a run that is in one segment, with its rows in order of (time, arrival).
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Slice {
    pub(crate) segment_id: String,
    pub(crate) object_key: String,
    pub(crate) segment_bytes: i64,
    pub(crate) segment_records: i64,
    /// 1 when the arrivals in the segment are numbers in the run, 0 when they are numbers in the slice.
    pub(crate) merged: i64,
    pub(crate) first_row: i64,
    pub(crate) records: i64,
    pub(crate) first_arrival: i64,
    pub(crate) last_arrival: i64,
    pub(crate) first_time: i64,
    pub(crate) last_time: i64,
}

/// The columns selected from `slices s` and `segments g` for a [`Slice`].
pub(crate) const SLICE_COLUMNS: &str = "s.segment_id, g.object_key, g.bytes AS segment_bytes,
    g.records AS segment_records, g.merged, s.first_row, s.records, s.first_arrival, s.last_arrival, s.first_time,
    s.last_time";

impl Slice {
    /// Returns the offset from arrivals in the segment to arrivals in the run.
    pub(crate) fn arrival_base(&self) -> i64 {
        if self.merged != 0 { 0 } else { self.first_arrival }
    }

    /// Returns its share of the bytes of its object.
    pub(crate) fn stored_bytes(&self) -> i64 {
        share_of_bytes(self.segment_bytes, self.records, self.segment_records)
    }
}

/// Returns the share of the bytes of an object that is attributed to some of its records.
pub(crate) fn share_of_bytes(bytes: i64, records: i64, of_records: i64) -> i64 {
    (i128::from(bytes) * i128::from(records) / i128::from(of_records.max(1))).saturating_as::<i64>()
}

/// The records of a run that were stored before a given arrival number, in a range of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    pub(crate) run_id: RunId,
    pub(crate) range: TimeRange,
    pub(crate) arrivals: i64,
    pub(crate) state: LogState,
}

impl Scope {
    /// Fails with `Conflict` if the log is now in another state: slices of two states must not be mixed.
    pub(crate) fn same_state(&self, now: LogState) -> Result<()> {
        match now == self.state {
            true => Ok(()),
            false => Err(Error::conflict(format!("the log of run {} was merged or deleted", self.run_id))),
        }
    }
}

/// A slice, and the state of the log that it belongs to.
#[derive(FromRow)]
struct FoundSlice {
    #[sqlx(flatten)]
    slice: Slice,
    #[sqlx(flatten)]
    state: LogState,
}

/// The slices of a scope, a few rows at a time: by last time, newest first, or by first time, oldest first.
#[derive(Debug)]
pub(crate) struct SliceWalk {
    scope: Scope,
    order: RecordOrder,
    after: Option<(i64, i64)>,
    is_done: bool,
}

impl SliceWalk {
    pub(crate) fn new(scope: Scope, order: RecordOrder) -> Self {
        Self { scope, order, after: None, is_done: false }
    }

    /// Returns true if there are no more slices.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Returns the next slices; fewer than requested at the end. Fails with `Conflict` if they belong to another state
    /// of the log.
    pub(crate) async fn next(&mut self, core: &Core) -> Result<Vec<Slice>> {
        let (within, order) = match self.order {
            RecordOrder::Desc => {
                ("(s.last_time, s.first_arrival) < ($5, $6)", "s.last_time DESC, s.first_arrival DESC")
            }
            RecordOrder::Asc => ("(s.first_time, s.first_arrival) > ($5, $6)", "s.first_time, s.first_arrival"),
        };
        let statement = format!(
            "SELECT {SLICE_COLUMNS}, r.log_epoch, r.log_version
             FROM slices s JOIN segments g ON g.id = s.segment_id JOIN runs r ON r.id = s.run_id
             WHERE s.run_id = $1 AND s.first_arrival < $2 AND s.last_time >= $3 AND s.first_time <= $4 AND {within}
             ORDER BY {order} LIMIT $7"
        );
        let (after_time, after_arrival) = self.after.unwrap_or(match self.order {
            RecordOrder::Desc => (i64::MAX, i64::MAX),
            RecordOrder::Asc => (i64::MIN, i64::MIN),
        });
        let found: Vec<FoundSlice> = sqlx::query_as(AssertSqlSafe(statement))
            .bind(self.scope.run_id.to_string())
            .bind(self.scope.arrivals)
            .bind(self.scope.range.first_ms())
            .bind(self.scope.range.last_ms())
            .bind(after_time)
            .bind(after_arrival)
            .bind(limits::SLICES_AT_A_TIME)
            .fetch_all(core.catalog().read())
            .await?;
        // One statement sees one state of the catalog.
        let state = match found.first() {
            Some(first) => first.state,
            None => log_state(core, self.scope.run_id, self.scope.state).await?,
        };
        self.scope.same_state(state)?;
        let slices: Vec<Slice> = found.into_iter().map(|found| found.slice).collect();
        self.after = slices.last().map(|last| match self.order {
            RecordOrder::Desc => (last.last_time, last.first_arrival),
            RecordOrder::Asc => (last.first_time, last.first_arrival),
        });
        self.is_done = slices.len().saturating_as::<i64>() < limits::SLICES_AT_A_TIME;
        Ok(slices)
    }
}

/// Returns the state of a run's log. Fails with `Conflict` if the log was deleted since `before`.
pub(crate) async fn log_state(core: &Core, run_id: RunId, before: LogState) -> Result<LogState> {
    let state: Option<LogState> = sqlx::query_as("SELECT log_epoch, log_version FROM runs WHERE id = $1")
        .bind(run_id.to_string())
        .fetch_optional(core.catalog().read())
        .await?;
    match state {
        Some(state) if state.log_epoch == before.log_epoch => Ok(state),
        _ => Err(Error::conflict(format!("the log of run {run_id} was deleted while it was read"))),
    }
}

/// Returns the record count of the slices that are completely in the scope, and the slices that are partly in it.
pub(crate) async fn complete_and_partial(core: &Core, mut scope: Scope) -> Result<(u64, Vec<Slice>)> {
    loop {
        let found = complete_and_partial_now(core, scope).await?;
        let state = log_state(core, scope.run_id, scope.state).await?;
        if state == scope.state {
            return Ok(found);
        }
        // Slices were replaced in the meantime, possibly between the two queries.
        scope.state = state;
    }
}

async fn complete_and_partial_now(core: &Core, scope: Scope) -> Result<(u64, Vec<Slice>)> {
    let whole: i64 = sqlx::query_scalar(
        "SELECT CAST(COALESCE(SUM(records), 0) AS BIGINT) FROM slices
         WHERE run_id = $1 AND last_arrival < $2 AND first_time >= $3 AND last_time <= $4",
    )
    .bind(scope.run_id.to_string())
    .bind(scope.arrivals)
    .bind(scope.range.first_ms())
    .bind(scope.range.last_ms())
    .fetch_one(core.catalog().read())
    .await?;
    let partial: Vec<Slice> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT {SLICE_COLUMNS} FROM slices s JOIN segments g ON g.id = s.segment_id
         WHERE s.run_id = $1 AND s.first_arrival < $2 AND s.last_time >= $3 AND s.first_time <= $4
           AND NOT (s.first_time >= $3 AND s.last_time <= $4 AND s.last_arrival < $2)"
    )))
    .bind(scope.run_id.to_string())
    .bind(scope.arrivals)
    .bind(scope.range.first_ms())
    .bind(scope.range.last_ms())
    .fetch_all(core.catalog().read())
    .await?;
    Ok((whole.saturating_as::<u64>(), partial))
}
