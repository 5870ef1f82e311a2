//! Finds the texts of a log that may be the cause of a failure.
//!
//! The summary keeps the different texts that may be the cause, and the last lines, in case there is nothing more
//! specific.

use std::collections::{HashSet, VecDeque};

use runlog_model::{Record, Severity, Timestamp};
use serde::{Deserialize, Serialize};

use super::cause::Cause;
use super::gaps::first_line;
use crate::headline::{Joined, Weight, has_phrase, has_sign, read};

/// Maximum number of texts that are kept of a run.
pub(crate) const SUSPECTS_MAX: usize = 32;

/// Maximum number of kinds of single lines that are remembered, to avoid processing each kind again.
const SEEN_MAX: usize = 512;

/// Maximum number of ordinary records between an error and the record that reports the recovery from it.
const RECOVERED_RECORDS_MAX: u64 = 3;

/// Number of last lines of a log that are considered, and maximum number of different ones that are kept.
const LAST_LINES: usize = 24;
const LAST_SUSPECTS_MAX: usize = 8;

/// Maximum length of one of the last lines. Unit: bytes.
const LAST_LINE_BYTES_MAX: usize = 400;

/// A text that may be the cause of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Suspect {
    /// One line, at most 400 characters.
    pub text: String,
    /// How specific it is about the cause.
    pub weight: Weight,
    /// True if such a text hardly ever occurs without a failure.
    pub is_strong: bool,
    /// True if its message states that a component, thread or program ended.
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
    /// In reports: whether the last successful runs logged it as well; absent if there are none to compare with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_known: Option<bool>,
}

/// Collects the texts that may be the cause of a failure.
#[derive(Debug, Default)]
pub(crate) struct SuspectWatch {
    suspects: Vec<Suspect>,
    kinds: HashSet<String>,
    seen: HashSet<String>,
    last: VecDeque<LastLine>,
}

/// One of the last lines of a log.
#[derive(Debug)]
struct LastLine {
    text: String,
    severity: Severity,
    time: Timestamp,
    position: u64,
    ordinary_before: u64,
    bundle_name: Option<String>,
}

/// True if a record may name the cause of a failure.
pub(crate) fn is_of_interest(record: &Record, severity: Severity) -> bool {
    let Some(message) = record.message.as_deref() else { return severity >= Severity::Error };
    match severity {
        Severity::Error | Severity::Fatal => true,
        Severity::Warn | Severity::Other => has_phrase(message),
        _ => has_sign(message),
    }
}

/// True for a record that reports the recovery from the error before it.
fn is_recovery(message: &str) -> bool {
    let message = message.lines().next().unwrap_or_default().to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let is_again = has(&["attempt", "retry"]) && has(&[" ok", "successful"]);
    let words = [
        "succeeded",
        "recovered",
        "reconnected",
        "re-established",
        "reestablished",
        "restored",
        "row rejected",
        "record rejected",
        "rejects so far",
        "row skipped",
        "record skipped",
        "continuing",
    ];
    let is_other_server = has(&["connected to ", "switched to "]) && has(&["standby", "replica", "secondary"]);
    (is_again || is_other_server || has(&words)) && !has(&["fail", "error", "not succe", "unsuccess"])
}

/// True for a line without a severity that is labelled as a warning.
fn is_warning(message: &str) -> bool {
    let head = message.trim_start();
    let head = head[..head.floor_char_boundary(60)].to_ascii_lowercase();
    ["warn", "info", "note:", "onwarning", "oninformation"].iter().any(|word| head.starts_with(word))
        || head.contains("[warn")
        || head.contains(" warning:")
}

impl SuspectWatch {
    /// Adds a message.
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
            is_known: None,
        };
        let kind = suspect.kind();
        if self.kinds.contains(&kind) {
            // A text that is repeated in a fatal message is fatal.
            if suspect.is_fatal
                && let Some(first) = self.suspects.iter_mut().find(|it| !it.is_fatal && it.kind() == kind)
            {
                first.is_fatal = true;
            }
            return;
        }
        self.kinds.insert(kind);
        self.suspects.push(suspect);
        self.keep_to_the_limit();
    }

    /// Adds a record below ERROR, which may report the recovery from the last error of its component.
    pub(crate) fn add_ordinary(&mut self, record: &Record, ordinary_before: u64) {
        let is_same = |suspect: &Suspect| suspect.bundle_name == record.bundle_name;
        let Some(place) = self.suspects.iter().rposition(is_same) else { return };
        let last = &mut self.suspects[place];
        let is_near = ordinary_before.saturating_sub(last.ordinary_before) <= RECOVERED_RECORDS_MAX;
        let is_cause = last.weight > Weight::Aftermath && !last.is_fatal;
        if !is_near || !is_cause || !record.message.as_deref().is_some_and(is_recovery) {
            return;
        }
        // If the text is logged again, it counts again.
        self.kinds.remove(&last.kind());
        self.seen.clear();
        last.weight = Weight::Aftermath;
        if !self.kinds.insert(last.kind()) {
            self.suspects.remove(place);
        }
    }

    /// Keeps a line of the log, in case it is one of the last.
    pub(crate) fn add_last(&mut self, record: &Record, severity: Severity, position: u64, ordinary_before: u64) {
        let line = first_line(record);
        if line.is_empty() || !matches!(severity, Severity::Other | Severity::Info | Severity::Warn) {
            return;
        }
        // The buffer of the removed first line is reused.
        let first = if self.last.len() >= LAST_LINES { self.last.pop_front() } else { None };
        let mut text = first.map(|first| first.text).unwrap_or_default();
        text.clear();
        text.push_str(&line[..line.floor_char_boundary(LAST_LINE_BYTES_MAX)]);
        let (time, bundle_name) = (record.time, record.bundle_name.clone());
        self.last.push_back(LastLine { text, severity, time, position, ordinary_before, bundle_name });
    }

    /// Returns the last different lines, as suspects without further evidence.
    fn last_suspects(&mut self) -> Vec<Suspect> {
        let mut kinds = HashSet::new();
        let mut suspects = Vec::new();
        for line in std::mem::take(&mut self.last).into_iter().rev() {
            let headline = read(&line.text);
            let is_suspect = self.suspects.iter().any(|suspect| suspect.position == line.position);
            let says_something = headline.weight > Weight::Wrapper && !is_suspect && !is_warning(&line.text);
            if !says_something || suspects.len() >= LAST_SUSPECTS_MAX || !kinds.insert(Cause::of(&headline.text).key) {
                continue;
            }
            suspects.push(Suspect {
                text: headline.text,
                weight: Weight::Plain,
                is_strong: false,
                is_fatal: false,
                severity: line.severity,
                time: line.time,
                position: line.position,
                ordinary_before: line.ordinary_before,
                bundle_name: line.bundle_name,
                is_known: None,
            });
        }
        suspects
    }

    /// Returns the texts that may be the cause, in the order of the log.
    pub(crate) fn finish(mut self) -> Vec<Suspect> {
        let last = self.last_suspects();
        self.suspects.extend(last);
        self.suspects.sort_by_key(|suspect| suspect.position);
        self.suspects
    }

    /// True if a single line is the first of its kind, or kinds are no longer remembered.
    fn is_first(&mut self, record: &Record, severity: Severity) -> bool {
        let kind = format!("{severity:?} {}", Cause::of(first_line(record)).key);
        if self.seen.len() < SEEN_MAX { self.seen.insert(kind) } else { !self.seen.contains(&kind) }
    }

    /// Removes a text if there are too many: of the least specific ones, those in the middle of the log first.
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
    /// True if the text states only that something failed.
    pub fn is_wrapper(&self) -> bool {
        self.weight <= Weight::Wrapper
    }

    pub(super) fn is_error(&self) -> bool {
        self.severity >= Severity::Error
    }

    /// Returns the weight for comparisons: a sentence and an exception without a message are equally specific, so that
    /// the first of them counts.
    pub(super) fn rank(&self) -> Weight {
        if self.weight == Weight::Bare { Weight::Plain } else { self.weight }
    }

    fn kind(&self) -> String {
        format!("{} {:?} {}", self.is_error(), self.weight, Cause::of(&self.text).key)
    }

    /// True for one of the last lines of the log, without further evidence.
    pub fn is_last_line(&self) -> bool {
        !self.is_error() && self.weight == Weight::Plain && !self.is_strong
    }

    /// True for a text of `tDie`, which was written by the author of the job.
    pub(super) fn is_of_die(&self) -> bool {
        self.bundle_name.as_deref().is_some_and(|name| name.starts_with("tDie_"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::headline::Joiner;

    /// The suspects of records, each after so many ordinary ones.
    pub(crate) fn suspects_of(records: &[(u64, &str, &str)]) -> Vec<Suspect> {
        watched(records, SuspectWatch::default())
    }

    /// The same with the last lines of the log.
    pub(crate) fn suspects_and_last_lines_of(records: &[(u64, &str, &str)]) -> Vec<Suspect> {
        let mut watch = SuspectWatch::default();
        for (position, (_, severity, message)) in records.iter().enumerate() {
            let mut record = Record::at(Timestamp::clamped(position as i64));
            record.message = Some((*message).to_owned());
            watch.add_last(&record, Severity::of(Some(severity)), position as u64, 0);
        }
        watched(records, watch)
    }

    fn watched(records: &[(u64, &str, &str)], mut watch: SuspectWatch) -> Vec<Suspect> {
        let (mut joiner, mut ordinary) = (Joiner::default(), 0);
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

    #[test]
    fn a_connection_to_another_server_is_a_recovery() {
        for line in ["connected to standby pg2", "Switched to replica 3", "retry 2 successful", "connection restored"] {
            assert!(is_recovery(line), "{line}");
        }
        for line in ["connected to pg1", "connected to standby pg2 failed", "standby pg2 is down"] {
            assert!(!is_recovery(line), "{line}");
        }
    }

    #[test]
    fn a_traceback_with_a_prefix_may_arrive_a_line_a_record() {
        let lines = ["Traceback (most recent call last):", "  File \"a.py\", line 7", "    x", "KeyError: 'fx'"];
        let lines = lines.map(|line| format!("[base] {line}"));
        let records: Vec<(u64, &str, &str)> = lines.iter().map(|line| (1, "INFO", line.as_str())).collect();
        let texts: Vec<String> = suspects_of(&records).into_iter().map(|suspect| suspect.text).collect();
        assert_eq!(texts, ["KeyError: 'fx'"]);
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
