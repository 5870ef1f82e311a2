//! The store: what holds the catalog and the objects together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use runlog_model::{Clock, Random, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::catalog::clock::CatalogClock;
use crate::catalog::database::Catalog;
use crate::catalog::group_commit::Group;
use crate::cpu::CpuPool;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint;
use crate::ingest::commit::Commits;
use crate::limits;
use crate::node_figures::NodeFigures;
use crate::objects::backend::Objects;
use crate::objects::damage::Damage;
use crate::objects::intents::Intents;
use crate::objects::keys;
use crate::objects::metering::ObjectCounts;
use crate::page::build::PageBuilds;
use crate::private::{keep_private, make_private_folder};
use crate::segment::reader::{self, OpenSegments};
use crate::settings::StoreSettings;
use crate::supervise::Supervisor;
use crate::tables::audit::Deed;

/// An open archive. Clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// What the next change is written down as.
    deed: Option<Arc<Deed>>,
}

struct Inner {
    settings: StoreSettings,
    catalog: Catalog,
    catalog_clock: CatalogClock,
    objects: Objects,
    object_counts: Arc<ObjectCounts>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    builds: PageBuilds,
    group: Group,
    commits: Commits,
    intents: Intents,
    open_segments: OpenSegments,
    supervisor: Supervisor,
    cpu: CpuPool,
    damage: Damage,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the archive, and makes it when it is not there.
    ///
    /// Fails with `Unavailable` when a place of it cannot be reached or written, with `Corrupt` when a newer version wrote it.
    pub async fn open(settings: StoreSettings, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self> {
        failpoint::set_up();
        let folder = &settings.data_folder;
        if settings.catalog.is_none() || settings.objects.is_none() {
            let making = folder.clone();
            tokio::task::spawn_blocking(move || make_private_folder(&making)).await?.map_err(|error| {
                let message = format!("cannot make the folder {}", folder.display());
                Error::caused(ErrorKind::Unavailable, message, error)
            })?;
        }
        let objects = match &settings.objects {
            Some(url) => Objects::in_bucket(url)?,
            None => Objects::in_folder(&folder.join("objects"))?,
        };
        if settings.links_by_bucket && !objects.can_link() {
            let message = "objects that lie in a folder have no links of their own: put them into a bucket, or let Runlog make the links";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let catalog = match &settings.catalog {
            Some(url) => Catalog::connect(url.url()).await?,
            None => {
                let file = folder.join("catalog.sqlite");
                let catalog = Catalog::open_file(&file).await?;
                // Its write-ahead log gets the same rights.
                keep_private(&file);
                catalog
            }
        };
        let damage = Damage::new(catalog.write().clone(), Arc::clone(&clock));
        let object_counts = Arc::default();
        let objects = objects.metered(&object_counts);
        let inner = Inner {
            commits: Commits::new(settings.ingest_memory_bytes),
            settings,
            catalog,
            catalog_clock: CatalogClock::default(),
            objects,
            object_counts,
            supervisor: Supervisor::new(Arc::clone(&clock)),
            clock,
            random,
            builds: PageBuilds::new(),
            group: Group::default(),
            intents: Intents::default(),
            open_segments: reader::open_segments(),
            cpu: CpuPool::new(),
            damage,
        };
        Ok(Self { inner: Arc::new(inner), deed: None })
    }

    /// Checks that the catalog answers and that an object can be written and removed.
    pub async fn check(&self) -> Result<()> {
        self.check_until(&CancellationToken::new()).await
    }

    /// The same; broken off by `stop`, it removes what it has written.
    pub async fn check_until(&self, stop: &CancellationToken) -> Result<()> {
        sqlx::query("SELECT 1").fetch_one(self.catalog().read()).await?;
        let probe = keys::probe(self.random().uuid());
        let put = self.objects().put(&probe, Bytes::from_static(b"probe").into());
        self.with_probe(&probe, put, stop).await.map(drop)
    }

    /// Does something with an object that is nothing but a probe, and removes it, whatever came of it: a write that failed
    /// may have come through, and only its answer was lost.
    pub(crate) async fn with_probe<T>(
        &self,
        probe: &Path,
        look: impl Future<Output = object_store::Result<T>>,
        stop: &CancellationToken,
    ) -> Result<T> {
        let mut look = std::pin::pin!(look);
        let looked = tokio::select! {
            looked = &mut look => looked.map_err(Error::from),
            () = stop.cancelled() => {
                // A write that is under way would come through after the removal.
                let _ = tokio::time::timeout(limits::PROBE_REMOVAL, look).await;
                Err(Error::new(ErrorKind::Unavailable, "told to stop"))
            }
        };
        let deleted = tokio::time::timeout(limits::PROBE_REMOVAL, self.objects().delete(probe)).await;
        let found = looked?;
        match deleted {
            Ok(deleted) => deleted?,
            Err(_) => {
                return Err(Error::new(ErrorKind::Unavailable, format!("the object {probe} was not removed in time")));
            }
        }
        Ok(found)
    }

    /// Keeps the long-lived work on this archive going that this process does, and knows how it is doing.
    pub fn supervisor(&self) -> &Supervisor {
        &self.inner.supervisor
    }

    /// Closes the catalog. Calls after this fail with `Unavailable`.
    pub async fn close(&self) {
        self.inner.catalog.close().await;
    }

    /// The archive for a change that is written down in the audit log: the call that makes it writes both or neither.
    pub fn doing(&self, deed: Deed) -> Self {
        Self { inner: Arc::clone(&self.inner), deed: Some(Arc::new(deed)) }
    }

    /// The archive for a part of a change that is not written down by itself.
    pub(crate) fn unattended(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), deed: None }
    }

    /// What the next change is written down as.
    pub(crate) fn deed(&self) -> Option<&Deed> {
        self.deed.as_deref()
    }

    pub(crate) fn settings(&self) -> &StoreSettings {
        &self.inner.settings
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    pub(crate) fn catalog_clock(&self) -> &CatalogClock {
        &self.inner.catalog_clock
    }

    pub(crate) fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.inner.objects.store
    }

    /// The objects, for what can be made anew.
    pub(crate) fn fleeting_objects(&self) -> &Arc<dyn ObjectStore> {
        &self.inner.objects.fleeting
    }

    /// False when the machine went down before a fleeting object was on disk.
    pub(crate) async fn is_whole(&self, key: &Path, length: u64) -> Result<bool> {
        self.inner.objects.is_whole(key, length).await
    }

    /// A link to an object of the bucket; none where the objects have no links.
    pub(crate) async fn object_link(&self, key: &Path, file_name: &str, life: Duration) -> Result<Option<url::Url>> {
        self.inner.objects.link(key, file_name, life).await
    }

    pub(crate) fn random(&self) -> &dyn Random {
        &*self.inner.random
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    pub(crate) fn group(&self) -> &Group {
        &self.inner.group
    }

    pub(crate) fn commits(&self) -> &Commits {
        &self.inner.commits
    }

    pub(crate) fn intents(&self) -> &Intents {
        &self.inner.intents
    }

    /// What this process does on the archive at this moment, and what it has asked the objects for.
    pub fn node_figures(&self) -> NodeFigures {
        let (ingest_held_bytes, ingest_bytes) = self.commits().memory_bytes();
        NodeFigures {
            catalog: self.catalog().figures(),
            objects: self.inner.object_counts.figures(),
            ingest_held_bytes,
            ingest_bytes,
        }
    }

    pub(crate) fn damage(&self) -> &Damage {
        &self.inner.damage
    }

    /// Where decoding, encoding and the like is done.
    pub(crate) fn cpu(&self) -> &CpuPool {
        &self.inner.cpu
    }

    pub(crate) fn open_segments(&self) -> &OpenSegments {
        &self.inner.open_segments
    }

    /// Writes an object. An answer that got lost is settled by looking whether the object is there.
    pub(crate) async fn put_object(&self, key: &Path, bytes: Bytes) -> Result<()> {
        let length = bytes.len() as u64;
        let Err(error) = self.objects().put(key, bytes.into()).await else { return Ok(()) };
        match self.objects().head(key).await {
            Ok(found) if found.size == length => Ok(()),
            _ => Err(error.into()),
        }
    }

    pub(crate) fn builds(&self) -> &PageBuilds {
        &self.inner.builds
    }
}
