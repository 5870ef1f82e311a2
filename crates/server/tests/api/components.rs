//! Component metrics: stored by engines, served as the vendor serves them.

use axum::http::Method;
use runlog_model::workspaces::Right;
use serde_json::{Value, json};

use crate::support::{Ask, RUN, Stage, lines};

const OTHER_RUN: &str = "6c0e5a34-0000-4000-8000-000000000002";

fn own_path(run: &str) -> String {
    format!("/runlog/v1/runs/{run}/component-metrics")
}

fn vendor_path(run: &str) -> String {
    format!("/monitoring/observability/executions/{run}/component")
}

/// A metric that starts this many seconds after the first.
fn metric(number: u64, rows: Option<u64>) -> Value {
    let mut metric = json!({"pid": "p1", "connector_type": "tDBOutput", "connector_label": format!("label {number}"),
        "connector_id": format!("tDBOutput_{number}"), "component_start_time_seconds": 1_795_434_000 + number});
    if let Some(rows) = rows {
        metric["target_id"] = json!("tLogRow_1");
        metric["component_connection_rows_total"] = json!(rows);
        metric["connection_type"] = json!("reject");
    }
    metric
}

fn body(items: &[Value]) -> String {
    let process = json!({"process_id": "j", "job_name": "Main", "pid": "p1", "father_pid": "p0", "root_pid": "p0"});
    json!({"processes": [process], "items": items}).to_string()
}

async fn stage_with(items: &[Value]) -> Stage {
    let stage = Stage::new().await;
    stage.push(&lines([1_000])).await;
    let answer = stage.ask(Method::PUT, &own_path(RUN), body(items)).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"stored": items.len()})), "{}", answer.text());
    stage
}

#[tokio::test]
async fn a_run_has_the_metrics_that_were_stored_and_no_others() {
    let items: Vec<Value> = (0..3).map(|number| metric(number, Some(number * 10))).collect();
    let stage = stage_with(&items).await;
    let served = stage.get(&vendor_path(RUN)).await;
    assert_eq!(served.header("x-runlog-component-metrics"), "stored");
    assert_eq!(served.json()["metrics"], json!({"items": items, "limit": 50, "offset": 0, "total": 3}));
    assert_eq!(served.json()["processes"][0]["job_name"], "Main");
    // Sent again, the same is there once.
    assert_eq!(stage.ask(Method::PUT, &own_path(RUN), body(&items)).await.status, 200);
    assert_eq!(stage.get(&vendor_path(RUN)).await.json()["metrics"]["total"], 3);
    let fewer = stage.ask(Method::PUT, &own_path(RUN), body(&items[..1])).await;
    assert_eq!(fewer.json(), json!({"stored": 1}));
    assert_eq!(stage.get(&vendor_path(RUN)).await.json()["metrics"]["items"], json!(items[..1]));

    stage.start_as(OTHER_RUN).await;
    let empty = stage.get(&vendor_path(OTHER_RUN)).await;
    assert_eq!(
        (empty.header("x-runlog-component-metrics"), empty.json()["metrics"]["total"].as_u64()),
        ("none", Some(0))
    );
    let audit = stage.get("/runlog/v1/audit").await.text();
    assert!(audit.contains("store component metrics"), "{audit}");
}

#[tokio::test]
async fn pages_follow_each_other_without_gaps_in_either_order() {
    let items: Vec<Value> = (0..250).map(|number| metric(number % 3, (number % 2 == 0).then_some(number))).collect();
    let stage = stage_with(&items).await;
    for order in ["sortBy=component_start_time_seconds", "sortBy=component_connection_rows_total&sortOrder=desc"] {
        let mut seen = Vec::new();
        for offset in [0, 200] {
            let path = format!("{}?limit=200&offset={offset}&{order}", vendor_path(RUN));
            let page = stage.get(&path).await.json()["metrics"].clone();
            assert_eq!(page["total"], 250);
            seen.extend(page["items"].as_array().unwrap().clone());
        }
        assert_eq!(seen.len(), 250);
        for item in &items {
            assert!(seen.contains(item), "{order}: {item}");
        }
    }
    let path = format!("{}?sortBy=component_connection_rows_total&sortOrder=desc&limit=130", vendor_path(RUN));
    let page = stage.get(&path).await.json()["metrics"]["items"].clone();
    let rows: Vec<Option<u64>> =
        page.as_array().unwrap().iter().map(|item| item["component_connection_rows_total"].as_u64()).collect();
    assert_eq!((rows[0], rows[124], rows[125]), (Some(248), Some(0), None), "those without rows come last");
}

#[tokio::test]
async fn invalid_metrics_are_refused_and_named() {
    let stage = stage_with(&[metric(1, None)]).await;
    let put = async |run: &str, body: String| stage.ask(Method::PUT, &own_path(run), body).await;
    put(RUN, "{".to_owned()).await.is_error(400, &["the body"]);
    put(RUN, "{}".to_owned()).await.is_error(400, &["items"]);
    put(RUN, json!({"items": [], "metrics": []}).to_string()).await.is_error(400, &["metrics"]);
    put(RUN, body(&[metric(1, None), json!({"connector_id": "a"})]))
        .await
        .is_error(400, &["items[1]", "component_start_time_seconds"]);
    put(RUN, body(&[json!({"component_start_time_seconds": 1})])).await.is_error(400, &["items[0]", "connector_id"]);
    put(RUN, body(&vec![metric(1, None); 20_001])).await.is_error(400, &["20001", "20000"]);
    put("6c0e5a34-0000-4000-8000-00000000ffff", body(&[])).await.is_error(404, &["no run"]);
    assert_eq!(stage.get(&vendor_path(RUN)).await.json()["metrics"]["total"], 1, "what was refused changed nothing");
    let reader = stage.user("reader", &Right::READ_LOGS).await;
    let by_reader = Ask::with(&[]).by(&reader).body(body(&[]));
    stage.send(Method::PUT, &own_path(RUN), by_reader).await.is_error(403, &["Publisher"]);
}

#[tokio::test]
async fn metrics_of_an_environment_are_searched_by_time_and_field() {
    let stage = stage_with(&[metric(1, Some(7)), metric(2, None)]).await;
    stage.start_as(OTHER_RUN).await;
    let own = json!({"items": [{"connector_id": "tX_1", "connector_type": "tX", "component_start_time_seconds": 1_795_434_005.5}]});
    assert_eq!(stage.ask(Method::PUT, &own_path(OTHER_RUN), own.to_string()).await.status, 200);
    let environment = stage.get("/orchestration/environments").await.json()[0]["id"].clone();
    let path = "/monitoring/observability/metrics/component";
    let search = async |more: Value| {
        let mut body = json!({"environmentId": environment, "startTime": "2026-11-23T11:40:00.000Z", "endTime": "2026-11-23T12:40:00.000Z"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stage.post(path, body.to_string()).await
    };
    let all = search(json!({})).await.json();
    assert_eq!((all["total"].as_u64(), all["limit"].as_u64()), (Some(3), Some(50)), "{all}");
    let first = &all["items"][0];
    assert_eq!(
        (first["task_execution_id"].as_str(), first["job_name"].as_str(), first["father_pid"].as_str()),
        (Some(RUN), Some("Main"), Some("p0"))
    );
    assert_eq!(
        (first["component_connection_rows_total"].as_u64(), first["connection_type"].as_str()),
        (Some(7), Some("reject"))
    );
    let ids = async |more: Value| -> Vec<String> {
        let found = search(more).await.json();
        let items = found["items"].as_array().unwrap_or_else(|| panic!("{found}")).clone();
        items.iter().map(|item| item["connector_id"].as_str().unwrap().to_owned()).collect()
    };
    let start = |operator: &str, value: Value| json!({"field": "component_start_time_seconds", "operator": operator, "value": value});
    assert_eq!(ids(json!({"sortOrder": "desc", "limit": 1, "offset": 1})).await, ["tDBOutput_2"]);
    assert_eq!(ids(json!({"filters": [start("gt", json!(1_795_434_001))]})).await, ["tDBOutput_2", "tX_1"]);
    assert_eq!(
        ids(json!({"filters": [start("gte", json!("1795434001")), start("lt", json!(1_795_434_005.5))]})).await,
        ["tDBOutput_1", "tDBOutput_2"]
    );
    assert_eq!(
        ids(json!({"filters": [{"field": "connector_type", "operator": "in", "value": ["tX"]}]})).await,
        ["tX_1"]
    );
    assert_eq!(ids(json!({"filters": [{"field": "job_name", "operator": "in", "value": ["Main"]}]})).await.len(), 2);
    assert_eq!(ids(json!({"endTime": "2026-11-23T11:40:02.000Z"})).await, ["tDBOutput_1", "tDBOutput_2"]);
    for (more, words) in [
        (json!({"limit": 201}), ["limit", "200"]),
        (json!({"sortBy": "colour"}), ["sortBy", "colour"]),
        (json!({"sortOrder": "up"}), ["sortOrder", "up"]),
        (json!({"endTime": "2026-11-23T11:00:00.000Z"}), ["endTime", "before"]),
        (json!({"filters": [{"field": "colour", "operator": "in", "value": ["x"]}]}), ["filters[0]", "colour"]),
        (json!({"filters": [{"field": "job_name", "operator": "gt", "value": ["x"]}]}), ["filters[0]", "in"]),
        (json!({"filters": [start("gt", json!("soon"))]}), ["filters[0]", "number"]),
        (json!({"filters": [start("gt", json!(1)), start("gte", json!(1))]}), ["filters", "gte"]),
    ] {
        search(more).await.is_error(400, &words);
    }
    // Who may not read the logs finds nothing.
    let viewer = stage.user("viewer", &[Right::View]).await;
    let body =
        json!({"environmentId": environment, "startTime": "2026-11-23T11:40:00Z", "endTime": "2026-11-23T12:40:00Z"});
    let found = stage.send(Method::POST, path, Ask::with(&[]).by(&viewer).body(body.to_string())).await.json();
    assert_eq!(found["total"], 0);
}
