//! Small writes that come together are committed together: a commit waits for the disk, and one wait serves them all.
//! Where the catalog refuses one of them, each caller's are committed by themselves: nobody's fail with another's.

use std::sync::{Mutex, PoisonError};

use runlog_model::wire::admin::AuditEntry;
use tokio::sync::oneshot;
use tracing::warn;

use crate::catalog::contention::is_contention;
use crate::catalog::pool::{IsAway, again_while_away};
use crate::catalog::sql::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::page::request::WantedPage;
use crate::store::Store;

/// A write that cannot contradict another.
#[derive(Debug)]
pub(crate) enum SmallWrite {
    /// Something that someone did.
    Audit(AuditEntry),
    /// A page that is wanted, and the token for it.
    Page(Box<WantedPage>),
}

impl SmallWrite {
    /// What follows once it is durable, whether its caller is still there or not.
    fn committed(self, store: &Store) {
        match self {
            Self::Audit(_) => {}
            Self::Page(page) => page.committed(store),
        }
    }
}

impl SmallWrite {
    /// The key by which the writes of a commit are put in order; none where nothing is locked.
    fn order(&self) -> Option<&str> {
        match self {
            Self::Audit(_) => None,
            Self::Page(page) => Some(page.key()),
        }
    }
}

/// What one caller has to write, and where it is told that it is done.
type Waiting = (Vec<SmallWrite>, oneshot::Sender<Result<()>>);

/// Why a commit failed.
struct Failure {
    error: Error,
    /// True when the catalog answered, and would not take one of the writes: nothing is written, and the others may be.
    is_refused: bool,
    /// True when nothing is written for sure.
    is_undone: bool,
}

impl IsAway for Failure {
    fn is_away(&self) -> bool {
        self.is_undone && self.error.is_away()
    }
}

/// The writes that wait for the next commit.
#[derive(Debug, Default)]
pub(crate) struct Group {
    waiting: Mutex<Vec<Waiting>>,
    /// Held by the commit that goes on.
    committing: tokio::sync::Mutex<()>,
}

impl Store {
    /// Writes these, all or none, and comes back once they are durable.
    pub(crate) async fn write_small(&self, writes: Vec<SmallWrite>) -> Result<()> {
        let (done, is_done) = oneshot::channel();
        self.group().waiting.lock().unwrap_or_else(PoisonError::into_inner).push((writes, done));
        // A caller that goes away half way must not take the writes of others with it.
        let store = self.clone();
        tokio::spawn(async move { store.commit_group().await });
        is_done.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Unavailable, "the archive is being closed")))
    }

    async fn commit_group(&self) {
        let _alone = self.group().committing.lock().await;
        let group: Vec<_> = {
            let mut waiting = self.group().waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let count = waiting.len().min(limits::GROUP_WRITES_MAX);
            waiting.drain(..count).collect()
        };
        if group.is_empty() {
            return;
        }
        let mut all: Vec<&SmallWrite> = group.iter().flat_map(|(writes, _)| writes).collect();
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
                    self.answer(waiting, outcome.clone());
                }
            }
        }
    }

    /// Commits what each caller has to write by itself.
    async fn commit_each(&self, group: Vec<Waiting>) {
        let mut is_away: Option<Error> = None;
        for waiting in group {
            // A catalog that is away is not waited for again and again.
            if let Some(error) = &is_away {
                self.answer(waiting, Err(error.clone()));
                continue;
            }
            let writes: Vec<&SmallWrite> = waiting.0.iter().collect();
            let outcome = self.commit_writes(&writes).await;
            if let Err(failure) = &outcome
                && !failure.is_refused
            {
                is_away = Some(failure.error.clone());
            }
            self.answer(waiting, outcome.map_err(|failure| failure.error));
        }
    }

    /// Tells a caller what became of its writes. What follows from them does so here: it must not hang on a caller that
    /// may have gone away.
    fn answer(&self, (writes, waiter): Waiting, outcome: Result<()>) {
        if outcome.is_ok() {
            writes.into_iter().for_each(|write| write.committed(self));
        }
        // Whoever has gone away does not want to know.
        let _ = waiter.send(outcome);
    }

    async fn commit_writes(&self, writes: &[&SmallWrite]) -> Result<(), Failure> {
        let mut tries = 0;
        loop {
            match again_while_away(|| self.commit_writes_once(writes)).await {
                Err(failure) if tries < limits::CONTENTION_TRIES_MAX && is_contention(&failure.error) => {
                    tries += 1;
                    self.wait_after_contention(tries, &failure.error).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn commit_writes_once(&self, writes: &[&SmallWrite]) -> Result<(), Failure> {
        let away = |error| Failure { error, is_refused: false, is_undone: true };
        let mut transaction = self.catalog().begin().await.map_err(away)?;
        for write in writes {
            let connection: &mut Connection = &mut transaction;
            let written = match write {
                SmallWrite::Audit(entry) => crate::tables::audit::insert(connection, entry).await,
                SmallWrite::Page(page) => page.insert(connection).await,
            };
            written.map_err(|error| Failure { is_refused: is_answer(&error), is_undone: true, error })?;
        }
        // Of a commit whose answer got lost it is not known whether it was made, so it is not made again.
        transaction.commit().await.map_err(|error| Failure { is_undone: false, ..away(error.into()) })
    }
}

/// True for what the catalog says of the values of a statement; false for what keeps it from taking any, such as a lock
/// that it waits for.
fn is_answer(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<sqlx::Error>());
    let Some(sqlx::Error::Database(refusal)) = cause else { return false };
    // In the codes of PostgreSQL: wrong values, and constraints that they break.
    let is_of_values =
        refusal.code().is_some_and(|code| code.len() == 5 && (code.starts_with("22") || code.starts_with("23")));
    is_of_values || refusal.kind() != sqlx::error::ErrorKind::Other
}
