//! Whether the service lives, whether it can work, and what it is.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use runlog_model::wire::ErrorBody;
use runlog_store::supervise::WorkState;
use serde_json::json;

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
pub(crate) async fn about(State(app): State<App>, headers: HeaderMap) -> Response {
    match web::wants_html(&headers) {
        true => web::index(&headers),
        false => app.about().answer(&headers),
    }
}

/// What the service is, and every path, as JSON. Describing every route takes some milliseconds: it is done once.
pub(crate) fn about_text() -> String {
    let paths: Vec<String> = super::routes().iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    let about = json!({
        "name": "Runlog",
        "version": env!("CARGO_PKG_VERSION"),
        "about": "An archive of run logs, behind the run-log API of Talend Cloud",
        "paths": paths,
    });
    about.to_string()
}
