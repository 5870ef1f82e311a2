//! Checks whether Runlog is available and can use its archive.

use std::time::Duration;

use runlog_model::wire::ErrorBody;
use url::Url;

use crate::transport::{HttpClientBuilder, TlsSettings, read_beginning};

/// Timeout of a readiness check.
const READY_TIME: Duration = Duration::from_secs(10);

/// The response of a readiness probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// The status of its answer: 200 when it is ready.
    pub status: u16,
    /// The problem reported by the service, such as background work that has stopped responding.
    pub problem: Option<String>,
}

/// Asks a service whether it is ready; or why there was no answer. Needs no credentials.
pub async fn readiness(service: &Url, tls: &TlsSettings) -> Result<Readiness, String> {
    let address = service.as_str().trim_end_matches('/').to_owned() + "/readyz";
    let told = |error: reqwest::Error| error.without_url().to_string();
    let client = HttpClientBuilder::new(tls).timeout(READY_TIME).following_redirects().build();
    let client = client.map_err(|error| error.to_string())?;
    let answer = client.get(address).send().await.map_err(told)?;
    let status = answer.status().as_u16();
    let body = if status == 200 { Vec::new() } else { read_beginning(answer).await.map_err(told)? };
    let said: Option<ErrorBody> = serde_json::from_slice(&body).ok();
    Ok(Readiness { status, problem: said.and_then(|said| said.message) })
}
