//! SQL queries on an archive with two workspaces: the team's, and another one.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use runlog_model::wire::admin::{NewTask, NewWorkspace};
use runlog_model::wire::components::{ComponentMetric, RunComponents};
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{Clock, Random, Record, RunId, RunStatus, TaskId, Timestamp, WorkspaceId};
use runlog_sql::{AnswerFormat, SqlEngine, SqlError, SqlErrorKind, SqlSettings};
use runlog_store::accounts::{Caller, CallerKind};
use runlog_store::{Store, StoreSettings};
use tempfile::TempDir;

#[path = "queries/joins.rs"]
mod joins;
#[path = "queries/json.rs"]
mod json;
#[path = "queries/spill.rs"]
mod spill;
#[path = "queries/times.rs"]
mod times;
#[path = "queries/values.rs"]
mod values;

/// The time of these tests: a whole hour.
const NOW_MS: i64 = 1_795_435_200_000;

struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::clamped(self.0.load(Ordering::Relaxed))
    }
}

#[derive(Default)]
struct TestRandom(AtomicU64);

impl Random for TestRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let number = self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *byte = (number >> 56) as u8;
        }
    }
}

struct Archive {
    store: Store,
    clock: Arc<TestClock>,
    random: Arc<TestRandom>,
    engine: SqlEngine,
    team: WorkspaceId,
    others: WorkspaceId,
    task: TaskId,
    foreign_task: TaskId,
    folder: TempDir,
}

impl Archive {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut SqlSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(NOW_MS)));
        let random = Arc::new(TestRandom::default());
        let settings = StoreSettings::in_folder(folder.path());
        let store = Store::open(settings, clock.clone(), random.clone()).await.unwrap();
        let (team, task) = make_task(&store, "team", "nightly").await;
        let (others, foreign_task) = make_task(&store, "others", "secret plans").await;
        let mut settings = SqlSettings { threads: 2, ..SqlSettings::default() };
        change(&mut settings);
        let engine = SqlEngine::new(store.query().clone(), settings, clock.clone()).unwrap();
        Self { store, clock, random, engine, team, others, task, foreign_task, folder }
    }

    /// A run with these records, which has ended.
    async fn run(&self, task: TaskId, records: &[Record]) -> RunId {
        let id = RunId::random(&*self.random);
        let caller = Caller {
            kind: CallerKind::User,
            id: "00000000-0000-4000-8000-000000000001".to_owned(),
            name: "admin".to_owned(),
            administrator: true,
            permissions: Vec::new(),
        };
        self.store.runs().start(id, &StartRun::of_task(task), &caller).await.unwrap();
        self.push(id, records).await;
        let finish = FinishRun {
            status: RunStatus::Failed,
            finish_timestamp: None,
            error_message: Some("it broke".to_owned()),
            error_type: None,
            misfired_execution_reason: None,
            number_of_processed_rows: Some(7),
            number_of_rejected_rows: None,
        };
        self.store.runs().finish(id, &finish).await.unwrap();
        id
    }

    async fn push(&self, run: RunId, records: &[Record]) {
        let mut batch = self.store.ingest().begin_batch(run, None).await.unwrap();
        for record in records {
            batch.push(record).await.unwrap();
        }
        batch.commit().await.unwrap();
    }

    /// Stores a metric of one component.
    async fn measure(&self, run: RunId, connector_id: &str, rows: u64) {
        let metric = ComponentMetric {
            connector_id: connector_id.to_owned(),
            pid: "p".to_owned(),
            component_start_time_seconds: Some((NOW_MS / 1_000).into()),
            component_connection_rows_total: Some(rows.into()),
            component_execution_duration_milliseconds: Some(2_000.into()),
            ..ComponentMetric::default()
        };
        let components = RunComponents { items: vec![metric], ..RunComponents::default() };
        self.store.components().replace(run, &components).await.unwrap();
    }

    async fn seal(&self) {
        self.clock.0.fetch_add(3_600_000, Ordering::Relaxed);
        while self.store.maintenance().seal().await.unwrap().runs > 0 {}
    }

    async fn ask(&self, query: &str, readable: Option<Vec<WorkspaceId>>) -> Result<String, SqlError> {
        let answer = self.engine.ask(query, readable).await?;
        let mut parts = Box::pin(answer.into_bytes(AnswerFormat::Csv));
        let mut text = Vec::new();
        while let Some(part) = parts.next().await {
            text.extend_from_slice(&part?);
        }
        Ok(String::from_utf8(text).unwrap())
    }

    /// The lines of the answer for an administrator, without the header.
    async fn rows(&self, query: &str) -> Vec<String> {
        let text = self.ask(query, None).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        text.lines().skip(1).map(str::to_owned).collect()
    }

    async fn error(&self, query: &str) -> SqlError {
        match self.ask(query, None).await {
            Err(error) => error,
            Ok(text) => panic!("{query}: {text}"),
        }
    }
}

async fn make_task(store: &Store, workspace: &str, task: &str) -> (WorkspaceId, TaskId) {
    let new =
        NewWorkspace { id: None, environment_id: None, name: workspace.to_owned(), description: None, owner: None };
    let workspace_id = store.workspaces().create_workspace(&new, "admin").await.unwrap().id;
    let (version, description, tags) = (None, None, Vec::new());
    let new = NewTask { id: None, workspace_id, name: task.to_owned(), version, description, tags };
    (workspace_id, store.workspaces().create_task(&new).await.unwrap().id)
}

fn record(time_ms: i64, severity: &str, message: &str) -> Record {
    let (severity, message) = (Some(severity.to_owned()), Some(message.to_owned()));
    Record { severity, message, ..Record::at(Timestamp::clamped(time_ms)) }
}

/// Records a second apart, every tenth an error.
fn log(count: i64) -> Vec<Record> {
    let severity = |at: i64| if at % 10 == 9 { "ERROR" } else { "INFO" };
    (0..count).map(|at| record(NOW_MS + at * 1_000, severity(at), &format!("line {at} of the log"))).collect()
}

#[tokio::test]
async fn live_and_sealed_records_are_one_table() {
    let archive = Archive::new().await;
    archive.run(archive.task, &log(25)).await;
    let counted = "SELECT severity, count(*), min(time), max(arrival) FROM records GROUP BY severity ORDER BY severity";
    let expected = ["ERROR,2,2026-11-24T00:00:09Z,19", "INFO,23,2026-11-24T00:00:00Z,24"];
    let live = archive.rows(counted).await;
    archive.seal().await;
    let sealed = archive.rows(counted).await;
    assert_eq!(live, sealed);
    assert_eq!(live.len(), expected.len());
    for (line, expected) in live.iter().zip(expected) {
        let hidden = |text: &str| {
            text.split(',').enumerate().filter(|(at, _)| *at != 2).map(|(_, t)| t.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(hidden(line), hidden(expected));
    }
    // Records that come late stand beside those that are sealed.
    let late = archive.run(archive.task, &log(5)).await;
    archive.push(late, &log(3)).await;
    assert_eq!(archive.rows("SELECT count(*), count(DISTINCT run_id) FROM records").await, ["33,2"]);
    assert_eq!(archive.rows("SELECT sum(records) FROM runs").await, ["33"]);
}

#[tokio::test]
async fn every_condition_gives_what_it_says() {
    let archive = Archive::new().await;
    let mut runs = Vec::new();
    for sealed in [true, false] {
        runs.push(archive.run(archive.task, &log(40)).await);
        runs.push(archive.run(archive.foreign_task, &log(30)).await);
        if sealed {
            archive.seal().await;
        }
    }
    let count = |condition: String| {
        let archive = &archive;
        async move { archive.rows(&format!("SELECT count(*) FROM records WHERE {condition}")).await.remove(0) }
    };
    let (task, team, run) = (archive.task, archive.team, runs[0]);
    let at = |seconds: i64| Timestamp::clamped(NOW_MS + seconds * 1_000);
    for (condition, expected) in [
        (format!("task_id = '{task}'"), 80),
        (format!("workspace_id = '{team}'"), 80),
        (format!("workspace_id <> '{team}'"), 60),
        (format!("run_id = '{run}'"), 40),
        (format!("run_id = '{}'", run.to_string().to_uppercase()), 0),
        (format!("run_id IN ('{run}', 'none')"), 40),
        ("run_id = 'none'".to_owned(), 0),
        (format!("run_id = '{run}' AND task_id = '{}'", archive.foreign_task), 0),
        ("severity = 'ERROR'".to_owned(), 14),
        ("severity IN ('ERROR', 'FATAL')".to_owned(), 14),
        ("severity = 'error'".to_owned(), 0),
        ("severity <> 'ERROR'".to_owned(), 126),
        (format!("time >= '{}'", at(35)), 10),
        (format!("time > '{}'", at(35)), 8),
        (format!("time < '{}'", at(2)), 8),
        (format!("time BETWEEN '{}' AND '{}'", at(5), at(6)), 8),
        (format!("time = '{}'", at(5)), 4),
        (format!("time >= '{}' AND severity = 'ERROR'", at(30)), 2),
        (format!("time > CAST('{}' AS TIMESTAMP) - INTERVAL '1 minute'", at(60)), 136),
        ("message LIKE '%line 1%'".to_owned(), 44),
        ("message LIKE '%line 1%' AND message LIKE '%19 of%'".to_owned(), 4),
        ("contains(message, 'line 39 ')".to_owned(), 2),
        ("message ILIKE '%LINE 1%'".to_owned(), 44),
        ("message LIKE 'line 1_ of%'".to_owned(), 40),
        ("message NOT LIKE '%line%'".to_owned(), 0),
        ("severity = 'ERROR' OR message LIKE '%line 1 %'".to_owned(), 18),
        ("severity IS NULL".to_owned(), 0),
    ] {
        let counted = count(condition.clone()).await;
        assert_eq!(counted, expected.to_string(), "{condition}");
    }
}

/// Times are whole milliseconds; what they are compared with may be finer.
#[tokio::test]
async fn a_time_between_two_milliseconds_is_cut_to_neither() {
    let archive = Archive::new().await;
    let records: Vec<Record> = [122, 123, 124].map(|at| record(NOW_MS + at, "INFO", "a")).into();
    for sealed in [true, false] {
        archive.run(archive.task, &records).await;
        if sealed {
            archive.seal().await;
        }
    }
    for (condition, expected) in [
        ("time < $", 4),
        ("time <= $", 4),
        ("time > $", 2),
        ("time >= $", 2),
        ("$ > time", 4),
        ("$ <= time", 2),
        ("time = $", 0),
        ("time <> $", 6),
        ("NOT (time = $)", 6),
        ("time IN ($, $ + INTERVAL '1 minute')", 0),
        ("time NOT IN ($)", 6),
        ("time IS DISTINCT FROM $", 6),
        ("time BETWEEN $ - INTERVAL '1 millisecond' AND $", 2),
        ("time NOT BETWEEN $ - INTERVAL '1 millisecond' AND $", 4),
        ("time::timestamp < $", 4),
        ("time::timestamp >= $", 2),
    ] {
        let finer = condition.replace('$', "TIMESTAMP '2026-11-23T12:00:00.123456'");
        let counted = archive.rows(&format!("SELECT count(*) FROM records WHERE {finer}")).await;
        assert_eq!(counted, [expected.to_string()], "{finer}");
    }
    for (condition, expected) in [
        // A text is a time as well.
        ("time < '2026-11-23T12:00:00.123456Z'", 4),
        ("time >= '2026-11-23T12:00:00.123456Z'", 2),
        ("time = '2026-11-23T12:00:00.123456Z'", 0),
        // A whole millisecond stays what it is, however finely it is written.
        ("time < TIMESTAMP '2026-11-23T12:00:00.123000'", 2),
        ("time >= TIMESTAMP '2026-11-23T12:00:00.123000'", 4),
        ("time = TIMESTAMP '2026-11-23T12:00:00.123000'", 2),
    ] {
        let counted = archive.rows(&format!("SELECT count(*) FROM records WHERE {condition}")).await;
        assert_eq!(counted, [expected.to_string()], "{condition}");
    }
}

/// Noon of a clock in Berlin is an hour before that of UTC in winter.
#[tokio::test]
async fn a_time_that_is_moved_to_another_zone_is_compared_where_it_is() {
    let archive = Archive::new().await;
    let hours = [0, 1, 2, 3].map(|hour| record(NOW_MS + hour * 3_600_000, "INFO", "a"));
    archive.run(archive.task, &hours).await;
    archive.seal().await;
    let since = "TIMESTAMP '2026-11-23T13:00:00' AT TIME ZONE 'UTC'";
    for (time, expected) in [
        // Taken for a clock in Berlin, each is an hour earlier.
        ("time::timestamp AT TIME ZONE 'Europe/Berlin'", 2),
        ("time::timestamp AT TIME ZONE 'UTC'", 3),
        // One that has a zone becomes what clocks in Berlin show, without one.
        ("time AT TIME ZONE 'Europe/Berlin'", 4),
        ("time", 3),
    ] {
        let asked = format!("SELECT count(*) FROM records WHERE ({time}) >= ({since})");
        assert_eq!(archive.rows(&asked).await, [expected.to_string()], "{asked}");
        let named = format!("SELECT count(*) FROM (SELECT {time} AS t FROM records) WHERE t >= ({since})");
        assert_eq!(archive.rows(&named).await, [expected.to_string()], "{named}");
    }
}

#[tokio::test]
async fn what_is_unknown_is_not_counted() {
    let archive = Archive::new().await;
    // The first name in the file is the one that is asked for.
    let mut records = vec![record(NOW_MS, "ERROR", "a")];
    records.extend((1..200).map(|at| Record { severity: None, ..record(NOW_MS + at, "", "a") }));
    archive.run(archive.task, &records).await;
    for filter in ["severity = 'ERROR'", "severity <> 'INFO'", "severity LIKE 'E%'"] {
        let counted = format!("SELECT message, count(*) FILTER (WHERE {filter}) FROM records GROUP BY 1");
        assert_eq!(archive.rows(&counted).await, ["a,1"], "{filter}");
    }
}

#[tokio::test]
async fn the_tables_of_the_catalog_say_what_it_knows() {
    let archive = Archive::new().await;
    let run = archive.run(archive.task, &log(20)).await;
    let of_run = "SELECT task_name, workspace_name, status, error_message, records, error_records, info_records,
                         processed_rows, rejected_rows, is_final, duration_ms FROM runs WHERE run_id = ";
    let row = archive.rows(&format!("{of_run}'{run}'")).await;
    assert_eq!(row, ["nightly,team,execution_failed,it broke,20,2,18,7,,true,0"]);
    assert_eq!(archive.rows("SELECT task_name FROM tasks ORDER BY 1").await, ["nightly", "secret plans"]);
    let joined = "SELECT t.task_name, count(*) FROM records r JOIN tasks t USING (task_id) GROUP BY 1";
    assert_eq!(archive.rows(joined).await, ["nightly,20"]);
    let numbers = "SELECT count(*) FROM runs WHERE records BETWEEN 20 AND 30 AND triggered_at <= now()";
    assert_eq!(archive.rows(numbers).await, ["1"]);
    assert_eq!(archive.rows("SELECT count(*) FROM runs WHERE error_records > 2").await, ["0"]);
}

#[tokio::test]
async fn component_metrics_are_a_table_beside_the_runs() {
    let archive = Archive::new().await;
    for rows in [48_112, 0] {
        let run = archive.run(archive.task, &log(1)).await;
        archive.measure(run, "tDBOutput_2", rows).await;
    }
    let asked = "SELECT t.task_name, connector_id, count(*), max(rows_total), min(rows_total), max(rows_total * 1000 / duration_ms)
                 FROM component_metrics m JOIN tasks t USING (task_id) GROUP BY 1, 2";
    assert_eq!(archive.rows(asked).await, ["nightly,tDBOutput_2,2,48112,0,24056"]);
    let nothing = "SELECT run_id FROM runs r JOIN component_metrics m USING (run_id)
                   WHERE rows_total BETWEEN 0 AND 0 AND connector_id = 'tDBOutput_2' AND job_name IS NULL
                      AND m.started_at = TIMESTAMP '2026-11-23T12:00:00Z' AND target_id IS NULL";
    assert_eq!(archive.rows(nothing).await.len(), 1);
}

#[tokio::test]
async fn no_query_leads_to_another_workspace() {
    let archive = Archive::new().await;
    archive.run(archive.task, &log(20)).await;
    let foreign = archive.run(archive.foreign_task, &[record(NOW_MS, "ERROR", "the secret line")]).await;
    archive.measure(foreign, "secret component", 7).await;
    // Both runs share a sealed file, and more of the other one is not sealed yet.
    archive.seal().await;
    archive.run(archive.foreign_task, &[record(NOW_MS, "ERROR", "the secret line")]).await;
    let (others, foreign_task) = (archive.others, archive.foreign_task);
    let mut queries: Vec<String> = ["runs", "records", "tasks", "component_metrics"]
        .iter()
        .flat_map(|table| {
            [
                format!("SELECT * FROM {table}"),
                format!("SELECT * FROM runlog.archive.{table}"),
                format!("SELECT * FROM {table} WHERE workspace_id = '{others}'"),
                format!("SELECT * FROM {table} WHERE workspace_id <> 'x' OR TRUE"),
                format!("SELECT * FROM (SELECT * FROM {table} UNION ALL SELECT * FROM {table})"),
                format!("WITH x AS (SELECT * FROM {table}) SELECT * FROM x"),
                format!("SELECT * FROM {table} WHERE task_id IN (SELECT task_id FROM tasks)"),
                format!("SELECT array_agg(task_id) FROM {table}"),
                format!("SELECT (SELECT max(task_id) FROM {table}), (SELECT min(task_id) FROM {table})"),
                format!("SELECT DISTINCT a.task_id, b.task_id FROM {table} a CROSS JOIN {table} b"),
                format!("SELECT task_id, lag(task_id) OVER (ORDER BY task_id) FROM {table}"),
                format!("EXPLAIN ANALYZE SELECT * FROM {table}"),
                format!("DESCRIBE {table}"),
            ]
        })
        .collect();
    queries.extend([
        format!("SELECT * FROM records WHERE run_id = '{foreign}'"),
        format!("SELECT * FROM records WHERE run_id = '{foreign}' AND workspace_id = '{others}'"),
        format!("SELECT * FROM records WHERE task_id = '{foreign_task}'"),
        "SELECT * FROM records WHERE message LIKE '%secret%'".to_owned(),
        "SELECT * FROM records WHERE severity = 'ERROR'".to_owned(),
        "SHOW TABLES".to_owned(),
        "SHOW ALL".to_owned(),
        "SELECT * FROM information_schema.tables".to_owned(),
        "SELECT * FROM information_schema.columns".to_owned(),
        "SELECT * FROM information_schema.df_settings".to_owned(),
        "SELECT * FROM information_schema.schemata".to_owned(),
        "SELECT * FROM information_schema.views".to_owned(),
        "WITH RECURSIVE x AS (SELECT max(task_id) AS t, 1 AS n FROM records UNION ALL
             SELECT max(task_id), 2 FROM records WHERE (SELECT max(n) FROM x) < 2) SELECT * FROM x"
            .to_owned(),
    ]);
    let foreign_words = [others.to_string(), foreign_task.to_string(), foreign.to_string(), "secret".to_owned()];
    for query in queries {
        for readable in [vec![archive.team], Vec::new()] {
            let is_nobody = readable.is_empty();
            // Errors of refused queries reveal nothing either.
            let told = match archive.ask(&query, Some(readable)).await {
                Ok(text) => text,
                Err(error) => error.to_string(),
            };
            // A plan repeats the query; its own words are no answer.
            if query.starts_with("EXPLAIN") {
                continue;
            }
            for word in &foreign_words {
                assert!(!told.contains(word), "{query} told {word}: {told}");
            }
            assert!(!is_nobody || !told.contains(&archive.team.to_string()), "{query}: {told}");
        }
    }
    // The same with the right on both.
    let both = Some(vec![archive.team, archive.others]);
    let told = archive.ask("SELECT count(*) FROM records WHERE message LIKE '%secret%'", both).await.unwrap();
    assert_eq!(told, "count\n2\n");
}

#[tokio::test]
async fn nothing_is_changed_opened_or_set() {
    let archive = Archive::new().await;
    archive.run(archive.task, &log(3)).await;
    let file = archive.folder.path().join("out.csv");
    let file = file.display();
    for query in [
        "INSERT INTO records SELECT * FROM records".to_owned(),
        "DELETE FROM runs".to_owned(),
        "UPDATE runs SET status = 'x'".to_owned(),
        "DROP TABLE runs".to_owned(),
        "CREATE TABLE t AS SELECT 1".to_owned(),
        "CREATE VIEW v AS SELECT 1".to_owned(),
        "CREATE SCHEMA s".to_owned(),
        format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{file}'"),
        format!("COPY records TO '{file}'"),
        format!("EXPLAIN ANALYZE COPY records TO '{file}'"),
        "EXPLAIN ANALYZE INSERT INTO runs SELECT * FROM runs".to_owned(),
        "SELECT * FROM 'catalog.sqlite'".to_owned(),
        "SELECT * FROM '/etc/passwd'".to_owned(),
        "SELECT * FROM read_csv('/etc/passwd')".to_owned(),
        "SET datafusion.execution.target_partitions = 64".to_owned(),
        "SET datafusion.runtime.memory_limit = '100G'".to_owned(),
        "RESET datafusion.execution.batch_size".to_owned(),
        "BEGIN".to_owned(),
        "PREPARE p AS SELECT 1".to_owned(),
        "SELECT 1; SELECT 2".to_owned(),
        "SELECT * FROM sqlite_master".to_owned(),
        "SELECT * FROM slices".to_owned(),
        "SELECT * FROM users".to_owned(),
        String::new(),
    ] {
        let error = archive.error(&query).await;
        assert_eq!(error.kind(), SqlErrorKind::Invalid, "{query}: {error}");
    }
    assert!(!archive.folder.path().join("out.csv").exists());
    assert_eq!(archive.rows("SELECT count(*) FROM records").await, ["3"]);
}

#[tokio::test]
async fn errors_say_where_and_what_is_meant() {
    let archive = Archive::new().await;
    let error = archive.error("SELECT mesage\nFROM records").await;
    assert_eq!(error.to_string(), "there is no column mesage; did you mean message?");
    let place = error.position().unwrap();
    assert_eq!((place.line, place.column, place.text.as_str()), (1, 8, "SELECT mesage"));
    let error = archive.error("SELECT *\n  FROM recrods").await;
    assert_eq!(error.to_string(), "there is no table recrods; did you mean records?");
    assert_eq!(error.position().map(|place| (place.line, place.column)), Some((2, 8)));
    let error = archive.error("SELECT * FROM nothing_like_it").await;
    assert!(
        error.to_string().ends_with(
            "the tables are records, runs, tasks, deliveries, problems, component_metrics, plan_executions, plan_steps, tenant_audit_logs"
        ),
        "{error}"
    );
    let error = archive.error("SELECT *\nFORM records").await;
    assert_eq!(error.position().map(|place| place.line), Some(2), "{error}");
    let error = archive.error("SELECT lenght(message) FROM records").await;
    assert!(error.to_string().contains("length"), "{error}");
    let error = archive.error("SELECT 1 / 0").await;
    assert_eq!((error.kind(), error.to_string() == "division by zero"), (SqlErrorKind::Invalid, true), "{error}");
    archive.run(archive.task, &log(3)).await;
    for condition in
        ["message ~ '('", "message !~* '('", "message SIMILAR TO '('", "message ~ ('(' || left(message, 0))"]
    {
        let error = archive.error(&format!("SELECT count(*) FROM records WHERE {condition}")).await;
        assert_eq!(error.kind(), SqlErrorKind::Invalid, "{condition}: {error}");
        assert_eq!(error.to_string(), "a regular expression is wrong: unclosed group", "{condition}");
    }
}

#[tokio::test]
async fn the_log_of_a_run_that_was_deleted_is_gone() {
    let archive = Archive::new().await;
    let gone = archive.run(archive.task, &log(20)).await;
    archive.run(archive.task, &log(10)).await;
    archive.seal().await;
    archive.store.maintenance().delete_log(gone).await.unwrap();
    assert_eq!(archive.rows("SELECT count(*) FROM records").await, ["10"]);
    assert_eq!(archive.rows("SELECT max(message) FROM records").await, ["line 9 of the log"]);
    archive.seal().await;
    assert_eq!(archive.rows("SELECT count(*), max(arrival) FROM records").await, ["10,9"]);
}

#[tokio::test]
async fn large_queries_spill_to_files() {
    let archive = Archive::with(|settings| settings.memory_bytes = 64 << 20).await;
    let long = "x".repeat(200);
    let records: Vec<Record> =
        (0..300_000).map(|at| record(NOW_MS + at, "INFO", &format!("{:06} {long}", (at * 7_919) % 300_000))).collect();
    archive.run(archive.task, &records).await;
    let sorted = archive.ask("SELECT substr(message, 1, 6) AS n, message FROM records ORDER BY message", None).await;
    let sorted = sorted.unwrap();
    let numbers: Vec<&str> = sorted.lines().skip(1).map(|line| &line[..6]).collect();
    assert_eq!(numbers.len(), 300_000);
    assert!(numbers.is_sorted());
}

/// Each query whose intermediate results cannot spill to files is refused, and does not use the memory of others.
#[tokio::test]
async fn state_of_aggregates_counts_as_memory() {
    let archive = Archive::with(|settings| settings.memory_bytes = 32 << 20).await;
    let long = "x".repeat(400);
    let records: Vec<Record> = (0..150_000).map(|at| record(NOW_MS + at, "INFO", &format!("{at:06} {long}"))).collect();
    archive.run(archive.task, &records).await;
    for gathered in ["array_agg(message)", "array_agg(lower(message))", "string_agg(message, ',')"] {
        let error = archive.error(&format!("SELECT length(CAST({gathered} AS VARCHAR)) FROM records")).await;
        assert_eq!(error.kind(), SqlErrorKind::TooLarge, "{gathered}: {error}");
    }
    let few = "SELECT array_to_string(array_agg(s), '+'), array_to_string(array_agg(DISTINCT upper(s)), '+')
         FROM (SELECT severity AS s FROM records LIMIT 2)";
    assert_eq!(archive.rows(few).await, ["INFO+INFO,INFO"]);
}

/// The engine does not count what a window keeps: any number of rows were held beside the limit of memory.
#[tokio::test]
async fn state_of_windows_counts_as_memory() {
    let archive = Archive::with(|settings| settings.memory_bytes = 8 << 20).await;
    let numbers = "FROM range(0, 600000)";
    for window in [
        "sum(value) OVER ()",
        "sum(value) OVER (PARTITION BY value % 3)",
        "rank() OVER (PARTITION BY value % 3 ORDER BY value DESC)",
        "sum(value) OVER (ORDER BY value ROWS BETWEEN CURRENT ROW AND 590000 FOLLOWING)",
        "min(value) OVER (ORDER BY value ROWS BETWEEN 590000 PRECEDING AND CURRENT ROW)",
        "lag(value, 590000) OVER (ORDER BY value)",
    ] {
        let query = format!("SELECT max(w) FROM (SELECT {window} AS w {numbers})");
        match archive.ask(&query, None).await {
            // Sorted in files, and answered a row at a time.
            Ok(answer) => assert!(window.starts_with("rank"), "{window}: {answer}"),
            Err(error) => assert_eq!(error.kind(), SqlErrorKind::TooLarge, "{window}: {error}"),
        }
    }
    for (window, last) in [
        ("row_number() OVER (ORDER BY value)", "600000"),
        ("sum(value) OVER (ORDER BY value)", "179999700000"),
        ("max(value) OVER (ORDER BY value ROWS BETWEEN 10 PRECEDING AND 10 FOLLOWING)", "599999"),
        ("lag(value, 10) OVER (ORDER BY value)", "599989"),
    ] {
        let rows = archive.rows(&format!("SELECT max(w) FROM (SELECT {window} AS w {numbers})")).await;
        assert_eq!(rows, [last], "{window}");
    }
}

/// One message of 1 MiB, joined to thousands of rows or given by a window for each of them, took gigabytes: batches have
/// so many rows, whatever these hold.
#[tokio::test]
async fn a_long_text_in_many_rows_takes_no_more_memory_than_a_short_one() {
    let archive = Archive::with(|settings| settings.memory_bytes = 64 << 20).await;
    let mut records = log(3_000);
    records[0].message = Some("x".repeat(1 << 20));
    archive.run(archive.task, &records).await;
    for (query, answer) in [
        ("SELECT count(*), max(length(message)) FROM records CROSS JOIN range(0, 300)", "900000,1048576"),
        (
            "SELECT count(*), max(length(a.message)) FROM records a JOIN records b ON a.run_id = b.run_id
             WHERE a.arrival = 0",
            "3000,1048576",
        ),
        (
            "SELECT count(*), max(length(message)) FROM records JOIN range(0, 3000) ON arrival <= value WHERE arrival = 0",
            "3000,1048576",
        ),
        (
            "SELECT count(*), max(length(m)) FROM (SELECT (SELECT max(message) FROM records) AS m FROM range(0, 3000))",
            "3000,1048576",
        ),
        (
            "SELECT count(*), min(length(m)) FROM
             (SELECT first_value(message) OVER (ORDER BY arrival) AS m FROM records)",
            "3000,1048576",
        ),
        (
            "SELECT count(*), max(length(m)) FROM (SELECT lag(message, 1, '') OVER (ORDER BY arrival) AS m FROM records)",
            "3000,1048576",
        ),
        (
            "SELECT count(*), max(length(message)) FROM
             (SELECT message, unnest(string_to_array(substr(message, 1, 6000), 'x')) FROM records WHERE arrival < 2)",
            "6002,1048576",
        ),
    ] {
        match archive.ask(query, None).await {
            Ok(rows) => assert_eq!(rows.lines().nth(1), Some(answer), "{query}"),
            // What it takes apart at once does not fit.
            Err(error) => {
                assert!(query.contains("unnest") && error.kind() == SqlErrorKind::TooLarge, "{query}: {error}")
            }
        }
        assert!(resident_bytes() < 1_500 << 20, "{query}: {} MiB", resident_bytes() >> 20);
    }
    let all = archive.error("SELECT min(length(m)) FROM (SELECT max(message) OVER () AS m FROM records)").await;
    assert_eq!(all.kind(), SqlErrorKind::TooLarge, "{all}");
    // Rows that are on their way already are no reason to begin again, as long as they fit.
    let rows = "SELECT a.arrival, a.message FROM records a JOIN records b USING (arrival)";
    assert_eq!(archive.ask(rows, None).await.unwrap().lines().count(), 3_001);
}

/// A value that is made at once is not held by the limit of memory: asked for one of 80 GB, the process would end.
#[tokio::test]
async fn functions_of_unbounded_size_are_unavailable() {
    let archive = Archive::new().await;
    for call in [
        "range(0, 10000000000)",
        "generate_series(0, 10000000000)",
        "array_repeat(1, 10000000000)",
        "list_repeat(1, 10000000000)",
        "array_resize([1], 10000000000, 0)",
        "list_resize([1], 10000000000, 0)",
    ] {
        let error = archive.error(&format!("SELECT {call}")).await;
        assert_eq!(error.kind(), SqlErrorKind::Invalid, "{call}: {error}");
        assert!(error.to_string().starts_with("there is no function "), "{call}: {error}");
        assert!(error.to_string().contains("memory"), "{call}: {error}");
    }
    // These count what they make, before they make it.
    for call in ["repeat('x', 2000000000)", "REPEAT('x', 200000000)", "lpad('x', 2000000000)", "rpad('x', 200000000)"] {
        let error = archive.error(&format!("SELECT {call}")).await;
        assert_eq!(error.kind(), SqlErrorKind::TooLarge, "{call}: {error}");
    }
    assert_eq!(archive.rows("SELECT lpad('7', 3, '0'), repeat('ab', 2), rpad('x', 3, '-')").await, ["007,abab,x--"]);
    assert_eq!(archive.rows("SELECT count(*), sum(value) FROM generate_series(1, 4)").await, ["4,10"]);
    assert_eq!(archive.rows("SELECT count(*), sum(value) FROM range(0, 4)").await, ["4,6"]);
}

#[tokio::test]
async fn a_query_ends_at_its_time_limit() {
    let archive = Archive::with(|settings| settings.time_max = Some(Duration::from_millis(200))).await;
    let endless = "SELECT count(*) FROM generate_series(1, 1000000000) a CROSS JOIN generate_series(1, 1000000000) b";
    let error = archive.error(endless).await;
    assert_eq!(error.kind(), SqlErrorKind::TooLong, "{error}");
}

#[tokio::test]
async fn the_number_of_concurrent_queries_is_limited() {
    let archive = Archive::with(|settings| settings.queries_max = 1).await;
    archive.run(archive.task, &log(3)).await;
    let first = archive.engine.ask("SELECT * FROM records", None).await.unwrap();
    let error = archive.error("SELECT 1").await;
    assert_eq!(error.kind(), SqlErrorKind::Busy, "{error}");
    drop(first);
    assert_eq!(archive.rows("SELECT 1").await, ["1"]);
}

#[tokio::test]
async fn a_table_that_is_read_again_and_again_is_whole_each_time() {
    let archive = Archive::new().await;
    archive.run(archive.task, &log(20)).await;
    let recursive = "WITH RECURSIVE x AS (SELECT 0 AS n, CAST(0 AS BIGINT) AS c UNION ALL
         SELECT n + 1, (SELECT count(*) FROM records WHERE severity = 'INFO') FROM x WHERE n < 3)
         SELECT max(n), min(c), max(c) FROM x WHERE n > 0";
    assert_eq!(archive.rows(recursive).await, ["3,18,18"]);
    let joined = "WITH RECURSIVE x AS (SELECT CAST(0 AS BIGINT) AS n UNION ALL
         SELECT x.n + 1 FROM x JOIN records r ON r.arrival = x.n WHERE x.n < 15) SELECT count(*) FROM x";
    assert_eq!(archive.rows(joined).await, ["16"]);
}

/// `count` terms, joined by a sign.
fn chain(term: &str, sign: &str, count: usize) -> String {
    vec![term; count].join(sign)
}

/// Queries that ended the process, took all memory, or kept a processor for minutes, with more of their kinds.
fn hostile_queries() -> Vec<(&'static str, String)> {
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        format!("SELECT {}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    let mut queries = Vec::new();
    for count in [250, 2_000, 9_000] {
        queries.extend([
            ("sum", format!("SELECT {}", chain("1", "+", count))),
            ("and", format!("SELECT {}", chain("1=1", " AND ", count))),
            ("or", format!("SELECT count(*) FROM records WHERE {}", chain("arrival = 1", " OR ", count))),
            ("joined", format!("SELECT {}", chain("'a'", " || ", count))),
            ("joined columns", format!("SELECT {} FROM records", chain("message", " || ", count))),
            ("union", chain("SELECT 1", " UNION ALL ", count)),
            ("union of tables", chain("SELECT run_id FROM records", " UNION ALL ", count)),
            ("cross joins", format!("SELECT count(*) FROM {}", chain("runs", " CROSS JOIN ", count))),
            ("commas", format!("SELECT count(*) FROM {}", chain("runs", ", ", count))),
            ("parentheses", nested("(", "1", ")", count)),
            ("functions", nested("abs(", "1", ")", count)),
            ("minus", nested("- ", "1", "", count)),
            ("not", nested("NOT ", "true", "", count)),
            ("case", nested("CASE WHEN true THEN ", "1", " ELSE 0 END", count)),
            ("subqueries", nested("(SELECT ", "1", ")", count)),
            ("casts", format!("SELECT 1{}", "::BIGINT".repeat(count))),
            ("subscripts", format!("SELECT [1]{}", "[1]".repeat(count))),
            ("lists", nested("[", "1", "]", count)),
            ("columns", format!("SELECT {} FROM records", chain("message", ", ", count))),
        ]);
    }
    let doubled: Vec<String> = (1..40).map(|at| format!("t{at} AS (SELECT a.n FROM t{0} a, t{0} b)", at - 1)).collect();
    let with = doubled.join(", ");
    queries.push(("doubled tables", format!("WITH t0 AS (SELECT 1 AS n), {with} SELECT count(*) FROM t39")));
    // With few names, so that only their definitions are many.
    for (name, definition) in [
        ("doubled joins", "SELECT a.n FROM {0} a, {0} b"),
        ("doubled unions", "SELECT n FROM {0} UNION ALL SELECT n FROM \"{0}\""),
        ("doubled conditions", "SELECT n FROM {0} WHERE n IN (SELECT n FROM {0})"),
        ("doubled values", "SELECT n + (SELECT max(n) FROM {0}) AS n FROM {0}"),
        ("doubled within", "WITH t AS (SELECT n FROM {0}) SELECT a.n FROM t a, (SELECT n FROM t) b"),
    ] {
        let levels: Vec<String> =
            (1..25).map(|at| format!("t{at} AS ({})", definition.replace("{0}", &format!("t{}", at - 1)))).collect();
        let with = levels.join(", ");
        queries.push((name, format!("WITH t0 AS (SELECT 1 AS n), {with} SELECT count(*) FROM t24")));
    }
    // Names that only differ in case, or in quotes: the small ones do not hide the large ones.
    for (name, twin, from) in [
        ("doubled in quotes", "a{}", "\"A{}\" a, \"A{}\" b"),
        ("doubled in quotes with a name", "a{}", "\"A{}\" a CROSS JOIN (SELECT x FROM \"A{}\") b"),
        ("doubled within quotes", "A{}", "(WITH a AS (SELECT 1 AS x) SELECT a.x FROM a, \"A{}\" b) a, \"A{}\" b"),
        ("doubled with a point", "\"A.{}\"", "\"A{}\" a, \"A{}\" b"),
    ] {
        let level = |at: usize| {
            let (twin, from) = (twin.replace("{}", &at.to_string()), from.replace("{}", &(at - 1).to_string()));
            format!("\"A{at}\" AS (SELECT a.x FROM {from}), {twin} AS (SELECT 1 AS x)")
        };
        let with = (1..25).map(level).collect::<Vec<_>>().join(", ");
        queries.push((name, format!("WITH \"A0\" AS (SELECT 1 AS x), {with} SELECT count(*) FROM \"A24\"")));
    }
    let with = (1..25)
        .map(|at| format!("\"s.t{at}\" AS (SELECT a.x FROM s.t{0} a, s.t{0} b)", at - 1))
        .collect::<Vec<_>>()
        .join(", ");
    queries.push(("doubled by schema", format!("WITH \"s.t0\" AS (SELECT 1 AS x), {with} SELECT count(*) FROM s.t24")));
    let names: Vec<String> = (1..60).map(|at| format!("t{at} AS (SELECT n + n AS n FROM t{})", at - 1)).collect();
    let with = names.join(", ");
    queries.push((
        "doubled sums",
        format!("WITH t0 AS (SELECT arrival AS n FROM records), {with} SELECT * FROM t59 WHERE n > 1"),
    ));
    let mut text = "'aaaaaaaaaa'".to_owned();
    for _ in 0..12 {
        text = format!("replace({text}, 'a', 'aaaaaaaaaaaaaaaa')");
    }
    queries.push(("replaced constants", format!("SELECT length({text})")));
    let mut text = "message".to_owned();
    for _ in 0..8 {
        text = format!("replace({text}, 'a', 'aaaaaaaaaaaaaaaa')");
    }
    queries.push(("replaced columns", format!("SELECT sum(length({text})) FROM records")));
    for (name, call) in [
        ("joined again and again", "n || n"),
        ("concat", "concat(n, n)"),
        ("concat_ws", "concat_ws(n, n, n)"),
        ("regexp_replace", "regexp_replace(n, 'l', 'llllllll', 'g')"),
        ("mentions", "regexp_replace(n, '^(.*)$', '\\1\\1\\1\\1', 'g')"),
        ("array_to_string", "array_to_string([n, n, n], n)"),
        ("overlay", "overlay(n PLACING n FROM 2 FOR 1)"),
        ("list", "array_to_string(array_concat([n, n], [n, n]), '')"),
        ("upper", "concat(upper(n), n)"),
    ] {
        let levels: Vec<String> =
            (1..30).map(|at| format!("t{at} AS (SELECT {call} AS n FROM t{} ORDER BY n LIMIT 100)", at - 1)).collect();
        let with = levels.join(", ");
        queries.push((
            name,
            format!("WITH t0 AS (SELECT message AS n FROM records), {with} SELECT max(length(n)) FROM t29"),
        ));
    }
    queries.push((
        "each with each",
        "SELECT count(*) FROM range(0, 10000000) a, range(0, 10000000) b WHERE a * b = -1".into(),
    ));
    queries.push(("range", "SELECT sum(value) FROM range(0, 100000000000)".into()));
    queries.push(("range without rows", "SELECT value FROM range(0, 100000000000) WHERE value < 0".into()));
    queries.push((
        "endless",
        "WITH RECURSIVE x AS (SELECT 1 AS n UNION ALL SELECT n FROM x) SELECT count(*) FROM x".into(),
    ));
    queries.push(("fixed size", "SELECT arrow_cast(NULL, 'FixedSizeBinary(2000000000)')".into()));
    queries
}

/// The memory of this process. Unit: bytes.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0_usize) << 10
}

#[tokio::test]
async fn no_query_ends_the_process_or_outlives_its_bounds() {
    let change = |settings: &mut SqlSettings| {
        settings.memory_bytes = 64 << 20;
        settings.time_max = Some(Duration::from_secs(3));
    };
    let archive = Archive::with(change).await;
    archive.run(archive.task, &log(1_000)).await;
    for (name, query) in hostile_queries() {
        let begun = std::time::Instant::now();
        let outcome = match archive.ask(&query, None).await {
            Ok(answer) => format!("{} bytes", answer.len()),
            Err(error) => format!("{:?}: {error}", error.kind()).chars().take(160).collect(),
        };
        let took = begun.elapsed();
        println!("{name} ({} bytes): {} ms, {} MiB: {outcome}", query.len(), took.as_millis(), resident_bytes() >> 20);
        assert!(took < Duration::from_secs(20), "{name}: {took:?}");
        assert!(!outcome.starts_with("Internal"), "{name}: {outcome}");
        assert!(resident_bytes() < 1_500 << 20, "{name}: {} MiB", resident_bytes() >> 20);
        assert_eq!(archive.rows("SELECT 1").await, ["1"], "after {name}");
    }
}

/// Deeper and wider expressions than anybody writes, made from a seed.
#[tokio::test]
async fn expressions_of_any_shape_are_answered_or_refused() {
    let archive = Archive::with(|settings| settings.time_max = Some(Duration::from_secs(5))).await;
    archive.run(archive.task, &log(20)).await;
    let random = TestRandom::default();
    let choose = |count: usize| {
        let mut bytes = [0];
        random.fill(&mut bytes);
        usize::from(bytes[0]) % count
    };
    for _ in 0..60 {
        let mut expr = "message".to_owned();
        for _ in 0..choose(60) {
            expr = match choose(12) {
                0 => format!("({expr})"),
                1 => format!("{expr} || 'x'"),
                2 => format!("concat({expr}, {expr})"),
                3 => format!("CASE WHEN {expr} > 'm' THEN {expr} ELSE 'n' END"),
                4 => format!("replace({expr}, 'l', 'll')"),
                5 => format!("upper({expr})"),
                6 => format!("CAST(length({expr}) AS VARCHAR)"),
                7 => format!("coalesce(NULL, {expr}, 'a')"),
                8 => format!("array_to_string([{expr}, 'b'], ',')"),
                9 => format!("CAST({expr} IN ('a', 'b') OR {expr} = 'c' AS VARCHAR)"),
                10 => format!("(SELECT max({expr}) FROM runs)"),
                _ => format!("substr({expr}, 1, 50)"),
            };
            if expr.len() > 100_000 {
                break;
            }
        }
        if let Err(error) = archive.ask(&format!("SELECT {expr} AS it FROM records"), None).await {
            assert_ne!(error.kind(), SqlErrorKind::Internal, "{error}: {expr}");
        }
        assert_eq!(archive.rows("SELECT 1").await, ["1"]);
    }
}

#[tokio::test]
async fn functions_that_are_measured_say_what_they_said() {
    let archive = Archive::new().await;
    archive.run(archive.task, &log(2)).await;
    for (call, expected) in [
        ("replace(message, 'line', 'row')", ["row 0 of the log", "row 1 of the log"]),
        ("message || '!' || arrival", ["line 0 of the log!0", "line 1 of the log!1"]),
        ("regexp_replace(message, '[a-z]+', '<\\0>', 'g')", ["<line> 0 <of> <the> <log>", "<line> 1 <of> <the> <log>"]),
        ("concat_ws('-', severity, arrival)", ["INFO-0", "INFO-1"]),
        ("overlay(message PLACING 'LINE' FROM 1 FOR 4)", ["LINE 0 of the log", "LINE 1 of the log"]),
        ("array_to_string([severity, message], '/')", ["INFO/line 0 of the log", "INFO/line 1 of the log"]),
        ("to_char(TIMESTAMP '2026-11-24T01:02:03', '%Y') || arrival", ["20260", "20261"]),
        ("substr(message, 1, 6)", ["line 0", "line 1"]),
        ("translate(upper(message), 'LN', 'ln')", ["lInE 0 OF THE lOG", "lInE 1 OF THE lOG"]),
        ("coalesce(NULL, message)", ["line 0 of the log", "line 1 of the log"]),
        ("CAST(levenshtein(message, 'line 0 of the log') AS VARCHAR)", ["0", "1"]),
    ] {
        assert_eq!(archive.rows(&format!("SELECT {call} FROM records ORDER BY arrival")).await, expected, "{call}");
    }
    let header = archive.ask("SELECT message || 'x', replace(message, 'a', 'b') FROM records", None).await.unwrap();
    assert!(header.starts_with("?column?,replace\n"), "{header}");
}
