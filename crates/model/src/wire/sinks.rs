//! Bodies of `/runlog/v1/sinks`: how far deliveries are.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// A sink and the progress of its deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SinkBody {
    /// Name.
    pub name: String,
    /// Kind of sink: `files`, `otlp`, `elasticsearch`, `loki`, `splunk` or `webhook`.
    pub kind: String,
    /// Number of due runs.
    pub due: u64,
    /// Number of due runs whose last attempt failed.
    pub failing: u64,
    /// Number of delivered runs.
    pub done: u64,
    /// Number of runs refused as a whole.
    pub dead: u64,
    /// Number of records delivered.
    pub records: u64,
    /// Number of records refused and not delivered since.
    pub refused: u64,
    /// How long the oldest due run has been due, in seconds; 0 if nothing is due.
    pub lag_seconds: u64,
    /// When a deliverer last worked for it.
    pub last_seen: Timestamp,
    /// The last error that blocks deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Deliveries whose last attempt failed or that were refused as a whole, refused ones first; at most 20.
    #[serde(default)]
    pub failed_deliveries: Vec<FailedDeliveryBody>,
    /// Records that were refused and not delivered since, by run and time; at most 20.
    #[serde(default)]
    pub dead_letters: Vec<DeadLetterBody>,
}

/// A delivery whose last attempt failed, or that the sink refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedDeliveryBody {
    /// The run.
    pub run_id: String,
    /// Time of the next attempt; absent if the sink refused the run as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<Timestamp>,
    /// Number of attempts.
    pub attempts: u64,
    /// Why the last attempt failed.
    pub problem: String,
}

/// A delivery of the log of a run to a sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryBody {
    /// The run.
    pub run_id: String,
    /// The name of its task.
    pub task_name: String,
    /// `due` if it will be attempted, `done` if the sink has accepted it, `dead` if the sink refused it as a whole.
    pub state: String,
    /// When it was last delivered; absent if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// Number of records that the sink accepted, including those that it received several times.
    pub records: u64,
    /// Number of attempts since it was last delivered.
    pub attempts: u64,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The period whose logs are delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayPeriod {
    /// Runs that ended at or after this time.
    pub from: Timestamp,
    /// Runs that ended at or before this time.
    pub to: Timestamp,
}

/// A record that a sink refused permanently, or consecutive records that it refused for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterBody {
    /// The run.
    pub run_id: String,
    /// Time of the record, or of the first record.
    pub time: Timestamp,
    /// Number of refused records.
    pub records: u64,
    /// Why the sink refused them.
    pub reason: String,
    /// When it refused them.
    pub refused_at: Timestamp,
}
