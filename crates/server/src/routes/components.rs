//! `/monitoring/observability/…/component`: component metrics of runs, and `/runlog/v1/runs/{id}/component-metrics`, by
//! which engines store them.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use runlog_model::wire::ErrorBody;
use runlog_model::wire::components::{
    COMPONENTS_HEADER, COMPONENTS_PENDING, ComponentFilter, ComponentMetrics, ComponentQuery, MeasuredRun,
    PutComponents, RawComponentMetric, RunComponents, StoredComponents,
};
use runlog_model::wire::executions::ListPage;
use runlog_model::workspaces::Right;
use runlog_store::components::{
    ComponentCondition, ComponentField, ComponentOrder, MeasuredComponent, RawComponentFilter,
};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use super::executions::asks_for_details;
use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::json::{JsonBody, parse};
use crate::http::parameter_groups::Offset;
use crate::http::parameter_types::{NumberOr, is_not, one_of, words};
use crate::http::parameters::{ParameterValue, Query, query_parameters};
use crate::ingest::body::read_whole;
use crate::limits;
use crate::routes::history::conditions::whole;

/// The fields by which a page can be sorted. Source: the vendor's file of component metrics.
const SORTED_BY: [(&str, ComponentField); 10] = [
    ("pid", ComponentField::Pid),
    ("connector_type", ComponentField::ConnectorType),
    ("connector_label", ComponentField::ConnectorLabel),
    ("connector_id", ComponentField::ConnectorId),
    ("target_connector_type", ComponentField::TargetConnectorType),
    ("target_label", ComponentField::TargetLabel),
    ("target_id", ComponentField::TargetId),
    ("component_start_time_seconds", ComponentField::StartTime),
    ("component_connection_rows_total", ComponentField::Rows),
    ("component_execution_duration_milliseconds", ComponentField::Duration),
];

/// The further fields by which metrics of many runs can be sorted. Source: as above, which writes `stracktrace`.
const RAW_SORTED_BY: [(&str, ComponentField); 12] = [
    ("engine_id", ComponentField::Engine),
    ("workspace_id", ComponentField::Workspace),
    ("task_id", ComponentField::Task),
    ("task_execution_id", ComponentField::Run),
    ("process_id", ComponentField::Process),
    ("job_name", ComponentField::JobName),
    ("father_pid", ComponentField::FatherPid),
    ("root_pid", ComponentField::RootPid),
    ("connection_type", ComponentField::ConnectionType),
    ("connection_name", ComponentField::ConnectionName),
    ("stracktrace", ComponentField::Stacktrace),
    ("stacktrace", ComponentField::Stacktrace),
];

/// The fields of conditions that compare texts. Source: as above.
const FILTERED_BY: [(&str, ComponentField); 10] = [
    ("engine_id", ComponentField::Engine),
    ("workspace_id", ComponentField::Workspace),
    ("task_id", ComponentField::Task),
    ("task_execution_id", ComponentField::Run),
    ("job_name", ComponentField::JobName),
    ("connector_type", ComponentField::ConnectorType),
    ("connector_label", ComponentField::ConnectorLabel),
    ("connector_id", ComponentField::ConnectorId),
    ("operator", ComponentField::Operator),
    ("operator_type", ComponentField::OperatorType),
];

const START_TIME: &str = "component_start_time_seconds";

query_parameters! {
    /// Parameters of a page of component metrics.
    pub(crate) struct ComponentsQuery {
        /// Maximum number of metrics per page.
        limit: NumberOr<1, { limits::COMPONENTS_PAGE_MAX }, { limits::COMPONENTS_PAGE_DEFAULT }> = "limit",
        /// Number of metrics to skip.
        offset: Offset = "offset",
        /// Metric field to sort by (default `component_start_time_seconds`). Metrics without it come last.
        sort_by: Option<SortField> = "sortBy",
        /// `asc` (the default) or `desc`.
        sort_order: Option<SortOrder> = "sortOrder",
    }
}

/// One of [`SORTED_BY`].
pub(crate) struct SortField(ComponentField);

impl ParameterValue for SortField {
    fn parse(text: &str) -> Result<Self, String> {
        let found = SORTED_BY.iter().find(|(name, _)| *name == text);
        found.map(|(_, field)| Self(*field)).ok_or_else(|| is_not(text, &format!("one of {}", names(&SORTED_BY))))
    }

    fn schema() -> RefOr<Schema> {
        one_of(&SORTED_BY.map(|(name, _)| name))
    }
}

words! {
    /// A direction of sorting.
    pub(crate) enum SortOrder {
        /// Ascending.
        Asc = "asc",
        /// Descending.
        Desc = "desc",
    }
}

/// `GET /monitoring/observability/executions/{id}/component`: returns a run with a page of its component metrics.
///
/// The page is empty if the archive has none; while a collector has not fetched them yet, the response has the header
/// `x-runlog-component-metrics: pending`.
#[utoipa::path(
    get,
    path = "/monitoring/observability/executions/{id}/component",
    tag = "history",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    responses((status = 200, description = "The run with a page of its component metrics", body = ComponentMetrics))
)]
pub(crate) async fn of_run(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    headers: HeaderMap,
    Query(query): Query<ComponentsQuery>,
) -> ApiResult<([(HeaderName, &'static str); 1], Json<ComponentMetrics>)> {
    let run = rights::run(app.store(), &caller, &id, &Right::READ_LOGS).await?;
    // Another Runlog keeps the order of the service that measured them.
    let usual = if asks_for_details(&headers) { ComponentField::Position } else { ComponentField::StartTime };
    let order = ComponentOrder {
        by: query.sort_by.map_or(usual, |field| field.0),
        is_descending: query.sort_order == Some(SortOrder::Desc),
    };
    let (limit, offset) = (query.limit.0, query.offset.0);
    // Asked before the page is read: metrics that arrive in between are not missed.
    let is_due = app.store().collection().components_are_due(run.id).await?;
    let page = app.store().components().page(run.id, order, limit, offset).await?;
    let state = match &page {
        Some(_) => "stored",
        None if is_due => COMPONENTS_PENDING,
        None => "none",
    };
    let list = |items, total| ListPage { items, limit, offset, total };
    let body = match page {
        Some(page) => ComponentMetrics::new(&run, page.run, page.processes, list(page.items, page.total)),
        None => ComponentMetrics::new(&run, MeasuredRun::default(), Vec::new(), list(Vec::new(), 0)),
    };
    Ok(([(HeaderName::from_static(COMPONENTS_HEADER), state)], Json(body)))
}

/// `POST /monitoring/observability/metrics/component`: searches the component metrics of an environment.
#[utoipa::path(
    post,
    path = "/monitoring/observability/metrics/component",
    tag = "history",
    request_body(content = ComponentQuery),
    responses((status = 200, description = "Component metrics of the workspaces whose logs the caller may read", body = ListPage<RawComponentMetric>))
)]
pub(crate) async fn search(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    JsonBody(query): JsonBody<ComponentQuery>,
) -> ApiResult<Json<ListPage<RawComponentMetric>>> {
    let limit = whole("limit", query.limit.as_ref(), 1..=limits::COMPONENTS_PAGE_MAX)?;
    let limit = limit.unwrap_or(limits::COMPONENTS_PAGE_DEFAULT);
    let offset = whole("offset", query.offset.as_ref(), 0..=limits::COMPONENTS_OFFSET_MAX)?.unwrap_or(0);
    if query.end_time < query.start_time {
        let message = format!("endTime {} is before startTime {}", query.end_time, query.start_time);
        return Err(ApiError::invalid(message));
    }
    let by = match query.sort_by.as_deref() {
        None => ComponentField::StartTime,
        Some(name) => {
            let mut all = SORTED_BY.iter().chain(&RAW_SORTED_BY);
            let found = all.find(|(known, _)| *known == name).map(|(_, field)| *field);
            let wanted = || format!("one of {}, {}", names(&SORTED_BY), names(&RAW_SORTED_BY));
            found.ok_or_else(|| ApiError::invalid(format!("sortBy: {}", is_not(name, &wanted()))))?
        }
    };
    let direction = query.sort_order.as_deref().map(SortOrder::parse).transpose();
    let direction = direction.map_err(|error| ApiError::invalid(format!("sortOrder: {error}")))?;
    let filter = RawComponentFilter {
        environment_id: query.environment_id,
        workspace_ids: rights::readable_workspaces(app.store(), &caller).await?,
        start: query.start_time,
        end: query.end_time,
        conditions: conditions(&query.filters)?,
        order: ComponentOrder { by, is_descending: direction == Some(SortOrder::Desc) },
        limit,
        offset,
    };
    let (found, total) = app.store().components().raw(&filter).await?;
    Ok(Json(ListPage { items: found.into_iter().map(raw).collect(), limit, offset, total }))
}

/// `PUT /runlog/v1/runs/{id}/component-metrics`: replaces the component metrics of a run. Sending the same again has no
/// effect.
#[utoipa::path(
    put,
    path = "/runlog/v1/runs/{id}/component-metrics",
    tag = "push",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    request_body(content = PutComponents, description = "The processes and metrics of the run; optionally compressed with gzip or zstd"),
    responses((status = 200, description = "The run has these component metrics and no others", body = StoredComponents), (status = 413, description = "The body is too long", body = ErrorBody))
)]
pub(crate) async fn put(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    change: AuditedChange,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Json<StoredComponents>> {
    let run = rights::run_brief(app.store(), &caller, &id, &[Right::Publish]).await?;
    let (body, mut memory) =
        read_whole(body, &headers, &app.settings().bounds, app.body_memory().reservation()).await?;
    memory.reserve_decoded(body.len().saturating_mul(limits::COMPONENTS_DECODED_FACTOR)).await?;
    let PutComponents { processes, rows_rejected, items } = parse(&body)?;
    let components = RunComponents {
        run: MeasuredRun { rows_rejected, ..MeasuredRun::default() },
        total: items.len() as u64,
        processes,
        items,
    };
    let stored = change.store(StatusCode::OK).components().replace(run.id, &components).await?;
    Ok(Json(StoredComponents { stored }))
}

fn names(fields: &[(&str, ComponentField)]) -> String {
    fields.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// The conditions of a body. 400 with the position of the wrong one, such as `filters[2]`.
fn conditions(filters: &[ComponentFilter]) -> ApiResult<Vec<ComponentCondition>> {
    if filters.len() > limits::HISTORY_FILTERS_MAX {
        return Err(ApiError::invalid(format!("filters: more than {} conditions", limits::HISTORY_FILTERS_MAX)));
    }
    let times: Vec<&str> = filters
        .iter()
        .filter(|filter| filter.field == START_TIME)
        .map(|filter| filter.operator.as_str().trim_end_matches('e'))
        .collect();
    if times.len() > 2 || (times.len() == 2 && times[0] == times[1]) {
        let message = format!("filters: {START_TIME} requires at most one of gt and gte, and one of lt and lte");
        return Err(ApiError::invalid(message));
    }
    filters.iter().enumerate().map(|(index, filter)| condition(filter, index)).collect()
}

fn condition(filter: &ComponentFilter, index: usize) -> ApiResult<ComponentCondition> {
    let wrong = |what: String| ApiError::invalid(format!("filters[{index}]: {what}"));
    if filter.field == START_TIME {
        let value = &filter.value;
        let seconds = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|value| value.is_finite());
        let seconds = seconds.ok_or_else(|| wrong("the value is not a number of seconds".to_owned()))?;
        return match filter.operator.as_str() {
            "gt" => Ok(ComponentCondition::From(millis(seconds, f64::floor).saturating_add(1))),
            "gte" => Ok(ComponentCondition::From(millis(seconds, f64::ceil))),
            "lt" => Ok(ComponentCondition::To(millis(seconds, f64::ceil).saturating_sub(1))),
            "lte" => Ok(ComponentCondition::To(millis(seconds, f64::floor))),
            _ => Err(wrong(format!("the field {START_TIME} requires gt, gte, lt or lte"))),
        };
    }
    let field = FILTERED_BY.iter().find(|(name, _)| *name == filter.field).map(|(_, field)| *field);
    let field = field.ok_or_else(|| wrong(is_not(&filter.field, &format!("one of {}", names(&FILTERED_BY)))))?;
    if filter.operator != "in" {
        return Err(wrong(format!("the field {} requires in", filter.field)));
    }
    let values = filter.value.as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Option<Vec<String>> = values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
    match texts.filter(|texts| (1..=limits::HISTORY_VALUES_MAX).contains(&texts.len())) {
        Some(texts) => Ok(ComponentCondition::OneOf(field, texts)),
        None => Err(wrong(format!("the value is not an array of 1 to {} texts", limits::HISTORY_VALUES_MAX))),
    }
}

/// Epoch milliseconds of epoch seconds.
#[expect(clippy::cast_possible_truncation, reason = "times that do not fit become the nearest that do")]
fn millis(seconds: f64, rounded: fn(f64) -> f64) -> i64 {
    rounded(seconds * 1_000.0) as i64
}

fn raw(found: MeasuredComponent) -> RawComponentMetric {
    let process = found.process.unwrap_or_default();
    RawComponentMetric {
        engine_id: found.engine_id,
        workspace_id: found.workspace_id,
        task_id: found.task_id,
        task_execution_id: found.run_id,
        operator: found.operator,
        operator_type: found.operator_type,
        process_id: process.process_id,
        job_name: process.job_name,
        father_pid: process.father_pid,
        root_pid: process.root_pid,
        metric: found.metric,
    }
}
