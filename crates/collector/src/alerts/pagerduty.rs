//! PagerDuty: the Events API v2, `POST /v2/enqueue`.
//!
//! Source: "Send an Alert Event" and "PD-CEF": a summary of up to 1,024 characters, a `dedup_key` of up to 255, four
//! severities, 512 KB. 202 accepts an event, 400 refuses it for good, 429 asks to wait.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::channel_context::{ChannelContext, accepted, failure, name, post};
use super::error::AlertError;
use super::message::{Message, Purpose, cut};
use crate::deliver::http::{HttpAccess, Poster};
use crate::settings::{SecretSource, SettingsError};

/// The address of the service.
const ADDRESS: &str = "https://events.pagerduty.com/v2/enqueue";
/// The address of the service for accounts in its service region EU.
const ADDRESS_EU: &str = "https://events.eu.pagerduty.com/v2/enqueue";
const SUMMARY_CHARS_MAX: usize = 1_024;
const TEXT_CHARS_MAX: usize = 4_000;

/// The settings of an integration.
#[derive(Debug, Deserialize)]
pub(super) struct PagerDutySettings {
    routing_key: Option<SecretSource>,
    severity: Option<PagerDutySeverity>,
    region: Option<Region>,
    url: Option<Url>,
}

/// The severity of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PagerDutySeverity {
    Critical,
    Error,
    Warning,
    Info,
}

/// The region of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Region {
    /// The United States, and the rest of the world.
    #[default]
    Us,
    /// The European Union.
    Eu,
}

/// An integration of PagerDuty.
#[derive(Clone)]
pub struct PagerDuty {
    poster: std::sync::Arc<Poster>,
    routing_key: secrecy::SecretString,
    severity: Option<PagerDutySeverity>,
    name: String,
}

impl PagerDuty {
    pub(super) fn new(settings: &PagerDutySettings, context: &ChannelContext<'_>) -> Result<Self, SettingsError> {
        use secrecy::ExposeSecret;
        let key = settings.routing_key.as_ref().ok_or("pagerduty needs the integration key as routing_key")?;
        let routing_key = context.secret("routing_key", key)?;
        if routing_key.expose_secret().len() != 32 {
            return Err(
                "the routing_key of pagerduty must have 32 characters: it is the integration key of Events API v2"
                    .into(),
            );
        }
        let url = match (&settings.url, settings.region) {
            (Some(_), Some(_)) => return Err("set either region or url, not both".into()),
            (Some(url), None) => url.clone(),
            (None, region) => address(region.unwrap_or_default(), ADDRESS, ADDRESS_EU)?,
        };
        let name = name("pagerduty", &url, context);
        let poster = context.poster(url, HttpAccess::Open)?.hiding(routing_key.clone());
        Ok(Self { poster: poster.into(), routing_key, severity: settings.severity, name })
    }

    pub(super) fn name(&self) -> String {
        self.name.clone()
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), AlertError> {
        let answer = post(&self.poster, &self.name, &self.body(message)).await?;
        match answer.status.as_u16() {
            200..=299 => accepted(&answer, &self.name),
            // The key is rejected, not the event: retry until the key is corrected.
            400 if String::from_utf8_lossy(&answer.body).contains("routing") => {
                Err(AlertError::Refused(format!("{}: {}", self.name, answer.said())))
            }
            _ => Err(failure(&answer, &self.name)),
        }
    }

    /// Resolves what was never triggered, which changes nothing and needs a valid key.
    pub(super) async fn check(&self) -> Result<(), AlertError> {
        self.send(&Message::test("runlog-check", Purpose::Recovery, "")).await
    }

    fn body(&self, message: &Message) -> Value {
        use secrecy::ExposeSecret;
        let key = self.routing_key.expose_secret();
        if message.purpose == Purpose::Recovery {
            return json!({ "routing_key": key, "event_action": "resolve", "dedup_key": message.subject_id });
        }
        let mut details: Map<String, Value> = message
            .facts()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), cut(&value, TEXT_CHARS_MAX).into()))
            .collect();
        let texts: Vec<String> =
            message.texts().iter().map(|text| cut(text, TEXT_CHARS_MAX)).chain(message.more()).collect();
        details.insert("text".to_owned(), texts.join("\n").into());
        let source = match message.field("workspaceName") {
            "" => "runlog".to_owned(),
            workspace => cut(&super::message::one_line(workspace), 255),
        };
        let mut payload = json!({
            "summary": cut(&message.title(), SUMMARY_CHARS_MAX),
            "source": source,
            "severity": word(self.severity.unwrap_or_else(|| usual_severity(message.what()))),
            "class": message.what(),
            "custom_details": details,
        });
        for (field, value) in [("timestamp", message.noted_at()), ("component", message.field("taskName"))] {
            if !value.is_empty() {
                payload[field] = cut(&super::message::one_line(value), 255).into();
            }
        }
        let mut body = json!({
            "routing_key": key,
            "event_action": "trigger",
            "dedup_key": message.subject_id,
            "payload": payload,
            "client": "Runlog",
        });
        if let Some(link) = message.link() {
            body["client_url"] = link.into();
            body["links"] = json!([{ "href": link, "text": "Open in Runlog" }]);
        }
        body
    }
}

/// The address for a region.
pub(super) fn address(region: Region, us: &str, eu: &str) -> Result<Url, SettingsError> {
    let address = if region == Region::Eu { eu } else { us };
    address.parse().map_err(|_| format!("{address} is not a URL").into())
}

fn usual_severity(what: &str) -> PagerDutySeverity {
    match what {
        "run_slow" | "task_late" | "rows_unusual" | "log_unusual" | "new_error" => PagerDutySeverity::Warning,
        "test" => PagerDutySeverity::Info,
        _ => PagerDutySeverity::Error,
    }
}

fn word(severity: PagerDutySeverity) -> &'static str {
    match severity {
        PagerDutySeverity::Critical => "critical",
        PagerDutySeverity::Error => "error",
        PagerDutySeverity::Warning => "warning",
        PagerDutySeverity::Info => "info",
    }
}
