//! The queue of a group commit: values to be committed together, and the callers that wait for them.
//!
//! For each value, one task is spawned that commits one group, regardless of which values the group contains.
//! Therefore, the number of tasks that have not yet taken a group is never less than the number of queued values.

use runlog_model::planted;

use crate::sync::{Mutex, MutexGuard, PoisonError, Semaphore, SemaphorePermit, oneshot, spawn};

/// A queued value, and the channel for its result.
pub(crate) type Waiting<T, R> = (T, oneshot::Sender<R>);

/// A queue of values to be committed in groups.
#[derive(Debug)]
pub(crate) struct GroupQueue<T, R> {
    waiting: Mutex<Vec<Waiting<T, R>>>,
    /// One permit for each group that may be committed concurrently.
    under_way: Semaphore,
}

impl<T, R> GroupQueue<T, R> {
    /// Creates an empty queue of which this many groups may be committed concurrently.
    pub(crate) fn new(groups_under_way: usize) -> Self {
        Self { waiting: Mutex::default(), under_way: Semaphore::new(groups_under_way) }
    }

    /// Adds a value, and spawns `commit_group` as a separate task, which acquires a turn, takes a group, commits it,
    /// and sends a result for each value. Returns the result of this value; `None` if the process is stopping.
    ///
    /// Cancelling the caller does not cancel the commit, which may include values of other callers.
    pub(crate) async fn submit<F>(&self, value: T, commit_group: F) -> Option<R>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (done, is_done) = oneshot::channel();
        self.waiting().push((value, done));
        spawn(commit_group);
        is_done.await.ok()
    }

    /// Waits until another group may be committed. Returns `None` if the queue is empty by then.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if planted::is("lost-wake-up") {
            return self.under_way.try_acquire().ok();
        }
        let turn = self.under_way.acquire().await.ok()?;
        (!self.waiting().is_empty()).then_some(turn)
    }

    /// Removes a group from the front of the queue: as many values as `count` returns, but at least one.
    pub(crate) fn take_group(&self, count: impl FnOnce(&[Waiting<T, R>]) -> usize) -> Vec<Waiting<T, R>> {
        let mut waiting = self.waiting();
        let count = count(&waiting).max(1).min(waiting.len());
        waiting.drain(..count).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting<T, R>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
