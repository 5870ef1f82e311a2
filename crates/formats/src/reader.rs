//! Reads one record after another.

use std::io::BufRead;

use runlog_model::Timestamp;

use crate::json::JsonReader;
use crate::lines::Lines;
use crate::outcome::{Next, Position, ReadError, Unit, write};
use crate::settings::{LogFormat, ReadSettings};
use crate::table::TableReader;
use crate::text::TextReader;
use crate::values::Values;

/// A log that is being read.
pub struct LogReader<R> {
    source: Source<R>,
}

enum Source<R> {
    Ndjson { lines: Lines<R>, json: JsonReader },
    Json { values: Values<R>, json: JsonReader },
    Table(Box<TableReader<R>>),
    Text { lines: Lines<R>, text: Box<TextReader> },
}

impl<R: BufRead> LogReader<R> {
    /// Reads a log of this format, in UTF-8 without a byte order mark.
    pub fn new(log: R, format: LogFormat, settings: ReadSettings) -> Result<Self, ReadError> {
        let source = match format {
            LogFormat::Ndjson => Source::Ndjson { lines: Lines::new(log), json: JsonReader::new(settings) },
            LogFormat::Json => Source::Json { values: Values::new(log), json: JsonReader::new(settings) },
            LogFormat::Csv { separator } => Source::Table(Box::new(TableReader::new(log, separator, settings)?)),
            LogFormat::Text => {
                Source::Text { lines: Lines::new(log), text: Box::new(TextReader::with_times(settings)) }
            }
            LogFormat::Plain => Source::Text { lines: Lines::new(log), text: Box::new(TextReader::plain(settings)) },
        };
        Ok(Self { source })
    }

    /// Lines and cells that were not valid UTF-8, and were read as Windows-1252 or with U+FFFD for what is invalid. Those of
    /// JSON are repaired and counted by the service.
    pub fn invalid_texts(&self) -> u64 {
        match &self.source {
            Source::Ndjson { .. } | Source::Json { .. } => 0,
            Source::Table(table) => table.invalid_texts(),
            Source::Text { text, .. } => text.invalid_texts(),
        }
    }

    /// Appends the next record to `out`, as a line of NDJSON; none at the end of the log.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<Option<Next>, ReadError> {
        let begin = out.len();
        // What was read of a record that has no end is none.
        self.read(out).inspect_err(|_| out.truncate(begin))
    }

    fn read(&mut self, out: &mut Vec<u8>) -> Result<Option<Next>, ReadError> {
        match &mut self.source {
            Source::Ndjson { lines, json } => loop {
                let begin = out.len();
                if !lines.read(out)? {
                    return Ok(None);
                }
                if out[begin..].trim_ascii().is_empty() {
                    out.truncate(begin);
                    continue;
                }
                let at = Position { unit: Unit::Line, number: lines.number() };
                return Ok(Some(json.check(begin, out, at)));
            },
            Source::Json { values, json } => {
                let begin = out.len();
                if !values.read(out)? {
                    return Ok(None);
                }
                let at = Position { unit: Unit::Record, number: values.number() };
                Ok(Some(json.check(begin, out, at)))
            }
            Source::Table(table) => table.next(out),
            Source::Text { lines, text } => loop {
                let mut line = text.take_line();
                line.clear();
                let is_line = lines.read(&mut line)?;
                let record = if is_line { text.add(&line) } else { text.finish()? };
                text.give_line(line);
                match record {
                    Some(record) => return Ok(Some(write(&record, out))),
                    None if is_line => {}
                    None => return Ok(None),
                }
            },
        }
    }
}

/// Reads a log of lines that arrive one after another, such as those of a running job.
pub struct LineReader {
    format: LineFormat,
    number: u64,
}

enum LineFormat {
    Ndjson(Box<JsonReader>),
    Text(Box<TextReader>),
}

impl LineReader {
    /// Reads lines of this format; none if its records are not made of lines.
    pub fn new(format: LogFormat, settings: ReadSettings) -> Option<Self> {
        let format = match format {
            LogFormat::Ndjson => LineFormat::Ndjson(Box::new(JsonReader::new(settings))),
            LogFormat::Text => LineFormat::Text(Box::new(TextReader::with_times(settings))),
            LogFormat::Plain => LineFormat::Text(Box::new(TextReader::plain(settings))),
            LogFormat::Json | LogFormat::Csv { .. } => return None,
        };
        Some(Self { format, number: 0 })
    }

    /// Adds a line, read at this time, which is that of lines without one. Appends the record that is complete with it to
    /// `out`.
    pub fn add(&mut self, line: &[u8], now: Timestamp, out: &mut Vec<u8>) -> Option<Next> {
        self.number += 1;
        match &mut self.format {
            LineFormat::Ndjson(_) if line.trim_ascii().is_empty() => None,
            LineFormat::Ndjson(json) => {
                let begin = out.len();
                out.extend_from_slice(line);
                Some(json.check(begin, out, Position { unit: Unit::Line, number: self.number }))
            }
            LineFormat::Text(text) => {
                text.set_now(now);
                text.add(line).map(|record| write(&record, out))
            }
        }
    }

    /// As [`LogReader::invalid_texts`].
    pub fn invalid_texts(&self) -> u64 {
        match &self.format {
            LineFormat::Ndjson(_) => 0,
            LineFormat::Text(text) => text.invalid_texts(),
        }
    }

    /// Appends the record that further lines could continue. Lines that follow nevertheless become a record of their own,
    /// with the same time.
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Option<Next> {
        match &mut self.format {
            LineFormat::Ndjson(_) => None,
            LineFormat::Text(text) => text.flush().map(|record| write(&record, out)),
        }
    }
}
