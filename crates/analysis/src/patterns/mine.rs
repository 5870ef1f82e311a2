//! Recurring patterns of a log: its records grouped by the statement that logged them.
//!
//! Records are added one at a time, in any order; the result is [`Patterns`]. Each record becomes a *shape*, its first
//! line with numbers, paths, times and other values masked (`mask.rs`). The shapes are counted; at the end, shapes that
//! differ only in values and varying words are joined to *templates* (`patterns/merge.rs`). The ID of a template is
//! derived from its words, not from the kinds of its values, so it is the same in every run.
//!
//! Memory is bounded by [`SHAPES_MAX`], and the result by [`PATTERNS_MAX`]. Below the first, the result depends only on
//! the records, not on their order. The shapes of a log with more shapes are joined to templates in between; if that
//! does not free enough space, the least severe and rarest shapes are dropped, and their records are counted in
//! [`Rest`].
//!
//! Lines after the first are deliberately not considered, apart from the class of the exception. They are processed by
//! [`stack_trace`](crate::stack_trace).

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use runlog_model::{Record, Severity};
use serde::{Deserialize, Serialize};

use super::template::{Template, templates_of};
use crate::first_line::first_line_of;
use crate::mask::{Mask, mask_line, masked, shape_of_text, text_of};
use crate::stack_trace::StackTrace;
use crate::{Occurrences, Rest, StableId};

/// Version of the algorithm for templates; incremented when a change of masks or of merging changes IDs.
pub const TEMPLATES_VERSION: u32 = 7;

/// Maximum number of shapes that are counted at the same time.
///
/// Unit: shapes, each with at most 1.2 KB of text and 600 bytes of sample; usually 300 bytes in all.
pub const SHAPES_MAX: usize = 10_000;

/// Maximum number of patterns of a summary. The most severe and most frequent ones are kept.
pub const PATTERNS_MAX: usize = 2_000;

/// Collects the patterns of a log, record by record.
#[derive(Debug)]
pub struct PatternMiner {
    shapes: HashMap<Box<str>, Occurrences, foldhash::fast::RandomState>,
    rest: Rest,
    shapes_max: usize,
    /// Buffer for the shape of the current record, reused to avoid allocations.
    shape: String,
}

/// The patterns of a log, most severe first, then most frequent.
///
/// Stored with a run; at most 2,000 patterns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Patterns {
    /// Version of the algorithm that computed the templates.
    pub version: u32,
    /// Total number of records, including those of `rest`.
    pub records: u64,
    /// The patterns, each template once.
    pub patterns: Vec<Pattern>,
    /// Records that are in no pattern.
    pub rest: Rest,
}

/// A template and the records that match it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pattern {
    /// ID, derived from the template: the same in every run.
    pub id: StableId,
    /// The first line with its values masked, and the class of the exception after ` | `.
    pub template: String,
    /// Frequency, times and severity.
    #[serde(flatten)]
    pub occurrences: Occurrences,
}

impl Default for PatternMiner {
    fn default() -> Self {
        Self::with_shapes_max(SHAPES_MAX)
    }
}

impl PatternMiner {
    fn with_shapes_max(shapes_max: usize) -> Self {
        Self { shapes: HashMap::default(), rest: Rest::default(), shapes_max, shape: String::new() }
    }

    /// Adds a record of the log.
    pub fn add(&mut self, record: &Record) {
        self.shape.clear();
        shape_of_message(record.message.as_deref().unwrap_or_default(), &mut self.shape);
        let severity = Severity::of(record.severity.as_deref());
        if let Some(occurrences) = self.shapes.get_mut(self.shape.as_str()) {
            return occurrences.add(record, severity);
        }
        if self.shapes.len() >= self.shapes_max {
            self.make_room();
        }
        let counted = Occurrences::of(record, severity);
        add_to(&mut self.shapes, self.shape.as_str().into(), counted);
    }

    /// Returns the patterns of all records so far.
    pub fn finish(self) -> Patterns {
        let mut by_key: BTreeMap<String, (String, Occurrences)> = BTreeMap::new();
        for (template, occurrences) in join(self.shapes) {
            match by_key.get_mut(&text_of(&template.key)) {
                Some((_, ours)) => ours.add_all(&occurrences),
                None => _ = by_key.insert(text_of(&template.key), (text_of(&template.shape), occurrences)),
            }
        }
        Patterns::ranked(by_key, self.rest)
    }

    /// Joins shapes, and drops the least important ones if more than half of the maximum remain.
    fn make_room(&mut self) {
        let shapes = std::mem::take(&mut self.shapes);
        let mut templates: Vec<(String, Occurrences)> =
            join(shapes).into_iter().map(|(template, counted)| (template.shape, counted)).collect();
        templates.sort_by(|(one, a), (other, b)| rank(a, one).cmp(&rank(b, other)));
        for (_, occurrences) in templates.drain(templates.len().min(self.shapes_max / 2)..) {
            self.rest.add_all(&occurrences);
        }
        self.shapes = templates.into_iter().map(|(template, counted)| (template.into_boxed_str(), counted)).collect();
    }
}

impl Patterns {
    /// Returns the patterns of several logs as if they were one log.
    pub fn joined<'a>(logs: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut miner = PatternMiner::with_shapes_max(usize::MAX);
        for log in logs {
            miner.rest.severities.add_all(&log.rest.severities);
            for pattern in &log.patterns {
                add_to(&mut miner.shapes, shape_of_text(&pattern.template).into(), pattern.occurrences.clone());
            }
        }
        miner.finish()
    }

    /// Creates the patterns from the template and the records of each key.
    fn ranked(by_key: BTreeMap<String, (String, Occurrences)>, mut rest: Rest) -> Self {
        let mut patterns: Vec<Pattern> = by_key
            .into_iter()
            .map(|(key, (template, occurrences))| Pattern { id: StableId::of(&key), template, occurrences })
            .collect();
        patterns.sort_by(|a, b| rank(&a.occurrences, &a.template).cmp(&rank(&b.occurrences, &b.template)));
        for pattern in patterns.drain(patterns.len().min(PATTERNS_MAX)..) {
            rest.add_all(&pattern.occurrences);
        }
        let records = rest.records() + patterns.iter().map(|pattern| pattern.occurrences.records()).sum::<u64>();
        Self { version: TEMPLATES_VERSION, records, patterns, rest }
    }
}

/// Returns the sort key: most severe first, then most frequent, then by text.
fn rank<'a>(occurrences: &Occurrences, text: &'a str) -> (Reverse<Severity>, Reverse<u64>, &'a str) {
    (Reverse(occurrences.worst()), Reverse(occurrences.records()), text)
}

/// Returns the ID and template of the pattern of each message, in the order of the messages, as if they were a log.
///
/// Memory grows with the number of messages: intended for measuring the quality of grouping, not for logs.
pub fn groups_of<'a>(messages: impl IntoIterator<Item = &'a str>) -> Vec<(StableId, String)> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let place_of = |message: &str| {
        let mut shape = String::new();
        shape_of_message(message, &mut shape);
        let next = places.len();
        *places.entry(shape).or_insert(next)
    };
    let order: Vec<usize> = messages.into_iter().map(place_of).collect();
    let mut shapes: Vec<(String, usize)> = places.into_iter().collect();
    shapes.sort_by_key(|(_, place)| *place);
    let shapes: Vec<&str> = shapes.iter().map(|(shape, _)| shape.as_str()).collect();
    let group_of = |template: &Template| (StableId::of(&text_of(&template.key)), text_of(&template.shape));
    let groups: Vec<(StableId, String)> = templates_of(&shapes).iter().map(group_of).collect();
    order.into_iter().map(|place| groups[place].clone()).collect()
}

/// Returns the first line of a message that is not blank, with its values masked: `took <duration>`.
pub fn masked_first_line(message: &str) -> String {
    masked(first_line_of(message))
}

/// Writes the first line that is not blank, masked, and the class of the exception if a later line names one.
fn shape_of_message(message: &str, shape: &mut String) {
    let line = first_line_of(message);
    mask_line(line, shape);
    if line.len() < message.len()
        && let Some(trace) = StackTrace::parse(message)
        && !line.contains(trace.thrown[0].class)
    {
        shape.push(Mask::Exception.char());
        shape.push_str(trace.thrown[0].class);
    }
}

fn add_to<S: std::hash::BuildHasher>(
    shapes: &mut HashMap<Box<str>, Occurrences, S>,
    shape: Box<str>,
    counted: Occurrences,
) {
    match shapes.get_mut(&shape) {
        Some(ours) => ours.add_all(&counted),
        None => _ = shapes.insert(shape, counted),
    }
}

/// Returns the templates of these shapes, each with the total of the counts of its shapes.
fn join<S>(shapes: HashMap<Box<str>, Occurrences, S>) -> BTreeMap<Template, Occurrences> {
    let (texts, counts): (Vec<Box<str>>, Vec<Occurrences>) = shapes.into_iter().unzip();
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    let mut joined: BTreeMap<Template, Occurrences> = BTreeMap::new();
    for (template, counted) in templates_of(&texts).into_iter().zip(counts) {
        match joined.get_mut(&template) {
            Some(ours) => ours.add_all(&counted),
            None => _ = joined.insert(template, counted),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use runlog_model::Timestamp;

    use super::super::Change;
    use super::*;

    fn record(epoch_ms: i64, severity: &str, message: &str) -> Record {
        let mut record = Record::at(Timestamp::clamped(epoch_ms));
        record.severity = Some(severity.to_owned());
        record.message = Some(message.to_owned());
        record
    }

    fn patterns_of(shapes_max: usize, records: &[Record]) -> Patterns {
        let mut miner = PatternMiner::with_shapes_max(shapes_max);
        records.iter().for_each(|record| miner.add(record));
        miner.finish()
    }

    fn templates(patterns: &Patterns) -> Vec<&str> {
        patterns.patterns.iter().map(|pattern| pattern.template.as_str()).collect()
    }

    /// A word that represents the number: `baa`, `caa`, …
    fn word(number: u32) -> String {
        (0..4).map(|place| char::from(b'a' + (number / 26_u32.pow(place) % 26) as u8)).collect()
    }

    #[test]
    fn a_pattern_has_its_figures() {
        let records =
            [record(5, "INFO", "read 7 rows"), record(3, "WARN", "read 9 rows"), record(9, "INFO", "read 1 rows")];
        let patterns = patterns_of(SHAPES_MAX, &records);
        let pattern = &patterns.patterns[0];
        // `printf 'read <*> rows' | sha256sum`
        assert_eq!(
            (pattern.id.to_string().as_str(), pattern.template.as_str()),
            ("28e85eef15d1f14d", "read <number> rows")
        );
        let occurrences = &pattern.occurrences;
        assert_eq!((occurrences.records(), occurrences.worst()), (3, Severity::Warn));
        assert_eq!((occurrences.first.as_millis(), occurrences.last.as_millis()), (3, 9));
        assert_eq!(occurrences.sample, "read 9 rows");
    }

    #[test]
    fn further_lines_give_only_the_class_of_the_exception() {
        let trace = "\nload 7 failed\njava.io.IOException: disk 3\n\tat a.B.c(B.java:1)\n";
        let records = [record(1, "ERROR", trace), record(1, "INFO", "code for 7:\nint a = 1;\nint b;")];
        let patterns = patterns_of(SHAPES_MAX, &records);
        assert_eq!(templates(&patterns), ["load <number> failed | java.io.IOException", "code for <number>:"]);
    }

    #[test]
    fn two_runs_that_print_rows_of_one_layout_have_the_same_patterns() {
        let rows = |seed: u32| -> Vec<Record> {
            let row = |n: u32| format!("{n}|{} {}|{}|{n}.50", word(seed + n), word(seed + 3 * n), word(n % 5));
            (0..400).map(|n| record(1, "INFO", &row(n))).collect()
        };
        let comparison = patterns_of(SHAPES_MAX, &rows(0)).compare(&patterns_of(SHAPES_MAX, &rows(9_000)));
        let changes: Vec<_> = comparison.patterns.iter().map(|change| change.change).collect();
        assert_eq!(changes, [Change::Unchanged]);
    }

    #[test]
    fn the_id_does_not_depend_on_the_kinds_of_values_that_a_run_holds() {
        let one = patterns_of(SHAPES_MAX, &[record(1, "INFO", "loaded 7 of a"), record(1, "INFO", "loaded 7 ms of a")]);
        let other = patterns_of(SHAPES_MAX, &[record(1, "INFO", "loaded 7ab4f91e of a")]);
        assert_eq!((templates(&one), templates(&other)), (vec!["loaded <*> of a"], vec!["loaded <hex> of a"]));
        assert_eq!(one.patterns[0].id, other.patterns[0].id);
    }

    #[test]
    fn the_result_does_not_depend_on_the_order() {
        let mut records: Vec<Record> = (0..600)
            .map(|n| record(1, "INFO", &format!("{} host{} of {}: user={}", word(n % 4), n % 9, word(n), word(n % 30))))
            .collect();
        let first = patterns_of(SHAPES_MAX, &records);
        records.reverse();
        assert_eq!(patterns_of(SHAPES_MAX, &records), first);
    }

    #[test]
    fn a_record_without_a_message_has_the_empty_pattern() {
        let patterns = patterns_of(SHAPES_MAX, &[Record::at(Timestamp::clamped(1))]);
        assert_eq!(templates(&patterns), [""]);
    }

    #[test]
    fn more_shapes_than_there_is_room_for_are_joined_on_the_way() {
        let records: Vec<Record> =
            (0..1_000).map(|n| record(1, "INFO", &format!("loaded table {}", word(n)))).collect();
        let patterns = patterns_of(50, &records);
        assert_eq!(templates(&patterns), ["loaded table <*>"]);
        assert_eq!((patterns.patterns[0].occurrences.records(), patterns.rest.records()), (1_000, 0));
    }

    #[test]
    fn what_finds_no_room_is_counted_and_errors_stay() {
        let mut records = vec![record(1, "ERROR", "no such table")];
        records.extend((0..1_000).map(|n| record(1, "INFO", &word(n).repeat(n as usize % 5 + 1).replace('a', " : "))));
        let patterns = patterns_of(50, &records);
        assert!(patterns.patterns.len() <= 50 && patterns.rest.records() > 0, "{}", patterns.rest.records());
        assert_eq!((patterns.records, templates(&patterns)[0]), (1_001, "no such table"));
    }

    #[test]
    fn a_word_that_varies_in_one_run_only_is_no_difference() {
        let users = |count| -> Vec<Record> {
            (0..count).map(|n| record(1, "INFO", &format!("user {} is known", word(n)))).collect()
        };
        let comparison = patterns_of(SHAPES_MAX, &users(2)).compare(&patterns_of(SHAPES_MAX, &users(9)));
        let changes: Vec<_> =
            comparison.patterns.iter().map(|change| (change.template.as_str(), change.change)).collect();
        assert_eq!(changes, [("user <*> is known", Change::Unchanged)]);
    }
}
