//! The service: no request is answered with 500, and none makes it panic.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use runlog_model::wire::admin::{NewTask, NewWorkspace};
use runlog_model::{Clock, Random, Timestamp};
use runlog_server::{App, ServerSettings, router};
use runlog_store::{Store, StoreSettings};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use crate::Target;

pub(crate) const TARGET: Target = Target { name: "service", check, seeds, inputs: 4_000 };

const RUN: &str = "6c0e5a34-0000-4000-8000-000000000001";
/// A request takes less than this, whatever is in it. A request that takes long is one that may take for ever.
const SECONDS_MAX: u64 = 20;

struct Service {
    runtime: Runtime,
    router: Router,
    token: String,
    /// The path and query of the link of a page.
    link: String,
    _folder: TempDir,
}

struct StillClock;

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::clamped(1_795_434_850_000)
    }
}

#[derive(Default)]
struct Counter(AtomicU64);

impl Random for Counter {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let number = self.0.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *byte = ((number ^ (number >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56) as u8;
        }
    }
}

fn check(input: &[u8]) {
    let Some(request) = request_of(input) else { return };
    let (status, body) = service().answer(request);
    let body = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{body}");
    assert!(status.as_u16() < 500 || status == StatusCode::SERVICE_UNAVAILABLE, "{status}: {body}");
}

/// The request that an input makes: its first byte says which. None if that is no request of HTTP.
fn request_of(input: &[u8]) -> Option<Request<Body>> {
    let (kind, rest) = input.split_first()?;
    let service = service();
    let post = |path: &str, content_type: &str| request(Method::POST, path).header("content-type", content_type);
    let get = |path: String| request(Method::GET, &path);
    let text = || percent_encoded(rest);
    let body = || Body::from(rest.to_vec());
    let request = match kind % 16 {
        0 => post("/v1/logs", "application/json").body(body()),
        1 => post("/v1/logs", "application/x-protobuf").body(body()),
        2 => post("/runlog/v1/events", "application/json").body(body()),
        3 => post(&format!("/runlog/v1/runs/{RUN}/records"), "application/x-ndjson").body(body()),
        4 => {
            let records = post(&format!("/runlog/v1/runs/{RUN}/records?badLines=skip"), "application/x-ndjson");
            records.body(body())
        }
        5 => post(&format!("/runlog/v1/runs/{RUN}/records"), "application/x-ndjson")
            .header("content-encoding", if rest.len() % 2 == 0 { "zstd" } else { "gzip" })
            .body(body()),
        6 => get(format!("/runlog/v1/search?q={}", text())).body(Body::empty()),
        7 => post("/orchestration/executables/tasks/search", "application/json").body(body()),
        8 => get(format!("/orchestration/workspaces?query={}", text())).body(Body::empty()),
        9 => get(format!("/monitoring/executions/{RUN}/logs?startTime={}", text())).body(Body::empty()),
        10 => get(format!("/runlog/v1/runs/{RUN}/records?{}", String::from_utf8_lossy(rest).replace([' ', '#'], "+")))
            .body(Body::empty()),
        11 => {
            let range = rest.iter().map(|byte| char::from(byte & 0x7f)).filter(|byte| !byte.is_ascii_control());
            get(service.link.clone()).header("range", range.collect::<String>()).body(Body::empty())
        }
        12 => {
            let query = serde_json::json!({ "query": String::from_utf8_lossy(rest), "format": "ndjson" });
            post("/runlog/v1/sql", "application/json").body(Body::from(query.to_string()))
        }
        13 => post("/monitoring/observability/executions/search", "application/json").body(body()),
        14 => post(&format!("/monitoring/executions/{RUN}/logs/status"), "text/plain").body(body()),
        _ => post(&format!("/monitoring/executions/{RUN}/logs?endTime={}", text()), "text/plain").body(Body::empty()),
    };
    let mut request = request.ok()?;
    let bearer = format!("Bearer {}", service.token).parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    Some(request)
}

impl Service {
    /// The status and the body, which is an error if it breaks off.
    fn answer(&self, request: Request<Body>) -> (StatusCode, Result<Bytes, axum::Error>) {
        let answering =
            async { tokio::time::timeout(Duration::from_secs(SECONDS_MAX), ask(&self.router, request)).await };
        self.runtime.block_on(answering).expect("the request takes too long")
    }
}

async fn ask(router: &Router, request: Request<Body>) -> (StatusCode, Result<Bytes, axum::Error>) {
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    (status, axum::body::to_bytes(answer.into_body(), usize::MAX).await)
}

fn request(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "runlog.test")
}

fn percent_encoded(text: &[u8]) -> String {
    text.iter().map(|byte| format!("%{byte:02X}")).collect()
}

fn service() -> &'static Service {
    static SERVICE: OnceLock<Service> = OnceLock::new();
    SERVICE.get_or_init(|| {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (router, token, link) = runtime.block_on(async {
            let (clock, random) = (std::sync::Arc::new(StillClock), std::sync::Arc::new(Counter::default()));
            let settings = StoreSettings::in_folder(folder.path());
            let store = Store::open(settings, clock.clone(), random.clone()).await.unwrap();
            let token = store.accounts().ensure_administrator().await.unwrap().unwrap();
            let name = "team".to_owned();
            let new = NewWorkspace { id: None, environment_id: None, name, description: None, owner: None };
            let workspace_id = store.workspaces().create_workspace(&new, "admin").await.unwrap().id;
            let (name, tags) = ("nightly".to_owned(), Vec::new());
            let new = NewTask { id: None, workspace_id, name, version: None, description: None, tags };
            let task = store.workspaces().create_task(&new).await.unwrap().id;
            let settings = ServerSettings {
                requests_per_second: 0,
                anonymous_requests_per_second: 0,
                ..ServerSettings::default()
            };
            let app = App::new(store.clone(), settings, clock, random).await.unwrap();
            let router = router(app);
            let asking = async |method: Method, path: &str, body: String| {
                let request = request(method, path).header("authorization", format!("Bearer {token}"));
                let (status, body) = ask(&router, request.body(Body::from(body)).unwrap()).await;
                assert!(status.is_success(), "{path}: {status}");
                serde_json::from_slice::<serde_json::Value>(&body.unwrap()).unwrap()
            };
            asking(Method::PUT, &format!("/runlog/v1/runs/{RUN}"), format!(r#"{{"taskId":"{task}"}}"#)).await;
            asking(Method::POST, &format!("/runlog/v1/runs/{RUN}/records"), format!("{RECORD}\n").repeat(20)).await;
            let logs = format!("/monitoring/executions/{RUN}/logs");
            let page = asking(Method::POST, &logs, String::new()).await;
            while store.pages().build_next_page().await.unwrap() {}
            let page = page["token"].as_str().unwrap().to_owned();
            let ready = asking(Method::POST, &format!("{logs}/status"), page).await;
            let link = ready["presignedURL"].as_str().unwrap().strip_prefix("http://runlog.test").unwrap().to_owned();
            (router, token, link)
        });
        Service { runtime, router, token, link, _folder: folder }
    })
}

/// A record as it is pushed.
const RECORD: &str =
    r#"{"logTimestamp":1629367872345,"severity":"INFO","logMessage":"wrote 12 rows","bundleName":"tMap"}"#;

fn seeds() -> Vec<Vec<u8>> {
    cases().into_iter().map(|(_, seed)| seed).collect()
}

/// Seeds with their expected response status. Without it, a seed that is refused early would silently test nothing.
fn cases() -> Vec<(u16, Vec<u8>)> {
    let record = RECORD;
    let event = format!(
        r#"[{{"eventType":"log","my_mdc":{{"executionId":"{RUN}"}},"message":"a","timeMillis":1629367872345}}]"#
    );
    let otlp = format!(
        r#"{{"resourceLogs":[{{"resource":{{"attributes":[{{"key":"talend.run.id","value":{{"stringValue":"{RUN}"}}}}]}},"scopeLogs":[{{"logRecords":[{{"timeUnixNano":"1629367872345000000","severityNumber":9,"body":{{"stringValue":"a"}}}}]}}]}}]}}"#
    );
    let texts: [(u16, u8, &str); 23] = [
        (200, 0, &otlp),
        (200, 2, &event),
        (200, 2, &format!("{{\"logTimestamp\":1,\"executionId\":\"{RUN}\",\"logMessage\":\"b\"}}")),
        (200, 3, record),
        (200, 3, &format!("{record}\n{record}\n")),
        (200, 4, &format!("{record}\nno record\n[1]\n{record}")),
        (200, 6, "wrote rows"),
        (200, 6, "\"wrote 12\" -nothing \"caf\u{e9}\""),
        (200, 7, r#"{"name":"night","tags":["a"],"limit":5}"#),
        (200, 8, "environment.name==a;owner==b"),
        (200, 9, "2021-08-19T10:11:12.345Z"),
        (200, 10, "q=rows&limit=5&order=asc&severity=ERROR,WARN&around=2021-08-19T10:11:12Z"),
        (206, 11, "bytes=0-99"),
        (
            200,
            12,
            "SELECT severity, count(*) FROM records WHERE message LIKE '%rows%' GROUP BY 1 ORDER BY 2 DESC LIMIT 5",
        ),
        (
            200,
            12,
            "SELECT date_trunc('hour', time) AS hour, regexp_replace(message, '[0-9]+', 'N') FROM records JOIN runs USING (run_id)",
        ),
        (200, 12, "WITH a AS (SELECT 1 AS n UNION ALL SELECT 2) SELECT sum(n) OVER (ORDER BY n) FROM a"),
        (
            200,
            13,
            r#"{"category":"ETL","filters":[{"field":"status","operator":"in","value":["execution_failed"]}],"limit":5,"offset":0}"#,
        ),
        (
            200,
            13,
            r#"{"category":"ETL","from":"2021-08-19","to":"2021-08-20","sort":[{"by":"startTimestamp","order":"asc"}]}"#,
        ),
        (404, 14, "\"token\""),
        (404, 14, "\u{feff}abc"),
        (200, 15, "2021-08-19T10:11:12Z"),
        (200, 15, "2021-08-19T10:11:12.345+02:00"),
        (400, 15, "1629367872345"),
    ];
    let mut cases: Vec<(u16, Vec<u8>)> =
        texts.into_iter().map(|(status, kind, text)| (status, [&[kind], text.as_bytes()].concat())).collect();
    let request = ExportLogsServiceRequest { resource_logs: vec![resource_logs()] };
    cases.push((200, [&[1_u8], request.encode_to_vec().as_slice()].concat()));
    cases.extend([zstd_frame(record.as_bytes()), gzip_member(record.as_bytes())].map(|bytes| (200, bytes)));
    cases
}

/// A request whose records are compressed with zstd, which those of even length are.
fn zstd_frame(records: &[u8]) -> Vec<u8> {
    let mut records = records.to_vec();
    loop {
        let frame = zstd::encode_all(records.as_slice(), 1).unwrap();
        if frame.len().is_multiple_of(2) {
            return [&[5], frame.as_slice()].concat();
        }
        records.push(b'\n');
    }
}

/// The same with gzip, which those of odd length are.
fn gzip_member(records: &[u8]) -> Vec<u8> {
    let mut records = records.to_vec();
    loop {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        encoder.write_all(&records).unwrap();
        let member = encoder.finish().unwrap();
        if !member.len().is_multiple_of(2) {
            return [&[5], member.as_slice()].concat();
        }
        records.push(b'\n');
    }
}

fn resource_logs() -> ResourceLogs {
    let value = |text: &str| Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    let run = KeyValue { key: "talend.run.id".to_owned(), value: value(RUN), ..KeyValue::default() };
    let record = LogRecord {
        time_unix_nano: 1_629_367_872_345_000_000,
        severity_number: 9,
        body: value("wrote 12 rows"),
        ..LogRecord::default()
    };
    ResourceLogs {
        resource: Some(Resource { attributes: vec![run], ..Resource::default() }),
        scope_logs: vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_reaches_what_it_is_for() {
        for (expected, seed) in cases() {
            let (status, body) = service().answer(request_of(&seed).unwrap());
            let text = String::from_utf8_lossy(&seed);
            let body = String::from_utf8_lossy(&body.unwrap()).into_owned();
            assert_eq!(status.as_u16(), expected, "{} of {text}: {body}", seed[0]);
        }
    }
}
