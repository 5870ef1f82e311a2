//! The description of the API: as a document, and to look at and try in a browser.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};

use crate::http::error::{ApiError, ApiResult};
use crate::http::web::{self, StaticJson};

/// What the service says of itself: made once, from the list of routes, and handed in with every request.
pub(crate) struct Documents {
    /// The description of the API.
    pub(crate) openapi: Bytes,
    /// What the service is, and every path.
    pub(crate) about: StaticJson,
}

/// `GET /openapi.json`: the description, OpenAPI 3.1.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "documents",
    responses((status = 200, description = "The description", body = serde_json::Value))
)]
pub(crate) async fn openapi(Extension(documents): Extension<Arc<Documents>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], documents.openapi.clone()).into_response()
}

/// `GET /docs`: leads to the page.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "documents",
    responses((status = 303, description = "To `/docs/index.html`"))
)]
pub(crate) async fn index() -> Redirect {
    Redirect::to("/docs/index.html")
}

/// `GET /docs/{file}`: the page and its parts.
#[utoipa::path(
    get,
    path = "/docs/{file}",
    tag = "documents",
    params(("file" = String, Path, description = "`index.html` and what it names")),
    responses(
        (status = 200, description = "A part of the page", body = String, content_type = "text/html"),
        (status = 404, description = "There is no such part", body = runlog_model::wire::ErrorBody)
    )
)]
pub(crate) async fn file(Path(name): Path<String>, headers: HeaderMap) -> ApiResult<Response> {
    web::file(&format!("docs/{name}"), &headers)
        .ok_or_else(|| ApiError::not_found("the description of the API has no such part; open /docs"))
}
