//! Whether the service lives, whether it can work, and what it is.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::app::App;
use crate::error::{ApiError, ApiResult};

/// `GET /healthz`: the process answers.
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: catalog and objects answer as well.
pub(crate) async fn ready(State(app): State<App>) -> ApiResult<&'static str> {
    let check = app.store().check().await;
    check.map(|()| "ready\n").map_err(|error| ApiError {
        status: StatusCode::SERVICE_UNAVAILABLE,
        message: "the archive does not answer; look at its disk and its log".to_owned(),
        ..ApiError::from(error)
    })
}

/// `GET /`: what this is.
pub(crate) async fn about() -> Json<Value> {
    let paths: Vec<String> = super::routes().iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    Json(json!({
        "name": "Runlog",
        "version": env!("CARGO_PKG_VERSION"),
        "about": "An archive of run logs, behind the run-log API of Talend Cloud",
        "paths": paths,
    }))
}
