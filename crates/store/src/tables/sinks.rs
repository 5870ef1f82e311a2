//! Sinks: which runs are delivered to them, the state of their deliveries, and their dead letters.

use std::collections::BTreeMap;

use az::SaturatingAs;
use runlog_model::{RunId, RunStatus, TimeRange};
use serde::Serialize;
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;

use crate::catalog::sql::{Sql, changed_in_parts, storable};
use crate::error::{Error, Result};
use crate::limits;
use crate::parts::Deliveries;

/// Since when a delivery has been pending. Nodes of earlier versions do not record it.
pub(crate) const DUE_SINCE: &str = "CASE WHEN due_since IS NULL OR done_at > due_since THEN due_at ELSE due_since END";

/// A finished run that a sink may want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedRun {
    /// The run.
    pub run_id: RunId,
    /// Its final status.
    pub status: RunStatus,
    /// The id of its task.
    pub task_id: String,
    /// The name of its task.
    pub task: String,
    /// The id of its workspace.
    pub workspace_id: String,
    /// The name of its workspace.
    pub workspace: String,
    /// The name of its environment.
    pub environment: String,
}

/// The state of the deliveries to a sink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkMetrics {
    /// The name of the sink.
    pub name: String,
    /// Its kind, such as `loki`.
    pub kind: String,
    /// Pending runs.
    pub due: u64,
    /// Pending runs whose last attempt failed.
    pub failing: u64,
    /// Delivered runs.
    pub done: u64,
    /// Runs that the sink refused as a whole.
    pub dead: u64,
    /// Records that it accepted.
    pub records: u64,
    /// Records that it refused and that were not sent again.
    pub refused: u64,
    /// Records that were filtered out because they are older than it accepts.
    pub too_old: u64,
    /// Since when the oldest pending run has been pending. Unit: epoch milliseconds.
    pub due_since: Option<i64>,
    /// How long that is. Unit: seconds; 0 when nothing is pending.
    pub lag_seconds: u64,
    /// When a deliverer last worked for it. Unit: epoch milliseconds.
    pub seen_at: i64,
    /// What blocks its deliveries.
    #[serde(rename = "problem")]
    pub last_error: Option<String>,
}

/// A delivery whose last attempt failed, or that the sink refused as a whole.
#[derive(Debug, Clone, FromRow, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailingDelivery {
    /// The run.
    pub run_id: String,
    /// `due` when it will be retried, `dead` when it will not.
    pub state: String,
    /// When the next attempt is due. Unit: epoch milliseconds.
    pub due_at: i64,
    /// How many attempts were made.
    pub attempts: i64,
    /// Why the last attempt failed.
    #[serde(rename = "problem")]
    #[sqlx(rename = "problem")]
    pub last_error: String,
}

/// A delivery of a run to a sink, finished or not.
#[derive(Debug, Clone, FromRow)]
pub struct RecentDelivery {
    /// The run.
    pub run_id: String,
    /// The name of its task.
    pub task_name: String,
    /// `due`, `done` or `dead`.
    pub state: String,
    /// When it was last finished. Unit: epoch milliseconds.
    pub done_at: Option<i64>,
    /// Records that the sink accepted, over all deliveries of this run.
    pub delivered: i64,
    /// How many attempts were made since the last success.
    pub attempts: i64,
    /// Why the last attempt failed.
    #[sqlx(rename = "problem")]
    pub last_error: Option<String>,
}

/// A record that a sink refused for good, or consecutive records that it refused for the same reason.
#[derive(Debug, Clone, FromRow, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Its run.
    pub run_id: String,
    /// The arrival number of the record, or of the first record.
    pub arrival: i64,
    /// Its time. Unit: epoch milliseconds.
    pub record_time: i64,
    /// The arrival number of the last record.
    pub last_arrival: i64,
    /// The time of the last. Unit: epoch milliseconds.
    pub last_time: i64,
    /// How many records were refused.
    pub records: i64,
    /// How many records were sent. When it is higher than `records`, the sink did not say which were refused.
    pub of_records: i64,
    /// Why the sink refused it.
    pub reason: String,
    /// When it refused them. Unit: epoch milliseconds.
    pub refused_at: i64,
}

#[derive(FromRow)]
struct FinishedRow {
    run_id: String,
    status: String,
    final_since: i64,
    task_id: String,
    task: String,
    workspace_id: String,
    workspace: String,
    environment: String,
}

impl Deliveries {
    /// Records that a deliverer works for a sink, and what blocks its deliveries, if anything does.
    pub async fn register_sink(&self, name: &str, kind: &str, problem: Option<&str>) -> Result<()> {
        sqlx::query(
            "INSERT INTO sinks (name, kind, seen_at, problem) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, seen_at = excluded.seen_at,
                    problem = excluded.problem",
        )
        .bind(name)
        .bind(kind)
        .bind(self.core.shared_now().as_millis())
        .bind(problem.map(storable))
        .execute(self.core.catalog().write())
        .await?;
        Ok(())
    }

    /// Records that a deliverer works for a sink, without changing what blocks its deliveries.
    pub async fn touch_sink(&self, name: &str) -> Result<()> {
        sqlx::query("UPDATE sinks SET seen_at = $2 WHERE name = $1")
            .bind(name)
            .bind(self.core.shared_now().as_millis())
            .execute(self.core.catalog().write())
            .await?;
        Ok(())
    }

    /// Makes deliveries of the runs that have settled since the last call and that `wanted` selects. Returns how
    /// many. A collected run counts as settled.
    ///
    /// For a new sink the whole archive is searched. The sink must have been registered.
    pub async fn enqueue_finished_runs(
        &self,
        sink: &str,
        wanted: impl Fn(&FinishedRun) -> bool + Send + Sync,
    ) -> Result<u64> {
        let cursor: Option<(i64, String)> =
            sqlx::query_as("SELECT offered_until, offered_run FROM sinks WHERE name = $1")
                .bind(sink)
                .fetch_optional(self.core.catalog().read())
                .await?;
        let Some(mut cursor) = cursor else {
            return Err(Error::not_found(format!("sink {sink} is not known")));
        };
        let settle_ms = self.core.settings().settle_ms;
        let now = self.core.catalog_now().await?.as_millis();
        // Runs may still end in the minutes before, in a transaction that took long. Those minutes are examined again.
        let certain = now - settle_ms - limits::FINISHED_RUNS_LOOKBACK_MS;
        let (mut stored, mut due) = (cursor.clone(), 0);
        loop {
            let rows: Vec<FinishedRow> = sqlx::query_as(
                "SELECT r.id AS run_id, r.status, r.final_since, r.task_id, t.name AS task, r.workspace_id,
                        w.name AS workspace, e.name AS environment
                 FROM runs r JOIN tasks t ON t.id = r.task_id JOIN workspaces w ON w.id = r.workspace_id
                             JOIN environments e ON e.id = w.environment_id
                 WHERE (r.final_since, r.id) > ($2, $3) AND (r.final_since <= $4 OR EXISTS (
                           SELECT 1 FROM collected_runs c WHERE c.run_id = r.id AND c.state = 'landed'))
                       AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.run_id = r.id AND d.sink = $1)
                 ORDER BY r.final_since, r.id LIMIT $5",
            )
            .bind(sink)
            .bind(cursor.0)
            .bind(&cursor.1)
            .bind(now - settle_ms)
            .bind(limits::ENQUEUE_RUNS_BATCH)
            .fetch_all(self.core.catalog().read())
            .await?;
            let is_last = rows.len().saturating_as::<i64>() < limits::ENQUEUE_RUNS_BATCH;
            if let Some(last) = rows.last() {
                cursor = (last.final_since, last.run_id.clone());
            }
            let rows = rows.into_iter().map(FinishedRow::into_finished_run).collect::<Result<Vec<_>>>()?;
            let wanted: Vec<&(FinishedRun, i64)> = rows.iter().filter(|(run, _)| wanted(run)).collect();
            due += wanted.len() as u64;
            let until = if cursor.0 < certain { cursor.clone() } else { (certain, String::new()) };
            let until = until.max(stored.clone());
            if self.enqueue(sink, &wanted, now, (&stored, &until)).await? {
                stored = until;
            }
            if is_last {
                return Ok(due);
            }
        }
    }

    /// Makes deliveries of runs due, and moves the position up to which runs were examined, in one transaction. Returns
    /// false, without a change, if the position has changed: it was set back, or another node has moved it.
    async fn enqueue(
        &self,
        sink: &str,
        runs: &[&(FinishedRun, i64)],
        now: i64,
        (before, until): (&(i64, String), &(i64, String)),
    ) -> Result<bool> {
        let settle_ms = self.core.settings().settle_ms;
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                if !runs.is_empty() {
                    let mut inserting = Sql::new(
                        "INSERT INTO deliveries (run_id, sink, state, final_since, due_at, due_since) VALUES ",
                    );
                    for (index, (run, final_since)) in runs.iter().enumerate() {
                        inserting.push(if index == 0 { "(" } else { ", (" }).push_bind(run.run_id.to_string());
                        inserting.push_next(sink.to_owned()).push(", 'due'").push_next(*final_since);
                        // The lag of a sink does not include the time before a run was offered to it.
                        inserting.push_next((final_since + settle_ms).min(now)).push_next(now).push(")");
                    }
                    inserting.push(" ON CONFLICT (run_id, sink) DO NOTHING");
                    inserting.build_query().execute(&mut *transaction).await?;
                }
                let moved = sqlx::query(
                    "UPDATE sinks SET offered_until = $2, offered_run = $3
                     WHERE name = $1 AND offered_until = $4 AND offered_run = $5",
                )
                .bind(sink)
                .bind(until.0)
                .bind(&until.1)
                .bind(before.0)
                .bind(&before.1)
                .execute(&mut *transaction)
                .await?;
                transaction.commit().await?;
                Ok(moved.rows_affected() == 1)
            })
            .await
    }

    /// Makes the next [`enqueue_finished_runs`](Self::enqueue_finished_runs) search the whole archive again. Runs
    /// that were delivered are not delivered again.
    pub async fn rescan_finished_runs(&self, sink: &str) -> Result<()> {
        // The ID, which no run has, distinguishes the position from that of a new sink, which another node may be examining.
        sqlx::query("UPDATE sinks SET offered_until = -9000000000000000000, offered_run = $2 WHERE name = $1")
            .bind(sink)
            .bind(self.core.random().uuid().to_string())
            .execute(self.core.catalog().write())
            .await?;
        Ok(())
    }

    /// Makes all runs and records that a sink refused or failed to accept due immediately. Returns the number of runs.
    ///
    /// Records are not sent again if the sink only said how many of a batch it refused, because it has most of them;
    /// [`retry_uncertain`](Self::retry_uncertain) includes them.
    pub async fn retry(&self, sink: &str) -> Result<u64> {
        self.retry_where(sink, "records = of_records").await
    }

    /// Like [`retry`](Self::retry), including all records of batches of which an unknown part was refused. The sink
    /// receives the others a second time, under the same ids.
    pub async fn retry_uncertain(&self, sink: &str) -> Result<u64> {
        self.retry_where(sink, "1 = 1").await
    }

    /// Like [`retry`](Self::retry), for one run. `NotFound`: no such sink, or no delivery of the run to it.
    pub async fn retry_run(&self, sink: &str, run_id: RunId) -> Result<u64> {
        self.check_sink(sink).await?;
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                sqlx::query(
                    "UPDATE dead_letters SET replay = 1 WHERE sink = $1 AND run_id = $2 AND records = of_records",
                )
                .bind(sink)
                .bind(run_id.to_string())
                .execute(&mut *transaction)
                .await?;
                let done = sqlx::query(
                    "UPDATE deliveries SET state = 'due', due_at = $3, attempts = 0,
                            due_since = CASE WHEN state = 'due' THEN due_since ELSE $3 END
                     WHERE sink = $1 AND run_id = $2 AND (state = 'dead' OR state = 'due' AND problem IS NOT NULL
                           OR run_id IN (SELECT run_id FROM dead_letters WHERE sink = $1 AND run_id = $2 AND replay = 1))",
                )
                .bind(sink)
                .bind(run_id.to_string())
                .bind(self.core.shared_now().as_millis())
                .execute(&mut *transaction)
                .await?;
                self.core.commit_change(transaction, Some(sink)).await?;
                Ok(done.rows_affected())
            })
            .await
    }

    /// Makes the whole logs of the runs due again that ended in a range of time and were delivered or refused. The sink
    /// receives their records a second time, under the same ids. Returns how many runs.
    pub async fn replay(&self, sink: &str, range: TimeRange) -> Result<u64> {
        self.check_sink(sink).await?;
        let (first, last) = (range.first_ms(), range.last_ms());
        let ended = "SELECT id FROM runs WHERE COALESCE(finished_at, final_since) BETWEEN $2 AND $3";
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                // They are sent again with the rest of their logs.
                sqlx::query(AssertSqlSafe(format!(
                    "DELETE FROM dead_letters WHERE sink = $1 AND run_id IN ({ended}) AND run_id IN (
                         SELECT run_id FROM deliveries WHERE sink = $1 AND state <> 'due')"
                )))
                .bind(sink)
                .bind(first)
                .bind(last)
                .execute(&mut *transaction)
                .await?;
                let done = sqlx::query(AssertSqlSafe(format!(
                    "UPDATE deliveries SET state = 'due', due_at = $4, due_since = $4, attempts = 0, problem = NULL,
                            first_arrival = 0, of_records = NULL, after_time = NULL, after_arrival = NULL, parts = 0
                     WHERE sink = $1 AND state <> 'due' AND run_id IN ({ended})"
                )))
                .bind(sink)
                .bind(first)
                .bind(last)
                .bind(self.core.shared_now().as_millis())
                .execute(&mut *transaction)
                .await?;
                self.core.commit_change(transaction, Some(sink)).await?;
                Ok(done.rows_affected())
            })
            .await
    }

    /// Returns the deliveries to a sink, the last finished first and the never finished last. `NotFound`: no such sink.
    pub async fn recent(&self, sink: &str, limit: u64, offset: u64) -> Result<(Vec<RecentDelivery>, u64)> {
        self.check_sink(sink).await?;
        let rows = sqlx::query_as(
            "SELECT d.run_id, t.name AS task_name, d.state, d.done_at, d.delivered, d.attempts, d.problem
             FROM deliveries d JOIN runs r ON r.id = d.run_id JOIN tasks t ON t.id = r.task_id
             WHERE d.sink = $1 ORDER BY COALESCE(d.done_at, 0) DESC, d.run_id LIMIT $2 OFFSET $3",
        )
        .bind(sink)
        .bind(limit.saturating_as::<i64>())
        .bind(offset.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        let total: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM deliveries WHERE sink = $1")
            .bind(sink)
            .fetch_one(self.core.catalog().read())
            .await?;
        Ok((rows, total.saturating_as::<u64>()))
    }

    async fn check_sink(&self, sink: &str) -> Result<()> {
        let known: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sinks WHERE name = $1")
            .bind(sink)
            .fetch_one(self.core.catalog().read())
            .await?;
        if known == 0 {
            return Err(Error::not_found(format!("there is no sink {sink}, or nothing was delivered to it yet")));
        }
        Ok(())
    }

    async fn retry_where(&self, sink: &str, which: &'static str) -> Result<u64> {
        self.check_sink(sink).await?;
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                sqlx::query(AssertSqlSafe(format!("UPDATE dead_letters SET replay = 1 WHERE sink = $1 AND {which}")))
                    .bind(sink)
                    .execute(&mut *transaction)
                    .await?;
                let done = sqlx::query(
                    "UPDATE deliveries SET state = 'due', due_at = $2, attempts = 0,
                            due_since = CASE WHEN state = 'due' THEN due_since ELSE $2 END
                     WHERE sink = $1 AND (state = 'dead' OR state = 'due' AND problem IS NOT NULL
                           OR run_id IN (SELECT run_id FROM dead_letters WHERE sink = $1 AND replay = 1))",
                )
                .bind(sink)
                .bind(self.core.shared_now().as_millis())
                .execute(&mut *transaction)
                .await?;
                self.core.commit_change(transaction, Some(sink)).await?;
                Ok(done.rows_affected())
            })
            .await
    }

    /// Deletes a sink and its deliveries. Returns false when it was not known.
    pub async fn remove_sink(&self, sink: &str) -> Result<bool> {
        let deleting = || {
            sqlx::query(
                "DELETE FROM deliveries WHERE sink = $1 AND run_id IN (
                     SELECT run_id FROM deliveries WHERE sink = $1 LIMIT $2)",
            )
            .bind(sink)
            .bind(limits::ROWS_CHANGED_TOGETHER)
            .execute(self.core.catalog().write())
        };
        changed_in_parts(deleting).await?;
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                for statement in [
                    "DELETE FROM dead_letters WHERE sink = $1",
                    "DELETE FROM deliveries WHERE sink = $1",
                    "DELETE FROM tenant_audit_dead_letters WHERE sink = $1",
                    "DELETE FROM tenant_audit_deliveries WHERE sink = $1",
                ] {
                    sqlx::query(statement).bind(sink).execute(&mut *transaction).await?;
                }
                let done =
                    sqlx::query("DELETE FROM sinks WHERE name = $1").bind(sink).execute(&mut *transaction).await?;
                transaction.commit().await?;
                Ok(done.rows_affected() == 1)
            })
            .await
    }

    /// Returns the state of the deliveries to each sink, by name.
    pub async fn metrics(&self) -> Result<Vec<SinkMetrics>> {
        #[derive(FromRow)]
        struct SinkRow {
            name: String,
            kind: String,
            seen_at: i64,
            problem: Option<String>,
        }
        #[derive(FromRow)]
        struct StateRow {
            sink: String,
            state: String,
            runs: i64,
            failing: i64,
            records: i64,
            too_old: i64,
            since: i64,
        }
        let read = self.core.catalog().read();
        let sinks: Vec<SinkRow> =
            sqlx::query_as("SELECT name, kind, seen_at, problem FROM sinks").fetch_all(read).await?;
        let states: Vec<StateRow> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT sink, state, COUNT(*) AS runs, CAST(COUNT(problem) AS BIGINT) AS failing,
                    CAST(SUM(delivered) AS BIGINT) AS records, CAST(SUM(too_old) AS BIGINT) AS too_old, MIN({DUE_SINCE}) AS since
             FROM deliveries GROUP BY sink, state"
        )))
        .fetch_all(read)
        .await?;
        let refused: Vec<(String, i64)> =
            sqlx::query_as("SELECT sink, CAST(SUM(records) AS BIGINT) FROM dead_letters GROUP BY sink")
                .fetch_all(read)
                .await?;
        let known = sinks.into_iter().map(|SinkRow { name, kind, seen_at, problem }| {
            (name.clone(), SinkMetrics { name, kind, seen_at, last_error: problem, ..SinkMetrics::default() })
        });
        let mut metrics: BTreeMap<String, SinkMetrics> = known.collect();
        for row in states {
            let Some(sink) = metrics.get_mut(&row.sink) else { continue };
            sink.records += row.records.saturating_as::<u64>();
            sink.too_old += row.too_old.saturating_as::<u64>();
            let runs = row.runs.saturating_as::<u64>();
            match row.state.as_str() {
                "done" => sink.done = runs,
                "dead" => sink.dead = runs,
                _ => {
                    // Deliveries that have yet to settle have no lag.
                    let (now, failing) = (self.core.shared_now().as_millis(), row.failing.saturating_as::<u64>());
                    let since = row.since.min(now);
                    (sink.due, sink.failing, sink.due_since) = (runs, failing, Some(since));
                    sink.lag_seconds = ((now - since) / 1_000).saturating_as::<u64>();
                }
            }
        }
        for (name, count) in refused {
            metrics.entry(name).and_modify(|sink| sink.refused = count.saturating_as::<u64>());
        }
        Ok(metrics.into_values().collect())
    }

    /// Returns at most `limit` unfinished deliveries to a sink whose last attempt failed, those that were given up
    /// first.
    pub async fn failing(&self, sink: &str, limit: u64) -> Result<Vec<FailingDelivery>> {
        Ok(sqlx::query_as(
            "SELECT run_id, state, due_at, attempts, problem FROM deliveries
             WHERE sink = $1 AND state <> 'done' AND problem IS NOT NULL ORDER BY state, due_at LIMIT $2",
        )
        .bind(sink)
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?)
    }

    /// Returns at most `limit` dead letters of a sink, by run and time.
    pub async fn dead_letters(&self, sink: &str, limit: u64) -> Result<Vec<DeadLetter>> {
        Ok(sqlx::query_as(
            "SELECT run_id, arrival, record_time, COALESCE(last_arrival, arrival) AS last_arrival,
                    COALESCE(last_time, record_time) AS last_time, records, of_records, reason, refused_at
             FROM dead_letters
             WHERE sink = $1 ORDER BY run_id, record_time, arrival LIMIT $2",
        )
        .bind(sink)
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?)
    }
}

impl FinishedRow {
    fn into_finished_run(self) -> Result<(FinishedRun, i64)> {
        let undecodable = |what: &str| Error::corrupt(format!("the {what} of run {} does not decode", self.run_id));
        let run = FinishedRun {
            run_id: self.run_id.parse().map_err(|_| undecodable("id"))?,
            status: self.status.parse().map_err(|_| undecodable("status"))?,
            task_id: self.task_id,
            task: self.task,
            workspace_id: self.workspace_id,
            workspace: self.workspace,
            environment: self.environment,
        };
        Ok((run, self.final_since))
    }
}
