//! The catalog's clock. Leases are measured by it, so that nodes with different clocks agree on when a lease expires.
//!
//! A node uses its own clock, corrected by the difference between the database's clock and its own, which is measured
//! at intervals. The processes that use an archive in a folder run on one machine and share its clock, so that no
//! correction is needed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use az::SaturatingAs;
use runlog_model::{Clock, Timestamp};

use crate::catalog::database::Catalog;
use crate::error::Result;
use crate::limits;

/// The catalog's clock, as estimated by this node. Clones share the measurement.
#[derive(Clone)]
pub(crate) struct CatalogClock {
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    /// The catalog's clock, if it is handed in and therefore not queried.
    handed_in: Option<Arc<dyn Clock>>,
    measured: Arc<Mutex<Option<Measurement>>>,
}

/// The three clocks at the moment of a measurement.
#[derive(Clone, Copy)]
struct Measurement {
    catalog: Timestamp,
    node: Timestamp,
    /// By the monotonic clock of this node, which is not set.
    elapsed: Duration,
}

impl Measurement {
    fn ahead_ms(&self) -> i64 {
        self.catalog.millis_since(self.node)
    }

    fn age_ms(&self, clock: &dyn Clock) -> i64 {
        clock.elapsed().saturating_sub(self.elapsed).as_millis().saturating_as()
    }

    /// Returns true if this node's clock was set since, or its machine was suspended.
    fn has_jumped(&self, clock: &dyn Clock) -> bool {
        let jump_ms = clock.now().millis_since(self.node).saturating_sub(self.age_ms(clock));
        jump_ms.saturating_abs() > limits::CLOCKS_DISAGREE_MS
    }
}

/// The catalog's clock as it was last measured, without a query.
impl Clock for CatalogClock {
    fn now(&self) -> Timestamp {
        if let Some(clock) = &self.handed_in {
            return clock.now();
        }
        let clock = &*self.clock;
        match self.measurement() {
            None => clock.now(),
            Some(measured) if measured.has_jumped(clock) => measured.catalog.plus_millis(measured.age_ms(clock)),
            Some(measured) => clock.now().plus_millis(measured.ahead_ms()),
        }
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }
}

impl CatalogClock {
    pub(crate) fn new(catalog: Catalog, clock: Arc<dyn Clock>, handed_in: Option<Arc<dyn Clock>>) -> Self {
        Self { catalog, clock, handed_in, measured: Arc::default() }
    }

    /// Returns the current time by this node's clock.
    pub(crate) fn node_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the current time by the catalog's clock. Used for leases and for ages in the sweep.
    pub(crate) async fn measured_now(&self) -> Result<Timestamp> {
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
        let catalog_now = match &self.handed_in {
            Some(clock) => Some(clock.now()),
            None => self.catalog.clock_ms().await?.map(Timestamp::clamped),
        };
        Ok(catalog_now.map_or(now, |catalog_now| now.min(catalog_now)))
    }

    fn measurement(&self) -> Option<Measurement> {
        *self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ahead_ms(&self) -> Result<i64> {
        let clock = &*self.clock;
        if let Some(handed_in) = &self.handed_in {
            return Ok(handed_in.now().millis_since(clock.now()));
        }
        if let Some(measured) = self.measurement()
            && measured.age_ms(clock) < limits::CATALOG_CLOCK_TTL_MS
            && !measured.has_jumped(clock)
        {
            return Ok(measured.ahead_ms());
        }
        let (before, elapsed) = (clock.now(), clock.elapsed());
        let Some(catalog_ms) = self.catalog.clock_ms().await? else { return Ok(0) };
        // The database read its clock at some moment between the two readings.
        let middle = clock.now().millis_since(before) / 2;
        let elapsed = elapsed + clock.elapsed().saturating_sub(elapsed) / 2;
        let measured =
            Measurement { catalog: Timestamp::clamped(catalog_ms), node: before.plus_millis(middle), elapsed };
        *self.measured.lock().unwrap_or_else(PoisonError::into_inner) = Some(measured);
        Ok(measured.ahead_ms())
    }
}
