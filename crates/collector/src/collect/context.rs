//! What all the work on one upstream shares.

use std::path::PathBuf;
use std::sync::Arc;

use runlog_client::Execution;
use runlog_model::RunId;
use runlog_store::{Caller, CallerKind, Store};

use super::error::Result;
use super::record_blocks::SpareBlocks;
use super::tasks::KnownTasks;
use super::upstream::Upstream;
use super::upstream_run::start_of;
use crate::fetch::error::storage;

/// An upstream, and the archive that its runs go to.
pub(super) struct CollectContext {
    pub(super) store: Store,
    pub(super) upstream: Upstream,
    pub(super) tasks: KnownTasks,
    /// Memory for records that was used before.
    pub(super) spare_blocks: Arc<SpareBlocks>,
}

impl CollectContext {
    /// The archive and the upstream; nothing is known of its tasks yet.
    pub(super) fn new(store: Store, upstream: Upstream) -> Self {
        Self { store, upstream, tasks: KnownTasks::default(), spare_blocks: Arc::default() }
    }

    /// Begins the run in the archive, and its task and places as far as they are new there.
    pub(super) async fn begin_run(&self, run: &Execution, run_id: RunId) -> Result<()> {
        let task_id = self.tasks.learn_task(&self.store, &self.upstream, run).await?;
        self.store.runs().start(run_id, &start_of(run, task_id), &collector_as_caller(&self.upstream.name)).await?;
        Ok(())
    }

    /// The folder for the pages of runs on their way.
    pub(super) fn work_folder(&self) -> Result<PathBuf> {
        let upstream = &self.upstream;
        let folder = upstream.settings.work_folder.join(&upstream.name);
        std::fs::create_dir_all(&folder).map_err(storage("make", &folder))?;
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
