//! `runlog check`: validates the settings and tests every connection.

use std::sync::Arc;

use runlog_collector::{Collector, Range, RightOutcome, RightTest, SinkConfig};
use runlog_model::Clock;
use runlog_store::Store;
use tokio_util::sync::CancellationToken;

use crate::arguments::connect::note_retries;
use crate::background::deliverers;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::terminal::{BAD, FAINT, GOOD, result_line, styled};
use crate::settings::{EXAMPLE, Opened, Requirement, Scheduled, SettingsArgs};
use crate::stop::until_stopped;
use crate::system::SystemClock;

/// The logs of runs of so much time are tried. Unit: milliseconds.
const LAST_RUNS_MS: i64 = 7 * 86_400_000;

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Print every setting with its default and a description
    #[arg(long)]
    example: bool,
    #[command(flatten)]
    from: SettingsArgs,
}

/// Validates the settings and tests every connection they name.
pub(crate) async fn run(args: CheckArgs, stop: CancellationToken) -> Outcome {
    if args.example {
        return Ok(result_line(EXAMPLE.trim_end())?);
    }
    let opened = args.from.open(Requirement::Something).await?;
    // When it is stopped, it still removes the files it has written.
    opened.store.check_until(&stop).await?;
    result_line(format!("{}  archive: opens in {}, and is writable", styled(GOOD, "good"), opened.place))?;
    until_stopped(check_peers(opened), stop).await
}

/// Tries upstreams, sinks and the destinations of alerts.
async fn check_peers(opened: Opened) -> Outcome {
    let Opened { store, upstreams, sinks, alerts, oidc, syslog, .. } = opened;
    let good = |text: String| result_line(format!("{}  {text}", styled(GOOD, "good")));
    let bad = |text: String| result_line(format!("{}   {text}", styled(BAD, "bad")));
    let mut first = None;
    for Scheduled { upstream, .. } in upstreams {
        let (name, now) = (upstream.name.clone(), SystemClock.now());
        let base = upstream.client.settings().base_url.clone();
        upstream.client.require_first_connection();
        note_retries(&upstream.client);
        let collector = Collector::new(&store, upstream, Arc::new(runlog_collector::NoProgress));
        let what = format!("upstream {name} at {base}");
        let tests = match collector.test_rights(Range { from: now.plus_millis(-LAST_RUNS_MS), to: now }).await {
            Ok(tests) => tests,
            Err(error) => {
                let failure = Failure::from(error).while_doing(what);
                bad(format!("{:#}", failure.error))?;
                first.get_or_insert(failure.exit);
                continue;
            }
        };
        for RightTest { what: right, outcome } in tests {
            match outcome {
                RightOutcome::Granted(found) => good(format!("{what}: can {right}: {found}"))?,
                RightOutcome::Doubtful(found) => {
                    result_line(format!("{}   {what}: can {right}: {found}", styled(BAD, "bad")))?;
                    first.get_or_insert(Exit::Denied);
                }
                RightOutcome::Untested(why) => result_line(format!(
                    "{}  {what}: could not test whether it can {right}: {why}",
                    styled(FAINT, "----")
                ))?,
                RightOutcome::Dispensable { error, missing } => result_line(format!(
                    "{}  {what} cannot {right}: {error}; logs are collected all the same, without {missing}",
                    styled(FAINT, "----")
                ))?,
                RightOutcome::Failed(error) => {
                    let failure = Failure::from(error).while_doing(format!("{what} cannot {right}"));
                    bad(format!("{:#}", failure.error))?;
                    first.get_or_insert(failure.exit);
                }
            }
        }
    }
    let of_sinks = check_sinks(&store, sinks).await?;
    if let Some(alerts) = alerts {
        for (destination, tried) in alerts.check(SystemClock.now()).await {
            match tried {
                Ok(()) => good(format!("alerts to {destination}: accepted"))?,
                Err(error) => {
                    bad(format!("alerts to {destination}: {error}"))?;
                    first.get_or_insert(Exit::Unavailable);
                }
            }
        }
    }
    if let Some(syslog) = syslog {
        match runlog_server::test_syslog(&store, &syslog).await {
            Ok(found) => good(format!("syslog: {found}"))?,
            Err(error) => {
                bad(format!("syslog: {error}"))?;
                first.get_or_insert(Exit::Denied);
            }
        }
    }
    if let Some(oidc) = oidc {
        let issuer = oidc.issuer.clone();
        match runlog_server::test_identity_provider(oidc, Arc::new(SystemClock)).await {
            Ok(found) => good(format!("identity provider {issuer}: {found}"))?,
            Err(error) => {
                bad(format!("identity provider {issuer}: {error}"))?;
                first.get_or_insert(Exit::Unavailable);
            }
        }
    }
    store.close().await;
    match first.or(of_sinks) {
        None => Ok(()),
        Some(exit) => Err(Failure::new(exit, "some checks failed; see above")),
    }
}

/// Tries every sink. The exit code of the first that does not work.
async fn check_sinks(store: &Store, sinks: Vec<SinkConfig>) -> Outcome<Option<Exit>> {
    let mut first = None;
    for deliverer in deliverers(store, sinks) {
        let (name, place) = (deliverer.name(), deliverer.location());
        match deliverer.check().await {
            Ok(()) => result_line(format!("{}  sink {name}: {place} accepts deliveries", styled(GOOD, "good")))?,
            Err(error) => {
                result_line(format!("{}   sink {name} at {place}: {error}", styled(BAD, "bad")))?;
                first.get_or_insert(match error {
                    runlog_collector::SendError::Away { .. } | runlog_collector::SendError::NoAnswer(_) => {
                        Exit::Unavailable
                    }
                    _ => Exit::Denied,
                });
            }
        }
    }
    Ok(first)
}
