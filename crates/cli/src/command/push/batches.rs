//! A log in batches of some megabytes, each of whole records, one a line.

use std::io::{BufRead, Read, Seek, SeekFrom, Write};
use std::sync::mpsc::sync_channel;

use anyhow::Context;
use bytes::Bytes;
use runlog_formats::{Invalid, LogFormat, LogReader, Next, ReadError, ReadSettings};
use runlog_model::{Timestamp, hex};
use sha2::{Digest, Sha256};
use tempfile::SpooledTempFile;

use super::source::Log;
use crate::exit::{Exit, Failure, Outcome};

/// Maximum size of the plain text of a batch, which bounds memory and the amount of data to resend after a failed
/// request. Unit: bytes.
pub(super) const BATCH_BYTES: usize = 8 << 20;
/// Level of zstd for batches: compression at this level is rarely slower than the network.
const ZSTD_LEVEL: i32 = 1;
/// Compressed batches that are kept in memory until they are sent; further ones are in a temporary file. Unit: bytes.
const SPOOLED_IN_MEMORY: usize = 32 << 20;
/// Maximum number of invalid lines that are kept with their reasons.
pub(crate) const INVALID_KEPT_MAX: usize = 100;

/// Earlier times are from a clock that was not set: 1990-01-01. Unit: epoch milliseconds.
const CLOCK_SET_MS_MIN: i64 = 631_152_000_000;

/// A source of batches.
pub(crate) trait BatchSource: Send + 'static {
    /// The next batch; none at the end.
    fn next(&mut self) -> Outcome<Option<Batch>>;
}

/// Some records.
#[derive(Clone)]
pub(crate) struct Batch {
    /// The ID: the same records at the same position of a log have the same ID.
    pub(crate) id: String,
    /// Packed with zstd.
    pub(crate) body: Bytes,
    /// Plain.
    pub(crate) bytes: u64,
    /// The number of its first record, starting at 1.
    pub(crate) first_record: u64,
    pub(crate) records: u64,
}

/// Divides records into batches.
pub(super) struct Packer {
    number: u64,
    records: u64,
}

/// The records of a batch, not compressed yet.
pub(super) struct Lines {
    pub(super) text: Vec<u8>,
    pub(super) records: u64,
}

impl Packer {
    pub(super) fn new() -> Self {
        Self { number: 0, records: 0 }
    }

    pub(super) fn pack(&mut self, lines: &Lines) -> Outcome<Batch> {
        let text = lines.text.as_slice();
        // Pushing the same log again uses the same IDs; two equal parts of one log have different IDs, because of the
        // number.
        let id = format!("push-{}-{}", self.number, hex::encode(Sha256::digest(text)));
        let body = Bytes::from(zstd::encode_all(text, ZSTD_LEVEL).context("cannot compress a batch")?);
        let first_record = self.records + 1;
        self.number += 1;
        self.records += lines.records;
        Ok(Batch { id, body, bytes: text.len() as u64, first_record, records: lines.records })
    }
}

/// Batches of a log that is known to be valid NDJSON, created while it is read.
pub(crate) struct Batches<R> {
    log: LogReader<R>,
    packer: Packer,
}

impl<R: BufRead + Send + 'static> Batches<R> {
    /// A log that has one record a line.
    pub(crate) fn of_lines(text: R) -> Outcome<Self> {
        let log = LogReader::new(text, LogFormat::Ndjson, ReadSettings::written_at(Timestamp::MAX));
        Ok(Self { log: log.map_err(failure)?, packer: Packer::new() })
    }
}

impl<R: BufRead + Send + 'static> BatchSource for Batches<R> {
    fn next(&mut self) -> Outcome<Option<Batch>> {
        let mut lines = Lines { text: Vec::with_capacity(BATCH_BYTES / 4), records: 0 };
        while lines.text.len() < BATCH_BYTES {
            match self.log.next(&mut lines.text).map_err(failure)? {
                None => break,
                Some(Next::Record(_)) => lines.records += 1,
                Some(Next::Invalid(Invalid { at, reason })) => {
                    return Err(Failure::new(Exit::Failed, format!("{at}: {reason}")));
                }
            }
        }
        if lines.records == 0 { Ok(None) } else { self.packer.pack(&lines).map(Some) }
    }
}

/// A log that is read to its end before any of it is sent.
pub(crate) struct Prepared {
    spool: SpooledTempFile,
    /// Each batch without its body, and the length of the body in the spool.
    batches: std::vec::IntoIter<(Batch, usize)>,
    pub(crate) summary: LogSummary,
}

/// Statistics of a log.
#[derive(Debug, Default)]
pub(crate) struct LogSummary {
    pub(crate) records: u64,
    /// Number of parts that are not records.
    pub(crate) invalid: u64,
    /// The first invalid parts.
    pub(crate) invalid_kept: Vec<Invalid>,
    /// Parts that were not valid UTF-8, in formats other than JSON.
    pub(crate) invalid_texts: u64,
    /// The times of the earliest and the latest record, without those of a clock that was not set.
    pub(crate) times: Option<(Timestamp, Timestamp)>,
    /// The reason why the rest of the log could not be read.
    pub(crate) broken_off: Option<Failure>,
}

impl LogSummary {
    pub(super) fn add(&mut self, time: Timestamp) {
        self.records += 1;
        // Times of a clock that was never set do not indicate when a run started.
        if time.as_millis() >= CLOCK_SET_MS_MIN {
            let (first, last) = self.times.unwrap_or((time, time));
            self.times = Some((first.min(time), last.max(time)));
        }
    }

    pub(super) fn add_invalid(&mut self, invalid: Invalid) {
        self.invalid += 1;
        if self.invalid_kept.len() < INVALID_KEPT_MAX {
            self.invalid_kept.push(invalid);
        }
    }

    /// True if all of the log can be stored.
    pub(super) fn is_whole(&self) -> bool {
        self.invalid == 0 && self.broken_off.is_none()
    }
}

impl Prepared {
    /// Reads a log, and keeps it compressed: in memory if it is small, otherwise in a temporary file. Nothing is kept of a
    /// log with invalid records, unless they are skipped.
    pub(crate) fn read(log: Log, skips_invalid: bool) -> Outcome<Self> {
        let Log { format, text, settings, .. } = log;
        let mut reader = LogReader::new(text, format, settings).map_err(failure)?;
        let (lines_out, lines_in) = sync_channel::<Lines>(1);
        // One thread reads and parses, another one compresses.
        std::thread::scope(|scope| {
            let packing = scope.spawn(move || {
                let (mut spool, mut batches) = (SpooledTempFile::new(SPOOLED_IN_MEMORY), Vec::new());
                let mut packer = Packer::new();
                for lines in lines_in {
                    let mut batch = packer.pack(&lines)?;
                    let body = std::mem::take(&mut batch.body);
                    spool.write_all(&body).context("cannot keep the log in a temporary file until it is sent")?;
                    batches.push((batch, body.len()));
                }
                spool.seek(SeekFrom::Start(0))?;
                Ok::<_, Failure>((spool, batches.into_iter()))
            });
            let mut summary = LogSummary::default();
            let mut lines = Lines { text: Vec::new(), records: 0 };
            loop {
                match reader.next(&mut lines.text) {
                    Ok(None) => break,
                    Ok(Some(Next::Record(time))) => {
                        summary.add(time);
                        lines.records += 1;
                    }
                    Ok(Some(Next::Invalid(invalid))) => summary.add_invalid(invalid),
                    Err(error) => {
                        summary.broken_off = Some(failure(error));
                        break;
                    }
                }
                if lines.text.len() < BATCH_BYTES {
                    continue;
                }
                let full = std::mem::replace(&mut lines, Lines { text: Vec::new(), records: 0 });
                // A failure of the other thread is reported when it is joined.
                if (summary.is_whole() || skips_invalid) && lines_out.send(full).is_err() {
                    break;
                }
            }
            summary.invalid_texts = reader.invalid_texts();
            if lines.records > 0 && (summary.is_whole() || skips_invalid) {
                let _ = lines_out.send(lines);
            }
            drop(lines_out);
            let packed = packing.join().map_err(|_| Failure::new(Exit::Failed, "cannot compress the log"))?;
            let (spool, batches) = packed?;
            Ok(Self { spool, batches, summary })
        })
    }
}

impl BatchSource for Prepared {
    fn next(&mut self) -> Outcome<Option<Batch>> {
        let Some((batch, length)) = self.batches.next() else { return Ok(None) };
        let mut body = vec![0; length];
        self.spool.read_exact(&mut body).context("cannot read the temporary file of the log")?;
        Ok(Some(Batch { body: body.into(), ..batch }))
    }
}

/// Returns the failure for a log that cannot be read.
pub(crate) fn failure(error: ReadError) -> Failure {
    let exit = if matches!(error, ReadError::Io(_)) { Exit::Failed } else { Exit::Usage };
    Failure { exit, error: error.into() }
}
