//! Joins the lines of a trace whose lines were logged as separate records.
//!
//! A record that may be the beginning of a failure is held until the next record of the same pod and component shows
//! whether the message continues. Memory is bounded: the number of held messages is limited, and so is the size of
//! each.

use runlog_model::{Record, Severity, Timestamp};

use super::exception::at_start;
use super::read::{is_lead, prefix_of_traceback, without_prefix_of_logger};
use crate::stack_trace::Frame;

/// Maximum number of messages held at the same time, one for each pod and component.
const HELD_MAX: usize = 16;

/// Maximum size of a joined message in bytes, and maximum number of its records.
const JOINED_BYTES_MAX: usize = 64 << 10;
const JOINED_RECORDS_MAX: usize = 2_000;

/// Maximum time between two records of a trace. Unit: milliseconds.
const PAUSE_MS_MAX: i64 = 2_000;

/// Maximum number of other records between two records of a trace.
const BETWEEN_MAX: usize = 64;

/// The first line of a Python traceback.
const TRACEBACK: &str = "Traceback (most recent call last):";

/// A message of one or more records.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Joined {
    /// The first record, with the text of all and the worst severity.
    pub(crate) record: Record,
    /// The worst severity.
    pub(crate) severity: Severity,
    /// Position of the first record in the log.
    pub(crate) position: u64,
    /// Number of joined records.
    pub(crate) records: usize,
    /// Number of records below WARN before the first record.
    pub(crate) ordinary_before: u64,
    /// Time of the last record.
    last: Timestamp,
    /// Number of ordinary records of the same component since the last record.
    between: usize,
    /// Position of its last line relative to Python tracebacks.
    traceback: InTraceback,
}

/// The position of a line relative to Python tracebacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum InTraceback {
    #[default]
    None,
    /// Within a traceback, before its last line, which names the exception.
    Open,
    /// The last line of a traceback was read.
    Closed,
}

impl InTraceback {
    fn after(self, text: &str) -> Self {
        text.lines().fold(self, |state, line| {
            if line.contains(TRACEBACK) {
                Self::Open
            } else if state == Self::Open && !line.trim().is_empty() && !line.starts_with(['\t', ' ']) {
                Self::Closed
            } else {
                state
            }
        })
    }
}

/// Joins records, in the order of the log.
#[derive(Debug, Default)]
pub(crate) struct Joiner {
    held: Vec<Joined>,
}

/// The effect of a record.
#[derive(Debug, Default)]
pub(crate) struct JoinOutcome {
    /// Messages that are complete now.
    pub(crate) complete: Vec<Joined>,
    /// True if the record continues the message of an earlier record.
    pub(crate) continues: bool,
}

impl Joiner {
    /// Adds a record. `is_of_interest`: the record may begin a message about a failure.
    pub(crate) fn add(
        &mut self,
        record: &Record,
        severity: Severity,
        position: u64,
        ordinary_before: u64,
        is_of_interest: bool,
    ) -> JoinOutcome {
        let mut taken = JoinOutcome::default();
        if self.held.is_empty() && !is_of_interest {
            return taken;
        }
        let is_same =
            |held: &Joined| held.record.pod_name == record.pod_name && held.record.bundle_name == record.bundle_name;
        if let Some(at) = self.held.iter().position(is_same) {
            if self.held[at].is_continued_by(record, severity) {
                self.held[at].append(record, severity);
                taken.continues = true;
                return taken;
            }
            // Another thread of the component logs while the trace is written.
            if !is_of_interest && self.held[at].takes_between(record, severity) {
                return taken;
            }
            taken.complete.push(self.held.remove(at));
        }
        if is_of_interest {
            if self.held.len() >= HELD_MAX {
                taken.complete.push(self.held.remove(0));
            }
            self.held.push(Joined {
                record: record.clone(),
                severity,
                position,
                records: 1,
                ordinary_before,
                last: record.time,
                between: 0,
                traceback: InTraceback::None.after(record.message.as_deref().unwrap_or_default()),
            });
        }
        taken
    }

    /// Returns the messages that are still held.
    pub(crate) fn finish(self) -> Vec<Joined> {
        self.held
    }
}

impl Joined {
    fn text(&self) -> &str {
        self.record.message.as_deref().unwrap_or_default()
    }

    /// Returns the text of a record without the prefix of a logger, and without the prefix that it shares with the
    /// first line.
    fn line_of<'a>(&self, record: &'a Record) -> &'a str {
        let line = without_prefix_of_logger(record.message.as_deref().unwrap_or_default());
        match self.traceback {
            InTraceback::None => line,
            _ => line.strip_prefix(prefix_of_traceback(self.text().lines().next().unwrap_or_default())).unwrap_or(line),
        }
    }

    fn last_line(&self) -> &str {
        self.text().lines().next_back().unwrap_or_default()
    }

    /// Returns the last line that contains letters or digits.
    fn last_words(&self) -> &str {
        self.text().lines().rfind(|line| line.contains(char::is_alphanumeric)).unwrap_or_default()
    }

    fn is_in_python(&self) -> bool {
        self.traceback == InTraceback::Open
    }

    /// Counts an ordinary record that is not part of the message; returns false if the message may be complete.
    fn takes_between(&mut self, record: &Record, severity: Severity) -> bool {
        let is_near = record.time.millis_since(self.last).abs() <= PAUSE_MS_MAX;
        self.between += 1;
        is_near && is_progress(severity) && self.between <= BETWEEN_MAX
    }

    fn is_continued_by(&self, record: &Record, severity: Severity) -> bool {
        let line = self.line_of(record);
        let is_near = record.time.millis_since(self.last).abs() <= PAUSE_MS_MAX;
        let has_room = self.records < JOINED_RECORDS_MAX && self.text().len() + line.len() < JOINED_BYTES_MAX;
        if !is_near || !has_room {
            return false;
        }
        if line.trim().is_empty() || is_part_of_chain(line) {
            return true;
        }
        let is_indented = line.starts_with(['\t', ' ']);
        let is_of_other = is_progress(severity) && !is_progress(self.severity);
        if (is_of_other || self.between > 0) && !(is_indented || self.is_in_python() && !is_of_other) {
            return false;
        }
        let last = self.last_line();
        if self.is_in_python() || is_indented {
            return self.is_in_python() || line.starts_with('\t') || line.starts_with("  ");
        }
        let begins_an_exception = at_start(line).is_some();
        let waits_for_exception =
            last.contains("Exception in component ") || last.contains("Exception in task ") || is_link_of_python(last);
        (begins_an_exception && waits_for_exception)
            || (line.starts_with("Traceback (most recent")
                && is_link_of_python(self.text().trim_end().lines().next_back().unwrap_or_default()))
            || (line.starts_with("ORA-") && self.text().contains("ORA-"))
            || (is_lead(self.last_words()) && record.time >= self.last)
    }

    fn append(&mut self, record: &Record, severity: Severity) {
        let line = self.line_of(record);
        self.traceback = self.traceback.after(line);
        self.between = 0;
        if severity > self.severity {
            self.severity = severity;
            self.record.severity.clone_from(&record.severity);
        }
        let text = self.record.message.get_or_insert_default();
        text.push('\n');
        text.push_str(line);
        self.records += 1;
        self.last = record.time;
    }
}

/// True for severities of records that belong to an error trace only if their text looks like it.
fn is_progress(severity: Severity) -> bool {
    matches!(severity, Severity::Trace | Severity::Debug | Severity::Info)
}

/// True for a line that occurs only within a trace.
pub(crate) fn is_continuation(line: &str) -> bool {
    is_part_of_chain(line) && !line.trim().is_empty()
}

fn is_part_of_chain(line: &str) -> bool {
    let text = line.trim_start();
    if !text.starts_with(['a', '.', 'C', 'S', 'W', 'D', 'T', '-', 'F']) {
        return false;
    }
    const BEGINNINGS: [&str; 8] = [
        "Caused by:",
        "Suppressed: ",
        "Wrapped by: ",
        "Driver stacktrace:",
        "--- End of ",
        "---> ",
        "During handling of the above exception",
        "The above exception was the direct cause",
    ];
    let is_omitted = text.starts_with("... ") && (text.ends_with(" more") || text.contains("frames omitted"));
    BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
        || is_omitted
        || Frame::parse(text).is_some()
        || (text.starts_with("File \"") && line != text && text.contains(", line "))
}

fn is_link_of_python(line: &str) -> bool {
    line.starts_with("During handling of the above exception")
        || line.starts_with("The above exception was the direct cause")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(epoch_ms: i64, pod: &str, message: &str) -> Record {
        let mut record = Record::at(Timestamp::clamped(epoch_ms));
        record.severity = Some("ERROR".to_owned());
        record.pod_name = Some(pod.to_owned());
        record.message = Some(message.to_owned());
        record
    }

    fn joined(records: &[(i64, &str, &str)]) -> Vec<(u64, String)> {
        let (mut joiner, mut complete) = (Joiner::default(), Vec::new());
        for (position, (time, pod, message)) in records.iter().enumerate() {
            let record = record(*time, pod, message);
            complete.extend(joiner.add(&record, Severity::Error, position as u64, 0, true).complete);
        }
        complete.extend(joiner.finish());
        complete.into_iter().map(|it| (it.position, it.record.message.unwrap_or_default())).collect()
    }

    #[test]
    fn lines_of_a_trace_are_one_message() {
        let found = joined(&[
            (0, "a", "Exception in component tMap_1 (job)"),
            (1, "a", "a.BException: c"),
            (2, "b", "other"),
            (3, "a", "\tat a.B.c(B.java:1)"),
            (4, "a", "Caused by: a.DException"),
            (5, "a", "next"),
        ]);
        let expected =
            "Exception in component tMap_1 (job)\na.BException: c\n\tat a.B.c(B.java:1)\nCaused by: a.DException";
        assert_eq!(found, [(0, expected.to_owned()), (2, "other".to_owned()), (5, "next".to_owned())]);
    }

    #[test]
    fn a_traceback_ends_with_its_exception() {
        let found = joined(&[
            (0, "a", "Traceback (most recent call last):"),
            (1, "a", "  File \"a.py\", line 1, in b"),
            (2, "a", "    c()"),
            (3, "a", "KeyError: 'd'"),
            (4, "a", "exit value 1"),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].1.ends_with("KeyError: 'd'"));
    }

    #[test]
    fn a_trace_continues_after_ordinary_records_of_its_component() {
        let mut joiner = Joiner::default();
        let lines = ["a.BException: c", "\tat a.B.c(B.java:1)", "Caused by: a.DException: e"];
        for (place, line) in (0..).zip(lines) {
            joiner.add(&record(2 * place, "a", line), Severity::Error, 2 * place as u64, 0, true);
            joiner.add(&record(2 * place + 1, "a", "alive"), Severity::Info, 2 * place as u64 + 1, 0, false);
        }
        let found: Vec<String> = joiner.finish().into_iter().filter_map(|joined| joined.record.message).collect();
        assert_eq!(found, [lines.join("\n")]);
    }

    #[test]
    fn two_tracebacks_are_two_messages() {
        let trace = |error: &str| format!("Traceback (most recent call last):\n  File \"a.py\", line 1, in b\n{error}");
        let (one, other) = (trace("ValueError: a"), trace("KeyError: 'b'"));
        let found = joined(&[(0, "a", &one), (1, "a", &other)]);
        assert_eq!(found, [(0, one.clone()), (1, other.clone())]);
    }

    #[test]
    fn records_far_apart_are_not_joined_and_a_message_is_bounded() {
        assert_eq!(joined(&[(0, "a", "a.BException: c"), (60_000, "a", "\tat a.B.c(B.java:1)")]).len(), 2);
        let frames: Vec<(i64, &str, &str)> = (0..5_000).map(|time| (time, "a", "\tat a.B.c(B.java:1)")).collect();
        let longest = joined(&frames).iter().map(|(_, text)| text.len()).max();
        assert!(longest < Some(JOINED_BYTES_MAX));
    }

    #[test]
    fn few_messages_are_held() {
        let mut joiner = Joiner::default();
        for pod in 0..100_u64 {
            joiner.add(&record(0, &pod.to_string(), "error"), Severity::Error, pod, 0, true);
        }
        assert_eq!(joiner.finish().len(), HELD_MAX);
    }
}
