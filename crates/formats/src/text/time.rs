//! The time at the beginning of a line, in the forms that loggers write.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;
use runlog_model::{LogTime, LogZone, Timestamp};

use super::level;
use crate::calendar::{MONTHS, WEEKDAYS, ZONES};
use crate::layout::{Layout, Moment};
use crate::settings::{DateOrder, ReadSettings};

const DAY_MS: i64 = 86_400_000;

/// Reads times of lines, one after another.
#[derive(Debug)]
pub(super) struct Clock {
    zone: LogZone,
    date_order: DateOrder,
    written_at: Timestamp,
    /// The date of the last line, for lines with a time of day only.
    date: Option<Date>,
    last_time_of_day: Option<Time>,
    read_times: u64,
}

/// A line with a time at its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamped<'a> {
    pub(super) time: Timestamp,
    /// The severity, if it precedes the time.
    pub(super) level: Option<&'a str>,
    /// The priority of syslog, before the time.
    pub(super) priority: Option<u8>,
    /// True for a time without a year, which only syslog writes.
    pub(super) is_yearless: bool,
    /// True if the priority is followed by the version of RFC 5424.
    pub(super) is_rfc5424: bool,
    /// The line after the time.
    pub(super) rest: &'a str,
}

/// A date, with or without its year, and a time of day.
struct ParsedDate {
    year: Option<i16>,
    month: i8,
    day: i8,
    time: Time,
    zone: Option<Offset>,
    /// The same date with the year in front, where it may be both.
    year_first: Option<Box<ParsedDate>>,
}

impl Clock {
    pub(super) fn new(settings: &ReadSettings) -> Self {
        Self {
            zone: settings.layout.as_ref().and_then(Layout::zone).unwrap_or(&settings.zone).clone(),
            date_order: settings.date_order,
            written_at: settings.written_at,
            date: settings.first_date,
            last_time_of_day: None,
            read_times: 0,
        }
    }

    /// How many lines had a time.
    pub(super) fn read_times(&self) -> u64 {
        self.read_times
    }

    pub(super) fn written_at(&self) -> Timestamp {
        self.written_at
    }

    pub(super) fn set_written_at(&mut self, at: Timestamp) {
        self.written_at = at;
    }

    /// The time of a line; none if it does not begin with one.
    pub(super) fn read<'a>(&mut self, line: &'a str) -> Option<Stamped<'a>> {
        // Most lines that continue a record begin with a blank or a letter.
        let first = line.bytes().next()?;
        if !(first.is_ascii_digit()
            || first.is_ascii_uppercase()
            || matches!(first, b'[' | b'<' | b'{' | b'"' | b'\x1b'))
        {
            return None;
        }
        let (level, line) = level::before_time(line).map_or((None, line), |(level, line)| (Some(level), line));
        let mut scan = Scan(line);
        let priority = scan.priority();
        let is_rfc5424 = priority.is_some() && scan.eat("1 ");
        let is_in_brackets = priority.is_none() && (scan.eat("[") || scan.eat("{"));
        let is_quoted = priority.is_none() && !is_in_brackets && scan.eat("\"");
        let start = scan.0;
        let (time, is_yearless) = match self.absolute(&mut scan) {
            Some((time, is_yearless)) => (time, is_yearless),
            None => {
                scan = Scan(start);
                (self.of_day(&mut scan)?, false)
            }
        };
        if is_in_brackets {
            scan.blanks();
            if !(scan.eat("]") || scan.eat("}")) {
                return None;
            }
        }
        if is_quoted && !scan.eat("\"") {
            return None;
        }
        let is_end = match scan.0.chars().next() {
            // The first cell of a row.
            next if is_quoted => next.is_some_and(|next| matches!(next, ',' | ';' | '|' | '\t')),
            None => true,
            Some(next) => next.is_whitespace() || matches!(next, '|' | '-' | ';' | ',' | ':' | '[' | ']'),
        };
        if !is_end {
            return None;
        }
        self.read_times += 1;
        Some(Stamped { time, level, priority, is_yearless, is_rfc5424, rest: scan.0 })
    }

    /// A date and a time, or seconds since 1970; true if the year is guessed.
    fn absolute(&self, scan: &mut Scan<'_>) -> Option<(Timestamp, bool)> {
        let line = scan.0;
        if let Some(time) = epoch(scan) {
            return Some((time, false));
        }
        for form in [numeric, day_and_name, name_and_day, compact] {
            *scan = Scan(line);
            if let Some(written) = form(scan, self.date_order) {
                // Spark begins a date with two digits of the year; others end it with them.
                let is_future = |time: &Timestamp| *time > self.written_at.plus_millis(DAY_MS);
                if let Some(other) = &written.year_first
                    && let Some(time) = self.instant(other).filter(|time| !is_future(time))
                {
                    return Some((time, false));
                }
                let is_yearless = written.year.is_none();
                return self.instant(&written).map(|time| (time, is_yearless));
            }
        }
        None
    }

    fn instant(&self, written: &ParsedDate) -> Option<Timestamp> {
        let at = |year: i16| {
            let date = Date::new(year, written.month, written.day).ok()?;
            let civil = DateTime::from_parts(date, written.time);
            match written.zone {
                Some(offset) => LogTime::from_nanos(offset.to_timestamp(civil).ok()?.as_nanosecond()),
                None => self.zone.instant(civil),
            }
            .map(|at| at.time)
        };
        match written.year {
            Some(year) => at(year),
            None => {
                // The last such day before the log was written, or a day after, for clocks that differ.
                let latest = self.written_at.plus_millis(DAY_MS);
                let year = self.zone.civil(latest).year();
                at(year).filter(|time| *time <= latest).or_else(|| at(year - 1))
            }
        }
    }

    /// The instant of a time that was read by a layout.
    pub(super) fn read_moment(&mut self, moment: Moment) -> Option<Timestamp> {
        let time = match moment {
            Moment::Epoch(ms) => Timestamp::from_epoch(&ms.into())?,
            Moment::Date { year, month, day, time, zone } => {
                self.instant(&ParsedDate { year, month, day, time, zone, year_first: None })?
            }
            Moment::TimeOfDay(time) => self.on_day(time)?,
        };
        self.read_times += 1;
        Some(time)
    }

    /// A time of day, on the day of the line before or after it.
    fn of_day(&mut self, scan: &mut Scan<'_>) -> Option<Timestamp> {
        self.date?;
        let time = scan.time_of_day(true)?;
        self.on_day(time)
    }

    fn on_day(&mut self, time: Time) -> Option<Timestamp> {
        let date = self.date?;
        let went_back = self.last_time_of_day.is_some_and(|last| {
            // More than twelve hours back is midnight; less is the disorder of threads.
            last.duration_since(time).as_hours() >= 12
        });
        let date = if went_back { date.tomorrow().ok()? } else { date };
        let instant = self.zone.instant(DateTime::from_parts(date, time))?;
        self.date = Some(date);
        self.last_time_of_day = Some(time);
        Some(instant.time)
    }
}

/// True for a line that begins with a time of day.
pub(super) fn has_time_of_day(line: &str) -> bool {
    let line = level::before_time(line).map_or(line, |(_, line)| line);
    let mut scan = Scan(line.strip_prefix('[').unwrap_or(line));
    scan.time_of_day(true).is_some() && scan.0.chars().next().is_none_or(|next| next.is_whitespace() || next == ']')
}

/// Seconds, milliseconds, microseconds or nanoseconds since 1970, of a year from 2001 to 2286.
fn epoch(scan: &mut Scan<'_>) -> Option<Timestamp> {
    let digits = scan.0.bytes().take_while(u8::is_ascii_digit).count();
    if ![10, 13, 16, 19].contains(&digits) {
        return None;
    }
    let rest = &scan.0[digits..];
    let fraction = match rest.strip_prefix('.') {
        Some(after) => 1 + after.bytes().take_while(u8::is_ascii_digit).count(),
        None => 0,
    };
    let end = digits + fraction;
    let is_alone =
        scan.0[end..].chars().next().is_none_or(|next| next.is_whitespace() || matches!(next, ']' | '|' | ','));
    let time = LogTime::read_text(&scan.0[..end], &LogZone::default()).filter(|_| is_alone)?;
    scan.0 = &scan.0[end..];
    Some(time.time)
}

/// `2026-11-27 20:02:09,123`, `2026/11/27T20:02`, `27/11/2026 20:02:09`, `27.11.26, 20:02:09`.
fn numeric(scan: &mut Scan<'_>, order: DateOrder) -> Option<ParsedDate> {
    let (first, digits) = scan.number(4)?;
    let separator = scan.one_of(&['-', '/', '.'])?;
    let (second, second_digits) = scan.number(2)?;
    scan.one_of(&[separator])?;
    let (third, third_digits) = scan.number(4)?;
    let (year, month, day) = match (digits, second_digits, third_digits) {
        (4, 1..=2, 1..=2) => (first, second, third),
        (1..=2, 1..=2, 2 | 4) => {
            let year = if third_digits == 2 { third + 2_000 } else { third };
            // Dots are not used where the month is first.
            match order {
                DateOrder::MonthFirst if separator != '.' => (year, first, second),
                _ => (year, second, first),
            }
        }
        _ => return None,
    };
    scan.after_date()?;
    let time = scan.time_of_day(false)?;
    let zone = scan.zone();
    let written = |year: u32, month: u32, day: u32| {
        let year = Some(i16::try_from(year).ok()?);
        Some(ParsedDate { year, month: small(month)?, day: small(day)?, time, zone, year_first: None })
    };
    let is_either = digits == 2 && third_digits == 2 && separator == '/';
    let year_first = is_either.then(|| written(first + 2_000, second, third)).flatten();
    Some(ParsedDate { year_first: year_first.map(Box::new), ..written(year, month, day)? })
}

/// `27 Nov 2026 20:02:09`, `27-Nov-2026 20:02:09.123`, `27/Nov/2026:20:02:09 +0000`, `Fri, 27 Nov 2026 20:02:09`.
fn day_and_name(scan: &mut Scan<'_>, _: DateOrder) -> Option<ParsedDate> {
    scan.weekday();
    let (day, digits) = scan.number(2)?;
    if digits > 2 {
        return None;
    }
    let separator = scan.one_of(&[' ', '-', '/'])?;
    let month = scan.month()?;
    scan.eat(".");
    scan.one_of(&[separator])?;
    let (year, digits) = scan.number(4)?;
    if digits != 4 {
        return None;
    }
    scan.after_date()?;
    let time = scan.time_of_day(false)?;
    Some(ParsedDate {
        year: Some(i16::try_from(year).ok()?),
        month,
        day: small(day)?,
        time,
        zone: scan.zone(),
        year_first: None,
    })
}

/// `Nov 27 20:02:09`, `Nov 27, 2026 8:02:09 PM`, `Fri Nov 27 20:02:09 CET 2026`.
fn name_and_day(scan: &mut Scan<'_>, _: DateOrder) -> Option<ParsedDate> {
    scan.weekday();
    let month = scan.month()?;
    scan.one_of(&[' '])?;
    scan.blanks();
    let (day, digits) = scan.number(2)?;
    if digits > 2 {
        return None;
    }
    scan.eat(",");
    scan.one_of(&[' '])?;
    let start = scan.0;
    let mut year = None;
    if let Some((number, 4)) = scan.number(4)
        && (scan.eat(", ") || scan.eat(" "))
    {
        year = Some(number);
    } else {
        scan.0 = start;
    }
    let time = scan.time_of_day(false)?;
    let mut zone = scan.zone();
    if year.is_none() {
        // As `date` and the server of Apache write it.
        let start = scan.0;
        match scan.eat(" ").then(|| scan.number(4)) {
            Some(Some((number @ 1970..=2199, 4))) => year = Some(number),
            _ => scan.0 = start,
        }
        zone = zone.or_else(|| scan.zone());
    }
    let year = year.map(i16::try_from).transpose().ok()?;
    Some(ParsedDate { year, month, day: small(day)?, time, zone, year_first: None })
}

/// `20261127T200209.123Z`, `20261127 20:02:09`.
fn compact(scan: &mut Scan<'_>, _: DateOrder) -> Option<ParsedDate> {
    let digits: String = scan.0.chars().take_while(char::is_ascii_digit).take(9).collect();
    if digits.len() != 8 {
        return None;
    }
    scan.0 = &scan.0[8..];
    let year = digits[..4].parse().ok().filter(|year| (1970..=2199).contains(year))?;
    scan.one_of(&['T', ' ', '-', '_'])?;
    let clock: String = scan.0.chars().take_while(char::is_ascii_digit).take(7).collect();
    let time = if clock.len() == 6 {
        scan.0 = &scan.0[6..];
        let part = |from: usize| clock[from..from + 2].parse::<i8>().ok();
        Time::new(part(0)?, part(2)?, part(4)?, scan.fraction()).ok()?
    } else {
        scan.time_of_day(false)?
    };
    let part = |from: usize| digits[from..from + 2].parse::<i8>().ok();
    Some(ParsedDate { year: Some(year), month: part(4)?, day: part(6)?, time, zone: scan.zone(), year_first: None })
}

fn small(number: u32) -> Option<i8> {
    i8::try_from(number).ok()
}

/// The rest of a line.
struct Scan<'a>(&'a str);

impl Scan<'_> {
    fn eat(&mut self, text: &str) -> bool {
        match self.0.strip_prefix(text) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn one_of(&mut self, chars: &[char]) -> Option<char> {
        let next = self.0.chars().next().filter(|next| chars.contains(next))?;
        self.0 = &self.0[next.len_utf8()..];
        Some(next)
    }

    fn blanks(&mut self) {
        self.0 = self.0.trim_start_matches(' ');
    }

    /// A number of at most so many digits, and how many it has.
    fn number(&mut self, digits_max: usize) -> Option<(u32, usize)> {
        let digits = self.0.bytes().take(digits_max).take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.0.split_at(digits);
        let value = number.parse().ok()?;
        self.0 = rest;
        Some((value, digits))
    }

    /// The priority of syslog, `<34>`.
    fn priority(&mut self) -> Option<u8> {
        let (number, rest) = self.0.strip_prefix('<')?.split_once('>')?;
        let priority = number.parse().ok().filter(|priority| *priority < 192)?;
        self.0 = rest;
        Some(priority)
    }

    /// One of these names, or what begins with it.
    fn name(&mut self, names: &[&str]) -> Option<usize> {
        let letters = self.0.bytes().take_while(u8::is_ascii_alphabetic).count();
        let word = self.0[..letters].to_ascii_lowercase();
        let found = names.iter().position(|name| word.starts_with(name)).filter(|_| letters <= 9)?;
        self.0 = &self.0[letters..];
        Some(found)
    }

    fn month(&mut self) -> Option<i8> {
        self.name(&MONTHS).and_then(|index| i8::try_from(index + 1).ok())
    }

    fn weekday(&mut self) {
        let start = self.0;
        if self.name(&WEEKDAYS).is_none() || !(self.eat(", ") || self.eat(" ")) {
            self.0 = start;
        }
    }

    /// Skips the separator between a date and a time of day.
    fn after_date(&mut self) -> Option<()> {
        let is_there = self.eat(", ") || self.one_of(&['T', 't', ' ', ':', '_']).is_some();
        self.blanks();
        is_there.then_some(())
    }

    /// `20:02:09.123`, `8:02 PM`; with seconds only, if they are required.
    fn time_of_day(&mut self, needs_seconds: bool) -> Option<Time> {
        let (mut hour, digits) = self.number(2)?;
        self.one_of(&[':']).filter(|_| digits <= 2)?;
        let (minute, 2) = self.number(2)? else { return None };
        let (mut second, mut nanos) = (0, 0);
        if self.0.starts_with(':') {
            self.eat(":");
            let (number, 2) = self.number(2)? else { return None };
            // A leap second; the instant after it is as near as its own.
            second = number.min(59).max(if number > 60 { 99 } else { 0 });
            nanos = self.fraction();
        } else if needs_seconds {
            return None;
        }
        let start = self.0;
        self.one_of(&[' ', '\u{202f}']);
        let is_afternoon = match (self.name(&["am"]), self.name(&["pm"])) {
            (Some(_), _) => Some(false),
            (None, Some(_)) => Some(true),
            (None, None) => {
                self.0 = start;
                None
            }
        };
        if let Some(is_afternoon) = is_afternoon {
            hour = hour % 12 + if is_afternoon { 12 } else { 0 };
        }
        Time::new(small(hour)?, small(minute)?, small(second)?, nanos).ok()
    }

    /// Up to nine digits after a point or comma, as nanoseconds.
    fn fraction(&mut self) -> i32 {
        let Some(rest) = self.0.strip_prefix(['.', ',']) else { return 0 };
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return 0;
        }
        self.0 = &rest[digits..];
        format!("{:0<9}", &rest[..digits.min(9)]).parse().unwrap_or(0)
    }

    /// An offset or the name of a zone; none leaves everything as it is.
    fn zone(&mut self) -> Option<Offset> {
        let start = self.0;
        self.eat(" ");
        let found = self.offset().or_else(|| self.named_zone());
        match found {
            // The name of the zone after its offset, as in `+01:00[Europe/Berlin]`.
            Some(_) if self.0.starts_with('[') => {
                if let Some((name, rest)) = self.0[1..].split_once(']')
                    && name.contains('/')
                    && !name.contains(' ')
                {
                    self.0 = rest;
                }
            }
            Some(_) => {}
            None => self.0 = start,
        }
        found
    }

    fn offset(&mut self) -> Option<Offset> {
        let start = self.0;
        let sign = if self.one_of(&['+', '-'])? == '-' { -1 } else { 1 };
        let parsed = (|| {
            let (hours, 2) = self.number(2)? else { return None };
            self.eat(":");
            let minutes = match self.number(2) {
                Some((minutes, 2)) => minutes,
                Some(_) => return None,
                None => 0,
            };
            let seconds = i32::try_from(hours * 3_600 + minutes * 60).ok()?;
            // `- 12 orders` is no offset.
            let is_end = !self.0.starts_with(|next: char| next.is_alphanumeric());
            Offset::from_seconds(sign * seconds).ok().filter(|_| is_end && hours <= 18)
        })();
        if parsed.is_none() {
            self.0 = start;
        }
        parsed
    }

    fn named_zone(&mut self) -> Option<Offset> {
        let letters = self.0.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (_, hours) = ZONES.iter().find(|(name, _)| *name == &self.0[..letters])?;
        self.0 = &self.0[letters..];
        Some(Offset::constant(*hours))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings() -> ReadSettings {
        ReadSettings::written_at("2026-11-28T00:00:00Z".parse().unwrap())
    }

    fn read(line: &str) -> Option<String> {
        Clock::new(&settings()).read(line).map(|stamped| format!("{}{}", stamped.time, stamped.rest))
    }

    #[test]
    fn what_is_no_time_is_none() {
        for line in [
            "",
            " 2026-11-27 20:02:09",
            "2026-11-27",
            "2026-11-27 done",
            "20:02:09 INFO",
            "2026-13-27 20:02:09 x",
            "2026-11-27 25:02:09 x",
            "2026-11-27 20:02:09x",
            "at a.B.c(D.java:1)",
            "Caused by: x",
            "Mar 12 apples",
            "1234567890123456 7",
            "12345 INFO",
            "ORA-00942: x",
            "[INFO] Building",
            "May the force",
            "<html>",
            "10.0.0.1 x",
            "2026-11-27 20:02:61.5 x",
        ] {
            assert!(read(line).is_none() || line.starts_with("1234567890123456"), "{line}: {:?}", read(line));
        }
    }

    #[test]
    fn dates_with_numbers_only_are_read_in_the_given_order() {
        assert_eq!(read("03/04/2026 20:02:09 x").unwrap(), "2026-04-03T20:02:09.000Z x");
        let mut clock = Clock::new(&ReadSettings { date_order: DateOrder::MonthFirst, ..settings() });
        assert_eq!(clock.read("03/04/2026 8:02:09 PM x").unwrap().time.to_string(), "2026-03-04T20:02:09.000Z");
        assert_eq!(clock.read("03.04.2026 20:02 x").unwrap().time.to_string(), "2026-04-03T20:02:00.000Z");
        assert_eq!(clock.read("13/13/2026 20:02 x"), None);
        // With two digits, the year is in front, unless that would be in the future.
        assert_eq!(read("26/11/27 20:02:09 INFO x").unwrap(), "2026-11-27T20:02:09.000Z INFO x");
        assert_eq!(read("27/11/26 20:02:09 INFO x").unwrap(), "2026-11-27T20:02:09.000Z INFO x");
        assert_eq!(read("27.11.26 20:02:09 INFO x").unwrap(), "2026-11-27T20:02:09.000Z INFO x");
    }

    #[test]
    fn the_zone_of_a_time_counts_and_otherwise_that_of_the_settings() {
        for (line, expected) in [
            ("2026-11-27T20:02:09+01:00[Europe/Berlin] x", "2026-11-27T19:02:09.000Z x"),
            ("2026-11-27 20:02:09 -0500 x", "2026-11-28T01:02:09.000Z x"),
            ("2026-11-27 20:02:09 - 12 orders", "2026-11-27T20:02:09.000Z - 12 orders"),
            ("2026-11-27 20:02:09 GMT x", "2026-11-27T20:02:09.000Z x"),
            ("27/Nov/2026:20:02:09 +0200 x", "2026-11-27T18:02:09.000Z x"),
        ] {
            assert_eq!(read(line).as_deref(), Some(expected), "{line}");
        }
        let mut clock = Clock::new(&ReadSettings { zone: "Europe/Berlin".parse().unwrap(), ..settings() });
        assert_eq!(clock.read("2026-11-27 20:02:09,5 x").unwrap().time.to_string(), "2026-11-27T19:02:09.500Z");
    }

    #[test]
    fn times_of_day_are_on_the_given_date_and_pass_midnight() {
        let first_date = Some("2026-11-27".parse().unwrap());
        let mut clock = Clock::new(&ReadSettings { first_date, ..settings() });
        let mut time = |line: &str| clock.read(line).unwrap().time.to_string();
        assert_eq!(time("[INFO ] 23:59:59.999 demo.job- x"), "2026-11-27T23:59:59.999Z");
        assert_eq!(time("00:00:00.001 [main] INFO x"), "2026-11-28T00:00:00.001Z");
        assert_eq!(time("00:00:00.000 [main] INFO x"), "2026-11-28T00:00:00.000Z");
    }

    proptest! {
        #[test]
        fn every_form_of_an_instant_is_the_same_instant(ms in 1_000_000_000_000_i64..1_790_000_000_000) {
            let at = jiff::Timestamp::from_millisecond(ms).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
            let whole = Timestamp::clamped(ms).floor_to_second();
            for (form, has_fraction) in [
                ("%Y-%m-%d %H:%M:%S,%3f", true), ("%Y-%m-%dT%H:%M:%S.%3fZ", true), ("%Y/%m/%d %H:%M:%S", false),
                ("%d/%m/%Y %H:%M:%S.%3f", true), ("%d.%m.%Y %H:%M:%S", false), ("%d %b %Y %H:%M:%S,%3f", true),
                ("%d-%b-%Y %H:%M:%S.%3f", true), ("%b %d, %Y %I:%M:%S %p", false), ("%a %b %e %H:%M:%S %Y", false),
                ("[%a %b %d %H:%M:%S.%3f %Y]", true), ("%Y%m%dT%H%M%S.%3f", true), ("%Y%m%d %H:%M:%S", false),
                ("[%Y-%m-%d %H:%M:%S.%3f]", true), ("%d/%b/%Y:%H:%M:%S +0000", false),
            ] {
                let line = format!("{} INFO x", at.strftime(form));
                let expected = if has_fraction { Timestamp::clamped(ms) } else { whole };
                let found = Clock::new(&settings()).read(&line);
                prop_assert_eq!(found.map(|it| (it.time, it.rest)), Some((expected, " INFO x")), "{}", line);
            }
        }

        #[test]
        fn no_line_breaks_it(line in "[\\[<]?[-+0-9:.,/TZ APMNovFri>\u{202f}é\\]]{0,40}", text in ".{0,40}") {
            for line in [line, text] {
                if let Some(stamped) = Clock::new(&settings()).read(&line) {
                    prop_assert!(line.ends_with(stamped.rest));
                }
                has_time_of_day(&line);
            }
        }
    }
}
