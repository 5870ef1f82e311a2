//! Bodies of `/monitoring/executions/{id}/logs`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Record;

/// The header of a 206 that names the end of the next page.
pub const NEXT_END_HEADER: &str = "x-log-next-request-end-time";

/// The header in which Runlog says whether a run's log can still grow: `true` when the run is final and the settle
/// delay has passed, `false` before. Talend Cloud does not send it.
pub const LOG_SETTLED_HEADER: &str = "x-runlog-log-settled";

/// The header in which Runlog says how many records a run's log has, with each page of it. Talend Cloud does not send it.
pub const LOG_RECORDS_HEADER: &str = "x-runlog-log-records";

/// The header in which Runlog says how many requests it takes from a caller, as `per second,per minute`, or `0` for as
/// many as come. Talend Cloud does not send it.
pub const PACE_HEADER: &str = "x-runlog-pace";

/// Answer to `POST …/logs`, 200 and 206.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GeneratedLog {
    /// Records in the file.
    pub size: u64,
    /// The token to ask the status with; valid for an hour.
    pub token: String,
}

/// Answer to `POST …/logs/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogStatus {
    /// How far the file is.
    pub status: FileStatus,
    /// Where to download it, for an hour; only when it is ready.
    #[serde(rename = "presignedURL", skip_serializing_if = "Option::is_none")]
    pub presigned_url: Option<String>,
}

/// How far a log file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FileStatus {
    /// Being built: ask again.
    InProgress,
    /// Built: download it.
    Ready,
}

/// Answer to `GET …/logs`: one page of the live log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LivePage {
    /// Records in this page.
    pub size: u64,
    /// Records of the run.
    pub total_size: u64,
    /// Records of the run inside the asked range.
    pub total_size_filtered: u64,
    /// Where the next page starts; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_index: Option<u64>,
    /// The records.
    pub data: Vec<Record>,
}

/// Answer to `DELETE …/logs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedLogBody {
    /// Records that the log had.
    pub records: u64,
    /// Bytes of objects that are free again.
    pub bytes: u64,
}
