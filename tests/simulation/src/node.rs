//! A node: an open archive on its own runtime, which a crash drops with all of its tasks.

use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::BoxFuture;
use object_store::ObjectStore;
use runlog_model::{Clock, Timestamp};
use runlog_store::simulation::{Operation, Simulation, Turn};
use runlog_store::{Store, StoreSettings};
use tokio::runtime::{Builder, Runtime};

use crate::locked;
use crate::objects::{Disk, NodeObjects};
use crate::schedule::Schedule;
use crate::seed::NodeRandom;

/// A runtime of one thread whose clock the driver moves, and which the driver runs until all its tasks wait.
pub(crate) struct NodeRuntime {
    pub(crate) runtime: Runtime,
    signal: Arc<Signal>,
    /// A paused clock moves by itself when every task waits, but not while this occupies a thread.
    _stands_still: mpsc::Sender<()>,
}

/// Notifies the driver that a runtime has nothing to do.
#[derive(Default)]
struct Signal {
    parks: AtomicU32,
    driver: Mutex<Option<Waker>>,
}

impl NodeRuntime {
    pub(crate) fn new(schedule: &Schedule, place: usize) -> Result<Self> {
        let signal = Arc::<Signal>::default();
        let parked = {
            let (schedule, signal) = (schedule.clone(), Arc::clone(&signal));
            move || {
                if schedule.is_idle(place) {
                    signal.parks.fetch_add(1, Ordering::SeqCst);
                    if let Some(driver) = locked(&signal.driver).take() {
                        driver.wake();
                    }
                }
            }
        };
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).on_thread_park(parked).build()?;
        let (stands_still, until) = mpsc::channel::<()>();
        runtime.spawn_blocking(move || until.recv());
        Ok(Self { runtime, signal, _stands_still: stands_still })
    }

    /// Runs its tasks until each waits at a gate or for time to pass, and nothing of the catalog is under way.
    pub(crate) fn settle(&self) {
        self.signal.parks.store(0, Ordering::SeqCst);
        self.runtime.block_on(Settled(&self.signal));
    }

    /// Advances its clock.
    pub(crate) fn advance(&self, ms: i64) {
        let time = Duration::from_millis(ms.unsigned_abs());
        self.runtime.block_on(tokio::time::advance(time));
    }

    /// Ends it, and drops all its tasks at their current await points.
    pub(crate) fn end(self) {
        let Self { runtime, signal, _stands_still } = self;
        drop((signal, _stands_still));
        runtime.shutdown_background();
    }
}

/// Completes when the runtime had nothing to do twice: the first time, timers that have ended may still fire.
struct Settled<'s>(&'s Signal);

impl Future for Settled<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0.parks.load(Ordering::SeqCst) >= 2 {
            return Poll::Ready(());
        }
        *locked(&self.0.driver) = Some(context.waker().clone());
        Poll::Pending
    }
}

/// The clock of a node: simulated time, and the node's clock error.
pub(crate) struct NodeClock {
    pub(crate) schedule: Schedule,
    /// Unit: milliseconds.
    pub(crate) ahead_ms: AtomicI64,
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        Timestamp::clamped(self.schedule.now_ms() + self.ahead_ms.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.schedule.now_ms().unsigned_abs())
    }
}

/// The machine of a node.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) schedule: Schedule,
    pub(crate) place: usize,
    pub(crate) disk: Disk,
    /// True for a bucket, which stores objects durably.
    pub(crate) is_bucket: bool,
    pub(crate) has_catalog_clock: bool,
}

impl Simulation for Machine {
    fn begin(&self, operation: Operation, statement: &str) -> BoxFuture<'static, Box<dyn Turn>> {
        self.schedule.begin_turn(self.place, operation, statement)
    }

    fn catalog_clock_ms(&self) -> Option<i64> {
        self.has_catalog_clock.then(|| self.schedule.now_ms())
    }

    fn objects(&self, is_synced: bool) -> Arc<dyn ObjectStore> {
        let (disk, schedule) = (self.disk.clone(), self.schedule.clone());
        Arc::new(NodeObjects { disk, schedule, place: self.place, is_synced: is_synced || self.is_bucket })
    }
}

/// A running node.
pub(crate) struct Node {
    pub(crate) place: NodeRuntime,
    pub(crate) store: Store,
    /// Delay of its timers because it was paused. Unit: milliseconds.
    pub(crate) lag_ms: i64,
}

/// Opens the archive on a new node.
pub(crate) fn open(
    settings: StoreSettings,
    machine: Machine,
    clock: Arc<NodeClock>,
    random: NodeRandom,
) -> Result<Node> {
    let place = NodeRuntime::new(&machine.schedule, machine.place)?;
    let opening = Store::open_simulated(settings, clock, Arc::new(random), Arc::new(machine));
    let store = place.runtime.block_on(opening).context("cannot open the archive")?;
    Ok(Node { place, store, lag_ms: 0 })
}

/// Copies the catalog as it is on the disk when the power fails, with a torn write after the last commit.
pub(crate) fn copy_catalog(from: &Path, to: &Path, torn: &[u8]) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for name in ["catalog.sqlite", "catalog.sqlite-wal"] {
        let file = from.join(name);
        if file.exists() {
            std::fs::copy(&file, to.join(name)).with_context(|| format!("cannot copy {}", file.display()))?;
        }
    }
    let log = to.join("catalog.sqlite-wal");
    if log.exists() && !torn.is_empty() {
        let mut bytes = std::fs::read(&log)?;
        bytes.extend_from_slice(torn);
        std::fs::write(&log, bytes)?;
    }
    Ok(())
}
