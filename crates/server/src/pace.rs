//! How many requests are taken: from each caller, and from each address that does not prove who calls.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use runlog_model::Clock;

use crate::error::ApiError;

/// After so many checks, keys that have not been seen lately are forgotten.
const CHECKS_BETWEEN_CLEANINGS: u32 = 10_000;

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, HandedClock, NoOpMiddleware<Duration>>;

/// The clock that was handed in, as the limiter reads it.
#[derive(Clone)]
struct HandedClock(Arc<dyn Clock>);

impl governor::clock::Clock for HandedClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.now().as_millis().max(0).unsigned_abs())
    }
}

/// Counts requests, and refuses those above what is taken.
pub(crate) struct Paces {
    callers: Pace<String>,
    strangers: Pace<Option<IpAddr>>,
}

/// So many requests a second for each key; none for as many as come.
struct Pace<K: Hash + Eq + Clone> {
    limiter: Option<(Limiter<K>, NonZeroU32)>,
    clock: HandedClock,
    checks: AtomicU32,
}

impl Paces {
    /// Takes so many requests a second from each caller, and from each address that proves nothing; 0 for as many as
    /// come.
    pub(crate) fn new(of_callers: u32, of_strangers: u32, clock: Arc<dyn Clock>) -> Self {
        let clock = HandedClock(clock);
        Self { callers: Pace::new(of_callers, clock.clone()), strangers: Pace::new(of_strangers, clock) }
    }

    /// 429 when a caller has sent more than is taken.
    pub(crate) fn check_caller(&self, id: &str) -> Result<(), TooMany> {
        self.callers.check(&id.to_owned(), "from one caller")
    }

    /// 429 when an address has sent more than is taken without proving who calls.
    pub(crate) fn check_stranger(&self, address: Option<IpAddr>) -> Result<(), TooMany> {
        self.strangers.check(&address, "without a good token")
    }

    /// What clients are told: requests per second and per minute, or 0.
    pub(crate) fn header(&self) -> HeaderValue {
        let per_second = self.callers.limiter.as_ref().map(|(_, per_second)| per_second.get());
        let text = per_second.map(|per_second| format!("{per_second},{}", per_second.saturating_mul(60)));
        text.and_then(|text| HeaderValue::from_str(&text).ok()).unwrap_or(HeaderValue::from_static("0"))
    }
}

impl<K: Hash + Eq + Clone> Pace<K> {
    fn new(per_second: u32, clock: HandedClock) -> Self {
        let limiter = NonZeroU32::new(per_second).map(|per_second| {
            (RateLimiter::hashmap_with_clock(Quota::per_second(per_second), clock.clone()), per_second)
        });
        Self { limiter, clock, checks: AtomicU32::new(1) }
    }

    fn check(&self, key: &K, from: &str) -> Result<(), TooMany> {
        let Some((limiter, per_second)) = &self.limiter else { return Ok(()) };
        if self.checks.fetch_add(1, Ordering::Relaxed).is_multiple_of(CHECKS_BETWEEN_CLEANINGS) {
            limiter.retain_recent();
        }
        limiter.check_key(key).map_err(|until| TooMany {
            what: format!("more than {per_second} requests a second {from}"),
            wait: until.wait_time_from(self.clock.now()),
        })
    }
}

/// A request that is not taken now.
#[derive(Debug)]
pub(crate) struct TooMany {
    what: String,
    wait: Duration,
}

impl IntoResponse for TooMany {
    fn into_response(self) -> Response {
        let seconds = self.wait.as_secs_f64().ceil().max(1.0) as u64;
        let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, self.what)
            .with_detail(format!("try again in {seconds} s; nothing was done"));
        let mut response = error.into_response();
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        response
    }
}
