//! Shared code of the destinations of vendors: secrets, requests, and the meaning of responses.

use std::sync::Arc;
use std::time::Duration;

use runlog_client::{SimulatedNetwork, TlsSettings};
use runlog_model::{Clock, hex};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

use super::error::AlertError;
use crate::deliver::SendError;
use crate::deliver::http::{Answer, HttpAccess, HttpSettings, Poster};
use crate::settings::{SecretReader, SecretSource, SettingsError, TextOrSecret};

/// Maximum time of an attempt.
pub(super) const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(30);
/// Shorter parts of the URL of a webhook are words, and longer ones may be its secret. Unit: bytes.
const PART_BYTES_MIN: usize = 12;

/// The inputs of a destination besides its settings.
pub(super) struct ChannelContext<'a> {
    /// The rule.
    pub(super) owner: &'a str,
    /// Which of the rule's destinations of this kind it is, from 1 on.
    pub(super) number: usize,
    pub(super) tls: &'a TlsSettings,
    /// None while settings are only checked.
    pub(super) secrets: Option<&'a dyn SecretReader>,
    pub(super) clock: Arc<dyn Clock>,
    /// The services of a simulation, in place of the network.
    pub(super) simulated: Option<Arc<dyn SimulatedNetwork>>,
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
            simulated: self.simulated.clone(),
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

/// The name of a destination in the archive: its kind, its host, its rule, and its number if it is not the first of its
/// kind there. Other settings and renewed secrets do not make it another one: what waits for it is sent, and what is
/// open there is closed.
pub(super) fn name(kind: &str, url: &Url, context: &ChannelContext<'_>) -> String {
    let (host, rule) = (url.host_str().unwrap_or_default(), context.owner);
    match context.number {
        1 => format!("{kind} {host} ({rule})"),
        number => format!("{kind} {host} ({rule} {number})"),
    }
}

/// Returns a key that is equal for the same address in all rules.
pub(super) fn destination_key_of(url: &Url) -> String {
    hex::encode(Sha256::digest(url.as_str()))
}

/// Posts JSON.
pub(super) async fn post(poster: &Poster, name: &str, body: &Value) -> Result<Answer, AlertError> {
    poster.post("application/json", body.to_string().into_bytes(), &[]).await.map_err(|error| match error {
        SendError::Away { problem, after } => AlertError::Busy { problem: format!("{name}: {problem}"), after },
        error => AlertError::Refused(format!("{name}: {error}")),
    })
}

/// The meaning of a success: a web page is one of a proxy, for example to sign in, and the message did not arrive.
pub(super) fn accepted(answer: &Answer, name: &str) -> Result<(), AlertError> {
    match answer.is_web_page() {
        true => {
            Err(AlertError::Refused(format!("{name}: a web page answered, such as that of a proxy: {}", answer.said())))
        }
        false => Ok(()),
    }
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
