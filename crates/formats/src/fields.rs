//! The fields of a record that is being read, by the names that other programs give them.

use std::collections::HashMap;

use runlog_model::fields::FieldValue;
use runlog_model::{Fields, LogTime, Record, Timestamp, read_object};
use serde_json::Value;

use crate::names::FieldName;
use crate::settings::ReadSettings;
use crate::text;

/// Times in milliseconds that are rather seconds: as milliseconds, these are of the first weeks of 1970, and as seconds of
/// the years from 2001 to 2096.
const RATHER_SECONDS: std::ops::Range<i64> = 1_000_000_000..4_000_000_000;

/// The fields of a record that is being read.
#[derive(Debug, Default)]
pub(crate) struct RecordBuilder {
    /// Each field with its name and the precedence of that.
    fields: HashMap<FieldName, (usize, String, FieldValue)>,
    extra: Fields,
}

impl RecordBuilder {
    /// Adds a field; the one of two with a usual name that has less precedence is kept as a further field.
    pub(crate) fn add(&mut self, (field, rank): (FieldName, usize), name: String, value: FieldValue) {
        let is_first = self.fields.get(&field).is_none_or(|(known, ..)| *known > rank);
        if value.value().is_null() {
            return;
        }
        if !is_first {
            return self.add_extra(name, value);
        }
        if let Some((_, name, value)) = self.fields.insert(field, (rank, name, value)) {
            self.add_extra(name, value);
        }
    }

    /// Adds a field that records do not have.
    pub(crate) fn add_extra(&mut self, name: String, value: FieldValue) {
        self.extra.put(name, value);
    }

    /// Returns the record, or the reason why it is invalid.
    pub(crate) fn record(mut self, settings: &ReadSettings) -> Result<Record, String> {
        let (_, name, time) = self.fields.remove(&FieldName::Time).ok_or("none of the fields is a time")?;
        let mut record = Record::at(time_of(&name, time.value(), settings)?);
        record.severity = self.text(FieldName::Severity);
        record.log_type = self.text(FieldName::LogType);
        record.message = self.text(FieldName::Message);
        record.bundle_name = self.text(FieldName::BundleName);
        record.bundle_version = self.text(FieldName::BundleVersion);
        record.pod_name = self.text(FieldName::PodName);
        if let Some((_, name, field)) = self.fields.remove(&FieldName::StackTrace) {
            match field.value().as_str() {
                Some(trace) => {
                    let message = record.message.get_or_insert_default();
                    if !message.is_empty() {
                        message.push('\n');
                    }
                    message.push_str(trace.trim_end());
                }
                None => self.add_extra(name, field),
            }
        }
        if let Some((_, name, field)) = self.fields.remove(&FieldName::Extra) {
            let written = field.value().as_str().and_then(|text| read_object(text.as_bytes()).ok());
            match written.map_or_else(|| field.into_object(), |(fields, _)| Ok(fields)) {
                Ok(fields) => self.extra.append(fields),
                Err(field) => self.add_extra(name, field),
            }
        }
        record.extra = (!self.extra.is_empty()).then(|| Box::new(self.extra));
        Ok(record)
    }

    fn text(&mut self, field: FieldName) -> Option<String> {
        self.fields.remove(&field)?.2.into_text()
    }
}

fn time_of(name: &str, value: &Value, settings: &ReadSettings) -> Result<Timestamp, String> {
    let wrong = || {
        let shown: String = value.to_string().chars().take(64).collect();
        format!("{shown} is not a time (field {name})")
    };
    match value {
        // This field of the API is in milliseconds; others are read by their size.
        Value::Number(number) if name == "logTimestamp" => {
            let ms = number.as_i64().ok_or_else(wrong)?;
            checked(Timestamp::from_millis(ms).map_err(|_| wrong())?)
        }
        // The layout of log4j2.
        Value::Object(instant) => {
            let part = |name: &str| instant.get(name).and_then(Value::as_i64).map(i128::from);
            let nanos = part("epochSecond").map(|seconds| seconds * 1_000_000_000 + part("nanoOfSecond").unwrap_or(0));
            nanos.and_then(LogTime::from_nanos).map(|at| at.time).ok_or_else(wrong)
        }
        _ => LogTime::read(value, &settings.zone)
            .map(|at| at.time)
            .or_else(|| text::read_time(value.as_str()?.trim(), settings))
            .ok_or_else(wrong),
    }
}

/// A time that is given in milliseconds.
pub(crate) fn checked(time: Timestamp) -> Result<Timestamp, String> {
    let ms = time.as_millis();
    match RATHER_SECONDS.contains(&ms) {
        true => Err(format!(
            "logTimestamp {ms} is {time} in milliseconds, and {} in seconds; it must be in milliseconds",
            Timestamp::clamped(ms.saturating_mul(1_000)).to_seconds_text()
        )),
        false => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::FieldMap;

    #[test]
    fn of_two_names_the_first_counts_and_the_other_is_kept() {
        for names in [["timestamp", "date"], ["date", "timestamp"]] {
            let mut builder = RecordBuilder::default();
            for name in names {
                let value = if name == "date" { "delivery date" } else { "2021-04-21T15:29:11Z" };
                builder.add(FieldMap::default().of(name).unwrap(), name.to_owned(), Value::from(value).into());
            }
            let record = builder.record(&ReadSettings::written_at(Timestamp::MIN)).unwrap();
            assert_eq!(record.time.as_millis(), 1_619_018_951_000);
            assert_eq!(record.extra.unwrap()["date"], "delivery date");
        }
    }
}
