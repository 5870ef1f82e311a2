//! `runlog diff`: compares two runs.

use runlog_model::RunId;

use super::report::{FormArgs, document_of_diff, tell};
use crate::arguments::connect::ConnectArgs;
use crate::exit::Outcome;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog diff LAST_GOOD_RUN FAILED_RUN
  runlog diff RUN OTHER --html diff.html
  runlog diff RUN OTHER --json | jq '.patterns[] | select(.change.kind == \"new\") | .template'")]
pub(crate) struct DiffArgs {
    /// ID of the run to compare against
    before: RunId,
    /// ID of the run to examine; patterns that only this run has are new
    after: RunId,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Asks the service for the comparison, and shows it.
pub(crate) async fn run(args: DiffArgs) -> Outcome {
    let client = args.connect.client()?;
    let diff = client.run_diff(args.before, args.after).await?;
    let page = args.connect.page(&format!("runs/{}/compare/{}", args.before, args.after));
    tell(&args.form, diff, page, document_of_diff)
}
