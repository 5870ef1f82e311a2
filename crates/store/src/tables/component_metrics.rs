//! Component metrics: what the components of a run measured, kept with the run and deleted with its log.
//!
//! Storing the component metrics of a run replaces its previous ones, in one transaction.

use std::collections::BTreeMap;

use az::SaturatingAs;
use runlog_model::wire::components::{ComponentMetric, MeasuredRun, ProcessMetric, RunComponents};
use runlog_model::{EnvironmentId, Run, RunId, TaskId, Timestamp, UserType, WorkspaceId, hex};
use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;

use crate::catalog::filters::push_workspaces;
use crate::catalog::sql::{Connection, Sql, storable};
use crate::error::{Error, Result};
use crate::limits;
use crate::parts::Components;
use crate::tables::runs::{RunRow, fetch_to_change, no_such_run};

/// A field of a component metric, of its process, or of its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComponentField {
    /// The engine.
    Engine,
    /// The workspace of the run.
    Workspace,
    /// The task.
    Task,
    /// The run.
    Run,
    /// Who requested the run.
    Operator,
    /// The kind of that caller.
    OperatorType,
    /// The ID of the process.
    Process,
    /// The name of the job.
    JobName,
    /// Identifies the job within the run.
    Pid,
    /// The job that started it.
    FatherPid,
    /// The first job.
    RootPid,
    /// The type of the component.
    ConnectorType,
    /// Its name in the job.
    ConnectorLabel,
    /// Its ID.
    ConnectorId,
    /// The type of the component that receives the rows.
    TargetConnectorType,
    /// Its name in the job.
    TargetLabel,
    /// Its ID.
    TargetId,
    /// The type of the connection.
    ConnectionType,
    /// The name of the connection.
    ConnectionName,
    /// The position in the order of the service that measured it.
    Position,
    /// When the component started.
    StartTime,
    /// Number of rows.
    Rows,
    /// How long they took.
    Duration,
    /// The stack trace.
    Stacktrace,
}

/// The order of a page. Metrics without a value are last; metrics with equal values are in the order of the service
/// that measured them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComponentOrder {
    /// The field.
    pub by: ComponentField,
    /// True for the largest first.
    pub is_descending: bool,
}

/// A page of the component metrics of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct ComponentPage {
    /// The run as described by the service that measured the metrics.
    pub run: MeasuredRun,
    /// Its processes.
    pub processes: Vec<ProcessMetric>,
    /// The metrics.
    pub items: Vec<ComponentMetric>,
    /// How many metrics the run has.
    pub total: u64,
}

/// A condition on component metrics.
#[derive(Debug, Clone, PartialEq)]
pub enum ComponentCondition {
    /// Equal to one of these texts.
    OneOf(ComponentField, Vec<String>),
    /// Started at or after this time. Unit: epoch milliseconds.
    From(i64),
    /// Started at or before this time. Unit: epoch milliseconds.
    To(i64),
}

/// Selects component metrics of many runs.
#[derive(Debug, Clone)]
pub struct RawComponentFilter {
    /// The environment of the runs.
    pub environment_id: EnvironmentId,
    /// Only runs of these workspaces; `None` for all.
    pub workspace_ids: Option<Vec<WorkspaceId>>,
    /// Only components that started at or after this time.
    pub start: Timestamp,
    /// Only components that started at or before this time.
    pub end: Timestamp,
    /// Conditions that must all hold.
    pub conditions: Vec<ComponentCondition>,
    /// The order.
    pub order: ComponentOrder,
    /// Most metrics to return.
    pub limit: u64,
    /// How many metrics to skip.
    pub offset: u64,
}

/// A component metric with its run and its process.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasuredComponent {
    /// The run.
    pub run_id: RunId,
    /// Its task.
    pub task_id: TaskId,
    /// The workspace of the task.
    pub workspace_id: WorkspaceId,
    /// The engine; empty if unknown.
    pub engine_id: String,
    /// Who requested the run.
    pub operator: String,
    /// The kind of that caller.
    pub operator_type: UserType,
    /// The process; `None` if it is not known.
    pub process: Option<ProcessMetric>,
    /// The metric.
    pub metric: ComponentMetric,
}

#[derive(FromRow)]
struct HeaderRow {
    metrics: i64,
    total: i64,
    engine_id: Option<String>,
    artifact_id: Option<String>,
    artifact_name: Option<String>,
    artifact_version: Option<String>,
    operator: Option<String>,
    rows_rejected: Option<String>,
    processes: String,
    sha256: String,
}

#[derive(FromRow)]
struct MetricRow {
    pid: String,
    connector_type: String,
    connector_label: String,
    connector_id: String,
    target_connector_type: Option<String>,
    target_label: Option<String>,
    target_id: Option<String>,
    connection_type: Option<String>,
    connection_name: Option<String>,
    started_at: Option<i64>,
    rows_total: Option<i64>,
    duration_ms: Option<i64>,
    stacktrace: Option<String>,
    others: Option<String>,
}

#[derive(FromRow)]
struct RawRow {
    run_id: String,
    task_id: String,
    workspace_id: String,
    user_type: String,
    engine_id: Option<String>,
    operator: Option<String>,
    process_id: Option<String>,
    job_name: Option<String>,
    father_pid: Option<String>,
    root_pid: Option<String>,
    #[sqlx(flatten)]
    metric: MetricRow,
}

/// The columns selected for a [`MetricRow`].
const METRIC_COLUMNS: &str = "m.pid, m.connector_type, m.connector_label, m.connector_id, m.target_connector_type,
    m.target_label, m.target_id, m.connection_type, m.connection_name, m.started_at, m.rows_total, m.duration_ms,
    m.stacktrace, m.others";

/// The runs whose component metrics belong to their current log.
const HEADERS: &str = "component_runs c JOIN runs r ON r.id = c.run_id AND r.log_epoch = c.log_epoch";

impl Components {
    /// Replaces the component metrics of a run. Returns the number of component metrics that the run has now.
    ///
    /// `NotFound`: no such run. `Invalid`: there are too many metrics, or a metric has no ID or start.
    pub async fn replace(&self, run_id: RunId, components: &RunComponents) -> Result<u64> {
        for (index, item) in components.items.iter().enumerate() {
            let missing = match item {
                item if item.connector_id.is_empty() => "connector_id",
                item if item.component_start_time_seconds.is_none() => "component_start_time_seconds",
                _ => continue,
            };
            return Err(Error::invalid(format!("items[{index}] has no {missing}")));
        }
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let run = fetch_to_change(&self.core, &mut transaction, run_id).await?;
                let run = run.ok_or_else(|| no_such_run(run_id))?;
                replace_in(&mut transaction, &run, components, self.core.now()).await?;
                self.core.commit_change(transaction, Some(&run_id.to_string())).await
            })
            .await?;
        Ok(components.items.len() as u64)
    }

    /// Returns a page of the component metrics of a run; `None` when it has none.
    pub async fn page(
        &self,
        run_id: RunId,
        order: ComponentOrder,
        limit: u64,
        offset: u64,
    ) -> Result<Option<ComponentPage>> {
        let Some(header) = self.header(run_id).await? else { return Ok(None) };
        let mut reading = Sql::new(format!("SELECT {METRIC_COLUMNS} FROM component_metrics m WHERE m.run_id = "));
        reading.push_bind(run_id.to_string()).push(order_by(order)).push(", m.position LIMIT ");
        reading.push_bind(limit.saturating_as::<i64>()).push(" OFFSET ").push_bind(offset.saturating_as::<i64>());
        let rows: Vec<MetricRow> = reading.build_query_as().fetch_all(self.core.catalog().read()).await?;
        let items = rows.into_iter().map(MetricRow::into_metric).collect::<Result<_>>()?;
        let total = header.metrics.saturating_as::<u64>();
        let (run, processes) = (header.measured()?, header.processes()?);
        Ok(Some(ComponentPage { run, processes, items, total }))
    }

    /// Returns all component metrics of a run; `None` when it has none.
    pub async fn all(&self, run_id: RunId) -> Result<Option<RunComponents>> {
        match self.header(run_id).await? {
            Some(header) => Ok(Some(self.with_metrics(run_id, &header).await?)),
            None => Ok(None),
        }
    }

    /// Returns how many component metrics a run has.
    pub async fn count(&self, run_id: RunId) -> Result<u64> {
        Ok(self.header(run_id).await?.map_or(0, |header| header.metrics.saturating_as::<u64>()))
    }

    /// Returns component metrics of many runs, and the number of matches without limit and offset.
    pub async fn raw(&self, filter: &RawComponentFilter) -> Result<(Vec<MeasuredComponent>, u64)> {
        let mut counting = Sql::new("SELECT COUNT(*)");
        push_raw(&mut counting, filter);
        let total: i64 = counting.build_query_scalar().fetch_one(self.core.catalog().read()).await?;
        let mut listing = Sql::new(format!(
            "SELECT m.run_id, r.task_id, r.workspace_id, r.user_type, c.engine_id, c.operator, p.process_id, p.job_name,
             p.father_pid, p.root_pid, {METRIC_COLUMNS}"
        ));
        push_raw(&mut listing, filter);
        listing.push(order_by(filter.order)).push(", m.run_id, m.position LIMIT ");
        listing.push_bind(filter.limit.saturating_as::<i64>()).push(" OFFSET ");
        listing.push_bind(filter.offset.saturating_as::<i64>());
        let rows: Vec<RawRow> = listing.build_query_as().fetch_all(self.core.catalog().read()).await?;
        let rows = rows.into_iter().map(RawRow::into_measured).collect::<Result<_>>()?;
        Ok((rows, total.saturating_as::<u64>()))
    }

    /// Returns the newest run of the task before this one that has component metrics and, if wanted, was successful.
    pub async fn previous_run(&self, before: &Run, must_be_successful: bool) -> Result<Option<Run>> {
        let row: Option<RunRow> = sqlx::query_as(
            "SELECT r.* FROM runs r WHERE r.task_id = $1 AND (r.status = 'execution_successful' OR $4 = 0)
                AND (r.triggered_at < $2 OR (r.triggered_at = $2 AND r.id < $3)) AND r.workspace_id = $5
                AND EXISTS (SELECT 1 FROM component_runs c WHERE c.run_id = r.id AND c.log_epoch = r.log_epoch)
             ORDER BY r.triggered_at DESC, r.id DESC LIMIT 1",
        )
        .bind(before.task_id.to_string())
        .bind(before.triggered_at.as_millis())
        .bind(before.id.to_string())
        .bind(i64::from(must_be_successful))
        .bind(before.workspace_id.to_string())
        .fetch_optional(self.core.catalog().read())
        .await?;
        row.map(RunRow::into_run).transpose()
    }

    /// Returns the newest runs of a task since a time that have component metrics, newest first.
    pub async fn recent_runs_of_task(
        &self,
        task: TaskId,
        workspace: WorkspaceId,
        since: Timestamp,
        limit: u64,
    ) -> Result<Vec<Run>> {
        let rows: Vec<RunRow> = sqlx::query_as(
            "SELECT r.* FROM runs r WHERE r.task_id = $1 AND r.workspace_id = $2 AND r.triggered_at >= $3
                AND EXISTS (SELECT 1 FROM component_runs c WHERE c.run_id = r.id AND c.log_epoch = r.log_epoch)
             ORDER BY r.triggered_at DESC, r.id DESC LIMIT $4",
        )
        .bind(task.to_string())
        .bind(workspace.to_string())
        .bind(since.as_millis())
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        rows.into_iter().map(RunRow::into_run).collect()
    }

    async fn header(&self, run_id: RunId) -> Result<Option<HeaderRow>> {
        Ok(sqlx::query_as(AssertSqlSafe(format!("SELECT c.* FROM {HEADERS} WHERE c.run_id = $1")))
            .bind(run_id.to_string())
            .fetch_optional(self.core.catalog().read())
            .await?)
    }

    async fn with_metrics(&self, run_id: RunId, header: &HeaderRow) -> Result<RunComponents> {
        let rows: Vec<MetricRow> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT {METRIC_COLUMNS} FROM component_metrics m WHERE m.run_id = $1 ORDER BY m.position"
        )))
        .bind(run_id.to_string())
        .fetch_all(self.core.catalog().read())
        .await?;
        Ok(RunComponents {
            run: header.measured()?,
            processes: header.processes()?,
            items: rows.into_iter().map(MetricRow::into_metric).collect::<Result<_>>()?,
            total: header.total.saturating_as::<u64>(),
        })
    }

    /// Returns a description of the damage to the stored component metrics of a run; `None` if they are undamaged, or
    /// were replaced or deleted in the meantime.
    pub(crate) async fn find_damage(&self, run_id: &str) -> Result<Option<String>> {
        let id: RunId = run_id.parse().map_err(|_| Error::corrupt("the id of a run does not decode"))?;
        let Some(before) = self.header(id).await? else { return Ok(None) };
        let read = self.with_metrics(id, &before).await;
        match self.header(id).await? {
            Some(now) if now.sha256 == before.sha256 => {}
            _ => return Ok(None),
        }
        Ok(match read {
            Ok(read) if digest(&read)? == before.sha256 => None,
            Ok(_) => Some(format!("the component metrics of run {run_id} are not what was written")),
            Err(error) => Some(format!("the component metrics of run {run_id}: {}", error.with_causes())),
        })
    }
}

/// Replaces the component metrics of a run that the transaction has locked.
pub(crate) async fn replace_in(
    connection: &mut Connection,
    run: &Run,
    components: &RunComponents,
    now: Timestamp,
) -> Result<()> {
    let components = as_stored(run, components)?;
    let id = run.id.to_string();
    remove(connection, &id).await?;
    let times = || components.items.iter().filter_map(ComponentMetric::started_at).map(Timestamp::as_millis);
    let MeasuredRun { engine_id, artifact_id, artifact_name, artifact_version, rows_rejected, operator } =
        &components.run;
    sqlx::query(
        "INSERT INTO component_runs (run_id, log_epoch, metrics, total, first_started_at, last_started_at, engine_id,
                artifact_id, artifact_name, artifact_version, operator, rows_rejected, processes, stored_at, sha256)
         SELECT id, log_epoch, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14 FROM runs WHERE id = $1",
    )
    .bind(&id)
    .bind(components.items.len().saturating_as::<i64>())
    .bind(components.total.saturating_as::<i64>())
    .bind(times().min())
    .bind(times().max())
    .bind(engine_id)
    .bind(artifact_id)
    .bind(artifact_name)
    .bind(artifact_version)
    .bind(operator)
    .bind(rows_rejected.as_ref().map(ToString::to_string))
    .bind(json(&components.processes)?)
    .bind(now.as_millis())
    .bind(digest(&components)?)
    .execute(&mut *connection)
    .await?;
    insert_processes(connection, &id, &components.processes).await?;
    insert_metrics(connection, &id, &components.items).await
}

/// Removes the component metrics of a run.
pub(crate) async fn remove(connection: &mut Connection, run_id: &str) -> Result<()> {
    for statement in [
        "DELETE FROM component_metrics WHERE run_id = $1",
        "DELETE FROM component_processes WHERE run_id = $1",
        "DELETE FROM component_runs WHERE run_id = $1",
    ] {
        sqlx::query(statement).bind(run_id).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Returns component metrics in the form in which they are stored: with texts that the catalog accepts, and with the
/// engine and the caller of the run. Fails with `Invalid` if there are too many.
fn as_stored(run: &Run, components: &RunComponents) -> Result<RunComponents> {
    let (items, processes) = (components.items.len(), components.processes.len());
    if items > limits::COMPONENT_METRICS_MAX || processes > limits::COMPONENT_PROCESSES_MAX {
        return Err(Error::invalid(format!(
            "{items} component metrics of {processes} processes: a run has at most {} of {}",
            limits::COMPONENT_METRICS_MAX,
            limits::COMPONENT_PROCESSES_MAX
        )));
    }
    let text = json(components)?;
    if text.len() > limits::COMPONENT_METRICS_BYTES_MAX {
        let (bytes, most) = (text.len(), limits::COMPONENT_METRICS_BYTES_MAX);
        return Err(Error::invalid(format!("component metrics of {bytes} bytes: a run has at most {most}")));
    }
    let mut components = components.clone();
    if text.contains("\\u0000") {
        let value = serde_json::to_value(&components).and_then(|value| serde_json::from_value(storable_value(value)));
        components = value.map_err(|error| Error::invalid(error.to_string()))?;
    }
    let runtime = run.runtime.clone().unwrap_or_default();
    let engine = components.run.engine_id.take().or(runtime.engine_id).or(runtime.id).or(runtime.cluster_id);
    components.run.engine_id = engine;
    components.run.operator.get_or_insert_with(|| run.user_id.clone());
    components.total = components.total.max(items as u64);
    Ok(components)
}

/// Returns a value with texts that the catalog accepts.
fn storable_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(storable(&text)),
        Value::Array(values) => values.into_iter().map(storable_value).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (storable(&name), storable_value(value))).collect()
        }
        value => value,
    }
}

async fn insert_processes(connection: &mut Connection, run_id: &str, processes: &[ProcessMetric]) -> Result<()> {
    let by_pid: BTreeMap<&str, &ProcessMetric> =
        processes.iter().rev().map(|process| (process.pid.as_str(), process)).collect();
    let processes: Vec<&ProcessMetric> = by_pid.into_values().collect();
    for some in processes.chunks(limits::COMPONENT_METRICS_INSERTED_TOGETHER) {
        let mut inserting = Sql::new(
            "INSERT INTO component_processes (run_id, pid, process_id, job_name, father_pid, root_pid) VALUES ",
        );
        for (index, process) in some.iter().enumerate() {
            inserting.push(if index == 0 { "(" } else { ", (" }).push_bind(run_id.to_owned());
            let ProcessMetric { pid, process_id, job_name, father_pid, root_pid, .. } = process;
            for text in [pid, process_id, job_name, father_pid, root_pid] {
                inserting.push(", ").push_bind(text.clone());
            }
            inserting.push(")");
        }
        inserting.build_query().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn insert_metrics(connection: &mut Connection, run_id: &str, items: &[ComponentMetric]) -> Result<()> {
    let items: Vec<(usize, &ComponentMetric)> = items.iter().enumerate().collect();
    for some in items.chunks(limits::COMPONENT_METRICS_INSERTED_TOGETHER) {
        let mut inserting = Sql::new(
            "INSERT INTO component_metrics (run_id, position, pid, connector_type, connector_label, connector_id,
                    target_connector_type, target_label, target_id, connection_type, connection_name, started_at,
                    rows_total, duration_ms, stacktrace, others) VALUES ",
        );
        for (index, (position, item)) in some.iter().enumerate() {
            inserting.push(if index == 0 { "(" } else { ", (" }).push_bind(run_id.to_owned());
            inserting.push(", ").push_bind((*position).saturating_as::<i64>());
            for text in [&item.pid, &item.connector_type, &item.connector_label, &item.connector_id] {
                inserting.push(", ").push_bind(text.clone());
            }
            let ComponentMetric { target_connector_type, target_label, target_id, .. } = item;
            let ComponentMetric { connection_type, connection_name, .. } = item;
            for text in [target_connector_type, target_label, target_id, connection_type, connection_name] {
                inserting.push(", ").push_bind(text.clone());
            }
            let number = |number: u64| number.saturating_as::<i64>();
            inserting.push(", ").push_bind(item.started_at().map(Timestamp::as_millis));
            inserting.push(", ").push_bind(item.rows().map(number));
            inserting.push(", ").push_bind(item.duration_ms().map(number));
            inserting.push(", ").push_bind(item.stacktrace.clone());
            inserting.push(", ").push_bind(others(item)?).push(")");
        }
        inserting.build_query().execute(&mut *connection).await?;
    }
    Ok(())
}

const START: &str = "component_start_time_seconds";
const ROWS: &str = "component_connection_rows_total";
const DURATION: &str = "component_execution_duration_milliseconds";

/// Returns the fields of a metric that the columns cannot represent exactly, such as a number that has decimal places
/// or is too large, and those without a column.
fn others(item: &ComponentMetric) -> Result<Option<String>> {
    let mut others = item.others.clone();
    let of_column = MetricRow::numbers(
        item.started_at().map(Timestamp::as_millis),
        item.rows().map(|rows| rows.saturating_as::<i64>()),
        item.duration_ms().map(|duration| duration.saturating_as::<i64>()),
    );
    let written = [
        (START, &item.component_start_time_seconds),
        (ROWS, &item.component_connection_rows_total),
        (DURATION, &item.component_execution_duration_milliseconds),
    ];
    for ((name, written), of_column) in written.into_iter().zip(of_column) {
        if let Some(written) = written
            && Some(written) != of_column.as_ref()
        {
            others.insert(name.to_owned(), Value::Number(written.clone()));
        }
    }
    if others.is_empty() { Ok(None) } else { json(&others).map(Some) }
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|_| Error::invalid("component metrics have no JSON form"))
}

fn digest(components: &RunComponents) -> Result<String> {
    Ok(hex::encode(Sha256::digest(json(components)?)))
}

fn order_by(order: ComponentOrder) -> String {
    let (column, is_text) = order.by.column();
    let direction = if order.is_descending { "DESC" } else { "ASC" };
    // An empty text counts as no value.
    let value = if is_text { format!("NULLIF({column}, '')") } else { column.to_owned() };
    format!(" ORDER BY CASE WHEN {value} IS NULL THEN 1 ELSE 0 END, {value} {direction}")
}

fn push_raw(query: &mut Sql, filter: &RawComponentFilter) {
    query.push(format!(
        " FROM {HEADERS} JOIN workspaces w ON w.id = r.workspace_id JOIN component_metrics m ON m.run_id = c.run_id
          LEFT JOIN component_processes p ON p.run_id = m.run_id AND p.pid = m.pid WHERE w.environment_id = "
    ));
    query.push_bind(filter.environment_id.to_string());
    push_workspaces(query, "r.workspace_id", filter.workspace_ids.as_deref());
    let (start, end) = (filter.start.as_millis(), filter.end.as_millis());
    query.push(" AND c.last_started_at >= ").push_bind(start).push(" AND c.first_started_at <= ").push_bind(end);
    query.push(" AND m.started_at BETWEEN ").push_bind(start).push(" AND ").push_bind(end);
    for condition in &filter.conditions {
        match condition {
            ComponentCondition::OneOf(_, texts) if texts.is_empty() => query.push(" AND FALSE"),
            ComponentCondition::OneOf(field, texts) => {
                query.push(format!(" AND {} IN (", field.column().0)).push_list(texts.iter().cloned()).push(")")
            }
            ComponentCondition::From(time) => query.push(" AND m.started_at >= ").push_bind(*time),
            ComponentCondition::To(time) => query.push(" AND m.started_at <= ").push_bind(*time),
        };
    }
}

impl ComponentField {
    /// Returns the column of the field, and whether the column has texts.
    fn column(self) -> (&'static str, bool) {
        match self {
            Self::Engine => ("c.engine_id", true),
            Self::Workspace => ("r.workspace_id", true),
            Self::Task => ("r.task_id", true),
            Self::Run => ("m.run_id", true),
            Self::Operator => ("c.operator", true),
            Self::OperatorType => ("r.user_type", true),
            Self::Process => ("p.process_id", true),
            Self::JobName => ("p.job_name", true),
            Self::Pid => ("m.pid", true),
            Self::FatherPid => ("p.father_pid", true),
            Self::RootPid => ("p.root_pid", true),
            Self::ConnectorType => ("m.connector_type", true),
            Self::ConnectorLabel => ("m.connector_label", true),
            Self::ConnectorId => ("m.connector_id", true),
            Self::TargetConnectorType => ("m.target_connector_type", true),
            Self::TargetLabel => ("m.target_label", true),
            Self::TargetId => ("m.target_id", true),
            Self::ConnectionType => ("m.connection_type", true),
            Self::ConnectionName => ("m.connection_name", true),
            Self::Stacktrace => ("m.stacktrace", true),
            Self::Position => ("m.position", false),
            Self::StartTime => ("m.started_at", false),
            Self::Rows => ("m.rows_total", false),
            Self::Duration => ("m.duration_ms", false),
        }
    }
}

impl HeaderRow {
    fn measured(&self) -> Result<MeasuredRun> {
        let rejected = self.rows_rejected.as_deref().map(serde_json::from_str).transpose();
        Ok(MeasuredRun {
            engine_id: self.engine_id.clone(),
            artifact_id: self.artifact_id.clone(),
            artifact_name: self.artifact_name.clone(),
            artifact_version: self.artifact_version.clone(),
            rows_rejected: rejected.map_err(|_| Error::corrupt("a number of rejected rows does not decode"))?,
            operator: self.operator.clone(),
        })
    }

    fn processes(&self) -> Result<Vec<ProcessMetric>> {
        serde_json::from_str(&self.processes).map_err(|_| Error::corrupt("the processes of a run do not decode"))
    }
}

impl MetricRow {
    /// Returns the numbers of a metric as stored in the columns.
    fn numbers(started_at: Option<i64>, rows: Option<i64>, duration: Option<i64>) -> [Option<Number>; 3] {
        [started_at.map(|millis| millis.div_euclid(1_000)), rows, duration].map(|number| number.map(Number::from))
    }

    fn into_metric(self) -> Result<ComponentMetric> {
        let undecodable = || Error::corrupt("fields of a component metric do not decode");
        let others = self.others.as_deref().map(serde_json::from_str::<Map<String, Value>>).transpose();
        let mut others = others.map_err(|_| undecodable())?.unwrap_or_default();
        let [start, rows, duration] = Self::numbers(self.started_at, self.rows_total, self.duration_ms);
        let mut exact = |name: &str, of_column: Option<Number>| match others.remove(name) {
            Some(Value::Number(exact)) => Ok(Some(exact)),
            Some(_) => Err(undecodable()),
            None => Ok(of_column),
        };
        Ok(ComponentMetric {
            component_start_time_seconds: exact(START, start)?,
            component_connection_rows_total: exact(ROWS, rows)?,
            component_execution_duration_milliseconds: exact(DURATION, duration)?,
            pid: self.pid,
            connector_type: self.connector_type,
            connector_label: self.connector_label,
            connector_id: self.connector_id,
            target_connector_type: self.target_connector_type,
            target_label: self.target_label,
            target_id: self.target_id,
            connection_type: self.connection_type,
            connection_name: self.connection_name,
            stacktrace: self.stacktrace,
            others,
        })
    }
}

impl RawRow {
    fn into_measured(self) -> Result<MeasuredComponent> {
        let undecodable = |what: &str| Error::corrupt(format!("the {what} of run {} does not decode", self.run_id));
        let (task_id, workspace_id) = (self.task_id.parse(), self.workspace_id.parse());
        let (run_id, operator_type) = (self.run_id.parse(), self.user_type.parse());
        let run_id = run_id.map_err(|_| undecodable("id"))?;
        let task_id = task_id.map_err(|_| undecodable("task"))?;
        let workspace_id = workspace_id.map_err(|_| undecodable("workspace"))?;
        let operator_type = operator_type.map_err(|_| undecodable("user type"))?;
        let pid = self.metric.pid.clone();
        let process = self.process_id.map(|process_id| ProcessMetric {
            process_id,
            job_name: self.job_name.unwrap_or_default(),
            pid,
            father_pid: self.father_pid.unwrap_or_default(),
            root_pid: self.root_pid.unwrap_or_default(),
            others: Map::new(),
        });
        Ok(MeasuredComponent {
            run_id,
            task_id,
            workspace_id,
            operator_type,
            engine_id: self.engine_id.unwrap_or_default(),
            operator: self.operator.unwrap_or_default(),
            process,
            metric: self.metric.into_metric()?,
        })
    }
}
