//! Rate limits: per caller, per unauthenticated address, and per account with failed sign-ins.
//!
//! A request of a known caller that exceeds the limit waits, up to a timeout: a client that sends one request at a time
//! is slowed down but never rejected. Callers are limited separately, so that none waits because of another. Requests
//! that count as guessing are rejected immediately.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use runlog_model::Clock;
use sha2::{Digest, Sha256};

use super::request_rate::{Rate, RateLimit, forget};
use crate::http::error::ApiError;
use crate::limits;

/// The rate limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateLimitSettings {
    /// Maximum requests per second of one caller; 0 for no limit.
    pub(crate) requests_per_second: u32,
    /// Maximum time that a request of a known caller waits.
    pub(crate) turn_time_max: Duration,
    /// Maximum requests per second of one address without a valid token; 0 for no limit.
    pub(crate) anonymous_requests_per_second: u32,
}

/// Counts requests, and delays or refuses those above the limits.
pub(crate) struct RateLimits {
    callers: RateLimit<String>,
    turn_time_max: Duration,
    anonymous: RateLimit<Option<IpAddr>>,
    accounts: RateLimit<String>,
    verified: VerifiedCredentials,
}

/// A credential whose verification requires a catalog query.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Credential<'a> {
    /// A personal token.
    Token(&'a str),
    /// The cookie of a session.
    Session(&'a str),
    /// The secret of an account, from an address.
    Secret(&'a str, Option<IpAddr>),
}

impl RateLimits {
    pub(crate) fn new(settings: RateLimitSettings, clock: Arc<dyn Clock>) -> Self {
        let anonymous = settings.anonymous_requests_per_second;
        // One wrong secret of an account per second.
        let accounts = if anonymous == 0 { None } else { Rate::new(1, limits::ACCOUNT_FAILURES_AT_ONCE) };
        let callers = Rate::new(settings.requests_per_second, settings.requests_per_second);
        Self {
            callers: rate_limit(callers, &clock),
            turn_time_max: settings.turn_time_max,
            anonymous: rate_limit(Rate::new(anonymous, anonymous), &clock),
            accounts: rate_limit(accounts, &clock),
            verified: VerifiedCredentials { clock, known: Mutex::default() },
        }
    }

    /// Waits until a request of a caller is allowed; 429 if that would take longer than some seconds.
    pub(crate) async fn wait_for(&self, caller: &str) -> Result<(), RateLimited> {
        let wait = self
            .callers
            .take(caller.to_owned(), self.turn_time_max)
            .map_err(|wait| RateLimited::of(&self.callers, wait, "from one caller"))?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// 429 if an address has sent too many unauthenticated requests.
    pub(crate) fn check_anonymous(&self, address: Option<IpAddr>) -> Result<(), RateLimited> {
        let taken = self.anonymous.take(address, Duration::ZERO);
        taken.map(drop).map_err(|wait| RateLimited::of(&self.anonymous, wait, "without a valid token"))
    }

    /// 429 if an address is at its limit for failures and its credential was not verified recently: the limit prevents
    /// a query of the catalog.
    pub(crate) fn check_credential(
        &self,
        address: Option<IpAddr>,
        credential: Credential<'_>,
    ) -> Result<(), RateLimited> {
        match self.anonymous.wait(&address) {
            Some(wait) if !self.verified.contains(credential) => {
                Err(RateLimited::of(&self.anonymous, wait, "without a valid token"))
            }
            _ => Ok(()),
        }
    }

    /// 429 if an account is at its limit for wrong secrets, unless it has signed in from this address recently.
    pub(crate) fn check_account(&self, account: &str, address: Option<IpAddr>) -> Result<(), RateLimited> {
        match self.accounts.wait(&shortened(account)) {
            Some(wait) if !self.verified.contains(Credential::Secret(account, address)) => {
                let what = "too many sign-ins of this account with a wrong secret".to_owned();
                Err(RateLimited { what, wait })
            }
            _ => Ok(()),
        }
    }

    /// Counts a wrong secret against its account.
    pub(crate) fn note_failure(&self, account: &str) {
        // Exceeding the limit affects the next request.
        let _ = self.accounts.take(shortened(account), Duration::ZERO);
    }

    /// Remembers a verified credential.
    pub(crate) fn note_verified(&self, credential: Credential<'_>) {
        self.verified.insert(credential);
    }

    /// The limits announced to clients: requests per second and per minute, or 0.
    pub(crate) fn header(&self) -> HeaderValue {
        let per_second = self.callers.rate.map(|rate| rate.per_second.get());
        let text = per_second.map(|per_second| format!("{per_second},{}", per_second.saturating_mul(60)));
        text.and_then(|text| HeaderValue::from_str(&text).ok()).unwrap_or(HeaderValue::from_static("0"))
    }
}

fn rate_limit<K: Hash + Eq>(rate: Option<Rate>, clock: &Arc<dyn Clock>) -> RateLimit<K> {
    RateLimit::new(rate, limits::RATE_LIMITED_KEYS_MAX, Arc::clone(clock))
}

/// The name of an account is arbitrary client input.
fn shortened(account: &str) -> String {
    account.chars().take(64).collect()
}

/// Recently verified credentials on this node; only their hashes are kept.
struct VerifiedCredentials {
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<[u8; 32], Duration>>,
}

impl VerifiedCredentials {
    fn contains(&self, credential: Credential<'_>) -> bool {
        let now = self.clock.elapsed();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&digest(credential)).is_some_and(|at| now.saturating_sub(*at) < limits::VERIFIED_FOR)
    }

    fn insert(&self, credential: Credential<'_>) {
        let now = self.clock.elapsed();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= limits::VERIFIED_MAX {
            forget(&mut known, limits::VERIFIED_MAX, |at| now.saturating_sub(*at) < limits::VERIFIED_FOR);
        }
        known.insert(digest(credential), now);
    }
}

fn digest(credential: Credential<'_>) -> [u8; 32] {
    let text = match credential {
        Credential::Token(token) => format!("token {token}"),
        Credential::Session(session) => format!("session {session}"),
        Credential::Secret(account, Some(address)) => format!("secret {address} {account}"),
        Credential::Secret(account, None) => format!("secret - {account}"),
    };
    Sha256::digest(text).into()
}

/// A request that is not allowed now.
#[derive(Debug)]
pub(crate) struct RateLimited {
    what: String,
    wait: Duration,
}

impl RateLimited {
    fn of<K>(limit: &RateLimit<K>, wait: Duration, from: &str) -> Self {
        let per_second = limit.rate.map_or(0, |rate| rate.per_second.get());
        Self { what: format!("more than {per_second} requests per second {from}"), wait }
    }
}

impl From<RateLimited> for ApiError {
    fn from(too_many: RateLimited) -> Self {
        let seconds = too_many.seconds();
        Self::new(StatusCode::TOO_MANY_REQUESTS, too_many.what)
            .with_detail(format!("try again in {seconds} s; the request had no effect"))
            .retried_after(seconds)
    }
}

impl RateLimited {
    fn seconds(&self) -> u64 {
        self.wait.as_secs().saturating_add(u64::from(self.wait.subsec_nanos() > 0)).max(1)
    }
}

impl IntoResponse for RateLimited {
    fn into_response(self) -> Response {
        let seconds = self.seconds();
        let mut response = ApiError::from(self).into_response();
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        response
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    use runlog_model::Timestamp;

    use super::*;

    /// A monotonic clock, unaffected by changes of the system clock.
    #[derive(Default)]
    struct SetClock {
        now_ms: AtomicI64,
        elapsed_ms: AtomicU64,
    }

    impl Clock for SetClock {
        fn now(&self) -> Timestamp {
            Timestamp::clamped(self.now_ms.load(Ordering::SeqCst))
        }

        fn elapsed(&self) -> Duration {
            Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
        }
    }

    fn limit(per_second: u32, clock: &Arc<SetClock>) -> RateLimit<&'static str> {
        rate_limit(Rate::new(per_second, per_second), &(Arc::clone(clock) as Arc<dyn Clock>))
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn sequential_requests_are_never_refused() {
        let clock = Arc::new(SetClock::default());
        let limit = limit(100, &clock);
        for number in 0..2_000 {
            let wait = limit.take("client", 5 * SECOND).unwrap_or_else(|wait| panic!("request {number}: {wait:?}"));
            assert!(wait <= Duration::from_millis(10), "request {number} waits for {wait:?}");
            clock.elapsed_ms.fetch_add(u64::try_from(wait.as_millis()).unwrap(), Ordering::SeqCst);
        }
    }

    #[test]
    fn parallel_requests_wait_in_a_bounded_queue_of_their_caller() {
        let clock = Arc::new(SetClock::default());
        let limit = limit(100, &clock);
        let taken = (0..10_000).filter(|_| limit.take("flood", 5 * SECOND).is_ok()).count();
        assert_eq!(taken, 600, "a second's worth at once, and five seconds' worth that wait");
        assert_eq!(limit.take("other", 5 * SECOND), Ok(Duration::ZERO));
    }

    #[test]
    fn a_clock_that_is_set_back_refuses_no_request() {
        let clock = Arc::new(SetClock { now_ms: AtomicI64::new(1_795_434_850_000), ..SetClock::default() });
        let limit = limit(2, &clock);
        assert_eq!(limit.take("a", Duration::ZERO), Ok(Duration::ZERO));
        clock.now_ms.fetch_sub(3_600_000, Ordering::SeqCst);
        assert_eq!(limit.take("a", Duration::ZERO), Ok(Duration::ZERO));
        assert!(limit.take("a", Duration::ZERO).is_err());
        clock.elapsed_ms.fetch_add(500, Ordering::SeqCst);
        assert_eq!(limit.take("a", Duration::ZERO), Ok(Duration::ZERO));
    }

    #[test]
    fn a_limit_holds_a_bounded_number_of_keys() {
        let clock = Arc::new(SetClock::default());
        let limit: RateLimit<usize> = rate_limit(Rate::new(1, 1), &(Arc::clone(&clock) as Arc<dyn Clock>));
        for key in 0..limits::RATE_LIMITED_KEYS_MAX * 2 {
            let _ = limit.take(key, Duration::ZERO);
        }
        assert!(limit.keys() <= limits::RATE_LIMITED_KEYS_MAX);
    }
}
