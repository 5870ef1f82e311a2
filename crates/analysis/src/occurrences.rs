//! Statistics of records: frequency, times, severity, and one sample. They do not depend on the order of records.

use runlog_model::record::SeverityCounts;
use runlog_model::{Record, Severity, Timestamp};
use serde::{Deserialize, Serialize};

/// Maximum size of a sample message. Unit: bytes.
pub const SAMPLE_BYTES_MAX: usize = 600;

/// Statistics of the records of a pattern or group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Occurrences {
    /// Number of records by severity, in the order `OTHER`, `TRACE`, `DEBUG`, `INFO`, `WARN`, `ERROR`, `FATAL`.
    pub severities: SeverityCounts,
    /// The earliest time of a record.
    pub first: Timestamp,
    /// The latest time of a record.
    pub last: Timestamp,
    /// The message of a record at `first`, at most 600 bytes; if there are several, the first in sort order.
    pub sample: String,
    /// The component that logged the sample.
    pub sample_bundle_name: Option<String>,
}

impl Occurrences {
    /// Returns the statistics of one record.
    pub(crate) fn of(record: &Record, severity: Severity) -> Self {
        let mut severities = SeverityCounts::default();
        severities.add(severity);
        Self {
            severities,
            first: record.time,
            last: record.time,
            sample: sample_of(record).to_owned(),
            sample_bundle_name: record.bundle_name.clone(),
        }
    }

    /// Counts one more record.
    pub(crate) fn add(&mut self, record: &Record, severity: Severity) {
        self.severities.add(severity);
        self.last = self.last.max(record.time);
        if record.time <= self.first {
            let bundle_name = record.bundle_name.as_deref();
            let ours = (self.first, self.sample.as_str(), self.sample_bundle_name.as_deref());
            if (record.time, sample_of(record), bundle_name) < ours {
                sample_of(record).clone_into(&mut self.sample);
                self.sample_bundle_name = record.bundle_name.clone();
            }
            self.first = record.time;
        }
    }

    /// Adds the records of other statistics.
    pub(crate) fn add_all(&mut self, other: &Self) {
        self.severities.add_all(&other.severities);
        self.last = self.last.max(other.last);
        let key = |occurrences: &Self| {
            (occurrences.first, occurrences.sample.clone(), occurrences.sample_bundle_name.clone())
        };
        if key(other) < key(self) {
            (self.first, self.sample, self.sample_bundle_name) = key(other);
        }
    }

    /// Records in all.
    pub fn records(&self) -> u64 {
        self.severities.total()
    }

    /// The highest severity of a record.
    pub fn worst(&self) -> Severity {
        worst_of(&self.severities)
    }
}

/// Records that are counted in no pattern or group, because there were too many different ones.
///
/// If there are such records, the count of a pattern is a lower bound, and rare patterns may be missing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rest {
    /// Number of records by severity, in the order `OTHER`, `TRACE`, `DEBUG`, `INFO`, `WARN`, `ERROR`, `FATAL`.
    pub severities: SeverityCounts,
}

impl Rest {
    /// Records in all.
    pub fn records(&self) -> u64 {
        self.severities.total()
    }

    /// Adds records that exceeded the limit.
    pub(crate) fn add_all(&mut self, occurrences: &Occurrences) {
        self.severities.add_all(&occurrences.severities);
    }
}

/// The highest severity that was counted.
pub(crate) fn worst_of(counts: &SeverityCounts) -> Severity {
    Severity::ALL.into_iter().rev().find(|severity| counts.of(*severity) > 0).unwrap_or(Severity::Other)
}

fn sample_of(record: &Record) -> &str {
    let message = record.message.as_deref().unwrap_or_default();
    &message[..message.floor_char_boundary(SAMPLE_BYTES_MAX)]
}
