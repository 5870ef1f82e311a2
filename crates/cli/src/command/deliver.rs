//! `runlog deliver`: archived logs on to where people look.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::join_all;
use runlog_client::TokioWait;
use runlog_collector::{Deliverer, DeliveryRound, SinkSetup};
use runlog_model::{Clock, Timestamp};
use runlog_store::{DeadLetter, FailingDelivery, SinkFigures, Store};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::command::archive;
use crate::command::serve::{LogArgs, PlaceArgs};
use crate::edge::SystemClock;
use crate::exit::{Exit, Failure, Outcome};
use crate::screen::Stream;
use crate::settings::Settings;
use crate::terminal::{BAD, GOOD, count, duration, note, result_json, result_line, styled, table};

/// Deliveries and records that failed, as many of each as `status` shows.
const FAILING_SHOWN: u64 = 20;

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
            store.offer_from_start(deliverer.name()).await?;
        }
        if args.replay {
            let runs = match args.uncertain {
                true => store.retry_uncertain_deliveries(deliverer.name()).await?,
                false => store.retry_deliveries(deliverer.name()).await?,
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

fn choose(sinks: &mut Vec<SinkSetup>, args: &DeliverArgs) -> Outcome {
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

async fn forget(store: &Store, sinks: &[SinkSetup], name: &str) -> Outcome {
    if sinks.iter().any(|sink| sink.name == name) {
        let advice = "take it out of the settings first, or it is sent the whole archive again";
        return Err(Failure::new(Exit::Usage, format!("sink {name} is in the settings; {advice}")));
    }
    if !store.forget_sink(name).await? {
        return Err(Failure::new(Exit::NotFound, format!("the archive knows no sink {name}")));
    }
    Ok(result_line(format!("sink {name} is forgotten"))?)
}

fn deliverers(store: &Store, sinks: Vec<SinkSetup>) -> Vec<Deliverer> {
    let deliverer = |sink| Deliverer::new(store.clone(), sink, Arc::new(SystemClock), Arc::new(TokioWait));
    sinks.into_iter().map(deliverer).collect()
}

/// Begins to deliver to every sink, until `stop`; what is returned ends when all of it has.
pub(crate) fn spawn_delivery(store: &Store, sinks: Vec<SinkSetup>, stop: &CancellationToken) -> JoinSet<()> {
    let mut running = JoinSet::new();
    for deliverer in deliverers(store, sinks) {
        note(format!("delivering to {}: {}", deliverer.name(), deliverer.place()));
        let stop = stop.clone();
        running.spawn(async move { deliverer.run(stop).await });
    }
    running
}

async fn run_all(deliverers: Vec<Deliverer>, stop: CancellationToken) {
    let mut running = JoinSet::new();
    for deliverer in deliverers {
        let stop = stop.clone();
        running.spawn(async move { deliverer.run(stop).await });
    }
    while running.join_next().await.is_some() {}
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
) -> Outcome<Vec<(&'a str, DeliveryRound)>> {
    let all = join_all(deliverers.iter().map(|deliverer| async move {
        deliverer.register().await?;
        deliverer.offer().await?;
        Ok::<_, Failure>((deliverer.name(), deliverer.deliver_due(stop).await?))
    }));
    all.await.into_iter().collect()
}

/// Delivers once to every sink, as a part of `runlog collect --once`.
pub(crate) async fn deliver_once(store: &Store, sinks: Vec<SinkSetup>, stop: &CancellationToken) -> Outcome {
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

fn ended(rounds: &[(&str, DeliveryRound)]) -> Outcome {
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

fn round_line(name: &str, round: &DeliveryRound) -> String {
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

fn round_json(name: &str, round: &DeliveryRound) -> Value {
    json!({
        "sink": name, "runs": round.runs, "records": round.records, "refused": round.refused, "dead": round.dead,
        "setBack": round.set_back, "problem": round.problem,
    })
}

/// What is known of a sink, and what failed.
pub(crate) struct SinkStatus {
    figures: SinkFigures,
    failing: Vec<FailingDelivery>,
    dead_letters: Vec<DeadLetter>,
}

/// What is known of each sink: of those in the settings, by name and kind, and of those that were.
pub(crate) async fn status(store: &Store, sinks: &[(&str, &str)]) -> Outcome<Vec<SinkStatus>> {
    let mut all = store.delivery_figures().await?;
    for (name, kind) in sinks {
        if !all.iter().any(|figures| figures.name == *name) {
            let (name, kind) = ((*name).to_owned(), (*kind).to_owned());
            all.push(SinkFigures { name, kind, ..SinkFigures::default() });
        }
    }
    let mut statuses = Vec::with_capacity(all.len());
    for figures in all {
        let failing = store.failing_deliveries(&figures.name, FAILING_SHOWN).await?;
        let dead_letters = store.dead_letters(&figures.name, FAILING_SHOWN).await?;
        statuses.push(SinkStatus { figures, failing, dead_letters });
    }
    Ok(statuses)
}

impl SinkStatus {
    pub(crate) fn json(&self) -> Value {
        json!({ "figures": self.figures, "failing": self.failing, "deadLetters": self.dead_letters })
    }
}

/// Prints what is known of sinks as a table, and what failed below it.
pub(crate) fn show_status(statuses: &[SinkStatus]) -> Outcome {
    if statuses.is_empty() {
        return Ok(());
    }
    let now = SystemClock.now();
    let rows = statuses.iter().map(|SinkStatus { figures, .. }| {
        let numbers = [figures.due, figures.failing, figures.done, figures.dead, figures.records, figures.refused];
        let mut row = vec![figures.name.clone(), figures.kind.clone()];
        row.extend(numbers.map(count));
        row.push(figures.due_since.map_or_else(|| "-".to_owned(), |since| duration(now.as_millis() - since)));
        row.push(figures.problem.clone().unwrap_or_else(|| "-".to_owned()));
        row
    });
    let head = ["sink", "kind", "due", "failing", "done", "dead", "records", "refused", "lag", "problem"];
    result_line(table(&head, &[2, 3, 4, 5, 6, 7], rows.collect()))?;
    for SinkStatus { figures, failing, dead_letters } in statuses {
        for run in failing {
            let what = match run.state.as_str() {
                "dead" => "not taken, and not tried again".to_owned(),
                _ => format!(
                    "tried {} times, again in {}",
                    run.attempts,
                    duration((run.due_at - now.as_millis()).max(0))
                ),
            };
            let (bad, name, id) = (styled(BAD, "not delivered:"), &figures.name, &run.run_id);
            result_line(format!("{bad} {name} run {id}, {what}: {}", Stream::Result.shown(&run.problem)))?;
        }
        for letter in dead_letters {
            result_line(refused_line(&figures.name, letter))?;
        }
        let shown: u64 = dead_letters.iter().map(|letter| letter.records.unsigned_abs()).sum();
        if figures.refused > shown {
            result_line(format!("{} records in all were refused by {}", count(figures.refused), figures.name))?;
        }
        if figures.too_old > 0 {
            let (records, name) = (count(figures.too_old), &figures.name);
            result_line(format!("{records} records were older than {name} takes them (max_age), and were left out"))?;
        }
    }
    Ok(())
}

/// A record that a sink refused, or several.
fn refused_line(name: &str, letter: &DeadLetter) -> String {
    let DeadLetter { run_id, arrival, last_arrival, records, of_records, reason, .. } = letter;
    let (bad, at, to) =
        (styled(BAD, "refused:"), Timestamp::clamped(letter.record_time), Timestamp::clamped(letter.last_time));
    let (number, reason) = (|number: &i64| count(number.unsigned_abs()), Stream::Result.shown(reason));
    if *of_records > *records {
        let (some, all) = (number(records), number(of_records));
        return format!(
            "{bad} {name} {some} of {all} records of run {run_id} from {arrival} to {last_arrival} ({at} to {to}), it does \
             not say which: {reason}"
        );
    }
    match records {
        1 => format!("{bad} {name} record {arrival} of run {run_id} ({at}): {reason}"),
        _ => {
            let some = number(records);
            format!(
                "{bad} {name} {some} records of run {run_id} from {arrival} to {last_arrival} ({at} to {to}): {reason}"
            )
        }
    }
}

/// Tries every sink. The exit code of the first that does not work.
pub(crate) async fn check(store: &Store, sinks: Vec<SinkSetup>) -> Outcome<Option<Exit>> {
    let mut first = None;
    for deliverer in deliverers(store, sinks) {
        let (name, place) = (deliverer.name(), deliverer.place());
        match deliverer.check().await {
            Ok(()) => result_line(format!("{}  sink {name}: {place} takes what it is sent", styled(GOOD, "good")))?,
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
