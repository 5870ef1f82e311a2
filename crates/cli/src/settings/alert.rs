//! `[[alert]]` and `[alerts]`: events to report, and their destinations.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use runlog_client::{HttpClientBuilder, TlsSettings};
use runlog_collector::alerts::{
    AlertRule, Alerts, ChannelSettings, Condition, Destination, GroupBy, Mail, MailLogin, MailSecurity, TaskSchedule,
    TimeOf, Webhook,
};
use runlog_collector::settings::{Name, SecretSource, SettingsError, TextOrSecret, Time, TlsOptions};
use runlog_model::{Clock, TaskId};
use runlog_store::Store;
use secrecy::ExposeSecret;
use serde::Deserialize;
use url::Url;

use super::maintenance::MaintenanceSettings;
use super::secret::{Secrets, read, read_tls};
use super::table::{KindTable, read_table};
use super::values::{Schedule, ScheduleZone, zone_of};
use crate::exit::{Exit, Failure, Outcome};
use crate::system::SystemClock;

/// Settings shared by all alerts.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertsSettings {
    public_url: Option<Url>,
    authorities: Option<PathBuf>,
    client_certificate: Option<SecretSource>,
    mail: Option<MailSettings>,
}

/// The mail server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MailSettings {
    server: String,
    port: Option<u16>,
    #[serde(default)]
    security: MailSecurity,
    from: String,
    user: Option<String>,
    password: Option<SecretSource>,
    authorities: Option<PathBuf>,
}

/// A rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertSettings {
    name: Name,
    when: Vec<Condition>,
    #[serde(default)]
    workspaces: Vec<String>,
    #[serde(default)]
    tasks: Vec<TaskId>,
    #[serde(default)]
    task_names: Vec<String>,
    sink_lag: Option<Time>,
    rejected_rows: Option<u64>,
    rows_factor: Option<f64>,
    dispatch_time: Option<Time>,
    cron: Option<Schedule>,
    cron_zone: Option<ScheduleZone>,
    grace: Option<Time>,
    #[serde(default)]
    group_by: GroupBy,
    group_wait: Option<Time>,
    recovery: Option<bool>,
    webhook: Option<TextOrSecret>,
    headers: Option<BTreeMap<String, TextOrSecret>>,
    secret: Option<SecretSource>,
    #[serde(default)]
    mail: Vec<String>,
    /// Destinations at vendors, as written in the file.
    #[serde(default, rename = "to")]
    channel_tables: Vec<KindTable>,
    /// Those of the tables.
    #[serde(skip)]
    channels: Vec<ChannelSettings>,
}

/// Reads the destinations of the rules; the message names the line.
pub(super) fn read_channels(rules: &mut [AlertSettings], text: &str) -> Result<(), String> {
    for rule in rules {
        let tables = std::mem::take(&mut rule.channel_tables).into_iter();
        rule.channels = tables.map(|table| read_table(table, text, ChannelSettings::read)).collect::<Result<_, _>>()?;
        for (index, channel) in rule.channels.iter().enumerate() {
            channel
                .check(Arc::new(SystemClock))
                .map_err(|error| format!("alert {:?}: destination {}: {error}", rule.name.0, index + 1))?;
        }
    }
    Ok(())
}

/// Returns the errors of the rules that can be detected without sending anything.
pub(super) fn check(alerts: &AlertsSettings, rules: &[AlertSettings]) -> Result<(), String> {
    for (index, rule) in rules.iter().enumerate() {
        let name = &rule.name.0;
        if rules[..index].iter().any(|other| other.name.0 == *name) {
            return Err(format!(
                "two alerts are named {name:?}; names must be unique, because the archive records notifications by name"
            ));
        }
        if rule.when.is_empty() {
            return Err(format!("alert {name:?} has no condition: set when = [\"run_failed\"], for example"));
        }
        if rule.webhook.is_none() && rule.mail.is_empty() && rule.channels.is_empty() {
            return Err(format!("alert {name:?} has no destination: set to, webhook, or mail = [\"you@example.com\"]"));
        }
        if rule.secret.is_some() && rule.webhook.is_none() {
            return Err(format!("alert {name:?} has a secret but no webhook to sign"));
        }
        if rule.headers.is_some() && rule.webhook.is_none() {
            return Err(format!("alert {name:?} has headers but no webhook to send them to"));
        }
        let has = |condition: Condition| rule.when.contains(&condition);
        if has(Condition::TaskMissed) != rule.cron.is_some() {
            return Err(match &rule.cron {
                None => format!("alert {name:?} reports task_missed: set cron to when its tasks should run"),
                Some(_) => format!("alert {name:?} has a cron but does not report task_missed"),
            });
        }
        let has_schedule = rule.cron.is_some() || has(Condition::TaskLate) || has(Condition::PlanNotRun);
        if (rule.cron_zone.is_some() || rule.grace.is_some()) && !has_schedule {
            let conditions = "task_missed, task_late or plan_not_run";
            return Err(format!("alert {name:?} has cron_zone or grace but does not report {conditions}"));
        }
        if rule.rows_factor.is_some_and(|factor| !(factor > 1.0 && factor.is_finite())) {
            return Err(format!("alert {name:?}: rows_factor must be a number above 1, such as 2.0"));
        }
        if rule.group_wait.is_some() && rule.group_by == GroupBy::None {
            return Err(format!("alert {name:?} has group_wait but no group_by"));
        }
        if !rule.mail.is_empty() && alerts.mail.is_none() {
            return Err(format!("alert {name:?} sends mail: set server and from in [alerts.mail]"));
        }
    }
    match &alerts.mail {
        Some(mail) if mail.user.is_some() != mail.password.is_some() => {
            Err("alerts.mail needs both user and password, or neither".to_owned())
        }
        Some(mail) if mail.user.is_some() && mail.security == MailSecurity::None => {
            Err("alerts.mail would send its password unencrypted: set security to \"tls\" or \"starttls\"".to_owned())
        }
        _ => Ok(()),
    }
}

/// The alerts of the settings over an archive; none when there are no rules. Reads the secrets.
pub(super) fn alerts(
    alerts: &AlertsSettings,
    rules: &[AlertSettings],
    windows: &[MaintenanceSettings],
    store: &Store,
) -> Outcome<Option<Alerts>> {
    if rules.is_empty() {
        return Ok(None);
    }
    let tls = alerts.tls()?;
    let rules = rules.iter().map(|rule| rule.rule(alerts, &tls)).collect::<Outcome<Vec<_>>>()?;
    let windows = windows.iter().map(MaintenanceSettings::window).collect();
    Ok(Some(Alerts::new(store, rules, alerts.public_url.clone()).with_maintenance(windows)))
}

/// The rule with this name and its destinations, with the names of all rules if there is none. Reads the secrets.
pub(super) fn rule(alerts: &AlertsSettings, rules: &[AlertSettings], name: &str) -> Outcome<Result<AlertRule, String>> {
    let tls = alerts.tls()?;
    match rules.iter().find(|rule| rule.name.0 == name) {
        Some(rule) => rule.rule(alerts, &tls).map(Ok),
        None => {
            let names: Vec<&str> = rules.iter().map(|rule| rule.name.0.as_str()).collect();
            Ok(Err(if names.is_empty() { "none".to_owned() } else { names.join(", ") }))
        }
    }
}

/// Like [`alerts`], without destinations, for a preview: no secret is read.
pub(super) fn without_destinations(rules: &[AlertSettings], store: &Store) -> Alerts {
    Alerts::new(store, rules.iter().map(|rule| rule.rule_to(Vec::new())).collect(), None)
}

impl AlertsSettings {
    fn tls(&self) -> Outcome<TlsSettings> {
        let tls = TlsOptions {
            authorities: self.authorities.as_deref(),
            client_certificate: self.client_certificate.as_ref(),
        };
        read_tls(tls, "alerts")
    }
}

impl AlertSettings {
    fn rule(&self, alerts: &AlertsSettings, tls: &TlsSettings) -> Outcome<AlertRule> {
        let mut to = Vec::new();
        to.extend(self.webhook(tls)?.map(|webhook| Destination::Webhook(webhook.of_rule(&self.name.0))));
        if let (Some(mail), false) = (&alerts.mail, self.mail.is_empty()) {
            to.extend(mail.to(&self.mail)?.each().into_iter().map(Destination::Mail));
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let built = ChannelSettings::build_all(&self.channels, &self.name.0, tls, &Secrets, &clock);
        to.extend(built.map_err(|error| match error {
            SettingsError::Files(error) => Failure::from(error).while_doing(format!("alert {}", self.name.0)),
            SettingsError::Invalid(message) => usage(format!("alert {}: {message}", self.name.0)),
            SettingsError::Secret(error) => Failure { exit: Exit::Denied, error: anyhow::Error::from_boxed(error) },
        })?);
        Ok(self.rule_to(to))
    }

    fn rule_to(&self, to: Vec<Destination>) -> AlertRule {
        let usual = AlertRule::new(self.name.0.clone(), self.when.clone());
        let grace = self.grace.map_or(usual.grace, |time| time.0);
        AlertRule {
            tasks: self.tasks.clone(),
            task_names: self.task_names.clone(),
            workspaces: self.workspaces.clone(),
            sink_lag: self.sink_lag.map_or(usual.sink_lag, |time| time.0),
            rejected_rows: self.rejected_rows.unwrap_or(usual.rejected_rows).max(1),
            rows_factor: self.rows_factor.unwrap_or(usual.rows_factor),
            dispatch_time: self.dispatch_time.map_or(usual.dispatch_time, |time| time.0),
            schedule: self.schedule(grace),
            zone: zone_of(self.cron_zone.as_ref()).into(),
            grace,
            group_by: self.group_by,
            group_wait: self.group_wait.map_or(usual.group_wait, |time| time.0),
            recovery: self.recovery.unwrap_or(usual.recovery),
            to,
            ..usual
        }
    }

    fn schedule(&self, grace: Duration) -> Option<TaskSchedule> {
        let (cron, zone) = (self.cron.clone()?, zone_of(self.cron_zone.as_ref()));
        let last_due: TimeOf = Arc::new(move |now| cron.last(now, &zone));
        Some(TaskSchedule { last_due, grace })
    }

    fn webhook(&self, tls: &TlsSettings) -> Outcome<Option<Webhook>> {
        let what = format!("alert {}: webhook", self.name.0);
        let Some(webhook) = &self.webhook else { return Ok(None) };
        let text = webhook.read(|source| read(source, &what))?;
        // The address may be a secret: it is not repeated.
        let url: Option<Url> =
            text.expose_secret().parse().ok().filter(|url: &Url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| usage(format!("{what} is not a URL that starts with https:// or http://")))?;
        let secret = self.secret.as_ref().map(|it| read(it, &format!("alert {}: secret", self.name.0))).transpose()?;
        let mut http = HttpClientBuilder::new(tls);
        for (header, value) in self.headers.iter().flatten() {
            let value = value.read(|source| read(source, &format!("alert {}: header {header}", self.name.0)))?;
            http = http.secret_header(header, &value)?;
        }
        Webhook::new(url, secret, http).map(Some).map_err(|error| usage(format!("{what}: {error}")))
    }
}

impl MailSettings {
    fn to(&self, to: &[String]) -> Outcome<Mail> {
        let login = match (&self.user, &self.password) {
            (Some(user), Some(password)) => {
                Some(MailLogin { user: user.clone(), password: read(password, "alerts.mail.password")? })
            }
            _ => None,
        };
        let authorities = self.authorities.as_ref().map(std::fs::read).transpose();
        let authorities = authorities
            .context("alerts.mail.authorities cannot be read")
            .map_err(|error| Failure { exit: Exit::Usage, error })?;
        Mail::new(to, &self.from, &self.server, self.port, self.security, login, authorities.as_deref())
            .map_err(|error| usage(format!("alerts.mail: {error}")))
    }
}

fn usage(message: String) -> Failure {
    Failure::new(Exit::Usage, message)
}
