//! How many requests go out in a second and in a minute.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use runlog_model::Clock;
use runlog_model::wire::logs::PACE_HEADER;

use crate::settings::{Pace, PaceSetting};
use crate::wait::Wait;

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60_000;
/// After how long without a refusal the pace is doubled again.
const RECOVERY_MS: i64 = 30_000;
/// How often the pace is halved at most.
const HALVINGS_MAX: u32 = 3;

/// Gives each request the earliest time at which neither bound is broken. Requests get their times in their order.
pub(crate) struct Pacer {
    /// None when the service takes as many requests as come.
    pace: Mutex<Option<Pace>>,
    /// True when the caller set the pace, so that the service's word does not change it.
    is_set: bool,
    /// How many share the pace.
    sharers: AtomicUsize,
    /// How often the service has lately said that there were too many, and when it last did, in epoch milliseconds.
    limited: Mutex<(u32, i64)>,
    /// When the last requests of a minute were or will be sent, in epoch milliseconds, oldest first.
    sent: Mutex<VecDeque<i64>>,
}

impl Pacer {
    pub(crate) fn new(set: PaceSetting) -> Self {
        let (pace, is_set) = match set {
            PaceSetting::AsServiceSays => (Some(Pace::default()), false),
            PaceSetting::Fixed(pace) => (Some(pace), true),
            PaceSetting::Unlimited => (None, true),
        };
        let (sharers, limited) = (AtomicUsize::new(1), Mutex::default());
        Self { pace: Mutex::new(pace), is_set, sharers, limited, sent: Mutex::default() }
    }

    /// Takes the service's word for how many requests it takes.
    pub(crate) fn hear(&self, headers: &HeaderMap) {
        let said = headers.get(PACE_HEADER).filter(|_| !self.is_set).and_then(|value| value.to_str().ok());
        let pace = match said.map(|text| (text.trim(), text.split_once(','))) {
            Some(("0", _)) => None,
            Some((_, Some((second, minute)))) => match (second.trim().parse(), minute.trim().parse()) {
                (Ok(per_second @ 1..), Ok(per_minute @ 1..)) => Some(Pace { per_second, per_minute }),
                _ => return,
            },
            _ => return,
        };
        *locked(&self.pace) = pace;
    }

    /// The service said that there were too many requests: half as many go out for a while.
    pub(crate) fn limited(&self, now: i64) {
        let mut limited = locked(&self.limited);
        *limited = (halvings(*limited, now).saturating_add(1).min(HALVINGS_MAX), now);
    }

    /// Takes its part of the pace only, because so many share it.
    pub(crate) fn share(&self, sharers: usize) {
        self.sharers.store(sharers.max(1), Ordering::Relaxed);
    }

    /// The pace of this moment; none without a bound.
    pub(crate) fn now(&self, now: i64) -> Option<Pace> {
        let pace = (*locked(&self.pace))?;
        let parts = self.sharers.load(Ordering::Relaxed) << halvings(*locked(&self.limited), now);
        let part = |count: usize| (count / parts).max(1);
        Some(Pace { per_second: part(pace.per_second), per_minute: part(pace.per_minute) })
    }

    /// Requests that may still go out in this minute; none without a bound.
    pub(crate) fn left(&self, now: i64) -> Option<usize> {
        let pace = self.now(now)?;
        let sent = locked(&self.sent).iter().filter(|at| **at > now - MINUTE_MS).count();
        Some(pace.per_minute.saturating_sub(sent))
    }

    /// Waits for the next request's time.
    pub(crate) async fn take(&self, clock: &dyn Clock, wait: &dyn Wait) {
        let now = clock.now().as_millis();
        let Some(pace) = self.now(now) else { return };
        let at = self.book(pace, now);
        if at > now {
            wait.sleep(Duration::from_millis((at - now).unsigned_abs())).await;
        }
    }

    fn book(&self, pace: Pace, now: i64) -> i64 {
        let mut sent = locked(&self.sent);
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

/// How often the pace is halved now, so long after the service last said that there were too many requests.
fn halvings((times, last): (u32, i64), now: i64) -> u32 {
    let recovered = (now - last).max(0) / RECOVERY_MS;
    times.saturating_sub(u32::try_from(recovered).unwrap_or(u32::MAX))
}

/// What the locks guard is changed in single steps, so that a panic elsewhere leaves it whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_word_counts_unless_the_caller_set_the_pace() {
        let said = |set: PaceSetting, text: &'static str| {
            let pacer = Pacer::new(set);
            pacer.hear(&HeaderMap::from_iter([(PACE_HEADER.parse().unwrap(), http::HeaderValue::from_static(text))]));
            *locked(&pacer.pace)
        };
        let usual = Some(Pace::default());
        assert_eq!(said(PaceSetting::AsServiceSays, "0"), None);
        assert_eq!(said(PaceSetting::AsServiceSays, "2, 50"), Some(Pace { per_second: 2, per_minute: 50 }));
        assert_eq!(said(PaceSetting::AsServiceSays, "0,0"), usual);
        assert_eq!(said(PaceSetting::AsServiceSays, "fast"), usual);
        assert_eq!(said(PaceSetting::Fixed(Pace::default()), "0"), usual);
        assert_eq!(said(PaceSetting::Unlimited, "2,50"), None);
    }

    #[test]
    fn neither_second_nor_minute_is_overdrawn() {
        let pacer = Pacer::new(PaceSetting::Unlimited);
        let pace = Pace { per_second: 2, per_minute: 5 };
        let times: Vec<i64> = (0..8).map(|_| pacer.book(pace, 0)).collect();
        assert_eq!(times, [0, 0, 1_000, 1_000, 2_000, 60_000, 60_000, 61_000]);
    }

    #[test]
    fn the_pace_is_shared_halved_when_refused_and_comes_back() {
        let pacer = Pacer::new(PaceSetting::Fixed(Pace::default()));
        let now = |at: i64| pacer.now(at).map(|pace| (pace.per_second, pace.per_minute));
        assert_eq!(now(0), Some((8, 600)));
        pacer.share(2);
        assert_eq!(now(0), Some((4, 300)));
        pacer.limited(1_000);
        assert_eq!(now(1_000), Some((2, 150)));
        pacer.limited(2_000);
        assert_eq!([now(2_000), now(31_999), now(32_000)], [Some((1, 75)), Some((1, 75)), Some((2, 150))]);
        assert_eq!(now(62_000), Some((4, 300)));
        assert_eq!(pacer.left(62_000), Some(300));
    }

    #[test]
    fn a_pause_gives_the_full_pace_again() {
        let pacer = Pacer::new(PaceSetting::Unlimited);
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
