//! The API of the web UI: sessions, records by position, histograms, the overview, saved queries, its files.

use crate::support::{Answer, Ask, RUN, Stage};
use axum::http::Method;
use runlog_model::wire::push::FinishRun;
use runlog_model::workspaces::Right;
use runlog_model::{Clock, RunStatus};
use runlog_store::collection::{FailedAttempt, LandedLog, UpstreamRun, UpstreamRunState};
use serde_json::{Value, json};

const SESSION: &str = "/runlog/v1/session";

/// Signs in, and returns the cookie.
async fn sign_in(stage: &Stage, token: &str) -> String {
    let body = json!({ "token": token }).to_string();
    let json = [("content-type", "application/json")];
    let answer = stage.send(Method::POST, SESSION, Ask::with(&json).body(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let cookie = answer.header("set-cookie").to_owned();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict") && cookie.contains("Path=/"), "{cookie}");
    assert!(!cookie.contains(token) && !answer.text().contains(token), "the token does not come back");
    cookie.split(';').next().unwrap().to_owned()
}

async fn with_cookie(stage: &Stage, method: Method, path: &str, cookie: &str) -> Answer {
    stage.send(method, path, Ask::with(&[("cookie", cookie)])).await
}

fn log(severities: &[&str]) -> String {
    let line = |(number, severity): (usize, &&str)| {
        json!({"logTimestamp": 1_000 * number, "severity": severity, "logMessage": format!("Line {number} of all"), "bundleName": "org.Part"}).to_string()
    };
    severities.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

fn indexes(answer: &Value) -> Vec<u64> {
    answer["items"].as_array().unwrap().iter().map(|item| item["index"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_session_has_the_rights_of_its_token_and_ends_with_it() {
    let stage = Stage::new().await;
    let token = stage.user("kim", &[Right::View]).await;
    let cookie = sign_in(&stage, &token).await;
    let who = with_cookie(&stage, Method::GET, SESSION, &cookie).await.json();
    assert_eq!((who["name"].as_str(), who["administrator"].as_bool()), (Some("kim"), Some(false)));
    assert_eq!(who["workspaces"][0]["rights"], json!(["VIEW"]));
    assert!(who["expiresAt"].is_string());
    with_cookie(&stage, Method::GET, "/runlog/v1/audit", &cookie).await.is_error(403, &["not an administrator"]);
    let tokens = with_cookie(&stage, Method::GET, "/runlog/v1/tokens", &cookie).await.json();
    let id = tokens[0]["id"].as_str().unwrap();
    assert_eq!(stage.ask(Method::DELETE, &format!("/runlog/v1/tokens/{id}"), "").await.status, 204);
    with_cookie(&stage, Method::GET, SESSION, &cookie).await.is_error(401, &["session has ended"]);
}

#[tokio::test]
async fn a_session_ends_by_expiry_and_by_sign_out() {
    let stage = Stage::new().await;
    let (first, second) = (sign_in(&stage, &stage.admin).await, sign_in(&stage, &stage.admin).await);
    let close = stage.send(Method::DELETE, SESSION, Ask::with(&[("cookie", &first), ("x-runlog-web", "1")])).await;
    assert_eq!(close.status, 204);
    assert!(close.header("set-cookie").contains("Max-Age=0"));
    with_cookie(&stage, Method::GET, SESSION, &first).await.is_error(401, &[]);
    assert_eq!(with_cookie(&stage, Method::GET, SESSION, &second).await.status, 200);
    stage.clock.advance_ms(12 * 3_600_000);
    with_cookie(&stage, Method::GET, SESSION, &second).await.is_error(401, &["sign in again"]);
}

#[tokio::test]
async fn another_site_cannot_act_with_the_cookie() {
    let stage = Stage::new().await;
    let cookie = sign_in(&stage, &stage.admin).await;
    let body = r#"{"name":"eve"}"#;
    let users = "/runlog/v1/users";
    let ask = Ask::with(&[("cookie", &cookie)]).body(body);
    stage.send(Method::POST, users, ask).await.is_error(403, &["x-runlog-web"]);
    let ask = Ask::with(&[("cookie", &cookie), ("x-runlog-web", "1")]).body(body);
    assert_eq!(stage.send(Method::POST, users, ask).await.status, 201);
}

#[tokio::test]
async fn a_session_of_a_service_account_ends_with_its_access_token() {
    let stage = Stage::new().await;
    let account = stage.post("/account/service-accounts", r#"{"name":"robot"}"#).await.json();
    let form = format!(
        "grant_type=client_credentials&audience=x&client_id={}&client_secret={}",
        account["id"].as_str().unwrap(),
        account["secret"].as_str().unwrap()
    );
    let token = || async {
        let answer = stage.send(Method::POST, "/security/oauth/token", Ask::with(&[]).body(form.clone())).await;
        answer.json()["access_token"].as_str().unwrap().to_owned()
    };
    let cookie = sign_in(&stage, &token().await).await;
    stage.clock.advance_ms(1_799_000);
    assert_eq!(with_cookie(&stage, Method::GET, SESSION, &cookie).await.json()["kind"], "SERVICE_ACCOUNT");
    stage.clock.advance_ms(1_000);
    with_cookie(&stage, Method::GET, SESSION, &cookie).await.is_error(401, &[]);

    let cookie = sign_in(&stage, &token().await).await;
    stage.post("/runlog/v1/keys", r#"{"purpose":"access-tokens","revokeOlder":true}"#).await;
    with_cookie(&stage, Method::GET, SESSION, &cookie).await.is_error(401, &[]);
}

#[tokio::test]
async fn records_are_read_by_position_from_either_end() {
    let stage = Stage::new().await;
    stage.push(&log(&["INFO"; 20])).await;
    let get = async |query: &str| stage.get(&format!("/runlog/v1/runs/{RUN}/records{query}")).await.json();
    let first = get("?count=3").await;
    assert_eq!((indexes(&first), first["total"].as_u64(), first["next"].as_u64()), (vec![0, 1, 2], Some(20), Some(3)));
    let last = get("?from=17&count=3").await;
    assert_eq!((indexes(&last), last["next"].as_u64()), (vec![17, 18, 19], None));
    assert_eq!(last["items"][2]["record"]["logTimestamp"], 19_000);
    assert_eq!(indexes(&get("?from=8&count=4").await), [8, 9, 10, 11]);
    assert_eq!(indexes(&get("?from=20").await), [0_u64; 0]);
    stage.get(&format!("/runlog/v1/runs/{RUN}/records?count=1001")).await.is_error(400, &["count"]);
}

#[tokio::test]
async fn records_that_fit_are_found_with_their_positions_in_both_directions() {
    let stage = Stage::new().await;
    stage.push(&log(&["INFO", "WARN", "INFO", "ERROR", "INFO", "warn", "audit"])).await;
    let get = async |query: &str| stage.get(&format!("/runlog/v1/runs/{RUN}/records{query}")).await.json();
    assert_eq!(indexes(&get("?severity=WARN,ERROR").await), [1, 3, 5]);
    assert_eq!(indexes(&get("?severity=OTHER").await), [6]);
    let step = get("?severity=WARN&count=1").await;
    assert_eq!((indexes(&step), step["next"].as_u64(), step["scanned"].as_u64()), (vec![1], Some(2), Some(2)));
    assert_eq!(indexes(&get("?severity=WARN&count=1&from=4&order=DESC").await), [1]);
    assert_eq!(indexes(&get("?severity=WARN&from=0&to=5").await), [1]);
    // Texts in any case, several in their order, and a single one also in the component.
    assert_eq!(indexes(&get("?q=LINE%203").await), [3]);
    assert_eq!(indexes(&get("?q=line&q=5%20of").await), [5]);
    assert_eq!(indexes(&get("?q=of&q=line").await), [0_u64; 0]);
    assert_eq!(indexes(&get("?q=org.part&severity=ERROR").await), [3]);
    stage.get(&format!("/runlog/v1/runs/{RUN}/records?severity=LOUD")).await.is_error(400, &["LOUD", "WARN"]);
}

/// A record that the search over all logs finds is found in its log: only the case of ASCII letters was ignored there.
#[tokio::test]
async fn a_text_in_a_log_is_found_in_any_case_and_normal_form() {
    let stage = Stage::new().await;
    let messages = ["Ошибка: нет места", "CAFE\u{301} closed", "caf\u{e9} open", "cafe", "\u{3a3}\u{3af}\u{3c3}"];
    let record = |message: &&str| serde_json::json!({"logTimestamp": 1, "logMessage": message}).to_string() + "\n";
    stage.push(&messages.iter().map(record).collect::<String>()).await;
    for (text, found) in [
        ("ошибка", vec![0]),
        ("ОШИБКА", vec![0]),
        ("Caf\u{e9}", vec![1, 2]),
        ("cafe\u{301}", vec![1, 2]),
        ("CAFE", vec![3]),
        ("\u{3c3}\u{3af}\u{3c2}", vec![4]),
    ] {
        let query = serde_urlencoded::to_string([("q", text)]).unwrap();
        let records = stage.get(&format!("/runlog/v1/runs/{RUN}/records?{query}")).await.json();
        assert_eq!(indexes(&records), found, "{text}");
    }
}

#[tokio::test]
async fn the_histogram_counts_every_record_once() {
    let stage = Stage::new().await;
    stage.push(&log(&["INFO", "WARN", "INFO", "ERROR", "INFO", "WARN", "INFO", "INFO"])).await;
    let get = async |query: &str| stage.get(&format!("/runlog/v1/runs/{RUN}/histogram{query}")).await.json();
    let all = get("?buckets=4").await;
    assert_eq!((all["start"].as_str(), all["before"].as_u64()), (Some("1970-01-01T00:00:00.000Z"), Some(0)), "{all}");
    let sums: Vec<u64> = all["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bucket| bucket.as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).sum())
        .collect();
    assert_eq!((sums.iter().sum::<u64>(), sums.len()), (8, 4));
    assert_eq!(all["buckets"][0], json!([0, 0, 0, 1, 1, 0, 0]));
    let part = get("?startTime=1970-01-01T00:00:03Z&endTime=1970-01-01T00:00:03Z&buckets=1").await;
    assert_eq!((part["before"].as_u64(), &part["buckets"]), (Some(3), &json!([[0, 0, 0, 0, 0, 1, 0]])));
    let after = get("?startTime=1970-01-01T00:01:00Z").await;
    assert_eq!((after["before"].as_u64(), &after["buckets"]), (Some(8), &json!([])));
}

#[tokio::test]
async fn a_log_says_why_it_is_empty() {
    let stage = Stage::new().await;
    let state = async || stage.get(&format!("/runlog/v1/runs/{RUN}/summary")).await.json()["log"]["state"].clone();
    stage.start().await;
    assert_eq!(state().await, "WAITING");
    stage.push(&log(&["INFO"])).await;
    assert_eq!(state().await, "GOING");
    stage.post(&format!("/runlog/v1/runs/{RUN}/finish"), r#"{"status":"execution_failed"}"#).await;
    assert_eq!(state().await, "SETTLING");
    stage.clock.advance_ms(30_000);
    assert_eq!(state().await, "SETTLED");
    stage.ask(Method::DELETE, &format!("/monitoring/executions/{RUN}/logs"), "").await;
    assert_eq!(state().await, "DELETED");
    assert_eq!(stage.get(&format!("/runlog/v1/runs/{RUN}/histogram")).await.json()["buckets"], json!([]));
}

#[tokio::test]
async fn a_log_that_did_not_come_whole_from_its_upstream_says_so() {
    let stage = Stage::new().await;
    let log_of = async || stage.get(&format!("/runlog/v1/runs/{RUN}/summary")).await.json()["log"].clone();
    let (store, now) = (&stage.store, stage.clock.now());
    let told = UpstreamRun {
        run_id: RUN.parse().unwrap(),
        task_id: stage.task.to_string(),
        progress: UpstreamRunState::Pending,
        status: "EXECUTION_FAILED".to_owned(),
        triggered_at: None,
        finished_at: None,
        due_at: now,
        body: "{}".to_owned(),
    };
    store.collection().set_listed_until("cloud", now).await.unwrap();
    store.collection().upsert_runs("cloud", &[told]).await.unwrap();
    stage.push(&log(&["INFO"; 3])).await;
    let claimed = store.collection().claim_run("cloud", now.plus_millis(1_000)).await.unwrap().unwrap();
    assert_eq!((&log_of().await["state"], &log_of().await["setback"]), (&json!("GOING"), &Value::Null));

    let setback =
        FailedAttempt { error: "2 are missing".to_owned(), expected: Some(5), retry_at: now.plus_millis(30_000) };
    store.collection().record_failure("cloud", &claimed, &setback).await.unwrap();
    let log = log_of().await;
    assert_eq!((&log["state"], &log["records"]), (&json!("INCOMPLETE"), &json!(3)));
    let again_at = now.plus_millis(30_000).to_string();
    assert_eq!(
        log["setback"],
        json!({"upstream": "cloud", "problem": "2 are missing", "expected": 5, "againAt": again_at})
    );

    stage.clock.advance_ms(30_000);
    let claimed = store.collection().claim_run("cloud", now.plus_millis(90_000)).await.unwrap().unwrap();
    store
        .collection()
        .land(
            "cloud",
            &claimed,
            &FinishRun::with_status(RunStatus::Failed),
            LandedLog { records: 5, pages: 1, components_due_at: None },
        )
        .await
        .unwrap();
    assert_eq!((&log_of().await["state"], &log_of().await["setback"]), (&json!("SETTLING"), &Value::Null));
}

#[tokio::test]
async fn a_log_is_downloaded_whole_in_each_form() {
    let stage = Stage::new().await;
    stage.push(&log(&["INFO", "WARN"])).await;
    let get = async |format: &str| stage.get(&format!("/runlog/v1/runs/{RUN}/log?format={format}")).await;
    let text = get("text").await;
    assert!(text.text().starts_with("1970-01-01T00:00:00.000Z | INFO  |"), "{}", text.text());
    // The file is named after the task, the start of the run and the first digits of its ID.
    let run = stage.get(&format!("/runlog/v1/runs/{RUN}")).await.json();
    let started = run["startTimestamp"].as_str().or(run["triggerTimestamp"].as_str()).unwrap();
    let started = format!("{}Z", started[..19].replace(':', "-"));
    assert_eq!(
        text.header("content-disposition"),
        format!("attachment; filename=\"nightly_{started}_{}.log\"", &RUN[..8])
    );
    let hostile = r#"{"name":"../a \"b\"\u202e;é\\c","version":"1"}"#;
    assert_eq!(stage.ask(Method::PUT, &format!("/runlog/v1/tasks/{}", stage.task), hostile).await.status, 200);
    let renamed = get("ndjson").await;
    assert_eq!(
        renamed.header("content-disposition"),
        format!("attachment; filename=\"a--b-----c_{started}_{}.ndjson\"", &RUN[..8])
    );
    assert_eq!(get("ndjson").await.text().lines().count(), 2);
    assert_eq!(get("json").await.json().as_array().unwrap().len(), 2);
    get("xml").await.is_error(400, &["ndjson"]);
    let looks = stage.get(&format!("/runlog/v1/audit?subject={RUN}")).await.json();
    assert_eq!(looks["items"][0]["action"], "download log");
}

#[tokio::test]
async fn scrolling_through_a_log_is_one_audit_entry() {
    let stage = Stage::new().await;
    stage.push(&log(&["INFO"; 9])).await;
    for from in 0..5 {
        stage.get(&format!("/runlog/v1/runs/{RUN}/records?from={from}")).await;
    }
    let looks = async || {
        let entries = stage.get(&format!("/runlog/v1/audit?subject={RUN}")).await.json();
        entries["items"].as_array().unwrap().iter().filter(|entry| entry["action"] == "look at log").count()
    };
    assert_eq!(looks().await, 1);
    stage.clock.advance_ms(600_000);
    stage.get(&format!("/runlog/v1/runs/{RUN}/records")).await;
    assert_eq!(looks().await, 2);
}

#[tokio::test]
async fn the_overview_shows_what_the_caller_may_view() {
    let stage = Stage::new().await;
    let (viewer, nobody) = (stage.user("viewer", &[Right::View]).await, stage.user("nobody", &[]).await);
    let reader = stage.user("reader", &Right::READ_LOGS).await;
    stage.push(&log(&["ERROR"])).await;
    let finish = r#"{"status":"execution_failed","errorMessage":"no"}"#;
    stage.post(&format!("/runlog/v1/runs/{RUN}/finish"), finish).await;
    let get = async |path: &str, token: &str| stage.send(Method::GET, path, Ask::with(&[]).by(token)).await.json();
    for (token, seen) in [(&viewer, 1), (&nobody, 0), (&stage.admin, 1)] {
        let overview = get("/runlog/v1/overview", token).await;
        assert_eq!(overview["total"]["failed"], seen);
        assert_eq!(overview["buckets"].as_array().unwrap().len(), 48);
        let buckets: u64 =
            overview["buckets"].as_array().unwrap().iter().map(|bucket| bucket["failed"].as_u64().unwrap()).sum();
        assert_eq!(buckets, seen);
        let failing = get("/runlog/v1/overview/tasks?failing=true", token).await;
        assert_eq!(failing["total"], seen);
    }
    let task = get("/runlog/v1/overview/tasks?name=NIGHT", &viewer).await["items"][0].clone();
    assert_eq!((task["failed"].as_u64(), task["recent"][0]["errors"].as_u64()), (Some(1), Some(1)));
    assert_eq!(get("/runlog/v1/overview/tasks?name=other", &viewer).await["total"], 0);
    let runs = get(&format!("/runlog/v1/tasks/{}/runs?status=execution_failed", stage.task), &viewer).await;
    assert_eq!((runs["total"].as_u64(), runs["items"][0]["errorMessage"].as_str()), (Some(1), Some("no")));
    let durations =
        async |query: &str| get(&format!("/runlog/v1/tasks/{}/durations{query}", stage.task), &viewer).await;
    let all = durations("").await;
    assert_eq!((&all["runs"], all["medianMs"].is_u64(), all["p95Ms"].is_u64()), (&1.into(), true, true), "{all}");
    assert_eq!(durations("?status=execution_successful").await, serde_json::json!({"runs": 0}));
    assert_eq!(get("/runlog/v1/overview", &viewer).await["unexplained"], 1);
    stage.clock.advance_ms(60_000);
    while stage.store.maintenance().seal().await.unwrap().runs > 0 {}
    runlog_analysis::summarize_all(stage.store.summaries(), stage.store.logs()).await.unwrap();
    assert_eq!(get("/runlog/v1/overview", &viewer).await["unexplained"], 0);
    let last = get("/runlog/v1/overview/tasks?failing=true", &viewer).await["items"][0]["lastFailure"].clone();
    assert_eq!(last["headline"], serde_json::Value::Null, "who may not read the log does not see its texts: {last}");
    let last = get("/runlog/v1/overview/tasks?failing=true", &reader).await["items"][0]["lastFailure"].clone();
    assert!(last["headline"].as_str().is_some_and(|headline| !headline.is_empty()), "why it failed: {last}");
    for (token, is_seen) in [(&viewer, false), (&reader, true)] {
        for path in [format!("/runlog/v1/tasks/{}/runs", stage.task), "/runlog/v1/runs".to_owned()] {
            let runs = get(&path, token).await;
            let items = runs["items"].as_array().unwrap();
            assert_eq!(items.iter().any(|run| run["headline"].is_string()), is_seen, "{path}: {runs}");
        }
    }
    stage.clock.advance_ms(25 * 3_600_000);
    assert_eq!(get("/runlog/v1/overview/tasks?failing=true", &viewer).await["total"], 0);
    let task = get("/runlog/v1/overview/tasks?order=lastRun&reversed=true", &viewer).await["items"][0].clone();
    assert_eq!(task["runs"], 0, "no run of the last day");
    assert_eq!((&task["recent"][0]["runId"], task.get("lastFailure")), (&RUN.into(), None));
    assert_eq!(get("/runlog/v1/overview/tasks?tag=none", &viewer).await["total"], 0);
    let wrong = stage.send(Method::GET, "/runlog/v1/overview/tasks?order=size", Ask::with(&[]).by(&viewer)).await;
    wrong.is_error(400, &["order", "lastFailure"]);
}

#[tokio::test]
async fn workspaces_are_listed_with_the_numbers_of_their_tasks_and_runs() {
    let stage = Stage::new().await;
    let (viewer, nobody) = (stage.user("viewer", &[Right::View]).await, stage.user("nobody", &[]).await);
    stage.push(&log(&["ERROR"])).await;
    stage.post(&format!("/runlog/v1/runs/{RUN}/finish"), r#"{"status":"execution_failed"}"#).await;
    let other = stage.other_workspace().await;
    let list = async |query: &str, token: &str| {
        let path = format!("/runlog/v1/overview/workspaces{query}");
        stage.send(Method::GET, &path, Ask::with(&[]).by(token)).await.json()
    };
    let seen = list("", &viewer).await;
    let own = &seen["items"][0];
    assert_eq!((&seen["total"], &own["workspaceId"]), (&1.into(), &stage.workspace.to_string().into()));
    let counts = ["tasks", "runs", "failed", "going"].map(|name| own[name].as_u64());
    assert_eq!((counts, own["lastRun"].is_string()), ([Some(1), Some(1), Some(1), Some(0)], true), "{own}");
    assert_eq!(list("", &nobody).await["total"], 0);

    let order = async |query: &str| {
        let items = list(query, &stage.admin).await["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["workspaceId"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (first, second) = (stage.workspace.to_string(), other.id.to_string());
    for by in ["tasks", "runs", "failed", "lastRun"] {
        assert_eq!(order(&format!("?order={by}")).await, [first.clone(), second.clone()], "{by}");
        assert_eq!(order(&format!("?order={by}&reversed=true")).await, [second.clone(), first.clone()], "{by}");
    }
    assert_eq!(order("?name=OTHER").await, std::slice::from_ref(&second));
    assert!(order(&format!("?environmentId={}", other.environment.id)).await.contains(&second));
    assert_eq!(order("?limit=1&order=runs&offset=1").await, std::slice::from_ref(&second));

    // Runs that are older than the period are not counted; the last one is still named.
    stage.clock.advance_ms(25 * 3_600_000);
    let own = list("", &viewer).await["items"][0].clone();
    assert_eq!((&own["runs"], own["lastRun"].is_string()), (&0.into(), true));
    stage
        .send(Method::GET, "/runlog/v1/overview/workspaces?order=size", Ask::with(&[]).by(&viewer))
        .await
        .is_error(400, &["order", "lastRun"]);
}

#[tokio::test]
async fn a_run_that_timed_out_has_failed_and_one_that_a_user_terminated_has_not() {
    let stage = Stage::new().await;
    let end = async |number: usize, status: &str| {
        let run = format!("/runlog/v1/runs/6c0e5a34-0000-4000-8000-00000000000{number}");
        let task = format!(r#"{{"taskId":"{}"}}"#, stage.task);
        assert!(stage.ask(Method::PUT, &run, task).await.status.is_success());
        assert_eq!(stage.post(&format!("{run}/finish"), format!(r#"{{"status":"{status}"}}"#)).await.status, 200);
        stage.clock.advance_ms(1_000);
    };
    end(1, "terminated").await;
    let counts = async || {
        let total = stage.get("/runlog/v1/overview").await.json()["total"].clone();
        let failing = stage.get("/runlog/v1/overview/tasks?failing=true").await.json();
        (total["failed"].clone(), total["terminated"].clone(), failing["items"][0]["failed"].clone())
    };
    assert_eq!(counts().await, (json!(0), json!(1), Value::Null));
    end(2, "terminated_timeout").await;
    end(3, "terminated_shutdown").await;
    end(4, "terminated").await;
    assert_eq!(counts().await, (json!(2), json!(2), json!(2)));
    let tasks = stage.get("/runlog/v1/overview/tasks?failing=true").await.json();
    assert_eq!(tasks["items"][0]["lastFailure"]["status"], "terminated_shutdown");
}

#[tokio::test]
async fn everyone_keeps_queries_for_themselves() {
    let stage = Stage::new().await;
    let kim = stage.user("kim", &[]).await;
    let path = "/runlog/v1/queries/by%20day%20%2F%20task";
    let send = async |method, body: &'static str, token: &str| {
        stage.send(method, path, Ask::with(&[]).by(token).body(body)).await
    };
    assert_eq!(send(Method::PUT, r#"{"query":"SELECT 1"}"#, &kim).await.json()["name"], "by day / task");
    assert_eq!(send(Method::PUT, r#"{"query":"SELECT 2"}"#, &kim).await.status, 200);
    let list = async |token: &str| stage.send(Method::GET, "/runlog/v1/queries", Ask::with(&[]).by(token)).await.json();
    assert_eq!(list(&kim).await[0]["query"], "SELECT 2");
    assert_eq!(list(&stage.admin).await, json!([]));
    send(Method::DELETE, "", &stage.admin).await.is_error(404, &["saved query"]);
    send(Method::PUT, r#"{"query":" "}"#, &kim).await.is_error(400, &["query"]);
    assert_eq!(send(Method::DELETE, "", &kim).await.status, 204);
    assert_eq!(list(&kim).await, json!([]));
}

#[tokio::test]
async fn the_root_path_serves_json_to_programs_and_html_to_browsers() {
    let stage = Stage::new().await;
    let ask = async |path: &str, accept: &str| stage.send(Method::GET, path, Ask::with(&[("accept", accept)])).await;
    assert_eq!(ask("/", "*/*").await.json()["name"], "Runlog");
    stage.send(Method::GET, "/nothing", Ask::with(&[])).await.is_error(404, &["GET / lists"]);
    stage.send(Method::POST, "/tasks", Ask::with(&[("accept", "text/html")])).await.is_error(404, &["GET / lists"]);
    for path in ["/", "/tasks", "/runs/x"] {
        let page = ask(path, "text/html,*/*").await;
        // If the web UI was not built, the response explains how to build it.
        if page.status == 404 {
            page.is_error(404, &["make web"]);
            continue;
        }
        assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
        assert!(page.header("content-security-policy").starts_with("default-src 'none'; script-src 'self'"));
        assert_eq!(page.header("cache-control"), "no-cache");
        let again = Ask::with(&[("accept", "text/html"), ("if-none-match", page.header("etag"))]);
        assert_eq!(stage.send(Method::GET, path, again).await.status, 304);
        let script = page.text().split('"').find(|part| part.starts_with("/assets/")).unwrap().to_owned();
        let packed = stage.send(Method::GET, &script, Ask::with(&[("accept-encoding", "gzip, br")])).await;
        assert_eq!(
            (packed.header("content-encoding"), packed.header("content-type")),
            ("br", "text/javascript; charset=utf-8")
        );
        assert!(packed.header("cache-control").contains("immutable"));
    }
}
