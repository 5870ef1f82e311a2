//! Reads the records of an interval from disk in blocks: one thread merges the pages, others parse the records.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use runlog_client::reconcile::{Merged, merge_interval};
use runlog_client::{Error, ErrorKind};
use runlog_model::{Record, Timestamp};
use runlog_store::BackgroundThreads;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::interval::Interval;
use crate::fetch::folder_lock::FolderLock;

/// Number of records per block, and the maximum number of waiting blocks.
const BLOCK_RECORDS: usize = 1_024;
const BLOCKS: usize = 4;
/// Number of blocks that are kept for reuse, and the maximum memory for the messages of one. Unit: bytes.
const SPARE_BLOCKS_MAX: usize = 16;
const SPARE_BLOCK_BYTES_MAX: usize = 1 << 20;

/// The records of an interval by time, oldest first; records with the same time are in the same block.
pub(crate) struct RecordBlocks {
    coming: mpsc::Receiver<ComingBlock>,
    outcome: oneshot::Receiver<runlog_client::Result<Merged>>,
}

/// A block whose records are being parsed.
type ComingBlock = oneshot::Receiver<Block>;

/// A block of records, in reused memory.
#[derive(Debug, Default)]
pub(crate) struct Block {
    memory: Vec<Record>,
    filled: usize,
    /// Number of records that could not be stored exactly as received.
    odd: u64,
}

/// Used blocks, for reuse.
#[derive(Debug, Default)]
pub(crate) struct SpareBlocks(Mutex<Vec<Block>>);

/// The texts of some records, each with its time and its end position.
#[derive(Debug, Default)]
struct Entries {
    bytes: Vec<u8>,
    entries: Vec<(i64, usize)>,
}

/// Collects entries into blocks and starts to parse them.
struct BlockWriter {
    sender: mpsc::Sender<ComingBlock>,
    open: Entries,
    spare: Arc<SpareBlocks>,
    threads: Arc<BackgroundThreads>,
}

impl RecordBlocks {
    /// Starts to read an interval of pages in a folder, whose lock is held until it is read.
    pub(crate) fn read(
        folder: &Path,
        lock: Option<FolderLock>,
        interval: &Interval,
        spare: &Arc<SpareBlocks>,
        threads: &Arc<BackgroundThreads>,
    ) -> Self {
        let (sender, coming) = mpsc::channel(BLOCKS);
        let (tell, outcome) = oneshot::channel();
        let (folder, interval) = (folder.to_owned(), interval.clone());
        let (spare, own_threads) = (Arc::clone(spare), Arc::clone(threads));
        let mut reading = BlockWriter { sender, open: Entries::default(), spare, threads: own_threads };
        threads.spawn_blocking(move || {
            let range = interval.after.saturating_add(i64::from(interval.after > i64::MIN))..=interval.until;
            let merged = merge_interval(&folder, &interval.pages, range, &mut |time, entry| reading.take(time, entry));
            let merged = merged.and_then(|merged| reading.finish().map(|()| merged));
            drop(lock);
            // The receiver may be gone.
            let _ = tell.send(merged);
        });
        Self { coming, outcome }
    }

    /// The next records; none at the end.
    pub(crate) async fn next(&mut self) -> runlog_client::Result<Option<Block>> {
        let Some(block) = self.coming.recv().await else { return Ok(None) };
        block.await.map(Some).map_err(|_| broken())
    }

    /// The result of reading, after the last block. `Protocol`: the pages cannot be read.
    pub(crate) async fn outcome(self) -> runlog_client::Result<Merged> {
        self.outcome.await.unwrap_or_else(|_| Err(broken()))
    }
}

impl BlockWriter {
    fn take(&mut self, time: i64, entry: &[u8]) -> runlog_client::Result<()> {
        if self.open.entries.len() >= BLOCK_RECORDS && self.open.entries.last().is_some_and(|(last, _)| *last != time) {
            let next = Entries {
                bytes: Vec::with_capacity(self.open.bytes.len()),
                entries: Vec::with_capacity(self.open.entries.len()),
            };
            let entries = std::mem::replace(&mut self.open, next);
            let (tell, spare) = (self.announce()?, Arc::clone(&self.spare));
            self.threads.spawn_blocking(move || tell.send(entries.read(&spare)));
        }
        self.open.bytes.extend_from_slice(entry);
        self.open.entries.push((time, self.open.bytes.len()));
        Ok(())
    }

    /// Parses the last entries in this thread: those of a short log are all in this block.
    fn finish(self) -> runlog_client::Result<()> {
        if !self.open.entries.is_empty() {
            let tell = self.announce()?;
            // The receiver may be gone.
            let _ = tell.send(self.open.read(&self.spare));
        }
        Ok(())
    }

    /// Waits until there is room for another block.
    fn announce(&self) -> runlog_client::Result<oneshot::Sender<Block>> {
        let (tell, block) = oneshot::channel();
        let gone = |_| Error::new(ErrorKind::Storage, "the receiver of the records has been dropped");
        self.sender.blocking_send(block).map_err(gone).map(|()| tell)
    }
}

impl Entries {
    fn read(&self, spare: &SpareBlocks) -> Block {
        let (mut block, mut start) = (spare.take(), 0);
        for (time, end) in &self.entries {
            let is_as_it_says = read_record(block.next(), *time, &self.bytes[start..*end]);
            block.odd += u64::from(!is_as_it_says);
            start = *end;
        }
        block
    }
}

impl SpareBlocks {
    fn take(&self) -> Block {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Block { filled: 0, odd: 0, ..spare.unwrap_or_default() }
    }

    /// Keeps a used block, unless it is too large.
    pub(crate) fn give(&self, block: Block) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_BLOCKS_MAX && block.text_bytes() <= SPARE_BLOCK_BYTES_MAX {
            spare.push(block);
        }
    }
}

impl Block {
    pub(crate) fn records(&self) -> &[Record] {
        &self.memory[..self.filled]
    }

    /// Number of records that could not be stored exactly as received: a field has another type, or a time another
    /// form.
    pub(crate) fn odd(&self) -> u64 {
        self.odd
    }

    /// Memory of the messages. Unit: bytes.
    fn text_bytes(&self) -> usize {
        self.memory.iter().filter_map(|record| record.message.as_ref()).map(String::capacity).sum()
    }

    /// Another record to parse into.
    fn next(&mut self) -> &mut Record {
        if self.memory.len() == self.filled {
            self.memory.push(Record::at(Timestamp::MIN));
        }
        self.filled += 1;
        &mut self.memory[self.filled - 1]
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::Protocol, "cannot read its pages from disk")
}

/// Parses an entry into a record; false if it could not be stored exactly as received.
fn read_record(record: &mut Record, time: i64, entry: &[u8]) -> bool {
    match record.read_json(entry) {
        Ok(changed) if record.time.as_millis() == time => return changed == 0,
        _ => {}
    }
    let fields = runlog_model::read_object(entry).ok().map(|(fields, _)| fields);
    // An entry without a time gets that of its neighbour.
    let is_only_without_time =
        fields.as_ref().is_some_and(|fields| fields.get("logTimestamp").is_none_or(Value::is_null));
    let (read, is_as_it_says) = match fields {
        Some(fields) => Record::from_fields(Timestamp::clamped(time), fields),
        None => (said(time, String::from_utf8_lossy(entry).into_owned()), false),
    };
    *record = read;
    is_as_it_says && is_only_without_time
}

fn said(time: i64, message: String) -> Record {
    Record { message: Some(message), ..Record::at(Timestamp::clamped(time)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(entry: &str, time: i64, expected: &str, is_as_it_says: bool) {
        let mut record = Record::at(Timestamp::MIN);
        assert_eq!(read_record(&mut record, time, entry.as_bytes()), is_as_it_says, "{entry}");
        assert_eq!(serde_json::to_string(&record).unwrap(), expected);
    }

    /// A single field with another type, or a time in another form, kept a run from ever landing.
    #[test]
    fn an_odd_entry_is_a_record_all_the_same() {
        check(r#"{"logTimestamp":7,"logMessage":"m"}"#, 7, r#"{"logTimestamp":7,"logMessage":"m"}"#, true);
        check(r#"{"logMessage":"m"}"#, 7, r#"{"logTimestamp":7,"logMessage":"m"}"#, true);
        check(r#"{"logTimestamp":null,"logMessage":"m"}"#, 7, r#"{"logTimestamp":7,"logMessage":"m"}"#, true);
        check(
            r#"{"logTimestamp":7,"severity":3,"logMessage":["a",1]}"#,
            7,
            r#"{"logTimestamp":7,"severity":"3","logMessage":"[\"a\",1]"}"#,
            false,
        );
        check(r#"{"logTimestamp":7,"x":1e400}"#, 7, r#"{"logTimestamp":7,"x":"1e400"}"#, false);
        check(r#"{"logTimestamp":7,"x":1,"x":2}"#, 7, r##"{"logTimestamp":7,"x":2,"x#1":1}"##, false);
        check(r#"{"logTimestamp":"soon","x":1}"#, 7, r#"{"logTimestamp":7,"originalTimestamp":"soon","x":1}"#, false);
        let nanoseconds = r#"{"logTimestamp":1614696623123456789}"#;
        let kept = r#"{"logTimestamp":1614696623123,"originalTimestamp":1614696623123456789}"#;
        check(nanoseconds, 1_614_696_623_123, kept, false);
        check(
            r#"{"logTimestamp":7,"a":tru}"#,
            7,
            r#"{"logTimestamp":7,"logMessage":"{\"logTimestamp\":7,\"a\":tru}"}"#,
            false,
        );
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        let mut record = Record::at(Timestamp::MIN);
        assert!(!read_record(&mut record, 7, deep.as_bytes()));
        assert_eq!(record.message.as_deref(), Some(deep.as_str()));
    }
}
