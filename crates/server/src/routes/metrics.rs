//! `GET /metrics`: what the service counts, for Prometheus.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::access;
use crate::app::App;
use crate::auth::Authenticated;
use crate::error::{ApiError, ApiResult};
use crate::metrics::NodeFigures;

/// The permission to read metrics; they name every task.
pub(crate) const READ_METRICS: &str = "RUNLOG_METRICS";

/// Everything as text in the OpenMetrics form.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "service",
    responses((status = 200, description = "Figures in the OpenMetrics form", body = String, content_type = "application/openmetrics-text"))
)]
pub(crate) async fn show(State(app): State<App>, Authenticated(caller): Authenticated) -> ApiResult<Response> {
    access::permission(&caller, READ_METRICS)?;
    let figures = app.figures().await?;
    let mut upstreams = Vec::new();
    for name in app.store().collected_upstreams().await? {
        upstreams.push(app.store().collection_figures(&name).await?);
    }
    let collectors = app.store().collectors(runlog_store::limits::COLLECTOR_LIFE_MS).await?;
    let sinks = app.store().delivery_figures().await?;
    let node = NodeFigures { background: app.store().supervisor().states() };
    let text =
        app.metrics().text(&figures, &upstreams, &collectors, &sinks, &node, app.now()).map_err(|error| ApiError {
            cause: Some(std::sync::Arc::new(error)),
            ..ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics have no text")
        })?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}
