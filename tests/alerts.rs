//! Alerts: told once each, to a webhook and a mailbox on this machine, whatever happens in between.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::{Service, bash, runlog, write_lines};

const SECRET: &str = "a secret that signs";

/// What came to a webhook: its headers, lower case, and its body.
#[derive(Debug, Clone)]
struct Told {
    headers: Vec<(String, String)>,
    body: String,
}

impl Told {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What a webhook does with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Takes,
    Refuses,
    /// Ends the sender before it can be answered.
    Kills,
}

struct Hook {
    url: String,
    told: Arc<Mutex<Vec<Told>>>,
    manner: Arc<Mutex<Manner>>,
    sender: Arc<AtomicU32>,
}

impl Hook {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (told, manner) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Manner::Takes)));
        let sender = Arc::new(AtomicU32::new(0));
        let (all, how, whom) = (told.clone(), manner.clone(), sender.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let one = read_request(&connection);
                all.lock().unwrap().push(one);
                let manner = *how.lock().unwrap();
                if manner == Manner::Kills {
                    bash(&format!("kill -9 {}", whom.load(Ordering::SeqCst)), std::path::Path::new("/"));
                    continue;
                }
                let status = if manner == Manner::Takes { "204 No Content" } else { "500 Internal Server Error" };
                write!(connection, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            }
        });
        Self { url, told, manner, sender }
    }

    fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    fn be(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }
}

fn read_request(connection: &TcpStream) -> Told {
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
    Told { headers, body: String::from_utf8(body).unwrap() }
}

/// A mail server that takes only what RFC 5321 lets it take, in that order; its messages.
fn mail_server() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let messages = Arc::new(Mutex::new(Vec::new()));
    let all = messages.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            converse(&connection.unwrap(), &all);
        }
    });
    (port, messages)
}

fn converse(connection: &TcpStream, messages: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(connection);
    let say = |text: &str| write!(&mut &*connection, "{text}\r\n").unwrap();
    let line_of = |reader: &mut BufReader<&TcpStream>| {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.is_empty() || line.ends_with("\r\n"), "a line ends with CR and LF: {line:?}");
        assert!(line.len() <= 1_000, "a line is too long");
        line.trim_end_matches("\r\n").to_owned()
    };
    say("220 mail.test ESMTP");
    let (mut greeted, mut from, mut to) = (false, false, 0);
    loop {
        let line = line_of(&mut reader);
        match line.split([' ', ':']).next().unwrap().to_uppercase().as_str() {
            "EHLO" => {
                greeted = true;
                say("250-mail.test");
                say("250 8BITMIME");
            }
            "MAIL" if greeted && !from && line.contains("<runlog@example.com>") => {
                from = true;
                say("250 ok");
            }
            "RCPT" if from && line.contains("<ops@example.com>") => {
                to += 1;
                say("250 ok");
            }
            "DATA" if to > 0 => {
                say("354 go on");
                let mut message = String::new();
                loop {
                    match line_of(&mut reader).as_str() {
                        "." => break,
                        line => message += &format!("{}\n", line.strip_prefix('.').unwrap_or(line)),
                    }
                }
                messages.lock().unwrap().push(message);
                (from, to) = (false, 0);
                say("250 taken");
            }
            "RSET" | "NOOP" => say("250 ok"),
            "QUIT" => return say("221 until next time"),
            "" => return,
            _ => say("503 bad sequence of commands"),
        }
    }
}

/// An upstream, an archive that collects from it, a webhook and a mailbox.
struct Scene {
    upstream: Service,
    task: String,
    settings: PathBuf,
    hook: Hook,
    mails: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    fn new() -> Self {
        let upstream = Service::start(&["--settle", "0s"]);
        let (_, task) = upstream.make_task();
        let hook = Hook::start();
        let (port, mails) = mail_server();
        let lines = [
            "[archive]".to_owned(),
            format!("data = \"{}\"", upstream.folder().join("collected").display()),
            "[[upstream]]".to_owned(),
            "name = \"other\"".to_owned(),
            format!("url = \"{}\"", upstream.url),
            "token = { env = \"TOKEN_OF_OTHER\" }".to_owned(),
            "allow_private_addresses = true".to_owned(),
            "settle = \"0s\"".to_owned(),
            "[alerts]".to_owned(),
            "public_url = \"https://runlog.example.com/\"".to_owned(),
            "[alerts.mail]".to_owned(),
            format!(
                "server = \"127.0.0.1\"\nport = {port}\nsecurity = \"none\"\nfrom = \"Runlog <runlog@example.com>\""
            ),
            "[[alert]]".to_owned(),
            "name = \"night-shift\"".to_owned(),
            "when = [\"run_failed\", \"new_problem\"]".to_owned(),
            format!("webhook = \"{}\"", hook.url),
            "secret = { env = \"HOOK_SECRET\" }".to_owned(),
            "mail = [\"ops@example.com\"]".to_owned(),
        ];
        let settings = write_lines(upstream.folder().join("runlog.toml"), &lines);
        Self { upstream, task, settings, hook, mails }
    }

    /// Pushes a run to the upstream.
    fn run(&self, number: u32, status: &str) -> String {
        let run = format!("00000000-0000-4000-8000-{number:012}");
        let line = json!({"logTimestamp": 5, "severity": "INFO", "logMessage": "it ran"}).to_string();
        let file = write_lines(self.upstream.folder().join("log.ndjson"), &[line]);
        let push = ["push", &run, file.to_str().unwrap(), "--task", &self.task, "--finish", status];
        self.upstream.succeed(&push);
        run
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = runlog(arguments);
        command.arg("--settings").arg(&self.settings).current_dir(self.upstream.folder());
        command.env("TOKEN_OF_OTHER", &self.upstream.token).env("HOOK_SECRET", SECRET);
        command
    }

    /// Collects once, and tells.
    fn collect(&self) -> Output {
        let mut command = self.command(&["collect", "--once"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        self.hook.sender.store(child.id(), Ordering::SeqCst);
        child.wait_with_output().unwrap()
    }

    /// What waits, waits no longer.
    fn let_time_pass(&self) {
        let statement = "UPDATE alerts SET due_at = 0, claimed_until = 0 WHERE delivered_at IS NULL";
        let sql = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()";
        bash(&format!("python3 -c '{sql}' collected/catalog.sqlite '{statement}'"), self.upstream.folder());
    }
}

#[test]
fn a_failed_run_is_told_once_to_a_webhook_and_a_mailbox() {
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
    assert_eq!(told.len(), 1, "{told:?}");
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

    let mails = scene.mails.lock().unwrap().clone();
    assert_eq!(mails.len(), 1, "{mails:?}");
    for said in ["To: ops@example.com", "Subject: [runlog] test ended with execution_failed", &format!("/runs/{run}")] {
        assert!(mails[0].contains(said), "{said:?} is not in {}", mails[0]);
    }
}

#[test]
fn a_webhook_that_refuses_is_told_again_later_and_then_no_more() {
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
    assert_eq!(scene.mails.lock().unwrap().len(), 1, "the mailbox does not wait for the webhook");
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
    assert!(is_good && said.contains("alerts to mail ops@example.com: taken"), "{said}");
    assert_eq!(scene.hook.told()[0].json()["what"], "test");
    scene.hook.be(Manner::Refuses);
    let (is_good, said) = check();
    assert!(!is_good && said.contains("answered 500"), "{said}");
    assert!(!said.contains("/hook"), "the address may be a secret: {said}");
}
