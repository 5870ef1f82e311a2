//! What a simulation decides in place of the machine: when an operation on the catalog begins and whether its answer
//! arrives, where objects lie, and which time the database has.
//!
//! The tests in `tests/simulation` hand it in with [`Store::open_simulated`](crate::Store::open_simulated). An archive
//! that is opened in the usual way has none, which costs it one comparison for each operation on the catalog.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use object_store::ObjectStore;

/// The machine of a simulated archive.
pub trait Simulation: fmt::Debug + Send + Sync {
    /// Waits until an operation on the catalog may begin. It has ended when the turn is dropped.
    fn begin(&self, operation: Operation, statement: &str) -> BoxFuture<'static, Box<dyn Turn>>;

    /// The clock of the database, if it has one of its own, as PostgreSQL has. Unit: epoch milliseconds.
    fn catalog_clock_ms(&self) -> Option<i64>;

    /// The objects. With `is_synced`, what is written must survive a power cut.
    fn objects(&self, is_synced: bool) -> Arc<dyn ObjectStore>;
}

/// What is done on the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A statement that changes nothing.
    Read,
    /// A statement that writes.
    Write,
    /// A transaction that writes.
    Transaction,
}

/// An operation on the catalog that has begun.
pub trait Turn: fmt::Debug + Send {
    /// Called before a transaction is committed. An error: the connection is lost, and nothing is committed.
    fn before_commit(&mut self) -> BoxFuture<'_, io::Result<()>>;

    /// Called when a statement or transaction has written. An error: the connection is lost, and with it the answer.
    fn after_write(&mut self) -> BoxFuture<'_, io::Result<()>>;
}
