//! Supervision of long-running work: work that panics or fails is logged, counted, and restarted after a delay.
//!
//! Each piece of work runs as a separate task, so that none can end another. A [`Supervisor`] reports the state of its
//! work at any time. Every [`Store`](crate::Store) has one supervisor, [`Store::supervisor`](crate::Store::supervisor),
//! which is shared by all work of this process on the archive.
//!
//! ```
//! # use runlog_store::{Result, Store, supervise};
//! # use tokio_util::sync::CancellationToken;
//! # async fn sweep(_: &Store, _: CancellationToken) -> Result<()> { Ok(()) }
//! # async fn example(store: Store, stop: CancellationToken) {
//! // Ends after `stop` is cancelled and the work has finished what it was doing.
//! store
//!     .supervisor()
//!     .run("sweep", &stop, {
//!         let (store, stop) = (store.clone(), stop.clone());
//!         move || {
//!             let (store, stop) = (store.clone(), stop.clone());
//!             async move { sweep(&store, stop).await }
//!         }
//!     })
//!     .await;
//! for state in store.supervisor().states() {
//!     println!("{}: {} running, {} restarts, down: {}", state.name, state.running, state.restarts, state.is_down());
//! }
//! # }
//! ```
//!
//! The work is a loop that returns `Ok` when `stop` is cancelled. It handles the errors after which it can continue; an
//! error that it returns ends the attempt, and the work is restarted. The state of each name is kept until the process
//! ends, so the number of names must be small and fixed (`sweep`, `collect talend-eu`); names must not contain IDs of
//! runs.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use az::SaturatingAs;
use runlog_model::{Clock, Timestamp, error_chain};
use serde::Serialize;
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info};

use crate::background_threads::OwnedRuntime;
use crate::limits;

/// Supervises the long-running work of a process. Clones share its state.
#[derive(Clone)]
pub struct Supervisor(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    pauses: Pauses,
    work: Mutex<BTreeMap<String, Work>>,
    /// Threads for the work; they end with the last clone of the supervisor.
    threads: OnceLock<OwnedRuntime>,
}

/// The delays after failures, and how long an attempt must run before earlier failures no longer count.
#[derive(Clone, Copy)]
struct Pauses {
    first: Duration,
    max: Duration,
    steady: Duration,
}

/// The state of all workers of one name.
#[derive(Default)]
struct Work {
    restarts: u64,
    last_failure: Option<WorkFailure>,
    workers: BTreeMap<u64, Worker>,
    next_worker: u64,
}

/// The state of one worker.
#[derive(Default)]
struct Worker {
    is_waiting: bool,
    failures_in_a_row: u32,
    /// The start of the current attempt.
    begun: Option<Instant>,
}

/// The reported state of the work of one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkState {
    /// The name of the work.
    pub name: String,
    /// Running workers.
    pub running: u64,
    /// Workers that failed and wait for a restart.
    pub waiting: u64,
    /// How many times a worker was restarted.
    pub restarts: u64,
    /// The most consecutive failures of a worker that has not been steady since.
    pub failures_in_a_row: u32,
    /// The last failure.
    pub last_failure: Option<WorkFailure>,
}

/// The failure that ended an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkFailure {
    /// When the attempt failed.
    pub at: Timestamp,
    /// The error with its causes, or the message of the panic.
    pub what: String,
    /// True for a panic, which is a defect of the program.
    pub is_panic: bool,
}

impl WorkState {
    /// Returns true if the work does not recover: a worker has failed repeatedly and has not been steady since.
    pub fn is_down(&self) -> bool {
        self.failures_in_a_row >= limits::WORK_DOWN_FAILURES
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Supervisor").field(&self.states()).finish()
    }
}

impl Supervisor {
    /// Creates a supervisor without work.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let pauses = Pauses {
            first: limits::WORK_BACKOFF_MIN,
            max: limits::WORK_BACKOFF_MAX,
            steady: limits::WORK_BACKOFF_RESET,
        };
        Self(Arc::new(Shared { clock, pauses, work: Mutex::default(), threads: OnceLock::new() }))
    }

    /// Runs all further work on separate threads, as many as there are processors, instead of the threads of the
    /// caller's runtime, so that long computations between two awaits do not delay requests. Call this once, before the
    /// first [`run`](Self::run). Fails if the threads cannot be started.
    pub fn start_threads(&self) -> io::Result<()> {
        let threads = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        let runtime =
            Builder::new_multi_thread().worker_threads(threads).thread_name("supervised").enable_all().build()?;
        // The threads of an earlier call, if any, are kept.
        let _ = self.0.threads.set(OwnedRuntime::new(runtime));
        Ok(())
    }

    fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        match self.0.threads.get() {
            Some(threads) => threads.handle().spawn(work),
            None => tokio::spawn(work),
        }
    }

    /// Returns the state of all work that was ever supervised, by name.
    pub fn states(&self) -> Vec<WorkState> {
        let (now, steady) = (Instant::now(), self.0.pauses.steady);
        let work = self.0.work();
        let state = |(name, work): (&String, &Work)| WorkState {
            name: name.clone(),
            running: work.workers.values().filter(|worker| !worker.is_waiting).count() as u64,
            waiting: work.workers.values().filter(|worker| worker.is_waiting).count() as u64,
            restarts: work.restarts,
            failures_in_a_row: work
                .workers
                .values()
                .map(|worker| worker.failures(now, steady))
                .max()
                .unwrap_or_default(),
            last_failure: work.last_failure.clone(),
        };
        work.iter().map(state).collect()
    }

    /// Runs work, and restarts it after failures, until it returns `Ok` or `stop` is cancelled and the work has ended.
    ///
    /// Dropping the future aborts the work.
    pub async fn run<F, W, E>(&self, name: &str, stop: &CancellationToken, work: F)
    where
        F: Fn() -> W,
        W: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error + Send + 'static,
    {
        let worker = WorkerGuard::take(&self.0, name);
        while !stop.is_cancelled() {
            worker.begins();
            let failure = match AbortOnDropHandle::new(self.spawn(work())).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => WorkFailure { at: self.0.clock.now(), what: error_chain(&error), is_panic: false },
                // The task was cancelled because the process is ending.
                Err(joined) if joined.is_cancelled() => return,
                Err(joined) => {
                    let what = joined.try_into_panic().map(|panic| panic_message(&*panic)).unwrap_or_default();
                    WorkFailure { at: self.0.clock.now(), what, is_panic: true }
                }
            };
            if stop.is_cancelled() {
                info!(work = name, problem = failure.what, "{name} failed during shutdown");
                return;
            }
            let pause = worker.failed(&failure);
            let WorkFailure { what, is_panic, .. } = failure;
            error!(
                work = name,
                is_panic,
                problem = what,
                pause_ms = pause.as_millis().saturating_as::<u64>(),
                "{name} {} and is restarted after a pause",
                if is_panic { "panicked" } else { "failed" }
            );
            tokio::select! { () = tokio::time::sleep(pause) => {}, () = stop.cancelled() => {} }
        }
    }
}

impl Shared {
    fn work(&self) -> MutexGuard<'_, BTreeMap<String, Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    /// Returns the number of consecutive failures that still count.
    fn failures(&self, now: Instant, steady: Duration) -> u32 {
        let is_steady = self.begun.is_some_and(|begun| now.duration_since(begun) >= steady);
        if is_steady { 0 } else { self.failures_in_a_row }
    }
}

/// Registers a worker under its name until dropped.
struct WorkerGuard<'a> {
    shared: &'a Shared,
    name: &'a str,
    number: u64,
}

impl<'a> WorkerGuard<'a> {
    fn take(shared: &'a Shared, name: &'a str) -> Self {
        let mut all = shared.work();
        let work = all.entry(name.to_owned()).or_default();
        let number = work.next_worker;
        work.next_worker += 1;
        work.workers.insert(number, Worker::default());
        Self { shared, name, number }
    }

    fn begins(&self) {
        let mut all = self.shared.work();
        let work = all.entry(self.name.to_owned()).or_default();
        let worker = work.workers.entry(self.number).or_default();
        worker.begun = Some(Instant::now());
        if std::mem::take(&mut worker.is_waiting) {
            work.restarts += 1;
        }
    }

    /// Records a failure, and returns the delay before the restart.
    fn failed(&self, failure: &WorkFailure) -> Duration {
        let pauses = self.shared.pauses;
        let mut all = self.shared.work();
        let work = all.entry(self.name.to_owned()).or_default();
        work.last_failure = Some(failure.clone());
        let worker = work.workers.entry(self.number).or_default();
        worker.failures_in_a_row = worker.failures(Instant::now(), pauses.steady).saturating_add(1);
        worker.begun = None;
        worker.is_waiting = true;
        let doubled = 1_u32 << worker.failures_in_a_row.saturating_sub(1).min(20);
        pauses.first.saturating_mul(doubled).min(pauses.max)
    }
}

impl Drop for WorkerGuard<'_> {
    fn drop(&mut self) {
        if let Some(work) = self.shared.work().get_mut(self.name) {
            work.workers.remove(&self.number);
        }
    }
}

/// Returns the message of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::clamped(7)
        }
    }

    fn supervisor(steady: Duration) -> Supervisor {
        let pauses = Pauses { first: Duration::from_millis(1), max: Duration::from_millis(4), steady };
        Supervisor(Arc::new(Shared {
            clock: Arc::new(Still),
            pauses,
            work: Mutex::default(),
            threads: OnceLock::new(),
        }))
    }

    async fn broken(attempt: u32) -> Result<(), std::io::Error> {
        match attempt {
            0 => Err(std::io::Error::other("the disk is away")),
            1 => panic!("a fault of the program"),
            _ => std::future::pending().await,
        }
    }

    async fn when(supervisor: &Supervisor, name: &str, is_so: impl Fn(&WorkState) -> bool) -> WorkState {
        loop {
            match supervisor.states().into_iter().find(|state| state.name == name && is_so(state)) {
                Some(state) => return state,
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    #[tokio::test]
    async fn failing_and_panicking_work_is_restarted_and_reported() {
        let (supervisor, stop) = (supervisor(Duration::from_secs(3_600)), CancellationToken::new());
        let attempts = Arc::new(AtomicU32::new(0));
        let keeping = tokio::spawn({
            let (supervisor, stop) = (supervisor.clone(), stop.clone());
            async move {
                supervisor.run("sweep", &stop, || broken(attempts.fetch_add(1, Ordering::SeqCst))).await;
            }
        });
        let again = when(&supervisor, "sweep", |state| state.restarts == 2).await;
        assert_eq!((again.running, again.waiting, again.failures_in_a_row, again.is_down()), (1, 0, 2, false));
        let what = "a fault of the program".to_owned();
        let failure = WorkFailure { at: Timestamp::clamped(7), what, is_panic: true };
        assert_eq!(again.last_failure, Some(failure));
        keeping.abort();
        assert!(keeping.await.is_err());
        assert_eq!(when(&supervisor, "sweep", |_| true).await.running, 0);
    }

    #[tokio::test]
    async fn work_that_blocks_its_thread_delays_nothing_but_other_work() {
        let (supervisor, stop) = (supervisor(Duration::ZERO), CancellationToken::new());
        supervisor.start_threads().unwrap();
        let (release, until) = std::sync::mpsc::channel::<()>();
        let until = Arc::new(Mutex::new(until));
        let working = tokio::spawn({
            let supervisor = supervisor.clone();
            async move {
                let work = || {
                    let until = Arc::clone(&until);
                    async move {
                        until.lock().unwrap().recv().unwrap();
                        Ok::<_, io::Error>(())
                    }
                };
                supervisor.run("sealing", &stop, work).await;
            }
        });
        // This test has one thread and would never end if the work blocked that thread.
        when(&supervisor, "sealing", |state| state.running == 1).await;
        tokio::task::yield_now().await;
        release.send(()).unwrap();
        working.await.unwrap();
    }

    #[tokio::test]
    async fn permanently_failing_work_is_down_without_affecting_others() {
        let (supervisor, stop) = (supervisor(Duration::from_secs(3_600)), CancellationToken::new());
        let keep = |name: &'static str, is_well: bool| {
            let (supervisor, stop) = (supervisor.clone(), stop.clone());
            tokio::spawn(async move {
                let until = stop.clone();
                let work = || {
                    let until = until.clone();
                    async move {
                        match is_well {
                            true => until.cancelled().await,
                            false => broken(1).await?,
                        }
                        Ok::<_, std::io::Error>(())
                    }
                };
                supervisor.run(name, &stop, work).await;
            })
        };
        let (broken, well) = (keep("seal", false), keep("sweep", true));
        when(&supervisor, "seal", WorkState::is_down).await;
        let neighbour = when(&supervisor, "sweep", |_| true).await;
        assert_eq!((neighbour.running, neighbour.restarts, neighbour.is_down()), (1, 0, false));
        stop.cancel();
        broken.await.unwrap();
        well.await.unwrap();
    }

    #[tokio::test]
    async fn failures_do_not_count_once_work_has_been_steady() {
        let (supervisor, stop) = (supervisor(Duration::ZERO), CancellationToken::new());
        let attempts = AtomicU32::new(0);
        let keeping = supervisor.run("sweep", &stop, || broken(attempts.fetch_add(1, Ordering::SeqCst)));
        tokio::select! {
            () = keeping => {}
            state = when(&supervisor, "sweep", |state| state.restarts == 2) => assert_eq!(state.failures_in_a_row, 0),
        }
    }
}
