//! Alert rules with their state and history, mutes, and previews.

use axum::http::Method;
use runlog_model::Clock;
use runlog_model::wire::alerts::{AlertPreviewBody, AlertRuleDescription};
use runlog_server::AlertPreview;
use runlog_store::alerts::NewAlert;
use serde_json::{Value, json};

use crate::support::{RUN, Stage};

fn alert(occurrence: &str, is_muted: bool) -> NewAlert {
    NewAlert {
        rule: "night".to_owned(),
        destination: "webhook chat.example.com 1a2b3c4d".to_owned(),
        occurrence: occurrence.to_owned(),
        body: json!({ "what": "run_failed", "text": format!("{occurrence} failed"), "runId": RUN }).to_string(),
        is_muted,
        ..NewAlert::default()
    }
}

impl Stage {
    async fn rule(&self) -> Value {
        self.get("/runlog/v1/alerts").await.json()[0].clone()
    }
}

#[tokio::test]
async fn rules_are_listed_with_what_they_reported() {
    let stage = Stage::new().await;
    assert_eq!(stage.get("/runlog/v1/alerts").await.json(), json!([]));
    let alerts = stage.store.alerts();
    alerts.rule_known_since("night").await.unwrap();
    assert_eq!(stage.rule().await.get("description"), None);
    let description = AlertRuleDescription {
        when: vec!["run_failed".to_owned()],
        destinations: vec!["webhook chat.example.com 1a2b3c4d".to_owned()],
        ..AlertRuleDescription::default()
    };
    alerts.describe_rule("night", &description).await.unwrap();
    alerts.enqueue(&[alert("first", false), alert("second", true)]).await.unwrap();
    stage.clock.advance_ms(1_000);
    alerts.enqueue(&[alert("third", false)]).await.unwrap();
    let claimed = alerts.claim("webhook chat.example.com 1a2b3c4d").await.unwrap().unwrap();
    alerts.mark_delivered(std::slice::from_ref(&claimed)).await.unwrap();
    let claimed = alerts.claim("webhook chat.example.com 1a2b3c4d").await.unwrap().unwrap();
    let later = stage.clock.now().plus_millis(60_000);
    alerts.record_failure(std::slice::from_ref(&claimed), "it answered 503", later).await.unwrap();

    let rule = stage.rule().await;
    assert_eq!((&rule["name"], &rule["delivered"], &rule["waiting"]), (&json!("night"), &json!(1), &json!(1)));
    assert_eq!((&rule["problem"], &rule["description"]["when"]), (&json!("it answered 503"), &json!(["run_failed"])));
    let history = async |query: &str| stage.get(&format!("/runlog/v1/alerts/history{query}")).await.json();
    let all = history("").await;
    let texts: Vec<&str> = all["items"].as_array().unwrap().iter().map(|item| item["text"].as_str().unwrap()).collect();
    assert_eq!((texts.len(), texts[0], &all["total"]), (3, "third failed", &json!(3)));
    let states = async |state: &str| {
        let page = history(&format!("?state={state}&rule=night")).await;
        (page["total"].clone(), page["items"][0]["text"].clone(), page["items"][0]["runId"].clone())
    };
    assert_eq!(states("delivered").await, (json!(1), json!("first failed"), json!(RUN)));
    assert_eq!(states("muted").await, (json!(1), json!("second failed"), json!(RUN)));
    assert_eq!(states("waiting").await, (json!(1), json!("third failed"), json!(RUN)));
    assert_eq!(history("?state=waiting").await["items"][0]["nextAttempt"], json!(later.to_string()));
    assert_eq!(history("?rule=other").await["total"], 0);
    stage.get("/runlog/v1/alerts/history?state=lost").await.is_error(400, &["state"]);
}

#[tokio::test]
async fn a_rule_is_muted_until_a_time() {
    let stage = Stage::new().await;
    let alerts = stage.store.alerts();
    alerts.rule_known_since("night").await.unwrap();
    let path = "/runlog/v1/alerts/night/mute";
    let until = stage.clock.now().plus_millis(3_600_000);
    let body = json!({ "until": until.to_string(), "note": "planned work" });
    assert_eq!(stage.ask(Method::PUT, path, body.to_string()).await.status, 204);
    let mute = stage.rule().await["mute"].clone();
    assert_eq!(mute, json!({ "until": until.to_string(), "by": "admin", "note": "planned work" }));
    assert!(alerts.is_muted("night").await.unwrap());
    stage.clock.advance_ms(3_600_000);
    assert!(!alerts.is_muted("night").await.unwrap());
    assert_eq!(stage.rule().await.get("mute"), None);

    assert_eq!(stage.ask(Method::PUT, path, "{}").await.status, 204);
    assert_eq!(stage.rule().await["mute"], json!({ "by": "admin" }));
    assert_eq!(stage.ask(Method::DELETE, path, "").await.status, 204);
    assert!(!alerts.is_muted("night").await.unwrap());

    stage.ask(Method::PUT, path, body.to_string()).await.is_error(400, &["until"]);
    stage.ask(Method::PUT, path, json!({ "note": "a\nb" }).to_string()).await.is_error(400, &["note"]);
    stage.ask(Method::PUT, "/runlog/v1/alerts/day/mute", "{}").await.is_error(404, &["no alert rule day"]);
    let entries = stage.get("/runlog/v1/audit?subject=night").await.json();
    let actions: Vec<&str> =
        entries["items"].as_array().unwrap().iter().map(|item| item["action"].as_str().unwrap()).collect();
    assert!(actions.contains(&"mute alerts") && actions.contains(&"unmute alerts"), "{actions:?}");
}

#[tokio::test]
async fn a_preview_is_that_of_the_settings_of_the_service() {
    let stage = Stage::new().await;
    stage.get("/runlog/v1/alerts/preview").await.is_error(501, &["--settings"]);
    let preview = |since: runlog_model::Timestamp| {
        let body = AlertPreviewBody { rule: since.to_string(), events: 0, muted: 0, complete: true, items: Vec::new() };
        Box::pin(async move { Ok(vec![body]) }) as futures::future::BoxFuture<'static, _>
    };
    let stage = Stage::with(|_| (), |settings| settings.alert_preview = Some(AlertPreview::new(preview))).await;
    let since = stage.clock.now().plus_millis(-7 * 86_400_000);
    let answer = stage.get("/runlog/v1/alerts/preview?days=7").await.json();
    assert_eq!(answer, json!([{ "rule": since.to_string(), "events": 0, "muted": 0, "complete": true, "items": [] }]));
    stage.get("/runlog/v1/alerts/preview?days=15").await.is_error(400, &["days"]);
}
