//! `runlog alerts`: the alert rules and what is open, mutes, what the rules would have reported, and test alerts.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use runlog_client::{Client, ErrorKind};
use runlog_model::wire::alerts::{AlertPreviewBody, AlertRuleBody, NewAlertMute};
use runlog_model::{Clock, Random};
use runlog_store::Store;

use crate::arguments::archive::{self, LocationArgs};
use crate::arguments::candidates;
use crate::arguments::connect::ConnectArgs;
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
  runlog alerts mute night-shift --until 3h --note 'the database moves'
  runlog alerts unmute night-shift
  runlog alerts test night-shift")]
pub(crate) struct AlertsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show which alerts each rule would have sent in the last days; nothing is recorded or sent
    Preview(PreviewArgs),
    /// List the rules with their state, open alerts, and the maintenance windows
    List(ListArgs),
    /// Send no more alerts of a rule, for a while or until it is unmuted
    Mute(MuteArgs),
    /// Send the alerts of a rule again
    Unmute(UnmuteArgs),
    /// Send a test alert to each destination of a rule
    Test(TestArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
The rules are those that the processes with the settings have recorded in the archive. With --settings, --data, --catalog \
or --objects, the archive is read directly. Otherwise, the service is queried, which requires the token of an administrator. \
Without any of these options, the archive of ./runlog.toml is read if that file exists and no service is given.")]
struct ListArgs {
    /// Settings file whose archive to read
    #[arg(long, env = "RUNLOG_SETTINGS", value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Data folder of the archive to read [default: the value in the settings, or runlog-data]
    #[arg(long, env = "RUNLOG_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    #[command(flatten)]
    places: LocationArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
While a rule is muted, its alerts are recorded but never sent; an alert that was already waiting is still sent. The mute \
applies on every node within seconds. It requires the token of an administrator. To mute the alerts about one cause \
only, mute its problem (runlog problems mute).")]
struct MuteArgs {
    /// Name of the rule
    #[arg(value_name = "RULE", add = ArgValueCompleter::new(candidates::alert_rules))]
    rule: String,
    /// End of the mute: a time, or a duration from now such as 3h or 2d [default: when the rule is unmuted]
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Reason, shown with the rule; up to 500 characters
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
struct UnmuteArgs {
    /// Name of the rule
    #[arg(value_name = "RULE", add = ArgValueCompleter::new(candidates::alert_rules))]
    rule: String,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
PagerDuty and Opsgenie open an alert and close it at once. No archive is needed.")]
struct TestArgs {
    /// Name of the rule
    #[arg(value_name = "RULE", add = ArgValueCompleter::new(candidates::alert_rules))]
    rule: String,
    /// Settings file
    #[arg(long, env = "RUNLOG_SETTINGS", default_value = "runlog.toml", value_name = "FILE")]
    settings: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Late tasks, incomplete logs and unavailable engines are evaluated at the current time. Lagging sinks are not included, and \
maintenance windows are ignored. No secrets of the settings are needed.")]
struct PreviewArgs {
    /// How far back to search: a time, or a duration ago, such as 12h or 7d
    #[arg(long, value_name = "TIME", default_value = "2d", allow_hyphen_values = true)]
    since: Moment,
    /// Only this rule
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(candidates::alert_rules))]
    rule: Option<String>,
    /// Settings file
    #[arg(long, env = "RUNLOG_SETTINGS", default_value = "runlog.toml", value_name = "FILE")]
    settings: PathBuf,
    /// Data folder of the archive [default: the value in the settings, or runlog-data]
    #[arg(long, env = "RUNLOG_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    #[command(flatten)]
    places: LocationArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: AlertsArgs) -> Outcome {
    match args.action {
        Action::Preview(args) => preview(args).await,
        Action::List(args) => list(args).await,
        Action::Mute(args) => mute(args).await,
        Action::Unmute(args) => unmute(args).await,
        Action::Test(args) => test(args).await,
    }
}

impl ListArgs {
    /// The settings whose archive is read; none if a service is asked.
    fn settings_of_archive(&self) -> Option<PathBuf> {
        let default = || PathBuf::from("runlog.toml");
        let names_archive = self.data.is_some() || self.places.catalog.is_some() || self.places.objects.is_some();
        match &self.settings {
            Some(settings) => Some(settings.clone()),
            None if names_archive => Some(default()),
            None => Some(default()).filter(|file| !self.connect.names_service() && file.exists()),
        }
    }
}

async fn mute(args: MuteArgs) -> Outcome {
    let client = args.connect.client()?;
    let new = NewAlertMute { until: args.until.map(|until| until.after(SystemClock.now())), note: args.note };
    if let Err(error) = client.mute_alerts(&args.rule, &new).await {
        return Err(with_known_rules(&client, &args.rule, error).await);
    }
    let until = new.until.map_or_else(
        || format!("until `runlog alerts unmute {}`", Stream::Result.shown_on_line(&args.rule)),
        |until| format!("until {}", shown_seconds(until)),
    );
    Ok(result_line(format!("{} is muted {until}", Stream::Result.shown_on_line(&args.rule)))?)
}

async fn unmute(args: UnmuteArgs) -> Outcome {
    let client = args.connect.client()?;
    if let Err(error) = client.unmute_alerts(&args.rule).await {
        return Err(with_known_rules(&client, &args.rule, error).await);
    }
    Ok(result_line(format!("{} is not muted", Stream::Result.shown_on_line(&args.rule)))?)
}

/// Returns the failure of a change of a rule; if the rule does not exist, it lists the existing ones.
async fn with_known_rules(client: &Client, rule: &str, error: runlog_client::Error) -> Failure {
    if error.kind() != ErrorKind::NotFound {
        return error.into();
    }
    match client.alert_rules().await {
        Ok(rules) => {
            let known: Vec<String> = rules.into_iter().map(|rule| rule.name).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Failure::new(Exit::NotFound, format!("the archive has no alert rule {rule:?}; available: {known}"))
        }
        Err(_) => error.into(),
    }
}

async fn list(args: ListArgs) -> Outcome {
    let rules = match args.settings_of_archive() {
        None => args.connect.client()?.alert_rules().await?,
        Some(file) => {
            let settings = Settings::read(&file)?;
            let store = open(&settings, &file, args.data.as_deref(), &args.places).await?;
            let rules = store.alerts().rules().await;
            store.close().await;
            rules.map_err(anyhow::Error::from)?
        }
    };
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
async fn open(settings: &Settings, file: &Path, data: Option<&Path>, places: &LocationArgs) -> Outcome<Store> {
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
    let store = open(&settings, &args.settings, args.data.as_deref(), &args.places).await?;
    let now = store.shared_clock().now();
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
