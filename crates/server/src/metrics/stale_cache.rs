//! A value that takes long to compute, refreshed periodically and cached in between.
//!
//! If computing it takes only a moment, it is computed for every request. If it takes longer, callers receive the last
//! snapshot, and at most a twentieth of the time is spent on refreshing it in the background, so that callers with
//! short timeouts do not restart it repeatedly.

use std::sync::{Arc, Mutex, PoisonError};

use runlog_model::{Clock, Timestamp};
use runlog_store::{Error, Result};
use tracing::warn;

/// A value that takes at most this long is computed each time. Unit: milliseconds.
const FRESH_MS: i64 = 250;

/// A snapshot is cached for this multiple of the time that it took.
const STALE_TIMES: i64 = 20;

/// A value at one time.
#[derive(Debug)]
pub(crate) struct Snapshot<T> {
    pub(crate) value: T,
    /// When its computation started.
    pub(crate) at: Timestamp,
    took_ms: i64,
}

/// Keeps the last snapshot.
pub(crate) struct StaleCache<T> {
    clock: Arc<dyn Clock>,
    last: Arc<Mutex<Option<Arc<Snapshot<T>>>>>,
    /// Held while it is refreshed.
    refreshing: Arc<tokio::sync::Mutex<()>>,
}

impl<T: Send + Sync + 'static> StaleCache<T> {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: Arc::default(), refreshing: Arc::default() }
    }

    /// The last snapshot. `refresh` is started if the snapshot is too old, and awaited if there is none yet or if it
    /// takes only a moment.
    pub(crate) async fn get(
        &self,
        refresh: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Arc<Snapshot<T>>> {
        match self.last() {
            Some(last) if self.is_fresh(&last) => Ok(last),
            Some(last) if last.took_ms > FRESH_MS => {
                if let Ok(turn) = Arc::clone(&self.refreshing).try_lock_owned() {
                    let refreshing = self.begin(refresh, turn);
                    tokio::spawn(async move {
                        if let Ok(Err(error)) = refreshing.await {
                            let error: &dyn std::error::Error = &error;
                            warn!(error, "cannot refresh the metrics of the archive; the previous values are returned");
                        }
                    });
                }
                Ok(last)
            }
            _ => {
                let turn = Arc::clone(&self.refreshing).lock_owned().await;
                // Another caller may have refreshed it in the meantime.
                match self.last().filter(|last| self.is_fresh(last)) {
                    Some(last) => Ok(last),
                    // In a separate task: the result is useful for the next caller even if this one disconnects.
                    None => self.begin(refresh, turn).await.map_err(Error::from)?,
                }
            }
        }
    }

    fn begin(
        &self,
        refresh: impl Future<Output = Result<T>> + Send + 'static,
        turn: tokio::sync::OwnedMutexGuard<()>,
    ) -> tokio::task::JoinHandle<Result<Arc<Snapshot<T>>>> {
        let (clock, cached) = (Arc::clone(&self.clock), Arc::clone(&self.last));
        tokio::spawn(async move {
            let at = clock.now();
            let value = refresh.await?;
            let snapshot = Arc::new(Snapshot { value, at, took_ms: clock.now().millis_since(at) });
            *cached.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&snapshot));
            drop(turn);
            Ok(snapshot)
        })
    }

    fn last(&self) -> Option<Arc<Snapshot<T>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_fresh(&self, snapshot: &Snapshot<T>) -> bool {
        let age_ms = self.clock.now().millis_since(snapshot.at);
        snapshot.took_ms > FRESH_MS && age_ms < snapshot.took_ms.saturating_mul(1 + STALE_TIMES)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[derive(Default)]
    struct SetClock(AtomicI64);

    impl Clock for SetClock {
        fn now(&self) -> Timestamp {
            Timestamp::clamped(self.0.load(Ordering::SeqCst))
        }
    }

    impl SetClock {
        fn pass(&self, ms: i64) {
            self.0.fetch_add(ms, Ordering::SeqCst);
        }
    }

    /// The value if computing `number` takes this long.
    async fn get(cache: &StaleCache<u32>, clock: &Arc<SetClock>, number: u32, took_ms: i64) -> u32 {
        let computing = Arc::clone(clock);
        let refresh = async move {
            computing.pass(took_ms);
            Ok(number)
        };
        cache.get(refresh).await.unwrap().value
    }

    fn cache() -> (StaleCache<u32>, Arc<SetClock>) {
        let clock = Arc::new(SetClock::default());
        (StaleCache::new(Arc::clone(&clock) as Arc<dyn Clock>), clock)
    }

    #[tokio::test]
    async fn fast_values_are_computed_each_time() {
        let (cache, clock) = cache();
        assert_eq!([get(&cache, &clock, 1, 250).await, get(&cache, &clock, 2, 0).await], [1, 2]);
    }

    #[tokio::test]
    async fn slow_values_are_cached_and_refreshed_in_the_background() {
        let (cache, clock) = cache();
        assert_eq!(get(&cache, &clock, 1, 1_000).await, 1);
        clock.pass(19_999);
        assert_eq!(get(&cache, &clock, 2, 1_000).await, 1, "not old yet");
        clock.pass(1);
        assert_eq!(get(&cache, &clock, 3, 1_000).await, 1, "nobody waits");
        // Held by the task that refreshes it.
        drop(cache.refreshing.lock().await);
        assert_eq!(get(&cache, &clock, 4, 1_000).await, 3);
    }

    #[tokio::test]
    async fn a_failure_is_returned_and_the_next_request_retries() {
        let (cache, clock) = cache();
        let failed = cache.get(async { Err(Error::new(runlog_store::ErrorKind::Unavailable, "away")) }).await;
        assert_eq!(failed.unwrap_err().to_string(), "away");
        assert_eq!(get(&cache, &clock, 1, 1_000).await, 1);
    }

    #[tokio::test]
    async fn an_abandoned_request_still_refreshes_the_cache() {
        let (cache, clock) = cache();
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let computing = Arc::clone(&clock);
        let refresh = async move {
            let _ = gone.await;
            computing.pass(1_000);
            Ok(1)
        };
        let impatient = tokio::time::timeout(std::time::Duration::ZERO, cache.get(refresh)).await;
        assert!(impatient.is_err());
        drop(go);
        drop(cache.refreshing.lock().await);
        assert_eq!(get(&cache, &clock, 2, 1_000).await, 1);
    }
}
