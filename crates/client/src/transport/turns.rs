//! The order of requests that are counted together: each is sent at the earliest time at which no limit is exceeded.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use runlog_model::{Clock, planted};

use super::settings::Pace;
use super::wait::Wait;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The windows in which requests are counted, a little longer than a second and a minute: on their way to the service,
/// requests may come closer together.
pub(crate) const SECOND_MS: i64 = 1_025;
pub(crate) const MINUTE_MS: i64 = 60_500;
/// How much longer the first requests after a pause count: they may have to connect first.
const BURST_MS: i64 = 400;
/// Maximum delay of a request that does not delay the requests after it.
const LATE_MS_MAX: i64 = 10;

/// The priority of a waiting request.
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

/// Requests that are counted together. Requests of the same urgency are sent in the order of their arrival.
#[derive(Default)]
pub(crate) struct TurnQueue(Mutex<RequestQueue>);

/// The requests that went out and those that wait.
#[derive(Default)]
pub(super) struct RequestQueue {
    /// When the last requests of a minute were sent, in epoch milliseconds, oldest first.
    sent: VecDeque<i64>,
    /// The time of the first request after a pause of a second: others may follow immediately.
    burst: i64,
    /// When the last request was due, in epoch milliseconds.
    due: i64,
    /// The waiting requests, in the order in which they are sent.
    pub(super) waiting: BTreeSet<QueuePosition>,
    /// The number of the next request.
    next: u64,
}

/// A request's place among those that wait.
pub(super) type QueuePosition = (Urgency, u64);

impl TurnQueue {
    /// Waits for the turn of a request. `pace_at` returns the pace at a time, in epoch milliseconds, and is called
    /// after each wait; without a pace, the request is sent immediately.
    pub(crate) async fn take(
        &self,
        urgency: Urgency,
        pace_at: impl Fn(i64) -> Option<Pace>,
        clock: &dyn Clock,
        wait: &dyn Wait,
    ) {
        let waiting = Waiting { queue: self, place: self.turns().enqueue(urgency) };
        loop {
            let now = clock.now().as_millis();
            let Some(pace) = pace_at(now) else { return };
            let at = self.turns().go(waiting.place, pace, now);
            match at - now {
                ..=0 => return,
                // One that is more urgent may come meanwhile.
                ms => wait.sleep(Duration::from_millis(ms.unsigned_abs())).await,
            }
        }
    }

    /// Returns the number of requests that were sent after this time. Unit: epoch milliseconds.
    pub(crate) fn sent_after(&self, time: i64) -> usize {
        self.turns().sent.iter().filter(|at| **at > time).count()
    }

    /// True if requests wait for their turn that something waits for.
    pub(crate) fn is_contended(&self) -> bool {
        self.turns().waiting.iter().any(|(urgency, _)| *urgency != Urgency::Background)
    }

    /// The data guarded by the lock is changed in single steps, so that a panic of another thread leaves it consistent.
    pub(super) fn turns(&self) -> MutexGuard<'_, RequestQueue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestQueue {
    /// Adds a request to those that wait.
    pub(super) fn enqueue(&mut self, urgency: Urgency) -> QueuePosition {
        let place = (urgency, self.next);
        self.next += 1;
        self.waiting.insert(place);
        place
    }

    /// The currently expected time of its turn, in epoch milliseconds; the request is sent if that is not later than
    /// now.
    ///
    /// After a pause, the requests allowed per second are sent immediately; the following ones are spaced evenly. With
    /// such a burst in every second, the service could count the requests of two seconds as those of one if the first
    /// burst is delayed.
    pub(super) fn go(&mut self, place: QueuePosition, pace: Pace, now: i64) -> i64 {
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
    queue: &'a TurnQueue,
    place: QueuePosition,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !planted::is("cancelled-request-keeps-its-turn") {
            self.queue.turns().waiting.remove(&self.place);
        }
    }
}
