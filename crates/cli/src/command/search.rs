//! `runlog search`: the newest records that contain a text.

use std::collections::BTreeSet;
use std::io::Write;

use anstyle::Style;
use runlog_model::wire::search::FoundRecord;
use runlog_model::{RunId, Severity, TaskId, Timestamp, WorkspaceId};

use crate::arguments::connect::ConnectArgs;
use crate::exit::Outcome;
use crate::render::screen::Stream;
use crate::render::terminal::{self, BAD, FAINT, note};

/// Maximum number of records
const PAGE_MAX: u64 = 200;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog search timeout                             the newest 50 records that contain it
  runlog search '\"connection refused\" -retrying'    the phrase, without the other word
  runlog search --severity error,fatal --task TASK_ID --from 2026-11-24T00:00:00Z -n 500
  runlog search orders --json | jq .logMessage")]
pub(crate) struct SearchArgs {
    /// Text to find in messages, case-insensitive
    #[arg(default_value = "", allow_hyphen_values = true)]
    text: String,
    /// Only records of this workspace
    #[arg(long, value_name = "ID", group = "place")]
    workspace: Option<WorkspaceId>,
    /// Only records of this task
    #[arg(long, value_name = "ID", group = "place")]
    task: Option<TaskId>,
    /// Only records of this run
    #[arg(long, value_name = "ID", group = "place")]
    run: Option<RunId>,
    /// Severities, comma-separated
    #[arg(long, value_name = "SEVERITY", value_delimiter = ',')]
    severity: Vec<String>,
    /// Earliest time, inclusive
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Latest time, inclusive
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
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
    let client = args.connect.client()?;
    let mut query = args.query();
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
    note(format!("{found} found in {}, newest first", terminal::counted(scanned, "record")));
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

impl SearchArgs {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("q", self.text.clone())];
        let places = [
            ("workspaceId", self.workspace.map(|id| id.to_string())),
            ("taskId", self.task.map(|id| id.to_string())),
            ("runId", self.run.map(|id| id.to_string())),
            ("from", self.from.map(|time| time.as_millis().to_string())),
            ("to", self.to.map(|time| time.as_millis().to_string())),
        ];
        query.extend(places.into_iter().filter_map(|(name, value)| Some((name, value?))));
        if !self.severity.is_empty() {
            query.push(("severity", self.severity.join(",")));
        }
        query
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
            Severity::Trace | Severity::Debug => FAINT,
            _ => Style::new(),
        };
        let (time, style) = (item.time(), Stream::Result.style(style));
        let severity = Stream::Result.shown_on_line(item.severity.as_deref().unwrap_or("-"));
        let task = Stream::Result.shown_on_line(&item.task_name);
        let message = Stream::Result.shown(item.log_message.as_deref().unwrap_or_default());
        writeln!(out, "{style}{time} {severity:5} {task} {} {message}{style:#}", item.run_id)?;
    }
    Ok(out.finish()?)
}
