//! Functions of PostgreSQL that the engine lacks, each of which depends on one row alone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use datafusion::arrow::array::{AsArray, ListBuilder, StringBuilder};
use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDFImpl;
use md_5::Digest;
use regex::{Regex, RegexBuilder};
use runlog_model::hex;
use serde_json::value::RawValue;

use crate::functions::intervals::INTERVAL;
use crate::functions::json::as_text;
use crate::functions::number_formats;
use crate::functions::row::{RowFunction, float, text, whole, wrong};
use crate::functions::time_formats::Fields;
use crate::functions::times::{CLOCKS, DAY_NS, instants};
use crate::postgres::NUMERIC;

/// Maximum size of a compiled regular expression. Unit: bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Maximum number of bounds of `width_bucket`.
const BOUNDS_MAX: usize = 10_000;

/// Functions whose values are small.
pub(crate) fn small() -> Vec<Arc<dyn ScalarUDFImpl>> {
    vec![
        RowFunction::shared(
            "md5",
            "a text or bytes",
            text_or_bytes,
            |_| DataType::Utf8,
            |args| Ok(ScalarValue::Utf8(Some(hex::encode(md_5::Md5::digest(bytes(&args[0])))))),
        ),
        digest("sha224", |args| Ok(ScalarValue::Binary(Some(sha2::Sha224::digest(bytes(&args[0])).to_vec())))),
        digest("sha256", |args| Ok(ScalarValue::Binary(Some(sha2::Sha256::digest(bytes(&args[0])).to_vec())))),
        digest("sha384", |args| Ok(ScalarValue::Binary(Some(sha2::Sha384::digest(bytes(&args[0])).to_vec())))),
        digest("sha512", |args| Ok(ScalarValue::Binary(Some(sha2::Sha512::digest(bytes(&args[0])).to_vec())))),
        RowFunction::shared(
            "width_bucket",
            "a number, two bounds and a count, or an array of bounds",
            bucket_kinds,
            |_| DataType::Int32,
            |args| match args {
                [value, low, high, count] => bucket_of(float(value), float(low), float(high), whole(count)),
                _ => bucket_in(float(&args[0]), &args[1]),
            },
        ),
        RowFunction::shared(
            "make_timestamp",
            "year, month, day, hour, minute and second",
            date_and_time,
            |_| CLOCKS,
            |args| Ok(ScalarValue::TimestampMicrosecond(Some(made_time(args)?), None)),
        ),
        RowFunction::shared(
            "make_timestamptz",
            "year, month, day, hour, minute and second",
            date_and_time,
            |_| instants(TimeUnit::Microsecond),
            |args| {
                ScalarValue::TimestampMicrosecond(Some(made_time(args)?), None)
                    .cast_to(&instants(TimeUnit::Microsecond))
            },
        ),
        RowFunction::shared(
            "make_interval",
            "up to seven numbers: years, months, weeks, days, hours, minutes, seconds",
            interval_parts,
            |_| INTERVAL,
            made_interval,
        ),
        RowFunction::shared(
            "justify_hours",
            "an interval",
            one_interval,
            |_| INTERVAL,
            |args| justified(&args[0], false, true),
        ),
        RowFunction::shared(
            "justify_days",
            "an interval",
            one_interval,
            |_| INTERVAL,
            |args| justified(&args[0], true, false),
        ),
        RowFunction::shared(
            "justify_interval",
            "an interval",
            one_interval,
            |_| INTERVAL,
            |args| justified(&args[0], true, true),
        ),
        RowFunction::shared(
            "interval_times",
            "an interval and a number",
            interval_and_number,
            |_| INTERVAL,
            |args| multiplied(&args[0], float(&args[1])),
        ),
        RowFunction::shared(
            "to_number",
            "a text and a format",
            two_texts,
            |_| NUMERIC,
            |args| {
                let number = number_formats::parsed(text(&args[0]));
                let number = number.ok_or_else(|| wrong("invalid input syntax for type numeric"))?;
                ScalarValue::Float64(Some(number)).cast_to(&NUMERIC)
            },
        ),
        RowFunction::shared(
            "json_typeof",
            "a JSON value",
            one_text,
            |_| DataType::Utf8,
            |args| {
                let kind = match json(text(&args[0]))?.get().as_bytes().first() {
                    Some(b'n') => "null",
                    Some(b't' | b'f') => "boolean",
                    Some(b'"') => "string",
                    Some(b'[') => "array",
                    Some(b'{') => "object",
                    _ => "number",
                };
                Ok(ScalarValue::from(kind))
            },
        ),
    ]
}

/// Functions that format a value: the last argument is the format.
pub(crate) fn formatting() -> Vec<Arc<dyn ScalarUDFImpl>> {
    vec![RowFunction::shared(
        "formatted_text",
        "a number, a time or an interval, and a format",
        formatted_kinds,
        |_| DataType::Utf8,
        |args| {
            let format = text(&args[1]);
            let formatted = match &args[0] {
                ScalarValue::TimestampMicrosecond(Some(us), zone) => match DateTime::from_timestamp_micros(*us) {
                    Some(time) => Fields::of_time(time.naive_utc(), zone.is_some()).format(format),
                    None => Err("a time is out of the range of times".to_owned()),
                },
                ScalarValue::IntervalMonthDayNano(Some(interval)) => Fields::of_interval(*interval).format(format),
                number => number_formats::formatted(float(number), format),
            };
            formatted.map(|text| ScalarValue::Utf8(Some(text))).map_err(wrong)
        },
    )]
}

/// Functions that split their first argument, most of which return a list of its parts.
pub(crate) fn splitting() -> Vec<Arc<dyn ScalarUDFImpl>> {
    let texts = |_: &[DataType]| DataType::new_list(DataType::Utf8, true);
    vec![
        RowFunction::shared(
            "json_array_length",
            "a JSON array",
            one_text,
            |_| DataType::Int32,
            |args| {
                let elements = array(text(&args[0]), "cannot get array length of a JSON value that is no array")?;
                Ok(ScalarValue::Int32(i32::try_from(elements.len()).ok()))
            },
        ),
        RowFunction::shared("json_elements", "a JSON array", one_text, texts, |args| elements(&args[0], false)),
        RowFunction::shared("json_elements_text", "a JSON array", one_text, texts, |args| elements(&args[0], true)),
        RowFunction::shared("json_keys", "a JSON object", one_text, texts, |args| keys(&args[0])),
    ]
}

/// Functions that return lists of the matches of a regular expression.
pub(crate) fn matching() -> Vec<Arc<dyn ScalarUDFImpl>> {
    let lists = |_: &[DataType]| DataType::new_list(DataType::new_list(DataType::Utf8, true), true);
    vec![RowFunction::shared("all_matches", "a text, a regular expression and flags", three_texts, lists, |args| {
        all_matches(text(&args[0]), text(&args[1]), text(&args[2]))
    })]
}

fn is_text(kind: &DataType) -> bool {
    kind.is_string() || kind.is_null()
}

fn is_number(kind: &DataType) -> bool {
    kind.is_numeric() || kind.is_null()
}

fn is_interval(kind: &DataType) -> bool {
    matches!(kind, DataType::Interval(_)) || is_text(kind)
}

fn texts(kinds: &[DataType], count: usize) -> Option<Vec<DataType>> {
    (kinds.len() == count && kinds.iter().all(is_text)).then(|| vec![DataType::Utf8; count])
}

fn one_text(kinds: &[DataType]) -> Option<Vec<DataType>> {
    texts(kinds, 1)
}

fn two_texts(kinds: &[DataType]) -> Option<Vec<DataType>> {
    texts(kinds, 2)
}

fn three_texts(kinds: &[DataType]) -> Option<Vec<DataType>> {
    texts(kinds, 3)
}

fn text_or_bytes(kinds: &[DataType]) -> Option<Vec<DataType>> {
    match kinds {
        [kind] if is_text(kind) => Some(vec![DataType::Utf8]),
        [DataType::Binary | DataType::LargeBinary | DataType::BinaryView] => Some(vec![DataType::Binary]),
        _ => None,
    }
}

fn one_interval(kinds: &[DataType]) -> Option<Vec<DataType>> {
    (kinds.len() == 1 && is_interval(&kinds[0])).then(|| vec![INTERVAL])
}

fn interval_and_number(kinds: &[DataType]) -> Option<Vec<DataType>> {
    (kinds.len() == 2 && is_interval(&kinds[0]) && is_number(&kinds[1])).then(|| vec![INTERVAL, DataType::Float64])
}

fn bucket_kinds(kinds: &[DataType]) -> Option<Vec<DataType>> {
    match kinds {
        [value, low, high, count] if [value, low, high, count].into_iter().all(is_number) => {
            Some(vec![DataType::Float64, DataType::Float64, DataType::Float64, DataType::Int64])
        }
        [value, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)] if is_number(value) => {
            Some(vec![DataType::Float64, DataType::new_list(DataType::Float64, true)])
        }
        _ => None,
    }
}

fn date_and_time(kinds: &[DataType]) -> Option<Vec<DataType>> {
    let all = kinds.len() == 6 && kinds.iter().all(is_number);
    all.then(|| [vec![DataType::Int64; 5], vec![DataType::Float64]].concat())
}

fn interval_parts(kinds: &[DataType]) -> Option<Vec<DataType>> {
    let all = (1..=7).contains(&kinds.len()) && kinds.iter().all(is_number);
    all.then(|| (0..kinds.len()).map(|index| if index == 6 { DataType::Float64 } else { DataType::Int64 }).collect())
}

fn formatted_kinds(kinds: &[DataType]) -> Option<Vec<DataType>> {
    let [value, format] = kinds else { return None };
    let value = match value {
        DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64 => CLOCKS,
        DataType::Timestamp(_, Some(_)) | DataType::Null => instants(TimeUnit::Microsecond),
        DataType::Interval(_) | DataType::Duration(_) => INTERVAL,
        number if number.is_numeric() => DataType::Float64,
        text if is_text(text) => instants(TimeUnit::Microsecond),
        _ => return None,
    };
    is_text(format).then(|| vec![value, DataType::Utf8])
}

fn digest(name: &'static str, value: fn(&[ScalarValue]) -> Result<ScalarValue>) -> Arc<dyn ScalarUDFImpl> {
    RowFunction::shared(name, "bytes", text_or_bytes, |_| DataType::Binary, value)
}

fn bytes(value: &ScalarValue) -> &[u8] {
    match value {
        ScalarValue::Binary(Some(bytes)) => bytes,
        other => text(other).as_bytes(),
    }
}

/// Returns the bucket of a value in a range divided into `count` buckets: from 1 to `count`, 0 below the range, and
/// `count + 1` above it.
fn bucket_of(value: f64, low: f64, high: f64, count: i64) -> Result<ScalarValue> {
    if count <= 0 || count >= i64::from(i32::MAX) {
        return Err(wrong("count must be greater than zero"));
    }
    if low == high || !low.is_finite() || !high.is_finite() || value.is_nan() {
        return Err(wrong("lower bound cannot equal upper bound, and bounds must be finite"));
    }
    let parts = i32::try_from(count).unwrap_or(i32::MAX - 1);
    let share = (value - low) / (high - low);
    #[expect(clippy::cast_possible_truncation, reason = "the share is below one")]
    let bucket = match share {
        share if share < 0.0 => 0,
        share if share >= 1.0 => parts + 1,
        share => ((share * f64::from(parts)).floor() as i32 + 1).min(parts),
    };
    Ok(ScalarValue::Int32(Some(bucket)))
}

/// Returns the number of ascending bounds that are not greater than a value.
fn bucket_in(value: f64, bounds: &ScalarValue) -> Result<ScalarValue> {
    let ScalarValue::List(bounds) = bounds else { return Err(wrong("width_bucket takes an array of bounds")) };
    let bounds = bounds.value(0);
    let bounds = bounds.as_primitive::<datafusion::arrow::datatypes::Float64Type>();
    if bounds.len() > BOUNDS_MAX {
        return Err(wrong(format!("width_bucket takes at most {BOUNDS_MAX} bounds")));
    }
    let reached = bounds.iter().flatten().filter(|bound| *bound <= value).count();
    Ok(ScalarValue::Int32(i32::try_from(reached).ok()))
}

/// Returns the time of a date and a time of day. Unit: microseconds.
fn made_time(args: &[ScalarValue]) -> Result<i64> {
    let out_of_range = || wrong("a date or time field value is out of range");
    let part = |index: usize| u32::try_from(whole(&args[index])).map_err(|_| out_of_range());
    let year = i32::try_from(whole(&args[0])).map_err(|_| out_of_range())?;
    let date = NaiveDate::from_ymd_opt(year, part(1)?, part(2)?).ok_or_else(out_of_range)?;
    let second = float(&args[5]);
    if !(0.0..60.0).contains(&second) {
        return Err(out_of_range());
    }
    let midnight: NaiveDateTime = date.and_hms_opt(part(3)?, part(4)?, 0).ok_or_else(out_of_range)?;
    #[expect(clippy::cast_possible_truncation, reason = "microseconds of a minute")]
    let us = (second * 1e6).round() as i64;
    midnight.and_utc().timestamp_micros().checked_add(us).ok_or_else(out_of_range)
}

fn made_interval(args: &[ScalarValue]) -> Result<ScalarValue> {
    let part = |index: usize| args.get(index).map_or(0, whole);
    let seconds = args.get(6).map_or(0.0, float);
    let months = part(0).checked_mul(12).and_then(|months| months.checked_add(part(1)));
    let days = part(2).checked_mul(7).and_then(|days| days.checked_add(part(3)));
    let minutes = part(4).checked_mul(60).and_then(|minutes| minutes.checked_add(part(5)));
    #[expect(clippy::cast_possible_truncation, reason = "a value that is too large saturates, and is refused")]
    let second_ns = (seconds * 1e6).round() as i64;
    let ns = minutes.and_then(|minutes| minutes.checked_mul(60_000_000)).and_then(|us| us.checked_add(second_ns));
    let ns = ns.and_then(|us| us.checked_mul(1_000));
    of_parts(months, days, ns)
}

fn of_parts(months: Option<i64>, days: Option<i64>, ns: Option<i64>) -> Result<ScalarValue> {
    let fits = |part: Option<i64>| part.and_then(|part| i32::try_from(part).ok());
    match (fits(months), fits(days), ns) {
        (Some(months), Some(days), Some(ns)) => {
            Ok(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(months, days, ns))))
        }
        _ => Err(wrong("interval out of range")),
    }
}

fn parts_of(value: &ScalarValue) -> (i64, i64, i64) {
    match value {
        ScalarValue::IntervalMonthDayNano(Some(interval)) => {
            (interval.months.into(), interval.days.into(), interval.nanoseconds)
        }
        _ => (0, 0, 0),
    }
}

/// Normalizes an interval: 24 hours become a day, 30 days a month, and all parts get the same sign.
fn justified(value: &ScalarValue, has_days: bool, has_hours: bool) -> Result<ScalarValue> {
    let (mut months, mut days, mut ns) = parts_of(value);
    if has_hours {
        days += ns / DAY_NS;
        ns %= DAY_NS;
    }
    if has_days {
        months += days / 30;
        days %= 30;
        if months > 0 && (days < 0 || (days == 0 && ns < 0 && has_hours)) {
            (months, days) = (months - 1, days + 30);
        } else if months < 0 && (days > 0 || (days == 0 && ns > 0 && has_hours)) {
            (months, days) = (months + 1, days - 30);
        }
    }
    if has_hours {
        if days > 0 && ns < 0 {
            (days, ns) = (days - 1, ns + DAY_NS);
        } else if days < 0 && ns > 0 {
            (days, ns) = (days + 1, ns - DAY_NS);
        }
    }
    of_parts(Some(months), Some(days), Some(ns))
}

/// Multiplies an interval. Fractions of months become days, and fractions of days hours.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "values that are too large are refused"
)]
fn multiplied(value: &ScalarValue, factor: f64) -> Result<ScalarValue> {
    if !factor.is_finite() {
        return Err(wrong("interval out of range"));
    }
    let (months, days, ns) = parts_of(value);
    let months = months as f64 * factor;
    // As in PostgreSQL, the fraction of a month is rounded to six decimal places of a day.
    let of_months = ((months.fract() * 30.0) * 1e6).round() / 1e6;
    let days = days as f64 * factor;
    let of_days = ((days.fract() + of_months.fract()) * 86_400.0 * 1e6).round();
    let us = (ns as f64 / 1_000.0 * factor + of_days).round();
    let is_small = months.abs() < 1e9 && days.abs() < 1e9 && us.abs() < 9e15;
    match is_small {
        true => of_parts(
            Some(months.trunc() as i64),
            Some(days.trunc() as i64 + of_months.trunc() as i64),
            (us as i64).checked_mul(1_000),
        ),
        false => Err(wrong("interval out of range")),
    }
}

fn json(text: &str) -> Result<&RawValue> {
    serde_json::from_str(text).map_err(|_| wrong("invalid input syntax for type json"))
}

/// Returns the elements of a JSON array. Fails with the message `otherwise` for another value.
fn array<'json>(text: &'json str, otherwise: &str) -> Result<Vec<&'json RawValue>> {
    json(text)?;
    serde_json::from_str(text).map_err(|_| wrong(otherwise))
}

/// A list of one value of a function.
fn list(texts: impl IntoIterator<Item = Option<impl AsRef<str>>>) -> ScalarValue {
    let mut list = ListBuilder::new(StringBuilder::new());
    list.append_value(texts);
    ScalarValue::List(Arc::new(list.finish()))
}

fn elements(value: &ScalarValue, is_text: bool) -> Result<ScalarValue> {
    let elements = array(text(value), "cannot extract elements from a JSON value that is no array")?;
    Ok(list(elements.into_iter().map(|element| as_text(element, is_text))))
}

/// The names of the members of a JSON object, sorted.
fn keys(value: &ScalarValue) -> Result<ScalarValue> {
    json(text(value))?;
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(text(value))
        .map_err(|_| wrong("cannot get the keys of a JSON value that is no object"))?;
    Ok(list(members.into_keys().map(Some)))
}

/// Returns the groups of each match in a text, or the matches if the expression has no groups. Only the first match
/// without the flag `g`.
fn all_matches(text: &str, pattern: &str, flags: &str) -> Result<ScalarValue> {
    let regex = compiled(pattern, flags)?;
    let mut found = ListBuilder::new(ListBuilder::new(StringBuilder::new()));
    for captures in regex.captures_iter(text).take(matches_max(flags)) {
        let first = if captures.len() > 1 { 1 } else { 0 };
        let groups = (first..captures.len()).map(|group| captures.get(group).map(|group| group.as_str()));
        found.values().append_value(groups);
    }
    found.append(true);
    Ok(ScalarValue::List(Arc::new(found.finish())))
}

/// Returns the number of groups that [`all_matches`] returns for a text.
pub(super) fn groups_count(text: &str, pattern: &str, flags: &str) -> Result<usize> {
    let regex = compiled(pattern, flags)?;
    let groups = regex.captures_len().saturating_sub(1).max(1);
    Ok(regex.find_iter(text).take(matches_max(flags)).count().saturating_mul(groups))
}

fn matches_max(flags: &str) -> usize {
    if flags.contains('g') { usize::MAX } else { 1 }
}

/// Compiles a regular expression with the options of PostgreSQL. The last one is cached, because most rows use the
/// same.
fn compiled(pattern: &str, flags: &str) -> Result<Regex> {
    thread_local! {
        static LAST: RefCell<Option<(String, String, Regex)>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((known, with, regex)) if known == pattern && with == flags => Ok(regex.clone()),
        last => {
            let regex = compile(pattern, flags)?;
            *last = Some((pattern.to_owned(), flags.to_owned(), regex.clone()));
            Ok(regex)
        }
    })
}

fn compile(pattern: &str, flags: &str) -> Result<Regex> {
    if let Some(flag) = flags.chars().find(|flag| !matches!(flag, 'g' | 'i' | 'c' | 's' | 'n' | 'm' | 'x')) {
        return Err(wrong(format!("invalid regular expression option: {flag:?}")));
    }
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(REGEX_BYTES_MAX).case_insensitive(flags.contains('i')).ignore_whitespace(flags.contains('x'));
    builder.multi_line(flags.contains(['n', 'm'])).dot_matches_new_line(!flags.contains(['n', 'm']));
    builder.build().map_err(|error| {
        let reason = error.to_string();
        wrong(format!("invalid regular expression: {}", reason.lines().last().unwrap_or_default().trim()))
    })
}
