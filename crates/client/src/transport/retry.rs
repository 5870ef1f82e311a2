//! The delays before a request is sent again.

use std::time::Duration;

use http::{HeaderMap, header};
use runlog_model::{Random, Timestamp, backoff};

use super::settings::ClientSettings;
use crate::error::{Error, ErrorKind};

/// The maximum delay that is accepted from a `Retry-After` header.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// The first wait of our own choosing.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// The longest one.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// The minimum time to wait for an unavailable service, even if its responses request a shorter delay.
///
/// A bucket or a database that fails over is back within a minute. A service that asks for two seconds would otherwise
/// use up all retries within some seconds.
const OUTAGE_WAIT: Duration = Duration::from_secs(75);
/// Maximum number of retries of a call, independent of the delays that the service requests.
const RETRIES_IN_OUTAGE_MAX: u32 = 60;

/// The number of retries of a call, and the total time it has waited for them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RetryState {
    pub(crate) retries: u32,
    pub(crate) waited: Duration,
}

impl RetryState {
    /// True if the call is not retried any more: enough attempts were made and, for an unavailable service, enough time
    /// has passed.
    pub(crate) fn is_exhausted(&self, error: &Error, settings: &ClientSettings) -> bool {
        let is_waited_for = error.kind() == ErrorKind::Unavailable
            && settings.retries_max > 0
            && self.waited < OUTAGE_WAIT
            && self.retries < RETRIES_IN_OUTAGE_MAX;
        self.retries >= settings.retries_max && !is_waited_for
    }

    /// Returns the approximate remaining time for which retries wait for an unavailable service.
    pub(crate) fn time_left(&self) -> Duration {
        OUTAGE_WAIT.saturating_sub(self.waited)
    }
}

/// Returns the delay that the service requests, or else 1, 2, 4 s …, with jitter: many requests may have received the
/// same delay.
pub(crate) fn delay(headers: Option<&HeaderMap>, retry: u32, now: Timestamp, random: &dyn Random) -> Duration {
    match headers.and_then(|headers| retry_after(headers, now)) {
        Some(asked) => no_less_than(asked.max(BACKOFF_FIRST), random),
        None => jittered(backoff(BACKOFF_FIRST, retry, BACKOFF_MAX), random),
    }
}

/// A time between this one and five quarters of it.
fn no_less_than(time: Duration, random: &dyn Random) -> Duration {
    let mut byte = [0];
    random.fill(&mut byte);
    time.mul_f64(1.0 + f64::from(byte[0]) / 1_020.0)
}

/// A time between three quarters and five quarters of this one.
pub(crate) fn jittered(time: Duration, random: &dyn Random) -> Duration {
    let mut byte = [0];
    random.fill(&mut byte);
    time.mul_f64(0.75 + f64::from(byte[0]) / 510.0)
}

/// Returns the delay that a service requests, up to a limit: `Retry-After`, in seconds or as a date, or else the end of
/// the period for which it has no requests left (`X-RateLimit-Reset`). Times are compared with the `Date` of the same
/// response, or with `now` if it has none. None if no delay or a delay of zero is requested: the caller then uses its
/// default delay.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let now = headers.get(header::DATE).and_then(|date| date_of(date.to_str().ok()?)).unwrap_or(now);
    let asked = match headers.get(header::RETRY_AFTER) {
        None => reset_after(headers, now)?,
        Some(text) => {
            let text = text.to_str().ok()?.trim();
            let seconds = text.parse::<u64>().ok().map(Duration::from_secs);
            let until = || Some(Duration::from_millis(date_of(text)?.millis_since(now).max(0).unsigned_abs()));
            seconds.or_else(until)?
        }
    };
    Some(asked.min(RETRY_AFTER_MAX)).filter(|time| !time.is_zero())
}

/// A time as HTTP writes it.
pub(super) fn date_of(text: &str) -> Option<Timestamp> {
    Some(Timestamp::clamped(jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp().as_millisecond()))
}

/// The delay until a limit is reset. Services write the number of seconds, or the time in seconds or milliseconds since
/// 1970; it counts only if no requests are left.
fn reset_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    if number("x-ratelimit-remaining").is_some_and(|left| left > 0) {
        return None;
    }
    let time = match number("x-ratelimit-reset")? {
        seconds @ ..1_000_000_000 => Duration::from_secs(seconds),
        epoch => {
            let epoch_ms = if epoch < 100_000_000_000 { epoch * 1_000 } else { epoch };
            Duration::from_millis(epoch_ms.saturating_sub(now.as_millis().max(0).unsigned_abs()))
        }
    };
    Some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Middle;

    impl Random for Middle {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(128);
        }
    }

    struct Least;

    impl Random for Least {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    #[track_caller]
    fn check(value: &'static str, date: Option<&'static str>, expected_ms: u128) {
        let text = http::HeaderValue::from_static;
        let date = date.map(|date| (header::DATE, text(date)));
        let headers = [(header::RETRY_AFTER, text(value))].into_iter().chain(date).collect();
        let now = "2026-10-21T07:28:00Z".parse().unwrap();
        assert_eq!(delay(Some(&headers), 0, now, &Least).as_millis(), expected_ms, "{value}");
    }

    #[test]
    fn retry_after_is_bounded() {
        check("7", None, 7_000);
        check("Wed, 21 Oct 2026 07:28:05 GMT", None, 5_000);
        check("86400", None, 300_000);
        check("soon", None, 750);
        // A clock that is ten minutes ahead of the service's.
        check("Wed, 21 Oct 2026 07:18:05 GMT", Some("Wed, 21 Oct 2026 07:18:00 GMT"), 5_000);
    }

    /// An unavailable service received hundreds of requests per second, without end.
    #[test]
    fn a_delay_of_nothing_switches_no_pause_off() {
        check("0", None, 750);
        check("Wed, 21 Oct 2026 07:27:00 GMT", None, 750);
        check("Wed, 21 Oct 2026 07:28:00 GMT", Some("Wed, 21 Oct 2026 07:28:00 GMT"), 750);
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, http::HeaderValue::from_static("0"))]);
        let waited: Duration = (0..6).map(|retry| delay(Some(&headers), retry, Timestamp::clamped(0), &Least)).sum();
        assert!(waited > Duration::from_secs(40), "{waited:?}");
    }

    #[test]
    fn the_end_of_a_limit_is_waited_for() {
        let now: Timestamp = "2026-10-21T07:28:00Z".parse().unwrap();
        let asked = |pairs: &[(&'static str, String)]| {
            let named = |(name, value): &(&'static str, String)| {
                (http::HeaderName::from_static(name), http::HeaderValue::from_str(value).unwrap())
            };
            retry_after(&pairs.iter().map(named).collect(), now).map(|time| time.as_millis())
        };
        let reset = |value: String| [("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", value)];
        assert_eq!(asked(&reset("17".to_owned())), Some(17_000));
        assert_eq!(asked(&reset((now.as_millis() / 1_000 + 9).to_string())), Some(9_000));
        assert_eq!(asked(&reset((now.as_millis() + 9_500).to_string())), Some(9_500));
        assert_eq!(asked(&reset("soon".to_owned())), None);
        let left = [("x-ratelimit-remaining", "3".to_owned()), ("x-ratelimit-reset", "17".to_owned())];
        assert_eq!(asked(&left), None);
        let both = [("retry-after", "2".to_owned()), ("x-ratelimit-reset", "17".to_owned())];
        assert_eq!(asked(&both), Some(2_000));
    }

    /// With a service that requested delays of two seconds, retries ended after twelve seconds, and the whole fetch
    /// failed.
    #[test]
    fn an_unavailable_service_is_retried_for_more_than_a_minute_but_not_forever() {
        let token = crate::transport::settings::Credentials::PersonalToken("t".into());
        let mut settings = ClientSettings::new("http://127.0.0.1:9".parse().unwrap(), token);
        let waited = |kind: ErrorKind, asked: u64, settings: &ClientSettings| {
            let (error, mut tries) = (Error::new(kind, "no"), RetryState::default());
            while !tries.is_exhausted(&error, settings) {
                tries.retries += 1;
                tries.waited += Duration::from_secs(asked);
            }
            (tries.retries, tries.waited.as_secs())
        };
        assert_eq!(waited(ErrorKind::Unavailable, 2, &settings), (38, 76));
        assert_eq!(waited(ErrorKind::Unavailable, 30, &settings), (6, 180));
        assert_eq!(waited(ErrorKind::Unavailable, 0, &settings), (60, 0));
        assert_eq!(waited(ErrorKind::Limited, 2, &settings), (6, 12));
        settings.retries_max = 0;
        assert_eq!(waited(ErrorKind::Unavailable, 2, &settings), (0, 0));
    }

    #[test]
    fn without_retry_after_the_delay_doubles() {
        let now = Timestamp::clamped(0);
        let seconds: Vec<u64> = (0..7).map(|retry| delay(None, retry, now, &Middle).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
    }
}
