//! The formats of `to_char` for times and intervals, with the patterns of PostgreSQL: `YYYY-MM-DD HH24:MI:SS`.

use std::fmt::Write;

use chrono::{Datelike, NaiveDateTime, Timelike};
use datafusion::arrow::datatypes::IntervalMonthDayNano;

/// Maximum length of a formatted time. Unit: bytes.
const TEXT_BYTES_MAX: usize = 64 << 10;

const ROMAN_MONTHS: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// Width to which names of months and days are padded. Unit: characters.
const NAME_WIDTH: usize = 9;

/// Case-insensitive patterns; of patterns with a common prefix, longer ones first.
const PATTERNS: [&str; 58] = [
    "Y,YYY", "YYYY", "YYY", "YY", "Y", "IYYY", "IYY", "IY", "IDDD", "ID", "IW", "I", "MONTH", "MON", "MM", "MI", "MS",
    "DDD", "DD", "DAY", "DY", "D", "HH24", "HH12", "HH", "SSSSS", "SSSS", "SS", "US", "FF1", "FF2", "FF3", "FF4",
    "FF5", "FF6", "WW", "W", "CC", "J", "Q", "RM", "TZH", "TZM", "TZ", "OF", "A.M.", "P.M.", "AM", "PM", "A.D.",
    "B.C.", "AD", "BC", "FX", "TM", "FM", "SP", "\"",
];

/// The calendar and clock fields to format.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    microsecond: i64,
    /// None for an interval.
    date: Option<NaiveDateTime>,
    has_zone: bool,
}

impl Fields {
    /// Of a time, in UTC if it has a zone.
    pub(super) fn of_time(time: NaiveDateTime, has_zone: bool) -> Self {
        Self {
            year: i64::from(time.year()),
            month: i64::from(time.month()),
            day: i64::from(time.day()),
            hour: i64::from(time.hour()),
            minute: i64::from(time.minute()),
            second: i64::from(time.second()),
            microsecond: i64::from(time.and_utc().timestamp_subsec_micros()),
            date: Some(time),
            has_zone,
        }
    }

    pub(super) fn of_interval(interval: IntervalMonthDayNano) -> Self {
        let us = interval.nanoseconds / 1_000;
        Self {
            year: i64::from(interval.months / 12),
            month: i64::from(interval.months % 12),
            day: i64::from(interval.days),
            hour: us / 3_600_000_000,
            minute: us / 60_000_000 % 60,
            second: us / 1_000_000 % 60,
            microsecond: us % 1_000_000,
            date: None,
            has_zone: false,
        }
    }

    /// Formats the fields. The error is the reason why the format is invalid.
    pub(super) fn format(&self, format: &str) -> Result<String, String> {
        let mut text = String::new();
        let mut rest = format;
        while !rest.is_empty() {
            if text.len() > TEXT_BYTES_MAX {
                return Err("to_char makes a text that is too long".to_owned());
            }
            if let Some(quoted) = rest.strip_prefix('"') {
                rest = quoted_text(quoted, &mut text);
                continue;
            }
            let body = without_prefix(rest);
            let is_plain = body.len() == rest.len();
            let Some(name) = pattern(body).filter(|name| !matches!(*name, "\"" | "FM" | "FX" | "TM")) else {
                let letter = rest.chars().next().unwrap_or_default();
                if is_plain {
                    text.push(letter);
                    rest = &rest[letter.len_utf8()..];
                } else {
                    rest = body;
                }
                continue;
            };
            let (written, after) = body.split_at(name.len());
            let before = text.len();
            self.field(name, written, is_unpadded(rest, body), &mut text)?;
            rest = after;
            for (suffix, is_upper) in [("TH", true), ("th", false)] {
                if rest.starts_with(suffix) {
                    let ordinal = ordinal(&text[before..]);
                    text.push_str(&if is_upper { ordinal.to_uppercase() } else { ordinal.to_owned() });
                    rest = &rest[2..];
                    break;
                }
            }
            rest = rest.strip_prefix("SP").unwrap_or(rest);
        }
        Ok(text)
    }

    fn field(&self, name: &str, written: &str, is_unpadded: bool, text: &mut String) -> Result<(), String> {
        let Self { year, month, day, hour, minute, second, microsecond, .. } = *self;
        let number = |text: &mut String, value: i64, width: usize| {
            let sign = if value < 0 { "-" } else { "" };
            let digits = value.unsigned_abs();
            let written =
                if is_unpadded { write!(text, "{sign}{digits}") } else { write!(text, "{sign}{digits:0width$}") };
            written.unwrap_or_default();
        };
        let hour12 = if hour % 12 == 0 { 12 } else { hour % 12 };
        let calendar =
            || self.date.ok_or_else(|| format!("the pattern {name} of to_char needs a date, not an interval"));
        match name {
            "YYYY" => number(text, year, 4),
            "YYY" => number(text, year % 1_000, 3),
            "YY" => number(text, year % 100, 2),
            "Y" => number(text, year % 10, 1),
            "Y,YYY" => {
                number(text, year / 1_000, 1);
                write!(text, ",{:03}", year % 1_000).unwrap_or_default();
            }
            "IYYY" => number(text, i64::from(calendar()?.iso_week().year()), 4),
            "IYY" => number(text, i64::from(calendar()?.iso_week().year() % 1_000), 3),
            "IY" => number(text, i64::from(calendar()?.iso_week().year() % 100), 2),
            "I" => number(text, i64::from(calendar()?.iso_week().year() % 10), 1),
            "IW" => number(text, i64::from(calendar()?.iso_week().week()), 2),
            "IDDD" => {
                let date = calendar()?;
                let days = (date.iso_week().week() - 1) * 7 + date.weekday().number_from_monday();
                number(text, i64::from(days), 3);
            }
            "ID" => number(text, i64::from(calendar()?.weekday().number_from_monday()), 1),
            "D" => number(text, i64::from(calendar()?.weekday().number_from_sunday()), 1),
            "MM" => number(text, month, 2),
            "DDD" => match self.date {
                Some(date) => number(text, i64::from(date.ordinal()), 3),
                None => number(text, year * 360 + month * 30 + day, 3),
            },
            "DD" => number(text, day, 2),
            "MONTH" | "MON" => {
                word(&calendar()?.format("%B").to_string(), written, name == "MON", is_unpadded, text);
            }
            "DAY" | "DY" => word(&calendar()?.format("%A").to_string(), written, name == "DY", is_unpadded, text),
            "HH24" => number(text, hour, 2),
            "HH12" | "HH" => number(text, hour12, 2),
            "MI" => number(text, minute, 2),
            "SS" => number(text, second, 2),
            "SSSS" | "SSSSS" => number(text, hour * 3_600 + minute * 60 + second, 1),
            "MS" | "FF3" => number(text, microsecond / 1_000, 3),
            "US" | "FF6" => number(text, microsecond, 6),
            "FF1" => number(text, microsecond / 100_000, 1),
            "FF2" => number(text, microsecond / 10_000, 2),
            "FF4" => number(text, microsecond / 100, 4),
            "FF5" => number(text, microsecond / 10, 5),
            "WW" => number(text, i64::from(calendar()?.ordinal0() / 7 + 1), 2),
            "W" => number(text, (calendar()?.day0() / 7 + 1).into(), 1),
            "CC" => number(text, if year > 0 { (year + 99) / 100 } else { year / 100 }, 2),
            "J" => number(text, i64::from(calendar()?.num_days_from_ce()) + 1_721_425, 1),
            "Q" => number(text, (month - 1) / 3 + 1, 1),
            "RM" => {
                let roman = ROMAN_MONTHS[usize::try_from(calendar()?.month0()).unwrap_or(0)];
                let roman = if written.starts_with('R') { roman.to_owned() } else { roman.to_lowercase() };
                let width = if is_unpadded { 0 } else { 4 };
                write!(text, "{roman:width$}").unwrap_or_default();
            }
            "TZ" => text.push_str(match (self.has_zone, written.starts_with('T')) {
                (false, _) => "",
                (true, true) => "UTC",
                (true, false) => "utc",
            }),
            "TZH" | "OF" => text.push_str("+00"),
            "TZM" => text.push_str("00"),
            "AM" | "PM" | "A.M." | "P.M." => half(hour % 24 >= 12, written, text),
            "AD" | "BC" | "A.D." | "B.C." => era(year > 0, written, text),
            _ => {}
        }
        Ok(())
    }
}

/// Copies a text in double quotes; returns what follows it.
fn quoted_text<'f>(quoted: &'f str, text: &mut String) -> &'f str {
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return &quoted[at + 1..],
            '\\' => text.extend(letters.next().map(|(_, letter)| letter)),
            letter => text.push(letter),
        }
    }
    ""
}

/// Returns the part of a format after the prefixes `FM`, `FX` and `TM`.
fn without_prefix(format: &str) -> &str {
    let mut rest = format;
    while let Some(after) = ["FM", "FX", "TM"]
        .iter()
        .find_map(|prefix| rest.get(..2).filter(|begin| begin.eq_ignore_ascii_case(prefix)).map(|_| &rest[2..]))
    {
        rest = after;
    }
    rest
}

/// Whether the prefixes of a pattern remove its padding.
fn is_unpadded(format: &str, body: &str) -> bool {
    let prefixes = &format[..format.len() - body.len()];
    prefixes.as_bytes().chunks(2).any(|prefix| prefix.eq_ignore_ascii_case(b"FM") || prefix.eq_ignore_ascii_case(b"TM"))
}

fn pattern(format: &str) -> Option<&'static str> {
    PATTERNS.into_iter().find(|name| format.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name)))
}

/// A name in the case in which its pattern is written.
fn word(name: &str, written: &str, is_short: bool, is_unpadded: bool, text: &mut String) {
    let name = if is_short { &name[..3] } else { name };
    let mut letters = written.chars();
    let (first, second) = (letters.next().unwrap_or('a'), letters.next().unwrap_or('a'));
    let cased = match (first.is_uppercase(), second.is_uppercase()) {
        (true, true) => name.to_uppercase(),
        (true, false) => name.to_owned(),
        (false, _) => name.to_lowercase(),
    };
    let width = if is_short || is_unpadded { 0 } else { NAME_WIDTH };
    write!(text, "{cased:width$}").unwrap_or_default();
}

fn half(is_afternoon: bool, written: &str, text: &mut String) {
    let letter = if is_afternoon { 'p' } else { 'a' };
    two_letters(letter, 'm', written, text);
}

fn era(is_ours: bool, written: &str, text: &mut String) {
    let (first, second) = if is_ours { ('a', 'd') } else { ('b', 'c') };
    two_letters(first, second, written, text);
}

fn two_letters(first: char, second: char, written: &str, text: &mut String) {
    let shown = if written.contains('.') { format!("{first}.{second}.") } else { format!("{first}{second}") };
    let is_upper = written.starts_with(|letter: char| letter.is_uppercase());
    text.push_str(&if is_upper { shown.to_uppercase() } else { shown });
}

/// The ending of an ordinal number: `st`, `nd`, `rd` or `th`.
pub(super) fn ordinal(number: &str) -> &'static str {
    let digits: Vec<u8> = number.bytes().filter(u8::is_ascii_digit).collect();
    match digits.as_slice() {
        [.., b'1', _] => "th",
        [.., b'1'] => "st",
        [.., b'2'] => "nd",
        [.., b'3'] => "rd",
        _ => "th",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(format: &str, expected: &str) {
        let date = chrono::NaiveDate::from_ymd_opt(2026, 3, 1).unwrap();
        let time = date.and_hms_micro_opt(17, 8, 9, 123_456).unwrap();
        assert_eq!(Fields::of_time(time, true).format(format).as_deref(), Ok(expected), "{format}");
    }

    /// The expected texts are those of PostgreSQL.
    #[test]
    fn times_are_formatted_as_in_postgresql() {
        check("YYYY-MM-DD HH24:MI:SS.MS", "2026-03-01 17:08:09.123");
        check("Dy, DD Mon YYYY HH12:MI AM", "Sun, 01 Mar 2026 05:08 PM");
        check(
            "Month Day|FMMonth FMDay|MONTH DAY MON DY|month day mon dy",
            "March     Sunday   |March Sunday|MARCH     SUNDAY    MAR SUN|march     sunday    mar sun",
        );
        check("YY Y,YYY YYY Y W WW IW CC J Q D ID IDDD", "26 2,026 026 6 1 09 09 21 2461101 1 1 7 063");
        check("SSSS SSSSS US am pm A.M. p.m. AD b.c.", "61689 61689 123456 pm pm P.M. p.m. AD a.d.");
        check("DDth FMDDth DDTH TZ tz OF TZH TZM RM rm", "01st 1st 01ST UTC utc +00 +00 00 III  iii ");
        check("YYYY-MM-DD\"T\"HH24:MI \"a \\\" b\" xyz", "2026-03-01T17:08 a \" b x6z");
        check("FF1 FF2 FF4 FF5 FF6 DDD HH", "1 12 1234 12345 123456 060 05");
    }

    #[test]
    fn intervals_are_formatted_as_in_postgresql() {
        let interval = IntervalMonthDayNano::new(14, 3, 26 * 3_600_000_000_000 + 61_000_000_000);
        let format = |format| Fields::of_interval(interval).format(format);
        assert_eq!(format("YYYY MM DD HH24:MI:SS").as_deref(), Ok("0001 02 03 26:01:01"));
        assert!(format("Day").is_err());
    }
}
