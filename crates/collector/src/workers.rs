//! Workers that take one thing after another, several side by side: until there is nothing to do, or for as long as a
//! service lives.

use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use runlog_client::Wait;
use runlog_store::supervise::Supervisor;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// How long nothing is done when there is nothing to do.
pub(crate) const IDLE: Duration = Duration::from_secs(1);
/// How long an idle worker leaves looking to another one.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Workers that live on, and take what is due at any moment: none waits for what another has in hand.
///
/// While nothing is due, one of them looks every second, for all. A step says when it has taken something, by
/// [`Pool::wake`], so that the next one looks at once; so does whoever makes something due.
#[derive(Debug)]
pub(crate) struct Pool {
    wake: Notify,
    /// Held by the one that looks.
    looking: Semaphore,
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self { wake: Notify::new(), looking: Semaphore::new(1) }
    }

    /// Has an idle worker look at once.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Keeps so many workers at it until `stop`, when each ends with what it has in hand. A step without an outcome says
    /// that nothing is due. One that fails or panics takes a pause and is begun anew; the others continue.
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
        let looking = self.looking.try_acquire();
        // Whoever looks may be held up as it takes something, and not come to wake another.
        let time = if looking.is_ok() { IDLE } else { IDLE_MAX };
        tokio::select! {
            () = wait.sleep(time) => {}
            () = self.wake.notified() => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Lets so many workers take steps until there is nothing to do, which a step without an outcome says, or `stop`; what
/// they came to, added up.
///
/// After an error nobody begins anything more, and what the others have in hand is finished first: broken off, it would
/// stay claimed. The first error is given then.
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
    async fn workers_go_on_while_one_hangs_and_one_is_broken() {
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
