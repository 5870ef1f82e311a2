//! Gaps in a log: the longest periods without a record, and the records before and after.

use std::cmp::Reverse;

use runlog_model::{Record, Timestamp};
use serde::{Deserialize, Serialize};

use crate::first_line::first_line_of;

/// Maximum number of gaps.
pub(crate) const GAPS_MAX: usize = 10;

/// Maximum number of characters of a message in a gap.
const MESSAGE_CHARS_MAX: usize = 200;

/// A period in which nothing was logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlowGap {
    /// Time of the record before it.
    pub start: Timestamp,
    /// Its duration. Unit: milliseconds.
    pub duration_ms: i64,
    /// First line of the record before it.
    pub before: String,
    /// First line of the record after it.
    pub after: String,
}

/// Collects the longest gaps of a log from its records, in order.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    /// The longest first, then the earliest.
    longest: Vec<SlowGap>,
    previous: Option<(Timestamp, String)>,
}

impl Gaps {
    pub(crate) fn add(&mut self, record: &Record) {
        if let Some((start, before)) = &self.previous {
            let duration_ms = record.time.millis_since(*start);
            if duration_ms > self.shortest_kept() {
                let gap = SlowGap {
                    start: *start,
                    duration_ms,
                    before: before.clone(),
                    after: first_line(record).to_owned(),
                };
                let place = self.longest.partition_point(|other| rank(other) <= rank(&gap));
                self.longest.insert(place, gap);
                self.longest.truncate(GAPS_MAX);
            }
        }
        let (time, text) = self.previous.get_or_insert_with(|| (record.time, String::new()));
        *time = record.time;
        text.clear();
        text.push_str(first_line(record));
    }

    pub(crate) fn finish(self) -> Vec<SlowGap> {
        self.longest
    }

    /// A gap must be longer than this to be kept.
    fn shortest_kept(&self) -> i64 {
        self.longest.get(GAPS_MAX - 1).map_or(0, |gap| gap.duration_ms)
    }
}

fn rank(gap: &SlowGap) -> (Reverse<i64>, Timestamp) {
    (Reverse(gap.duration_ms), gap.start)
}

/// Returns the first line of a record's message that is not blank, truncated.
pub(crate) fn first_line(record: &Record) -> &str {
    let line = first_line_of(record.message.as_deref().unwrap_or_default());
    if line.len() <= MESSAGE_CHARS_MAX {
        return line;
    }
    line.char_indices().nth(MESSAGE_CHARS_MAX).map_or(line, |(end, _)| &line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps_of(times: &[i64]) -> Vec<(i64, i64)> {
        let mut gaps = Gaps::default();
        for ms in times {
            let mut record = Record::at(Timestamp::clamped(*ms));
            record.message = Some(format!("\nat {ms}\nmore"));
            gaps.add(&record);
        }
        gaps.finish().iter().map(|gap| (gap.start.as_millis(), gap.duration_ms)).collect()
    }

    #[test]
    fn the_longest_come_first_and_the_earlier_of_equal_ones() {
        assert_eq!(gaps_of(&[0, 10, 10, 15, 25, 100]), [(25, 75), (0, 10), (15, 10), (10, 5)]);
    }

    #[test]
    fn a_first_line_is_what_lines_says() {
        for message in ["", "a", "a\r", "a\r\nb", "\n \n\tb\nc", " \u{a0}\nb", "\r\n\r\n", "é\n", "\u{2003}x"] {
            let expected = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            assert_eq!(first_line_of(message), expected, "{message:?}");
        }
    }

    #[test]
    fn no_more_than_ten_are_kept() {
        let times: Vec<i64> = (0..50).map(|n| n * n).collect();
        let gaps = gaps_of(&times);
        assert_eq!((gaps.len(), gaps[0], gaps[9]), (10, (48 * 48, 97), (39 * 39, 79)));
    }

    #[test]
    fn a_gap_says_what_stood_around_it() {
        let mut gaps = Gaps::default();
        for (ms, text) in [(0, "reading"), (9, "read")] {
            gaps.add(&Record { message: Some(text.to_owned()), ..Record::at(Timestamp::clamped(ms)) });
        }
        let gap = gaps.finish().remove(0);
        assert_eq!((gap.before.as_str(), gap.after.as_str()), ("reading", "read"));
    }
}
