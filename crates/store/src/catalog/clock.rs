//! The catalog's clock, which leases are compared with, so that nodes whose clocks differ agree on when a lease ends.
//!
//! A node uses its own clock, corrected by how far the database's clock is ahead of it, which is measured now and
//! then. The processes that use an archive in a folder run on one machine and share its clock: nothing is corrected
//! there.

use std::sync::{Arc, Mutex, PoisonError};

use runlog_model::{Clock, Timestamp};
use tokio::time::Instant;

use crate::catalog::database::Catalog;
use crate::error::Result;
use crate::limits;

/// The catalog's clock, as this node knows it. Clones share it.
#[derive(Clone)]
pub(crate) struct CatalogClock {
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    /// How far the catalog's clock was ahead of this node's when it was last measured.
    measured: Arc<Mutex<Option<(Instant, i64)>>>,
}

impl CatalogClock {
    pub(crate) fn new(catalog: Catalog, clock: Arc<dyn Clock>) -> Self {
        Self { catalog, clock, measured: Arc::default() }
    }

    /// Now, by the clock of this node.
    pub(crate) fn node_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Now, by the catalog's clock. Use it for leases and for ages in the sweep.
    pub(crate) async fn now(&self) -> Result<Timestamp> {
        self.time(self.node_now()).await
    }

    /// Converts a time of this node's clock to the catalog's clock.
    pub(crate) async fn time(&self, at: Timestamp) -> Result<Timestamp> {
        Ok(at.plus_millis(self.ahead_ms().await?))
    }

    /// The earlier of now by this node's clock and by the catalog's, which is asked. Use it for ages after which something
    /// is deleted for good: a clock that is ahead deletes nothing too early unless the other one is ahead as well.
    pub(crate) async fn earliest_now(&self) -> Result<Timestamp> {
        let now = self.node_now();
        let catalog_now = self.catalog.clock_ms().await?.map(Timestamp::clamped);
        Ok(catalog_now.map_or(now, |catalog_now| now.min(catalog_now)))
    }

    async fn ahead_ms(&self) -> Result<i64> {
        let measured = *self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, ahead_ms)) = measured
            && at.elapsed() < limits::CATALOG_CLOCK_TTL
        {
            return Ok(ahead_ms);
        }
        let before = self.node_now();
        let Some(catalog_ms) = self.catalog.clock_ms().await? else { return Ok(0) };
        // The answer is from some moment between the two.
        let middle = before.as_millis() + self.node_now().millis_since(before) / 2;
        let ahead_ms = catalog_ms - middle;
        *self.measured.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), ahead_ms));
        Ok(ahead_ms)
    }
}
