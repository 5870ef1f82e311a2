//! JSON bodies of requests: bounded, and with errors that name the field.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::http::error::{ApiError, ApiResult};

/// A body of JSON, whatever its `Content-Type` says.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> ApiResult<Self> {
        let bytes = read(request.into_body(), app.settings().bounds.body_bytes_max).await?;
        parse(&bytes).map(Self)
    }
}

/// Reads a short body whole.
pub(crate) async fn read(body: Body, bytes_max: usize) -> ApiResult<Bytes> {
    axum::body::to_bytes(body, bytes_max).await.map_err(|error| {
        let is_too_long = std::error::Error::source(&error).is_some_and(|cause| cause.to_string().contains("limit"));
        match is_too_long {
            true => ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {bytes_max} bytes")),
            false => ApiError::invalid("the body broke off before its end; send it again"),
        }
    })
}

/// Reads JSON; 400 says what is wrong and where.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> ApiResult<T> {
    serde_json::from_slice(bytes).map_err(|error| ApiError::invalid(format!("the body: {error}")))
}
