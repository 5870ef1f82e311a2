//! The report of a task as a document.

use runlog_analysis::report::{Durations, TaskErrorGroup, TaskReport};
use runlog_model::ErrorGroupKind;

use super::components::put_throughput;
use super::phrases::{change, counted, label_of, severity, status, strip_of, text, time, tone_of};
use super::workspace::reason;
use crate::render::document::{Bar, Block, Document, Span, Tone, faint, plain, strong, toned};
use crate::render::preferences::shown_seconds;
use crate::render::terminal::{count, duration};

/// Most outcomes of the strip.
const STRIP_RUNS: usize = 72;

/// Most runs of the plot of durations.
const BARS_MAX: usize = 200;

/// Most kinds of errors that are shown, of each sort.
const ERROR_GROUPS_SHOWN: usize = 20;

/// The report of a task.
pub(super) fn document_of_task(report: &TaskReport) -> Document {
    let mut document = Document::new(format!("Task {}", report.task_name));
    document.line([faint(format!("workspace {}, task {}", report.workspace_name, report.task_id))]);
    let runs = report.runs.len() as u64;
    let (since, until) = (shown_seconds(report.since), shown_seconds(report.until));
    document.line([plain(format!("{} from {since} to {until}", counted(runs, "run")))]);
    if report.is_cut {
        document.line([toned(Tone::Warning, "there are more runs; only the newest are included")]);
    }
    if !report.reasons.is_empty() {
        document.heading("Why it needs attention");
        document.push(Block::List(report.reasons.iter().map(|it| (0, reason(it))).collect()));
    }
    put_outcomes(&mut document, report);
    if let Some(durations) = &report.durations {
        put_durations(&mut document, report, durations);
    }
    put_throughput(&mut document, &report.components);
    put_error_groups(&mut document, report, ErrorGroupKind::Pattern, "Kinds of errors, most recently seen first");
    put_error_groups(
        &mut document,
        report,
        ErrorGroupKind::Cause,
        "Root causes of stack traces, most recently seen first",
    );
    document
}

fn put_outcomes(document: &mut Document, report: &TaskReport) {
    if report.runs.is_empty() {
        return;
    }
    document.heading("Outcomes");
    document.push(Block::Strip(strip_of(&report.runs[..report.runs.len().min(STRIP_RUNS)])));
    let rows = report.outcomes.iter().map(|it| vec![plain(count(it.runs)), status(it.status)]).collect();
    document.table(&["runs", "outcome"], &[0], rows);
    if let Some(rate) = report.success_rate {
        let part = format!("success rate {:.1} % (of successful and failed runs)", rate * 100.0);
        document.line([plain(part), plain(format!("; the outcome changed {}", counted(report.flips, "time")))]);
    }
}

fn put_durations(document: &mut Document, report: &TaskReport, durations: &Durations) {
    document.heading("Durations");
    let timed = report.runs.iter().take(BARS_MAX).rev();
    let bar = |run: &runlog_analysis::report::RunPoint| {
        Some(Bar { value: run.duration_ms?, label: label_of(run), tone: tone_of(run.status) })
    };
    document.push(Block::Bars { name: "duration", bars: timed.filter_map(bar).collect() });
    let values =
        [durations.min_ms, durations.p50_ms, durations.p90_ms, durations.p95_ms, durations.p99_ms, durations.max_ms];
    let row = values.map(|ms| plain(duration(ms))).to_vec();
    document.line([faint("the bars are all runs, coloured by outcome; the figures are of successful runs only")]);
    let head = ["shortest", "median", "90th percentile", "95th percentile", "99th percentile", "longest"];
    document.table(&head, &[0, 1, 2, 3, 4, 5], vec![row]);
    if let Some(trend) = durations.trend {
        let (earlier, later) = (duration(trend.earlier_p50_ms), duration(trend.later_p50_ms));
        let change = change(trend.times);
        document.line([plain(format!("median of the earlier half {earlier}, of the later half {later}: {change}"))]);
    }
}

fn put_error_groups(document: &mut Document, report: &TaskReport, kind: ErrorGroupKind, name: &str) {
    let of_kind: Vec<&TaskErrorGroup> = report.error_groups.iter().filter(|it| it.kind == kind).collect();
    if of_kind.is_empty() {
        return;
    }
    document.heading(name);
    let rows = of_kind.iter().take(ERROR_GROUPS_SHOWN).map(|it| row_of(it)).collect();
    document.table(&["state", "first seen", "last seen", "runs", "records", "severity", "error"], &[3, 4], rows);
    if of_kind.len() > ERROR_GROUPS_SHOWN {
        document.line([faint(format!("and {} more; --json shows them", of_kind.len() - ERROR_GROUPS_SHOWN))]);
    }
}

fn row_of(group: &TaskErrorGroup) -> Vec<Span> {
    let state = match (group.is_flaky, group.is_current, group.runs) {
        (true, _, _) => toned(Tone::Warning, "intermittent"),
        (false, true, 1) => toned(Tone::Bad, "new"),
        (false, true, _) => strong("ongoing"),
        (false, false, _) => faint("gone"),
    };
    vec![
        state,
        time(group.first_seen),
        time(group.last_seen),
        plain(count(group.runs)),
        plain(count(group.records)),
        severity(group.severity),
        text(&group.title),
    ]
}
