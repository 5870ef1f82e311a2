//! The severities of loggers other than log4j, as stored for engine events and OTLP records.

use runlog_model::Severity;

/// The severity to store for that of a logger, and whether it differs. Unknown ones are stored unchanged.
pub(crate) fn kept(text: &str) -> (String, bool) {
    match (Severity::named(text), Severity::of(Some(text))) {
        (Some(_), _) | (None, Severity::Other) => (text.to_owned(), false),
        (None, severity) => (severity.name().to_owned(), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_loggers_become_those_that_the_archive_counts_by() {
        let kept = |text: &str| kept(text).0;
        assert_eq!(
            ["WARNING", "Severe", "critical", "NOTICE", "FINE"].map(kept),
            ["WARN", "ERROR", "FATAL", "INFO", "DEBUG"]
        );
        assert_eq!(["3", "50", "300", "40000", "7"].map(kept), ["ERROR", "ERROR", "WARN", "ERROR", "DEBUG"]);
        assert_eq!(["error", "AUDIT", "500x", "ERROR2"].map(kept), ["error", "AUDIT", "500x", "ERROR"]);
    }
}
