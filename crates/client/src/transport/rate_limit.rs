//! How many requests go out in a second and in a minute.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use runlog_model::Clock;
use runlog_model::wire::logs::PACE_HEADER;

use super::settings::{Pace, PaceSetting};
use super::wait::Wait;

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60_000;
/// After how long without a refusal the pace is doubled again.
const RECOVERY_MS: i64 = 30_000;
/// How often the pace is halved at most.
const HALVINGS_MAX: u32 = 3;

/// Which of the requests that wait goes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// The response is needed to continue, or the request starts work of the service.
    #[default]
    Usual,
    /// A request for the status of work that the service is doing anyway: the later it is sent, the more likely the
    /// work is done.
    Question,
    /// A request that nothing waits for.
    Background,
}

/// Gives each request the earliest time at which neither bound is broken. Requests of the same urgency go in their
/// order.
pub(crate) struct RateLimiter {
    /// None when the service takes as many requests as come.
    pace: Mutex<Option<Pace>>,
    /// True when the caller set the pace, so that the service's word does not change it.
    is_set: bool,
    /// How many share the pace.
    sharers: AtomicUsize,
    /// How many times the service has recently answered 429, and when it last did, in epoch milliseconds.
    limited: Mutex<(u32, i64)>,
    turns: Mutex<Turns>,
}

/// The requests that went out and those that wait.
#[derive(Default)]
struct Turns {
    /// When the last requests of a minute were sent, in epoch milliseconds, oldest first.
    sent: VecDeque<i64>,
    /// Those that wait, in the order in which they go.
    waiting: BTreeSet<Place>,
    /// The number of the next one that comes.
    next: u64,
}

/// A request's place among those that wait.
type Place = (Urgency, u64);

impl RateLimiter {
    pub(crate) fn new(set: PaceSetting) -> Self {
        let (pace, is_set) = match set {
            PaceSetting::AsServiceSays => (Some(Pace::default()), false),
            PaceSetting::Fixed(pace) => (Some(pace), true),
            PaceSetting::Unlimited => (None, true),
        };
        let (sharers, limited) = (AtomicUsize::new(1), Mutex::default());
        Self { pace: Mutex::new(pace), is_set, sharers, limited, turns: Mutex::default() }
    }

    /// Takes the service's word for how many requests it takes.
    pub(crate) fn read_limit(&self, headers: &HeaderMap) {
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

    /// The service answered 429: the rate is halved for a while.
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
        let sent = locked(&self.turns).sent.iter().filter(|at| **at > now - MINUTE_MS).count();
        Some(pace.per_minute.saturating_sub(sent))
    }

    /// Waits for the request's turn.
    pub(crate) async fn take(&self, urgency: Urgency, clock: &dyn Clock, wait: &dyn Wait) {
        if self.now(clock.now().as_millis()).is_none() {
            return;
        }
        let waiting = Waiting { rate_limiter: self, place: locked(&self.turns).come(urgency) };
        loop {
            let now = clock.now().as_millis();
            let Some(pace) = self.now(now) else { return };
            let at = locked(&self.turns).go(waiting.place, pace, now);
            match at - now {
                ..=0 => return,
                // One that is more urgent may come meanwhile.
                ms => wait.sleep(Duration::from_millis(ms.unsigned_abs())).await,
            }
        }
    }
}

impl Turns {
    /// A request comes and waits.
    fn come(&mut self, urgency: Urgency) -> Place {
        let place = (urgency, self.next);
        self.next += 1;
        self.waiting.insert(place);
        place
    }

    /// When its turn is, as far as is known now, in epoch milliseconds; it goes when that is not later than now.
    fn go(&mut self, place: Place, pace: Pace, now: i64) -> i64 {
        // The clock was set back: what was sent after now was not sent later than that.
        self.sent.iter_mut().for_each(|sent| *sent = (*sent).min(now));
        let mut ahead: Vec<i64> = Vec::new();
        let mut at = now;
        for (urgency, _) in self.waiting.range(..=place) {
            let before = |count: usize| {
                let index = (self.sent.len() + ahead.len()).checked_sub(count.max(1))?;
                self.sent.get(index).or_else(|| ahead.get(index - self.sent.len()))
            };
            let after = |count: usize, window_ms: i64| before(count).map_or(now, |sent| sent + window_ms);
            at = now.max(after(pace.per_second, SECOND_MS)).max(after(pace.per_minute, MINUTE_MS));
            if *urgency == Urgency::Question {
                // All at once they would learn less, and leave none for what becomes ready next.
                at = at.max(after(1, SECOND_MS / i64::try_from(pace.per_second.max(1)).unwrap_or(i64::MAX)));
            }
            ahead.push(at);
        }
        if at <= now {
            self.waiting.remove(&place);
            self.sent.push_back(now);
            while self.sent.len() > pace.per_minute.max(pace.per_second).max(1) {
                self.sent.pop_front();
            }
        }
        at
    }
}

/// A waiting request; dropping it cancels the wait.
struct Waiting<'a> {
    rate_limiter: &'a RateLimiter,
    place: Place,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        locked(&self.rate_limiter.turns).waiting.remove(&self.place);
    }
}

/// How many times the rate is currently halved, depending on the time since the last 429.
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
            let rate_limiter = RateLimiter::new(set);
            rate_limiter.read_limit(&HeaderMap::from_iter([(
                PACE_HEADER.parse().unwrap(),
                http::HeaderValue::from_static(text),
            )]));
            *locked(&rate_limiter.pace)
        };
        let usual = Some(Pace::default());
        assert_eq!(said(PaceSetting::AsServiceSays, "0"), None);
        assert_eq!(said(PaceSetting::AsServiceSays, "2, 50"), Some(Pace { per_second: 2, per_minute: 50 }));
        assert_eq!(said(PaceSetting::AsServiceSays, "0,0"), usual);
        assert_eq!(said(PaceSetting::AsServiceSays, "fast"), usual);
        assert_eq!(said(PaceSetting::Fixed(Pace::default()), "0"), usual);
        assert_eq!(said(PaceSetting::Unlimited, "2,50"), None);
    }

    /// Lets all that wait go, each when it is its turn. Their numbers and times.
    fn all_go(turns: &mut Turns, pace: Pace, mut now: i64) -> Vec<(u64, i64)> {
        let mut gone = Vec::new();
        while !turns.waiting.is_empty() {
            let places: Vec<Place> = turns.waiting.iter().copied().collect();
            let mut next = i64::MAX;
            for place in places {
                match turns.go(place, pace, now) {
                    at if at <= now => gone.push((place.1, now)),
                    at => next = next.min(at),
                }
            }
            now = next;
        }
        gone
    }

    #[test]
    fn neither_second_nor_minute_is_overdrawn() {
        let mut turns = Turns::default();
        let pace = Pace { per_second: 2, per_minute: 5 };
        (0..8).for_each(|_| {
            turns.come(Urgency::Usual);
        });
        let times: Vec<i64> = all_go(&mut turns, pace, 0).into_iter().map(|(_, at)| at).collect();
        assert_eq!(times, [0, 0, 1_000, 1_000, 2_000, 60_000, 60_000, 61_000]);
    }

    #[test]
    fn questions_go_after_what_is_more_urgent_and_in_their_order() {
        let mut turns = Turns::default();
        let pace = Pace { per_second: 2, per_minute: 600 };
        let [question, usual] = [Urgency::Question, Urgency::Usual];
        for urgency in [question, question, usual, question, usual] {
            turns.come(urgency);
        }
        assert_eq!(all_go(&mut turns, pace, 0), [(2, 0), (4, 0), (0, 1_000), (1, 1_500), (3, 2_000)]);
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up_for_longer_than_the_pace() {
        let mut turns = Turns::default();
        let pace = Pace { per_second: 1, per_minute: 600 };
        turns.come(Urgency::Usual);
        assert_eq!(all_go(&mut turns, pace, 3_600_000), [(0, 3_600_000)]);
        turns.come(Urgency::Usual);
        assert_eq!(all_go(&mut turns, pace, 0), [(1, 1_000)]);
    }

    #[test]
    fn a_request_that_is_given_up_keeps_no_place() {
        let rate_limiter = RateLimiter::new(PaceSetting::Fixed(Pace { per_second: 1, per_minute: 600 }));
        let place = locked(&rate_limiter.turns).come(Urgency::Usual);
        drop(Waiting { rate_limiter: &rate_limiter, place });
        assert!(locked(&rate_limiter.turns).waiting.is_empty());
    }

    #[test]
    fn the_pace_is_shared_halved_when_refused_and_comes_back() {
        let rate_limiter = RateLimiter::new(PaceSetting::Fixed(Pace::default()));
        let now = |at: i64| rate_limiter.now(at).map(|pace| (pace.per_second, pace.per_minute));
        assert_eq!(now(0), Some((8, 600)));
        rate_limiter.share(2);
        assert_eq!(now(0), Some((4, 300)));
        rate_limiter.limited(1_000);
        assert_eq!(now(1_000), Some((2, 150)));
        rate_limiter.limited(2_000);
        assert_eq!([now(2_000), now(31_999), now(32_000)], [Some((1, 75)), Some((1, 75)), Some((2, 150))]);
        assert_eq!(now(62_000), Some((4, 300)));
        assert_eq!(rate_limiter.left(62_000), Some(300));
    }

    #[test]
    fn a_pause_gives_the_full_pace_again() {
        let mut turns = Turns::default();
        let pace = Pace { per_second: 2, per_minute: 600 };
        let mut go = |count: usize, now: i64| {
            (0..count).for_each(|_| {
                turns.come(Urgency::Usual);
            });
            all_go(&mut turns, pace, now).into_iter().map(|(_, at)| at).collect::<Vec<_>>()
        };
        assert_eq!(go(4, 0), [0, 0, 1_000, 1_000]);
        assert_eq!(go(3, 10_000), [10_000, 10_000, 11_000]);
    }
}
