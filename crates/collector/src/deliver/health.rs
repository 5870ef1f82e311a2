//! The state of a sink, as shown by its responses: whether it is paused, and how much it accepts at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runlog_model::{Timestamp, backoff, millis};

use super::batch::BatchOutcome;
use super::error::{DeliveryError, Result};
use super::sinks::sink::Encoded;

/// The longest pause of a sink.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// If at least this number of records was refused and at most one of ten accepted, the cause is not in the records.
pub(super) const REFUSED_ALL: usize = 16;
/// If this number of consecutive runs is refused completely, the cause is in the sink, not in the runs.
const RUNS_REFUSED: u32 = 3;
/// The minimum batch size to which complaints about the size can lead. Unit: bytes.
const LEARNED_BYTES_MIN: usize = 64 << 10;
/// After this number of parts of a batch without a refusal, the following ones are larger again.
const CLEAN_PARTS: u32 = 8;

/// The state of a sink. What the locks protect is changed in single steps, so that it stays consistent if another
/// thread panics.
#[derive(Default)]
pub(super) struct SinkHealth {
    pause: Mutex<Pause>,
    batch_limits: Mutex<BatchLimits>,
}

/// The end of the current pause, and the number of consecutive pauses.
#[derive(Debug, Clone, Copy, Default)]
struct Pause {
    until: i64,
    times: u32,
}

impl Pause {
    fn is_on(self, now: Timestamp) -> bool {
        (1..=millis(PAUSE_MAX)).contains(&(self.until - now.as_millis()))
    }
}

#[derive(Debug, Clone, Copy)]
struct BatchLimits {
    /// Number of consecutive refused records, and of consecutive runs that were refused completely.
    refused: usize,
    runs_refused: u32,
    /// Larger batches are too large. Unit: bytes.
    bytes_max: usize,
    /// Maximum number of records that are sent together, so that few are sent with one that the sink refuses without
    /// naming it.
    together_max: usize,
    /// Number of consecutive parts that were accepted completely.
    clean_parts: u32,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { refused: 0, runs_refused: 0, bytes_max: usize::MAX, together_max: usize::MAX, clean_parts: 0 }
    }
}

impl SinkHealth {
    /// True from the first failure until the sink accepts something again.
    pub(super) fn is_away(&self) -> bool {
        self.pause().times > 0
    }

    /// True while the sink is paused. A pause that ends later than any can was begun by a clock that was ahead, and is
    /// over.
    pub(super) fn is_paused(&self, now: Timestamp) -> bool {
        self.pause().is_on(now)
    }

    /// Pauses the sink, for longer each time. Returns the end of the pause.
    pub(super) fn start_pause(&self, first: Duration, now: Timestamp) -> Timestamp {
        let mut pause = self.pause();
        let time = backoff(first, pause.times, PAUSE_MAX);
        let until = now.plus_millis(millis(time));
        // Several workers may encounter the same failure; it counts once.
        if !pause.is_on(now) {
            *pause = Pause { until: until.as_millis(), times: pause.times.saturating_add(1) };
        }
        Timestamp::clamped(pause.until)
    }

    /// Records that the sink accepts records. True if it was unavailable before.
    pub(super) fn recovered(&self) -> bool {
        std::mem::take(&mut *self.pause()).times > 0
    }

    /// Records that a run was refused completely. True while the cause may be in the run.
    pub(super) fn is_first_refusing(&self) -> bool {
        let mut batch_limits = self.batch_limits();
        batch_limits.runs_refused = batch_limits.runs_refused.saturating_add(1);
        batch_limits.runs_refused < RUNS_REFUSED
    }

    /// If a sink refuses nearly everything, the cause is assumed to be in the settings: nothing is recorded as refused.
    pub(super) fn judge(&self, outcome: &BatchOutcome) -> Result<()> {
        let (taken, refused) = (outcome.accepted() as usize, outcome.refused() as usize);
        let mut batch_limits = self.batch_limits();
        if taken > 0 {
            (batch_limits.refused, batch_limits.runs_refused) = (0, 0);
        }
        let in_a_row = if taken > 0 { refused } else { batch_limits.refused + refused };
        if refused > 0 && in_a_row >= REFUSED_ALL && refused >= 9 * taken {
            let reason = outcome.first_reason();
            let all = taken + refused;
            return Err(DeliveryError::Refusing(format!(
                "it rejects everything it receives, {refused} of {all} records together and {in_a_row} in a row: {reason}"
            )));
        }
        if taken == 0 {
            batch_limits.refused += refused;
        }
        Ok(())
    }

    /// The size from which on batches are too large. Unit: bytes.
    pub(super) fn bytes_max(&self) -> usize {
        self.batch_limits().bytes_max
    }

    /// Maximum number of records that are sent together.
    pub(super) fn together_max(&self) -> usize {
        self.batch_limits().together_max
    }

    /// Records that a batch of this size was too large.
    pub(super) fn send_smaller(&self, records: &[Encoded]) {
        let bytes: usize = records.iter().map(|record| record.bytes(None)).sum();
        let mut batch_limits = self.batch_limits();
        batch_limits.bytes_max = batch_limits.bytes_max.min((bytes / 2).max(LEARNED_BYTES_MIN));
    }

    /// Records that an unknown part of this number of records was refused.
    pub(super) fn send_fewer_together(&self, records: usize) {
        let mut batch_limits = self.batch_limits();
        (batch_limits.together_max, batch_limits.clean_parts) = ((records / 8).max(1), 0);
    }

    /// Records that a part of a batch was accepted completely.
    pub(super) fn send_more_together(&self) {
        let mut batch_limits = self.batch_limits();
        batch_limits.clean_parts = batch_limits.clean_parts.saturating_add(1);
        if batch_limits.together_max < usize::MAX && batch_limits.clean_parts >= CLEAN_PARTS {
            (batch_limits.together_max, batch_limits.clean_parts) = (batch_limits.together_max.saturating_mul(2), 0);
        }
    }

    fn pause(&self) -> MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn batch_limits(&self) -> MutexGuard<'_, BatchLimits> {
        self.batch_limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that was ahead for a moment paused a sink for as long as it was ahead.
    #[test]
    fn a_pause_that_a_wrong_clock_has_begun_does_not_last() {
        let (health, ahead) = (SinkHealth::default(), Timestamp::clamped(36_000_000));
        let until = health.start_pause(Duration::from_secs(5), ahead);
        assert!(health.is_paused(ahead) && !health.is_paused(until));
        let now = Timestamp::clamped(0);
        assert!(health.is_away() && !health.is_paused(now));
        let until = health.start_pause(Duration::from_secs(5), now);
        assert_eq!(until.millis_since(now), 10_000);
        assert!(health.is_paused(now) && !health.is_paused(until));
    }
}
