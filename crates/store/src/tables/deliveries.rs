//! Deliveries of logs to sinks: a delivery is leased to one deliverer at a time, and another deliverer takes it over
//! when the lease expires.
//!
//! The arrival number of a record never changes. Late records are therefore those with higher arrival numbers than the
//! delivered ones, regardless of their times, and an id made of run and arrival number is the same each time a record
//! is sent.

use az::SaturatingAs;
use runlog_model::{Record, Run, RunId, Timestamp, planted};
use sqlx_macros::FromRow;

use crate::catalog::columns::SortKey;
use crate::catalog::sql::{Connection, Sql, changed_in_parts, storable};
use crate::error::{Error, Result};
use crate::limits;
use crate::parts::Deliveries;
use crate::tables::runs::LogState;
use crate::tables::runs::{fetch_to_change, fetch_with_state, no_such_run};

/// The delivery of a run's log to a sink, leased to a deliverer.
#[derive(Debug, Clone)]
pub struct ClaimedDelivery {
    /// The sink.
    pub sink: String,
    /// The run as it was when the delivery was claimed.
    pub run: Run,
    /// Number of attempts since the last success, including this one.
    pub attempts: i64,
    /// How many times the run's log was deleted.
    pub epoch: u64,
    /// Records with a lower arrival number were delivered earlier.
    pub first_arrival: u64,
    /// Finished files or batches.
    pub parts: u64,
    /// True when refused records are to be sent again.
    pub has_replays: bool,
    claim: String,
    pub(crate) of_records: u64,
    pub(crate) after: Option<SortKey>,
    pub(crate) state: LogState,
}

/// The key of a record in the log of its run, in order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordKey {
    /// Its time.
    pub time: Timestamp,
    /// Its number in the run, in order of arrival; it never changes.
    pub arrival: u64,
}

/// A record with its key.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyedRecord {
    /// The key of the record.
    pub key: RecordKey,
    /// The record.
    pub record: Record,
}

/// A step of a delivery, which is committed as a whole.
#[derive(Debug, Clone, Default)]
pub struct DeliveryStep {
    /// The last record of the step; `None` if the step replayed refused records.
    pub until: Option<RecordKey>,
    /// Records that the sink accepted.
    pub delivered: u64,
    /// Records that the settings filter out.
    pub filtered_out: u64,
    /// Number of those that were older than the sink accepts.
    pub too_old: u64,
    /// Records that the sink refused permanently, with the reasons.
    pub refused: Vec<RefusedRange>,
    /// Refused records that were sent again.
    pub replayed: Option<ReplayProgress>,
    /// Whether the step finished a file or batch.
    pub ends_part: bool,
}

/// Consecutive records, in order of delivery, that a sink refused for the same reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRange {
    /// The first record.
    pub first: RecordKey,
    /// The last record.
    pub last: RecordKey,
    /// The lowest and the highest arrival number: records with other arrival numbers are not in the range.
    pub arrivals: (u64, u64),
    /// How many records were refused.
    pub records: u64,
    /// How many records were sent. If it is higher than `records`, the sink did not report which records were refused.
    pub of_records: u64,
    /// Why.
    pub reason: String,
}

/// Refused records to send again.
#[derive(Debug)]
pub struct ReplayBatch {
    /// The records, in order of time.
    pub records: Vec<KeyedRecord>,
    /// The progress to commit once they are sent.
    pub replayed: ReplayProgress,
}

/// The refused records that were sent again.
#[derive(Debug, Clone, Default)]
pub struct ReplayProgress {
    /// The ranges of the records, in order, none of them within another.
    pub(crate) ranges: Vec<RefusedRange>,
    /// The remainder of the last range.
    pub(crate) rest: Option<RefusedRange>,
    /// The records, in order.
    pub(crate) sent: Vec<RecordKey>,
}

impl ReplayProgress {
    /// Returns the progress if only the records before this key were sent again; the others remain to be sent.
    pub fn before(&self, key: RecordKey) -> Self {
        let sent = &self.sent[..self.sent.partition_point(|sent| *sent < key)];
        let Some(next) = self.sent.get(sent.len()).copied() else { return self.clone() };
        let ranges: Vec<RefusedRange> = self.ranges.iter().filter(|range| range.first < next).cloned().collect();
        let begun = ranges.last().filter(|range| next <= range.last);
        let rest = begun.map(|range| {
            let sent = sent.iter().filter(|sent| **sent >= range.first).count();
            range.clone().from(next, sent.saturating_as::<u64>())
        });
        Self { ranges, rest, sent: sent.to_vec() }
    }

    /// Returns the number of dead letters that are removed when this progress is committed.
    pub fn freed(&self) -> usize {
        self.ranges.len().saturating_sub(usize::from(self.rest.is_some()))
    }
}

#[derive(FromRow)]
struct ClaimedRow {
    run_id: String,
    claim: String,
    attempts: i64,
    log_epoch: i64,
    first_arrival: i64,
    of_records: Option<i64>,
    after_time: Option<i64>,
    after_arrival: Option<i64>,
    parts: i64,
}

impl RefusedRange {
    /// Creates a range of one record.
    pub fn one(place: RecordKey, reason: impl Into<String>) -> Self {
        let arrivals = (place.arrival, place.arrival);
        Self { first: place, last: place, arrivals, records: 1, of_records: 1, reason: reason.into() }
    }

    /// Adds the next record to the range.
    pub fn extend(&mut self, place: RecordKey) {
        self.last = place;
        self.arrivals = (self.arrivals.0.min(place.arrival), self.arrivals.1.max(place.arrival));
        self.records += 1;
        self.of_records += 1;
    }

    pub(crate) fn has(&self, place: RecordKey) -> bool {
        (self.first..=self.last).contains(&place) && (self.arrivals.0..=self.arrivals.1).contains(&place.arrival)
    }

    /// Returns the remainder of the range after `sent` records were sent again, beginning with `next`.
    pub(crate) fn from(mut self, next: RecordKey, sent: u64) -> Self {
        self.first = next;
        self.of_records = self.of_records.saturating_sub(sent).max(1);
        self.records = self.records.min(self.of_records);
        self
    }
}

impl ClaimedDelivery {
    /// Returns the number of records of this delivery, including those that are filtered out.
    pub fn records(&self) -> u64 {
        self.of_records.saturating_sub(self.first_arrival)
    }

    /// Extends the delivery to all records that the run had when the delivery was claimed, for a sink that receives
    /// whole runs: records that arrived between two attempts are included.
    pub fn extend_to_whole_run(&mut self) {
        self.of_records = self.run.records;
    }

    /// Returns true if the delivery begins with the first record of the log.
    pub fn is_from_start(&self) -> bool {
        self.first_arrival == 0 && self.after.is_none()
    }
}

impl Deliveries {
    /// Claims the oldest pending delivery to a sink with a lease until `until`; `None` when none is due.
    ///
    /// `Conflict`: the lease ended while it was taken, because this process was suspended.
    pub async fn claim(&self, sink: &str, until: Timestamp) -> Result<Option<ClaimedDelivery>> {
        let (now, until) = (self.core.catalog_now().await?, self.core.catalog_time(until).await?);
        let mut lease_now = now;
        if planted::is("claimed-twice") {
            lease_now = Timestamp::MAX;
        }
        let mut claiming = Sql::new("UPDATE deliveries SET attempts = attempts + 1, claim = ");
        claiming
            .push_bind(self.core.random().uuid().to_string())
            .push(", claimed_until = ")
            .push_bind(until.as_millis());
        claiming.push(" WHERE sink = ").push_bind(sink.to_owned());
        claiming.push(" AND run_id = (SELECT run_id FROM deliveries WHERE state = 'due' AND sink = ");
        claiming.push_bind(sink.to_owned()).push(" AND due_at <= ").push_bind(now.as_millis());
        claiming.push(" AND claimed_until < ").push_bind(lease_now.as_millis()).push(" ORDER BY due_at LIMIT 1");
        claiming.push(self.core.catalog().skip_locked());
        claiming.push(
            ") RETURNING run_id, claim, attempts, log_epoch, first_arrival, of_records, after_time, after_arrival, parts",
        );
        let row: Option<ClaimedRow> = claiming.build_query_as().fetch_optional(self.core.catalog().write()).await?;
        let Some(row) = row else { return Ok(None) };
        let (run_id, claim) = (row.run_id.clone(), row.claim.clone());
        match self.begin_delivery(sink, row).await {
            Ok(claimed) => {
                self.core.check_lease(until).await?;
                Ok(Some(claimed))
            }
            Err(error) => {
                // A delivery that cannot be read must not block the others.
                sqlx::query(
                    "UPDATE deliveries SET problem = $4, due_at = $5, claimed_until = 0
                     WHERE run_id = $1 AND sink = $2 AND claim = $3 AND state = 'due'",
                )
                .bind(run_id)
                .bind(sink)
                .bind(claim)
                .bind(storable(&error.to_string()))
                .bind(now.plus_millis(limits::UNREADABLE_DELIVERY_RETRY_MS).as_millis())
                .execute(self.core.catalog().write())
                .await?;
                Err(error)
            }
        }
    }

    /// Determines the records to deliver: the current records of the run except those delivered earlier.
    async fn begin_delivery(&self, sink: &str, row: ClaimedRow) -> Result<ClaimedDelivery> {
        let run_id: RunId = row.run_id.parse().map_err(|_| Error::corrupt("the id of a delivery does not decode"))?;
        let found = fetch_with_state(self.core.catalog().read(), run_id).await?;
        let (run, state) = found.ok_or_else(|| no_such_run(run_id))?;
        // Records that arrived after a deletion of the log belong to another log, of which nothing was delivered.
        let is_same_log = row.log_epoch == state.log_epoch;
        let first_arrival = if is_same_log { row.first_arrival } else { 0 };
        let of_records = row.of_records.filter(|_| is_same_log);
        let after = row.after_time.zip(row.after_arrival).filter(|_| is_same_log);
        if of_records.is_none() {
            sqlx::query(
                "UPDATE deliveries SET log_epoch = $4, first_arrival = $5, of_records = $6, after_time = NULL,
                        after_arrival = NULL WHERE run_id = $1 AND sink = $2 AND claim = $3",
            )
            .bind(&row.run_id)
            .bind(sink)
            .bind(&row.claim)
            .bind(state.log_epoch)
            .bind(first_arrival)
            .bind(run.records.saturating_as::<i64>())
            .execute(self.core.catalog().write())
            .await?;
        }
        let replays: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM dead_letters WHERE sink = $1 AND run_id = $2 AND log_epoch = $3 AND replay = 1",
        )
        .bind(sink)
        .bind(&row.run_id)
        .bind(state.log_epoch)
        .fetch_one(self.core.catalog().read())
        .await?;
        Ok(ClaimedDelivery {
            sink: sink.to_owned(),
            attempts: row.attempts,
            epoch: state.log_epoch.saturating_as::<u64>(),
            first_arrival: first_arrival.saturating_as::<u64>(),
            parts: row.parts.saturating_as::<u64>(),
            has_replays: replays > 0,
            claim: row.claim,
            of_records: of_records.map_or(run.records, |records| records.saturating_as::<u64>()),
            after,
            state,
            run,
        })
    }

    /// Renews the lease of a delivery until `until`. Returns false when another deliverer holds it.
    pub async fn renew_lease(&self, claimed: &ClaimedDelivery, until: Timestamp) -> Result<bool> {
        let until = if planted::is("lease-not-renewed") { self.core.now() } else { until };
        let done = sqlx::query(
            "UPDATE deliveries SET claimed_until = $4 WHERE run_id = $1 AND sink = $2 AND claim = $3 AND state = 'due'",
        )
        .bind(claimed.run.id.to_string())
        .bind(&claimed.sink)
        .bind(&claimed.claim)
        .bind(self.core.catalog_time(until).await?.as_millis())
        .execute(self.core.catalog().write())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Returns how many more ranges of refused records can be kept for this run and sink.
    pub async fn dead_letter_capacity(&self, claimed: &ClaimedDelivery) -> Result<usize> {
        let (of_run, of_sink): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT COUNT(*) FROM dead_letters WHERE sink = $1 AND run_id = $2),
                    (SELECT COUNT(*) FROM dead_letters WHERE sink = $1)",
        )
        .bind(&claimed.sink)
        .bind(claimed.run.id.to_string())
        .fetch_one(self.core.catalog().read())
        .await?;
        let room = (limits::DEAD_LETTERS_RUN_MAX - of_run).min(limits::DEAD_LETTERS_SINK_MAX - of_sink);
        Ok(usize::try_from(room).unwrap_or_default())
    }

    /// Commits a step of a delivery. `Conflict`: another deliverer holds the lease.
    pub async fn commit_step(&self, claimed: &mut ClaimedDelivery, step: &DeliveryStep) -> Result<()> {
        let after = step.until.map(sort_key).or(claimed.after);
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                // Locks the run before the delivery: the same order as elsewhere, so that no deadlock arises.
                let is_log_there = match step.refused.is_empty() && step.replayed.is_none() {
                    true => true,
                    false => self.lock_log(&mut transaction, claimed).await?,
                };
                let done = sqlx::query(
                    "UPDATE deliveries SET after_time = $4, after_arrival = $5, delivered = delivered + $6,
                            left_out = left_out + $7, parts = parts + $8, too_old = too_old + $9
                     WHERE run_id = $1 AND sink = $2 AND claim = $3 AND state = 'due'",
                )
                .bind(claimed.run.id.to_string())
                .bind(&claimed.sink)
                .bind(&claimed.claim)
                .bind(after.map(|(time, _)| time))
                .bind(after.map(|(_, arrival)| arrival))
                .bind(step.delivered.saturating_as::<i64>())
                .bind(step.filtered_out.saturating_as::<i64>())
                .bind(i64::from(step.ends_part))
                .bind(step.too_old.saturating_as::<i64>())
                .execute(&mut *transaction)
                .await?;
                if done.rows_affected() == 0 && !planted::is("lost-lease-not-noticed") {
                    let message =
                        format!("another deliverer has taken over run {} for {}", claimed.run.id, claimed.sink);
                    return Err(Error::conflict(message));
                }
                // The refused records were deleted with the log.
                if !is_log_there {
                    return transaction.commit().await;
                }
                if let Some(replayed) = &step.replayed {
                    let rows = replayed.ranges.iter().map(|range| range.first.arrival.saturating_as::<i64>());
                    let rows: Vec<i64> = rows.collect();
                    for some in rows.chunks(limits::REPLAY_BATCH_RECORDS.saturating_as::<usize>()) {
                        let mut removing = Sql::new("DELETE FROM dead_letters WHERE sink = ");
                        removing
                            .push_bind(claimed.sink.clone())
                            .push(" AND run_id = ")
                            .push_bind(claimed.run.id.to_string());
                        removing.push(" AND log_epoch = ").push_bind(claimed.state.log_epoch).push(" AND arrival IN (");
                        removing.push_list(some.iter().copied()).push(")");
                        removing.build_query().execute(&mut *transaction).await?;
                    }
                    let rest: Vec<&RefusedRange> = replayed.rest.iter().collect();
                    insert_dead_letters(&mut transaction, claimed, &rest, true, self.core.now()).await?;
                }
                let refused: Vec<&RefusedRange> = step.refused.iter().collect();
                insert_dead_letters(&mut transaction, claimed, &refused, false, self.core.now()).await?;
                transaction.commit().await
            })
            .await?;
        claimed.after = after;
        claimed.parts += u64::from(step.ends_part);
        Ok(())
    }

    /// Locks the run of a delivery. Returns false when its log was deleted since the delivery was claimed.
    async fn lock_log(&self, connection: &mut Connection, claimed: &ClaimedDelivery) -> Result<bool> {
        let mut locking = Sql::new("SELECT log_epoch FROM runs WHERE id = ");
        locking.push_bind(claimed.run.id.to_string()).push(self.core.catalog().for_update());
        let epoch: Option<i64> = locking.build_query_scalar().fetch_optional(connection).await?;
        Ok(epoch == Some(claimed.state.log_epoch))
    }

    /// Finishes a delivery. Records that arrived in the meantime make it pending again. `Conflict`: another deliverer
    /// holds the lease.
    pub async fn finish(&self, claimed: &ClaimedDelivery) -> Result<()> {
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                // The run is locked, so that no record arrives between this check and the end of the delivery.
                let run = fetch_to_change(&self.core, &mut transaction, claimed.run.id).await?;
                // Records delivered from a deleted log do not count as delivered from the log that replaced it.
                let is_same_log = self.lock_log(&mut transaction, claimed).await?;
                let delivered = if is_same_log { claimed.of_records } else { 0 };
                let is_all = run.is_none_or(|run| run.records <= delivered) || planted::is("delivery-ends-early");
                let now = self.core.shared_now();
                let due_at = now.plus_millis(self.core.settings().settle_ms);
                let done = sqlx::query(
                    "UPDATE deliveries SET state = $4, first_arrival = $5, of_records = NULL, after_time = NULL,
                            after_arrival = NULL, due_at = $6, due_since = $6, done_at = $7, attempts = 0, claimed_until = 0,
                            problem = NULL
                     WHERE run_id = $1 AND sink = $2 AND claim = $3 AND state = 'due'",
                )
                .bind(claimed.run.id.to_string())
                .bind(&claimed.sink)
                .bind(&claimed.claim)
                .bind(if is_all { "done" } else { "due" })
                .bind(claimed.of_records.saturating_as::<i64>())
                .bind(due_at.as_millis())
                .bind(now.as_millis())
                .execute(&mut *transaction)
                .await?;
                if done.rows_affected() == 0 {
                    return Err(Error::conflict(format!("another deliverer has taken over run {}", claimed.run.id)));
                }
                transaction.commit().await
            })
            .await
    }

    /// Releases the lease of an unfinished delivery, without counting the attempt.
    pub async fn release(&self, claimed: &ClaimedDelivery) -> Result<()> {
        sqlx::query(
            "UPDATE deliveries SET claimed_until = 0, attempts = attempts - 1
             WHERE run_id = $1 AND sink = $2 AND claim = $3 AND state = 'due'",
        )
        .bind(claimed.run.id.to_string())
        .bind(&claimed.sink)
        .bind(&claimed.claim)
        .execute(self.core.catalog().write())
        .await?;
        Ok(())
    }

    /// Records a failed attempt and when to retry; without a time, the delivery is not retried.
    pub async fn record_failure(
        &self,
        claimed: &ClaimedDelivery,
        problem: &str,
        again_at: Option<Timestamp>,
    ) -> Result<()> {
        let due_at = match again_at {
            Some(again_at) => self.core.catalog_time(again_at).await?.as_millis(),
            None => 0,
        };
        sqlx::query(
            "UPDATE deliveries SET state = $4, problem = $5, due_at = $6, claimed_until = 0
             WHERE run_id = $1 AND sink = $2 AND claim = $3 AND state = 'due'",
        )
        .bind(claimed.run.id.to_string())
        .bind(&claimed.sink)
        .bind(&claimed.claim)
        .bind(if again_at.is_some() { "due" } else { "dead" })
        .bind(storable(problem))
        .bind(due_at)
        .execute(self.core.catalog().write())
        .await?;
        Ok(())
    }

    /// Makes the failed deliveries of a sink due immediately, because the sink accepts records again. Returns their
    /// number.
    pub async fn expedite(&self, sink: &str) -> Result<u64> {
        let now = self.core.catalog_now().await?.as_millis();
        let expediting = || {
            sqlx::query(
                "UPDATE deliveries SET due_at = $2 WHERE sink = $1 AND run_id IN (
                     SELECT run_id FROM deliveries
                     WHERE sink = $1 AND state = 'due' AND problem IS NOT NULL AND due_at > $2 LIMIT $3)",
            )
            .bind(sink)
            .bind(now)
            .bind(limits::ROWS_CHANGED_TOGETHER)
            .execute(self.core.catalog().write())
        };
        changed_in_parts(expediting).await
    }

    /// Makes failed deliveries due now that are scheduled after `latest`: no wait is that long, so that the clock was
    /// ahead when they were scheduled. Returns their number.
    pub async fn bring_forward(&self, sink: &str, latest: Timestamp) -> Result<u64> {
        let (latest, now) = (self.core.catalog_time(latest).await?, self.core.catalog_now().await?);
        let any: Option<i64> = sqlx::query_scalar(
            "SELECT CAST(1 AS BIGINT) FROM deliveries WHERE sink = $1 AND state = 'due' AND due_at > $2 LIMIT 1",
        )
        .bind(sink)
        .bind(latest.as_millis())
        .fetch_optional(self.core.catalog().read())
        .await?;
        if any.is_none() {
            return Ok(0);
        }
        let done = sqlx::query(
            "UPDATE deliveries SET due_at = $3
             WHERE sink = $1 AND state = 'due' AND problem IS NOT NULL AND due_at > $2",
        )
        .bind(sink)
        .bind(latest.as_millis())
        .bind(now.as_millis())
        .execute(self.core.catalog().write())
        .await?;
        Ok(done.rows_affected())
    }

    /// Makes the deliveries of a run pending again, in the transaction that adds late records to it.
    pub(crate) async fn reopen(&self, connection: &mut Connection, run_id: RunId) -> Result<()> {
        sqlx::query(
            "UPDATE deliveries SET state = 'due', due_at = $2, due_since = $2 WHERE run_id = $1 AND state = 'done'",
        )
        .bind(run_id.to_string())
        .bind(self.core.shared_now().plus_millis(self.core.settings().settle_ms).as_millis())
        .execute(connection)
        .await?;
        Ok(())
    }
}

fn sort_key(place: RecordKey) -> SortKey {
    (place.time.as_millis(), place.arrival.saturating_as::<i64>())
}

async fn insert_dead_letters(
    connection: &mut Connection,
    claimed: &ClaimedDelivery,
    ranges: &[&RefusedRange],
    is_replay: bool,
    now: Timestamp,
) -> Result<()> {
    for some in ranges.chunks(limits::DEAD_LETTERS_INSERT_BATCH) {
        let mut keeping = Sql::new(
            "INSERT INTO dead_letters (sink, run_id, log_epoch, arrival, record_time, last_arrival, last_time,
             arrivals_from, arrivals_to, records, of_records, reason, refused_at, replay) VALUES ",
        );
        for (index, range) in some.iter().enumerate() {
            keeping.push(if index > 0 { ", (" } else { "(" });
            keeping.push_bind(claimed.sink.clone()).push(", ").push_bind(claimed.run.id.to_string()).push(", ");
            keeping.push_list([
                claimed.state.log_epoch,
                range.first.arrival.saturating_as::<i64>(),
                range.first.time.as_millis(),
                range.last.arrival.saturating_as::<i64>(),
                range.last.time.as_millis(),
                range.arrivals.0.saturating_as::<i64>(),
                range.arrivals.1.saturating_as::<i64>(),
                range.records.saturating_as::<i64>(),
                range.of_records.saturating_as::<i64>(),
            ]);
            keeping.push(", ").push_bind(storable(&range.reason)).push(", ");
            keeping.push_list([now.as_millis(), i64::from(is_replay)]).push(")");
        }
        keeping.push(
            " ON CONFLICT (sink, run_id, log_epoch, arrival) DO UPDATE SET record_time = excluded.record_time,
             last_arrival = excluded.last_arrival, last_time = excluded.last_time,
             arrivals_from = excluded.arrivals_from, arrivals_to = excluded.arrivals_to, records = excluded.records,
             of_records = excluded.of_records, reason = excluded.reason, refused_at = excluded.refused_at,
             replay = excluded.replay",
        );
        keeping.build_query().execute(&mut *connection).await?;
    }
    Ok(())
}
