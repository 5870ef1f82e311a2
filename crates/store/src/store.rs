//! An open archive, through which all of its parts are accessed.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use runlog_model::{Clock, Random};
use tokio_util::sync::CancellationToken;

use crate::background_threads::BackgroundThreads;
use crate::catalog::audit_context::AuditContext;
use crate::core::{Clocks, Core};
use crate::error::Result;
use crate::failpoint;
use crate::ingest::commit::Ingest;
use crate::ingest::queue::CommitQueue;
use crate::maintain::maintenance::Maintenance;
use crate::node_metrics::NodeMetrics;
use crate::objects::keys;
use crate::objects::probe::with_probe;
use crate::page::builders::{PageBuilds, Pages};
use crate::parts::{
    Accounts, Alerts, AuditLog, Collection, Components, Deliveries, Lake, Logs, Plans, Problems, Query, Runs,
    SavedQueries, SigningKeys, Summaries, TenantAuditLogs, Workspaces,
};
use crate::settings::StoreSettings;
use crate::simulation::Simulation;
use crate::supervise::Supervisor;

/// An open archive. Clones refer to the same archive.
#[derive(Clone)]
pub struct Store(Arc<Parts>);

struct Parts {
    core: Core,
    runs: Runs,
    workspaces: Workspaces,
    accounts: Accounts,
    signing_keys: SigningKeys,
    saved_queries: SavedQueries,
    deliveries: Deliveries,
    collection: Collection,
    logs: Logs,
    query: Query,
    summaries: Summaries,
    problems: Problems,
    components: Components,
    plans: Plans,
    tenant_audit_logs: TenantAuditLogs,
    lake: Lake,
    audit: AuditLog,
    alerts: Alerts,
    ingest: Ingest,
    pages: Pages,
    maintenance: Maintenance,
}

impl Parts {
    fn new(core: Core, queue: Arc<CommitQueue>, builds: Arc<PageBuilds>, supervisor: Arc<Supervisor>) -> Self {
        let ingest = Ingest::new(core.clone(), queue);
        let pages = Pages::new(core.clone(), builds);
        let background = core.in_background();
        let maintenance = Maintenance::new(background.clone(), ingest.clone(), pages.clone(), supervisor);
        Self {
            runs: Runs::new(&core),
            workspaces: Workspaces::new(&core),
            accounts: Accounts::new(&core),
            signing_keys: SigningKeys::new(&core),
            saved_queries: SavedQueries::new(&core),
            deliveries: Deliveries::new(&background),
            collection: Collection::new(&core),
            logs: Logs::new(&core),
            query: Query::new(&background),
            summaries: Summaries::new(&core),
            problems: Problems::new(&core),
            components: Components::new(&core),
            plans: Plans::new(&core),
            tenant_audit_logs: TenantAuditLogs::new(&core),
            lake: Lake::new(&core),
            audit: AuditLog::new(&core),
            alerts: Alerts::new(&core),
            core,
            ingest,
            pages,
            maintenance,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("settings", self.0.core.settings()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the archive, and creates it if it does not exist.
    ///
    /// Fails with `Unavailable` if its catalog or its objects cannot be reached or written, and with `Corrupt` if a
    /// newer version of Runlog wrote the archive.
    pub async fn open(settings: StoreSettings, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self> {
        Self::open_on(settings, Clocks { node: clock, catalog: None }, random, None).await
    }

    /// Like [`open`](Self::open), with the clock of the catalog, which is not queried for it. For tests.
    pub async fn open_with_catalog_clock(
        settings: StoreSettings,
        clock: Arc<dyn Clock>,
        catalog_clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self> {
        Self::open_on(settings, Clocks { node: clock, catalog: Some(catalog_clock) }, random, None).await
    }

    /// Like [`open`](Self::open), on a simulated machine: the simulation provides the objects and decides when each
    /// operation on the catalog begins. For tests.
    pub async fn open_simulated(
        settings: StoreSettings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        simulation: Arc<dyn Simulation>,
    ) -> Result<Self> {
        Self::open_on(settings, Clocks { node: clock, catalog: None }, random, Some(simulation)).await
    }

    async fn open_on(
        settings: StoreSettings,
        clocks: Clocks,
        random: Arc<dyn Random>,
        simulation: Option<Arc<dyn Simulation>>,
    ) -> Result<Self> {
        failpoint::set_up();
        let queue = Arc::new(CommitQueue::new(settings.ingest_memory_bytes));
        let supervisor = Arc::new(Supervisor::new(Arc::clone(&clocks.node)));
        let core = Core::open(settings, clocks, random, simulation).await?;
        // Measures how far the clocks differ.
        core.catalog_now().await?;
        Ok(Self(Arc::new(Parts::new(core, queue, Arc::new(PageBuilds::new()), supervisor))))
    }

    /// Checks that the catalog answers and that an object can be written and removed.
    pub async fn check(&self) -> Result<()> {
        self.check_until(&CancellationToken::new()).await
    }

    /// Like [`check`](Self::check). Cancelling `stop` ends the check early; the object that it wrote is still removed.
    pub async fn check_until(&self, stop: &CancellationToken) -> Result<()> {
        sqlx::query("SELECT 1").fetch_one(self.0.core.catalog().read()).await?;
        let probe = keys::probe(self.0.core.random().uuid());
        let put = self.0.core.objects().put(&probe, Bytes::from_static(b"probe").into());
        with_probe(self.0.core.objects(), &probe, put, stop).await.map(drop)
    }

    /// Returns the clock that all nodes share: this node's clock, corrected by its difference from the catalog's clock
    /// when that was last measured. Rules of alerts are evaluated by it.
    pub fn shared_clock(&self) -> Arc<dyn Clock> {
        self.0.core.shared_clock()
    }

    /// Returns the supervisor of this process's long-running work on the archive.
    pub fn supervisor(&self) -> &Supervisor {
        self.0.maintenance.supervisor()
    }

    /// Closes the catalog. Calls after this fail with `Unavailable`.
    pub async fn close(&self) {
        self.0.core.catalog().close().await;
    }

    /// Returns a handle for an audited change: the call that makes the change also writes the audit entry, in the same
    /// transaction.
    pub fn with_audit(&self, audit_context: AuditContext) -> Self {
        self.with_core(self.0.core.with_audit(audit_context))
    }

    /// Returns a handle for background work, such as collecting: interactive calls have priority on the processors.
    pub fn in_background(&self) -> Self {
        self.with_core(self.0.core.in_background())
    }

    /// Returns the threads for background computations.
    pub fn background_threads(&self) -> &Arc<BackgroundThreads> {
        self.0.core.background_threads()
    }

    fn with_core(&self, core: Core) -> Self {
        let Parts { ingest, pages, maintenance, .. } = &*self.0;
        let (queue, builds) = (Arc::clone(ingest.queue()), Arc::clone(pages.builds()));
        Self(Arc::new(Parts::new(core, queue, builds, Arc::clone(maintenance.supervisor()))))
    }

    /// Returns metrics of this process: its current use of the archive, and its requests to the object store.
    pub fn node_metrics(&self) -> NodeMetrics {
        let (ingest_held_bytes, ingest_bytes) = self.0.ingest.queue().memory_bytes();
        NodeMetrics {
            catalog: self.0.core.catalog().metrics(),
            objects: self.0.core.object_metrics(),
            lake_snapshots: self.0.lake.snapshots_made(),
            ingest_held_bytes,
            ingest_bytes,
        }
    }

    /// Ingestion: storing records.
    pub fn ingest(&self) -> &Ingest {
        &self.0.ingest
    }

    /// Pages of logs, as files to download.
    pub fn pages(&self) -> &Pages {
        &self.0.pages
    }

    /// Sealing, sweeping, retention, deletion, verification and copies.
    pub fn maintenance(&self) -> &Maintenance {
        &self.0.maintenance
    }

    #[cfg(test)]
    pub(crate) fn core(&self) -> &Core {
        &self.0.core
    }

    /// Runs: their start and end, lists of runs, their history, and the plan executions that they belong to.
    pub fn runs(&self) -> &Runs {
        &self.0.runs
    }

    /// Environments, their workspaces, and the tasks of the workspaces.
    pub fn workspaces(&self) -> &Workspaces {
        &self.0.workspaces
    }

    /// Users, service accounts, their tokens, rights and sessions.
    pub fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    /// Keys that sign access tokens and links.
    pub fn signing_keys(&self) -> &SigningKeys {
        &self.0.signing_keys
    }

    /// SQL queries that callers have saved.
    pub fn saved_queries(&self) -> &SavedQueries {
        &self.0.saved_queries
    }

    /// Sinks, the deliveries of logs to them, and dead letters.
    pub fn deliveries(&self) -> &Deliveries {
        &self.0.deliveries
    }

    /// Upstreams, the runs collected from them, and the running collectors.
    pub fn collection(&self) -> &Collection {
        &self.0.collection
    }

    /// Records of one log: live pages, whole logs, filters and histograms.
    pub fn logs(&self) -> &Logs {
        &self.0.logs
    }

    /// Records and catalog rows of many runs: search and scans.
    pub fn query(&self) -> &Query {
        &self.0.query
    }

    /// Component metrics of runs.
    pub fn components(&self) -> &Components {
        &self.0.components
    }

    /// Plans and plan executions as reported by upstreams.
    pub fn plans(&self) -> &Plans {
        &self.0.plans
    }

    /// The audit logs of tenants: what the users of the upstreams did there.
    pub fn tenant_audit_logs(&self) -> &TenantAuditLogs {
        &self.0.tenant_audit_logs
    }

    /// Summaries of logs, and the error groups found in them.
    pub fn summaries(&self) -> &Summaries {
        &self.0.summaries
    }

    /// Problems: the root causes of failed runs, and the states and notes that users have given them.
    pub fn problems(&self) -> &Problems {
        &self.0.problems
    }

    /// Tables for lakehouses.
    pub fn lake(&self) -> &Lake {
        &self.0.lake
    }

    /// The audit log.
    pub fn audit(&self) -> &AuditLog {
        &self.0.audit
    }

    /// Alerts, and the catalog queries of alert rules.
    pub fn alerts(&self) -> &Alerts {
        &self.0.alerts
    }
}
