//! How many requests go out in a second and in a minute.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use runlog_model::wire::logs::PACE_HEADER;
use runlog_model::{Clock, planted};

use super::settings::{ApiGroup, GroupPaces, Pace, PaceSetting};
use super::wait::Wait;

/// The windows in which requests are counted, a little longer than a second and a minute: on their way to the service,
/// requests may come closer together.
const SECOND_MS: i64 = 1_025;
const MINUTE_MS: i64 = 60_500;
/// How much longer the first requests after a pause count: they may have to connect first.
const BURST_MS: i64 = 400;
/// How late a request may be sent without delaying those after it.
const LATE_MS_MAX: i64 = 10;
/// The pace after a request was answered with 429, as a share of the pace before.
const SLOWDOWN: (usize, usize) = (3, 4);
/// How often the pace is reduced at most: to a tenth.
const SLOWDOWNS_MAX: u32 = 8;
/// After how long without such a response a reduction is undone.
const RECOVERY_MS: i64 = 10_000;

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

/// Gives each request the earliest time at which no bound is broken. Requests of the same urgency go in their order.
///
/// Talend Cloud counts the requests of each group of its API separately; other services count all together.
pub(crate) struct RateLimiter {
    limits: Mutex<Limits>,
    /// True when the caller set the pace, so that the service's word does not change it.
    is_set: bool,
    /// How many share the pace.
    sharers: AtomicUsize,
    /// By group; all requests are in the first if they are counted together.
    budgets: [Budget; 5],
}

/// What is counted, and up to which number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limits {
    ByGroup(GroupPaces),
    Together(Pace),
    /// The service takes as many requests as come.
    None,
}

/// The requests that are counted together.
#[derive(Default)]
struct Budget {
    /// How many times the pace is reduced, and when it last was, in epoch milliseconds.
    slowdowns: Mutex<(u32, i64)>,
    turns: Mutex<Turns>,
}

/// The requests that went out and those that wait.
#[derive(Default)]
struct Turns {
    /// When the last requests of a minute were sent, in epoch milliseconds, oldest first.
    sent: VecDeque<i64>,
    /// When the first request after a pause of a second was sent: others may follow it at once.
    burst: i64,
    /// When the last request was due, in epoch milliseconds.
    due: i64,
    /// Those that wait, in the order in which they go.
    waiting: BTreeSet<Place>,
    /// The number of the next one that comes.
    next: u64,
}

/// A request's place among those that wait.
type Place = (Urgency, u64);

impl RateLimiter {
    pub(crate) fn new(set: PaceSetting) -> Self {
        let (limits, is_set) = match set {
            PaceSetting::AsServiceSays => (Limits::ByGroup(GroupPaces::default()), false),
            PaceSetting::ByGroup(paces) => (Limits::ByGroup(paces), true),
            PaceSetting::Fixed(pace) => (Limits::Together(pace), true),
            PaceSetting::Unlimited => (Limits::None, true),
        };
        Self { limits: Mutex::new(limits), is_set, sharers: AtomicUsize::new(1), budgets: Default::default() }
    }

    /// Takes the service's word for how many requests it takes.
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
        let sent = locked(&self.budget(group).turns).sent.iter().filter(|at| **at > now - MINUTE_MS).count();
        Some((pace.requests_per_minute() as usize).saturating_sub(sent))
    }

    /// True if requests wait for their turn that something waits for.
    pub(crate) fn is_scarce(&self, group: ApiGroup) -> bool {
        locked(&self.budget(group).turns).waiting.iter().any(|(urgency, _)| *urgency != Urgency::Background)
    }

    /// Waits for the request's turn.
    pub(crate) async fn take(&self, group: ApiGroup, urgency: Urgency, clock: &dyn Clock, wait: &dyn Wait) {
        if self.now(group, clock.now().as_millis()).is_none() {
            return;
        }
        let budget = self.budget(group);
        let waiting = Waiting { budget, place: locked(&budget.turns).come(urgency) };
        loop {
            let now = clock.now().as_millis();
            let Some(pace) = self.now(group, now) else { return };
            let at = locked(&budget.turns).go(waiting.place, pace, now);
            match at - now {
                ..=0 => return,
                // One that is more urgent may come meanwhile.
                ms => wait.sleep(Duration::from_millis(ms.unsigned_abs())).await,
            }
        }
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

impl Turns {
    /// A request comes and waits.
    fn come(&mut self, urgency: Urgency) -> Place {
        let place = (urgency, self.next);
        self.next += 1;
        self.waiting.insert(place);
        place
    }

    /// When its turn is, as far as is known now, in epoch milliseconds; it goes when that is not later than now.
    ///
    /// After a pause, as many go at once as a second allows; then they are spaced evenly. If as many went at once in
    /// each second, the service would count those of two seconds as one when the first are late.
    fn go(&mut self, place: Place, pace: Pace, now: i64) -> i64 {
        // The clock was set back: what was sent after now was not sent later than that.
        self.sent.iter_mut().for_each(|sent| *sent = (*sent).min(now));
        (self.burst, self.due) = (self.burst.min(now), self.due.min(now));
        let space = SECOND_MS / i64::try_from(pace.per_second.max(1)).unwrap_or(i64::MAX);
        let (mut burst, mut due) = (self.burst, self.due);
        let mut ahead: Vec<i64> = Vec::new();
        let mut at = now;
        for (urgency, _) in self.waiting.range(..=place) {
            let before = |count: usize| {
                let index = (self.sent.len() + ahead.len()).checked_sub(count.max(1))?;
                self.sent.get(index).or_else(|| ahead.get(index - self.sent.len())).copied()
            };
            let delay = |sent: i64| if (burst..burst + space).contains(&sent) { BURST_MS } else { 0 };
            let after =
                |count: usize, window_ms: i64| before(count).map_or(i64::MIN, |sent| sent + window_ms + delay(sent));
            let in_minute =
                if planted::is("minute-not-counted") { i64::MIN } else { after(pace.per_minute, MINUTE_MS) };
            let bound = after(pace.per_second, SECOND_MS).max(in_minute);
            at = now.max(bound);
            // Twice, because the bound itself makes a pause of one.
            if before(1).is_none_or(|last| at - last >= 2 * SECOND_MS) {
                burst = at;
            }
            let is_spaced = at - burst >= space || *urgency == Urgency::Question && before(1).is_some();
            due = if is_spaced { bound.max(due + space).max(now - LATE_MS_MAX) } else { at };
            at = now.max(due);
            ahead.push(at);
        }
        if at <= now {
            self.waiting.remove(&place);
            self.sent.push_back(now);
            (self.burst, self.due) = (burst, due);
            while self.sent.len() > pace.per_minute.max(pace.per_second).max(1) {
                self.sent.pop_front();
            }
        }
        at
    }
}

/// A waiting request; dropping it cancels the wait.
struct Waiting<'a> {
    budget: &'a Budget,
    place: Place,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        locked(&self.budget.turns).waiting.remove(&self.place);
    }
}

/// How many times the pace is still reduced, depending on the time since the last 429.
fn left_over((times, last): (u32, i64), now: i64) -> u32 {
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
    fn no_more_requests_are_left_than_the_pace_allows_in_a_minute() {
        let rate_limiter = RateLimiter::new(PaceSetting::Fixed(Pace { per_second: 30, per_minute: 5_442 }));
        assert_eq!(rate_limiter.left(ApiGroup::Monitoring, 0), Some(1_800));
    }

    #[test]
    fn the_services_word_counts_unless_the_caller_set_the_pace() {
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
        assert_eq!(said(PaceSetting::AsServiceSays, "0"), Limits::None);
        assert_eq!(said(PaceSetting::AsServiceSays, "2, 50"), Limits::Together(pace));
        assert_eq!(said(PaceSetting::AsServiceSays, "0,0"), usual);
        assert_eq!(said(PaceSetting::AsServiceSays, "fast"), usual);
        assert_eq!(said(PaceSetting::Fixed(pace), "0"), Limits::Together(pace));
        assert_eq!(said(PaceSetting::ByGroup(GroupPaces::default()), "0"), usual);
        assert_eq!(said(PaceSetting::Unlimited, "2,50"), Limits::None);
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
        assert_eq!(times, [0, 0, 1_425, 1_937, 2_450, 60_500, 60_900, 61_925]);
    }

    #[test]
    fn questions_go_after_what_is_more_urgent_and_in_their_order() {
        let mut turns = Turns::default();
        let pace = Pace { per_second: 2, per_minute: 600 };
        let [question, usual] = [Urgency::Question, Urgency::Usual];
        for urgency in [question, question, usual, question, usual] {
            turns.come(urgency);
        }
        assert_eq!(all_go(&mut turns, pace, 0), [(2, 0), (4, 0), (0, 1_425), (1, 1_937), (3, 2_450)]);
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up_for_longer_than_the_pace() {
        let mut turns = Turns::default();
        let pace = Pace { per_second: 1, per_minute: 600 };
        turns.come(Urgency::Usual);
        assert_eq!(all_go(&mut turns, pace, 3_600_000), [(0, 3_600_000)]);
        turns.come(Urgency::Usual);
        assert_eq!(all_go(&mut turns, pace, 0), [(1, 1_425)]);
    }

    #[test]
    fn a_request_that_is_given_up_keeps_no_place() {
        let rate_limiter = RateLimiter::new(PaceSetting::Fixed(Pace { per_second: 1, per_minute: 600 }));
        let budget = rate_limiter.budget(ApiGroup::Monitoring);
        let place = locked(&budget.turns).come(Urgency::Usual);
        drop(Waiting { budget, place });
        assert!(locked(&budget.turns).waiting.is_empty());
    }

    #[test]
    fn the_pace_is_shared_reduced_when_refused_and_comes_back() {
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
    fn a_pause_gives_the_full_pace_again() {
        let mut turns = Turns::default();
        let pace = Pace { per_second: 2, per_minute: 600 };
        let mut go = |count: usize, now: i64| {
            (0..count).for_each(|_| {
                turns.come(Urgency::Usual);
            });
            all_go(&mut turns, pace, now).into_iter().map(|(_, at)| at).collect::<Vec<_>>()
        };
        assert_eq!(go(4, 0), [0, 0, 1_425, 1_937]);
        assert_eq!(go(3, 10_000), [10_000, 10_000, 11_425]);
    }

    #[test]
    fn each_group_of_the_api_has_its_own_pace_and_is_slowed_down_alone() {
        let rate_limiter = RateLimiter::new(PaceSetting::AsServiceSays);
        rate_limiter.limited(ApiGroup::Processing, 0);
        let now = |group| rate_limiter.now(group, 0).map(|pace| (pace.per_second, pace.per_minute));
        assert_eq!(now(ApiGroup::Monitoring), Some((10, 600)));
        assert_eq!(now(ApiGroup::Processing), Some((15, 1_350)));
        assert_eq!(now(ApiGroup::Orchestration), Some((20, 1_800)));
        let turns = || locked(&rate_limiter.budget(ApiGroup::Monitoring).turns);
        let place = turns().come(Urgency::Usual);
        assert_eq!(turns().go(place, Pace { per_second: 10, per_minute: 600 }, 0), 0);
        assert_eq!(rate_limiter.left(ApiGroup::Monitoring, 0), Some(599));
        assert_eq!(rate_limiter.left(ApiGroup::Orchestration, 0), Some(1_200));
    }

    /// Sends requests for a while, each woken up some milliseconds late. The times at which they arrive, which is up
    /// to 20 ms later, in their order.
    fn arrivals(pace: Pace, seconds: i64) -> Vec<i64> {
        let mut random = 0x9e37_79b9_u64;
        let mut some = move |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            i64::try_from((random >> 33) % below).unwrap()
        };
        let (mut turns, mut now, mut arrivals) = (Turns::default(), 0, Vec::new());
        while now < seconds * 1_000 {
            let place = turns.come(Urgency::Usual);
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
