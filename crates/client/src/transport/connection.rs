//! The connection to a service: sends a request once, and holds the rate limit, the clock and the timers.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, Method, header};
use runlog_model::{Clock, Random, Timestamp, causes};
use tracing::debug;
use url::Url;

use super::call::{Answer, Call};
use super::http_client::HttpClientBuilder;
use super::network::{Network, SimulatedNetwork};
use super::rate_limit::RateLimiter;
use super::retry::{self, RetryState};
use super::settings::{ApiGroup, ClientSettings};
use super::wait::Wait;
use crate::error::{Error, ErrorKind, Result};

/// The longest answer that is not a download. Unit: bytes. A list or a live page is far below it.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Everything required to send a request to the service, except the credentials.
pub(super) struct Connection {
    pub(super) settings: ClientSettings,
    network: Network,
    /// Shared with other clients of the same host.
    pub(super) rate_limiter: Arc<RateLimiter>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    pub(super) wait: Arc<dyn Wait>,
    /// The time by which the clock of this process is ahead of that of the service; 0 if they agree. Unit:
    /// milliseconds.
    clock_ahead_ms: AtomicI64,
    /// True once the service has answered a request.
    was_reached: AtomicBool,
    /// True if requests are not retried while the service was never reached.
    requires_first_connection: AtomicBool,
    retry_notice: OnceLock<RetryNotice>,
}

/// A callback that receives the reason for retries and their maximum duration.
type RetryListener = dyn Fn(&Error, Duration) + Send + Sync;

/// Reports that a request is retried, once for each client.
struct RetryNotice {
    report: Box<RetryListener>,
    is_reported: AtomicBool,
}

/// The least difference between two clocks that counts: `Date` has whole seconds, and a response takes some time. Unit:
/// milliseconds.
const CLOCK_DIFFERENCE_MS_MIN: i64 = 10_000;
/// How long retries wait in total before they are announced.
const QUIET_RETRIES: Duration = Duration::from_secs(2);

impl Connection {
    /// A connection, of a simulation if there is one; nothing is sent yet.
    pub(super) fn new(
        settings: ClientSettings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        wait: Arc<dyn Wait>,
        simulated: Option<Arc<dyn SimulatedNetwork>>,
    ) -> Result<Self> {
        check_base(&settings.base_url)?;
        let network = match simulated {
            Some(simulated) => Network::Simulated(simulated),
            None => Network::Real(HttpClientBuilder::new(&settings.tls).build()?),
        };
        let rate_limiter = Arc::new(RateLimiter::new(settings.pace));
        let (was_reached, requires_first_connection) = (AtomicBool::new(false), AtomicBool::new(false));
        let retry_notice = OnceLock::new();
        Ok(Self {
            settings,
            network,
            rate_limiter,
            clock,
            random,
            wait,
            clock_ahead_ms: AtomicI64::new(0),
            was_reached,
            requires_first_connection,
            retry_notice,
        })
    }

    /// A request to a path of the API, its parts still to be percent-encoded.
    pub(super) fn request(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> Call {
        let mut url = self.settings.base_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Call::new(method, url, ApiGroup::of(path))
    }

    /// Waits until the rate limit lets one more request out.
    pub(super) async fn take_turn(&self, call: &Call) {
        self.rate_limiter.take(call.group, call.urgency, self.clock.as_ref(), self.wait.as_ref()).await;
    }

    /// Makes subsequent requests fail immediately if no connection can be established and the service was never
    /// reached.
    pub(super) fn require_first_connection(&self) {
        self.requires_first_connection.store(true, Ordering::Relaxed);
    }

    /// Calls `report` once, when a request has been retried for some seconds. A second call has no effect.
    pub(super) fn on_retry(&self, report: Box<RetryListener>) {
        // A notice that is set already stays.
        let _ = self.retry_notice.set(RetryNotice { report, is_reported: AtomicBool::new(false) });
    }

    /// True if a failed request is not sent again.
    pub(super) fn is_final_failure(&self, error: &Error, tries: &RetryState) -> bool {
        let was_never_reached = error.is_unreachable() && !self.was_reached.load(Ordering::Relaxed);
        was_never_reached && self.requires_first_connection.load(Ordering::Relaxed)
            || tries.is_exhausted(error, &self.settings)
    }

    /// Waits before the next try, and counts it.
    pub(super) async fn pause(&self, error: &Error, headers: Option<&HeaderMap>, tries: &mut RetryState) {
        let delay = retry::delay(headers, tries.retries, self.clock.now(), self.random.as_ref());
        debug!(%error, delay_ms = delay.as_millis() as u64, "retrying after a pause");
        if let Some(notice) = self.retry_notice.get().filter(|_| tries.waited + delay >= QUIET_RETRIES)
            && !notice.is_reported.swap(true, Ordering::Relaxed)
        {
            (notice.report)(error, tries.time_left());
        }
        self.wait.sleep(delay).await;
        tries.retries += 1;
        tries.waited += delay;
    }

    /// Sends a request once.
    pub(super) async fn once(&self, call: &Call, authorization: &header::HeaderValue) -> Result<Answer> {
        let begun = self.clock.now();
        let response = self.begin(call, authorization, None).await?;
        let answer = self.read_answer(call, response).await?;
        let took = Duration::from_millis(self.clock.now().millis_since(begun).max(0).unsigned_abs());
        Ok(Answer { took, ..answer })
    }

    /// Sends a request once, up to the head of the answer. With `time_max`, the whole may take that long.
    pub(super) async fn begin(
        &self,
        call: &Call,
        authorization: &header::HeaderValue,
        time_max: Option<Duration>,
    ) -> Result<reqwest::Response> {
        let mut request = reqwest::Request::new(call.method.clone(), call.url.clone());
        *request.headers_mut() = call.headers.clone();
        request.headers_mut().append(header::AUTHORIZATION, authorization.clone());
        request.headers_mut().append(header::ACCEPT, header::HeaderValue::from_static("application/json"));
        *request.body_mut() = call.body();
        *request.timeout_mut() = Some(time_max.unwrap_or(self.settings.request_time_max));
        let response = self.network.send(request, |error| self.broken(call, error)).await?;
        self.was_reached.store(true, Ordering::Relaxed);
        self.rate_limiter.read_limit(response.headers());
        self.compare_clocks(response.headers());
        Ok(response)
    }

    /// Learns from the `Date` of a response how far the clock of this process is ahead of that of the service.
    fn compare_clocks(&self, headers: &HeaderMap) {
        let date = headers.get(header::DATE).and_then(|date| retry::date_of(date.to_str().ok()?));
        let Some(date) = date else { return };
        let ahead_ms = self.clock.now().millis_since(date);
        let counts = ahead_ms.abs() >= CLOCK_DIFFERENCE_MS_MIN;
        self.clock_ahead_ms.store(if counts { ahead_ms } else { 0 }, Ordering::Relaxed);
    }

    /// A time of the clock of the service by the clock of this process.
    pub(super) fn in_own_time(&self, time: Timestamp) -> Timestamp {
        time.plus_millis(self.clock_ahead_ms.load(Ordering::Relaxed))
    }

    /// A time of the clock of this process by the clock of the service.
    pub(super) fn in_service_time(&self, time: Timestamp) -> Timestamp {
        time.plus_millis(-self.clock_ahead_ms.load(Ordering::Relaxed))
    }

    /// Reads an answer whole.
    pub(super) async fn read_answer(&self, call: &Call, mut response: reqwest::Response) -> Result<Answer> {
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(call, error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                let message = format!("the response of {} is longer than {ANSWER_BYTES_MAX} bytes", self.place(call));
                return Err(Error::new(ErrorKind::Protocol, message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body: body.freeze(), took: Duration::ZERO })
    }

    fn broken(&self, call: &Call, error: reqwest::Error) -> Error {
        if is_unknown_host(&error) {
            // The library names this failure four times over.
            let host = self.settings.base_url.host_str().unwrap_or_default();
            let message = format!("the host {host} is not known: check the region or the URL, and the network");
            return Error::new(ErrorKind::Unavailable, message).unreachable();
        }
        let cause = causes(&error).last().map(ToString::to_string).unwrap_or_default();
        if error.is_connect() && !error.is_timeout() {
            let mut message = format!("cannot connect to {}: {cause}", self.host());
            if self.settings.base_url.scheme() == "https" && cause.contains("InvalidContentType") {
                message += "; it does not use TLS: check whether the URL begins with http:// instead of https://";
            }
            return Error::new(ErrorKind::Unavailable, message).unreachable();
        }
        // The second message: the server sent data before the request.
        if cause.starts_with("invalid HTTP") || cause.starts_with("received unexpected message") {
            let message = format!("{} does not use HTTP: check the URL and its port ({cause})", self.host());
            return Error::new(ErrorKind::Unavailable, message).unreachable();
        }
        let is_connect = error.is_connect();
        let what = if error.is_timeout() { "did not respond in time" } else { "did not respond" };
        let failed = Error::caused(ErrorKind::Unavailable, format!("{} {what}", self.place(call)), error.without_url());
        if is_connect { failed.unreachable() } else { failed }
    }

    /// The host of the service, with its port if that is not the one of its scheme.
    fn host(&self) -> String {
        let url = &self.settings.base_url;
        let host = url.host_str().unwrap_or_default();
        url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    fn place(&self, call: &Call) -> String {
        let host = self.settings.base_url.host_str().unwrap_or_default();
        format!("{host} ({})", call.place())
    }
}

/// True if the name of a host could not be resolved. The library has no type for this failure.
fn is_unknown_host(error: &reqwest::Error) -> bool {
    error.is_connect() && causes(error).any(|cause| cause.to_string() == "dns error")
}

fn check_base(url: &Url) -> Result<()> {
    let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
    if !is_http || !url.username().is_empty() || url.password().is_some() {
        let mut message =
            "the URL of the API must have the form https://host, without user name and password".to_owned();
        // `localhost:8480` is a URL with the scheme localhost.
        if !url.has_host() && url.path().bytes().all(|byte| byte.is_ascii_digit()) {
            message += &format!("; did you mean http://{url}?");
        }
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unknown_host_is_distinguished_from_an_unresponsive_one() {
        let failure_of = async |url: &str| {
            let http = reqwest::Client::builder().no_proxy().build().unwrap();
            http.get(url).send().await.unwrap_err()
        };
        // Names under `.invalid` do not exist (RFC 6761).
        assert!(is_unknown_host(&failure_of("http://runlog.invalid/").await));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(!is_unknown_host(&failure_of(&format!("http://{address}/")).await));
    }
}
