//! Requests the pages of a log and writes them to disk, several at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use runlog_client::reconcile::{Merged, PageSpool, SpoolSettings, SpooledPage};
use runlog_client::{
    Client, ErrorKind, GeneratedPage, PageEvent, PageRequest, PageWalk, RequestedPage, end_after_oldest,
};
use runlog_model::page::PAGE_RECORDS_MAX;
use runlog_model::{FileFormat, TimeRange, Timestamp, millis};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, warn};

use super::checkpoint::Checkpoint;
use super::count::count;
use super::divide::divide;
use super::error::{FetchError, Result};
use super::join::{PageConsumer, PagesEvent};
use super::journal::{PART_AGES, PageState, Part};
use super::progress::{FetchEvent, Progress};
use super::request::FetchRequest;

/// Maximum number of downloads of a page whose file is incomplete.
const DOWNLOADS_MAX: u32 = 3;
/// How often a log that has not settled is requested again, and the pause in between.
const UNSETTLED_TRIES_MAX: u32 = 60;
const UNSETTLED_PAUSE: Duration = Duration::from_secs(2);
/// Maximum number of walks that request a page at the same time.
const ASKED_AT_ONCE: usize = 8;
/// How much later than its end a page is requested again, to find records lost because a header is truncated to
/// seconds.
const SECOND_MS: i64 = 1_000;

/// Fetches the pages of one request.
pub(crate) struct PageFetcher<'a, C> {
    pub(crate) client: &'a Client,
    pub(crate) request: &'a FetchRequest,
    pub(crate) progress: Arc<dyn Progress>,
    /// The range of the log that is fetched and counted.
    range: TimeRange,
    checkpoint: &'a mut Checkpoint,
    consumer: &'a mut C,
    tasks: JoinSet<Result<(SpooledPage, u64)>>,
    /// None until the log is being counted.
    counting: Option<CountSource>,
    may_divide: bool,
    /// True if the service had the log when its first pages were requested, and no longer has it.
    is_gone: bool,
    /// True if the run ended recently or is running, so that records may still be on their way to the service.
    is_recent: bool,
    /// Uncompressed size of the page files. Unit: bytes.
    pub(crate) bytes: u64,
}

/// The source of the number of records.
enum CountSource {
    /// The service reported it with a page of a log that no longer grows.
    Reported(u64),
    /// The size of the only page, which counts its records; some services report bytes instead, and then the number is
    /// requested.
    PageSize(u64),
    /// It was requested, while pages are still arriving.
    Requested(AbortOnDropHandle<runlog_client::Result<Option<u64>>>),
}

impl<'a, C: PageConsumer> PageFetcher<'a, C> {
    pub(crate) fn new(
        client: &'a Client,
        request: &'a FetchRequest,
        is_recent: bool,
        range: TimeRange,
        checkpoint: &'a mut Checkpoint,
        consumer: &'a mut C,
        progress: Arc<dyn Progress>,
    ) -> Self {
        let tasks = JoinSet::new();
        Self {
            client,
            request,
            range,
            checkpoint,
            consumer,
            progress,
            tasks,
            counting: None,
            may_divide: true,
            is_gone: false,
            is_recent,
            bytes: 0,
        }
    }

    /// The state of the fetch.
    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        self.checkpoint
    }

    /// Joins the pages on disk, and returns the result with the number of records according to the service: the number
    /// reported or requested while the pages were fetched, or a new one if that did not match; none if it has no log.
    pub(crate) async fn join(&mut self) -> Result<(Merged, runlog_client::Result<Option<u64>>), C::Error> {
        let counting = self.counting.take().unwrap_or_else(|| self.request_count());
        let merged = self.consumer.join(self.checkpoint).await?;
        let counting = match counting {
            CountSource::PageSize(size) if size != merged.entries => self.request_count(),
            counting => counting,
        };
        let counted = match counting {
            CountSource::Reported(records) | CountSource::PageSize(records) => Ok(Some(records)),
            CountSource::Requested(counting) => counting.await.map_err(FetchError::from)?,
        };
        Ok((merged, counted))
    }

    /// Joins the pages that were received before the service lost the log; none if it has not lost it.
    pub(crate) async fn join_received(&mut self) -> Result<Option<Merged>, C::Error> {
        match self.is_gone {
            true => self.consumer.join(self.checkpoint).await.map(Some),
            false => Ok(None),
        }
    }

    /// Fetches every page that is not on disk yet, resuming an earlier fetch. If the service has lost the log since its
    /// first page was requested, what was received remains.
    pub(crate) async fn all_pages(&mut self) -> Result<()> {
        match self.missing_pages().await {
            Err(FetchError::Upstream(error)) if error.kind() == ErrorKind::NotFound => {
                // Other pages may still be arriving.
                while !self.tasks.is_empty() {
                    if let Err(error) = self.join_one().await {
                        debug!(%error, "a page of a log that the service no longer has was not received");
                    }
                }
                let has_come = !self.checkpoint.pages().is_empty();
                // A service that still counts records has the log.
                let is_counted = async || count(self.client, self.request.run_id, self.range).await;
                if !has_come || is_counted().await?.is_some_and(|records| records > 0) {
                    return Err(error.into());
                }
                self.counting = None;
                self.is_gone = true;
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// True if the service has no page of the log, so that it cannot be fetched again.
    pub(crate) async fn has_no_page(&self) -> Result<bool> {
        let end = self.range.end.map(Timestamp::to_api_text);
        match self.client.generate(&self.page_request(self.request.range.start, end)).await {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    async fn missing_pages(&mut self) -> Result<()> {
        if !self.resume_known_pages().await? {
            warn!("the log has changed since its first pages were requested; the whole log is fetched again");
            self.start_over().await?;
        }
        self.find_next_ends().await?;
        let mut walks = self.walks(self.range.end.map(Timestamp::to_api_text))?;
        let mut asking = JoinSet::new();
        loop {
            // The next page is requested before it can be downloaded: the service builds it in the meantime.
            while asking.len() < ASKED_AT_ONCE
                && let Some(mut walk) = walks.pop_front()
            {
                asking.spawn(async move { (walk.next().await, walk) });
            }
            let Some(answered) = asking.join_next().await else { break };
            let (next, walk) = answered?;
            let next = match next {
                // Some services have no log file for a run that logged nothing; the count shows whether this is the
                // case.
                Err(error) if error.kind() == ErrorKind::NotFound && self.checkpoint.pages().is_empty() => None,
                next => next?,
            };
            let Some(page) = next else { continue };
            if page.index % PART_AGES == PART_AGES - 1 {
                let what =
                    format!("the log has more than {PART_AGES} pages, which is implausible; the service does not stop");
                return Err(runlog_client::Error::new(ErrorKind::Protocol, what).into());
            }
            let page = if page.index == 0 { self.settled(page).await? } else { page };
            if page.index == 0 && self.range == TimeRange::ALL && page.page.settled == Some(true) {
                self.counting = page.page.log_records.map(CountSource::Reported);
            }
            if page.index == 0 && self.counting.is_none() && self.checkpoint.pages().is_empty() {
                self.counting = size_of_only_page(&page.page).map(CountSource::PageSize);
            }
            self.checkpoint.requested(page.index, page.index, &page.request, &page.page)?;
            self.consumer.on_event(PagesEvent::Changed(self.checkpoint));
            let parts =
                if page.index == 0 { divide(self.client, self.request, &page, self.may_divide).await } else { None };
            self.make_room().await?;
            let (age, has_unnamed_next) = (page.index, page.page.has_unnamed_next());
            self.start(age, page);
            match parts {
                Some(parts) => {
                    self.checkpoint.divided(parts)?;
                    walks = self.walks(None)?;
                }
                None if has_unnamed_next => {
                    self.find_next_ends().await?;
                    walks.push_back(self.walk(age, self.page_request(self.start_of(age), None))?);
                }
                None => walks.push_back(walk),
            }
        }
        let counting = self.counting.take().filter(|it| !matches!(it, CountSource::PageSize(_)) || !self.wants_count());
        self.counting = counting.or_else(|| Some(self.request_count()));
        self.consumer.on_event(PagesEvent::AllRequested);
        self.finish().await
    }

    /// Finds the end times of the pages after those of which the service says that older records remain, but not where:
    /// from the oldest records of these pages, once they are on disk. Source: the description of `endTime`.
    async fn find_next_ends(&mut self) -> Result<()> {
        if !self.checkpoint.walked().any(PageState::awaits_next_end) {
            return Ok(());
        }
        self.finish().await?;
        let pages: Vec<PageState> = self.checkpoint.walked().filter(|page| page.awaits_next_end()).cloned().collect();
        for page in pages {
            let oldest = page.spooled.as_ref().and_then(SpooledPage::span).map(|(first, _)| Timestamp::clamped(first));
            let oldest = oldest.ok_or_else(|| {
                let what =
                    "the service says that older records remain (206), but sends neither their end time nor records";
                runlog_client::Error::new(ErrorKind::Protocol, what)
            })?;
            let last = page.end.as_ref().and_then(|end| end.parse().ok());
            self.checkpoint.found_next_end(page.id, end_after_oldest(oldest, last).to_api_text())?;
        }
        Ok(())
    }

    /// True if the number of records is requested even if the size of the only page tells it: late records of a run
    /// that has just ended would be noticed. Not while other requests queue for the rate limit.
    fn wants_count(&self) -> bool {
        self.is_recent && !self.client.is_rate_limited()
    }

    fn request_count(&self) -> CountSource {
        let (client, run_id, range) = (self.client.clone(), self.request.run_id, self.range);
        let counting = tokio::spawn(async move { count(&client, run_id, range).await });
        CountSource::Requested(AbortOnDropHandle::new(counting))
    }

    /// What remains to be walked: the log, or the rest of its parts.
    fn walks(&self, end: Option<String>) -> Result<VecDeque<PageWalk>> {
        let parts = self.checkpoint.parts();
        if parts.is_empty() {
            return Ok(VecDeque::from([self.walk(0, self.page_request(self.request.range.start, end))?]));
        }
        let numbered = (1..).zip(parts);
        let walk = |(number, part): (u32, &Part)| {
            let start = part.start.or(self.request.range.start);
            self.walk(number * PART_AGES, self.page_request(start, Some(part.end.clone())))
        };
        numbered.map(walk).collect()
    }

    /// A walk that starts with a page of this age, or the rest of it.
    fn walk(&self, age: u32, first: PageRequest) -> Result<PageWalk> {
        let overlap_ms = millis(self.request.overlap);
        Ok(match self.checkpoint.last_of_walk(age) {
            None => PageWalk::new(self.client.clone(), age, first, overlap_ms),
            Some(last) => {
                let before = PageRequest { end: last.end.clone(), ..first };
                PageWalk::after(self.client.clone(), last.age, before, last.next_end.as_deref(), overlap_ms)?
            }
        })
    }

    /// Discards all pages on disk and fetches them again.
    pub(crate) async fn fetch_anew(&mut self) -> Result<()> {
        // A service that does not respect the bounds of parts may respect the end times of its own headers.
        self.may_divide = false;
        self.start_over().await?;
        self.all_pages().await
    }

    /// True if the log was fetched in parts.
    pub(crate) fn is_divided(&self) -> bool {
        !self.checkpoint.parts().is_empty()
    }

    /// Requests the newest page again, for late records, and the pages after each header, with an end time one second
    /// later: a service that truncates its headers to seconds loses records between pages.
    pub(crate) async fn request_ends_again(&mut self) -> Result<()> {
        let newest = self.checkpoint.walked().filter(|page| page.age == 0).map(|page| (0, page.end.clone()));
        let later = |next_end: &str| Some(next_end.parse::<Timestamp>().ok()?.plus_millis(SECOND_MS).to_api_text());
        let after_header = |page: &PageState| Some((page.age + 1, Some(later(page.next_end.as_deref()?)?)));
        let ends: Vec<_> = newest.chain(self.checkpoint.walked().filter_map(after_header)).collect();
        for (age, end) in ends {
            // The IDs of such pages never equal their ages, so that no walk continues from them.
            let id = self.checkpoint.pages().iter().map(|page| page.id).max().unwrap_or(0) + 1;
            let request = self.page_request(self.start_of(age), end);
            self.make_room().await?;
            let page = self.client.generate(&request).await?;
            self.checkpoint.requested(id, age, &request, &page)?;
            self.start(id, RequestedPage { index: age, request, page });
        }
        self.finish().await
    }

    /// True if page ends were requested again, by this fetch or an earlier attempt.
    pub(crate) fn has_requested_again(&self) -> bool {
        self.checkpoint.pages().iter().any(|page| !page.is_of_walk())
    }

    fn page_request(&self, start: Option<Timestamp>, end: Option<String>) -> PageRequest {
        // Always JSON, whatever the format of the result: TEXT cannot be split into records.
        PageRequest { run_id: self.request.run_id, start, end, format: FileFormat::Json, order: None }
    }

    /// The earliest time in the request for a page of this age.
    fn start_of(&self, age: u32) -> Option<Timestamp> {
        self.checkpoint.part_of(age).and_then(|part| part.start).or(self.request.range.start)
    }

    /// Waits while the service reports that the log can still grow.
    async fn settled(&mut self, mut page: RequestedPage) -> Result<RequestedPage> {
        let mut tries = 0;
        while self.request.settle.is_some() && page.page.settled == Some(false) && tries < UNSETTLED_TRIES_MAX {
            self.progress.report(FetchEvent::Settling(UNSETTLED_PAUSE.as_millis() as u64));
            self.client.sleep(UNSETTLED_PAUSE).await;
            page.page = self.client.generate(&page.request).await?;
            tries += 1;
        }
        Ok(page)
    }

    /// Requests the pages again that were requested before the interruption and did not arrive. False if one of them
    /// has another end now: the pages after it would leave a gap or be the wrong ones.
    async fn resume_known_pages(&mut self) -> Result<bool> {
        let known: Vec<PageState> = self.checkpoint.pages().to_vec();
        for state in known.into_iter().filter(|page| page.spooled.is_none()) {
            self.make_room().await?;
            let request = self.page_request(self.start_of(state.age), state.end);
            let page: GeneratedPage = self.client.generate(&request).await?;
            if page.next_end != state.next_end && !state.has_unnamed_next {
                return Ok(false);
            }
            self.start(state.id, RequestedPage { index: state.age, request, page });
        }
        Ok(true)
    }

    async fn start_over(&mut self) -> Result<()> {
        // Pages that are still arriving would get the file names of the new ones.
        self.tasks.shutdown().await;
        self.counting = None;
        self.consumer.on_event(PagesEvent::StartedOver);
        self.checkpoint.start_over()
    }

    fn start(&mut self, id: u32, page: RequestedPage) {
        let number = u32::try_from(self.checkpoint.walked().count()).unwrap_or(u32::MAX);
        self.progress.report(FetchEvent::PageRequested(number));
        let settings = SpoolSettings {
            folder: self.checkpoint.folder().to_owned(),
            order: self.request.order,
            memory_bytes: self.request.page_memory_bytes,
        };
        let (client, progress) = (self.client.clone(), Arc::clone(&self.progress));
        // Held by the task, so that an aborted task does not write into the folder of the next fetch.
        let lock = self.checkpoint.lock();
        self.tasks.spawn(async move {
            let spooled = spool_page(&client, id, number, &page, settings, progress.as_ref()).await;
            drop(lock);
            spooled
        });
    }

    async fn make_room(&mut self) -> Result<()> {
        while self.tasks.len() >= self.request.pages_in_flight.max(1) {
            self.join_one().await?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        while !self.tasks.is_empty() {
            self.join_one().await?;
        }
        Ok(())
    }

    async fn join_one(&mut self) -> Result<()> {
        if let Some(joined) = self.tasks.join_next().await {
            let (spooled, bytes) = joined??;
            self.bytes += bytes;
            self.progress.report(FetchEvent::PageDone(spooled.age + 1, spooled.entries));
            self.checkpoint.done(spooled)?;
            self.consumer.on_event(PagesEvent::Changed(self.checkpoint));
        }
        Ok(())
    }
}

/// The number of records of the only page of a log according to the service; none if it does not prove that the log is
/// complete: an empty log may not have arrived yet, and a service may cut a page without saying so.
fn size_of_only_page(page: &GeneratedPage) -> Option<u64> {
    page.size.filter(|size| !page.is_partial && (1..PAGE_RECORDS_MAX).contains(size))
}

/// Downloads a page and writes it to disk; repeated if its file is incomplete.
async fn spool_page(
    client: &Client,
    id: u32,
    number: u32,
    page: &RequestedPage,
    settings: SpoolSettings,
    progress: &dyn Progress,
) -> Result<(SpooledPage, u64)> {
    let on_event = |event: PageEvent| {
        progress.report(match event {
            PageEvent::Building => FetchEvent::PageBuilding(number),
            PageEvent::Received(bytes) => FetchEvent::BytesReceived(bytes),
            PageEvent::RequestedAgain => FetchEvent::PageRequestedAgain(number),
        });
    };
    let mut downloads = 0;
    loop {
        downloads += 1;
        let mut spool = PageSpool::new(settings.clone(), id, page.index);
        let fetched = client.fetch_page(page, &mut spool, &on_event).await;
        let spooled = match fetched {
            Ok(bytes) => spool.finish().map(|spooled| (spooled, bytes)),
            Err(error) => Err(error),
        };
        match spooled {
            // A truncated body looks complete to HTTP if the service does not send its length.
            Err(error) if error.kind() == ErrorKind::Protocol && downloads < DOWNLOADS_MAX => continue,
            spooled => return Ok(spooled?),
        }
    }
}
