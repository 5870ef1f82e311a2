//! `runlog deliver`: delivers archived logs to sinks.

use std::path::PathBuf;

use clap_complete::engine::ArgValueCompleter;
use futures::future::join_all;
use runlog_collector::{Deliverer, DeliveryStats, SinkConfig};
use runlog_model::TimeRange;
use runlog_store::Store;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::arguments::archive::{self, LocationArgs};
use crate::arguments::candidates;
use crate::arguments::log::LogArgs;
use crate::arguments::period::PeriodArgs;
use crate::background::{deliverers, run_all};
use crate::exit::{Exit, Failure, Outcome};
use crate::render::terminal::{count, counted, note, result_json, result_line};
use crate::settings::Settings;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Delivers the logs of runs that have ended and settled to the sinks in the settings. `runlog collect` does so too; use \
this command on a separate machine, from cron, or to retry. If interrupted or killed, run it again to resume. Any number \
of processes can share an archive on PostgreSQL.

Examples:
  runlog deliver --once                  deliver the logs that are due, for cron
  runlog deliver --once --sink elastic --replay
                                         send again records that elastic refused or could not accept
  runlog deliver --once --sink elastic --replay --from 2026-11-23 --to 2026-11-24
                                         send the whole logs of these days again, if elastic has lost them
  runlog deliver --history --once        select runs again after the filters of a sink were changed

Exit codes of --once: 0 everything that was due is delivered, 5 a sink is unavailable (try again later), 6 some records \
or runs were refused permanently; `runlog status` lists them")]
pub(crate) struct DeliverArgs {
    /// Deliver the logs that are due, and exit
    #[arg(long)]
    once: bool,
    /// Immediately retry records that sinks refused or could not accept; with --from, --to or --last, and --sink, deliver
    /// the complete logs of runs that ended in this period again, with the same record IDs
    #[arg(long)]
    replay: bool,
    #[command(flatten)]
    period: PeriodArgs,
    /// With --replay: also resend all records of batches from which a sink refused some without stating which (OTLP);
    /// records that the sink already has are sent again under the same IDs
    #[arg(long, requires = "replay")]
    uncertain: bool,
    /// Check all runs of the archive again for those that match the filters of the sinks; nothing is delivered twice
    #[arg(long)]
    history: bool,
    /// Delete the delivery state of a sink that is no longer in the settings, and exit
    #[arg(long, value_name = "NAME", conflicts_with_all = ["once", "replay", "history", "sink"],
          add = ArgValueCompleter::new(candidates::sinks))]
    forget: Option<String>,
    /// Print the result as JSON
    #[arg(long, requires = "once")]
    json: bool,
    /// Only this sink
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(candidates::sinks))]
    sink: Option<String>,
    /// Settings file
    #[arg(long, env = "RUNLOG_SETTINGS", default_value = "runlog.toml", value_name = "FILE")]
    settings: PathBuf,
    /// Data folder of the archive [default: the value in the settings, or runlog-data]
    #[arg(long, env = "RUNLOG_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    #[command(flatten)]
    places: LocationArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Delivers, once or until stopped.
pub(crate) async fn run(args: DeliverArgs, stop: CancellationToken) -> Outcome {
    if !args.once && args.forget.is_none() {
        args.log.write();
    }
    let period = args.replayed_period()?;
    let settings = Settings::read(&args.settings)?;
    let stored = settings.archive(args.data.as_deref(), args.places.catalog.clone(), args.places.objects.clone())?;
    let mut sinks = settings.sinks()?;
    let store = archive::open_or_create(stored).await?;
    if let Some(name) = &args.forget {
        return forget(&store, &sinks, name).await;
    }
    choose(&mut sinks, &args)?;
    let deliverers = deliverers(&store, sinks);
    for deliverer in &deliverers {
        deliverer.register().await?;
        if args.history {
            store.deliveries().rescan_finished_runs(deliverer.name()).await?;
        }
        if let Some(period) = period {
            let runs = store.deliveries().replay(deliverer.name(), period).await?;
            note(format!("the whole logs of {} will be delivered to {} again", counted(runs, "run"), deliverer.name()));
        } else if args.replay {
            let runs = match args.uncertain {
                true => store.deliveries().retry_uncertain(deliverer.name()).await?,
                false => store.deliveries().retry(deliverer.name()).await?,
            };
            let entries = store.tenant_audit_logs().retry_delivery(deliverer.name()).await?;
            if entries > 0 {
                note(format!("{} of audit logs will be sent to {} again", entries_of(entries), deliverer.name()));
            }
            note(format!("{} will be delivered to {} again", counted(runs, "run"), deliverer.name()));
        }
    }
    let outcome = match args.once {
        true => once(&deliverers, args.json, &stop).await,
        false => {
            for deliverer in &deliverers {
                note(format!("delivering to {}: {}", deliverer.name(), deliverer.location()));
            }
            run_all(deliverers, stop).await;
            Ok(())
        }
    };
    store.close().await;
    outcome
}

impl DeliverArgs {
    /// Returns the period whose logs are sent again. Fails with `Usage` if it is given without a replay to one sink.
    fn replayed_period(&self) -> Outcome<Option<TimeRange>> {
        let period = self.period.range()?;
        if period == TimeRange::ALL {
            return Ok(None);
        }
        let usage = |message: &str| Err(Failure::new(Exit::Usage, message));
        match (self.replay, &self.sink) {
            (false, _) => usage("--from, --to and --last are the period of a --replay"),
            (true, None) => usage("a period is sent again to one sink: name it with --sink"),
            (true, Some(_)) if self.uncertain => {
                usage("with a period, whole logs are sent again: leave out --uncertain")
            }
            (true, Some(_)) => Ok(Some(period)),
        }
    }
}

fn choose(sinks: &mut Vec<SinkConfig>, args: &DeliverArgs) -> Outcome {
    let usage = |message: String| Err(Failure::new(Exit::Usage, message));
    let file = args.settings.display();
    if sinks.is_empty() {
        return usage(format!("{file} has no sink; see `runlog check --example`"));
    }
    let Some(only) = &args.sink else { return Ok(()) };
    let names: Vec<String> = sinks.iter().map(|sink| sink.name.clone()).collect();
    sinks.retain(|sink| sink.name == *only);
    match sinks.is_empty() {
        true => usage(format!("there is no sink {only:?} in {file}; available: {}", names.join(", "))),
        false => Ok(()),
    }
}

async fn forget(store: &Store, sinks: &[SinkConfig], name: &str) -> Outcome {
    if sinks.iter().any(|sink| sink.name == name) {
        let advice = "remove it from the settings first; otherwise the whole archive would be delivered to it again";
        return Err(Failure::new(Exit::Usage, format!("sink {name} is still in the settings; {advice}")));
    }
    if !store.deliveries().remove_sink(name).await? {
        return Err(Failure::new(Exit::NotFound, format!("the archive has no delivery state of a sink {name}")));
    }
    Ok(result_line(format!("deleted the delivery state of sink {name}"))?)
}

async fn once(deliverers: &[Deliverer], as_json: bool, stop: &CancellationToken) -> Outcome {
    let rounds = deliver_to_all(deliverers, stop).await?;
    if as_json {
        let rows: Vec<Value> = rounds.iter().map(|(name, round)| round_json(name, round)).collect();
        result_json(&rows)?;
    } else {
        rounds.iter().try_for_each(|(name, round)| result_line(round_line(name, round)))?;
    }
    if stop.is_cancelled() {
        return Err(Failure::new(Exit::Interrupted, "interrupted; run the same command again to resume"));
    }
    ended(&rounds)
}

/// Delivers once to every sink, concurrently: a slow or failing sink does not delay the others.
async fn deliver_to_all<'a>(
    deliverers: &'a [Deliverer],
    stop: &CancellationToken,
) -> Outcome<Vec<(&'a str, DeliveryStats)>> {
    let all = join_all(deliverers.iter().map(|deliverer| async move {
        deliverer.register().await?;
        deliverer.offer().await?;
        let mut round = deliverer.deliver_due(stop).await?;
        round += deliverer.deliver_audit_logs(true, stop).await?;
        Ok::<_, Failure>((deliverer.name(), round))
    }));
    all.await.into_iter().collect()
}

/// Delivers once to every sink, as a part of `runlog collect --once`.
pub(crate) async fn deliver_once(store: &Store, sinks: Vec<SinkConfig>, stop: &CancellationToken) -> Outcome {
    match sinks.is_empty() {
        true => Ok(()),
        false => {
            let deliverers = deliverers(store, sinks);
            let rounds = deliver_to_all(&deliverers, stop).await?;
            rounds.iter().for_each(|(name, round)| note(round_line(name, round)));
            ended(&rounds)
        }
    }
}

fn ended(rounds: &[(&str, DeliveryStats)]) -> Outcome {
    let behind = rounds.iter().find(|(_, round)| round.set_back > 0);
    if let Some((name, round)) = behind {
        let problem = round.problem.as_deref().unwrap_or("it did not accept everything");
        return Err(Failure::new(Exit::Unavailable, format!("sink {name} is behind: {problem}")));
    }
    let refused: u64 = rounds.iter().map(|(_, round)| round.refused + round.dead).sum();
    match refused {
        0 => Ok(()),
        _ => Err(Failure::new(
            Exit::Incomplete,
            "some records or runs were refused permanently; `runlog status` lists them",
        )),
    }
}

fn round_line(name: &str, round: &DeliveryStats) -> String {
    let mut text =
        format!("{name}: {} delivered with {}", counted(round.runs, "run"), counted(round.records, "record"));
    if round.audit_logs > 0 {
        text += &format!("; {} of audit logs", entries_of(round.audit_logs));
    }
    for (number, what) in [
        (round.refused, "records were refused"),
        (round.dead, "runs were refused"),
        (round.set_back, "runs will be retried"),
    ] {
        if number > 0 {
            text += &format!("; {} {what}", count(number));
        }
    }
    text
}

fn entries_of(number: u64) -> String {
    format!("{} {}", count(number), if number == 1 { "entry" } else { "entries" })
}

fn round_json(name: &str, round: &DeliveryStats) -> Value {
    json!({
        "sink": name, "runs": round.runs, "records": round.records, "auditLogs": round.audit_logs, "refused": round.refused,
        "dead": round.dead,
        "setBack": round.set_back, "problem": round.problem,
    })
}
