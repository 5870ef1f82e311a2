//! Maintenance windows: periods in which alerts are held.

use runlog_model::wire::alerts::MaintenanceBody;
use runlog_model::workspaces::{Task, Workspace};
use runlog_model::{TaskId, Timestamp};

use super::rule::TimeOf;
use crate::glob;

/// A single or recurring period in which alerts about some tasks are held until its end.
#[derive(Clone)]
pub struct Maintenance {
    /// Its name.
    pub name: String,
    /// Only tasks of these environments, by ID or name; all if empty.
    pub environments: Vec<String>,
    /// Only tasks of these workspaces, by ID or name; all if empty.
    pub workspaces: Vec<String>,
    /// Only these tasks; all if empty.
    pub tasks: Vec<TaskId>,
    /// Only tasks whose name matches one of these patterns, in which `*` stands for any text, and plans with such a
    /// name; all if empty.
    pub task_names: Vec<String>,
    /// The end of the period that a time is in; none if it is in none.
    pub end: TimeOf,
}

impl std::fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maintenance").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The part of an alert's subject to which maintenance windows apply: a task, or a plan, which has no task ID.
#[derive(Debug, Clone)]
pub(super) struct AffectedScope {
    pub(super) task: Option<TaskId>,
    pub(super) name: String,
    /// None if it is not known.
    pub(super) workspace: Option<Workspace>,
}

impl From<Task> for AffectedScope {
    fn from(task: Task) -> Self {
        Self { task: Some(task.id), name: task.name, workspace: Some(task.workspace) }
    }
}

impl Maintenance {
    /// True if alerts about a task or plan are held; without one, only windows for everything hold alerts.
    fn holds(&self, affected_scope: Option<&AffectedScope>) -> bool {
        let Self { environments, workspaces, tasks, task_names, .. } = self;
        let Some(affected_scope) = affected_scope else {
            return environments.is_empty() && workspaces.is_empty() && tasks.is_empty() && task_names.is_empty();
        };
        let is_named = |wanted: &[String], of: fn(&Workspace) -> (&str, String)| {
            let is_one = |(name, id): (&str, String)| wanted.iter().any(|it| *it == name || *it == id);
            wanted.is_empty() || affected_scope.workspace.as_ref().map(of).is_some_and(is_one)
        };
        is_named(environments, |it| (&it.environment.name, it.environment.id.to_string()))
            && is_named(workspaces, |it| (&it.name, it.id.to_string()))
            && (tasks.is_empty() || affected_scope.task.is_some_and(|task| tasks.contains(&task)))
            && (task_names.is_empty() || task_names.iter().any(|pattern| glob::matches(&affected_scope.name, pattern)))
    }
}

/// Until when alerts are held: those about any of these tasks and plans, or about none; not at all if one of them is
/// outside of every window.
pub(super) fn held_until(
    windows: &[Maintenance],
    affected_scopes: &[AffectedScope],
    now: Timestamp,
) -> Option<Timestamp> {
    let of = |affected_scope: Option<&AffectedScope>| {
        let ends = windows.iter().filter(|window| window.holds(affected_scope)).filter_map(|window| (window.end)(now));
        ends.filter(|end| *end > now).max()
    };
    match affected_scopes {
        [] => of(None),
        affected_scopes => affected_scopes
            .iter()
            .map(|affected_scope| of(Some(affected_scope)))
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .min(),
    }
}

/// The windows, and which of them are open.
pub(super) fn described(windows: &[Maintenance], now: Timestamp) -> Vec<MaintenanceBody> {
    let until = |window: &Maintenance| (window.end)(now).filter(|end| *end > now);
    windows.iter().map(|window| MaintenanceBody { name: window.name.clone(), until: until(window) }).collect()
}
