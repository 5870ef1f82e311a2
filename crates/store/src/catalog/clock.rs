//! The catalog's clock, by which leases are compared, so that nodes whose own clocks differ agree on when one ends.
//!
//! A node goes by its own clock, corrected by how far the database's is ahead of it, which is measured now and then.
//! An archive in a folder is used by processes of one machine, which have one clock: nothing is corrected there.

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
    /// How far the catalog's clock is ahead of this node's, as it was measured last.
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

    /// Now, by the catalog's clock. For leases and for what is swept by its age.
    pub(crate) async fn now(&self) -> Result<Timestamp> {
        self.time(self.node_now()).await
    }

    /// A time of this node's clock, as the catalog's clock has it.
    pub(crate) async fn time(&self, at: Timestamp) -> Result<Timestamp> {
        Ok(at.plus_millis(self.ahead_ms().await?))
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
