//! The memory of a body when it is decoded, estimated from its bytes alone: some kilobytes can decode to gigabytes.
//!
//! The constants approximate the size of the decoded forms and of the records created from them; texts count with their
//! length.

use crate::http::error::{ApiError, ApiResult};

/// A JSON object, which reserves space for eleven fields, even if it has fewer.
const OBJECT_BYTES: usize = 704;

/// A JSON array.
const ARRAY_BYTES: usize = 64;

/// An additional field of an object, or an element of an array.
const MEMBER_BYTES: usize = 128;

/// A JSON object that becomes a message, such as an attribute or its value.
const MESSAGE_BYTES: usize = 160;

/// A string of a protobuf message, without its bytes.
const TEXT_BYTES: usize = 32;

/// Maximum nesting depth of protobuf messages, which is that of the decoder.
const DEPTH_MAX: usize = 110;

/// The decoded size of JSON: of one value, or of one value per line. Unit: bytes.
pub(crate) fn of_json(body: &[u8]) -> usize {
    let bytes = |(mark, _): (u8, &[u8])| match mark {
        b'{' => OBJECT_BYTES,
        b'[' => ARRAY_BYTES,
        b',' => MEMBER_BYTES,
        _ => 0,
    };
    body.len() + marks(body).map(bytes).sum::<usize>()
}

/// The decoded size of a line of a pushed log: a record, or an array of records that are decoded one at a time. Unit:
/// bytes.
pub(crate) fn of_line(line: &[u8]) -> usize {
    match line.trim_ascii_start().starts_with(b"[") {
        // The positions of the records, in a buffer that doubles, and the memory of the largest of them.
        true => 2 * line.len() + memchr::memchr_iter(b',', line).count() * 2 * size_of::<&str>() + largest_record(line),
        // It may have to be repaired, which takes a copy.
        false => of_json(line) + line.len(),
    }
}

/// The decoded size of the largest record of an array. Unit: bytes.
fn largest_record(array: &[u8]) -> usize {
    let (mut depth, mut size, mut largest) = (0_usize, 0_usize, 0_usize);
    for (mark, _) in marks(array) {
        match mark {
            b'{' => (depth, size) = (depth + 1, size + OBJECT_BYTES),
            b'[' => (depth, size) = (depth + 1, size + ARRAY_BYTES),
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth <= 1 => (largest, size) = (largest.max(size), 0),
            b',' => size += MEMBER_BYTES,
            _ => {}
        }
    }
    largest.max(size)
}

/// The decoded size of engine events: JSON, and lines of syslog, each of which becomes a nested object.
pub(crate) fn of_events(body: &[u8]) -> usize {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"<"));
    let syslog: usize =
        lines.map(|line| 2 * OBJECT_BYTES + line.iter().filter(|byte| **byte == b'[').count() * OBJECT_BYTES).sum();
    of_json(body) + syslog
}

/// The decoded size of an OTLP request in JSON; counting stops once it exceeds `enough`. Objects become messages, which
/// take less than objects with any fields; those in a list of log records become records. Unit: bytes.
pub(crate) fn of_otlp_json(body: &[u8], enough: usize) -> usize {
    let mut size = body.len();
    // The open objects and lists, and which of them contain log records.
    let mut open: Vec<bool> = Vec::new();
    for (mark, text_before) in marks(body) {
        match mark {
            b'{' => {
                size += if open.last() == Some(&true) { Message::LogRecord.bytes() } else { MESSAGE_BYTES };
                open.push(false);
            }
            b'[' => {
                size += ARRAY_BYTES;
                open.push([b"logRecords".as_slice(), b"log_records", b"logs"].contains(&text_before));
            }
            b'}' | b']' => _ = open.pop(),
            _ => {}
        }
        if size > enough {
            break;
        }
    }
    size
}

/// The bytes of JSON outside of its strings, each with the preceding string.
fn marks(body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut text_before: &[u8] = &[];
    let mut text_from = None;
    let mut bytes = body.iter().enumerate();
    std::iter::from_fn(move || {
        loop {
            let (at, byte) = bytes.next()?;
            match (byte, text_from) {
                (b'"', None) => text_from = Some(at + 1),
                (b'"', Some(from)) => (text_before, text_from) = (&body[from..at], None),
                // No string continues on the next line.
                (b'\n', Some(_)) => text_from = None,
                (b'\\', Some(_)) => _ = bytes.next(),
                (_, Some(_)) => {}
                (mark, None) => return Some((*mark, text_before)),
            }
        }
    })
}

/// The messages of an OTLP request that contain others.
#[derive(Clone, Copy)]
pub(crate) enum Message {
    Request,
    ResourceLogs,
    Resource,
    EntityRef,
    ScopeLogs,
    Scope,
    LogRecord,
    KeyValue,
    AnyValue,
    ArrayValue,
    KeyValueList,
}

impl Message {
    /// The message type of a field of this one; none for a string and for an unknown field.
    ///
    /// Source: `opentelemetry/proto` (logs, common and resource, v1).
    fn field(self, number: u64) -> Option<Self> {
        match (self, number) {
            (Self::Request, 1) => Some(Self::ResourceLogs),
            (Self::ResourceLogs, 1) => Some(Self::Resource),
            (Self::ResourceLogs, 2 | 1000) => Some(Self::ScopeLogs),
            (Self::Resource, 3) => Some(Self::EntityRef),
            (Self::ScopeLogs, 1) => Some(Self::Scope),
            (Self::ScopeLogs, 2) => Some(Self::LogRecord),
            (Self::Resource, 1) | (Self::Scope, 3) | (Self::LogRecord, 6) | (Self::KeyValueList, 1) => {
                Some(Self::KeyValue)
            }
            (Self::LogRecord, 5) | (Self::KeyValue, 2) | (Self::ArrayValue, 1) => Some(Self::AnyValue),
            (Self::AnyValue, 5) => Some(Self::ArrayValue),
            (Self::AnyValue, 6) => Some(Self::KeyValueList),
            _ => None,
        }
    }

    /// True for a field that contains a string. Source: as above.
    fn is_text(self, number: u64) -> bool {
        matches!(
            (self, number),
            (Self::Scope, 1 | 2) | (Self::LogRecord, 3 | 12) | (Self::KeyValue | Self::AnyValue, 1)
        )
    }

    /// Its size, together with its share of the record that is created from it.
    fn bytes(self) -> usize {
        match self {
            Self::Request => 0,
            Self::ResourceLogs | Self::ScopeLogs | Self::EntityRef => 128,
            Self::Resource | Self::Scope => 96,
            // It becomes a record with an object of further fields, which contains one of attributes.
            Self::LogRecord => 384 + 2 * OBJECT_BYTES,
            Self::KeyValue => 160,
            Self::AnyValue => 64,
            Self::ArrayValue => 32,
            Self::KeyValueList => OBJECT_BYTES,
        }
    }
}

/// The decoded size of an OTLP request in protobuf; counting stops once it exceeds `enough`. Unit: bytes.
///
/// Of a part (a record, a resource or a scope) that is truncated or nested too deeply, what comes before that point
/// counts: it is decoded up to there, and refused without the others. 400 if the request is invalid outside of them.
pub(crate) fn of_otlp(body: &[u8], enough: usize) -> ApiResult<usize> {
    let mut size = body.len();
    // The open messages with the remaining length of each, innermost last.
    let mut open = vec![(Message::Request, body)];
    while let Some((message, rest)) = open.last_mut() {
        if rest.is_empty() {
            open.pop();
            continue;
        }
        let inner = match field(rest) {
            Ok(Field { key, inside: Some(inside) }) => match message.field(key >> 3) {
                Some(inner) => Some((inner, inside)),
                None => {
                    size += TEXT_BYTES;
                    None
                }
            },
            Ok(Field { inside: None, .. }) => None,
            Err(error) => {
                leave_part(&mut open).ok_or(error)?;
                continue;
            }
        };
        if let Some((inner, inside)) = inner {
            size += inner.bytes();
            open.push((inner, inside));
        }
        if size > enough {
            break;
        }
        if open.len() > DEPTH_MAX {
            leave_part(&mut open).ok_or_else(wrong)?;
        }
    }
    Ok(size)
}

/// Closes the innermost message that is decoded individually, and all within it. `None` if none is open.
fn leave_part(open: &mut Vec<(Message, &[u8])>) -> Option<()> {
    let is_part = |(message, _): &(Message, &[u8])| {
        use Message::{LogRecord, Resource, ResourceLogs, Scope, ScopeLogs};
        matches!(message, ResourceLogs | Resource | ScopeLogs | Scope | LogRecord)
    };
    open.truncate(open.iter().rposition(is_part)?);
    Some(())
}

/// A message of an OTLP request in which all strings are UTF-8: invalid bytes are replaced by U+FFFD. Also returns the
/// number of repaired strings. None if it is truncated or nested too deeply.
pub(crate) fn with_whole_texts(message: &[u8], kind: Message, texts: &mut u64) -> Option<Vec<u8>> {
    whole_texts(message, kind, texts, DEPTH_MAX)
}

fn whole_texts(message: &[u8], kind: Message, texts: &mut u64, depth_left: usize) -> Option<Vec<u8>> {
    let depth_left = depth_left.checked_sub(1)?;
    let mut out = Vec::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let begin = rest;
        let Field { key, inside: Some(inside) } = field(&mut rest).ok()? else {
            out.extend_from_slice(&begin[..begin.len() - rest.len()]);
            continue;
        };
        let inside = match kind.field(key >> 3) {
            Some(inner) => whole_texts(inside, inner, texts, depth_left)?,
            None if kind.is_text(key >> 3) => {
                *texts += u64::from(std::str::from_utf8(inside).is_err());
                String::from_utf8_lossy(inside).into_owned().into_bytes()
            }
            None => inside.to_vec(),
        };
        prost::encoding::encode_varint(key, &mut out);
        prost::encoding::encode_varint(inside.len() as u64, &mut out);
        out.extend_from_slice(&inside);
    }
    Some(out)
}

/// A field of a message.
struct Field<'a> {
    /// Its number and wire type.
    key: u64,
    /// The content of a string, of bytes or of a message; none for the other wire types.
    inside: Option<&'a [u8]>,
}

/// Reads a field and advances past it. OTLP uses no groups; those of unknown fields are skipped as the decoder does.
fn field<'a>(rest: &mut &'a [u8]) -> ApiResult<Field<'a>> {
    let key = number(rest)?;
    let mut inside = None;
    match key & 7 {
        2 => {
            let length = number(rest)?;
            inside = Some(part(rest, length)?);
        }
        3 => skip_group(rest, key)?,
        _ => skip_plain(rest, key)?,
    }
    Ok(Field { key, inside })
}

/// Advances past the value of a field that is a number.
fn skip_plain(rest: &mut &[u8], key: u64) -> ApiResult<()> {
    match key & 7 {
        0 => _ = number(rest)?,
        1 => _ = part(rest, 8)?,
        5 => _ = part(rest, 4)?,
        _ => return Err(wrong()),
    }
    Ok(())
}

/// Advances past the content and the end of a group, which contains fields and other groups.
fn skip_group(rest: &mut &[u8], key: u64) -> ApiResult<()> {
    let mut open = vec![key >> 3];
    while let Some(group) = open.last().copied() {
        let key = number(rest)?;
        match key & 7 {
            2 => {
                let length = number(rest)?;
                part(rest, length)?;
            }
            3 if open.len() < DEPTH_MAX => open.push(key >> 3),
            4 if group == key >> 3 => _ = open.pop(),
            _ => skip_plain(rest, key)?,
        }
    }
    Ok(())
}

/// Reads a varint and advances past it.
fn number(rest: &mut &[u8]) -> ApiResult<u64> {
    let bytes: &[u8] = rest;
    let mut number = 0;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            *rest = &bytes[index + 1..];
            return Ok(number);
        }
    }
    Err(wrong())
}

/// Reads a number of bytes and advances past them.
fn part<'a>(rest: &mut &'a [u8], length: u64) -> ApiResult<&'a [u8]> {
    let bytes: &'a [u8] = rest;
    let length = usize::try_from(length).map_err(|_| wrong())?;
    let (part, behind) = bytes.split_at_checked(length).ok_or_else(wrong)?;
    *rest = behind;
    Ok(part)
}

fn wrong() -> ApiError {
    ApiError::invalid("the body is not an ExportLogsServiceRequest: it is truncated or nested too deeply")
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as OtlpValue;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    use prost::Message as _;

    use super::*;

    fn request(log: LogRecord, count: usize) -> Vec<u8> {
        let scope_logs = vec![ScopeLogs { log_records: vec![log; count], ..ScopeLogs::default() }];
        let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
        ExportLogsServiceRequest { resource_logs }.encode_to_vec()
    }

    #[test]
    fn nested_values_count_more_than_their_bytes() {
        let size = |log: LogRecord| of_otlp(&request(log, 1_000), usize::MAX).unwrap();
        let empty = size(LogRecord::default());
        assert!(empty > 1_000 * size_of::<LogRecord>(), "{empty}");
        let values = vec![AnyValue::default(); 50];
        let list = AnyValue { value: Some(OtlpValue::ArrayValue(ArrayValue { values })) };
        let attribute = KeyValue { value: Some(list), ..KeyValue::default() };
        let full = size(LogRecord { attributes: vec![attribute; 20], ..LogRecord::default() });
        assert!(full - empty > 1_000 * 20 * (size_of::<KeyValue>() + 50 * size_of::<AnyValue>()), "{full}");
    }

    #[test]
    fn counting_stops_once_the_limit_is_reached() {
        let size = of_otlp(&request(LogRecord::default(), 1_000), 10_000).unwrap();
        assert!((10_000..20_000).contains(&size), "{size}");
        let size = of_otlp_json(&[b'['; 5_000], 10_000);
        assert!((10_000..20_000).contains(&size), "{size}");
    }

    fn field(tag: u8, inner: &[u8]) -> Vec<u8> {
        let mut field = vec![tag];
        prost::encode_length_delimiter(inner.len(), &mut field).unwrap();
        field.extend(inner);
        field
    }

    #[test]
    fn an_invalid_request_is_refused() {
        for body in [vec![0x0a, 0xff], vec![0x0b, 0x0d], vec![0x0b], vec![0x0a], vec![0x0e], vec![0xff; 11]] {
            assert_eq!(of_otlp(&body, usize::MAX).unwrap_err().status, 400, "{body:?}");
        }
    }

    #[test]
    fn one_record_that_does_not_decode_ends_the_count_of_that_record_only() {
        // A list in a list in a list, which is the message of a record.
        let lists = (0..5_000).fold(Vec::new(), |inner: Vec<u8>, _| field(0x2a, &field(0x0a, &inner)));
        let groups = [0x9b_u8, 0x06].repeat(200);
        let group = [&[0x9b, 0x06][..], &field(0x0a, b"x"), &[0x08, 0x01, 0x9b, 0x06, 0x9c, 0x06, 0x9c, 0x06]].concat();
        let other_end = vec![0x9b, 0x06, 0xa4, 0x06];
        let attribute = field(0x32, &field(0x0a, b"key"));
        for (name, odd) in [
            ("nested", field(0x2a, &lists)),
            ("truncated", vec![0x09, 0, 0]),
            ("too long", vec![0x2a, 0xff, 0xff, 0xff, 0xff, 0x7f]),
            ("unknown wire type", vec![0x0e]),
            ("a group", group),
            ("groups in groups", groups),
            ("another end of a group", other_end),
        ] {
            // It contains attributes before that, and a record with attributes follows.
            let attributes = attribute.repeat(10);
            let odd = [attributes.as_slice(), &odd].concat();
            for records in [[odd.as_slice(), &attributes], [&attributes, &odd]] {
                let records: Vec<u8> = records.iter().flat_map(|record| field(0x12, record)).collect();
                let body = field(0x0a, &field(0x12, &records));
                let size = of_otlp(&body, usize::MAX).unwrap();
                let counted = 2 * Message::LogRecord.bytes() + 20 * Message::KeyValue.bytes();
                assert!(size >= body.len() + counted, "{name}: {size}");
                // A message that does not decode is not repaired, and no more is decoded than was counted.
                assert!(with_whole_texts(&odd, Message::LogRecord, &mut 0).is_none() || name == "a group", "{name}");
            }
            let resource = field(0x0a, &field(0x0a, &odd));
            assert!(of_otlp(&resource, usize::MAX).is_ok(), "{name} in a resource");
        }
    }

    #[test]
    fn a_request_takes_about_the_same_in_both_encodings() {
        let text = |text: &str| Some(AnyValue { value: Some(OtlpValue::StringValue(text.to_owned())) });
        let attribute = |number: usize| KeyValue {
            key: format!("attribute.{number}"),
            value: text("a usual value"),
            ..KeyValue::default()
        };
        for attributes in [0, 3, 20] {
            let log = LogRecord {
                time_unix_nano: 1_790_000_000_000_000_000,
                severity_text: "INFO".to_owned(),
                body: text("a message \\ with \"quotes\" and a { in it"),
                attributes: (0..attributes).map(attribute).collect(),
                ..LogRecord::default()
            };
            let scope_logs = vec![ScopeLogs { log_records: vec![log; 1_000], ..ScopeLogs::default() }];
            let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
            let request = ExportLogsServiceRequest { resource_logs };
            let json = serde_json::to_vec(&request).unwrap();
            let (of_json, of_protobuf) =
                (of_otlp_json(&json, usize::MAX), of_otlp(&request.encode_to_vec(), usize::MAX).unwrap());
            let ratio = (of_json - json.len()) as f64 / of_protobuf as f64;
            assert!((0.7..2.0).contains(&ratio), "{attributes} attributes: {of_json} and {of_protobuf}");
        }
        let empty =
            format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{}]}}]}}]}}"#, vec!["{}"; 1_000].join(","));
        assert!(of_otlp_json(empty.as_bytes(), usize::MAX) > 1_000 * Message::LogRecord.bytes());
    }

    #[test]
    fn json_takes_what_stands_outside_of_its_texts() {
        let size = |body: &str| of_json(body.as_bytes()) - body.len();
        assert_eq!(size(r#"{"a": "{,[\"{", "b": 1}"#), OBJECT_BYTES + MEMBER_BYTES);
        assert_eq!(size("[{},{}]"), ARRAY_BYTES + 2 * OBJECT_BYTES + MEMBER_BYTES);
        assert_eq!(size("{\"a\": \"open\n{}\n{}\n"), 3 * OBJECT_BYTES);
    }
}
