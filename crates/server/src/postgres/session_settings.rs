//! The settings of a session. Most say what is the case anyway; others cannot be changed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::postgres::failure::Report;

/// The version of PostgreSQL whose catalog and protocol are offered.
pub(super) const SERVER_VERSION: &str = "15.0";

/// Each setting and its value at the beginning.
const DEFAULTS: [(&str, &str); 33] = [
    ("default_table_access_method", "heap"),
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("extra_float_digits", "1"),
    ("idle_in_transaction_session_timeout", "0"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("intervalstyle", "postgres"),
    ("is_superuser", "off"),
    ("jit", "off"),
    ("lc_collate", "C"),
    ("lc_ctype", "C"),
    ("lc_messages", "C"),
    ("lock_timeout", "0"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("row_security", "on"),
    ("search_path", "public"),
    ("server_encoding", "UTF8"),
    ("server_version", SERVER_VERSION),
    ("server_version_num", "150000"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("synchronize_seqscans", "on"),
    ("timezone", "UTC"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "on"),
    ("xmloption", "content"),
];

/// Settings that a session can change, whatever the value: they concern the client, or what there is nothing of.
const FREE: [&str; 10] = [
    "application_name",
    "client_min_messages",
    "default_transaction_isolation",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "jit",
    "lock_timeout",
    "row_security",
    "synchronize_seqscans",
    "transaction_isolation",
];

/// Longest value of a setting. Unit: bytes.
const VALUE_BYTES_MAX: usize = 256;

/// The settings that are reported to clients, as they are spelled there.
pub(super) const REPORTED: [(&str, &str); 12] = [
    ("server_version", "server_version"),
    ("server_encoding", "server_encoding"),
    ("client_encoding", "client_encoding"),
    ("datestyle", "DateStyle"),
    ("intervalstyle", "IntervalStyle"),
    ("timezone", "TimeZone"),
    ("integer_datetimes", "integer_datetimes"),
    ("standard_conforming_strings", "standard_conforming_strings"),
    ("application_name", "application_name"),
    ("default_transaction_read_only", "default_transaction_read_only"),
    ("in_hot_standby", "in_hot_standby"),
    ("is_superuser", "is_superuser"),
];

/// The settings of a session, by name in lower case.
#[derive(Debug, Clone)]
pub(super) struct Settings(BTreeMap<String, String>);

/// The notice about a change of a setting.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) warning: Option<Report>,
}

impl Settings {
    pub(super) fn new() -> Self {
        Self(DEFAULTS.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    pub(super) fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn default_of(name: &str) -> Option<&'static str> {
        DEFAULTS.into_iter().find(|known| known.0 == name).map(|known| known.1)
    }

    /// Timeout of a statement; none for no limit other than that of the service.
    pub(super) fn statement_time_max(&self) -> Option<Duration> {
        self.get("statement_timeout").and_then(duration).filter(|time| !time.is_zero())
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }

    /// Changes a setting; none is its default.
    pub(super) fn set(&mut self, name: &str, value: Option<&str>) -> Result<Changed, Report> {
        let default = Self::default_of(name).ok_or_else(|| unknown(name))?;
        // Some drivers send quotes in the parameters of a session.
        let value = value.unwrap_or(default).trim().trim_matches('\'');
        if value.len() > VALUE_BYTES_MAX {
            return Err(Report::new("22023", format!("the value of {name} is longer than {VALUE_BYTES_MAX} bytes")));
        }
        let lower = value.to_lowercase();
        let is_kept = match name {
            _ if lower == default.to_lowercase() => true,
            _ if FREE.contains(&name) => true,
            // PostgreSQL converts nothing for a client without an encoding, either.
            "client_encoding" => {
                matches!(lower.replace(['-', '_'], "").as_str(), "utf8" | "unicode" | "sqlascii")
            }
            // The order of day and month only matters where dates are read.
            "datestyle" => lower.starts_with("iso"),
            "search_path" => {
                let schemas = lower.split(',').map(|schema| schema.trim().trim_matches('"'));
                schemas.into_iter().all(|schema| ["public", "$user", "pg_catalog", ""].contains(&schema))
            }
            "statement_timeout" => duration(value).is_some(),
            "timezone" => {
                if matches!(lower.as_str(), "utc" | "gmt" | "etc/utc" | "etc/gmt" | "z" | "zulu" | "0" | "+00:00") {
                    return Ok(Changed::default());
                }
                let warning = Report::new("01000", "times are sent in UTC, whatever the time zone of the session");
                return Ok(Changed { warning: Some(warning.with_hint("convert them in the client")) });
            }
            _ => matches!((default, lower.as_str()), ("on", "true" | "1" | "yes") | ("off", "false" | "0" | "no")),
        };
        if !is_kept {
            let (code, message) = match name {
                "default_transaction_read_only" | "transaction_read_only" => {
                    ("25006", "the archive can only be read".to_owned())
                }
                _ => ("0A000", format!("{name} cannot be changed: it is {default}")),
            };
            let report = Report::new(code, message);
            return Err(match name {
                "client_encoding" => report.with_hint("set PGCLIENTENCODING=UTF8, or client_encoding=UTF8"),
                _ => report,
            });
        }
        let value = if name == "client_encoding" { default } else { value };
        self.0.insert(name.to_owned(), value.to_owned());
        Ok(Changed::default())
    }
}

/// There is no such setting.
pub(super) fn unknown(name: &str) -> Report {
    let shown: String = name.chars().take(64).collect();
    Report::new("42704", format!("there is no setting {}", shown.escape_debug()))
        .with_hint("SHOW ALL lists the settings")
}

/// Milliseconds, or a number with a unit.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let factor = match text[digits..].trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_that_change_the_form_of_values_are_refused() {
        let mut settings = Settings::new();
        let code = |settings: &mut Settings, name: &str, value: &str| {
            settings.set(name, Some(value)).err().map(|report| report.code)
        };
        for (name, value) in [
            ("datestyle", "ISO, DMY"),
            ("client_encoding", "'utf-8'"),
            ("extra_float_digits", "3"),
            ("application_name", "psql"),
            ("search_path", "\"$user\", public"),
            ("standard_conforming_strings", "TRUE"),
        ] {
            assert_eq!(code(&mut settings, name, value), None, "{name}");
        }
        assert_eq!(settings.get("client_encoding"), Some("UTF8"));
        assert_eq!(code(&mut settings, "datestyle", "German"), Some("0A000"));
        assert_eq!(code(&mut settings, "client_encoding", "latin1"), Some("0A000"));
        assert_eq!(code(&mut settings, "search_path", "secret"), Some("0A000"));
        assert_eq!(code(&mut settings, "default_transaction_read_only", "off"), Some("25006"));
        assert_eq!(code(&mut settings, "nonsense", "1"), Some("42704"));
        assert!(settings.set("timezone", Some("Europe/Berlin")).unwrap().warning.is_some());
        assert_eq!(settings.get("timezone"), Some("UTC"));
        settings.set("statement_timeout", Some("2s")).unwrap();
        assert_eq!(settings.statement_time_max(), Some(Duration::from_secs(2)));
        settings.set("statement_timeout", None).unwrap();
        assert_eq!(settings.statement_time_max(), None);
    }
}
