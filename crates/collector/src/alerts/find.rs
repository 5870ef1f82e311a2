//! Finds the occurrences of a rule, using only the catalog. The same occurrence always has the same key.

use std::collections::HashMap;

use runlog_analysis::report::{LOOK_RUNS_MAX, Reason, is_bad, is_good, reasons_of};
use runlog_model::place::Task;
use runlog_model::{ProblemKind, Run, RunId, TaskId, Timestamp, millis};
use runlog_store::Store;
use runlog_store::alerts::Alerts;
use runlog_store::summaries::{RecentRun, Summaries};
use runlog_store::workspaces::Workspaces;
use serde::Serialize;
use url::Url;

use super::error::AlertError;
use super::rule::{AlertRule, Condition};

/// Maximum time that is searched: occurrences that were missed for longer, because no node was running, are not
/// reported.
const LOOK_BACK_MS: i64 = 2 * 86_400_000;

/// How much later than its timestamp a transaction may be committed. Unit: milliseconds.
const OVERLAP_MS: i64 = 120_000;

/// Maximum number of runs per query.
const RUNS_MAX: u64 = 5_000;

/// Maximum number of error groups, incomplete logs and the like per query.
const ROWS_MAX: u64 = 1_000;

/// A task that has not run for this long is no longer reported as late.
const LATE_MAX_MS: i64 = 90 * 86_400_000;

/// The minimum delay after which a task can be late.
const LATE_MIN_MS: i64 = 900_000;

/// The minimum duration after which a running run can be slow.
const SLOW_MIN_MS: i64 = 10_000;

/// The scope of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Runs that have ended since the last search, and logs that could not be fetched completely.
    Quick {
        /// The time of the last search.
        since: Timestamp,
    },
    /// Everything: late tasks, running runs, new errors, sinks that lag behind, and runs that ended earlier.
    Thorough,
}

/// An occurrence.
#[derive(Debug)]
pub(super) struct Occurrence {
    /// The key, which is the same whenever the same occurrence is found.
    pub(super) key: String,
    what: &'static str,
    /// One sentence.
    text: String,
    task: Option<Task>,
    run: Option<RunId>,
}

/// The content of an alert. Absent fields are omitted.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    rule: &'a str,
    what: &'a str,
    text: &'a str,
    noted_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

impl Occurrence {
    /// The content as JSON.
    pub(super) fn body(&self, rule: &str, public_url: Option<&Url>, now: Timestamp) -> String {
        let task = self.task.as_ref();
        let page = match (self.run, task) {
            (Some(run), _) => Some(format!("runs/{run}")),
            (None, Some(task)) => Some(format!("tasks/{}", task.id)),
            (None, None) => None,
        };
        let link = public_url.zip(page).map(|(url, page)| format!("{}/{page}", url.as_str().trim_end_matches('/')));
        let body = Body {
            rule,
            what: self.what,
            text: &self.text,
            noted_at: now,
            run_id: self.run,
            task_id: task.map(|task| task.id),
            task_name: task.map(|task| task.name.as_str()),
            workspace_name: task.map(|task| task.workspace.name.as_str()),
            link,
        };
        // Strings and times can always be serialized.
        serde_json::to_string(&body).unwrap_or_default()
    }
}

/// The parts of the archive that alerts use.
pub(super) struct AlertArchive {
    pub(super) alerts: Alerts,
    summaries: Summaries,
    workspaces: Workspaces,
}

impl AlertArchive {
    pub(super) fn of(store: &Store) -> Self {
        Self {
            alerts: store.alerts().clone(),
            summaries: store.summaries().clone(),
            workspaces: store.workspaces().clone(),
        }
    }
}

/// The occurrences of a rule since it was added.
pub(super) async fn occurrences(
    archive: &AlertArchive,
    rule: &AlertRule,
    look: Look,
    since: Timestamp,
    now: Timestamp,
) -> Result<Vec<Occurrence>, AlertError> {
    let since = since.max(now.plus_millis(-LOOK_BACK_MS));
    let ended_since = match look {
        // A transaction that is committed late has an earlier timestamp.
        Look::Quick { since: looked_at } => since.max(looked_at.plus_millis(-OVERLAP_MS)),
        Look::Thorough => since,
    };
    let mut finder = Finder { archive, rule, since, ended_since, now, tasks: HashMap::new(), found: Vec::new() };
    if rule.tells_of(Condition::RunFailed) || rule.tells_of(Condition::RunSlow) {
        finder.ended_runs().await?;
    }
    let is_thorough = look == Look::Thorough;
    if rule.tells_of(Condition::RunSlow) && is_thorough {
        finder.runs_going_on().await?;
    }
    if rule.tells_of(Condition::TaskLate) && is_thorough {
        finder.late_tasks().await?;
    }
    if rule.tells_of(Condition::NewProblem) && is_thorough {
        finder.new_problems().await?;
    }
    if rule.tells_of(Condition::LogIncomplete) {
        finder.incomplete_logs().await?;
    }
    if rule.tells_of(Condition::SinkBehind) && is_thorough {
        finder.sinks_behind().await?;
    }
    Ok(finder.found)
}

struct Finder<'a> {
    archive: &'a AlertArchive,
    rule: &'a AlertRule,
    since: Timestamp,
    /// The time from which on ended runs are considered.
    ended_since: Timestamp,
    now: Timestamp,
    tasks: HashMap<TaskId, Option<Task>>,
    found: Vec<Occurrence>,
}

impl Finder<'_> {
    /// The task, if the rule applies to it.
    async fn task(&mut self, id: TaskId) -> Result<Option<Task>, AlertError> {
        if let Some(known) = self.tasks.get(&id) {
            return Ok(known.clone());
        }
        let task = self.archive.workspaces.task(id).await?.filter(|task| self.rule.is_about(task));
        self.tasks.insert(id, task.clone());
        Ok(task)
    }

    async fn ended_runs(&mut self) -> Result<(), AlertError> {
        let mut from = self.ended_since;
        loop {
            let runs = self.archive.alerts.runs_ended_since(from, RUNS_MAX).await?;
            for run in &runs {
                self.ended_run(run).await?;
            }
            let next = runs.last().and_then(|run| run.final_since);
            match next {
                // The last millisecond is read again, so that none of its runs is missed; duplicates have the same key.
                Some(next) if runs.len() as u64 == RUNS_MAX && next > from => from = next,
                _ => return Ok(()),
            }
        }
    }

    async fn ended_run(&mut self, run: &Run) -> Result<(), AlertError> {
        let status = run.status.coarse();
        if !self.rule.may_be_about(run) {
            return Ok(());
        }
        if is_bad(status) && self.rule.tells_of(Condition::RunFailed) {
            if let Some(task) = self.task(run.task_id).await? {
                let why = run.error_message.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
                let text = format!("{} ended with {status}{why}", task.name);
                self.add(format!("run failed {}", run.id), "run_failed", text, Some(task), Some(run.id));
            }
        } else if is_good(status) && self.rule.tells_of(Condition::RunSlow) {
            self.perhaps_slow(run).await?;
        }
        Ok(())
    }

    async fn runs_going_on(&mut self) -> Result<(), AlertError> {
        let runs = self.archive.alerts.running_runs(self.now.plus_millis(-SLOW_MIN_MS), RUNS_MAX).await?;
        for run in runs.iter().filter(|run| self.rule.may_be_about(run)) {
            self.perhaps_slow(run).await?;
        }
        Ok(())
    }

    /// Compares a run with the previous runs of its task.
    async fn perhaps_slow(&mut self, run: &Run) -> Result<(), AlertError> {
        let Some(task) = self.task(run.task_id).await? else { return Ok(()) };
        let runs = self.recent_runs(run.task_id).await?;
        let Some(place) = runs.iter().position(|it| it.run_id == run.id) else { return Ok(()) };
        for reason in reasons_of(&runs[place..], self.now) {
            if let Reason::Slow { duration_ms, usual_ms, goes_on, .. } = reason {
                let (word, took, usual) =
                    (if goes_on { "has been running for" } else { "took" }, seconds(duration_ms), seconds(usual_ms));
                let text = format!("{} {word} {took}; it usually takes {usual}", task.name);
                self.add(format!("run slow {}", run.id), "run_slow", text, Some(task.clone()), Some(run.id));
            }
        }
        Ok(())
    }

    async fn recent_runs(&self, task: TaskId) -> Result<Vec<RecentRun>, AlertError> {
        Ok(self.archive.summaries.recent_runs_of_task(task, self.now.plus_millis(-LATE_MAX_MS), LOOK_RUNS_MAX).await?)
    }

    async fn late_tasks(&mut self) -> Result<(), AlertError> {
        let (from, to) = (self.now.plus_millis(-LATE_MAX_MS), self.now.plus_millis(-LATE_MIN_MS));
        for id in self.archive.alerts.tasks_last_run_between(from, to).await? {
            let Some(task) = self.task(id).await? else { continue };
            for reason in reasons_of(&self.recent_runs(id).await?, self.now) {
                if let Reason::Late { last, usual_ms } = reason {
                    let text = format!(
                        "{} has not run since {}; it usually runs every {}",
                        task.name,
                        last.to_seconds_text(),
                        seconds(usual_ms)
                    );
                    let key = format!("task late {id} since {last}");
                    self.add(key, "task_late", text, Some(task.clone()), None);
                }
            }
        }
        Ok(())
    }

    async fn new_problems(&mut self) -> Result<(), AlertError> {
        for workspace in self.archive.workspaces.list().await? {
            for problem in self.archive.summaries.new_error_groups(workspace.id, self.since, ROWS_MAX).await? {
                // The stack trace of an error is not a separate error.
                if problem.kind != ProblemKind::Pattern {
                    continue;
                }
                let Some(task) = self.task(problem.task_id).await? else { continue };
                let text = format!("{} logged a new kind of error: {}", task.name, problem.title);
                let key = format!("new problem {} {}", task.id, problem.id);
                self.add(key, "new_problem", text, Some(task), Some(problem.first.1));
            }
        }
        Ok(())
    }

    async fn incomplete_logs(&mut self) -> Result<(), AlertError> {
        for run in self.archive.alerts.incomplete_runs(ROWS_MAX).await? {
            let (run_id, task_id) = (run.run_id.parse().ok(), run.task_id.parse().ok());
            let task = match task_id {
                Some(id) => self.task(id).await?,
                None => None,
            };
            // A task is created in the archive when the first of its logs lands. Until then, only rules without filters
            // apply to it.
            let is_for_all =
                self.rule.tasks.is_empty() && self.rule.task_names.is_empty() && self.rule.workspaces.is_empty();
            if task.is_none() && !is_for_all {
                continue;
            }
            let text = format!(
                "the log of run {} could not be collected completely from {}: {}",
                run.run_id, run.upstream, run.last_error
            );
            self.add(format!("log incomplete {} {}", run.upstream, run.run_id), "log_incomplete", text, task, run_id);
        }
        Ok(())
    }

    /// One occurrence lasts from the first search in which a sink lags behind until one in which it has caught up.
    async fn sinks_behind(&mut self) -> Result<(), AlertError> {
        let lag_ms_max = millis(self.rule.sink_lag);
        let mut not_caught_up = Vec::new();
        for lag in self.archive.alerts.sink_lags().await? {
            let waits_ms = self.now.millis_since(lag.since).max(0);
            // It does not end exactly at the limit. Otherwise, the clock of another node, or a sink that is barely fast
            // enough, would end it and start a new one with each search.
            if waits_ms >= lag_ms_max / 2 {
                not_caught_up.push(lag.sink.clone());
            }
            if waits_ms < lag_ms_max {
                continue;
            }
            let why = lag.last_error.map(|problem| format!(": {problem}")).unwrap_or_default();
            let text =
                format!("sink {} is behind by {}: {} runs are due{why}", lag.sink, seconds(waits_ms), lag.waiting);
            let since = self.archive.alerts.sink_behind_since(&self.rule.name, &lag.sink).await?;
            self.add(format!("sink behind {} since {since}", lag.sink), "sink_behind", text, None, None);
        }
        Ok(self.archive.alerts.mark_sinks_caught_up(&self.rule.name, &not_caught_up).await?)
    }

    fn add(&mut self, key: String, what: &'static str, text: String, task: Option<Task>, run: Option<RunId>) {
        self.found.push(Occurrence { key, what, text, task, run });
    }
}

/// `45 s`, `12 min`, `5 h 2 min`.
fn seconds(ms: i64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}
