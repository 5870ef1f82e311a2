//! Concurrent workers that perform one step after another, until there is nothing to do or until they are stopped.

use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use runlog_client::Wait;
use runlog_store::supervise::Supervisor;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// The pause if there is nothing to do.
pub(crate) const IDLE: Duration = Duration::from_secs(1);
/// How long an idle worker waits while another one polls.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Workers that run permanently and take due work at any time: none waits for what another is doing.
///
/// While nothing is due, one of them polls every second for all. A step that has taken something calls [`Pool::wake`],
/// so that the next worker polls immediately; so does code that makes something due.
#[derive(Debug)]
pub(crate) struct Pool {
    wake: Notify,
    /// Held by the worker that polls.
    poll: Semaphore,
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self { wake: Notify::new(), poll: Semaphore::new(1) }
    }

    /// Makes an idle worker poll immediately.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Runs this number of workers until `stop`, when each completes its current step. A step without a result means
    /// that nothing is due. A worker that fails or panics is restarted after a pause; the others continue.
    pub(crate) async fn live<T, E, F, S>(
        self: &Arc<Self>,
        supervisor: &Supervisor,
        name: &str,
        workers: usize,
        wait: &Arc<dyn Wait>,
        stop: &CancellationToken,
        step: S,
    ) where
        T: Send + 'static,
        E: std::error::Error + Send + 'static,
        F: Future<Output = Result<Option<T>, E>> + Send,
        S: Fn() -> F + Clone + Send + Sync + 'static,
    {
        let work = || {
            let (pool, wait, stop, step) = (Arc::clone(self), Arc::clone(wait), stop.clone(), step.clone());
            async move {
                while !stop.is_cancelled() {
                    if step().await?.is_none() {
                        pool.idle(wait.as_ref(), &stop).await;
                    }
                }
                Ok::<_, E>(())
            }
        };
        join_all((0..workers.max(1)).map(|_| supervisor.run(name, stop, &work))).await;
    }

    async fn idle(&self, wait: &dyn Wait, stop: &CancellationToken) {
        let permit = self.poll.try_acquire();
        // The worker that polls may be delayed while it takes something, and not wake another one.
        let time = if permit.is_ok() { IDLE } else { IDLE_MAX };
        tokio::select! {
            () = wait.sleep(time) => {}
            () = self.wake.notified() => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Runs this number of workers until a step without a result shows that there is nothing to do, or until `stop`.
/// Returns the sum of the results.
///
/// After an error, no further steps are started, and those of the other workers are completed: an aborted step would
/// leave a claim behind. Then the first error is returned.
pub(crate) async fn side_by_side<T, E, F>(
    workers: usize,
    stop: &CancellationToken,
    step: impl Fn() -> F + Clone + Send + 'static,
) -> Result<T, E>
where
    T: Default + AddAssign + Send + 'static,
    E: From<JoinError> + Send + 'static,
    F: Future<Output = Result<Option<T>, E>> + Send,
{
    let no_more = stop.child_token();
    let mut working = JoinSet::new();
    for _ in 0..workers.max(1) {
        let (step, no_more) = (step.clone(), no_more.clone());
        working.spawn(async move {
            let mut done = T::default();
            while !no_more.is_cancelled() {
                match step().await? {
                    Some(one) => done += one,
                    None => break,
                }
            }
            Ok::<_, E>(done)
        });
    }
    let (mut all, mut problem) = (T::default(), None);
    while let Some(outcome) = working.join_next().await {
        match outcome.map_err(E::from).flatten() {
            Ok(done) => all += done,
            Err(error) => {
                no_more.cancel();
                problem.get_or_insert(error);
            }
        }
    }
    match problem {
        None => Ok(all),
        Some(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use runlog_client::TokioWait;
    use runlog_model::{Clock, Timestamp};

    use super::*;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::clamped(7)
        }
    }

    /// A broken worker used to end the others.
    #[tokio::test]
    async fn workers_continue_while_one_hangs_and_one_fails() {
        let (pool, stop, supervisor) =
            (Arc::new(Pool::new()), CancellationToken::new(), Supervisor::new(Arc::new(Still)));
        let (taken, is_due) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(true)));
        let (until, counted, due) = (stop.clone(), Arc::clone(&taken), Arc::clone(&is_due));
        let (waking, nobody) = (Arc::clone(&pool), Arc::new(Notify::new()));
        let step = move || {
            let (stop, taken, is_due) = (until.clone(), Arc::clone(&counted), Arc::clone(&due));
            let pool = Arc::clone(&waking);
            let nobody = Arc::clone(&nobody);
            async move {
                if !is_due.load(Ordering::SeqCst) {
                    return Ok(None);
                }
                pool.wake();
                match taken.fetch_add(1, Ordering::SeqCst) {
                    0 => tokio::select! { () = nobody.notified() => {}, () = stop.cancelled() => {} },
                    1 => panic!("a fault of the program"),
                    2 => return Err(std::io::Error::other("an odd one")),
                    100.. => is_due.store(false, Ordering::SeqCst),
                    _ => {}
                }
                tokio::task::yield_now().await;
                Ok(Some(()))
            }
        };
        let wait: Arc<dyn Wait> = Arc::new(TokioWait);
        let living = pool.live(&supervisor, "test", 4, &wait, &stop, step);
        let watching = async {
            while is_due.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
            let before = taken.load(Ordering::SeqCst);
            is_due.store(true, Ordering::SeqCst);
            pool.wake();
            while taken.load(Ordering::SeqCst) == before {
                tokio::task::yield_now().await;
            }
            let state = supervisor.states().remove(0);
            assert_eq!(state.last_failure.unwrap().what, "an odd one");
            stop.cancel();
        };
        tokio::join!(living, watching);
    }
}
