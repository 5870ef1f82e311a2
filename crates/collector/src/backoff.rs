//! How long to wait before another attempt.

use std::time::Duration;

/// Twice as long for each attempt before it, and never longer than `longest`.
pub(crate) fn backoff(first: Duration, attempts_before: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << attempts_before.min(20)).min(longest)
}

/// A time in milliseconds.
pub(crate) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
