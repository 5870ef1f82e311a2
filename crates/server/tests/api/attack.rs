//! Malicious requests: they are refused with a clear error, in bounded memory, and do not affect others.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Ask, Live, RUN, Stage, lines};
use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as OtlpValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use runlog_model::workspaces::Right;
use runlog_server::{Bounds, ServerSettings};

const OTHER_RUN: &str = "6c0e5a34-0000-4000-8000-0000000000aa";

fn logs(run: &str) -> String {
    format!("/monitoring/executions/{run}/logs")
}

async fn open(stage: &Stage, link: &str) -> u16 {
    stage.send(Method::GET, link, Ask::with(&[])).await.status.as_u16()
}

#[tokio::test]
async fn no_part_of_a_link_can_be_changed() {
    let stage = Stage::new().await;
    stage.push(&lines([1_000, 2_000])).await;
    let link = stage.link("").await;
    let other = stage.link("?endTime=1970-01-01T00:00:01Z").await;
    assert_eq!((open(&stage, &link).await, open(&stage, &other).await), (200, 200));
    let (path, query) = link.split_once('?').unwrap();
    let (other_path, other_query) = other.split_once('?').unwrap();
    assert_ne!(path, other_path);
    let name = path.rsplit_once('/').unwrap().0;
    let later = query.replace("expires=1", "expires=2");
    let key = query.replace("links-1", "links-2");
    let short = &query[..query.len() - 1];
    let upper =
        query.to_uppercase().replace("EXPIRES", "expires").replace("KEY", "key").replace("SIGNATURE", "signature");
    for changed in [
        format!("{path}?{other_query}"),
        format!("{other_path}?{query}"),
        format!("{name}/passwd?{query}"),
        format!("{name}/..%2f..%2fpasswd?{query}"),
        format!("{path}?{later}"),
        format!("{path}?{key}"),
        format!("{path}?{short}"),
        format!("{path}?{upper}"),
        format!("{path}?signature=00&{query}"),
        path.to_owned(),
        format!("{path}?"),
    ] {
        stage.send(Method::GET, &changed, Ask::with(&[])).await.is_error(403, &["altered"]);
    }
    // The path of a link grants no other access, and allows no other method.
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        assert_eq!(stage.send(method, &link, Ask::with(&[])).await.status, 405);
    }
    // A link may be used again until it expires.
    stage.clock.advance_ms(3_599_000);
    assert_eq!(open(&stage, &link).await, 200);
    stage.clock.advance_ms(1_000);
    stage.send(Method::GET, &link, Ask::with(&[])).await.is_error(403, &["expired"]);
}

#[tokio::test]
async fn a_page_token_is_valid_for_its_run_and_its_readers_only() {
    let stage = Stage::new().await;
    stage.push(&lines([1_000])).await;
    let start = format!(r#"{{"taskId":"{}"}}"#, stage.task);
    stage.ask(Method::PUT, &format!("/runlog/v1/runs/{OTHER_RUN}"), start).await;
    let token = stage.post(&logs(RUN), "").await.json()["token"].as_str().unwrap().to_owned();
    stage.post(&format!("{}/status", logs(OTHER_RUN)), token.clone()).await.is_error(404, &[]);
    let reader = stage.user("reader", &Right::READ_LOGS).await;
    let viewer = stage.user("viewer", &[Right::View]).await;
    let ask = |by: String| {
        let (stage, token) = (&stage, token.clone());
        async move {
            let path = format!("{}/status", logs(RUN));
            stage.send(Method::POST, &path, Ask::with(&[]).by(&by).body(token)).await
        }
    };
    assert_eq!(ask(reader).await.status, 200);
    ask(viewer).await.is_error(403, &["Author"]);
}

#[tokio::test]
async fn access_tokens_are_those_that_were_signed_here() {
    let stage = Stage::new().await;
    let made = stage.post("/account/service-accounts", r#"{"name":"robot"}"#).await.json();
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}"));
    let basic = format!("Basic {basic}");
    let ask = Ask::with(&[("authorization", basic.as_str())]).body(r#"{"grant_type":"client_credentials"}"#);
    let token = stage.send(Method::POST, "/security/oauth/token", ask).await.json()["access_token"].clone();
    let token = token.as_str().unwrap();
    let works = |token: String| {
        let stage = &stage;
        async move { stage.send(Method::GET, "/orchestration/workspaces", Ask::with(&[]).by(&token)).await.status.as_u16() }
    };
    assert_eq!(works(token.to_owned()).await, 200);
    let parts: Vec<&str> = token.split('.').collect();
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let forever = encode(&claims.replace("\"exp\":1", "\"exp\":9"));
    let none = encode(r#"{"alg":"none","kid":"access-tokens-1"}"#);
    let links = encode(r#"{"alg":"HS256","kid":"links-1"}"#);
    let traversal = encode(r#"{"alg":"HS256","kid":"../../dev/null"}"#);
    for forged in [
        format!("{}.{forever}.{}", parts[0], parts[2]),
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{links}.{}.{}", parts[1], parts[2]),
        format!("{traversal}.{}.{}", parts[1], parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{token}x"),
        "..".to_owned(),
    ] {
        assert_eq!(works(forged.clone()).await, 401, "{forged}");
    }
    stage.clock.advance_ms(1_800_000);
    assert_eq!(works(token.to_owned()).await, 401);
}

#[tokio::test]
async fn ids_cannot_be_used_for_path_traversal() {
    let stage = Stage::new().await;
    stage.push(&lines([1_000])).await;
    for id in [
        "..",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..%5c..%5cwindows",
        "%00",
        "6c0e5a34-0000-4000-8000-000000000001%00",
        "6c0e5a34-0000-4000-8000-000000000001%0d%0aset-cookie:x",
        "%7B6c0e5a34-0000-4000-8000-000000000001%7D",
        "urn:uuid:6c0e5a34-0000-4000-8000-000000000001",
        "6c0e5a34000040008000000000000001",
        "%ff%fe",
        "'%20OR%201=1--",
        &"a".repeat(8_000),
    ] {
        for path in [logs(id), format!("/processing/executions/{id}"), format!("/runlog/v1/runs/{id}")] {
            let answer = stage.get(&path).await;
            assert!([400, 404].contains(&answer.status.as_u16()), "{path}: {}", answer.status);
            assert!(answer.body.len() < 1_000, "{path} is repeated at length");
            assert!(!answer.headers.contains_key("set-cookie"));
        }
        let answer = stage.get(&format!("/docs/{id}")).await;
        assert!([400, 404].contains(&answer.status.as_u16()), "/docs/{id}: {}", answer.status);
    }
}

#[tokio::test]
async fn hostile_text_comes_back_as_it_was_in_a_form_that_nothing_executes() {
    let stage = Stage::new().await;
    stage.start().await;
    let hostile = [
        "<script>alert(1)</script>",
        "\u{1b}[2J\u{1b}]0;owned\u{7}",
        "=HYPERLINK(\"http://x\",\"y\")",
        "\"}],\"data\":[{\"logMessage\":\"forged",
        "first line\r\n2026-01-01T00:00:00.000Z | FATAL | JOB | forged | second line",
        "\u{202e}txt.exe\u{0}",
        "${jndi:ldap://x/y}",
    ];
    let body: String = hostile
        .iter()
        .enumerate()
        .map(|(index, text)| format!("{}\n", serde_json::json!({"logTimestamp": index, "logMessage": text})))
        .collect();
    assert_eq!(stage.post(&format!("/runlog/v1/runs/{RUN}/records"), body).await.status, 200);
    let link = stage.link("?order=ASC").await;
    let file = stage.send(Method::GET, &link, Ask::with(&[])).await;
    let texts: Vec<String> =
        file.json().as_array().unwrap().iter().map(|it| it["logMessage"].as_str().unwrap().to_owned()).collect();
    assert_eq!(texts, hostile);
    for format in ["JSON", "TEXT"] {
        let link = stage.link(&format!("?fileFormat={format}")).await;
        let file = stage.send(Method::GET, &link, Ask::with(&[])).await;
        assert!(!file.header("content-type").contains("html"));
        assert!(file.header("content-disposition").starts_with("attachment; filename=\""));
        assert_eq!((file.header("x-content-type-options"), file.header("cache-control")), ("nosniff", "no-store"));
    }
}

#[tokio::test]
async fn decompression_bombs_are_refused_early() {
    let stage = Stage::new().await;
    stage.start().await;
    let zeros = vec![b' '; 1 << 20];
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&zeros).unwrap();
    // Concatenated gzip members are one stream.
    let gzip = packed.finish().unwrap().repeat(200);
    let frames = zstd::encode_all(zeros.as_slice(), 3).unwrap().repeat(200);
    for (coding, body) in [("gzip", gzip), ("zstd", frames)] {
        for path in [format!("/runlog/v1/runs/{RUN}/records"), "/v1/logs".to_owned(), "/runlog/v1/events".to_owned()] {
            let headers = [("content-encoding", coding), ("content-type", "application/json")];
            let answer = stage.send(Method::POST, &path, Ask::with(&headers).by(&stage.admin).body(body.clone())).await;
            answer.is_error(413, &[]);
        }
    }
    let broken = Ask::with(&[("content-encoding", "gzip")]).by(&stage.admin).body("no gzip");
    let path = format!("/runlog/v1/runs/{RUN}/records");
    stage.send(Method::POST, &path, broken).await.is_error(400, &["decompressed"]);
    let unknown = Ask::with(&[("content-encoding", "br")]).by(&stage.admin).body("x");
    stage.send(Method::POST, &path, unknown).await.is_error(415, &["gzip"]);
}

/// An OTLP request in protobuf with this number of empty records of a resource with these attributes.
fn otlp(attributes: &[(&str, &str)], records: usize) -> Vec<u8> {
    let attributes = attributes.iter().map(|(key, text)| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue { value: Some(OtlpValue::StringValue((*text).to_owned())) }),
        ..KeyValue::default()
    });
    let resource = Some(Resource { attributes: attributes.collect(), ..Resource::default() });
    let scope_logs = vec![ScopeLogs { log_records: vec![LogRecord::default(); records], ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// 64 MiB of the two bytes of an empty message compress to some kilobytes, and took several gigabytes decoded.
#[tokio::test]
async fn a_decompression_bomb_is_refused_and_the_next_request_served() {
    let stage = Stage::new().await;
    stage.start().await;
    let bomb = zstd::encode_all([0x0a_u8, 0x00].repeat(32 << 20).as_slice(), 3).unwrap();
    assert!(bomb.len() < 64 << 10, "{}", bomb.len());
    let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "zstd")];
    let ask = Ask::with(&headers).by(&stage.admin).body(bomb);
    stage
        .send(Method::POST, "/v1/logs", ask)
        .await
        .is_error(413, &["268435456 bytes", "split it into several requests"]);
    let task = stage.task.to_string();
    let good = otlp(&[("runlog.run.id", RUN), ("runlog.task.id", &task)], 1_000);
    let ask = Ask::with(&headers[..1]).by(&stage.admin).body(good);
    assert_eq!(stage.send(Method::POST, "/v1/logs", ask).await.status, 200);
    assert_eq!(stage.get(&logs(RUN)).await.json()["totalSize"], 1_000);
}

#[tokio::test]
async fn bombs_in_every_compression_are_refused_and_their_memory_released() {
    let stage = Stage::with(|_| (), |settings| settings.bounds.events_bytes_max = 1 << 20).await;
    stage.start().await;
    let (empty, host) = (format!("{}{{}}", "{},".repeat(10_000)), "h".repeat(64 << 10));
    let inner = serde_json::Value::from(format!("{{\"a\":[{empty}]}}")).to_string();
    let runs: String = (0..5_000).map(|run| format!("{{\"runId\":\"6c0e5a34-0000-4000-8000-{run:012}\"}}\n")).collect();
    let (protobuf, json) = ("application/x-protobuf", "application/json");
    let bodies: Vec<(&str, &str, Vec<u8>)> = vec![
        ("/v1/logs", protobuf, otlp(&[], 10_000)),
        ("/v1/logs", protobuf, otlp(&[("runlog.run.id", RUN), ("host.name", &host)], 1_000)),
        ("/v1/logs", json, format!("{{\"resourceLogs\":[{{\"scopeLogs\":[{{\"logRecords\":[{empty}]}}]}}]}}").into()),
        ("/runlog/v1/events", json, format!("[{empty}]").into()),
        ("/runlog/v1/events", json, format!("{{\"message\":{inner}}}").into()),
        ("/runlog/v1/events", json, runs.into()),
    ];
    // Without a release, there would be no memory for the last of them.
    for _ in 0..3 {
        for (path, kind, body) in &bodies {
            assert!(body.len() < 1 << 19);
            let ask = Ask::with(&[("content-type", *kind)]).by(&stage.admin).body(body.clone());
            stage
                .send(Method::POST, path, ask)
                .await
                .is_error(413, &["4194304 bytes", "split it into several requests"]);
        }
    }
    let event = format!("{{\"runId\":\"{RUN}\",\"message\":\"{host}\",\"timestamp\":1619018947000}}\n");
    let answer = stage.post("/runlog/v1/events", event.repeat(10)).await;
    assert_eq!(answer.json()["stored"], 10, "{}", answer.text());
    assert_eq!(stage.get(&logs(RUN)).await.json()["totalSize"], 10);
}

#[tokio::test]
async fn the_body_of_a_caller_who_may_publish_nowhere_is_not_read() {
    let stage = Stage::new().await;
    let viewer = stage.user("viewer", &[Right::View]).await;
    for path in ["/v1/logs", "/runlog/v1/events"] {
        let headers = [("content-encoding", "gzip"), ("content-type", "application/json")];
        let ask = Ask::with(&headers).by(&viewer).body("no gzip");
        stage.send(Method::POST, path, ask).await.is_error(403, &["Publisher"]);
    }
}

#[tokio::test]
async fn json_of_any_depth_and_size_is_an_error_and_no_crash() {
    let stage = Stage::new().await;
    stage.start().await;
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!("{{\"logTimestamp\":1,\"x\":{deep}}}");
    stage.post(&format!("/runlog/v1/runs/{RUN}/records"), nested.clone()).await.is_error(400, &["line 1"]);
    for path in ["/runlog/v1/events", "/processing/executables/tasks/executions", "/security/permissions/batch"] {
        stage.post(path, nested.clone()).await.is_error(400, &[]);
        stage.post(path, deep.clone()).await.is_error(400, &[]);
    }
    stage.post("/runlog/v1/users", vec![b'a'; (1 << 20) + 1]).await.is_error(413, &["1048576"]);
    stage.post(&format!("{}/status", logs(RUN)), vec![b'a'; 5_000]).await.is_error(413, &[]);
    let events = vec![b' '; (64 << 20) + 1];
    stage.post("/runlog/v1/events", events).await.is_error(413, &["67108864"]);
    assert_eq!(stage.get(&logs(RUN)).await.json()["totalSize"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_wait_for_each_other_and_no_one_waits_for_them() {
    let stage = Stage::new().await;
    let bounds = Bounds { connections_max: 300, head_time_max: Duration::from_millis(500), ..Bounds::default() };
    let live = Live::start(&stage, ServerSettings { bounds, ..ServerSettings::default() });
    let slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut connection = TcpStream::connect(live.address).unwrap();
            connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Half: ").unwrap();
            connection
        })
        .collect();
    assert!(live.exchange("GET /healthz HTTP/1.0\r\n\r\n").await.ends_with("ok\n"));
    drop(slow);

    // Slow clients take all connections; they are closed after their time is over, and the next is served.
    let bounds = Bounds { connections_max: 20, head_time_max: Duration::from_millis(200), ..Bounds::default() };
    let live = Live::start(&stage, ServerSettings { bounds, ..ServerSettings::default() });
    let _slow: Vec<TcpStream> = (0..60)
        .map(|_| {
            let mut connection = TcpStream::connect(live.address).unwrap();
            connection.write_all(b"GET /healthz HTT").unwrap();
            connection
        })
        .collect();
    assert!(live.exchange("GET /healthz HTTP/1.0\r\n\r\n").await.ends_with("ok\n"));
}

#[tokio::test]
async fn a_stalled_body_times_out_and_stores_nothing() {
    let stage = Stage::new().await;
    stage.start().await;
    let bounds = Bounds { body_silence_max: Duration::from_millis(100), ..Bounds::default() };
    let live = Live::start(&stage, ServerSettings { bounds, ..ServerSettings::default() });
    let head = format!(
        "POST /runlog/v1/runs/{RUN}/records HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n{}",
        stage.admin,
        lines([1_000])
    );
    let answer = live.exchange(head).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(stage.get(&logs(RUN)).await.json()["totalSize"], 0);
}

#[tokio::test]
async fn endless_request_headers_are_cut_off() {
    let stage = Stage::new().await;
    let live = Live::start(&stage, ServerSettings::default());
    let long = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(100 << 10));
    let answer = live.exchange(long).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many: String = (0..500).map(|number| format!("X-{number}: 1\r\n")).collect();
    let answer = live.exchange(format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let answer = live.exchange(format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100 << 10))).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[tokio::test]
async fn unauthenticated_callers_cannot_probe_for_runs() {
    let stage = Stage::new().await;
    stage.push(&lines([1_000])).await;
    for path in
        [logs(RUN), logs(OTHER_RUN), format!("/processing/executions/{RUN}"), "/processing/executions/x".to_owned()]
    {
        let answer = stage.send(Method::GET, &path, Ask::with(&[])).await;
        answer.is_error(401, &["a token is required"]);
        assert!(!answer.text().contains(RUN));
    }
    // A caller without the right learns that a run exists (as the contract requires), and nothing else.
    let nobody = stage.user("nobody", &[]).await;
    let known = stage.send(Method::GET, &logs(RUN), Ask::with(&[]).by(&nobody)).await;
    known.is_error(403, &["Author", "Viewer", "Executor"]);
    assert!(!known.text().contains(&stage.task.to_string()) && !known.text().contains("nightly"));
}
