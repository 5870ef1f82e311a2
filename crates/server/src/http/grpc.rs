//! Calls of gRPC with one message in each direction, over the HTTP/2 of the service.
//!
//! A message is preceded by five bytes: whether it is compressed, and its length. The status is in the trailers, or in
//! the headers of a response without a message. Source: "gRPC over HTTP2" of the gRPC project.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Buf, BufMut, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use http_body::Frame;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message;

use crate::http::error::{ApiError, ApiResult};
use crate::http::request::{ReportedError, media_type};

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// Length of the prefix of a message. Unit: bytes.
const PREFIX_BYTES: usize = 5;

/// Characters that a status message may not contain as they are.
const NOT_IN_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// When a call may be repeated if nothing else is known. Unit: seconds.
const RETRY_AFTER_USUAL: u64 = 1;

/// Codes of gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    InvalidArgument = 3,
    NotFound = 5,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// `google.rpc.Status`, for the details of an error.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<RetryDelay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct RetryDelay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// True for a call of gRPC whose messages are protobuf.
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    matches!(media_type(headers).as_str(), "application/grpc" | "application/grpc+proto")
}

/// The message of a call as a body of HTTP, with the headers that say how it is compressed. 400 if it is not one
/// message.
pub(crate) async fn message(headers: &HeaderMap, body: Body) -> ApiResult<(HeaderMap, Body)> {
    let mut chunks = body.into_data_stream();
    let mut begin = BytesMut::new();
    while begin.len() < PREFIX_BYTES {
        match chunks.next().await {
            Some(Ok(chunk)) => begin.extend_from_slice(&chunk),
            Some(Err(_)) | None => return Err(ApiError::invalid("the call contains no message")),
        }
    }
    let is_compressed = begin.get_u8();
    let length = u64::from(begin.get_u32());
    let mut plain = HeaderMap::new();
    match is_compressed {
        0 => {}
        1 => {
            let encoding = headers.get("grpc-encoding").cloned().unwrap_or(HeaderValue::from_static("?"));
            plain.insert(header::CONTENT_ENCODING, encoding);
        }
        _ => return Err(ApiError::invalid("the prefix of the message is not one of gRPC")),
    }
    let chunks = stream::iter([Ok(begin.freeze())]).chain(chunks.map_err(std::io::Error::other));
    let chunks = stream::try_unfold((Box::pin(chunks), length), |(mut chunks, rest)| async move {
        match chunks.try_next().await? {
            Some(chunk) => match rest.checked_sub(chunk.len() as u64) {
                Some(rest) => Ok(Some((chunk, (chunks, rest)))),
                None => Err(std::io::Error::other("the call contains more than one message")),
            },
            None if rest == 0 => Ok(None),
            None => Err(std::io::Error::other("the message of the call is cut off")),
        }
    });
    Ok((plain, Body::from_stream(chunks)))
}

/// The response to a call that was successful.
pub(crate) fn answer(message: &[u8]) -> Response {
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    bytes.put_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = MessageBody { message: Some(bytes.freeze()), trailers: Some(trailers) };
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], Body::new(body)).into_response()
}

/// Middleware: an error in response to a call becomes a status of gRPC.
pub(crate) async fn with_status(request: Request, next: Next) -> Response {
    let is_call = is_call(request.headers());
    let mut response = next.run(request).await;
    if !is_call || response.status().is_success() {
        return response;
    }
    let status = response.status();
    let error = response.extensions_mut().remove::<ApiError>();
    let error = error.unwrap_or_else(|| ApiError::new(status, status.canonical_reason().unwrap_or("failed")));
    let mut answer = refusal(&error);
    *answer.extensions_mut() = std::mem::take(response.extensions_mut());
    answer.extensions_mut().insert(ReportedError(error));
    answer
}

/// The response to a call that failed.
fn refusal(error: &ApiError) -> Response {
    let code = code_of(error.status);
    let message = match &error.detail {
        Some(detail) => format!("{}; {detail}", error.message),
        None => error.message.clone(),
    };
    let is_repeatable = matches!(error.status.as_u16(), 429 | 503);
    let seconds = error.retry_after.unwrap_or(RETRY_AFTER_USUAL);
    let retry =
        RetryInfo { retry_delay: Some(RetryDelay { seconds: i64::try_from(seconds).unwrap_or(i64::MAX), nanos: 0 }) };
    let details = is_repeatable
        .then(|| Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value: retry.encode_to_vec() });
    let status = Status { code: code as i32, message: message.clone(), details: details.into_iter().collect() };
    let mut response = ([(header::CONTENT_TYPE, CONTENT_TYPE)], Body::empty()).into_response();
    let headers = response.headers_mut();
    headers.insert("grpc-status", HeaderValue::from(code as i32));
    let text = utf8_percent_encode(&message, NOT_IN_MESSAGE).to_string();
    headers.insert("grpc-message", HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("failed")));
    if let Ok(details) = HeaderValue::from_str(&STANDARD_NO_PAD.encode(status.encode_to_vec())) {
        headers.insert("grpc-status-details-bin", details);
    }
    response
}

/// The code for a status of HTTP. OTLP repeats a call that is unavailable, and one whose resources are exhausted if
/// RetryInfo says so.
fn code_of(status: StatusCode) -> Code {
    match status.as_u16() {
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        // A message that is too large would be as large the next time.
        413 => Code::InvalidArgument,
        415 | 501 => Code::Unimplemented,
        429 => Code::ResourceExhausted,
        408 | 502..=504 => Code::Unavailable,
        500..=599 => Code::Internal,
        _ => Code::InvalidArgument,
    }
}

/// A message, and the trailers after it.
struct MessageBody {
    message: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl HttpBody for MessageBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = match self.message.take() {
            Some(message) => Some(Frame::data(message)),
            None => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(next.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.message.is_none() && self.trailers.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8], parts: usize) -> Result<Vec<u8>, String> {
        let chunks: Vec<_> =
            bytes.chunks(parts).map(|part| Ok::<_, std::io::Error>(Bytes::copy_from_slice(part))).collect();
        let (_, body) =
            message(&HeaderMap::new(), Body::from_stream(stream::iter(chunks))).await.map_err(|e| e.message)?;
        axum::body::to_bytes(body, 1_000).await.map(|bytes| bytes.to_vec()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_message_is_read_in_whatever_parts_it_arrives() {
        for parts in 1..8 {
            assert_eq!(read(b"\0\0\0\0\x03abc", parts).await.unwrap(), b"abc");
            assert_eq!(read(b"\0\0\0\0\0", parts).await.unwrap(), b"");
            assert!(read(b"\0\0\0\0\x03abcd", parts).await.is_err());
            assert!(read(b"\0\0\0\0\x03ab", parts).await.is_err());
            assert!(read(b"\0\0\0", parts).await.unwrap_err().contains("no message"));
            assert!(read(b"\x07\0\0\0\0", parts).await.unwrap_err().contains("prefix"));
        }
    }

    #[test]
    fn an_error_is_a_status_with_the_time_to_retry() {
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "grün, 100 %\nnow").retried_after(7);
        let response = refusal(&error);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!((header("grpc-status"), header("grpc-message")), ("14".into(), "gr%C3%BCn, 100 %25%0Anow".into()));
        let status = STANDARD_NO_PAD.decode(header("grpc-status-details-bin")).unwrap();
        let status = Status::decode(status.as_slice()).unwrap();
        assert_eq!(RetryInfo::decode(status.details[0].value.as_slice()).unwrap().retry_delay.unwrap().seconds, 7);
        let refused = refusal(&ApiError::forbidden("no"));
        assert_eq!(refused.headers()["grpc-status"], "7");
    }
}
