//! The report of a workspace as a document.

use runlog_analysis::report::{NewErrorGroup, Reason, WorkspaceReport};
use runlog_model::ErrorGroupKind;

use super::phrases::{counted, number, severity, status, strip_of, text, time};
use crate::render::document::{Block, Document, Span, Tone, faint, plain, strong, toned};
use crate::render::preferences::shown_seconds;
use crate::render::terminal::{count, duration};

/// Most tasks that are shown.
const TASKS_SHOWN: usize = 50;

/// Most characters of an error in a reason on the terminal.
const REASON_CHARS_MAX: usize = 102;

/// Most new kinds of errors that are shown.
const ERROR_GROUPS_SHOWN: usize = 30;

/// The tasks of a workspace that need attention.
pub(super) fn document_of_workspace(report: &WorkspaceReport) -> Document {
    let mut document = Document::new(format!("Workspace {}", report.workspace_name));
    put_workspace(&mut document, report);
    document
}

/// Reports on several workspaces, in this order. Workspaces without recent runs whose tasks need no attention are only
/// counted.
pub(super) fn document_of_workspaces(reports: &[WorkspaceReport]) -> Document {
    let mut document = Document::new("All workspaces");
    let (quiet, busy): (Vec<_>, Vec<_>) =
        reports.iter().partition(|report| report.tasks_to_check.is_empty() && report.outcomes.is_empty());
    if reports.is_empty() {
        document.line([plain("there is no workspace that you may view")]);
    }
    for report in busy {
        document.heading(format!("Workspace {}", report.workspace_name));
        put_workspace(&mut document, report);
    }
    if !quiet.is_empty() {
        let quiet = counted(quiet.len() as u64, "workspace");
        document.line([faint(format!("{quiet} without runs in this time and without tasks that need attention"))]);
    }
    document
}

fn put_workspace(document: &mut Document, report: &WorkspaceReport) {
    let (since, until) = (shown_seconds(report.since), shown_seconds(report.until));
    let runs = report.outcomes.iter().map(|outcome| outcome.runs).sum();
    document.line([plain(format!("{} from {since} to {until}", counted(runs, "run")))]);
    if report.is_cut {
        document.line([toned(Tone::Warning, "there are more tasks and runs than a report includes")]);
    }
    let rows = report.outcomes.iter().map(|it| vec![plain(count(it.runs)), status(it.status)]).collect();
    document.table(&["runs", "outcome"], &[0], rows);
    let tasks = counted(report.tasks_to_check.len() as u64, "task");
    document.heading(format!("{tasks} to check, {} fine", count(report.tasks_fine)));
    for task in report.tasks_to_check.iter().take(TASKS_SHOWN) {
        document.line([strong(&task.task_name), faint(format!("  {}", task.task_id))]);
        document.push(Block::Strip(strip_of(&task.runs)));
        document.push(Block::List(task.reasons.iter().map(|it| (1, reason(it))).collect()));
    }
    if report.tasks_to_check.len() > TASKS_SHOWN {
        document.line([faint(format!("and {} more; --json shows them", report.tasks_to_check.len() - TASKS_SHOWN))]);
    }
    put_new_error_groups(document, &report.new_error_groups);
}

fn put_new_error_groups(document: &mut Document, groups: &[NewErrorGroup]) {
    let new: Vec<&NewErrorGroup> = groups.iter().filter(|it| it.kind == ErrorGroupKind::Pattern).collect();
    if new.is_empty() {
        return;
    }
    document.heading("Errors that are new for their task");
    let row = |it: &&NewErrorGroup| {
        let (runs, task) = (plain(count(it.runs)), plain(&it.task_name).limited(40));
        vec![time(it.first_seen), task, runs, severity(it.severity), text(&it.title)]
    };
    let rows = new.iter().take(ERROR_GROUPS_SHOWN).map(row).collect();
    document.table(&["first seen", "task", "runs", "severity", "error"], &[2], rows);
}

/// Why a task needs attention, in a sentence.
pub(super) fn reason(of: &Reason) -> Vec<Span> {
    match of {
        Reason::Failing { runs_in_a_row: 1, run_id, error, .. } => {
            vec![toned(Tone::Bad, "its last run failed"), because(error), faint(format!(" {run_id}"))]
        }
        Reason::Failing { runs_in_a_row, run_id, since, error } => vec![
            toned(Tone::Bad, format!("its last {runs_in_a_row} runs failed")),
            plain(format!(", since {}", shown_seconds(*since))),
            because(error),
            faint(format!(" (the last one: {run_id})")),
        ],
        Reason::Slow { run_id, duration_ms, usual_ms, is_running } => {
            let word = if *is_running { "has been running for" } else { "took" };
            let times = number(*duration_ms as f64 / (*usual_ms).max(1) as f64);
            vec![
                toned(Tone::Warning, format!("its last run {word} {}", duration(*duration_ms))),
                plain(format!(", {times} times the usual {}", duration(*usual_ms))),
                faint(format!(" {run_id}")),
            ]
        }
        Reason::Late { last, usual_ms } => vec![
            toned(Tone::Warning, format!("it has not run since {}", shown_seconds(*last))),
            plain(format!("; it usually runs every {}", duration(*usual_ms))),
        ],
        Reason::Flaky { flips, runs } => vec![
            toned(Tone::Warning, "it alternates between failure and success"),
            plain(format!(": the outcome changed {flips} times in {runs} runs")),
        ],
        Reason::NewErrors { error_groups, title, run_id } => vec![
            toned(Tone::Bad, counted(*error_groups, "new kind") + " of error"),
            plain(format!(": {title}")).limited(REASON_CHARS_MAX),
            faint(format!(" {run_id}")),
        ],
    }
}

fn because(error: &Option<String>) -> Span {
    plain(error.as_ref().map(|error| format!(": {error}")).unwrap_or_default()).limited(REASON_CHARS_MAX)
}
