//! `runlog collect`, `backfill`, `plan`, `status` and `check`: the periodic job.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use runlog_client::{PaceSetting, TokioWait};
use runlog_collector::alerts::{AlertError, Alerts, Look};
use runlog_collector::{CollectError, CollectEvent, CollectProgress, Collector, Range, Round, SinkSetup};
use runlog_model::{Clock, Timestamp};
use runlog_store::{CollectionFigures, CollectorFigures, Store, StoreSettings};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::command::serve::{LogArgs, PlaceArgs};
use crate::command::{archive, deliver};
use crate::edge::SystemClock;
use crate::exit::{Exit, Failure, Outcome, exit_of};
use crate::progress::Bar;
use crate::screen::Stream;
use crate::settings::{EXAMPLE, Scheduled, Settings};
use crate::terminal::{BAD, GOOD, count, duration, note, result_json, result_line, styled, styled_note, table};

/// Runs that could not be landed, as many as `status` shows.
const FAILING_SHOWN: u64 = 20;
/// Requests that a run with one page takes: to ask for it, for its status, and for its count.
const REQUESTS_OF_RUN: u64 = 3;

/// Which settings, and where the archive lies when they do not say.
#[derive(Debug, clap::Args)]
pub(crate) struct SettingsArgs {
    /// The settings
    #[arg(long, env = "RUNLOG_SETTINGS", default_value = "runlog.toml", value_name = "FILE")]
    settings: PathBuf,
    /// Only this upstream
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Folder that holds the archive [default: what the settings say, or runlog-data]
    #[arg(long, env = "RUNLOG_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    #[command(flatten)]
    places: PlaceArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Lists the runs of every upstream, follows them until they have ended and settled, and brings their logs into the archive:
each record once, each log only when the service counts as many records as came. Interrupted or killed, the same command
goes on where it was. Any number of collectors may share an archive on PostgreSQL.

Examples:
  runlog check --example > runlog.toml     settings to begin with
  runlog check                             tries them
  runlog collect --once                    for cron
  runlog collect                           goes on, and lists runs as the settings say

Exit codes of --once: 0 everything that was due has landed, 5 an upstream or the archive is away (try later),
6 some logs are not complete or failed; they are tried again, and `runlog status` names them")]
pub(crate) struct CollectArgs {
    /// Lists once, brings what is due, and ends
    #[arg(long)]
    once: bool,
    /// Tries runs again at once that failed or had no log
    #[arg(long)]
    retry: bool,
    /// Prints what came of it as JSON
    #[arg(long, requires = "once")]
    json: bool,
    #[command(flatten)]
    from: SettingsArgs,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog plan --from 2026-10-01T00:00:00Z         how long it would take
  runlog backfill --from 2026-10-01T00:00:00Z
Interrupted, the same command goes on: runs that have landed are not fetched again.")]
pub(crate) struct BackfillArgs {
    /// Runs of this time or later, such as 2026-10-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Timestamp,
    /// Runs of this time or earlier [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    /// Runs of this time or later, such as 2026-10-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Timestamp,
    /// Runs of this time or earlier [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Prints JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    from: SettingsArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Prints every setting with its default and what it is for
    #[arg(long)]
    example: bool,
    #[command(flatten)]
    from: SettingsArgs,
}

/// What the settings name, opened.
struct Opened {
    store: Store,
    /// Where the archive lies, for people.
    place: String,
    upstreams: Vec<Scheduled>,
    sinks: Vec<SinkSetup>,
    alerts: Option<Alerts>,
}

/// What a command cannot do without.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// Something to collect from.
    Upstreams,
    /// Something to collect from, or somebody to tell.
    UpstreamsOrAlerts,
    /// Whatever settings may name besides the archive.
    Something,
}

impl SettingsArgs {
    /// The settings, and where the archive lies.
    fn read(&self) -> Outcome<(Settings, StoreSettings)> {
        let settings = Settings::read(&self.settings)?;
        let places = &self.places;
        let archive = settings.archive(self.data.as_deref(), places.catalog.clone(), places.objects.clone())?;
        Ok((settings, archive))
    }

    /// The names of the upstreams that are meant, of settings that have what is needed. No secret is read.
    fn upstream_names<'a>(&self, settings: &'a Settings, needs: Needs) -> Outcome<Vec<&'a str>> {
        let usage = |message: String| Failure::new(Exit::Usage, message);
        let file = self.settings.display();
        let mut names = settings.upstream_names();
        if let Some(only) = &self.upstream {
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            names.retain(|name| *name == only.as_str());
            if names.is_empty() {
                return Err(usage(format!("there is no upstream {only:?} in {file}; there is {known}")));
            }
        }
        let (suffices, missing) = match needs {
            Needs::Upstreams => (false, "no upstream"),
            Needs::UpstreamsOrAlerts => (settings.has_alerts(), "no upstream and no alert"),
            Needs::Something => (settings.has_alerts() || settings.has_sinks(), "no upstream, no sink and no alert"),
        };
        match names.is_empty() && !suffices {
            true => Err(usage(format!("{file} names {missing}; runlog check --example shows one"))),
            false => Ok(names),
        }
    }

    async fn open(&self, needs: Needs) -> Outcome<Opened> {
        let (settings, stored) = self.read()?;
        let names = self.upstream_names(&settings, needs)?;
        let mut upstreams = settings.upstreams(&stored.data_folder)?;
        upstreams.retain(|it| names.iter().any(|name| *name == it.upstream.name));
        let sinks = settings.sinks()?;
        let place = stored.place();
        let store = archive::open_or_make(stored).await?;
        let alerts = settings.alerts(&store)?;
        Ok(Opened { store, place, upstreams, sinks, alerts })
    }
}

/// Shows on a terminal how far the collectors are, and tells in a pipe only what matters.
struct CollectBar {
    bar: Bar,
    landed: AtomicU64,
    records: AtomicU64,
    came: AtomicU64,
    under_way: AtomicU64,
    set_back: AtomicU64,
}

impl CollectBar {
    fn new() -> Arc<Self> {
        let zero = AtomicU64::default;
        let bar = Bar::telling();
        Arc::new(Self { bar, landed: zero(), records: zero(), came: zero(), under_way: zero(), set_back: zero() })
    }
}

impl CollectProgress for CollectBar {
    fn tell(&self, event: CollectEvent<'_>) {
        let add = |number: &AtomicU64, more: u64| number.fetch_add(more, Ordering::Relaxed);
        match event {
            CollectEvent::Listed(_) => {}
            CollectEvent::Mended(run, records) => note(format!(
                "run {run}: {} records were not as they should be, and are stored as nearly as they came as can be",
                count(records)
            )),
            CollectEvent::Fetching(_) => drop(add(&self.under_way, 1)),
            CollectEvent::Came(records) => drop(add(&self.came, records)),
            CollectEvent::Landed(_, records) => {
                add(&self.landed, 1);
                add(&self.records, records);
                self.under_way.fetch_sub(1, Ordering::Relaxed);
            }
            CollectEvent::NoLog(_) => drop(self.under_way.fetch_sub(1, Ordering::Relaxed)),
            CollectEvent::SetBack(run, problem) => {
                self.under_way.fetch_sub(1, Ordering::Relaxed);
                add(&self.set_back, 1);
                let problem = Stream::Note.shown(problem).into_owned();
                note(format!("{} run {run}: {problem}; it is tried again", styled_note(BAD, "not landed:")));
            }
        }
        let read = |number: &AtomicU64| count(number.load(Ordering::Relaxed));
        self.bar.tell(format!(
            "collecting: {} runs landed with {} records, {} under way, {} records came, {} to be tried again",
            read(&self.landed),
            read(&self.records),
            read(&self.under_way),
            read(&self.came),
            read(&self.set_back)
        ));
    }
}

/// Collects, once or for good.
pub(crate) async fn collect(args: CollectArgs, stop: CancellationToken) -> Outcome {
    if !args.once {
        args.log.write();
    }
    let opened = args.from.open(Needs::UpstreamsOrAlerts).await?;
    let store = opened.store.clone();
    let outcome = match args.once {
        true => once(opened, &args, CollectBar::new(), &stop).await,
        false => for_good(opened, &args, &stop).await,
    };
    store.close().await;
    outcome
}

async fn for_good(opened: Opened, args: &CollectArgs, stop: &CancellationToken) -> Outcome {
    let Opened { store, upstreams, sinks, alerts, .. } = opened;
    for Scheduled { upstream, .. } in &upstreams {
        retry_if_asked(&store, args, &upstream.name).await?;
    }
    // Sealing, retention, sweeping and summaries, for archives that no service looks after.
    let unheard = Arc::new(runlog_collector::Unheard);
    let mut delivering = deliver::spawn_delivery(&store, sinks, stop);
    tokio::join!(
        store.maintenance().run_jobs(stop.clone()),
        runlog_analysis::make_summaries(&store, stop.clone()),
        collect_for_good(store.clone(), upstreams, unheard, stop.clone()),
        send_alerts(&store, alerts, stop.clone())
    );
    while delivering.join_next().await.is_some() {}
    Ok(())
}

/// Collects upstreams until told to stop.
pub(crate) async fn collect_for_good(
    store: Store,
    upstreams: Vec<Scheduled>,
    progress: Arc<dyn CollectProgress>,
    stop: CancellationToken,
) {
    let mut running = JoinSet::new();
    for Scheduled { upstream, pause } in upstreams {
        note(format!("collecting {} from {}", upstream.name, upstream.client.settings().base_url));
        let collector = Collector::new(store.clone(), upstream, Arc::clone(&progress));
        let stop = stop.clone();
        running.spawn(async move { collector.run(move |now| pause.from(now), stop).await });
    }
    while running.join_next().await.is_some() {}
}

async fn once(opened: Opened, args: &CollectArgs, bar: Arc<CollectBar>, stop: &CancellationToken) -> Outcome {
    let Opened { store, upstreams, sinks, alerts, .. } = opened;
    let mut total = Round::default();
    let mut problem = None;
    for Scheduled { upstream, .. } in upstreams {
        let name = upstream.name.clone();
        retry_if_asked(&store, args, &name).await?;
        let collector = Collector::new(store.clone(), upstream, bar.clone());
        collector.share_pace().await.map_err(failure)?;
        // What is known is brought in even when the list cannot be had.
        let listed = collector.discover().await.map(drop);
        let round = collector.land_due(stop).await;
        collector.leave().await.map_err(failure)?;
        for error in [
            listed.err(),
            round
                .as_ref()
                .err()
                .map(ToString::to_string)
                .map(|text| CollectError::BadRun { run: name.clone(), what: text }),
        ]
        .into_iter()
        .flatten()
        {
            problem.get_or_insert(failure(error).while_doing(format!("upstream {name}")));
        }
        if let Ok(round) = round {
            total += round;
        }
    }
    drop(bar);
    if let Some(alerts) = alerts {
        alerts.find(Look::Thorough, SystemClock.now()).await.map_err(alert_failure)?;
        alerts.send_due(&SystemClock, stop).await.map_err(alert_failure)?;
    }
    if args.json {
        result_json(
            &json!({ "landed": total.landed, "records": total.records, "noLog": total.no_log, "setBack": total.set_back }),
        )?;
    } else {
        let (landed, records) = (count(total.landed), count(total.records));
        let mut text = format!("{landed} runs landed with {records} records");
        if total.no_log > 0 {
            text += &format!("; {} have no log", count(total.no_log));
        }
        if total.set_back > 0 {
            text += &format!("; {} are tried again", count(total.set_back));
        }
        result_line(text)?;
    }
    // What has landed is delivered even when something else did not land.
    let delivered = deliver::deliver_once(&store, sinks, stop).await;
    if stop.is_cancelled() {
        return Err(Failure::new(Exit::Interrupted, "interrupted; the same command goes on from here"));
    }
    match problem.or(delivered.err()) {
        Some(problem) => Err(problem),
        None if total.set_back > 0 => {
            let message = format!("{} runs could not be landed; runlog status names them", count(total.set_back));
            Err(Failure::new(Exit::Incomplete, message))
        }
        None => Ok(()),
    }
}

/// Looks for what is to be told, and tells it, until `stop`.
pub(crate) async fn send_alerts(store: &Store, alerts: Option<Alerts>, stop: CancellationToken) {
    let Some(alerts) = alerts.map(Arc::new) else { return };
    let sending = || {
        let (alerts, stop) = (Arc::clone(&alerts), stop.clone());
        async move {
            alerts.run(&SystemClock, &TokioWait, stop).await;
            Ok::<_, std::convert::Infallible>(())
        }
    };
    store.supervisor().keep("alerts", &stop, sending).await;
}

fn alert_failure(error: AlertError) -> Failure {
    Failure { exit: Exit::Unavailable, error: error.into() }
}

async fn retry_if_asked(store: &Store, args: &CollectArgs, upstream: &str) -> Outcome {
    if args.retry {
        let runs = store.retry_collection(upstream).await?;
        note(format!("{} runs of {upstream} are tried again", count(runs)));
    }
    Ok(())
}

fn failure(error: CollectError) -> Failure {
    let exit = match &error {
        CollectError::Upstream(error) => exit_of(error.kind()),
        CollectError::Archive(_) | CollectError::Unsteady { .. } | CollectError::NoLogYet { .. } => Exit::Unavailable,
        CollectError::NoSuchPlace { .. } => Exit::NotFound,
        CollectError::Fetch(_) | CollectError::Crowded { .. } | CollectError::BadRun { .. } => Exit::Failed,
    };
    Failure { exit, error: error.into() }
}

fn range(from: Timestamp, to: Option<Timestamp>) -> Outcome<Range> {
    let now = SystemClock.now();
    let to = to.unwrap_or(now).min(now);
    match from <= to {
        true => Ok(Range { from, to }),
        false => Err(Failure::new(Exit::Usage, format!("--from {from} is later than {to}"))),
    }
}

/// Collects the runs of a stretch of the past.
pub(crate) async fn backfill(args: BackfillArgs, stop: CancellationToken) -> Outcome {
    let range = range(args.from, args.to)?;
    let Opened { store, upstreams, .. } = args.settings.open(Needs::Upstreams).await?;
    let bar = CollectBar::new();
    let (mut set_back, mut problem) = (0, None);
    for Scheduled { upstream, .. } in upstreams {
        let name = upstream.name.clone();
        let collector = Collector::new(store.clone(), upstream, bar.clone());
        match collector.discover_range(range).await {
            Ok(found) => {
                note(format!("{name}: {} runs listed, {} of them new", count(found.listed), count(found.new)));
                if found.taken_in > 0 {
                    note(format!("{name}: {} that had been left out are wanted now", count(found.taken_in)));
                }
                if found.unreadable > 0 {
                    note(format!("{name}: {} runs left out, because their ids are no UUIDs", count(found.unreadable)));
                }
            }
            // What could be listed is brought in all the same.
            Err(error) => {
                problem.get_or_insert(failure(error).while_doing(format!("upstream {name}")));
            }
        }
        let round = collector.land_due(&stop).await.map_err(failure)?;
        collector.leave().await.map_err(failure)?;
        set_back += round.set_back;
        result_line(format!("{name}: {} runs landed with {} records", count(round.landed), count(round.records)))?;
    }
    store.close().await;
    if let Some(problem) = problem.filter(|_| !stop.is_cancelled()) {
        return Err(problem);
    }
    match (stop.is_cancelled(), set_back) {
        (true, _) => Err(Failure::new(Exit::Interrupted, "interrupted; the same command goes on from here")),
        (false, 0) => Ok(()),
        (false, runs) => Err(Failure::new(
            Exit::Incomplete,
            format!("{} runs could not be landed; runlog status names them", count(runs)),
        )),
    }
}

/// Says how many runs there are, and how long it takes to bring them.
pub(crate) async fn plan(args: PlanArgs) -> Outcome {
    let range = range(args.from, args.to)?;
    let Opened { store, upstreams, .. } = args.settings.open(Needs::Upstreams).await?;
    let mut plans = Vec::new();
    for Scheduled { upstream, .. } in upstreams {
        let (name, pace) = (upstream.name.clone(), upstream.client.settings().pace);
        let collector = Collector::new(store.clone(), upstream, Arc::new(runlog_collector::Unheard));
        let runs = collector.count(range).await.map_err(failure)?;
        let figures = store.collection_figures(&name).await?;
        // Each further page is asked for, and asked for its status.
        let pages = if figures.landed == 0 { 1.0 } else { (figures.pages as f64 / figures.landed as f64).max(1.0) };
        let requests = runs * REQUESTS_OF_RUN + (runs as f64 * (pages - 1.0) * 2.0) as u64 + runs.div_ceil(100);
        let pace = match pace {
            PaceSetting::AsServiceSays => Some(runlog_client::Pace::default()),
            PaceSetting::Fixed(pace) => Some(pace),
            PaceSetting::Unlimited => None,
        };
        let per_minute = pace.map(|pace| pace.per_minute.min(pace.per_second * 60) as u64);
        let seconds = per_minute.map(|most| requests * 60 / most.max(1));
        plans.push((name, runs, requests, per_minute, seconds));
    }
    store.close().await;
    if args.json {
        let rows: Vec<_> = plans.iter().map(|(name, runs, requests, per_minute, seconds)| json!({ "upstream": name, "runs": runs, "requests": requests, "requestsPerMinute": per_minute, "seconds": seconds })).collect();
        return Ok(result_json(&rows)?);
    }
    let rows = plans.into_iter().map(|(name, runs, requests, per_minute, seconds)| {
        let time = seconds.map_or_else(|| "as fast as it goes".to_owned(), |seconds| duration(seconds as i64 * 1000));
        let pace = per_minute.map_or_else(|| "no limit".to_owned(), |most| format!("{} a minute", count(most)));
        vec![name, count(runs), count(requests), pace, time]
    });
    result_line(table(&["upstream", "runs", "requests", "pace", "takes at least"], &[1, 2], rows.collect()))?;
    Ok(())
}

/// Says how far the collecting is. It asks the archive alone, without the secrets of upstreams, sinks and alerts.
pub(crate) async fn status(args: StatusArgs) -> Outcome {
    let (settings, stored) = args.from.read()?;
    let upstreams = args.from.upstream_names(&settings, Needs::Something)?;
    if let Some(folder) = archive::folder_without_archive(&stored) {
        let (folder, file) = (folder.display(), args.from.settings.display());
        let advice = format!("name its folder with --data, RUNLOG_DATA or data under [archive] in {file}");
        let message = format!("there is no archive in {folder}: {advice}, or begin one with `runlog collect`");
        return Err(Failure::new(Exit::Usage, message));
    }
    let store = archive::open(stored).await?;
    let mut all = Vec::new();
    for name in upstreams {
        all.push((store.collection_figures(name).await?, store.failing_runs(name, FAILING_SHOWN).await?));
    }
    let collectors = store.collectors(runlog_store::limits::COLLECTOR_LIFE_MS).await?;
    let sinks = deliver::status(&store, &settings.sink_kinds()).await?;
    store.close().await;
    if args.json {
        let upstreams: Vec<_> =
            all.iter().map(|(figures, failing)| json!({ "figures": figures, "failing": failing })).collect();
        let sinks: Vec<_> = sinks.iter().map(deliver::SinkStatus::json).collect();
        return Ok(result_json(&json!({ "upstreams": upstreams, "collectors": collectors, "sinks": sinks }))?);
    }
    let now = SystemClock.now();
    let rows = all.iter().map(|(figures, _)| {
        let CollectionFigures {
            upstream,
            known,
            going,
            waiting,
            failing,
            incomplete,
            landed,
            no_log,
            gone,
            left_out,
            records,
            ..
        } = figures;
        let ago = |at: Option<i64>| at.map_or_else(|| "-".to_owned(), |at| duration(now.as_millis() - at));
        let numbers = [known, going, waiting, failing, incomplete, landed, no_log, gone, left_out, records];
        let mut row = vec![upstream.clone()];
        row.extend(numbers.map(|number| count(*number)));
        row.extend([ago(figures.waiting_since), ago(figures.listed_until)]);
        row
    });
    let head = [
        "upstream",
        "known",
        "going",
        "waiting",
        "failing",
        "incomplete",
        "landed",
        "no log",
        "gone",
        "left out",
        "records",
        "lag",
        "listed",
    ];
    if all.is_empty() && sinks.is_empty() {
        note("the settings name no upstream and no sink: nothing is collected or delivered");
    }
    if rows.len() > 0 {
        result_line(table(&head, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], rows.collect()))?;
    }
    for collector in collectors {
        result_line(budget(&collector))?;
    }
    for (figures, failing) in all.iter() {
        for run in failing {
            let next = duration((run.due_at - now.as_millis()).max(0));
            let problem = Stream::Result.shown(run.problem.as_deref().unwrap_or_default());
            result_line(format!(
                "{} {} run {} ({}), tried {} times in vain, again in {next}: {problem}",
                styled(BAD, "not landed:"),
                figures.upstream,
                run.run_id,
                run.status,
                run.attempts
            ))?;
        }
    }
    deliver::show_status(&sinks)
}

/// `a collector of api.eu.cloud.talend.com: 412 of 480 requests left in this minute, about 9,600 runs an hour at this pace`.
fn budget(collector: &CollectorFigures) -> String {
    let number = |count: i64| count.unsigned_abs();
    let CollectorFigures { host, requests, limited, .. } = collector;
    let sent = format!("{} requests sent, {} of them limited", count(number(*requests)), count(number(*limited)));
    match collector.per_minute.zip(collector.requests_left) {
        Some((per_minute, left)) => format!(
            "a collector of {host}: {} of {} requests left in this minute, about {} runs an hour at this pace; {sent}",
            count(number(left)),
            count(number(per_minute)),
            count(number(per_minute) * 60 / REQUESTS_OF_RUN)
        ),
        None => format!("a collector of {host}, without a bound of requests; {sent}"),
    }
}

/// Reads the settings and tries everything that they name.
pub(crate) async fn check(args: CheckArgs, stop: CancellationToken) -> Outcome {
    if args.example {
        return Ok(result_line(EXAMPLE.trim_end())?);
    }
    let opened = args.from.open(Needs::Something).await?;
    // Told to stop, it still removes what it has written.
    opened.store.check_until(&stop).await?;
    result_line(format!("{}  archive: opens in {}, and takes changes", styled(GOOD, "good"), opened.place))?;
    crate::until_stopped(check_peers(opened), stop).await
}

/// Tries upstreams, sinks and the destinations of alerts.
async fn check_peers(opened: Opened) -> Outcome {
    let Opened { store, upstreams, sinks, alerts, .. } = opened;
    let good = |text: String| result_line(format!("{}  {text}", styled(GOOD, "good")));
    let mut first = None;
    for Scheduled { upstream, .. } in upstreams {
        let (name, now) = (upstream.name.clone(), SystemClock.now());
        let base = upstream.client.settings().base_url.clone();
        let collector = Collector::new(store.clone(), upstream, Arc::new(runlog_collector::Unheard));
        match collector.count(Range { from: now.plus_millis(-86_400_000), to: now }).await {
            Ok(runs) => good(format!("upstream {name}: {base} shows {} runs of the last day", count(runs)))?,
            Err(error) => {
                let failure = failure(error).while_doing(format!("upstream {name} at {base}"));
                result_line(format!("{}   {:#}", styled(BAD, "bad"), failure.error))?;
                first.get_or_insert(failure.exit);
            }
        }
    }
    let of_sinks = deliver::check(&store, sinks).await?;
    if let Some(alerts) = alerts {
        for (destination, tried) in alerts.check(SystemClock.now()).await {
            match tried {
                Ok(()) => good(format!("alerts to {destination}: taken"))?,
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
        Some(exit) => Err(Failure::new(exit, "some of what the settings name does not work; see above")),
    }
}
