//! Sends alerts as signed JSON to a URL.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use runlog_client::{HttpClientBuilder, HttpSender, retry_after};
use runlog_model::{Timestamp, error_chain, hex};
use secrecy::SecretString;
use sha2::Sha256;
use url::Url;

use super::channel_context::ATTEMPT_TIME_MAX;
use super::error::AlertError;
use super::message::Message;
use crate::deliver::http::is_html_page;
use crate::signature::signature;

/// A URL that receives alerts by POST.
#[derive(Debug, Clone)]
pub struct Webhook {
    url: Url,
    secret: Option<SecretString>,
    http: HttpSender,
    rule: Option<String>,
}

impl Webhook {
    /// Creates a webhook. Its requests are signed with the secret, if there is one; `http` contains certificates and
    /// headers.
    pub fn new(url: Url, secret: Option<SecretString>, http: HttpClientBuilder) -> Result<Self, AlertError> {
        let http = http.timeout(ATTEMPT_TIME_MAX).sender();
        let http = http.map_err(|error| AlertError::Unsendable(error_chain(&error)))?;
        Ok(Self { url, secret, http, rule: None })
    }

    /// The same as the only webhook of a rule. Another rule may have the same URL with other headers and another
    /// secret, and what waits is sent also when the URL is renewed.
    #[must_use]
    pub fn of_rule(self, rule: &str) -> Self {
        Self { rule: Some(rule.to_owned()), ..self }
    }

    /// Returns the host, which is not secret, and the rule.
    pub(super) fn name(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match &self.rule {
            Some(rule) => format!("webhook {host} ({rule})"),
            None => self.name_by_url(),
        }
    }

    /// The name in archives of earlier versions, if it is another one.
    pub(super) fn former_name(&self) -> Option<String> {
        self.rule.as_ref().map(|_| self.name_by_url())
    }

    /// The URL without parts that may be secret.
    fn name_by_url(&self) -> String {
        use sha2::Digest;
        let digest = Sha256::digest(self.url.as_str());
        let short = hex::encode(&digest[..4]);
        format!("webhook {} {short}", self.url.host_str().unwrap_or_default())
    }

    pub(super) async fn send(&self, message: &Message, now: Timestamp) -> Result<(), AlertError> {
        let body = message.json().to_string();
        let timestamp = now.as_millis().div_euclid(1_000).to_string();
        let signed = self.secret.as_ref().map(|secret| signature(secret, &timestamp, body.as_bytes()));
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let own = [("x-runlog-id", Some(message.id.clone())), ("x-runlog-timestamp", Some(timestamp))];
        for (name, value) in own.into_iter().chain([("x-runlog-signature", signed)]) {
            let Some(value) = value else { continue };
            let invalid = || AlertError::Unsendable(format!("header {name} has characters that no header has"));
            headers.insert(HeaderName::from_static(name), HeaderValue::try_from(value).map_err(|_| invalid())?);
        }
        let mut answer = self
            .http
            .post(self.url.clone(), headers, body.into_bytes())
            .await
            // The URL may contain a secret and is not repeated.
            .map_err(|error| AlertError::Refused(format!("{}: {error}", self.name())))?;
        let status = answer.status();
        let problem = format!("{} answered {status}", self.name());
        match status.as_u16() {
            200..=299 => {
                // A receiver that breaks off after this status has taken the alert.
                let beginning = answer.chunk().await.ok().flatten().unwrap_or_default();
                match is_html_page(&beginning) {
                    true => Err(AlertError::Refused(format!("{problem} with a web page, such as that of a proxy"))),
                    false => Ok(()),
                }
            }
            408 | 425 | 429 | 500..=599 => Err(AlertError::Busy { problem, after: retry_after(answer.headers(), now) }),
            _ => Err(AlertError::Refused(problem)),
        }
    }
}
