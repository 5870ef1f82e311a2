//! The catalog's clock, by which leases are compared, so that nodes whose own clocks differ agree on when one ends.
//!
//! A node goes by its own clock, corrected by how far the database's is ahead of it, which is measured now and then.
//! An archive in a folder is used by processes of one machine, which have one clock: nothing is corrected there.

use std::sync::{Mutex, PoisonError};

use runlog_model::Timestamp;
use tokio::time::Instant;

use crate::error::Result;
use crate::limits;
use crate::store::Store;

/// How far the catalog's clock is ahead of this node's, as it was measured last.
#[derive(Debug, Default)]
pub(crate) struct CatalogClock {
    measured: Mutex<Option<(Instant, i64)>>,
}

impl Store {
    /// Now, by the catalog's clock. For leases and for what is swept by its age.
    pub(crate) async fn catalog_now(&self) -> Result<Timestamp> {
        self.catalog_time(self.now()).await
    }

    /// A time of this node's clock, as the catalog's clock has it.
    pub(crate) async fn catalog_time(&self, at: Timestamp) -> Result<Timestamp> {
        Ok(at.plus_millis(self.catalog_ahead_ms().await?))
    }

    async fn catalog_ahead_ms(&self) -> Result<i64> {
        let measured = *self.catalog_clock().measured.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, ahead_ms)) = measured
            && at.elapsed() < limits::CATALOG_CLOCK_KEEP
        {
            return Ok(ahead_ms);
        }
        let before = self.now();
        let Some(catalog_ms) = self.catalog().clock_ms().await? else { return Ok(0) };
        // The answer is from some moment between the two.
        let middle = before.as_millis() + self.now().millis_since(before) / 2;
        let ahead_ms = catalog_ms - middle;
        *self.catalog_clock().measured.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), ahead_ms));
        Ok(ahead_ms)
    }
}
