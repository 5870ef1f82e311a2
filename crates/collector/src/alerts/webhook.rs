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
use crate::signature::signature;

/// A URL that receives alerts by POST.
#[derive(Debug, Clone)]
pub struct Webhook {
    url: Url,
    secret: Option<SecretString>,
    http: HttpSender,
}

impl Webhook {
    /// Creates a webhook. Its requests are signed with the secret, if there is one; `http` contains certificates and
    /// headers.
    pub fn new(url: Url, secret: Option<SecretString>, http: HttpClientBuilder) -> Result<Self, AlertError> {
        let http = http.timeout(ATTEMPT_TIME_MAX).sender();
        let http = http.map_err(|error| AlertError::Unsendable(error_chain(&error)))?;
        Ok(Self { url, secret, http })
    }

    /// The URL without parts that may be secret.
    pub(super) fn name(&self) -> String {
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
        let answer = self
            .http
            .post(self.url.clone(), headers, body.into_bytes())
            .await
            // The URL may contain a secret and is not repeated.
            .map_err(|error| AlertError::Refused(format!("{}: {error}", self.name())))?;
        let status = answer.status();
        let problem = format!("{} answered {status}", self.name());
        match status.as_u16() {
            200..=299 => Ok(()),
            429 | 503 => Err(AlertError::Busy { problem, after: retry_after(answer.headers(), now) }),
            _ => Err(AlertError::Refused(problem)),
        }
    }
}
