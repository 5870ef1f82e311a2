//! Problems: the root causes of failed runs of a workspace, and the states and notes that users give them.

use axum::http::Method;
use runlog_model::wire::admin::NewTask;
use runlog_model::workspaces::Right;
use runlog_model::{Clock, WorkspaceId};
use serde_json::{Value, json};

use crate::support::{Ask, RUN, Stage};

/// A log of a run that fails of a table that is missing.
fn log(rows: u32) -> String {
    let lines = [
        json!({"logTimestamp": 1_000, "severity": "INFO", "logMessage": format!("read {rows} rows")}),
        json!({"logTimestamp": 2_000, "severity": "ERROR", "logMessage":
            format!("load failed\njava.sql.SQLException: table orders_{rows} is missing\n\tat com.mysql.cj.Jdbc.execute(Jdbc.java:7)")}),
    ];
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn run(number: u32) -> String {
    format!("6c0e5a34-0000-4000-8000-0000000001{number:02}")
}

impl Stage {
    /// The ID of a problem, of which a run fails.
    pub(crate) async fn problem(&self) -> String {
        self.run_with(&run(99), &log(99), "execution_failed").await;
        self.seal_and_summarize().await;
        self.report(&run(99)).await["problem"]["id"].as_str().unwrap().to_owned()
    }

    /// A run of another task, in a workspace, that fails.
    async fn fails_in(&self, workspace_id: WorkspaceId, name: &str, run: &str, lines: String) {
        let name = name.to_owned();
        let task = NewTask { id: None, workspace_id, name, version: None, description: None, tags: Vec::new() };
        let task = self.store.workspaces().get_or_create_task(&task).await.unwrap().id;
        let start = format!(r#"{{"taskId":"{task}"}}"#);
        assert_eq!(self.ask(Method::PUT, &format!("/runlog/v1/runs/{run}"), start).await.status, 201);
        assert_eq!(self.post(&format!("/runlog/v1/runs/{run}/records"), lines).await.status, 200);
        let body = r#"{"status":"execution_failed"}"#;
        assert_eq!(self.post(&format!("/runlog/v1/runs/{run}/finish"), body).await.status, 200);
    }

    async fn problems(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&format!("/runlog/v1/problems{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["items"].as_array().unwrap().clone()
    }

    async fn set_state(&self, id: &str, body: Value) -> crate::support::Answer {
        self.ask(Method::PUT, &format!("/runlog/v1/problems/{id}/state"), body.to_string()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_root_cause_across_tasks_is_one_problem() {
    let stage = Stage::new().await;
    stage.run_with(RUN, &log(1), "execution_failed").await;
    stage.fails_in(stage.workspace, "hourly", &run(2), log(2)).await;
    let other = stage.other_workspace().await.id;
    stage.fails_in(other, "elsewhere", &run(3), log(3)).await;
    stage.seal_and_summarize().await;

    let problems = stage.problems("").await;
    assert_eq!(problems.len(), 2, "{problems:?}");
    let problem = stage.problems(&format!("?workspaceId={}", stage.workspace)).await.remove(0);
    assert_eq!((&problem["runs"], &problem["tasks"], &problem["state"]), (&json!(2), &json!(2), &json!("open")));
    let title = problem["title"].as_str().unwrap();
    assert!(title.contains("java.sql.SQLException") && title.contains("is missing"), "{title}");
    assert!(!title.contains("orders_1") && !title.contains("orders_2"), "{title}");
    let id = problem["id"].as_str().unwrap();

    let detail = stage.get(&format!("/runlog/v1/problems/{id}")).await.json();
    assert_eq!(detail["problem"], problem);
    let names: Vec<_> = detail["tasks"].as_array().unwrap().iter().map(|task| task["taskName"].clone()).collect();
    assert_eq!(names, [json!("hourly"), json!("nightly")]);
    assert_eq!(detail["runs"].as_array().unwrap().len(), 2);
    assert_eq!(detail["runs"][0]["status"], "execution_failed");

    let report = stage.report(RUN).await;
    assert_eq!(report["problem"], problem);
    assert_eq!(report["problemTasks"][1]["taskName"], "nightly");
    let brief = stage.get(&format!("/runlog/v1/runs/{RUN}/report?brief=true")).await.text();
    let expected = format!("Problem [{id}](http://runlog.test/problems/{id}), open: 2 runs of 2 tasks since ");
    assert!(brief.contains(&expected), "{brief}");
    assert!(brief.contains("(`hourly`, `nightly`)"), "{brief}");

    for (query, count) in [
        (format!("?taskId={}", stage.task), 1),
        (format!("?id={}", &id[..6]), 1),
        ("?q=IS%20MISSING".to_owned(), 2),
        ("?q=nothing".to_owned(), 0),
        ("?state=muted".to_owned(), 0),
        ("?state=OPEN&order=runs".to_owned(), 2),
        (format!("?since={}", stage.clock.now().as_millis()), 0),
        ("?limit=1&offset=1".to_owned(), 1),
    ] {
        assert_eq!(stage.problems(&query).await.len(), count, "{query}");
    }
    for wrong in ["?state=gone", "?id=xyz", "?order=name", "?since=yesterday"] {
        stage.get(&format!("/runlog/v1/problems{wrong}")).await.is_error(400, &[&wrong[1..3]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problem_is_muted_resolved_and_comes_back() {
    let stage = Stage::new().await;
    let id = stage.problem().await;
    let until = stage.clock.now().plus_millis(3_600_000).to_string();
    let muted = stage.set_state(&id, json!({"state": "muted", "until": until, "note": "the DBA knows"})).await;
    assert_eq!(muted.status, 200, "{}", muted.text());
    let muted = muted.json();
    assert_eq!(
        (&muted["state"], &muted["stateSetBy"], &muted["note"]),
        (&json!("muted"), &json!("admin"), &json!("the DBA knows"))
    );
    assert_eq!(muted["mutedUntil"].as_str(), Some(until.as_str()));

    let resolved = stage.set_state(&id, json!({"state": "resolved"})).await.json();
    assert_eq!(
        (&resolved["state"], resolved.get("mutedUntil"), resolved.get("note")),
        (&json!("resolved"), None, None)
    );
    stage.clock.advance_ms(60_000);
    stage.run_with(&run(1), &log(1), "execution_failed").await;
    stage.seal_and_summarize().await;
    let back = stage.problems("?state=open").await.remove(0);
    assert_eq!((&back["runs"], &back["cameBackAt"]), (&json!(2), &back["lastSeen"]));
    let brief = stage.get(&format!("/runlog/v1/runs/{}/report?brief=true", run(1))).await.text();
    assert!(brief.contains("It came back at "), "{brief}");

    // Each change has its entry in the audit log.
    let entries = stage.get(&format!("/runlog/v1/audit?subject={id}")).await.json();
    let actions: Vec<_> = entries["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["action"] == "change problem")
        .map(|entry| (entry["callerName"].clone(), entry["status"].clone(), entry["subject"].clone()))
        .collect();
    let entry = |what: String| (json!("admin"), json!(200), json!(format!("{id} {what}")));
    assert_eq!(actions, [entry("resolved".to_owned()), entry(format!("muted until {until}"))]);

    for (body, word) in [
        (json!({"state": "gone"}), "gone"),
        (json!({"state": "muted", "until": "2020-01-01T00:00:00Z"}), "passed"),
        (json!({"state": "resolved", "until": until}), "until"),
        (json!({"state": "muted", "note": "a\u{1b}b"}), "control"),
        (json!({"state": "muted", "note": "x".repeat(501)}), "500"),
        (json!({"state": "muted", "forever": true}), "forever"),
    ] {
        stage.set_state(&id, body).await.is_error(400, &[word]);
    }
    stage.set_state("0000000000000000", json!({"state": "muted"})).await.is_error(404, &["no problem"]);
    stage.set_state("no-problem", json!({"state": "muted"})).await.is_error(400, &["no-problem"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn problems_are_for_those_who_may_read_the_logs_of_the_workspace() {
    let stage = Stage::new().await;
    let id = stage.problem().await;
    let other = stage.other_workspace().await.id;
    stage.fails_in(other, "elsewhere", &run(3), log(3)).await;
    stage.seal_and_summarize().await;
    let reader = stage.user("reader", &Right::READ_LOGS).await;
    let viewer = stage.user("viewer", &[Right::View]).await;
    let ids = async |token: &str, query: &str| {
        let path = format!("/runlog/v1/problems{query}");
        let answer = stage.send(Method::GET, &path, Ask::with(&[]).by(token)).await.json();
        assert_eq!(answer["total"].as_u64().unwrap() as usize, answer["items"].as_array().unwrap().len());
        answer["items"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&reader, "").await, std::slice::from_ref(&id));
    assert_eq!(ids(&viewer, "").await, [""; 0]);
    assert_eq!(ids(&reader, &format!("?workspaceId={other}")).await, [""; 0]);
    assert_eq!(ids(&stage.admin, "").await.len(), 2);
    let path = format!("/runlog/v1/problems/{id}/state");
    let mute = Ask::with(&[]).by(&viewer).body(r#"{"state":"muted"}"#);
    stage.send(Method::PUT, &path, mute).await.is_error(403, &["Author, Executor"]);
    assert_eq!(stage.problems("?state=muted").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_deleted_log_is_left_in_a_problem() {
    let stage = Stage::new().await;
    let id = stage.problem().await;
    stage.set_state(&id, json!({"state": "resolved"})).await;
    let deleted = stage.ask(Method::DELETE, &format!("/monitoring/executions/{}/logs", run(99)), "").await;
    assert_eq!(deleted.status, 200);
    assert_eq!(stage.problems("").await.len(), 0);
    stage.get(&format!("/runlog/v1/problems/{id}")).await.is_error(404, &["no problem"]);
    assert!(stage.report(&run(99)).await.get("problem").is_none());
    // Seen again, it comes back.
    stage.clock.advance_ms(1_000);
    stage.run_with(&run(1), &log(1), "execution_failed").await;
    stage.seal_and_summarize().await;
    let back = stage.problems("?state=open").await.remove(0);
    assert_eq!((back["id"].as_str(), back["cameBackAt"].is_string()), (Some(id.as_str()), true));
}
