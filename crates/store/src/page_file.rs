//! Page files: the log as it is downloaded, in compressed frames.
//!
//! The plain bytes are cut into frames of one mebibyte, each compressed on its own. Together the frames are one zstd
//! stream, so the file can be sent as it is; and with their lengths, which the catalog keeps, any range of the plain
//! bytes is found without decompressing what is before it.
//!
//! Where the bucket makes the links, the file lies there as it is downloaded: in no frames, and not compressed.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Array, Int32Array, StringArray};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStore, ObjectStoreExt};
use runlog_model::text::TextLine;
use runlog_model::{FileFormat, Timestamp};
use sqlx::FromRow;
use tokio::io::AsyncWriteExt;
use tracing::warn;
use url::Url;
use zstd::bulk::Compressor;

use crate::error::{Error, Result};
use crate::limits;
use crate::merge::StretchRecords;
use crate::page::PageFile;
use crate::segment_file::{Bodies, Body, TextColumn};
use crate::store::Store;

/// Writes a page file as an object.
pub(crate) struct PageFileWriter {
    form: PageForm,
    object: BufWriter,
    frames: Vec<Frame>,
    plain_bytes: u64,
    records: u64,
}

/// How a page file is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageForm {
    pub(crate) format: FileFormat,
    /// In compressed frames, for [`PageReader`]; otherwise as it is downloaded from the bucket.
    pub(crate) is_packed: bool,
}

/// Some records of a page file that follow each other, formatted and cut into frames.
#[derive(Default)]
pub(crate) struct PageFrames {
    cut: Vec<(Frame, Bytes)>,
    records: u64,
}

/// Formats records and cuts them into frames.
pub(crate) struct FrameCutter {
    form: PageForm,
    /// The first record of the file is among them.
    is_begin: bool,
    press: Press,
    frames: PageFrames,
}

/// A compressor and memory for one frame. Whoever has cut frames with it gives it to the next.
pub(crate) struct Press {
    compressor: Compressor<'static>,
    plain: Vec<u8>,
    packed: Vec<u8>,
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

impl Press {
    pub(crate) fn new() -> Result<Self> {
        let plain = Vec::with_capacity(limits::PAGE_FRAME_BYTES + (64 << 10));
        Ok(Self {
            compressor: Compressor::new(limits::PAGE_ZSTD_LEVEL).map_err(uncompressed)?,
            plain,
            packed: Vec::new(),
        })
    }

    /// False when a long record has made it larger than it has to be.
    pub(crate) fn is_of_usual_size(&self) -> bool {
        self.plain.capacity() <= 2 * limits::PAGE_FRAME_BYTES
    }

    fn pack(&mut self) -> Result<Bytes> {
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(self.plain.len()));
        self.compressor.compress_to_buffer(&self.plain, &mut self.packed).map_err(uncompressed)?;
        Ok(Bytes::copy_from_slice(&self.packed))
    }
}

impl FrameCutter {
    /// `is_begin` when what is cut begins the file.
    pub(crate) fn new(form: PageForm, is_begin: bool, mut press: Press) -> Self {
        press.plain.clear();
        Self { form, is_begin, press, frames: PageFrames::default() }
    }

    /// Adds records.
    pub(crate) fn add(&mut self, records: &StretchRecords) -> Result<()> {
        let (bodies, rows) = records.texts();
        let json = JsonColumns::new(bodies);
        for (epoch_ms, row) in rows {
            let out = &mut self.press.plain;
            match self.form.format {
                FileFormat::Json => {
                    let is_first = self.is_begin && self.frames.records == 0;
                    out.extend_from_slice(if is_first { b"[\n{\"logTimestamp\":" } else { b",\n{\"logTimestamp\":" });
                    json.write(out, epoch_ms, row);
                }
                FileFormat::Text => write_text(out, epoch_ms, bodies.row(row)),
            }
            self.frames.records += 1;
            if self.press.plain.len() >= limits::PAGE_FRAME_BYTES {
                self.cut()?;
            }
        }
        Ok(())
    }

    /// Ends the last frame.
    pub(crate) fn finish(mut self) -> Result<(PageFrames, Press)> {
        self.cut()?;
        Ok((self.frames, self.press))
    }

    fn cut(&mut self) -> Result<()> {
        let plain = self.press.plain.len() as u32;
        if plain == 0 {
            return Ok(());
        }
        let bytes = match self.form.is_packed {
            true => self.press.pack()?,
            false => Bytes::copy_from_slice(&self.press.plain),
        };
        self.frames.cut.push((Frame { plain, zstd: bytes.len() as u32 }, bytes));
        self.press.plain.clear();
        Ok(())
    }
}

fn uncompressed(error: std::io::Error) -> Error {
    Error::caused(crate::ErrorKind::Unavailable, "cannot compress a page file", error)
}

impl PageFileWriter {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>, key: Path, form: PageForm) -> Self {
        let mut object = BufWriter::new(objects, key);
        if !form.is_packed {
            let content_type = Attributes::from_iter([(Attribute::ContentType, form.format.content_type())]);
            object = object.with_attributes(content_type);
        }
        Self { form, object, frames: Vec::new(), plain_bytes: 0, records: 0 }
    }

    /// Adds what comes next; its last frame is cut.
    pub(crate) async fn write(&mut self, next: PageFrames) -> Result<()> {
        self.records += next.records;
        for (frame, bytes) in next.cut {
            self.plain_bytes += u64::from(frame.plain);
            if self.form.is_packed {
                self.frames.push(frame);
            }
            self.object.put(bytes).await?;
        }
        Ok(())
    }

    /// What stands after the last record, to be written then.
    pub(crate) fn end(&self, press: Press) -> Result<(PageFrames, Press)> {
        let mut end = FrameCutter::new(self.form, false, press);
        if self.form.format == FileFormat::Json {
            end.press.plain.extend_from_slice(if self.records == 0 { b"[]\n" } else { b"\n]\n" });
        }
        end.finish()
    }

    /// When this returns, the object is complete.
    pub(crate) async fn finish(mut self) -> Result<WrittenPage> {
        self.object
            .shutdown()
            .await
            .map_err(|error| Error::caused(crate::ErrorKind::Unavailable, "cannot write a page file", error))?;
        let compressed_bytes = self.frames.iter().map(|frame| u64::from(frame.zstd)).sum();
        Ok(WrittenPage {
            records: self.records,
            plain_bytes: self.plain_bytes,
            stored_bytes: if self.form.is_packed { compressed_bytes } else { self.plain_bytes },
            frames: self.frames.iter().flat_map(|frame| [frame.plain, frame.zstd]).flat_map(u32::to_le_bytes).collect(),
        })
    }
}

/// The texts of records, ready to be written as JSON.
struct JsonColumns<'a> {
    /// Up to the message, and after it.
    before: Vec<JsonColumn<'a>>,
    message: JsonColumn<'a>,
    after: Vec<JsonColumn<'a>>,
    /// The further fields; none when no record has some, and the brace at the end stands in `after`.
    extra: Option<&'a TextColumn>,
}

/// Members of records: as they are written, such as `,"severity":"INFO","logType":"JOB"`, or the texts of one column.
enum JsonColumn<'a> {
    Texts { name: &'static str, texts: &'a TextColumn },
    Members(Members),
}

/// Each group of members that occurs, once, and for each row which it is.
struct Members {
    rows: Vec<u32>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Most groups of members that columns may have together. Unit: groups.
const MEMBERS_MAX: usize = 4_096;

impl<'a> JsonColumns<'a> {
    fn new(bodies: &'a Bodies) -> Self {
        let names = |columns: &[(&'static str, &'a TextColumn)]| {
            let mut joined: Vec<JsonColumn<'a>> = Vec::new();
            for (name, texts) in columns {
                let column = JsonColumn::new(name, texts);
                match (joined.last_mut(), column) {
                    (Some(JsonColumn::Members(before)), JsonColumn::Members(after))
                        if before.ends.len() * after.ends.len() <= MEMBERS_MAX =>
                    {
                        *before = before.followed_by(&after);
                    }
                    (_, column) => joined.push(column),
                }
            }
            joined
        };
        let mut after = names(&[
            (",\"bundleName\":", &bodies.bundle_name),
            (",\"bundleVersion\":", &bodies.bundle_version),
            (",\"podName\":", &bodies.pod_name),
        ]);
        let mut extra = Some(&bodies.extra);
        if bodies.extra.is_empty()
            && let Some(JsonColumn::Members(last)) = after.last_mut()
        {
            *last = last.followed_by(&Members::end(last.rows.len()));
            extra = None;
        }
        Self {
            before: names(&[(",\"severity\":", &bodies.severity), (",\"logType\":", &bodies.log_type)]),
            message: JsonColumn::new(",\"logMessage\":", &bodies.message),
            after,
            extra,
        }
    }

    /// One record as one line of JSON, from its time on, without a line break at its end.
    fn write(&self, out: &mut Vec<u8>, epoch_ms: i64, row: usize) {
        out.extend_from_slice(itoa::Buffer::new().format(epoch_ms).as_bytes());
        self.before.iter().for_each(|column| column.write(out, row));
        self.message.write(out, row);
        self.after.iter().for_each(|column| column.write(out, row));
        let Some(extra) = self.extra else { return };
        match extra.text(row).and_then(|extra| extra.strip_prefix('{')).filter(|fields| *fields != "}") {
            Some(fields) => {
                out.push(b',');
                out.extend_from_slice(fields.as_bytes());
            }
            None => out.push(b'}'),
        }
    }
}

impl<'a> JsonColumn<'a> {
    fn new(name: &'static str, texts: &'a TextColumn) -> Self {
        match texts {
            TextColumn::Plain(_) => Self::Texts { name, texts },
            TextColumn::Coded { keys, texts } => Self::Members(Members::new(name, keys, texts)),
        }
    }

    fn write(&self, out: &mut Vec<u8>, row: usize) {
        match self {
            Self::Texts { name, texts } => {
                if let Some(text) = texts.text(row) {
                    out.extend_from_slice(name.as_bytes());
                    write_json_text(out, text);
                }
            }
            Self::Members(members) => out.extend_from_slice(members.group(members.rows[row])),
        }
    }
}

impl Members {
    /// One member; the last group is that of the rows without a text.
    fn new(name: &str, keys: &Int32Array, texts: &StringArray) -> Self {
        let mut members = Self { rows: Vec::new(), bytes: Vec::new(), ends: Vec::new() };
        for text in texts {
            members.bytes.extend_from_slice(name.as_bytes());
            write_json_text(&mut members.bytes, text.unwrap_or_default());
            members.ends.push(members.bytes.len());
        }
        let none = texts.len() as u32;
        if keys.null_count() == 0 {
            members.rows.extend(keys.values().iter().map(|key| *key as u32));
        } else {
            members.ends.push(members.bytes.len());
            members.rows.extend(keys.iter().map(|key| key.map_or(none, |key| key as u32)));
        }
        members
    }

    /// The brace after the last member of so many records.
    fn end(records: usize) -> Self {
        Self { rows: vec![0; records], bytes: b"}".to_vec(), ends: vec![1] }
    }

    /// Both, one after the other.
    fn followed_by(&self, after: &Self) -> Self {
        let width = after.ends.len() as u32;
        let rows = self.rows.iter().zip(&after.rows).map(|(before, after)| before * width + after).collect();
        let mut joined = Self { rows, bytes: Vec::new(), ends: Vec::new() };
        for first in 0..self.ends.len() as u32 {
            for second in 0..width {
                joined.bytes.extend_from_slice(self.group(first));
                joined.bytes.extend_from_slice(after.group(second));
                joined.ends.push(joined.bytes.len());
            }
        }
        joined
    }

    fn group(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[number]]
    }
}

fn write_json_text(out: &mut Vec<u8>, text: &str) {
    // Without an early end the compiler looks at many bytes at a time.
    let has_escapes = text.bytes().fold(false, |found, byte| found | (byte < 0x20) | (byte == b'"') | (byte == b'\\'));
    if has_escapes {
        // Writing into memory does not fail.
        let _ = serde_json::to_writer(out, text);
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
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
    /// Opens a page file that was built; none when there is no such file any more. One that the machine lost when it went
    /// down is built anew.
    pub async fn open_page(&self, key: &str) -> Result<Option<PageReader>> {
        let row: Option<PageFileRow> = sqlx::query_as(
            "SELECT object_key, file_format, plain_bytes, zstd_bytes, frames FROM page_files
             WHERE key = $1 AND built_at IS NOT NULL",
        )
        .bind(key)
        .fetch_optional(self.catalog().read())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let object_key = Path::from(row.object_key.as_str());
        if !self.is_whole(&object_key, row.zstd_bytes as u64).await? {
            warn!(page.key = key, "a log file is not as it was written, and is built anew; did the machine go down?");
            self.build_again(key, &object_key).await?;
            return Ok(None);
        }
        Ok(Some(PageReader {
            plain_bytes: row.plain_bytes as u64,
            zstd_bytes: (!row.frames.is_empty()).then_some(row.zstd_bytes as u64),
            format: row.file_format.parse().map_err(|_| Error::corrupt("the form of a page file does not decode"))?,
            etag: key.to_owned(),
            objects: Arc::clone(self.objects()),
            object_key,
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
    fn texts_are_escaped_as_json_has_it() {
        let every_byte: String = (0..0x180).filter_map(char::from_u32).collect();
        for text in ["", "plain", "a \"b\" \\c", "\u{0}\u{1f}\u{7f}", &every_byte] {
            let mut out = Vec::new();
            write_json_text(&mut out, text);
            assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(text).unwrap());
        }
    }

    #[test]
    fn a_record_is_one_line_of_json_however_its_texts_are_kept() {
        let none = || TextColumn::Plain(StringArray::new_null(2));
        let severity = StringArray::from(vec![Some("INFO"), None]);
        let coded = TextColumn::Coded {
            keys: Int32Array::from(vec![Some(1), None]),
            texts: StringArray::from(vec!["WARN", "INFO"]),
        };
        let job = TextColumn::Coded { keys: Int32Array::from(vec![0, 0]), texts: StringArray::from(vec!["JOB"]) };
        let jobs = TextColumn::Plain(StringArray::from(vec!["JOB", "JOB"]));
        let some = || TextColumn::Plain(StringArray::from(vec![Some(r#"{"n":1}"#), None]));
        let no_pod =
            TextColumn::Coded { keys: Int32Array::new_null(2), texts: StringArray::from(Vec::<String>::new()) };
        let forms = [
            (TextColumn::Plain(severity), jobs, none(), some()),
            (coded.clone(), job.clone(), no_pod.clone(), some()),
            (coded, job, no_pod, none()),
        ];
        for (severity, log_type, pod_name, extra) in forms {
            let end = if extra.is_empty() { "}" } else { r#","n":1}"# };
            let bodies = Bodies {
                severity,
                log_type,
                message: TextColumn::Plain(StringArray::from(vec!["a\n\"b\"", ""])),
                bundle_name: none(),
                bundle_version: none(),
                pod_name,
                extra,
            };
            let mut out = Vec::new();
            let columns = JsonColumns::new(&bodies);
            columns.write(&mut out, 7, 0);
            columns.write(&mut out, -1, 1);
            let first = r#"7,"severity":"INFO","logType":"JOB","logMessage":"a\n\"b\"""#;
            let expected = format!(r#"{first}{end}-1,"logType":"JOB","logMessage":""}}"#);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
