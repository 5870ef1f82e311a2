//! `runlog collect` and related commands, with the real binary and a Runlog as the upstream.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Service, runlog, succeeded, write_lines};

const RUNS: [&str; 3] = [
    "00000000-0000-4000-8000-000000000001",
    "00000000-0000-4000-8000-000000000002",
    "00000000-0000-4000-8000-000000000003",
];

/// Polls ten times per second for this number of seconds until the condition is true; false if it never is.
fn comes_true(seconds: u32, mut is_so: impl FnMut() -> bool) -> bool {
    (0..10 * seconds).any(|_| {
        is_so() || {
            std::thread::sleep(std::time::Duration::from_millis(100));
            false
        }
    })
}

/// An upstream with a task and three runs, one of which is running, and settings that collect from it.
struct Stage {
    upstream: Service,
    folder: TempDir,
    task: String,
}

impl Stage {
    fn new() -> Self {
        // Pages of 100 records, so that a log has several pages.
        let upstream = Service::start(&["--settle", "0s", "--page-records", "100", "--requests-per-second", "0"]);
        let (_, task) = upstream.make_task();
        let stage = Self { upstream, folder: tempfile::tempdir().unwrap(), task };
        stage.push(RUNS[0], 0..250, Some("execution_failed"));
        stage.push(RUNS[1], 0..0, Some("execution_successful"));
        stage.push(RUNS[2], 0..40, None);
        stage.settings("");
        stage
    }

    /// Adds records to a run, and ends it.
    fn push(&self, run: &str, records: std::ops::Range<i64>, finish: Option<&str>) {
        let line = |row: i64| format!(r#"{{"logTimestamp":{},"severity":"INFO","logMessage":"row {row}"}}"#, row * 40);
        let lines: Vec<String> = records.map(line).collect();
        let file = write_lines(self.upstream.folder().join("log.ndjson"), &lines);
        let mut arguments = vec!["push", run, file.to_str().unwrap(), "--task", &self.task];
        arguments.extend(finish.iter().flat_map(|status| ["--finish", status]));
        self.upstream.succeed(&arguments);
    }

    fn settings(&self, more: &str) {
        let text = format!(
            "[[upstream]]\nname = \"other\"\nurl = \"{}\"\ntoken = {{ env = \"UPSTREAM_TOKEN\" }}\nsettle = \"0s\"\n{more}",
            self.upstream.url
        );
        std::fs::write(self.folder.path().join("runlog.toml"), text).unwrap();
    }

    /// A service that collects with the settings.
    fn collecting_service(&self) -> Service {
        let settings = self.folder.path().join("runlog.toml");
        let token = self.folder.path().join("token");
        std::fs::write(&token, &self.upstream.token).unwrap();
        let text = std::fs::read_to_string(&settings)
            .unwrap()
            .replace("token = { env = \"UPSTREAM_TOKEN\" }", &format!("token = {{ file = \"{}\" }}", token.display()));
        std::fs::write(&settings, text).unwrap();
        Service::start(&["--settle", "0s", "--settings", settings.to_str().unwrap()])
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = runlog(arguments);
        command.current_dir(self.folder.path()).env("UPSTREAM_TOKEN", &self.upstream.token);
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&succeeded(self.output(arguments))).unwrap()
    }

    fn figures(&self) -> Value {
        self.json(&["status", "--json"])["upstreams"][0]["figures"].clone()
    }
}

/// A run as returned by a service of the archive.
fn fetched(folder: &Path, run: &str) -> String {
    let archive = tempfile::tempdir_in(folder).unwrap();
    std::fs::rename(folder.join("runlog-data"), archive.path().join("data")).unwrap();
    let service = {
        // The collector has created the archive without an administrator.
        Service::start_in(archive, &["--settle", "0s"])
    };
    let log = service.succeed(&["fetch", run, "--settle", "0s", "-o", "-"]);
    let archive = service.stop();
    std::fs::rename(archive.path().join("data"), folder.join("runlog-data")).unwrap();
    log
}

/// Returns the response of a service to a request with a token.
fn answer_of(service: &Service, method: &str, path: &str, body: &str) -> Value {
    let header = format!("Authorization: Bearer {}", service.token);
    let output = Command::new("curl")
        .args(["-sf", "-X", method, "-H", &header, "-d", body, &format!("{}{path}", service.url)])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// The component metrics of a run: this many flows to one component, and one that failed.
fn measure(service: &Service, run: &str, flows: u64, rows: u64) -> Value {
    let flow = |number: u64| {
        json!({
            "pid": "p1", "connector_type": "tDBInput", "connector_label": "read", "connector_id": format!("tDBInput_{number}"),
            "target_connector_type": "tDBOutput", "target_label": "write orders", "target_id": "tDBOutput_2",
            "component_start_time_seconds": 1_795_434_850.25, "component_connection_rows_total": rows,
            "component_execution_duration_milliseconds": 2_000, "of_a_later_version": {"kept": [1, null]},
        })
    };
    let items: Vec<Value> = (0..flows).map(flow).collect();
    let process = json!({"process_id": "j", "job_name": "orders", "pid": "p1", "father_pid": "p1", "root_pid": "p1"});
    let body = json!({"processes": [process], "items": items}).to_string();
    let stored = answer_of(service, "PUT", &format!("/runlog/v1/runs/{run}/component-metrics"), &body);
    assert_eq!(stored, json!({"stored": flows}));
    Value::from(items)
}

/// All component metrics of a run, as a client of the vendor reads them.
fn measured(service: &Service, run: &str) -> Value {
    let mut items = Vec::new();
    loop {
        let offset = items.len();
        let path = format!("/monitoring/observability/executions/{run}/component?limit=200&offset={offset}");
        let page = answer_of(service, "GET", &path, "")["metrics"].clone();
        items.extend(page["items"].as_array().unwrap().clone());
        if items.len() as u64 == page["total"].as_u64().unwrap() {
            return Value::from(items);
        }
        assert!(items.len() > offset, "{page}");
    }
}

#[test]
fn component_metrics_are_carried_from_one_archive_to_the_next_and_compared() {
    let stage = Stage::new();
    let expected = measure(&stage.upstream, RUNS[0], 230, 0);
    let collected = stage.json(&["collect", "--once", "--json"]);
    assert_eq!((&collected["landed"], &collected["componentMetrics"]), (&json!(2), &json!(1)));
    let good = succeeded(stage.output(&["check"]));
    assert!(good.contains("can read component metrics: those of 1 run"), "{good}");
    // An earlier run of the task that was good, and whose metrics the archive is given by an engine.
    let earlier = "00000000-0000-4000-8000-0000000000aa";
    let first = stage.collecting_service();
    let collection = || answer_of(&first, "GET", "/runlog/v1/collection", "")["upstreams"][0].clone();
    assert!(
        comes_true(60, || collection()["landed"] == 2 && collection()["componentsWaiting"] == 1),
        "{}",
        collection()
    );
    assert_eq!(measured(&first, RUNS[0]), expected);
    let start = json!({"taskId": stage.task, "triggerTimestamp": "2001-01-01T00:00:00Z", "startTimestamp": "2001-01-01T00:00:00Z"});
    answer_of(&first, "PUT", &format!("/runlog/v1/runs/{earlier}"), &start.to_string());
    let finish = json!({"status": "execution_successful", "finishTimestamp": "2001-01-01T00:01:00Z"});
    answer_of(&first, "POST", &format!("/runlog/v1/runs/{earlier}/finish"), &finish.to_string());
    measure(&first, earlier, 230, 48_112);
    let report = first.succeed(&["report", RUNS[0]]);
    assert!(report.contains("tDBOutput_2 (write orders) wrote 0 rows, 11,065,760 in the last good run"), "{report}");
    let diff = first.succeed(&["diff", earlier, RUNS[0]]);
    assert!(diff.contains("tDBOutput_2 (write orders) wrote 0 rows, 11,065,760 before"), "{diff}");
    let page = stage.folder.path().join("report.html");
    first.succeed(&["report", RUNS[0], "--html", page.to_str().unwrap()]);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("tDBOutput_2") && page.contains("no rows"), "{page}");
    let task = first.succeed(&["report", &stage.task, "--last-days", "365"]);
    assert!(task.contains("Rows per second by component"), "{task}");

    // A third archive collects from the second.
    let second = tempfile::tempdir().unwrap();
    let settings = format!(
        "[[upstream]]\nname = \"second\"\nurl = \"{}\"\ntoken = {{ env = \"UPSTREAM_TOKEN\" }}\nsettle = \"0s\"\n",
        first.url
    );
    std::fs::write(second.path().join("runlog.toml"), settings).unwrap();
    let mut collect = runlog(&["collect", "--once", "--json"]);
    collect.current_dir(second.path()).env("UPSTREAM_TOKEN", &first.token);
    let collected: Value = serde_json::from_str(&succeeded(collect.output().unwrap())).unwrap();
    assert_eq!(collected["componentMetrics"], json!(1), "{collected}");
    let archive = tempfile::tempdir_in(second.path()).unwrap();
    std::fs::rename(second.path().join("runlog-data"), archive.path().join("data")).unwrap();
    let third = Service::start_in(archive, &["--settle", "0s"]);
    assert_eq!(measured(&third, RUNS[0]), expected);
}

#[test]
fn component_metrics_are_pushed_with_a_log() {
    let service = Service::start(&["--settle", "0s"]);
    let (_, task) = service.make_task();
    let log = write_lines(service.folder().join("log.ndjson"), &[r#"{"logTimestamp":1,"logMessage":"a"}"#.to_owned()]);
    let metrics = service.folder().join("metrics.json");
    let item = r#"{"connector_id":"tMap_1","component_start_time_seconds":1}"#.to_owned();
    let push = |item: &str| {
        std::fs::write(&metrics, format!(r#"{{"items":[{item}]}}"#)).unwrap();
        let (log, metrics) = (log.to_str().unwrap(), metrics.to_str().unwrap());
        let arguments = ["push", RUNS[0], log, "--task", &task, "--finish", "failed", "--component-metrics", metrics];
        service.runlog(&arguments).output().unwrap()
    };
    let refused = push(r#"{"connector_id":7}"#);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("metrics.json: invalid type"), "{refused:?}");
    assert_eq!(
        service.runlog(&["fetch", RUNS[0], "-o", "-"]).output().unwrap().status.code(),
        Some(4),
        "no run was started"
    );
    succeeded(push(&item));
    let found = measured(&service, RUNS[0]);
    assert_eq!((found[0]["connector_id"].as_str(), found.as_array().unwrap().len()), (Some("tMap_1"), 1));
}

#[test]
fn a_missing_right_to_component_metrics_is_named_by_check_and_does_not_hold_up_logs() {
    let stage = Stage::new();
    measure(&stage.upstream, RUNS[0], 1, 7);
    let made = stage.upstream.json(&["admin", "users", "create", "collector", "--json"]);
    let user = made["id"].as_str().or(made["userId"].as_str()).unwrap_or_else(|| panic!("{made}")).to_owned();
    let body = json!({"name": "test", "userId": user}).to_string();
    let token = answer_of(&stage.upstream, "POST", "/runlog/v1/tokens", &body)["token"].as_str().unwrap().to_owned();
    let workspaces = answer_of(&stage.upstream, "GET", "/orchestration/workspaces", "");
    let workspace = workspaces.as_array().unwrap().iter().find(|one| one["name"] == "test").unwrap()["id"].clone();
    let path = format!("/security/workspaces/{}/users/{user}/permissions", workspace.as_str().unwrap());
    let grant = |rights: &str, method: &str| {
        let header = format!("Authorization: Bearer {}", stage.upstream.token);
        let url = format!("{}{path}", stage.upstream.url);
        assert!(
            Command::new("curl")
                .args(["-sf", "-X", method, "-H", &header, "-d", rights, &url])
                .status()
                .unwrap()
                .success()
        );
    };
    grant(r#"["VIEW"]"#, "POST");
    let check = || stage.command(&["check"]).env("UPSTREAM_TOKEN", &token).output().unwrap();
    let refused = check();
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{said}");
    for word in ["component metrics", "Operator", "TMC_OPERATOR", "Author", "Executor"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    stage.settings("component_metrics = false\n");
    let said = String::from_utf8_lossy(&check().stdout).into_owned();
    assert!(!said.contains("component metrics"), "metrics that are not wanted need no right: {said}");
    stage.settings("");
    grant(r#"["VIEW", "AUTHOR", "EXECUTE"]"#, "PUT");
    assert!(check().status.success());
}

#[test]
fn every_run_is_collected_once_and_a_running_run_after_its_end() {
    let stage = Stage::new();
    let first = stage.json(&["collect", "--once", "--json"]);
    assert_eq!(
        first,
        json!({ "landed": 2, "records": 250, "noLog": 0, "setBack": 0, "componentMetrics": 0, "planExecutions": 0, "auditLogs": 0 })
    );
    let figures = stage.figures();
    assert_eq!((&figures["known"], &figures["going"], &figures["landed"]), (&json!(3), &json!(1), &json!(2)));
    assert_eq!(figures["pages"], 4);

    let again = stage.json(&["collect", "--once", "--json"]);
    assert_eq!((&again["landed"], &again["records"]), (&json!(0), &json!(0)));
    stage.push(RUNS[2], 40..130, Some("execution_successful"));
    let ended = stage.json(&["collect", "--once", "--json"]);
    assert_eq!((&ended["landed"], &ended["records"]), (&json!(1), &json!(130)));

    for (run, rows) in [(RUNS[0], 250), (RUNS[2], 130)] {
        let expected = stage.upstream.succeed(&["fetch", run, "--settle", "0s", "-o", "-"]);
        assert_eq!(expected.lines().count(), rows);
        assert_eq!(fetched(stage.folder.path(), run), expected);
    }
}

#[test]
fn records_collected_during_a_run_are_stored_once() {
    let stage = Stage::new();
    stage.settings("while_going = \"1s\"\nevery = \"1s\"\n");
    let mut collector = stage.command(&["collect"]).stderr(Stdio::null()).spawn().unwrap();
    let archived = || {
        let stats = stage.output(&["archive", "stats", "--json"]);
        let stats: Value = serde_json::from_slice(&stats.stdout).unwrap_or_default();
        stats["workspaces"][0]["records"].as_u64().unwrap_or_default()
    };
    let wait_for = |records: u64| {
        let are_there = comes_true(60, || archived() >= records);
        assert!(are_there, "{} records are archived, and {records} should be", archived());
    };
    wait_for(290);
    stage.push(RUNS[2], 40..90, None);
    wait_for(340);
    stage.push(RUNS[2], 90..130, Some("execution_successful"));
    wait_for(380);
    Command::new("kill").args(["-INT", &collector.id().to_string()]).status().unwrap();
    assert!(collector.wait().unwrap().success());
    stage.json(&["collect", "--once", "--json"]);
    assert_eq!(stage.figures()["landed"], 3);
    assert_eq!(archived(), 380);
    let expected = stage.upstream.succeed(&["fetch", RUNS[2], "--settle", "0s", "-o", "-"]);
    assert_eq!(fetched(stage.folder.path(), RUNS[2]), expected);
}

/// It ended as soon as the upstream had reported the end of the run, before the log had been collected, and printed nothing.
#[test]
fn tail_waits_for_a_log_that_is_being_collected_and_says_from_where() {
    let stage = Stage::new();
    stage.settings("every = \"1s\"\n");
    let file = stage.folder.path().join("runlog.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("settle = \"0s\"", "settle = \"15s\"");
    std::fs::write(&file, text).unwrap();
    let service = stage.collecting_service();
    let summary = || answer_of(&service, "GET", &format!("/runlog/v1/runs/{}/summary", RUNS[2]), "");
    assert!(comes_true(60, || service.succeed(&["runs", "--json"]).contains(RUNS[2])), "the running run is listed");
    let Output { stderr, stdout, .. } = service.runlog(&["tail", RUNS[2]]).output().unwrap();
    let told = String::from_utf8_lossy(&stderr);
    assert!(stdout.is_empty() && told.contains("still to be collected from upstream other"), "{told}");

    stage.push(RUNS[2], 40..90, Some("execution_successful"));
    assert!(comes_true(30, || summary()["finishTimestamp"].is_string()), "{}", summary());
    assert_eq!(summary()["log"]["awaitedFrom"], "other");
    let followed = service.runlog(&["tail", RUNS[2], "-f", "-n", "70", "--every", "200ms"]).output().unwrap();
    let (printed, told) = (String::from_utf8_lossy(&followed.stdout), String::from_utf8_lossy(&followed.stderr));
    assert!(followed.status.success(), "{told}");
    let rows: Vec<&str> = printed.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    let expected: Vec<String> = (20..90).map(|row: i64| row.to_string()).collect();
    assert_eq!(rows, expected, "{told}");
    assert_eq!(told.matches("still to be collected from upstream other").count(), 1, "{told}");
    assert!(told.trim_end().lines().last().unwrap().contains("ended, successful"), "{told}");
    assert_eq!(summary()["log"]["awaitedFrom"], Value::Null);
}

#[test]
fn concurrent_first_starts_create_one_archive() {
    // A collector that started at the same time as another one found incomplete tables and exited.
    let folder = tempfile::tempdir().unwrap();
    let sink = "[[sink]]\nname = \"out\"\nkind = \"files\"\nfolder = \"out\"\n";
    std::fs::write(folder.path().join("runlog.toml"), sink).unwrap();
    let deliver = || {
        let mut command = runlog(&["deliver", "--once", "--json"]);
        command.current_dir(folder.path());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let together: Vec<_> = (0..6).map(|_| deliver()).collect();
    for one in together {
        succeeded(one.wait_with_output().unwrap());
    }
    // Timers often run programs under a lock of the folder; the command does not wait for it.
    let data = std::fs::File::open(folder.path().join("runlog-data")).unwrap();
    data.lock().unwrap();
    succeeded(deliver().wait_with_output().unwrap());
}

#[test]
fn settings_are_checked_before_anything_is_collected() {
    let stage = Stage::new();
    let good = succeeded(stage.output(&["check"]));
    for found in ["archive: opens", "can list workspaces: 1", "can list runs: 3", "can read logs: those of 1"] {
        assert!(good.contains(found), "{found}: {good}");
    }

    let without = stage.command(&["check"]).env_remove("UPSTREAM_TOKEN").output().unwrap();
    let errors = String::from_utf8_lossy(&without.stderr).into_owned();
    assert_eq!(without.status.code(), Some(3), "{errors}");
    assert!(errors.contains("UPSTREAM_TOKEN is not set"), "{errors}");

    let wrong = stage.command(&["check"]).env("UPSTREAM_TOKEN", "a-secret-that-is-wrong").output().unwrap();
    let said = String::from_utf8_lossy(&wrong.stdout).into_owned() + &String::from_utf8_lossy(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(3), "{said}");
    assert!(said.contains("upstream other at http") && !said.contains("a-secret"), "{said}");

    stage.settings("workspaces = [\"nowhere\"]\n");
    let nowhere = stage.output(&["check"]);
    let said = String::from_utf8_lossy(&nowhere.stdout).into_owned();
    assert_eq!(nowhere.status.code(), Some(4), "{said}");
    assert!(said.contains("has no workspace \"nowhere\"; available: test"), "{said}");

    stage.settings("taks = []\n");
    let unknown = stage.output(&["collect", "--once"]);
    let errors = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!(unknown.status.code(), Some(2), "{errors}");
    assert!(errors.contains("did you mean \"tasks\"?"), "{errors}");
    for (place, words) in [
        ("url = \"127.0.0.1:18480\"", "did you mean \"https://127.0.0.1:18480\""),
        ("region = \"europe\"", "use one of eu, us, us-west, ap, au"),
    ] {
        let settings = format!("[[upstream]]\nname = \"x\"\n{place}\ntoken = {{ env = \"UPSTREAM_TOKEN\" }}\n");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("runlog.toml"), settings).unwrap();
        let output = runlog(&["check"]).current_dir(folder.path()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && errors.contains(words), "{errors}");
    }
    let example = succeeded(stage.output(&["check", "--example"]));
    assert!(example.contains("[[upstream]]"), "{example}");
}

/// An account that may list runs but not read their logs was found to be good, and failed at its first run.
#[test]
fn each_right_that_collecting_needs_is_tested_and_what_to_grant_is_named() {
    let stage = Stage::new();
    let token_of = |name: &str, rights: &[&str]| {
        let admin = |arguments: &[&str]| stage.upstream.succeed(&[&["admin"], arguments].concat());
        admin(&["users", "create", name]);
        if !rights.is_empty() {
            admin(&[&["rights", "grant", "--workspace", "test", "--user", name], rights].concat());
        }
        let token = stage.upstream.json(&["admin", "tokens", "create", "check", "--user", name, "--json"]);
        token["token"].as_str().unwrap().to_owned()
    };
    let check = |token: &str| {
        let output = stage.command(&["check"]).env("UPSTREAM_TOKEN", token).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = check(&token_of("ada", &["viewer"]));
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("can list runs: 3"), "{said}");
    assert!(said.contains("cannot read logs") && said.contains("AUTHOR, VIEW, EXECUTE"), "{said}");

    let (code, said) = check(&token_of("bob", &["viewer", "author", "executor"]));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("can read logs: those of 1"), "{said}");

    let (code, said) = check(&token_of("eve", &[]));
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("could not test whether it can read logs: no run has ended recently"), "{said}");
    assert!(said.contains("the account sees no workspace"), "{said}");

    let (code, said) = check("rlp_000000000000000000000000000000000000000000000000aaaaaaaa");
    assert_eq!(code, Some(3), "{said}");
    assert_eq!(said.matches("cannot").count(), 1, "the other tests are left out: {said}");
}

#[test]
fn a_backfill_is_planned_and_then_done() {
    let stage = Stage::new();
    let from = ["--from", "2020-01-01T00:00:00Z"];
    let plan = stage.json(&[&["plan"], &from[..], &["--json"]].concat());
    assert_eq!(plan[0]["runs"], 3);
    // Two for the log of each run, one for its component metrics, and one for the list.
    assert_eq!((&plan[0]["requests"], &plan[0]["runsPerHour"]), (&json!(10), &json!(18_000)), "{plan}");
    let done = succeeded(stage.output(&[&["backfill"], &from[..]].concat()));
    assert!(done.contains("other: 2 runs landed with 250 records"), "{done}");
    let status = succeeded(stage.output(&["status"]));
    assert!(status.contains("UPSTREAM") && status.contains("other"), "{status}");
}

#[test]
fn only_what_is_selected_is_collected() {
    let stage = Stage::new();
    stage.settings("statuses = [\"execution_failed\"]\ntask_names = [\"te*\"]\n");
    stage.json(&["collect", "--once", "--json"]);
    let figures = stage.figures();
    assert_eq!((&figures["landed"], &figures["leftOut"], &figures["going"]), (&json!(1), &json!(1), &json!(1)));

    let other = Stage::new();
    other.settings("task_names = [\"another-*\"]\n");
    other.json(&["collect", "--once", "--json"]);
    assert_eq!(other.figures()["known"], 0);
}

#[test]
fn a_service_collects_as_well_and_says_how_far_it_is() {
    let stage = Stage::new();
    let service = stage.collecting_service();
    let get = |path: &str| {
        let mut command = Command::new("curl");
        command.args([
            "-sf",
            "-H",
            &format!("Authorization: Bearer {}", service.token),
            &format!("{}{path}", service.url),
        ]);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let collection = || serde_json::from_str::<Value>(&get("/runlog/v1/collection")).unwrap_or_default();
    comes_true(60, || collection()["upstreams"][0]["landed"] == 2);
    let shown = collection();
    assert_eq!((&shown["upstreams"][0]["landed"], &shown["upstreams"][0]["records"]), (&json!(2), &json!(250)));
    assert_eq!(shown["collectors"].as_array().unwrap().len(), 1, "{shown}");
    let metrics = get("/metrics");
    for line in [
        "runlog_collector_runs{upstream=\"other\",state=\"landed\"} 2",
        "runlog_collector_records{upstream=\"other\"} 250",
        "runlog_collector_lag_seconds{upstream=\"other\"} 0.0",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[test]
fn a_canary_finds_its_records_behind_the_collector_and_misses_them_where_nobody_collects() {
    let stage = Stage::new();
    stage.settings("every = \"1s\"\n");
    let service = stage.collecting_service();
    let sing = |through: &Service, more: &[&str]| {
        let mut arguments = vec!["canary", "--task", &stage.task, "--once", "--json", "--through", &through.url];
        arguments.extend(more);
        let mut command = stage.upstream.runlog(&arguments);
        command.env("RUNLOG_THROUGH_TOKEN", &through.token);
        let output = command.output().unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        (output.status.code(), found)
    };
    let metrics = stage.folder.path().join("canary.prom");
    let (code, found) = sing(&service, &["--records", "150", "--metrics-file", metrics.to_str().unwrap()]);
    assert_eq!((code, &found["sent"], &found["missing"]), (Some(0), &json!(150), &json!(0)), "{found}");
    let metrics = std::fs::read_to_string(metrics).unwrap();
    assert!(metrics.contains("\nrunlog_canary_records_sent_total 150\n"), "{metrics}");
    assert!(metrics.contains("\nrunlog_canary_records_missing_total 0\n"), "{metrics}");

    let elsewhere = Service::start(&[]);
    let (code, found) = sing(&elsewhere, &["--records", "7", "--within", "1s"]);
    assert_eq!((code, &found["missing"]), (Some(6), &json!(7)), "{found}");
}

#[test]
fn a_collector_stops_on_request_while_its_upstream_is_unavailable() {
    let stage = Stage::new();
    let settings = stage.folder.path().join("runlog.toml");
    // There is no listener.
    let text = std::fs::read_to_string(&settings).unwrap().replace(&stage.upstream.url, "http://127.0.0.1:9");
    std::fs::write(&settings, text).unwrap();
    let mut collector = stage.command(&["collect"]).stderr(Stdio::null()).spawn().unwrap();
    let is_at_work = || {
        let shown = stage.command(&["status", "--json"]).output().unwrap().stdout;
        let shown: Value = serde_json::from_slice(&shown).unwrap_or_default();
        !shown["collectors"].as_array().is_none_or(Vec::is_empty)
    };
    assert!(comes_true(20, is_at_work));
    Command::new("kill").arg(collector.id().to_string()).status().unwrap();
    // Requests to the upstream are retried for 52 s.
    let has_ended = comes_true(20, || collector.try_wait().unwrap().is_some());
    let _ = collector.kill();
    assert!(has_ended, "it did not end within 20 s");
    assert!(collector.wait().unwrap().success());
}

/// A fake of Talend Cloud: the response at each path, and nothing else.
struct FakeCloud {
    url: String,
}

impl FakeCloud {
    fn start(answers: Vec<(String, Value)>) -> Self {
        use std::io::{BufRead, BufReader, Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = move |stream: std::net::TcpStream| -> std::io::Result<()> {
            let mut reader = BufReader::new(stream.try_clone()?);
            let (mut first, mut length) = (String::new(), 0);
            reader.read_line(&mut first)?;
            loop {
                let mut header = String::new();
                reader.read_line(&mut header)?;
                let header = header.trim().to_ascii_lowercase();
                if let Some(bytes) = header.strip_prefix("content-length:") {
                    length = bytes.trim().parse().unwrap_or(0);
                }
                if header.is_empty() {
                    break;
                }
            }
            reader.take(length).read_to_end(&mut Vec::new())?;
            let mut words = first.split_whitespace();
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let path = path.split('?').next().unwrap_or_default();
            let found = answers.iter().find(|(known, _)| known == path).filter(|_| method == "GET");
            let missing = json!({"status": 404, "message": "not found"});
            let (status, body) = found.map_or(("404 Not Found", &missing), |(_, body)| ("200 OK", body));
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            (&stream).write_all((head + &body).as_bytes())
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(stream);
            }
        });
        Self { url }
    }
}

const PLAN: &str = "e7734729-cf3d-4578-939c-30381e95cd10";
const PLAN_EXECUTION: &str = "7fb48c7a-5ea5-4cb9-9333-e345f28d9dd5";

/// A failed plan execution of Talend Cloud two hours ago, whose only run was on an engine and has no log.
#[allow(clippy::disallowed_methods, reason = "a collector lists what happened in the last day")]
fn failed_plan() -> Vec<(String, Value)> {
    let two_hours_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7_200);
    let millis = two_hours_ago.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let time = |plus: i64| runlog_model::Timestamp::clamped(millis / 1_000 * 1_000 + plus).to_string();
    let (started, finished) = (time(0), time(60_000));
    let (task, space) = ("57f64991e4b0b689a64feed0", "57f64991e4b0b689a64feed2");
    let environment = json!({"id": "57f64991e4b0b689a64feed3", "name": "production", "default": true});
    let workspace = json!({"id": space, "name": "books", "owner": "o", "type": "shared", "environment": environment});
    let run = json!({"executionId": RUNS[0], "taskId": task, "taskVersion": "1.0", "executionType": "PLAN",
        "status": "execution_failed", "executionStatus": "EXECUTION_FAILED", "triggerTimestamp": started,
        "startTimestamp": started, "finishTimestamp": finished, "userId": "u", "userType": "HUMAN",
        "runtime": {"type": "REMOTE_ENGINE", "engineId": "e"}});
    let job = json!({"executionId": RUNS[0], "jobId": task, "jobVersion": "1.0", "accountId": "a", "workspaceId": space,
        "environmentVersion": "1.3", "executionDestination": "REMOTE_ENGINE", "executionType": "PLAN", "userId": "u",
        "userType": "HUMAN", "status": "execution_failed", "executionStatus": "EXECUTION_FAILED",
        "triggerTimestamp": started, "planId": PLAN_EXECUTION, "ofALaterVersion": [1]});
    let plan = json!({"executionId": PLAN_EXECUTION, "planId": PLAN, "startTimestamp": started,
        "finishTimestamp": finished, "executionStatus": "EXECUTION_FAILED", "status": "execution_failed",
        "executionType": "SCHEDULED", "userId": "fupton", "userType": "HUMAN", "plannedExecutableCount": 2,
        "doneExecutableCount": 1, "ofALaterVersion": {"kept": [1, null]}});
    let mut whole = plan.clone();
    whole["doneExecutableDetails"] = json!([job]);
    let load = json!({"id": "load-id", "executionId": "load", "startTimestamp": started, "finishTimestamp": finished,
        "executionStatus": "EXECUTION_FAILED"});
    let send = json!({"id": "send-id", "executionId": "send"});
    let mut details = load.clone();
    let counts = json!({"plannedExecutableCount": 1, "doneExecutableCount": 1, "doneTaskExecutableDetails": [job]});
    details.as_object_mut().unwrap().extend(counts.as_object().unwrap().clone());
    let handler = json!({"id": "mail-id", "executionId": "mail", "startTimestamp": finished,
        "finishTimestamp": finished, "executionStatus": "EXECUTION_SUCCESS", "plannedExecutableCount": 1,
        "doneExecutableCount": 1, "doneTaskExecutableDetails": []});
    let chart = json!({"id": "load-id", "name": "load", "status": "SUCCESS", "taskIds": [task],
        "nextStep": {"id": "send-id", "name": "send", "status": "SUCCESS", "taskIds": [task]}});
    let definition = json!({"executable": PLAN, "name": "month end", "workspace": workspace, "chart": chart});
    let list = |items: Value| json!({"items": items, "limit": 100, "offset": 0, "total": 1});
    let path = format!("/processing/executions/plans/{PLAN_EXECUTION}");
    let tasks = list(json!([{"executable": task, "name": "load orders", "workspace": workspace}]));
    vec![
        ("/processing/executables/tasks/executions".to_owned(), list(json!([run]))),
        (format!("/processing/executions/{}", RUNS[0]), job.clone()),
        ("/orchestration/executables/tasks".to_owned(), tasks),
        ("/orchestration/workspaces".to_owned(), json!([workspace])),
        ("/processing/executables/plans/executions".to_owned(), list(json!([plan]))),
        (path.clone(), whole),
        (format!("{path}/steps"), json!([load, send])),
        (format!("{path}/steps/load"), details),
        (format!("{path}/steps/load/error-handler"), handler),
        (format!("/orchestration/executables/plans/{PLAN}"), definition),
    ]
}

/// A folder with settings that collect from a service.
fn collecting_from(url: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let settings = format!(
        "[[upstream]]\nname = \"cloud\"\nurl = \"{url}\"\ntoken = {{ env = \"UPSTREAM_TOKEN\" }}\nsettle = \"0s\"\ncomponent_metrics = false\n"
    );
    std::fs::write(folder.path().join("runlog.toml"), settings).unwrap();
    folder
}

/// Collects once; returns the folder with the archive, as one for a service.
fn collected(folder: &TempDir, token: &str) -> (Value, TempDir) {
    let mut collect = runlog(&["collect", "--once", "--json"]);
    collect.current_dir(folder.path()).env("UPSTREAM_TOKEN", token);
    let output = collect.output().unwrap();
    // 6: a log that the service does not have yet is asked for again later.
    assert!(matches!(output.status.code(), Some(0 | 6)), "{output:?}");
    let counts = serde_json::from_slice(&output.stdout).unwrap();
    let archive = tempfile::tempdir_in(folder.path()).unwrap();
    (counts, archive)
}

#[test]
fn plan_executions_are_carried_from_talend_cloud_to_an_archive_and_on_to_the_next() {
    let answers = failed_plan();
    let cloud = FakeCloud::start(answers.clone());
    let folder = collecting_from(&cloud.url);
    let check = runlog(&["check"]).current_dir(folder.path()).env("UPSTREAM_TOKEN", "t").output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(said.contains("can list plan executions: 1 plan execution"), "{said}");
    let once = |more: &[&str]| {
        let mut collect = runlog(&[&["collect", "--once", "--json"][..], more].concat());
        collect.current_dir(folder.path()).env("UPSTREAM_TOKEN", "t").output().unwrap()
    };
    let counts_of = |output: &Output| serde_json::from_slice::<Value>(&output.stdout).unwrap();
    // A log that the service does not have yet is asked for three times.
    let output = once(&[]);
    let counts = counts_of(&output);
    assert_eq!((&counts["setBack"], &counts["planExecutions"]), (&json!(1), &json!(1)), "{counts}");
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert_eq!(counts_of(&once(&["--retry"]))["setBack"], json!(1));
    let counts = counts_of(&once(&["--retry"]));
    assert_eq!((&counts["noLog"], &counts["setBack"]), (&json!(1), &json!(0)), "{counts}");
    let archive = tempfile::tempdir_in(folder.path()).unwrap();
    let status = succeeded(runlog(&["status"]).current_dir(folder.path()).env("UPSTREAM_TOKEN", "t").output().unwrap());
    assert!(status.contains("cloud: 1 plan execution, 0 running, 0 failing"), "{status}");
    assert!(status.contains("1 run without a log: 1 not transferred by their engines"), "{status}");
    succeeded(runlog(&["archive", "verify"]).current_dir(folder.path()).output().unwrap());
    let copy = folder.path().join("copy");
    let copied = ["archive", "copy", "--to-data", copy.to_str().unwrap()];
    succeeded(runlog(&copied).current_dir(folder.path()).output().unwrap());
    std::fs::rename(folder.path().join("runlog-data"), archive.path().join("data")).unwrap();
    let first = Service::start_in(archive, &["--settle", "0s"]);

    let list = first.succeed(&["plans", "--failed"]);
    assert!(list.contains("month end") && list.contains("1 of 2"), "{list}");
    let shown = first.succeed(&["plans", "show", PLAN_EXECUTION]);
    for words in ["1. load", "failed", "error handler", "load orders", "not started: step load failed", RUNS[0]] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let page = first.succeed(&["report", "--plan", PLAN_EXECUTION, "--html", "-"]);
    assert!(page.contains("<html") && page.contains("month end"), "{page}");
    let report = first.succeed(&["report", RUNS[0]]);
    assert!(report.contains("its engine does not transfer logs"), "{report}");
    let summary = answer_of(&first, "GET", &format!("/runlog/v1/runs/{}/summary", RUNS[0]), "");
    assert_eq!(summary["log"]["absence"]["reason"], "NOT_TRANSFERRED");
    let sql = "SELECT r.plan_step_id, s.name FROM runs r JOIN plan_steps s USING (plan_execution_id, plan_step_id)";
    let rows = first.succeed(&["sql", "--format", "csv", sql]);
    assert!(rows.contains("load-id,load"), "{rows}");

    // A second archive collects from the first, and a copy is served: both say the same as Talend Cloud.
    let next = collecting_from(&first.url);
    let (counts, archive) = collected(&next, &first.token);
    assert_eq!(counts["planExecutions"], json!(1), "{counts}");
    std::fs::rename(next.path().join("runlog-data"), archive.path().join("data")).unwrap();
    let second = Service::start_in(archive, &["--settle", "0s"]);
    let archive = tempfile::tempdir_in(folder.path()).unwrap();
    std::fs::rename(copy, archive.path().join("data")).unwrap();
    let third = Service::start_in(archive, &["--settle", "0s"]);
    for (path, expected) in answers.iter().filter(|(path, _)| path.contains("plans")) {
        for service in [&first, &second, &third] {
            assert_eq!(answer_of(service, "GET", path, ""), *expected, "{path}");
        }
    }
    assert_eq!(everything(&second), everything(&first));
}

/// Artifacts and log levels were missing, and only the debug log said why.
#[test]
fn a_missing_history_is_named_by_check_warned_of_once_and_counted_in_the_status() {
    let cloud = FakeCloud::start(failed_plan());
    let folder = collecting_from(&cloud.url);
    let output =
        |arguments: &[&str]| runlog(arguments).current_dir(folder.path()).env("UPSTREAM_TOKEN", "t").output().unwrap();
    let said = String::from_utf8(output(&["check"]).stdout).unwrap();
    let line = said.lines().find(|line| line.contains("cannot search the history of runs")).expect(&said);
    assert!(line.contains("logs are collected all the same, without artifacts, log levels"), "{line}");

    let log = folder.path().join("collect.log");
    let (out, errors) =
        (std::fs::File::create(&log).unwrap(), std::fs::File::options().append(true).open(&log).unwrap());
    let mut collect = runlog(&["collect"]);
    collect.current_dir(folder.path()).env("UPSTREAM_TOKEN", "t").stdout(out).stderr(errors);
    let mut collector = collect.spawn().unwrap();
    let logged = || std::fs::read_to_string(&log).unwrap();
    let is_warned = comes_true(60, || logged().contains("the upstream does not return the history of runs"));
    Command::new("kill").args(["-INT", &collector.id().to_string()]).status().unwrap();
    assert!(collector.wait().unwrap().success() && is_warned, "{}", logged());
    assert_eq!(logged().matches("the upstream does not return the history of runs").count(), 1, "{}", logged());
    let status: Value = serde_json::from_slice(&output(&["status", "--json"]).stdout).unwrap();
    let figures = &status["upstreams"][0]["figures"];
    assert_eq!(figures["detailsFailed"], 1, "{figures}");
    let problem = figures["detailsProblem"].as_str().unwrap();
    assert!(
        problem.starts_with("the history of runs: POST /monitoring/observability/executions/search: 404"),
        "{problem}"
    );
    assert!(figures["detailsFailedAt"].is_number(), "{figures}");
    let shown = String::from_utf8(output(&["status"]).stdout).unwrap();
    assert!(shown.contains("cloud: 1 request for details of tasks and runs failed, the last one "), "{shown}");
}

/// The rows of all tables about what is collected, without what each archive has of its own; sorted.
fn everything(service: &Service) -> Vec<(&'static str, Vec<String>)> {
    const OWN: [&str; 9] = [
        "arrival",
        "created_at",
        "headline",
        "is_reported",
        "last_record_stored_at",
        "problem_id",
        "stored_at",
        "stored_bytes",
        "upstream",
    ];
    let tables =
        ["runs", "tasks", "records", "component_metrics", "plan_executions", "plan_steps", "tenant_audit_logs"];
    let rows_of = |table: &&'static str| {
        let rows = service.succeed(&["sql", "--format", "ndjson", &format!("SELECT * FROM {table}")]);
        let row = |line: &str| {
            let mut row: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
            row.retain(|name, _| !OWN.contains(&name.as_str()));
            Value::Object(row).to_string()
        };
        let mut rows: Vec<String> = rows.lines().map(row).collect();
        rows.sort();
        (*table, rows)
    };
    tables.iter().map(rows_of).collect()
}

/// Runs with every field that an engine can report.
#[allow(clippy::disallowed_methods, reason = "a collector lists what happened in the last day")]
fn push_everything(service: &Service, task: &str) {
    let ago = |seconds: u64| {
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(7_200 + seconds);
        let millis = time.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
        runlog_model::Timestamp::clamped(millis / 1_000 * 1_000)
    };
    let whole = json!({
        "taskId": task, "taskVersion": "4.9", "executionType": "PLAN", "triggerTimestamp": ago(90), "startTimestamp": ago(80),
        "userId": "fupton", "userType": "SERVICE", "planId": "plan", "planName": "month end",
        "planExecutionId": PLAN_EXECUTION, "planStepId": "load", "artifactId": "a-1", "artifactName": "orders",
        "artifactVersion": "0.3", "logLevel": "INFO", "attempts": 3, "timeout": 17, "parallelExecutionAllowed": true,
        "apiVersion": "2021-03", "containerId": "c-1", "runtime": {"type": "REMOTE_ENGINE_CLUSTER", "id": "c", "engineId": "e",
        "clusterId": "c", "runProfileId": "p"},
    });
    let with = |name: &str, value: Value| {
        let mut start = whole.clone();
        start[name] = value;
        start
    };
    let record = |number: i64| {
        json!({
            "logTimestamp": ago(70).as_millis() + number / 3, "severity": if number % 2 == 0 { "INFO" } else { "odd" },
            "logType": "t", "logMessage": format!("row {number}\n second"), "bundleName": "b", "bundleVersion": "1",
            "podName": "p", "thread": number, "mdc": {"a": [1, null]},
        })
    };
    let records: Vec<String> = (0..250).map(|number| record(number).to_string()).collect();
    let waiting = json!({"taskId": task, "status": "dispatching", "triggerTimestamp": ago(90)});
    let failed = json!({"status": "execution_failed", "finishTimestamp": ago(10), "errorMessage": "boom",
        "errorType": "JAVA", "numberOfProcessedRows": 12, "numberOfRejectedRows": 3});
    let good = json!({"status": "execution_successful", "finishTimestamp": ago(5)});
    let paused =
        json!({"status": "deploy_failed", "finishTimestamp": ago(89), "misfiredExecutionReason": "TASK_IS_PAUSED"});
    let silent = with("logLevel", "OFF".into());
    let runs = [(whole.clone(), records, failed), (silent, Vec::new(), good), (waiting, Vec::new(), paused)];
    for (run, (start, records, finish)) in RUNS.iter().zip(runs) {
        answer_of(service, "PUT", &format!("/runlog/v1/runs/{run}"), &start.to_string());
        answer_of(service, "POST", &format!("/runlog/v1/runs/{run}/records"), &records.join("\n"));
        answer_of(service, "POST", &format!("/runlog/v1/runs/{run}/finish"), &finish.to_string());
    }
    measure(service, RUNS[0], 3, 48_112);
}

/// The second archive lacked the artifact of a run, its log level, attempts and the name of its plan, and the description and
/// tags of its task.
#[test]
fn everything_is_carried_from_one_archive_to_the_next_and_the_one_after() {
    let first = Service::start(&["--settle", "0s", "--page-records", "100"]);
    let (workspace, _) = first.make_task();
    let task = json!({"name": "orders", "workspaceId": workspace, "version": "5.2", "description": "loads orders",
        "tags": ["critical", "a b"]});
    let task = answer_of(&first, "POST", "/runlog/v1/tasks", &task.to_string())["executable"].clone();
    push_everything(&first, task.as_str().unwrap());
    let mut folders = Vec::new();
    let mut services = vec![first];
    for _ in 0..2 {
        let before = services.last().unwrap();
        let folder = collecting_from(&before.url);
        let settings = folder.path().join("runlog.toml");
        let text = std::fs::read_to_string(&settings).unwrap().replace("component_metrics = false", "");
        std::fs::write(&settings, text).unwrap();
        let (counts, archive) = collected(&folder, &before.token);
        assert_eq!((&counts["landed"], &counts["componentMetrics"]), (&json!(3), &json!(1)), "{counts}");
        std::fs::rename(folder.path().join("runlog-data"), archive.path().join("data")).unwrap();
        services.push(Service::start_in(archive, &["--settle", "0s"]));
        folders.push(folder);
    }
    let used = |service: &Service| {
        let mut rows = everything(service);
        // Tasks that never ran are not collected, and the first archive derives plan executions from their runs.
        rows.retain(|(table, _)| *table != "plan_steps");
        let tasks = rows.iter_mut().find(|(table, _)| *table == "tasks").unwrap();
        tasks.1.retain(|row| row.contains("orders"));
        rows
    };
    let paths = RUNS.iter().flat_map(|run| {
        let summary = format!("/runlog/v1/runs/{run}/summary");
        [format!("/processing/executions/{run}"), format!("/monitoring/executions/{run}/logs?count=200"), summary]
    });
    let without_own = |mut answer: Value| {
        if let Some(log) = answer.get_mut("log").and_then(Value::as_object_mut) {
            log.remove("storedBytes");
        }
        answer
    };
    let paths: Vec<String> = paths.collect();
    for service in &services[1..] {
        assert_eq!(used(service), used(&services[0]));
        for path in &paths {
            let answers = [service, &services[0]].map(|service| without_own(answer_of(service, "GET", path, "")));
            assert_eq!(answers[0], answers[1], "{path}");
        }
    }
}

/// Audit logs of Talend Cloud of two hours ago.
#[allow(clippy::disallowed_methods, reason = "a collector lists what happened in the last month")]
fn audit_logs() -> Value {
    let two_hours_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7_200);
    let millis = two_hours_ago.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let entry = |number: i64, user: &str, operation: &str| {
        let time = runlog_model::Timestamp::clamped(millis - number * 1_000).to_string();
        json!({"timestamp": time, "logId": format!("00000000-0000-4000-8000-{number:012}"), "applicationId": "TMC",
            "eventCategory": "service account", "eventType": "security", "eventOperation": operation,
            "clientIp": "203.0.113.7", "userId": "u", "username": user, "email": format!("{user}@example.com"),
            "request": {"method": "POST", "url": "https://api.example.com/account\u{1b}[2J", "body": "{}"},
            "response": {"code": "201", "body": ""}, "ofALaterVersion": {"kept": [1, null]}})
    };
    json!([entry(1, "kim", "create"), entry(2, "lee", "delete"), entry(3, "kim", "delete")])
}

#[test]
fn audit_logs_are_carried_from_talend_cloud_to_an_archive_its_sinks_and_on_to_the_next() {
    let entries = audit_logs();
    let mut answers = failed_plan();
    answers.push(("/security/audit/logs".to_owned(), entries.clone()));
    let cloud = FakeCloud::start(answers);
    let folder = collecting_from(&cloud.url);
    let with_audit_logs = |folder: &TempDir, more: &str| {
        let settings = folder.path().join("runlog.toml");
        let text = std::fs::read_to_string(&settings).unwrap() + "audit_logs = true\n" + more;
        std::fs::write(settings, text).unwrap();
    };
    with_audit_logs(
        &folder,
        "[[sink]]\nname = \"siem\"\nkind = \"files\"\nfolder = \"delivered\"\naudit_logs = true\n",
    );
    let check = runlog(&["check"]).current_dir(folder.path()).env("UPSTREAM_TOKEN", "t").output().unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(said.contains("can read the audit logs of the tenant: 3 entries"), "{said}");
    let (counts, archive) = collected(&folder, "t");
    assert_eq!(counts["auditLogs"], json!(3), "{counts}");
    assert_eq!(collected(&folder, "t").0["auditLogs"], json!(0), "each once");
    let status = succeeded(runlog(&["status"]).current_dir(folder.path()).env("UPSTREAM_TOKEN", "t").output().unwrap());
    assert!(status.contains("cloud: 3 entries of the tenant's audit logs"), "{status}");
    assert!(status.contains("audit logs to siem: 3 delivered, 0 due, 0 refused"), "{status}");
    let file = folder.path().join("delivered/tenant-audit-logs/cloud/000000000000.ndjson");
    assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 3);
    let copy = folder.path().join("copy");
    let copied = ["archive", "copy", "--to-data", copy.to_str().unwrap()];
    succeeded(runlog(&copied).current_dir(folder.path()).output().unwrap());
    std::fs::rename(folder.path().join("runlog-data"), archive.path().join("data")).unwrap();
    let first = Service::start_in(archive, &["--settle", "0s"]);

    let list = first.succeed(&["audit-logs"]);
    assert!(list.contains("security / service account / create"), "{list}");
    let found = first.succeed(&["audit-logs", "--user", "KIM@example.com", "--operation", "delete", "--json"]);
    let found: Value = serde_json::from_str(found.trim()).unwrap();
    assert_eq!(found["entry"], entries[2]);
    let sql = "SELECT username, count(*) AS entries FROM tenant_audit_logs GROUP BY 1 ORDER BY 1";
    let rows = first.succeed(&["sql", "--format", "csv", sql]);
    assert!(rows.contains("kim,2") && rows.contains("lee,1"), "{rows}");

    // A second archive collects from the first, and a copy is served: all say the same as Talend Cloud.
    let next = collecting_from(&first.url);
    with_audit_logs(&next, "");
    let (counts, archive) = collected(&next, &first.token);
    assert_eq!(counts["auditLogs"], json!(3), "{counts}");
    std::fs::rename(next.path().join("runlog-data"), archive.path().join("data")).unwrap();
    let second = Service::start_in(archive, &["--settle", "0s"]);
    let archive = tempfile::tempdir_in(folder.path()).unwrap();
    std::fs::rename(copy, archive.path().join("data")).unwrap();
    let third = Service::start_in(archive, &["--settle", "0s"]);
    for service in [&first, &second, &third] {
        assert_eq!(answer_of(service, "GET", "/security/audit/logs?size=1000", ""), entries);
    }
    let stored = |service| everything(service).pop();
    assert_eq!(stored(&second), stored(&first));
}

#[test]
fn a_collector_that_is_killed_after_a_page_of_audit_logs_stores_each_entry_once() {
    let mut answers = failed_plan();
    answers.push(("/security/audit/logs".to_owned(), audit_logs()));
    let cloud = FakeCloud::start(answers);
    let folder = collecting_from(&cloud.url);
    let settings = folder.path().join("runlog.toml");
    std::fs::write(&settings, std::fs::read_to_string(&settings).unwrap() + "audit_logs = true\n").unwrap();
    for place in ["audit-logs-page", "audit-logs-window"] {
        let mut collect = runlog(&["collect", "--once"]);
        collect.current_dir(folder.path()).env("UPSTREAM_TOKEN", "t").env("FAILPOINTS", format!("{place}=abort:0"));
        assert!(!collect.output().unwrap().status.success(), "{place}");
        // The lease is ended directly, instead of waiting two minutes.
        let ending = "import sqlite3\ncatalog = sqlite3.connect('runlog-data/catalog.sqlite', timeout=60)\n\
                      catalog.execute('UPDATE collected_audit_logs SET claimed_until = 0')\ncatalog.commit()";
        let ended = Command::new("python3").args(["-c", ending]).current_dir(folder.path()).status().unwrap();
        assert!(ended.success());
    }
    assert_eq!(collected(&folder, "t").0["auditLogs"], json!(0), "they are there already");
    let status = succeeded(runlog(&["status"]).current_dir(folder.path()).env("UPSTREAM_TOKEN", "t").output().unwrap());
    assert!(status.contains("cloud: 3 entries of the tenant's audit logs"), "{status}");
}
