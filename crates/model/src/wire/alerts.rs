//! Bodies of `/runlog/v1/alerts`: the rules of alerts, what they reported, and what they would have reported.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{RunId, TaskId, Timestamp};

/// The description of a rule and its destinations, as last recorded by a process with the rule in its settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertRuleDescription {
    /// Its conditions, such as `run_failed`.
    pub when: Vec<String>,
    /// Only tasks of these workspaces, by ID or name; all if empty.
    #[serde(default)]
    pub workspaces: Vec<String>,
    /// Only tasks with these IDs; all if empty.
    #[serde(default)]
    pub tasks: Vec<TaskId>,
    /// Only tasks whose name matches one of these patterns; all if empty.
    #[serde(default)]
    pub task_names: Vec<String>,
    /// The destinations, without their secrets.
    pub destinations: Vec<String>,
    /// The maintenance windows of the settings, in which alerts are held.
    #[serde(default)]
    pub maintenance: Vec<MaintenanceBody>,
}

/// A rule of alerts and its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertRuleBody {
    /// Its name in the settings.
    pub name: String,
    /// Since when events are reported.
    pub since: Timestamp,
    /// When a process with the rule in its settings last searched for events; absent if none has since an upgrade. A
    /// rule that was removed from the settings is no longer evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// Its conditions and destinations; absent if no process has recorded them since an upgrade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<AlertRuleDescription>,
    /// Number of alerts of the last 90 days that were delivered.
    pub delivered: u64,
    /// Number of alerts that were given up, because their destination did not accept them.
    #[serde(default)]
    pub refused: u64,
    /// Number of alerts that are not delivered yet.
    pub waiting: u64,
    /// Reported conditions that have not ended, the latest first; at most 100 of this rule.
    #[serde(default)]
    pub open: Vec<OpenAlertBody>,
    /// Why the last attempt to deliver one of those failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// When it last found an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event: Option<Timestamp>,
    /// The mute of the rule, while it is muted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mute: Option<AlertMuteBody>,
}

/// Something that was reported and is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OpenAlertBody {
    /// The kind of event, such as `run_failed`.
    pub what: String,
    /// What happened, in one sentence.
    pub text: String,
    /// The run, if the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The task, if the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// The problem, if the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem_id: Option<String>,
    /// The plan execution, if the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_execution_id: Option<String>,
    /// Since when it is open.
    pub since: Timestamp,
    /// Since when it seems to be over; this is reported once it has lasted for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// A maintenance window of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceBody {
    /// Its name in the settings.
    pub name: String,
    /// When it ends; absent if it is not open now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// The mute of a rule: meanwhile, its alerts are recorded but never sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertMuteBody {
    /// When it ends; absent without an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Name of the caller who muted the rule.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A rule to mute.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAlertMute {
    /// When the mute ends, in the future; absent without an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why: up to 500 characters, without control characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 500)]
    pub note: Option<String>,
}

/// The state of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// The alert will be sent, or sent again.
    Waiting,
    /// The destination has accepted it.
    Delivered,
    /// The alert was not sent, because its rule or its problem was muted.
    Muted,
    /// The destination did not accept it, and it is not tried again.
    Refused,
    /// The alert was not sent, because the condition had ended by the end of a maintenance window, or because it ended
    /// and recurred several times within an hour.
    Dropped,
}

/// An alert to one destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertBody {
    /// The rule.
    pub rule: String,
    /// The destination, without its secrets.
    pub destination: String,
    /// The kind of event, such as `run_failed`.
    pub what: String,
    /// What happened, in one sentence.
    pub text: String,
    /// The run, if the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The task, if the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// The problem, if the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem_id: Option<String>,
    /// The plan execution, if the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_execution_id: Option<String>,
    /// When the event was found.
    pub noted_at: Timestamp,
    /// Its state.
    pub state: AlertState,
    /// When it was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// When it will be sent, at the earliest; absent unless it is waiting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<Timestamp>,
    /// Number of attempts to deliver it.
    pub attempts: u64,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The alerts that a rule would have sent in a past period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertPreviewBody {
    /// The rule.
    pub rule: String,
    /// Number of events; a lower bound if `complete` is false.
    pub events: u64,
    /// Number of those that would not have been sent, because their problem is muted.
    pub muted: u64,
    /// False if the search ended early because there are too many events.
    pub complete: bool,
    /// The events, the latest first; at most 100.
    pub items: Vec<PreviewedAlertBody>,
}

/// An alert that a rule would have sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewedAlertBody {
    /// The kind of event, such as `run_failed`.
    pub what: String,
    /// What happened, in one sentence.
    pub text: String,
    /// When it happened.
    pub at: Timestamp,
    /// The run, if the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The task, if the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// The problem, if the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem_id: Option<String>,
    /// The plan execution, if the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_execution_id: Option<String>,
    /// True if it would not have been sent, because its problem is muted.
    pub muted: bool,
}
