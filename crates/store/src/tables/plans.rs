//! Plan executions, as derived from the runs that belong to them: the archive receives runs, not plans.

use az::SaturatingAs;
use runlog_model::plan::{PlanExecution, PlanStatus};
use runlog_model::{EnvironmentId, Run, TimeRange, WorkspaceId};

use crate::catalog::filters::push_workspaces;
use crate::catalog::sql::Sql;
use crate::error::Result;
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

impl Runs {
    /// Returns the plan executions that match the filter, newest first, and how many match without limit and offset.
    pub async fn plan_executions(&self, filter: &PlanFilter) -> Result<(Vec<PlanExecution>, u64)> {
        let mut counting = Sql::new("SELECT COUNT(*) FROM (SELECT plan_execution_id");
        push_plan_filter(&mut counting, filter);
        counting.push(") AS wanted");
        let total: i64 = counting.build_query_scalar().fetch_one(self.core.catalog().read()).await?;

        let mut listing = Sql::new("SELECT plan_execution_id");
        push_plan_filter(&mut listing, filter);
        listing
            .push(" ORDER BY MIN(triggered_at) DESC, plan_execution_id DESC LIMIT ")
            .push_bind(filter.limit.saturating_as::<i64>());
        listing.push(" OFFSET ").push_bind(filter.offset.saturating_as::<i64>());
        let ids: Vec<String> = listing.build_query_scalar().fetch_all(self.core.catalog().read()).await?;
        let mut executions = Vec::with_capacity(ids.len());
        for id in ids {
            let mut runs = self.plan_execution_runs(&id).await?;
            if let Some(viewed) = &filter.workspace_ids {
                runs.retain(|run| viewed.contains(&run.workspace_id));
            }
            executions.extend(PlanExecution::of_runs(runs));
        }
        Ok((executions, total.saturating_as::<u64>()))
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

fn push_plan_filter(query: &mut Sql, filter: &PlanFilter) {
    query.push(" FROM runs WHERE plan_execution_id IS NOT NULL");
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
