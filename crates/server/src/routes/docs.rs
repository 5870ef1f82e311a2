//! The description of the API: as a document, and as an interactive page.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use utoipa_swagger_ui::Config;

use crate::http::error::{ApiError, ApiResult};
use crate::http::web::StaticJson;

/// The description of the service: created once from the list of routes, and passed with every request.
pub(crate) struct Documents {
    /// The description of the API.
    pub(crate) openapi: Bytes,
    /// What the service is, and every path.
    pub(crate) about: StaticJson,
}

/// What the pages may load: themselves. The library writes styles into its elements.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

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
pub(crate) async fn file(Path(name): Path<String>) -> ApiResult<Response> {
    let config = Arc::new(Config::from("/openapi.json"));
    let found = utoipa_swagger_ui::serve(&name, config)
        .map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "cannot read the page"))?;
    let file = found.ok_or_else(|| ApiError::not_found("the documentation of the API has no such file; open /docs"))?;
    let headers = [
        (header::CONTENT_TYPE, file.content_type.as_str()),
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, file.bytes.to_vec()).into_response())
}
