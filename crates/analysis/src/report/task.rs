//! The report on a task: outcomes, durations and their trend, kinds of errors with their first and last occurrence, and
//! flaky ones.

use std::collections::{BTreeMap, HashSet};

use runlog_model::workspaces::Task;
use runlog_model::{ErrorGroupKind, RunId, RunStatus, Severity, TaskId, Timestamp, WorkspaceId};
use runlog_store::Result;
use runlog_store::summaries::{ErrorGroup, RecentRun};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::components::{TaskComponent, components_of_task};
use super::load::{ReportSources, RunPoint, duration_of};
use super::reasons::{RECENT_RUNS_MAX, Reason, flips_of, is_bad, is_good, late, name_causes, reasons_of};

/// Maximum number of runs in a report on a task, the newest. Unit: runs.
const RUNS_MAX: u64 = 1_000;

/// Maximum number of kinds of errors of a report.
const ERROR_GROUPS_SHOWN_MAX: u64 = 100;

/// Minimum number of runs for a trend, which compares their halves.
const TREND_RUNS_MIN: usize = 10;

/// A report on a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskReport {
    /// The task.
    pub task_id: TaskId,
    /// Name.
    pub task_name: String,
    /// ID of the workspace.
    pub workspace_id: WorkspaceId,
    /// The name.
    pub workspace_name: String,
    /// Start of the period considered.
    pub since: Timestamp,
    /// When the report was created.
    pub until: Timestamp,
    /// True if there are more runs in this period than are considered.
    pub is_cut: bool,
    /// Why the task needs attention; empty if it does not.
    pub reasons: Vec<Reason>,
    /// Number of runs by status, most frequent first.
    pub outcomes: Vec<Outcome>,
    /// Share of successful runs among successful and failed runs, from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<f64>,
    /// Number of changes of the outcome from one run to the next.
    pub flips: u64,
    /// Durations of successful runs; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durations: Option<Durations>,
    /// The runs, newest first.
    pub runs: Vec<RunPoint>,
    /// Kinds of errors, most recently seen first.
    // A service of an earlier version has another name for it.
    #[serde(alias = "problems")]
    pub error_groups: Vec<TaskErrorGroup>,
    /// The throughput of its components in its last 30 runs with component metrics, the slowest components first; at
    /// most 30.
    #[serde(default)]
    pub components: Vec<TaskComponent>,
}

/// Number of runs with a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The status.
    pub status: RunStatus,
    /// Number of runs.
    pub runs: u64,
}

/// Durations of runs. Unit: milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Durations {
    /// Number of runs in these statistics.
    pub runs: u64,
    /// The minimum.
    pub min_ms: i64,
    /// The median.
    pub p50_ms: i64,
    /// The 90th percentile.
    pub p90_ms: i64,
    /// The 95th percentile.
    pub p95_ms: i64,
    /// The 99th percentile.
    pub p99_ms: i64,
    /// The maximum.
    pub max_ms: i64,
    /// The trend; absent if there are too few runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trend: Option<Trend>,
}

/// Comparison of the later half of the runs with the earlier half.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trend {
    /// The median of the earlier half. Unit: milliseconds.
    pub earlier_p50_ms: i64,
    /// The median of the later half. Unit: milliseconds.
    pub later_p50_ms: i64,
    /// The later median divided by the earlier one.
    pub times: f64,
}

/// A kind of error in the logs of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskErrorGroup {
    /// Whether this is a pattern or a root cause.
    pub kind: ErrorGroupKind,
    /// ID, the same in every run.
    pub id: String,
    /// Title, in one line.
    pub title: String,
    /// The highest severity of a record.
    pub severity: Severity,
    /// Number of stored runs whose log contains it.
    pub runs: u64,
    /// Its records in all these runs.
    pub records: u64,
    /// When it was first logged.
    pub first_seen: Timestamp,
    /// The run that logged it.
    pub first_run: RunId,
    /// When it was last logged.
    pub last_seen: Timestamp,
    /// The run that logged it.
    pub last_run: RunId,
    /// True if the last ended run contains it.
    pub is_current: bool,
    /// True if it disappeared and reappeared within the runs considered.
    pub is_flaky: bool,
}

/// Returns the report on the runs of a task since `since`.
pub async fn task_report(
    sources: ReportSources<'_>,
    task: &Task,
    since: Timestamp,
    now: Timestamp,
) -> Result<TaskReport> {
    let summaries = sources.summaries;
    let mut runs = summaries.recent_runs_of_task(task.id, since, RUNS_MAX + 1).await?;
    let is_cut = runs.len() as u64 > RUNS_MAX;
    runs.truncate(RUNS_MAX as usize);
    let known = summaries.error_groups_of_task(task.id, since, ERROR_GROUPS_SHOWN_MAX).await?;
    let mut having = summaries.runs_with_error_groups(task.id, since).await?;
    let group = |known: ErrorGroup| {
        let with: HashSet<RunId> =
            having.remove(&(known.kind, known.id.clone())).unwrap_or_default().into_iter().collect();
        TaskErrorGroup::of(known, &with, &runs)
    };
    let error_groups = known.into_iter().map(group).collect();
    let (good, bad) =
        (runs.iter().filter(|run| is_good(run.status)).count(), runs.iter().filter(|run| is_bad(run.status)).count());
    let mut reasons = reasons_of(&runs[..runs.len().min(RECENT_RUNS_MAX as usize)], now);
    reasons.extend(late(summaries, &runs, now).await?);
    name_causes(sources.problems, task.workspace.id, reasons.iter_mut()).await?;
    Ok(TaskReport {
        task_id: task.id,
        task_name: task.name.clone(),
        workspace_id: task.workspace.id,
        workspace_name: task.workspace.name.clone(),
        since,
        until: now,
        is_cut,
        reasons,
        outcomes: outcomes_of(&runs),
        success_rate: (good + bad > 0).then(|| good as f64 / (good + bad) as f64),
        flips: flips_of(runs.iter().map(|run| run.status)),
        durations: Durations::of(&runs),
        runs: runs.iter().map(Into::into).collect(),
        error_groups,
        components: components_of_task(sources.components, task.id, task.workspace.id, since).await?,
    })
}

fn outcomes_of(runs: &[RecentRun]) -> Vec<Outcome> {
    let mut counts: BTreeMap<&str, Outcome> = BTreeMap::new();
    for run in runs {
        counts.entry(run.status.as_str()).or_insert(Outcome { status: run.status, runs: 0 }).runs += 1;
    }
    let mut outcomes: Vec<Outcome> = counts.into_values().collect();
    outcomes.sort_by_key(|outcome| std::cmp::Reverse(outcome.runs));
    outcomes
}

impl Durations {
    /// Computes statistics of the durations of successful runs; `runs` are newest first.
    fn of(runs: &[RecentRun]) -> Option<Self> {
        let newest_first: Vec<i64> = runs.iter().filter(|run| is_good(run.status)).filter_map(duration_of).collect();
        let mut sorted = newest_first.clone();
        sorted.sort_unstable();
        let (min_ms, max_ms) = (*sorted.first()?, *sorted.last()?);
        Some(Self {
            runs: sorted.len() as u64,
            min_ms,
            p50_ms: percentile(&sorted, 0.5),
            p90_ms: percentile(&sorted, 0.9),
            p95_ms: percentile(&sorted, 0.95),
            p99_ms: percentile(&sorted, 0.99),
            max_ms,
            trend: Trend::of(&newest_first),
        })
    }
}

/// Returns a quantile: the smallest value that is not below this fraction of the values.
fn percentile(sorted: &[i64], part: f64) -> i64 {
    let place = (sorted.len() as f64 * part).ceil() as usize;
    sorted[place.clamp(1, sorted.len()) - 1]
}

impl Trend {
    fn of(newest_first: &[i64]) -> Option<Self> {
        if newest_first.len() < TREND_RUNS_MIN {
            return None;
        }
        let (later, earlier) = newest_first.split_at(newest_first.len() / 2);
        let median = |part: &[i64]| {
            let mut part = part.to_vec();
            part.sort_unstable();
            percentile(&part, 0.5)
        };
        let (earlier_p50_ms, later_p50_ms) = (median(earlier), median(later));
        (earlier_p50_ms > 0).then(|| Self {
            earlier_p50_ms,
            later_p50_ms,
            times: later_p50_ms as f64 / earlier_p50_ms as f64,
        })
    }
}

impl TaskErrorGroup {
    fn of(known: ErrorGroup, with: &HashSet<RunId>, newest_first: &[RecentRun]) -> Self {
        // It is unknown whether a log without a summary contains the error. A log that has grown since its summary
        // still contains the errors found before.
        let is_known = |run: &RecentRun| run.is_summarized || with.contains(&run.run_id);
        let over: Vec<bool> = newest_first
            .iter()
            .filter(|run| run.status.is_final() && run.severities.total() > 0 && is_known(run))
            .map(|run| with.contains(&run.run_id))
            .collect();
        // Counts how often it appeared, from the newest run back: present in a run, and absent from the previous one.
        let comings =
            over.windows(2).filter(|pair| pair[0] && !pair[1]).count() + usize::from(over.last() == Some(&true));
        Self {
            kind: known.kind,
            id: known.id,
            title: known.title,
            severity: known.severity,
            runs: known.runs,
            records: known.records,
            first_seen: known.first.0,
            first_run: known.first.1,
            last_seen: known.last.0,
            last_run: known.last.1,
            is_current: over.first() == Some(&true),
            is_flaky: comings >= 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let sorted: Vec<i64> = (1..=100).collect();
        assert_eq!([0.5, 0.9, 0.95, 0.99, 1.0].map(|part| percentile(&sorted, part)), [50, 90, 95, 99, 100]);
        assert_eq!(percentile(&[7], 0.99), 7);
    }

    #[test]
    fn a_trend_compares_the_later_half_with_the_earlier() {
        let trend = Trend::of(&[30, 30, 30, 30, 30, 10, 10, 10, 10, 10]).unwrap();
        assert_eq!((trend.earlier_p50_ms, trend.later_p50_ms, trend.times), (10, 30, 3.0));
        assert_eq!(Trend::of(&[1; 9]), None);
    }
}
