//! Groups the stack traces of a log by root cause.

use std::collections::BTreeMap;

use runlog_model::{Record, Severity};
use serde::{Deserialize, Serialize};

use super::frame::Frame;
use super::trace::{StackTrace, Thrown};
use crate::mask::masked;
use crate::{Occurrences, Rest, StableId};

/// Maximum number of groups that are counted.
pub const GROUPS_MAX: usize = 500;

/// Maximum number of frames of the job's own code that identify a cause.
pub const OWN_FRAMES_MAX: usize = 3;

/// Maximum length of the message in a title. Unit: characters.
const TITLE_MESSAGE_CHARS_MAX: usize = 100;

/// The identity of a cause of failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RootCause {
    /// ID, derived from the fields below without the title: the same in every run.
    pub id: StableId,
    /// One line: simple class name, message, and the location in the job's own code.
    pub title: String,
    /// The class of the innermost exception.
    pub class: String,
    /// Its message, with values masked.
    pub message_template: String,
    /// Up to 3 frames of the job's own code, the innermost first; when there are none, the
    /// innermost frame of all.
    pub frames: Vec<String>,
}

/// The records whose stack traces have one root cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StackTraceGroup {
    /// Their root cause.
    #[serde(flatten)]
    pub cause: RootCause,
    /// Frequency, times and severity.
    #[serde(flatten)]
    pub occurrences: Occurrences,
}

/// The stack traces of a log by root cause, most severe first, then most frequent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StackTraceGroups {
    /// At most 500.
    pub groups: Vec<StackTraceGroup>,
    /// Number of records with a stack trace in none of the groups.
    pub rest: Rest,
}

/// Collects the stack traces of a log, record by record, in any order.
#[derive(Debug)]
pub struct StackTraceGrouper {
    groups: BTreeMap<StableId, StackTraceGroup>,
    rest: Rest,
    groups_max: usize,
}

impl<'a> StackTrace<'a> {
    /// Returns the root cause of the stack trace.
    pub fn root_cause(&self) -> RootCause {
        let root = self.thrown.last().expect("a stack trace has an exception");
        let mut frames = self.own_frames();
        if frames.is_empty() {
            frames.extend(root.frames.first().map(Frame::stable_name));
        }
        let message_template = masked(root.message);
        let id = StableId::of(&format!("{}\n{message_template}\n{}", root.class, frames.join("\n")));
        let title = title_of(root.class, &message_template, frames.first().map(String::as_str));
        RootCause { id, title, class: root.class.to_owned(), message_template, frames }
    }

    /// Returns the job's own frames of the innermost exception that has any.
    fn own_frames(&self) -> Vec<String> {
        let own_frames_of = |thrown: &Thrown<'_>| -> Vec<String> {
            thrown.frames.iter().filter(|frame| frame.is_own()).take(OWN_FRAMES_MAX).map(Frame::stable_name).collect()
        };
        self.thrown.iter().rev().map(own_frames_of).find(|frames| !frames.is_empty()).unwrap_or_default()
    }
}

fn title_of(class: &str, message: &str, frame: Option<&str>) -> String {
    let mut title = class.rsplit('.').next().unwrap_or(class).to_owned();
    if !message.is_empty() {
        title.push_str(": ");
        title.extend(message.chars().take(TITLE_MESSAGE_CHARS_MAX));
        if message.chars().nth(TITLE_MESSAGE_CHARS_MAX).is_some() {
            title.push('…');
        }
    }
    if let Some(frame) = frame {
        let simple = frame.rmatch_indices('.').nth(1).map_or(frame, |(dot, _)| &frame[dot + 1..]);
        title.push_str(" at ");
        title.push_str(simple);
    }
    title
}

impl Default for StackTraceGrouper {
    fn default() -> Self {
        Self { groups: BTreeMap::new(), rest: Rest::default(), groups_max: GROUPS_MAX }
    }
}

impl StackTraceGrouper {
    /// Adds a record of the log, if its message has a stack trace.
    pub fn add(&mut self, record: &Record) {
        let Some(trace) = record.message.as_deref().and_then(StackTrace::parse) else { return };
        let severity = Severity::of(record.severity.as_deref());
        let cause = trace.root_cause();
        match self.groups.get_mut(&cause.id) {
            Some(group) => group.occurrences.add(record, severity),
            None => {
                let group = StackTraceGroup { cause, occurrences: Occurrences::of(record, severity) };
                self.groups.insert(group.cause.id, group);
                self.keep_to_the_limit();
            }
        }
    }

    /// Returns the groups of all records so far.
    pub fn finish(self) -> StackTraceGroups {
        let mut groups: Vec<StackTraceGroup> = self.groups.into_values().collect();
        // The sort is stable: groups that are equal otherwise stay in the order of their ids.
        groups.sort_by_key(|group| std::cmp::Reverse((group.occurrences.worst(), group.occurrences.records())));
        StackTraceGroups { groups, rest: self.rest }
    }

    /// Removes the group with the greatest ID if there are too many. It is never kept again, because all kept groups
    /// then have smaller IDs; so the kept groups and their counts do not depend on the order of records.
    fn keep_to_the_limit(&mut self) {
        if self.groups.len() > self.groups_max
            && let Some((_, group)) = self.groups.pop_last()
        {
            self.rest.add_all(&group.occurrences);
        }
    }
}

#[cfg(test)]
mod tests {
    use runlog_model::Timestamp;

    use super::*;

    /// A failure of a job: its version, a line of its code, and the message of the database.
    fn failure(version: &str, line: u32, said: &str) -> String {
        format!(
            "Exception in component tDBOutput_1 (orders)\n\
             java.lang.RuntimeException: load failed\n\
             \tat demo.orders_{version}.orders.tDBOutput_1Process(orders.java:{line})\n\
             \tat demo.orders_{version}.orders.runJobInTOS(orders.java:2011)\n\
             Caused by: java.sql.SQLSyntaxErrorException: {said}\n\
             \tat com.mysql.cj.jdbc.exceptions.SQLError.createSQLException(SQLError.java:120)\n\
             \t... 1 more\n"
        )
    }

    fn cause(message: &str) -> RootCause {
        StackTrace::parse(message).unwrap().root_cause()
    }

    fn record(epoch_ms: i64, message: &str) -> Record {
        let mut record = Record::at(Timestamp::clamped(epoch_ms));
        record.severity = Some("ERROR".to_owned());
        record.message = Some(message.to_owned());
        record
    }

    #[test]
    fn a_cause_is_class_message_and_own_frames() {
        let cause = cause(&failure("0_1", 1203, "Table 'shop.orders' doesn't exist"));
        assert_eq!(cause.class, "java.sql.SQLSyntaxErrorException");
        assert_eq!(cause.message_template, "Table '<text>' doesn't exist");
        assert_eq!(cause.frames, ["demo.orders.orders.tDBOutput_1Process", "demo.orders.orders.runJobInTOS"]);
        assert_eq!(cause.title, "SQLSyntaxErrorException: Table '<text>' doesn't exist at orders.tDBOutput_1Process");
    }

    #[test]
    fn the_id_is_the_hash_of_class_message_and_frames() {
        // printf 'java.io.IOException\ndisk <number>\na.B.c' | sha256sum
        let cause = cause("java.io.IOException: disk 7\n\tat java.io.Reader.read(Reader.java:3)\n\tat a.B.c(B.java:1)");
        assert_eq!(cause.id.to_string(), "32841e37fd887957");
    }

    #[test]
    fn a_new_build_and_other_values_leave_the_cause_as_it_is() {
        let first = cause(&failure("0_1", 1203, "Table 'shop.orders' doesn't exist"));
        assert_eq!(cause(&failure("0_2", 1250, "Table 'shop.customers' doesn't exist")), first);
        assert_ne!(cause(&failure("0_1", 1203, "Access denied")).id, first.id);
    }

    #[test]
    fn without_own_frames_the_innermost_frame_counts() {
        let cause = cause("java.io.IOException\n\tat java.io.Reader.read(Reader.java:3)\n\tat scala.A.b(A.scala:1)");
        assert_eq!(
            (cause.frames, cause.title.as_str()),
            (vec!["java.io.Reader.read".to_owned()], "IOException at Reader.read")
        );
    }

    #[test]
    fn records_are_grouped_by_cause() {
        let mut grouper = StackTraceGrouper::default();
        grouper.add(&record(1, &failure("0_1", 1203, "Access denied")));
        grouper.add(&record(2, "no stack trace"));
        grouper.add(&record(3, &failure("0_1", 1203, "Table 'a' doesn't exist")));
        grouper.add(&record(4, &failure("0_2", 1250, "Table 'b' doesn't exist")));
        let groups = grouper.finish().groups;
        let counts: Vec<_> =
            groups.iter().map(|group| (group.occurrences.records(), group.cause.message_template.as_str())).collect();
        assert_eq!(counts, [(2, "Table '<text>' doesn't exist"), (1, "Access denied")]);
    }

    #[test]
    fn over_the_limit_the_order_of_records_still_changes_nothing() {
        let word = |n: u8| char::from(b'a' + n).to_string().repeat(3);
        let records: Vec<Record> = (0..60).map(|n| record(i64::from(n), &failure("0_1", 1, &word(n % 20)))).collect();
        let groups = |records: &mut dyn Iterator<Item = &Record>| {
            let mut grouper = StackTraceGrouper { groups_max: 5, ..StackTraceGrouper::default() };
            records.for_each(|record| grouper.add(record));
            grouper.finish()
        };
        let forwards = groups(&mut records.iter());
        assert_eq!((forwards.groups.len(), forwards.rest.records()), (5, 45));
        assert_eq!(groups(&mut records.iter().rev()), forwards);
    }
}
