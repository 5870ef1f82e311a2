//! The handle for the maintenance of an archive.

use std::sync::Arc;

use crate::catalog::audit_context::AuditContext;
use crate::core::Core;
use crate::ingest::commit::Ingest;
use crate::page::builders::Pages;
use crate::supervise::Supervisor;

/// Maintenance of an archive: sealing, sweeping, retention, deletion, verification and copies.
#[derive(Clone)]
pub struct Maintenance {
    pub(crate) core: Core,
    ingest: Ingest,
    pages: Pages,
    supervisor: Arc<Supervisor>,
}

impl Maintenance {
    pub(crate) fn new(core: Core, ingest: Ingest, pages: Pages, supervisor: Arc<Supervisor>) -> Self {
        Self { core, ingest, pages, supervisor }
    }

    pub(crate) fn ingest(&self) -> &Ingest {
        &self.ingest
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }

    pub(crate) fn supervisor(&self) -> &Arc<Supervisor> {
        &self.supervisor
    }

    /// Returns a handle for an audited change.
    pub(crate) fn with_audit(&self, audit_context: AuditContext) -> Self {
        Self { core: self.core.with_audit(audit_context), ..self.clone() }
    }
}
