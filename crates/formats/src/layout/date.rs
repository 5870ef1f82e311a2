//! Dates as the conversion `%d{…}` of a layout writes them: the patterns of Java, and the names that loggers have for some.

use jiff::civil::Time;
use jiff::tz::Offset;

use crate::calendar::{MONTHS, WEEKDAYS, ZONES};

/// A pattern of dates.
#[derive(Debug)]
pub(super) struct DatePattern(Vec<Part>);

/// A part of a date, with its number of digits; 1 for any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Year(usize),
    Month(usize),
    MonthName,
    Day(usize),
    Weekday,
    Hour(usize),
    /// Of twelve, with [`Part::AmPm`].
    HalfDayHour(usize),
    AmPm,
    Minute(usize),
    Second(usize),
    /// That many digits of a second.
    Fraction(usize),
    /// `+01`, `+0100`, `+01:00` or `Z`.
    Offset,
    /// `CET`.
    ZoneName,
    /// `T` or a blank, which loggers write for the same name.
    Separator,
    EpochSeconds,
    EpochMillis,
    Literal(char),
}

/// The values in a date.
#[derive(Debug)]
pub(crate) enum Moment {
    /// Milliseconds since 1970.
    Epoch(i64),
    /// Without a year, the last such day.
    Date {
        year: Option<i16>,
        month: i8,
        day: i8,
        time: Time,
        zone: Option<Offset>,
    },
    TimeOfDay(Time),
}

/// The patterns that loggers have names for. `~` stands for `T` or a blank.
const NAMED: [(&str, &str); 20] = [
    ("", "yyyy-MM-dd~HH:mm:ss,SSS"),
    ("DEFAULT", "yyyy-MM-dd~HH:mm:ss,SSS"),
    ("DEFAULT_MICROS", "yyyy-MM-dd HH:mm:ss,SSSSSS"),
    ("DEFAULT_NANOS", "yyyy-MM-dd HH:mm:ss,SSSSSSSSS"),
    ("DEFAULT_PERIOD", "yyyy-MM-dd HH:mm:ss.SSS"),
    ("ISO8601", "yyyy-MM-dd~HH:mm:ss,SSS"),
    ("ISO8601_PERIOD", "yyyy-MM-dd~HH:mm:ss.SSS"),
    ("ISO8601_PERIOD_MICROS", "yyyy-MM-dd~HH:mm:ss.SSSSSS"),
    ("ISO8601_BASIC", "yyyyMMdd'T'HHmmss,SSS"),
    ("ISO8601_BASIC_PERIOD", "yyyyMMdd'T'HHmmss.SSS"),
    ("ISO8601_OFFSET_DATE_TIME_HH", "yyyy-MM-dd'T'HH:mm:ss,SSSX"),
    ("ISO8601_OFFSET_DATE_TIME_HHMM", "yyyy-MM-dd'T'HH:mm:ss,SSSXX"),
    ("ISO8601_OFFSET_DATE_TIME_HHCMM", "yyyy-MM-dd'T'HH:mm:ss,SSSXXX"),
    ("ABSOLUTE", "HH:mm:ss,SSS"),
    ("ABSOLUTE_PERIOD", "HH:mm:ss.SSS"),
    ("COMPACT", "yyyyMMddHHmmssSSS"),
    ("DATE", "dd MMM yyyy HH:mm:ss,SSS"),
    ("DATE_PERIOD", "dd MMM yyyy HH:mm:ss.SSS"),
    ("US_MONTH_DAY_YEAR4_TIME", "MM/dd/yyyy HH:mm:ss.SSS"),
    ("US_MONTH_DAY_YEAR2_TIME", "MM/dd/yy HH:mm:ss.SSS"),
];

impl DatePattern {
    /// Reads a pattern, such as `yyyy-MM-dd HH:mm:ss,SSS`, or a name, such as `ISO8601`; or says what is not supported.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        match text {
            "UNIX" => return Ok(Self(vec![Part::EpochSeconds])),
            "UNIX_MILLIS" => return Ok(Self(vec![Part::EpochMillis])),
            _ => {}
        }
        let named = NAMED.iter().find(|(name, _)| *name == text).map(|(_, pattern)| *pattern);
        let pattern = Self(parts(named.unwrap_or(text), named.is_some())?);
        pattern.check()?;
        Ok(pattern)
    }

    fn check(&self) -> Result<(), String> {
        let has = |wanted: &[fn(&Part) -> bool]| self.0.iter().any(|part| wanted.iter().any(|is| is(part)));
        let year = has(&[|part| matches!(part, Part::Year(_))]);
        let month = has(&[|part| matches!(part, Part::Month(_) | Part::MonthName)]);
        let day = has(&[|part| matches!(part, Part::Day(_))]);
        let hour = has(&[|part| matches!(part, Part::Hour(_))]);
        let half = has(&[|part| matches!(part, Part::HalfDayHour(_))]);
        let am_pm = has(&[|part| matches!(part, Part::AmPm)]);
        if month != day || (year && !month) {
            return Err("a date needs its month (MM) and its day (dd)".to_owned());
        }
        match (hour, half, am_pm) {
            (false, false, _) => Err("a time needs its hour (HH)".to_owned()),
            (false, true, false) => Err("hours of twelve (hh) need AM or PM (a)".to_owned()),
            _ => Ok(()),
        }
    }

    /// True if times have no date.
    pub(super) fn is_time_of_day(&self) -> bool {
        let has_date = |part: &Part| matches!(part, Part::Day(_) | Part::EpochSeconds | Part::EpochMillis);
        !self.0.iter().any(has_date)
    }

    /// A regular expression for the texts of this pattern.
    pub(super) fn expression(&self) -> String {
        let digits = |count: usize| match count {
            1 => "[0-9]{1,2}".to_owned(),
            count => format!("[0-9]{{{count}}}"),
        };
        let part = |part: &Part| match *part {
            Part::Month(count)
            | Part::Day(count)
            | Part::Hour(count)
            | Part::HalfDayHour(count)
            | Part::Minute(count)
            | Part::Second(count) => digits(count),
            Part::Year(count) | Part::Fraction(count) => format!("[0-9]{{{count}}}"),
            Part::MonthName | Part::Weekday => "[A-Za-z]{3,9}\\.?".to_owned(),
            Part::AmPm => "(?i:[ap]\\.?m\\.?)".to_owned(),
            Part::Offset => "(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)".to_owned(),
            Part::ZoneName => "[A-Z]{1,5}".to_owned(),
            Part::Separator => "[T ]".to_owned(),
            Part::EpochSeconds => "[0-9]{9,11}".to_owned(),
            Part::EpochMillis => "[0-9]{12,14}".to_owned(),
            Part::Literal(letter) => regex::escape(letter.encode_utf8(&mut [0; 4])),
        };
        self.0.iter().map(part).collect()
    }

    /// What a text says that matches [`Self::expression`]; none if there is no such date.
    pub(super) fn read(&self, text: &str) -> Option<Moment> {
        let mut rest = text;
        let (mut year, mut month, mut day, mut zone) = (None, None, None, None);
        let (mut hour, mut half, mut is_pm, mut minute, mut second, mut nanos) = (None, None, false, 0, 0, 0);
        for part in &self.0 {
            // A number of any length ends at the next letter that is none.
            let mut number = |digits: usize| {
                let most = if digits == 1 { 2 } else { digits };
                let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
                let (number, after) = rest.split_at(count);
                rest = after;
                number.parse::<i64>().ok()
            };
            match *part {
                Part::Year(digits) => {
                    let number = number(digits)?;
                    year = Some(i16::try_from(if digits == 2 { number + 2_000 } else { number }).ok()?);
                }
                Part::Month(digits) => month = Some(i8::try_from(number(digits)?).ok()?),
                Part::Day(digits) => day = Some(i8::try_from(number(digits)?).ok()?),
                Part::Hour(digits) => hour = Some(i8::try_from(number(digits)? % 24).ok()?),
                Part::HalfDayHour(digits) => half = Some(i8::try_from(number(digits)? % 12).ok()?),
                Part::Minute(digits) => minute = i8::try_from(number(digits)?).ok()?,
                Part::Second(digits) => second = i8::try_from(number(digits)?.min(59)).ok()?,
                Part::Fraction(digits) => {
                    let scale = 10_i64.checked_pow(9 - u32::try_from(digits).ok()?)?;
                    nanos = i32::try_from(number(digits)? * scale).ok()?;
                }
                Part::EpochSeconds => return number(11).map(|seconds| Moment::Epoch(seconds * 1_000)),
                Part::EpochMillis => return number(14).map(Moment::Epoch),
                Part::MonthName => month = Some(i8::try_from(named(&mut rest, &MONTHS)? + 1).ok()?),
                Part::Weekday => {
                    named(&mut rest, &WEEKDAYS)?;
                }
                Part::AmPm => {
                    let end = rest.find(['m', 'M'])? + 1;
                    is_pm = rest.starts_with(['p', 'P']);
                    rest = rest[end..].strip_prefix('.').unwrap_or(&rest[end..]);
                }
                Part::Offset => {
                    let end = rest.find(|it: char| !(it.is_ascii_digit() || "Z+-:".contains(it))).unwrap_or(rest.len());
                    zone = Some(offset(&rest[..end])?);
                    rest = &rest[end..];
                }
                Part::ZoneName => {
                    let end = rest.find(|it: char| !it.is_ascii_uppercase()).unwrap_or(rest.len());
                    let (_, hours) = ZONES.iter().find(|(name, _)| *name == &rest[..end])?;
                    zone = Some(Offset::from_hours(*hours).ok()?);
                    rest = &rest[end..];
                }
                Part::Separator | Part::Literal(_) => {
                    let mut letters = rest.chars();
                    letters.next()?;
                    rest = letters.as_str();
                }
            }
        }
        let hour = hour.or_else(|| half.map(|half| if is_pm { half + 12 } else { half }))?;
        let time = Time::new(hour, minute, second, nanos).ok()?;
        Some(match (month, day) {
            (Some(month), Some(day)) => Moment::Date { year, month, day, time, zone },
            _ => Moment::TimeOfDay(time),
        })
    }
}

fn parts(pattern: &str, is_named: bool) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\'' {
            if letters.next_if_eq(&'\'').is_some() {
                parts.push(Part::Literal('\''));
                continue;
            }
            loop {
                match letters.next() {
                    Some('\'') if letters.next_if_eq(&'\'').is_none() => break,
                    Some(quoted) => parts.push(Part::Literal(quoted)),
                    None => return Err("a quotation mark (') is not closed".to_owned()),
                }
            }
            continue;
        }
        if letter == '~' && is_named {
            parts.push(Part::Separator);
            continue;
        }
        if !letter.is_ascii_alphabetic() {
            parts.push(Part::Literal(letter));
            continue;
        }
        let mut count = 1;
        while letters.next_if_eq(&letter).is_some() {
            count += 1;
        }
        let digits = count.min(2);
        parts.push(match (letter, count) {
            ('y' | 'u', 2) => Part::Year(2),
            ('y' | 'u', 1 | 3 | 4) => Part::Year(4),
            ('M' | 'L', 1 | 2) => Part::Month(digits),
            ('M' | 'L', 3 | 4) => Part::MonthName,
            ('d', 1 | 2) => Part::Day(digits),
            ('E', 1..=4) => Part::Weekday,
            ('H' | 'k', 1 | 2) => Part::Hour(digits),
            ('h' | 'K', 1 | 2) => Part::HalfDayHour(digits),
            ('a', 1) => Part::AmPm,
            ('m', 1 | 2) => Part::Minute(digits),
            ('s', 1 | 2) => Part::Second(digits),
            ('S' | 'n', 1..=9) => Part::Fraction(count),
            ('X' | 'x', 1..=3) | ('Z', 1..=3 | 5) => Part::Offset,
            ('z', 1..=3) => Part::ZoneName,
            _ => return Err(format!("{} is not supported in a date", letter.to_string().repeat(count))),
        });
    }
    Ok(parts)
}

/// One of these names at the beginning, or what begins with it.
fn named(rest: &mut &str, names: &[&str]) -> Option<usize> {
    let end = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
    let word = rest[..end].to_ascii_lowercase();
    let found = names.iter().position(|name| word.starts_with(name))?;
    *rest = rest[end..].strip_prefix('.').unwrap_or(&rest[end..]);
    Some(found)
}

fn offset(text: &str) -> Option<Offset> {
    if text == "Z" {
        return Some(Offset::UTC);
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let part = |from: usize| digits.get(from..from + 2).and_then(|part| part.parse::<i32>().ok());
    let seconds = part(0)? * 3_600 + part(2).unwrap_or(0) * 60;
    Offset::from_seconds(if text.starts_with('-') { -seconds } else { seconds }).ok()
}
