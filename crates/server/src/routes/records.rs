//! `POST /runlog/v1/runs/{id}/records`: a batch of records as NDJSON, read as it arrives.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use futures::TryStreamExt;
use runlog_model::Record;
use runlog_model::place::Right;
use runlog_model::wire::push::StoredBatch;
use runlog_store::BatchWriter;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio_util::io::StreamReader;

use crate::app::App;
use crate::auth::Authenticated;
use crate::error::{ApiError, ApiResult};
use crate::query::Params;
use crate::{access, limits};

/// What every failure of a batch ends with, so that nobody has to guess.
const NOTHING_STORED: &str = "nothing of this batch was stored";

/// Stores a batch whole or not at all, and answers once it is durable.
pub(crate) async fn push(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    params: Params,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Json<StoredBatch>> {
    let coding = content_coding(&headers)?;
    let run = access::run(&app, &caller, &id, &[Right::Publish]).await?;
    let mut batch = app.store().begin_batch(run.id, params.text("batch")).await?;
    let mut lines = Lines::new(body, coding);
    match take_lines(&mut lines, &mut batch).await {
        Ok(()) => Ok(Json(batch.commit().await?)),
        Err(error) => {
            batch.abort().await;
            Err(error.with_detail(NOTHING_STORED))
        }
    }
}

async fn take_lines(lines: &mut Lines, batch: &mut BatchWriter) -> ApiResult<()> {
    while let Some(line) = lines.next().await? {
        let record = serde_json::from_slice::<Record>(line).map_err(|error| wrong_line(lines.number, &error))?;
        batch.push(record).await?;
    }
    Ok(())
}

fn wrong_line(number: u64, error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    // The parser sees one line only; its own line number would mislead.
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    ApiError::invalid(format!("line {number}, column {}: {what}", error.column()))
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
    reader: Pin<Box<dyn AsyncBufRead + Send>>,
    line: Vec<u8>,
    /// The number of the last line read, from 1.
    number: u64,
    coding: Coding,
    received: Arc<AtomicU64>,
    unpacked: u64,
}

impl Lines {
    fn new(body: Body, coding: Coding) -> Self {
        let received = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&received);
        let bytes = body.into_data_stream().map_err(io::Error::other).inspect_ok(move |chunk| {
            counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        });
        let plain = StreamReader::new(bytes);
        let reader: Pin<Box<dyn AsyncBufRead + Send>> = match coding {
            Coding::Identity => Box::pin(plain),
            Coding::Gzip => {
                let mut decoder = GzipDecoder::new(plain);
                decoder.multiple_members(true);
                Box::pin(BufReader::with_capacity(1 << 16, decoder))
            }
            Coding::Zstd => {
                let mut decoder = ZstdDecoder::new(plain);
                decoder.multiple_members(true);
                Box::pin(BufReader::with_capacity(1 << 16, decoder))
            }
        };
        Self { reader, line: Vec::new(), number: 0, coding, received, unpacked: 0 }
    }

    /// The next line that is not blank.
    async fn next(&mut self) -> ApiResult<Option<&[u8]>> {
        loop {
            self.line.clear();
            if !self.read_line().await? {
                return Ok(None);
            }
            self.number += 1;
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some(self.line.trim_ascii()));
            }
        }
    }

    /// Reads up to a line break or the end; false at the end.
    async fn read_line(&mut self) -> ApiResult<bool> {
        loop {
            let filled = tokio::time::timeout(limits::BODY_SILENCE_MAX, self.reader.fill_buf()).await;
            let number = self.number + 1;
            let filled = filled.map_err(|_| timed_out())?.map_err(|error| broken(number, self.coding, &error))?;
            if filled.is_empty() {
                return Ok(!self.line.is_empty());
            }
            let end = filled.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(filled.len(), |end| end + 1);
            self.line.extend_from_slice(&filled[..taken]);
            self.reader.as_mut().consume(taken);
            self.unpacked += taken as u64;
            self.check_bounds()?;
            if end.is_some() {
                return Ok(true);
            }
        }
    }

    fn check_bounds(&self) -> ApiResult<()> {
        let too_large = |message| Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        if self.line.len() > limits::LINE_BYTES_MAX {
            let number = self.number + 1;
            return too_large(format!("line {number} is longer than {} bytes", limits::LINE_BYTES_MAX));
        }
        let received = self.received.load(Ordering::Relaxed);
        if self.unpacked > limits::UNPACK_BYTES_FREE + received.saturating_mul(limits::UNPACK_RATIO_MAX) {
            return too_large(format!("the body unpacks to more than {} times its size", limits::UNPACK_RATIO_MAX));
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
