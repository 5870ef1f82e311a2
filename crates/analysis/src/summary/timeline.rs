//! Volume and severity of a log over time: a few hundred equal intervals, regardless of the length of the run.

use std::collections::BTreeMap;

use runlog_model::record::SeverityCounts;
use runlog_model::{Severity, Timestamp};
use serde::{Deserialize, Serialize};

/// Maximum number of intervals of a timeline.
pub const BUCKETS_MAX: usize = 240;

/// Lengths of an interval, each a multiple of the previous one. Unit: milliseconds.
const LENGTHS_MS: [i64; 19] = [
    100,
    500,
    1_000,
    5_000,
    10_000,
    30_000,
    60_000,
    300_000,
    600_000,
    1_800_000,
    3_600_000,
    21_600_000,
    43_200_000,
    86_400_000,
    864_000_000,
    8_640_000_000,
    86_400_000_000,
    864_000_000_000,
    8_640_000_000_000,
];

/// Records by severity in equal intervals of time; intervals without records are omitted.
// The aliases are the names in summaries of earlier versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// Length of an interval. Unit: milliseconds.
    #[serde(alias = "stretchMs")]
    pub bucket_ms: i64,
    /// The intervals with records, earliest first; at most 240.
    #[serde(alias = "stretches")]
    pub buckets: Vec<TimelineBucket>,
}

/// One interval of a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimelineBucket {
    /// Start of the interval.
    pub start: Timestamp,
    /// Number of records by severity: OTHER, TRACE, DEBUG, INFO, WARN, ERROR, FATAL.
    pub severities: SeverityCounts,
}

/// A timeline under construction: it starts with the shortest intervals, and joins them when there are too many. The
/// result does not depend on the order of records.
#[derive(Debug, Default)]
pub(crate) struct TimelineBuilder {
    length: usize,
    buckets: BTreeMap<i64, SeverityCounts>,
    /// The interval of the last record, and the counts not yet added to it: most records are in order.
    latest: Option<(i64, SeverityCounts)>,
}

impl TimelineBuilder {
    pub(crate) fn add(&mut self, time: Timestamp, severity: Severity) {
        let place = self.place_of(time.as_millis());
        match &mut self.latest {
            Some((latest, counts)) if *latest == place => counts.add(severity),
            _ => {
                self.settle_latest();
                self.buckets.entry(place).or_default();
                while self.is_too_long() {
                    self.lengthen();
                }
                let mut counts = SeverityCounts::default();
                counts.add(severity);
                self.latest = Some((self.place_of(time.as_millis()), counts));
            }
        }
    }

    fn settle_latest(&mut self) {
        if let Some((place, counts)) = self.latest.take() {
            self.buckets.entry(place).or_default().add_all(&counts);
        }
    }

    pub(crate) fn finish(mut self) -> Timeline {
        self.settle_latest();
        let bucket_ms = LENGTHS_MS[self.length];
        let bucket = |(place, severities)| TimelineBucket { start: Timestamp::clamped(place * bucket_ms), severities };
        Timeline { bucket_ms, buckets: self.buckets.into_iter().map(bucket).collect() }
    }

    fn place_of(&self, epoch_ms: i64) -> i64 {
        epoch_ms.div_euclid(LENGTHS_MS[self.length])
    }

    fn is_too_long(&self) -> bool {
        let ends = self.buckets.first_key_value().zip(self.buckets.last_key_value());
        let places = ends.map_or(0, |((first, _), (last, _))| last - first + 1);
        places > BUCKETS_MAX as i64 && self.length + 1 < LENGTHS_MS.len()
    }

    fn lengthen(&mut self) {
        let times = LENGTHS_MS[self.length + 1] / LENGTHS_MS[self.length];
        self.length += 1;
        for (place, severities) in std::mem::take(&mut self.buckets) {
            self.buckets.entry(place.div_euclid(times)).or_default().add_all(&severities);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline_of(times: impl IntoIterator<Item = i64>) -> Timeline {
        let mut builder = TimelineBuilder::default();
        times.into_iter().for_each(|ms| builder.add(Timestamp::clamped(ms), Severity::Info));
        builder.finish()
    }

    #[test]
    fn each_length_is_a_multiple_of_the_one_before() {
        assert!(LENGTHS_MS.windows(2).all(|pair| pair[1] % pair[0] == 0));
        let all_of_time = Timestamp::MAX.millis_since(Timestamp::MIN);
        assert!(all_of_time / LENGTHS_MS[LENGTHS_MS.len() - 1] < BUCKETS_MAX as i64);
    }

    #[test]
    fn a_longer_run_has_longer_buckets() {
        let minute = timeline_of((0..60_000).step_by(10));
        assert_eq!((minute.bucket_ms, minute.buckets.len()), (500, 120));
        let day = timeline_of((0..86_400_000).step_by(10_000));
        assert_eq!((day.bucket_ms, day.buckets.len()), (600_000, 144));
        assert_eq!(day.buckets.iter().map(|bucket| bucket.severities.total()).sum::<u64>(), 8_640);
    }

    #[test]
    fn the_ends_of_time_fit() {
        let ends = timeline_of([Timestamp::MIN.as_millis(), 0, Timestamp::MAX.as_millis()]);
        assert_eq!(ends.buckets.len(), 3);
    }

    proptest::proptest! {
        #[test]
        fn the_order_of_records_changes_nothing(mut times in proptest::collection::vec(-10_000_000..10_000_000_000_i64, 0..200)) {
            let forwards = timeline_of(times.iter().copied());
            times.reverse();
            proptest::prop_assert_eq!(timeline_of(times), forwards);
        }
    }
}
