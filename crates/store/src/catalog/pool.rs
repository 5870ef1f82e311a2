//! Connections to the catalog's database that tolerate a restart of the server.
//!
//! A server that restarts aborts running statements and refuses connections for some seconds.
//!
//! - Reads are retried.
//! - A single statement that writes waits for a connection. Once sent, it is retried only if PostgreSQL aborted it in
//!   favour of another statement (40P01, 40001), because it was then certainly not applied. If its response is lost,
//!   the statement may have been applied, and it fails with `Unavailable`: a retried claim, for example, could take a
//!   second row.
//! - Transactions that write are retried until `COMMIT` is sent: see [`transaction`](super::transaction).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use runlog_model::backoff;
use sqlx::any::{AnyArguments, AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::{Any, AnyPool, Either, Execute, Executor, SqlStr};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tracing::debug;

use crate::catalog::turns::Turns;
use crate::error::{Error, UnknownOutcome};
use crate::limits;
use crate::simulation::Operation;
use crate::timeout::timeout_while_running;

/// Metrics of a pool of connections to the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolMetrics {
    /// `writer` or `reader` for SQLite, `all` for PostgreSQL.
    pub name: &'static str,
    /// Open connections.
    pub open: usize,
    /// Open connections that are not in use.
    pub idle: usize,
    /// Calls that wait for a connection.
    pub waiting: usize,
    /// The maximum number of open connections.
    pub open_max: usize,
}

/// A pool of connections.
#[derive(Debug, Clone)]
pub(crate) struct CatalogPool {
    pool: AnyPool,
    /// True if the statements only read and may be retried.
    is_for_reading: bool,
    /// How long a call waits for a connection.
    wait_max: Duration,
    /// Limits the number of concurrent reads, if the connections are shared with other pools.
    places: Option<Arc<Semaphore>>,
    /// Calls that wait for a connection.
    waiting: Arc<AtomicUsize>,
    turns: Turns,
}

/// A call that waits for a connection, until it is dropped.
struct Waiting<'w>(&'w AtomicUsize);

impl<'w> Waiting<'w> {
    fn new(waiting: &'w AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A statement that can be sent again.
struct Statement {
    text: SqlStr,
    /// `None` if the statement is not prepared.
    arguments: Option<AnyArguments>,
    is_kept: bool,
}

/// The results of a statement, in order.
type Steps = Vec<Either<AnyQueryResult, AnyRow>>;

impl CatalogPool {
    pub(crate) fn for_reading(pool: AnyPool, wait_max: Duration) -> Self {
        let (waiting, turns) = (Arc::default(), Turns::default());
        Self { pool, is_for_reading: true, wait_max, places: None, waiting, turns }
    }

    pub(crate) fn for_writing(pool: AnyPool, wait_max: Duration) -> Self {
        let (waiting, turns) = (Arc::default(), Turns::default());
        Self { pool, is_for_reading: false, wait_max, places: None, waiting, turns }
    }

    /// Limits the number of statements that run concurrently.
    pub(crate) fn with_permits(self, places: usize) -> Self {
        Self { places: Some(Arc::new(Semaphore::new(places))), ..self }
    }

    /// Sets the scheduler of statements.
    pub(super) fn with_turns(self, turns: Turns) -> Self {
        Self { turns, ..self }
    }

    /// Returns metrics of the pool under this name.
    pub(crate) fn metrics(&self, name: &'static str) -> PoolMetrics {
        PoolMetrics {
            name,
            open: self.pool.size() as usize,
            idle: self.pool.num_idle(),
            waiting: self.waiting.load(Ordering::Relaxed),
            open_max: self.pool.options().get_max_connections() as usize,
        }
    }

    /// Counts a call as waiting for a connection while `acquiring` runs. Fails if `acquiring` takes too long.
    pub(crate) async fn wait_for<T>(&self, acquiring: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        let _waiting = Waiting::new(&self.waiting);
        timeout_while_running(self.wait_max, acquiring).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    pub(crate) fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// Acquires a connection; waits while the server restarts.
    async fn acquire(&self) -> sqlx::Result<PoolConnection<Any>> {
        retry_while_unavailable(|| self.wait_for(self.pool.acquire())).await
    }

    /// Acquires a connection, and a permit that is held while the statement runs.
    async fn acquire_in_place(&self) -> sqlx::Result<(Option<SemaphorePermit<'_>>, PoolConnection<Any>)> {
        let place = match &self.places {
            Some(places) => Some(places.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?),
            None => None,
        };
        Ok((place, self.pool.acquire().await?))
    }

    async fn run(&self, statement: Statement) -> sqlx::Result<Steps> {
        match self.is_for_reading {
            true => {
                retry_while_unavailable(|| async {
                    let _turn = self.turns.begin(Operation::Read, statement.text.as_str()).await;
                    let (_place, connection) = self.wait_for(self.acquire_in_place()).await?;
                    statement.on(connection).await
                })
                .await
            }
            false => {
                retry_if_aborted(|| async {
                    let mut turn = self.turns.begin(Operation::Write, statement.text.as_str()).await;
                    let steps = statement.on(self.acquire().await?).await.map_err(unknown_outcome)?;
                    turn.after_write().await.map_err(unknown_outcome)?;
                    Ok(steps)
                })
                .await
            }
        }
    }
}

impl Statement {
    fn of<'q>(mut query: impl Execute<'q, Any>) -> sqlx::Result<Self> {
        let arguments = query.take_arguments().map_err(sqlx::Error::Encode)?;
        Ok(Self { arguments, is_kept: query.persistent(), text: query.sql() })
    }

    async fn on(&self, mut connection: PoolConnection<Any>) -> sqlx::Result<Steps> {
        let Some(arguments) = &self.arguments else {
            return connection.fetch_many(self.text.clone()).try_collect().await;
        };
        let mut again = AnyArguments::default();
        again.values.0.clone_from(&arguments.values.0);
        let query: Query<'_, Any, AnyArguments> = sqlx::query_with(self.text.clone(), again);
        connection.fetch_many(query.persistent(self.is_kept)).try_collect().await
    }
}

impl<'p> Executor<'p> for &'_ CatalogPool {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Either<AnyQueryResult, AnyRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let pool = self.clone();
        let running = async move {
            let steps = pool.run(Statement::of(query)?).await?;
            Ok::<_, sqlx::Error>(stream::iter(steps.into_iter().map(Ok)))
        };
        stream::once(running).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<AnyRow>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let pool = self.clone();
        Box::pin(async move {
            let steps = pool.run(Statement::of(query)?).await?;
            Ok(steps.into_iter().find_map(Either::right))
        })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [AnyTypeInfo]) -> BoxFuture<'e, sqlx::Result<AnyStatement>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.prepare_with(sql, parameters).await })
    }
}

/// Retries an operation for some seconds while the server is unavailable.
pub(crate) async fn retry_while_unavailable<T, E: IsTransient, F>(attempt: impl FnMut() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    retry_within(limits::CATALOG_WAIT, attempt).await
}

async fn retry_within<T, E: IsTransient, F>(wait: Duration, mut attempt: impl FnMut() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    // The time is measured from the first failure, because the process may have been suspended during the first
    // attempt.
    let mut failing_since: Option<Instant> = None;
    let mut delay = Duration::from_millis(50);
    loop {
        match attempt().await {
            Err(error) if error.is_transient() && failing_since.get_or_insert_with(Instant::now).elapsed() < wait => {
                debug!("the catalog server is unavailable; retrying");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(Duration::from_millis(500));
            }
            outcome => return outcome,
        }
    }
}

/// Retries a statement that PostgreSQL aborted in favour of another statement.
async fn retry_if_aborted<T, F>(mut attempt: impl FnMut() -> F) -> sqlx::Result<T>
where
    F: Future<Output = sqlx::Result<T>>,
{
    let mut retries = 0;
    loop {
        match attempt().await {
            Err(error) if is_aborted(&error) && retries < limits::TRANSACTION_RETRIES_MAX => {
                debug!(%error, retries, "a statement was aborted and is retried");
                tokio::time::sleep(retry_delay(retries)).await;
                retries += 1;
            }
            outcome => return outcome,
        }
    }
}

/// Returns the delay before the next retry after an abort, when `retries` have been made.
pub(crate) fn retry_delay(retries: u32) -> Duration {
    backoff(Duration::from_millis(limits::TRANSACTION_RETRY_WAIT_MS), retries, limits::CATALOG_WAIT)
}

/// Returns true if PostgreSQL has rolled back a transaction, or a statement outside of one, and another attempt may
/// succeed: a deadlock (40P01), rows changed by another transaction (40001), or a transaction that was idle for too
/// long (25P03).
pub(crate) fn is_aborted(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(refusal) = error else { return false };
    refusal.code().is_some_and(|code| ["40P01", "40001", "25P03"].contains(&&*code))
}

/// Marks the error of a change that was sent and may have been applied.
pub(crate) fn unknown_outcome(error: sqlx::Error) -> sqlx::Error {
    match error.is_transient() {
        true => sqlx::Error::AnyDriverError(Box::new(UnknownOutcome(error))),
        false => error,
    }
}

/// An error that may be caused by a restart of the server.
pub(crate) trait IsTransient {
    /// Returns true for errors of a server that is stopping or starting.
    fn is_transient(&self) -> bool;
}

impl IsTransient for sqlx::Error {
    fn is_transient(&self) -> bool {
        match self {
            Self::Io(_) | Self::Protocol(_) | Self::WorkerCrashed => true,
            // PostgreSQL: connection exceptions (class 08), shutdown, crash of the server, start-up in progress.
            Self::Database(refusal) => refusal
                .code()
                .is_some_and(|code| code.starts_with("08") || ["57P01", "57P02", "57P03"].contains(&&*code)),
            _ => false,
        }
    }
}

impl IsTransient for Error {
    fn is_transient(&self) -> bool {
        let cause = std::error::Error::source(self).and_then(|cause| cause.downcast_ref::<sqlx::Error>());
        cause.is_some_and(IsTransient::is_transient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unavailable_database_is_retried_for_a_limited_time() {
        let away = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        let mut tries = 0;
        let outcome = retry_while_unavailable(|| {
            tries += 1;
            std::future::ready(if tries < 3 { Err(away()) } else { Ok(tries) })
        });
        assert_eq!(outcome.await.unwrap(), 3);
        let wait = Duration::from_millis(100);
        let begun = Instant::now();
        assert!(retry_within(wait, || std::future::ready(Err::<(), _>(Error::from(away())))).await.is_err());
        assert!(begun.elapsed() >= wait);
        let mut tries = 0;
        let refused = retry_while_unavailable(|| {
            tries += 1;
            std::future::ready(Err::<(), _>(sqlx::Error::RowNotFound))
        });
        assert!(refused.await.is_err());
        assert_eq!(tries, 1, "an answer is an answer");
    }
}
