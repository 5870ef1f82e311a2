//! Each command, by what it prints and how it ends.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::support::{Service, runlog, succeeded, write_lines};

const RUN: &str = "00000000-0000-4000-8000-000000000001";

fn record(time: i64, message: &str) -> String {
    format!(r#"{{"logTimestamp":{time},"severity":"INFO","logMessage":"{message}"}}"#)
}

/// A service with a task, and a log of three records in a file.
fn with_task() -> (Service, String, String, PathBuf) {
    let service = Service::start(&["--settle", "0s"]);
    let (workspace, task) = service.make_task();
    let lines = [record(1_000, "one"), record(2_000, "two"), record(3_000, "three")];
    let file = write_lines(service.folder().join("log.ndjson"), &lines);
    (service, workspace, task, file)
}

fn push(service: &Service, task: &str, file: &std::path::Path) -> Value {
    let file = file.to_str().unwrap();
    service.json(&["push", RUN, file, "--task", task, "--finish", "execution_successful", "--json"])
}

#[track_caller]
fn check_failure(output: Output, code: i32, words: &[&str]) {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{errors}");
    for word in words {
        assert!(errors.contains(word), "{word:?} is not in: {errors}");
    }
}

#[test]
fn a_log_that_is_pushed_twice_is_stored_once() {
    let (service, _, task, file) = with_task();
    assert_eq!(push(&service, &task, &file)["stored"], 3);
    let again = push(&service, &task, &file);
    assert_eq!((&again["stored"], &again["repeated"]), (&json!(0), &json!(3)));
}

#[test]
fn compressed_logs_and_pipes_are_pushed_as_well() {
    let (service, _, task, file) = with_task();
    let packed = service.folder().join("log.ndjson.zst");
    let plain = std::fs::read(&file).unwrap();
    std::fs::write(&packed, zstd::encode_all(plain.as_slice(), 1).unwrap()).unwrap();
    assert_eq!(push(&service, &task, &packed)["stored"], 3);

    let mut command = service.runlog(&["push", "00000000-0000-4000-8000-000000000002", "-", "--task", &task]);
    let piped = command.stdin(std::fs::File::open(&file).unwrap()).output().unwrap();
    assert!(succeeded(piped).contains("stored 3 records"));
}

#[test]
fn a_bad_line_is_named_and_its_batch_is_not_stored() {
    let (service, _, task, file) = with_task();
    write_lines(file.clone(), &[record(1_000, "one"), r#"{"logTimestamp":"soon"}"#.to_owned()]);
    let output = service.runlog(&["push", RUN, file.to_str().unwrap(), "--task", &task]).output().unwrap();
    check_failure(output, 2, &["line 2", "logTimestamp", "soon", "nothing of this batch was stored"]);
    let empty = service.succeed(&["fetch", RUN, "--no-wait", "-o", "-"]);
    assert_eq!(empty, "");
}

#[test]
fn each_format_is_written_whole() {
    let (service, _, task, file) = with_task();
    push(&service, &task, &file);
    service.succeed(&["fetch", RUN, "--settle", "0s"]);
    let ndjson = std::fs::read_to_string(service.folder().join(format!("{RUN}.ndjson"))).unwrap();
    assert_eq!(
        ndjson.lines().collect::<Vec<_>>(),
        [record(1_000, "one"), record(2_000, "two"), record(3_000, "three")]
    );

    let array = service.json(&["fetch", RUN, "--settle", "0s", "--format", "json", "-o", "-"]);
    assert_eq!(array.as_array().unwrap().len(), 3);
    let text = service.succeed(&["fetch", RUN, "--settle", "0s", "--format", "text", "-o", "-"]);
    assert_eq!(text.lines().next(), Some("1970-01-01T00:00:01.000Z | INFO  |  |  | one"));
    let received = service.succeed(&["fetch", RUN, "--settle", "0s", "--order", "received", "-o", "-"]);
    assert!(received.lines().next().unwrap().contains("three"));
    let part =
        ["fetch", RUN, "--settle", "0s", "--from", "1970-01-01T00:00:02Z", "--to", "1970-01-01T00:00:02Z", "-o", "-"];
    assert_eq!(service.succeed(&part).lines().count(), 1);
}

#[test]
fn a_report_for_scripts_says_that_the_log_is_verified() {
    let (service, _, task, file) = with_task();
    push(&service, &task, &file);
    let report = service.json(&["fetch", RUN, "--settle", "0s", "--json"]);
    assert_eq!((&report["records"], &report["completeness"]["state"]), (&json!(3), &json!("verified")));
    assert!(!service.folder().join(format!("{RUN}.ndjson.runlog-part")).exists());
}

#[test]
fn exit_codes_say_what_to_do_next() {
    let (service, _, task, _) = with_task();
    let unknown = service.runlog(&["fetch", RUN]).output().unwrap();
    check_failure(unknown, 4, &["there is no run", RUN]);
    let mut without = runlog(&["fetch", RUN, "--api-url", &service.url]);
    check_failure(without.output().unwrap(), 3, &["no credentials", "RUNLOG_TOKEN"]);
    let secret = "rlp_000000000000000000000000000000000000000000000000aaaaaaaa";
    let mut wrong = service.runlog(&["runs", &task]);
    let wrong = wrong.env("RUNLOG_TOKEN", secret).output().unwrap();
    assert!(!String::from_utf8_lossy(&wrong.stderr).contains(secret));
    check_failure(wrong, 3, &["not known here"]);
    check_failure(service.runlog(&["fetch", "not-a-run"]).output().unwrap(), 2, &["not-a-run"]);
}

#[test]
fn a_service_that_is_away_is_told_apart() {
    let mut command =
        runlog(&["runs", "57f64991e4b0b689a64feed2", "--api-url", "http://127.0.0.1:9", "--retries", "0"]);
    let output = command.env("RUNLOG_TOKEN", "t").output().unwrap();
    check_failure(output, 5, &["127.0.0.1", "did not answer"]);
}

#[test]
fn a_missing_right_is_named_and_can_be_granted() {
    let (service, workspace, task, file) = with_task();
    push(&service, &task, &file);
    let account = service.json(&["admin", "service-accounts", "create", "monitoring", "--json"]);
    let (id, secret) = (account["id"].as_str().unwrap(), account["secret"].as_str().unwrap());
    let fetch = || {
        let mut command = runlog(&["fetch", RUN, "--settle", "0s", "-o", "-", "--api-url", &service.url]);
        command.env("RUNLOG_CLIENT_ID", id).env("RUNLOG_CLIENT_SECRET", secret).output().unwrap()
    };
    let holder = ["--workspace", &workspace, "--service-account", id];
    let grant = |rights: &[&str]| {
        service.succeed(&[&["admin", "rights", "grant"], &holder[..], rights].concat());
    };
    check_failure(fetch(), 3, &["lacks the right", "Viewer"]);
    grant(&["author", "viewer"]);
    check_failure(fetch(), 3, &["lacks the right Executor"]);
    grant(&["author", "viewer", "executor"]);
    assert_eq!(succeeded(fetch()).lines().count(), 3);
    service.succeed(&[&["admin", "rights", "revoke"], &holder[..]].concat());
    check_failure(fetch(), 3, &["lacks"]);
    service.succeed(&["admin", "service-accounts", "delete", id]);
    check_failure(fetch(), 3, &["no access token"]);
}

#[test]
fn runs_are_listed_for_people_and_for_scripts() {
    let (service, _, task, file) = with_task();
    push(&service, &task, &file);
    let shown = service.succeed(&["runs", &task]);
    assert!(shown.starts_with("RUN") && shown.contains(RUN) && shown.contains("EXECUTION_SUCCESS"), "{shown}");
    assert_eq!(service.json(&["runs", &task, "--json"])["executionId"], RUN);
    assert_eq!(service.succeed(&["runs", &task, "--status", "execution_failed", "--json"]), "");
}

#[test]
fn tail_shows_the_newest_records_and_follows_until_the_end() {
    let (service, _, task, file) = with_task();
    service.succeed(&["push", RUN, file.to_str().unwrap(), "--task", &task]);
    let newest = service.succeed(&["tail", RUN, "-n", "2"]);
    assert_eq!(newest.lines().map(|line| line.rsplit(' ').next().unwrap()).collect::<Vec<_>>(), ["two", "three"]);

    let mut follow = service.runlog(&["tail", RUN, "-f", "-n", "1", "--every", "50ms", "--json"]);
    let follow = follow.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let more = [record(1_500, "late"), record(3_000, "same instant"), record(4_000, "four")];
    let more = write_lines(service.folder().join("more.ndjson"), &more);
    service.succeed(&["push", RUN, more.to_str().unwrap(), "--finish", "execution_failed"]);
    let shown = succeeded(follow.wait_with_output().unwrap());
    let messages: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = &messages[messages.len() - 1];
    assert_eq!(last["logMessage"], "four", "{shown}");
}

#[test]
fn what_was_stored_is_there_after_a_restart() {
    let (service, _, task, file) = with_task();
    push(&service, &task, &file);
    let token = service.token.clone();
    let mode = std::fs::metadata(service.folder().join("data/admin.token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let service = Service::start_in(service.stop(), &["--settle", "0s"]);
    assert_eq!(service.token, token);
    assert_eq!(service.succeed(&["fetch", RUN, "--settle", "0s", "-o", "-"]).lines().count(), 3);
}

#[test]
fn a_lost_administrator_token_is_replaced_on_the_machine() {
    let service = Service::start(&[]);
    let (old, data) = (service.token.clone(), service.folder().join("data"));
    std::fs::remove_file(data.join("admin.token")).unwrap();
    succeeded(runlog(&["admin", "recover", "--data", data.to_str().unwrap()]).output().unwrap());
    let new = std::fs::read_to_string(data.join("admin.token")).unwrap();
    assert_ne!(new.trim(), old);
    let mut list = service.runlog(&["admin", "users", "list"]);
    assert!(succeeded(list.env("RUNLOG_TOKEN", new.trim()).output().unwrap()).contains("admin"));
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(succeeded(runlog(&["completions", shell]).output().unwrap()).contains("fetch"), "{shell}");
    }
}
