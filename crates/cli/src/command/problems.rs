//! `runlog problems`: the root causes of failed runs, and their state.

use anstyle::{AnsiColor, Style};
use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use runlog_client::Client;
use runlog_model::wire::problems::{NewProblemState, ProblemBody, ProblemDetailBody};
use runlog_model::{Clock, ProblemState};

use crate::arguments::candidates;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::moment::Moment;
use crate::arguments::names::{TaskRef, WorkspaceRef};
use crate::arguments::status::status_word;
use crate::command::missing_rights::note_unreadable_workspaces;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::preferences::shown_seconds;
use crate::render::screen::Stream;
use crate::render::terminal::{
    BAD, GOOD, STRONG, count, counted, note, result_json, result_line, shortened, styled, table,
};
use crate::system::SystemClock;

/// Maximum number of problems per request. Source: `limit` of the list of problems.
const LIST_PAGE_MAX: u64 = 100;

const OPEN: Style = AnsiColor::Red.on_default();
const MUTED: Style = AnsiColor::Yellow.on_default();

/// Most characters of a title in a list.
const TITLE_CHARS: usize = 100;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
A problem is a root cause that failed runs of a workspace have in common, also across tasks. It is open, muted \
or resolved. A resolved problem comes back with a run that ends later and fails with it.

Examples:
  runlog problems
  runlog problems --state all --since 7d --workspace sales
  runlog problems show 3f2a
  runlog problems mute 3f2a --until 3d --note 'the database team knows'
  runlog problems resolve 3f2a
  runlog problems reopen 3f2a
  runlog problems --json | jq -r .title"
)]
pub(crate) struct ProblemsArgs {
    #[command(subcommand)]
    command: Option<ProblemsCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum ProblemsCommand {
    /// Show a problem, the affected tasks, and its latest runs
    Show(ProblemArgs),
    /// Send no more alerts about a problem, for a while or until it is reopened
    Mute {
        /// End of the mute: a time, or a duration from now such as 3d or 12h [default: none]
        #[arg(long, value_name = "TIME")]
        until: Option<Moment>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Mark a problem as resolved: it comes back if a run that ends later fails with it
    Resolve(ChangeArgs),
    /// Open a problem that is muted or resolved
    Reopen(ChangeArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only problems in this state: open, muted, resolved, or all
    #[arg(long, default_value = "open", value_name = "STATE", value_parser = wanted_state)]
    state: WantedState,
    /// Only problems of this workspace: its ID or name
    #[arg(long, value_name = "WORKSPACE", add = ArgValueCompleter::new(candidates::workspaces))]
    workspace: Option<WorkspaceRef>,
    /// Only problems that affect this task: its ID or name, such as sales/nightly-orders
    #[arg(long, value_name = "TASK", add = ArgValueCompleter::new(candidates::tasks))]
    task: Option<TaskRef>,
    /// Only problems with this text in their title or in the headline of one of their runs, case-insensitive
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Only problems seen since then: a time, or a duration ago, such as 7d
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<Moment>,
    /// The order: last-seen, first-seen or runs
    #[arg(long, default_value = "last-seen", value_name = "ORDER", value_parser = ["last-seen", "first-seen", "runs"])]
    order: String,
    /// Maximum number of problems
    #[arg(short = 'n', long, default_value_t = 50, value_name = "COUNT")]
    limit: u64,
    /// Print one JSON object per line, as returned by the API
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
struct ProblemArgs {
    /// ID of the problem, or the first digits of it
    #[arg(add = ArgValueCompleter::new(candidates::problems))]
    id: String,
    /// Print the answer of the API as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
struct ChangeArgs {
    /// Reason, shown with the problem; up to 500 characters
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    problem: ProblemArgs,
}

/// A state to list; none for every state.
#[derive(Debug, Clone, Copy)]
struct WantedState(Option<ProblemState>);

fn wanted_state(text: &str) -> Result<WantedState, String> {
    match text {
        "all" => Ok(WantedState(None)),
        _ => text
            .parse()
            .map(|state| WantedState(Some(state)))
            .map_err(|_| "not one of open, muted, resolved, all".to_owned()),
    }
}

/// Runs one command, and prints its result.
pub(crate) async fn run(args: ProblemsArgs) -> Outcome {
    match args.command {
        None => list(args.list).await,
        Some(ProblemsCommand::Show(args)) => show(args).await,
        Some(ProblemsCommand::Mute { until, change }) => {
            let until = until.map(|until| until.after(SystemClock.now()));
            set_state(change, ProblemState::Muted, until).await
        }
        Some(ProblemsCommand::Resolve(change)) => set_state(change, ProblemState::Resolved, None).await,
        Some(ProblemsCommand::Reopen(change)) => set_state(change, ProblemState::Open, None).await,
    }
}

async fn list(args: ListArgs) -> Outcome {
    let client = args.connect.client()?;
    let query = args.query(&client).await?;
    if args.task.is_none() {
        note_unreadable_workspaces(&client, &query).await;
    }
    let (mut problems, mut total): (Vec<ProblemBody>, u64) = (Vec::new(), 0);
    while (problems.len() as u64) < args.limit {
        let (limit, offset) = ((args.limit - problems.len() as u64).min(LIST_PAGE_MAX), problems.len() as u64);
        let page = [("limit", limit.to_string()), ("offset", offset.to_string())];
        let page = client.problems(&[&query[..], &page].concat()).await?;
        total = page.total;
        let came = page.items.len() as u64;
        problems.extend(page.items);
        if came < limit {
            break;
        }
    }
    if args.json {
        return Ok(problems.iter().try_for_each(result_json)?);
    }
    if !problems.is_empty() {
        let rows = problems.iter().map(row).collect();
        let head = ["id", "state", "runs", "tasks", "last seen", "workspace", "problem"];
        result_line(table(&head, &[2, 3], rows))?;
    }
    match (problems.len() as u64, args.state.0) {
        (0, Some(state)) => note(format!("no {state} problems found; --state all shows the others")),
        (0, None) => note("no problems found"),
        (shown, _) if total > shown => {
            note(format!("{} of {} problems; --limit shows more", count(shown), count(total)));
        }
        _ => {}
    }
    Ok(())
}

impl ListArgs {
    async fn query(&self, client: &Client) -> Outcome<Vec<(&'static str, String)>> {
        let order = match self.order.as_str() {
            "first-seen" => "firstSeen",
            "runs" => "runs",
            _ => "lastSeen",
        };
        let mut query = vec![("order", order.to_owned())];
        let since = self.since.as_ref().map(|since| since.before(SystemClock.now()));
        let workspace = match &self.workspace {
            Some(workspace) => Some(workspace.resolve_abbreviated(client).await?.to_string()),
            None => None,
        };
        let task = match &self.task {
            Some(task) => Some(task.resolve_abbreviated(client).await?.to_string()),
            None => None,
        };
        let wanted = [
            ("state", self.state.0.map(|state| state.to_string())),
            ("workspaceId", workspace),
            ("taskId", task),
            ("q", self.text.clone()),
            ("since", since.map(|since| since.as_millis().to_string())),
        ];
        query.extend(wanted.into_iter().filter_map(|(name, value)| Some((name, value?))));
        Ok(query)
    }
}

fn row(problem: &ProblemBody) -> Vec<String> {
    // On a terminal, each problem is shown on one line, with control characters escaped.
    let shown = |text: &str| Stream::Result.shown_on_line(text).into_owned();
    vec![
        shown(&problem.id),
        state_of(problem),
        count(problem.runs),
        count(problem.tasks),
        shown_seconds(problem.last_seen),
        shown(&problem.workspace_name),
        shown(&shortened(problem.shown_title(), TITLE_CHARS)),
    ]
}

/// Returns the state, and whether the problem has recurred.
fn state_of(problem: &ProblemBody) -> String {
    let state = problem.state;
    match state {
        ProblemState::Open if problem.came_back_at.is_some() => styled(OPEN, "open, came back"),
        ProblemState::Open => styled(OPEN, state),
        ProblemState::Muted => styled(MUTED, state),
        ProblemState::Resolved => styled(GOOD, state),
    }
}

async fn show(args: ProblemArgs) -> Outcome {
    let client = args.connect.client()?;
    let id = whole_id(&client, &args.id).await?;
    let detail = client.problem(&id).await?;
    if args.json {
        return Ok(result_json(&detail)?);
    }
    let ProblemDetailBody { problem, tasks, runs } = &detail;
    let shown = |text: &str| Stream::Result.shown_on_line(text).into_owned();
    result_line(styled(STRONG, shown(problem.shown_title())))?;
    if problem.headline.is_some() {
        result_line(format!("grouped as: {}", shown(&problem.title)))?;
    }
    for line in lines_of(problem) {
        result_line(line)?;
    }
    let rows = tasks.iter().map(|task| vec![shown(&task.task_name), task.task_id.to_string(), count(task.runs)]);
    result_line("")?;
    result_line(table(&["task", "id", "runs"], &[2], rows.collect()))?;
    let rows = runs.iter().map(|run| {
        vec![
            run.run_id.to_string(),
            status_word(run.status).to_owned(),
            shown_seconds(run.ended_at),
            shown(&run.task_name),
        ]
    });
    result_line("")?;
    result_line(table(&["latest runs", "status", "ended", "task"], &[], rows.collect()))?;
    Ok(())
}

/// Returns the details of a problem, shown below its title.
fn lines_of(problem: &ProblemBody) -> Vec<String> {
    let shown = |text: &str| Stream::Result.shown_on_line(text).into_owned();
    let mut lines = vec![format!("{} {}, workspace {}", problem.id, state_of(problem), shown(&problem.workspace_name))];
    if let (Some(at), Some(by)) = (problem.state_set_at, &problem.state_set_by) {
        let until = problem.muted_until.map(|until| format!(", until {}", shown_seconds(until))).unwrap_or_default();
        lines.push(format!("{} by {} at {}{until}", problem.state, shown(by), shown_seconds(at)));
    }
    if let Some(note) = &problem.note {
        lines.push(format!("note: {}", shown(note)));
    }
    if let Some(at) = problem.came_back_at {
        lines.push(styled(BAD, format!("came back at {}", shown_seconds(at))));
    }
    let (runs, tasks) = (counted(problem.runs, "run"), counted(problem.tasks, "task"));
    let (first, last) = (shown_seconds(problem.first_seen), shown_seconds(problem.last_seen));
    lines.push(format!("{runs} of {tasks}, first seen {first}, last seen {last}"));
    lines
}

async fn set_state(args: ChangeArgs, state: ProblemState, until: Option<runlog_model::Timestamp>) -> Outcome {
    let ChangeArgs { note, problem: args } = args;
    let client = args.connect.client()?;
    let id = whole_id(&client, &args.id).await?;
    let problem = client.set_problem_state(&id, &NewProblemState { state, until, note }).await?;
    if args.json {
        return Ok(result_json(&problem)?);
    }
    let until = problem.muted_until.map(|until| format!(" until {}", shown_seconds(until))).unwrap_or_default();
    let title = shortened(problem.shown_title(), TITLE_CHARS);
    Ok(result_line(format!("{} is {}{until}: {}", problem.id, problem.state, Stream::Result.shown_on_line(&title)))?)
}

/// The ID of the problem that begins with these digits.
async fn whole_id(client: &Client, digits: &str) -> Outcome<String> {
    let digits = digits.to_ascii_lowercase();
    let is_hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits.is_empty() || digits.len() > 16 || !is_hexadecimal {
        let message = format!("{digits:?} is not the ID of a problem, nor its beginning (up to 16 hexadecimal digits)");
        return Err(Failure::new(Exit::Usage, message));
    }
    if digits.len() == 16 {
        return Ok(digits);
    }
    let found = client.problems(&[("id", digits.clone()), ("limit", "3".to_owned())]).await?;
    match found.items.as_slice() {
        [] => Err(Failure::new(Exit::NotFound, format!("there is no problem whose ID begins with {digits}"))),
        [one] => Ok(one.id.clone()),
        several => {
            let ids: Vec<&str> = several.iter().map(|problem| problem.id.as_str()).collect();
            let message = format!("several problems begin with {digits}: {}; give more digits", ids.join(", "));
            Err(Failure::new(Exit::Usage, message))
        }
    }
}
