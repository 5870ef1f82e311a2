//! The check whether the archive responds. The result is cached for some seconds, because a check costs a write.

use std::sync::Arc;
use std::time::Duration;

use runlog_model::Clock;
use runlog_store::{Result, Store};
use tokio::sync::Mutex;

use crate::limits;

/// The last result.
pub(crate) struct Readiness {
    clock: Arc<dyn Clock>,
    /// Held during a check: concurrent requests receive its result.
    last: Arc<Mutex<Option<LastCheck>>>,
}

struct LastCheck {
    at: Duration,
    outcome: Result<()>,
}

impl Readiness {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: Arc::default() }
    }

    /// The cached result, or that of a new check.
    pub(crate) async fn check(&self, store: &Store) -> Result<()> {
        let mut last = Arc::clone(&self.last).lock_owned().await;
        let now = self.clock.elapsed();
        if let Some(seen) = last.as_ref().filter(|seen| now.saturating_sub(seen.at) < kept_for(&seen.outcome)) {
            return seen.outcome.clone();
        }
        let (store, clock) = (store.clone(), Arc::clone(&self.clock));
        // In a separate task, so that a client that disconnects leaves no probe object behind.
        let look = tokio::spawn(async move {
            let outcome = store.check().await;
            *last = Some(LastCheck { at: clock.elapsed(), outcome: outcome.clone() });
            outcome
        });
        look.await.map_err(runlog_store::Error::from)?
    }
}

/// Recovery is reported quickly, and failure soon enough for a load balancer.
fn kept_for(outcome: &Result<()>) -> Duration {
    match outcome {
        Ok(()) => limits::READY_FOR,
        Err(_) => limits::NOT_READY_FOR,
    }
}
