//! The summary of a run's log: everything required for reports, computed in one pass, in bounded memory.
//!
//! It is created once a log is sealed, and stored with the run, so that the changes between two runs can be computed
//! from their summaries, regardless of the length of their logs.

use std::borrow::Cow;
use std::collections::BTreeSet;

use runlog_model::record::SeverityCounts;
use runlog_model::{ErrorGroupKind, Record, Severity, Timestamp};
use runlog_store::summaries::{NewErrorGroup, StoredSummary};
use runlog_store::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::choice::{Headline, Logged, headline_of};
use super::failure::{Failure, FailureWatch};
use super::gaps::{SlowGap, first_line};
use super::outliers::{Outlier, OverTime};
use super::suspects::{Suspect, SuspectWatch, is_of_interest};
use super::timeline::Timeline;
use crate::first_line::first_line_of;
use crate::headline::{Joined, Joiner, is_continuation};
use crate::mask::{masked, without_colours};
use crate::patterns::{PatternMiner, Patterns, TEMPLATES_VERSION};
use crate::stack_trace::{StackTraceGrouper, StackTraceGroups};
use crate::{Occurrences, StableId};

/// The version of summaries. Summaries of other versions are recreated. Incremented when a field is added or changes
/// its meaning and, through the version of templates, when IDs change.
pub const SUMMARY_VERSION: u32 = 1_500 + TEMPLATES_VERSION;

/// Maximum number of kinds of errors of a run that are stored as rows of the catalog, for each sort.
pub const ERROR_GROUPS_MAX: usize = 50;

/// Maximum number of distinct lines, in traces with one record per line, that are not counted as separate errors.
const CONTINUATIONS_MAX: usize = 64;

/// Maximum length of the title of an error group. Unit: characters.
const TITLE_CHARS_MAX: usize = 300;

/// The summary of the log of a run, of some kilobytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunSummary {
    /// The version of the summary.
    pub version: u32,
    /// Number of records of the log.
    pub records: u64,
    /// Number of records by severity: OTHER, TRACE, DEBUG, INFO, WARN, ERROR, FATAL.
    pub severities: SeverityCounts,
    /// The earliest time of a record.
    pub first: Option<Timestamp>,
    /// The latest time of a record.
    pub last: Option<Timestamp>,
    /// Volume and severity over time, without outliers.
    pub timeline: Timeline,
    /// The longest gaps in the log, longest first, without outliers.
    pub gaps: Vec<SlowGap>,
    /// Records dated more than a year away from the others, earliest first.
    #[serde(default)]
    pub outliers: Vec<Outlier>,
    /// The first failure, its causes, and later errors; absent if the log has no error.
    pub failure: Option<Failure>,
    /// The texts that may be the cause of a failure, in the order of the log.
    #[serde(default)]
    pub suspects: Vec<Suspect>,
    /// IDs of the masked first lines of records that continue a trace without being recognisable as such by themselves;
    /// at most 64.
    #[serde(default)]
    pub continuations: BTreeSet<StableId>,
    /// The patterns of the log.
    pub patterns: Patterns,
    /// Its stack traces by root cause.
    pub stack_traces: StackTraceGroups,
}

/// Computes the summary of a log from its records, in the order of the log: by time, then arrival.
#[derive(Debug, Default)]
pub struct Summarizer {
    severities: SeverityCounts,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    over_time: OverTime,
    failure: FailureWatch,
    joiner: Joiner,
    suspects: SuspectWatch,
    continuations: BTreeSet<StableId>,
    /// Number of records below WARN so far.
    ordinary: u64,
    patterns: PatternMiner,
    stack_traces: StackTraceGrouper,
}

impl Summarizer {
    /// Adds the next record of the log.
    ///
    /// Terminal colours are removed, so that headlines and titles of problems do not contain them.
    pub fn add(&mut self, record: &Record) {
        let message = record.message.as_deref().unwrap_or_default();
        match without_colours(message) {
            Cow::Borrowed(_) => self.add_plain(record),
            Cow::Owned(message) => self.add_plain(&Record { message: Some(message), ..record.clone() }),
        }
    }

    fn add_plain(&mut self, record: &Record) {
        let severity = Severity::of(record.severity.as_deref());
        let position = self.severities.total();
        self.severities.add(severity);
        self.first = Some(self.first.map_or(record.time, |first| first.min(record.time)));
        self.last = self.last.max(Some(record.time));
        self.over_time.add(record, severity);
        self.patterns.add(record);
        let is_of_interest = is_of_interest(record, severity);
        let taken = self.joiner.add(record, severity, position, self.ordinary, is_of_interest);
        taken.complete.iter().for_each(|joined| self.add_joined(joined));
        if taken.continues {
            let line = first_line(record);
            if self.continuations.len() < CONTINUATIONS_MAX && !is_continuation(line) {
                self.continuations.insert(StableId::of(&masked(line)));
            }
        } else {
            self.failure.add(record, severity, position);
            self.suspects.add_last(record, severity, position, self.ordinary);
            if !is_of_interest {
                self.stack_traces.add(record);
            } else if severity <= Severity::Warn {
                self.suspects.add_ordinary(record, self.ordinary);
            }
        }
        self.ordinary += u64::from(severity < Severity::Warn);
    }

    fn add_joined(&mut self, joined: &Joined) {
        self.stack_traces.add(&joined.record);
        self.suspects.add(joined);
        if joined.records > 1 {
            self.failure.complete(joined);
        }
    }

    /// Returns the summary of all records so far.
    pub fn finish(mut self) -> RunSummary {
        std::mem::take(&mut self.joiner).finish().iter().for_each(|joined| self.add_joined(joined));
        let (timeline, gaps, outliers) = self.over_time.finish();
        RunSummary {
            version: SUMMARY_VERSION,
            records: self.severities.total(),
            severities: self.severities,
            first: self.first,
            last: self.last,
            timeline,
            gaps,
            outliers,
            failure: self.failure.finish(),
            suspects: self.suspects.finish(),
            continuations: self.continuations,
            patterns: self.patterns.finish(),
            stack_traces: self.stack_traces.finish(),
        }
    }
}

impl RunSummary {
    /// Records that are errors or worse.
    pub fn errors(&self) -> u64 {
        errors_of(&self.severities)
    }

    /// Returns the headline of the run, if its cause can be determined. `good`: the summaries of the last successful
    /// runs of the task, the last first, whose errors are not the cause; `engine`: the error message of the run.
    pub fn headline(&self, good: &[Self], engine: Option<&str>) -> Option<Headline> {
        let good: Vec<Logged<'_>> = good.iter().map(Self::logged).collect();
        headline_of(self.logged(), &good, engine)
    }

    /// Returns the contents from which headlines are chosen.
    pub(crate) fn logged(&self) -> Logged<'_> {
        Logged { suspects: &self.suspects, patterns: Some(&self.patterns) }
    }

    /// The kinds of errors in the log, for the catalog: the most severe and most frequent of each sort.
    pub fn error_groups(&self) -> Vec<NewErrorGroup> {
        let patterns = self.patterns.patterns.iter().map(|pattern| {
            let title = if pattern.template.is_empty() { "(no message)" } else { &pattern.template };
            (ErrorGroupKind::Pattern, pattern.id, title, &pattern.occurrences)
        });
        let causes = self.stack_traces.groups.iter();
        let causes = causes.map(|it| (ErrorGroupKind::Cause, it.cause.id, it.cause.title.as_str(), &it.occurrences));
        let is_error = |severity: Severity| severity >= Severity::Error;
        let of_errors = |it: &(ErrorGroupKind, StableId, &str, &Occurrences)| is_error(it.3.worst());
        // The lines of a trace with one record per line are not separate errors.
        let is_head = |it: &(ErrorGroupKind, StableId, &str, &Occurrences)| {
            let line = first_line_of(&it.3.sample);
            !is_continuation(line) && !self.continuations.contains(&StableId::of(&masked(line)))
        };
        let patterns = patterns.filter(of_errors).filter(is_head).take(ERROR_GROUPS_MAX);
        let causes = causes.filter(of_errors).take(ERROR_GROUPS_MAX);
        let group = |(kind, id, title, occurrences): (ErrorGroupKind, StableId, &str, &Occurrences)| NewErrorGroup {
            kind,
            id: id.to_string(),
            title: title.chars().take(TITLE_CHARS_MAX).collect(),
            severity: occurrences.worst(),
            records: occurrences.records(),
            first: occurrences.first,
            last: occurrences.last,
        };
        patterns.chain(causes).map(group).collect()
    }
}

/// Reads a stored summary.
pub(crate) fn read_summary(kept: &StoredSummary) -> Result<RunSummary> {
    serde_json::from_slice(&kept.body)
        .map_err(|error| Error::caused(ErrorKind::Corrupt, "the summary of a log does not decode", error))
}

/// Records that are errors or worse.
pub(crate) fn errors_of(severities: &SeverityCounts) -> u64 {
    severities.of(Severity::Error) + severities.of(Severity::Fatal)
}
