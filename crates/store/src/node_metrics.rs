//! Metrics of one process.

use crate::catalog::pool::PoolMetrics;
use crate::objects::metering::ObjectStoreMetrics;

/// The current use of the archive by a process, and its requests to the object store since it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeMetrics {
    /// Metrics of the pools of connections to the catalog.
    pub catalog: Vec<PoolMetrics>,
    /// Requests to the object store, by operation.
    pub objects: Vec<ObjectStoreMetrics>,
    /// Number of snapshots of lakehouse tables that the process has made, by the name of the table.
    pub lake_snapshots: Vec<(&'static str, u64)>,
    /// Memory of records that have been received but not yet stored. Unit: bytes.
    pub ingest_held_bytes: usize,
    /// The limit of that memory. Unit: bytes.
    pub ingest_bytes: usize,
}
