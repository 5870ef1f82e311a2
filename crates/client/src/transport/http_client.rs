//! Builds every HTTP client: for the API, downloads, sinks, webhooks and hooks.
//!
//! All of them use the proxy of the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), send the same user agent,
//! and do not follow redirects while their requests carry secrets.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Request, Response};
use runlog_model::error_chain;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::link_guard::LinkGuard;
use super::network::{Network, SimulatedNetwork};
use super::tls::TlsSettings;
use crate::error::{Error, ErrorKind, Result};

/// Timeout for establishing a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(20);

/// How much of a short answer is read. Unit: bytes.
const SHORT_ANSWER_BYTES_MAX: usize = 64 << 10;

/// The body of an answer that should be short; of a longer one, its beginning.
pub(crate) async fn read_beginning(mut answer: reqwest::Response) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await? {
        if body.len() + part.len() > SHORT_ANSWER_BYTES_MAX {
            break;
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// Builds an HTTP client.
#[derive(Debug)]
pub struct HttpClientBuilder {
    http: reqwest::ClientBuilder,
    headers: HeaderMap,
    time_max: Option<Duration>,
    simulated: Option<Arc<dyn SimulatedNetwork>>,
}

/// Posts to services of any kind: sinks, and destinations of alerts. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpSender {
    network: Network,
    /// The headers that a client adds to each request; for a simulation.
    headers: HeaderMap,
    time_max: Option<Duration>,
}

impl HttpClientBuilder {
    /// A client with these certificates. Requests have no time-out unless one is set.
    pub fn new(tls: &TlsSettings) -> Self {
        let http = tls
            .begin()
            .user_agent(concat!("runlog/", env!("CARGO_PKG_VERSION")))
            // A request that carries secrets is not repeated at another address.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIME_MAX);
        Self { http, headers: HeaderMap::new(), time_max: None, simulated: None }
    }

    /// How long a request may take, until its answer is read.
    #[must_use]
    pub fn timeout(mut self, time_max: Duration) -> Self {
        self.http = self.http.timeout(time_max);
        self.time_max = Some(time_max);
        self
    }

    /// Adds a header to each request, and marks its value as sensitive. Replaces an earlier one of the same name.
    ///
    /// Fails when the name or the value is not valid in a header; the message does not contain the value.
    pub fn secret_header(mut self, name: &str, value: &SecretString) -> Result<Self> {
        let invalid = |message: String| Error::new(ErrorKind::Invalid, message);
        let name = HeaderName::try_from(name).map_err(|_| invalid(format!("{name:?} is not a valid header name")))?;
        let mut value = HeaderValue::from_str(value.expose_secret())
            .map_err(|_| invalid(format!("header {name} has characters that no header has")))?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Senders send to the services of a simulation in place of the network, if there is one.
    #[must_use]
    pub fn simulated(mut self, network: Option<Arc<dyn SimulatedNetwork>>) -> Self {
        self.simulated = network;
        self
    }

    /// A sender of requests. Fails when the certificates cannot be used.
    pub fn sender(mut self) -> Result<HttpSender> {
        let time_max = self.time_max;
        Ok(match self.simulated.take() {
            Some(network) => HttpSender { network: Network::Simulated(network), headers: self.headers, time_max },
            None => HttpSender { network: Network::Real(self.build()?), headers: HeaderMap::new(), time_max },
        })
    }

    /// Follows redirects. For clients whose requests carry no secrets.
    #[must_use]
    pub(crate) fn following_redirects(mut self) -> Self {
        self.http = self.http.redirect(reqwest::redirect::Policy::default());
        self
    }

    /// For links to files: the guard resolves each host, so no proxy is used, which would resolve it itself.
    /// `silence_max` is the longest time without a byte.
    #[must_use]
    pub(super) fn for_links(mut self, guard: LinkGuard, silence_max: Duration) -> Self {
        self.http = self.http.no_proxy().dns_resolver(guard).read_timeout(silence_max);
        self
    }

    /// The client. Fails when its certificates cannot be used.
    pub fn build(self) -> Result<reqwest::Client> {
        self.http
            .default_headers(self.headers)
            .build()
            .map_err(|error| Error::caused(ErrorKind::Invalid, "the HTTP client cannot be set up", error))
    }
}

impl HttpSender {
    /// Posts a body with these headers, and returns the head of the answer. The error says why there is none, without
    /// the URL, and whether the service was unreachable.
    pub async fn post(&self, url: Url, headers: HeaderMap, body: Vec<u8>) -> Result<Response> {
        match &self.network {
            // The client also makes a header of a user and password in the URL.
            Network::Real(client) => client.post(url).headers(headers).body(body).send().await.map_err(|error| {
                let is_unreachable = error.is_connect();
                let error = Error::new(ErrorKind::Unavailable, error_chain(&error.without_url()));
                if is_unreachable { error.unreachable() } else { error }
            }),
            Network::Simulated(network) => {
                let mut request = Request::new(Method::POST, url);
                *request.headers_mut() = self.headers.clone();
                request.headers_mut().extend(headers);
                *request.timeout_mut() = self.time_max;
                *request.body_mut() = Some(body.into());
                network.send(request).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_header_is_refused_without_showing_its_value() {
        let builder = || HttpClientBuilder::new(&TlsSettings::default());
        let error = builder().secret_header("DD-API-KEY", &SecretString::from("a\nsecret")).unwrap_err().to_string();
        assert!(error.contains("dd-api-key") && !error.contains("secret"), "{error}");
        let error = builder().secret_header("two words", &SecretString::from("hunter2")).unwrap_err().to_string();
        assert!(error.contains("two words") && !error.contains("hunter2"), "{error}");
        let known = builder().secret_header("DD-API-KEY", &SecretString::from("hunter2")).unwrap();
        assert!(!format!("{known:?}").contains("hunter2"));
    }
}
