//! How far the collecting of upstreams is.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// The upstreams of an archive, and who collects from them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectionBody {
    /// Every upstream whose runs were ever listed, by name.
    pub upstreams: Vec<UpstreamBody>,
    /// The collectors that are at work.
    pub collectors: Vec<CollectorBody>,
}

/// How far an upstream is. Counts are runs, unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamBody {
    /// Its name in the settings.
    pub name: String,
    /// All that are known.
    pub known: u64,
    /// Those that have not ended.
    pub going: u64,
    /// Those that have ended and whose logs are not in the archive yet.
    pub waiting: u64,
    /// Those of the waiting ones whose last attempt came to nothing.
    pub failing: u64,
    /// Those of the failing ones whose log did not come whole.
    pub incomplete: u64,
    /// Those whose whole log is in the archive.
    pub landed: u64,
    /// Those that have ended and have no log.
    pub no_log: u64,
    /// Those that the upstream does not know any more, and whose end it did not tell.
    pub gone: u64,
    /// Those that are not wanted because of how they ended.
    pub left_out: u64,
    /// Records of the landed ones.
    pub records: u64,
    /// Pages of the landed ones.
    pub pages: u64,
    /// When the longest waiting one ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Timestamp>,
    /// Up to when its runs were listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed_until: Option<Timestamp>,
    /// The failing ones that have waited for longest, at most 50.
    pub problems: Vec<ProblemBody>,
}

/// A run that could not be landed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProblemBody {
    /// The run.
    pub run_id: String,
    /// Its task.
    pub task_id: String,
    /// How it ended, in the upstream's word.
    pub status: String,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_timestamp: Option<Timestamp>,
    /// How often it was tried in vain.
    pub attempts: u64,
    /// When it is tried next.
    pub next_attempt: Timestamp,
    /// Why the last attempt came to nothing.
    pub problem: String,
    /// What the upstream counted, where it counted other records than came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_records: Option<u64>,
}

/// A collector that is at work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectorBody {
    /// Its own name, made when it began.
    pub id: String,
    /// The host that it asks.
    pub host: String,
    /// When it was last heard of.
    pub seen: Timestamp,
    /// Its part of the host's pace, in requests a minute; absent without a bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Requests that it may still send in this minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_left: Option<u64>,
    /// Requests that it has sent.
    pub requests: u64,
    /// Those of them that were sent again.
    pub repeated: u64,
    /// Those of them that were answered with 429.
    pub limited: u64,
}

/// How many runs are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetriedBody {
    /// Runs that failed, had no log or were gone.
    pub runs: u64,
}
