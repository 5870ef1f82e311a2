//! Summaries: any log of a failed run has one, and the same one each time.

use runlog_analysis::{RunSummary, Summarizer};
use runlog_model::{Record, Timestamp};

use crate::{Target, messages};

pub(crate) const TARGET: Target = Target { name: "summary", check, seeds: crate::failed_runs, inputs: 2_000 };

const SEVERITIES: [&str; 4] = ["ERROR", "INFO", "WARN", "ERROR"];

fn check(input: &[u8]) {
    let all = messages(input);
    let (one, again) = (summary(&all), summary(&all));
    assert_eq!(serde_json::to_string(&one).unwrap(), serde_json::to_string(&again).unwrap());
    // Also if the last successful run logged the same.
    let same = one.headline(&[again], Some("exit code 1"));
    for headline in [one.headline(&[], None), same].into_iter().flatten() {
        assert!(!headline.text.contains('\n') && headline.text.chars().count() <= 400, "{:?}", headline.text);
        assert!(!headline.text.trim().is_empty());
    }
}

fn summary(messages: &[String]) -> RunSummary {
    let mut summarizer = Summarizer::default();
    for (number, message) in (0_i64..).zip(messages) {
        let severity = SEVERITIES[usize::try_from(number).unwrap() % SEVERITIES.len()].to_owned();
        let time = Timestamp::clamped(1_790_000_000_000 + number * 500);
        summarizer.add(&Record { message: Some(message.clone()), severity: Some(severity), ..Record::at(time) });
    }
    summarizer.finish()
}
