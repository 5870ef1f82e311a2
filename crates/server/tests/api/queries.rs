//! SQL queries and searches over HTTP: access rights, formats of results, and continuation.

use axum::http::Method;
use runlog_model::wire::admin::{NewTask, NewWorkspace};
use runlog_model::workspaces::Right;
use serde_json::{Value, json};

use crate::support::{Answer, Ask, RUN, Stage};

const FOREIGN_RUN: &str = "6c0e5a34-0000-4000-8000-0000000000f1";
const SQL: &str = "/runlog/v1/sql";

fn question(query: &str) -> String {
    json!({ "query": query }).to_string()
}

/// Records a second apart, every third an error.
fn log(count: i64, words: &str) -> String {
    let line = |at: i64| {
        let severity = if at % 3 == 2 { "ERROR" } else { "INFO" };
        json!({"logTimestamp": 1_000 * at, "severity": severity, "logMessage": format!("{words} {at}")}).to_string()
    };
    (0..count).map(line).collect::<Vec<_>>().join("\n")
}

/// A stage with a run of nine records, and one of another workspace.
async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.push(&log(9, "our line")).await;
    let new =
        NewWorkspace { id: None, environment_id: None, name: "others".to_owned(), description: None, owner: None };
    let workspace_id = stage.store.workspaces().create_workspace(&new, "admin").await.unwrap().id;
    let new = NewTask {
        id: None,
        workspace_id,
        name: "secret plans".to_owned(),
        version: None,
        description: None,
        tags: Vec::new(),
    };
    let task = stage.store.workspaces().create_task(&new).await.unwrap().id;
    let run = format!("/runlog/v1/runs/{FOREIGN_RUN}");
    assert!(stage.ask(Method::PUT, &run, json!({"taskId": task}).to_string()).await.status.is_success());
    assert_eq!(stage.post(&format!("{run}/records"), log(6, "secret line")).await.status, 200);
    stage
}

async fn asked(stage: &Stage, token: &str, query: &str) -> Answer {
    stage.send(Method::POST, SQL, Ask::with(&[]).by(token).body(question(query))).await
}

#[tokio::test]
async fn a_caller_sees_the_workspaces_whose_logs_it_may_read() {
    let stage = stage().await;
    let counted = "SELECT (SELECT count(*) FROM records) AS n, (SELECT count(*) FROM runs) AS r,
                          (SELECT count(*) FROM tasks) AS t";
    assert_eq!(stage.post(SQL, question(counted)).await.json(), json!([{"n": 15, "r": 2, "t": 2}]));
    let kim = stage.user("kim", &Right::READ_LOGS).await;
    assert_eq!(asked(&stage, &kim, counted).await.json(), json!([{"n": 9, "r": 1, "t": 1}]));
    // With one right less, nothing is found.
    for lacking in Right::READ_LOGS {
        let held: Vec<Right> = Right::ALL.into_iter().filter(|right| *right != lacking).collect();
        let token = stage.user(&format!("without {lacking}"), &held).await;
        assert_eq!(asked(&stage, &token, counted).await.json(), json!([{"n": 0, "r": 0, "t": 0}]), "{lacking}");
        let found = stage.send(Method::GET, "/runlog/v1/search?q=line", Ask::with(&[]).by(&token)).await.json();
        assert_eq!((&found["items"], &found["complete"]), (&json!([]), &json!(true)), "{lacking}");
    }
    let told = asked(&stage, &kim, "SELECT * FROM records WHERE message LIKE '%secret%' OR TRUE").await.text();
    assert!(told.contains("our line") && !told.contains("secret"), "{told}");
    let named = asked(&stage, &kim, &format!("SELECT * FROM runs WHERE run_id = '{FOREIGN_RUN}'")).await;
    assert_eq!(named.json(), json!([]));
}

#[tokio::test]
async fn an_answer_has_the_requested_format() {
    let stage = stage().await;
    let query = "SELECT severity, count(*) AS n FROM records GROUP BY 1 ORDER BY 1";
    let ask = |format: &str| {
        let body = json!({"query": query, "format": format}).to_string();
        let stage = &stage;
        async move { stage.post(SQL, body).await }
    };
    let json = ask("json").await;
    assert_eq!(json.header("content-type"), "application/json");
    assert_eq!(json.json(), json!([{"severity": "ERROR", "n": 5}, {"severity": "INFO", "n": 10}]));
    let lines = ask("ndjson").await;
    assert_eq!(lines.text(), "{\"severity\":\"ERROR\",\"n\":5}\n{\"severity\":\"INFO\",\"n\":10}\n");
    assert_eq!(ask("csv").await.text(), "severity,n\nERROR,5\nINFO,10\n");
    assert!(ask("table").await.text().ends_with("(2 rows)\n"));
    let parquet = ask("parquet").await;
    assert!(parquet.body.starts_with(b"PAR1") && parquet.body.ends_with(b"PAR1"));
    ask("xlsx").await.is_error(400, &["format", "xlsx", "parquet"]);
    let ask = Ask::with(&[("accept", "text/html, text/csv;q=0.9")]).by(&stage.admin).body(question(query));
    assert_eq!(stage.send(Method::POST, SQL, ask).await.header("content-type"), "text/csv; charset=utf-8");
}

#[tokio::test]
async fn an_invalid_query_is_reported_with_its_position() {
    let stage = stage().await;
    let wrong = stage.post(SQL, question("SELECT mesage FROM records")).await;
    wrong.is_error(400, &["did you mean message?", "line 1, column 8: SELECT mesage FROM records"]);
    stage.post(SQL, question("DROP TABLE runs")).await.is_error(400, &["queries only read the archive"]);
    stage.post(SQL, question("COPY runs TO '/tmp/x.csv'")).await.is_error(400, &[]);
    stage.post(SQL, r#"{"sql": "SELECT 1"}"#).await.is_error(400, &["sql", "query"]);
    stage.post(SQL, "SELECT 1").await.is_error(400, &["body"]);
}

async fn found(stage: &Stage, query: &str) -> Value {
    let answer = stage.get(&format!("/runlog/v1/search?{query}")).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()
}

fn messages(answer: &Value) -> Vec<&str> {
    answer["items"].as_array().unwrap().iter().map(|item| item["logMessage"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_newest_records_are_found_first() {
    let stage = stage().await;
    let all = found(&stage, "q=LINE").await;
    assert_eq!(all["scanned"]["records"], 15);
    assert_eq!((messages(&all).len(), &all["complete"], &all["cursor"]), (15, &json!(true), &Value::Null));
    assert_eq!(messages(&all)[..3], ["our line 8", "our line 7", "our line 6"]);
    let first = &all["items"][0];
    assert_eq!((&first["runId"], &first["taskName"]), (&json!(RUN), &json!("nightly")));
    assert_eq!((&first["logTimestamp"], &first["severity"]), (&json!(8_000), &json!("ERROR")));
    assert_eq!(messages(&found(&stage, "q=our%20-8&severity=error").await), ["our line 5", "our line 2"]);
    assert_eq!(messages(&found(&stage, "severity=ERROR&limit=1").await), ["our line 8"]);
    assert_eq!(messages(&found(&stage, "q=line&from=3000&to=1970-01-01T00:00:04Z&limit=200").await).len(), 4);
    assert_eq!(messages(&found(&stage, &format!("runId={FOREIGN_RUN}&q=5")).await), ["secret line 5"]);
    assert_eq!(messages(&found(&stage, &format!("taskId={}&q=%22line+3%22", stage.task)).await), ["our line 3"]);
    assert_eq!(messages(&found(&stage, &format!("workspaceId={}&q=secret", stage.workspace)).await), [""; 0]);
}

#[tokio::test]
async fn a_search_continues_from_its_cursor_while_logs_are_merged() {
    let stage = stage().await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    for page in 0.. {
        let answer = found(&stage, &format!("q=line&limit=4{cursor}")).await;
        seen.extend(messages(&answer).into_iter().map(str::to_owned));
        let Some(next) = answer["cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
        if page == 1 {
            let end = json!({"status": "execution_failed"}).to_string();
            stage.post(&format!("/runlog/v1/runs/{RUN}/finish"), end.clone()).await;
            stage.post(&format!("/runlog/v1/runs/{FOREIGN_RUN}/finish"), end).await;
            stage.clock.advance_ms(3_600_000);
            assert_eq!(stage.store.maintenance().seal().await.unwrap().runs, 2);
        }
    }
    let whole = found(&stage, "q=line&limit=200").await;
    assert_eq!(seen, messages(&whole));
    assert_eq!(seen.len(), 15);
}

#[tokio::test]
async fn an_invalid_search_is_explained() {
    let stage = stage().await;
    let wrong = |query: &'static str| {
        let stage = &stage;
        async move { stage.get(&format!("/runlog/v1/search?{query}")).await }
    };
    wrong("severity=LOUD").await.is_error(400, &["severity", "LOUD", "FATAL"]);
    wrong("limit=201").await.is_error(400, &["limit", "200"]);
    wrong("from=yesterday").await.is_error(400, &["from"]);
    wrong("cursor=abc").await.is_error(400, &["cursor"]);
    wrong("taskId=xyz").await.is_error(400, &["taskId"]);
    let unknown = "runId=6c0e5a34-0000-4000-8000-0000000000ee";
    wrong(unknown).await.is_error(404, &["no run"]);
    wrong("taskId=x&runId=y").await.is_error(400, &["one of them"]);
    let kim = stage.user("kim", &[Right::View]).await;
    let foreign = format!("/runlog/v1/search?runId={FOREIGN_RUN}");
    stage.send(Method::GET, &foreign, Ask::with(&[]).by(&kim)).await.is_error(403, &["Author"]);
}
