//! `runlog doctor`: diagnoses problems, and suggests how to fix them.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use runlog_client::{Readiness, TlsSettings};
use runlog_store::maintenance::{Finding, Health};
use runlog_store::permissions::{AccessByOthers, access_by_others};
use runlog_store::{Store, StoreSettings};
use tokio_util::sync::CancellationToken;

use crate::arguments::archive::{OpenArgs, folder_without_archive};
use crate::arguments::connect::{TlsArgs, service_url};
use crate::exit::{Exit, Failure, Outcome};
use crate::render::terminal::{BAD, FAINT, GOOD, STRONG, result_json, result_line, styled};
use crate::system::{SystemClock, SystemRandom};

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 if no check failed (warnings included), 1 otherwise.")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    archive: OpenArgs,
    /// Base URL of a service to check as well
    #[arg(long, env = "RUNLOG_API_URL", value_name = "URL", value_parser = service_url)]
    api_url: Option<url::Url>,
    #[command(flatten)]
    tls: TlsArgs,
    /// Print JSON, one finding per line
    #[arg(long)]
    json: bool,
}

/// Runs the checks until stopped; objects that a check has written are removed in any case.
pub(crate) async fn run(args: DoctorArgs, stop: CancellationToken) -> Outcome {
    let settings = args.archive.settings();
    let place = settings.location();
    let mut findings =
        vec![Finding::new("version", Health::Good, format!("runlog {}", env!("CARGO_PKG_VERSION")), None)];
    if let Some(folder) = folder_without_archive(&settings) {
        let seen = format!("no archive in {}", folder.display());
        let advice = "set its folder with --data, or start `runlog serve`, which creates one";
        findings.push(Finding::new("archive", Health::Bad, seen, Some(advice)));
    } else {
        let before = folder_of(&settings).and_then(access_by_others);
        match Store::open(settings.clone(), Arc::new(SystemClock), Arc::new(SystemRandom)).await {
            Ok(store) => {
                findings.push(Finding::new("archive", Health::Good, place, None));
                findings.extend(store.maintenance().diagnose_until(&stop).await);
                findings.extend(rights(&settings, before));
                store.close().await;
            }
            Err(error) => {
                let advice = "the archive must be reachable, writable by this user, and not written by a newer version";
                let seen = format!("{place}: {}", error.with_causes());
                findings.push(Finding::new("archive", Health::Bad, seen, Some(advice)));
            }
        }
    }
    if stop.is_cancelled() {
        return Err(Failure::new(Exit::Interrupted, "interrupted; test objects were removed"));
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
            Err(Failure::new(Exit::Failed, format!("{bad} of {} checks failed; see the advice above", findings.len())))
        }
    }
}

/// Whether other users of this machine can access an archive in a folder. Opening it removes access that they had.
fn rights(settings: &StoreSettings, before: Option<AccessByOthers>) -> Option<Finding> {
    let folder = folder_of(settings)?;
    Some(match (access_by_others(folder), before) {
        (Some(access @ AccessByOthers::Open { .. }), _) => {
            let seen = format!("other users of this machine can access the archive: {}", in_words(&access));
            let advice = format!(
                "run chmod -R go= {} as its owner: the archive contains logs, and keys that sign tokens",
                folder.display()
            );
            Finding::new("rights", Health::Bad, seen, Some(&advice))
        }
        (Some(access @ AccessByOthers::Owned { .. }), _) => {
            let seen = format!("another user can access the archive: {}", in_words(&access));
            let advice = format!("give all of {} to the user that runs the service (chown -R)", folder.display());
            Finding::new("rights", Health::Doubtful, seen, Some(&advice))
        }
        (None, Some(access)) => {
            let seen = format!("other users of this machine could access the archive until now: {}", in_words(&access));
            let advice = "only the owner has access now; if untrusted users had access, run `runlog admin keys rotate`";
            Finding::new("rights", Health::Doubtful, seen, Some(advice))
        }
        (None, None) => {
            Finding::new("rights", Health::Good, format!("only the owner can access {}", folder.display()), None)
        }
    })
}

/// The folder of an archive, unless the archive is elsewhere.
fn folder_of(settings: &StoreSettings) -> Option<&Path> {
    (settings.catalog.is_none() || settings.objects.is_none()).then_some(settings.data_folder.as_path())
}

fn in_words(access: &AccessByOthers) -> String {
    match access {
        AccessByOthers::Open { path, mode } => format!("{} has mode {mode:04o}", path.display()),
        AccessByOthers::Owned { path, owner } => format!("{} belongs to the user with ID {owner}", path.display()),
    }
}

/// Whether a service answers, and whether it can reach its archive.
async fn service(url: &url::Url, tls: &TlsSettings) -> Finding {
    match runlog_client::readiness(url, tls).await {
        Ok(Readiness { status: 200, .. }) => Finding::new("service", Health::Good, format!("{url} is ready"), None),
        Ok(Readiness { status, problem }) => {
            let advice = "the service runs, but part of it does not work; see its log for the cause";
            let problem = problem.map(|problem| format!(": {problem}")).unwrap_or_default();
            let seen = format!("the readiness probe of {url} returned {status}{problem}");
            Finding::new("service", Health::Bad, seen, Some(advice))
        }
        Err(why) => {
            let advice = "check that `runlog serve` is running, and that this is its address";
            Finding::new("service", Health::Bad, format!("{url} does not respond: {why}"), Some(advice))
        }
    }
}
