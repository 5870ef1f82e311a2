//! `runlog deliver`: files, another Runlog by OTLP, and killed deliverers.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Service, runlog, succeeded, write_lines};

const RUN: &str = "00000000-0000-4000-8000-000000000001";

fn lines(count: usize) -> Vec<String> {
    let line = |number: usize| {
        json!({ "logTimestamp": 1_700_000_000_000_u64 + number as u64 / 3, "severity": "INFO", "logMessage": format!("line {number}") })
            .to_string()
    };
    (0..count).map(line).collect()
}

/// A service whose archive has one ended run.
fn with_run(count: usize) -> Service {
    let service = Service::start(&["--settle", "0s"]);
    let (_, task) = service.make_task();
    let file = write_lines(service.folder().join("log.ndjson"), &lines(count));
    service.succeed(&["push", RUN, file.to_str().unwrap(), "--task", &task, "--finish", "execution_successful"]);
    service
}

fn write_settings(folder: &Path, sinks: &str) {
    let archive = "[archive]\ndata = \"data\"\nsettle = \"0s\"\n";
    std::fs::write(folder.join("runlog.toml"), format!("{archive}{sinks}")).unwrap();
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] })
        .collect();
    found.sort();
    found
}

fn status(folder: &Path) -> Value {
    let output = runlog(&["status", "--json"]).current_dir(folder).output().unwrap();
    let status: Value = serde_json::from_str(&succeeded(output)).unwrap();
    status["sinks"][0]["figures"].clone()
}

#[test]
fn runs_are_delivered_as_files_while_they_are_served() {
    let service = with_run(30);
    let sink = "[[sink]]\nname = \"out\"\nkind = \"files\"\nfolder = \"out\"\nfile_name = \"{task}/{run_id}-{part}\"\n";
    write_settings(service.folder(), sink);
    let check = succeeded(runlog(&["check"]).current_dir(service.folder()).output().unwrap());
    assert!(check.contains("sink out"), "{check}");
    let once = || {
        let output = runlog(&["deliver", "--once", "--json"]).current_dir(service.folder()).output().unwrap();
        serde_json::from_str::<Value>(&succeeded(output)).unwrap()
    };
    assert_eq!((&once()[0]["records"], &once()[0]["records"]), (&json!(30), &json!(0)));
    let found = files_below(&service.folder().join("out"));
    assert_eq!(found, [service.folder().join(format!("out/test/{RUN}-0001.ndjson"))]);
    assert_eq!(status(service.folder())["done"], 1);
    let table = succeeded(runlog(&["status"]).current_dir(service.folder()).output().unwrap());
    assert!(table.contains("out") && table.contains("files"), "{table}");
}

#[test]
fn the_logs_of_a_period_are_sent_again_to_a_sink_that_has_lost_them() {
    let service = with_run(30);
    let sink = "[[sink]]\nname = \"out\"\nkind = \"files\"\nfolder = \"out\"\nfile_name = \"{task}/{run_id}-{part}\"\n";
    write_settings(service.folder(), sink);
    let deliver = |arguments: &[&str]| {
        let arguments = [&["deliver", "--once", "--json"], arguments].concat();
        runlog(&arguments).current_dir(service.folder()).output().unwrap()
    };
    let records = |arguments: &[&str]| {
        let output = deliver(arguments);
        serde_json::from_str::<Value>(&succeeded(output)).unwrap()[0]["records"].clone()
    };
    assert_eq!(records(&[]), 30);
    // The run ended with its last record, on 14 November 2023.
    let replay = ["--replay", "--sink", "out"];
    assert_eq!(records(&[&replay[..], &["--from", "2023-11-15"]].concat()), 0);
    std::fs::remove_dir_all(service.folder().join("out")).unwrap();
    assert_eq!(records(&replay), 0, "nothing was refused");
    assert_eq!(records(&[&replay[..], &["--from", "2023-11-14", "--to", "2023-11-14"]].concat()), 30);
    assert_eq!(files_below(&service.folder().join("out")).len(), 1);
    for (arguments, words) in [
        (&["--from", "2023-11-14"][..], "--replay"),
        (&["--replay", "--last", "1d"], "--sink"),
        (&["--replay", "--uncertain", "--sink", "out", "--last", "1d"], "--uncertain"),
        (&["--replay", "--sink", "out", "--from", "2023-11-15", "--to", "2023-11-14"], "is later than"),
    ] {
        let output = deliver(arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && told.contains(words), "{arguments:?}: {told}");
    }
}

#[test]
fn a_killed_deliverer_leaves_complete_files_and_the_next_one_resumes() {
    let service = with_run(20_000);
    let folder = service.stop();
    let sink = "[[sink]]\nname = \"out\"\nkind = \"files\"\nfolder = \"out\"\nbatch_records = 500\n";
    write_settings(folder.path(), sink);
    let out = folder.path().join("out");
    let start = || {
        let mut command = runlog(&["deliver"]);
        command.current_dir(folder.path()).stderr(Stdio::null()).spawn().unwrap()
    };
    let deadline = Instant::now() + Duration::from_secs(300);
    let until = |is_so: &dyn Fn() -> bool| {
        while !is_so() {
            assert!(Instant::now() < deadline, "it takes too long");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let mut first = start();
    until(&|| files_below(&out).len() > 3);
    first.kill().unwrap();
    first.wait().unwrap();
    let before = files_below(&out).len();
    let mut second = start();
    until(&|| status(folder.path())["done"] == 1);
    second.kill().unwrap();
    second.wait().unwrap();

    let found = files_below(&out);
    assert!(before < found.len() || before == 40, "{before} files were there before");
    let parts: Vec<&PathBuf> = found.iter().filter(|file| file.extension().is_some_and(|it| it == "ndjson")).collect();
    assert_eq!(parts.len(), 40);
    let mut seen = HashSet::new();
    for part in parts {
        for line in std::fs::read_to_string(part).unwrap().lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            assert!(seen.insert(record["logMessage"].as_str().unwrap().to_owned()), "{line} is there twice");
        }
    }
    assert_eq!(seen.len(), 20_000);
}

#[test]
fn another_runlog_as_sink_stores_each_record_once() {
    let (from, to) = (with_run(2_500), Service::start(&["--settle", "0s"]));
    let sink = format!(
        "[[sink]]\nname = \"other\"\nkind = \"otlp\"\nurl = \"{}\"\ntoken = {{ env = \"OTHER\" }}\nbatch_records = 400\n",
        to.url
    );
    write_settings(from.folder(), &sink);
    let deliver = |arguments: &[&str]| {
        let mut command = runlog(&["deliver", "--once", "--json"]);
        command.args(arguments).env("OTHER", &to.token).current_dir(from.folder());
        serde_json::from_str::<Value>(&succeeded(command.output().unwrap())).unwrap()
    };
    assert_eq!(deliver(&[])[0]["records"], 2_500);
    // The state is removed and everything is sent again in the same batches: the receiver has the records already.
    write_settings(from.folder(), "");
    succeeded(runlog(&["deliver", "--forget", "other"]).current_dir(from.folder()).output().unwrap());
    write_settings(from.folder(), &sink);
    assert_eq!(deliver(&[])[0]["records"], 2_500);

    let log = |service: &Service| -> Vec<(Value, Value, Value)> {
        let text = service.succeed(&["fetch", RUN, "--settle", "0s", "--no-wait", "-o", "-"]);
        let read = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let part =
            |record: Value| (record["logTimestamp"].clone(), record["severity"].clone(), record["logMessage"].clone());
        text.lines().map(read).map(part).collect()
    };
    assert_eq!(log(&to), log(&from));
}

/// A proxy or a destination that answers every request with this status, and records its first line.
fn destination(status: &'static str) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut reader = BufReader::new(connection.unwrap());
            let (mut first, mut length) = (String::new(), 0);
            reader.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap() <= 2 {
                    break;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            sender.send(first).unwrap();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    (address, lines)
}

#[test]
fn sinks_and_alerts_go_through_the_proxy_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = "[[sink]]\nname = \"a\"\nkind = \"otlp\"\nurl = \"http://logs.invalid:4318\"\n\
                 [[alert]]\nname = \"b\"\nwhen = [\"run_failed\"]\nwebhook = \"http://hooks.invalid/told\"\n";
    write_settings(folder.path(), hosts);
    let (proxy, lines) = destination("200 OK");
    let check = || {
        let mut command = runlog(&["check"]);
        command.current_dir(folder.path()).env_remove("NO_PROXY").env_remove("no_proxy").env("HTTP_PROXY", &proxy);
        command
    };
    succeeded(check().output().unwrap());
    let asked: Vec<String> = lines.try_iter().collect();
    assert_eq!(
        asked,
        ["POST http://logs.invalid:4318/v1/logs HTTP/1.1\r\n", "POST http://hooks.invalid/told HTTP/1.1\r\n"]
    );
    let without = check().env("NO_PROXY", "logs.invalid,hooks.invalid").output().unwrap();
    assert!(!without.status.success() && lines.try_recv().is_err(), "there are no such hosts");
}

#[test]
fn the_service_says_why_a_run_was_not_delivered() {
    let service = with_run(3);
    let (address, _lines) = destination("410 Gone");
    let sink = format!("[[sink]]\nname = \"hook\"\nkind = \"webhook\"\nurl = \"{address}\"\n");
    write_settings(service.folder(), &sink);
    runlog(&["deliver", "--once"]).current_dir(service.folder()).output().unwrap();
    let header = format!("Authorization: Bearer {}", service.token);
    let asked = Command::new("curl").args(["-s", "-H", &header, &format!("{}/runlog/v1/sinks", service.url)]).output();
    let sinks: Value = serde_json::from_str(&succeeded(asked.unwrap())).unwrap();
    let failed = &sinks[0]["failedDeliveries"][0];
    assert_eq!(failed["runId"], RUN, "{sinks}");
    assert!(failed["problem"].as_str().unwrap().contains("410"), "{sinks}");
}
