//! Who the client is to the service: a personal token as it is, or access tokens fetched and renewed.

use bytes::Bytes;
use http::{HeaderValue, Method};
use runlog_model::wire::oauth::TokenRequest;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::call::{is_temporary, refused};
use super::connection::Connection;
use super::lenient;
use super::retry::RetryState;
use super::settings::Credentials;
use crate::error::{Error, ErrorKind, Result};

/// How long before its end an access token is renewed. Unit: milliseconds.
const RENEW_BEFORE_MS: i64 = 60_000;
/// The lifetime of an access token if the response contains none. Source: 30 minutes in the guide. Unit: seconds.
const LIFE_SECONDS_DEFAULT: u64 = 1_800;

/// The credentials, and the access token they gave.
pub(crate) struct Authentication {
    credentials: Credentials,
    /// Held while a token is fetched, so that callers at the same time share it.
    token: Mutex<Option<AccessToken>>,
}

struct AccessToken {
    authorization: HeaderValue,
    renew_at_ms: i64,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
    #[serde(default)]
    expires_in: Option<Value>,
}

impl Authentication {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self { credentials, token: Mutex::new(None) }
    }

    /// True when a refused token can be replaced by a new one.
    pub(crate) fn renews(&self) -> bool {
        matches!(self.credentials, Credentials::ServiceAccount { .. })
    }

    /// The header that authenticates the caller.
    pub(crate) async fn authorization(&self, connection: &Connection) -> Result<HeaderValue> {
        let (id, secret) = match &self.credentials {
            Credentials::PersonalToken(token) => return bearer(token),
            Credentials::ServiceAccount { client_id, client_secret } => (client_id, client_secret),
        };
        let mut token = self.token.lock().await;
        let now = connection.clock.now().as_millis();
        if let Some(token) = token.as_ref().filter(|token| now < token.renew_at_ms) {
            return Ok(token.authorization.clone());
        }
        let fresh = fetch(connection, id, secret).await?;
        let authorization = fresh.authorization.clone();
        *token = Some(fresh);
        Ok(authorization)
    }

    /// The header, if it is there without waiting: no access token has to be requested, and none is being requested.
    pub(crate) fn authorization_at_hand(&self, connection: &Connection) -> Result<Option<HeaderValue>> {
        if let Credentials::PersonalToken(token) = &self.credentials {
            return bearer(token).map(Some);
        }
        let Ok(token) = self.token.try_lock() else { return Ok(None) };
        let now = connection.clock.now().as_millis();
        Ok(token.as_ref().filter(|token| now < token.renew_at_ms).map(|token| token.authorization.clone()))
    }

    /// Does not use this header again: the service refused it.
    pub(crate) async fn forget(&self, refused: &HeaderValue) {
        let mut token = self.token.lock().await;
        if token.as_ref().is_some_and(|token| token.authorization == *refused) {
            *token = None;
        }
    }
}

async fn fetch(connection: &Connection, id: &str, secret: &SecretString) -> Result<AccessToken> {
    let authorization = basic(id, secret)?;
    let audience = connection.settings.base_url.as_str().trim_end_matches('/').to_owned();
    let body = TokenRequest { grant_type: "client_credentials".to_owned(), audience: Some(audience) };
    let mut tries = RetryState::default();
    loop {
        let call = connection.request(Method::POST, &["security", "oauth", "token"], &[]).with_json(&body)?;
        let (error, headers, is_worth_another) = match connection.once(&call, &authorization).await {
            Ok(answer) if answer.status.is_success() => return token_of(connection, &answer.body),
            Ok(answer) => {
                let error = refused(&call, &answer);
                let again = is_temporary(answer.status, &error);
                (error, Some(answer.headers), again)
            }
            Err(error) => (error, None, true),
        };
        if !is_worth_another || connection.is_final_failure(&error, &tries) {
            // The user has to check the credentials, even if the service reports an invalid request.
            let kind = if error.kind() == ErrorKind::Invalid { ErrorKind::Unauthorized } else { error.kind() };
            if error.is_unreachable() {
                return Err(error);
            }
            return Err(Error::caused(kind, "cannot get an access token for the service account", error));
        }
        connection.pause(&error, headers.as_ref(), &mut tries).await;
    }
}

fn token_of(connection: &Connection, body: &Bytes) -> Result<AccessToken> {
    // The body is not shown because it contains the token.
    let answer: TokenAnswer = serde_json::from_slice(body).map_err(|_| {
        Error::new(ErrorKind::Protocol, "the service's response to a token request contains no access_token")
    })?;
    let seconds = answer.expires_in.as_ref().and_then(lenient::count).unwrap_or(LIFE_SECONDS_DEFAULT);
    let life_ms = i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(i64::MAX / 2);
    // A token shorter than the margin is used for half of its life.
    let renew_at_ms = connection.clock.now().as_millis() + (life_ms - RENEW_BEFORE_MS).max(life_ms / 2);
    Ok(AccessToken { authorization: bearer(&answer.access_token)?, renew_at_ms })
}

fn bearer(token: &SecretString) -> Result<HeaderValue> {
    secret_header(format!("Bearer {}", token.expose_secret().trim()))
}

fn basic(id: &str, secret: &SecretString) -> Result<HeaderValue> {
    use base64::Engine;
    let pair = format!("{id}:{}", secret.expose_secret().trim());
    secret_header(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
}

fn secret_header(text: String) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| Error::new(ErrorKind::Invalid, "the token contains invalid characters; check the file"))?;
    value.set_sensitive(true);
    Ok(value)
}
