//! The TEXT form of a log.
//!
//! `2021-08-19T10:11:12.345Z | INFO  | logType | bundleName | message`, a field that is absent left empty, the
//! further lines of a message as they are. The vendor documents no line form; this one is close to the one that
//! engines write to disk (decision 0004).

use std::io::{self, Write};

use crate::{Record, Timestamp};

/// The fields of a record that its line shows.
#[derive(Debug, Clone, Copy)]
pub struct TextLine<'a> {
    /// When it was logged.
    pub time: Timestamp,
    /// Its severity.
    pub severity: Option<&'a str>,
    /// The kind of log to which it belongs.
    pub log_type: Option<&'a str>,
    /// The component that logged it.
    pub bundle_name: Option<&'a str>,
    /// The text.
    pub message: Option<&'a str>,
}

impl TextLine<'_> {
    /// Writes the line, with a line break at its end.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "{} | ", self.time)?;
        let severity = self.severity.unwrap_or_default();
        out.write_all(severity.as_bytes())?;
        out.write_all(&b"     "[severity.chars().count().min(5)..])?;
        for text in [self.log_type, self.bundle_name, self.message] {
            out.write_all(b" | ")?;
            out.write_all(text.unwrap_or_default().as_bytes())?;
        }
        out.write_all(b"\n")
    }
}

/// The columns of a line after its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns<'a> {
    /// Without the blanks that align it; empty if it is absent.
    pub severity: &'a str,
    /// Empty if it is absent.
    pub log_type: &'a str,
    /// Empty if it is absent.
    pub bundle_name: &'a str,
    /// The first line of the text.
    pub message: &'a str,
}

/// Reads what follows the time in a line that [`TextLine::write_to`] has written, without its line break; none for any
/// other line.
pub fn columns(after_time: &str) -> Option<Columns<'_>> {
    let mut parts = after_time.strip_prefix(" | ")?.splitn(4, " | ");
    let (severity, log_type) = (parts.next()?, parts.next()?);
    let (bundle_name, message) = (parts.next()?, parts.next()?);
    let is_aligned = severity.chars().count() >= 5;
    is_aligned.then_some(Columns { severity: severity.trim_end(), log_type, bundle_name, message })
}

impl<'a> From<&'a Record> for TextLine<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            time: record.time,
            severity: record.severity.as_deref(),
            log_type: record.log_type.as_deref(),
            bundle_name: record.bundle_name.as_deref(),
            message: record.message.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_documented() {
        let record: Record = serde_json::from_str(
            r#"{"logTimestamp":1629367872345,"severity":"INFO","logType":"JOB","logMessage":"one\ntwo"}"#,
        )
        .unwrap();
        let mut out = Vec::new();
        TextLine::from(&record).write_to(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "2021-08-19T10:11:12.345Z | INFO  | JOB |  | one\ntwo\n");
    }

    #[test]
    fn the_columns_of_a_line_are_those_that_were_written() {
        for (severity, padded) in
            [("", "     "), ("INFO", "INFO "), ("ERROR", "ERROR"), ("CRITICAL", "CRITICAL"), ("é", "é    ")]
        {
            let line = TextLine {
                time: Timestamp::clamped(0),
                severity: Some(severity),
                log_type: Some("JOB"),
                bundle_name: None,
                message: Some("a | b"),
            };
            let mut out = Vec::new();
            line.write_to(&mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            let after_time = text.strip_prefix("1970-01-01T00:00:00.000Z").unwrap().strip_suffix('\n').unwrap();
            assert_eq!(after_time, format!(" | {padded} | JOB |  | a | b"));
            let expected = Columns { severity, log_type: "JOB", bundle_name: "", message: "a | b" };
            assert_eq!(columns(after_time), Some(expected));
        }
        for other in ["", " | INFO | JOB |  | m", " | INFO  | JOB | m", "INFO  | JOB |  | m"] {
            assert_eq!(columns(other), None, "{other}");
        }
    }
}
