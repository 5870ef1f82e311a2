//! `runlog push`: what it reads, what it refuses and why, and the resulting state of the run.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::{Service, runlog, succeeded};

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

fn bzip2(plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    bzip2::read::BzEncoder::new(plain, bzip2::Compression::best()).read_to_end(&mut packed).unwrap();
    packed
}

/// Of the reference implementation.
fn xz(plain: &[u8]) -> Vec<u8> {
    let code = "import lzma, sys; sys.stdout.buffer.write(lzma.compress(sys.stdin.buffer.read(), preset=9))";
    let mut python = Command::new("python3");
    let mut child = python.args(["-c", code]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(plain).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
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
        ("bzip2.log", bzip2(plain.as_bytes())),
        ("xz.log", xz(plain.as_bytes())),
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
        &["record 15001 was rejected", "soon", "1 record was rejected"],
    );
}

/// Inputs that are not logs, and parts of the error messages.
fn no_logs() -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let cut = gzip(&ndjson().repeat(100_000).into_bytes());
    vec![
        ("log.zip", b"PK\x03\x04\x14\0\0\0".to_vec(), &["it is a zip archive", "extract it"]),
        ("log.ndjson", b"\x01\x02\x03\x04".to_vec(), &["it is binary data", "NDJSON, JSON, CSV"]),
        ("log.parquet", b"PAR1\x15\x04".to_vec(), &["it is a Parquet file"]),
        ("log.gz", gzip(b"PK\x03\x04\x14\0\0\0"), &["it is a zip archive"]),
        ("log.txt", b"10:11:12.345 [main] INFO c.e.C - began\n".to_vec(), &["a time of day but no date", "--date"]),
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

/// After 13 refused pushes, a task had 13 runs that never ended.
#[test]
fn a_log_that_is_refused_leaves_no_run_and_nothing_stored() {
    let (service, task) = service();
    let push = |run: &str, bytes: &[u8], more: &[&str]| {
        fs::write(service.folder().join("log"), bytes).unwrap();
        service.runlog(&[&["push", "--run", run, "log", "--task", &task], more].concat()).output().unwrap()
    };
    let finish = ["--finish", "execution_failed", "--error-message", "no orders"];
    let none = || assert_eq!(service.succeed(&["runs", &task, "--json"]), "");
    let bad_line = format!("{}{{\"logTimestamp\":\"soon\"}}\n{{]\n", ndjson());
    let words = [
        "line 4: \"soon\" is not a time",
        "line 5: this is not JSON",
        "2 lines of log cannot be read",
        "nothing was stored",
        "3 valid records",
        "--skip-invalid",
    ];
    check_failure(&push(RUN, bad_line.as_bytes(), &finish), 2, &words);
    none();
    // A bad line far behind the first batch.
    let long = format!("{}{{\"logTimestamp\":\"soon\"}}\n", ndjson().repeat(100_000));
    check_failure(&push(RUN, long.as_bytes(), &[]), 2, &["line 300001", "1 line of log", "300,000 valid records"]);
    // Logs that end in the middle of something.
    let packed = gzip(ndjson().repeat(200_000).as_bytes());
    let cut = &packed[..packed.len() - 9];
    check_failure(&push(RUN, cut, &finish), 1, &["cannot read the log", "nothing was stored", "--skip-invalid"]);
    let array = serde_json::to_string(&records()).unwrap();
    let words = ["in the middle of record 3", "truncated", "nothing was stored"];
    check_failure(&push(RUN, &array.as_bytes()[..array.len() - 3], &[]), 2, &words);
    for (more, words) in [
        (
            &[
                "--started-at",
                "2026-11-27T20:00:00Z",
                "--finish",
                "execution_failed",
                "--finished-at",
                "2026-11-26T20:00:00Z",
            ][..],
            &["--finished-at 2026-11-26T20:00:00.000Z is before --started-at"][..],
        ),
        (&["--finish", "execution_failed", "--finished-at", "1614696623"], &["is not a time"]),
        (&["--date", "today"], &["--date"]),
        (&["--tz", "Middle/Earth"], &["not a time zone"]),
        (&["--map", "colour=x"], &["colour", "severity"]),
    ] {
        check_failure(&push(RUN, ndjson().as_bytes(), more), 2, words);
    }
    let no_task = service.runlog(&["push", "log"]).output().unwrap();
    check_failure(&no_task, 2, &["a new run needs a task", "--task", "--run"]);
    let unknown = service.runlog(&["push", "log", "--task", "57f64991e4b0b689a64feed2"]).output().unwrap();
    check_failure(&unknown, 4, &["there is no task 57f64991e4b0b689a64feed2"]);
    // Other content came through a pipe.
    let mut child = piped(&service, &["push", RUN, "-", "--task", &task, "--finish", "execution_failed"]);
    child.stdin.take().unwrap().write_all(b"PK\x03\x04").unwrap();
    check_failure(&child.wait_with_output().unwrap(), 2, &["standard input", "zip archive"]);
    // Interrupted while the log is being read.
    let mut child = piped(&service, &["push", RUN, "-", "--task", &task]);
    let mut input = child.stdin.take().unwrap();
    input.write_all(ndjson().as_bytes()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    check_failure(&child.wait_with_output().unwrap(), 130, &["interrupted before anything was stored"]);
    drop(input);
    none();
    // The corrected log can be pushed with the same command.
    succeeded(push(RUN, ndjson().as_bytes(), &finish));
    assert_eq!(
        (status(&service, &task, RUN).as_str(), messages(&service, RUN)),
        ("EXECUTION_FAILED", MESSAGES.map(str::to_owned).to_vec())
    );
}

/// What a service refuses that the command itself accepts: lines that are longer than it takes.
#[test]
fn a_run_that_was_started_for_a_log_that_the_service_rejects_is_ended() {
    let service = Service::start(&["--settle", "0s", "--line-bytes", "100"]);
    let (_, task) = service.make_task();
    let long = json!({"logTimestamp": 1, "logMessage": "x".repeat(200)});
    fs::write(service.folder().join("log"), format!("{long}\n")).unwrap();
    let output = service.runlog(&["push", "log", "--task", &task]).output().unwrap();
    check_failure(&output, 2, &["the service rejected record 1 (nothing was stored)", "is ended as"]);
    let runs = service.json(&["runs", &task, "--json"]);
    assert_eq!(runs["executionStatus"], "EXECUTION_TERMINATED");
}

#[test]
fn several_files_are_the_logs_of_as_many_runs() {
    let (service, task) = service();
    for name in ["a.ndjson", "b.ndjson", "c.ndjson"] {
        fs::write(service.folder().join(name), ndjson()).unwrap();
    }
    fs::write(service.folder().join("b.ndjson"), "{\"logTimestamp\":\"soon\"}\n").unwrap();
    let push = ["push", "a.ndjson", "b.ndjson", "c.ndjson", "--task", &task, "--finish", "successful"];
    let output = service.runlog(&push).output().unwrap();
    check_failure(&output, 2, &["cannot push b.ndjson", "1 of 3 files were not stored"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said.matches("stored 3 records of run").count(), 2, "{said}");
    assert!(said.contains("a.ndjson: ") && said.contains("c.ndjson: "), "{said}");
    assert_eq!(service.succeed(&["runs", &task, "--json"]).lines().count(), 2, "one run for each file");

    let of_one_run = service.runlog(&["push", RUN, "a.ndjson", "c.ndjson", "--task", &task]).output().unwrap();
    check_failure(&of_one_run, 2, &[RUN]);
    let without = service.runlog(&["push", RUN, "--task", &task]).output().unwrap();
    check_failure(&without, 2, &["give the log file of run", RUN]);
    fs::create_dir(service.folder().join("logs")).unwrap();
    let folder = service.runlog(&["push", "logs", "--task", &task]).output().unwrap();
    check_failure(&folder, 2, &["logs: it is a folder", "runlog push --follow logs"]);
}

#[test]
fn an_interrupted_push_is_resumed_by_the_same_command() {
    let (service, task) = service();
    fs::write(service.folder().join("log"), ndjson()).unwrap();
    // The service is unavailable when the log is sent.
    let away = service
        .runlog(&["push", RUN, "log", "--task", &task, "--retries", "0"])
        .env("RUNLOG_API_URL", "http://127.0.0.1:9")
        .output();
    check_failure(&away.unwrap(), 5, &["cannot connect to 127.0.0.1", "refused"]);
    for (stored, repeated) in [(3, 0), (0, 3)] {
        let pushed = service.json(&["push", RUN, "log", "--task", &task, "--json"]);
        assert_eq!((&pushed["stored"], &pushed["repeated"]), (&json!(stored), &json!(repeated)), "{pushed}");
    }
    assert_eq!(messages(&service, RUN), MESSAGES);
    // The same ID of another task is refused, and nothing is added.
    let (_, other) = {
        let environment =
            service.json(&["admin", "environments", "create", "other", "--json"])["id"].as_str().unwrap().to_owned();
        let workspace =
            service.json(&["admin", "workspaces", "create", "other", "--environment", &environment, "--json"])["id"]
                .as_str()
                .unwrap()
                .to_owned();
        let task = service.json(&["admin", "tasks", "create", "other", "--workspace", &workspace, "--json"]);
        (workspace, task["executable"].as_str().unwrap().to_owned())
    };
    let output = service.runlog(&["push", RUN, "log", "--task", &other]).output().unwrap();
    check_failure(&output, 2, &["belongs to task"]);
}

#[test]
fn invalid_lines_can_be_skipped_and_are_reported() {
    let (service, task) = service();
    let mut lines: Vec<String> = records().iter().map(Value::to_string).collect();
    lines.insert(1, "Picked up JAVA_TOOL_OPTIONS: \u{1b}[2J".to_owned());
    lines.insert(3, r#"{"logTimestamp":"soon"}"#.to_owned());
    fs::write(service.folder().join("log"), lines.join("\n")).unwrap();
    let push = ["push", RUN, "log", "--task", &task, "--finish", "execution_successful"];
    check_failure(&service.runlog(&push).output().unwrap(), 2, &["line 2"]);

    let output = service.runlog(&[&push[..], &["--skip-invalid"]].concat()).output().unwrap();
    check_failure(&output, 6, &["line 2 was rejected", "line 4 was rejected", "soon", "2 lines were rejected"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("stored 3 records"));
    assert_eq!(status(&service, &task, RUN), "EXECUTION_SUCCESS");
    assert_eq!(messages(&service, RUN), MESSAGES);

    let output = service.runlog(&[&push[..], &["--skip-invalid", "--json"]].concat()).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    let pushed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&pushed["repeated"], &pushed["refusedLines"]), (&json!(3), &json!(2)), "{pushed}");
    assert_eq!((&pushed["refused"][0]["line"], &pushed["refused"][1]["line"]), (&json!(2), &json!(4)));

    // The records before the end of a log that was cut off.
    let packed = gzip(ndjson().repeat(200_000).as_bytes());
    fs::write(service.folder().join("log"), &packed[..packed.len() - 9]).unwrap();
    let skip = ["push", &run_id(2), "log", "--task", &task, "--skip-invalid"];
    let output = service.runlog(&skip).output().unwrap();
    check_failure(&output, 6, &["cannot read the log", "the records before are stored"]);
    // A log without a valid line is still no archive.
    fs::write(service.folder().join("log"), "PK\u{3}\u{4}").unwrap();
    let skip = ["push", &run_id(3), "log", "--task", &task, "--skip-invalid"];
    check_failure(&service.runlog(&skip).output().unwrap(), 2, &["zip archive"]);
}

fn run_of(service: &Service, task: &str) -> Value {
    let january = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-31T00:00:00Z"];
    let runs = service.succeed(&[&["runs", task, "--json"], &january[..]].concat());
    serde_json::from_str(runs.lines().next().unwrap()).unwrap()
}

/// A log of five days ago was shown as a run of 59 ms.
#[test]
fn a_run_without_an_id_gets_one_and_starts_and_ends_with_its_log() {
    let (service, task) = service();
    // 2026-01-10T08:00:00Z.
    let past = 1_768_032_000;
    let log = format!(
        "{{\"logTimestamp\":{past}100,\"logMessage\":\"a\"}}\n{{\"logTimestamp\":{}300}}\n{{\"logTimestamp\":0}}\n",
        past + 23
    );
    fs::write(service.folder().join("log"), log).unwrap();
    let pushed = service.json(&["push", "log", "--task", &task, "--finish", "execution_failed", "--json"]);
    let run = run_of(&service, &task);
    assert_eq!(run["executionId"], pushed["runId"]);
    let at = |name: &str| run[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let begun = past * 1_000 + 100;
    assert_eq!((at("triggerTimestamp"), at("startTimestamp"), at("finishTimestamp")), (begun, begun, begun + 23_200));
    let told = service.succeed(&["push", "log", "--task", &task, "--finish", "execution_failed"]);
    assert!(
        told.starts_with("stored 3 records of run ") && !told.contains(pushed["runId"].as_str().unwrap()),
        "{told}"
    );

    // What is given counts, and a run that was started before keeps its start.
    let start = "2026-01-01T00:00:00Z";
    let given = ["push", RUN, "log", "--task", &task, "--started-at", start];
    service.succeed(&given);
    service.succeed(&["push", RUN, "log", "--task", &task, "--finish", "execution_successful"]);
    let report = service.json(&["report", RUN, "--json"]);
    assert!(report.to_string().contains("2026-01-01T00:00:00"), "{report}");
}

#[test]
fn seconds_in_the_place_of_milliseconds_are_refused() {
    let (service, task) = service();
    fs::write(service.folder().join("log"), "{\"logTimestamp\":1619018951,\"logMessage\":\"a\"}\n").unwrap();
    let output = service.runlog(&["push", "log", "--task", &task]).output().unwrap();
    check_failure(&output, 2, &["line 1: logTimestamp 1619018951", "2021-04-21T15:29:11Z in seconds", "milliseconds"]);
    assert_eq!(service.succeed(&["runs", &task, "--json"]), "");
}

#[test]
fn half_characters_are_mended_and_counted() {
    let (service, task) = service();
    fs::write(service.folder().join("log"), b"{\"logTimestamp\":1,\"logMessage\":\"gr\xfcn\"}\n").unwrap();
    let output = service.runlog(&["push", RUN, "log", "--task", &task]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("1 text had invalid characters"), "{output:?}");
    assert_eq!(messages(&service, RUN), ["gr\u{fffd}n"]);
}

#[test]
fn a_push_warns_if_the_retention_deletes_the_log() {
    let (service, task) = service();
    let data = service.folder().join("data");
    fs::write(service.folder().join("log.ndjson"), ndjson()).unwrap();
    let push = |finished_at: &str| {
        let times = ["--started-at", "2020-01-09", "--finished-at", finished_at];
        let arguments = [&["push", "log.ndjson", "--task", &task, "--finish", "failed"], &times[..]].concat();
        let output = service.runlog(&arguments).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        succeeded(output);
        told
    };
    assert!(!push("2020-01-10").contains("expired"), "logs are kept at any age");
    succeeded(runlog(&["archive", "retention", "test", "--days", "36500", "--data"]).arg(&data).output().unwrap());
    assert!(!push("2020-01-10").contains("expired"), "there is time left");
    let retention = ["archive", "retention", "test", "--days", "30", "--yes", "--data"];
    succeeded(runlog(&retention).arg(&data).output().unwrap());
    let told = push("2020-01-10T00:00:00Z");
    assert!(told.contains("has expired on 2020-02-09") && told.contains("runlog archive hold "), "{told}");
}
