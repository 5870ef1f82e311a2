//! `runlog diff`: compares two runs.

use clap_complete::engine::ArgValueCompleter;

use super::report::{FormArgs, document_of_diff, tell};
use crate::arguments::candidates;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::names::RunRef;
use crate::exit::Outcome;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog diff LAST_GOOD_RUN FAILED_RUN
  runlog diff RUN OTHER --html diff.html
  runlog diff RUN OTHER --json | jq '.patterns[] | select(.change.kind == \"new\") | .template'")]
pub(crate) struct DiffArgs {
    /// ID of the run to compare against, or the beginning of it
    #[arg(add = ArgValueCompleter::new(candidates::runs))]
    before: RunRef,
    /// ID of the run to examine, or the beginning of it; patterns that only this run has are new
    #[arg(add = ArgValueCompleter::new(candidates::runs))]
    after: RunRef,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Asks the service for the comparison, and shows it.
pub(crate) async fn run(args: DiffArgs) -> Outcome {
    let client = args.connect.client()?;
    let (before, after) = (args.before.resolve(&client).await?, args.after.resolve(&client).await?);
    let diff = client.run_diff(before, after).await?;
    let page = args.connect.page(&format!("runs/{before}/compare/{after}"));
    tell(&args.form, diff, page, document_of_diff)
}
