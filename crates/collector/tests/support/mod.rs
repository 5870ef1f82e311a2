//! A service on loopback that implements the run-log API for a generated log, with the faults in the script of a test.
//! Time only passes while a task waits.

pub(crate) mod catalog;

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::routing::{get, post};
use runlog_client::{Client, ClientSettings, Credentials, Wait};
use runlog_collector::{FetchReport, FetchRequest, NoProgress, Output, Result, fetch_run};
use runlog_model::page::{PageCutter, PageEnd};
use runlog_model::{Clock, Random, RunId, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

/// The run that every test fetches.
pub(crate) const RUN: &str = "6c0e5a34-0000-4000-8000-000000000001";
/// Its task.
pub(crate) const TASK: &str = "57f64991e4b0b689a64feed0";
/// How often a collector renews its claim of a run.
const RENEWAL: Duration = Duration::from_secs(40);
/// A secret that must never appear in output.
pub(crate) const SECRET: &str = "hush-hush";

/// The position at which the service ends its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// As Runlog does.
    Exact,
    /// After the last record that fits; its time is the next end, which is inclusive.
    MiddleInside,
    /// Like `MiddleInside`, with an exclusive end.
    MiddleOutside,
    /// Like `MiddleInside`, with the next end truncated to whole seconds.
    WholeSeconds,
}

/// The form of a page file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileForm {
    Array,
    Lines,
    Envelope,
    GzipWithoutHeader,
    Gzip,
    Zstd,
    ZstdWithoutHeader,
    Deflate,
}

/// An endpoint of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum At {
    Token,
    /// The tasks.
    Tasks,
    /// A single task.
    Task,
    /// The runs of the task.
    List,
    /// The runs of any other task.
    OtherList,
    Execution,
    Generate,
    Status,
    File,
    Live,
    /// Component metrics.
    Components,
    /// The search in the history of runs.
    History,
    /// The list of plan executions.
    Plans,
    /// A plan execution, its steps, their error handlers, and plans.
    PlanParts,
    /// The audit logs of the tenant.
    AuditLogs,
}

/// A fault of the service.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Responds with this status, these headers and this body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Reports this status of the page.
    Word(&'static str),
    /// Returns this link.
    Link(String),
    /// Sends this header for the next end; `None` omits it.
    NextEnd(Option<&'static str>),
    /// Ends the body after this number of bytes, and declares its full length.
    CutAfter(usize),
    /// Ends the body after this number of bytes, and declares no length.
    CutWithoutHeader(usize),
    /// Does not respond to a download or a list.
    Hang,
    /// Sends a decompression bomb.
    Bomb,
    /// Reports that the log can still grow.
    Unsettled,
    /// Reports that the log is final and has this number of records.
    Counted(u64),
    /// Omits this number of the newest records from the page, as if they had not arrived yet.
    Late(usize),
}

/// The component metrics of every run.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) items: Vec<Value>,
    /// Maximum number of metrics per page, whatever is requested.
    pub(crate) page_items_max: usize,
    /// Number of metrics of the previous page with which a page begins.
    pub(crate) overlap: usize,
}

/// The data and the behaviour of the service.
pub(crate) struct Script {
    pub(crate) log: Vec<(i64, String)>,
    pub(crate) limit: u64,
    pub(crate) cut: Cut,
    pub(crate) newest_first: bool,
    pub(crate) form: FileForm,
    /// The n-th request to an endpoint, from 1, meets a fault; 0 stands for every request.
    pub(crate) faults: Vec<(At, usize, Fault)>,
    /// Lifetime of an access token, in seconds; `None` for a personal token.
    pub(crate) token_life: Option<i64>,
    pub(crate) takes_ranges: bool,
    /// Time until the response to a request for a page. Unit: milliseconds.
    pub(crate) generate_ms: i64,
    /// Maximum number of records of a live page.
    pub(crate) live_records: usize,
    /// The runs of the task, in pages of this size whatever is requested, without a total.
    pub(crate) short_list: Option<(Vec<Value>, usize)>,
    /// The total in that list and in component metrics; `None` for the correct total, or for none.
    pub(crate) total: Option<usize>,
    /// Changes the body of a live page.
    pub(crate) live_body: fn(&mut Value),
    /// The `Content-Encoding` of plain page files, whatever they are.
    pub(crate) label: Option<&'static str>,
    /// Bytes of page files, and their replacements.
    pub(crate) replaced: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether the run ended a minute ago, rather than with its last record.
    pub(crate) has_just_ended: bool,
    /// Whether the size of a page is that of its file in bytes, rather than the number of its records.
    pub(crate) size_is_bytes: bool,
    /// `None` if the service has no component metrics, as Talend Cloud after 31 days.
    pub(crate) metrics: Option<Metrics>,
    /// The response for a single task, which has more fields than a list.
    pub(crate) task: Option<Value>,
    /// The runs of the history, by category; `None` if the service has no history.
    pub(crate) history: Option<HashMap<&'static str, Vec<Value>>>,
    /// Delay of the clock of the service. Unit: milliseconds.
    pub(crate) clock_behind_ms: i64,
    /// The plan executions, newest first.
    pub(crate) plans: Vec<Value>,
    /// The audit logs of the tenant, in any order.
    pub(crate) audit_logs: Vec<Value>,
    /// Entries that are registered while the n-th page is requested, from 1.
    pub(crate) audit_logs_meanwhile: Vec<(usize, Value)>,
    /// Whether the order of entries of the same time differs in each response.
    pub(crate) has_unsteady_order: bool,
    /// The response at each path of a plan or a plan execution.
    pub(crate) plan_parts: HashMap<String, Value>,
}

impl Script {
    pub(crate) fn of(log: Vec<(i64, String)>) -> Self {
        Self {
            log,
            limit: 10,
            cut: Cut::Exact,
            newest_first: true,
            form: FileForm::Array,
            faults: Vec::new(),
            token_life: None,
            takes_ranges: true,
            generate_ms: 0,
            live_records: usize::MAX,
            short_list: None,
            total: None,
            live_body: |_| (),
            label: None,
            replaced: Vec::new(),
            has_just_ended: false,
            size_is_bytes: false,
            metrics: None,
            task: None,
            history: None,
            clock_behind_ms: 0,
            plans: Vec::new(),
            audit_logs: Vec::new(),
            audit_logs_meanwhile: Vec::new(),
            has_unsteady_order: false,
            plan_parts: HashMap::new(),
        }
    }

    pub(crate) fn just_ended(mut self) -> Self {
        self.has_just_ended = true;
        self
    }

    pub(crate) fn with(mut self, at: At, number: usize, fault: Fault) -> Self {
        self.faults.push((at, number, fault));
        self
    }
}

/// A log of this number of records, one every 100 ms.
pub(crate) fn plain_log(records: i64) -> Vec<(i64, String)> {
    (0..records).map(|number| (1_700_000_000_000 + number * 100, format!("record {number}"))).collect()
}

/// The line of a record.
pub(crate) fn line((time, text): &(i64, String)) -> String {
    json!({"logTimestamp": time, "severity": "INFO", "logMessage": text}).to_string()
}

/// The expected output of the log: by time, then arrival.
pub(crate) fn expected(log: &[(i64, String)]) -> String {
    let mut sorted = log.to_vec();
    sorted.sort_by_key(|record| record.0);
    sorted.iter().map(|record| line(record) + "\n").collect()
}

/// A clock that only advances while a task waits.
#[derive(Clone)]
pub(crate) struct TestTime(Arc<AtomicI64>);

/// Shares the time of the stage, and lets it pass at most two hundred times as fast as real time: for tasks that wait
/// repeatedly without end.
pub(crate) struct Paced(pub(crate) TestTime);

impl Wait for Paced {
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            tokio::time::sleep(time / 200).await;
            self.0.sleep(time).await;
        })
    }
}

impl TestTime {
    /// Lets this much time pass. Unit: milliseconds.
    pub(crate) fn pass(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestTime {
    fn now(&self) -> Timestamp {
        Timestamp::clamped(self.0.load(Ordering::SeqCst))
    }
}

impl Wait for TestTime {
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // No claim has to be renewed, because the tests take less time.
        if time == RENEWAL {
            return Box::pin(std::future::pending());
        }
        self.0.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
        Box::pin(tokio::task::yield_now())
    }
}

/// The same numbers every time.
#[derive(Default)]
pub(crate) struct TestRandom(AtomicU64);

impl TestRandom {
    /// Returns a counter that changes with each generated value.
    pub(crate) fn used(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Random for TestRandom {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.iter_mut().for_each(|byte| *byte = (self.0.fetch_add(37, Ordering::SeqCst) % 251) as u8);
    }
}

/// A running service, and a client of it.
pub(crate) struct Stage {
    shared: Arc<Shared>,
    pub(crate) client: Client,
    pub(crate) time: TestTime,
    pub(crate) folder: TempDir,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    script: Mutex<Script>,
    seen: Mutex<Vec<(At, String)>>,
    pages: Mutex<HashMap<String, Vec<u8>>>,
    time: TestTime,
    issued: AtomicI64,
    address: SocketAddr,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stage {
    pub(crate) async fn set(script: Script) -> Self {
        Self::set_with(script, |_| ()).await
    }

    pub(crate) async fn set_with(script: Script, change: impl FnOnce(&mut ClientSettings)) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let time = TestTime(Arc::new(AtomicI64::new(1_800_000_000_000)));
        let credentials = match script.token_life {
            None => Credentials::PersonalToken(SecretString::from(SECRET)),
            Some(_) => Credentials::ServiceAccount {
                client_id: "client".to_owned(),
                client_secret: SecretString::from(SECRET),
            },
        };
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            seen: Mutex::default(),
            pages: Mutex::default(),
            time: time.clone(),
            issued: AtomicI64::new(0),
            address,
        });
        let router = Router::new()
            .route("/orchestration/workspaces", get(async || json_answer(200, &json!([]))))
            .route("/security/oauth/token", post(token))
            .route("/processing/executions/{id}", get(execution))
            .route("/processing/executables/tasks/{id}/executions", get(executions))
            .route("/orchestration/executables/tasks", get(tasks))
            .route("/orchestration/executables/tasks/{id}", get(task))
            .route("/monitoring/observability/executions/search", post(history))
            .route("/monitoring/executions/{id}/logs", post(generate).get(live))
            .route("/monitoring/executions/{id}/logs/status", post(status))
            .route("/monitoring/observability/executions/{id}/component", get(components))
            .route("/processing/executables/tasks/executions", get(all_executions))
            .route("/processing/executables/plans/executions", get(plans))
            .route("/security/audit/logs", get(audit_logs))
            .route("/files/{key}", get(file))
            .fallback(get(plan_part))
            .layer(axum::middleware::map_response_with_state(Arc::clone(&shared), dated))
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let mut settings = ClientSettings::new(Url::parse(&format!("http://{address}")).unwrap(), credentials);
        change(&mut settings);
        let client =
            Client::new(settings, Arc::new(time.clone()), Arc::new(TestRandom::default()), Arc::new(time.clone()));
        Self { shared, client: client.unwrap(), time, folder: tempfile::tempdir().unwrap(), task }
    }

    /// The folder in which the fetch records its progress.
    pub(crate) fn part_folder(&self) -> PathBuf {
        self.folder.path().join("run.ndjson.runlog-part")
    }

    /// The path of the output.
    pub(crate) fn output(&self) -> PathBuf {
        self.folder.path().join("run.ndjson")
    }

    pub(crate) fn request(&self) -> FetchRequest {
        let request = FetchRequest::new(RUN.parse::<RunId>().unwrap(), Output::File(self.output()));
        FetchRequest { page_memory_bytes: 500, ..request }
    }

    pub(crate) async fn fetch(&self) -> Result<FetchReport> {
        self.fetch_as(self.request()).await
    }

    pub(crate) async fn fetch_as(&self, request: FetchRequest) -> Result<FetchReport> {
        fetch_run(&self.client, request, Arc::new(NoProgress)).await
    }

    pub(crate) fn fetched(&self) -> String {
        std::fs::read_to_string(self.output()).unwrap()
    }

    /// Number of requests to an endpoint.
    pub(crate) fn count(&self, at: At) -> usize {
        self.shared.seen.lock().unwrap().iter().filter(|(seen, _)| *seen == at).count()
    }

    /// The requests to an endpoint.
    pub(crate) fn seen(&self, at: At) -> Vec<String> {
        let seen = self.shared.seen.lock().unwrap();
        seen.iter().filter(|(seen, _)| *seen == at).map(|(_, what)| what.clone()).collect()
    }

    /// Changes the behaviour of the service from now on.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.shared.script.lock().unwrap());
    }

    pub(crate) fn forget_requests(&self) {
        self.shared.seen.lock().unwrap().clear();
    }
}

type App = State<Arc<Shared>>;
type Answer = Response<Body>;

fn answer(status: u16, headers: &[(&'static str, String)], body: impl Into<Body>) -> Answer {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(body.into()).unwrap()
}

fn json_answer(status: u16, body: &Value) -> Answer {
    answer(status, &[("content-type", "application/json".to_owned())], body.to_string())
}

impl Shared {
    /// Notes a request, and returns its fault.
    fn note(&self, at: At, what: String) -> Option<Fault> {
        let mut seen = self.seen.lock().unwrap();
        seen.push((at, what));
        let number = seen.iter().filter(|(seen, _)| *seen == at).count();
        let script = self.script.lock().unwrap();
        let met = script.faults.iter().find(|(fault_at, n, _)| *fault_at == at && (*n == 0 || *n == number));
        met.map(|(_, _, fault)| fault.clone())
    }

    /// The response about the run.
    fn said(&self) -> Value {
        let script = self.script.lock().unwrap();
        let ended = script.log.iter().map(|record| record.0).max().unwrap_or(1_700_000_000_000);
        let ended =
            if script.has_just_ended { self.time.now().plus_millis(-60_000) } else { Timestamp::clamped(ended) };
        let ended = ended.to_string();
        json!({"executionId": RUN, "taskId": TASK, "status": "execution_failed", "triggerTimestamp": ended,
               "finishTimestamp": ended})
    }

    fn check_token(&self, headers: &HeaderMap) -> Option<Answer> {
        let life = self.script.lock().unwrap().token_life;
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_good = match life {
            None => sent == format!("Bearer {SECRET}"),
            Some(seconds) => {
                let issued = sent.strip_prefix("Bearer access-").and_then(|ms| ms.parse::<i64>().ok());
                issued.is_some_and(|ms| {
                    self.time.now().as_millis() < ms + seconds * 1_000 && ms >= self.issued.load(Ordering::SeqCst)
                })
            }
        };
        (!is_good).then(|| json_answer(401, &json!({"status": 401, "message": "token expired"})))
    }
}

fn failed(fault: Option<&Fault>) -> Option<Answer> {
    match fault {
        Some(Fault::Answer(status, headers, body)) => Some(answer(*status, headers, body.clone())),
        _ => None,
    }
}

async fn token(State(app): App, _: HeaderMap) -> Answer {
    if let Some(failed) = failed(app.note(At::Token, String::new()).as_ref()) {
        return failed;
    }
    let now = app.time.now().as_millis();
    app.issued.store(now, Ordering::SeqCst);
    let life = app.script.lock().unwrap().token_life.unwrap_or(1_800);
    json_answer(
        200,
        &json!({"access_token": format!("access-{now}"), "token_type": "Bearer", "expires_in": life.to_string()}),
    )
}

async fn execution(State(app): App, Path(run): Path<String>, headers: HeaderMap) -> Answer {
    if let Some(answer) = failed(app.note(At::Execution, run.clone()).as_ref()).or(app.check_token(&headers)) {
        return answer;
    }
    let mut said = app.said();
    said["executionId"] = Value::from(run);
    json_answer(200, &said)
}

/// As the vendor's OpenAPI file describes it.
async fn components(
    State(app): App,
    Path(run): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Answer {
    let number = |name: &str, default: usize| query.get(name).map_or(default, |text| text.parse().unwrap());
    let (offset, limit) = (number("offset", 0), number("limit", 50));
    assert!((1..=200).contains(&limit), "the vendor gives 200 at most");
    let fault = app.note(At::Components, format!("{offset} {limit}"));
    if let Some(answer) = failed(fault.as_ref()).or(app.check_token(&headers)) {
        return answer;
    }
    let told = app.script.lock().unwrap().total;
    let Some(Metrics { items, page_items_max, overlap }) = app.script.lock().unwrap().metrics.clone() else {
        let message = format!("Task execution with ID '{run}' not found.");
        return json_answer(404, &json!({"status": 404, "message": message, "requestId": "r"}));
    };
    let page: Vec<&Value> = items.iter().skip(offset.saturating_sub(overlap)).take(limit.min(page_items_max)).collect();
    json_answer(
        200,
        &json!({
            "engine_id": "engine-of-metrics", "workspace_id": "61273932d0366133d05729b7", "task_id": TASK,
            "task_execution_id": run, "artifact_id": "612739e79a0ac71b8f3ed4db", "artifact_version": "0.1.0",
            "start_time": "2021-08-26T06:53:30.127Z", "rows_rejected": 1, "operator": "admin", "operator_type": "HUMAN",
            "processes": [{"process_id": "j", "job_name": "Main", "pid": "p", "father_pid": "p", "root_pid": "p"}],
            "metrics": {"items": page, "limit": limit, "offset": offset, "total": told.unwrap_or(items.len())}
        }),
    )
}

async fn executions(
    State(app): App,
    Path(task): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Answer {
    let (at, items) = if task == TASK { (At::List, vec![app.said()]) } else { (At::OtherList, Vec::new()) };
    let mut body = json!({"items": items, "limit": 100, "offset": 0, "total": items.len()});
    if let Script { short_list: Some((runs, page_runs)), total, .. } = &*app.script.lock().unwrap() {
        let number = |name: &str, default: usize| query.get(name).map_or(default, |text| text.parse().unwrap());
        let page: Vec<_> = runs.iter().skip(number("offset", 0)).take(number("limit", 100).min(*page_runs)).collect();
        body = match total {
            Some(total) => json!({ "items": page, "total": total }),
            None => json!({ "items": page }),
        };
    }
    let fault = app.note(at, String::new());
    if let Some(Fault::Hang) = fault {
        std::future::pending::<()>().await;
    }
    failed(fault.as_ref()).or(app.check_token(&headers)).unwrap_or_else(|| json_answer(200, &body))
}

/// The runs of all tasks.
async fn all_executions(State(app): App, Query(query): Query<HashMap<String, String>>, headers: HeaderMap) -> Answer {
    let body = json!({"items": [app.said()], "limit": 100, "offset": 0, "total": 1});
    let bound = |name: &str| query.get(name).cloned().unwrap_or_default();
    let fault = app.note(At::List, format!("{} {}", bound("from"), bound("to")));
    failed(fault.as_ref()).or(app.check_token(&headers)).unwrap_or_else(|| json_answer(200, &body))
}

/// A page of the plan executions that overlap the window. As the vendor's OpenAPI file describes it, with its bounds.
async fn plans(State(app): App, Query(query): Query<HashMap<String, String>>, headers: HeaderMap) -> Answer {
    let number = |name: &str, default: i64| query.get(name).map_or(default, |text| text.parse().unwrap());
    let (limit, offset) = (number("limit", 100), number("offset", 0));
    let (from, to) = (number("from", 0), number("to", i64::MAX));
    assert!((1..=100).contains(&limit) && offset <= 1_000 && to - from <= 10 * 86_400_000, "{query:?}");
    let place = ["environmentId", "workspaceId"].map(|name| query.get(name).cloned().unwrap_or_default()).concat();
    let fault = app.note(At::Plans, format!("{offset} {place}"));
    if let Some(answer) = failed(fault.as_ref()).or(app.check_token(&headers)) {
        return answer;
    }
    let script = app.script.lock().unwrap();
    let started = |plan: &Value| match plan["startTimestamp"].as_str() {
        Some(text) => text.parse::<Timestamp>().unwrap().as_millis(),
        None => plan["startTimestamp"].as_i64().unwrap(),
    };
    let found: Vec<&Value> = script.plans.iter().filter(|plan| (from..=to).contains(&started(plan))).collect();
    let page: Vec<&&Value> = found.iter().skip(offset as usize).take(limit as usize).collect();
    json_answer(200, &json!({"items": page, "limit": limit, "offset": offset, "total": found.len()}))
}

/// A page of the audit logs of the tenant, newest first. As the vendor's OpenAPI file describes it, with its bounds, and
/// as a service that refuses pages behind the 10,000th entry.
async fn audit_logs(State(app): App, Query(query): Query<HashMap<String, String>>, headers: HeaderMap) -> Answer {
    let number = |name: &str, default: usize| query.get(name).map_or(default, |text| text.parse().unwrap());
    let (page, size) = (number("page", 1), number("size", 100));
    let time = |name: &str| query.get(name).map(|text| text.parse::<Timestamp>().unwrap());
    let now = app.time.now();
    let from = time("fromDate").unwrap_or(now).max(now.plus_millis(-31 * 86_400_000));
    let to = time("toDate").unwrap_or(now).min(now);
    let fault = app.note(At::AuditLogs, format!("{from} {to} {page} {size}"));
    if let Some(answer) = failed(fault.as_ref()).or(app.check_token(&headers)) {
        return answer;
    }
    if !(1..=1_000).contains(&size) || page < 1 || page * size > 10_000 || from > to {
        return json_answer(400, &json!({"status": 400, "message": "Wrong parameter format"}));
    }
    let asked = app.seen.lock().unwrap().iter().filter(|(at, _)| *at == At::AuditLogs).count();
    let mut script = app.script.lock().unwrap();
    let (come, later) = std::mem::take(&mut script.audit_logs_meanwhile).into_iter().partition(|(at, _)| *at <= asked);
    script.audit_logs_meanwhile = later;
    let come: Vec<(usize, Value)> = come;
    script.audit_logs.extend(come.into_iter().map(|(_, entry)| entry));
    let at = |entry: &Value| entry["timestamp"].as_str().unwrap().parse::<Timestamp>().unwrap();
    let mut found: Vec<&Value> = script.audit_logs.iter().filter(|entry| (from..=to).contains(&at(entry))).collect();
    let order = |entry: &Value| {
        let id = entry["logId"].as_str().unwrap_or_default().to_owned();
        if script.has_unsteady_order && asked % 2 == 0 { id.chars().rev().collect() } else { id }
    };
    found.sort_by_key(|entry| std::cmp::Reverse((at(entry), order(entry))));
    let pages = found.len().div_ceil(size);
    let items: Vec<&&Value> = found.iter().skip((page - 1) * size).take(size).collect();
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("page-first", (page == 1).to_string()),
        ("page-last", (page >= pages).to_string()),
        ("page-number", page.to_string()),
        ("page-total-elements", items.len().to_string()),
        ("total-elements", found.len().to_string()),
        ("total-pages", pages.to_string()),
    ];
    answer(200, &headers, json!(items).to_string())
}

async fn plan_part(State(app): App, uri: axum::http::Uri, headers: HeaderMap) -> Answer {
    let fault = app.note(At::PlanParts, uri.path().to_owned());
    if let Some(answer) = failed(fault.as_ref()).or(app.check_token(&headers)) {
        return answer;
    }
    match app.script.lock().unwrap().plan_parts.get(uri.path()) {
        Some(part) => json_answer(200, part),
        None => json_answer(404, &json!({"status": 404, "message": "not found"})),
    }
}

async fn tasks(State(app): App, headers: HeaderMap) -> Answer {
    let environment = json!({"id": "a".repeat(24), "name": "here", "default": true});
    let workspace =
        json!({"id": "b".repeat(24), "name": "here", "owner": "o", "type": "shared", "environment": environment});
    let item = json!({"executable": TASK, "name": "nightly", "workspace": workspace});
    failed(app.note(At::Tasks, String::new()).as_ref())
        .or(app.check_token(&headers))
        .unwrap_or_else(|| json_answer(200, &json!({"items": [item], "limit": 100, "offset": 0, "total": 1})))
}

/// A single task.
async fn task(State(app): App, headers: HeaderMap) -> Answer {
    if let Some(answer) = failed(app.note(At::Task, String::new()).as_ref()).or(app.check_token(&headers)) {
        return answer;
    }
    match &app.script.lock().unwrap().task {
        Some(task) => json_answer(200, task),
        None => json_answer(404, &json!({"status": 404, "message": "there is no task"})),
    }
}

/// The runs of the history that have one of the wanted IDs. As the vendor's OpenAPI file describes it.
async fn history(State(app): App, headers: HeaderMap, body: Bytes) -> Answer {
    let search: Value = serde_json::from_slice(&body).unwrap();
    let fault = app.note(At::History, search.to_string());
    if let Some(answer) = failed(fault.as_ref()).or(app.check_token(&headers)) {
        return answer;
    }
    let filter = |name: &str| search["filters"].as_array().unwrap().iter().find(|filter| filter["field"] == name);
    let wanted = filter("id").map(|filter| filter["value"].as_array().unwrap().clone()).unwrap_or_default();
    assert!(wanted.len() <= 200 && search["environmentId"].is_string() && search["exclude"] == "PLAN_EXECUTIONS");
    let script = app.script.lock().unwrap();
    let Some(history) = &script.history else {
        return json_answer(404, &json!({"status": 404, "message": "there is no history"}));
    };
    let of_category = history.get(search["category"].as_str().unwrap()).into_iter().flatten();
    let items: Vec<&Value> = of_category.filter(|item| wanted.contains(&item["id"])).collect();
    json_answer(200, &json!({"items": items, "limit": 200, "offset": 0, "nextPageExists": false}))
}

/// The answer with the time by the clock of the service.
async fn dated(State(app): App, mut answer: Answer) -> Answer {
    let now_ms = app.time.now().as_millis() - app.script.lock().unwrap().clock_behind_ms;
    let date = jiff::Timestamp::from_millisecond(now_ms).unwrap().strftime("%a, %d %b %Y %H:%M:%S GMT");
    answer.headers_mut().insert(header::DATE, date.to_string().parse().unwrap());
    answer
}

struct Wanted {
    start: i64,
    end: i64,
}

fn wanted(query: &HashMap<String, String>, cut: Cut) -> Wanted {
    let time = |name: &str| query.get(name).map(|text| text.parse::<Timestamp>().unwrap().as_millis());
    let outside = i64::from(cut == Cut::MiddleOutside);
    Wanted { start: time("startTime").unwrap_or(i64::MIN), end: time("endTime").map_or(i64::MAX, |end| end - outside) }
}

fn in_range(script: &Script, wanted: &Wanted) -> Vec<(i64, String)> {
    let inside = |record: &&(i64, String)| (wanted.start..=wanted.end).contains(&record.0);
    let mut records: Vec<_> = script.log.iter().filter(inside).cloned().collect();
    records.sort_by_key(|record| record.0);
    records.reverse();
    records
}

/// Returns the number of newest records in the page, and the next end.
fn cut(script: &Script, newest_first: &[(i64, String)]) -> (usize, Option<String>) {
    let limit = usize::try_from(script.limit).unwrap();
    if script.cut == Cut::Exact {
        let mut cutter = PageCutter::new(script.limit);
        for record in newest_first {
            if let Some(page) = cutter.take(Timestamp::clamped(record.0), 1) {
                return (usize::try_from(page.records).unwrap(), page.end.next_end_text());
            }
        }
        return match cutter.complete().end {
            PageEnd::Complete => (newest_first.len(), None),
            PageEnd::Partial { .. } => unreachable!("a complete page is complete"),
        };
    }
    if newest_first.len() <= limit {
        return (newest_first.len(), None);
    }
    let last = Timestamp::clamped(newest_first[limit - 1].0);
    let text = if script.cut == Cut::WholeSeconds { last.to_seconds_text() } else { last.to_string() };
    (limit, Some(text))
}

fn file_of(script: &Script, page: &[(i64, String)]) -> Vec<u8> {
    let mut lines: Vec<String> = page.iter().map(line).collect();
    if !script.newest_first {
        lines.reverse();
    }
    let plain = match script.form {
        FileForm::Lines => lines.iter().map(|line| format!("{line}\n")).collect(),
        FileForm::Envelope => format!("{{\"size\": {}, \"data\": [{}]}}", lines.len(), lines.join(", ")),
        _ => format!("[\n{}\n]\n", lines.join(",\n")),
    };
    match script.form {
        FileForm::Gzip | FileForm::GzipWithoutHeader => {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(plain.as_bytes()).unwrap();
            packed.finish().unwrap()
        }
        FileForm::Zstd | FileForm::ZstdWithoutHeader => zstd::encode_all(plain.as_bytes(), 1).unwrap(),
        FileForm::Deflate => {
            let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(plain.as_bytes()).unwrap();
            packed.finish().unwrap()
        }
        _ => script.replaced.iter().fold(plain.into_bytes(), |bytes, (from, to)| replaced(&bytes, from, to)),
    }
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|found| found == from) {
        all.extend_from_slice(&rest[..at]);
        all.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    [all.as_slice(), rest].concat()
}

async fn generate(
    State(app): App,
    Path(_): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Answer {
    let fault = app.note(At::Generate, query.get("endTime").cloned().unwrap_or_default());
    if let Some(answer) = failed(fault.as_ref()).or(app.check_token(&headers)) {
        return answer;
    }
    let script = app.script.lock().unwrap();
    app.time.0.fetch_add(script.generate_ms, Ordering::SeqCst);
    let mut records = in_range(&script, &wanted(&query, script.cut));
    if let Some(Fault::Late(count)) = fault {
        records.drain(..count.min(records.len()));
    }
    let (count, next_end) = cut(&script, &records);
    let token = format!("page-{}", app.pages.lock().unwrap().len());
    let file = file_of(&script, &records[..count]);
    let size = if script.size_is_bytes { file.len() } else { count };
    app.pages.lock().unwrap().insert(token.clone(), file);
    let body = json!({"size": size.to_string(), "token": token});
    let mut answer = json_answer(if next_end.is_some() { 206 } else { 200 }, &body);
    if matches!(fault, Some(Fault::Unsettled)) {
        answer.headers_mut().insert("x-runlog-log-settled", "false".parse().unwrap());
    }
    if let Some(Fault::Counted(records)) = fault {
        answer.headers_mut().insert("x-runlog-log-settled", "true".parse().unwrap());
        answer.headers_mut().insert("x-runlog-log-records", records.into());
    }
    let next_end = match fault {
        Some(Fault::NextEnd(text)) => text.map(str::to_owned),
        _ => next_end,
    };
    if let Some(text) = next_end {
        answer.headers_mut().insert("X-Log-Next-Request-End-Time", text.parse().unwrap());
    }
    answer
}

async fn status(State(app): App, headers: HeaderMap, body: Bytes) -> Answer {
    let sent = String::from_utf8(body.to_vec()).unwrap();
    let fault = app.note(At::Status, sent.clone());
    if let Some(answer) = failed(fault.as_ref()).or(app.check_token(&headers)) {
        return answer;
    }
    let token = sent.trim_matches('"').to_owned();
    if !app.pages.lock().unwrap().contains_key(&token) {
        return json_answer(404, &json!({"status": 404, "message": "unknown token"}));
    }
    match fault {
        Some(Fault::Word(word)) => json_answer(200, &json!({ "status": word })),
        Some(Fault::Link(link)) => json_answer(200, &json!({"status": "READY", "presignedURL": link})),
        _ => {
            let link = format!("http://{}/files/{token}?signature={SECRET}", app.address);
            json_answer(200, &json!({"status": "READY", "presignedURL": link}))
        }
    }
}

async fn file(State(app): App, Path(key): Path<String>, headers: HeaderMap) -> Answer {
    assert!(!headers.contains_key(header::AUTHORIZATION), "a link is followed without a token");
    let range = headers.get(header::RANGE).map(|range| range.to_str().unwrap().to_owned()).unwrap_or_default();
    let fault = app.note(At::File, range.clone());
    if let Some(Fault::Hang) = fault {
        std::future::pending::<()>().await;
    }
    if let Some(answer) = failed(fault.as_ref()) {
        return answer;
    }
    let bytes = app.pages.lock().unwrap()[&key].clone();
    let script = app.script.lock().unwrap();
    let length = bytes.len();
    let start: Option<usize> = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-')?.parse().ok());
    let start = start.filter(|_| script.takes_ranges);
    let mut answered = match start {
        None => answer(200, &[], bytes[..].to_vec()),
        Some(start) => {
            let range = format!("bytes {start}-{}/{length}", length - 1);
            answer(206, &[("content-range", range)], bytes[start..].to_vec())
        }
    };
    let whole = bytes[start.unwrap_or(0)..].to_vec();
    match fault {
        Some(Fault::CutAfter(count)) => {
            let left = whole.len();
            let first = futures::stream::iter([Ok(whole[..count.min(left)].to_vec())]);
            // The data sent so far is flushed before the connection is closed.
            let broken = futures::stream::once(async {
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
                Err(std::io::Error::other("cut"))
            });
            *answered.body_mut() = Body::from_stream(futures::StreamExt::chain(first, broken));
            answered.headers_mut().insert(header::CONTENT_LENGTH, left.into());
        }
        Some(Fault::CutWithoutHeader(count)) => *answered.body_mut() = Body::from(whole[..count].to_vec()),
        Some(Fault::Bomb) => {
            let zeros = vec![b' '; 200 << 20];
            *answered.body_mut() = Body::from(zstd::encode_all(zeros.as_slice(), 1).unwrap());
            answered.headers_mut().insert(header::CONTENT_ENCODING, "zstd".parse().unwrap());
        }
        _ => {}
    }
    let label = match script.form {
        FileForm::Gzip => Some("gzip"),
        FileForm::Zstd => Some("zstd"),
        FileForm::Deflate => Some("deflate"),
        _ => script.label,
    };
    if let Some(label) = label {
        answered.headers_mut().insert(header::CONTENT_ENCODING, label.parse().unwrap());
    }
    match script.form {
        FileForm::Gzip | FileForm::Zstd | FileForm::Deflate => None,
        _ => answered.headers_mut().insert(header::ETAG, format!("\"{key}\"").parse().unwrap()),
    };
    answered
}

async fn live(State(app): App, Query(query): Query<HashMap<String, String>>, headers: HeaderMap) -> Answer {
    if let Some(answer) = failed(app.note(At::Live, String::new()).as_ref()).or(app.check_token(&headers)) {
        return answer;
    }
    let script = app.script.lock().unwrap();
    let inside = in_range(&script, &wanted(&query, script.cut));
    let number = |name: &str| query.get(name).map_or(0, |text| text.parse::<usize>().unwrap());
    let shown = inside.iter().skip(number("startIndex")).take(number("count").min(script.live_records));
    let data: Vec<Value> = shown.map(|record| serde_json::from_str(&line(record)).unwrap()).collect();
    let (size, total) = (data.len(), script.log.len());
    let mut body =
        json!({"size": size, "totalSize": total, "totalSizeFiltered": inside.len(), "nextIndex": null, "data": data});
    (script.live_body)(&mut body);
    json_answer(200, &body)
}

/// A response with this status.
pub(crate) fn status_fault(status: StatusCode, headers: &[(&'static str, &str)]) -> Fault {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Fault::Answer(
        status.as_u16(),
        headers,
        json!({"status": status.as_u16(), "message": "as the script has it"}).to_string(),
    )
}
