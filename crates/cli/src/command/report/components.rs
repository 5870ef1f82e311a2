//! Components of runs as parts of a document.

use runlog_analysis::report::{ComponentChange, ComponentFigures, ComponentRow, ComponentsPart, TaskComponent};

use super::phrases::{number, text};
use crate::render::document::{Block, Document, Span, Tone, faint, plain, toned};
use crate::render::terminal::{count, duration};

/// Most components that are shown.
const COMPONENTS_SHOWN: usize = 25;

/// The components of a run, beside another run.
pub(super) fn put_components(document: &mut Document, part: &ComponentsPart) {
    document.heading("Components");
    if let Some(rows) = part.rows_rejected.filter(|rows| *rows > 0) {
        document.line([toned(Tone::Warning, format!("{} rejected", super::phrases::counted(rows, "row")))]);
    }
    if !part.findings.is_empty() {
        let tone = |change| match change {
            ComponentChange::Failed | ComponentChange::NoRows => Tone::Bad,
            _ => Tone::Warning,
        };
        let line = |finding: &runlog_analysis::report::ComponentFinding| {
            (0, vec![toned(tone(finding.change), &finding.text).limited(300)])
        };
        document.push(Block::List(part.findings.iter().map(line).collect()));
    }
    let rows = part.components.iter().take(COMPONENTS_SHOWN).map(row_of).collect();
    let head = ["component", "label", "rows in", "rows out", "earlier", "time", "rows/s", ""];
    document.table(&head, &[2, 3, 4, 5, 6], rows);
    let shown = part.components.len().min(COMPONENTS_SHOWN) as u64;
    if part.total > shown {
        document.line([faint(format!("and {} more", count(part.total - shown)))]);
    }
    if let Some(against) = part.against {
        let run = if against.is_good { "the last successful run" } else { "the other run" };
        document.line([faint(format!("earlier: rows in {run}, {}", against.run_id))]);
    }
}

fn row_of(row: &ComponentRow) -> Vec<Span> {
    let figures = row.figures.unwrap_or_default();
    let rows = |rows: Option<u64>| plain(rows.map(count).unwrap_or_default());
    let earlier = row.earlier.and_then(|ComponentFigures { rows_in, rows_out, .. }| rows_in.or(rows_out));
    let word = match row.change {
        ComponentChange::Failed => toned(Tone::Bad, "failed"),
        ComponentChange::NoRows => toned(Tone::Bad, "no rows"),
        ComponentChange::FewerRows => toned(Tone::Warning, "fewer rows"),
        ComponentChange::MoreRows => toned(Tone::Warning, "more rows"),
        ComponentChange::Rejected => toned(Tone::Warning, "rejected rows"),
        ComponentChange::Gone => faint("gone"),
        ComponentChange::New => faint("new"),
        ComponentChange::Same => plain(""),
    };
    let mut label = text(&row.connector_label);
    label.chars_max = 40;
    let time =
        |ms: Option<u64>| plain(ms.map(|ms| duration(i64::try_from(ms).unwrap_or(i64::MAX))).unwrap_or_default());
    vec![
        plain(&row.connector_id).limited(40),
        label,
        rows(figures.rows_in),
        rows(figures.rows_out),
        rows(earlier),
        time(figures.duration_ms),
        plain(figures.rows_per_second.map(number).unwrap_or_default()),
        word,
    ]
}

/// The throughput of the components of a task.
pub(super) fn put_throughput(document: &mut Document, components: &[TaskComponent]) {
    if components.is_empty() {
        return;
    }
    document.heading("Rows per second by component, in the last 30 runs");
    let row = |component: &TaskComponent| {
        let speeds = || component.points.iter().filter_map(|point| point.rows_per_second);
        let shown = |speed: Option<f64>| plain(speed.map(number).unwrap_or_default());
        vec![
            plain(&component.connector_id).limited(40),
            text(&component.connector_label).limited(40),
            plain(count(component.points.len() as u64)),
            shown(component.points.first().and_then(|point| point.rows_per_second)),
            shown(component.median_rows_per_second),
            shown(speeds().min_by(f64::total_cmp)),
            shown(speeds().max_by(f64::total_cmp)),
            plain(component.points.first().and_then(|point| point.rows).map(count).unwrap_or_default()),
        ]
    };
    let rows = components.iter().map(row).collect();
    let head = ["component", "label", "runs", "newest", "median", "lowest", "highest", "rows of the newest"];
    document.table(&head, &[2, 3, 4, 5, 6, 7], rows);
}
