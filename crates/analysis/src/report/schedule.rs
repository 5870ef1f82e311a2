//! Predicts when a task starts, based on its earlier starts, and determines whether it is late.
//!
//! | rule | for tasks | expected | late |
//! |---|---|---|---|
//! | clock | that start at the same times of day | where they started on most comparable days: the same kind of day (Monday to Friday, or weekend) lately, or the same day of the week | after the latest of those starts and the grace |
//! | interval within hours | that run more often than every 12 hours | an interval after the last start, if there were starts at that time of day on most comparable days | after three intervals |
//! | interval | that run less often, at equal intervals | the longest interval after the last start | after a tenth of the interval |
//!
//! If several rules apply, the one that is late first counts. A task to which none applies is irregular, and never
//! late.
//!
//! All computations use the local time of a zone, as milliseconds since 1970 in local time: a task that starts at the
//! same time of day does so even if clocks are set forward or back.

use runlog_model::{LogZone, Timestamp};

/// The period before the last start in which starts are considered. Unit: milliseconds.
const HISTORY_MS: i64 = 28 * DAY_MS;

/// Maximum number of starts of a task that are needed: one every five minutes for ten days.
pub const STARTS_MAX: u64 = 3_000;

/// The period from which starts are needed, long enough for a task that runs once a month. Unit: milliseconds.
pub const STARTS_LOOK_BACK_MS: i64 = 400 * DAY_MS;

/// Minimum number of intervals between starts for a prediction.
const INTERVALS_MIN: usize = 5;

/// Number of latest intervals that must be equal.
const INTERVALS_COMPARED: usize = 30;

/// Maximum difference between the times of day of starts on different days. Unit: milliseconds.
const SCATTER_MS: i64 = 30 * MINUTE_MS;

/// Maximum time after a start in which the clock rule expects no other start. Unit: milliseconds.
const PAUSE_MS_MAX: i64 = 120 * MINUTE_MS;

/// Times of day are compared in steps. Unit: milliseconds.
const STEP_MS: i64 = 5 * MINUTE_MS;

/// Number of days after the last start in which the next one is predicted; includes every day of the week.
const DAYS_AHEAD: i64 = 8;

/// Tasks whose usual interval is shorter may run in some hours of the day only. Unit: milliseconds.
const OFTEN_MS: i64 = DAY_MS / 2;

/// Number of latest days of the same kind that are considered.
const LATELY_DAYS: usize = 5;

/// Minimum numbers of days for a prediction.
const WORKDAYS_MIN: usize = 4;
const WEEKEND_DAYS_MIN: usize = 2;
const WEEKS_MIN: usize = 3;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// An expected start that has not occurred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingStart {
    /// The last start.
    pub last: Timestamp,
    /// When the next one was expected.
    pub expected: Timestamp,
    /// The usual interval between starts: the median. Unit: milliseconds.
    pub usual_ms: i64,
}

/// Returns the missing start of a task, if it is late. `starts` are its starts, newest first.
pub fn missing_start(starts: &[Timestamp], now: Timestamp, zone: &LogZone, grace_ms: i64) -> Option<MissingStart> {
    let intervals: Vec<i64> = starts.windows(2).map(|pair| pair[0].millis_since(pair[1])).collect();
    if intervals.len() < INTERVALS_MIN {
        return None;
    }
    let last = *starts.first()?;
    let since = last.plus_millis(-HISTORY_MS);
    let mut on_clock: Vec<i64> = starts.iter().filter(|start| **start >= since).map(|it| shown(*it, zone)).collect();
    on_clock.sort_unstable();
    let habit = Habit { starts: on_clock, grace_ms };
    let mut sorted = intervals.clone();
    sorted.sort_unstable();
    let usual_ms = sorted[sorted.len() / 2];
    let pause_ms = (sorted[sorted.len() / 4] / 2).clamp(SCATTER_MS, PAUSE_MS_MAX);
    let by_interval = match usual_ms < OFTEN_MS {
        true => habit.by_interval_within_hours(usual_ms),
        false => habit.by_equal_intervals(usual_ms, &intervals[..intervals.len().min(INTERVALS_COMPARED)]),
    };
    let until = shown(now, zone).min(by_interval.map_or(i64::MAX, |next| next.late_from));
    let next = habit.by_clock(pause_ms, until).into_iter().chain(by_interval).min_by_key(|next| next.late_from)?;
    let is_late = now >= instant(next.late_from, zone);
    is_late.then(|| MissingStart { last, expected: instant(next.expected, zone), usual_ms })
}

/// Returns the local time of a zone.
fn shown(at: Timestamp, zone: &LogZone) -> i64 {
    LogZone::default().instant(zone.civil(at)).map_or(at.as_millis(), |shown| shown.time.as_millis())
}

/// Returns the instant of a local time of a zone.
fn instant(shown: i64, zone: &LogZone) -> Timestamp {
    let shown = Timestamp::clamped(shown);
    zone.instant(LogZone::default().civil(shown)).map_or(shown, |at| at.time)
}

/// The next expected start, in local time.
#[derive(Debug, Clone, Copy)]
struct Next {
    expected: i64,
    late_from: i64,
}

/// The starts of a task, in local time, in order.
struct Habit {
    starts: Vec<i64>,
    grace_ms: i64,
}

/// The starts on the preceding days, latest day first: their difference from the time of day, or none without a start.
#[derive(Default)]
struct Days {
    /// On days of the same kind: Monday to Friday, or weekend.
    alike: Vec<Option<i64>>,
    /// On the same day of the week.
    weekly: Vec<Option<i64>>,
}

impl Habit {
    fn last(&self) -> i64 {
        self.starts.last().copied().unwrap_or(i64::MAX)
    }

    /// Returns the first start that the clock rule expects up to a time.
    fn by_clock(&self, pause_ms: i64, until: i64) -> Option<Next> {
        let mut times: Vec<i64> =
            self.starts.iter().map(|start| start.rem_euclid(DAY_MS) / STEP_MS * STEP_MS).collect();
        times.sort_unstable();
        times.dedup();
        let first_day = self.last().div_euclid(DAY_MS);
        let all =
            (first_day..=first_day + DAYS_AHEAD).flat_map(|day| times.iter().map(move |time| day * DAY_MS + time));
        all.filter(|at| *at > self.last() + pause_ms).take_while(|at| *at <= until).find_map(|at| {
            let days = self.days_before(at, (SCATTER_MS, SCATTER_MS));
            if !days.is_habit(at) {
                return None;
            }
            let latest = days.alike.iter().chain(&days.weekly).flatten().max()?;
            Some(Next { expected: at + latest, late_from: at + latest + self.grace_ms })
        })
    }

    /// Returns the expectation of the rule for intervals within hours: late three intervals after the last start, if
    /// the task usually runs at that time of day.
    fn by_interval_within_hours(&self, usual_ms: i64) -> Option<Next> {
        let late_from = self.last() + (3 * usual_ms).max(usual_ms + self.grace_ms);
        let days = self.days_before(late_from, (usual_ms * 3 / 2, SCATTER_MS));
        (days.alike.is_empty() || is_most(&days.alike, LATELY_DAYS))
            .then_some(Next { expected: self.last() + usual_ms, late_from })
    }

    /// Returns the expectation of the rule for equal intervals: late a little more than the longest interval after the
    /// last start.
    fn by_equal_intervals(&self, usual_ms: i64, intervals: &[i64]) -> Option<Next> {
        let longest = *intervals.iter().max()?;
        let expected = self.last() + longest;
        (2 * longest <= 3 * usual_ms)
            .then_some(Next { expected, late_from: expected + (usual_ms / 10).max(self.grace_ms) })
    }

    /// Returns the starts on the preceding days at the same time of day, from `before_ms` before to `after_ms` after
    /// it.
    fn days_before(&self, at: i64, (before_ms, after_ms): (i64, i64)) -> Days {
        let first = self.starts.first().copied().unwrap_or(i64::MAX);
        let mut days = Days::default();
        let mut back = 0;
        loop {
            back += 1;
            let center = at - back * DAY_MS;
            if center + after_ms < first {
                return days;
            }
            // Days after the last start provide no information.
            if center > self.last() {
                continue;
            }
            let found = self.nearest(center, before_ms, after_ms);
            if is_weekend(center) == is_weekend(at) {
                days.alike.push(found);
            }
            if back % 7 == 0 {
                days.weekly.push(found);
            }
        }
    }

    /// Returns the difference of the start nearest to a time, from `before_ms` before to `after_ms` after it.
    fn nearest(&self, center: i64, before_ms: i64, after_ms: i64) -> Option<i64> {
        let begin = self.starts.partition_point(|start| *start < center - before_ms);
        let around = self.starts[begin..].iter().take_while(|start| **start <= center + after_ms);
        around.map(|start| start - center).min_by_key(|from_center| from_center.abs())
    }
}

impl Days {
    /// True if a start is expected at this time.
    fn is_habit(&self, at: i64) -> bool {
        let days_min = if is_weekend(at) { WEEKEND_DAYS_MIN } else { WORKDAYS_MIN };
        // A task that does not run on this day of the week did not run on it last week either.
        let is_daily = self.alike.len() >= days_min
            && is_most(&self.alike, LATELY_DAYS)
            && self.weekly.first().is_none_or(Option::is_some);
        // A daily task that did not start at this time on the last two days has moved to another time.
        let (lately, earlier) = self.alike.split_at(self.alike.len().min(2));
        let has_moved = lately.iter().all(Option::is_none) && is_most(earlier, usize::MAX);
        is_daily || self.weekly.len() >= WEEKS_MIN && is_most(&self.weekly, usize::MAX) && !has_moved
    }
}

/// True if there was a start on at least three quarters of the latest days.
fn is_most(days: &[Option<i64>], lately: usize) -> bool {
    let days = &days[..days.len().min(lately)];
    !days.is_empty() && 4 * days.iter().flatten().count() >= 3 * days.len()
}

/// 1 January 1970 was a Thursday.
fn is_weekend(shown: i64) -> bool {
    (shown.div_euclid(DAY_MS) + 3).rem_euclid(7) >= 5
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE_MS: i64 = 15 * MINUTE_MS;

    fn zone(name: &str) -> LogZone {
        name.parse().unwrap()
    }

    /// Returns an instant in the local time of Berlin.
    fn berlin(text: &str) -> Timestamp {
        runlog_model::LogTime::read_text(text, &zone("Europe/Berlin")).unwrap().time
    }

    /// The starts of a task on these days, each `yyyy-mm-dd`, at times of these days; newest first.
    fn starts(days: &[String], times: &[&str]) -> Vec<Timestamp> {
        let mut all: Vec<Timestamp> =
            days.iter().flat_map(|day| times.iter().map(move |time| berlin(&format!("{day}T{time}")))).collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        all
    }

    /// Days of November 2026, of which the first is a Sunday.
    fn november(days: impl IntoIterator<Item = u32>) -> Vec<String> {
        days.into_iter().map(|day| format!("2026-11-{day:02}")).collect()
    }

    fn workdays() -> Vec<String> {
        november((2..=27).filter(|day| !matches!((day - 1) % 7, 0 | 6)))
    }

    /// Returns the expected time of the start that is missing at `now`, in the local time of Berlin; none if the task
    /// is not late.
    fn missing(starts: &[Timestamp], now: &str) -> Option<String> {
        let missing = missing_start(starts, berlin(now), &zone("Europe/Berlin"), GRACE_MS)?;
        Some(zone("Europe/Berlin").civil(missing.expected).to_string())
    }

    #[track_caller]
    fn check(starts: &[Timestamp], not_late: &str, late: &str, expected: &str) {
        assert_eq!(missing(starts, not_late), None, "not late yet");
        assert_eq!(missing(starts, late).as_deref(), Some(expected));
    }

    #[test]
    fn a_daily_task_is_late_soon_after_its_time_of_day() {
        let twelve = starts(&november(9..=20), &["02:00:10"]);
        check(&twelve, "2026-11-21T02:15:00", "2026-11-21T02:15:10", "2026-11-21T02:00:10");
        let mut scattered = starts(&november(9..=19), &["02:00"]);
        scattered[3] = berlin("2026-11-16T02:20");
        check(&scattered, "2026-11-20T02:34", "2026-11-20T02:35", "2026-11-20T02:20:00");
    }

    #[test]
    fn a_task_of_office_hours_is_not_late_at_night_and_at_weekends() {
        let hours: Vec<String> = (8..=18).map(|hour| format!("{hour:02}:00")).collect();
        let hours: Vec<&str> = hours.iter().map(String::as_str).collect();
        let all = starts(&workdays(), &hours);
        assert_eq!(all[0], berlin("2026-11-27T18:00"), "a Friday");
        check(&all, "2026-11-30T08:14", "2026-11-30T08:15", "2026-11-30T08:00:00");
        check(&all[4..], "2026-11-27T15:14", "2026-11-27T15:15", "2026-11-27T15:00:00");
    }

    #[test]
    fn a_task_of_workdays_is_not_late_at_weekends() {
        check(&starts(&workdays(), &["06:30"]), "2026-11-30T06:44", "2026-11-30T06:45", "2026-11-30T06:30:00");
        let but_mondays: Vec<String> = november((2..=27).filter(|day| !matches!((day - 1) % 7, 0 | 1 | 6)));
        check(&starts(&but_mondays, &["06:30"]), "2026-12-01T06:44", "2026-12-01T06:45", "2026-12-01T06:30:00");
    }

    #[test]
    fn a_task_of_every_five_minutes_is_late_after_some_intervals_within_its_hours() {
        let minutes: Vec<String> =
            (8 * 12..18 * 12).map(|step| format!("{:02}:{:02}", step / 12, step % 12 * 5)).collect();
        let minutes: Vec<&str> = minutes.iter().map(String::as_str).collect();
        let all = starts(&workdays(), &minutes);
        check(&all, "2026-11-30T08:14", "2026-11-30T08:15", "2026-11-30T08:00:00");
        let until_noon: Vec<Timestamp> = all.into_iter().filter(|at| *at <= berlin("2026-11-27T12:00")).collect();
        check(&until_noon, "2026-11-27T12:19", "2026-11-27T12:20", "2026-11-27T12:05:00");
        let new = starts(&november([27]), &minutes);
        check(&new, "2026-11-27T18:14", "2026-11-27T18:15", "2026-11-27T18:00:00");
    }

    #[test]
    fn a_weekly_task_is_late_on_its_day() {
        let weekly: Vec<Timestamp> =
            (0..6).map(|week| berlin("2026-11-23T05:00").plus_millis(-7 * week * DAY_MS)).collect();
        check(&weekly, "2026-11-30T05:14", "2026-11-30T05:15", "2026-11-30T05:00:00");
    }

    #[test]
    fn a_monthly_task_is_late_after_its_longest_interval() {
        let monthly: Vec<Timestamp> =
            ["11", "10", "09", "08", "07", "06", "05"].map(|month| berlin(&format!("2026-{month}-01T04:00"))).to_vec();
        check(&monthly, "2026-12-05T07:00", "2026-12-05T08:00", "2026-12-02T05:00:00");
    }

    #[test]
    fn an_irregular_task_is_never_late() {
        let mut numbers = 7_u64;
        let mut at = berlin("2026-11-27T12:00");
        let irregular: Vec<Timestamp> = (0..25)
            .map(|_| {
                numbers = numbers.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                at = at.plus_millis(-((numbers >> 33) as i64 % (3 * DAY_MS)));
                at
            })
            .collect();
        for hours in 0..24 * 14 {
            let now = irregular[0].plus_millis(hours * 60 * MINUTE_MS);
            assert_eq!(missing_start(&irregular, now, &LogZone::default(), GRACE_MS), None, "after {hours} h");
        }
    }

    #[test]
    fn a_task_that_was_moved_to_another_hour_is_expected_there_after_some_days() {
        let moved = |days: u32| {
            let mut all = starts(&november(23..23 + days), &["09:00"]);
            all.extend(starts(&november(1..=22), &["02:00"]));
            all
        };
        assert!(missing(&moved(0), "2026-11-23T02:15").is_some());
        assert!(missing(&moved(1), "2026-11-24T02:15").is_some(), "it may have been an exception");
        assert_eq!(missing(&moved(2), "2026-11-25T02:15"), None);
        assert_eq!(missing(&moved(4), "2026-11-27T02:15"), None);
        assert!(missing(&moved(8), "2026-12-01T09:15").is_some());
    }

    #[test]
    fn a_task_that_starts_by_the_clock_is_not_late_when_clocks_are_set() {
        let october: Vec<String> = (5..=24).map(|day| format!("2026-10-{day:02}")).collect();
        check(&starts(&october, &["03:30"]), "2026-10-25T03:44", "2026-10-25T03:45", "2026-10-25T03:30:00");
        let march: Vec<String> = (8..=28).map(|day| format!("2026-03-{day:02}")).collect();
        check(&starts(&march, &["03:30"]), "2026-03-29T03:44", "2026-03-29T03:45", "2026-03-29T03:30:00");
        let of_night = starts(&march, &["02:30"]);
        check(&of_night, "2026-03-29T03:44", "2026-03-29T03:45", "2026-03-29T03:30:00");
    }
}
