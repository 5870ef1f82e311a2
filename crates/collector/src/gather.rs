//! Asks for the pages of a log and lays them down, several at once.

use std::sync::Arc;
use std::time::Duration;

use runlog_client::reconcile::{PageSpool, SpoolSettings, SpooledPage};
use runlog_client::{Client, ErrorKind, GeneratedPage, PageEvent, PageRequest, PageWalk, RequestedPage};
use runlog_model::{FileFormat, Timestamp};
use tokio::task::JoinSet;
use tracing::warn;

use crate::checkpoint::{Checkpoint, PageState};
use crate::error::Result;
use crate::progress::{FetchEvent, Progress};
use crate::request::FetchRequest;

/// How often a page whose file is not whole is downloaded.
const DOWNLOADS_MAX: u32 = 3;
/// How often a log that is not settled is asked for again, and how long each time is waited.
const UNSETTLED_TRIES_MAX: u32 = 60;
const UNSETTLED_PAUSE: Duration = Duration::from_secs(2);
/// How much later than a page's end its end is asked for again: what is lost when a header is cut down to seconds.
const SECOND_MS: i64 = 1_000;

/// Fetches the pages of one request.
pub(crate) struct Gathering<'a> {
    pub(crate) client: &'a Client,
    pub(crate) request: &'a FetchRequest,
    pub(crate) progress: Arc<dyn Progress>,
    checkpoint: &'a mut Checkpoint,
    tasks: JoinSet<Result<(SpooledPage, u64)>>,
    /// Bytes of page files, unpacked.
    pub(crate) bytes: u64,
}

impl<'a> Gathering<'a> {
    pub(crate) fn new(
        client: &'a Client,
        request: &'a FetchRequest,
        checkpoint: &'a mut Checkpoint,
        progress: Arc<dyn Progress>,
    ) -> Self {
        Self { client, request, checkpoint, progress, tasks: JoinSet::new(), bytes: 0 }
    }

    /// What is on disk.
    pub(crate) fn checkpoint(&self) -> &Checkpoint {
        self.checkpoint
    }

    /// Brings every page to disk that is not there yet, going on from where an earlier fetch was.
    pub(crate) async fn all_pages(&mut self, end: Option<String>) -> Result<()> {
        if !self.take_up_known().await? {
            warn!("the log has changed since its first pages were asked for; all of it is fetched anew");
            self.start_over().await?;
        }
        let walked = self.checkpoint.walked().max_by_key(|page| page.age);
        let overlap_ms = i64::try_from(self.request.overlap.as_millis()).unwrap_or(i64::MAX);
        let mut walk = match walked {
            None => PageWalk::new(self.client.clone(), self.page_request(end), overlap_ms),
            Some(last) => {
                let before = self.page_request(last.end.clone());
                PageWalk::after(self.client.clone(), last.age, before, last.next_end.as_deref(), overlap_ms)?
            }
        };
        loop {
            // The next page is asked for before there is room for it: the service builds it in the meantime.
            let next = match walk.next().await {
                // Some services have no log file for a run that logged nothing; the count will say whether that is so.
                Err(error) if error.kind() == ErrorKind::NotFound && self.checkpoint.pages().is_empty() => None,
                next => next?,
            };
            let Some(page) = next else { break };
            let page = if page.index == 0 { self.settled(page).await? } else { page };
            self.checkpoint.requested(page.index, page.index, &page.request, &page.page)?;
            self.make_room().await?;
            self.start(page.index, page);
        }
        self.finish().await
    }

    /// Forgets all pages that are on disk, and fetches them anew.
    pub(crate) async fn anew(&mut self, end: Option<String>) -> Result<()> {
        self.start_over().await?;
        self.all_pages(end).await
    }

    /// Asks again for the newest page, for records that came late, and for the pages after each header, from a second
    /// later: a service that cuts its headers down to seconds leaves records between its pages.
    pub(crate) async fn ends_again(&mut self) -> Result<()> {
        let newest = self.checkpoint.walked().filter(|page| page.age == 0).map(|page| (0, page.end.clone()));
        let later = |next_end: &str| Some(next_end.parse::<Timestamp>().ok()?.plus_millis(SECOND_MS).to_api_text());
        let after_header = |page: &PageState| Some((page.age + 1, Some(later(page.next_end.as_deref()?)?)));
        let ends: Vec<_> = newest.chain(self.checkpoint.walked().filter_map(after_header)).collect();
        for (age, end) in ends {
            // Ids of such pages are never their ages, so that a walk is not taken up from one.
            let id = self.checkpoint.pages().iter().map(|page| page.id).max().unwrap_or(0) + 1;
            let request = self.page_request(end);
            self.make_room().await?;
            let page = self.client.generate(&request).await?;
            self.checkpoint.requested(id, age, &request, &page)?;
            self.start(id, RequestedPage { index: age, request, page });
        }
        self.finish().await
    }

    /// True when ends of pages were asked for again, by this fetch or by one that it goes on from.
    pub(crate) fn has_asked_again(&self) -> bool {
        self.checkpoint.pages().iter().any(|page| !page.is_of_walk())
    }

    fn page_request(&self, end: Option<String>) -> PageRequest {
        // JSON whatever the form of the result: TEXT cannot be taken apart into records.
        let (run_id, start) = (self.request.run_id, self.request.range.start);
        PageRequest { run_id, start, end, format: FileFormat::Json, order: None }
    }

    /// Waits while the service says that the log can still grow.
    async fn settled(&mut self, mut page: RequestedPage) -> Result<RequestedPage> {
        let mut tries = 0;
        while self.request.settle.is_some() && page.page.settled == Some(false) && tries < UNSETTLED_TRIES_MAX {
            self.progress.tell(FetchEvent::Settling(UNSETTLED_PAUSE.as_millis() as u64));
            self.client.sleep(UNSETTLED_PAUSE).await;
            page.page = self.client.generate(&page.request).await?;
            tries += 1;
        }
        Ok(page)
    }

    /// Asks once more for the pages that were asked for before the interruption and did not come. False when one of
    /// them ends elsewhere now: then the pages after it leave a gap, or are not the right ones.
    async fn take_up_known(&mut self) -> Result<bool> {
        let known: Vec<PageState> = self.checkpoint.pages().to_vec();
        for state in known.into_iter().filter(|page| page.spooled.is_none()) {
            self.make_room().await?;
            let request = self.page_request(state.end);
            let page: GeneratedPage = self.client.generate(&request).await?;
            if page.next_end != state.next_end {
                return Ok(false);
            }
            self.start(state.id, RequestedPage { index: state.age, request, page });
        }
        Ok(true)
    }

    async fn start_over(&mut self) -> Result<()> {
        // Pages on their way would be written under the names of the new ones.
        self.tasks.shutdown().await;
        self.checkpoint.start_over()
    }

    fn start(&mut self, id: u32, page: RequestedPage) {
        self.progress.tell(FetchEvent::PageRequested(page.index + 1));
        let settings = SpoolSettings {
            folder: self.checkpoint.folder().to_owned(),
            order: self.request.order,
            memory_bytes: self.request.page_memory_bytes,
        };
        let (client, progress) = (self.client.clone(), Arc::clone(&self.progress));
        // Held by the task, so that one that is being given up does not write into the next fetch's folder.
        let lock = self.checkpoint.lock();
        self.tasks.spawn(async move {
            let laid_down = lay_down(&client, id, &page, settings, progress.as_ref()).await;
            drop(lock);
            laid_down
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
            self.progress.tell(FetchEvent::PageDone(spooled.age + 1, spooled.entries));
            self.checkpoint.done(spooled)?;
        }
        Ok(())
    }
}

/// Downloads a page and lays it down; again when its file is not whole.
async fn lay_down(
    client: &Client,
    id: u32,
    page: &RequestedPage,
    settings: SpoolSettings,
    progress: &dyn Progress,
) -> Result<(SpooledPage, u64)> {
    let number = page.index + 1;
    let on_event = |event: PageEvent| {
        progress.tell(match event {
            PageEvent::Building => FetchEvent::PageBuilding(number),
            PageEvent::Received(bytes) => FetchEvent::BytesReceived(bytes),
            PageEvent::AskedAgain => FetchEvent::PageAskedAgain(number),
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
            // A body that ends early looks whole to HTTP when the service does not say its length.
            Err(error) if error.kind() == ErrorKind::Protocol && downloads < DOWNLOADS_MAX => continue,
            spooled => return Ok(spooled?),
        }
    }
}
