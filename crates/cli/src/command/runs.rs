//! `runlog runs`: the runs of a task.

use runlog_client::{Client, Execution, ExecutionFilter, ExecutionScope, ListIds};
use runlog_model::{RunStatus, TaskId, Timestamp};

use crate::arguments::connect::ConnectArgs;
use crate::arguments::number::between;
use crate::exit::Outcome;
use crate::render::screen::Stream;
use crate::render::terminal::{self, BAD, GOOD, note, result_json, result_line, styled, table};

/// Maximum number of runs per request. Source: `limit` of the list of executions.
const LIST_PAGE_MAX: u64 = 100;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog runs 57f64991e4b0b689a64feed2
  runlog runs 57f64991e4b0b689a64feed2 --status execution_failed --last-days 7
  runlog runs 57f64991e4b0b689a64feed2 --json | jq -r .executionId | xargs -n1 runlog fetch")]
pub(crate) struct RunsArgs {
    /// ID of the task
    task_id: TaskId,
    /// Runs that were active at or after this time, such as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Runs that were active at or before this time
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// Runs of the last DAYS days, 1 to 60
    #[arg(long, value_name = "DAYS", conflicts_with_all = ["from", "to"], value_parser = between(1_u32, 60))]
    last_days: Option<u32>,
    /// Only runs with this status, such as execution_failed
    #[arg(long)]
    status: Option<RunStatus>,
    /// Maximum number of runs to list
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    limit: u64,
    /// Print one JSON object per line, as returned by the API
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Lists the runs, newest first.
pub(crate) async fn run(args: RunsArgs) -> Outcome {
    let client = args.connect.client()?;
    let (runs, total) = list(&client, &args).await?;
    if args.json {
        runs.iter().try_for_each(|run| result_json(&run.raw))?;
    } else if !runs.is_empty() {
        let rows = runs.iter().map(row).collect();
        result_line(table(&["run", "status", "started", "duration", "by", "error"], &[3], rows))?;
    }
    if runs.is_empty() {
        note("no runs found; without --from or --last-days, the service searches its default period, at most 60 days");
    } else if total > runs.len() as u64 {
        note(format!("{} of {} runs; --limit shows more", terminal::count(runs.len() as u64), terminal::count(total)));
    }
    Ok(())
}

async fn list(client: &Client, args: &RunsArgs) -> Outcome<(Vec<Execution>, u64)> {
    let (mut runs, mut ids) = (Vec::new(), ListIds::default());
    loop {
        let limit = (args.limit - runs.len() as u64).min(LIST_PAGE_MAX);
        let filter = ExecutionFilter {
            from: args.from,
            to: args.to,
            last_days: args.last_days,
            status: args.status,
            limit,
            offset: runs.len() as u64,
            ..ExecutionFilter::default()
        };
        let page = client.executions(ExecutionScope::Task(args.task_id), &filter).await?;
        let new = ids.take("runs", runs.len() as u64, limit.max(1), page.items.iter().map(Execution::id))?;
        let is_last = new == 0 || limit == 0;
        runs.extend(page.items);
        if is_last || runs.len() as u64 >= page.total.min(args.limit) {
            return Ok((runs, page.total));
        }
    }
}

fn row(run: &Execution) -> Vec<String> {
    // On a terminal each run has one line, and steers nothing, whatever the service says of it.
    let shown = |text: &str| Stream::Result.shown_on_line(text).into_owned();
    let status = shown(&run.status_text);
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
        started.map(|time| time.to_string()).unwrap_or_default(),
        duration.unwrap_or_default(),
        shown(run.text("userId").unwrap_or_default()),
        shown(&terminal::shortened(run.text("errorMessage").unwrap_or_default(), 60)),
    ]
}
