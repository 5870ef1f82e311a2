//! Requests as programs that others wrote send them, replayed byte for byte against the service on a socket.
//!
//! The recordings are in `fixtures/exchanges`, whose README describes their form and the archive that they are replayed
//! against. What holds for each exchange is checked here without being recorded: one way to find the end of a body, only
//! content codings that the program accepts, `100 Continue` where it waits for it, and a connection that lasts as long as
//! it asked for, unless the request is refused.

mod recording;
mod wire;

use std::path::{Path, PathBuf};

use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use runlog_model::wire::admin::{NewTask, NewWorkspace};
use runlog_model::workspaces::Right;
use runlog_server::ServerSettings;
use serde_json::{Value, json};

use crate::exchanges::recording::{Exchange, Expectation, GIVEN, Recording, Source, Values, fill};
use crate::exchanges::wire::{Connection, Request, Response};
use crate::support::{Live, RUN, Stage};

const WORKSPACE: &str = "57f64991e4b0b689a64feed2";
const TASK: &str = "57f64991e4b0b689a64feed0";

/// The first record of the run: 2026-11-23T11:40:00Z. Unit: epoch milliseconds.
const FIRST_RECORD: i64 = 1_795_434_000_000;

/// Records of the run, one a second.
const RECORDS: i64 = 25;

/// Most records of a page.
const PAGE_RECORDS_MAX: u64 = 10;

/// How often a program asks whether a file is ready. Each response takes up to a second.
const POLLS_MAX: usize = 30;

/// The service with the archive that the README describes.
struct Replay {
    stage: Stage,
    live: Live,
    values: Values,
}

impl Replay {
    async fn new() -> Self {
        let stage = Stage::with(|settings| settings.page_records_max = PAGE_RECORDS_MAX, |_| ()).await;
        let workspace = NewWorkspace {
            id: Some(WORKSPACE.parse().unwrap()),
            environment_id: None,
            name: "finance".to_owned(),
            description: None,
            owner: None,
        };
        stage.store.workspaces().create_workspace(&workspace, "admin").await.unwrap();
        let task = NewTask {
            id: Some(TASK.parse().unwrap()),
            workspace_id: WORKSPACE.parse().unwrap(),
            name: "load invoices".to_owned(),
            version: Some("1.4".to_owned()),
            description: None,
            tags: Vec::new(),
        };
        stage.store.workspaces().create_task(&task).await.unwrap();
        push_run(&stage).await;
        let workspace = WORKSPACE.parse().unwrap();
        let token = stage.user_in(workspace, "reader", &[Right::Author, Right::View, Right::Execute]).await;
        let publisher = stage.user_in(workspace, "publisher", &[Right::Publish]).await;
        let (client, secret) = service_account(&stage).await;
        let settings =
            ServerSettings { requests_per_second: 0, anonymous_requests_per_second: 0, ..ServerSettings::default() };
        let live = Live::start(&stage, settings);
        let values = GIVEN.map(|name| {
            let value = match name {
                "host" => live.address.to_string(),
                "run" => RUN.to_owned(),
                "task" => TASK.to_owned(),
                "workspace" => WORKSPACE.to_owned(),
                "token" => token.clone(),
                "token_basic" => STANDARD.encode(format!("runlog:{token}")),
                "publisher" => publisher.clone(),
                "client" => client.clone(),
                "secret" => secret.clone(),
                "client_basic" => STANDARD.encode(format!("{client}:{secret}")),
                other => panic!("{other} has no value"),
            };
            (name.to_owned(), value)
        });
        Self { stage, live, values: values.into() }
    }

    /// Sends each request of a recording, and checks its response.
    async fn play(mut self, recording: &Recording) -> Result<(), String> {
        let mut connection = None;
        for exchange in &recording.exchanges {
            let played = self.play_one(exchange, &mut connection).await;
            played.map_err(|why| format!("{:?}: {why}", exchange.fact))?;
        }
        Ok(())
    }

    async fn play_one(&mut self, exchange: &Exchange, connection: &mut Option<Connection>) -> Result<(), String> {
        self.stage.clock.advance_ms(exchange.advance_seconds * 1_000);
        let request = exchange.to_request(&self.values)?;
        let mut current = match connection.take().filter(|_| !exchange.new_connection) {
            Some(open) => open,
            None => Connection::open(self.live.address).await?,
        };
        let mut response = current.exchange(&request).await?;
        for _ in 0..POLLS_MAX {
            if !exchange.poll || !is_in_progress(&response)? {
                break;
            }
            // The service itself delays this response while the file is being built.
            current = if request.ends_connection() { Connection::open(self.live.address).await? } else { current };
            response = current.exchange(&request).await?;
        }
        let body = response.decoded()?;
        check(&exchange.expect, &response, &body, &self.values)
            .and_then(|()| check_protocol(&request, &response))
            .map_err(|why| format!("{why}\n{}\n{}", response.summary(), String::from_utf8_lossy(&body)))?;
        if !request.ends_connection() && !response.ends_connection() {
            *connection = Some(current);
        } else if !current.is_ended().await {
            return Err("the connection was to end with the response".to_owned());
        }
        for (name, source) in &exchange.capture {
            let value = captured(source, &response, &body);
            let value = value.ok_or_else(|| format!("there is no {source:?} to capture\n{}", response.summary()))?;
            self.values.insert(name.clone(), value);
        }
        Ok(())
    }
}

/// A run that has failed, with its log.
async fn push_run(stage: &Stage) {
    let path = format!("/runlog/v1/runs/{RUN}");
    let start =
        json!({"taskId": TASK, "startTimestamp": "2026-11-23T11:39:59Z", "triggerTimestamp": "2026-11-23T11:39:58Z"});
    let started = stage.ask(Method::PUT, &path, start.to_string()).await;
    assert_eq!(started.status, 201, "{}", started.text());
    let record = |number: i64| {
        let severity = if number + 1 == RECORDS { "ERROR" } else { "INFO" };
        let message = format!("row {number}");
        json!({"logTimestamp": FIRST_RECORD + number * 1_000, "severity": severity, "logType": "JOB", "logMessage": message})
    };
    let records: String = (0..RECORDS).map(|number| format!("{}\n", record(number))).collect();
    let pushed = stage.post(&format!("{path}/records"), records).await;
    assert_eq!(pushed.status, 200, "{}", pushed.text());
    let finish = json!({"status": "execution_failed", "finishTimestamp": "2026-11-23T11:40:25Z"});
    let finished = stage.post(&format!("{path}/finish"), finish.to_string()).await;
    assert_eq!(finished.status, 200, "{}", finished.text());
}

/// The ID and the secret of a service account that may read logs.
async fn service_account(stage: &Stage) -> (String, String) {
    let account = stage
        .post("/account/service-accounts", r#"{"name": "monitor", "permissions": ["RUNLOG_METRICS"]}"#)
        .await
        .json();
    let text = |name: &str| account[name].as_str().unwrap_or_else(|| panic!("{account}")).to_owned();
    let (id, secret) = (text("id"), text("secret"));
    let rights = format!("/security/workspaces/{WORKSPACE}/service-accounts/{id}/permissions");
    let granted = stage.post(&rights, r#"["AUTHOR", "VIEW", "EXECUTE"]"#).await;
    assert_eq!(granted.status, 201, "{}", granted.text());
    (id, secret)
}

/// Whether a program has to ask again. Until the file is ready, there is no link.
fn is_in_progress(response: &Response) -> Result<bool, String> {
    let body: Value = serde_json::from_slice(&response.decoded()?).map_err(|error| error.to_string())?;
    match body["status"] == "IN_PROGRESS" {
        true if body.get("presignedURL").is_some() => Err(format!("a link to a file in progress: {body}")),
        is_in_progress => Ok(is_in_progress),
    }
}

/// What every client relies on.
fn check_protocol(request: &Request, response: &Response) -> Result<(), String> {
    if let Some(coding) = response.header("content-encoding").filter(|coding| !request.accepts(coding)) {
        return Err(format!("the program does not accept Content-Encoding {coding:?}"));
    }
    if request.expects_continue() && response.status < 400 && !response.is_continued {
        return Err("100 Continue did not come".to_owned());
    }
    // What is refused may have a body that the service does not read.
    match response.ends_connection() && !request.ends_connection() && response.status < 400 {
        true => Err("the service ends a connection that the program keeps".to_owned()),
        false => Ok(()),
    }
}

/// What the program reads.
fn check(expect: &Expectation, response: &Response, body: &[u8], values: &Values) -> Result<(), String> {
    if response.status != expect.status {
        return Err(format!("status {} instead of {}", response.status, expect.status));
    }
    for (name, value) in &expect.headers {
        let value = fill(value, values)?;
        let sent = response.header(name);
        if sent.is_none() || value != "*" && sent != Some(value.as_str()) {
            return Err(format!("header {name}: {sent:?} instead of {value:?}"));
        }
    }
    if let Some(name) = expect.absent_headers.iter().find(|name| response.header(name).is_some()) {
        return Err(format!("header {name} was not to be sent"));
    }
    if let Some(framing) = expect.framing.filter(|framing| *framing != response.framing) {
        return Err(format!("framing {:?} instead of {framing:?}", response.framing));
    }
    if let Some(bytes) = expect.bytes.filter(|bytes| *bytes != body.len()) {
        return Err(format!("{} bytes instead of {bytes}", body.len()));
    }
    let text = std::str::from_utf8(body).map_err(|error| format!("the body is not text: {error}"));
    if let Some(expected) = &expect.text
        && text.clone()? != fill(expected, values)?
    {
        return Err(format!("the body is not {expected:?}"));
    }
    for part in &expect.contains {
        let part = fill(part, values)?;
        if !text.clone()?.contains(&part) {
            return Err(format!("{part:?} is not in the body"));
        }
    }
    check_json(expect, body, values)
}

fn check_json(expect: &Expectation, body: &[u8], values: &Values) -> Result<(), String> {
    let is_json_expected = !(expect.json.is_empty()
        && expect.json_types.is_empty()
        && expect.json_lengths.is_empty()
        && expect.json_absent.is_empty());
    if !is_json_expected {
        return Ok(());
    }
    let json: Value = serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    let at = |pointer: &str| json.pointer(pointer).ok_or_else(|| format!("there is no {pointer}"));
    for (pointer, value) in &expect.json {
        let value: Value =
            serde_json::from_str(&fill(&value.to_string(), values)?).map_err(|error| error.to_string())?;
        if *at(pointer)? != value {
            return Err(format!("{pointer} is {} instead of {value}", at(pointer)?));
        }
    }
    for (pointer, kind) in &expect.json_types {
        if !kind.is_of(at(pointer)?) {
            return Err(format!("{pointer} is {} and not of type {kind:?}", at(pointer)?));
        }
    }
    for (pointer, length) in &expect.json_lengths {
        let elements = at(pointer)?.as_array().map(Vec::len);
        if elements != Some(*length) {
            return Err(format!("{pointer} has {elements:?} elements instead of {length}"));
        }
    }
    match expect.json_absent.iter().find(|pointer| json.pointer(pointer).is_some()) {
        Some(pointer) => Err(format!("{pointer} was not to be sent")),
        None => Ok(()),
    }
}

fn captured(source: &Source, response: &Response, body: &[u8]) -> Option<String> {
    match source {
        Source::Header(name) => response.header(name).map(str::to_owned),
        Source::Json(pointer) => match serde_json::from_slice::<Value>(body).ok()?.pointer(pointer)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        },
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/exchanges")
}

/// The names and the content of all recordings.
fn recordings() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => files.push((name, std::fs::read_to_string(&path).unwrap())),
            _ => assert_eq!(name, "README.md", "only recordings and their description are here"),
        }
    }
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_programs_receive_what_they_rely_on() {
    let recordings = recordings();
    assert!(recordings.len() >= 15, "{} recordings in {}", recordings.len(), folder().display());
    let mut failures = Vec::new();
    for (name, text) in &recordings {
        let played = match Recording::parse(text) {
            Ok(recording) => Replay::new().await.play(&recording).await,
            Err(why) => Err(why),
        };
        failures.extend(played.err().map(|why| format!("{name}, {why}")));
    }
    assert!(failures.is_empty(), "{} of {} recordings:\n{}", failures.len(), recordings.len(), failures.join("\n\n"));
}

#[test]
fn the_readme_lists_each_recording() {
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    for (name, _) in recordings() {
        assert!(readme.contains(&format!("`{name}`")), "fixtures/exchanges/README.md does not list {name}");
    }
}

/// A request to the health check, and what is expected of it.
fn health(head: &str, expect: &str) -> String {
    format!(
        "program = \"test\"\nsource = \"test\"\n[[exchange]]\nfact = \"first\"\nrequest = '''\nGET /healthz HTTP/1.1\nHost: {{{{host}}}}\n{head}'''\n{expect}"
    )
}

#[test]
fn a_recording_that_cannot_fail_is_refused() {
    let good = health("", "[exchange.expect]\nstatus = 200\ntext = \"ok\\n\"");
    Recording::parse(&good).unwrap();
    let second =
        "\n[[exchange]]\nfact = \"second\"\nrequest = 'GET /healthz HTTP/1.1'\nexpect = { status = 400, bytes = 1 }\n";
    for (recording, words) in [
        ("program = \"test\"\nsource = \"test\"".to_owned(), "missing field `exchange`"),
        ("program = \"test\"\nsource = \"test\"\nexchange = []".to_owned(), "there is no exchange"),
        (good.replace("program = \"test\"", "program = \" \""), "program or source is empty"),
        (health("", ""), "missing field `expect`"),
        (health("", "[exchange.expect]\ntext = \"ok\""), "missing field `status`"),
        (health("", "[exchange.expect]\nstatus = 200"), "nothing is expected but a status"),
        (good.replace("text =", "txt ="), "unknown field `txt`"),
        (good.replace("fact =", "name ="), "unknown field `name`"),
        (format!("colour = 1\n{good}"), "unknown field `colour`"),
        (format!("{good}{}", second.replace("second", "first")), "not unique"),
        (format!("{good}\n[exchange.capture]\nid = \"header X-Request-Id\""), "\"id\" is captured and never used"),
        (format!("{good}\n[exchange.capture]\nid = \"X-Request-Id\""), "neither a JSON pointer nor"),
        (format!("{good}\n[exchange.capture]\ntoken = \"/token\""), "is given and cannot be captured"),
        (health("X-Id: {{id}}\n", "expect = { status = 200, bytes = 3 }"), "nothing before it captures \"id\""),
        (health("X-Id: {{run|upper}}\n", "expect = { status = 200, bytes = 3 }"), "neither percent nor target"),
        (health("no header\n", "expect = { status = 200, bytes = 3 }"), "is not a header"),
        (good.replace(" HTTP/1.1", ""), "is not a request line"),
        (health("Content-Length: 2\n", "body = \"{}\"\nexpect = { status = 200, bytes = 3 }"), "does not fit the head"),
        (health("", "chunks = [\"x\"]\nexpect = { status = 200, bytes = 3 }"), "does not fit the head"),
    ] {
        let why = Recording::parse(&recording).err().unwrap_or_else(|| panic!("accepted: {recording}"));
        assert!(why.contains(words), "{words:?} is not in {why}\n{recording}");
    }
}

/// A value that is captured again before it is used proves nothing the first time.
#[test]
fn a_captured_value_is_used_before_it_is_replaced() {
    let capture = "expect = { status = 200, bytes = 3 }\ncapture = { id = \"header X-Request-Id\" }\n";
    let first = health("", capture);
    let second = first.split_once("[[exchange]]").unwrap().1.replace("first", "second");
    let why = Recording::parse(&format!("{first}[[exchange]]{second}")).unwrap_err();
    assert!(why.contains("the previous \"id\" was not used"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expectation_that_does_not_hold_is_reported() {
    for (head, expect, words) in [
        ("", "expect = { status = 201, bytes = 3 }", "status 200 instead of 201"),
        ("", "expect = { status = 200, bytes = 4 }", "3 bytes instead of 4"),
        ("", "expect = { status = 200, text = \"ok\" }", "the body is not \"ok\""),
        ("", "expect = { status = 200, contains = [\"ko\"] }", "\"ko\" is not in the body"),
        ("", "expect = { status = 200, headers = { Content-Type = \"text/html\" } }", "header Content-Type"),
        ("", "expect = { status = 200, headers = { X-Other = \"*\" } }", "header X-Other: None"),
        ("", "expect = { status = 200, absent_headers = [\"content-type\"] }", "was not to be sent"),
        ("", "expect = { status = 200, framing = \"chunked\" }", "framing ContentLength instead of Chunked"),
        ("", "expect = { status = 200, json_types = { \"\" = \"object\" } }", "the body is not JSON"),
        (
            "",
            "expect = { status = 200, bytes = 3 }\ncapture = { id = \"/id\" }\n[[exchange]]\nfact = \"second\"\nrequest = 'GET /{{id}} HTTP/1.1'\nexpect = { status = 200, bytes = 3 }",
            "to capture",
        ),
        ("Expect: 100-continue\n", "expect = { status = 200, bytes = 3 }", "100 Continue did not come"),
    ] {
        let recording = Recording::parse(&health(head, expect)).unwrap();
        let why = Replay::new().await.play(&recording).await.unwrap_err();
        assert!(why.contains(words) && why.starts_with("\"first\": "), "{words:?} is not in {why}");
    }
    // JSON of an error of the service.
    for (expect, words) in [
        ("json = { \"/status\" = 404 }", "/status is 401 instead of 404"),
        ("json = { \"/code\" = 404 }", "there is no /code"),
        ("json_types = { \"/status\" = \"string\" }", "not of type String"),
        ("json_lengths = { \"/message\" = 1 }", "has None elements"),
        ("json_absent = [\"/message\"]", "/message was not to be sent"),
    ] {
        let text = health("", &format!("expect = {{ status = 401, {expect} }}"));
        let recording = Recording::parse(&text.replace("/healthz", "/orchestration/workspaces")).unwrap();
        let why = Replay::new().await.play(&recording).await.unwrap_err();
        assert!(why.contains(words), "{words:?} is not in {why}");
    }
}
