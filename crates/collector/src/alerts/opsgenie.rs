//! Opsgenie: the Alert API, `POST /v2/alerts`, and closing by alias.
//!
//! Source: "Alert API" of the Opsgenie documentation: a message of up to 130 characters, an alias of up to 512, a
//! description of up to 15,000, 20 tags of up to 50, details of up to 8,000 in total, priorities P1 to P5. 202 accepts
//! a request, 422 refuses it for good, 429 asks to wait.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::channel_context::{ChannelContext, accepted, failure, name, post};
use super::error::AlertError;
use super::message::{Message, Purpose, cut, one_line};
use super::pagerduty::{Region, address};
use crate::deliver::http::{HttpAccess, Poster};
use crate::settings::{SecretSource, SettingsError};

/// The address of the service.
const ADDRESS: &str = "https://api.opsgenie.com";
/// The address of the service for accounts in the European Union.
const ADDRESS_EU: &str = "https://api.eu.opsgenie.com";
const MESSAGE_CHARS_MAX: usize = 130;
const DESCRIPTION_CHARS_MAX: usize = 15_000;
const ENTITY_CHARS_MAX: usize = 512;
/// Ten details of this length are less than 8,000 characters.
const DETAIL_CHARS_MAX: usize = 600;
const TAGS_MAX: usize = 20;
const TAG_CHARS_MAX: usize = 50;
const RESPONDERS_MAX: usize = 50;

/// The settings of an API integration.
#[derive(Debug, Deserialize)]
pub(super) struct OpsgenieSettings {
    api_key: Option<SecretSource>,
    priority: Option<Priority>,
    #[serde(default)]
    teams: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    region: Option<Region>,
    url: Option<Url>,
}

/// The priority of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
enum Priority {
    P1,
    P2,
    #[default]
    P3,
    P4,
    P5,
}

/// An API integration of Opsgenie.
#[derive(Clone)]
pub struct Opsgenie {
    address: Url,
    poster: std::sync::Arc<Poster>,
    priority: Priority,
    teams: Vec<String>,
    tags: Vec<String>,
    name: String,
}

impl Opsgenie {
    pub(super) fn new(settings: &OpsgenieSettings, context: &ChannelContext<'_>) -> Result<Self, SettingsError> {
        let key = settings.api_key.as_ref().ok_or("opsgenie needs the key of an API integration as api_key")?;
        let key = context.secret("api_key", key)?;
        let address = match (&settings.url, settings.region) {
            (Some(_), Some(_)) => return Err("set either region or url, not both".into()),
            (Some(url), None) => url.clone(),
            (None, region) => address(region.unwrap_or_default(), ADDRESS, ADDRESS_EU)?,
        };
        if settings.tags.len() >= TAGS_MAX || settings.tags.iter().any(|tag| tag.chars().count() > TAG_CHARS_MAX) {
            let message = format!("opsgenie takes less than {TAGS_MAX} tags of up to {TAG_CHARS_MAX} characters");
            return Err(message.into());
        }
        if settings.teams.len() > RESPONDERS_MAX {
            return Err(format!("opsgenie takes up to {RESPONDERS_MAX} teams").into());
        }
        let name = name("opsgenie", &address, context);
        let access = HttpAccess::authorization("GenieKey", key);
        Ok(Self {
            poster: context.poster(address.clone(), access)?.into(),
            address,
            priority: settings.priority.unwrap_or_default(),
            teams: settings.teams.clone(),
            tags: settings.tags.clone(),
            name,
        })
    }

    pub(super) fn name(&self) -> String {
        self.name.clone()
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), AlertError> {
        let mut url = self.address.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        let body = match message.purpose {
            Purpose::Alert => {
                url.set_path(&format!("{base}/v2/alerts"));
                self.body(message)
            }
            Purpose::Recovery => {
                // The ID of a subject is a number in hexadecimal, or a fixed identifier of this program.
                url.set_path(&format!("{base}/v2/alerts/{}/close", message.subject_id));
                url.set_query(Some("identifierType=alias"));
                json!({ "source": "Runlog", "note": cut(&message.title(), DESCRIPTION_CHARS_MAX) })
            }
        };
        let answer = post(&self.poster.to(url), &self.name, &body).await?;
        match answer.status.as_u16() {
            200..=299 => accepted(&answer, &self.name),
            // An alert that does not exist counts as closed.
            404 if message.purpose == Purpose::Recovery => Ok(()),
            _ => Err(failure(&answer, &self.name)),
        }
    }

    /// Closes what was never opened, which changes nothing and needs a valid key.
    pub(super) async fn check(&self) -> Result<(), AlertError> {
        self.send(&Message::test("runlog-check", Purpose::Recovery, "")).await
    }

    fn body(&self, message: &Message) -> Value {
        let details: Map<String, Value> = message
            .facts()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), cut(&value, DETAIL_CHARS_MAX).into()))
            .chain(message.link().map(|link| ("link".to_owned(), cut(link, DETAIL_CHARS_MAX).into())))
            .collect();
        let description: Vec<String> =
            message.texts().into_iter().chain(message.more()).chain(message.link().map(str::to_owned)).collect();
        let kind = cut(message.what(), TAG_CHARS_MAX);
        let tags: Vec<&str> = self.tags.iter().map(String::as_str).chain([kind.as_str()]).collect();
        let mut body = json!({
            "message": cut(&message.title(), MESSAGE_CHARS_MAX),
            "alias": message.subject_id,
            "description": cut(&description.join("\n"), DESCRIPTION_CHARS_MAX),
            "priority": format!("{:?}", self.priority),
            "source": "Runlog",
            "tags": tags,
            "details": details,
        });
        if !self.teams.is_empty() {
            let teams = self.teams.iter().map(|team| json!({ "type": "team", "name": team }));
            body["responders"] = teams.collect::<Vec<_>>().into();
        }
        let entity = one_line(message.field("taskName"));
        if !entity.is_empty() {
            body["entity"] = cut(&entity, ENTITY_CHARS_MAX).into();
        }
        body
    }
}
