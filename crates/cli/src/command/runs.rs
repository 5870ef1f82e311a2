//! `runlog runs`: the runs of a task, or of all.

use std::collections::BTreeMap;

use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};
use runlog_analysis::report::is_bad;
use runlog_client::{Client, Execution, ExecutionFilter, ExecutionScope, ListIds};
use runlog_model::{RunStatus, TimeRange};

use crate::arguments::candidates;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::names::{TaskRef, WorkspaceRef};
use crate::arguments::number::between;
use crate::arguments::period::PeriodArgs;
use crate::arguments::status::{StatusArg, status_word};
use crate::command::missing_rights::note_missing_rights;
use crate::exit::Outcome;
use crate::render::preferences::shown_seconds;
use crate::render::screen::Stream;
use crate::render::terminal::{self, BAD, GOOD, note, result_json, result_line, styled, table};

/// Maximum number of runs per request. Source: `limit` of the list of executions.
const LIST_PAGE_MAX: u64 = 100;

/// Maximum number of failed runs whose reason is requested.
const HEADLINES_MAX: u64 = 200;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog runs --failed --last 1d                the failed runs of the last day, of all tasks
  runlog runs nightly-orders                    the runs of a task
  runlog runs sales/nightly-orders --last 7d --status failed,rejected
  runlog runs --workspace sales --from yesterday --tz Europe/Berlin
  runlog runs --failed --json | jq -r .executionId | xargs -n1 runlog fetch")]
pub(crate) struct RunsArgs {
    /// Only runs of this task: its ID or name, or sales/nightly-orders where several have that name [default: all tasks]
    #[arg(conflicts_with_all = ["named_task", "workspace"], add = ArgValueCompleter::new(candidates::tasks))]
    task: Option<TaskRef>,
    /// The same as the argument TASK
    #[arg(long = "task", value_name = "TASK", conflicts_with = "workspace", add = ArgValueCompleter::new(candidates::tasks))]
    named_task: Option<TaskRef>,
    /// Only runs of this workspace: its ID or name
    #[arg(long, value_name = "WORKSPACE", add = ArgValueCompleter::new(candidates::workspaces))]
    workspace: Option<WorkspaceRef>,
    #[command(flatten)]
    period: PeriodArgs,
    /// Runs of the last DAYS days, 1 to 60
    #[arg(long, value_name = "DAYS", hide = true, conflicts_with_all = ["from", "to", "last"], value_parser = between(1_u32, 60))]
    last_days: Option<u32>,
    /// Only runs with one of these statuses, comma-separated, such as failed, successful or executing
    #[arg(long, value_name = "STATUS", value_delimiter = ',', add = ArgValueCandidates::new(candidates::statuses))]
    status: Vec<StatusArg>,
    /// Only runs that failed, could not be deployed, or were ended by a timeout or a shutdown
    #[arg(long, conflicts_with = "status")]
    failed: bool,
    /// Maximum number of runs to list
    #[arg(short = 'n', long, default_value_t = 100, value_name = "COUNT")]
    limit: u64,
    /// Print one JSON object per line, as returned by the API
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Lists the runs, newest first.
pub(crate) async fn run(args: RunsArgs) -> Outcome {
    let range = args.period.range()?;
    let client = args.connect.client()?;
    let scope = args.scope(&client).await?;
    let (runs, total) = list_statuses(&client, &args, scope, range).await?;
    if args.json {
        runs.iter().try_for_each(|run| result_json(&run.raw))?;
    } else if !runs.is_empty() {
        show(&client, scope, &runs).await?;
    }
    if runs.is_empty() {
        note("no runs found; without --from or --last, the service searches its default period, at most 60 days");
        note_missing_rights(&client).await;
    } else if total > runs.len() as u64 {
        note(format!("{} of {} runs; --limit shows more", terminal::count(runs.len() as u64), terminal::count(total)));
    }
    Ok(())
}

impl RunsArgs {
    async fn scope(&self, client: &Client) -> Outcome<ExecutionScope> {
        match (self.task.as_ref().or(self.named_task.as_ref()), &self.workspace) {
            (Some(task), _) => Ok(ExecutionScope::Task(task.resolve_abbreviated(client).await?)),
            (None, Some(workspace)) => Ok(ExecutionScope::Workspace(workspace.resolve_abbreviated(client).await?)),
            (None, None) => Ok(ExecutionScope::All),
        }
    }

    /// One list per status, because the API filters by one; none for every status.
    fn statuses(&self) -> Vec<Option<RunStatus>> {
        if self.failed {
            return RunStatus::ALL.iter().copied().filter(|status| is_bad(*status)).map(Some).collect();
        }
        let mut wanted: Vec<_> = Vec::new();
        for status in self.status.iter().map(|status| Some(status.0)) {
            // Each is a list of its own, and its runs would be listed twice.
            if !wanted.contains(&status) {
                wanted.push(status);
            }
        }
        if wanted.is_empty() { vec![None] } else { wanted }
    }
}

/// The runs of all wanted statuses, newest first, and how many there are without the limit.
async fn list_statuses(
    client: &Client,
    args: &RunsArgs,
    scope: ExecutionScope,
    range: TimeRange,
) -> Outcome<(Vec<Execution>, u64)> {
    let (mut runs, mut total) = (Vec::new(), 0);
    for status in args.statuses() {
        let (found, count) = list(client, args, scope, range, status).await?;
        runs.extend(found);
        total += count;
    }
    runs.sort_by_key(|run: &Execution| std::cmp::Reverse(run.triggered_at.or(run.started_at)));
    runs.truncate(usize::try_from(args.limit).unwrap_or(usize::MAX));
    Ok((runs, total))
}

async fn list(
    client: &Client,
    args: &RunsArgs,
    scope: ExecutionScope,
    range: TimeRange,
    status: Option<RunStatus>,
) -> Outcome<(Vec<Execution>, u64)> {
    let (mut runs, mut ids) = (Vec::new(), ListIds::default());
    loop {
        let limit = (args.limit - runs.len() as u64).min(LIST_PAGE_MAX);
        let filter = ExecutionFilter {
            from: range.start,
            to: range.end,
            last_days: args.last_days,
            status,
            limit,
            offset: runs.len() as u64,
            ..ExecutionFilter::default()
        };
        let page = client.executions(scope, &filter).await?;
        let new = ids.take("runs", runs.len() as u64, limit.max(1), page.items.iter().map(Execution::id))?;
        let is_last = new == 0 || limit == 0;
        runs.extend(page.items);
        // Without a total, the end of the list is a page that has nothing new.
        if is_last || runs.len() as u64 >= page.total.unwrap_or(u64::MAX).min(args.limit) {
            let total = page.total.unwrap_or(runs.len() as u64);
            return Ok((runs, total));
        }
    }
}

async fn show(client: &Client, scope: ExecutionScope, runs: &[Execution]) -> Outcome {
    let headlines = headlines(client, scope, runs).await;
    let row = |run: &Execution| row(run, headlines.get(run.id()).map(String::as_str));
    if let ExecutionScope::Task(_) = scope {
        let rows = runs.iter().map(row).collect();
        result_line(table(&["run", "status", "started", "duration", "by", "error"], &[3], rows))?;
        return Ok(());
    }
    let names = task_names(client).await?;
    let with_task = |run: &Execution| {
        let id = run.text("taskId").unwrap_or_default();
        let name = names.get(id).map_or(id, String::as_str);
        let mut cells = row(run);
        cells.insert(2, Stream::Result.shown_on_line(name).into_owned());
        cells
    };
    let rows = runs.iter().map(with_task).collect();
    result_line(table(&["run", "status", "task", "started", "duration", "by", "error"], &[4], rows))?;
    Ok(())
}

/// Returns the reasons of failed runs, by ID; none for Talend Cloud, which does not provide them.
async fn headlines(client: &Client, scope: ExecutionScope, runs: &[Execution]) -> BTreeMap<String, String> {
    let failed = || runs.iter().filter(|run| run.status.is_some_and(is_bad));
    let Some(first) = failed().filter_map(|run| run.triggered_at.or(run.started_at)).min() else {
        return BTreeMap::new();
    };
    let mut query = vec![("startTime", first.to_string()), ("limit", HEADLINES_MAX.to_string())];
    query.extend(RunStatus::ALL.iter().filter(|it| is_bad(**it)).map(|it| ("status", it.as_str().to_owned())));
    match scope {
        ExecutionScope::Task(id) => query.push(("taskId", id.to_string())),
        ExecutionScope::Workspace(id) => query.push(("workspaceId", id.to_string())),
        _ => {}
    }
    let Ok(found) = client.runs(&query).await else { return BTreeMap::new() };
    let told = found.items.into_iter().map(|it| it.run);
    told.filter_map(|run| Some((run.run_id.to_string(), run.headline?))).collect()
}

/// The names of all tasks that the caller may view, by ID: `sales/nightly-orders`.
async fn task_names(client: &Client) -> Outcome<BTreeMap<String, String>> {
    let mut names = BTreeMap::new();
    for task in client.tasks(None, None).await? {
        names.insert(task.executable.to_string(), format!("{}/{}", task.workspace.name, task.name));
    }
    Ok(names)
}

/// The headline of the log is more informative than the message of the engine.
fn row(run: &Execution, headline: Option<&str>) -> Vec<String> {
    // On a terminal, each run is shown on one line, with control characters escaped.
    let shown = |text: &str| Stream::Result.shown_on_line(text).into_owned();
    let status = shown(&run.status.map_or_else(|| run.status_text.to_lowercase(), |it| status_word(it).to_owned()));
    let status = match (run.is_final(), run.status) {
        (true, Some(RunStatus::Successful)) => styled(GOOD, status),
        (true, _) => styled(BAD, status),
        (false, _) => status,
    };
    let started = run.started_at.or(run.triggered_at);
    let ended = started.zip(run.finished_at);
    let duration = ended.map(|(started, finished)| terminal::duration(finished.millis_since(started)));
    vec![
        shown(run.id()),
        status,
        started.map(shown_seconds).unwrap_or_default(),
        duration.unwrap_or_default(),
        shown(run.text("userId").unwrap_or_default()),
        shown(&terminal::shortened(headline.or(run.text("errorMessage")).unwrap_or_default(), 60)),
    ]
}
