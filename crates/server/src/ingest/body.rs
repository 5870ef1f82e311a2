//! The body of a push: decompressed as it arrives, and read line by line or completely, in bounded memory.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use futures::TryStreamExt;
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::StreamReader;

use crate::http::error::{ApiError, ApiResult};
use crate::ingest::body_memory::MemoryReservation;
use crate::ingest::zstd_frame;
use crate::limits;
use crate::limits::Bounds;

/// Number of bytes of a body that are read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// The memory of a gzip decoder, including its window. Unit: bytes.
const GZIP_BYTES: usize = 64 << 10;

/// The memory of a zstd decoder in addition to its window: two blocks and its tables. Unit: bytes.
const ZSTD_BLOCKS_BYTES: usize = 512 << 10;

/// Reads and decompresses a body completely, up to a maximum size. Returns it with its memory reservation.
pub(crate) async fn read_whole(
    body: Body,
    headers: &HeaderMap,
    bounds: &Bounds,
    memory: MemoryReservation,
) -> ApiResult<(Bytes, MemoryReservation)> {
    let mut lines = Lines::begin(body, content_coding(headers)?, bounds, memory).await?;
    let mut bytes = Vec::new();
    while lines.read_chunk().await? {
        if bytes.len() + lines.chunk.len() > bounds.events_bytes_max {
            let message =
                format!("the body is longer than {} bytes; split it into several requests", bounds.events_bytes_max);
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        append(&mut bytes, &lines.chunk, bounds.events_bytes_max, &mut lines.memory).await?;
    }
    Ok((bytes.into(), lines.into_memory()))
}

/// Appends bytes, reserving memory for the capacity: at least for these bytes, and up to `bytes_max` for twice as much.
async fn append(to: &mut Vec<u8>, bytes: &[u8], bytes_max: usize, memory: &mut MemoryReservation) -> ApiResult<()> {
    let needed = to.len() + bytes.len();
    if needed > to.capacity() {
        let room = to.capacity().saturating_mul(2).min(bytes_max).max(needed);
        memory.reserve_read(room - to.capacity()).await?;
        to.reserve_exact(room - to.len());
    }
    to.extend_from_slice(bytes);
    Ok(())
}

/// The compression of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Zstd,
}

/// The compression of a request body: of all lines of the header, each of which may be a list. 415 if it is not supported,
/// or the body is compressed more than once.
pub(crate) fn content_coding(headers: &HeaderMap) -> ApiResult<Coding> {
    let lines = headers.get_all(header::CONTENT_ENCODING).iter().map(|value| value.to_str().unwrap_or("?"));
    let codings: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let is_coding = |name: &&&str| !name.is_empty() && !name.eq_ignore_ascii_case("identity");
    let mut applied = codings.iter().filter(is_coding).map(|name| name.to_ascii_lowercase());
    match (applied.next().as_deref(), applied.next()) {
        (None, _) => Ok(Coding::Identity),
        (Some("gzip" | "x-gzip"), None) => Ok(Coding::Gzip),
        (Some("zstd"), None) => Ok(Coding::Zstd),
        (Some(_), other) => {
            let text = codings.join(", ");
            let problem = if other.is_some() { "more than one" } else { "unknown" };
            let message = format!("{problem} Content-Encoding {text:?}; send gzip, zstd or uncompressed data");
            Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
        }
    }
}

/// 415 if these first bytes, after decompression, begin another compressed body. No text begins like that, and neither
/// does a message of OTLP.
fn check_is_unpacked(head: &[u8], coding: Coding) -> ApiResult<()> {
    let packed = match head {
        [0x1f, 0x8b, ..] => "gzip",
        _ if head.starts_with(&zstd_frame::MAGIC) => "zstd",
        _ => return Ok(()),
    };
    let advice = match coding {
        Coding::Identity => format!("its header Content-Encoding: {packed} is missing; a proxy may have removed it"),
        _ => "it is compressed more than once; compress it once".to_owned(),
    };
    let message = format!("the body is in {packed} format after what Content-Encoding says was applied: {advice}");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

/// The decompressed lines of a body, one in memory at a time.
pub(crate) struct Lines {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    /// The last chunk, and how far it was consumed.
    chunk: Vec<u8>,
    at: usize,
    /// The beginning of a line from an earlier chunk.
    begun: Vec<u8>,
    /// True while the rest of a line that is too long is skipped.
    is_passing_over: bool,
    /// The number of the last line that was returned, from 1.
    number: u64,
    coding: Coding,
    received: Arc<AtomicU64>,
    unpacked: u64,
    /// The first bytes of the body, decompressed: as many as tell that it is still compressed.
    head: Vec<u8>,
    /// Number of bytes of blank lines.
    blank: u64,
    bounds: Bounds,
    /// The memory of `chunk`, `begun` and the decoder.
    memory: MemoryReservation,
    /// The part of it for `chunk` and the decoder. Unit: bytes.
    buffers: usize,
}

/// The position of a line.
enum Line {
    InChunk(Range<usize>),
    Begun,
    TooLong,
}

/// A line that is too long.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is longer than {bytes_max} bytes")]
pub(crate) struct LineTooLong {
    bytes_max: usize,
}

impl Lines {
    /// Starts to read a body, once there is memory for its buffers.
    pub(crate) async fn begin(
        body: Body,
        coding: Coding,
        bounds: &Bounds,
        mut memory: MemoryReservation,
    ) -> ApiResult<Self> {
        let received = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&received);
        let bytes = body.into_data_stream().map_err(io::Error::other).inspect_ok(move |chunk| {
            counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        });
        let mut plain = StreamReader::new(bytes);
        let mut buffers = CHUNK_BYTES;
        let reader: Pin<Box<dyn AsyncRead + Send>> = match coding {
            Coding::Identity => {
                memory.reserve_read(buffers).await?;
                Box::pin(plain)
            }
            Coding::Gzip => {
                buffers += GZIP_BYTES;
                memory.reserve_read(buffers).await?;
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
                // The decoder keeps some blocks in addition to the window.
                buffers += usize::try_from(window).unwrap_or(usize::MAX) + ZSTD_BLOCKS_BYTES;
                memory.reserve_read(buffers).await?;
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
            is_passing_over: false,
            number: 0,
            coding,
            received,
            unpacked: 0,
            head: Vec::new(),
            blank: 0,
            bounds: *bounds,
            memory,
            buffers,
        })
    }

    /// The memory of the decoded body; the buffers have been freed.
    fn into_memory(self) -> MemoryReservation {
        let Self { reader, chunk, begun, mut memory, buffers, .. } = self;
        memory.release_read(buffers + begun.capacity());
        drop((reader, chunk, begun));
        memory
    }

    /// The next line that is not blank, with its number and without its line break.
    pub(crate) async fn next(&mut self) -> ApiResult<Option<(u64, Result<&[u8], LineTooLong>)>> {
        self.forget_line();
        let bytes_max = self.bounds.line_bytes_max;
        let line = loop {
            let rest = self.at..self.chunk.len();
            let Some(ahead) = memchr(b'\n', &self.chunk[rest.clone()]) else {
                if self.is_passing_over {
                    // Nothing of it is kept.
                } else if self.begun.len() + rest.len() > bytes_max {
                    self.is_passing_over = true;
                    self.number += 1;
                    self.at = self.chunk.len();
                    break Line::TooLong;
                } else {
                    self.keep(rest).await?;
                }
                self.check_bounds()?;
                if self.read_chunk().await? {
                    continue;
                }
                if self.is_passing_over || self.begun.trim_ascii().is_empty() {
                    return Ok(None);
                }
                self.number += 1;
                break Line::Begun;
            };
            let range = self.at..self.at + ahead;
            self.at = range.end + 1;
            if std::mem::take(&mut self.is_passing_over) {
                continue;
            }
            self.number += 1;
            if self.begun.len() + range.len() > bytes_max {
                break Line::TooLong;
            }
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
            Line::InChunk(range) => Ok(&self.chunk[range]),
            Line::Begun => Ok(self.begun.as_slice()),
            Line::TooLong => Err(LineTooLong { bytes_max }),
        };
        Ok(Some((self.number, line)))
    }

    /// Discards the previous line, and frees the memory of a long one.
    fn forget_line(&mut self) {
        self.begun.clear();
        if self.begun.capacity() > limits::LINE_BYTES_KEPT {
            self.memory.release_read(self.begun.capacity());
            self.begun = Vec::new();
        }
    }

    /// Stores a part of the chunk that belongs to a line started earlier or continued in the next chunk.
    async fn keep(&mut self, part: Range<usize>) -> ApiResult<()> {
        append(&mut self.begun, &self.chunk[part], self.bounds.line_bytes_max, &mut self.memory).await
    }

    /// Reads the next chunk; false at the end of the body.
    async fn read_chunk(&mut self) -> ApiResult<bool> {
        self.chunk.clear();
        self.at = 0;
        let read = tokio::time::timeout(self.bounds.body_silence_max, self.reader.read_buf(&mut self.chunk)).await;
        let read = read.map_err(|_| timed_out())?.map_err(|error| broken(self.number + 1, self.coding, &error))?;
        self.unpacked += read as u64;
        let missing = zstd_frame::MAGIC.len() - self.head.len();
        if missing > 0 {
            self.head.extend(self.chunk.iter().take(missing));
            check_is_unpacked(&self.head, self.coding)?;
        }
        Ok(read > 0)
    }

    fn check_bounds(&self) -> ApiResult<()> {
        let too_large = |message| Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        if self.blank > limits::BLANK_BYTES_MAX {
            return too_large(format!("more than {} bytes of the body are blank lines", limits::BLANK_BYTES_MAX));
        }
        let received = self.received.load(Ordering::Relaxed);
        if self.unpacked > limits::UNPACK_BYTES_FREE + received.saturating_mul(self.bounds.unpack_ratio_max) {
            return too_large(format!(
                "the body decompresses to more than {} times its size",
                self.bounds.unpack_ratio_max
            ));
        }
        Ok(())
    }
}

fn broken(number: u64, coding: Coding, error: &io::Error) -> ApiError {
    match coding {
        // The error of zstd for a later frame with a larger window than the first.
        Coding::Zstd if error.to_string().contains("too much memory") => {
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, too_wide())
        }
        Coding::Identity => ApiError::invalid(format!("the body is truncated in line {number}; send it again")),
        _ => ApiError::invalid(format!(
            "the body cannot be decompressed in line {number} ({error}); check that it is complete and in {coding:?} format"
        )),
    }
}

fn too_wide() -> String {
    let bytes = limits::ZSTD_WINDOW_MAX;
    format!(
        "decompressing the body requires a window of more than {bytes} bytes; compress it without --long and --ultra"
    )
}

fn timed_out() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout while receiving the body; send it again")
}

#[cfg(test)]
mod tests {
    use futures::stream::{self, StreamExt};

    use super::*;
    use crate::ingest::body_memory::BodyMemory;

    const MIB: usize = 1 << 20;

    /// A body with this number of chunks of these bytes, after some others.
    fn body(begin: &'static [u8], chunk: &'static [u8], count: usize) -> Body {
        let chunks = std::iter::once(begin).chain(std::iter::repeat_n(chunk, count)).map(Bytes::from_static);
        Body::from_stream(stream::iter(chunks.map(Ok::<_, io::Error>)))
    }

    async fn begin(body: Body, coding: Coding, memory: &BodyMemory) -> ApiResult<Lines> {
        let bounds = Bounds { body_silence_max: std::time::Duration::from_millis(200), ..Bounds::default() };
        Lines::begin(body, coding, &bounds, memory.reservation_for_lines()).await
    }

    /// 90 unfinished lines of 15 MiB, each of 15 KB of gzip, took 1.4 GB.
    #[tokio::test]
    async fn unfinished_lines_share_bounded_memory() {
        static CHUNK: [u8; MIB] = [b'x'; MIB];
        let memory = BodyMemory::new(64 * MIB, 64 * MIB, 64 * MIB);
        let mut reading = Vec::new();
        for _ in 0..90 {
            // The sender stalls after 15 MiB.
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
        // Some were admitted and stalled; the others are rejected with a retry hint.
        assert!(ended[&408] >= 1 && ended[&503] >= 80, "{ended:?}");
        assert!(peak <= 64 * MIB, "{peak}");
        assert_eq!(memory.held_bytes(), (0, 0), "all of it is given back");
    }

    #[tokio::test]
    async fn memory_of_a_long_line_is_released_with_the_next() {
        static CHUNK: [u8; MIB] = [b'x'; MIB];
        let memory = BodyMemory::new(64 * MIB, 64 * MIB, 64 * MIB);
        let mut lines = begin(body(&CHUNK, &CHUNK, 9), Coding::Identity, &memory).await.unwrap();
        assert_eq!(
            lines.next().await.unwrap().map(|(number, line)| (number, line.unwrap().len())),
            Some((1, 10 * MIB))
        );
        assert!(memory.held_bytes().0 >= 10 * MIB);
        assert_eq!(lines.next().await.unwrap(), None);
        assert!(memory.held_bytes().0 <= 2 * CHUNK_BYTES, "{:?}", memory.held_bytes());
        drop(lines);
        assert_eq!(memory.held_bytes(), (0, 0));
    }

    #[tokio::test]
    async fn the_rest_of_an_overlong_line_is_skipped() {
        let bounds = Bounds { line_bytes_max: 100_000, ..Bounds::default() };
        let memory = BodyMemory::new(64 * MIB, 64 * MIB, 64 * MIB);
        let long = "x".repeat(300_000);
        for (text, numbers) in [
            (format!("one\n{long}\nthree\n"), vec![(1, true), (2, false), (3, true)]),
            (format!("{long}\n{long}"), vec![(1, false), (2, false)]),
            // A long line that ends in the chunk in which it becomes too long.
            (format!("{}\nthree", "x".repeat(100_001)), vec![(1, false), (2, true)]),
            (format!("{}\n", "x".repeat(100_000)), vec![(1, true)]),
        ] {
            let mut lines = Lines::begin(Body::from(text), Coding::Identity, &bounds, memory.reservation_for_lines())
                .await
                .unwrap();
            let mut seen = Vec::new();
            while let Some((number, line)) = lines.next().await.unwrap() {
                seen.push((number, line.is_ok()));
            }
            assert_eq!(seen, numbers);
        }
        assert_eq!(memory.held_bytes(), (0, 0));
    }

    #[test]
    fn every_line_of_the_header_counts_and_identity_says_nothing() {
        let coding = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CONTENT_ENCODING, axum::http::HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            content_coding(&headers).map_err(|error| (error.status.as_u16(), error.message))
        };
        for lines in [&[][..], &[""], &["identity"], &["Identity", "identity"], &["identity,, identity"]] {
            assert_eq!(coding(lines), Ok(Coding::Identity), "{lines:?}");
        }
        for lines in [&["gzip"][..], &["identity", "gzip"], &["X-GZIP", "identity"], &["identity, gzip"], &[" gzip ,"]]
        {
            assert_eq!(coding(lines), Ok(Coding::Gzip), "{lines:?}");
        }
        assert_eq!(coding(&["identity", "zstd"]), Ok(Coding::Zstd));
        for (lines, words) in [
            (&["gzip, gzip"][..], "more than one Content-Encoding \"gzip, gzip\""),
            (&["gzip", "zstd"], "more than one Content-Encoding \"gzip, zstd\""),
            (&["identity", "br"], "unknown Content-Encoding \"identity, br\""),
            (&["gzip", "\u{e9}"], "more than one"),
        ] {
            let (status, message) = coding(lines).unwrap_err();
            assert!(status == 415 && message.contains(words), "{lines:?}: {message}");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_still_compressed_is_refused_in_whatever_parts_it_arrives() {
        let memory = BodyMemory::new(64 * MIB, 64 * MIB, 64 * MIB);
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
        // An empty gzip member.
        let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0".to_vec();
        for (bytes, coding, words) in [
            (gzip.clone(), Coding::Identity, "Content-Encoding: gzip is missing"),
            (zstd(b"{}"), Coding::Identity, "Content-Encoding: zstd is missing"),
            (
                zstd(&gzip),
                Coding::Zstd,
                "gzip format after what Content-Encoding says was applied: it is compressed more",
            ),
            (zstd(&zstd(b"{}")), Coding::Zstd, "compressed more than once"),
        ] {
            for part in [1, 3, bytes.len()] {
                let parts: Vec<_> = bytes.chunks(part).map(|part| Ok::<_, io::Error>(part.to_vec())).collect();
                let mut lines = begin(Body::from_stream(stream::iter(parts)), coding, &memory).await.unwrap();
                let error = lines.next().await.map(|_| ()).unwrap_err();
                assert!(error.status == 415 && error.message.contains(words), "{}", error.message);
            }
        }
        for text in [&b"\x1f"[..], b"\x28\xb5\x2f", b"", b"\n\x1f\x8b"] {
            let mut lines = begin(Body::from(text.to_vec()), Coding::Identity, &memory).await.unwrap();
            assert!(lines.next().await.is_ok(), "{text:?}");
        }
    }

    /// 2 MB of gzip that decompress to 2 GiB of blank lines took 22 s.
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
        assert_eq!(lines.next().await.unwrap(), Some((1, Ok(b"one".as_slice()))));
        let error = begin(Body::from(pack(27)), Coding::Zstd, &memory).await.map(|_| ()).unwrap_err();
        assert_eq!((error.status.as_u16(), error.message.contains("window")), (413, true), "{}", error.message);
        // A later frame must not have a larger window than there is memory for.
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
