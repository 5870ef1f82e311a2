//! An archive in a temporary folder, with one running run.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::{FutureExt, TryStreamExt};
use runlog_model::wire::admin::{NewTask, NewWorkspace};
use runlog_model::wire::push::{FinishRun, StartRun, StoredBatch};
use runlog_model::{
    Clock, FileFormat, Random, Record, RecordOrder, Run, RunId, RunStatus, TaskId, TimeRange, Timestamp,
};
use runlog_store::accounts::{Caller, CallerKind};
use runlog_store::pages::{PageRequest, PageStatus};
use runlog_store::query::SearchQuery;
use runlog_store::simulation::Simulation;
use runlog_store::{ErrorKind, Result, Store, StoreSettings};

pub(crate) mod backends;
pub(crate) mod gate;
pub(crate) mod pairs;

use backends::Backends;

/// A clock that only changes when it is set.
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn at(time: Timestamp) -> Self {
        Self(AtomicI64::new(time.as_millis()))
    }

    pub(crate) fn advance_ms(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::clamped(self.0.load(Ordering::Relaxed))
    }
}

/// A random number generator with the same bytes in every test run.
pub(crate) struct TestRandom(AtomicU64);

impl Random for TestRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let mut number = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            chunk.copy_from_slice(&(number ^ (number >> 27)).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A random number generator that returns the same bytes each time.
struct SameBytes;

impl Random for SameBytes {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

pub(crate) struct Archive<P> {
    pub(crate) store: Store,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) run_id: RunId,
    pub(crate) task_id: TaskId,
    pub(crate) caller: Caller,
    random: Arc<TestRandom>,
    settings: StoreSettings,
    objects: PathBuf,
    _folder: tempfile::TempDir,
    _places: PhantomData<P>,
}

impl<P: Backends> Archive<P> {
    pub(crate) async fn new() -> Self {
        Self::with_page_limit(100_000).await
    }

    pub(crate) async fn with_page_limit(page_records_max: u64) -> Self {
        Self::with_settings(|settings| settings.page_records_max = page_records_max).await
    }

    pub(crate) async fn with_settings(set: impl FnOnce(&mut StoreSettings)) -> Self {
        Self::with_run(Self::empty_with(set).await).await
    }

    /// An archive whose objects are those of a simulated machine.
    pub(crate) async fn new_on(machine: Arc<dyn Simulation>) -> Self {
        let mut archive = Self::empty().await;
        archive.store.close().await;
        let (settings, clock, random) = (archive.settings.clone(), archive.clock.clone(), archive.random.clone());
        archive.store = Store::open_simulated(settings, clock, random, machine).await.unwrap();
        Self::with_run(archive).await
    }

    async fn with_run(mut archive: Self) -> Self {
        let store = &archive.store;
        let workspace =
            NewWorkspace { id: None, environment_id: None, name: "team".to_owned(), description: None, owner: None };
        let workspace = store.workspaces().create_workspace(&workspace, "admin").await.unwrap();
        let task = NewTask {
            id: None,
            workspace_id: workspace.id,
            name: "nightly".to_owned(),
            version: None,
            description: None,
            tags: Vec::new(),
        };
        archive.task_id = store.workspaces().create_task(&task).await.unwrap().id;
        archive.run_id = archive.start_another_run().await;
        archive
    }

    /// An empty archive.
    pub(crate) async fn empty() -> Self {
        Self::empty_with(|_| ()).await
    }

    async fn empty_with(set: impl FnOnce(&mut StoreSettings)) -> Self {
        static SEED: AtomicU64 = AtomicU64::new(1);
        let folder = tempfile::tempdir().unwrap();
        let mut settings = StoreSettings::in_folder(folder.path());
        set(&mut settings);
        let objects = P::choose(&mut settings);
        let clock = Arc::new(TestClock(AtomicI64::new(1_795_434_850_000)));
        let random = Arc::new(TestRandom(AtomicU64::new(SEED.fetch_add(1 << 32, Ordering::Relaxed))));
        let store = Store::open_with_catalog_clock(settings.clone(), clock.clone(), clock.clone(), random.clone())
            .await
            .unwrap();
        let caller = Caller {
            kind: CallerKind::User,
            id: "00000000-0000-4000-8000-000000000001".to_owned(),
            name: "admin".to_owned(),
            administrator: true,
            permissions: Vec::new(),
        };
        let (run_id, task_id) = (RunId::random(&*random), TaskId::random(&*random));
        Self { store, clock, run_id, task_id, caller, random, settings, objects, _folder: folder, _places: PhantomData }
    }

    /// Opens the same archive on another node.
    pub(crate) async fn another_node(&self) -> Store {
        self.another_node_with(|_| ()).await.unwrap()
    }

    /// Opens the same archive on a node whose random numbers are all equal.
    pub(crate) async fn node_without_chance(&self) -> Store {
        self.open(self.clock.clone(), Arc::new(SameBytes)).await
    }

    /// Opens the same archive on a node whose clock is ahead of that of the others.
    pub(crate) async fn node_ahead_by(&self, ms: i64) -> (Store, Arc<TestClock>) {
        let clock = Arc::new(TestClock(AtomicI64::new(self.clock.now().as_millis() + ms)));
        let store = self.open(clock.clone(), self.random.clone()).await;
        (store, clock)
    }

    /// Opens the same archive on a node with this clock, which measures how far it is from that of the database.
    pub(crate) async fn measuring_node(&self, clock: Arc<TestClock>) -> Store {
        Store::open(self.settings.clone(), clock, self.random.clone()).await.unwrap()
    }

    async fn open(&self, clock: Arc<TestClock>, random: Arc<dyn Random>) -> Store {
        let (settings, catalog_clock) = (self.settings.clone(), self.clock.clone());
        Store::open_with_catalog_clock(settings, clock, catalog_clock, random).await.unwrap()
    }

    /// Opens the same archive on another node with changed settings.
    pub(crate) async fn another_node_with(&self, set: impl FnOnce(&mut StoreSettings)) -> Result<Store> {
        self.opener(set)().await
    }

    /// Returns a function that opens the same archive with changed settings, in any thread.
    pub(crate) fn opener(
        &self,
        set: impl FnOnce(&mut StoreSettings),
    ) -> Box<dyn FnOnce() -> LocalBoxFuture<'static, Result<Store>> + Send> {
        let mut settings = self.settings.clone();
        set(&mut settings);
        let (clock, random) = (self.clock.clone(), self.random.clone());
        Box::new(move || Store::open_with_catalog_clock(settings, clock.clone(), clock, random).boxed_local())
    }

    /// Opens an archive in another folder, with the same clock.
    pub(crate) async fn open_folder(&self, folder: &Path) -> Store {
        let settings = StoreSettings::in_folder(folder);
        Store::open(settings, self.clock.clone(), self.random.clone()).await.unwrap()
    }

    pub(crate) async fn reopen(&mut self) {
        self.store.close().await;
        self.store = self.open(self.clock.clone(), self.random.clone()).await;
    }

    /// A page of the run's whole log.
    pub(crate) fn whole_log(&self, format: FileFormat, order: RecordOrder) -> PageRequest {
        PageRequest { run_id: self.run_id, range: TimeRange::ALL, format, order, file_name: "log".to_owned() }
    }

    pub(crate) async fn start_another_run(&self) -> RunId {
        self.start_run_at(None).await
    }

    /// Starts a run that was triggered at this time.
    pub(crate) async fn start_run_at(&self, time: Option<Timestamp>) -> RunId {
        let id = RunId::random(&*self.random);
        let start = StartRun { trigger_timestamp: time, start_timestamp: time, ..StartRun::of_task(self.task_id) };
        self.store.runs().start(id, &start, &self.caller).await.unwrap();
        id
    }

    pub(crate) async fn finish(&self, status: RunStatus) -> Result<Run> {
        self.finish_as(self.run_id, status).await
    }

    /// Ends a run. Does nothing if the run has ended.
    pub(crate) async fn finish_run(&self, run_id: RunId) {
        self.finish_as(run_id, RunStatus::Successful).await.unwrap();
    }

    /// Ends a run at this time.
    pub(crate) async fn finish_run_at(&self, run_id: RunId, time: Timestamp) {
        self.finish_with(run_id, RunStatus::Successful, Some(time)).await.unwrap();
    }

    async fn finish_as(&self, run_id: RunId, status: RunStatus) -> Result<Run> {
        self.finish_with(run_id, status, None).await
    }

    async fn finish_with(&self, run_id: RunId, status: RunStatus, time: Option<Timestamp>) -> Result<Run> {
        self.store.runs().finish(run_id, &finish_body(status, time)).await
    }

    pub(crate) async fn push(&self, batch_id: &str, records: &[Record]) -> StoredBatch {
        let mut batch = self.store.ingest().begin_batch(self.run_id, Some(batch_id)).await.unwrap();
        for record in records {
            batch.push(record).await.unwrap();
        }
        batch.commit().await.unwrap()
    }

    pub(crate) async fn records(&self) -> Vec<Record> {
        self.records_of(self.run_id).await
    }

    pub(crate) async fn records_of(&self, run_id: RunId) -> Vec<Record> {
        records_on(&self.store, run_id).await
    }

    /// Builds every requested page, and returns their number.
    pub(crate) async fn build_all(&self) -> usize {
        let mut built = 0;
        while self.store.pages().build_next_page().await.unwrap() {
            built += 1;
        }
        built
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the number of segment objects.
    pub(crate) fn objects(&self) -> usize {
        files_below(&self.segments()).len()
    }

    /// Returns the number of sealed files.
    pub(crate) fn sealed_files(&self) -> usize {
        files_below(&self.objects.join("sealed")).len()
    }

    /// Returns the files of all objects.
    pub(crate) fn object_files(&self) -> Vec<PathBuf> {
        files_below(&self.objects)
            .into_iter()
            .filter(|file| !file.components().any(|part| is_hidden(part.as_os_str())))
            .collect()
    }

    pub(crate) fn remove_objects(&self) {
        for file in files_below(&self.segments()) {
            std::fs::remove_file(file).unwrap();
        }
    }

    /// Removes the checksums of the objects of records, as if an earlier version had written them.
    pub(crate) async fn forget_checks(&self) {
        self.change_catalog("UPDATE segments SET checks = NULL").await;
    }

    /// Changes the catalog directly.
    pub(crate) async fn change_catalog(&self, statements: &'static str) {
        sqlx::any::install_default_drivers();
        let catalog = sqlx::AnyPool::connect(&self.catalog_address()).await.unwrap();
        sqlx::raw_sql(statements).execute(&catalog).await.unwrap();
        catalog.close().await;
    }

    /// Returns the address for direct access to the catalog.
    pub(crate) fn catalog_address(&self) -> String {
        backends::catalog_address(&self.settings)
    }

    /// Returns true if the catalog is in PostgreSQL.
    pub(crate) fn is_on_postgres(&self) -> bool {
        self.settings.catalog.is_some()
    }

    fn segments(&self) -> PathBuf {
        self.objects.join("segments")
    }
}

/// The records of a run, as a node reads them.
pub(crate) async fn records_on(store: &Store, run_id: RunId) -> Vec<Record> {
    let mut reader = store.logs().read_records(run_id, TimeRange::ALL, RecordOrder::Asc).await.unwrap();
    let mut records = Vec::new();
    while let Some(more) = reader.next().await.unwrap() {
        records.extend(more);
    }
    records
}

/// The records of a page that is built, or is being built.
pub(crate) async fn page_records(store: &Store, run_id: RunId, token: &str) -> Vec<Record> {
    let status = store.pages().page_status(run_id, token, Duration::from_secs(60)).await.unwrap();
    let PageStatus::Ready(file) = status else { panic!("not built: {status:?}") };
    let reader = store.pages().open_page(&file.key).await.unwrap().unwrap();
    let length = reader.plain_bytes;
    let bytes: Vec<bytes::Bytes> = reader.plain(0..length).try_collect().await.unwrap();
    serde_json::from_slice(&bytes.concat()).unwrap()
}

/// The body of a request that ends a run.
pub(crate) fn finish_body(status: RunStatus, time: Option<Timestamp>) -> FinishRun {
    FinishRun {
        status,
        finish_timestamp: time,
        error_message: None,
        error_type: None,
        misfired_execution_reason: None,
        number_of_processed_rows: None,
        number_of_rejected_rows: None,
    }
}

pub(crate) fn record(time_ms: i64, message: &str) -> Record {
    Record { message: Some(message.to_owned()), ..Record::at(Timestamp::clamped(time_ms)) }
}

pub(crate) async fn push(store: &Store, run_id: RunId, name: u8, records: &[Record]) -> Result<StoredBatch, ErrorKind> {
    let mut batch =
        store.ingest().begin_batch(run_id, Some(&format!("b{name}"))).await.map_err(|error| error.kind())?;
    for record in records {
        batch.push(record).await.map_err(|error| error.kind())?;
    }
    batch.commit().await.map_err(|error| error.kind())
}

pub(crate) fn sorted(mut records: Vec<Record>, range: TimeRange) -> Vec<Record> {
    records.retain(|record| range.contains(record.time.as_millis()));
    records.sort_by_key(|record| record.time);
    records
}

/// Returns a runtime with one blocking thread: blocking work that waits for other blocking work is in a deadlock.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).max_blocking_threads(1).enable_all().build().unwrap()
}

/// A search for a text in all logs.
pub(crate) fn search_for(text: &str) -> SearchQuery {
    SearchQuery { slices_max: 100, ..SearchQuery::newest(text.parse().unwrap(), 10, Duration::from_secs(60)) }
}

/// The S3 server keeps its own files under such names.
fn is_hidden(name: &std::ffi::OsStr) -> bool {
    name.to_string_lossy().starts_with(".s3s")
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] })
        .collect()
}
