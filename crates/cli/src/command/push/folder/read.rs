//! Reads a part of a log that is being written: up to where a record is certainly complete.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use runlog_formats::{Detected, LineReader, LogFormat, Next, ReadSettings, detect};
use runlog_model::{RunStatus, Timestamp, hex};
use sha2::{Digest, Sha256};

use super::checkpoint::{FollowedFormat, LogState};

/// How many of the first bytes of a file identify it.
const HEAD_BYTES_MAX: u64 = 1_024;
/// Size of a batch. Unit: bytes.
pub(super) const BATCH_BYTES: u64 = 1 << 20;
/// Longest line; a longer one is divided. Unit: bytes.
const LINE_BYTES_MAX: u64 = 8 << 20;
/// Number of bytes of a log that are inspected to detect its format.
const DETECTION_BYTES: u64 = 64 << 10;
/// Number of lines after which a text without times is recognised; before that, a banner may precede the first time.
const DETECTION_LINES: usize = 50;

/// A text that ends the run when it occurs in a line, and the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndMarker {
    pub(crate) text: String,
    pub(crate) status: RunStatus,
}

/// The records of a part of a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// NDJSON.
    pub(super) records: Vec<u8>,
    pub(super) count: u64,
    /// Number of invalid lines, and the reason for the first.
    pub(super) invalid: u64,
    pub(super) why: Option<String>,
    /// The times of the first and the last record.
    pub(super) times: Option<(Timestamp, Timestamp)>,
    /// The status of the first line that ends the run.
    pub(super) ending: Option<RunStatus>,
}

impl FollowedFormat {
    pub(super) fn log_format(self) -> LogFormat {
        match self {
            Self::Ndjson => LogFormat::Ndjson,
            Self::Text => LogFormat::Text,
            Self::Plain => LogFormat::Plain,
        }
    }

    /// Of a format whose records are lines.
    pub(crate) fn of(format: LogFormat) -> Option<Self> {
        match format {
            LogFormat::Ndjson => Some(Self::Ndjson),
            LogFormat::Text => Some(Self::Text),
            LogFormat::Plain => Some(Self::Plain),
            LogFormat::Json | LogFormat::Csv { .. } => None,
        }
    }
}

/// Returns the hash of the first bytes of a file before `end`, up to a limit, and their number.
pub(super) fn head(file: &mut File, end: u64) -> io::Result<(String, u64)> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(end.min(HEAD_BYTES_MAX)).read_to_end(&mut bytes)?;
    Ok((hex::encode(Sha256::digest(&bytes)), bytes.len() as u64))
}

/// True if the file begins as the log did.
pub(super) fn has_head(file: &mut File, state: &LogState) -> io::Result<bool> {
    Ok(head(file, state.head_bytes)? == (state.head.clone(), state.head_bytes))
}

/// Returns the format of a log; an error if it does not consist of lines; none if it cannot be detected yet and the log
/// is not complete (`is_all`).
pub(super) fn format_of(
    file: &mut File,
    settings: &ReadSettings,
    is_all: bool,
) -> io::Result<Result<Option<FollowedFormat>, String>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(DETECTION_BYTES).read_to_end(&mut bytes)?;
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    if lines == 0 && !is_all && (bytes.len() as u64) < DETECTION_BYTES {
        return Ok(Ok(None));
    }
    let found = match detect(&bytes, is_all, settings) {
        Detected::Log(format) => FollowedFormat::of(format).ok_or_else(|| {
            format!("it is {}; a followed log is NDJSON or text, --format sets one of them", format.name())
        }),
        Detected::Other(what) => Err(what),
    };
    Ok(match found {
        Ok(FollowedFormat::Plain) if lines < DETECTION_LINES && !is_all => Ok(None),
        // A time may follow.
        Err(_) if lines < DETECTION_LINES && !is_all => Ok(None),
        found => found.map(Some),
    })
}

/// Returns the end of the next part of a log: the beginning of the record that may be incomplete, or the end of the
/// file if nothing more is being added (`is_quiet`), including a last line without a line break if it `is_final`.
pub(super) fn end_of_part(
    file: &mut File,
    state: &LogState,
    format: FollowedFormat,
    settings: &ReadSettings,
    is_quiet: bool,
    is_final: bool,
) -> io::Result<u64> {
    let mut reader = LineReader::new(format.log_format(), settings.clone()).ok_or(io::ErrorKind::InvalidInput)?;
    begin(&mut reader, state, format, settings);
    file.seek(SeekFrom::Start(state.offset))?;
    let mut lines = BufReader::with_capacity(1 << 16, file);
    let (mut at, mut complete) = (state.offset, state.offset);
    let (mut line, mut out) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        out.clear();
        let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? as u64;
        let is_partial = !line.ends_with(b"\n") && read < LINE_BYTES_MAX;
        if read == 0 || is_partial && !is_final {
            return Ok(if is_quiet { at } else { complete });
        }
        let is_record = reader.add(&line, settings.written_at, &mut out).is_some();
        match format {
            // The line begins the next record.
            FollowedFormat::Text if is_record => complete = at,
            FollowedFormat::Text => {}
            FollowedFormat::Ndjson | FollowedFormat::Plain => complete = at + read,
        }
        at += read;
        if complete - state.offset >= BATCH_BYTES {
            return Ok(complete);
        }
    }
}

/// Reads the part of a log up to `end`. The same part always yields the same records.
pub(super) fn read_part(
    file: &mut File,
    state: &LogState,
    end: u64,
    format: FollowedFormat,
    settings: &ReadSettings,
    markers: &[EndMarker],
) -> io::Result<Part> {
    let mut reader = LineReader::new(format.log_format(), settings.clone()).ok_or(io::ErrorKind::InvalidInput)?;
    begin(&mut reader, state, format, settings);
    file.seek(SeekFrom::Start(state.offset))?;
    let mut lines = BufReader::with_capacity(1 << 16, file.take(end.saturating_sub(state.offset)));
    let (mut part, mut line, mut read_bytes) = (Part::default(), Vec::new(), 0);
    loop {
        line.clear();
        let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? as u64;
        if read == 0 {
            break;
        }
        read_bytes += read;
        let mut found = markers.iter().filter(|marker| memmem(&line, marker.text.as_bytes()));
        part.ending = part.ending.or_else(|| found.next().map(|marker| marker.status));
        let next = reader.add(&line, settings.written_at, &mut part.records);
        part.count(next);
    }
    if read_bytes < end.saturating_sub(state.offset) {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than before"));
    }
    let next = reader.flush(&mut part.records);
    part.count(next);
    Ok(part)
}

/// Sets the time of the record that the first lines may continue.
fn begin(reader: &mut LineReader, state: &LogState, format: FollowedFormat, settings: &ReadSettings) {
    let (FollowedFormat::Text, Some(ms)) = (format, state.last_time_ms) else { return };
    let mut dropped = Vec::new();
    let line = format!("{} INFO -\n", Timestamp::clamped(ms));
    reader.add(line.as_bytes(), settings.written_at, &mut dropped);
    reader.flush(&mut dropped);
}

fn memmem(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

impl Part {
    fn count(&mut self, next: Option<Next>) {
        match next {
            Some(Next::Record(time)) => {
                self.count += 1;
                let (first, _) = self.times.unwrap_or((time, time));
                self.times = Some((first, time));
            }
            Some(Next::Invalid(invalid)) => {
                self.invalid += 1;
                self.why.get_or_insert(format!("{}: {}", invalid.at, invalid.reason));
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn state(offset: u64, last_time_ms: Option<i64>) -> LogState {
        LogState {
            run: "00000000-0000-4000-8000-000000000001".parse().unwrap(),
            task: "57f64991e4b0b689a64feed0".parse().unwrap(),
            path: "a".into(),
            device: 0,
            inode: 0,
            born_ms: None,
            folder_device: None,
            head: String::new(),
            head_bytes: 0,
            offset,
            format: None,
            last_time_ms,
            first_time_ms: None,
            pending: None,
            ending: None,
            has_started: false,
            has_ended: false,
            is_rotated: false,
        }
    }

    /// Reads a log that grows by parts of these lengths; `quiet` says after which of them nothing came for a while.
    fn followed(text: &str, lengths: &[(usize, bool)], format: FollowedFormat) -> Vec<serde_json::Value> {
        let settings = ReadSettings::written_at(Timestamp::clamped(1_800_000_000_000));
        let mut file = tempfile::tempfile().unwrap();
        let (mut written, mut at, mut records) = (0, state(0, None), Vec::new());
        let mut lengths = lengths.iter().copied();
        loop {
            let next = lengths.next();
            let (length, is_quiet) = next.unwrap_or((text.len(), true));
            let end = (written + length).min(text.len());
            file.seek(SeekFrom::End(0)).unwrap();
            file.write_all(&text.as_bytes()[written..end]).unwrap();
            written = end;
            let end = end_of_part(&mut file, &at, format, &settings, is_quiet, next.is_none()).unwrap();
            if end > at.offset {
                let part = read_part(&mut file, &at, end, format, &settings, &[]).unwrap();
                let again = read_part(&mut file, &at, end, format, &settings, &[]).unwrap();
                assert_eq!(part, again, "the same part gives the same records");
                let lines = String::from_utf8(part.records).unwrap();
                records.extend(lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()));
                at = state(end, part.times.map(|(_, last)| last.as_millis()).or(at.last_time_ms));
            }
            if next.is_none() {
                assert_eq!(at.offset, text.len() as u64);
                return records;
            }
        }
    }

    const TEXT: &str = "2026-11-27 20:02:09,123 INFO  [main] a.B - one\n2026-11-27 20:02:10,123 ERROR [main] a.B - two\n\
                        java.lang.X: y\n\tat a.B\n2026-11-27 20:02:11,123 INFO  [main] a.B - grün\nmore\n\
                        2026-11-27 20:02:12,123 WARN  [main] a.B - last";

    #[test]
    fn a_record_is_complete_when_the_next_begins_or_after_a_pause() {
        let messages = |lengths: &[(usize, bool)]| -> Vec<String> {
            let records = followed(TEXT, lengths, FollowedFormat::Text);
            records.iter().map(|record| record["logMessage"].as_str().unwrap().to_owned()).collect()
        };
        let whole = ["one", "two\njava.lang.X: y\n\tat a.B", "grün\nmore", "last"];
        assert_eq!(messages(&[]), whole);
        assert_eq!(messages(&[(90, false), (3, false), (20, false)]), whole);
        // After the second record, for too long.
        let end = TEXT.find("java").unwrap();
        let records = followed(TEXT, &[(end, true)], FollowedFormat::Text);
        assert_eq!(records[2]["logMessage"], "java.lang.X: y\n\tat a.B");
        assert_eq!(records[2]["logTimestamp"], records[1]["logTimestamp"]);
    }

    proptest! {
        #[test]
        fn every_line_is_read_once_however_it_is_split(lengths in prop::collection::vec((1_usize..60, any::<bool>()), 0..20)) {
            let records = followed(TEXT, &lengths, FollowedFormat::Text);
            let text: Vec<&str> = records.iter().map(|record| record["logMessage"].as_str().unwrap()).collect();
            prop_assert_eq!(text.join("\n"), "one\ntwo\njava.lang.X: y\n\tat a.B\ngrün\nmore\nlast");
            let lines = "{\"logTimestamp\":1,\"logMessage\":\"a\"}\n{\"logTimestamp\":2,\"logMessage\":\"ü\"}\n\n{\"logTimestamp\":3}";
            let records = followed(lines, &lengths, FollowedFormat::Ndjson);
            let times: Vec<i64> = records.iter().map(|record| record["logTimestamp"].as_i64().unwrap()).collect();
            prop_assert_eq!(times, [1, 2, 3]);
        }
    }
}
