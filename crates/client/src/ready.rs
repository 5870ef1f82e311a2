//! Whether a Runlog is there and can use its archive.

use std::time::Duration;

use url::Url;

use crate::tls::TlsSettings;

/// How long a service may take to say whether it is ready.
const READY_TIME: Duration = Duration::from_secs(10);

/// Asks a service whether it is ready; the status of its answer, or why there was none. Needs no credentials.
pub async fn readiness(service: &Url, tls: &TlsSettings) -> Result<u16, String> {
    let address = service.as_str().trim_end_matches('/').to_owned() + "/readyz";
    let told = |error: reqwest::Error| error.without_url().to_string();
    let client = tls.begin().timeout(READY_TIME).build().map_err(told)?;
    Ok(client.get(address).send().await.map_err(told)?.status().as_u16())
}
