//! The walk over the pages of a log, newest first: one request after another, each from the header of the one before.

use runlog_model::{Timestamp, planted};

use crate::api::{GeneratedPage, PageRequest};
use crate::error::{Error, ErrorKind, Result};
use crate::transport::Client;

/// A requested page, whose file must still be built and downloaded.
#[derive(Debug, Clone)]
pub struct RequestedPage {
    /// Its position in the log: 0 for the newest page, increasing towards older pages.
    pub index: u32,
    /// The request.
    pub request: PageRequest,
    /// The response of the service.
    pub page: GeneratedPage,
}

/// The end of the page after one whose oldest record has this time and whose end was `last`, for services that do not
/// return it.
///
/// Records of the oldest instant may be on both pages, and services may read times to the second only, so that the next
/// whole second is tried first. Where that does not go back in time, ends of fewer instants of this page follow, and at
/// last one before the page.
pub fn end_after_oldest(oldest: Timestamp, last: Option<Timestamp>) -> Timestamp {
    let second = oldest.floor_to_second().plus_millis(1_000);
    let ends = [second, oldest.plus_millis(1), oldest];
    let goes_back = |end: &Timestamp| last.is_none_or(|last| *end < last);
    ends.into_iter().find(goes_back).unwrap_or(oldest.plus_millis(-1))
}

/// Asks for page after page, until one reaches the beginning of the range.
pub struct PageWalk {
    client: Client,
    /// The next request; none after the last page.
    next: Option<PageRequest>,
    index: u32,
    /// How much of the time before a page is requested again with it. Unit: milliseconds.
    overlap_ms: i64,
}

impl PageWalk {
    /// Returns a walk that begins with the page of the request `first`, which has the index `index`.
    pub fn new(client: Client, index: u32, first: PageRequest, overlap_ms: i64) -> Self {
        Self { client, next: Some(first), index, overlap_ms }
    }

    /// A walk that continues after a page requested earlier, from the response of the service to it.
    pub fn after(
        client: Client,
        index: u32,
        request: PageRequest,
        next_end: Option<&str>,
        overlap_ms: i64,
    ) -> Result<Self> {
        let mut walk = Self { client, next: None, index: index + 1, overlap_ms };
        walk.next = walk.request_after(&request, next_end)?;
        Ok(walk)
    }

    /// Asks for the next page. None when the last one was complete, or if the service did not return the end of the
    /// next one.
    pub async fn next(&mut self) -> Result<Option<RequestedPage>> {
        let Some(request) = self.next.take() else { return Ok(None) };
        let page = self.client.generate(&request).await?;
        self.next = self.request_after(&request, page.next_end.as_deref())?;
        if planted::is("page-dropped-after-429") && self.client.traffic().limited > 0 {
            self.next = None;
        }
        let index = self.index;
        self.index += 1;
        Ok(Some(RequestedPage { index, request, page }))
    }

    fn request_after(&self, request: &PageRequest, next_end: Option<&str>) -> Result<Option<PageRequest>> {
        let end = next_end.map(|next_end| self.end_after(request, next_end)).transpose()?;
        Ok(end.map(|end| PageRequest { end: Some(end), ..request.clone() }))
    }

    fn end_after(&self, request: &PageRequest, next_end: &str) -> Result<String> {
        let header: Timestamp = next_end.parse().map_err(|error| {
            let message = "the end of the next page sent by the service is not a time".to_owned();
            Error::caused(ErrorKind::Protocol, message, error)
        })?;
        let Some(last) = request.end.as_ref().and_then(|end| end.parse::<Timestamp>().ok()) else {
            return Ok(self.with_overlap(header, next_end, None));
        };
        if header >= last {
            let message = format!(
                "the service's pages do not go back in time: the page after the one ending at {last} ends at {next_end}"
            );
            return Err(Error::new(ErrorKind::Protocol, message));
        }
        Ok(self.with_overlap(header, next_end, Some(last)))
    }

    /// Returns the end in the header, or a time later by the overlap if that is still before the last end.
    fn with_overlap(&self, header: Timestamp, text: &str, last: Option<Timestamp>) -> String {
        let later = header.plus_millis(self.overlap_ms);
        match self.overlap_ms > 0 && last.is_none_or(|last| later < last) {
            true => later.to_api_text(),
            false => text.to_owned(),
        }
    }
}
