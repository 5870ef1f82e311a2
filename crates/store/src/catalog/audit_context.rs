//! The audit entry of a change that is about to be made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use runlog_model::wire::admin::AuditEntry;

/// The audit entry of a change. The call that makes the change writes the entry in the same transaction, so that
/// neither exists without the other.
#[derive(Debug, Clone)]
pub struct AuditContext {
    entry: AuditEntry,
    /// True once the entry is written. Shared by all parts of one request.
    is_written: Arc<AtomicBool>,
}

impl AuditContext {
    /// Creates a context with this entry. An empty subject is replaced by the ID of the item that the change creates.
    pub fn new(entry: AuditEntry) -> Self {
        Self { entry, is_written: Arc::default() }
    }

    /// Returns a copy with another subject, for one part of a request that changes several items.
    pub fn with_subject(&self, subject: String) -> Self {
        Self { entry: AuditEntry { subject, ..self.entry.clone() }, is_written: Arc::clone(&self.is_written) }
    }

    /// Returns a copy with another action, for a request that performs several actions.
    pub fn with_action(&self, action: &str) -> Self {
        let entry = AuditEntry { action: action.to_owned(), ..self.entry.clone() };
        Self { entry, is_written: Arc::clone(&self.is_written) }
    }

    /// Returns a copy with another response status.
    pub fn with_status(&self, status: u16) -> Self {
        Self { entry: AuditEntry { status, ..self.entry.clone() }, is_written: Arc::clone(&self.is_written) }
    }

    /// Returns true once the entry, or the entry of a part of the request, is written.
    pub fn is_written(&self) -> bool {
        self.is_written.load(Ordering::SeqCst)
    }

    /// Returns the entry to write.
    pub(crate) fn entry(&self) -> &AuditEntry {
        &self.entry
    }

    /// Records that the entry, or the entry of a part of the request, is written.
    pub(crate) fn mark_written(&self) {
        self.is_written.store(true, Ordering::SeqCst);
    }
}
