//! A plausibility check of the clock before deletions that cannot be undone.
//!
//! An archive on one machine has no second clock to compare with. If the machine starts with a wrong time that has not
//! been corrected yet, logs and tokens that only seem to have expired must not be deleted.

use std::time::Duration;

use runlog_model::Timestamp;

use crate::limits;

/// The state of the check: the last reading of the clock, and whether the clock is in doubt.
#[derive(Debug, Default)]
pub(super) struct ClockCheck {
    last: Option<(Timestamp, Duration)>,
    /// The elapsed time until which the clock is in doubt.
    doubted_until: Option<Duration>,
}

/// The reason why deletions are suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doubt {
    /// How far the clock is ahead of the expected time. Unit: milliseconds.
    pub(super) ahead_ms: i64,
}

impl ClockCheck {
    /// Records a reading of the clock: the current time, and the elapsed time of a monotonic clock. The first reading
    /// is compared with `newest`, the newest time in the archive that is at least [`limits::CLOCK_DOUBT_TIME`] in the
    /// past. Returns a doubt when it arises; [`is_doubted`](Self::is_doubted) returns true as long as it lasts.
    pub(super) fn read(&mut self, now: Timestamp, elapsed: Duration, newest: Option<Timestamp>) -> Option<Doubt> {
        let expected = match self.last {
            Some((last, at)) => Some(last.plus_millis(runlog_model::millis(elapsed.saturating_sub(at)))),
            None => newest,
        };
        self.last = Some((now, elapsed));
        let ahead_ms = now.millis_since(expected?);
        (ahead_ms > limits::CLOCK_JUMP_MS).then(|| {
            self.doubted_until = Some(elapsed + limits::CLOCK_DOUBT_TIME);
            Doubt { ahead_ms }
        })
    }

    /// Returns true while the clock is in doubt. The doubt ends if the clock does not jump again for some time.
    pub(super) fn is_doubted(&self, elapsed: Duration) -> bool {
        self.doubted_until.is_some_and(|until| elapsed < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// A machine whose clock has lost its battery starts in another year, and its clock is corrected some minutes
    /// later.
    #[test]
    fn a_clock_that_is_far_ahead_of_the_archive_is_doubted_for_an_hour() {
        let mut check = ClockCheck::default();
        let newest = Some(at("2026-11-28T10:00:00Z"));
        assert!(check.read(at("2038-01-01T00:00:00Z"), HOUR, newest).is_some());
        assert!(check.is_doubted(HOUR) && check.is_doubted(HOUR * 2 - Duration::from_secs(1)));
        assert!(!check.is_doubted(HOUR * 2));
        // The clock is set back, which cannot cause deletions.
        assert_eq!(check.read(at("2026-11-28T10:10:00Z"), HOUR + HOUR / 6, newest), None);
    }

    #[test]
    fn a_clock_that_is_set_ahead_while_the_service_runs_is_doubted() {
        let mut check = ClockCheck::default();
        assert_eq!(check.read(at("2026-11-28T10:00:00Z"), HOUR, Some(at("2026-11-28T09:00:00Z"))), None);
        assert_eq!(check.read(at("2026-11-28T11:00:00Z"), HOUR * 2, None), None);
        assert!(!check.is_doubted(HOUR * 2));
        let doubt = check.read(at("2026-12-08T12:00:00Z"), HOUR * 3, None).unwrap();
        assert_eq!(doubt.ahead_ms, 10 * 86_400_000);
        assert!(check.is_doubted(HOUR * 3));
        assert_eq!(check.read(at("2026-12-08T13:00:00Z"), HOUR * 4, None), None);
        assert!(!check.is_doubted(HOUR * 4), "it stays at that time: the machine had slept");
    }

    #[test]
    fn an_archive_in_daily_use_and_a_new_one_are_not_doubted() {
        let mut check = ClockCheck::default();
        assert_eq!(check.read(at("2026-11-28T10:00:00Z"), HOUR, None), None);
        let mut check = ClockCheck::default();
        assert_eq!(check.read(at("2026-11-28T10:00:00Z"), HOUR, Some(at("2026-11-26T10:00:01Z"))), None);
        assert!(!check.is_doubted(HOUR));
    }
}
