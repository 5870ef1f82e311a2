//! The state shared by all parts of the archive: catalog, objects, clock, random numbers and settings.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use runlog_model::{Clock, Random, Timestamp};
use tokio::sync::Semaphore;
use tracing::warn;

use crate::background_threads::BackgroundThreads;
use crate::catalog::audit_context::AuditContext;
use crate::catalog::clock::CatalogClock;
use crate::catalog::database::Catalog;
use crate::catalog::group_commit::{GroupCommit, GroupedWrite};
use crate::catalog::transaction::WriteTransaction;
use crate::cpu::{CpuPool, Priority};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::objects::backend::Objects;
use crate::objects::damage::Damage;
use crate::objects::intents::Intents;
use crate::objects::metering::{ObjectCounts, ObjectStoreMetrics};
use crate::objects::s3_signing::S3Signing;
use crate::permissions::{create_data_folder, create_private_folder};
use crate::segment::reader::Segments;
use crate::settings::StoreSettings;
use crate::simulation::Simulation;

/// Number of lakehouse tables of each workspace.
pub(crate) const LAKE_TABLES: usize = 4;

/// The shared state of an open archive. Clones refer to the same state.
#[derive(Clone)]
pub(crate) struct Core {
    inner: Arc<Inner>,
    /// The audit entry of the next change.
    audit_context: Option<Arc<AuditContext>>,
    /// The priority of CPU-bound work that is started through this handle.
    priority: Priority,
}

struct Inner {
    settings: StoreSettings,
    catalog: Catalog,
    catalog_clock: CatalogClock,
    group: Arc<GroupCommit>,
    objects: Objects,
    object_counts: Arc<ObjectCounts>,
    intents: Intents,
    /// Limits the updates of the last use of tokens that run in the background.
    last_use_updates: Arc<Semaphore>,
    /// Held while a snapshot of a lakehouse table of records is made.
    lake_turn: tokio::sync::Mutex<()>,
    /// Held while a snapshot of a lakehouse table of catalog rows is made.
    lake_view_turn: tokio::sync::Mutex<()>,
    /// Number of snapshots made by this process, by table.
    lake_snapshots: [AtomicU64; LAKE_TABLES],
    /// Readers of segments, first for interactive work, then for background work.
    segments: [Segments; 2],
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    background_threads: Arc<BackgroundThreads>,
    cpu: [CpuPool; 2],
}

/// The clocks of an archive.
pub(crate) struct Clocks {
    /// The clock of this node.
    pub(crate) node: Arc<dyn Clock>,
    /// The clock of the catalog; `None` if the catalog is queried for it.
    pub(crate) catalog: Option<Arc<dyn Clock>>,
}

impl Core {
    /// Opens the catalog and the objects. A simulation, if given, provides the objects and schedules the operations on
    /// the catalog.
    pub(crate) async fn open(
        settings: StoreSettings,
        Clocks { node: clock, catalog: clock_of_catalog }: Clocks,
        random: Arc<dyn Random>,
        simulation: Option<Arc<dyn Simulation>>,
    ) -> Result<Self> {
        let folder = &settings.data_folder;
        if settings.catalog.is_none() || settings.objects.is_none() {
            let making = folder.clone();
            tokio::task::spawn_blocking(move || create_data_folder(&making)).await?.map_err(|error| {
                let message = format!("cannot create the folder {}", folder.display());
                Error::caused(ErrorKind::Unavailable, message, error)
            })?;
        }
        let objects = match (&simulation, &settings.objects) {
            (Some(simulation), _) => Objects::simulated(&**simulation),
            (None, Some(url)) => Objects::in_bucket(url)?,
            (None, None) => {
                let objects = folder.join("objects");
                create_private_folder(&objects).map_err(|error| {
                    let message = format!("cannot create the folder {}", objects.display());
                    Error::caused(ErrorKind::Unavailable, message, error)
                })?;
                Objects::in_folder(&objects)?
            }
        };
        if settings.links_by_bucket && !objects.can_link() {
            let message = "objects in a folder have no links: store them in a bucket, or use the links of Runlog";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        if settings.lake && objects.address.is_none() {
            let message = "engines of lakehouses find objects in a folder, in S3 or in Google Cloud Storage only: do not \
                           offer tables for them here";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let catalog = match &settings.catalog {
            Some(url) => Catalog::connect(url.url()).await?,
            None => Catalog::open_file(&folder.join("catalog.sqlite")).await?,
        };
        let is_simulated = simulation.is_some();
        let catalog = catalog.simulated(simulation);
        let object_counts = Arc::default();
        let objects = objects.metered(&object_counts);
        let (background_threads, cpu) = if is_simulated {
            (Arc::new(BackgroundThreads::simulated()?), CpuPool::simulated_pair())
        } else {
            let threads = Arc::new(BackgroundThreads::new()?);
            (Arc::clone(&threads), CpuPool::pair(threads))
        };
        let damage = Damage::new(catalog.write().clone(), Arc::clone(&clock));
        let catalog_clock = CatalogClock::new(catalog.clone(), Arc::clone(&clock), clock_of_catalog);
        let bucket = &objects.store;
        let inner = Inner {
            group: Arc::new(GroupCommit::new(catalog.clone(), Arc::clone(&random))),
            intents: Intents::new(catalog.clone(), catalog_clock.clone(), Arc::clone(bucket), Arc::clone(&random)),
            segments: Segments::for_each(&cpu, &catalog, bucket, &damage),
            last_use_updates: Arc::new(Semaphore::new(limits::LAST_USE_UPDATES_MAX)),
            lake_turn: tokio::sync::Mutex::default(),
            lake_view_turn: tokio::sync::Mutex::default(),
            lake_snapshots: Default::default(),
            settings,
            catalog,
            catalog_clock,
            objects,
            object_counts,
            clock,
            random,
            background_threads,
            cpu,
        };
        if inner.catalog.lost_frames() > 0 {
            inner.intents.suspect_all().await?;
            warn!(
                frames_count = inner.catalog.lost_frames(),
                "the write-ahead log of the catalog lacks changes that were committed: `runlog archive verify` shows which \
                 records are concerned"
            );
        }
        Ok(Self { inner: Arc::new(inner), audit_context: None, priority: Priority::default() })
    }

    /// Returns a handle for an audited change: the call that makes the change also writes the audit entry, in the same
    /// transaction.
    pub(crate) fn with_audit(&self, audit_context: AuditContext) -> Self {
        Self { audit_context: Some(Arc::new(audit_context)), ..self.clone() }
    }

    /// Returns a handle for a part of a change that is not audited separately.
    pub(crate) fn without_audit(&self) -> Self {
        Self { audit_context: None, ..self.clone() }
    }

    /// Returns a handle for background work: work that takes long, or that no caller waits for.
    pub(crate) fn in_background(&self) -> Self {
        Self { priority: Priority::Background, ..self.clone() }
    }

    /// The audit entry of the next change.
    pub(crate) fn audit_context(&self) -> Option<&AuditContext> {
        self.audit_context.as_deref()
    }

    pub(crate) fn settings(&self) -> &StoreSettings {
        &self.inner.settings
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    /// Returns the current time by the catalog's clock. Used for leases and for ages in the sweep.
    pub(crate) async fn catalog_now(&self) -> Result<Timestamp> {
        self.inner.catalog_clock.measured_now().await
    }

    /// Returns the current time by the catalog's clock as it was last measured, without a query. Used for times that
    /// all nodes compare, such as when something is due.
    pub(crate) fn shared_now(&self) -> Timestamp {
        self.inner.catalog_clock.now()
    }

    /// Returns the clock of [`shared_now`](Self::shared_now).
    pub(crate) fn shared_clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.inner.catalog_clock.clone())
    }

    /// Returns the current time by this node's clock or by the catalog's, whichever is earlier. Used for ages after
    /// which data is permanently deleted.
    pub(crate) async fn earliest_now(&self) -> Result<Timestamp> {
        self.inner.catalog_clock.earliest_now().await
    }

    /// Converts a time of this node's clock to the catalog's clock.
    pub(crate) async fn catalog_time(&self, at: Timestamp) -> Result<Timestamp> {
        self.inner.catalog_clock.time(at).await
    }

    /// Fails with `Conflict` if a lease that was just acquired has already expired because this process was suspended
    /// in the meantime: another process may hold the lease now. `until` is a time of the catalog's clock.
    pub(crate) async fn check_lease(&self, until: Timestamp) -> Result<()> {
        let before = self.now();
        let ahead_ms = self.catalog_time(before).await?.millis_since(before);
        match self.now().plus_millis(ahead_ms) < until {
            true => Ok(()),
            false => Err(Error::conflict("the lease expired while it was being acquired: this process was suspended")),
        }
    }

    /// Runs a transaction that writes; see [`Catalog::transact`].
    pub(crate) async fn transact<T, F>(&self, attempt: impl Fn(WriteTransaction) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.catalog().transact(self.random(), attempt).await
    }

    /// Performs all of these writes or none of them, in one transaction with concurrent writes.
    pub(crate) async fn write_grouped(&self, writes: Vec<Box<dyn GroupedWrite>>) -> Result<()> {
        self.inner.group.write(writes).await
    }

    pub(crate) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.inner.objects.store
    }

    /// Returns the object store for objects that can be rebuilt.
    pub(crate) fn rebuildable_objects(&self) -> &Arc<dyn ObjectStore> {
        &self.inner.objects.rebuildable
    }

    /// Returns false if a rebuildable object is incomplete because the machine crashed before the object was on disk.
    pub(crate) async fn is_whole(&self, key: &Path, length: u64) -> Result<bool> {
        self.inner.objects.is_whole(key, length).await
    }

    /// Removes unfinished files that killed processes have left in the object folder, if they were last written before
    /// a time. Returns the number of bytes removed.
    pub(crate) async fn remove_unfinished_objects(&self, before: Timestamp) -> Result<u64> {
        let since_epoch = Duration::from_millis(u64::try_from(before.as_millis()).unwrap_or_default());
        self.inner.objects.remove_unfinished(SystemTime::UNIX_EPOCH + since_epoch).await
    }

    /// Returns a link to an object of the bucket; `None` if the object store cannot sign links.
    pub(crate) async fn object_link(&self, key: &Path, file_name: &str, life: Duration) -> Result<Option<url::Url>> {
        self.inner.objects.link(key, file_name, life).await
    }

    /// Returns the signer of other programs' requests to the bucket; `None` if the objects are not in an S3 bucket.
    pub(crate) fn s3_signing(&self) -> Option<&S3Signing> {
        self.inner.objects.signing()
    }

    /// Returns metrics of this process's requests to the object store.
    pub(crate) fn object_metrics(&self) -> Vec<ObjectStoreMetrics> {
        self.inner.object_counts.metrics()
    }

    /// Writes an object. If the response is lost, checks whether the object exists.
    pub(crate) async fn put_object(&self, key: &Path, bytes: Bytes) -> Result<()> {
        let length = bytes.len() as u64;
        let Err(error) = self.objects().put(key, bytes.into()).await else { return Ok(()) };
        match self.objects().head(key).await {
            Ok(found) if found.size == length => Ok(()),
            _ => Err(error.into()),
        }
    }

    /// Returns the address of the objects for other programs, such as `s3://bucket/prefix` or `file:///folder`; `None`
    /// if other programs cannot access them.
    pub(crate) fn objects_address(&self) -> Option<&str> {
        self.inner.objects.address.as_deref()
    }

    /// Returns the semaphore that limits the updates of the last use of tokens that run in the background.
    pub(crate) fn last_use_updates(&self) -> &Arc<Semaphore> {
        &self.inner.last_use_updates
    }

    /// Returns the mutex to hold while a snapshot of a lakehouse table of records is made.
    pub(crate) fn lake_turn(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.lake_turn
    }

    /// Returns the mutex to hold while a snapshot of a lakehouse table of catalog rows is made.
    pub(crate) fn lake_view_turn(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.lake_view_turn
    }

    /// Increments the number of snapshots of the table with this index.
    pub(crate) fn count_lake_snapshot(&self, table: usize) {
        self.inner.lake_snapshots[table].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of snapshots that this process has made of each table, in the order of the tables.
    pub(crate) fn lake_snapshots(&self) -> [u64; LAKE_TABLES] {
        std::array::from_fn(|table| self.inner.lake_snapshots[table].load(Ordering::Relaxed))
    }

    pub(crate) fn intents(&self) -> &Intents {
        &self.inner.intents
    }

    /// Returns the reader of segments for the priority of this handle.
    pub(crate) fn segments(&self) -> &Segments {
        self.priority.of(&self.inner.segments)
    }

    pub(crate) fn random(&self) -> &dyn Random {
        &*self.inner.random
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Returns the time elapsed since a fixed moment, by a monotonic clock.
    pub(crate) fn elapsed(&self) -> Duration {
        self.inner.clock.elapsed()
    }

    /// Returns the threads for background computations.
    pub(crate) fn background_threads(&self) -> &Arc<BackgroundThreads> {
        &self.inner.background_threads
    }

    pub(crate) fn cpu(&self) -> &CpuPool {
        self.priority.of(&self.inner.cpu)
    }
}
