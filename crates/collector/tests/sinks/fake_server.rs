//! Destinations on loopback that follow the documentation of their vendors.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as OtlpValue;
use prost::Message;
use runlog_model::{RunId, Timestamp};
use serde_json::{Value, json};

pub(crate) const SECRET: &str = "a-secret";
/// The end of the path at which access tokens are issued.
pub(crate) const TOKEN_PATH: &str = "/oauth2/v2.0/token";
/// Why a record is refused.
pub(crate) const REASON: &str = "it cannot be taken";

/// A vendor: the settings of a sink that delivers there, and what it does with a request.
pub(crate) struct Vendor {
    /// The kind of sink.
    pub(crate) kind: &'static str,
    /// What the settings need beside the kind, for a server at this address.
    pub(crate) settings: fn(&str) -> Value,
    /// Its answer to a request.
    pub(crate) answer: fn(&mut Kept, &Request<'_>) -> Reply,
    /// False if it cannot detect duplicates of records.
    pub(crate) knows_repeats: bool,
    /// True if callers use an access token, which is renewed when it is refused.
    pub(crate) has_access_tokens: bool,
}

/// A request, unpacked.
pub(crate) struct Request<'a> {
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
    /// Whether every third record is refused temporarily, if the vendor supports that.
    pub(crate) is_busy: bool,
}

impl Request<'_> {
    pub(crate) fn has(&self, name: &str, value: &str) -> bool {
        has(self.headers, name, value)
    }
}

pub(crate) const ELASTICSEARCH: Vendor = Vendor {
    kind: "elasticsearch",
    settings: |url| json!({ "url": url, "token": { "env": "SECRET" }, "index": "logs-runlog" }),
    answer: |kept, request| match request.path {
        "/_bulk" => elasticsearch(kept, request.headers, request.body, request.is_busy),
        _ => nothing_here(),
    },
    knows_repeats: true,
    has_access_tokens: false,
};

pub(crate) const LOKI: Vendor = Vendor {
    kind: "loki",
    settings: |url| json!({ "url": url, "token": { "env": "SECRET" }, "max_age": "0s" }),
    answer: |kept, request| match request.path {
        "/loki/api/v1/push" if !request.is_busy => loki(kept, request.headers, request.body),
        _ => busy_or_nothing(request),
    },
    knows_repeats: true,
    has_access_tokens: false,
};

pub(crate) const SPLUNK: Vendor = Vendor {
    kind: "splunk",
    settings: |url| json!({ "url": url, "token": { "env": "SECRET" } }),
    answer: |kept, request| match request.path {
        "/services/collector/event" if !request.is_busy => splunk(kept, request.headers, request.body),
        _ => busy_or_nothing(request),
    },
    knows_repeats: false,
    has_access_tokens: false,
};

pub(crate) const OTLP: Vendor = Vendor {
    kind: "otlp",
    settings: |url| json!({ "url": url, "token": { "env": "SECRET" } }),
    answer: |kept, request| match request.path {
        "/v1/logs" if !request.is_busy => otlp(kept, request.headers, request.body),
        _ => busy_or_nothing(request),
    },
    knows_repeats: true,
    has_access_tokens: false,
};

pub(crate) const WEBHOOK: Vendor = Vendor {
    kind: "webhook",
    settings: |url| json!({ "url": url, "signing_secret": { "env": "SECRET" } }),
    answer: |kept, request| match request.path {
        "/" if !request.is_busy => webhook(kept, request.headers, request.body),
        _ => busy_or_nothing(request),
    },
    knows_repeats: true,
    has_access_tokens: false,
};

/// Returns the response of a vendor that is overloaded, or that does not serve this path.
pub(crate) fn busy_or_nothing(request: &Request<'_>) -> Reply {
    if request.is_busy { (429, b"busy".to_vec()) } else { nothing_here() }
}

fn nothing_here() -> Reply {
    (404, b"there is nothing at this address".to_vec())
}

/// A fault in the handling of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: all goes well.
    Pass,
    /// Accepts nothing, and responds with this status and `Retry-After`.
    Status(u16, Option<&'static str>),
    /// Accepts the request, and closes the connection before the response.
    BreakAfter,
    /// Refuses every third record temporarily, if the vendor supports that; otherwise the whole request.
    SomeBusy,
}

/// An accepted record.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) run: String,
    pub(crate) order: i64,
    pub(crate) message: String,
}

#[derive(Default)]
pub(crate) struct Kept {
    faults: VecDeque<Fault>,
    /// The records, by the key with which the vendor identifies them.
    records: BTreeMap<String, Taken>,
    summaries: Vec<Value>,
    pub(crate) is_mended: bool,
    /// Number of issued access tokens, and of those that are no longer accepted.
    pub(crate) tokens_issued: usize,
    pub(crate) tokens_ended: usize,
    refuse_before: Option<Timestamp>,
    /// Only of the streams with this level.
    refuse_level: Option<&'static str>,
    /// It rejects single records of a batch, and says how many.
    rejects_in_part: bool,
    /// The status beside the number of an invalid event.
    invalid_status: Option<u16>,
    /// The size from which a body is too large, with the status and text of the response.
    too_large: Option<(usize, u16, &'static str)>,
    largest_body: usize,
    requests: usize,
    /// The run whose records get no response.
    hang_for: Option<RunId>,
    hangs: bool,
}

pub(crate) struct FakeServer {
    pub(crate) url: String,
    kept: Arc<Shared>,
}

struct Shared {
    answer: fn(&mut Kept, &Request<'_>) -> Reply,
    kept: Mutex<Kept>,
}

impl FakeServer {
    pub(crate) async fn start(vendor: &Vendor) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let kept = Arc::new(Shared { answer: vendor.answer, kept: Mutex::default() });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&kept));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, kept }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.kept.lock().unwrap()
    }

    pub(crate) fn will(&self, faults: impl IntoIterator<Item = Fault>) {
        self.kept().faults.extend(faults);
    }

    /// Makes it accept what it has refused so far.
    pub(crate) fn mend(&self) {
        self.kept().is_mended = true;
    }

    pub(crate) fn reject_in_part(&self) {
        self.kept().rejects_in_part = true;
    }

    pub(crate) fn answer_invalid_with(&self, status: u16) {
        self.kept().invalid_status = Some(status);
    }

    pub(crate) fn too_large(&self, bytes: usize, status: u16, words: &'static str) {
        self.kept().too_large = Some((bytes, status, words));
    }

    /// Unit: bytes, unpacked.
    pub(crate) fn largest_body(&self) -> usize {
        self.kept().largest_body
    }

    pub(crate) fn requests(&self) -> usize {
        self.kept().requests
    }

    pub(crate) fn hang_for(&self, run: RunId) {
        self.kept().hang_for = Some(run);
    }

    pub(crate) fn hangs(&self) -> bool {
        self.kept().hangs
    }

    pub(crate) fn refuse_before(&self, time: Timestamp) {
        self.kept().refuse_before = Some(time);
    }

    /// Each stream of Loki has a limit of its own.
    pub(crate) fn refuse_before_at(&self, level: &'static str, time: Timestamp) {
        let mut kept = self.kept();
        (kept.refuse_before, kept.refuse_level) = (Some(time), Some(level));
    }

    /// Makes it refuse the access tokens issued so far.
    pub(crate) fn end_tokens(&self) {
        let mut kept = self.kept();
        kept.tokens_ended = kept.tokens_issued;
    }

    /// How many access tokens it gave.
    pub(crate) fn tokens_issued(&self) -> usize {
        self.kept().tokens_issued
    }

    /// How many records it has.
    pub(crate) fn took(&self) -> usize {
        self.kept().records.len()
    }

    /// Returns its messages of a run, in order; records with the same id count once.
    pub(crate) fn messages(&self, run: RunId) -> Vec<String> {
        let mut taken: Vec<Taken> =
            self.kept().records.values().filter(|it| it.run == run.to_string()).cloned().collect();
        taken.sort_by_key(|it| it.order);
        taken.dedup_by_key(|it| it.order);
        taken.into_iter().map(|it| it.message).collect()
    }

    pub(crate) fn summaries(&self) -> Vec<Value> {
        self.kept().summaries.clone()
    }
}

pub(crate) type Reply = (u16, Vec<u8>);

impl Kept {
    /// Stores a record, even if it is a duplicate.
    pub(crate) fn take_again(&mut self, taken: Taken) {
        let count = self.records.len();
        self.records.insert(format!("{count}"), taken);
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    match reply(&shared, &uri, &headers, &body) {
        Some(response) => response,
        None => std::future::pending().await,
    }
}

/// Returns `None` if there is no response.
fn reply(shared: &Shared, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Option<Response<Body>> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
    let mut kept = shared.kept.lock().unwrap();
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    if path.ends_with(TOKEN_PATH) {
        // Faults only apply to endpoints that accept records.
        let request = Request { path, query, headers, body, is_busy: false };
        let (status, reply) = (shared.answer)(&mut kept, &request);
        return Some(Response::builder().status(status).body(Body::from(reply)).unwrap());
    }
    let fault = kept.faults.pop_front().unwrap_or(Fault::Pass);
    if let Fault::Status(status, after) = fault {
        let mut response = Response::builder().status(status);
        if let Some(after) = after {
            response = response.header("retry-after", after);
        }
        return Some(response.body(Body::from("{\"why\":\"as the test wants it\"}")).unwrap());
    }
    let body = match text("content-encoding") {
        "gzip" => {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(body).read_to_end(&mut plain).unwrap();
            plain
        }
        _ => body.to_vec(),
    };
    kept.requests += 1;
    kept.largest_body = kept.largest_body.max(body.len());
    if let Some((_, status, words)) = kept.too_large.filter(|(bytes, ..)| body.len() > *bytes) {
        return Some(Response::builder().status(status).body(Body::from(words)).unwrap());
    }
    let hangs = kept.hang_for.is_some_and(|run| String::from_utf8_lossy(&body).contains(&run.to_string()));
    if hangs {
        kept.hangs = true;
        return None;
    }
    let request = Request { path, query, headers, body: &body, is_busy: fault == Fault::SomeBusy };
    let (status, reply) = (shared.answer)(&mut kept, &request);
    let (status, body) = match fault {
        Fault::BreakAfter => {
            let broken = std::io::Error::other("broken");
            // An answer without a body would be whole already.
            (200, Body::from_stream(futures::stream::iter([Err::<Bytes, _>(broken)])))
        }
        _ => (status, Body::from(reply)),
    };
    Some(Response::builder().status(StatusCode::from_u16(status).unwrap()).body(body).unwrap())
}

fn has(headers: &HeaderMap, name: &str, value: &str) -> bool {
    headers.get(name).is_some_and(|found| found == value)
}

/// "The bulk API": pairs of lines, each ended by a line break; an answer for each, whatever became of the others.
fn elasticsearch(kept: &mut Kept, headers: &HeaderMap, body: &[u8], busy: bool) -> Reply {
    if !has(headers, "authorization", &format!("ApiKey {SECRET}")) {
        return (401, b"{}".to_vec());
    }
    if !has(headers, "content-type", "application/x-ndjson") {
        return (406, b"{\"error\":\"Content-Type header is not supported\"}".to_vec());
    }
    let text = std::str::from_utf8(body).unwrap();
    if text.trim().is_empty() {
        return (400, b"{\"error\":{\"type\":\"parse_exception\",\"reason\":\"request body is required\"}}".to_vec());
    }
    if !text.ends_with('\n') {
        return (400, b"{\"error\":\"The bulk request must be terminated by a newline [\\n]\"}".to_vec());
    }
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut items = Vec::new();
    for (number, pair) in lines.chunks(2).enumerate() {
        let (action, document) = (&pair[0]["create"], &pair[1]);
        assert_eq!(action["_index"], "logs-runlog", "a data stream takes create alone");
        let id = action["_id"].as_str().unwrap().to_owned();
        assert!(id.len() <= 512, "the longest id is 512 bytes");
        let message = document["message"].as_str().unwrap().to_owned();
        let (status, kind) = if busy && number % 3 == 0 {
            (429, "es_rejected_execution_exception")
        } else if message == "unmappable" && !kept.is_mended {
            (400, "document_parsing_exception")
        } else {
            assert_eq!(document["event.id"], id.as_str());
            document["@timestamp"].as_str().unwrap().parse::<Timestamp>().unwrap();
            let run = document["run.id"].as_str().unwrap_or_default().to_owned();
            let taken = Taken { run, order: document["event.sequence"].as_i64().unwrap(), message };
            match kept.records.entry(id) {
                Entry::Occupied(_) => (409, "version_conflict_engine_exception"),
                Entry::Vacant(free) => {
                    free.insert(taken);
                    (201, "")
                }
            }
        };
        let error = (status > 299).then(|| json!({ "type": kind, "reason": REASON }));
        items.push(json!({ "create": { "status": status, "error": error } }));
    }
    let errors = items.iter().any(|item| item["create"]["error"].is_object());
    (200, json!({ "errors": errors, "items": items }).to_string().into_bytes())
}

/// "Push log entries to Loki": what is good of a request is taken, and the first of what is not is said.
fn loki(kept: &mut Kept, headers: &HeaderMap, body: &[u8]) -> Reply {
    if !has(headers, "authorization", &format!("Bearer {SECRET}")) {
        return (401, b"no org id".to_vec());
    }
    if !has(headers, "content-type", "application/json") {
        return (415, Vec::new());
    }
    let body: Value = serde_json::from_slice(body).unwrap();
    let streams = body["streams"].as_array().unwrap();
    if streams.is_empty() {
        return (422, b"error at least one valid stream is required for ingestion".to_vec());
    }
    let mut problem = None;
    for stream in streams {
        let labels = stream["stream"].as_object().unwrap();
        assert!((1..=15).contains(&labels.len()) && labels.values().all(|value| !value.as_str().unwrap().is_empty()));
        for value in stream["values"].as_array().unwrap() {
            let nanos: i64 = value[0].as_str().unwrap().parse().unwrap();
            let (line, metadata) = (value[1].as_str().unwrap(), value[2].as_object().unwrap());
            assert!(metadata.values().all(Value::is_string), "structured metadata is text");
            let time = Timestamp::clamped(nanos / 1_000_000);
            let level = labels.get("level").and_then(Value::as_str);
            let is_limited = kept.refuse_level.is_none() || kept.refuse_level == level;
            if let Some(oldest) = kept.refuse_before.filter(|oldest| is_limited && time < *oldest) {
                problem.get_or_insert(format!(
                    "entry with timestamp {time} ignored, reason: 'entry too far behind, oldest acceptable timestamp is: {oldest}',"
                ));
                continue;
            }
            if line == "unmappable" && !kept.is_mended {
                problem.get_or_insert(format!("max entry size exceeded: {REASON}"));
                continue;
            }
            let taken = Taken {
                run: metadata.get("run_id").and_then(Value::as_str).unwrap_or_default().to_owned(),
                order: nanos,
                message: line.to_owned(),
            };
            // The same line at the same time in the same stream is one line.
            kept.records.insert(format!("{labels:?} {nanos} {line}"), taken);
        }
    }
    problem.map_or((204, Vec::new()), |problem| (400, problem.into_bytes()))
}

/// "HTTP Event Collector": events one after another; what comes before a bad one is indexed.
fn splunk(kept: &mut Kept, headers: &HeaderMap, body: &[u8]) -> Reply {
    if !has(headers, "authorization", &format!("Splunk {SECRET}")) {
        return (401, br#"{"text":"Invalid authorization","code":3}"#.to_vec());
    }
    if body.is_empty() {
        return (400, br#"{"text":"No data","code":5}"#.to_vec());
    }
    for (number, event) in serde_json::Deserializer::from_slice(body).into_iter::<Value>().enumerate() {
        let event = event.unwrap();
        assert!(event["time"].is_number(), "{event}");
        let fields = &event["event"];
        let message = fields["message"].as_str().unwrap().to_owned();
        if message == "unmappable" && !kept.is_mended {
            let said = json!({ "text": REASON, "code": 6, "invalid-event-number": number });
            return (kept.invalid_status.unwrap_or(400), said.to_string().into_bytes());
        }
        let (run, order) =
            (fields["run_id"].as_str().unwrap_or_default().to_owned(), fields["sequence"].as_i64().unwrap());
        kept.take_again(Taken { run, order, message });
    }
    (200, br#"{"text":"Success","code":0}"#.to_vec())
}

/// "OTLP/HTTP": a batch with a record that is refused is refused as a whole with 400, one that is refused alone in the
/// answer's partial success.
fn otlp(kept: &mut Kept, headers: &HeaderMap, body: &[u8]) -> Reply {
    if !has(headers, "authorization", &format!("Bearer {SECRET}")) {
        return (401, Vec::new());
    }
    if !has(headers, "content-type", "application/x-protobuf") {
        return (415, Vec::new());
    }
    let request = ExportLogsServiceRequest::decode(body).unwrap();
    let mut found = Vec::new();
    for resource in request.resource_logs {
        let run = text(&resource.resource.unwrap().attributes, "runlog.run.id");
        for log in resource.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
            let id = text(&log.attributes, "log.record.uid");
            let Some(OtlpValue::StringValue(message)) = log.body.and_then(|body| body.value) else { panic!("no body") };
            found.push((id, Taken { run: run.clone(), order: log.time_unix_nano as i64, message }));
        }
    }
    if kept.rejects_in_part && !kept.is_mended {
        let before = found.len();
        found.retain(|(_, taken)| taken.message != "unmappable");
        let rejected_log_records = (before - found.len()) as i64;
        kept.records.extend(found);
        let partial = ExportLogsPartialSuccess { rejected_log_records, error_message: REASON.to_owned() };
        return (200, ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec());
    }
    let has_bad = !kept.is_mended && found.iter().any(|(_, taken)| taken.message == "unmappable");
    if has_bad && found.len() > 1 {
        return (400, REASON.as_bytes().to_vec());
    }
    let partial_success =
        has_bad.then(|| ExportLogsPartialSuccess { rejected_log_records: 1, error_message: REASON.to_owned() });
    if !has_bad {
        kept.records.extend(found);
    }
    (200, ExportLogsServiceResponse { partial_success }.encode_to_vec())
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    let Some(found) = attributes.iter().find(|attribute| attribute.key == name) else { return String::new() };
    match found.value.as_ref().unwrap().value.as_ref().unwrap() {
        OtlpValue::StringValue(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

/// Checks the signature, and takes what it has not seen under its id.
fn webhook(kept: &mut Kept, headers: &HeaderMap, body: &[u8]) -> Reply {
    let seconds = headers["x-runlog-timestamp"].to_str().unwrap();
    let expected = runlog_collector::signature(&SECRET.to_owned().into(), seconds, body);
    assert!(has(headers, "x-runlog-signature", &expected));
    let summary: Value = serde_json::from_slice(body).unwrap();
    assert!(has(headers, "x-runlog-id", summary["id"].as_str().unwrap()));
    let is_new = !kept.summaries.iter().any(|known| known["id"] == summary["id"]);
    if summary["type"] == "run.ended" && is_new {
        kept.summaries.push(summary);
    }
    (202, Vec::new())
}
