//! Durations in the texts of alerts.

use runlog_analysis::report::MissingStart;

/// `45 s`, `12 min`, `5 h 2 min`, `7.5 days`.
pub(super) fn seconds(ms: i64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{:.1} days", seconds as f64 / 86_400.0),
    }
}

/// Describes a late start, as text that follows the name.
pub(super) fn late_in_words(missing: &MissingStart) -> String {
    let MissingStart { last, expected, usual_ms } = missing;
    format!(
        "has not run since {}; it was expected at {}, and usually runs every {}",
        last.to_seconds_text(),
        expected.to_seconds_text(),
        seconds(*usual_ms)
    )
}
