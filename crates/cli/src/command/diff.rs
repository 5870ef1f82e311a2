//! `runlog diff`: a run against another one.

use runlog_model::RunId;

use super::report::{FormArgs, document_of_diff, tell};
use crate::arguments::connect::ConnectArgs;
use crate::exit::Outcome;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog diff LAST_GOOD_RUN FAILED_RUN        what is new in the second, gone since the first, more or less often
  runlog diff RUN OTHER --html diff.html
  runlog diff RUN OTHER --json | jq '.patterns[] | select(.change.kind == \"new\") | .template'")]
pub(crate) struct DiffArgs {
    /// The run that is compared with
    before: RunId,
    /// The run that is compared: what only this one has is new
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
    tell(&args.form, diff, document_of_diff)
}
