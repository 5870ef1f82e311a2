//! `runlog health`: whether a service is ready, for probes that run a command.

use clap::Args;
use runlog_client::Readiness;

use crate::arguments::connect::TlsArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::terminal::result_line;

#[derive(Debug, Args)]
#[command(after_help = "Ends with 0 when the service can use its archive, with 5 when it cannot or does not answer.")]
pub(crate) struct HealthArgs {
    /// Address of the service
    #[arg(long, env = "RUNLOG_API_URL", default_value = "http://127.0.0.1:8480", value_name = "URL")]
    api_url: url::Url,
    #[command(flatten)]
    tls: TlsArgs,
}

pub(crate) async fn run(args: HealthArgs) -> Outcome {
    let url = &args.api_url;
    match runlog_client::readiness(url, &args.tls.settings()?).await {
        Ok(Readiness { status: 200, .. }) => Ok(result_line("ready")?),
        Ok(Readiness { status, problem }) => {
            let problem = problem.unwrap_or_else(|| "its log says why".to_owned());
            let message = format!("{url} answers {status} when asked if it is ready; {problem}");
            Err(Failure::new(Exit::Unavailable, message))
        }
        Err(why) => Err(Failure::new(Exit::Unavailable, format!("{url} does not answer: {why}"))),
    }
}
