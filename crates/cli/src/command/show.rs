//! `runlog show`: the records of a run around a line.

use std::io::Write;

use anstyle::Style;
use clap_complete::engine::ArgValueCompleter;

use super::search::records_between;
use super::tail::write_line;
use crate::arguments::candidates;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::names::LineReference;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::screen::Stream;
use crate::render::terminal::{STRONG, counted, write_json};

/// Maximum number of records before and after the line.
const CONTEXT_MAX: u64 = 1_000;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog show 6c0e5a34#1204                    a line found by `runlog search`, with ten records around it
  runlog show 6c0e5a34 --line 1204 -C 50
  runlog show 6c0e5a34#1204 -C 0 --json | jq -r '.record.logMessage'

Lines are records in order of time, counted from 1, as in the web UI. `runlog tail` prints the newest records of a run, \
`runlog fetch` downloads the whole log. --json prints the items of GET /runlog/v1/runs/{id}/records, whose index is the \
line number minus one.")]
pub(crate) struct ShowArgs {
    /// ID of the run, or the beginning of it, and the number of a line, such as 6c0e5a34#1204
    #[arg(value_name = "RUN_ID[#LINE]", add = ArgValueCompleter::new(candidates::runs))]
    line_reference: LineReference,
    /// Number of the line, if it is not part of the argument
    #[arg(long, value_name = "LINE", value_parser = clap::value_parser!(u64).range(1..))]
    line: Option<u64>,
    /// Number of records before and after the line
    #[arg(short = 'C', long, default_value_t = 10, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(..=CONTEXT_MAX))]
    context: u64,
    /// Number of records after the line, if it differs from --context
    #[arg(short = 'A', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(..=CONTEXT_MAX))]
    after_context: Option<u64>,
    /// Number of records before the line, if it differs from --context
    #[arg(short = 'B', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(..=CONTEXT_MAX))]
    before_context: Option<u64>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Shows the records, oldest first.
pub(crate) async fn run(args: ShowArgs) -> Outcome {
    let usage = |message: &str| Failure::new(Exit::Usage, message);
    let line = match (args.line_reference.line, args.line) {
        (Some(_), Some(_)) => return Err(usage("give the number of the line once: RUN_ID#LINE or --line LINE")),
        (Some(line), None) | (None, Some(line)) => line,
        (None, None) => {
            return Err(usage(
                "which line? RUN_ID#LINE or --line LINE; `runlog tail` prints the newest records, `runlog fetch` the whole log",
            ));
        }
    };
    let client = args.connect.client()?;
    let run = args.line_reference.run.resolve(&client).await?;
    let position = line - 1;
    let from = position.saturating_sub(args.before_context.unwrap_or(args.context));
    let to = position.saturating_add(args.after_context.unwrap_or(args.context));
    let records = records_between(&client, run, from, to).await?;
    if !records.iter().any(|it| it.index == position) {
        let total = client.find_records(run, &[("from", "0".to_owned()), ("count", "1".to_owned())]).await?.total;
        let message = format!("run {run} has no line {line}; its log has {}", counted(total, "line"));
        return Err(Failure::new(Exit::NotFound, message));
    }
    let width = to.saturating_add(1).to_string().len();
    let mut out = Stream::Result.screen();
    for it in &records {
        if args.json {
            write_json(&mut out, it)?;
            continue;
        }
        let (mark, style) = if it.index == position { ('>', STRONG) } else { (' ', Style::new()) };
        let style = Stream::Result.style(style);
        write!(out, "{style}{mark} {:>width$}{style:#} ", it.index.saturating_add(1))?;
        write_line(&mut out, &it.record)?;
    }
    Ok(out.finish()?)
}
