//! What a log names as the cause of a failure, and which of it is the headline of the run.
//!
//! The summary keeps the different texts that may be the cause. The choice is made when a report is created, because
//! it depends on the last successful run: what that run logged as well is not the cause. Among the others the text
//! that says most is the headline, and among equals the first, unless the run went on for long after it.

use std::collections::HashSet;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use runlog_model::{Record, Severity, Timestamp};
use serde::{Deserialize, Serialize};

use super::gaps::first_line;
use crate::StableId;
use crate::headline::{Joined, Weight, has_phrase, read};
use crate::mask::masked;

/// Most texts that are kept of a run.
pub(crate) const SUSPECTS_MAX: usize = 32;

/// Most kinds of single lines that are remembered, in order not to read each again.
const SEEN_MAX: usize = 512;

/// Number of ordinary records after which a later error is more likely the cause than an earlier one.
const WENT_ON_RECORDS: u64 = 20;

/// The same if a component, thread or program ended with the later error, and not with the earlier one.
const WENT_ON_RECORDS_FATAL: u64 = 3;

/// Of ten words of two texts of one kind, so many are the same.
const ALIKE_OF_TEN: usize = 8;

/// What messages below ERROR contain that may name a cause, in the usual spellings: every message is searched for them,
/// and with case ignored that takes three times as long.
const OF_INTEREST: &[&str] = &[
    "xception",
    "rror",
    "ERROR",
    "fatal",
    "Fatal",
    "FATAL",
    "aceback",
    "ORA-",
    "illed",
    "ot found",
    "NOT FOUND",
    "enied",
    "DENIED",
    "ailed",
    "FAILED",
    "ailure",
    "efused",
    "o space",
    "uota",
    "imed out",
    "curl:",
    "annot",
    "anic:",
    "Msg ",
    "tWarn_",
    "SQLSTATE",
    "SQLState",
    "erminat",
    "ould not",
    "SIG",
];

static INTEREST: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let automaton = AhoCorasickBuilder::new().match_kind(MatchKind::LeftmostFirst).build(OF_INTEREST);
    automaton.expect("the words are few")
});

/// A text that may be the cause of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Suspect {
    /// One line, at most 400 characters.
    pub text: String,
    /// How much it says about the cause.
    pub weight: Weight,
    /// It is hardly ever said of anything but a failure.
    pub is_strong: bool,
    /// Its message says that a component, thread or program ended with it.
    pub is_fatal: bool,
    /// The severity of its record.
    pub severity: Severity,
    /// When it was logged first.
    pub time: Timestamp,
    /// The position of its record in the log, starting at 0.
    pub position: u64,
    /// Number of records below WARN before it.
    pub ordinary_before: u64,
    /// The component that logged it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle_name: Option<String>,
}

/// The cause of a failure, as far as it can be told: the headline of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Headline {
    /// One line, at most 400 characters.
    pub text: String,
    /// ID of its text with values masked, the same in every run.
    pub id: StableId,
    /// Where the log says it; absent if only the engine does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<HeadlineRecord>,
    /// True if it says only that something failed, not why.
    pub is_vague: bool,
    /// Whether the last successful run logged it as well; absent if there is none to compare with.
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

/// Watches for what may be the cause of a failure.
#[derive(Debug, Default)]
pub(crate) struct SuspectWatch {
    suspects: Vec<Suspect>,
    kinds: HashSet<String>,
    seen: HashSet<String>,
}

/// True if a record may name the cause of a failure.
pub(crate) fn is_of_interest(record: &Record, severity: Severity) -> bool {
    let Some(message) = record.message.as_deref() else { return severity >= Severity::Error };
    match severity {
        Severity::Error | Severity::Fatal => true,
        Severity::Warn | Severity::Other => INTEREST.is_match(message) || has_phrase(message),
        _ => INTEREST.is_match(message),
    }
}

/// True for a line without a severity that says it is a warning.
fn is_warning(message: &str) -> bool {
    let head = message.trim_start();
    let head = head[..head.floor_char_boundary(60)].to_ascii_lowercase();
    ["warn", "info", "note:"].iter().any(|word| head.starts_with(word))
        || head.contains("[warn")
        || head.contains(" warning:")
}

impl SuspectWatch {
    /// Takes a message into account.
    pub(crate) fn add(&mut self, joined: &Joined) {
        let record = &joined.record;
        let message = record.message.as_deref().unwrap_or_default();
        if joined.records == 1 && !message.contains('\n') && !self.is_first(record, joined.severity) {
            return;
        }
        let mut headline = read(message);
        if message.trim_start().starts_with("tWarn_") && headline.weight == Weight::Plain {
            (headline.weight, headline.is_strong) = (Weight::Telling, true);
        }
        let is_kept = match joined.severity {
            Severity::Error | Severity::Fatal => headline.weight > Weight::Empty,
            Severity::Warn => {
                headline.weight == Weight::Telling || (headline.weight == Weight::Bare && headline.is_strong)
            }
            Severity::Other if headline.weight == Weight::Telling && !is_warning(message) => true,
            _ => headline.weight >= Weight::Bare && headline.is_strong,
        };
        if !is_kept {
            return;
        }
        let suspect = Suspect {
            text: headline.text,
            weight: headline.weight,
            is_strong: headline.is_strong,
            is_fatal: headline.is_fatal,
            severity: joined.severity,
            time: record.time,
            position: joined.position,
            ordinary_before: joined.ordinary_before,
            bundle_name: record.bundle_name.clone(),
        };
        let kind = suspect.kind();
        if !self.kinds.contains(&kind) {
            self.kinds.insert(kind);
            self.suspects.push(suspect);
            self.keep_to_the_limit();
        }
    }

    /// What may be the cause, in the order of the log.
    pub(crate) fn finish(mut self) -> Vec<Suspect> {
        self.suspects.sort_by_key(|suspect| suspect.position);
        self.suspects
    }

    /// True if a single line is the first of its kind, or kinds are no longer remembered.
    fn is_first(&mut self, record: &Record, severity: Severity) -> bool {
        let kind = format!("{severity:?} {}", masked(first_line(record)));
        if self.seen.len() < SEEN_MAX { self.seen.insert(kind) } else { !self.seen.contains(&kind) }
    }

    /// Of texts that say equally little, those in the middle of the log go first.
    fn keep_to_the_limit(&mut self) {
        if self.suspects.len() <= SUSPECTS_MAX {
            return;
        }
        let rank = |suspect: &Suspect| (suspect.severity >= Severity::Error, suspect.weight, suspect.is_fatal);
        let Some(least) = self.suspects.iter().map(rank).min() else { return };
        let of_least = |(at, suspect): &(usize, &Suspect)| rank(suspect) == least && *at >= SUSPECTS_MAX / 2;
        let at = self.suspects.iter().enumerate().find(of_least).map(|(at, _)| at);
        let at = at.or_else(|| self.suspects.iter().rposition(|suspect| rank(suspect) == least));
        if let Some(at) = at {
            let gone = self.suspects.remove(at);
            self.kinds.remove(&gone.kind());
        }
    }
}

impl Suspect {
    /// True if it says only that something failed.
    pub fn is_wrapper(&self) -> bool {
        self.weight <= Weight::Wrapper
    }

    fn is_error(&self) -> bool {
        self.severity >= Severity::Error
    }

    /// A sentence and an exception without a message say equally little: the first of them counts.
    fn rank(&self) -> Weight {
        if self.weight == Weight::Bare { Weight::Plain } else { self.weight }
    }

    fn kind(&self) -> String {
        format!("{} {:?} {}", self.is_error(), self.weight, masked(&self.text))
    }

    fn id(&self) -> StableId {
        StableId::of(&masked(&self.text))
    }
}

/// The headline of a run: of its suspects, those of the last successful run, and the message of the engine.
pub(crate) fn headline_of(suspects: &[Suspect], good: Option<&[Suspect]>, engine: Option<&str>) -> Option<Headline> {
    let good_suspects = good.unwrap_or_default();
    // What was a warning in the successful run, and is an error now, may be the cause.
    let is_known = |suspect: &Suspect| {
        good_suspects.iter().any(|it| (it.is_error() || !suspect.is_error()) && is_alike(&it.text, &suspect.text))
    };
    let is_new = |suspect: &&Suspect| !is_known(suspect);
    let errors = pick(suspects.iter().filter(|it| it.is_error()).filter(is_new));
    let is_enough = |found: Option<&Suspect>| found.is_some_and(|suspect| suspect.weight > Weight::Aftermath);
    let engine = engine.map(read).filter(|engine| engine.weight > Weight::Empty);
    let others = || pick(suspects.iter().filter(|it| !it.is_error()).filter(is_new));
    let mut chosen = if is_enough(errors) { errors } else { others().or(errors) };
    let weight = chosen.map_or(Weight::Empty, |suspect| suspect.weight);
    if let Some(engine) = engine.filter(|engine| engine.weight > weight) {
        return Some(Headline {
            id: StableId::of(&masked(&engine.text)),
            text: engine.text,
            record: None,
            is_vague: engine.weight <= Weight::Aftermath,
            is_known: None,
        });
    }
    if chosen.is_none() {
        // The log has nothing that the last successful run has not: it is told nevertheless.
        chosen = pick(suspects.iter().filter(|it| it.is_error()));
    }
    let suspect = chosen?;
    Some(Headline {
        text: suspect.text.clone(),
        id: suspect.id(),
        record: Some(HeadlineRecord {
            position: suspect.position,
            time: suspect.time,
            severity: suspect.severity,
            bundle_name: suspect.bundle_name.clone(),
        }),
        is_vague: suspect.weight <= Weight::Aftermath,
        is_known: good.map(|_| !is_new(&suspect)),
    })
}

/// True if two texts are the same but for values and a few words.
fn is_alike(one: &str, other: &str) -> bool {
    let (one, other) = (masked(one), masked(other));
    let (words, others) = (one.split_whitespace(), other.split_whitespace());
    let (count, same) = (words.clone().count(), words.zip(others.clone()).filter(|(one, other)| one == other).count());
    count == others.count() && ALIKE_OF_TEN * count <= 10 * same
}

/// Of those that say most, the first, unless the run went on for long after it.
fn pick<'a>(suspects: impl Iterator<Item = &'a Suspect> + Clone) -> Option<&'a Suspect> {
    let most = suspects.clone().map(Suspect::rank).max()?;
    let mut of_most = suspects.filter(|suspect| suspect.rank() == most);
    let mut chosen = of_most.next()?;
    let mut previous = chosen;
    for suspect in of_most {
        let is_end = suspect.is_fatal && !chosen.is_fatal;
        let was_end = chosen.is_fatal && !suspect.is_fatal;
        let went_on = suspect.ordinary_before.saturating_sub(previous.ordinary_before);
        let needed = if is_end { WENT_ON_RECORDS_FATAL } else { WENT_ON_RECORDS };
        if went_on >= needed && !was_end {
            chosen = suspect;
        }
        previous = suspect;
    }
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headline::Joiner;

    /// The suspects of records, each after so many ordinary ones.
    fn suspects_of(records: &[(u64, &str, &str)]) -> Vec<Suspect> {
        let (mut watch, mut joiner, mut ordinary) = (SuspectWatch::default(), Joiner::default(), 0);
        for (position, (ordinary_before, severity, message)) in records.iter().enumerate() {
            ordinary += ordinary_before;
            let mut record = Record::at(Timestamp::clamped(position as i64));
            record.message = Some((*message).to_owned());
            let severity = Severity::of(Some(severity));
            let is_of_interest = is_of_interest(&record, severity);
            let taken = joiner.add(&record, severity, position as u64, ordinary, is_of_interest);
            taken.complete.iter().for_each(|joined| watch.add(joined));
        }
        joiner.finish().iter().for_each(|joined| watch.add(joined));
        watch.finish()
    }

    fn text_of(headline: Option<Headline>) -> String {
        headline.map(|headline| headline.text).unwrap_or_default()
    }

    #[track_caller]
    fn check(records: &[(u64, &str, &str)], expected: &str) {
        assert_eq!(text_of(headline_of(&suspects_of(records), None, None)), expected);
    }

    const DENIED: (u64, &str, &str) = (0, "ERROR", "open: permission denied");
    const FULL: (u64, &str, &str) = (0, "ERROR", "write: no space left");

    #[test]
    fn the_first_of_equals_is_the_headline_unless_the_run_went_on() {
        check(&[DENIED, FULL], "open: permission denied");
        check(&[DENIED, (WENT_ON_RECORDS, FULL.1, FULL.2)], "write: no space left");
        let ended = "Exception in component tMap_1 (job)\na.b.FullException: no space left\n\tat a.B.c(B.java:1)";
        check(&[DENIED, (WENT_ON_RECORDS_FATAL, "ERROR", ended)], "a.b.FullException: no space left");
    }

    #[test]
    fn what_says_more_is_the_headline_wherever_it_is() {
        check(&[(0, "ERROR", "job orders failed"), (0, "ERROR", "12 rows"), FULL], "write: no space left");
        check(&[(0, "WARN", "disk is full"), (0, "ERROR", "Process exited with code 1")], "disk is full");
        check(
            &[(0, "INFO", "timeout is 3 s"), (0, "ERROR", "Process exited with code 1")],
            "Process exited with code 1",
        );
    }

    #[test]
    fn errors_of_the_last_successful_run_are_not_the_cause() {
        let (failed, good) = (suspects_of(&[DENIED, FULL]), suspects_of(&[DENIED]));
        let headline = headline_of(&failed, Some(&good), None).unwrap();
        assert_eq!((headline.text.as_str(), headline.is_known), ("write: no space left", Some(false)));
        let headline = headline_of(&good, Some(&good), None).unwrap();
        assert_eq!((headline.text.as_str(), headline.is_known), ("open: permission denied", Some(true)));
        let warned = suspects_of(&[(0, "WARN", DENIED.2)]);
        assert_eq!(text_of(headline_of(&failed, Some(&warned), None)), "open: permission denied", "it was a warning");
    }

    #[test]
    fn the_engine_is_heard_if_it_says_more_than_the_log() {
        let vague = suspects_of(&[(0, "ERROR", "Process exited with code 1")]);
        let headline = headline_of(&vague, None, Some("OOMKilled: over its limit")).unwrap();
        assert_eq!((headline.text.as_str(), headline.record), ("OOMKilled: over its limit", None));
        assert_eq!(text_of(headline_of(&vague, None, Some("it broke"))), "it broke");
        assert_eq!(text_of(headline_of(&suspects_of(&[FULL]), None, Some("it broke"))), "write: no space left");
        assert_eq!(headline_of(&[], None, None), None);
    }

    #[test]
    fn the_ends_of_too_many_suspects_are_kept() {
        let letter = |number: usize| char::from(b'a' + (number % 26) as u8);
        let word = |number: usize| format!("{}e{}", letter(number / 26), letter(number));
        let texts: Vec<String> = (0..500).map(|number| format!("{} is invalid", word(number))).collect();
        let records: Vec<(u64, &str, &str)> = texts.iter().map(|text| (0, "ERROR", text.as_str())).collect();
        let suspects = suspects_of(&records);
        let ends = (suspects[0].position, suspects[suspects.len() - 1].position);
        assert_eq!((suspects.len(), ends), (SUSPECTS_MAX, (0, 499)));
    }
}
