//! Two runs side by side as a document.

use runlog_analysis::patterns::{Change, PatternChange};
use runlog_analysis::report::{RunDiff, Side};

use super::components::put_components;
use super::phrases::{CHANGES_HEAD, basis_of, change, counted, rows_of_changes, rows_of_groups, started, status};
use crate::render::document::{Document, Span, faint, plain, strong};
use crate::render::terminal::{count, duration};

/// Most changes that are shown.
const CHANGES_SHOWN: usize = 60;

/// The differences between two runs.
pub(crate) fn document_of_diff(diff: &RunDiff) -> Document {
    let mut document = Document::new(format!("Run {} against {}", diff.after.run.run_id, diff.before.run.run_id));
    document.table(&["", "before", "after"], &[1, 2], rows_of_sides(&diff.before, &diff.after));
    for (name, side) in [("before", &diff.before), ("after", &diff.after)] {
        if let Some(basis) = basis_of(&side.log) {
            document.line([vec![plain(format!("{name}: "))], basis].concat());
        }
    }
    if let Some(components) = &diff.components {
        put_components(&mut document, components);
    }
    let Some(counts) = &diff.counts else { return document };
    document.heading("Patterns");
    document.line([
        strong(format!("{} new", counted(counts.new, "pattern"))),
        plain(format!(
            ", {} more frequent, {} gone, {} less frequent, {} unchanged",
            counts.more_often, counts.gone, counts.less_often, counts.unchanged
        )),
    ]);
    if !diff.complete {
        document.line([faint("one of the logs has more patterns than are kept; rare ones may be missing here")]);
    }
    let changed: Vec<PatternChange> =
        diff.patterns.iter().filter(|it| it.change != Change::Unchanged).take(CHANGES_SHOWN).cloned().collect();
    let (head, right) = CHANGES_HEAD;
    document.table(&head, &right, rows_of_changes(&changed));
    for (name, groups) in [("New root causes", &diff.new_causes), ("Root causes that are gone", &diff.gone_causes)] {
        if !groups.is_empty() {
            document.heading(name).table(&["records", "severity", "cause"], &[0], rows_of_groups(groups));
        }
    }
    document
}

fn rows_of_sides(before: &Side, after: &Side) -> Vec<Vec<Span>> {
    let row = |name: &str, of: &dyn Fn(&Side) -> Span| vec![faint(name), of(before), of(after)];
    let took = |side: &Side| side.run.duration_ms.map(duration).unwrap_or_default();
    let mut rows = vec![
        row("task", &|side| plain(&side.run.task_name)),
        row("outcome", &|side| status(side.run.status)),
        row("started", &|side| plain(started(&side.run))),
        row("duration", &|side| plain(took(side))),
        row("records", &|side| plain(count(side.run.records))),
        row("warnings", &|side| plain(count(side.run.warnings))),
        row("errors", &|side| plain(count(side.run.errors))),
    ];
    if let (Some(before), Some(after)) = (before.run.duration_ms, after.run.duration_ms)
        && before > 0
    {
        rows[3][2] = plain(format!("{} ({})", duration(after), change(after as f64 / before as f64)));
    }
    rows
}
