//! Retries of transactions that another node made fail: PostgreSQL aborts one of two transactions that wait for each
//! other.

use std::future::Future;
use std::time::Duration;

use runlog_model::Random;
use tracing::debug;

use crate::error::{Error, Result};
use crate::limits;

/// Retries a transaction, a few times, that the database aborted in favour of another.
pub(crate) async fn retry_on_contention<T, F: Future<Output = Result<T>>>(
    random: &dyn Random,
    mut act: impl FnMut() -> F,
) -> Result<T> {
    let mut tries = 0;
    loop {
        match act().await {
            Err(error) if tries < limits::CONTENTION_ATTEMPTS_MAX && is_contention(&error) => {
                tries += 1;
                contention_backoff(random, tries, &error).await;
            }
            outcome => return outcome,
        }
    }
}

/// Waits before a retry, for a random time, so that two transactions do not collide again.
pub(super) async fn contention_backoff(random: &dyn Random, tries: u32, error: &Error) {
    debug!(%error, tries, "a transaction gave way to another and is made again");
    let chance = u64::from(random.uuid().as_bytes()[0]);
    let wait_ms = limits::CONTENTION_WAIT_MS << tries;
    tokio::time::sleep(Duration::from_millis(wait_ms + wait_ms * chance / 256)).await;
}

/// True when a transaction was aborted because of another one: a deadlock (40P01), or rows that another one has
/// changed (40001).
pub(crate) fn is_contention(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<sqlx::Error>());
    let Some(sqlx::Error::Database(refusal)) = cause else { return false };
    refusal.code().is_some_and(|code| code == "40P01" || code == "40001")
}
