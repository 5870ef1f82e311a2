//! Plan executions that an upstream describes: served in the vendor's form to the letter, and shown to people.

use axum::http::Method;
use runlog_model::Timestamp;
use runlog_model::plan_report::{PlanReport, StepReport};
use runlog_model::workspaces::Right;
use runlog_store::collection::{ListedPlan, PlanState};
use runlog_store::plans::{PlanDefinition, StoredPlan};
use serde_json::{Map, Value, json};

use crate::support::{Ask, RUN, Stage};

/// A plan execution that an upstream describes, and its plan.
pub(crate) const PLAN_EXECUTION: &str = "7fb48c7a-5ea5-4cb9-9333-e345f28d9dd5";
pub(crate) const PLAN: &str = "e7734729-cf3d-4578-939c-30381e95cd10";
const STARTED: &str = "2026-11-18T00:00:00.000Z";
const FINISHED: &str = "2026-11-18T00:10:00.000Z";

fn fields(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn job(stage: &Stage) -> Value {
    json!({"executionId": RUN, "jobId": stage.task.to_string(), "jobVersion": "1.0", "accountId": "theirs",
        "workspaceId": stage.workspace.to_string(), "environmentVersion": "1.3", "executionDestination": "CLOUD",
        "executionType": "PLAN", "userId": "u", "userType": "HUMAN", "status": "execution_failed",
        "executionStatus": "EXECUTION_FAILED", "triggerTimestamp": STARTED, "errorMessage": "no <b>rows</b>",
        "ofALaterVersion": [1]})
}

fn step(name: &str, status: &str, stage: &Stage) -> StepReport {
    let mut step = json!({"id": format!("{name}-id"), "executionId": format!("{name}-execution")});
    if !status.is_empty() {
        let more = json!({"executionStatus": status, "startTimestamp": STARTED, "finishTimestamp": FINISHED,
            "plannedExecutableCount": 1, "doneExecutableCount": 1, "doneTaskExecutableDetails": [job(stage)]});
        step.as_object_mut().unwrap().extend(fields(more));
    }
    let (name, condition) = (Some(name.to_owned()), Some("ALL_SUCCEEDED".to_owned()));
    StepReport { name, condition, is_listed: true, step: fields(step), error_handler: None }
}

/// The archive learns of a failed plan execution, as a collector reports it.
pub(crate) async fn report(stage: &Stage, id: &str, status: &str, steps: Vec<StepReport>) {
    let execution = json!({"executionId": id, "planId": PLAN, "status": status,
        "executionStatus": status.to_uppercase(), "startTimestamp": STARTED, "finishTimestamp": FINISHED, "userId": "kim",
        "userType": "HUMAN", "executionType": "SCHEDULED", "plannedExecutableCount": 3, "doneExecutableCount": 1,
        "doneExecutableDetails": [job(stage)], "ofALaterVersion": {"kept": [1, null]}});
    let mut execution = fields(execution);
    if status == "executing" {
        execution.remove("finishTimestamp");
        execution.insert("executionStatus".to_owned(), "STARTED".into());
    }
    let collection = stage.store.collection();
    let listed = ListedPlan {
        execution_id: id.to_owned(),
        body: "{}".to_owned(),
        fingerprint: status.to_owned(),
        workspace_id: None,
        due_at: Timestamp::clamped(0),
    };
    collection.upsert_plans("cloud", &[listed]).await.unwrap();
    let claimed = collection.claim_plan("cloud", Timestamp::clamped(4_000_000_000_000)).await.unwrap().unwrap();
    let report = PlanReport { execution, plan_name: Some("month end".to_owned()), steps };
    let stored = StoredPlan { report, workspace_id: Some(stage.workspace) };
    collection.land_plan("cloud", &claimed, &stored, PlanState::Landed).await.unwrap();
}

/// The same with a failed step, an error handler, and a step that was not started.
pub(crate) async fn report_failure(stage: &Stage) {
    let mut failed = step("load", "EXECUTION_FAILED", stage);
    let mut handler = step("mail", "EXECUTION_SUCCESS", stage).step;
    handler.remove("doneTaskExecutableDetails");
    handler.insert(
        "donePlanExecutableDetails".to_owned(),
        json!([{"executionId": "n", "planId": "p",
        "executionStatus": "EXECUTION_SUCCESS", "startTimestamp": STARTED, "userId": "u", "userType": "HUMAN"}]),
    );
    failed.error_handler = Some(handler);
    let unlisted = StepReport { is_listed: false, ..step("archive", "", stage) };
    report(stage, PLAN_EXECUTION, "execution_failed", vec![failed, step("send", "", stage), unlisted]).await;
    let definition = json!({"executable": PLAN, "name": "month end", "description": "books", "ofALaterVersion": true,
        "chart": {"id": "load-id", "name": "load", "status": "SUCCESS", "nextStep": {"id": "send-id", "name": "send"}},
        "steps": [{"name": "load", "condition": "ALL_SUCCEEDED", "taskIds": [stage.task.to_string()]}]});
    let plan = PlanDefinition {
        plan_id: PLAN.to_owned(),
        name: "month end".to_owned(),
        workspace_id: Some(stage.workspace),
        definition: fields(definition),
    };
    stage.store.plans().upsert_definition(&plan).await.unwrap();
}

#[tokio::test]
async fn a_reported_plan_execution_is_served_unchanged() {
    let stage = Stage::new().await;
    report_failure(&stage).await;
    let list = stage.get("/processing/executables/plans/executions").await.json();
    assert_eq!((&list["total"], &list["items"][0]["ofALaterVersion"]), (&json!(1), &json!({"kept": [1, null]})));
    assert!(list["items"][0].get("doneExecutableDetails").is_none(), "a list has no runs");
    let path = format!("/processing/executions/plans/{PLAN_EXECUTION}");
    let one = stage.get(&path).await.json();
    assert_eq!(one["doneExecutableDetails"], json!([job(&stage)]));
    let steps = stage.get(&format!("{path}/steps")).await.json();
    let names: Vec<_> = steps.as_array().unwrap().iter().map(|step| step["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["load-id", "send-id"], "a step that only the plan has is not listed");
    assert!(steps[0].get("doneTaskExecutableDetails").is_none());
    for id in ["load-execution", "load-id"] {
        let step = stage.get(&format!("{path}/steps/{id}")).await.json();
        assert_eq!(step["doneTaskExecutableDetails"], json!([job(&stage)]));
    }
    let handler = stage.get(&format!("{path}/steps/load-execution/error-handler")).await.json();
    assert_eq!(
        (&handler["id"], &handler["donePlanExecutableDetails"][0]["executionId"]),
        (&json!("mail-id"), &json!("n"))
    );
    stage.get(&format!("{path}/steps/send-execution/error-handler")).await.is_error(404, &["no error handler ran"]);
    stage.get(&format!("{path}/steps/x")).await.is_error(404, &["has no step"]);
    let plan = stage.get(&format!("/orchestration/executables/plans/{PLAN}")).await.json();
    assert_eq!((&plan["name"], &plan["ofALaterVersion"]), (&json!("month end"), &json!(true)));
    let plans = stage.get("/orchestration/executables/plans?name=mon").await.json();
    assert_eq!((&plans["total"], &plans["items"][0]["executable"]), (&json!(1), &json!(PLAN)));
    for (task, total) in [(stage.task.to_string(), 1), ("f".repeat(24), 0)] {
        let plans = stage.get(&format!("/orchestration/executables/plans?taskId={task}")).await.json();
        assert_eq!((&plans["total"], plans["items"].as_array().unwrap().len()), (&json!(total), total), "{task}");
    }
    stage.get("/orchestration/executables/plans?taskId=x").await.is_error(400, &["taskId"]);
    stage.get("/orchestration/executables/plans/x").await.is_error(404, &["no plan"]);
}

#[tokio::test]
async fn nested_executions_are_shown_to_viewers_of_their_workspace() {
    let stage = Stage::new().await;
    let other = stage.other_workspace().await.id.to_string();
    let of = |workspace: Option<&str>, message: &str| {
        let mut run = job(&stage);
        run["errorMessage"] = message.into();
        match workspace {
            Some(workspace) => run["workspaceId"] = workspace.into(),
            None => drop(run.as_object_mut().unwrap().remove("workspaceId")),
        }
        run
    };
    let own = stage.workspace.to_string();
    let mut failed = step("load", "EXECUTION_FAILED", &stage);
    let mut handler = step("mail", "EXECUTION_SUCCESS", &stage).step;
    let runs = json!([of(Some(&own), "own"), of(Some(&other), "secret one"), of(None, "secret two")]);
    handler.insert(
        "donePlanExecutableDetails".to_owned(),
        json!([{"executionId": "n", "planId": "p", "workspaceId": own, "executionStatus": "EXECUTION_FAILED",
            "startTimestamp": STARTED, "userId": "u", "userType": "HUMAN", "doneExecutableDetails": runs}]),
    );
    failed.error_handler = Some(handler);
    report(&stage, PLAN_EXECUTION, "execution_failed", vec![failed]).await;
    let viewer = stage.user("viewer", &[Right::View]).await;
    let path = format!("/processing/executions/plans/{PLAN_EXECUTION}/steps/load-execution/error-handler");
    let page = format!("/runlog/v1/plan-executions/{PLAN_EXECUTION}");
    for path in [&path, &page] {
        let ask = Ask::with(&[]).by(&viewer);
        let shown = stage.send(Method::GET, path, ask).await;
        assert_eq!(shown.status, 200, "{}", shown.text());
        assert!(!shown.text().contains("secret"), "{}", shown.text());
    }
    let all = stage.get(&path).await.text();
    assert!(all.contains("secret one") && all.contains("secret two"), "{all}");
}

#[tokio::test]
async fn a_plan_view_shows_failed_and_skipped_steps() {
    let stage = Stage::new().await;
    report_failure(&stage).await;
    report(&stage, "earlier", "execution_successful", vec![step("load", "EXECUTION_SUCCESS", &stage)]).await;
    let view = stage.get(&format!("/runlog/v1/plan-executions/{PLAN_EXECUTION}")).await.json();
    assert_eq!(view["reason"], "step load failed: 1 of 1 run; 2 steps were not started");
    let because = view["steps"][1]["notStartedBecause"].as_str().unwrap();
    assert!(because.starts_with("step load failed, and all of its tasks must succeed"), "{because}");
    let run = &view["steps"][0]["runs"][0];
    assert_eq!((&run["runId"], &run["taskName"], &run["isArchived"]), (&json!(RUN), &json!("nightly"), &json!(false)));
    assert_eq!(view["steps"][0]["errorHandler"]["planExecutions"], json!(["n"]));
    assert_eq!((&view["earlier"][0]["executionId"], &view["workspaceName"]), (&json!("earlier"), &json!("team")));
    let found = stage.get("/runlog/v1/plan-executions?status=execution_failed").await.json();
    assert_eq!((&found["total"], &found["items"][0]["planName"]), (&json!(1), &json!("month end")));
    let query = json!({"query": "SELECT p.status, s.name, s.outcome FROM plan_executions p JOIN plan_steps s
        ON s.plan_execution_id = p.plan_execution_id WHERE s.kind = 'step' AND p.status = 'execution_failed' ORDER BY s.position"});
    let rows = stage.post("/runlog/v1/sql?format=json", query.to_string()).await;
    for word in ["load", "failed", "send", "archive", "not_started"] {
        assert!(rows.text().contains(word), "{word}: {}", rows.text());
    }
}

#[tokio::test]
async fn nobody_sees_the_plans_of_another_workspace() {
    let stage = Stage::new().await;
    report_failure(&stage).await;
    let stranger = stage.user("stranger", &[Right::Author]).await;
    let ask = |path: String| {
        let (stage, stranger) = (&stage, stranger.clone());
        async move { stage.send(Method::GET, &path, Ask::with(&[]).by(&stranger)).await }
    };
    for list in
        ["/processing/executables/plans/executions", "/runlog/v1/plan-executions", "/orchestration/executables/plans"]
    {
        assert_eq!(ask(list.to_owned()).await.json()["total"], 0, "{list}");
    }
    let path = format!("/processing/executions/plans/{PLAN_EXECUTION}");
    for path in [
        path.clone(),
        format!("{path}/steps"),
        format!("{path}/steps/load-execution"),
        format!("{path}/steps/load-execution/error-handler"),
        format!("/runlog/v1/plan-executions/{PLAN_EXECUTION}"),
        format!("/orchestration/executables/plans/{PLAN}"),
    ] {
        ask(path).await.is_error(403, &["Viewer"]);
    }
    for table in ["plan_executions", "plan_steps"] {
        let query = json!({"query": format!("SELECT * FROM {table}")}).to_string();
        let rows =
            stage.send(Method::POST, "/runlog/v1/sql?format=json", Ask::with(&[]).by(&stranger).body(query)).await;
        assert!(!rows.text().contains(PLAN_EXECUTION), "{table}: {}", rows.text());
    }
}

#[tokio::test]
async fn a_plan_between_two_steps_has_not_ended_where_an_upstream_describes_it() {
    let stage = Stage::new().await;
    let start = json!({"taskId": stage.task.to_string(), "planId": PLAN, "planExecutionId": PLAN_EXECUTION,
        "triggerTimestamp": STARTED, "startTimestamp": STARTED});
    stage.ask(Method::PUT, &format!("/runlog/v1/runs/{RUN}"), start.to_string()).await;
    let finish = json!({"status": "execution_successful", "finishTimestamp": FINISHED}).to_string();
    stage.post(&format!("/runlog/v1/runs/{RUN}/finish"), finish).await;
    let status = async || {
        let list = stage.get("/processing/executables/plans/executions").await.json();
        assert_eq!(list["total"], 1, "{list}");
        list["items"][0]["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(status().await, "execution_successful", "as far as its runs tell");
    report(
        &stage,
        PLAN_EXECUTION,
        "executing",
        vec![step("load", "EXECUTION_SUCCESS", &stage), step("send", "", &stage)],
    )
    .await;
    assert_eq!(status().await, "executing");
    let environment = stage.get("/orchestration/environments").await.json()[0]["id"].clone();
    let search = json!({"environmentId": environment, "category": "ETL"}).to_string();
    let history = stage.post("/monitoring/observability/executions/search", search).await.json();
    let plan = history["items"].as_array().unwrap().iter().find(|item| item["type"] == "PLAN").unwrap();
    assert_eq!((&plan["status"], &plan["name"]), (&json!("STARTING_FLOW_EXECUTION"), &json!("month end")));
}

#[tokio::test]
async fn a_workspace_whose_plans_never_started_a_task_can_be_deleted() {
    let stage = Stage::new().await;
    let other = stage.other_workspace().await;
    let definition = fields(json!({"id": PLAN, "name": "n"}));
    let plan =
        PlanDefinition { plan_id: PLAN.to_owned(), name: "n".to_owned(), workspace_id: Some(other.id), definition };
    stage.store.plans().upsert_definition(&plan).await.unwrap();
    let answer = stage.ask(Method::DELETE, &format!("/runlog/v1/workspaces/{}", other.id), "").await;
    assert!(answer.status.is_success(), "{}", answer.text());
    assert_eq!(stage.get("/orchestration/executables/plans").await.json()["total"], 0);
}
