//! What the answers of a sink have shown: whether it is to be left alone, and how much it takes at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runlog_model::{Timestamp, backoff, millis};

use super::batch::BatchOutcome;
use super::error::{DeliveryError, Result};
use super::sinks::sink::Encoded;

/// The longest time for which a sink is left alone.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// From so many refused records on, of which one of ten at most was taken, it is not the records that are at fault.
pub(super) const REFUSED_ALL: usize = 16;
/// So many runs in a row that are refused wholly speak of the sink, and not of the runs.
const RUNS_REFUSED: u32 = 3;
/// To batches of what size a sink's complaints that one is too large can lead. Unit: bytes.
const LEARNED_BYTES_MIN: usize = 64 << 10;
/// After so many parts of a batch without a refusal the next ones are larger again.
const CLEAN_PARTS: u32 = 8;

/// What is known of a sink. What the locks guard is changed in single steps, so that a panic elsewhere leaves it whole.
#[derive(Default)]
pub(super) struct SinkHealth {
    pause: Mutex<Pause>,
    learned: Mutex<Learned>,
}

/// Until when a sink is left alone, and how often in a row it has been.
#[derive(Debug, Clone, Copy, Default)]
struct Pause {
    until: i64,
    times: u32,
}

#[derive(Debug, Clone, Copy)]
struct Learned {
    /// Records that it refused in a row, and runs that it refused wholly in a row.
    refused: usize,
    runs_refused: u32,
    /// Larger batches are too large. Unit: bytes.
    bytes_max: usize,
    /// Most records that are sent together, so that few stand beside one that it refuses without saying which.
    together_max: usize,
    /// Parts in a row that it took wholly.
    clean_parts: u32,
}

impl Default for Learned {
    fn default() -> Self {
        Self { refused: 0, runs_refused: 0, bytes_max: usize::MAX, together_max: usize::MAX, clean_parts: 0 }
    }
}

impl SinkHealth {
    /// True from its first failure until it takes something again.
    pub(super) fn is_away(&self) -> bool {
        self.pause().times > 0
    }

    /// True while the sink is left alone.
    pub(super) fn is_paused(&self, now: Timestamp) -> bool {
        now.as_millis() < self.pause().until
    }

    /// Leaves the sink alone, for longer each time. Until when.
    pub(super) fn leave_alone(&self, first: Duration, now: Timestamp) -> Timestamp {
        let mut pause = self.pause();
        let time = backoff(first, pause.times, PAUSE_MAX.max(first));
        let until = now.plus_millis(millis(time));
        // Several workers may meet the same failure: it counts once.
        if pause.until < now.as_millis() {
            *pause = Pause { until: until.as_millis(), times: pause.times.saturating_add(1) };
        }
        Timestamp::clamped(pause.until)
    }

    /// Notes that the sink takes what it is sent. True when it was away before.
    pub(super) fn recovered(&self) -> bool {
        std::mem::take(&mut *self.pause()).times > 0
    }

    /// Notes that a run was refused wholly. True while that may be the run's own fault.
    pub(super) fn is_first_refusing(&self) -> bool {
        let mut learned = self.learned();
        learned.runs_refused = learned.runs_refused.saturating_add(1);
        learned.runs_refused < RUNS_REFUSED
    }

    /// A sink that refuses nearly everything is taken for a mistake in the settings, here or there: nothing of that is
    /// kept as refused.
    pub(super) fn judge(&self, outcome: &BatchOutcome) -> Result<()> {
        let (taken, refused) = (outcome.taken() as usize, outcome.refused() as usize);
        let mut learned = self.learned();
        if taken > 0 {
            (learned.refused, learned.runs_refused) = (0, 0);
        }
        let in_a_row = if taken > 0 { refused } else { learned.refused + refused };
        if refused > 0 && in_a_row >= REFUSED_ALL && refused >= 9 * taken {
            let reason = outcome.first_reason();
            let all = taken + refused;
            return Err(DeliveryError::Refusing(format!(
                "it refuses whatever it is sent, {refused} of {all} records together and {in_a_row} in a row: {reason}"
            )));
        }
        if taken == 0 {
            learned.refused += refused;
        }
        Ok(())
    }

    /// The size from which on batches are too large. Unit: bytes.
    pub(super) fn bytes_max(&self) -> usize {
        self.learned().bytes_max
    }

    /// Most records that are sent together.
    pub(super) fn together_max(&self) -> usize {
        self.learned().together_max
    }

    /// Notes that these were too large together.
    pub(super) fn send_smaller(&self, records: &[Encoded]) {
        let bytes: usize = records.iter().map(|record| record.bytes(None)).sum();
        let mut learned = self.learned();
        learned.bytes_max = learned.bytes_max.min((bytes / 2).max(LEARNED_BYTES_MIN));
    }

    /// Notes that of so many it is not known which were refused.
    pub(super) fn send_fewer_together(&self, records: usize) {
        let mut learned = self.learned();
        (learned.together_max, learned.clean_parts) = ((records / 8).max(1), 0);
    }

    /// Notes that a part of a batch was taken wholly.
    pub(super) fn send_more_together(&self) {
        let mut learned = self.learned();
        learned.clean_parts = learned.clean_parts.saturating_add(1);
        if learned.together_max < usize::MAX && learned.clean_parts >= CLEAN_PARTS {
            (learned.together_max, learned.clean_parts) = (learned.together_max.saturating_mul(2), 0);
        }
    }

    fn pause(&self) -> MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
