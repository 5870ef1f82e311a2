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
    handle: Handle,
    runtime: Option<Runtime>,
}

impl BackgroundThreads {
    /// No threads yet. `Unavailable`: the operating system does not give what they need.
    pub fn new() -> Result<Self> {
        // It runs no tasks, only blocking work.
        let runtime =
            Builder::new_current_thread()
                .thread_name("background")
                .on_thread_start(lower_priority)
                .build()
                .map_err(|error| Error::caused(ErrorKind::Unavailable, "cannot start background threads", error))?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Runs some work on one of the threads.
    pub fn spawn_blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn_blocking(work)
    }
}

impl Drop for BackgroundThreads {
    /// Does not wait for work that runs: it may be dropped by a task.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Gives the calling thread a tenth of the weight of others. Where this is not possible, all threads stay equal.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    let _unchanged = rustix::process::setpriority_process(None, limits::BACKGROUND_NICE);
}
