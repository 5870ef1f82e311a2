//! OTLP requests in JSON, according to the JSON mapping of proto3 and as written by exporters: `null` is absent,
//! numbers may be strings, enumerations may be names, and a list or map without values is empty. A record, a scope or a
//! resource that cannot be parsed is refused individually.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use opentelemetry_proto::tonic::common::v1::any_value::Value as OtlpValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use runlog_model::elements::without_marks;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::http::error::{ApiError, ApiResult};
use crate::ingest::intake::Refused;
use crate::ingest::otlp::Request;

/// The error in a part of a request.
type PartError = String;

/// The names of the list of parts with a scope each; the last ones are those of old exporters.
const SCOPE_LOGS: [&str; 4] = ["scopeLogs", "scope_logs", "instrumentationLibraryLogs", "instrumentation_library_logs"];
const SCOPE: [&str; 3] = ["scope", "instrumentationLibrary", "instrumentation_library"];
const LOG_RECORDS: [&str; 3] = ["logRecords", "log_records", "logs"];

/// The fields of an object, whose values are not parsed yet, also those that occur several times.
struct RawFields<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for RawFields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = RawFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(RawFields(fields))
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

impl<'a> RawFields<'a> {
    /// The fields of a part; none if it is `null`, or no object, which is counted.
    fn of(raw: &'a RawValue, what: &str, refused: &mut Refused) -> Option<Self> {
        let fields = serde_json::from_str::<Option<Self>>(raw.get());
        fields.unwrap_or_else(|error| {
            refused.add(1, format!("{what}: {error}"));
            None
        })
    }

    /// The last field with one of these names.
    fn last(&self, names: &[&str]) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| *value)
    }

    /// The elements of all lists with one of these names. A field that is no list is counted.
    fn elements(&self, names: &[&str], refused: &mut Refused) -> Vec<&'a RawValue> {
        let mut elements = Vec::new();
        for (name, list) in self.0.iter().filter(|(name, _)| names.contains(&name.as_str())) {
            match serde_json::from_str::<Option<Vec<&RawValue>>>(list.get()) {
                Ok(list) => elements.extend(list.unwrap_or_default()),
                Err(error) => refused.add(1, format!("{name}: {error}")),
            }
        }
        elements
    }
}

/// Parses a request, part by part. 400 if it is invalid as a whole.
pub(crate) fn read(body: &[u8]) -> ApiResult<Request> {
    let body = without_marks(body);
    let mut request = Request::default();
    let mended;
    let fields: RawFields<'_> = match serde_json::from_slice(body) {
        Ok(fields) => fields,
        Err(error) => {
            mended = runlog_model::repair(body);
            let fields = serde_json::from_slice(&mended.json);
            let fields = fields.map_err(|_| ApiError::invalid(format!("the body: {error}")))?;
            request.repaired += mended.texts;
            fields
        }
    };
    for raw in fields.elements(&["resourceLogs", "resource_logs"], &mut request.refused) {
        read_resource_logs(raw, &mut request);
    }
    Ok(request)
}

fn read_resource_logs(raw: &RawValue, request: &mut Request) {
    let Some(fields) = RawFields::of(raw, "resourceLogs", &mut request.refused) else { return };
    let resource = part(fields.last(&["resource"]), &mut request.repaired, resource);
    let mut scope_logs = Vec::new();
    for raw in fields.elements(&SCOPE_LOGS, &mut request.refused) {
        let Some(fields) = RawFields::of(raw, "scopeLogs", &mut request.refused) else { continue };
        let logs = fields.elements(&LOG_RECORDS, &mut request.refused);
        let scope = part(fields.last(&SCOPE), &mut request.repaired, scope);
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

fn read_all(logs: &[&RawValue], refused: &mut Refused, repaired: &mut u64) -> Vec<LogRecord> {
    let mut records = Vec::new();
    for (index, log) in logs.iter().enumerate() {
        match part(Some(log), repaired, |fields, _| log_record(fields)) {
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
    read: impl FnOnce(&Map<String, Value>, &mut u64) -> Result<T, PartError>,
) -> Result<T, PartError> {
    let Some(raw) = raw.map(RawValue::get).filter(|raw| *raw != "null") else { return Ok(T::default()) };
    if !raw.starts_with('{') {
        return Err("it is not an object".to_owned());
    }
    let (fields, changed) = runlog_model::read_object(raw.as_bytes()).map_err(|error| error.to_string())?;
    *repaired += changed;
    read(&fields, repaired)
}

/// A field by its JSON name or its protobuf name; `null` is absent.
fn field<'a>(fields: &'a Map<String, Value>, name: &str, own_name: &str) -> Option<&'a Value> {
    fields.get(name).or_else(|| fields.get(own_name)).filter(|value| !value.is_null())
}

fn resource(fields: &Map<String, Value>, repaired: &mut u64) -> Result<Resource, PartError> {
    Ok(Resource { attributes: shared_attributes(fields, repaired)?, ..Resource::default() })
}

fn scope(fields: &Map<String, Value>, repaired: &mut u64) -> Result<InstrumentationScope, PartError> {
    Ok(InstrumentationScope {
        name: text(fields, "name", "name")?,
        version: text(fields, "version", "version")?,
        attributes: shared_attributes(fields, repaired)?,
        ..InstrumentationScope::default()
    })
}

fn log_record(fields: &Map<String, Value>) -> Result<LogRecord, PartError> {
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

fn text(fields: &Map<String, Value>, name: &str, own_name: &str) -> Result<String, PartError> {
    match field(fields, name, own_name) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        // Some loggers write the level as a number, which is converted to a text anyway.
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
        Some(_) => Err(format!("{name}: it is not a string")),
    }
}

fn nanos(fields: &Map<String, Value>, name: &str, own_name: &str) -> Result<u64, PartError> {
    let Some(value) = field(fields, name, own_name) else { return Ok(0) };
    whole(value)
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(|| format!("{name}: {} is not a number of nanoseconds since 1970", shown(value)))
}

/// A whole number, also as a string and with a fraction of zero.
fn whole(value: &Value) -> Option<i128> {
    // Its shortest digits are those that were written: nanoseconds have more than a float keeps.
    let of_float = |float: f64| if float.abs() < 1e19 { format!("{float}").parse().ok() } else { None };
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
fn severity_number(value: Option<&Value>) -> Result<i32, PartError> {
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
fn id(fields: &Map<String, Value>, name: &str, own_name: &str) -> Result<Vec<u8>, PartError> {
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

fn attributes(fields: &Map<String, Value>) -> Result<Vec<KeyValue>, PartError> {
    key_values(fields.get("attributes")).map_err(|why| format!("attributes{why}"))
}

/// The attributes of a resource or scope: one that cannot be read becomes its JSON as text, which is counted, because many
/// records depend on the others.
fn shared_attributes(fields: &Map<String, Value>, repaired: &mut u64) -> Result<Vec<KeyValue>, PartError> {
    let list = list_of(fields.get("attributes")).map_err(|why| format!("attributes{why}"))?;
    let read = |(index, value): (usize, &Value)| {
        key_value(value).unwrap_or_else(|_| {
            *repaired += 1;
            let key =
                value.get("key").and_then(Value::as_str).map_or_else(|| format!("attributes[{index}]"), str::to_owned);
            let value = AnyValue { value: Some(OtlpValue::StringValue(value.to_string())) };
            KeyValue { key, value: Some(value), ..KeyValue::default() }
        })
    };
    Ok(list.iter().enumerate().map(read).collect())
}

fn key_values(list: Option<&Value>) -> Result<Vec<KeyValue>, PartError> {
    let read = |(index, value): (usize, &Value)| key_value(value).map_err(|why| format!("[{index}]: {why}"));
    list_of(list)?.iter().enumerate().map(read).collect()
}

fn list_of(list: Option<&Value>) -> Result<&[Value], PartError> {
    match list {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(": it is not an array".to_owned()),
    }
}

fn key_value(value: &Value) -> Result<KeyValue, PartError> {
    let fields = value.as_object().ok_or("it is not an object")?;
    let key = text(fields, "key", "key")?;
    let value = field(fields, "value", "value").map(any_value).transpose()?;
    Ok(KeyValue { key, value, ..KeyValue::default() })
}

/// A value; its depth is limited by the JSON parser.
fn any_value(value: &Value) -> Result<AnyValue, PartError> {
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
fn element(value: &Value) -> Result<AnyValue, PartError> {
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

    /// Each was answered with 400, or with 200 although nothing was stored.
    #[test]
    fn a_part_that_cannot_be_read_is_refused_without_the_others() {
        let good = r#"{"scopeLogs":[{"logRecords":[{}]}]}"#;
        for (part, records, refused) in [
            ("null", 0, 0),
            ("7", 0, 1),
            (r#"{"scopeLogs":7}"#, 0, 1),
            (r#"{"scopeLogs":[null,7,{"logRecords":[{}]}]}"#, 1, 1),
            (r#"{"scopeLogs":[{"logRecords":{}},{"logRecords":[{},7]}]}"#, 1, 2),
            (r#"{"scopeLogs":[{"logRecords":[{}]}],"scope_logs":[{"log_records":[{}]}],"scopeLogs":null}"#, 2, 0),
            (r#"{"scopeLogs":[{"scope":{"name":{}},"logRecords":[{},{}]}]}"#, 0, 2),
            (r#"{"resource":{"attributes":[{"key":"a","value":7},8]},"scopeLogs":[{"logRecords":[{}]}]}"#, 1, 0),
            (r#"{"instrumentationLibraryLogs":[{"instrumentationLibrary":{"name":"a"},"logs":[{}]}]}"#, 1, 0),
            (r#"{"scopeLogs":[{"logRecords":[{"body":{"doubleValue":NaN}}]}]}"#, 1, 0),
        ] {
            let request = read(format!(r#"{{"resourceLogs":[{good},{part},{good}]}}"#).as_bytes()).unwrap();
            let scopes = request.resources.iter().flat_map(|resource| &resource.scope_logs);
            let found: usize = scopes.map(|scope| scope.log_records.len()).sum();
            assert_eq!((found, request.refused.count), (records + 2, refused), "{part}");
        }
    }

    #[test]
    fn nanoseconds_as_a_float_are_those_that_were_written() {
        let request =
            logs(&[json!({"timeUnixNano": 1_619_018_951_115_000_000.0}), json!({"timeUnixNano": "1.619018951115e18"})]);
        for log in &request.resources[0].scope_logs[0].log_records {
            assert_eq!(log.time_unix_nano, 1_619_018_951_115_000_000);
        }
    }

    #[test]
    fn texts_that_are_not_whole_are_mended() {
        let body = b"{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"body\":{\"stringValue\":\"\\ud83d caf\xe9\ttab\"}},{}]}]}]}";
        let request = read(body).unwrap();
        assert_eq!((request.repaired, request.resources[0].scope_logs[0].log_records.len()), (1, 2));
        assert!(read(b"{\"resourceLogs\":[").is_err());
    }
}
