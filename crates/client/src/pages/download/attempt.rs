//! One request for a file, or for the rest of it: what the answer means, and its body, unpacked and bounded.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use futures::TryStreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use secrecy::SecretString;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio_util::io::StreamReader;

use super::sink::DownloadSink;
use crate::error::{Error, ErrorKind, Result};
use crate::transport::{DownloadSettings, LinkClient, is_too_slow};

/// The decompressed size that is allowed for any compression ratio. Unit: bytes.
const UNPACK_BYTES_FREE: u64 = 64 << 20;
/// How long a file whose bytes do not come keeps its turn.
const TURN_KEPT: Duration = Duration::from_millis(5);
/// The first bytes of gzip and zstd data.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Size of the buffers of decoders. Unit: bytes.
const UNPACKED_BYTES: usize = 1 << 16;

/// The compression of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Zstd,
    Deflate,
    Brotli,
}

/// The progress of a download.
#[derive(Default)]
pub(super) struct Progress {
    /// Bytes that the sink has, unpacked.
    pub(super) taken: u64,
    /// The entity tag of the file, if the sink receives the unmodified bytes of the file, so that the rest can be
    /// requested.
    pub(super) resumable: Option<HeaderValue>,
}

impl Progress {
    /// The offset from which the rest of the file can be requested, and its version.
    fn rest(&self) -> Option<(u64, &HeaderValue)> {
        self.resumable.as_ref().filter(|_| self.taken > 0).map(|tag| (self.taken, tag))
    }
}

/// The outcome of a request for a file or for the rest of it.
pub(super) enum Attempt {
    Whole,
    LinkRefused(Error),
    /// Worth another try.
    Broken(Error, Option<HeaderMap>),
}

/// Sends one request for what the sink does not have yet.
pub(super) async fn attempt(
    links: &LinkClient,
    link: &SecretString,
    sink: &mut dyn DownloadSink,
    progress: &mut Progress,
    on_bytes: &(dyn Fn(u64) + Sync),
) -> Result<Attempt> {
    let response = match links.get(link, progress.rest()).await {
        Ok(response) => response,
        Err(error) if error.kind() == ErrorKind::Unavailable => return Ok(Attempt::Broken(error, None)),
        Err(error) => return Err(error),
    };
    let status = response.status();
    match status {
        StatusCode::OK if progress.taken > 0 => {
            // The service does not support ranges, or the file has changed: it is sent from its beginning.
            progress.taken = 0;
            sink.restart()?;
        }
        StatusCode::OK => {}
        StatusCode::PARTIAL_CONTENT if starts_at(&response, progress.taken) => {}
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::UNAUTHORIZED => {
            let message = format!("the link was refused with {}; it may have expired", status.as_u16());
            return Ok(Attempt::LinkRefused(Error::new(ErrorKind::Unavailable, message)));
        }
        StatusCode::TOO_MANY_REQUESTS => {
            let error = Error::new(ErrorKind::Limited, "downloads are throttled (429)");
            return Ok(Attempt::Broken(error, Some(response.headers().clone())));
        }
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => {
            let message = format!("the download failed with {}", status.as_u16());
            return Err(Error::new(ErrorKind::Protocol, message));
        }
        status if status.is_server_error() || is_too_slow(status) => {
            let message = format!("the download failed with {}", status.as_u16());
            let error = Error::new(ErrorKind::Unavailable, message);
            return Ok(Attempt::Broken(error, Some(response.headers().clone())));
        }
        _ => {
            let message = format!("the download returned {}, which is not a file", status.as_u16());
            return Err(Error::new(ErrorKind::Protocol, message));
        }
    }
    take(links, response, sink, progress, on_bytes).await
}

/// Gives the body to the sink, unpacked and bounded.
async fn take(
    links: &LinkClient,
    response: reqwest::Response,
    sink: &mut dyn DownloadSink,
    progress: &mut Progress,
    on_bytes: &(dyn Fn(u64) + Sync),
) -> Result<Attempt> {
    let coding = response.headers().get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
    let coding = coding.unwrap_or_default().to_ascii_lowercase();
    let tag = response.headers().get(header::ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")).cloned();
    let announced = response.content_length();
    let received = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&received);
    let stream = response.bytes_stream().map_err(|error| std::io::Error::other(error.without_url()));
    let stream = stream.inspect_ok(move |chunk| {
        counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    });
    let mut raw = StreamReader::new(stream);

    let coding = match raw.fill_buf().await {
        // Only files that are not compressed are resumed.
        Ok(_) if progress.taken > 0 => None,
        // An empty body is not compressed, even with a label: an empty compressed file has some bytes.
        Ok([]) => None,
        Ok(start) => coding_of(&coding, start)?,
        Err(error) => return Ok(interrupted(error)),
    };
    let is_packed = coding.is_some();
    progress.resumable = tag.filter(|_| !is_packed);
    let mut plain = unpacked(coding, raw);
    // If files arrive faster than they can be processed, finishing the first ones before the others completes them
    // earlier than progressing evenly, and their processing can begin.
    let mut turn = None;
    loop {
        let mut coming = std::pin::pin!(plain.fill_buf());
        let bytes = match tokio::time::timeout(TURN_KEPT, &mut coming).await {
            Ok(bytes) => bytes,
            Err(_) => {
                turn = None;
                coming.await
            }
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => return Ok(interrupted(error)),
        };
        if bytes.is_empty() {
            break;
        }
        if turn.is_none() {
            turn = links.turn().await;
        }
        sink.write(bytes)?;
        let count = bytes.len();
        plain.as_mut().consume(count);
        progress.taken += count as u64;
        on_bytes(count as u64);
        check_bounds(links.settings(), progress.taken, received.load(Ordering::Relaxed), is_packed)?;
        // Bytes come as quickly as they are taken: without a pause, other pages' requests would wait for this file.
        tokio::task::yield_now().await;
    }
    let received = received.load(Ordering::Relaxed);
    match announced.filter(|announced| *announced != received) {
        Some(announced) => Ok(interrupted(std::io::Error::other(format!("received {received} of {announced} bytes")))),
        None => Ok(Attempt::Whole),
    }
}

/// Returns the compression of a file from its `Content-Encoding`, in lower case, and its first bytes; none if it is not
/// compressed.
///
/// Object storage sends the label with which a file was uploaded, independent of the request, and some uploaders use
/// labels that are not a compression (`utf-8`, `aws-chunked`) or none. `Protocol`: the file is compressed several
/// times.
fn coding_of(label: &str, start: &[u8]) -> Result<Option<Coding>> {
    let known = label.split(',').filter_map(|word| match word.trim() {
        "gzip" | "x-gzip" => Some(Coding::Gzip),
        "zstd" => Some(Coding::Zstd),
        "deflate" => Some(Coding::Deflate),
        "br" => Some(Coding::Brotli),
        _ => None,
    });
    let known: Vec<Coding> = known.collect();
    match known.as_slice() {
        [] if start.starts_with(&GZIP_MAGIC) => Ok(Some(Coding::Gzip)),
        [] if start.starts_with(&ZSTD_MAGIC) => Ok(Some(Coding::Zstd)),
        [] => Ok(None),
        [Coding::Brotli] => Ok(Some(Coding::Brotli)),
        // A label that was left on a file that is not compressed: none of these formats starts like JSON.
        [Coding::Gzip | Coding::Zstd | Coding::Deflate] if starts_like_json(start) => Ok(None),
        [one] => Ok(Some(*one)),
        _ => Err(Error::new(ErrorKind::Protocol, format!("the file is compressed several times ({label:?})"))),
    }
}

/// Returns a reader of the decompressed file.
fn unpacked(coding: Option<Coding>, raw: impl AsyncBufRead + Send + 'static) -> Pin<Box<dyn AsyncBufRead + Send>> {
    match coding {
        None => Box::pin(raw),
        Some(Coding::Gzip) => {
            let mut decoder = GzipDecoder::new(raw);
            decoder.multiple_members(true);
            Box::pin(BufReader::with_capacity(UNPACKED_BYTES, decoder))
        }
        Some(Coding::Zstd) => {
            let mut decoder = ZstdDecoder::new(raw);
            decoder.multiple_members(true);
            Box::pin(BufReader::with_capacity(UNPACKED_BYTES, decoder))
        }
        Some(Coding::Deflate) => Box::pin(BufReader::with_capacity(UNPACKED_BYTES, ZlibDecoder::new(raw))),
        Some(Coding::Brotli) => Box::pin(BufReader::with_capacity(UNPACKED_BYTES, BrotliDecoder::new(raw))),
    }
}

fn starts_like_json(start: &[u8]) -> bool {
    matches!(start.first(), Some(b'[' | b'{' | b' ' | b'\n' | b'\r' | b'\t' | 0xef))
}

fn check_bounds(settings: &DownloadSettings, taken: u64, received: u64, is_packed: bool) -> Result<()> {
    let refused = |message| Err(Error::new(ErrorKind::Refused, message));
    if taken > settings.bytes_max {
        return refused(format!("download refused: the file is larger than {} bytes", settings.bytes_max));
    }
    let ratio = settings.unpack_ratio_max;
    if is_packed && taken > UNPACK_BYTES_FREE + received.saturating_mul(ratio) {
        return refused(format!("download refused: the file decompresses to more than {ratio} times its size"));
    }
    Ok(())
}

fn interrupted(error: std::io::Error) -> Attempt {
    Attempt::Broken(Error::caused(ErrorKind::Unavailable, "a download was interrupted", error), None)
}

fn starts_at(response: &reqwest::Response, expected: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('-')?.0.parse::<u64>().ok());
    start == Some(expected)
}

#[cfg(test)]
mod tests {
    use async_compression::tokio::bufread::{BrotliEncoder, ZlibEncoder};
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn whole(mut from: impl AsyncBufRead + Unpin) -> Vec<u8> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn compressed_files_are_decompressed() {
        let text = "[{\"logTimestamp\":1}]".repeat(10_000).into_bytes();
        let brotli = whole(BufReader::new(BrotliEncoder::new(text.as_slice()))).await;
        let deflate = whole(BufReader::new(ZlibEncoder::new(text.as_slice()))).await;
        for (label, packed) in [("br", brotli), ("deflate", deflate)] {
            let coding = coding_of(label, &packed).unwrap();
            assert_eq!(whole(unpacked(coding, std::io::Cursor::new(packed))).await, text, "{label}");
        }
    }

    #[test]
    fn only_known_content_encodings_are_honoured() {
        let gzip = [0x1f, 0x8b, 8];
        for label in ["", "identity", "utf-8", "none", "aws-chunked", "?"] {
            assert_eq!(coding_of(label, b"[{").unwrap(), None, "{label}");
            assert_eq!(coding_of(label, &gzip).unwrap(), Some(Coding::Gzip), "{label}");
            assert_eq!(coding_of(label, &ZSTD_MAGIC).unwrap(), Some(Coding::Zstd), "{label}");
        }
        assert_eq!(coding_of("aws-chunked, gzip", &gzip).unwrap(), Some(Coding::Gzip));
        assert_eq!(coding_of("gzip", b"[").unwrap(), None);
        // Not all of it has come.
        assert_eq!(coding_of("zstd", &ZSTD_MAGIC[..1]).unwrap(), Some(Coding::Zstd));
        assert_eq!(coding_of("br", b"[").unwrap(), Some(Coding::Brotli));
        assert_eq!(coding_of("deflate", b"x").unwrap(), Some(Coding::Deflate));
        assert_eq!(coding_of("gzip, gzip", &gzip).unwrap_err().kind(), ErrorKind::Protocol);
    }
}
