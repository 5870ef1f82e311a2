//! `[[upstream]]`: a service to collect from, with its credentials, the selection of runs, and the schedule.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use croner::Cron;
use jiff::tz::TimeZone;
use runlog_client::{Client, ClientSettings, Credentials, TokioWait};
use runlog_collector::settings::{Name, SecretSource, Time, TlsOptions};
use runlog_collector::{CollectSettings, Selection, Upstream};
use runlog_model::{Random, RunStatus, TaskId, Timestamp};
use serde::Deserialize;
use url::Url;

use super::secret::{read, read_tls};
use super::values::{Pace, Region, Schedule, ScheduleZone, base_url};
use crate::exit::{Exit, Failure, Outcome};
use crate::system::{SystemClock, SystemRandom};

/// Number of requests for a run with one page: for the page, and for its status. The response to the first contains the
/// number of records.
pub(crate) const REQUESTS_OF_RUN: u64 = 2;
/// Number of requests for a run with several pages in addition to those for its pages: for the record count.
pub(crate) const REQUESTS_OF_COUNT: u64 = 1;
/// Number of requests for the component metrics of a run. They give way to those for logs.
pub(crate) const REQUESTS_OF_COMPONENTS: u64 = 1;

/// One upstream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpstreamSettings {
    pub(super) name: Name,
    region: Option<Region>,
    #[serde(default, deserialize_with = "base_url")]
    url: Option<Url>,
    token: Option<SecretSource>,
    client_id: Option<String>,
    client_secret: Option<SecretSource>,
    pace: Option<Pace>,
    #[serde(default)]
    allow_hosts: Vec<String>,
    #[serde(default)]
    allow_private_addresses: bool,
    authorities: Option<PathBuf>,
    client_certificate: Option<SecretSource>,
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
    component_metrics: Option<bool>,
    plan_executions: Option<bool>,
    audit_logs: Option<bool>,
    audit_logs_keep: Option<Time>,
    every: Option<Time>,
    cron: Option<Schedule>,
    cron_zone: Option<ScheduleZone>,
    jitter: Option<Time>,
    parallel: Option<usize>,
    pages_in_flight: Option<usize>,
}

/// An upstream and the schedule of its rounds.
pub(crate) struct Scheduled {
    pub(crate) upstream: Upstream,
    pub(crate) pause: Pause,
}

/// The schedule of rounds.
#[derive(Clone)]
pub(crate) struct Pause {
    every: Duration,
    cron: Option<Cron>,
    /// The time zone of the schedule.
    zone: TimeZone,
    jitter: Duration,
}

impl UpstreamSettings {
    pub(super) fn check(&self) -> Result<(), String> {
        let name = &self.name.0;
        if self.region.is_some() == self.url.is_some() {
            return Err(format!("upstream {name:?} needs either a region, such as \"eu\", or a url"));
        }
        match (&self.token, &self.client_id, &self.client_secret) {
            (Some(_), None, None) | (None, Some(_), Some(_)) => {}
            _ => return Err(format!("upstream {name:?} needs either a token, or a client_id and a client_secret")),
        }
        if self.while_going.is_some_and(|time| time.0 < Duration::from_secs(1)) {
            return Err(format!("upstream {name:?}: while_going must be at least one second"));
        }
        if self.audit_logs_keep.is_some_and(|time| time.0 < Duration::from_secs(86_400)) {
            return Err(format!("upstream {name:?}: audit_logs_keep must be at least one day"));
        }
        if self.every.is_some() && self.cron.is_some() {
            return Err(format!("upstream {name:?} has both every and cron; set only one of them"));
        }
        if self.cron_zone.is_some() && self.cron.is_none() {
            return Err(format!("upstream {name:?} has a cron_zone but no cron to apply it to"));
        }
        Ok(())
    }

    pub(super) fn scheduled(&self, work: &Path, process: &str) -> Outcome<Scheduled> {
        let name = self.name.0.clone();
        let url = match (&self.url, &self.region) {
            (Some(url), _) => url.clone(),
            (None, region) => runlog_client::region_url(region.as_ref().map_or("", |region| &region.0))?,
        };
        let mut settings = ClientSettings::new(url, self.credentials()?);
        settings.pace = self.pace.map_or(settings.pace, |pace| pace.0);
        settings.download.allowed_hosts.extend(self.allow_hosts.iter().cloned());
        settings.download.allow_private_addresses |= self.allow_private_addresses;
        let tls = TlsOptions {
            authorities: self.authorities.as_deref(),
            client_certificate: self.client_certificate.as_ref(),
        };
        settings.tls = read_tls(tls, &format!("upstream {name}"))?;
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
            component_metrics: self.component_metrics.unwrap_or(default.component_metrics),
            plan_executions: self.plan_executions.unwrap_or(default.plan_executions),
            audit_logs: self.audit_logs.unwrap_or(default.audit_logs),
            audit_logs_keep: self.audit_logs_keep.map(|time| time.0),
            parallel: self.parallel.unwrap_or(default.parallel),
            pages_in_flight: self.pages_in_flight.unwrap_or(default.pages_in_flight),
            ..default
        };
        let pause = Pause {
            every: or(self.every, Duration::from_secs(300)),
            cron: self.cron.clone().map(|cron| cron.0),
            zone: self.cron_zone.clone().map_or(TimeZone::UTC, |zone| zone.0),
            jitter: or(self.jitter, Duration::ZERO),
        };
        let process = process.to_owned();
        Ok(Scheduled { upstream: Upstream { name, client, selection, settings, process }, pause })
    }

    fn credentials(&self) -> Outcome<Credentials> {
        let name = &self.name.0;
        Ok(match (&self.token, &self.client_id, &self.client_secret) {
            (Some(token), ..) => Credentials::PersonalToken(read(token, &format!("upstream {name}: token"))?),
            (None, Some(id), Some(secret)) => Credentials::ServiceAccount {
                client_id: id.clone(),
                client_secret: read(secret, &format!("upstream {name}: client_secret"))?,
            },
            _ => return Err(Failure::new(Exit::Usage, format!("upstream {name} has no credentials"))),
        })
    }
}

impl Pause {
    /// Returns the time from now until the next round.
    pub(crate) fn from(&self, now: Timestamp) -> Duration {
        let next = self.cron.as_ref().and_then(|cron| {
            let now = jiff::Timestamp::from_millisecond(now.as_millis()).ok()?.to_zoned(self.zone.clone());
            let next = cron.find_next_occurrence(&now, false).ok()?;
            Duration::try_from(now.duration_until(&next)).ok()
        });
        let mut byte = [0];
        SystemRandom.fill(&mut byte);
        next.unwrap_or(self.every) + self.jitter.mul_f64(f64::from(byte[0]) / 255.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Parts {
        cron: Schedule,
        cron_zone: ScheduleZone,
    }

    /// The start of the next round of a schedule after a time.
    fn next(cron: &str, zone: &str, after: &str) -> String {
        let settings = format!("cron = {cron:?}\ncron_zone = {zone:?}");
        let Parts { cron, cron_zone } = toml::from_str(&settings).unwrap();
        let (cron, zone) = (Some(cron.0), cron_zone.0);
        let pause = Pause { every: Duration::from_secs(1), cron, zone, jitter: Duration::ZERO };
        let after: Timestamp = after.parse().unwrap();
        after.plus_millis(runlog_model::millis(pause.from(after))).to_seconds_text()
    }

    #[test]
    fn a_schedule_follows_its_time_zone_through_daylight_saving_time() {
        assert_eq!(next("0 6 * * *", "UTC", "2026-10-24T12:00:00Z"), "2026-10-25T06:00:00Z");
        assert_eq!(next("0 6 * * *", "Europe/Berlin", "2026-10-23T12:00:00Z"), "2026-10-24T04:00:00Z");
        // Clocks are set back in the night to October 25.
        assert_eq!(next("0 6 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z"), "2026-10-25T05:00:00Z");
        assert_eq!(next("30 * * * *", "+05:30", "2026-10-24T12:00:00Z"), "2026-10-24T13:00:00Z");
    }
}
