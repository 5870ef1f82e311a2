//! Datadog Logs: `POST /api/v2/logs` of the intake of a site.
//!
//! Datadog does not detect duplicates: a log that is sent twice is stored twice, with the same `record.id`. It
//! truncates logs above 1 MB silently, so they are truncated here, with a mark. Source: "Send logs" of the API
//! reference, version 2, and "Reserved attributes".

use std::sync::Arc;
use std::time::Duration;

use runlog_model::Timestamp;
use serde::Deserialize;
use url::Url;

use super::cut::{json_within, refuse_larger};
use super::http::{HttpAccess, Poster};
use super::kind::{SinkContext, SinkKind};
use super::mapping::{Field, Mapping};
use super::options::{Group, age_limit};
use super::sink::{Batch, Encoded, Item, Origin, SendError, Sink, SinkFuture, SinkResponse, json_array, time_before};
use crate::deliver::bounds::BatchBounds;
use crate::settings::{SecretSource, SettingsError, Time};

/// The largest log that Datadog does not truncate. Unit: bytes.
const LOG_BYTES_MAX: usize = 1_000_000;
/// The age from which on Datadog does not accept logs.
const AGE_MAX: Duration = Duration::from_secs(18 * 3_600);
/// The default site.
const SITE: &str = "datadoghq.com";

/// The settings of Datadog Logs.
#[derive(Debug, Deserialize)]
pub(crate) struct DatadogSettings {
    /// Determines the URL of the intake, unless there is a `url`.
    site: Option<String>,
    token: Option<SecretSource>,
    source: Option<String>,
    tags: Option<Mapping>,
    /// Zero: no limit.
    max_age: Option<Time>,
    fields: Option<Mapping>,
}

/// Datadog Logs.
pub(crate) struct Datadog {
    poster: Poster,
    source: String,
    tags: Mapping,
    fields: Mapping,
    age_max: Option<Duration>,
}

impl SinkKind for DatadogSettings {
    const NAME: &'static str = "datadog";
    const GROUPS: &'static [Group] = &[Group::Records, Group::Http];
    const BATCH: BatchBounds = BatchBounds { records: 1_000, bytes: 4 << 20 };
    const BATCH_MAX: BatchBounds = BatchBounds { records: 1_000, bytes: 5_000_000 };

    type Sink = Datadog;

    fn build(&self, context: &SinkContext<'_>) -> Result<Datadog, SettingsError> {
        let token = self.token.as_ref().ok_or("datadog needs an API key as token")?;
        let token = context.secret("token", token)?;
        let url = match (&context.http.url, &self.site) {
            (Some(_), Some(_)) => return Err("set either site or url, not both".into()),
            (Some(url), None) => url.clone(),
            (None, site) => intake(site.as_deref().unwrap_or(SITE))?,
        };
        let access = HttpAccess::Header { name: "dd-api-key", before: String::new(), secret: token };
        let http = context.http_to::<Self>(url, access)?;
        Ok(Datadog {
            poster: Poster::new(http, "/api/v2/logs", Arc::clone(&context.clock))?,
            source: self.source.clone().unwrap_or_else(|| "runlog".to_owned()),
            tags: self.tags.clone().unwrap_or_else(Datadog::usual_tags),
            fields: self.fields.clone().unwrap_or_else(Datadog::usual_fields),
            age_max: age_limit(self.max_age, AGE_MAX),
        })
    }
}

/// The address of the intake of a site.
fn intake(site: &str) -> Result<Url, SettingsError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if site.is_empty() || !site.chars().all(is_plain) || site.starts_with("app.") {
        return Err(
            format!("site {site:?} is not a Datadog site such as \"datadoghq.eu\" or \"us5.datadoghq.com\"").into()
        );
    }
    let address = format!("https://http-intake.logs.{site}");
    address.parse().map_err(|_| format!("site {site:?} is not a host name").into())
}

impl Datadog {
    /// The names of the fields by default: reserved attributes of Datadog, and attributes of Runlog.
    fn usual_fields() -> Mapping {
        Mapping::of(&[
            ("timestamp", Field::Time),
            ("message", Field::Message),
            ("status", Field::Severity),
            ("hostname", Field::Pod),
            ("service", Field::Task),
            ("logger.name", Field::Component),
            ("log.type", Field::LogType),
            ("record.id", Field::Id),
            ("record.sequence", Field::Sequence),
            ("run.id", Field::RunId),
            ("run.status", Field::Status),
            ("task.id", Field::TaskId),
            ("task.name", Field::Task),
            ("workspace.id", Field::WorkspaceId),
            ("workspace.name", Field::Workspace),
            ("environment.name", Field::Environment),
            ("extra", Field::Extra),
        ])
    }

    /// The tags by default.
    fn usual_tags() -> Mapping {
        Mapping::of(&[("env", Field::Environment), ("workspace", Field::Workspace), ("task", Field::Task)])
    }

    /// `env:production,task:nightly`.
    fn tags(&self, origin: &Origin, item: &Item) -> String {
        // A comma separates tags.
        let tags = self.tags.texts(origin, item).into_iter();
        let tags: Vec<String> = tags.map(|(name, text)| format!("{name}:{}", text.replace(',', "_"))).collect();
        tags.join(",")
    }
}

impl Sink for Datadog {
    fn kind(&self) -> &'static str {
        DatadogSettings::NAME
    }

    fn location(&self) -> String {
        self.poster.location()
    }

    fn check(&self) -> SinkFuture<'_, ()> {
        Box::pin(async {
            let answer = self.poster.post("application/json", b"[]".to_vec(), &[]).await?;
            // 400 means that the key is valid: the request contains no logs.
            if answer.status.is_success() || answer.status == 400 { Ok(()) } else { Err(answer.failure()) }
        })
    }

    fn batch_max(&self) -> BatchBounds {
        DatadogSettings::BATCH_MAX
    }

    fn oldest_accepted(&self, now: Timestamp) -> Option<Timestamp> {
        self.age_max.map(|age_max| time_before(now, age_max))
    }

    fn encode(&self, origin: &Origin, item: &Item) -> Encoded {
        let mut log = self.fields.document(origin, item);
        log.insert("ddsource".to_owned(), self.source.as_str().into());
        log.insert("ddtags".to_owned(), self.tags(origin, item).into());
        Encoded { position: item.position, head: Vec::new(), body: json_within(log, LOG_BYTES_MAX) }
    }

    fn send<'a>(&'a self, batch: Batch<'a>) -> SinkFuture<'a, SinkResponse> {
        Box::pin(async move {
            if let Some(refused) = refuse_larger(batch.records, LOG_BYTES_MAX) {
                return Ok(refused);
            }
            let answer = self.poster.post_batch(batch.threads, "application/json", json_array(batch.records)).await?;
            match answer.status.is_success() {
                true if answer.is_web_page() => {
                    Err(SendError::Denied(format!("this is not the intake of Datadog: {}", answer.said())))
                }
                true => Ok(SinkResponse::all_accepted(batch.records.len())),
                false => Err(answer.failure()),
            }
        })
    }
}
