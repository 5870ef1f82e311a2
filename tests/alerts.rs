//! Alerts: each is sent once, to a webhook and a mailbox on this machine, even after failures.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Service, bash, runlog, write_lines};

const SECRET: &str = "a secret that signs";

/// Maximum time that a test waits. It is shorter than the timeout of an attempt to send an alert.
const PATIENCE: Duration = Duration::from_secs(25);

/// A request to a webhook: its headers, in lower case, and its body.
#[derive(Debug, Clone)]
struct WebhookRequest {
    headers: Vec<(String, String)>,
    body: String,
}

impl WebhookRequest {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// How a webhook responds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Takes,
    Refuses,
    /// Does not respond.
    Swallows,
    /// Kills the sender before the response.
    Kills,
}

struct Hook {
    url: String,
    told: Arc<Mutex<Vec<WebhookRequest>>>,
    manner: Arc<Mutex<Manner>>,
    sender: Arc<AtomicU32>,
    /// Connections of clients that wait for a response in vain.
    waiting: Receiver<TcpStream>,
}

impl Hook {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (told, manner) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Manner::Takes)));
        let sender = Arc::new(AtomicU32::new(0));
        let (all, how, whom) = (told.clone(), manner.clone(), sender.clone());
        let (unanswered, waiting) = mpsc::channel();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let one = read_request(&connection);
                all.lock().unwrap().push(one);
                let manner = *how.lock().unwrap();
                if manner == Manner::Kills {
                    bash(&format!("kill -9 {}", whom.load(Ordering::SeqCst)), Path::new("/"));
                    continue;
                }
                if manner == Manner::Swallows {
                    let _ = unanswered.send(connection);
                    continue;
                }
                let status = if manner == Manner::Takes { "204 No Content" } else { "500 Internal Server Error" };
                write!(connection, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            }
        });
        Self { url, told, manner, sender, waiting }
    }

    fn told(&self) -> Vec<WebhookRequest> {
        self.told.lock().unwrap().clone()
    }

    fn be(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }
}

/// True while the client of a connection waits for a response.
fn is_open(mut connection: &TcpStream) -> bool {
    connection.set_nonblocking(true).unwrap();
    connection.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// The port of a server that accepts connections and never responds, and the connections.
fn silent_server() -> (u16, Receiver<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, waiting) = mpsc::channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let _ = sender.send(connection.unwrap());
        }
    });
    (port, waiting)
}

/// The output of a program that is told to stop; it must exit immediately.
fn stopped(child: Child) -> Output {
    let id = child.id();
    bash(&format!("kill -TERM {id}"), Path::new("/"));
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    ended.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        bash(&format!("kill -9 {id}"), Path::new("/"));
        panic!("it was told to stop, and went on")
    })
}

fn read_request(connection: &TcpStream) -> WebhookRequest {
    let mut reader = BufReader::new(connection);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    assert!(lines[0].starts_with("POST /hook HTTP/1.1"), "{lines:?}");
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").unwrap().1.parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    WebhookRequest { headers, body: String::from_utf8(body).unwrap() }
}

/// Sends a request as the administrator; returns the JSON of the response, or null if it has no body.
#[track_caller]
fn ask(service: &Service, method: &str, path: &str, body: &str) -> Value {
    let header = format!("authorization: Bearer {}", service.token);
    let url = format!("{}{path}", service.url);
    let output = Command::new("curl").args(["-sSf", "-X", method, "-H", &header, "-d", body, &url]).output().unwrap();
    assert!(output.status.success(), "{method} {path}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// A mail server, which is stopped at the end of the test.
struct MailServer {
    port: u16,
    folder: TempDir,
    process: Child,
    /// Receives the number of each accepted message.
    took: Receiver<()>,
}

impl MailServer {
    fn start(security: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if security != "none" {
            let certificate = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
                -keyout key.pem -out cert.pem -subj /CN=localhost -addext subjectAltName=DNS:localhost \
                -addext basicConstraints=critical,CA:FALSE 2>/dev/null";
            bash(certificate, folder.path());
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/support/mail_server.py");
        let mut server = Command::new("python3");
        server.arg(script).arg(security).arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = server.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let (sender, took) = mpsc::channel();
        std::thread::spawn(move || {
            for _ in lines.map_while(Result::ok) {
                let _ = sender.send(());
            }
        });
        Self { port, folder, process, took }
    }

    /// The accepted messages, in order.
    fn messages(&self) -> Vec<String> {
        (1..)
            .map_while(|number: u32| std::fs::read_to_string(self.folder.path().join(number.to_string())).ok())
            .collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An upstream, an archive that collects from it, a webhook and a mailbox.
struct Scene {
    upstream: Service,
    task: String,
    settings: PathBuf,
    hook: Hook,
    mail: MailServer,
}

impl Scene {
    fn new() -> Self {
        Self::with_conditions("\"run_failed\", \"new_problem\"", "")
    }

    /// With a rule for some occurrences, and further settings before it.
    fn with_conditions(when: &str, more: &str) -> Self {
        let mail = MailServer::start("none");
        let server = format!("server = \"127.0.0.1\"\nport = {}\nsecurity = \"none\"", mail.port);
        Self::set(when, more, mail, &server)
    }

    fn set(when: &str, more: &str, mail: MailServer, server: &str) -> Self {
        let upstream = Service::start(&["--settle", "0s"]);
        let (_, task) = upstream.make_task();
        let hook = Hook::start();
        let lines = [
            "[archive]".to_owned(),
            format!("data = \"{}\"\nsettle = \"0s\"", upstream.folder().join("collected").display()),
            "[[upstream]]".to_owned(),
            "name = \"other\"".to_owned(),
            format!("url = \"{}\"", upstream.url),
            "token = { env = \"TOKEN_OF_OTHER\" }".to_owned(),
            "allow_private_addresses = true".to_owned(),
            "settle = \"0s\"".to_owned(),
            more.to_owned(),
            "[alerts]".to_owned(),
            "public_url = \"https://runlog.example.com/\"".to_owned(),
            "[alerts.mail]".to_owned(),
            "from = \"Runlog <runlog@example.com>\"".to_owned(),
            server.to_owned(),
            "[[alert]]".to_owned(),
            "name = \"night-shift\"".to_owned(),
            format!("when = [{when}]"),
            "sink_lag = \"0s\"".to_owned(),
            format!("webhook = \"{}\"", hook.url),
            "secret = { env = \"HOOK_SECRET\" }".to_owned(),
            "mail = [\"ops@example.com\"]".to_owned(),
        ];
        let settings = write_lines(upstream.folder().join("runlog.toml"), &lines);
        Self { upstream, task, settings, hook, mail }
    }

    /// Pushes a run to the upstream.
    fn run(&self, number: u32, status: &str) -> String {
        self.run_with(number, &["--finish", status], &json!({"severity": "INFO", "logMessage": "it ran"}))
    }

    /// Pushes a run of one record.
    fn run_with(&self, number: u32, arguments: &[&str], record: &Value) -> String {
        let run = format!("00000000-0000-4000-8000-{number:012}");
        let mut record = record.clone();
        let now: i64 = bash("date +%s%3N", Path::new("/")).trim().parse().unwrap();
        record["logTimestamp"] = json!(now);
        let file = write_lines(self.upstream.folder().join("log.ndjson"), &[record.to_string()]);
        let push = ["push", &run, file.to_str().unwrap(), "--task", &self.task];
        self.upstream.succeed(&[&push, arguments].concat());
        run
    }

    /// Pushes a run that started this number of minutes ago and took this number of seconds.
    fn run_of(&self, number: u32, minutes_ago: u32, seconds: u32) -> String {
        let ago = |seconds: u32| bash(&format!("date -u -d '-{seconds} seconds' +%FT%TZ"), Path::new("/"));
        let (started, finished) = (ago(60 * minutes_ago), ago(60 * minutes_ago - seconds));
        let finish = ["--finish", "execution_successful", "--finished-at", finished.trim()];
        self.run_with(number, &[&["--started-at", started.trim()], &finish[..]].concat(), &json!({}))
    }

    /// Returns the alerts so far: their kind, run or task, and text.
    fn told(&self) -> Vec<(String, String, String)> {
        let text = |body: &Value, name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let bodies = self.hook.told().into_iter().map(|told| told.json());
        bodies.map(|body| (text(&body, "what"), text(&body, "link"), text(&body, "text"))).collect()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = runlog(arguments);
        command.arg("--settings").arg(&self.settings).current_dir(self.upstream.folder());
        command.env("TOKEN_OF_OTHER", &self.upstream.token).env("HOOK_SECRET", SECRET);
        command.env("MAIL_PASSWORD", "open sesame");
        command
    }

    /// Starts the program and leaves it running.
    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Collects once, and sends alerts.
    fn collect(&self) -> Output {
        let child = self.start(&["collect", "--once"]);
        self.hook.sender.store(child.id(), Ordering::SeqCst);
        child.wait_with_output().unwrap()
    }

    /// Makes the summaries of what was collected, and sends alerts.
    fn summarize(&self) {
        let data = self.upstream.folder().join("collected");
        let output = runlog(&["archive", "summarize", "--data"]).arg(data).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(self.collect().status.success());
    }

    /// Makes waiting alerts due.
    fn let_time_pass(&self) {
        let statement = "UPDATE alerts SET due_at = 0, claimed_until = 0 WHERE delivered_at IS NULL";
        let sql = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()";
        bash(&format!("python3 -c '{sql}' collected/catalog.sqlite '{statement}'"), self.upstream.folder());
    }
}

/// A backfill of two months sent alerts about runs that had failed weeks before.
#[test]
fn runs_that_ended_before_a_rule_was_there_are_not_reported_and_the_cause_is_quoted() {
    let scene = Scene::new();
    let ago = |ago: &str| bash(&format!("date -u -d '-{ago}' +%FT%TZ"), Path::new("/")).trim().to_owned();
    let failed = |number: u32, started: &str, finished: &str| {
        let record = json!({"severity": "ERROR", "logMessage": "ORA-00942: table \"STAGE_ORDERS\" does not exist"});
        let times = ["--started-at", started, "--finished-at", finished, "--finish", "execution_failed"];
        scene.run_with(number, &times, &record)
    };
    assert!(scene.collect().status.success());
    failed(1, &ago("3 days"), &ago("71 hours"));
    failed(2, &ago("70 minutes"), &ago("1 hour"));
    assert!(scene.collect().status.success());
    scene.summarize();
    assert_eq!(scene.told(), [], "they ended before the rule was there");

    let now = ago("0 seconds");
    let run = failed(3, &now, &now);
    // The times of the command are whole seconds, and the rule was seen a while ago.
    assert!(scene.collect().status.success());
    scene.summarize();
    let told = scene.told();
    let of_run: Vec<_> = told.iter().filter(|(what, ..)| what == "run_failed").collect();
    assert_eq!(of_run.len(), 1, "{told:?}");
    assert!(of_run[0].1.ends_with(&run), "{told:?}");
    let cause = "ORA-00942: table \"STAGE_ORDERS\" does not exist";
    assert_eq!(told.len(), 2, "and the problem is reported: {told:?}");
    let bodies: Vec<Value> = scene.hook.told().iter().map(WebhookRequest::json).collect();
    // A collector that ends does not wait for the problem of the run.
    let body = bodies.iter().find(|body| body["what"] == "new_problem").unwrap();
    assert_eq!(body["problem"]["headline"], json!(cause), "{body}");
    assert_eq!(body["problem"]["title"], json!(cause), "{body}");
    assert!(body["text"].as_str().unwrap().contains(cause), "{body}");
}

#[test]
fn a_failed_run_is_reported_once_to_a_webhook_and_a_mailbox() {
    let scene = Scene::new();
    scene.run(1, "execution_failed");
    assert!(scene.collect().status.success());
    assert!(scene.hook.told().is_empty(), "what happened before the rule was known is not told");

    let run = scene.run(2, "execution_failed");
    scene.run(3, "execution_successful");
    let output = scene.collect();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(scene.collect().status.success());
    let told = scene.hook.told();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1].json()["what"], "recovered", "a later run was successful");
    let body = told[0].json();
    assert_eq!(
        (&body["what"], &body["rule"], &body["runId"]),
        (&json!("run_failed"), &json!("night-shift"), &json!(run))
    );
    assert_eq!(body["link"], format!("https://runlog.example.com/runs/{run}"));
    let signed = format!(
        "printf '%s.%s' '{}' '{}' | openssl dgst -sha256 -hmac '{SECRET}' | sed 's/.* /v1=/'",
        told[0].header("x-runlog-timestamp"),
        told[0].body
    );
    assert_eq!(bash(&signed, scene.upstream.folder()).trim(), told[0].header("x-runlog-signature"));

    let mails = scene.mail.messages();
    assert_eq!(mails.len(), 2, "{mails:?}");
    for said in ["To: ops@example.com", "Subject: [runlog] test ended with execution_failed", &format!("/runs/{run}")] {
        assert!(mails[0].contains(said), "{said:?} is not in {}", mails[0]);
    }
}

#[test]
fn a_preview_lists_alerts_without_sending_them() {
    let scene = Scene::new();
    let run = scene.run(1, "execution_failed");
    scene.run(2, "execution_successful");
    assert!(scene.collect().status.success());
    let preview = |arguments: &[&str]| {
        // No secret of the settings is needed.
        let settings = ["alerts", "preview", "--settings", scene.settings.to_str().unwrap()];
        let mut command = runlog(&[&settings[..], arguments].concat());
        command.current_dir(scene.upstream.folder()).output().unwrap()
    };
    let output = preview(&["--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let first = &told[0];
    assert_eq!(
        (&first["rule"], &first["events"], &first["complete"]),
        (&json!("night-shift"), &json!(1), &json!(true))
    );
    assert_eq!((&first["items"][0]["what"], &first["items"][0]["runId"]), (&json!("run_failed"), &json!(run)));
    let text = String::from_utf8(preview(&[]).stdout).unwrap();
    assert!(text.starts_with("night-shift: 1 event\n") && text.contains("execution_failed"), "{text}");
    assert_eq!(serde_json::from_slice::<Value>(&preview(&["--json", "--since", "0s"]).stdout).unwrap()[0]["events"], 0);
    let wrong = preview(&["--rule", "day-shift"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("available: night-shift"));
    assert!(scene.collect().status.success());
    assert!(scene.hook.told().is_empty(), "a preview is not told");
}

#[test]
fn alerts_of_a_muted_rule_are_recorded_and_never_sent() {
    let scene = Scene::new();
    assert!(scene.collect().status.success());
    let service = Service::start_on(&scene.upstream.folder().join("collected"), &[]);
    ask(&service, "PUT", "/runlog/v1/alerts/night-shift/mute", r#"{"note":"planned work"}"#);
    scene.run(1, "execution_failed");
    assert!(scene.collect().status.success());
    let history = ask(&service, "GET", "/runlog/v1/alerts/history", "");
    // The service may have summarised the log meanwhile: then a new problem is found as well, here or later.
    let failed = |item: &&Value| item["what"] == "run_failed";
    let noted: Vec<&Value> = history["items"].as_array().unwrap().iter().filter(failed).collect();
    assert!(noted.len() == 2 && noted.iter().all(|item| item["state"] == "muted"), "{history}");
    let rules = ask(&service, "GET", "/runlog/v1/alerts", "");
    assert_eq!(rules[0]["description"]["when"], json!(["run_failed", "new_problem"]), "{rules}");
    assert_eq!(rules[0]["description"]["destinations"].as_array().unwrap().len(), 2);
    ask(&service, "DELETE", "/runlog/v1/alerts/night-shift/mute", "");
    assert!(scene.collect().status.success());
    let told = || scene.told().into_iter().filter(|(what, ..)| what == "run_failed").count();
    assert_eq!(told(), 0, "what was found during the mute is not told later");
    scene.run(2, "execution_failed");
    assert!(scene.collect().status.success());
    assert_eq!(told(), 1);
}

/// Users on call have neither the settings nor the files of the archive.
#[test]
fn rules_are_listed_and_muted_through_the_service() {
    let scene = Scene::new();
    assert!(scene.collect().status.success());
    let service = Service::start_on(&scene.upstream.folder().join("collected"), &[]);
    let laptop = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = service.runlog(&[&["alerts"], arguments].concat());
        command.env_remove("RUNLOG_SETTINGS").current_dir(laptop.path()).output().unwrap()
    };
    let succeed = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = succeed(&["list"]);
    assert!(listed.contains("night-shift  active"), "{listed}");
    assert_eq!(
        succeed(&["mute", "night-shift", "--until", "2199-01-01T00:00:00Z", "--note", "it moves"]),
        "night-shift is muted until 2199-01-01T00:00:00Z\n"
    );
    let rules: Value = serde_json::from_str(&succeed(&["list", "--json"])).unwrap();
    assert_eq!((&rules[0]["mute"]["note"], &rules[0]["mute"]["by"]), (&json!("it moves"), &json!("admin")), "{rules}");
    assert!(succeed(&["list"]).contains("muted until 2199-01-01"));
    scene.run(1, "execution_failed");
    assert!(scene.collect().status.success());
    assert!(scene.hook.told().is_empty());
    assert_eq!(succeed(&["unmute", "night-shift"]), "night-shift is not muted\n");
    assert!(succeed(&["list"]).contains("night-shift  active"));
    assert_eq!(succeed(&["mute", "night-shift"]), "night-shift is muted until `runlog alerts unmute night-shift`\n");
    for action in ["mute", "unmute"] {
        let wrong = run(&[action, "day-shift"]);
        assert_eq!(wrong.status.code(), Some(4));
        assert!(String::from_utf8_lossy(&wrong.stderr).contains("available: night-shift"));
    }
    let past = run(&["mute", "night-shift", "--until", "2020-01-01"]);
    assert!(!past.status.success() && String::from_utf8_lossy(&past.stderr).contains("in the future"));
    // Where the settings are named, the archive is read, although a service is known.
    let settings = ["alerts", "list", "--settings", scene.settings.to_str().unwrap()];
    let output =
        service.runlog(&settings).env("RUNLOG_TOKEN", "").current_dir(scene.upstream.folder()).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("night-shift  muted"));
}

#[test]
fn a_refused_alert_is_retried_and_then_given_up() {
    let scene = Scene::new();
    assert!(scene.collect().status.success());
    scene.run(2, "execution_failed");
    scene.hook.be(Manner::Refuses);
    assert!(scene.collect().status.success());
    assert!(scene.collect().status.success(), "it is not tried again at once");
    assert_eq!(scene.hook.told().len(), 1);
    scene.let_time_pass();
    scene.hook.be(Manner::Takes);
    scene.collect();
    scene.let_time_pass();
    scene.collect();
    let told = scene.hook.told();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0].header("x-runlog-id"), told[1].header("x-runlog-id"));
    assert_eq!(scene.mail.messages().len(), 1, "the mailbox does not wait for the webhook");
}

/// One mailbox that did not exist any more kept the alerts of a rule from all others, for three days and then for good.
#[test]
fn a_mailbox_that_does_not_exist_keeps_nothing_from_the_others() {
    let scene = Scene::new();
    let settings = std::fs::read_to_string(&scene.settings).unwrap();
    let several = "mail = [\"gone@example.com\", \"ops@example.com\"]";
    std::fs::write(&scene.settings, settings.replace("mail = [\"ops@example.com\"]", several)).unwrap();
    assert!(scene.collect().status.success());
    scene.run(2, "execution_failed");
    let output = scene.collect();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mails = scene.mail.messages();
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert!(mails[0].contains("To: ops@example.com"), "{}", mails[0]);
    let rule = || {
        let listed = scene.command(&["alerts", "list", "--json"]).output().unwrap();
        serde_json::from_slice::<Value>(&listed.stdout).unwrap()[0].clone()
    };
    assert_eq!((&rule()["refused"], &rule()["waiting"]), (&json!(1), &json!(0)), "{}", rule());
    scene.let_time_pass();
    scene.collect();
    assert_eq!((&rule()["refused"], scene.mail.messages().len()), (&json!(1), 1), "it is not tried for days");
}

#[test]
fn alerts_behind_a_failed_one_are_sent_in_the_next_round() {
    let scene = Scene::new();
    assert!(scene.collect().status.success());
    scene.run(2, "execution_failed");
    scene.run(3, "execution_failed");
    scene.hook.be(Manner::Refuses);
    for tried in 1..=2 {
        assert!(scene.collect().status.success());
        assert_eq!(scene.hook.told().len(), tried, "one that fails is enough");
    }
    let told = scene.hook.told();
    assert_ne!(told[0].header("x-runlog-id"), told[1].header("x-runlog-id"));
    assert_eq!(scene.mail.messages().len(), 2);
}

/// Alerts were sent one at a time to all destinations: the mailbox waited half a minute for each alert of the webhook.
#[test]
fn an_unresponsive_webhook_does_not_delay_mail() {
    let scene = Scene::new();
    assert!(scene.collect().status.success());
    scene.run(2, "execution_failed");
    scene.hook.be(Manner::Swallows);
    let child = scene.start(&["collect", "--once"]);
    let waiting = scene.hook.waiting.recv_timeout(PATIENCE).unwrap();
    scene.mail.took.recv_timeout(PATIENCE).unwrap();
    assert!(is_open(&waiting), "the mailbox was told after the webhook was given up");

    assert_eq!(stopped(child).status.code(), Some(130));
    scene.hook.be(Manner::Takes);
    scene.collect();
    let told = scene.hook.told();
    assert_eq!(told.len(), 2, "what was on its way is sent by the next one, at once");
    assert_eq!(told[0].header("x-runlog-id"), told[1].header("x-runlog-id"));
}

/// The attempt and its task never ended: rules were no longer evaluated, and SIGTERM had no effect.
#[test]
fn an_unresponsive_mail_server_does_not_delay_shutdown() {
    let (port, waiting) = silent_server();
    let server = format!("server = \"127.0.0.1\"\nport = {port}\nsecurity = \"none\"");
    let scene = Scene::set("\"run_failed\"", "", MailServer::start("none"), &server);
    assert!(scene.collect().status.success());
    scene.run(2, "execution_failed");
    for (arguments, code) in [(&["collect", "--once"][..], 130), (&["collect"][..], 0)] {
        let child = scene.start(arguments);
        let _waiting = waiting.recv_timeout(PATIENCE).unwrap();
        assert_eq!(stopped(child).status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_node_that_dies_before_it_notes_what_it_sent_sends_it_under_the_same_id() {
    let scene = Scene::new();
    assert!(scene.collect().status.success());
    scene.run(2, "execution_failed");
    scene.hook.be(Manner::Kills);
    assert!(!scene.collect().status.success());
    scene.hook.be(Manner::Takes);
    scene.collect();
    assert_eq!(scene.hook.told().len(), 1, "another node waits until the first is surely dead");
    scene.let_time_pass();
    scene.collect();
    scene.let_time_pass();
    scene.collect();
    let told = scene.hook.told();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0].header("x-runlog-id"), told[1].header("x-runlog-id"), "by this the receiver can tell");
    assert_eq!(told[0].body, told[1].body);
}

#[test]
fn check_tries_each_destination() {
    let scene = Scene::new();
    let check = || {
        let output = scene.command(&["check"]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (is_good, said) = check();
    assert!(is_good && said.contains("alerts to night-shift: mail ops@example.com (2 of 2): accepted"), "{said}");
    assert_eq!(scene.hook.told()[0].json()["what"], "test");
    scene.hook.be(Manner::Refuses);
    let (is_good, said) = check();
    assert!(!is_good && said.contains("answered 500"), "{said}");
    assert!(!said.contains("/hook"), "the address may be a secret: {said}");
}

#[test]
fn slow_runs_and_missing_runs_are_reported() {
    let scene = Scene::with_conditions("\"run_slow\", \"task_late\"", "");
    assert!(scene.collect().status.success());
    for number in 1..=6 {
        // Runs every ten minutes, one minute each; the last one two hours ago.
        scene.run_of(number, 120 + 10 * (7 - number), 60);
    }
    assert!(scene.collect().status.success());
    assert!(scene.collect().status.success());
    // It ends now: what ended before the rule was there is not reported.
    let slow = scene.run_of(7, 10, 600);
    assert!(scene.collect().status.success());
    assert!(scene.collect().status.success());
    let mut told = scene.told();
    told.retain(|(what, ..)| what != "recovered");
    told.sort();
    assert_eq!(told.len(), 2, "{told:?}");
    let (what, link, text) = &told[0];
    assert_eq!((what.as_str(), link), ("run_slow", &format!("https://runlog.example.com/runs/{slow}")));
    assert_eq!(text, "test took 10 min; it usually takes 1 min");
    let (what, link, text) = &told[1];
    assert_eq!((what.as_str(), link), ("task_late", &format!("https://runlog.example.com/tasks/{}", scene.task)));
    assert!(text.starts_with("test has not run since ") && text.ends_with(", and usually runs every 10 min"), "{text}");

    scene.run_of(8, 1, 50);
    assert!(scene.collect().status.success());
    let told = scene.told().split_off(2);
    assert!(told.len() == 2 && told.iter().all(|(what, ..)| what == "recovered"), "a run as usual ends both: {told:?}");
}

#[test]
fn a_new_kind_of_error_is_reported() {
    let scene = Scene::with_conditions("\"new_error\"", "");
    let error = |message: &str| json!({"severity": "ERROR", "logMessage": message});
    let finish = ["--finish", "execution_successful"];
    let summarize = || scene.summarize();
    assert!(scene.collect().status.success());
    scene.run_with(1, &finish, &error("table 7 is locked"));
    assert!(scene.collect().status.success());
    summarize();
    let before = scene.told().len();
    let run = scene.run_with(2, &finish, &error("disk /dev/sdb is full"));
    scene.run_with(3, &finish, &error("table 8 is locked"));
    assert!(scene.collect().status.success());
    summarize();
    summarize();
    let told = &scene.told()[before..];
    assert_eq!(told.len(), 1, "{told:?}");
    let (what, link, text) = &told[0];
    assert_eq!((what.as_str(), link), ("new_error", &format!("https://runlog.example.com/runs/{run}")));
    assert!(text.contains("logged a new kind of error: disk"), "{text}");
}

#[test]
fn one_alert_is_sent_for_each_new_problem_and_each_that_came_back() {
    let scene = Scene::with_conditions("\"new_problem\", \"problem_came_back\"", "");
    let error =
        |number: u32| json!({"severity": "ERROR", "logMessage": format!("java.sql.SQLException: no table t_{number}")});
    let finish = ["--finish", "execution_failed"];
    assert!(scene.collect().status.success());
    scene.run_with(1, &finish, &error(1));
    scene.run_with(2, &finish, &error(2));
    assert!(scene.collect().status.success());
    assert_eq!(scene.told(), [], "nothing is known of the runs yet");
    scene.summarize();
    scene.run_with(3, &finish, &error(3));
    assert!(scene.collect().status.success());
    scene.summarize();
    let told = scene.hook.told();
    assert_eq!(told.len(), 1, "three runs fail of one problem: {told:?}");
    let body = told[0].json();
    let problem = &body["problem"];
    assert_eq!(
        (&body["what"], &problem["state"], &problem["tasks"]),
        (&json!("new_problem"), &json!("open"), &json!(1))
    );
    let (id, title) = (problem["id"].as_str().unwrap(), problem["title"].as_str().unwrap());
    assert!(title.contains("java.sql.SQLException: no table"), "{title}");
    let headline = problem["headline"].as_str().unwrap();
    assert!(headline.starts_with("java.sql.SQLException: no table t_"), "with its value: {headline}");
    assert_eq!(body["text"], format!("new problem in test: {headline} (tasks: test)"));
    assert_eq!(body["link"], format!("https://runlog.example.com/problems/{id}"));
    let service = Service::start_on(&scene.upstream.folder().join("collected"), &[]);
    let history = ask(&service, "GET", "/runlog/v1/alerts/history", "");
    assert_eq!(history["items"][0]["problemId"], json!(id), "{history}");
    drop(service);
    assert_eq!((&problem["taskNames"], &body["workspaceName"]), (&json!(["test"]), &json!("test")));
    assert!(problem["firstSeen"].is_string() && body.get("runId").is_none(), "{body}");
    let mail = scene.mail.messages().remove(0);
    for said in
        ["Subject: [runlog] new problem in test: java.sql.SQLException", "state: open", "tasks: test", "first seen: "]
    {
        assert!(mail.contains(said), "{said:?} is not in {mail}");
    }

    // Changes by users are made at the service of the collecting archive.
    let folder = scene.upstream.folder().join("collected");
    let set = |arguments: &[&str]| {
        Service::start_on(&folder, &["--settle", "0s"]).succeed(&[&["problems"], arguments].concat())
    };
    set(&["resolve", id]);
    scene.run_with(4, &finish, &error(4));
    scene.run_with(5, &finish, &error(5));
    assert!(scene.collect().status.success());
    scene.summarize();
    scene.summarize();
    let mut told = scene.told().split_off(1);
    assert_eq!(told.remove(0).0, "recovered", "it was resolved");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0.as_str(), "problem_came_back");
    let came_back = "problem came back in test: java.sql.SQLException: no table t_";
    assert!(told[0].2.starts_with(came_back), "{told:?}");

    set(&["mute", id]);
    scene.run_with(6, &finish, &error(6));
    assert!(scene.collect().status.success());
    scene.summarize();
    assert_eq!(scene.told().len(), 3, "a muted problem is not told");
}

#[test]
fn a_sink_that_falls_behind_is_reported_with_the_reason() {
    // A port without a listener.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let sink = format!(
        "[[sink]]\nname = \"elastic\"\nkind = \"elasticsearch\"\nurl = \"http://127.0.0.1:{port}\"\nindex = \"logs\""
    );
    let scene = Scene::with_conditions("\"sink_behind\"", &sink);
    scene.run(1, "execution_successful");
    assert!(!scene.collect().status.success(), "what cannot be delivered is said");
    for _ in 0..2 {
        // The sink is paused, and keeps lagging behind.
        scene.collect();
    }
    let told = scene.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, "sink_behind");
    assert!(told[0].2.starts_with("sink elastic is behind by") && told[0].2.contains("1 run is due"), "{told:?}");
}

#[test]
fn mail_goes_over_connections_that_are_protected_and_logged_in() {
    for security in ["tls", "starttls"] {
        let server = |mail: &MailServer, authorities: bool| {
            let mut lines = format!(
                "server = \"localhost\"\nport = {}\nsecurity = \"{security}\"\nuser = \"runlog\"\npassword = {{ env = \"MAIL_PASSWORD\" }}\n",
                mail.port
            );
            if authorities {
                lines += &format!("authorities = \"{}\"\n", mail.folder.path().join("cert.pem").display());
            }
            lines
        };
        let mail = MailServer::start(security);
        let lines = server(&mail, true);
        let scene = Scene::set("\"run_failed\"", "", mail, &lines);
        assert!(scene.collect().status.success());
        scene.run(2, "execution_failed");
        let output = scene.collect();
        assert_eq!(scene.mail.messages().len(), 1, "{security}: {}", String::from_utf8_lossy(&output.stderr));

        let check = |command: &mut Command| {
            let output = command.output().unwrap();
            (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        assert!(check(&mut scene.command(&["check"])).0);
        let (is_good, said) = check(scene.command(&["check"]).env("MAIL_PASSWORD", "guessed"));
        assert!(!is_good && said.contains("authentication failed") && !said.contains("guessed"), "{said}");

        let mail = MailServer::start(security);
        let lines = server(&mail, false);
        let scene = Scene::set("\"run_failed\"", "", mail, &lines);
        let (is_good, said) = check(&mut scene.command(&["check"]));
        assert!(!is_good && said.contains("certificate"), "an unknown certificate is not trusted: {said}");
    }
}

#[test]
fn a_test_alert_reaches_each_destination_of_a_rule() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::start();
    let lines = [
        "[[alert]]".to_owned(),
        "name = \"chat\"".to_owned(),
        "when = [\"run_failed\"]".to_owned(),
        format!(
            "to = [{{ kind = \"slack\", url = {{ env = \"CHAT_HOOK\" }} }}, {{ kind = \"teams\", url = \"{}\" }}]",
            hook.url
        ),
    ];
    let settings = write_lines(folder.path().join("runlog.toml"), &lines);
    let test = |name: &str| {
        let mut command = runlog(&["alerts", "test", name, "--settings", settings.to_str().unwrap()]);
        let output = command.env("CHAT_HOOK", &hook.url).current_dir(folder.path()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, said) = test("chat");
    assert_eq!((code, said.matches("accepted").count()), (Some(0), 2), "{said}");
    assert!(!said.contains("/hook"), "the address is a secret: {said}");
    let mut told: Vec<Value> = hook.told().iter().map(WebhookRequest::json).collect();
    told.sort_by_key(|body| body["type"].is_null());
    assert_eq!(told[0]["attachments"][0]["content"]["version"], "1.4");
    assert_eq!(told[1]["text"], "runlog: this is a test, alerts arrive here");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no archive is created");

    let (code, said) = test("day");
    assert!(code == Some(2) && said.contains("available: chat"), "{code:?} {said}");
    hook.be(Manner::Refuses);
    let (code, said) = test("chat");
    assert!(code.is_some_and(|code| code != 0) && said.contains("it answered 500"), "{code:?} {said}");
    assert!(!said.contains("/hook"), "{said}");
}

impl Scene {
    /// Adds lines to the settings: the first ones before the rule, in which the others are.
    fn set_more(&self, before: &str, in_rule: &str) {
        let text = std::fs::read_to_string(&self.settings).unwrap();
        let text = text.replace("[[alert]]", &format!("{before}\n[[alert]]\n{in_rule}"));
        std::fs::write(&self.settings, text).unwrap();
    }

    fn list(&self) -> String {
        let output = self.command(&["alerts", "list"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn a_recovery_is_reported_once_by_mail_and_webhook() {
    let scene = Scene::new();
    assert!(scene.collect().status.success());
    let failed = scene.run(1, "execution_failed");
    assert!(scene.collect().status.success());
    assert!(scene.list().contains("OPEN SINCE") && scene.list().contains("test ended with execution_failed"));
    scene.run(2, "execution_successful");
    assert!(scene.collect().status.success());
    assert!(scene.collect().status.success());
    let told = scene.hook.told();
    let bodies: Vec<Value> = told.iter().map(WebhookRequest::json).collect();
    let whats: Vec<&str> = bodies.iter().map(|body| body["what"].as_str().unwrap()).collect();
    assert_eq!(whats, ["run_failed", "recovered"]);
    assert_eq!((&bodies[1]["of"], &bodies[1]["runId"]), (&json!("run_failed"), &json!(failed)));
    assert_eq!(bodies[0]["subjectId"], bodies[1]["subjectId"]);
    let mails = scene.mail.messages();
    assert_eq!(mails.len(), 2, "{mails:?}");
    assert!(mails[1].contains("Subject: [runlog] resolved by run "), "{}", mails[1]);
    assert!(!scene.list().contains("OPEN SINCE"), "{}", scene.list());
}

#[test]
fn in_a_maintenance_window_nothing_is_sent_and_the_list_says_until_when() {
    let scene = Scene::new();
    let window = "[[maintenance]]\nname = \"move\"\nfrom = \"2020-01-01T00:00:00Z\"\nto = \"2199-01-01T00:00:00Z\"\n";
    scene.set_more(window, "");
    assert!(scene.collect().status.success());
    scene.run(1, "execution_failed");
    assert!(scene.collect().status.success());
    assert!(scene.hook.told().is_empty());
    let listed = scene.list();
    assert!(listed.contains("MAINTENANCE WINDOW") && listed.contains("2199-01-01"), "{listed}");
    scene.run(2, "execution_successful");
    assert!(scene.collect().status.success());
    scene.let_time_pass();
    assert!(scene.collect().status.success());
    assert!(scene.hook.told().is_empty(), "it is over");
}
