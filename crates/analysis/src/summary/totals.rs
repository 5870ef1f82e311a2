//! The statistics of a log, computed record by record in constant memory.

use runlog_model::record::SeverityCounts;
use runlog_model::{Record, Severity, Timestamp};
use serde::Serialize;

/// Maximum length of a message in a summary. Unit: characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// Statistics of the log of a run: volume, period, severities, first error, and longest gap.
///
/// Records are added in the order of the log; a record earlier than the previous one is counted, but causes no gap.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Number of records by severity, in the order `OTHER`, `TRACE`, `DEBUG`, `INFO`, `WARN`, `ERROR`, `FATAL`.
    pub severities: SeverityCounts,
    /// The earliest time of a record.
    pub first: Option<Timestamp>,
    /// The latest time of a record.
    pub last: Option<Timestamp>,
    /// The first record with severity ERROR or worse.
    pub first_error: Option<FirstError>,
    /// The longest time between a record and the next.
    pub longest_gap: Option<Gap>,
    #[serde(skip)]
    previous: Option<Timestamp>,
}

/// A record that reports a failure.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FirstError {
    /// When it was logged.
    pub time: Timestamp,
    /// Its severity, as written in the log.
    pub severity: String,
    /// The component that logged it.
    pub bundle_name: Option<String>,
    /// The first line of its message, at most 300 characters.
    pub message: String,
}

/// A period in which nothing was logged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// Time of the record before it.
    pub start: Timestamp,
    /// How long it lasted, in milliseconds.
    pub duration_ms: i64,
}

impl Summary {
    /// Adds the next record of the log.
    pub fn add(&mut self, record: &Record) {
        let severity = Severity::of(record.severity.as_deref());
        self.severities.add(severity);
        self.first = Some(self.first.map_or(record.time, |first| first.min(record.time)));
        self.last = self.last.max(Some(record.time));
        if severity >= Severity::Error && self.first_error.is_none() {
            self.first_error = Some(FirstError::of(record));
        }
        self.measure_gap(record.time);
    }

    /// Returns the total number of records.
    pub fn records(&self) -> u64 {
        self.severities.total()
    }

    fn measure_gap(&mut self, time: Timestamp) {
        if let Some(start) = self.previous.replace(time) {
            let gap = Gap { start, duration_ms: time.millis_since(start) };
            if gap.duration_ms > self.longest_gap.map_or(0, |longest| longest.duration_ms) {
                self.longest_gap = Some(gap);
            }
        }
    }
}

impl FirstError {
    fn of(record: &Record) -> Self {
        let first_line = record.message.as_deref().unwrap_or_default().lines().next().unwrap_or_default();
        Self {
            time: record.time,
            severity: record.severity.clone().unwrap_or_default(),
            bundle_name: record.bundle_name.clone(),
            message: first_line.chars().take(MESSAGE_CHARS_MAX).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary_of(records: &[(i64, &str, &str)]) -> Summary {
        let mut summary = Summary::default();
        for (epoch_ms, severity, message) in records {
            let mut record = Record::at(Timestamp::clamped(*epoch_ms));
            record.severity = Some((*severity).to_owned());
            record.message = Some((*message).to_owned());
            summary.add(&record);
        }
        summary
    }

    #[test]
    fn the_first_error_and_the_longest_gap_are_found() {
        let summary = summary_of(&[
            (1_000, "INFO", "begin"),
            (9_000, "WARN", "slow"),
            (9_500, "ERROR", "no such table\nat line 3"),
            (9_600, "FATAL", "giving up"),
        ]);
        let problem = summary.first_error.as_ref().unwrap();
        assert_eq!((problem.time.as_millis(), problem.message.as_str()), (9_500, "no such table"));
        assert_eq!(summary.longest_gap, Some(Gap { start: Timestamp::clamped(1_000), duration_ms: 8_000 }));
        assert_eq!((summary.records(), summary.severities.of(Severity::Fatal)), (4, 1));
    }

    #[test]
    fn records_out_of_order_open_no_gap() {
        let summary = summary_of(&[(5_000, "INFO", "late"), (1_000, "INFO", "early")]);
        assert_eq!(summary.longest_gap, None);
        assert_eq!(summary.first.map(Timestamp::as_millis), Some(1_000));
        assert_eq!(summary.last.map(Timestamp::as_millis), Some(5_000));
    }

    #[test]
    fn an_empty_log_has_no_figures() {
        assert_eq!(Summary::default().records(), 0);
        assert_eq!(Summary::default().first, None);
    }
}
