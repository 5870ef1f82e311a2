//! The catalog: the rows of an archive, in an SQLite file on one machine, or in PostgreSQL for any number of nodes.
//!
//! Both are accessed with the same SQL; all differences between them are in this file.

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

/// The rows of an archive.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    kind: CatalogKind,
    writer: CatalogPool,
    readers: CatalogPool,
    /// For reads that wait for no long ones.
    quick_readers: CatalogPool,
    turns: Turns,
    /// Committed frames that the write-ahead log of a file lacked when it was opened.
    lost_frames: u32,
}

/// The kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CatalogKind {
    Sqlite,
    Postgres,
}

/// How long to wait for running statements when the connections are closed.
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
        // Others that open it for the first time at this moment wait: both would make the same tables.
        let alone = locked(path.clone()).await;
        let looking = path.clone();
        let lost_frames = tokio::task::spawn_blocking(move || count_lost_frames(&looking)).await?;
        // The files beside it, such as the write-ahead log, get the same permissions.
        open_private_file(&path).map_err(|error| opening(error.into()))?;
        // One writer, because SQLite has one: a second would only find the file busy.
        let writer = pool_options()
            .max_connections(1)
            // A file does not go away as a server does: asking it first would cost each transaction a turn.
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    // What is acknowledged must survive a power cut.
                    let settings = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                         PRAGMA foreign_keys = ON;";
                    connection.execute(settings).await.map(drop)
                })
            })
            .after_release(|connection, _| {
                Box::pin(async move {
                    // SQLite ends a transaction itself when the disk is full, and the library, whose own rollback then
                    // fails, goes on counting it as open: such a connection could never begin another.
                    if connection.is_in_transaction() {
                        // A transaction that was given up is rolled back with this.
                        connection.ping().await?;
                    }
                    Ok(!connection.is_in_transaction())
                })
            });
        let writer = opened(writer, &for_writing, limits::SQLITE_WAIT).await.map_err(opening)?;
        // Each step of bringing it up to date would wait for the disk. They need not: the write-ahead log keeps their
        // order, so that a power cut leaves the first few of them, and the first row written afterwards waits for all.
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
        // An index of a large table takes longer than any call may. Waiting for a lock stays bounded: whoever comes after
        // it would wait as well.
        connection.execute("SET statement_timeout = 0").await.map_err(opening)?;
        let migrations = sqlx_macros::migrate!("migrations/postgres");
        // Even looking for what is to be done would take the right to make tables.
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

    /// The same, whose operations begin when a simulation says so.
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

    /// How many committed frames the write-ahead log of its file lacked when it was opened.
    pub(crate) fn lost_frames(&self) -> u32 {
        self.lost_frames
    }

    /// When its operations begin.
    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// For statements that change nothing; they are retried when the server comes back.
    pub(crate) fn read(&self) -> &CatalogPool {
        &self.readers
    }

    /// The same for short ones that writes need, or each request: they do not wait until long ones have ended.
    pub(crate) fn read_quick(&self) -> &CatalogPool {
        &self.quick_readers
    }

    /// For one statement that writes.
    pub(crate) fn write(&self) -> &CatalogPool {
        &self.writer
    }

    /// Begins a transaction that writes, for [`transact`](Self::transact). SQLite takes its write lock at once.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Any>> {
        let writer = self.writer.pool();
        Ok(match self.kind {
            CatalogKind::Sqlite => self.writer.wait_for(writer.begin_with("BEGIN IMMEDIATE")).await?,
            CatalogKind::Postgres => retry_while_unavailable(|| self.writer.wait_for(writer.begin())).await?,
        })
    }

    /// Metrics of its connection pools.
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

    /// The suffix of a query that locks rows in order to change them, though not their keys: rows that reference them
    /// may be added meanwhile.
    pub(crate) fn for_update(&self) -> &'static str {
        match self.kind {
            CatalogKind::Sqlite => "",
            CatalogKind::Postgres => " FOR NO KEY UPDATE",
        }
    }

    /// The suffix of a query that locks rows in order to delete them: no row that references them can be added meanwhile.
    pub(crate) fn for_deletion(&self) -> &'static str {
        match self.kind {
            CatalogKind::Sqlite => "",
            CatalogKind::Postgres => " FOR UPDATE",
        }
    }

    /// The suffix of a query that looks for work: rows that another node has locked are skipped.
    pub(crate) fn skip_locked(&self) -> &'static str {
        match self.kind {
            CatalogKind::Sqlite => "",
            CatalogKind::Postgres => " FOR UPDATE SKIP LOCKED",
        }
    }

    /// The database's clock, if it has its own. Unit: epoch milliseconds.
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

    /// The database's version, and its clock if it has its own. Unit: epoch milliseconds.
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

    /// Closes every connection, so that a file is complete without its write-ahead log. Does not wait for a server
    /// that does not respond.
    pub(crate) async fn close(&self) {
        let closing = async {
            self.readers.pool().close().await;
            self.writer.pool().close().await;
        };
        match self.kind {
            CatalogKind::Sqlite => closing.await,
            // Closing waits for every statement that was sent.
            CatalogKind::Postgres => {
                if tokio::time::timeout(CLOSE_WAIT, closing).await.is_err() {
                    tracing::warn!("the catalog does not answer; its connections are left to it");
                }
            }
        }
    }
}

/// True when exactly the known migrations were applied.
async fn is_up_to_date(migrations: &Migrator, connection: &mut AnyConnection) -> bool {
    let done: Result<Vec<(i64, bool, Vec<u8>)>, _> =
        sqlx::query_as("SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version")
            .fetch_all(connection)
            .await;
    // There is no such table in a new database.
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
/// A separate file: a process that runs under a lock of the folder would wait for itself.
async fn locked(file: PathBuf) -> Option<File> {
    let lock = move || {
        let lock = open_private_file(&file.with_extension("lock")).ok()?;
        lock.lock().ok().map(|()| lock)
    };
    tokio::task::spawn_blocking(lock).await.ok().flatten()
}

/// The options of a pool. It sets no limit to waiting for a connection, because a process that is suspended would use it
/// up: [`opened`] and [`CatalogPool::wait_for`] do. Old connections are not looked for by the task that the library has for it: it may read a
/// number that underflows for a moment, and then occupies a thread for ever
/// (<https://github.com/transact-rs/sqlx/issues/3645>).
fn pool_options() -> AnyPoolOptions {
    AnyPoolOptions::new().acquire_timeout(UNLIMITED).idle_timeout(None).max_lifetime(None)
}

/// Opens a pool, whose server must answer within `wait_max`.
async fn opened(pool: AnyPoolOptions, url: &url::Url, wait_max: Duration) -> Result<AnyPool, sqlx::Error> {
    let connecting = pool.connect_with(options(url)?);
    timeout_while_running(wait_max, connecting).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Connection options. The library must not log statements, because they contain values.
fn options(url: &url::Url) -> Result<AnyConnectOptions, sqlx::Error> {
    Ok(AnyConnectOptions::from_url(url)?.disable_statement_logging())
}
