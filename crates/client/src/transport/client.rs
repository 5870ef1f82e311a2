//! The client: sends a request at the right pace, as the right caller, as often as it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use runlog_model::{Clock, Random, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::auth::Authentication;
use super::call::{Answer, Call, check_not_a_page, is_temporary, refused};
use super::connection::Connection;
use super::link_client::LinkClient;
use super::network::SimulatedNetwork;
use super::retry::RetryState;
use super::settings::{ApiGroup, ClientSettings, Pace};
use super::wait::Wait;
use crate::error::{Error, Result};

/// No time.
const UNKNOWN: u64 = u64::MAX;
/// By which part the longest time to build a page shrinks with each page that was ready at the first status request.
const BUILD_MOST_DECAY: u64 = 256;

/// A client of the run-log API. Cheap to clone; clones share pace, access token and connections.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    connection: Connection,
    links: LinkClient,
    authentication: Authentication,
    traffic: Counters,
    /// How long the last page took to be built; [`UNKNOWN`] before. Unit: milliseconds.
    build_ms: AtomicU64,
    /// How long almost any page takes to be built. Unit: milliseconds.
    build_most_ms: AtomicU64,
}

/// The number of requests that a client has sent. Unit: requests, without downloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// All of them.
    pub requests: u64,
    /// Number of requests that were sent again.
    pub repeated: u64,
    /// Number of requests that the service answered with 429.
    pub limited: u64,
}

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    repeated: AtomicU64,
    limited: AtomicU64,
}

/// Most turns that a request takes because its access token ended meanwhile.
const TURNS_MAX: usize = 5;

impl Client {
    /// A client; nothing is sent yet.
    pub fn new(
        settings: ClientSettings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        wait: Arc<dyn Wait>,
    ) -> Result<Self> {
        Self::over(None, settings, clock, random, wait)
    }

    /// Creates a client whose requests are answered by a simulation.
    pub fn simulated(
        settings: ClientSettings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        wait: Arc<dyn Wait>,
        network: Arc<dyn SimulatedNetwork>,
    ) -> Result<Self> {
        Self::over(Some(network), settings, clock, random, wait)
    }

    fn over(
        simulated: Option<Arc<dyn SimulatedNetwork>>,
        settings: ClientSettings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        wait: Arc<dyn Wait>,
    ) -> Result<Self> {
        let authentication = Authentication::new(settings.credentials.clone());
        let connection = Connection::new(settings, clock, random, wait, simulated.clone())?;
        let links = LinkClient::new(&connection.settings, simulated)?;
        let traffic = Counters::default();
        let (build_ms, build_most_ms) = (AtomicU64::new(UNKNOWN), AtomicU64::new(0));
        Ok(Self(Arc::new(Shared { connection, links, authentication, traffic, build_ms, build_most_ms })))
    }

    /// Keeps to the pace of another client together with it: both speak to the same host.
    ///
    /// Called before the client is cloned or used; a client that is in use already keeps its own pace.
    #[must_use]
    pub fn sharing_rate_limit_with(mut self, other: &Self) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.connection.rate_limiter = Arc::clone(&other.0.connection.rate_limiter);
        }
        self
    }

    /// Makes subsequent requests fail immediately if no connection can be established and the service was never
    /// reached. For interactive commands: retrying does not help against a wrong address.
    pub fn require_first_connection(&self) {
        self.0.connection.require_first_connection();
    }

    /// Calls `tell` once, when a request has been retried for some seconds: with the reason, and the maximum time for
    /// which it will be retried.
    pub fn on_retry(&self, tell: impl Fn(&Error, Duration) + Send + Sync + 'static) {
        self.0.connection.on_retry(Box::new(tell));
    }

    /// Returns the number of requests sent by this client.
    pub fn traffic(&self) -> Traffic {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counters { requests, repeated, limited } = &self.0.traffic;
        Traffic { requests: read(requests), repeated: read(repeated), limited: read(limited) }
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &ClientSettings {
        &self.0.connection.settings
    }

    /// The injected clock.
    pub fn clock(&self) -> &dyn Clock {
        self.0.connection.clock.as_ref()
    }

    /// Converts a time of the service to the clock of this process, because the two clocks may differ. The difference
    /// is known once the service has answered a request.
    pub fn in_own_time(&self, time: Timestamp) -> Timestamp {
        self.0.connection.in_own_time(time)
    }

    /// Converts a time of this process to the clock of the service, for the periods in requests; the reverse of
    /// [`in_own_time`](Self::in_own_time).
    pub fn in_service_time(&self, time: Timestamp) -> Timestamp {
        self.0.connection.in_service_time(time)
    }

    /// The injected randomness.
    pub fn random(&self) -> &dyn Random {
        self.0.connection.random.as_ref()
    }

    /// Takes its part of the pace only, because so many clients of the service share it.
    pub fn share_pace(&self, sharers: usize) {
        self.0.connection.rate_limiter.share(sharers);
    }

    /// Returns the current pace of requests to monitoring; none if it is not limited.
    pub fn pace(&self) -> Option<Pace> {
        self.0.connection.rate_limiter.now(ApiGroup::Monitoring, self.clock().now().as_millis())
    }

    /// Requests to monitoring that may still go out in this minute; none without a bound.
    pub fn requests_left(&self) -> Option<usize> {
        self.0.connection.rate_limiter.left(ApiGroup::Monitoring, self.clock().now().as_millis())
    }

    /// True if requests to monitoring queue for the rate limit.
    pub fn is_rate_limited(&self) -> bool {
        self.0.connection.rate_limiter.is_contended(ApiGroup::Monitoring)
    }

    /// Waits, with the injected implementation.
    pub async fn sleep(&self, time: Duration) {
        self.0.connection.wait.sleep(time).await;
    }

    /// The injected implementation of waiting.
    pub fn wait(&self) -> &Arc<dyn Wait> {
        &self.0.connection.wait
    }

    /// Follows the links that the service gives.
    pub(crate) fn links(&self) -> &LinkClient {
        &self.0.links
    }

    /// How long to wait for a page before its status is requested; none before the first page. While requests queue for
    /// the rate limit, the status is requested when almost any page is built: a request too early would delay another
    /// page.
    pub(crate) fn build_time(&self) -> Option<Duration> {
        let load = |ms: &AtomicU64| ms.load(Ordering::Relaxed);
        let usual = Some(load(&self.0.build_ms)).filter(|ms| *ms != UNKNOWN)?;
        Some(Duration::from_millis(if self.is_rate_limited() { usual.max(load(&self.0.build_most_ms)) } else { usual }))
    }

    /// Learns how long a page took: as long as `time` if it was found by the first status request after that time, or
    /// by a later one.
    pub(crate) fn record_build_time(&self, time: Duration, was_late: bool) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        // A page that is ready at the first status request may have been ready long before.
        self.0.build_ms.store(if was_late { ms / 4 * 3 } else { ms / 2 }, Ordering::Relaxed);
        let most = self.0.build_most_ms.load(Ordering::Relaxed);
        let most = if was_late { most.max(ms) } else { most - most / BUILD_MOST_DECAY };
        self.0.build_most_ms.store(most, Ordering::Relaxed);
    }

    /// A request to a path of the API, its parts still to be percent-encoded.
    pub(crate) fn request(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> Call {
        self.0.connection.request(method, path, query)
    }

    /// Sends a request as the caller, again and again where that helps, and gives the answer or the last error.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer> {
        let Shared { connection, authentication, traffic, .. } = self.0.as_ref();
        let mut renewed = false;
        let mut tries = RetryState::default();
        loop {
            let authorization = self.ready_to_send(&call).await?;
            traffic.requests.fetch_add(1, Ordering::Relaxed);
            let answer = connection.once(&call, &authorization).await;
            let (error, headers) = match answer {
                Ok(answer) if answer.status.is_success() => {
                    return check_not_a_page(&call, answer.status, &answer.headers).map(|()| answer);
                }
                Ok(answer) => (refused(&call, &answer), Some((answer.status, answer.headers))),
                Err(error) => (error, None),
            };
            let status = headers.as_ref().map(|(status, _)| *status);
            if status == Some(StatusCode::TOO_MANY_REQUESTS) {
                traffic.limited.fetch_add(1, Ordering::Relaxed);
                connection.rate_limiter.limited(call.group, self.clock().now().as_millis());
            }
            if status == Some(StatusCode::UNAUTHORIZED) && !renewed && authentication.renews() {
                renewed = true;
                authentication.forget(&authorization).await;
                continue;
            }
            if !is_worth_another(status, &error, call.repeatable) || connection.is_final_failure(&error, &tries) {
                return Err(error);
            }
            self.pause(&error, headers.as_ref().map(|(_, headers)| headers), &mut tries).await;
            traffic.repeated.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits before the next try, and counts it.
    pub(crate) async fn pause(&self, error: &Error, headers: Option<&HeaderMap>, tries: &mut RetryState) {
        self.0.connection.pause(error, headers, tries).await;
    }

    /// Waits for the rate limit; returns the authentication header.
    pub(crate) async fn ready_to_send(&self, call: &Call) -> Result<header::HeaderValue> {
        let Shared { connection, authentication, .. } = self.0.as_ref();
        // Requests whose turn it is do not wait for an access token: they would all go out once it is there. One whose
        // token has ended while it waited for its turn takes another turn with the next token.
        for _ in 0..TURNS_MAX {
            authentication.authorization(connection).await?;
            connection.take_turn(call).await;
            if let Some(authorization) = authentication.authorization_at_hand(connection)? {
                return Ok(authorization);
            }
        }
        authentication.authorization(connection).await
    }

    /// Forgets an access token that was refused; false when there is none to renew.
    pub(crate) async fn renews(&self, authorization: &header::HeaderValue) -> bool {
        if self.0.authentication.renews() {
            self.0.authentication.forget(authorization).await;
        }
        self.0.authentication.renews()
    }

    /// Sends a request once, up to the head of the answer. With `time_max`, the whole may take that long.
    pub(crate) async fn begin(
        &self,
        call: &Call,
        authorization: &header::HeaderValue,
        time_max: Option<Duration>,
    ) -> Result<reqwest::Response> {
        self.0.connection.begin(call, authorization, time_max).await
    }

    /// Reads an answer whole.
    pub(crate) async fn read_answer(&self, call: &Call, response: reqwest::Response) -> Result<Answer> {
        self.0.connection.read_answer(call, response).await
    }

    pub(crate) async fn get_json<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T> {
        self.send(self.request(Method::GET, path, query)).await?.json()
    }

    pub(crate) async fn send_json(&self, method: Method, path: &[&str], body: &impl Serialize) -> Result<Answer> {
        self.send(self.request(method, path, &[]).with_json(body)?).await
    }
}

fn is_worth_another(status: Option<StatusCode>, error: &Error, repeatable: bool) -> bool {
    match status {
        // Refused before anything was done: safe for every request.
        Some(StatusCode::TOO_MANY_REQUESTS) => true,
        Some(status) => is_temporary(status, error) && repeatable,
        None => repeatable,
    }
}
