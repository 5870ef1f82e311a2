//! Encodes rows in the formats of PostgreSQL: text and binary.

use std::fmt::Write;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use datafusion::arrow::array::types::{
    Date32Type, DurationNanosecondType, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType, UInt32Type,
};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StringBuilder};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::temporal_conversions::{date32_to_datetime, timestamp_us_to_datetime};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::DataFusionError;

use crate::error::{SqlError, SqlErrorKind};
use crate::postgres::types::{self, Kind, NUMERIC, PgColumn, PgType};

/// From 1970-01-01 to 2000-01-01, the epoch of PostgreSQL.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The format of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PgFormat {
    /// As text.
    Text,
    /// In binary.
    Binary,
}

/// Rows whose values are prepared for [`PgRows::put`].
#[derive(Debug)]
pub struct PgBatch {
    values: Vec<ArrayRef>,
    rows: usize,
}

impl PgBatch {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }
}

/// Encodes the rows of an answer.
#[derive(Debug, Clone)]
pub struct PgRows {
    columns: Vec<PgColumn>,
    formats: Vec<PgFormat>,
}

impl PgRows {
    /// Rows with this schema; `formats` is one for all columns, or one for each.
    pub fn new(schema: &SchemaRef, formats: &[PgFormat]) -> Self {
        Self::of(types::columns(schema), formats)
    }

    /// The same rows in other formats.
    pub fn with_formats(&self, formats: &[PgFormat]) -> Self {
        Self::of(self.columns.clone(), formats)
    }

    fn of(columns: Vec<PgColumn>, formats: &[PgFormat]) -> Self {
        let format = |index| match formats {
            [] => PgFormat::Text,
            [format] => *format,
            formats => formats.get(index).copied().unwrap_or(PgFormat::Text),
        };
        let formats = (0..columns.len()).map(format).collect();
        Self { columns, formats }
    }

    /// The columns.
    pub fn columns(&self) -> &[PgColumn] {
        &self.columns
    }

    /// The format of a column.
    pub fn format(&self, column: usize) -> PgFormat {
        self.formats.get(column).copied().unwrap_or(PgFormat::Text)
    }

    /// Prepares the values of a batch for [`Self::put`].
    pub fn encodable(&self, batch: &RecordBatch) -> Result<PgBatch, SqlError> {
        let columns = batch.columns().iter().zip(&self.columns);
        let values =
            columns.map(|(array, column)| encodable(array, column.pg_type).map_err(|error| unsendable(&error)));
        Ok(PgBatch { values: values.collect::<Result<_, _>>()?, rows: batch.num_rows() })
    }

    /// Appends a value with its length in front, or the length -1 for null.
    pub fn put(&self, batch: &PgBatch, column: usize, row: usize, into: &mut BytesMut) -> Result<(), SqlError> {
        let (array, pg_type) = (&batch.values[column], self.columns[column].pg_type);
        sized(into, array.is_null(row), |into| match self.format(column) {
            PgFormat::Text => text(array.as_ref(), pg_type, row, into),
            PgFormat::Binary => binary(array.as_ref(), pg_type, row, into),
        })
    }

    /// The text of a value; none for null.
    pub fn text(&self, batch: &PgBatch, column: usize, row: usize) -> Result<Option<String>, SqlError> {
        let array = &batch.values[column];
        if array.is_null(row) {
            return Ok(None);
        }
        text_of(array.as_ref(), self.columns[column].pg_type, row).map(Some)
    }
}

/// The values of a column as texts in PostgreSQL's form.
#[derive(Debug)]
pub(crate) struct PgTexts {
    values: ArrayRef,
    pg_type: PgType,
}

impl PgTexts {
    /// The values of a column, none of which is an array.
    pub(crate) fn new(array: &ArrayRef) -> Result<Self, ArrowError> {
        let pg_type = PgType::of(array.data_type());
        Ok(Self { values: encodable(array, pg_type)?, pg_type })
    }

    /// The text of a value that is not NULL.
    pub(crate) fn text(&self, row: usize) -> Result<String, DataFusionError> {
        text_of(self.values.as_ref(), self.pg_type, row).map_err(|error| DataFusionError::Execution(error.to_string()))
    }
}

fn unsendable(error: &ArrowError) -> SqlError {
    SqlError::new(SqlErrorKind::Invalid, format!("a value cannot be sent to a client of PostgreSQL: {error}"))
}

fn out_of_range() -> SqlError {
    SqlError::new(SqlErrorKind::Invalid, "a time is out of the range of PostgreSQL").with_code("22008")
}

/// The values of a column in the type in which they are encoded.
fn encodable(array: &ArrayRef, pg_type: PgType) -> Result<ArrayRef, ArrowError> {
    let target = pg_type.encoded();
    if *array.data_type() == target {
        return Ok(Arc::clone(array));
    }
    let is_text = pg_type == PgType::TEXT;
    match array.data_type() {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Dictionary(..) | DataType::Null => cast(array, &target),
        _ if is_text => displayed(array),
        // The digits of this type were not chosen by the query: in PostgreSQL, `numeric` has as many as the number
        // needs.
        kind if *kind == NUMERIC => Ok(trimmed(&cast(array, &target)?)),
        DataType::Duration(_) => {
            let durations = cast(array, &DataType::Duration(datafusion::arrow::datatypes::TimeUnit::Nanosecond))?;
            let durations = durations.as_primitive::<DurationNanosecondType>();
            Ok(Arc::new(durations.unary::<_, IntervalMonthDayNanoType>(in_days)))
        }
        _ => cast(array, &target),
    }
}

/// Converts values; one that does not fit is an error, and not null.
fn cast(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(array, target, &CastOptions { safe: false, ..CastOptions::default() })
}

/// Removes trailing zeros from decimal numbers.
fn trimmed(numbers: &ArrayRef) -> ArrayRef {
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    let texts: StringArray = numbers.as_string::<i32>().iter().map(|text| text.map(trim)).collect();
    Arc::new(texts)
}

fn displayed(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
    let mut texts = StringBuilder::new();
    for row in 0..array.len() {
        match array.is_null(row) {
            true => texts.append_null(),
            false => texts.append_value(formatter.value(row).try_to_string()?),
        }
    }
    Ok(Arc::new(texts.finish()))
}

fn sized(
    into: &mut BytesMut,
    is_null: bool,
    put: impl FnOnce(&mut BytesMut) -> Result<(), SqlError>,
) -> Result<(), SqlError> {
    if is_null {
        into.put_i32(-1);
        return Ok(());
    }
    let begin = into.len();
    into.put_i32(0);
    put(into)?;
    let length = i32::try_from(into.len() - begin - 4)
        .map_err(|_| SqlError::new(SqlErrorKind::TooLarge, "a value is larger than 2 GiB"))?;
    into[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn binary(array: &dyn Array, pg_type: PgType, row: usize, into: &mut BytesMut) -> Result<(), SqlError> {
    if pg_type.is_array() {
        let elements = array.as_list::<i32>().value(row);
        let element = PgType::new(pg_type.kind());
        into.put_i32(i32::from(!elements.is_empty()));
        into.put_i32(i32::from(elements.null_count() > 0));
        into.put_u32(element.oid());
        if !elements.is_empty() {
            into.put_i32(elements.len().try_into().unwrap_or(i32::MAX));
            into.put_i32(1);
        }
        for index in 0..elements.len() {
            sized(into, elements.is_null(index), |into| binary(elements.as_ref(), element, index, into))?;
        }
        return Ok(());
    }
    match pg_type.kind() {
        Kind::Bool => into.put_u8(array.as_boolean().value(row).into()),
        Kind::Int2 => into.put_i16(array.as_primitive::<Int16Type>().value(row)),
        Kind::Int4 => into.put_i32(array.as_primitive::<Int32Type>().value(row)),
        Kind::Int8 => into.put_i64(array.as_primitive::<Int64Type>().value(row)),
        Kind::Oid => into.put_u32(array.as_primitive::<UInt32Type>().value(row)),
        Kind::Float4 => into.put_f32(array.as_primitive::<Float32Type>().value(row)),
        Kind::Float8 => into.put_f64(array.as_primitive::<Float64Type>().value(row)),
        Kind::Numeric => put_numeric(array.as_string::<i32>().value(row), into),
        Kind::Text => put_text(array.as_string::<i32>().value(row), into),
        Kind::Bytea => into.put_slice(array.as_binary::<i32>().value(row)),
        Kind::Date => {
            let days = array.as_primitive::<Date32Type>().value(row);
            into.put_i32(days.checked_sub(EPOCH_DAYS).ok_or_else(out_of_range)?);
        }
        Kind::Time => into.put_i64(array.as_primitive::<Time64MicrosecondType>().value(row)),
        Kind::Timestamp | Kind::TimestampTz => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            into.put_i64(micros.checked_sub(EPOCH_MICROS).ok_or_else(out_of_range)?);
        }
        Kind::Interval => {
            let interval = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            into.put_i64(interval.nanoseconds / 1_000);
            into.put_i32(interval.days);
            into.put_i32(interval.months);
        }
    }
    Ok(())
}

/// Clients in C end a text at a zero byte, and PostgreSQL has no texts with one: it is shown as U+FFFD instead, so that
/// nothing after it is hidden.
fn put_text(text: &str, into: &mut BytesMut) {
    let mut parts = text.split('\0');
    into.put_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        into.put_slice("\u{fffd}".as_bytes());
        into.put_slice(part.as_bytes());
    }
}

/// Writes a decimal number in groups of four digits.
fn put_numeric(digits: &str, into: &mut BytesMut) {
    let (is_negative, digits) = match digits.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, digits),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let padded_whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let padded_fraction = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let value =
        |group: &[u8]| group.iter().fold(0, |value: i16, digit| value * 10 + i16::from(digit.wrapping_sub(b'0') % 10));
    let mut groups: Vec<i16> =
        padded_whole.as_bytes().chunks(4).chain(padded_fraction.as_bytes().chunks(4)).map(value).collect();
    let mut weight = padded_whole.len() as i64 / 4 - 1;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= leading as i64;
    if groups.is_empty() {
        weight = 0;
    }
    let is_negative = is_negative && !groups.is_empty();
    into.put_i16(groups.len().try_into().unwrap_or(i16::MAX));
    into.put_i16(weight.try_into().unwrap_or(0));
    into.put_u16(if is_negative { 0x4000 } else { 0 });
    into.put_u16(fraction.len().try_into().unwrap_or(u16::MAX));
    groups.into_iter().for_each(|group| into.put_i16(group));
}

fn text(array: &dyn Array, pg_type: PgType, row: usize, into: &mut BytesMut) -> Result<(), SqlError> {
    match (pg_type.is_array(), pg_type.kind()) {
        (false, Kind::Text) => put_text(array.as_string::<i32>().value(row), into),
        _ => into.put_slice(text_of(array, pg_type, row)?.as_bytes()),
    }
    Ok(())
}

fn text_of(array: &dyn Array, pg_type: PgType, row: usize) -> Result<String, SqlError> {
    if pg_type.is_array() {
        let elements = array.as_list::<i32>().value(row);
        let element = PgType::new(pg_type.kind());
        let mut text = String::from("{");
        for index in 0..elements.len() {
            if index > 0 {
                text.push(',');
            }
            match elements.is_null(index) {
                true => text.push_str("NULL"),
                false => push_element(&text_of(elements.as_ref(), element, index)?, &mut text),
            }
        }
        text.push('}');
        return Ok(text);
    }
    Ok(match pg_type.kind() {
        Kind::Bool => if array.as_boolean().value(row) { "t" } else { "f" }.to_owned(),
        Kind::Int2 => array.as_primitive::<Int16Type>().value(row).to_string(),
        Kind::Int4 => array.as_primitive::<Int32Type>().value(row).to_string(),
        Kind::Int8 => array.as_primitive::<Int64Type>().value(row).to_string(),
        Kind::Oid => array.as_primitive::<UInt32Type>().value(row).to_string(),
        Kind::Float4 => {
            float_text(&format!("{:e}", array.as_primitive::<Float32Type>().value(row)), FLOAT4_EXPONENT_FROM)
        }
        Kind::Float8 => {
            float_text(&format!("{:e}", array.as_primitive::<Float64Type>().value(row)), FLOAT8_EXPONENT_FROM)
        }
        Kind::Numeric => array.as_string::<i32>().value(row).to_owned(),
        Kind::Text => array.as_string::<i32>().value(row).replace('\0', "\u{fffd}"),
        Kind::Bytea => {
            let mut text = String::from("\\x");
            array.as_binary::<i32>().value(row).iter().for_each(|byte| {
                let _ = write!(text, "{byte:02x}");
            });
            text
        }
        Kind::Date => {
            let time = date32_to_datetime(array.as_primitive::<Date32Type>().value(row)).ok_or_else(out_of_range)?;
            with_year(time, "%m-%d", "")
        }
        Kind::Time => clock_text(array.as_primitive::<Time64MicrosecondType>().value(row)),
        kind @ (Kind::Timestamp | Kind::TimestampTz) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let time = timestamp_us_to_datetime(micros).ok_or_else(out_of_range)?;
            let fraction = micros.rem_euclid(1_000_000);
            let fraction = if fraction == 0 { String::new() } else { fraction_text(fraction) };
            let zone = if kind == Kind::TimestampTz { "+00" } else { "" };
            with_year(time, "%m-%d %H:%M:%S", &format!("{fraction}{zone}"))
        }
        Kind::Interval => {
            let interval = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            interval_text(interval.months, interval.days, interval.nanoseconds / 1_000)
        }
    })
}

/// Formats a time with a four-digit year, followed by `BC` for times before the year 1.
fn with_year(time: chrono::NaiveDateTime, rest: &str, end: &str) -> String {
    use chrono::Datelike;
    let (year, era) = if time.year() > 0 { (time.year(), "") } else { (1 - time.year(), " BC") };
    format!("{year:04}-{}{end}{era}", time.format(rest))
}

fn fraction_text(micros: i64) -> String {
    format!(".{micros:06}").trim_end_matches('0').to_owned()
}

fn clock_text(micros: i64) -> String {
    let (sign, micros) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let fraction = if fraction == 0 { String::new() } else { fraction_text(fraction as i64) };
    format!("{sign}{:02}:{:02}:{:02}{fraction}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn interval_text(months: i32, days: i32, micros: i64) -> String {
    let mut parts = Vec::new();
    // A positive part after a negative one has a sign.
    let mut is_after_negative = false;
    for (count, word) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if count != 0 {
            let sign = if is_after_negative && count > 0 { "+" } else { "" };
            parts.push(format!("{sign}{count} {word}{}", if count == 1 { "" } else { "s" }));
            is_after_negative = count < 0;
        }
    }
    if micros != 0 || parts.is_empty() {
        let sign = if is_after_negative && micros >= 0 { "+" } else { "" };
        parts.push(format!("{sign}{}", clock_text(micros)));
    }
    parts.join(" ")
}

/// Converts a duration to an interval of days and a remaining time, like the difference of two times in PostgreSQL.
fn in_days(ns: i64) -> IntervalMonthDayNano {
    const DAY_NS: i64 = 86_400_000_000_000;
    IntervalMonthDayNano::new(0, i32::try_from(ns / DAY_NS).unwrap_or(i32::MAX), ns % DAY_NS)
}

/// Exponents from which PostgreSQL uses scientific notation.
const FLOAT4_EXPONENT_FROM: i32 = 6;
const FLOAT8_EXPONENT_FROM: i32 = 15;

/// Formats a number as PostgreSQL does, from its shortest scientific notation, such as `1.5e3`.
fn float_text(shortest: &str, exponent_from: i32) -> String {
    let (sign, unsigned) = shortest.strip_prefix('-').map_or(("", shortest), |unsigned| ("-", unsigned));
    if unsigned == "inf" {
        return format!("{sign}Infinity");
    }
    let Some((digits, exponent)) = unsigned.split_once('e') else { return shortest.to_owned() };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= exponent_from {
        let direction = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{digits}e{direction}{:02}", exponent.unsigned_abs());
    }
    let digits = digits.replace('.', "");
    let zeros = |count: usize| "0".repeat(count);
    match usize::try_from(exponent) {
        Err(_) => format!("{sign}0.{}{digits}", zeros(usize::try_from(-exponent - 1).unwrap_or(0))),
        Ok(exponent) if digits.len() > exponent + 1 => {
            format!("{sign}{}.{}", &digits[..=exponent], &digits[exponent + 1..])
        }
        Ok(exponent) => format!("{sign}{digits}{}", zeros(exponent + 1 - digits.len())),
    }
}

fn push_element(element: &str, text: &mut String) {
    let is_special = |c: char| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_whitespace();
    if !element.is_empty() && !element.eq_ignore_ascii_case("null") && !element.contains(is_special) {
        text.push_str(element);
        return;
    }
    text.push('"');
    for c in element.chars() {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(digits: &str) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        put_numeric(digits, &mut bytes);
        bytes.to_vec()
    }

    #[test]
    fn decimal_numbers_are_sent_in_groups_of_four_digits() {
        assert_eq!(numeric("0"), [0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(numeric("12345.67"), [0, 3, 0, 1, 0, 0, 0, 2, 0, 1, 0x09, 0x29, 0x1a, 0x2c]);
        assert_eq!(numeric("-0.05"), [0, 1, 0xff, 0xff, 0x40, 0, 0, 2, 0x01, 0xf4]);
        assert_eq!(numeric("10000"), [0, 1, 0, 1, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn times_are_written_as_postgresql_writes_them() {
        assert_eq!(clock_text(3_661_500_000), "01:01:01.5");
        assert_eq!(interval_text(14, -3, -1_000_000), "1 year 2 mons -3 days -00:00:01");
        assert_eq!(interval_text(0, 0, 0), "00:00:00");
        let text = |number: f64| float_text(&format!("{number:e}"), FLOAT8_EXPONENT_FROM);
        for (number, expected) in [
            (1e300, "1e+300"),
            (1e15, "1e+15"),
            (123_456_789_012_345.6, "123456789012345.6"),
            (0.000_1, "0.0001"),
            (-0.000_012_5, "-1.25e-05"),
            (2.0, "2"),
            (-0.0, "-0"),
            (120.5, "120.5"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(text(number), expected);
        }
        assert_eq!(float_text(&format!("{:e}", 1_234_567_f32), FLOAT4_EXPONENT_FROM), "1.234567e+06");
    }

    #[test]
    fn elements_are_quoted_where_they_must_be() {
        let quoted = |element: &str| {
            let mut text = String::new();
            push_element(element, &mut text);
            text
        };
        assert_eq!(
            ["a", "", "null", "a b", "a\"\\"].map(quoted),
            ["a", "\"\"", "\"null\"", "\"a b\"", "\"a\\\"\\\\\""]
        );
    }

    #[test]
    fn a_zero_byte_does_not_hide_what_follows() {
        let mut bytes = BytesMut::new();
        put_text("a\0b", &mut bytes);
        assert_eq!(bytes, "a\u{fffd}b".as_bytes());
    }
}
