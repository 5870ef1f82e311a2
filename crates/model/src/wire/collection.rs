//! The progress of collecting from upstreams.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// The upstreams of an archive and its collectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectionBody {
    /// Every upstream whose runs were ever listed, by name.
    pub upstreams: Vec<UpstreamBody>,
    /// The active collectors.
    pub collectors: Vec<CollectorBody>,
}

/// Progress of an upstream. Counts are numbers of runs, unless stated otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamBody {
    /// Name in the settings.
    pub name: String,
    /// All known runs.
    pub known: u64,
    /// Runs that have not ended.
    pub going: u64,
    /// Runs that have ended, but whose logs are not in the archive yet.
    pub waiting: u64,
    /// Pending runs whose last attempt failed.
    pub failing: u64,
    /// Failing runs whose log could not be collected completely.
    pub incomplete: u64,
    /// Runs whose whole log is in the archive.
    pub landed: u64,
    /// Runs that have ended without a log.
    pub no_log: u64,
    /// Runs that no longer exist in the upstream, and whose end was not reported.
    pub gone: u64,
    /// Runs that are excluded by their status.
    pub left_out: u64,
    /// Number of records of landed runs.
    pub records: u64,
    /// Number of pages of landed runs.
    pub pages: u64,
    /// When the oldest pending run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Timestamp>,
    /// Time up to which runs were listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed_until: Option<Timestamp>,
    /// Runs whose component metrics are still to be fetched.
    #[serde(default)]
    pub components_waiting: u64,
    /// Number of those runs whose last attempt failed.
    #[serde(default)]
    pub components_failing: u64,
    /// Why one of those attempts failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components_problem: Option<String>,
    /// Number of failed requests for what runs are collected without: descriptions of tasks, details of runs, and the
    /// history of runs.
    #[serde(default)]
    pub details_failed: u64,
    /// When the last of them failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details_failed_at: Option<Timestamp>,
    /// Why the last of them failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details_problem: Option<String>,
    /// Its plan executions.
    #[serde(default)]
    pub plan_executions: PlanCollectionBody,
    /// The audit logs of its tenant; absent if they were never collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_logs: Option<AuditLogCollectionBody>,
    /// The failing runs that have been pending for longest, at most 50.
    pub problems: Vec<FailingRunBody>,
}

/// Progress of the plan executions of an upstream. Counts are numbers of plan executions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanCollectionBody {
    /// All known plan executions.
    pub known: u64,
    /// Those that have not ended.
    pub running: u64,
    /// Those whose last attempt failed.
    pub failing: u64,
    /// Those that were given up after all attempts failed.
    pub given_up: u64,
    /// Why one of those attempts failed, or why plan executions could not be listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Time up to which they were listed; absent if they never were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed_until: Option<Timestamp>,
}

/// Progress of the audit logs of the tenant of an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuditLogCollectionBody {
    /// Number of stored entries.
    pub entries: u64,
    /// Time up to which they were collected; absent if they never were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed_until: Option<Timestamp>,
    /// Why the last round failed or was incomplete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A run that could not be landed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailingRunBody {
    /// The run.
    pub run_id: String,
    /// The task.
    pub task_id: String,
    /// Its status, as reported by the upstream.
    pub status: String,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_timestamp: Option<Timestamp>,
    /// Number of failed attempts.
    pub attempts: u64,
    /// Time of the next attempt.
    pub next_attempt: Timestamp,
    /// Why the last attempt failed.
    pub problem: String,
    /// Number of records that the upstream reports, if it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_records: Option<u64>,
}

/// A run of an upstream whose log is in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LandedRunBody {
    /// The run.
    pub run_id: String,
    /// Its status, as reported by the upstream.
    pub status: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_timestamp: Option<Timestamp>,
    /// When its log was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landed_at: Option<Timestamp>,
    /// Number of its records.
    pub records: u64,
    /// Number of pages that were fetched for it.
    pub pages: u64,
}

/// An active collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectorBody {
    /// Its own ID, generated at its start.
    pub id: String,
    /// The host to which it sends requests.
    pub host: String,
    /// When it was last active.
    pub seen: Timestamp,
    /// Its share of the host's rate limit, in requests per minute; absent if there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Number of requests that it may still send in the current minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_left: Option<u64>,
    /// Number of requests sent.
    pub requests: u64,
    /// Number of requests that were retried.
    pub repeated: u64,
    /// Number of requests answered with 429.
    pub limited: u64,
}

/// The result of a request to retry runs of an upstream or deliveries to a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetriedBody {
    /// Number of runs to be retried.
    pub runs: u64,
}
