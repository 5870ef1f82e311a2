//! `POST /runlog/v1/runs/{id}/records`: a batch of records as NDJSON, read as it arrives.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use runlog_model::elements::{element_length, elements_of_line};
use runlog_model::wire::ErrorBody;
use runlog_model::wire::push::{RefusedLine, StoredBatch, StoredLines};
use runlog_model::workspaces::Right;
use runlog_model::{Record, Timestamp};
use runlog_store::ingest::BatchWriter;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use crate::app::App;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::parameter_types::{pattern, words};
use crate::http::parameters::{ParameterValue, Query, query_parameters};
use crate::ingest::body::{Lines, content_coding};
use crate::ingest::body_memory::MemoryReservation;
use crate::ingest::decoded_size;
use crate::limits;

/// The last sentence of every error of a batch.
const NOTHING_STORED: &str = "nothing of this batch was stored";

query_parameters! {
    /// Parameters of a batch.
    pub(crate) struct BatchQuery {
        /// ID of the batch, which makes the request idempotent.
        batch: Option<BatchId> = "batch",
        /// Handling of lines that cannot be parsed: `skip` stores the other lines and lists the rejected ones, `refuse`
        /// rejects the batch. Default: `refuse` for a batch with an ID, which is one whole, and `skip` for others.
        bad_lines: Option<BadLines> = "badLines",
    }
}

/// The ID of a batch, which the store checks.
pub(crate) struct BatchId(String);

impl ParameterValue for BatchId {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    fn schema() -> RefOr<Schema> {
        pattern("^[!-~]{1,200}$")
    }
}

words! {
    /// Handling of lines that cannot be parsed.
    pub(crate) enum BadLines {
        /// The batch is rejected.
        Refuse = "refuse",
        /// They are skipped.
        Skip = "skip",
    }
}

/// Stores the records of a batch, and responds once they are durable. A batch with an ID is stored completely or not at
/// all, unless its sender requested otherwise.
#[utoipa::path(
    post,
    path = "/runlog/v1/runs/{id}/records",
    tag = "push",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    request_body(content = Record, content_type = "application/x-ndjson", description = "One record per line, or several on a line, also in an array; optionally compressed with gzip or zstd"),
    responses((status = 200, description = "The records are durable", body = StoredLines), (status = 409, description = "The batch ID was already used with different records", body = ErrorBody), (status = 415, description = "Unknown content encoding", body = ErrorBody))
)]
pub(crate) async fn push(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    Query(query): Query<BatchQuery>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Json<StoredLines>> {
    let coding = content_coding(&headers)?;
    let run = rights::run_brief(app.store(), &caller, &id, &[Right::Publish]).await?;
    let mut batch = app.store().ingest().begin_batch(run.id, query.batch.as_ref().map(|id| id.0.as_str())).await?;
    let is_skipping = query.bad_lines.map_or(query.batch.is_none(), |bad_lines| bad_lines == BadLines::Skip);
    let taken =
        match Lines::begin(body, coding, &app.settings().bounds, app.body_memory().reservation_for_lines()).await {
            Ok(mut lines) => {
                let memory = app.body_memory().reservation_for_lines();
                take_lines(&mut lines, &mut batch, memory, is_skipping).await
            }
            Err(error) => Err(error),
        };
    // A sender that requests to skip lines accepts that none may be left.
    let taken =
        taken.and_then(|taken| if query.bad_lines.is_none() { taken.of_something(batch.records()) } else { Ok(taken) });
    match taken {
        Ok(taken) => {
            let stored = batch.commit().await?;
            if !stored.repeated {
                app.metrics().records_in.inc_by(stored.stored);
            }
            let StoredBatch { stored, repeated } = stored;
            let Taken { repaired, refused_lines, refused, .. } = taken;
            Ok(Json(StoredLines { stored, repeated, repaired, refused_lines, refused }))
        }
        Err(error) => {
            batch.abort().await;
            Err(error.with_detail(NOTHING_STORED))
        }
    }
}

/// The result of reading a body.
#[derive(Default)]
struct Taken {
    /// True if invalid lines are skipped instead of refusing the body.
    is_skipping: bool,
    /// Number of repaired values.
    repaired: u64,
    refused_lines: u64,
    refused: Vec<RefusedLine>,
    /// The reason why the first line was not stored.
    first_error: Option<ApiError>,
}

impl Taken {
    /// Counts a line that is not stored. Returns the error if it refuses the body, or if so many lines were refused
    /// that the body is probably not a log.
    fn refuse(&mut self, line: u64, reason: String, error: impl FnOnce(&str) -> ApiError) -> ApiResult<()> {
        if !self.is_skipping {
            return Err(error(&reason));
        }
        if self.first_error.is_none() {
            self.first_error = Some(error(&reason));
        }
        self.refused_lines += 1;
        if self.refused.len() < limits::REFUSED_LINES_SHOWN {
            self.refused.push(RefusedLine { line, reason });
        }
        if self.refused_lines <= limits::REFUSED_LINES_MAX {
            return Ok(());
        }
        let message = format!("more than {} lines cannot be parsed", limits::REFUSED_LINES_MAX);
        Err(ApiError::invalid(format!("{message}; the first: {}", self.first_refused())))
    }

    /// 400 or 413 if there were lines, and none of them is a record: the body is no log.
    fn of_something(mut self, records: u64) -> ApiResult<Self> {
        match self.first_error.take().filter(|_| records == 0) {
            Some(mut error) => {
                error.message = format!("none of the lines is a record; {}", error.message);
                Err(error)
            }
            None => Ok(self),
        }
    }

    fn first_refused(&self) -> String {
        self.refused.first().map(|refused| format!("line {}: {}", refused.line, refused.reason)).unwrap_or_default()
    }
}

/// Parses the records of each line: one, several, or those of an array, which may begin and end on other lines. What is
/// no record refuses the body, or is skipped and reported.
async fn take_lines(
    lines: &mut Lines,
    batch: &mut BatchWriter,
    mut memory: MemoryReservation,
    is_skipping: bool,
) -> ApiResult<Taken> {
    let mut record = Record::at(Timestamp::MIN);
    let mut taken = Taken { is_skipping, ..Taken::default() };
    while let Some((number, line)) = lines.next().await? {
        let line = match line {
            Ok(line) => line,
            Err(error) => {
                taken.refuse(number, error.to_string(), |reason| too_large(number, reason))?;
                continue;
            }
        };
        if number == 1 && (line.starts_with(b"\xff\xfe") || line.starts_with(b"\xfe\xff")) {
            return Err(ApiError::invalid("line 1: the body is UTF-16; send UTF-8"));
        }
        let is_large = line.len() > limits::LINE_BYTES_FREE;
        if is_large {
            match memory.reserve_decoded(decoded_size::of_line(line)).await {
                Ok(()) => {}
                Err(error) if error.status == StatusCode::PAYLOAD_TOO_LARGE => {
                    let bytes_max = memory.decoded_bytes_max();
                    let reason = format!("it takes more than {bytes_max} bytes when it is parsed");
                    taken.refuse(number, reason, |reason| too_large(number, reason))?;
                    continue;
                }
                Err(error) => return Err(error),
            }
        }
        for (at, json) in elements_of_line(line) {
            match record.read_json(json) {
                Ok(changed) => {
                    batch.push(&record).await?;
                    taken.repaired += changed;
                }
                Err(error) => {
                    let why = |reason: &str| wrong_line(number, at + error.column(), reason, json);
                    taken.refuse(number, said(&error), why)?;
                }
            }
        }
        if is_large {
            record = Record::at(Timestamp::MIN);
            memory.release_decoded();
        }
    }
    Ok(taken)
}

/// The message of the error without its position: the parser sees only one line, so its line number would be
/// misleading.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what).to_owned()
}

/// 413: a line that is too long to read.
fn too_large(number: u64, reason: &str) -> ApiError {
    let advice = "send the batch with badLines=skip to store the other lines";
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("line {number}: {reason}; {advice}"))
}

fn wrong_line(number: u64, column: usize, reason: &str, json: &[u8]) -> ApiError {
    // The beginning of a record on several lines.
    let is_begun = json.starts_with(b"{") && element_length(json).is_none();
    let advice = if is_begun { "; a record must be on one line" } else { "" };
    ApiError::invalid(format!("line {number}, column {column}: {reason}{advice}"))
}
