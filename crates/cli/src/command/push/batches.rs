//! A log in batches of some megabytes, each of whole records, one a line.

use std::io::{BufRead, Read};

use anyhow::Context;
use bytes::Bytes;
use runlog_model::hex;
use sha2::{Digest, Sha256};

use super::source::{Form, Log, Source, look};
use crate::exit::{Exit, Failure, Outcome};

/// Most bytes of plain text in one batch: a part of memory, and what is sent again when a request breaks.
const BATCH_BYTES: usize = 8 << 20;
/// Longest record that is read: a file without line breaks would fill the memory.
///
/// Unit: MiB. Four times what a service takes unless its `--line-bytes` says more; the service names what it refuses.
const RECORD_MIB_MAX: u64 = 64;
/// Level of zstd for batches: the network is seldom quicker than this.
const ZSTD_LEVEL: i32 = 1;

/// Whole records of a log, some megabytes at a time.
pub(crate) struct Batches {
    source: Source,
    /// What the log is called in messages.
    name: String,
    takes_bad_lines: bool,
    /// Inside of an array of [`Form::Values`].
    is_in_array: bool,
    number: u64,
    lines: u64,
}

/// Some of them.
pub(crate) struct Batch {
    /// The same for the same records at the same place of a log.
    pub(crate) id: String,
    /// Packed with zstd.
    pub(crate) body: Bytes,
    /// Plain.
    pub(crate) bytes: u64,
    pub(crate) first_line: u64,
    pub(crate) last_line: u64,
    /// What is counted: `line`, or `record` where a record may have several lines.
    pub(crate) unit: &'static str,
}

impl Batches {
    pub(crate) fn new(source: Source, name: String, takes_bad_lines: bool) -> Self {
        Self { source, name, takes_bad_lines, is_in_array: false, number: 0, lines: 0 }
    }

    /// A log that is known to have one record a line.
    pub(crate) fn of_lines(text: impl BufRead + Send + 'static) -> Self {
        let log = Log { form: Form::Lines, text: Box::new(text) };
        Self::new(Source::Looked(log), "the log".to_owned(), false)
    }

    pub(crate) fn takes_bad_lines(&self) -> bool {
        self.takes_bad_lines
    }

    /// The next batch; none at the end of the log.
    pub(crate) fn next(&mut self) -> Outcome<Option<Batch>> {
        let mut text = Vec::with_capacity(BATCH_BYTES / 4);
        let mut lines = 0;
        while text.len() < BATCH_BYTES && self.read_record(self.lines + lines + 1, &mut text)? {
            lines += 1;
        }
        if text.is_empty() {
            return Ok(None);
        }
        // Pushing the same log again uses the same IDs; two equal parts of one log have different IDs, because of the
        // number.
        let id = format!("push-{}-{}", self.number, hex::encode(Sha256::digest(&text)));
        self.number += 1;
        let first_line = self.lines + 1;
        self.lines += lines;
        let unit = match &self.source {
            Source::Looked(Log { form: Form::Values, .. }) => "record",
            _ => "line",
        };
        let body = Bytes::from(zstd::encode_all(text.as_slice(), ZSTD_LEVEL).context("cannot compress a batch")?);
        Ok(Some(Batch { id, body, bytes: text.len() as u64, first_line, last_line: self.lines, unit }))
    }

    /// Appends the record of this number as a line; false at the end of the log.
    fn read_record(&mut self, number: u64, text: &mut Vec<u8>) -> Outcome<bool> {
        if let Source::Pipe(bytes) = &mut self.source {
            let bytes = std::mem::replace(bytes, Box::new(std::io::empty()));
            self.source = Source::Looked(look(bytes, &self.name, self.takes_bad_lines)?);
        }
        let Source::Looked(log) = &mut self.source else { return Ok(false) };
        match log.form {
            Form::Lines => read_line(&mut log.text, number, text),
            Form::Values => read_value(&mut log.text, &mut self.is_in_array, number, text),
        }
    }
}

fn read_line(log: &mut impl BufRead, number: u64, text: &mut Vec<u8>) -> Outcome<bool> {
    let (begin, bytes_max) = (text.len(), RECORD_MIB_MAX << 20);
    // One more, for the line break.
    let mut bounded = log.take(bytes_max + 1);
    let read = bounded.read_until(b'\n', text).context("cannot read the log")? as u64;
    if read > bytes_max && !text.ends_with(b"\n") {
        return Err(too_long("line", number));
    }
    // Files that were put one behind another have their marks in the middle.
    if text[begin..].starts_with(b"\xef\xbb\xbf") {
        text.drain(begin..begin + 3);
    }
    Ok(read > 0)
}

fn too_long(unit: &str, number: u64) -> Failure {
    let message = format!(
        "{unit} {number} of the log is longer than {RECORD_MIB_MAX} MiB: a log has one JSON object per line; split it into \
         lines, or shorten that record, and push it again"
    );
    Failure::new(Exit::Usage, message)
}

/// Appends the next value of a sequence of values and arrays of values, on one line. What is wrong inside of a value is
/// left to the service, which says so.
fn read_value(log: &mut impl BufRead, is_in_array: &mut bool, number: u64, text: &mut Vec<u8>) -> Outcome<bool> {
    let mut value = Value::new(text);
    loop {
        let bytes = log.fill_buf().context("cannot read the log")?;
        if bytes.is_empty() {
            return value.end(*is_in_array, number);
        }
        let mut taken = 0;
        let mut is_whole = false;
        while taken < bytes.len() && !is_whole {
            let byte = bytes[taken];
            if value.is_begun() {
                // The end of a number or a literal follows it.
                let is_after = value.is_ended_by(byte);
                is_whole = is_after || value.push(byte);
                taken += usize::from(!is_after);
                continue;
            }
            match (byte, *is_in_array) {
                (b' ' | b'\t' | b'\r' | b'\n', _) | (b',', true) => {}
                (b'[', false) => *is_in_array = true,
                (b']', true) => *is_in_array = false,
                _ => value.begin(byte),
            }
            taken += 1;
        }
        log.consume(taken);
        if is_whole {
            text.push(b'\n');
            return Ok(true);
        }
        if value.len() as u64 > RECORD_MIB_MAX << 20 {
            return Err(too_long("record", number));
        }
    }
}

/// A JSON value that is being read, as a line.
struct Value<'a> {
    text: &'a mut Vec<u8>,
    start: usize,
    /// Objects and arrays that are open.
    depth: u64,
    is_in_text: bool,
    is_escaped: bool,
}

impl<'a> Value<'a> {
    fn new(text: &'a mut Vec<u8>) -> Self {
        let start = text.len();
        Self { text, start, depth: 0, is_in_text: false, is_escaped: false }
    }

    fn len(&self) -> usize {
        self.text.len() - self.start
    }

    fn is_begun(&self) -> bool {
        self.len() > 0
    }

    fn begin(&mut self, byte: u8) {
        self.push(byte);
    }

    /// True when the value is a number or a word, and this is no part of it.
    fn is_ended_by(&self, byte: u8) -> bool {
        self.depth == 0
            && !self.is_in_text
            && matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b']' | b'[' | b'{' | b'}')
    }

    /// Adds a byte; true when it was the last of the value.
    fn push(&mut self, byte: u8) -> bool {
        if self.is_in_text {
            match byte {
                // Written although it is not JSON: a line break would split the record.
                b'\n' => self.text.extend_from_slice(b"\\n"),
                b'\r' => self.text.extend_from_slice(b"\\r"),
                _ => self.text.push(byte),
            }
            if self.is_escaped {
                self.is_escaped = false;
            } else if byte == b'\\' {
                self.is_escaped = true;
            } else if byte == b'"' {
                self.is_in_text = false;
                return self.depth == 0;
            }
            return false;
        }
        match byte {
            b'\n' | b'\r' => self.text.push(b' '),
            _ => self.text.push(byte),
        }
        match byte {
            b'"' => self.is_in_text = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }

    /// The log ends here: well, or in the middle of something.
    fn end(self, is_in_array: bool, number: u64) -> Outcome<bool> {
        let is_word = self.is_begun() && self.depth == 0 && !self.is_in_text;
        match (self.is_begun() && !is_word, is_in_array) {
            (true, _) => Err(not_whole(format!("in the middle of record {number}"))),
            (false, true) => Err(not_whole(format!("before the end of its array, after record {}", number - 1))),
            (false, false) if is_word => {
                self.text.push(b'\n');
                Ok(true)
            }
            (false, false) => Ok(false),
        }
    }
}

fn not_whole(place: String) -> Failure {
    Failure::new(Exit::Usage, format!("the log ends {place}: it is truncated; push the complete log again"))
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// The records of a text, read in pieces of so many bytes.
    fn values(text: &str, piece: usize) -> Result<Vec<String>, String> {
        let mut log = BufReader::with_capacity(piece, text.as_bytes());
        let (mut is_in_array, mut found) = (false, Vec::new());
        loop {
            let mut line = Vec::new();
            match read_value(&mut log, &mut is_in_array, found.len() as u64 + 1, &mut line) {
                Ok(true) => found.push(String::from_utf8(line).unwrap()),
                Ok(false) => return Ok(found),
                Err(failure) => return Err(failure.error.to_string()),
            }
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        for piece in [1, 2, 7, 1 << 16] {
            let lines: Vec<String> = expected.iter().map(|line| format!("{line}\n")).collect();
            assert_eq!(values(text, piece).unwrap(), lines, "in pieces of {piece}");
        }
    }

    #[test]
    fn each_value_of_an_array_is_a_line() {
        check("[{\"a\":1},{\"b\":[2,{}]}]", &["{\"a\":1}", "{\"b\":[2,{}]}"]);
        check("\n[\n {\n  \"a\": 1\n }\n,\n {}\n]\n", &["{   \"a\": 1  }", "{}"]);
        check("[{}]\n[{},{}]\n", &["{}", "{}", "{}"]);
        check("{\n\"a\": 1\n}\n{\n\"a\": 2\n}", &["{ \"a\": 1 }", "{ \"a\": 2 }"]);
        check("[]", &[]);
    }

    #[test]
    fn texts_may_hold_anything() {
        check(r#"[{"a":"]}\"\\"},{"b":"[{"}]"#, &[r#"{"a":"]}\"\\"}"#, r#"{"b":"[{"}"#]);
        check("[{\"a\":\"one\ntwo\r\n\"}]", &["{\"a\":\"one\\ntwo\\r\\n\"}"]);
    }

    #[test]
    fn what_is_no_record_is_left_to_the_service() {
        check("[1, \"two\", null,{},[3]]", &["1", "\"two\"", "null", "{}", "[3]"]);
        check("[{]]{}", &["{]", "{}"]);
    }

    #[test]
    fn a_log_that_was_cut_off_says_so() {
        for (text, place) in [
            ("[{},{\"a\":", "in the middle of record 2"),
            ("[{},\"tw", "in the middle of record 2"),
            ("[{},", "before the end of its array, after record 1"),
            ("[", "before the end of its array, after record 0"),
        ] {
            assert!(values(text, 4).unwrap_err().contains(place), "{text}");
        }
    }
}
