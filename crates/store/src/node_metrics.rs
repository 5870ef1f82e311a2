//! Metrics of one process.

use crate::catalog::pool::PoolMetrics;
use crate::objects::metering::ObjectStoreMetrics;

/// What a process does on the archive now, and its requests to the object store since it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeMetrics {
    /// Its pools of connections to the catalog.
    pub catalog: Vec<PoolMetrics>,
    /// Its requests to the object store, by operation.
    pub objects: Vec<ObjectStoreMetrics>,
    /// Snapshots of tables for lakehouses that it has made, by the name of the table.
    pub lake_snapshots: Vec<(&'static str, u64)>,
    /// Memory that records take which are received and not stored yet. Unit: bytes.
    pub ingest_held_bytes: usize,
    /// The limit of that memory. Unit: bytes.
    pub ingest_bytes: usize,
}
