//! `search_logs`: the newest records that contain a text.

use std::collections::BTreeSet;

use runlog_model::Severity;
use runlog_model::wire::search::{FoundRecord, SearchAnswer};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{TOKENS_MAX, TOKENS_MIN, Text, one_line};
use crate::api::{Api, Question, Refusal};
use crate::context::Context;
use crate::names;

const HOUR_MS: i64 = 3_600_000;

/// Records per request.
const RECORDS_MAX: usize = 50;

/// Maximum number of requests for one answer: the service returns early if it finds nothing for a while.
const REQUESTS_MAX: usize = 5;

/// Most characters of a message.
const MESSAGE_CHARS_MAX: usize = 400;

/// Arguments.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchLogs {
    /// Parts of messages to find, case-insensitive; "exact phrase" in quotes; -part excludes messages that contain it.
    #[serde(default)]
    text: String,
    /// Only these severities: TRACE, DEBUG, INFO, WARN, ERROR, FATAL; OTHER for unknown ones.
    #[serde(default)]
    #[schemars(extend("items" = severity_schema()))]
    severity: Vec<String>,
    /// Only records of this run: its ID. At most one of run_id, task and workspace.
    run_id: Option<String>,
    /// Only records of this task: its ID or name, such as sales/nightly-orders.
    task: Option<String>,
    /// Only records of this workspace: its ID or name.
    workspace: Option<String>,
    /// Only records within the last N hours, 1 to 87600; default: all.
    #[schemars(range(min = 1, max = 87_600))]
    last_hours: Option<u32>,
    /// Continue after the previous answer: its cursor.
    cursor: Option<String>,
    /// Maximum length of the answer, in tokens of about 3 bytes: 500 to 20000; default 4000.
    #[schemars(range(min = TOKENS_MIN, max = TOKENS_MAX))]
    max_tokens: Option<u32>,
}

pub(super) async fn answer<A: Api>(context: &Context<'_, A>, arguments: SearchLogs) -> Result<String, Refusal> {
    let mut text = Text::new(arguments.max_tokens)?;
    let filter = arguments.filter(context).await?;
    let mut cursor = arguments.cursor.as_deref().map(|cursor| cursor.trim().to_owned());
    text.head("time | severity | run ID | task | message");
    let (mut shown, mut scanned, mut unreadable) = (0, 0, 0);
    for _ in 0..REQUESTS_MAX {
        let found = search(context, &filter, RECORDS_MAX, cursor.clone()).await?;
        scanned += found.scanned.records;
        unreadable += found.unreadable.as_ref().map_or(0, |it| it.records);
        let fitted = found.items.iter().take_while(|record| text.data(&line(record))).count();
        shown += fitted;
        if (1..found.items.len()).contains(&fitted) {
            // The cursor after the last record that fitted: numbers of records change when more arrive.
            cursor = search(context, &filter, fitted, cursor).await?.cursor;
            break;
        }
        if fitted < found.items.len() {
            break;
        }
        cursor = found.cursor;
        if cursor.is_none() {
            break;
        }
    }
    text.note(format!("{shown} records found in {scanned} scanned, newest first."));
    if unreadable > 0 {
        text.note(format!("{unreadable} records could not be searched, because they are damaged or missing."));
    }
    if let Some(cursor) = cursor {
        text.note(format!(
            "There may be more. To continue, call search_logs with the same arguments and cursor \"{cursor}\"."
        ));
    }
    if let Some(link) = context.link("runs/RUN_ID").filter(|_| shown > 0) {
        text.note(format!("Page of a run: {link} — next step: read_log with run_id and text finds the lines."));
    }
    Ok(text.finish())
}

/// A page of the search.
async fn search<A: Api>(
    context: &Context<'_, A>,
    filter: &[(&'static str, String)],
    limit: usize,
    cursor: Option<String>,
) -> Result<SearchAnswer, Refusal> {
    let mut query = filter.to_vec();
    query.push(("limit", limit.to_string()));
    query.extend(cursor.map(|cursor| ("cursor", cursor)));
    context.json(Question::get(&["runlog", "v1", "search"], query)).await
}

impl SearchLogs {
    async fn filter<A: Api>(&self, context: &Context<'_, A>) -> Result<Vec<(&'static str, String)>, Refusal> {
        let mut query = Vec::new();
        if !self.text.trim().is_empty() {
            query.push(("q", self.text.clone()));
        }
        query.extend(severities(&self.severity)?);
        if [&self.run_id, &self.task, &self.workspace].into_iter().flatten().count() > 1 {
            return Err(Refusal::invalid("give at most one of run_id, task and workspace"));
        }
        if let Some(run) = &self.run_id {
            query.push(("runId", names::run(run)?.to_string()));
        }
        if let Some(task) = &self.task {
            query.push(("taskId", names::task(context, task).await?.to_string()));
        }
        if let Some(workspace) = &self.workspace {
            query.push(("workspaceId", names::workspace(context, workspace).await?.to_string()));
        }
        match self.last_hours {
            Some(hours @ 1..=87_600) => {
                let from = context.clock.now().plus_millis(-i64::from(hours) * HOUR_MS);
                query.push(("from", from.to_string()));
            }
            Some(hours) => {
                return Err(Refusal::invalid(format!("last_hours is {hours}; it must be from 1 to 87600")));
            }
            None => {}
        }
        Ok(query)
    }
}

/// The schema of a severity.
pub(super) fn severity_schema() -> Value {
    json!({"type": "string", "enum": Severity::ALL.map(|severity| severity.name())})
}

/// Severities as parameters of the API, each once.
pub(super) fn severities(words: &[String]) -> Result<Vec<(&'static str, String)>, Refusal> {
    let allowed = || Severity::ALL.map(|severity| severity.name()).join(", ");
    let read = |word: &String| {
        let known = Severity::ALL.into_iter().find(|severity| severity.name().eq_ignore_ascii_case(word.trim()));
        known.ok_or_else(|| Refusal::invalid(format!("severity {word:.20?} is not one of {}", allowed())))
    };
    let names: BTreeSet<&str> = words.iter().map(|word| Ok(read(word)?.name())).collect::<Result<_, Refusal>>()?;
    Ok(names.into_iter().map(|name| ("severity", name.to_owned())).collect())
}

fn line(found: &FoundRecord) -> String {
    let severity = one_line(found.severity.as_deref().unwrap_or("-"), 20);
    let message = one_line(found.log_message.as_deref().unwrap_or_default(), MESSAGE_CHARS_MAX);
    format!("{} | {severity} | {} | {} | {message}", found.time(), found.run_id, one_line(&found.task_name, 80))
}
