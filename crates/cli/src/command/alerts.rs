//! `runlog alerts`: the alert rules and what is open, what the rules would have reported, and test alerts.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use runlog_model::wire::alerts::{AlertPreviewBody, AlertRuleBody};
use runlog_model::{Clock, Random};
use runlog_store::Store;

use crate::arguments::archive::{self, PlaceArgs};
use crate::arguments::moment::Moment;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::preferences::shown_seconds;
use crate::render::screen::Stream;
use crate::render::terminal::{BAD, GOOD, STRONG, counted, note, result_json, result_line, styled, table};
use crate::settings::Settings;
use crate::system::{SystemClock, SystemRandom};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlog alerts preview
  runlog alerts preview --since 7d --rule night-shift
  runlog alerts preview --json | jq '.[].events'
  runlog alerts list
  runlog alerts test night-shift")]
pub(crate) struct AlertsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show which alerts each rule would have sent in the last days; nothing is recorded or sent
    Preview(PreviewArgs),
    /// List the rules with their state, what is open, and the maintenance windows
    List(ListArgs),
    /// Send a test alert to each destination of a rule
    Test(TestArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Rules are listed as the processes with the settings have recorded them in the archive.")]
struct ListArgs {
    /// Settings file
    #[arg(long, env = "RUNLOG_SETTINGS", default_value = "runlog.toml", value_name = "FILE")]
    settings: PathBuf,
    /// Data folder of the archive [default: the value in the settings, or runlog-data]
    #[arg(long, env = "RUNLOG_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    #[command(flatten)]
    places: PlaceArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
PagerDuty and Opsgenie open an alert and close it at once. No archive is needed.")]
struct TestArgs {
    /// Name of the rule
    #[arg(value_name = "RULE")]
    rule: String,
    /// Settings file
    #[arg(long, env = "RUNLOG_SETTINGS", default_value = "runlog.toml", value_name = "FILE")]
    settings: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Late tasks, incomplete logs and unavailable engines are those of now. Sinks that are behind are not searched for, and
maintenance windows do not matter. No secret of the settings is needed.")]
struct PreviewArgs {
    /// How far back to search: a time, or a duration ago, such as 12h or 7d
    #[arg(long, value_name = "TIME", default_value = "2d", allow_hyphen_values = true)]
    since: Moment,
    /// Only this rule
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Settings file
    #[arg(long, env = "RUNLOG_SETTINGS", default_value = "runlog.toml", value_name = "FILE")]
    settings: PathBuf,
    /// Data folder of the archive [default: the value in the settings, or runlog-data]
    #[arg(long, env = "RUNLOG_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    #[command(flatten)]
    places: PlaceArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: AlertsArgs) -> Outcome {
    match args.action {
        Action::Preview(args) => preview(args).await,
        Action::List(args) => list(args).await,
        Action::Test(args) => test(args).await,
    }
}

async fn list(args: ListArgs) -> Outcome {
    let settings = Settings::read(&args.settings)?;
    let store = open(&settings, &args.settings, args.data.as_deref(), &args.places).await?;
    let rules = store.alerts().rules().await;
    store.close().await;
    let rules = rules.map_err(anyhow::Error::from)?;
    if args.json {
        return Ok(result_json(&rules)?);
    }
    let shown = |text: &str| Stream::Result.shown_on_line(text).into_owned();
    let rows = rules.iter().map(|rule| {
        let destinations = rule.description.as_ref().map(|it| it.destinations.join(", ")).unwrap_or_default();
        let numbers = [rule.open.len() as u64, rule.delivered, rule.waiting, rule.refused].map(|it| it.to_string());
        [vec![shown(&rule.name), state(rule)], numbers.to_vec(), vec![shown(&destinations)]].concat()
    });
    let head = ["rule", "state", "open", "delivered", "waiting", "given up", "destinations"];
    result_line(table(&head, &[2, 3, 4, 5], rows.collect()))?;
    let open = rules.iter().flat_map(|rule| rule.open.iter().map(move |open| (rule, open)));
    let open: Vec<Vec<String>> = open
        .map(|(rule, open)| vec![shown_seconds(open.since), shown(&rule.name), open.what.clone(), shown(&open.text)])
        .collect();
    if !open.is_empty() {
        result_line("")?;
        result_line(table(&["open since", "rule", "event", "text"], &[], open))?;
    }
    let mut windows: Vec<_> =
        rules.iter().filter_map(|rule| rule.description.as_ref()).flat_map(|it| &it.maintenance).collect();
    windows.sort_by(|a, b| a.name.cmp(&b.name));
    windows.dedup_by(|a, b| a.name == b.name);
    let now = SystemClock.now();
    let windows: Vec<Vec<String>> = windows
        .into_iter()
        .map(|window| {
            let until = window.until.filter(|until| *until > now).map(shown_seconds);
            vec![shown(&window.name), until.unwrap_or_else(|| "not open".to_owned())]
        })
        .collect();
    if !windows.is_empty() {
        result_line("")?;
        result_line(table(&["maintenance window", "open until"], &[], windows))?;
    }
    Ok(())
}

fn state(rule: &AlertRuleBody) -> String {
    match (&rule.mute, &rule.problem) {
        (Some(mute), _) => {
            mute.until.map_or("muted".to_owned(), |until| format!("muted until {}", shown_seconds(until)))
        }
        (None, Some(problem)) => format!("failing: {}", Stream::Result.shown_on_line(problem)),
        (None, None) => "active".to_owned(),
    }
}

/// Opens the archive of the settings.
async fn open(settings: &Settings, file: &Path, data: Option<&Path>, places: &PlaceArgs) -> Outcome<Store> {
    let stored = settings.archive(data, places.catalog.clone(), places.objects.clone())?;
    if let Some(folder) = archive::folder_without_archive(&stored) {
        let (folder, file) = (folder.display(), file.display());
        let message = format!("there is no archive in {folder}; set its folder with --data or in {file}");
        return Err(Failure::new(Exit::Usage, message));
    }
    archive::open(stored).await
}

async fn test(args: TestArgs) -> Outcome {
    let settings = Settings::read(&args.settings)?;
    let rule = settings.alert_rule(&args.rule)?.map_err(|known| {
        let file = args.settings.display();
        Failure::new(Exit::Usage, format!("there is no alert {:?} in {file}; available: {known}", args.rule))
    })?;
    let id = format!("runlog-test-{}", SystemRandom.uuid());
    let mut failed = false;
    for (destination, tried) in rule.test(&id, SystemClock.now()).await {
        match tried {
            Ok(()) => result_line(format!("{}  {destination}: accepted", styled(GOOD, "good")))?,
            Err(error) => {
                failed = true;
                result_line(format!("{}   {}", styled(BAD, "bad"), Stream::Result.shown_on_line(&error.to_string())))?;
            }
        }
    }
    match failed {
        false => Ok(()),
        true => Err(Failure::new(Exit::Unavailable, "some destinations did not accept the test; see above")),
    }
}

async fn preview(args: PreviewArgs) -> Outcome {
    let settings = Settings::read(&args.settings)?;
    let file = args.settings.display();
    let usage = |message: String| Failure::new(Exit::Usage, message);
    if !settings.has_alerts() {
        return Err(usage(format!("{file} has no alert; see `runlog check --example`")));
    }
    let now = SystemClock.now();
    let store = open(&settings, &args.settings, args.data.as_deref(), &args.places).await?;
    let previews = settings.alerts_to_preview(&store).preview(args.since.before(now), now).await;
    store.close().await;
    let mut previews = previews.map_err(anyhow::Error::from)?;
    if let Some(name) = &args.rule {
        let known: Vec<String> = previews.iter().map(|preview| preview.rule.clone()).collect();
        previews.retain(|preview| preview.rule == *name);
        if previews.is_empty() {
            return Err(usage(format!("there is no alert {name:?} in {file}; available: {}", known.join(", "))));
        }
    }
    if args.json {
        return Ok(result_json(&previews)?);
    }
    for (index, preview) in previews.iter().enumerate() {
        if index > 0 {
            result_line("")?;
        }
        show(preview)?;
    }
    Ok(())
}

fn show(preview: &AlertPreviewBody) -> Outcome {
    let at_least = if preview.complete { "" } else { "at least " };
    let muted = match preview.muted {
        0 => String::new(),
        muted => format!(", {muted} of them muted"),
    };
    let head = styled(STRONG, Stream::Result.shown_on_line(&preview.rule));
    result_line(format!("{head}: {at_least}{}{muted}", counted(preview.events, "event")))?;
    if preview.items.is_empty() {
        return Ok(());
    }
    let rows = preview.items.iter().map(|item| {
        let what = if item.muted { format!("{} (muted)", item.what) } else { item.what.clone() };
        vec![shown_seconds(item.at), what, Stream::Result.shown_on_line(&item.text).into_owned()]
    });
    result_line(table(&["time", "event", "text"], &[], rows.collect()))?;
    let more = preview.events.saturating_sub(preview.items.len() as u64);
    if more > 0 {
        note(format!("and {}", counted(more, "earlier event")));
    }
    Ok(())
}
