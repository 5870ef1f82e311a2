//! A bucket that becomes unavailable: callers get 503 with a time to retry, never 500, and never an incomplete file
//! with 200.

use std::path::Path;

use axum::http::Method;
use futures::StreamExt;
use runlog_server::ServerSettings;
use serde_json::json;

use crate::backends;
use crate::gate::{Gate, Passage};
use crate::support::{Ask, RUN, Stage, lines};

const SECOND: i64 = 1_630_479_705_000;

/// A service with a log, whose objects are in a bucket that can be made unavailable.
async fn stage(records: i64) -> (Stage, Gate, std::path::PathBuf) {
    let (url, folder, gate) = backends::gated_bucket();
    let stage = Stage::with(|settings| settings.objects = Some(url), |_| ()).await;
    stage.push(&lines((0..records).map(|number| SECOND + number))).await;
    (stage, gate, folder)
}

fn logs() -> String {
    format!("/monitoring/executions/{RUN}/logs")
}

fn page_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let pages = std::fs::read_dir(folder.join("pages")).into_iter().flatten();
    pages.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_from_a_bucket_that_is_away_is_503_and_comes_when_it_is_back() {
    let (stage, gate, _) = stage(2_000).await;
    let link = stage.link("").await;
    let whole = stage.send(Method::GET, &link, Ask::with(&[])).await;
    assert_eq!(whole.status, 200);
    gate.set(Passage::Closed);
    for headers in [&[][..], &[("range", "bytes=5-9")], &[("accept-encoding", "zstd")]] {
        let refused = stage.send(Method::GET, &link, Ask::with(headers)).await;
        refused.is_error(503, &["unavailable"]);
        assert_eq!(refused.header("retry-after"), "2", "{headers:?}");
    }
    gate.set(Passage::Open);
    assert_eq!(stage.send(Method::GET, &link, Ask::with(&[])).await.body, whole.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_reads_records_is_503_while_the_bucket_is_away() {
    let (stage, gate, _) = stage(50).await;
    gate.set(Passage::Closed);
    let range = format!("start={}&end={}", SECOND / 1_000 - 60, SECOND / 1_000 + 60);
    let loki = |path: &str, query: &str| {
        let query = serde_urlencoded::to_string([("query", query)]).unwrap();
        format!("/loki/api/v1/{path}?{query}&{range}")
    };
    let run = |path: &str| format!("/runlog/v1/runs/{RUN}/{path}");
    let paths = [
        logs(),
        run("records"),
        run("histogram"),
        run("log"),
        "/runlog/v1/search?q=whole".to_owned(),
        "/runlog/v1/search/facets?q=whole".to_owned(),
        loki("query_range", "{workspace=~\".+\"}"),
        loki("query_range", "sum(count_over_time({workspace=~\".+\"} |= `o` [1m]))"),
        loki("patterns", "{workspace=~\".+\"}"),
        loki("detected_fields", "{workspace=~\".+\"}"),
    ];
    let sql = stage.post("/runlog/v1/sql", json!({"query": "SELECT max(message) FROM records"}).to_string());
    let reading = futures::future::join_all(paths.iter().map(|path| stage.get(path)));
    let (sql, answers) = tokio::join!(sql, reading);
    for (path, answer) in paths.iter().map(String::as_str).chain(["SQL"]).zip(answers.iter().chain([&sql])) {
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "2"), "{path}: {}", answer.text());
    }
    gate.set(Passage::Open);
    let answers = futures::future::join_all(paths.iter().map(|path| stage.get(path))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
}

/// Each request counted as one without a valid token, so that valid tokens were refused with 429 for as long as the catalog
/// was away.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_cannot_be_verified_while_the_catalog_is_away_do_not_count_as_wrong() {
    let (url, gate) = backends::gated_database();
    let limited = |settings: &mut ServerSettings| settings.anonymous_requests_per_second = 2;
    let stage = Stage::with(|settings| settings.catalog = Some(url), limited).await;
    gate.set(Passage::Closed);
    let away = futures::future::join_all((0..8).map(|_| stage.get("/runlog/v1/users"))).await;
    gate.set(Passage::Open);
    away.iter().for_each(|answer| answer.is_error(503, &["nothing was changed"]));
    assert_eq!(stage.get("/runlog/v1/users").await.status, 200);
    let wrong = stage.send(Method::GET, "/runlog/v1/users", Ask::with(&[]).by("wrong")).await;
    assert_eq!(wrong.status, 401);
}

/// The status was 500 for this token, even after the bucket was available again.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_page_cannot_be_built_for_now_is_in_progress_and_ready_later() {
    let (stage, gate, _) = stage(10).await;
    let page = stage.post(&logs(), "").await.json();
    let status = async || stage.post(&format!("{}/status", logs()), page["token"].as_str().unwrap().to_owned()).await;
    gate.set(Passage::Closed);
    for _ in 0..4 {
        assert!(stage.store.pages().build_next_page().await.is_err());
        let answer = status().await;
        assert_eq!((answer.status.as_u16(), answer.json()["status"].as_str()), (200, Some("IN_PROGRESS")));
        stage.clock.advance_ms(20_000);
    }
    gate.set(Passage::Open);
    assert!(stage.store.pages().build_next_page().await.unwrap());
    assert_eq!(status().await.json()["status"], "READY");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_breaks_later_is_no_end() {
    // In parts of one mebibyte: more than is read ahead.
    let (stage, gate, _) = stage(0).await;
    let text = "some text ".repeat(2_000);
    for batch in 0..3 {
        let record =
            |number: i64| format!("{{\"logTimestamp\":{},\"logMessage\":\"{text}\"}}\n", SECOND + batch * 100 + number);
        stage.push(&(0..100).map(record).collect::<String>()).await;
    }
    let link = stage.link("").await;
    let response = stage.begin(Method::GET, &link, Ask::with(&[])).await;
    let length: u64 = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let mut body = response.into_body().into_data_stream();
    let mut received = body.next().await.unwrap().unwrap().len() as u64;
    gate.set(Passage::Closed);
    let mut has_broken = false;
    while let Some(next) = body.next().await {
        match next {
            Ok(bytes) => received += bytes.len() as u64,
            Err(_) => has_broken = true,
        }
    }
    assert!(has_broken && received < length, "{received} of {length} bytes, and an end");
}

/// Damaged data was served as if it were correct.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_rebuilt_for_a_download() {
    let (stage, _, folder) = stage(5_000).await;
    let link = stage.link("").await;
    let whole = stage.send(Method::GET, &link, Ask::with(&[])).await.body;
    for headers in [&[][..], &[("accept-encoding", "zstd")], &[("range", "bytes=0-")]] {
        let file = page_files(&folder).remove(0);
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let answer = stage.send(Method::GET, &link, Ask::with(headers)).await;
        let body = match answer.header("content-encoding") {
            "zstd" => zstd::decode_all(&answer.body[..]).unwrap(),
            _ => answer.body.clone(),
        };
        assert!(body == whole, "{headers:?}");
        assert_eq!(page_files(&folder).len(), 1, "the damaged one is gone");
    }
}

/// A flipped bit in a stored object resulted in another record, or in failing searches.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_damaged_are_an_error_that_names_their_object() {
    let (stage, _, folder) = stage(500).await;
    let segments = std::fs::read_dir(folder.join("segments")).unwrap().flat_map(|year| files(&year.unwrap().path()));
    let file = segments.into_iter().next().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let object = file.file_name().unwrap().to_str().unwrap().to_owned();

    let answer = stage.get(&logs()).await;
    answer.is_error(500, &["could not read stored data"]);
    assert!(answer.text().contains(&object) && answer.text().contains("runlog archive verify"), "{}", answer.text());
    // Clients do not retry it.
    assert_eq!(answer.json()["code"], "damaged");

    let other = "6c0e5a34-0000-4000-8000-000000000002";
    stage.start_as(other).await;
    let line = json!({"logTimestamp": SECOND, "logMessage": "whole beside it"}).to_string();
    assert_eq!(stage.post(&format!("/runlog/v1/runs/{other}/records"), line).await.status, 200);
    let found = stage.get("/runlog/v1/search?q=whole").await;
    assert_eq!(found.status, 200, "{}", found.text());
    let found = found.json();
    assert_eq!(found["items"][0]["runId"], other);
    let unreadable = &found["unreadable"];
    assert_eq!((&unreadable["records"], &unreadable["runs"]), (&json!(500), &json!([RUN])));
    assert!(unreadable["objects"][0].as_str().unwrap().ends_with(&object), "{unreadable}");

    let mut is_told = false;
    for _ in 0..100 {
        let text = stage.get("/metrics").await.text();
        is_told = text.contains("runlog_archive_objects_damaged 1");
        if is_told {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(is_told);
    let findings = stage.store.maintenance().diagnose().await;
    let finding = findings.iter().find(|finding| finding.what == "stored records").unwrap();
    assert!(finding.seen.contains(&object) && finding.advice.is_some(), "{finding:?}");
}

/// Queries over a damaged object failed without its name, and no condition on the run left it out.
#[tokio::test(flavor = "multi_thread")]
async fn queries_over_a_damaged_object_name_it_and_the_run_and_can_leave_the_run_out() {
    let (stage, _, folder) = stage(500).await;
    let segments = std::fs::read_dir(folder.join("segments")).unwrap().flat_map(|year| files(&year.unwrap().path()));
    let file = segments.into_iter().next().unwrap();
    std::fs::remove_file(&file).unwrap();
    let object = file.file_name().unwrap().to_str().unwrap().to_owned();
    let other = "6c0e5a34-0000-4000-8000-000000000002";
    stage.start_as(other).await;
    let line = json!({"logTimestamp": SECOND, "logMessage": "whole beside it"}).to_string();
    assert_eq!(stage.post(&format!("/runlog/v1/runs/{other}/records"), line).await.status, 200);

    let query = async |condition: &str| {
        let query = format!("SELECT count(*) AS n, max(message) AS last FROM records WHERE {condition}");
        stage.post("/runlog/v1/sql", json!({"query": query}).to_string()).await
    };
    let answer = query("true").await;
    let condition = format!("run_id NOT IN ('{RUN}')");
    answer.is_error(500, &[&object, &format!("run {RUN}"), "runlog archive verify", &condition]);
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains(&object), "clients show the message: {message}");
    let expected = json!([{"n": 1, "last": "whole beside it"}]);
    for condition in [&condition, &format!("run_id <> '{RUN}'"), &format!("run_id LIKE '{}%'", &other[..8])] {
        // The last condition excludes no run: both begin with the same letters.
        let answer = query(condition).await;
        match condition.contains("LIKE") {
            false => assert_eq!((answer.status.as_u16(), answer.json()), (200, expected.clone()), "{}", answer.text()),
            true => answer.is_error(500, &[&object]),
        }
    }

    for path in ["histogram", "records"] {
        let answer = stage.get(&format!("/runlog/v1/runs/{RUN}/{path}")).await;
        answer.is_error(500, &[&object, "runlog archive verify"]);
    }
    // A report says it in its part about the log, and has what is known of the run without it.
    for (path, part) in
        [("report", "log"), ("patterns", "log"), (&*format!("diff/{other}"), "before"), ("report?brief=true", "")]
    {
        let answer = stage.get(&format!("/runlog/v1/runs/{RUN}/{path}")).await;
        assert!(answer.status == 200 && answer.text().contains(&object), "{path}: {}", answer.text());
        if !part.is_empty() {
            let json = answer.json();
            let log = if part == "log" { &json["log"] } else { &json[part]["log"] };
            assert_eq!((log["state"].as_str(), log["records"].as_u64()), (Some("damaged"), Some(500)), "{log}");
        }
    }
    assert_eq!(
        stage.get(&format!("/runlog/v1/runs/{other}/diff/{RUN}")).await.json()["after"]["log"]["state"],
        "damaged"
    );
    let range = format!("start={}&end={}", SECOND / 1_000 - 60, SECOND / 1_000 + 60);
    let loki = async |path: &str, query: &str| {
        let query = serde_urlencoded::to_string([("query", query)]).unwrap();
        stage.get(&format!("/loki/api/v1/{path}?{query}&{range}")).await
    };
    for (path, query) in [
        ("query_range", "{workspace=~\".+\"}"),
        ("query_range", "sum(count_over_time({workspace=~\".+\"} |= `o` [1m]))"),
        ("patterns", "{workspace=~\".+\"}"),
    ] {
        let answer = loki(path, query).await;
        let text = answer.text();
        assert!(answer.status == 500 && text.contains(&object) && text.contains(RUN), "{path} {query}: {text}");
        let answer = loki(path, &query.replace('}', &format!(", run_id!~\"{RUN}\"}}"))).await;
        assert_eq!(answer.status, 200, "{path} {query}: {}", answer.text());
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
