//! What every handler is given: the archive, the settings, the keys, the clock.

use std::sync::Arc;

use runlog_analysis::sql::SqlEngine;
use runlog_model::{Clock, Random, Timestamp};
use runlog_store::{ArchiveFigures, Error, ErrorKind, Store};
use tokio_util::task::TaskTracker;

use crate::audit::Looks;
use crate::body_memory::BodyMemory;
use crate::kept::{Gathered, Kept};
use crate::keys::KeyRing;
use crate::limits;
use crate::metrics::Metrics;
use crate::openapi::document_text;
use crate::pace::Paces;
use crate::readiness::Readiness;
use crate::routes::about_text;
use crate::settings::ServerSettings;
use crate::turns::Turns;
use crate::web::Fixed;

/// What the keys of access tokens are called.
pub(crate) const ACCESS_TOKENS: &str = "access-tokens";

/// What the keys of links are called.
pub(crate) const LINKS: &str = "links";

/// Everything that handlers share. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    store: Store,
    sql: SqlEngine,
    settings: ServerSettings,
    token_keys: KeyRing,
    link_keys: KeyRing,
    paces: Paces,
    body_memory: BodyMemory,
    searches: Turns,
    downloads: Turns,
    metrics: Metrics,
    /// What [`Maintenance::figures`](runlog_store::Maintenance::figures) counted.
    figures: Kept<ArchiveFigures>,
    looks: Looks,
    readiness: Readiness,
    /// Changes that go on, some of them for clients that have gone.
    changes: TaskTracker,
    about: Fixed,
    openapi: String,
    /// When this service began.
    started_at: Timestamp,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl App {
    /// Reads the keys that tokens and links are signed with from the archive; every node of it has the same.
    pub async fn new(
        store: Store,
        settings: ServerSettings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> runlog_store::Result<Self> {
        let token_keys = KeyRing::open(ACCESS_TOKENS, store.clone(), Arc::clone(&clock)).await?;
        let link_keys = KeyRing::open(LINKS, store.clone(), Arc::clone(&clock)).await?;
        let paces = Paces::new(&settings, Arc::clone(&clock));
        let (events_bytes, line_bytes) = (settings.bounds.events_bytes_max, settings.bounds.line_bytes_max);
        let times = |times: usize| events_bytes.saturating_mul(times);
        // A line of the longest must fit as well, with the buffers that it passes.
        let line_read = line_bytes.saturating_mul(limits::LINE_READ_TIMES).saturating_add(limits::READ_BUFFERS_MAX);
        let line_decoded = line_bytes.saturating_mul(limits::LINE_MEMORY_TIMES);
        let body_memory = BodyMemory::new(
            times(limits::EVENTS_READ_TIMES).max(line_read),
            times(limits::EVENTS_MEMORY_TIMES).max(line_decoded),
            times(limits::EVENTS_MEMORY_TIMES),
        );
        let searches = Turns::of_searches(&settings.bounds);
        let downloads = Turns::of_downloads(&settings.bounds);
        let metrics = Metrics::new();
        let looks = Looks::new(Arc::clone(&clock));
        let figures = Kept::new(Arc::clone(&clock));
        let readiness = Readiness::new(Arc::clone(&clock));
        let (openapi, about) = (document_text(), Fixed::new(about_text()));
        let sql = SqlEngine::new(store.clone(), settings.sql.clone(), Arc::clone(&clock))
            .map_err(|error| Error::caused(ErrorKind::Unavailable, "questions in SQL cannot be answered", error))?;
        let shared = Shared {
            store,
            sql,
            settings,
            token_keys,
            link_keys,
            paces,
            body_memory,
            searches,
            downloads,
            metrics,
            figures,
            looks,
            readiness,
            changes: TaskTracker::new(),
            about,
            openapi,
            started_at: clock.now(),
            clock,
            random,
        };
        Ok(Self(Arc::new(shared)))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// What answers questions in SQL.
    pub(crate) fn sql(&self) -> &SqlEngine {
        &self.0.sql
    }

    pub(crate) fn settings(&self) -> &ServerSettings {
        &self.0.settings
    }

    /// The keys of access tokens.
    pub(crate) fn token_keys(&self) -> &KeyRing {
        &self.0.token_keys
    }

    /// The keys of links.
    pub(crate) fn link_keys(&self) -> &KeyRing {
        &self.0.link_keys
    }

    pub(crate) fn paces(&self) -> &Paces {
        &self.0.paces
    }

    /// The memory for what is pushed.
    pub(crate) fn body_memory(&self) -> &BodyMemory {
        &self.0.body_memory
    }

    /// Turns of searches, searches in a log, and histograms.
    pub(crate) fn searches(&self) -> &Turns {
        &self.0.searches
    }

    /// Turns of downloads of whole logs.
    pub(crate) fn downloads(&self) -> &Turns {
        &self.0.downloads
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The archive's figures; of a large archive, as they were some minutes ago.
    pub(crate) async fn figures(&self) -> runlog_store::Result<Arc<Gathered<ArchiveFigures>>> {
        let store = self.0.store.clone();
        self.0.figures.get(async move { store.maintenance().figures().await }).await
    }

    /// Who lately looked at what.
    pub(crate) fn looks(&self) -> &Looks {
        &self.0.looks
    }

    /// Runs what changes something to its end, also when whoever waits for it goes away.
    pub(crate) async fn outlive<T: Send + 'static>(&self, change: impl Future<Output = T> + Send + 'static) -> T {
        match self.0.changes.spawn(change).await {
            Ok(done) => done,
            Err(broken) if broken.is_panic() => std::panic::resume_unwind(broken.into_panic()),
            // The process is ending, and whoever waits with it.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits for changes that go on for clients that have gone.
    pub(crate) async fn finish_changes(&self) {
        self.0.changes.close();
        self.0.changes.wait().await;
    }

    /// Whether the archive answers, as it was some seconds ago at most.
    pub(crate) async fn check(&self) -> runlog_store::Result<()> {
        self.0.readiness.check(self.store()).await
    }

    /// What the service says of itself.
    pub(crate) fn about(&self) -> &Fixed {
        &self.0.about
    }

    /// The description of the API, as text.
    pub(crate) fn openapi(&self) -> &str {
        &self.0.openapi
    }

    pub(crate) fn random(&self) -> &dyn Random {
        self.0.random.as_ref()
    }

    /// When this service began.
    pub(crate) fn started_at(&self) -> Timestamp {
        self.0.started_at
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The present second since 1970.
    pub(crate) fn now_seconds(&self) -> i64 {
        self.now().as_millis().div_euclid(1_000)
    }
}
