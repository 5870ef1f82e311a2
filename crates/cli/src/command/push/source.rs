//! The sources of logs: a file or a pipe, compressed or not, in UTF-8 or UTF-16; and the errors for other content.
//!
//! The bytes say what they are, the name of the file does not. All of it is read as a stream.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Context;
use runlog_model::printable::printable_line;

use super::utf16::{ByteOrder, Utf16Reader};
use crate::exit::{Exit, Failure, Outcome};
use crate::render::terminal::shortened;

/// Number of bytes of a log that are inspected to detect its format. Unit: bytes.
const HEAD_BYTES: u64 = 4 << 10;
/// How often a log may be packed, one packing inside of another.
const PACKINGS_MAX: usize = 3;
/// How much of a text that is no log is quoted. Unit: characters.
const QUOTED_CHARS: usize = 40;

/// What a log consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One record a line.
    Lines,
    /// JSON values that may have any number of lines: records one after another, or arrays of them.
    Values,
}

/// A log that is being read.
pub(crate) struct Log {
    pub(crate) form: Form,
    /// In UTF-8 and not packed, without a byte order mark.
    pub(crate) text: Box<dyn BufRead + Send>,
}

/// Where a log comes from.
pub(crate) enum Source {
    /// It has been inspected, and can be read.
    Looked(Log),
    /// A pipe, whose first byte may take long.
    Pipe(Box<dyn Read + Send>),
}

/// Opens a log, `-` for standard input. A file is inspected, so that an unreadable one is rejected before anything else
/// is done; a pipe is not.
pub(crate) fn open(path: &Path, takes_bad_lines: bool) -> Outcome<Source> {
    let name = name_of(path);
    let open = || match path == Path::new("-") {
        true => io::stdin().as_fd().try_clone_to_owned().map(File::from),
        false => File::open(path),
    };
    let file = open().and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = file.with_context(|| format!("cannot read {name}")).map_err(usage)?;
    match metadata.is_file() || metadata.is_dir() {
        true => look(Box::new(file), &name, takes_bad_lines).map(Source::Looked),
        false => Ok(Source::Pipe(Box::new(file))),
    }
}

/// What a log is called in messages.
pub(crate) fn name_of(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// Looks at the beginning of a log.
pub(crate) fn look(bytes: Box<dyn Read + Send>, name: &str, takes_bad_lines: bool) -> Outcome<Log> {
    let looked = looked(bytes, takes_bad_lines).with_context(|| format!("cannot read {name}")).map_err(usage)?;
    looked.map_err(|what| Failure::new(Exit::Usage, format!("cannot read {name}: {what}")))
}

fn usage(error: anyhow::Error) -> Failure {
    Failure { exit: Exit::Usage, error }
}

/// The log, or what it is instead.
fn looked(mut bytes: Box<dyn Read + Send>, takes_bad_lines: bool) -> io::Result<Result<Log, String>> {
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
    let text = Box::new(BufReader::with_capacity(1 << 16, bytes));
    Ok(match form_of(&head) {
        Ok(form) => Ok(Log { form, text }),
        Err(_) if takes_bad_lines && !head.contains(&0) => Ok(Log { form: Form::Lines, text }),
        Err(what) => Err(what),
    })
}

/// The first bytes, and all of them.
fn peek(mut bytes: Box<dyn Read + Send>) -> io::Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut head = Vec::new();
    bytes.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok((head.clone(), Box::new(Cursor::new(head).chain(bytes))))
}

enum Packing {
    Gzip,
    Zstd,
}

fn packing_of(head: &[u8]) -> Option<Packing> {
    match head {
        [0x1f, 0x8b, ..] => Some(Packing::Gzip),
        // A frame, or one that readers skip.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Packing::Zstd),
        _ => None,
    }
}

/// UTF-16 by its mark, or by the first letter of JSON; with the length of the mark.
fn utf16_of(head: &[u8]) -> Option<(ByteOrder, usize)> {
    match head {
        [0xff, 0xfe, ..] => Some((ByteOrder::Little, 2)),
        [0xfe, 0xff, ..] => Some((ByteOrder::Big, 2)),
        [b'{' | b'[', 0, second, ..] if *second != 0 => Some((ByteOrder::Little, 0)),
        [0, b'{' | b'[', ..] => Some((ByteOrder::Big, 0)),
        _ => None,
    }
}

/// Kinds of files by their first bytes, and what to do about them.
const OTHERS: [(&[u8], &str, Advice); 17] = [
    (b"PK\x03\x04", "a zip archive", Advice::Unpack),
    (b"PK\x05\x06", "an empty zip archive", Advice::Unpack),
    (b"BZh", "compressed with bzip2", Advice::Unpack),
    (b"\xfd7zXZ\0", "compressed with xz", Advice::Unpack),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", Advice::Unpack),
    (b"Rar!\x1a\x07", "a RAR archive", Advice::Unpack),
    (b"\x04\x22\x4d\x18", "compressed with LZ4", Advice::Unpack),
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

/// What to do about a file that is no log.
#[derive(Debug, Clone, Copy)]
enum Advice {
    Unpack,
    Encode,
    Form,
}

impl Advice {
    fn text(self) -> &'static str {
        match self {
            Self::Unpack => "extract it, and push the log it contains",
            Self::Encode => "convert it to UTF-8, and push it again",
            Self::Form => "a log has one JSON object per line, or is a JSON array of objects",
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

/// The form of a text by its beginning, or what it is instead.
fn form_of(head: &[u8]) -> Result<Form, String> {
    let begin = head.trim_ascii_start();
    match begin {
        [] | [b'{', ..] => {
            // Pretty-printed objects have nothing else in their first line.
            let after = begin.get(1..).unwrap_or_default().iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r'));
            Ok(if after == Some(&b'\n') { Form::Values } else { Form::Lines })
        }
        [b'[', ..] => Ok(Form::Values),
        _ if head.iter().any(|byte| matches!(byte, 0..=8 | 14..=26 | 28..=31)) => {
            Err(format!("it is binary data; {}", Advice::Form.text()))
        }
        [b'<', ..] => Err(format!("it is HTML or XML; {}", Advice::Form.text())),
        _ => {
            let text = String::from_utf8_lossy(begin);
            let quoted = shortened(text.lines().next().unwrap_or_default(), QUOTED_CHARS);
            Err(format!("it is not JSON, and starts with \"{}\"; {}", printable_line(&quoted), Advice::Form.text()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<(Form, String), String> {
        let looked = looked(Box::new(Cursor::new(bytes.to_vec())), false).unwrap();
        looked.map(|mut log| {
            let mut text = String::new();
            log.text.read_to_string(&mut text).unwrap();
            (log.form, text)
        })
    }

    #[track_caller]
    fn check(bytes: &[u8], form: Form, text: &str) {
        assert_eq!(read(bytes).unwrap(), (form, text.to_owned()));
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
        check(LINE.as_bytes(), Form::Lines, LINE);
        check(b"", Form::Lines, "");
        check(b"\n\n{}\n", Form::Lines, "\n\n{}\n");
        check(format!("\u{feff}{LINE}").as_bytes(), Form::Lines, LINE);
        check(&gzip(LINE.as_bytes()), Form::Lines, LINE);
        check(&gzip(&zstd::encode_all(LINE.as_bytes(), 1).unwrap()), Form::Lines, LINE);
        check(&gzip("\u{feff}[{}]".as_bytes()), Form::Values, "[{}]");
        check(b"{\n  \"logMessage\": 1\n}\n", Form::Values, "{\n  \"logMessage\": 1\n}\n");
        check(b" \n [", Form::Values, " \n [");
    }

    #[test]
    fn utf_16_is_read_with_and_without_its_mark() {
        check(&utf16(&format!("\u{feff}{LINE}"), u16::to_le_bytes), Form::Lines, LINE);
        check(&utf16(&format!("\u{feff}{LINE}"), u16::to_be_bytes), Form::Lines, LINE);
        check(&utf16(LINE, u16::to_le_bytes), Form::Lines, LINE);
        check(&utf16("[{}]", u16::to_be_bytes), Form::Values, "[{}]");
        check(&gzip(&utf16(&format!("\u{feff}{LINE}"), u16::to_le_bytes)), Form::Lines, LINE);
    }

    #[test]
    fn what_is_no_log_is_called_by_its_name() {
        check_refused(b"PK\x03\x04\x14\0", &["zip archive", "extract"]);
        check_refused(&gzip(&[&[b'x'; 257][..], b"ustar\0"].concat()), &["tar archive", "extract"]);
        check_refused(b"\xff\xfe\0\0{\0\0\0", &["UTF-32", "UTF-8"]);
        check_refused(b"PAR1", &["Parquet"]);
        check_refused(b"\x01\x02\x03", &["binary data"]);
        check_refused(b"<!doctype html>", &["HTML"]);
        check_refused(
            b"2021-08-19 INFO it began\n",
            &["not JSON", "2021-08-19 INFO it began", "one JSON object per line"],
        );
        let packed = gzip(&gzip(&gzip(&gzip(b"{}"))));
        check_refused(&packed, &["compressed more than 3 times"]);
    }
}
