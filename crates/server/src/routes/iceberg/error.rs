//! Errors of the handlers, in the form of the REST catalog of Apache Iceberg.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::http::error::ApiError;
use crate::http::request::IcebergErrorType;

/// A failure.
pub(crate) struct IcebergError {
    problem: ApiError,
    /// Its type in Iceberg; none: that of its status.
    kind: Option<&'static str>,
}

/// The result of a handler.
pub(super) type IcebergResult<T> = Result<T, IcebergError>;

/// 501 unless the service offers the catalog.
pub(super) fn check_is_on(app: &App) -> IcebergResult<()> {
    match app.store().lake().is_on() {
        true => Ok(()),
        false => Err(IcebergError::is_off()),
    }
}

impl IcebergError {
    /// 404: there is no such namespace, or the caller may not read it.
    pub(super) fn no_namespace(message: impl Into<String>) -> Self {
        Self { problem: ApiError::not_found(message), kind: Some("NoSuchNamespaceException") }
    }

    /// 404: there is no such table.
    pub(super) fn no_table(message: impl Into<String>) -> Self {
        Self { problem: ApiError::not_found(message), kind: Some("NoSuchTableException") }
    }

    /// 404: there is no such warehouse.
    pub(super) fn no_warehouse(message: impl Into<String>) -> Self {
        Self { problem: ApiError::not_found(message), kind: Some("NoSuchWarehouseException") }
    }

    /// 501: the catalog is not offered here.
    fn is_off() -> Self {
        let problem = ApiError::new(StatusCode::NOT_IMPLEMENTED, "this service has no tables for lakehouses")
            .with_detail("start every service of the archive with --iceberg");
        problem.into()
    }

    /// 501: requests are not signed here.
    pub(super) fn has_no_signatures() -> Self {
        let problem =
            ApiError::new(StatusCode::NOT_IMPLEMENTED, "the objects of this archive are not in a bucket of S3")
                .with_detail("read them with credentials of your own");
        problem.into()
    }

    /// 403: the request is not signed.
    pub(super) fn is_not_signed() -> Self {
        let message = "this request is not signed: it does not read an object of a table that you may read";
        let detail = "only GET and HEAD of the files of loaded tables are signed, without a query; load the table again if \
                      it has changed";
        ApiError::forbidden(message).with_detail(detail).into()
    }
}

impl<E: Into<ApiError>> From<E> for IcebergError {
    fn from(error: E) -> Self {
        Self { problem: error.into(), kind: None }
    }
}

impl IntoResponse for IcebergError {
    fn into_response(self) -> Response {
        let mut response = self.problem.into_response();
        if let Some(kind) = self.kind {
            response.extensions_mut().insert(IcebergErrorType(kind));
        }
        response
    }
}
