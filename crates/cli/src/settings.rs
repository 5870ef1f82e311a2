//! The settings file, `runlog.toml`: what is collected from where, and where it goes.
//!
//! Secrets do not stand in it: they come from a variable, a file or a command.

mod alerts;
mod sinks;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use croner::Cron;
use croner::parser::CronParser;
use runlog_client::{Client, ClientSettings, Credentials, TlsSettings, TokioWait};
use runlog_collector::alerts::Alerts;
use runlog_collector::{CollectSettings, Selection, SinkSetup, Upstream};
use runlog_model::{Random, RunStatus, TaskId, Timestamp};
use runlog_store::{SecretUrl, Store, StoreSettings};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de};
use url::Url;

use crate::arguments::Span;
use crate::edge::{SystemClock, SystemRandom, environment};
use crate::exit::{Exit, Failure, Outcome};

/// Every setting, with its default and what it is for: what `runlog check --example` prints.
pub(crate) const EXAMPLE: &str = include_str!("settings.example.toml");

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    #[serde(default)]
    archive: ArchiveSettings,
    #[serde(default, rename = "upstream")]
    upstreams: Vec<UpstreamSettings>,
    #[serde(default, rename = "sink")]
    sinks: Vec<sinks::SinkSettings>,
    #[serde(default)]
    alerts: alerts::AlertsSettings,
    #[serde(default, rename = "alert")]
    alert_rules: Vec<alerts::AlertSettings>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchiveSettings {
    data: Option<PathBuf>,
    catalog: Option<TextOrSecret>,
    objects: Option<String>,
    work: Option<PathBuf>,
    settle: Option<Time>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpstreamSettings {
    name: Name,
    region: Option<String>,
    url: Option<Url>,
    token: Option<Secret>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    pace: Option<Pace>,
    #[serde(default)]
    allow_hosts: Vec<String>,
    #[serde(default)]
    allow_private_addresses: bool,
    authorities: Option<PathBuf>,
    client_certificate: Option<Secret>,
    #[serde(default)]
    environments: Vec<String>,
    #[serde(default)]
    workspaces: Vec<String>,
    #[serde(default)]
    tasks: Vec<TaskId>,
    #[serde(default)]
    task_names: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    statuses: Vec<RunStatus>,
    look_back: Option<Time>,
    history: Option<Time>,
    settle: Option<Time>,
    while_going: Option<Time>,
    every: Option<Time>,
    cron: Option<Schedule>,
    jitter: Option<Time>,
    parallel: Option<usize>,
    pages_in_flight: Option<usize>,
}

/// A word of letters, digits, `-`, `_` and `.`, fit for a folder and a table.
#[derive(Debug, Clone)]
struct Name(String);

/// A length of time such as `5m`.
#[derive(Debug, Clone, Copy)]
struct Time(Duration);

/// Requests per second and minute.
#[derive(Debug, Clone, Copy)]
struct Pace(runlog_client::PaceSetting);

/// When rounds begin, in UTC.
#[derive(Debug, Clone)]
struct Schedule(Cron);

/// Where a secret comes from.
// What stands there instead is not shown: it may be the secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "a secret is given as { env = \"…\" }, { file = \"…\" } or { command = \"…\" }, never itself"
)]
pub(crate) enum Secret {
    Environment(FromEnvironment),
    File(FromFile),
    Command(FromCommand),
}

/// A variable that holds a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FromEnvironment {
    env: String,
}

/// A file that holds a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FromFile {
    file: PathBuf,
}

/// A command that prints a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FromCommand {
    command: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum TextOrSecret {
    Text(String),
    Secret(Secret),
}

/// An upstream, and when its runs are listed.
pub(crate) struct Scheduled {
    pub(crate) upstream: Upstream,
    pub(crate) pause: Pause,
}

/// How long it is from one round to the next.
#[derive(Clone)]
pub(crate) struct Pause {
    every: Duration,
    cron: Option<Cron>,
    jitter: Duration,
}

impl Settings {
    /// Reads the file; the message names the line, and the nearest known name for one that is unknown.
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let advice = "runlog check --example > runlog.toml writes one to begin with";
            Failure { exit: Exit::Usage, error: anyhow::anyhow!("cannot read {}: {error}; {advice}", path.display()) }
        })?;
        Self::parse(&text).map_err(|message| Failure::new(Exit::Usage, format!("{}: {message}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let settings: Self = toml::from_str(text).map_err(|error| explained(&error, text))?;
        for (index, upstream) in settings.upstreams.iter().enumerate() {
            upstream.check()?;
            if settings.upstreams[..index].iter().any(|other| other.name.0 == upstream.name.0) {
                return Err(format!(
                    "two upstreams are called {:?}; the archive tells them apart by name",
                    upstream.name.0
                ));
            }
        }
        for (index, sink) in settings.sinks.iter().enumerate() {
            sink.check()?;
            if settings.sinks[..index].iter().any(|other| other.name() == sink.name()) {
                return Err(format!("two sinks are called {:?}; the archive tells them apart by name", sink.name()));
            }
        }
        alerts::check(&settings.alerts, &settings.alert_rules)?;
        Ok(settings)
    }

    /// The alerts, over an archive; none when there are no rules.
    pub(crate) fn alerts(&self, store: &Store) -> Outcome<Option<Alerts>> {
        alerts::alerts(&self.alerts, &self.alert_rules, store)
    }

    /// Where the archive lies; flags and variables win.
    pub(crate) fn archive(
        &self,
        data: Option<&Path>,
        catalog: Option<SecretUrl>,
        objects: Option<SecretUrl>,
    ) -> Outcome<StoreSettings> {
        let folder = data.or(self.archive.data.as_deref()).unwrap_or(Path::new("runlog-data"));
        let usage = |message: String| Failure::new(Exit::Usage, message);
        let catalog = match (catalog, &self.archive.catalog) {
            (Some(catalog), _) => Some(catalog),
            (None, Some(TextOrSecret::Text(text))) => {
                if Url::parse(text).is_ok_and(|url| url.password().is_some()) {
                    let advice = "write catalog = { env = \"RUNLOG_CATALOG\" } or { file = \"…\" } instead";
                    return Err(usage(format!("archive.catalog holds a password; {advice}")));
                }
                Some(crate::command::serve::catalog(text).map_err(usage)?)
            }
            (None, Some(TextOrSecret::Secret(secret))) => {
                let text = secret.read("archive.catalog")?;
                Some(crate::command::serve::catalog(text.expose_secret()).map_err(usage)?)
            }
            (None, None) => None,
        };
        let objects = match (objects, &self.archive.objects) {
            (Some(objects), _) => Some(objects),
            (None, Some(text)) => Some(crate::command::serve::objects(text).map_err(usage)?),
            (None, None) => None,
        };
        let usual = StoreSettings::in_folder(folder);
        let settle = self.archive.settle.and_then(|time| i64::try_from(time.0.as_millis()).ok());
        Ok(StoreSettings { catalog, objects, settle_ms: settle.unwrap_or(usual.settle_ms), ..usual })
    }

    /// The upstreams, ready to be asked.
    pub(crate) fn upstreams(&self, data: &Path) -> Outcome<Vec<Scheduled>> {
        let work = self.archive.work.clone().unwrap_or_else(|| data.join("collecting"));
        let process = SystemRandom.uuid().to_string();
        let mut scheduled: Vec<Scheduled> = Vec::new();
        for upstream in &self.upstreams {
            let mut one = upstream.scheduled(&work, &process)?;
            let host_of = |one: &Scheduled| {
                let url = &one.upstream.client.settings().base_url;
                (url.host_str().map(str::to_owned), url.port_or_known_default())
            };
            // One pace for all that is asked of a host.
            if let Some(other) = scheduled.iter().find(|other| host_of(other) == host_of(&one)) {
                one.upstream.client = one.upstream.client.beside(&other.upstream.client);
            }
            scheduled.push(one);
        }
        Ok(scheduled)
    }

    /// The names of the upstreams; no secret is read for them.
    pub(crate) fn upstream_names(&self) -> Vec<&str> {
        self.upstreams.iter().map(|upstream| upstream.name.0.as_str()).collect()
    }

    /// The names of the sinks, and what each is; no secret is read for them.
    pub(crate) fn sink_kinds(&self) -> Vec<(&str, &'static str)> {
        self.sinks.iter().map(|sink| (sink.name(), sink.kind())).collect()
    }

    /// True when there is somewhere to deliver to.
    pub(crate) fn has_sinks(&self) -> bool {
        !self.sinks.is_empty()
    }

    /// True when somebody is told of something.
    pub(crate) fn has_alerts(&self) -> bool {
        !self.alert_rules.is_empty()
    }

    /// The sinks, ready to be sent to.
    pub(crate) fn sinks(&self) -> Outcome<Vec<SinkSetup>> {
        self.sinks.iter().map(sinks::SinkSettings::setup).collect()
    }
}

impl UpstreamSettings {
    fn check(&self) -> Result<(), String> {
        let name = &self.name.0;
        if self.region.is_some() == self.url.is_some() {
            return Err(format!("upstream {name:?} needs either a region, such as \"eu\", or a url"));
        }
        match (&self.token, &self.client_id, &self.client_secret) {
            (Some(_), None, None) | (None, Some(_), Some(_)) => {}
            _ => return Err(format!("upstream {name:?} needs either a token, or a client_id and a client_secret")),
        }
        if self.while_going.is_some_and(|time| time.0 < Duration::from_secs(1)) {
            return Err(format!("upstream {name:?}: while_going is a second or more"));
        }
        if self.every.is_some() && self.cron.is_some() {
            return Err(format!("upstream {name:?} has both every and cron; one says when its runs are listed"));
        }
        Ok(())
    }

    fn scheduled(&self, work: &Path, process: &str) -> Outcome<Scheduled> {
        let name = self.name.0.clone();
        let url = match (&self.url, &self.region) {
            (Some(url), _) => url.clone(),
            (None, region) => runlog_client::region_url(region.as_deref().unwrap_or_default())?,
        };
        let mut settings = ClientSettings::new(url, self.credentials()?);
        settings.pace = self.pace.map_or(settings.pace, |pace| pace.0);
        settings.download.allowed_hosts.extend(self.allow_hosts.iter().cloned());
        settings.download.allow_private_addresses |= self.allow_private_addresses;
        settings.tls = self.tls()?;
        let client = Client::new(settings, Arc::new(SystemClock), Arc::new(SystemRandom), Arc::new(TokioWait))?;
        let selection = Selection {
            environments: self.environments.clone(),
            workspaces: self.workspaces.clone(),
            tasks: self.tasks.clone(),
            task_names: self.task_names.clone(),
            tags: self.tags.clone(),
            statuses: self.statuses.clone(),
        };
        let default = CollectSettings::in_folder(work.to_owned());
        let or = |time: Option<Time>, default: Duration| time.map_or(default, |time| time.0);
        let settings = CollectSettings {
            look_back: or(self.look_back, default.look_back),
            history: or(self.history, default.history),
            settle: or(self.settle, default.settle),
            while_going: self.while_going.map(|time| time.0),
            parallel: self.parallel.unwrap_or(default.parallel),
            pages_in_flight: self.pages_in_flight.unwrap_or(default.pages_in_flight),
            ..default
        };
        let pause = Pause {
            every: or(self.every, Duration::from_secs(300)),
            cron: self.cron.clone().map(|cron| cron.0),
            jitter: or(self.jitter, Duration::ZERO),
        };
        let process = process.to_owned();
        Ok(Scheduled { upstream: Upstream { name, client, selection, settings, process }, pause })
    }

    fn tls(&self) -> Outcome<TlsSettings> {
        let name = &self.name.0;
        let authorities = self.authorities.as_ref().map(std::fs::read).transpose();
        let authorities = authorities
            .with_context(|| format!("upstream {name}: authorities cannot be read"))
            .map_err(|error| Failure { exit: Exit::Usage, error })?;
        let what = format!("upstream {name}: client_certificate");
        let certificate = self.client_certificate.as_ref().map(|it| it.read(&what)).transpose()?;
        let certificate = certificate.as_ref().map(|it| it.expose_secret().as_bytes());
        TlsSettings::from_pem(authorities.as_deref(), certificate)
            .map_err(|error| Failure::from(error).while_doing(format!("upstream {name}")))
    }

    fn credentials(&self) -> Outcome<Credentials> {
        let name = &self.name.0;
        Ok(match (&self.token, &self.client_id, &self.client_secret) {
            (Some(token), ..) => Credentials::PersonalToken(token.read(&format!("upstream {name}: token"))?),
            (None, Some(id), Some(secret)) => Credentials::ServiceAccount {
                client_id: id.clone(),
                client_secret: secret.read(&format!("upstream {name}: client_secret"))?,
            },
            _ => return Err(Failure::new(Exit::Usage, format!("upstream {name} has no credentials"))),
        })
    }
}

impl Pause {
    /// How long it is from now until the next round.
    pub(crate) fn from(&self, now: Timestamp) -> Duration {
        let next = self.cron.as_ref().and_then(|cron| {
            let now = jiff::Timestamp::from_millisecond(now.as_millis()).ok()?.to_zoned(jiff::tz::TimeZone::UTC);
            let next = cron.find_next_occurrence(&now, false).ok()?;
            Duration::try_from(now.duration_until(&next)).ok()
        });
        let mut byte = [0];
        SystemRandom.fill(&mut byte);
        next.unwrap_or(self.every) + self.jitter.mul_f64(f64::from(byte[0]) / 255.0)
    }
}

impl Secret {
    /// Reads the secret. Errors name where it should have come from, and never what came.
    pub(crate) fn read(&self, what: &str) -> Outcome<SecretString> {
        let denied = |error: anyhow::Error| Failure { exit: Exit::Denied, error };
        let text = match self {
            Self::Environment(FromEnvironment { env }) => {
                environment(env).ok_or_else(|| denied(anyhow::anyhow!("{what}: the variable {env} is not set")))?
            }
            Self::File(FromFile { file }) => std::fs::read_to_string(file)
                .with_context(|| format!("{what}: cannot read {}", file.display()))
                .map_err(denied)?,
            Self::Command(FromCommand { command }) => {
                let output = Command::new("sh").arg("-c").arg(command).stderr(Stdio::inherit()).output();
                let output = output.with_context(|| format!("{what}: cannot run its command")).map_err(denied)?;
                if !output.status.success() {
                    return Err(denied(anyhow::anyhow!("{what}: its command ended with {}", output.status)));
                }
                String::from_utf8(output.stdout)
                    .map_err(|_| denied(anyhow::anyhow!("{what}: what its command printed is no text")))?
            }
        };
        match text.trim() {
            "" => Err(denied(anyhow::anyhow!("{what} is empty"))),
            text => Ok(SecretString::from(text.to_owned())),
        }
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        match !text.is_empty() && text.len() <= 60 && text.chars().all(is_plain) && !text.starts_with('.') {
            true => Ok(Self(text)),
            false => Err(de::Error::custom(format!("{text:?} is not a name of letters, digits, -, _ and ."))),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The library knows no days, because they are not all of one length.
        let hours = text.strip_suffix('d').and_then(|days| days.trim().parse::<u64>().ok()).map(|days| days * 24);
        let text = hours.map_or(text, |hours| format!("{hours}h"));
        text.parse::<Span>().map(|span| Self(span.duration())).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Pace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::connection::pace(&text).map(Self).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        CronParser::new().parse(&text).map(Self).map_err(|error| de::Error::custom(format!("{text:?}: {error}")))
    }
}

/// The parser's message in one line, with the line of the file and the name that may have been meant.
fn explained(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let message = error.message();
    let place = line.map_or_else(String::new, |line| format!("line {line}: "));
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field").then(|| quoted.next()).flatten();
    match unknown {
        Some(unknown) => {
            let near = quoted.max_by(|a, b| strsim::jaro(unknown, a).total_cmp(&strsim::jaro(unknown, b)));
            let meant = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
            format!("{place}there is no setting {unknown:?} here{meant}")
        }
        None => format!("{place}{}", message.trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[[upstream]]\nname = \"eu\"\nregion = \"eu\"\ntoken = { env = \"T\" }\n";

    const ALERT: &str = "[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nwebhook = \"https://a\"\n";

    #[test]
    fn the_example_can_be_read_and_names_every_setting() {
        let shown: String = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|line| line.contains(" = ")).unwrap_or(line))
            .map(|line| format!("{line}\n"))
            .collect();
        // With everything that stands as a comment, there are too many ways to say some things; each is known.
        for (table, parent) in [
            ("archive", "[archive]"),
            ("upstream", "[[upstream]]"),
            ("sink", "[[sink]]"),
            ("alerts", "[alerts]"),
            ("alerts.mail", "[alerts.mail]"),
            ("alert", "[[alert]]"),
        ] {
            let error = toml::from_str::<Settings>(&format!("{parent}\nnone_such = 1\n")).unwrap_err();
            let names = error.message().split('`').skip(3).step_by(2);
            for name in names {
                assert!(shown.contains(&format!("\n{name} = ")), "{table}.{name} is not in the example");
            }
        }
        Settings::parse(EXAMPLE).unwrap();
    }

    #[test]
    fn every_mistake_is_named_with_what_to_do() {
        let message = |text: &str| Settings::parse(text).map(|_| ()).unwrap_err();
        let with = |line: &str| message(&format!("{LEAST}{line}\n"));
        let sink = |lines: &str| message(&format!("[[sink]]\nname = \"out\"\n{lines}\n"));
        insta::assert_snapshot!(
            [
                with("taks = []"),
                with("every = \"soon\""),
                with("every = \"5m\"\ncron = \"0 * * * *\""),
                with("while_going = \"10ms\""),
                with("cron = \"61 * * * *\""),
                with("pace = \"quick\""),
                with("statuses = [\"failed\"]"),
                with("tasks = [\"nightly\"]"),
                with("url = \"https://example.com\""),
                with("client_id = \"x\""),
                message("[[upstream]]\nname = \"eu\"\nregion = \"eu\"\ntoken = \"a-token\"\n"),
                message("[[upstream]]\nname = \"eu\"\nregion = \"eu\"\ntoken = { env = \"T\", file = \"t\" }\n"),
                with("[[upstream]]\nname = \"eu\"\nregion = \"us\"\ntoken = { env = \"T\" }"),
                message("[[upstream]]\nname = \"a/b\""),
                message("[upstrem]"),
                sink("kind = \"elastic\""),
                sink("kind = \"loki\""),
                sink("kind = \"loki\"\nurl = \"http://localhost:3100\"\nindex = \"logs\""),
                sink("kind = \"loki\"\nurl = \"http://localhost:3100\"\nlabels = { run = \"run_id\" }"),
                sink("kind = \"elasticsearch\"\nurl = \"http://localhost:9200\""),
                sink("kind = \"elasticsearch\"\nurl = \"http://localhost:9200\"\nindex = \"Logs\""),
                sink("kind = \"elasticsearch\"\nurl = \"http://me:pw@localhost:9200\"\nindex = \"logs\""),
                sink("kind = \"elasticsearch\"\nurl = \"http://localhost:9200\"\nindex = \"logs\"\nfields = { a = \"mesage\" }"),
                sink("kind = \"splunk\"\nurl = \"https://localhost:8088\""),
                sink("kind = \"files\""),
                sink("kind = \"files\"\nfolder = \"out\"\nfile_name = \"{task}\""),
                sink("kind = \"files\"\nfolder = \"out\"\nformat = \"parquet\"\ncompression = \"gzip\""),
                sink("kind = \"webhook\"\nurl = \"https://example.com\"\nseverity = \"WARN\""),
                sink("kind = \"webhook\"\nurl = \"https://example.com\"\nuser = \"me\""),
                sink("kind = \"webhook\"\nurl = \"https://example.com\"\nredact = [\"emial\"]"),
                sink("kind = \"webhook\"\nurl = \"https://example.com\"\nredact = [{ pattern = \"(\" }]"),
                sink("kind = \"webhook\"\nurl = \"https://example.com\"\n[[sink]]\nname = \"out\"\nkind = \"webhook\"\nurl = \"https://example.com\""),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_fails\"]\nmail = [\"a@b.c\"]"),
                with("[[alert]]\nname = \"a\"\nwhen = []\nmail = [\"a@b.c\"]"),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]"),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nmail = [\"a@b.c\"]"),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nmail = [\"a@b.c\"]\nsecret = { env = \"S\" }"),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nwebhook = \"https://a\"\nsecret = \"text\""),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nwebhook = \"https://a\"\nwebhok = 1"),
                with(&[ALERT, ALERT].concat()),
                with("[alerts.mail]\nserver = \"a\"\nfrom = \"a@b.c\"\nuser = \"a\""),
                with("[alerts.mail]\nserver = \"a\"\nfrom = \"a@b.c\"\nuser = \"a\"\npassword = { env = \"P\" }\nsecurity = \"none\""),
                with("[alerts.mail]\nserver = \"a\"\nfrom = \"a@b.c\"\nsecurity = \"ssl\""),
                message("name = "),
            ]
            .join("\n")
        );
    }
}
