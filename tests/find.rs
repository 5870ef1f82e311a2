//! Finding what is needed at night: runs of all tasks, names instead of IDs, beginnings of IDs, and times as people write
//! them.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::{Service, write_lines};

/// Two tasks of one name in two workspaces, one of another name, and a run of each: two failed, one was successful.
struct Stage {
    service: Service,
    sales: String,
}

const FAILED: &str = "aaaa0000-0000-4000-8000-000000000001";
const OTHER_FAILED: &str = "aaaa1111-0000-4000-8000-000000000002";
const SUCCESSFUL: &str = "bbbb0000-0000-4000-8000-000000000003";

impl Stage {
    fn new() -> Self {
        let service = Service::start(&["--settle", "0s"]);
        let id = |value: Value| value["id"].as_str().unwrap().to_owned();
        let environment = id(service.json(&["admin", "environments", "create", "production", "--json"]));
        let workspace = |name: &str| {
            id(service.json(&["admin", "workspaces", "create", name, "--environment", &environment, "--json"]))
        };
        let (sales, stock) = (workspace("Sales"), workspace("stock"));
        let task = |name: &str, workspace: &str| {
            id(service.json(&["admin", "tasks", "create", name, "--workspace", workspace, "--json"]))
        };
        let tasks = [task("nightly-orders", "Sales"), task("nightly-orders", "production/stock"), task("a/b", &stock)];
        for ((run, task), status) in
            [FAILED, OTHER_FAILED, SUCCESSFUL].iter().zip(&tasks).zip(["failed", "failed", "successful"])
        {
            let line = |severity: &str, message: String| json!({"logTimestamp": 1_000, "severity": severity, "logMessage": message});
            let lines =
                [line("INFO", format!("began {run}")), line("WARN", format!("slow {run}"))].map(|it| it.to_string());
            let file = write_lines(service.folder().join("log.ndjson"), &lines);
            let status = format!("execution_{status}");
            service.succeed(&["push", run, file.to_str().unwrap(), "--task", task, "--finish", &status]);
        }
        Self { service, sales }
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let Output { status, stderr, .. } = self.service.runlog(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&stderr).into_owned();
        assert_eq!(status.code(), Some(code), "{told}");
        for word in words {
            assert!(told.contains(word), "{word:?} is not in: {told}");
        }
    }

    /// The IDs of the runs that a command lists as JSON, in order of their IDs.
    #[track_caller]
    fn runs(&self, arguments: &[&str]) -> Vec<String> {
        let lines = self.service.succeed(&[&["runs", "--json"], arguments].concat());
        let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["executionId"].as_str().unwrap().to_owned();
        let mut ids: Vec<_> = lines.lines().map(id).collect();
        ids.sort();
        ids
    }
}

#[test]
fn runs_are_listed_of_everything_of_a_workspace_and_of_a_task_by_name() {
    let stage = Stage::new();
    assert_eq!(stage.runs(&[]), [FAILED, OTHER_FAILED, SUCCESSFUL]);
    assert_eq!(stage.runs(&["--failed", "--last", "1d"]), [FAILED, OTHER_FAILED]);
    assert_eq!(stage.runs(&["--failed", "-n", "1"]).len(), 1);
    assert_eq!(stage.runs(&["--status", "SUCCESSFUL,rejected"]), [SUCCESSFUL]);
    assert_eq!(stage.runs(&["--status", "EXECUTION_FAILED", "--workspace", "sales"]), [FAILED]);
    assert_eq!(stage.runs(&["--workspace", &stage.sales]), [FAILED]);
    assert_eq!(stage.runs(&["stock/nightly-orders"]), [OTHER_FAILED]);
    assert_eq!(stage.runs(&["--task", "Production/STOCK/a/b"]), [SUCCESSFUL]);
    assert!(stage.runs(&["--to", "yesterday"]).is_empty());

    let table = stage.service.succeed(&["runs"]);
    let line = table.lines().find(|line| line.contains(FAILED)).unwrap();
    assert!(
        table.starts_with("RUN ") && line.contains("  failed  ") && line.contains("Sales/nightly-orders"),
        "{table}"
    );
    stage.fails(
        &["runs", "nightly-orders"],
        2,
        &["several tasks", "production/Sales/nightly-orders", "production/stock/"],
    );
    stage.fails(&["runs", "weekly"], 4, &["\"weekly\"", "runlog tasks"]);
    stage.fails(&["runs", "--workspace", "shop"], 4, &["\"shop\"", "runlog workspaces"]);
    stage.fails(&["runs", "--status", "pondering"], 2, &["pondering", "failed", "successful", "executing"]);
    stage.fails(&["runs", "--from", "today", "--to", "yesterday"], 2, &["--from", "is later than"]);
    stage.fails(&["runs", "--from", "soon"], 2, &["soon", "2026-11-29", "2d"]);
    stage.fails(&["runs", "--tz", "Mars"], 2, &["Mars", "Europe/Berlin"]);
}

#[test]
fn a_run_is_found_by_the_beginning_of_its_id() {
    let stage = Stage::new();
    for command in ["tail", "report"] {
        let text = stage.service.succeed(&[command, "AAAA0000"]);
        assert!(text.contains(FAILED) || text.contains("began"), "{command}: {text}");
        stage.fails(&[command, "aaaa"], 2, &[FAILED, OTHER_FAILED, "use an ID or a full path"]);
        stage.fails(&[command, "cccc"], 4, &["cccc"]);
    }
    let fetched = stage.service.succeed(&["fetch", "bbbb", "--settle", "0s", "-o", "-"]);
    assert!(fetched.contains(SUCCESSFUL), "{fetched}");
    stage.service.succeed(&["fetch", "bbbb0000-00", "--settle", "0s"]);
    assert!(stage.service.folder().join(format!("{SUCCESSFUL}.ndjson")).exists(), "the file has the whole ID");
    stage.service.succeed(&["diff", "bbbb", "aaaa0"]);
    let found = stage.service.succeed(&["search", "began", "--run", "aaaa1"]);
    assert!(found.contains(OTHER_FAILED) && found.lines().count() == 1, "{found}");
    stage.fails(&["fetch", "aaa"], 2, &["first 4"]);
    stage.fails(&["tail", "aaa"], 4, &["begins with \"aaa\"", "runlog tasks"]);
}

#[test]
fn the_beginning_of_a_name_will_do_for_commands_that_change_nothing() {
    let stage = Stage::new();
    assert_eq!(stage.runs(&["--workspace", "SAL"]), [FAILED]);
    assert_eq!(stage.runs(&["sales/night"]), [FAILED]);
    assert_eq!(stage.runs(&["--task", "a/"]), [SUCCESSFUL]);
    stage.fails(&["runs", "night"], 2, &["several tasks whose name begins with", "production/stock/nightly-orders"]);
    stage.fails(&["runs", "stock"], 4, &["no task"]);
    let report = stage.service.succeed(&["report", "sales/n"]);
    assert!(report.starts_with("Task nightly-orders"), "{report}");
    assert!(stage.service.succeed(&["report", "sto"]).starts_with("Workspace stock"));
    let tail = stage.service.succeed(&["tail", "sales/n"]);
    assert!(tail.contains(&format!("began {FAILED}")), "{tail}");
    let found = stage.service.succeed(&["search", "slow", "--task", "stock/n"]);
    assert!(found.contains("aaaa1111") && found.lines().count() == 1, "{found}");
    // Commands that change something need the whole name.
    stage.fails(&["admin", "tasks", "delete", "sales/night"], 4, &["sales/night"]);
    stage.fails(&["push", "log.ndjson", "--task", "sales/night"], 4, &["sales/night"]);
}

#[test]
fn the_runs_that_contain_a_text_are_listed_once_each() {
    let stage = Stage::new();
    let output = stage.service.runlog(&["search", "0000", "--runs"]).output().unwrap();
    let (found, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(found.lines().count(), 3, "{found}");
    assert!(told.contains("3 runs found in 6 records"), "{told}");
    assert_eq!(stage.service.succeed(&["search", "0000", "-l", "-n", "2"]).lines().count(), 2);
    let json = stage.service.succeed(&["search", "slow", "-l", "--json"]);
    let ids: std::collections::BTreeSet<String> = json
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["runId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.into_iter().collect::<Vec<_>>(), [FAILED, OTHER_FAILED, SUCCESSFUL]);
}

/// Only what the caller may view is found, also by the beginning of an ID.
#[test]
fn runs_of_other_workspaces_are_not_found() {
    let stage = Stage::new();
    let user = stage.service.json(&["admin", "users", "create", "ada", "--json"])["id"].as_str().unwrap().to_owned();
    stage.service.succeed(&[
        "admin",
        "rights",
        "grant",
        "--user",
        "ada",
        "--workspace",
        "Sales",
        "viewer",
        "author",
        "executor",
    ]);
    let token = stage.service.json(&["admin", "tokens", "create", "laptop", "--user", &user, "--json"]);
    let token = token["token"].as_str().unwrap();
    let as_ada = |arguments: &[&str]| stage.service.runlog(arguments).env("RUNLOG_TOKEN", token).output().unwrap();
    let listed = String::from_utf8(as_ada(&["runs"]).stdout).unwrap();
    assert!(listed.contains(FAILED) && !listed.contains(OTHER_FAILED), "{listed}");
    assert!(as_ada(&["tail", "aaaa"]).status.success(), "the other one is no candidate");
    assert_eq!(as_ada(&["tail", "bbbb"]).status.code(), Some(4));
    let tasks = String::from_utf8(as_ada(&["tasks"]).stdout).unwrap();
    assert!(tasks.contains("Sales") && !tasks.contains("stock"), "{tasks}");
}

/// Accounts were listed to find the ID that had been given, which only administrators may do.
#[test]
fn a_manager_of_a_workspace_grants_rights_by_id() {
    let stage = Stage::new();
    let user = |name: &str| {
        let made = stage.service.json(&["admin", "users", "create", name, "--json"]);
        made["id"].as_str().unwrap().to_owned()
    };
    let (ada, kim) = (user("ada"), user("kim"));
    stage.service.succeed(&["admin", "rights", "grant", "--user", &ada, "--workspace", &stage.sales, "manager"]);
    let token = stage.service.json(&["admin", "tokens", "create", "laptop", "--user", &ada, "--json"]);
    let grant = |holder: &[&str]| {
        let grant = ["admin", "rights", "grant", "--workspace", &stage.sales, "viewer"];
        let mut command = stage.service.runlog(&[&grant[..], holder].concat());
        command.env("RUNLOG_TOKEN", token["token"].as_str().unwrap()).output().unwrap()
    };
    let granted = grant(&["--user", &kim]);
    assert!(granted.status.success(), "{}", String::from_utf8_lossy(&granted.stderr));
    let account = stage.service.json(&["admin", "service-accounts", "create", "monitoring", "--json"]);
    let granted = grant(&["--service-account", account["id"].as_str().unwrap()]);
    assert!(granted.status.success(), "{}", String::from_utf8_lossy(&granted.stderr));
    assert_eq!(grant(&["--user", "kim"]).status.code(), Some(3), "names are for administrators");
    stage.service.succeed(&["admin", "rights", "show", "--workspace", "sales", "--service-account", "monitoring"]);
    stage.fails(
        &["admin", "rights", "grant", "--workspace", "sales", "--user", "nobody", "viewer"],
        4,
        &["nobody", "runlog admin users list"],
    );
}

#[test]
fn a_report_on_everything_names_each_workspace() {
    let stage = Stage::new();
    let report = stage.service.succeed(&["report"]);
    assert!(report.contains("Workspace Sales") && report.contains("Workspace stock"), "{report}");
    assert!(report.contains("its last run failed") && report.contains("nightly-orders"), "{report}");
    let lines = stage.service.succeed(&["report", "--json"]);
    assert_eq!(lines.lines().filter(|line| line.contains("workspaceName")).count(), 2, "{lines}");
    let task = stage.service.succeed(&["report", "sales/nightly-orders"]);
    assert!(task.contains("nightly-orders") && task.contains("1 run"), "{task}");
    let workspace = stage.service.succeed(&["report", "--workspace", "stock"]);
    assert!(workspace.contains("Workspace stock") && !workspace.contains("Sales"), "{workspace}");
    stage.fails(&["report", "weekly"], 4, &["weekly", "runlog tasks"]);
    stage.fails(&["report", FAILED, "--last-days", "3"], 2, &["--last-days"]);
}

#[test]
fn the_newest_run_of_a_task_is_followed_and_filtered() {
    let stage = Stage::new();
    let tail = |arguments: &[&str]| stage.service.succeed(&[&["tail"], arguments].concat());
    let all = tail(&["--task", "sales/nightly-orders"]);
    assert_eq!(all.lines().count(), 2, "{all}");
    let slow = tail(&["aaaa0", "--severity", "warn,error"]);
    assert!(slow.contains("slow") && slow.lines().count() == 1, "{slow}");
    let began = tail(&["aaaa0", "--grep", "BEGAN", "-f"]);
    assert!(began.contains("began") && began.lines().count() == 1, "{began}");
    let zoned = tail(&["aaaa0", "-n", "1", "--tz", "Asia/Kolkata"]);
    assert!(zoned.starts_with("1970-01-01T05:30:01.000+05:30 | WARN  | "), "{zoned}");
    let told = stage.service.runlog(&["tail", "aaaa0", "-f"]).output().unwrap();
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.contains(&format!("run {FAILED} ended, failed")), "{told}");
}

#[test]
fn places_are_listed_and_opened_by_name() {
    let stage = Stage::new();
    let tasks = stage.service.succeed(&["tasks", "night"]);
    assert_eq!(tasks.lines().count(), 3, "{tasks}");
    assert!(stage.service.succeed(&["tasks", "--workspace", "stock"]).contains("a/b"));
    assert!(stage.service.succeed(&["workspaces"]).contains("production"));
    let ids = stage.service.succeed(&["tasks", "--json"]);
    let first: Value = serde_json::from_str(ids.lines().next().unwrap()).unwrap();
    assert_eq!(first["id"], first["executable"]);
    let url = stage.service.succeed(&["open", "bbbb", "--print"]);
    assert_eq!(url.trim(), format!("{}/runs/{SUCCESSFUL}", stage.service.url));
    let url = stage.service.succeed(&["open", "--task", "stock/a/b", "--print"]);
    assert!(url.contains("/tasks/"), "{url}");
    let page = |arguments: &[&str]| {
        let url = stage.service.succeed(&[&["open", "--print"], arguments].concat());
        url.trim().strip_prefix(&stage.service.url).unwrap().to_owned()
    };
    assert_eq!(page(&[]), "/");
    assert_eq!(page(&["stock/a/b"]), url.trim().strip_prefix(&stage.service.url).unwrap());
    assert_eq!(page(&["a/"]), page(&["stock/a/b"]), "the beginning of a name");
    assert_eq!(page(&["stock/a/b", "--newest"]), format!("/runs/{SUCCESSFUL}"));
    assert_eq!(page(&["bbbb#2"]), format!("/runs/{SUCCESSFUL}#2"));
    stage.fails(&["open", "night"], 2, &["several tasks"]);
    stage.fails(&["open", "aaaa"], 2, &[FAILED, OTHER_FAILED]);
    stage.fails(&["open", "weekly"], 4, &["weekly", "runlog tasks"]);
    stage.fails(&["open", "bbbb", "--newest"], 2, &["--newest"]);
}

#[test]
fn colours_follow_the_option_and_the_terminal() {
    let stage = Stage::new();
    let plain = stage.service.succeed(&["runs"]);
    let coloured = stage.service.succeed(&["runs", "--color", "always"]);
    assert!(!plain.contains('\u{1b}') && coloured.contains("\u{1b}[1m\u{1b}[31mfailed\u{1b}[0m"), "{coloured:?}");
    let column = |line: &str| line.find("/").unwrap();
    let columns: Vec<usize> = plain.lines().filter(|line| line.contains('/')).map(column).collect();
    assert!(columns.len() == 3, "{plain}");
}

/// The files of a folder and of those in it.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// It was asked for again and again, for a minute and a half, although no repetition restores it.
#[test]
fn a_damaged_log_is_reported_at_once() {
    let stage = Stage::new();
    let segments = files(&stage.service.folder().join("data/objects/segments"));
    assert!(!segments.is_empty());
    for segment in segments {
        let content = std::fs::read(&segment).unwrap();
        std::fs::write(&segment, &content[..content.len() / 2]).unwrap();
    }
    let begun = std::time::Instant::now();
    let words = ["is damaged or missing", "runlog archive verify"];
    stage.fails(&["tail", FAILED], 1, &words);
    stage.fails(&["fetch", FAILED, "--settle", "0s", "-o", "-"], 1, &words);
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    // A search continues without them, and names what it has not read.
    let searched = stage.service.runlog(&["search", "nothing-that-is-there"]).output().unwrap();
    let notes = String::from_utf8_lossy(&searched.stderr).into_owned();
    assert!(searched.status.success(), "{notes}");
    for words in ["were not searched", "in the object segments/", "runlog archive verify --repair"] {
        assert!(notes.contains(words), "{words}: {notes}");
    }
}
