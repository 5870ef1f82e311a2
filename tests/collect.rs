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

#[test]
fn every_run_is_collected_once_and_a_run_that_goes_on_when_it_has_ended() {
    let stage = Stage::new();
    let first = stage.json(&["collect", "--once", "--json"]);
    assert_eq!(first, json!({ "landed": 2, "records": 250, "noLog": 0, "setBack": 0 }));
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
fn what_a_run_logs_while_it_goes_on_stands_once_at_the_seams() {
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

#[test]
fn an_archive_is_made_once_by_those_that_open_it_first_together() {
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
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("could not test whether it can read logs: no run has ended recently"), "{said}");
}

#[test]
fn a_backfill_is_planned_and_then_done() {
    let stage = Stage::new();
    let from = ["--from", "2020-01-01T00:00:00Z"];
    let plan = stage.json(&[&["plan"], &from[..], &["--json"]].concat());
    assert_eq!(plan[0]["runs"], 3);
    // Two for each run, and one for the list.
    assert_eq!((&plan[0]["requests"], &plan[0]["runsPerHour"]), (&json!(7), &json!(18_000)), "{plan}");
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
fn a_collector_whose_upstream_is_away_ends_when_it_is_told_to() {
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
