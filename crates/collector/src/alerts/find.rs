//! Finds the occurrences of a rule, using only the catalog. The same occurrence always has the same key.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use runlog_analysis::report::{
    RECENT_RUNS_MAX, Reason, STARTS_LOOK_BACK_MS, STARTS_MAX, is_bad, is_good, missing_start, reasons_of,
};
use runlog_model::wire::alerts::PreviewedAlertBody;
use runlog_model::wire::problems::ProblemBody;
use runlog_model::workspaces::Task;
use runlog_model::{ErrorGroupKind, ProblemState, Run, RunId, RunStatus, TaskId, Timestamp, millis};
use runlog_store::alerts::{IncompleteRun, NewAlertState};
use runlog_store::problems::{KnownProblem, ProblemFilter};
use runlog_store::summaries::ErrorGroup;
use serde::Serialize;
use url::Url;

use super::archive::{
    AlertArchive, Anomaly, Comparison, LATE_MAX_MS, LATE_MIN_MS, Measure, ROWS_MAX, RUNS_MAX, all_pages, compared,
    engine_of, missing_engine_reason, tasks_of_problem, waiting_runs,
};
use super::duration::{late_in_words, seconds};
use super::error::AlertError;
use super::maintenance::AffectedScope;
use super::plans::{PlanOccurrence, PlanPart, occurrences_of_plans};
use super::recover::AlertSubject;
use super::rule::{AlertRule, Condition, GroupBy, TaskSchedule};
use crate::deliver::{Redaction, Redactor};

/// Maximum time that is searched: occurrences that were missed for longer, because no node was running, are not
/// reported.
pub(super) const LOOK_BACK_MS: i64 = 2 * 86_400_000;

/// How much later than its timestamp a transaction may be committed. Unit: milliseconds.
const OVERLAP_MS: i64 = 120_000;

/// How long a failed run is not reported while its problem is not known: its log is summarised once it has settled.
/// Unit: milliseconds. Below [`OVERLAP_MS`], within which a search finds the run again.
const PROBLEM_WAIT_MS: i64 = 90_000;
const _: () = assert!(PROBLEM_WAIT_MS < OVERLAP_MS);

/// Time for which the report of a failed run of an upstream waits for its log, from which its problem may be
/// determined. Unit: milliseconds.
const LOG_WAIT_MS: i64 = 180_000;

/// Maximum number of tasks that an alert names with a problem.
const TASK_NAMES_MAX: u64 = 5;

/// Maximum number of tasks that are read together.
const TASKS_MAX: u64 = 20_000;

/// How much earlier than its schedule a task may run. Unit: milliseconds.
const EARLY_MS_MAX: i64 = 60_000;

/// The minimum duration after which a running run can be slow.
const SLOW_MIN_MS: i64 = 10_000;

/// The scope of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchScope {
    /// Runs that have ended since the last search, and logs that could not be fetched completely.
    Quick {
        /// The time of the last search.
        since: Timestamp,
    },
    /// Everything: late tasks, running runs, new errors, sinks that lag behind, and runs that ended earlier.
    Thorough,
    /// Like `Thorough`, by a process that does not search again soon: failed runs are reported before their problem is
    /// known.
    Once,
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
    problem: Option<ProblemWithTasks>,
    plan: Option<PlanPart>,
    pub(super) is_muted: bool,
    /// When it happened.
    at: Timestamp,
    /// The criterion for its end; none if it has no end.
    about: Option<AlertSubject>,
}

/// A problem, and the names of the tasks that it hits, those with the most runs first.
#[derive(Debug)]
struct ProblemWithTasks {
    problem: ProblemBody,
    task_names: Vec<String>,
    /// The tasks that it hits and to which the rule applies, if it is reported as such.
    tasks: Vec<Task>,
}

/// The description of a problem in an alert.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProblemPart<'a> {
    id: &'a str,
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    headline: Option<String>,
    state: ProblemState,
    first_seen: Timestamp,
    last_seen: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    came_back_at: Option<Timestamp>,
    runs: u64,
    tasks: u64,
    task_names: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
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
    environment_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemPart<'a>>,
    #[serde(flatten)]
    plan: Option<&'a PlanPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

impl Occurrence {
    /// Returns the subject of the alert. Alerts with the same subject are sent in one message.
    pub(super) fn subject(&self, group_by: GroupBy) -> String {
        let own = || self.about.as_ref().map_or_else(|| self.key.clone(), AlertSubject::member);
        match group_by {
            GroupBy::None => own(),
            GroupBy::Rule => String::new(),
            GroupBy::Task => self.task.as_ref().map_or_else(own, |task| format!("task {}", task.id)),
            GroupBy::Problem => self.problem.as_ref().map_or_else(own, |known| format!("problem {}", known.problem.id)),
        }
    }

    /// How its end is recognised, for the archive.
    pub(super) fn state(&self) -> Option<NewAlertState> {
        let about = self.about.as_ref()?;
        // Strings and times can always be serialized.
        Some(NewAlertState { member: about.member(), about: serde_json::to_string(about).unwrap_or_default() })
    }

    /// True if it is not another occurrence while something about the same is open: its key changes meanwhile.
    pub(super) fn is_one_while_open(&self) -> bool {
        matches!(self.about, Some(AlertSubject::Engine { .. } | AlertSubject::NoEngine { .. }))
    }

    /// The tasks or the plan that it is about.
    pub(super) fn affected_scopes(&self) -> Vec<AffectedScope> {
        match (&self.task, &self.problem, &self.plan) {
            (Some(task), ..) => vec![task.clone().into()],
            (None, Some(known), _) => known.tasks.iter().cloned().map(AffectedScope::from).collect(),
            (None, None, plan) => plan.iter().map(PlanPart::affected_scope).collect(),
        }
    }

    /// Returns the alert in the form of a preview.
    pub(super) fn previewed(&self) -> PreviewedAlertBody {
        PreviewedAlertBody {
            what: self.what.to_owned(),
            text: self.text.clone(),
            at: self.at,
            run_id: self.run,
            task_id: self.task.as_ref().map(|task| task.id),
            problem_id: self.problem.as_ref().map(|known| known.problem.id.clone()),
            plan_execution_id: self.plan.as_ref().and_then(|plan| plan.plan_execution_id.clone()),
            muted: self.is_muted,
        }
    }

    /// The content as JSON.
    pub(super) fn body(&self, rule: &str, public_url: Option<&Url>, now: Timestamp) -> String {
        let task = self.task.as_ref();
        let problem = self.problem.as_ref().map(|known| &known.problem);
        let page_of_problem = problem.map(|problem| format!("problems/{}", problem.id));
        let plan_execution = self.plan.as_ref().and_then(|plan| plan.plan_execution_id.as_ref());
        let page = match (self.run, task) {
            (Some(run), _) => Some(format!("runs/{run}")),
            (None, Some(task)) => Some(format!("tasks/{}", task.id)),
            (None, None) => page_of_problem.clone().or(plan_execution.map(|id| format!("plans/{id}"))),
        };
        let link = |page: Option<String>| {
            public_url.zip(page).map(|(url, page)| format!("{}/{page}", url.as_str().trim_end_matches('/')))
        };
        let part = self.problem.as_ref().map(|ProblemWithTasks { problem, task_names, .. }| ProblemPart {
            id: &problem.id,
            title: &problem.title,
            headline: problem.headline.as_deref().map(without_secrets),
            state: problem.state,
            first_seen: problem.first_seen,
            last_seen: problem.last_seen,
            came_back_at: problem.came_back_at,
            runs: problem.runs,
            tasks: problem.tasks,
            task_names,
            link: link(page_of_problem),
        });
        let body = Body {
            rule,
            what: self.what,
            text: &self.text,
            noted_at: now,
            run_id: self.run,
            task_id: task.map(|task| task.id),
            task_name: task.map(|task| task.name.as_str()),
            workspace_name: task
                .map(|task| task.workspace.name.as_str())
                .or(problem.map(|problem| problem.workspace_name.as_str()))
                .or(self.plan.as_ref().and_then(PlanPart::workspace_name)),
            environment_name: task.map(|task| task.workspace.environment.name.as_str()),
            problem: part,
            plan: self.plan.as_ref(),
            link: link(page),
        };
        // Strings and times can always be serialized.
        serde_json::to_string(&body).unwrap_or_default()
    }
}

/// The occurrences of a rule since then; once there are `most` or more, ended runs are not searched further.
pub(super) async fn occurrences(
    archive: &AlertArchive,
    rule: &AlertRule,
    scope: SearchScope,
    since: Timestamp,
    now: Timestamp,
    most: usize,
) -> Result<Vec<Occurrence>, AlertError> {
    let ended_since = match scope {
        // A transaction that is committed late has an earlier timestamp.
        SearchScope::Quick { since: looked_at } => since.max(looked_at.plus_millis(-OVERLAP_MS)),
        SearchScope::Thorough | SearchScope::Once => since,
    };
    let (tasks, found) = (HashMap::new(), Vec::new());
    let mut finder = Finder { archive, rule, scope, since, ended_since, now, most, tasks, found };
    let of_ended = [
        Condition::RunFailed,
        Condition::RunSlow,
        Condition::RowsUnusual,
        Condition::LogUnusual,
        Condition::EngineUnavailable,
    ];
    if of_ended.into_iter().any(|it| rule.covers(it)) {
        finder.ended_runs().await?;
    }
    let is_thorough = matches!(scope, SearchScope::Thorough | SearchScope::Once);
    if rule.covers(Condition::RunSlow) && is_thorough {
        finder.slow_running_runs().await?;
    }
    if rule.covers(Condition::TaskLate) && is_thorough {
        finder.late_tasks().await?;
    }
    if rule.covers(Condition::NewProblem) {
        finder.new_problems().await?;
    }
    if rule.covers(Condition::ProblemCameBack) {
        finder.problems_that_came_back().await?;
    }
    if rule.covers(Condition::NewError) && is_thorough {
        finder.new_errors().await?;
    }
    if rule.covers(Condition::RejectedRows) {
        finder.rejected_rows().await?;
    }
    if rule.covers(Condition::EngineUnavailable) && is_thorough {
        finder.engines_unavailable().await?;
    }
    if rule.covers(Condition::TaskMissed) && is_thorough {
        finder.missed_tasks().await?;
    }
    if rule.covers(Condition::LogIncomplete) {
        finder.incomplete_logs().await?;
    }
    if rule.covers(Condition::SinkBehind) && is_thorough {
        finder.sinks_behind().await?;
    }
    let parts = (&archive.plans, &archive.workspaces);
    for plan in occurrences_of_plans(parts, rule, (since, ended_since), is_thorough, now).await? {
        let PlanOccurrence { key, what, text, plan, at, about } = plan;
        let (task, run, problem) = (None, None, None);
        finder.found.push(Occurrence {
            key,
            what,
            text,
            task,
            run,
            problem,
            plan: Some(plan),
            is_muted: false,
            at,
            about: Some(about),
        });
    }
    Ok(finder.found)
}

struct Finder<'a> {
    archive: &'a AlertArchive,
    rule: &'a AlertRule,
    scope: SearchScope,
    since: Timestamp,
    /// The time from which on ended runs are considered.
    ended_since: Timestamp,
    now: Timestamp,
    most: usize,
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
        let mut after = None;
        loop {
            let (runs, next) = self.archive.alerts.runs_ended_since(self.ended_since, after, RUNS_MAX).await?;
            for run in &runs {
                self.ended_run(run).await?;
                if self.found.len() >= self.most {
                    return Ok(());
                }
            }
            let Some(next) = next else { return self.failed_without_their_log().await };
            after = Some(next);
        }
    }

    /// Failed runs whose logs have not landed in time; the others are found once they have.
    async fn failed_without_their_log(&mut self) -> Result<(), AlertError> {
        if !self.rule.covers(Condition::RunFailed) {
            return Ok(());
        }
        let (wait_ms, mut after) = (if self.scope == SearchScope::Once { 0 } else { LOG_WAIT_MS }, None);
        let told = (self.ended_since.plus_millis(-wait_ms), self.now.plus_millis(-wait_ms));
        loop {
            let (runs, next) = self.archive.alerts.runs_without_their_log(told, after, RUNS_MAX).await?;
            for run in runs.iter().filter(|run| is_bad(run.status.coarse())) {
                self.ended_run(run).await?;
                if self.found.len() >= self.most {
                    return Ok(());
                }
            }
            let Some(next) = next else { return Ok(()) };
            after = Some(next);
        }
    }

    async fn ended_run(&mut self, run: &Run) -> Result<(), AlertError> {
        let status = run.status.coarse();
        if !self.rule.may_be_about(run) || self.is_old(run).await? {
            return Ok(());
        }
        if self.rule.covers(Condition::EngineUnavailable)
            && let Some(reason) = missing_engine_reason(run)
        {
            self.report_missing_engine(run, reason).await?;
        }
        if is_bad(status) && self.rule.covers(Condition::RunFailed) {
            if let Some(task) = self.task(run.task_id).await? {
                self.failed_run(run, task).await?;
            }
        } else if is_good(status) {
            if self.rule.covers(Condition::RunSlow) {
                self.report_slow_run(run).await?;
            }
            if self.rule.covers(Condition::RowsUnusual) {
                self.report_anomaly(run, Measure::Rows).await?;
            }
            if self.rule.covers(Condition::LogUnusual) {
                self.report_anomaly(run, Measure::Records).await?;
            }
        }
        Ok(())
    }

    /// A failed run is reported with its problem, once that is known, and not at all if that is muted then.
    async fn failed_run(&mut self, run: &Run, task: Task) -> Result<(), AlertError> {
        let problem = match self.archive.problems.of_run(run.id).await? {
            Some(problem) => Some(self.known(problem).await?),
            None if self.may_be_known_soon(run) => return Ok(()),
            None => None,
        };
        let why = match &problem {
            Some(known) => {
                // The values of this run, not those of the latest one.
                let headline = self.archive.problems.headline_of_run(run.id).await?;
                format!(": {}", without_secrets(headline.as_deref().unwrap_or(&known.problem.title)))
            }
            None => run.failure_message().map(|why| format!(": {why}")).unwrap_or_default(),
        };
        let text = format!("{} ended with {}{why}", task.name, run.status.coarse());
        let (key, what) = (format!("run failed {}", run.id), "run_failed");
        let is_muted = problem.as_ref().is_some_and(|known| known.problem.state == ProblemState::Muted);
        let at = self.end_of(run);
        let about = Some(AlertSubject::Failed { task: task.id, at: run.triggered_at });
        let (task, run) = (Some(task), Some(run.id));
        self.found.push(Occurrence { key, what, text, task, run, problem, plan: None, is_muted, at, about });
        Ok(())
    }

    /// Compares the rows of a run, or the records of its log, with those of the previous runs of its task.
    async fn report_anomaly(&mut self, run: &Run, measure: Measure) -> Result<(), AlertError> {
        let Some(task) = self.task(run.task_id).await? else { return Ok(()) };
        let Comparison::Anomaly(Anomaly { component, number, usual }) =
            compared(self.archive, self.rule, run, measure).await?
        else {
            return Ok(());
        };
        let name = component.map_or_else(|| task.name.clone(), |component| format!("{component} of {}", task.name));
        let (id, at, end) = (task.id, run.triggered_at, self.end_of(run));
        let (what, text, about) = match measure {
            Measure::Rows => (
                "rows_unusual",
                format!("{name} processed {number} rows; it usually processes {usual}"),
                AlertSubject::UnusualRows { task: id, at },
            ),
            Measure::Records => (
                "log_unusual",
                format!("{name} logged {number} records; it usually logs {usual}"),
                AlertSubject::UnusualLog { task: id, at },
            ),
        };
        let key = format!("{} {}", what.replace('_', " "), run.id);
        self.add(key, what, text, Some(task), Some(run.id), end, Some(about));
        Ok(())
    }

    /// Reports a run that did not begin for want of its engine, unless others have begun since.
    async fn report_missing_engine(&mut self, run: &Run, reason: &str) -> Result<(), AlertError> {
        let Some(task) = self.task(run.task_id).await? else { return Ok(()) };
        if self.archive.alerts.run_started_after(run.id).await?.is_some() {
            return Ok(());
        }
        let name = engine_of(run);
        let text = format!("{} did not start on {name}: {reason}", task.name);
        let key = format!("engine unavailable {name} for {}", run.id);
        let about = AlertSubject::NoEngine { name, run: run.id };
        self.add(key, "engine_unavailable", text, Some(task), Some(run.id), run.triggered_at, Some(about));
        Ok(())
    }

    /// Component metrics become known after the end of a run, which a later search finds then.
    async fn rejected_rows(&mut self) -> Result<(), AlertError> {
        let mut after = None;
        loop {
            let (runs, next) = self.archive.alerts.runs_that_rejected_rows(self.ended_since, after, RUNS_MAX).await?;
            for run in &runs {
                self.report_rejected_rows(run).await?;
                if self.found.len() >= self.most {
                    return Ok(());
                }
            }
            let Some(next) = next else { return Ok(()) };
            after = Some(next);
        }
    }

    async fn report_rejected_rows(&mut self, run: &Run) -> Result<(), AlertError> {
        if !self.rule.may_be_about(run) || self.is_old(run).await? {
            return Ok(());
        }
        let known = self.archive.alerts.rejected_rows(run).await?;
        let rows = known.unwrap_or(u64::from(run.status.coarse() == RunStatus::Rejected));
        if rows == 0 || rows < self.rule.rejected_rows {
            return Ok(());
        }
        let Some(task) = self.task(run.task_id).await? else { return Ok(()) };
        let of = run.processed_rows.map(|rows| format!(" of {rows}")).unwrap_or_default();
        let text = match known {
            Some(_) => format!("{} rejected {rows} rows{of}", task.name),
            None => format!("{} rejected rows{of}; how many is not known", task.name),
        };
        let (key, at) = (format!("rejected rows {}", run.id), self.end_of(run));
        let about = AlertSubject::Rejected { task: task.id, at: run.triggered_at };
        self.add(key, "rejected_rows", text, Some(task), Some(run.id), at, Some(about));
        Ok(())
    }

    async fn engines_unavailable(&mut self) -> Result<(), AlertError> {
        // The run that waits for longest, and how many wait.
        let mut engines: BTreeMap<String, (Run, u64)> = BTreeMap::new();
        let mut after = None;
        loop {
            let (runs, next) = waiting_runs(self.archive, self.rule, self.now, after).await?;
            for run in runs {
                if self.rule.may_be_about(&run) && self.task(run.task_id).await?.is_some() {
                    let engine = engine_of(&run);
                    engines.entry(engine).and_modify(|(_, runs)| *runs += 1).or_insert((run, 1));
                }
            }
            let Some(next) = next else { break };
            after = Some(next);
        }
        for (name, (first, runs)) in engines {
            let about = AlertSubject::Engine { name: name.clone() };
            let Some(task) = self.task(first.task_id).await? else { continue };
            let count = if runs == 1 { "1 run waits".to_owned() } else { format!("{runs} runs wait") };
            let since = first.triggered_at;
            let text = format!("{count} for {name} since {}, the first of {}", since.to_seconds_text(), task.name);
            let (key, run) = (format!("engine unavailable {name} since {since}"), Some(first.id));
            self.add(key, "engine_unavailable", text, Some(task), run, since, Some(about));
        }
        Ok(())
    }

    /// Tasks that should have run at the last time of the schedule that is longer ago than they may be late.
    async fn missed_tasks(&mut self) -> Result<(), AlertError> {
        let Some(TaskSchedule { last_due, grace }) = self.rule.schedule.clone() else { return Ok(()) };
        let Some(due) = last_due(self.now.plus_millis(-millis(grace))).filter(|due| *due >= self.since) else {
            return Ok(());
        };
        let mut after = None;
        loop {
            let tasks = self.archive.alerts.last_runs(after, TASKS_MAX).await?;
            for (id, last) in &tasks {
                self.report_missed_run(*id, *last, due).await?;
            }
            match tasks.last() {
                Some((last, _)) if tasks.len() as u64 >= TASKS_MAX => after = Some(*last),
                _ => return Ok(()),
            }
        }
    }

    async fn report_missed_run(
        &mut self,
        id: TaskId,
        last: Option<Timestamp>,
        due: Timestamp,
    ) -> Result<(), AlertError> {
        // Schedulers begin a little early at times.
        let began = due.plus_millis(-EARLY_MS_MAX);
        if last.is_some_and(|last| last >= began) {
            return Ok(());
        }
        let Some(task) = self.task(id).await? else { return Ok(()) };
        let last =
            last.map_or("it never ran".to_owned(), |last| format!("its last run was at {}", last.to_seconds_text()));
        let text = format!("{} should have run at {}; {last}", task.name, due.to_seconds_text());
        let about = AlertSubject::Late { task: id, after: began };
        self.add(format!("task missed {id} {due}"), "task_missed", text, Some(task), None, due, Some(about));
        Ok(())
    }

    /// When a run ended; now if it is running.
    fn end_of(&self, run: &Run) -> Timestamp {
        run.finished_at.or(run.final_since).unwrap_or(self.now)
    }

    /// True if a run ended before the time that is searched, and was added to the archive only now: by a backfill, a
    /// first collection, or the push of an old log.
    async fn is_old(&self, run: &Run) -> Result<bool, AlertError> {
        let ended = run.finished_at.or(run.started_at).unwrap_or(run.triggered_at);
        if ended >= self.since {
            return Ok(false);
        }
        // If the upstream reports no end of a run, the time of its start is recorded as its end. It ended later if it
        // was seen running.
        let has_end = run.finished_at.is_some_and(|finished| run.started_at.is_none_or(|started| started < finished));
        let has_ended_now = !has_end && run.final_since.is_some_and(|since| since >= self.since);
        Ok(!has_ended_now || !self.archive.alerts.was_seen_running(run.id).await?)
    }

    /// True if the problem of a run that has ended may become known before a later search.
    fn may_be_known_soon(&self, run: &Run) -> bool {
        // Its log has not landed in time.
        let Some(since) = run.final_since else { return false };
        let ended_ms_ago = self.now.millis_since(since);
        self.scope != SearchScope::Once && (ended_ms_ago < PROBLEM_WAIT_MS || !self.archive.runs.is_settled(run))
    }

    async fn known(&self, problem: ProblemBody) -> Result<ProblemWithTasks, AlertError> {
        let tasks = self.archive.problems.tasks(&problem.id, TASK_NAMES_MAX, 0).await?;
        let task_names = tasks.into_iter().map(|task| task.task_name).collect();
        Ok(ProblemWithTasks { problem, task_names, tasks: Vec::new() })
    }

    async fn slow_running_runs(&mut self) -> Result<(), AlertError> {
        let (before, mut after) = (self.now.plus_millis(-SLOW_MIN_MS), None);
        loop {
            let (runs, next) = self.archive.alerts.running_runs(before, after, RUNS_MAX).await?;
            for run in runs.iter().filter(|run| self.rule.may_be_about(run)) {
                self.report_slow_run(run).await?;
            }
            let Some(next) = next else { return Ok(()) };
            after = Some(next);
        }
    }

    /// Compares a run with the previous runs of its task.
    async fn report_slow_run(&mut self, run: &Run) -> Result<(), AlertError> {
        let Some(task) = self.task(run.task_id).await? else { return Ok(()) };
        // However many others were triggered since: a run that hangs does not keep them from it.
        let since = run.triggered_at.plus_millis(-LATE_MAX_MS);
        let runs = self.archive.summaries.runs_up_to(run, since, RECENT_RUNS_MAX).await?;
        if runs.first().is_none_or(|first| first.run_id != run.id) {
            return Ok(());
        }
        for reason in reasons_of(&runs, self.now) {
            if let Reason::Slow { duration_ms, usual_ms, is_running, .. } = reason {
                let (word, took, usual) =
                    (if is_running { "has been running for" } else { "took" }, seconds(duration_ms), seconds(usual_ms));
                let text = format!("{} {word} {took}; it usually takes {usual}", task.name);
                let (key, at) = (format!("run slow {}", run.id), self.end_of(run));
                let about = AlertSubject::Slow { task: task.id, at: run.triggered_at };
                self.add(key, "run_slow", text, Some(task.clone()), Some(run.id), at, Some(about));
            }
        }
        Ok(())
    }

    async fn late_tasks(&mut self) -> Result<(), AlertError> {
        let (from, to) = (self.now.plus_millis(-LATE_MAX_MS), self.now.plus_millis(-LATE_MIN_MS));
        for id in self.archive.alerts.tasks_last_run_between(from, to).await? {
            let Some(task) = self.task(id).await? else { continue };
            let summaries = &self.archive.summaries;
            let starts = summaries.starts_of_task(id, self.now.plus_millis(-STARTS_LOOK_BACK_MS), STARTS_MAX).await?;
            let (zone, grace_ms) = (&self.rule.zone, millis(self.rule.grace));
            let Some(missing) = missing_start(&starts, self.now, zone, grace_ms) else { continue };
            let last = summaries.recent_runs_of_task(id, missing.last, 1).await?;
            if last.first().is_some_and(|last| !last.status.is_final()) {
                continue;
            }
            let text = format!("{} {}", task.name, late_in_words(&missing));
            let key = format!("task late {id} since {}", missing.last);
            let about = AlertSubject::Late { task: id, after: missing.last };
            self.add(key, "task_late", text, Some(task), None, self.now, Some(about));
        }
        Ok(())
    }

    async fn new_problems(&mut self) -> Result<(), AlertError> {
        let filter = ProblemFilter { new_since: Some(self.since), ..self.open_problems() };
        for KnownProblem { problem, created_at, .. } in self.all_problems(filter).await? {
            // A problem whose state was set by a user is already known.
            if problem.state_set_at.is_none() {
                let key = format!("new problem {} {created_at}", problem.id);
                self.report_problem(problem, key, "new_problem", "new problem").await?;
            }
        }
        Ok(())
    }

    async fn problems_that_came_back(&mut self) -> Result<(), AlertError> {
        let filter = ProblemFilter { back_since: Some(self.since), ..self.open_problems() };
        for KnownProblem { problem, .. } in self.all_problems(filter).await? {
            let Some(at) = problem.came_back_at else { continue };
            let key = format!("problem came back {} {at}", problem.id);
            self.report_problem(problem, key, "problem_came_back", "problem came back").await?;
        }
        Ok(())
    }

    fn open_problems(&self) -> ProblemFilter {
        // Runs that ended long ago may be added to the archive now.
        let (state, seen_since) = (Some(ProblemState::Open), Some(self.since));
        ProblemFilter { state, seen_since, ..ProblemFilter::default() }
    }

    /// The problems of all pages. One that moves to another page meanwhile is found by the next search.
    async fn all_problems(&self, filter: ProblemFilter) -> Result<Vec<KnownProblem>, AlertError> {
        all_pages(|_, offset| {
            let filter = ProblemFilter { limit: ROWS_MAX, offset, ..filter.clone() };
            async move { self.archive.problems.list_known(&filter).await }
        })
        .await
    }

    /// Reports a problem if the rule applies to one of the tasks that it hits. The alert is about the problem, however
    /// many tasks and runs it hits.
    async fn report_problem(
        &mut self,
        problem: ProblemBody,
        key: String,
        what: &'static str,
        word: &str,
    ) -> Result<(), AlertError> {
        let hit = tasks_of_problem(&self.archive.problems, &problem.id).await?;
        let mut tasks = Vec::new();
        for task in &hit {
            tasks.extend(self.task(task.task_id).await?);
        }
        if tasks.is_empty() {
            return Ok(());
        }
        let task_names = hit.into_iter().take(TASK_NAMES_MAX as usize).map(|task| task.task_name).collect();
        let known = ProblemWithTasks { problem, task_names, tasks };
        let ProblemWithTasks { problem, task_names, .. } = &known;
        let others = problem.tasks.saturating_sub(task_names.len() as u64);
        let more = if others > 0 { format!(" and {others} more") } else { String::new() };
        let text = format!(
            "{word} in {}: {} (tasks: {}{more})",
            problem.workspace_name,
            without_secrets(problem.shown_title()),
            task_names.join(", ")
        );
        let at = known.problem.came_back_at.unwrap_or(known.problem.first_seen);
        let about = Some(AlertSubject::Problem { id: known.problem.id.clone() });
        let (task, run, problem) = (None, None, Some(known));
        self.found.push(Occurrence { key, what, text, task, run, problem, plan: None, is_muted: false, at, about });
        Ok(())
    }

    /// Kinds of errors, also of runs that did not fail.
    async fn new_errors(&mut self) -> Result<(), AlertError> {
        for workspace in self.archive.workspaces.list().await? {
            let mut offset = 0;
            loop {
                let summaries = &self.archive.summaries;
                let errors = summaries.new_error_groups(workspace.id, self.since, ROWS_MAX, offset).await?;
                let is_last = (errors.len() as u64) < ROWS_MAX;
                for error in errors {
                    self.new_error(error).await?;
                }
                if is_last {
                    break;
                }
                offset += ROWS_MAX;
            }
        }
        Ok(())
    }

    async fn new_error(&mut self, error: ErrorGroup) -> Result<(), AlertError> {
        // The stack trace of an error is not a separate error.
        if error.kind != ErrorGroupKind::Pattern {
            return Ok(());
        }
        let Some(task) = self.task(error.task_id).await? else { return Ok(()) };
        let text = format!("{} logged a new kind of error: {}", task.name, error.title);
        let key = format!("new error {} {}", task.id, error.id);
        self.add(key, "new_error", text, Some(task), Some(error.first.1), error.first.0, None);
        Ok(())
    }

    async fn incomplete_logs(&mut self) -> Result<(), AlertError> {
        let mut after = None;
        loop {
            let runs = self.archive.alerts.incomplete_runs(after.as_ref(), ROWS_MAX).await?;
            let is_last = (runs.len() as u64) < ROWS_MAX;
            after = runs.last().cloned();
            for run in runs {
                self.incomplete_log(run).await?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn incomplete_log(&mut self, run: IncompleteRun) -> Result<(), AlertError> {
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
            return Ok(());
        }
        let text = format!(
            "the log of run {} could not be collected completely from {}: {}",
            run.run_id, run.upstream, run.last_error
        );
        // It may have been over before, when the upstream had no log of the run.
        let again = run.ended_before.map(|at| format!(" since {}", Timestamp::clamped(at))).unwrap_or_default();
        let key = format!("log incomplete {} {}{again}", run.upstream, run.run_id);
        let about = AlertSubject::Log { upstream: run.upstream, run: run.run_id };
        self.add(key, "log_incomplete", text, task, run_id, self.now, Some(about));
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
            let runs = if lag.waiting == 1 { "1 run is".to_owned() } else { format!("{} runs are", lag.waiting) };
            let text = format!("sink {} is behind by {}: {runs} due{why}", lag.sink, seconds(waits_ms));
            let since = self.archive.alerts.sink_behind_since(&self.rule.name, &lag.sink).await?;
            let key = format!("sink behind {} since {since}", lag.sink);
            self.add(key, "sink_behind", text, None, None, self.now, Some(AlertSubject::Sink { name: lag.sink }));
        }
        Ok(self.archive.alerts.mark_sinks_caught_up(&self.rule.name, &not_caught_up).await?)
    }

    #[allow(clippy::too_many_arguments, reason = "each is a field of what is added")]
    fn add(
        &mut self,
        key: String,
        what: &'static str,
        text: String,
        task: Option<Task>,
        run: Option<RunId>,
        at: Timestamp,
        about: Option<AlertSubject>,
    ) {
        self.found.push(Occurrence {
            key,
            what,
            text,
            task,
            run,
            problem: None,
            plan: None,
            is_muted: false,
            at,
            about,
        });
    }
}

/// A line of a log as it is sent to others: passwords and tokens in it are replaced.
fn without_secrets(line: &str) -> String {
    static SECRETS: LazyLock<Redactor> = LazyLock::new(|| {
        let named = ["secret", "url_password"].map(Redaction::named);
        Redactor::new(named.into_iter().flatten().collect())
    });
    let mut text = line.to_owned();
    SECRETS.text(&mut text);
    text
}
