//! Incoming webhooks of chat services: a URL that takes a message in the form of its service.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::channel_context::{ChannelContext, accepted, destination_key_of, failure, name, post};
use super::error::AlertError;
use super::message::Message;
use super::{slack, teams};
use crate::deliver::http::{Answer, HttpAccess, Poster};
use crate::settings::{SettingsError, TextOrSecret};

/// The settings of a webhook.
#[derive(Debug, Deserialize)]
pub(super) struct ChatSettings {
    url: Option<TextOrSecret>,
}

/// The properties in which the services differ.
struct Service {
    kind: &'static str,
    body: fn(&Message) -> Value,
    /// True for an answer with status 200 whose message was not posted.
    has_failed: fn(&Answer) -> bool,
}

const TEAMS: Service = Service { kind: "teams", body: teams::body, has_failed: teams::has_failed };
const SLACK: Service = Service { kind: "slack", body: slack::body, has_failed: |_| false };

/// A webhook of a chat service.
#[derive(Clone)]
pub struct ChatWebhook {
    service: &'static Service,
    poster: Arc<Poster>,
    name: String,
    destination_key: String,
}

impl ChatWebhook {
    /// A workflow of Microsoft Teams.
    pub(super) fn teams(settings: &ChatSettings, context: &ChannelContext<'_>) -> Result<Self, SettingsError> {
        Self::new(&TEAMS, settings, context)
    }

    /// An incoming webhook of Slack.
    pub(super) fn slack(settings: &ChatSettings, context: &ChannelContext<'_>) -> Result<Self, SettingsError> {
        Self::new(&SLACK, settings, context)
    }

    fn new(
        service: &'static Service,
        settings: &ChatSettings,
        context: &ChannelContext<'_>,
    ) -> Result<Self, SettingsError> {
        let url: Url = context.secret_url(settings.url.as_ref())?;
        let (name, destination_key) = (name(service.kind, &url, context), destination_key_of(&url));
        Ok(Self { service, poster: context.poster(url, HttpAccess::Open)?.into(), name, destination_key })
    }

    pub(super) fn name(&self) -> String {
        self.name.clone()
    }

    /// Returns a key that is equal for the same channel in all rules.
    pub(super) fn destination_key(&self) -> String {
        self.destination_key.clone()
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), AlertError> {
        let answer = post(&self.poster, &self.name, &(self.service.body)(message)).await?;
        match answer.status.is_success() {
            true if (self.service.has_failed)(&answer) => {
                let problem = format!("{}: {}", self.name, answer.said());
                Err(AlertError::Busy { problem, after: answer.retry_after })
            }
            true => accepted(&answer, &self.name),
            false => Err(failure(&answer, &self.name)),
        }
    }
}
