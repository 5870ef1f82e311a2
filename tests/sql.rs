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
fn a_query_on_an_archive_spills_to_its_own_folder() {
    let service = service();
    let query = "SELECT max(n) FROM (SELECT row_number() OVER (ORDER BY value % 1000) AS n FROM range(0, 3000000))";
    let ask = |spill: &str| {
        let mut command = runlog(&["sql", "--memory", "16", "--spill", spill, "--format", "csv", query, "--data"]);
        command.arg(service.folder().join("data")).env("TMPDIR", "/nowhere/at/all");
        command.output().unwrap()
    };
    assert_eq!(succeeded(ask("1000")), "max\n3000000\n");
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
        terminal
            .env("RUNLOG_PAGER", "")
            .env("HOME", service.folder())
            .env_remove("XDG_STATE_HOME")
            .current_dir(service.folder());
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
fn an_invalid_query_is_marked_at_its_position() {
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
    let told = |query: &str| {
        let output = service.runlog(&["sql", query]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let wrong = told("SELEC 1");
    assert!(wrong.contains("line 1, column 1") && !wrong.contains("Line: 1"), "the place is told once: {wrong}");
    for change in ["DELETE FROM runs", "CREATE TABLE x AS SELECT 1", "SET x = 1"] {
        let told = told(change);
        assert!(told.contains("queries only read the archive") && !told.contains("DML"), "{change}: {told}");
    }
    let week = service.succeed(&["sql", "SELECT DATE '2026-11-30' - INTERVAL '1 week', INTERVAL '0 days'"]);
    let head: Vec<&str> = week.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["?column?", "interval"], "{week}");
    let output = runlog(&["sql", "SELECT 1", "--data", "nowhere"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no archive in nowhere"));
}

#[test]
fn the_newest_records_that_hold_a_text_are_found() {
    let service = service();
    let found = service.succeed(&["search", "LINE 9", "--severity", "error"]);
    assert_eq!(found, format!("1970-01-01T00:01:30.000Z ERROR test {}#91: line 90\n", &RUN[..8]));
    let found = service.succeed(&["search", "line -1", "-n", "3", "--json"]);
    let messages: Vec<String> = found
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["logMessage"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(messages, ["line 99", "line 98", "line 97"]);
}

/// A run of a trace between other records, of which three are at one instant.
fn service_with_a_trace() -> (Service, &'static str) {
    let service = Service::start(&["--settle", "0s"]);
    let (_, task) = service.make_task();
    let trace =
        "java.lang.RuntimeException: job failed\n\tat a.B.c(B.java:1)\nCaused by: Disk full on /data\n\t... 3 more";
    let line = |time: i64, severity: &str, message: &str| {
        json!({"logTimestamp": time, "severity": severity, "logMessage": message}).to_string()
    };
    let lines = [
        line(1_000, "INFO", "job begins"),
        line(2_000, "INFO", "disk one"),
        line(2_000, "INFO", "disk one"),
        line(2_000, "INFO", "disk two"),
        line(3_000, "ERROR", trace),
        line(4_000, "INFO", "job ends"),
    ];
    let run = "abcdef01-0000-4000-8000-000000000001";
    let file = write_lines(service.folder().join("trace.ndjson"), &lines);
    service.succeed(&["push", run, file.to_str().unwrap(), "--task", &task, "--finish", "execution_failed"]);
    (service, run)
}

#[test]
fn a_match_is_shown_with_its_position_and_context() {
    let (service, run) = service_with_a_trace();
    let search = |arguments: &[&str]| service.succeed(&[&["search"], arguments].concat());
    let (early, late) =
        ("1970-01-01T00:00:02.000Z INFO  test abcdef01", "1970-01-01T00:00:03.000Z ERROR test abcdef01");
    // Of the trace, the line that matches; each record has the place of its own, also at one instant.
    let found = search(&["disk"]);
    let trace = format!("{late}#5: … Caused by: Disk full on /data (+3 lines)\n");
    assert_eq!(found, format!("{trace}{early}#4: disk two\n{early}#3: disk one\n{early}#2: disk one\n"));
    let full = search(&["disk", "--severity", "error", "--full"]);
    assert!(full.starts_with(&format!("{late}#5: java.lang")) && full.ends_with("\n\t... 3 more\n"), "{full}");

    let around = search(&["full", "-C", "1"]);
    let after = "1970-01-01T00:00:04.000Z INFO  test abcdef01#6- job ends\n";
    assert_eq!(around, format!("{early}#4- disk two\n{trace}{after}"));
    assert_eq!(search(&["full", "-A", "1"]), format!("{trace}{after}"));
    assert_eq!(search(&["full", "-B", "1"]), format!("{early}#4- disk two\n{trace}"));
    // Adjacent lines are one group, in the order of the log; groups are separated as by grep.
    let groups = search(&["job", "-C", "1"]);
    let place = |line: &str| line.split_once('#').map(|(_, rest)| rest.split(' ').next().unwrap().to_owned());
    let marks: Vec<String> = groups.lines().map(|line| place(line).unwrap_or_else(|| line.to_owned())).collect();
    assert_eq!(marks, ["4-", "5:", "6:", "--", "1:", "2-"], "{groups}");

    let json = |arguments: &[&str]| -> Vec<Value> {
        search(&[arguments, &["--json"]].concat()).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let indexes = |found: &[Value]| found.iter().map(|it| it["index"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(indexes(&json(&["disk"])), [4, 3, 2, 1]);
    let around = json(&["full", "-C", "1"]);
    assert_eq!(indexes(&around), [3, 4, 5]);
    assert_eq!(around.iter().map(|it| it["match"].as_bool().unwrap()).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!((&around[0]["logMessage"], &around[0]["runId"]), (&json!("disk two"), &json!(run)));

    let coloured = search(&["full", "--color", "always"]);
    assert!(coloured.contains("Disk \u{1b}[1m\u{1b}[31mfull\u{1b}[0m on"), "{coloured:?}");
    assert!(!search(&["full"]).contains('\u{1b}'));
}

#[test]
fn show_prints_the_log_around_a_match() {
    let (service, run) = service_with_a_trace();
    let show = |arguments: &[&str]| service.succeed(&[&["show"], arguments].concat());
    let shown = show(&["abcdef01#4", "-C", "1"]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "  3 1970-01-01T00:00:02.000Z | INFO  |  |  | disk one",
            "> 4 1970-01-01T00:00:02.000Z | INFO  |  |  | disk two"
        ]
    );
    assert!(lines[2].starts_with("  5 1970-01-01T00:00:03.000Z | ERROR |  |  | java.lang"), "{shown}");
    assert_eq!(show(&[run, "--line", "4", "-C", "1"]), shown);
    assert_eq!(show(&["abcdef01#4:", "-A", "1", "-B", "1"]), shown);
    assert_eq!(show(&["abcdef01#1"]).lines().count(), 9, "a trace has several lines");
    let json: Value = serde_json::from_str(&show(&["abcdef01#4", "-C", "0", "--json"])).unwrap();
    assert_eq!((&json["index"], &json["record"]["logMessage"]), (&json!(3), &json!("disk two")));
    let fails = |arguments: &[&str], code: i32, words: &str| {
        let output = service.runlog(&[&["show"], arguments].concat()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && told.contains(words), "{arguments:?}: {told}");
    };
    fails(&["abcdef01#7"], 4, "has no line 7; its log has 6 lines");
    fails(&["abcdef01"], 2, "which line?");
    fails(&["abcdef01#0"], 2, "is not the number of a line");
    fails(&["abcdef01#1", "--line", "2"], 2, "once");
}

#[test]
fn an_empty_result_names_the_missing_rights() {
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
