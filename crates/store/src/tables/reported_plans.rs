//! Plan executions as upstreams describe them, the plans, and the state of their collection.
//!
//! ```text
//! listed ▸ due ▸ claimed ▸ one transaction: the report replaces the one before, and is due again until it has ended
//! ```
//!
//! Reports are about runs and not about their logs: like the runs, they stay when logs are deleted.

use az::SaturatingAs;
use runlog_model::plan_report::{self, Fields, PlanReport};
use runlog_model::{TaskId, Timestamp, WorkspaceId, hex};
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx_macros::FromRow;

use crate::catalog::filters::push_workspaces;
use crate::catalog::sql::{Connection, Sql, storable};
use crate::error::{Error, Result};
use crate::parts::{Collection, Plans};
use crate::{failpoint, limits};

/// A plan execution as an upstream lists it.
#[derive(Debug, Clone)]
pub struct ListedPlan {
    /// The execution.
    pub execution_id: String,
    /// The upstream's description of it, as JSON.
    pub body: String,
    /// What changes when the steps of the execution may have changed.
    pub fingerprint: String,
    /// The workspace, if the list was of one.
    pub workspace_id: Option<WorkspaceId>,
    /// When its steps are to be fetched.
    pub due_at: Timestamp,
}

/// A plan execution of an upstream that is leased to a collector.
#[derive(Debug, Clone, FromRow)]
pub struct ClaimedPlan {
    /// The execution.
    pub execution_id: String,
    claim: String,
    /// The upstream's description of it, as JSON.
    pub body: String,
    fingerprint: String,
    workspace_id: Option<String>,
    /// How many attempts have failed.
    pub attempts: i64,
}

/// The state of a plan execution of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanState {
    /// It has not ended, or is fetched once more: at this time.
    Running(Timestamp),
    /// It has ended.
    Landed,
    /// The upstream lists it, but no longer has its details.
    Missing,
}

/// The state of the collection of the plan executions of an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanCollectionMetrics {
    /// All known plan executions.
    pub known: u64,
    /// Those that have not ended.
    pub running: u64,
    /// Those whose last attempt failed.
    pub failing: u64,
    /// Those that were given up after all attempts failed.
    pub given_up: u64,
    /// Why one of those attempts failed, or why plan executions could not be listed.
    pub problem: Option<String>,
    /// Until when they were listed. Unit: epoch milliseconds.
    pub listed_until: Option<i64>,
}

/// A plan execution and its workspace.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredPlan {
    /// The report of the upstream.
    pub report: PlanReport,
    /// Its workspace, if it is known.
    pub workspace_id: Option<WorkspaceId>,
}

/// A plan as an upstream defines it.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanDefinition {
    /// Its ID.
    pub plan_id: String,
    /// Its name.
    pub name: String,
    /// Its workspace, if it is known.
    pub workspace_id: Option<WorkspaceId>,
    /// `PlanExecutableDetails` of the orchestration API, with every field that the upstream sent.
    pub definition: Fields,
}

/// Selects plans. An absent field does not restrict the selection.
#[derive(Debug, Clone, Default)]
pub struct PlanDefinitionFilter {
    /// This plan.
    pub plan_id: Option<String>,
    /// Plans that have this task in a step or an error handler, as the upstream defines them.
    pub task_id: Option<TaskId>,
    /// Plans whose names begin with this text.
    pub name: Option<String>,
    /// Plans of these workspaces.
    pub workspace_ids: Option<Vec<WorkspaceId>>,
    /// Plans of an environment.
    pub environment_id: Option<runlog_model::EnvironmentId>,
    /// Most plans to return.
    pub limit: u64,
    /// How many plans to skip.
    pub offset: u64,
}

/// A plan execution to be reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedPlan {
    /// The execution.
    pub execution_id: String,
    /// The plan.
    pub plan_id: String,
    /// Its name, if it is known.
    pub plan_name: Option<String>,
    /// Its workspace, if it is known.
    pub workspace_id: Option<WorkspaceId>,
    /// Its status.
    pub status: String,
    /// Why it did not start.
    pub misfired_reason: Option<String>,
    /// The name of the first step that failed.
    pub failed_step: Option<String>,
    /// When it ended or, if it did not, started.
    pub at: Timestamp,
}

#[derive(FromRow)]
struct FailedRow {
    execution_id: String,
    plan_id: String,
    plan_name: Option<String>,
    workspace_id: Option<String>,
    status: String,
    misfired_reason: Option<String>,
    at: i64,
    failed_step: Option<String>,
}

impl FailedRow {
    fn into_plan(self) -> FailedPlan {
        FailedPlan {
            execution_id: self.execution_id,
            plan_id: self.plan_id,
            plan_name: self.plan_name,
            workspace_id: self.workspace_id.as_deref().and_then(|id| id.parse().ok()),
            status: self.status,
            misfired_reason: self.misfired_reason,
            failed_step: self.failed_step,
            at: Timestamp::clamped(self.at),
        }
    }
}

impl ClaimedPlan {
    /// The workspace of the list in which it was, if that was of one.
    pub fn workspace_id(&self) -> Option<WorkspaceId> {
        self.workspace_id.as_deref().and_then(|id| id.parse().ok())
    }
}

impl Collection {
    /// Inserts listed plan executions, and makes known ones due that have changed. Returns how many were not known.
    pub async fn upsert_plans(&self, upstream: &str, plans: &[ListedPlan]) -> Result<u64> {
        let mut new = 0;
        for some in plans.chunks(limits::PLANS_STORED_TOGETHER) {
            let mut due_times = Vec::with_capacity(some.len());
            for plan in some {
                due_times.push(self.core.catalog_time(plan.due_at).await?.as_millis());
            }
            new += self
                .core
                .transact(|transaction| async {
                    let mut transaction = transaction;
                    let mut new = 0;
                    for (plan, due_at) in some.iter().zip(&due_times) {
                        let known: Option<String> = sqlx::query_scalar(
                            "SELECT fingerprint FROM collected_plans WHERE upstream = $1 AND execution_id = $2",
                        )
                        .bind(upstream)
                        .bind(&plan.execution_id)
                        .fetch_optional(&mut *transaction)
                        .await?;
                        match known {
                            Some(known) if known == plan.fingerprint => continue,
                            Some(_) => {}
                            None => new += 1,
                        }
                        sqlx::query(
                            "INSERT INTO collected_plans (upstream, execution_id, state, body, fingerprint, workspace_id,
                                    due_at)
                             VALUES ($1, $2, 'going', $3, $4, $5, $6)
                             ON CONFLICT (upstream, execution_id) DO UPDATE SET state = 'going', body = excluded.body,
                                    fingerprint = excluded.fingerprint, due_at = excluded.due_at, attempts = 0,
                                    workspace_id = COALESCE(excluded.workspace_id, collected_plans.workspace_id)",
                        )
                        .bind(upstream)
                        .bind(&plan.execution_id)
                        .bind(&plan.body)
                        .bind(storable(&plan.fingerprint))
                        .bind(plan.workspace_id.map(|id| id.to_string()))
                        .bind(*due_at)
                        .execute(&mut *transaction)
                        .await?;
                    }
                    transaction.commit().await?;
                    Ok(new)
                })
                .await?;
        }
        Ok(new)
    }

    /// Claims the plan execution whose steps have been due for longest until a given time; `None` when none are due.
    ///
    /// `Conflict`: the lease ended while it was taken, because this process was suspended.
    pub async fn claim_plan(&self, upstream: &str, until: Timestamp) -> Result<Option<ClaimedPlan>> {
        let (now, until) = (self.core.catalog_now().await?, self.core.catalog_time(until).await?);
        let mut claiming = Sql::new("UPDATE collected_plans SET claim = ");
        claiming.push_bind(self.core.random().uuid().to_string());
        claiming.push(", claimed_until = ").push_bind(until.as_millis());
        claiming.push(" WHERE upstream = ").push_bind(upstream.to_owned());
        claiming.push(" AND execution_id = (SELECT execution_id FROM collected_plans WHERE upstream = ");
        claiming.push_bind(upstream.to_owned());
        claiming.push(" AND due_at <= ").push_bind(now.as_millis());
        claiming.push(" AND claimed_until < ").push_bind(now.as_millis());
        claiming.push(" ORDER BY due_at LIMIT 1").push(self.core.catalog().skip_locked());
        claiming.push(") RETURNING execution_id, claim, body, fingerprint, workspace_id, attempts");
        let claimed = claiming.build_query_as().fetch_optional(self.core.catalog().write()).await?;
        if claimed.is_some() {
            self.core.check_lease(until).await?;
        }
        Ok(claimed)
    }

    /// Releases the lease of a plan execution that was not stored.
    pub async fn release_plan(&self, upstream: &str, plan: &ClaimedPlan) -> Result<()> {
        sqlx::query(
            "UPDATE collected_plans SET claimed_until = 0 WHERE upstream = $1 AND execution_id = $2 AND claim = $3",
        )
        .bind(upstream)
        .bind(&plan.execution_id)
        .bind(&plan.claim)
        .execute(self.core.catalog().write())
        .await?;
        Ok(())
    }

    /// Stores a report in place of the one before, and what became of the execution, in one transaction. The runs that it
    /// names become part of it.
    ///
    /// `Conflict`: another collector holds the lease. `Invalid`: the report is too large.
    pub async fn land_plan(
        &self,
        upstream: &str,
        claimed: &ClaimedPlan,
        plan: &StoredPlan,
        state: PlanState,
    ) -> Result<()> {
        let (word, again_at) = match state {
            PlanState::Running(again_at) => ("going", Some(self.core.catalog_time(again_at).await?.as_millis())),
            PlanState::Landed => ("landed", None),
            PlanState::Missing => ("gone", None),
        };
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                // If the list has shown a change since the claim, the execution stays due.
                let done = sqlx::query(
                    "UPDATE collected_plans SET state = CASE WHEN fingerprint = $4 THEN $5 ELSE state END,
                            due_at = CASE WHEN fingerprint = $4 THEN CAST($6 AS BIGINT) ELSE due_at END,
                            claimed_until = 0, attempts = 0, problem = NULL
                     WHERE upstream = $1 AND execution_id = $2 AND claim = $3",
                )
                .bind(upstream)
                .bind(&claimed.execution_id)
                .bind(&claimed.claim)
                .bind(&claimed.fingerprint)
                .bind(word)
                .bind(again_at)
                .execute(&mut *transaction)
                .await?;
                if done.rows_affected() == 0 {
                    let message = format!("another collector has taken over plan execution {}", claimed.execution_id);
                    return Err(Error::conflict(message));
                }
                replace_in(&mut transaction, plan, self.core.now()).await?;
                failpoint::reach("plan-before-rows");
                transaction.commit().await
            })
            .await
    }

    /// Records a failed attempt, to be repeated at a time, or that it was the last one.
    pub async fn record_plan_failure(
        &self,
        upstream: &str,
        claimed: &ClaimedPlan,
        error: &str,
        retry_at: Option<Timestamp>,
    ) -> Result<()> {
        self.retry_plan_later(upstream, claimed, error, retry_at, 1).await
    }

    /// Records why a plan execution could not be fetched, if the reason is not in it: the attempt does not count.
    pub async fn defer_plan(
        &self,
        upstream: &str,
        claimed: &ClaimedPlan,
        error: &str,
        retry_at: Timestamp,
    ) -> Result<()> {
        self.retry_plan_later(upstream, claimed, error, Some(retry_at), 0).await
    }

    async fn retry_plan_later(
        &self,
        upstream: &str,
        claimed: &ClaimedPlan,
        error: &str,
        retry_at: Option<Timestamp>,
        attempts: i64,
    ) -> Result<()> {
        let retry_at = match retry_at {
            Some(retry_at) => Some(self.core.catalog_time(retry_at).await?),
            None => None,
        };
        sqlx::query(
            "UPDATE collected_plans SET attempts = attempts + $6, problem = $4, due_at = $5, claimed_until = 0,
                    state = CASE WHEN CAST($5 AS BIGINT) IS NULL THEN 'given_up' ELSE state END
             WHERE upstream = $1 AND execution_id = $2 AND claim = $3",
        )
        .bind(upstream)
        .bind(&claimed.execution_id)
        .bind(&claimed.claim)
        .bind(storable(error))
        .bind(retry_at.map(Timestamp::as_millis))
        .bind(attempts)
        .execute(self.core.catalog().write())
        .await?;
        Ok(())
    }

    /// Returns until when the plan executions of an upstream were listed.
    pub async fn plans_listed_until(&self, upstream: &str) -> Result<Option<Timestamp>> {
        let until: Option<Option<i64>> =
            sqlx::query_scalar("SELECT plans_listed_until FROM collected_windows WHERE upstream = $1")
                .bind(upstream)
                .fetch_optional(self.core.catalog().read())
                .await?;
        Ok(until.flatten().map(Timestamp::clamped))
    }

    /// Records until when the plan executions of an upstream were listed; an earlier time than before is ignored.
    pub async fn set_plans_listed_until(&self, upstream: &str, until: Timestamp) -> Result<()> {
        let until = until.min(self.core.catalog_now().await?);
        sqlx::query(
            "UPDATE collected_windows SET plans_problem = NULL,
                    plans_listed_until = CASE WHEN plans_listed_until > $2 THEN plans_listed_until ELSE $2 END
             WHERE upstream = $1",
        )
        .bind(upstream)
        .bind(until.as_millis())
        .execute(self.core.catalog().write())
        .await?;
        Ok(())
    }

    /// Records why the plan executions of an upstream could not be listed.
    pub async fn record_plans_problem(&self, upstream: &str, problem: &str) -> Result<()> {
        sqlx::query("UPDATE collected_windows SET plans_problem = $2 WHERE upstream = $1")
            .bind(upstream)
            .bind(storable(problem))
            .execute(self.core.catalog().write())
            .await?;
        Ok(())
    }

    /// Returns the state of the collection of the plan executions of an upstream.
    pub async fn plan_metrics(&self, upstream: &str) -> Result<PlanCollectionMetrics> {
        #[derive(FromRow)]
        struct Row {
            known: i64,
            running: i64,
            failing: i64,
            given_up: i64,
            problem: Option<String>,
        }
        let row: Row = sqlx::query_as(
            "SELECT COUNT(*) AS known, CAST(COUNT(CASE WHEN state = 'going' THEN 1 END) AS BIGINT) AS running,
                    CAST(COUNT(CASE WHEN due_at IS NOT NULL THEN problem END) AS BIGINT) AS failing,
                    CAST(COUNT(CASE WHEN state = 'given_up' THEN 1 END) AS BIGINT) AS given_up, MIN(problem) AS problem
             FROM collected_plans WHERE upstream = $1",
        )
        .bind(upstream)
        .fetch_one(self.core.catalog().read())
        .await?;
        let window: Option<(Option<i64>, Option<String>)> =
            sqlx::query_as("SELECT plans_listed_until, plans_problem FROM collected_windows WHERE upstream = $1")
                .bind(upstream)
                .fetch_optional(self.core.catalog().read())
                .await?;
        let (listed_until, not_listed) = window.unwrap_or_default();
        let count = |number: i64| number.saturating_as::<u64>();
        Ok(PlanCollectionMetrics {
            known: count(row.known),
            running: count(row.running),
            failing: count(row.failing),
            given_up: count(row.given_up),
            problem: not_listed.or(row.problem),
            listed_until,
        })
    }
}

impl Plans {
    /// Returns what an upstream says of a plan execution; `None` if none says anything.
    pub async fn get(&self, execution_id: &str) -> Result<Option<StoredPlan>> {
        let row: Option<(String, Option<String>, Option<String>)> =
            sqlx::query_as("SELECT report, workspace_id, plan_name FROM reported_plans WHERE execution_id = $1")
                .bind(execution_id)
                .fetch_optional(self.core.catalog().read())
                .await?;
        let Some((report, workspace_id, plan_name)) = row else { return Ok(None) };
        let undecodable = |_| Error::corrupt(format!("the report of plan execution {execution_id} does not decode"));
        let mut report: PlanReport = serde_json::from_str(&report).map_err(undecodable)?;
        // The report of a plan that was deleted since has no name.
        report.plan_name = report.plan_name.or(plan_name);
        Ok(Some(StoredPlan { report, workspace_id: workspace_id.as_deref().and_then(|id| id.parse().ok()) }))
    }

    /// Inserts or replaces the definition of a plan.
    pub async fn upsert_definition(&self, plan: &PlanDefinition) -> Result<()> {
        let definition = json(&plan.definition)?;
        if definition.len() > limits::PLAN_BYTES_MAX {
            return Err(Error::invalid(format!("the definition of plan {} is too large", plan.plan_id)));
        }
        sqlx::query(
            "INSERT INTO plans (plan_id, name, workspace_id, definition, stored_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (plan_id) DO UPDATE SET name = excluded.name, definition = excluded.definition,
                    workspace_id = COALESCE(excluded.workspace_id, plans.workspace_id), stored_at = excluded.stored_at
             WHERE plans.definition <> excluded.definition OR plans.workspace_id IS NULL",
        )
        .bind(storable(&plan.plan_id))
        .bind(storable(&plan.name))
        .bind(plan.workspace_id.map(|id| id.to_string()))
        .bind(definition)
        .bind(self.core.now().as_millis())
        .execute(self.core.catalog().write())
        .await?;
        Ok(())
    }

    /// Returns the plans that match the filter, by name, and how many match without limit and offset.
    pub async fn definitions(&self, filter: &PlanDefinitionFilter) -> Result<(Vec<PlanDefinition>, u64)> {
        #[derive(FromRow)]
        struct Row {
            plan_id: String,
            name: String,
            workspace_id: Option<String>,
            definition: String,
        }
        let mut counting = Sql::new("SELECT COUNT(*)");
        push_definitions(&mut counting, filter);
        let total: i64 = counting.build_query_scalar().fetch_one(self.core.catalog().read()).await?;
        let mut listing = Sql::new("SELECT p.plan_id, p.name, p.workspace_id, p.definition");
        push_definitions(&mut listing, filter);
        listing.push(" ORDER BY p.name, p.plan_id LIMIT ").push_bind(filter.limit.saturating_as::<i64>());
        listing.push(" OFFSET ").push_bind(filter.offset.saturating_as::<i64>());
        let rows: Vec<Row> = listing.build_query_as().fetch_all(self.core.catalog().read()).await?;
        let read = |row: Row| {
            let undecodable = |_| Error::corrupt(format!("the definition of plan {} does not decode", row.plan_id));
            Ok(PlanDefinition {
                definition: serde_json::from_str(&row.definition).map_err(undecodable)?,
                workspace_id: row.workspace_id.as_deref().and_then(|id| id.parse().ok()),
                plan_id: row.plan_id,
                name: row.name,
            })
        };
        Ok((rows.into_iter().map(read).collect::<Result<_>>()?, total.saturating_as::<u64>()))
    }

    /// Returns at most `limit` plan executions that failed or did not start, stored since a time and ended since another.
    pub async fn failed_since(
        &self,
        stored_since: Timestamp,
        ended_since: Timestamp,
        after: Option<&FailedPlan>,
        limit: u64,
    ) -> Result<Vec<FailedPlan>> {
        let rows: Vec<FailedRow> = sqlx::query_as(
            "SELECT p.execution_id, p.plan_id, p.plan_name, p.workspace_id, p.status, p.misfired_reason,
                    COALESCE(p.finished_at, p.started_at) AS at,
                    (SELECT MIN(s.name) FROM reported_steps s WHERE s.execution_id = p.execution_id AND s.kind = 'step'
                        AND s.position = (SELECT MIN(f.position) FROM reported_steps f
                            WHERE f.execution_id = p.execution_id AND f.kind = 'step' AND f.outcome = 'failed'))
                        AS failed_step
             FROM reported_plans p
             WHERE p.status IN ('execution_failed', 'execution_misfired') AND p.is_final = 1 AND p.stored_at >= $1
               AND COALESCE(p.finished_at, p.started_at) >= $2 AND p.execution_id > $3
             ORDER BY p.execution_id LIMIT $4",
        )
        .bind(stored_since.as_millis())
        .bind(ended_since.as_millis())
        .bind(after.map(|plan| plan.execution_id.as_str()).unwrap_or_default())
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        Ok(rows.into_iter().map(FailedRow::into_plan).collect())
    }

    /// Returns at most `limit` plans, after another one, that last started between these times, with their last
    /// execution if it has ended.
    pub async fn last_started_between(
        &self,
        (from, to): (Timestamp, Timestamp),
        after: Option<&FailedPlan>,
        limit: u64,
    ) -> Result<Vec<FailedPlan>> {
        let rows: Vec<FailedRow> = sqlx::query_as(
            "SELECT MAX(p.execution_id) AS execution_id, p.plan_id, MAX(p.plan_name) AS plan_name,
                    MAX(p.workspace_id) AS workspace_id, MAX(p.status) AS status, CAST(NULL AS TEXT) AS misfired_reason,
                    MAX(p.started_at) AS at, CAST(NULL AS TEXT) AS failed_step
             FROM reported_plans p WHERE p.status <> 'execution_misfired' AND p.plan_id > $3
             GROUP BY p.plan_id HAVING MAX(p.started_at) BETWEEN $1 AND $2
                AND COALESCE(MAX(CASE WHEN p.is_final = 0 THEN p.started_at END), 0) < MAX(p.started_at)
             ORDER BY p.plan_id LIMIT $4",
        )
        .bind(from.as_millis())
        .bind(to.as_millis())
        .bind(after.map(|plan| plan.plan_id.as_str()).unwrap_or_default())
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        Ok(rows.into_iter().map(FailedRow::into_plan).collect())
    }

    /// Returns when the last execution of a plan ended that succeeded or failed, if it succeeded.
    pub async fn last_success(&self, plan_id: &str) -> Result<Option<Timestamp>> {
        let last: Option<(String, i64)> = sqlx::query_as(
            "SELECT status, COALESCE(finished_at, started_at) FROM reported_plans
             WHERE plan_id = $1 AND is_final = 1 AND status IN ('execution_successful', 'execution_failed')
             ORDER BY started_at DESC, execution_id DESC LIMIT 1",
        )
        .bind(plan_id)
        .fetch_optional(self.core.catalog().read())
        .await?;
        Ok(last.filter(|(status, _)| status == "execution_successful").map(|(_, at)| Timestamp::clamped(at)))
    }

    /// Returns the name and the workspace of a plan, as its last execution has them.
    pub async fn name_and_workspace(&self, plan_id: &str) -> Result<Option<(String, Option<WorkspaceId>)>> {
        let last: Option<(Option<String>, Option<String>)> = sqlx::query_as(
            "SELECT plan_name, workspace_id FROM reported_plans WHERE plan_id = $1
             ORDER BY started_at DESC, execution_id DESC LIMIT 1",
        )
        .bind(plan_id)
        .fetch_optional(self.core.catalog().read())
        .await?;
        Ok(last.map(|(name, workspace)| {
            (name.unwrap_or_else(|| plan_id.to_owned()), workspace.as_deref().and_then(|id| id.parse().ok()))
        }))
    }

    /// Returns when the newest executions of a plan started, the newest first.
    pub async fn recent_starts(&self, plan_id: &str, limit: u64) -> Result<Vec<Timestamp>> {
        let starts: Vec<i64> = sqlx::query_scalar(
            "SELECT started_at FROM reported_plans WHERE plan_id = $1 AND status <> 'execution_misfired'
             ORDER BY started_at DESC LIMIT $2",
        )
        .bind(plan_id)
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        Ok(starts.into_iter().map(Timestamp::clamped).collect())
    }

    /// Returns a description of the damage to a stored report; `None` if it is undamaged.
    pub(crate) async fn find_damage(&self, execution_id: &str) -> Result<Option<String>> {
        let row: Option<(String, String)> =
            sqlx::query_as("SELECT report, sha256 FROM reported_plans WHERE execution_id = $1")
                .bind(execution_id)
                .fetch_optional(self.core.catalog().read())
                .await?;
        Ok(row
            .filter(|(report, sha256)| digest(report) != *sha256)
            .map(|_| format!("the report of plan execution {execution_id} is not what was written")))
    }
}

fn push_definitions(query: &mut Sql, filter: &PlanDefinitionFilter) {
    query.push(" FROM plans p WHERE p.workspace_id IS NOT NULL");
    push_workspaces(query, "p.workspace_id", filter.workspace_ids.as_deref());
    if let Some(id) = filter.environment_id {
        query.push(" AND p.workspace_id IN (SELECT id FROM workspaces WHERE environment_id = ");
        query.push_bind(id.to_string()).push(")");
    }
    if let Some(id) = &filter.plan_id {
        query.push(" AND p.plan_id = ").push_bind(id.clone());
    }
    if let Some(id) = filter.task_id {
        // The definition is the upstream's, in one of two forms. No ID of a task is that of anything else in it.
        query.push(" AND p.definition LIKE ").push_bind(format!("%\"{id}\"%"));
    }
    if let Some(name) = &filter.name {
        query.push(" AND ");
        let beginning = crate::catalog::filters::beginning_with;
        crate::catalog::filters::push_name_like(query, "p.name", name, beginning);
    }
}

/// Replaces the report of a plan execution, and makes the runs that it names part of it.
async fn replace_in(connection: &mut Connection, plan: &StoredPlan, now: Timestamp) -> Result<()> {
    let StoredPlan { report, workspace_id } = plan;
    let id = storable(report.id());
    let text = |name: &str| plan_report::text(&report.execution, name).map(storable);
    let mut alone = report.execution.clone();
    alone.remove("doneExecutableDetails");
    let (alone, whole) = (json(&alone)?, json(report)?);
    if whole.len() > limits::PLAN_BYTES_MAX {
        return Err(Error::invalid(format!("the report of plan execution {id} is too large: {} bytes", whole.len())));
    }
    remove_parts(connection, &id).await?;
    sqlx::query(
        "INSERT INTO reported_plans (execution_id, plan_id, plan_name, workspace_id, status, execution_status,
                execution_type, started_at, finished_at, is_final, user_id, user_type, planned, done, misfired_reason,
                api_version, execution, report, stored_at, sha256)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
         ON CONFLICT (execution_id) DO UPDATE SET plan_id = excluded.plan_id,
                plan_name = COALESCE(excluded.plan_name, reported_plans.plan_name),
                workspace_id = COALESCE(excluded.workspace_id, reported_plans.workspace_id), status = excluded.status,
                execution_status = excluded.execution_status, execution_type = excluded.execution_type,
                started_at = excluded.started_at, finished_at = excluded.finished_at, is_final = excluded.is_final,
                user_id = excluded.user_id, user_type = excluded.user_type, planned = excluded.planned,
                done = excluded.done, misfired_reason = excluded.misfired_reason, api_version = excluded.api_version,
                execution = excluded.execution, report = excluded.report, stored_at = excluded.stored_at,
                sha256 = excluded.sha256",
    )
    .bind(&id)
    .bind(storable(report.plan_id()))
    .bind(report.plan_name.as_deref().map(storable))
    .bind(workspace_id.map(|id| id.to_string()))
    .bind(storable(&report.status()))
    .bind(text("executionStatus").unwrap_or_default())
    .bind(text("executionType").unwrap_or_else(|| "MANUAL".to_owned()))
    .bind(plan_report::time(&report.execution, "startTimestamp").unwrap_or(now).as_millis())
    .bind(plan_report::time(&report.execution, "finishTimestamp").map(Timestamp::as_millis))
    .bind(i64::from(report.is_final()))
    .bind(text("userId").unwrap_or_default())
    .bind(text("userType").unwrap_or_default())
    .bind(plan_report::number(&report.execution, "plannedExecutableCount"))
    .bind(plan_report::number(&report.execution, "doneExecutableCount"))
    .bind(text("misfiredExecutionReason"))
    .bind(text("apiVersion"))
    .bind(alone)
    .bind(&whole)
    .bind(now.as_millis())
    .bind(digest(&whole))
    .execute(&mut *connection)
    .await?;
    let mut of_runs: Vec<(String, Option<String>)> = Vec::new();
    for (position, step) in report.steps.iter().enumerate() {
        let position = position.saturating_as::<i64>();
        for (kind, fields) in [("step", Some(&step.step)), ("error_handler", step.error_handler.as_ref())] {
            let Some(fields) = fields else { continue };
            insert_step(connection, &id, (position, kind), step.name.as_deref(), step.condition.as_deref(), fields)
                .await?;
            let step_id = plan_report::text(fields, "id").or_else(|| plan_report::text(&step.step, "id"));
            for run in run_ids(fields) {
                insert_run(connection, &id, (position, kind), &run).await?;
                of_runs.push((run, step_id.map(storable)));
            }
        }
    }
    for run in run_ids(&report.execution) {
        if !of_runs.iter().any(|(known, _)| *known == run) {
            insert_run(connection, &id, (-1, "step"), &run).await?;
            of_runs.push((run, None));
        }
    }
    // In the same order everywhere, so that two transactions never wait for each other.
    of_runs.sort();
    for (run, step_id) in of_runs {
        sqlx::query(
            "UPDATE runs SET plan_execution_id = $2, plan_step_id = COALESCE(plan_step_id, $3),
                    plan_id = COALESCE(plan_id, $4), plan_name = COALESCE(plan_name, $5)
             WHERE id = $1 AND (plan_execution_id IS NULL OR plan_execution_id = $2)",
        )
        .bind(run)
        .bind(&id)
        .bind(step_id)
        .bind(storable(report.plan_id()))
        .bind(report.plan_name.as_deref().map(storable))
        .execute(&mut *connection)
        .await?;
    }
    derive_workspace(connection, &id).await
}

/// A plan execution whose workspace is not known is in that of its runs.
async fn derive_workspace(connection: &mut Connection, execution_id: &str) -> Result<()> {
    sqlx::query(
        "UPDATE reported_plans SET workspace_id = (SELECT MIN(r.workspace_id) FROM runs r WHERE r.plan_execution_id = $1)
         WHERE execution_id = $1 AND workspace_id IS NULL",
    )
    .bind(execution_id)
    .execute(connection)
    .await?;
    Ok(())
}

/// Makes a run part of the plan execution that names it.
pub(crate) async fn join_plan(connection: &mut Connection, run_id: &str) -> Result<()> {
    #[derive(FromRow)]
    struct Row {
        execution_id: String,
        step_id: Option<String>,
        plan_id: String,
        plan_name: Option<String>,
    }
    let part: Option<Row> = sqlx::query_as(
        "SELECT r.execution_id, s.step_id, p.plan_id, p.plan_name FROM reported_step_runs r
         JOIN reported_plans p ON p.execution_id = r.execution_id
         LEFT JOIN reported_steps s ON s.execution_id = r.execution_id AND s.position = r.position AND s.kind = r.kind
         WHERE r.run_id = $1
         ORDER BY CASE WHEN r.execution_id = (SELECT plan_execution_id FROM runs WHERE id = $1) THEN 0 ELSE 1 END,
                  r.execution_id, r.position DESC LIMIT 1",
    )
    .bind(run_id)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(Row { execution_id, step_id, plan_id, plan_name }) = part {
        sqlx::query(
            "UPDATE runs SET plan_execution_id = $2, plan_step_id = COALESCE(plan_step_id, $3),
                    plan_id = COALESCE(plan_id, $4), plan_name = COALESCE(plan_name, $5)
             WHERE id = $1 AND (plan_execution_id IS NULL OR plan_execution_id = $2)",
        )
        .bind(run_id)
        .bind(&execution_id)
        .bind(step_id)
        .bind(plan_id)
        .bind(plan_name)
        .execute(&mut *connection)
        .await?;
        derive_workspace(connection, &execution_id).await?;
    }
    Ok(())
}

async fn insert_step(
    connection: &mut Connection,
    id: &str,
    (position, kind): (i64, &'static str),
    name: Option<&str>,
    condition: Option<&str>,
    fields: &Fields,
) -> Result<()> {
    let text = |name: &str| plan_report::text(fields, name).map(storable);
    sqlx::query(
        "INSERT INTO reported_steps (execution_id, position, kind, step_id, step_execution_id, name, next_when, outcome,
                execution_status, started_at, finished_at, planned, done)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(id)
    .bind(position)
    .bind(kind)
    .bind(text("id"))
    .bind(text("executionId"))
    .bind(name.map(storable))
    .bind(condition.map(storable))
    .bind(plan_report::step_outcome(fields).as_str())
    .bind(text("executionStatus"))
    .bind(plan_report::time(fields, "startTimestamp").map(Timestamp::as_millis))
    .bind(plan_report::time(fields, "finishTimestamp").map(Timestamp::as_millis))
    .bind(plan_report::number(fields, "plannedExecutableCount"))
    .bind(plan_report::number(fields, "doneExecutableCount"))
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_run(
    connection: &mut Connection,
    id: &str,
    (position, kind): (i64, &'static str),
    run: &str,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO reported_step_runs (execution_id, position, kind, run_id) VALUES ($1, $2, $3, $4)
         ON CONFLICT (execution_id, position, kind, run_id) DO NOTHING",
    )
    .bind(id)
    .bind(position)
    .bind(kind)
    .bind(run)
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes the steps of a plan execution, and the names of its runs.
pub(crate) async fn remove_parts(connection: &mut Connection, execution_id: &str) -> Result<()> {
    for statement in
        ["DELETE FROM reported_step_runs WHERE execution_id = $1", "DELETE FROM reported_steps WHERE execution_id = $1"]
    {
        sqlx::query(statement).bind(execution_id).execute(&mut *connection).await?;
    }
    Ok(())
}

fn run_ids(fields: &Fields) -> Vec<String> {
    plan_report::runs(fields).filter_map(|run| plan_report::text(run, "executionId")).map(storable).collect()
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|_| Error::invalid("a plan execution has no JSON form"))
}

fn digest(report: &str) -> String {
    hex::encode(Sha256::digest(report))
}
