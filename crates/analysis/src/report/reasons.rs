//! Why a task needs attention: rules on its recent runs.

use std::collections::HashMap;

use runlog_model::{LogZone, RunId, RunStatus, TaskId, Timestamp, WorkspaceId};
use runlog_store::Result;
use runlog_store::problems::Problems;
use runlog_store::summaries::{RecentRun, Summaries};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::load::duration_of;
use super::schedule::{MissingStart, STARTS_LOOK_BACK_MS, STARTS_MAX, missing_start};

/// Number of runs of a task that the rules consider. Unit: runs.
pub const RECENT_RUNS_MAX: u64 = 30;

/// Minimum number of runs from which the usual value is derived.
const USUAL_MIN: usize = 5;

/// The multiple of the usual duration from which on a run is slow.
pub const SLOW_TIMES_MIN: f64 = 2.0;

/// The minimum difference from the usual duration for a slow run. Unit: milliseconds.
const SLOW_MS_MIN: i64 = 10_000;

/// Maximum delay of the start of a task that is not late. Unit: milliseconds.
const LATE_MS_MIN: i64 = 900_000;

/// Maximum number of tasks whose starts are in memory at the same time, each with at most [`STARTS_MAX`] starts of 8
/// bytes.
const TASKS_TOGETHER: usize = 500;

/// The minimum number of changes of the outcome, within the runs considered, of a flaky task.
pub const FLIPS_MIN: u64 = 4;

/// Why a task needs attention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
// The names of fields are specified for each variant, because the API description is generated from them.
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Reason {
    /// The last run failed.
    #[serde(rename_all = "camelCase")]
    Failing {
        /// The last run.
        run_id: RunId,
        /// Number of consecutive failures.
        runs_in_a_row: u64,
        /// When the first of those runs was triggered.
        since: Timestamp,
        /// The headline of the last failure or, if there is none, the error message of the engine.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A run takes or took much longer than usual.
    #[serde(rename_all = "camelCase")]
    Slow {
        /// The run.
        run_id: RunId,
        /// Its duration so far. Unit: milliseconds.
        duration_ms: i64,
        /// The usual duration of successful runs: the median. Unit: milliseconds.
        usual_ms: i64,
        /// True if it is still running.
        #[serde(alias = "goesOn")]
        is_running: bool,
    },
    /// The task did not start when it was expected to.
    #[serde(rename_all = "camelCase")]
    Late {
        /// When the last run was triggered.
        last: Timestamp,
        /// The usual interval between runs: the median. Unit: milliseconds.
        usual_ms: i64,
    },
    /// The task alternates between failure and success.
    #[serde(rename_all = "camelCase")]
    Flaky {
        /// Number of changes of the outcome.
        flips: u64,
        /// Number of runs considered.
        runs: u64,
    },
    /// The task logged kinds of errors that it never logged before.
    #[serde(rename_all = "camelCase")]
    #[serde(alias = "newProblems")]
    NewErrors {
        /// Number of kinds.
        #[serde(alias = "problems")]
        error_groups: u64,
        /// The title of the most severe one; of several, the one that is most specific about its cause.
        title: String,
        /// The run that contains it.
        run_id: RunId,
    },
}

/// The usual value, from at least [`USUAL_MIN`] values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usual {
    /// The median. Unit: milliseconds.
    pub median_ms: i64,
    /// The 90th percentile. Unit: milliseconds.
    pub p90_ms: i64,
}

/// True for a successful run.
pub fn is_good(status: RunStatus) -> bool {
    matches!(status, RunStatus::Successful | RunStatus::Rejected)
}

/// True for a run that failed; one terminated by a user is neither successful nor failed.
pub fn is_bad(status: RunStatus) -> bool {
    status.is_final() && !is_good(status) && status != RunStatus::Terminated
}

/// Returns the reasons why a task needs attention, according to its runs, newest first. New kinds of errors cannot be
/// derived from runs, and lateness requires more runs: see [`late_tasks`].
pub fn reasons_of(runs: &[RecentRun], now: Timestamp) -> Vec<Reason> {
    [failing(runs), slow(runs, now), flaky(runs)].into_iter().flatten().collect()
}

/// Replaces the engine's messages, which mostly state only that a run failed, with the headlines of the failures.
pub(super) async fn name_causes<'a>(
    problems: &Problems,
    workspace: WorkspaceId,
    reasons: impl Iterator<Item = &'a mut Reason>,
) -> Result<()> {
    let failing = |reason: &'a mut Reason| match reason {
        Reason::Failing { run_id, error, .. } => Some((*run_id, error)),
        Reason::Slow { .. } | Reason::Late { .. } | Reason::Flaky { .. } | Reason::NewErrors { .. } => None,
    };
    let failing: Vec<(RunId, &mut Option<String>)> = reasons.filter_map(failing).collect();
    let ids: Vec<RunId> = failing.iter().map(|(run_id, _)| *run_id).collect();
    let mut headlines = problems.headlines_of_runs(&ids, Some(&[workspace])).await?;
    for (run_id, error) in failing {
        if let Some(headline) = headlines.remove(&run_id) {
            *error = Some(headline);
        }
    }
    Ok(())
}

/// Returns the late tasks of a workspace, computed in UTC. `runs` are the latest runs of each task, task by task and
/// newest first.
pub(super) async fn late_tasks(
    summaries: &Summaries,
    workspace: WorkspaceId,
    runs: &[RecentRun],
    now: Timestamp,
) -> Result<HashMap<TaskId, Reason>> {
    let last_of_each = runs.chunk_by(|one, other| one.task_id == other.task_id).filter_map(<[_]>::first);
    let tasks: Vec<TaskId> = last_of_each.filter(|last| may_be_late(last, now)).map(|last| last.task_id).collect();
    let since = now.plus_millis(-STARTS_LOOK_BACK_MS);
    let mut late = HashMap::new();
    for some in tasks.chunks(TASKS_TOGETHER) {
        let starts = summaries.starts_of_tasks(workspace, some, since, STARTS_MAX).await?;
        late.extend(starts.into_iter().filter_map(|(task, starts)| Some((task, lateness(&starts, now)?))));
    }
    Ok(late)
}

/// Returns the reason if the task of these runs is late: [`late_tasks`] for a single task.
pub(super) async fn late(summaries: &Summaries, runs: &[RecentRun], now: Timestamp) -> Result<Option<Reason>> {
    let Some(last) = runs.first().filter(|last| may_be_late(last, now)) else { return Ok(None) };
    let since = now.plus_millis(-STARTS_LOOK_BACK_MS);
    Ok(lateness(&summaries.starts_of_task(last.task_id, since, STARTS_MAX).await?, now))
}

fn may_be_late(last: &RecentRun, now: Timestamp) -> bool {
    last.status.is_final() && now.millis_since(last.triggered_at) >= LATE_MS_MIN
}

/// Returns the reason if a task with these starts, newest first, is late.
fn lateness(starts: &[Timestamp], now: Timestamp) -> Option<Reason> {
    let missing = missing_start(starts, now, &LogZone::default(), LATE_MS_MIN);
    missing.map(|MissingStart { last, usual_ms, .. }| Reason::Late { last, usual_ms })
}

fn failing(runs: &[RecentRun]) -> Option<Reason> {
    let decided: Vec<&RecentRun> = runs.iter().filter(|run| is_good(run.status) || is_bad(run.status)).collect();
    let in_a_row = decided.iter().take_while(|run| is_bad(run.status)).count();
    let (last, first) = (decided.first()?, decided.get(in_a_row.checked_sub(1)?)?);
    Some(Reason::Failing {
        run_id: last.run_id,
        runs_in_a_row: in_a_row as u64,
        since: first.triggered_at,
        error: last.error_message.clone(),
    })
}

fn slow(runs: &[RecentRun], now: Timestamp) -> Option<Reason> {
    let latest = runs.first()?;
    let is_running = !latest.status.is_final();
    let duration_ms = match is_running {
        true => now.millis_since(latest.started_at?),
        false => duration_of(latest).filter(|_| is_good(latest.status))?,
    };
    let usual = usual_duration(&runs[1..])?;
    is_slow(duration_ms, usual).then_some(Reason::Slow {
        run_id: latest.run_id,
        duration_ms,
        usual_ms: usual.median_ms,
        is_running,
    })
}

fn is_slow(duration_ms: i64, usual: Usual) -> bool {
    duration_ms as f64 >= SLOW_TIMES_MIN * usual.median_ms as f64
        && duration_ms > usual.p90_ms
        && duration_ms - usual.median_ms >= SLOW_MS_MIN
}

/// Returns the usual duration of successful runs; none if there are too few.
pub fn usual_duration(runs: &[RecentRun]) -> Option<Usual> {
    usual(runs.iter().filter(|run| is_good(run.status)).filter_map(duration_of))
}

fn usual(values: impl Iterator<Item = i64>) -> Option<Usual> {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    let at = |part: f64| values[((values.len() - 1) as f64 * part).round() as usize];
    (values.len() >= USUAL_MIN).then(|| Usual { median_ms: at(0.5), p90_ms: at(0.9) })
}

fn flaky(runs: &[RecentRun]) -> Option<Reason> {
    let flips = flips_of(runs.iter().map(|run| run.status));
    (flips >= FLIPS_MIN).then_some(Reason::Flaky { flips, runs: runs.len() as u64 })
}

/// Returns the number of changes of the outcome in a sequence of runs.
pub(super) fn flips_of(statuses: impl Iterator<Item = RunStatus>) -> u64 {
    let outcomes: Vec<bool> = statuses.filter(|status| is_good(*status) || is_bad(*status)).map(is_good).collect();
    outcomes.windows(2).filter(|pair| pair[0] != pair[1]).count() as u64
}

#[cfg(test)]
mod tests {
    use runlog_model::record::SeverityCounts;

    use super::*;

    const HOUR: i64 = 3_600_000;

    /// Runs an hour apart, the newest at hour 100, each with a status and a duration in seconds; newest first.
    fn runs(them: &[(RunStatus, i64)]) -> Vec<RecentRun> {
        them.iter()
            .enumerate()
            .map(|(place, (status, seconds))| {
                let triggered_at = Timestamp::clamped((100 - place as i64) * HOUR);
                RecentRun {
                    run_id: format!("00000000-0000-4000-8000-{place:012}").parse().unwrap(),
                    task_id: "57f64991e4b0b689a64feed0".parse().unwrap(),
                    status: *status,
                    triggered_at,
                    started_at: Some(triggered_at),
                    finished_at: status.is_final().then(|| triggered_at.plus_millis(seconds * 1_000)),
                    severities: SeverityCounts::default(),
                    error_message: None,
                    is_summarized: false,
                }
            })
            .collect()
    }

    fn kinds(them: &[(RunStatus, i64)], now_hour: f64) -> Vec<&'static str> {
        let now = Timestamp::clamped((now_hour * HOUR as f64) as i64);
        let kind = |reason: &Reason| match reason {
            Reason::Failing { .. } => "failing",
            Reason::Slow { .. } => "slow",
            Reason::Late { .. } => "late",
            Reason::Flaky { .. } => "flaky",
            Reason::NewErrors { .. } => "new errors",
        };
        reasons_of(&runs(them), now).iter().map(kind).collect()
    }

    use RunStatus::{Executing, Failed, Successful, Terminated};

    #[test]
    fn a_usual_task_needs_no_attention() {
        assert!(kinds(&[(Successful, 60); 10], 100.5).is_empty());
        assert!(kinds(&[], 100.5).is_empty());
    }

    #[test]
    fn failures_in_a_row_are_counted_and_those_ended_by_a_person_do_not_count() {
        let them = runs(&[(Executing, 0), (Failed, 5), (Terminated, 5), (Failed, 5), (Successful, 5), (Failed, 5)]);
        let reasons = reasons_of(&them, Timestamp::clamped(100 * HOUR));
        let Reason::Failing { runs_in_a_row, since, .. } = &reasons[0] else { panic!("{reasons:?}") };
        assert_eq!((*runs_in_a_row, since.as_millis()), (2, 97 * HOUR));
    }

    #[test]
    fn a_run_is_slow_from_twice_the_usual_on() {
        let with = |seconds| [&[(Successful, seconds)][..], &[(Successful, 60); 6][..]].concat();
        assert_eq!(kinds(&with(120), 100.5), ["slow"]);
        assert!(kinds(&with(119), 100.5).is_empty());
        let short = [&[(Successful, 8)][..], &[(Successful, 1); 6][..]].concat();
        assert!(kinds(&short, 100.5).is_empty(), "seconds are no reason to look");
        let few = [&[(Successful, 600)][..], &[(Successful, 60); 4][..]].concat();
        assert!(kinds(&few, 100.5).is_empty(), "four runs do not tell what is usual");
    }

    #[test]
    fn a_running_run_can_be_slow() {
        let them = [&[(Executing, 0)][..], &[(Successful, 60); 6][..]].concat();
        assert_eq!(kinds(&them, 100.1), ["slow"]);
        assert!(kinds(&them, 100.01).is_empty());
    }

    #[test]
    fn outcomes_that_change_again_and_again_are_flaky() {
        let them = [(Successful, 5), (Failed, 5), (Successful, 5), (Failed, 5), (Successful, 5)];
        assert_eq!(kinds(&them, 100.5), ["flaky"]);
        assert!(kinds(&them[..4], 100.5).is_empty());
    }
}
