//! Datadog Logs: what its documents say it takes, and what a sink does with the rest.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fake_server::{FakeServer, Fault, Kept, REASON, Reply, Request, SECRET, Taken, Vendor, busy_or_nothing};
use crate::stage::{Stage, sink};

pub(crate) const DATADOG: Vendor = Vendor {
    kind: "datadog",
    settings: |url| json!({ "url": url, "token": { "env": "SECRET" }, "max_age": "0s" }),
    answer,
    knows_repeats: false,
    has_access_tokens: false,
};

/// "Send logs": an array of at most 1,000 logs and 5 MB, none of which is looked at one by one.
fn answer(kept: &mut Kept, request: &Request<'_>) -> Reply {
    if request.path != "/api/v2/logs" || request.is_busy {
        return busy_or_nothing(request);
    }
    if !request.has("dd-api-key", SECRET) {
        return (403, b"{\"errors\":[{\"status\":\"403\",\"title\":\"Forbidden\"}]}".to_vec());
    }
    if !request.has("content-type", "application/json") {
        return (415, Vec::new());
    }
    if request.body.len() > 5_000_000 {
        return (413, b"{\"errors\":[{\"status\":\"413\",\"title\":\"Request Entity Too Large\"}]}".to_vec());
    }
    let Ok(logs) = serde_json::from_slice::<Vec<Value>>(request.body) else {
        return (400, b"{\"errors\":[{\"status\":\"400\",\"title\":\"Bad Request\"}]}".to_vec());
    };
    assert!(logs.len() <= 1_000, "{} logs", logs.len());
    if logs.iter().any(|log| log["message"] == "unmappable") && !kept.is_mended {
        return (400, REASON.as_bytes().to_vec());
    }
    for log in logs {
        assert!(log.to_string().len() <= 1_000_000, "it would be cut off without a word");
        assert_eq!(log["ddsource"], "runlog");
        let is_audit_log = log["service"] == "tenant-audit-logs" && log["ddtags"] == "task:tenant-audit-logs";
        let is_of_run = log["service"] == "nightly" && log["ddtags"] == "env:default,workspace:team,task:nightly";
        assert!(is_audit_log || is_of_run, "{log}");
        log["timestamp"].as_str().unwrap().parse::<runlog_model::Timestamp>().unwrap();
        let text = |name: &str| log[name].as_str().unwrap_or_default().to_owned();
        let order = log["record.sequence"].as_i64().unwrap();
        kept.take_again(Taken { run: text("run.id"), order, message: text("message") });
    }
    (202, b"{}".to_vec())
}

fn settings(server: &FakeServer) -> Value {
    (DATADOG.settings)(&server.url)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_has_no_more_entries_than_datadog_takes() {
    let stage = Stage::new().await;
    let run = stage.run(2_300, &[]).await;
    let server = FakeServer::start(&DATADOG).await;
    let setup = sink("datadog", settings(&server), stage.clock.clone()).unwrap();
    stage.deliver_all(&stage.deliverer_of(setup)).await;
    assert_eq!(server.messages(run).len(), 2_300);
    assert_eq!(server.requests(), 3);
    let error = sink("datadog", json!({ "token": { "env": "S" }, "batch_records": 1_001 }), stage.clock.clone());
    assert_eq!(
        error.err().unwrap().to_string(),
        "batch_records must be at most 1000, the maximum that datadog accepts per request"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_has_no_more_bytes_than_datadog_takes() {
    let stage = Stage::new().await;
    let run = stage.run_with_extra(40, 300_000).await;
    let server = FakeServer::start(&DATADOG).await;
    let mut settings = settings(&server);
    settings["batch_bytes"] = 5_000_000.into();
    let setup = sink("datadog", settings, stage.clock.clone()).unwrap();
    stage.deliver_all(&stage.deliverer_of(setup)).await;
    assert_eq!(server.messages(run).len(), 40);
    let largest = server.largest_body();
    assert!((4_500_000..=5_000_000).contains(&largest), "{largest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_message_is_cut_and_says_so_and_what_is_large_elsewhere_is_a_dead_letter() {
    let stage = Stage::new().await;
    let long = stage.run_with_message(&"m\n".repeat(700_000)).await;
    let large = stage.run_with_extra(1, 1_100_000).await;
    let small = stage.run(3, &[]).await;
    let server = FakeServer::start(&DATADOG).await;
    let deliverer = stage.deliverer(sink("datadog", settings(&server), stage.clock.clone()).unwrap().destination);
    stage.deliver_all(&deliverer).await;
    let messages = server.messages(long);
    assert!(messages[0].ends_with("of 1400000 bytes]"), "{}", &messages[0][messages[0].len() - 60..]);
    assert!(messages[0].len() > 600_000, "{}", messages[0].len());
    assert_eq!(server.messages(small).len(), 3);
    assert!(server.messages(large).is_empty());
    let letters = stage.store.deliveries().dead_letters("sink", 9).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert!(letters[0].reason.contains("the destination takes 1000000 at most"), "{}", letters[0].reason);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_that_datadog_asks_for_is_kept() {
    let stage = Stage::new().await;
    let run = stage.run(5, &[]).await;
    let server = FakeServer::start(&DATADOG).await;
    server.will([Fault::Status(429, Some("17")), Fault::Status(408, None)]);
    let deliverer = stage.deliverer(sink("datadog", settings(&server), stage.clock.clone()).unwrap().destination);
    let before = stage.now_ms();
    stage.deliver(&deliverer).await;
    assert_eq!(server.messages(run).len(), 5);
    // What it asked for, and a second after the second attempt.
    assert_eq!(stage.now_ms() - before, 18_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_that_are_older_than_datadog_takes_them_are_left_out_and_counted() {
    let stage = Stage::new().await;
    stage.run(5, &[]).await;
    stage.pass(Duration::from_secs(18 * 3_600).as_millis() as i64);
    let new = stage.run_now(3).await;
    let server = FakeServer::start(&DATADOG).await;
    let settings = json!({ "url": server.url, "token": { "env": "SECRET" } });
    stage.deliver_all(&stage.deliverer(sink("datadog", settings, stage.clock.clone()).unwrap().destination)).await;
    assert_eq!(server.messages(new).len(), 3);
    let figures = stage.figures().await;
    assert_eq!((figures.records, figures.refused, figures.too_old), (3, 0, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_is_reported_without_the_key() {
    let stage = Stage::new().await;
    stage.run(5, &[]).await;
    // Repeats the key that it refuses.
    const STRICT: Vendor = Vendor { answer: |_, _| (403, format!("unknown key {SECRET}").into_bytes()), ..DATADOG };
    let server = FakeServer::start(&STRICT).await;
    let to = sink("datadog", settings(&server), stage.clock.clone()).unwrap().destination;
    assert_eq!(to.check().await.unwrap_err().to_string(), "it answered 403 Forbidden: unknown key ***");
    assert_eq!(stage.deliver(&stage.deliverer(to)).await.set_back, 1);
    let figures = stage.figures().await;
    assert_eq!(figures.refused, 0, "a setting is wrong, and no record");
    assert!(!figures.last_error.unwrap().contains(SECRET));
}

#[tokio::test]
async fn the_site_says_which_intake_it_is() {
    let stage = Stage::new().await;
    let place = |site: &str| {
        let settings = json!({ "token": { "env": "S" }, "site": site });
        sink("datadog", settings, stage.clock.clone()).map(|setup| setup.destination.location())
    };
    assert_eq!(place("us5.datadoghq.com").unwrap(), "https://http-intake.logs.us5.datadoghq.com/api/v2/logs");
    for wrong in ["https://datadoghq.eu", "app.datadoghq.eu", ""] {
        assert!(place(wrong).err().unwrap().to_string().contains("is not a Datadog site"), "{wrong}");
    }
}
