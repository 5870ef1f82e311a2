//! Signing in with the identity provider of a Runlog; none of these requests needs credentials.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};
use runlog_model::wire::ErrorBody;
use runlog_model::wire::sign_in::{DeviceSignInBody, DeviceTokenBody, DeviceTokenRequest, SignInBody};
use serde::de::DeserializeOwned;
use url::Url;

use crate::error::{Error, ErrorKind, Result};
use crate::transport::{HttpClientBuilder, TlsSettings, read_beginning};

/// How long a request may take. The service asks the provider meanwhile.
const TIME_MAX: Duration = Duration::from_secs(30);

/// Signing in to one service.
#[derive(Debug, Clone)]
pub struct SignIn {
    base: String,
    http: reqwest::Client,
}

impl SignIn {
    /// Signing in to the service at this address. Fails when the certificates cannot be used.
    pub fn new(service: &Url, tls: &TlsSettings) -> Result<Self> {
        let base = format!("{}/runlog/v1/sign-in", service.as_str().trim_end_matches('/'));
        Ok(Self { base, http: HttpClientBuilder::new(tls).timeout(TIME_MAX).build()? })
    }

    /// Returns the ways of signing in, besides tokens. `NotFound` if the service is not Runlog.
    pub async fn ways(&self) -> Result<SignInBody> {
        answer(self.http.get(&self.base)).await
    }

    /// Begins the device flow.
    pub async fn begin_device(&self) -> Result<DeviceSignInBody> {
        answer(self.http.post(format!("{}/device", self.base))).await
    }

    /// Asks whether the user has signed in, and for the token. `Forbidden` when the user has refused or has no access,
    /// `Unauthorized` when the code has expired.
    pub async fn device_token(&self, request: &DeviceTokenRequest) -> Result<DeviceTokenBody> {
        answer(self.http.post(format!("{}/device/token", self.base)).json(request)).await
    }
}

async fn answer<T: DeserializeOwned>(request: RequestBuilder) -> Result<T> {
    let unanswered = |error: reqwest::Error| {
        Error::caused(ErrorKind::Unavailable, "the service does not respond", error.without_url())
    };
    let response = request.send().await.map_err(unanswered)?;
    let status = response.status();
    let body = read_beginning(response).await.map_err(unanswered)?;
    if status.is_success() {
        return serde_json::from_slice(&body)
            .map_err(|_| Error::new(ErrorKind::NotFound, "the answer is not that of a Runlog"));
    }
    let kind = match status {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => ErrorKind::NotFound,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => ErrorKind::Unavailable,
        status if status.is_server_error() => ErrorKind::Unavailable,
        StatusCode::UNAUTHORIZED => ErrorKind::Unauthorized,
        StatusCode::FORBIDDEN => ErrorKind::Forbidden,
        _ => ErrorKind::Invalid,
    };
    let said: Option<ErrorBody> = serde_json::from_slice(&body).ok();
    let said = said.and_then(|said| match (said.message, said.detail) {
        (Some(message), Some(detail)) => Some(format!("{message}; {detail}")),
        (message, _) => message,
    });
    let said = said.unwrap_or_else(|| format!("the service answered with {status}"));
    Err(Error::new(kind, said))
}
