//! Bodies of `/monitoring/observability/executions/…`: the history search. Source: the vendor's history file.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// What is searched for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistorySearch {
    /// The environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_id: Option<String>,
    /// `ETL` or `ESB`.
    pub category: HistoryCategory,
    /// All of these must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Vec<FieldFilter>>,
    /// Most executions of the answer: of a search 1 to 200 (50 when absent), of a download 1 to 100,000 (1,000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub limit: Option<serde_json::Number>,
    /// Executions before the page; of a search only, at most 20 pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub offset: Option<serde_json::Number>,
    /// What is left out; the runs of plans when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<HistoryExcludeWord>,
    /// The last execution of the page before; of a download only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_id: Option<String>,
    /// Those asked for at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_time_from: Option<Timestamp>,
    /// Those asked for at this time or earlier.
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

/// What a search leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HistoryExcludeWord {
    /// Plan executions.
    PlanExecutions,
    /// Runs that are part of a plan execution.
    TaskExecutionsTriggeredByPlan,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldFilter {
    /// The field, such as `status`, `name`, `period`.
    pub field: String,
    /// `in`, `not_in`, `match`, `not_match`, `or`, `and`, `between`, `greater_than`, `less_than` or `is_empty`.
    pub operator: String,
    /// What it is compared with: a value, an array of values, or an array of conditions.
    pub value: serde_json::Value,
}

/// One page of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPage {
    /// The executions: by end, newest first; those that go on come first.
    pub items: Vec<HistoryItem>,
    /// Most executions that the page may hold.
    pub limit: u64,
    /// Executions before the page.
    pub offset: u64,
    /// True when more fit after this page.
    pub next_page_exists: bool,
}

/// A run or a plan execution. Absent fields are not known, or do not apply. Times are epoch milliseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HistoryItem {
    /// The execution.
    pub id: String,
    /// The name of the task or plan.
    pub name: String,
    /// How far it is, in detail.
    pub status: String,
    /// `STANDARD`, or `PLAN`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The version of the task; empty for plans.
    pub version: String,
    /// What started it.
    pub trigger_type: String,
    /// When it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger_time: Option<i64>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_start_time: Option<i64>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_end_time: Option<i64>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execute_duration_ms: Option<i64>,
    /// Who started it.
    pub operator: String,
    /// The same: the archive keeps one name.
    pub operator_name: String,
    /// `HUMAN` or `SERVICE`.
    pub operator_type: String,
    /// The owner of its workspace, who stands in for the author.
    pub author: String,
    /// The same.
    pub author_name: String,
    /// `HUMAN`.
    pub author_type: String,
    /// How many times it was tried to deploy it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i64>,
    /// The environment.
    pub environment_id: String,
    /// The workspace.
    pub workspace_id: String,
    /// The task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// The plan execution that it is part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_execution_id: Option<String>,
    /// The name of the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_name: Option<String>,
    /// The artifact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_id: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_name: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_version: Option<String>,
    /// The kind of place it ran in.
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
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Why it did not begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub misfired_reason: Option<String>,
    /// From which severity on it logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// Words to find the task by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Rows that it rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number_of_rejected_rows: Option<i64>,
    /// The plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<String>,
    /// The version of the API it was started through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
}
