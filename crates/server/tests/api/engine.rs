//! Events of engines in their own formats, and requests to start runs.

use crate::support::{Ask, RUN, Stage};
use axum::http::Method;
use flate2::Compression;
use flate2::write::GzEncoder;
use runlog_model::workspaces::Right;
use runlog_server::RunHook;
use serde_json::{Value, json};
use std::io::Write;

const OTHER_RUN: &str = "6c0e5a34-0000-4000-8000-0000000000aa";

/// A job management event in the format of the engine's guide.
fn status_event(stage: &Stage, phase: &str, at: i64) -> Value {
    json!({
        "thread": "Thread-124", "level": "INFO", "loggerName": "org.talend.FlowDeployer",
        "message": format!("Task {} is {phase}.", stage.task), "event_type": "JOB_STATUS", "job_phase": phase,
        "timestamp": at,
        "context": {
            "remote_engine_id": "07ac6bea-d5eb-4fac-998a-07e355644add", "task_execution_id": RUN,
            "workspace_id": stage.workspace.to_string(), "trigger_timestamp": 1_619_018_945_620_i64,
            "artifact_name": "SayHello", "artifact_version": "0.1.1", "task_id": stage.task.to_string(),
            "task_name": "nightly", "task_version": "2.3", "run_type": "SCHEDULED", "count_of_attempts": 2,
            "rejected_rows": 7,
        }
    })
}

/// A line of a job in the JSON layout of log4j2.
fn log_event(text: &str, nanos: u64) -> Value {
    json!({
        "instant": {"epochSecond": 1_619_018_947, "nanoOfSecond": nanos}, "thread": "main", "level": "WARN",
        "loggerName": "local_project.nightly.Job", "message": text, "contextMap": {"flowExecutionId": RUN},
    })
}

fn lines(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

async fn records(stage: &Stage) -> Vec<Value> {
    let page = stage.get(&format!("/monitoring/executions/{RUN}/logs?order=ASC")).await.json();
    page["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn the_events_of_an_engine_open_fill_and_end_a_run() {
    let stage = Stage::new().await;
    let begins = lines(&[
        status_event(&stage, "EXECUTION_EVENT_RECEIVED", 1_619_018_946_000),
        status_event(&stage, "STARTING_FLOW_EXECUTION", 1_619_018_946_500),
        log_event("row 7 has no price", 250_000_000),
    ]);
    let answer = stage.post("/runlog/v1/events", begins).await;
    assert_eq!(answer.json(), json!({"stored": 3, "begun": 1, "ended": 0, "refused": 0}), "{}", answer.text());
    let run = stage.get(&format!("/processing/executions/{RUN}")).await.json();
    assert_eq!((run["status"].as_str(), run["jobVersion"].as_str()), (Some("executing"), Some("2.3")));
    assert_eq!(run["startTimestamp"], "2021-04-21T15:29:06.500Z");

    let ends = status_event(&stage, "EXECUTION_FAILED", 1_619_018_951_115).to_string();
    assert_eq!(stage.post("/runlog/v1/events", ends).await.json()["ended"], 1);
    let run = stage.get(&format!("/processing/executions/{RUN}")).await.json();
    assert_eq!(run["status"], "execution_failed");
    assert_eq!(run["finishTimestamp"], "2021-04-21T15:29:11.115Z");
    assert_eq!(run["triggerTimestamp"], "2021-04-21T15:29:05.620Z");
    assert_eq!(run["executionType"], "SCHEDULED");
    assert_eq!(run["remoteEngineId"], "07ac6bea-d5eb-4fac-998a-07e355644add");
    assert_eq!(run["numberOfRejectedRows"], 7);
    let seen = records(&stage).await;
    let seen: Vec<_> = seen
        .iter()
        .map(|it| (it["severity"].as_str(), it["logMessage"].as_str()))
        .map(|it| (it.0.unwrap(), it.1.unwrap().len()))
        .collect();
    assert_eq!(seen.len(), 4);
    assert_eq!(seen[2], ("WARN", "row 7 has no price".len()));
}

#[tokio::test]
async fn wrapped_compressed_and_repeated_events_are_stored_once() {
    let stage = Stage::new().await;
    stage.start().await;
    // Fluent Bit's JSON format: an array, with the line of the engine as text, and a separate date.
    let body = json!([
        {"date": 1_619_018_947.5, "log": log_event("one", 1_000_000).to_string()},
        {"date": 1_619_018_947.6, "log": log_event("two", 2_000_000).to_string()},
    ]);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(body.to_string().as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    for _ in 0..2 {
        let ask = Ask::with(&[("content-encoding", "gzip")]).by(&stage.admin).body(packed.clone());
        let answer = stage.send(Method::POST, "/runlog/v1/events", ask).await;
        assert_eq!(answer.json()["stored"], 2, "{}", answer.text());
    }
    let seen = records(&stage).await;
    let texts: Vec<_> = seen.iter().map(|it| it["logMessage"].as_str().unwrap()).collect();
    assert_eq!(texts, ["one", "two"]);
    assert_eq!(seen[0]["logTimestamp"], 1_619_018_947_001_i64);
}

#[tokio::test]
async fn the_same_words_twice_in_one_millisecond_are_two_records() {
    let stage = Stage::new().await;
    stage.start().await;
    let event =
        json!({"timestamp": 1_619_018_947_000_i64, "level": "INFO", "message": "again", "flowExecutionId": RUN});
    for _ in 0..2 {
        assert_eq!(stage.post("/runlog/v1/events", event.to_string()).await.status, 200);
    }
    assert_eq!(records(&stage).await.len(), 2);
}

#[tokio::test]
async fn a_retry_after_a_partial_failure_stores_no_duplicates() {
    let stage = Stage::new().await;
    for run in [RUN, OTHER_RUN] {
        let start = json!({"taskId": stage.task.to_string()}).to_string();
        assert_eq!(stage.ask(Method::PUT, &format!("/runlog/v1/runs/{run}"), start).await.status, 201);
    }
    // One event per run, with whole milliseconds or without a time: neither has a batch ID.
    let event = |run: &str, time: Option<i64>| {
        let mut event = json!({"level": "INFO", "message": "once", "flowExecutionId": run});
        if let Some(time) = time {
            event["timestamp"] = time.into();
        }
        event
    };
    let total = async |run: &str| {
        let page = stage.get(&format!("/monitoring/executions/{run}/logs?count=0")).await.json();
        page["totalSize"].as_u64().unwrap()
    };
    for (round, time) in [(1, Some(1_619_018_947_000)), (2, None)] {
        // The records of all runs are stored together; then one of them ends.
        stage
            .sql("CREATE TRIGGER away BEFORE UPDATE OF finished_at ON runs WHEN NEW.id LIKE '%aa' AND NEW.finished_at > 0
                  BEGIN SELECT RAISE(ABORT, 'away'); END")
            .await;
        let mut end = event(OTHER_RUN, time);
        end["job_phase"] = "EXECUTION_FAILED".into();
        let body = lines(&[event(RUN, time), end]);
        for _ in 0..3 {
            stage.post("/runlog/v1/events", body.clone()).await.is_error(503, &[]);
            assert_eq!((total(RUN).await, total(OTHER_RUN).await), (round, round));
            stage.clock.advance_ms(5_000);
        }
        stage.sql("DROP TRIGGER away").await;
        for _ in 0..2 {
            let answer = stage.post("/runlog/v1/events", body.clone()).await.json();
            assert_eq!((answer["stored"].as_u64(), answer["refused"].as_u64()), (Some(2), Some(0)), "{answer}");
            assert_eq!((total(RUN).await, total(OTHER_RUN).await), (round, round));
            stage.clock.advance_ms(5_000);
        }
    }
}

#[tokio::test]
async fn records_that_are_refused_for_the_start_of_their_run_are_not_stored() {
    let stage = Stage::new().await;
    let start = json!({"taskId": stage.task.to_string(), "status": "dispatching"}).to_string();
    assert_eq!(stage.ask(Method::PUT, &format!("/runlog/v1/runs/{RUN}"), start).await.status, 201);
    stage
        .sql(
            "CREATE TRIGGER away BEFORE UPDATE OF status ON runs WHEN OLD.status <> NEW.status
              BEGIN SELECT RAISE(ABORT, 'away'); END",
        )
        .await;
    let path = format!("/runlog/v1/runs/{RUN}/records");
    let event = json!({"level": "INFO", "message": "x", "flowExecutionId": RUN, "timestamp": 1_619_018_947_000_i64});
    // A batch without an ID, and a single event: a repeated request could not be recognised.
    stage.post(&path, "{\"logTimestamp\":1619018951000}\n").await.is_error(503, &[]);
    stage.post("/runlog/v1/events", event.to_string()).await.is_error(503, &[]);
    assert_eq!(records(&stage).await, Vec::<Value>::new());
    stage.sql("DROP TRIGGER away").await;
    assert_eq!(stage.post(&path, "{\"logTimestamp\":1619018951000}\n").await.status, 200);
    assert_eq!(records(&stage).await.len(), 1);
}

#[tokio::test]
async fn an_event_that_ends_its_run_and_is_sent_again_is_one_record() {
    let stage = Stage::new().await;
    stage.start().await;
    stage
        .sql(
            "CREATE TRIGGER away BEFORE UPDATE OF final_since ON runs WHEN NEW.final_since IS NOT NULL
              BEGIN SELECT RAISE(ABORT, 'away'); END",
        )
        .await;
    let ends = status_event(&stage, "EXECUTION_FAILED", 1_619_018_951_115).to_string();
    for _ in 0..2 {
        stage.post("/runlog/v1/events", ends.clone()).await.is_error(503, &[]);
    }
    stage.sql("DROP TRIGGER away").await;
    assert_eq!(stage.post("/runlog/v1/events", ends).await.json()["ended"], 1);
    assert_eq!(records(&stage).await.len(), 1);
}

#[tokio::test]
async fn a_stack_trace_stands_below_its_message() {
    let stage = Stage::new().await;
    stage.start().await;
    let mut event = log_event("cannot load", 5);
    event["thrown"] = json!({
        "name": "java.sql.SQLException", "localizedMessage": "no route to host",
        "extendedStackTrace": [{"class": "demo.Load", "method": "run", "file": "Load.java", "line": 42}],
        "cause": {"name": "java.net.ConnectException", "message": "refused"}
    });
    stage.post("/runlog/v1/events", event.to_string()).await;
    let message = records(&stage).await[0]["logMessage"].as_str().unwrap().to_owned();
    assert_eq!(
        message,
        "cannot load\njava.sql.SQLException: no route to host\n\tat demo.Load.run(Load.java:42)\nCaused by: java.net.ConnectException: refused"
    );
}

#[tokio::test]
async fn a_task_that_is_not_known_is_made_where_its_pusher_may_publish() {
    let stage = Stage::new().await;
    let pusher = stage.user("pusher", &[Right::Publish]).await;
    let stranger = stage.user("stranger", &[Right::View]).await;
    let mut event = status_event(&stage, "STARTING_FLOW_EXECUTION", 1_619_018_946_500);
    event["context"]["task_id"] = "aaaaaaaaaaaaaaaaaaaaaaaa".into();
    event["context"]["task_name"] = "weekly".into();
    let push = |token: String, body: String| {
        let stage = &stage;
        async move { stage.send(Method::POST, "/runlog/v1/events", Ask::with(&[]).by(&token).body(body)).await }
    };
    push(stranger, event.to_string()).await.is_error(403, &["Publisher", "no workspace"]);
    let elsewhere = stage.user_in(stage.other_workspace().await.id, "elsewhere", &[Right::Publish]).await;
    push(elsewhere, event.to_string()).await.is_error(400, &["none of the 1 events", "Publisher"]);
    let answer = push(pusher.clone(), event.to_string()).await;
    assert_eq!(answer.json()["begun"], 1, "{}", answer.text());
    let task = stage.get("/orchestration/executables/tasks/aaaaaaaaaaaaaaaaaaaaaaaa").await.json();
    assert_eq!((task["name"].as_str(), task["version"].as_str()), (Some("weekly"), Some("2.3")));

    event["context"]["workspace_id"] = "bbbbbbbbbbbbbbbbbbbbbbbb".into();
    event["context"]["task_id"] = "cccccccccccccccccccccccc".into();
    event["context"]["task_execution_id"] = "6c0e5a34-0000-4000-8000-000000000009".into();
    push(pusher, event.to_string()).await.is_error(400, &["no workspace bbbbbbbbbbbbbbbbbbbbbbbb", "administrator"]);
    assert_eq!(stage.post("/runlog/v1/events", event.to_string()).await.json()["begun"], 1);
}

/// Workspaces, tasks and runs that were created by events had no audit entry.
#[tokio::test]
async fn tasks_and_runs_created_by_events_are_audited() {
    let stage = Stage::new().await;
    let mut begins = status_event(&stage, "STARTING_FLOW_EXECUTION", 1_619_018_946_500);
    begins["context"]["workspace_id"] = "bbbbbbbbbbbbbbbbbbbbbbbb".into();
    begins["context"]["task_id"] = "aaaaaaaaaaaaaaaaaaaaaaaa".into();
    let mut ends = begins.clone();
    ends["job_phase"] = "EXECUTION_SUCCESS".into();
    let send = async |body: String, id: &str| {
        let ask = Ask::with(&[("x-request-id", id)]).by(&stage.admin).body(body);
        let answer = stage.send(Method::POST, "/runlog/v1/events", ask).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    send(begins.to_string(), "night-1").await;
    send(log_event("row 7 has no price", 1).to_string(), "night-2").await;
    send(ends.to_string(), "night-3").await;
    let entries = stage.get("/runlog/v1/audit?limit=100").await.json();
    let of = |id: &str| -> Vec<String> {
        let items = entries["items"].as_array().unwrap().iter().rev().filter(|entry| entry["requestId"] == id);
        items.map(|it| format!("{} {}", it["action"].as_str().unwrap(), it["subject"].as_str().unwrap())).collect()
    };
    assert_eq!(
        of("night-1"),
        [
            "create workspace bbbbbbbbbbbbbbbbbbbbbbbb".to_owned(),
            "create task aaaaaaaaaaaaaaaaaaaaaaaa".to_owned(),
            format!("start run {RUN}"),
        ]
    );
    assert_eq!(of("night-2"), [""; 0], "records alone are no entry");
    assert!(of("night-3").contains(&format!("finish run {RUN}")), "{:?}", of("night-3"));
}

#[tokio::test]
async fn concurrent_events_of_a_new_task_are_all_stored() {
    let stage = Stage::new().await;
    let pusher = stage.user("pusher", &[Right::Publish]).await;
    let workspace = stage.workspace.to_string();
    let push = |number: u64, task: Value| {
        let mut event = log_event("first contact", number);
        event["contextMap"]["flowExecutionId"] = format!("6c0e5a34-0000-4000-8000-0000000000{number:02}").into();
        event["contextMap"]["workspace_id"] = workspace.clone().into();
        event["contextMap"].as_object_mut().unwrap().extend(task.as_object().unwrap().clone());
        let (stage, pusher) = (&stage, pusher.as_str());
        async move {
            let ask = Ask::with(&[]).by(pusher).body(event.to_string());
            stage.send(Method::POST, "/runlog/v1/events", ask).await
        }
    };
    let by_id = |number| push(number, json!({"task_id": "aaaaaaaaaaaaaaaaaaaaaaaa", "task_name": "weekly"}));
    let by_name = |number| push(number, json!({"task_name": "Änderungen"}));
    let answers = futures::future::join_all((1..6).map(by_id)).await;
    for answer in answers.into_iter().chain(futures::future::join_all((6..11).map(by_name)).await) {
        assert_eq!(answer.json()["begun"], 1, "{}", answer.text());
    }
    let tasks = stage.get("/orchestration/executables/tasks").await.json();
    assert_eq!(tasks["total"], 3, "{tasks}");
    let found = stage.get("/orchestration/executables/tasks?name=%C3%A4nder").await.json();
    assert_eq!(found["total"], 1, "{found}");
}

#[tokio::test]
async fn events_without_a_run_are_counted_and_bad_lines_are_named() {
    let stage = Stage::new().await;
    stage.start().await;
    let answer = stage.post("/runlog/v1/events", lines(&[log_event("kept", 1), json!({"message": "whose?"})])).await;
    let body = answer.json();
    assert_eq!((body["stored"].as_u64(), body["refused"].as_u64()), (Some(1), Some(1)), "{body}");
    assert!(body["why"].as_str().unwrap().contains("task_execution_id"), "{body}");
    let broken = format!("{}\n{{\"level\": oops}}\n", log_event("lost?", 2));
    let body = stage.post("/runlog/v1/events", broken).await.json();
    assert_eq!((body["stored"].as_u64(), body["refused"].as_u64()), (Some(1), Some(1)), "{body}");
    assert!(body["why"].as_str().unwrap().contains("line 2, column 11"), "{body}");
    stage.post("/runlog/v1/events", "{\"level\": oops}").await.is_error(400, &["line 1, column 11"]);
    assert_eq!(stage.post("/runlog/v1/events", "").await.json()["stored"], 0);
}

#[tokio::test]
async fn a_run_can_be_requested_only_with_a_run_hook() {
    let stage = Stage::new().await;
    let body = json!({"executable": stage.task.to_string(), "logLevel": "INFO", "parameters": {"day": "monday"}});
    let answer = stage.post("/processing/executions", body.to_string()).await;
    answer.is_error(501, &["does not start runs"]);
}

#[tokio::test]
async fn the_run_hook_receives_the_requested_run() {
    let told = tempfile::NamedTempFile::new().unwrap();
    let command = format!("cat > {} && test \"$RUNLOG_TASK_ID\" != ''", told.path().display());
    let stage = Stage::with(|_| (), |server| server.run_hook = Some(RunHook::read(&command).unwrap())).await;
    let body = json!({"executable": stage.task.to_string(), "logLevel": "INFO", "parameters": {"day": "monday"}});
    let answer = stage.post("/processing/executions", body.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = answer.json()["executionId"].as_str().unwrap().to_owned();
    let heard: Value = serde_json::from_slice(&std::fs::read(told.path()).unwrap()).unwrap();
    assert_eq!((heard["executionId"].as_str(), heard["taskName"].as_str()), (Some(&*id), Some("nightly")));
    assert_eq!((heard["parameters"]["day"].as_str(), heard["logLevel"].as_str()), (Some("monday"), Some("INFO")));
    let listed = stage.get(&format!("/processing/executables/tasks/{}/executions", stage.task)).await.json();
    assert_eq!(
        (listed["items"][0]["executionId"].as_str(), listed["items"][0]["status"].as_str()),
        (Some(&*id), Some("dispatching"))
    );

    let viewer = stage.user("viewer", &[Right::View]).await;
    let ask = Ask::with(&[]).by(&viewer).body(body.to_string());
    stage.send(Method::POST, "/processing/executions", ask).await.is_error(403, &["Executor"]);
    stage.post("/processing/executions", r#"{"executable": "x"}"#).await.is_error(400, &["executable"]);
    let odd = json!({"executable": stage.task.to_string(), "logLevel": "NOPE"});
    stage.post("/processing/executions", odd.to_string()).await.is_error(400, &["NOPE", "OFF"]);

    // A run that ends without a record has begun nevertheless.
    let end = format!("/runlog/v1/runs/{id}/finish");
    assert_eq!(stage.post(&end, r#"{"status": "execution_failed"}"#).await.status, 200);
    let listed = stage.get(&format!("/processing/executables/tasks/{}/executions", stage.task)).await.json();
    let run = &listed["items"][0];
    assert_eq!(run["executionStatus"], "EXECUTION_FAILED");
    assert_eq!(run["startTimestamp"], run["triggerTimestamp"], "{run}");
}

#[tokio::test]
async fn a_run_hook_that_fails_ends_the_run_and_says_so() {
    let stage = Stage::with(|_| (), |server| server.run_hook = Some(RunHook::read("exit 3").unwrap())).await;
    let body = json!({"executable": stage.task.to_string()});
    stage.post("/processing/executions", body.to_string()).await.is_error(500, &["was not started", "exit status: 3"]);
    let listed = stage.get("/processing/executables/tasks/executions").await.json();
    assert_eq!(listed["items"][0]["status"], "deploy_failed");
    assert!(listed["items"][0].get("startTimestamp").is_none(), "it was not started");
    assert!(RunHook::read(" ").is_err());
}

/// Events became part of the text of others, or were refused with them.
#[tokio::test]
async fn an_invalid_event_does_not_affect_its_neighbours() {
    let [one, other] = [1, 2].map(|number| log_event(&format!("good {number}"), number));
    let odd = |field: &str| format!("{{{field},{}", &log_event("odd", 1).to_string()[1..]);
    let pretty = format!("{one:#}\n{other:#}");
    let both = ["good 1", "good 2"].as_slice();
    let all = ["good 1", "odd", "good 2"].as_slice();
    for (body, texts, refused) in [
        (format!("{one}\n\u{feff}{other}\n").into_bytes(), both, 0),
        (format!("[{one},\u{feff}{other}]").into_bytes(), both, 0),
        (format!("{one}{other}").into_bytes(), both, 0),
        (format!("{one},\n{other},\n").into_bytes(), both, 0),
        (format!("[\n{one}\n,\n{other}\n]\n").into_bytes(), both, 0),
        (format!("[{one}{other},]").into_bytes(), both, 0),
        (format!("[{one}]\n[{other}]").into_bytes(), both, 0),
        (format!("[\n{one},\n{other}\n").into_bytes(), both, 0),
        (pretty.clone().into_bytes(), both, 0),
        (pretty.replace("}\n{", "},\n{").into_bytes(), both, 0),
        (format!("[{one},{},{other}]", odd("\"ratio\": NaN")).into_bytes(), all, 0),
        (format!("[{one},{},{other}]", odd("\"a\": 1e400")).into_bytes(), all, 0),
        (format!("[{one},{{\"a\":tru}},{other}]").into_bytes(), both, 1),
        (format!("[\n{one},\n{{\n\"a\": tru\n}},\n{other}\n]").into_bytes(), both, 1),
        (format!("[{one},7,null,\"text\",[1],{other}]").into_bytes(), both, 4),
        (format!("{one}\n{{not JSON\n{other}\n").into_bytes(), both, 1),
        (format!("{one}\n{{\"cut\":\"of\n{other}\n").into_bytes(), both, 1),
        (format!("{one}\n{{\"cut\":1\n{other}\n").into_bytes(), both, 1),
        (one_with_invalid_bytes(&pretty), ["good \u{fffd}", "good 2"].as_slice(), 0),
        (pretty.replace("good 1", "good \\ud83d").into_bytes(), ["good \u{fffd}", "good 2"].as_slice(), 0),
    ] {
        let stage = Stage::new().await;
        stage.start().await;
        let shown = String::from_utf8_lossy(&body).into_owned();
        let answer = stage.post("/runlog/v1/events", body).await.json();
        assert_eq!(
            (answer["stored"].as_u64(), answer["refused"].as_u64()),
            (Some(texts.len() as u64), Some(refused)),
            "{shown}: {answer}"
        );
        let mut seen: Vec<_> =
            records(&stage).await.iter().map(|it| it["logMessage"].as_str().unwrap().to_owned()).collect();
        let mut texts = texts.to_vec();
        // Those of one instant stand in any order here.
        seen.sort();
        texts.sort_unstable();
        assert_eq!(seen, texts, "{shown}");
    }
}

fn one_with_invalid_bytes(events: &str) -> Vec<u8> {
    let at = events.find("good 1").unwrap() + "good ".len();
    [&events.as_bytes()[..at], b"\xe9", &events.as_bytes()[at + 1..]].concat()
}

#[tokio::test]
async fn a_field_that_occurs_again_and_a_long_number_are_kept_and_counted() {
    let stage = Stage::new().await;
    stage.start().await;
    let event = log_event("last", 1).to_string();
    let event = format!(r#"{{"message":"first","orderId":12345678901234567890123,{}"#, &event[1..]);
    let answer = stage.post("/runlog/v1/events", event).await.json();
    assert_eq!((answer["stored"].as_u64(), answer["repaired"].as_u64()), (Some(1), Some(2)), "{answer}");
    let seen = records(&stage).await;
    assert_eq!((&seen[0]["logMessage"], &seen[0]["message#1"]), (&json!("last"), &json!("first")));
    assert_eq!(seen[0]["orderId"], "12345678901234567890123");
}

#[tokio::test]
async fn a_plain_line_continues_the_preceding_event() {
    let stage = Stage::new().await;
    stage.start().await;
    let trace = "java.lang.IllegalStateException: no price\n\tat demo.Load.run(Load.java:42)";
    let body = format!("stray\n{}\n{trace}\n{}\n", log_event("row 7", 1), log_event("row 8", 2));
    let answer = stage.post("/runlog/v1/events", body).await.json();
    assert_eq!((answer["stored"].as_u64(), answer["refused"].as_u64()), (Some(2), Some(1)), "{answer}");
    let texts: Vec<String> =
        records(&stage).await.iter().map(|it| it["logMessage"].as_str().unwrap().to_owned()).collect();
    assert_eq!(texts, [format!("row 7\n{trace}"), "row 8".to_owned()]);
    assert_eq!(stage.post("/runlog/v1/events", trace).await.status, 200, "its shipper would send it for ever");
}

#[tokio::test]
async fn the_text_of_an_event_that_names_its_run_is_its_text() {
    let stage = Stage::new().await;
    stage.start().await;
    let texts = [
        json!({"message": "timeout", "level": "debug", "job_phase": "EXECUTION_SUCCESS", "task_execution_id": RUN}),
        json!({"status": "rejected", "order": 4711}),
        json!({"task_execution_id": OTHER_RUN, "task_id": stage.task.to_string()}),
    ];
    let texts = texts.map(|text| text.to_string());
    let events: Vec<Value> = texts
        .iter()
        .zip(1_u64..)
        .map(|(text, at)| {
            json!({"timestamp": 1_619_018_951_000_u64 + at, "level": "ERROR", "message": text,
                "my_mdc": {"task_execution_id": RUN}})
        })
        .collect();
    let answer = stage.post("/runlog/v1/events", lines(&events)).await;
    assert_eq!(answer.json(), json!({"stored": 3, "begun": 0, "ended": 0, "refused": 0}));
    let seen = records(&stage).await;
    let seen: Vec<_> = seen.iter().map(|it| (it["severity"].as_str(), it["logMessage"].as_str())).collect();
    assert_eq!(seen, texts.iter().map(|text| (Some("ERROR"), Some(text.as_str()))).collect::<Vec<_>>());
    assert_eq!(stage.get(&format!("/processing/executions/{OTHER_RUN}")).await.status, 404);
}

#[tokio::test]
async fn a_text_that_is_not_whole_is_mended_and_counted() {
    let stage = Stage::new().await;
    stage.start().await;
    let path = format!("/runlog/v1/runs/{RUN}/records");
    let body =
        b"\xef\xbb\xbf{\"logTimestamp\":1,\"logMessage\":\"\\ud83d caf\xe9\ttab\"}\n{\"logTimestamp\":2}\n".to_vec();
    assert_eq!(stage.post(&path, body).await.json(), json!({"stored": 2, "repaired": 1}));
    let seen = records(&stage).await;
    assert_eq!(seen[0]["logMessage"], "\u{fffd} caf\u{fffd}\ttab");
    assert_eq!(seen[1]["logMessage"], "", "clients read it without asking");
    let array = r#"[{"logTimestamp":3},{"logTimestamp":4}]"#;
    assert_eq!(stage.post(&path, array).await.json(), json!({"stored": 2}));
    stage.post(&path, b"\xff\xfe{\0".to_vec()).await.is_error(400, &["UTF-16"]);
    let skipped = stage.post(&format!("{path}?badLines=skip"), "{\"logTimestamp\":5}\n{}\n").await.json();
    assert_eq!((skipped["stored"].as_u64(), skipped["refusedLines"].as_u64()), (Some(1), Some(1)), "{skipped}");
    assert_eq!(skipped["refused"][0]["line"], 2);
}

/// A run listed as lasting `-86400000 ms`.
#[tokio::test]
async fn a_run_cannot_end_before_it_has_started_and_clocks_that_differ_are_no_reason_to_refuse_its_end() {
    let stage = Stage::new().await;
    let path = format!("/runlog/v1/runs/{RUN}");
    let start = |at: &str| json!({"taskId": stage.task.to_string(), "startTimestamp": at}).to_string();
    let finish = |at: &str| json!({"status": "execution_failed", "finishTimestamp": at}).to_string();
    let end_of = async |run: &str| {
        stage.get(&format!("/processing/executions/{run}")).await.json()["finishTimestamp"].as_str().map(str::to_owned)
    };
    assert_eq!(stage.ask(Method::PUT, &path, start("2026-11-27T20:00:00Z")).await.status, 201);
    let early = stage.post(&format!("{path}/finish"), finish("2026-11-26T20:00:00Z")).await;
    early.is_error(400, &["finishTimestamp 2026-11-26T20:00:00.000Z", "before the start of the run"]);
    assert_eq!(end_of(RUN).await, None, "nothing was changed");
    // A clock that is a little behind.
    assert_eq!(stage.post(&format!("{path}/finish"), finish("2026-11-27T19:58:00Z")).await.status, 200);
    assert_eq!(end_of(RUN).await.as_deref(), Some("2026-11-27T20:00:00.000Z"));
    let late = stage.ask(Method::PUT, &path, start("2026-11-28T20:00:00Z")).await;
    late.is_error(400, &["startTimestamp", "after the end of the run"]);

    // An engine repeats an event that is refused for ever: its end counts, whatever its clock says.
    let mut begins = status_event(&stage, "STARTING_FLOW_EXECUTION", 1_619_018_946_500);
    let mut ends = status_event(&stage, "EXECUTION_FAILED", 1_618_018_946_500);
    for event in [&mut begins, &mut ends] {
        event["context"]["task_execution_id"] = OTHER_RUN.into();
    }
    stage.post("/runlog/v1/events", begins.to_string()).await;
    assert_eq!(stage.post("/runlog/v1/events", ends.to_string()).await.json()["ended"], 1);
    assert_eq!(end_of(OTHER_RUN).await.as_deref(), Some("2021-04-21T15:29:06.500Z"));
}

#[tokio::test]
async fn a_run_that_was_dispatched_begins_with_its_first_record() {
    let stage = Stage::new().await;
    let start = json!({"taskId": stage.task.to_string(), "status": "dispatching"}).to_string();
    let path = format!("/runlog/v1/runs/{RUN}");
    assert_eq!(stage.ask(Method::PUT, &path, start).await.status, 201);
    stage.post(&format!("{path}/records"), "{\"logTimestamp\":1619018951000}\n").await;
    let run = stage.get(&format!("//processing/executions/{RUN}/")).await.json();
    assert_eq!(
        (run["status"].as_str(), run["startTimestamp"].as_str()),
        (Some("executing"), Some("2021-04-21T15:29:11.000Z")),
        "{run}"
    );
    let of_other = "/processing/executables/tasks/executions?artifactId=other&from=1619018900000&to=1619018999000";
    assert_eq!(stage.get(of_other).await.json()["total"], 0);
}
