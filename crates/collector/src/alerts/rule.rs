//! Rules: what is reported, and to whom.

use std::time::Duration;

use runlog_model::wire::alerts::AlertRuleDescription;
use runlog_model::{Run, TaskId, Timestamp};

use super::error::AlertError;
use super::mail::Mail;
use super::message::{Message, Purpose};
use super::opsgenie::Opsgenie;
use super::pagerduty::PagerDuty;
use super::slack::Slack;
use super::teams::Teams;
use super::webhook::Webhook;
use crate::glob;

/// A rule of alerts.
#[derive(Debug, Clone)]
pub struct AlertRule {
    /// Its name, under which the archive records what was sent.
    pub name: String,
    /// The kind of occurrence.
    pub when: Vec<Condition>,
    /// Only these tasks; all if empty.
    pub tasks: Vec<TaskId>,
    /// Only tasks whose name matches one of these patterns, in which `*` stands for any text; all if empty.
    pub task_names: Vec<String>,
    /// Only tasks of these workspaces, by ID or name; all if empty.
    pub workspaces: Vec<String>,
    /// The maximum lag of a sink.
    pub sink_lag: Duration,
    /// The destination.
    pub to: Vec<Destination>,
}

/// The kinds of occurrences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// A run failed, unless its problem is muted.
    RunFailed,
    /// A task has not run for three times its usual interval.
    TaskLate,
    /// A run took at least twice the usual time of its task, or is still running after that time.
    RunSlow,
    /// A run failed of a problem that no other run of its workspace has failed of before.
    NewProblem,
    /// A run failed of a problem that was resolved, or whose mute has ended.
    ProblemCameBack,
    /// A task logged a kind of error for the first time.
    NewError,
    /// The log of a run could not be fetched completely from its upstream.
    LogIncomplete,
    /// A sink lags behind for too long.
    SinkBehind,
}

/// The destination of alerts.
#[derive(Clone)]
pub enum Destination {
    /// A URL that receives JSON.
    Webhook(Webhook),
    /// One or more mailboxes.
    Mail(Mail),
    /// Microsoft Teams.
    Teams(Teams),
    /// Slack.
    Slack(Slack),
    /// PagerDuty.
    PagerDuty(PagerDuty),
    /// Opsgenie.
    Opsgenie(Opsgenie),
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

impl Condition {
    /// Its name in the settings.
    fn name(self) -> &'static str {
        match self {
            Self::RunFailed => "run_failed",
            Self::TaskLate => "task_late",
            Self::RunSlow => "run_slow",
            Self::NewProblem => "new_problem",
            Self::ProblemCameBack => "problem_came_back",
            Self::NewError => "new_error",
            Self::LogIncomplete => "log_incomplete",
            Self::SinkBehind => "sink_behind",
        }
    }
}

impl Destination {
    /// Its name in the archive, which is the same as long as alerts are sent to the same place.
    pub fn name(&self) -> String {
        match self {
            Self::Webhook(webhook) => webhook.name(),
            Self::Mail(mail) => mail.name(),
            Self::Teams(teams) => teams.name(),
            Self::Slack(slack) => slack.name(),
            Self::PagerDuty(pagerduty) => pagerduty.name(),
            Self::Opsgenie(opsgenie) => opsgenie.name(),
        }
    }

    pub(super) async fn send(&self, message: &Message, now: Timestamp) -> Result<(), AlertError> {
        match self {
            Self::Webhook(webhook) => webhook.send(message, now).await,
            Self::Mail(mail) => mail.send(message).await,
            Self::Teams(teams) => teams.send(message).await,
            Self::Slack(slack) => slack.send(message).await,
            Self::PagerDuty(pagerduty) => pagerduty.send(message).await,
            Self::Opsgenie(opsgenie) => opsgenie.send(message).await,
        }
    }

    /// Tests the destination; people see a message only where there is no other way.
    pub(super) async fn check(&self, now: Timestamp) -> Result<(), AlertError> {
        let test = Message::test("test", Purpose::Alert, "");
        match self {
            Self::Mail(mail) => mail.check().await,
            Self::PagerDuty(pagerduty) => pagerduty.check().await,
            Self::Opsgenie(opsgenie) => opsgenie.check().await,
            Self::Webhook(_) | Self::Teams(_) | Self::Slack(_) => self.send(&test, now).await,
        }
    }

    /// Sends a test alert of a rule, and ends it where it would stay open otherwise.
    pub(super) async fn test(&self, rule: &str, id: &str, now: Timestamp) -> Result<(), AlertError> {
        self.send(&Message::test(id, Purpose::Alert, rule), now).await?;
        if self.keeps_state() { self.send(&Message::test(id, Purpose::Recovery, rule), now).await } else { Ok(()) }
    }

    /// True if an alert stays open there until it is said to be over.
    pub(super) fn keeps_state(&self) -> bool {
        matches!(self, Self::PagerDuty(_) | Self::Opsgenie(_))
    }
}

impl AlertRule {
    /// Sends a test alert to each destination of the rule concurrently, with an ID that is not used again; returns the
    /// result of each.
    pub async fn test(&self, id: &str, now: Timestamp) -> Vec<(String, Result<(), AlertError>)> {
        let tests = self.to.iter().map(|destination| destination.test(&self.name, id, now));
        self.to.iter().map(Destination::name).zip(futures::future::join_all(tests).await).collect()
    }

    /// What it reports and to whom, without secrets.
    pub(super) fn description(&self) -> AlertRuleDescription {
        AlertRuleDescription {
            when: self.when.iter().map(|condition| condition.name().to_owned()).collect(),
            workspaces: self.workspaces.clone(),
            tasks: self.tasks.clone(),
            task_names: self.task_names.clone(),
            destinations: self.to.iter().map(Destination::name).collect(),
        }
    }

    pub(super) fn tells_of(&self, condition: Condition) -> bool {
        self.when.contains(&condition)
    }

    /// True if the rule applies to this task.
    pub(super) fn is_about(&self, task: &runlog_model::place::Task) -> bool {
        let workspace = &task.workspace;
        (self.tasks.is_empty() || self.tasks.contains(&task.id))
            && (self.task_names.is_empty() || self.task_names.iter().any(|pattern| glob::matches(&task.name, pattern)))
            && (self.workspaces.is_empty()
                || self.workspaces.iter().any(|it| *it == workspace.name || *it == workspace.id.to_string()))
    }

    /// False if the rule certainly does not apply to the task of a run, so that the task need not be read.
    pub(super) fn may_be_about(&self, run: &Run) -> bool {
        self.tasks.is_empty() || self.tasks.contains(&run.task_id)
    }
}
