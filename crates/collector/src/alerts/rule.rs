//! Rules: what is reported, and to whom.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use runlog_model::wire::alerts::AlertRuleDescription;
use runlog_model::workspaces::Task;
use runlog_model::{LogZone, Run, TaskId, Timestamp};

use super::chat::ChatWebhook;
use super::error::AlertError;
use super::mail::Mail;
use super::message::{Message, Purpose};
use super::opsgenie::Opsgenie;
use super::pagerduty::PagerDuty;
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
    /// The least number of rejected rows of a run that is reported.
    pub rejected_rows: u64,
    /// The number of rows or records of a run is unusual if it is this many times the usual one, or the usual one is
    /// this many times that.
    pub rows_factor: f64,
    /// Maximum time for which a run may wait for its engine.
    pub dispatch_time: Duration,
    /// When its tasks should run.
    pub schedule: Option<TaskSchedule>,
    /// The zone of the clock by which the usual starts of tasks and plans are learned.
    pub zone: LogZone,
    /// How much later than usual they may start.
    pub grace: Duration,
    /// The alerts that are sent in one message, and are over together.
    pub group_by: GroupBy,
    /// How long the first alert of a message waits for others.
    pub group_wait: Duration,
    /// True if it is reported when something is over.
    pub recovery: bool,
    /// The destination.
    pub to: Vec<Destination>,
}

impl AlertRule {
    /// A rule about all tasks that is sent nowhere yet, with the defaults of the settings.
    pub fn new(name: impl Into<String>, when: Vec<Condition>) -> Self {
        Self {
            name: name.into(),
            when,
            tasks: Vec::new(),
            task_names: Vec::new(),
            workspaces: Vec::new(),
            sink_lag: Duration::from_secs(3_600),
            rejected_rows: 1,
            rows_factor: 2.0,
            dispatch_time: Duration::from_secs(600),
            schedule: None,
            zone: LogZone::default(),
            grace: Duration::from_secs(900),
            group_by: GroupBy::default(),
            group_wait: Duration::from_secs(60),
            recovery: true,
            to: Vec::new(),
        }
    }
}

/// Which alerts of a rule are sent in one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupBy {
    /// Each event is a message.
    #[default]
    None,
    /// Alerts about the same task.
    Task,
    /// Alerts about the same problem.
    Problem,
    /// All of the rule.
    Rule,
}

/// A time before another, if there is one: the last due time, or the end of a period.
pub type TimeOf = Arc<dyn Fn(Timestamp) -> Option<Timestamp> + Send + Sync>;

/// When the tasks of a rule should run.
#[derive(Clone)]
pub struct TaskSchedule {
    /// The last time at or before a time at which they should run.
    pub last_due: TimeOf,
    /// How much later they may start.
    pub grace: Duration,
}

impl std::fmt::Debug for TaskSchedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskSchedule").field("grace", &self.grace).finish_non_exhaustive()
    }
}

/// The kinds of occurrences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// A run failed, unless its problem is muted.
    RunFailed,
    /// A task did not start when it usually does.
    TaskLate,
    /// A run took at least twice the usual time of its task, or is still running after that time.
    RunSlow,
    /// A run failed with a problem that was not seen before in its workspace.
    NewProblem,
    /// A run failed with a problem that was resolved, or whose mute has ended.
    ProblemCameBack,
    /// A task logged a kind of error for the first time.
    NewError,
    /// The log of a run could not be fetched completely from its upstream.
    LogIncomplete,
    /// A sink lags behind for too long.
    SinkBehind,
    /// A plan execution failed.
    PlanFailed,
    /// A plan did not start, or not when it usually does.
    PlanNotRun,
    /// A run rejected rows.
    RejectedRows,
    /// A successful run processed far more or far fewer rows than usual.
    RowsUnusual,
    /// The log of a successful run has far more or far fewer records than usual.
    LogUnusual,
    /// Runs wait for an engine for too long, or did not begin for want of one.
    EngineUnavailable,
    /// A task did not run at its scheduled time.
    TaskMissed,
}

/// The destination of alerts.
#[derive(Clone)]
pub enum Destination {
    /// A URL that receives JSON.
    Webhook(Webhook),
    /// A mailbox, or several that get one message.
    Mail(Mail),
    /// A webhook of Microsoft Teams or Slack.
    Chat(ChatWebhook),
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
            Self::PlanFailed => "plan_failed",
            Self::PlanNotRun => "plan_not_run",
            Self::RejectedRows => "rejected_rows",
            Self::RowsUnusual => "rows_unusual",
            Self::LogUnusual => "log_unusual",
            Self::EngineUnavailable => "engine_unavailable",
            Self::TaskMissed => "task_missed",
        }
    }
}

impl Destination {
    /// Returns the name in the archive, under which its waiting and open alerts are recorded.
    pub fn name(&self) -> String {
        match self {
            Self::Webhook(webhook) => webhook.name(),
            Self::Mail(mail) => mail.name(),
            Self::Chat(chat) => chat.name(),
            Self::PagerDuty(pagerduty) => pagerduty.name(),
            Self::Opsgenie(opsgenie) => opsgenie.name(),
        }
    }

    /// Its name in archives of earlier versions, if it is another one.
    pub(super) fn former_name(&self) -> Option<String> {
        match self {
            Self::Webhook(webhook) => webhook.former_name(),
            Self::Mail(mail) => mail.former_name(),
            Self::Chat(_) | Self::PagerDuty(_) | Self::Opsgenie(_) => None,
        }
    }

    /// Returns a key that is equal for channels that send to the same place, because each test message is visible
    /// there.
    pub(super) fn destination_key(&self) -> String {
        match self {
            Self::Chat(chat) => chat.destination_key(),
            Self::Webhook(_) | Self::Mail(_) | Self::PagerDuty(_) | Self::Opsgenie(_) => self.name(),
        }
    }

    pub(super) async fn send(&self, message: &Message, now: Timestamp) -> Result<(), AlertError> {
        match self {
            Self::Webhook(webhook) => webhook.send(message, now).await,
            Self::Mail(mail) => mail.send(message).await,
            Self::Chat(chat) => chat.send(message).await,
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
            Self::Webhook(_) | Self::Chat(_) => self.send(&test, now).await,
        }
    }

    /// Sends a test alert of a rule, and ends it where it would stay open otherwise.
    pub(super) async fn test(&self, rule: &str, id: &str, now: Timestamp) -> Result<(), AlertError> {
        self.send(&Message::test(id, Purpose::Alert, rule), now).await?;
        if self.keeps_state() { self.send(&Message::test(id, Purpose::Recovery, rule), now).await } else { Ok(()) }
    }

    /// True if an alert stays open at the destination until its end is reported.
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

    /// Returns the description of the rule and its destinations, without secrets.
    pub(super) fn description(&self) -> AlertRuleDescription {
        AlertRuleDescription {
            when: self.when.iter().map(|condition| condition.name().to_owned()).collect(),
            workspaces: self.workspaces.clone(),
            tasks: self.tasks.clone(),
            task_names: self.task_names.clone(),
            destinations: self.to.iter().map(Destination::name).collect(),
            maintenance: Vec::new(),
        }
    }

    /// Returns the replacements of destinations that had other names in archives of earlier versions.
    pub(super) fn replacements(&self) -> BTreeMap<String, Vec<String>> {
        let mut replacements = BTreeMap::<_, Vec<_>>::new();
        for destination in &self.to {
            if let Some(former) = destination.former_name() {
                replacements.entry(former).or_default().push(destination.name());
            }
        }
        replacements
    }

    pub(super) fn covers(&self, condition: Condition) -> bool {
        self.when.contains(&condition)
    }

    /// True if the rule applies to this task.
    pub(super) fn is_about(&self, task: &Task) -> bool {
        is_among(task, &self.tasks, &self.task_names, &self.workspaces)
    }

    /// False if the rule certainly does not apply to the task of a run, so that the task need not be read.
    pub(super) fn may_be_about(&self, run: &Run) -> bool {
        self.tasks.is_empty() || self.tasks.contains(&run.task_id)
    }
}

/// True if a task is one of these: by its ID, its name and its workspace; an empty list has all.
pub(super) fn is_among(task: &Task, tasks: &[TaskId], task_names: &[String], workspaces: &[String]) -> bool {
    let workspace = &task.workspace;
    (tasks.is_empty() || tasks.contains(&task.id))
        && (task_names.is_empty() || task_names.iter().any(|pattern| glob::matches(&task.name, pattern)))
        && (workspaces.is_empty()
            || workspaces.iter().any(|it| *it == workspace.name || *it == workspace.id.to_string()))
}
