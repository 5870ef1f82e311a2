//! Alerts: what somebody is to be told of, and whether they were.
//!
//! An occurrence is noted once for each rule and destination, however many nodes see it; one node at a time has it in
//! its hands; it stays until it is delivered. Between the sending and the note of it a node may die: then it is sent
//! again, under the same occurrence, by which the receiver can tell.

use az::SaturatingAs;
use runlog_model::{Run, TaskId, Timestamp};
use sqlx::{AssertSqlSafe, FromRow};

use crate::catalog::columns::instant;
use crate::catalog::sql::Sql;
use crate::error::{Error, Result};
use crate::limits;
use crate::parts::Alerts;
use crate::tables::runs::RunRow;
use crate::tables::sinks::DUE_SINCE;

/// An occurrence to be told at one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAlert {
    /// The rule that says so.
    pub rule: String,
    /// Where it is told.
    pub destination: String,
    /// What happened: the same text for the same occurrence.
    pub occurrence: String,
    /// What is told, as JSON.
    pub body: String,
}

/// An alert in the hands of this node.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct ClaimedAlert {
    /// The rule that says so.
    pub rule: String,
    /// Where it is told.
    pub destination: String,
    /// What happened.
    pub occurrence: String,
    /// What is told, as JSON.
    pub body: String,
    /// How often it was tried, this time included.
    pub attempts: i64,
}

/// How many alerts a destination has waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertBacklog {
    /// The destination.
    pub destination: String,
    /// Alerts that are not delivered yet.
    pub waiting: u64,
    /// When the oldest of them was noted.
    pub oldest: Timestamp,
    /// Why an attempt came to nothing, when one did.
    pub last_error: Option<String>,
}

/// A run of an upstream whose log did not come whole.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct IncompleteRun {
    /// The upstream.
    pub upstream: String,
    /// The run.
    pub run_id: String,
    /// Its task.
    pub task_id: String,
    /// How often it was tried.
    pub attempts: i64,
    /// Why it is not whole.
    #[sqlx(rename = "problem")]
    pub last_error: String,
}

/// A sink that is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkLag {
    /// The sink.
    pub sink: String,
    /// Runs that are due there.
    pub waiting: u64,
    /// Since when the longest waiting of them has been due.
    pub since: Timestamp,
    /// Why an attempt came to nothing, when one did.
    pub last_error: Option<String>,
}

impl Alerts {
    /// Since when a rule is known; from now on, when it was not.
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

    /// Notes occurrences; those that are known are left as they are. How many are new.
    pub async fn enqueue(&self, alerts: &[NewAlert]) -> Result<u64> {
        let now = self.core.now().as_millis();
        let mut transaction = self.core.catalog().begin().await?;
        let mut new = 0;
        for alert in alerts {
            let noted = sqlx::query(
                "INSERT INTO alerts (rule, destination, occurrence, body, noted_at, due_at)
                 VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (rule, destination, occurrence) DO NOTHING",
            )
            .bind(&alert.rule)
            .bind(&alert.destination)
            .bind(&alert.occurrence)
            .bind(&alert.body)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
            new += noted.rows_affected();
        }
        transaction.commit().await?;
        Ok(new)
    }

    /// Claims an alert for a destination that is due; none when none is.
    pub async fn claim(&self, destination: &str) -> Result<Option<ClaimedAlert>> {
        let (now, lease_now) = (self.core.now(), self.core.catalog_now().await?);
        let mut claiming = Sql::new("UPDATE alerts SET attempts = attempts + 1, claimed_until = ");
        claiming.push_bind(lease_now.plus_millis(limits::ALERT_LEASE_MS).as_millis());
        claiming.push(" WHERE (rule, destination, occurrence) IN (SELECT rule, destination, occurrence FROM alerts");
        claiming.push(" WHERE delivered_at IS NULL AND due_at <= ").push_bind(now.as_millis());
        claiming.push(" AND claimed_until < ").push_bind(lease_now.as_millis());
        claiming.push(" AND destination = ").push_bind(destination.to_owned());
        claiming.push(" ORDER BY due_at LIMIT 1").push(self.core.catalog().skip_locked());
        claiming.push(") RETURNING rule, destination, occurrence, body, attempts");
        Ok(claiming.build_query_as().fetch_optional(self.core.catalog().write()).await?)
    }

    /// Notes that an alert was delivered. What its destination did not take before is due at once: it is there again.
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

    /// Notes that an attempt came to nothing, and when the next one is.
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

    /// What waits at each destination; those with nothing waiting are left out.
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

    /// Forgets alerts that were delivered long ago.
    pub async fn delete_delivered(&self) -> Result<u64> {
        let before = self.core.now().plus_millis(-limits::ALERT_RETENTION_MS).as_millis();
        let forgotten = sqlx::query("DELETE FROM alerts WHERE delivered_at < $1")
            .bind(before)
            .execute(self.core.catalog().write())
            .await?;
        Ok(forgotten.rows_affected())
    }

    /// The runs that the archive learned to be final since then, in the order in which it did, at most so many.
    pub async fn runs_ended_since(&self, since: Timestamp, limit: u64) -> Result<Vec<Run>> {
        let rows: Vec<RunRow> =
            sqlx::query_as("SELECT * FROM runs WHERE final_since >= $1 ORDER BY final_since, id LIMIT $2")
                .bind(since.as_millis())
                .bind(limit.saturating_as::<i64>())
                .fetch_all(self.core.catalog().read())
                .await?;
        rows.into_iter().map(RunRow::into_run).collect()
    }

    /// The runs that go on and began before then, the longest first, at most so many.
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

    /// The tasks whose last run was asked for between these times, by task.
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

    /// Runs of upstreams whose last attempt brought other records than the upstream counts, at most so many.
    pub async fn incomplete_runs(&self, limit: u64) -> Result<Vec<IncompleteRun>> {
        Ok(sqlx::query_as(
            "SELECT upstream, run_id, task_id, attempts, COALESCE(problem, '') AS problem FROM collected_runs
             WHERE state = 'due' AND expected IS NOT NULL AND attempts > 0 ORDER BY upstream, run_id LIMIT $1",
        )
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?)
    }

    /// What is due at each sink; sinks with nothing due, or only what has yet to settle, are left out.
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

    /// Since when a rule finds a sink behind; from now on, when it did not.
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

    /// Notes that all sinks have caught up which a rule found behind, but these.
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
