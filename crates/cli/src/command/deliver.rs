//! `runlog deliver`: archived logs on to where people look.

use std::path::PathBuf;

use futures::future::join_all;
use runlog_collector::{Deliverer, DeliveryStats, SinkConfig};
use runlog_store::Store;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::arguments::archive::{self, PlaceArgs};
use crate::arguments::log::LogArgs;
use crate::background::{deliverers, run_all};
use crate::exit::{Exit, Failure, Outcome};
use crate::render::terminal::{count, note, result_json, result_line};
use crate::settings::Settings;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Delivers the logs of runs that have ended and settled to the sinks of the settings: files, OTLP, Elasticsearch, Loki,
Splunk, webhooks. `runlog collect` does so too; this is for a machine of its own, for cron, and for trying again.
Interrupted or killed, it goes on where it was; any number may share an archive on PostgreSQL.

Examples:
  runlog deliver --once                  for cron
  runlog deliver --once --sink elastic --replay
                                         sends again what elastic refused or could not take
  runlog deliver --history --once        looks at all runs again, after sinks were set to want others

Exit codes of --once: 0 everything that was due is delivered, 5 a sink is away (try later), 6 some records or runs were
refused for good; `runlog status` names them")]
pub(crate) struct DeliverArgs {
    /// Delivers what is due, and ends
    #[arg(long)]
    once: bool,
    /// Tries again at once what sinks refused or could not take
    #[arg(long)]
    replay: bool,
    /// With --replay: also sends all records among which a sink refused some without saying which (OTLP); those of them
    /// that it has it gets again, under the same ids
    #[arg(long, requires = "replay")]
    uncertain: bool,
    /// Looks at all runs of the archive again for those that sinks want; what they have is not sent again
    #[arg(long)]
    history: bool,
    /// Forgets what a sink has, which is not in the settings any more, and ends
    #[arg(long, value_name = "NAME", conflicts_with_all = ["once", "replay", "history", "sink"])]
    forget: Option<String>,
    /// Prints what came of it as JSON
    #[arg(long, requires = "once")]
    json: bool,
    /// Only this sink
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// The settings
    #[arg(long, env = "RUNLOG_SETTINGS", default_value = "runlog.toml", value_name = "FILE")]
    settings: PathBuf,
    /// Folder that holds the archive [default: what the settings say, or runlog-data]
    #[arg(long, env = "RUNLOG_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    #[command(flatten)]
    places: PlaceArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Delivers, once or for good.
pub(crate) async fn run(args: DeliverArgs, stop: CancellationToken) -> Outcome {
    if !args.once && args.forget.is_none() {
        args.log.write();
    }
    let settings = Settings::read(&args.settings)?;
    let stored = settings.archive(args.data.as_deref(), args.places.catalog.clone(), args.places.objects.clone())?;
    let mut sinks = settings.sinks()?;
    let store = archive::open_or_make(stored).await?;
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
        if args.replay {
            let runs = match args.uncertain {
                true => store.deliveries().retry_uncertain(deliverer.name()).await?,
                false => store.deliveries().retry(deliverer.name()).await?,
            };
            note(format!("{} runs are tried again at {}", count(runs), deliverer.name()));
        }
    }
    let outcome = match args.once {
        true => once(&deliverers, args.json, &stop).await,
        false => {
            for deliverer in &deliverers {
                note(format!("delivering to {}: {}", deliverer.name(), deliverer.place()));
            }
            run_all(deliverers, stop).await;
            Ok(())
        }
    };
    store.close().await;
    outcome
}

fn choose(sinks: &mut Vec<SinkConfig>, args: &DeliverArgs) -> Outcome {
    let usage = |message: String| Err(Failure::new(Exit::Usage, message));
    let file = args.settings.display();
    if sinks.is_empty() {
        return usage(format!("{file} names no sink; runlog check --example shows one"));
    }
    let Some(only) = &args.sink else { return Ok(()) };
    let names: Vec<String> = sinks.iter().map(|sink| sink.name.clone()).collect();
    sinks.retain(|sink| sink.name == *only);
    match sinks.is_empty() {
        true => usage(format!("there is no sink {only:?} in {file}; there is {}", names.join(", "))),
        false => Ok(()),
    }
}

async fn forget(store: &Store, sinks: &[SinkConfig], name: &str) -> Outcome {
    if sinks.iter().any(|sink| sink.name == name) {
        let advice = "take it out of the settings first, or it is sent the whole archive again";
        return Err(Failure::new(Exit::Usage, format!("sink {name} is in the settings; {advice}")));
    }
    if !store.deliveries().remove_sink(name).await? {
        return Err(Failure::new(Exit::NotFound, format!("the archive knows no sink {name}")));
    }
    Ok(result_line(format!("sink {name} is forgotten"))?)
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
        return Err(Failure::new(Exit::Interrupted, "interrupted; the same command goes on from here"));
    }
    ended(&rounds)
}

/// Delivers once to every sink, to all at a time: one that takes long, or fails, holds up no other.
async fn deliver_to_all<'a>(
    deliverers: &'a [Deliverer],
    stop: &CancellationToken,
) -> Outcome<Vec<(&'a str, DeliveryStats)>> {
    let all = join_all(deliverers.iter().map(|deliverer| async move {
        deliverer.register().await?;
        deliverer.offer().await?;
        Ok::<_, Failure>((deliverer.name(), deliverer.deliver_due(stop).await?))
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
        let problem = round.problem.as_deref().unwrap_or("it did not take everything");
        return Err(Failure::new(Exit::Unavailable, format!("sink {name} is behind: {problem}")));
    }
    let refused: u64 = rounds.iter().map(|(_, round)| round.refused + round.dead).sum();
    match refused {
        0 => Ok(()),
        _ => Err(Failure::new(Exit::Incomplete, "some of it was refused for good; runlog status names it")),
    }
}

fn round_line(name: &str, round: &DeliveryStats) -> String {
    let mut text = format!("{name}: {} runs delivered with {} records", count(round.runs), count(round.records));
    for (number, what) in [
        (round.refused, "records were refused"),
        (round.dead, "runs were refused"),
        (round.set_back, "runs are tried again"),
    ] {
        if number > 0 {
            text += &format!("; {} {what}", count(number));
        }
    }
    text
}

fn round_json(name: &str, round: &DeliveryStats) -> Value {
    json!({
        "sink": name, "runs": round.runs, "records": round.records, "refused": round.refused, "dead": round.dead,
        "setBack": round.set_back, "problem": round.problem,
    })
}
