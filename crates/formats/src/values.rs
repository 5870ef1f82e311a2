//! JSON values anywhere in a text: one after another, or in arrays, with commas missing or surplus.

use std::io::BufRead;

use crate::outcome::{Position, RECORD_BYTES_MAX, ReadError, Unit};

/// Splits a text into its values, each on one line. What is wrong inside of a value is left to its reader.
pub(crate) struct Values<R> {
    log: R,
    /// Inside of an array of values.
    is_in_array: bool,
    number: u64,
}

impl<R: BufRead> Values<R> {
    pub(crate) fn new(log: R) -> Self {
        Self { log, is_in_array: false, number: 0 }
    }

    /// The number of the value that was read last, starting at 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Appends the next value as a line; false at the end of the log.
    pub(crate) fn read(&mut self, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        let mut value = Value::new(out);
        loop {
            let bytes = self.log.fill_buf()?;
            if bytes.is_empty() {
                let is_value = value.end(self.is_in_array, self.number)?;
                self.number += u64::from(is_value);
                return Ok(is_value);
            }
            let mut taken = 0;
            let mut is_whole = false;
            while taken < bytes.len() && !is_whole {
                let byte = bytes[taken];
                if value.has_content() {
                    // The end of a number or a literal follows it.
                    let is_after = value.is_ended_by(byte);
                    is_whole = is_after || value.push(byte);
                    taken += usize::from(!is_after);
                    continue;
                }
                match (byte, self.is_in_array) {
                    (b' ' | b'\t' | b'\r' | b'\n' | b',', _) => {}
                    // Files that were put one behind another have their marks in the middle.
                    (0xef | 0xbb | 0xbf, _) => {}
                    (b'[', false) => self.is_in_array = true,
                    (b']', true) => self.is_in_array = false,
                    _ => value.begin(byte),
                }
                taken += 1;
            }
            self.log.consume(taken);
            if is_whole {
                out.push(b'\n');
                self.number += 1;
                return Ok(true);
            }
            if value.len() > RECORD_BYTES_MAX {
                return Err(ReadError::TooLong(Position { unit: Unit::Record, number: self.number + 1 }));
            }
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

    fn has_content(&self) -> bool {
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
    fn end(self, is_in_array: bool, read: u64) -> Result<bool, ReadError> {
        let is_word = self.has_content() && self.depth == 0 && !self.is_in_text;
        match (self.has_content() && !is_word, is_in_array) {
            (true, _) => Err(ReadError::Truncated(format!("in the middle of record {}", read + 1))),
            (false, true) => Err(ReadError::Truncated(format!("before the end of its array, after record {read}"))),
            (false, false) if is_word => {
                self.text.push(b'\n');
                Ok(true)
            }
            (false, false) => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// The records of a text, read in pieces of so many bytes.
    fn values(text: &str, piece: usize) -> Result<Vec<String>, String> {
        let mut values = Values::new(BufReader::with_capacity(piece, text.as_bytes()));
        let mut found = Vec::new();
        loop {
            let mut line = Vec::new();
            match values.read(&mut line) {
                Ok(true) => found.push(String::from_utf8(line).unwrap()),
                Ok(false) => return Ok(found),
                Err(error) => return Err(error.to_string()),
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
        check("{},\n{},{}{}\n", &["{}", "{}", "{}", "{}"]);
        check("[{},,{}{},]\n\u{feff}[{}]", &["{}", "{}", "{}", "{}"]);
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
    fn nothing_is_left_of_a_record_that_is_cut_off() {
        let settings = crate::ReadSettings::written_at(runlog_model::Timestamp::MIN);
        let text = &b"[{\"logTimestamp\":1},{\"logTimestamp\":"[..];
        let mut log = crate::LogReader::new(text, crate::LogFormat::Json, settings).unwrap();
        let mut out = Vec::new();
        while let Ok(Some(_)) = log.next(&mut out) {}
        assert_eq!(out, b"{\"logTimestamp\":1}\n");
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
