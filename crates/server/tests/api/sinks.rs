//! The progress of deliveries in the API.

use axum::http::Method;
use serde_json::json;

use crate::support::Stage;

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
