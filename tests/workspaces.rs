//! Environments, workspaces, tasks and users are renamed and deleted on the command line.

use serde_json::Value;

use crate::support::{Service, write_lines};

#[track_caller]
fn fails(service: &Service, arguments: &[&str], code: i32, words: &[&str]) {
    let output = service.runlog(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{told}");
    for word in words {
        assert!(told.contains(word), "{word:?} is not in: {told}");
    }
}

#[test]
fn workspaces_and_tasks_are_renamed_and_deleted_by_name() {
    let service = Service::start(&[]);
    let admin = |arguments: &[&str]| service.succeed(&[&["admin"], arguments].concat());
    admin(&["environments", "create", "production"]);
    admin(&["workspaces", "create", "sales", "--environment", "production"]);
    let create = ["tasks", "create", "nightly", "--workspace", "sales", "--tag", "a", "--description", "orders"];
    admin(&create);
    admin(&create);

    fails(&service, &["admin", "tasks", "update", "nightly", "--name", "weekly"], 2, &["several tasks"]);
    let tasks = service.succeed(&["tasks", "--json"]);
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    let ids: Vec<String> = tasks.lines().map(id).collect();
    let told = admin(&["tasks", "update", &ids[0], "--name", "weekly"]);
    assert_eq!(told.trim(), format!("changed task weekly ({})", ids[0]));
    let changed = service.json(&["admin", "tasks", "update", "weekly", "--version", "2.0", "--json"]);
    // What is not named stays.
    assert_eq!((changed["version"].as_str(), changed["description"].as_str()), (Some("2.0"), Some("orders")));
    assert_eq!(changed["tags"][0], "a");
    let emptied = ["admin", "tasks", "update", "weekly", "--description", "", "--no-tags", "--json"];
    let changed = service.json(&emptied);
    assert!(changed.get("description").is_none() && changed["tags"] == serde_json::json!([]), "{changed}");
    fails(&service, &["admin", "tasks", "update", "weekly"], 2, &["--name"]);

    let log = write_lines(service.folder().join("log.ndjson"), &[r#"{"logTimestamp":1,"logMessage":"a"}"#.to_owned()]);
    let push = ["push", "aaaa0000-0000-4000-8000-000000000001", log.to_str().unwrap(), "--task", &ids[0]];
    service.succeed(&push);
    fails(&service, &["admin", "tasks", "delete", "weekly"], 2, &["1 run", "renamed"]);
    let deleted = service.json(&["admin", "tasks", "delete", "nightly", "--json"]);
    assert_eq!(deleted, serde_json::json!({"deleted": ids[1], "name": "nightly"}));

    admin(&["workspaces", "update", "sales", "--name", "Sales & Co", "--owner", "kim"]);
    admin(&["workspaces", "create", "empty", "--environment", "production"]);
    assert!(admin(&["workspaces", "delete", "empty"]).starts_with("deleted workspace empty ("));
    fails(&service, &["admin", "workspaces", "delete", "production/Sales & Co"], 2, &["1 task"]);
    admin(&["environments", "update", "production", "--name", "live"]);
    admin(&["environments", "create", "test"]);
    assert!(admin(&["environments", "delete", "test"]).starts_with("deleted environment test ("));
    fails(&service, &["admin", "environments", "delete", "live"], 2, &["1 workspace"]);
    fails(&service, &["admin", "environments", "delete", "test"], 4, &["\"test\"", "environments list"]);
}

#[test]
fn a_user_is_promoted_renamed_and_deleted() {
    let service = Service::start(&[]);
    let admin = |arguments: &[&str]| service.succeed(&[&["admin"], arguments].concat());
    admin(&["users", "create", "kim"]);
    let token = service.json(&["admin", "tokens", "create", "laptop", "--user", "kim", "--json"])["token"].clone();
    let works = || {
        let mut command = service.runlog(&["tasks"]);
        command.env("RUNLOG_TOKEN", token.as_str().unwrap()).output().unwrap().status.success()
    };
    assert!(works());
    let changed = service.json(&["admin", "users", "update", "kim", "--name", "Kim B", "--administrator", "--json"]);
    assert_eq!((changed["name"].as_str(), changed["administrator"].as_bool()), (Some("Kim B"), Some(true)));
    let changed = service.json(&["admin", "users", "update", "Kim B", "--no-administrator", "--json"]);
    assert_eq!((changed["name"].as_str(), changed["administrator"].as_bool()), (Some("Kim B"), Some(false)));
    assert!(works());
    assert!(admin(&["users", "delete", "Kim B"]).starts_with("deleted user Kim B ("));
    assert!(!works());
    fails(&service, &["admin", "users", "delete", "admin"], 2, &["yourself"]);
    fails(&service, &["admin", "users", "update", "admin", "--no-administrator"], 2, &["last administrator"]);
}
