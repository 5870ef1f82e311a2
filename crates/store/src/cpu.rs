//! CPU-bound work: decoding, encoding and compressing.
//!
//! It would block other calls, so it runs on separate threads, at most as many at a time as there are processors, for
//! each of two priorities. Background work (sealing, deliveries, searches, collected runs) takes long and arrives in
//! bulk; interactive work, such as reading a live page, does not queue behind it and has priority on the processors.
//!
//! Read all bytes before submitting work: work in this pool that waits for other work in the pool could deadlock.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::background_threads::BackgroundThreads;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// The priority of CPU-bound work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Priority {
    /// Short work that a caller waits for.
    #[default]
    Interactive,
    /// Long work, or work that no caller waits for.
    Background,
}

impl Priority {
    /// Returns the first value for interactive work and the second for background work.
    pub(crate) fn of<T>(self, [interactive, background]: &[T; 2]) -> &T {
        match self {
            Self::Interactive => interactive,
            Self::Background => background,
        }
    }
}

/// The processors of this node, shared by the calls on one archive. Calls of the same priority are served in order of
/// arrival.
#[derive(Debug, Clone)]
pub(crate) struct CpuPool {
    free: Arc<Semaphore>,
    processors: usize,
    threads: Threads,
}

/// The threads on which work runs.
#[derive(Debug, Clone)]
enum Threads {
    /// On the threads for blocking work of the calling runtime.
    Runtime,
    Background(Arc<BackgroundThreads>),
    /// On the calling thread, so that the order of all work in a simulation is deterministic.
    Caller,
}

impl CpuPool {
    /// Creates a pool for interactive work, and one for background work, which runs on the given threads.
    pub(crate) fn pair(threads: Arc<BackgroundThreads>) -> [Self; 2] {
        let processors = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        let free = || Arc::new(Semaphore::new(processors));
        [Threads::Runtime, Threads::Background(threads)].map(|threads| Self { free: free(), processors, threads })
    }

    /// Creates both pools for a simulation, where work runs on the calling thread.
    pub(crate) fn simulated_pair() -> [Self; 2] {
        [(); 2].map(|()| Self { free: Arc::new(Semaphore::new(2)), processors: 2, threads: Threads::Caller })
    }

    /// Creates a separate pool for interactive work.
    #[cfg(test)]
    pub(crate) fn interactive() -> Self {
        let [interactive, _] = Self::pair(Arc::new(BackgroundThreads::new().unwrap()));
        interactive
    }

    /// Returns how many pieces of work may run at a time.
    pub(crate) fn processors(&self) -> usize {
        self.processors
    }

    /// Runs work as soon as a processor is free. Work that has begun is finished even if the caller is cancelled.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        let free = Arc::clone(&self.free).acquire_owned().await;
        let free = free.map_err(|_| Error::new(ErrorKind::Unavailable, "the archive is being closed"))?;
        let work = move || {
            let done = work();
            drop(free);
            done
        };
        match &self.threads {
            Threads::Runtime => tokio::task::spawn_blocking(work).await?,
            Threads::Background(threads) => threads.spawn_blocking(work).await?,
            Threads::Caller => work(),
        }
    }

    /// Like [`run`](Self::run), but runs work on few records on the calling thread, because that takes less time than
    /// switching threads.
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn pair() -> [CpuPool; 2] {
        CpuPool::pair(Arc::new(BackgroundThreads::new().unwrap()))
    }

    #[tokio::test]
    async fn interactive_work_does_not_queue_behind_background_work() {
        let [interactive, background] = pair();
        let mut held = Vec::new();
        for _ in 0..background.processors() * 2 {
            let (release, until) = mpsc::channel::<()>();
            let pool = background.clone();
            held.push((release, tokio::spawn(async move { pool.run(move || Ok(until.recv().is_ok())).await })));
        }
        assert_eq!(interactive.run(|| Ok(1)).await.unwrap(), 1);
        for (release, work) in held {
            release.send(()).unwrap();
            assert!(work.await.unwrap().unwrap());
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn only_background_threads_have_a_lower_priority() {
        let [interactive, background] = pair();
        let priority = || Ok(rustix::process::getpriority_process(None).unwrap());
        let own = priority().unwrap();
        assert_eq!(interactive.run(priority).await.unwrap(), own);
        assert_eq!(background.run(priority).await.unwrap(), (own + limits::BACKGROUND_NICE).min(19));
    }
}
