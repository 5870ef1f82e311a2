//! `compare_runs`: what is new, gone or changed between the logs of two runs.

use runlog_analysis::StackTraceGroup;
use runlog_analysis::patterns::{Change, PatternChange};
use runlog_analysis::report::{RunDiff, Side};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::answer::{TOKENS_MAX, TOKENS_MIN, Text, one_line};
use crate::api::{Api, Question, Refusal};
use crate::context::Context;
use crate::cursor::unknown_cursor;
use crate::names;

/// Most characters of a pattern.
const PATTERN_CHARS_MAX: usize = 300;

/// Arguments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompareRuns {
    /// The ID of the earlier run, usually the last successful one; explain_run names it.
    before: String,
    /// The ID of the later run.
    after: String,
    /// Continue after the previous answer: its cursor.
    cursor: Option<String>,
    /// Maximum length of the answer, in tokens of about 3 bytes: 500 to 20000; default 4000.
    #[schemars(range(min = TOKENS_MIN, max = TOKENS_MAX))]
    max_tokens: Option<u32>,
}

pub(super) async fn answer<A: Api>(context: &Context<'_, A>, arguments: CompareRuns) -> Result<String, Refusal> {
    let mut text = Text::new(arguments.max_tokens)?;
    let (before, after) = (names::run(&arguments.before)?.to_string(), names::run(&arguments.after)?.to_string());
    let skipped: usize = match &arguments.cursor {
        Some(cursor) => cursor.trim().parse().map_err(|_| unknown_cursor())?,
        None => 0,
    };
    let path = ["runlog", "v1", "runs", &before, "diff", &after];
    let diff: RunDiff = context.json(Question::get(&path, Vec::new())).await?;
    text.head(side("Before", &diff.before));
    text.head(side("After", &diff.after));
    match &diff.counts {
        Some(counts) => text.head(format!(
            "Patterns: {} new, {} more frequent, {} gone, {} less frequent, {} unchanged (not listed).",
            counts.new, counts.more_often, counts.gone, counts.less_often, counts.unchanged
        )),
        None => text.head("The logs cannot be compared, because one of them has no summary."),
    }
    if !diff.complete && diff.counts.is_some() {
        text.head("One of the logs has more patterns than are kept: some may be shown as new or gone that are not.");
    }
    let lines: Vec<String> = [("new cause", &diff.new_causes), ("gone cause", &diff.gone_causes)]
        .into_iter()
        .flat_map(|(what, causes)| causes.iter().map(move |group| cause(what, group)))
        .chain(diff.patterns.iter().filter_map(pattern))
        .collect();
    let shown = lines.iter().skip(skipped).take_while(|line| text.data(line)).count();
    let next = skipped.saturating_add(shown);
    if next < lines.len() {
        text.note(format!(
            "{} differences are left out. To continue, call compare_runs with the same runs and cursor \"{next}\".",
            lines.len() - next
        ));
    }
    if let Some(link) = context.link(&format!("runs/{before}/compare/{after}")) {
        text.note(format!("Page of the comparison: {link}"));
    }
    Ok(text.finish())
}

fn side(name: &str, side: &Side) -> String {
    let run = &side.run;
    let took = run.duration_ms.map(|ms| format!(", took {:.1} s", ms as f64 / 1_000.0)).unwrap_or_default();
    let (records, errors) = (run.records, run.errors);
    // The name of a task is shown by find_runs, as data.
    format!(
        "{name}: run {}, task {}, {}, triggered {}{took}, {records} records, {errors} errors, {} warnings.",
        run.run_id, run.task_id, run.status, run.triggered_at, run.warnings
    )
}

fn cause(what: &str, group: &StackTraceGroup) -> String {
    format!("{what} | {} × | {}", group.occurrences.records(), one_line(&group.cause.title, PATTERN_CHARS_MAX))
}

/// The line of a pattern; none if it did not change.
fn pattern(change: &PatternChange) -> Option<String> {
    let what = match change.change {
        Change::New => "new",
        Change::MoreOften { .. } => "more frequent",
        Change::Gone => "gone",
        Change::LessOften { .. } => "less frequent",
        Change::Unchanged => return None,
    };
    let count = |side: &Option<runlog_analysis::Occurrences>| side.as_ref().map_or(0, |side| side.records());
    let worst = change.after.as_ref().or(change.before.as_ref()).map_or("", |side| side.worst().name());
    let (before, after) = (count(&change.before), count(&change.after));
    Some(format!("{what} | {before} → {after} × {worst} | {}", one_line(&change.template, PATTERN_CHARS_MAX)))
}
