//! `POST /runlog/v1/runs/{id}/records`: a batch of records as NDJSON, read as it arrives.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
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
use crate::{access, body_weight, limits, zstd_frame};

/// What every failure of a batch ends with, so that nobody has to guess.
const NOTHING_STORED: &str = "nothing of this batch was stored";

/// How much of a body is read at a time. Unit: bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// What a decoder of gzip takes, with its window. Unit: bytes.
const GZIP_BYTES: usize = 64 << 10;

/// What a decoder of zstd takes beside its window: two blocks, and its tables. Unit: bytes.
const ZSTD_BLOCKS_BYTES: usize = 512 << 10;

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
    let mut batch = app.store().ingest().begin_batch(run.id, params.text("batch")).await?;
    let is_skipping = match params.text("badLines") {
        None | Some("refuse") => false,
        Some("skip") => true,
        Some(_) => return Err(ApiError::invalid("badLines: give refuse or skip")),
    };
    let taken = match Lines::begin(body, coding, &app.settings().bounds, app.body_memory().begin_lines()).await {
        Ok(mut lines) => {
            let memory = app.body_memory().begin_lines();
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

    fn first_refused(&self) -> String {
        self.refused.first().map(|refused| format!("line {}: {}", refused.line, refused.reason)).unwrap_or_default()
    }
}

/// Takes a record a line, or an array of records in one line. A line that cannot be read refuses the body, or is
/// skipped and told of.
async fn take_lines(
    lines: &mut Lines,
    batch: &mut BatchWriter,
    mut memory: HeldMemory,
    is_skipping: bool,
) -> ApiResult<Taken> {
    let mut record = Record::at(Timestamp::MIN);
    let mut taken = Taken::default();
    while let Some((number, line)) = lines.next().await? {
        let is_first = number == 1;
        if is_first && (line.starts_with(b"\xff\xfe") || line.starts_with(b"\xfe\xff")) {
            return Err(ApiError::invalid("line 1: the body is UTF-16; send UTF-8"));
        }
        let line = if is_first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        let is_large = line.len() > limits::LINE_BYTES_FREE;
        if is_large {
            memory.take(body_weight::of_line(line)).await?;
        }
        if line.trim_ascii_start().starts_with(b"[") {
            take_array(number, line, &mut record, batch, is_skipping, &mut taken).await?;
        } else {
            match read(&mut record, line, &mut taken.repaired) {
                Ok(()) => batch.push(&record).await?,
                Err(error) if is_skipping => taken.refuse(number, said(&error)),
                Err(error) => return Err(wrong_line(number, &error)),
            }
        }
        if is_large {
            record = Record::at(Timestamp::MIN);
            memory.give_back_decoded();
        }
        if taken.refused_lines > limits::REFUSED_LINES_MAX {
            let message = format!("more than {} lines cannot be read", limits::REFUSED_LINES_MAX);
            return Err(ApiError::invalid(format!("{message}; the first: {}", taken.first_refused())));
        }
    }
    Ok(taken)
}

/// Takes a line that is an array of records.
async fn take_array(
    number: u64,
    line: &[u8],
    record: &mut Record,
    batch: &mut BatchWriter,
    is_skipping: bool,
    taken: &mut Taken,
) -> ApiResult<()> {
    let records: Vec<&RawValue> = match serde_json::from_slice(line) {
        Ok(records) => records,
        Err(error) if is_skipping => {
            taken.refuse(number, said(&error));
            return Ok(());
        }
        Err(error) => {
            let detail = "an array of records stands in one line; otherwise send one record a line";
            return Err(wrong_line(number, &error).with_detail(detail));
        }
    };
    for json in records {
        match read(record, json.get().as_bytes(), &mut taken.repaired) {
            Ok(()) => batch.push(record).await?,
            Err(error) if is_skipping => taken.refuse(number, said(&error)),
            Err(error) => return Err(wrong_line(number, &error)),
        }
    }
    Ok(())
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
    let mut lines = Lines::begin(body, content_coding(headers)?, bounds, app.body_memory().begin()).await?;
    let mut bytes = Vec::new();
    while lines.read_chunk().await? {
        if bytes.len() + lines.chunk.len() > bounds.events_bytes_max {
            let message = format!("the body is longer than {} bytes; send it in parts", bounds.events_bytes_max);
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        append(&mut bytes, &lines.chunk, bounds.events_bytes_max, &mut lines.memory).await?;
    }
    Ok((bytes.into(), lines.into_memory()))
}

/// Adds bytes to those that are there, in memory that is taken for the room they are given: at least for these, and up to
/// `bytes_max` for as many again.
async fn append(to: &mut Vec<u8>, bytes: &[u8], bytes_max: usize, memory: &mut HeldMemory) -> ApiResult<()> {
    let needed = to.len() + bytes.len();
    if needed > to.capacity() {
        let room = to.capacity().saturating_mul(2).min(bytes_max).max(needed);
        memory.read(room - to.capacity()).await?;
        to.reserve_exact(room - to.len());
    }
    to.extend_from_slice(bytes);
    Ok(())
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
    /// Bytes of lines that were blank.
    blank: u64,
    bounds: Bounds,
    /// What `chunk`, `begun` and the decoder take.
    memory: HeldMemory,
    /// What of it `chunk` and the decoder take. Unit: bytes.
    buffers: usize,
}

/// Where a line stands.
enum Line {
    InChunk(Range<usize>),
    Begun,
}

impl Lines {
    /// Begins to read a body, once there is memory for the buffers that it passes.
    async fn begin(body: Body, coding: Coding, bounds: &Bounds, mut memory: HeldMemory) -> ApiResult<Self> {
        let received = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&received);
        let bytes = body.into_data_stream().map_err(io::Error::other).inspect_ok(move |chunk| {
            counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        });
        let mut plain = StreamReader::new(bytes);
        let mut buffers = CHUNK_BYTES;
        let reader: Pin<Box<dyn AsyncRead + Send>> = match coding {
            Coding::Identity => {
                memory.read(buffers).await?;
                Box::pin(plain)
            }
            Coding::Gzip => {
                buffers += GZIP_BYTES;
                memory.read(buffers).await?;
                let mut decoder = GzipDecoder::new(plain);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
            Coding::Zstd => {
                let mut head = Vec::with_capacity(zstd_frame::HEAD_BYTES);
                while head.len() < zstd_frame::HEAD_BYTES {
                    let mut rest = (&mut plain).take((zstd_frame::HEAD_BYTES - head.len()) as u64);
                    let read = tokio::time::timeout(bounds.body_silence_max, rest.read_buf(&mut head)).await;
                    if read.map_err(|_| timed_out())?.map_err(|error| broken(1, Coding::Identity, &error))? == 0 {
                        break;
                    }
                }
                let window = zstd_frame::window(&head).unwrap_or(0).max(limits::ZSTD_WINDOW_MIN);
                if window > limits::ZSTD_WINDOW_MAX {
                    return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, too_wide()));
                }
                // The decoder keeps some blocks beside the window.
                buffers += usize::try_from(window).unwrap_or(usize::MAX) + ZSTD_BLOCKS_BYTES;
                memory.read(buffers).await?;
                let window_log = u64::BITS - (window - 1).leading_zeros();
                let plain = io::Cursor::new(head).chain(plain);
                let mut decoder = ZstdDecoder::with_params(plain, &[DParameter::window_log_max(window_log)]);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
        };
        Ok(Self {
            reader,
            chunk: Vec::with_capacity(CHUNK_BYTES),
            at: 0,
            begun: Vec::new(),
            number: 0,
            coding,
            received,
            unpacked: 0,
            blank: 0,
            bounds: *bounds,
            memory,
            buffers,
        })
    }

    /// The memory of what was made of the body elsewhere; the buffers are gone.
    fn into_memory(self) -> HeldMemory {
        let Self { reader, chunk, begun, mut memory, buffers, .. } = self;
        memory.give_back(buffers + begun.capacity());
        drop((reader, chunk, begun));
        memory
    }

    /// The next line that is not blank, with its number and without its line break.
    async fn next(&mut self) -> ApiResult<Option<(u64, &[u8])>> {
        self.forget_line();
        let line = loop {
            let rest = self.at..self.chunk.len();
            let Some(ahead) = memchr(b'\n', &self.chunk[rest.clone()]) else {
                self.keep(rest).await?;
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
                self.keep(range).await?;
                if !self.begun.trim_ascii().is_empty() {
                    break Line::Begun;
                }
                self.blank += self.begun.len() as u64 + 1;
                self.begun.clear();
            } else if !self.chunk[range.clone()].trim_ascii().is_empty() {
                break Line::InChunk(range);
            } else {
                self.blank += range.len() as u64 + 1;
            }
        };
        let line = match line {
            Line::InChunk(range) => &self.chunk[range],
            Line::Begun => &self.begun,
        };
        Ok(Some((self.number, line)))
    }

    /// Forgets the line before; what a long one took is given back.
    fn forget_line(&mut self) {
        self.begun.clear();
        if self.begun.capacity() > limits::LINE_BYTES_KEPT {
            self.memory.give_back(self.begun.capacity());
            self.begun = Vec::new();
        }
    }

    /// Keeps a part of the chunk as one of a line that began earlier, or goes on in the next chunk.
    async fn keep(&mut self, part: Range<usize>) -> ApiResult<()> {
        let bytes_max = self.bounds.line_bytes_max;
        if self.begun.len() + part.len() > bytes_max {
            let number = self.number + 1;
            let message = format!("line {number} is longer than {bytes_max} bytes");
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        append(&mut self.begun, &self.chunk[part], bytes_max, &mut self.memory).await
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
        if self.blank > limits::BLANK_BYTES_MAX {
            return too_large(format!("more than {} bytes of the body are blank lines", limits::BLANK_BYTES_MAX));
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
        // What zstd says of a later part with a larger window than the first.
        Coding::Zstd if error.to_string().contains("too much memory") => {
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, too_wide())
        }
        Coding::Identity => ApiError::invalid(format!("the body broke off in line {number}; send it again")),
        _ => ApiError::invalid(format!(
            "the body cannot be unpacked in line {number} ({error}); is it whole {coding:?}?"
        )),
    }
}

fn too_wide() -> String {
    let bytes = limits::ZSTD_WINDOW_MAX;
    format!("unpacking the body takes a window of more than {bytes} bytes; pack it without --long and --ultra")
}

fn timed_out() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body stood still for too long; send it again")
}

#[cfg(test)]
mod tests {
    use futures::stream::{self, StreamExt};

    use super::*;
    use crate::body_memory::BodyMemory;

    const MIB: usize = 1 << 20;

    /// A body of so many chunks of these bytes, after some others.
    fn body(begin: &'static [u8], chunk: &'static [u8], count: usize) -> Body {
        let chunks = std::iter::once(begin).chain(std::iter::repeat_n(chunk, count)).map(Bytes::from_static);
        Body::from_stream(stream::iter(chunks.map(Ok::<_, io::Error>)))
    }

    async fn begin(body: Body, coding: Coding, memory: &BodyMemory) -> ApiResult<Lines> {
        let bounds = Bounds { body_silence_max: std::time::Duration::from_millis(200), ..Bounds::default() };
        Lines::begin(body, coding, &bounds, memory.begin_lines()).await
    }

    /// 90 unfinished lines of 15 MiB, of 15 KB of gzip each, took 1.4 GB.
    #[tokio::test]
    async fn unfinished_lines_hold_no_more_memory_together_than_there_is() {
        static CHUNK: [u8; MIB] = [b'x'; MIB];
        let memory = BodyMemory::new(64 * MIB, 64 * MIB, 64 * MIB);
        let mut reading = Vec::new();
        for _ in 0..90 {
            // Its sender says nothing more once 15 MiB have come.
            let silent = stream::iter(0..15).map(|_| Ok::<_, io::Error>(Bytes::from_static(&CHUNK)));
            let silent = Body::from_stream(silent.chain(stream::pending()));
            let mut lines = begin(silent, Coding::Identity, &memory).await.unwrap();
            reading.push(tokio::spawn(async move {
                let ended = lines.next().await.map(|_| ()).unwrap_err().status;
                let held = lines.begun.capacity() + lines.chunk.capacity();
                (ended, held, lines.memory.read_bytes())
            }));
        }
        let mut ended = std::collections::BTreeMap::<u16, usize>::new();
        let mut peak = 0;
        for reading in reading {
            peak = peak.max(memory.held_bytes().0);
            let (status, held, accounted) = reading.await.unwrap();
            peak = peak.max(memory.held_bytes().0);
            assert!(held <= accounted, "{held} bytes are held, and {accounted} are accounted for");
            *ended.entry(status.as_u16()).or_default() += 1;
        }
        // Some came in whole, and stood still; the others are told to come again.
        assert!(ended[&408] >= 1 && ended[&503] >= 80, "{ended:?}");
        assert!(peak <= 64 * MIB, "{peak}");
        assert_eq!(memory.held_bytes(), (0, 0), "all of it is given back");
    }

    #[tokio::test]
    async fn what_a_long_line_took_is_given_back_with_the_next() {
        static CHUNK: [u8; MIB] = [b'x'; MIB];
        let memory = BodyMemory::new(64 * MIB, 64 * MIB, 64 * MIB);
        let mut lines = begin(body(&CHUNK, &CHUNK, 9), Coding::Identity, &memory).await.unwrap();
        assert_eq!(lines.next().await.unwrap().map(|(number, line)| (number, line.len())), Some((1, 10 * MIB)));
        assert!(memory.held_bytes().0 >= 10 * MIB);
        assert_eq!(lines.next().await.unwrap(), None);
        assert!(memory.held_bytes().0 <= 2 * CHUNK_BYTES, "{:?}", memory.held_bytes());
        drop(lines);
        assert_eq!(memory.held_bytes(), (0, 0));
    }

    /// 2 MB of gzip that unpack to 2 GiB of blank lines took 22 s.
    #[tokio::test]
    async fn blank_lines_end_a_body_long_before_its_end() {
        static CHUNK: [u8; MIB] = [b'\n'; MIB];
        let memory = BodyMemory::new(64 * MIB, 64 * MIB, 64 * MIB);
        let mut lines = begin(body(b"", &CHUNK, 2_048), Coding::Identity, &memory).await.unwrap();
        let error = lines.next().await.map(|_| ()).unwrap_err();
        assert_eq!(error.status, 413);
        assert!(error.message.contains("blank lines"), "{}", error.message);
        assert!(lines.unpacked <= limits::BLANK_BYTES_MAX + 2 * MIB as u64, "{}", lines.unpacked);
    }

    #[tokio::test]
    async fn the_window_of_zstd_is_taken_from_the_memory_and_bounded() {
        let memory = BodyMemory::new(64 * MIB, 64 * MIB, 64 * MIB);
        let pack = |window_log: u32| {
            let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
            encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(window_log)).unwrap();
            io::Write::write_all(&mut encoder, b"one\ntwo\n").unwrap();
            encoder.finish().unwrap()
        };
        let mut lines = begin(Body::from(pack(23)), Coding::Zstd, &memory).await.unwrap();
        assert!(memory.held_bytes().0 >= 8 * MIB);
        assert_eq!(lines.next().await.unwrap(), Some((1, b"one".as_slice())));
        let error = begin(Body::from(pack(27)), Coding::Zstd, &memory).await.map(|_| ()).unwrap_err();
        assert_eq!((error.status.as_u16(), error.message.contains("window")), (413, true), "{}", error.message);
        // A later part may not have a larger window than there is memory for.
        let parts = [pack(20), pack(27)].concat();
        let mut lines = begin(Body::from(parts), Coding::Zstd, &memory).await.unwrap();
        let mut seen = 0;
        let error = loop {
            match lines.next().await {
                Ok(Some(_)) => seen += 1,
                Ok(None) => panic!("the larger window was taken"),
                Err(error) => break error,
            }
        };
        assert_eq!((seen, error.status.as_u16()), (2, 413), "{}", error.message);
    }
}
