//! A record: one entry of a run's log, in the form of the run-log API.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Timestamp;
use crate::fields::{FieldValue, Fields};
use crate::json::{self, KeptValue, Met};
pub use crate::severity::{Severity, SeverityCounts};

/// One entry of a run's log. A message may have several lines.
///
/// Source: `data` of `GET /monitoring/executions/{id}/logs`. Only the time is required. Fields that the API does
/// not name are kept in `extra`, their numbers as they are written; those that JSON readers would change are texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// When it was logged (`logTimestamp`, epoch milliseconds on the wire).
    pub time: Timestamp,
    /// `TRACE` to `FATAL`, or any other value that the engine sent.
    pub severity: Option<String>,
    /// What kind of log it belongs to (`logType`).
    pub log_type: Option<String>,
    /// The text (`logMessage`).
    pub message: Option<String>,
    /// The component or class that logged it (`bundleName`).
    pub bundle_name: Option<String>,
    /// Its version (`bundleVersion`).
    pub bundle_version: Option<String>,
    /// The pod or host it ran on (`podName`).
    pub pod_name: Option<String>,
    /// Fields beyond those of the API.
    pub extra: Option<Box<Fields>>,
}

/// A record in JSON, for the documentation of the API.
#[derive(utoipa::ToSchema)]
#[schema(as = Record)]
#[allow(dead_code, reason = "it is described and never made")]
#[allow(non_snake_case, reason = "the wire's names")]
struct WireRecord {
    /// When it was logged. Unit: epoch milliseconds.
    #[schema(example = 1614696623123_i64, minimum = -62135596800000_i64, maximum = 253402207200000_i64)]
    logTimestamp: i64,
    /// `TRACE` to `FATAL`, or any other value that the engine sent.
    #[schema(example = "INFO")]
    severity: Option<String>,
    /// The kind of log to which it belongs.
    logType: Option<String>,
    /// The text, possibly with several lines.
    logMessage: Option<String>,
    /// The component or class that logged it.
    bundleName: Option<String>,
    /// Version.
    bundleVersion: Option<String>,
    /// The pod or host on which it was logged.
    podName: Option<String>,
}

impl utoipa::PartialSchema for Record {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        WireRecord::schema()
    }
}

impl utoipa::ToSchema for Record {
    fn name() -> std::borrow::Cow<'static, str> {
        "Record".into()
    }
}

impl Record {
    /// A record that has a time and nothing else.
    pub fn at(time: Timestamp) -> Self {
        Self {
            time,
            severity: None,
            log_type: None,
            message: None,
            bundle_name: None,
            bundle_version: None,
            pod_name: None,
            extra: None,
        }
    }

    /// Becomes the record that some JSON says, in the memory that it has; undefined after an error. Returns the number
    /// of values that were [repaired](crate::repair()), or occurred again, which are kept as in [`json::read_object`].
    ///
    /// Reading many records one after another into the same one takes no memory for each.
    pub fn read_json(&mut self, json: &[u8]) -> serde_json::Result<u64> {
        json::read_kept(json, |json, met| match std::str::from_utf8(json) {
            // Texts that are known to be valid need not be checked one by one.
            Ok(text) => self.read_from(serde_json::Deserializer::from_str(text), met),
            Err(_) => self.read_from(serde_json::Deserializer::from_slice(json), met),
        })
    }

    /// A record with this time from an entry that need not be one; also returns whether its texts are exactly those of
    /// the entry.
    ///
    /// A text field with another type becomes its JSON text. If the entry has another time, or its time another form,
    /// it is kept in the field `originalTimestamp`.
    pub fn from_fields(time: Timestamp, mut fields: Fields) -> (Self, bool) {
        let mut record = Self::at(time);
        let mut is_as_it_says = true;
        let came = fields.take(FIELD_NAMES[0]).filter(|came| !came.value().is_null());
        for (number, name) in FIELD_NAMES.iter().enumerate().skip(1) {
            let field = fields.take(name);
            is_as_it_says &= field.as_ref().is_none_or(|field| field.value().is_null() || field.value().is_string());
            *record.text_mut(number) = field.and_then(FieldValue::into_text);
        }
        let came = came.filter(|came| came.value().as_i64() != Some(record.time.as_millis()));
        if let Some(came) = came.filter(|_| !fields.contains_key(ORIGINAL_TIME)) {
            fields.put(ORIGINAL_TIME.to_owned(), came);
        }
        record.extra = (!fields.is_empty()).then(|| Box::new(fields));
        (record, is_as_it_says)
    }

    fn read_from<'de, R: serde_json::de::Read<'de>>(
        &mut self,
        mut deserializer: serde_json::Deserializer<R>,
        met: &mut Met,
    ) -> serde_json::Result<()> {
        deserializer.deserialize_map(RecordVisitor(self, met))?;
        deserializer.end()
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("logTimestamp", &self.time.as_millis())?;
        let texts = [
            ("severity", &self.severity),
            ("logType", &self.log_type),
            ("logMessage", &self.message),
            ("bundleName", &self.bundle_name),
            ("bundleVersion", &self.bundle_version),
            ("podName", &self.pod_name),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                map.serialize_entry(name, text)?;
            }
        }
        for (name, value) in self.extra.iter().flat_map(|extra| extra.spelled()) {
            map.serialize_entry(name, &value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut record = Self::at(Timestamp::MIN);
        deserializer.deserialize_map(RecordVisitor(&mut record, &mut Met::default()))?;
        Ok(record)
    }
}

/// Fills a record.
struct RecordVisitor<'r>(&'r mut Record, &'r mut Met);

impl<'de> Visitor<'de> for RecordVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record: a JSON object with logTimestamp")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(record, met) = self;
        let mut time: Option<Timestamp> = None;
        record.extra = None;
        let mut is_there = [false; FIELD_NAMES.len()];
        while let Some(name) = map.next_key::<FieldName>()? {
            match name {
                FieldName::Known(0) => {
                    let value = map.next_value_seed(KeptValue(met)).map_err(de::Error::custom)?;
                    met.spelling = None;
                    let read = time_of(&value).map_err(de::Error::custom)?;
                    let before = time.replace(read).filter(|before| *before != read);
                    record.keep_repeated(0, before.map(|before| before.as_millis().into()), met);
                }
                FieldName::Known(number) => {
                    let before = if is_there[number] { record.text_mut(number).take() } else { None };
                    let text = TextOrNull(record.text_mut(number));
                    map.next_value_seed(text).map_err(|error| in_field(FIELD_NAMES[number], error))?;
                    let before = before.filter(|before| record.text_mut(number).as_ref() != Some(before));
                    record.keep_repeated(number, before.map(Value::String), met);
                    is_there[number] = true;
                }
                FieldName::Extra(name) => {
                    let value = map.next_value_seed(KeptValue(met))?;
                    json::insert(record.extra.get_or_insert_default(), name, value, met);
                }
            }
        }
        for number in (1..FIELD_NAMES.len()).filter(|number| !is_there[*number]) {
            *record.text_mut(number) = None;
        }
        record.time = time.ok_or_else(|| de::Error::missing_field("logTimestamp"))?;
        Ok(())
    }
}

impl Record {
    /// Keeps the value of a field that occurs again with another one.
    fn keep_repeated(&mut self, number: usize, before: Option<Value>, met: &mut Met) {
        if let Some(before) = before {
            json::keep(self.extra.get_or_insert_default(), FIELD_NAMES[number], before, None, met);
        }
    }

    /// The text of a field, by its place among [`FIELD_NAMES`].
    fn text_mut(&mut self, number: usize) -> &mut Option<String> {
        match number {
            1 => &mut self.severity,
            2 => &mut self.log_type,
            3 => &mut self.message,
            4 => &mut self.bundle_name,
            5 => &mut self.bundle_version,
            _ => &mut self.pod_name,
        }
    }
}

/// The name of a field, as its index in [`FIELD_NAMES`]; only unknown names are copied.
enum FieldName {
    Known(usize),
    Extra(String),
}

/// The field that preserves a time that is not a valid one.
const ORIGINAL_TIME: &str = "originalTimestamp";
/// The fields that every record has, or may have; the time first.
const FIELD_NAMES: [&str; 7] =
    ["logTimestamp", "severity", "logType", "logMessage", "bundleName", "bundleVersion", "podName"];

impl<'de> Deserialize<'de> for FieldName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl Visitor<'_> for NameVisitor {
            type Value = FieldName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<FieldName, E> {
                let known = FIELD_NAMES.iter().position(|known| *known == name);
                Ok(known.map_or_else(|| FieldName::Extra(name.to_owned()), FieldName::Known))
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

/// A time in epoch milliseconds, usually an integer.
#[expect(clippy::cast_possible_truncation, reason = "a whole number below 9e15")]
fn time_of(value: &Value) -> Result<Timestamp, String> {
    let integral = |number: f64| (number.fract() == 0.0 && number.abs() < 9.0e15).then_some(number as i64);
    let epoch_ms = value.as_i64().or_else(|| value.as_f64().and_then(integral));
    epoch_ms.and_then(|ms| Timestamp::from_millis(ms).ok()).ok_or_else(|| {
        let shown: String = value.to_string().chars().take(64).collect();
        format!("field logTimestamp: {shown} is not a time in epoch milliseconds (an integer such as 1614696623123)")
    })
}

fn in_field<E: de::Error>(name: &str, error: E) -> E {
    // The position belongs to the whole line, which the caller of the parser adds.
    E::custom(format_args!("field {name}: {error}"))
}

/// Where a string goes, into the memory that is there; `null` counts as absent.
struct TextOrNull<'t>(&'t mut Option<String>);

impl<'de> DeserializeSeed<'de> for TextOrNull<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for TextOrNull<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        *self.0 = None;
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        let own = self.0.get_or_insert_default();
        own.clear();
        own.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_error(line: &str, expected: &str) {
        let error = serde_json::from_str::<Record>(line).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_record_is_written_as_it_was_read() {
        let line = r#"{"logTimestamp":1614696623123,"severity":"INFO","logType":"JOB","logMessage":"a\nb","bundleName":"b","bundleVersion":"1","podName":"p","thread":{"id":7}}"#;
        let record: Record = serde_json::from_str(line).unwrap();
        assert_eq!(record.message.as_deref(), Some("a\nb"));
        assert_eq!(serde_json::to_string(&record).unwrap(), line);
    }

    #[test]
    fn only_the_time_is_required_and_null_is_absent() {
        let record: Record = serde_json::from_str(r#"{"logTimestamp":1614696623123.0,"severity":null}"#).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), r#"{"logTimestamp":1614696623123}"#);
    }

    #[test]
    fn a_record_that_is_read_into_again_has_nothing_of_the_one_before() {
        let mut record = Record::at(Timestamp::MIN);
        let lines = [
            r#"{"logTimestamp":1,"severity":"INFO","logType":"JOB","logMessage":"long","bundleName":"b","bundleVersion":"1","podName":"p","n":7}"#,
            r#"{"logTimestamp":2,"severity":null,"logMessage":"s"}"#,
            r#"{"logTimestamp":3,"logMessage":"a","logMessage":null,"m":[]}"#,
            r#"{"logTimestamp":3,"m":1.5}"#,
            r#" {"severity":"WARN","logTimestamp":4} "#,
        ];
        for line in lines {
            record.read_json(line.as_bytes()).unwrap();
            assert_eq!(record, serde_json::from_str(line).unwrap());
        }
        assert!(record.read_json(br#"{"logTimestamp":1} {"#).is_err(), "something follows");
        assert_eq!(record.read_json(b"{\"logTimestamp\":1,\"severity\":\"\xff\"}").unwrap(), 1, "no UTF-8");
    }

    #[test]
    fn nothing_of_a_record_is_lost() {
        let mut record = Record::at(Timestamp::MIN);
        for (line, expected, changed) in [
            (
                r#"{"logTimestamp":1,"logTimestamp":2,"logMessage":"a","logMessage":"b","x":1,"x":2}"#,
                r##"{"logTimestamp":2,"logMessage":"b","logMessage#1":"a","logTimestamp#1":1,"x":2,"x#1":1}"##,
                3,
            ),
            (
                r#"{"logTimestamp":1,"orderId":12345678901234567890123,"price":1.5,"x":1e400,"logMessage":"m"}"#,
                r#"{"logTimestamp":1,"logMessage":"m","orderId":"12345678901234567890123","price":1.5,"x":"1e400"}"#,
                2,
            ),
        ] {
            assert_eq!(record.read_json(line.as_bytes()).unwrap(), changed);
            assert_eq!(serde_json::to_string(&record).unwrap(), expected);
        }
    }

    #[test]
    fn an_error_names_the_field() {
        check_error("{}", "logTimestamp");
        check_error(r#"{"logTimestamp":"yesterday"}"#, "logTimestamp");
        check_error(r#"{"logTimestamp":1.5}"#, "logTimestamp");
        check_error(r#"{"logTimestamp":1,"severity":3}"#, "severity");
        check_error("[]", "a record");
    }

    #[test]
    fn an_entry_that_is_no_record_becomes_one_with_everything_that_it_has() {
        let of = |time: i64, json: &str| {
            let (fields, _) = json::read_object(json.as_bytes()).unwrap();
            let (record, is_as_it_says) = Record::from_fields(Timestamp::clamped(time), fields);
            (serde_json::to_string(&record).unwrap(), is_as_it_says)
        };
        let check = |time, json: &str, expected: &str, is_as_it_says| {
            assert_eq!(of(time, json), (expected.to_owned(), is_as_it_says), "{json}");
        };
        check(
            7,
            r#"{"logTimestamp":7,"severity":"INFO","podName":null}"#,
            r#"{"logTimestamp":7,"severity":"INFO"}"#,
            true,
        );
        check(7, r#"{"logTimestamp":null}"#, r#"{"logTimestamp":7}"#, true);
        check(7, r#"{"logTimestamp":8,"x":1.0}"#, r#"{"logTimestamp":7,"originalTimestamp":8,"x":1.0}"#, true);
        check(7, r#"{"logTimestamp":7.50}"#, r#"{"logTimestamp":7,"originalTimestamp":7.50}"#, true);
        check(
            7,
            r#"{"logTimestamp":"a","originalTimestamp":"b"}"#,
            r#"{"logTimestamp":7,"originalTimestamp":"b"}"#,
            true,
        );
        check(
            7,
            r#"{"logMessage":1.10,"logType":[2.0]}"#,
            r#"{"logTimestamp":7,"logType":"[2.0]","logMessage":"1.10"}"#,
            false,
        );
    }
}
