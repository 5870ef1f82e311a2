//! The queue of batches that wait for their commit, and the memory that batches reserve.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runlog_model::RunId;
use runlog_model::record::SeverityCounts;
use runlog_model::wire::push::StoredBatch;
use tokio::time::Instant;

use crate::catalog::group_queue::{self, GroupQueue};
use crate::error::{Error, ErrorKind, Result};
use crate::ingest::memory_budget::{MemoryBudget, MemoryReservation};
use crate::limits;
use crate::segment::columns::RecordColumns;

/// A batch that waits for its commit, and where to send the result.
pub(super) type WaitingBatch = group_queue::Waiting<QueuedBatch, Result<StoredBatch>>;

/// Batches that wait for their commit, and the memory that all batches may take.
#[derive(Debug)]
pub(crate) struct CommitQueue {
    pub(super) groups: GroupQueue<QueuedBatch, Result<StoredBatch>>,
    memory: MemoryBudget,
    open_batches: Arc<OpenBatches>,
}

/// Batches that are being received, by number, and when they were begun.
#[derive(Debug, Default)]
struct OpenBatches {
    begun: Mutex<BTreeMap<u64, Instant>>,
    next: AtomicU64,
}

/// The id and the digest of a batch.
#[derive(Debug, Clone)]
pub(crate) struct BatchKey {
    pub(crate) id: String,
    /// SHA-256 of its records.
    pub(crate) digest: String,
    pub(crate) records: u64,
}

/// A batch that waits for its commit.
#[derive(Debug)]
pub(crate) struct QueuedBatch {
    pub(crate) run_id: RunId,
    pub(crate) batch: Option<BatchKey>,
    /// Store the batch only if the log has this many records.
    pub(crate) after: Option<u64>,
    pub(crate) severities: SeverityCounts,
    pub(crate) records: Arc<RecordColumns>,
    pub(crate) reservation: BatchReservation,
}

/// The memory that is reserved for a batch; released when it is dropped.
#[derive(Debug)]
pub(crate) struct BatchReservation {
    memory: MemoryReservation,
    open_batches: Arc<OpenBatches>,
    number: u64,
}

impl CommitQueue {
    pub(crate) fn new(memory_bytes: usize) -> Self {
        Self {
            groups: GroupQueue::new(limits::GROUPS_UNDER_WAY),
            memory: MemoryBudget::new(memory_bytes, limits::MEMORY_STEP_BYTES),
            open_batches: Arc::default(),
        }
    }

    /// The reserved memory, and its limit. Unit: bytes.
    pub(crate) fn memory_bytes(&self) -> (usize, usize) {
        (self.memory.reserved_bytes(), self.memory.bytes())
    }

    /// Begins a batch with no memory reserved.
    pub(crate) fn begin(&self) -> BatchReservation {
        let number = self.open_batches.next.fetch_add(1, Ordering::Relaxed);
        self.open_batches.begun().insert(number, Instant::now());
        BatchReservation { memory: self.memory.reservation(), open_batches: Arc::clone(&self.open_batches), number }
    }

    /// Takes as many batches as fit into one segment.
    pub(super) fn take_group(&self) -> Vec<WaitingBatch> {
        let (mut records, mut bytes) = (0, 0);
        let fits = |(batch, _): &&WaitingBatch| {
            records += batch.records.times.len();
            bytes += batch.reservation.memory.bytes();
            records <= limits::SEGMENT_RECORDS_MAX && bytes <= limits::SEGMENT_BYTES_MAX
        };
        self.groups.take_group(|waiting| waiting.iter().take(limits::GROUP_BATCHES_MAX).take_while(fits).count())
    }

    /// Returns true if a batch was begun very recently and has not been received. Slower batches are not awaited.
    pub(super) fn expects_more_batches(&self) -> bool {
        self.open_batches
            .begun()
            .last_key_value()
            .is_some_and(|(_, begun_at)| begun_at.elapsed() < limits::BATCH_EXPECTED)
    }
}

impl OpenBatches {
    fn begun(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BatchReservation {
    /// Marks the batch as received: it now waits for its commit.
    pub(super) fn mark_received(&self) {
        self.open_batches.begun().remove(&self.number);
    }

    /// Reserves memory for this number of bytes in total; false if it is not available.
    pub(crate) fn try_grow(&mut self, bytes: usize) -> bool {
        self.memory.try_grow(bytes)
    }

    /// Reserves memory for this number of bytes in total, waiting up to [`limits::MEMORY_WAIT_MS`]. Fails with `Busy`
    /// if it does not become available.
    pub(crate) async fn grow(&mut self, bytes: usize) -> Result<()> {
        match self.memory.grow(bytes, Duration::from_millis(limits::MEMORY_WAIT_MS)).await {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Busy, "more is being pushed than can be written at the moment")),
        }
    }

    /// Moves the reserved memory to the owner of the records.
    pub(crate) fn take(&mut self) -> MemoryReservation {
        self.memory.take()
    }
}

impl Drop for BatchReservation {
    fn drop(&mut self) {
        self.mark_received();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_batch_does_not_delay_the_group() {
        let queue = CommitQueue::new(1 << 20);
        assert!(!queue.expects_more_batches());
        let slow = queue.begin();
        assert!(queue.expects_more_batches());
        while queue.expects_more_batches() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let quick = queue.begin();
        assert!(queue.expects_more_batches());
        quick.mark_received();
        assert!(!queue.expects_more_batches());
        drop((quick, slow));
        assert!(queue.open_batches.begun().is_empty());
    }
}
