//! The words and numbers by which loggers beside log4j name severities.

use crate::Severity;

/// The severity that a text means; none for one that no logger here has.
pub(crate) fn meant(text: &str) -> Option<Severity> {
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

/// The severity of a number, by the scale that has it: syslog (0 to 7), pino and bunyan (10 to 60), log4j2 (100 to 600),
/// `java.util.logging` (700 to 1,000), logback (5,000 to 40,000).
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
}
