//! Bodies of `/monitoring/observability/executions/…`: the history search. Source: the vendor's history file.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// A search of runs and plan executions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistorySearch {
    /// The environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_id: Option<String>,
    /// `ETL` or `ESB`.
    pub category: HistoryCategory,
    /// Conditions, which must all be met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Vec<FieldFilter>>,
    /// Maximum number of executions: 1 to 200 for a search (default 50), 1 to 100,000 for a download (default 1,000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub limit: Option<serde_json::Number>,
    /// Number of executions to skip; only for searches, at most 20 pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub offset: Option<serde_json::Number>,
    /// What to exclude; default: the runs of plans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<HistoryExcludeWord>,
    /// ID of the last execution of the previous page; only for downloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_id: Option<String>,
    /// Only executions triggered at or after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_time_from: Option<Timestamp>,
    /// Only executions triggered at or before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_time_to: Option<Timestamp>,
}

/// A group of kinds of executions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HistoryCategory {
    /// Jobs, pipelines and plans. The archive takes every task for one of these.
    Etl,
    /// Routes and data services.
    Esb,
}

/// The runs that a search excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HistoryExcludeWord {
    /// Plan executions.
    PlanExecutions,
    /// Runs that are part of a plan execution.
    TaskExecutionsTriggeredByPlan,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldFilter {
    /// The field, such as `status`, `name`, `period`.
    pub field: String,
    /// `in`, `not_in`, `match`, `not_match`, `or`, `and`, `between`, `greater_than`, `less_than` or `is_empty`.
    pub operator: String,
    /// The value to compare with: a value, an array of values, or an array of conditions.
    pub value: serde_json::Value,
}

/// One page of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPage {
    /// The executions by end time, newest first; running ones come first.
    pub items: Vec<HistoryItem>,
    /// Maximum number of executions per page.
    pub limit: u64,
    /// Number of executions to skip.
    pub offset: u64,
    /// True if there are more matches after this page.
    pub next_page_exists: bool,
}

/// A run or a plan execution. Fields that are unknown or do not apply are absent. Times are epoch milliseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HistoryItem {
    /// The execution.
    pub id: String,
    /// The name of the task or plan.
    pub name: String,
    /// Detailed status.
    pub status: String,
    /// `STANDARD` or `PLAN`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The version of the task; empty for plans.
    pub version: String,
    /// What started it.
    pub trigger_type: String,
    /// When it was triggered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger_time: Option<i64>,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_start_time: Option<i64>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_end_time: Option<i64>,
    /// Its duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execute_duration_ms: Option<i64>,
    /// The user or service account that started it.
    pub operator: String,
    /// The same as `operator`, because the archive stores only one name.
    pub operator_name: String,
    /// `HUMAN` or `SERVICE`.
    pub operator_type: String,
    /// The owner of its workspace, in place of the author.
    pub author: String,
    /// The same as `author`.
    pub author_name: String,
    /// `HUMAN`.
    pub author_type: String,
    /// Number of attempts to deploy it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i64>,
    /// The environment.
    pub environment_id: String,
    /// The workspace.
    pub workspace_id: String,
    /// The task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// The plan execution of which it is part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_execution_id: Option<String>,
    /// The name of the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_name: Option<String>,
    /// The artifact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_id: Option<String>,
    /// Name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_name: Option<String>,
    /// Version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_version: Option<String>,
    /// The kind of runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// The cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// The engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_id: Option<String>,
    /// The run profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_profile_id: Option<String>,
    /// Error message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Why it did not start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub misfired_reason: Option<String>,
    /// The log level of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// Tags of the task.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Number of rejected rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number_of_rejected_rows: Option<i64>,
    /// The plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<String>,
    /// The version of the API through which it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
}
