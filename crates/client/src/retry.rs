//! How long to wait before a request is sent again.

use std::time::Duration;

use http::{HeaderMap, header};
use runlog_model::{Random, Timestamp};

/// The longest wait that a service's `Retry-After` is believed for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// The longest wait of our own choosing.
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// What the service asks for, or else 1, 2, 4 s … with jitter.
pub(crate) fn delay(headers: Option<&HeaderMap>, retry: u32, now: Timestamp, random: &dyn Random) -> Duration {
    let asked = headers.and_then(|headers| retry_after(headers, now));
    asked.unwrap_or_else(|| jittered(backoff(retry), random))
}

fn backoff(retry: u32) -> Duration {
    Duration::from_secs(1 << retry.min(5)).min(BACKOFF_MAX)
}

/// A time between three quarters and five quarters of this one.
pub(crate) fn jittered(time: Duration, random: &dyn Random) -> Duration {
    let mut byte = [0];
    random.fill(&mut byte);
    time.mul_f64(0.75 + f64::from(byte[0]) / 510.0)
}

/// How long a service asks to be left alone (`Retry-After`, in seconds or as a date), as far as it is believed.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse::<u64>().ok().map(Duration::from_secs);
    let until = || {
        let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
        Some(Duration::from_millis((at - now.as_millis()).max(0).unsigned_abs()))
    };
    seconds.or_else(until).map(|time| time.min(RETRY_AFTER_MAX))
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

    #[track_caller]
    fn check(value: &'static str, expected_ms: u128) {
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, http::HeaderValue::from_static(value))]);
        let now = "2026-10-21T07:28:00Z".parse().unwrap();
        assert_eq!(delay(Some(&headers), 0, now, &Middle).as_millis(), expected_ms, "{value}");
    }

    #[test]
    fn the_service_is_believed_within_reason() {
        check("7", 7_000);
        check("Wed, 21 Oct 2026 07:28:05 GMT", 5_000);
        check("Wed, 21 Oct 2026 07:27:00 GMT", 0);
        check("86400", 300_000);
        check("soon", 1_000);
    }

    #[test]
    fn without_a_word_the_wait_doubles() {
        let now = Timestamp::clamped(0);
        let seconds: Vec<u64> = (0..7).map(|retry| delay(None, retry, now, &Middle).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
    }
}
