//! The queries of alerts in the archive: for events to report, and for their end.

use std::collections::HashMap;

use runlog_analysis::report::RECENT_RUNS_MAX;
use runlog_model::wire::problems::ProblemTaskBody;
use runlog_model::{Run, TaskId, Timestamp, millis};
use runlog_store::Store;
use runlog_store::alerts::{Alerts, RunKey, RunPage};
use runlog_store::collection::Collection;
use runlog_store::plans::Plans;
use runlog_store::problems::Problems;
use runlog_store::runs::Runs;
use runlog_store::summaries::{RecentRun, Summaries};
use runlog_store::workspaces::Workspaces;

use super::error::AlertError;
use super::rule::AlertRule;

/// Maximum number of error groups, incomplete logs and the like per query.
pub(super) const ROWS_MAX: u64 = 1_000;

/// Maximum number of runs per query.
pub(super) const RUNS_MAX: u64 = 5_000;

/// A task or a plan that has not run for this long is no longer reported as late.
pub(super) const LATE_MAX_MS: i64 = 90 * 86_400_000;

/// The minimum delay after which a task or a plan can be late.
pub(super) const LATE_MIN_MS: i64 = 900_000;

/// How many runs with a number of rows or records make one of them usual.
const NUMBERS_KNOWN_MIN: usize = 5;

/// Smaller differences from the usual number are not reported.
const DIFFERENCE_MIN: u64 = 10;

/// A number of each run of a task.
#[derive(Debug, Clone, Copy)]
pub(super) enum Measure {
    /// The rows that it processed.
    Rows,
    /// The records of its log.
    Records,
}

/// A number of a run, compared with the runs of its task before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Comparison {
    Unknown,
    /// The number is usual, or the usual number is unknown.
    Usual,
    Anomaly(Anomaly),
}

/// A number that is far from the usual one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Anomaly {
    /// The component whose number it is, if it is not that of the run.
    pub(super) component: Option<String>,
    pub(super) number: u64,
    pub(super) usual: u64,
}

/// The parts of the archive that alerts use.
pub(super) struct AlertArchive {
    pub(super) alerts: Alerts,
    pub(super) runs: Runs,
    pub(super) problems: Problems,
    pub(super) summaries: Summaries,
    pub(super) workspaces: Workspaces,
    pub(super) plans: Plans,
    pub(super) collection: Collection,
}

impl AlertArchive {
    pub(super) fn of(store: &Store) -> Self {
        Self {
            alerts: store.alerts().clone(),
            runs: store.runs().clone(),
            problems: store.problems().clone(),
            summaries: store.summaries().clone(),
            workspaces: store.workspaces().clone(),
            plans: store.plans().clone(),
            collection: store.collection().clone(),
        }
    }
}

/// The last runs of a task, newest first.
pub(super) async fn recent_runs(
    archive: &AlertArchive,
    task: TaskId,
    now: Timestamp,
) -> Result<Vec<RecentRun>, AlertError> {
    Ok(archive.summaries.recent_runs_of_task(task, now.plus_millis(-LATE_MAX_MS), RECENT_RUNS_MAX).await?)
}

/// Compares a number of a run with the runs of its task before it. Numbers of rows are those that the run reports, or
/// else those of its component metrics; of several components with an unusual number, that which differs most.
pub(super) async fn compared(
    archive: &AlertArchive,
    rule: &AlertRule,
    run: &Run,
    measure: Measure,
) -> Result<Comparison, AlertError> {
    let (alerts, limit) = (&archive.alerts, RECENT_RUNS_MAX);
    let (number, before) = match (measure, run.processed_rows) {
        // Records may still arrive.
        (Measure::Records, _) if !archive.runs.is_settled(run) => return Ok(Comparison::Unknown),
        (Measure::Records, _) if run.records == 0 && alerts.is_log_deleted(run.id).await? => {
            return Ok(Comparison::Unknown);
        }
        (Measure::Records, _) => (run.records, alerts.records_before(run.task_id, run.triggered_at, limit).await?),
        (Measure::Rows, Some(rows)) => {
            (rows, alerts.processed_rows_before(run.task_id, run.triggered_at, limit).await?)
        }
        (Measure::Rows, None) => return compared_components(archive, rule, run).await,
    };
    let usual = median_if_anomalous(number, before, rule.rows_factor);
    Ok(usual.map_or(Comparison::Usual, |usual| Comparison::Anomaly(Anomaly { component: None, number, usual })))
}

async fn compared_components(archive: &AlertArchive, rule: &AlertRule, run: &Run) -> Result<Comparison, AlertError> {
    let components = archive.alerts.component_rows(run.id).await?;
    if components.is_empty() {
        return Ok(Comparison::Unknown);
    }
    let mut before: HashMap<String, Vec<u64>> = HashMap::new();
    for (component, rows) in
        archive.alerts.component_rows_before(run.task_id, run.triggered_at, RECENT_RUNS_MAX).await?
    {
        before.entry(component).or_default().push(rows);
    }
    let far = components.into_iter().filter_map(|(component, number)| {
        let usual = median_if_anomalous(number, before.remove(&component)?, rule.rows_factor)?;
        Some(Anomaly { component: Some(component), number, usual })
    });
    Ok(far.max_by_key(|it| it.number.abs_diff(it.usual)).map_or(Comparison::Usual, Comparison::Anomaly))
}

/// The usual one of the numbers of the runs before, if a number is far from it; none also if it is not known.
fn median_if_anomalous(number: u64, before: Vec<u64>, factor: f64) -> Option<u64> {
    let mut sorted = before;
    sorted.sort_unstable();
    if sorted.len() < NUMBERS_KNOWN_MIN {
        return None;
    }
    let usual = sorted[(sorted.len() - 1) / 2];
    // A number that occurred before is not unusual, as at the end of each month.
    let is_new =
        sorted.first().is_some_and(|least| number < *least) || sorted.last().is_some_and(|most| number > *most);
    let (less, more) = (number.min(usual) as f64, number.max(usual) as f64);
    (is_new && more >= less * factor && number.abs_diff(usual) >= DIFFERENCE_MIN).then_some(usual)
}

/// Whether a run did not begin because its engine was not available, by the reasons that the service has.
pub(super) fn missing_engine_reason(run: &Run) -> Option<&str> {
    let reason = run.misfired_reason.as_deref()?;
    let is_one = reason.contains("_UNAVAILABLE")
        || reason.ends_with("CONTAINER_NOT_FOUND")
        || reason == "MAX_DEPLOYMENT_ATTEMPTS_REACHED";
    is_one.then_some(reason)
}

/// A page of the runs that wait for their engine for too long.
pub(super) async fn waiting_runs(
    archive: &AlertArchive,
    rule: &AlertRule,
    now: Timestamp,
    after: Option<RunKey>,
) -> Result<RunPage, AlertError> {
    Ok(archive.alerts.waiting_runs(now.plus_millis(-millis(rule.dispatch_time)), after, RUNS_MAX).await?)
}

/// The rows of all pages of at most [`ROWS_MAX`]. `page` gets the last row so far, and how many there are.
pub(super) async fn all_pages<T: Clone, F: Future<Output = runlog_store::Result<Vec<T>>>>(
    page: impl Fn(Option<T>, u64) -> F,
) -> Result<Vec<T>, AlertError> {
    let mut found: Vec<T> = Vec::new();
    loop {
        let rows = page(found.last().cloned(), found.len() as u64).await?;
        let is_last = (rows.len() as u64) < ROWS_MAX;
        found.extend(rows);
        if is_last {
            return Ok(found);
        }
    }
}

/// All tasks that a problem hits, those with the most runs first.
pub(super) async fn tasks_of_problem(problems: &Problems, id: &str) -> Result<Vec<ProblemTaskBody>, AlertError> {
    all_pages(|_, offset| problems.tasks(id, ROWS_MAX, offset)).await
}

/// True if a run waits for this engine for too long.
pub(super) async fn waits_for_engine(
    archive: &AlertArchive,
    rule: &AlertRule,
    engine: &str,
    now: Timestamp,
) -> Result<bool, AlertError> {
    let mut after = None;
    loop {
        let (waiting, next) = waiting_runs(archive, rule, now, after).await?;
        let waits = waiting.iter().any(|run| rule.may_be_about(run) && engine_of(run) == engine);
        if waits || next.is_none() {
            return Ok(waits);
        }
        after = next;
    }
}

/// The engine that a run waits for, in words.
pub(super) fn engine_of(run: &Run) -> String {
    let Some(runtime) = &run.runtime else { return "an engine".to_owned() };
    match (&runtime.engine_id, &runtime.cluster_id, &runtime.id) {
        (Some(engine), ..) => format!("engine {engine}"),
        (None, Some(cluster), _) => format!("cluster {cluster}"),
        (None, None, Some(id)) => format!("runtime {id}"),
        (None, None, None) => "an engine".to_owned(),
    }
}
