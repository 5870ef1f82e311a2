//! The progress of deliveries in the API.

use axum::http::Method;
use runlog_model::{Clock, Timestamp};
use runlog_store::delivery::DeliveryStep;
use serde_json::json;

use crate::support::{RUN, Stage, lines};

const OTHER: &str = "6c0e5a34-0000-4000-8000-000000000002";

#[tokio::test]
async fn sinks_are_listed_and_tried_again() {
    let stage = Stage::new().await;
    assert_eq!(stage.get("/runlog/v1/sinks").await.json(), json!([]));
    stage.store.deliveries().register_sink("elastic", "elasticsearch", Some("it answered 503")).await.unwrap();
    let sinks = stage.get("/runlog/v1/sinks").await.json();
    assert_eq!((&sinks[0]["name"], &sinks[0]["kind"]), (&json!("elastic"), &json!("elasticsearch")));
    assert_eq!((&sinks[0]["problem"], &sinks[0]["lagSeconds"]), (&json!("it answered 503"), &json!(0)));
    assert_eq!((&sinks[0]["failedDeliveries"], &sinks[0]["deadLetters"]), (&json!([]), &json!([])));
    assert_eq!(stage.post("/runlog/v1/sinks/elastic/retry", "").await.json(), json!({ "runs": 0 }));
    stage.ask(Method::POST, "/runlog/v1/sinks/none/retry", "").await.is_error(404, &["no sink none"]);
}

const SETTLED_MS: i64 = 3_600_000;

impl Stage {
    /// Delivers the log of the next due run to a sink, or fails to.
    async fn deliver(&self, refusal: Option<&str>) {
        let deliveries = self.store.deliveries();
        let until = self.clock.now().plus_millis(60_000);
        let mut claimed = deliveries.claim("elastic", until).await.unwrap().unwrap();
        match refusal {
            Some(reason) => deliveries.record_failure(&claimed, reason, None).await.unwrap(),
            None => {
                let step = DeliveryStep { delivered: claimed.records(), ends_part: true, ..DeliveryStep::default() };
                deliveries.commit_step(&mut claimed, &step).await.unwrap();
                deliveries.finish(&claimed).await.unwrap();
            }
        }
    }

    async fn ended_runs(&self) {
        self.push(&lines([1_000, 2_000])).await;
        self.start_as(OTHER).await;
        for run in [RUN, OTHER] {
            let finish = r#"{"status":"execution_successful"}"#;
            assert_eq!(self.post(&format!("/runlog/v1/runs/{run}/finish"), finish).await.status, 200);
        }
        self.clock.advance_ms(SETTLED_MS);
        self.store.deliveries().register_sink("elastic", "elasticsearch", None).await.unwrap();
        assert_eq!(self.store.deliveries().enqueue_finished_runs("elastic", |_| true).await.unwrap(), 2);
    }

    async fn states(&self) -> Vec<String> {
        let page = self.get("/runlog/v1/sinks/elastic/deliveries").await.json();
        assert_eq!(page["total"], 2);
        page["items"].as_array().unwrap().iter().map(|item| item["state"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn deliveries_are_listed_and_single_ones_tried_again() {
    let stage = Stage::new().await;
    stage.ended_runs().await;
    stage.deliver(Some("it answered 410")).await;
    stage.deliver(Some("it answered 410")).await;
    assert_eq!(stage.states().await, ["dead", "dead"]);
    let page = stage.get("/runlog/v1/sinks/elastic/deliveries?limit=1").await.json();
    let (first, task) = (&page["items"][0], &page["items"][0]["taskName"]);
    assert_eq!((task, &first["problem"]), (&json!("nightly"), &json!("it answered 410")));
    let retry = |run: &str| format!("/runlog/v1/sinks/elastic/retry?runId={run}");
    assert_eq!(stage.post(&retry(RUN), "").await.json(), json!({ "runs": 1 }));
    let mut states = stage.states().await;
    states.sort();
    assert_eq!(states, ["dead", "due"]);
    stage.deliver(None).await;
    assert_eq!(stage.post(&retry(RUN), "").await.json(), json!({ "runs": 0 }), "what was delivered is not retried");
    stage.post(&retry("x"), "").await.is_error(400, &["runId"]);
    stage.get("/runlog/v1/sinks/none/deliveries").await.is_error(404, &["no sink none"]);
    let entries = stage.get("/runlog/v1/audit?limit=100").await.json();
    let is_noted = |entry: &serde_json::Value| entry["subject"] == format!("elastic {RUN}");
    assert!(entries["items"].as_array().unwrap().iter().any(is_noted));
}

#[tokio::test]
async fn the_logs_of_a_period_are_delivered_again_from_their_start() {
    let stage = Stage::new().await;
    stage.ended_runs().await;
    stage.deliver(None).await;
    stage.deliver(None).await;
    assert_eq!(stage.states().await, ["done", "done"]);
    let replay = async |from: Timestamp, to: Timestamp| {
        let body = json!({ "from": from.to_string(), "to": to.to_string() }).to_string();
        stage.post("/runlog/v1/sinks/elastic/replay", body).await
    };
    let (begin, now) = (stage.clock.now().plus_millis(-2 * SETTLED_MS), stage.clock.now());
    assert_eq!(replay(now, now).await.json(), json!({ "runs": 0 }));
    assert_eq!(replay(begin, now).await.json(), json!({ "runs": 2 }));
    assert_eq!(stage.states().await, ["due", "due"]);
    let until = now.plus_millis(60_000);
    let mut records = 0;
    for _ in 0..2 {
        let claimed = stage.store.deliveries().claim("elastic", until).await.unwrap().unwrap();
        assert!(claimed.is_from_start() && claimed.parts == 0);
        records += claimed.records();
    }
    assert_eq!(records, 2);
    assert_eq!(replay(begin, now).await.json(), json!({ "runs": 0 }), "what is due is not interrupted");
    replay(now, begin).await.is_error(400, &["from"]);
    let none = json!({ "from": begin.to_string(), "to": now.to_string() }).to_string();
    stage.post("/runlog/v1/sinks/none/replay", none).await.is_error(404, &["no sink none"]);
}

#[tokio::test]
async fn what_was_collected_is_listed() {
    let stage = Stage::new().await;
    assert_eq!(stage.get("/runlog/v1/collection/eu/runs").await.json()["total"], 0);
    let none = format!("/runlog/v1/collection/eu/retry?runId={RUN}");
    stage.post(&none, "").await.is_error(404, &["no upstream"]);
}
