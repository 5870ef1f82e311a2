//! Scheduling of operations on the catalog: they begin immediately unless a simulation schedules them.

use std::sync::Arc;

use crate::simulation::{Operation, Simulation, Turn};

/// The simulation that schedules operations. Default: none.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(pub(super) Option<Arc<dyn Simulation>>);

/// An operation that has begun.
#[derive(Debug)]
pub(super) struct StartedTurn(Option<Box<dyn Turn>>);

impl Turns {
    /// Waits until an operation may begin.
    pub(super) async fn begin(&self, operation: Operation, statement: &str) -> StartedTurn {
        match &self.0 {
            Some(simulation) => StartedTurn(Some(simulation.begin(operation, statement).await)),
            None => StartedTurn(None),
        }
    }

    /// Returns the time of the database's clock in a simulation. Unit: epoch milliseconds.
    pub(super) fn clock_ms(&self) -> Option<i64> {
        self.0.as_ref().and_then(|simulation| simulation.catalog_clock_ms())
    }
}

impl StartedTurn {
    /// See [`Turn::before_commit`].
    pub(super) async fn before_commit(&mut self) -> sqlx::Result<()> {
        match &mut self.0 {
            Some(turn) => Ok(turn.before_commit().await?),
            None => Ok(()),
        }
    }

    /// See [`Turn::after_write`].
    pub(super) async fn after_write(&mut self) -> sqlx::Result<()> {
        match &mut self.0 {
            Some(turn) => Ok(turn.after_write().await?),
            None => Ok(()),
        }
    }
}
