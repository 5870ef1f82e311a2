//! A background task that panics is restarted, counted and shown, and the other tasks continue.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::Service;

fn get(service: &Service, path: &str) -> String {
    let url = format!("{}{path}", service.url);
    let header = format!("Authorization: Bearer {}", service.token);
    let output = Command::new("curl").args(["-s", "-H", &header, &url]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Polls until the metrics contain a line, for up to a minute.
fn wait_for_line(service: &Service, line: &str) {
    let begun = Instant::now();
    loop {
        let metrics = get(service, "/metrics");
        if metrics.lines().any(|it| it == line) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "no line {line:?} in\n{metrics}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A panic while sealing silently ended page builds, sweeps and retention until the next restart.
#[test]
fn a_job_that_panics_is_started_again_and_ends_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start_with(folder, &["--settle", "0s"], &[("FAILPOINTS", "job-sealing=panic:2")]);
    wait_for_line(&service, r#"runlog_background_restarts_total{work="sealing"} 2"#);
    wait_for_line(&service, r#"runlog_background_workers{work="sealing"} 1"#);
    wait_for_line(&service, r#"runlog_background_restarts_total{work="page builds"} 0"#);
    assert_eq!(get(&service, "/readyz"), "ready\n");
    // The service works: a run is pushed, and its page is built.
    let (_, task) = service.make_task();
    let log = service.folder().join("log.ndjson");
    std::fs::write(&log, "{\"logTimestamp\": 1000, \"logMessage\": \"one\"}\n").unwrap();
    let run = "8c1f0f0e-7d5e-4f0c-9a55-0b9f3a0c7d11";
    service.succeed(&["push", run, log.to_str().unwrap(), "--task", &task, "--finish", "execution_successful"]);
    assert!(service.succeed(&["fetch", run, "--settle", "0s", "-o", "-"]).contains("one"));
}
