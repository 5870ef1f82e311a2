//! Limits the number of concurrent requests that read large parts of the archive; further ones wait briefly.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::error::{ApiError, ApiResult};
use crate::limits::{self, Bounds};

/// The limit of one kind of request.
pub(crate) struct ConcurrencyLimit {
    free: Arc<Semaphore>,
    /// The number of permits that each caller has, of those that were given to callers.
    held: Arc<Mutex<HashMap<String, usize>>>,
    /// Maximum number of concurrent requests.
    count: usize,
    wait_max: Duration,
    /// Their name, for the error of a rejected request.
    what: &'static str,
    /// The setting of the maximum, if there is one.
    setting: Option<&'static str>,
}

impl ConcurrencyLimit {
    /// The limit of searches, searches in a log, and histograms.
    pub(crate) fn of_searches(bounds: &Bounds) -> Self {
        Self::new(bounds.searches_max, bounds.turn_wait_max, "searches", Some("--searches"))
    }

    /// The limit of pages of logs that are read directly or requested as files.
    pub(crate) fn of_page_reads(bounds: &Bounds) -> Self {
        Self::new(bounds.page_reads_max, bounds.turn_wait_max, "pages of logs", Some("--page-reads"))
    }

    /// The limit of downloads of whole logs.
    pub(crate) fn of_downloads(bounds: &Bounds) -> Self {
        Self::new(bounds.downloads_max, bounds.turn_wait_max, "downloads of whole logs", Some("--downloads"))
    }

    /// The limit of logs that are followed over a WebSocket.
    pub(crate) fn of_tails(bounds: &Bounds) -> Self {
        Self::new(limits::TAILS_MAX, bounds.turn_wait_max, "followed logs", None)
    }

    fn new(count: usize, wait_max: Duration, what: &'static str, setting: Option<&'static str>) -> Self {
        let count = count.clamp(1, Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(count)), held: Arc::default(), count, wait_max, what, setting }
    }

    /// The current number of requests and the maximum.
    pub(crate) fn in_use(&self) -> (usize, usize) {
        (self.count.saturating_sub(self.free.available_permits()), self.count)
    }

    /// A permit for a caller, which has at most half of all: for what is held for long. 503 if it has as many, or if none
    /// becomes available in time.
    pub(crate) async fn acquire_for(&self, caller: &str) -> ApiResult<CallerPermit> {
        let share = (self.count / 2).max(1);
        let Some(counted) = Counted::new(&self.held, caller, share) else {
            let message =
                format!("this account has {share} {} at a time, which is the most; end some of them", self.what);
            return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message));
        };
        Ok(CallerPermit { _counted: counted, _permit: self.acquire().await? })
    }

    /// A permit, to be held for the duration of the request. 503 if none becomes available in time.
    pub(crate) async fn acquire(&self) -> ApiResult<OwnedSemaphorePermit> {
        match runlog_store::timeout_while_running(self.wait_max, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                let message = format!("too many concurrent {}; try again in a moment", self.what);
                let detail = self.setting.map(|setting| format!("the limit is set with {setting}"));
                Err(ApiError { detail, ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message) })
            }
        }
    }
}

/// The permit of a caller.
pub(crate) struct CallerPermit {
    _counted: Counted,
    _permit: OwnedSemaphorePermit,
}

/// Counts a permit of a caller until it is dropped.
struct Counted {
    held: Arc<Mutex<HashMap<String, usize>>>,
    caller: String,
}

impl Counted {
    /// None if the caller has as many as it may have.
    fn new(held: &Arc<Mutex<HashMap<String, usize>>>, caller: &str, most: usize) -> Option<Self> {
        let mut counts = held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(caller.to_owned()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Self { held: Arc::clone(held), caller: caller.to_owned() })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_caller_uses_at_most_half_of_the_slots() {
        let limit = ConcurrencyLimit::new(4, Duration::from_millis(10), "things", None);
        let mut held = Vec::new();
        for caller in ["a", "a", "b", "b"] {
            held.push(limit.acquire_for(caller).await.ok().unwrap());
        }
        assert!(limit.acquire_for("a").await.err().unwrap().message.contains("2 things"));
        assert!(limit.acquire_for("c").await.is_err());
        drop(held);
        assert!(limit.acquire_for("a").await.is_ok());
        assert_eq!((limit.in_use(), limit.held.lock().unwrap().len()), ((0, 4), 0));
    }
}
