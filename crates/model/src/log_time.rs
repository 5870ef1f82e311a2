//! Times as logs write them: numbers of any unit since 1970, and texts with or without a zone.

use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::temporal::{DateTimeParser, PiecesOffset};
use jiff::tz::TimeZone;
use serde_json::{Number, Value};

use crate::Timestamp;

/// The longest text that can be a time. Unit: bytes.
const TEXT_BYTES_MAX: usize = 64;

/// Number of digits that are considered: those of nanoseconds until the year 9999, and as many after the decimal point.
const DIGITS_MAX: usize = 32;

const NANOS_PER_MS: i128 = 1_000_000;

/// A time of a log: the millisecond that records are kept by, and how far behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogTime {
    /// The millisecond.
    pub time: Timestamp,
    /// Nanoseconds after it, below 1,000,000. They order records of one millisecond and are not kept.
    pub nanos: u32,
}

/// The zone of times that name none. The default is UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogZone(TimeZone);

/// An invalid name of a time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time zone: use UTC, an offset such as +02:00, or a name such as Europe/Berlin")]
pub struct ZoneError(String);

impl Default for LogZone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl From<TimeZone> for LogZone {
    fn from(zone: TimeZone) -> Self {
        Self(zone)
    }
}

impl From<LogZone> for TimeZone {
    fn from(zone: LogZone) -> Self {
        zone.0
    }
}

impl LogZone {
    /// The instant at which clocks of this zone show a date and time; none outside of the years that an instant can
    /// name.
    ///
    /// A time that clocks skip or show twice, when they are set forward or back, is read as most programs do: with the
    /// offset before.
    pub fn instant(&self, at: DateTime) -> Option<LogTime> {
        LogTime::from_nanos(self.0.to_timestamp(at).ok()?.as_nanosecond())
    }

    /// The date and time that clocks of this zone show at an instant.
    pub fn civil(&self, at: Timestamp) -> DateTime {
        let at = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        self.0.to_datetime(at)
    }
}

impl FromStr for LogZone {
    type Err = ZoneError;

    fn from_str(text: &str) -> Result<Self, ZoneError> {
        let error = || ZoneError(text.chars().take(64).collect());
        if text.eq_ignore_ascii_case("UTC") || text.eq_ignore_ascii_case("Z") {
            return Ok(Self(TimeZone::UTC));
        }
        match text.starts_with(['+', '-']) {
            true => DateTimeParser::new().parse_time_zone(text).map(Self).map_err(|_| error()),
            false => TimeZone::get(text).map(Self).map_err(|_| error()),
        }
    }
}

impl Timestamp {
    /// The instant of a number of seconds, milliseconds, microseconds or nanoseconds since 1970, integer or not; none
    /// outside of the years that an instant can name.
    ///
    /// The unit shows in the size: as seconds a number up to 10^11 (the year 5138), as milliseconds up to 10^14 (the
    /// year 5138, from 1973 on), as microseconds up to 10^17 (likewise), as nanoseconds above.
    pub fn from_epoch(number: &Number) -> Option<Self> {
        LogTime::from_epoch(number).map(|at| at.time)
    }
}

impl LogTime {
    /// As [`Timestamp::from_epoch`], with what is below the millisecond.
    pub fn from_epoch(number: &Number) -> Option<Self> {
        // The shortest representation of a float is what was written, although its binary value may differ slightly.
        match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => from_decimal(&format!("{float}")),
            None => from_decimal(&number.to_string()),
        }
    }

    /// So many nanoseconds since 1970.
    pub fn from_nanos(epoch_ns: i128) -> Option<Self> {
        let ms = i64::try_from(epoch_ns.div_euclid(NANOS_PER_MS)).ok()?;
        let nanos = u32::try_from(epoch_ns.rem_euclid(NANOS_PER_MS)).ok()?;
        Some(Self { time: Timestamp::from_millis(ms).ok()?, nanos })
    }

    /// A time in any form used in logs: a number as parsed by [`Timestamp::from_epoch`], also as text; RFC 3339; and
    /// its variants with a space or a comma, with slashes or without any separator, and without a time zone, for which
    /// `zone` is used.
    ///
    /// A number whose digits are a date and a time of day, such as `20210421152911`, is that date: as a number since
    /// 1970 it would be of a year after 2500.
    pub fn read(value: &Value, zone: &LogZone) -> Option<Self> {
        match value {
            Value::Number(number) => from_compact(&number.to_string(), zone).or_else(|| Self::from_epoch(number)),
            Value::String(text) => Self::read_text(text, zone),
            _ => None,
        }
    }

    /// Reads a time from a text.
    pub fn read_text(text: &str, zone: &LogZone) -> Option<Self> {
        let text = text.trim();
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        from_compact(text, zone).or_else(|| from_decimal(text)).or_else(|| from_civil(text, zone))
    }
}

/// Years in which a date without separators is believed; outside of them it is a number like any other.
const COMPACT_YEARS: std::ops::RangeInclusive<i16> = 1970..=2199;

/// A date and a time of day without separators, `yyyymmddhhmmss`, with up to nine digits of a fraction behind it or
/// behind a point.
fn from_compact(text: &str, zone: &LogZone) -> Option<LogTime> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if whole.len() == 14 => (whole, fraction),
        Some(_) => return None,
        // Milliseconds, microseconds or nanoseconds.
        None if [14, 17, 20, 23].contains(&text.len()) => text.split_at_checked(14)?,
        None => return None,
    };
    if fraction.len() > 9 || !(whole.bytes().chain(fraction.bytes())).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| whole.get(from..to)?.parse::<i8>().ok();
    let year: i16 = whole.get(..4)?.parse().ok()?;
    let date = Date::new(year, part(4, 6)?, part(6, 8)?).ok().filter(|_| COMPACT_YEARS.contains(&year))?;
    let nanos: i32 = format!("{fraction:0<9}").parse().ok()?;
    let time = Time::new(part(8, 10)?, part(10, 12)?, part(12, 14)?, nanos).ok()?;
    LogTime::from_nanos(zone.0.to_timestamp(DateTime::from_parts(date, time)).ok()?.as_nanosecond())
}

/// A date with a time of day, and a zone where it names one.
fn from_civil(text: &str, zone: &LogZone) -> Option<LogTime> {
    let (text, is_utc) = match text.strip_suffix("UTC").or_else(|| text.strip_suffix("GMT")) {
        Some(before) => (before.trim_end(), true),
        None => (text, false),
    };
    // The parser accepts neither a space before an offset nor slashes.
    let text = match text.rsplit_once(' ') {
        Some((before, offset)) if offset.starts_with(['+', '-']) => format!("{before}{offset}"),
        _ => text.to_owned(),
    };
    let date: String = text.chars().take(10).map(|it| if it == '/' { '-' } else { it }).collect();
    let text = format!("{date}{}", text.chars().skip(10).collect::<String>());
    let pieces = DateTimeParser::new().parse_pieces(&text).ok()?;
    let at = DateTime::from_parts(pieces.date(), pieces.time()?);
    // The zone in brackets (RFC 9557). A time in a zone that is not known is none, unless it has an offset, too.
    let named = pieces.to_time_zone();
    let instant = match (pieces.offset(), named) {
        (Some(PiecesOffset::Zulu), _) => TimeZone::UTC.to_timestamp(at),
        (Some(PiecesOffset::Numeric(offset)), _) => offset.offset().to_timestamp(at),
        (Some(_), _) => return None,
        (None, Ok(Some(named))) => named.to_timestamp(at),
        (None, Err(_)) => return None,
        (None, Ok(None)) if is_utc => TimeZone::UTC.to_timestamp(at),
        (None, Ok(None)) => zone.0.to_timestamp(at),
    };
    LogTime::from_nanos(instant.ok()?.as_nanosecond())
}

/// A decimal number of seconds, or of what its size shows.
fn from_decimal(text: &str) -> Option<LogTime> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let digits: String = [whole, fraction].concat();
    // The value is 0.digits * 10^point.
    let mut point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let significant = digits.trim_start_matches('0');
    point = point.checked_sub(i32::try_from(digits.len() - significant.len()).ok()?)?;
    let significant = &significant[..significant.len().min(DIGITS_MAX)];
    if significant.is_empty() {
        return LogTime::from_nanos(0);
    }
    let power = match point {
        ..=11 => 9,
        12..=14 => 6,
        15..=17 => 3,
        18..=21 => 0,
        _ => return None,
    };
    let mantissa: i128 = significant.parse().ok()?;
    let shift = point.checked_add(power)?.checked_sub(i32::try_from(significant.len()).ok()?)?;
    let nanos = match u32::try_from(shift) {
        Ok(shift) => mantissa.checked_mul(10_i128.checked_pow(shift)?)?.checked_mul(sign)?,
        // Fractions of a nanosecond are truncated, towards the past.
        Err(_) => match 10_i128.checked_pow(shift.unsigned_abs()) {
            Some(divisor) => (mantissa * sign).div_euclid(divisor),
            None => 0,
        },
    };
    LogTime::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read_in(zone: &str, value: impl Into<Value>) -> Option<(i64, u32)> {
        let zone = zone.parse().unwrap();
        LogTime::read(&value.into(), &zone).map(|at| (at.time.as_millis(), at.nanos))
    }

    #[track_caller]
    fn check(value: impl Into<Value>, expected: Option<(i64, u32)>) {
        let value = value.into();
        assert_eq!(read_in("UTC", value.clone()), expected, "{value}");
    }

    const AT: i64 = 1_619_018_951_115;

    #[test]
    fn numbers_are_read_by_their_size_whatever_they_are_written_as() {
        check(1_619_018_951, Some((1_619_018_951_000, 0)));
        check(AT, Some((AT, 0)));
        check(1_619_018_951_115.0, Some((AT, 0)));
        check(1_619_018_951.115_25, Some((AT, 250_000)));
        check(1_619_018_951_115_250_i64, Some((AT, 250_000)));
        check(1_619_018_951_115_250.0, Some((AT, 250_000)));
        check(1_619_018_951_115_250_123_i64, Some((AT, 250_123)));
        check("1619018951.115", Some((AT, 0)));
        check("1619018951115", Some((AT, 0)));
        check("1.619018951115E12", Some((AT, 0)));
        check(" 1619018951115250123 ", Some((AT, 250_123)));
        check(0, Some((0, 0)));
        check(-1.5, Some((-1_500, 0)));
        check("-0.0000005", Some((-1, 999_500)));
    }

    #[test]
    fn what_no_year_can_name_is_no_time() {
        for value in [json!(f64::MAX), json!("-9e25"), json!("1e300"), json!("-1e22"), json!(true), json!("")] {
            check(value, None);
        }
        check(u64::MAX, Some((18_446_744_073_709, 551_615)));
        check(i64::MIN, Some((-9_223_372_036_855, 224_192)));
        check(f64::MIN_POSITIVE, Some((0, 0)));
        check("9".repeat(65), None);
        for text in ["soon", "NaN", "inf", "1_0", "1.2.3", "0x10", "+", "12e", "2021-04-21", "2021-13-01 00:00:00"] {
            check(text, None);
        }
    }

    #[test]
    fn texts_are_read_with_a_comma_a_space_slashes_and_any_offset() {
        for text in [
            "2021-04-21T15:29:11.115Z",
            "2021-04-21 15:29:11,115",
            "2021-04-21T15:29:11,115",
            "20210421T152911,115",
            "2021/04/21 15:29:11.115",
            "2021-04-21T17:29:11.115+02:00",
            "2021-04-21T17:29:11.115+0200",
            "2021-04-21 17:29:11,115 +0200",
            "2021-04-21 15:29:11,115 UTC",
        ] {
            check(text, Some((AT, 0)));
        }
        check("2021-04-21T15:29:11.115250123Z", Some((AT, 250_123)));
    }

    /// It was read as a time in UTC.
    #[test]
    fn a_zone_in_brackets_is_the_zone_of_the_time() {
        check("2021-04-21T17:29:11.115[Europe/Berlin]", Some((AT, 0)));
        check("2021-04-21 10:29:11,115[-05:00]", Some((AT, 0)));
        check("2021-04-21T17:29:11.115+02:00[Europe/Berlin]", Some((AT, 0)));
        check("2021-04-21T17:29:11.115+02:00[Europe/Nowhere]", Some((AT, 0)));
        check("2021-04-21T15:29:11.115[u-ca=gregory]", Some((AT, 0)));
        check("2021-04-21T17:29:11.115[Europe/Nowhere]", None);
    }

    #[test]
    fn a_date_without_separators_is_a_date_and_no_number_of_milliseconds() {
        let second = AT - 115;
        check("20210421152911", Some((second, 0)));
        check(20_210_421_152_911_i64, Some((second, 0)));
        check(20_210_421_152_911.0, Some((second, 0)));
        check("20210421152911115", Some((AT, 0)));
        check(20_210_421_152_911_115_i64, Some((AT, 0)));
        check("20210421152911.115", Some((AT, 0)));
        check("20210421152911115250", Some((AT, 250_000)));
        check("20210421152911115250123", Some((AT, 250_123)));
        assert_eq!(read_in("+02:00", "20210421172911"), Some((second, 0)));
        // Digits that are not a date are a number: milliseconds of a far year.
        check("20211321152911", Some((20_211_321_152_911, 0)));
        check("20210421252911", Some((20_210_421_252_911, 0)));
        check("99990421152911", Some((99_990_421_152_911, 0)));
        check("2021042115.2911", Some((2_021_042_115_291, 100_000)));
    }

    #[test]
    fn the_zone_of_zoneless_times_is_a_setting() {
        assert_eq!(read_in("+02:00", "2021-04-21 17:29:11,115"), Some((AT, 0)));
        assert_eq!(read_in("+02:00", "2021-04-21T15:29:11.115Z"), Some((AT, 0)), "it names its own");
        assert!("Middle/Earth".parse::<LogZone>().is_err());
    }

    proptest! {
        #[test]
        fn every_unit_and_form_of_an_instant_is_the_same_instant(ms in 300_000_000_000_i64..4_000_000_000_000) {
            let expected = Some((ms, 0));
            prop_assert_eq!(read_in("UTC", ms), expected);
            prop_assert_eq!(read_in("UTC", ms * 1_000), expected);
            prop_assert_eq!(read_in("UTC", ms * 1_000_000), expected);
            prop_assert_eq!(read_in("UTC", ms as f64), expected);
            prop_assert_eq!(read_in("UTC", ms as f64 / 1_000.0), expected);
            prop_assert_eq!(read_in("UTC", (ms * 1_000) as f64), expected);
            prop_assert_eq!(read_in("UTC", format!("{ms}")), expected);
            prop_assert_eq!(read_in("UTC", format!("{}.{:03}", ms / 1_000, ms % 1_000)), expected);
            prop_assert_eq!(read_in("UTC", Timestamp::clamped(ms).to_string()), expected);
        }

        #[test]
        fn no_number_and_no_text_breaks_it(int in any::<i64>(), float in any::<f64>(), text in "[-+0-9eE.:T ,/Z]{0,40}") {
            for value in [json!(int), json!(float), json!(text), json!(format!("{float}")), json!(format!("{float:e}"))] {
                let _ = read_in("UTC", value);
            }
        }
    }
}
