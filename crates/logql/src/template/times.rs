//! Times of templates, with the layouts of Go: `2006-01-02T15:04:05.000Z07:00`.

use std::fmt::Write;

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Letters of the short names of months and days.
const SHORT_NAME: usize = 3;

/// An instant, and the zone in which it is shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Time {
    second: i64,
    nanosecond: u32,
    zone: Zone,
}

#[derive(Debug, Clone, PartialEq)]
enum Zone {
    Utc,
    Named(TimeZone),
    /// Seconds east of Greenwich, and an abbreviation.
    Fixed(i32, String),
}

/// The date and time that clocks of a zone show.
struct Clock {
    local: DateTime,
    offset_seconds: i32,
    abbreviation: String,
}

impl Time {
    /// Returns the result for a text that does not match a layout: January 1 of the year 1.
    pub(super) fn zero() -> Self {
        Self::of_seconds(-62_135_596_800)
    }

    pub(super) fn of_seconds(second: i64) -> Self {
        Self { second, nanosecond: 0, zone: Zone::Utc }
    }

    pub(super) fn of_nanoseconds(ns: i64) -> Self {
        let nanosecond = u32::try_from(ns.rem_euclid(1_000_000_000)).unwrap_or(0);
        Self { second: ns.div_euclid(1_000_000_000), nanosecond, zone: Zone::Utc }
    }

    /// Seconds since the epoch.
    pub(super) fn second(&self) -> i64 {
        self.second
    }

    /// Returns the time since the epoch in fractions of a second. Wraps around outside the representable range, as in
    /// Go.
    pub(super) fn parts(&self, per_second: i64) -> i64 {
        let nanoseconds = i64::from(self.nanosecond) / (1_000_000_000 / per_second);
        self.second.wrapping_mul(per_second).wrapping_add(nanoseconds)
    }

    /// The same instant in UTC.
    pub(super) fn in_utc(self) -> Self {
        Self { zone: Zone::Utc, ..self }
    }

    fn clock(&self) -> Clock {
        let (offset_seconds, abbreviation) = match &self.zone {
            Zone::Utc => (0, "UTC".to_owned()),
            Zone::Fixed(offset, abbreviation) => (*offset, abbreviation.clone()),
            Zone::Named(zone) => match jiff::Timestamp::from_second(self.second) {
                Ok(instant) => {
                    let info = zone.to_offset_info(instant);
                    (info.offset().seconds(), info.abbreviation().to_owned())
                }
                Err(_) => (0, "UTC".to_owned()),
            },
        };
        let local = civil(self.second.saturating_add(i64::from(offset_seconds)));
        Clock { local, offset_seconds, abbreviation }
    }

    /// The time in a layout.
    pub(super) fn format(&self, layout: &str) -> String {
        let clock = self.clock();
        let local = &clock.local;
        let hour12 = if local.hour() % 12 == 0 { 12 } else { local.hour() % 12 };
        let month = MONTHS[usize::try_from(local.month() - 1).unwrap_or(0)];
        let weekday = WEEKDAYS[usize::try_from(local.weekday().to_sunday_zero_offset()).unwrap_or(0)];
        let mut text = String::new();
        for part in parts_of(layout) {
            let written = match part {
                Part::Text(plain) => text.write_str(plain),
                Part::LongMonth => text.write_str(month),
                Part::Month => text.write_str(&month[..SHORT_NAME]),
                Part::NumMonth => write!(text, "{}", local.month()),
                Part::ZeroMonth => write!(text, "{:02}", local.month()),
                Part::LongWeekday => text.write_str(weekday),
                Part::Weekday => text.write_str(&weekday[..SHORT_NAME]),
                Part::Day => write!(text, "{}", local.day()),
                Part::UnderDay => write!(text, "{:2}", local.day()),
                Part::ZeroDay => write!(text, "{:02}", local.day()),
                Part::UnderYearDay => write!(text, "{:3}", local.day_of_year()),
                Part::ZeroYearDay => write!(text, "{:03}", local.day_of_year()),
                Part::Hour => write!(text, "{:02}", local.hour()),
                Part::Hour12 => write!(text, "{hour12}"),
                Part::ZeroHour12 => write!(text, "{hour12:02}"),
                Part::Minute => write!(text, "{}", local.minute()),
                Part::ZeroMinute => write!(text, "{:02}", local.minute()),
                Part::Second => write!(text, "{}", local.second()),
                Part::ZeroSecond => write!(text, "{:02}", local.second()),
                Part::LongYear => write!(text, "{:04}", local.year()),
                Part::Year => write!(text, "{:02}", local.year().rem_euclid(100)),
                Part::Half => text.write_str(if local.hour() >= 12 { "PM" } else { "AM" }),
                Part::SmallHalf => text.write_str(if local.hour() >= 12 { "pm" } else { "am" }),
                Part::Abbreviation => write_abbreviation(&mut text, &clock),
                Part::Offset(style) => write_offset(&mut text, clock.offset_seconds, style),
                Part::Fraction { separator, digits, is_trimmed } => {
                    write_fraction(&mut text, self.nanosecond, separator, digits, is_trimmed)
                }
            };
            written.unwrap_or_default();
        }
        text
    }

    /// Reads a text in a layout, in a zone if it names none; the zero time if it does not fit.
    pub(super) fn parse(layout: &str, text: &str, zone: Option<&TimeZone>) -> Self {
        Reading::default().read(layout, text).and_then(|reading| reading.time(zone)).unwrap_or_else(Self::zero)
    }
}

/// As Go prints a time.
impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.format("2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}

/// The date and time of a second since the epoch, as far as there are dates for it.
fn civil(second: i64) -> DateTime {
    let at = |second: i64| jiff::Timestamp::from_second(second).map(|instant| Offset::UTC.to_datetime(instant));
    at(second).unwrap_or(if second < 0 { DateTime::MIN } else { DateTime::MAX })
}

fn write_abbreviation(text: &mut String, clock: &Clock) -> std::fmt::Result {
    match clock.abbreviation.is_empty() {
        false => text.write_str(&clock.abbreviation),
        true => {
            let minutes = clock.offset_seconds / 60;
            let sign = if minutes < 0 { '-' } else { '+' };
            write!(text, "{sign}{:02}", minutes.abs() / 60)?;
            if minutes % 60 == 0 { Ok(()) } else { write!(text, "{:02}", minutes.abs() % 60) }
        }
    }
}

fn write_offset(text: &mut String, seconds: i32, style: OffsetStyle) -> std::fmt::Result {
    if style.is_z && seconds == 0 {
        return text.write_char('Z');
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let seconds = seconds.abs();
    write!(text, "{sign}{:02}", seconds / 3_600)?;
    let colon = if style.has_colon { ":" } else { "" };
    if style.parts > 1 {
        write!(text, "{colon}{:02}", seconds / 60 % 60)?;
    }
    if style.parts > 2 {
        write!(text, "{colon}{:02}", seconds % 60)?;
    }
    Ok(())
}

fn write_fraction(text: &mut String, ns: u32, separator: char, digits: usize, is_trimmed: bool) -> std::fmt::Result {
    let all = format!("{ns:09}");
    let mut shown: &str = &all[..digits.min(9)];
    if is_trimmed {
        shown = shown.trim_end_matches('0');
        if shown.is_empty() {
            return Ok(());
        }
    }
    write!(text, "{separator}{shown}")
}

/// How an offset from UTC is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OffsetStyle {
    /// `Z` for no offset.
    is_z: bool,
    has_colon: bool,
    /// Hours; with minutes; with seconds.
    parts: u8,
}

/// A piece of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'l> {
    Text(&'l str),
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    Half,
    SmallHalf,
    Abbreviation,
    Offset(OffsetStyle),
    Fraction { separator: char, digits: usize, is_trimmed: bool },
}

/// The pieces with a plain form; of those that begin alike, the longer ones first.
const FORMS: [(&str, Part<'static>); 33] = [
    ("January", Part::LongMonth),
    ("Jan", Part::Month),
    ("Monday", Part::LongWeekday),
    ("Mon", Part::Weekday),
    ("MST", Part::Abbreviation),
    ("01", Part::ZeroMonth),
    ("002", Part::ZeroYearDay),
    ("02", Part::ZeroDay),
    ("03", Part::ZeroHour12),
    ("04", Part::ZeroMinute),
    ("05", Part::ZeroSecond),
    ("06", Part::Year),
    ("15", Part::Hour),
    ("1", Part::NumMonth),
    ("2006", Part::LongYear),
    ("2", Part::Day),
    ("__2", Part::UnderYearDay),
    ("_2", Part::UnderDay),
    ("3", Part::Hour12),
    ("4", Part::Minute),
    ("5", Part::Second),
    ("PM", Part::Half),
    ("pm", Part::SmallHalf),
    ("-07:00:00", offset(false, true, 3)),
    ("-07:00", offset(false, true, 2)),
    ("-070000", offset(false, false, 3)),
    ("-0700", offset(false, false, 2)),
    ("-07", offset(false, false, 1)),
    ("Z07:00:00", offset(true, true, 3)),
    ("Z07:00", offset(true, true, 2)),
    ("Z070000", offset(true, false, 3)),
    ("Z0700", offset(true, false, 2)),
    ("Z07", offset(true, false, 1)),
];

const fn offset(is_z: bool, has_colon: bool, parts: u8) -> Part<'static> {
    Part::Offset(OffsetStyle { is_z, has_colon, parts })
}

fn parts_of(layout: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = layout;
    std::iter::from_fn(move || {
        let (part, length) = part_at(rest).unwrap_or_else(|| {
            let mut starts = rest.char_indices().map(|(at, _)| at);
            let length = starts.find(|at| part_at(&rest[*at..]).is_some()).unwrap_or(rest.len());
            (Part::Text(&rest[..length]), length)
        });
        rest = &rest[length..];
        (length > 0).then_some(part)
    })
}

/// The piece with which a layout begins, and its length.
fn part_at(layout: &str) -> Option<(Part<'_>, usize)> {
    // An underscore before a year is one, and no padding of a day.
    if layout.starts_with("_2006") {
        return Some((Part::Text("_"), 1));
    }
    // A name that more letters follow is a word: `Janitor`, but not `January`.
    if layout.starts_with("Jan") && !layout.starts_with("January") && continues(layout, SHORT_NAME) {
        return None;
    }
    if layout.starts_with("Mon") && !layout.starts_with("Monday") && continues(layout, SHORT_NAME) {
        return None;
    }
    if let Some(fraction) = fraction_at(layout) {
        return Some(fraction);
    }
    FORMS.iter().find(|(form, _)| layout.starts_with(form)).map(|(form, part)| (*part, form.len()))
}

fn continues(layout: &str, at: usize) -> bool {
    layout[at..].starts_with(|c: char| c.is_ascii_lowercase())
}

/// `.000` or `,999`, that no digit follows.
fn fraction_at(layout: &str) -> Option<(Part<'_>, usize)> {
    let separator = layout.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let digit = layout[1..].chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let digits = layout[1..].chars().take_while(|c| *c == digit).count();
    match layout[1 + digits..].starts_with(|c: char| c.is_ascii_digit()) {
        true => None,
        false => Some((Part::Fraction { separator, digits, is_trimmed: digit == '9' }, 1 + digits)),
    }
}

/// The parts of a time read so far.
#[derive(Default)]
struct Reading {
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    year_day: Option<i16>,
    hour: i8,
    minute: i8,
    second: i8,
    nanosecond: u32,
    is_afternoon: Option<bool>,
    is_utc: bool,
    offset_seconds: Option<i32>,
    abbreviation: Option<String>,
}

impl Reading {
    fn read(mut self, layout: &str, text: &str) -> Option<Self> {
        let mut parts = parts_of(layout).peekable();
        let mut rest = text;
        while let Some(part) = parts.next() {
            rest = self.part(part, parts.peek().copied(), rest)?;
        }
        rest.is_empty().then_some(self)
    }

    fn part<'t>(&mut self, part: Part<'_>, next: Option<Part<'_>>, rest: &'t str) -> Option<&'t str> {
        match part {
            Part::Text(plain) => skip(rest, plain),
            Part::LongMonth => self.month_named(rest, usize::MAX),
            Part::Month => self.month_named(rest, SHORT_NAME),
            Part::NumMonth | Part::ZeroMonth => {
                let (number, rest) = two_digits(rest, part == Part::ZeroMonth)?;
                self.month = Some(number).filter(|month| (1..=12).contains(month));
                self.month.map(|_| rest)
            }
            Part::LongWeekday => named(&WEEKDAYS, rest, usize::MAX).map(|(_, rest)| rest),
            Part::Weekday => named(&WEEKDAYS, rest, SHORT_NAME).map(|(_, rest)| rest),
            Part::Day | Part::UnderDay | Part::ZeroDay => {
                let rest = if part == Part::UnderDay { rest.strip_prefix(' ').unwrap_or(rest) } else { rest };
                let (number, rest) = two_digits(rest, part == Part::ZeroDay)?;
                self.day = Some(number);
                Some(rest)
            }
            Part::UnderYearDay | Part::ZeroYearDay => {
                let is_padded = part == Part::UnderYearDay;
                let digits = rest.get(..3)?;
                let digits = if is_padded { digits.trim_start_matches(' ') } else { digits };
                self.year_day = Some(digits.parse().ok()?);
                Some(&rest[3..])
            }
            Part::Hour | Part::Hour12 | Part::ZeroHour12 => {
                let (number, rest) = two_digits(rest, part == Part::ZeroHour12)?;
                self.hour = number;
                let most = if part == Part::Hour { 23 } else { 12 };
                (0..=most).contains(&number).then_some(rest)
            }
            Part::Minute | Part::ZeroMinute => {
                let (number, rest) = two_digits(rest, part == Part::ZeroMinute)?;
                self.minute = number;
                (0..=59).contains(&number).then_some(rest)
            }
            Part::Second | Part::ZeroSecond => {
                let (number, rest) = two_digits(rest, part == Part::ZeroSecond)?;
                self.second = number;
                if !(0..=59).contains(&number) {
                    return None;
                }
                // A fraction is read after the seconds even if the layout has none.
                match next {
                    Some(Part::Fraction { .. }) => Some(rest),
                    _ => Some(self.fraction(rest, None).unwrap_or(rest)),
                }
            }
            Part::LongYear => {
                let digits = rest.get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
                self.year = Some(digits.parse().ok()?);
                Some(&rest[4..])
            }
            Part::Year => {
                let (number, rest) = two_digits(rest, true)?;
                self.year = Some(i16::from(number) + if number >= 69 { 1_900 } else { 2_000 });
                Some(rest)
            }
            Part::Half | Part::SmallHalf => {
                let (half, after) = rest.split_at_checked(2)?;
                let (before, past) = if part == Part::Half { ("AM", "PM") } else { ("am", "pm") };
                self.is_afternoon = Some(half == past);
                (half == before || half == past).then_some(after)
            }
            Part::Abbreviation => self.zone_named(rest),
            Part::Offset(style) => self.offset(rest, style),
            Part::Fraction { digits, is_trimmed, .. } => match is_trimmed {
                true => Some(self.fraction(rest, None).unwrap_or(rest)),
                false => self.fraction(rest, Some(digits)),
            },
        }
    }

    fn month_named<'t>(&mut self, rest: &'t str, letters: usize) -> Option<&'t str> {
        let (index, rest) = named(&MONTHS, rest, letters)?;
        self.month = i8::try_from(index + 1).ok();
        Some(rest)
    }

    /// Digits after a point or a comma; exactly so many, or any number.
    fn fraction<'t>(&mut self, rest: &'t str, count: Option<usize>) -> Option<&'t str> {
        let digits = rest.strip_prefix(['.', ','])?;
        let length = digits.bytes().take_while(u8::is_ascii_digit).count();
        let length = match count {
            Some(count) if length < count => return None,
            Some(count) => count,
            None if length == 0 => return None,
            None => length,
        };
        let padded: String = digits[..length].chars().chain("000000000".chars()).take(9).collect();
        self.nanosecond = padded.parse().ok()?;
        Some(&digits[length..])
    }

    fn offset<'t>(&mut self, rest: &'t str, style: OffsetStyle) -> Option<&'t str> {
        if style.is_z
            && let Some(after) = rest.strip_prefix('Z')
        {
            self.is_utc = true;
            return Some(after);
        }
        let is_west = match rest.chars().next()? {
            '+' => false,
            '-' => true,
            _ => return None,
        };
        let mut rest = &rest[1..];
        let mut seconds = 0;
        for part in 0..style.parts {
            if part > 0 && style.has_colon {
                rest = rest.strip_prefix(':')?;
            }
            let (number, after) = two_digits(rest, true)?;
            seconds += i32::from(number) * [3_600, 60, 1][usize::from(part)];
            rest = after;
        }
        self.offset_seconds = Some(if is_west { -seconds } else { seconds });
        Some(rest)
    }

    /// `UTC`, `MEST`, `GMT+3`.
    fn zone_named<'t>(&mut self, rest: &'t str) -> Option<&'t str> {
        if let Some(after) = rest.strip_prefix("UTC") {
            self.is_utc = true;
            return Some(after);
        }
        let mut length = rest.bytes().take_while(u8::is_ascii_uppercase).count();
        let is_name = length == 3 || (length == 4 && rest.as_bytes()[3] == b'T');
        if !is_name {
            return None;
        }
        if &rest[..length] == "GMT" {
            let signed = rest[length..].strip_prefix(['+', '-']);
            let digits = signed.map_or(0, |digits| digits.bytes().take_while(u8::is_ascii_digit).count());
            let hours = signed.and_then(|signed| signed[..digits].parse::<i32>().ok()).filter(|hours| *hours <= 23);
            if let Some(hours) = hours {
                let is_west = rest[length..].starts_with('-');
                self.offset_seconds = Some(if is_west { -hours } else { hours } * 3_600);
                length += 1 + digits;
            }
        }
        self.abbreviation = Some(rest[..length].to_owned());
        Some(&rest[length..])
    }

    fn date(&self) -> Option<Date> {
        let year = self.year.unwrap_or(0);
        match self.year_day {
            Some(day) => {
                let date = Date::new(year, 1, 1).ok()?.checked_add(jiff::Span::new().days(i64::from(day) - 1)).ok()?;
                let fits = self.month.is_none_or(|month| month == date.month())
                    && self.day.is_none_or(|day| day == date.day())
                    && date.year() == year;
                fits.then_some(date)
            }
            None => Date::new(year, self.month.unwrap_or(1), self.day.unwrap_or(1)).ok(),
        }
    }

    fn time(&self, zone: Option<&TimeZone>) -> Option<Time> {
        let hour = match self.is_afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let local = self.date()?.at(hour, self.minute, self.second, 0);
        let utc = Offset::UTC.to_timestamp(local).ok()?.as_second();
        let nanosecond = self.nanosecond;
        if self.is_utc {
            return Some(Time { second: utc, nanosecond, zone: Zone::Utc });
        }
        if let Some(offset) = self.offset_seconds {
            let zone = Zone::Fixed(offset, self.abbreviation.clone().unwrap_or_default());
            return Some(Time { second: utc - i64::from(offset), nanosecond, zone });
        }
        if let Some(abbreviation) = &self.abbreviation {
            return Some(Time { second: utc, nanosecond, zone: Zone::Fixed(0, abbreviation.clone()) });
        }
        let Some(zone) = zone else { return Some(Time { second: utc, nanosecond, zone: Zone::Utc }) };
        let second = zone.to_ambiguous_timestamp(local).compatible().ok()?.as_second();
        Some(Time { second, nanosecond, zone: Zone::Named(zone.clone()) })
    }
}

/// A text after another one; spaces of a layout stand for any number of them.
fn skip<'t>(mut rest: &'t str, plain: &str) -> Option<&'t str> {
    let mut plain = plain;
    while let Some(first) = plain.chars().next() {
        if first == ' ' {
            if !rest.is_empty() && !rest.starts_with(' ') {
                return None;
            }
            plain = plain.trim_start_matches(' ');
            rest = rest.trim_start_matches(' ');
            continue;
        }
        rest = rest.strip_prefix(first)?;
        plain = &plain[first.len_utf8()..];
    }
    Some(rest)
}

/// The name with which a text begins, in any case, of which so many letters count.
fn named<'t>(names: &[&str], rest: &'t str, letters: usize) -> Option<(usize, &'t str)> {
    names.iter().enumerate().find_map(|(index, name)| {
        let name = &name[..letters.min(name.len())];
        let found = rest.get(..name.len())?;
        found.eq_ignore_ascii_case(name).then(|| (index, &rest[name.len()..]))
    })
}

/// A number of two digits; of one or two unless both must be there.
fn two_digits(rest: &str, are_both: bool) -> Option<(i8, &str)> {
    let digits = rest.bytes().take(2).take_while(u8::is_ascii_digit).count();
    match digits {
        0 => None,
        1 if are_both => None,
        _ => Some((rest[..digits].parse().ok()?, &rest[digits..])),
    }
}

/// The zone with a name; none for UTC, also for a name that is not known, as in Loki.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    match name {
        "" | "UTC" | "Local" => None,
        name => TimeZone::get(name).ok(),
    }
}
