//! Limits the number of concurrent requests that read large parts of the archive; further ones wait briefly.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::error::{ApiError, ApiResult};
use crate::limits::{self, Bounds};

/// The limit of one kind of request.
pub(crate) struct ConcurrencyLimit {
    free: Arc<Semaphore>,
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
        Self { free: Arc::new(Semaphore::new(count)), count, wait_max, what, setting }
    }

    /// The current number of requests and the maximum.
    pub(crate) fn in_use(&self) -> (usize, usize) {
        (self.count.saturating_sub(self.free.available_permits()), self.count)
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
