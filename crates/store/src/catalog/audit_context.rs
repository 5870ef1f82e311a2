//! What a change is written down as in the audit log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use runlog_model::wire::admin::AuditEntry;

/// Something that someone is about to do: the call that does it writes it down in the transaction that does it, so that
/// neither is there without the other.
#[derive(Debug, Clone)]
pub struct AuditContext {
    entry: AuditEntry,
    /// Shared by all parts of one request.
    is_written: Arc<AtomicBool>,
}

impl AuditContext {
    /// What is written down when it is done. An empty subject becomes the id of what is made.
    pub fn new(entry: AuditEntry) -> Self {
        Self { entry, is_written: Arc::default() }
    }

    /// The same, done to something else: a part of a request that changes several things.
    pub fn with_subject(&self, subject: String) -> Self {
        Self { entry: AuditEntry { subject, ..self.entry.clone() }, is_written: Arc::clone(&self.is_written) }
    }

    /// The same caller and request, doing something else: a request that does several kinds of things.
    pub fn with_action(&self, action: &str) -> Self {
        let entry = AuditEntry { action: action.to_owned(), ..self.entry.clone() };
        Self { entry, is_written: Arc::clone(&self.is_written) }
    }

    /// The same, answered with another status.
    pub fn with_status(&self, status: u16) -> Self {
        Self { entry: AuditEntry { status, ..self.entry.clone() }, is_written: Arc::clone(&self.is_written) }
    }

    /// True once it, or a part of it, is written down.
    pub fn is_written(&self) -> bool {
        self.is_written.load(Ordering::SeqCst)
    }

    /// The entry that is written down.
    pub(crate) fn entry(&self) -> &AuditEntry {
        &self.entry
    }

    /// Notes that it, or a part of it, is written down.
    pub(crate) fn mark_written(&self) {
        self.is_written.store(true, Ordering::SeqCst);
    }
}
