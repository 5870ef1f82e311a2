//! Which reads are in the audit log already: scrolling through a log is written down once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runlog_model::Clock;

use crate::limits;

/// Who read what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Read {
    pub(crate) caller_id: String,
    pub(crate) subject: String,
}

/// The reads of the last minutes that are in the audit log, as far as this node knows.
pub(crate) struct RecentReads {
    clock: Arc<dyn Clock>,
    /// When, by the monotonic clock.
    last: Mutex<HashMap<Read, Duration>>,
}

impl RecentReads {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: Mutex::default() }
    }

    /// True when this caller read this subject within the last minutes, and that is written down.
    pub(crate) fn contains(&self, read: &Read) -> bool {
        let now = self.clock.elapsed();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(read).is_some_and(|at| now.saturating_sub(*at) < limits::AUDIT_AGAIN_AFTER)
    }

    /// Keeps in mind that this read was written down now.
    pub(crate) fn insert(&self, read: Read) {
        let now = self.clock.elapsed();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|_, at| now.saturating_sub(*at) < limits::AUDIT_AGAIN_AFTER);
        last.insert(read, now);
    }
}
