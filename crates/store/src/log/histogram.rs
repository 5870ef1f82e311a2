//! Counts of the records of a log by time and severity. Messages are not read.

use std::collections::BTreeMap;
use std::ops::Range;

use az::SaturatingAs;
use runlog_model::wire::records::HistogramBody;
use runlog_model::{RecordOrder, RunId, Severity, TimeRange, Timestamp};

use crate::error::Result;
use crate::limits::{self, RECORD_OUTLIER_GAP_MS};
use crate::log::read::scope;
use crate::log::slices::{Scope, Slice, SliceWalk, log_state};
use crate::parts::Logs;
use crate::segment::reader::SegmentFile;

/// The length of the intervals by which gaps between records are detected. Unit: milliseconds.
const PART_MS: i64 = 30 * 86_400_000;

impl Logs {
    /// Counts the records of a run in a range of time, in buckets of equal length. Without a range, the buckets cover the
    /// largest group of records with no gap of more than a year between them: a record dated 1970 does not stretch the
    /// buckets to decades. `NotFound`: no such run.
    pub async fn histogram(&self, run_id: RunId, range: TimeRange, buckets: u64) -> Result<HistogramBody> {
        // Background work: it reads the times of all records.
        Self::new(&self.core.in_background()).histogram_until_stable(run_id, range, buckets).await
    }

    async fn histogram_until_stable(&self, run_id: RunId, range: TimeRange, buckets: u64) -> Result<HistogramBody> {
        loop {
            let (_, mut scope) = scope(&self.core, run_id, range).await?;
            // Records that arrive in the meantime may or may not be counted.
            scope.arrivals = i64::MAX;
            let counted = self.histogram_now(scope, buckets.max(1)).await;
            if log_state(&self.core, run_id, scope.state).await? == scope.state {
                return counted;
            }
        }
    }

    async fn histogram_now(&self, scope: Scope, buckets: u64) -> Result<HistogramBody> {
        let before = match scope.range.start {
            None => 0,
            Some(start) => {
                let before = TimeRange { start: None, end: Some(start.plus_millis(-1)) };
                self.count(Scope { range: before, ..scope }).await?
            }
        };
        let Some((first_ms, last_ms, records)) = self.extent(&scope).await? else {
            return Ok(HistogramBody { start: None, bucket_ms: 1, before, buckets: Vec::new(), estimated: false });
        };
        let is_whole = scope.range == TimeRange::ALL;
        let (first_ms, last_ms, before) = match is_whole && last_ms - first_ms > RECORD_OUTLIER_GAP_MS {
            true => self.without_outliers(scope, (first_ms, last_ms), records).await?,
            false => (first_ms, last_ms, before),
        };
        let bucket_ms = ((last_ms - first_ms).saturating_as::<u64>() + 1).div_ceil(buckets);
        let length = ((last_ms - first_ms).saturating_as::<u64>() / bucket_ms + 1).saturating_as::<usize>();
        let mut tally = BucketCounts { first_ms, last_ms, bucket_ms, buckets: vec![[0; 7]; length] };
        let every = records.div_ceil(limits::HISTOGRAM_RECORDS_MAX).max(1);
        let (mut walk, mut number) = (SliceWalk::new(scope, RecordOrder::Asc), 0);
        while !walk.is_done() {
            for slice in walk.next(&self.core).await? {
                if number % every == 0 {
                    // One slice is the sample for itself and the following slices, which are not read.
                    self.read_times(&slice, |times, severities| tally.add(times, severities, every)).await?;
                }
                number += 1;
            }
        }
        let start = Some(Timestamp::clamped(first_ms));
        Ok(HistogramBody { start, bucket_ms, before, buckets: tally.buckets, estimated: every > 1 })
    }

    /// Returns the first and last time of the largest group of records, and the number of records before the group.
    async fn without_outliers(&self, scope: Scope, extent: (i64, i64), records: u64) -> Result<(i64, i64, u64)> {
        let every = records.div_ceil(limits::HISTOGRAM_RECORDS_MAX).max(1);
        let mut parts: BTreeMap<i64, TimeCluster> = BTreeMap::new();
        let (mut walk, mut number) = (SliceWalk::new(scope, RecordOrder::Asc), 0);
        while !walk.is_done() {
            for slice in walk.next(&self.core).await? {
                // A slice that spans no more than one interval need not be read.
                if slice.last_time - slice.first_time <= PART_MS {
                    TimeCluster::add(
                        &mut parts,
                        slice.first_time,
                        slice.last_time,
                        slice.records.saturating_as::<u64>(),
                    );
                } else if number % every == 0 {
                    let add = |times: &[i64], _: &[Severity]| {
                        times.iter().for_each(|time| TimeCluster::add(&mut parts, *time, *time, 1));
                    };
                    self.read_times(&slice, add).await?;
                }
                number += 1;
            }
        }
        let clusters = TimeCluster::joined(parts.into_values());
        // Of two equally large groups, the later one: clocks that are not set are usually in the past.
        let Some(most) = clusters.iter().max_by_key(|part| (part.records, part.first_ms)) else {
            return Ok((extent.0, extent.1, 0));
        };
        let before = clusters.iter().filter(|part| part.last_ms < most.first_ms).map(|part| part.records).sum();
        Ok((most.first_ms, most.last_ms, before))
    }

    /// Returns the first and last time at which the scope may have records, and their approximate number.
    async fn extent(&self, scope: &Scope) -> Result<Option<(i64, i64, u64)>> {
        let (first, last, records): (Option<i64>, Option<i64>, i64) = sqlx::query_as(
            "SELECT MIN(first_time), MAX(last_time), CAST(COALESCE(SUM(records), 0) AS BIGINT) FROM slices
             WHERE run_id = $1 AND last_time >= $2 AND first_time <= $3",
        )
        .bind(scope.run_id.to_string())
        .bind(scope.range.first_ms())
        .bind(scope.range.last_ms())
        .fetch_one(self.core.catalog().read())
        .await?;
        let (Some(first), Some(last)) = (first, last) else { return Ok(None) };
        // If a range was requested, the buckets cover the whole range, not only the times of the records in it.
        let first = scope.range.start.map_or(first, |start| start.as_millis());
        let last = scope.range.end.map_or(last, |end| end.as_millis());
        Ok((first <= last).then_some((first, last, records.saturating_as::<u64>())))
    }

    /// Reads times and severities of the records of a slice, in chunks.
    async fn read_times(&self, slice: &Slice, mut add: impl FnMut(&[i64], &[Severity])) -> Result<()> {
        let file =
            SegmentFile::open(self.core.segments(), &slice.object_key, slice.segment_bytes.saturating_as::<u64>())
                .await?;
        let end = (slice.first_row + slice.records).saturating_as::<usize>();
        let mut first = slice.first_row.saturating_as::<usize>();
        while first < end {
            let rows: Range<usize> = first..end.min(first + limits::HISTOGRAM_CHUNK_RECORDS);
            first = rows.end;
            let (times, severities) = file.times_and_severities(rows).await?;
            add(&times, &severities);
        }
        Ok(())
    }
}

/// Records that are close in time.
#[derive(Debug, Clone, Copy)]
struct TimeCluster {
    first_ms: i64,
    last_ms: i64,
    records: u64,
}

impl TimeCluster {
    fn add(parts: &mut BTreeMap<i64, Self>, first_ms: i64, last_ms: i64, records: u64) {
        let part = parts.entry(first_ms.div_euclid(PART_MS)).or_insert(Self { first_ms, last_ms, records: 0 });
        part.first_ms = part.first_ms.min(first_ms);
        part.last_ms = part.last_ms.max(last_ms);
        part.records += records;
    }

    /// Merges clusters that are no more than a year apart.
    fn joined(parts: impl Iterator<Item = Self>) -> Vec<Self> {
        let mut joined: Vec<Self> = Vec::new();
        for part in parts {
            match joined.last_mut().filter(|last| part.first_ms - last.last_ms <= RECORD_OUTLIER_GAP_MS) {
                Some(last) => {
                    last.last_ms = last.last_ms.max(part.last_ms);
                    last.records += part.records;
                }
                None => joined.push(part),
            }
        }
        joined
    }
}

struct BucketCounts {
    first_ms: i64,
    last_ms: i64,
    bucket_ms: u64,
    buckets: Vec<[u64; 7]>,
}

impl BucketCounts {
    fn add(&mut self, times: &[i64], severities: &[Severity], weight: u64) {
        for (time, severity) in times.iter().zip(severities) {
            if (self.first_ms..=self.last_ms).contains(time) {
                let bucket = ((time - self.first_ms).saturating_as::<u64>() / self.bucket_ms).saturating_as::<usize>();
                self.buckets[bucket][*severity as usize] += weight;
            }
        }
    }
}
