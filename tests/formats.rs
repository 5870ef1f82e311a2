//! `runlog push` of logs in other formats than that of the API, and of what Runlog itself writes.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::{Service, succeeded};

fn service() -> (Service, String) {
    let service = Service::start(&["--settle", "0s"]);
    let (_, task) = service.make_task();
    (service, task)
}

fn write(service: &Service, name: &str, bytes: impl AsRef<[u8]>) {
    fs::write(service.folder().join(name), bytes).unwrap();
}

fn push(service: &Service, task: &str, arguments: &[&str]) -> Output {
    service.runlog(&[&["push", "--task", task, "--json"], arguments].concat()).output().unwrap()
}

/// Pushes a file; returns the ID of its run and standard error.
#[track_caller]
fn pushed(service: &Service, task: &str, arguments: &[&str]) -> (String, String) {
    let output = push(service, task, arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let pushed: Value = serde_json::from_str(&succeeded(output)).unwrap();
    (pushed["runId"].as_str().unwrap().to_owned(), told)
}

fn records(service: &Service, run: &str) -> Vec<Value> {
    let log = service.succeed(&["fetch", run, "--no-wait", "-o", "-"]);
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Records of every kind: several lines, blanks at the ends, fields of their own, no severity, no message, one instant.
fn odd_records() -> Vec<Value> {
    vec![
        json!({"logTimestamp": 1_768_032_000_000_u64, "severity": "INFO", "logType": "JOB", "logMessage": "grün 👍", "bundleName": "tMap_1", "bundleVersion": "1.0", "podName": "engine-7"}),
        json!({"logTimestamp": 1_768_032_000_000_u64, "severity": "ERROR", "logMessage": "no orders\n\tat a.B.c(D.java:1)\n\n  caused | by \"x\", y\r\n"}),
        json!({"logTimestamp": 1_768_032_000_001_u64, "logMessage": " 2026-01-10 08:00:00,123 ERROR in the middle", "thread": {"id": 7}, "n": 1.5}),
        json!({"logTimestamp": 1_768_032_000_002_u64, "severity": "WARN"}),
        json!({"logTimestamp": 1_768_032_000_003_u64, "severity": "AUDIT", "logMessage": "same"}),
        json!({"logTimestamp": 1_768_032_000_003_u64, "severity": "AUDIT", "logMessage": "same"}),
    ]
}

/// Without the fields that the text form of a log does not have.
fn as_text(records: Vec<Value>) -> Vec<Value> {
    let kept = ["logTimestamp", "severity", "logType", "logMessage", "bundleName"];
    let strip = |record: Value| {
        let Value::Object(fields) = record else { unreachable!("an object") };
        Value::Object(fields.into_iter().filter(|(name, _)| kept.contains(&&**name)).collect())
    };
    records.into_iter().map(strip).collect()
}

#[test]
fn what_fetch_and_sql_have_written_can_be_pushed_and_is_the_same_log() {
    let (service, task) = service();
    let lines: String = odd_records().iter().map(|record| format!("{record}\n")).collect();
    write(&service, "odd.ndjson", lines);
    let real = zstd::decode_all(&include_bytes!("../fixtures/runs/etl-run-info-8.ndjson.zst")[..]).unwrap();
    write(&service, "real.ndjson", real);
    for log in ["odd.ndjson", "real.ndjson"] {
        let (run, _) = pushed(&service, &task, &[log, "--finish", "execution_failed"]);
        let original = records(&service, &run);
        for format in ["ndjson", "json", "text"] {
            service.succeed(&["fetch", &run, "--format", format, "-o", "fetched"]);
            let (again, _) = pushed(&service, &task, &["fetched"]);
            match format {
                "text" => assert_eq!(as_text(records(&service, &again)), as_text(original.clone()), "{log} as text"),
                _ => assert_eq!(records(&service, &again), original, "{log} as {format}"),
            }
        }
        let columns = "time, severity, log_type, message, bundle_name, bundle_version, pod_name, extra";
        let query = format!("SELECT {columns} FROM records WHERE run_id = '{run}' ORDER BY time, arrival");
        for format in ["csv", "json", "ndjson"] {
            service.succeed(&["sql", &query, "--format", format, "-o", "queried"]);
            let (again, told) = pushed(&service, &task, &["queried"]);
            assert_eq!(records(&service, &again), original, "{log} as {format}: {told}");
        }
    }
}

/// The severity was lost, so that a failed run had no error, and the headline began with a comma.
#[test]
fn rows_without_a_header_become_records_with_their_severity() {
    let (service, task) = service();
    write(&service, "rows.log", "2026-01-10 08:00:00,INFO,loaded\n2026-01-10 08:00:01,ERROR,disk full,0 rows\n");
    let (run, told) = pushed(&service, &task, &["rows.log", "--finish", "execution_failed"]);
    let expected = json!([
        {"logTimestamp": 1_768_032_000_000_u64, "severity": "INFO", "logMessage": "loaded"},
        {"logTimestamp": 1_768_032_001_000_u64, "severity": "ERROR", "logMessage": "disk full,0 rows"},
    ]);
    assert_eq!(Value::from(records(&service, &run)), expected, "{told}");
    assert_eq!(service.json(&["report", &run, "--json"])["headline"]["text"], "disk full,0 rows");
}

#[test]
fn lines_of_a_logger_become_records_with_their_parts() {
    let (service, task) = service();
    let log = "Starting nightly-orders\n\
        2026-01-10 08:00:00,123 INFO  [main] com.example.Orders - began\n\
        2026-01-10 08:00:01,500 ERROR [pool-1] com.example.Orders - no orders\n\
        java.lang.IllegalStateException: no orders\n\tat com.example.Orders.run(Orders.java:7)\n\
        2026-01-10 08:00:02,000 WARN  [main] com.example.Orders - ended\n";
    let expected = json!([
        {"logTimestamp": 1_768_028_400_123_u64, "logMessage": "Starting nightly-orders"},
        {"logTimestamp": 1_768_028_400_123_u64, "severity": "INFO", "logMessage": "began", "bundleName": "com.example.Orders", "thread": "main"},
        {"logTimestamp": 1_768_028_401_500_u64, "severity": "ERROR", "logMessage": "no orders\njava.lang.IllegalStateException: no orders\n\tat com.example.Orders.run(Orders.java:7)", "bundleName": "com.example.Orders", "thread": "pool-1"},
        {"logTimestamp": 1_768_028_402_000_u64, "severity": "WARN", "logMessage": "ended", "bundleName": "com.example.Orders", "thread": "main"},
    ]);
    let windows: Vec<u8> =
        format!("\u{feff}{}", log.replace('\n', "\r\n")).encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, bytes) in [
        ("unix.log", log.as_bytes().to_vec()),
        ("marked.log", format!("\u{feff}{log}").into_bytes()),
        ("windows.log", log.replace('\n', "\r\n").into_bytes()),
        ("utf-16.log", windows),
        ("zstd.log", zstd::encode_all(log.as_bytes(), 1).unwrap()),
    ] {
        write(&service, name, bytes);
        let (run, told) = pushed(&service, &task, &[name, "--tz", "Europe/Berlin", "--finish", "execution_failed"]);
        assert!(told.contains(&format!("{name} is read as text with times")), "{told}");
        assert_eq!(Value::from(records(&service, &run)), expected, "{name}");
        let report = service.json(&["report", &run, "--json"]);
        assert!(report.to_string().contains("2026-01-10T07:00:00.123Z"), "{report}");
    }
}

#[test]
fn a_table_is_read_by_its_header_or_by_the_columns_that_are_named() {
    let (service, task) = service();
    write(&service, "log.csv", "Datum;Stufe;Text;Zeilen\n10.01.2026 08:00;WARNING;\"langsam; sehr\";7\n");
    let refused = push(&service, &task, &["log.csv", "--format", "csv"]);
    assert_eq!(refused.status.code(), Some(2));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("no column is a time") && told.contains("--map time=COLUMN"), "{told}");
    write(&service, "log.csv", "Datum;Stufe;Text;Zeilen\n2026-01-10 08:00:00;WARNING;\"langsam; sehr\";7\n");
    let map = ["log.csv", "--map", "time=Datum", "--map", "severity=Stufe", "--map", "message=Text"];
    let (run, told) = pushed(&service, &task, &map);
    assert!(told.contains("is read as CSV"), "{told}");
    let expected = json!({"logTimestamp": 1_768_032_000_000_u64, "severity": "WARNING", "logMessage": "langsam; sehr", "Zeilen": "7"});
    assert_eq!(records(&service, &run), [expected]);

    write(&service, "log.csv", "time,message\n2026-01-10T08:00:00Z,a\nsoon,b\n");
    let refused = push(&service, &task, &["log.csv"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("line 3: \"soon\" is not a time (field time)"), "{told}");
}

/// The layout of Talend Studio has no dates.
#[test]
fn lines_with_a_time_of_day_need_the_date_of_the_first() {
    let (service, task) = service();
    let log = "[INFO ] 23:59:59 demo.orders_0_1.orders- TalendJob: 'orders' - Start.\n\
        [ERROR] 00:00:01 demo.orders_0_1.orders- tJava_1 no orders\n\tat demo.orders_0_1.orders.run(orders.java:7)\n";
    write(&service, "studio.log", log);
    let refused = push(&service, &task, &["studio.log"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && told.contains("no date") && told.contains("--date 20"), "{told}");
    let (run, _) = pushed(&service, &task, &["studio.log", "--date", "2026-01-09"]);
    let expected = [
        json!({"logTimestamp": 1_768_003_199_000_u64, "severity": "INFO", "logMessage": "TalendJob: 'orders' - Start.", "bundleName": "demo.orders_0_1.orders"}),
        json!({"logTimestamp": 1_768_003_201_000_u64, "severity": "ERROR", "logMessage": "tJava_1 no orders\n\tat demo.orders_0_1.orders.run(orders.java:7)", "bundleName": "demo.orders_0_1.orders"}),
    ];
    assert_eq!(records(&service, &run), expected);
}

#[test]
fn a_log_of_windows_in_its_old_encoding_is_read_and_counted() {
    let (service, task) = service();
    write(&service, "old.log", b"2026-01-10 08:00:00 INFO gr\xfcn\r\n2026-01-10 08:00:01 INFO plain\r\n");
    let (run, told) = pushed(&service, &task, &["old.log"]);
    assert!(told.contains("1 text in another encoding than UTF-8"), "{told}");
    let messages: Vec<Value> = records(&service, &run).iter().map(|record| record["logMessage"].clone()).collect();
    assert_eq!(messages, ["grün", "plain"]);
    let refused = push(&service, &task, &["old.log", "--map", "time=Datum"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--map is for CSV and JSON"), "{refused:?}");
    write(&service, "bad.ndjson", "{\"a\":1}\n");
    let refused = push(&service, &task, &["bad.ndjson", "--skip-invalid"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("there is no valid record"), "{refused:?}");
    assert_eq!(
        service
            .succeed(&["runs", &task, "--json", "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-31T00:00:00Z"])
            .lines()
            .count(),
        1
    );
}

#[test]
fn lines_without_times_have_that_of_their_file() {
    let (service, task) = service();
    write(&service, "plain.log", "began\n\nERROR: no orders\nended");
    succeeded(
        std::process::Command::new("touch")
            .args(["-d", "2026-01-10T08:00:00Z"])
            .arg(service.folder().join("plain.log"))
            .output()
            .unwrap(),
    );
    let (run, told) = pushed(&service, &task, &["plain.log"]);
    assert!(told.contains("is read as text without times"), "{told}");
    let at = 1_768_032_000_000_u64;
    let expected = [
        json!({"logTimestamp": at, "logMessage": "began"}),
        json!({"logTimestamp": at, "severity": "ERROR", "logMessage": "ERROR: no orders"}),
        json!({"logTimestamp": at, "logMessage": "ended"}),
    ];
    assert_eq!(records(&service, &run), expected);
    let refused = push(&service, &task, &["plain.log", "--format", "text"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--format plain"));
}

#[test]
fn what_a_running_job_logs_is_stored_while_it_runs() {
    let (service, task) = service();
    const RUN: &str = "00000000-0000-4000-8000-000000000001";
    let arguments = ["push", RUN, "-", "--follow", "--task", &task, "--finish", "execution_successful"];
    let mut child =
        service.runlog(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    assert_eq!(service.succeed(&["runs", &task, "--json"]), "", "nothing was logged yet");
    write!(input, "2026-01-10 08:00:00,000 INFO x.Y - one\n2026-01-10 08:00:01,000 ERROR x.Y - two\n\tat x.Y.z\n")
        .unwrap();
    // Seen while the job still runs.
    let messages = || {
        let tail = service.runlog(&["tail", RUN]).output().unwrap();
        String::from_utf8_lossy(&tail.stdout).into_owned()
    };
    while !messages().contains("at x.Y.z") {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert!(service.succeed(&["runs", &task, "--json"]).contains("STARTING_FLOW_EXECUTION"));
    writeln!(input, "2026-01-10 08:00:02,000 INFO x.Y - three").unwrap();
    drop(input);
    let told = succeeded(child.wait_with_output().unwrap());
    assert!(told.contains("stored 3 records"), "{told}");
    let run: Value = serde_json::from_str(&service.succeed(&["runs", &task, "--json"])).unwrap();
    assert_eq!(run["executionStatus"], "EXECUTION_SUCCESS");
    assert!(run["startTimestamp"].as_str().unwrap() > "2026-02", "it started when it was pushed: {run}");
    let messages: Vec<Value> = records(&service, RUN).iter().map(|record| record["logMessage"].clone()).collect();
    assert_eq!(messages, ["one", "two\n\tat x.Y.z", "three"]);
}

/// A proxy to a service, which closes all connections while it is disabled.
fn way_to(service: &Service) -> (String, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (is_open, target) = (Arc::new(AtomicBool::new(false)), service.url.replace("http://", ""));
    let open = Arc::clone(&is_open);
    std::thread::spawn(move || {
        for from in listener.incoming().flatten().filter(|_| open.load(Ordering::SeqCst)) {
            let to = TcpStream::connect(&target).unwrap();
            let (mut back, mut forth) = ((to.try_clone().unwrap(), from.try_clone().unwrap()), (from, to));
            std::thread::spawn(move || std::io::copy(&mut forth.0, &mut forth.1));
            std::thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
        }
    });
    (url, is_open)
}

/// A job whose output was pushed was blocked by an unavailable service, and ended after a minute and a half.
#[test]
fn an_unavailable_service_does_not_block_the_job_and_nothing_is_lost() {
    let (service, task) = service();
    let (url, is_open) = way_to(&service);
    const RUN: &str = "00000000-0000-4000-8000-000000000001";
    let arguments = ["push", RUN, "-", "--follow", "--task", &task, "--finish", "successful", "--retries", "0"];
    let mut push = service.runlog(&arguments);
    push.env("RUNLOG_API_URL", &url).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = push.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    // Far more than a pipe and the memory of the command hold.
    for number in 0..20_000 {
        writeln!(input, "2026-01-10 08:00:00,000 INFO x.Y - {number} {}", "x".repeat(99)).unwrap();
    }
    let mut notes = String::new();
    while !notes.contains("the log is buffered until the service is available again") {
        assert!(said.read_line(&mut notes).unwrap() > 0, "{notes}");
    }
    is_open.store(true, Ordering::SeqCst);
    // The command gives the service up only after the end of the log.
    while !notes.contains("the service is available again") {
        assert!(said.read_line(&mut notes).unwrap() > 0, "{notes}");
    }
    drop(input);
    let told = succeeded(child.wait_with_output().unwrap());
    assert!(told.contains("stored 20,000 records"), "{told}");
    assert_eq!(records(&service, RUN).len(), 20_000);
}

#[test]
fn a_job_continues_if_its_log_cannot_be_stored() {
    let (service, task) = service();
    let mut push = service.runlog(&["push", "-", "--follow", "--task", &task]);
    push.env("RUNLOG_TOKEN", "of-nobody").stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = push.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    writeln!(input, "2026-01-10 08:00:00,000 INFO x.Y - one").unwrap();
    let mut notes = String::new();
    while !notes.contains("so that the job is not interrupted") {
        assert!(said.read_line(&mut notes).unwrap() > 0, "{notes}");
    }
    for number in 0..2_000 {
        writeln!(input, "2026-01-10 08:00:00,000 INFO x.Y - {number} {}", "x".repeat(99)).unwrap();
    }
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn a_log_is_read_by_the_pattern_of_its_logger() {
    let (service, task) = service();
    let pattern = "%-5p|%d{dd MMM yyyy HH:mm:ss.SSS}{Europe/Berlin}|%t|%c{1}: %m%n";
    let log = "WARN |10 Jan 2026 09:00:00.123|main|Orders: slow\n2026-01-10 08:00:00 ERROR is no beginning\n\
               ERROR|10 Jan 2026 09:00:01.000|pool 1|Orders: no orders\n\tat a.B.c(B.java:7)\n";
    write(&service, "job.log", log);
    let (run, _) = pushed(&service, &task, &["job.log", "--pattern", pattern]);
    let expected = [
        json!({"logTimestamp": 1_768_032_000_123_u64, "severity": "WARN", "bundleName": "Orders", "thread": "main",
            "logMessage": "slow\n2026-01-10 08:00:00 ERROR is no beginning"}),
        json!({"logTimestamp": 1_768_032_001_000_u64, "severity": "ERROR", "bundleName": "Orders", "thread": "pool 1",
            "logMessage": "no orders\n\tat a.B.c(B.java:7)"}),
    ];
    for (record, expected) in records(&service, &run).iter().zip(&expected) {
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&record[name], value, "{record}");
        }
    }
    assert_eq!(records(&service, &run).len(), 2);
    for (pattern, words) in [
        ("%d %p %m%n", "no line has the layout %d %p %m%n; the first one is"),
        ("%d %replace{%m}{a}{b}%n", "character 4: %replace is not supported"),
        ("%d{HH:mm:ss} %m%n", "--date"),
    ] {
        let output = push(&service, &task, &["job.log", "--pattern", pattern]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && told.contains(words), "{told}");
    }
}
