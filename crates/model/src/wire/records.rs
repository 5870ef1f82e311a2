//! Bodies for reading a log by position.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Record, Timestamp};

/// `GET /runlog/v1/runs/{id}/records`: records with their positions in order of time, starting at 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordsBody {
    /// Number of records of the run.
    pub total: u64,
    /// Number of records scanned.
    pub scanned: u64,
    /// Position to continue from (`from` of the next request); absent if there are no more records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// The records, in the requested order.
    pub items: Vec<PlacedRecord>,
}

/// A record and its position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlacedRecord {
    /// Position of the record.
    pub index: u64,
    /// The record.
    pub record: Record,
}

/// `GET /runlog/v1/runs/{id}/histogram`: numbers of records over time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistogramBody {
    /// Start of the first bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// Length of a bucket. Unit: milliseconds.
    pub bucket_ms: u64,
    /// Number of records before the first bucket, which is the position of its first record.
    pub before: u64,
    /// Records of each bucket by severity: OTHER, TRACE, DEBUG, INFO, WARN, ERROR, FATAL.
    pub buckets: Vec<[u64; 7]>,
    /// True if only a sample of a long log was counted.
    pub estimated: bool,
}
