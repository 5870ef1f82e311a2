//! What all parts of the collection of one upstream share.

use std::path::PathBuf;
use std::sync::Arc;

use runlog_client::Execution;
use runlog_model::RunId;
use runlog_store::accounts::{Caller, CallerKind};
use runlog_store::collection::Collection;
use runlog_store::ingest::Ingest;
use runlog_store::logs::Logs;
use runlog_store::permissions::create_private_folder;
use runlog_store::plans::Plans;
use runlog_store::runs::Runs;
use runlog_store::supervise::Supervisor;
use runlog_store::tenant_audit_logs::TenantAuditLogs;
use runlog_store::workspaces::Workspaces;
use runlog_store::{BackgroundThreads, Store};

use super::error::Result;
use super::record_blocks::SpareBlocks;
use super::tasks::KnownTasks;
use super::upstream::Upstream;
use super::upstream_run::start_of;
use crate::fetch::error::storage;

/// The parts of the archive that the collector uses.
pub(super) struct CollectArchive {
    pub(super) collection: Collection,
    pub(super) runs: Runs,
    pub(super) plans: Plans,
    pub(super) audit_logs: TenantAuditLogs,
    pub(super) workspaces: Workspaces,
    pub(super) logs: Logs,
    pub(super) ingest: Ingest,
    pub(super) supervisor: Supervisor,
}

/// An upstream, and the archive in which its runs are stored.
pub(super) struct CollectContext {
    pub(super) archive: CollectArchive,
    pub(super) upstream: Upstream,
    pub(super) tasks: KnownTasks,
    /// Buffers for records, for reuse.
    pub(super) spare_blocks: Arc<SpareBlocks>,
    /// Threads on which pages are parsed.
    pub(super) threads: Arc<BackgroundThreads>,
}

impl CollectArchive {
    fn of(store: &Store) -> Self {
        let store = store.in_background();
        Self {
            collection: store.collection().clone(),
            runs: store.runs().clone(),
            plans: store.plans().clone(),
            audit_logs: store.tenant_audit_logs().clone(),
            workspaces: store.workspaces().clone(),
            logs: store.logs().clone(),
            ingest: store.ingest().clone(),
            supervisor: store.supervisor().clone(),
        }
    }
}

impl CollectContext {
    /// Creates the context; no tasks are known yet.
    pub(super) fn new(store: &Store, upstream: Upstream) -> Self {
        Self {
            archive: CollectArchive::of(store),
            upstream,
            tasks: KnownTasks::default(),
            spare_blocks: Arc::default(),
            threads: Arc::clone(store.background_threads()),
        }
    }

    /// Starts the run in the archive, and creates its task, workspace and environment if they are new.
    pub(super) async fn begin_run(&self, run: &Execution, run_id: RunId) -> Result<()> {
        let task_id = self.tasks.learn_task(&self.archive.workspaces, &self.upstream, run).await?;
        self.archive.runs.start(run_id, &start_of(run, task_id), &collector_as_caller(&self.upstream.name)).await?;
        Ok(())
    }

    /// The folder for the pages of runs that are being fetched.
    pub(super) fn work_folder(&self) -> Result<PathBuf> {
        let upstream = &self.upstream;
        let folder = upstream.settings.work_folder.join(&upstream.name);
        create_private_folder(&folder).map_err(storage("make", &folder))?;
        Ok(folder)
    }
}

fn collector_as_caller(upstream: &str) -> Caller {
    Caller {
        kind: CallerKind::ServiceAccount,
        id: String::new(),
        name: format!("collector of {upstream}"),
        administrator: false,
        permissions: Vec::new(),
    }
}
