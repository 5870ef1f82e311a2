//! The client: sends a request at the right pace, as the right caller, as often as it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt};
use http::{HeaderMap, Method, StatusCode, header};
use runlog_model::{Clock, Random};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tracing::debug;
use url::Url;

use crate::access::Access;
use crate::download::Downloader;
use crate::error::{Error, ErrorKind, Result};
use crate::pace::{Pacer, Urgency};
use crate::retry::{self, Tries};
use crate::settings::ClientSettings;
use crate::wait::Wait;

/// The longest answer that is not a download. Unit: bytes. A list or a live page is far below it.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// No time.
const UNKNOWN: u64 = u64::MAX;

/// A client of the run-log API. Cheap to clone; clones share pace, access token and connections.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    settings: ClientSettings,
    http: reqwest::Client,
    downloader: Downloader,
    access: Access,
    /// Shared with other clients of the same host.
    pacer: Arc<Pacer>,
    traffic: Counters,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    wait: Arc<dyn Wait>,
    /// How long the last page took to be built; [`UNKNOWN`] before. Unit: milliseconds.
    build_ms: AtomicU64,
}

/// What a client has sent so far. Unit: requests; downloads are none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// All of them.
    pub requests: u64,
    /// Those that were sent again.
    pub repeated: u64,
    /// Those that the service answered with 429.
    pub limited: u64,
}

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    repeated: AtomicU64,
    limited: AtomicU64,
}

/// One request to the API.
pub(crate) struct Call {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    /// Its last byte waits until this says true.
    held_until: Option<watch::Receiver<bool>>,
    /// Sent twice, it does what it does once.
    repeatable: bool,
    urgency: Urgency,
}

/// An answer that is not an error.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// How long the service took for it.
    pub(crate) took: Duration,
}

impl Client {
    /// A client; nothing is sent yet.
    pub fn new(
        settings: ClientSettings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        wait: Arc<dyn Wait>,
    ) -> Result<Self> {
        check_base(&settings.base_url)?;
        let http = settings
            .tls
            .begin()
            .user_agent(concat!("runlog/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(20))
            .timeout(settings.request_time_max)
            .build()
            .map_err(|error| Error::caused(ErrorKind::Invalid, "the HTTP client cannot be set up", error))?;
        let downloader = Downloader::new(&settings)?;
        let access = Access::new(settings.credentials.clone());
        let pacer = Arc::new(Pacer::new(settings.pace));
        let traffic = Counters::default();
        let build_ms = AtomicU64::new(UNKNOWN);
        Ok(Self(Arc::new(Shared { settings, http, downloader, access, pacer, traffic, clock, random, wait, build_ms })))
    }

    /// Keeps to the pace of another client together with it: both speak to the same host.
    ///
    /// Called before the client is cloned or used; a client that is in use already keeps its own pace.
    #[must_use]
    pub fn beside(mut self, other: &Self) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.pacer = Arc::clone(&other.0.pacer);
        }
        self
    }

    /// What it has sent so far.
    pub fn traffic(&self) -> Traffic {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counters { requests, repeated, limited } = &self.0.traffic;
        Traffic { requests: read(requests), repeated: read(repeated), limited: read(limited) }
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &ClientSettings {
        &self.0.settings
    }

    /// The clock that was handed in.
    pub fn clock(&self) -> &dyn Clock {
        self.0.clock.as_ref()
    }

    /// The randomness that was handed in.
    pub fn random(&self) -> &dyn Random {
        self.0.random.as_ref()
    }

    /// Takes its part of the pace only, because so many clients of the service share it.
    pub fn share_pace(&self, sharers: usize) {
        self.0.pacer.share(sharers);
    }

    /// How many requests go out at this moment; none without a bound.
    pub fn pace(&self) -> Option<crate::settings::Pace> {
        self.0.pacer.now(self.clock().now().as_millis())
    }

    /// Requests that may still go out in this minute; none without a bound.
    pub fn requests_left(&self) -> Option<usize> {
        self.0.pacer.left(self.clock().now().as_millis())
    }

    /// Lets time pass, in the way that was handed in.
    pub async fn sleep(&self, time: Duration) {
        self.0.wait.sleep(time).await;
    }

    /// The way to let time pass that was handed in.
    pub fn wait(&self) -> &Arc<dyn Wait> {
        &self.0.wait
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.0.http
    }

    pub(crate) fn downloader(&self) -> &Downloader {
        &self.0.downloader
    }

    /// How long a page takes to be built; none until one has told.
    pub(crate) fn build_time(&self) -> Option<Duration> {
        let ms = Some(self.0.build_ms.load(Ordering::Relaxed)).filter(|ms| *ms != UNKNOWN);
        ms.map(Duration::from_millis)
    }

    pub(crate) fn learn_build_time(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.0.build_ms.store(ms, Ordering::Relaxed);
    }

    /// A request to a path of the API, its parts still to be percent-encoded.
    pub(crate) fn request(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> Call {
        let mut url = self.0.settings.base_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let repeatable = method != Method::POST;
        let urgency = Urgency::default();
        Call { method, url, headers: HeaderMap::new(), body: Bytes::new(), held_until: None, repeatable, urgency }
    }

    /// Sends a request as the caller, again and again where that helps, and gives the answer or the last error.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer> {
        let mut renewed = false;
        let mut tries = Tries::default();
        loop {
            self.0.pacer.take(call.urgency, self.clock(), self.0.wait.as_ref()).await;
            let authorization = self.0.access.authorization(self).await?;
            self.0.traffic.requests.fetch_add(1, Ordering::Relaxed);
            let answer = self.once(&call, &authorization).await;
            let (error, headers) = match answer {
                Ok(answer) if answer.status.is_success() => return Ok(answer),
                Ok(answer) => (refused(&call, &answer), Some((answer.status, answer.headers))),
                Err(error) => (error, None),
            };
            let status = headers.as_ref().map(|(status, _)| *status);
            if status == Some(StatusCode::TOO_MANY_REQUESTS) {
                self.0.traffic.limited.fetch_add(1, Ordering::Relaxed);
                self.0.pacer.limited(self.clock().now().as_millis());
            }
            if status == Some(StatusCode::UNAUTHORIZED) && !renewed && self.0.access.renews() {
                renewed = true;
                self.0.access.forget(&authorization).await;
                continue;
            }
            if !is_worth_another(status, call.repeatable) || tries.are_spent(&error, &self.0.settings) {
                return Err(error);
            }
            self.pause(&error, headers.as_ref().map(|(_, headers)| headers), &mut tries).await;
            self.0.traffic.repeated.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits before the next try, and counts it.
    pub(crate) async fn pause(&self, error: &Error, headers: Option<&HeaderMap>, tries: &mut Tries) {
        let delay = retry::delay(headers, tries.retries, self.clock().now(), self.random());
        debug!(%error, delay_ms = delay.as_millis() as u64, "sending again after a pause");
        self.sleep(delay).await;
        tries.retries += 1;
        tries.waited += delay;
    }

    /// Waits for its turn; gives the header that says who asks.
    pub(crate) async fn ready_to_send(&self) -> Result<header::HeaderValue> {
        self.0.pacer.take(Urgency::Usual, self.clock(), self.0.wait.as_ref()).await;
        self.0.access.authorization(self).await
    }

    /// Forgets an access token that was refused; false when there is none to renew.
    pub(crate) async fn renews(&self, authorization: &header::HeaderValue) -> bool {
        if self.0.access.renews() {
            self.0.access.forget(authorization).await;
        }
        self.0.access.renews()
    }

    /// Sends a request once.
    pub(crate) async fn once(&self, call: &Call, authorization: &header::HeaderValue) -> Result<Answer> {
        let begun = self.clock().now();
        let response = self.begin(call, authorization, None).await?;
        let answer = self.read_answer(call, response).await?;
        let took = Duration::from_millis(self.clock().now().millis_since(begun).max(0).unsigned_abs());
        Ok(Answer { took, ..answer })
    }

    /// Sends a request once, up to the head of the answer. With `time_max`, the whole may take that long.
    pub(crate) async fn begin(
        &self,
        call: &Call,
        authorization: &header::HeaderValue,
        time_max: Option<Duration>,
    ) -> Result<reqwest::Response> {
        let request = self.http().request(call.method.clone(), call.url.clone()).headers(call.headers.clone());
        let mut request =
            request.header(header::AUTHORIZATION, authorization).header(header::ACCEPT, "application/json");
        // An empty body of a POST still says its length, which some services ask for.
        if !call.body.is_empty() || call.method == Method::POST {
            request = request.body(match &call.held_until {
                None => reqwest::Body::from(call.body.clone()),
                Some(done) => held(call.body.clone(), done.clone()),
            });
        }
        if let Some(time_max) = time_max {
            request = request.timeout(time_max);
        }
        let response = request.send().await.map_err(|error| self.broken(call, error))?;
        self.0.pacer.hear(response.headers());
        Ok(response)
    }

    /// Reads an answer whole.
    pub(crate) async fn read_answer(&self, call: &Call, mut response: reqwest::Response) -> Result<Answer> {
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(call, error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                let message = format!("{} answered with more than {ANSWER_BYTES_MAX} bytes", self.place(call));
                return Err(Error::new(ErrorKind::Protocol, message));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body: body.freeze(), took: Duration::ZERO })
    }

    fn broken(&self, call: &Call, error: reqwest::Error) -> Error {
        let what = if error.is_timeout() { "did not answer in time" } else { "did not answer" };
        Error::caused(ErrorKind::Unavailable, format!("{} {what}", self.place(call)), error.without_url())
    }

    fn place(&self, call: &Call) -> String {
        let host = self.0.settings.base_url.host_str().unwrap_or_default();
        format!("{host} ({})", call.place())
    }

    pub(crate) async fn get_json<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, String)]) -> Result<T> {
        self.send(self.request(Method::GET, path, query)).await?.json()
    }

    pub(crate) async fn send_json(&self, method: Method, path: &[&str], body: &impl Serialize) -> Result<Answer> {
        self.send(self.request(method, path, &[]).with_json(body)?).await
    }
}

impl Call {
    /// The same with a body.
    pub(crate) fn with_body(mut self, content_type: &'static str, body: Bytes) -> Self {
        self.headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
        self.body = body;
        self
    }

    /// The same, whose last byte is sent only when `done` says true; when it never will, the request breaks off.
    pub(crate) fn held_until(mut self, done: watch::Receiver<bool>) -> Self {
        self.held_until = Some(done);
        self
    }

    /// The same with a body of JSON.
    pub(crate) fn with_json(self, body: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Error::caused(ErrorKind::Invalid, "the request cannot be written as JSON", error))?;
        Ok(self.with_body("application/json", body.into()))
    }

    /// The same with one more header.
    pub(crate) fn with_header(mut self, name: header::HeaderName, value: header::HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The same, known to do no harm when it is sent twice.
    pub(crate) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// The same; what is more urgent goes first.
    pub(crate) fn question(mut self) -> Self {
        self.urgency = Urgency::Question;
        self
    }

    /// Method and path; never the query, which may hold what nobody should see.
    fn place(&self) -> String {
        format!("{} {}", self.method, self.url.path())
    }
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let shown: String = String::from_utf8_lossy(&self.body).chars().take(200).collect();
            Error::caused(
                ErrorKind::Protocol,
                format!("the service's answer is not what it should be: {shown:?}"),
                error,
            )
        })
    }
}

fn check_base(url: &Url) -> Result<()> {
    let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
    if !is_http || !url.username().is_empty() || url.password().is_some() {
        let message = "the API's address is not of the form https://host, without a name or password in it";
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    Ok(())
}

fn is_worth_another(status: Option<StatusCode>, repeatable: bool) -> bool {
    match status {
        // Refused before anything was done: safe for every request.
        Some(StatusCode::TOO_MANY_REQUESTS) => true,
        Some(status) => status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED && repeatable,
        None => repeatable,
    }
}

/// An error answer as an error, with the service's own words.
pub(crate) fn refused(call: &Call, answer: &Answer) -> Error {
    let kind = match answer.status {
        StatusCode::UNAUTHORIZED => ErrorKind::Unauthorized,
        StatusCode::FORBIDDEN => ErrorKind::Forbidden,
        StatusCode::NOT_FOUND | StatusCode::GONE => ErrorKind::NotFound,
        StatusCode::TOO_MANY_REQUESTS => ErrorKind::Limited,
        StatusCode::REQUEST_TIMEOUT => ErrorKind::Unavailable,
        status if status.is_client_error() => ErrorKind::Invalid,
        status if status.is_server_error() => ErrorKind::Unavailable,
        _ => ErrorKind::Protocol,
    };
    let words = words(&answer.body).unwrap_or_else(|| answer.status.canonical_reason().unwrap_or("").to_lowercase());
    let id = answer.headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let id = id.map(|id| format!(" [request {id}]")).unwrap_or_default();
    Error::new(kind, format!("{}: {} {words}{id}", call.place(), answer.status.as_u16()))
}

fn held(body: Bytes, mut done: watch::Receiver<bool>) -> reqwest::Body {
    let last = body.len().saturating_sub(1);
    let (most, end) = (body.slice(..last), body.slice(last..));
    let end = async move {
        let is_done = done.wait_for(|done| *done).await.is_ok();
        if is_done { Ok(end) } else { Err(std::io::Error::other("what comes before was not stored")) }
    };
    reqwest::Body::wrap_stream(stream::iter([Ok(most)]).chain(stream::once(end)))
}

/// The sentence in an error body of whatever form: the vendor's, OAuth's, problem details, or plain text.
fn words(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.trim().to_owned()));
    let field = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let names = ["message", "error_description", "detail", "description", "title", "error"];
    let first = names.iter().find_map(|name| field(name)).or(value.as_str())?;
    let detail = field("detail").filter(|detail| *detail != first);
    let sentence = detail.map_or(first.to_owned(), |detail| format!("{first}; {detail}"));
    let looks_like_page = sentence.trim_start().starts_with('<');
    (!sentence.is_empty() && !looks_like_page).then(|| sentence.chars().take(500).collect())
}
