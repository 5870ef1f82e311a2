//! Finds the first failure in a log, its causes, and later failures.
//!
//! The failure is the first record with severity ERROR or worse. If it has a stack trace, its exceptions are listed
//! from the outermost to the root. They are followed by later errors of other kinds, each at its first occurrence, and
//! the last warnings before the error, which often contain the reason.

use std::collections::{HashSet, VecDeque};

use runlog_model::{Record, Severity, Timestamp};
use serde::{Deserialize, Serialize};

use super::gaps::first_line;
use crate::StableId;
use crate::headline::Joined;
use crate::mask::masked;
use crate::stack_trace::{StackTrace, Thrown};

/// Maximum number of later errors of other kinds.
pub(crate) const CONSEQUENCES_MAX: usize = 12;

/// Maximum number of warnings before the first error.
pub(crate) const WARNINGS_MAX: usize = 3;

/// Maximum number of exceptions of a stack trace: the outermost, and those nearest to the root.
const CAUSES_MAX: usize = 10;

/// Maximum length of the message of an exception. Unit: characters.
const CAUSE_CHARS_MAX: usize = 400;

/// The failure of a run, derived from its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The first record with severity ERROR or worse.
    pub first: Event,
    /// The exceptions of its stack trace, outermost first, each caused by the next; empty if there are none.
    pub causes: Vec<Cause>,
    /// ID of the root cause of the stack trace, the same in every run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause_id: Option<StableId>,
    /// The last warnings before it, each kind once, earliest first.
    pub warnings_before: Vec<Event>,
    /// Errors of other kinds that followed, each kind once, earliest first.
    pub consequences: Vec<Event>,
    /// The very last error, if its kind is not listed above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Event>,
}

/// A record in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When it was logged.
    pub time: Timestamp,
    /// Its severity.
    pub severity: Severity,
    /// The component that logged it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle_name: Option<String>,
    /// The first line of its message.
    pub message: String,
    /// The position of its record in the log, starting at 0; absent in summaries of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
}

/// An exception.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    /// Its class.
    pub class: String,
    /// The first line of its message.
    pub message: String,
    /// Where it was thrown: the innermost frame of the job's own code, or else of any code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// Finds the failure of a log from its records, in order.
#[derive(Debug, Default)]
pub(crate) struct FailureWatch {
    failure: Option<Failure>,
    warnings: VecDeque<(String, Event)>,
    kinds: HashSet<String>,
}

impl FailureWatch {
    pub(crate) fn add(&mut self, record: &Record, severity: Severity, position: u64) {
        match severity {
            Severity::Error | Severity::Fatal => self.add_error(record, severity, position),
            Severity::Warn if self.failure.is_none() => self.add_warning(record, position),
            _ => {}
        }
    }

    /// Updates the first error if it continues in later records.
    pub(crate) fn complete(&mut self, joined: &Joined) {
        if let Some(failure) = self.failure.as_mut().filter(|failure| failure.first.position == Some(joined.position)) {
            failure.take_causes(joined.record.message.as_deref());
        }
    }

    pub(crate) fn finish(self) -> Option<Failure> {
        self.failure
    }

    fn add_warning(&mut self, record: &Record, position: u64) {
        let kind = masked(first_line(record));
        self.warnings.retain(|(other, _)| *other != kind);
        self.warnings.push_back((kind, Event::of(record, Severity::Warn, position)));
        if self.warnings.len() > WARNINGS_MAX {
            self.warnings.pop_front();
        }
    }

    fn add_error(&mut self, record: &Record, severity: Severity, position: u64) {
        let is_full = self.kinds.len() > CONSEQUENCES_MAX;
        let kind = masked(first_line(record));
        if self.kinds.contains(&kind) {
            return;
        }
        let event = Event::of(record, severity, position);
        match &mut self.failure {
            None => {
                self.failure = Some(Failure::of(record, event, self.warnings.drain(..).map(|(_, event)| event)));
            }
            // An unlimited number of kinds cannot be distinguished in bounded memory: the last record represents them.
            Some(failure) if is_full => return failure.last = Some(event),
            Some(failure) => failure.consequences.push(event),
        }
        self.kinds.insert(kind);
    }
}

impl Failure {
    fn of(record: &Record, first: Event, warnings: impl Iterator<Item = Event>) -> Self {
        let warnings_before = warnings.collect();
        let mut failure =
            Self { first, causes: Vec::new(), cause_id: None, warnings_before, consequences: Vec::new(), last: None };
        failure.take_causes(record.message.as_deref());
        failure
    }

    fn take_causes(&mut self, message: Option<&str>) {
        let trace = message.and_then(StackTrace::parse);
        self.causes = trace.as_ref().map(causes_of).unwrap_or_default();
        self.cause_id = trace.map(|trace| trace.root_cause().id);
    }

    /// Returns the root of the chain, or the first error if it has no chain.
    pub fn root(&self) -> String {
        match self.causes.last() {
            Some(cause) if cause.message.is_empty() => cause.class.clone(),
            Some(cause) => format!("{}: {}", cause.class, cause.message),
            None => self.first.message.clone(),
        }
    }
}

fn causes_of(trace: &StackTrace<'_>) -> Vec<Cause> {
    let thrown = &trace.thrown;
    let left_out = 1..thrown.len().saturating_sub(CAUSES_MAX - 1).max(1);
    thrown.iter().enumerate().filter(|(place, _)| !left_out.contains(place)).map(|(_, it)| Cause::of(it)).collect()
}

impl Cause {
    fn of(thrown: &Thrown<'_>) -> Self {
        let own = thrown.frames.iter().find(|frame| frame.is_own()).or(thrown.frames.first());
        Self {
            class: thrown.class.to_owned(),
            message: thrown.message.chars().take(CAUSE_CHARS_MAX).collect(),
            at: own.map(|frame| format!("{}({})", frame.method, frame.location)),
        }
    }
}

impl Event {
    fn of(record: &Record, severity: Severity, position: u64) -> Self {
        let (time, bundle_name) = (record.time, record.bundle_name.clone());
        Self { time, severity, bundle_name, message: first_line(record).to_owned(), position: Some(position) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure_of(records: &[(&str, &str)]) -> Option<Failure> {
        let mut watch = FailureWatch::default();
        for (place, (severity, message)) in records.iter().enumerate() {
            let mut record = Record::at(Timestamp::clamped(place as i64));
            record.message = Some((*message).to_owned());
            watch.add(&record, Severity::of(Some(severity)), place as u64);
        }
        watch.finish()
    }

    fn messages(events: &[Event]) -> Vec<&str> {
        events.iter().map(|event| event.message.as_str()).collect()
    }

    #[test]
    fn a_log_without_errors_has_no_failure() {
        assert_eq!(failure_of(&[("INFO", "a"), ("WARN", "b")]), None);
    }

    #[test]
    fn the_first_error_its_warnings_and_what_followed_are_told_once_each() {
        let failure = failure_of(&[
            ("WARN", "old"),
            ("WARN", "slow 1"),
            ("WARN", "slow 2"),
            ("WARN", "retry 1"),
            ("WARN", "full"),
            ("ERROR", "load of 7 failed"),
            ("ERROR", "load of 8 failed"),
            ("WARN", "later"),
            ("FATAL", "giving up"),
        ]);
        let failure = failure.unwrap();
        assert_eq!(failure.first.message, "load of 7 failed");
        assert_eq!(messages(&failure.warnings_before), ["slow 2", "retry 1", "full"]);
        assert_eq!(messages(&failure.consequences), ["giving up"]);
        assert_eq!((failure.last, failure.causes), (None, vec![]));
    }

    #[test]
    fn the_chain_of_causes_goes_down_to_the_root() {
        let failure = failure_of(&[(
            "ERROR",
            "load failed\njava.lang.RuntimeException: load failed\n\tat demo.Orders.run(Orders.java:12)\n\
             Caused by: java.sql.SQLException: no table\n\tat com.mysql.cj.Jdbc.execute(Jdbc.java:7)\n\t... 1 more",
        )]);
        let failure = failure.unwrap();
        let classes: Vec<&str> = failure.causes.iter().map(|cause| cause.class.as_str()).collect();
        assert_eq!(classes, ["java.lang.RuntimeException", "java.sql.SQLException"]);
        assert_eq!(failure.causes[0].at.as_deref(), Some("demo.Orders.run(Orders.java:12)"));
        assert_eq!(failure.root(), "java.sql.SQLException: no table");
        assert!(failure.cause_id.is_some());
    }

    #[test]
    fn of_too_many_kinds_the_last_is_kept() {
        let word = |n: usize| "xy".repeat(n + 1);
        let texts: Vec<String> = (0..30).map(|n| format!("{} broke", word(n))).collect();
        let records: Vec<(&str, &str)> = texts.iter().map(|text| ("ERROR", text.as_str())).collect();
        let failure = failure_of(&records).unwrap();
        assert_eq!(failure.consequences.len(), CONSEQUENCES_MAX);
        assert_eq!(failure.last.unwrap().message, texts[29]);
    }

    #[test]
    fn a_long_chain_keeps_its_ends() {
        let chain: String =
            (0..40).map(|n| format!("\nCaused by: a.Number{n}Exception: {n}\n\tat a.B.c(B.java:1)")).collect();
        let message = format!("a.OutermostException: x\n\tat a.B.c(B.java:1){chain}");
        let causes = failure_of(&[("ERROR", &message)]).unwrap().causes;
        let ends = (causes[0].class.as_str(), causes[causes.len() - 1].class.as_str());
        assert_eq!((causes.len(), ends), (CAUSES_MAX, ("a.OutermostException", "a.Number39Exception")));
    }
}
