//! A rate for each of many keys: how many requests per second, and how long a further one must wait.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use runlog_model::{Clock, planted};

use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A rate: this number of requests per second, and a burst after a pause.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) per_second: NonZeroU32,
    /// The interval between two requests.
    step: Duration,
    /// How much earlier than scheduled a request may arrive.
    ahead: Duration,
}

impl Rate {
    /// None if there is no limit.
    pub(crate) fn new(per_second: u32, at_once: u32) -> Option<Self> {
        let per_second = NonZeroU32::new(per_second)?;
        let step = Duration::from_secs(1) / per_second.get();
        Some(Self { per_second, step, ahead: step.saturating_mul(at_once.saturating_sub(1)) })
    }
}

/// A rate for each key; none for no limit.
pub(crate) struct RateLimit<K> {
    pub(crate) rate: Option<Rate>,
    clock: Arc<dyn Clock>,
    /// The maximum number of keys.
    keys_max: usize,
    /// When the next request of a key is due.
    due: Mutex<HashMap<K, Duration>>,
}

impl<K: Hash + Eq> RateLimit<K> {
    pub(crate) fn new(rate: Option<Rate>, keys_max: usize, clock: Arc<dyn Clock>) -> Self {
        Self { rate, clock, keys_max, due: Mutex::default() }
    }

    /// Counts a request. Returns how long it must wait. If that exceeds `wait_max`, it is not counted, and the time is
    /// returned as an error.
    pub(crate) fn take(&self, key: K, wait_max: Duration) -> Result<Duration, Duration> {
        let Some(rate) = self.rate else { return Ok(Duration::ZERO) };
        let now = self.clock.elapsed();
        let mut due = self.due();
        if due.len() >= self.keys_max {
            forget(&mut due, self.keys_max, |due| *due > now);
        }
        let at = due.get(&key).map_or(now, |due| now.max(*due));
        let wait = at.saturating_sub(rate.ahead).saturating_sub(now);
        if wait > wait_max {
            return Err(wait);
        }
        if planted::is("turn-given-twice") {
            drop(due);
            due = self.due();
        }
        due.insert(key, at.saturating_add(rate.step));
        Ok(wait)
    }

    /// How long a key must wait; none if it need not.
    pub(crate) fn wait(&self, key: &K) -> Option<Duration> {
        let (rate, now) = (self.rate?, self.clock.elapsed());
        let due = *self.due().get(key)?;
        let wait = due.saturating_sub(rate.ahead).saturating_sub(now);
        (!wait.is_zero()).then_some(wait)
    }

    /// Number of keys that are tracked.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> usize {
        self.due().len()
    }

    fn due(&self) -> MutexGuard<'_, HashMap<K, Duration>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room in a full map: removes entries that are not needed or, if that is not enough, all.
pub(crate) fn forget<K: Hash + Eq, V>(map: &mut HashMap<K, V>, most: usize, mut keep: impl FnMut(&V) -> bool) {
    map.retain(|_, value| keep(value));
    if map.len() > most / 4 * 3 {
        map.clear();
    }
}
