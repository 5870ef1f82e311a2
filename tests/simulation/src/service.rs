//! The service over HTTP: the router of a node, called by clients that send slowly, break off and hang up.
//!
//! The server's handling of connections (hyper) is not simulated: requests are passed to the router directly, and a
//! client disconnects by dropping its request.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use futures::stream;
use http::{Method, Request};
use runlog_model::wire::push::StoredBatch;
use runlog_model::{Record, RunId};
use runlog_server::{App, ServerSettings, router};
use runlog_store::audit::AuditFilter;
use runlog_store::{Error, ErrorKind, Result as StoreResult, Store};
use serde::Deserialize;
use tokio::sync::OnceCell;
use tower::ServiceExt;

use crate::clients::{Answer, Clients};
use crate::ledger::Span;
use crate::locked;
use crate::node::NodeClock;
use crate::schedule::{Kind, Schedule};
use crate::seed::{NodeRandom, Numbers};

/// Maximum number of records of a live page. Source: the guide.
const LIVE_RECORDS_MAX: usize = 200;

/// The service of one life of a node, which starts with its first request.
pub(crate) struct Service {
    router: OnceCell<Router>,
    clock: Arc<NodeClock>,
    numbers: Mutex<Numbers>,
}

/// An answer of the service that was read to its end.
pub(crate) struct Answered {
    status: u16,
    request_id: String,
    body: Bytes,
}

/// A request.
struct Ask {
    method: Method,
    path: String,
    token: String,
    /// The pieces in which its body arrives. An error means that the client disconnects there.
    body: VecDeque<Result<Bytes, std::io::Error>>,
}

impl Service {
    pub(crate) fn new(clock: Arc<NodeClock>, numbers: Numbers) -> Self {
        Self { router: OnceCell::new(), clock, numbers: Mutex::new(numbers) }
    }

    async fn router(&self, store: Store) -> StoreResult<&Router> {
        let begin = async || {
            // Rate limits of callers are not simulated.
            let settings = ServerSettings {
                requests_per_second: 0,
                anonymous_requests_per_second: 0,
                ..ServerSettings::default()
            };
            let random = Arc::new(NodeRandom(Mutex::new(locked(&self.numbers).fork())));
            Ok(router(App::new(store, settings, Arc::clone(&self.clock) as _, random).await?))
        };
        self.router.get_or_try_init(begin).await
    }

    async fn answer(&self, node: usize, schedule: Schedule, store: Store, ask: Ask) -> StoreResult<Answered> {
        let broken = |error: &dyn std::fmt::Display| Error::new(ErrorKind::Unavailable, error.to_string());
        let body = Body::from_stream(stream::unfold(ask.body, move |mut pieces| {
            let schedule = schedule.clone();
            async move {
                let piece = pieces.pop_front()?;
                schedule.gate(node, Kind::Message, "bytes of a request").await;
                Some((piece, pieces))
            }
        }));
        let request = Request::builder()
            .method(ask.method)
            .uri(ask.path)
            .header("host", "runlog.example")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", ask.token))
            .body(body)
            .map_err(|error| broken(&error))?;
        let answering = self.router(store).await?.clone().oneshot(request);
        let Ok(response) = answering.await;
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.map_err(|error| broken(&error))?;
        let request_id = head.headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        Ok(Answered { status: head.status.as_u16(), request_id: request_id.to_owned(), body })
    }
}

impl Answered {
    /// Returns the parsed body of the response, or the error that a client would derive from the status.
    fn read<T: for<'de> Deserialize<'de>>(&self) -> StoreResult<T> {
        let kind = match self.status {
            200..300 => {
                return serde_json::from_slice(&self.body)
                    .map_err(|error| Error::new(ErrorKind::Corrupt, format!("an answer that is no JSON: {error}")));
            }
            404 => ErrorKind::NotFound,
            409 => ErrorKind::Conflict,
            // 408: the rest of the body did not arrive in time, and nothing was stored.
            408 | 429 | 503 => ErrorKind::Unavailable,
            500 => ErrorKind::Corrupt,
            _ => ErrorKind::Invalid,
        };
        Err(Error::new(kind, format!("{} {}", self.status, String::from_utf8_lossy(&self.body))))
    }
}

impl Clients {
    /// Whether this request goes over HTTP.
    pub(crate) fn speaks_http(&self) -> bool {
        self.0.shared.profile.has_http && self.chance(500)
    }

    /// Sends a request to a node. With `may_hang_up`, the client may not wait for the answer.
    async fn ask(
        &self,
        node: usize,
        (method, path): (Method, String),
        body: VecDeque<Result<Bytes, std::io::Error>>,
        may_hang_up: bool,
    ) -> (Answer<StoreResult<Answered>>, Span) {
        let (schedule, shared) = (self.0.shared.schedule.clone(), Arc::clone(&self.0.shared));
        let what = format!("{method} over HTTP");
        let token = locked(&self.0.token).clone();
        self.call(node, &what, may_hang_up, move |store| {
            let service = shared.service_of(node);
            async move {
                let Some(service) = service else { return Err(Error::new(ErrorKind::Unavailable, "it is down")) };
                service.answer(node, schedule, store, Ask { method, path, token, body }).await
            }
        })
        .await
    }

    /// Bytes in some pieces.
    fn pieces(&self, bytes: &[u8]) -> VecDeque<Result<Bytes, std::io::Error>> {
        let size = (bytes.len() / (1 + self.below(4))).max(1);
        bytes.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect()
    }

    /// Pushes a batch.
    pub(crate) async fn push_over_http(
        &self,
        id: RunId,
        batch: &str,
        records: &[Record],
    ) -> (Answer<StoreResult<StoredBatch>>, Span) {
        #[derive(Deserialize)]
        struct Stored {
            stored: u64,
            #[serde(default)]
            repeated: bool,
        }
        let mut lines = Vec::new();
        for record in records {
            // A record can always be written as JSON.
            _ = serde_json::to_writer(&mut lines, record);
            lines.push(b'\n');
        }
        let mut body = self.pieces(&lines);
        let breaks_off = self.chance(100);
        if breaks_off {
            body.truncate(self.below(body.len()));
            body.push_back(Err(std::io::ErrorKind::ConnectionReset.into()));
        }
        let path = format!("/runlog/v1/runs/{id}/records?batch={batch}");
        let (answer, span) = self.ask(self.some_node(), (Method::POST, path), body, true).await;
        match answer {
            Answer::Of(Ok(answered)) if breaks_off => {
                if answered.status < 300 {
                    self.violation(format!("batch {batch} of run {id} broke off, and was acknowledged"));
                }
                (Answer::Lost, Span { until: None, ..span })
            }
            Answer::Of(answered) => {
                let stored = answered.and_then(|answered| answered.read::<Stored>());
                (Answer::Of(stored.map(|Stored { stored, repeated }| StoredBatch { stored, repeated })), span)
            }
            Answer::Lost => (Answer::Lost, span),
        }
    }

    /// Ends a run.
    pub(crate) async fn finish_over_http(&self, id: RunId) -> Answer<StoreResult<()>> {
        let body = serde_json::to_vec(&self.finish_body(id)).unwrap_or_default();
        let path = format!("/runlog/v1/runs/{id}/finish");
        self.change_over_http((Method::POST, path), &body).await.0
    }

    /// Deletes a log.
    pub(crate) async fn delete_over_http(&self, node: usize, id: RunId) -> (Answer<StoreResult<()>>, Span) {
        let path = format!("/monitoring/executions/{id}/logs");
        let (answer, span) = self.ask(node, (Method::DELETE, path), VecDeque::new(), true).await;
        (read_change(answer), span)
    }

    async fn change_over_http(&self, what: (Method, String), body: &[u8]) -> (Answer<StoreResult<()>>, Span) {
        let (answer, span) = self.ask(self.some_node(), what, self.pieces(body), true).await;
        (read_change(answer), span)
    }

    /// Reads a log. A read that was answered has an entry in the audit log.
    pub(crate) async fn read_over_http(&self, run: usize, node: usize) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            data: Vec<Record>,
            total_size: usize,
        }
        let id = self.run_id(run);
        let path = format!("/monitoring/executions/{id}/logs?count={LIVE_RECORDS_MAX}&startIndex=0&order=ASC");
        let (answer, span) = self.ask(node, (Method::GET, path), VecDeque::new(), true).await;
        let answered = match answer {
            Answer::Of(Ok(answered)) => answered,
            Answer::Of(Err(error)) => return self.expect_usual("a read over HTTP", &error),
            Answer::Lost => return,
        };
        match answered.read::<Page>() {
            Ok(page) => {
                if page.total_size <= LIVE_RECORDS_MAX {
                    self.check("the log", run, &page.data, span, true);
                }
                self.check_entry(id, answered.request_id).await;
            }
            Err(error) => self.expect_usual("a read over HTTP", &error),
        }
    }

    async fn check_entry(&self, id: RunId, request_id: String) {
        let filter = AuditFilter { subject: Some(id.to_string()), limit: 10_000, ..AuditFilter::default() };
        let listing = self.call(self.some_node(), "read the audit log", false, move |store| async move {
            store.audit().entries(&filter).await
        });
        let Answer::Of(Ok((entries, _))) = listing.await.0 else { return };
        if !entries.iter().any(|entry| entry.request_id == request_id) {
            self.violation(format!("run {id} was read by request {request_id}, which the audit log does not know"));
        }
    }
}

fn read_change(answer: Answer<StoreResult<Answered>>) -> Answer<StoreResult<()>> {
    match answer {
        Answer::Of(answered) => {
            Answer::Of(answered.and_then(|answered| answered.read::<serde_json::Value>()).map(drop))
        }
        Answer::Lost => Answer::Lost,
    }
}
