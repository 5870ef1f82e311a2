//! Finds out what is over of what was reported.
//!
//! A reported condition that lasts is recorded with the criterion for its end ([`AlertSubject`]). Each search checks
//! whether the condition has ended. The node that removes the record queues the recovery message in the same
//! transaction.

use std::collections::HashMap;

use runlog_analysis::report::{Reason, is_bad, is_good, reasons_of};
use runlog_model::{ProblemState, RunId, RunStatus, TaskId, Timestamp};
use runlog_store::alerts::LogEnd;
use runlog_store::summaries::RecentRun;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::archive::{AlertArchive, Comparison, Measure, compared, recent_runs, tasks_of_problem, waits_for_engine};
use super::error::AlertError;
use super::maintenance::AffectedScope;
use super::rule::AlertRule;

/// Time for which a condition must have ended before its recovery is reported, if it ended and recurred several times
/// within an hour. Unit: milliseconds.
const QUIET_MS: i64 = 30 * 60_000;

/// The subject of a report whose end can be recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum AlertSubject {
    /// A run failed: over once a later run of the task is successful.
    Failed { task: TaskId, at: Timestamp },
    /// A run was slow: over once a later run is successful and not slow.
    Slow { task: TaskId, at: Timestamp },
    /// A run rejected rows: over once a later run is successful and rejects fewer.
    Rejected { task: TaskId, at: Timestamp },
    /// A run processed an unusual number of rows: over once a later run processes a usual one.
    #[serde(rename = "unusual")]
    UnusualRows { task: TaskId, at: Timestamp },
    /// The log of a run had an unusual number of records: over once that of a later run has a usual one.
    UnusualLog { task: TaskId, at: Timestamp },
    /// A task did not run after then: over once it has.
    Late { task: TaskId, after: Timestamp },
    /// A problem: over once it is resolved.
    Problem { id: String },
    /// A log is incomplete: over once it is not to be fetched any more.
    Log { upstream: String, run: String },
    /// A sink is behind.
    Sink { name: String },
    /// Runs wait for an engine.
    Engine { name: String },
    /// A run did not begin for want of its engine: over once a later run of the task or on the engine has begun.
    NoEngine { name: String, run: RunId },
    /// A plan failed: over once a later execution of it is successful.
    PlanFailed { plan: String, at: Timestamp },
    /// A plan did not start after then: over once it has.
    PlanNotRun { plan: String, after: Timestamp },
}

impl AlertSubject {
    /// Returns a key that is equal for all reports of the same subject.
    pub(super) fn member(&self) -> String {
        match self {
            Self::Failed { task, .. } => format!("run failed {task}"),
            Self::Slow { task, .. } => format!("run slow {task}"),
            Self::Rejected { task, .. } => format!("rejected rows {task}"),
            Self::UnusualRows { task, .. } => format!("rows unusual {task}"),
            Self::UnusualLog { task, .. } => format!("log unusual {task}"),
            Self::Late { task, .. } => format!("task late {task}"),
            Self::Problem { id } => format!("problem {id}"),
            Self::Log { upstream, run } => format!("log {upstream} {run}"),
            Self::Sink { name } => format!("sink {name}"),
            Self::Engine { name } | Self::NoEngine { name, .. } => format!("engine {name}"),
            Self::PlanFailed { plan, .. } => format!("plan failed {plan}"),
            Self::PlanNotRun { plan, .. } => format!("plan not run {plan}"),
        }
    }
}

/// Why something is over.
pub(super) enum Resolution {
    /// A later run was successful, and not slow or unusual.
    Run(RunId),
    /// For another reason, in words.
    Because(&'static str),
}

/// Looks whether what was reported is over; keeps what it has read of tasks.
pub(super) struct RecoveryCheck<'a> {
    archive: &'a AlertArchive,
    rule: &'a AlertRule,
    now: Timestamp,
    runs: HashMap<TaskId, Vec<RecentRun>>,
}

impl<'a> RecoveryCheck<'a> {
    pub(super) fn new(archive: &'a AlertArchive, rule: &'a AlertRule, now: Timestamp) -> Self {
        Self { archive, rule, now, runs: HashMap::new() }
    }

    /// Returns the reason why the condition has ended; none if it persists.
    pub(super) async fn resolution(&mut self, about: &AlertSubject) -> Result<Option<Resolution>, AlertError> {
        let alerts = &self.archive.alerts;
        Ok(match about {
            AlertSubject::Failed { task, at } => {
                self.decided_later(*task, *at).await?.map(|run| Resolution::Run(run.run_id))
            }
            AlertSubject::Slow { task, at } => match self.decided_later(*task, *at).await? {
                Some(run) if !self.is_slow(*task, &run) => Some(Resolution::Run(run.run_id)),
                _ => None,
            },
            AlertSubject::Rejected { task, at } => self.fewer_rejected(*task, *at).await?.map(Resolution::Run),
            AlertSubject::UnusualRows { task, at } => {
                self.usual_later(*task, *at, Measure::Rows).await?.map(Resolution::Run)
            }
            AlertSubject::UnusualLog { task, at } => {
                self.usual_later(*task, *at, Measure::Records).await?.map(Resolution::Run)
            }
            AlertSubject::Late { task, after } => {
                let last = self.runs_of(*task).await?.first();
                last.filter(|run| run.triggered_at > *after).map(|run| Resolution::Run(run.run_id))
            }
            AlertSubject::Problem { id } => match self.archive.problems.get(id).await? {
                Some(problem) if problem.state != ProblemState::Resolved => None,
                _ => Some(Resolution::Because("the problem was marked as resolved")),
            },
            AlertSubject::Log { upstream, run } => {
                let end = alerts.log_end(upstream, run).await?;
                end.map(|end| {
                    Resolution::Because(match end {
                        LogEnd::Complete => "the log is complete",
                        LogEnd::None => "the upstream has no log of the run",
                        LogEnd::Gone => "the run is not known to the upstream any more",
                    })
                })
            }
            AlertSubject::Sink { name } => {
                let persists = alerts.is_sink_behind(&self.rule.name, name).await?;
                (!persists).then_some(Resolution::Because("it has caught up"))
            }
            AlertSubject::Engine { name } => {
                let persists = waits_for_engine(self.archive, self.rule, name, self.now).await?;
                (!persists).then_some(Resolution::Because("no run waits for it any longer"))
            }
            AlertSubject::NoEngine { run, .. } => alerts.run_started_after(*run).await?.map(Resolution::Run),
            AlertSubject::PlanFailed { plan, at } => {
                let success = self.archive.plans.last_success(plan).await?.filter(|success| success > at);
                success.map(|_| Resolution::Because("a later execution of the plan was successful"))
            }
            AlertSubject::PlanNotRun { plan, after } => {
                let starts = self.archive.plans.recent_starts(plan, 1).await?;
                starts.first().filter(|start| *start > after).map(|_| Resolution::Because("the plan has started"))
            }
        })
    }

    /// The tasks that it is about: those that a problem hits and to which the rule applies, or else the one of the
    /// message that reported it; or the plan.
    pub(super) async fn affected_scopes_of(
        &self,
        about: Option<&AlertSubject>,
        reported: &str,
    ) -> Result<Vec<AffectedScope>, AlertError> {
        let workspaces = &self.archive.workspaces;
        let mut affected_scopes = Vec::new();
        let task = match about {
            Some(AlertSubject::Problem { id }) => {
                for hit in tasks_of_problem(&self.archive.problems, id).await? {
                    let task = workspaces.task(hit.task_id).await?.filter(|task| self.rule.is_about(task));
                    affected_scopes.extend(task.map(AffectedScope::from));
                }
                return Ok(affected_scopes);
            }
            Some(
                AlertSubject::Failed { task, .. }
                | AlertSubject::Slow { task, .. }
                | AlertSubject::Rejected { task, .. }
                | AlertSubject::UnusualRows { task, .. }
                | AlertSubject::UnusualLog { task, .. }
                | AlertSubject::Late { task, .. },
            ) => Some(*task),
            Some(AlertSubject::PlanFailed { plan, .. } | AlertSubject::PlanNotRun { plan, .. }) => {
                let Some((name, id)) = self.archive.plans.name_and_workspace(plan).await? else {
                    return Ok(affected_scopes);
                };
                let workspace = match id {
                    Some(id) => workspaces.get(id).await?,
                    None => None,
                };
                return Ok(vec![AffectedScope { task: None, name, workspace }]);
            }
            Some(
                AlertSubject::Log { .. }
                | AlertSubject::Sink { .. }
                | AlertSubject::Engine { .. }
                | AlertSubject::NoEngine { .. },
            )
            | None => {
                let body: Value = serde_json::from_str(reported).unwrap_or_default();
                body["taskId"].as_str().and_then(|id| id.parse().ok())
            }
        };
        if let Some(task) = task {
            affected_scopes.extend(workspaces.task(task).await?.map(AffectedScope::from));
        }
        Ok(affected_scopes)
    }

    /// The last run of a task that was successful or failed, if it was successful and triggered later.
    async fn decided_later(&mut self, task: TaskId, at: Timestamp) -> Result<Option<RecentRun>, AlertError> {
        let mut decided = self.runs_of(task).await?.iter().filter(|run| is_good(run.status) || is_bad(run.status));
        Ok(decided.next().filter(|run| is_good(run.status) && run.triggered_at > at).cloned())
    }

    /// The last decided run of a task, if it was successful, triggered later, and has a usual number of rows or
    /// records: an unknown number may be as unusual.
    async fn usual_later(
        &mut self,
        task: TaskId,
        at: Timestamp,
        measure: Measure,
    ) -> Result<Option<RunId>, AlertError> {
        let Some(later) = self.decided_later(task, at).await? else { return Ok(None) };
        let Some(run) = self.archive.runs.get(later.run_id).await? else { return Ok(None) };
        let is_usual = compared(self.archive, self.rule, &run, measure).await? == Comparison::Usual;
        Ok(is_usual.then_some(run.id))
    }

    /// The last run of a task whose rejected rows are known or will not be, if it was successful, triggered later, and
    /// rejected fewer than are reported; none if a run after it has failed.
    async fn fewer_rejected(&mut self, task: TaskId, at: Timestamp) -> Result<Option<RunId>, AlertError> {
        if self.decided_later(task, at).await?.is_none() {
            return Ok(None);
        }
        let later = self.runs_of(task).await?.iter().filter(|run| is_good(run.status) && run.triggered_at > at);
        let later: Vec<RunId> = later.map(|run| run.run_id).collect();
        for id in later {
            let Some(run) = self.archive.runs.get(id).await? else { continue };
            match self.archive.alerts.rejected_rows(&run).await? {
                Some(rows) => return Ok((rows < self.rule.rejected_rows).then_some(id)),
                // Component metrics become known minutes after the end of a run, maybe after that of the next one.
                None if self.archive.collection.components_are_due(id).await? => {}
                // The status itself reports rejected rows.
                None if run.status.coarse() == RunStatus::Rejected && self.rule.rejected_rows <= 1 => return Ok(None),
                None => return Ok(Some(id)),
            }
        }
        Ok(None)
    }

    fn is_slow(&self, task: TaskId, run: &RecentRun) -> bool {
        let runs = self.runs.get(&task).map(Vec::as_slice).unwrap_or_default();
        let index = runs.iter().position(|other| other.run_id == run.run_id).unwrap_or(runs.len());
        reasons_of(&runs[index..], self.now).iter().any(|reason| matches!(reason, Reason::Slow { .. }))
    }

    async fn runs_of(&mut self, task: TaskId) -> Result<&[RecentRun], AlertError> {
        if !self.runs.contains_key(&task) {
            let runs = recent_runs(self.archive, task, self.now).await?;
            self.runs.insert(task, runs);
        }
        Ok(self.runs.get(&task).map(Vec::as_slice).unwrap_or_default())
    }
}

/// True if the recovery is not reported yet: the condition is flapping, and ended too recently.
pub(super) fn is_recovery_deferred(is_flapping: bool, ended_at: Timestamp, now: Timestamp) -> bool {
    is_flapping && now.millis_since(ended_at) < QUIET_MS
}

/// Returns the recovery message, derived from the message that reported the condition.
pub(super) fn body(reported: &str, why: &Resolution, now: Timestamp) -> String {
    let mut body: Value = serde_json::from_str(reported).unwrap_or_default();
    let reported = body["text"].as_str().unwrap_or_default();
    let text = match why {
        Resolution::Run(run) => format!("resolved by run {run}: {reported}"),
        Resolution::Because(why) => format!("resolved, {why}: {reported}"),
    };
    body["of"] = body["what"].take();
    body["what"] = "recovered".into();
    body["text"] = text.into();
    body["notedAt"] = now.to_string().into();
    body.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A subject that cannot be decoded would never be resolved.
    #[test]
    fn what_earlier_versions_have_recorded_is_read() {
        let check = |recorded: &str, member: &str| {
            let about: AlertSubject = serde_json::from_str(recorded).unwrap();
            assert_eq!(about.member(), member);
            assert_eq!(serde_json::to_string(&about).unwrap(), recorded);
        };
        let task = "0123456789abcdef01234567";
        for (kind, words) in [
            ("failed", "run failed"),
            ("slow", "run slow"),
            ("rejected", "rejected rows"),
            ("unusual", "rows unusual"),
            ("unusual_log", "log unusual"),
        ] {
            let at = serde_json::to_string(&Timestamp::clamped(1)).unwrap();
            check(&format!(r#"{{"kind":"{kind}","task":"{task}","at":{at}}}"#), &format!("{words} {task}"));
        }
    }
}
