//! Bodies of `/monitoring/executions/{id}/logs`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Record;

/// The header of a 206 that names the end of the next page.
pub const NEXT_END_HEADER: &str = "x-log-next-request-end-time";

/// The header in which Runlog returns whether the log of a run is complete: `true` when the run is final and the settle
/// delay has passed, `false` before. Talend Cloud does not send it.
pub const LOG_SETTLED_HEADER: &str = "x-runlog-log-settled";

/// The header in which Runlog returns the number of records of the log of a run, with each page. Talend Cloud does not
/// send it.
pub const LOG_RECORDS_HEADER: &str = "x-runlog-log-records";

/// The header in which Runlog returns the request limit of a caller, as `per second,per minute`, or `0` if there is no
/// limit. Talend Cloud does not send it.
pub const PACE_HEADER: &str = "x-runlog-pace";

/// Response of `POST …/logs`, 200 and 206.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GeneratedLog {
    /// Number of records in the file.
    pub size: u64,
    /// The token for requesting the status; valid for one hour.
    pub token: String,
}

/// Response of `POST …/logs/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogStatus {
    /// Status of the file.
    pub status: FileStatus,
    /// URL of the file, valid for one hour; only when it is ready.
    #[serde(rename = "presignedURL", skip_serializing_if = "Option::is_none")]
    pub presigned_url: Option<String>,
}

/// The status of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FileStatus {
    /// Being built: ask again.
    InProgress,
    /// Built: download it.
    Ready,
}

/// Response of `GET …/logs`: one page of the live log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LivePage {
    /// Number of records in this page.
    pub size: u64,
    /// Number of records of the run.
    pub total_size: u64,
    /// Number of records of the run within the requested range.
    pub total_size_filtered: u64,
    /// Start index of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_index: Option<u64>,
    /// The records.
    pub data: Vec<Record>,
}

/// Response of `DELETE …/logs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedLogBody {
    /// Number of records in the deleted log.
    pub records: u64,
    /// Bytes of objects that were freed.
    pub bytes: u64,
}
