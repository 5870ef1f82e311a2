//! Slices: which rows of which segments hold a run's records.

use runlog_model::{RecordOrder, RunId, TimeRange};
use sqlx::FromRow;

use crate::error::Result;
use crate::limits;
use crate::store::Store;

/// The part of a run that one segment holds, its rows in order of (time, arrival).
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Slice {
    pub(crate) object_key: String,
    pub(crate) first_row: i64,
    pub(crate) records: i64,
    pub(crate) first_arrival: i64,
    pub(crate) first_time: i64,
    pub(crate) last_time: i64,
}

/// Which records of a run are meant: those inside a range that had arrived before a number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    pub(crate) run_id: RunId,
    pub(crate) range: TimeRange,
    pub(crate) arrivals: i64,
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

    /// The next few; none when there are no more.
    pub(crate) async fn next(&mut self, store: &Store) -> Result<Vec<Slice>> {
        if self.is_done {
            return Ok(Vec::new());
        }
        let statement = match self.order {
            RecordOrder::Desc => {
                "SELECT g.object_key, s.first_row, s.records, s.first_arrival, s.first_time, s.last_time
                 FROM slices s JOIN segments g ON g.id = s.segment_id
                 WHERE s.run_id = $1 AND s.first_arrival < $2 AND s.last_time >= $3 AND s.first_time <= $4
                   AND (s.last_time, s.first_arrival) < ($5, $6)
                 ORDER BY s.last_time DESC, s.first_arrival DESC LIMIT $7"
            }
            RecordOrder::Asc => {
                "SELECT g.object_key, s.first_row, s.records, s.first_arrival, s.first_time, s.last_time
                 FROM slices s JOIN segments g ON g.id = s.segment_id
                 WHERE s.run_id = $1 AND s.first_arrival < $2 AND s.last_time >= $3 AND s.first_time <= $4
                   AND (s.first_time, s.first_arrival) > ($5, $6)
                 ORDER BY s.first_time, s.first_arrival LIMIT $7"
            }
        };
        let (after_time, after_arrival) = self.after.unwrap_or(match self.order {
            RecordOrder::Desc => (i64::MAX, i64::MAX),
            RecordOrder::Asc => (i64::MIN, i64::MIN),
        });
        let slices: Vec<Slice> = sqlx::query_as(statement)
            .bind(self.scope.run_id.to_string())
            .bind(self.scope.arrivals)
            .bind(self.scope.range.first_ms())
            .bind(self.scope.range.last_ms())
            .bind(after_time)
            .bind(after_arrival)
            .bind(limits::SLICES_AT_A_TIME)
            .fetch_all(store.catalog().read())
            .await?;
        self.after = slices.last().map(|last| match self.order {
            RecordOrder::Desc => (last.last_time, last.first_arrival),
            RecordOrder::Asc => (last.first_time, last.first_arrival),
        });
        self.is_done = (slices.len() as i64) < limits::SLICES_AT_A_TIME;
        Ok(slices)
    }
}

impl Store {
    /// Records of the slices that lie wholly inside the scope, and the slices that lie in it in part.
    pub(crate) async fn whole_and_partial(&self, scope: Scope) -> Result<(u64, Vec<Slice>)> {
        let whole: i64 = sqlx::query_scalar(
            "SELECT CAST(COALESCE(SUM(records), 0) AS BIGINT) FROM slices
             WHERE run_id = $1 AND first_arrival < $2 AND first_time >= $3 AND last_time <= $4",
        )
        .bind(scope.run_id.to_string())
        .bind(scope.arrivals)
        .bind(scope.range.first_ms())
        .bind(scope.range.last_ms())
        .fetch_one(self.catalog().read())
        .await?;
        let partial: Vec<Slice> = sqlx::query_as(
            "SELECT g.object_key, s.first_row, s.records, s.first_arrival, s.first_time, s.last_time
             FROM slices s JOIN segments g ON g.id = s.segment_id
             WHERE s.run_id = $1 AND s.first_arrival < $2 AND s.last_time >= $3 AND s.first_time <= $4
               AND NOT (s.first_time >= $3 AND s.last_time <= $4)",
        )
        .bind(scope.run_id.to_string())
        .bind(scope.arrivals)
        .bind(scope.range.first_ms())
        .bind(scope.range.last_ms())
        .fetch_all(self.catalog().read())
        .await?;
        Ok((whole as u64, partial))
    }
}
