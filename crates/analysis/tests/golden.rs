//! The patterns and groups of real logs (fixtures/runs): as they are written down beside this file, whatever the
//! order in which the records arrive.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;
use runlog_analysis::patterns::{Change, PatternChange, PatternMiner, Patterns};
use runlog_analysis::stack_trace::{StackTraceGrouper, StackTraceGroups};
use runlog_analysis::{RunSummary, Summarizer};
use runlog_model::Record;

/// Runs of one task (`etl-run-info-0` to `-8`).
const RUNS: usize = 9;

fn run(name: &str) -> Vec<Record> {
    read(fixtures().join("runs").join(format!("{name}.ndjson.zst")).to_str().unwrap())
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn read(path: &str) -> Vec<Record> {
    let bytes = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    std::str::from_utf8(&bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn patterns_of<'a>(records: impl IntoIterator<Item = &'a Record>) -> Patterns {
    let mut miner = PatternMiner::default();
    records.into_iter().for_each(|record| miner.add(record));
    miner.finish()
}

fn groups_of<'a>(records: impl IntoIterator<Item = &'a Record>) -> StackTraceGroups {
    let mut grouper = StackTraceGrouper::default();
    records.into_iter().for_each(|record| grouper.add(record));
    grouper.finish()
}

/// One line for each pattern: records, worst severity, id, template.
fn listing(records: &[Record]) -> String {
    let patterns = patterns_of(records);
    let mut text = format!("{} records, {} in no pattern\n", patterns.records, patterns.rest.records());
    for pattern in &patterns.patterns {
        let (count, worst) = (pattern.occurrences.records(), pattern.occurrences.worst().name());
        writeln!(text, "{count:>6} {worst:<5} {} {}", pattern.id, pattern.template).unwrap();
    }
    writeln!(text, "stack traces").unwrap();
    for group in groups_of(records).groups {
        let (count, worst) = (group.occurrences.records(), group.occurrences.worst().name());
        writeln!(text, "{count:>6} {worst:<5} {} {}", group.cause.id, group.cause.title).unwrap();
    }
    text
}

#[test]
fn an_ordinary_run() {
    insta::assert_snapshot!(listing(&run("etl-run-info-0")));
}

#[test]
fn a_run_with_debug_messages() {
    insta::assert_snapshot!(listing(&run("etl-run-debug")));
}

/// The records in an order that the keys give.
fn shuffled<'a>(records: &'a [Record], keys: &[Index]) -> Vec<&'a Record> {
    let mut records: Vec<&Record> = records.iter().collect();
    for (place, key) in (1..records.len()).zip(keys.iter().cycle()) {
        records.swap(place, key.index(place + 1));
    }
    records
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_records_changes_nothing(run_number in 0..RUNS, keys in prop::collection::vec(any::<Index>(), 101)) {
        let records = run(&format!("etl-run-info-{run_number}"));
        let shuffled = shuffled(&records, &keys);
        prop_assert_eq!(patterns_of(shuffled.iter().copied()), patterns_of(&records));
        prop_assert_eq!(groups_of(shuffled), groups_of(&records));
    }

    #[test]
    fn the_order_of_words_that_vary_changes_nothing(
        words in prop::collection::vec(("[a-c]{1,2}", "[a-c]{1,3}", 0..4_u8), 1..400),
        keys in prop::collection::vec(any::<Index>(), 101),
    ) {
        let records: Vec<Record> = words.iter().map(|(one, other, form)| {
            let message = match form {
                0 => format!("copied table {one} to {other}"),
                1 => format!("the state of {one} is {other}"),
                2 => format!("{one} {other}"),
                _ => format!("user {one} has started"),
            };
            serde_json::from_value(serde_json::json!({"logTimestamp": 1, "logMessage": message})).unwrap()
        }).collect();
        prop_assert_eq!(patterns_of(shuffled(&records, &keys)), patterns_of(&records));
    }
}

/// A log of which every record has its number as its time, so that what is counted of a pattern names a record.
fn numbered(file: &str) -> Vec<Record> {
    renumbered(read(file))
}

fn renumbered(mut records: Vec<Record>) -> Vec<Record> {
    records.iter_mut().zip(0..).for_each(|(record, number)| record.time = runlog_model::Timestamp::clamped(number));
    records
}

/// The changes between two parts of a log that the log as one does not confirm: patterns that are said to be in one part
/// only although records of the same pattern are in the other.
fn false_news(records: &[Record], is_later: &dyn Fn(usize) -> bool) -> Vec<String> {
    let messages = records.iter().map(|record| record.message.as_deref().unwrap_or_default());
    let groups = runlog_analysis::patterns::groups_of(messages);
    let part = |later: bool| records.iter().enumerate().filter(move |(place, _)| is_later(*place) == later);
    let ids = |later: bool| part(later).map(|(place, _)| groups[place].0).collect::<std::collections::HashSet<_>>();
    let patterns = |later: bool| patterns_of(part(later).map(|(_, record)| record));
    let (ids, comparison) = ([false, true].map(ids), patterns(false).compare(&patterns(true)));
    let is_false = |pattern: &&PatternChange| {
        let (occurrences, other) = match pattern.change {
            Change::New => (&pattern.after, &ids[0]),
            Change::Gone => (&pattern.before, &ids[1]),
            _ => return false,
        };
        let first = occurrences.as_ref().unwrap().first.as_millis();
        other.contains(&groups[usize::try_from(first).unwrap()].0)
    };
    comparison.patterns.iter().filter(is_false).map(|it| format!("{:?}: {}", it.change, it.template)).collect()
}

/// A pseudo-random bit.
fn bit(seed: u64, place: usize) -> bool {
    let mixed = (seed ^ (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 29)).count_ones() % 2 == 1
}

/// Nearly all false news is of one statement, three words of which vary: a half of a log may have too few variants of each,
/// and what is more severe than the known variants of a short line is news.
#[test]
fn a_log_that_is_divided_at_random_has_hardly_any_news() {
    let demo = std::fs::read_dir(fixtures().join("demo")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = demo.filter(|path| path.extension().is_some_and(|it| it == "zst")).collect();
    files.extend((0..RUNS).map(|number| fixtures().join(format!("runs/etl-run-info-{number}.ndjson.zst"))));
    assert!(files.len() > RUNS + 5, "{files:?}");
    let (mut patterns, mut news) = (0, Vec::new());
    for file in files {
        let records = numbered(file.to_str().unwrap());
        for seed in 1..=8 {
            patterns += patterns_of(&records).patterns.len();
            news.extend(false_news(&records, &|place| bit(seed, place)));
        }
    }
    assert!(1_000 * news.len() <= 12 * patterns, "{} of {patterns} patterns: {news:#?}", news.len());
}

#[test]
fn two_nights_have_no_news_that_the_nights_as_one_do_not_have() {
    for (one, other) in [(2, 3), (3, 4), (4, 3), (3, 2)] {
        let mut records = numbered(&format!("{}/demo/nightly-orders-{one}.ndjson.zst", fixtures().display()));
        let earlier = records.len();
        records.extend(numbered(&format!("{}/demo/nightly-orders-{other}.ndjson.zst", fixtures().display())));
        let records = renumbered(records);
        let news = false_news(&records, &|place| place >= earlier);
        assert!(news.is_empty(), "{one} and {other}: {news:#?}");
    }
}

#[test]
fn the_runs_of_a_task_share_their_patterns() {
    let runs: Vec<Patterns> = (0..RUNS).map(|number| patterns_of(&run(&format!("etl-run-info-{number}")))).collect();
    for later in &runs[1..] {
        let ids = |patterns: &Patterns| patterns.patterns.iter().map(|pattern| pattern.id).collect::<Vec<_>>();
        let earlier = ids(&runs[0]);
        let shared = ids(later).iter().filter(|id| earlier.contains(id)).count();
        assert!(10 * shared >= 9 * later.patterns.len(), "{shared} of {}", later.patterns.len());
    }
}

#[test]
fn a_run_compared_with_another() {
    let [earlier, later] = [3, 0].map(|number| patterns_of(&run(&format!("etl-run-info-{number}"))));
    let comparison = earlier.compare(&later);
    let mut text = format!("complete: {}\n", comparison.complete);
    for pattern in comparison.patterns.iter().filter(|pattern| pattern.change != Change::Unchanged) {
        let count = |side: &Option<_>| side.as_ref().map_or(0, runlog_analysis::Occurrences::records);
        let (before, after) = (count(&pattern.before), count(&pattern.after));
        writeln!(text, "{:?} {before} to {after}: {}", pattern.change, pattern.template).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_run_compared_with_itself_has_not_changed() {
    let patterns = patterns_of(&run("etl-run-info-0"));
    let comparison = patterns.compare(&patterns);
    assert_eq!(comparison.patterns.len(), patterns.patterns.len());
    assert!(comparison.complete && comparison.patterns.iter().all(|pattern| pattern.change == Change::Unchanged));
}

#[test]
fn what_was_stored_is_read_again() {
    let records = run("etl-run-info-0");
    let patterns = patterns_of(&records);
    assert_eq!(serde_json::from_str::<Patterns>(&serde_json::to_string(&patterns).unwrap()).unwrap(), patterns);
    let groups = groups_of(&records);
    assert_eq!(serde_json::from_str::<StackTraceGroups>(&serde_json::to_string(&groups).unwrap()).unwrap(), groups);
}

#[test]
fn every_record_is_counted_once() {
    let runs: Vec<Vec<Record>> = (0..RUNS).map(|number| run(&format!("etl-run-info-{number}"))).collect();
    let each: Vec<Patterns> = runs.iter().map(patterns_of).collect();
    let joined = Patterns::joined(&each);
    assert_eq!(joined.records, runs.iter().map(|records| records.len() as u64).sum::<u64>());
    assert_eq!(joined, patterns_of(runs.iter().flatten()));
}

fn summary_of(records: &[Record]) -> RunSummary {
    let mut sorted: Vec<&Record> = records.iter().collect();
    sorted.sort_by_key(|record| record.time);
    let mut summarizer = Summarizer::default();
    sorted.into_iter().for_each(|record| summarizer.add(record));
    summarizer.finish()
}

/// The content of a summary besides patterns and stack traces, in a few lines.
fn outline(summary: &RunSummary) -> String {
    let mut text = format!("{} records, {:?}\n", summary.records, summary.severities.as_array());
    let timeline = &summary.timeline;
    writeln!(text, "timeline of {} buckets of {} ms", timeline.buckets.len(), timeline.bucket_ms).unwrap();
    let failure = summary.failure.as_ref().unwrap();
    for event in &failure.warnings_before {
        writeln!(text, "before {} {}", event.time, event.message).unwrap();
    }
    writeln!(text, "first {} {}", failure.first.time, failure.first.message).unwrap();
    for cause in &failure.causes {
        writeln!(text, "  {}: {}\n  at {:?}", cause.class, cause.message, cause.at).unwrap();
    }
    for event in &failure.consequences {
        writeln!(text, "then {} {}", event.time, event.message).unwrap();
    }
    for gap in &summary.gaps {
        writeln!(text, "gap of {} ms at {}: {} .. {}", gap.duration_ms, gap.start, gap.before, gap.after).unwrap();
    }
    for problem in summary.error_groups() {
        writeln!(text, "{:?} {} {} {}", problem.kind, problem.records, problem.id, problem.title).unwrap();
    }
    text
}

#[test]
fn the_summary_of_an_ordinary_run() {
    insta::assert_snapshot!(outline(&summary_of(&run("etl-run-info-0"))));
}

#[test]
fn the_summary_of_a_run_with_debug_messages() {
    insta::assert_snapshot!(outline(&summary_of(&run("etl-run-debug"))));
}

#[test]
fn a_summary_that_was_stored_is_read_again() {
    let summary = summary_of(&run("etl-run-info-0"));
    let stored = serde_json::to_vec(&summary).unwrap();
    assert_eq!(serde_json::from_slice::<RunSummary>(&stored).unwrap(), summary);
    assert!(zstd::bulk::compress(&stored, 9).unwrap().len() < 16 << 10, "a usual summary takes some kilobytes");
}
