//! State shared by all parts of the collection from one upstream.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use runlog_client::Execution;
use runlog_model::{RunId, TaskId};
use runlog_store::accounts::{Caller, CallerKind};
use runlog_store::collection::{Collection, ReportedRun};
use runlog_store::ingest::Ingest;
use runlog_store::logs::Logs;
use runlog_store::permissions::create_private_folder;
use runlog_store::plans::Plans;
use runlog_store::runs::Runs;
use runlog_store::supervise::Supervisor;
use runlog_store::tenant_audit_logs::TenantAuditLogs;
use runlog_store::workspaces::Workspaces;
use runlog_store::{BackgroundThreads, Store};

use tracing::warn;

use super::detail_problems::{Detail, DetailProblems};
use super::error::{CollectError, Result};
use super::record_blocks::SpareBlocks;
use super::tasks::KnownTasks;
use super::upstream::Upstream;
use super::upstream_run::{report_of, unknown_words};
use crate::fetch::error::storage;

/// Maximum number of unknown words of an upstream that are reported. Unit: words.
const WORDS_REPORTED_MAX: usize = 100;

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
    detail_problems: DetailProblems,
    /// Buffers for records, for reuse.
    pub(super) spare_blocks: Arc<SpareBlocks>,
    /// Threads on which pages are parsed.
    pub(super) threads: Arc<BackgroundThreads>,
    /// The unknown words of the upstream that were reported.
    reported_words: Mutex<HashSet<String>>,
    /// True if wrong totals of lists were reported.
    pub(super) has_told_of_totals: AtomicBool,
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
            detail_problems: DetailProblems::default(),
            spare_blocks: Arc::default(),
            threads: Arc::clone(store.background_threads()),
            reported_words: Mutex::default(),
            has_told_of_totals: AtomicBool::new(false),
        }
    }

    /// Records the run in the archive, and creates its task, workspace and environment if they are new.
    pub(super) async fn record_run(&self, run: &Execution, run_id: RunId) -> Result<()> {
        let task_id = self.tasks.upsert_task_of_run(&self.archive.workspaces, &self.upstream, run).await?;
        match self.record_reported(&[self.report_of(run, run_id, task_id)]).await?.is_empty() {
            true => Ok(()),
            false => {
                let what = "in the archive, it belongs to another task".to_owned();
                Err(CollectError::BadRun { run: run_id.to_string(), what })
            }
        }
    }

    /// Reports each value of the upstream that the archive does not support, once.
    fn report_unknown_words(&self, run: &Execution) {
        let mut told = self.reported_words.lock().unwrap_or_else(PoisonError::into_inner);
        for word in unknown_words(run) {
            if told.len() < WORDS_REPORTED_MAX && told.insert(word.clone()) {
                let (upstream, run) = (&self.upstream.name, run.id());
                warn!(
                    upstream,
                    run.id = run,
                    "the upstream reports {word}, which is not known here: it is archived as the closest known word"
                );
            }
        }
    }

    /// Records a failed request for what runs are collected without.
    pub(super) async fn record_detail_failure(
        &self,
        detail: Detail,
        error: &(dyn std::error::Error + Send + Sync + 'static),
    ) {
        let (collection, now) = (&self.archive.collection, self.upstream.client.clock().now());
        self.detail_problems.record(collection, &self.upstream.name, detail, error, now).await;
    }

    /// Counts in the archive the failed requests for details that are not counted there yet.
    pub(super) async fn store_detail_failures(&self) {
        let (collection, now) = (&self.archive.collection, self.upstream.client.clock().now());
        self.detail_problems.store(collection, &self.upstream.name, now).await;
    }

    /// A run as the archive records it.
    pub(super) fn report_of(&self, run: &Execution, run_id: RunId, task_id: TaskId) -> ReportedRun {
        self.report_unknown_words(run);
        report_of(run, run_id, task_id)
    }

    /// Records runs in the archive; returns those that belong to other tasks there.
    pub(super) async fn record_reported(&self, runs: &[ReportedRun]) -> Result<Vec<RunId>> {
        let by = collector_as_caller(&self.upstream.name);
        Ok(self.archive.collection.record_reported(runs, &by).await?)
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
