//! The results of reading a log: records, invalid parts, and errors that end the log early.

use std::{fmt, io};

use runlog_model::{Record, Timestamp};

/// Longest record that is read. Unit: bytes.
///
/// A file without line breaks, or with a quotation mark that is not closed, would fill the memory. It is four times what a
/// service accepts unless its `--line-bytes` says more; the service names what it refuses.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

/// The next part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A record, which was appended to the output.
    Record(Timestamp),
    /// A part that is not a record; nothing was appended.
    Invalid(Invalid),
}

/// A position in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The unit of the position.
    pub unit: Unit,
    /// Its number, starting at 1.
    pub number: u64,
}

/// The unit of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Lines.
    Line,
    /// Records that may have several lines.
    Record,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            Unit::Line => write!(f, "line {}", self.number),
            Unit::Record => write!(f, "record {}", self.number),
        }
    }
}

/// A part of a log that is not a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Where it begins.
    pub at: Position,
    /// The reason.
    pub reason: String,
}

/// The reason why the rest of a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its bytes cannot be read.
    #[error("cannot read the log")]
    Io(#[from] io::Error),
    /// A line or record is longer than [`RECORD_BYTES_MAX`].
    #[error("{0} of the log is longer than {mib} MiB; split or shorten that record", mib = RECORD_BYTES_MAX >> 20)]
    TooLong(Position),
    /// The log ends in the middle of something.
    #[error("the log ends {0}: it is truncated; push the complete log")]
    Truncated(String),
    /// The log is not of this format.
    #[error("{0}")]
    Format(String),
}

/// Appends a record as a line.
pub(crate) fn write(record: &Record, out: &mut Vec<u8>) -> Next {
    // A record consists of texts and numbers, and a vector takes any bytes: this cannot fail.
    let written = serde_json::to_writer(&mut *out, record);
    debug_assert!(written.is_ok(), "{written:?}");
    out.push(b'\n');
    Next::Record(record.time)
}
