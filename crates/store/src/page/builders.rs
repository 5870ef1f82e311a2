//! The builder slots of this node, and the queue of pages to build.

use std::sync::Arc;

use runlog_model::{FileFormat, RecordOrder};
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};

use crate::core::Core;
use crate::log::merge::MergeTrace;
use crate::log::slices::Scope;
use crate::page::compressor::CompressorPool;

/// Pages of logs: requests, builds and downloads. Clones share the builders.
#[derive(Clone)]
pub struct Pages {
    pub(crate) core: Core,
    builds: Arc<PageBuilds>,
}

impl Pages {
    pub(crate) fn new(core: Core, builds: Arc<PageBuilds>) -> Self {
        Self { core, builds }
    }

    pub(crate) fn builds(&self) -> &Arc<PageBuilds> {
        &self.builds
    }
}

/// The number of built pages after which a waiting caller misses notifications and checks the catalog. Unit: pages.
const BUILT_CHANNEL_CAPACITY: usize = 256;

/// The builder slots of this node.
pub(crate) struct PageBuilds {
    /// One permit for each further page that may be built; none while the builders are not running.
    pub(super) slots: Arc<Semaphore>,
    /// The slots for long builds.
    pub(super) long_slots: Arc<Semaphore>,
    /// Pages that were claimed when they were requested.
    pub(super) queue: mpsc::UnboundedSender<QueuedPage>,
    pub(super) to_build: Mutex<mpsc::UnboundedReceiver<QueuedPage>>,
    /// Notified when there may be unclaimed pages.
    pub(super) work_available: Notify,
    /// Keys of the pages that were built on this node.
    pub(super) built: broadcast::Sender<Arc<str>>,
    pub(super) compressors: CompressorPool,
    /// Held while a page is built without a slot because a download waits for it.
    pub(super) rebuilding: Mutex<()>,
}

impl PageBuilds {
    pub(crate) fn new() -> Self {
        let (queue, to_build) = mpsc::unbounded_channel();
        Self {
            slots: Arc::new(Semaphore::new(0)),
            long_slots: Arc::new(Semaphore::new(0)),
            queue,
            to_build: Mutex::new(to_build),
            work_available: Notify::new(),
            built: broadcast::channel(BUILT_CHANNEL_CAPACITY).0,
            compressors: CompressorPool::default(),
            rebuilding: Mutex::new(()),
        }
    }

    /// Reserves a free builder slot, if there is one.
    pub(crate) fn try_acquire_builder(&self) -> Option<Builder> {
        let slots = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        Some(Builder { _idle: slots })
    }

    /// Queues a page whose row is being committed. The file is published once a message is sent with the returned
    /// sender.
    pub(crate) fn enqueue(&self, builder: Builder, page: PageToBuild) -> oneshot::Sender<()> {
        let (accept, accepted) = oneshot::channel();
        // Sending cannot fail: the receiver lives as long as the store.
        let _ = self.queue.send(QueuedPage { page, accepted, builder });
        accept
    }

    /// Wakes the build loop to claim unclaimed pages.
    pub(crate) fn notify(&self) {
        self.work_available.notify_one();
    }

    /// Returns a receiver of the keys of pages that are built on this node from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<str>> {
        self.built.subscribe()
    }
}

/// A builder slot that is reserved.
pub(crate) struct Builder {
    pub(super) _idle: OwnedSemaphorePermit,
}

pub(crate) struct QueuedPage {
    pub(super) page: PageToBuild,
    /// Completes when the row of the page is committed.
    pub(super) accepted: oneshot::Receiver<()>,
    pub(super) builder: Builder,
}

/// A page whose file is to be built.
pub(crate) struct PageToBuild {
    pub(crate) key: String,
    pub(crate) page: Scope,
    pub(crate) format: FileFormat,
    pub(crate) order: RecordOrder,
    pub(crate) records: u64,
    /// Number of consecutive attempts that failed because a dependency was unavailable.
    pub(crate) attempts_away: i64,
    /// The rows that were examined to determine the end of the page, if the page was requested just now.
    pub(crate) trace: Option<MergeTrace>,
}
