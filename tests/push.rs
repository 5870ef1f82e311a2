//! `runlog push`: what it reads, what it refuses and why, and the resulting state of the run.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::{Service, succeeded};

const RUN: &str = "00000000-0000-4000-8000-000000000001";

/// Three records, in the order of their times.
const MESSAGES: [&str; 3] = ["one", "zwei: grün 👍", "three]}\",\\"];

fn records() -> Vec<Value> {
    let record =
        |(number, message): (usize, &&str)| json!({"logTimestamp": 1_000 * (number + 1), "logMessage": message});
    MESSAGES.iter().enumerate().map(record).collect()
}

fn ndjson() -> String {
    records().iter().map(|record| format!("{record}\n")).collect()
}

fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(to_bytes).collect()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(plain, flate2::Compression::fast()).read_to_end(&mut packed).unwrap();
    packed
}

/// All formats of a log, with misleading file names.
fn forms() -> Vec<(&'static str, Vec<u8>)> {
    let (plain, marked) = (ndjson(), format!("\u{feff}{}", ndjson()));
    let array = serde_json::to_string_pretty(&records()).unwrap();
    let pretty: String = records().iter().map(|record| format!("{record:#}\n")).collect();
    vec![
        ("plain.ndjson.gz", plain.clone().into_bytes()),
        ("marked.ndjson", marked.clone().into_bytes()),
        ("twice-marked.ndjson", marked.replace('\n', "\n\u{feff}").into_bytes()),
        ("windows.txt", utf16(&marked.replace('\n', "\r\n"), u16::to_le_bytes)),
        ("big.txt", utf16(&marked, u16::to_be_bytes)),
        ("unmarked.txt", utf16(&plain, u16::to_le_bytes)),
        ("array.json", array.clone().into_bytes()),
        ("array-of-windows.json", utf16(&format!("\u{feff}{array}"), u16::to_le_bytes)),
        ("array-in-one-line.json", serde_json::to_vec(&records()).unwrap()),
        ("pretty.json", pretty.into_bytes()),
        ("gzip.log", gzip(plain.as_bytes())),
        ("zstd.gz", zstd::encode_all(plain.as_bytes(), 1).unwrap()),
        ("both.log", zstd::encode_all(gzip(array.as_bytes()).as_slice(), 1).unwrap()),
    ]
}

fn service() -> (Service, String) {
    let service = Service::start(&["--settle", "0s"]);
    let (_, task) = service.make_task();
    (service, task)
}

fn messages(service: &Service, run: &str) -> Vec<String> {
    let log = service.succeed(&["fetch", run, "--no-wait", "-o", "-"]);
    let message = |line: &str| serde_json::from_str::<Value>(line).unwrap()["logMessage"].as_str().unwrap().to_owned();
    log.lines().map(message).collect()
}

fn run_id(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

#[track_caller]
fn check_failure(output: &Output, code: i32, words: &[&str]) {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{errors}");
    for word in words {
        assert!(errors.contains(word), "{word:?} is not in: {errors}");
    }
}

#[test]
fn a_log_is_read_in_every_form_whatever_its_file_is_called() {
    let (service, task) = service();
    for (number, (name, bytes)) in forms().into_iter().enumerate() {
        let (file, run) = (service.folder().join(name), run_id(number + 1));
        fs::write(&file, &bytes).unwrap();
        let pushed = service.json(&["push", &run, name, "--task", &task, "--finish", "execution_successful", "--json"]);
        assert_eq!((&pushed["stored"], &pushed["repaired"]), (&json!(3), &Value::Null), "{name}: {pushed}");
        assert_eq!(messages(&service, &run), MESSAGES, "{name}");
        // Again through a pipe: records that exist already are recognised.
        let mut child = piped(&service, &["push", &run, "-", "--json"]);
        child.stdin.take().unwrap().write_all(&bytes).unwrap();
        let again: Value = serde_json::from_str(&succeeded(child.wait_with_output().unwrap())).unwrap();
        assert_eq!((&again["stored"], &again["repeated"]), (&json!(0), &json!(3)), "{name}");
    }
}

fn piped(service: &Service, arguments: &[&str]) -> std::process::Child {
    let mut command: Command = service.runlog(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_long_array_goes_in_batches_and_its_records_are_counted() {
    let (service, task) = service();
    let text = "x".repeat(1_000);
    let record = |number: u32| json!({"logTimestamp": number, "logMessage": format!("{number} {text}")});
    let mut records: Vec<Value> = (0..20_000).map(record).collect();
    let file = service.folder().join("array.json");
    fs::write(&file, serde_json::to_vec_pretty(&records).unwrap()).unwrap();
    let pushed = service.json(&["push", RUN, "array.json", "--task", &task, "--json"]);
    assert_eq!(pushed["stored"], 20_000);
    assert!(pushed["batches"].as_u64().unwrap() > 1, "{pushed}");

    records[15_000] = json!({"logTimestamp": "soon"});
    fs::write(&file, serde_json::to_vec_pretty(&records).unwrap()).unwrap();
    let skip = ["push", &run_id(2), "array.json", "--task", &task, "--skip-bad-lines"];
    check_failure(
        &service.runlog(&skip).output().unwrap(),
        6,
        &["record 15001 was rejected", "soon", "1 records were"],
    );
}

/// Inputs that are not logs, and parts of the error messages.
fn no_logs() -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let cut = gzip(&ndjson().repeat(100_000).into_bytes());
    vec![
        ("log.zip", b"PK\x03\x04\x14\0\0\0".to_vec(), &["it is a zip archive", "extract it"]),
        ("log.ndjson", b"\x01\x02\x03\x04".to_vec(), &["it is binary data", "one JSON object per line"]),
        ("log.parquet", b"PAR1\x15\x04".to_vec(), &["it is a Parquet file"]),
        ("log.gz", gzip(b"PK\x03\x04\x14\0\0\0"), &["it is a zip archive"]),
        ("log.txt", b"2021-08-19 10:11:12 INFO began\n".to_vec(), &["it is not JSON", "2021-08-19 10:11:12 INFO"]),
        ("log.html", b"<html><body>Sign in".to_vec(), &["it is HTML or XML"]),
        ("cut.gz", cut[..9].to_vec(), &["cannot read cut.gz"]),
    ]
}

#[test]
fn no_run_is_begun_for_a_file_that_cannot_be_read() {
    let (service, task) = service();
    for (name, bytes, words) in no_logs() {
        fs::write(service.folder().join(name), bytes).unwrap();
        let output = service.runlog(&["push", RUN, name, "--task", &task, "--finish", "execution_failed"]).output();
        check_failure(&output.unwrap(), 2, &[&["cannot read", name], words].concat());
        // The same from standard input.
        let mut command = service.runlog(&["push", RUN, "-", "--task", &task]);
        let output = command.stdin(fs::File::open(service.folder().join(name)).unwrap()).output().unwrap();
        check_failure(&output, 2, &["cannot read standard input"]);
    }
    for name in ["missing.ndjson", "data"] {
        let output = service.runlog(&["push", RUN, name, "--task", &task]).output().unwrap();
        check_failure(&output, 2, &["cannot read", name]);
    }
    assert_eq!(service.succeed(&["runs", &task, "--json"]), "");
}

fn status(service: &Service, task: &str, run: &str) -> String {
    let runs = service.succeed(&["runs", task, "--json"]);
    let runs = runs.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let run = runs.into_iter().find(|found| found["executionId"] == run).unwrap();
    run["executionStatus"].as_str().unwrap().to_owned()
}

#[test]
fn a_run_whose_log_turns_out_to_be_bad_does_not_go_on_for_ever() {
    let (service, task) = service();
    let push = |number: usize, bytes: &[u8], more: &[&str]| {
        fs::write(service.folder().join("log"), bytes).unwrap();
        let run = run_id(number);
        service.runlog(&[&["push", &run, "log", "--task", &task], more].concat()).output().unwrap()
    };
    let finish = ["--finish", "execution_failed", "--error-message", "no orders"];
    let bad_line = format!("{}{{\"logTimestamp\":\"soon\"}}\n", ndjson());
    let words = ["line 4", "soon", "is ended as execution_failed nevertheless", "push the corrected log"];
    check_failure(&push(1, bad_line.as_bytes(), &finish), 2, &words);
    assert_eq!(status(&service, &task, &run_id(1)), "EXECUTION_FAILED");
    // The repaired log can still be pushed to the ended run.
    succeeded(push(1, ndjson().as_bytes(), &finish));
    assert_eq!(messages(&service, &run_id(1)), MESSAGES);

    // The records before the truncation are stored.
    let long = ndjson().repeat(200_000);
    let packed = gzip(long.as_bytes());
    let words = ["cannot read the log", "records before it are stored", "is ended as"];
    check_failure(&push(2, &packed[..packed.len() - 9], &finish), 1, &words);
    assert_eq!(status(&service, &task, &run_id(2)), "EXECUTION_FAILED");
    let cut = serde_json::to_string(&records()).unwrap();
    let words = ["in the middle of record 3", "is unchanged", "--finish"];
    check_failure(&push(3, &cut.as_bytes()[..cut.len() - 3], &[]), 2, &words);

    // Other content came through the pipe after the run was started.
    let mut child = piped(&service, &["push", &run_id(4), "-", "--task", &task, "--finish", "execution_failed"]);
    child.stdin.take().unwrap().write_all(b"PK\x03\x04").unwrap();
    check_failure(&child.wait_with_output().unwrap(), 2, &["standard input", "zip archive", "is ended as"]);
    assert_eq!(status(&service, &task, &run_id(4)), "EXECUTION_FAILED");
}

#[test]
fn bad_lines_can_be_skipped_and_are_told() {
    let (service, task) = service();
    let mut lines: Vec<String> = records().iter().map(Value::to_string).collect();
    lines.insert(1, "Picked up JAVA_TOOL_OPTIONS: \u{1b}[2J".to_owned());
    lines.insert(3, r#"{"logTimestamp":"soon"}"#.to_owned());
    fs::write(service.folder().join("log"), lines.join("\n")).unwrap();
    let push = ["push", RUN, "log", "--task", &task, "--finish", "execution_successful"];
    check_failure(&service.runlog(&push).output().unwrap(), 2, &["line 2"]);

    let output = service.runlog(&[&push[..], &["--skip-bad-lines"]].concat()).output().unwrap();
    check_failure(&output, 6, &["line 2 was rejected", "line 4 was rejected", "soon", "2 lines were rejected"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("stored 3 records"));
    assert_eq!(status(&service, &task, RUN), "EXECUTION_SUCCESS");
    assert_eq!(messages(&service, RUN), MESSAGES);

    let output = service.runlog(&[&push[..], &["--skip-bad-lines", "--json"]].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    let pushed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&pushed["repeated"], &pushed["refusedLines"]), (&json!(3), &json!(2)), "{pushed}");
    assert_eq!((&pushed["refused"][0]["line"], &pushed["refused"][1]["line"]), (&json!(2), &json!(4)));

    // A log without a valid line starts with something that is not JSON; still, it is not an archive.
    fs::write(service.folder().join("log"), "PK\u{3}\u{4}").unwrap();
    let skip = ["push", &run_id(2), "log", "--task", &task, "--skip-bad-lines"];
    check_failure(&service.runlog(&skip).output().unwrap(), 2, &["zip archive"]);
}

#[test]
fn half_characters_are_mended_and_counted() {
    let (service, task) = service();
    fs::write(service.folder().join("log"), b"{\"logTimestamp\":1,\"logMessage\":\"gr\xfcn\"}\n").unwrap();
    let output = service.runlog(&["push", RUN, "log", "--task", &task]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 texts had invalid characters"), "{output:?}");
    assert_eq!(messages(&service, RUN), ["gr\u{fffd}n"]);
}
