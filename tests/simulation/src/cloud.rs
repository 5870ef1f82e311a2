//! An upstream that behaves like Talend Cloud, with faults. It receives the requests of the real client of collectors.
//!
//! Its lists are by time of trigger, newest first, and show runs late; a log grows until some time after the end of its
//! run, or does not exist; a page holds the newest records of a range, is built for a while, and its header is cut down to
//! seconds; links, page tokens and access tokens expire; each group of the API has a limit per second and per minute, and
//! answers 429 beyond it. While there are faults, requests and answers are lost, fail, hang, and break off.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chrono::DateTime;
use futures::future::BoxFuture;
use futures::stream;
use http::StatusCode;
use reqwest::{Request, Response};
use runlog_client::{Error, ErrorKind, GroupPaces, Pace, SimulatedNetwork};
use runlog_model::{Random, RunId, Timestamp};
use serde_json::{Value, json};
use url::Url;

use crate::audit_logs::{AuditLog, AuditProfile};
use crate::locked;
use crate::schedule::{Kind, Schedule};
use crate::seed::{NodeRandom, Numbers};

/// The address of its API.
pub(crate) const BASE: &str = "https://api.cloud.example";
const HOUR_MS: i64 = 3_600_000;
/// Lifetime of a page. Source: the guide.
const PAGE_LIFE_MS: i64 = HOUR_MS;
/// Lifetime of an access token. Source: the guide.
const TOKEN_LIFE_MS: i64 = HOUR_MS / 2;
/// Maximum time without a heartbeat before the other collectors take over the share of a collector. Unit: milliseconds.
const HEARTBEAT_MS_MAX: i64 = 14_000;
/// Maximum number of runs that begin within some seconds. A collector can list at least this number.
pub(crate) const RUNS_TOGETHER_MAX: usize = 4;
/// Number of tasks, and how many of them its list contains.
const TASKS: usize = 3;
const TASKS_SHOWN: usize = 2;
/// Share of upstreams that have audit logs to collect.
const AUDIT_PER_MILLE: usize = 600;

/// The properties of the upstream.
#[derive(Debug, Clone)]
pub(crate) struct CloudProfile {
    /// Maximum number of records per page.
    page_records: usize,
    /// Maximum number of items per list.
    list_items: usize,
    /// Its limits, which clients know.
    pub(crate) paces: GroupPaces,
    /// Lifetime of a link. Unit: milliseconds.
    link_life_ms: i64,
    /// Maximum delay with which a record appears. Unit: milliseconds.
    lag_ms_max: i64,
    /// Maximum delay after its trigger with which a run appears in lists. Unit: milliseconds.
    late_ms_max: i64,
    /// Maximum delay after the end of a run with which its log appears. Unit: milliseconds.
    log_late_ms_max: i64,
    /// Share of requests that fail. Unit: per mille.
    faults: usize,
    /// The audit logs of its tenant, in some deployments.
    audit: Option<AuditProfile>,
}

impl CloudProfile {
    /// If clocks are wrong, a collector cannot determine when a log has settled, so records are not late then.
    pub(crate) fn of(numbers: &mut Numbers, skew_ms: i64) -> Self {
        let pace = |numbers: &mut Numbers| Pace {
            per_second: [2, 5, 10][numbers.below(3)],
            per_minute: [20, 60, 600][numbers.below(3)],
        };
        // Audit logs use separate random numbers, so that deployments without them do not change.
        let mut more = Numbers::new(numbers.clone().next() ^ 0xa0d1);
        let audit = (skew_ms == 0 && more.chance(AUDIT_PER_MILLE)).then(|| AuditProfile::of(&mut more));
        Self {
            audit,
            page_records: [3, 6, 20][numbers.below(3)],
            list_items: [3, 4, 100][numbers.below(3)],
            paces: GroupPaces {
                monitoring: pace(numbers),
                processing: pace(numbers),
                orchestration: pace(numbers),
                audit_logs: Pace { per_second: 1, per_minute: 60 },
                other: Pace { per_second: 10, per_minute: 600 },
            },
            link_life_ms: [2_000, 60_000, HOUR_MS][numbers.below(3)],
            lag_ms_max: if skew_ms == 0 { [0, 5_000, 25_000][numbers.below(3)] } else { 0 },
            late_ms_max: [0, 20_000, 200_000][numbers.below(3)],
            log_late_ms_max: if skew_ms == 0 { [0, 20_000, 80_000][numbers.below(3)] } else { 0 },
            faults: [0, 40, 200][numbers.below(3)],
        }
    }
}

/// A written record: its time, the time at which it appears, and its text.
#[derive(Debug, Clone)]
struct Written {
    ms: i64,
    appears_ms: i64,
    text: String,
}

/// A run, from its trigger to its end.
#[derive(Debug, Clone)]
pub(crate) struct CloudRun {
    pub(crate) id: RunId,
    task: usize,
    triggered_ms: i64,
    pub(crate) ended_ms: i64,
    listed_ms: i64,
    is_good: bool,
    pub(crate) has_log: bool,
    /// The time from which its log exists, possibly without records.
    log_ms: i64,
    records: Vec<Written>,
    /// Number of its component metrics.
    pub(crate) metrics: usize,
    /// Number of times that a collector has reported that its log has landed or does not exist.
    pub(crate) landed: usize,
}

/// An execution of a plan.
#[derive(Debug, Clone)]
pub(crate) struct CloudPlan {
    pub(crate) id: String,
    plan: usize,
    started_ms: i64,
    pub(crate) ended_ms: i64,
    listed_ms: i64,
    pub(crate) steps: usize,
}

/// A requested page.
struct PageOf {
    run: usize,
    start_ms: i64,
    end_ms: i64,
    asked_ms: i64,
    ready_ms: i64,
}

/// The time of a request, and the life of the node that sent it.
type Sent = (i64, usize);

/// A running collector.
#[derive(Debug, Clone, Copy)]
struct AtWork {
    heartbeat_ms: i64,
}

struct State {
    numbers: Numbers,
    has_faults: bool,
    runs: Vec<CloudRun>,
    plans: Vec<CloudPlan>,
    pages: BTreeMap<String, PageOf>,
    /// Links, with their pages and the times at which they were issued.
    links: BTreeMap<String, (String, i64)>,
    /// Access tokens with their expiration times.
    tokens: BTreeMap<String, i64>,
    /// The times of received requests, by group.
    received: [VecDeque<i64>; 5],
    /// The sent requests, by group.
    sent: [VecDeque<Sent>; 5],
    audit: Option<AuditLog>,
    at_work: BTreeMap<usize, AtWork>,
    /// The time at which a collector last started, ended or stopped sending heartbeats.
    unsteady_ms: i64,
}

/// The upstream.
pub(crate) struct Cloud {
    schedule: Schedule,
    profile: CloudProfile,
    /// Whether sent requests can be compared with the limits, because all clocks are correct.
    is_exact: bool,
    state: Mutex<State>,
}

/// The connection of a node to the upstream.
pub(crate) struct CloudNetwork {
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) node: usize,
    /// The number of this life of the node.
    pub(crate) life: usize,
}

/// The fate of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestFault {
    None,
    /// It does not arrive.
    Lost,
    /// The response is 429, 500 or 503.
    Refused(u16),
    /// It takes effect, and the response does not arrive.
    AnswerLost,
    /// There is no response.
    Hangs,
    /// The body of the response is cut off.
    BreaksOff,
    /// The body of the response ends early, as if it were complete.
    EndsEarly,
}

/// An answer.
struct Answered {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl fmt::Debug for CloudNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudNetwork").field("node", &self.node).finish_non_exhaustive()
    }
}

impl SimulatedNetwork for CloudNetwork {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        Box::pin(self.exchange(request))
    }
}

impl CloudNetwork {
    async fn exchange(&self, request: Request) -> Result<Response, Error> {
        let schedule = &self.cloud.schedule;
        let what = format!("{} {}", request.method(), short(request.url().path()));
        let is_file = request.url().path().starts_with("/files/");
        if !is_file {
            self.cloud.count_sent(group_of(request.url()), self.life);
        }
        schedule.gate(self.node, Kind::Message, what.clone()).await;
        let trouble = self.cloud.trouble(is_file);
        match trouble {
            RequestFault::Lost => return Err(away("the connection was refused")),
            RequestFault::Hangs => {
                let time_max =
                    request.timeout().map_or(60_000, |time| i64::try_from(time.as_millis()).unwrap_or(60_000));
                schedule.sleep_until(self.node, schedule.now_ms() + time_max).await;
                return Err(away("it did not respond in time"));
            }
            _ => {}
        }
        let Answered { status, headers, body } = match trouble {
            RequestFault::Refused(status) => refusal(status, locked(&self.cloud.state).numbers.chance(500)),
            _ => self.cloud.answer(&request, is_file),
        };
        let date = http_date(schedule.now_ms());
        schedule.note(|| format!("  the cloud answers {what} with {status} {trouble:?}"));
        schedule.gate(self.node, Kind::Message, format!("{status} of {what}")).await;
        if trouble == RequestFault::AnswerLost {
            return Err(away("the connection was closed"));
        }
        let mut response = http::Response::builder().status(status).header("date", date);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        let body = if is_file && status < 300 { self.slowly(body, trouble) } else { reqwest::Body::from(body) };
        response.body(body).map(Response::from).map_err(|error| away(&error.to_string()))
    }

    /// Returns a body that arrives in pieces, and may be cut off.
    fn slowly(&self, body: Vec<u8>, trouble: RequestFault) -> reqwest::Body {
        let (schedule, node) = (self.cloud.schedule.clone(), self.node);
        let (most, pieces) = {
            let mut state = locked(&self.cloud.state);
            let is_whole = !matches!(trouble, RequestFault::BreaksOff | RequestFault::EndsEarly);
            let most = if is_whole { body.len() } else { state.numbers.below(body.len()) };
            (most, 1 + state.numbers.below(3))
        };
        let size = (most / pieces).max(1);
        let mut parts: VecDeque<Result<Bytes, std::io::Error>> =
            body[..most].chunks(size).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
        if trouble == RequestFault::BreaksOff {
            parts.push_back(Err(std::io::ErrorKind::ConnectionReset.into()));
        }
        reqwest::Body::wrap_stream(stream::unfold(parts, move |mut parts| {
            let schedule = schedule.clone();
            async move {
                let part = parts.pop_front()?;
                schedule.gate(node, Kind::Message, "bytes of a page").await;
                Some((part, parts))
            }
        }))
    }
}

impl Cloud {
    pub(crate) fn new(schedule: Schedule, profile: CloudProfile, numbers: Numbers, is_exact: bool) -> Self {
        let audit_numbers = Numbers::new(numbers.clone().next() ^ 0xa0d1);
        let state = State {
            audit: profile.audit.clone().map(|profile| AuditLog::new(profile, audit_numbers, schedule.now_ms())),
            numbers,
            has_faults: false,
            runs: Vec::new(),
            plans: Vec::new(),
            pages: BTreeMap::new(),
            links: BTreeMap::new(),
            tokens: BTreeMap::new(),
            received: Default::default(),
            sent: Default::default(),
            at_work: BTreeMap::new(),
            unsteady_ms: i64::MIN,
        };
        Self { schedule, profile, is_exact, state: Mutex::new(state) }
    }

    pub(crate) fn paces(&self) -> GroupPaces {
        self.profile.paces
    }

    pub(crate) fn set_faults(&self, has_faults: bool) {
        locked(&self.state).has_faults = has_faults;
    }

    /// Whether it has audit logs, for its collectors.
    pub(crate) fn has_audit_logs(&self) -> bool {
        self.profile.audit.is_some()
    }

    /// The entries of its audit logs, by their ids; `None` if it has none.
    pub(crate) fn audit_entries(&self) -> Option<BTreeMap<String, Value>> {
        locked(&self.state).audit.as_ref().map(AuditLog::entries)
    }

    /// The time at which its audit logs contain every registered entry. Unit: epoch milliseconds.
    pub(crate) fn audit_is_final_at_ms(&self) -> Option<i64> {
        locked(&self.state).audit.as_ref()?.is_final_at_ms()
    }

    /// Starts some runs, and possibly an execution of a plan.
    pub(crate) fn trigger(&self, runs_max: usize) {
        let now_ms = self.schedule.now_ms();
        let mut state = locked(&self.state);
        if let Some(audit) = &mut state.audit {
            audit.register(now_ms);
        }
        let count = 1 + state.numbers.below(4);
        for index in 0..count {
            // A list for one second that is too long cannot be divided any more.
            let is_recent = |run: &&CloudRun| run.triggered_ms > now_ms - 3_000;
            let recent = state.runs.iter().filter(is_recent).count();
            if state.runs.len() >= runs_max || recent >= RUNS_TOGETHER_MAX {
                break;
            }
            let run = self.new_run(&mut state.numbers, now_ms - i64::try_from(index).unwrap_or_default() * 7);
            self.schedule.note(|| format!("run {} begins: {} records", run.id, run.records.len()));
            state.runs.push(run);
        }
        if state.numbers.chance(600) && state.plans.len() < runs_max / 2 {
            let numbers = &mut state.numbers;
            let started_ms = now_ms - numbers.between(0, 1_000);
            let plan = CloudPlan {
                id: random_id(numbers).to_string(),
                plan: numbers.below(2),
                started_ms,
                ended_ms: started_ms + numbers.between(0, 600_000),
                listed_ms: started_ms + numbers.between(0, self.profile.late_ms_max),
                steps: numbers.below(4),
            };
            state.plans.push(plan);
        }
    }

    fn new_run(&self, numbers: &mut Numbers, triggered_ms: i64) -> CloudRun {
        let lasts_ms = [0, 1_000, 60_000, 1_200_000][numbers.below(4)];
        let count = [0, 1, 2, 7, 25, 60][numbers.below(6)];
        let per_second = (self.profile.page_records / 3).max(1);
        let (mut records, mut ms) = (Vec::new(), triggered_ms);
        let mut in_second = 0;
        for number in 0..count {
            let step_ms = [0, 1, 3, 400, 2_000][numbers.below(5)];
            in_second += 1;
            // A page that holds no more than a second cannot be told from the next one by a header of whole seconds.
            if in_second >= per_second {
                ms = ms.div_euclid(1_000) * 1_000 + 2_000;
                in_second = 0;
            }
            ms += step_ms;
            let text = if numbers.chance(50) { "the same again".to_owned() } else { format!("line {number}") };
            let appears_ms = ms + numbers.between(0, self.profile.lag_ms_max);
            records.push(Written { ms, appears_ms, text });
        }
        // A client that fetches a log too early cannot detect that its end is missing.
        if let Some(last) = records.last_mut()
            && numbers.chance(500)
        {
            last.appears_ms = last.ms + self.profile.lag_ms_max;
        }
        let ended_ms = ms.max(triggered_ms + lasts_ms);
        CloudRun {
            id: random_id(numbers),
            task: numbers.below(TASKS),
            triggered_ms,
            ended_ms,
            listed_ms: triggered_ms + numbers.between(0, self.profile.late_ms_max),
            is_good: numbers.chance(700),
            has_log: count > 0 || numbers.chance(500),
            log_ms: if numbers.chance(500) { 0 } else { ended_ms + numbers.between(0, self.profile.log_late_ms_max) },
            records,
            metrics: [0, 0, 1, 3, 7, 9][numbers.below(6)],
            landed: 0,
        }
    }

    /// Its runs.
    pub(crate) fn runs(&self) -> Vec<CloudRun> {
        locked(&self.state).runs.clone()
    }

    /// Its plan executions.
    pub(crate) fn plans(&self) -> Vec<CloudPlan> {
        locked(&self.state).plans.clone()
    }

    /// Notes that a collector reports a run as landed. Unit of `records`: records of its log; `None` if it has none.
    pub(crate) fn note_landed(&self, id: RunId, records: Option<u64>) {
        let mut state = locked(&self.state);
        let Some(run) = state.runs.iter_mut().find(|run| run.id == id) else {
            drop(state);
            return self.schedule.violation(format!("run {id} has landed, and the upstream does not know it"));
        };
        run.landed += 1;
        let (times, expected) = (run.landed, run.records.len() as u64);
        let is_whole = records.unwrap_or(0) == expected;
        drop(state);
        if times > 1 && self.is_exact {
            self.schedule.violation(format!("run {id} of the upstream landed {times} times"));
        }
        if !is_whole {
            self.schedule.violation(format!("run {id} landed with {records:?} records instead of {expected}"));
        }
    }

    /// Notes a heartbeat of the collector of this life of a node.
    pub(crate) fn note_heartbeat(&self, life: usize) {
        let now_ms = self.schedule.now_ms();
        let mut state = locked(&self.state);
        let before = state.at_work.insert(life, AtWork { heartbeat_ms: now_ms });
        if before.is_none_or(|before| now_ms - before.heartbeat_ms > HEARTBEAT_MS_MAX) {
            state.unsteady_ms = now_ms;
        }
    }

    /// Notes that a collector has ended, with or without a notice.
    pub(crate) fn note_gone(&self, life: usize) {
        let now_ms = self.schedule.now_ms();
        let mut state = locked(&self.state);
        if state.at_work.remove(&life).is_some() {
            state.unsteady_ms = now_ms;
        }
    }

    /// Counts a request when it is sent: neither a single collector nor, once they have discovered each other, all of
    /// them together may exceed the limits.
    fn count_sent(&self, group: usize, life: usize) {
        if !self.is_exact {
            return;
        }
        let now_ms = self.schedule.now_ms();
        let pace = self.pace(group);
        let mut state = locked(&self.state);
        let state = &mut *state;
        state.sent[group].push_back((now_ms, life));
        while state.sent[group].front().is_some_and(|(ms, _)| *ms <= now_ms - 60_000) {
            state.sent[group].pop_front();
        }
        let sent = &state.sent[group];
        let own = |window_ms: i64| sent.iter().filter(|(ms, of)| *of == life && *ms > now_ms - window_ms).count();
        let (own_second, own_minute, all_minute) = (own(1_000), own(60_000), sent.len());
        if state.at_work.values().any(|at| now_ms - at.heartbeat_ms > HEARTBEAT_MS_MAX) {
            state.unsteady_ms = now_ms;
        }
        let (sharers, is_steady) = (state.at_work.len(), now_ms - state.unsteady_ms > 61_000);
        let name = GROUPS[group];
        if own_second > pace.per_second || own_minute > pace.per_minute {
            self.schedule.violation(format!(
                "{own_second} requests to {name} in a second and {own_minute} in a minute by one collector, of {pace:?}"
            ));
        }
        // A share is at least one request.
        if is_steady && all_minute > pace.per_minute.max(sharers) {
            self.schedule.violation(format!(
                "{all_minute} requests to {name} in a minute by {sharers} collectors, of {pace:?} together"
            ));
        }
    }

    fn pace(&self, group: usize) -> Pace {
        let GroupPaces { monitoring, processing, orchestration, audit_logs, other } = self.profile.paces;
        [monitoring, processing, orchestration, other, audit_logs][group]
    }

    fn trouble(&self, is_file: bool) -> RequestFault {
        let mut state = locked(&self.state);
        if !state.has_faults || !state.numbers.chance(self.profile.faults) {
            return RequestFault::None;
        }
        match state.numbers.below(if is_file { 9 } else { 7 }) {
            0 => RequestFault::Lost,
            1 => RequestFault::AnswerLost,
            2 => RequestFault::Hangs,
            3 | 4 => RequestFault::Refused(429),
            5 => RequestFault::Refused(500),
            6 => RequestFault::Refused(503),
            7 => RequestFault::BreaksOff,
            _ => RequestFault::EndsEarly,
        }
    }

    fn answer(&self, request: &Request, is_file: bool) -> Answered {
        let url = request.url();
        let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        let path: Vec<&str> = url.path().trim_matches('/').split('/').collect();
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let now_ms = self.schedule.now_ms();
        if is_file {
            return self.file(path[1], now_ms);
        }
        let group = group_of(url);
        if self.is_over_limit(group, now_ms) {
            return refusal(429, false);
        }
        let method = request.method().as_str();
        if let ("POST", ["security", "oauth", "token"]) = (method, path.as_slice()) {
            return self.give_token(now_ms);
        }
        let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let token = authorization.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
        if locked(&self.state).tokens.get(token).is_none_or(|until_ms| now_ms >= *until_ms) {
            return json_answer(401, &json!({ "status": 401 }));
        }
        let state = &mut *locked(&self.state);
        let find = |state: &State, id: &str| {
            state.runs.iter().position(|run| run.id.to_string() == id && run.triggered_ms <= now_ms)
        };
        match (method, path.as_slice()) {
            ("GET", ["security", "audit", "logs"]) => {
                let is_busy = state.has_faults;
                let Some(audit) = &mut state.audit else { return unknown() };
                let (headers, items) = audit.page(&query, now_ms, is_busy);
                let mut answered = json_answer(200, &items);
                answered.headers.extend(headers);
                answered
            }
            ("GET", ["orchestration", "executables", "tasks"]) => {
                let items: Vec<Value> = (0..TASKS_SHOWN).map(task).collect();
                json_answer(200, &json!({ "items": items, "limit": 100, "offset": 0, "total": items.len() }))
            }
            ("GET", ["orchestration", "executables", "tasks", id]) => {
                let found = (0..TASKS_SHOWN).map(task).find(|task| task["executable"] == *id);
                found.map_or_else(unknown, |task| json_answer(200, &task))
            }
            ("GET", ["orchestration", "executables", "plans", id]) => json_answer(
                200,
                &json!({ "executable": id, "name": format!("plan {id}"), "workspace": workspace(), "steps": [] }),
            ),
            ("GET", ["processing", "executables", "tasks", "executions"]) => {
                let shown = state.runs.iter().filter(|run| run.listed_ms <= now_ms);
                let shown: Vec<(i64, Value)> = shown.map(|run| (run.triggered_ms, said(run, now_ms))).collect();
                self.list(shown, &query)
            }
            ("GET", ["processing", "executables", "plans", "executions"]) => {
                let shown = state.plans.iter().filter(|plan| plan.listed_ms <= now_ms);
                let shown: Vec<(i64, Value)> = shown.map(|plan| (plan.started_ms, plan_said(plan, now_ms))).collect();
                self.list(shown, &query)
            }
            ("GET", ["processing", "executions", "plans", id, rest @ ..]) => {
                let plan = state.plans.iter().find(|plan| plan.id == *id);
                plan.and_then(|plan| plan_part(plan, rest, now_ms)).map_or_else(unknown, |part| json_answer(200, &part))
            }
            ("GET", ["processing", "executions", id]) => {
                find(state, id).map_or_else(unknown, |run| json_answer(200, &said(&state.runs[run], now_ms)))
            }
            ("POST", ["monitoring", "observability", "executions", "search"]) => {
                json_answer(200, &history(state, body, now_ms))
            }
            ("POST", ["monitoring", "executions", id, "logs"]) => match find(state, id) {
                Some(run) if state.runs[run].shows_log(now_ms) => self.generate(state, run, &query, now_ms),
                _ => unknown(),
            },
            ("POST", ["monitoring", "executions", _, "logs", "status"]) => {
                let token = String::from_utf8_lossy(body).trim_matches('"').to_owned();
                self.page_status(state, &token, now_ms)
            }
            ("GET", ["monitoring", "executions", id, "logs"]) => match find(state, id) {
                Some(run) if state.runs[run].shows_log(now_ms) => live(&state.runs[run], &query, now_ms),
                _ => unknown(),
            },
            ("GET", ["monitoring", "observability", "executions", id, "component"]) => match find(state, id) {
                Some(run) if state.runs[run].ended_ms + 5_000 <= now_ms && state.runs[run].metrics > 0 => {
                    self.components(state, run, &query)
                }
                _ => unknown(),
            },
            _ => {
                self.schedule.violation(format!("a request that the upstream does not know: {method} {}", url.path()));
                unknown()
            }
        }
    }

    fn is_over_limit(&self, group: usize, now_ms: i64) -> bool {
        let pace = self.pace(group);
        let mut state = locked(&self.state);
        let received = &mut state.received[group];
        while received.front().is_some_and(|ms| *ms <= now_ms - 60_000) {
            received.pop_front();
        }
        let in_second = received.iter().filter(|ms| **ms > now_ms - 1_000).count();
        if in_second >= pace.per_second || received.len() >= pace.per_minute {
            return true;
        }
        received.push_back(now_ms);
        false
    }

    fn give_token(&self, now_ms: i64) -> Answered {
        let mut state = locked(&self.state);
        let token = random_id(&mut state.numbers).to_string();
        // A token may be revoked before it expires.
        let life_ms = if state.has_faults && state.numbers.chance(100) { 5_000 } else { TOKEN_LIFE_MS };
        state.tokens.insert(token.clone(), now_ms + life_ms);
        json_answer(200, &json!({ "access_token": token, "expires_in": TOKEN_LIFE_MS / 1_000, "token_type": "Bearer" }))
    }

    fn list(&self, mut shown: Vec<(i64, Value)>, query: &BTreeMap<String, String>) -> Answered {
        let number =
            |name: &str, otherwise: i64| query.get(name).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
        let (limit, offset) = (number("limit", 100), number("offset", 0));
        let (from_ms, to_ms) = (number("from", 0), number("to", i64::MAX));
        if !(1..=100).contains(&limit) || offset > 1_000 || to_ms - from_ms > 240 * HOUR_MS {
            self.schedule.violation(format!("a list that the upstream does not give: {query:?}"));
            return json_answer(400, &json!({ "status": 400 }));
        }
        shown.retain(|(ms, _)| (from_ms..=to_ms).contains(ms));
        shown.sort_by_key(|(ms, _)| std::cmp::Reverse(*ms));
        let total = shown.len();
        let (offset_items, limit_items) = (usize::try_from(offset).unwrap_or(0), usize::try_from(limit).unwrap_or(0));
        let limit_items = limit_items.min(self.profile.list_items);
        let items: Vec<Value> = shown.into_iter().map(|(_, item)| item).skip(offset_items).take(limit_items).collect();
        json_answer(200, &json!({ "items": items, "limit": limit, "offset": offset, "total": total }))
    }

    fn generate(&self, state: &mut State, run: usize, query: &BTreeMap<String, String>, now_ms: i64) -> Answered {
        let (start_ms, end_ms) = range_of(query);
        let found = records_of(&state.runs[run], start_ms, end_ms, now_ms);
        let page = &found[found.len().saturating_sub(self.profile.page_records)..];
        let token = random_id(&mut state.numbers).to_string();
        let first_ms = page.first().map_or(start_ms, |record| record.ms);
        let is_partial = page.len() < found.len();
        let ready_ms = now_ms + state.numbers.between(0, 3_000);
        let start_ms = if is_partial { first_ms } else { start_ms };
        let body = json!({ "token": token, "size": page.len() });
        state.pages.insert(token, PageOf { run, start_ms, end_ms, asked_ms: now_ms, ready_ms });
        let mut answered = json_answer(if is_partial { 206 } else { 200 }, &body);
        if is_partial {
            // The header is truncated to whole seconds.
            let header = Timestamp::clamped(first_ms).floor_to_second().to_api_text();
            answered.headers.push(("X-Log-Next-Request-End-Time", header));
        }
        answered
    }

    fn page_status(&self, state: &mut State, token: &str, now_ms: i64) -> Answered {
        match state.pages.get(token) {
            Some(page) if now_ms - page.asked_ms < PAGE_LIFE_MS => {
                if page.ready_ms > now_ms {
                    return json_answer(200, &json!({ "status": "IN_PROGRESS" }));
                }
                let link = random_id(&mut state.numbers).to_string();
                let url = format!("{BASE}/files/{link}?X-Signature=hidden");
                state.links.insert(link, (token.to_owned(), now_ms));
                json_answer(200, &json!({ "status": "READY", "presignedURL": url }))
            }
            _ => unknown(),
        }
    }

    fn file(&self, link: &str, now_ms: i64) -> Answered {
        let state = locked(&self.state);
        let Some((token, given_ms)) = state.links.get(link) else { return unknown() };
        if now_ms - given_ms > self.profile.link_life_ms {
            return json_answer(403, &json!({ "message": "Request has expired" }));
        }
        let Some(page) = state.pages.get(token) else { return unknown() };
        // The file contains the records that had appeared when the page was requested.
        let found = records_of(&state.runs[page.run], i64::MIN, page.end_ms, page.asked_ms);
        let found = found.into_iter().filter(|record| record.ms >= page.start_ms);
        let found: Vec<&Written> = found.collect();
        let kept = &found[found.len().saturating_sub(self.profile.page_records)..];
        let items: Vec<Value> = kept.iter().rev().map(|record| line(record)).collect();
        json_answer(200, &Value::from(items))
    }

    fn components(&self, state: &mut State, run: usize, query: &BTreeMap<String, String>) -> Answered {
        let offset = query.get("offset").and_then(|text| text.parse().ok()).unwrap_or(0);
        let (count, triggered_ms) = (state.runs[run].metrics, state.runs[run].triggered_ms);
        let mut items: Vec<Value> =
            (offset..count).take(self.profile.list_items).map(|number| metric(number, triggered_ms)).collect();
        let mut total = count;
        if state.has_faults && state.numbers.chance(self.profile.faults) {
            // Metrics change while they are read: a page has one more item, or lacks its last one.
            match state.numbers.chance(500) {
                true => total += 1,
                false => drop(items.pop()),
            }
        }
        let metrics = json!({ "items": items, "limit": 200, "offset": offset, "total": total });
        json_answer(200, &json!({ "engine_id": "e", "processes": [], "metrics": metrics }))
    }
}

impl CloudRun {
    fn shows_log(&self, now_ms: i64) -> bool {
        self.has_log && self.log_ms <= now_ms
    }

    /// Its whole log, oldest first: times in epoch milliseconds, and texts.
    pub(crate) fn log(&self) -> Vec<(i64, String)> {
        let mut log: Vec<(i64, String)> = self.records.iter().map(|record| (record.ms, record.text.clone())).collect();
        log.sort();
        log
    }

    /// When it is in the lists and nothing of it changes any more. Unit: epoch milliseconds.
    pub(crate) fn is_final_at_ms(&self) -> i64 {
        self.ended_ms.max(self.listed_ms)
    }

    /// Unit: epoch milliseconds.
    pub(crate) fn triggered_ms(&self) -> i64 {
        self.triggered_ms
    }
}

impl CloudPlan {
    /// When it is in the lists and nothing of it changes any more. Unit: epoch milliseconds.
    pub(crate) fn is_final_at_ms(&self) -> i64 {
        self.ended_ms.max(self.listed_ms)
    }
}

const GROUPS: [&str; 5] = ["monitoring", "processing", "orchestration", "others", "audit logs"];

fn group_of(url: &Url) -> usize {
    if url.path().starts_with("/security/audit/") {
        return 4;
    }
    let first = url.path_segments().and_then(|mut segments| segments.next()).unwrap_or_default();
    GROUPS.iter().position(|group| *group == first).unwrap_or(3)
}

/// The records of a run that have appeared, oldest first.
fn records_of(run: &CloudRun, start_ms: i64, end_ms: i64, now_ms: i64) -> Vec<&Written> {
    let is_there = |record: &&Written| record.appears_ms <= now_ms && (start_ms..=end_ms).contains(&record.ms);
    run.records.iter().filter(is_there).collect()
}

fn range_of(query: &BTreeMap<String, String>) -> (i64, i64) {
    let time = |name: &str| query.get(name).and_then(|text| text.parse::<Timestamp>().ok()).map(Timestamp::as_millis);
    (time("startTime").unwrap_or(i64::MIN), time("endTime").unwrap_or(i64::MAX))
}

fn live(run: &CloudRun, query: &BTreeMap<String, String>, now_ms: i64) -> Answered {
    let (start_ms, end_ms) = range_of(query);
    let found = records_of(run, start_ms, end_ms, now_ms);
    let number = |name: &str, otherwise| query.get(name).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (skipped, count) = (number("startIndex", 0), number("count", 50));
    let mut data: Vec<Value> = found.iter().map(|record| line(record)).collect();
    if query.get("order").is_some_and(|order| order == "DESC") {
        data.reverse();
    }
    let data: Vec<Value> = data.into_iter().skip(skipped).take(count).collect();
    let total = records_of(run, i64::MIN, i64::MAX, now_ms).len();
    json_answer(200, &json!({ "data": data, "totalSize": total, "totalSizeFiltered": found.len() }))
}

fn line(record: &Written) -> Value {
    json!({ "logTimestamp": record.ms, "severity": "INFO", "logMessage": record.text })
}

/// What one component measured.
pub(crate) fn metric(number: usize, triggered_ms: i64) -> Value {
    json!({
        "pid": "p", "connector_type": "tMap", "connector_label": format!("tMap_{number}"),
        "connector_id": format!("tMap_{number}"), "component_start_time_seconds": triggered_ms / 1_000,
        "component_connection_rows_total": number * 10,
    })
}

fn workspace() -> Value {
    let environment = json!({ "id": "a".repeat(24), "name": "production", "default": true });
    json!({ "id": "b".repeat(24), "name": "sales", "owner": "admin", "type": "shared", "environment": environment })
}

fn task(number: usize) -> Value {
    json!({ "executable": task_id(number), "name": format!("task {number}"), "workspace": workspace() })
}

fn task_id(number: usize) -> String {
    format!("{:024x}", number + 1)
}

fn iso(ms: i64) -> String {
    Timestamp::clamped(ms).to_string()
}

fn http_date(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).unwrap_or_default().format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn said(run: &CloudRun, now_ms: i64) -> Value {
    let mut said = json!({
        "executionId": run.id.to_string(), "taskId": task_id(run.task), "taskVersion": "0.1",
        "triggerTimestamp": iso(run.triggered_ms), "startTimestamp": iso(run.triggered_ms),
        "status": "executing", "executionStatus": "STARTING_FLOW_EXECUTION",
    });
    if run.ended_ms <= now_ms {
        let (coarse, detailed) = match run.is_good {
            true => ("execution_successful", "EXECUTION_SUCCESS"),
            false => ("execution_failed", "EXECUTION_FAILED"),
        };
        said["status"] = coarse.into();
        said["executionStatus"] = detailed.into();
        said["finishTimestamp"] = iso(run.ended_ms).into();
    }
    said
}

/// The response to a search in the history: the runs with the wanted IDs that have ended, all of which are jobs.
fn history(state: &State, search: &[u8], now_ms: i64) -> Value {
    let search: Value = serde_json::from_slice(search).unwrap_or_default();
    let filters = search["filters"].as_array().into_iter().flatten();
    let ids: Vec<&Value> = filters
        .filter(|filter| filter["field"] == "id")
        .filter_map(|filter| filter["value"].as_array())
        .flatten()
        .collect();
    let is_found = |run: &&CloudRun| {
        search["category"] == "ETL" && run.ended_ms <= now_ms && ids.iter().any(|id| **id == run.id.to_string())
    };
    let item =
        |run: &CloudRun| json!({ "id": run.id.to_string(), "type": "STANDARD", "artifactName": "job", "attempts": 1 });
    let items: Vec<Value> = state.runs.iter().filter(is_found).map(item).collect();
    json!({ "items": items, "limit": 200, "offset": 0, "nextPageExists": false })
}

fn plan_said(plan: &CloudPlan, now_ms: i64) -> Value {
    let mut said = json!({
        "executionId": plan.id, "planId": format!("plan-{}", plan.plan), "userId": "u", "userType": "HUMAN",
        "startTimestamp": iso(plan.started_ms), "status": "executing", "executionStatus": "STARTING_FLOW_EXECUTION",
    });
    if plan.ended_ms <= now_ms {
        said["status"] = "execution_successful".into();
        said["executionStatus"] = "EXECUTION_SUCCESS".into();
        said["finishTimestamp"] = iso(plan.ended_ms).into();
    }
    said
}

/// A part of a plan execution: itself, its steps, one of them, or its error handler.
fn plan_part(plan: &CloudPlan, rest: &[&str], now_ms: i64) -> Option<Value> {
    let lasts_ms = (plan.ended_ms - plan.started_ms) / i64::try_from(plan.steps.max(1)).unwrap_or(1);
    let step = |number: usize| {
        let started_ms = plan.started_ms + lasts_ms * i64::try_from(number).unwrap_or_default();
        let mut step = json!({ "id": format!("step-{number}"), "executionId": format!("{}-{number}", plan.id) });
        if started_ms <= now_ms {
            step["startTimestamp"] = iso(started_ms).into();
            step["executionStatus"] = "STARTING_FLOW_EXECUTION".into();
        }
        if started_ms + lasts_ms <= now_ms {
            step["finishTimestamp"] = iso(started_ms + lasts_ms).into();
            step["executionStatus"] = "EXECUTION_SUCCESS".into();
        }
        step
    };
    match rest {
        [] => Some(plan_said(plan, now_ms)),
        ["steps"] => Some((0..plan.steps).map(step).collect::<Vec<_>>().into()),
        ["steps", id] => {
            let number = id.rsplit('-').next()?.parse().ok()?;
            Some(step(number))
        }
        _ => None,
    }
}

fn json_answer(status: u16, body: &Value) -> Answered {
    Answered { status, headers: vec![("content-type", "application/json".to_owned())], body: body.to_string().into() }
}

fn unknown() -> Answered {
    json_answer(404, &json!({ "status": 404, "message": "not found" }))
}

fn refusal(status: u16, says_when: bool) -> Answered {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let mut answered = json_answer(status, &json!({ "status": status, "message": reason }));
    if says_when {
        answered.headers.push(("retry-after", "3".to_owned()));
    }
    answered
}

fn away(what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, format!("api.cloud.example: {what}"))
}

/// The path without what is random in it, except for its end.
fn short(path: &str) -> String {
    path.split('/').map(|part| part.get(..part.len().min(12)).unwrap_or(part)).collect::<Vec<_>>().join("/")
}

pub(crate) fn random_id(numbers: &mut Numbers) -> RunId {
    RunId::random(&NodeRandom(Mutex::new(numbers.fork())) as &dyn Random)
}
