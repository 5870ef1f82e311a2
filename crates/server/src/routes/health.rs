//! Liveness, readiness, and the description of the service.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use runlog_model::wire::ErrorBody;
use runlog_store::supervise::WorkState;

use super::docs::Documents;
use crate::app::App;
use crate::http::error::{ApiError, ApiResult};
use crate::http::web;

/// `GET /healthz`: liveness probe.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "service",
    responses((status = 200, description = "The process is alive", body = String, content_type = "text/plain"))
)]
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: readiness probe; checks that the catalog and the objects responded within the last seconds, and that
/// no background job fails repeatedly.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "service",
    responses((status = 200, description = "The catalog and the objects are available, and background jobs work", body = String, content_type = "text/plain"), (status = 503, description = "The archive is unavailable, or a background job fails repeatedly", body = ErrorBody))
)]
pub(crate) async fn ready(State(app): State<App>) -> ApiResult<&'static str> {
    app.check().await.map_err(|error| ApiError {
        status: StatusCode::SERVICE_UNAVAILABLE,
        message: "the archive does not respond; check its disk and the log of the service".to_owned(),
        ..ApiError::from(error)
    })?;
    let down: Vec<String> =
        app.store().supervisor().states().into_iter().filter(WorkState::is_down).map(|it| it.name).collect();
    if !down.is_empty() {
        let message = format!("background jobs fail repeatedly: {}; see the log of the service", down.join(", "));
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message));
    }
    Ok("ready\n")
}

/// `GET /`: lists the paths of the API; serves the web UI to browsers.
#[utoipa::path(
    get,
    path = "/",
    tag = "service",
    responses((status = 200, description = "List of paths; or the web UI, for clients that accept HTML", body = serde_json::Value))
)]
pub(crate) async fn about(Extension(documents): Extension<Arc<Documents>>, headers: HeaderMap) -> Response {
    match web::wants_html(&headers) {
        true => web::index(&headers),
        false => documents.about.answer(&headers),
    }
}
