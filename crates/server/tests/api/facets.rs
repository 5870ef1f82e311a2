//! Facets of a search.

use axum::http::Method;
use runlog_model::Timestamp;
use runlog_model::wire::admin::NewTask;
use runlog_model::workspaces::Right;
use serde_json::{Value, json};

use crate::support::{Ask, RUN, Stage};

/// 2026-11-23T22:30:00Z.
const EVENING_MS: i64 = 1_795_473_000_000;
const OTHER: &str = "6c0e5a34-0000-4000-8000-000000000002";

fn line(time: i64, severity: &str, component: Option<&str>, message: &str) -> String {
    let mut line = json!({ "logTimestamp": time, "severity": severity, "logMessage": message });
    if let Some(component) = component {
        line["bundleName"] = json!(component);
    }
    format!("{line}\n")
}

impl Stage {
    /// Two runs of two tasks in two workspaces.
    async fn two_runs(&self) {
        let lines = [
            line(EVENING_MS, "ERROR", Some("tMap_1"), "needle one"),
            line(EVENING_MS + 3_600_000, "INFO", Some("tMap_1"), "needle two"),
            line(EVENING_MS + 7_200_000, "WARN", None, "needle three"),
            line(EVENING_MS + 7_200_000, "INFO", Some("tOther"), "something else"),
        ];
        self.push(&lines.concat()).await;
        let workspace_id = self.other_workspace().await.id;
        let name = "hourly".to_owned();
        let task = NewTask { id: None, workspace_id, name, version: None, description: None, tags: Vec::new() };
        let task = self.store.workspaces().create_task(&task).await.unwrap().id;
        let start = format!(r#"{{"taskId":"{task}"}}"#);
        assert_eq!(self.ask(Method::PUT, &format!("/runlog/v1/runs/{OTHER}"), start).await.status, 201);
        let line = line(EVENING_MS, "ERROR", Some("a, b"), "needle of another");
        assert_eq!(self.post(&format!("/runlog/v1/runs/{OTHER}/records"), line).await.status, 200);
    }

    async fn facets(&self, query: &str) -> Value {
        let answer = self.get(&format!("/runlog/v1/search/facets?{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }
}

/// The values of a facet with their counts.
fn counts(facet: &Value) -> Vec<(String, u64)> {
    let count = |value: &Value| (value["value"].as_str().unwrap().to_owned(), value["count"].as_u64().unwrap());
    facet["values"].as_array().unwrap().iter().map(count).collect()
}

fn pairs(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
    pairs.iter().map(|(value, count)| ((*value).to_owned(), *count)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn matches_are_counted_by_their_fields() {
    let stage = Stage::new().await;
    stage.two_runs().await;
    // Unsealed, and sealed together.
    for status in ["executing", "execution_successful"] {
        let all = stage.facets("q=needle").await;
        assert_eq!((&all["records"], &all["complete"]), (&json!(4), &json!(true)));
        assert_eq!(counts(&all["severities"]), pairs(&[("ERROR", 2), ("WARN", 1), ("INFO", 1)]));
        assert_eq!(counts(&all["components"])[0], ("tMap_1".to_owned(), 2));
        assert!(counts(&all["components"]).contains(&(String::new(), 1)));
        let tasks = all["tasks"]["values"].as_array().unwrap();
        assert_eq!((&tasks[0]["name"], &tasks[0]["count"]), (&json!("nightly"), &json!(3)));
        assert_eq!(counts(&all["workspaces"])[0], (stage.workspace.to_string(), 3));
        assert_eq!(counts(&all["days"]), pairs(&[("2026-11-23T00:00:00.000Z", 3), ("2026-11-24T00:00:00.000Z", 1)]));
        assert_eq!(counts(&all["statuses"]), pairs(&[(status, 4)]));
        let local = stage.facets("q=needle&utcOffset=120").await;
        assert_eq!(counts(&local["days"]), pairs(&[("2026-11-23T22:00:00.000Z", 4)]));

        // A chosen value narrows the search and its facets.
        let task = tasks[0]["value"].as_str().unwrap();
        assert_eq!(stage.facets(&format!("q=needle&taskId={task}&severity=WARN,ERROR")).await["records"], 2);
        assert_eq!(stage.facets("q=needle&component=tMap_1").await["records"], 2);
        assert_eq!(stage.facets("q=needle&component=a,%20b&component=tMap_1").await["records"], 3);
        assert_eq!(stage.facets("q=needle&from=2026-11-24T00:00:00Z").await["records"], 1);
        assert_eq!(stage.facets("q=nothing-has-this").await["tasks"], json!({ "values": [], "others": 0 }));
        let found = stage.get("/runlog/v1/search?q=needle&component=a,%20b").await.json();
        assert_eq!(found["items"].as_array().unwrap().len(), 1);

        for run in [RUN, OTHER] {
            stage.post(&format!("/runlog/v1/runs/{run}/finish"), r#"{"status":"execution_successful"}"#).await;
        }
        stage.clock.advance_ms(86_400_000);
        while stage.store.maintenance().seal().await.unwrap().runs > 0 {}
    }
}

/// The buckets with records: when they begin, and how many INFO, WARN and ERROR records they have.
fn bars(histogram: &Value) -> Vec<(i64, [u64; 3])> {
    let Some(start) = histogram["start"].as_str() else { return Vec::new() };
    let (start, bucket_ms) = (start.parse::<Timestamp>().unwrap(), histogram["bucketMs"].as_i64().unwrap());
    let begin = |index: usize| start.as_millis() + i64::try_from(index).unwrap() * bucket_ms;
    let bars = histogram["buckets"].as_array().unwrap().iter().enumerate();
    let bars = bars.map(|(index, counts)| (begin(index), [3, 4, 5].map(|severity| counts[severity].as_u64().unwrap())));
    bars.filter(|(_, counts)| *counts != [0; 3]).collect()
}

#[tokio::test]
async fn matches_are_counted_over_time() {
    let stage = Stage::new().await;
    stage.two_runs().await;
    // Without a start, from the first to the last of them; 120 buckets of one minute would not be enough.
    let all = &stage.facets("q=needle").await["histogram"];
    assert_eq!((&all["bucketMs"], all["buckets"].as_array().unwrap().len()), (&json!(300_000), 25));
    let hour = |hours: i64| EVENING_MS + hours * 3_600_000;
    let expected = [(hour(0), [0, 0, 2]), (hour(1), [1, 0, 0]), (hour(2), [0, 1, 0])];
    assert_eq!(bars(all), expected);
    // With a start and an end, the whole range.
    let query = "q=needle&from=2026-11-23T00:00:00Z&to=2026-11-29T23:59:59Z";
    let week = &stage.facets(query).await["histogram"];
    assert_eq!((&week["start"], &week["bucketMs"]), (&json!("2026-11-23T00:00:00.000Z"), &json!(10_800_000)));
    assert_eq!(week["buckets"].as_array().unwrap().len(), 7 * 8);
    // Buckets begin at round times of the requested zone: at 22:00 UTC, it is midnight at UTC+02:00.
    let local = &stage.facets(&format!("{query}&utcOffset=120")).await["histogram"];
    assert_eq!(bars(local), [(hour(0) - 1_800_000, [1, 1, 2])]);
    let none = &stage.facets("q=nothing-has-this").await["histogram"];
    assert_eq!(none, &json!({ "bucketMs": 1_000, "buckets": [] }));
}

#[tokio::test]
async fn a_status_of_runs_narrows_a_search_and_its_counts() {
    let stage = Stage::new().await;
    stage.two_runs().await;
    stage.post(&format!("/runlog/v1/runs/{OTHER}/finish"), r#"{"status":"execution_failed"}"#).await;
    let failed = stage.facets("q=needle&status=execution_failed,terminated").await;
    assert_eq!((&failed["records"], counts(&failed["statuses"])), (&json!(1), pairs(&[("execution_failed", 1)])));
    let items = stage.get("/runlog/v1/search?q=needle&status=execution_failed").await.json()["items"].clone();
    assert_eq!((items.as_array().unwrap().len(), &items[0]["runId"]), (1, &json!(OTHER)));
    assert_eq!(stage.facets("q=needle&status=terminated").await["records"], 0);
    stage.get("/runlog/v1/search?q=needle&status=broken").await.is_error(400, &["status", "broken"]);
}

#[tokio::test]
async fn only_what_the_caller_may_read_is_counted() {
    let stage = Stage::new().await;
    stage.two_runs().await;
    let reader = stage.user("reader", &Right::READ_LOGS).await;
    let nobody = stage.user("nobody", &[]).await;
    let path = "/runlog/v1/search/facets?q=needle";
    let seen = stage.send(Method::GET, path, Ask::with(&[]).by(&reader)).await.json();
    assert_eq!((&seen["records"], counts(&seen["workspaces"]).len()), (&json!(3), 1));
    assert_eq!(stage.send(Method::GET, path, Ask::with(&[]).by(&nobody)).await.json()["records"], 0);
    let workspace = stage.workspace;
    let there = format!("{path}&workspaceId={workspace}");
    stage.send(Method::GET, &there, Ask::with(&[]).by(&nobody)).await.is_error(403, &[&workspace.to_string()]);
    let many = "&component=x".repeat(51);
    stage.get(&format!("{path}{many}")).await.is_error(400, &["component"]);
    stage.get(&format!("{path}&utcOffset=5000")).await.is_error(400, &["utcOffset"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_records_make_the_counts_lower_bounds() {
    let stage = Stage::new().await;
    stage.two_runs().await;
    let objects: Vec<_> = walk(stage.folder().join("objects"));
    assert!(!objects.is_empty());
    std::fs::write(&objects[0], b"damaged").unwrap();
    let all = stage.facets("q=needle").await;
    assert_eq!(all["complete"], false);
    assert!(all["records"].as_u64().unwrap() < 4);
}

fn walk(folder: std::path::PathBuf) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(path) } else { vec![path] }).collect()
}
