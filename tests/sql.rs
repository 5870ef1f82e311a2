//! `runlog sql` and `runlog search`: on an archive, and with a service.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{RUNLOG, Service, runlog, succeeded, write_lines};

const RUN: &str = "00000000-0000-4000-8000-000000000001";

/// A service with a run of a hundred records.
fn service() -> Service {
    let service = Service::start(&["--settle", "0s"]);
    let (_, task) = service.make_task();
    let line = |at: i64| {
        let severity = if at % 10 == 0 { "ERROR" } else { "INFO" };
        json!({"logTimestamp": 1_000 * at, "severity": severity, "logMessage": format!("line {at}")}).to_string()
    };
    let file = write_lines(service.folder().join("log.ndjson"), &(0..100).map(line).collect::<Vec<_>>());
    service.succeed(&["push", RUN, file.to_str().unwrap(), "--task", &task, "--finish", "execution_failed"]);
    service
}

#[test]
fn a_service_and_an_archive_answer_alike() {
    let service = service();
    let query = "SELECT severity, count(*) AS records, max(time) AS newest FROM records GROUP BY 1 ORDER BY 1";
    let expected = "severity  records  newest\n--------  -------  --------------------\nERROR          10  1970-01-01T00:01:30Z\n\
                    INFO           90  1970-01-01T00:01:39Z\n(2 rows)\n";
    assert_eq!(service.succeed(&["sql", query]), expected);
    let of_archive = |arguments: &[&str]| {
        let mut command = runlog(&["sql", "--data"]);
        command.arg(service.folder().join("data")).args(arguments).current_dir(service.folder());
        succeeded(command.output().unwrap())
    };
    assert_eq!(of_archive(&[query]), expected);
    let csv = "severity,records,newest\nERROR,10,1970-01-01T00:01:30Z\nINFO,90,1970-01-01T00:01:39Z\n";
    for asked in [&of_archive as &dyn Fn(&[&str]) -> String, &|arguments: &[&str]| {
        service.succeed(&[&["sql"], arguments].concat())
    }] {
        assert_eq!(asked(&["--format", "csv", query]), csv);
        // The file extension determines the format; the file appears completely or not at all.
        assert_eq!(asked(&["-o", "answer.csv", query]), "");
        assert_eq!(std::fs::read_to_string(service.folder().join("answer.csv")).unwrap(), csv);
        assert_eq!(asked(&["-o", "answer.parquet", "SELECT * FROM records"]), "");
        let file = std::fs::read(service.folder().join("answer.parquet")).unwrap();
        assert!(file.starts_with(b"PAR1") && file.ends_with(b"PAR1"));
    }
}

/// Temporary files were written to the system folder, which is small or in memory on many machines.
#[test]
fn a_question_to_an_archive_goes_on_in_files_of_its_folder() {
    let service = service();
    let query = "SELECT max(n) FROM (SELECT row_number() OVER (ORDER BY value % 1000) AS n FROM range(0, 3000000))";
    let ask = |spill: &str| {
        let mut command = runlog(&["sql", "--memory", "16", "--spill", spill, "--format", "csv", query, "--data"]);
        command.arg(service.folder().join("data")).env("TMPDIR", "/nowhere/at/all");
        command.output().unwrap()
    };
    assert_eq!(succeeded(ask("1000")), "max(n)\n3000000\n");
    let refused = ask("16");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("16 MiB of temporary files"), "{told}");
    let left = std::fs::read_dir(service.folder().join("data/sql")).unwrap().flatten();
    let left: Vec<_> = left.filter(|entry| entry.path().is_dir()).collect();
    // That of the service, which has its own.
    assert!(left.len() <= 1, "{left:?}");
}

#[test]
fn a_query_can_come_on_standard_input() {
    let service = service();
    let mut command = service.runlog(&["sql", "--format", "ndjson"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"SELECT run_id, error_records\nFROM runs").unwrap();
    let printed = succeeded(child.wait_with_output().unwrap());
    assert_eq!(printed, format!("{{\"run_id\":\"{RUN}\",\"error_records\":10}}\n"));
}

#[test]
fn at_a_terminal_queries_have_several_lines_and_a_history() {
    let service = service();
    let at_terminal = |steps: Value| {
        let mut terminal = Command::new("python3");
        terminal.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/support/terminal.py")).args([RUNLOG, "sql"]);
        terminal.env("RUNLOG_API_URL", &service.url).env("RUNLOG_TOKEN", &service.token).env("TERM", "xterm");
        terminal.env("HOME", service.folder()).env_remove("XDG_STATE_HOME").current_dir(service.folder());
        let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(steps.to_string().as_bytes()).unwrap();
        succeeded(child.wait_with_output().unwrap())
    };
    at_terminal(json!([
        ["runlog> ", "SELECT count(*) AS all_of_them\n"],
        ["...> ", "FROM records;\n"],
        ["(1 row)", ""],
        ["runlog> ", "SELECT nothing FROM records;\n"],
        ["there is no column nothing", ""],
        // An error does not end the session.
        ["runlog> ", "\\d\n"],
        ["deliveries", ""],
        ["runlog> ", "\\q\n"],
    ]));
    // The previous query can be recalled with the up arrow; Ctrl-D also exits.
    let upwards = "\u{1b}[A\u{1b}[A\u{1b}[A";
    at_terminal(json!([["runlog> ", upwards], ["all_of_them", "\n"], ["(1 row)", ""], ["runlog> ", "\u{4}"]]));
}

#[test]
fn a_wrong_query_is_pointed_at() {
    let service = service();
    let output =
        runlog(&["sql", "SELECT *\nFROM recrods", "--data"]).arg(service.folder().join("data")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let expected = "error: there is no table recrods; did you mean records?\n2 | FROM recrods\n  |      ^\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    let output = service.runlog(&["sql", "SELECT *\nFROM recrods"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("did you mean records?; line 2, column 6: FROM recrods"), "{told}");
    let output = runlog(&["sql", "SELECT 1", "--data", "nowhere"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no archive in nowhere"));
}

#[test]
fn the_newest_records_that_hold_a_text_are_found() {
    let service = service();
    let found = service.succeed(&["search", "LINE 9", "--severity", "error"]);
    assert_eq!(found, format!("1970-01-01T00:01:30.000Z ERROR test {RUN} line 90\n"));
    let found = service.succeed(&["search", "line -1", "-n", "3", "--json"]);
    let messages: Vec<String> = found
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["logMessage"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(messages, ["line 99", "line 98", "line 97"]);
}

#[test]
fn a_caller_without_rights_is_told_why_nothing_is_found() {
    let service = service();
    let user = service.json(&["admin", "users", "create", "nobody", "--json"])["id"].as_str().unwrap().to_owned();
    let token = service.json(&["admin", "tokens", "create", "test", "--user", &user, "--json"]);
    let token = token["token"].as_str().unwrap();
    for arguments in [&["search", "line"][..], &["sql", "SELECT count(*) FROM records"]] {
        let told = |token: &str| {
            let output = service.runlog(arguments).env("RUNLOG_TOKEN", token).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        let to_nobody = told(token);
        assert!(to_nobody.contains("nobody may not read the logs of any workspace"), "{arguments:?}: {to_nobody}");
        assert!(!told(&service.token).contains("may not read"), "{arguments:?}: an administrator may");
    }
}
