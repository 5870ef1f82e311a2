//! The catalog's clock. Leases are measured by it, so that nodes with different clocks agree on when a lease expires.
//!
//! A node uses its own clock, corrected by the difference between the database's clock and its own, which is measured
//! at intervals. The processes that use an archive in a folder run on one machine and share its clock, so that no
//! correction is needed.

use std::sync::{Arc, Mutex, PoisonError};

use runlog_model::{Clock, Timestamp};
use tokio::time::Instant;

use crate::catalog::database::Catalog;
use crate::error::Result;
use crate::limits;

/// The catalog's clock, as estimated by this node. Clones share the measurement.
#[derive(Clone)]
pub(crate) struct CatalogClock {
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    /// When the difference was last measured, and by how many milliseconds the catalog's clock was ahead.
    measured: Arc<Mutex<Option<(Instant, i64)>>>,
}

impl CatalogClock {
    pub(crate) fn new(catalog: Catalog, clock: Arc<dyn Clock>) -> Self {
        Self { catalog, clock, measured: Arc::default() }
    }

    /// Returns the current time by this node's clock.
    pub(crate) fn node_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the current time by the catalog's clock. Used for leases and for ages in the sweep.
    pub(crate) async fn now(&self) -> Result<Timestamp> {
        self.time(self.node_now()).await
    }

    /// Converts a time of this node's clock to the catalog's clock.
    pub(crate) async fn time(&self, at: Timestamp) -> Result<Timestamp> {
        Ok(at.plus_millis(self.ahead_ms().await?))
    }

    /// Returns the current time by this node's clock or by the catalog's, whichever is earlier; the catalog's clock is
    /// queried. Used for ages after which data is permanently deleted: data is deleted too early only if both clocks
    /// are ahead.
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
        // The database read its clock at some moment between the two readings.
        let middle = before.as_millis() + self.node_now().millis_since(before) / 2;
        let ahead_ms = catalog_ms - middle;
        *self.measured.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), ahead_ms));
        Ok(ahead_ms)
    }
}
