//! Where a page of a run's log ends.
//!
//! A page is the newest part of the requested range. It is cut so that a client that only follows the guide, sending
//! the header back as the end of its next request, receives each record once (decision 0001).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::word::WordError;

/// Most records one page holds.
///
/// Unit: records. Source: "Fetching run logs periodically", the 206 case.
pub const PAGE_RECORDS_MAX: u64 = 100_000;

/// Where a page of a run's log ends, and whether an older page exists.
///
/// Pages arrive newest first: the next request keeps its start and takes `next_end` as its end, which is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageEnd {
    /// 200: this page reaches the start of the range.
    Complete,
    /// 206: older records remain, up to `next_end` (header `X-Log-Next-Request-End-Time`).
    Partial {
        /// The latest instant of the next page.
        next_end: Timestamp,
    },
}

impl PageEnd {
    /// The header's text: whole seconds in the documented form, milliseconds only where the cut needs them.
    pub fn next_end_text(self) -> Option<String> {
        match self {
            Self::Complete => None,
            Self::Partial { next_end } => Some(next_end.to_api_text()),
        }
    }
}

/// A page: how many records it holds and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageCut {
    /// Records in the page.
    pub records: u64,
    /// Whether an older page exists.
    pub end: PageEnd,
}

/// Finds where a page ends, from the times of a run's records, newest first.
///
/// The cut is the smallest whole second T for which at most `records_max` records are later than T; when one
/// second alone holds more, it is the smallest such millisecond; when one millisecond alone holds more, the page
/// is that millisecond whole, so that there is progress.
#[derive(Debug, Clone)]
pub struct PageCutter {
    records_max: u64,
    records: u64,
    current: Option<Timestamp>,
    /// Records later than the current instant.
    before_instant: u64,
    /// The last whole second that can be a cut, and the records later than it.
    whole_second: Option<(i64, u64)>,
}

impl PageCutter {
    /// A page of at most so many records; at least 1.
    pub fn new(records_max: u64) -> Self {
        Self { records_max: records_max.max(1), records: 0, current: None, before_instant: 0, whole_second: None }
    }

    /// Skips records that are in the page; the instants that may contain its cut are still to come.
    pub fn pass(&mut self, records: u64) {
        if records > 0 {
            *self = Self { records: self.records + records, ..Self::new(self.records_max) };
        }
    }

    /// How many more records the page may have.
    pub fn room(&self) -> u64 {
        self.records_max.saturating_sub(self.records)
    }

    /// Takes `count` records of one instant, none later than those taken before; returns the cut once it is certain.
    pub fn take(&mut self, instant: Timestamp, count: u64) -> Option<PageCut> {
        if let Some(last) = self.current.filter(|last| *last != instant) {
            if second_before(last) != second_before(instant) {
                self.whole_second = Some((second_before(last), self.records));
            }
            if self.records > self.records_max {
                // One millisecond alone was more than a page: it is given whole.
                return Some(PageCut::partial(self.records, instant));
            }
            self.before_instant = self.records;
        }
        if self.records + count > self.records_max {
            match self.whole_second {
                Some((second, records)) => {
                    return Some(PageCut::partial(records, Timestamp::clamped(second * 1000)));
                }
                None if self.before_instant > 0 => return Some(PageCut::partial(self.before_instant, instant)),
                None => {}
            }
        }
        self.current = Some(instant);
        self.records += count;
        None
    }

    /// The page when there are no older records.
    pub fn complete(self) -> PageCut {
        PageCut { records: self.records, end: PageEnd::Complete }
    }
}

impl PageCut {
    fn partial(records: u64, next_end: Timestamp) -> Self {
        Self { records, end: PageEnd::Partial { next_end } }
    }
}

/// The whole second T whose page would start with this instant: the latest second that is before it.
fn second_before(instant: Timestamp) -> i64 {
    (instant.as_millis() - 1).div_euclid(1000)
}

/// The form of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum FileFormat {
    /// One JSON array of records, one record a line.
    #[default]
    Json,
    /// Human-readable lines: see [`crate::text`].
    Text,
}

impl FileFormat {
    /// The media type of such a file.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
        }
    }
}

/// The order of the records in a file or a live page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordOrder {
    /// Newest first: by time, then by arrival, both descending.
    #[default]
    Desc,
    /// Oldest first: by time, then by arrival.
    Asc,
}

/// Any case is read.
impl FromStr for FileFormat {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match text.to_ascii_uppercase().as_str() {
            "JSON" => Ok(Self::Json),
            "TEXT" => Ok(Self::Text),
            _ => Err(WordError::new(text, "JSON, TEXT")),
        }
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::Text => "TEXT",
        })
    }
}

/// Any case is read.
impl FromStr for RecordOrder {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match text.to_ascii_uppercase().as_str() {
            "DESC" => Ok(Self::Desc),
            "ASC" => Ok(Self::Asc),
            _ => Err(WordError::new(text, "DESC, ASC")),
        }
    }
}

impl fmt::Display for RecordOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Desc => "DESC",
            Self::Asc => "ASC",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// `times_ms` ascending; `step` records of an instant are taken at a time.
    fn cut_in_steps(times_ms: &[i64], records_max: u64, step: u64) -> PageCut {
        let mut counts = BTreeMap::<i64, u64>::new();
        times_ms.iter().for_each(|ms| *counts.entry(*ms).or_default() += 1);
        let mut cutter = PageCutter::new(records_max);
        for (ms, mut count) in counts.into_iter().rev() {
            while count > 0 {
                let taken = count.min(step);
                if let Some(page) = cutter.take(Timestamp::clamped(ms), taken) {
                    return page;
                }
                count -= taken;
            }
        }
        cutter.complete()
    }

    fn cut(times_ms: &[i64], records_max: u64) -> PageCut {
        let page = cut_in_steps(times_ms, records_max, 1);
        assert_eq!(page, cut_in_steps(times_ms, records_max, u64::MAX));
        page
    }

    #[track_caller]
    fn check(times_ms: &[i64], records_max: u64, records: u64, header: Option<&str>) {
        let page = cut(times_ms, records_max);
        assert_eq!((page.records, page.end.next_end_text().as_deref()), (records, header));
    }

    #[test]
    fn a_log_that_fits_is_complete() {
        check(&[], 2, 0, None);
        check(&[1000, 2000], 2, 2, None);
    }

    #[test]
    fn the_cut_is_a_whole_second() {
        check(&[500, 1500, 2500, 3500], 2, 2, Some("1970-01-01T00:00:02Z"));
        // A record at the very second belongs to the older page, because the end of a range is inside it.
        check(&[500, 2000, 2500, 3500], 2, 2, Some("1970-01-01T00:00:02Z"));
        check(&[500, 2000, 2000, 2500], 2, 1, Some("1970-01-01T00:00:02Z"));
    }

    #[test]
    fn one_full_second_is_cut_at_a_millisecond() {
        check(&[1100, 1200, 1300], 2, 2, Some("1970-01-01T00:00:01.100Z"));
    }

    #[test]
    fn one_full_millisecond_is_given_whole() {
        check(&[1100, 1200, 1200, 1200], 2, 3, Some("1970-01-01T00:00:01.100Z"));
        check(&[1200, 1200, 1200], 2, 3, None);
    }

    #[test]
    fn records_that_are_passed_count_like_those_that_are_taken() {
        let mut cutter = PageCutter::new(5);
        cutter.pass(3);
        assert_eq!(cutter.room(), 2);
        cutter.pass(1);
        assert_eq!(cutter.room(), 1);
        assert_eq!(cutter.take(Timestamp::clamped(1_500), 1), None);
        let next_end = Timestamp::clamped(1_000);
        assert_eq!(cutter.take(Timestamp::clamped(500), 1), Some(PageCut::partial(5, next_end)));
    }

    #[test]
    fn to_pass_no_records_changes_nothing() {
        let mut cutter = PageCutter::new(2);
        assert_eq!(cutter.take(Timestamp::clamped(1_500), 1), None);
        cutter.pass(0);
        assert_eq!(cutter.take(Timestamp::clamped(500), 1), None);
        assert_eq!(cutter.take(Timestamp::clamped(400), 1), Some(PageCut::partial(1, Timestamp::clamped(1_000))));
    }

    #[test]
    fn a_page_has_room_for_one_record_at_least() {
        let mut cutter = PageCutter::new(0);
        assert_eq!(cutter.room(), 1);
        assert_eq!(cutter.take(Timestamp::clamped(1_500), 3), None);
        assert_eq!(cutter.room(), 0);
        assert_eq!(cutter.complete(), PageCut { records: 3, end: PageEnd::Complete });
    }

    #[test]
    fn formats_and_orders_are_read_as_they_are_written() {
        for format in [FileFormat::Json, FileFormat::Text] {
            assert_eq!(format.to_string().to_lowercase().parse(), Ok(format));
            assert_eq!(serde_json::json!(format), format.to_string());
        }
        for order in [RecordOrder::Desc, RecordOrder::Asc] {
            assert_eq!(order.to_string().to_lowercase().parse(), Ok(order));
            assert_eq!(serde_json::json!(order), order.to_string());
        }
        assert!("XML".parse::<FileFormat>().is_err() && "UP".parse::<RecordOrder>().is_err());
        assert_eq!(FileFormat::Json.content_type(), "application/json");
        assert!(FileFormat::Text.content_type().starts_with("text/plain"));
    }

    proptest! {
        /// A client that sends the header back as the next end gets each record once, whatever the log.
        #[test]
        fn pages_are_exact(mut times_ms in prop::collection::vec(0..5_000_i64, 0..200), records_max in 1..50_u64) {
            times_ms.sort_unstable();
            let all = times_ms.clone();
            let mut pages = Vec::new();
            loop {
                let page = cut(&times_ms, records_max);
                let rest = times_ms.len() - page.records as usize;
                pages.splice(0..0, times_ms.drain(rest..));
                let PageEnd::Partial { next_end } = page.end else { break };
                prop_assert!(page.records > 0);
                let header: Timestamp = page.end.next_end_text().unwrap().parse().unwrap();
                prop_assert_eq!(header, next_end);
                prop_assert!(times_ms.iter().all(|ms| *ms <= header.as_millis()));
                prop_assert!(pages.iter().all(|ms| *ms > header.as_millis()));
            }
            prop_assert_eq!(pages, all);
        }

        /// A client that cuts the header down to whole seconds loses nothing, as long as no second is more than a page.
        #[test]
        fn a_client_that_drops_fractions_loses_nothing(
            mut times_ms in prop::collection::vec(0..20_000_i64, 0..200),
            records_max in 1..50_u64,
        ) {
            times_ms.sort_unstable();
            let second = |ms: &i64| (ms - 1).div_euclid(1000);
            let in_second = |one: i64| times_ms.iter().filter(|ms| second(ms) == one).count() as u64;
            prop_assume!(times_ms.iter().all(|ms| in_second(second(ms)) <= records_max));
            let all = times_ms.clone();
            let mut pages = Vec::new();
            loop {
                let page = cut(&times_ms, records_max);
                let rest = times_ms.len() - page.records as usize;
                pages.splice(0..0, times_ms.drain(rest..));
                let Some(header) = page.end.next_end_text() else { break };
                let without_fraction: Timestamp = format!("{}Z", &header[..19]).parse().unwrap();
                times_ms.retain(|ms| *ms <= without_fraction.as_millis());
            }
            prop_assert_eq!(pages, all);
        }

        /// What whole seconds cost: of two pages that follow each other, at least one is more than half full.
        #[test]
        fn two_pages_together_hold_more_than_one_could(
            mut times_ms in prop::collection::vec(0..8_000_i64, 0..300),
            records_max in 1..60_u64,
        ) {
            times_ms.sort_unstable();
            // A page that ends at a whole second may be followed by one that holds a part of a second that fits into
            // none; then it takes three.
            let is_large = |second: &[i64]| second.len() as u64 > records_max;
            let pages_together =
                if times_ms.chunk_by(|a, b| a / 1_000 == b / 1_000).any(is_large) { 3 } else { 2 };
            let mut sizes = Vec::new();
            loop {
                let page = cut(&times_ms, records_max);
                times_ms.truncate(times_ms.len() - page.records as usize);
                if page.end == PageEnd::Complete {
                    break;
                }
                sizes.push(page.records);
            }
            for together in sizes.windows(pages_together) {
                prop_assert!(together.iter().sum::<u64>() > records_max, "{sizes:?} of {records_max}");
            }
        }
    }
}
