//! Plots of a page, as inline SVG.

use runlog_analysis::{Stretch, Timeline};
use runlog_model::Severity;

use super::document::{Bar, Mark, Tone};
use super::escape::escaped;
use super::terminal::count;

/// Size of a plot, in its own units.
const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 140.0;
/// Room below the bars for the axis.
const AXIS: f64 = 18.0;

/// Severities from the bottom of a bar to its top, with their class.
const LAYERS: [(&[Severity], &str, &str); 5] = [
    (&[Severity::Fatal, Severity::Error], "fill-bad", "errors"),
    (&[Severity::Warn], "fill-warning", "warnings"),
    (&[Severity::Info], "fill-plain", "info"),
    (&[Severity::Debug, Severity::Trace], "fill-debug", "debug and trace"),
    (&[Severity::Other], "fill-faint", "other"),
];

/// Volume and severity over time, one stacked bar per interval.
pub(super) fn timeline(timeline: &Timeline) -> String {
    let Some((first, last)) = timeline.stretches.first().zip(timeline.stretches.last()) else { return String::new() };
    let span_ms = (last.start.millis_since(first.start) + timeline.stretch_ms) as f64;
    let most = timeline.stretches.iter().map(|it| it.severities.total()).max().unwrap_or_default().max(1);
    let width = (timeline.stretch_ms as f64 / span_ms * WIDTH).max(1.0);
    let mut svg = opening(&format!("records over time, at most {} in {}", count(most), length(timeline.stretch_ms)));
    for stretch in &timeline.stretches {
        let x = stretch.start.millis_since(first.start) as f64 / span_ms * WIDTH;
        svg.push_str(&stacked_bar(stretch, x, (width - 0.5).max(0.8), most));
    }
    let end = last.start.plus_millis(timeline.stretch_ms);
    closing(svg, &first.start.to_seconds_text(), &end.to_seconds_text())
}

fn length(ms: i64) -> String {
    super::terminal::duration(ms)
}

fn stacked_bar(stretch: &Stretch, x: f64, width: f64, most: u64) -> String {
    let (mut top, mut bar, mut words) = (HEIGHT, String::new(), Vec::new());
    for (severities, class, name) in LAYERS {
        let records: u64 = severities.iter().map(|severity| stretch.severities.of(*severity)).sum();
        if records == 0 {
            continue;
        }
        // One error among a million records is still to be seen.
        let height = (records as f64 / most as f64 * HEIGHT).max(1.5).min(top);
        top -= height;
        bar += &rectangle(x, top, width, height, class);
        words.push(format!("{} {name}", count(records)));
    }
    format!("<g><title>{}: {}</title>{bar}</g>\n", stretch.start.to_seconds_text(), words.join(", "))
}

/// One bar a value.
pub(super) fn bars(name: &str, bars: &[Bar]) -> String {
    let Some((first, last)) = bars.first().zip(bars.last()) else { return String::new() };
    let most = bars.iter().map(|bar| bar.value).max().unwrap_or_default().max(1) as f64;
    let width = WIDTH / bars.len() as f64;
    let mut svg = opening(name);
    for (place, bar) in bars.iter().enumerate() {
        let height = (bar.value.max(0) as f64 / most * HEIGHT).max(1.0);
        let drawn =
            rectangle(place as f64 * width, HEIGHT - height, (width - 1.0).max(0.8), height, class_of(bar.tone));
        svg += &format!("<g><title>{}</title>{drawn}</g>\n", escaped(&bar.label));
    }
    closing(svg, &first.label, &last.label)
}

/// One square an outcome.
pub(super) fn strip(marks: &[Mark]) -> String {
    const SIDE: f64 = 12.0;
    let width = (marks.len() as f64 * (SIDE + 2.0)).max(1.0);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width:.0} {SIDE}\" style=\"max-width:{width:.0}px\" role=\"img\" aria-label=\"outcomes, the latest to the right\">\n"
    );
    for (place, mark) in marks.iter().enumerate() {
        let square = rectangle(place as f64 * (SIDE + 2.0), 0.0, SIDE, SIDE, class_of(mark.tone));
        svg += &format!("<g><title>{}</title>{square}</g>\n", escaped(&mark.label));
    }
    svg + "</svg>\n"
}

fn opening(name: &str) -> String {
    let name = escaped(name);
    format!("<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"{name}\">\n", HEIGHT + AXIS)
}

fn closing(mut svg: String, from: &str, to: &str) -> String {
    let (below, text) = (HEIGHT + 0.5, HEIGHT + 14.0);
    svg += &format!("<line class=\"axis\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{below}\" y2=\"{below}\"/>\n");
    svg += &format!("<text x=\"0\" y=\"{text}\">{}</text>", escaped(from));
    svg += &format!("<text x=\"{WIDTH}\" y=\"{text}\" text-anchor=\"end\">{}</text>\n</svg>\n", escaped(to));
    svg
}

fn rectangle(x: f64, y: f64, width: f64, height: f64, class: &str) -> String {
    format!("<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>")
}

fn class_of(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "fill-good",
        Tone::Bad => "fill-bad",
        Tone::Warning => "fill-warning",
        Tone::Faint => "fill-faint",
        Tone::Plain | Tone::Strong => "fill-plain",
    }
}
