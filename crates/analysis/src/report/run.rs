//! The report on a run: what failed first and why, what is new compared with the last successful run, and gaps.

use runlog_model::record::SeverityCounts;
use runlog_model::wire::problems::{ProblemBody, ProblemTaskBody};
use runlog_model::{Run, RunId, Severity, Timestamp};
use runlog_store::Result;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::components::{ComponentsPart, components_of};
use super::load::{LogPart, ReportSources, RunHead, load};
use super::reasons::{is_bad, is_good};
use crate::patterns::{Change, Comparison, Pattern, PatternChange, Patterns};
use crate::stack_trace::{StackTraceGroup, StackTraceGroups};
use crate::summary::{GOOD_RUNS_MAX, GoodSuspects, Logged, RunSummary, headline_of, summaries_of};
use crate::{Failure, Headline, Outlier, SlowGap, Suspect, Timeline};

/// Maximum number of patterns of a report: the most severe, then the most frequent.
const PATTERNS_SHOWN_MAX: usize = 30;

/// Maximum number of groups of stack traces of a report.
const GROUPS_SHOWN_MAX: usize = 20;

/// Maximum number of changes of a report.
const CHANGES_SHOWN_MAX: usize = 40;

/// Maximum number of tasks that are listed with a problem.
const PROBLEM_TASKS_MAX: u64 = 5;

/// Maximum number of texts that may be the cause.
const SUSPECTS_SHOWN_MAX: usize = 12;

/// A report on a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// The run.
    pub run: RunHead,
    /// The basis of the other fields, which are absent without a summary.
    pub log: LogPart,
    /// Statistics of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
    /// Why the run failed; absent if it did not fail and its log has no error, or if nothing names a cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headline: Option<Headline>,
    /// The problem of the run: its root cause, numbers of runs and tasks, and state; absent if the run did not fail,
    /// and until its log is summarised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ProblemBody>,
    /// The tasks affected by the problem, those with the most runs first; at most 5.
    #[serde(default)]
    pub problem_tasks: Vec<ProblemTaskBody>,
    /// Number of last successful runs whose errors are not considered the cause; at most 5.
    #[serde(default)]
    pub good_runs: u64,
    /// Texts of the log that may be the cause, in the order of the log, with their weights.
    #[serde(default)]
    pub suspects: Vec<Suspect>,
    /// What failed first, its causes, and later errors; absent if the log has no error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Comparison with the last successful run of the task, or else with the previous run; absent if there is neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Against>,
    /// What the components read and wrote, compared with the last successful run; absent without component metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub components: Option<ComponentsPart>,
    /// Volume and severity over time, without outliers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
    /// The longest gaps in the log, longest first, without outliers.
    #[serde(default)]
    pub gaps: Vec<SlowGap>,
    /// Records dated more than a year away from the others, earliest first.
    #[serde(default)]
    pub outliers: Vec<Outlier>,
    /// The most severe and most frequent patterns; `/patterns` returns all.
    #[serde(default)]
    pub patterns: Vec<Pattern>,
    /// Stack traces by root cause, most severe first.
    #[serde(default)]
    pub stack_traces: Vec<StackTraceGroup>,
}

/// Statistics of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Records by severity: OTHER, TRACE, DEBUG, INFO, WARN, ERROR, FATAL.
    pub severities: SeverityCounts,
    /// The earliest time of a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Timestamp>,
    /// The latest time of a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// Number of patterns.
    pub patterns: u64,
    /// Records that are in no pattern, because there were too many different ones.
    pub records_in_no_pattern: u64,
}

/// Comparison with an earlier run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Against {
    /// The earlier run.
    pub run: RunHead,
    /// True if this is the last successful run; false if there is none, and it is the previous run.
    pub is_good: bool,
    /// Number of patterns by kind of change.
    pub counts: ChangeCounts,
    /// Patterns that changed: new, more frequent, gone, less frequent; in each group, the most severe first.
    pub changes: Vec<PatternChange>,
    /// Root causes of stack traces that the earlier run does not have.
    pub new_causes: Vec<StackTraceGroup>,
    /// False if one of the logs has more patterns than are kept.
    pub complete: bool,
}

/// Number of patterns by kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeCounts {
    /// Only in the later log.
    pub new: u64,
    /// In both, more frequent in the later one.
    pub more_often: u64,
    /// Only in the earlier log.
    pub gone: u64,
    /// In both, less frequent in the later one.
    pub less_often: u64,
    /// In both, about as frequent.
    pub unchanged: u64,
}

/// All patterns of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunPatterns {
    /// The run.
    pub run_id: RunId,
    /// The basis of the other fields, which are absent without a summary.
    pub log: LogPart,
    /// The patterns, most severe first, then most frequent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patterns: Option<Patterns>,
    /// Its stack traces by root cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_traces: Option<StackTraceGroups>,
}

/// Returns the report on a run. Fails with `NotFound` if the run does not exist.
pub async fn run_report(sources: ReportSources<'_>, run_id: RunId) -> Result<RunReport> {
    let loaded = load(sources, run_id).await?;
    let run = RunHead::of(sources.workspaces, &loaded.run).await?;
    let engine = loaded.run.failure_message();
    let problem = sources.problems.of_run(run_id).await?;
    let problem_tasks = match &problem {
        Some(problem) => sources.problems.tasks(&problem.id, PROBLEM_TASKS_MAX, 0).await?,
        None => Vec::new(),
    };
    let components = components_of(sources.components, &loaded.run).await?;
    let Some(mut summary) = loaded.summary else {
        return Ok(RunReport {
            headline: headline_of(Logged::default(), &[], engine).filter(|_| is_bad(run.status)),
            problem,
            problem_tasks,
            good_runs: 0,
            suspects: Vec::new(),
            run,
            log: loaded.log,
            figures: None,
            failure: None,
            against: None,
            components,
            timeline: None,
            gaps: Vec::new(),
            outliers: Vec::new(),
            patterns: Vec::new(),
            stack_traces: Vec::new(),
        });
    };
    // A successful run is only compared with the last one; for a failed run, the errors of the last few are excluded as
    // causes.
    let good_runs_max = if is_good(run.status) { 1 } else { GOOD_RUNS_MAX };
    let good_runs = sources.summaries.previous_runs(&loaded.run, true, good_runs_max).await?;
    let against = against(sources, &loaded.run, good_runs.first(), &summary).await?;
    let good = match is_good(run.status) {
        true => Vec::new(),
        false => summaries_of(sources.summaries, &good_runs).await?,
    };
    let headline = summary.headline(&good, engine);
    let headline = headline.filter(|_| is_bad(run.status) || summary.failure.is_some());
    let suspects = match &headline {
        Some(_) => suspects_shown(std::mem::take(&mut summary.suspects), &good),
        None => Vec::new(),
    };
    let figures = Some(Figures::of(&summary));
    let (mut patterns, mut stack_traces) = (summary.patterns.patterns, summary.stack_traces.groups);
    patterns.truncate(PATTERNS_SHOWN_MAX);
    stack_traces.truncate(GROUPS_SHOWN_MAX);
    Ok(RunReport {
        run,
        log: loaded.log,
        figures,
        headline,
        problem,
        problem_tasks,
        good_runs: good.len() as u64,
        suspects,
        failure: summary.failure,
        against,
        components,
        timeline: Some(summary.timeline),
        gaps: summary.gaps,
        outliers: summary.outliers,
        patterns,
        stack_traces,
    })
}

/// Returns the texts to show with a headline, and whether the last successful runs logged them.
fn suspects_shown(mut suspects: Vec<Suspect>, good: &[RunSummary]) -> Vec<Suspect> {
    suspects.retain(|suspect| !suspect.is_last_line() && (suspect.severity >= Severity::Warn || suspect.is_strong));
    suspects.truncate(SUSPECTS_SHOWN_MAX);
    if !good.is_empty() {
        let logged: Vec<Logged<'_>> = good.iter().map(RunSummary::logged).collect();
        let good_suspects = GoodSuspects::of(&logged);
        for suspect in &mut suspects {
            suspect.is_known = Some(good_suspects.have(suspect));
        }
    }
    suspects
}

/// Returns all patterns of a run. Fails with `NotFound` if the run does not exist.
pub async fn run_patterns(sources: ReportSources<'_>, run_id: RunId) -> Result<RunPatterns> {
    let loaded = load(sources, run_id).await?;
    let (patterns, stack_traces) = loaded.summary.map(|summary| (summary.patterns, summary.stack_traces)).unzip();
    Ok(RunPatterns { run_id, log: loaded.log, patterns, stack_traces })
}

/// Compares the run with the last successful one or, if there is none, with the previous one.
async fn against(
    sources: ReportSources<'_>,
    run: &Run,
    good: Option<&Run>,
    later: &RunSummary,
) -> Result<Option<Against>> {
    let is_good = good.is_some();
    let earlier = match good {
        Some(good) => Some(good.id),
        None => sources.summaries.previous_runs(run, false, 1).await?.pop().map(|run| run.id),
    };
    let Some(earlier) = earlier else { return Ok(None) };
    let earlier = load(sources, earlier).await?;
    let Some(summary) = earlier.summary else { return Ok(None) };
    let comparison = summary.patterns.compare(&later.patterns);
    let counts = ChangeCounts::of(&comparison);
    let mut changes = comparison.patterns;
    changes.retain(|pattern| pattern.change != Change::Unchanged);
    changes.truncate(CHANGES_SHOWN_MAX);
    let mut new_causes = causes_only_in(&later.stack_traces, &summary.stack_traces);
    new_causes.truncate(GROUPS_SHOWN_MAX);
    let run = RunHead::of(sources.workspaces, &earlier.run).await?;
    Ok(Some(Against { run, is_good, counts, changes, new_causes, complete: comparison.complete }))
}

/// Returns the groups of one log that the other does not have.
pub(super) fn causes_only_in(one: &StackTraceGroups, other: &StackTraceGroups) -> Vec<StackTraceGroup> {
    let known: std::collections::HashSet<_> = other.groups.iter().map(|group| group.cause.id).collect();
    one.groups.iter().filter(|group| !known.contains(&group.cause.id)).cloned().collect()
}

impl ChangeCounts {
    pub(super) fn of(comparison: &Comparison) -> Self {
        let mut counts = Self::default();
        for pattern in &comparison.patterns {
            let count = match pattern.change {
                Change::New => &mut counts.new,
                Change::MoreOften { .. } => &mut counts.more_often,
                Change::Gone => &mut counts.gone,
                Change::LessOften { .. } => &mut counts.less_often,
                Change::Unchanged => &mut counts.unchanged,
            };
            *count += 1;
        }
        counts
    }
}

impl Figures {
    pub(super) fn of(summary: &RunSummary) -> Self {
        Self {
            severities: summary.severities,
            first: summary.first,
            last: summary.last,
            patterns: summary.patterns.patterns.len() as u64,
            records_in_no_pattern: summary.patterns.rest.records(),
        }
    }
}
