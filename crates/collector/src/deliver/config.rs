//! The configuration of a sink: its destination, and which runs and records are delivered.

use runlog_model::record::Severity;
use runlog_model::{Record, RunStatus, TaskId};
use runlog_store::delivery::FinishedRun;

use super::bounds::BatchBounds;
use super::destination::Destination;
use super::redact::Redactor;
use crate::glob;

/// A sink and what is delivered to it.
#[derive(Clone)]
pub struct SinkConfig {
    /// Its name, under which the archive stores its state.
    pub name: String,
    /// Its destination.
    pub destination: Destination,
    /// The selection of runs and records.
    pub filter: SinkFilter,
    /// Whether the audit logs of tenants are delivered, too.
    pub audit_logs: bool,
    /// The redactor of its records.
    pub redactor: Redactor,
    /// The limits of a batch or file.
    pub bounds: BatchBounds,
    /// Number of runs that are delivered at a time.
    pub parallel: usize,
}

/// Selects the runs and records for a sink: those that match all of these filters.
#[derive(Debug, Clone, Default)]
pub struct SinkFilter {
    /// Environments, by name.
    pub environments: Vec<String>,
    /// Workspaces, by ID or name.
    pub workspaces: Vec<String>,
    /// Tasks, by ID.
    pub tasks: Vec<TaskId>,
    /// Tasks, by name; `*` matches any text.
    pub task_names: Vec<String>,
    /// Final statuses of runs.
    pub statuses: Vec<RunStatus>,
    /// The minimum severity of a record.
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
