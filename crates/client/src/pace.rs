//! How many requests go out in a second and in a minute.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use runlog_model::Clock;

use crate::settings::Pace;
use crate::wait::Wait;

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60_000;

/// Gives each request the earliest time at which neither bound is broken. Requests get their times in their order.
pub(crate) struct Pacer {
    pace: Option<Pace>,
    /// When the last requests of a minute were or will be sent, in epoch milliseconds, oldest first.
    sent: Mutex<VecDeque<i64>>,
}

impl Pacer {
    pub(crate) fn new(pace: Option<Pace>) -> Self {
        Self { pace, sent: Mutex::default() }
    }

    /// Waits for the next request's time.
    pub(crate) async fn take(&self, clock: &dyn Clock, wait: &dyn Wait) {
        let Some(pace) = self.pace else { return };
        let now = clock.now().as_millis();
        let at = self.book(pace, now);
        if at > now {
            wait.sleep(Duration::from_millis((at - now).unsigned_abs())).await;
        }
    }

    fn book(&self, pace: Pace, now: i64) -> i64 {
        // A panic elsewhere leaves the queue whole: it is changed in single steps.
        let mut sent = self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let after = |count: usize, window_ms: i64| match sent.len().checked_sub(count.max(1)) {
            Some(index) => sent[index] + window_ms,
            None => now,
        };
        let at = now.max(after(pace.per_second, SECOND_MS)).max(after(pace.per_minute, MINUTE_MS));
        sent.push_back(at);
        while sent.len() > pace.per_minute.max(pace.per_second).max(1) {
            sent.pop_front();
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_second_nor_minute_is_overdrawn() {
        let pacer = Pacer::new(None);
        let pace = Pace { per_second: 2, per_minute: 5 };
        let times: Vec<i64> = (0..8).map(|_| pacer.book(pace, 0)).collect();
        assert_eq!(times, [0, 0, 1_000, 1_000, 2_000, 60_000, 60_000, 61_000]);
    }

    #[test]
    fn a_pause_gives_the_full_pace_again() {
        let pacer = Pacer::new(None);
        let pace = Pace { per_second: 2, per_minute: 600 };
        (0..4).for_each(|_| {
            pacer.book(pace, 0);
        });
        assert_eq!(
            [pacer.book(pace, 10_000), pacer.book(pace, 10_000), pacer.book(pace, 10_000)],
            [10_000, 10_000, 11_000]
        );
    }
}
