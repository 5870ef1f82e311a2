//! `runlog search`: the newest records that contain a text.

use std::collections::BTreeSet;
use std::io::Write;

use anstyle::Style;
use clap_complete::engine::ArgValueCompleter;
use runlog_client::Client;
use runlog_model::place::Right;
use runlog_model::wire::search::FoundRecord;
use runlog_model::{Severity, TimeRange};

use crate::arguments::candidates;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::names::{RunRef, TaskRef, WorkspaceRef};
use crate::arguments::period::PeriodArgs;
use crate::exit::Outcome;
use crate::render::preferences::shown_time;
use crate::render::screen::Stream;
use crate::render::terminal::{self, BAD, FAINT, WARNING, note};

/// Maximum number of records
const PAGE_MAX: u64 = 200;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog search timeout                             the newest 50 records that contain it
  runlog search '\"connection refused\" -retrying'    the phrase, without the other word
  runlog search --severity error,fatal --task sales/nightly-orders --last 7d -n 500
  runlog search orders --json | jq .logMessage")]
pub(crate) struct SearchArgs {
    /// Text to find in messages, case-insensitive
    #[arg(default_value = "", allow_hyphen_values = true)]
    text: String,
    /// Only records of this workspace: its ID or name
    #[arg(long, value_name = "WORKSPACE", group = "place", add = ArgValueCompleter::new(candidates::workspaces))]
    workspace: Option<WorkspaceRef>,
    /// Only records of this task: its ID or name, such as sales/nightly-orders
    #[arg(long, value_name = "TASK", group = "place", add = ArgValueCompleter::new(candidates::tasks))]
    task: Option<TaskRef>,
    /// Only records of this run: its ID, or the beginning of it
    #[arg(long, value_name = "RUN_ID", group = "place", add = ArgValueCompleter::new(candidates::runs))]
    run: Option<RunRef>,
    /// Severities, comma-separated
    #[arg(long, value_name = "SEVERITY", value_delimiter = ',')]
    severity: Vec<String>,
    #[command(flatten)]
    period: PeriodArgs,
    /// Maximum number of records
    #[arg(short = 'n', long, default_value_t = 50, value_name = "COUNT")]
    limit: u64,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Shows what is found as it is found, the newest first.
pub(crate) async fn run(args: SearchArgs) -> Outcome {
    let range = args.period.range()?;
    let client = args.connect.client()?;
    let mut query = args.query(&client, range).await?;
    let (mut left, mut scanned, mut unreadable) = (args.limit, 0, BTreeSet::new());
    while left > 0 {
        query.retain(|(name, _)| *name != "limit");
        query.push(("limit", left.min(PAGE_MAX).to_string()));
        let answer = client.search(&query).await?;
        scanned += answer.scanned.records;
        left = left.saturating_sub(answer.items.len() as u64);
        show(&answer.items, args.json)?;
        unreadable.extend(answer.unreadable.into_iter().flat_map(|it| it.runs));
        let Some(cursor) = answer.cursor else { break };
        query.retain(|(name, _)| *name != "cursor");
        query.push(("cursor", cursor));
    }
    let found = terminal::count(args.limit - left);
    let of = terminal::counted(scanned, "record");
    match left == 0 {
        true => note(format!("{found} found in {of}, newest first; there may be more, which a higher --limit shows")),
        false => note(format!("{found} found in {of}, newest first")),
    }
    if left == args.limit && args.text.matches('"').count() % 2 == 1 {
        note("the quotation mark is not closed: the text was searched as it stands");
    }
    if scanned == 0 {
        note_missing_rights(&client).await;
    }
    if let Some(run) = unreadable.first() {
        let others = match unreadable.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        note(format!(
            "some records of run {run}{others} were not searched because they are damaged or missing; `runlog archive verify` on \
             the server names the objects"
        ));
    }
    Ok(())
}

/// Says so if the caller may not read the logs of any workspace: without it, a result without records would look as if
/// the archive had none.
pub(crate) async fn note_missing_rights(client: &Client) {
    // A service that does not tell the rights is not asked again.
    let Ok(caller) = client.session().await else { return };
    let reads = |rights: &[Right]| Right::READ_LOGS.iter().all(|right| rights.contains(right));
    if caller.administrator || caller.workspaces.iter().any(|workspace| reads(&workspace.rights)) {
        return;
    }
    let name = Stream::Note.shown_on_line(&caller.name).into_owned();
    note(format!(
        "{name} may not read the logs of any workspace, so nothing can be found; ask an administrator for the rights Author, \
         Viewer and Executor (`runlog admin rights grant`)"
    ));
}

impl SearchArgs {
    async fn query(&self, client: &Client, range: TimeRange) -> Outcome<Vec<(&'static str, String)>> {
        let mut query = vec![("q", self.text.clone())];
        if let Some(workspace) = &self.workspace {
            query.push(("workspaceId", workspace.resolve(client).await?.to_string()));
        }
        if let Some(task) = &self.task {
            query.push(("taskId", task.resolve(client).await?.to_string()));
        }
        if let Some(run) = &self.run {
            query.push(("runId", run.resolve(client).await?.to_string()));
        }
        query.extend(range.start.map(|time| ("from", time.as_millis().to_string())));
        query.extend(range.end.map(|time| ("to", time.as_millis().to_string())));
        if !self.severity.is_empty() {
            query.push(("severity", self.severity.join(",")));
        }
        Ok(query)
    }
}

fn show(items: &[FoundRecord], as_json: bool) -> Outcome {
    let mut out = Stream::Result.screen();
    for item in items {
        if as_json {
            serde_json::to_writer(&mut out, item).map_err(std::io::Error::from)?;
            out.write_all(b"\n")?;
            continue;
        }
        let style = match Severity::of(item.severity.as_deref()) {
            Severity::Error | Severity::Fatal => BAD,
            Severity::Warn => WARNING,
            Severity::Trace | Severity::Debug => FAINT,
            _ => Style::new(),
        };
        let (time, style) = (shown_time(item.time()), Stream::Result.style(style));
        let severity = Stream::Result.shown_on_line(item.severity.as_deref().unwrap_or("-"));
        let task = Stream::Result.shown_on_line(&item.task_name);
        let message = Stream::Result.shown(item.log_message.as_deref().unwrap_or_default());
        writeln!(out, "{style}{time} {severity:5} {task} {} {message}{style:#}", item.run_id)?;
    }
    Ok(out.finish()?)
}
