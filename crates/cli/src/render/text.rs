//! A document on the terminal: headings, lines, tables, and plots of one line each.

use anstyle::{AnsiColor, Style};
use runlog_analysis::Timeline;
use runlog_model::printable::printable_line;
use runlog_model::record::SeverityCounts;
use runlog_model::{Severity, Timestamp};

use super::document::{Bar, Block, Document, Mark, Span, Tone, plain};
use super::terminal::{BAD, FAINT, GOOD, STRONG, result_line, shortened, styled};
use crate::exit::Outcome;
use crate::render::preferences::shown_seconds;

/// Style of anomalies.
const WARNING: Style = AnsiColor::Yellow.on_default();

/// Characters of a plot.
const PLOT_WIDTH: usize = 72;

/// Characters for values in ascending order; zero is a space.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Writes a document to standard output.
pub(crate) fn show(document: &Document) -> Outcome {
    result_line(styled(STRONG, shown_text(&document.title)))?;
    for block in &document.blocks {
        for line in lines_of(block) {
            result_line(line)?;
        }
    }
    Ok(())
}

fn lines_of(block: &Block) -> Vec<String> {
    match block {
        Block::Heading(text) => vec![String::new(), styled(STRONG, shown_text(text))],
        Block::Line(spans) => vec![joined(spans)],
        Block::List(items) => items.iter().map(|(depth, spans)| "  ".repeat(*depth) + &joined(spans)).collect(),
        Block::Table { head, right, rows } => lines_of_table(head, right, rows),
        Block::Timeline(timeline) => lines_of_timeline(timeline),
        Block::Bars { name, bars } => vec![line_of_bars(name, bars)],
        Block::Strip(marks) => vec![marks.iter().map(shown_mark).collect()],
    }
}

/// Aligns columns by the width of their text, not counting colour sequences.
fn lines_of_table(head: &[&str], right: &[usize], rows: &[Vec<Span>]) -> Vec<String> {
    let head: Vec<Span> = head.iter().map(|name| plain(name.to_uppercase())).collect();
    let width_of = |column: usize| {
        let cells = std::iter::once(&head).chain(rows).filter_map(|row| row.get(column));
        cells.map(width).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width_of).collect();
    let line = |row: &Vec<Span>| -> String {
        let cell = |(column, (span, column_width)): (usize, (&Span, &usize))| {
            let space = " ".repeat(column_width.saturating_sub(width(span)));
            if right.contains(&column) { space + &shown(span) } else { shown(span) + &space }
        };
        let cells: Vec<String> = row.iter().zip(&widths).enumerate().map(cell).collect();
        cells.join("  ").trim_end().to_owned()
    };
    std::iter::once(&head).chain(rows).map(line).collect()
}

fn joined(spans: &[Span]) -> String {
    spans.iter().map(shown).collect()
}

fn shown(span: &Span) -> String {
    let text = shown_text(&shortened(&span.text, span.chars_max));
    match span.tone {
        Tone::Plain => text,
        tone => styled(style_of(tone), text),
    }
}

fn style_of(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Strong => STRONG,
        Tone::Faint => FAINT,
        Tone::Good => GOOD,
        Tone::Warning => WARNING,
        Tone::Bad => BAD,
    }
}

/// Returns the number of characters of a text as shown.
fn width(span: &Span) -> usize {
    shown_text(&shortened(&span.text, span.chars_max)).chars().count()
}

/// Returns a text of a log on one line: line breaks become spaces, and control characters are shown as text.
fn shown_text(text: &str) -> String {
    printable_line(&text.replace("\r\n", " ").replace(['\n', '\t'], " ")).into_owned()
}

fn shown_mark(mark: &Mark) -> String {
    let character = match mark.tone {
        Tone::Good => '▪',
        Tone::Bad => '✗',
        _ => '·',
    };
    styled(style_of(mark.tone), character)
}

fn lines_of_timeline(timeline: &Timeline) -> Vec<String> {
    let Some((first, last)) = timeline.buckets.first().zip(timeline.buckets.last()) else { return Vec::new() };
    let span_ms = last.start.millis_since(first.start) + timeline.bucket_ms;
    let mut columns = vec![SeverityCounts::default(); columns_of(span_ms, timeline.bucket_ms)];
    let width = columns.len() as i64;
    for bucket in &timeline.buckets {
        let place = (bucket.start.millis_since(first.start) as i128 * i128::from(width) / i128::from(span_ms)) as usize;
        columns[place.min(width as usize - 1)].add_all(&bucket.severities);
    }
    let of = |severities: &[Severity]| -> Vec<u64> {
        columns.iter().map(|counts| severities.iter().map(|severity| counts.of(*severity)).sum()).collect()
    };
    let mut lines = vec![row("records", &of(&Severity::ALL), Tone::Plain)];
    for (name, severities, tone) in [
        ("warnings", &[Severity::Warn][..], Tone::Warning),
        ("errors", &[Severity::Error, Severity::Fatal][..], Tone::Bad),
    ] {
        let values = of(severities);
        if values.iter().any(|value| *value > 0) {
            lines.push(row(name, &values, tone));
        }
    }
    lines.push(axis(first.start, first.start.plus_millis(span_ms), columns.len()));
    lines
}

fn columns_of(span_ms: i64, bucket_ms: i64) -> usize {
    ((span_ms / bucket_ms).max(1) as usize).min(PLOT_WIDTH)
}

fn row(name: &str, values: &[u64], tone: Tone) -> String {
    let line = styled(style_of(tone), sparkline(values));
    let most = values.iter().max().copied().unwrap_or_default();
    format!("{name:<9}{line}  {}", styled(FAINT, format!("at most {}", super::terminal::count(most))))
}

fn axis(start: Timestamp, end: Timestamp, width: usize) -> String {
    let (start, end) = (shown_seconds(start), shown_seconds(end));
    let space = " ".repeat(width.saturating_sub(start.len() + end.len()).max(1));
    styled(FAINT, format!("{:<9}{start}{space}{end}", ""))
}

/// Plots one character per value, scaled to the highest value.
pub(crate) fn sparkline(values: &[u64]) -> String {
    let most = values.iter().max().copied().unwrap_or_default().max(1);
    let level = |value: u64| match value {
        0 => ' ',
        value => LEVELS[((value as u128 * 8).div_ceil(u128::from(most)) as usize).clamp(1, 8) - 1],
    };
    values.iter().map(|value| level(*value)).collect()
}

fn line_of_bars(name: &str, bars: &[Bar]) -> String {
    let newest = &bars[bars.len().saturating_sub(PLOT_WIDTH)..];
    let values: Vec<u64> = newest.iter().map(|bar| bar.value.max(0) as u64).collect();
    let characters = sparkline(&values);
    let toned = characters.chars().zip(newest).map(|(character, bar)| styled(style_of(bar.tone), character));
    format!("{name:<9}{}", toned.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_ranges_from_zero_to_the_maximum() {
        assert_eq!(sparkline(&[0, 1, 2, 4, 8]), " ▁▂▄█");
        assert_eq!(sparkline(&[1, 1_000_000]), "▁█");
        assert_eq!(sparkline(&[0, 0]), "  ");
        assert_eq!(sparkline(&[u64::MAX]), "█");
    }

    #[test]
    fn colours_take_no_room_in_a_table() {
        let row = |name: &str, tone| vec![Span { tone, ..plain(name) }, plain("5")];
        let lines = lines_of_table(&["name", "n"], &[1], &[row("a", Tone::Bad), row("abcdef", Tone::Plain)]);
        let bare: Vec<String> = lines.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect();
        assert_eq!(bare, ["NAME    N", "a       5", "abcdef  5"]);
    }

    #[test]
    fn a_log_cannot_control_the_terminal() {
        assert_eq!(shown_text("a\x1b[2Jb\nc\u{202e}d"), "a\\x1b[2Jb c\\u{202e}d");
        assert_eq!(shown_text("50%\r100%"), "\\r100%");
    }
}
