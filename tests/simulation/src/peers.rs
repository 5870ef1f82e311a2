//! Receivers of deliveries and alerts: peers that implement the protocols of sinks and of destinations of alerts. They
//! receive the requests of the program's sinks and destinations.
//!
//! While there are faults, peers refuse connections, hang up before or after they have taken what was sent, are slow, do not
//! answer, answer with 403, 413, 429, 500, 502 or 503, take a part of a batch, name the outcome of fewer records than were
//! sent, and restart. Some records they refuse for good, until the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use reqwest::{Request, Response};
use runlog_client::{Error, ErrorKind, SimulatedNetwork};
use serde_json::{Value, json};

use crate::locked;
use crate::schedule::{Kind, Schedule};
use crate::seed::Numbers;

/// The destination of alerts whose rule is muted all the time.
pub(crate) const MUTED: &str = "muted.example";
/// A destination of alerts that keeps the ids of its messages.
pub(crate) const HOOKS: &str = "hooks.example";
/// A destination of alerts at which an alert stays open until its end is reported.
pub(crate) const PAGER: &str = "pager.example";

/// The properties of peers.
#[derive(Debug, Clone)]
pub(crate) struct PeerProfile {
    /// Share of requests that fail. Unit: per mille.
    faults: usize,
    /// Share of records that are refused permanently. Unit: per mille.
    refused: usize,
    /// Share of the records of a batch that are refused temporarily, if the protocol supports that. Unit: per mille.
    busy: usize,
    /// Maximum size of a body of several records. Unit: bytes.
    body_bytes_max: usize,
}

impl PeerProfile {
    pub(crate) fn of(numbers: &mut Numbers) -> Self {
        Self {
            faults: [40, 150, 350][numbers.below(3)],
            refused: [0, 30, 120][numbers.below(3)],
            busy: [0, 0, 100][numbers.below(3)],
            body_bytes_max: [1_500, usize::MAX][numbers.below(2)],
        }
    }
}

/// The content of a sink.
#[derive(Default)]
struct Received {
    /// The text of each record, by its id.
    texts: BTreeMap<String, String>,
    accepted: BTreeSet<String>,
    /// The records that the archive has recorded as delivered, and when. Unit: ticks.
    committed: BTreeMap<String, u64>,
    /// The lines of a store that identifies records by stream, time and line, with the id of each.
    lines: BTreeMap<String, String>,
}

/// A message that a destination of alerts has received.
#[derive(Debug, Clone)]
pub(crate) struct Notification {
    pub(crate) to: String,
    /// Equal for all attempts; for a destination that keeps alerts open, equal until the end of the alert.
    pub(crate) id: String,
    pub(crate) is_end: bool,
    /// The runs that it names.
    pub(crate) runs: Vec<String>,
    /// The time at which it was sent. Unit: ticks.
    sent: u64,
}

struct State {
    numbers: Numbers,
    has_faults: bool,
    /// The sinks that no longer refuse any record permanently.
    mended: BTreeSet<String>,
    /// The end of each peer's outage. Unit: epoch milliseconds.
    away_until_ms: BTreeMap<String, i64>,
    sinks: BTreeMap<String, Received>,
    told: Vec<Notification>,
    /// Alerts that the archive has recorded as delivered, and when. Unit: ticks.
    recorded: BTreeMap<(String, String), u64>,
    /// Runs that must not be reported.
    muted: BTreeSet<String>,
    /// Number of records and messages sent.
    requests: u64,
}

/// The peers of a deployment.
pub(crate) struct Peers {
    schedule: Schedule,
    profile: PeerProfile,
    state: Mutex<State>,
}

/// The work of a deliverer, or of a sender of alerts, in one call.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// Unit: ticks.
    begun: u64,
    /// The acknowledged items: the host, and the id.
    taken: BTreeSet<(String, String)>,
}

/// The connection of a node to the peers.
pub(crate) struct PeerNetwork {
    pub(crate) peers: Arc<Peers>,
    pub(crate) node: usize,
    pub(crate) session: Arc<Mutex<Session>>,
}

/// The fate of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestFault {
    None,
    /// No connection.
    Unreachable,
    /// The peer disconnects without having accepted anything.
    HangsUp,
    /// The peer accepts the request, and disconnects.
    AnswerLost,
    /// The response is cut off.
    BreaksOff,
    /// There is no response in time; the request may have been accepted.
    Hangs(bool),
    /// It takes long.
    Slow,
    /// The response has this status; the request may have been accepted.
    Refused(u16, bool),
    /// The response names fewer records than were sent.
    Lies,
    /// The peer is unavailable for a while.
    Restarts,
}

/// A response, and the accepted items of the request.
struct Answered {
    status: u16,
    body: String,
    taken: Vec<String>,
}

impl Answered {
    fn of(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: body.into(), taken: Vec::new() }
    }
}

/// A record or message, as a request names it.
struct Sent {
    id: String,
    text: String,
}

impl fmt::Debug for PeerNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerNetwork").field("node", &self.node).finish_non_exhaustive()
    }
}

impl SimulatedNetwork for PeerNetwork {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>> {
        Box::pin(self.exchange(request))
    }
}

impl Session {
    /// Begins a call.
    pub(crate) fn begin(session: &Mutex<Self>, tick: u64) {
        *locked(session) = Self { begun: tick, taken: BTreeSet::new() };
    }

    /// Ends the call; returns the acknowledged items.
    pub(crate) fn end(session: &Mutex<Self>) -> BTreeSet<(String, String)> {
        std::mem::take(&mut locked(session).taken)
    }
}

impl PeerNetwork {
    async fn exchange(&self, request: Request) -> Result<Response, Error> {
        let (schedule, peers) = (&self.peers.schedule, &self.peers);
        let host = request.url().host_str().unwrap_or_default().to_owned();
        let (sent, begun) = (schedule.tick(), locked(&self.session).begun);
        let time_max = request.timeout().map_or(60_000, |time| i64::try_from(time.as_millis()).unwrap_or(60_000));
        schedule.gate(self.node, Kind::Message, format!("POST {host}")).await;
        let trouble = peers.trouble(&host);
        schedule.note(|| format!("  {host} is asked: {trouble:?}"));
        let is_taken = match trouble {
            RequestFault::Unreachable | RequestFault::Restarts => return Err(away("connection refused").unreachable()),
            RequestFault::HangsUp => return Err(away("the connection was closed")),
            RequestFault::Hangs(is_taken) | RequestFault::Refused(_, is_taken) => is_taken,
            _ => true,
        };
        let mut answered = match is_taken {
            true => peers.take(&host, &request, (sent, begun), trouble == RequestFault::Lies),
            false => Answered::of(200, ""),
        };
        match trouble {
            RequestFault::Hangs(_) => {
                schedule.sleep_until(self.node, schedule.now_ms() + time_max).await;
                return Err(away("it did not respond in time"));
            }
            RequestFault::Slow => {
                let ms = peers.between(1, time_max - 1);
                schedule.sleep_until(self.node, schedule.now_ms() + ms).await;
            }
            RequestFault::Refused(status, _) => answered = refusal(status),
            _ => {}
        }
        let Answered { status, body, taken } = answered;
        schedule.note(|| format!("  {host} answers {status}, {} taken", taken.len()));
        schedule.gate(self.node, Kind::Message, format!("{status} of {host}")).await;
        let body = match trouble {
            RequestFault::AnswerLost => return Err(away("the connection was closed")),
            RequestFault::BreaksOff => {
                let parts = [Ok(bytes::Bytes::new()), Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))];
                reqwest::Body::wrap_stream(futures::stream::iter(parts))
            }
            _ => {
                locked(&self.session).taken.extend(taken.into_iter().map(|id| (host.clone(), id)));
                reqwest::Body::from(body)
            }
        };
        let mut response = http::Response::builder().status(status);
        if status == 429 {
            response = response.header("retry-after", "3");
        }
        response.body(body).map(Response::from).map_err(|error| away(&error.to_string()))
    }
}

impl Peers {
    pub(crate) fn new(schedule: Schedule, profile: PeerProfile, numbers: Numbers) -> Self {
        let state = State {
            numbers,
            has_faults: false,
            mended: BTreeSet::new(),
            away_until_ms: BTreeMap::new(),
            sinks: BTreeMap::new(),
            told: Vec::new(),
            recorded: BTreeMap::new(),
            muted: BTreeSet::new(),
            requests: 0,
        };
        Self { schedule, profile, state: Mutex::new(state) }
    }

    pub(crate) fn set_faults(&self, has_faults: bool) {
        locked(&self.state).has_faults = has_faults;
    }

    /// Makes a sink accept all records from now on.
    pub(crate) fn mend(&self, host: &str) {
        locked(&self.state).mended.insert(host.to_owned());
    }

    /// Number of records and messages sent.
    pub(crate) fn requests(&self) -> u64 {
        locked(&self.state).requests
    }

    /// The texts of the records that a sink has accepted whose ids begin with this.
    pub(crate) fn accepted_of(&self, host: &str, prefix: &str) -> Vec<String> {
        let state = locked(&self.state);
        let Some(received) = state.sinks.get(host) else { return Vec::new() };
        let accepted = received.accepted.iter().filter(|id| id.starts_with(prefix));
        accepted.filter_map(|id| received.texts.get(id).cloned()).collect()
    }

    /// Whether a sink refuses a record of a run for good.
    pub(crate) fn refuses(&self, host: &str, id: &str, text: &str) -> bool {
        self.is_refused(&locked(&self.state), host, id, text)
    }

    /// Notes that the archive has recorded these records as delivered.
    pub(crate) fn commit(&self, taken: BTreeSet<(String, String)>) {
        let tick = self.schedule.tick();
        let mut state = locked(&self.state);
        for (host, id) in taken {
            state.sinks.entry(host).or_default().committed.insert(id, tick);
        }
    }

    /// Notes that the archive has recorded these alerts as delivered.
    pub(crate) fn record(&self, taken: BTreeSet<(String, String)>) {
        let tick = self.schedule.tick();
        locked(&self.state).recorded.extend(taken.into_iter().map(|key| (key, tick)));
    }

    /// Notes that this run must not be reported.
    pub(crate) fn mute(&self, run: String) {
        locked(&self.state).muted.insert(run);
    }

    pub(crate) fn is_muted(&self, run: &str) -> bool {
        locked(&self.state).muted.contains(run)
    }

    /// Returns the messages to destinations of alerts, in the order in which they were sent.
    pub(crate) fn told(&self) -> Vec<Notification> {
        let mut told = locked(&self.state).told.clone();
        told.sort_by_key(|told| told.sent);
        told
    }

    fn between(&self, low: i64, high: i64) -> i64 {
        locked(&self.state).numbers.between(low, high)
    }

    fn trouble(&self, host: &str) -> RequestFault {
        let now_ms = self.schedule.now_ms();
        let mut state = locked(&self.state);
        if !state.has_faults {
            return RequestFault::None;
        }
        if state.away_until_ms.get(host).is_some_and(|until_ms| now_ms < *until_ms) {
            return RequestFault::Unreachable;
        }
        if !state.numbers.chance(self.profile.faults) {
            return RequestFault::None;
        }
        let is_taken = state.numbers.chance(500);
        match state.numbers.below(16) {
            0 => RequestFault::Unreachable,
            1 => RequestFault::HangsUp,
            2..=4 => RequestFault::AnswerLost,
            5 => RequestFault::BreaksOff,
            6 => RequestFault::Hangs(is_taken),
            7 | 8 => RequestFault::Slow,
            9 => RequestFault::Refused(429, false),
            10 => RequestFault::Refused(503, is_taken),
            11 => RequestFault::Refused(500, is_taken),
            12 => RequestFault::Refused(502, is_taken),
            13 => RequestFault::Refused(403, false),
            14 => RequestFault::Lies,
            _ => {
                let ms = state.numbers.between(1, 900_000);
                state.away_until_ms.insert(host.to_owned(), now_ms + ms);
                RequestFault::Restarts
            }
        }
    }

    /// Handles a request, and accepts its valid items.
    fn take(&self, host: &str, request: &Request, times: (u64, u64), lies: bool) -> Answered {
        let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        let text = String::from_utf8_lossy(body).into_owned();
        let header = |name: &str| {
            request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        locked(&self.state).requests += 1;
        match host {
            "elastic.example" => self.take_bulk(&text, times, lies),
            "loki.example" => self.take_streams(&text, times),
            "splunk.example" => self.take_events(&text, times),
            "datadog.example" => self.take_logs(&text, times, lies),
            "summaries.example" => self.take_summary(&text, &header("x-runlog-id"), times),
            HOOKS | MUTED => self.take_hook(host, &text, header("x-runlog-id"), times),
            PAGER => self.take_page(&text, times),
            "chat.example" => Answered::of(200, "ok"),
            _ => {
                self.schedule.violation(format!("a request to {host}, which nobody knows"));
                Answered::of(404, "")
            }
        }
    }

    fn is_too_large(&self, text: &str, records: usize) -> bool {
        records > 1 && text.len() > self.profile.body_bytes_max
    }

    fn is_refused(&self, state: &State, host: &str, id: &str, text: &str) -> bool {
        let run = id.get(..36).unwrap_or(id);
        let hash = run
            .bytes()
            .chain(text.bytes())
            .fold(2_166_136_261_usize, |hash, byte| (hash ^ usize::from(byte)).wrapping_mul(16_777_619) & 0xffff_ffff);
        !state.mended.contains(host) && (hash >> 8) % 1_000 < self.profile.refused
    }

    /// Notes a record that a sink accepts.
    fn accept(&self, state: &mut State, host: &str, sent: &Sent, begun: u64) {
        let received = state.sinks.entry(host.to_owned()).or_default();
        let before = received.texts.entry(sent.id.clone()).or_insert_with(|| sent.text.clone());
        if *before != sent.text {
            let problem = format!("{host}: one id for two records: {} was {before}, and is {}", sent.id, sent.text);
            return self.schedule.violation(problem);
        }
        if received.committed.get(&sent.id).is_some_and(|at| *at < begun) {
            let problem = format!("{host}: {} is sent again, which was recorded as delivered", sent.id);
            return self.schedule.violation(problem);
        }
        received.accepted.insert(sent.id.clone());
    }

    /// Elasticsearch: each record has an outcome.
    fn take_bulk(&self, text: &str, (_, begun): (u64, u64), lies: bool) -> Answered {
        let host = "elastic.example";
        let lines: Vec<&str> = text.lines().collect();
        if self.is_too_large(text, lines.len() / 2) {
            return Answered::of(413, "");
        }
        let mut state = locked(&self.state);
        let (mut items, mut taken) = (Vec::new(), Vec::new());
        for pair in lines.chunks(2) {
            let (action, document) = (json_of(pair[0]), json_of(pair.get(1).unwrap_or(&"")));
            let sent = Sent { id: text_of(&action["create"]["_id"]), text: text_of(&document["message"]) };
            let is_busy = state.has_faults && state.numbers.chance(self.profile.busy);
            let problem = |status: u16, kind: &str| json!({ "create": { "status": status, "error": { "type": kind, "reason": "r" } } });
            if self.is_refused(&state, host, &sent.id, &sent.text) {
                items.push(problem(400, "document_parsing_exception"));
            } else if is_busy {
                items.push(problem(429, "es_rejected_execution_exception"));
            } else {
                let is_there = state.sinks.get(host).is_some_and(|received| received.accepted.contains(&sent.id));
                self.accept(&mut state, host, &sent, begun);
                items.push(match is_there {
                    true => problem(409, "version_conflict_engine_exception"),
                    false => json!({ "create": { "status": 201 } }),
                });
                taken.push(sent.id);
            }
        }
        if lies {
            items.pop();
            taken.clear();
        }
        Answered { taken, ..Answered::of(200, json!({ "errors": false, "items": items }).to_string()) }
    }

    /// Loki: lines are identified by stream, time and text; valid lines are accepted, regardless of the status.
    fn take_streams(&self, text: &str, (_, begun): (u64, u64)) -> Answered {
        let host = "loki.example";
        let body = json_of(text);
        let mut all = Vec::new();
        for stream in body["streams"].as_array().into_iter().flatten() {
            for value in stream["values"].as_array().into_iter().flatten() {
                let line = format!("{} {} {}", stream["stream"], value[0], value[1]);
                all.push((line, Sent { id: text_of(&value[2]["record_id"]), text: text_of(&value[1]) }));
            }
        }
        if self.is_too_large(text, all.len()) {
            return Answered::of(413, "");
        }
        let mut state = locked(&self.state);
        let (mut taken, mut is_refused) = (Vec::new(), false);
        for (line, sent) in all {
            if self.is_refused(&state, host, &sent.id, &sent.text) {
                is_refused = true;
                continue;
            }
            self.accept(&mut state, host, &sent, begun);
            let received = state.sinks.entry(host.to_owned()).or_default();
            let id = received.lines.entry(line).or_insert_with(|| sent.id.clone());
            if *id != sent.id {
                self.schedule.violation(format!("{host} takes {} for {id}, and stores one of them", sent.id));
            }
            taken.push(sent.id);
        }
        match is_refused {
            true => Answered::of(400, "stream has a line with invalid labels"),
            false => Answered { taken, ..Answered::of(204, "") },
        }
    }

    /// Splunk: events before the first invalid one are accepted.
    fn take_events(&self, text: &str, (_, begun): (u64, u64)) -> Answered {
        let host = "splunk.example";
        let all: Vec<Value> = text.lines().map(json_of).collect();
        if self.is_too_large(text, all.len()) {
            return Answered::of(413, "");
        }
        let mut state = locked(&self.state);
        let mut taken = Vec::new();
        for (number, event) in all.iter().enumerate() {
            let sent = Sent { id: text_of(&event["event"]["id"]), text: text_of(&event["event"]["message"]) };
            let is_busy = state.has_faults && state.numbers.chance(self.profile.busy / 4);
            let stopped = |code: u32, text: &str| json!({ "text": text, "code": code, "invalid-event-number": number });
            if self.is_refused(&state, host, &sent.id, &sent.text) {
                return Answered { taken, ..Answered::of(400, stopped(6, "Invalid data format").to_string()) };
            }
            if is_busy {
                return Answered { taken, ..Answered::of(503, stopped(9, "Server is busy").to_string()) };
            }
            self.accept(&mut state, host, &sent, begun);
            taken.push(sent.id);
        }
        Answered { taken, ..Answered::of(200, r#"{"text":"Success","code":0}"#) }
    }

    /// Datadog: all logs are accepted or none, and duplicates are not detected.
    fn take_logs(&self, text: &str, (_, begun): (u64, u64), lies: bool) -> Answered {
        let host = "datadog.example";
        let all = json_of(text);
        let all: Vec<Sent> = all
            .as_array()
            .into_iter()
            .flatten()
            .map(|log| Sent { id: text_of(&log["record.id"]), text: text_of(&log["message"]) })
            .collect();
        if self.is_too_large(text, all.len()) {
            return Answered::of(413, "");
        }
        // A proxy responds in place of the service.
        if lies {
            return Answered::of(200, "<html>sign in</html>");
        }
        let mut state = locked(&self.state);
        if all.iter().any(|sent| self.is_refused(&state, host, &sent.id, &sent.text)) {
            return Answered::of(400, r#"{"errors":["a log is invalid"]}"#);
        }
        all.iter().for_each(|sent| self.accept(&mut state, host, sent, begun));
        Answered { taken: all.into_iter().map(|sent| sent.id).collect(), ..Answered::of(202, "{}") }
    }

    /// A webhook that is sent a summary of each run.
    fn take_summary(&self, text: &str, id: &str, (_, begun): (u64, u64)) -> Answered {
        let body = json_of(text);
        let sent = Sent { id: id.to_owned(), text: format!("{} {}", body["run"]["id"], body["log"]["records"]) };
        let mut state = locked(&self.state);
        if self.is_refused(&state, "summaries.example", id, "summary") {
            return Answered::of(422, "no");
        }
        if text_of(&body["id"]) != id {
            self.schedule.violation(format!("a summary has the id {} and {id}", body["id"]));
        }
        self.accept(&mut state, "summaries.example", &sent, begun);
        Answered { taken: vec![sent.id], ..Answered::of(200, "") }
    }

    /// A webhook that is sent alerts.
    fn take_hook(&self, host: &str, text: &str, id: String, (sent, begun): (u64, u64)) -> Answered {
        let body = json_of(text);
        let events = body["events"].as_array().cloned().unwrap_or_else(|| vec![body.clone()]);
        let is_end = events.iter().all(|event| event["what"] == "recovered");
        let runs = events.iter().map(|event| text_of(&event["runId"])).collect();
        self.tell(Notification { to: host.to_owned(), id, is_end, runs, sent }, begun)
    }

    /// PagerDuty: an alert is open until it is resolved.
    fn take_page(&self, text: &str, (sent, begun): (u64, u64)) -> Answered {
        let body = json_of(text);
        let is_end = body["event_action"] == "resolve";
        let runs = vec![text_of(&body["payload"]["custom_details"]["run"])];
        let told = Notification { to: PAGER.to_owned(), id: text_of(&body["dedup_key"]), is_end, runs, sent };
        Answered { status: 202, ..self.tell(told, begun) }
    }

    fn tell(&self, told: Notification, begun: u64) -> Answered {
        let mut state = locked(&self.state);
        let Notification { to, id, is_end, runs, .. } = &told;
        let is_named = |run: &String| !run.is_empty();
        if to == MUTED {
            self.schedule.violation(format!("an alert of a rule that is muted: {runs:?}"));
        }
        if let Some(run) = runs.iter().find(|run| !is_end && state.muted.contains(*run)) {
            self.schedule.violation(format!("{to} is told of run {run}, which ended while its rule was muted"));
        }
        // A destination that keeps alerts open gets the same id in all messages until the end of the alert.
        if to != PAGER {
            if state.recorded.get(&(to.clone(), id.clone())).is_some_and(|at| *at < begun) {
                self.schedule.violation(format!("alert {id} is sent to {to} again, which was recorded as delivered"));
            }
            // A destination treats a message with the id of an earlier one as a repetition.
            let earlier = state.told.iter().find(|before| before.to == *to && before.id == *id);
            if let Some(run) = earlier.and_then(|before| runs.iter().find(|run| !before.runs.contains(run))) {
                self.schedule.violation(format!("{to} is told of run {run} under the id {id} of an earlier message"));
            }
            let is_other = |other: &&Notification| other.to == *to && other.is_end == *is_end && other.id != *id;
            let again = |run: &&String| state.told.iter().filter(is_other).any(|other| other.runs.contains(run));
            if let Some(run) = runs.iter().filter(|run| !is_end && is_named(run)).find(again) {
                self.schedule.violation(format!("{to} is told of run {run} twice, with two ids"));
            }
        }
        let taken = vec![id.clone()];
        state.told.push(told);
        Answered { taken, ..Answered::of(200, "") }
    }
}

fn refusal(status: u16) -> Answered {
    Answered::of(status, if status == 502 { "<html>502 Bad Gateway</html>" } else { r#"{"message":"not now"}"# })
}

fn away(what: &str) -> Error {
    Error::new(ErrorKind::Unavailable, what)
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
