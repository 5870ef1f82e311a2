//! Questions in SQL to an archive with two workspaces: a team's, and that of others.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use runlog_analysis::sql::{AnswerFormat, SqlEngine, SqlError, SqlErrorKind, SqlSettings};
use runlog_model::wire::admin::{NewTask, NewWorkspace};
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{Clock, Random, Record, RunId, RunStatus, TaskId, Timestamp, WorkspaceId};
use runlog_store::{Caller, CallerKind, Store, StoreSettings};
use tempfile::TempDir;

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
        let engine = SqlEngine::new(store.clone(), settings, clock.clone()).unwrap();
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
        self.store.start_run(id, &StartRun::of_task(task), &caller).await.unwrap();
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
        self.store.finish_run(id, &finish).await.unwrap();
        id
    }

    async fn push(&self, run: RunId, records: &[Record]) {
        let mut batch = self.store.begin_batch(run, None).await.unwrap();
        for record in records {
            batch.push(record).await.unwrap();
        }
        batch.commit().await.unwrap();
    }

    async fn seal(&self) {
        self.clock.0.fetch_add(3_600_000, Ordering::Relaxed);
        while self.store.seal().await.unwrap().runs > 0 {}
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
    let workspace_id = store.create_workspace(&new, "admin").await.unwrap().id;
    let (version, description, tags) = (None, None, Vec::new());
    let new = NewTask { id: None, workspace_id, name: task.to_owned(), version, description, tags };
    (workspace_id, store.create_task(&new).await.unwrap().id)
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
        // One that has a zone is shown in the other, and stays where it is.
        ("time AT TIME ZONE 'Europe/Berlin'", 3),
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
async fn no_query_leads_to_another_workspace() {
    let archive = Archive::new().await;
    archive.run(archive.task, &log(20)).await;
    let foreign = archive.run(archive.foreign_task, &[record(NOW_MS, "ERROR", "the secret line")]).await;
    // Both runs share a sealed file, and more of the other one is not sealed yet.
    archive.seal().await;
    archive.run(archive.foreign_task, &[record(NOW_MS, "ERROR", "the secret line")]).await;
    let (others, foreign_task) = (archive.others, archive.foreign_task);
    let mut queries: Vec<String> = ["runs", "records", "tasks"]
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
            // What cannot be asked says nothing either.
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
    assert_eq!(told, "count(*)\n2\n");
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
    assert_eq!(error.to_string(), "there is no column mesage; is message meant?");
    let place = error.place().unwrap();
    assert_eq!((place.line, place.column, place.text.as_str()), (1, 8, "SELECT mesage"));
    let error = archive.error("SELECT *\n  FROM recrods").await;
    assert_eq!(error.to_string(), "there is no table recrods; is records meant?");
    assert_eq!(error.place().map(|place| (place.line, place.column)), Some((2, 8)));
    let error = archive.error("SELECT * FROM nothing_like_it").await;
    assert!(error.to_string().ends_with("the tables are records, runs, tasks, deliveries"), "{error}");
    let error = archive.error("SELECT *\nFORM records").await;
    assert_eq!(error.place().map(|place| place.line), Some(2), "{error}");
    let error = archive.error("SELECT lenght(message) FROM records").await;
    assert!(error.to_string().contains("length"), "{error}");
    let error = archive.error("SELECT 1 / 0").await;
    assert_eq!((error.kind(), error.to_string().contains("ivide by zero")), (SqlErrorKind::Invalid, true), "{error}");
}

#[tokio::test]
async fn the_log_of_a_run_that_was_deleted_is_gone() {
    let archive = Archive::new().await;
    let gone = archive.run(archive.task, &log(20)).await;
    archive.run(archive.task, &log(10)).await;
    archive.seal().await;
    archive.store.delete_log(gone).await.unwrap();
    assert_eq!(archive.rows("SELECT count(*) FROM records").await, ["10"]);
    assert_eq!(archive.rows("SELECT max(message) FROM records").await, ["line 9 of the log"]);
    archive.seal().await;
    assert_eq!(archive.rows("SELECT count(*), max(arrival) FROM records").await, ["10,9"]);
}

#[tokio::test]
async fn what_does_not_fit_into_memory_goes_on_in_files() {
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

/// Each query that gathers what it cannot put into files is refused, and takes nobody's memory.
#[tokio::test]
async fn what_a_function_gathers_counts_as_memory() {
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

/// A value that is made at once is not held by the limit of memory: asked for one of 80 GB, the process would end.
#[tokio::test]
async fn what_makes_values_of_any_size_is_not_there() {
    let archive = Archive::new().await;
    for call in [
        "range(0, 10000000000)",
        "generate_series(0, 10000000000)",
        "array_repeat(1, 10000000000)",
        "list_repeat(1, 10000000000)",
        "array_resize([1], 10000000000, 0)",
        "list_resize([1], 10000000000, 0)",
        "repeat('x', 2000000000)",
        "REPEAT('x', 2000000000)",
        "lpad('x', 2000000000)",
        "rpad('x', 2000000000)",
    ] {
        let error = archive.error(&format!("SELECT {call}")).await;
        assert_eq!(error.kind(), SqlErrorKind::Invalid, "{call}: {error}");
        assert!(error.to_string().starts_with("there is no function "), "{call}: {error}");
        assert!(error.to_string().contains("memory"), "{call}: {error}");
    }
    assert_eq!(archive.rows("SELECT count(*), sum(value) FROM generate_series(1, 4)").await, ["4,10"]);
    assert_eq!(archive.rows("SELECT count(*), sum(value) FROM range(0, 4)").await, ["4,6"]);
}

#[tokio::test]
async fn a_question_ends_when_its_time_is_up() {
    let archive = Archive::with(|settings| settings.time_max = Some(Duration::from_millis(200))).await;
    let endless = "SELECT count(*) FROM generate_series(1, 1000000000) a CROSS JOIN generate_series(1, 1000000000) b";
    let error = archive.error(endless).await;
    assert_eq!(error.kind(), SqlErrorKind::TooLong, "{error}");
}

#[tokio::test]
async fn only_so_many_questions_are_answered_at_a_time() {
    let archive = Archive::with(|settings| settings.questions_max = 1).await;
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
