//! The lines of a log.

use std::io::{BufRead, Read};

use crate::outcome::{Position, RECORD_BYTES_MAX, ReadError, Unit};

/// Reads lines of a bounded length.
pub(crate) struct Lines<R> {
    log: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(log: R) -> Self {
        Self { log, number: 0 }
    }

    /// The number of the line that was read last, starting at 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Appends the next line with its line break, which the last one may lack; false at the end of the log.
    pub(crate) fn read(&mut self, out: &mut Vec<u8>) -> Result<bool, ReadError> {
        let begin = out.len();
        // One more, for the line break.
        let mut bounded = (&mut self.log).take(RECORD_BYTES_MAX as u64 + 1);
        let read = bounded.read_until(b'\n', out)?;
        if read == 0 {
            return Ok(false);
        }
        self.number += 1;
        if read > RECORD_BYTES_MAX && !out.ends_with(b"\n") {
            return Err(ReadError::TooLong(Position { unit: Unit::Line, number: self.number }));
        }
        // Files that were put one behind another have their marks in the middle.
        if out[begin..].starts_with(b"\xef\xbb\xbf") {
            out.drain(begin..begin + 3);
        }
        Ok(true)
    }
}
