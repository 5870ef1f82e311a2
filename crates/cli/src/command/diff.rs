//! `runlog diff`: compares two runs.

use clap_complete::engine::ArgValueCompleter;
use runlog_analysis::report::{LogState, RunReport};
use runlog_client::Client;
use runlog_model::RunId;

use super::report::{FormArgs, document_of_diff, print_report};
use crate::arguments::candidates;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::names::RunRef;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::terminal::note;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog diff FAILED_RUN                       with the last successful run of its task before it
  runlog diff LAST_GOOD_RUN FAILED_RUN
  runlog diff RUN OTHER --html diff.html
  runlog diff RUN OTHER --json | jq '.patterns[] | select(.change.kind == \"new\") | .template'")]
pub(crate) struct DiffArgs {
    /// ID of the run to compare against, or its beginning; if it is the only argument, the run to examine
    #[arg(value_name = "BEFORE", add = ArgValueCompleter::new(candidates::runs))]
    before: RunRef,
    /// ID of the run to examine, or its beginning; patterns that only this run has are new. Without it, the run BEFORE is
    /// compared with the last successful run of its task before it
    #[arg(value_name = "AFTER", add = ArgValueCompleter::new(candidates::runs))]
    after: Option<RunRef>,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Asks the service for the comparison, and shows it.
pub(crate) async fn run(args: DiffArgs) -> Outcome {
    let client = args.connect.client()?;
    let only = args.before.resolve(&client).await?;
    let (before, after) = match &args.after {
        Some(after) => (only, after.resolve(&client).await?),
        None => (last_successful_before(&client, only).await?, only),
    };
    let diff = client.run_diff(before, after).await?;
    let page = args.connect.page(&format!("runs/{before}/compare/{after}"));
    print_report(&args.form, diff, page, document_of_diff)
}

/// The run that a report compares a run with, if it was successful.
async fn last_successful_before(client: &Client, run: RunId) -> Outcome<RunId> {
    let report: RunReport = client.run_report(run).await?;
    match report.against.filter(|against| against.is_good) {
        Some(against) => {
            note(format!("compared with {}, the last successful run", against.run.run_id));
            Ok(against.run.run_id)
        }
        None => {
            let message = match report.log.state {
                LogState::Whole | LogState::Provisional | LogState::Outdated => {
                    "its task has no successful run with a log before it"
                }
                _ => "its log has no summary yet, or the run has no log",
            };
            let advice = "give two runs: runlog diff BEFORE AFTER";
            Err(Failure::new(Exit::NotFound, format!("run {run} cannot be compared alone: {message}; {advice}")))
        }
    }
}
