//! Lists of plan executions: those that upstreams describe, and those that are derived from the runs that belong to them.

use az::SaturatingAs;
use runlog_model::plan::{PlanExecution, PlanStatus};
use runlog_model::plan_report::Fields;
use runlog_model::{EnvironmentId, Run, TimeRange, Timestamp, WorkspaceId};
use sqlx_macros::FromRow;

use crate::catalog::filters::push_workspaces;
use crate::catalog::sql::Sql;
use crate::error::{Error, Result};
use crate::parts::Runs;
use crate::tables::runs::RunRow;

/// Selects plan executions. An absent field does not restrict the selection.
#[derive(Debug, Clone, Default)]
pub struct PlanFilter {
    /// Those of one plan.
    pub plan_id: Option<String>,
    /// Those with runs in these workspaces.
    pub workspace_ids: Option<Vec<WorkspaceId>>,
    /// Those with runs in one environment.
    pub environment_id: Option<EnvironmentId>,
    /// Those of one status.
    pub status: Option<PlanStatus>,
    /// Plan executions that were active at some time in this range.
    pub overlapping: TimeRange,
    /// Most plan executions to return.
    pub limit: u64,
    /// How many plan executions to skip.
    pub offset: u64,
}

/// A plan execution in a list.
#[derive(Debug, Clone, PartialEq)]
pub enum ListedPlanExecution {
    /// Described by the upstream that ran it.
    Reported(ReportedExecution),
    /// Derived from its runs.
    OfRuns(PlanExecution),
}

/// A plan execution as an upstream describes it, without its steps and runs.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportedExecution {
    /// `PlanExecutionStatus` of the processing API, with every field that the upstream sent.
    pub execution: Fields,
    /// The name of the plan, if it is known.
    pub plan_name: Option<String>,
    /// The workspace, if it is known.
    pub workspace_id: Option<WorkspaceId>,
    /// The coarse status, or the word of the upstream if it is not known here.
    pub status: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

#[derive(FromRow)]
struct ListedRow {
    id: String,
    is_reported: i64,
}

#[derive(FromRow)]
struct ReportedRow {
    execution: String,
    plan_name: Option<String>,
    workspace_id: Option<String>,
    status: String,
    started_at: i64,
    finished_at: Option<i64>,
}

impl Runs {
    /// Returns the plan executions that match the filter, newest first, and how many match without limit and offset.
    pub async fn plan_executions(&self, filter: &PlanFilter) -> Result<(Vec<ListedPlanExecution>, u64)> {
        let mut counting = Sql::new("SELECT COUNT(*) FROM (");
        push_plans(&mut counting, filter);
        counting.push(") AS wanted");
        let total: i64 = counting.build_query_scalar().fetch_one(self.core.catalog().read()).await?;

        let mut listing = Sql::new("SELECT id, is_reported FROM (");
        push_plans(&mut listing, filter);
        listing.push(") AS wanted ORDER BY started_at DESC, id DESC LIMIT ");
        listing.push_bind(filter.limit.saturating_as::<i64>());
        listing.push(" OFFSET ").push_bind(filter.offset.saturating_as::<i64>());
        let rows: Vec<ListedRow> = listing.build_query_as().fetch_all(self.core.catalog().read()).await?;
        let mut executions = Vec::with_capacity(rows.len());
        for ListedRow { id, is_reported } in rows {
            if is_reported != 0 {
                executions.extend(self.reported_execution(&id).await?.map(ListedPlanExecution::Reported));
                continue;
            }
            let mut runs = self.plan_execution_runs(&id).await?;
            if let Some(viewed) = &filter.workspace_ids {
                runs.retain(|run| viewed.contains(&run.workspace_id));
            }
            executions.extend(PlanExecution::of_runs(runs).map(ListedPlanExecution::OfRuns));
        }
        Ok((executions, total.saturating_as::<u64>()))
    }

    async fn reported_execution(&self, id: &str) -> Result<Option<ReportedExecution>> {
        let row: Option<ReportedRow> = sqlx::query_as(
            "SELECT execution, plan_name, workspace_id, status, started_at, finished_at FROM reported_plans
             WHERE execution_id = $1",
        )
        .bind(id)
        .fetch_optional(self.core.catalog().read())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let undecodable = |_| Error::corrupt(format!("plan execution {id} does not decode"));
        Ok(Some(ReportedExecution {
            execution: serde_json::from_str(&row.execution).map_err(undecodable)?,
            plan_name: row.plan_name,
            workspace_id: row.workspace_id.as_deref().and_then(|id| id.parse().ok()),
            status: row.status,
            started_at: Timestamp::clamped(row.started_at),
            finished_at: row.finished_at.map(Timestamp::clamped),
        }))
    }

    /// Returns the runs of a plan execution in the order in which they were triggered; none when it is not known.
    pub async fn plan_execution_runs(&self, execution_id: &str) -> Result<Vec<Run>> {
        let rows: Vec<RunRow> =
            sqlx::query_as("SELECT * FROM runs WHERE plan_execution_id = $1 ORDER BY triggered_at, id")
                .bind(execution_id)
                .fetch_all(self.core.catalog().read())
                .await?;
        rows.into_iter().map(RunRow::into_run).collect()
    }
}

/// Adds a query of the IDs of plan executions, when they started, and whether they are reported.
fn push_plans(query: &mut Sql, filter: &PlanFilter) {
    query.push(
        "SELECT p.execution_id AS id, p.started_at AS started_at, CAST(1 AS BIGINT) AS is_reported FROM reported_plans p
         WHERE TRUE",
    );
    push_workspaces(query, "p.workspace_id", filter.workspace_ids.as_deref());
    if let Some(id) = filter.environment_id {
        query.push(" AND p.workspace_id IN (SELECT id FROM workspaces WHERE environment_id = ");
        query.push_bind(id.to_string()).push(")");
    }
    if let Some(id) = &filter.plan_id {
        query.push(" AND p.plan_id = ").push_bind(id.clone());
    }
    if let Some(status) = filter.status {
        query.push(" AND p.status = ").push_bind(status.as_str());
    }
    if let Some(end) = filter.overlapping.end {
        query.push(" AND p.started_at <= ").push_bind(end.as_millis());
    }
    if let Some(start) = filter.overlapping.start {
        query.push(" AND (p.finished_at IS NULL OR p.finished_at >= ").push_bind(start.as_millis());
        query.push(" OR p.started_at >= ").push_bind(start.as_millis()).push(")");
    }
    query.push(
        " UNION ALL SELECT plan_execution_id, MIN(triggered_at), CAST(0 AS BIGINT) FROM runs
         WHERE plan_execution_id IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM reported_plans p WHERE p.execution_id = runs.plan_execution_id)",
    );
    push_plan_filter(query, filter);
}

fn push_plan_filter(query: &mut Sql, filter: &PlanFilter) {
    push_workspaces(query, "workspace_id", filter.workspace_ids.as_deref());
    if let Some(id) = filter.environment_id {
        query.push(" AND workspace_id IN (SELECT id FROM workspaces WHERE environment_id = ");
        query.push_bind(id.to_string()).push(")");
    }
    if let Some(id) = &filter.plan_id {
        query.push(" AND plan_id = ").push_bind(id.clone());
    }
    query.push(" GROUP BY plan_execution_id HAVING TRUE");
    if let Some(end) = filter.overlapping.end {
        query.push(" AND MIN(triggered_at) <= ").push_bind(end.as_millis());
    }
    if let Some(start) = filter.overlapping.start {
        query.push(" AND (MAX(finished_at) >= ").push_bind(start.as_millis());
        query.push(" OR MIN(triggered_at) >= ").push_bind(start.as_millis());
        query.push(" OR COUNT(final_since) < COUNT(*))");
    }
    let failed = "SUM(CASE WHEN status IN ('execution_successful', 'execution_rejected') THEN 0 ELSE 1 END)";
    match filter.status {
        None => {}
        Some(PlanStatus::Executing) => {
            query.push(" AND COUNT(final_since) < COUNT(*)");
        }
        Some(PlanStatus::Successful) => {
            query.push(format!(" AND COUNT(final_since) = COUNT(*) AND {failed} = 0"));
        }
        Some(PlanStatus::Failed) => {
            query.push(format!(" AND COUNT(final_since) = COUNT(*) AND {failed} > 0"));
        }
        // A plan that did not begin has no runs.
        Some(PlanStatus::Misfired) => {
            query.push(" AND FALSE");
        }
    }
}
