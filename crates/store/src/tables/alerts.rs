//! Alerts: occurrences to report, and whether they were delivered.
//!
//! An occurrence is stored once per rule and destination, however many nodes find it. One node at a time holds the
//! lease of an alert, and the alert is kept until it is delivered. If a node stops after it has sent an alert and
//! before it has recorded the delivery, the alert is sent again with the same occurrence, so that the receiver can
//! recognise the duplicate.

use std::collections::BTreeMap;

use az::SaturatingAs;
use runlog_model::wire::alerts::{
    AlertBody, AlertMuteBody, AlertRuleBody, AlertRuleDescription, AlertState as Delivery, NewAlertMute, OpenAlertBody,
};
use runlog_model::wire::problems::NOTE_CHARS_MAX;
use runlog_model::{Run, RunId, RunStatus, TaskId, Timestamp, planted};
use serde::Deserialize;
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;

use crate::catalog::columns::instant;
use crate::catalog::sql::{Connection, Sql, storable};
use crate::error::{Error, Result};
use crate::limits;
use crate::parts::Alerts;
use crate::tables::runs::RunRow;
use crate::tables::sinks::DUE_SINCE;

/// The sort key of a run in a list: one of the times of the run, and its ID.
pub type RunKey = (Timestamp, RunId);

/// A page of a list of runs, and the key after which the next page begins; `None` on the last page.
pub type RunPage = (Vec<Run>, Option<RunKey>);

/// An alert to be queued for one destination.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewAlert {
    /// The rule that found it.
    pub rule: String,
    /// Where it is sent.
    pub destination: String,
    /// Identifies the event: the same text for the same occurrence.
    pub occurrence: String,
    /// The message, as JSON.
    pub body: String,
    /// True if the alert is never sent: it is recorded as if it had been delivered.
    pub is_muted: bool,
    /// The subject: alerts with the same subject are sent together and end together.
    pub subject: String,
    /// How its end is detected; `None` if the alert has no end.
    pub state: Option<NewAlertState>,
    /// The earliest time to send the alert; `None` means now.
    pub due_at: Option<Timestamp>,
    /// True if the alert is discarded when its condition ends before `due_at`.
    pub is_held: bool,
}

/// A condition that persists after it was reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAlertState {
    /// The part of the subject to which the condition applies.
    pub member: String,
    /// How its end is recognised, as JSON.
    pub about: String,
}

/// A condition that was reported, and that has not ended or whose end was not reported.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct AlertState {
    /// The rule.
    pub rule: String,
    /// The subject of the alerts.
    pub subject: String,
    /// The part of the subject.
    pub member: String,
    /// How its end is recognised, as JSON.
    pub about: String,
    /// The last message that reported it, as JSON.
    pub body: String,
    /// The time since which any part of the subject has been open. Unit: epoch milliseconds.
    pub since: i64,
    /// The time when the condition ended; `None` while it persists. Unit: epoch milliseconds.
    pub ended_at: Option<i64>,
}

/// An alert that reports the end of a condition to one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The destination, if the alert was sent to it.
    pub destination: String,
    /// True if it is recorded but not sent.
    pub is_muted: bool,
}

/// An alert whose lease this node holds.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct ClaimedAlert {
    /// The rule that found it.
    pub rule: String,
    /// Where it is sent.
    pub destination: String,
    /// What happened.
    pub occurrence: String,
    /// The message, as JSON.
    pub body: String,
    /// Number of attempts, including this one.
    pub attempts: i64,
    /// The subject; `None` for alerts of earlier versions.
    pub subject: Option<String>,
    /// 1 if the alert reports the end of a condition.
    is_recovery: i64,
    /// 1 if the alert was found in a maintenance window.
    is_held: i64,
    /// When it was found. Unit: epoch milliseconds.
    noted_at: i64,
    /// The first alert of the message that this alert was sent in; `None` if it was never sent together with others.
    sent_with: Option<String>,
}

impl ClaimedAlert {
    /// Returns true if the alert reports the end of a condition.
    pub fn is_recovery(&self) -> bool {
        self.is_recovery != 0
    }

    /// Returns true if the alert was found in a maintenance window.
    pub fn is_held(&self) -> bool {
        self.is_held != 0
    }

    /// Returns the identifier of its message: the occurrence of the first alert in it. It is the same for each attempt
    /// to send the message.
    pub fn sent_with(&self) -> &str {
        let sent_with = self.sent_with.as_deref().filter(|_| !planted::is("message-not-kept"));
        sent_with.unwrap_or(&self.occurrence)
    }

    /// Returns true if the alert was sent before, in one message with others.
    pub fn was_sent_before(&self) -> bool {
        self.sent_with.is_some()
    }

    /// Returns true if the alert is so old that sending it is not retried.
    pub fn is_too_old(&self, now: Timestamp) -> bool {
        now.as_millis() - self.noted_at > limits::ALERT_GIVE_UP_MS
    }
}

/// The undelivered alerts of one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertBacklog {
    /// The destination.
    pub destination: String,
    /// Alerts that are not delivered yet.
    pub waiting: u64,
    /// When the oldest of them was queued.
    pub oldest: Timestamp,
    /// Why the last attempt failed, if one failed.
    pub last_error: Option<String>,
}

/// The alerts of one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertDestination {
    /// The destination, without its secrets.
    pub destination: String,
    /// Alerts that were delivered.
    pub delivered: u64,
    /// Alerts that are not delivered yet.
    pub waiting: u64,
    /// When the oldest alert was found that could not be delivered so far.
    pub failing_since: Option<Timestamp>,
    /// Why an alert was not delivered.
    pub last_error: Option<String>,
    /// Alerts that will not be retried.
    pub refused: u64,
    /// When the archive last gave up an alert.
    pub last_refused: Option<Timestamp>,
}

/// A run of an upstream whose log was not collected completely.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct IncompleteRun {
    /// The upstream.
    pub upstream: String,
    /// The run.
    pub run_id: String,
    /// Its task.
    pub task_id: String,
    /// Number of attempts.
    pub attempts: i64,
    /// Why the log is incomplete.
    #[sqlx(rename = "problem")]
    pub last_error: String,
    /// When its collection last ended, if it ended before: a run without a log may get one later. Unit: epoch
    /// milliseconds.
    #[sqlx(rename = "landed_at")]
    pub ended_before: Option<i64>,
}

/// The outcome of the collection of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEnd {
    /// The log is complete in the archive.
    Complete,
    /// The upstream has no log of the run.
    None,
    /// The upstream no longer has the run, or the run is no longer collected.
    Gone,
}

/// A sink with pending deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkLag {
    /// The sink.
    pub sink: String,
    /// Pending runs.
    pub waiting: u64,
    /// The time since which the oldest of them has been pending.
    pub since: Timestamp,
    /// Why the last attempt failed, if one failed.
    pub last_error: Option<String>,
}

/// Selects alerts. An absent field does not restrict the selection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// Alerts of this rule.
    pub rule: Option<String>,
    /// Alerts in this state.
    pub state: Option<Delivery>,
    /// Maximum number of alerts to return.
    pub limit: u64,
    /// Number of alerts to skip.
    pub offset: u64,
}

#[derive(FromRow)]
struct RuleRow {
    rule: String,
    since: i64,
    seen_at: Option<i64>,
    description: Option<String>,
    muted_until: Option<i64>,
    muted_by: Option<String>,
    mute_note: Option<String>,
    delivered: i64,
    refused: i64,
    waiting: i64,
    problem: Option<String>,
    last_event: Option<i64>,
}

#[derive(FromRow)]
struct AlertRow {
    rule: String,
    destination: String,
    body: String,
    noted_at: i64,
    due_at: i64,
    attempts: i64,
    delivered_at: Option<i64>,
    problem: Option<String>,
    outcome: Option<String>,
}

#[derive(FromRow)]
struct DestinationRow {
    destination: String,
    delivered: i64,
    waiting: i64,
    failing_since: Option<i64>,
    last_error: Option<String>,
    refused: i64,
    last_refused: Option<i64>,
}

/// The parts of an alert's message that describe its event.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EventPart {
    what: String,
    text: String,
    run_id: Option<RunId>,
    task_id: Option<TaskId>,
    problem: Option<ProblemPart>,
    plan_execution_id: Option<String>,
}

/// The problem that the alert is about.
#[derive(Deserialize)]
struct ProblemPart {
    id: String,
}

/// A mute without an end.
const FOR_EVER: i64 = i64::MAX;

/// An alert that was recorded as delivered without an attempt was not sent.
const IS_MUTED: &str = "delivered_at IS NOT NULL AND attempts = 0 AND outcome IS NULL";

/// Why an alert was not delivered: the destination did not accept it, its condition had ended by the end of a
/// maintenance window, or the condition ended and recurred too often.
const REFUSED: &str = "refused";
const IN_WINDOW: &str = "window";
const REPEATED: &str = "repeated";

/// The columns of a [`ClaimedAlert`].
const CLAIMED: &str =
    "rule, destination, occurrence, body, attempts, subject, is_recovery, is_held, noted_at, sent_with";

/// Selects the rows of the components of runs, which a condition names as `r`.
const COMPONENT_ROWS: &str = "SELECT COALESCE(m.target_id, m.connector_id), CAST(SUM(m.rows_total) AS BIGINT)
    FROM component_metrics m JOIN component_runs c ON c.run_id = m.run_id
    JOIN runs r ON r.id = c.run_id AND r.log_epoch = c.log_epoch WHERE m.rows_total IS NOT NULL AND";
const BY_COMPONENT: &str = "GROUP BY r.id, COALESCE(m.target_id, m.connector_id)";

/// Counts how often a subject has ended since a time.
const ENDS: &str = "SELECT COUNT(DISTINCT occurrence) FROM alerts
    WHERE rule = $1 AND subject = $2 AND is_recovery = 1 AND noted_at > $3";

/// True for `a` if no earlier undelivered alert of the other kind has the same subject: the end of a condition is
/// reported after its beginning, and before its next beginning.
const IS_IN_ORDER: &str = "NOT EXISTS (SELECT 1 FROM alerts b WHERE b.rule = a.rule AND b.subject = a.subject
    AND b.destination = a.destination AND b.delivered_at IS NULL AND b.is_recovery = 1 - a.is_recovery
    AND (b.noted_at < a.noted_at OR (b.noted_at = a.noted_at AND b.is_recovery < a.is_recovery)))";

impl Alerts {
    /// Records what a rule reports and to which destinations, and that the rule is being evaluated.
    pub async fn describe_rule(&self, rule: &str, description: &AlertRuleDescription) -> Result<()> {
        let description = serde_json::to_string(description).map_err(|error| Error::invalid(error.to_string()))?;
        sqlx::query("UPDATE alert_rules SET description = $2, seen_at = $3 WHERE rule = $1")
            .bind(rule)
            .bind(storable(&description))
            .bind(self.core.shared_now().as_millis())
            .execute(self.core.catalog().write())
            .await?;
        Ok(())
    }

    /// Returns every rule that was ever seen, by name.
    pub async fn rules(&self) -> Result<Vec<AlertRuleBody>> {
        let rows: Vec<RuleRow> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT r.rule, r.since, r.seen_at, r.description, r.muted_until, r.muted_by, r.mute_note,
                    CAST(COALESCE(SUM(CASE WHEN a.delivered_at IS NOT NULL AND a.attempts > 0 AND a.outcome IS NULL
                                           THEN 1 ELSE 0 END), 0) AS BIGINT) AS delivered,
                    CAST(COALESCE(SUM(CASE WHEN a.outcome = 'refused' THEN 1 ELSE 0 END), 0) AS BIGINT) AS refused,
                    CAST(COALESCE(SUM(CASE WHEN a.rule IS NOT NULL AND a.delivered_at IS NULL THEN 1 ELSE 0 END), 0)
                         AS BIGINT) AS waiting,
                    MAX(CASE WHEN a.delivered_at IS NULL THEN a.problem END) AS problem, MAX(a.noted_at) AS last_event
             FROM alert_rules r LEFT JOIN alerts a ON a.rule = r.rule
             GROUP BY r.rule, r.since, r.seen_at, r.description, r.muted_until, r.muted_by, r.mute_note
             ORDER BY r.rule LIMIT {}",
            limits::ALERT_RULES_MAX
        )))
        .fetch_all(self.core.catalog().read())
        .await?;
        let now = self.core.shared_now().as_millis();
        let mut rules: Vec<AlertRuleBody> = rows.into_iter().map(|row| row.into_body(now)).collect();
        let states: Vec<AlertState> = sqlx::query_as(
            "SELECT rule, subject, member, about, body, since, ended_at FROM (
                SELECT rule, subject, member, about, body, since, ended_at,
                    ROW_NUMBER() OVER (PARTITION BY rule ORDER BY since DESC, subject, member) AS place
                FROM alert_states) AS states
             WHERE place <= $1 ORDER BY since DESC, rule, subject, member",
        )
        .bind(limits::ALERT_STATES_LISTED_MAX.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        for state in states {
            if let Ok(at) = rules.binary_search_by(|rule| rule.name.cmp(&state.rule)) {
                rules[at].open.push(state.into_body());
            }
        }
        Ok(rules)
    }

    /// Returns alerts, the newest first, and their total number. Delivered alerts are kept for a month.
    pub async fn history(&self, filter: &AlertFilter) -> Result<(Vec<AlertBody>, u64)> {
        let conditions = |query: &mut Sql| {
            query.push(" WHERE 1 = 1");
            if let Some(rule) = &filter.rule {
                query.push(" AND rule = ").push_bind(rule.clone());
            }
            match filter.state {
                None => {}
                Some(Delivery::Waiting) => {
                    query.push(" AND delivered_at IS NULL");
                }
                Some(Delivery::Delivered) => {
                    query.push(" AND delivered_at IS NOT NULL AND attempts > 0 AND outcome IS NULL");
                }
                Some(Delivery::Muted) => {
                    query.push(format!(" AND {IS_MUTED}"));
                }
                Some(Delivery::Refused) => {
                    query.push(" AND outcome = ").push_bind(REFUSED);
                }
                Some(Delivery::Dropped) => {
                    query.push(" AND outcome <> ").push_bind(REFUSED);
                }
            }
        };
        let mut listing = Sql::new(
            "SELECT rule, destination, body, noted_at, due_at, attempts, delivered_at, problem, outcome FROM alerts",
        );
        conditions(&mut listing);
        listing.push(" ORDER BY noted_at DESC, rule, destination, occurrence LIMIT ");
        listing.push_bind(filter.limit.saturating_as::<i64>()).push(" OFFSET ");
        listing.push_bind(filter.offset.saturating_as::<i64>());
        let rows: Vec<AlertRow> = listing.build_query_as().fetch_all(self.core.catalog().read()).await?;
        let mut counting = Sql::new("SELECT COUNT(*) FROM alerts");
        conditions(&mut counting);
        let total: i64 = counting.build_query_scalar().fetch_one(self.core.catalog().read()).await?;
        Ok((rows.into_iter().map(AlertRow::into_body).collect(), total.saturating_as::<u64>()))
    }

    /// Mutes a rule, or with `None` unmutes it. Alerts found by a muted rule are recorded but never sent; alerts found
    /// earlier are still sent. `NotFound`: no such rule. `Invalid`: a time in the past, or a note that is too long or
    /// has control characters.
    pub async fn set_mute(&self, rule: &str, mute: Option<&NewAlertMute>, by: &str) -> Result<()> {
        let now = self.core.shared_now();
        if mute.and_then(|mute| mute.until).is_some_and(|until| until <= now) {
            return Err(Error::invalid("`until` has passed: a rule is muted until a time in the future"));
        }
        let note = mute.and_then(|mute| mute.note.as_deref()).map(str::trim).filter(|note| !note.is_empty());
        if note.is_some_and(|note| note.chars().count() > NOTE_CHARS_MAX || note.chars().any(char::is_control)) {
            let message = format!("a note has up to {NOTE_CHARS_MAX} characters, and no control characters");
            return Err(Error::invalid(message));
        }
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let changed = sqlx::query(
                    "UPDATE alert_rules SET muted_until = $2, muted_by = $3, mute_note = $4 WHERE rule = $1",
                )
                .bind(rule)
                .bind(mute.map(|mute| mute.until.map_or(FOR_EVER, Timestamp::as_millis)))
                .bind(mute.map(|_| storable(by)))
                .bind(note)
                .execute(&mut *transaction)
                .await?;
                match changed.rows_affected() {
                    0 => Err(Error::not_found(format!("there is no alert rule {rule} in this archive"))),
                    _ => self.core.commit_change(transaction, None).await,
                }
            })
            .await
    }

    /// Returns true if a rule is muted now.
    pub async fn is_muted(&self, rule: &str) -> Result<bool> {
        let until: Option<Option<i64>> = sqlx::query_scalar("SELECT muted_until FROM alert_rules WHERE rule = $1")
            .bind(rule)
            .fetch_optional(self.core.catalog().write())
            .await?;
        Ok(until.flatten().is_some_and(|until| until > self.core.shared_now().as_millis()))
    }

    /// Returns when a rule was first seen; a new rule is recorded as first seen now.
    pub async fn rule_known_since(&self, rule: &str) -> Result<Timestamp> {
        sqlx::query("INSERT INTO alert_rules (rule, since) VALUES ($1, $2) ON CONFLICT (rule) DO NOTHING")
            .bind(rule)
            .bind(self.core.shared_now().as_millis())
            .execute(self.core.catalog().write())
            .await?;
        let since: i64 = sqlx::query_scalar("SELECT since FROM alert_rules WHERE rule = $1")
            .bind(rule)
            .fetch_one(self.core.catalog().write())
            .await?;
        instant(since)
    }

    /// Queues alerts and returns how many are new and to be sent. Known occurrences are not changed.
    pub async fn enqueue(&self, alerts: &[NewAlert]) -> Result<u64> {
        let now = self.core.shared_now().as_millis();
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let (mut new, mut repeated) = (0, BTreeMap::new());
                for alert in alerts {
                    if !repeated.contains_key(&alert.occurrence) {
                        let is_repeated = is_repeated(&mut transaction, alert, now).await?;
                        repeated.insert(alert.occurrence.clone(), is_repeated);
                    }
                    let is_repeated = !alert.is_muted && repeated.get(&alert.occurrence).copied().unwrap_or_default();
                    let noted = sqlx::query(
                        "INSERT INTO alerts (rule, destination, occurrence, body, noted_at, due_at, delivered_at, subject,
                                is_held, outcome)
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                         ON CONFLICT (rule, destination, occurrence) DO NOTHING",
                    )
                    .bind(&alert.rule)
                    .bind(&alert.destination)
                    .bind(&alert.occurrence)
                    .bind(&alert.body)
                    .bind(now)
                    .bind(alert.due_at.map_or(now, Timestamp::as_millis))
                    .bind((alert.is_muted || is_repeated).then_some(now))
                    .bind(&alert.subject)
                    .bind(i64::from(alert.is_held))
                    .bind(is_repeated.then_some(REPEATED))
                    .execute(&mut *transaction)
                    .await?;
                    if alert.is_muted || noted.rows_affected() == 0 {
                        continue;
                    }
                    new += if is_repeated { 0 } else { 1 };
                    if let Some(NewAlertState { member, about }) = &alert.state {
                        sqlx::query(
                            "INSERT INTO alert_states (rule, subject, member, about, body, since) VALUES ($1, $2, $3, $4, $5,
                                    COALESCE((SELECT MIN(since) FROM alert_states WHERE rule = $1 AND subject = $2), $6))
                             ON CONFLICT (rule, subject, member)
                             DO UPDATE SET about = excluded.about, body = excluded.body, ended_at = NULL",
                        )
                        .bind(&alert.rule)
                        .bind(&alert.subject)
                        .bind(member)
                        .bind(about)
                        .bind(&alert.body)
                        .bind(now)
                        .execute(&mut *transaction)
                        .await?;
                    }
                }
                transaction.commit().await?;
                Ok(new)
            })
            .await
    }

    /// Returns the conditions that a rule has reported without reporting their end, the latest first. Conditions that
    /// have been open for longer than [`limits::ALERT_OPEN_MS_MAX`] are left out.
    pub async fn open_states(&self, rule: &str) -> Result<Vec<AlertState>> {
        let forgotten = self.core.shared_now().plus_millis(-limits::ALERT_OPEN_MS_MAX).as_millis();
        let old: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM alert_states WHERE rule = $1 AND since < $2")
            .bind(rule)
            .bind(forgotten)
            .fetch_one(self.core.catalog().read())
            .await?;
        if old > 0 {
            sqlx::query("DELETE FROM alert_states WHERE rule = $1 AND since < $2")
                .bind(rule)
                .bind(forgotten)
                .execute(self.core.catalog().write())
                .await?;
        }
        Ok(sqlx::query_as(
            "SELECT rule, subject, member, about, body, since, ended_at FROM alert_states WHERE rule = $1 AND since >= $3
             ORDER BY since DESC, subject, member LIMIT $2",
        )
        .bind(rule)
        .bind(limits::ALERT_STATES_MAX.saturating_as::<i64>())
        .bind(forgotten)
        .fetch_all(self.core.catalog().read())
        .await?)
    }

    /// Records when a condition ended, or with `None` that it persists.
    pub async fn set_ended(&self, state: &AlertState, ended_at: Option<Timestamp>) -> Result<()> {
        sqlx::query("UPDATE alert_states SET ended_at = $4 WHERE rule = $1 AND subject = $2 AND member = $3")
            .bind(&state.rule)
            .bind(&state.subject)
            .bind(&state.member)
            .bind(ended_at.map(Timestamp::as_millis))
            .execute(self.core.catalog().write())
            .await?;
        Ok(())
    }

    /// Returns true if a subject ended several times within the last hour: its end is then not reported immediately.
    pub async fn is_flapping(&self, rule: &str, subject: &str) -> Result<bool> {
        let ends: i64 = sqlx::query_scalar(ENDS)
            .bind(rule)
            .bind(subject)
            .bind(self.core.shared_now().as_millis() - limits::ALERT_REPEAT_MS)
            .fetch_one(self.core.catalog().read())
            .await?;
        Ok(ends.saturating_as::<u64>() >= limits::ALERT_REPEATS_MAX)
    }

    /// Ends a part of a subject. If it was the last open part, the end is queued for the destinations that the subject
    /// was reported to, and alerts still held by a maintenance window are not sent. Returns how many alerts were
    /// queued; zero if another node has ended it.
    pub async fn end(
        &self,
        state: &AlertState,
        body: &str,
        recoveries: &[Recovery],
        due_at: Option<Timestamp>,
    ) -> Result<u64> {
        let now = self.core.shared_now().as_millis();
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                lock_rule(&mut transaction, &state.rule).await?;
                let ended = sqlx::query(
                    "DELETE FROM alert_states WHERE rule = $1 AND subject = $2 AND member = $3 AND ended_at IS NOT NULL",
                )
                .bind(&state.rule)
                .bind(&state.subject)
                .bind(&state.member)
                .execute(&mut *transaction)
                .await?;
                let others: i64 =
                    sqlx::query_scalar("SELECT COUNT(*) FROM alert_states WHERE rule = $1 AND subject = $2")
                        .bind(&state.rule)
                        .bind(&state.subject)
                        .fetch_one(&mut *transaction)
                        .await?;
                let mut queued = 0;
                if ended.rows_affected() > 0 && others == 0 {
                    sqlx::query(
                        "UPDATE alerts SET delivered_at = $3, outcome = $4 WHERE rule = $1 AND subject = $2
                            AND is_recovery = 0 AND is_held = 1 AND attempts = 0 AND delivered_at IS NULL",
                    )
                    .bind(&state.rule)
                    .bind(&state.subject)
                    .bind(now)
                    .bind(IN_WINDOW)
                    .execute(&mut *transaction)
                    .await?;
                    for recovery in recoveries {
                        queued += queue_end(&mut transaction, state, body, recovery, due_at, now).await?;
                    }
                }
                transaction.commit().await?;
                Ok(queued)
            })
            .await
    }

    /// Claims a due alert of a destination; `None` if there is none.
    pub async fn claim(&self, destination: &str) -> Result<Option<ClaimedAlert>> {
        let now = self.core.catalog_now().await?;
        let mut claiming = Sql::new("UPDATE alerts SET attempts = attempts + 1, claimed_until = ");
        claiming.push_bind(now.plus_millis(limits::ALERT_LEASE_MS).as_millis());
        // `=` rather than `IN`: PostgreSQL may evaluate the subquery of `IN` more than once, and claim several alerts.
        claiming
            .push(" WHERE (rule, destination, occurrence) = (SELECT a.rule, a.destination, a.occurrence FROM alerts a");
        claiming.push(" WHERE a.delivered_at IS NULL AND a.due_at <= ").push_bind(now.as_millis());
        claiming.push(" AND a.claimed_until < ").push_bind(now.as_millis());
        claiming.push(" AND a.destination = ").push_bind(destination.to_owned());
        claiming.push(format!(" AND {IS_IN_ORDER} ORDER BY a.due_at, a.noted_at, a.occurrence LIMIT 1"));
        claiming.push(self.core.catalog().skip_locked()).push(") RETURNING ").push(CLAIMED);
        Ok(claiming.build_query_as().fetch_optional(self.core.catalog().write()).await?)
    }

    /// Claims the alerts that are sent together with one that was claimed: those of the same rule, destination and
    /// subject, even if they are not due yet, unless a maintenance window holds them. With `only_held`, only alerts
    /// found in a maintenance window.
    ///
    /// A message that was sent before is sent again with the same alerts: the destination may already have it, and
    /// recognises it by its ID. Alerts found since then form another message.
    pub async fn claim_others(&self, first: &ClaimedAlert, only_held: bool) -> Result<Vec<ClaimedAlert>> {
        let now = self.core.catalog_now().await?;
        let lease_end = now.plus_millis(limits::ALERT_LEASE_MS);
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                if first.sent_with.is_none() {
                    sqlx::query(
                        "UPDATE alerts SET sent_with = occurrence WHERE rule = $1 AND destination = $2 AND occurrence = $3",
                    )
                    .bind(&first.rule)
                    .bind(&first.destination)
                    .bind(&first.occurrence)
                    .execute(&mut *transaction)
                    .await?;
                }
                let claiming = claiming_others(first, only_held, now, lease_end);
                let mut claimed: Vec<ClaimedAlert> =
                    claiming.build_query_as().fetch_all(&mut *transaction).await?;
                transaction.commit().await?;
                claimed.sort_by(|a, b| (a.noted_at, &a.occurrence).cmp(&(b.noted_at, &b.occurrence)));
                Ok(claimed)
            })
            .await
    }

    /// Records that an alert is not retried: the destination refuses it, or it was found too long ago.
    pub async fn give_up(&self, alert: &ClaimedAlert, problem: &str) -> Result<()> {
        sqlx::query(
            "UPDATE alerts SET delivered_at = $4, problem = $5, outcome = $6
             WHERE rule = $1 AND destination = $2 AND occurrence = $3 AND delivered_at IS NULL",
        )
        .bind(&alert.rule)
        .bind(&alert.destination)
        .bind(&alert.occurrence)
        .bind(self.core.shared_now().as_millis())
        .bind(storable(problem))
        .bind(REFUSED)
        .execute(self.core.catalog().write())
        .await?;
        Ok(())
    }

    /// Marks the alerts of a message as delivered: all of them or none. The failed alerts of their destination become
    /// due immediately, because the destination accepts alerts again.
    pub async fn mark_delivered(&self, alerts: &[ClaimedAlert]) -> Result<()> {
        let Some(first) = alerts.first() else { return Ok(()) };
        let now = self.core.shared_now().as_millis();
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                for alert in alerts {
                    sqlx::query(
                        "UPDATE alerts SET delivered_at = $4, problem = NULL
                         WHERE rule = $1 AND destination = $2 AND occurrence = $3",
                    )
                    .bind(&alert.rule)
                    .bind(&alert.destination)
                    .bind(&alert.occurrence)
                    .bind(now)
                    .execute(&mut *transaction)
                    .await?;
                }
                sqlx::query(
                    "UPDATE alerts SET due_at = $2 WHERE destination = $1 AND delivered_at IS NULL AND problem IS NOT NULL
                            AND due_at > $2",
                )
                .bind(&first.destination)
                .bind(now)
                .execute(&mut *transaction)
                .await?;
                transaction.commit().await
            })
            .await
    }

    /// Records a failed attempt to send the alerts of a message, and when to retry: for all of them or none.
    pub async fn record_failure(&self, alerts: &[ClaimedAlert], problem: &str, again_at: Timestamp) -> Result<()> {
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                for alert in alerts {
                    sqlx::query(
                        "UPDATE alerts SET due_at = $4, claimed_until = 0, problem = $5
                         WHERE rule = $1 AND destination = $2 AND occurrence = $3 AND delivered_at IS NULL",
                    )
                    .bind(&alert.rule)
                    .bind(&alert.destination)
                    .bind(&alert.occurrence)
                    .bind(again_at.as_millis())
                    .bind(storable(problem))
                    .execute(&mut *transaction)
                    .await?;
                }
                transaction.commit().await
            })
            .await
    }

    /// Returns the backlog of each destination that has one.
    pub async fn backlog(&self) -> Result<Vec<AlertBacklog>> {
        let rows: Vec<(String, i64, i64, Option<String>)> = sqlx::query_as(
            "SELECT destination, COUNT(*), MIN(noted_at), MAX(problem) FROM alerts WHERE delivered_at IS NULL
             GROUP BY destination ORDER BY destination",
        )
        .fetch_all(self.core.catalog().read())
        .await?;
        rows.into_iter()
            .map(|(destination, waiting, oldest, problem)| {
                Ok(AlertBacklog {
                    destination,
                    waiting: waiting.saturating_as::<u64>(),
                    oldest: instant(oldest)?,
                    last_error: problem,
                })
            })
            .collect()
    }

    /// Returns the delivery figures of each destination that had alerts within the retention period, by name.
    pub async fn destinations(&self) -> Result<Vec<AlertDestination>> {
        let rows: Vec<DestinationRow> = sqlx::query_as(
            "SELECT destination,
                    CAST(SUM(CASE WHEN delivered_at IS NOT NULL AND attempts > 0 AND outcome IS NULL THEN 1 ELSE 0 END)
                         AS BIGINT) AS delivered,
                    CAST(SUM(CASE WHEN delivered_at IS NULL THEN 1 ELSE 0 END) AS BIGINT) AS waiting,
                    MIN(CASE WHEN delivered_at IS NULL AND problem IS NOT NULL THEN noted_at END) AS failing_since,
                    MAX(CASE WHEN delivered_at IS NULL OR outcome = 'refused' THEN problem END) AS last_error,
                    CAST(SUM(CASE WHEN outcome = 'refused' THEN 1 ELSE 0 END) AS BIGINT) AS refused,
                    MAX(CASE WHEN outcome = 'refused' THEN delivered_at END) AS last_refused
             FROM alerts GROUP BY destination ORDER BY destination",
        )
        .fetch_all(self.core.catalog().read())
        .await?;
        let read = |row: DestinationRow| AlertDestination {
            destination: row.destination,
            delivered: row.delivered.saturating_as::<u64>(),
            waiting: row.waiting.saturating_as::<u64>(),
            failing_since: row.failing_since.map(Timestamp::clamped),
            last_error: row.last_error,
            refused: row.refused.saturating_as::<u64>(),
            last_refused: row.last_refused.map(Timestamp::clamped),
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// Deletes alerts that were delivered more than [`limits::ALERT_RETENTION_MS`] ago. Returns how many.
    pub async fn delete_delivered(&self) -> Result<u64> {
        let before = self.core.shared_now().plus_millis(-limits::ALERT_RETENTION_MS).as_millis();
        let forgotten = sqlx::query("DELETE FROM alerts WHERE delivered_at < $1")
            .bind(before)
            .execute(self.core.catalog().write())
            .await?;
        Ok(forgotten.rows_affected())
    }

    /// Copies the alerts of a rule for a destination to each of the destinations that replace it in the settings:
    /// undelivered alerts are sent to the new destinations, and reported alerts are not reported again.
    pub async fn replace_destination(&self, rule: &str, former: &str, destinations: &[String]) -> Result<()> {
        let has_any: Option<i64> =
            sqlx::query_scalar("SELECT CAST(1 AS BIGINT) FROM alerts WHERE rule = $1 AND destination = $2 LIMIT 1")
                .bind(rule)
                .bind(former)
                .fetch_optional(self.core.catalog().read())
                .await?;
        if has_any.is_none() {
            return Ok(());
        }
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                for destination in destinations {
                    sqlx::query(
                        "INSERT INTO alerts (rule, destination, occurrence, body, noted_at, due_at, attempts,
                                delivered_at, problem, subject, is_recovery, is_held, outcome)
                         SELECT rule, CAST($3 AS TEXT), occurrence, body, noted_at, due_at, attempts, delivered_at,
                                problem, subject, is_recovery, is_held, outcome
                         FROM alerts WHERE rule = $1 AND destination = $2
                         ON CONFLICT (rule, destination, occurrence) DO NOTHING",
                    )
                    .bind(rule)
                    .bind(former)
                    .bind(destination)
                    .execute(&mut *transaction)
                    .await?;
                }
                // Delivered alerts are kept until they expire, so that a node of an earlier version does not report
                // them again.
                sqlx::query("DELETE FROM alerts WHERE rule = $1 AND destination = $2 AND delivered_at IS NULL")
                    .bind(rule)
                    .bind(former)
                    .execute(&mut *transaction)
                    .await?;
                transaction.commit().await
            })
            .await
    }

    /// Gives up alerts that have waited too long for a destination that was removed from the settings, and are
    /// therefore never sent. Returns how many.
    pub async fn give_up_without_destination(&self, known: &[String]) -> Result<u64> {
        let now = self.core.shared_now();
        let before = now.plus_millis(-limits::ALERT_GIVE_UP_MS).as_millis();
        let waiting: Vec<(String,)> = sqlx::query_as(
            "SELECT DISTINCT destination FROM alerts WHERE delivered_at IS NULL AND noted_at < $1 AND due_at <= $2",
        )
        .bind(before)
        .bind(now.as_millis())
        .fetch_all(self.core.catalog().read())
        .await?;
        let mut given_up = 0;
        for (destination,) in waiting.into_iter().filter(|(destination,)| !known.contains(destination)) {
            let done = sqlx::query(
                "UPDATE alerts SET delivered_at = $3, outcome = $4,
                        problem = COALESCE(problem, 'its destination is not in the settings any more')
                 WHERE destination = $1 AND delivered_at IS NULL AND noted_at < $2 AND due_at <= $3",
            )
            .bind(destination)
            .bind(before)
            .bind(now.as_millis())
            .bind(REFUSED)
            .execute(self.core.catalog().write())
            .await?;
            given_up += done.rows_affected();
        }
        Ok(given_up)
    }

    /// Returns a page of the runs that became final since a time, in the order in which they became final in the
    /// archive.
    pub async fn runs_ended_since(&self, since: Timestamp, after: Option<RunKey>, limit: u64) -> Result<RunPage> {
        let query = "SELECT * FROM runs WHERE final_since >= $1 AND (final_since, id) > ($2, $3) ORDER BY final_since, id LIMIT $4";
        self.page_of_runs(query, since, after, limit, |run| run.final_since).await
    }

    /// Returns a page of the runs that an upstream reported as ended between two times of the shared clock, and whose
    /// logs have not landed.
    pub async fn runs_without_their_log(
        &self,
        reported: (Timestamp, Timestamp),
        after: Option<RunKey>,
        limit: u64,
    ) -> Result<RunPage> {
        let (after_at, after_id) = after.map_or((i64::MIN, String::new()), |(at, id)| (at.as_millis(), id.to_string()));
        let rows: Vec<RunRow> = sqlx::query_as(
            "SELECT * FROM runs WHERE final_since IS NULL AND status NOT IN ('dispatching', 'executing')
                AND EXISTS (SELECT 1 FROM collected_runs c WHERE c.run_id = runs.id AND c.state = 'due'
                    AND c.seen_at >= $1 AND c.seen_at <= $2)
                AND (triggered_at, id) > ($3, $4) ORDER BY triggered_at, id LIMIT $5",
        )
        .bind(reported.0.as_millis())
        .bind(reported.1.as_millis())
        .bind(after_at)
        .bind(after_id)
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        page_of(rows, limit, |run| Some(run.triggered_at))
    }

    /// Returns a page of the running runs that started before a time, the longest running first.
    pub async fn running_runs(&self, began_before: Timestamp, after: Option<RunKey>, limit: u64) -> Result<RunPage> {
        let query = "SELECT * FROM runs WHERE final_since IS NULL AND status IN ('dispatching', 'executing')
                AND started_at < $1 AND (started_at, id) > ($2, $3) AND NOT EXISTS
                    (SELECT 1 FROM collected_runs c WHERE c.run_id = runs.id AND c.state IN ('gone', 'left_out'))
             ORDER BY started_at, id LIMIT $4";
        self.page_of_runs(query, began_before, after, limit, |run| run.started_at).await
    }

    /// Returns a page of the runs that were triggered before a time and have neither started nor ended, the longest
    /// waiting first.
    pub async fn waiting_runs(
        &self,
        triggered_before: Timestamp,
        after: Option<RunKey>,
        limit: u64,
    ) -> Result<RunPage> {
        let query = "SELECT * FROM runs WHERE final_since IS NULL AND status IN ('dispatching', 'executing')
                AND started_at IS NULL AND triggered_at < $1
                AND (triggered_at, id) > ($2, $3) ORDER BY triggered_at, id LIMIT $4";
        self.page_of_runs(query, triggered_before, after, limit, |run| Some(run.triggered_at)).await
    }

    /// Returns true if a run was listed before it had ended, and its log was fetched while it was running.
    pub async fn was_seen_running(&self, run: RunId) -> Result<bool> {
        let rows: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM collected_runs WHERE run_id = $1 AND looked_at > 0")
            .bind(run.to_string())
            .fetch_one(self.core.catalog().read())
            .await?;
        Ok(rows > 0)
    }

    /// Returns the first run that started after a misfired run: of the same task, or on the same engine.
    pub async fn run_started_after(&self, misfired: RunId) -> Result<Option<RunId>> {
        let id: Option<String> = sqlx::query_scalar(
            "SELECT r.id FROM runs m JOIN runs r ON r.triggered_at > m.triggered_at
             WHERE m.id = $1 AND (r.task_id = m.task_id OR r.runtime = m.runtime) AND r.started_at IS NOT NULL
                AND r.status <> 'deploy_failed' ORDER BY r.triggered_at, r.id LIMIT 1",
        )
        .bind(misfired.to_string())
        .fetch_optional(self.core.catalog().read())
        .await?;
        id.map(|id| id.parse().map_err(|_| Error::corrupt("the id of a run does not decode"))).transpose()
    }

    /// Returns a page of the runs that became final since a time and may have rejected rows: see
    /// [`rejected_rows`](Self::rejected_rows).
    pub async fn runs_that_rejected_rows(
        &self,
        since: Timestamp,
        after: Option<RunKey>,
        limit: u64,
    ) -> Result<RunPage> {
        let query = "SELECT * FROM runs WHERE final_since >= $1 AND (final_since, id) > ($2, $3)
                AND (rejected_rows > 0 OR status = 'execution_rejected' OR (rejected_rows IS NULL AND id IN
                    (SELECT run_id FROM component_runs WHERE rows_rejected IS NOT NULL AND rows_rejected <> '0')))
             ORDER BY final_since, id LIMIT $4";
        self.page_of_runs(query, since, after, limit, |run| run.final_since).await
    }

    /// Returns at most `limit` runs selected by a statement that orders by a time and the ID, and the key after which
    /// the next page begins.
    async fn page_of_runs(
        &self,
        query: &'static str,
        bound: Timestamp,
        after: Option<RunKey>,
        limit: u64,
        time: fn(&Run) -> Option<Timestamp>,
    ) -> Result<RunPage> {
        let (after_at, after_id) = after.map_or((i64::MIN, String::new()), |(at, id)| (at.as_millis(), id.to_string()));
        let rows: Vec<RunRow> = sqlx::query_as(query)
            .bind(bound.as_millis())
            .bind(after_at)
            .bind(after_id)
            .bind(limit.saturating_as::<i64>())
            .fetch_all(self.core.catalog().read())
            .await?;
        page_of(rows, limit, time)
    }

    /// Returns how many rows a run rejected: the number of the run, or else that of its component metrics; `None` if
    /// neither is known.
    pub async fn rejected_rows(&self, run: &Run) -> Result<Option<u64>> {
        // An upstream may report a run as rejected without a count of rejected rows.
        let least = u64::from(run.status.coarse() == RunStatus::Rejected);
        if let Some(rows) = run.rejected_rows {
            return Ok(Some(rows.max(least)));
        }
        let rows: Option<Option<String>> =
            sqlx::query_scalar("SELECT rows_rejected FROM component_runs WHERE run_id = $1")
                .bind(run.id.to_string())
                .fetch_optional(self.core.catalog().read())
                .await?;
        let rows = rows.flatten().and_then(|text| text.parse::<f64>().ok());
        Ok(rows.map(|rows| rows.saturating_as::<u64>().max(least)))
    }

    /// Returns the numbers of rows that successful runs of a task processed, the latest first: of at most `limit` runs
    /// that were triggered before a time.
    pub async fn processed_rows_before(&self, task: TaskId, before: Timestamp, limit: u64) -> Result<Vec<u64>> {
        let rows: Vec<i64> = sqlx::query_scalar(
            "SELECT processed_rows FROM runs WHERE task_id = $1 AND triggered_at < $2 AND processed_rows IS NOT NULL
                AND status IN ('execution_successful', 'execution_rejected') ORDER BY triggered_at DESC, id LIMIT $3",
        )
        .bind(task.to_string())
        .bind(before.as_millis())
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        Ok(rows.into_iter().map(|rows| rows.saturating_as::<u64>()).collect())
    }

    /// Returns the numbers of records of the logs of successful runs of a task, the latest first: of at most `limit`
    /// runs that were triggered before a time and whose logs were not deleted.
    pub async fn records_before(&self, task: TaskId, before: Timestamp, limit: u64) -> Result<Vec<u64>> {
        let records: Vec<i64> = sqlx::query_scalar(
            "SELECT records FROM runs WHERE task_id = $1 AND triggered_at < $2 AND (records > 0 OR log_epoch = 0)
                AND status IN ('execution_successful', 'execution_rejected') ORDER BY triggered_at DESC, id LIMIT $3",
        )
        .bind(task.to_string())
        .bind(before.as_millis())
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        Ok(records.into_iter().map(|records| records.saturating_as::<u64>()).collect())
    }

    /// Returns true if the log of a run was deleted, and no records were stored since.
    pub async fn is_log_deleted(&self, run: RunId) -> Result<bool> {
        let deleted: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM runs WHERE id = $1 AND records = 0 AND log_epoch > 0")
                .bind(run.to_string())
                .fetch_optional(self.core.catalog().read())
                .await?;
        Ok(deleted.is_some())
    }

    /// Returns the rows of each component of a run: the rows that the component received or, if the component is a
    /// source, passed on. Empty if the run has no component metrics.
    pub async fn component_rows(&self, run: RunId) -> Result<Vec<(String, u64)>> {
        let reading = format!("{COMPONENT_ROWS} r.id = $1 {BY_COMPONENT}");
        let rows: Vec<(String, i64)> =
            sqlx::query_as(AssertSqlSafe(reading)).bind(run.to_string()).fetch_all(self.core.catalog().read()).await?;
        Ok(rows.into_iter().map(|(component, rows)| (component, rows.saturating_as::<u64>())).collect())
    }

    /// Like [`component_rows`](Self::component_rows), for at most `limit` successful runs of a task that were triggered
    /// before a time and have component metrics.
    pub async fn component_rows_before(
        &self,
        task: TaskId,
        before: Timestamp,
        limit: u64,
    ) -> Result<Vec<(String, u64)>> {
        let reading = format!(
            "{COMPONENT_ROWS} r.id IN (SELECT e.id FROM runs e JOIN component_runs k ON k.run_id = e.id
                WHERE e.task_id = $1 AND e.triggered_at < $2
                    AND e.status IN ('execution_successful', 'execution_rejected')
                ORDER BY e.triggered_at DESC, e.id LIMIT $3) {BY_COMPONENT}"
        );
        let rows: Vec<(String, i64)> = sqlx::query_as(AssertSqlSafe(reading))
            .bind(task.to_string())
            .bind(before.as_millis())
            .bind(limit.saturating_as::<i64>())
            .fetch_all(self.core.catalog().read())
            .await?;
        Ok(rows.into_iter().map(|(component, rows)| (component, rows.saturating_as::<u64>())).collect())
    }

    /// Returns at most `limit` tasks after another one, by ID, and when the last run of each was triggered.
    pub async fn last_runs(&self, after: Option<TaskId>, limit: u64) -> Result<Vec<(TaskId, Option<Timestamp>)>> {
        let rows: Vec<(String, Option<i64>)> = sqlx::query_as(
            "SELECT t.id, (SELECT MAX(r.triggered_at) FROM runs r WHERE r.task_id = t.id) FROM tasks t
             WHERE t.id > $1 ORDER BY t.id LIMIT $2",
        )
        .bind(after.map(|id| id.to_string()).unwrap_or_default())
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        let id = |id: &str| id.parse().map_err(|_| Error::corrupt("the id of a task does not decode"));
        rows.into_iter().map(|(task, at)| Ok((id(&task)?, at.map(Timestamp::clamped)))).collect()
    }

    /// Returns the tasks whose last run was triggered between these times, by task.
    pub async fn tasks_last_run_between(&self, from: Timestamp, to: Timestamp) -> Result<Vec<TaskId>> {
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT id FROM (SELECT t.id AS id,
                    (SELECT MAX(r.triggered_at) FROM runs r WHERE r.task_id = t.id) AS last_run FROM tasks t) AS tasks_and_runs
             WHERE last_run >= $1 AND last_run < $2 ORDER BY id",
        )
        .bind(from.as_millis())
        .bind(to.as_millis())
        .fetch_all(self.core.catalog().read())
        .await?;
        ids.iter().map(|id| id.parse().map_err(|_| Error::corrupt("the id of a task does not decode"))).collect()
    }

    /// Returns at most `limit` runs of upstreams, after another one, whose last attempt received a different number of
    /// records than the upstream counts, or whose log the upstream lost in the last days before it was received
    /// completely.
    pub async fn incomplete_runs(&self, after: Option<&IncompleteRun>, limit: u64) -> Result<Vec<IncompleteRun>> {
        let (upstream, run_id) = after.map_or(("", ""), |run| (&*run.upstream, &*run.run_id));
        Ok(sqlx::query_as(
            "SELECT upstream, run_id, task_id, attempts, problem, landed_at FROM (
                SELECT upstream, run_id, task_id, attempts, COALESCE(problem, '') AS problem, landed_at FROM collected_runs
                WHERE state = 'due' AND expected IS NOT NULL AND attempts > 0 AND (upstream, run_id) > ($3, $4)
                UNION ALL
                SELECT upstream, run_id, task_id, attempts, problem, CAST(NULL AS BIGINT) AS landed_at FROM collected_runs
                WHERE state = 'no_log' AND problem IS NOT NULL AND landed_at >= $2 AND (upstream, run_id) > ($3, $4)
             ) AS incomplete ORDER BY upstream, run_id LIMIT $1",
        )
        .bind(limit.saturating_as::<i64>())
        .bind(self.core.shared_now().plus_millis(-limits::LOST_LOG_ALERT_MS).as_millis())
        .bind(upstream)
        .bind(run_id)
        .fetch_all(self.core.catalog().read())
        .await?)
    }

    /// Returns the pending deliveries of each sink, without sinks that have none or only runs that have yet to settle.
    pub async fn sink_lags(&self) -> Result<Vec<SinkLag>> {
        let rows: Vec<(String, i64, i64, Option<String>)> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT sink, COUNT(*), MIN({DUE_SINCE}), MAX(problem) FROM deliveries
             WHERE state = 'due' AND {DUE_SINCE} <= $1 GROUP BY sink ORDER BY sink"
        )))
        .bind(self.core.shared_now().as_millis())
        .fetch_all(self.core.catalog().read())
        .await?;
        rows.into_iter()
            .map(|(sink, waiting, since, problem)| {
                Ok(SinkLag {
                    sink,
                    waiting: waiting.saturating_as::<u64>(),
                    since: instant(since)?,
                    last_error: problem,
                })
            })
            .collect()
    }

    /// Returns the time since which a rule has found a sink behind; records the current time if the sink was not behind
    /// before.
    pub async fn sink_behind_since(&self, rule: &str, sink: &str) -> Result<Timestamp> {
        sqlx::query(
            "INSERT INTO sinks_behind (rule, sink, since) VALUES ($1, $2, $3) ON CONFLICT (rule, sink) DO NOTHING",
        )
        .bind(rule)
        .bind(sink)
        .bind(self.core.shared_now().as_millis())
        .execute(self.core.catalog().write())
        .await?;
        let since: i64 = sqlx::query_scalar("SELECT since FROM sinks_behind WHERE rule = $1 AND sink = $2")
            .bind(rule)
            .bind(sink)
            .fetch_one(self.core.catalog().write())
            .await?;
        instant(since)
    }

    /// Returns true if a rule has found a sink behind, and the sink has not caught up.
    pub async fn is_sink_behind(&self, rule: &str, sink: &str) -> Result<bool> {
        let rows: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sinks_behind WHERE rule = $1 AND sink = $2")
            .bind(rule)
            .bind(sink)
            .fetch_one(self.core.catalog().read())
            .await?;
        Ok(rows > 0)
    }

    /// Returns the outcome of the collection of a run's log; `None` while the log is still to be fetched.
    pub async fn log_end(&self, upstream: &str, run: &str) -> Result<Option<LogEnd>> {
        let found: Option<(String, Option<String>)> =
            sqlx::query_as("SELECT state, problem FROM collected_runs WHERE upstream = $1 AND run_id = $2")
                .bind(upstream)
                .bind(run)
                .fetch_optional(self.core.catalog().read())
                .await?;
        Ok(match found.as_ref().map(|(state, problem)| (state.as_str(), problem)) {
            Some(("going" | "due", _)) => None,
            Some(("landed", _)) => Some(LogEnd::Complete),
            // The upstream lost the log before all of it was received: it stays incomplete.
            Some(("no_log", Some(_))) => None,
            Some(("no_log", None)) => Some(LogEnd::None),
            _ => Some(LogEnd::Gone),
        })
    }

    /// Records that all sinks that a rule found behind have caught up, except these.
    pub async fn mark_sinks_caught_up(&self, rule: &str, all_but: &[String]) -> Result<()> {
        let mut removing = Sql::new("DELETE FROM sinks_behind WHERE rule = ");
        removing.push_bind(rule.to_owned());
        if !all_but.is_empty() {
            removing.push(" AND sink NOT IN (").push_list(all_but.iter().cloned()).push(")");
        }
        removing.build_query().execute(self.core.catalog().write()).await?;
        Ok(())
    }
}

/// Returns runs, and the key after which the next page begins if the page is full.
fn page_of(rows: Vec<RunRow>, limit: u64, time: fn(&Run) -> Option<Timestamp>) -> Result<RunPage> {
    let runs = rows.into_iter().map(RunRow::into_run).collect::<Result<Vec<_>>>()?;
    let last = runs.last().filter(|_| runs.len() as u64 >= limit);
    let next = last.and_then(|run| Some((time(run)?, run.id)));
    Ok((runs, next))
}

/// Claims the alerts that are sent together with the first one of a message.
fn claiming_others(first: &ClaimedAlert, only_held: bool, now: Timestamp, lease_end: Timestamp) -> Sql {
    let mut claiming = Sql::new("UPDATE alerts SET attempts = attempts + 1, claimed_until = ");
    claiming.push_bind(lease_end.as_millis()).push(", sent_with = ").push_bind(first.sent_with().to_owned());
    claiming.push(" WHERE rule = ").push_bind(first.rule.clone());
    claiming.push(" AND destination = ").push_bind(first.destination.clone());
    claiming.push(" AND delivered_at IS NULL AND claimed_until < ").push_bind(now.as_millis());
    claiming.push(" AND occurrence IN (SELECT a.occurrence FROM alerts a WHERE a.delivered_at IS NULL");
    claiming.push(" AND a.rule = ").push_bind(first.rule.clone());
    claiming.push(" AND a.destination = ").push_bind(first.destination.clone());
    claiming.push(" AND a.subject = ").push_bind(first.subject.clone());
    claiming.push(" AND a.is_recovery = ").push_bind(first.is_recovery);
    claiming.push(" AND a.occurrence <> ").push_bind(first.occurrence.clone());
    match &first.sent_with {
        _ if planted::is("message-not-kept") => {}
        Some(sent_with) => _ = claiming.push(" AND a.sent_with = ").push_bind(sent_with.clone()),
        None => {
            claiming.push(" AND a.sent_with IS NULL AND (a.is_held = 0 OR a.due_at <= ");
            claiming.push_bind(now.as_millis()).push(")");
            if only_held {
                claiming.push(" AND a.is_held = 1");
            }
        }
    }
    claiming.push(format!(" AND {IS_IN_ORDER} ORDER BY a.noted_at, a.occurrence LIMIT "));
    claiming.push_bind(limits::ALERTS_TOGETHER_MAX.saturating_as::<i64>() - 1);
    claiming.push(") RETURNING ").push(CLAIMED);
    claiming
}

/// Locks a rule, so that no other node opens or ends its conditions concurrently: if two parts of a subject end at the
/// same time, exactly one of them is the last.
async fn lock_rule(transaction: &mut Connection, rule: &str) -> Result<()> {
    sqlx::query("UPDATE alert_rules SET since = since WHERE rule = $1").bind(rule).execute(transaction).await?;
    Ok(())
}

/// Returns true if the subject of an alert is open and ended several times within the last hour.
async fn is_repeated(transaction: &mut Connection, alert: &NewAlert, now: i64) -> Result<bool> {
    if alert.state.is_none() {
        return Ok(false);
    }
    lock_rule(transaction, &alert.rule).await?;
    let open: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM alert_states WHERE rule = $1 AND subject = $2")
        .bind(&alert.rule)
        .bind(&alert.subject)
        .fetch_one(&mut *transaction)
        .await?;
    if open == 0 {
        return Ok(false);
    }
    let ends: i64 = sqlx::query_scalar(ENDS)
        .bind(&alert.rule)
        .bind(&alert.subject)
        .bind(now - limits::ALERT_REPEAT_MS)
        .fetch_one(&mut *transaction)
        .await?;
    Ok(ends.saturating_as::<u64>() >= limits::ALERT_REPEATS_MAX)
}

/// Queues the end of a subject for a destination, if the subject was reported to that destination.
async fn queue_end(
    transaction: &mut Connection,
    state: &AlertState,
    body: &str,
    recovery: &Recovery,
    due_at: Option<Timestamp>,
    now: i64,
) -> Result<u64> {
    let told: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM alerts WHERE rule = $1 AND subject = $2 AND destination = $3 AND is_recovery = 0
            AND noted_at >= $4 AND outcome IS NULL AND (delivered_at IS NULL OR attempts > 0)",
    )
    .bind(&state.rule)
    .bind(&state.subject)
    .bind(&recovery.destination)
    .bind(state.since)
    .fetch_one(&mut *transaction)
    .await?;
    if told == 0 {
        return Ok(0);
    }
    let queued = sqlx::query(
        "INSERT INTO alerts (rule, destination, occurrence, body, noted_at, due_at, delivered_at, subject, is_recovery)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1) ON CONFLICT (rule, destination, occurrence) DO NOTHING",
    )
    .bind(&state.rule)
    .bind(&recovery.destination)
    .bind(format!("over {} since {}", state.subject, state.since))
    .bind(body)
    .bind(now)
    .bind(due_at.map_or(now, Timestamp::as_millis))
    .bind(recovery.is_muted.then_some(now))
    .bind(&state.subject)
    .execute(&mut *transaction)
    .await?;
    Ok(if recovery.is_muted { 0 } else { queued.rows_affected() })
}

impl AlertState {
    fn into_body(self) -> OpenAlertBody {
        let event: EventPart = serde_json::from_str(&self.body).unwrap_or_default();
        OpenAlertBody {
            what: event.what,
            text: event.text,
            run_id: event.run_id,
            task_id: event.task_id,
            problem_id: event.problem.map(|problem| problem.id),
            plan_execution_id: event.plan_execution_id,
            since: Timestamp::clamped(self.since),
            ended_at: self.ended_at.map(Timestamp::clamped),
        }
    }
}

impl RuleRow {
    fn into_body(self, now: i64) -> AlertRuleBody {
        let until = self.muted_until.filter(|until| *until > now);
        AlertRuleBody {
            name: self.rule,
            since: Timestamp::clamped(self.since),
            last_seen: self.seen_at.map(Timestamp::clamped),
            description: self.description.and_then(|text| serde_json::from_str(&text).ok()),
            delivered: self.delivered.saturating_as::<u64>(),
            refused: self.refused.saturating_as::<u64>(),
            open: Vec::new(),
            waiting: self.waiting.saturating_as::<u64>(),
            problem: self.problem,
            last_event: self.last_event.map(Timestamp::clamped),
            mute: until.map(|until| AlertMuteBody {
                until: (until != FOR_EVER).then(|| Timestamp::clamped(until)),
                by: self.muted_by.unwrap_or_default(),
                note: self.mute_note,
            }),
        }
    }
}

impl AlertRow {
    fn into_body(self) -> AlertBody {
        let event: EventPart = serde_json::from_str(&self.body).unwrap_or_default();
        let state = match self.delivered_at {
            None => Delivery::Waiting,
            Some(_) if self.outcome.as_deref() == Some(REFUSED) => Delivery::Refused,
            Some(_) if self.outcome.is_some() => Delivery::Dropped,
            Some(_) if self.attempts == 0 => Delivery::Muted,
            Some(_) => Delivery::Delivered,
        };
        AlertBody {
            rule: self.rule,
            destination: self.destination,
            what: event.what,
            text: event.text,
            run_id: event.run_id,
            task_id: event.task_id,
            problem_id: event.problem.map(|problem| problem.id),
            plan_execution_id: event.plan_execution_id,
            noted_at: Timestamp::clamped(self.noted_at),
            state,
            delivered_at: self.delivered_at.filter(|_| state == Delivery::Delivered).map(Timestamp::clamped),
            next_attempt: (state == Delivery::Waiting).then(|| Timestamp::clamped(self.due_at)),
            attempts: self.attempts.saturating_as::<u64>(),
            problem: self.problem,
        }
    }
}
