//! `POST /v1/logs`: log records by OTLP over HTTP, as protobuf or JSON; and the same over gRPC.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use prost::Message;
use runlog_model::wire::ErrorBody;
use runlog_store::accounts::Caller;

use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::grpc;
use crate::http::request::media_type;
use crate::ingest::body::read_whole;
use crate::ingest::body_memory::MemoryReservation;
use crate::ingest::decoded_size;
use crate::ingest::intake::Sender;
use crate::ingest::otlp::{Request, group_by_run};
use crate::ingest::otlp_json;
use crate::ingest::otlp_partial;

/// The two encodings of OTLP over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OtlpEncoding {
    Protobuf,
    Json,
}

/// Stores records of runs that exist or can be started; rejected records are counted in the response.
#[utoipa::path(
    post,
    path = "/v1/logs",
    tag = "push",
    request_body(content = serde_json::Value, description = "ExportLogsServiceRequest as JSON or protobuf (`application/x-protobuf`); optionally compressed with gzip or zstd"),
    responses((status = 200, description = "ExportLogsServiceResponse, with `partialSuccess` if some records were rejected", body = serde_json::Value), (status = 415, description = "The content type is not one of OTLP", body = ErrorBody))
)]
pub(crate) async fn export(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    change: AuditedChange,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    let encoding = encoding(&headers)?;
    rights::publisher(app.store(), &caller).await?;
    Ok(answer(encoding, &store(&app, &caller, &change, encoding, &headers, body).await?))
}

/// `/opentelemetry.proto.collector.logs.v1.LogsService/Export`: the same over gRPC, which needs HTTP/2.
#[utoipa::path(
    post,
    path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    tag = "push",
    request_body(content = String, content_type = "application/grpc", description = "The call of OTLP over gRPC: an ExportLogsServiceRequest, optionally compressed with gzip"),
    responses((status = 200, description = "An ExportLogsServiceResponse, with `partial_success` if some records were rejected; errors have a gRPC status, and RetryInfo if the call may be repeated", content_type = "application/grpc", body = String), (status = 415, description = "The content type is not that of gRPC", body = ErrorBody))
)]
pub(crate) async fn export_grpc(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    change: AuditedChange,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    if !grpc::is_call(&headers) {
        let message = "this is a method of gRPC; send application/grpc over HTTP/2, or use /v1/logs";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    rights::publisher(app.store(), &caller).await?;
    let (headers, message) = grpc::message(&headers, body).await?;
    let response = store(&app, &caller, &change, OtlpEncoding::Protobuf, &headers, message).await?;
    Ok(grpc::answer(&response.encode_to_vec()))
}

/// Stores the records of a body.
async fn store(
    app: &App,
    caller: &Caller,
    change: &AuditedChange,
    encoding: OtlpEncoding,
    headers: &HeaderMap,
    body: Body,
) -> ApiResult<ExportLogsServiceResponse> {
    let (body, mut memory) = read_whole(body, headers, &app.settings().bounds, app.body_memory().reservation()).await?;
    let request = parse(encoding, body.clone(), &mut memory).await?;
    let sender = Sender { store: app.store(), metrics: app.metrics(), caller, change };
    let intake = group_by_run(request, &app.settings().otlp, app.now(), &mut memory).await?;
    let outcome = intake.store(&sender, &body).await?;
    let mended =
        format!("{} texts had invalid characters (UTF-8, surrogate pairs), which were replaced", outcome.repaired);
    let mended = (outcome.repaired > 0).then_some(mended);
    let said: Vec<String> = outcome.refused.why.into_iter().chain(mended).collect();
    // In OTLP, a message without rejected records is a warning.
    let partial_success = (!said.is_empty()).then(|| ExportLogsPartialSuccess {
        rejected_log_records: i64::try_from(outcome.refused.count).unwrap_or(i64::MAX),
        error_message: said.join("; "),
    });
    Ok(ExportLogsServiceResponse { partial_success })
}

fn encoding(headers: &HeaderMap) -> ApiResult<OtlpEncoding> {
    match media_type(headers).as_str() {
        "application/x-protobuf" => Ok(OtlpEncoding::Protobuf),
        "application/json" => Ok(OtlpEncoding::Json),
        other => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Content-Type {other:?} is not OTLP; send application/x-protobuf or application/json"),
        )),
    }
}

/// Decodes a body, once there is memory for its decoded form.
async fn parse(encoding: OtlpEncoding, body: Bytes, memory: &mut MemoryReservation) -> ApiResult<Request> {
    let decoded_bytes = match encoding {
        OtlpEncoding::Json => decoded_size::of_otlp_json(&body, memory.decoded_bytes_max()),
        OtlpEncoding::Protobuf => decoded_size::of_otlp(&body, memory.decoded_bytes_max())?,
    };
    memory.reserve_decoded(decoded_bytes).await?;
    match encoding {
        OtlpEncoding::Json => otlp_json::read(&body),
        OtlpEncoding::Protobuf => match ExportLogsServiceRequest::decode(body.clone()) {
            // Resource logs without scopes may have the field of old exporters.
            Ok(request) if request.resource_logs.iter().all(|resource| !resource.scope_logs.is_empty()) => {
                Ok(Request { resources: request.resource_logs, ..Request::default() })
            }
            _ => otlp_partial::read(body),
        },
    }
}

fn answer(encoding: OtlpEncoding, response: &ExportLogsServiceResponse) -> Response {
    match encoding {
        OtlpEncoding::Json => axum::Json(response).into_response(),
        OtlpEncoding::Protobuf => {
            ([(header::CONTENT_TYPE, "application/x-protobuf")], response.encode_to_vec()).into_response()
        }
    }
}
