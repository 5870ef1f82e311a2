//! Batches: how records are stored.
//!
//! A batch is stored completely or not at all. A batch that fits into one segment is committed together with others
//! ([`crate::ingest::commit`]) and shares an object and a transaction with them; a larger batch is written to its own
//! segment objects while it is received. One transaction adds batches, segments, slices and the counts of the runs;
//! only then are the batches acknowledged. A batch with the id of an earlier one is compared with it and not stored
//! again.

use std::sync::Arc;

use runlog_model::record::SeverityCounts;
use runlog_model::wire::push::StoredBatch;
use runlog_model::{Record, RunId, Severity, hex};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::ingest::commit::{BatchRow, Ingest};
use crate::ingest::queue::{BatchKey, BatchReservation, QueuedBatch};
use crate::ingest::segment_writer::SegmentWriter;
use crate::limits;
use crate::segment::columns::{ColumnBuilder, memory_of, texts_of};
use crate::tables::runs::no_such_run;

/// A batch that is being received. If it is dropped without [`BatchWriter::commit`], nothing of it is stored.
pub struct BatchWriter {
    ingest: Ingest,
    run_id: RunId,
    batch_id: Option<String>,
    /// Store the batch only if the log has this many records.
    after: Option<u64>,
    /// The batch with the same id that is stored already.
    stored_before: Option<BatchRow>,
    digest: Sha256,
    /// Bytes of a batch with an id that are not in the digest yet.
    undigested: Vec<u8>,
    records: u64,
    severities: SeverityCounts,
    pending: ColumnBuilder,
    pending_bytes: usize,
    /// The memory that `pending` may take.
    reservation: BatchReservation,
    /// The segments of a batch that is larger than one.
    segments: SegmentWriter,
}

/// Number of bytes that are added to the digest at a time.
const DIGEST_BYTES: usize = 4 << 10;

impl Ingest {
    /// Begins a batch of a run's records. A batch with an id may be sent again and is stored once.
    ///
    /// `NotFound`: no such run. `Invalid`: the id is empty, too long or not printable.
    pub async fn begin_batch(&self, run_id: RunId, batch_id: Option<&str>) -> Result<BatchWriter> {
        let batch_id = batch_id.map(checked_batch_id).transpose()?;
        if self.runs().brief(run_id).await?.is_none() {
            return Err(no_such_run(run_id));
        }
        let begun = self.begin_checked(vec![(run_id, batch_id)]).await?;
        begun.into_iter().next().ok_or_else(|| no_such_run(run_id))
    }

    /// Begins a batch of records of each of several runs, in their order. Batches that are already stored are looked up
    /// with one query for a few hundred batches. Whether the runs exist is checked when the batches are committed.
    /// Commit them concurrently, so that they are committed together.
    ///
    /// `Invalid`: an id is empty, too long or not printable.
    pub async fn begin_batches(&self, batches: &[(RunId, Option<&str>)]) -> Result<Vec<BatchWriter>> {
        let checked = batches.iter().map(|(run_id, id)| Ok((*run_id, id.map(checked_batch_id).transpose()?)));
        self.begin_checked(checked.collect::<Result<_>>()?).await
    }

    async fn begin_checked(&self, batches: Vec<(RunId, Option<String>)>) -> Result<Vec<BatchWriter>> {
        let named: Vec<_> = batches.iter().filter_map(|(run_id, id)| Some((*run_id, id.clone()?))).collect();
        let mut stored = self.stored_before(&named).await?;
        let begin = |(run_id, batch_id): (RunId, Option<String>)| {
            let stored_before = batch_id.as_ref().and_then(|id| stored.remove(&(run_id, id.clone())));
            BatchWriter { batch_id, stored_before, ..self.batch(run_id) }
        };
        Ok(batches.into_iter().map(begin).collect())
    }

    /// Begins a batch that is stored only if the run's log still has as many records as now; returns that number too.
    /// Otherwise `commit` fails with `Conflict`. Used to store the missing records of a log. `NotFound`: no such run.
    pub async fn begin_next_batch(&self, run_id: RunId) -> Result<(BatchWriter, u64)> {
        let records = self.runs().brief(run_id).await?.ok_or_else(|| no_such_run(run_id))?.records;
        Ok((BatchWriter { after: Some(records), ..self.batch(run_id) }, records))
    }

    fn batch(&self, run_id: RunId) -> BatchWriter {
        BatchWriter {
            ingest: self.clone(),
            run_id,
            batch_id: None,
            after: None,
            stored_before: None,
            digest: Sha256::new(),
            undigested: Vec::new(),
            records: 0,
            severities: SeverityCounts::default(),
            pending: ColumnBuilder::new(),
            pending_bytes: 0,
            reservation: self.queue().begin(),
            segments: SegmentWriter::new(&self.core),
        }
    }
}

impl BatchWriter {
    /// Adds a record. If it fails, nothing of the batch is stored.
    ///
    /// `Busy`: no memory is available. `Unavailable`: the batch was idle for so long that its first records were
    /// swept.
    pub async fn push(&mut self, record: &Record) -> Result<()> {
        if self.batch_id.is_some() {
            write_digest(&mut self.undigested, record)?;
            if self.undigested.len() >= DIGEST_BYTES {
                self.digest.update(&self.undigested);
                self.undigested.clear();
            }
        }
        self.records += 1;
        self.severities.add(Severity::of(record.severity.as_deref()));
        if self.stored_before.is_some() {
            return Ok(());
        }
        let bytes = memory_of(record);
        if !self.reservation.try_grow(self.pending_bytes + bytes) {
            // If memory is short, pending records are written instead of kept, unless they are very few.
            if self.pending_bytes >= limits::EARLY_SEGMENT_BYTES {
                self.write_segment().await?;
                self.segments.settle().await?;
            }
            self.reservation.grow(self.pending_bytes + bytes).await?;
        }
        self.pending_bytes += bytes;
        self.pending.push(record)?;
        if self.pending.len() >= limits::SEGMENT_RECORDS_MAX || self.pending_bytes >= limits::SEGMENT_BYTES_MAX {
            self.write_segment().await?;
        }
        Ok(())
    }

    /// Returns the number of records added so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Stores the batch: when this returns, its records are durable and visible to all readers.
    ///
    /// `Conflict`: other records were stored under the same id, or the log has changed; nothing was added.
    /// `Unavailable`: the batch was idle for so long that its first records were swept.
    pub async fn commit(mut self) -> Result<StoredBatch> {
        self.digest.update(&self.undigested);
        let digest = hex::encode(std::mem::take(&mut self.digest).finalize());
        let name = self.batch_id.take().map(|id| BatchKey { id, digest, records: self.records });
        if let Some(before) = &self.stored_before {
            return before.repeated(self.run_id, name.as_ref());
        }
        if self.segments.is_empty() {
            let part = QueuedBatch {
                run_id: self.run_id,
                batch: name,
                after: self.after,
                severities: self.severities,
                records: Arc::new(self.pending.finish()),
                reservation: self.reservation,
            };
            return self.ingest.commit_batch(part).await;
        }
        if let Err(error) = self.write_rest().await {
            self.segments.remove().await;
            return Err(error);
        }
        self.ingest.commit_segments(self.segments, self.run_id, name, self.after, self.severities).await
    }

    /// Abandons the batch and removes the objects written for it.
    pub async fn abort(self) {
        self.segments.remove().await;
    }

    async fn write_rest(&mut self) -> Result<()> {
        if self.pending.len() > 0 {
            self.write_segment().await?;
        }
        self.segments.settle().await
    }

    async fn write_segment(&mut self) -> Result<()> {
        let records = self.pending.take();
        self.pending_bytes = 0;
        let memory = self.reservation.take();
        self.segments.write(vec![(self.run_id, vec![Arc::new(records)])], Some(memory)).await
    }
}

fn checked_batch_id(id: &str) -> Result<String> {
    let is_printable = id.bytes().all(|byte| byte.is_ascii_graphic());
    match !id.is_empty() && id.len() <= limits::BATCH_ID_BYTES_MAX && is_printable {
        true => Ok(id.to_owned()),
        false => Err(Error::invalid("batch: a batch id has 1 to 200 printable ASCII characters and no space")),
    }
}

/// Adds a record to the input of the digest of its batch, field by field, each with its length.
pub(crate) fn write_digest(out: &mut Vec<u8>, record: &Record) -> Result<()> {
    out.extend_from_slice(&record.time.as_millis().to_le_bytes());
    for text in texts_of(record) {
        write_text(out, text);
    }
    // Only the values: the digest of a batch does not depend on the version of Runlog that stores it.
    let extra = record.extra.as_deref().map(|extra| serde_json::to_string::<Map<String, Value>>(extra)).transpose();
    let extra = extra.map_err(|_| Error::invalid("a field of a record has no JSON form"))?;
    write_text(out, extra.as_deref());
    Ok(())
}

fn write_text(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        None => out.push(0),
        Some(text) => {
            out.push(1);
            out.extend_from_slice(&(text.len() as u64).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }
}
