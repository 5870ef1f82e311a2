//! Records runs in the archive as the upstream describes them, whether their logs have landed or not: a run is recorded
//! when it is first listed, and its end when the upstream reports it.

use std::collections::HashMap;

use runlog_model::TaskId;
use runlog_store::collection::{ReportedRun, UnrecordedRun};
use tracing::warn;

use super::context::CollectContext;
use super::error::{CollectError, Result};
use super::tasks::task_text;
use super::upstream_run::execution_of;

/// Number of runs that are recorded in one transaction.
const RUNS_TOGETHER: u64 = 200;

/// Records the listed runs that the archive lacks, or has as they were before they started or ended.
pub(super) async fn record_runs(context: &CollectContext) -> Result<()> {
    let CollectContext { archive, upstream, .. } = context;
    let (mut after, mut tasks) = (None, HashMap::new());
    loop {
        let runs = archive.collection.unrecorded_runs(&upstream.name, after.as_ref(), RUNS_TOGETHER).await?;
        let mut reports = Vec::new();
        for run in &runs {
            match reported(context, run, &mut tasks).await {
                Ok(report) => reports.extend(report),
                Err(error @ CollectError::Archive(_)) => return Err(error),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    warn!(upstream = upstream.name, run.id = run.run_id, error, "cannot record a run in the archive");
                }
            }
        }
        // Runs of other tasks are reported when their logs are due to land.
        reports.sort_by_key(|report| report.run_id);
        context.record_reported(&reports).await?;
        if (runs.len() as u64) < RUNS_TOGETHER {
            return Ok(());
        }
        after = runs.last().cloned();
    }
}

/// A run as the archive records it; none if it may have a status that is not selected. `tasks` are those that the
/// archive has by now.
async fn reported(
    context: &CollectContext,
    run: &UnrecordedRun,
    tasks: &mut HashMap<String, TaskId>,
) -> Result<Option<ReportedRun>> {
    let bad = |_| CollectError::BadRun { run: run.run_id.clone(), what: "its ID does not decode".to_owned() };
    let run_id = run.run_id.parse().map_err(bad)?;
    let execution = execution_of(run_id, &run.body)?;
    if !execution.is_final() && !context.upstream.selection.statuses.is_empty() {
        return Ok(None);
    }
    let task = task_text(&execution);
    let task_id = match tasks.get(task) {
        Some(id) => *id,
        None => {
            let id =
                context.tasks.upsert_task_of_run(&context.archive.workspaces, &context.upstream, &execution).await?;
            tasks.insert(task.to_owned(), id);
            id
        }
    };
    Ok(Some(context.report_of(&execution, run_id, task_id)))
}
