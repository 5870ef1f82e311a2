//! Page files: parts of logs for download, in compressed frames.
//!
//! The plain bytes are divided into frames of one mebibyte, each compressed separately. The concatenated frames are one
//! zstd stream, so the file can be sent unchanged. The catalog stores the lengths of the frames, so any range of the
//! plain bytes can be located without decompressing the preceding bytes.
//!
//! If files are downloaded through links signed by the bucket, the file is stored uncompressed, exactly as it is
//! downloaded.
//!
//! The catalog also stores a digest of each frame, which is verified before bytes of the frame are served. A damaged
//! file is rebuilt from the log, and the read continues with the new file.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use az::SaturatingAs;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStore, ObjectStoreExt};
use runlog_model::FileFormat;
use sha2::{Digest, Sha256};
use sqlx_macros::FromRow;
use tokio::io::AsyncWriteExt;
use tracing::{error, warn};
use url::Url;

use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::log::merge::RecordBlock;
use crate::objects::keys::PageForm;
use crate::objects::read_error::read_error;
use crate::page::builders::Pages;
use crate::page::compressor::FrameCompressor;
use crate::page::format::{JsonColumns, write_text};
use crate::page::types::PageFile;

/// A writer of a page file as an object.
pub(crate) struct PageFileWriter {
    form: PageForm,
    object: BufWriter,
    frames: Vec<Frame>,
    plain_bytes: u64,
    records: u64,
}

/// Consecutive records of a page file, formatted and divided into frames.
#[derive(Default)]
pub(crate) struct PageFrames {
    cut: Vec<(Frame, Bytes)>,
    records: u64,
}

/// A formatter of records that divides them into frames.
pub(crate) struct FrameCutter {
    form: PageForm,
    /// True if the frames contain the first record of the file.
    is_begin: bool,
    compressor: FrameCompressor,
    frames: PageFrames,
}

/// The length and digest of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    /// The decompressed length of the frame. Unit: bytes.
    plain: u32,
    /// The length of the frame in the object, which is the same if the file is not compressed. Unit: bytes.
    stored: u32,
    /// The first bytes of the SHA-256 of the stored bytes; `None` in files of earlier versions.
    digest: Option<FrameDigest>,
}

type FrameDigest = [u8; 8];

/// The data about a complete page file that is stored in the catalog.
pub(crate) struct WrittenPage {
    pub(crate) records: u64,
    pub(crate) plain_bytes: u64,
    /// Length of the object.
    pub(crate) stored_bytes: u64,
    /// Lengths of the compressed frames, for earlier versions; empty if the file is not compressed.
    pub(crate) frames: Vec<u8>,
    /// Lengths and digests of all frames.
    pub(crate) checks: Vec<u8>,
}

impl FrameCutter {
    /// Creates a cutter. `is_begin` is true if its records begin the file.
    pub(crate) fn new(form: PageForm, is_begin: bool, mut compressor: FrameCompressor) -> Self {
        compressor.plain.clear();
        Self { form, is_begin, compressor, frames: PageFrames::default() }
    }

    /// Adds records.
    pub(crate) fn add(&mut self, records: &RecordBlock) -> Result<()> {
        let (values, rows) = records.texts();
        let json = JsonColumns::new(values, records.len());
        for (epoch_ms, row) in rows {
            let out = &mut self.compressor.plain;
            match self.form.format {
                FileFormat::Json => {
                    let is_first = self.is_begin && self.frames.records == 0;
                    out.extend_from_slice(if is_first { b"[\n{\"logTimestamp\":" } else { b",\n{\"logTimestamp\":" });
                    json.write(out, epoch_ms, row);
                }
                FileFormat::Text => write_text(out, epoch_ms, values.row(row)),
            }
            self.frames.records += 1;
            if self.compressor.plain.len() >= limits::PAGE_FRAME_BYTES {
                self.cut()?;
            }
        }
        Ok(())
    }

    /// Ends the last frame.
    pub(crate) fn finish(mut self) -> Result<(PageFrames, FrameCompressor)> {
        self.cut()?;
        Ok((self.frames, self.compressor))
    }

    fn cut(&mut self) -> Result<()> {
        let plain = self.compressor.plain.len().saturating_as::<u32>();
        if plain == 0 {
            return Ok(());
        }
        let bytes = match self.form.is_compressed {
            true => self.compressor.compress()?,
            false => Bytes::copy_from_slice(&self.compressor.plain),
        };
        let frame = Frame { plain, stored: bytes.len().saturating_as::<u32>(), digest: Some(digest_of(&bytes)) };
        self.frames.cut.push((frame, bytes));
        self.compressor.plain.clear();
        Ok(())
    }
}

impl PageFileWriter {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>, key: Path, form: PageForm) -> Self {
        let mut object = BufWriter::new(objects, key);
        if !form.is_compressed {
            let content_type = Attributes::from_iter([(Attribute::ContentType, form.format.content_type())]);
            object = object.with_attributes(content_type);
        }
        Self { form, object, frames: Vec::new(), plain_bytes: 0, records: 0 }
    }

    /// Adds the next frames; the last of them is complete.
    pub(crate) async fn write(&mut self, next: PageFrames) -> Result<()> {
        self.records += next.records;
        for (frame, bytes) in next.cut {
            self.plain_bytes += u64::from(frame.plain);
            self.frames.push(frame);
            self.object.put(bytes).await?;
        }
        Ok(())
    }

    /// Returns the frames that end the file.
    pub(crate) fn end(&self, compressor: FrameCompressor) -> Result<(PageFrames, FrameCompressor)> {
        let mut end = FrameCutter::new(self.form, false, compressor);
        if self.form.format == FileFormat::Json {
            end.compressor.plain.extend_from_slice(if self.records == 0 { b"[]\n" } else { b"\n]\n" });
        }
        end.finish()
    }

    /// Removes the uploaded parts of a file that will not be completed.
    pub(crate) async fn abort(mut self) {
        if let Err(error) = self.object.abort().await {
            warn!(%error, "parts of an abandoned log file could not be removed");
        }
    }

    /// Completes the object.
    pub(crate) async fn finish(mut self) -> Result<WrittenPage> {
        self.object
            .shutdown()
            .await
            .map_err(|error| Error::caused(crate::ErrorKind::Unavailable, "cannot write a page file", error))?;
        let lengths = self.frames.iter().flat_map(|frame| [frame.plain, frame.stored]).flat_map(u32::to_le_bytes);
        Ok(WrittenPage {
            records: self.records,
            plain_bytes: self.plain_bytes,
            stored_bytes: stored_bytes(&self.frames),
            frames: if self.form.is_compressed { lengths.collect() } else { Vec::new() },
            checks: checks_of(&self.frames),
        })
    }
}

/// An open page file, from which any range of the plain bytes or the compressed file can be read.
///
/// Damaged bytes are never returned. A damaged file is rebuilt once from the log, and the read continues with the new
/// file. If the file cannot be rebuilt, the error contains the object.
#[derive(Clone)]
pub struct PageReader {
    /// Length of the plain file. Unit: bytes.
    pub plain_bytes: u64,
    /// Length of the compressed file; `None` if the file is not stored compressed. Unit: bytes.
    pub zstd_bytes: Option<u64>,
    /// The format of the file.
    pub format: FileFormat,
    /// Identifies the content: the same tag means the same bytes.
    pub etag: String,
    pages: Pages,
    object_key: Path,
    frames: Arc<[Frame]>,
    /// True if the file was just rebuilt to replace a damaged one.
    is_rebuilt: bool,
}

#[derive(FromRow)]
struct PageFileRow {
    object_key: Option<String>,
    file_format: String,
    plain_bytes: Option<i64>,
    zstd_bytes: Option<i64>,
    frames: Option<Vec<u8>>,
    checks: Option<Vec<u8>>,
    attempts: i64,
}

/// The part of a frame that belongs to a range of the plain bytes.
#[derive(Debug, Clone)]
struct FramePart {
    frame: Frame,
    in_object: Range<u64>,
    in_frame: Range<usize>,
    in_plain: Range<u64>,
}

impl Pages {
    /// Opens a built page file; `None` if the file no longer exists. A file that was lost in a crash of the machine is
    /// rebuilt first.
    pub async fn open_page(&self, key: &str) -> Result<Option<PageReader>> {
        let Some(row) = self.page_file_row(key).await? else { return Ok(None) };
        let object_key = row.object_key.clone();
        let page = match (self.reader_of(key, row), object_key) {
            (Ok(Some(page)), _) => page,
            (Err(damage), Some(object_key)) if damage.kind() == ErrorKind::Corrupt => {
                return self.rebuilt_page(key, &Path::from(object_key), damage).await.map(Some);
            }
            (page, _) => return page,
        };
        match self.core.is_whole(&page.object_key, stored_bytes(&page.frames)).await? {
            true => Ok(Some(page)),
            false => {
                let lost = page.damaged("is not as long as it was written; did the machine go down?");
                page.rebuilt(lost).await.map(Some)
            }
        }
    }

    /// Rebuilds a damaged or lost file, and opens it.
    async fn rebuilt_page(&self, key: &str, lost: &Path, damage: Error) -> Result<PageReader> {
        warn!(page.key = key, error = %damage, "a log file is damaged, and is built again from the log");
        self.requeue_page(key, lost).await?;
        let waiting = async {
            loop {
                let mut built = self.builds().subscribe();
                let gone = || Error::new(ErrorKind::Expired, "the file has expired: generate the log again");
                let row = self.page_file_row(key).await?.ok_or_else(gone)?;
                let has_failed = row.attempts >= limits::PAGE_ATTEMPTS_MAX;
                match self.reader_of(key, row)? {
                    Some(again) => return Ok(PageReader { is_rebuilt: true, ..again }),
                    None if has_failed => return Err(damage),
                    None => {}
                }
                self.build_if_needed(key).await;
                let _ = tokio::time::timeout(REREAD_INTERVAL, built.recv()).await;
            }
        };
        let wait = Duration::from_millis(limits::PAGE_REBUILD_MS);
        tokio::time::timeout(wait, waiting).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Unavailable, format!("page file {lost} is damaged, and not built again yet")))
        })
    }

    async fn page_file_row(&self, key: &str) -> Result<Option<PageFileRow>> {
        let row = sqlx::query_as(
            "SELECT object_key, file_format, plain_bytes, zstd_bytes, frames, checks, attempts FROM page_files
             WHERE key = $1",
        )
        .bind(key)
        .fetch_optional(self.core.catalog().read())
        .await?;
        Ok(row)
    }

    /// Creates the reader of a file; `None` if the file is not built.
    fn reader_of(&self, key: &str, row: PageFileRow) -> Result<Option<PageReader>> {
        let (Some(object_key), Some(plain_bytes), Some(stored)) = (row.object_key, row.plain_bytes, row.zstd_bytes)
        else {
            return Ok(None);
        };
        let lengths = row.frames.unwrap_or_default();
        let frames = match row.checks.filter(|checks| !checks.is_empty()) {
            Some(checks) => frames_of_checks(&checks)
                .filter(|frames| stored_bytes(frames) == stored.saturating_as::<u64>())
                .ok_or_else(|| Error::corrupt(format!("the checks of page file {object_key} are damaged")))?,
            None if lengths.is_empty() => unchecked_pieces(plain_bytes.saturating_as::<u64>()),
            None => frames_of(&lengths),
        };
        Ok(Some(PageReader {
            plain_bytes: plain_bytes.saturating_as::<u64>(),
            zstd_bytes: (!lengths.is_empty()).then_some(stored.saturating_as::<u64>()),
            format: row.file_format.parse().map_err(|_| Error::corrupt("the form of a page file does not decode"))?,
            etag: key.to_owned(),
            pages: self.clone(),
            object_key: Path::from(object_key),
            frames: frames.into(),
            is_rebuilt: false,
        }))
    }

    /// Reads a built page file completely. Returns a description of the damage; `None` if the file is intact.
    pub(crate) async fn find_page_damage(&self, key: &str) -> Result<Option<String>> {
        let Some(row) = self.page_file_row(key).await? else { return Ok(None) };
        let object_key = row.object_key.clone();
        let Some(problem) = self.find_damage_of(key, row).await? else { return Ok(None) };
        // The row of a file is removed before the file: if the row no longer exists, the file was deleted in the
        // meantime and is not damaged.
        let is_named = self.page_file_row(key).await?.is_some_and(|row| row.object_key == object_key);
        Ok(is_named.then_some(problem))
    }

    async fn find_damage_of(&self, key: &str, row: PageFileRow) -> Result<Option<String>> {
        let page = match self.reader_of(key, row) {
            Ok(Some(page)) => page,
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(Some(error.to_string())),
            Err(error) => return Err(error),
        };
        let length = page.stored_length().await?;
        let expected = stored_bytes(&page.frames);
        let name = &page.object_key;
        match length {
            None => return Ok(Some(format!("page file {name} is missing"))),
            Some(length) if length != expected => {
                return Ok(Some(format!("page file {name} has {length} bytes where the catalog says {expected}")));
            }
            Some(_) => {}
        }
        for part in parts_of(&page.frames, 0..page.plain_bytes) {
            match page.intact(&part).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(Some(error.to_string())),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Queues a page file again because the file or its checksums in the catalog are damaged.
    pub(crate) async fn rebuild_page(&self, key: &str) -> Result<()> {
        let lost = self.page_file_row(key).await?.and_then(|row| row.object_key);
        match lost {
            Some(lost) => self.requeue_page(key, &Path::from(lost)).await,
            None => Ok(()),
        }
    }
}

impl Pages {
    /// Returns a temporary link to a file, signed by its bucket. Returns `None` if files are downloaded from Runlog, or
    /// if the file is stored compressed because it was built with that setting.
    pub async fn page_link(&self, file: &PageFile, life: Duration) -> Result<Option<Url>> {
        if !self.core.settings().links_by_bucket {
            return Ok(None);
        }
        let object_key: Option<String> = sqlx::query_scalar(
            "SELECT object_key FROM page_files WHERE key = $1 AND built_at IS NOT NULL AND length(frames) = 0",
        )
        .bind(&file.key)
        .fetch_optional(self.core.catalog().read())
        .await?;
        match object_key {
            Some(key) => self.core.object_link(&Path::from(key), &file.quotable_name(), life).await,
            None => Ok(None),
        }
    }
}

/// The bytes of a page file, as a stream.
pub type PageBytes = BoxStream<'static, Result<Bytes>>;

impl PageReader {
    /// Returns a range of the plain bytes. The part of the range past the end is ignored.
    pub fn plain(self, range: Range<u64>) -> PageBytes {
        let page = Arc::new(self);
        stream::iter(parts_of(&page.frames, range))
            .map(move |part| {
                let page = Arc::clone(&page);
                async move { page.part(part).await }
            })
            // The next frame is decompressed while the previous one is sent.
            .buffered(2)
            .boxed()
    }

    /// Like [`plain`](Self::plain), but reads the first bytes before returning, so that the caller can still report an
    /// error.
    pub async fn begin_plain(self, range: Range<u64>) -> Result<PageBytes> {
        with_first_bytes(self.plain(range)).await
    }

    /// Returns the length of the compressed file and the whole file as one zstd stream, with the first bytes already
    /// read. Returns `None` if the file is not stored compressed.
    pub async fn begin_zstd(self) -> Result<Option<(u64, PageBytes)>> {
        let Some(length) = self.zstd_bytes else { return Ok(None) };
        match with_first_bytes(self.clone().zstd()).await {
            Err(damage) if damage.kind() == ErrorKind::Corrupt && !self.is_rebuilt => {
                let again = self.rebuilt(damage).await?;
                let Some(length) = again.zstd_bytes else { return Ok(None) };
                Ok(Some((length, with_first_bytes(again.zstd()).await?)))
            }
            bytes => Ok(Some((length, bytes?))),
        }
    }

    /// Returns the whole file as one zstd stream. The stream ends with an error if the file is damaged, because a
    /// rebuilt file may have other frames.
    fn zstd(self) -> PageBytes {
        let page = Arc::new(self);
        let parts = parts_of(&page.frames, 0..page.plain_bytes);
        stream::iter(parts)
            .map(move |part| {
                let page = Arc::clone(&page);
                async move {
                    let stored = page.intact(&part).await;
                    if let Err(damage) = &stored
                        && damage.kind() == ErrorKind::Corrupt
                    {
                        error!(error = damage as &dyn std::error::Error, "a download was interrupted");
                        page.pages.requeue_page(&page.etag, &page.object_key).await?;
                    }
                    stored
                }
            })
            .buffered(2)
            .boxed()
    }

    /// Reads a part of the plain bytes, from this file or from the file that replaced it.
    async fn part(&self, part: FramePart) -> Result<Bytes> {
        match self.intact_plain(&part).await {
            Err(damage) if damage.kind() == ErrorKind::Corrupt && !self.is_rebuilt => {
                let again = self.rebuilt(damage).await?;
                let mut bytes = BytesMut::with_capacity(part.in_frame.len());
                for part in parts_of(&again.frames, part.in_plain) {
                    bytes.extend_from_slice(&again.intact_plain(&part).await?);
                }
                Ok(bytes.freeze())
            }
            bytes => bytes,
        }
    }

    async fn intact_plain(&self, part: &FramePart) -> Result<Bytes> {
        let stored = self.intact(part).await?;
        if self.zstd_bytes.is_none() {
            return Ok(stored.slice(part.in_frame.clone()));
        }
        let (bytes, in_frame) = (part.frame.plain as usize, part.in_frame.clone());
        let plain = self.pages.core.cpu().run(move || Ok(decompress(&stored, bytes, in_frame))).await?;
        plain.ok_or_else(|| self.damaged("does not decompress"))
    }

    /// Reads the stored bytes of a frame. Fails with `Corrupt` if they differ from the bytes that were written.
    async fn intact(&self, part: &FramePart) -> Result<Bytes> {
        let stored = match self.pages.core.objects().get_range(&self.object_key, part.in_object.clone()).await {
            Ok(stored) => stored,
            // The length is checked because the error of a read past the end differs between object stores.
            Err(error) => match self.stored_length().await? {
                Some(length) if length == stored_bytes(&self.frames) => return Err(self.unreadable(error).await),
                Some(_) => return Err(self.damaged("is not as long as it was written")),
                None => return Err(self.damaged("is missing")),
            },
        };
        let is_intact = stored.len() == part.frame.stored as usize
            && part.frame.digest.is_none_or(|expected| digest_of(&stored) == expected);
        match is_intact {
            true => Ok(stored),
            false => Err(self.damaged("does not hold the bytes that were written")),
        }
    }

    /// Returns the length of the object; `None` if the object does not exist.
    async fn stored_length(&self) -> Result<Option<u64>> {
        match self.pages.core.objects().head(&self.object_key).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.unreadable(error).await),
        }
    }

    /// Returns the error of a failed read: the file is damaged if other objects can be read.
    async fn unreadable(&self, error: object_store::Error) -> Error {
        match read_error(self.pages.core.objects(), error).await {
            error if error.kind() == ErrorKind::Corrupt => self.damaged("cannot be read"),
            error => error,
        }
    }

    fn damaged(&self, how: &str) -> Error {
        Error::corrupt(format!("page file {} {how}", self.object_key))
    }

    /// Rebuilds this file, which is damaged or lost, and opens the new file.
    async fn rebuilt(&self, damage: Error) -> Result<Self> {
        let again = self.pages.rebuilt_page(&self.etag, &self.object_key, damage.clone()).await?;
        // The same records result in the same bytes, so the download can continue with the new file.
        if again.plain_bytes == self.plain_bytes { Ok(again) } else { Err(damage) }
    }
}

/// How often to check for a page that another node may be rebuilding.
const REREAD_INTERVAL: Duration = Duration::from_millis(100);

/// Reads the first bytes of a stream, and returns the stream including them.
async fn with_first_bytes(mut bytes: PageBytes) -> Result<PageBytes> {
    let first = bytes.try_next().await?;
    Ok(stream::iter(first.map(Ok)).chain(bytes).boxed())
}

/// Decompresses a frame and returns a part of its plain bytes; `None` if the frame is damaged.
fn decompress(frame: &[u8], plain_bytes: usize, part: Range<usize>) -> Option<Bytes> {
    let plain = Bytes::from(zstd::bulk::decompress(frame, plain_bytes).ok()?);
    (plain.len() == plain_bytes).then(|| plain.slice(part))
}

fn digest_of(stored: &[u8]) -> FrameDigest {
    let mut first = FrameDigest::default();
    first.copy_from_slice(&Sha256::digest(stored)[..8]);
    first
}

fn stored_bytes(frames: &[Frame]) -> u64 {
    frames.iter().map(|frame| u64::from(frame.stored)).sum()
}

/// Encodes frames for the column `checks` of the catalog.
fn checks_of(frames: &[Frame]) -> Vec<u8> {
    let mut checks = Vec::with_capacity(frames.len() * CHECK_BYTES + 32);
    for frame in frames {
        checks.extend(frame.plain.to_le_bytes());
        checks.extend(frame.stored.to_le_bytes());
        checks.extend(frame.digest.unwrap_or_default());
    }
    let digest = Sha256::digest(&checks);
    checks.extend_from_slice(&digest);
    checks
}

/// The length of a frame in the column `checks`. Unit: bytes.
const CHECK_BYTES: usize = 16;

/// Decodes frames from the column `checks`; `None` if the column is damaged.
fn frames_of_checks(checks: &[u8]) -> Option<Vec<Frame>> {
    let (table, digest) = checks.split_at_checked(checks.len().checked_sub(32)?)?;
    if Sha256::digest(table).as_slice() != digest || table.len() % CHECK_BYTES != 0 {
        return None;
    }
    let frame = |check: &[u8]| {
        let number = |at: usize| Some(u32::from_le_bytes(check.get(at..at + 4)?.try_into().ok()?));
        Some(Frame { plain: number(0)?, stored: number(4)?, digest: Some(check.get(8..16)?.try_into().ok()?) })
    };
    table.chunks_exact(CHECK_BYTES).map(frame).collect()
}

/// Decodes the frames of a compressed file of an earlier version.
fn frames_of(bytes: &[u8]) -> Vec<Frame> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
    let frame = |pair: &[u8]| Frame { plain: number(&pair[..4]), stored: number(&pair[4..]), digest: None };
    bytes.chunks_exact(8).map(frame).collect()
}

/// Returns the blocks of an uncompressed file of an earlier version as frames without digests.
fn unchecked_pieces(bytes: u64) -> Vec<Frame> {
    let step = limits::PAGE_FRAME_BYTES as u64;
    let piece = |start: u64| {
        let length = (bytes - start).min(step).saturating_as::<u32>();
        Frame { plain: length, stored: length, digest: None }
    };
    (0..bytes).step_by(limits::PAGE_FRAME_BYTES).map(piece).collect()
}

fn parts_of(frames: &[Frame], range: Range<u64>) -> Vec<FramePart> {
    let (mut plain_at, mut stored_at) = (0_u64, 0_u64);
    let mut parts = Vec::new();
    for frame in frames {
        let (plain_end, stored_end) = (plain_at + u64::from(frame.plain), stored_at + u64::from(frame.stored));
        let (start, end) = (range.start.max(plain_at), range.end.min(plain_end));
        if start < end {
            let in_frame = (start - plain_at).saturating_as::<usize>()..(end - plain_at).saturating_as::<usize>();
            parts.push(FramePart { frame: *frame, in_object: stored_at..stored_end, in_frame, in_plain: start..end });
        }
        (plain_at, stored_at) = (plain_end, stored_end);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(plain: u32, stored: u32) -> Frame {
        Frame { plain, stored, digest: Some([stored as u8; 8]) }
    }

    #[test]
    fn a_range_takes_only_the_frames_it_needs() {
        let frames = [frame(10, 3), frame(10, 4), frame(5, 2)];
        let parts = parts_of(&frames, 12..25);
        let shown: Vec<_> = parts.iter().map(|part| (part.in_object.clone(), part.in_frame.clone())).collect();
        assert_eq!(shown, [(3..7, 2..10), (7..9, 0..5)]);
        assert!(parts_of(&frames, 25..30).is_empty());
    }

    #[test]
    fn lengths_of_frames_are_read_as_earlier_versions_wrote_them() {
        let bytes: Vec<u8> = [0x0102_0304_u32, 5].into_iter().flat_map(u32::to_le_bytes).collect();
        assert_eq!(frames_of(&bytes), [Frame { digest: None, ..frame(0x0102_0304, 5) }]);
        let pieces = unchecked_pieces(limits::PAGE_FRAME_BYTES as u64 + 7);
        assert_eq!(pieces.iter().map(|piece| piece.stored).collect::<Vec<_>>(), [limits::PAGE_FRAME_BYTES as u32, 7]);
    }

    #[test]
    fn checks_of_frames_are_read_as_they_are_written_and_not_when_a_bit_is_another() {
        for frames in [vec![], vec![frame(10, 3), frame(7, 4)]] {
            let checks = checks_of(&frames);
            assert_eq!(frames_of_checks(&checks).unwrap(), frames);
            for bit in 0..checks.len() * 8 {
                let mut damaged = checks.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(frames_of_checks(&damaged), None, "bit {bit}");
            }
            for length in 0..checks.len() {
                assert_eq!(frames_of_checks(&checks[..length]), None, "{length} bytes");
            }
        }
    }
}
