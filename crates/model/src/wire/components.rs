//! Bodies of `/monitoring/observability/executions/{id}/component`: what the components of a run measured. Source: the
//! vendor's file of component metrics.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::executions::ListPage;
use crate::{Run, RunId, TaskId, Timestamp, UserType, WorkspaceId};

/// A run and the metrics of its components, of which the archive has none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComponentMetrics {
    /// The engine or cluster; empty if unknown.
    pub engine_id: String,
    /// The workspace of the task.
    pub workspace_id: WorkspaceId,
    /// The task.
    pub task_id: TaskId,
    /// The run.
    pub task_execution_id: RunId,
    /// The artifact; empty if unknown.
    pub artifact_id: String,
    /// The name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_name: Option<String>,
    /// The version of the artifact; empty if unknown.
    pub artifact_version: String,
    /// When it started, or else when it was triggered.
    pub start_time: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_time: Option<Timestamp>,
    /// Number of rejected rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_rejected: Option<u64>,
    /// The caller that requested the run.
    pub operator: String,
    /// The kind of that caller.
    pub operator_type: UserType,
    /// Its processes: always empty.
    #[schema(value_type = Vec<serde_json::Value>)]
    pub processes: Vec<serde_json::Value>,
    /// The metrics: an empty page.
    #[schema(value_type = ListPage<serde_json::Value>)]
    pub metrics: ListPage<serde_json::Value>,
}

impl ComponentMetrics {
    /// Those of a run, as a page of this limit and offset.
    pub fn new(run: &Run, limit: u64, offset: u64) -> Self {
        let runtime = run.runtime.clone().unwrap_or_default();
        Self {
            engine_id: runtime.engine_id.or(runtime.id).or(runtime.cluster_id).unwrap_or_default(),
            workspace_id: run.workspace_id,
            task_id: run.task_id,
            task_execution_id: run.id,
            artifact_id: run.artifact.id.clone().unwrap_or_default(),
            artifact_name: run.artifact.name.clone(),
            artifact_version: run.artifact.version.clone().unwrap_or_default(),
            start_time: run.started_at.unwrap_or(run.triggered_at),
            finish_time: run.finished_at,
            rows_rejected: run.rejected_rows,
            operator: run.user_id.clone(),
            operator_type: run.user_type,
            processes: Vec::new(),
            metrics: ListPage { items: Vec::new(), limit, offset, total: 0 },
        }
    }
}
