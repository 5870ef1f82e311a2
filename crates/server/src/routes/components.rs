//! `/monitoring/observability/executions/{id}/component`: component metrics of a run, of which the archive has none.

use axum::Json;
use axum::extract::{Path, State};
use runlog_model::place::Right;
use runlog_model::wire::components::ComponentMetrics;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use crate::app::App;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::ApiResult;
use crate::http::parameter_groups::Offset;
use crate::http::parameter_types::{NumberOr, is_not, one_of, words};
use crate::http::parameters::{ParameterValue, Query, query_parameters};
use crate::limits;

/// The fields by which a page can be sorted. Source: the vendor's file of component metrics.
const SORTED_BY: [&str; 10] = [
    "pid",
    "connector_type",
    "connector_label",
    "connector_id",
    "target_connector_type",
    "target_label",
    "target_id",
    "component_start_time_seconds",
    "component_connection_rows_total",
    "component_execution_duration_milliseconds",
];

query_parameters! {
    /// Parameters of a page of component metrics. A page is always empty, so the order has no effect; an invalid one is
    /// refused.
    pub(crate) struct ComponentsQuery {
        /// Maximum number of metrics per page.
        limit: NumberOr<1, { limits::COMPONENTS_PAGE_MAX }, { limits::COMPONENTS_PAGE_DEFAULT }> = "limit",
        /// Number of metrics to skip.
        offset: Offset = "offset",
        /// Metric field to sort by, such as `component_start_time_seconds`.
        _sort_by: Option<SortField> = "sortBy",
        /// `asc` (the default) or `desc`.
        _sort_order: Option<SortOrder> = "sortOrder",
    }
}

/// One of [`SORTED_BY`].
pub(crate) struct SortField;

impl ParameterValue for SortField {
    fn parse(text: &str) -> Result<Self, String> {
        match SORTED_BY.contains(&text) {
            true => Ok(Self),
            false => Err(is_not(text, &format!("one of {}", SORTED_BY.join(", ")))),
        }
    }

    fn schema() -> RefOr<Schema> {
        one_of(&SORTED_BY)
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

/// `GET /monitoring/observability/executions/{id}/component`: returns a run with an empty page of component metrics.
#[utoipa::path(
    get,
    path = "/monitoring/observability/executions/{id}/component",
    tag = "history",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    responses((status = 200, description = "The run with an empty page, because the archive has no component metrics", body = ComponentMetrics))
)]
pub(crate) async fn of_run(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    Query(query): Query<ComponentsQuery>,
) -> ApiResult<Json<ComponentMetrics>> {
    let run = rights::run(app.store(), &caller, &id, &[Right::View]).await?;
    Ok(Json(ComponentMetrics::new(&run, query.limit.0, query.offset.0)))
}
