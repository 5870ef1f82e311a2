//! Which field of a JSON object, or column of a table, is which field of a record.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

/// A field of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FieldName {
    /// When it was logged.
    Time,
    /// Its severity.
    Severity,
    /// The kind of log.
    LogType,
    /// The text.
    Message,
    /// The component or class that logged it.
    BundleName,
    /// Its version.
    BundleVersion,
    /// The pod or host.
    PodName,
    /// A stack trace, which is appended to the text.
    StackTrace,
    /// An object with further fields.
    Extra,
}

/// The usual names of each field, without anything but letters and digits, and in lower case; an earlier name takes
/// precedence over a later one.
const NAMES: [(FieldName, &[&str]); 9] = [
    (FieldName::Time, &["logtimestamp", "timestamp", "time", "timemillis", "instant", "datetime", "ts", "date"]),
    (FieldName::Severity, &["severity", "level", "loglevel", "levelname", "severitytext"]),
    (FieldName::LogType, &["logtype"]),
    (FieldName::Message, &["logmessage", "message", "msg", "fullmessage", "shortmessage", "text", "body"]),
    (FieldName::BundleName, &["bundlename", "logger", "loggername", "loglogger", "component", "class"]),
    (FieldName::BundleVersion, &["bundleversion"]),
    (FieldName::PodName, &["podname", "host", "hostname"]),
    (FieldName::StackTrace, &["stacktrace", "errorstacktrace", "exception", "throwable"]),
    (FieldName::Extra, &["extra"]),
];

/// The longest name of a field that is looked at. Unit: bytes.
const NAME_BYTES_MAX: usize = 64;

/// Names of fields that differ from the usual ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldMap(HashMap<String, FieldName>);

impl FieldMap {
    /// Reads the field of a record from another field or column, instead of one with a usual name.
    pub fn insert(&mut self, column: String, field: FieldName) {
        self.0.insert(column, field);
    }

    /// True if all fields have their usual names.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names that differ.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The field of a record that a field or column is, and its precedence among the names of that field.
    pub(crate) fn of(&self, name: &str) -> Option<(FieldName, usize)> {
        if let Some(field) = self.0.get(name) {
            return Some((*field, 0));
        }
        let (field, rank) = usual(name)?;
        let is_mapped = self.0.values().any(|mapped| *mapped == field);
        (!is_mapped).then_some((field, rank + 1))
    }
}

fn usual(name: &str) -> Option<(FieldName, usize)> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let plain: String =
        name.chars().filter(|it| it.is_ascii_alphanumeric()).map(|it| it.to_ascii_lowercase()).collect();
    NAMES.iter().find_map(|(field, names)| Some((*field, names.iter().position(|usual| *usual == plain)?)))
}

impl FromStr for FieldName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        usual(text).map(|(field, _)| field).ok_or_else(|| {
            format!("a record has no field {text:?}; use time, severity, message, logType, bundleName, bundleVersion or podName")
        })
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Time => "time",
            Self::Severity => "severity",
            Self::LogType => "logType",
            Self::Message => "message",
            Self::BundleName => "bundleName",
            Self::BundleVersion => "bundleVersion",
            Self::PodName => "podName",
            Self::StackTrace => "stackTrace",
            Self::Extra => "extra",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_are_known_in_any_spelling() {
        let fields = FieldMap::default();
        for (name, field) in [
            ("logTimestamp", FieldName::Time),
            ("@timestamp", FieldName::Time),
            ("log_message", FieldName::Message),
            ("Log Level", FieldName::Severity),
            ("log.logger", FieldName::BundleName),
        ] {
            assert_eq!(fields.of(name).map(|(field, _)| field), Some(field), "{name}");
        }
        assert_eq!(fields.of("order"), None);
    }

    #[test]
    fn a_mapped_field_replaces_the_usual_names() {
        let mut fields = FieldMap::default();
        fields.insert("Datum".to_owned(), "time".parse().unwrap());
        assert_eq!(fields.of("Datum"), Some((FieldName::Time, 0)));
        assert_eq!(fields.of("time"), None);
        assert!("colour".parse::<FieldName>().unwrap_err().contains("severity"));
    }
}
