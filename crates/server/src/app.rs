//! The state shared by all handlers: the archive, the settings, access control, the clock.

use std::sync::Arc;

use axum::extract::FromRef;
use runlog_analysis::report::ReportSources;
use runlog_model::{Clock, Random, Timestamp};
use runlog_sql::SqlEngine;
use runlog_store::alerts::AlertDestination;
use runlog_store::collection::CollectionMetrics;
use runlog_store::delivery::SinkMetrics;
use runlog_store::metrics::ArchiveMetrics;
use runlog_store::{Error, ErrorKind, Store};

use crate::auth::rate_limit::RateLimitSettings;
use crate::auth::state::{Auth, AuthSettings};
use crate::http::concurrency_limit::ConcurrencyLimit;
use crate::http::readiness::Readiness;
use crate::http::request::RequestContext;
use crate::ingest::body_memory::BodyMemory;
use crate::limits;
use crate::limits::Bounds;
use crate::metrics::counters::Metrics;
use crate::metrics::stale_cache::{Snapshot, StaleCache};
use crate::settings::ServerSettings;

/// Everything that handlers share. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    store: Store,
    sql: SqlEngine,
    settings: ServerSettings,
    auth: Auth,
    request_context: Arc<RequestContext>,
    body_memory: BodyMemory,
    searches: ConcurrencyLimit,
    page_reads: ConcurrencyLimit,
    downloads: ConcurrencyLimit,
    tails: ConcurrencyLimit,
    metrics: Arc<Metrics>,
    /// The counts of [`Maintenance::figures`](runlog_store::maintenance::Maintenance::figures).
    archive_figures: StaleCache<ArchiveMetrics>,
    /// Collection, deliveries and alerts.
    queue_figures: StaleCache<QueueMetrics>,
    readiness: Readiness,
    /// When this service started.
    started_at: Timestamp,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// The metrics of what is collected, delivered and reported.
pub(crate) struct QueueMetrics {
    pub(crate) upstreams: Vec<CollectionMetrics>,
    pub(crate) sinks: Vec<SinkMetrics>,
    pub(crate) alerts: Vec<AlertDestination>,
}

async fn queue_metrics(store: &Store) -> runlog_store::Result<QueueMetrics> {
    let mut upstreams = Vec::new();
    for name in store.collection().upstreams().await? {
        upstreams.push(store.collection().metrics(&name).await?);
    }
    let (sinks, alerts) = (store.deliveries().metrics().await?, store.alerts().destinations().await?);
    Ok(QueueMetrics { upstreams, sinks, alerts })
}

impl App {
    /// Reads the keys that sign tokens and links from the archive; they are the same on every node.
    pub async fn new(
        store: Store,
        settings: ServerSettings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> runlog_store::Result<Self> {
        let of_auth = auth_settings(&settings);
        let auth = Auth::open(store.clone(), of_auth, Arc::clone(&clock), Arc::clone(&random)).await?;
        let metrics = Arc::new(Metrics::new());
        let request_context = RequestContext {
            proxies: settings.proxies.clone(),
            metrics: Arc::clone(&metrics),
            rate_limit: auth.rate_limits().header(),
            clock: Arc::clone(&clock),
            random: Arc::clone(&random),
        };
        let sql = SqlEngine::new(store.query().clone(), settings.sql.clone(), Arc::clone(&clock))
            .map_err(|error| Error::caused(ErrorKind::Unavailable, "SQL queries are not available", error))?;
        let shared = Shared {
            store,
            sql,
            auth,
            request_context: Arc::new(request_context),
            body_memory: body_memory(&settings.bounds),
            searches: ConcurrencyLimit::of_searches(&settings.bounds),
            page_reads: ConcurrencyLimit::of_page_reads(&settings.bounds),
            downloads: ConcurrencyLimit::of_downloads(&settings.bounds),
            tails: ConcurrencyLimit::of_tails(&settings.bounds),
            settings,
            metrics,
            archive_figures: StaleCache::new(Arc::clone(&clock)),
            queue_figures: StaleCache::new(Arc::clone(&clock)),
            readiness: Readiness::new(Arc::clone(&clock)),
            started_at: clock.now(),
            clock,
            random,
        };
        Ok(Self(Arc::new(shared)))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// The parts of the archive that reports read.
    pub(crate) fn report_sources(&self) -> ReportSources<'_> {
        let store = self.store();
        ReportSources {
            summaries: store.summaries(),
            logs: store.logs(),
            problems: store.problems(),
            components: store.components(),
            runs: store.runs(),
            workspaces: store.workspaces(),
        }
    }

    /// The SQL engine.
    pub(crate) fn sql(&self) -> &SqlEngine {
        &self.0.sql
    }

    pub(crate) fn settings(&self) -> &ServerSettings {
        &self.0.settings
    }

    /// Authentication and access control.
    pub(crate) fn auth(&self) -> &Auth {
        &self.0.auth
    }

    /// The context of every request.
    pub(crate) fn request_context(&self) -> Arc<RequestContext> {
        Arc::clone(&self.0.request_context)
    }

    /// Number of changes in progress, for clients that wait and for clients that have disconnected.
    pub fn changes_in_progress(&self) -> usize {
        self.auth().changes().len()
    }

    /// The memory for pushed bodies.
    pub(crate) fn body_memory(&self) -> &BodyMemory {
        &self.0.body_memory
    }

    /// The limit of concurrent searches, searches in a log, and histograms.
    pub(crate) fn searches(&self) -> &ConcurrencyLimit {
        &self.0.searches
    }

    /// The limit of pages of logs that are read or requested concurrently.
    pub(crate) fn page_reads(&self) -> &ConcurrencyLimit {
        &self.0.page_reads
    }

    /// The limit of concurrent downloads of whole logs.
    pub(crate) fn downloads(&self) -> &ConcurrencyLimit {
        &self.0.downloads
    }

    /// The limit of logs that are followed over a WebSocket.
    pub(crate) fn tails(&self) -> &ConcurrencyLimit {
        &self.0.tails
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The same, for work that outlives a request.
    pub(crate) fn metrics_handle(&self) -> Arc<Metrics> {
        Arc::clone(&self.0.metrics)
    }

    /// The metrics of the archive; for a large archive, cached for some minutes.
    pub(crate) async fn archive_figures(&self) -> runlog_store::Result<Arc<Snapshot<ArchiveMetrics>>> {
        let store = self.0.store.clone();
        self.0.archive_figures.get(async move { store.maintenance().metrics().await }).await
    }

    /// The metrics of collectors, sinks and alerts; for a large archive, cached for some minutes.
    pub(crate) async fn queue_figures(&self) -> runlog_store::Result<Arc<Snapshot<QueueMetrics>>> {
        let store = self.0.store.clone();
        self.0.queue_figures.get(async move { queue_metrics(&store).await }).await
    }

    /// The check whether the archive responds; its result is at most some seconds old.
    pub(crate) async fn check(&self) -> runlog_store::Result<()> {
        self.0.readiness.check(self.store()).await
    }

    pub(crate) fn random(&self) -> &dyn Random {
        self.0.random.as_ref()
    }

    /// When this service started.
    pub(crate) fn started_at(&self) -> Timestamp {
        self.0.started_at
    }

    /// The clock.
    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.0.clock)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}

impl FromRef<App> for Bounds {
    fn from_ref(app: &App) -> Self {
        app.settings().bounds
    }
}

fn auth_settings(settings: &ServerSettings) -> AuthSettings {
    AuthSettings {
        public_url: settings.public_url.clone(),
        has_tls: settings.tls.is_some(),
        access_token_seconds: settings.access_token_seconds,
        link_seconds: settings.link_seconds,
        rates: RateLimitSettings {
            requests_per_second: settings.requests_per_second,
            turn_time_max: settings.turn_time_max,
            anonymous_requests_per_second: settings.anonymous_requests_per_second,
        },
        oidc: settings.oidc.clone(),
    }
}

fn body_memory(bounds: &Bounds) -> BodyMemory {
    let (events_bytes, line_bytes) = (bounds.events_bytes_max, bounds.line_bytes_max);
    let times = |times: usize| events_bytes.saturating_mul(times);
    // It must be enough for the longest line and its buffers.
    let line_read = line_bytes.saturating_mul(limits::LINE_READ_TIMES).saturating_add(limits::READ_BUFFERS_MAX);
    let line_decoded = line_bytes.saturating_mul(limits::LINE_MEMORY_TIMES);
    BodyMemory::new(
        times(limits::EVENTS_READ_TIMES).max(line_read),
        times(limits::EVENTS_MEMORY_TIMES).max(line_decoded),
        times(limits::EVENTS_MEMORY_TIMES),
    )
}
