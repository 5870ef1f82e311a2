//! Group commit of small writes: concurrent writes share a transaction and thus one wait for the disk. If the catalog
//! rejects one of them, the writes of each caller are committed separately, so that no caller fails because of another.

use std::sync::Arc;

use futures::future::BoxFuture;
use runlog_model::Random;
use tracing::warn;

use crate::catalog::database::Catalog;
use crate::catalog::group_queue::{self, GroupQueue};
use crate::catalog::sql::Connection;
use crate::catalog::transaction::WriteTransaction;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// A write that cannot conflict with other writes.
pub(crate) trait GroupedWrite: Send + Sync {
    /// Returns the key that orders the writes of a commit; `None` if the write locks no rows.
    fn order(&self) -> Option<&str> {
        None
    }

    /// Performs the write in a transaction.
    fn insert<'c>(&'c self, connection: &'c mut Connection) -> BoxFuture<'c, Result<()>>;

    /// Called once the write is durable, even if its caller was cancelled.
    fn committed(self: Box<Self>) {}
}

/// The writes of one caller, and the channel for the result.
type Waiting = group_queue::Waiting<Vec<Box<dyn GroupedWrite>>, Result<()>>;

/// Commits concurrent small writes together.
pub(crate) struct GroupCommit {
    catalog: Catalog,
    random: Arc<dyn Random>,
    queue: GroupQueue<Vec<Box<dyn GroupedWrite>>, Result<()>>,
}

impl GroupCommit {
    pub(crate) fn new(catalog: Catalog, random: Arc<dyn Random>) -> Self {
        Self { catalog, random, queue: GroupQueue::new(1) }
    }

    /// Performs all of these writes or none. Returns once they are durable.
    pub(crate) async fn write(self: &Arc<Self>, writes: Vec<Box<dyn GroupedWrite>>) -> Result<()> {
        let group = Arc::clone(self);
        let written = self.queue.submit(writes, async move { group.commit_group().await }).await;
        written.unwrap_or_else(|| Err(Error::new(ErrorKind::Unavailable, "the archive is being closed")))
    }

    async fn commit_group(&self) {
        let Some(_turn) = self.queue.turn().await else { return };
        let group = self.queue.take_group(|waiting| waiting.len().min(limits::GROUP_WRITES_MAX));
        let mut all: Vec<&dyn GroupedWrite> =
            group.iter().flat_map(|(writes, _)| writes).map(|write| &**write).collect();
        // All nodes lock rows in the same order, which avoids deadlocks.
        all.sort_by_key(|write| write.order());
        let outcome = self.commit_writes(&all).await;
        match outcome {
            // Nothing was written, and the writes of the other callers may succeed.
            Err(error) if is_refusal(&error) && group.len() > 1 => {
                warn!(%error, "a grouped write failed; committing each write separately");
                self.commit_each(group).await;
            }
            outcome => {
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
            // If the catalog is unavailable, the remaining writes fail without another wait.
            if let Some(error) = &is_transient {
                Self::answer(waiting, Err(error.clone()));
                continue;
            }
            let writes: Vec<&dyn GroupedWrite> = waiting.0.iter().map(|write| &**write).collect();
            let outcome = self.commit_writes(&writes).await;
            if let Err(error) = &outcome
                && !is_refusal(error)
            {
                is_transient = Some(error.clone());
            }
            Self::answer(waiting, outcome);
        }
    }

    /// Sends the result to a caller. Follow-up work is done here, because the caller may have been cancelled.
    fn answer((writes, waiter): Waiting, outcome: Result<()>) {
        if outcome.is_ok() {
            writes.into_iter().for_each(|write| write.committed());
        }
        // The caller may have been cancelled.
        let _ = waiter.send(outcome);
    }

    async fn commit_writes(&self, writes: &[&dyn GroupedWrite]) -> Result<()> {
        let attempt = |transaction: WriteTransaction| async {
            let mut transaction = transaction;
            for write in writes {
                write.insert(&mut transaction).await?;
            }
            transaction.commit().await
        };
        self.catalog.transact(&*self.random, attempt).await
    }
}

/// Returns true if the catalog rejected the values of a statement; false if it could not execute any statement, for
/// example because of a lock.
fn is_refusal(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<sqlx::Error>());
    let Some(sqlx::Error::Database(refusal)) = cause else { return false };
    // Codes of PostgreSQL: class 22, invalid values; class 23, violated constraints.
    let is_of_values =
        refusal.code().is_some_and(|code| code.len() == 5 && (code.starts_with("22") || code.starts_with("23")));
    is_of_values || refusal.kind() != sqlx::error::ErrorKind::Other
}
