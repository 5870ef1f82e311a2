//! Words and rows that several reports share.

use runlog_analysis::patterns::{Change, PatternChange};
use runlog_analysis::report::{LogPart, LogState, RunHead, RunPoint, is_bad, is_good};
use runlog_analysis::{Occurrences, StackTraceGroup};
use runlog_model::{RunStatus, Severity, Timestamp};

use crate::arguments::status::status_word;
use crate::render::document::{Mark, Span, Tone, faint, plain, strong, toned};
use crate::render::preferences::{shown_seconds, shown_time};
pub(super) use crate::render::terminal::counted;
use crate::render::terminal::{count, duration};

/// Most characters of a template or a message in a row on the terminal.
pub(super) const TEXT_CHARS_MAX: usize = 120;

/// Returns the tone of a status.
pub(super) fn tone_of(status: RunStatus) -> Tone {
    match status {
        _ if is_good(status) => Tone::Good,
        _ if is_bad(status) => Tone::Bad,
        _ => Tone::Plain,
    }
}

pub(super) fn tone_of_severity(severity: Severity) -> Tone {
    match severity {
        Severity::Error | Severity::Fatal => Tone::Bad,
        Severity::Warn => Tone::Warning,
        Severity::Debug | Severity::Trace => Tone::Faint,
        _ => Tone::Plain,
    }
}

pub(super) fn severity(of: Severity) -> Span {
    toned(tone_of_severity(of), of.name())
}

pub(super) fn status(of: RunStatus) -> Span {
    toned(tone_of(of), status_word(of))
}

pub(super) fn time(of: Timestamp) -> Span {
    plain(shown_seconds(of))
}

/// Returns a time of a run as `12:04:31.282`, preceded by the date if it is not the day on which the run started.
pub(super) fn time_in_run(of: Timestamp, began: Timestamp) -> Span {
    let (text, began) = (shown_time(of), shown_time(began));
    match text.get(..10).zip(text.get(11..23)) {
        Some((day, clock)) if began.get(..10) == Some(day) => faint(clock),
        Some((day, clock)) => faint(format!("{day} {clock}")),
        None => faint(text),
    }
}

pub(super) fn text(of: &str) -> Span {
    plain(of).limited(TEXT_CHARS_MAX)
}

/// Status, times, records: the line below the title of a run.
pub(super) fn head_of(run: &RunHead) -> Vec<Span> {
    let mut line = vec![status(run.status), plain(format!(", started {}", started(run)))];
    if let Some(duration_ms) = run.duration_ms {
        line.push(plain(format!(", took {}", duration(duration_ms))));
    }
    line.push(plain(format!(", {}", counted(run.records, "record"))));
    if run.errors > 0 {
        line.extend([plain(", "), toned(Tone::Bad, counted(run.errors, "error"))]);
    }
    if run.warnings > 0 {
        line.extend([plain(", "), toned(Tone::Warning, counted(run.warnings, "warning"))]);
    }
    line
}

pub(super) fn started(run: &RunHead) -> String {
    shown_seconds(began(run))
}

/// When a run began.
pub(super) fn began(run: &RunHead) -> Timestamp {
    run.started_at.unwrap_or(run.triggered_at)
}

/// Returns a note if a report is not based on the whole log.
pub(super) fn basis_of(log: &LogPart) -> Option<Vec<Span>> {
    match log.state {
        LogState::Whole => None,
        LogState::Provisional | LogState::Outdated => {
            let summarized = count(log.summarized.unwrap_or_default());
            Some(vec![toned(Tone::Warning, format!("{summarized} records: {}", log.text))])
        }
        _ => Some(vec![toned(Tone::Warning, &log.text)]),
    }
}

/// Returns one mark per run, the latest on the right.
pub(super) fn strip_of(newest_first: &[RunPoint]) -> Vec<Mark> {
    newest_first.iter().rev().map(|run| Mark { tone: tone_of(run.status), label: label_of(run) }).collect()
}

pub(super) fn label_of(run: &RunPoint) -> String {
    let took = run.duration_ms.map(|ms| format!(", {}", duration(ms))).unwrap_or_default();
    format!("{} {}{took}", shown_seconds(run.triggered_at), status_word(run.status))
}

/// Patterns that changed, as rows: what, records before and after, severity, template.
pub(super) fn rows_of_changes(changes: &[PatternChange]) -> Vec<Vec<Span>> {
    changes.iter().map(row_of_change).collect()
}

/// The header of [`rows_of_changes`], and the indices of right-aligned columns.
pub(super) const CHANGES_HEAD: ([&str; 5], [usize; 2]) = (["change", "before", "after", "severity", "pattern"], [1, 2]);

fn row_of_change(pattern: &PatternChange) -> Vec<Span> {
    let records = |side: &Option<Occurrences>| plain(count(side.as_ref().map_or(0, Occurrences::records)));
    let sides = [&pattern.before, &pattern.after];
    let worst = sides.into_iter().flatten().map(Occurrences::worst).max().unwrap_or(Severity::Other);
    let change = match pattern.change {
        Change::New if worst >= Severity::Error => toned(Tone::Bad, "new"),
        Change::New => strong("new"),
        Change::MoreOften { times } => strong(format!("{} times as many", number(times))),
        Change::Gone => plain("gone"),
        Change::LessOften { times } => plain(format!("{} times as many", number(times))),
        Change::Unchanged => faint("unchanged"),
    };
    vec![change, records(&pattern.before), records(&pattern.after), severity(worst), text(&pattern.template)]
}

/// How much longer something took: `+0 %`, `-40 %`, `12 times as long`.
pub(super) fn change(times: f64) -> String {
    match ((times - 1.0) * 100.0).round() {
        // Not `-0`.
        0.0 => "+0 %".to_owned(),
        percent if percent < 200.0 => format!("{percent:+} %"),
        _ => format!("{} times as long", number(times)),
    }
}

/// Formats a ratio with two or three significant digits.
pub(super) fn number(times: f64) -> String {
    if times >= 10.0 {
        format!("{times:.0}")
    } else if times >= 1.0 {
        format!("{times:.1}")
    } else {
        format!("{times:.2}")
    }
}

/// Groups of stack traces, as rows: records, severity, title.
pub(super) fn rows_of_groups(groups: &[StackTraceGroup]) -> Vec<Vec<Span>> {
    let row = |group: &StackTraceGroup| {
        let occurrences = &group.occurrences;
        vec![plain(count(occurrences.records())), severity(occurrences.worst()), text(&group.cause.title)]
    };
    groups.iter().map(row).collect()
}
