//! How many headlines of failing runs are right; for `bench/causes`.
//!
//! ```text
//! headlines labelled [--show]        fixtures/failures: precision by family; --show: what is wrong, of the half for
//!                                    development
//! headlines labelled --all FOLDER    the same of other labelled runs, with all that is wrong
//! headlines generated FOLDER         runs and truth.ndjson of bench/logs/generate.py
//! ```

#![allow(clippy::expect_used, reason = "it stops at what it cannot read")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it prints a table")]

#[path = "../tests/labelled/mod.rs"]
mod labelled;

use std::collections::BTreeMap;
use std::path::Path;

use labelled::Case;
use runlog_analysis::RunSummary;
use runlog_model::Record;
use serde_json::Value;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["labelled"] => of_labelled(labelled::cases(), |_| false),
        ["labelled", "--show"] => of_labelled(labelled::cases(), |case| case.is_for_development),
        ["labelled", "--all", folder] => of_labelled(labelled::cases_in(Path::new(folder)), |_| true),
        ["generated", folder] => of_generated(Path::new(folder)),
        _ => {
            eprintln!("usage: headlines labelled [--show | --all FOLDER] | generated FOLDER");
            std::process::exit(2);
        }
    }
}

/// Right and all.
#[derive(Debug, Clone, Copy, Default)]
struct Count(usize, usize);

impl Count {
    fn add(&mut self, is_right: bool) {
        self.0 += usize::from(is_right);
        self.1 += 1;
    }

    fn text(self) -> String {
        match self.1 {
            0 => "–".to_owned(),
            all => format!("{}/{all} = {:.3}", self.0, self.0 as f64 / all as f64),
        }
    }
}

fn of_labelled(cases: Vec<Case>, is_shown: impl Fn(&Case) -> bool) {
    let (mut families, mut total) = (BTreeMap::<String, [Count; 2]>::new(), [Count::default(); 2]);
    for case in cases {
        let headline = case.headline();
        let is_right = case.is_right(&headline);
        let half = usize::from(!case.is_for_development);
        families.entry(case.family.clone()).or_default()[half].add(is_right);
        total[half].add(is_right);
        if !is_right && is_shown(&case) {
            println!("{}: {}\n  found {headline}\n  right {}", case.family, case.name, case.right());
        }
    }
    println!("{:<12} {:>16} {:>16}", "family", "development", "check");
    for (family, [development, check]) in families {
        println!("{family:<12} {:>16} {:>16}", development.text(), check.text());
    }
    let all = Count(total[0].0 + total[1].0, total[0].1 + total[1].1);
    println!("{:<12} {:>16} {:>16}   all {}", "total", total[0].text(), total[1].text(), all.text());
}

/// Each failing run is compared with the last successful run of its task before it.
fn of_generated(folder: &Path) {
    let truth = std::fs::read_to_string(folder.join("truth.ndjson")).expect("truth.ndjson");
    let (mut good, mut causes, mut total) =
        (BTreeMap::<String, RunSummary>::new(), BTreeMap::<String, Count>::new(), Count::default());
    for line in truth.lines() {
        let truth: Value = serde_json::from_str(line).expect("a line of JSON");
        let text = |name: &str| truth[name].as_str().unwrap_or_default().to_owned();
        let summary = labelled::summary_of(&records_of(&folder.join(format!("{}.ndjson", text("run")))));
        if text("status") == "execution_successful" {
            good.insert(text("task"), summary);
            continue;
        }
        let headline = summary
            .headline(good.get(&text("task")).map(std::slice::from_ref).unwrap_or_default(), None)
            .map(|it| it.text)
            .unwrap_or_default();
        // The message of the truth has `{…}` where the log has a value.
        let message = text("message");
        let mut pieces = message.split('{').map(|piece| piece.split_once('}').map_or(piece, |(_, rest)| rest));
        let rest = headline.strip_prefix(&text("class")).and_then(|rest| rest.strip_prefix(": "));
        let is_right = rest.is_some_and(|rest| {
            pieces.try_fold(rest, |rest, piece| rest.split_once(piece).map(|(_, rest)| rest)).is_some()
        });
        causes.entry(text("class")).or_default().add(is_right);
        total.add(is_right);
    }
    for (cause, count) in causes {
        println!("{cause:<50} {}", count.text());
    }
    println!("{:<50} {}", "total", total.text());
}

fn records_of(file: &Path) -> Vec<Record> {
    let text = std::fs::read_to_string(file).expect("a log");
    let mut records: Vec<Record> = text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect();
    // The order of the log: by time, then arrival.
    records.sort_by_key(|record| record.time);
    records
}
