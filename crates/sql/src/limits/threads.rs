//! The threads on which queries are parsed, planned and executed: separate from those that serve requests, so that a
//! query that blocks its thread affects only other queries, and with stacks large enough for the deepest permitted
//! query.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// The stack of a thread. Unit: bytes. Memory is allocated only for the used part of a stack.
///
/// The deepest query that [`crate::bounds`] permits is one of the hostile queries of `tests/queries.rs`, which run in a
/// debug build, with the largest stack frames.
const STACK_BYTES: usize = 64 << 20;

/// One pool per process, never shut down: connections to a database or a bucket opened by a query are reused after it.
static THREADS: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, NonZeroUsize::get).max(2))
        .thread_name("sql")
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
});

/// Runs a task on a query thread.
pub(crate) fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> io::Result<JoinHandle<T>> {
    threads().map(|threads| threads.spawn(work))
}

/// Runs a computation on a query thread of its own.
pub(crate) async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    threads()?.spawn_blocking(work).await.map_err(io::Error::other)
}

fn threads() -> io::Result<&'static Runtime> {
    THREADS
        .as_ref()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot start threads for SQL queries: {error}")))
}
