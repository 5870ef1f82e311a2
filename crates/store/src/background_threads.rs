//! Threads for computations that nobody waits for.

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::error::{Error, ErrorKind, Result};
#[cfg(target_os = "linux")]
use crate::limits;

/// Threads that the operating system runs when no others of the process want the processors. They are started when they
/// are needed, and end when idle; there are at most 512, and work past that waits.
///
/// Do not use them for work that others wait for, such as work that holds a transaction.
#[derive(Debug)]
pub struct BackgroundThreads {
    runtime: OwnedRuntime,
    /// Whether the caller waits for the work, so that a simulation knows the order of everything.
    is_waited_for: bool,
}

/// A runtime that a task may drop: what still runs is not waited for.
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
    /// No threads yet. `Unavailable`: the operating system does not give what they need.
    pub fn new() -> Result<Self> {
        Self::with_runtime(false)
    }

    /// The same for a simulation, where work has ended when [`Self::spawn_blocking`] returns.
    pub(crate) fn simulated() -> Result<Self> {
        Self::with_runtime(true)
    }

    fn with_runtime(is_waited_for: bool) -> Result<Self> {
        // It runs no tasks, only blocking work.
        let runtime =
            Builder::new_current_thread()
                .thread_name("background")
                .on_thread_start(lower_priority)
                .build()
                .map_err(|error| Error::caused(ErrorKind::Unavailable, "cannot start background threads", error))?;
        Ok(Self { runtime: OwnedRuntime::new(runtime), is_waited_for })
    }

    /// Runs some work on one of the threads and returns its result; none if the process is stopping. If the work panics, so
    /// does the caller.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        match self.spawn_blocking(work).await {
            Ok(done) => Some(done),
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Err(_) => None,
        }
    }

    /// Runs some work on one of the threads.
    pub fn spawn_blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let working = self.runtime.handle().spawn_blocking(work);
        while self.is_waited_for && !working.is_finished() {
            std::thread::yield_now();
        }
        working
    }
}

/// Gives the calling thread a tenth of the weight of others. Where this is not possible, all threads stay equal.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    let _unchanged = rustix::process::setpriority_process(None, limits::BACKGROUND_NICE);
}
