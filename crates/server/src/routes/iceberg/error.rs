//! Errors of the handlers, in the form of the REST catalog of Apache Iceberg.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::http::error::ApiError;
use crate::http::request::IcebergErrorType;

/// A failure, and its type in Iceberg.
pub(crate) struct IcebergError {
    problem: ApiError,
    kind: &'static str,
}

/// The result of a handler.
pub(super) type IcebergResult<T> = Result<T, IcebergError>;

impl IcebergError {
    /// 404: there is no such namespace, or the caller may not read it.
    pub(super) fn no_namespace(message: impl Into<String>) -> Self {
        Self { problem: ApiError::not_found(message), kind: "NoSuchNamespaceException" }
    }

    /// 404: there is no such table.
    pub(super) fn no_table(message: impl Into<String>) -> Self {
        Self { problem: ApiError::not_found(message), kind: "NoSuchTableException" }
    }

    /// 404: there is no such warehouse.
    pub(super) fn no_warehouse(message: impl Into<String>) -> Self {
        Self { problem: ApiError::not_found(message), kind: "NoSuchWarehouseException" }
    }

    /// 501: the catalog is not offered here.
    pub(super) fn is_off() -> Self {
        let problem = ApiError::new(StatusCode::NOT_IMPLEMENTED, "this service has no tables for lakehouses")
            .with_detail("start every service of the archive with --iceberg");
        Self { problem, kind: "UnsupportedOperationException" }
    }
}

impl<E: Into<ApiError>> From<E> for IcebergError {
    fn from(error: E) -> Self {
        let problem: ApiError = error.into();
        let kind = match problem.status {
            StatusCode::BAD_REQUEST => "BadRequestException",
            StatusCode::UNAUTHORIZED => "NotAuthorizedException",
            StatusCode::FORBIDDEN => "ForbiddenException",
            StatusCode::NOT_FOUND => "NotFoundException",
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => "ServiceUnavailableException",
            _ => "InternalServerError",
        };
        Self { problem, kind }
    }
}

impl IntoResponse for IcebergError {
    fn into_response(self) -> Response {
        let mut response = self.problem.into_response();
        response.extensions_mut().insert(IcebergErrorType(self.kind));
        response
    }
}
