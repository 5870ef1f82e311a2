//! A progress bar on a terminal, and nothing in a pipe.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use runlog_collector::{FetchEvent, Progress};
use runlog_model::printable::printable_line;

use super::terminal;

/// A progress bar on standard error that disappears when its work is done.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// Returns a progress bar for work of unknown length.
    pub(crate) fn counting(doing: &str, unit: &str) -> Self {
        Self::with_template(&format!("{{spinner}} {doing}: {{human_pos}} {unit}, {{rate}}, {{elapsed}}"))
    }

    /// Shows a message about the current work.
    pub(crate) fn telling() -> Self {
        Self::with_template("{spinner} {msg} ({elapsed})")
    }

    /// Sets the number of completed items.
    pub(crate) fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Shows the current work.
    pub(crate) fn set_text(&self, text: impl Into<String>) {
        // A bar is drawn on a terminal only, and has one line.
        self.0.set_message(printable_line(&text.into()).into_owned());
    }

    fn with_template(template: &str) -> Self {
        // The draw target is hidden by the library where standard error is not a terminal.
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            // The rate of the library has four digits after the point.
            let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = write!(out, "{}/s", terminal::count(per_second(state)));
            };
            bar.set_style(style.with_key("rate", rate));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }
}

/// Returns the number of items per second.
fn per_second(state: &ProgressState) -> u64 {
    state.per_sec().round() as u64
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Shows the progress of a fetch.
pub(crate) struct FetchBar {
    bar: Bar,
    pages_requested: AtomicU64,
    pages_done: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
}

impl FetchBar {
    pub(crate) fn new() -> Self {
        let zero = AtomicU64::default;
        Self { bar: Bar::telling(), pages_requested: zero(), pages_done: zero(), records: zero(), bytes: zero() }
    }

    /// Removes the bar, so that the following output is separate.
    pub(crate) fn clear(&self) {
        self.bar.0.finish_and_clear();
    }

    fn print_pages(&self, doing: &str) {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        self.bar.set_text(format!(
            "{doing}: {} of {} requested pages, {} records, {}",
            read(&self.pages_done),
            read(&self.pages_requested),
            terminal::count(read(&self.records)),
            terminal::bytes(read(&self.bytes)),
        ));
    }
}

impl Progress for FetchBar {
    fn report(&self, event: FetchEvent<'_>) {
        match event {
            FetchEvent::RunGoesOn(status) => {
                self.bar.set_text(format!("waiting for the run to end; its status is {status}"))
            }
            FetchEvent::Settling(ms) => {
                let time = terminal::duration(i64::try_from(ms).unwrap_or(i64::MAX));
                self.bar.set_text(format!("the run has ended; waiting {time} for its log to settle"));
            }
            FetchEvent::PageRequested(number) => {
                self.pages_requested.fetch_max(u64::from(number), Ordering::Relaxed);
                self.print_pages("fetching");
            }
            FetchEvent::PageBuilding(_) => self.print_pages("fetching; the service is building pages"),
            FetchEvent::BytesReceived(bytes) => {
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                self.print_pages("fetching");
            }
            FetchEvent::PageDone(_, records) => {
                self.pages_done.fetch_add(1, Ordering::Relaxed);
                self.records.fetch_add(records, Ordering::Relaxed);
                self.print_pages("fetching");
            }
            FetchEvent::PageRequestedAgain(number) => self.print_pages(&format!("requesting page {number} again")),
            FetchEvent::Merging => self.print_pages("joining the pages"),
            FetchEvent::AskingAgainForEnds { expected, got } => {
                let (expected, got) = (terminal::count(expected), terminal::count(got));
                self.print_pages(&format!("the service reports {expected} records but sent {got}; requesting again"));
            }
        }
    }
}
