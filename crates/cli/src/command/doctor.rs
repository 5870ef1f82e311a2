//! `runlog doctor`: looks for what is wrong, and says what to do.

use std::sync::Arc;

use clap::Args;
use runlog_client::TlsSettings;
use runlog_store::{Finding, Health, Store};

use crate::command::archive::{OpenArgs, folder_without_archive};
use crate::connection::TlsArgs;
use crate::edge::{SystemClock, SystemRandom};
use crate::exit::{Exit, Failure, Outcome};
use crate::terminal::{BAD, FAINT, GOOD, STRONG, result_json, result_line, styled};

#[derive(Debug, Args)]
#[command(after_help = "Ends with 0 when all is good or doubtful, with 1 when something does not work.")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    archive: OpenArgs,
    /// Address of a service to look at as well
    #[arg(long, env = "RUNLOG_API_URL", value_name = "URL")]
    api_url: Option<url::Url>,
    #[command(flatten)]
    tls: TlsArgs,
    /// Prints JSON, one finding a line
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: DoctorArgs) -> Outcome {
    let settings = args.archive.settings();
    let place = settings.place();
    let mut findings =
        vec![Finding::new("version", Health::Good, format!("runlog {}", env!("CARGO_PKG_VERSION")), None)];
    if let Some(folder) = folder_without_archive(&settings) {
        let seen = format!("there is none in {}", folder.display());
        let advice = "name its folder with --data, or start `runlog serve`, which makes one";
        findings.push(Finding::new("archive", Health::Bad, seen, Some(advice)));
    } else {
        match Store::open(settings, Arc::new(SystemClock), Arc::new(SystemRandom)).await {
            Ok(store) => {
                findings.push(Finding::new("archive", Health::Good, place, None));
                findings.extend(store.diagnose().await);
                store.close().await;
            }
            Err(error) => {
                let failure = anyhow::Error::from(error);
                let advice = "the archive must be reachable and writable by this user, and not from a newer version";
                findings.push(Finding::new("archive", Health::Bad, format!("{place}: {failure:#}"), Some(advice)));
            }
        }
    }
    if let Some(url) = &args.api_url {
        findings.push(service(url, &args.tls.settings()?).await);
    }
    for finding in &findings {
        if args.json {
            result_json(finding)?;
            continue;
        }
        let sign = match finding.health {
            Health::Good => styled(GOOD, "good    "),
            Health::Doubtful => styled(STRONG, "doubtful"),
            Health::Bad => styled(BAD, "bad     "),
        };
        result_line(format!("{sign}  {:<10}  {}", finding.what, finding.seen))?;
        if let Some(advice) = &finding.advice {
            result_line(format!("{:22}{} {advice}", "", styled(FAINT, "do:")))?;
        }
    }
    match findings.iter().filter(|finding| finding.health == Health::Bad).count() {
        0 => Ok(()),
        bad => {
            Err(Failure::new(Exit::Failed, format!("{bad} of {} do not work; see above what to do", findings.len())))
        }
    }
}

/// Whether a service answers, and whether it can reach its archive.
async fn service(url: &url::Url, tls: &TlsSettings) -> Finding {
    match runlog_client::readiness(url, tls).await {
        Ok(200) => Finding::new("service", Health::Good, format!("{url} is ready"), None),
        Ok(status) => {
            let advice = "the service runs and cannot use its archive; its log says why";
            Finding::new(
                "service",
                Health::Bad,
                format!("{url} answers {status} when asked if it is ready"),
                Some(advice),
            )
        }
        Err(why) => {
            let advice = "is `runlog serve` running there, and is this its address?";
            Finding::new("service", Health::Bad, format!("{url} does not answer: {why}"), Some(advice))
        }
    }
}
