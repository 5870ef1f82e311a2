//! Threads for computations that no caller waits for.

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::error::{Error, ErrorKind, Result};
#[cfg(target_os = "linux")]
use crate::limits;

/// Threads of low priority, which run mainly when other threads of the process leave processors idle. Threads are
/// started on demand and end when idle. There are at most 512; further work is queued.
///
/// Do not use these threads for work that delays others, such as work that holds a transaction open.
#[derive(Debug)]
pub struct BackgroundThreads {
    runtime: OwnedRuntime,
    /// Whether the caller waits for the work, so that the order of all work in a simulation is deterministic.
    is_waited_for: bool,
}

/// A runtime that may be dropped within a task: dropping it does not wait for running work.
#[derive(Debug)]
pub(crate) struct OwnedRuntime {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl OwnedRuntime {
    pub(crate) fn new(runtime: Runtime) -> Self {
        Self { handle: runtime.handle().clone(), runtime: Some(runtime) }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for OwnedRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl BackgroundThreads {
    /// Creates the pool; threads are started later. Fails with `Unavailable` if the operating system does not provide
    /// the required resources.
    pub fn new() -> Result<Self> {
        Self::with_runtime(false)
    }

    /// Creates the pool for a simulation, in which work has ended when [`Self::spawn_blocking`] returns.
    pub(crate) fn simulated() -> Result<Self> {
        Self::with_runtime(true)
    }

    fn with_runtime(is_waited_for: bool) -> Result<Self> {
        // The runtime runs no tasks, only blocking work.
        let runtime =
            Builder::new_current_thread()
                .thread_name("background")
                .on_thread_start(lower_priority)
                .build()
                .map_err(|error| Error::caused(ErrorKind::Unavailable, "cannot start background threads", error))?;
        Ok(Self { runtime: OwnedRuntime::new(runtime), is_waited_for })
    }

    /// Runs work on one of the threads and returns its result; `None` if the process is stopping. If the work panics,
    /// the panic is propagated to the caller.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        match self.spawn_blocking(work).await {
            Ok(done) => Some(done),
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Err(_) => None,
        }
    }

    /// Starts work on one of the threads.
    pub fn spawn_blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let working = self.runtime.handle().spawn_blocking(work);
        while self.is_waited_for && !working.is_finished() {
            std::thread::yield_now();
        }
        working
    }
}

/// Gives the calling thread a tenth of the scheduling weight of other threads. If this is not possible, all threads
/// keep the same weight.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    let _unchanged = rustix::process::setpriority_process(None, limits::BACKGROUND_NICE);
}
