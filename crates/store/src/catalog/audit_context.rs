//! The audit entry of a change that is about to be made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use runlog_model::wire::admin::AuditEntry;

/// The audit entry of a change: the call that makes the change writes the entry in the same transaction, so that
/// neither exists without the other.
#[derive(Debug, Clone)]
pub struct AuditContext {
    entry: AuditEntry,
    /// Shared by all parts of one request.
    is_written: Arc<AtomicBool>,
}

impl AuditContext {
    /// A context with this entry. An empty subject is replaced by the id of what the change creates.
    pub fn new(entry: AuditEntry) -> Self {
        Self { entry, is_written: Arc::default() }
    }

    /// The same with another subject: for one part of a request that changes several things.
    pub fn with_subject(&self, subject: String) -> Self {
        Self { entry: AuditEntry { subject, ..self.entry.clone() }, is_written: Arc::clone(&self.is_written) }
    }

    /// The same with another action: for a request that does several kinds of things.
    pub fn with_action(&self, action: &str) -> Self {
        let entry = AuditEntry { action: action.to_owned(), ..self.entry.clone() };
        Self { entry, is_written: Arc::clone(&self.is_written) }
    }

    /// The same with another response status.
    pub fn with_status(&self, status: u16) -> Self {
        Self { entry: AuditEntry { status, ..self.entry.clone() }, is_written: Arc::clone(&self.is_written) }
    }

    /// True once the entry, or that of a part of the request, is written.
    pub fn is_written(&self) -> bool {
        self.is_written.load(Ordering::SeqCst)
    }

    /// The entry to write.
    pub(crate) fn entry(&self) -> &AuditEntry {
        &self.entry
    }

    /// Records that the entry, or that of a part of the request, is written.
    pub(crate) fn mark_written(&self) {
        self.is_written.store(true, Ordering::SeqCst);
    }
}
