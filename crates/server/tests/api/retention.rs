//! Retention with its preview, and legal holds.

use axum::http::Method;
use runlog_model::Clock;
use serde_json::{Value, json};

use crate::support::{RUN, Stage, lines};

const DAY_MS: i64 = 86_400_000;

fn run(number: u32) -> String {
    format!("6c0e5a34-0000-4000-8000-0000000003{number:02}")
}

impl Stage {
    /// A run with two records that ends now.
    async fn ended(&self, run: &str) {
        self.start_as(run).await;
        let now = self.clock.now().as_millis();
        let answer = self.post(&format!("/runlog/v1/runs/{run}/records"), lines([now - 2_000, now - 1_000])).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let finish = r#"{"status":"execution_successful"}"#;
        assert_eq!(self.post(&format!("/runlog/v1/runs/{run}/finish"), finish).await.status, 200);
    }

    /// Runs of nine, six and three days ago.
    async fn three_runs(&self) {
        for number in 1..=3 {
            self.ended(&run(number)).await;
            self.clock.advance_ms(3 * DAY_MS);
        }
        while self.store.maintenance().seal().await.unwrap().runs > 0 {}
    }

    async fn preview(&self, query: &str) -> Value {
        let path = format!("/runlog/v1/workspaces/{}/retention/preview{query}", self.workspace);
        let answer = self.get(&path).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    async fn set_retention(&self, body: Value) -> crate::support::Answer {
        let path = format!("/runlog/v1/workspaces/{}/retention", self.workspace);
        self.ask(Method::PUT, &path, body.to_string()).await
    }

    async fn hold(&self, run: &str, reason: &str) -> crate::support::Answer {
        self.ask(Method::PUT, &format!("/runlog/v1/runs/{run}/hold"), json!({ "reason": reason }).to_string()).await
    }

    async fn records_of(&self, run: &str) -> u64 {
        self.get(&format!("/runlog/v1/runs/{run}/summary")).await.json()["log"]["records"].as_u64().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_counts_what_the_retention_then_deletes() {
    let stage = Stage::new().await;
    stage.three_runs().await;
    assert_eq!(stage.preview("").await["runs"], 0);
    assert_eq!(stage.preview("?days=10").await["runs"], 0);
    let by_age = stage.preview("?days=5").await;
    assert_eq!((&by_age["runs"], &by_age["records"], &by_age["heldRuns"]), (&json!(2), &json!(4), &json!(0)));
    assert!(by_age["oldest"].as_str().unwrap() < by_age["newest"].as_str().unwrap());
    assert_eq!(stage.preview("?bytes=0").await["runs"], 3);

    // Beyond a size, the oldest go first: without one of three logs of the same size, two remain.
    let listed = stage.get("/runlog/v1/retention").await.json();
    let total = listed[0]["bytes"].as_u64().unwrap();
    assert_eq!((&listed[0]["logs"], &listed[0]["records"]), (&json!(3), &json!(6)));
    let by_size = stage.preview(&format!("?bytes={}", total - 1)).await;
    assert_eq!(by_size["runs"], 1);
    assert_eq!(stage.preview(&format!("?days=5&bytes={}", total / 2)).await["runs"], 2);
    assert_eq!(stage.get("/runlog/v1/retention").await.json()[0].get("days"), None, "a preview changes nothing");

    let set = stage.set_retention(json!({ "bytes": total - 1 })).await;
    assert_eq!(set.json(), json!({ "bytes": total - 1 }), "{}", set.text());
    let deleted = stage.store.maintenance().apply_retention().await.unwrap();
    assert_eq!(deleted.runs, by_size["runs"].as_u64().unwrap());
    assert_eq!((stage.records_of(&run(1)).await, stage.records_of(&run(2)).await), (0, 2));

    stage.set_retention(json!({ "days": 5 })).await;
    let preview = stage.preview("?days=5").await;
    assert_eq!((&preview["runs"], &preview["current"]), (&json!(1), &json!({ "days": 5 })));
    assert_eq!(stage.store.maintenance().apply_retention().await.unwrap().runs, 1);
    assert_eq!((stage.records_of(&run(2)).await, stage.records_of(&run(3)).await), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_under_hold_is_kept_and_said_so() {
    let stage = Stage::new().await;
    stage.three_runs().await;
    assert_eq!(stage.hold(&run(1), "audit 2026").await.status, 204);
    let preview = stage.preview("?days=5").await;
    assert_eq!((&preview["runs"], &preview["heldRuns"]), (&json!(1), &json!(1)));
    assert_eq!(stage.preview("?bytes=0").await["runs"], 2);
    stage.set_retention(json!({ "days": 5 })).await;
    assert_eq!(stage.store.maintenance().apply_retention().await.unwrap().runs, 1);
    let logs = format!("/monitoring/executions/{}/logs", run(1));
    stage.ask(Method::DELETE, &logs, "").await.is_error(409, &["legal hold"]);
    assert_eq!(stage.records_of(&run(1)).await, 2);

    let holds = stage.get("/runlog/v1/holds").await.json();
    assert_eq!(holds["total"], 1);
    let held = &holds["items"][0];
    assert_eq!((&held["runId"], &held["reason"]), (&json!(run(1)), &json!("audit 2026")));
    assert_eq!((&held["heldBy"], &held["taskName"]), (&json!("admin"), &json!("nightly")));
    assert_eq!(stage.get("/runlog/v1/retention").await.json()[0]["heldRuns"], 1);

    let path = format!("/runlog/v1/runs/{}/hold", run(1));
    assert_eq!(stage.ask(Method::DELETE, &path, "").await.status, 204);
    assert_eq!(stage.get("/runlog/v1/holds").await.json()["total"], 0);
    assert_eq!(stage.store.maintenance().apply_retention().await.unwrap().runs, 1);
}

#[tokio::test]
async fn what_cannot_be_set_is_refused_and_every_change_is_in_the_audit_log() {
    let stage = Stage::new().await;
    stage.push(&lines([1_000])).await;
    for (body, word) in [
        (json!({ "days": 0 }), "days"),
        (json!({ "days": 40_000 }), "days"),
        (json!({ "days": -1 }), "-1"),
        (json!({ "size": 3 }), "size"),
        (json!({ "bytes": 1_u64 << 60 }), "bytes"),
    ] {
        stage.set_retention(body).await.is_error(400, &[word]);
    }
    for reason in ["", " ", "two\nlines"] {
        stage.hold(RUN, reason).await.is_error(400, &["reason"]);
    }
    stage.hold(RUN, &"x".repeat(501)).await.is_error(400, &["500"]);
    stage.hold(&run(9), "why").await.is_error(404, &["there is no run"]);
    let none = "/runlog/v1/workspaces/aaaaaaaaaaaaaaaaaaaaaaaa/retention";
    stage.ask(Method::PUT, none, "{}").await.is_error(404, &["there is no workspace"]);
    stage.get(&format!("{none}/preview")).await.is_error(404, &["there is no workspace"]);

    assert_eq!(stage.set_retention(json!({ "days": 400, "bytes": 5_000 })).await.status, 200);
    assert_eq!(stage.set_retention(json!({})).await.status, 200);
    assert_eq!(stage.hold(RUN, "why").await.status, 204);
    assert_eq!(stage.ask(Method::DELETE, &format!("/runlog/v1/runs/{RUN}/hold"), "").await.status, 204);
    let entries = stage.get("/runlog/v1/audit?limit=4").await.json();
    let entry = |index: usize| (entries["items"][index]["action"].clone(), entries["items"][index]["subject"].clone());
    assert_eq!(entry(0), (json!("lift legal hold"), json!(RUN)));
    assert_eq!(entry(1), (json!("set legal hold"), json!(RUN)));
    assert_eq!(entry(2), (json!("change retention"), json!(format!("{} no limit", stage.workspace))));
    assert_eq!(entry(3), (json!("change retention"), json!(format!("{} 400 days 5000 bytes", stage.workspace))));
}
