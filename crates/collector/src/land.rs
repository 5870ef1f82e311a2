//! Lands a log in the archive while its pages still come: of the records that came, those that are not there yet are
//! stored.
//!
//! ```text
//! pages on disk ▸ stretches that are whole ▸ what the archive lacks of each ▸ a batch
//! ```
//!
//! Whatever was stored by an attempt before, by this collector or by another, is found again in the archive and not
//! stored twice; what a log gained since is added.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use runlog_client::Execution;
use runlog_client::reconcile::{Merged, merge_stretch};
use runlog_model::{Record, RecordOrder, RunId, TimeRange, Timestamp};
use runlog_store::{ErrorKind, RecordReader, Store, failpoint};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::checkpoint::{Checkpoint, FolderLock};
use crate::collect::Collector;
use crate::collect_error::{CollectError, Result};
use crate::fetch::Joining;
use crate::stretch::{Stretch, Stretches};

/// How often a stretch is compared anew because someone else stored records of its run meanwhile.
const TRIES: u32 = 10;
/// Records that are read at a time, and how many such blocks wait at most.
const BLOCK_RECORDS: usize = 1_024;
const BLOCKS: usize = 4;

/// Lands one run's log.
pub(crate) struct Landing {
    run: Arc<Landed>,
    stretches: Stretches,
    /// Lands stretches one after another; none before there is something to do, and after all of a log were landed.
    worker: Option<Worker>,
    /// Something was not right with the pages that came first: what is landed of them is compared with the whole log.
    is_second_look: bool,
}

/// Where a log goes.
struct Landed {
    collector: Collector,
    run: Execution,
    run_id: RunId,
    /// Earlier records are not asked for.
    from: Option<Timestamp>,
}

struct Worker {
    jobs: mpsc::UnboundedSender<Job>,
    outcome: AbortOnDropHandle<Result<Merged>>,
}

/// A stretch to be landed.
struct Job {
    stretch: Stretch,
    folder: PathBuf,
    /// Held for as long as the folder is read.
    lock: Option<FolderLock>,
}

impl Landing {
    /// Nothing is landed yet. What is before `from` will not come, and is not compared.
    pub(crate) fn new(collector: Collector, run: Execution, run_id: RunId, from: Option<Timestamp>) -> Self {
        let run = Arc::new(Landed { collector, run, run_id, from });
        Self { run, stretches: Stretches::default(), worker: None, is_second_look: false }
    }

    /// Lands what was begun, where the rest will not come.
    pub(crate) async fn finish(mut self) {
        if let Some(Worker { jobs, outcome }) = self.worker.take() {
            drop(jobs);
            if let Ok(Err(error)) = outcome.await {
                debug!(run.id = %self.run.run_id, %error, "what came of a log could not be landed");
            }
        }
    }

    fn begin(&mut self, checkpoint: &Checkpoint, stretches: Vec<Stretch>) {
        for stretch in stretches {
            let job = Job { stretch, folder: checkpoint.folder().to_owned(), lock: checkpoint.lock() };
            let worker = self.worker.get_or_insert_with(|| Worker::start(&self.run));
            // One that has ended says why at the end.
            let _ = worker.jobs.send(job);
        }
    }
}

impl Joining for Landing {
    type Error = CollectError;

    fn all_asked_for(&mut self) {
        // The run begins in the archive; for that, the service may have to be asked about its task.
        self.worker.get_or_insert_with(|| Worker::start(&self.run));
    }

    fn pages_came(&mut self, checkpoint: &Checkpoint) {
        if !self.is_second_look {
            let whole = self.stretches.next(checkpoint);
            self.begin(checkpoint, whole);
        }
    }

    fn started_over(&mut self) {
        self.worker = None;
        self.is_second_look = true;
    }

    async fn join(&mut self, checkpoint: &Checkpoint) -> Result<Merged> {
        failpoint::reach("collect-fetched");
        self.pages_came(checkpoint);
        if self.is_second_look || !self.stretches.are_all(checkpoint) {
            // Whatever is landed already is found there.
            self.worker = None;
            let pages = checkpoint.spooled();
            self.begin(checkpoint, vec![Stretch { after: i64::MIN, until: i64::MAX, pages }]);
        }
        self.is_second_look = true;
        let Worker { jobs, outcome } = self.worker.take().unwrap_or_else(|| Worker::start(&self.run));
        drop(jobs);
        outcome.await.map_err(crate::error::FetchError::from)?
    }
}

impl Worker {
    fn start(run: &Arc<Landed>) -> Self {
        let (jobs, mut to_do) = mpsc::unbounded_channel::<Job>();
        let run = Arc::clone(run);
        let work = async move {
            run.begin().await?;
            let mut all = Merged::default();
            while let Some(job) = to_do.recv().await {
                let merged = run.land(&job).await?;
                failpoint::reach("collect-stored");
                all.entries += merged.entries;
                all.repeated += merged.repeated;
            }
            Ok(all)
        };
        Self { jobs, outcome: AbortOnDropHandle::new(tokio::spawn(work)) }
    }
}

impl Landed {
    fn store(&self) -> &Store {
        self.collector.store()
    }

    async fn begin(&self) -> Result<()> {
        self.collector.begin(&self.run, self.run_id).await?;
        failpoint::reach("collect-begun");
        Ok(())
    }

    /// Stores what the archive lacks of a stretch.
    async fn land(&self, job: &Job) -> Result<Merged> {
        for _ in 0..TRIES {
            match self.land_once(job).await {
                Err(CollectError::Archive(error)) if error.kind() == ErrorKind::Conflict => {}
                outcome => return outcome,
            }
        }
        let why =
            "others kept storing records of it meanwhile; is it pushed and collected at the same time?".to_owned();
        Err(CollectError::BadRun { run: self.run_id.to_string(), what: why })
    }

    async fn land_once(&self, job: &Job) -> Result<Merged> {
        let (store, run_id) = (self.store(), self.run_id);
        let before = store.run(run_id).await?.map_or(0, |run| run.records);
        // Whoever stores what is missing from the same state does so under the same name: one of them is first.
        let mut batch = store.begin_batch(run_id, Some(&format!("collected-after-{before}"))).await?;
        let mut archived = match before {
            0 => Instants::none(),
            _ => Instants::of(store.read_records(run_id, self.range(&job.stretch), RecordOrder::Asc).await?),
        };
        let mut read = Read::start(self.run_id, job);
        let mut stored = 0_u64;
        let outcome = async {
            while let Some(block) = read.blocks.recv().await {
                for instant in block.records().chunk_by(|one, next| one.time == next.time) {
                    for record in missing(instant, archived.at(instant[0].time).await?) {
                        stored += 1;
                        batch.push(record).await?;
                    }
                }
                read.give_back(block);
            }
            read.outcome().await
        };
        match outcome.await {
            Ok(merged) if stored > 0 => {
                batch.commit().await?;
                Ok(merged)
            }
            outcome => {
                batch.abort().await;
                outcome
            }
        }
    }

    fn range(&self, stretch: &Stretch) -> TimeRange {
        let first = (stretch.after > i64::MIN).then(|| Timestamp::clamped(stretch.after + 1));
        let end = (stretch.until < i64::MAX).then(|| Timestamp::clamped(stretch.until));
        TimeRange { start: first.max(self.from), end }
    }
}

/// The records that are not among those that are there; of equal ones, as many as there are more.
fn missing(came: &[Record], there: Vec<Record>) -> impl Iterator<Item = &Record> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for record in there {
        *counts.entry(content(&record)).or_default() += 1;
    }
    came.iter().filter(move |record| match counts.is_empty() {
        true => true,
        false => match counts.get_mut(&content(record)) {
            Some(count) if *count > 0 => {
                *count -= 1;
                false
            }
            _ => true,
        },
    })
}

/// What tells one record of an instant from another.
fn content(record: &Record) -> String {
    // The fields beyond those of the API in the order of their names, whatever order they came in.
    let extra = record.extra.as_ref().map(|extra| {
        let mut fields: Vec<_> = extra.iter().map(|(name, value)| (name, value.to_string())).collect();
        fields.sort();
        fields
    });
    let Record { severity, log_type, message, bundle_name, bundle_version, pod_name, .. } = record;
    format!("{severity:?}{log_type:?}{message:?}{bundle_name:?}{bundle_version:?}{pod_name:?}{extra:?}")
}

/// The archive's records of a run, instant by instant.
struct Instants {
    reader: Option<RecordReader>,
    ahead: std::vec::IntoIter<Record>,
}

impl Instants {
    fn none() -> Self {
        Self { reader: None, ahead: Vec::new().into_iter() }
    }

    fn of(reader: RecordReader) -> Self {
        Self { reader: Some(reader), ..Self::none() }
    }

    /// The records of an instant, which comes after those that were asked for before.
    async fn at(&mut self, time: Timestamp) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        loop {
            while let Some(record) = self.ahead.as_slice().first() {
                if record.time > time {
                    return Ok(records);
                }
                // What is earlier was not in the log that came.
                records.extend(self.ahead.next().filter(|record| record.time == time));
            }
            let Some(reader) = &mut self.reader else { return Ok(records) };
            match reader.next().await? {
                Some(more) => self.ahead = more.into_iter(),
                None => self.reader = None,
            }
        }
    }
}

/// Reads a stretch from disk, in a thread of its own.
struct Read {
    run_id: RunId,
    /// Its records, by time, oldest first; no instant is in two blocks.
    blocks: mpsc::Receiver<Block>,
    /// Blocks that are done with, to be filled anew.
    used: std::sync::mpsc::Sender<Block>,
    outcome: oneshot::Receiver<runlog_client::Result<Merged>>,
}

impl Read {
    fn start(run_id: RunId, job: &Job) -> Self {
        let (sender, blocks) = mpsc::channel(BLOCKS);
        let (used, to_fill) = std::sync::mpsc::channel();
        let (tell, outcome) = oneshot::channel();
        let (folder, lock, stretch) = (job.folder.clone(), job.lock.clone(), job.stretch.clone());
        tokio::task::spawn_blocking(move || {
            let mut blocks = Blocks { sender, used: to_fill, open: Block::default() };
            let range = stretch.after.saturating_add(i64::from(stretch.after > i64::MIN))..=stretch.until;
            let merged = merge_stretch(&folder, &stretch.pages, range, &mut |time, entry| blocks.take(time, entry));
            let merged = merged.and_then(|merged| blocks.send().map(|()| merged));
            drop((blocks, lock));
            // Whoever gave up does not want to know.
            let _ = tell.send(merged);
        });
        Self { run_id, blocks, used, outcome }
    }

    fn give_back(&self, block: Block) {
        // The reader may have come to its end.
        let _ = self.used.send(block);
    }

    async fn outcome(self) -> Result<Merged> {
        match self.outcome.await {
            Ok(Err(error)) if error.kind() == runlog_client::ErrorKind::Protocol => {
                Err(CollectError::BadRun { run: self.run_id.to_string(), what: error.to_string() })
            }
            Ok(merged) => Ok(merged?),
            Err(_) => Err(CollectError::BadRun {
                run: self.run_id.to_string(),
                what: "reading its pages from disk broke".to_owned(),
            }),
        }
    }
}

/// Some records, in memory that may have held others before.
#[derive(Default)]
struct Block {
    memory: Vec<Record>,
    filled: usize,
}

impl Block {
    fn records(&self) -> &[Record] {
        &self.memory[..self.filled]
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

struct Blocks {
    sender: mpsc::Sender<Block>,
    used: std::sync::mpsc::Receiver<Block>,
    open: Block,
}

impl Blocks {
    fn take(&mut self, time: i64, entry: &[u8]) -> runlog_client::Result<()> {
        read_record(self.open.next(), time, entry)?;
        let last = self.open.filled - 1;
        if last >= BLOCK_RECORDS && self.open.memory[last].time != self.open.memory[last - 1].time {
            let first_of_next = std::mem::replace(&mut self.open.memory[last], Record::at(Timestamp::MIN));
            self.open.filled = last;
            self.send()?;
            *self.open.next() = first_of_next;
        }
        Ok(())
    }

    fn send(&mut self) -> runlog_client::Result<()> {
        let mut next = self.used.try_recv().unwrap_or_default();
        next.filled = 0;
        let block = std::mem::replace(&mut self.open, next);
        let gone =
            |_| runlog_client::Error::new(runlog_client::ErrorKind::Storage, "nobody takes the records any more");
        self.sender.blocking_send(block).map_err(gone)
    }
}

/// A record that came without a time has that of its neighbour.
fn read_record(record: &mut Record, time: i64, entry: &[u8]) -> runlog_client::Result<()> {
    let Err(error) = record.read_json(entry) else { return Ok(()) };
    let timed = timed(time, entry).ok_or_else(|| {
        let message = format!("a record of its log at {} cannot be read: {error}", Timestamp::clamped(time));
        runlog_client::Error::new(runlog_client::ErrorKind::Protocol, message)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str) -> Record {
        Record { message: Some(message.to_owned()), ..Record::at(Timestamp::clamped(7)) }
    }

    #[test]
    fn equal_records_are_missing_as_often_as_there_are_more_of_them() {
        let check = |came: &[&str], there: &[&str], expected: &[&str]| {
            let came: Vec<Record> = came.iter().map(|text| said(text)).collect();
            let missing: Vec<_> = missing(&came, there.iter().map(|text| said(text)).collect()).cloned().collect();
            assert_eq!(missing, expected.iter().map(|text| said(text)).collect::<Vec<_>>());
        };
        check(&["a", "b", "a"], &[], &["a", "b", "a"]);
        check(&["a", "b", "a"], &["a"], &["b", "a"]);
        check(&["a", "b"], &["b", "a", "a"], &[]);
    }
}
