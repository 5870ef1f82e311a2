//! JSON bodies of requests: limited in size, and with errors that name the field.

use axum::body::{Body, Bytes};
use axum::extract::{FromRef, FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use crate::http::error::{ApiError, ApiResult};
use crate::limits::Bounds;

/// A JSON body, whatever its `Content-Type`.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T>
where
    Bounds: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> ApiResult<Self> {
        let bytes = read(request.into_body(), Bounds::from_ref(state).body_bytes_max).await?;
        parse(&bytes).map(Self)
    }
}

/// Reads a short body completely.
pub(crate) async fn read(body: Body, bytes_max: usize) -> ApiResult<Bytes> {
    axum::body::to_bytes(body, bytes_max).await.map_err(|error| {
        let is_too_long = std::error::Error::source(&error).is_some_and(|cause| cause.to_string().contains("limit"));
        match is_too_long {
            true => ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {bytes_max} bytes")),
            false => ApiError::invalid("the body is truncated; send it again"),
        }
    })
}

/// Parses JSON, with or without a byte order mark; 400 with the error and its position.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    serde_json::from_slice(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))
        .map_err(|error| ApiError::invalid(format!("the body: {error}")))
}
