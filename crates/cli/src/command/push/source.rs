//! The sources of logs: a file or a pipe, compressed or not, in UTF-8 or UTF-16; and the errors for other content.
//!
//! Formats are detected from the content, not from the file name. All input is read as a stream.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Context;
use lzma_rust2::XzReader;
use runlog_formats::{Detected, LogFormat, ReadSettings, detect};
use runlog_model::{Clock, Timestamp};

use super::utf16::{ByteOrder, Utf16Reader};
use crate::exit::{Exit, Failure, Outcome};
use crate::system::SystemClock;

/// Number of bytes of a log that are inspected to detect its format. Unit: bytes.
const HEAD_BYTES: u64 = 64 << 10;
/// Maximum nesting of compression formats.
const PACKINGS_MAX: usize = 3;

/// The most memory for decompressing xz, enough for its highest level. Unit: KiB.
const XZ_MEMORY_KIB_MAX: u32 = 128 << 10;

/// A log that is being read.
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    /// The content, decompressed, in UTF-8, without a byte order mark.
    pub(crate) text: Box<dyn BufRead + Send>,
    pub(crate) settings: ReadSettings,
}

/// The bytes of a log.
pub(crate) struct Source {
    pub(crate) bytes: Box<dyn Read + Send>,
    /// The modification time of a file, else the current time.
    pub(crate) written_at: Timestamp,
}

/// Opens a log, `-` for standard input.
pub(crate) fn open(path: &Path) -> Outcome<Source> {
    let open = || match path == Path::new("-") {
        true => io::stdin().as_fd().try_clone_to_owned().map(File::from),
        false => File::open(path),
    };
    let opened = open().and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = opened.with_context(|| format!("cannot read {}", name_of(path))).map_err(usage)?;
    if metadata.is_dir() {
        let name = name_of(path);
        let message =
            format!("cannot read {name}: it is a folder; to push the logs in it: runlog push --follow {name}");
        return Err(Failure::new(Exit::Usage, message));
    }
    let is_file = metadata.is_file();
    let changed = metadata.modified().ok().filter(|_| is_file).and_then(|at| jiff::Timestamp::try_from(at).ok());
    let written_at = changed.map_or_else(|| SystemClock.now(), |at| Timestamp::clamped(at.as_millisecond()));
    Ok(Source { bytes: Box::new(file), written_at })
}

/// Returns the name of a log in messages.
pub(crate) fn name_of(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// Detects the compression and encoding of a log from its beginning, and its format unless it is given.
pub(crate) fn look(
    bytes: Box<dyn Read + Send>,
    name: &str,
    format: Option<LogFormat>,
    settings: ReadSettings,
) -> Outcome<Log> {
    let looked = looked(bytes, format, settings).with_context(|| format!("cannot read {name}")).map_err(usage)?;
    looked.map_err(|what| Failure::new(Exit::Usage, format!("cannot read {name}: {what}")))
}

fn usage(error: anyhow::Error) -> Failure {
    Failure { exit: Exit::Usage, error }
}

/// Returns the log, or a failure that names the kind of content if it is not a log.
fn looked(
    mut bytes: Box<dyn Read + Send>,
    format: Option<LogFormat>,
    settings: ReadSettings,
) -> io::Result<Result<Log, String>> {
    let mut head;
    let mut packings = 0;
    loop {
        (head, bytes) = peek(bytes)?;
        bytes = match packing_of(&head) {
            Some(_) if packings == PACKINGS_MAX => {
                return Ok(Err(format!("it is compressed more than {PACKINGS_MAX} times; decompress it")));
            }
            Some(Packing::Gzip) => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
            Some(Packing::Zstd) => Box::new(zstd::Decoder::new(bytes)?),
            Some(Packing::Bzip2) => Box::new(bzip2::read::MultiBzDecoder::new(bytes)),
            Some(Packing::Xz) => Box::new(Xz(XzReader::new_mem_limit(BufReader::new(bytes), true, XZ_MEMORY_KIB_MAX))),
            None => break,
        };
        packings += 1;
    }
    if let Some(what) = known_as_other(&head) {
        return Ok(Err(what));
    }
    if let Some((order, mark_bytes)) = utf16_of(&head) {
        bytes.read_exact(&mut [0; 2][..mark_bytes])?;
        bytes = Box::new(Utf16Reader::new(bytes, order));
        (head, bytes) = peek(bytes)?;
    } else if head.starts_with(b"\xef\xbb\xbf") {
        bytes.read_exact(&mut [0; 3])?;
        head.drain(..3);
    }
    // The format that is detected says so itself.
    if head.contains(&0) && !matches!(format, None | Some(LogFormat::Ndjson | LogFormat::Json)) {
        return Ok(Err(format!("it is binary data; {}", Advice::Form.text())));
    }
    let text = Box::new(BufReader::with_capacity(1 << 16, bytes));
    let is_all = (head.len() as u64) < HEAD_BYTES - 3;
    let format = match (format, detect(&head, is_all, &settings)) {
        // Only the separator is detected.
        (Some(LogFormat::Csv { .. }), Detected::Log(csv @ LogFormat::Csv { .. })) => csv,
        (Some(format), _) => format,
        (None, Detected::Log(format)) => format,
        (None, Detected::Other(what)) => return Ok(Err(what)),
    };
    Ok(Ok(Log { format, text, settings }))
}

/// Returns the first bytes, and a reader of all bytes.
fn peek(mut bytes: Box<dyn Read + Send>) -> io::Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut head = Vec::new();
    bytes.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(bytes))))
}

/// Decompresses xz. The error for a file that needs too much memory contains advice.
struct Xz<R: Read>(XzReader<R>);

impl<R: Read> Read for Xz<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out).map_err(|error| match error.kind() {
            io::ErrorKind::OutOfMemory => {
                let mib = XZ_MEMORY_KIB_MAX >> 10;
                let advice = Advice::Pipe("xz").text();
                io::Error::new(error.kind(), format!("decompressing it needs more than {mib} MiB of memory; {advice}"))
            }
            _ => error,
        })
    }
}

enum Packing {
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

fn packing_of(head: &[u8]) -> Option<Packing> {
    match head {
        [0x1f, 0x8b, ..] => Some(Packing::Gzip),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Packing::Bzip2),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Packing::Xz),
        // A frame, or one that readers skip.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Packing::Zstd),
        _ => None,
    }
}

/// UTF-16 by its mark, or by a first letter of ASCII; with the length of the mark.
fn utf16_of(head: &[u8]) -> Option<(ByteOrder, usize)> {
    match head {
        [0xff, 0xfe, ..] => Some((ByteOrder::Little, 2)),
        [0xfe, 0xff, ..] => Some((ByteOrder::Big, 2)),
        [b' '..=b'~', 0, second, ..] if *second != 0 => Some((ByteOrder::Little, 0)),
        [0, b' '..=b'~', 0, ..] => Some((ByteOrder::Big, 0)),
        _ => None,
    }
}

/// Kinds of files by their first bytes, and what to do about them.
const OTHERS: [(&[u8], &str, Advice); 15] = [
    (b"PK\x03\x04", "a zip archive", Advice::Unpack),
    (b"PK\x05\x06", "an empty zip archive", Advice::Unpack),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", Advice::Unpack),
    (b"Rar!\x1a\x07", "a RAR archive", Advice::Unpack),
    (b"\x04\x22\x4d\x18", "compressed with LZ4", Advice::Pipe("lz4")),
    (b"\x1f\x9d", "compressed with compress", Advice::Unpack),
    (b"\xff\xfe\0\0", "text in UTF-32", Advice::Encode),
    (b"\0\0\xfe\xff", "text in UTF-32", Advice::Encode),
    (b"PAR1", "a Parquet file", Advice::Form),
    (b"Obj\x01", "an Avro file", Advice::Form),
    (b"SQLite format 3\0", "an SQLite database", Advice::Form),
    (b"%PDF-", "a PDF document", Advice::Form),
    (b"\x7fELF", "a program", Advice::Form),
    (b"\x89PNG\r\n", "an image", Advice::Form),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document", Advice::Form),
];

/// The advice for a file that is not a log.
#[derive(Debug, Clone, Copy)]
enum Advice {
    Unpack,
    /// The file is compressed by a program of this name.
    Pipe(&'static str),
    Encode,
    Form,
}

impl Advice {
    fn text(self) -> String {
        match self {
            Self::Unpack => "extract it, and push the log it contains".to_owned(),
            Self::Pipe(program) => format!("decompress it on the way: {program} -dc FILE | runlog push - …"),
            Self::Encode => "convert it to UTF-8, and push it again".to_owned(),
            Self::Form => "a log is NDJSON, JSON, CSV or lines of a logger".to_owned(),
        }
    }
}

fn known_as_other(head: &[u8]) -> Option<String> {
    let said = |what: &str, advice: Advice| format!("it is {what}; {}", advice.text());
    if head.get(257..262) == Some(b"ustar") {
        return Some(said("a tar archive", Advice::Unpack));
    }
    OTHERS.iter().find(|(magic, ..)| head.starts_with(magic)).map(|(_, what, advice)| said(what, *advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<(LogFormat, String), String> {
        let settings = ReadSettings::written_at(Timestamp::MIN);
        let looked = looked(Box::new(Cursor::new(bytes.to_vec())), None, settings).unwrap();
        looked.map(|mut log| {
            let mut text = String::new();
            log.text.read_to_string(&mut text).unwrap();
            (log.format, text)
        })
    }

    #[track_caller]
    fn check(bytes: &[u8], format: LogFormat, text: &str) {
        assert_eq!(read(bytes).unwrap(), (format, text.to_owned()));
    }

    #[track_caller]
    fn check_refused(bytes: &[u8], words: &[&str]) {
        let what = read(bytes).unwrap_err();
        assert!(words.iter().all(|word| what.contains(word)), "{what}");
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::read::GzEncoder::new(plain, flate2::Compression::fast());
        let mut packed = Vec::new();
        encoder.read_to_end(&mut packed).unwrap();
        packed
    }

    fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(to_bytes).collect()
    }

    const LINE: &str = "{\"logMessage\":\"grün 👍\"}\n";

    #[test]
    fn a_log_is_known_by_its_bytes() {
        check(LINE.as_bytes(), LogFormat::Ndjson, LINE);
        check(b"", LogFormat::Ndjson, "");
        check(format!("\u{feff}{LINE}").as_bytes(), LogFormat::Ndjson, LINE);
        check(&gzip(LINE.as_bytes()), LogFormat::Ndjson, LINE);
        check(&gzip(&zstd::encode_all(LINE.as_bytes(), 1).unwrap()), LogFormat::Ndjson, LINE);
        check(&gzip("\u{feff}[{}]".as_bytes()), LogFormat::Json, "[{}]");
        check(&gzip(b"2021-08-19 10:11:12 INFO x\n"), LogFormat::Text, "2021-08-19 10:11:12 INFO x\n");
    }

    /// [`LINE`] in two streams, as `pbzip2` writes them.
    const BZIP2: &[u8] = b"BZh91AY&SY\xccJ\x95\xb6\x00\x00\x04\x95\x80\x10\x00\x00\x02\x22\x84\x88\x08 \x001\x06LA\x01\x91\xea\x0cC\x10x\xbb\x92)\xc2\x84\x86bT\xad\xb0BZh91AY&SYy\xd8D-\x00\x00\x03\xd9\xec\x80\x10P\x00\x00\x10\x02\x81\x10\x02\x00\x02 \x00\x80\x04\x08\x00@\x00 \x001L\x00\x01\x09\xa34\x98\x9e\xa4\x88\x8e\x89\x0d\x9bk\xc2I\xf8\xbb\x92)\xc2\x84\x83\xce\xc2!h";

    /// The same, the second stream with another checksum.
    const XZ: &[u8] = b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01\x0c\x00\x00\x00\x8f\x98A\x9c\x01\x00\x09{\x22logMessa\x00\x00\x00\x08\xed\xd8\xe2q$\x9bB\x00\x01\x22\x0a\x15\x1a\xe1g\x1f\xb6\xf3}\x01\x00\x00\x00\x00\x04YZ\xfd7zXZ\x00\x00\x0a\xe1\xfb\x0c\xa1\x02\x00!\x01\x0c\x00\x00\x00\x8f\x98A\x9c\x01\x00\x11ge\x22:\x22gr\xc3\xbcn \xf0\x9f\x91\x8d\x22}\x0a\x00\x00\x00o\xfbrh\x8c\xe1d\xbc\x00\xca$\x06.\x150B\xf5k\xe0\x17U\x83\xdf/\xa4\x83\x06I\x8cQ\x16\x0e\x00\x01B\x12\xe4\xe9p\x11\x18\x9bK\x9a\x01\x00\x00\x00\x00\x0aYZ";

    /// `{}` with a dictionary of 1 GiB.
    const XZ_OF_A_GIB: &[u8] = b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01$\x00\x00\x00^\x1f\xc7\xf9\x01\x00\x02{}\x0a\x00\x00c\xa1\x8a\xe0\xb5\x03i:\x00\x01\x1b\x03\x0b/\xb9\x10\x1f\xb6\xf3}\x01\x00\x00\x00\x00\x04YZ";

    #[test]
    fn bzip2_and_xz_are_read_with_all_their_streams() {
        check(BZIP2, LogFormat::Ndjson, LINE);
        check(XZ, LogFormat::Ndjson, LINE);
        check(&gzip(XZ), LogFormat::Ndjson, LINE);
        for packed in [BZIP2, XZ] {
            let settings = ReadSettings::written_at(Timestamp::MIN);
            let cut = Box::new(Cursor::new(packed[..packed.len() - 9].to_vec()));
            let read = looked(cut, None, settings).and_then(|log| log.unwrap().text.read_to_string(&mut String::new()));
            assert!(read.is_err(), "it is cut off");
        }
    }

    #[test]
    fn memory_for_decompressing_is_bounded() {
        let settings = ReadSettings::written_at(Timestamp::MIN);
        let told = match looked(Box::new(Cursor::new(XZ_OF_A_GIB.to_vec())), None, settings) {
            Ok(_) => panic!("it was read"),
            Err(error) => error.to_string(),
        };
        assert!(told.contains("more than 128 MiB") && told.contains("xz -dc FILE | runlog push -"), "{told}");
    }

    #[test]
    fn utf_16_is_read_with_and_without_its_mark() {
        check(&utf16(&format!("\u{feff}{LINE}"), u16::to_le_bytes), LogFormat::Ndjson, LINE);
        check(&utf16(&format!("\u{feff}{LINE}"), u16::to_be_bytes), LogFormat::Ndjson, LINE);
        check(&utf16(LINE, u16::to_le_bytes), LogFormat::Ndjson, LINE);
        check(&utf16("[{}]", u16::to_be_bytes), LogFormat::Json, "[{}]");
        check(&utf16("2021-08-19 10:11:12 grün", u16::to_le_bytes), LogFormat::Text, "2021-08-19 10:11:12 grün");
        check(&gzip(&utf16(&format!("\u{feff}{LINE}"), u16::to_le_bytes)), LogFormat::Ndjson, LINE);
    }

    #[test]
    fn other_files_are_named_in_the_error() {
        check_refused(b"PK\x03\x04\x14\0", &["zip archive", "extract"]);
        check_refused(&gzip(&[&[b'x'; 257][..], b"ustar\0"].concat()), &["tar archive", "extract"]);
        check_refused(b"\xff\xfe\0\0{\0\0\0", &["UTF-32", "UTF-8"]);
        check_refused(b"PAR1", &["Parquet"]);
        check_refused(b"\x01\x02\x03", &["binary data"]);
        check_refused(b"<!doctype html>", &["HTML"]);
        let packed = gzip(&gzip(&gzip(&gzip(b"{}"))));
        check_refused(&packed, &["compressed more than 3 times"]);
    }
}
