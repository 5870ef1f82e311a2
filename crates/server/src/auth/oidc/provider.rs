//! Requests to the identity provider: its discovery document and keys, which are cached, and tokens.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::jwk::{Jwk, JwkSet};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use runlog_model::{Clock, error_chain};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::warn;

use crate::auth::oidc::access::Claims;
use crate::auth::oidc::id_token::{self, Expected, TokenError};
use crate::auth::oidc::settings::OidcSettings;
use crate::limits;

/// A failed request to the provider, or its unexpected response. Contains neither tokens nor codes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OidcError {
    /// It does not respond, or is not able to.
    #[error("the identity provider cannot be reached: {0}")]
    Unavailable(String),
    /// It refuses, with an error code of OAuth 2.0.
    #[error("the identity provider refuses: {code}{}", description.as_ref().map(|it| format!(" ({it})")).unwrap_or_default())]
    Refused { code: String, description: Option<String> },
    /// Its response is not as the standard requires.
    #[error("the response of the identity provider is not valid: {0}")]
    Invalid(String),
}

impl From<TokenError> for OidcError {
    fn from(error: TokenError) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// The discovery document, as far as it is used. Source: OpenID Connect Discovery 1.0, 3; RFC 8628, 4; RFC 9207, 3.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) issuer: String,
    pub(crate) authorization_endpoint: Url,
    pub(crate) token_endpoint: Url,
    pub(crate) jwks_uri: Url,
    pub(crate) userinfo_endpoint: Option<Url>,
    pub(crate) device_authorization_endpoint: Option<Url>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// The provider names itself in its redirects.
    #[serde(default)]
    pub(crate) authorization_response_iss_parameter_supported: bool,
}

/// The response of the token endpoint.
#[derive(Deserialize)]
pub(crate) struct TokenAnswer {
    pub(crate) access_token: Option<SecretString>,
    pub(crate) id_token: Option<SecretString>,
    pub(crate) refresh_token: Option<SecretString>,
}

/// The response of the device authorization endpoint. Source: RFC 8628, 3.2.
#[derive(Deserialize)]
pub(crate) struct DeviceAnswer {
    pub(crate) device_code: String,
    pub(crate) user_code: String,
    #[serde(alias = "verification_url")]
    pub(crate) verification_uri: String,
    pub(crate) verification_uri_complete: Option<String>,
    pub(crate) expires_in: u64,
    pub(crate) interval: Option<u64>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    error_description: Option<String>,
}

/// The identity provider. Its document and keys are read when they are needed, so that a service starts without it.
pub(crate) struct Provider {
    settings: Arc<OidcSettings>,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    metadata: Option<Cached<Metadata>>,
    keys: Option<Cached<JwkSet>>,
    /// When the document last could not be read, and why.
    failed: Option<(Duration, String)>,
    /// The same of the keys.
    keys_failed: Option<(Duration, String)>,
    /// When the keys were last read because a token was signed with none of them.
    keys_reread: Option<Duration>,
}

/// Which keys are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// Those that are known, unless they are old.
    Known,
    /// Those after a rotation: none of those that are known has signed a token.
    Rotated,
    /// Those that are published now.
    Published,
}

struct Cached<T> {
    value: Arc<T>,
    at: Duration,
}

impl Provider {
    pub(crate) fn new(settings: Arc<OidcSettings>, clock: Arc<dyn Clock>) -> Self {
        Self { settings, clock, known: Mutex::default() }
    }

    /// The discovery document. An old one is used while it cannot be read again.
    pub(crate) async fn metadata(&self) -> Result<Arc<Metadata>, OidcError> {
        self.metadata_in(&mut *self.known.lock().await).await
    }

    async fn metadata_in(&self, known: &mut Known) -> Result<Arc<Metadata>, OidcError> {
        let now = self.clock.elapsed();
        if let Some(cached) = &known.metadata
            && now.saturating_sub(cached.at) < limits::OIDC_METADATA_LIFE
        {
            return Ok(Arc::clone(&cached.value));
        }
        // Requests that come meanwhile do not wait for the time-out one after another.
        let failure = match &known.failed {
            Some((at, failure)) if now.saturating_sub(*at) < limits::OIDC_RETRY_AFTER => failure.clone(),
            _ => match self.read_metadata().await {
                Ok(metadata) => {
                    let value = Arc::new(metadata);
                    known.failed = None;
                    known.metadata = Some(Cached { value: Arc::clone(&value), at: now });
                    return Ok(value);
                }
                Err(error) => {
                    warn!(error = %error, issuer = self.settings.issuer, "cannot read the document of the identity provider");
                    known.failed = Some((self.clock.elapsed(), error.to_string()));
                    error.to_string()
                }
            },
        };
        known.metadata.as_ref().map(|cached| Arc::clone(&cached.value)).ok_or(OidcError::Unavailable(failure))
    }

    async fn read_metadata(&self) -> Result<Metadata, OidcError> {
        let url = format!("{}/.well-known/openid-configuration", self.settings.issuer.trim_end_matches('/'));
        let metadata: Metadata = self.json(self.settings.http.get(url)).await?;
        if metadata.issuer != self.settings.issuer {
            let (named, set) = (&metadata.issuer, &self.settings.issuer);
            return Err(OidcError::Invalid(format!(
                "it calls itself {named:?}; set issuer to that instead of {set:?}"
            )));
        }
        let is_plain = self.settings.issuer.starts_with("http://");
        let endpoints = [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri];
        let others = [&metadata.userinfo_endpoint, &metadata.device_authorization_endpoint].into_iter().flatten();
        let is_safe = |url: &Url| url.scheme() == "https" || (is_plain && url.scheme() == "http");
        let are_safe = endpoints.into_iter().chain(others).all(is_safe);
        match are_safe {
            true => Ok(metadata),
            false => Err(OidcError::Invalid("its document names an endpoint without https".to_owned())),
        }
    }

    /// The keys. After a rotation they are read again at once, but not more often than every few seconds.
    async fn keys(&self, wanted: Keys) -> Result<Arc<JwkSet>, OidcError> {
        let mut known = self.known.lock().await;
        let metadata = self.metadata_in(&mut known).await?;
        let now = self.clock.elapsed();
        let is_recent = |at: Duration, age_max: Duration| now.saturating_sub(at) <= age_max;
        let reread = known.keys_reread;
        if let Some(cached) = &known.keys
            && match wanted {
                Keys::Known => is_recent(cached.at, limits::OIDC_METADATA_LIFE),
                Keys::Rotated => reread.is_some_and(|at| is_recent(at, limits::OIDC_RETRY_AFTER)),
                Keys::Published => false,
            }
        {
            return Ok(Arc::clone(&cached.value));
        }
        if wanted == Keys::Rotated {
            known.keys_reread = Some(now);
        }
        // As for the document: others do not wait for the time-out one after another, and old keys are used meanwhile.
        let failure = match &known.keys_failed {
            Some((at, failure)) if now.saturating_sub(*at) < limits::OIDC_RETRY_AFTER => failure.clone(),
            _ => match self.read_keys(&metadata).await {
                Ok(keys) => {
                    let value = Arc::new(keys);
                    known.keys_failed = None;
                    known.keys = Some(Cached { value: Arc::clone(&value), at: now });
                    return Ok(value);
                }
                Err(error) => {
                    warn!(error = %error, issuer = self.settings.issuer, "cannot read the keys of the identity provider");
                    known.keys_failed = Some((self.clock.elapsed(), error.to_string()));
                    error.to_string()
                }
            },
        };
        known.keys.as_ref().map(|cached| Arc::clone(&cached.value)).ok_or(OidcError::Unavailable(failure))
    }

    async fn read_keys(&self, metadata: &Metadata) -> Result<JwkSet, OidcError> {
        #[derive(Deserialize)]
        struct Keys {
            keys: Vec<Value>,
        }
        let read: Keys = self.json(self.settings.http.get(metadata.jwks_uri.clone())).await?;
        // Keys of other kinds may be among them.
        let keys: Vec<Jwk> = read.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect();
        Ok(JwkSet { keys })
    }

    /// Verifies a token of the provider; reads the keys again if none of them has signed it.
    async fn verify(
        &self,
        verify: impl Fn(&JwkSet, Expected<'_>) -> Result<Claims, TokenError>,
    ) -> Result<Claims, OidcError> {
        let now = self.clock.now().as_millis().div_euclid(1_000);
        let expected = Expected { issuer: &self.settings.issuer, client_id: &self.settings.client_id, now };
        match verify(&*self.keys(Keys::Known).await?, expected) {
            Err(TokenError::UnknownKey | TokenError::WrongSignature) => {
                Ok(verify(&*self.keys(Keys::Rotated).await?, expected)?)
            }
            verified => Ok(verified?),
        }
    }

    /// Reads the document and the keys. Returns what the provider offers.
    pub(crate) async fn test(&self) -> Result<String, OidcError> {
        let (metadata, keys) = (self.metadata().await?, self.keys(Keys::Published).await?);
        if keys.keys.is_empty() {
            return Err(OidcError::Invalid("it publishes no key that is understood".to_owned()));
        }
        let (count, word) = (keys.keys.len(), if keys.keys.len() == 1 { "key" } else { "keys" });
        let device = match metadata.device_authorization_endpoint {
            Some(_) => "with the device flow for `runlog login`",
            None => "without the device flow, so that `runlog login` needs a token",
        };
        Ok(format!("its document and {count} {word} can be read; {device}"))
    }

    /// The claims of an ID token.
    pub(crate) async fn id_token(&self, token: &SecretString, nonce: Option<&str>) -> Result<Claims, OidcError> {
        self.verify(|keys, expected| id_token::id_token(token.expose_secret(), keys, expected, nonce)).await
    }

    /// The claims of a logout token.
    pub(crate) async fn logout_token(&self, token: &str) -> Result<Claims, OidcError> {
        self.verify(|keys, expected| id_token::logout_token(token, keys, expected)).await
    }

    /// Exchanges a grant for tokens: an authorisation code, a device code, or a refresh token.
    pub(crate) async fn token(&self, form: &[(&str, &str)]) -> Result<TokenAnswer, OidcError> {
        let metadata = self.metadata().await?;
        let request = self.authenticated(&metadata, metadata.token_endpoint.clone(), form);
        self.json(request).await
    }

    /// Begins the device flow. None if the provider does not offer it.
    pub(crate) async fn device(&self) -> Result<Option<DeviceAnswer>, OidcError> {
        let metadata = self.metadata().await?;
        let Some(url) = metadata.device_authorization_endpoint.clone() else { return Ok(None) };
        let scope = self.settings.scopes.join(" ");
        self.json(self.authenticated(&metadata, url, &[("scope", &scope)])).await.map(Some)
    }

    /// The claims of the account of an access token, of which the subject must be this. None if the provider does not
    /// offer them.
    pub(crate) async fn user_info(&self, token: &SecretString, subject: &str) -> Result<Option<Claims>, OidcError> {
        let metadata = self.metadata().await?;
        let Some(url) = metadata.userinfo_endpoint.clone() else { return Ok(None) };
        let claims: Claims = self.json(self.settings.http.get(url).bearer_auth(token.expose_secret())).await?;
        match claims.get("sub").and_then(Value::as_str) == Some(subject) {
            true => Ok(Some(claims)),
            false => Err(OidcError::Invalid("the user information is about another account".to_owned())),
        }
    }

    /// A request with the credentials of the client, as the provider takes them. Source: RFC 6749, 2.3.1.
    fn authenticated(&self, metadata: &Metadata, url: Url, form: &[(&str, &str)]) -> RequestBuilder {
        let (id, request) = (self.settings.client_id.as_str(), self.settings.http.post(url));
        let mut form = form.to_vec();
        let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
        let takes = |method: &str| methods.is_some_and(|methods| methods.iter().any(|it| it == method));
        match &self.settings.client_secret {
            Some(secret) if takes("client_secret_post") && !takes("client_secret_basic") => {
                form.extend([("client_id", id), ("client_secret", secret.expose_secret())]);
                request.form(&form)
            }
            Some(secret) => {
                let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                // The device authorization request names the client in any case.
                form.push(("client_id", id));
                request.basic_auth(encoded(id), Some(encoded(secret.expose_secret()))).form(&form)
            }
            None => {
                form.push(("client_id", id));
                request.form(&form)
            }
        }
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, OidcError> {
        let response = request.header(reqwest::header::ACCEPT, "application/json").send().await.map_err(unavailable)?;
        let status = response.status();
        let body = body(response).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| {
                // The message of the library could repeat a token.
                OidcError::Invalid(format!("JSON, {:?} at column {}", error.classify(), error.column()))
            });
        }
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                let shown = |text: String| text.chars().filter(|c| !c.is_control()).take(300).collect();
                let description = refusal.error_description.map(shown);
                Err(OidcError::Refused { code: shown(refusal.error), description })
            }
            _ => Err(OidcError::Unavailable(format!("it answered with status {status}"))),
        }
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, OidcError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
        body.extend_from_slice(&chunk);
        if body.len() > limits::OIDC_ANSWER_BYTES_MAX {
            return Err(OidcError::Invalid(format!("it is larger than {} bytes", limits::OIDC_ANSWER_BYTES_MAX)));
        }
    }
    Ok(body)
}

fn unavailable(error: reqwest::Error) -> OidcError {
    OidcError::Unavailable(error_chain(&error.without_url()))
}
