//! The read API of Grafana Loki under `/loki/api/v1`, for Grafana, logcli, and everything else that reads Loki.
//!
//! ```text
//! request ▸ parameters ▸ runlog_logql: query ─┬─ log query: Query::search with the pipeline as its filter ▸ streams
//!                          places: selector   └─ metric query: Query::visit, samples are added up ▸ series
//! ```
//!
//! Streams are made of what the catalog knows of a run, and the severity ([`scope`]); the rest of a record is structured
//! metadata ([`entries`]). Everything is read with the rights of the caller, within the limit of concurrent searches, and
//! for a limited time. Errors are plain text, as those of Loki: [`is_of_loki`](crate::http::request::is_of_loki).

mod answers;
mod detected;
mod entries;
mod labels;
mod logs;
mod metrics;
mod parameters;
mod patterns;
pub(super) mod rules;
mod scope;
pub(super) mod tail;
mod volume;
mod within_limits;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use runlog_logql::{Expr, format_query};
use runlog_model::wire::ErrorBody;
use runlog_store::accounts::Caller;
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::routes::health;
use crate::routes::loki::parameters::{FormOrQuery, RangeQuery};
use crate::routes::loki::within_limits::{QUERY_TIME_MAX, within_limits};

/// Declares a handler for GET, and one for POST with a form.
macro_rules! handlers {
    ($($(#[doc = $doc:literal])+ $get:ident, $post:ident = $path:literal => $handle:path;)+) => {$(
        $(#[doc = $doc])+
        #[utoipa::path(
            get,
            path = $path,
            tag = "loki",
            responses(
                (status = 200, description = "As Loki answers", body = Value),
                (status = 400, description = "The request is invalid; the text names the error and its position", body = String, content_type = "text/plain"),
                (status = 504, description = "The query took too long", body = String, content_type = "text/plain"),
            )
        )]
        pub(super) async fn $get(
            State(app): State<App>,
            Authenticated(caller): Authenticated,
            headers: HeaderMap,
            FormOrQuery(query): FormOrQuery<RangeQuery>,
        ) -> ApiResult<Response> {
            Ok($handle(&app, &caller, &headers, query).await?.into_response())
        }

        $(#[doc = $doc])+
        #[doc = ""]
        #[doc = "The parameters may also be in a form in the body."]
        #[utoipa::path(
            post,
            path = $path,
            tag = "loki",
            responses(
                (status = 200, description = "As Loki answers", body = Value),
                (status = 400, description = "The request is invalid; the text names the error and its position", body = String, content_type = "text/plain"),
                (status = 504, description = "The query took too long", body = String, content_type = "text/plain"),
            )
        )]
        pub(super) async fn $post(
            State(app): State<App>,
            Authenticated(caller): Authenticated,
            headers: HeaderMap,
            FormOrQuery(query): FormOrQuery<RangeQuery>,
        ) -> ApiResult<Response> {
            Ok($handle(&app, &caller, &headers, query).await?.into_response())
        }
    )+};
}

handlers! {
    /// Runs a LogQL query over a range of time.
    query_range_get, query_range_post = "/loki/api/v1/query_range" => query_range;
    /// Runs a LogQL query of numbers at one instant.
    query_get, query_post = "/loki/api/v1/query" => query;
    /// Returns the names of the labels.
    labels_get, labels_post = "/loki/api/v1/labels" => labels::names;
    /// Returns the names of the labels, as `labels` does.
    label_get, label_post = "/loki/api/v1/label" => labels::names;
    /// Returns the label sets of the streams that match a selector.
    series_get, series_post = "/loki/api/v1/series" => labels::series;
    /// Estimates how much a selector reads.
    stats_get, stats_post = "/loki/api/v1/index/stats" => volume::stats;
    /// Estimates how many bytes the streams of a selector have, by label.
    volume_get, volume_post = "/loki/api/v1/index/volume" => volume::volume;
    /// Estimates how many bytes the streams of a selector have, by label and time.
    volume_range_get, volume_range_post = "/loki/api/v1/index/volume_range" => volume::volume_range;
    /// Counts the values of each label.
    detected_labels_get, detected_labels_post = "/loki/api/v1/detected_labels" => labels::detected;
    /// Returns the fields that a sample of the records has.
    detected_fields_get, detected_fields_post = "/loki/api/v1/detected_fields" => detected::fields;
    /// Returns the patterns of the messages, and how often each was logged over time.
    patterns_get, patterns_post = "/loki/api/v1/patterns" => patterns::patterns;
    /// Writes a LogQL query in a uniform way.
    format_query_get, format_query_post = "/loki/api/v1/format_query" => formatted;
}

/// Returns the values of a label.
#[utoipa::path(
    get,
    path = "/loki/api/v1/label/{name}/values",
    tag = "loki",
    params(("name" = String, Path, description = "The label")),
    responses(
        (status = 200, description = "As Loki answers", body = Value),
        (status = 400, description = "The request is invalid; the text names the error and its position", body = String, content_type = "text/plain"),
        (status = 504, description = "The query took too long", body = String, content_type = "text/plain"),
    )
)]
pub(super) async fn label_values(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
    FormOrQuery(query): FormOrQuery<RangeQuery>,
) -> ApiResult<Json<Value>> {
    labels::values(&app, &caller, &name, query).await
}

/// Returns the values that a field has in a sample of the records.
#[utoipa::path(
    get,
    path = "/loki/api/v1/detected_field/{name}/values",
    tag = "loki",
    params(("name" = String, Path, description = "The field")),
    responses(
        (status = 200, description = "As Loki answers", body = Value),
        (status = 400, description = "The request is invalid; the text names the error and its position", body = String, content_type = "text/plain"),
        (status = 504, description = "The query took too long", body = String, content_type = "text/plain"),
    )
)]
pub(super) async fn detected_field_values(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
    FormOrQuery(query): FormOrQuery<RangeQuery>,
) -> ApiResult<Json<Value>> {
    detected::values(&app, &caller, &name, query).await
}

/// `GET /ready`: the readiness probe under the path that Loki has for it; the same as `/readyz`.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "loki",
    responses((status = 200, description = "The archive is ready", body = String, content_type = "text/plain"), (status = 503, description = "The archive is unavailable, or a background job fails repeatedly", body = ErrorBody))
)]
pub(super) async fn ready(state: State<App>) -> ApiResult<&'static str> {
    health::ready(state).await
}

/// Returns the version of Loki whose API this is.
#[utoipa::path(
    get,
    path = "/loki/api/v1/status/buildinfo",
    tag = "loki",
    responses((status = 200, description = "As Loki answers", body = Value))
)]
pub(super) async fn build_info() -> Json<Value> {
    Json(json!({
        "version": LOKI_VERSION,
        "revision": concat!("runlog-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

/// Returns the limits that Grafana Logs Drilldown requests.
#[utoipa::path(
    get,
    path = "/loki/api/v1/drilldown-limits",
    tag = "loki",
    responses((status = 200, description = "As Loki answers", body = Value))
)]
pub(super) async fn drilldown_limits() -> Json<Value> {
    Json(json!({
        "limits": {
            "discover_log_levels": true,
            "discover_service_name": ["service_name"],
            "log_level_fields": ["detected_level"],
            "max_entries_limit_per_query": parameters::LIMIT_MAX,
            "max_query_series": 500,
            "query_timeout": format!("{}s", QUERY_TIME_MAX.as_secs()),
            "volume_enabled": true,
        },
        "pattern_ingester_enabled": true,
        "version": LOKI_VERSION,
    }))
}

/// The version of Loki after which the API is modelled. Grafana decides by it what it may ask for.
const LOKI_VERSION: &str = "3.4.0";

async fn query_range(app: &App, caller: &Caller, headers: &HeaderMap, query: RangeQuery) -> ApiResult<Json<Value>> {
    match query.expr()? {
        Expr::Log(log) => {
            let range = query.log_range(app.now())?;
            let (order, limit, interval_ms) = (query.order(), query.limit()?, query.interval_ms());
            let wanted = logs::Wanted { range, order, limit, interval_ms };
            let is_categorized = answers::wants_categories(headers);
            within_limits(app, logs::answer(app, caller, &log, wanted, is_categorized)).await
        }
        Expr::Metric(expr) => {
            let steps = query.steps(app.now())?;
            within_limits(app, metrics::answer(app, caller, &expr, steps, true)).await
        }
    }
}

async fn formatted(_: &App, _: &Caller, _: &HeaderMap, query: RangeQuery) -> ApiResult<Json<Value>> {
    let text = query.query.as_deref().unwrap_or_default();
    let formatted = format_query(text).map_err(|error| ApiError::invalid(error.to_string()))?;
    Ok(Json(answers::success(formatted.into())))
}

async fn query(app: &App, caller: &Caller, _: &HeaderMap, query: RangeQuery) -> ApiResult<Json<Value>> {
    match query.expr()? {
        Expr::Log(_) => Err(ApiError::invalid(
            "log queries are not supported as an instant query type, please change your query to a range query type",
        )),
        Expr::Metric(expr) => {
            let steps = query.instant(app.now());
            within_limits(app, metrics::answer(app, caller, &expr, steps, false)).await
        }
    }
}
