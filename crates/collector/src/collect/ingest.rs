//! Stores a log in the archive while its pages are still being fetched: the received records that the archive lacks.
//!
//! ```text
//! pages on disk ▸ complete intervals ▸ records of each that the archive lacks ▸ a batch
//! ```
//!
//! Records that an earlier attempt has stored, by this collector or another, are found in the archive and not stored
//! again; records that were added to the log since then are stored.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use runlog_client::Execution;
use runlog_client::reconcile::Merged;
use runlog_model::{Record, RecordOrder, RunId, TimeRange, Timestamp, planted};
use runlog_store::ingest::BatchWriter;
use runlog_store::logs::RecordReader;
use runlog_store::{ErrorKind, failpoint};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::context::{CollectArchive, CollectContext};
use super::error::{CollectError, Result};
use super::interval::{CoverageTracker, Interval};
use super::record_blocks::RecordBlocks;
use crate::fetch::checkpoint::Checkpoint;
use crate::fetch::error::FetchError;
use crate::fetch::folder_lock::FolderLock;
use crate::fetch::join::{PageConsumer, PagesEvent};

/// How often an interval is compared again because another client stored records of the run in the meantime.
const TRIES: u32 = 10;
/// Maximum number of waiting intervals that are stored together.
const INTERVALS_TOGETHER: usize = 8;

/// Stores the log of one run.
pub(crate) struct Ingestor {
    run: Arc<IngestTarget>,
    coverage: CoverageTracker,
    /// Stores intervals one after another; none before the first interval, and after the whole log was landed.
    worker: Option<Worker>,
    /// True if the first pages were wrong or incomplete: the landed records are then compared with the whole log.
    is_second_comparison: bool,
}

/// The run whose log is stored, and where.
struct IngestTarget {
    context: Arc<CollectContext>,
    run: Execution,
    run_id: RunId,
    /// Earlier records are not requested.
    from: Option<Timestamp>,
    /// Number of records that could not be stored exactly as received.
    odd: AtomicU64,
}

struct Worker {
    jobs: mpsc::UnboundedSender<Job>,
    outcome: AbortOnDropHandle<Result<Merged>>,
}

/// An interval to be landed.
struct Job {
    interval: Interval,
    folder: PathBuf,
    /// Held while the folder is read.
    lock: Option<FolderLock>,
}

/// The result for one interval.
struct IngestOutcome {
    /// The result of merging the pages of the interval.
    merged: Merged,
    /// Number of records that were added to the batch.
    stored: u64,
    /// Number of records that could not be stored exactly as received.
    odd: u64,
}

impl Ingestor {
    /// Stores nothing yet. Records before `from` are not expected, and not compared.
    pub(crate) fn new(context: Arc<CollectContext>, run: Execution, run_id: RunId, from: Option<Timestamp>) -> Self {
        let run = Arc::new(IngestTarget { context, run, run_id, from, odd: AtomicU64::new(0) });
        Self { run, coverage: CoverageTracker::default(), worker: None, is_second_comparison: false }
    }

    /// Number of records so far that could not be stored exactly as received.
    pub(crate) fn odd(&self) -> u64 {
        self.run.odd.load(Ordering::Relaxed)
    }

    /// Completes the intervals that were started, if the rest of the log will not arrive.
    pub(crate) async fn finish(mut self) {
        if let Some(Worker { jobs, outcome }) = self.worker.take() {
            drop(jobs);
            if let Ok(Err(error)) = outcome.await {
                debug!(run.id = %self.run.run_id, %error, "cannot store the received part of a log");
            }
        }
    }

    /// Starts to store the intervals of which every page has arrived.
    fn begin_covered(&mut self, checkpoint: &Checkpoint) {
        if !self.is_second_comparison {
            let covered = self.coverage.complete_intervals(checkpoint);
            self.begin(checkpoint, covered);
        }
    }

    fn begin(&mut self, checkpoint: &Checkpoint, intervals: Vec<Interval>) {
        for interval in intervals {
            let job = Job { interval, folder: checkpoint.folder().to_owned(), lock: checkpoint.lock() };
            let worker = self.worker.get_or_insert_with(|| Worker::start(&self.run));
            // A worker that has failed reports why when it is joined.
            let _ = worker.jobs.send(job);
        }
    }
}

impl PageConsumer for Ingestor {
    type Error = CollectError;

    fn on_event(&mut self, event: PagesEvent<'_>) {
        match event {
            PagesEvent::Changed(checkpoint) => self.begin_covered(checkpoint),
            // Starts the run in the archive; this may require a request for its task.
            PagesEvent::AllRequested => {
                self.worker.get_or_insert_with(|| Worker::start(&self.run));
            }
            PagesEvent::StartedOver => {
                self.worker = None;
                self.is_second_comparison = true;
            }
        }
    }

    async fn join(&mut self, checkpoint: &Checkpoint) -> Result<Merged> {
        failpoint::reach("collect-fetched");
        self.begin_covered(checkpoint);
        if self.is_second_comparison || !self.coverage.is_complete(checkpoint) {
            // Records that have landed already are found in the archive.
            self.worker = None;
            self.run.odd.store(0, Ordering::Relaxed);
            let pages = checkpoint.spooled();
            self.begin(checkpoint, vec![Interval { after: i64::MIN, until: i64::MAX, pages }]);
        }
        self.is_second_comparison = true;
        let Worker { jobs, outcome } = self.worker.take().unwrap_or_else(|| Worker::start(&self.run));
        drop(jobs);
        outcome.await.map_err(FetchError::from)?
    }
}

impl Worker {
    fn start(run: &Arc<IngestTarget>) -> Self {
        let (jobs, mut to_do) = mpsc::unbounded_channel::<Job>();
        let run = Arc::clone(run);
        let work = async move {
            run.begin().await?;
            let mut all = Merged::default();
            let mut together = Vec::new();
            while to_do.recv_many(&mut together, INTERVALS_TOGETHER).await > 0 {
                // Oldest first, so that the stored slices overlap as little as possible.
                together.sort_by_key(|job| job.interval.after);
                let merged = run.land(&together).await?;
                failpoint::reach("collect-stored");
                all.add(merged);
                together.clear();
            }
            Ok(all)
        };
        Self { jobs, outcome: AbortOnDropHandle::new(tokio::spawn(work)) }
    }
}

impl IngestTarget {
    fn archive(&self) -> &CollectArchive {
        &self.context.archive
    }

    async fn begin(&self) -> Result<()> {
        self.context.record_run(&self.run, self.run_id).await?;
        failpoint::reach("collect-begun");
        Ok(())
    }

    /// Stores the records of some intervals that the archive lacks.
    async fn land(&self, jobs: &[Job]) -> Result<Merged> {
        for _ in 0..TRIES {
            match self.land_once(jobs).await {
                Err(CollectError::Archive(error)) if error.kind() == ErrorKind::Conflict => {}
                outcome => return outcome,
            }
        }
        let why =
            "other clients kept storing records of it; check that it is not pushed and collected at the same time"
                .to_owned();
        Err(CollectError::BadRun { run: self.run_id.to_string(), what: why })
    }

    async fn land_once(&self, jobs: &[Job]) -> Result<Merged> {
        // If several writers start from the same state of the log, only one of them can commit.
        let (mut batch, before) = self.archive().ingest.begin_next_batch(self.run_id).await?;
        let (mut merged, mut stored, mut odd) = (Merged::default(), 0, 0);
        let outcome = async {
            let mut ahead = jobs.first().map(|job| self.blocks(job));
            for (index, job) in jobs.iter().enumerate() {
                let Some(blocks) = ahead.take() else { break };
                ahead = jobs.get(index + 1).map(|next| self.blocks(next));
                let added = self.add(&mut batch, before, job, blocks).await?;
                merged.add(added.merged);
                stored += added.stored;
                odd += added.odd;
            }
            Ok::<_, CollectError>(merged)
        };
        let is_forgotten = planted::is("landed-before-stored") && before > 0;
        let merged = match outcome.await {
            Ok(merged) if stored > 0 && !is_forgotten => {
                batch.commit().await?;
                merged
            }
            outcome => {
                batch.abort().await;
                outcome?
            }
        };
        self.odd.fetch_add(odd, Ordering::Relaxed);
        Ok(merged)
    }

    /// Adds the records of an interval that the archive lacks to a batch.
    async fn add(
        &self,
        batch: &mut BatchWriter,
        before: u64,
        job: &Job,
        mut blocks: RecordBlocks,
    ) -> Result<IngestOutcome> {
        let mut archived = match before {
            0 => Instants::none(),
            _ if planted::is("stored-records-not-compared") => Instants::none(),
            _ => {
                let range = self.range(&job.interval);
                Instants::of(self.archive().logs.read_records(self.run_id, range, RecordOrder::Asc).await?)
            }
        };
        let (mut stored, mut odd) = (0, 0);
        while let Some(block) = blocks.next().await.map_err(|error| self.unreadable(error))? {
            if archived.are_over() {
                for record in block.records() {
                    batch.push(record).await?;
                }
                stored += block.records().len() as u64;
            } else {
                for instant in block.records().chunk_by(|one, next| one.time == next.time) {
                    for record in missing(instant, archived.at(instant[0].time).await?) {
                        batch.push(record).await?;
                        stored += 1;
                    }
                }
            }
            odd += block.odd();
            self.context.spare_blocks.give(block);
        }
        let merged = blocks.outcome().await.map_err(|error| self.unreadable(error))?;
        Ok(IngestOutcome { merged, stored, odd })
    }

    fn blocks(&self, job: &Job) -> RecordBlocks {
        let (spare, threads) = (&self.context.spare_blocks, &self.context.threads);
        RecordBlocks::read(&job.folder, job.lock.clone(), &job.interval, spare, threads)
    }

    /// Pages that cannot be read are an error of the run, not of the archive.
    fn unreadable(&self, error: runlog_client::Error) -> CollectError {
        match error.kind() {
            runlog_client::ErrorKind::Protocol => {
                CollectError::BadRun { run: self.run_id.to_string(), what: error.to_string() }
            }
            _ => error.into(),
        }
    }

    fn range(&self, interval: &Interval) -> TimeRange {
        let first = (interval.after > i64::MIN).then(|| Timestamp::clamped(interval.after + 1));
        let end = (interval.until < i64::MAX).then(|| Timestamp::clamped(interval.until));
        TimeRange { start: first.max(self.from), end }
    }
}

/// The records that are not in the archive yet. Equal records are counted: only the surplus is returned.
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

/// The content that distinguishes records with the same time.
fn content(record: &Record) -> String {
    // Fields beyond those of the API are sorted by name, whatever order they arrive in.
    let extra = record.extra.as_ref().map(|extra| {
        let mut fields: Vec<_> = extra.iter().map(|(name, value)| (name, value.to_string())).collect();
        fields.sort();
        fields
    });
    let Record { severity, log_type, message, bundle_name, bundle_version, pod_name, .. } = record;
    format!("{severity:?}{log_type:?}{message:?}{bundle_name:?}{bundle_version:?}{pod_name:?}{extra:?}")
}

/// The archived records of a run, one point in time after another.
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

    /// True if there are no more records.
    fn are_over(&self) -> bool {
        self.reader.is_none() && self.ahead.as_slice().is_empty()
    }

    /// The records with this time, which must be later than that of the previous call.
    async fn at(&mut self, time: Timestamp) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        loop {
            while let Some(record) = self.ahead.as_slice().first() {
                if record.time > time {
                    return Ok(records);
                }
                // Earlier archived records are not in the fetched log.
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
