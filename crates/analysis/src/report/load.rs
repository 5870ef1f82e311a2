//! The common parts of reports: the run, and the summary of its log if there is one.

use runlog_model::{Run, RunId, RunStatus, TaskId, Timestamp, WorkspaceId};
use runlog_store::components::Components;
use runlog_store::logs::Logs;
use runlog_store::problems::Problems;
use runlog_store::runs::Runs;
use runlog_store::summaries::{LogSummary, RecentRun, Summaries};
use runlog_store::workspaces::Workspaces;
use runlog_store::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::summary::summarize_log;
use crate::summary::{RunSummary, errors_of, read_summary};

/// Maximum length of a log that is summarised on request before it is sealed. Unit: records.
///
/// This costs about as much as a page of the log.
pub const ON_THE_SPOT_RECORDS_MAX: u64 = 200_000;

/// The parts of an archive that reports read.
#[derive(Debug, Clone, Copy)]
pub struct ReportSources<'a> {
    /// Summaries and error groups.
    pub summaries: &'a Summaries,
    /// Logs, for those that have no summary yet.
    pub logs: &'a Logs,
    /// Problems, and their runs.
    pub problems: &'a Problems,
    /// Component metrics.
    pub components: &'a Components,
    /// Counts of runs.
    pub runs: &'a Runs,
    /// Names of tasks and workspaces.
    pub workspaces: &'a Workspaces,
}

/// The header of a report: the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunHead {
    /// The run.
    pub run_id: RunId,
    /// The task.
    pub task_id: TaskId,
    /// The name.
    pub task_name: String,
    /// The workspace of the task.
    pub workspace_id: WorkspaceId,
    /// The name.
    pub workspace_name: String,
    /// Status.
    pub status: RunStatus,
    /// When it was triggered.
    pub triggered_at: Timestamp,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Its duration so far. Unit: milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    /// The error message of the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Number of records in its log.
    pub records: u64,
    /// Number of records with severity ERROR or worse.
    pub errors: u64,
    /// Number of warnings.
    pub warnings: u64,
}

/// A run in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunPoint {
    /// The run.
    pub run_id: RunId,
    /// Status.
    pub status: RunStatus,
    /// When it was triggered.
    pub triggered_at: Timestamp,
    /// Its duration. Unit: milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    /// Number of records in its log.
    pub records: u64,
    /// Number of records with severity ERROR or worse.
    pub errors: u64,
    /// Number of warnings.
    pub warnings: u64,
}

/// The basis of a report on a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogPart {
    /// Whether there is a summary and, if not, why.
    pub state: LogState,
    /// The same as a sentence.
    pub text: String,
    /// Number of records currently in the log.
    pub records: u64,
    /// Number of records in the summary; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summarized: Option<u64>,
    /// When the summary was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made_at: Option<Timestamp>,
    /// Earliest time at which there will be a summary; absent if that depends on the end of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_at: Option<Timestamp>,
}

/// Whether a log has a summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum LogState {
    /// The summary is of the whole log.
    Whole,
    /// The summary was created for this request from the current records; the log is not sealed yet, and may grow.
    Provisional,
    /// The summary is outdated: more records have arrived, and it will be recomputed.
    Outdated,
    /// The log is too long to be summarised before it is sealed.
    NotYet,
    /// The run is active, and nothing has been logged yet.
    NothingYet,
    /// The run is over, and has no log.
    None,
    /// The log was deleted, by someone or by retention.
    Deleted,
    /// A part of the log is damaged or missing, so that it cannot be summarised.
    Damaged,
}

/// A run with the summary of its log, if there is one.
pub(crate) struct Loaded {
    pub(crate) run: Run,
    pub(crate) log: LogPart,
    pub(crate) summary: Option<RunSummary>,
}

/// Reads the summary of a log, or creates it. `NotFound`: no such run.
pub(crate) async fn load(sources: ReportSources<'_>, run_id: RunId) -> Result<Loaded> {
    let found = sources.summaries.get(run_id).await?;
    let found = found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("there is no run {run_id}")))?;
    let kept = found.summary.as_ref().map(read_summary).transpose()?;
    let is_whole = found.summary.as_ref().is_some_and(|kept| kept.log == found.log);
    let mut damaged_object = None;
    let (state, summary) = match kept {
        Some(summary) if is_whole => (LogState::Whole, Some(summary)),
        _ if found.log.records == 0 => (state_without_records(&found), None),
        kept if found.log.records <= ON_THE_SPOT_RECORDS_MAX => match summarize_log(sources.logs, run_id).await {
            Ok(summary) => (LogState::Provisional, Some(summary)),
            Err(error) => {
                damaged_object = Some(error.damaged_object().map(str::to_owned).ok_or(error)?);
                (LogState::Damaged, kept)
            }
        },
        kept => {
            damaged_object = sources.logs.damaged_object(run_id).await?;
            match (&damaged_object, &kept) {
                (Some(_), _) => (LogState::Damaged, kept),
                (None, Some(_)) => (LogState::Outdated, kept),
                (None, None) => (LogState::NotYet, kept),
            }
        }
    };
    let made_at = found.summary.as_ref().map(|kept| kept.made_at);
    let is_expected = !is_whole && damaged_object.is_none() && found.run.final_since.is_some();
    let expected_at = found.seal_at.filter(|_| is_expected);
    let text = match &damaged_object {
        Some(object) => damage_in_words(object, summary.is_some()),
        None => sentence(state, &found, expected_at),
    };
    let log = LogPart {
        state,
        text,
        records: found.log.records,
        summarized: summary.as_ref().map(|summary| summary.records),
        made_at: made_at.filter(|_| matches!(state, LogState::Whole | LogState::Outdated | LogState::Damaged)),
        expected_at,
    };
    Ok(Loaded { run: found.run, log, summary })
}

fn state_without_records(found: &LogSummary) -> LogState {
    match (found.log.epoch > 0, found.run.final_since.is_some()) {
        (true, _) => LogState::Deleted,
        (false, true) => LogState::None,
        (false, false) => LogState::NothingYet,
    }
}

fn sentence(state: LogState, found: &LogSummary, expected_at: Option<Timestamp>) -> String {
    let when = match expected_at {
        Some(at) => format!("after {}", at.to_seconds_text()),
        None if found.run.final_since.is_some() => "soon".to_owned(),
        None if found.run.status.is_final() => "when the whole log has been collected".to_owned(),
        None => "after the end of the run".to_owned(),
    };
    match state {
        LogState::Whole => "based on the whole log".to_owned(),
        LogState::Provisional => {
            format!("provisional: based on the records so far; final {when}")
        }
        LogState::Outdated => format!("based on the log before more records arrived; updated {when}"),
        LogState::NotYet => format!("the log is long and will be summarised {when}"),
        LogState::NothingYet if found.run.status.is_final() => {
            "the run has ended, and its log is still to be collected".to_owned()
        }
        LogState::NothingYet => "the run is active and has not logged anything yet".to_owned(),
        LogState::None => match found.absence {
            Some(absence) => format!("the run has ended without a log: {}", absence.text()),
            None => "the run has ended without a log".to_owned(),
        },
        LogState::Deleted => "the log was deleted".to_owned(),
        LogState::Damaged => "the log is damaged".to_owned(),
    }
}

/// Returns the reason why a log cannot be summarised, and what to do.
fn damage_in_words(object: &str, has_summary: bool) -> String {
    let basis = if has_summary { "based on the log before more records arrived; " } else { "" };
    format!(
        "{basis}the log cannot be summarised because object {object} is damaged or missing; `runlog archive verify` lists \
         the affected runs and what to do"
    )
}

impl RunHead {
    pub(crate) async fn of(workspaces: &Workspaces, run: &Run) -> Result<Self> {
        let task = workspaces.task(run.task_id).await?;
        let task =
            task.ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("the task of run {} is missing", run.id)))?;
        Ok(Self {
            run_id: run.id,
            task_id: run.task_id,
            task_name: task.name,
            workspace_id: run.workspace_id,
            workspace_name: task.workspace.name,
            status: run.status.coarse(),
            triggered_at: run.triggered_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
            duration_ms: duration_ms(run.started_at, run.triggered_at, run.finished_at),
            error_message: run.error_message.clone(),
            records: run.records,
            errors: errors_of(&run.severities),
            warnings: run.severities.of(runlog_model::Severity::Warn),
        })
    }
}

impl From<&RecentRun> for RunPoint {
    fn from(run: &RecentRun) -> Self {
        Self {
            run_id: run.run_id,
            status: run.status,
            triggered_at: run.triggered_at,
            duration_ms: duration_of(run),
            records: run.severities.total(),
            errors: errors_of(&run.severities),
            warnings: run.severities.of(runlog_model::Severity::Warn),
        }
    }
}

/// Returns the duration of a run; none while it is active.
pub(crate) fn duration_of(run: &RecentRun) -> Option<i64> {
    duration_ms(run.started_at, run.triggered_at, run.finished_at)
}

fn duration_ms(started: Option<Timestamp>, triggered: Timestamp, finished: Option<Timestamp>) -> Option<i64> {
    finished.map(|finished| finished.millis_since(started.unwrap_or(triggered)).max(0))
}
