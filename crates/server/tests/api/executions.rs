//! Runs in lists: plan executions and the history.

use crate::support::{Ask, Stage};
use axum::http::Method;
use runlog_model::RunStatus;
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::workspaces::Right;
use runlog_store::collection::ReportedRun;
use serde_json::{Value, json};

const PLAN: &str = "0c0e5a34-0000-4000-8000-00000000000a";
const EXECUTION: &str = "0c0e5a34-0000-4000-8000-00000000000b";

fn run_id(number: u8) -> String {
    format!("6c0e5a34-0000-4000-8000-0000000000{number:02}")
}

/// Starts a run at a second of one minute, and ends it if it has a status.
async fn run(stage: &Stage, number: u8, second: u8, more: Value, status: Option<&str>) {
    let mut start = json!({
        "taskId": stage.task.to_string(), "startTimestamp": format!("2026-11-20T00:00:{second:02}Z"),
        "runtime": {"type": "REMOTE_ENGINE", "engineId": format!("engine-{number}")},
    });
    start.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let path = format!("/runlog/v1/runs/{}", run_id(number));
    let answer = stage.ask(Method::PUT, &path, start.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    if let Some(status) = status {
        let finish = json!({
            "status": status, "finishTimestamp": format!("2026-11-20T00:01:{second:02}Z"),
            "errorMessage": (status == "execution_failed").then_some("=cmd, \"quoted\"\nsecond line"),
        });
        let answer = stage.post(&format!("{path}/finish"), finish.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

fn part(step: &str) -> Value {
    json!({"planId": PLAN, "planName": "month end", "planExecutionId": EXECUTION, "planStepId": step, "executionType": "PLAN"})
}

/// A client that waits for the end of a run considers its log complete then.
#[tokio::test]
async fn a_run_whose_log_is_still_collected_is_executing_for_clients_of_the_api() {
    let stage = Stage::new().await;
    let caller = stage.store.accounts().authenticate_token(&stage.admin).await.unwrap().unwrap();
    let end = FinishRun { error_message: Some("no space".to_owned()), ..FinishRun::with_status(RunStatus::Failed) };
    let id = run_id(1);
    let start = StartRun::of_task(stage.task);
    let reported = ReportedRun { run_id: id.parse().unwrap(), start, end: Some(end) };
    assert!(stage.store.collection().record_reported(&[reported], &caller).await.unwrap().is_empty());
    let shown = async || {
        let one = stage.get(&format!("/processing/executions/{id}")).await.json();
        let list = stage.get("/processing/executables/tasks/executions").await.json();
        let item = &list["items"][0];
        assert_eq!((&item["executionId"], &item["status"]), (&json!(id), &one["status"]));
        let is_given = |name: &str| one.get(name).is_some();
        (one["status"].as_str().unwrap().to_owned(), is_given("finishTimestamp"), is_given("errorMessage"))
    };
    assert_eq!(shown().await, ("executing".to_owned(), false, false));
    let with_status = async |status: &str| {
        let list = stage.get(&format!("/processing/executables/tasks/executions?status={status}")).await.json();
        list["total"].as_u64().unwrap()
    };
    assert_eq!((with_status("executing").await, with_status("execution_failed").await), (1, 0));
    // The web UI shows the end immediately.
    let summary = stage.get(&format!("/runlog/v1/runs/{id}/summary")).await.json();
    assert_eq!(summary["status"], "execution_failed");
    let landed = r#"{"status":"execution_failed"}"#;
    assert_eq!(stage.post(&format!("/runlog/v1/runs/{id}/finish"), landed).await.status, 200);
    assert_eq!(shown().await, ("execution_failed".to_owned(), true, true));
    assert_eq!((with_status("executing").await, with_status("execution_failed").await), (0, 1));
}

#[tokio::test]
async fn a_plan_execution_is_what_its_runs_say() {
    let stage = Stage::new().await;
    run(&stage, 1, 10, part("load"), Some("execution_successful")).await;
    run(&stage, 2, 20, part("load"), Some("execution_rejected")).await;
    run(&stage, 3, 30, part("report"), None).await;
    run(&stage, 4, 40, json!({}), None).await;

    let list = stage.get("/processing/executables/plans/executions").await.json();
    assert_eq!(list["total"], 1);
    let item = &list["items"][0];
    assert_eq!((item["executionId"].as_str(), item["planId"].as_str()), (Some(EXECUTION), Some(PLAN)));
    assert_eq!((item["status"].as_str(), item["executionStatus"].as_str()), (Some("executing"), Some("STARTED")));
    assert_eq!((item["plannedExecutableCount"].as_u64(), item["doneExecutableCount"].as_u64()), (Some(3), Some(2)));
    assert!(item.get("finishTimestamp").is_none());

    let finish = r#"{"status": "execution_failed", "finishTimestamp": "2026-11-20T00:02:00Z"}"#;
    stage.post(&format!("/runlog/v1/runs/{}/finish", run_id(3)), finish).await;
    let one = stage.get(&format!("/processing/executions/plans/{EXECUTION}")).await.json();
    assert_eq!(
        (one["status"].as_str(), one["finishTimestamp"].as_str()),
        (Some("execution_failed"), Some("2026-11-20T00:02:00.000Z"))
    );
    assert_eq!(one["startTimestamp"], "2026-11-20T00:00:10.000Z");
    assert_eq!(one["doneExecutableDetails"][0]["planId"], EXECUTION);
    let of_task =
        stage.get(&format!("/processing/executables/tasks/{}/executions?status=execution_failed", stage.task)).await;
    assert_eq!(of_task.json()["items"][0]["planId"], PLAN);

    let steps = stage.get(&format!("/processing/executions/plans/{EXECUTION}/steps")).await.json();
    let named: Vec<_> = steps
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["id"].as_str().unwrap(), it["executionStatus"].as_str().unwrap()))
        .collect();
    assert_eq!(named, [("load", "EXECUTION_SUCCESS"), ("report", "EXECUTION_FAILED")]);
    let step = stage.get(&format!("/processing/executions/plans/{EXECUTION}/steps/load")).await.json();
    assert_eq!(
        (step["plannedExecutableCount"].as_u64(), step["doneTaskExecutableDetails"][1]["executionId"].as_str()),
        (Some(2), Some(&*run_id(2)))
    );
    stage.get(&format!("/processing/executions/plans/{EXECUTION}/steps/x")).await.is_error(404, &["step"]);
    stage.get("/processing/executions/plans/x").await.is_error(404, &["plan execution"]);
}

#[tokio::test]
async fn plan_executions_are_filtered_and_shown_to_those_who_may_view_them() {
    let stage = Stage::new().await;
    run(&stage, 1, 10, part("load"), Some("execution_successful")).await;
    let total = |query: String| {
        let stage = &stage;
        async move {
            let answer = stage.get(&format!("/processing/executables/plans/executions{query}")).await;
            answer.json()["total"].as_u64().unwrap_or_else(|| panic!("{}", answer.text()))
        }
    };
    assert_eq!(total("?status=execution_successful".to_owned()).await, 1);
    assert_eq!(total("?status=executing".to_owned()).await, 0);
    assert_eq!(total("?status=execution_misfired".to_owned()).await, 0);
    assert_eq!(total(format!("?workspaceId={}", stage.workspace)).await, 1);
    let before = 1_795_000_000_000_i64 - 60 * 86_400_000;
    assert_eq!(total(format!("?from={before}&to={}", before + 86_400_000)).await, 0);
    let stage = &stage;
    let of_plan = |id: &'static str| async move {
        stage.get(&format!("/processing/executables/plans/{id}/executions")).await.json()["total"].as_u64()
    };
    assert_eq!((of_plan(PLAN).await, of_plan("other").await), (Some(1), Some(0)));
    stage.get("/processing/executables/plans/executions?status=done").await.is_error(400, &["status", "executing"]);

    let stranger = stage.user("stranger", &[Right::Author]).await;
    let ask = |path: String| {
        let stranger = stranger.clone();
        async move { stage.send(Method::GET, &path, Ask::with(&[]).by(&stranger)).await }
    };
    assert_eq!(ask("/processing/executables/plans/executions".to_owned()).await.json()["total"], 0);
    ask(format!("/processing/executions/plans/{EXECUTION}")).await.is_error(403, &["Viewer"]);
}

async fn environment(stage: &Stage) -> String {
    stage.get("/orchestration/environments").await.json()[0]["id"].as_str().unwrap().to_owned()
}

async fn search(stage: &Stage, more: Value) -> Value {
    let mut body = json!({"environmentId": environment(stage).await, "category": "ETL"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = stage.post("/monitoring/observability/executions/search", body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_history_shows_runs_and_plan_executions_newest_end_first() {
    let stage = Stage::new().await;
    run(&stage, 1, 10, json!({"logLevel": "WARN", "artifactId": "a1"}), Some("execution_successful")).await;
    run(&stage, 2, 20, part("load"), Some("execution_successful")).await;
    run(&stage, 3, 30, json!({}), Some("execution_failed")).await;
    run(&stage, 4, 5, json!({}), None).await;
    let page = search(&stage, json!({})).await;
    assert_eq!(ids(&page), [&*run_id(4), &*run_id(3), EXECUTION, &*run_id(1)]);
    let plan = &page["items"][2];
    assert_eq!((plan["type"].as_str(), plan["name"].as_str()), (Some("PLAN"), Some("month end")));
    let item = &page["items"][3];
    assert_eq!((item["name"].as_str(), item["executeDurationMs"].as_i64()), (Some("nightly"), Some(60_000)));
    assert_eq!((item["engineId"].as_str(), item["logLevel"].as_str()), (Some("engine-1"), Some("WARN")));

    let page = search(&stage, json!({"exclude": "PLAN_EXECUTIONS", "limit": 2, "offset": 2.0})).await;
    assert_eq!(ids(&page), [&*run_id(2), &*run_id(1)]);
    assert_eq!(page["nextPageExists"], false);
    assert_eq!(search(&stage, json!({"limit": 3})).await["nextPageExists"], true);
    assert_eq!(search(&stage, json!({"category": "ESB"})).await["items"], json!([]));
}

#[tokio::test]
async fn each_filter_of_the_history_finds_what_it_should() {
    let stage = Stage::new().await;
    run(
        &stage,
        1,
        10,
        json!({"logLevel": "WARN", "artifactId": "a1", "apiVersion": "2021-03"}),
        Some("execution_successful"),
    )
    .await;
    run(&stage, 3, 30, json!({"taskVersion": "9.0"}), Some("execution_failed")).await;
    let (one, three) = (run_id(1), run_id(3));
    let (first, third, both): (&[&str], &[&str], &[&str]) = (&[&one], &[&three], &[&three, &one]);
    let (workspace, task) = (stage.workspace.to_string(), stage.task.to_string());
    let engine = |operator: &str| json!([{"field": "engineId", "operator": operator, "value": ["engine-1"]}]);
    let cases: Vec<(Value, &[&str])> = vec![
        (json!(["status", "in", ["EXECUTION_SUCCESS"]]), first),
        (json!(["status", "not_in", ["EXECUTION_SUCCESS"]]), third),
        (json!(["workspaceId", "in", [workspace]]), both),
        (json!(["taskId", "not_in", [task]]), &[]),
        (json!(["name", "match", "IGHT"]), both),
        (json!(["name", "not_match", "night"]), &[]),
        (json!(["name", "match", "%%%"]), &[]),
        (json!(["artifactId", "not_in", ["a1"]]), third),
        (json!(["version", "in", ["9.0"]]), third),
        (json!(["logLevel", "in", ["WARN", "INFO"]]), first),
        (json!(["apiVersion", "is_empty", true]), third),
        (json!(["apiVersion", "is_empty", false]), first),
        (json!(["tags", "in", ["critical"]]), &[]),
        (json!(["executeDurationMs", "greater_than", 59_999]), both),
        (json!(["executeDurationMs", "less_than", 60_000]), &[]),
        (json!(["period", "between", ["2026-11-20T00:01:15Z", "2026-11-21T00:00:00Z"]]), third),
        (json!(["operator", "in", ["admin"]]), both),
        (json!(["id", "in", [one]]), first),
        (json!(["runtime", "or", engine("in")]), first),
        (json!(["runtime", "and", engine("not_in")]), third),
    ];
    for (case, expected) in cases {
        let filter = json!([{"field": case[0], "operator": case[1], "value": case[2]}]);
        assert_eq!(ids(&search(&stage, json!({"filters": filter})).await), expected, "{case}");
    }
    let from = json!({"triggerTimeFrom": "2026-11-20T00:00:11Z"});
    assert_eq!(ids(&search(&stage, from).await), [&*three]);
}

#[tokio::test]
async fn an_invalid_search_is_reported_with_its_position() {
    let stage = Stage::new().await;
    let environment = environment(&stage).await;
    let cases = [
        (
            json!({"filters": [{"field": "colour", "operator": "in", "value": ["red"]}]}),
            "filters[0]: there is no field",
        ),
        (json!({"filters": [{"field": "name", "operator": "in", "value": ["red"]}]}), "match and not_match"),
        (json!({"filters": [{"field": "name", "operator": "match", "value": "ab"}]}), "3 characters"),
        (
            json!({"filters": [{"field": "period", "operator": "between", "value": ["2026-01-01T00:00:00Z"]}]}),
            "two dates",
        ),
        (json!({"filters": [{"field": "status", "operator": "in", "value": []}]}), "filters[0]"),
        (json!({"limit": 201}), "limit: 201"),
        (json!({"offset": 1_001}), "20 pages"),
        (json!({"limit": 10, "offset": 200}), "20 pages"),
        (json!({"limit": 10, "offset": 191}), "20 pages"),
        (json!({"environmentId": "x"}), "environmentId"),
    ];
    for (more, words) in cases {
        let mut body = json!({"environmentId": environment, "category": "ETL"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = stage.post("/monitoring/observability/executions/search", body.to_string()).await;
        answer.is_error(400, &[words]);
    }
}

#[tokio::test]
async fn the_history_is_downloaded_in_parts_and_its_texts_are_no_formulas() {
    let stage = Stage::new().await;
    for number in 1..=5 {
        let status = if number == 3 { "execution_failed" } else { "execution_successful" };
        // Three end in the same second, so that trigger and ID determine the order.
        run(&stage, number, 10 + number / 4, json!({}), Some(status)).await;
    }
    let environment = environment(&stage).await;
    let mut seen: Vec<String> = Vec::new();
    let mut last = String::new();
    loop {
        let body = json!({"environmentId": environment, "category": "ETL", "limit": 2, "lastId": last});
        let answer = stage.post("/monitoring/observability/executions/download", body.to_string()).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/octet-stream"));
        assert_eq!((answer.header("x-content-type-options"), answer.header("cache-control")), ("nosniff", "no-store"));
        let mut rows = csv::Reader::from_reader(answer.body.as_slice());
        assert_eq!((rows.headers().unwrap().len(), &rows.headers().unwrap()[32]), (47, "errorMessage"));
        let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
        if let Some(failed) = rows.iter().find(|row| row[0] == run_id(3)) {
            assert_eq!(&failed[32], "'=cmd, \"quoted\"\nsecond line");
            assert_eq!(&failed[8], "2026-11-20T00:00:10.000Z");
        }
        let Some(end) = rows.last() else { break };
        last = end[0].to_owned();
        seen.extend(rows.iter().map(|row| row[0].to_owned()));
    }
    let page = search(&stage, json!({})).await;
    assert_eq!(seen, ids(&page));
    assert_eq!(seen.len(), 5);
    let body = json!({"environmentId": environment, "category": "ETL", "lastId": "gone"});
    stage.post("/monitoring/observability/executions/download", body.to_string()).await.is_error(404, &["execution"]);
}

#[tokio::test]
async fn the_history_shows_only_what_the_caller_may_view() {
    let stage = Stage::new().await;
    run(&stage, 1, 10, json!({}), None).await;
    let stranger = stage.user("stranger", &[Right::Author, Right::Execute]).await;
    let body = json!({"environmentId": environment(&stage).await, "category": "ETL"}).to_string();
    let path = "/monitoring/observability/executions/search";
    let page = stage.send(Method::POST, path, Ask::with(&[]).by(&stranger).body(body)).await.json();
    assert_eq!(page["items"], json!([]));
}
