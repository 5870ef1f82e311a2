//! Views of the catalog as columns: runs, component metrics, plan executions, tasks, problems, deliveries and the audit logs
//! of tenants, for SQL queries.
//!
//! The columns that can be selected are defined here, independent of the schema of the catalog.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Int64Array, LargeStringArray, RecordBatch, RecordBatchOptions, TimestampMillisecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use az::SaturatingAs;
use runlog_model::WorkspaceId;
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::catalog::filters::push_workspaces;
use crate::catalog::sql::Sql;
use crate::core::Core;
use crate::error::Result;
use crate::limits;
use crate::parts::Query;

/// A view of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatalogView {
    /// A row for each run.
    Runs,
    /// A row for each task.
    Tasks,
    /// A row for each run and each sink that it is delivered to.
    Deliveries,
    /// A row for each problem.
    Problems,
    /// A row for each component metric of a run.
    ComponentMetrics,
    /// A row for each plan execution.
    PlanExecutions,
    /// A row for each step of a plan execution, and each error handler that ran after one.
    PlanSteps,
    /// A row for each entry of the audit logs of tenants. The entries belong to no workspace.
    TenantAuditLogs,
}

/// A column of a [`CatalogView`].
#[derive(Debug, Clone, Copy)]
pub struct ViewColumn {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: ViewColumnType,
    /// False if every row has a value.
    pub may_be_null: bool,
    /// Its SQL expression in the catalog.
    sql: &'static str,
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewColumnType {
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// A timestamp in milliseconds, UTC.
    Time,
    /// True or false.
    Flag,
}

/// A condition on one column.
#[derive(Debug, Clone, PartialEq)]
pub enum ViewCondition {
    /// Equal to one of these texts.
    Texts(Vec<String>),
    /// A number, or epoch milliseconds, in this range, both ends included.
    Between(i64, i64),
}

const fn text(name: &'static str, sql: &'static str) -> ViewColumn {
    ViewColumn { name, kind: ViewColumnType::Text, may_be_null: false, sql }
}

const fn number(name: &'static str, sql: &'static str) -> ViewColumn {
    ViewColumn { name, kind: ViewColumnType::Number, may_be_null: false, sql }
}

const fn time(name: &'static str, sql: &'static str) -> ViewColumn {
    ViewColumn { name, kind: ViewColumnType::Time, may_be_null: false, sql }
}

const fn flag(name: &'static str, sql: &'static str) -> ViewColumn {
    ViewColumn { name, kind: ViewColumnType::Flag, may_be_null: false, sql }
}

const fn perhaps(column: ViewColumn) -> ViewColumn {
    ViewColumn { may_be_null: true, ..column }
}

const RUNS: [ViewColumn; 43] = [
    text("run_id", "r.id"),
    text("task_id", "r.task_id"),
    text("task_name", "t.name"),
    text("task_version", "r.task_version"),
    text("workspace_id", "r.workspace_id"),
    text("workspace_name", "w.name"),
    text("environment_name", "e.name"),
    text("status", "r.status"),
    text("execution_status", "r.execution_status"),
    text("execution_type", "r.execution_type"),
    time("triggered_at", "r.triggered_at"),
    perhaps(time("started_at", "r.started_at")),
    perhaps(time("finished_at", "r.finished_at")),
    perhaps(number("duration_ms", "r.finished_at - r.started_at")),
    text("user_id", "r.user_id"),
    text("user_type", "r.user_type"),
    perhaps(text("plan_id", "r.plan_id")),
    perhaps(text("plan_name", "r.plan_name")),
    perhaps(text("plan_execution_id", "r.plan_execution_id")),
    perhaps(text("plan_step_id", "r.plan_step_id")),
    perhaps(text("artifact_name", "r.artifact_name")),
    perhaps(text("artifact_version", "r.artifact_version")),
    perhaps(text("log_level", "r.log_level")),
    perhaps(number("attempts", "r.attempts")),
    perhaps(text("error_type", "r.error_type")),
    perhaps(text("error_message", "r.error_message")),
    perhaps(text("misfired_reason", "r.misfired_reason")),
    perhaps(number("processed_rows", "r.processed_rows")),
    perhaps(number("rejected_rows", "r.rejected_rows")),
    number("records", "r.records"),
    number("fatal_records", "r.severity_fatal"),
    number("error_records", "r.severity_error"),
    number("warn_records", "r.severity_warn"),
    number("info_records", "r.severity_info"),
    number("debug_records", "r.severity_debug"),
    number("trace_records", "r.severity_trace"),
    number("other_records", "r.severity_other"),
    number("stored_bytes", "r.stored_bytes"),
    perhaps(time("last_record_stored_at", "r.last_record_stored_at")),
    flag("is_final", "CASE WHEN r.final_since IS NULL THEN 0 ELSE 1 END"),
    flag("legal_hold", "r.legal_hold"),
    perhaps(text("problem_id", PROBLEM_OF_RUN)),
    perhaps(text("headline", HEADLINE_OF_RUN)),
];

/// The problem of a failed run.
const PROBLEM_OF_RUN: &str =
    "(SELECT c.problem_id FROM problem_runs c WHERE c.run_id = r.id AND c.log_epoch = r.log_epoch)";

/// The reason of the failure of a run, with its specific values.
const HEADLINE_OF_RUN: &str =
    "(SELECT c.headline FROM problem_runs c WHERE c.run_id = r.id AND c.log_epoch = r.log_epoch)";

/// The headline of the latest run of a problem.
const HEADLINE_OF_PROBLEM: &str =
    "(SELECT c.headline FROM problem_runs c WHERE c.problem_id = p.id ORDER BY c.ended_at DESC, c.run_id DESC LIMIT 1)";

const TASKS: [ViewColumn; 10] = [
    text("task_id", "t.id"),
    text("task_name", "t.name"),
    text("version", "t.version"),
    perhaps(text("description", "t.description")),
    text("tags", "t.tags"),
    text("workspace_id", "t.workspace_id"),
    text("workspace_name", "w.name"),
    text("environment_id", "w.environment_id"),
    text("environment_name", "e.name"),
    time("created_at", "t.created_at"),
];

/// Number of records of a delivery that the sink refused permanently.
const REFUSED: &str = "(SELECT CAST(COALESCE(SUM(l.records), 0) AS BIGINT) FROM dead_letters l
    WHERE l.sink = d.sink AND l.run_id = d.run_id AND l.log_epoch = d.log_epoch)";

const DELIVERIES: [ViewColumn; 13] = [
    text("sink", "d.sink"),
    text("run_id", "d.run_id"),
    text("task_id", "r.task_id"),
    text("workspace_id", "r.workspace_id"),
    text("state", "d.state"),
    perhaps(number("of_records", "d.of_records")),
    perhaps(number("delivered", "d.delivered")),
    number("left_out", "d.left_out"),
    number("refused", REFUSED),
    perhaps(time("due_at", "d.due_at")),
    perhaps(number("attempts", "d.attempts")),
    perhaps(time("done_at", "d.done_at")),
    perhaps(text("problem", "d.problem")),
];

const PROBLEMS: [ViewColumn; 15] = [
    text("problem_id", "p.id"),
    text("title", "p.title"),
    perhaps(text("headline", HEADLINE_OF_PROBLEM)),
    text("workspace_id", "p.workspace_id"),
    text("workspace_name", "w.name"),
    text("state", "p.state"),
    perhaps(time("state_set_at", "p.state_at")),
    perhaps(text("state_set_by", "p.state_by")),
    perhaps(text("note", "p.note")),
    perhaps(time("muted_until", "p.muted_until")),
    perhaps(time("came_back_at", "p.came_back_at")),
    time("first_seen", "p.first_seen"),
    time("last_seen", "p.last_seen"),
    number("runs", "p.runs"),
    number("tasks", "(SELECT COUNT(*) FROM problem_tasks c WHERE c.problem_id = p.id)"),
];

const COMPONENT_METRICS: [ViewColumn; 22] = [
    text("run_id", "m.run_id"),
    text("task_id", "r.task_id"),
    text("workspace_id", "r.workspace_id"),
    number("position", "m.position"),
    text("pid", "m.pid"),
    perhaps(text("process_id", "p.process_id")),
    perhaps(text("job_name", "p.job_name")),
    text("connector_id", "m.connector_id"),
    text("connector_label", "m.connector_label"),
    text("connector_type", "m.connector_type"),
    perhaps(text("target_id", "m.target_id")),
    perhaps(text("target_label", "m.target_label")),
    perhaps(text("target_connector_type", "m.target_connector_type")),
    perhaps(text("connection_name", "m.connection_name")),
    perhaps(text("connection_type", "m.connection_type")),
    perhaps(time("started_at", "m.started_at")),
    perhaps(number("rows_total", "m.rows_total")),
    perhaps(number("duration_ms", "m.duration_ms")),
    perhaps(text("stacktrace", "m.stacktrace")),
    perhaps(text("engine_id", "c.engine_id")),
    perhaps(text("operator", "c.operator")),
    perhaps(text("extra", "m.others")),
];

const PLAN_EXECUTIONS: [ViewColumn; 18] = [
    text("plan_execution_id", "k.execution_id"),
    perhaps(text("plan_id", "k.plan_id")),
    perhaps(text("plan_name", "k.plan_name")),
    text("workspace_id", "k.workspace_id"),
    text("workspace_name", "w.name"),
    text("status", "k.status"),
    text("execution_status", "k.execution_status"),
    text("execution_type", "k.execution_type"),
    perhaps(time("started_at", "k.started_at")),
    perhaps(time("finished_at", "k.finished_at")),
    perhaps(number("duration_ms", "k.finished_at - k.started_at")),
    perhaps(number("planned", "k.planned")),
    perhaps(number("done", "k.done")),
    text("user_id", "k.user_id"),
    text("user_type", "k.user_type"),
    perhaps(text("misfired_reason", "k.misfired_reason")),
    perhaps(text("api_version", "k.api_version")),
    flag("is_reported", "k.is_reported"),
];

const PLAN_STEPS: [ViewColumn; 16] = [
    text("plan_execution_id", "s.execution_id"),
    perhaps(text("plan_id", "p.plan_id")),
    perhaps(text("plan_name", "p.plan_name")),
    text("workspace_id", "p.workspace_id"),
    number("position", "s.position"),
    text("kind", "s.kind"),
    perhaps(text("plan_step_id", "s.step_id")),
    perhaps(text("step_execution_id", "s.step_execution_id")),
    perhaps(text("name", "s.name")),
    perhaps(text("next_when", "s.next_when")),
    text("outcome", "s.outcome"),
    perhaps(text("execution_status", "s.execution_status")),
    perhaps(time("started_at", "s.started_at")),
    perhaps(time("finished_at", "s.finished_at")),
    perhaps(number("planned", "s.planned")),
    perhaps(number("done", "s.done")),
];

const TENANT_AUDIT_LOGS: [ViewColumn; 20] = [
    text("log_id", "a.log_id"),
    time("time", "a.at"),
    text("upstream", "a.upstream"),
    perhaps(text("application_id", "a.application_id")),
    perhaps(text("event_category", "a.event_category")),
    perhaps(text("event_type", "a.event_type")),
    perhaps(text("event_operation", "a.event_operation")),
    perhaps(text("user_id", "a.user_id")),
    perhaps(text("username", "a.username")),
    perhaps(text("email", "a.email")),
    perhaps(text("client_ip", "a.client_ip")),
    perhaps(text("method", "a.method")),
    perhaps(text("url", "a.url")),
    perhaps(text("user_agent", "a.user_agent")),
    perhaps(text("status", "a.status")),
    perhaps(text("request_id", "a.request_id")),
    perhaps(text("account_id", "a.account_id")),
    number("sequence", "a.sequence"),
    time("stored_at", "a.stored_at"),
    text("entry", "a.body"),
];

impl CatalogView {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Runs,
        Self::Tasks,
        Self::Deliveries,
        Self::Problems,
        Self::ComponentMetrics,
        Self::PlanExecutions,
        Self::PlanSteps,
        Self::TenantAuditLogs,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Tasks => "tasks",
            Self::Deliveries => "deliveries",
            Self::Problems => "problems",
            Self::ComponentMetrics => "component_metrics",
            Self::PlanExecutions => "plan_executions",
            Self::PlanSteps => "plan_steps",
            Self::TenantAuditLogs => "tenant_audit_logs",
        }
    }

    /// Its columns.
    pub fn columns(self) -> &'static [ViewColumn] {
        match self {
            Self::Runs => &RUNS,
            Self::Tasks => &TASKS,
            Self::Deliveries => &DELIVERIES,
            Self::Problems => &PROBLEMS,
            Self::ComponentMetrics => &COMPONENT_METRICS,
            Self::PlanExecutions => &PLAN_EXECUTIONS,
            Self::PlanSteps => &PLAN_STEPS,
            Self::TenantAuditLogs => &TENANT_AUDIT_LOGS,
        }
    }

    /// Returns the schema of batches with some of its columns.
    pub fn schema(self, columns: &[usize]) -> SchemaRef {
        let field = |index: &usize| {
            let column = &self.columns()[*index];
            let kind = match column.kind {
                ViewColumnType::Text => DataType::LargeUtf8,
                ViewColumnType::Number => DataType::Int64,
                ViewColumnType::Time => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
                ViewColumnType::Flag => DataType::Boolean,
            };
            Field::new(column.name, kind, column.may_be_null)
        };
        Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
    }

    fn tables(self) -> &'static str {
        match self {
            Self::Runs => {
                "runs r JOIN tasks t ON t.id = r.task_id JOIN workspaces w ON w.id = r.workspace_id
                 JOIN environments e ON e.id = w.environment_id"
            }
            Self::Tasks => {
                "tasks t JOIN workspaces w ON w.id = t.workspace_id JOIN environments e ON e.id = w.environment_id"
            }
            Self::Deliveries => "deliveries d JOIN runs r ON r.id = d.run_id",
            // Without runs, a problem has no title.
            Self::Problems => "workspace_problems p JOIN workspaces w ON w.id = p.workspace_id AND p.runs > 0",
            // Component metrics of a deleted log are excluded.
            Self::ComponentMetrics => {
                "component_metrics m JOIN component_runs c ON c.run_id = m.run_id
                 JOIN runs r ON r.id = c.run_id AND r.log_epoch = c.log_epoch
                 LEFT JOIN component_processes p ON p.run_id = m.run_id AND p.pid = m.pid"
            }
            Self::PlanExecutions => "known_plans k JOIN workspaces w ON w.id = k.workspace_id",
            Self::PlanSteps => {
                "reported_steps s JOIN reported_plans p ON p.execution_id = s.execution_id AND p.workspace_id IS NOT NULL"
            }
            Self::TenantAuditLogs => "tenant_audit_logs a",
        }
    }

    /// Returns the columns that identify a row, by which reading continues.
    fn key(self) -> &'static [&'static str] {
        match self {
            Self::Runs => &["r.id"],
            Self::Tasks => &["t.id"],
            Self::Deliveries => &["d.sink", "d.run_id"],
            Self::Problems => &["p.id"],
            Self::ComponentMetrics => &["m.run_id", "m.position"],
            Self::PlanExecutions => &["k.execution_id", "k.workspace_id"],
            Self::PlanSteps => &["s.execution_id", "s.position", "s.kind"],
            Self::TenantAuditLogs => &["a.log_id"],
        }
    }

    /// Returns the column of the workspace; `None` if rows belong to no workspace.
    fn workspace(self) -> Option<&'static str> {
        match self {
            Self::Tasks => Some("t.workspace_id"),
            Self::Problems | Self::PlanSteps => Some("p.workspace_id"),
            Self::PlanExecutions => Some("k.workspace_id"),
            Self::Runs | Self::Deliveries | Self::ComponentMetrics => Some("r.workspace_id"),
            Self::TenantAuditLogs => None,
        }
    }
}

/// A part of the key of a row.
#[derive(Debug, Clone)]
enum KeyPart {
    Text(String),
    Number(i64),
}

/// Reads rows of a view, in batches.
pub struct ViewScan {
    core: Core,
    table: CatalogView,
    columns: Vec<usize>,
    schema: SchemaRef,
    workspace_ids: Option<Vec<WorkspaceId>>,
    conditions: Vec<(usize, ViewCondition)>,
    /// The key of the last row that was read.
    after: Option<Vec<KeyPart>>,
    is_done: bool,
}

impl Query {
    /// Starts reading these columns of the rows of some workspaces, or of all with `None`; all conditions must hold.
    /// Rows that belong to no workspace are read only if all workspaces are.
    pub fn scan_view(
        &self,
        table: CatalogView,
        columns: Vec<usize>,
        workspace_ids: Option<Vec<WorkspaceId>>,
        conditions: Vec<(usize, ViewCondition)>,
    ) -> ViewScan {
        let schema = table.schema(&columns);
        let core = self.core.clone();
        ViewScan { core, table, columns, schema, workspace_ids, conditions, after: None, is_done: false }
    }
}

impl ViewScan {
    /// Returns the next rows; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.is_done {
            return Ok(None);
        }
        let rows = self.query().build_query().fetch_all(self.core.catalog().read()).await?;
        self.is_done = rows.len().saturating_as::<i64>() < limits::VIEW_ROWS_BATCH;
        let width = self.columns.len();
        if let Some(last) = rows.last() {
            let key = (0..self.table.key().len()).map(|index| match last.try_get(width + index) {
                Ok(text) => Ok(KeyPart::Text(text)),
                Err(_) => last.try_get(width + index).map(KeyPart::Number),
            });
            self.after = Some(key.collect::<Result<_, sqlx::Error>>()?);
        }
        self.batch(&rows).map(Some)
    }

    fn query(&self) -> Sql {
        let all = self.table.columns();
        let selected = self.columns.iter().map(|index| all[*index].sql).chain(self.table.key().iter().copied());
        let selected: Vec<&str> = selected.collect();
        let mut query = Sql::new(format!("SELECT {} FROM {} WHERE TRUE", selected.join(", "), self.table.tables()));
        match self.table.workspace() {
            Some(column) => push_workspaces(&mut query, column, self.workspace_ids.as_deref()),
            None if self.workspace_ids.is_some() => drop(query.push(" AND FALSE")),
            None => {}
        }
        for (index, condition) in &self.conditions {
            let column = all[*index].sql;
            match condition {
                ViewCondition::Texts(texts) if texts.is_empty() => query.push(" AND FALSE"),
                ViewCondition::Texts(texts) => {
                    query.push(format!(" AND {column} IN (")).push_list(texts.iter().cloned()).push(")")
                }
                ViewCondition::Between(low, high) => {
                    query.push(format!(" AND {column} BETWEEN ")).push_bind(*low).push(" AND ").push_bind(*high)
                }
            };
        }
        let key = self.table.key().join(", ");
        if let Some(after) = &self.after {
            query.push(format!(" AND ({key}) > ("));
            for (index, part) in after.iter().enumerate() {
                query.push(if index == 0 { "" } else { ", " });
                match part {
                    KeyPart::Text(text) => query.push_bind(text.clone()),
                    KeyPart::Number(number) => query.push_bind(*number),
                };
            }
            query.push(")");
        }
        query.push(format!(" ORDER BY {key} LIMIT ")).push_bind(limits::VIEW_ROWS_BATCH);
        query
    }

    fn batch(&self, rows: &[AnyRow]) -> Result<RecordBatch> {
        let all = self.table.columns();
        let columns = self.columns.iter().enumerate().map(|(at, index)| array(rows, at, all[*index].kind));
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let columns = columns.collect::<Result<_>>()?;
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

fn array(rows: &[AnyRow], at: usize, kind: ViewColumnType) -> Result<ArrayRef> {
    if kind == ViewColumnType::Text {
        let texts = rows.iter().map(|row| row.try_get::<Option<String>, _>(at));
        let texts: Vec<Option<String>> = texts.collect::<Result<_, sqlx::Error>>()?;
        return Ok(Arc::new(LargeStringArray::from_iter(texts)));
    }
    let numbers = rows.iter().map(|row| row.try_get::<Option<i64>, _>(at));
    let numbers: Vec<Option<i64>> = numbers.collect::<Result<_, sqlx::Error>>()?;
    Ok(match kind {
        ViewColumnType::Time => Arc::new(TimestampMillisecondArray::from(numbers).with_timezone("UTC")),
        ViewColumnType::Flag => {
            let flags = numbers.into_iter().map(|number| number.map(|number| number != 0));
            Arc::new(BooleanArray::from_iter(flags))
        }
        _ => Arc::new(Int64Array::from(numbers)),
    })
}
