//! The values of parameters, in text and in binary.

use bytes::{Buf, Bytes};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};

use crate::postgres::types::{Kind, NUMERIC, PgType, UUID_OID};
use crate::postgres::values::PgFormat;

/// A value that a client has bound to a parameter.
#[derive(Debug, Clone)]
pub struct PgParameter {
    /// The format of the value.
    pub format: PgFormat,
    /// The OID of the type that the client declared; 0 if none.
    pub declared: u32,
    /// The value; none for null.
    pub value: Option<Bytes>,
}

/// Converts the value of the parameter with this number, from 1.
pub(super) fn scalar(parameter: &PgParameter, pg_type: PgType, number: usize) -> Result<ScalarValue> {
    let Some(bytes) = &parameter.value else { return ScalarValue::try_from(&pg_type_of_engine(pg_type)) };
    let invalid = |what: &str| DataFusionError::Execution(format!("parameter ${number}: {what}"));
    let value = match parameter.format {
        PgFormat::Text => {
            let text = std::str::from_utf8(bytes).map_err(|_| invalid("the text is not valid UTF-8"))?;
            match pg_type.is_array() {
                true => of_array(&array_elements(text).ok_or_else(|| invalid("this is not an array"))?, pg_type),
                false => of_text(text, pg_type.kind()),
            }
        }
        PgFormat::Binary if parameter.declared == UUID_OID => of_uuid(bytes),
        PgFormat::Binary if pg_type.is_array() => of_binary_array(bytes.clone(), pg_type),
        PgFormat::Binary => of_binary(bytes.clone(), pg_type.kind()),
    };
    // The message of the engine would repeat the value.
    value.ok_or_else(|| invalid("the value does not have the form of its type"))
}

fn pg_type_of_engine(pg_type: PgType) -> DataType {
    match (pg_type.kind(), pg_type.is_array()) {
        (Kind::Numeric, false) => NUMERIC,
        _ => pg_type.encoded(),
    }
}

fn of_text(text: &str, kind: Kind) -> Option<ScalarValue> {
    let trimmed = text.trim();
    let engine_type = match kind {
        Kind::Text => return Some(ScalarValue::Utf8(Some(text.to_owned()))),
        Kind::Bool => return truth_of_text(trimmed).map(|truth| ScalarValue::Boolean(Some(truth))),
        Kind::Numeric => return decimal(trimmed),
        Kind::Bytea => return bytes_of_text(text).map(|bytes| ScalarValue::Binary(Some(bytes))),
        kind => PgType::new(kind).encoded(),
    };
    let is_time = matches!(kind, Kind::Timestamp | Kind::TimestampTz);
    let complete = if is_time { time_with_seconds(trimmed) } else { None };
    ScalarValue::Utf8(Some(complete.unwrap_or_else(|| trimmed.to_owned())))
        .cast_to(&engine_type)
        .ok()
        .filter(|value| !value.is_null())
}

/// Parses a boolean as PostgreSQL does.
pub(crate) fn truth_of_text(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "on" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Parses bytes as PostgreSQL does: `\x6869`, or letters with `\\` for a backslash and `\150` for a byte in octal
/// digits.
pub(crate) fn bytes_of_text(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let byte = |pair: &[u8]| {
            let is_whole = pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
            is_whole.then(|| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())?
        };
        return digits.as_bytes().chunks(2).map(byte).collect();
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'\\', [b'\\', after @ ..]) => (b'\\', after),
            (b'\\', after) => {
                let (digits, after) = after.split_at_checked(3)?;
                (u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()?, after)
            }
            (byte, after) => (*byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    Some(bytes)
}

/// Adds seconds to a time without them: `2026-11-01 00:00`, also with a zone. None for other texts.
pub(crate) fn time_with_seconds(text: &str) -> Option<String> {
    let text = text.trim();
    let (head, zone) = text.split_at_checked("2026-11-01 00:00".len())?;
    let is_digit = |index: &usize| head.as_bytes()[*index].is_ascii_digit();
    let has_form = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15].iter().all(is_digit)
        && head.as_bytes()[13] == b':'
        && matches!(head.as_bytes()[10], b' ' | b'T' | b't');
    (has_form && !zone.starts_with([':', '.'])).then(|| format!("{head}:00{zone}"))
}

/// Parses an array in text form: `{a,b}`. None if the text is not an array, or has elements of another type.
pub(crate) fn array_of_text(text: &str, element: &DataType) -> Option<ScalarValue> {
    let value = |text: Option<String>| match text {
        Some(text) => {
            let read = of_text(&text, PgType::of(element).kind())?.cast_to(element).ok()?;
            (!read.is_null()).then_some(read)
        }
        None => ScalarValue::try_from(element).ok(),
    };
    let values = array_elements(text)?.into_iter().map(value).collect::<Option<Vec<_>>>()?;
    Some(ScalarValue::List(ScalarValue::new_list(&values, element, true)))
}

/// Parses a decimal number, with the scale of its text.
fn decimal(text: &str) -> Option<ScalarValue> {
    if text.contains(['e', 'E', 'n', 'N']) {
        return text.parse().ok().map(|number| ScalarValue::Float64(Some(number)));
    }
    let fraction = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let scale = i8::try_from(fraction).ok().filter(|scale| *scale <= 38)?;
    let digits: String = text.chars().filter(|c| *c != '.').collect();
    let number: i128 = digits.parse().ok()?;
    let precision = u8::try_from(number.unsigned_abs().to_string().len().max(fraction)).ok()?.clamp(1, 38);
    Some(ScalarValue::Decimal128(Some(number), precision, scale))
}

fn of_uuid(bytes: &[u8]) -> Option<ScalarValue> {
    let digits: String = (bytes.len() == 16).then(|| bytes.iter().map(|byte| format!("{byte:02x}")).collect())?;
    let text = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-");
    Some(ScalarValue::Utf8(Some(text)))
}

fn of_binary(mut bytes: Bytes, kind: Kind) -> Option<ScalarValue> {
    const DAY: i64 = 86_400_000_000;
    let value = match kind {
        Kind::Bool => ScalarValue::Boolean(Some(bytes.try_get_u8().ok()? != 0)),
        Kind::Int2 => ScalarValue::Int16(Some(bytes.try_get_i16().ok()?)),
        Kind::Int4 => ScalarValue::Int32(Some(bytes.try_get_i32().ok()?)),
        Kind::Int8 => ScalarValue::Int64(Some(bytes.try_get_i64().ok()?)),
        Kind::Oid => ScalarValue::UInt32(Some(bytes.try_get_u32().ok()?)),
        Kind::Float4 => ScalarValue::Float32(Some(bytes.try_get_f32().ok()?)),
        Kind::Float8 => ScalarValue::Float64(Some(bytes.try_get_f64().ok()?)),
        Kind::Date => ScalarValue::Date32(Some(bytes.try_get_i32().ok()?.checked_add(10_957)?)),
        Kind::Time => ScalarValue::Time64Microsecond(Some(bytes.try_get_i64().ok()?)),
        Kind::Timestamp | Kind::TimestampTz => {
            let micros = bytes.try_get_i64().ok()?.checked_add(10_957 * DAY)?;
            let zone = (kind == Kind::TimestampTz).then(|| "UTC".into());
            ScalarValue::TimestampMicrosecond(Some(micros), zone)
        }
        Kind::Interval => {
            let micros = bytes.try_get_i64().ok()?;
            let (days, months) = (bytes.try_get_i32().ok()?, bytes.try_get_i32().ok()?);
            ScalarValue::new_interval_mdn(months, days, micros.checked_mul(1_000)?)
        }
        Kind::Numeric => return binary_decimal(bytes),
        Kind::Text => return Some(ScalarValue::Utf8(Some(std::str::from_utf8(&bytes).ok()?.to_owned()))),
        Kind::Bytea => return Some(ScalarValue::Binary(Some(bytes.to_vec()))),
    };
    bytes.is_empty().then_some(value)
}

fn binary_decimal(mut bytes: Bytes) -> Option<ScalarValue> {
    let (count, weight) = (bytes.try_get_u16().ok()?, bytes.try_get_i16().ok()?);
    let (sign, scale) = (bytes.try_get_u16().ok()?, bytes.try_get_u16().ok()?);
    if !matches!(sign, 0 | 0x4000) || scale > 38 || bytes.remaining() != usize::from(count) * 2 {
        return None;
    }
    // The value is the sum of groups times 10,000 to the power of their weights; scaled to its digits after the point.
    let mut value: i128 = 0;
    for index in 0..count {
        let group = i128::from(bytes.try_get_u16().ok()?);
        let power = (i32::from(weight) - i32::from(index)) * 4 + i32::from(scale);
        let part = match u32::try_from(power) {
            Ok(power) => group.checked_mul(10_i128.checked_pow(power)?)?,
            Err(_) => group / 10_i128.checked_pow(power.unsigned_abs())?,
        };
        value = value.checked_add(part)?;
    }
    let value = if sign == 0 { value } else { -value };
    Some(ScalarValue::Decimal128(Some(value), 38, i8::try_from(scale).ok()?))
}

fn of_array(elements: &[Option<String>], pg_type: PgType) -> Option<ScalarValue> {
    let values = elements.iter().map(|element| match element {
        Some(text) => of_text(text, pg_type.kind()),
        None => ScalarValue::try_from(&PgType::new(pg_type.kind()).encoded()).ok(),
    });
    list(values.collect::<Option<_>>()?, pg_type)
}

fn list(values: Vec<ScalarValue>, pg_type: PgType) -> Option<ScalarValue> {
    let element = match values.first() {
        Some(value) => value.data_type(),
        None => PgType::new(pg_type.kind()).encoded(),
    };
    if values.iter().any(|value| value.data_type() != element) {
        return None;
    }
    Some(ScalarValue::List(ScalarValue::new_list(&values, &element, true)))
}

fn of_binary_array(mut bytes: Bytes, pg_type: PgType) -> Option<ScalarValue> {
    let (dimensions, _, element) = (bytes.try_get_i32().ok()?, bytes.try_get_i32().ok()?, bytes.try_get_u32().ok()?);
    if dimensions == 0 {
        return list(Vec::new(), pg_type);
    }
    let kind = PgType::of_oid(element).filter(|element| !element.is_array())?.kind();
    let (count, _) = (bytes.try_get_i32().ok()?, bytes.try_get_i32().ok()?);
    if dimensions != 1 {
        return None;
    }
    let mut values = Vec::new();
    for _ in 0..count {
        let length = bytes.try_get_i32().ok()?;
        let value = match usize::try_from(length) {
            Err(_) => ScalarValue::try_from(&PgType::new(kind).encoded()).ok()?,
            Ok(length) if length <= bytes.remaining() => match element {
                UUID_OID => of_uuid(&bytes.split_to(length))?,
                _ => of_binary(bytes.split_to(length), kind)?,
            },
            Ok(_) => return None,
        };
        values.push(value);
    }
    bytes.is_empty().then_some(())?;
    list(values, pg_type)
}

/// The elements of an array in text: `{a,"b c",NULL}`.
pub(crate) fn array_elements(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    let mut letters = inner.chars().peekable();
    if inner.trim().is_empty() {
        return Some(elements);
    }
    loop {
        while letters.next_if(|c| c.is_whitespace()).is_some() {}
        let mut element = String::new();
        let is_quoted = letters.next_if_eq(&'"').is_some();
        loop {
            match letters.next() {
                Some('"') if is_quoted => break,
                Some('\\') => element.push(letters.next()?),
                Some(',') if !is_quoted => {
                    elements.push(plain(element));
                    element = String::new();
                    while letters.next_if(|c| c.is_whitespace()).is_some() {}
                    if letters.peek() == Some(&'"') {
                        break;
                    }
                }
                Some('{' | '}' | '"') if !is_quoted => return None,
                Some(c) => element.push(c),
                None if is_quoted => return None,
                None => {
                    elements.push(plain(element));
                    return Some(elements);
                }
            }
        }
        if !is_quoted {
            // A quoted element follows.
            continue;
        }
        elements.push(Some(element));
        while letters.next_if(|c| c.is_whitespace()).is_some() {}
        match letters.next() {
            None => return Some(elements),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

fn plain(element: String) -> Option<String> {
    let element = element.trim();
    (!element.eq_ignore_ascii_case("null")).then(|| element.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_read_from_text() {
        let read = |text: &str| {
            let elements = array_elements(text)?;
            Some(elements.into_iter().map(|element| element.unwrap_or("-".to_owned())).collect::<Vec<_>>().join("|"))
        };
        assert_eq!(read("{}").unwrap(), "");
        assert_eq!(read("{a,b}").unwrap(), "a|b");
        assert_eq!(read(r#"{a,"b, \"c\"",NULL, d ,"e"}"#).unwrap(), r#"a|b, "c"|-|d|e"#);
        assert_eq!([read("a"), read("{a"), read("{\"a}"), read("{{a},{b}}")], [None, None, None, None]);
    }

    #[test]
    fn decimal_numbers_keep_their_digits() {
        assert_eq!(decimal("-12.50"), Some(ScalarValue::Decimal128(Some(-1250), 4, 2)));
        assert_eq!(decimal("0.001"), Some(ScalarValue::Decimal128(Some(1), 3, 3)));
        let binary = Bytes::from_static(&[0, 3, 0, 1, 0, 0, 0, 2, 0, 1, 0x09, 0x29, 0x1a, 0x2c]);
        assert_eq!(binary_decimal(binary), Some(ScalarValue::Decimal128(Some(1_234_567), 38, 2)));
    }

    #[test]
    fn what_is_cut_off_or_has_the_wrong_size_is_no_value() {
        for kind in [Kind::Int2, Kind::Int8, Kind::TimestampTz, Kind::Interval, Kind::Numeric, Kind::Float8] {
            assert_eq!(of_binary(Bytes::from_static(&[1]), kind), None, "{kind:?}");
        }
        assert_eq!(of_binary(Bytes::from_static(&[0; 9]), Kind::Int8), None);
        let array = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 4];
        let int4 = PgType::of_oid(1007).unwrap();
        assert_eq!(of_binary_array(Bytes::copy_from_slice(&array), int4), None);
    }
}
