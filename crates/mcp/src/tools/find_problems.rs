//! `find_problems`: root causes that runs have in common, or one of them in detail.

use runlog_model::ProblemState;
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::problems::{ProblemBody, ProblemDetailBody};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::answer::{TOKENS_MAX, TOKENS_MIN, Text, one_line};
use crate::api::{Api, Question, Refusal};
use crate::context::Context;
use crate::cursor::unknown_cursor;
use crate::names;

/// Problems per request.
const PROBLEMS_MAX: u64 = 100;

/// Arguments.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FindProblems {
    /// The ID of a problem (16 hexadecimal digits): return its tasks and latest runs. Only max_tokens may be given with it.
    problem_id: Option<String>,
    /// Only problems in this state; default: open.
    #[serde(default)]
    state: State,
    /// Only problems whose title contains this text, case-insensitive.
    text: Option<String>,
    /// Only problems of this task: its ID or name, such as sales/nightly-orders.
    task: Option<String>,
    /// Only problems of this workspace: its ID or name.
    workspace: Option<String>,
    /// Continue after the previous answer: its cursor.
    cursor: Option<String>,
    /// Maximum length of the answer, in tokens of about 3 bytes: 500 to 20000; default 4000.
    #[schemars(range(min = TOKENS_MIN, max = TOKENS_MAX))]
    max_tokens: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum State {
    /// Somebody has to look at it.
    #[default]
    Open,
    /// Known, without alerts.
    Muted,
    /// Believed to be gone.
    Resolved,
    /// Every state.
    All,
}

impl State {
    fn as_state(self) -> Option<ProblemState> {
        match self {
            Self::Open => Some(ProblemState::Open),
            Self::Muted => Some(ProblemState::Muted),
            Self::Resolved => Some(ProblemState::Resolved),
            Self::All => None,
        }
    }
}

pub(super) async fn answer<A: Api>(context: &Context<'_, A>, arguments: FindProblems) -> Result<String, Refusal> {
    let mut text = Text::new(arguments.max_tokens)?;
    if let Some(id) = &arguments.problem_id {
        let others = [&arguments.text, &arguments.task, &arguments.workspace, &arguments.cursor];
        if arguments.state != State::default() || others.into_iter().any(Option::is_some) {
            return Err(Refusal::invalid("only max_tokens may be given with problem_id"));
        }
        return detail(context, id, text).await;
    }
    let offset: u64 = match &arguments.cursor {
        Some(cursor) => cursor.trim().parse().map_err(|_| unknown_cursor())?,
        None => 0,
    };
    let mut query = vec![("limit", PROBLEMS_MAX.to_string()), ("offset", offset.to_string())];
    query.extend(arguments.state.as_state().map(|state| ("state", state.to_string())));
    query.extend(arguments.text.clone().map(|text| ("q", text)));
    if let Some(task) = &arguments.task {
        query.push(("taskId", names::task(context, task).await?.to_string()));
    }
    if let Some(workspace) = &arguments.workspace {
        query.push(("workspaceId", names::workspace(context, workspace).await?.to_string()));
    }
    let list: ListPage<ProblemBody> = context.json(Question::get(&["runlog", "v1", "problems"], query)).await?;
    text.head(format!("{} problems ({:?}), the last seen first:", list.total, arguments.state));
    text.head("problem ID | state | runs, tasks | first seen | last seen | workspace | title");
    let shown = list.items.iter().take_while(|problem| text.data(&line(problem))).count() as u64;
    let next = offset + shown;
    if next < list.total {
        text.note(format!(
            "{} problems are left out. To continue, call find_problems with the same arguments and cursor \"{next}\".",
            list.total - next
        ));
    }
    if let Some(link) = context.link("problems/PROBLEM_ID").filter(|_| shown > 0) {
        text.note(format!("Page of a problem: {link} — next step: find_problems with problem_id."));
    }
    Ok(text.finish())
}

async fn detail<A: Api>(context: &Context<'_, A>, id: &str, mut text: Text) -> Result<String, Refusal> {
    if id.len() != 16 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Refusal::invalid("problem_id must have 16 hexadecimal digits; find_problems lists IDs"));
    }
    let id = id.to_ascii_lowercase();
    let detail: ProblemDetailBody = context.json(Question::get(&["runlog", "v1", "problems", &id], Vec::new())).await?;
    text.head("problem ID | state | runs, tasks | first seen | last seen | workspace | title");
    text.head("then its tasks and its latest runs, newest first");
    let mut lines = vec![line(&detail.problem)];
    lines.extend(
        detail
            .tasks
            .iter()
            .map(|task| format!("task {} | {} runs | {}", task.task_id, task.runs, one_line(&task.task_name, 80))),
    );
    lines.extend(detail.runs.iter().map(|run| {
        format!("run {} | {} | {} | {}", run.run_id, run.status, run.ended_at, one_line(&run.task_name, 80))
    }));
    let shown = lines.iter().take_while(|line| text.data(line)).count();
    if shown < lines.len() {
        text.note(format!("{} lines are left out; a higher max_tokens shows them.", lines.len() - shown));
    }
    if let Some(link) = context.link(&format!("problems/{id}")) {
        text.note(format!("Page: {link}"));
    }
    Ok(text.finish())
}

fn line(problem: &ProblemBody) -> String {
    let mut line = format!(
        "{} | {} | {}, {} | {} | {} | {} | {}",
        problem.id,
        problem.state,
        problem.runs,
        problem.tasks,
        problem.first_seen,
        problem.last_seen,
        one_line(&problem.workspace_name, 80),
        one_line(&problem.title, 300)
    );
    if let Some(at) = problem.came_back_at {
        line.push_str(&format!(" | came back at {at}"));
    }
    if let Some(note) = &problem.note {
        line.push_str(&format!(" | note: {}", one_line(note, 300)));
    }
    line
}
