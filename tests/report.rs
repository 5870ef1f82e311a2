//! `runlog report` and `runlog diff` with a service: in the terminal, as a page, as JSON.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Service, bash, runlog, write_lines};

const GOOD: &str = "00000000-0000-4000-8000-000000000001";
const BAD: &str = "00000000-0000-4000-8000-000000000002";

/// A service with a successful and a failed run, both sealed and summarised; also returns their workspace and task.
fn two_runs() -> (Service, String, String) {
    let service = Service::start(&["--settle", "0s"]);
    let (workspace, task) = service.make_task();
    let line = |ms: i64, severity: &str, message: &str| {
        json!({"logTimestamp": 1_700_000_000_000_i64 + ms, "severity": severity, "logMessage": message}).to_string()
    };
    let mut lines: Vec<String> = (0..30).map(|at| line(at * 500, "INFO", &format!("read {at} rows"))).collect();
    push(&service, GOOD, &lines, &task, "execution_successful");
    let long = format!("the row was {}: end of the message", "one value and another ".repeat(11));
    lines.push(line(
        60_000,
        "ERROR",
        "load <b>failed</b>\njava.sql.SQLException: no table\n\tat demo.Orders.run(Orders.java:12)",
    ));
    lines.push(line(60_100, "ERROR", &long));
    push(&service, BAD, &lines, &task, "execution_failed");
    wait_until_summarised(&service, BAD);
    wait_until_summarised(&service, GOOD);
    (service, workspace, task)
}

fn push(service: &Service, run: &str, lines: &[String], task: &str, finish: &str) {
    let file = write_lines(service.folder().join("log.ndjson"), lines);
    service.succeed(&["push", run, file.to_str().unwrap(), "--follow", "--task", task, "--finish", finish]);
}

/// The service seals and summarises in the background, every few seconds.
fn wait_until_summarised(service: &Service, run: &str) {
    let begun = Instant::now();
    while service.json(&["report", run, "--json"])["log"]["state"] != "whole" {
        assert!(begun.elapsed() < Duration::from_secs(60), "run {run} is not summarised");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn the_report_of_a_failed_run_says_what_failed_and_what_is_new() {
    let (service, workspace, task) = two_runs();
    let shown = service.succeed(&["report", BAD]);
    for said in [
        "failed, started",
        "Why it failed",
        "What failed first",
        "load <b>failed</b>",
        "java.sql.SQLException: no table",
        "at demo.Orders.run(Orders.java:12)",
        &format!("run {GOOD}"),
        "2 patterns new",
        "45.5 s",
        "█",
    ] {
        assert!(shown.contains(said), "{said:?} is not in\n{shown}");
    }
    assert!(!shown.contains('\x1b'), "no colours in a pipe");
    let report: Value = service.json(&["report", BAD, "--json"]);
    assert_eq!(report["against"]["run"]["runId"], GOOD);

    let brief = service.succeed(&["report", BAD, "--brief"]);
    for said in ["## Cause\n\n`java.sql.SQLException: no table`", "[line 31](http", "## What to try", "untrusted"] {
        assert!(brief.contains(said), "{said:?} is not in\n{brief}");
    }
    assert!(brief.len() <= 8_000);

    let page = service.folder().join("report.html");
    service.succeed(&["report", BAD, "--html", page.to_str().unwrap()]);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.contains("load &lt;b&gt;failed&lt;/b&gt;"), "{page}");
    assert!(!page.contains("<b>") && !page.contains("<script"), "nothing of a log is markup");
    assert!(page.contains("end of the message"), "a page does not shorten messages to the width of a terminal");
    assert!(!shown.contains("end of the message"), "the terminal shows their beginning");
    assert!(page.contains(&format!("<a href=\"{}/runs/{BAD}\">Open in Runlog</a>", service.url)), "{page}");
    assert!(page.contains("th{white-space:nowrap}"), "short columns are not broken within words");
    well_formed(&page, service.folder());

    let of_task = service.succeed(&["report", &task, "--last-days", "3660"]);
    assert!(of_task.contains("50.0 %") && of_task.contains("Kinds of errors") && of_task.contains("new"), "{of_task}");
    let of_workspace = service.succeed(&["report", &workspace]);
    assert!(
        of_workspace.contains("1 task to check, 0 fine") && of_workspace.contains("its last run failed"),
        "{of_workspace}"
    );
    for (id, path) in [(&task, format!("tasks/{task}")), (&workspace, format!("?workspace={workspace}"))] {
        let page = service.succeed(&["report", id, "--html", "-"]);
        well_formed(&page, service.folder());
        assert!(page.contains(&format!("<a href=\"{}/{path}\">Open in Runlog</a>", service.url)), "{page}");
    }

    let diff = service.succeed(&["diff", GOOD, BAD]);
    assert!(diff.contains("2 patterns new") && diff.contains("New root causes"), "{diff}");
    let alone = service.runlog(&["diff", BAD]).output().unwrap();
    assert!(String::from_utf8_lossy(&alone.stderr).contains(&format!("compared with {GOOD}")), "{alone:?}");
    assert_eq!(String::from_utf8(alone.stdout).unwrap(), diff, "the last successful run of the task");
    let first = service.runlog(&["diff", GOOD]).output().unwrap();
    let told = String::from_utf8_lossy(&first.stderr).into_owned();
    assert!(first.status.code() == Some(4) && told.contains("no successful run with a log before it"), "{told}");
    assert!(service.succeed(&["diff", GOOD, GOOD]).contains("(+0 %)"));
    let back: Value = service.json(&["diff", BAD, GOOD, "--json"]);
    assert_eq!((&back["counts"]["gone"], &back["counts"]["new"]), (&json!(2), &json!(0)));
}

/// Two records with wrong clocks, in a run of twenty seconds.
#[test]
fn outliers_in_time_are_reported_separately() {
    let service = Service::start(&["--settle", "0s"]);
    let (_, task) = service.make_task();
    let now = 1_700_000_000_000_i64;
    let line = |ms: i64, severity: &str, message: &str| {
        json!({"logTimestamp": ms, "severity": severity, "logMessage": message}).to_string()
    };
    let mut lines = vec![line(0, "ERROR", "the clock is not set"), line(10_413_792_000_000, "INFO", "far ahead")];
    lines.extend((0..20).map(|at| line(now - 20_000 + at * 1_000, "INFO", &format!("read {at} rows"))));
    lines.push(line(now, "ERROR", "load failed"));
    push(&service, BAD, &lines, &task, "execution_failed");
    wait_until_summarised(&service, BAD);
    let shown = service.succeed(&["report", BAD]);
    for said in [
        "1970-01-01 00:00:00.000 ERROR the clock is not set",
        "1 record is dated 1970-01-01, long before the others",
        "1 record is dated 2300-01-01, long after the others",
    ] {
        assert!(shown.contains(said), "{said:?} is not in\n{shown}");
    }
    let page = service.succeed(&["report", BAD, "--html", "-"]);
    assert!(page.contains("1 record is dated 1970-01-01, long before the others"), "{page}");
    well_formed(&page, service.folder());
    let report: Value = service.json(&["report", BAD, "--json"]);
    assert_eq!(report["outliers"].as_array().unwrap().len(), 2, "{report}");
    assert!(report["gaps"][0]["durationMs"].as_i64().unwrap() <= 2_000, "{report}");
    assert!(report["timeline"]["bucketMs"].as_i64().unwrap() <= 1_000, "{report}");
}

/// Parses a page as XML, which is stricter than HTML; void elements are removed first.
fn well_formed(page: &str, folder: &Path) {
    let mut parts = page.split("<meta ");
    let before = parts.next().unwrap_or_default();
    let rest = parts.map(|part| part.split_once('>').map_or("", |(_, rest)| rest));
    let closed: String = [before].into_iter().chain(rest).collect();
    let file = write_lines(folder.join("page.xml"), &[closed]);
    bash(
        &format!("python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' {}", file.display()),
        folder,
    );
}

#[test]
fn a_report_of_nothing_says_so() {
    let service = Service::start(&[]);
    let code = |id: &str| {
        let output = service.runlog(&["report", id]).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (exit, said) = code("00000000-0000-4000-8000-00000000ffff");
    assert_eq!(exit, 4, "{said}");
    let (exit, said) = code("57f64991e4b0b689a64feed2");
    assert!(exit == 4 && said.contains("neither a task nor a workspace"), "{said}");
    let (exit, said) = code("nothing");
    assert!(exit == 4 && said.contains("no task and no workspace") && said.contains("runlog tasks"), "{said}");
}

#[test]
fn an_archive_without_a_service_is_summarised_by_a_command() {
    let service = Service::start(&["--settle", "1h"]);
    let (_, task) = service.make_task();
    let line = json!({"logTimestamp": 5, "severity": "ERROR", "logMessage": "it broke"}).to_string();
    push(&service, BAD, &[line], &task, "execution_failed");
    let folder = service.stop();
    // The run would settle for an hour; the row is changed as if the hour had passed.
    let data = folder.path().join("data");
    let sql = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()";
    let change = |statement: &str| {
        bash(&format!("python3 -c '{sql}' {}/catalog.sqlite \"{statement}\"", data.display()), folder.path())
    };
    change("UPDATE runs SET seal_at = 1");
    let made = |said: &str| {
        let output = runlog(&["archive", "summarize", "--json", "--data"]).arg(&data).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), said, "{}", String::from_utf8_lossy(&output.stderr));
    };
    made(r#"{"runsSealed":1,"summaries":1}"#);
    made(r#"{"runsSealed":0,"summaries":0}"#);

    // An altered summary is detected, removed, and created again.
    change("UPDATE summaries SET sha256 = 0");
    let verify = |more: &[&str]| runlog(&["archive", "verify", "--data"]).arg(&data).args(more).output().unwrap();
    let found = verify(&[]);
    assert!(!found.status.success());
    assert!(String::from_utf8_lossy(&found.stdout).contains("is not what was written"));
    assert!(verify(&["--repair"]).status.success());
    assert!(verify(&[]).status.success());
    made(r#"{"runsSealed":0,"summaries":1}"#);
}
