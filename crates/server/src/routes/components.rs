//! `/monitoring/observability/executions/{id}/component`: component metrics of a run, of which the archive has none.

use axum::Json;
use axum::extract::{Path, State};
use runlog_model::place::Right;
use runlog_model::wire::components::ComponentMetrics;

use crate::app::App;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::parameters::Params;
use crate::limits;

/// What a page can be sorted by. Source: the vendor's file of component metrics.
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

/// `GET /monitoring/observability/executions/{id}/component`: returns a run with an empty page of component metrics.
#[utoipa::path(
    get,
    path = "/monitoring/observability/executions/{id}/component",
    tag = "history",
    params(("id" = runlog_model::RunId, Path, description = "ID"), ("limit" = Option<u64>, Query, minimum = 1, maximum = 200, description = "Maximum number of metrics per page; default 50"), ("offset" = Option<u64>, Query, description = "Number of metrics to skip"), ("sortBy" = Option<String>, Query, description = "Metric field to sort by, such as `component_start_time_seconds`"), ("sortOrder" = Option<String>, Query, description = "`asc` (the default) or `desc`")),
    responses((status = 200, description = "The run with an empty page, because the archive has no component metrics", body = ComponentMetrics))
)]
pub(crate) async fn of_run(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    params: Params,
) -> ApiResult<Json<ComponentMetrics>> {
    let limit = params.number("limit", 1..=limits::COMPONENTS_PAGE_MAX)?.unwrap_or(limits::COMPONENTS_PAGE_DEFAULT);
    let offset = params.number("offset", 0..=i64::MAX.unsigned_abs())?.unwrap_or(0);
    if let Some(field) = params.text("sortBy").filter(|field| !SORTED_BY.contains(field)) {
        let shown: String = field.chars().take(64).collect();
        return Err(ApiError::invalid(format!("sortBy: {shown:?} is not one of {}", SORTED_BY.join(", "))));
    }
    if params.text("sortOrder").is_some_and(|order| !["asc", "desc"].contains(&&*order.to_ascii_lowercase())) {
        return Err(ApiError::invalid("sortOrder: must be asc or desc"));
    }
    let run = rights::run(app.store(), &caller, &id, &[Right::View]).await?;
    Ok(Json(ComponentMetrics::new(&run, limit, offset)))
}
