//! Pages of a log: requested, built, downloaded.

use crate::support::{Ask, RUN, Stage, lines};
use axum::http::Method;
use serde_json::{Value, json};

const SECOND: i64 = 1_630_479_705_000;

fn logs() -> String {
    format!("/monitoring/executions/{RUN}/logs")
}

#[tokio::test]
async fn pages_are_partial_until_one_reaches_the_beginning() {
    let stage = Stage::with(|settings| settings.page_records_max = 10, |_| ()).await;
    stage.push(&lines((0..25).map(|number| SECOND + number * 1_000))).await;
    let (mut query, mut seen) = (String::new(), Vec::new());
    for expected in [(206, 10), (206, 10), (200, 5)] {
        let page = stage.post(&format!("{}{query}", logs()), "").await;
        assert_eq!((page.status.as_u16(), page.json()["size"].as_u64().unwrap()), expected);
        let records = stage.send(Method::GET, &stage.link(&query).await, Ask::with(&[])).await.json();
        seen.extend(records.as_array().unwrap().iter().map(|record| record["logTimestamp"].as_i64().unwrap()));
        query = format!("?endTime={}", page.header("x-log-next-request-end-time"));
    }
    let newest_first: Vec<i64> = (0..25).rev().map(|number| SECOND + number * 1_000).collect();
    assert_eq!(seen, newest_first);
}

#[tokio::test]
async fn a_page_request_and_its_audit_entry_are_one_transaction() {
    let stage = Stage::new().await;
    stage.push(&lines([SECOND])).await;
    let asked = async || stage.get("/runlog/v1/audit").await.text().matches("request page").count();
    for table in ["page_tokens", "audit"] {
        stage
            .sql(match table {
                "audit" => "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END",
                _ => "CREATE TRIGGER full BEFORE INSERT ON page_tokens BEGIN SELECT RAISE(ABORT, 'full'); END",
            })
            .await;
        let refused = stage.post(&logs(), "").await;
        assert!(refused.status.is_server_error(), "{table}: {}", refused.text());
        assert!(!refused.text().contains("token"), "{table}: {}", refused.text());
        assert_eq!(refused.header("x-log-next-request-end-time"), "");
        stage.sql("DROP TRIGGER full").await;
        assert_eq!(asked().await, 0, "{table}");
    }
    assert_eq!(stage.post(&logs(), "").await.status, 200);
    assert_eq!(asked().await, 1);
}

#[tokio::test]
async fn a_page_says_whether_the_log_can_still_grow() {
    let stage = Stage::new().await;
    stage.push(&lines([SECOND])).await;
    let settled = async || stage.post(&logs(), "").await.header("x-runlog-log-settled").to_owned();
    assert_eq!(settled().await, "false");
    let finish = format!("/runlog/v1/runs/{RUN}/finish");
    assert_eq!(stage.post(&finish, r#"{"status":"execution_failed"}"#).await.status, 200);
    assert_eq!(settled().await, "false");
    stage.clock.advance_ms(30_000);
    assert_eq!(settled().await, "true");
}

#[tokio::test]
async fn a_page_says_how_many_records_the_whole_log_has() {
    let stage = Stage::new().await;
    stage.push(&lines([SECOND, SECOND + 1, SECOND + 2_000])).await;
    let page = stage.post(&format!("{}?endTime={}", logs(), "2021-09-01T07:01:46.000Z"), "").await;
    assert_eq!(page.json()["size"], 2, "{SECOND} is 07:01:45");
    assert_eq!(page.header("x-runlog-log-records"), "3");
}

#[tokio::test]
async fn files_have_the_requested_names_and_formats() {
    let stage = Stage::new().await;
    stage.push(&lines([SECOND, SECOND + 1])).await;
    let file = async |query: &str| stage.send(Method::GET, &stage.link(query).await, Ask::with(&[])).await;
    let json = file("").await;
    assert_eq!(json.header("content-type"), "application/json");
    assert_eq!(json.header("content-disposition"), format!("attachment; filename=\"{RUN}.log\""));
    assert_eq!((json.header("x-content-type-options"), json.header("cache-control")), ("nosniff", "no-store"));
    let named = file("?newFileName=true&order=asc").await;
    assert_eq!(named.header("content-disposition"), format!("attachment; filename=\"{}_{RUN}.log\"", stage.task));
    assert_eq!(named.json()[0]["logTimestamp"], SECOND);
    let text = file("?fileFormat=TEXT").await;
    assert_eq!(text.header("content-type"), "text/plain; charset=utf-8");
    assert!(text.text().starts_with("2021-09-01T07:01:45.001Z |"), "{}", text.text());
}

#[tokio::test]
async fn links_support_ranges_and_compression() {
    let stage = Stage::new().await;
    stage.push(&lines((0..1_000).map(|number| SECOND + number))).await;
    let link = stage.link("").await;
    let get = |headers: &[(&'static str, &str)]| {
        let ask = Ask::with(headers);
        stage.send(Method::GET, &link, ask)
    };
    let whole = get(&[]).await;
    assert_eq!(whole.json().as_array().unwrap().len(), 1_000);
    let (length, etag) = (whole.body.len(), whole.header("etag").to_owned());
    assert_eq!(whole.header("content-length"), length.to_string());

    let part = get(&[("range", "bytes=100-199")]).await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &whole.body[100..200]));
    assert_eq!(part.header("content-range"), format!("bytes 100-199/{length}"));
    assert_eq!(get(&[("range", "bytes=-5"), ("if-range", &etag)]).await.body, whole.body[length - 5..]);
    assert_eq!(get(&[("range", "bytes=-5"), ("if-range", "\"other\"")]).await.status, 200);
    get(&[("range", "bytes=9999999-")]).await.is_error(416, &["outside"]);

    let packed = get(&[("accept-encoding", "gzip, zstd")]).await;
    assert_eq!(packed.header("content-encoding"), "zstd");
    assert_eq!(zstd::decode_all(&packed.body[..]).unwrap(), whole.body);
    let ranged = get(&[("accept-encoding", "zstd"), ("range", "bytes=0-0")]).await;
    assert_eq!((ranged.header("content-encoding"), &ranged.body[..]), ("", &b"["[..]));

    let head = stage.send(Method::HEAD, &link, Ask::with(&[])).await;
    assert_eq!((head.status.as_u16(), head.header("content-length"), head.body.len()), (200, &*length.to_string(), 0));
}

#[tokio::test]
async fn altered_and_expired_links_are_distinguished() {
    let stage = Stage::new().await;
    stage.push(&lines([SECOND])).await;
    let link = stage.link("").await;
    let refused = |link: String| {
        let stage = &stage;
        async move { stage.send(Method::GET, &link, Ask::with(&[])).await }
    };
    refused(link.replace(".log", ".exe")).await.is_error(403, &["altered"]);
    refused(link.replace("signature=", "signature=0")).await.is_error(403, &["altered"]);
    refused(link.split('&').next().unwrap().to_owned()).await.is_error(403, &["altered"]);
    let later = link.replacen("expires=1", "expires=2", 1);
    refused(later).await.is_error(403, &["altered"]);
    stage.clock.advance_ms(3_600_000);
    refused(link).await.is_error(403, &["expired"]);
}

#[tokio::test]
async fn the_token_of_a_page_is_taken_in_every_form() {
    let stage = Stage::new().await;
    stage.push(&lines([SECOND])).await;
    let page = stage.post(&logs(), "").await.json();
    let token = page["token"].as_str().unwrap();
    let status = format!("{}/status", logs());
    assert_eq!(stage.post(&status, token.to_owned()).await.json()["status"], "IN_PROGRESS");
    while stage.store.pages().build_next_page().await.unwrap() {}
    for body in [token.to_owned(), format!("\"{token}\""), format!("{{\"token\": \"{token}\"}}"), format!("{token}\n")]
    {
        for kind in ["application/json", "text/plain", "application/x-www-form-urlencoded"] {
            let ask = Ask::with(&[("content-type", kind)]).by(&stage.admin).body(body.clone());
            assert_eq!(stage.send(Method::POST, &status, ask).await.json()["status"], "READY", "{body} as {kind}");
        }
    }
    for body in ["", "[1]", "two words", "{\"tokens\":\"x\"}"] {
        stage.post(&status, body).await.is_error(400, &["token"]);
    }
    stage.post(&status, "6c0e5a34-0000-4000-8000-0000000000ff").await.is_error(404, &[]);
    stage.clock.advance_ms(3_600_001);
    stage.post(&status, token.to_owned()).await.is_error(404, &["expired"]);
}

#[tokio::test]
async fn live_pages_have_a_count_and_continue() {
    let stage = Stage::new().await;
    stage.push(&lines((0..120).map(|number| SECOND + number))).await;
    let page = async |query: &str| stage.get(&format!("{}{query}", logs())).await.json();
    let first = page("").await;
    assert_eq!(
        (first["size"].as_u64(), first["totalSize"].as_u64(), first["nextIndex"].as_u64()),
        (Some(50), Some(120), Some(50))
    );
    assert_eq!(first["data"][0]["logTimestamp"], SECOND + 119);
    let last = page("?count=200&order=ASC&startIndex=100").await;
    assert_eq!((last["size"].as_u64(), last.get("nextIndex")), (Some(20), None));
    let range = page("?startTime=2021-09-01T07:01:45.010Z&endTime=2021-09-01T09:01:45.019%2B02:00&count=0.0").await;
    assert_eq!((range["totalSizeFiltered"].as_u64(), range["size"].as_u64()), (Some(10), Some(0)));
}

#[tokio::test]
async fn bad_input_is_named() {
    let stage = Stage::new().await;
    stage.push(&lines([SECOND])).await;
    let (logs, task) = (logs(), stage.task);
    let executions = format!("/processing/executables/tasks/{task}/executions");
    for (method, path, words) in [
        (Method::POST, format!("{logs}?startTime=yesterday"), "startTime"),
        (Method::POST, format!("{logs}?endTime=2021-13-01T00:00:00Z"), "endTime"),
        (
            Method::POST,
            format!("{logs}?startTime=2021-09-02T00:00:00Z&endTime=2021-09-01T00:00:00Z"),
            "later than endTime",
        ),
        (Method::POST, format!("{logs}?fileFormat=XML"), "fileFormat"),
        (Method::POST, format!("{logs}?order=UP"), "order"),
        (Method::POST, format!("{logs}?newFileName=maybe"), "newFileName"),
        (Method::GET, format!("{logs}?count=201"), "count"),
        (Method::GET, format!("{logs}?count=633.92"), "count"),
        (Method::GET, format!("{logs}?startIndex=-1"), "startIndex"),
        (Method::GET, format!("{executions}?limit=101"), "limit"),
        (Method::GET, format!("{executions}?offset=abc"), "offset"),
        (Method::GET, format!("{executions}?lastDays=61"), "lastDays"),
        (Method::GET, format!("{executions}?status=done"), "status"),
        (Method::GET, format!("{executions}?from=0&to=1795434850000"), "60 days"),
        (Method::GET, "/processing/executables/tasks/xyz/executions".to_owned(), "taskId"),
        (Method::GET, "/processing/executions/5".to_owned(), "executionId"),
        (Method::PUT, "/runlog/v1/runs/5".to_owned(), ""),
    ] {
        stage.ask(method, &path, "").await.is_error(400, &[words]);
    }
    for ok in ["?unknown=1&talendVersion=x", "?startTime=", "?order=asc&order=UP"] {
        assert_eq!(stage.post(&format!("{logs}{ok}"), "").await.status, 200, "{ok}");
    }
    let run = format!("/runlog/v1/runs/{RUN}");
    for (body, words) in [
        ("", "EOF"),
        ("[]", "the body"),
        (r#"{"taskId":"57f64991e4b0b689a64feed2","colour":"red"}"#, "colour"),
        (r#"{"taskId":"x"}"#, "x"),
        (r#"{"taskId":"57f64991e4b0b689a64feed2","executionType":"WHIM"}"#, "WHIM"),
    ] {
        stage.ask(Method::PUT, &run, body).await.is_error(400, &[words]);
    }
    stage.post(&format!("{run}/finish"), r#"{"status":"executing"}"#).await.is_error(400, &["final"]);
}

#[tokio::test]
async fn runs_are_listed_newest_first() {
    let stage = Stage::new().await;
    stage.push(&lines([SECOND])).await;
    let path = format!("/processing/executables/tasks/{}/executions", stage.task);
    let list = stage.get(&path).await.json();
    assert_eq!(
        (list["total"].as_u64(), list["limit"].as_u64(), list["offset"].as_u64()),
        (Some(1), Some(100), Some(0))
    );
    assert_eq!((&list["items"][0]["executionId"], &list["items"][0]["status"]), (&RUN.into(), &"executing".into()));
    assert_eq!(stage.get(&format!("{path}?status=execution_failed")).await.json()["total"], 0);
    let one = stage.get(&format!("/processing/executions/{RUN}")).await.json();
    assert_eq!(one["jobId"], stage.task.to_string());
}

#[tokio::test]
async fn a_log_is_deleted_by_those_who_may_and_can_be_pushed_again() {
    let stage = Stage::new().await;
    stage.push(&lines(0..100)).await;
    let link = stage.link("").await;
    let viewer = stage.user("viewer", &runlog_model::workspaces::Right::ALL).await;
    let refused = stage.send(Method::DELETE, &logs(), Ask::with(&[]).by(&viewer)).await;
    refused.is_error(403, &["EXECUTION_LOGS_DELETE"]);

    let deleted = stage.ask(Method::DELETE, &logs(), "").await.json();
    assert_eq!(deleted["records"], 100);
    assert!(deleted["bytes"].as_u64() > Some(0));
    assert_eq!(stage.get(&logs()).await.json()["totalSize"], 0);
    stage.send(Method::GET, &link, Ask::with(&[])).await.is_error(403, &["expired"]);
    assert_eq!(stage.ask(Method::DELETE, &logs(), "").await.json()["records"], 0);
    assert_eq!(stage.get(&format!("/processing/executions/{RUN}")).await.status, 200);

    stage.push(&lines(0..5)).await;
    assert_eq!(stage.get(&logs()).await.json()["totalSize"], 5);
    stage.ask(Method::DELETE, "/monitoring/executions/x/logs", "").await.is_error(400, &[]);
    let unknown = "/monitoring/executions/6c0e5a34-0000-4000-8000-0000000000ff/logs";
    stage.ask(Method::DELETE, unknown, "").await.is_error(404, &[]);
}

#[tokio::test]
async fn runs_of_all_tasks_are_found_by_place_status_and_tags() {
    let stage = Stage::new().await;
    stage.push(&lines([SECOND])).await;
    let body = format!(r#"{{"workspaceId":"{}","name":"hourly","tags":["critical","50%"]}}"#, stage.workspace);
    let task = stage.post("/runlog/v1/tasks", body).await.json()["executable"].as_str().unwrap().to_owned();
    let run = "/runlog/v1/runs/6c0e5a34-0000-4000-8000-000000000002";
    stage.ask(Method::PUT, run, format!(r#"{{"taskId":"{task}"}}"#)).await;
    let path = "/processing/executables/tasks/executions";
    let total = async |body: &'static str| stage.post(path, body).await.json()["total"].as_u64();
    assert_eq!(stage.get(path).await.json()["total"], 2);
    assert_eq!(total("{}").await, Some(2));
    assert_eq!(total(r#"{"tags":["critical"]}"#).await, Some(1));
    assert_eq!(total(r#"{"tags":["critical","50%"],"lastDays":10}"#).await, Some(1));
    assert_eq!(total(r#"{"tags":["crit"]}"#).await, Some(0));
    assert_eq!(total(r#"{"status":"execution_failed"}"#).await, Some(0));
    stage.post(path, r#"{"tags":"critical"}"#).await.is_error(400, &["tags"]);
    stage.post(path, r#"{"limit":1000}"#).await.is_error(400, &["limit"]);
    let workspace = stage.workspace;
    assert_eq!(stage.get(&format!("{path}?workspaceId={workspace}")).await.json()["total"], 2);
    let elsewhere = format!("{path}?workspaceId={workspace}&environmentId=57f64991e4b0b689a64feed2");
    stage.get(&elsewhere).await.is_error(400, &["is not in environment"]);
    let nobody = stage.user("nobody", &[]).await;
    assert_eq!(stage.send(Method::GET, path, Ask::with(&[]).by(&nobody)).await.json()["total"], 0);
}

#[tokio::test]
async fn tasks_workspaces_and_environments_are_found_by_name() {
    let stage = Stage::new().await;
    let search = "/orchestration/executables/tasks/search";
    assert_eq!(stage.post(search, r#"{"name":"IGHT"}"#).await.json()["total"], 1);
    assert_eq!(stage.post(search, r#"{"name":"100%"}"#).await.json()["total"], 0);
    let task = stage.get(&format!("/orchestration/executables/tasks/{}", stage.task)).await.json();
    assert_eq!((&task["name"], &task["artifact"]["version"]), (&"nightly".into(), &"1.0".into()));
    assert_eq!(stage.get("/processing/executables/tasks?name=night").await.json()["total"], 1);
    assert_eq!(stage.get("/orchestration/executables/plans").await.json()["total"], 0);
    let found = async |query: &str| {
        let list = stage.get(&format!("/orchestration/workspaces?query={query}")).await.json();
        list.as_array().unwrap().len()
    };
    assert_eq!(found("name==TE*").await, 1);
    assert_eq!(found("name==other,environment.name==default").await, 1);
    assert_eq!(found("name==team;environment.name!=default").await, 0);
    stage.get("/orchestration/workspaces?query=colour==red").await.is_error(400, &["colour", "name"]);
    stage.post("/processing/executions", r#"{"executable":"x"}"#).await.is_error(501, &["does not start runs"]);
}

/// `0.1000` came out as `0.1`, `1e5` as `100000.0`, and `-0` as `-0.0`.
#[tokio::test]
async fn numbers_come_out_as_they_were_sent_by_every_way() {
    let stage = Stage::new().await;
    stage.start().await;
    let fields = r#""a":0.1000,"b":{"c":[1e5,-0,1.5,7,{"d":2.50}]},"e":1E-2"#;
    let line = |time: i64| format!(r#"{{"logTimestamp":{time},"logMessage":"m",{fields}}}"#);
    let pushed = stage.post(&format!("/runlog/v1/runs/{RUN}/records"), line(SECOND)).await.json();
    assert_eq!(pushed, json!({"stored": 1}), "nothing was repaired");
    // Sent by an engine itself, and inside of the text and of the object of a shipper.
    let event =
        |text: &str| format!(r#"{{"timestamp":{},"message":{text},"executionId":"{RUN}",{fields}}}"#, SECOND + 1);
    let wrapped = format!(r#"{{"log":{}}}"#, json!(event("2.50")));
    let events = [event("0.1000"), wrapped, format!(r#"{{"event":{}}}"#, event("\"m\""))].join("\n");
    let answer = stage.post("/runlog/v1/events", events).await.json();
    assert_eq!((&answer["stored"], &answer["repaired"]), (&json!(3), &Value::Null), "{answer}");
    for is_sealed in [false, true] {
        if is_sealed {
            let ended =
                stage.post(&format!("/runlog/v1/runs/{RUN}/finish"), r#"{"status":"execution_successful"}"#).await;
            assert!(ended.status.is_success(), "{}", ended.text());
            stage.clock.advance_ms(60_000);
            assert_eq!(stage.store.maintenance().seal().await.unwrap().runs, 1);
        }
        let link = stage.link(if is_sealed { "?order=ASC" } else { "" }).await;
        let sql = json!({"query": "SELECT extra FROM records ORDER BY time, arrival"}).to_string();
        let answers = [
            ("page", stage.send(Method::GET, &link, Ask::with(&[])).await.text()),
            ("live", stage.get(&format!("{}?order=ASC", logs())).await.text()),
            ("records", stage.get(&format!("/runlog/v1/runs/{RUN}/records")).await.text()),
            ("ndjson", stage.get(&format!("/runlog/v1/runs/{RUN}/log?format=ndjson")).await.text()),
            ("json", stage.get(&format!("/runlog/v1/runs/{RUN}/log?format=json")).await.text()),
            ("sql", stage.post("/runlog/v1/sql", sql).await.text().replace("\\\"", "\"")),
        ];
        for (way, text) in answers {
            let (before, after) = fields.split_at(fields.find(r#""e""#).unwrap());
            assert_eq!(text.matches(before).count(), 4, "{way}: {text}");
            assert_eq!(text.matches(after).count(), 4, "{way}: {text}");
            if way != "sql" {
                let messages = [r#""logMessage":"0.1000""#, r#""logMessage":"2.50""#];
                assert!(messages.iter().all(|message| text.contains(message)), "{way}: {text}");
            }
        }
        let asked = json!({"query": "SELECT extra ->> 'a' AS a FROM records LIMIT 1"}).to_string();
        assert_eq!(stage.post("/runlog/v1/sql", asked).await.json()[0]["a"], "0.1000");
    }
}
