//! `GET /metrics`: what the service counts, for Prometheus.

use std::error::Error;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};

use crate::app::App;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::metrics::counters::{NodeMetrics, Scrape};
use crate::metrics::exposition::{Compression, ExpositionFormat};
use crate::metrics::process::ProcessMetrics;

/// Exports metrics, as OpenMetrics if the client accepts it, otherwise in the Prometheus text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "service",
    responses((status = 200, description = "Metrics in the format selected by `Accept` (OpenMetrics or Prometheus text), compressed according to `Accept-Encoding`", body = String, content_type = "text/plain"))
)]
pub(crate) async fn show(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
) -> ApiResult<Response> {
    rights::permission(&caller, rights::READ_METRICS)?;
    let (figures, queues) = (app.archive_figures().await?, app.queue_figures().await?);
    let scrape = Scrape {
        archive: &figures,
        upstreams: &queues.value.upstreams,
        collectors: &app.store().collection().collectors(runlog_store::limits::COLLECTOR_TTL_MS).await?,
        sinks: &queues.value.sinks,
        alerts: &queues.value.alerts,
        node: &node_figures(&app).await,
        now: app.now(),
        is_by_task: app.settings().metrics_by_task,
    };
    let (format, compression) = (ExpositionFormat::wanted(&headers), Compression::wanted(&headers));
    let text = app.metrics().text(&scrape).map_err(encoding_failed)?;
    let body = compression.pack(format.of(text)).await.map_err(encoding_failed)?;
    let packed = compression.name().map(|name| AppendHeaders([(header::CONTENT_ENCODING, name)]));
    let of_format = [(header::CONTENT_TYPE, format.content_type()), (header::VARY, "accept, accept-encoding")];
    Ok((of_format, packed, body).into_response())
}

async fn node_figures(app: &App) -> NodeMetrics {
    let memory = app.body_memory();
    NodeMetrics {
        background: app.store().supervisor().states(),
        store: app.store().node_metrics(),
        bodies_held: memory.held_bytes(),
        bodies_max: memory.bytes(),
        concurrency: [
            ("searches", app.searches().in_use()),
            ("page_reads", app.page_reads().in_use()),
            ("downloads", app.downloads().in_use()),
        ],
        // Files of `/proc` respond quickly, but reading files blocks.
        process: tokio::task::spawn_blocking(ProcessMetrics::read).await.unwrap_or_default(),
        started_at: app.started_at(),
    }
}

fn encoding_failed(error: impl Error + Send + Sync + 'static) -> ApiError {
    ApiError {
        cause: Some(Arc::new(error)),
        ..ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics have no text")
    }
}
