//! The rules of Loki's ruler, which the archive does not have. Grafana asks every data source of Loki for them.

use axum::Json;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::http::error::{ApiError, ApiResult};

/// Returns the rules that Loki evaluates, by namespace: none.
#[utoipa::path(
    get,
    path = "/loki/api/v1/rules",
    tag = "loki",
    responses((status = 200, description = "An empty object in YAML", body = Value, content_type = "application/yaml"))
)]
pub(in crate::routes) async fn rules() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/yaml")], "{}\n")
}

/// Returns the rules that Loki evaluates, as `/loki/api/v1/rules` does, at the address that Grafana asks.
#[utoipa::path(
    get,
    path = "/api/prom/rules",
    tag = "loki",
    responses((status = 200, description = "An empty object in YAML", body = Value, content_type = "application/yaml"))
)]
pub(in crate::routes) async fn rules_of_grafana() -> impl IntoResponse {
    rules().await
}

/// Responds 404, by which Grafana recognises that the data source has no rules to edit.
#[utoipa::path(
    get,
    path = "/api/prom/rules/{namespace}/{group}",
    tag = "loki",
    params(("namespace" = String, Path, description = "The namespace"), ("group" = String, Path, description = "The group")),
    responses((status = 404, description = "The archive evaluates no rules", body = String, content_type = "text/plain"))
)]
pub(in crate::routes) async fn group_of_rules(Path(_): Path<(String, String)>) -> ApiResult<()> {
    // Grafana looks for `page not found` in the message.
    let message = "page not found: the archive evaluates no rules; create alert rules that Grafana manages";
    Err(ApiError::new(StatusCode::NOT_FOUND, message))
}

/// Returns the rules and their state, in the form of Prometheus: none.
#[utoipa::path(
    get,
    path = "/prometheus/api/v1/rules",
    tag = "loki",
    responses((status = 200, description = "No groups", body = Value))
)]
pub(in crate::routes) async fn states_of_rules() -> Json<Value> {
    Json(json!({"status": "success", "data": {"groups": []}, "errorType": "", "error": ""}))
}

/// Returns the alerts that Loki has raised, in the form of Prometheus: none.
#[utoipa::path(
    get,
    path = "/prometheus/api/v1/alerts",
    tag = "loki",
    responses((status = 200, description = "No alerts", body = Value))
)]
pub(in crate::routes) async fn alerts() -> Json<Value> {
    Json(json!({"status": "success", "data": {"alerts": []}, "errorType": "", "error": ""}))
}
