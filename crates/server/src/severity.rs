//! The severities of loggers beside log4j, as those that the archive counts by.

use runlog_model::Severity;

/// The severity that a text means, where it is none of the words that the archive counts by; none for an unknown one.
pub(crate) fn meant(text: &str) -> Option<&'static str> {
    let word = text.trim().to_ascii_uppercase();
    if let Ok(number) = word.parse() {
        return of_number(number);
    }
    Some(match word.trim_end_matches(['1', '2', '3', '4']) {
        "TRACE" | "FINEST" | "FINER" | "VERBOSE" | "ALL" => "TRACE",
        "DEBUG" | "DBG" | "FINE" | "CONFIG" => "DEBUG",
        "INFO" | "INFORMATION" | "INFORMATIONAL" | "NOTICE" => "INFO",
        "WARN" | "WARNING" | "WRN" => "WARN",
        "ERROR" | "ERR" | "SEVERE" | "FAILURE" => "ERROR",
        "FATAL" | "CRITICAL" | "CRIT" | "ALERT" | "EMERGENCY" | "EMERG" | "PANIC" | "DPANIC" => "FATAL",
        _ => return None,
    })
}

/// The severity of a number, by the scale that has it: syslog (0 to 7), pino and bunyan (10 to 60), log4j2 (100 to 600),
/// `java.util.logging` (700 to 1,000), logback (5,000 to 40,000).
fn of_number(number: i64) -> Option<&'static str> {
    Some(match number {
        0..=2 | 60 | 100 | 50_000 => "FATAL",
        3 | 50 | 200 | 1_000 | 40_000 => "ERROR",
        4 | 40 | 300 | 900 | 30_000 => "WARN",
        5 | 6 | 30 | 400 | 800 | 20_000 => "INFO",
        7 | 20 | 500 | 700 | 10_000 => "DEBUG",
        10 | 600 | 5_000 => "TRACE",
        _ => return None,
    })
}

/// The severity to keep for what a logger wrote, and whether that is another word.
pub(crate) fn kept(text: &str) -> (String, bool) {
    match Severity::of(Some(text)) {
        Severity::Other => meant(text).map_or_else(|| (text.to_owned(), false), |word| (word.to_owned(), true)),
        _ => (text.to_owned(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_and_numbers_of_other_loggers_are_known() {
        let kept = |text: &str| kept(text).0;
        assert_eq!(
            ["WARNING", "Severe", "critical", "NOTICE", "FINE"].map(kept),
            ["WARN", "ERROR", "FATAL", "INFO", "DEBUG"]
        );
        assert_eq!(["3", "50", "300", "40000", "7"].map(kept), ["ERROR", "ERROR", "WARN", "ERROR", "DEBUG"]);
        assert_eq!(["error", "AUDIT", "500x", "ERROR2"].map(kept), ["error", "AUDIT", "500x", "ERROR"]);
    }
}
