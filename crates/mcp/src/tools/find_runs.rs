//! `find_runs`: runs by outcome, task, workspace and time.

use runlog_analysis::report::{is_bad, is_good};
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::overview::ListedRunBody;
use runlog_model::{RunStatus, Timestamp};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::answer::{TOKENS_MAX, TOKENS_MIN, Text, one_line};
use crate::api::{Api, Question, Refusal};
use crate::context::Context;
use crate::cursor::ListCursor;
use crate::names;

const HOUR_MS: i64 = 3_600_000;
const LAST_HOURS_DEFAULT: u32 = 24;
const LAST_HOURS_MAX: u32 = 87_600;

/// Runs per request; an answer rarely holds more.
const RUNS_MAX: u64 = 100;

/// Most characters of an error message.
const MESSAGE_CHARS_MAX: usize = 200;

/// Arguments.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FindRuns {
    /// Which runs, by how they ended; default: failed.
    #[serde(default)]
    outcome: Outcome,
    /// Only runs of this task: its ID or name, such as sales/nightly-orders.
    task: Option<String>,
    /// Only runs of this workspace: its ID or name.
    workspace: Option<String>,
    /// Only runs active within the last N hours; default 24, at most 87600. Not together with since.
    #[schemars(range(min = 1, max = LAST_HOURS_MAX))]
    last_hours: Option<u32>,
    /// Only runs active at or after this time, in RFC 3339.
    since: Option<String>,
    /// Only runs active at or before this time, in RFC 3339; default: now.
    until: Option<String>,
    /// Continue after the previous answer: its cursor.
    cursor: Option<String>,
    /// Maximum length of the answer, in tokens of about 3 bytes: 500 to 20000; default 4000.
    #[schemars(range(min = TOKENS_MIN, max = TOKENS_MAX))]
    max_tokens: Option<u32>,
}

/// How runs ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// Failed, not deployed, or ended by a timeout or a shutdown.
    #[default]
    Failed,
    /// Successful, also with rejected rows.
    Successful,
    /// Pending or running.
    Running,
    /// Terminated by a user.
    Terminated,
    /// Every run.
    All,
}

impl Outcome {
    fn statuses(self) -> Vec<RunStatus> {
        let of = |wanted: fn(RunStatus) -> bool| RunStatus::ALL.iter().copied().filter(|it| wanted(*it)).collect();
        match self {
            Self::Failed => of(is_bad),
            Self::Successful => of(is_good),
            Self::Running => of(|status| !status.is_final()),
            Self::Terminated => vec![RunStatus::Terminated],
            Self::All => Vec::new(),
        }
    }
}

pub(super) async fn answer<A: Api>(context: &Context<'_, A>, arguments: FindRuns) -> Result<String, Refusal> {
    let mut text = Text::new(arguments.max_tokens)?;
    let cursor = match &arguments.cursor {
        Some(cursor) => ListCursor::read(cursor)?,
        None => arguments.period(context.clock.now())?,
    };
    let mut query = vec![("limit", RUNS_MAX.to_string()), ("offset", cursor.offset.to_string())];
    query.push(("startTime", Timestamp::clamped(cursor.start_ms).to_string()));
    query.push(("endTime", Timestamp::clamped(cursor.end_ms).to_string()));
    query.extend(arguments.outcome.statuses().iter().map(|status| ("status", status.to_string())));
    if let Some(task) = &arguments.task {
        query.push(("taskId", names::task(context, task).await?.to_string()));
    }
    if let Some(workspace) = &arguments.workspace {
        query.push(("workspaceId", names::workspace(context, workspace).await?.to_string()));
    }
    let list: ListPage<ListedRunBody> = context.json(Question::get(&["runlog", "v1", "runs"], query)).await?;
    let (from, to) = (Timestamp::clamped(cursor.start_ms), Timestamp::clamped(cursor.end_ms));
    text.head(format!("{} runs ({:?}) active from {from} to {to}, newest first:", list.total, arguments.outcome));
    text.head("run ID | status | triggered at | environment/workspace/task | records, errors, warnings | message");
    let shown = list.items.iter().take_while(|run| text.data(&line(run))).count() as u64;
    let next = cursor.offset + shown;
    if next < list.total {
        text.note(format!(
            "{} runs are left out. To continue, call find_runs with the same arguments and cursor \"{}\".",
            list.total - next,
            ListCursor { offset: next, ..cursor }
        ));
    }
    if let Some(link) = context.link("runs/RUN_ID").filter(|_| shown > 0) {
        text.note(format!("Page of a run: {link} — next step: explain_run with a run ID."));
    }
    if list.total == 0 {
        text.note("Nothing was found: widen last_hours or outcome, or check that you may view the workspace.");
    }
    Ok(text.finish())
}

impl FindRuns {
    fn period(&self, now: Timestamp) -> Result<ListCursor, Refusal> {
        let end = self.until.as_deref().map(|text| names::time("until", text)).transpose()?.unwrap_or(now);
        let hours = self.last_hours.unwrap_or(LAST_HOURS_DEFAULT);
        let start = match (&self.since, self.last_hours) {
            (Some(_), Some(_)) => return Err(Refusal::invalid("give either since or last_hours")),
            (Some(since), None) => names::time("since", since)?,
            (None, _) if !(1..=LAST_HOURS_MAX).contains(&hours) => {
                return Err(Refusal::invalid(format!("last_hours is {hours}; it must be from 1 to {LAST_HOURS_MAX}")));
            }
            (None, _) => end.plus_millis(-i64::from(hours) * HOUR_MS),
        };
        if start > end {
            return Err(Refusal::invalid(format!("the period ends at {end}, before it begins at {start}")));
        }
        Ok(ListCursor { offset: 0, start_ms: start.as_millis(), end_ms: end.as_millis() })
    }
}

fn line(listed: &ListedRunBody) -> String {
    let run = &listed.run;
    let place = [&listed.environment_name, &listed.workspace_name, &listed.task_name].map(|name| one_line(name, 80));
    let message = run.error_message.as_deref().map(|text| one_line(text, MESSAGE_CHARS_MAX)).unwrap_or_default();
    format!(
        "{} | {} | {} | {} | {}, {}, {} | {message}",
        run.run_id,
        run.status,
        run.trigger_timestamp,
        place.join("/"),
        run.records,
        run.errors,
        run.warnings
    )
}
