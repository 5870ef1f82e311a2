//! Clients that disconnect before the response: every change that took effect has an audit entry.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::Service;

/// Sends a request, and closes the connection after a pause.
fn hang_up(service: &Service, request: &str, body: &str, pause: Duration) {
    let address = service.url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).unwrap();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        service.token,
        body.len()
    );
    connection.write_all(format!("{head}{body}").as_bytes()).unwrap();
    std::thread::sleep(pause);
}

fn get(service: &Service, path: &str) -> Value {
    let header = format!("Authorization: Bearer {}", service.token);
    let url = format!("{}{path}", service.url);
    let output = std::process::Command::new("curl").args(["-s", "-H", &header, &url]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The subjects of successful entries of an action.
fn audited(service: &Service, action: &str) -> Vec<String> {
    let mut subjects = Vec::new();
    for offset in (0..).step_by(100) {
        let entries = get(service, &format!("/runlog/v1/audit?limit=100&offset={offset}"));
        let items = entries["items"].as_array().unwrap();
        let done = items.iter().filter(|entry| entry["action"] == action && entry["status"].as_u64().unwrap() < 300);
        subjects.extend(done.map(|entry| entry["subject"].as_str().unwrap().to_owned()));
        if items.len() < 100 {
            break;
        }
    }
    subjects
}

/// Of 45 changes of rights that took effect after the client had disconnected, ten had no audit entry; of 82 deleted
/// logs, 54 had none.
#[test]
fn changes_for_disconnected_clients_are_audited() {
    let service = Service::start(&["--settle", "0s", "--requests-per-second", "0"]);
    let (workspace, task) = service.make_task();
    let log = service.folder().join("log.ndjson");
    std::fs::write(&log, "{\"logTimestamp\": 1000, \"logMessage\": \"one\"}\n").unwrap();
    let (mut users, mut runs) = (Vec::new(), Vec::new());
    for number in 0..12_u64 {
        // Times before, during and after the change.
        let pause = Duration::from_micros(number * 500);
        let user = service.json(&["admin", "users", "create", &format!("user {number}"), "--json"]);
        let user = user["id"].as_str().unwrap().to_owned();
        let path = format!("PUT /security/workspaces/{workspace}/users/{user}/permissions");
        hang_up(&service, &path, r#"["VIEW"]"#, pause);
        users.push(user);
        let run = format!("8c1f0f0e-7d5e-4f0c-9a55-{number:012}");
        service.succeed(&["push", &run, log.to_str().unwrap(), "--task", &task, "--finish", "execution_successful"]);
        hang_up(&service, &format!("DELETE /monitoring/executions/{run}/logs"), "", pause);
        runs.push(run);
    }
    let begun = Instant::now();
    loop {
        let (granted, deleted) = (audited(&service, "grant rights"), audited(&service, "delete log"));
        let unaudited_rights = users.iter().filter(|user| {
            let rights = get(&service, &format!("/security/workspaces/{workspace}/users/{user}/permissions"));
            !rights["permissions"].as_array().unwrap().is_empty() && !granted.contains(&format!("{workspace} {user}"))
        });
        let unaudited_logs = runs.iter().filter(|run| {
            get(&service, &format!("/monitoring/executions/{run}/logs"))["totalSize"] == 0 && !deleted.contains(run)
        });
        let missing: Vec<&String> = unaudited_rights.chain(unaudited_logs).collect();
        if missing.is_empty() && begun.elapsed() > Duration::from_secs(1) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "in force, and nowhere in the audit log: {missing:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    // A disconnect does not undo the change, either: some changes took effect.
    assert!(!audited(&service, "delete log").is_empty() || !audited(&service, "grant rights").is_empty());
    // The entry also names the created user.
    assert!(users.iter().all(|user| audited(&service, "create user").contains(user)));
}
