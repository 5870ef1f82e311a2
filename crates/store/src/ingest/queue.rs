//! The queue of batches that wait for their commit, and the memory that batches reserve.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use az::SaturatingAs;
use runlog_model::RunId;
use runlog_model::record::SeverityCounts;
use runlog_model::wire::push::StoredBatch;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::segment::columns::RecordColumns;
use crate::timeout::timeout_while_running;

/// A batch that waits for its commit, and where to send the result.
pub(super) type WaitingBatch = (QueuedBatch, oneshot::Sender<Result<StoredBatch>>);

/// Batches that wait for their commit, and the memory that all batches may take.
#[derive(Debug)]
pub(crate) struct CommitQueue {
    waiting: Mutex<Vec<WaitingBatch>>,
    pub(super) under_way: Semaphore,
    /// Unit: [`limits::MEMORY_STEP_BYTES`].
    memory: Arc<Semaphore>,
    /// The size of the memory.
    memory_steps: usize,
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
    pub(crate) reservation: MemoryReservation,
}

/// The memory that is reserved for a batch; released when it is dropped.
#[derive(Debug)]
pub(crate) struct MemoryReservation {
    memory: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
    open_batches: Arc<OpenBatches>,
    number: u64,
}

impl CommitQueue {
    pub(crate) fn new(memory_bytes: usize) -> Self {
        let memory_steps = (memory_bytes / limits::MEMORY_STEP_BYTES).max(1);
        Self {
            waiting: Mutex::default(),
            under_way: Semaphore::new(limits::GROUPS_UNDER_WAY),
            memory: Arc::new(Semaphore::new(memory_steps)),
            memory_steps,
            open_batches: Arc::default(),
        }
    }

    /// The reserved memory, and its limit. Unit: bytes.
    pub(crate) fn memory_bytes(&self) -> (usize, usize) {
        let held = self.memory_steps.saturating_sub(self.memory.available_permits());
        let bytes = |steps: usize| steps.saturating_mul(limits::MEMORY_STEP_BYTES);
        (bytes(held), bytes(self.memory_steps))
    }

    /// Begins a batch without memory.
    pub(crate) fn begin(&self) -> MemoryReservation {
        let number = self.open_batches.next.fetch_add(1, Ordering::Relaxed);
        self.open_batches.begun().insert(number, Instant::now());
        MemoryReservation {
            memory: Arc::clone(&self.memory),
            permit: None,
            open_batches: Arc::clone(&self.open_batches),
            number,
        }
    }

    /// Adds a batch; the receiver gets the result of its commit.
    pub(super) fn push(&self, batch: QueuedBatch) -> oneshot::Receiver<Result<StoredBatch>> {
        let (done, is_done) = oneshot::channel();
        batch.reservation.mark_received();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((batch, done));
        is_done
    }

    /// True when no batch waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Takes as many batches as fit into one segment.
    pub(super) fn take_group(&self) -> Vec<WaitingBatch> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut records, mut bytes) = (0, 0);
        let fits = |(batch, _): &&WaitingBatch| {
            records += batch.records.times.len();
            bytes += batch.reservation.bytes();
            records <= limits::SEGMENT_RECORDS_MAX && bytes <= limits::SEGMENT_BYTES_MAX
        };
        let count = waiting.iter().take(limits::GROUP_BATCHES_MAX).take_while(fits).count().max(1);
        let count = count.min(waiting.len());
        waiting.drain(..count).collect()
    }

    /// True when a batch was begun a moment ago and has not arrived. Slower batches are not waited for.
    pub(super) fn expects_more_batches(&self) -> bool {
        self.open_batches.begun().last_key_value().is_some_and(|(_, begun)| begun.elapsed() < limits::BATCH_EXPECTED)
    }
}

impl OpenBatches {
    fn begun(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryReservation {
    /// The batch has arrived and waits for its commit.
    fn mark_received(&self) {
        self.open_batches.begun().remove(&self.number);
    }

    fn bytes(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits) * limits::MEMORY_STEP_BYTES
    }

    fn steps_to(&self, bytes: usize) -> u32 {
        bytes.saturating_sub(self.bytes()).div_ceil(limits::MEMORY_STEP_BYTES).saturating_as::<u32>()
    }

    /// Reserves memory for this many bytes in all; false when it is not available.
    pub(crate) fn try_grow(&mut self, bytes: usize) -> bool {
        match self.steps_to(bytes) {
            0 => true,
            steps => match Arc::clone(&self.memory).try_acquire_many_owned(steps) {
                Ok(permit) => {
                    self.add(permit);
                    true
                }
                Err(_) => false,
            },
        }
    }

    /// Reserves memory for this many bytes in all, and waits for it for a while. `Busy`: it did not become available.
    pub(crate) async fn grow(&mut self, bytes: usize) -> Result<()> {
        let steps = match self.steps_to(bytes) {
            0 => return Ok(()),
            steps => steps,
        };
        let waiting = Arc::clone(&self.memory).acquire_many_owned(steps);
        match timeout_while_running(Duration::from_millis(limits::MEMORY_WAIT_MS), waiting).await {
            Ok(Ok(permit)) => {
                self.add(permit);
                Ok(())
            }
            _ => Err(Error::new(ErrorKind::Busy, "more is being pushed than can be written at the moment")),
        }
    }

    /// Passes the reserved memory on to the owner of the records.
    pub(crate) fn take(&mut self) -> Option<OwnedSemaphorePermit> {
        self.permit.take()
    }

    fn add(&mut self, permit: OwnedSemaphorePermit) {
        match &mut self.permit {
            Some(own) => own.merge(permit),
            None => self.permit = Some(permit),
        }
    }
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        self.mark_received();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_goes_on_for_long_is_not_waited_for() {
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
