//! Delays before another attempt.

use std::time::Duration;

/// Twice as long after each failed attempt, and never longer than `longest`. `first` is the time after the first one,
/// of which `attempts_before` is 0.
pub fn backoff(first: Duration, attempts_before: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << attempts_before.min(20)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_twice_as_long_up_to_the_longest() {
        let seconds = |attempts| backoff(Duration::from_secs(1), attempts, Duration::from_secs(30)).as_secs();
        assert_eq!([0, 1, 2, 4, 5, 100].map(seconds), [1, 2, 4, 16, 30, 30]);
        assert_eq!(backoff(Duration::MAX, u32::MAX, Duration::MAX), Duration::MAX);
    }
}
