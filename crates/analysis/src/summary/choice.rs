//! Chooses the headline of a run from the texts that may be the cause of its failure.
//!
//! The choice is made when a report is created, because it depends on the last successful runs: texts that they logged
//! as well are not the cause. Of the other texts, the most specific one is the headline; among equals, the first one,
//! unless the run continued for long after it. A text that states only that something failed is replaced by the last
//! more specific line of the log.

use std::collections::HashSet;

use runlog_model::{Severity, Timestamp};
use serde::{Deserialize, Serialize};

use super::cause::Cause;
use super::suspects::Suspect;
use crate::StableId;
use crate::headline::{Weight, read};
use crate::patterns::{Change, Patterns, masked_first_line};

/// Number of ordinary records after which a later error is more likely the cause than an earlier one.
const WENT_ON_RECORDS: u64 = 20;

/// The same if a component, thread or program ended with the later error, and not with the earlier one.
const WENT_ON_RECORDS_FATAL: u64 = 3;

/// Number of other equally specific texts between an error and such an end, from which the end is more likely the
/// cause.
const WENT_ON_TEXTS_FATAL: usize = 8;

/// Negations that occur in a line together with a word that is typical of failures. Settings, such as `timeout is 3 s`,
/// contain none of them.
const DENIALS: [&str; 24] = [
    "not", "no", "never", "cannot", "can't", "couldn't", "doesn't", "unable", "without", "failed", "denied", "refused",
    "rejected", "missing", "lost", "differs", "differ", "mismatch", "exceeded", "exceeds", "expired", "invalid",
    "stopping", "aborting",
];

/// The cause of a failure, as far as it is known: the headline of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Headline {
    /// One line, at most 400 characters.
    pub text: String,
    /// ID of the cause, the same in every run.
    pub id: StableId,
    /// Its record in the log; absent if it is the message of the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<HeadlineRecord>,
    /// True if it states only that something failed, not why.
    pub is_vague: bool,
    /// Whether one of the last successful runs logged it as well; absent if there is none to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_known: Option<bool>,
}

/// The record of a headline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeadlineRecord {
    /// Its position in the log, starting at 0.
    pub position: u64,
    /// When it was logged.
    pub time: Timestamp,
    /// Its severity.
    pub severity: Severity,
    /// The component that logged it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle_name: Option<String>,
}

/// The contents of a log from which a headline is chosen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Logged<'a> {
    /// Texts that may be the cause of a failure.
    pub(crate) suspects: &'a [Suspect],
    pub(crate) patterns: Option<&'a Patterns>,
}

/// The suspects of the last successful runs of a task.
pub(crate) struct GoodSuspects {
    /// The causes, each with whether it was an error.
    causes: Vec<(bool, Cause)>,
}

impl GoodSuspects {
    pub(crate) fn of(runs: &[Logged<'_>]) -> Self {
        let suspects = runs.iter().flat_map(|run| run.suspects);
        Self { causes: suspects.map(|suspect| (suspect.is_error(), Cause::of(&suspect.text))).collect() }
    }

    /// True if the successful runs have the suspect. A warning of the successful runs that is an error now may be the
    /// cause.
    pub(crate) fn have(&self, suspect: &Suspect) -> bool {
        let cause = Cause::of(&suspect.text);
        self.causes.iter().any(|(is_error, it)| (*is_error || !suspect.is_error()) && it.is_alike(&cause))
    }
}

/// Returns the headline of a run, from its log, the logs of the last successful runs, latest first, and the message of
/// the engine.
pub(crate) fn headline_of(log: Logged<'_>, good: &[Logged<'_>], engine: Option<&str>) -> Option<Headline> {
    let suspects = log.suspects;
    let good_suspects = GoodSuspects::of(good);
    let new: Vec<&Suspect> = suspects.iter().filter(|it| !good_suspects.have(it)).collect();
    let engine = engine.map(read).filter(|engine| engine.weight > Weight::Empty);
    let chosen = chosen_of(&new);
    let weight = chosen.map_or(Weight::Empty, |suspect| suspect.weight);
    if let Some(engine) = engine.filter(|engine| engine.weight > weight) {
        return Some(Headline {
            id: StableId::of(&Cause::of(&engine.text).key),
            text: engine.text,
            record: None,
            is_vague: engine.weight <= Weight::Aftermath,
            is_known: None,
        });
    }
    let telling = chosen.filter(|it| !it.is_wrapper());
    let last_line = || match chosen {
        Some(wrapper) => line_before(wrapper, &new, log, good),
        None => last_line_of(&new, log, good),
    };
    // If the log contains only errors that the last successful runs logged as well, one of those is the headline.
    let known = || pick(suspects.iter().filter(|it| it.is_error()));
    let suspect = telling.or_else(last_line).or(chosen).or_else(known)?;
    Some(Headline {
        text: suspect.text.clone(),
        id: StableId::of(&Cause::of(&suspect.text).key),
        record: Some(HeadlineRecord {
            position: suspect.position,
            time: suspect.time,
            severity: suspect.severity,
            bundle_name: suspect.bundle_name.clone(),
        }),
        is_vague: suspect.weight <= Weight::Aftermath || suspect.is_last_line(),
        is_known: (!good.is_empty()).then(|| !new.contains(&suspect)),
    })
}

/// Returns the most specific new error, or a text below ERROR if that is more specific.
fn chosen_of<'a>(new: &[&'a Suspect]) -> Option<&'a Suspect> {
    let errors = pick(new.iter().copied().filter(|it| it.is_error()));
    let others = new.iter().copied().filter(|it| !it.is_error() && !it.is_last_line());
    let strong = || others.clone().filter(|it| it.is_strong && it.weight == Weight::Telling);
    let Some(error) = errors.filter(|it| it.weight > Weight::Aftermath) else {
        let other = pick(others.clone());
        // Such a warning occurs in good runs as well.
        let is_weak = other.is_some_and(|it| it.severity == Severity::Warn && !it.is_strong);
        let below = pick(strong().filter(|it| it.severity != Severity::Warn));
        return below.filter(|_| is_weak).or(other).or(errors);
    };
    if error.weight > Weight::Plain || error.is_of_die() {
        return errors;
    }
    // An unspecific error may follow a specific text below ERROR.
    let is_before = |it: &&Suspect| {
        it.position < error.position && error.ordinary_before.saturating_sub(it.ordinary_before) <= WENT_ON_RECORDS
    };
    pick(strong().filter(is_before)).or(errors)
}

/// Returns the last line of a log without specific texts: a line that is new compared with the last successful run or,
/// if there is none, a line without a severity or a warning.
fn last_line_of<'a>(new: &[&'a Suspect], log: Logged<'_>, good: &[Logged<'_>]) -> Option<&'a Suspect> {
    let mut lines = new.iter().copied().rev().filter(|it| it.is_last_line());
    let (Some(patterns), Some(good)) = (log.patterns, good.first().and_then(|good| good.patterns)) else {
        return lines.find(|it| matches!(it.severity, Severity::Other | Severity::Warn));
    };
    let changes = good.compare(patterns).patterns;
    let new_kinds: HashSet<String> = changes
        .iter()
        .filter(|change| change.change == Change::New)
        .filter_map(|change| change.after.as_ref())
        .map(|after| masked_first_line(&after.sample))
        .collect();
    lines.find(|it| new_kinds.contains(&masked_first_line(&it.text)))
}

/// Returns the replacement of a wrapper: the last new line before it or, if there is no successful run to compare with,
/// a line shortly before it.
fn line_before<'a>(
    wrapper: &Suspect,
    new: &[&'a Suspect],
    log: Logged<'_>,
    good: &[Logged<'_>],
) -> Option<&'a Suspect> {
    let before: Vec<&Suspect> = new.iter().copied().filter(|it| it.position < wrapper.position).collect();
    let went_on = |it: &Suspect| wrapper.ordinary_before.saturating_sub(it.ordinary_before);
    let last = last_line_of(&before, log, good);
    last.filter(|it| !good.is_empty() || went_on(it) <= WENT_ON_RECORDS_FATAL).or_else(|| last_denial(&before))
}

/// Returns the last line, if it states that something is wrong.
fn last_denial<'a>(lines: &[&'a Suspect]) -> Option<&'a Suspect> {
    let last = lines.iter().copied().rfind(|it| it.is_last_line())?;
    let is_denial = |word: &str| DENIALS.contains(&word.to_ascii_lowercase().as_str());
    let has_denial = last.text.split(|c: char| !c.is_alphanumeric() && c != '\'').any(is_denial);
    (has_denial && read(&last.text).weight == Weight::Telling).then_some(last)
}

/// Returns the first of the most specific suspects, unless the run continued for long after it.
fn pick<'a>(suspects: impl Iterator<Item = &'a Suspect> + Clone) -> Option<&'a Suspect> {
    let most = suspects.clone().map(Suspect::rank).max()?;
    let mut of_most = suspects.filter(|suspect| suspect.rank() == most);
    let mut chosen = of_most.next()?;
    let (mut previous, mut texts) = (chosen, 0);
    for suspect in of_most {
        texts += 1;
        let is_end = suspect.is_fatal && !chosen.is_fatal;
        let was_end = chosen.is_fatal && !suspect.is_fatal;
        let went_on = suspect.ordinary_before.saturating_sub(previous.ordinary_before);
        let needed = if is_end { WENT_ON_RECORDS_FATAL } else { WENT_ON_RECORDS };
        let is_late = went_on >= needed || (is_end && texts > WENT_ON_TEXTS_FATAL);
        if is_late && !was_end {
            (chosen, texts) = (suspect, 0);
        }
        previous = suspect;
    }
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use super::super::suspects::tests::{suspects_and_last_lines_of, suspects_of};
    use super::*;

    fn chosen(suspects: &[Suspect], good: Option<&[Suspect]>, engine: Option<&str>) -> Option<Headline> {
        let logged = |suspects| Logged { suspects, patterns: None };
        headline_of(logged(suspects), good.map(logged).as_slice(), engine)
    }

    fn text_of(headline: Option<Headline>) -> String {
        headline.map(|headline| headline.text).unwrap_or_default()
    }

    #[track_caller]
    fn check(records: &[(u64, &str, &str)], expected: &str) {
        assert_eq!(text_of(chosen(&suspects_of(records), None, None)), expected);
    }

    const DENIED: (u64, &str, &str) = (0, "ERROR", "open: permission denied");
    const FULL: (u64, &str, &str) = (0, "ERROR", "write: no space left");

    #[test]
    fn the_first_of_equals_is_the_headline_unless_the_run_continued() {
        check(&[DENIED, FULL], "open: permission denied");
        check(&[DENIED, (WENT_ON_RECORDS, FULL.1, FULL.2)], "write: no space left");
        let ended = "Exception in component tMap_1 (job)\na.b.FullException: no space left\n\tat a.B.c(B.java:1)";
        check(&[DENIED, (WENT_ON_RECORDS_FATAL, "ERROR", ended)], "a.b.FullException: no space left");
    }

    #[test]
    fn the_most_specific_text_is_the_headline_at_any_position() {
        check(&[(0, "ERROR", "job orders failed"), (0, "ERROR", "12 rows"), FULL], "write: no space left");
        check(&[(0, "WARN", "disk is full"), (0, "ERROR", "Process exited with code 1")], "disk is full");
        check(
            &[(0, "INFO", "timeout is 3 s"), (0, "ERROR", "Process exited with code 1")],
            "Process exited with code 1",
        );
    }

    #[test]
    fn a_wrapper_gives_way_to_the_last_line_that_says_more() {
        let ended = (0, "ERROR", "Process exited with code 1");
        let check = |records: &[(u64, &str, &str)], expected: &str| {
            assert_eq!(text_of(chosen(&suspects_and_last_lines_of(records), None, None)), expected);
        };
        check(&[(0, "WARN", "account 4711 is off by 0.10"), ended], "account 4711 is off by 0.10");
        check(&[(0, "", "the trailer counts 98 rows"), ended], "the trailer counts 98 rows");
        check(&[(0, "INFO", "part 3 differs from the manifest"), ended], "part 3 differs from the manifest");
        check(&[(0, "INFO", "1200 rows"), ended], "Process exited with code 1");
        let order = [(0, "INFO", "part 3 differs from the manifest"), (0, "INFO", "1200 rows"), ended];
        check(&order, "Process exited with code 1");
    }

    #[test]
    fn errors_of_the_last_successful_run_are_not_the_cause() {
        let (failed, good) = (suspects_of(&[DENIED, FULL]), suspects_of(&[DENIED]));
        let headline = chosen(&failed, Some(&good), None).unwrap();
        assert_eq!((headline.text.as_str(), headline.is_known), ("write: no space left", Some(false)));
        let headline = chosen(&good, Some(&good), None).unwrap();
        assert_eq!((headline.text.as_str(), headline.is_known), ("open: permission denied", Some(true)));
        let warned = suspects_of(&[(0, "WARN", DENIED.2)]);
        assert_eq!(text_of(chosen(&failed, Some(&warned), None)), "open: permission denied", "it was a warning");
    }

    #[test]
    fn errors_of_any_of_the_last_successful_runs_are_not_the_cause() {
        let (failed, good) = (suspects_of(&[DENIED, FULL]), suspects_of(&[DENIED]));
        let logged = |suspects| Logged { suspects, patterns: None };
        let headline = headline_of(logged(&failed), &[logged(&[]), logged(&good)], None);
        assert_eq!(text_of(headline), "write: no space left");
    }

    #[test]
    fn a_vague_error_yields_to_a_specific_text_before_it() {
        let (killed, odd) = ((0, "WARN", "Container a: reason OOMKilled"), (0, "ERROR", "12 of 13 parts are there"));
        check(&[killed, odd], "Container a: reason OOMKilled");
        check(&[killed, (WENT_ON_RECORDS + 1, odd.1, odd.2)], "12 of 13 parts are there");
        check(&[(0, "WARN", "a: timeout"), odd], "12 of 13 parts are there");
    }

    #[test]
    fn without_errors_what_is_said_only_of_failures_goes_first() {
        let (odd, row) = ("the interval is not set", "at|load|tFileInput_1|6|a.b.RowException:Row length 17|1");
        check(&[(0, "WARN", odd), (0, "INFO", row)], "a.b.RowException: Row length 17|1");
        check(&[(0, "WARN", odd), (0, "ERROR", "Process exited with code 1")], odd);
    }

    #[test]
    fn the_message_of_the_engine_counts_if_it_is_more_specific() {
        let vague = suspects_of(&[(0, "ERROR", "Process exited with code 1")]);
        let headline = chosen(&vague, None, Some("OOMKilled: over its limit")).unwrap();
        assert_eq!((headline.text.as_str(), headline.record), ("OOMKilled: over its limit", None));
        assert_eq!(text_of(chosen(&vague, None, Some("it broke"))), "it broke");
        assert_eq!(text_of(chosen(&suspects_of(&[FULL]), None, Some("it broke"))), "write: no space left");
        assert_eq!(chosen(&[], None, None), None);
    }
}
