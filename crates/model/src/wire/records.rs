//! Bodies of a log that is looked at by position.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Record, Timestamp};

/// `GET /runlog/v1/runs/{id}/records`: records with their positions in order of time, the first of all at 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordsBody {
    /// Records of the run.
    pub total: u64,
    /// Records that were looked at.
    pub scanned: u64,
    /// Where to look on (`from` of the next request); absent when nothing is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// The records, in the order that was asked for.
    pub items: Vec<PlacedRecord>,
}

/// A record and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlacedRecord {
    /// Its position.
    pub index: u64,
    /// The record.
    pub record: Record,
}

/// `GET /runlog/v1/runs/{id}/histogram`: how many records stand where in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistogramBody {
    /// Where the first bucket begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// How long a bucket is. Unit: milliseconds.
    pub bucket_ms: u64,
    /// Records before the first bucket: the position of its first record.
    pub before: u64,
    /// Of each bucket its records by severity: OTHER, TRACE, DEBUG, INFO, WARN, ERROR, FATAL.
    pub buckets: Vec<[u64; 7]>,
    /// True when the log is so long that only a part of it was counted.
    pub estimated: bool,
}
