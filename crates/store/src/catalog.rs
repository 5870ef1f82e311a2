//! The catalog on one machine: an SQLite file, written through one connection and read through several.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, Transaction};

use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// The rows of an archive.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Catalog {
    /// Opens the catalog file, makes it when it is not there, and brings it to the newest form.
    pub(crate) async fn open(file: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What is acknowledged must survive a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let opening = |error| Error::caused(ErrorKind::Unavailable, format!("cannot open {}", file.display()), error);
        // One writer, because SQLite has one: a second would only find the file busy.
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(30))
            .connect_with(options.clone())
            .await
            .map_err(opening)?;
        sqlx::migrate!("migrations/sqlite").run(&writer).await.map_err(|error| {
            let advice = "was it written by a newer runlog?";
            Error::caused(ErrorKind::Corrupt, format!("cannot bring {} up to date; {advice}", file.display()), error)
        })?;
        let readers = SqlitePoolOptions::new()
            .max_connections(limits::CATALOG_READERS)
            .acquire_timeout(Duration::from_secs(30))
            .connect_with(options.read_only(true))
            .await
            .map_err(opening)?;
        Ok(Self { writer, readers })
    }

    /// For reading.
    pub(crate) fn read(&self) -> &SqlitePool {
        &self.readers
    }

    /// For one statement that writes.
    pub(crate) fn write(&self) -> &SqlitePool {
        &self.writer
    }

    /// For several statements that write, all or none. Takes the write lock at once.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Sqlite>> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Closes every connection, so that the file is whole without its write-ahead log.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}
