//! Group commit of small writes: concurrent ones share a transaction, and so one wait for the disk. If the catalog
//! rejects one of them, those of each caller are committed separately, so that none fails because of another.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use runlog_model::Random;
use tokio::sync::oneshot;
use tracing::warn;

use crate::catalog::contention::{contention_backoff, is_contention};
use crate::catalog::database::Catalog;
use crate::catalog::pool::{IsTransient, retry_while_unavailable};
use crate::catalog::sql::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// A write that cannot conflict with another.
pub(crate) trait GroupedWrite: Send + Sync {
    /// The key that orders the writes of a commit; `None` when nothing is locked.
    fn order(&self) -> Option<&str> {
        None
    }

    /// Writes it in a transaction.
    fn insert<'c>(&'c self, connection: &'c mut Connection) -> BoxFuture<'c, Result<()>>;

    /// Called once it is durable, even if its caller is gone.
    fn committed(self: Box<Self>) {}
}

/// The writes of one caller, and where to send the result.
type Waiting = (Vec<Box<dyn GroupedWrite>>, oneshot::Sender<Result<()>>);

/// Why a commit failed.
struct Failure {
    error: Error,
    /// True when the catalog rejected one of the writes: nothing is written, and the others may succeed.
    is_refused: bool,
    /// True when nothing is written for certain.
    is_undone: bool,
}

impl IsTransient for Failure {
    fn is_transient(&self) -> bool {
        self.is_undone && self.error.is_transient()
    }
}

/// Commits concurrent small writes together.
pub(crate) struct GroupCommit {
    catalog: Catalog,
    random: Arc<dyn Random>,
    waiting: Mutex<Vec<Waiting>>,
    /// Held by the commit in progress.
    committing: tokio::sync::Mutex<()>,
}

impl GroupCommit {
    pub(crate) fn new(catalog: Catalog, random: Arc<dyn Random>) -> Self {
        Self { catalog, random, waiting: Mutex::default(), committing: tokio::sync::Mutex::default() }
    }

    /// Writes these, all or none. Returns once they are durable.
    pub(crate) async fn write(self: &Arc<Self>, writes: Vec<Box<dyn GroupedWrite>>) -> Result<()> {
        let (done, is_done) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((writes, done));
        // A caller that is cancelled must not cancel the writes of others.
        let group = Arc::clone(self);
        tokio::spawn(async move { group.commit_waiting().await });
        is_done.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Unavailable, "the archive is being closed")))
    }

    async fn commit_waiting(&self) {
        let _alone = self.committing.lock().await;
        let group: Vec<_> = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let count = waiting.len().min(limits::GROUP_WRITES_MAX);
            waiting.drain(..count).collect()
        };
        if group.is_empty() {
            return;
        }
        let mut all: Vec<&dyn GroupedWrite> =
            group.iter().flat_map(|(writes, _)| writes).map(|write| &**write).collect();
        // Whichever node writes the same pages, it locks their rows in the same order.
        all.sort_by_key(|write| write.order());
        let outcome = self.commit_writes(&all).await;
        match outcome {
            Err(failure) if failure.is_refused && group.len() > 1 => {
                warn!(error = %failure.error, "a write was refused, so that each is made by itself");
                self.commit_each(group).await;
            }
            outcome => {
                let outcome = outcome.map_err(|failure| failure.error);
                for waiting in group {
                    Self::answer(waiting, outcome.clone());
                }
            }
        }
    }

    /// Commits the writes of each caller separately.
    async fn commit_each(&self, group: Vec<Waiting>) {
        let mut is_transient: Option<Error> = None;
        for waiting in group {
            // A catalog that is away is not waited for again and again.
            if let Some(error) = &is_transient {
                Self::answer(waiting, Err(error.clone()));
                continue;
            }
            let writes: Vec<&dyn GroupedWrite> = waiting.0.iter().map(|write| &**write).collect();
            let outcome = self.commit_writes(&writes).await;
            if let Err(failure) = &outcome
                && !failure.is_refused
            {
                is_transient = Some(failure.error.clone());
            }
            Self::answer(waiting, outcome.map_err(|failure| failure.error));
        }
    }

    /// Sends a caller the result. Follow-up work is done here, because the caller may be gone.
    fn answer((writes, waiter): Waiting, outcome: Result<()>) {
        if outcome.is_ok() {
            writes.into_iter().for_each(|write| write.committed());
        }
        // The caller may be gone.
        let _ = waiter.send(outcome);
    }

    async fn commit_writes(&self, writes: &[&dyn GroupedWrite]) -> Result<(), Failure> {
        let mut tries = 0;
        loop {
            match retry_while_unavailable(|| self.commit_writes_once(writes)).await {
                Err(failure) if tries < limits::CONTENTION_ATTEMPTS_MAX && is_contention(&failure.error) => {
                    tries += 1;
                    contention_backoff(&*self.random, tries, &failure.error).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn commit_writes_once(&self, writes: &[&dyn GroupedWrite]) -> Result<(), Failure> {
        let away = |error| Failure { error, is_refused: false, is_undone: true };
        let mut transaction = self.catalog.begin().await.map_err(away)?;
        for write in writes {
            let connection: &mut Connection = &mut transaction;
            let written = write.insert(connection).await;
            written.map_err(|error| Failure { is_refused: is_answer(&error), is_undone: true, error })?;
        }
        // Of a commit whose answer got lost it is not known whether it was made, so it is not made again.
        transaction.commit().await.map_err(|error| Failure { is_undone: false, ..away(error.into()) })
    }
}

/// True when the catalog rejected the values of a statement; false when it could not execute any, for example because
/// of a lock.
fn is_answer(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<sqlx::Error>());
    let Some(sqlx::Error::Database(refusal)) = cause else { return false };
    // In the codes of PostgreSQL: wrong values, and constraints that they break.
    let is_of_values =
        refusal.code().is_some_and(|code| code.len() == 5 && (code.starts_with("22") || code.starts_with("23")));
    is_of_values || refusal.kind() != sqlx::error::ErrorKind::Other
}
