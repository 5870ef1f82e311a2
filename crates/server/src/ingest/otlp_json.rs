//! OTLP requests in JSON, according to the JSON mapping of proto3 and as written by exporters: `null` is absent,
//! numbers may be strings, enumerations may be names, and a list or map without values is empty. A record that cannot
//! be parsed is refused individually.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use opentelemetry_proto::tonic::common::v1::any_value::Value as OtlpValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::http::error::{ApiError, ApiResult};
use crate::ingest::intake::Refused;
use crate::ingest::otlp::Request;

/// The error in a part of a request.
type Wrong = String;

/// A request whose records are not parsed yet.
#[derive(Deserialize)]
struct RawRequest<'a> {
    #[serde(borrow, default, rename = "resourceLogs", alias = "resource_logs")]
    resource_logs: Option<Vec<RawResourceLogs<'a>>>,
}

#[derive(Deserialize)]
struct RawResourceLogs<'a> {
    #[serde(borrow, default)]
    resource: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "scopeLogs", alias = "scope_logs")]
    scope_logs: Option<Vec<RawScopeLogs<'a>>>,
}

#[derive(Deserialize)]
struct RawScopeLogs<'a> {
    #[serde(borrow, default)]
    scope: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "logRecords", alias = "log_records")]
    log_records: Option<Vec<&'a RawValue>>,
}

/// Parses a request. 400 if it is invalid and its records cannot be separated.
pub(crate) fn read(body: &[u8]) -> ApiResult<Request> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut request = Request::default();
    let mended;
    let raw: RawRequest<'_> = match serde_json::from_slice(body) {
        Ok(raw) => raw,
        Err(error) => {
            mended = runlog_model::repair(body);
            let raw = serde_json::from_slice(&mended.json);
            let raw = raw.map_err(|_| ApiError::invalid(format!("the body: {error}")))?;
            request.repaired += mended.texts;
            raw
        }
    };
    for raw in raw.resource_logs.unwrap_or_default() {
        let resource = part(raw.resource, &mut request.repaired, resource);
        let mut scope_logs = Vec::new();
        for raw in raw.scope_logs.unwrap_or_default() {
            let logs = raw.log_records.unwrap_or_default();
            let scope = part(raw.scope, &mut request.repaired, scope);
            let (Ok(_), Ok(scope)) = (&resource, &scope) else {
                let why = resource.as_ref().err().or(scope.as_ref().err()).cloned().unwrap_or_default();
                request.refused.add(logs.len() as u64, format!("their resource or scope cannot be read: {why}"));
                continue;
            };
            let log_records = read_all(&logs, &mut request.refused, &mut request.repaired);
            scope_logs.push(ScopeLogs { scope: Some(scope.clone()), log_records, ..ScopeLogs::default() });
        }
        request.resources.push(ResourceLogs { resource: resource.ok(), scope_logs, ..ResourceLogs::default() });
    }
    Ok(request)
}

fn read_all(logs: &[&RawValue], refused: &mut Refused, repaired: &mut u64) -> Vec<LogRecord> {
    let mut records = Vec::new();
    for (index, log) in logs.iter().enumerate() {
        match part(Some(log), repaired, log_record) {
            Ok(record) => records.push(record),
            Err(why) => refused.add(1, format!("logRecords[{index}]: {why}")),
        }
    }
    records
}

/// Parses a part, repaired if necessary; an absent part is empty.
fn part<T: Default>(
    raw: Option<&RawValue>,
    repaired: &mut u64,
    read: impl FnOnce(&Map<String, Value>) -> Result<T, Wrong>,
) -> Result<T, Wrong> {
    let Some(raw) = raw else { return Ok(T::default()) };
    let value = serde_json::from_str::<Value>(raw.get()).or_else(|error| {
        let mended = runlog_model::repair(raw.get().as_bytes());
        let value = serde_json::from_slice(&mended.json).map_err(|_| error.to_string())?;
        *repaired += mended.texts;
        Ok::<_, Wrong>(value)
    })?;
    match &value {
        Value::Null => Ok(T::default()),
        Value::Object(fields) => read(fields),
        _ => Err("it is not an object".to_owned()),
    }
}

/// A field by its JSON name or its protobuf name; `null` is absent.
fn field<'a>(fields: &'a Map<String, Value>, name: &str, own_name: &str) -> Option<&'a Value> {
    fields.get(name).or_else(|| fields.get(own_name)).filter(|value| !value.is_null())
}

fn resource(fields: &Map<String, Value>) -> Result<Resource, Wrong> {
    Ok(Resource { attributes: attributes(fields)?, ..Resource::default() })
}

fn scope(fields: &Map<String, Value>) -> Result<InstrumentationScope, Wrong> {
    Ok(InstrumentationScope {
        name: text(fields, "name", "name")?,
        version: text(fields, "version", "version")?,
        attributes: attributes(fields)?,
        ..InstrumentationScope::default()
    })
}

fn log_record(fields: &Map<String, Value>) -> Result<LogRecord, Wrong> {
    Ok(LogRecord {
        time_unix_nano: nanos(fields, "timeUnixNano", "time_unix_nano")?,
        observed_time_unix_nano: nanos(fields, "observedTimeUnixNano", "observed_time_unix_nano")?,
        severity_number: severity_number(field(fields, "severityNumber", "severity_number"))?,
        severity_text: text(fields, "severityText", "severity_text")?,
        body: field(fields, "body", "body").map(any_value).transpose().map_err(|why| format!("body: {why}"))?,
        attributes: attributes(fields)?,
        trace_id: id(fields, "traceId", "trace_id")?,
        span_id: id(fields, "spanId", "span_id")?,
        event_name: text(fields, "eventName", "event_name")?,
        ..LogRecord::default()
    })
}

fn text(fields: &Map<String, Value>, name: &str, own_name: &str) -> Result<String, Wrong> {
    match field(fields, name, own_name) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        // Some loggers write the level as a number, which is converted to a text anyway.
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
        Some(_) => Err(format!("{name}: it is not a string")),
    }
}

fn nanos(fields: &Map<String, Value>, name: &str, own_name: &str) -> Result<u64, Wrong> {
    let Some(value) = field(fields, name, own_name) else { return Ok(0) };
    whole(value)
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(|| format!("{name}: {} is not a number of nanoseconds since 1970", shown(value)))
}

/// A whole number, also as a string and with a fraction of zero.
#[expect(clippy::cast_possible_truncation, reason = "a whole number below 1e19")]
fn whole(value: &Value) -> Option<i128> {
    let of_float = |float: f64| (float.fract() == 0.0 && float.abs() < 1e19).then_some(float as i128);
    match value {
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Some(number.into()),
            (_, Some(number)) => Some(number.into()),
            _ => of_float(number.as_f64()?),
        },
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| of_float(text.parse().ok()?))
        }
        _ => None,
    }
}

/// A number from 0 to 24, or a name such as `SEVERITY_NUMBER_ERROR2`.
fn severity_number(value: Option<&Value>) -> Result<i32, Wrong> {
    let Some(value) = value else { return Ok(0) };
    let of_name = || {
        let name = value.as_str()?.strip_prefix("SEVERITY_NUMBER_")?;
        let (word, step) = match name.strip_suffix(['2', '3', '4']) {
            Some(word) => (word, name.bytes().last().map_or(0, |digit| i32::from(digit - b'1'))),
            None => (name, 0),
        };
        let words = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
        match word {
            "UNSPECIFIED" => Some(0),
            word => Some(i32::try_from(words.iter().position(|known| *known == word)?).ok()? * 4 + 1 + step),
        }
    };
    let number = whole(value).and_then(|number| i32::try_from(number).ok());
    number.or_else(of_name).ok_or_else(|| format!("severityNumber: {} is none", shown(value)))
}

/// An ID in hexadecimal digits, or in base64 like other bytes in the mapping.
fn id(fields: &Map<String, Value>, name: &str, own_name: &str) -> Result<Vec<u8>, Wrong> {
    let id = text(fields, name, own_name)?;
    let is_hex = id.len().is_multiple_of(2) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
        return Ok(id.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) * 16 + digit(pair[1])).collect());
    }
    of_base64(&id).ok_or_else(|| format!("{name}: it is neither hexadecimal nor base64"))
}

fn of_base64(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text = text.replace('-', "+").replace('_', "/");
    GeneralPurpose::new(&alphabet::STANDARD, config).decode(text).ok()
}

fn attributes(fields: &Map<String, Value>) -> Result<Vec<KeyValue>, Wrong> {
    key_values(fields.get("attributes")).map_err(|why| format!("attributes{why}"))
}

fn key_values(list: Option<&Value>) -> Result<Vec<KeyValue>, Wrong> {
    let list = match list {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(": it is not an array".to_owned()),
    };
    let read = |(index, value): (usize, &Value)| {
        let wrong = |why: Wrong| format!("[{index}]: {why}");
        let fields = value.as_object().ok_or_else(|| wrong("it is not an object".to_owned()))?;
        let key = text(fields, "key", "key").map_err(wrong)?;
        let value = field(fields, "value", "value").map(any_value).transpose().map_err(wrong)?;
        Ok(KeyValue { key, value, ..KeyValue::default() })
    };
    list.iter().enumerate().map(read).collect()
}

/// A value; its depth is limited by the JSON parser.
fn any_value(value: &Value) -> Result<AnyValue, Wrong> {
    let fields = value.as_object().ok_or("it is not an object with a value such as stringValue")?;
    let values = |fields: &Map<String, Value>| match fields.get("values") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => values.iter().map(element).collect(),
        Some(_) => Err("values: it is not an array".to_owned()),
    };
    let object = |value: &Value| value.as_object().cloned().ok_or_else(|| "it is not an object".to_owned());
    let mut read = None;
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let wrong = || format!("{name}: {} is none", shown(value));
        read = Some(match name.as_str() {
            "stringValue" | "string_value" => OtlpValue::StringValue(value.as_str().ok_or_else(wrong)?.to_owned()),
            "boolValue" | "bool_value" => OtlpValue::BoolValue(match value {
                Value::Bool(flag) => *flag,
                Value::String(text) if text == "true" || text == "false" => text == "true",
                _ => return Err(wrong()),
            }),
            "intValue" | "int_value" => {
                let number = whole(value).and_then(|number| i64::try_from(number).ok());
                OtlpValue::IntValue(number.ok_or_else(wrong)?)
            }
            "doubleValue" | "double_value" => {
                let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
                OtlpValue::DoubleValue(number.ok_or_else(wrong)?)
            }
            "bytesValue" | "bytes_value" => {
                OtlpValue::BytesValue(value.as_str().and_then(of_base64).ok_or_else(wrong)?)
            }
            "arrayValue" | "array_value" => OtlpValue::ArrayValue(ArrayValue { values: values(&object(value)?)? }),
            "kvlistValue" | "kvlist_value" => {
                OtlpValue::KvlistValue(KeyValueList { values: key_values(object(value)?.get("values"))? })
            }
            // Additions of later versions of the protocol.
            _ => continue,
        });
    }
    Ok(AnyValue { value: read })
}

/// An element of a list: `null` is an empty value.
fn element(value: &Value) -> Result<AnyValue, Wrong> {
    if value.is_null() { Ok(AnyValue::default()) } else { any_value(value) }
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn logs(records: &[Value]) -> Request {
        let body = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]});
        read(body.to_string().as_bytes()).unwrap()
    }

    fn value(value: Value) -> Option<OtlpValue> {
        let request = logs(&[json!({"body": value})]);
        let request = &request.resources[0].scope_logs[0].log_records;
        request.first()?.body.clone()?.value
    }

    #[test]
    fn canonical_proto3_json_is_read() {
        assert_eq!(value(json!({"arrayValue": {}})), Some(OtlpValue::ArrayValue(ArrayValue::default())));
        assert_eq!(value(json!({"kvlistValue": {}})), Some(OtlpValue::KvlistValue(KeyValueList::default())));
        assert!(matches!(value(json!({"doubleValue": "NaN"})), Some(OtlpValue::DoubleValue(it)) if it.is_nan()));
        assert_eq!(value(json!({"doubleValue": "-Infinity"})), Some(OtlpValue::DoubleValue(f64::NEG_INFINITY)));
        assert_eq!(value(json!({"intValue": "-7"})), Some(OtlpValue::IntValue(-7)));
        assert_eq!(value(json!({"intValue": 7.0})), Some(OtlpValue::IntValue(7)));
        assert_eq!(value(json!({"bytesValue": "_-8="})), Some(OtlpValue::BytesValue(vec![0xff, 0xef])));
        assert_eq!(value(json!({})), None);
        let request =
            logs(&[json!({"attributes": null, "severityNumber": "SEVERITY_NUMBER_ERROR2", "traceId": "0aff",
            "timeUnixNano": "1619018951115250123", "observed_time_unix_nano": 1})]);
        let log = &request.resources[0].scope_logs[0].log_records[0];
        assert_eq!((log.severity_number, log.trace_id.as_slice()), (18, [0x0a, 0xff].as_slice()));
        assert_eq!((log.time_unix_nano, log.observed_time_unix_nano), (1_619_018_951_115_250_123, 1));
        assert!(read(br#"{"resourceLogs": null}"#).unwrap().resources.is_empty());
    }

    #[test]
    fn a_record_that_cannot_be_read_is_refused_by_itself() {
        let deep = (0..200).fold(json!({"stringValue": "x"}), |inner, _| json!({"arrayValue": {"values": [inner]}}));
        let request = logs(&[
            json!({"body": {"stringValue": "a"}}),
            json!({"body": {"intValue": "seven"}}),
            json!({"timeUnixNano": "soon"}),
            json!(7),
            json!({"body": deep}),
        ]);
        assert_eq!(request.refused.count, 4);
        assert!(request.refused.why.unwrap().contains("logRecords[1]: body: intValue"));
        assert_eq!(request.resources[0].scope_logs[0].log_records.len(), 1);
    }

    #[test]
    fn texts_that_are_not_whole_are_mended() {
        let body = b"{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"body\":{\"stringValue\":\"\\ud83d caf\xe9\ttab\"}},{}]}]}]}";
        let request = read(body).unwrap();
        assert_eq!((request.repaired, request.resources[0].scope_logs[0].log_records.len()), (1, 2));
        assert!(read(b"{\"resourceLogs\":[").is_err());
    }
}
