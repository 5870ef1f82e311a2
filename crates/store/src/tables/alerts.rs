//! Alerts: occurrences to report, and whether they were delivered.
//!
//! An occurrence is stored once per rule and destination, however many nodes find it. One node at a time holds the
//! lease of an alert, and the alert stays until it is delivered. If a node stops between sending an alert and
//! recording that, the alert is sent again under the same occurrence, so that the receiver can recognise it.

use az::SaturatingAs;
use runlog_model::wire::alerts::{
    AlertBody, AlertMuteBody, AlertRuleBody, AlertRuleDescription, AlertState, NewAlertMute,
};
use runlog_model::wire::problems::NOTE_CHARS_MAX;
use runlog_model::{Run, TaskId, Timestamp};
use serde::Deserialize;
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;

use crate::catalog::columns::instant;
use crate::catalog::sql::{Sql, storable};
use crate::error::{Error, Result};
use crate::limits;
use crate::parts::Alerts;
use crate::tables::runs::RunRow;
use crate::tables::sinks::DUE_SINCE;

/// An alert to be queued for one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAlert {
    /// The rule that found it.
    pub rule: String,
    /// Where it is sent.
    pub destination: String,
    /// What happened: the same text for the same occurrence.
    pub occurrence: String,
    /// The message, as JSON.
    pub body: String,
    /// True if it is not sent, now or later: that it happened is recorded as if it had been delivered.
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
    /// How many attempts were made, including this one.
    pub attempts: i64,
}

/// The alerts that wait for one destination.
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

/// A run of an upstream whose log was not collected completely.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct IncompleteRun {
    /// The upstream.
    pub upstream: String,
    /// The run.
    pub run_id: String,
    /// Its task.
    pub task_id: String,
    /// How many attempts were made.
    pub attempts: i64,
    /// Why the log is incomplete.
    #[sqlx(rename = "problem")]
    pub last_error: String,
}

/// A sink with pending deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkLag {
    /// The sink.
    pub sink: String,
    /// Pending runs.
    pub waiting: u64,
    /// Since when the oldest of them has been pending.
    pub since: Timestamp,
    /// Why the last attempt failed, if one failed.
    pub last_error: Option<String>,
}

/// Which alerts a list has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// Alerts of this rule.
    pub rule: Option<String>,
    /// Alerts in this state.
    pub state: Option<AlertState>,
    /// Most alerts to return.
    pub limit: u64,
    /// How many alerts to skip.
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
}

/// What the message of an alert says of its event.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EventPart {
    what: String,
    text: String,
    run_id: Option<runlog_model::RunId>,
    task_id: Option<TaskId>,
}

/// A mute without an end.
const FOR_EVER: i64 = i64::MAX;

/// An alert that was recorded as delivered without an attempt was not sent.
const IS_MUTED: &str = "delivered_at IS NOT NULL AND attempts = 0";

impl Alerts {
    /// Records what a rule reports and to whom, and that its events are searched for.
    pub async fn describe_rule(&self, rule: &str, description: &AlertRuleDescription) -> Result<()> {
        let description = serde_json::to_string(description).map_err(|error| Error::invalid(error.to_string()))?;
        sqlx::query("UPDATE alert_rules SET description = $2, seen_at = $3 WHERE rule = $1")
            .bind(rule)
            .bind(storable(&description))
            .bind(self.core.now().as_millis())
            .execute(self.core.catalog().write())
            .await?;
        Ok(())
    }

    /// Returns every rule that was ever seen, by name.
    pub async fn rules(&self) -> Result<Vec<AlertRuleBody>> {
        let rows: Vec<RuleRow> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT r.rule, r.since, r.seen_at, r.description, r.muted_until, r.muted_by, r.mute_note,
                    CAST(COALESCE(SUM(CASE WHEN a.delivered_at IS NOT NULL AND a.attempts > 0 THEN 1 ELSE 0 END), 0)
                         AS BIGINT) AS delivered,
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
        let now = self.core.now().as_millis();
        Ok(rows.into_iter().map(|row| row.into_body(now)).collect())
    }

    /// Returns alerts, the newest first, and how many there are in total. Delivered ones are kept for a month.
    pub async fn history(&self, filter: &AlertFilter) -> Result<(Vec<AlertBody>, u64)> {
        let conditions = |query: &mut Sql| {
            query.push(" WHERE 1 = 1");
            if let Some(rule) = &filter.rule {
                query.push(" AND rule = ").push_bind(rule.clone());
            }
            match filter.state {
                None => {}
                Some(AlertState::Waiting) => {
                    query.push(" AND delivered_at IS NULL");
                }
                Some(AlertState::Delivered) => {
                    query.push(" AND delivered_at IS NOT NULL AND attempts > 0");
                }
                Some(AlertState::Muted) => {
                    query.push(format!(" AND {IS_MUTED}"));
                }
            }
        };
        let mut listing =
            Sql::new("SELECT rule, destination, body, noted_at, due_at, attempts, delivered_at, problem FROM alerts");
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

    /// Mutes a rule, or with `None` ends its mute. What a muted rule finds is recorded, but not sent, now or later; what
    /// was found before is still sent. `NotFound`: no such rule. `Invalid`: a time in the past, or a note that is too long
    /// or has control characters.
    pub async fn set_mute(&self, rule: &str, mute: Option<&NewAlertMute>, by: &str) -> Result<()> {
        let now = self.core.now();
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

    /// True if a rule is muted now.
    pub async fn is_muted(&self, rule: &str) -> Result<bool> {
        let until: Option<Option<i64>> = sqlx::query_scalar("SELECT muted_until FROM alert_rules WHERE rule = $1")
            .bind(rule)
            .fetch_optional(self.core.catalog().write())
            .await?;
        Ok(until.flatten().is_some_and(|until| until > self.core.now().as_millis()))
    }

    /// Returns when a rule was first seen; a new rule is recorded as first seen now.
    pub async fn rule_known_since(&self, rule: &str) -> Result<Timestamp> {
        sqlx::query("INSERT INTO alert_rules (rule, since) VALUES ($1, $2) ON CONFLICT (rule) DO NOTHING")
            .bind(rule)
            .bind(self.core.now().as_millis())
            .execute(self.core.catalog().write())
            .await?;
        let since: i64 = sqlx::query_scalar("SELECT since FROM alert_rules WHERE rule = $1")
            .bind(rule)
            .fetch_one(self.core.catalog().write())
            .await?;
        instant(since)
    }

    /// Queues alerts and returns how many are new and to be sent. Known occurrences stay as they are.
    pub async fn enqueue(&self, alerts: &[NewAlert]) -> Result<u64> {
        let now = self.core.now().as_millis();
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let mut new = 0;
                for alert in alerts {
                    let noted = sqlx::query(
                        "INSERT INTO alerts (rule, destination, occurrence, body, noted_at, due_at, delivered_at)
                         VALUES ($1, $2, $3, $4, $5, $5, $6) ON CONFLICT (rule, destination, occurrence) DO NOTHING",
                    )
                    .bind(&alert.rule)
                    .bind(&alert.destination)
                    .bind(&alert.occurrence)
                    .bind(&alert.body)
                    .bind(now)
                    .bind(alert.is_muted.then_some(now))
                    .execute(&mut *transaction)
                    .await?;
                    new += if alert.is_muted { 0 } else { noted.rows_affected() };
                }
                transaction.commit().await?;
                Ok(new)
            })
            .await
    }

    /// Claims an alert that is due for a destination; `None` when there is none.
    pub async fn claim(&self, destination: &str) -> Result<Option<ClaimedAlert>> {
        let (now, lease_now) = (self.core.now(), self.core.catalog_now().await?);
        let mut claiming = Sql::new("UPDATE alerts SET attempts = attempts + 1, claimed_until = ");
        claiming.push_bind(lease_now.plus_millis(limits::ALERT_LEASE_MS).as_millis());
        // `=` and not `IN`: PostgreSQL may run what stands after `IN` more than once, and claim more than one.
        claiming.push(" WHERE (rule, destination, occurrence) = (SELECT rule, destination, occurrence FROM alerts");
        claiming.push(" WHERE delivered_at IS NULL AND due_at <= ").push_bind(now.as_millis());
        claiming.push(" AND claimed_until < ").push_bind(lease_now.as_millis());
        claiming.push(" AND destination = ").push_bind(destination.to_owned());
        claiming.push(" ORDER BY due_at LIMIT 1").push(self.core.catalog().skip_locked());
        claiming.push(") RETURNING rule, destination, occurrence, body, attempts");
        Ok(claiming.build_query_as().fetch_optional(self.core.catalog().write()).await?)
    }

    /// Marks an alert as delivered. The failed alerts of its destination become due at once, because it accepts
    /// alerts again.
    pub async fn mark_delivered(&self, alert: &ClaimedAlert) -> Result<()> {
        let now = self.core.now().as_millis();
        sqlx::query(
            "UPDATE alerts SET delivered_at = $4, problem = NULL
             WHERE rule = $1 AND destination = $2 AND occurrence = $3",
        )
        .bind(&alert.rule)
        .bind(&alert.destination)
        .bind(&alert.occurrence)
        .bind(now)
        .execute(self.core.catalog().write())
        .await?;
        sqlx::query(
            "UPDATE alerts SET due_at = $2 WHERE destination = $1 AND delivered_at IS NULL AND problem IS NOT NULL
                    AND due_at > $2",
        )
        .bind(&alert.destination)
        .bind(now)
        .execute(self.core.catalog().write())
        .await?;
        Ok(())
    }

    /// Records a failed attempt, and when to retry.
    pub async fn record_failure(&self, alert: &ClaimedAlert, problem: &str, again_at: Timestamp) -> Result<()> {
        sqlx::query(
            "UPDATE alerts SET due_at = $4, claimed_until = 0, problem = $5
             WHERE rule = $1 AND destination = $2 AND occurrence = $3 AND delivered_at IS NULL",
        )
        .bind(&alert.rule)
        .bind(&alert.destination)
        .bind(&alert.occurrence)
        .bind(again_at.as_millis())
        .bind(problem)
        .execute(self.core.catalog().write())
        .await?;
        Ok(())
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

    /// Deletes alerts that were delivered more than [`limits::ALERT_RETENTION_MS`] ago. Returns how many.
    pub async fn delete_delivered(&self) -> Result<u64> {
        let before = self.core.now().plus_millis(-limits::ALERT_RETENTION_MS).as_millis();
        let forgotten = sqlx::query("DELETE FROM alerts WHERE delivered_at < $1")
            .bind(before)
            .execute(self.core.catalog().write())
            .await?;
        Ok(forgotten.rows_affected())
    }

    /// Returns at most `limit` runs that became final since then, in the order in which the archive learned of it.
    pub async fn runs_ended_since(&self, since: Timestamp, limit: u64) -> Result<Vec<Run>> {
        let rows: Vec<RunRow> =
            sqlx::query_as("SELECT * FROM runs WHERE final_since >= $1 ORDER BY final_since, id LIMIT $2")
                .bind(since.as_millis())
                .bind(limit.saturating_as::<i64>())
                .fetch_all(self.core.catalog().read())
                .await?;
        rows.into_iter().map(RunRow::into_run).collect()
    }

    /// Returns at most `limit` running runs that started before then, the longest first.
    pub async fn running_runs(&self, began_before: Timestamp, limit: u64) -> Result<Vec<Run>> {
        let rows: Vec<RunRow> = sqlx::query_as(
            "SELECT * FROM runs WHERE final_since IS NULL AND started_at < $1 ORDER BY started_at LIMIT $2",
        )
        .bind(began_before.as_millis())
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        rows.into_iter().map(RunRow::into_run).collect()
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

    /// Returns at most `limit` runs of upstreams whose last attempt received a different number of records than the
    /// upstream counts.
    pub async fn incomplete_runs(&self, limit: u64) -> Result<Vec<IncompleteRun>> {
        Ok(sqlx::query_as(
            "SELECT upstream, run_id, task_id, attempts, COALESCE(problem, '') AS problem FROM collected_runs
             WHERE state = 'due' AND expected IS NOT NULL AND attempts > 0 ORDER BY upstream, run_id LIMIT $1",
        )
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?)
    }

    /// Returns what is pending at each sink, without sinks that have nothing pending or only runs that have yet to
    /// settle.
    pub async fn sink_lags(&self) -> Result<Vec<SinkLag>> {
        let rows: Vec<(String, i64, i64, Option<String>)> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT sink, COUNT(*), MIN({DUE_SINCE}), MAX(problem) FROM deliveries
             WHERE state = 'due' AND {DUE_SINCE} <= $1 GROUP BY sink ORDER BY sink"
        )))
        .bind(self.core.now().as_millis())
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

    /// Returns since when a rule has found a sink behind; from now on, if it had not.
    pub async fn sink_behind_since(&self, rule: &str, sink: &str) -> Result<Timestamp> {
        sqlx::query(
            "INSERT INTO sinks_behind (rule, sink, since) VALUES ($1, $2, $3) ON CONFLICT (rule, sink) DO NOTHING",
        )
        .bind(rule)
        .bind(sink)
        .bind(self.core.now().as_millis())
        .execute(self.core.catalog().write())
        .await?;
        let since: i64 = sqlx::query_scalar("SELECT since FROM sinks_behind WHERE rule = $1 AND sink = $2")
            .bind(rule)
            .bind(sink)
            .fetch_one(self.core.catalog().write())
            .await?;
        instant(since)
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

impl RuleRow {
    fn into_body(self, now: i64) -> AlertRuleBody {
        let until = self.muted_until.filter(|until| *until > now);
        AlertRuleBody {
            name: self.rule,
            since: Timestamp::clamped(self.since),
            last_seen: self.seen_at.map(Timestamp::clamped),
            description: self.description.and_then(|text| serde_json::from_str(&text).ok()),
            delivered: self.delivered.saturating_as::<u64>(),
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
            None => AlertState::Waiting,
            Some(_) if self.attempts == 0 => AlertState::Muted,
            Some(_) => AlertState::Delivered,
        };
        AlertBody {
            rule: self.rule,
            destination: self.destination,
            what: event.what,
            text: event.text,
            run_id: event.run_id,
            task_id: event.task_id,
            noted_at: Timestamp::clamped(self.noted_at),
            state,
            delivered_at: self.delivered_at.filter(|_| state == AlertState::Delivered).map(Timestamp::clamped),
            next_attempt: (state == AlertState::Waiting).then(|| Timestamp::clamped(self.due_at)),
            attempts: self.attempts.saturating_as::<u64>(),
            problem: self.problem,
        }
    }
}
