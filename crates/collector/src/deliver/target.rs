//! The target of a delivery, which receives the records of a run in batches: a sink or files.

use std::sync::Arc;

use runlog_model::{Timestamp, planted};
use runlog_store::delivery::DeliveryStep;
use runlog_store::{BackgroundThreads, limits};

use super::batch::BatchOutcome;
use super::bounds::BatchBounds;
use super::error::{DeliveryError, Result};
use super::pending::PendingBatch;
use super::preparation::Encode;
use super::send::Sender;
use super::sinks::files::{FileRecord, Files, Part};
use super::sinks::sink::{Encoded, Origin};

/// Receives the records of a run one after another, and stores them durably at the end of each batch.
pub(super) trait RecordTarget {
    /// A record in the form in which it is passed on.
    type Encoded: Send + 'static;

    /// True if a batch with records ends when many records were filtered out since it began. A file does not: its size
    /// is determined by the settings.
    const ENDS_WITH_LEFT_OUT: bool;

    /// Records before this time are filtered out; none if their age does not matter.
    fn oldest_accepted(&self, _now: Timestamp) -> Option<Timestamp> {
        None
    }

    /// Converts records to the form in which they are passed on.
    fn encoder(&self) -> Encode<Self::Encoded>;

    /// The size of a record in a batch. Unit: bytes.
    fn bytes_of(&self, record: &Self::Encoded) -> usize;

    /// False if the batch must end before this record.
    fn has_room_for(&self, _record: &Self::Encoded, _batch: &PendingBatch) -> bool {
        true
    }

    /// Adds a record to the batch with this part number.
    fn add(&mut self, record: Self::Encoded, part: u64) -> impl Future<Output = Result<()>> + Send;

    /// Ends the batch: stores its records durably, or returns those that were refused.
    fn finish(&mut self, batch: &PendingBatch) -> impl Future<Output = Result<Finished>> + Send;
}

/// The outcome of a batch.
pub(super) struct Finished {
    /// The outcome of each record; none if all were accepted.
    outcome: Option<BatchOutcome>,
    /// True if there were records, so that the part number increases.
    ends_part: bool,
}

impl Finished {
    /// True if some were refused.
    pub(super) fn has_refused(&self) -> bool {
        self.outcome.as_ref().is_some_and(|outcome| !outcome.is_clean())
    }

    /// The step that records it, and an error if more records were refused than can be recorded.
    pub(super) fn into_step(
        mut self,
        batch: &PendingBatch,
        room: Option<usize>,
        sink: &str,
    ) -> (DeliveryStep, Option<DeliveryError>) {
        let PendingBatch { records, until, left_out, too_old, .. } = *batch;
        let cut = self.outcome.as_mut().zip(room).and_then(|(outcome, room)| outcome.cut(room));
        let delivered = self.outcome.as_ref().map_or(records as u64, BatchOutcome::accepted);
        let mut refused = self.outcome.map(BatchOutcome::into_refused).unwrap_or_default();
        if planted::is("refused-not-kept") {
            refused.clear();
        }
        let step = DeliveryStep { delivered, refused, ..DeliveryStep::default() };
        match cut {
            None => (DeliveryStep { until, filtered_out: left_out, too_old, ends_part: self.ends_part, ..step }, None),
            Some(until) => (DeliveryStep { until, ..step }, Some(too_many_refused(sink))),
        }
    }
}

/// More records were refused than can be recorded.
pub(super) fn too_many_refused(sink: &str) -> DeliveryError {
    DeliveryError::Run(format!(
        "it has refused more than is kept of that ({} reasons of a run, {} of a sink): mend the cause, then \
         `runlog deliver --once --replay --sink {sink}`",
        limits::DEAD_LETTERS_RUN_MAX,
        limits::DEAD_LETTERS_SINK_MAX,
    ))
}

/// Sends records to a sink in batches.
pub(super) struct SinkBatches<'a> {
    sender: Sender<'a>,
    origin: &'a Arc<Origin>,
    bounds: BatchBounds,
    records: Vec<Encoded>,
}

impl<'a> SinkBatches<'a> {
    /// Creates a target; sends nothing yet.
    pub(super) fn new(sender: Sender<'a>, origin: &'a Arc<Origin>, bounds: BatchBounds) -> Self {
        Self { sender, origin, bounds, records: Vec::new() }
    }

    /// Sends records apart from the current batch.
    pub(super) async fn send(&self, records: Vec<Encoded>) -> Result<BatchOutcome> {
        self.sender.send_all(self.origin, records).await
    }
}

impl RecordTarget for SinkBatches<'_> {
    type Encoded = Encoded;

    const ENDS_WITH_LEFT_OUT: bool = true;

    fn oldest_accepted(&self, now: Timestamp) -> Option<Timestamp> {
        self.sender.to.oldest_accepted(now)
    }

    fn encoder(&self) -> Encode<Encoded> {
        let (to, origin) = (Arc::clone(self.sender.to), Arc::clone(self.origin));
        Arc::new(move |item| to.encode(&origin, &item))
    }

    fn bytes_of(&self, record: &Encoded) -> usize {
        record.bytes(self.records.last().map(|before| before.head.as_slice()))
    }

    fn has_room_for(&self, record: &Encoded, batch: &PendingBatch) -> bool {
        let bytes_max = self.bounds.bytes.min(self.sender.health.bytes_max());
        self.records.is_empty() || batch.bytes + self.bytes_of(record) <= bytes_max
    }

    async fn add(&mut self, record: Encoded, _part: u64) -> Result<()> {
        self.records.push(record);
        Ok(())
    }

    async fn finish(&mut self, _batch: &PendingBatch) -> Result<Finished> {
        let records = std::mem::take(&mut self.records);
        let ends_part = !records.is_empty();
        let outcome = self.send(records).await?;
        self.sender.health.judge(&outcome)?;
        Ok(Finished { outcome: Some(outcome), ends_part })
    }
}

/// Writes records to files, one per batch.
pub(super) struct FileParts<'a> {
    files: &'a Arc<Files>,
    origin: &'a Arc<Origin>,
    threads: &'a BackgroundThreads,
    open: Option<Part>,
}

impl<'a> FileParts<'a> {
    /// Creates a target; no file is started yet.
    pub(super) fn new(files: &'a Arc<Files>, origin: &'a Arc<Origin>, threads: &'a BackgroundThreads) -> Self {
        Self { files, origin, threads, open: None }
    }

    /// Removes an incomplete file.
    pub(super) async fn abandon(self) {
        if let Some(part) = self.open {
            part.abandon().await;
        }
    }
}

impl RecordTarget for FileParts<'_> {
    type Encoded = FileRecord;

    const ENDS_WITH_LEFT_OUT: bool = false;

    fn encoder(&self) -> Encode<FileRecord> {
        let (files, origin) = (Arc::clone(self.files), Arc::clone(self.origin));
        Arc::new(move |item| files.encode(&origin, item))
    }

    fn bytes_of(&self, record: &FileRecord) -> usize {
        record.text_bytes
    }

    async fn add(&mut self, record: FileRecord, part: u64) -> Result<()> {
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(self.files.begin(self.origin, part)?),
        };
        Ok(open.add(record, self.threads).await?)
    }

    async fn finish(&mut self, _batch: &PendingBatch) -> Result<Finished> {
        let part = self.open.take();
        let ends_part = part.is_some();
        if let Some(part) = part {
            part.finish(self.threads).await?;
        }
        Ok(Finished { outcome: None, ends_part })
    }
}
