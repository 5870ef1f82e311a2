//! Shared memory budgets: each task reserves a part of a budget, in steps, and releases the memory that it no longer
//! needs.

use std::time::Duration;

use runlog_model::planted;

use crate::sync::{Arc, OwnedSemaphorePermit, Semaphore, timeout_while_running};

/// An amount of memory of which tasks reserve parts.
#[derive(Debug)]
pub struct MemoryBudget {
    /// Unit: steps.
    free: Arc<Semaphore>,
    /// All of it. Unit: steps.
    steps: usize,
    /// The granularity of reservations. Unit: bytes.
    step_bytes: usize,
}

/// A part of a [`MemoryBudget`], which is released when it is dropped.
#[derive(Debug)]
pub struct MemoryReservation {
    free: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
    step_bytes: usize,
}

impl MemoryBudget {
    /// Creates a budget of this number of bytes, rounded down to whole steps; at least one step.
    pub fn new(bytes: usize, step_bytes: usize) -> Self {
        let steps = (bytes / step_bytes).clamp(1, Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(steps)), steps, step_bytes }
    }

    /// Returns the size of the budget, reserved or not. Unit: bytes.
    pub fn bytes(&self) -> usize {
        self.steps.saturating_mul(self.step_bytes)
    }

    /// Returns the reserved memory. Unit: bytes.
    pub fn reserved_bytes(&self) -> usize {
        self.steps.saturating_sub(self.free.available_permits()).saturating_mul(self.step_bytes)
    }

    /// Creates an empty reservation.
    pub fn reservation(&self) -> MemoryReservation {
        MemoryReservation { free: Arc::clone(&self.free), permit: None, step_bytes: self.step_bytes }
    }
}

impl MemoryReservation {
    /// Returns the size of the reservation. Unit: bytes.
    pub fn bytes(&self) -> usize {
        self.steps().saturating_mul(self.step_bytes)
    }

    /// Reserves memory for this number of bytes in total; false if it is not free.
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let missing = self.missing_steps(bytes);
        missing == 0 || self.add(Arc::clone(&self.free).try_acquire_many_owned(missing).ok())
    }

    /// Reserves memory for this number of bytes in total, and waits until it is free; false if that takes too long.
    ///
    /// Two nonempty reservations that wait for more memory may wait for each other.
    pub async fn grow(&mut self, bytes: usize, wait_max: Duration) -> bool {
        let missing = self.missing_steps(bytes);
        if missing == 0 {
            return true;
        }
        let waiting = Arc::clone(&self.free).acquire_many_owned(missing);
        let acquired = timeout_while_running(wait_max, waiting).await;
        self.add(acquired.ok().and_then(Result::ok))
    }

    /// Releases memory that exceeds this number of bytes.
    pub fn shrink(&mut self, bytes: usize) {
        let surplus = self.steps().saturating_sub(bytes.div_ceil(self.step_bytes));
        // The part that is split off is released here.
        drop(self.permit.as_mut().and_then(|permit| permit.split(surplus)));
    }

    /// Moves the reserved memory to a new reservation.
    pub fn take(&mut self) -> Self {
        if planted::is("memory-released-twice") {
            self.free.add_permits(self.steps());
        }
        Self { free: Arc::clone(&self.free), permit: self.permit.take(), step_bytes: self.step_bytes }
    }

    fn steps(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    fn missing_steps(&self, bytes: usize) -> u32 {
        let missing = bytes.div_ceil(self.step_bytes).saturating_sub(self.steps());
        u32::try_from(missing).unwrap_or(u32::MAX)
    }

    fn add(&mut self, permit: Option<OwnedSemaphorePermit>) -> bool {
        let Some(permit) = permit else { return false };
        match &mut self.permit {
            Some(own) => own.merge(permit),
            None => self.permit = Some(permit),
        }
        true
    }
}
