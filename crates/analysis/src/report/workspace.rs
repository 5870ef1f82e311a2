//! The report on a workspace: the tasks that need attention.

use std::collections::BTreeMap;

use runlog_model::workspaces::Workspace;
use runlog_model::{ErrorGroupKind, RunId, Severity, TaskId, Timestamp, WorkspaceId};
use runlog_store::Result;
use runlog_store::runs::{OverviewFilter, Runs};
use runlog_store::summaries::ErrorGroup;
use runlog_store::workspaces::{TaskFilter, Workspaces};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::load::{ReportSources, RunPoint};
use super::reasons::{RECENT_RUNS_MAX, Reason, late_tasks, name_causes, reasons_of};
use super::task::Outcome;
use crate::headline::read;

/// Maximum number of runs in a report on a workspace. Unit: runs.
const RUNS_MAX: u64 = 60_000;

/// Maximum number of new kinds of errors that a report considers, of all tasks.
const NEW_ERROR_GROUPS_READ_MAX: u64 = 5_000;

/// Maximum number of new kinds of errors that a report lists.
const NEW_ERROR_GROUPS_MAX: usize = 200;

/// How far back runs of a task are considered. Unit: milliseconds. Tasks without runs since then are omitted.
const LOOK_BACK_MS: i64 = 90 * 86_400_000;

/// Number of runs of a task in the strip of outcomes.
const STRIP_RUNS: usize = 20;

/// A report on a workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceReport {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// Name.
    pub workspace_name: String,
    /// Start of the period in which runs and errors count as recent.
    pub since: Timestamp,
    /// When the report was created.
    pub until: Timestamp,
    /// Number of recent runs by status, most frequent first.
    pub outcomes: Vec<Outcome>,
    /// Tasks that need attention, worst first.
    // A service of an earlier version has another name for it.
    #[serde(alias = "looks")]
    pub tasks_to_check: Vec<TaskAttention>,
    /// Number of tasks with runs that do not need attention.
    pub tasks_fine: u64,
    /// Kinds of errors that are new for their task, newest first.
    // A service of an earlier version has another name for it.
    #[serde(alias = "newProblems")]
    pub new_error_groups: Vec<NewErrorGroup>,
    /// True if there are more tasks or runs than a report considers.
    pub is_cut: bool,
}

/// A task that needs attention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskAttention {
    /// The task.
    pub task_id: TaskId,
    /// Name.
    pub task_name: String,
    /// The reasons.
    pub reasons: Vec<Reason>,
    /// The latest runs, newest first.
    pub runs: Vec<RunPoint>,
}

/// A kind of error that is new for a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewErrorGroup {
    /// The task.
    pub task_id: TaskId,
    /// Name.
    pub task_name: String,
    /// Whether this is a pattern or a root cause.
    pub kind: ErrorGroupKind,
    /// ID, the same in every run.
    pub id: String,
    /// Title, in one line.
    pub title: String,
    /// The highest severity of a record.
    pub severity: Severity,
    /// Number of runs whose log contains it.
    pub runs: u64,
    /// Number of records.
    pub records: u64,
    /// When it was first logged.
    pub first_seen: Timestamp,
    /// The run that logged it.
    pub first_run: RunId,
}

/// Returns the report on a workspace; runs and errors since `since` count as recent.
pub async fn workspace_report(
    sources: ReportSources<'_>,
    workspace: &Workspace,
    since: Timestamp,
    now: Timestamp,
) -> Result<WorkspaceReport> {
    let look_back = since.min(now.plus_millis(-LOOK_BACK_MS));
    let runs = sources.summaries.recent_runs_of_workspace(workspace.id, look_back, RECENT_RUNS_MAX, RUNS_MAX).await?;
    let names = names_of_tasks(sources.workspaces, workspace.id).await?;
    let name = |id: &TaskId| names.get(&id.to_string()).cloned().unwrap_or_else(|| id.to_string());
    let new = sources.summaries.new_error_groups(workspace.id, since, NEW_ERROR_GROUPS_READ_MAX, 0).await?;
    let is_cut = runs.len() as u64 >= RUNS_MAX || new.len() as u64 >= NEW_ERROR_GROUPS_READ_MAX;
    let mut late = late_tasks(sources.summaries, workspace.id, &runs, now).await?;
    let (mut tasks_to_check, mut tasks_fine) = (Vec::new(), 0);
    for runs in runs.chunk_by(|one, other| one.task_id == other.task_id) {
        let task_id = runs[0].task_id;
        let mut reasons = reasons_of(runs, now);
        reasons.extend(late.remove(&task_id));
        reasons.extend(new_errors_of(task_id, &new));
        match reasons.is_empty() {
            true => tasks_fine += 1,
            false => tasks_to_check.push(TaskAttention {
                task_id,
                task_name: name(&task_id),
                reasons,
                runs: runs.iter().take(STRIP_RUNS).map(Into::into).collect(),
            }),
        }
    }
    name_causes(sources.problems, workspace.id, tasks_to_check.iter_mut().flat_map(|task| &mut task.reasons)).await?;
    tasks_to_check
        .sort_by_cached_key(|task| (std::cmp::Reverse(weight(task)), task.task_name.clone(), task.task_id.to_string()));
    let listed = new.into_iter().take(NEW_ERROR_GROUPS_MAX);
    let new_error_groups = listed.map(|it| NewErrorGroup::of(name(&it.task_id), it)).collect();
    Ok(WorkspaceReport {
        workspace_id: workspace.id,
        workspace_name: workspace.name.clone(),
        since,
        until: now,
        outcomes: outcomes_since(sources.runs, workspace.id, since).await?,
        tasks_to_check,
        tasks_fine,
        new_error_groups,
        is_cut,
    })
}

/// Counts all runs by status: the rules consider only the latest runs of each task, which may have had many more.
async fn outcomes_since(runs: &Runs, workspace: WorkspaceId, since: Timestamp) -> Result<Vec<Outcome>> {
    let filter = OverviewFilter {
        workspace_ids: Some(vec![workspace]),
        start: since,
        end: Timestamp::MAX,
        // All runs in one bucket.
        bucket_ms: i64::MAX,
    };
    let counts = runs.outcome_counts(&filter).await?;
    let mut outcomes: Vec<Outcome> =
        counts.into_iter().map(|count| Outcome { status: count.status, runs: count.runs }).collect();
    outcomes.sort_by_key(|outcome| (std::cmp::Reverse(outcome.runs), outcome.status.as_str()));
    Ok(outcomes)
}

async fn names_of_tasks(workspaces: &Workspaces, workspace: WorkspaceId) -> Result<BTreeMap<String, String>> {
    let filter =
        TaskFilter { workspace_ids: Some(vec![workspace]), limit: i64::MAX.unsigned_abs(), ..TaskFilter::default() };
    let (tasks, _) = workspaces.tasks(&filter).await?;
    Ok(tasks.into_iter().map(|task| (task.id.to_string(), task.name)).collect())
}

fn new_errors_of(task: TaskId, new: &[ErrorGroup]) -> Option<Reason> {
    // A stack trace and the message that contains it are the same error: only messages are counted.
    let of_task = || new.iter().filter(|it| it.task_id == task && it.kind == ErrorGroupKind::Pattern);
    let worst = of_task().max_by_key(|it| (it.severity, read(&it.title).weight, it.records))?;
    Some(Reason::NewErrors {
        error_groups: of_task().count() as u64,
        title: worst.title.clone(),
        run_id: worst.first.1,
    })
}

/// Returns the urgency of a task.
fn weight(task: &TaskAttention) -> u64 {
    let of = |reason: &Reason| match reason {
        Reason::Failing { .. } => 100,
        Reason::NewErrors { .. } => 40,
        Reason::Late { .. } => 30,
        Reason::Slow { .. } => 20,
        Reason::Flaky { .. } => 10,
    };
    task.reasons.iter().map(of).sum()
}

impl NewErrorGroup {
    fn of(task_name: String, group: ErrorGroup) -> Self {
        Self {
            task_id: group.task_id,
            task_name,
            kind: group.kind,
            id: group.id,
            title: group.title,
            severity: group.severity,
            runs: group.runs,
            records: group.records,
            first_seen: group.first.0,
            first_run: group.first.1,
        }
    }
}
