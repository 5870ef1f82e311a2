//! What a sink is set to: where it is, which runs and records go there, and how.

use runlog_model::record::Severity;
use runlog_model::{Record, RunStatus, TaskId};
use runlog_store::delivery::FinishedRun;

use super::bounds::BatchBounds;
use super::destination::Destination;
use super::redact::Redactor;
use crate::glob;

/// A sink, and what goes there.
#[derive(Clone)]
pub struct SinkConfig {
    /// Its name, under which the archive keeps what it has.
    pub name: String,
    /// Where it is.
    pub destination: Destination,
    /// Which runs and records go there.
    pub filter: SinkFilter,
    /// What is taken out of them.
    pub redactor: Redactor,
    /// How large a batch or file is at most.
    pub bounds: BatchBounds,
    /// Runs that are delivered at a time.
    pub parallel: usize,
}

/// Which runs and records go to a sink: those that fit everything that is given.
#[derive(Debug, Clone, Default)]
pub struct SinkFilter {
    /// Environments, by name.
    pub environments: Vec<String>,
    /// Workspaces, by id or name.
    pub workspaces: Vec<String>,
    /// Tasks, by id.
    pub tasks: Vec<TaskId>,
    /// Tasks, by name, in which `*` stands for any text.
    pub task_names: Vec<String>,
    /// How runs ended.
    pub statuses: Vec<RunStatus>,
    /// The least severity of a record.
    pub severity: Option<Severity>,
}

impl SinkFilter {
    pub(super) fn wants_run(&self, run: &FinishedRun) -> bool {
        let any = |some: &[String], fits: &dyn Fn(&String) -> bool| some.is_empty() || some.iter().any(fits);
        any(&self.environments, &|name| *name == run.environment)
            && any(&self.workspaces, &|name| *name == run.workspace || *name == run.workspace_id)
            && any(&self.task_names, &|pattern| glob::matches(&run.task, pattern))
            && (self.tasks.is_empty() || self.tasks.iter().any(|task| task.to_string() == run.task_id))
            && (self.statuses.is_empty() || self.statuses.contains(&run.status))
    }

    pub(super) fn wants_record(&self, record: &Record) -> bool {
        self.severity.is_none_or(|least| Severity::of(record.severity.as_deref()) >= least)
    }
}
