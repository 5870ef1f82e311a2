//! `runlog problems` with a service: the root causes of failed runs, and the states and notes that users give them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Service, write_lines};

/// Pushes the log of a run that fails of a full disk, or of a missing table.
fn fail(service: &Service, number: u32, task: &str, message: &str) -> String {
    let run = format!("00000000-0000-4000-8000-0000000000{number:02}");
    let line = json!({"logTimestamp": 1_700_000_000_000_i64, "severity": "ERROR", "logMessage": message}).to_string();
    let file = write_lines(service.folder().join("log.ndjson"), &[line]);
    service.succeed(&[
        "push",
        &run,
        file.to_str().unwrap(),
        "--follow",
        "--task",
        task,
        "--finish",
        "execution_failed",
    ]);
    run
}

/// The problems that the service lists, once it knows those of so many runs; it summarises every few seconds.
fn problems(service: &Service, runs: u64) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let listed = service.succeed(&["problems", "--state", "all", "--json"]);
        let problems: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if problems.iter().map(|problem| problem["runs"].as_u64().unwrap()).sum::<u64>() == runs {
            return problems;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{problems:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn problems_are_listed_shown_muted_resolved_and_come_back() {
    let service = Service::start(&["--settle", "0s"]);
    let (workspace, task) = service.make_task();
    let other = service.json(&["admin", "tasks", "create", "hourly", "--workspace", &workspace, "--json"]);
    let other = other["executable"].as_str().unwrap();
    fail(&service, 1, &task, "java.sql.SQLException: table orders_1 is missing");
    let second = fail(&service, 2, other, "java.sql.SQLException: table orders_2 is missing");
    fail(&service, 3, &task, "java.io.IOException: no space left on device");
    let found = problems(&service, 3);
    assert_eq!(found.len(), 2, "{found:?}");
    let missing = found.iter().find(|problem| problem["runs"] == 2).unwrap();
    let full = found.iter().find(|problem| problem["runs"] == 1).unwrap();
    let (id, full) = (missing["id"].as_str().unwrap(), full["id"].as_str().unwrap());

    // Each run says what its own log says, and the problem what its latest run says.
    let runs = service.succeed(&["runs", "--failed"]);
    assert!(runs.contains("table orders_1 is missing") && runs.contains("table orders_2 is missing"), "{runs}");
    let runs_of_task = service.succeed(&["runs", other]);
    assert!(runs_of_task.contains("table orders_2 is missing"), "{runs_of_task}");
    assert!(missing["headline"].as_str().unwrap().contains("table orders_"), "{missing}");

    let list = service.succeed(&["problems"]);
    let line = list.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("{list}"));
    for said in ["open", "  2      2  ", "test", "is missing"] {
        assert!(line.contains(said), "{said:?} is not in {line}");
    }
    let shown = service.succeed(&["problems", "show", &id[..12]]);
    for said in ["is missing", "2 runs of 2 tasks", "hourly", &second, "  failed  "] {
        assert!(shown.contains(said), "{said:?} is not in\n{shown}");
    }
    assert_eq!(service.json(&["problems", "show", id, "--json"])["tasks"].as_array().unwrap().len(), 2);

    let muted = service.succeed(&["problems", "mute", &id[..12], "--until", "3d", "--note", "the DBA knows"]);
    assert!(muted.starts_with(&format!("{id} is muted until ")), "{muted}");
    let shown = service.succeed(&["problems", "show", id]);
    assert!(shown.contains("note: the DBA knows") && shown.contains("muted by admin at "), "{shown}");
    let report = service.succeed(&["report", &second]);
    for said in
        ["Problem", &format!("{id} muted, seen in 2 runs since "), "of 2 tasks: hourly, test", "note: the DBA knows"]
    {
        assert!(report.contains(said), "{said:?} is not in\n{report}");
    }
    assert!(!service.succeed(&["problems"]).contains(id), "only open ones are listed");
    assert!(service.succeed(&["problems", "--state", "muted", "--text", "MISSING", "--since", "1d"]).contains(id));
    // The title has values masked; what the log says is found as well.
    assert!(service.succeed(&["problems", "--state", "muted", "--text", "table ORDERS_2 is"]).contains(id));
    let none = service.runlog(&["problems", "--state", "muted", "--text", "orders_777"]).output().unwrap();
    assert!(none.status.success() && none.stdout.is_empty(), "{none:?}");

    service.succeed(&["problems", "resolve", id]);
    service.succeed(&["problems", "resolve", full]);
    service.succeed(&["problems", "reopen", full]);
    let none = service.runlog(&["problems", "--state", "muted"]).output().unwrap();
    assert!(none.stdout.is_empty() && String::from_utf8_lossy(&none.stderr).contains("no muted problems"));
    fail(&service, 4, &task, "java.sql.SQLException: table orders_4 is missing");
    problems(&service, 4);
    let list = service.succeed(&["problems", "--order", "runs"]);
    assert!(list.lines().nth(1).unwrap().starts_with(&format!("{id}  open, came back")), "{list}");

    for (arguments, status, word) in [
        (&["problems", "show", "ffffffff"][..], 4, "no problem whose ID begins with"),
        (&["problems", "mute", "xyz"], 2, "is not the ID of a problem"),
        (&["problems", "--state", "gone"], 2, "open, muted, resolved, all"),
        (&["problems", "mute", id, "--until", "soon"], 2, "a distance from now"),
        (&["problems", "mute", id, "--until", "2020-01-01T00:00:00Z"], 2, "passed"),
    ] {
        let output = service.runlog(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(word), "{arguments:?}: {said}");
        assert!(output.status.code() == Some(status), "{arguments:?}: {said}");
    }
}
