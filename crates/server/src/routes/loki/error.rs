//! Errors of the handlers: plain text, as those of Loki.

use axum::response::{IntoResponse, Response};

use crate::http::error::ApiError;
use crate::http::request::PlainTextError;

/// A failure, whose response is plain text.
pub(crate) struct LokiError(pub(super) ApiError);

/// The result of a handler.
pub(super) type LokiResult<T> = Result<T, LokiError>;

impl<E: Into<ApiError>> From<E> for LokiError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl LokiError {
    /// 400: the request is invalid; the message says what and where.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self(ApiError::invalid(message))
    }
}

impl IntoResponse for LokiError {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        response.extensions_mut().insert(PlainTextError);
        response
    }
}
