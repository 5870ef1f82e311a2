//! The severity of a record, and the names and numbers by which loggers other than log4j express it.

use serde::{Deserialize, Serialize};

/// The severities by which records are counted, least severe first; unknown ones count as `Other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// No severity, or one that means none of these.
    Other,
    /// Finest.
    Trace,
    /// For developers.
    Debug,
    /// Ordinary progress.
    Info,
    /// Unusual, but the run continues.
    Warn,
    /// Something failed.
    Error,
    /// The run cannot continue.
    Fatal,
}

impl Severity {
    /// Every severity, least first.
    pub const ALL: [Self; 7] =
        [Self::Other, Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Fatal];

    /// The severity that a record's text means: one of the names below in any case, or a word or number of another
    /// logger, such as `WARNING`, `SEVERE`, `CRITICAL` or `err`.
    pub fn of(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::Other };
        Self::named(text).or_else(|| meant(text)).unwrap_or(Self::Other)
    }

    /// The severity whose name a text is, case-insensitive; none for the names of other loggers.
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().skip(1).find(|severity| severity.name().eq_ignore_ascii_case(text))
    }

    /// Its name in a log, upper case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Other => "OTHER",
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

/// Number of records by severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SeverityCounts([u64; 7]);

impl SeverityCounts {
    /// Counts one more record.
    pub fn add(&mut self, severity: Severity) {
        self.0[severity as usize] += 1;
    }

    /// Adds another log's counts.
    pub fn add_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }

    /// The records of one severity.
    pub fn of(&self, severity: Severity) -> u64 {
        self.0[severity as usize]
    }

    /// The records of all severities.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The counts in the order of [`Severity::ALL`].
    pub fn as_array(&self) -> [u64; 7] {
        self.0
    }

    /// From counts in the order of [`Severity::ALL`].
    pub fn from_array(counts: [u64; 7]) -> Self {
        Self(counts)
    }
}

/// The severity that a text means; none for one that no logger here has.
fn meant(text: &str) -> Option<Severity> {
    let word = text.trim();
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    if let Ok(number) = word.parse() {
        return of_number(number);
    }
    let word = word.to_ascii_uppercase();
    Some(match word.trim_end_matches(['1', '2', '3', '4']) {
        "TRACE" | "FINEST" | "FINER" | "VERBOSE" | "ALL" => Severity::Trace,
        "DEBUG" | "DBG" | "FINE" | "CONFIG" => Severity::Debug,
        "INFO" | "INFORMATION" | "INFORMATIONAL" | "NOTICE" => Severity::Info,
        "WARN" | "WARNING" | "WRN" => Severity::Warn,
        "ERROR" | "ERR" | "SEVERE" | "FAILURE" => Severity::Error,
        "FATAL" | "CRITICAL" | "CRIT" | "ALERT" | "EMERGENCY" | "EMERG" | "PANIC" | "DPANIC" => Severity::Fatal,
        _ => return None,
    })
}

/// The longest text that can be one of them. Unit: bytes.
const WORD_BYTES_MAX: usize = 32;

/// The severity of a number, by the scale that has it: syslog (0 to 7), pino and bunyan (10 to 60), log4j2 (100 to
/// 600), `java.util.logging` (700 to 1,000), logback (5,000 to 40,000).
fn of_number(number: i64) -> Option<Severity> {
    Some(match number {
        0..=2 | 60 | 100 | 50_000 => Severity::Fatal,
        3 | 50 | 200 | 1_000 | 40_000 => Severity::Error,
        4 | 40 | 300 | 900 | 30_000 => Severity::Warn,
        5 | 6 | 30 | 400 | 800 | 20_000 => Severity::Info,
        7 | 20 | 500 | 700 | 10_000 => Severity::Debug,
        10 | 600 | 5_000 => Severity::Trace,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_and_numbers_of_other_loggers_are_known() {
        let severity = |text: &str| Severity::of(Some(text)).name();
        assert_eq!(
            ["WARNING", "Severe", "critical", "NOTICE", "FINE"].map(severity),
            ["WARN", "ERROR", "FATAL", "INFO", "DEBUG"]
        );
        assert_eq!(["3", "50", "300", "40000", "7"].map(severity), ["ERROR", "ERROR", "WARN", "ERROR", "DEBUG"]);
        assert_eq!(["error", "AUDIT", "500x", "ERROR2"].map(severity), ["ERROR", "OTHER", "OTHER", "ERROR"]);
        assert_eq!(severity(&format!("{}WARNING", " ".repeat(10))), "WARN");
        assert_eq!(severity(&"WARN".repeat(1_000)), "OTHER");
    }

    #[test]
    fn severities_are_known_in_any_case() {
        assert_eq!(Severity::of(Some("error")), Severity::Error);
        assert_eq!(Severity::of(Some("WARNING")), Severity::Warn);
        assert_eq!((Severity::named("WARNING"), Severity::named("warn")), (None, Some(Severity::Warn)));
        assert_eq!(Severity::of(Some("AUDIT")), Severity::Other);
        assert_eq!(Severity::of(None), Severity::Other);
    }

    #[test]
    fn every_number_of_a_scale_has_its_severity() {
        let of = |numbers: &[i64]| -> Vec<&str> {
            numbers.iter().map(|number| Severity::of(Some(&number.to_string())).name()).collect()
        };
        assert_eq!(of(&[0, 1, 2, 60, 100, 50_000]), ["FATAL"; 6]);
        assert_eq!(of(&[3, 50, 200, 1_000, 40_000]), ["ERROR"; 5]);
        assert_eq!(of(&[4, 40, 300, 900, 30_000]), ["WARN"; 5]);
        assert_eq!(of(&[5, 6, 30, 400, 800, 20_000]), ["INFO"; 6]);
        assert_eq!(of(&[7, 20, 500, 700, 10_000]), ["DEBUG"; 5]);
        assert_eq!(of(&[10, 600, 5_000]), ["TRACE"; 3]);
        assert_eq!(of(&[-1, 8, 61, 50_001]), ["OTHER"; 4]);
        let padded = |length: usize| format!("{:length$}", "WARN1").replace(' ', "1");
        assert_eq!([32, 33].map(|length| Severity::of(Some(&padded(length))).name()), ["WARN", "OTHER"]);
    }

    #[test]
    fn counts_are_by_severity() {
        let mut counts = SeverityCounts::default();
        for severity in [Severity::Error, Severity::Other, Severity::Error] {
            counts.add(severity);
        }
        counts.add_all(&SeverityCounts::from_array([1, 0, 0, 5, 0, 0, 7]));
        assert_eq!(counts.as_array(), [2, 0, 0, 5, 0, 2, 7]);
        assert_eq!((counts.of(Severity::Fatal), counts.of(Severity::Trace), counts.total()), (7, 0, 16));
    }
}
