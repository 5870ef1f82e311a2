//! A point in time as a person writes it.

use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, Zoned};
use runlog_model::Timestamp;

use crate::render::preferences::zone;

/// What an error says is allowed.
const FORMS: &str = "a time such as 2026-11-29T12:00:00Z, 2026-11-29, '2026-11-29 13:30', 13:30, today, yesterday, now, \
                     or a distance from now such as 2d, 12h or 1h 30m";

/// A point in time: RFC 3339, a date, a time of day, a word, or a distance from now. Those without an offset are in the
/// zone of `--tz`.
#[derive(Debug, Clone)]
pub(crate) enum Moment {
    /// So far from now, in the direction that the argument implies.
    Away(Span),
    /// This time.
    At(Timestamp),
    /// This time in the zone.
    Local(DateTime),
    /// This time of today in the zone.
    Today(Time),
    /// This day in the zone.
    Day(Date),
    /// So many days before today in the zone.
    DaysAgo(i64),
}

impl Moment {
    /// The time, if distances lie before now; of a day, its beginning.
    pub(crate) fn before(&self, now: Timestamp) -> Timestamp {
        let now = zoned(now);
        match self {
            Self::Away(distance) => resolved(&now, now.checked_sub(*distance)),
            Self::At(time) => *time,
            Self::Local(time) => resolved(&now, time.to_zoned(now.time_zone().clone())),
            Self::Today(time) => resolved(&now, now.date().to_datetime(*time).to_zoned(now.time_zone().clone())),
            Self::Day(date) => resolved(&now, date.to_zoned(now.time_zone().clone())),
            Self::DaysAgo(days) => resolved(&now, days_ago(&now, *days)),
        }
    }

    /// The same; of a day, its last millisecond.
    pub(crate) fn through(&self, now: Timestamp) -> Timestamp {
        let here = zoned(now);
        match self {
            Self::Day(date) => last_of_day(&here, date.to_zoned(here.time_zone().clone())),
            Self::DaysAgo(days) => last_of_day(&here, days_ago(&here, *days)),
            _ => self.before(now),
        }
    }

    /// The time, if distances lie after now.
    pub(crate) fn after(&self, now: Timestamp) -> Timestamp {
        match self {
            Self::Away(distance) => {
                let now = zoned(now);
                resolved(&now, now.checked_add(*distance))
            }
            _ => self.before(now),
        }
    }
}

fn zoned(now: Timestamp) -> Zoned {
    // The times of this program are a part of those of the library.
    jiff::Timestamp::from_millisecond(now.as_millis()).unwrap_or_default().to_zoned(zone())
}

fn days_ago(now: &Zoned, days: i64) -> Result<Zoned, jiff::Error> {
    now.start_of_day()?.checked_sub(Span::new().try_days(days)?)
}

fn last_of_day(now: &Zoned, day: Result<Zoned, jiff::Error>) -> Timestamp {
    resolved(now, day.and_then(|day| day.tomorrow()?.start_of_day())).plus_millis(-1)
}

/// A time; one that is out of bounds is as far away as times go.
fn resolved(now: &Zoned, time: Result<Zoned, jiff::Error>) -> Timestamp {
    time.map_or_else(
        |_| Timestamp::clamped(now.timestamp().as_millisecond()),
        |time| Timestamp::clamped(time.timestamp().as_millisecond()),
    )
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "now" => return Ok(Self::Away(Span::new())),
            "today" => return Ok(Self::DaysAgo(0)),
            "yesterday" => return Ok(Self::DaysAgo(1)),
            _ => {}
        }
        if let Some(distance) = distance_of(text) {
            return Ok(Self::Away(distance));
        }
        let time = text
            .parse()
            .map(Self::At)
            .ok()
            .or_else(|| is_date(text).then(|| text.parse().map(Self::Day).ok()).flatten())
            .or_else(|| is_time(text).then(|| text.parse().map(Self::Today).ok()).flatten())
            .or_else(|| text.parse().map(Self::Local).ok());
        time.ok_or_else(|| format!("{text:?} is not {FORMS}"))
    }
}

/// `2d`, `-2d`, `2 days ago`: zero or more.
fn distance_of(text: &str) -> Option<Span> {
    let text = text.strip_prefix('-').unwrap_or(text);
    let text = text.strip_suffix("ago").map_or(text, str::trim_end);
    // An ISO 8601 duration is nothing that a person writes, and a number alone has no unit.
    text.starts_with(|first: char| first.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn is_date(text: &str) -> bool {
    text.len() == 10
}

fn is_time(text: &str) -> bool {
    text.as_bytes().get(2) == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-29T12:30:00Z";

    #[track_caller]
    fn check(text: &str, before: &str, through: &str) {
        let now = NOW.parse().unwrap();
        let moment: Moment = text.parse().unwrap();
        assert_eq!((moment.before(now).to_string(), moment.through(now).to_string()), (before.into(), through.into()));
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, time) in [
            ("2026-11-28T01:00:00+01:00", "2026-11-28T00:00:00.000Z"),
            ("2026-11-28 13:30", "2026-11-28T13:30:00.000Z"),
            ("2026-11-28T13:30:15.250", "2026-11-28T13:30:15.250Z"),
            ("07:45", "2026-11-29T07:45:00.000Z"),
            ("now", "2026-11-29T12:30:00.000Z"),
            ("3d", "2026-11-26T12:30:00.000Z"),
            ("-3d", "2026-11-26T12:30:00.000Z"),
            ("2 days ago", "2026-11-27T12:30:00.000Z"),
            ("2w", "2026-11-15T12:30:00.000Z"),
            ("1h 30m", "2026-11-29T11:00:00.000Z"),
            ("1mo", "2026-10-29T12:30:00.000Z"),
        ] {
            check(text, time, time);
        }
    }

    #[test]
    fn a_day_includes_its_last_millisecond() {
        check("2026-11-24", "2026-11-24T00:00:00.000Z", "2026-11-24T23:59:59.999Z");
        check("today", "2026-11-29T00:00:00.000Z", "2026-11-29T23:59:59.999Z");
        check("Yesterday", "2026-11-28T00:00:00.000Z", "2026-11-28T23:59:59.999Z");
    }

    #[test]
    fn relative_times_point_to_the_future_where_that_is_meant() {
        let now: Timestamp = NOW.parse().unwrap();
        assert_eq!("1d".parse::<Moment>().unwrap().after(now).to_string(), "2026-11-30T12:30:00.000Z");
        assert_eq!("2026-11-30".parse::<Moment>().unwrap().after(now).to_string(), "2026-11-30T00:00:00.000Z");
    }

    #[test]
    fn an_invalid_time_is_reported_with_the_accepted_forms() {
        for text in ["", "soon", "3", "PT1H", "--3d", "2026-13-01", "25:00", "1795434850000"] {
            let error = text.parse::<Moment>().unwrap_err();
            assert!(error.contains("2026-11-29T12:00:00Z") && error.contains("2d"), "{text}: {error}");
        }
    }
}
