//! Rate limits of the service: each request has a turn of its own.

use std::time::Duration;

use runlog_model::{Clock, Timestamp};
use shuttle::thread;

use crate::explore;
use crate::sync::Arc;

#[path = "../../crates/server/src/auth/request_rate.rs"]
#[allow(dead_code, reason = "the whole file: not all of it is needed here")]
mod request_rate;

use request_rate::{Rate, RateLimit};

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::clamped(1_000_000)
    }
}

/// The sorted waits of two requests with the same key of each of three threads; those of one that is not counted are left
/// out. Unit: milliseconds.
fn waits(limit: &Arc<RateLimit<&'static str>>, wait_max: Duration) -> Vec<u128> {
    let clients = [(); 3].map(|()| {
        let limit = Arc::clone(limit);
        thread::spawn(move || [(); 2].map(|()| limit.take("flood", wait_max).ok()))
    });
    let taken = clients.into_iter().flat_map(|client| client.join().unwrap()).flatten();
    let mut waits: Vec<u128> = taken.map(|wait| wait.as_millis()).collect();
    waits.sort_unstable();
    waits
}

#[test]
fn no_two_requests_have_the_same_turn() {
    explore(|| {
        let limit = Arc::new(RateLimit::new(Rate::new(2, 2), 8, Arc::new(Still)));
        assert_eq!(waits(&limit, Duration::MAX), [0, 0, 500, 1_000, 1_500, 2_000]);
        assert_eq!(limit.take("other", Duration::ZERO), Ok(Duration::ZERO), "others do not wait because of it");
    });
}

#[test]
fn a_request_that_is_refused_takes_no_turn() {
    explore(|| {
        let limit = Arc::new(RateLimit::new(Rate::new(2, 1), 8, Arc::new(Still)));
        assert_eq!(waits(&limit, Duration::from_secs(1)), [0, 500, 1_000]);
        assert_eq!(limit.wait(&"flood"), Some(Duration::from_millis(1_500)));
    });
}

#[test]
fn a_full_table_of_keys_stays_bounded() {
    explore(|| {
        let limit = Arc::new(RateLimit::new(Rate::new(1, 1), 4, Arc::new(Still)));
        let clients = [["a", "b", "c"], ["d", "e", "f"]].map(|keys| {
            let limit = Arc::clone(&limit);
            thread::spawn(move || keys.map(|key| assert!(limit.take(key, Duration::MAX).is_ok())))
        });
        for client in clients {
            client.join().unwrap();
        }
        assert!(limit.keys() <= 4, "{} keys", limit.keys());
    });
}
