//! The threads that questions are parsed, planned and answered on: apart from those that serve requests, so that a
//! question that keeps its thread busy holds up other questions at most, and with stacks that hold the deepest query
//! that is let through.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// The stack of a thread. Unit: bytes. Memory is taken only as far as a stack is used.
///
/// The deepest query that [`crate::sql::bounds`] lets through is part of the hostile queries of `tests/sql.rs`, which a debug
/// build, with the largest frames, answers or refuses.
const STACK_BYTES: usize = 64 << 20;

/// One for the process, and never ended: connections to a database or a bucket that a question opened are used by
/// others after it.
static THREADS: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, NonZeroUsize::get).max(2))
        .thread_name("sql")
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
});

/// Works on a thread for questions.
pub(super) fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> io::Result<JoinHandle<T>> {
    threads().map(|threads| threads.spawn(work))
}

/// Computes on a thread for questions that does nothing else meanwhile.
pub(super) async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    threads()?.spawn_blocking(work).await.map_err(io::Error::other)
}

fn threads() -> io::Result<&'static Runtime> {
    THREADS
        .as_ref()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot start threads for SQL queries: {error}")))
}
