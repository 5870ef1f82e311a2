//! Limits the number of requests per second and per minute.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderMap;
use runlog_model::Clock;
use runlog_model::wire::logs::PACE_HEADER;

use super::settings::{ApiGroup, GroupPaces, Pace, PaceSetting};
use super::turns::{MINUTE_MS, SECOND_MS, TurnQueue, Urgency};
use super::wait::Wait;

/// The pace after a request was answered with 429, as a share of the pace before.
const SLOWDOWN: (usize, usize) = (3, 4);
/// Maximum number of reductions of the pace: to a tenth.
const SLOWDOWNS_MAX: u32 = 8;
/// After how long without such a response a reduction is undone.
const RECOVERY_MS: i64 = 10_000;

/// Gives each request the earliest time at which no bound is broken. Requests of the same urgency go in their order.
///
/// Talend Cloud counts the requests of each group of its API separately; other services count all together.
pub(crate) struct RateLimiter {
    limits: Mutex<Limits>,
    /// True if the caller set the pace, so that limits announced by the service do not change it.
    is_set: bool,
    /// Number of clients that share the pace.
    sharers: AtomicUsize,
    /// By group; all requests are in the first if they are counted together.
    budgets: [Budget; 5],
}

/// The groups of requests that are counted, and their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limits {
    ByGroup(GroupPaces),
    Together(Pace),
    /// The service has no limit.
    None,
}

/// The requests that are counted together.
#[derive(Default)]
struct Budget {
    /// Number of reductions of the pace, and the time of the last one, in epoch milliseconds.
    slowdowns: Mutex<(u32, i64)>,
    turns: TurnQueue,
}

impl RateLimiter {
    pub(crate) fn new(set: PaceSetting) -> Self {
        let (limits, is_set) = match set {
            PaceSetting::ServiceDefault => (Limits::ByGroup(GroupPaces::default()), false),
            PaceSetting::ByGroup(paces) => (Limits::ByGroup(paces), true),
            PaceSetting::Fixed(pace) => (Limits::Together(pace), true),
            PaceSetting::Unlimited => (Limits::None, true),
        };
        Self { limits: Mutex::new(limits), is_set, sharers: AtomicUsize::new(1), budgets: Default::default() }
    }

    /// Adopts the limit that the service announces.
    pub(crate) fn read_limit(&self, headers: &HeaderMap) {
        let said = headers.get(PACE_HEADER).filter(|_| !self.is_set).and_then(|value| value.to_str().ok());
        let limits = match said.map(|text| (text.trim(), text.split_once(','))) {
            Some(("0", _)) => Limits::None,
            Some((_, Some((second, minute)))) => match (second.trim().parse(), minute.trim().parse()) {
                (Ok(per_second @ 1..), Ok(per_minute @ 1..)) => Limits::Together(Pace { per_second, per_minute }),
                _ => return,
            },
            _ => return,
        };
        *locked(&self.limits) = limits;
    }

    /// The service answered 429: the pace of the group is reduced for a while, once for all responses of a second.
    pub(crate) fn limited(&self, group: ApiGroup, now: i64) {
        let mut slowdowns = locked(&self.budget(group).slowdowns);
        let (times, last) = *slowdowns;
        if times == 0 || !(0..SECOND_MS).contains(&(now - last)) {
            *slowdowns = (left_over(*slowdowns, now).saturating_add(1).min(SLOWDOWNS_MAX), now);
        }
    }

    /// Takes its part of the pace only, because so many share it.
    pub(crate) fn share(&self, sharers: usize) {
        self.sharers.store(sharers.max(1), Ordering::Relaxed);
    }

    /// The pace of this moment; none without a bound.
    pub(crate) fn now(&self, group: ApiGroup, now: i64) -> Option<Pace> {
        let pace = match *locked(&self.limits) {
            Limits::ByGroup(paces) => paces.of(group),
            Limits::Together(pace) => pace,
            Limits::None => return None,
        };
        let sharers = self.sharers.load(Ordering::Relaxed);
        let slowdowns = left_over(*locked(&self.budget(group).slowdowns), now);
        let (share, whole) = (SLOWDOWN.0.pow(slowdowns), SLOWDOWN.1.pow(slowdowns));
        let part = |count: usize| (count.saturating_mul(share) / whole / sharers).max(1);
        Some(Pace { per_second: part(pace.per_second), per_minute: part(pace.per_minute) })
    }

    /// Requests that may still go out in this minute; none without a bound.
    pub(crate) fn left(&self, group: ApiGroup, now: i64) -> Option<usize> {
        let pace = self.now(group, now)?;
        let sent = self.budget(group).turns.sent_after(now - MINUTE_MS);
        Some((pace.requests_per_minute() as usize).saturating_sub(sent))
    }

    /// True if requests wait for their turn that something waits for.
    pub(crate) fn is_contended(&self, group: ApiGroup) -> bool {
        self.budget(group).turns.is_contended()
    }

    /// Waits for the request's turn.
    pub(crate) async fn take(&self, group: ApiGroup, urgency: Urgency, clock: &dyn Clock, wait: &dyn Wait) {
        if self.now(group, clock.now().as_millis()).is_none() {
            return;
        }
        self.budget(group).turns.take(urgency, |now| self.now(group, now), clock, wait).await;
    }

    fn budget(&self, group: ApiGroup) -> &Budget {
        let [together, processing, orchestration, audit_logs, other] = &self.budgets;
        match (*locked(&self.limits), group) {
            (Limits::Together(_) | Limits::None, _) | (_, ApiGroup::Monitoring) => together,
            (_, ApiGroup::Processing) => processing,
            (_, ApiGroup::Orchestration) => orchestration,
            (_, ApiGroup::AuditLogs) => audit_logs,
            (_, ApiGroup::Other) => other,
        }
    }
}

/// How many times the pace is still reduced, depending on the time since the last 429.
fn left_over((times, last): (u32, i64), now: i64) -> u32 {
    let recovered = (now - last).max(0) / RECOVERY_MS;
    times.saturating_sub(u32::try_from(recovered).unwrap_or(u32::MAX))
}

/// The data guarded by the locks is changed in single steps, so that a panic of another thread leaves it consistent.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use runlog_model::Timestamp;

    use super::super::turns::{QueuePosition, RequestQueue};
    use super::super::wait::TokioWait;
    use super::*;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::clamped(1_000)
        }
    }

    #[test]
    fn no_more_requests_are_left_than_the_pace_allows_in_a_minute() {
        let rate_limiter = RateLimiter::new(PaceSetting::Fixed(Pace { per_second: 30, per_minute: 5_442 }));
        assert_eq!(rate_limiter.left(ApiGroup::Monitoring, 0), Some(1_800));
    }

    #[test]
    fn the_limit_of_the_service_applies_unless_a_pace_is_set() {
        let said = |set: PaceSetting, text: &'static str| {
            let rate_limiter = RateLimiter::new(set);
            rate_limiter.read_limit(&HeaderMap::from_iter([(
                PACE_HEADER.parse().unwrap(),
                http::HeaderValue::from_static(text),
            )]));
            *locked(&rate_limiter.limits)
        };
        let usual = Limits::ByGroup(GroupPaces::default());
        let pace = Pace { per_second: 2, per_minute: 50 };
        assert_eq!(said(PaceSetting::ServiceDefault, "0"), Limits::None);
        assert_eq!(said(PaceSetting::ServiceDefault, "2, 50"), Limits::Together(pace));
        assert_eq!(said(PaceSetting::ServiceDefault, "0,0"), usual);
        assert_eq!(said(PaceSetting::ServiceDefault, "fast"), usual);
        assert_eq!(said(PaceSetting::Fixed(pace), "0"), Limits::Together(pace));
        assert_eq!(said(PaceSetting::ByGroup(GroupPaces::default()), "0"), usual);
        assert_eq!(said(PaceSetting::Unlimited, "2,50"), Limits::None);
    }

    #[test]
    fn the_pace_is_shared_reduced_by_429_and_restored() {
        let rate_limiter = RateLimiter::new(PaceSetting::Fixed(Pace { per_second: 8, per_minute: 600 }));
        let group = ApiGroup::Monitoring;
        let now = |at: i64| rate_limiter.now(group, at).map(|pace| (pace.per_second, pace.per_minute));
        assert_eq!(now(0), Some((8, 600)));
        rate_limiter.share(2);
        assert_eq!(now(0), Some((4, 300)));
        rate_limiter.limited(group, 1_000);
        rate_limiter.limited(group, 1_500);
        assert_eq!(now(2_000), Some((3, 225)), "those sent together count once");
        rate_limiter.limited(group, 3_000);
        assert_eq!([now(3_000), now(12_999), now(13_000)], [Some((2, 168)), Some((2, 168)), Some((3, 225))]);
        assert_eq!(now(23_000), Some((4, 300)));
        assert_eq!(rate_limiter.left(group, 23_000), Some(240));
        (0..60).for_each(|second| rate_limiter.limited(group, 30_000 + second * 2_000));
        assert_eq!(now(148_000), Some((1, 30)));
    }

    #[test]
    fn each_group_of_the_api_has_its_own_pace_and_is_slowed_down_alone() {
        let rate_limiter = RateLimiter::new(PaceSetting::ServiceDefault);
        rate_limiter.limited(ApiGroup::Processing, 0);
        let now = |group| rate_limiter.now(group, 0).map(|pace| (pace.per_second, pace.per_minute));
        assert_eq!(now(ApiGroup::Monitoring), Some((10, 600)));
        assert_eq!(now(ApiGroup::Processing), Some((15, 1_350)));
        assert_eq!(now(ApiGroup::Orchestration), Some((20, 1_800)));
        let turns = || rate_limiter.budget(ApiGroup::Monitoring).turns.turns();
        let place = turns().enqueue(Urgency::Usual);
        assert_eq!(turns().go(place, Pace { per_second: 10, per_minute: 600 }, 0), 0);
        assert_eq!(rate_limiter.left(ApiGroup::Monitoring, 0), Some(599));
        assert_eq!(rate_limiter.left(ApiGroup::Orchestration, 0), Some(1_200));
    }

    /// Lets all that wait go, each when it is its turn. Their numbers and times.
    fn all_go(turns: &mut RequestQueue, pace: Pace, mut now: i64) -> Vec<(u64, i64)> {
        let mut gone = Vec::new();
        while !turns.waiting.is_empty() {
            let places: Vec<QueuePosition> = turns.waiting.iter().copied().collect();
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
        let mut turns = RequestQueue::default();
        let pace = Pace { per_second: 2, per_minute: 5 };
        (0..8).for_each(|_| {
            turns.enqueue(Urgency::Usual);
        });
        let times: Vec<i64> = all_go(&mut turns, pace, 0).into_iter().map(|(_, at)| at).collect();
        assert_eq!(times, [0, 0, 1_425, 1_937, 2_450, 60_500, 60_900, 61_925]);
    }

    #[test]
    fn requests_are_ordered_by_urgency_then_arrival() {
        let mut turns = RequestQueue::default();
        let pace = Pace { per_second: 2, per_minute: 600 };
        let [question, usual] = [Urgency::Question, Urgency::Usual];
        for urgency in [question, question, usual, question, usual] {
            turns.enqueue(urgency);
        }
        assert_eq!(all_go(&mut turns, pace, 0), [(2, 0), (4, 0), (0, 1_425), (1, 1_937), (3, 2_450)]);
    }

    #[test]
    fn a_clock_that_is_set_back_delays_no_request_beyond_the_pace() {
        let mut turns = RequestQueue::default();
        let pace = Pace { per_second: 1, per_minute: 600 };
        turns.enqueue(Urgency::Usual);
        assert_eq!(all_go(&mut turns, pace, 3_600_000), [(0, 3_600_000)]);
        turns.enqueue(Urgency::Usual);
        assert_eq!(all_go(&mut turns, pace, 0), [(1, 1_425)]);
    }

    #[tokio::test]
    async fn an_abandoned_request_leaves_the_queue() {
        let rate_limiter = RateLimiter::new(PaceSetting::Fixed(Pace { per_second: 1, per_minute: 600 }));
        let (group, clock) = (ApiGroup::Monitoring, Still);
        rate_limiter.take(group, Urgency::Usual, &clock, &TokioWait).await;
        {
            let mut second = std::pin::pin!(rate_limiter.take(group, Urgency::Usual, &clock, &TokioWait));
            assert!(futures::poll!(second.as_mut()).is_pending());
            assert!(rate_limiter.is_contended(group));
        }
        assert!(!rate_limiter.is_contended(group));
    }

    #[test]
    fn a_pause_gives_the_full_pace_again() {
        let mut turns = RequestQueue::default();
        let pace = Pace { per_second: 2, per_minute: 600 };
        let mut go = |count: usize, now: i64| {
            (0..count).for_each(|_| {
                turns.enqueue(Urgency::Usual);
            });
            all_go(&mut turns, pace, now).into_iter().map(|(_, at)| at).collect::<Vec<_>>()
        };
        assert_eq!(go(4, 0), [0, 0, 1_425, 1_937]);
        assert_eq!(go(3, 10_000), [10_000, 10_000, 11_425]);
    }

    /// Sends requests for a while, each woken up some milliseconds late. The times at which they arrive, which is up
    /// to 20 ms later, in their order.
    fn arrivals(pace: Pace, seconds: i64) -> Vec<i64> {
        let mut random = 0x9e37_79b9_u64;
        let mut some = move |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            i64::try_from((random >> 33) % below).unwrap()
        };
        let (mut turns, mut now, mut arrivals) = (RequestQueue::default(), 0, Vec::new());
        while now < seconds * 1_000 {
            let place = turns.enqueue(Urgency::Usual);
            loop {
                match turns.go(place, pace, now) {
                    at if at <= now => break,
                    at => now = at + some(3),
                }
            }
            arrivals.push(now + some(16));
        }
        arrivals.sort_unstable();
        arrivals
    }

    #[test]
    fn almost_all_of_what_the_service_allows_is_used_and_none_of_its_seconds_and_minutes_is_overdrawn() {
        let Pace { per_second, per_minute } = GroupPaces::default().monitoring;
        let arrivals = arrivals(Pace { per_second, per_minute }, 1_200);
        let least = |count: usize| arrivals.windows(count + 1).map(|pair| pair[count] - pair[0]).min().unwrap();
        assert!(least(per_second) >= 1_000, "{} requests within {} ms", per_second + 1, least(per_second));
        assert!(least(per_minute) >= 60_000, "{} requests within {} ms", per_minute + 1, least(per_minute));
        let share = arrivals.len() as f64 / (20.0 * per_minute as f64);
        assert!(share >= 0.95, "{share:.3} of the allowed requests were sent");
    }
}
