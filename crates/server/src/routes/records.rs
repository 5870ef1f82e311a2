//! `POST /runlog/v1/runs/{id}/records`: a batch of records as NDJSON, read as it arrives.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use runlog_model::place::Right;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::push::{RefusedLine, StoredBatch, StoredLines};
use runlog_model::{Record, Timestamp};
use runlog_store::ingest::BatchWriter;
use serde_json::value::RawValue;
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
        /// Handling of lines that cannot be parsed: `refuse` (the default) rejects the batch, `skip` stores the other lines
        /// and lists the rejected ones.
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
    /// What is done with lines that cannot be parsed.
    pub(crate) enum BadLines {
        /// The batch is rejected.
        Refuse = "refuse",
        /// They are skipped.
        Skip = "skip",
    }
}

/// Stores a batch completely or not at all, and responds once it is durable.
#[utoipa::path(
    post,
    path = "/runlog/v1/runs/{id}/records",
    tag = "push",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    request_body(content = Record, content_type = "application/x-ndjson", description = "One record per line; optionally compressed with gzip or zstd"),
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
    let is_skipping = query.bad_lines == Some(BadLines::Skip);
    let taken =
        match Lines::begin(body, coding, &app.settings().bounds, app.body_memory().reservation_for_lines()).await {
            Ok(mut lines) => {
                let memory = app.body_memory().reservation_for_lines();
                take_lines(&mut lines, &mut batch, memory, is_skipping).await
            }
            Err(error) => Err(error),
        };
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
    /// Number of repaired texts.
    repaired: u64,
    refused_lines: u64,
    refused: Vec<RefusedLine>,
}

impl Taken {
    /// Counts a line that is not stored. Returns the error if it refuses the body, or if so many lines were refused
    /// that the body is probably not a log.
    fn refuse(&mut self, line: u64, reason: String, error: impl FnOnce(&str) -> ApiError) -> ApiResult<()> {
        if !self.is_skipping {
            return Err(error(&reason));
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

    /// The same for a line that is not a valid record.
    fn refuse_unreadable(&mut self, line: u64, error: &serde_json::Error) -> ApiResult<()> {
        self.refuse(line, said(error), |_| wrong_line(line, error))
    }

    fn first_refused(&self) -> String {
        self.refused.first().map(|refused| format!("line {}: {}", refused.line, refused.reason)).unwrap_or_default()
    }
}

/// Parses one record per line, or an array of records on one line. An invalid line refuses the body, or is skipped and
/// reported.
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
        let is_first = number == 1;
        if is_first && (line.starts_with(b"\xff\xfe") || line.starts_with(b"\xfe\xff")) {
            return Err(ApiError::invalid("line 1: the body is UTF-16; send UTF-8"));
        }
        let line = if is_first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
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
        if line.trim_ascii_start().starts_with(b"[") {
            take_array(number, line, &mut record, batch, &mut taken).await?;
        } else {
            take_record(number, line, &mut record, batch, &mut taken).await?;
        }
        if is_large {
            record = Record::at(Timestamp::MIN);
            memory.release_decoded();
        }
    }
    Ok(taken)
}

/// Adds a record.
async fn take_record(
    number: u64,
    json: &[u8],
    record: &mut Record,
    batch: &mut BatchWriter,
    taken: &mut Taken,
) -> ApiResult<()> {
    match read(record, json, &mut taken.repaired) {
        Ok(()) => Ok(batch.push(record).await?),
        Err(error) => taken.refuse_unreadable(number, &error),
    }
}

/// Adds a line that is an array of records.
async fn take_array(
    number: u64,
    line: &[u8],
    record: &mut Record,
    batch: &mut BatchWriter,
    taken: &mut Taken,
) -> ApiResult<()> {
    let records: Vec<&RawValue> = match serde_json::from_slice(line) {
        Ok(records) => records,
        Err(error) => {
            let advice = "an array of records must be on one line; otherwise send one record per line";
            return taken.refuse(number, said(&error), |_| wrong_line(number, &error).with_detail(advice));
        }
    };
    for json in records {
        take_record(number, json.get().as_bytes(), record, batch, taken).await?;
    }
    Ok(())
}

/// Parses a record, repaired if necessary.
fn read(record: &mut Record, json: &[u8], repaired: &mut u64) -> serde_json::Result<()> {
    record.read_json(json).or_else(|error| {
        let mended = runlog_model::repair(json);
        if mended.texts == 0 || record.read_json(&mended.json).is_err() {
            return Err(error);
        }
        *repaired += mended.texts;
        Ok(())
    })
}

/// The message of the error without its position: the parser sees only one line, so its line number would be
/// misleading.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what).to_owned()
}

/// 413: a line that is not read at all.
fn too_large(number: u64, reason: &str) -> ApiError {
    let advice = "send the batch with badLines=skip to store the other lines";
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("line {number}: {reason}; {advice}"))
}

fn wrong_line(number: u64, error: &serde_json::Error) -> ApiError {
    ApiError::invalid(format!("line {number}, column {}: {}", error.column(), said(error)))
}
