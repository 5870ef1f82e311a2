//! Transactions that write, and when they are retried.
//!
//! [`Catalog::transact`] is the only way to begin one. It repeats a transaction from its first statement if it is
//! certain that nothing was committed:
//!
//! - PostgreSQL aborted the transaction because of a deadlock (40P01), or because another transaction changed its rows
//!   (40001).
//! - PostgreSQL terminated the session because no statement arrived for [`limits::TRANSACTION_IDLE_MS_MAX`] (25P03):
//!   this process was suspended while it held locks.
//! - The connection was lost before `COMMIT` was sent, for example because the server restarted.
//!
//! If the connection is lost during `COMMIT`, the outcome is unknown. [`WriteTransaction::commit`] marks this error,
//! and the transaction is not retried: the caller receives `Unavailable`. If the server rejects `COMMIT`, nothing was
//! committed, and the rules above apply.
//!
//! A transaction is an [`Fn`], which cannot change or consume the variables that it captures, so that a retry starts
//! from the same values. It returns its counts instead of adding them to variables. Objects are written before the
//! transaction and removed after it.

use std::ops::{Deref, DerefMut};

use runlog_model::Random;
use sqlx::{Any, Transaction};
use tokio::time::Instant;
use tracing::debug;

use crate::catalog::database::Catalog;
use crate::catalog::pool::{IsTransient, is_aborted, retry_delay, unknown_outcome};
use crate::catalog::sql::Connection;
use crate::catalog::turns::StartedTurn;
use crate::error::{Error, Result};
use crate::limits;
use crate::simulation::Operation;

/// A transaction that writes. It is rolled back when dropped without a commit.
pub(crate) struct WriteTransaction {
    // Declared before `turn`, so that the transaction is rolled back before the turn ends.
    transaction: Transaction<'static, Any>,
    turn: StartedTurn,
}

impl WriteTransaction {
    /// Commits the transaction. An error whose outcome is unknown is never retried.
    pub(crate) async fn commit(self) -> Result<()> {
        let Self { transaction, mut turn } = self;
        turn.before_commit().await?;
        transaction.commit().await.map_err(commit_error)?;
        turn.after_write().await.map_err(commit_error)
    }
}

impl Deref for WriteTransaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.transaction
    }
}

impl DerefMut for WriteTransaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.transaction
    }
}

impl Catalog {
    /// Runs a transaction that writes, and retries it as described in the documentation of this module. `attempt` must
    /// commit the transaction; otherwise it is rolled back.
    pub(crate) async fn transact<T, F>(&self, random: &dyn Random, attempt: impl Fn(WriteTransaction) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut retries = Retries::default();
        loop {
            // `begin` waits while the server restarts.
            let turn = self.turns().begin(Operation::Transaction, "BEGIN").await;
            let transaction = WriteTransaction { transaction: self.begin().await?, turn };
            match attempt(transaction).await {
                Err(error) if retries.allow(&error) => retries.back_off(random, &error).await,
                outcome => return outcome,
            }
        }
    }
}

/// The retries of one transaction.
#[derive(Default)]
struct Retries {
    count: u32,
    /// When the first attempt failed. The time before does not count, so that a process that was suspended for minutes
    /// may still retry.
    since: Option<Instant>,
}

impl Retries {
    fn allow(&mut self, error: &Error) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        let can_be_retried = is_abort(error) || (error.is_transient() && since.elapsed() < limits::CATALOG_WAIT);
        can_be_retried && self.count < limits::TRANSACTION_RETRIES_MAX
    }

    /// Waits for a random time, so that two transactions do not conflict again.
    async fn back_off(&mut self, random: &dyn Random, error: &Error) {
        let delay = retry_delay(self.count);
        self.count += 1;
        debug!(error = error.with_causes(), retry = self.count, "a transaction was aborted and is retried");
        let chance = u32::from(random.uuid().as_bytes()[0]);
        tokio::time::sleep(delay + delay * chance / 256).await;
    }
}

/// Returns true if PostgreSQL aborted the transaction and another attempt may succeed.
fn is_abort(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<sqlx::Error>());
    cause.is_some_and(is_aborted)
}

fn commit_error(error: sqlx::Error) -> Error {
    unknown_outcome(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn lost() -> sqlx::Error {
        sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())
    }

    #[test]
    fn a_connection_lost_before_commit_is_retried_and_one_lost_during_commit_is_not() {
        assert!(Retries::default().allow(&lost().into()));
        let error = commit_error(lost());
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.is_outcome_unknown());
        assert!(!Retries::default().allow(&error), "{error:?}");
    }

    #[test]
    fn retries_end_after_some_attempts() {
        let mut retries = Retries { count: limits::TRANSACTION_RETRIES_MAX - 1, since: None };
        assert!(retries.allow(&lost().into()));
        retries.count += 1;
        assert!(!retries.allow(&lost().into()));
    }

    #[test]
    fn errors_of_the_transaction_are_not_retried() {
        assert!(!Retries::default().allow(&Error::conflict("the run is under legal hold")));
        assert!(!Retries::default().allow(&sqlx::Error::RowNotFound.into()));
    }
}
