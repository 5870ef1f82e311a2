//! Each target with the inputs that once failed, and with thousands that are made from typical ones.
//!
//! `RUNLOG_FUZZ=100` makes a hundred times as many, and `RUNLOG_FUZZ=100,7` others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that cannot set itself up fails, and says where"
)]

use std::path::Path;

use runlog_fuzz::{Mutator, TARGETS, Target};

#[test]
fn page_entries_hold() {
    hold("page_entries");
}

#[test]
fn records_hold() {
    hold("records");
}

#[test]
fn logs_hold() {
    hold("logs");
}

#[test]
fn patterns_hold() {
    hold("patterns");
}

#[test]
fn summaries_hold() {
    hold("summary");
}

#[test]
fn redactions_hold() {
    hold("redaction");
}

#[test]
fn the_service_holds() {
    hold("service");
}

#[test]
fn no_target_is_left_out() {
    let tests = include_str!("corpus.rs");
    assert!(TARGETS.iter().all(|target| tests.contains(&format!("hold({:?})", target.name))));
}

#[track_caller]
fn hold(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seeds = (target.seeds)();
    seeds.iter().for_each(|input| check(target, input));
    let failed = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    for input in std::fs::read_dir(failed).into_iter().flatten() {
        check(target, &std::fs::read(input.unwrap().path()).unwrap());
    }
    let (times, seed) = how_many();
    let mut mutator = Mutator::new(seed);
    for _ in 0..target.inputs * times {
        check(target, &mutator.input(&seeds));
    }
}

fn check(target: &Target, input: &[u8]) {
    if let Err(panic) = std::panic::catch_unwind(|| (target.check)(input)) {
        let file = std::env::temp_dir().join(format!("runlog-fuzz-{}", target.name));
        std::fs::write(&file, input).unwrap();
        eprintln!("{} fails for the bytes in {}", target.name, file.display());
        std::panic::resume_unwind(panic);
    }
}

/// How many times as many inputs as usual, and the seed.
#[allow(clippy::disallowed_methods, reason = "whoever runs the test decides")]
fn how_many() -> (usize, u64) {
    let text = std::env::var("RUNLOG_FUZZ").unwrap_or_else(|_| "1".to_owned());
    let (times, seed) = text.split_once(',').unwrap_or((&text, "1"));
    times.parse().ok().zip(seed.parse().ok()).expect("RUNLOG_FUZZ is a number, or two with a comma between")
}
