//! The description of the API: as a document, and as an interactive page.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};

use crate::http::error::{ApiError, ApiResult};
use crate::http::web::{self, StaticJson};

/// The descriptions of the service: created once from the list of routes, and passed with every request.
pub(crate) struct Documents {
    /// The OpenAPI description.
    pub(crate) openapi: Bytes,
    /// The name and version of the service, and every path.
    pub(crate) about: StaticJson,
}

/// `GET /openapi.json`: returns the OpenAPI 3.1 description.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "documents",
    responses((status = 200, description = "The OpenAPI description", body = serde_json::Value))
)]
pub(crate) async fn openapi(Extension(documents): Extension<Arc<Documents>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], documents.openapi.clone()).into_response()
}

/// `GET /docs`: redirects to the interactive documentation.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "documents",
    responses((status = 303, description = "Redirect to `/docs/index.html`"))
)]
pub(crate) async fn index() -> Redirect {
    Redirect::to("/docs/index.html")
}

/// `GET /docs/{file}`: serves the interactive documentation and its assets.
#[utoipa::path(
    get,
    path = "/docs/{file}",
    tag = "documents",
    params(("file" = String, Path, description = "`index.html` or one of its assets")),
    responses(
        (status = 200, description = "The requested file", body = String, content_type = "text/html"),
        (status = 404, description = "No such file", body = runlog_model::wire::ErrorBody)
    )
)]
pub(crate) async fn file(Path(name): Path<String>, headers: HeaderMap) -> ApiResult<Response> {
    web::file(&format!("docs/{name}"), &headers)
        .ok_or_else(|| ApiError::not_found("the documentation of the API has no such file; open /docs"))
}
