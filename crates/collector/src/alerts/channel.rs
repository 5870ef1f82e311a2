//! What the destinations of vendors have in common: their settings in a rule, requests, and the meaning of answers.

use std::sync::Arc;
use std::time::Duration;

use runlog_client::TlsSettings;
use runlog_model::{Clock, hex};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use url::Url;

use super::error::AlertError;
use super::opsgenie::{Opsgenie, OpsgenieSettings};
use super::pagerduty::{PagerDuty, PagerDutySettings};
use super::rule::Destination;
use super::slack::{Slack, SlackSettings};
use super::teams::{Teams, TeamsSettings};
use crate::deliver::SendError;
use crate::deliver::http::{Answer, HttpAccess, HttpSettings, Poster};
use crate::settings::{
    SecretReader, SecretSource, SettingsError, TableError, TextOrSecret, UnknownWord, located, names_of,
};

/// Maximum time of an attempt.
pub(super) const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(30);
/// Shorter parts of the URL of a webhook are words, and longer ones may be its secret. Unit: bytes.
const PART_BYTES_MIN: usize = 12;
/// The setting that selects the kind.
const KIND: &str = "kind";

macro_rules! channels {
    ($($variant:ident($settings:ty) = $name:literal,)+) => {
        /// The settings of a destination, selected by `kind = "slack"`.
        #[derive(Debug)]
        enum KindSettings {
            $($variant($settings),)+
        }

        /// Every kind, and the names of its settings.
        const KINDS: &[(&str, fn() -> &'static [&'static str])] = &[$(($name, names_of::<$settings>)),+];

        impl KindSettings {
            fn read(kind: &str, given: Map<String, Value>) -> Result<Option<Self>, TableError> {
                $(if kind == $name {
                    return located(given, |own| <$settings>::deserialize(own)).map(|own| Some(Self::$variant(own)));
                })+
                Ok(None)
            }

            fn build(&self, context: &ChannelContext<'_>) -> Result<Destination, SettingsError> {
                match self {
                    $(Self::$variant(settings) => $variant::new(settings, context).map(Destination::$variant),)+
                }
            }
        }
    };
}

channels! {
    Teams(TeamsSettings) = "teams",
    Slack(SlackSettings) = "slack",
    PagerDuty(PagerDutySettings) = "pagerduty",
    Opsgenie(OpsgenieSettings) = "opsgenie",
}

/// The settings of one destination of a rule.
#[derive(Debug)]
pub struct ChannelSettings(KindSettings);

impl ChannelSettings {
    /// Reads the settings from their table.
    pub fn read(mut given: Map<String, Value>) -> Result<Self, TableError> {
        let kinds = KINDS.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let kind = given.remove(KIND).ok_or_else(|| {
            TableError::missing(format!("a destination of an alert needs a kind: {}", kinds.join(", ")))
        })?;
        let kind = kind.as_str().unwrap_or_default().to_owned();
        let Some((_, names)) = KINDS.iter().find(|(name, _)| *name == kind) else {
            let message = format!("unknown kind of destination {kind:?}; use one of {}", kinds.join(", "));
            let unknown = Some(UnknownWord { word: kind, known: kinds });
            return Err(TableError { setting: Some(KIND.to_owned()), message, unknown });
        };
        let known: Vec<&str> = names().iter().copied().chain([KIND]).collect();
        if let Some(name) = given.keys().find(|name| !known.contains(&name.as_str())) {
            let message = format!("unknown setting {name:?}");
            let unknown = Some(UnknownWord { word: name.clone(), known });
            return Err(TableError { setting: Some(name.clone()), message, unknown });
        }
        let read = KindSettings::read(&kind, given)?;
        read.map(Self).ok_or_else(|| TableError::missing(format!("there is no kind {kind}")))
    }

    /// The names of all settings of all kinds.
    pub fn names() -> Vec<&'static str> {
        KINDS.iter().flat_map(|(_, names)| names().iter().copied()).chain([KIND]).collect()
    }

    /// Checks the settings without reading secrets.
    pub fn check(&self, clock: Arc<dyn Clock>) -> Result<(), SettingsError> {
        let context = ChannelContext { owner: "", tls: &TlsSettings::default(), secrets: None, clock };
        self.0.build(&context).map(drop)
    }

    /// Reads the secrets of the destination of a rule and builds it. Sends nothing.
    pub fn build(
        &self,
        rule: &str,
        tls: &TlsSettings,
        secrets: &dyn SecretReader,
        clock: Arc<dyn Clock>,
    ) -> Result<Destination, SettingsError> {
        self.0.build(&ChannelContext { owner: rule, tls, secrets: Some(secrets), clock })
    }
}

/// The inputs of a destination besides its settings.
pub(super) struct ChannelContext<'a> {
    /// The rule.
    owner: &'a str,
    tls: &'a TlsSettings,
    /// None while settings are only checked.
    secrets: Option<&'a dyn SecretReader>,
    clock: Arc<dyn Clock>,
}

impl ChannelContext<'_> {
    /// Reads the secret of a setting.
    pub(super) fn secret(&self, setting: &str, source: &SecretSource) -> Result<SecretString, SettingsError> {
        match self.secrets {
            Some(secrets) => {
                secrets.read(source, &format!("alert {}: {setting}", self.owner)).map_err(SettingsError::Secret)
            }
            None => Ok(SecretString::from("0".repeat(32))),
        }
    }

    /// The URL of a setting, which may be a secret as a whole.
    pub(super) fn secret_url(&self, given: Option<&TextOrSecret>) -> Result<Url, SettingsError> {
        let given = given.ok_or("it needs the url of the webhook")?;
        let text = match (given, self.secrets) {
            (TextOrSecret::Secret(_), None) => return Ok(placeholder()),
            (given, _) => given.read(|source| self.secret("url", source))?,
        };
        let url = text.expose_secret().parse().ok().filter(|url: &Url| matches!(url.scheme(), "http" | "https"));
        // The address may be a secret: it is not repeated.
        url.ok_or_else(|| "its url is not a URL that starts with https:// or http://".into())
    }

    /// Requests to this URL, which is removed from every text of a response that is shown.
    pub(super) fn poster(&self, url: Url, access: HttpAccess) -> Result<Poster, SettingsError> {
        let whole = [url.as_str(), url.path(), url.query().unwrap_or_default()].map(str::to_owned);
        let segments = url.path_segments().into_iter().flatten().map(str::to_owned);
        let values = url.query_pairs().map(|(_, value)| value.into_owned());
        let parts = segments.chain(values).filter(|part| part.len() >= PART_BYTES_MIN);
        let hidden: Vec<String> = whole.into_iter().chain(parts).collect();
        let http = HttpSettings {
            url,
            access,
            headers: Vec::new(),
            gzip: false,
            time_max: ATTEMPT_TIME_MAX,
            tls: self.tls.clone(),
        };
        let poster = Poster::new(http, "", Arc::clone(&self.clock))?;
        let hide = |poster: Poster, text: String| poster.hiding(SecretString::from(text));
        Ok(hidden.into_iter().filter(|text| text.len() > 1).fold(poster, hide))
    }
}

/// The URL of a secret that is not read.
fn placeholder() -> Url {
    // It always parses.
    Url::parse("https://example.com/placeholder").unwrap_or_else(|_| unreachable!("a constant"))
}

/// The name of a destination in the archive: its kind, its host, and a digest of what makes it another one.
pub(super) fn name(kind: &str, url: &Url, parts: &[&str]) -> String {
    let digest = Sha256::digest([&[url.as_str()], parts].concat().join("\n"));
    format!("{kind} {} {}", url.host_str().unwrap_or_default(), hex::encode(&digest[..4]))
}

/// Posts JSON.
pub(super) async fn post(poster: &Poster, name: &str, body: &Value) -> Result<Answer, AlertError> {
    poster.post("application/json", body.to_string().into_bytes(), &[]).await.map_err(|error| match error {
        SendError::Away { problem, after } => AlertError::Busy { problem: format!("{name}: {problem}"), after },
        error => AlertError::Refused(format!("{name}: {error}")),
    })
}

/// The meaning of an answer that is not a success: 400, 413 and 422 refuse the message itself, which is not sent again.
pub(super) fn failure(answer: &Answer, name: &str) -> AlertError {
    let problem = format!("{name}: {}", answer.said());
    match answer.status.as_u16() {
        400 | 413 | 422 => AlertError::Rejected(problem),
        408 | 429 | 500..=599 => AlertError::Busy { problem, after: answer.retry_after },
        _ => AlertError::Refused(problem),
    }
}
