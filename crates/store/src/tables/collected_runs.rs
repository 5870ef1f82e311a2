//! The runs of upstreams, and the state of their collection. All collectors of an archive share them: a run is leased
//! to one collector at a time, and another collector takes it over when the lease expires.
//!
//! ```text
//! going ▸ due ▸ landed       going ▸ left_out ▸ due, when its log was not wanted and is wanted now
//!                            due ▸ no_log, when it has none, or no longer (with a problem)
//!                            going ▸ gone, when the upstream does not know it any more
//! ```
//!
//! The column `state` has these words; in code they are running, pending, excluded and missing.
//!
//! Callers pass times of the clock of their node. Times that determine what is done next (`due_at`, `metrics_due_at`,
//! `seen_at`, `looked_at`) are stored and compared by the clock of the catalog, so that nodes whose clocks differ agree
//! on them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};

use az::SaturatingAs;
use runlog_model::log_absence::{AbsenceFacts, UpstreamLog};
use runlog_model::wire::components::RunComponents;
use runlog_model::wire::overview::LogSetback;
use runlog_model::wire::push::FinishRun;
use runlog_model::{ExecutionStatus, LogAbsence, Run, RunId, Timestamp, planted};
use serde::Serialize;
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;
use sqlx_macros::FromRow;

use crate::catalog::sql::{Connection, Sql, changed_in_parts, storable};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::parts::{Collection, Workspaces};
use crate::tables::accounts::Caller;
use crate::tables::component_metrics;
use crate::tables::reported_plans::{PlanCollectionMetrics, join_plan};
use crate::tables::runs::{ReportedRun, fetch_to_change, finish_in, report_in};
use crate::tables::tenant_audit_logs::{self, AuditLogCollection};
use crate::{failpoint, limits};

/// Maximum number of runs that one query looks up.
const LOOKUP_BATCH: usize = 500;

/// Runs that can be claimed.
#[derive(Clone, Copy)]
struct ClaimableRuns {
    /// The condition on their state.
    condition: &'static str,
    /// The column with the time from which on they can be claimed.
    time: &'static str,
}

/// Ended runs whose logs are to be fetched.
const DUE: ClaimableRuns = ClaimableRuns { condition: "state = 'due'", time: "due_at" };

/// Running runs.
const RUNNING: ClaimableRuns = ClaimableRuns { condition: "state = 'going'", time: "looked_at" };

/// Ended runs whose component metrics are to be fetched.
const MEASURABLE: ClaimableRuns = ClaimableRuns { condition: "state IN ('landed', 'no_log')", time: "metrics_due_at" };

/// 1 if the upstream reports that a run is of a Route or Data Service, or that it has no log for that reason; otherwise
/// 0. The description is JSON without white space.
const IS_LONG_LIVED: &str = "CAST(CASE WHEN c.body LIKE '%\"executionKind\":\"ROUTE\"%'
    OR c.body LIKE '%\"executionKind\":\"DATA_SERVICE\"%' OR c.body LIKE '%\"logAbsence\":\"LONG_LIVED\"%'
    THEN 1 ELSE 0 END AS BIGINT)";

/// A run as an upstream lists it.
#[derive(Debug, Clone)]
pub struct UpstreamRun {
    /// The run.
    pub run_id: RunId,
    /// Its task, by the upstream's id.
    pub task_id: String,
    /// The state of its collection.
    pub progress: UpstreamRunState,
    /// Its status, in the upstream's words.
    pub status: String,
    /// When it was triggered.
    pub triggered_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The earliest time to fetch its log.
    pub due_at: Timestamp,
    /// The upstream's description of it, as JSON.
    pub body: String,
}

/// The state of the collection of a listed run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamRunState {
    /// The run has not ended.
    Running,
    /// The run has ended, and its log is to be fetched.
    Pending,
    /// The run has ended, and the settings exclude its log.
    Excluded,
}

/// The number of runs that [`Collection::upsert_runs`] added or changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UpsertCounts {
    /// Runs that were not known.
    pub new: u64,
    /// Runs that had been excluded because of their status and are pending now.
    pub included: u64,
}

/// A run of an upstream that is leased to a collector.
#[derive(Debug, Clone, FromRow)]
pub struct ClaimedRun {
    run_id: String,
    claim: String,
    /// The upstream's description of it, as JSON.
    pub body: String,
    /// How many attempts have failed.
    pub attempts: i64,
    /// Number of failed attempts in which the upstream answered that it has no log of the run.
    pub no_log_answers: i64,
}

/// A run of an upstream that the archive does not have, or has in an earlier state.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct UnrecordedRun {
    /// The run.
    pub run_id: String,
    /// The upstream's description of it, as JSON.
    pub body: String,
    due_at: i64,
}

/// A run of an upstream whose component metrics are to be fetched, leased to a collector.
#[derive(Debug, Clone, FromRow)]
pub struct ClaimedComponents {
    /// The run, with the failed attempts to fetch its component metrics.
    #[sqlx(flatten)]
    pub run: ClaimedRun,
    /// How many times its log was deleted.
    log_epoch: Option<i64>,
}

/// A log that has landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LandedLog {
    /// Its records.
    pub records: u64,
    /// Number of pages that it was received in.
    pub pages: u32,
    /// When the component metrics of the run are to be fetched; `None` if the settings exclude them.
    pub components_due_at: Option<Timestamp>,
}

/// A run of an upstream and its last attempt.
#[derive(Debug, Clone, FromRow, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectedRun {
    /// The run.
    pub run_id: String,
    /// Its task.
    pub task_id: String,
    /// Its status, in the upstream's words.
    pub status: String,
    /// When it ended. Unit: epoch milliseconds.
    pub finished_at: Option<i64>,
    /// When the next attempt is due. Unit: epoch milliseconds.
    pub due_at: i64,
    /// How many attempts have failed.
    pub attempts: i64,
    /// Why the last attempt failed.
    #[serde(rename = "problem")]
    #[sqlx(rename = "problem")]
    pub last_error: Option<String>,
    /// How many records the upstream counts, if it counts a different number than were received.
    pub expected: Option<i64>,
}

/// A run of an upstream whose log is in the archive.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct LandedRun {
    /// The run.
    pub run_id: String,
    /// Its task.
    pub task_id: String,
    /// Its status, in the upstream's words.
    pub status: String,
    /// When it ended. Unit: epoch milliseconds.
    pub finished_at: Option<i64>,
    /// When its log was stored. Unit: epoch milliseconds.
    pub landed_at: Option<i64>,
    /// Its records.
    pub records: i64,
    /// The pages that were fetched for it.
    pub pages: i64,
}

/// The state that a running collector reports.
#[derive(Debug, Clone, Default, PartialEq, Eq, FromRow, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectorHeartbeat {
    /// The host that it sends requests to.
    pub host: String,
    /// Its id, generated at its start.
    pub id: String,
    /// When it last reported. Unit: epoch milliseconds.
    pub seen_at: i64,
    /// Its share of the rate limit of the host. Unit: requests a minute; `None` without a limit.
    pub per_minute: Option<i64>,
    /// Number of requests that it may still send in this minute.
    pub requests_left: Option<i64>,
    /// Requests that it has sent.
    pub requests: i64,
    /// Number of them that were retries.
    pub repeated: i64,
    /// Number of them that were answered with 429.
    pub limited: i64,
}

/// The state of the collection of an upstream. Counts are numbers of runs unless stated otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectionMetrics {
    /// The upstream.
    pub upstream: String,
    /// All known runs.
    pub known: u64,
    /// Runs that have not ended.
    #[serde(rename = "going")]
    pub running: u64,
    /// Runs that have ended and whose logs are not in the archive yet.
    #[serde(rename = "waiting")]
    pub pending: u64,
    /// Pending runs whose last attempt failed.
    pub failing: u64,
    /// Failing runs whose log was received incompletely.
    pub incomplete: u64,
    /// Runs whose complete log is in the archive.
    pub landed: u64,
    /// Runs that have ended and have no log.
    pub no_log: u64,
    /// Number of them by reason.
    pub no_log_reasons: BTreeMap<LogAbsence, u64>,
    /// Runs that the upstream no longer has and whose end is unknown.
    #[serde(rename = "gone")]
    pub missing: u64,
    /// Runs that the settings exclude because of their status.
    #[serde(rename = "leftOut")]
    pub excluded: u64,
    /// Records of the landed runs.
    pub records: u64,
    /// Pages of the landed runs.
    pub pages: u64,
    /// When the oldest pending run ended. Unit: epoch milliseconds.
    pub waiting_since: Option<i64>,
    /// The time until which runs were listed. Unit: epoch milliseconds.
    pub listed_until: Option<i64>,
    /// Runs whose component metrics are still to be fetched.
    pub components_waiting: u64,
    /// Runs of these whose last attempt failed.
    pub components_failing: u64,
    /// Why one of those attempts failed.
    pub components_problem: Option<String>,
    /// Failed requests for data that collection can do without: descriptions of tasks, details of runs, and their
    /// history.
    pub details_failed: u64,
    /// When the last of them failed. Unit: epoch milliseconds.
    pub details_failed_at: Option<i64>,
    /// Why the last of them failed.
    pub details_problem: Option<String>,
    /// Its plan executions.
    #[serde(rename = "planExecutions")]
    pub plans: PlanCollectionMetrics,
    /// Its audit logs; absent if they were never collected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_logs: Option<AuditLogCollection>,
}

/// A failed attempt to collect a run.
#[derive(Debug, Clone)]
pub struct FailedAttempt {
    /// Why it failed.
    pub error: String,
    /// How many records the upstream counts, if it counts a different number than were received.
    pub expected: Option<u64>,
    /// When to retry.
    pub retry_at: Timestamp,
}

impl ClaimedRun {
    /// The id of the run.
    pub fn run_id(&self) -> Result<RunId> {
        self.run_id.parse().map_err(|_| Error::corrupt("the id of a collected run does not decode"))
    }
}

impl Collection {
    /// Inserts or updates listed runs. An excluded run becomes pending if the settings include it now; other ended runs
    /// are not changed.
    pub async fn upsert_runs(&self, upstream: &str, runs: &[UpstreamRun]) -> Result<UpsertCounts> {
        let now = self.core.catalog_now().await?.as_millis();
        let mut counts = UpsertCounts::default();
        for some in runs.chunks(LOOKUP_BATCH) {
            let mut due_times = Vec::with_capacity(some.len());
            for run in some {
                due_times.push(self.core.catalog_time(run.due_at).await?.as_millis());
            }
            let mut query = Sql::new("SELECT run_id, state FROM collected_runs WHERE upstream = ");
            query.push_bind(upstream.to_owned()).push(" AND run_id IN (");
            query.push_list(some.iter().map(|run| run.run_id.to_string())).push(")");
            let known: Vec<(String, String)> = query.build_query_as().fetch_all(self.core.catalog().read()).await?;
            let state_of = |run: &UpstreamRun| {
                let id = run.run_id.to_string();
                known.iter().find(|(known, _)| *known == id).map(|(_, state)| state.as_str())
            };
            let added = self
                .core
                .transact(|transaction| async {
                    let mut transaction = transaction;
                    let mut added = UpsertCounts::default();
                    for (run, due_at) in some.iter().zip(&due_times) {
                        match state_of(run) {
                            None => added.new += 1,
                            Some("going" | "gone") => {}
                            Some("left_out") if run.progress == UpstreamRunState::Pending => added.included += 1,
                            // Its log was already requested, regardless of its status in the list.
                            Some(_) => continue,
                        }
                        sqlx::query(
                    "INSERT INTO collected_runs (upstream, run_id, task_id, state, status, triggered_at, finished_at,
                            body, known_at, seen_at, due_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10)
                     ON CONFLICT (upstream, run_id) DO UPDATE SET state = excluded.state, status = excluded.status,
                            finished_at = excluded.finished_at, body = excluded.body, seen_at = excluded.seen_at,
                            due_at = excluded.due_at, problem = NULL
                     WHERE collected_runs.state IN ('going', 'gone')
                        OR collected_runs.state = 'left_out' AND excluded.state = 'due'",
                )
                .bind(upstream)
                .bind(run.run_id.to_string())
                .bind(&run.task_id)
                .bind(match run.progress {
                    UpstreamRunState::Running => "going",
                    UpstreamRunState::Pending => "due",
                    UpstreamRunState::Excluded => "left_out",
                })
                .bind(&run.status)
                .bind(run.triggered_at.map(Timestamp::as_millis))
                .bind(run.finished_at.map(Timestamp::as_millis))
                .bind(&run.body)
                .bind(now)
                .bind(*due_at)
                .execute(&mut *transaction)
                .await?;
                    }
                    transaction.commit().await?;
                    Ok(added)
                })
                .await?;
            counts.new += added.new;
            counts.included += added.included;
        }
        Ok(counts)
    }

    /// Returns at most `limit` running and pending runs after another one that are not in the archive, or are there in
    /// the state before their start or end.
    pub async fn unrecorded_runs(
        &self,
        upstream: &str,
        after: Option<&UnrecordedRun>,
        limit: u64,
    ) -> Result<Vec<UnrecordedRun>> {
        let (due_at, run_id) = after.map_or((i64::MIN, ""), |run| (run.due_at, &run.run_id));
        Ok(sqlx::query_as(
            // One subquery for each state, so that each is read in the order of an index.
            "SELECT run_id, body, due_at FROM (
                SELECT * FROM (SELECT c.run_id, c.body, c.due_at FROM collected_runs c LEFT JOIN runs r ON r.id = c.run_id
                    WHERE c.upstream = $1 AND c.state = 'going' AND (c.due_at, c.run_id) > ($2, $3)
                      AND (r.id IS NULL OR r.status = 'dispatching')
                    ORDER BY c.due_at, c.run_id LIMIT $4) going
                UNION ALL
                SELECT * FROM (SELECT c.run_id, c.body, c.due_at FROM collected_runs c LEFT JOIN runs r ON r.id = c.run_id
                    WHERE c.upstream = $1 AND c.state = 'due' AND (c.due_at, c.run_id) > ($2, $3)
                      AND (r.id IS NULL OR r.status IN ('dispatching', 'executing'))
                    ORDER BY c.due_at, c.run_id LIMIT $4) due) unrecorded
             ORDER BY due_at, run_id LIMIT $4",
        )
        .bind(upstream)
        .bind(due_at)
        .bind(run_id)
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?)
    }

    /// Stores runs as an upstream describes them, in one transaction; a run that has ended is not final before its log
    /// has landed. Returns the runs that belong to other tasks in the archive: those are not changed.
    ///
    /// `NotFound`: there is no such task.
    pub async fn record_reported(&self, reported: &[ReportedRun], by: &Caller) -> Result<Vec<RunId>> {
        if reported.is_empty() {
            return Ok(Vec::new());
        }
        let mut tasks = BTreeMap::new();
        for run in reported {
            let id = run.start.task_id;
            if let Entry::Vacant(unknown) = tasks.entry(id) {
                let task = Workspaces::new(&self.core).task(id).await?;
                unknown.insert(task.ok_or_else(|| Error::not_found(format!("there is no task {id}")))?);
            }
        }
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let mut of_others = Vec::new();
                for run in reported {
                    let task = &tasks[&run.start.task_id];
                    match report_in(&self.core, &mut transaction, task, run, by).await? {
                        true => join_plan(&mut transaction, &run.run_id.to_string()).await?,
                        false => of_others.push(run.run_id),
                    }
                }
                transaction.commit().await?;
                Ok(of_others)
            })
            .await
    }

    /// Returns at most `limit` runs that are recorded as running and were neither listed nor polled since a time, the
    /// longest first.
    pub async fn runs_to_poll(&self, upstream: &str, not_seen_since: Timestamp, limit: u64) -> Result<Vec<RunId>> {
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT run_id FROM collected_runs WHERE upstream = $1 AND state = 'going' AND seen_at < $2
             ORDER BY seen_at LIMIT $3",
        )
        .bind(upstream)
        .bind(self.core.catalog_time(not_seen_since).await?.as_millis())
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        let undecodable = |_| Error::corrupt("the id of a collected run does not decode");
        ids.iter().map(|id| id.parse().map_err(undecodable)).collect()
    }

    /// Records that a running run was polled and the upstream did not report its state: other runs are polled first the
    /// next time.
    pub async fn mark_polled(&self, upstream: &str, run_id: RunId) -> Result<()> {
        sqlx::query("UPDATE collected_runs SET seen_at = $3 WHERE upstream = $1 AND run_id = $2 AND state = 'going'")
            .bind(upstream)
            .bind(run_id.to_string())
            .bind(self.core.catalog_now().await?.as_millis())
            .execute(self.core.catalog().write())
            .await?;
        Ok(())
    }

    /// Marks a running run as missing because the upstream no longer has it. It is not polled again unless a list
    /// contains it.
    pub async fn mark_missing(&self, upstream: &str, run_id: RunId) -> Result<()> {
        sqlx::query(
            "UPDATE collected_runs SET state = 'gone', problem = 'the upstream does not know it any more'
             WHERE upstream = $1 AND run_id = $2 AND state = 'going'",
        )
        .bind(upstream)
        .bind(run_id.to_string())
        .execute(self.core.catalog().write())
        .await?;
        Ok(())
    }

    /// Claims the oldest pending run with a lease until `until`; `None` when no run is due.
    ///
    /// `Conflict`: the lease ended while it was taken, because this process was suspended.
    pub async fn claim_run(&self, upstream: &str, until: Timestamp) -> Result<Option<ClaimedRun>> {
        let due = (DUE, self.core.catalog_now().await?);
        self.claim_first(upstream, until, due, "run_id, claim, body, attempts, no_log_answers").await
    }

    /// Claims a running run whose log was last checked before a given time.
    ///
    /// `Conflict`: the lease ended while it was taken, because this process was suspended.
    pub async fn claim_running_run(
        &self,
        upstream: &str,
        until: Timestamp,
        looked_at_before: Timestamp,
    ) -> Result<Option<ClaimedRun>> {
        let running = (RUNNING, self.core.catalog_time(looked_at_before).await?);
        self.claim_first(upstream, until, running, "run_id, claim, body, attempts, no_log_answers").await
    }

    /// Claims the first run by a time, of the runs in a state whose time has passed by the clock of the catalog.
    async fn claim_first<R>(
        &self,
        upstream: &str,
        until: Timestamp,
        (ClaimableRuns { condition, time }, latest): (ClaimableRuns, Timestamp),
        returned: &'static str,
    ) -> Result<Option<R>>
    where
        R: for<'r> sqlx::FromRow<'r, AnyRow> + Send + Unpin,
    {
        let (lease_now, until) = (self.core.catalog_now().await?, self.core.catalog_time(until).await?);
        let mut claiming = Sql::new("UPDATE collected_runs SET claim = ");
        claiming
            .push_bind(self.core.random().uuid().to_string())
            .push(", claimed_until = ")
            .push_bind(until.as_millis());
        claiming.push(" WHERE upstream = ").push_bind(upstream.to_owned());
        claiming.push(format!(" AND run_id = (SELECT run_id FROM collected_runs WHERE {condition}"));
        claiming.push(" AND upstream = ").push_bind(upstream.to_owned());
        claiming.push(format!(" AND {time} <= ")).push_bind(latest.as_millis());
        claiming.push(" AND claimed_until < ").push_bind(lease_now.as_millis());
        claiming.push(format!(" ORDER BY {time} LIMIT 1")).push(self.core.catalog().skip_locked());
        claiming.push(") RETURNING ").push(returned);
        let claimed = claiming.build_query_as().fetch_optional(self.core.catalog().write()).await?;
        if claimed.is_some() {
            self.core.check_lease(until).await?;
        }
        Ok(claimed)
    }

    /// Releases the lease of a running run and records that its log was checked now.
    pub async fn release_checked(&self, upstream: &str, run: &ClaimedRun) -> Result<()> {
        sqlx::query(
            "UPDATE collected_runs SET claimed_until = 0, looked_at = $4
             WHERE upstream = $1 AND run_id = $2 AND claim = $3",
        )
        .bind(upstream)
        .bind(&run.run_id)
        .bind(&run.claim)
        .bind(self.core.catalog_now().await?.as_millis())
        .execute(self.core.catalog().write())
        .await?;
        Ok(())
    }

    /// Renews the lease of a run until `until`. Returns false when another collector holds it.
    pub async fn renew_lease(&self, upstream: &str, run: &ClaimedRun, until: Timestamp) -> Result<bool> {
        let done = sqlx::query(
            "UPDATE collected_runs SET claimed_until = $4 WHERE upstream = $1 AND run_id = $2 AND claim = $3",
        )
        .bind(upstream)
        .bind(&run.run_id)
        .bind(&run.claim)
        .bind(self.core.catalog_time(until).await?.as_millis())
        .execute(self.core.catalog().write())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Releases the lease of a run whose collection was not finished.
    pub async fn release(&self, upstream: &str, run: &ClaimedRun) -> Result<()> {
        sqlx::query("UPDATE collected_runs SET claimed_until = 0 WHERE upstream = $1 AND run_id = $2 AND claim = $3")
            .bind(upstream)
            .bind(&run.run_id)
            .bind(&run.claim)
            .execute(self.core.catalog().write())
            .await?;
        Ok(())
    }

    /// Ends the run in the archive and marks its log as complete, in one transaction, which also makes its component
    /// metrics due.
    ///
    /// `Conflict`: another collector holds the lease, or the run has ended with another status.
    pub async fn land(&self, upstream: &str, run: &ClaimedRun, finish: &FinishRun, log: LandedLog) -> Result<()> {
        self.end_run(upstream, run, finish, "landed", log, None).await
    }

    /// Ends the run in the archive and records that it has no log, in one transaction. Fails like
    /// [`land`](Self::land).
    pub async fn finish_without_log(
        &self,
        upstream: &str,
        run: &ClaimedRun,
        finish: &FinishRun,
        components_due_at: Option<Timestamp>,
    ) -> Result<()> {
        let log = LandedLog { records: 0, pages: 0, components_due_at };
        self.end_run(upstream, run, finish, "no_log", log, None).await
    }

    /// Ends the run in the archive with the part of its log that was received before the upstream lost the log, and
    /// records why it is incomplete, in one transaction. Fails like [`land`](Self::land).
    pub async fn finish_incomplete(
        &self,
        upstream: &str,
        run: &ClaimedRun,
        finish: &FinishRun,
        log: LandedLog,
        problem: &str,
    ) -> Result<()> {
        self.end_run(upstream, run, finish, "no_log", log, Some(problem)).await
    }

    async fn end_run(
        &self,
        upstream: &str,
        run: &ClaimedRun,
        finish: &FinishRun,
        state: &'static str,
        log: LandedLog,
        problem: Option<&str>,
    ) -> Result<()> {
        let components_due_at = match log.components_due_at {
            Some(due_at) => Some(self.core.catalog_time(due_at).await?),
            None => None,
        };
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                finish_in(&self.core, &mut transaction, run.run_id()?, finish).await?;
                join_plan(&mut transaction, &run.run_id).await?;
                let done = sqlx::query(
                    "UPDATE collected_runs SET state = $7, records = $4, pages = $5, landed_at = $6, claimed_until = 0,
                            problem = $9, expected = NULL, metrics_attempts = 0, metrics_problem = NULL,
                            metrics_due_at = CASE WHEN metrics_state = 'landed' THEN NULL ELSE CAST($8 AS BIGINT) END
                     WHERE upstream = $1 AND run_id = $2 AND claim = $3",
                )
                .bind(upstream)
                .bind(&run.run_id)
                .bind(&run.claim)
                .bind(log.records.saturating_as::<i64>())
                .bind(i64::from(log.pages))
                .bind(self.core.now().as_millis())
                .bind(state)
                .bind(components_due_at.map(Timestamp::as_millis))
                .bind(problem.map(storable))
                .execute(&mut *transaction)
                .await?;
                if done.rows_affected() == 0 && !planted::is("landed-without-the-lease") {
                    return Err(Error::conflict(format!("another collector has taken over run {}", run.run_id)));
                }
                transaction.commit().await
            })
            .await
    }

    /// Claims the run whose component metrics have been due for longest until a given time; `None` when none are due.
    ///
    /// `Conflict`: the lease ended while it was taken, because this process was suspended.
    pub async fn claim_components(&self, upstream: &str, until: Timestamp) -> Result<Option<ClaimedComponents>> {
        let measurable = (MEASURABLE, self.core.catalog_now().await?);
        let returned = "run_id, claim, body, metrics_attempts AS attempts, no_log_answers,
             (SELECT r.log_epoch FROM runs r WHERE r.id = collected_runs.run_id) AS log_epoch";
        self.claim_first(upstream, until, measurable, returned).await
    }

    /// Stores the component metrics of a run, or records that it has none, in one transaction. Returns false if they
    /// were not stored because the log was deleted since the claim.
    ///
    /// `Conflict`: another collector holds the lease. `Invalid`: they are too many.
    pub async fn land_components(
        &self,
        upstream: &str,
        claimed: &ClaimedComponents,
        components: Option<&RunComponents>,
    ) -> Result<bool> {
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let run_id = claimed.run.run_id()?;
                let run = fetch_to_change(&self.core, &mut transaction, run_id).await?;
                let log_epoch: Option<i64> = sqlx::query_scalar("SELECT log_epoch FROM runs WHERE id = $1")
                    .bind(&claimed.run.run_id)
                    .fetch_optional(&mut *transaction)
                    .await?;
                let is_current = log_epoch.is_some() && log_epoch == claimed.log_epoch;
                let wanted = components.filter(|_| is_current);
                if let (Some(components), Some(run)) = (wanted, &run) {
                    component_metrics::replace_in(&mut transaction, run, components, self.core.now()).await?;
                }
                let state = if wanted.is_some() { "landed" } else { "none" };
                self.end_components(&mut transaction, upstream, claimed, state, None).await?;
                failpoint::reach("components-before-rows");
                transaction.commit().await?;
                Ok(is_current)
            })
            .await
    }

    /// Records a failed attempt to fetch component metrics, to be repeated at a time.
    pub async fn record_components_failure(
        &self,
        upstream: &str,
        claimed: &ClaimedComponents,
        error: &str,
        retry_at: Timestamp,
    ) -> Result<()> {
        self.retry_components_later(upstream, claimed, error, retry_at, 1).await
    }

    /// Records why component metrics could not be fetched, if the reason is not in the run: the attempt does not count.
    pub async fn defer_components(
        &self,
        upstream: &str,
        claimed: &ClaimedComponents,
        error: &str,
        retry_at: Timestamp,
    ) -> Result<()> {
        self.retry_components_later(upstream, claimed, error, retry_at, 0).await
    }

    async fn retry_components_later(
        &self,
        upstream: &str,
        claimed: &ClaimedComponents,
        error: &str,
        retry_at: Timestamp,
        attempts: i64,
    ) -> Result<()> {
        sqlx::query(
            "UPDATE collected_runs SET metrics_attempts = metrics_attempts + $6, metrics_problem = $4,
                    metrics_due_at = $5, claimed_until = 0
             WHERE upstream = $1 AND run_id = $2 AND claim = $3",
        )
        .bind(upstream)
        .bind(&claimed.run.run_id)
        .bind(&claimed.run.claim)
        .bind(storable(error))
        .bind(self.core.catalog_time(retry_at).await?.as_millis())
        .bind(attempts)
        .execute(self.core.catalog().write())
        .await?;
        Ok(())
    }

    /// Records that the component metrics of a run are not fetched any more, and why.
    pub async fn give_up_components(&self, upstream: &str, claimed: &ClaimedComponents, error: &str) -> Result<()> {
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                self.end_components(&mut transaction, upstream, claimed, "given_up", Some(error)).await?;
                transaction.commit().await
            })
            .await
    }

    async fn end_components(
        &self,
        connection: &mut Connection,
        upstream: &str,
        claimed: &ClaimedComponents,
        state: &'static str,
        problem: Option<&str>,
    ) -> Result<()> {
        let done = sqlx::query(
            "UPDATE collected_runs SET metrics_state = $4, metrics_due_at = NULL, metrics_problem = $5,
                    claimed_until = 0
             WHERE upstream = $1 AND run_id = $2 AND claim = $3",
        )
        .bind(upstream)
        .bind(&claimed.run.run_id)
        .bind(&claimed.run.claim)
        .bind(state)
        .bind(problem.map(storable))
        .execute(connection)
        .await?;
        match done.rows_affected() {
            0 => Err(Error::conflict(format!("another collector has taken over run {}", claimed.run.run_id))),
            _ => Ok(()),
        }
    }

    /// Makes the component metrics due of the runs that ended since a given time and whose metrics were never wanted: an
    /// earlier version collected them, or the settings excluded metrics. Returns how many.
    pub async fn schedule_missing_components(&self, upstream: &str, since: Timestamp) -> Result<u64> {
        let now = self.core.catalog_now().await?.as_millis();
        let scheduling = || {
            sqlx::query(
                "UPDATE collected_runs SET metrics_due_at = $3 WHERE upstream = $1 AND run_id IN (
                     SELECT run_id FROM collected_runs
                     WHERE upstream = $1 AND state IN ('landed', 'no_log') AND metrics_state IS NULL
                        AND metrics_due_at IS NULL AND COALESCE(finished_at, triggered_at, known_at) >= $2 LIMIT $4)",
            )
            .bind(upstream)
            .bind(since.as_millis())
            .bind(now)
            .bind(limits::ROWS_CHANGED_TOGETHER)
            .execute(self.core.catalog().write())
        };
        changed_in_parts(scheduling).await
    }

    /// True if the component metrics of a run are still to be fetched.
    pub async fn components_are_due(&self, run_id: RunId) -> Result<bool> {
        let due: Option<i64> = sqlx::query_scalar(
            "SELECT CAST(1 AS BIGINT) FROM collected_runs WHERE run_id = $1
               AND (metrics_due_at IS NOT NULL OR state IN ('going', 'due')) LIMIT 1",
        )
        .bind(run_id.to_string())
        .fetch_optional(self.core.catalog().read())
        .await?;
        Ok(due.is_some())
    }

    /// Returns those of these runs whose complete log is in the archive.
    pub async fn landed_among(&self, upstream: &str, runs: &[RunId]) -> Result<Vec<RunId>> {
        let landed = self.among(upstream, runs, "state = 'landed'").await?;
        Ok(runs.iter().copied().filter(|run| landed.contains(run)).collect())
    }

    /// Returns which of these runs are known to have ended.
    pub async fn ended_among(&self, upstream: &str, runs: &[RunId]) -> Result<HashSet<RunId>> {
        self.among(upstream, runs, "state NOT IN ('going', 'gone')").await
    }

    /// Returns those of these runs for which a condition is true.
    async fn among(&self, upstream: &str, runs: &[RunId], condition: &'static str) -> Result<HashSet<RunId>> {
        let mut found = HashSet::new();
        for some in runs.chunks(LOOKUP_BATCH) {
            let mut query = Sql::new(format!("SELECT run_id FROM collected_runs WHERE {condition} AND upstream = "));
            query.push_bind(upstream.to_owned()).push(" AND run_id IN (");
            query.push_list(some.iter().map(ToString::to_string)).push(")");
            let ids: Vec<(String,)> = query.build_query_as().fetch_all(self.core.catalog().read()).await?;
            found.extend(ids.iter().filter_map(|(id,)| id.parse::<RunId>().ok()));
        }
        Ok(found)
    }

    /// Records a failed attempt.
    pub async fn record_failure(&self, upstream: &str, run: &ClaimedRun, attempt: &FailedAttempt) -> Result<()> {
        self.record_attempt(upstream, run, attempt, 0).await
    }

    /// Records an attempt in which the upstream answered that it has no log of the run.
    pub async fn record_no_log(&self, upstream: &str, run: &ClaimedRun, attempt: &FailedAttempt) -> Result<()> {
        self.record_attempt(upstream, run, attempt, 1).await
    }

    async fn record_attempt(
        &self,
        upstream: &str,
        run: &ClaimedRun,
        attempt: &FailedAttempt,
        no_log_answers: i64,
    ) -> Result<()> {
        sqlx::query(
            "UPDATE collected_runs SET attempts = attempts + 1, problem = $4, expected = $5, due_at = $6,
                    no_log_answers = no_log_answers + $7, claimed_until = 0
             WHERE upstream = $1 AND run_id = $2 AND claim = $3",
        )
        .bind(upstream)
        .bind(&run.run_id)
        .bind(&run.claim)
        .bind(storable(&attempt.error))
        .bind(attempt.expected.map(|expected| expected.saturating_as::<i64>()))
        .bind(self.core.catalog_time(attempt.retry_at).await?.as_millis())
        .bind(no_log_answers)
        .execute(self.core.catalog().write())
        .await?;
        Ok(())
    }

    /// Makes runs and plan executions due now that are scheduled after `latest`: no wait is that long, so that the
    /// clock was ahead when they were scheduled. Returns their number.
    pub async fn bring_forward(&self, upstream: &str, latest: Timestamp) -> Result<u64> {
        let (latest, now) = (self.core.catalog_time(latest).await?, self.core.catalog_now().await?);
        let mut runs = 0;
        for changing in [
            "UPDATE collected_runs SET due_at = $3 WHERE upstream = $1 AND state = 'due' AND due_at > $2",
            "UPDATE collected_runs SET metrics_due_at = $3 WHERE upstream = $1 AND metrics_due_at > $2",
            "UPDATE collected_plans SET due_at = $3 WHERE upstream = $1 AND due_at > $2",
        ] {
            let done = sqlx::query(changing)
                .bind(upstream)
                .bind(latest.as_millis())
                .bind(now.as_millis())
                .execute(self.core.catalog().write())
                .await?;
            runs += done.rows_affected();
        }
        Ok(runs)
    }

    /// Like [`retry`](Self::retry), for one run. Returns the number of runs: 0 if the run is not known, running or
    /// landed.
    pub async fn retry_run(&self, upstream: &str, run_id: RunId) -> Result<u64> {
        let now = self.core.catalog_now().await?.as_millis();
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let done = sqlx::query(
                    "UPDATE collected_runs SET state = CASE state WHEN 'gone' THEN 'going' ELSE 'due' END, due_at = $3
                     WHERE upstream = $1 AND run_id = $2 AND (state IN ('no_log', 'gone') OR state = 'due' AND problem IS NOT NULL)",
                )
                .bind(upstream)
                .bind(run_id.to_string())
                .bind(now)
                .execute(&mut *transaction)
                .await?;
                self.core.commit_change(transaction, Some(upstream)).await?;
                Ok(done.rows_affected())
            })
            .await
    }

    /// Returns the runs of an upstream whose logs landed, the latest first, and their total number.
    pub async fn landed_runs(&self, upstream: &str, limit: u64, offset: u64) -> Result<(Vec<LandedRun>, u64)> {
        let rows = sqlx::query_as(
            "SELECT run_id, task_id, status, finished_at, landed_at, records, pages FROM collected_runs
             WHERE upstream = $1 AND state = 'landed' ORDER BY landed_at DESC, run_id LIMIT $2 OFFSET $3",
        )
        .bind(upstream)
        .bind(limit.saturating_as::<i64>())
        .bind(offset.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        let total: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM collected_runs WHERE upstream = $1 AND state = 'landed'")
                .bind(upstream)
                .fetch_one(self.core.catalog().read())
                .await?;
        Ok((rows, total.saturating_as::<u64>()))
    }

    /// Makes the failed runs of an upstream, its runs without a log, its missing runs and its plan executions whose
    /// last attempt failed due immediately. Returns how many runs.
    pub async fn retry(&self, upstream: &str) -> Result<u64> {
        let now = self.core.catalog_now().await?.as_millis();
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let done = sqlx::query(
                    "UPDATE collected_runs SET state = CASE state WHEN 'gone' THEN 'going' ELSE 'due' END, due_at = $2
                     WHERE upstream = $1 AND (state IN ('no_log', 'gone') OR state = 'due' AND problem IS NOT NULL)",
                )
                .bind(upstream)
                .bind(now)
                .execute(&mut *transaction)
                .await?;
                sqlx::query(
                    "UPDATE collected_runs SET metrics_state = NULL, metrics_due_at = $2
                     WHERE upstream = $1 AND (metrics_due_at > $2 OR metrics_state = 'given_up')",
                )
                .bind(upstream)
                .bind(now)
                .execute(&mut *transaction)
                .await?;
                sqlx::query(
                    "UPDATE collected_plans SET state = 'going', due_at = $2, attempts = 0
                     WHERE upstream = $1 AND problem IS NOT NULL",
                )
                .bind(upstream)
                .bind(now)
                .execute(&mut *transaction)
                .await?;
                self.core.commit_change(transaction, Some(upstream)).await?;
                Ok(done.rows_affected())
            })
            .await
    }

    /// Records that a collector is running. Returns the running collectors of its host, including itself: those that
    /// reported in the last `life_ms` milliseconds.
    pub async fn heartbeat(&self, collector: &CollectorHeartbeat, life_ms: i64) -> Result<Vec<CollectorHeartbeat>> {
        let now = self.core.catalog_now().await?;
        sqlx::query(
            "INSERT INTO collectors (host, id, seen_at, per_minute, requests_left, requests, repeated, limited)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (host, id) DO UPDATE SET seen_at = excluded.seen_at, per_minute = excluded.per_minute,
                    requests_left = excluded.requests_left, requests = excluded.requests,
                    repeated = excluded.repeated, limited = excluded.limited",
        )
        .bind(&collector.host)
        .bind(&collector.id)
        .bind(now.as_millis())
        .bind(collector.per_minute)
        .bind(collector.requests_left)
        .bind(collector.requests)
        .bind(collector.repeated)
        .bind(collector.limited)
        .execute(self.core.catalog().write())
        .await?;
        sqlx::query("DELETE FROM collectors WHERE seen_at < $1")
            .bind(now.plus_millis(-limits::DAY_MS).as_millis())
            .execute(self.core.catalog().write())
            .await?;
        let mut at_work = self.collectors(life_ms).await?;
        at_work.retain(|other| other.host == collector.host);
        Ok(at_work)
    }

    /// Returns the collectors that reported in the last `life_ms` milliseconds.
    pub async fn collectors(&self, life_ms: i64) -> Result<Vec<CollectorHeartbeat>> {
        Ok(sqlx::query_as(
            "SELECT host, id, seen_at, per_minute, requests_left, requests, repeated, limited FROM collectors
             WHERE seen_at >= $1 ORDER BY host, id",
        )
        .bind(self.core.catalog_now().await?.plus_millis(-life_ms).as_millis())
        .fetch_all(self.core.catalog().read())
        .await?)
    }

    /// Removes a collector that has stopped.
    pub async fn remove_collector(&self, host: &str, id: &str) -> Result<()> {
        sqlx::query("DELETE FROM collectors WHERE host = $1 AND id = $2")
            .bind(host)
            .bind(id)
            .execute(self.core.catalog().write())
            .await?;
        Ok(())
    }

    /// Returns the time until which the runs of an upstream were listed.
    pub async fn listed_until(&self, upstream: &str) -> Result<Option<Timestamp>> {
        let until: Option<i64> = sqlx::query_scalar("SELECT listed_until FROM collected_windows WHERE upstream = $1")
            .bind(upstream)
            .fetch_optional(self.core.catalog().read())
            .await?;
        Ok(until.map(Timestamp::clamped))
    }

    /// Records the time until which the runs of an upstream were listed; a time earlier than the recorded one is
    /// ignored. The time is at most the current one, because the clock of a node may be ahead.
    pub async fn set_listed_until(&self, upstream: &str, until: Timestamp) -> Result<()> {
        let until = until.min(self.core.catalog_now().await?);
        sqlx::query(
            "INSERT INTO collected_windows (upstream, listed_until) VALUES ($1, $2)
             ON CONFLICT (upstream) DO UPDATE SET listed_until = excluded.listed_until
             WHERE collected_windows.listed_until < excluded.listed_until",
        )
        .bind(upstream)
        .bind(until.as_millis())
        .execute(self.core.catalog().write())
        .await?;
        Ok(())
    }

    /// Adds failed requests for data that collection can do without, with the reason of the last failure. Returns false
    /// if they were not counted because the runs of the upstream were never listed.
    pub async fn add_detail_failures(&self, upstream: &str, failures: u64, problem: &str) -> Result<bool> {
        let done = sqlx::query(
            "UPDATE collected_windows SET details_failed = details_failed + $2, details_failed_at = $3,
                    details_problem = $4
             WHERE upstream = $1",
        )
        .bind(upstream)
        .bind(failures.saturating_as::<i64>())
        .bind(self.core.catalog_now().await?.as_millis())
        .bind(storable(problem))
        .execute(self.core.catalog().write())
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Returns the upstreams whose runs have been listed at least once.
    pub async fn upstreams(&self) -> Result<Vec<String>> {
        let names = sqlx::query_scalar("SELECT upstream FROM collected_windows ORDER BY upstream");
        Ok(names.fetch_all(self.core.catalog().read()).await?)
    }

    /// Returns the state of the collection of an upstream.
    pub async fn metrics(&self, upstream: &str) -> Result<CollectionMetrics> {
        #[derive(FromRow)]
        struct Row {
            state: String,
            runs: i64,
            failing: i64,
            incomplete: i64,
            records: i64,
            pages: i64,
            since: Option<i64>,
        }
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT state, COUNT(*) AS runs, CAST(COUNT(problem) AS BIGINT) AS failing,
                    CAST(COUNT(expected) AS BIGINT) AS incomplete, CAST(SUM(records) AS BIGINT) AS records,
                    CAST(SUM(pages) AS BIGINT) AS pages, MIN(COALESCE(finished_at, triggered_at, known_at)) AS since
             FROM collected_runs WHERE upstream = $1 GROUP BY state",
        )
        .bind(upstream)
        .fetch_all(self.core.catalog().read())
        .await?;
        let (components_waiting, components_failing, components_problem): (i64, i64, Option<String>) = sqlx::query_as(
            "SELECT COUNT(*), CAST(COUNT(metrics_problem) AS BIGINT), MIN(metrics_problem) FROM collected_runs
             WHERE upstream = $1 AND metrics_due_at IS NOT NULL",
        )
        .bind(upstream)
        .fetch_one(self.core.catalog().read())
        .await?;
        let details: Option<(i64, Option<i64>, Option<String>)> = sqlx::query_as(
            "SELECT details_failed, details_failed_at, details_problem FROM collected_windows WHERE upstream = $1",
        )
        .bind(upstream)
        .fetch_optional(self.core.catalog().read())
        .await?;
        let (details_failed, details_failed_at, details_problem) = details.unwrap_or_default();
        let mut metrics = CollectionMetrics {
            upstream: upstream.to_owned(),
            listed_until: self.listed_until(upstream).await?.map(Timestamp::as_millis),
            components_waiting: components_waiting.saturating_as::<u64>(),
            components_failing: components_failing.saturating_as::<u64>(),
            components_problem,
            details_failed: details_failed.saturating_as::<u64>(),
            details_failed_at,
            details_problem,
            plans: self.plan_metrics(upstream).await?,
            audit_logs: tenant_audit_logs::collection_of(&self.core, upstream).await?,
            no_log_reasons: self.log_absences(upstream).await?,
            ..CollectionMetrics::default()
        };
        for row in rows {
            let runs = row.runs.saturating_as::<u64>();
            metrics.known += runs;
            match row.state.as_str() {
                "going" => metrics.running = runs,
                "landed" => {
                    metrics.landed = runs;
                    metrics.records = row.records.saturating_as::<u64>();
                    metrics.pages = row.pages.saturating_as::<u64>();
                }
                "no_log" => metrics.no_log = runs,
                "gone" => metrics.missing = runs,
                "left_out" => metrics.excluded = runs,
                _ => {
                    metrics.pending = runs;
                    metrics.failing = row.failing.saturating_as::<u64>();
                    metrics.incomplete = row.incomplete.saturating_as::<u64>();
                    metrics.waiting_since = row.since;
                }
            }
        }
        Ok(metrics)
    }

    /// Returns why a run has no log; `None` if its log may still arrive, or has records.
    pub async fn log_absence(&self, run: &Run) -> Result<Option<LogAbsence>> {
        absence_of(&self.core, run).await
    }

    /// Returns the number of runs of an upstream that have no log, by reason.
    pub async fn log_absences(&self, upstream: &str) -> Result<BTreeMap<LogAbsence, u64>> {
        #[derive(FromRow)]
        struct Row {
            status: String,
            misfired: i64,
            log_level: Option<String>,
            runtime: Option<String>,
            is_long_lived: i64,
            runs: i64,
        }
        // The runtime is JSON without white space. The query determines its kind, so that the runs of an engine are
        // grouped into one row.
        let kind = "CASE WHEN r.runtime LIKE '%\"type\":\"REMOTE_ENGINE%' THEN 'REMOTE_ENGINE' END";
        let is_long_lived = IS_LONG_LIVED;
        let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT r.execution_status AS status, CAST(CASE WHEN r.misfired_reason IS NULL THEN 0 ELSE 1 END AS BIGINT)
                    AS misfired, r.log_level AS log_level, {kind} AS runtime, {is_long_lived} AS is_long_lived,
                    COUNT(*) AS runs
             FROM collected_runs c JOIN runs r ON r.id = c.run_id
             WHERE c.upstream = $1 AND c.state = 'no_log' AND r.records = 0
             GROUP BY r.execution_status, CASE WHEN r.misfired_reason IS NULL THEN 0 ELSE 1 END, r.log_level, {kind},
                {is_long_lived}"
        )))
        .bind(upstream)
        .fetch_all(self.core.catalog().read())
        .await?;
        let mut absences = BTreeMap::new();
        for row in rows {
            let kind = row.runtime.and_then(|kind| kind.parse().ok());
            let status: Option<ExecutionStatus> = row.status.parse().ok();
            let facts = AbsenceFacts {
                did_not_start: row.misfired != 0 || status == Some(ExecutionStatus::DeployFailed),
                log_level: row.log_level.as_deref(),
                kind,
                is_long_lived: row.is_long_lived != 0,
            };
            let absence = LogAbsence::from_facts(facts, Some(UpstreamLog::None));
            *absences.entry(absence).or_insert(0) += row.runs.saturating_as::<u64>();
        }
        Ok(absences)
    }

    /// Returns why the log of a run is incomplete, if a collector's last attempt failed, or, of a run that is final in the
    /// archive, if the upstream lost the log before all of it was received.
    pub async fn last_failure(&self, run_id: RunId, is_final: bool) -> Result<Option<LogSetback>> {
        let row: Option<(String, String, Option<i64>, i64)> = sqlx::query_as(
            "SELECT upstream, problem, expected, due_at FROM collected_runs
             WHERE upstream IN (SELECT upstream FROM collected_windows) AND run_id = $1 AND state = $2
               AND problem IS NOT NULL
             ORDER BY upstream LIMIT 1",
        )
        .bind(run_id.to_string())
        .bind(if is_final { "no_log" } else { "due" })
        .fetch_optional(self.core.catalog().read())
        .await?;
        Ok(row.map(|(upstream, problem, expected, due_at)| LogSetback {
            upstream,
            problem,
            expected: expected.map(|expected| expected.saturating_as::<u64>()),
            again_at: (!is_final).then(|| Timestamp::clamped(due_at)),
        }))
    }

    /// Returns the upstream from which the log of a run, or the rest of it, is still to be collected.
    pub async fn awaited_from(&self, run_id: RunId) -> Result<Option<String>> {
        Ok(sqlx::query_scalar(
            "SELECT upstream FROM collected_runs
             WHERE upstream IN (SELECT upstream FROM collected_windows) AND run_id = $1 AND state IN ('going', 'due')
             ORDER BY upstream LIMIT 1",
        )
        .bind(run_id.to_string())
        .fetch_optional(self.core.catalog().read())
        .await?)
    }

    /// Returns at most `limit` runs of an upstream whose last attempt failed, the longest waiting first.
    pub async fn failing_runs(&self, upstream: &str, limit: u64) -> Result<Vec<CollectedRun>> {
        Ok(sqlx::query_as(
            "SELECT run_id, task_id, status, finished_at, due_at, attempts, problem, expected FROM collected_runs
             WHERE upstream = $1 AND state = 'due' AND problem IS NOT NULL ORDER BY due_at LIMIT $2",
        )
        .bind(upstream)
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?)
    }
}

/// Returns why a run has no log; `None` if its log may still arrive, or has records.
pub(crate) async fn absence_of(core: &Core, run: &Run) -> Result<Option<LogAbsence>> {
    if run.records > 0 || run.final_since.is_none() {
        return Ok(None);
    }
    let found: Option<(String, i64)> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT c.state, {IS_LONG_LIVED} FROM collected_runs c WHERE c.run_id = $1 AND c.state IN ('no_log', 'landed')
         ORDER BY c.state LIMIT 1"
    )))
    .bind(run.id.to_string())
    .fetch_optional(core.catalog().read())
    .await?;
    let (state, is_long_lived) = found.unzip();
    let upstream = state.map(|state| if state == "no_log" { UpstreamLog::None } else { UpstreamLog::Empty });
    Ok(Some(LogAbsence::of(run, is_long_lived == Some(1), upstream)))
}
