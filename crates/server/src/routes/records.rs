//! `POST /runlog/v1/runs/{id}/records`: a batch of records as NDJSON, read as it arrives.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use futures::TryStreamExt;
use memchr::memchr;
use runlog_model::place::Right;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::push::{RefusedLine, StoredBatch, StoredLines};
use runlog_model::{Record, Timestamp};
use runlog_store::BatchWriter;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::StreamReader;

use crate::app::App;
use crate::auth::Authenticated;
use crate::body_memory::HeldMemory;
use crate::error::{ApiError, ApiResult};
use crate::query::Params;
use crate::settings::Bounds;
use crate::{access, limits};

/// What every failure of a batch ends with, so that nobody has to guess.
const NOTHING_STORED: &str = "nothing of this batch was stored";

/// How much of a body is read at a time. Unit: bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Stores a batch whole or not at all, and answers once it is durable.
#[utoipa::path(
    post,
    path = "/runlog/v1/runs/{id}/records",
    tag = "push",
    params(("id" = runlog_model::RunId, Path, description = "the id"), ("batch" = Option<String>, Query, pattern = "^[!-~]{1,200}$", description = "The id of the batch: repeating it is harmless"), ("badLines" = Option<String>, Query, description = "What becomes of a line that cannot be read: `refuse` (the default) refuses the batch, `skip` stores the others and lists it")),
    request_body(content = Record, content_type = "application/x-ndjson", description = "One record a line; packed with gzip or zstd"),
    responses((status = 200, description = "The records are durable", body = StoredLines), (status = 409, description = "The batch was stored with other records", body = ErrorBody), (status = 415, description = "The content coding is not known", body = ErrorBody))
)]
pub(crate) async fn push(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Json<StoredLines>> {
    let coding = content_coding(&headers)?;
    let run = access::run_brief(&app, &caller, &id, &[Right::Publish]).await?;
    let mut batch = app.store().begin_batch(run.id, params.text("batch")).await?;
    let mut lines = Lines::new(body, coding, &app.settings().bounds);
    let is_skipping = match params.text("badLines") {
        None | Some("refuse") => false,
        Some("skip") => true,
        Some(_) => return Err(ApiError::invalid("badLines: give refuse or skip")),
    };
    match take_lines(&mut lines, &mut batch, is_skipping).await {
        Ok(taken) => {
            let stored = batch.commit().await?;
            if !stored.repeated {
                app.metrics().records_in.inc_by(stored.stored);
            }
            let StoredBatch { stored, repeated } = stored;
            let Taken { repaired, refused_lines, refused } = taken;
            Ok(Json(StoredLines { stored, repeated, repaired, refused_lines, refused }))
        }
        Err(error) => {
            batch.abort().await;
            Err(error.with_detail(NOTHING_STORED))
        }
    }
}

/// What was taken of a body.
#[derive(Default)]
struct Taken {
    /// Texts that were mended.
    repaired: u64,
    refused_lines: u64,
    refused: Vec<RefusedLine>,
}

impl Taken {
    fn refuse(&mut self, line: u64, reason: String) {
        self.refused_lines += 1;
        if self.refused.len() < limits::REFUSED_LINES_SHOWN {
            self.refused.push(RefusedLine { line, reason });
        }
    }
}

/// Takes a record a line, or an array of records in one line. A line that cannot be read refuses the body, or is
/// skipped and told of.
async fn take_lines(lines: &mut Lines, batch: &mut BatchWriter, is_skipping: bool) -> ApiResult<Taken> {
    let mut record = Record::at(Timestamp::MIN);
    let mut taken = Taken::default();
    while let Some((number, line)) = lines.next().await? {
        let is_first = number == 1;
        if is_first && (line.starts_with(b"\xff\xfe") || line.starts_with(b"\xfe\xff")) {
            return Err(ApiError::invalid("line 1: the body is UTF-16; send UTF-8"));
        }
        let line = if is_first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        if line.trim_ascii_start().starts_with(b"[") {
            let records: Vec<&RawValue> = match serde_json::from_slice(line) {
                Ok(records) => records,
                Err(error) if is_skipping => {
                    taken.refuse(number, said(&error));
                    continue;
                }
                Err(error) => {
                    let detail = "an array of records stands in one line; otherwise send one record a line";
                    return Err(wrong_line(number, &error).with_detail(detail));
                }
            };
            for json in records {
                match read(&mut record, json.get().as_bytes(), &mut taken.repaired) {
                    Ok(()) => {}
                    Err(error) if is_skipping => {
                        taken.refuse(number, said(&error));
                        continue;
                    }
                    Err(error) => return Err(wrong_line(number, &error)),
                }
                batch.push(&record).await?;
            }
            continue;
        }
        match read(&mut record, line, &mut taken.repaired) {
            Ok(()) => {}
            Err(error) if is_skipping => {
                taken.refuse(number, said(&error));
                continue;
            }
            Err(error) => return Err(wrong_line(number, &error)),
        }
        batch.push(&record).await?;
    }
    Ok(taken)
}

/// Reads a record, mended where that is what it takes.
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

/// What is wrong; the parser sees one line only, and its own line number would mislead.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what).to_owned()
}

fn wrong_line(number: u64, error: &serde_json::Error) -> ApiError {
    ApiError::invalid(format!("line {number}, column {}: {}", error.column(), said(error)))
}

/// Reads a body whole, unpacked, up to a bound, and in memory that it gives along.
pub(crate) async fn unpacked(app: &App, body: Body, headers: &HeaderMap) -> ApiResult<(Bytes, HeldMemory)> {
    let bounds = &app.settings().bounds;
    let mut lines = Lines::new(body, content_coding(headers)?, bounds);
    let (mut bytes, mut memory) = (Vec::new(), app.body_memory().begin());
    while lines.read_chunk().await? {
        if bytes.len() + lines.chunk.len() > bounds.events_bytes_max {
            let message = format!("the body is longer than {} bytes; send it in parts", bounds.events_bytes_max);
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        memory.read(lines.chunk.len()).await?;
        bytes.extend_from_slice(&lines.chunk);
    }
    Ok((bytes.into(), memory))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Zstd,
}

fn content_coding(headers: &HeaderMap) -> ApiResult<Coding> {
    let text = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?")).unwrap_or_default();
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(Coding::Identity),
        "gzip" | "x-gzip" => Ok(Coding::Gzip),
        "zstd" => Ok(Coding::Zstd),
        _ => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("Content-Encoding {text:?} is not known here; send gzip, zstd or plain text"),
        )),
    }
}

/// The lines of a body, unpacked, one in memory at a time.
struct Lines {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    /// What was read last, and how far it was given.
    chunk: Vec<u8>,
    at: usize,
    /// A line that began in an earlier chunk.
    begun: Vec<u8>,
    /// The number of the last line given, from 1.
    number: u64,
    coding: Coding,
    received: Arc<AtomicU64>,
    unpacked: u64,
    bounds: Bounds,
}

/// Where a line stands.
enum Line {
    InChunk(Range<usize>),
    Begun,
}

impl Lines {
    fn new(body: Body, coding: Coding, bounds: &Bounds) -> Self {
        let received = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&received);
        let bytes = body.into_data_stream().map_err(io::Error::other).inspect_ok(move |chunk| {
            counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        });
        let plain = StreamReader::new(bytes);
        let reader: Pin<Box<dyn AsyncRead + Send>> = match coding {
            Coding::Identity => Box::pin(plain),
            Coding::Gzip => {
                let mut decoder = GzipDecoder::new(plain);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
            Coding::Zstd => {
                let mut decoder = ZstdDecoder::new(plain);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
        };
        let (chunk, begun) = (Vec::with_capacity(CHUNK_BYTES), Vec::new());
        Self { reader, chunk, at: 0, begun, number: 0, coding, received, unpacked: 0, bounds: *bounds }
    }

    /// The next line that is not blank, with its number and without its line break.
    async fn next(&mut self) -> ApiResult<Option<(u64, &[u8])>> {
        self.begun.clear();
        let line = loop {
            let rest = &self.chunk[self.at..];
            let Some(ahead) = memchr(b'\n', rest) else {
                self.begun.extend_from_slice(rest);
                self.check_bounds()?;
                if self.read_chunk().await? {
                    continue;
                }
                if self.begun.trim_ascii().is_empty() {
                    return Ok(None);
                }
                self.number += 1;
                break Line::Begun;
            };
            let range = self.at..self.at + ahead;
            self.at = range.end + 1;
            self.number += 1;
            if !self.begun.is_empty() {
                self.begun.extend_from_slice(&self.chunk[range]);
                if !self.begun.trim_ascii().is_empty() {
                    break Line::Begun;
                }
                self.begun.clear();
            } else if !self.chunk[range.clone()].trim_ascii().is_empty() {
                break Line::InChunk(range);
            }
        };
        let line = match line {
            Line::InChunk(range) => &self.chunk[range],
            Line::Begun => &self.begun,
        };
        Ok(Some((self.number, line)))
    }

    /// Reads on; false at the end of the body.
    async fn read_chunk(&mut self) -> ApiResult<bool> {
        self.chunk.clear();
        self.at = 0;
        let read = tokio::time::timeout(self.bounds.body_silence_max, self.reader.read_buf(&mut self.chunk)).await;
        let read = read.map_err(|_| timed_out())?.map_err(|error| broken(self.number + 1, self.coding, &error))?;
        self.unpacked += read as u64;
        Ok(read > 0)
    }

    fn check_bounds(&self) -> ApiResult<()> {
        let too_large = |message| Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        if self.begun.len() > self.bounds.line_bytes_max {
            let number = self.number + 1;
            return too_large(format!("line {number} is longer than {} bytes", self.bounds.line_bytes_max));
        }
        let received = self.received.load(Ordering::Relaxed);
        if self.unpacked > limits::UNPACK_BYTES_FREE + received.saturating_mul(self.bounds.unpack_ratio_max) {
            return too_large(format!("the body unpacks to more than {} times its size", self.bounds.unpack_ratio_max));
        }
        Ok(())
    }
}

fn broken(number: u64, coding: Coding, error: &io::Error) -> ApiError {
    match coding {
        Coding::Identity => ApiError::invalid(format!("the body broke off in line {number}; send it again")),
        _ => ApiError::invalid(format!(
            "the body cannot be unpacked in line {number} ({error}); is it whole {coding:?}?"
        )),
    }
}

fn timed_out() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body stood still for too long; send it again")
}
