//! From a requested page to its bytes: polls its status, follows the link, and recovers from expiry.

use std::time::Duration;

use runlog_model::RunId;
use secrecy::SecretString;

use super::download::{DownloadSink, Downloaded};
use super::walk::RequestedPage;
use crate::api::LogStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::transport::Client;
use crate::transport::jittered;

/// The shortest interval between two status requests for a page.
const POLL_MIN: Duration = Duration::from_millis(20);
/// The longest.
const POLL_MAX: Duration = Duration::from_secs(10);
/// The share of the time a page has taken so far that passes until the next status request.
const POLL_PART: u64 = 16;
/// The initial estimate of the time to build a page, if the number of requests is limited.
const BUILD_TIME: Duration = Duration::from_secs(1);
/// Maximum number of times that a refused link is replaced before the page fails.
const LINKS_MAX: u32 = 3;

/// Progress of fetching a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageEvent {
    /// The service is building it.
    Building,
    /// Number of bytes received since the last event.
    Received(u64),
    /// The token or link has expired, and the page is requested again.
    RequestedAgain,
}

impl Client {
    /// Downloads a page into a sink, unpacked, and returns the count of its bytes.
    ///
    /// If a token has expired, the page is requested again, once. If a link is refused, another link is requested, and
    /// then the page.
    pub async fn fetch_page(
        &self,
        page: &RequestedPage,
        sink: &mut dyn DownloadSink,
        on_event: &(dyn Fn(PageEvent) + Sync),
    ) -> Result<u64> {
        let mut token = page.page.token.clone();
        let mut asked_again = false;
        let mut links = 0;
        loop {
            let link = match self.link(page.request.run_id, &token, on_event).await {
                Ok(link) => link,
                Err(error) if is_lost_token(&error) && !asked_again => {
                    asked_again = true;
                    token = self.ask_again(page, on_event).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            links += 1;
            let on_bytes = |bytes| on_event(PageEvent::Received(bytes));
            match self.download(&link, sink, &on_bytes).await? {
                Downloaded::Whole(bytes) => return Ok(bytes),
                Downloaded::LinkRefused(error) if links >= LINKS_MAX => return Err(error),
                Downloaded::LinkRefused(_) if links == 2 && !asked_again => {
                    asked_again = true;
                    token = self.ask_again(page, on_event).await?;
                }
                Downloaded::LinkRefused(_) => on_event(PageEvent::RequestedAgain),
            }
        }
    }

    /// Waits until the page is built, and gives its link.
    async fn link(
        &self,
        run: RunId,
        token: &SecretString,
        on_event: &(dyn Fn(PageEvent) + Sync),
    ) -> Result<SecretString> {
        let begun = self.clock().now();
        let unknown = if self.pace().is_some() { BUILD_TIME } else { Duration::ZERO };
        let first = self.build_time().unwrap_or(unknown).min(POLL_MAX);
        let mut delay = first;
        let mut was_asked = false;
        loop {
            self.sleep(delay).await;
            let word = match self.log_status(run, token).await? {
                LogStatus::Ready(link) => {
                    let taken = self.clock().now().millis_since(begun).max(0).unsigned_abs();
                    self.record_build_time(if was_asked { Duration::from_millis(taken) } else { first }, was_asked);
                    return Ok(link);
                }
                LogStatus::Building(word) => word,
            };
            on_event(PageEvent::Building);
            let waited = self.clock().now().millis_since(begun).max(0).unsigned_abs();
            if u128::from(waited) >= self.settings().build_time_max.as_millis() {
                let seconds = waited / 1_000;
                let message =
                    format!("a page was not READY after {seconds} s (its status is {word:?}); try again later");
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            was_asked = true;
            let step = Duration::from_millis(waited / POLL_PART).clamp(POLL_MIN, POLL_MAX);
            delay = jittered(step, self.random());
        }
    }

    async fn ask_again(&self, page: &RequestedPage, on_event: &(dyn Fn(PageEvent) + Sync)) -> Result<SecretString> {
        on_event(PageEvent::RequestedAgain);
        let again = self.generate(&page.request).await?;
        if again.next_end != page.page.next_end {
            // The next page was requested from the old end: records between the two could be missing.
            let message = "the log grew while it was fetched, and its page boundaries have changed; fetch it again";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        Ok(again.token)
    }
}

/// A token that has passed its hour, or that the service forgot.
fn is_lost_token(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid)
}
