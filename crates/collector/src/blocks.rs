//! Reads the records of a stretch from disk, block after block: one thread merges its pages, others read the records.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use runlog_client::reconcile::{Merged, merge_stretch};
use runlog_client::{Error, ErrorKind};
use runlog_model::{Record, Timestamp};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use crate::checkpoint::FolderLock;
use crate::stretch::Stretch;

/// Records that are read at a time, and how many such blocks wait at most.
const BLOCK_RECORDS: usize = 1_024;
const BLOCKS: usize = 4;
/// Blocks that are kept for other runs, and the most memory that the messages of one may take. Unit: bytes.
const SPARE_BLOCKS_MAX: usize = 16;
const SPARE_BLOCK_BYTES_MAX: usize = 1 << 20;

/// The records of a stretch by time, oldest first; no instant is in two blocks.
pub(crate) struct Blocks {
    coming: mpsc::Receiver<ComingBlock>,
    outcome: oneshot::Receiver<runlog_client::Result<Merged>>,
}

/// A block whose records are being read.
type ComingBlock = oneshot::Receiver<runlog_client::Result<Block>>;

/// Some records, in memory that may have held others before.
#[derive(Debug, Default)]
pub(crate) struct Block {
    memory: Vec<Record>,
    filled: usize,
}

/// Blocks that are done with, to be filled anew.
#[derive(Debug, Default)]
pub(crate) struct SpareBlocks(Mutex<Vec<Block>>);

/// The texts of some records, each with its time and where it ends.
#[derive(Debug, Default)]
struct Entries {
    bytes: Vec<u8>,
    entries: Vec<(i64, usize)>,
}

/// Gathers entries and has them read.
struct Reading {
    sender: mpsc::Sender<ComingBlock>,
    open: Entries,
    spare: Arc<SpareBlocks>,
}

impl Blocks {
    /// Begins to read a stretch of pages in a folder, whose lock is held as long.
    pub(crate) fn read(folder: &Path, lock: Option<FolderLock>, stretch: &Stretch, spare: &Arc<SpareBlocks>) -> Self {
        let (sender, coming) = mpsc::channel(BLOCKS);
        let (tell, outcome) = oneshot::channel();
        let (folder, stretch) = (folder.to_owned(), stretch.clone());
        let mut reading = Reading { sender, open: Entries::default(), spare: Arc::clone(spare) };
        tokio::task::spawn_blocking(move || {
            let range = stretch.after.saturating_add(i64::from(stretch.after > i64::MIN))..=stretch.until;
            let merged = merge_stretch(&folder, &stretch.pages, range, &mut |time, entry| reading.take(time, entry));
            let merged = merged.and_then(|merged| reading.finish().map(|()| merged));
            drop(lock);
            // Whoever gave up does not want to know.
            let _ = tell.send(merged);
        });
        Self { coming, outcome }
    }

    /// The next records; none at the end. `Protocol`: one of them is none.
    pub(crate) async fn next(&mut self) -> runlog_client::Result<Option<Block>> {
        let Some(block) = self.coming.recv().await else { return Ok(None) };
        block.await.unwrap_or_else(|_| Err(broken())).map(Some)
    }

    /// How reading ended, once there are no more. `Protocol`: the pages cannot be read.
    pub(crate) async fn outcome(self) -> runlog_client::Result<Merged> {
        self.outcome.await.unwrap_or_else(|_| Err(broken()))
    }
}

impl Reading {
    fn take(&mut self, time: i64, entry: &[u8]) -> runlog_client::Result<()> {
        if self.open.entries.len() >= BLOCK_RECORDS && self.open.entries.last().is_some_and(|(last, _)| *last != time) {
            let next = Entries {
                bytes: Vec::with_capacity(self.open.bytes.len()),
                entries: Vec::with_capacity(self.open.entries.len()),
            };
            let entries = std::mem::replace(&mut self.open, next);
            let (tell, spare) = (self.announce()?, Arc::clone(&self.spare));
            tokio::task::spawn_blocking(move || tell.send(entries.read(&spare)));
        }
        self.open.bytes.extend_from_slice(entry);
        self.open.entries.push((time, self.open.bytes.len()));
        Ok(())
    }

    /// Reads the last ones here: of a short log, they are all.
    fn finish(self) -> runlog_client::Result<()> {
        if !self.open.entries.is_empty() {
            let tell = self.announce()?;
            // Whoever gave up does not want to know.
            let _ = tell.send(self.open.read(&self.spare));
        }
        Ok(())
    }

    /// Waits until one more block may come.
    fn announce(&self) -> runlog_client::Result<oneshot::Sender<runlog_client::Result<Block>>> {
        let (tell, block) = oneshot::channel();
        let gone = |_| Error::new(ErrorKind::Storage, "nobody takes the records any more");
        self.sender.blocking_send(block).map_err(gone).map(|()| tell)
    }
}

impl Entries {
    fn read(&self, spare: &SpareBlocks) -> runlog_client::Result<Block> {
        let (mut block, mut start) = (spare.take(), 0);
        for (time, end) in &self.entries {
            read_record(block.next(), *time, &self.bytes[start..*end])?;
            start = *end;
        }
        Ok(block)
    }
}

impl SpareBlocks {
    fn take(&self) -> Block {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Block { filled: 0, ..spare.unwrap_or_default() }
    }

    /// Keeps a block that is done with, where it is worth it.
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

    /// Memory that the messages take. Unit: bytes.
    fn text_bytes(&self) -> usize {
        self.memory.iter().filter_map(|record| record.message.as_ref()).map(String::capacity).sum()
    }

    /// One more record, to be read into.
    fn next(&mut self) -> &mut Record {
        if self.memory.len() == self.filled {
            self.memory.push(Record::at(Timestamp::MIN));
        }
        self.filled += 1;
        &mut self.memory[self.filled - 1]
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::Protocol, "reading its pages from disk broke")
}

/// A record that came without a time has that of its neighbour.
fn read_record(record: &mut Record, time: i64, entry: &[u8]) -> runlog_client::Result<()> {
    let Err(error) = record.read_json(entry) else { return Ok(()) };
    let timed = timed(time, entry).ok_or_else(|| {
        let message = format!("a record of its log at {} cannot be read: {error}", Timestamp::clamped(time));
        Error::new(ErrorKind::Protocol, message)
    });
    *record = timed?;
    Ok(())
}

fn timed(time: i64, entry: &[u8]) -> Option<Record> {
    let mut fields: Map<String, Value> = serde_json::from_slice(entry).ok()?;
    if fields.get("logTimestamp").is_some_and(|time| !time.is_null()) {
        return None;
    }
    fields.insert("logTimestamp".to_owned(), time.into());
    serde_json::from_value(Value::Object(fields)).ok()
}
