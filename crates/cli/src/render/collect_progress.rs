//! The progress of collection, on a terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use runlog_collector::{CollectEvent, CollectProgress};

use super::progress::Bar;
use super::screen::Stream;
use super::terminal::{BAD, count, note, styled_note};

/// Shows the progress of collectors on a terminal, and only important events in a pipe.
pub(crate) struct CollectBar {
    bar: Bar,
    landed: AtomicU64,
    records: AtomicU64,
    came: AtomicU64,
    under_way: AtomicU64,
    set_back: AtomicU64,
}

impl CollectBar {
    pub(crate) fn new() -> Arc<Self> {
        let zero = AtomicU64::default;
        let bar = Bar::telling();
        Arc::new(Self { bar, landed: zero(), records: zero(), came: zero(), under_way: zero(), set_back: zero() })
    }
}

impl CollectProgress for CollectBar {
    fn report(&self, event: CollectEvent<'_>) {
        let add = |number: &AtomicU64, more: u64| number.fetch_add(more, Ordering::Relaxed);
        match event {
            CollectEvent::Listed(_) => {}
            CollectEvent::Mended(run, records) => note(format!(
                "run {run}: {} records were malformed, and are stored as closely as possible",
                count(records)
            )),
            CollectEvent::Fetching(_) => drop(add(&self.under_way, 1)),
            CollectEvent::RecordsReceived(records) => drop(add(&self.came, records)),
            CollectEvent::Landed(_, records) => {
                add(&self.landed, 1);
                add(&self.records, records);
                self.under_way.fetch_sub(1, Ordering::Relaxed);
            }
            CollectEvent::NoLog(_) => drop(self.under_way.fetch_sub(1, Ordering::Relaxed)),
            CollectEvent::SetBack(run, problem) => {
                self.under_way.fetch_sub(1, Ordering::Relaxed);
                add(&self.set_back, 1);
                let problem = Stream::Note.shown(problem).into_owned();
                note(format!("{} run {run}: {problem}; it will be retried", styled_note(BAD, "not landed:")));
            }
        }
        let read = |number: &AtomicU64| count(number.load(Ordering::Relaxed));
        self.bar.set_text(format!(
            "collecting: {} runs landed with {} records, {} in progress, {} records received, {} to retry",
            read(&self.landed),
            read(&self.records),
            read(&self.under_way),
            read(&self.came),
            read(&self.set_back)
        ));
    }
}
