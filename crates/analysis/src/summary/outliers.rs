//! Records dated far away from the others of their log: by a clock that was not set (1970), or one that is centuries
//! ahead. They are reported separately, so that a single one does not reduce a timeline to two bars and cause a gap of
//! decades.

use runlog_model::{Record, Severity, Timestamp};
use runlog_store::limits::RECORD_OUTLIER_GAP_MS;
use serde::{Deserialize, Serialize};

use super::gaps::{Gaps, SlowGap};
use super::timeline::{Timeline, TimelineBuilder};

/// Maximum number of groups of outliers; further ones are counted with the last.
pub(crate) const OUTLIERS_MAX: usize = 10;

/// Records that are dated more than a year away from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outlier {
    /// The earliest of these times.
    pub first: Timestamp,
    /// The latest of these times.
    pub last: Timestamp,
    /// Number of items.
    pub records: u64,
}

/// The distribution of a log over time, for the main group of records and for outliers.
#[derive(Debug, Default)]
pub(crate) struct OverTime {
    /// The largest complete group.
    most: Option<Cluster>,
    /// The group of the latest record.
    current: Option<Cluster>,
    /// The earliest first.
    outliers: Vec<Outlier>,
}

/// A group of records that are close in time.
#[derive(Debug)]
struct Cluster {
    extent: Outlier,
    timeline: TimelineBuilder,
    gaps: Gaps,
}

impl OverTime {
    /// Adds the next record of the log.
    pub(crate) fn add(&mut self, record: &Record, severity: Severity) {
        let time = record.time;
        if self.current.as_ref().is_some_and(|current| current.is_apart_from(time)) {
            self.complete();
        }
        let current = self.current.get_or_insert_with(|| Cluster {
            extent: Outlier { first: time, last: time, records: 0 },
            timeline: TimelineBuilder::default(),
            gaps: Gaps::default(),
        });
        current.extent.first = current.extent.first.min(time);
        current.extent.last = current.extent.last.max(time);
        current.extent.records += 1;
        current.timeline.add(time, severity);
        current.gaps.add(record);
    }

    /// Completes the current group. Of groups of equal size, the later one is the main group, because unset clocks show
    /// earlier times.
    fn complete(&mut self) {
        let Some(current) = self.current.take() else { return };
        let is_most = self.most.as_ref().is_none_or(|most| current.extent.records >= most.extent.records);
        let other = if is_most { self.most.replace(current).map(|most| most.extent) } else { Some(current.extent) };
        let Some(other) = other else { return };
        let is_full = self.outliers.len() == OUTLIERS_MAX;
        match self.outliers.last_mut().filter(|_| is_full) {
            None => self.outliers.push(other),
            Some(last) => {
                last.first = last.first.min(other.first);
                last.last = last.last.max(other.last);
                last.records += other.records;
            }
        }
    }

    pub(crate) fn finish(mut self) -> (Timeline, Vec<SlowGap>, Vec<Outlier>) {
        self.complete();
        self.outliers.sort_unstable_by_key(|outlier| (outlier.first, outlier.last));
        match self.most {
            Some(most) => (most.timeline.finish(), most.gaps.finish(), self.outliers),
            None => (TimelineBuilder::default().finish(), Vec::new(), self.outliers),
        }
    }
}

impl Cluster {
    fn is_apart_from(&self, time: Timestamp) -> bool {
        time.millis_since(self.extent.last) > RECORD_OUTLIER_GAP_MS
            || self.extent.first.millis_since(time) > RECORD_OUTLIER_GAP_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_435_200_000;

    fn told(times: &[i64]) -> (usize, Vec<i64>, Vec<(i64, i64, u64)>) {
        let mut over_time = OverTime::default();
        times.iter().for_each(|ms| over_time.add(&Record::at(Timestamp::clamped(*ms)), Severity::Info));
        let (timeline, gaps, outliers) = over_time.finish();
        let outliers = outliers.iter().map(|it| (it.first.as_millis(), it.last.as_millis(), it.records)).collect();
        (timeline.buckets.len(), gaps.iter().map(|gap| gap.duration_ms).collect(), outliers)
    }

    #[test]
    fn outliers_of_1970_and_2300_are_separated() {
        let far = 10_413_792_000_000;
        let (buckets, gaps, outliers) = told(&[0, 5, NOW, NOW + 10_000, NOW + 60_000, far]);
        assert_eq!(outliers, [(0, 5, 2), (far, far, 1)]);
        assert_eq!((buckets, gaps), (3, vec![50_000, 10_000]), "as if they were not there");
    }

    #[test]
    fn a_long_run_has_no_outliers() {
        let month = 30 * 86_400_000;
        assert_eq!(told(&[NOW, NOW + month, NOW + 12 * month]).2, []);
    }

    #[test]
    fn of_two_times_with_as_many_records_the_later_is_the_log() {
        assert_eq!(told(&[0, NOW]).2, [(0, 0, 1)]);
    }

    #[test]
    fn a_log_of_every_century_is_bounded_and_whole() {
        let times: Vec<i64> = (0..80).map(|century| century * 3_155_760_000_000).collect();
        let (_, _, outliers) = told(&times);
        assert_eq!(outliers.len(), OUTLIERS_MAX);
        assert_eq!(outliers.iter().map(|outlier| outlier.2).sum::<u64>(), 79);
    }
}
