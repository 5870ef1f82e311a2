//! The catalog of Apache Iceberg: what it offers to whom, and which logs are in its tables.

use axum::http::Method;
use runlog_model::wire::admin::NewTask;
use runlog_model::workspaces::Right;
use runlog_model::{TaskId, WorkspaceId};
use runlog_store::lakehouse::LakeTableKind;
use runlog_store::{Store, StoreSettings};
use serde_json::Value;

use crate::support::{Answer, Ask, Stage, lines};

fn run(number: u32) -> String {
    format!("6c0e5a34-0000-4000-8000-0000000009{number:02}")
}

impl Stage {
    pub(crate) async fn of_lake() -> Self {
        Self::with(|settings| settings.lake = true, |_| ()).await
    }

    /// A run of a task with records at these times, that has ended.
    pub(crate) async fn ended_run(&self, run: &str, task: TaskId, times: impl IntoIterator<Item = i64>) {
        let start = format!(r#"{{"taskId":"{task}"}}"#);
        assert!(self.ask(Method::PUT, &format!("/runlog/v1/runs/{run}"), start).await.status.is_success());
        let answer = self.post(&format!("/runlog/v1/runs/{run}/records"), lines(times)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let finish = r#"{"status":"execution_successful"}"#;
        assert_eq!(self.post(&format!("/runlog/v1/runs/{run}/finish"), finish).await.status, 200);
    }

    pub(crate) async fn seal(&self) {
        self.clock.advance_ms(60_000);
        while self.store.maintenance().seal().await.unwrap().runs > 0 {}
    }

    /// The prefix of the catalog's paths.
    pub(crate) async fn prefix(&self) -> String {
        let config = self.get("/iceberg/v1/config").await;
        assert_eq!(config.status, 200, "{}", config.text());
        format!("/iceberg/v1/{}", config.json()["overrides"]["prefix"].as_str().unwrap())
    }

    pub(crate) async fn table_of(&self, namespace: &str) -> Answer {
        let namespace = namespace.replace(' ', "%20");
        self.get(&format!("{}/namespaces/{namespace}/tables/records", self.prefix().await)).await
    }

    /// The current snapshot of the table of the usual workspace.
    async fn snapshot(&self) -> Value {
        let table = self.table_of("team").await;
        assert_eq!(table.status, 200, "{}", table.text());
        let metadata = &table.json()["metadata"];
        assert_eq!(metadata["snapshots"].as_array().unwrap().len(), 1);
        assert_eq!(metadata["snapshots"][0]["snapshot-id"], metadata["current-snapshot-id"]);
        metadata["snapshots"][0].clone()
    }

    /// Rows, rows that are hidden, and files of the table.
    async fn counts(&self) -> [u64; 3] {
        let snapshot = self.snapshot().await;
        ["total-records", "total-position-deletes", "total-data-files"]
            .map(|name| snapshot["summary"][name].as_str().unwrap().parse().unwrap())
    }

    pub(crate) async fn task_in(&self, workspace: WorkspaceId) -> TaskId {
        let name = "hourly".to_owned();
        let new =
            NewTask { id: None, workspace_id: workspace, name, version: None, description: None, tags: Vec::new() };
        self.store.workspaces().create_task(&new).await.unwrap().id
    }

    /// The files below the data folder that the bytes of a manifest or a list name.
    pub(crate) fn named_in(&self, address: &str) -> Vec<String> {
        let bytes = std::fs::read(address.strip_prefix("file://").unwrap()).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let ends = [".avro", ".parquet"];
        let end = |from: &str| ends.iter().filter_map(|end| Some(from.find(end)? + end.len())).min();
        text.match_indices("file:///").filter_map(|(at, _)| Some(text[at..at + end(&text[at..])?].to_owned())).collect()
    }

    /// The files of the table: all that its manifests name.
    async fn files(&self) -> Vec<String> {
        let list = self.snapshot().await["manifest-list"].as_str().unwrap().to_owned();
        let manifests = self.named_in(&list);
        let mut files: Vec<String> = manifests.iter().flat_map(|manifest| self.named_in(manifest)).collect();
        files.sort();
        files.dedup();
        files
    }
}

#[tokio::test]
async fn without_the_option_there_is_no_catalog() {
    let stage = Stage::new().await;
    let answer = stage.get("/iceberg/v1/config").await;
    assert_eq!(answer.status, 501);
    let error = &answer.json()["error"];
    assert_eq!((error["type"].as_str(), error["code"].as_u64()), (Some("UnsupportedOperationException"), Some(501)));
    assert!(error["message"].as_str().unwrap().contains("--iceberg"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_has_the_sealed_logs_of_its_workspace_and_no_others() {
    let stage = Stage::of_lake().await;
    assert_eq!(stage.counts().await, [0, 0, 0], "a workspace without logs has an empty table");
    let other = stage.other_workspace().await;
    let task = stage.task_in(other.id).await;
    stage.ended_run(&run(1), stage.task, [1_000, 2_000]).await;
    stage.ended_run(&run(2), task, [1_000, 2_000, 3_000]).await;
    stage.ended_run(&run(3), stage.task, [4_000]).await;
    assert_eq!(stage.counts().await, [0, 0, 0], "what is not sealed is not in the table");
    stage.seal().await;
    assert_eq!(stage.counts().await, [3, 0, 1], "small runs of a workspace share a file");
    let theirs = stage.table_of(&other.name).await.json();
    assert_eq!(theirs["metadata"]["snapshots"][0]["summary"]["total-records"], "3");
    assert_ne!(theirs["metadata"]["table-uuid"], stage.table_of("team").await.json()["metadata"]["table-uuid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_changes_only_with_the_logs() {
    let stage = Stage::of_lake().await;
    stage.ended_run(&run(1), stage.task, [1_000]).await;
    stage.seal().await;
    let first = stage.table_of("team").await;
    let again = stage.table_of("team").await;
    assert_eq!(first.json(), again.json());
    let ask = Ask::with(&[("if-none-match", first.header("etag"))]).by(&stage.admin);
    let path = format!("{}/namespaces/team/tables/records", stage.prefix().await);
    assert_eq!(stage.send(Method::GET, &path, ask).await.status, 304);
    stage.ended_run(&run(2), stage.task, [1_000]).await;
    assert_eq!(stage.table_of("team").await.json(), first.json(), "what is pushed is not sealed yet");
    stage.seal().await;
    let second = stage.table_of("team").await.json();
    assert_ne!(second["metadata"]["current-snapshot-id"], first.json()["metadata"]["current-snapshot-id"]);
    assert_eq!(
        second["metadata"]["last-sequence-number"],
        first.json()["metadata"]["last-sequence-number"].as_u64().unwrap() + 1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_log_is_gone_at_once_and_the_others_in_its_file_stay() {
    let stage = Stage::of_lake().await;
    for number in 1..=3 {
        stage.ended_run(&run(number), stage.task, [1_000, 2_000]).await;
    }
    stage.seal().await;
    assert_eq!(stage.counts().await, [6, 0, 1]);
    let before = stage.files().await;
    assert_eq!(stage.ask(Method::DELETE, &format!("/monitoring/executions/{}/logs", run(2)), "").await.status, 200);
    assert_eq!(stage.counts().await, [6, 2, 1], "its rows are hidden");
    assert_eq!(stage.files().await.len(), 2, "the file, and the one that hides its rows");
    stage.seal().await;
    assert_eq!(stage.counts().await, [4, 0, 1], "the others are in a file of their own");
    let after = stage.files().await;
    assert!(after.iter().all(|file| !before.contains(file)), "{before:?} {after:?}");
    for number in [1, 3] {
        assert_eq!(
            stage.ask(Method::DELETE, &format!("/monitoring/executions/{}/logs", run(number)), "").await.status,
            200
        );
    }
    assert_eq!(stage.counts().await, [0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_records_are_in_the_table_once() {
    let stage = Stage::of_lake().await;
    stage.ended_run(&run(1), stage.task, [1_000, 3_000]).await;
    stage.ended_run(&run(2), stage.task, [1_000, 2_000]).await;
    stage.seal().await;
    stage.post(&format!("/runlog/v1/runs/{}/records", run(1)), lines([2_000])).await;
    assert_eq!(stage.counts().await, [4, 0, 1]);
    stage.seal().await;
    let [rows, hidden, _] = stage.counts().await;
    assert_eq!(rows - hidden, 5);

    // What is hidden stays so when the table gets further files: engines apply deletes only to files of data that are not
    // newer, and files are as new as their manifest.
    stage.ended_run(&run(3), stage.task, [1_000]).await;
    stage.seal().await;
    let [rows, hidden, _] = stage.counts().await;
    assert_eq!(rows - hidden, 6);
    assert!(hidden > 0, "the records of before are in their file still");
    let group: String =
        sqlx::query_scalar("SELECT manifests FROM lake_groups").fetch_one(&mut stage.catalog().await).await.unwrap();
    let group: Value = serde_json::from_str(&group).unwrap();
    let sequence = |content: &str| {
        let manifests = group["manifests"].as_array().unwrap();
        manifests.iter().find(|manifest| manifest["content"] == content).unwrap()["sequence"].as_i64().unwrap()
    };
    assert!(sequence("Data") <= sequence("Deletes"), "{group}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_under_legal_hold_stays_and_retention_takes_the_others() {
    let stage = Stage::of_lake().await;
    for number in 1..=2 {
        stage.ended_run(&run(number), stage.task, [1_000]).await;
    }
    stage.seal().await;
    let hold = r#"{"reason":"a claim"}"#;
    assert!(stage.ask(Method::PUT, &format!("/runlog/v1/runs/{}/hold", run(1)), hold).await.status.is_success());
    let retention = format!("/runlog/v1/workspaces/{}/retention", stage.workspace);
    assert!(stage.ask(Method::PUT, &retention, r#"{"days":1}"#).await.status.is_success());
    stage.clock.advance_ms(3 * 86_400_000);
    stage.store.maintenance().apply_retention().await.unwrap();
    let [rows, hidden, _] = stage.counts().await;
    assert_eq!(rows - hidden, 1);
    stage.seal().await;
    assert_eq!(stage.counts().await, [1, 0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_were_replaced_are_swept_and_the_current_ones_stay() {
    let stage = Stage::of_lake().await;
    stage.ended_run(&run(1), stage.task, [1_000]).await;
    stage.seal().await;
    let first = stage.table_of("team").await.json()["metadata-location"].as_str().unwrap().to_owned();
    stage.ended_run(&run(2), stage.task, [1_000]).await;
    stage.seal().await;
    let second = stage.table_of("team").await.json()["metadata-location"].as_str().unwrap().to_owned();
    let is_there = |address: &str| std::path::Path::new(address.strip_prefix("file://").unwrap()).exists();
    stage.store.maintenance().sweep().await.unwrap();
    assert!(is_there(&first), "readers that are under way have an hour");
    stage.clock.advance_ms(2 * 3_600_000);
    stage.store.maintenance().sweep().await.unwrap();
    assert!(!is_there(&first));
    assert!(is_there(&second) && stage.files().await.iter().all(|file| is_there(file)));
    let verified = stage.store.maintenance().verify(false, |_| ()).await.unwrap();
    assert_eq!((verified.problems, verified.orphans), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_before_are_in_the_tables_when_they_were_sealed_again() {
    let stage = Stage::new().await;
    stage.ended_run(&run(1), stage.task, [1_000]).await;
    let task = stage.task_in(stage.other_workspace().await.id).await;
    stage.ended_run(&run(2), task, [1_000, 2_000]).await;
    stage.seal().await;
    let settings = StoreSettings { lake: true, ..StoreSettings::in_folder(stage.folder()) };
    let store = Store::open(settings, stage.clock.clone(), stage.random.clone()).await.unwrap();
    let total = async || {
        let metadata: Value =
            serde_json::from_str(&store.lake().table(stage.workspace, LakeTableKind::Records).await.unwrap().metadata)
                .unwrap();
        metadata["snapshots"][0]["summary"]["total-records"].as_str().unwrap().to_owned()
    };
    assert_eq!(total().await, "0", "the file has runs of two workspaces");
    assert_eq!(store.maintenance().files_omitted_from_tables().await.unwrap().records, 3);
    let findings = store.maintenance().diagnose().await;
    let of_tables = findings.iter().find(|finding| finding.what == "tables").unwrap();
    assert!(of_tables.seen.contains("3 records"), "{}", of_tables.seen);
    let mut after = String::new();
    while store.maintenance().seal_for_tables(&mut after).await.unwrap() > 0 {
        while store.maintenance().seal().await.unwrap().runs > 0 {}
    }
    assert_eq!(total().await, "1");
    assert_eq!(store.maintenance().files_omitted_from_tables().await.unwrap().files, 0);
    assert_eq!(
        stage.get(&format!("/monitoring/executions/{}/logs", run(2))).await.json()["data"].as_array().map(Vec::len),
        Some(2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_a_workspace_whose_logs_they_may_not_read() {
    let stage = Stage::of_lake().await;
    let other = stage.other_workspace().await;
    stage.ended_run(&run(1), stage.task, [1_000]).await;
    stage.seal().await;
    let prefix = stage.prefix().await;
    let reader = stage.user("reader", &Right::READ_LOGS).await;
    let stranger = stage.user_in(other.id, "stranger", &Right::READ_LOGS).await;
    let viewer = stage.user("viewer", &[Right::View]).await;
    let get = async |path: &str, token: &str| {
        stage.send(Method::GET, &format!("{prefix}{path}"), Ask::with(&[]).by(token)).await
    };
    assert_eq!(get("/namespaces", &reader).await.json()["namespaces"], serde_json::json!([["team"]]));
    assert_eq!(get("/namespaces", &stranger).await.json()["namespaces"], serde_json::json!([[other.name]]));
    assert_eq!(get("/namespaces", &viewer).await.json()["namespaces"], serde_json::json!([]));
    for path in [
        "/namespaces/team",
        "/namespaces/team/tables",
        "/namespaces/team/tables/records",
        "/namespaces/team/tables/runs",
        "/namespaces/team/tables/tasks",
        "/namespaces/team/tables/component_metrics",
    ] {
        assert_eq!(get(path, &reader).await.status, 200, "{path}");
        for token in [&stranger, &viewer] {
            let refused = get(path, token).await;
            assert_eq!(refused.status, 404, "{path}");
            assert_eq!(refused.json()["error"]["type"], "NoSuchNamespaceException");
        }
        // The same answer as for a workspace that does not exist.
        let unknown = get(&path.replace("team", "none"), &stranger).await.text();
        assert_eq!(unknown.replace("none", "team"), get(path, &stranger).await.text());
    }
    assert_eq!(get("/namespaces/team/tables/others", &reader).await.json()["error"]["type"], "NoSuchTableException");
    let report = format!("{prefix}/namespaces/team/tables/records/metrics");
    for (token, status) in [(&reader, 204), (&stranger, 404)] {
        assert_eq!(stage.send(Method::POST, &report, Ask::with(&[]).by(token).body("{}")).await.status, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_can_be_written() {
    let stage = Stage::of_lake().await;
    let prefix = stage.prefix().await;
    for (method, path) in [
        (Method::POST, "/namespaces"),
        (Method::DELETE, "/namespaces/team"),
        (Method::POST, "/namespaces/team/tables"),
        (Method::POST, "/namespaces/team/tables/records"),
        (Method::DELETE, "/namespaces/team/tables/records"),
    ] {
        assert_eq!(stage.ask(method.clone(), &format!("{prefix}{path}"), "{}").await.status, 405, "{method} {path}");
    }
    let unknown = stage.get("/iceberg/v1/config?warehouse=elsewhere").await;
    assert_eq!(
        (unknown.status.as_u16(), unknown.json()["error"]["type"].as_str()),
        (404, Some("NoSuchWarehouseException"))
    );
}

/// Clients of a catalog read errors of one form only, whoever answers.
#[tokio::test(flavor = "multi_thread")]
async fn every_error_has_the_form_of_the_catalog() {
    let stage = Stage::of_lake().await;
    let prefix = stage.prefix().await;
    let error = |answer: &Answer| {
        let body = answer.json();
        (body["error"]["type"].as_str().unwrap_or_default().to_owned(), body["error"]["code"].as_u64())
    };
    let nobody = stage.send(Method::GET, "/iceberg/v1/config", Ask::with(&[])).await;
    assert_eq!(error(&nobody), ("NotAuthorizedException".to_owned(), Some(401)));
    assert_eq!(error(&stage.get("/iceberg/v1/elsewhere/x/y").await), ("NotFoundException".to_owned(), Some(404)));
    let wrong = stage.ask(Method::DELETE, &format!("{prefix}/namespaces/team"), "").await;
    assert_eq!(error(&wrong), ("UnsupportedOperationException".to_owned(), Some(405)));
    let form_type = [("content-type", "application/x-www-form-urlencoded")];
    let form = "grant_type=client_credentials&client_id=a&client_secret=b";
    let refused = stage.send(Method::POST, "/iceberg/v1/oauth/tokens", Ask::with(&form_type).body(form)).await;
    assert_eq!((refused.status.as_u16(), refused.json()["error"].as_str()), (401, Some("invalid_client")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_known_is_neither_loaded_nor_sent() {
    let stage = Stage::of_lake().await;
    let prefix = stage.prefix().await;
    for (path, status) in [("/namespaces/team", 204), ("/namespaces/team/tables/records", 204), ("/namespaces/x", 404)]
    {
        assert_eq!(stage.ask(Method::HEAD, &format!("{prefix}{path}"), "").await.status, status, "{path}");
    }
    let path = format!("{prefix}/namespaces/team/tables/records");
    let tag = stage.get(&path).await.header("etag").to_owned();
    for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}")] {
        let asked = Ask::with(&[("if-none-match", &known)]).by(&stage.admin);
        assert_eq!(stage.send(Method::GET, &path, asked).await.status, 304, "{known}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_environments_cannot_be_tried() {
    let stage = Stage::of_lake().await;
    let reader = stage.user("one who reads", &[Right::Author, Right::View, Right::Execute]).await;
    let stranger = stage.user("one who does not", &[]).await;
    let get = |name: &'static str, token: String| {
        let stage = &stage;
        async move {
            let path = format!("/iceberg/v1/config?warehouse={name}");
            stage.send(Method::GET, &path, Ask::with(&[]).by(&token)).await
        }
    };
    assert_eq!(get("default", stage.admin.clone()).await.status, 200);
    assert_eq!(get("default", reader).await.status, 200);
    let unknown = get("elsewhere", stranger.clone()).await;
    let hidden = get("default", stranger).await;
    assert_eq!((hidden.status, unknown.status.as_u16()), (unknown.status, 404));
    assert_eq!(hidden.text(), unknown.text().replace("elsewhere", "default"));
}

#[tokio::test(flavor = "multi_thread")]
async fn service_accounts_get_their_token_from_the_catalog() {
    let stage = Stage::of_lake().await;
    let body = r#"{"name":"engine"}"#;
    let account = stage.post("/account/service-accounts", body).await.json();
    let (id, secret) = (account["id"].as_str().unwrap(), account["secret"].as_str().unwrap_or_default());
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}&scope=catalog");
    let form_type = [("content-type", "application/x-www-form-urlencoded")];
    let answer = stage.send(Method::POST, "/iceberg/v1/oauth/tokens", Ask::with(&form_type).body(form)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let config = stage.send(Method::GET, "/iceberg/v1/config", Ask::with(&[]).by(&token)).await;
    assert_eq!(config.status, 200, "{}", config.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_sealed_for_lakehouses_reads_as_before() {
    let (usual, lake) = (Stage::new().await, Stage::of_lake().await);
    let times = [-62_135_596_800_000, -1, 0, 1, 1_795_434_000_123, 253_402_000_000_999];
    let mut answers = Vec::new();
    for stage in [&usual, &lake] {
        stage.ended_run(&run(1), stage.task, times).await;
        stage.seal().await;
        let mut of_stage = Vec::new();
        for path in [
            format!("/runlog/v1/runs/{}/records", run(1)),
            format!("/monitoring/executions/{}/logs?startTime=1970-01-01T00:00:00.000Z", run(1)),
            format!("/runlog/v1/runs/{}/histogram", run(1)),
        ] {
            let answer = stage.get(&path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            of_stage.push(answer.text());
        }
        let queries = [
            "SELECT time, arrival, message FROM records ORDER BY time, arrival",
            "SELECT count(*) AS count FROM records WHERE time >= '1970-01-01' AND time < '1970-01-01T00:00:00.001Z'",
            "SELECT count(*) AS count FROM records WHERE time < '1970-01-01'",
        ];
        for query in queries {
            let answer = stage.post("/runlog/v1/sql", serde_json::json!({ "query": query }).to_string()).await;
            assert_eq!(answer.status, 200, "{query}: {}", answer.text());
            of_stage.push(answer.text());
        }
        let verified = stage.store.maintenance().verify(false, |_| ()).await.unwrap();
        assert_eq!((verified.problems, verified.records), (0, 6));
        answers.push(of_stage);
    }
    assert_eq!(answers[0], answers[1]);
    assert!(answers[1][4].contains('1') && answers[1][5].contains('2'), "{:?}", answers[1]);
}

/// The files of a group share a manifest: a change writes that one, the list and the metadata.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_rewrites_only_the_manifest_of_its_group() {
    let stage = Stage::of_lake().await;
    stage.ended_run(&run(1), stage.task, [1_000]).await;
    stage.seal().await;
    for statement in [
        "INSERT INTO segments (id, object_key, bytes, records, created_at, sha256, merged, statistics, workspace_id, file_group)
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2999)
         SELECT 'f' || i, 'sealed/2026/11/27/' || i || '.parquet', 1000, 10, 0, '', 1, s.statistics, s.workspace_id, i / 1000
         FROM n, segments s WHERE s.statistics IS NOT NULL",
        "INSERT INTO slices (run_id, segment_id, first_row, records, first_arrival, last_arrival, first_time, last_time, sealed)
         SELECT r.id, g.id, 0, 10, 1000 + g.rowid * 10, 1009 + g.rowid * 10, 1000, 1000, 1 FROM runs r, segments g
         WHERE g.id LIKE 'f%' AND g.bytes = 1000",
        "UPDATE lake_tables SET files = 3000, version = version + 1",
        "INSERT INTO lake_groups (workspace_id, number, version)
         SELECT t.workspace_id, n.i, t.version FROM lake_tables t, (SELECT 0 AS i UNION SELECT 1 UNION SELECT 2) n WHERE TRUE
         ON CONFLICT (workspace_id, number) DO UPDATE SET version = excluded.version",
    ] {
        stage.sql(statement).await;
    }
    let objects = async |condition: &'static str| -> i64 {
        sqlx::query_scalar(condition).fetch_one(&mut stage.catalog().await).await.unwrap()
    };
    assert_eq!(stage.counts().await, [2_999 * 10 + 1, 0, 3_000]);
    let current = "SELECT COUNT(*) FROM lake_objects WHERE replaced_at IS NULL";
    let replaced = "SELECT COUNT(*) FROM lake_objects WHERE replaced_at IS NOT NULL";
    let before = (objects(current).await, objects(replaced).await);
    assert_eq!(before.0, 3 + 2, "three manifests, the list and the metadata");
    let longest: i64 =
        sqlx::query_scalar("SELECT MAX(bytes) FROM lake_objects").fetch_one(&mut stage.catalog().await).await.unwrap();
    assert!(longest < 1_000_000, "{longest} bytes");
    for statement in [
        "UPDATE slices SET records = 9 WHERE segment_id = 'f1500'",
        "UPDATE lake_tables SET version = version + 1",
        "UPDATE lake_groups SET version = (SELECT version FROM lake_tables) WHERE number = 1",
    ] {
        stage.sql(statement).await;
    }
    assert_eq!(stage.counts().await, [2_999 * 10 + 1, 1, 3_000]);
    // One manifest is replaced, and one of deletes comes with the file of deletes.
    let after = (objects(current).await, objects(replaced).await);
    assert_eq!((after.0 - before.0, after.1 - before.1), (2, 2), "the manifest of the files is the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_manifest_is_found_and_written_again() {
    let stage = Stage::of_lake().await;
    stage.ended_run(&run(1), stage.task, [1_000]).await;
    stage.seal().await;
    let list = stage.snapshot().await["manifest-list"].as_str().unwrap().to_owned();
    std::fs::remove_file(list.strip_prefix("file://").unwrap()).unwrap();
    let verified = stage.store.maintenance().verify(true, |_| ()).await.unwrap();
    assert_eq!((verified.problems, verified.repaired), (1, 1), "{:?}", verified.problem_texts);
    assert_eq!(stage.counts().await, [1, 0, 1]);
    assert_eq!(stage.files().await.len(), 1);
    assert_eq!(stage.store.maintenance().verify(false, |_| ()).await.unwrap().problems, 0);
}
