//! The catalog: the rows of an archive, in an SQLite file on one machine, or in PostgreSQL for any number of nodes.
//!
//! Both databases are accessed with the same SQL; all differences between them are handled in this file.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Any, AnyConnection, AnyPool, ConnectOptions, Connection, Executor, Transaction};

use runlog_model::planted;

use crate::catalog::lost_frames::count_lost_frames;
use crate::catalog::pool::{CatalogPool, PoolMetrics, retry_while_unavailable};
use crate::catalog::turns::Turns;
use crate::error::{Error, ErrorKind, POOLER, Result, is_pooler_error};
use crate::limits;
use crate::permissions::open_private_file;
use crate::simulation::Simulation;
use crate::timeout::timeout_while_running;

/// The database with the rows of an archive.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    kind: CatalogKind,
    writer: CatalogPool,
    readers: CatalogPool,
    /// For short reads, which do not wait for long ones.
    quick_readers: CatalogPool,
    turns: Turns,
    /// Number of committed frames that were missing from the write-ahead log of an SQLite file when it was opened.
    lost_frames: u32,
}

/// The kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CatalogKind {
    Sqlite,
    Postgres,
}

/// How long to wait for running statements when connections are closed.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// Longer than any call waits.
const UNLIMITED: Duration = Duration::from_secs(24 * 3_600);

/// Registers the database drivers.
static DRIVERS: Once = Once::new();

impl Catalog {
    /// Opens the catalog file, creates it if it does not exist, and migrates it.
    pub(crate) async fn open_file(file: &Path) -> Result<Self> {
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let opening = |error| Error::caused(ErrorKind::Unavailable, format!("cannot open {}", file.display()), error);
        let mut url =
            url::Url::parse("sqlite:///").map_err(|error| opening(sqlx::Error::Configuration(error.into())))?;
        let path = std::path::absolute(file).map_err(|error| opening(error.into()))?;
        url.set_path(&path.to_string_lossy());
        let (mut for_writing, mut for_reading) = (url.clone(), url);
        for_writing.set_query(Some("mode=rwc"));
        for_reading.set_query(Some("mode=ro"));
        // The lock prevents two processes that open a new file at the same time from creating the same tables.
        let alone = locked(path.clone()).await;
        let query = path.clone();
        let lost_frames = tokio::task::spawn_blocking(move || count_lost_frames(&query)).await?;
        // SQLite creates its other files, such as the write-ahead log, with the same permissions.
        open_private_file(&path).map_err(|error| opening(error.into()))?;
        // SQLite allows one writer at a time: a second connection would only find the file busy.
        let writer = pool_options()
            .max_connections(1)
            // A file does not become unavailable as a server does, and a test would cost each transaction a round trip.
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    // Acknowledged data must survive a power failure.
                    let settings = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                         PRAGMA foreign_keys = ON;";
                    connection.execute(settings).await.map(drop)
                })
            })
            .after_release(|connection, _| {
                Box::pin(async move {
                    // SQLite rolls back a transaction itself when the disk is full. The rollback of the library then
                    // fails, and the library still counts the transaction as open: such a connection could never begin
                    // another one.
                    if connection.is_in_transaction() {
                        // This rolls back a transaction that was dropped.
                        connection.ping().await?;
                    }
                    Ok(!connection.is_in_transaction())
                })
            });
        let writer = opened(writer, &for_writing, limits::SQLITE_WAIT).await.map_err(opening)?;
        // Migrations do not need to wait for the disk one by one: the write-ahead log preserves their order, so that
        // after a power failure a prefix of them is applied, and the first row written afterwards waits for all of
        // them.
        writer.execute("PRAGMA synchronous = NORMAL").await?;
        sqlx_macros::migrate!("migrations/sqlite").run(&writer).await.map_err(|error| {
            let advice = "was it written by a newer runlog?";
            Error::caused(ErrorKind::Corrupt, format!("cannot bring {} up to date; {advice}", file.display()), error)
        })?;
        let durable = !planted::is("commits-not-synced");
        writer.execute(if durable { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" }).await?;
        drop(alone);
        let readers = pool_options().max_connections(limits::CATALOG_READERS).test_before_acquire(false).after_connect(
            |connection, _| Box::pin(async move { connection.execute("PRAGMA busy_timeout = 10000").await.map(drop) }),
        );
        let readers = opened(readers, &for_reading, limits::SQLITE_WAIT).await.map_err(opening)?;
        let writer = CatalogPool::for_writing(writer, limits::SQLITE_WAIT);
        let readers = CatalogPool::for_reading(readers, limits::SQLITE_WAIT);
        let quick_readers = readers.clone();
        Ok(Self { kind: CatalogKind::Sqlite, writer, readers, quick_readers, turns: Turns::default(), lost_frames })
    }

    /// Connects to a PostgreSQL database and migrates it; one node does so while the others wait.
    pub(crate) async fn connect(url: &url::Url) -> Result<Self> {
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let place = format!("{}{}", url.host_str().unwrap_or("?"), url.path());
        let opening = |error: sqlx::Error| {
            let message = match is_pooler_error(&error) {
                true => format!("cannot use the catalog {place}: {POOLER}"),
                false => {
                    format!("cannot reach the catalog {place}; does PostgreSQL run there, and is the password right?")
                }
            };
            Error::caused(ErrorKind::Unavailable, message, error)
        };
        let pool = pool_options()
            .max_connections(limits::POSTGRES_CONNECTIONS)
            .after_connect(|connection, _| Box::pin(set_bounds(connection)))
            .after_release(|_, connection| {
                Box::pin(async move { Ok(connection.age < limits::POSTGRES_CONNECTION_AGE) })
            });
        let pool = opened(pool, url, limits::CATALOG_WAIT).await.map_err(opening)?;
        let mut connection = pool.acquire().await.map_err(opening)?;
        // Creating an index of a large table takes longer than the limit for calls. The limit for lock waits stays in
        // place, because later statements would queue behind a waiting migration.
        connection.execute("SET statement_timeout = 0").await.map_err(opening)?;
        let migrations = sqlx_macros::migrate!("migrations/postgres");
        // Running the migrator requires the right to create tables even if no migration is pending.
        if !is_up_to_date(&migrations, &mut connection).await {
            migrations.run(&mut *connection).await.map_err(|error| migration_failed(&place, error))?;
        }
        set_bounds(&mut connection).await.map_err(opening)?;
        drop(connection);
        let writer = CatalogPool::for_writing(pool.clone(), limits::CATALOG_WAIT);
        let places = limits::POSTGRES_CONNECTIONS - limits::POSTGRES_CONNECTIONS_FOR_WRITING;
        let quick_readers = CatalogPool::for_reading(pool.clone(), limits::CATALOG_WAIT);
        let readers = CatalogPool::for_reading(pool, limits::CATALOG_WAIT).with_permits(places as usize);
        Ok(Self {
            kind: CatalogKind::Postgres,
            writer,
            readers,
            quick_readers,
            turns: Turns::default(),
            lost_frames: 0,
        })
    }

    /// Returns this catalog with its operations scheduled by a simulation, if one is given.
    pub(crate) fn simulated(self, simulation: Option<Arc<dyn Simulation>>) -> Self {
        let turns = Turns(simulation);
        Self {
            writer: self.writer.with_turns(turns.clone()),
            readers: self.readers.with_turns(turns.clone()),
            quick_readers: self.quick_readers.with_turns(turns.clone()),
            turns,
            ..self
        }
    }

    /// Returns how many committed frames were missing from the write-ahead log when the file was opened.
    pub(crate) fn lost_frames(&self) -> u32 {
        self.lost_frames
    }

    /// Returns the scheduler of operations.
    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Returns the pool for statements that only read; they are retried while the server is unavailable.
    pub(crate) fn read(&self) -> &CatalogPool {
        &self.readers
    }

    /// Returns the pool for short reads that are part of a write or of every request; they do not wait for long reads.
    pub(crate) fn read_quick(&self) -> &CatalogPool {
        &self.quick_readers
    }

    /// Returns the pool for single statements that write.
    pub(crate) fn write(&self) -> &CatalogPool {
        &self.writer
    }

    /// Begins a transaction that writes, for [`transact`](Self::transact). In SQLite, it acquires the write lock
    /// immediately.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Any>> {
        let writer = self.writer.pool();
        Ok(match self.kind {
            CatalogKind::Sqlite => self.writer.wait_for(writer.begin_with("BEGIN IMMEDIATE")).await?,
            CatalogKind::Postgres => retry_while_unavailable(|| self.writer.wait_for(writer.begin())).await?,
        })
    }

    /// Returns metrics of the connection pools.
    pub(crate) fn metrics(&self) -> Vec<PoolMetrics> {
        match self.kind {
            CatalogKind::Sqlite => vec![self.writer.metrics("writer"), self.readers.metrics("reader")],
            CatalogKind::Postgres => {
                let all = self.writer.metrics("all");
                let readers = [&self.readers, &self.quick_readers].map(|pool| pool.metrics("all").waiting);
                vec![PoolMetrics { waiting: all.waiting + readers.iter().sum::<usize>(), ..all }]
            }
        }
    }

    /// Returns the suffix of a query that locks rows in order to change them, but not their keys: rows that reference
    /// them may be added in the meantime.
    pub(crate) fn for_update(&self) -> &'static str {
        match self.kind {
            CatalogKind::Sqlite => "",
            CatalogKind::Postgres => " FOR NO KEY UPDATE",
        }
    }

    /// Returns the suffix of a query that locks rows in order to delete them: no row that references them can be added
    /// in the meantime.
    pub(crate) fn for_deletion(&self) -> &'static str {
        match self.kind {
            CatalogKind::Sqlite => "",
            CatalogKind::Postgres => " FOR UPDATE",
        }
    }

    /// Returns the suffix of a query for pending work, which skips rows locked by another node.
    pub(crate) fn skip_locked(&self) -> &'static str {
        match self.kind {
            CatalogKind::Sqlite => "",
            CatalogKind::Postgres => " FOR UPDATE SKIP LOCKED",
        }
    }

    /// Returns the time of the database's clock, if it has its own. Unit: epoch milliseconds.
    pub(crate) async fn clock_ms(&self) -> Result<Option<i64>> {
        Ok(match self.kind {
            CatalogKind::Sqlite => self.turns.clock_ms(),
            CatalogKind::Postgres => Some(
                sqlx::query_scalar("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)")
                    .fetch_one(&self.quick_readers)
                    .await?,
            ),
        })
    }

    /// Returns the version of the database, and the time of its clock if it has its own. Unit: epoch milliseconds.
    pub(crate) async fn version_and_clock(&self) -> Result<(String, Option<i64>)> {
        Ok(match self.kind {
            CatalogKind::Sqlite => {
                let version: String =
                    sqlx::query_scalar("SELECT 'SQLite ' || sqlite_version()").fetch_one(&self.readers).await?;
                (version, None)
            }
            CatalogKind::Postgres => {
                let (version, clock_ms): (String, i64) = sqlx::query_as(
                    "SELECT 'PostgreSQL ' || current_setting('server_version'),
                            CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
                )
                .fetch_one(&self.readers)
                .await?;
                (version, Some(clock_ms))
            }
        })
    }

    /// Closes all connections, so that an SQLite file is complete without its write-ahead log. Does not wait for a
    /// server that does not respond.
    pub(crate) async fn close(&self) {
        let closing = async {
            self.readers.pool().close().await;
            self.writer.pool().close().await;
        };
        match self.kind {
            CatalogKind::Sqlite => closing.await,
            // Closing waits for all statements that were sent.
            CatalogKind::Postgres => {
                if tokio::time::timeout(CLOSE_WAIT, closing).await.is_err() {
                    tracing::warn!("the catalog does not respond; its connections were not closed");
                }
            }
        }
    }
}

/// Returns true if exactly the known migrations were applied.
async fn is_up_to_date(migrations: &Migrator, connection: &mut AnyConnection) -> bool {
    let done: Result<Vec<(i64, bool, Vec<u8>)>, _> =
        sqlx::query_as("SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version")
            .fetch_all(connection)
            .await;
    // The table does not exist in a new database.
    let Ok(done) = done else { return false };
    done.iter().all(|(_, success, _)| *success)
        && done
            .iter()
            .map(|(version, _, checksum)| (*version, checksum.as_slice()))
            .eq(migrations.iter().map(|step| (step.version, &*step.checksum)))
}

fn migration_failed(place: &str, error: MigrateError) -> Error {
    let cause = match &error {
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => Some(cause),
        _ => None,
    };
    if cause.is_some_and(is_pooler_error) {
        return Error::caused(ErrorKind::Unavailable, format!("cannot use the catalog {place}: {POOLER}"), error);
    }
    let is_forbidden = |cause: &sqlx::Error| {
        cause.as_database_error().and_then(|refusal| refusal.code()).is_some_and(|code| code == "42501")
    };
    if cause.is_some_and(is_forbidden) {
        let message = format!(
            "cannot make or change the tables in {place}: this user may not; start once as the user who owns the tables and \
             may make more (CREATE on the schema), and then as this one"
        );
        return Error::caused(ErrorKind::Unavailable, message, error);
    }
    Error::caused(
        ErrorKind::Corrupt,
        format!("cannot bring {place} up to date; was it written by a newer runlog?"),
        error,
    )
}

/// Sets how long a statement may take on a connection to PostgreSQL, how long it may wait for a lock, and how long a
/// transaction may wait for its next statement.
async fn set_bounds(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    let settings = format!(
        "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}",
        limits::STATEMENT_MS_MAX,
        limits::LOCK_WAIT_MS_MAX,
        limits::TRANSACTION_IDLE_MS_MAX
    );
    connection.execute(sqlx::AssertSqlSafe(settings)).await.map(drop)
}

/// Locks a file beside the database until the lock is dropped; `None` where files cannot be locked.
///
/// A separate file is locked because a process that runs under a lock of the folder would wait for itself.
async fn locked(file: PathBuf) -> Option<File> {
    let lock = move || {
        let lock = open_private_file(&file.with_extension("lock")).ok()?;
        lock.lock().ok().map(|()| lock)
    };
    tokio::task::spawn_blocking(lock).await.ok().flatten()
}

/// Returns the options of a pool.
///
/// The pool does not limit the time to wait for a connection, because the limit would elapse while the process is
/// suspended; [`opened`] and [`CatalogPool::wait_for`] limit it instead. The library's task that closes old connections
/// is disabled: it may read a counter that has underflowed for a moment, and then occupies a thread forever
/// (<https://github.com/transact-rs/sqlx/issues/3645>).
fn pool_options() -> AnyPoolOptions {
    AnyPoolOptions::new().acquire_timeout(UNLIMITED).idle_timeout(None).max_lifetime(None)
}

/// Opens a pool. The server must respond within `wait_max`.
async fn opened(pool: AnyPoolOptions, url: &url::Url, wait_max: Duration) -> Result<AnyPool, sqlx::Error> {
    let connecting = pool.connect_with(options(url)?);
    timeout_while_running(wait_max, connecting).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Returns the connection options. The library must not log statements, because they contain values.
fn options(url: &url::Url) -> Result<AnyConnectOptions, sqlx::Error> {
    Ok(AnyConnectOptions::from_url(url)?.disable_statement_logging())
}
