//! What one process does on the archive, for those who watch it.

use crate::catalog::pool::PoolMetrics;
use crate::objects::metering::ObjectStoreMetrics;

/// What a process does on the archive at this moment, and what it has asked the objects for since it was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeMetrics {
    /// Its pools of connections to the catalog.
    pub catalog: Vec<PoolMetrics>,
    /// What it has asked the objects for, by operation.
    pub objects: Vec<ObjectStoreMetrics>,
    /// Memory that records take which are pushed and not stored yet. Unit: bytes.
    pub ingest_held_bytes: usize,
    /// What there is of that. Unit: bytes.
    pub ingest_bytes: usize,
}
