//! Hundreds of concurrent searches without a match, each of which reads everything: other requests are still answered,
//! and each search ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Service, bash, write_lines};

const SEARCHES: usize = 320;

/// Far longer than anything takes here normally, even on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// The status and the head of the response to a request.
fn ask(service: &Service, path: &str) -> (u16, String) {
    let address = service.url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(180))).unwrap();
    let token = &service.token;
    write!(
        connection,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let head = answer.split("\r\n\r\n").next().unwrap_or_default().to_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer to {path}: {answer:?}")), head.to_ascii_lowercase())
}

#[test]
fn hundreds_of_rare_searches_delay_no_other_request() {
    let service = Service::start(&["--settle", "0s", "--requests-per-second", "0", "--queue-timeout", "2s"]);
    let (_, task) = service.make_task();
    let run = |number: usize| format!("8c1f0f0e-7d5e-4f0c-9a55-{number:012}");
    let push = |number: usize, file: &std::path::Path| {
        service.succeed(&[
            "push",
            &run(number),
            file.to_str().unwrap(),
            "--task",
            &task,
            "--finish",
            "execution_successful",
        ])
    };
    let line = |at: usize| {
        let message =
            format!("row {at} was read, and nothing of it was odd; {:x}", at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        json!({"logTimestamp": 1_700_000_000_000_u64 + at as u64, "severity": "INFO", "logMessage": message})
            .to_string()
    };
    let lines: Vec<String> = (0..3_000).map(line).collect();
    let log = write_lines(service.folder().join("log.ndjson"), &lines);
    let short = write_lines(service.folder().join("short.ndjson"), &lines[..10]);
    (0..30).for_each(|number| drop(push(number, &log)));

    let (answered, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let (service, answered, refused) = (&service, &answered, &refused);
        for number in 0..SEARCHES {
            scope.spawn(move || match ask(service, &format!("/runlog/v1/search?q=zebra%20{number}")) {
                (200, _) => answered.fetch_add(1, Ordering::Relaxed),
                (503, head) if head.contains("\r\nretry-after: ") => refused.fetch_add(1, Ordering::Relaxed),
                (status, head) => panic!("search {number}: {status}\n{head}"),
            });
        }
        for round in 0..5 {
            let timed = |what: &str, act: &dyn Fn()| {
                let begun = Instant::now();
                act();
                assert!(begun.elapsed() < LONG, "{what} took {:?} in round {round}", begun.elapsed());
            };
            timed("/healthz", &|| assert_eq!(ask(service, "/healthz").0, 200));
            timed("a live page", &|| {
                let (status, head) = ask(service, &format!("/monitoring/executions/{}/logs?count=50", run(round)));
                assert_eq!(status, 200, "{head}");
            });
            timed("a push", &|| drop(push(100 + round, &short)));
        }
    });
    let (answered, refused) = (answered.into_inner(), refused.into_inner());
    assert_eq!(answered + refused, SEARCHES);
    assert!(answered > 0, "none of {SEARCHES} was answered");
    // All permits have been released.
    assert_eq!(ask(&service, "/runlog/v1/search?q=zebra").0, 200);
}

/// Once, the system reset some of the connections that came at one moment while the service was busy: more than 128
/// waited to be accepted, and it dropped the others.
#[test]
fn connections_wait_while_the_service_is_busy() {
    let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let most: usize = allowed.trim().parse().unwrap();
    let service = Service::start(&["--requests-per-second", "0"]);
    let address: SocketAddr = service.url.trim_start_matches("http://").parse().unwrap();
    let signal = |name: &str| bash(&format!("kill -{name} {}", service.process()), Path::new("/"));
    // It listens, and then accepts nothing.
    assert_eq!(ask(&service, "/healthz").0, 200);
    signal("STOP");
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let connect = |number: usize| {
        let connection = TcpStream::connect_timeout(&address, Duration::from_secs(2));
        let mut connection = connection.unwrap_or_else(|error| panic!("connection {number}: {error}"));
        // In several packets, as many clients send it.
        request.split_inclusive(' ').for_each(|part| connection.write_all(part.as_bytes()).unwrap());
        connection
    };
    let connections: Vec<TcpStream> = (0..SEARCHES.min(most)).map(connect).collect();
    signal("CONT");
    for mut connection in connections {
        connection.set_read_timeout(Some(LONG)).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}
