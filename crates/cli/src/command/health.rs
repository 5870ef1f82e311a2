//! `runlog health`: whether a service is ready, for probes that run a command.

use clap::Args;
use runlog_client::Readiness;

use crate::arguments::connect::{TlsArgs, service_url};
use crate::exit::{Exit, Failure, Outcome};
use crate::render::terminal::result_line;

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 if the service can use its archive, 5 if it cannot or does not respond.")]
pub(crate) struct HealthArgs {
    /// Base URL of the service
    #[arg(long, env = "RUNLOG_API_URL", default_value = "http://127.0.0.1:8480", value_name = "URL", value_parser = service_url)]
    api_url: url::Url,
    #[command(flatten)]
    tls: TlsArgs,
}

pub(crate) async fn run(args: HealthArgs) -> Outcome {
    let url = &args.api_url;
    match runlog_client::readiness(url, &args.tls.settings()?).await {
        Ok(Readiness { status: 200, .. }) => Ok(result_line("ready")?),
        Ok(Readiness { status, problem }) => {
            let problem = problem.unwrap_or_else(|| "see its log for the cause".to_owned());
            let message = format!("the readiness probe of {url} returned {status}; {problem}");
            Err(Failure::new(Exit::Unavailable, message))
        }
        Err(why) => Err(Failure::new(Exit::Unavailable, format!("{url} does not respond: {why}"))),
    }
}
