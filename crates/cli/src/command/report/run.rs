//! The report of a run as a document.

use runlog_analysis::report::{Against, RunReport};
use runlog_analysis::{Event, Failure, Headline, Outlier, Pattern, SlowGap};
use runlog_model::wire::problems::{ProblemBody, ProblemTaskBody};
use runlog_model::{ProblemState, Timestamp};

use super::components::put_components;
use super::phrases::{
    CHANGES_HEAD, basis_of, began, counted, head_of, rows_of_changes, rows_of_groups, severity, started, text, time,
    time_in_run,
};
use crate::render::document::{Block, Document, Span, Tone, faint, plain, strong, toned};
use crate::render::preferences::shown_seconds;
use crate::render::terminal::{count, duration};

/// Most gaps that are shown.
const GAPS_SHOWN: usize = 5;

/// Most patterns that are shown.
const PATTERNS_SHOWN: usize = 15;

/// The report of a run.
pub(crate) fn document_of_run(report: &RunReport) -> Document {
    let run = &report.run;
    let mut document = Document::new(format!("Run {} of {}", run.run_id, run.task_name));
    document.line([faint(format!("workspace {}, task {}", run.workspace_name, run.task_id))]);
    document.line(head_of(run));
    if let Some(error) = &run.error_message {
        document.line([plain("Error message: "), text(error)]);
    }
    if let Some(basis) = basis_of(&report.log) {
        document.line(basis);
    }
    if let Some(headline) = &report.headline {
        put_headline(&mut document, headline, began(run));
    }
    if let Some(problem) = &report.problem {
        put_problem(&mut document, problem, &report.problem_tasks);
    }
    match &report.failure {
        Some(failure) => put_failure(&mut document, failure, began(run)),
        None if report.figures.is_some() => {
            document.heading("What failed").line([plain("the log contains no error")]);
        }
        None => {}
    }
    if let Some(against) = &report.against {
        put_against(&mut document, against);
    }
    if let Some(components) = &report.components {
        put_components(&mut document, components);
    }
    if let Some(timeline) = &report.timeline {
        document.heading("Volume and severity over time").push(Block::Timeline(timeline.clone()));
    }
    let shown = report.timeline.as_ref().and_then(|timeline| timeline.buckets.first()).map(|bucket| bucket.start);
    put_outliers(&mut document, &report.outliers, shown);
    put_gaps(&mut document, &report.gaps);
    if !report.stack_traces.is_empty() {
        document.heading("Stack traces by root cause");
        document.table(&["records", "severity", "cause"], &[0], rows_of_groups(&report.stack_traces));
    }
    put_patterns(&mut document, report);
    document
}

fn put_headline(document: &mut Document, headline: &Headline, began: Timestamp) {
    document.heading("Why it failed");
    document.push(Block::List(vec![(0, vec![toned(Tone::Bad, &headline.text).limited(400)])]));
    let mut line = match &headline.record {
        Some(record) => {
            let mut line = vec![plain(format!("line {}, ", count(record.position.saturating_add(1))))];
            line.push(time_in_run(record.time, began));
            line.extend(record.bundle_name.as_ref().map(|name| faint(format!(", {name}"))));
            line
        }
        None => vec![plain("reported by the engine; the log does not say it")],
    };
    if headline.is_vague {
        line.push(plain("; it does not say why"));
    }
    if headline.is_known == Some(true) {
        line.push(plain("; one of the last successful runs logged it as well"));
    }
    document.line(line);
}

fn put_problem(document: &mut Document, problem: &ProblemBody, tasks: &[ProblemTaskBody]) {
    document.heading("Problem");
    let tone = match problem.state {
        ProblemState::Open => Tone::Bad,
        ProblemState::Muted => Tone::Faint,
        ProblemState::Resolved => Tone::Good,
    };
    let mut line = vec![plain(format!("{} ", problem.id)), toned(tone, problem.state)];
    if let Some(at) = problem.came_back_at {
        line.push(toned(Tone::Bad, format!(", came back {}", shown_seconds(at))));
    }
    let names: Vec<&str> = tasks.iter().map(|task| task.task_name.as_str()).collect();
    let more = problem.tasks.saturating_sub(names.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    line.push(plain(format!(
        ", seen in {} since {}, of {}: {}{more}",
        counted(problem.runs, "run"),
        shown_seconds(problem.first_seen),
        counted(problem.tasks, "task"),
        names.join(", ")
    )));
    document.line(line);
    if let Some(note) = &problem.note {
        document.line([faint("note: "), text(note)]);
    }
}

fn put_failure(document: &mut Document, failure: &Failure, began: Timestamp) {
    document.heading("What failed first");
    document.push(Block::List(vec![(0, event(&failure.first, began))]));
    if !failure.causes.is_empty() {
        let mut chain = Vec::new();
        for (depth, cause) in failure.causes.iter().enumerate() {
            let by = if depth == 0 { "" } else { "caused by " };
            let message = if cause.message.is_empty() { String::new() } else { format!(": {}", cause.message) };
            chain.push((depth + 1, vec![faint(by), toned(Tone::Bad, &cause.class), text(&message)]));
            chain.extend(cause.at.as_ref().map(|at| (depth + 1, vec![faint(format!("  at {at}"))])));
        }
        document.push(Block::List(chain));
    }
    put_events(document, "Warnings just before", &failure.warnings_before, began);
    put_events(document, "Later errors", &failure.consequences, began);
    if let Some(last) = &failure.last {
        document.line([plain("and other errors; the last: "), text(&last.message)]);
    }
}

fn put_events(document: &mut Document, name: &str, events: &[Event], began: Timestamp) {
    if !events.is_empty() {
        document.heading(name).push(Block::List(events.iter().map(|it| (0, event(it, began))).collect()));
    }
}

fn event(of: &Event, began: Timestamp) -> Vec<Span> {
    let mut line = vec![time_in_run(of.time, began), plain(" "), severity(of.severity), plain(" ")];
    line.extend(of.bundle_name.as_ref().map(|name| faint(format!("{name}: "))));
    line.push(strong(&of.message).limited(200));
    line
}

fn put_against(document: &mut Document, against: &Against) {
    let (counts, run) = (&against.counts, &against.run);
    let earlier = if against.is_good { "the last successful run" } else { "the previous run (no run was successful)" };
    document.heading(format!("Compared with {earlier}"));
    document.line([
        plain(format!("run {}, started {}, {}: ", run.run_id, started(run), counted(run.records, "record"))),
        strong(format!("{} new", counted(counts.new, "pattern"))),
        plain(format!(
            ", {} more frequent, {} gone, {} less frequent, {} unchanged",
            counts.more_often, counts.gone, counts.less_often, counts.unchanged
        )),
    ]);
    if !against.complete {
        document.line([faint("one of the logs has more patterns than are kept; rare ones may be missing here")]);
    }
    let (head, right) = CHANGES_HEAD;
    document.table(&head, &right, rows_of_changes(&against.changes));
    if !against.new_causes.is_empty() {
        document.heading("New root causes");
        document.table(&["records", "severity", "cause"], &[0], rows_of_groups(&against.new_causes));
    }
}

/// Adds a note on records dated long before or after the others: plots and gaps do not include them.
fn put_outliers(document: &mut Document, outliers: &[Outlier], shown: Option<Timestamp>) {
    for outlier in outliers {
        let day = |time: Timestamp| time.to_string().chars().take(10).collect::<String>();
        let (from, to) = (day(outlier.first), day(outlier.last));
        let are = if outlier.records == 1 { "is" } else { "are" };
        let days = if from == to { from } else { format!("{from} to {to}") };
        let side = if shown.is_some_and(|shown| outlier.first > shown) { "after" } else { "before" };
        document.line([toned(
            Tone::Warning,
            format!(
                "{} {are} dated {days}, long {side} the others, and not included in the timeline",
                counted(outlier.records, "record")
            ),
        )]);
    }
}

fn put_gaps(document: &mut Document, gaps: &[SlowGap]) {
    if gaps.is_empty() {
        return;
    }
    document.heading("Gaps in the log");
    let row =
        |gap: &SlowGap| vec![plain(duration(gap.duration_ms)), time(gap.start), text(&gap.before), text(&gap.after)];
    let rows = gaps.iter().take(GAPS_SHOWN).map(row).map(shorter).collect();
    document.table(&["for", "from", "after", "before"], &[0], rows);
}

/// Two texts share a row.
fn shorter(mut row: Vec<Span>) -> Vec<Span> {
    for span in &mut row {
        span.chars_max = 60;
    }
    row
}

fn put_patterns(document: &mut Document, report: &RunReport) {
    let Some(figures) = &report.figures else { return };
    document.heading("Patterns");
    let shown = report.patterns.len().min(PATTERNS_SHOWN) as u64;
    document.line([faint(format!("{} of {}, most severe first", shown, counted(figures.patterns, "pattern")))]);
    let row = |pattern: &Pattern| {
        let occurrences = &pattern.occurrences;
        vec![
            plain(count(occurrences.records())),
            severity(occurrences.worst()),
            faint(pattern.id),
            text(&pattern.template),
        ]
    };
    let rows = report.patterns.iter().take(PATTERNS_SHOWN).map(row).collect();
    document.table(&["records", "severity", "id", "pattern"], &[0], rows);
    if figures.records_in_no_pattern > 0 {
        let left = count(figures.records_in_no_pattern);
        document.line([faint(format!("{left} records are in no pattern, because there are too many different ones"))]);
    }
}
