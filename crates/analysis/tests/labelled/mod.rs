//! The failing runs with their right headline in `fixtures/failures`; its README describes the form.

use std::path::Path;

use runlog_analysis::{RunSummary, Summarizer};
use runlog_model::{Record, Timestamp};

/// Time between two records. Unit: milliseconds.
const STEP_MS: i64 = 3;

/// A failing run.
#[derive(Debug, Default)]
pub(crate) struct Case {
    /// The name of its file.
    pub(crate) family: String,
    /// What it is about.
    pub(crate) name: String,
    /// True for the half that the code was developed with.
    pub(crate) is_for_development: bool,
    good: Vec<Record>,
    failing: Vec<Record>,
    engine: Option<String>,
    right: Vec<String>,
}

impl Case {
    /// The headline that the code finds.
    pub(crate) fn headline(&self) -> String {
        let good = (!self.good.is_empty()).then(|| summary_of(&self.good));
        let headline = summary_of(&self.failing).headline(good.as_slice(), self.engine.as_deref());
        headline.map(|headline| headline.text).unwrap_or_default()
    }

    /// Whether a headline is one of the right ones.
    pub(crate) fn is_right(&self, headline: &str) -> bool {
        let headline = one_blank(headline);
        self.right.iter().any(|right| {
            let full = one_blank(&right.replace(['«', '»'], ""));
            let mut bare = right.clone();
            while let Some((before, rest)) = bare.split_once('«') {
                let after = rest.split_once('»').map_or("", |(_, after)| after);
                bare = format!("{before}{after}");
            }
            // A headline that is too long ends with an ellipsis.
            let beginning = headline.strip_suffix('…').filter(|beginning| beginning.len() > 300);
            headline == full || headline == one_blank(&bare) || beginning.is_some_and(|it| full.starts_with(it))
        })
    }

    /// The first of the right headlines.
    pub(crate) fn right(&self) -> &str {
        &self.right[0]
    }

    fn add(&mut self, line: &str) {
        if let Some(more) = line.strip_prefix('>') {
            let records = if self.failing.is_empty() { &mut self.good } else { &mut self.failing };
            let text = records.last_mut().and_then(|record| record.message.as_mut()).expect("a record before the line");
            text.push('\n');
            text.push_str(&with_tabs(more));
        } else if let Some(text) = line.strip_prefix('!') {
            self.engine = Some(text.to_owned());
        } else if let Some(text) = line.strip_prefix("= ") {
            self.right.push(text.to_owned());
        } else if let Some(rest) = line.strip_prefix('-') {
            self.failing.push(record_of(rest, self.failing.len()));
        } else if let Some(rest) = line.strip_prefix('+') {
            self.good.push(record_of(rest, self.good.len()));
        } else {
            assert!(line.is_empty() || line.starts_with('#'), "{}: {line}", self.family);
        }
    }
}

/// All cases, in the order of their files.
pub(crate) fn cases() -> Vec<Case> {
    cases_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/failures"))
}

/// The cases of the text files of a folder.
pub(crate) fn cases_in(folder: &Path) -> Vec<Case> {
    let files = std::fs::read_dir(folder).expect("the folder of the cases").map(|entry| entry.expect("a file").path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|ending| ending == "txt")).collect();
    files.sort();
    let mut cases: Vec<Case> = Vec::new();
    for file in files {
        let family = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let first = cases.len();
        for line in std::fs::read_to_string(&file).expect("a file of cases").lines() {
            if let Some(name) = line.strip_prefix("## ") {
                let is_for_development = (cases.len() - first).is_multiple_of(2);
                let (family, name) = (family.clone(), name.to_owned());
                cases.push(Case { family, name, is_for_development, ..Case::default() });
            } else if let Some(case) = cases[first..].last_mut() {
                case.add(line);
            }
        }
    }
    cases
}

/// `E component | text`, `E pod/component | text`.
fn record_of(line: &str, place: usize) -> Record {
    let (head, message) = line.split_once(" | ").expect("a bar between component and text");
    let (severity, component) = head.split_at(1);
    let mut record = Record::at(Timestamp::clamped(place as i64 * STEP_MS));
    record.severity = match severity {
        "T" => Some("TRACE"),
        "D" => Some("DEBUG"),
        "I" => Some("INFO"),
        "W" => Some("WARN"),
        "E" => Some("ERROR"),
        "F" => Some("FATAL"),
        "C" => Some("CRITICAL"),
        "O" => None,
        other => panic!("severity {other}"),
    }
    .map(str::to_owned);
    let (pod, component) = component.trim().split_once('/').unwrap_or(("", component.trim()));
    record.pod_name = (!pod.is_empty()).then(|| pod.to_owned());
    record.bundle_name = Some(component.to_owned());
    record.message = Some(with_tabs(message));
    record
}

fn with_tabs(text: &str) -> String {
    let rest = text.trim_start_matches("\\t");
    format!("{}{rest}", "\t".repeat((text.len() - rest.len()) / 2))
}

/// The summary of records in the order of the log.
pub(crate) fn summary_of(records: &[Record]) -> RunSummary {
    let mut summarizer = Summarizer::default();
    records.iter().for_each(|record| summarizer.add(record));
    summarizer.finish()
}

/// White space as single blanks.
pub(crate) fn one_blank(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
