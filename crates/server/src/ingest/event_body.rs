//! Splits the body of a shipper into events: JSON in any arrangement, lines of syslog, and lines of text between them.

use runlog_model::elements::{element_length, without_marks};
use runlog_model::read_object;
use serde::de::IgnoredAny;

use crate::http::error::{ApiError, ApiResult};
use crate::ingest::engine::Events;
use crate::ingest::syslog::message as syslog;

/// How many beginnings of objects without an end are looked for beyond their lines: each time, the rest of the body is
/// searched.
const OPEN_OBJECTS_MAX: usize = 8;

/// Parses the events of a body: one object, arrays of objects, or objects one after another, on any lines. Invalid events
/// are counted, and the rest is accepted: a client that resends a body because of one line would do so forever.
///
/// 400: the body is in an encoding other than UTF-8, or holds broken JSON and nothing else.
pub(crate) fn events(body: &[u8]) -> ApiResult<Events> {
    if body.starts_with(b"\xff\xfe") || body.starts_with(b"\xfe\xff") {
        return Err(ApiError::invalid("the body is UTF-16; send UTF-8"));
    }
    let mut splitter = Splitter {
        body,
        rest: body,
        line: 1,
        line_begin: 0,
        line_end: line_length(body),
        open_arrays: 0,
        open_objects_left: OPEN_OBJECTS_MAX,
        is_json_wrong: false,
        events: Events::default(),
    };
    while splitter.skip_marks() {
        splitter.take_next();
    }
    let Splitter { events, is_json_wrong, .. } = splitter;
    match events.is_empty() && is_json_wrong {
        true => Err(ApiError::invalid(events.why().to_owned())),
        false => Ok(events),
    }
}

/// The length of the first line of a text, without its line break.
fn line_length(text: &[u8]) -> usize {
    memchr::memchr(b'\n', text).unwrap_or(text.len())
}

struct Splitter<'b> {
    body: &'b [u8],
    rest: &'b [u8],
    /// The number of the line at hand, from 1, and where it begins and ends in the body, without its line break.
    line: usize,
    line_begin: usize,
    line_end: usize,
    open_arrays: usize,
    open_objects_left: usize,
    /// Something that was to be JSON was refused.
    is_json_wrong: bool,
    events: Events,
}

impl<'b> Splitter<'b> {
    /// Goes to what comes next; false at the end.
    fn skip_marks(&mut self) -> bool {
        // The indent of a line of text belongs to it.
        let behind = without_marks(self.rest);
        self.skip(self.rest.len() - behind.len());
        !self.rest.is_empty()
    }

    fn skip(&mut self, length: usize) {
        let (skipped, rest) = self.rest.split_at(length);
        let breaks = memchr::memchr_iter(b'\n', skipped);
        let last = memchr::memrchr(b'\n', skipped);
        self.line += breaks.count();
        if let Some(last) = last {
            self.line_begin = self.position() + last + 1;
        }
        self.rest = rest;
        // Looked for once a line: a body of one line may have millions of events.
        if last.is_some() {
            self.line_end = self.position() + line_length(rest);
        }
    }

    /// Where the rest begins in the body.
    fn position(&self) -> usize {
        self.body.len() - self.rest.len()
    }

    /// The rest of the line at hand, without its line break.
    fn line_rest(&self) -> &'b [u8] {
        &self.body[self.position()..self.line_end]
    }

    /// Takes an event, a part of the structure around events, or a line of text.
    fn take_next(&mut self) {
        let behind = without_marks(&self.rest[1..]);
        let ends_line = without_marks(&self.line_rest()[1..]).is_empty();
        let byte = self.rest[0];
        match byte {
            b'{' => self.take_object(),
            b'[' if behind.is_empty() || b"{[]".contains(&behind[0]) => {
                self.open_arrays += 1;
                self.skip(1);
            }
            b']' if self.open_arrays > 0 || ends_line || self.line_rest()[1..].trim_ascii() == b"," => {
                self.open_arrays = self.open_arrays.saturating_sub(1);
                self.skip(1);
            }
            b',' if self.open_arrays > 0 || ends_line || behind.starts_with(b"{") => self.skip(1),
            _ if self.open_arrays > 0 && self.refuse_element() => {}
            _ => self.take_text(),
        }
    }

    /// Takes an object: to its end, which may be on another line. One without an end is only its line.
    fn take_object(&mut self) {
        let line = self.line_rest();
        let length = element_length(line).or_else(|| self.length_beyond_line());
        let json = &self.rest[..length.unwrap_or(line.len())];
        match read_object(json) {
            Ok((event, repaired)) => {
                self.events.add(event);
                self.events.add_repaired(repaired);
            }
            Err(error) => {
                let indent = if error.line() == 1 { self.position() - self.line_begin } else { 0 };
                let (line, column) = (self.line + error.line().saturating_sub(1), indent + error.column());
                self.refuse(format!("line {line}, column {column}: not an event: {error}"));
            }
        }
        self.skip(json.len());
    }

    /// The length of an object that ends on another line. None if it is cut short, or if it is no JSON and its first line
    /// does not look like it.
    fn length_beyond_line(&mut self) -> Option<usize> {
        if self.open_objects_left == 0 {
            return None;
        }
        let is_json = |length: &usize| {
            let begins_like_json = b"\"}".contains(without_marks(&self.rest[1..]).first().unwrap_or(&b' '));
            begins_like_json || read_object(&self.rest[..*length]).is_ok()
        };
        let length = element_length(self.rest).filter(is_json);
        self.open_objects_left -= usize::from(length.is_none());
        length
    }

    /// Refuses an array element that is not an object; false if it is no element.
    fn refuse_element(&mut self) -> bool {
        let line = self.line_rest();
        let Some(length) = element_length(line) else { return false };
        let (element, behind) = line.split_at(length);
        let is_followed = matches!(behind.trim_ascii_start().first(), None | Some(b',' | b']'));
        let is_element = is_followed && serde_json::from_slice::<IgnoredAny>(element).is_ok();
        if is_element {
            self.refuse(format!("line {}: not an event: an array element that is not an object", self.line));
            self.skip(length);
        }
        is_element
    }

    /// Takes the rest of a line that is no JSON: an event of syslog, or the continuation of the event before.
    fn take_text(&mut self) {
        let line = self.line_rest();
        match syslog::read(&String::from_utf8_lossy(line.trim_ascii())) {
            Some(event) => self.events.add(event.into()),
            None => {
                // With its indent, if it is the only thing on its line.
                let before = &self.body[self.line_begin..self.position()];
                let indent = if before.trim_ascii().is_empty() { before.len() } else { 0 };
                let line = &self.body[self.position() - indent..self.line_end];
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if !self.events.continue_last(&String::from_utf8_lossy(line)) {
                    self.events.refuse(&format!("line {}: plain text without a preceding event", self.line));
                }
            }
        }
        self.skip(self.line_rest().len());
    }

    fn refuse(&mut self, why: String) {
        self.is_json_wrong = true;
        self.events.refuse(&why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end of the line was looked for at each event, through all of the body: 64 MiB occupied a processor for minutes.
    #[test]
    fn a_body_of_one_line_has_all_its_events() {
        let event = r#"{"a":1}"#;
        let body = format!("[{}]", [event].repeat(300_000).join(","));
        assert!(events(body.as_bytes()).is_ok_and(|events| events.len() == 300_000));
    }
}
