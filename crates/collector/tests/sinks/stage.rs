//! An archive with ended runs, and a clock that only advances while a task waits.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use runlog_client::Wait;
use runlog_collector::settings::{SecretReader, SecretSource, SettingsError};
use runlog_collector::{
    BatchBounds, Deliverer, DeliveryStats, Destination, Redactor, SinkConfig, SinkFilter, SinkSettings,
};
use runlog_model::wire::admin::{NewTask, NewWorkspace};
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{Clock, Random, Record, RecordOrder, RunId, RunStatus, TaskId, TimeRange, Timestamp};
use runlog_store::accounts::{Caller, CallerKind};
use runlog_store::delivery::SinkMetrics;
use runlog_store::{Store, StoreSettings};
use secrecy::SecretString;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// When the first record was logged. Unit: epoch milliseconds.
const FIRST_MS: i64 = 1_795_434_000_000;

pub(crate) struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::clamped(self.0.load(Ordering::Relaxed))
    }
}

/// Moves the clock instead of waiting. A claim is never renewed: nothing here takes long.
struct TestWait(Arc<TestClock>);

impl Wait for TestWait {
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // Renewals are the only waits of this length.
        if time == Duration::from_secs(20) / 3 {
            return Box::pin(std::future::pending());
        }
        self.0.0.fetch_add(time.as_millis() as i64, Ordering::Relaxed);
        Box::pin(tokio::task::yield_now())
    }
}

struct TestRandom(AtomicU64);

impl Random for TestRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let number = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 27)).to_le_bytes()[..chunk.len()]);
        }
    }
}

pub(crate) struct Stage {
    pub(crate) store: Store,
    pub(crate) clock: Arc<TestClock>,
    random: Arc<TestRandom>,
    pub(crate) task: TaskId,
    folder: tempfile::TempDir,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(FIRST_MS + 3_600_000)));
        let random = Arc::new(TestRandom(AtomicU64::new(7)));
        let settings = StoreSettings::in_folder(folder.path());
        let store = Store::open(settings, clock.clone(), random.clone()).await.unwrap();
        let workspace =
            NewWorkspace { id: None, environment_id: None, name: "team".to_owned(), description: None, owner: None };
        let workspace_id = store.workspaces().create_workspace(&workspace, "admin").await.unwrap().id;
        let task = NewTask {
            id: None,
            workspace_id,
            name: "nightly".to_owned(),
            version: None,
            description: None,
            tags: Vec::new(),
        };
        let task = store.workspaces().create_task(&task).await.unwrap().id;
        Self { store, clock, random, task, folder }
    }

    /// A run that has failed and settled, with so many records, of which some will be refused.
    pub(crate) async fn run(&self, records: usize, bad: &[usize]) -> RunId {
        let id = RunId::random(&*self.random);
        self.store.runs().start(id, &StartRun::of_task(self.task), &admin()).await.unwrap();
        self.push(id, 0..records, bad).await;
        self.store.runs().finish(id, &FinishRun::with_status(RunStatus::Failed)).await.unwrap();
        self.clock.0.fetch_add(31_000, Ordering::Relaxed);
        id
    }

    /// A run without a log that has failed with this message.
    pub(crate) async fn failed_run(&self, message: &str) -> RunId {
        let finish = FinishRun::with_status(RunStatus::Failed);
        self.ended_run(self.task, FinishRun { error_message: Some(message.to_owned()), ..finish }).await
    }

    /// A run without a log that was successful.
    pub(crate) async fn good_run(&self) -> RunId {
        self.ended_run(self.task, FinishRun::with_status(RunStatus::Successful)).await
    }

    /// A run of a task that has ended and settled.
    pub(crate) async fn ended_run(&self, task: TaskId, finish: FinishRun) -> RunId {
        let id = self.dispatched_run(&StartRun::of_task(task)).await;
        self.store.runs().finish(id, &finish).await.unwrap();
        self.clock.0.fetch_add(31_000, Ordering::Relaxed);
        id
    }

    /// Creates this number of copies of a run, with the same time, in the catalog.
    pub(crate) async fn copy_run(&self, run: RunId, copies: i64) {
        use sqlx::{ConnectOptions, Connection, Row};
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.path().join("catalog.sqlite"));
        let mut catalog = options.connect().await.unwrap();
        let columns = sqlx::query("SELECT name FROM pragma_table_info('runs')").fetch_all(&mut catalog).await.unwrap();
        let columns: Vec<String> = columns.iter().map(|row| row.get(0)).collect();
        let values = columns.iter().map(|name| match name.as_str() {
            "id" => "printf('6c0e5a34-0000-4000-9000-%012d', n)".to_owned(),
            name => name.to_owned(),
        });
        let copying = format!(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {copies})
             INSERT INTO runs ({}) SELECT {} FROM runs, numbers WHERE id = '{run}'",
            columns.join(", "),
            values.collect::<Vec<_>>().join(", "),
        );
        let copied = sqlx::query(sqlx::AssertSqlSafe(copying)).execute(&mut catalog).await.unwrap();
        assert_eq!(copied.rows_affected(), copies.unsigned_abs());
        catalog.close().await.unwrap();
    }

    /// A run that waits for its engine.
    pub(crate) async fn dispatched_run(&self, start: &StartRun) -> RunId {
        let id = RunId::random(&*self.random);
        self.store.runs().start(id, start, &admin()).await.unwrap();
        id
    }

    /// Another task of the workspace.
    pub(crate) async fn task(&self, name: &str) -> TaskId {
        let workspace_id = self.store.workspaces().task(self.task).await.unwrap().unwrap().workspace.id;
        let task = NewTask {
            id: None,
            workspace_id,
            name: name.to_owned(),
            version: None,
            description: None,
            tags: Vec::new(),
        };
        self.store.workspaces().create_task(&task).await.unwrap().id
    }

    /// A run whose records have so many bytes in a further field.
    pub(crate) async fn run_with_extra(&self, records: usize, bytes: usize) -> RunId {
        let extra = serde_json::json!({ "payload": "x".repeat(bytes) });
        let extra = || extra.as_object().cloned().map(|extra| Box::new(extra.into()));
        let record = |number| Record { extra: extra(), ..self.record(number, false) };
        self.run_of((0..records).map(record)).await
    }

    /// A run with one record that has this message.
    pub(crate) async fn run_with_message(&self, message: &str) -> RunId {
        self.run_of([Record { message: Some(message.to_owned()), ..self.record(0, false) }]).await
    }

    /// A run whose records were logged a moment ago.
    pub(crate) async fn run_now(&self, records: usize) -> RunId {
        let now = self.clock.now();
        self.run_of((0..records).map(|number| Record { time: now, ..self.record(number, false) })).await
    }

    /// A run whose records are all below an error but for those of these numbers.
    pub(crate) async fn run_with_errors_at(&self, records: usize, errors: &[usize]) -> RunId {
        let severity = |number| if errors.contains(&number) { "ERROR" } else { "INFO" };
        let record = |number| Record { severity: Some(severity(number).to_owned()), ..self.record(number, false) };
        self.run_of((0..records).map(record)).await
    }

    async fn run_of(&self, records: impl IntoIterator<Item = Record>) -> RunId {
        let id = self.run(0, &[]).await;
        let mut batch = self.store.ingest().begin_batch(id, None).await.unwrap();
        for record in records {
            batch.push(&record).await.unwrap();
        }
        batch.commit().await.unwrap();
        self.pass(31_000);
        id
    }

    /// The time of the clock. Unit: epoch milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now().as_millis()
    }

    /// A deliverer for which real time passes.
    pub(crate) fn deliverer_in_real_time(&self, setup: SinkConfig) -> Deliverer {
        Deliverer::new(&self.store, setup, self.clock.clone(), Arc::new(runlog_client::TokioWait))
    }

    /// Lets this much time pass. Unit: milliseconds.
    pub(crate) fn pass(&self, ms: i64) {
        self.clock.0.fetch_add(ms, Ordering::Relaxed);
    }

    /// Adds records to a run, and lets them settle.
    pub(crate) async fn push(&self, run: RunId, numbers: Range<usize>, bad: &[usize]) {
        let mut batch = self.store.ingest().begin_batch(run, None).await.unwrap();
        for number in numbers {
            batch.push(&self.record(number, bad.contains(&number))).await.unwrap();
        }
        batch.commit().await.unwrap();
        self.clock.0.fetch_add(31_000, Ordering::Relaxed);
    }

    /// Two records share an instant, and many say the same.
    fn record(&self, number: usize, is_bad: bool) -> Record {
        let message = match (is_bad, number % 4) {
            (true, _) => "unmappable".to_owned(),
            (false, 3) => format!("step {number}: login failed\n  password=hunter2 user=\"a\""),
            (false, _) => "the same".to_owned(),
        };
        Record {
            severity: Some(if number % 4 == 3 { "ERROR" } else { "INFO" }.to_owned()),
            log_type: Some("JOB".to_owned()),
            message: Some(message),
            bundle_name: number.is_multiple_of(3).then(|| "tLogRow_1".to_owned()),
            ..Record::at(self.time(number))
        }
    }

    pub(crate) fn time(&self, number: usize) -> Timestamp {
        Timestamp::clamped(FIRST_MS + 10 * (number as i64 / 2))
    }

    /// What the archive has, in order.
    pub(crate) async fn messages(&self, run: RunId) -> Vec<String> {
        let mut reader = self.store.logs().read_records(run, TimeRange::ALL, RecordOrder::Asc).await.unwrap();
        let mut messages = Vec::new();
        while let Some(records) = reader.next().await.unwrap() {
            messages.extend(records.into_iter().map(|record| record.message.unwrap()));
        }
        messages
    }

    pub(crate) fn setup(&self, name: &str, destination: Destination) -> SinkConfig {
        SinkConfig {
            name: name.to_owned(),
            destination,
            filter: SinkFilter::default(),
            audit_logs: false,
            redactor: Redactor::default(),
            bounds: BatchBounds { records: 10, bytes: 1 << 20 },
            parallel: 1,
        }
    }

    pub(crate) fn deliverer(&self, destination: Destination) -> Deliverer {
        self.named_deliverer("sink", destination)
    }

    pub(crate) fn named_deliverer(&self, name: &str, destination: Destination) -> Deliverer {
        self.deliverer_of(self.setup(name, destination))
    }

    pub(crate) fn deliverer_of(&self, setup: SinkConfig) -> Deliverer {
        Deliverer::new(&self.store, setup, self.clock.clone(), Arc::new(TestWait(self.clock.clone())))
    }

    /// One round.
    pub(crate) async fn deliver(&self, deliverer: &Deliverer) -> DeliveryStats {
        if !self.store.deliveries().metrics().await.unwrap().iter().any(|sink| sink.name == deliverer.name()) {
            deliverer.register().await.unwrap();
        }
        deliverer.offer().await.unwrap();
        deliverer.deliver_due(&CancellationToken::new()).await.unwrap()
    }

    /// Delivers until nothing is due, with the pause of a failing sink between the rounds.
    pub(crate) async fn deliver_all(&self, deliverer: &Deliverer) {
        for _ in 0..20 {
            self.deliver(deliverer).await;
            let figures = self.store.deliveries().metrics().await.unwrap();
            if figures.iter().all(|sink| sink.name != deliverer.name() || sink.due == 0) {
                return;
            }
            self.clock.0.fetch_add(600_000, Ordering::Relaxed);
        }
        panic!("it does not come to an end: {:?}", self.figures().await);
    }

    /// The folder of the archive.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns a counter that changes with each random value that the archive uses.
    pub(crate) fn random_used(&self) -> u64 {
        self.random.0.load(Ordering::Relaxed)
    }

    /// Returns the metrics of the sink.
    pub(crate) async fn figures(&self) -> SinkMetrics {
        let all = self.store.deliveries().metrics().await.unwrap();
        all.into_iter().find(|sink| sink.name == "sink").unwrap()
    }
}

fn admin() -> Caller {
    Caller {
        kind: CallerKind::User,
        id: "00000000-0000-4000-8000-000000000001".to_owned(),
        name: "admin".to_owned(),
        administrator: true,
        permissions: Vec::new(),
    }
}

/// Every secret is the one that the fake servers expect.
struct OneSecret;

impl SecretReader for OneSecret {
    fn read(&self, _: &SecretSource, _: &str) -> Result<SecretString, Box<dyn std::error::Error + Send + Sync>> {
        Ok(SecretString::from(crate::fake_server::SECRET))
    }
}

/// A sink of this kind, with these settings beside its name.
pub(crate) fn sink(kind: &str, settings: Value, clock: Arc<TestClock>) -> Result<SinkConfig, SettingsError> {
    let mut given = settings.as_object().unwrap().clone();
    given.extend([("name".to_owned(), "sink".into()), ("kind".to_owned(), kind.into())]);
    let settings = SinkSettings::read(given).unwrap();
    settings.check(clock.clone())?;
    settings.config(clock, &OneSecret)
}

/// Every file below a folder, by name.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Returns the text of a file, decompressed if necessary.
pub(crate) fn unpacked(file: &Path) -> String {
    let bytes = std::fs::read(file).unwrap();
    let plain = match file.extension().unwrap().to_str().unwrap() {
        "gz" => {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&bytes[..]), &mut plain).unwrap();
            plain
        }
        "zst" => zstd::decode_all(&bytes[..]).unwrap(),
        _ => bytes,
    };
    String::from_utf8(plain).unwrap()
}
