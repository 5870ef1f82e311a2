//! The builders of page files that this node has, and what is handed to them.

use std::sync::Arc;

use runlog_model::{FileFormat, RecordOrder};
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};

use crate::core::Core;
use crate::log::merge::MergeTrace;
use crate::log::slices::Scope;
use crate::page::compressor::CompressorPool;

/// Pages out: asked for, built and read. Clones share the builders.
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

/// How many pages may have been built before someone who waits for one of them looks. Unit: pages.
const BUILT_CHANNEL_CAPACITY: usize = 256;

/// The builders of this node.
pub(crate) struct PageBuilds {
    /// One for each page that may be built beside those that are; none while nobody builds.
    pub(super) slots: Arc<Semaphore>,
    /// The same, for pages that take long.
    pub(super) long_slots: Arc<Semaphore>,
    /// Pages that were claimed when they were asked for.
    pub(super) queue: mpsc::UnboundedSender<QueuedPage>,
    pub(super) to_build: Mutex<mpsc::UnboundedReceiver<QueuedPage>>,
    /// There are pages that nobody has claimed.
    pub(super) work_available: Notify,
    /// Keys of pages that were built here.
    pub(super) built: broadcast::Sender<Arc<str>>,
    pub(super) compressors: CompressorPool,
    /// Held by whoever builds a page beside the builders, because a download waits for it.
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

    /// A builder, when one is idle.
    pub(crate) fn try_acquire_builder(&self) -> Option<Builder> {
        let slots = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        Some(Builder { _idle: slots })
    }

    /// Has a page built whose row is on its way; the file counts once it is told that the row is there.
    pub(crate) fn enqueue(&self, builder: Builder, page: PageToBuild) -> oneshot::Sender<()> {
        let (accept, accepted) = oneshot::channel();
        // There is a receiver for as long as there is a store.
        let _ = self.queue.send(QueuedPage { page, accepted, builder });
        accept
    }

    /// Has someone look for pages that nobody has claimed.
    pub(crate) fn notify(&self) {
        self.work_available.notify_one();
    }

    /// Keys of the pages that are built here from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<str>> {
        self.built.subscribe()
    }
}

/// A builder of this node that will be needed.
pub(crate) struct Builder {
    pub(super) _idle: OwnedSemaphorePermit,
}

pub(crate) struct QueuedPage {
    pub(super) page: PageToBuild,
    /// Comes when the page's row is there.
    pub(super) accepted: oneshot::Receiver<()>,
    pub(super) builder: Builder,
}

/// A page whose file is to be written.
pub(crate) struct PageToBuild {
    pub(crate) key: String,
    pub(crate) page: Scope,
    pub(crate) format: FileFormat,
    pub(crate) order: RecordOrder,
    pub(crate) records: u64,
    /// How often it was tried in vain, one after the other, because something was away.
    pub(crate) attempts_away: i64,
    /// Where its rows are, when it was cut just now.
    pub(crate) trace: Option<MergeTrace>,
}
