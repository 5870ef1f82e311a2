//! `runlog check`: validates the settings and tests every connection.

use std::sync::Arc;

use runlog_collector::{Collector, Range, SinkConfig};
use runlog_model::Clock;
use runlog_store::Store;
use tokio_util::sync::CancellationToken;

use crate::background::deliverers;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::terminal::{BAD, GOOD, counted, result_line, styled};
use crate::settings::{EXAMPLE, Needs, Opened, Scheduled, SettingsArgs};
use crate::stop::until_stopped;
use crate::system::SystemClock;

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
    let opened = args.from.open(Needs::Something).await?;
    // Told to stop, it still removes what it has written.
    opened.store.check_until(&stop).await?;
    result_line(format!("{}  archive: opens in {}, and is writable", styled(GOOD, "good"), opened.place))?;
    until_stopped(check_peers(opened), stop).await
}

/// Tries upstreams, sinks and the destinations of alerts.
async fn check_peers(opened: Opened) -> Outcome {
    let Opened { store, upstreams, sinks, alerts, .. } = opened;
    let good = |text: String| result_line(format!("{}  {text}", styled(GOOD, "good")));
    let mut first = None;
    for Scheduled { upstream, .. } in upstreams {
        let (name, now) = (upstream.name.clone(), SystemClock.now());
        let base = upstream.client.settings().base_url.clone();
        let collector = Collector::new(&store, upstream, Arc::new(runlog_collector::NoProgress));
        let last_day = Range { from: now.plus_millis(-86_400_000), to: now };
        let bad = |error, what: String| {
            let failure = Failure::from(error).while_doing(what);
            result_line(format!("{}   {:#}", styled(BAD, "bad"), failure.error))?;
            Ok::<_, Failure>(failure.exit)
        };
        match collector.count(last_day).await {
            Ok(runs) => good(format!("upstream {name}: {base} lists {} of the last day", counted(runs, "run")))?,
            Err(error) => {
                first.get_or_insert(bad(error, format!("upstream {name} at {base}"))?);
                continue;
            }
        }
        if !collector.collects_components() {
            continue;
        }
        match collector.check_components(last_day).await {
            Ok(true) => good(format!("upstream {name}: the account may read component metrics"))?,
            Ok(false) => good(format!("upstream {name}: no run of the last day to test component metrics with"))?,
            Err(error) => {
                first.get_or_insert(bad(error, format!("upstream {name}: component metrics"))?);
            }
        }
    }
    let of_sinks = check_sinks(&store, sinks).await?;
    if let Some(alerts) = alerts {
        for (destination, tried) in alerts.check(SystemClock.now()).await {
            match tried {
                Ok(()) => good(format!("alerts to {destination}: accepted"))?,
                Err(error) => {
                    result_line(format!("{}   alerts to {destination}: {error}", styled(BAD, "bad")))?;
                    first.get_or_insert(Exit::Unavailable);
                }
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
        let (name, place) = (deliverer.name(), deliverer.place());
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
