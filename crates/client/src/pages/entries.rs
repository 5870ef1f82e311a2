//! Splits the body of a page file into its entries, as it arrives: a JSON array, one object after another (NDJSON), or
//! an object with the array in its field `data`; with commas missing or surplus, and on any lines.
//!
//! Only the structure is checked here, and the time of each entry is parsed; everything else in an entry is kept as
//! received.

use runlog_model::elements::{ElementScan, Step};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Error, ErrorKind, Result};
use crate::pages::encoding::Encoding;
use crate::transport::{lenient, mend};

/// The longest entry that is taken whole; the rest of a longer one is cut off. Unit: bytes. One entry must fit into
/// memory many times.
pub const ENTRY_BYTES_MAX: usize = 16 << 20;

/// Takes a body in any pieces and gives its entries, each the text of one JSON element on one line: an object, unless
/// the service sent something else.
#[derive(Debug, Default)]
pub struct EntrySplitter {
    encoding: Encoding,
    level: Level,
    /// The entry, or the object around the entries.
    scan: ElementScan,
    /// The part of the entry that was received in earlier pieces.
    begun: Vec<u8>,
    /// The beginning of the entry, closed, if it is too long; the rest is not kept.
    cut: Option<Vec<u8>>,
    /// There is a line break in the entry, outside of its strings.
    broken: bool,
    /// Bytes of the body before the piece at hand.
    offset: u64,
    /// Entries that were cut short, here or by the service.
    cut_short: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Level {
    /// Nothing but white space so far.
    #[default]
    Start,
    /// Inside the first object: an entry, or an envelope whose `data` is still to come.
    FirstObject,
    /// Between the elements of an array; `true` when it is the `data` of an envelope.
    Array(bool),
    /// Inside an element of an array.
    Element(bool),
    /// Between objects that follow each other.
    Objects,
    /// Inside one of them.
    Object,
    /// After the `data` of an envelope, inside of its object.
    EnvelopeTail,
    /// After everything.
    End,
}

impl Level {
    fn is_inside(self) -> bool {
        matches!(self, Self::FirstObject | Self::Element(_) | Self::Object | Self::EnvelopeTail)
    }
}

impl EntrySplitter {
    /// Takes the next piece of the body, and gives each entry that ends in it.
    pub fn feed(&mut self, piece: &[u8], mut give: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let text = self.encoding.decode(piece);
        self.feed_text(&text, &mut give)
    }

    fn feed_text(&mut self, piece: &[u8], give: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let (mut at, mut start) = (0, 0);
        while at < piece.len() {
            if !self.level.is_inside() {
                start = at;
                let begins_entry = !piece[at].is_ascii_whitespace() && self.between(piece[at], at)?;
                at += usize::from(!begins_entry);
                continue;
            }
            let open = (self.scan.depth(), self.scan.is_in_text());
            let (next, step) = self.scan.step(piece, at);
            at = next;
            match step {
                Step::Inside => {}
                Step::LineBreak => self.broken = true,
                Step::Array => self.begin_array(&piece[start..at]),
                Step::End => {
                    if self.leave() {
                        self.give(&piece[start..at], give)?;
                    }
                }
                Step::Next(bytes) => {
                    self.emit_truncated(&piece[start..at], bytes, open, give)?;
                    start = at;
                }
            }
        }
        if self.level.is_inside() && self.level != Level::EnvelopeTail && self.cut.is_none() {
            self.begun.extend_from_slice(&piece[start..]);
            if self.begun.len() > ENTRY_BYTES_MAX {
                let begun = std::mem::take(&mut self.begun);
                self.cut = Some(cut(&begun, self.scan.depth(), self.scan.is_in_text()));
                self.cut_short += 1;
            }
        }
        self.offset += piece.len() as u64;
        Ok(())
    }

    /// Ends the body, and gives a number or a word that ends with it; fails when the body is not whole.
    pub fn finish(mut self, mut give: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let truncated = self.wrong(0, "the file is truncated");
        if !self.encoding.is_whole() {
            return Err(truncated);
        }
        self.feed_text(b"\n", &mut give)?;
        match self.level {
            Level::Start | Level::Objects | Level::End => Ok(()),
            _ => Err(truncated),
        }
    }

    /// Gives the entry at hand, which was cut short inside of so many objects, or inside of a text; the last bytes of
    /// the piece begin the next one.
    fn emit_truncated(
        &mut self,
        piece: &[u8],
        next_bytes: usize,
        (depth, is_in_text): (u32, bool),
        give: &mut impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        match (self.level, self.cut.take()) {
            (Level::EnvelopeTail, _) => return Ok(()),
            (_, Some(cut)) => give(&cut)?,
            (_, None) => {
                self.begun.extend_from_slice(piece);
                let end = self.begun.len() - next_bytes;
                give(&mend::closed(&self.begun[..end], depth, is_in_text))?;
                self.cut_short += 1;
            }
        }
        self.begun.clear();
        self.begun.extend_from_slice(&b"{\""[..next_bytes]);
        if self.level == Level::FirstObject {
            self.level = Level::Object;
        }
        self.broken = false;
        Ok(())
    }

    /// Entries so far that were cut short, and were given as far as they came, or as far as they are kept.
    pub fn cut_short(&self) -> u64 {
        self.cut_short
    }

    /// Enters an array inside an object, which may be the one with the entries: its head is not kept. An object that is
    /// too long is an entry.
    fn begin_array(&mut self, piece: &[u8]) {
        if self.level != Level::FirstObject || self.scan.depth() != 2 || self.cut.is_some() {
            return;
        }
        let begun = self.begun.len();
        self.begun.extend_from_slice(&piece[..piece.len() - 1]);
        if is_data_key(&self.begun) {
            self.level = Level::Array(true);
            self.broken = false;
            self.begun.clear();
        } else {
            self.begun.truncate(begun);
        }
    }

    /// Leaves an object; true when it is an entry.
    fn leave(&mut self) -> bool {
        let (next, is_entry) = match self.level {
            Level::Element(of_envelope) => (Level::Array(of_envelope), true),
            Level::EnvelopeTail => (Level::End, false),
            _ => (Level::Objects, true),
        };
        self.level = next;
        is_entry
    }

    /// Takes a byte between entries that is not white space; true when it begins one.
    fn between(&mut self, byte: u8, at: usize) -> Result<bool> {
        let entry = match self.level {
            Level::Start => Level::FirstObject,
            Level::Array(of_envelope) => Level::Element(of_envelope),
            _ => Level::Object,
        };
        match (self.level, byte) {
            (Level::End, _) => return Err(self.unexpected(byte, at)),
            // Some writers begin with the byte order mark of UTF-8.
            (_, 0xef | 0xbb | 0xbf) => return Ok(false),
            (Level::Start, b'[') => self.level = Level::Array(false),
            (Level::Array(false), b']') => self.level = Level::End,
            (Level::Array(true), b']') => {
                self.level = Level::EnvelopeTail;
                self.scan = ElementScan::in_object();
            }
            (Level::Array(_) | Level::Objects, b',') => return Ok(false),
            (_, b'{')
            | (Level::Array(_) | Level::Objects, b'[' | b'"' | b'-' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z') => {
                (self.level, self.scan, self.broken) = (entry, ElementScan::default(), false);
                return Ok(true);
            }
            _ => return Err(self.unexpected(byte, at)),
        }
        Ok(false)
    }

    fn give(&mut self, end: &[u8], give: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if let Some(cut) = self.cut.take() {
            return give(&cut);
        }
        let mut begun = std::mem::take(&mut self.begun);
        let entry = match begun.is_empty() {
            true => end,
            false => {
                begun.extend_from_slice(end);
                begun.as_slice()
            }
        };
        if std::mem::take(&mut self.broken) {
            give(&mend::on_one_line(entry))?;
        } else {
            give(entry)?;
        }
        // The memory is reused for the next entry that is received in pieces.
        begun.clear();
        self.begun = begun;
        Ok(())
    }

    fn unexpected(&self, byte: u8, at: usize) -> Error {
        self.wrong(at, &format!("{:?} instead of an entry", char::from(byte)))
    }

    fn wrong(&self, at: usize, what: &str) -> Error {
        let position = self.offset + at as u64;
        Error::new(ErrorKind::Protocol, format!("the page file cannot be parsed at byte {position}: {what}"))
    }
}

/// The beginning of an entry that is too long, closed and marked.
fn cut(begun: &[u8], depth: u32, is_in_text: bool) -> Vec<u8> {
    let mark = format!("\u{2026} [cut by Runlog: the entry has more than {ENTRY_BYTES_MAX} bytes]");
    // A character that is cut off is none.
    let whole = match std::str::from_utf8(begun) {
        Err(error) if error.error_len().is_none() => &begun[..error.valid_up_to()],
        _ => begun,
    };
    let whole = mend::without_trailing_escape(whole);
    match is_in_text {
        true => mend::closed(&[whole, mark.as_bytes()].concat(), depth, true),
        false => mend::as_text(&[whole, mark.as_bytes()].concat()),
    }
}

/// True if the head of an object ends with the key `data`, and contains no time of an entry before it.
fn is_data_key(head: &[u8]) -> bool {
    let key = head.trim_ascii_end().strip_suffix(b":").unwrap_or_default().trim_ascii_end();
    key.ends_with(b"\"data\"") && memchr::memmem::find(head, b"\"logTimestamp\"").is_none()
}

/// The time of an entry, in milliseconds since 1970; none if it has none that can be parsed. Fails if the entry is not
/// JSON, as far as it is inspected: see [`leading_time`].
pub fn time_of(entry: &[u8]) -> serde_json::Result<Option<i64>> {
    match leading_time(entry) {
        Some(epoch_ms) => Ok(Some(epoch_ms)),
        None => time_anywhere(entry),
    }
}

/// The time of an entry that starts with it, as written by Runlog: parsing the whole entry took a quarter of the time
/// of a fetch.
fn leading_time(entry: &[u8]) -> Option<i64> {
    let value = entry.strip_prefix(b"{\"logTimestamp\":")?.trim_ascii_start();
    let end = value.iter().position(|byte| !byte.is_ascii_digit())?;
    // What follows must end a number. So many digits are milliseconds; more may be something else.
    let is_whole = matches!(value[end], b',' | b'}') && (1..=14).contains(&end);
    is_whole.then(|| value[..end].iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

/// The time of an entry that has it anywhere, in any form.
fn time_anywhere(entry: &[u8]) -> serde_json::Result<Option<i64>> {
    #[derive(Deserialize)]
    struct Stamp<'a> {
        #[serde(borrow, default, rename = "logTimestamp")]
        time: Option<&'a RawValue>,
    }
    let stamp: Stamp<'_> = serde_json::from_slice(entry)?;
    let Some(raw) = stamp.time.map(RawValue::get) else { return Ok(None) };
    let value = serde_json::from_str(raw).unwrap_or_default();
    Ok(lenient::time(&value).map(|time| time.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(body: &str, piece: usize) -> Result<Vec<String>> {
        split_bytes(body.as_bytes(), piece)
    }

    fn split_bytes(body: &[u8], piece: usize) -> Result<Vec<String>> {
        let mut splitter = EntrySplitter::default();
        let mut entries = Vec::new();
        let mut give = |entry: &[u8]| {
            entries.push(String::from_utf8(entry.to_vec()).unwrap());
            Ok(())
        };
        for piece in body.chunks(piece) {
            splitter.feed(piece, &mut give)?;
        }
        splitter.finish(give).map(|()| entries)
    }

    #[track_caller]
    fn check(body: &str, expected: &[&str]) {
        for piece in [1, 2, 3, 7, 1_000] {
            assert_eq!(split(body, piece).unwrap(), expected, "{body} in pieces of {piece}");
        }
    }

    #[test]
    fn every_form_gives_the_same_entries() {
        let entries = [r#"{"a":1}"#, r#"{"b":"}\"]["}"#, r#"{"c":[{"d":[1]}]}"#];
        check(&format!("[{}]", entries.join(",")), &entries);
        check(&format!(" [\n{}\n]\n", entries.join(",\n")), &entries);
        check(&entries.join("\n"), &entries);
        check(&entries.join(""), &entries);
        check(&entries.join(",\r\n"), &entries);
        check(&format!(r#"{{"size":3,"x":[1],"data" : [{}],"next":{{"a":[]}}}}"#, entries.join(",")), &entries);
    }

    #[test]
    fn nothing_and_empty_forms_are_empty() {
        for body in ["", " \n", "[]", "[ ]\n", r#"{"data":[]}"#, r#"{"data":[],"size":0}"#] {
            check(body, &[]);
        }
    }

    #[test]
    fn an_entry_with_a_field_named_data_is_an_entry() {
        let entry = r#"{"logTimestamp":1,"data":[1,2]}"#;
        check(entry, &[entry]);
        let nested = r#"{"x":{"data":[1]},"y":[2]}"#;
        check(nested, &[nested]);
    }

    #[test]
    fn pretty_entries_come_on_one_line() {
        check("[\n  {\n    \"a\" : \"x \\\" y\",\r\n \"b\": [ 1 ]\n  }\n]", &[r#"{"a":"x \" y","b":[1]}"#]);
        // An entry on one line keeps its spaces.
        check("{\"a\": 1}\n", &["{\"a\": 1}"]);
    }

    /// None of the file could be read, and the run never landed.
    #[test]
    fn commas_are_not_needed_and_what_is_no_object_is_given_as_it_came() {
        let (one, other) = (r#"{"a":1}"#, r#"{"b":2}"#);
        check(&format!("[{one},,{other},]"), &[one, other]);
        check(&format!("[{one}{other}\n{one}]"), &[one, other, one]);
        check(&format!("[{one},null,\"a}}\",[1,[2]],-7,{other}]"), &[one, "null", "\"a}\"", "[1,[2]]", "-7", other]);
        check(&format!("{one}\nnull\n\u{feff}{other}\n"), &[one, "null", other]);
        check(&format!("{one}\n12"), &[one, "12"]);
        check(&format!("{{\"data\":[null,{one}]}}"), &["null", one]);
    }

    #[test]
    fn a_page_in_utf_16_is_decoded() {
        let body = "\u{feff}[{\"m\":\"gr\u{fc}n \u{1f44d}\"},\n{}]";
        for to_bytes in [u16::to_le_bytes, u16::to_be_bytes] {
            let bytes: Vec<u8> = body.encode_utf16().flat_map(to_bytes).collect();
            for piece in [1, 2, 3, 7, 1_000] {
                assert_eq!(split_bytes(&bytes, piece).unwrap(), ["{\"m\":\"gr\u{fc}n \u{1f44d}\"}", "{}"], "{piece}");
            }
        }
        assert!(split_bytes(b"\xff", 1).is_err());
    }

    #[test]
    fn truncated_and_invalid_entries_are_errors() {
        for body in ["[", "[{}", "[{},", r#"{"a":"#, r#"{"data":[{}]"#, "[{}]{}", "null", "<html>", "[<html>]", "[{}}"]
        {
            for piece in [1, 1_000] {
                let error = split(body, piece).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Protocol, "{body}");
                assert!(error.to_string().contains("at byte"), "{error}");
            }
        }
    }

    /// The quotes of all that followed were taken the wrong way round, and none of the file could be read.
    #[test]
    fn a_truncated_entry_does_not_affect_its_neighbours() {
        let (one, other) = (r#"{"t":1,"m":"one"}"#, r#"{"t":3,"m":"three"}"#);
        let cut = r#"{"t":2,"m":"tw"#;
        let closed = r#"{"t":2,"m":"tw"}"#;
        check(&format!("{one}\n{cut}\n{other}\n"), &[one, closed, other]);
        check(&format!("{cut}\n{other}\n"), &[closed, other]);
        check(&format!("{cut}\r\n{other}\n"), &[closed, other]);
        check(&format!("[\n{one},\n{cut}\n{cut}\n{other}\n]"), &[one, closed, closed, other]);
        check(&format!("{{\"data\":[{one},{cut}\n{other}]}}"), &[one, closed, other]);
        // A number that was cut off is not one that ends there.
        check(&format!("{{\"t\":2,\"n\":[1\n{other}\n{one}\n"), &[r#"{"logMessage":"{\"t\":2,\"n\":[1"}"#, other, one]);
        check(&format!("{{\"t\":2\n{other}\n"), &[r#"{"t":2}"#, other]);
        // A string with a line break in it is still one string.
        check("{\"m\":\"one\ntwo\n{three\"}\n{}", &["{\"m\":\"one\ntwo\n{three\"}", "{}"]);
    }

    /// The run never landed.
    #[test]
    fn an_endless_entry_is_cut_and_its_neighbours_are_as_they_came() {
        let mut splitter = EntrySplitter::default();
        let mut entries = Vec::new();
        let long = vec![b'x'; 20 << 20];
        let body = [b"[{\"logTimestamp\":1,\"a\":\"".as_slice(), &long, b"\"},{\"logTimestamp\":2}]"].concat();
        for piece in body.chunks(1 << 20) {
            splitter
                .feed(piece, |entry| {
                    entries.push(entry.to_vec());
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!((entries.len(), splitter.cut_short()), (2, 1));
        let cut: serde_json::Value = serde_json::from_slice(&entries[0]).unwrap();
        assert_eq!(cut["logTimestamp"], 1);
        assert!(
            cut["a"].as_str().unwrap().ends_with("x\u{2026} [cut by Runlog: the entry has more than 16777216 bytes]")
        );
        assert!((ENTRY_BYTES_MAX..ENTRY_BYTES_MAX + (2 << 20)).contains(&entries[0].len()));
        assert_eq!(entries[1], b"{\"logTimestamp\":2}");
        splitter.finish(|_| Ok(())).unwrap();
    }

    /// Its elements were given as entries, and it was lost itself.
    #[test]
    fn an_endless_first_entry_with_an_array_named_data_is_an_entry() {
        let long = "x".repeat(17 << 20);
        let first = format!(r#"{{"logTimestamp":1,"a":"{long}","data":[{{"b":1}}]}}"#);
        let entries = split(&format!("{first}\n{{\"logTimestamp\":2}}"), 1 << 16).unwrap();
        assert_eq!(entries.len(), 2);
        assert!(entries[0].starts_with(r#"{"logTimestamp":1,"a":"xx"#) && entries[0].contains("[cut by Runlog"));
        assert_eq!(entries[1], r#"{"logTimestamp":2}"#);
    }

    #[test]
    fn what_is_too_long_is_closed_behind_a_mark() {
        let text = |begun: &[u8], is_in_text| String::from_utf8(cut(begun, 1, is_in_text)).unwrap();
        let mark = "\u{2026} [cut by Runlog: the entry has more than 16777216 bytes]";
        assert_eq!(text(b"{\"t\":1,\"a\":\"x\xc3", true), format!("{{\"t\":1,\"a\":\"x{mark}\"}}"));
        assert_eq!(text(b"{\"a\":\"x\\", true), format!("{{\"a\":\"x{mark}\"}}"));
        assert_eq!(text(b"{\"a\":[1,2", false), format!("{{\"logMessage\":\"{{\\\"a\\\":[1,2{mark}\"}}"));
    }

    #[test]
    fn times_are_read_in_every_form() {
        let time = |entry: &str| time_of(entry.as_bytes()).unwrap();
        assert_eq!(time(r#"{"x":{"logTimestamp":5},"logTimestamp":1614696623123}"#), Some(1_614_696_623_123));
        assert_eq!(time(r#"{"logTimestamp": 1614696623123, "a":1}"#), Some(1_614_696_623_123));
        assert_eq!(time(r#"{"logTimestamp":-5}"#), Some(-5));
        assert_eq!(time(r#"{"logTimestamp":1614696623123.0}"#), Some(1_614_696_623_123));
        assert_eq!(time(r#"{"logTimestamp":"1614696623123"}"#), Some(1_614_696_623_123));
        for nanoseconds in ["1614696623123456789", "1614696623123456", "1614696623.123", "\"1614696623.123\""] {
            assert_eq!(time(&format!(r#"{{"logTimestamp":{nanoseconds}}}"#)), Some(1_614_696_623_123), "{nanoseconds}");
        }
        assert_eq!(time(r#"{"logTimestamp":0}"#), Some(0));
        assert_eq!(time(r#"{"logTimestamp":99999999999999}"#), Some(99_999_999_999_999));
        assert_eq!(time(r#"{"logTimestamp":1e300}"#), None);
        assert_eq!(time(r#"{"logTimestamp":null}"#), None);
        assert_eq!(time("{}"), None);
        assert!(time_of(b"{\"a\":tru}").is_err());
        assert_eq!(time_of(b"{\"logTimestamp\":1,\t\"a\":2}").unwrap(), Some(1));
        assert_eq!(time("{\"logTimestamp\":1,\"a\":\"\u{7f}\"}"), Some(1));
    }
}
