//! The queue of a group commit: values that wait to be committed together, and who waits for each.
//!
//! Each value comes with a task of its own that commits one group, whichever values are in it. So there are never fewer tasks
//! that have not taken their group than values that wait.

use runlog_model::planted;

use crate::sync::{Mutex, MutexGuard, PoisonError, Semaphore, SemaphorePermit, oneshot, spawn};

/// A value that waits for its commit, and where to send the result.
pub(crate) type Waiting<T, R> = (T, oneshot::Sender<R>);

/// Values that wait to be committed together.
#[derive(Debug)]
pub(crate) struct GroupQueue<T, R> {
    waiting: Mutex<Vec<Waiting<T, R>>>,
    /// One permit for each group that may be committed at the same time.
    under_way: Semaphore,
}

impl<T, R> GroupQueue<T, R> {
    /// An empty queue, of which this number of groups are committed at the same time.
    pub(crate) fn new(groups_under_way: usize) -> Self {
        Self { waiting: Mutex::default(), under_way: Semaphore::new(groups_under_way) }
    }

    /// Adds a value, and runs `commit_group` in a task of its own: it takes a turn, takes a group, commits it, and sends a
    /// result to each who waits. Returns the result of the value; none if the process is stopping.
    ///
    /// A caller that is cancelled does not cancel the commit, in which there may be values of others.
    pub(crate) async fn submit<F>(&self, value: T, commit_group: F) -> Option<R>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (done, is_done) = oneshot::channel();
        self.waiting().push((value, done));
        spawn(commit_group);
        is_done.await.ok()
    }

    /// Waits until another group may be committed. None if nothing waits any more.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if planted::is("lost-wake-up") {
            return self.under_way.try_acquire().ok();
        }
        let turn = self.under_way.acquire().await.ok()?;
        (!self.waiting().is_empty()).then_some(turn)
    }

    /// Takes a group: as many of the values as `count` says, at least one, in the order in which they came.
    pub(crate) fn take_group(&self, count: impl FnOnce(&[Waiting<T, R>]) -> usize) -> Vec<Waiting<T, R>> {
        let mut waiting = self.waiting();
        let count = count(&waiting).max(1).min(waiting.len());
        waiting.drain(..count).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting<T, R>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
