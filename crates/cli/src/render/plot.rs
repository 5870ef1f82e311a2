//! Plots of a page, as inline SVG.

use maud::{Markup, html};
use runlog_analysis::{Timeline, TimelineBucket};
use runlog_model::Severity;
use runlog_model::printable::printable;

use super::document::{Bar, Mark, Tone};
use super::terminal::{count, duration};
use crate::render::preferences::shown_seconds;

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
pub(super) fn timeline(timeline: &Timeline) -> Markup {
    let Some((first, last)) = timeline.buckets.first().zip(timeline.buckets.last()) else { return html!() };
    let span_ms = (last.start.millis_since(first.start) + timeline.bucket_ms) as f64;
    let most = timeline.buckets.iter().map(|it| it.severities.total()).max().unwrap_or_default().max(1);
    let width = (timeline.bucket_ms as f64 / span_ms * WIDTH).max(1.0);
    let name = format!("records over time, at most {} in {}", count(most), duration(timeline.bucket_ms));
    let end = last.start.plus_millis(timeline.bucket_ms);
    let bars = html! {
        @for bucket in &timeline.buckets {
            @let x = bucket.start.millis_since(first.start) as f64 / span_ms * WIDTH;
            (stacked_bar(bucket, x, (width - 0.5).max(0.8), most))
        }
    };
    plot(&name, &bars, &shown_seconds(first.start), &shown_seconds(end))
}

fn stacked_bar(bucket: &TimelineBucket, x: f64, width: f64, most: u64) -> Markup {
    let (mut top, mut bar, mut words) = (HEIGHT, Vec::new(), Vec::new());
    for (severities, class, name) in LAYERS {
        let records: u64 = severities.iter().map(|severity| bucket.severities.of(*severity)).sum();
        if records == 0 {
            continue;
        }
        // One error among a million records must remain visible.
        let height = (records as f64 / most as f64 * HEIGHT).max(1.5).min(top);
        top -= height;
        bar.push(rectangle(x, top, width, height, class));
        words.push(format!("{} {name}", count(records)));
    }
    titled(&format!("{}: {}", shown_seconds(bucket.start), words.join(", ")), &bar)
}

/// Plots one bar per value.
pub(super) fn bars(name: &str, bars: &[Bar]) -> Markup {
    let Some((first, last)) = bars.first().zip(bars.last()) else { return html!() };
    let most = bars.iter().map(|bar| bar.value).max().unwrap_or_default().max(1) as f64;
    let width = WIDTH / bars.len() as f64;
    let drawn = html! {
        @for (place, bar) in bars.iter().enumerate() {
            @let height = (bar.value.max(0) as f64 / most * HEIGHT).max(1.0);
            @let (x, width) = (place as f64 * width, (width - 1.0).max(0.8));
            (titled(&bar.label, &[rectangle(x, HEIGHT - height, width, height, class_of(bar.tone))]))
        }
    };
    plot(name, &drawn, &first.label, &last.label)
}

/// Plots one square per outcome.
pub(super) fn strip(marks: &[Mark]) -> Markup {
    const SIDE: f64 = 12.0;
    let width = (marks.len() as f64 * (SIDE + 2.0)).max(1.0);
    html! {
        svg viewBox=(format!("0 0 {width:.0} {SIDE}")) style=(format!("max-width:{width:.0}px")) role="img"
            aria-label="outcomes, the latest to the right" {
            @for (place, mark) in marks.iter().enumerate() {
                (titled(&mark.label, &[rectangle(place as f64 * (SIDE + 2.0), 0.0, SIDE, SIDE, class_of(mark.tone))]))
            }
        }
    }
}

/// A plot with its name and the two ends of its axis.
fn plot(name: &str, drawn: &Markup, from: &str, to: &str) -> Markup {
    let (below, text) = (HEIGHT + 0.5, HEIGHT + 14.0);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {:.0}", HEIGHT + AXIS)) role="img" aria-label=(printable(name)) {
            (drawn)
            line.axis x1="0" x2=(WIDTH) y1=(below) y2=(below) {}
            text x="0" y=(text) { (printable(from)) }
            text x=(WIDTH) y=(text) text-anchor="end" { (printable(to)) }
        }
    }
}

/// Parts of a plot with a tooltip that describes them.
fn titled(title: &str, parts: &[Markup]) -> Markup {
    html! { g { title { (printable(title)) } @for part in parts { (part) } } "\n" }
}

fn rectangle(x: f64, y: f64, width: f64, height: f64, class: &str) -> Markup {
    let tenths = |length: f64| format!("{length:.1}");
    html! { rect class=(class) x=(tenths(x)) y=(tenths(y)) width=(tenths(width)) height=(tenths(height)) {} }
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
