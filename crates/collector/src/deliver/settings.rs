//! The settings of a sink: those of every sink, those of groups, and those of its kind.
//!
//! They are in one table, and `kind` determines which are allowed. serde's own `tag` and `flatten` are not used: their
//! errors contain neither the setting, and thus its line, nor similar names.

use std::collections::BTreeSet;
use std::sync::Arc;

use runlog_client::SimulatedNetwork;
use runlog_model::{Clock, RunStatus, TaskId};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::bounds::BatchBounds;
use super::config::{SinkConfig, SinkFilter};
use super::redact::{Redaction, Redactor};
use super::sinks::kind::SinkContext;
use super::sinks::options::{Group, HttpOptions, LoginOptions, RecordOptions};
use super::sinks::{KindInfo, KindSettings};
use crate::settings::{Name, SecretReader, SettingsError, TableError, UnknownWord, located, names_of, take};

/// The setting that selects the kind.
const KIND: &str = "kind";
/// Number of runs that are delivered at a time by default.
const PARALLEL: usize = 2;

/// The settings of one sink.
#[derive(Debug)]
pub struct SinkSettings {
    common: CommonOptions,
    records: RecordOptions,
    http: HttpOptions,
    login: LoginOptions,
    info: &'static KindInfo,
    kind: KindSettings,
}

/// Settings of every sink.
#[derive(Debug, Deserialize)]
struct CommonOptions {
    name: Name,
    #[serde(default)]
    environments: Vec<String>,
    #[serde(default)]
    workspaces: Vec<String>,
    #[serde(default)]
    tasks: Vec<TaskId>,
    #[serde(default)]
    task_names: Vec<String>,
    #[serde(default)]
    statuses: Vec<RunStatus>,
    #[serde(default)]
    redact: Vec<Redaction>,
    parallel: Option<usize>,
}

impl SinkSettings {
    /// Reads the settings of one sink from its table.
    pub fn read(mut given: Map<String, Value>) -> Result<Self, TableError> {
        let kind =
            given.remove(KIND).ok_or_else(|| TableError::missing(format!("a sink needs a kind: {}", kinds())))?;
        let kind = kind.as_str().unwrap_or_default().to_owned();
        let Some(info) = KindSettings::ALL.iter().find(|info| info.name == kind) else {
            let message = format!("unknown kind of sink {kind:?}; use one of {}", kinds());
            let known = KindSettings::ALL.iter().map(|info| info.name).collect();
            let unknown = Some(UnknownWord { word: kind, known });
            return Err(TableError { setting: Some(KIND.to_owned()), message, unknown });
        };
        let unknown = given.keys().find(|name| !info.names().contains(name.as_str()));
        if let Some(name) = unknown {
            return Err(info.has_no(name));
        }
        let common = take(&mut given)?;
        let records = info.take_group(Group::Records, &mut given)?;
        let http = info.take_group(Group::Http, &mut given)?;
        let login = info.take_group(Group::Login, &mut given)?;
        let own = located(given, |own| KindSettings::read(info.name, own))?;
        let kind = own.ok_or_else(|| TableError::missing(format!("there is no kind {}", info.name)))?;
        Ok(Self { common, records, http, login, info, kind })
    }

    /// The names of all settings of all kinds.
    pub fn names() -> BTreeSet<&'static str> {
        KindSettings::ALL.iter().flat_map(KindInfo::names).collect()
    }

    /// The name of the sink.
    pub fn name(&self) -> &str {
        &self.common.name.0
    }

    /// Its kind, such as `loki`.
    pub fn kind(&self) -> &'static str {
        self.info.name
    }

    /// Checks the settings without reading secrets and without side effects.
    pub fn check(&self, clock: Arc<dyn Clock>) -> Result<(), SettingsError> {
        self.bounds()?;
        self.kind.check(&self.context(clock, None, None))
    }

    /// Reads the secrets and builds the sink. Sends nothing.
    pub fn config(&self, clock: Arc<dyn Clock>, secrets: &dyn SecretReader) -> Result<SinkConfig, SettingsError> {
        self.config_with(&self.context(clock, Some(secrets), None))
    }

    /// Like [`config`](Self::config), but the sink sends to the services of a simulation.
    pub fn simulated(
        &self,
        clock: Arc<dyn Clock>,
        secrets: &dyn SecretReader,
        network: Arc<dyn SimulatedNetwork>,
    ) -> Result<SinkConfig, SettingsError> {
        self.config_with(&self.context(clock, Some(secrets), Some(network)))
    }

    fn config_with(&self, context: &SinkContext<'_>) -> Result<SinkConfig, SettingsError> {
        let common = &self.common;
        Ok(SinkConfig {
            name: self.name().to_owned(),
            destination: self.kind.destination(context)?,
            filter: SinkFilter {
                environments: common.environments.clone(),
                workspaces: common.workspaces.clone(),
                tasks: common.tasks.clone(),
                task_names: common.task_names.clone(),
                statuses: common.statuses.clone(),
                severity: self.records.severity,
            },
            audit_logs: self.records.audit_logs,
            redactor: Redactor::new(common.redact.clone()),
            bounds: self.bounds()?,
            parallel: common.parallel.unwrap_or(PARALLEL).max(1),
        })
    }

    fn context<'a>(
        &'a self,
        clock: Arc<dyn Clock>,
        secrets: Option<&'a dyn SecretReader>,
        simulated: Option<Arc<dyn SimulatedNetwork>>,
    ) -> SinkContext<'a> {
        SinkContext { name: self.name(), clock, http: &self.http, login: &self.login, secrets, simulated }
    }

    fn bounds(&self) -> Result<BatchBounds, SettingsError> {
        let KindInfo { name, batch, batch_max, .. } = *self.info;
        let bound = |setting: &str, given: Option<usize>, usual: usize, most: usize| match given {
            Some(given) if given > most => {
                Err(format!("{setting} must be at most {most}, the maximum that {name} accepts per request"))
            }
            given => Ok(given.unwrap_or(usual).max(1)),
        };
        Ok(BatchBounds {
            records: bound("batch_records", self.records.batch_records, batch.records, batch_max.records)?,
            bytes: bound("batch_bytes", self.records.batch_bytes, batch.bytes, batch_max.bytes)?,
        })
    }
}

impl KindInfo {
    /// The names of all settings of this kind.
    fn names(&self) -> BTreeSet<&'static str> {
        let shared = self.groups.iter().flat_map(|group| match group {
            Group::Records => names_of::<RecordOptions>(),
            Group::Http => names_of::<HttpOptions>(),
            Group::Login => names_of::<LoginOptions>(),
        });
        let all = names_of::<CommonOptions>().iter().chain(shared).chain((self.own_names)());
        all.copied().chain([KIND]).collect()
    }

    /// Removes and reads the settings of a group, if this kind has it.
    fn take_group<T: for<'de> Deserialize<'de> + Default>(
        &self,
        group: Group,
        given: &mut Map<String, Value>,
    ) -> Result<T, TableError> {
        if self.groups.contains(&group) { take(given) } else { Ok(T::default()) }
    }

    /// The error that this kind has no such setting.
    fn has_no(&self, setting: &str) -> TableError {
        let others = KindSettings::ALL.iter().filter(|info| info.names().contains(setting)).map(|info| info.name);
        let others: Vec<&str> = others.collect();
        let (message, unknown) = match others.is_empty() {
            true => {
                let known = self.names().into_iter().collect();
                let unknown = UnknownWord { word: setting.to_owned(), known };
                (format!("unknown setting {setting:?}"), Some(unknown))
            }
            false => (format!("{setting} is not a setting of {}, only of {}", self.name, others.join(", ")), None),
        };
        TableError { setting: Some(setting.to_owned()), message, unknown }
    }
}

fn kinds() -> String {
    let names: Vec<&str> = KindSettings::ALL.iter().map(|info| info.name).collect();
    names.join(", ")
}
