//! Reads that were recorded recently: scrolling through a log is recorded once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runlog_model::Clock;

use crate::limits;

/// A caller, what it did, and the subject.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Read {
    pub(crate) caller_id: String,
    pub(crate) action: &'static str,
    pub(crate) subject: String,
}

/// The reads of the last minutes that this node has recorded.
pub(crate) struct RecentReads {
    clock: Arc<dyn Clock>,
    /// Time of the monotonic clock.
    last: Mutex<HashMap<Read, Duration>>,
}

impl RecentReads {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: Mutex::default() }
    }

    /// True if a read of this subject by this caller was recorded within the last minutes.
    pub(crate) fn contains(&self, read: &Read) -> bool {
        let now = self.clock.elapsed();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(read).is_some_and(|at| now.saturating_sub(*at) < limits::AUDIT_AGAIN_AFTER)
    }

    /// Remembers that this read was recorded.
    pub(crate) fn insert(&self, read: Read) {
        let now = self.clock.elapsed();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, at| now.saturating_sub(*at) < limits::AUDIT_AGAIN_AFTER);
        last.insert(read, now);
    }
}
