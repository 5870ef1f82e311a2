//! The primitives of the modules `sync` of the crates, under a scheduler that decides which task runs next.
//!
//! Locks and tasks are those of shuttle. What tasks wait for is that of tokio, as in the program; before each use of
//! it, the scheduler may let another task run. A timeout may pass at any time, and a file may change between two
//! accesses.

use std::pin::pin;
use std::sync::atomic::Ordering;
pub(crate) use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::Either;
pub(crate) use shuttle::future::spawn;
use shuttle::rand::Rng;
use shuttle::sync::atomic::AtomicBool;
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
use tokio::sync::{AcquireError, TryAcquireError};

/// Lets the scheduler choose which task runs next; not while a test fails.
pub(crate) fn point() {
    if !std::thread::panicking() {
        AtomicBool::new(false).load(Ordering::SeqCst);
    }
}

/// A semaphore of tokio.
#[derive(Debug)]
pub(crate) struct Semaphore(Arc<tokio::sync::Semaphore>);

/// A permit of tokio. Other tasks may run before it is released.
#[derive(Debug)]
pub(crate) struct OwnedSemaphorePermit(Option<tokio::sync::OwnedSemaphorePermit>);

/// The same for a permit that borrows its semaphore.
#[derive(Debug)]
pub(crate) struct SemaphorePermit<'s> {
    _permit: tokio::sync::SemaphorePermit<'s>,
}

impl Semaphore {
    pub(crate) const MAX_PERMITS: usize = tokio::sync::Semaphore::MAX_PERMITS;

    pub(crate) fn new(permits: usize) -> Self {
        Self(Arc::new(tokio::sync::Semaphore::new(permits)))
    }

    pub(crate) fn available_permits(&self) -> usize {
        point();
        self.0.available_permits()
    }

    pub(crate) fn add_permits(&self, permits: usize) {
        point();
        self.0.add_permits(permits);
    }

    pub(crate) async fn acquire(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        point();
        self.0.acquire().await.map(|_permit| SemaphorePermit { _permit })
    }

    pub(crate) fn try_acquire(&self) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        point();
        self.0.try_acquire().map(|_permit| SemaphorePermit { _permit })
    }

    pub(crate) async fn acquire_many_owned(
        self: Arc<Self>,
        permits: u32,
    ) -> Result<OwnedSemaphorePermit, AcquireError> {
        point();
        Arc::clone(&self.0).acquire_many_owned(permits).await.map(OwnedSemaphorePermit::of)
    }

    pub(crate) fn try_acquire_many_owned(
        self: Arc<Self>,
        permits: u32,
    ) -> Result<OwnedSemaphorePermit, TryAcquireError> {
        point();
        Arc::clone(&self.0).try_acquire_many_owned(permits).map(OwnedSemaphorePermit::of)
    }
}

impl OwnedSemaphorePermit {
    fn of(permit: tokio::sync::OwnedSemaphorePermit) -> Self {
        Self(Some(permit))
    }

    pub(crate) fn num_permits(&self) -> usize {
        self.0.as_ref().map_or(0, tokio::sync::OwnedSemaphorePermit::num_permits)
    }

    pub(crate) fn merge(&mut self, mut other: Self) {
        if let (Some(own), Some(other)) = (&mut self.0, other.0.take()) {
            own.merge(other);
        }
    }

    pub(crate) fn split(&mut self, permits: usize) -> Option<Self> {
        self.0.as_mut()?.split(permits).map(Self::of)
    }
}

impl Drop for OwnedSemaphorePermit {
    fn drop(&mut self) {
        if self.0.is_some() {
            point();
        }
    }
}

impl Drop for SemaphorePermit<'_> {
    fn drop(&mut self) {
        point();
    }
}

/// The end of a wait that took too long.
#[derive(Debug)]
pub(crate) struct Elapsed;

/// Waits for a future, until a time is over that is as long as the scheduler wants.
pub(crate) async fn timeout_while_running<F: Future>(_: Duration, future: F) -> Result<F::Output, Elapsed> {
    let steps = shuttle::rand::thread_rng().gen_range(0..12);
    let timer = spawn(async move {
        for _ in 0..steps {
            shuttle::future::yield_now().await;
        }
    });
    match futures::future::select(pin!(future), timer).await {
        Either::Left((output, timer)) => {
            timer.abort();
            Ok(output)
        }
        Either::Right(_) => Err(Elapsed),
    }
}

/// What a task waits for.
pub(crate) mod oneshot {
    /// A sender of tokio.
    #[derive(Debug)]
    pub(crate) struct Sender<T>(tokio::sync::oneshot::Sender<T>);

    impl<T> Sender<T> {
        pub(crate) fn send(self, value: T) -> Result<(), T> {
            super::point();
            self.0.send(value)
        }
    }

    pub(crate) fn channel<T>() -> (Sender<T>, tokio::sync::oneshot::Receiver<T>) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        (Sender(sender), receiver)
    }
}

/// Files, which others may change between two calls.
pub(crate) mod fs {
    use std::fs::{Metadata, TryLockError};
    use std::io::Result;
    use std::path::Path;

    use super::point;

    #[derive(Debug)]
    pub(crate) struct File(std::fs::File);

    impl File {
        pub(crate) fn open(path: impl AsRef<Path>) -> Result<Self> {
            point();
            std::fs::File::open(path).map(Self)
        }

        pub(crate) fn create(path: impl AsRef<Path>) -> Result<Self> {
            point();
            std::fs::File::create(path).map(Self)
        }

        pub(crate) fn try_lock(&self) -> std::result::Result<(), TryLockError> {
            point();
            self.0.try_lock()
        }

        pub(crate) fn metadata(&self) -> Result<Metadata> {
            point();
            self.0.metadata()
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            point();
        }
    }

    pub(crate) fn metadata(path: impl AsRef<Path>) -> Result<Metadata> {
        point();
        std::fs::metadata(path)
    }

    pub(crate) fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        point();
        std::fs::rename(from, to)
    }
}
