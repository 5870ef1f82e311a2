//! `read_log`: lines of the log of a run.

use runlog_model::wire::records::{PlacedRecord, RecordsBody};
use schemars::JsonSchema;
use serde::Deserialize;

use super::search_logs::{severities, severity_schema};
use crate::answer::{TOKENS_MAX, TOKENS_MIN, Text, shortened};
use crate::api::{Api, Question, Refusal};
use crate::context::Context;
use crate::names;

const BEFORE_DEFAULT: u64 = 10;
const AFTER_DEFAULT: u64 = 30;

/// Limit of `before` and `after`.
const LINES_MAX: u64 = 200;

/// Most characters of a message: one with a long stack trace is still whole.
const MESSAGE_CHARS_MAX: usize = 4_000;

/// Arguments.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadLog {
    /// The ID of the run, a UUID.
    pub(crate) run_id: String,
    /// The number of the line, starting at 1; default 1.
    #[schemars(range(min = 1))]
    pub(crate) line: Option<u64>,
    /// Number of lines before it, at most 200; default 10. Not with severity or text.
    #[schemars(range(max = LINES_MAX))]
    pub(crate) before: Option<u64>,
    /// Number of lines after it, or of matching lines from it on, at most 200; default 30.
    #[schemars(range(max = LINES_MAX))]
    pub(crate) after: Option<u64>,
    /// Only lines with these severities: TRACE, DEBUG, INFO, WARN, ERROR, FATAL; OTHER for unknown ones.
    #[serde(default)]
    #[schemars(extend("items" = severity_schema()))]
    pub(crate) severity: Vec<String>,
    /// Only lines whose message contains this text, case-insensitive.
    pub(crate) text: Option<String>,
    /// Maximum length of the answer, in tokens of about 3 bytes: 500 to 20000; default 4000.
    #[schemars(range(min = TOKENS_MIN, max = TOKENS_MAX))]
    pub(crate) max_tokens: Option<u32>,
}

pub(super) async fn answer<A: Api>(context: &Context<'_, A>, arguments: ReadLog) -> Result<String, Refusal> {
    let mut text = Text::new(arguments.max_tokens)?;
    let id = names::run(&arguments.run_id)?.to_string();
    let line = arguments.line.unwrap_or(1);
    let is_filtered = !arguments.severity.is_empty() || arguments.text.is_some();
    let before = if is_filtered { 0 } else { arguments.before.unwrap_or(BEFORE_DEFAULT) };
    let after = arguments.after.unwrap_or(AFTER_DEFAULT);
    if line == 0 || before > LINES_MAX || after > LINES_MAX {
        return Err(Refusal::invalid(format!("line starts at 1; before and after are at most {LINES_MAX}")));
    }
    if is_filtered && arguments.before.is_some() {
        return Err(Refusal::invalid("give before only without severity and text"));
    }
    let from = (line - 1).saturating_sub(before);
    let count = (line - 1 - from).saturating_add(after).saturating_add(u64::from(!is_filtered)).max(1);
    let mut query = vec![("from", from.to_string()), ("count", count.to_string())];
    query.extend(severities(&arguments.severity)?);
    query.extend(arguments.text.clone().map(|text| ("q", text)));
    let path = ["runlog", "v1", "runs", &id, "records"];
    let body: RecordsBody = context.json(Question::get(&path, query)).await?;
    text.head(format!("Run {id}, {} lines in all. Line | time | severity | component | message:", body.total));
    let shown = body.items.iter().take_while(|record| text.data(&shown_line(record))).count();
    let next = match body.items.get(shown) {
        Some(record) => Some(record.index),
        None => body.next,
    };
    if body.items.is_empty() {
        text.note(match is_filtered {
            true => format!("No line matches among the {} that were read.", body.scanned),
            false => format!("There is no line {line}."),
        });
    }
    if let Some(next) = next {
        let what = if is_filtered { "the same arguments" } else { "before 0" };
        text.note(format!("To continue, call read_log with {what} and line {}.", next.saturating_add(1)));
    }
    let first = body.items.first().map_or(line, |record| record.index.saturating_add(1));
    if let Some(link) = context.link(&format!("runs/{id}#{first}")) {
        text.note(format!("Page: {link} (the number after # is the line)."));
    }
    Ok(text.finish())
}

fn shown_line(placed: &PlacedRecord) -> String {
    let record = &placed.record;
    let severity = shortened(record.severity.as_deref().unwrap_or("-"), 20);
    let component = shortened(record.bundle_name.as_deref().unwrap_or("-"), 80);
    let message = shortened(record.message.as_deref().unwrap_or_default(), MESSAGE_CHARS_MAX);
    format!("{} | {} | {severity} | {component} | {message}", placed.index.saturating_add(1), record.time)
}
