//! The interface by which a simulation replaces the machine: it decides when an operation on the catalog begins and
//! whether its result arrives, where objects are stored, and the time of the database's clock.
//!
//! The tests in `tests/simulation` pass an implementation to [`Store::open_simulated`](crate::Store::open_simulated).
//! Archives opened in the usual way have no simulation; its absence costs one comparison per operation on the catalog.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use object_store::ObjectStore;

/// The machine of a simulated archive.
pub trait Simulation: fmt::Debug + Send + Sync {
    /// Waits until an operation on the catalog may begin. The operation ends when the returned turn is dropped.
    fn begin(&self, operation: Operation, statement: &str) -> BoxFuture<'static, Box<dyn Turn>>;

    /// Returns the time of the database's clock if the database has its own clock, as PostgreSQL does. Unit: epoch
    /// milliseconds.
    fn catalog_clock_ms(&self) -> Option<i64>;

    /// Returns the object store. With `is_synced`, completed writes must survive a power failure.
    fn objects(&self, is_synced: bool) -> Arc<dyn ObjectStore>;
}

/// The kind of an operation on the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A statement that only reads.
    Read,
    /// A statement that writes.
    Write,
    /// A transaction that writes.
    Transaction,
}

/// An operation on the catalog that has begun.
pub trait Turn: fmt::Debug + Send {
    /// Called before a transaction is committed. An error means that the connection is lost and nothing is committed.
    fn before_commit(&mut self) -> BoxFuture<'_, io::Result<()>>;

    /// Called after a statement or transaction has written. An error means that the connection is lost before the
    /// result arrives.
    fn after_write(&mut self) -> BoxFuture<'_, io::Result<()>>;
}
