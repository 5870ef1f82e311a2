//! The records of a delivery to a sink: pending records, and refused records to replay.

use az::SaturatingAs;
use runlog_model::{RecordOrder, TimeRange, Timestamp, planted};
use sqlx_macros::FromRow;

use crate::catalog::columns::SortKey;
use crate::cpu::CpuPool;
use crate::error::{Error, Result};
use crate::limits;
use crate::log::merge::Merge;
use crate::log::slices::Scope;
use crate::parts::Deliveries;
use crate::tables::deliveries::{ClaimedDelivery, KeyedRecord, RecordKey, RefusedRange, ReplayBatch, ReplayProgress};

#[derive(FromRow)]
struct RangeRow {
    arrival: i64,
    record_time: i64,
    last_time: i64,
    last_arrival: i64,
    arrivals_from: i64,
    arrivals_to: i64,
    records: i64,
    of_records: i64,
    reason: String,
}

impl RangeRow {
    fn into_range(self) -> RefusedRange {
        RefusedRange {
            first: RecordKey {
                time: Timestamp::clamped(self.record_time),
                arrival: self.arrival.saturating_as::<u64>(),
            },
            last: RecordKey {
                time: Timestamp::clamped(self.last_time),
                arrival: self.last_arrival.saturating_as::<u64>(),
            },
            arrivals: (self.arrivals_from.saturating_as::<u64>(), self.arrivals_to.saturating_as::<u64>()),
            records: self.records.saturating_as::<u64>(),
            of_records: self.of_records.saturating_as::<u64>(),
            reason: self.reason,
        }
    }
}

impl Deliveries {
    /// Reads the pending records of a delivery in order of time, in chunks.
    ///
    /// The reader fails with `Conflict` if the log is deleted in the meantime.
    pub fn read(&self, claimed: &ClaimedDelivery) -> DeliveryReader {
        let start = claimed.after.map(|(time, _)| Timestamp::clamped(time));
        let scope = Scope {
            run_id: claimed.run.id,
            range: TimeRange { start, end: None },
            arrivals: claimed.of_records.saturating_as::<i64>(),
            state: claimed.state,
        };
        let merge = Merge::new(&self.core, scope, RecordOrder::Asc);
        let wanted = Wanted { first_arrival: claimed.first_arrival, after: claimed.after };
        DeliveryReader { cpu: self.core.cpu().clone(), merge, wanted }
    }

    /// Returns some refused records to send again, in order of time; `None` when there are no more.
    pub async fn read_replays(&self, claimed: &ClaimedDelivery) -> Result<Option<ReplayBatch>> {
        let rows: Vec<RangeRow> = sqlx::query_as(
            "SELECT arrival, record_time, COALESCE(last_time, record_time) AS last_time,
                    COALESCE(last_arrival, arrival) AS last_arrival, COALESCE(arrivals_from, arrival) AS arrivals_from,
                    COALESCE(arrivals_to, arrival) AS arrivals_to, records, of_records, reason
             FROM dead_letters WHERE sink = $1 AND run_id = $2 AND log_epoch = $3 AND replay = 1
             ORDER BY record_time, arrival LIMIT $4",
        )
        .bind(&claimed.sink)
        .bind(claimed.run.id.to_string())
        .bind(claimed.state.log_epoch)
        .bind(limits::REPLAY_BATCH_RECORDS)
        .fetch_all(self.core.catalog().read())
        .await?;
        // A range of late records may be within an earlier range: such a range is read separately, later.
        let mut ranges: Vec<RefusedRange> = Vec::with_capacity(rows.len());
        for range in rows.into_iter().map(RangeRow::into_range) {
            match ranges.last() {
                Some(before) if range.first <= before.last => break,
                _ => ranges.push(range),
            }
        }
        let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { return Ok(None) };
        let range = TimeRange { start: Some(first.first.time), end: Some(last.last.time) };
        let scope = Scope { run_id: claimed.run.id, range, arrivals: i64::MAX, state: claimed.state };
        let merge = Merge::new(&self.core, scope, RecordOrder::Asc);
        let wanted = Wanted { first_arrival: 0, after: None };
        let reader = DeliveryReader { cpu: self.core.cpu().clone(), merge, wanted };
        let replays = replays_of(ranges, reader).await?;
        match replays.records.is_empty() {
            true => Err(Error::corrupt(format!("refused records of run {} are not in its log", claimed.run.id))),
            false => Ok(Some(replays)),
        }
    }
}

/// Reads the pending records of a delivery in order of time; see [`Deliveries::read`].
pub struct DeliveryReader {
    cpu: CpuPool,
    merge: Merge,
    wanted: Wanted,
}

/// The records of a delivery that were not delivered before.
#[derive(Clone, Copy)]
struct Wanted {
    first_arrival: u64,
    after: Option<SortKey>,
}

impl DeliveryReader {
    /// Returns the next records; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<KeyedRecord>>> {
        loop {
            let Some(row_run) = self.merge.next().await? else { return Ok(None) };
            let wanted = self.wanted;
            let count = row_run.sort_keys().filter(|sort_key| wanted.includes(*sort_key)).count();
            if count == 0 {
                continue;
            }
            let row_run = row_run.read().await?;
            let making = move || {
                let mut records = Vec::with_capacity(count);
                for (sort_key, (time, body)) in row_run.sort_keys().zip(row_run.iter()) {
                    if wanted.includes(sort_key) {
                        let arrival = sort_key.1.saturating_as::<u64>();
                        let key = RecordKey { time: Timestamp::clamped(time), arrival };
                        records.push(KeyedRecord { key, record: body.to_record(time)? });
                    }
                }
                Ok(records)
            };
            return Ok(Some(self.cpu.run_for(count, making).await?));
        }
    }
}

impl Wanted {
    fn includes(&self, sort_key: SortKey) -> bool {
        sort_key.1.saturating_as::<u64>() >= self.first_arrival
            && self
                .after
                .is_none_or(|after| sort_key > after || planted::is("delivery-repeats-a-record") && sort_key == after)
    }
}

/// Reads the records of some ranges, up to a bounded number.
async fn replays_of(ranges: Vec<RefusedRange>, mut reader: DeliveryReader) -> Result<ReplayBatch> {
    let mut records: Vec<KeyedRecord> = Vec::new();
    let (mut at, mut sent) = (0, 0);
    while let Some(some) = reader.next().await? {
        for record in some {
            while ranges.get(at).is_some_and(|range| range.last < record.key) {
                (at, sent) = (at + 1, 0);
            }
            let Some(range) = ranges.get(at) else { break };
            if !range.has(record.key) {
                continue;
            }
            if records.len().saturating_as::<i64>() >= limits::REPLAY_BATCH_RECORDS {
                let rest = Some(range.clone().from(record.key, sent));
                let sent = records.iter().map(|record| record.key).collect();
                let ranges = ranges[..=at].to_vec();
                return Ok(ReplayBatch { records, replayed: ReplayProgress { ranges, rest, sent } });
            }
            sent += 1;
            records.push(record);
        }
    }
    let sent = records.iter().map(|record| record.key).collect();
    Ok(ReplayBatch { records, replayed: ReplayProgress { ranges, rest: None, sent } })
}
