//! Tables for lakehouses with rows of the catalog: runs, tasks and component metrics.

use axum::http::Method;
use runlog_store::lakehouse::LakeTableKind;
use serde_json::{Value, json};

use crate::support::{Answer, Stage};

/// How long a table stays as it was written.
const EVERY_MS: i64 = runlog_store::limits::LAKE_VIEW_EVERY_MS;

fn run(number: u32) -> String {
    format!("6c0e5a34-0000-4000-8000-0000000008{number:02}")
}

impl Stage {
    async fn load(&self, table: &str) -> Answer {
        self.get(&format!("{}/namespaces/team/tables/{table}", self.prefix().await)).await
    }

    /// The metadata of a table of the usual workspace.
    async fn metadata(&self, table: &str) -> Value {
        let answer = self.load(table).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["metadata"].clone()
    }

    async fn rows_of(&self, table: &str) -> u64 {
        let metadata = self.metadata(table).await;
        let snapshots = metadata["snapshots"].as_array().unwrap();
        assert_eq!(snapshots.len(), 1);
        assert_eq!(snapshots[0]["snapshot-id"], metadata["current-snapshot-id"]);
        assert_eq!(snapshots[0]["summary"]["total-position-deletes"], "0");
        snapshots[0]["summary"]["total-records"].as_str().unwrap().parse().unwrap()
    }

    /// The files of a table, below the data folder.
    async fn files_of(&self, table: &str) -> Vec<String> {
        let list = self.metadata(table).await["snapshots"][0]["manifest-list"].as_str().unwrap().to_owned();
        let manifests = self.named_in(&list);
        manifests.iter().flat_map(|manifest| self.named_in(manifest)).collect()
    }

    async fn put_components(&self, run: &str, count: usize) {
        let items: Vec<Value> = (0..count)
            .map(|number| {
                json!({"pid": "p1", "connector_type": "tDBOutput", "connector_label": "output",
                    "connector_id": format!("tDBOutput_{number}"), "component_start_time_seconds": 1_795_434_000})
            })
            .collect();
        let process = json!({"process_id": "j", "job_name": "Main", "pid": "p1", "father_pid": "p0", "root_pid": "p0"});
        let body = json!({"processes": [process], "items": items}).to_string();
        let path = format!("/runlog/v1/runs/{run}/component-metrics");
        assert_eq!(self.ask(Method::PUT, &path, body).await.status, 200);
    }

    async fn delete_log_of(&self, run: &str) {
        assert_eq!(self.ask(Method::DELETE, &format!("/monitoring/executions/{run}/logs"), "").await.status, 200);
    }

    async fn number(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&mut self.catalog().await).await.unwrap()
    }

    fn later(&self) {
        self.clock.advance_ms(EVERY_MS);
    }
}

fn exists(address: &str) -> bool {
    std::path::Path::new(address.strip_prefix("file://").unwrap()).exists()
}

const OBJECTS: &str = "SELECT COUNT(*) FROM lake_objects";

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_has_the_tables_of_sql_with_the_rows_of_its_workspace() {
    let stage = Stage::of_lake().await;
    let listed = stage.get(&format!("{}/namespaces/team/tables", stage.prefix().await)).await.json();
    let names: Vec<&str> =
        listed["identifiers"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["records", "runs", "tasks", "component_metrics"]);
    for (table, rows) in [("runs", 0), ("tasks", 1), ("component_metrics", 0)] {
        assert_eq!(stage.rows_of(table).await, rows, "{table}");
    }
    stage.ended_run(&run(1), stage.task, [1_000, 2_000]).await;
    let task = stage.task_in(stage.other_workspace().await.id).await;
    stage.ended_run(&run(2), task, [1_000]).await;
    stage.put_components(&run(1), 3).await;
    stage.put_components(&run(2), 2).await;
    stage.later();
    let mut uuids = Vec::new();
    for (table, rows) in [("runs", 1), ("tasks", 1), ("component_metrics", 3)] {
        assert_eq!(stage.rows_of(table).await, rows, "{table}: a run is there before its log is sealed");
        assert_eq!(stage.files_of(table).await.len(), 1, "{table}");
        uuids.push(stage.metadata(table).await["table-uuid"].clone());
    }
    uuids.push(stage.metadata("records").await["table-uuid"].clone());
    uuids.sort_by_key(Value::to_string);
    uuids.dedup();
    assert_eq!(uuids.len(), 4, "each table is one of its own");
}

/// Names and types are those of `DESCRIBE`; engines know columns by their ids.
#[tokio::test(flavor = "multi_thread")]
async fn columns_are_those_of_sql() {
    let stage = Stage::of_lake().await;
    for kind in LakeTableKind::ALL.into_iter().filter(|kind| *kind != LakeTableKind::Records) {
        let table = kind.name();
        let query = json!({ "query": format!("DESCRIBE {table}") }).to_string();
        let described = stage.post("/runlog/v1/sql", query).await;
        assert_eq!(described.status, 200, "{}", described.text());
        let of_sql: Vec<(String, &str, bool)> = described
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|column| {
                let kind = match column["data_type"].as_str().unwrap() {
                    "LargeUtf8" | "Utf8" | "Utf8View" => "string",
                    "Int64" => "long",
                    "Boolean" => "boolean",
                    time if time.starts_with("Timestamp") => "timestamptz",
                    other => panic!("{table} has a column of type {other}"),
                };
                (column["column_name"].as_str().unwrap().to_owned(), kind, column["is_nullable"] == "NO")
            })
            .collect();
        let metadata = stage.metadata(table).await;
        let schema = &metadata["schemas"][0];
        assert_eq!(schema["schema-id"], metadata["current-schema-id"]);
        let fields = schema["fields"].as_array().unwrap();
        let of_iceberg: Vec<(String, &str, bool)> = fields
            .iter()
            .map(|field| {
                let text = |name: &str| field[name].as_str().unwrap();
                (text("name").to_owned(), text("type"), field["required"].as_bool().unwrap())
            })
            .collect();
        assert_eq!(of_iceberg, of_sql, "{table}");
        let ids: Vec<u64> = fields.iter().map(|field| field["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.iter().max(), metadata["last-column-id"].as_u64().as_ref(), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_written_anew_when_its_rows_have_changed_and_not_more_often_than_every_few_seconds() {
    let stage = Stage::of_lake().await;
    stage.ended_run(&run(1), stage.task, [1_000]).await;
    let first = stage.load("runs").await;
    let objects = stage.number(OBJECTS).await;
    stage.ended_run(&run(2), stage.task, [1_000]).await;
    stage.clock.advance_ms(EVERY_MS - 1);
    assert_eq!(stage.load("runs").await.json(), first.json());
    stage.clock.advance_ms(1);
    let second = stage.load("runs").await.json();
    assert_eq!(second["metadata"]["snapshots"][0]["summary"]["total-records"], "2");
    assert_eq!(second["metadata"]["last-sequence-number"], 2);
    assert_eq!(stage.number(OBJECTS).await, 2 * objects);
    assert_eq!(stage.number("SELECT COUNT(*) FROM lake_objects WHERE replaced_at IS NOT NULL").await, objects);
    // The same rows are read again, and nothing is written.
    stage.later();
    assert_eq!(stage.load("runs").await.json(), second);
    assert_eq!(stage.number(OBJECTS).await, 2 * objects);
    assert_eq!(stage.number("SELECT COUNT(*) FROM intents WHERE object_key LIKE 'lake/%'").await, 0);

    // Readers that are under way have an hour.
    let before = first.json()["metadata-location"].as_str().unwrap().to_owned();
    stage.store.maintenance().sweep().await.unwrap();
    assert!(exists(&before));
    stage.clock.advance_ms(2 * 3_600_000);
    stage.store.maintenance().sweep().await.unwrap();
    assert!(!exists(&before));
    assert!(stage.files_of("runs").await.iter().all(|file| exists(file)));
    let verified = stage.store.maintenance().verify(false, |_| ()).await.unwrap();
    assert_eq!((verified.problems, verified.orphans), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_gone_from_the_next_load_and_its_files_from_the_next_sweep() {
    let stage = Stage::of_lake().await;
    for number in 1..=2 {
        stage.ended_run(&run(number), stage.task, [1_000, 2_000]).await;
        stage.put_components(&run(number), 2).await;
    }
    assert_eq!(stage.rows_of("component_metrics").await, 4);
    let before = stage.files_of("component_metrics").await;
    let runs_before = stage.files_of("runs").await;
    stage.delete_log_of(&run(1)).await;
    assert_eq!(stage.rows_of("component_metrics").await, 2, "at once, although the table was written just now");
    assert_eq!(stage.rows_of("runs").await, 2, "a run stays when its log is deleted");
    assert_ne!(stage.files_of("runs").await, runs_before, "but it has no records any more");
    let now = stage.files_of("component_metrics").await;
    stage.store.maintenance().sweep().await.unwrap();
    assert!(before.iter().chain(&runs_before).all(|file| !exists(file)), "what showed it does not wait for readers");
    assert!(now.iter().all(|file| exists(file)));

    // Whether or not the table is loaded again.
    stage.delete_log_of(&run(2)).await;
    stage.store.maintenance().sweep().await.unwrap();
    assert!(now.iter().all(|file| !exists(file)));
    assert_eq!(stage.rows_of("component_metrics").await, 0);

    let new = stage.task_in(stage.workspace).await;
    stage.later();
    assert_eq!(stage.rows_of("tasks").await, 2);
    let gone = stage.ask(Method::DELETE, &format!("/runlog/v1/tasks/{new}"), "").await;
    assert!(gone.status.is_success(), "{}", gone.text());
    assert_eq!(stage.rows_of("tasks").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_is_followed_at_once_and_a_log_under_legal_hold_stays() {
    let stage = Stage::of_lake().await;
    for number in 1..=2 {
        stage.ended_run(&run(number), stage.task, [1_000]).await;
        stage.put_components(&run(number), 1).await;
    }
    let hold = r#"{"reason":"a claim"}"#;
    assert!(stage.ask(Method::PUT, &format!("/runlog/v1/runs/{}/hold", run(1)), hold).await.status.is_success());
    let retention = format!("/runlog/v1/workspaces/{}/retention", stage.workspace);
    assert!(stage.ask(Method::PUT, &retention, r#"{"days":1}"#).await.status.is_success());
    stage.clock.advance_ms(3 * 86_400_000);
    assert_eq!(stage.rows_of("component_metrics").await, 2);
    stage.store.maintenance().apply_retention().await.unwrap();
    assert_eq!(stage.rows_of("component_metrics").await, 1);
}

/// A deletion that comes while a table is being read is not missed: the snapshot is not committed.
#[tokio::test(flavor = "multi_thread")]
async fn deletions_and_loads_at_the_same_time_leave_nothing_that_was_deleted() {
    let stage = Stage::of_lake().await;
    for number in 1..=12 {
        stage.ended_run(&run(number), stage.task, [1_000]).await;
        stage.put_components(&run(number), 20).await;
    }
    for number in 1..=12 {
        let run = run(number);
        let (_, rows) = tokio::join!(stage.delete_log_of(&run), stage.rows_of("component_metrics"));
        let (before, after) = (20 * u64::from(13 - number), 20 * u64::from(12 - number));
        assert!(rows == before || rows == after, "{rows}");
        assert_eq!(stage.rows_of("component_metrics").await, after);
    }
    stage.store.maintenance().sweep().await.unwrap();
    let verified = stage.store.maintenance().verify(false, |_| ()).await.unwrap();
    assert_eq!((verified.problems, verified.orphans), (0, 0));
}

/// Rows are read in batches.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_has_any_number_of_rows() {
    let stage = Stage::of_lake().await;
    for (number, count) in [(1, 8_192), (2, 0), (3, 9_000), (4, 1)] {
        stage.ended_run(&run(number), stage.task, [1_000]).await;
        stage.put_components(&run(number), count).await;
    }
    assert_eq!(stage.rows_of("component_metrics").await, 17_193);
    assert_eq!(stage.rows_of("runs").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_file_is_found_and_written_again() {
    let stage = Stage::of_lake().await;
    stage.ended_run(&run(1), stage.task, [1_000]).await;
    let file = stage.files_of("runs").await[0].clone();
    std::fs::remove_file(file.strip_prefix("file://").unwrap()).unwrap();
    let verified = stage.store.maintenance().verify(true, |_| ()).await.unwrap();
    assert_eq!((verified.problems, verified.repaired), (1, 1), "{:?}", verified.problem_texts);
    assert_eq!(stage.rows_of("runs").await, 1);
    assert!(stage.files_of("runs").await.iter().all(|file| exists(file)));
    assert_eq!(stage.store.maintenance().verify(false, |_| ()).await.unwrap().problems, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_are_counted_by_table() {
    let stage = Stage::of_lake().await;
    for _ in 0..3 {
        stage.rows_of("tasks").await;
    }
    stage.rows_of("records").await;
    stage.load("others").await;
    let text = stage.get("/metrics").await.text();
    for line in [
        r#"runlog_iceberg_loads_total{table="tasks"} 3"#,
        r#"runlog_iceberg_loads_total{table="records"} 1"#,
        r#"runlog_iceberg_loads_total{table="runs"} 0"#,
        r#"runlog_iceberg_load_errors_total{table="tasks"} 0"#,
        r#"runlog_iceberg_load_duration_seconds_count{table="tasks"} 3"#,
        r#"runlog_iceberg_snapshots_total{table="tasks"} 1"#,
        r#"runlog_iceberg_snapshots_total{table="runs"} 0"#,
        r#"runlog_iceberg_signatures_total{outcome="signed"} 0"#,
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    assert!(!text.contains("others"), "names that are sent do not become series");
    // A table whose data cannot be written is an error.
    std::fs::remove_dir_all(stage.folder().join("objects/lake")).unwrap();
    std::fs::write(stage.folder().join("objects/lake"), "in the way").unwrap();
    assert!(stage.load("runs").await.status.is_server_error());
    let text = stage.get("/metrics").await.text();
    assert!(text.contains(r#"runlog_iceberg_load_errors_total{table="runs"} 1"#), "{text}");
}
