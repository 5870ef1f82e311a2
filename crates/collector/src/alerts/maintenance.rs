//! Maintenance windows: periods in which alerts are held.

use runlog_model::place::Task;
use runlog_model::wire::alerts::MaintenanceBody;
use runlog_model::{TaskId, Timestamp};

use super::rule::{TimeOf, is_among};

/// A period, or one that comes again and again, in which alerts about some tasks are held until its end.
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
    /// Only tasks whose name matches one of these patterns, in which `*` stands for any text; all if empty.
    pub task_names: Vec<String>,
    /// The end of the period that a time is in; none if it is in none.
    pub end: TimeOf,
}

impl std::fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maintenance").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Maintenance {
    /// True if alerts about a task are held; without a task, only windows for everything hold alerts.
    fn holds(&self, task: Option<&Task>) -> bool {
        let Some(task) = task else {
            let Self { environments, workspaces, tasks, task_names, .. } = self;
            return environments.is_empty() && workspaces.is_empty() && tasks.is_empty() && task_names.is_empty();
        };
        let environment = &task.workspace.environment;
        let is_in = |it: &String| *it == environment.name || *it == environment.id.to_string();
        (self.environments.is_empty() || self.environments.iter().any(is_in))
            && is_among(task, &self.tasks, &self.task_names, &self.workspaces)
    }
}

/// Until when alerts are held: those about any of these tasks, or about none; not at all if one of them is outside of
/// every window.
pub(super) fn held_until(windows: &[Maintenance], tasks: &[Task], now: Timestamp) -> Option<Timestamp> {
    let of = |task: Option<&Task>| {
        let ends = windows.iter().filter(|window| window.holds(task)).filter_map(|window| (window.end)(now));
        ends.filter(|end| *end > now).max()
    };
    match tasks {
        [] => of(None),
        tasks => tasks.iter().map(|task| of(Some(task))).collect::<Option<Vec<_>>>()?.into_iter().min(),
    }
}

/// The windows, and which of them are open.
pub(super) fn described(windows: &[Maintenance], now: Timestamp) -> Vec<MaintenanceBody> {
    let until = |window: &Maintenance| (window.end)(now).filter(|end| *end > now);
    windows.iter().map(|window| MaintenanceBody { name: window.name.clone(), until: until(window) }).collect()
}
