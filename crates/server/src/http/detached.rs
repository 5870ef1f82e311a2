//! Work that continues when the request that started it ends: a client that disconnects does not abort a change.

use tokio_util::task::TaskTracker;

/// Tasks of this kind that are running.
#[derive(Debug, Default)]
pub(crate) struct DetachedTasks(TaskTracker);

impl DetachedTasks {
    /// Runs a task to completion, even if its caller is dropped.
    pub(crate) async fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> T {
        match self.0.spawn(task).await {
            Ok(done) => done,
            Err(broken) if broken.is_panic() => std::panic::resume_unwind(broken.into_panic()),
            // The process is shutting down, including the caller.
            Err(_) => std::future::pending().await,
        }
    }

    /// Number of running tasks.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Waits for the tasks of clients that have disconnected.
    pub(crate) async fn finish(&self) {
        self.0.close();
        self.0.wait().await;
    }
}
