//! The pace of a client: even if requests wait or are cancelled, each of the others gets its turn, and none too early.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use runlog_client::{Pace, Wait};
use runlog_model::{Clock, Timestamp};
use shuttle::future::{block_on, spawn};

use crate::explore;
use crate::sync::{Arc, point};

mod settings {
    pub(crate) use runlog_client::Pace;
}

mod wait {
    pub(crate) use runlog_client::Wait;
}

#[path = "../../crates/client/src/transport/turns.rs"]
#[allow(dead_code, reason = "the whole file: not all of it is needed here")]
mod turns;

use turns::{MINUTE_MS, SECOND_MS, TurnQueue, Urgency};

const PACE: Pace = Pace { per_second: 2, per_minute: 4 };

/// A time that passes when all requests wait for it.
#[derive(Default)]
struct Time(Mutex<Moment>);

#[derive(Default)]
struct Moment {
    now_ms: i64,
    /// Requests that have not ended.
    requests: usize,
    /// Those that wait for a time, by it and a number.
    asleep: BTreeMap<(i64, u64), Waker>,
    next: u64,
}

impl Moment {
    /// Moves the clock to the next time that is waited for, if nothing else can happen before.
    fn pass(&mut self) {
        if self.asleep.len() < self.requests {
            return;
        }
        if let Some(((until_ms, _), waker)) = self.asleep.pop_first() {
            self.now_ms = self.now_ms.max(until_ms);
            waker.wake();
        }
    }
}

impl Clock for Time {
    fn now(&self) -> Timestamp {
        point();
        Timestamp::clamped(self.0.lock().unwrap().now_ms)
    }
}

impl Wait for Time {
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut moment = self.0.lock().unwrap();
        let key = (moment.now_ms + i64::try_from(time.as_millis()).unwrap(), moment.next);
        moment.next += 1;
        Box::pin(Sleep { time: self, key })
    }
}

struct Sleep<'t> {
    time: &'t Time,
    key: (i64, u64),
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut moment = self.time.0.lock().unwrap();
        if moment.now_ms >= self.key.0 {
            return Poll::Ready(());
        }
        moment.asleep.insert(self.key, context.waker().clone());
        moment.pass();
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        self.time.0.lock().unwrap().asleep.remove(&self.key);
    }
}

/// A request that has not ended.
struct Request(Arc<Time>);

impl Request {
    fn new(time: &Arc<Time>) -> Self {
        time.0.lock().unwrap().requests += 1;
        Self(Arc::clone(time))
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut moment = self.0.0.lock().unwrap();
        moment.requests -= 1;
        moment.pass();
    }
}

/// A request of each urgency goes out; returns when. Unit: milliseconds.
async fn send(queue: Arc<TurnQueue>, time: Arc<Time>, urgency: Urgency, request: Request) -> i64 {
    queue.take(urgency, |_| Some(PACE), &*time, &*time).await;
    let at = time.0.lock().unwrap().now_ms;
    drop(request);
    at
}

fn send_together(gives_up: bool) {
    block_on(async move {
        let (queue, time) = (Arc::<TurnQueue>::default(), Arc::<Time>::default());
        let [usual, question, background] = [Urgency::Usual, Urgency::Question, Urgency::Background];
        let urgencies = [usual, usual, question, background, usual, question];
        // Time does not pass before all are there.
        let requests = urgencies.map(|urgency| (urgency, Request::new(&time)));
        let mut sending: Vec<_> = requests
            .into_iter()
            .map(|(urgency, request)| spawn(send(Arc::clone(&queue), Arc::clone(&time), urgency, request)))
            .collect();
        if gives_up {
            sending.remove(1).abort();
        }
        let mut sent = Vec::new();
        for request in sending {
            sent.push(request.await.unwrap());
        }
        sent.sort_unstable();
        let closest = |count: usize| sent.windows(count + 1).map(|some| some[count] - some[0]).min().unwrap();
        assert!(closest(PACE.per_second) >= SECOND_MS, "{sent:?}");
        assert!(closest(PACE.per_minute) >= MINUTE_MS, "{sent:?}");
        assert!(sent.iter().all(|ms| *ms < 2 * MINUTE_MS), "none waits for longer than the pace says: {sent:?}");
        assert!(!queue.is_contended(), "nobody waits any more");
    });
}

#[test]
fn the_pace_is_kept_whatever_waits() {
    explore(|| send_together(false));
}

#[test]
fn a_request_that_is_given_up_holds_nobody_up() {
    explore(|| send_together(true));
}
