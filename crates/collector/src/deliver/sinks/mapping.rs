//! Which fields of a record and its run are sent, and under which names.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::sink::{Item, Origin, RunContext, TenantContext};

/// Names of the destination with their sources.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub(crate) struct Mapping(Vec<(String, Source)>);

/// The source of a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// A field of the record or run.
    Field(Field),
    /// A further field of the record, unchanged.
    Extra(String),
    /// A constant text.
    Text(String),
}

macro_rules! fields {
    ($($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)?) => {
        /// The fields of records and runs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Field {
            $($(#[$doc])* $variant,)+
        }

        impl Field {
            /// Every field with its name in the settings.
            pub(crate) const ALL: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];
        }
    };
}

fields! {
    /// The ID of the record, which is the same whenever it is sent.
    Id = "id",
    /// Its position in the run, in order of arrival.
    Sequence = "sequence",
    /// Its time, RFC 3339 with milliseconds.
    Time = "time",
    /// Its time in epoch milliseconds.
    TimeMs = "time_ms",
    /// Its severity.
    Severity = "severity",
    /// Its kind of log.
    LogType = "log_type",
    /// Its message.
    Message = "message",
    /// The component that logged it.
    Component = "component",
    /// The version of the component.
    ComponentVersion = "component_version",
    /// The pod or host.
    Pod = "pod",
    /// All further fields, as an object.
    Extra = "extra",
    /// The ID of the run.
    RunId = "run_id",
    /// The final status of the run.
    Status = "status",
    /// When the run started.
    StartedAt = "started_at",
    /// When the run ended.
    FinishedAt = "finished_at",
    /// The ID of the task.
    TaskId = "task_id",
    /// The name of the task.
    Task = "task",
    /// The version of the task.
    TaskVersion = "task_version",
    /// The ID of the workspace.
    WorkspaceId = "workspace_id",
    /// The name of the workspace.
    Workspace = "workspace",
    /// The name of the environment.
    Environment = "environment",
    /// The upstream of an entry of the audit logs of a tenant.
    Upstream = "upstream",
}

impl Field {
    /// True for fields with a different value for each record or run, which are not suitable as labels.
    pub(crate) fn is_unbounded(self) -> bool {
        use Field::{Extra, FinishedAt, Id, Message, RunId, Sequence, StartedAt, Time, TimeMs};
        matches!(self, Id | Sequence | Time | TimeMs | Message | Extra | RunId | StartedAt | FinishedAt)
    }

    fn of(self, origin: &Origin, item: &Item) -> Value {
        let record = &item.record;
        let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        match self {
            Self::Id => item.id.as_str().into(),
            Self::Sequence => item.position.arrival.into(),
            Self::Time => record.time.to_string().into(),
            Self::TimeMs => record.time.as_millis().into(),
            Self::Severity => text(&record.severity),
            Self::LogType => text(&record.log_type),
            Self::Message => text(&record.message),
            Self::Component => text(&record.bundle_name),
            Self::ComponentVersion => text(&record.bundle_version),
            Self::Pod => text(&record.pod_name),
            Self::Extra => record.extra.as_ref().map_or(Value::Null, |extra| Value::Object((***extra).clone())),
            of_run => match origin {
                Origin::Run(run) => of_run.of_run(run),
                Origin::Tenant(tenant) => of_run.of_tenant(tenant),
            },
        }
    }

    /// A field of the run of a record.
    fn of_run(self, run: &RunContext) -> Value {
        let known = &run.run;
        match self {
            Self::RunId => known.id.to_string().into(),
            Self::Status => known.status.coarse().as_str().into(),
            Self::StartedAt => known.started_at.map_or(Value::Null, |at| at.to_string().into()),
            Self::FinishedAt => known.finished_at.map_or(Value::Null, |at| at.to_string().into()),
            Self::TaskId => known.task_id.to_string().into(),
            Self::Task => run.task.as_str().into(),
            Self::TaskVersion => known.task_version.as_str().into(),
            Self::WorkspaceId => known.workspace_id.to_string().into(),
            Self::Workspace => run.workspace.as_str().into(),
            Self::Environment => run.environment.as_str().into(),
            _ => Value::Null,
        }
    }

    /// The same of an entry of the audit logs of a tenant, which is of no run: a name in the place of the task, so that
    /// it can be told from logs, and its upstream.
    fn of_tenant(self, tenant: &TenantContext) -> Value {
        match self {
            Self::Task => TenantContext::NAME.into(),
            Self::Upstream => tenant.upstream.as_str().into(),
            _ => Value::Null,
        }
    }
}

/// Parses the name of a field, `extra.NAME`, or `=TEXT`.
impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(constant) = text.strip_prefix('=') {
            return Ok(Self::Text(constant.to_owned()));
        }
        if let Some(name) = text.strip_prefix("extra.").filter(|name| !name.is_empty()) {
            return Ok(Self::Extra(name.to_owned()));
        }
        let known = Field::ALL.iter().find(|(name, _)| *name == text);
        known.map(|(_, field)| Self::Field(*field)).ok_or_else(|| {
            let names: Vec<&str> = Field::ALL.iter().map(|(name, _)| *name).collect();
            format!("{text:?} is not a field; use {}, extra.NAME, and \"=a text\"", names.join(", "))
        })
    }
}

impl Source {
    /// Its value for a record; null if it has none.
    pub(crate) fn value(&self, origin: &Origin, item: &Item) -> Value {
        match self {
            Self::Field(field) => field.of(origin, item),
            Self::Extra(name) => {
                item.record.extra.as_ref().and_then(|extra| extra.get(name)).cloned().unwrap_or(Value::Null)
            }
            Self::Text(text) => text.as_str().into(),
        }
    }

    /// Its value as a text; none if it has none.
    pub(crate) fn text(&self, origin: &Origin, item: &Item) -> Option<String> {
        match self.value(origin, item) {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        }
    }
}

/// Parses names and their sources, as in the settings.
impl TryFrom<BTreeMap<String, String>> for Mapping {
    type Error = String;

    fn try_from(fields: BTreeMap<String, String>) -> Result<Self, String> {
        fields.into_iter().map(|(name, source)| Ok((name, source.parse()?))).collect::<Result<_, _>>().map(Self)
    }
}

impl Mapping {
    /// Creates a mapping with these names and sources, in this order.
    pub(crate) fn new(fields: Vec<(String, Source)>) -> Self {
        Self(fields)
    }

    /// Creates a mapping from names and sources that are known to be valid.
    pub(crate) fn of(fields: &[(&str, Field)]) -> Self {
        Self(fields.iter().map(|(name, field)| ((*name).to_owned(), Source::Field(*field))).collect())
    }

    /// The names and sources.
    pub(crate) fn fields(&self) -> &[(String, Source)] {
        &self.0
    }

    /// A record as an object, without the fields that it does not have.
    pub(crate) fn document(&self, origin: &Origin, item: &Item) -> Map<String, Value> {
        let fields = self.0.iter().map(|(name, source)| (name.clone(), source.value(origin, item)));
        fields.filter(|(_, value)| !value.is_null()).collect()
    }

    /// The same, with texts only.
    pub(crate) fn texts(&self, origin: &Origin, item: &Item) -> Vec<(String, String)> {
        self.0.iter().filter_map(|(name, source)| Some((name.clone(), source.text(origin, item)?))).collect()
    }
}
