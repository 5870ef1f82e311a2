//! Whether the service lives, whether it can work, and what it is.

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

/// `GET /healthz`: the process answers.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "service",
    responses((status = 200, description = "The process answers", body = String, content_type = "text/plain"))
)]
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: catalog and objects answer as well, as far as was seen within the last seconds, and the work in the
/// background goes on.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "service",
    responses((status = 200, description = "Catalog and objects answer as well, and the work in the background goes on", body = String, content_type = "text/plain"), (status = 503, description = "They do not", body = ErrorBody))
)]
pub(crate) async fn ready(State(app): State<App>) -> ApiResult<&'static str> {
    app.check().await.map_err(|error| ApiError {
        status: StatusCode::SERVICE_UNAVAILABLE,
        message: "the archive does not answer; look at its disk and its log".to_owned(),
        ..ApiError::from(error)
    })?;
    let down: Vec<String> =
        app.store().supervisor().states().into_iter().filter(WorkState::is_down).map(|it| it.name).collect();
    if !down.is_empty() {
        let message = format!("this fails again and again: {}; the service's log says why", down.join(", "));
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message));
    }
    Ok("ready\n")
}

/// `GET /`: what this is; for a browser, the web UI.
#[utoipa::path(
    get,
    path = "/",
    tag = "service",
    responses((status = 200, description = "What this is, and every path; or the web UI, for clients that accept HTML", body = serde_json::Value))
)]
pub(crate) async fn about(Extension(documents): Extension<Arc<Documents>>, headers: HeaderMap) -> Response {
    match web::wants_html(&headers) {
        true => web::index(&headers),
        false => documents.about.answer(&headers),
    }
}
