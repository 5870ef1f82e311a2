//! Page files: the log as it is downloaded, in compressed frames.
//!
//! The plain bytes are cut into frames of one mebibyte, each compressed on its own. Together the frames are one zstd
//! stream, so the file can be sent as it is; and with their lengths, which the catalog keeps, any range of the plain
//! bytes is found without decompressing what is before it.
//!
//! Where the bucket makes the links, the file lies there as it is downloaded: in no frames, and not compressed.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStore, ObjectStoreExt};
use runlog_model::text::TextLine;
use runlog_model::{FileFormat, Timestamp};
use sqlx::FromRow;
use tokio::io::AsyncWriteExt;
use url::Url;

use crate::error::{Error, Result};
use crate::limits;
use crate::page::PageFile;
use crate::segment_file::Body;
use crate::store::Store;

/// Writes records as a page file, frame by frame.
pub(crate) struct PageFileWriter {
    format: FileFormat,
    is_packed: bool,
    object: BufWriter,
    frame: Vec<u8>,
    frames: Vec<Frame>,
    plain_bytes: u64,
    records: u64,
}

/// Lengths of a frame. Unit: bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    plain: u32,
    zstd: u32,
}

/// What the catalog keeps of a page file that is complete.
pub(crate) struct WrittenPage {
    pub(crate) records: u64,
    pub(crate) plain_bytes: u64,
    /// Length of the object.
    pub(crate) stored_bytes: u64,
    /// Empty when it is not compressed.
    pub(crate) frames: Vec<u8>,
}

impl PageFileWriter {
    /// A file in compressed frames, for [`PageReader`].
    pub(crate) fn packed(objects: Arc<dyn ObjectStore>, key: Path, format: FileFormat) -> Self {
        Self::new(BufWriter::new(objects, key), format, true)
    }

    /// A file that is downloaded from the bucket as it is.
    pub(crate) fn plain(objects: Arc<dyn ObjectStore>, key: Path, format: FileFormat) -> Self {
        let attributes = Attributes::from_iter([(Attribute::ContentType, format.content_type())]);
        Self::new(BufWriter::new(objects, key).with_attributes(attributes), format, false)
    }

    fn new(object: BufWriter, format: FileFormat, is_packed: bool) -> Self {
        let frame = Vec::with_capacity(limits::PAGE_FRAME_BYTES + (64 << 10));
        Self { format, is_packed, object, frame, frames: Vec::new(), plain_bytes: 0, records: 0 }
    }

    /// Adds a record; the caller then calls [`PageFileWriter::flush_full_frame`].
    pub(crate) fn add(&mut self, epoch_ms: i64, body: Body<'_>) -> Result<()> {
        match self.format {
            FileFormat::Json => {
                self.frame.extend_from_slice(if self.records == 0 { b"[\n" } else { b",\n" });
                write_json(&mut self.frame, epoch_ms, body);
            }
            FileFormat::Text => write_text(&mut self.frame, epoch_ms, body),
        }
        self.records += 1;
        Ok(())
    }

    /// True when the frame is as long as it should become.
    pub(crate) fn is_frame_full(&self) -> bool {
        self.frame.len() >= limits::PAGE_FRAME_BYTES
    }

    /// Compresses what has gathered, where it is to be, and hands it to the object.
    pub(crate) async fn flush_frame(&mut self) -> Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        self.plain_bytes += self.frame.len() as u64;
        if self.is_packed {
            let compressed = zstd::bulk::compress(&self.frame, 1)
                .map_err(|error| Error::caused(crate::ErrorKind::Unavailable, "cannot compress a page file", error))?;
            self.frames.push(Frame { plain: self.frame.len() as u32, zstd: compressed.len() as u32 });
            self.object.put(compressed.into()).await?;
        } else {
            self.object.put(Bytes::copy_from_slice(&self.frame)).await?;
        }
        self.frame.clear();
        Ok(())
    }

    /// Ends the file; when this returns, the object is complete.
    pub(crate) async fn finish(mut self) -> Result<WrittenPage> {
        if self.format == FileFormat::Json {
            self.frame.extend_from_slice(if self.records == 0 { b"[]\n" } else { b"\n]\n" });
        }
        self.flush_frame().await?;
        self.object
            .shutdown()
            .await
            .map_err(|error| Error::caused(crate::ErrorKind::Unavailable, "cannot write a page file", error))?;
        let compressed_bytes = self.frames.iter().map(|frame| u64::from(frame.zstd)).sum();
        Ok(WrittenPage {
            records: self.records,
            plain_bytes: self.plain_bytes,
            stored_bytes: if self.is_packed { compressed_bytes } else { self.plain_bytes },
            frames: self.frames.iter().flat_map(|frame| [frame.plain, frame.zstd]).flat_map(u32::to_le_bytes).collect(),
        })
    }
}

/// One record as one line of JSON, without a line break at its end.
fn write_json(out: &mut Vec<u8>, epoch_ms: i64, body: Body<'_>) {
    // Writing into memory does not fail.
    let _ = write!(out, "{{\"logTimestamp\":{epoch_ms}");
    let texts = [
        ("severity", body.severity),
        ("logType", body.log_type),
        ("logMessage", body.message),
        ("bundleName", body.bundle_name),
        ("bundleVersion", body.bundle_version),
        ("podName", body.pod_name),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            let _ = write!(out, ",\"{name}\":");
            let _ = serde_json::to_writer(&mut *out, text);
        }
    }
    if let Some(fields) = body.extra.and_then(|extra| extra.strip_prefix('{')).filter(|fields| *fields != "}") {
        out.push(b',');
        out.extend_from_slice(fields.as_bytes());
    } else {
        out.push(b'}');
    }
}

fn write_text(out: &mut Vec<u8>, epoch_ms: i64, body: Body<'_>) {
    let line = TextLine {
        time: Timestamp::clamped(epoch_ms),
        severity: body.severity,
        log_type: body.log_type,
        bundle_name: body.bundle_name,
        message: body.message,
    };
    // Writing into memory does not fail.
    let _ = line.write_to(out);
}

/// An open page file: its bytes plain, any range of them, or compressed as they are.
pub struct PageReader {
    /// Length of the plain file. Unit: bytes.
    pub plain_bytes: u64,
    /// Length of the compressed file, none when it does not lie compressed. Unit: bytes.
    pub zstd_bytes: Option<u64>,
    /// The form of the file.
    pub format: FileFormat,
    /// Names the content: the same tag, the same bytes.
    pub etag: String,
    objects: Arc<dyn ObjectStore>,
    object_key: Path,
    frames: Vec<Frame>,
}

#[derive(FromRow)]
struct PageFileRow {
    object_key: String,
    file_format: String,
    plain_bytes: i64,
    zstd_bytes: i64,
    frames: Vec<u8>,
}

/// The part of one frame that a range of the plain bytes needs.
struct FramePart {
    in_object: Range<u64>,
    in_plain: Range<usize>,
}

impl Store {
    /// Opens a page file that was built; none when there is no such file any more.
    pub async fn open_page(&self, key: &str) -> Result<Option<PageReader>> {
        let row: Option<PageFileRow> = sqlx::query_as(
            "SELECT object_key, file_format, plain_bytes, zstd_bytes, frames FROM page_files
             WHERE key = $1 AND built_at IS NOT NULL",
        )
        .bind(key)
        .fetch_optional(self.catalog().read())
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(PageReader {
            plain_bytes: row.plain_bytes as u64,
            zstd_bytes: (!row.frames.is_empty()).then_some(row.zstd_bytes as u64),
            format: row.file_format.parse().map_err(|_| Error::corrupt("the form of a page file does not decode"))?,
            etag: key.to_owned(),
            objects: Arc::clone(self.objects()),
            object_key: Path::from(row.object_key),
            frames: frames_of(&row.frames),
        }))
    }
}

impl Store {
    /// A link to a file, by the bucket it lies in, for a time. None when links lead to Runlog, or when the file lies
    /// compressed, because it was built when they did.
    pub async fn page_link(&self, file: &PageFile, life: Duration) -> Result<Option<Url>> {
        if !self.settings().links_by_bucket {
            return Ok(None);
        }
        let object_key: Option<String> = sqlx::query_scalar(
            "SELECT object_key FROM page_files WHERE key = $1 AND built_at IS NOT NULL AND length(frames) = 0",
        )
        .bind(&file.key)
        .fetch_optional(self.catalog().read())
        .await?;
        match object_key {
            Some(key) => self.object_link(&Path::from(key), &file.quotable_name(), life).await,
            None => Ok(None),
        }
    }
}

impl PageReader {
    /// A range of the plain bytes. What is past the end is left out.
    pub fn plain(self, range: Range<u64>) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        let is_packed = self.zstd_bytes.is_some();
        let parts = if is_packed { parts_of(&self.frames, range) } else { plain_parts(range, self.plain_bytes) };
        let (objects, key) = (self.objects, self.object_key);
        stream::iter(parts)
            .map(move |part| {
                let (objects, key) = (Arc::clone(&objects), key.clone());
                async move {
                    let stored = objects.get_range(&key, part.in_object).await?;
                    if is_packed {
                        tokio::task::spawn_blocking(move || unpack(&stored, part.in_plain)).await?
                    } else {
                        Ok(stored)
                    }
                }
            })
            // The next frame is decompressed while the one before is sent.
            .buffered(2)
    }

    /// The whole file as one zstd stream.
    pub fn zstd(self) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        let (objects, key) = (self.objects, self.object_key);
        stream::once(async move { Ok::<_, Error>(objects.get(&key).await?.into_stream().map_err(Error::from)) })
            .try_flatten()
    }
}

/// A part of the plain bytes of a frame.
fn unpack(frame: &[u8], part: Range<usize>) -> Result<Bytes> {
    let capacity = limits::PAGE_FRAME_BYTES + (64 << 20);
    let plain = zstd::bulk::decompress(frame, capacity)
        .map_err(|_| Error::corrupt("a frame of a page file does not decode"))?;
    let plain = Bytes::from(plain);
    match plain.len() >= part.end {
        true => Ok(plain.slice(part)),
        false => Err(Error::corrupt("a frame of a page file is too short")),
    }
}

fn frames_of(bytes: &[u8]) -> Vec<Frame> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
    bytes.chunks_exact(8).map(|pair| Frame { plain: number(&pair[..4]), zstd: number(&pair[4..]) }).collect()
}

fn parts_of(frames: &[Frame], range: Range<u64>) -> Vec<FramePart> {
    let (mut plain_at, mut zstd_at) = (0_u64, 0_u64);
    let mut parts = Vec::new();
    for frame in frames {
        let (plain_end, zstd_end) = (plain_at + u64::from(frame.plain), zstd_at + u64::from(frame.zstd));
        let (start, end) = (range.start.max(plain_at), range.end.min(plain_end));
        if start < end {
            let in_plain = (start - plain_at) as usize..(end - plain_at) as usize;
            parts.push(FramePart { in_object: zstd_at..zstd_end, in_plain });
        }
        (plain_at, zstd_at) = (plain_end, zstd_end);
    }
    parts
}

/// The parts of a file that is not compressed.
fn plain_parts(range: Range<u64>, bytes: u64) -> Vec<FramePart> {
    let (end, step) = (range.end.min(bytes), limits::PAGE_FRAME_BYTES as u64);
    let starts = (range.start..end).step_by(limits::PAGE_FRAME_BYTES);
    let part = |start: u64| start..end.min(start + step);
    starts.map(part).map(|part| FramePart { in_plain: 0..(part.end - part.start) as usize, in_object: part }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_takes_only_the_frames_it_needs() {
        let frames = [Frame { plain: 10, zstd: 3 }, Frame { plain: 10, zstd: 4 }, Frame { plain: 5, zstd: 2 }];
        let parts = parts_of(&frames, 12..25);
        let shown: Vec<_> = parts.iter().map(|part| (part.in_object.clone(), part.in_plain.clone())).collect();
        assert_eq!(shown, [(3..7, 2..10), (7..9, 0..5)]);
        assert!(parts_of(&frames, 25..30).is_empty());
    }

    #[test]
    fn lengths_of_frames_are_read_as_they_are_written() {
        let frame = Frame { plain: 0x0102_0304, zstd: 5 };
        let bytes: Vec<u8> = [frame.plain, frame.zstd].into_iter().flat_map(u32::to_le_bytes).collect();
        assert_eq!(frames_of(&bytes), [frame]);
    }

    #[test]
    fn a_record_is_one_line_of_json() {
        let body = Body {
            severity: Some("INFO"),
            log_type: None,
            message: Some("a\n\"b\""),
            bundle_name: None,
            bundle_version: None,
            pod_name: None,
            extra: Some(r#"{"n":1}"#),
        };
        let mut out = Vec::new();
        write_json(&mut out, 7, body);
        let expected = r#"{"logTimestamp":7,"severity":"INFO","logMessage":"a\n\"b\"","n":1}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
