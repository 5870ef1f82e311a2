//! Bodies of `/runlog/v1/sinks`: how far deliveries are.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// A sink, and how far the deliveries to it are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SinkBody {
    /// Its name.
    pub name: String,
    /// What it is: `files`, `otlp`, `elasticsearch`, `loki`, `splunk` or `webhook`.
    pub kind: String,
    /// Runs that are due.
    pub due: u64,
    /// Those of the due ones whose last attempt came to nothing.
    pub failing: u64,
    /// Runs that are delivered.
    pub done: u64,
    /// Runs that it refused as a whole.
    pub dead: u64,
    /// Records that it took.
    pub records: u64,
    /// Records that it refused and that are not mended.
    pub refused: u64,
    /// How long the longest waiting run has been due; 0 when nothing is due.
    pub lag_seconds: u64,
    /// When it was last worked for.
    pub last_seen: Timestamp,
    /// What keeps its deliveries up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What came of asking for another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetriedBody {
    /// Runs that are due again.
    pub runs: u64,
}
