//! CPU-bound work: decoding, encoding, compressing.
//!
//! It would block other calls, so it runs on blocking threads, as many concurrently as there are processors. Bytes
//! must be awaited before: work in this pool that waited for other work in it could deadlock.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// The processors of this node, shared by the calls on one archive in order of arrival.
#[derive(Debug, Clone)]
pub(crate) struct CpuPool {
    free: Arc<Semaphore>,
    processors: usize,
}

impl CpuPool {
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        Self { free: Arc::new(Semaphore::new(processors)), processors }
    }

    /// How much may run at a time.
    pub(crate) fn processors(&self) -> usize {
        self.processors
    }

    /// Runs some work as soon as a processor is free. Work that has begun is finished when nobody waits any more.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        let free = Arc::clone(&self.free).acquire_owned().await;
        let free = free.map_err(|_| Error::new(ErrorKind::Unavailable, "the archive is being closed"))?;
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(free);
            done
        })
        .await?
    }

    /// The same; what takes less time than going to another thread is done at once.
    pub(crate) async fn run_for<T, F>(&self, records: usize, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        match records <= limits::INLINE_RECORDS_MAX {
            true => work(),
            false => self.run(work).await,
        }
    }
}
