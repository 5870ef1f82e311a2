//! A rule: of what somebody is told, and where.

use std::time::Duration;

use runlog_model::{Run, TaskId, Timestamp};

use super::error::AlertError;
use super::mail::Mail;
use super::webhook::Webhook;
use crate::glob;

/// Of what to tell, and where.
#[derive(Debug, Clone)]
pub struct AlertRule {
    /// Its name: under it the archive knows what was told.
    pub name: String,
    /// What to tell of.
    pub when: Vec<Condition>,
    /// Only of these tasks; of all when empty.
    pub tasks: Vec<TaskId>,
    /// Only of tasks whose name fits one of these patterns, in which `*` stands for anything; of all when empty.
    pub task_names: Vec<String>,
    /// Only of tasks of these workspaces, by id or name; of all when empty.
    pub workspaces: Vec<String>,
    /// How long a sink may have something waiting.
    pub sink_lag: Duration,
    /// Where to tell it.
    pub to: Vec<Destination>,
}

/// What can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// A run failed.
    RunFailed,
    /// A task has not run for three times the usual time between its runs.
    TaskLate,
    /// A run took, or takes, at least twice the usual time of its task.
    RunSlow,
    /// A task logged a kind of error that it never logged before.
    NewProblem,
    /// The log of a run did not come whole from its upstream.
    LogIncomplete,
    /// A sink has something waiting for too long.
    SinkBehind,
}

/// Where alerts are told.
#[derive(Debug, Clone)]
pub enum Destination {
    /// An address that gets them as JSON.
    Webhook(Webhook),
    /// A mailbox, or several.
    Mail(Mail),
}

impl Destination {
    /// What it is called in the archive: the same as long as alerts go to the same place.
    pub fn name(&self) -> String {
        match self {
            Self::Webhook(webhook) => webhook.name(),
            Self::Mail(mail) => mail.name(),
        }
    }

    pub(super) async fn send(&self, id: &str, body: &str, now: Timestamp) -> Result<(), AlertError> {
        match self {
            Self::Webhook(webhook) => webhook.send(id, body, now).await,
            Self::Mail(mail) => mail.send(id, body).await,
        }
    }

    pub(super) async fn check(&self, now: Timestamp) -> Result<(), AlertError> {
        match self {
            Self::Webhook(webhook) => webhook.check(now).await,
            Self::Mail(mail) => mail.check().await,
        }
    }
}

impl AlertRule {
    pub(super) fn tells_of(&self, condition: Condition) -> bool {
        self.when.contains(&condition)
    }

    /// True when the rule is about this task.
    pub(super) fn is_about(&self, task: &runlog_model::place::Task) -> bool {
        let workspace = &task.workspace;
        (self.tasks.is_empty() || self.tasks.contains(&task.id))
            && (self.task_names.is_empty() || self.task_names.iter().any(|pattern| glob::matches(&task.name, pattern)))
            && (self.workspaces.is_empty()
                || self.workspaces.iter().any(|it| *it == workspace.name || *it == workspace.id.to_string()))
    }

    /// False when a run is surely of a task that the rule is not about; saves looking its task up.
    pub(super) fn may_be_about(&self, run: &Run) -> bool {
        self.tasks.is_empty() || self.tasks.contains(&run.task_id)
    }
}
