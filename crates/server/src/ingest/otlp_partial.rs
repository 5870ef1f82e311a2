//! Decodes OTLP requests in protobuf part by part if they cannot be decoded as a whole, so that an invalid record does
//! not affect the others.
//!
//! Strings that are not UTF-8 are repaired; records that still cannot be decoded are rejected individually.

use axum::body::Bytes;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use crate::http::error::{ApiError, ApiResult};
use crate::ingest::decoded_size;
use crate::ingest::otlp::Request;

/// `ExportLogsServiceRequest`, with encoded parts.
#[derive(Clone, PartialEq, Message)]
struct RawRequest {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    resource_logs: Vec<Bytes>,
}

/// `ResourceLogs`.
#[derive(Clone, PartialEq, Message)]
struct RawResourceLogs {
    #[prost(bytes = "bytes", tag = "1")]
    resource: Bytes,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    scope_logs: Vec<Bytes>,
    /// The same of old exporters.
    #[prost(bytes = "bytes", repeated, tag = "1000")]
    instrumentation_library_logs: Vec<Bytes>,
}

/// `ScopeLogs`.
#[derive(Clone, PartialEq, Message)]
struct RawScopeLogs {
    #[prost(bytes = "bytes", tag = "1")]
    scope: Bytes,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    log_records: Vec<Bytes>,
}

/// Decodes a request part by part. 400 if it is not a request.
pub(crate) fn read(body: Bytes) -> ApiResult<Request> {
    let wrong =
        |error: prost::DecodeError| ApiError::invalid(format!("the body is not an ExportLogsServiceRequest: {error}"));
    let mut request = Request::default();
    for resource_logs in RawRequest::decode(body).map_err(wrong)?.resource_logs {
        match RawResourceLogs::decode(resource_logs) {
            Ok(raw) => read_resource_logs(raw, &mut request),
            Err(error) => request.refused.add(1, format!("a resource does not decode: {error}")),
        }
    }
    Ok(request)
}

fn read_resource_logs(raw: RawResourceLogs, request: &mut Request) {
    let Request { resources, refused, repaired } = request;
    let resource = mended::<Resource>(raw.resource, decoded_size::Message::Resource, repaired);
    let mut scope_logs = Vec::new();
    for scope in raw.scope_logs.into_iter().chain(raw.instrumentation_library_logs) {
        let raw = match RawScopeLogs::decode(scope) {
            Ok(raw) => raw,
            Err(error) => {
                refused.add(1, format!("a scope does not decode: {error}"));
                continue;
            }
        };
        let scope = mended::<InstrumentationScope>(raw.scope, decoded_size::Message::Scope, repaired);
        let (Ok(_), Ok(scope)) = (&resource, scope) else {
            refused.add(raw.log_records.len() as u64, "their resource or scope does not decode".to_owned());
            continue;
        };
        let mut log_records = Vec::new();
        for log in raw.log_records {
            match mended::<LogRecord>(log, decoded_size::Message::LogRecord, repaired) {
                Ok(log) => log_records.push(log),
                Err(error) => refused.add(1, format!("a record does not decode: {error}")),
            }
        }
        scope_logs.push(ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() });
    }
    resources.push(ResourceLogs { resource: resource.ok(), scope_logs, ..ResourceLogs::default() });
}

/// Decodes a part, with repaired strings if necessary.
fn mended<M: Message + Default>(
    part: Bytes,
    message: decoded_size::Message,
    repaired: &mut u64,
) -> Result<M, prost::DecodeError> {
    M::decode(part.clone()).or_else(|error| {
        let mut texts = 0;
        let Some(mended) = decoded_size::with_whole_texts(&part, message, &mut texts) else { return Err(error) };
        let decoded = M::decode(mended.as_slice())?;
        *repaired += texts;
        Ok(decoded)
    })
}
