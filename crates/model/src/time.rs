//! Time: instants in milliseconds, ranges that include both ends, and the injected clock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant, in milliseconds since 1970-01-01T00:00:00Z.
///
/// Written and read as RFC 3339; always between the years 0001 and 9999, so that it always has a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, utoipa::ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2022-10-20T14:20:28.100Z")]
pub struct Timestamp(i64);

/// A length of time in milliseconds; the longest that fits, where it does not.
pub fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// An invalid text or number in place of an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time such as 2021-09-01T07:01:45Z (RFC 3339, between the years 0001 and 9999)")]
pub struct TimeError(String);

impl Timestamp {
    /// 0001-01-01T00:00:00.000Z.
    pub const MIN: Self = Self(-62_135_596_800_000);
    /// 9999-12-30T22:00:00Z, the last whole second that every time zone can name.
    pub const MAX: Self = Self(253_402_207_200_000);

    /// The instant of so many milliseconds since the epoch, if it is between [`Timestamp::MIN`] and [`Timestamp::MAX`].
    pub fn from_millis(epoch_ms: i64) -> Result<Self, TimeError> {
        match (Self::MIN.0..=Self::MAX.0).contains(&epoch_ms) {
            true => Ok(Self(epoch_ms)),
            false => Err(TimeError(epoch_ms.to_string())),
        }
    }

    /// The nearest instant that can be named to so many milliseconds since the epoch.
    pub fn clamped(epoch_ms: i64) -> Self {
        Self(epoch_ms.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This instant moved by so many milliseconds, held inside what can be named.
    pub fn plus_millis(self, ms: i64) -> Self {
        Self::clamped(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this instant; negative when it is the later one.
    pub fn millis_since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// The documented form of the run-log API, `2021-09-01T07:01:45Z`: the fraction is cut off.
    pub fn to_seconds_text(self) -> String {
        format!("{:.0}", self.floor_to_second().jiff())
    }

    /// The text that requests carry: the documented form where it says all, milliseconds where there are some.
    pub fn to_api_text(self) -> String {
        if self.is_whole_second() { self.to_seconds_text() } else { self.to_string() }
    }

    /// This instant without its fraction of a second.
    pub fn floor_to_second(self) -> Self {
        Self(self.0.div_euclid(1000) * 1000)
    }

    /// True when the instant is a whole second.
    pub fn is_whole_second(self) -> bool {
        self.0.rem_euclid(1000) == 0
    }

    fn jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }
}

/// RFC 3339 in UTC with milliseconds, `2021-09-01T07:01:45.123Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.jiff())
    }
}

/// Reads RFC 3339 with whole seconds or fractions, `Z` or an offset. Digits below a millisecond are cut off.
impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        let error = || TimeError(text.chars().take(64).collect());
        let instant: jiff::Timestamp = text.parse().map_err(|_| error())?;
        let floor_ms = instant.as_nanosecond().div_euclid(1_000_000);
        i64::try_from(floor_ms).ok().and_then(|ms| Self::from_millis(ms).ok()).ok_or_else(error)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A range of time that includes both of its ends; an absent end is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct TimeRange {
    /// The earliest instant inside.
    pub start: Option<Timestamp>,
    /// The latest instant inside.
    pub end: Option<Timestamp>,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { start: None, end: None };

    /// The first millisecond inside.
    pub fn first_ms(&self) -> i64 {
        self.start.unwrap_or(Timestamp::MIN).as_millis()
    }

    /// The last millisecond inside.
    pub fn last_ms(&self) -> i64 {
        self.end.unwrap_or(Timestamp::MAX).as_millis()
    }

    /// True when `epoch_ms` is inside.
    pub fn contains(&self, epoch_ms: i64) -> bool {
        self.first_ms() <= epoch_ms && epoch_ms <= self.last_ms()
    }
}

/// The source of the current time.
///
/// The command line injects the clock of the system, tests inject a clock that advances only when it is set.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Timestamp;

    /// The time since a moment, for rates, waits and ages, which must not change when the clock is set.
    ///
    /// A clock that is never set needs only [`Clock::now`].
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.now().as_millis().max(0).unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(text.parse::<Timestamp>().ok().map(|at| at.to_string()).as_deref(), expected, "{text}");
    }

    #[test]
    fn whole_seconds_fractions_and_offsets_are_read() {
        check("2021-09-01T07:01:45Z", Some("2021-09-01T07:01:45.000Z"));
        check("2021-09-01T07:01:45.5Z", Some("2021-09-01T07:01:45.500Z"));
        check("2021-09-01T07:01:45.123999Z", Some("2021-09-01T07:01:45.123Z"));
        check("2021-09-01T09:01:45+02:00", Some("2021-09-01T07:01:45.000Z"));
        check("1969-12-31T23:59:59.9999Z", Some("1969-12-31T23:59:59.999Z"));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "now", "2021-09-01", "2021-09-01T07:01:45", "1614696623123", "2021-13-01T00:00:00Z"] {
            check(text, None);
        }
    }

    #[test]
    fn the_documented_form_has_whole_seconds() {
        let at: Timestamp = "2021-09-01T07:01:45.999Z".parse().unwrap();
        assert_eq!(at.to_seconds_text(), "2021-09-01T07:01:45Z");
    }

    #[test]
    fn the_ends_of_time_have_a_text() {
        for at in [Timestamp::MIN, Timestamp::MAX] {
            assert_eq!(at.to_string().parse(), Ok(at));
        }
        assert!(Timestamp::from_millis(i64::MAX).is_err());
    }

    #[test]
    fn what_lies_beyond_the_ends_of_time_is_refused_or_held_at_them() {
        let (first, last) = (Timestamp::MIN.as_millis(), Timestamp::MAX.as_millis());
        assert_eq!([first, last].map(|ms| Timestamp::from_millis(ms).is_ok()), [true, true]);
        assert_eq!([first - 1, last + 1].map(|ms| Timestamp::from_millis(ms).is_ok()), [false, false]);
        assert_eq!([i64::MIN, i64::MAX].map(Timestamp::clamped), [Timestamp::MIN, Timestamp::MAX]);
        assert_eq!(Timestamp::MAX.plus_millis(i64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.plus_millis(1).as_millis(), first + 1);
        assert_eq!(Timestamp::MAX.millis_since(Timestamp::MIN), last - first);
        assert_eq!([Duration::from_millis(7), Duration::MAX].map(millis), [7, i64::MAX]);
    }

    #[test]
    fn fractions_are_cut_off_on_both_sides_of_the_epoch() {
        for (ms, floor, text) in [
            (1_999, 1_000, "1970-01-01T00:00:01.999Z"),
            (2_000, 2_000, "1970-01-01T00:00:02Z"),
            (-1, -1_000, "1969-12-31T23:59:59.999Z"),
            (-1_000, -1_000, "1969-12-31T23:59:59Z"),
        ] {
            let at = Timestamp::clamped(ms);
            assert_eq!((at.floor_to_second().as_millis(), at.is_whole_second()), (floor, ms == floor));
            assert_eq!(at.to_api_text(), text);
        }
    }

    #[test]
    fn both_ends_of_a_range_are_inside() {
        let at = |ms| Some(Timestamp::clamped(ms));
        let of = |start, end| [4, 5, 6, 7, 8].map(|ms| TimeRange { start, end }.contains(ms));
        assert_eq!(of(at(5), at(7)), [false, true, true, true, false]);
        assert_eq!(of(at(5), None), [false, true, true, true, true]);
        assert_eq!(of(None, at(7)), [true, true, true, true, false]);
        assert_eq!(of(at(7), at(5)), [false; 5]);
        assert!([Timestamp::MIN, Timestamp::MAX].iter().all(|at| TimeRange::ALL.contains(at.as_millis())));
    }
}
