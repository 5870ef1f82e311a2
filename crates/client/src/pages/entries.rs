//! Splits the body of a page file into its entries, as it arrives: a JSON array, one object after another (NDJSON), or
//! an object with the array in its field `data`.
//!
//! Only the structure is checked here, and the time of each entry is parsed; everything else in an entry is kept as
//! received.

use memchr::memchr3;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Error, ErrorKind, Result};
use crate::transport::{lenient, mend};

/// The longest entry that is taken. Unit: bytes. One entry must fit into memory many times.
pub const ENTRY_BYTES_MAX: usize = 16 << 20;

/// Takes a body in any pieces and gives its entries, each the text of one JSON object on one line.
#[derive(Debug, Default)]
pub struct EntrySplitter {
    place: Place,
    /// Open braces and brackets of the entry, or of the envelope's head.
    depth: u32,
    in_string: bool,
    /// The byte before was a backslash in a string.
    escaped: bool,
    /// What came of the entry in pieces before this one.
    begun: Vec<u8>,
    /// There is a line break in the entry, outside of its strings.
    broken: bool,
    /// A comma came, and an entry must follow.
    after_comma: bool,
    /// Bytes of the body before the piece at hand.
    offset: u64,
    /// How many bytes of [`NEXT_ENTRY`] were met last, inside a text.
    of_next: usize,
    /// Entries that ended inside a text.
    cut_short: u64,
}

/// Inside a text, where JSON has no line breaks, this is the beginning of the next entry: the one at hand was cut short.
const NEXT_ENTRY: &[u8] = b"\n{\"";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
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

impl EntrySplitter {
    /// Takes the next piece of the body, and gives each entry that ends in it.
    pub fn feed(&mut self, piece: &[u8], mut give: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut at = 0;
        let mut start = 0;
        while at < piece.len() {
            if self.in_string {
                at = self.skip_string(piece, at);
                if self.of_next == NEXT_ENTRY.len() {
                    self.give_cut_short(&piece[start..at], &mut give)?;
                    start = at;
                }
                continue;
            }
            let byte = piece[at];
            match self.place {
                Place::FirstObject | Place::Element(_) | Place::Object | Place::EnvelopeTail => {
                    if self.inside(byte, at, piece, start)? {
                        self.give(&piece[start..=at], &mut give)?;
                    } else if self.place == Place::Array(true) && self.depth == 0 {
                        // The head of an envelope is not kept.
                        self.begun.clear();
                    }
                }
                _ if byte.is_ascii_whitespace() => {}
                _ => {
                    start = at;
                    self.between(byte, at)?;
                }
            }
            at += 1;
        }
        if matches!(self.place, Place::FirstObject | Place::Element(_) | Place::Object) {
            self.begun.extend_from_slice(&piece[start..]);
            if self.begun.len() > ENTRY_BYTES_MAX {
                return Err(self.wrong(at, &format!("an entry is longer than {ENTRY_BYTES_MAX} bytes")));
            }
        }
        self.offset += piece.len() as u64;
        Ok(())
    }

    /// Ends the body; fails when it is not whole.
    pub fn finish(self) -> Result<()> {
        match self.place {
            Place::Start | Place::Objects | Place::End => Ok(()),
            _ => Err(self.wrong(0, "the file is truncated")),
        }
    }

    /// Goes to the end of a string, or of the piece.
    fn skip_string(&mut self, piece: &[u8], at: usize) -> usize {
        if self.escaped {
            self.escaped = false;
            return at + 1;
        }
        if self.of_next > 0 && self.place != Place::EnvelopeTail {
            if piece[at] == NEXT_ENTRY[self.of_next] {
                self.of_next += 1;
                return at + 1;
            }
            self.of_next = 0;
        }
        match memchr3(b'"', b'\\', b'\n', &piece[at..]) {
            None => piece.len(),
            Some(ahead) => {
                let at = at + ahead;
                match piece[at] {
                    b'"' => self.in_string = false,
                    b'\n' => self.of_next = 1,
                    _ => self.escaped = true,
                }
                at + 1
            }
        }
    }

    /// Gives the entry at hand, which ends before the line that ends this piece; that line begins the next one.
    fn give_cut_short(&mut self, piece: &[u8], give: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.begun.extend_from_slice(piece);
        let end = self.begun.len() - NEXT_ENTRY.len();
        give(&mend::closed(&self.begun[..end], self.depth))?;
        self.cut_short += 1;
        self.begun.drain(..=end);
        if self.place == Place::FirstObject {
            self.place = Place::Object;
        }
        // The quote begins the first key of the next one.
        (self.depth, self.broken, self.of_next) = (1, false, 0);
        Ok(())
    }

    /// Entries so far that were cut short, and were given as far as they came.
    pub fn cut_short(&self) -> u64 {
        self.cut_short
    }

    /// Takes a byte inside an entry; true when it ends the entry.
    fn inside(&mut self, byte: u8, at: usize, piece: &[u8], start: usize) -> Result<bool> {
        match byte {
            b'"' => self.in_string = true,
            b'\n' | b'\r' => self.broken = true,
            b'[' if self.place == Place::FirstObject && self.depth == 1 => {
                self.begun.extend_from_slice(&piece[start..at]);
                let is_envelope = is_data_key(&self.begun);
                let head = self.begun.len() - (at - start);
                match is_envelope {
                    true => (self.place, self.depth) = (Place::Array(true), 0),
                    false => {
                        self.begun.truncate(head);
                        self.depth += 1;
                    }
                }
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.checked_sub(1).ok_or_else(|| self.wrong(at, "unbalanced bracket"))?;
                return Ok(self.depth == 0 && self.leave());
            }
            _ => {}
        }
        Ok(false)
    }

    /// Leaves an object; true when it is an entry.
    fn leave(&mut self) -> bool {
        let (next, is_entry) = match self.place {
            Place::Element(of_envelope) => (Place::Array(of_envelope), true),
            Place::EnvelopeTail => (Place::End, false),
            _ => (Place::Objects, true),
        };
        self.place = next;
        is_entry
    }

    /// Takes a byte between entries that is not white space.
    fn between(&mut self, byte: u8, at: usize) -> Result<()> {
        let (place, depth) = match (self.place, byte) {
            (Place::Start, b'[') => (Place::Array(false), 0),
            (Place::Start, b'{') => (Place::FirstObject, 1),
            // Some writers begin with a mark that says UTF-8.
            (Place::Start, 0xef | 0xbb | 0xbf) => (Place::Start, 0),
            (Place::Objects, b'{') => (Place::Object, 1),
            (Place::Objects, b',') => (Place::Objects, 0),
            (Place::Array(of_envelope), b'{') => (Place::Element(of_envelope), 1),
            (Place::Array(_), b',') if !self.after_comma => {
                self.after_comma = true;
                return Ok(());
            }
            (Place::Array(false), b']') => (Place::End, 0),
            (Place::Array(true), b']') => (Place::EnvelopeTail, 1),
            _ => return Err(self.wrong(at, &format!("{:?} instead of an entry", char::from(byte)))),
        };
        (self.place, self.depth, self.after_comma) = (place, depth, false);
        Ok(())
    }

    fn give(&mut self, end: &[u8], give: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut begun = std::mem::take(&mut self.begun);
        let entry = match begun.is_empty() {
            true => end,
            false => {
                begun.extend_from_slice(end);
                begun.as_slice()
            }
        };
        if std::mem::take(&mut self.broken) {
            give(&on_one_line(entry))?;
        } else {
            give(entry)?;
        }
        // The memory is kept for the next entry that comes in pieces.
        begun.clear();
        self.begun = begun;
        Ok(())
    }

    fn wrong(&self, at: usize, what: &str) -> Error {
        let position = self.offset + at as u64;
        Error::new(ErrorKind::Protocol, format!("the page file cannot be parsed at byte {position}: {what}"))
    }
}

/// True when the head of an object ends with the key `data`, and no entry's time came before it.
fn is_data_key(head: &[u8]) -> bool {
    let key = head.trim_ascii_end().strip_suffix(b":").unwrap_or_default().trim_ascii_end();
    key.ends_with(b"\"data\"") && memchr::memmem::find(head, b"\"logTimestamp\"").is_none()
}

/// The same JSON without white space outside of its strings.
fn on_one_line(entry: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(entry.len());
    let (mut in_string, mut escaped) = (false, false);
    for byte in entry {
        if in_string || !byte.is_ascii_whitespace() {
            line.push(*byte);
        }
        match (in_string, escaped, byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (_, false, b'"') => in_string = !in_string,
            _ => {}
        }
    }
    line
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
        let mut splitter = EntrySplitter::default();
        let mut entries = Vec::new();
        for piece in body.as_bytes().chunks(piece) {
            splitter.feed(piece, |entry| {
                entries.push(String::from_utf8(entry.to_vec()).unwrap());
                Ok(())
            })?;
        }
        splitter.finish().map(|()| entries)
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
        // One that has its spaces on one line is kept as it came.
        check("{\"a\": 1}\n", &["{\"a\": 1}"]);
    }

    #[test]
    fn what_is_cut_short_or_no_entry_is_an_error() {
        for body in
            ["[", "[{}", "[{},", r#"{"a":"#, r#"{"data":[{}]"#, "[1]", "[{},,{}]", "[{}]{}", "null", "<html>", "[{}}"]
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
    fn an_entry_that_was_cut_short_does_not_take_its_neighbours_with_it() {
        let (one, other) = (r#"{"t":1,"m":"one"}"#, r#"{"t":3,"m":"three"}"#);
        let cut = r#"{"t":2,"m":"tw"#;
        let closed = r#"{"t":2,"m":"tw"}"#;
        check(&format!("{one}\n{cut}\n{other}\n"), &[one, closed, other]);
        check(&format!("{cut}\n{other}\n"), &[closed, other]);
        check(&format!("{cut}\r\n{other}\n"), &[closed, other]);
        check(&format!("[\n{one},\n{cut}\n{cut}\n{other}\n]"), &[one, closed, closed, other]);
        check(&format!("{{\"data\":[{one},{cut}\n{other}]}}"), &[one, closed, other]);
        // A string with a line break in it is still one string.
        check("{\"m\":\"one\ntwo\n{three\"}\n{}", &["{\"m\":\"one\ntwo\n{three\"}", "{}"]);
    }

    #[test]
    fn an_endless_entry_is_refused() {
        let mut splitter = EntrySplitter::default();
        let piece = vec![b'x'; 1 << 20];
        splitter.feed(b"[{\"a\":\"", |_| Ok(())).unwrap();
        let fed = (0..20).try_for_each(|_| splitter.feed(&piece, |_| Ok(())));
        assert!(fed.unwrap_err().to_string().contains("longer than"));
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
