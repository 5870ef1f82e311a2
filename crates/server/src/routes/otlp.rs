//! `POST /v1/logs`: log records by OTLP over HTTP, as protobuf or JSON.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use prost::Message;
use runlog_model::RunId;
use runlog_model::place::Right;
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_store::Caller;

use super::{json, records};
use crate::app::App;
use crate::auth::Authenticated;
use crate::error::{ApiError, ApiResult};
use crate::otlp::{RunBatch, sort};
use crate::{access, limits};

/// The two forms of OTLP over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
}

/// Stores the records of each run that is known, or that can be begun; the others are counted in the answer.
pub(crate) async fn export(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    let form = form(&headers)?;
    let body = records::unpacked(body, &headers, limits::OTLP_BODY_BYTES_MAX).await?;
    let sorted = sort(parse(form, &body)?.resource_logs, app.now());
    let (mut rejected, mut why) = (sorted.homeless, sorted.why);
    for (run_id, batch) in sorted.runs {
        let records = batch.records.len() as u64;
        match store(&app, &caller, run_id, batch).await {
            Ok(()) => {}
            // What the archive cannot do now, the exporter must send again; what it will never take, it must not.
            Err(error) if error.status.is_server_error() => return Err(error),
            Err(error) => {
                rejected += records;
                why.get_or_insert(error.message);
            }
        }
    }
    let partial_success = (rejected > 0).then(|| ExportLogsPartialSuccess {
        rejected_log_records: i64::try_from(rejected).unwrap_or(i64::MAX),
        error_message: why.unwrap_or_default(),
    });
    Ok(answer(form, &ExportLogsServiceResponse { partial_success }))
}

async fn store(app: &App, caller: &Caller, run_id: RunId, batch: RunBatch) -> ApiResult<()> {
    match (app.store().run(run_id).await?, batch.task) {
        (Some(run), _) => access::require(app, caller, run.workspace_id, &[Right::Publish]).await?,
        (None, Some(task)) => {
            access::task(app, caller, task, &[Right::Publish]).await?;
            let start = StartRun { start_timestamp: batch.first(), ..StartRun::of_task(task) };
            app.store().start_run(run_id, &start, caller).await?;
        }
        (None, None) => {
            let message = format!("run {run_id} is not known, and no task is named: set the attribute runlog.task.id");
            return Err(ApiError::not_found(message));
        }
    }
    let (ended, last) = (batch.ended, batch.last());
    let mut writer = app.store().begin_batch(run_id, Some(&batch.id())).await?;
    for record in batch.records {
        if let Err(error) = writer.push(record).await {
            writer.abort().await;
            return Err(error.into());
        }
    }
    let stored = writer.commit().await?;
    if !stored.repeated {
        app.metrics().records_in.inc_by(stored.stored);
    }
    if let Some(status) = ended {
        let finish = FinishRun { finish_timestamp: last, ..FinishRun::with_status(status) };
        app.store().finish_run(run_id, &finish).await?;
    }
    Ok(())
}

fn form(headers: &HeaderMap) -> ApiResult<Form> {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/x-protobuf" => Ok(Form::Protobuf),
        "application/json" => Ok(Form::Json),
        _ => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Content-Type {text:?} is not OTLP; send application/x-protobuf or application/json"),
        )),
    }
}

fn parse(form: Form, body: &Bytes) -> ApiResult<ExportLogsServiceRequest> {
    match form {
        Form::Json => json::parse(body),
        Form::Protobuf => ExportLogsServiceRequest::decode(body.clone())
            .map_err(|error| ApiError::invalid(format!("the body is not an ExportLogsServiceRequest: {error}"))),
    }
}

fn answer(form: Form, response: &ExportLogsServiceResponse) -> Response {
    match form {
        Form::Json => axum::Json(response).into_response(),
        Form::Protobuf => {
            ([(header::CONTENT_TYPE, "application/x-protobuf")], response.encode_to_vec()).into_response()
        }
    }
}
