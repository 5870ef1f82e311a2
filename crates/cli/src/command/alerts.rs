//! `runlog alerts`: what the alert rules in the settings would have reported, and test alerts.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use runlog_model::wire::alerts::AlertPreviewBody;
use runlog_model::{Clock, Random};

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
  runlog alerts test night-shift")]
pub(crate) struct AlertsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what each rule would have reported of the last days; nothing is recorded or sent
    Preview(PreviewArgs),
    /// Send a test alert to each destination of a rule
    Test(TestArgs),
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
Late tasks and incomplete logs are those of now. Sinks that are behind are not searched for. No secret of the settings is
needed.")]
struct PreviewArgs {
    /// How far back to search: a time, or so long ago, such as 12h or 7d
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
        Action::Test(args) => test(args).await,
    }
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
    let stored = settings.archive(args.data.as_deref(), args.places.catalog.clone(), args.places.objects.clone())?;
    if let Some(folder) = archive::folder_without_archive(&stored) {
        let folder = folder.display();
        return Err(usage(format!("there is no archive in {folder}; set its folder with --data or in {file}")));
    }
    let now = SystemClock.now();
    let store = archive::open(stored).await?;
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
