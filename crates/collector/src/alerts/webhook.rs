//! An address that gets alerts as JSON, signed.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use runlog_model::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use url::Url;

use super::AlertError;

/// How long an attempt may take.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(30);

/// An address that gets alerts by POST.
#[derive(Debug, Clone)]
pub struct Webhook {
    url: Url,
    secret: Option<SecretString>,
    http: reqwest::Client,
}

impl Webhook {
    /// A webhook; with a secret, what is sent is signed with it.
    pub fn new(url: Url, secret: Option<SecretString>) -> Result<Self, AlertError> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("runlog/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ATTEMPT_TIME_MAX)
            .build()
            .map_err(|error| AlertError::Unsendable(format!("the HTTP client cannot be set up: {error}")))?;
        Ok(Self { url, secret, http })
    }

    /// The address without what may be secret in it.
    pub(super) fn name(&self) -> String {
        use sha2::Digest;
        let digest = Sha256::digest(self.url.as_str());
        let short: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("webhook {} {short}", self.url.host_str().unwrap_or_default())
    }

    pub(super) async fn send(&self, id: &str, body: &str, now: Timestamp) -> Result<(), AlertError> {
        let timestamp = now.as_millis().div_euclid(1_000).to_string();
        let mut request = self
            .http
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("x-runlog-id", id)
            .header("x-runlog-timestamp", &timestamp);
        if let Some(secret) = &self.secret {
            request = request.header("x-runlog-signature", signature(secret, &timestamp, body)?);
        }
        let answer = request
            .body(body.to_owned())
            .send()
            .await
            // An address may hold a secret: it is not repeated.
            .map_err(|error| AlertError::Refused(format!("{}: {}", self.name(), chain(&error.without_url()))))?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(AlertError::Refused(format!("{} answered {}", self.name(), answer.status()))),
        }
    }

    /// Sends an alert that says it is only a test.
    pub(super) async fn check(&self, now: Timestamp) -> Result<(), AlertError> {
        let body = r#"{"rule":"","what":"test","text":"runlog check: alerts arrive here"}"#;
        self.send("test", body, now).await
    }
}

/// `v1=` and the HMAC-SHA256 of time and body, in hexadecimal digits.
fn signature(secret: &SecretString, timestamp: &str, body: &str) -> Result<String, AlertError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
        .map_err(|_| AlertError::Unsendable("the secret of the webhook cannot be a key".to_owned()))?;
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("v1={digits}"))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_the_hmac_of_time_and_body() {
        // printf '1700000000.{}' | openssl dgst -sha256 -hmac secret
        let made = signature(&SecretString::from("secret"), "1700000000", "{}").unwrap();
        assert_eq!(made, "v1=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163");
    }
}
