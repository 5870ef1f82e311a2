//! Common handling of requests, pushed logs, and shutdown.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::support::{Ask, RUN, Stage, lines};
use axum::body::Body;
use axum::http::Method;
use runlog_server::{ServerSettings, serve};
use tokio_util::sync::CancellationToken;

fn records() -> String {
    format!("/runlog/v1/runs/{RUN}/records")
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

async fn total(stage: &Stage) -> u64 {
    stage.get(&format!("/monitoring/executions/{RUN}/logs?count=0")).await.json()["totalSize"].as_u64().unwrap()
}

#[tokio::test]
async fn every_error_has_the_same_body_and_an_id() {
    let stage = Stage::new().await;
    stage.get("/nothing/here").await.is_error(404, &["nothing at this address"]);
    let wrong_method = stage.ask(Method::PATCH, "/healthz", "").await;
    wrong_method.is_error(405, &["PATCH is not allowed"]);
    assert!(wrong_method.header("allow").contains("GET"));
    assert_eq!(stage.ask(Method::OPTIONS, "/healthz", "").await.status, 405);
    let head = stage.ask(Method::HEAD, "/healthz", "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(2 << 20));
    stage.post("/runlog/v1/users", large).await.is_error(413, &["longer than"]);
}

#[tokio::test]
async fn a_request_keeps_the_id_that_it_came_with_if_it_is_sane() {
    let stage = Stage::new().await;
    let id = async |sent: &str| {
        let answer = stage.send(Method::GET, "/healthz", Ask::with(&[("x-request-id", sent)])).await;
        answer.header("x-request-id").to_owned()
    };
    assert_eq!(id("night-shift.7_a").await, "night-shift.7_a");
    for odd in ["two words", "", &"x".repeat(129), "a\u{7f}b"] {
        let ask = Ask::with(&[("x-request-id", &odd.replace('\u{7f}', ";"))]);
        let given = stage.send(Method::GET, "/healthz", ask).await.header("x-request-id").to_owned();
        assert_eq!(given.len(), 36, "{odd}");
    }
}

#[tokio::test]
async fn a_batch_is_stored_once_whole() {
    let stage = Stage::new().await;
    stage.start().await;
    let path = format!("{}?batch=a", records());
    assert_eq!(stage.post(&path, lines(0..10)).await.json(), serde_json::json!({"stored": 10}));
    let again = stage.post(&path, lines(0..10)).await.json();
    assert_eq!(again, serde_json::json!({"stored": 10, "repeated": true}));
    stage.post(&path, lines(0..11)).await.is_error(409, &["batch", "new id"]);
    assert_eq!(total(&stage).await, 10);
    stage.post(&format!("{}?batch=a%20b", records()), "").await.is_error(400, &["batch"]);
}

#[tokio::test]
async fn a_bad_line_is_named_and_nothing_of_its_batch_is_stored() {
    let stage = Stage::new().await;
    stage.start().await;
    for (line, words) in [
        ("{\"logTimestamp\":\"soon\"}", "logTimestamp"),
        ("{\"severity\":\"INFO\"}", "logTimestamp"),
        ("{\"logTimestamp\":1,\"severity\":5}", "severity"),
        ("not json", "expected"),
        ("[1]", "a record"),
        ("{\"logTimestamp\":1", "EOF"),
        ("{\"logTimestamp\":1} rest", "expected"),
        ("{", "on one line"),
    ] {
        let whole = format!("{}?badLines=refuse", records());
        let answer = stage.post(&whole, format!("{}\n\n{line}\n{}", lines([1]), lines([2]))).await;
        answer.is_error(400, &["line 4", words, "nothing of this batch was stored"]);
    }
    let named = stage.post(&format!("{}?batch=a", records()), format!("{}{{}}\n", lines([1]))).await;
    named.is_error(400, &["line 2", "nothing of this batch was stored"]);
    assert_eq!(total(&stage).await, 0);
}

/// One line without a time was a reason to refuse all others.
#[tokio::test]
async fn the_good_lines_of_a_batch_without_an_id_are_stored_and_the_others_are_listed() {
    let stage = Stage::new().await;
    stage.start().await;
    let body = format!("{}{{\"logTimestamp\":\"soon\"}}\n{}", lines([1]), lines([2]));
    let answer = stage.post(&records(), body).await.json();
    assert_eq!((answer["stored"].as_u64(), answer["refusedLines"].as_u64()), (Some(2), Some(1)), "{answer}");
    assert_eq!(answer["refused"][0]["line"], 2);
    stage.post(&records(), "<html>\n</html>").await.is_error(400, &["none of the lines", "line 1", "nothing of this"]);
    assert_eq!(stage.post(&format!("{}?badLines=skip", records()), "no log").await.json()["stored"], 0);
    assert_eq!(total(&stage).await, 2);
}

#[tokio::test]
async fn records_come_in_any_arrangement_on_their_lines() {
    let stage = Stage::new().await;
    stage.start().await;
    let [one, other] = [1, 2].map(|time| lines([time]).trim_end().to_owned());
    for body in [
        format!("{one}\n\u{feff}{other}\n"),
        format!("{one}{other}"),
        format!("{one},\n{other},\n"),
        format!("[\n{one},\n{other}\n]\n"),
        format!("[{one},{other},]"),
        format!("[{one}]\n[{other}]"),
    ] {
        let answer = stage.post(&records(), body.clone()).await;
        assert_eq!(answer.json(), serde_json::json!({"stored": 2}), "{body}: {}", answer.text());
    }
    let odd = format!("[{one},{{\"logTimestamp\":tru}},null,{{\"logTimestamp\":1,\"x\":NaN}},{other}]");
    let answer = stage.post(&records(), odd).await.json();
    assert_eq!((answer["stored"].as_u64(), answer["refusedLines"].as_u64()), (Some(3), Some(2)), "{answer}");
    assert_eq!(answer["repaired"], 1);
}

/// Some editors and PowerShell begin a file with one.
#[tokio::test]
async fn a_body_may_begin_with_a_byte_order_mark_and_a_kind_of_runtime_is_a_known_one() {
    let stage = Stage::new().await;
    let search = "/orchestration/executables/tasks/search";
    assert_eq!(stage.post(search, "\u{feff}{\"limit\":1}").await.status, 200);
    stage.post(search, "{\"runtimeType\":\"FOO\"}").await.is_error(400, &["runtimeType", "REMOTE_ENGINE, "]);
    let listed = "/orchestration/executables/tasks?runtimeType=";
    stage.get(&format!("{listed}FOO")).await.is_error(400, &["runtimeType", "CLOUD, REMOTE_ENGINE"]);
    for kind in ["CLOUD", "PIPELINE_ENGINE"] {
        assert_eq!(stage.get(&format!("{listed}{kind}")).await.status, 200);
    }
}

#[tokio::test]
async fn bodies_come_plain_packed_and_with_any_line_break() {
    let stage = Stage::new().await;
    stage.start().await;
    let text = lines([1, 2]);
    let send = |coding: &str, body: Vec<u8>| {
        stage.send(
            Method::POST,
            "/runlog/v1/runs/6c0e5a34-0000-4000-8000-000000000001/records",
            Ask::with(&[("content-encoding", coding)]).by(&stage.admin).body(body),
        )
    };
    for (coding, body) in [
        ("identity", text.clone().into_bytes()),
        ("identity", text.replace('\n', "\r\n").trim_end().as_bytes().to_vec()),
        ("gzip", gzip(&text)),
        ("GZIP", [gzip(&lines([1])), gzip(&lines([2]))].concat()),
        ("zstd", zstd::encode_all(text.as_bytes(), 1).unwrap()),
    ] {
        assert_eq!(send(coding, body).await.json()["stored"], 2, "{coding}");
    }
    assert_eq!(send("identity", Vec::new()).await.json()["stored"], 0);
    send("br", Vec::new()).await.is_error(415, &["br", "gzip, zstd"]);
    send("gzip", text.into_bytes()).await.is_error(400, &["decompressed", "nothing of this batch"]);
    let whole = gzip(&lines(0..1_000));
    send("gzip", whole[..whole.len() / 2].to_vec()).await.is_error(400, &["nothing of this batch"]);
    assert_eq!(total(&stage).await, 10);
}

#[tokio::test]
async fn bombs_and_endless_lines_are_refused() {
    let stage = Stage::new().await;
    stage.start().await;
    let blank = zstd::encode_all(vec![b'\n'; 300 << 20].as_slice(), 1).unwrap();
    let ask = Ask::with(&[("content-encoding", "zstd")]).by(&stage.admin).body(blank);
    stage.send(Method::POST, &records(), ask).await.is_error(413, &["16777216 bytes", "blank lines"]);
    let mut line = vec![b'x'; 1 << 20];
    line.push(b'\n');
    let bomb = zstd::encode_all(line.repeat(200).as_slice(), 1).unwrap();
    let ask = Ask::with(&[("content-encoding", "zstd")]).by(&stage.admin).body(bomb);
    let skipping = format!("{}?badLines=skip", records());
    stage.send(Method::POST, &skipping, ask).await.is_error(413, &["decompresses to more"]);
    stage
        .post(&format!("{}?badLines=refuse", records()), vec![b'x'; 17 << 20])
        .await
        .is_error(413, &["line 1", "longer than 16777216 bytes", "badLines=skip", "nothing of this batch"]);
}

/// One stack trace of 17 MiB made the service refuse the other records of the batch with every attempt.
#[tokio::test]
async fn a_line_that_is_too_long_is_skipped_like_any_other_that_cannot_be_read() {
    let stage = Stage::new().await;
    stage.start().await;
    let long = format!("{{\"logTimestamp\":2,\"logMessage\":\"{}\"}}\n", "x".repeat(17 << 20));
    // Short, but larger than a body may be once it is decoded.
    let heavy = format!("{{\"logTimestamp\":3,\"x\":[{}1]}}\n", "[],".repeat(5 << 20));
    let body = format!("{}{long}{heavy}{}", lines([1]), lines([4]));
    let answer = stage.post(&format!("{}?badLines=skip", records()), body).await;
    let body = answer.json();
    assert_eq!((body["stored"].as_u64(), body["refusedLines"].as_u64()), (Some(2), Some(2)), "{}", answer.text());
    assert_eq!(body["refused"][0]["line"], 2);
    assert!(body["refused"][0]["reason"].as_str().unwrap().contains("longer than 16777216 bytes"), "{body}");
    assert_eq!(body["refused"][1]["line"], 3);
    assert!(body["refused"][1]["reason"].as_str().unwrap().contains("when it is parsed"), "{body}");
    assert_eq!(total(&stage).await, 2);
}

#[tokio::test]
async fn a_body_that_breaks_off_stores_nothing() {
    let stage = Stage::new().await;
    stage.start().await;
    let parts = [Ok(lines(0..100)), Err(std::io::Error::other("gone"))];
    stage.post(&records(), Body::from_stream(futures::stream::iter(parts))).await.is_error(400, &["is truncated"]);
    assert_eq!(total(&stage).await, 0);
}

#[tokio::test]
async fn a_shutdown_completes_accepted_requests() {
    let stage = Stage::new().await;
    stage.start().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let service = tokio::spawn(serve(
        listener,
        stage.store.clone(),
        ServerSettings::default(),
        stage.clock.clone(),
        stage.random.clone(),
        stop.clone(),
    ));
    let (first, second) = (lines([1]), lines([2]));
    let length = first.len() + second.len();
    let (token, path) = (stage.admin.clone(), records());
    let (halfway, is_halfway) = tokio::sync::oneshot::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let pushed = tokio::task::spawn_blocking(move || {
        let mut connection = TcpStream::connect(address).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).unwrap();
        // 100 Continue: from here on, the request is accepted.
        let mut answer = [0; 25];
        connection.read_exact(&mut answer).unwrap();
        connection.write_all(first.as_bytes()).unwrap();
        halfway.send(()).unwrap();
        may_go_on.recv().unwrap();
        connection.write_all(second.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    });
    is_halfway.await.unwrap();
    stop.cancel();
    go_on.send(()).unwrap();
    let answer = pushed.await.unwrap();
    assert!(answer.contains("200 OK") && answer.ends_with(r#"{"stored":2}"#), "{answer}");
    service.await.unwrap().unwrap();
    assert!(TcpStream::connect(address).is_err());
}

#[tokio::test]
async fn excess_requests_are_answered_with_retry_after() {
    let stage = Stage::with(
        |_| (),
        |settings| {
            (settings.requests_per_second, settings.anonymous_requests_per_second) = (3, 2);
            settings.turn_time_max = std::time::Duration::ZERO;
        },
    )
    .await;
    let list = || stage.get("/orchestration/workspaces");
    for _ in 0..3 {
        assert_eq!(list().await.header("x-runlog-pace"), "3,180");
    }
    let refused = list().await;
    refused.is_error(429, &["more than 3 requests per second", "the request had no effect"]);
    assert_eq!(refused.header("retry-after"), "1");
    // The limit of one caller does not affect another.
    let other = stage.user("other", &[]).await;
    assert_eq!(stage.send(Method::GET, "/orchestration/workspaces", Ask::with(&[]).by(&other)).await.status, 200);
    stage.clock.advance_ms(1_000);
    assert_eq!(list().await.status, 200);

    let guess = || stage.send(Method::GET, "/orchestration/workspaces", Ask::with(&[]).by("guess"));
    guess().await.is_error(401, &[]);
    guess().await.is_error(401, &[]);
    guess().await.is_error(429, &["without a valid token"]);
    stage.send(Method::POST, "/security/oauth/token", Ask::with(&[])).await.is_error(429, &[]);
    assert_eq!(list().await.status, 200, "a good token passes");
}

/// A connection that requested page after page, without retries, got 429 after some hundred requests, and lost files.
#[tokio::test]
async fn a_sequential_client_is_delayed_but_never_refused() {
    let stage = Stage::with(|_| (), |settings| settings.requests_per_second = 100).await;
    // The clock of the limits stands still: each request beyond the first hundred waits 10 ms longer.
    for number in 0..106 {
        assert_eq!(stage.get("/orchestration/workspaces").await.status, 200, "request {number}");
    }
}

#[tokio::test]
async fn metrics_count_requests_records_and_runs() {
    let stage = Stage::new().await;
    stage.push("{\"logTimestamp\":1,\"severity\":\"ERROR\"}\n{\"logTimestamp\":2,\"severity\":\"INFO\"}\n").await;
    stage.get("/nothing/here").await;
    stage.get("/nothing/there").await;
    stage.link("").await;
    let ask = Ask::with(&[("accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")]);
    let text = stage.send(Method::GET, "/metrics", ask.by(&stage.admin)).await;
    assert!(text.header("content-type").starts_with("application/openmetrics-text"));
    let text = text.text();
    for line in [
        "runlog_records_in_total 2",
        "runlog_records_out_total 2",
        "runlog_pages_requested_total 1",
        "runlog_archive_records 2",
        "runlog_pages_waiting 0",
        r#"runlog_http_requests_total{method="GET",route="",status="404"} 2"#,
        r#"name="nightly",workspace="team",severity="ERROR"} 1"#,
        r#"name="nightly",workspace="team",status="executing"} 1"#,
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let other = stage.user("other", &runlog_model::workspaces::Right::ALL).await;
    stage.send(Method::GET, "/metrics", Ask::with(&[]).by(&other)).await.is_error(403, &["RUNLOG_METRICS"]);
}

/// An OTLP request with these records, as JSON.
fn otlp(run: &str, task: &str, records: &serde_json::Value) -> String {
    let attribute = |key: &str, value: &str| serde_json::json!({"key": key, "value": {"stringValue": value}});
    serde_json::json!({"resourceLogs": [{
        "resource": {"attributes": [attribute("runlog.run.id", run), attribute("runlog.task.id", task), attribute("host.name", "engine-7")]},
        "scopeLogs": [{"scope": {"name": "tMap_1", "version": "8.0"}, "logRecords": records}],
    }]})
    .to_string()
}

#[tokio::test]
async fn otlp_records_begin_a_run_fill_it_and_end_it() {
    let stage = Stage::new().await;
    let task = stage.task.to_string();
    let records = serde_json::json!([
        {"timeUnixNano": "1630479705000999999", "severityNumber": 9, "body": {"stringValue": "begin"}},
        {"observedTimeUnixNano": "1630479706000000000", "severityText": "ERROR", "body": {"kvlistValue": {"values": [{"key": "rows", "value": {"intValue": "3"}}]}},
         "traceId": "5b8efff798038103d269b633813fc60c",
         "attributes": [{"key": "runlog.run.status", "value": {"stringValue": "execution_failed"}}]},
    ]);
    let send = || {
        let ask = Ask::with(&[("content-type", "application/json")]).by(&stage.admin);
        stage.send(Method::POST, "/v1/logs", ask.body(otlp(RUN, &task, &records)))
    };
    let answer = send().await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["partialSuccess"].is_object()),
        (200, false),
        "{}",
        answer.text()
    );
    // An exporter that did not receive the response sends again: nothing is stored twice.
    assert_eq!(send().await.status, 200);

    let log = stage.get(&format!("/monitoring/executions/{RUN}/logs?order=ASC")).await.json();
    assert_eq!(log["totalSize"], 2);
    let (first, second) = (&log["data"][0], &log["data"][1]);
    assert_eq!(
        (&first["logTimestamp"], &first["severity"], &first["logMessage"]),
        (&1_630_479_705_000_i64.into(), &"INFO".into(), &"begin".into())
    );
    assert_eq!(
        (&first["bundleName"], &first["podName"], &first["logType"]),
        (&"tMap_1".into(), &"engine-7".into(), &"JOB".into())
    );
    assert_eq!(
        (&second["logMessage"], &second["traceId"]),
        (&r#"{"rows":3}"#.into(), &"5b8efff798038103d269b633813fc60c".into())
    );
    let run = stage.get(&format!("/processing/executions/{RUN}")).await.json();
    assert_eq!(run["status"], "execution_failed");
    assert_eq!(run["startTimestamp"], "2021-09-01T07:01:45.000Z");
    assert_eq!(run["finishTimestamp"], "2021-09-01T07:01:46.000Z");
}

#[tokio::test]
async fn otlp_speaks_protobuf_and_counts_what_it_cannot_store() {
    use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
    use prost::Message;
    let stage = Stage::new().await;
    let task = stage.task.to_string();
    let records = serde_json::json!([{"timeUnixNano": "1", "body": {"stringValue": "x"}}]);
    let mut request: ExportLogsServiceRequest = serde_json::from_str(&otlp(RUN, &task, &records)).unwrap();
    for (run, task) in
        [("not-a-run", task.as_str()), ("6c0e5a34-0000-4000-8000-00000000000a", "57f64991e4b0b689a64feed2")]
    {
        let other: ExportLogsServiceRequest = serde_json::from_str(&otlp(run, task, &records)).unwrap();
        request.resource_logs.extend(other.resource_logs);
    }
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&request.encode_to_vec()).unwrap();
    let ask = Ask::with(&[("content-type", "application/x-protobuf"), ("content-encoding", "gzip")]).by(&stage.admin);
    let answer = stage.send(Method::POST, "/v1/logs", ask.body(packed.finish().unwrap())).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/x-protobuf"));
    let partial = ExportLogsServiceResponse::decode(&answer.body[..]).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_log_records, 2);
    assert!(partial.error_message.contains("not-a-run"), "{}", partial.error_message);
    assert_eq!(total(&stage).await, 1);
}

/// One record whose value was nested deeply, or that was truncated, lost the whole request of an exporter.
#[tokio::test]
async fn one_otlp_record_that_does_not_decode_is_refused_without_the_others() {
    use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
    use prost::Message;
    let field = |number: u64, inner: &[u8]| {
        let mut field = Vec::new();
        prost::encoding::encode_varint(number << 3 | 2, &mut field);
        prost::encoding::encode_varint(inner.len() as u64, &mut field);
        field.extend(inner);
        field
    };
    let nested = |depth: u32| {
        let innermost = field(1, b"deep");
        let value =
            (0..depth).fold(innermost, |value, _| field(6, &field(1, &[field(1, b"k"), field(2, &value)].concat())));
        field(5, &value)
    };
    for (name, odd, rejected) in [
        ("nested a little", nested(10), 0),
        ("nested deeply", nested(40), 1),
        ("nested very deeply", nested(2_000), 1),
        ("truncated", vec![0x09, 0, 0], 1),
        ("longer than its record", vec![0x2a, 0xff, 0xff, 0xff, 0xff, 0x7f], 1),
        ("a group", vec![0x9b, 0x06, 0x9c, 0x06], 0),
        ("half of a group", vec![0x9b, 0x06], 1),
    ] {
        let stage = Stage::new().await;
        let records = serde_json::json!([{"timeUnixNano": "1", "body": {"stringValue": "before"}}]);
        let request: ExportLogsServiceRequest =
            serde_json::from_str(&otlp(RUN, &stage.task.to_string(), &records)).unwrap();
        let resource_logs = &request.resource_logs[0];
        let good = resource_logs.scope_logs[0].log_records[0].encode_to_vec();
        let scope_logs: Vec<u8> = [&good, &odd, &good].into_iter().flat_map(|record| field(2, record)).collect();
        let resource = resource_logs.resource.as_ref().unwrap().encode_to_vec();
        let body = field(1, &[field(1, &resource), field(2, &scope_logs)].concat());
        let ask = Ask::with(&[("content-type", "application/x-protobuf")]).by(&stage.admin).body(body);
        let answer = stage.send(Method::POST, "/v1/logs", ask).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let partial = ExportLogsServiceResponse::decode(&answer.body[..]).unwrap().partial_success;
        assert_eq!(partial.map_or(0, |partial| partial.rejected_log_records), rejected, "{name}");
        assert_eq!(total(&stage).await, u64::try_from(3 - rejected).unwrap(), "{name}");
    }
}

/// Some proxies add a line `Content-Encoding: identity`, or remove the line of the sender: the bytes of gzip counted as
/// plain text, and the batch was answered with 200 and lost.
#[tokio::test]
async fn every_line_of_content_encoding_counts_and_a_compressed_body_is_never_taken_for_text() {
    let stage = Stage::new().await;
    stage.start().await;
    let event =
        serde_json::json!({"timestamp": 1_619_018_947_000_i64, "message": "x", "flowExecutionId": RUN}).to_string();
    let record = r#"{"logTimestamp": 1619018947000, "logMessage": "x"}"#.to_owned();
    let log = otlp(RUN, &stage.task.to_string(), &serde_json::json!([{"timeUnixNano": "1"}]));
    let mut stored = 0;
    for (path, body) in [
        ("/runlog/v1/events".to_owned(), event),
        (format!("/runlog/v1/runs/{RUN}/records"), record),
        ("/v1/logs".to_owned(), log),
    ] {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(body.as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        let zstd = zstd::encode_all(body.as_bytes(), 3).unwrap();
        let send = |codings: &'static [&'static str], body: Vec<u8>| {
            let headers: Vec<_> = codings.iter().map(|coding| ("content-encoding", *coding)).collect();
            let headers = [
                &headers[..],
                &[("content-type", "application/json"), ("content-type", "application/json; charset=utf-8")],
            ]
            .concat();
            stage.send(Method::POST, &path, Ask::with(&headers).by(&stage.admin).body(body))
        };
        for codings in [&["identity", "gzip"][..], &["gzip"], &["gzip", "identity"], &["identity, gzip"]] {
            let answer = send(codings, packed.clone()).await;
            assert_eq!(answer.status, 200, "{path} {codings:?}: {}", answer.text());
        }
        assert!(total(&stage).await > stored, "{path}");
        stored = total(&stage).await;
        send(&["gzip", "gzip"], packed.clone()).await.is_error(415, &["more than one"]);
        send(&[], packed.clone()).await.is_error(415, &["gzip", "missing"]);
        send(&["identity"], zstd.clone()).await.is_error(415, &["zstd", "missing"]);
        send(&["zstd"], zstd::encode_all(&packed[..], 3).unwrap()).await.is_error(415, &["more than once"]);
        assert_eq!(total(&stage).await, stored, "{path}");
    }
    let headers = [("content-type", "application/json"), ("content-type", "text/plain")];
    stage
        .send(Method::POST, "/v1/logs", Ask::with(&headers).by(&stage.admin).body("{}"))
        .await
        .is_error(415, &["OTLP"]);
}

#[tokio::test]
async fn otlp_over_grpc_stores_the_same_and_answers_with_a_status_of_grpc() {
    use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
    use prost::Message;
    const METHOD: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let stage = Stage::new().await;
    let records = serde_json::json!([{"timeUnixNano": "1", "body": {"stringValue": "x"}}]);
    let mut request: ExportLogsServiceRequest =
        serde_json::from_str(&otlp(RUN, &stage.task.to_string(), &records)).unwrap();
    let other: ExportLogsServiceRequest =
        serde_json::from_str(&otlp("not-a-run", &stage.task.to_string(), &records)).unwrap();
    request.resource_logs.extend(other.resource_logs);
    let framed = |is_packed: u8, message: &[u8]| {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[is_packed], length.as_slice(), message].concat()
    };
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&request.encode_to_vec()).unwrap();
    let packed = packed.finish().unwrap();
    let send = |token: &'static str, body: Vec<u8>| {
        let headers = [("content-type", "application/grpc+proto"), ("grpc-encoding", "gzip"), ("te", "trailers")];
        let token = if token.is_empty() { stage.admin.as_str() } else { token };
        stage.send(Method::POST, METHOD, Ask::with(&headers).by(token).body(body))
    };
    for body in [framed(0, &request.encode_to_vec()), framed(1, &packed)] {
        let answer = send("", body).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/grpc"));
        assert_eq!(answer.body[0], 0);
        assert_eq!(u32::from_be_bytes(answer.body[1..5].try_into().unwrap()) as usize, answer.body.len() - 5);
        let partial = ExportLogsServiceResponse::decode(&answer.body[5..]).unwrap().partial_success.unwrap();
        assert_eq!(partial.rejected_log_records, 1);
        assert!(partial.error_message.contains("not-a-run"), "{}", partial.error_message);
    }
    // The second request repeats the first, which consists of several records.
    assert_eq!(total(&stage).await, 1);
    for (token, body, status, words) in [
        ("nobody", framed(0, b""), "16", "token"),
        ("", b"\0\0".to_vec(), "3", "no message"),
        ("", framed(0, b"nonsense"), "3", "ExportLogsServiceRequest"),
        ("", [framed(0, b""), framed(0, b"")].concat(), "3", ""),
        ("", framed(1, b"not gzip"), "3", ""),
    ] {
        let answer = send(token, body).await;
        assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, status), "{words}");
        assert!(answer.header("grpc-message").contains(words), "{}", answer.header("grpc-message"));
        assert!(answer.body.is_empty());
    }
    let ask = Ask::with(&[("content-type", "application/json")]).by(&stage.admin).body("{}");
    stage.send(Method::POST, METHOD, ask).await.is_error(415, &["application/grpc"]);
    // The metrics count errors by what they are.
    let metrics = stage.get("/metrics").await.text();
    let line = format!("runlog_http_requests_total{{method=\"POST\",route=\"{METHOD}\",status=\"401\"}} 1");
    assert!(metrics.contains(&line), "{metrics}");
}

#[tokio::test]
async fn otlp_needs_the_right_to_publish_and_a_form_it_knows() {
    use runlog_model::workspaces::Right;
    let stage = Stage::new().await;
    let elsewhere = stage.user_in(stage.other_workspace().await.id, "elsewhere", &[Right::Publish]).await;
    let body = otlp(RUN, &stage.task.to_string(), &serde_json::json!([{"timeUnixNano": "1"}]));
    let viewer = stage.user("viewer", &[Right::View]).await;
    let ask = Ask::with(&[("content-type", "application/json")]).by(&viewer).body(body.clone());
    stage.send(Method::POST, "/v1/logs", ask).await.is_error(403, &["Publisher", "no workspace"]);
    let send = |kind: &'static str, body: String| {
        stage.send(Method::POST, "/v1/logs", Ask::with(&[("content-type", kind)]).by(&elsewhere).body(body))
    };
    let answer = send("application/json", body).await.json();
    assert_eq!(answer["partialSuccess"]["rejectedLogRecords"], 1);
    assert!(answer["partialSuccess"]["errorMessage"].as_str().unwrap().contains("Publisher"), "{answer}");
    send("text/plain", String::new()).await.is_error(415, &["application/x-protobuf"]);
    send("application/json", "{".to_owned()).await.is_error(400, &["the body"]);
    send("application/x-protobuf", "nonsense".to_owned()).await.is_error(400, &["ExportLogsServiceRequest"]);
    assert_eq!(send("application/json", "{}".to_owned()).await.status, 200);
}

/// 4,000 pages that were read concurrently took 1.7 GB.
#[tokio::test]
async fn pages_of_logs_take_turns() {
    let change = |server: &mut ServerSettings| {
        (server.bounds.page_reads_max, server.bounds.turn_wait_max) = (1, Duration::ZERO);
    };
    let stage = Stage::with(|_| (), change).await;
    stage.push(&lines(0..100)).await;
    let live = format!("/monitoring/executions/{RUN}/logs");
    let browse = format!("/runlog/v1/runs/{RUN}/records");
    for path in [&live, &browse] {
        let answers = futures::future::join_all((0..20).map(|_| stage.get(path))).await;
        let (good, busy): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert!(!good.is_empty() && !busy.is_empty(), "{path}: {} and {}", good.len(), busy.len());
        busy.iter().for_each(|answer| answer.is_error(503, &["pages of logs", "--page-reads"]));
    }
    let answers = futures::future::join_all((0..20).map(|_| stage.post(&live, ""))).await;
    assert!(answers.iter().any(|answer| answer.status == 503) && answers.iter().any(|answer| answer.status == 200));
    assert_eq!(stage.get(&live).await.status, 200, "the turn is given back");
}
