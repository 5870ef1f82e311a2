//! The settings file as a whole.

use std::path::{Path, PathBuf};

use runlog_collector::alerts::{AlertRule, Alerts};
use runlog_collector::settings::{TextOrSecret, Time};
use runlog_collector::{SinkConfig, SinkSettings};
use runlog_model::{Random, millis};
use runlog_server::{OidcSettings, SyslogSettings};
use runlog_store::{SecretUrl, Store, StoreSettings};
use secrecy::ExposeSecret;
use serde::Deserialize;
use url::Url;

use super::maintenance::MaintenanceSettings;
use super::mistake::{did_you_mean, line_of};
use super::oidc::OidcTable;
use super::syslog::SyslogTable;
use super::table::KindTable;
use super::upstream::{Scheduled, UpstreamSettings};
use super::{alert, maintenance, secret, sink};
use crate::arguments::archive;
use crate::exit::{Exit, Failure, Outcome};
use crate::system::SystemRandom;

/// An example with every setting, its default and its purpose, printed by `runlog check --example`.
pub(crate) const EXAMPLE: &str = include_str!("example.toml");

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    #[serde(default)]
    archive: ArchiveSettings,
    syslog: Option<SyslogTable>,
    #[serde(default, rename = "upstream")]
    upstreams: Vec<UpstreamSettings>,
    #[serde(default, rename = "sink")]
    sink_tables: Vec<KindTable>,
    /// Those of the tables.
    #[serde(skip)]
    sinks: Vec<SinkSettings>,
    #[serde(default)]
    alerts: alert::AlertsSettings,
    oidc: Option<OidcTable>,
    #[serde(default, rename = "alert")]
    alert_rules: Vec<alert::AlertSettings>,
    #[serde(default)]
    maintenance: Vec<MaintenanceSettings>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArchiveSettings {
    data: Option<PathBuf>,
    catalog: Option<TextOrSecret>,
    objects: Option<String>,
    work: Option<PathBuf>,
    settle: Option<Time>,
    #[serde(default)]
    iceberg: bool,
}

impl Settings {
    /// Reads the file; the message names the line, and the nearest known name for one that is unknown.
    pub(crate) fn read(path: &Path) -> Outcome<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let advice = "`runlog check --example > runlog.toml` writes example settings";
            Failure { exit: Exit::Usage, error: anyhow::anyhow!("cannot read {}: {error}; {advice}", path.display()) }
        })?;
        Self::parse(&text).map_err(|message| Failure::new(Exit::Usage, format!("{}: {message}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut settings: Self = toml::from_str(text).map_err(|error| explained(&error, text))?;
        let tables = std::mem::take(&mut settings.sink_tables).into_iter();
        settings.sinks = tables.map(|table| sink::read(table, text)).collect::<Result<_, _>>()?;
        for (index, upstream) in settings.upstreams.iter().enumerate() {
            upstream.check()?;
            if settings.upstreams[..index].iter().any(|other| other.name.0 == upstream.name.0) {
                return Err(format!("two upstreams are named {:?}; names must be unique", upstream.name.0));
            }
        }
        for (index, sink) in settings.sinks.iter().enumerate() {
            sink::check(sink)?;
            if settings.sinks[..index].iter().any(|other| other.name() == sink.name()) {
                return Err(format!("two sinks are named {:?}; names must be unique", sink.name()));
            }
        }
        alert::read_channels(&mut settings.alert_rules, text)?;
        alert::check(&settings.alerts, &settings.alert_rules)?;
        settings.oidc.as_ref().map_or(Ok(()), OidcTable::check)?;
        settings.syslog.as_ref().map(SyslogTable::check).transpose()?;
        maintenance::check(&settings.maintenance)?;
        Ok(settings)
    }

    /// The alerts, over an archive; none when there are no rules.
    pub(crate) fn alerts(&self, store: &Store) -> Outcome<Option<Alerts>> {
        alert::alerts(&self.alerts, &self.alert_rules, &self.maintenance, store)
    }

    /// The alert rule with this name, ready to be sent to, or the names of all rules if there is none.
    pub(crate) fn alert_rule(&self, name: &str) -> Outcome<Result<AlertRule, String>> {
        alert::rule(&self.alerts, &self.alert_rules, name)
    }

    /// The alerts without their destinations, for a preview; no secret is read.
    pub(crate) fn alerts_to_preview(&self, store: &Store) -> Alerts {
        alert::without_destinations(&self.alert_rules, store)
    }

    /// The location of the archive; options and environment variables take precedence.
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
                    let advice = "use catalog = { env = \"RUNLOG_CATALOG\" } or { file = \"…\" } instead";
                    return Err(usage(format!("archive.catalog contains a password; {advice}")));
                }
                Some(archive::catalog(text).map_err(usage)?)
            }
            (None, Some(TextOrSecret::Secret(source))) => {
                let text = secret::read(source, "archive.catalog")?;
                Some(archive::catalog(text.expose_secret()).map_err(usage)?)
            }
            (None, None) => None,
        };
        let objects = match (objects, &self.archive.objects) {
            (Some(objects), _) => Some(objects),
            (None, Some(text)) => Some(archive::objects(text).map_err(usage)?),
            (None, None) => None,
        };
        let usual = StoreSettings::in_folder(folder);
        let settle = self.archive.settle.map(|time| millis(time.0));
        let settle_ms = settle.unwrap_or(usual.settle_ms);
        Ok(StoreSettings { catalog, objects, settle_ms, lake: self.archive.iceberg, ..usual })
    }

    /// The upstreams, ready for requests.
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
            // One rate limit for all requests to a host.
            if let Some(other) = scheduled.iter().find(|other| host_of(other) == host_of(&one)) {
                one.upstream.client = one.upstream.client.sharing_rate_limit_with(&other.upstream.client);
            }
            scheduled.push(one);
        }
        Ok(scheduled)
    }

    /// Returns the settings of the syslog listeners; none if there is no such table.
    pub(crate) fn syslog(&self) -> Outcome<Option<SyslogSettings>> {
        self.syslog.as_ref().map(SyslogTable::settings).transpose()
    }

    /// Returns the names of the upstreams, without reading secrets.
    pub(crate) fn upstream_names(&self) -> Vec<&str> {
        self.upstreams.iter().map(|upstream| upstream.name.0.as_str()).collect()
    }

    /// Returns the name and kind of each sink, without reading secrets.
    pub(crate) fn sink_kinds(&self) -> Vec<(&str, &'static str)> {
        self.sinks.iter().map(|sink| (sink.name(), sink.kind())).collect()
    }

    /// Returns true if there are sinks.
    pub(crate) fn has_sinks(&self) -> bool {
        !self.sinks.is_empty()
    }

    /// Sign-in with an identity provider; none if the settings name none. Reads its secrets.
    pub(crate) fn oidc(&self) -> Outcome<Option<OidcSettings>> {
        self.oidc.as_ref().map(OidcTable::settings).transpose()
    }

    /// True if there is something that only the service uses: an identity provider, or a syslog listener.
    pub(crate) fn has_service_settings(&self) -> bool {
        self.oidc.is_some() || self.syslog.is_some()
    }

    /// True if there are alert rules.
    pub(crate) fn has_alerts(&self) -> bool {
        !self.alert_rules.is_empty()
    }

    /// The sinks, ready to be sent to.
    pub(crate) fn sinks(&self) -> Outcome<Vec<SinkConfig>> {
        self.sinks.iter().map(sink::config).collect()
    }
}

/// The parser's message in one line, with the line of the file and the name that may have been meant.
fn explained(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map(|span| line_of(span.start, text));
    let message = error.message();
    let place = line.map_or_else(String::new, |line| format!("line {line}: "));
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field").then(|| quoted.next()).flatten();
    match unknown {
        Some(unknown) => {
            let meant = did_you_mean(unknown, quoted);
            format!("{place}unknown setting {unknown:?}{meant}")
        }
        None => format!("{place}{}", message.trim()),
    }
}

#[cfg(test)]
mod tests {
    use runlog_collector::alerts::ChannelSettings;

    use super::*;

    const LEAST: &str = "[[upstream]]\nname = \"eu\"\nregion = \"eu\"\ntoken = { env = \"T\" }\n";

    const OIDC: &str = "[oidc]\nissuer = \"https://login.example.com\"\nclient_id = \"runlog\"\n[[oidc.access]]\n";

    const ALERT: &str = "[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nwebhook = \"https://a\"\n";

    #[test]
    fn the_example_can_be_read_and_names_every_setting() {
        let shown: String = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|line| line.contains(" = ")).unwrap_or(line))
            .map(|line| format!("{line}\n"))
            .collect();
        // With every commented setting enabled, some things are specified in several ways, and all settings are known.
        for (table, parent) in [
            ("archive", "[archive]"),
            ("upstream", "[[upstream]]"),
            ("oidc", "[oidc]"),
            ("oidc.access", "[[oidc.access]]"),
            ("alerts", "[alerts]"),
            ("alerts.mail", "[alerts.mail]"),
            ("alert", "[[alert]]"),
            ("maintenance", "[[maintenance]]"),
        ] {
            let error = toml::from_str::<Settings>(&format!("{parent}\nnone_such = 1\n")).unwrap_err();
            let names = error.message().split('`').skip(3).step_by(2);
            for name in names {
                let is_shown =
                    [format!("\n{name} = "), format!("[[{table}.{name}]]")].iter().any(|form| shown.contains(form));
                assert!(is_shown, "{table}.{name} is not in the example");
            }
        }
        for name in SinkSettings::names() {
            assert!(shown.contains(&format!("\n{name} = ")), "sink.{name} is not in the example");
        }
        for name in ChannelSettings::names() {
            assert!(EXAMPLE.contains(&format!(" {name} = ")), "alert.to.{name} is not in the example");
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
                with("cron = \"0 6 * * *\"\ncron_zone = \"Europe/Nowhere\""),
                with("cron_zone = \"Europe/Berlin\""),
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
                sink(""),
                sink("kind = \"loki\"\nurl = \"http://localhost:3100\"\nlabel = { job = \"task\" }"),
                sink("kind = \"loki\"\nurl = \"http://localhost:3100\"\n\nmax_age = \"long\""),
                sink("kind = \"loki\"\nurl = \"http://localhost:3100\"\ntoken = \"a-token\""),
                sink("kind = \"otlp\"\nurl = \"localhost\""),
                sink("kind = \"datadog\""),
                sink("kind = \"datadog\"\ntoken = { env = \"T\" }\nsite = \"https://app.datadoghq.eu\""),
                sink("kind = \"datadog\"\ntoken = { env = \"T\" }\nbatch_records = 5000"),
                sink("kind = \"azure_monitor\"\nurl = \"https://a.ingest.monitor.azure.com\""),
                sink("kind = \"azure_monitor\"\nurl = \"https://a.ingest.monitor.azure.com\"\nrule = \"dcr-1/2\""),
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
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nto = [{ kind = \"slak\" }]"),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nto = [{ url = \"https://a\" }]"),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nto = [\n{ kind = \"slack\", url = \"https://a\" },\n{ kind = \"teams\", ulr = \"https://a\" }]"),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nto = [{ kind = \"slack\" }]"),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nto = [{ kind = \"slack\", url = \"ftp://hunter2\" }]"),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nto = [{ kind = \"pagerduty\", routing_key = \"abc\" }]"),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nto = [{ kind = \"pagerduty\", routing_key = { env = \"K\" }, severity = \"high\" }]"),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nto = [{ kind = \"opsgenie\", api_key = { env = \"K\" }, region = \"eu\", url = \"https://a\" }]"),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nto = [{ kind = \"opsgenie\", api_key = { env = \"K\" }, priority = \"P6\" }]"),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nmail = [\"a@b.c\"]\nsecret = { env = \"S\" }"),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nwebhook = \"https://a\"\nsecret = \"text\""),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nwebhook = \"https://a\"\nwebhok = 1"),
                with("[[alert]]\nname = \"a\"\nwhen = [\"run_failed\"]\nmail = [\"a@b.c\"]\nheaders = { A = \"b\" }"),
                with(&[ALERT, ALERT].concat()),
                with(&format!("{ALERT}cron = \"0 6 * * *\"")),
                with(&format!("{ALERT}grace = \"5m\"")),
                with(&format!("{ALERT}rows_factor = 0.5")),
                with(&format!("{ALERT}group_wait = \"5m\"")),
                with(&format!("{ALERT}group_by = \"tasks\"")),
                with(&ALERT.replace("run_failed", "task_missed")),
                with("[[maintenance]]\nname = \"m\"\ncron = \"0 2 * * *\""),
                with("[[maintenance]]\nname = \"m\"\nfrom = \"today\"\nto = \"2026-12-24T18:00\""),
                with("[[maintenance]]\nname = \"m\"\nfrom = \"2026-12-24T18:00\"\nto = \"2026-12-24T18:00\""),
                with("[alerts.mail]\nserver = \"a\"\nfrom = \"a@b.c\"\nuser = \"a\""),
                with("[alerts.mail]\nserver = \"a\"\nfrom = \"a@b.c\"\nuser = \"a\"\npassword = { env = \"P\" }\nsecurity = \"none\""),
                with("[alerts.mail]\nserver = \"a\"\nfrom = \"a@b.c\"\nsecurity = \"ssl\""),
                message("[oidc]\nissuer = \"http://login.example.com\"\nclient_id = \"runlog\""),
                message("[oidc]\nissuer = \"https://login.example.com\"\nclient_id = \"runlog\""),
                message(&format!("{OIDC}groups = [\"ops\"]")),
                message(&format!("{OIDC}groups = [\"ops\"]\nadministrator = true\nclaim = \"department\"")),
                message(&format!("{OIDC}groups = [\"ops\"]\nworkspaces = [\"*\"]\nrights = [\"reader\"]")),
                message(&format!("{OIDC}group = [\"ops\"]")),
                message("name = "),
            ]
            .join("\n")
        );
    }
}
