//! `[syslog]` of `runlog serve`: messages over TCP and UDP, the runs that they belong to, and messages without a run.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::Service;

const RUN: &str = "00000000-0000-4000-8000-00000000000a";
const OTHER: &str = "00000000-0000-4000-8000-00000000000b";

/// A service that receives syslog with further settings, and its ports.
struct Stage {
    service: Service,
    tcp: u16,
    udp: u16,
    workspace: String,
    task: String,
}

fn free_port() -> u16 {
    // Of both kinds.
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// `more` may contain `WORKSPACE` and `TASK`.
fn stage(more: &str) -> Stage {
    let first = Service::start(&["--settle", "0s"]);
    let (workspace, task) = first.make_task();
    let folder = first.stop();
    let (tcp, udp) = (free_port(), free_port());
    let token = folder.path().join("data/admin.token");
    let more = more.replace("WORKSPACE", &workspace).replace("TASK", &task);
    let settings = format!(
        "[syslog]\ntcp = \"127.0.0.1:{tcp}\"\nudp = \"127.0.0.1:{udp}\"\ntoken = {{ file = \"{}\" }}\n{more}\n",
        token.display()
    );
    let file = folder.path().join("runlog.toml");
    fs::write(&file, settings).unwrap();
    let service = Service::start_in(folder, &["--settle", "0s", "--settings", file.to_str().unwrap()]);
    let stage = Stage { service, tcp, udp, workspace, task };
    // A service that answers has bound all addresses.
    stage.metric("runlog_syslog_connections");
    stage
}

impl Stage {
    fn connect(&self) -> TcpStream {
        wait(|| TcpStream::connect(("127.0.0.1", self.tcp)).ok())
    }

    fn messages(&self, run: &str) -> Vec<String> {
        let output = self.service.runlog(&["fetch", run, "--no-wait", "-o", "-"]).output().unwrap();
        let log = String::from_utf8(output.stdout).unwrap();
        let message =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["logMessage"].as_str().unwrap().to_owned();
        log.lines().map(message).collect()
    }

    /// Waits until a run has so many records.
    fn wait_for(&self, run: &str, count: usize) -> Vec<String> {
        wait(|| Some(self.messages(run)).filter(|messages| messages.len() >= count))
    }

    fn records(&self, run: &str) -> Vec<Value> {
        let log = self.service.succeed(&["fetch", run, "--no-wait", "-o", "-"]);
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The value of a series, 0 if there is none.
    fn metric(&self, series: &str) -> u64 {
        let url = format!("{}/metrics", self.service.url);
        let header = format!("Authorization: Bearer {}", self.service.token);
        let output = std::process::Command::new("curl").args(["-sf", "-H", &header, &url]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    fn count(&self, transport: &str, outcome: &str) -> u64 {
        self.metric(&format!("runlog_syslog_messages_total{{transport=\"{transport}\",outcome=\"{outcome}\"}}"))
    }
}

/// Tries for half a minute.
#[track_caller]
fn wait<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing has come for half a minute");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn counted(message: &str) -> String {
    format!("{} {message}", message.len())
}

/// What the appender of a Remote Engine sends: its own JSON template in a message of RFC 5424.
fn of_engine(stage: &Stage, run: &str, level: &str, text: &str, second: u32) -> String {
    let event = json!({
        "timestamp": format!("2026-11-29T10:00:{second:02}.123Z"), "level": level, "message": text,
        "my_mdc": {"flowExecutionId": run, "flowId": stage.task, "workspace_id": stage.workspace},
    });
    format!("<14>1 2026-11-29T10:00:{second:02}.123Z engine-1 talend 4711 - - {event}")
}

#[test]
fn messages_over_tcp_are_stored_with_the_runs_that_they_name() {
    let stage = stage("");
    let mut connection = stage.connect();
    // Both framings on one connection, a message in two parts, and a stack trace in lines of its own.
    let end = json!({"event_type": "JOB_STATUS", "job_phase": "EXECUTION_FAILED", "timestamp": "2026-11-29T10:00:09Z",
        "message": "no such table", "task_execution_id": RUN, "task_id": stage.task});
    let stream = [
        counted(&of_engine(&stage, RUN, "INFO", "one\nsecond line", 1)),
        format!("{}\n", of_engine(&stage, RUN, "WARN", "two", 2)),
        format!("<11>1 2026-11-29T10:00:03Z engine-1 talend 7 - [my_mdc@18060 flowExecutionId=\"{RUN}\"] three\n"),
        "java.lang.IllegalStateException: no\n\tat a.B.c(B.java:1)\n".to_owned(),
        counted(&format!("<11>1 2026-11-29T10:00:04Z engine-1 talend 7 - - {end}")),
    ]
    .concat();
    let (one, other) = stream.as_bytes().split_at(200);
    connection.write_all(one).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    connection.write_all(other).unwrap();
    let messages = stage.wait_for(RUN, 4);
    let trace = "three\njava.lang.IllegalStateException: no\n\tat a.B.c(B.java:1)";
    assert_eq!(messages, ["one\nsecond line", "two", trace, "no such table"]);
    let record = &stage.records(RUN)[2];
    assert_eq!(
        (&record["severity"], &record["podName"], &record["app_name"]),
        (&json!("ERROR"), &json!("engine-1"), &json!("talend"))
    );
    let run = stage.service.succeed(&["runs", "--last", "50d", "--json"]);
    assert!(run.contains(RUN) && run.to_lowercase().contains("failed"), "{run}");
    assert_eq!((stage.count("tcp", "stored"), stage.count("tcp", "refused")), (4, 0));
}

#[test]
fn a_stack_trace_that_arrives_late_still_belongs_to_its_message() {
    let stage = stage("");
    let mut connection = stage.connect();
    connection.write_all(format!("{}\n", of_engine(&stage, RUN, "ERROR", "broken", 1)).as_bytes()).unwrap();
    stage.wait_for(RUN, 1);
    connection.write_all(b"\tat a.B.c(B.java:1)\n").unwrap();
    assert_eq!(stage.wait_for(RUN, 2), ["broken", "\tat a.B.c(B.java:1)"]);
    let records = stage.records(RUN);
    assert_eq!(records[1]["logTimestamp"], records[0]["logTimestamp"]);
    assert_eq!(records[1]["continued"], true);
}

/// An object of GELF, as its appenders send it over TCP.
fn of_gelf(stage: &Stage, text: &str) -> String {
    let event = json!({"version": "1.1", "host": "engine-1", "short_message": text, "level": 6,
        "timestamp": 1_795_946_402.5, "_runId": RUN, "_taskId": stage.task, "_workspace_id": stage.workspace});
    event.to_string()
}

/// Messages that end with zeros became one record, and objects of GELF were refused.
#[test]
fn messages_that_end_with_zeros_are_messages_of_their_own() {
    let stage = stage("");
    let (one, four) = (of_engine(&stage, RUN, "INFO", "one", 1), of_engine(&stage, RUN, "INFO", "four", 4));
    let stream = [one, of_gelf(&stage, "two"), of_gelf(&stage, "three"), four].join("\0") + "\0";
    stage.connect().write_all(stream.as_bytes()).unwrap();
    assert_eq!(stage.wait_for(RUN, 4), ["one", "two", "three", "four"]);
    assert_eq!((stage.count("tcp", "stored"), stage.count("tcp", "refused")), (4, 0));
}

/// A message with a length that did not begin with `<`, and all that followed, became a part of the message before, which was
/// of another run.
#[test]
fn what_has_no_valid_length_before_it_is_no_part_of_the_message_of_another_run() {
    let stage = stage("");
    let of_template = json!({"logTimestamp": "2026-11-29T10:00:02Z", "severity": "INFO", "logMessage": "second",
        "runId": OTHER, "taskId": stage.task, "workspace_id": stage.workspace});
    let stream = [
        counted(&of_engine(&stage, RUN, "INFO", "first", 1)),
        counted(&of_template.to_string()),
        counted(&of_engine(&stage, RUN, "INFO", "third", 3)),
        "0x20 a length that is none\n".to_owned(),
        counted(&of_engine(&stage, RUN, "INFO", "fourth", 4)),
    ];
    stage.connect().write_all(stream.concat().as_bytes()).unwrap();
    assert_eq!(stage.wait_for(RUN, 3), ["first", "third", "fourth"]);
    assert_eq!(stage.wait_for(OTHER, 1), ["second"]);
    assert_eq!((stage.count("tcp", "stored"), stage.count("tcp", "refused")), (4, 1));
}

/// A message was refused because of an element that had nothing to do with its run; of repeated parameters, the last was kept.
#[test]
fn structured_data_is_kept_as_far_as_it_is_well_formed() {
    let stage = stage("");
    stage.connect().write_all(format!("{}\n", of_engine(&stage, RUN, "INFO", "one", 1)).as_bytes()).unwrap();
    stage.wait_for(RUN, 1);
    let data = format!("[bad x=y][my_mdc@18060 flowExecutionId=\"{RUN}\"][origin ip=\"1.1.1.1\" ip=\"2.2.2.2\"]");
    let line = format!("<11>1 2026-11-29T10:00:03Z engine-1 talend 7 - {data} two\n");
    stage.connect().write_all(line.as_bytes()).unwrap();
    assert_eq!(stage.wait_for(RUN, 2), ["one", "[bad x=y] two"]);
    let record = &stage.records(RUN)[1];
    assert_eq!(record["origin"], json!({"ip": ["1.1.1.1", "2.2.2.2"]}));
    assert_eq!(record["app_name"], json!("talend"));
}

#[test]
fn messages_that_name_no_run_are_refused_and_counted() {
    let stage = stage("");
    let mut connection = stage.connect();
    connection
        .write_all(b"<34>Oct 11 22:14:15 mymachine su: failed\n<13>plain text\n<13>1 - - - - - - \xff\xfe\x1b[31m\n")
        .unwrap();
    connection.write_all(format!("{}\n", of_engine(&stage, RUN, "INFO", "good", 1)).as_bytes()).unwrap();
    drop(connection);
    assert_eq!(stage.wait_for(RUN, 1), ["good"]);
    wait(|| (stage.count("tcp", "refused") == 3).then_some(()));
    assert_eq!(stage.count("tcp", "stored"), 1);
}

#[test]
fn messages_without_a_run_are_kept_by_day_if_a_task_is_set() {
    let stage = stage("task = \"TASK\"");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |message: &str| socket.send_to(message.as_bytes(), ("127.0.0.1", stage.udp)).unwrap();
    let runs = |status: &str| -> Vec<String> {
        let query = format!("SELECT run_id FROM runs WHERE status = '{status}'");
        let listed = stage.service.succeed(&["sql", &query, "--format", "ndjson"]);
        let runs = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        runs.map(|run| run["run_id"].as_str().unwrap().to_owned()).collect()
    };
    // Without a time, they are of today.
    send("<34>1 - router dhcpd 7 - - one");
    send("<34>1 - router dhcpd 7 - - two\n");
    send("<34>1 - router sshd 7 - - other application");
    // The time of a device whose clock is wrong.
    send("<34>1 2090-11-28T10:00:00Z router sshd 7 - - future");
    wait(|| (stage.count("udp", "stored") == 4).then_some(()));
    let open = runs("executing");
    // An open log is fetched up to the last full second.
    let mut messages: Vec<Vec<String>> = open.iter().map(|run| stage.wait_for(run, 1)).collect();
    messages.sort();
    assert_eq!(messages, [vec!["one", "two"], vec!["other application"]]);
    let records = stage.service.succeed(&["sql", "SELECT sum(records) AS n FROM runs", "--format", "ndjson"]);
    assert_eq!(serde_json::from_str::<Value>(&records).unwrap()["n"], 4);
    // A day that is over.
    send("<34>1 2020-11-28T10:00:00Z router dhcpd 7 - - morning");
    send("<34>1 2020-11-28T23:00:00Z router dhcpd 7 - - evening");
    let ended = wait(|| runs("execution_successful").pop());
    assert_eq!(stage.wait_for(&ended, 2), ["morning", "evening"]);
    assert_eq!(runs("executing").len(), 2);
}

#[test]
fn what_is_too_long_is_cut_and_marked() {
    let stage = stage("message_bytes = 1024");
    let mut connection = stage.connect();
    let long = format!(
        "<11>1 2026-11-29T10:00:03Z h app 7 - [runlog@1 runId=\"{RUN}\" taskId=\"{}\"] {}",
        stage.task,
        "x".repeat(100_000)
    );
    connection.write_all(counted(&long).as_bytes()).unwrap();
    connection.write_all(format!("{}\n", of_engine(&stage, RUN, "INFO", "next", 4)).as_bytes()).unwrap();
    let messages = stage.wait_for(RUN, 2);
    assert!(messages[0].len() < 1_024 && messages[0].ends_with("xxx"), "{messages:?}");
    assert_eq!(messages[1], "next");
    assert_eq!(stage.records(RUN)[0]["truncated_from_bytes"], long.len());
    assert_eq!(stage.metric("runlog_syslog_messages_truncated_total{transport=\"tcp\"}"), 1);
}

#[test]
fn a_task_that_is_not_named_is_named_after_the_application() {
    let stage = stage("workspace = \"WORKSPACE\"");
    let mut connection = stage.connect();
    let message = format!("<14>1 2026-11-29T10:00:03Z h nightly-load 7 - [runlog@32473 runId=\"{RUN}\"] x");
    connection.write_all(counted(&message).as_bytes()).unwrap();
    assert_eq!(stage.wait_for(RUN, 1), ["x"]);
    let runs = stage.service.succeed(&["runs", "nightly-load", "--last", "50d", "--json"]);
    assert!(runs.contains(RUN), "{runs}");
}

#[test]
fn large_datagrams_do_not_displace_others() {
    let stage = stage("");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |run: &str, text: &str| {
        let run = format!("[runlog@32473 runId=\"{run}\" taskId=\"{}\"]", stage.task);
        let message = format!("<14>1 2026-11-29T10:00:03Z h app 7 - {run} {text}");
        socket.send_to(message.as_bytes(), ("127.0.0.1", stage.udp)).unwrap();
        // The buffer of the system may be small.
        std::thread::sleep(Duration::from_millis(10));
    };
    let braces = "{".repeat(60_000);
    send(RUN, "before");
    (0..12).for_each(|_| send(OTHER, &braces));
    send(RUN, "after");
    assert_eq!(stage.wait_for(RUN, 2), ["before", "after"]);
    assert_eq!(stage.wait_for(OTHER, 12).len(), 12);
    assert_eq!(stage.count("udp", "lost"), 0);
}

#[test]
fn equal_messages_are_stored_as_often_as_they_arrive() {
    let stage = stage("");
    let line = format!("{}\n", of_engine(&stage, RUN, "INFO", "same", 1));
    let mut connection = stage.connect();
    for expected in [2, 4] {
        connection.write_all(line.repeat(2).as_bytes()).unwrap();
        stage.wait_for(RUN, expected);
    }
    assert_eq!(stage.messages(RUN).len(), 4);
}

#[test]
fn what_has_arrived_is_stored_when_the_service_is_stopped() {
    let stage = stage("");
    let mut connection = stage.connect();
    let line = |number: u32| format!("{}\n", of_engine(&stage, RUN, "INFO", &format!("message {number}"), number % 60));
    let lines: String = (0..20_000).map(line).collect();
    connection.write_all(lines.as_bytes()).unwrap();
    let (tcp, udp, workspace, task) = (stage.tcp, stage.udp, stage.workspace.clone(), stage.task.clone());
    let folder = stage.service.stop();
    let service = Service::start_in(folder, &["--settle", "0s"]);
    let after = Stage { service, tcp, udp, workspace, task };
    assert_eq!(after.messages(RUN).len(), 20_000);
}

#[test]
fn senders_wait_while_the_archive_is_unavailable_and_nothing_is_lost() {
    let stage = stage("");
    let data = stage.service.folder().join("data");
    let objects = data.join("objects");
    assert!(objects.is_dir(), "{:?}", fs::read_dir(&data).unwrap().collect::<Vec<_>>());
    let mut connection = stage.connect();
    connection.write_all(format!("{}\n", of_engine(&stage, RUN, "INFO", "before", 1)).as_bytes()).unwrap();
    stage.wait_for(RUN, 1);
    fs::rename(&objects, data.join("away")).unwrap();
    fs::write(&objects, "").unwrap();
    // More than the buffers of both sides: at some point, the sender has to wait.
    let padding = "p".repeat(1_000);
    let line =
        |number: u32| format!("{}\n", of_engine(&stage, OTHER, "INFO", &format!("{number} {padding}"), number % 60));
    let lines: String = (0..30_000).map(line).collect();
    let writing = std::thread::spawn(move || {
        connection.write_all(lines.as_bytes()).unwrap();
        connection
    });
    wait(|| (stage.metric("runlog_syslog_connections_waiting") == 1).then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    assert!(!writing.is_finished(), "the sender was not made to wait");
    fs::remove_file(&objects).unwrap();
    fs::rename(data.join("away"), &objects).unwrap();
    let connection = writing.join().unwrap();
    drop(connection);
    wait(|| (stage.count("tcp", "stored") == 30_001).then_some(()));
    let mut numbers: Vec<u32> =
        stage.messages(OTHER).iter().map(|message| message.split(' ').next().unwrap().parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..30_000).collect::<Vec<_>>());
    assert_eq!(stage.metric("runlog_syslog_connections_waiting"), 0);
}

#[test]
fn senders_beyond_the_limits_are_turned_away_and_counted() {
    let stage = stage("connections = 1\nallow = [\"127.0.0.1\"]");
    let first = stage.connect();
    let mut second = stage.connect();
    second.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(second.read(&mut [0]).unwrap_or(0), 0, "it is closed");
    assert_eq!(stage.metric("runlog_syslog_rejected_total{reason=\"connections\"}"), 1);
    let socket = UdpSocket::bind("127.0.0.2:0").unwrap();
    socket.send_to(b"<13>x", ("127.0.0.1", stage.udp)).unwrap();
    wait(|| (stage.metric("runlog_syslog_rejected_total{reason=\"network\"}") == 1).then_some(()));
    drop(first);
}

#[test]
fn settings_that_would_let_everybody_write_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("runlog.toml");
    let output = |text: &str| {
        fs::write(&file, text).unwrap();
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--data", "data", "--settings", file.to_str().unwrap()];
        let output = crate::support::runlog(&arguments).current_dir(folder.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let token = "token = { file = \"t\" }";
    for (text, words) in [
        (format!("[syslog]\ntcp = \"0.0.0.0:1\"\n{token}"), "allow = "),
        (format!("[syslog]\n{token}"), "none of tcp, tls and udp"),
        (format!("[syslog]\ntls = \"127.0.0.1:1\"\n{token}"), "certificate and key"),
        ("[syslog]\ntcp = \"127.0.0.1:1\"".to_owned(), "missing field `token`"),
        (format!("[syslog]\ntcp = \"127.0.0.1:1\"\n{token}\nallow = [\"ten\"]"), "is not a network"),
    ] {
        let (code, errors) = output(&text);
        assert_eq!(code, Some(2), "{errors}");
        assert!(errors.contains(words), "{errors}");
    }
}

#[test]
fn the_token_and_its_rights_are_checked() {
    let service = Service::start(&["--settle", "0s"]);
    service.make_task();
    let other = service.succeed(&["admin", "users", "create", "reader", "--json"]);
    let other: Value = serde_json::from_str(&other).unwrap();
    let reader =
        service.succeed(&["admin", "tokens", "create", "laptop", "--user", other["id"].as_str().unwrap(), "--json"]);
    let reader: Value = serde_json::from_str(&reader).unwrap();
    let folder = service.stop();
    let check = |token: &str| {
        fs::write(folder.path().join("token"), token).unwrap();
        let settings = "[syslog]\ntcp = \"127.0.0.1:1\"\ntoken = { file = \"token\" }\n";
        fs::write(folder.path().join("runlog.toml"), settings).unwrap();
        let output = crate::support::runlog(&["check", "--data", "data"]).current_dir(folder.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let admin = fs::read_to_string(folder.path().join("data/admin.token")).unwrap();
    let (code, told) = check(&admin);
    assert!(code == Some(0) && told.contains("syslog: messages are stored as admin"), "{told}");
    let (code, told) = check("rlp_0000");
    assert!(code == Some(3) && told.contains("its token is not valid"), "{told}");
    let (code, told) = check(reader["token"].as_str().unwrap());
    assert!(code == Some(3) && told.contains("reader lacks the right Publisher"), "{told}");
}
