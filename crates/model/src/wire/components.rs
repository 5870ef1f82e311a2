//! Bodies of `/monitoring/observability/…/component`: what the components of a run measured. Source: the vendor's file
//! of component metrics.
//!
//! The names of components, their counts and fields that are not known here are kept as the vendor writes them.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;

use super::executions::ListPage;
use crate::{EnvironmentId, Run, RunId, TaskId, Timestamp, UserType, WorkspaceId};

/// The header that shows on an empty page that the metrics of the run are still to be collected: `pending`.
pub const COMPONENTS_HEADER: &str = "x-runlog-component-metrics";

/// The value of [`COMPONENTS_HEADER`] while a collector has not fetched the metrics of a run yet.
pub const COMPONENTS_PENDING: &str = "pending";

/// What a component measured: when it started, or how many rows it passed on to another component.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComponentMetric {
    /// The process in which the component ran.
    #[serde(default, deserialize_with = "text_or_null")]
    pub pid: String,
    /// The type of the component, such as `tDBOutput`.
    #[serde(default, deserialize_with = "text_or_null")]
    pub connector_type: String,
    /// The name that the job shows for the component.
    #[serde(default, deserialize_with = "text_or_null")]
    pub connector_label: String,
    /// The ID of the component in its job, such as `tDBOutput_1`.
    #[serde(default, deserialize_with = "text_or_null")]
    pub connector_id: String,
    /// The type of the component that receives the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_connector_type: Option<String>,
    /// The name that the job shows for that component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_label: Option<String>,
    /// The ID of that component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_id: Option<String>,
    /// The type of the connection, such as `reject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_type: Option<String>,
    /// The name of the connection, such as `row1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_name: Option<String>,
    /// When the component started. Unit: epoch seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub component_start_time_seconds: Option<Number>,
    /// Number of rows that passed through the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub component_connection_rows_total: Option<Number>,
    /// How long that took. Unit: milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub component_execution_duration_milliseconds: Option<Number>,
    /// The stack trace, if the component failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stacktrace: Option<String>,
    /// Other fields of the service that measured it.
    #[serde(flatten)]
    #[schema(ignore)]
    pub others: Map<String, Value>,
}

/// A process of a run: the job itself, or a job that it started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProcessMetric {
    /// The ID of the process.
    #[serde(default, deserialize_with = "text_or_null")]
    pub process_id: String,
    /// The name of the job.
    #[serde(default, deserialize_with = "text_or_null")]
    pub job_name: String,
    /// Identifies the job within the run.
    #[serde(default, deserialize_with = "text_or_null")]
    pub pid: String,
    /// The `pid` of the job that started it.
    #[serde(default, deserialize_with = "text_or_null")]
    pub father_pid: String,
    /// The `pid` of the first job.
    #[serde(default, deserialize_with = "text_or_null")]
    pub root_pid: String,
    /// Other fields of the service that measured it.
    #[serde(flatten)]
    #[schema(ignore)]
    pub others: Map<String, Value>,
}

/// A run as described by the service that measured its components.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MeasuredRun {
    /// The engine or cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_id: Option<String>,
    /// The artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_id: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_name: Option<String>,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_version: Option<String>,
    /// Number of rejected rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_rejected: Option<Number>,
    /// Who requested the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
}

/// All component metrics of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunComponents {
    /// The run as described by the service that measured the components.
    pub run: MeasuredRun,
    /// The processes of the run.
    pub processes: Vec<ProcessMetric>,
    /// The metrics, in the order of the service.
    pub items: Vec<ComponentMetric>,
    /// How many metrics the service has: more than are here if the archive does not keep all.
    pub total: u64,
}

/// `PUT /runlog/v1/runs/{id}/component-metrics`: replaces the component metrics of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutComponents {
    /// The processes of the run; may be left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessMetric>,
    /// Number of rejected rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub rows_rejected: Option<Number>,
    /// The metrics.
    pub items: Vec<ComponentMetric>,
}

/// The response: how many component metrics the run has now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoredComponents {
    /// Stored metrics.
    pub stored: u64,
}

/// A run and one page of the metrics of its components.
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
    #[schema(value_type = Option<f64>)]
    pub rows_rejected: Option<Number>,
    /// The caller that requested the run.
    pub operator: String,
    /// The kind of that caller.
    pub operator_type: UserType,
    /// Its processes.
    pub processes: Vec<ProcessMetric>,
    /// A page of the metrics.
    pub metrics: ListPage<ComponentMetric>,
}

impl ComponentMetrics {
    /// A page of the metrics of a run.
    pub fn new(
        run: &Run,
        measured: MeasuredRun,
        processes: Vec<ProcessMetric>,
        metrics: ListPage<ComponentMetric>,
    ) -> Self {
        let runtime = run.runtime.clone().unwrap_or_default();
        let engine = measured.engine_id.or(runtime.engine_id).or(runtime.id).or(runtime.cluster_id);
        Self {
            engine_id: engine.unwrap_or_default(),
            workspace_id: run.workspace_id,
            task_id: run.task_id,
            task_execution_id: run.id,
            artifact_id: measured.artifact_id.or_else(|| run.artifact.id.clone()).unwrap_or_default(),
            artifact_name: measured.artifact_name.or_else(|| run.artifact.name.clone()),
            artifact_version: measured.artifact_version.or_else(|| run.artifact.version.clone()).unwrap_or_default(),
            start_time: run.started_at.unwrap_or(run.triggered_at),
            finish_time: run.finished_at,
            rows_rejected: measured.rows_rejected.or_else(|| run.rejected_rows.map(Number::from)),
            operator: measured.operator.unwrap_or_else(|| run.user_id.clone()),
            operator_type: run.user_type,
            processes,
            metrics,
        }
    }
}

/// `POST /monitoring/observability/metrics/component`: which component metrics to list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentQuery {
    /// The environment of the runs.
    pub environment_id: EnvironmentId,
    /// The components that started at or after this time.
    pub start_time: Timestamp,
    /// The components that started at or before this time.
    pub end_time: Timestamp,
    /// Maximum number of metrics per page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub limit: Option<Number>,
    /// Number of metrics to skip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub offset: Option<Number>,
    /// The field to sort by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sort_by: Option<String>,
    /// `asc` (the default) or `desc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sort_order: Option<String>,
    /// Conditions, all of which must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<ComponentFilter>,
}

/// A condition on a field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComponentFilter {
    /// The field.
    pub field: String,
    /// `in`, or for times `gt`, `gte`, `lt` or `lte`.
    pub operator: String,
    /// An array of texts for `in`, otherwise a number of epoch seconds, which may be written as a text.
    pub value: Value,
}

/// A component metric with its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RawComponentMetric {
    /// The engine or cluster; empty if unknown.
    pub engine_id: String,
    /// The workspace of the task.
    pub workspace_id: WorkspaceId,
    /// The task.
    pub task_id: TaskId,
    /// The run.
    pub task_execution_id: RunId,
    /// The caller that requested the run.
    pub operator: String,
    /// The kind of that caller.
    pub operator_type: UserType,
    /// The ID of the process; empty if unknown.
    pub process_id: String,
    /// The name of the job; empty if unknown.
    pub job_name: String,
    /// The `pid` of the job that started the job of the component; empty if unknown.
    pub father_pid: String,
    /// The `pid` of the first job; empty if unknown.
    pub root_pid: String,
    /// The metric.
    #[serde(flatten)]
    pub metric: ComponentMetric,
}

impl RunComponents {
    /// The processes by their `pid`.
    pub fn processes_by_pid(&self) -> HashMap<&str, &ProcessMetric> {
        self.processes.iter().map(|process| (process.pid.as_str(), process)).collect()
    }
}

impl ComponentMetric {
    /// When the component started.
    #[expect(clippy::cast_possible_truncation, reason = "times that do not fit become the nearest that do")]
    pub fn started_at(&self) -> Option<Timestamp> {
        let seconds = self.component_start_time_seconds.as_ref()?;
        let millis = match seconds.as_i64() {
            Some(seconds) => seconds.saturating_mul(1_000),
            None => (seconds.as_f64()? * 1_000.0).floor() as i64,
        };
        Some(Timestamp::clamped(millis))
    }

    /// Number of rows that passed through the connection.
    pub fn rows(&self) -> Option<u64> {
        self.component_connection_rows_total.as_ref().and_then(whole)
    }

    /// How long that took. Unit: milliseconds.
    pub fn duration_ms(&self) -> Option<u64> {
        self.component_execution_duration_milliseconds.as_ref().and_then(whole)
    }
}

/// A number as a whole number, rounded down.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the nearest number that fits")]
fn whole(number: &Number) -> Option<u64> {
    number.as_u64().or_else(|| Some(number.as_f64()?.floor() as u64))
}

/// A text; empty for null.
fn text_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_metric_is_written_as_it_was_read() {
        let metric = json!({
            "pid": "20210806181617_2Y68h", "connector_type": "tMongoDBOutput", "connector_label": "Insert from SQL",
            "connector_id": "tMongoDBOutput_1", "component_start_time_seconds": 1_628_266_578.78,
            "component_connection_rows_total": 5_000_000, "component_execution_duration_milliseconds": 491_585,
            "of_a_later_version": {"kept": [1, 2.5]}
        });
        let read: ComponentMetric = serde_json::from_value(metric.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), metric);
        assert_eq!(read.started_at(), Some(Timestamp::clamped(1_628_266_578_780)));
        assert_eq!((read.rows(), read.duration_ms()), (Some(5_000_000), Some(491_585)));
    }

    #[test]
    fn null_and_absent_texts_are_empty() {
        let read: ComponentMetric = serde_json::from_value(json!({"pid": null, "target_id": null})).unwrap();
        assert_eq!(read, ComponentMetric::default());
    }
}
