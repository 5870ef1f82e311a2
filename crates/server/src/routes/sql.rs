//! `POST /runlog/v1/sql`: a SQL query, answered row by row.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use runlog_model::wire::ErrorBody;
use runlog_model::wire::sql::SqlQuestion;
use runlog_sql::{AnswerFormat, SqlError, SqlErrorKind};
use tracing::warn;

use crate::app::App;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::json::JsonBody;

/// Runs a SQL query on the workspaces on which the caller has the rights Author, Viewer and Executor. The table
/// `tenant_audit_logs` has rows only for callers with the permission `AUDIT_LOGS_VIEW`; administrators have it.
#[utoipa::path(
    post,
    path = "/runlog/v1/sql",
    tag = "analysis",
    request_body(content = SqlQuestion),
    responses(
        (status = 200, description = "The rows, streamed; a truncated response means that the query failed", content((serde_json::Value = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"), (String = "text/plain"), (String = "application/vnd.apache.parquet"))),
        (status = 400, description = "The query is invalid, or exceeds a limit of memory or time; the message contains the position", body = ErrorBody),
    )
)]
pub(crate) async fn ask(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
    JsonBody(question): JsonBody<SqlQuestion>,
) -> ApiResult<Response> {
    let format = match &question.format {
        Some(name) => name.parse().map_err(|error| ApiError::invalid(format!("format: {error}")))?,
        None => accepted(&headers),
    };
    let readable = rights::readable(app.store(), &caller).await?;
    let answer = app.sql().ask(&question.query, readable).await.map_err(refusal)?;
    let mut parts = Box::pin(answer.into_bytes(format));
    // Errors before the first rows are reported with a status; later ones abort the response.
    let first = parts.next().await.transpose().map_err(refusal)?;
    let rest = parts.map(|part| {
        part.map_err(|error| {
            warn!(error = &error as &dyn std::error::Error, "the response of a SQL query was aborted");
            std::io::Error::other(error)
        })
    });
    let body = Body::from_stream(stream::iter(first.map(Ok)).chain(rest));
    let headers = [
        (header::CONTENT_TYPE, format.media_type()),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, body).into_response())
}

/// The first format in `Accept` that is supported.
fn accepted(headers: &HeaderMap) -> AnswerFormat {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kinds = accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let format =
        |kind: &str| AnswerFormat::ALL.into_iter().find(|format| format.media_type().split(';').next() == Some(kind));
    kinds.filter_map(format).next().unwrap_or(AnswerFormat::Json)
}

fn refusal(error: SqlError) -> ApiError {
    let message = error.to_string();
    let detail = error.position().map(|place| format!("line {}, column {}: {}", place.line, place.column, place.text));
    match error.kind() {
        SqlErrorKind::Invalid | SqlErrorKind::TooLarge | SqlErrorKind::TooLong => {
            ApiError { detail, ..ApiError::invalid(message) }
        }
        SqlErrorKind::Busy => ApiError::new(StatusCode::TOO_MANY_REQUESTS, message),
        SqlErrorKind::Archive(_) => ApiError::of_unread_archive(&error),
        SqlErrorKind::Internal => ApiError {
            cause: Some(std::sync::Arc::new(error)),
            ..ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
        },
    }
}
