//! The memory of all queries, and its division among operators.
//!
//! Sorts and groups spill to temporary files when no more memory is available; but they need some memory to do so: to
//! sort what they are about to write, and to read back several of their files at a time. The engine's pools divide all
//! memory evenly, and refuse this memory to an operator that has used up its part. Here an operator that can spill gets
//! at most an even share of the *first part* of the memory, and the rest is reserved for spilling, and for operators
//! that cannot spill.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

/// Maximum memory of an operator that has just spilled. Unit: bytes.
const NEXT_TO_NOTHING: usize = 64 << 10;

/// The memory of all queries.
#[derive(Debug)]
pub(crate) struct QueryMemory {
    /// Unit: bytes.
    limit: usize,
    usage: Mutex<MemoryUsage>,
}

#[derive(Debug, Default)]
struct MemoryUsage {
    /// The memory used by all operators. Unit: bytes.
    total: usize,
    /// The memory used by each operator that can spill, if any. Unit: bytes.
    by_spilling: HashMap<usize, usize>,
}

impl QueryMemory {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, usage: Mutex::default() }
    }

    /// Returns the memory available to operators that can spill, before they spill: five eighths of the limit. Unit:
    /// bytes.
    fn first_part(&self) -> usize {
        self.limit / 8 * 5
    }

    fn usage(&self) -> MutexGuard<'_, MemoryUsage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fits(&self, usage: &MemoryUsage, reservation: &MemoryReservation, additional: usize) -> bool {
        let total = usage.total.saturating_add(additional);
        if total > self.limit {
            return false;
        }
        if !reservation.consumer().can_spill() {
            return true;
        }
        let own = reservation.consumer().id();
        let others = usage.by_spilling.keys().filter(|id| **id != own).count();
        let part = self.first_part() / (others + 1);
        let (held, wanted) = (reservation.size(), reservation.size().saturating_add(additional));
        // An operator that has just started holds one batch; one that has just spilled sorts or reads back a part.
        held <= NEXT_TO_NOTHING || wanted <= part / 2 || (wanted <= part && total <= self.first_part())
    }
}

impl MemoryUsage {
    fn grow(&mut self, reservation: &MemoryReservation, additional: usize) {
        self.total = self.total.saturating_add(additional);
        if reservation.consumer().can_spill() {
            *self.by_spilling.entry(reservation.consumer().id()).or_default() += additional;
        }
    }
}

impl MemoryPool for QueryMemory {
    fn unregister(&self, consumer: &MemoryConsumer) {
        self.usage().by_spilling.remove(&consumer.id());
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.usage().grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let mut usage = self.usage();
        usage.total = usage.total.saturating_sub(shrink);
        let id = reservation.consumer().id();
        if let Some(held) = usage.by_spilling.get_mut(&id) {
            *held = held.saturating_sub(shrink);
            if *held == 0 {
                usage.by_spilling.remove(&id);
            }
        }
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut usage = self.usage();
        if !self.fits(&usage, reservation, additional) {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "{} has {} bytes and needs {additional} more; {} of {} are used, by {} that can spill to files",
                reservation.consumer().name(),
                reservation.size(),
                usage.total,
                self.limit,
                usage.by_spilling.len(),
            )));
        }
        usage.grow(reservation, additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.usage().total
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}
