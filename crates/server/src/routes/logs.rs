//! `/monitoring/executions/{id}/logs`: pages of a run's log as files, and live.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::{Extension, Json};
use runlog_model::wire::logs::{
    DeletedLogBody, FileStatus, GeneratedLog, LOG_RECORDS_HEADER, LOG_SETTLED_HEADER, LivePage, LogStatus,
    NEXT_END_HEADER,
};
use runlog_model::workspaces::Right;
use runlog_model::{FileFormat, PageEnd, Record, RecordOrder, TimeRange};
use runlog_store::logs::LiveQuery;
use runlog_store::pages::{PageRequest, PageStatus};
use runlog_store::runs::RunBrief;
use serde::Deserialize;

use crate::app::App;
use crate::auth::audit::{AlreadyAudited, AuditDraft, AuditedChange};
use crate::auth::links;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::json;
use crate::http::parameter_types::NumberOr;
use crate::http::parameters::{Query, query_parameters};
use crate::limits;

query_parameters! {
    /// Parameters of a page that is requested as a file.
    pub(crate) struct PageFileQuery {
        ..range: TimeRange,
        /// `JSON` (the default) or `TEXT`, case-insensitive.
        file_format: Option<FileFormat> = "fileFormat",
        /// If `true`, the file is named `taskId_executionId.log`.
        new_file_name: bool = "newFileName",
        /// Order of the records in the file: `DESC` (the default) or `ASC`, case-insensitive; an extension of Runlog.
        order: Option<RecordOrder> = "order",
    }
}

query_parameters! {
    /// Parameters of records that are returned directly.
    pub(crate) struct LivePageQuery {
        ..range: TimeRange,
        /// Number of records.
        count: NumberOr<0, { limits::LIVE_PAGE_MAX }, { limits::LIVE_PAGE_DEFAULT }> = "count",
        /// Number of records to skip.
        start_index: NumberOr<0, { u64::MAX }, 0> = "startIndex",
        /// `DESC` (the default, newest first) or `ASC`, case-insensitive.
        order: Option<RecordOrder> = "order",
    }
}

/// `POST …/logs`: requests the newest page of a range; 206 with a header if older records remain.
#[utoipa::path(
    post,
    path = "/monitoring/executions/{id}/logs",
    tag = "run logs",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    responses((status = 200, description = "The file contains the whole range", body = GeneratedLog, headers(("x-runlog-log-records" = String, description = "Number of records in the whole log of the run"), ("x-runlog-log-settled" = String, description = "`true` if the log is not expected to grow any more"))), (status = 206, description = "The file contains the newest records of the range; older ones remain", body = GeneratedLog, headers(("x-log-next-request-end-time" = String, description = "`endTime` for the next request"), ("x-runlog-log-records" = String, description = "Number of records in the whole log of the run"), ("x-runlog-log-settled" = String, description = "`true` if the log is not expected to grow any more"))))
)]
pub(crate) async fn generate(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    Extension(draft): Extension<AuditDraft>,
    Query(query): Query<PageFileQuery>,
) -> ApiResult<Response> {
    let run = rights::run_brief(app.store(), &caller, &id, &Right::READ_LOGS).await?;
    let request = PageRequest {
        run_id: run.id,
        range: query.range,
        format: query.file_format.unwrap_or_default(),
        order: query.order.unwrap_or(app.settings().file_order),
        file_name: file_name(&run, query.new_file_name),
    };
    let _permit = app.page_reads().acquire().await?;
    // The page and its audit entry are written in one transaction, before the response is sent.
    let written = app.store().pages().request_audited_page(&request, |ticket| draft.entry(status_of(ticket.end))).await;
    let ticket = match written {
        Ok(ticket) => ticket,
        Err(error) => return Ok((Extension(AlreadyAudited), ApiError::from(error)).into_response()),
    };
    app.metrics().pages.inc();
    app.metrics().records_out.inc_by(ticket.records);
    let body = Json(GeneratedLog { size: ticket.records, token: ticket.token });
    let settled = if ticket.settled { "true" } else { "false" };
    let of_log = [(LOG_SETTLED_HEADER, settled.to_owned()), (LOG_RECORDS_HEADER, ticket.log_records.to_string())];
    let next_end = ticket.end.next_end_text().map(|next_end| AppendHeaders([(NEXT_END_HEADER, next_end)]));
    Ok((status_of(ticket.end), of_log, next_end, Extension(AlreadyAudited), body).into_response())
}

fn status_of(end: PageEnd) -> StatusCode {
    match end {
        PageEnd::Complete => StatusCode::OK,
        PageEnd::Partial { .. } => StatusCode::PARTIAL_CONTENT,
    }
}

/// The name of the downloaded file. Source: `newFileName` of the vendor's file.
fn file_name(run: &RunBrief, with_task: bool) -> String {
    match with_task {
        true => format!("{}_{}.log", run.task_id, run.id),
        false => format!("{}.log", run.id),
    }
}

/// `POST …/logs/status`: returns the status of a requested page file, and its link when it is ready.
#[utoipa::path(
    post,
    path = "/monitoring/executions/{id}/logs/status",
    tag = "run logs",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    request_body(content = String, description = "The token as a JSON string, as bare text, or as `{\"token\": \"…\"}`, with any content type"),
    responses((status = 200, description = "Status of the file, and its link when it is ready", body = LogStatus))
)]
pub(crate) async fn status(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Json<LogStatus>> {
    let body = json::read(body, limits::TOKEN_BODY_BYTES_MAX).await?;
    let token = page_token(&body)?;
    let run = rights::run_brief(app.store(), &caller, &id, &Right::READ_LOGS).await?;
    Ok(Json(match app.store().pages().page_status(run.id, &token, app.settings().status_wait).await? {
        PageStatus::InProgress => LogStatus { status: FileStatus::InProgress, presigned_url: None },
        PageStatus::Ready(file) => {
            let link = links::to_file(app.auth(), &headers, &file).await?;
            LogStatus { status: FileStatus::Ready, presigned_url: Some(link) }
        }
    }))
}

/// The token in the body of a status request: a JSON string, an object with `token`, or plain text.
fn page_token(body: &[u8]) -> ApiResult<String> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum TokenBody {
        Text(String),
        Object { token: String },
    }
    let wrong = || {
        ApiError::invalid(
            "the body is not a page token: send the token returned by POST …/logs, bare, in quotes, or as {\"token\": \"…\"}",
        )
    };
    let text = std::str::from_utf8(body).map_err(|_| wrong())?;
    let text = text.trim().trim_start_matches('\u{feff}').trim();
    let token = match serde_json::from_str::<TokenBody>(text) {
        Ok(TokenBody::Text(token) | TokenBody::Object { token }) => token,
        Err(_) => text.to_owned(),
    };
    let token = token.trim();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte);
    match !token.is_empty() && token.bytes().all(is_plain) {
        true => Ok(token.to_owned()),
        false => Err(wrong()),
    }
}

/// `GET …/logs`: returns records directly, without a file.
#[utoipa::path(
    get,
    path = "/monitoring/executions/{id}/logs",
    tag = "run logs",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    responses((status = 200, description = "Records", body = LivePage))
)]
pub(crate) async fn live(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    Query(query): Query<LivePageQuery>,
) -> ApiResult<Json<LivePage>> {
    let query = LiveQuery {
        range: query.range,
        order: query.order.unwrap_or_default(),
        start_index: query.start_index.0,
        count: query.count.0,
    };
    let run = rights::run_brief(app.store(), &caller, &id, &Right::READ_LOGS).await?;
    let _permit = app.page_reads().acquire().await?;
    let slice = app.store().logs().live_page(run.id, &query).await?;
    let size = slice.records.len() as u64;
    app.metrics().records_out.inc_by(size);
    let next = query.start_index.saturating_add(size);
    Ok(Json(LivePage {
        size,
        total_size: slice.total,
        total_size_filtered: slice.filtered,
        next_index: (size > 0 && next < slice.filtered).then_some(next),
        data: slice.records.into_iter().map(with_text).collect(),
    }))
}

/// Clients expect the message to be present.
fn with_text(record: Record) -> Record {
    Record { message: Some(record.message.unwrap_or_default()), ..record }
}

/// `DELETE …/logs`: deletes the log; the run itself remains.
#[utoipa::path(
    delete,
    path = "/monitoring/executions/{id}/logs",
    tag = "run logs",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    responses((status = 200, description = "The log was deleted, or there was none", body = DeletedLogBody))
)]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    change: AuditedChange,
) -> ApiResult<Json<DeletedLogBody>> {
    let run = rights::run_brief(app.store(), &caller, &id, &[Right::View]).await?;
    rights::permission(&caller, rights::DELETE_LOGS)?;
    let deleted = change.store(StatusCode::OK).maintenance().delete_log(run.id).await?;
    Ok(Json(DeletedLogBody { records: deleted.records, bytes: deleted.bytes }))
}

#[cfg(test)]
mod tests {
    use super::page_token;

    #[test]
    fn a_token_is_read_in_every_form_that_clients_send() {
        for body in ["abc-1", "\"abc-1\"", "\u{feff}\"abc-1\"", " abc-1\n", r#"{"token": "abc-1"}"#] {
            assert_eq!(page_token(body.as_bytes()).unwrap(), "abc-1", "{body}");
        }
        for body in ["", "\"\"", "{}", "[\"abc\"]", "a b", "{\"token\": 1}", "null x"] {
            assert!(page_token(body.as_bytes()).is_err(), "{body}");
        }
    }
}
