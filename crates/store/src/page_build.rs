//! Building page files: by whichever node claims them, at once where the node that was asked has a builder to spare.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use runlog_model::{FileFormat, RecordOrder, TimeRange, Timestamp};
use sqlx::{AssertSqlSafe, FromRow};
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::error::{Error, ErrorKind, Result};
use crate::merge::{Merge, Piece, SliceRows, Trail};
use crate::page_file::{FrameCutter, PageFileWriter, PageForm, PageFrames, Press, WrittenPage};
use crate::segment_file::on_decoding_thread;
use crate::slices::{LogState, Scope};
use crate::store::Store;
use crate::{keys, limits};

/// How often a node looks for pages that were wanted through another one. Unit: milliseconds.
const LOOK_EVERY_MS: u64 = 1_000;

/// How many pages may have been built before someone who waits for one of them looks. Unit: pages.
const BUILT_KEPT: usize = 256;

/// The builders of this node.
pub(crate) struct PageBuilds {
    /// One for each page that may be built beside those that are; none while nobody builds.
    idle: Arc<Semaphore>,
    /// Pages that were claimed when they were asked for.
    handed: mpsc::UnboundedSender<Handed>,
    to_build: Mutex<mpsc::UnboundedReceiver<Handed>>,
    /// There are pages that nobody has claimed.
    wanted: Notify,
    /// Keys of pages that were built here.
    built: broadcast::Sender<Arc<str>>,
    presses: Presses,
}

/// Presses that nobody uses, at most as many as one page takes: to make one takes as long as to pack a frame.
#[derive(Clone, Default)]
struct Presses(Arc<std::sync::Mutex<Vec<Press>>>);

/// A builder of this node that will be needed.
pub(crate) struct Builder {
    _idle: OwnedSemaphorePermit,
}

struct Handed {
    page: PageToBuild,
    /// Comes when the page's row is there.
    accepted: oneshot::Receiver<()>,
    builder: Builder,
}

/// A page whose file is to be written.
pub(crate) struct PageToBuild {
    pub(crate) key: String,
    pub(crate) page: Scope,
    pub(crate) format: FileFormat,
    pub(crate) order: RecordOrder,
    pub(crate) records: u64,
    /// Where its rows are, when it was cut just now.
    pub(crate) trail: Option<Trail>,
}

/// A page that was claimed, as its row has it.
#[derive(Debug, FromRow)]
struct ClaimedRow {
    key: String,
    run_id: String,
    first_ms: i64,
    last_ms: i64,
    arrivals: i64,
    file_format: String,
    record_order: String,
    records: i64,
    log_epoch: i64,
}

/// What is selected of `page_files` for a [`ClaimedRow`].
const CLAIMED_COLUMNS: &str = "key, run_id, first_ms, last_ms, arrivals, file_format, record_order, records, log_epoch";

impl PageBuilds {
    pub(crate) fn new() -> Self {
        let (handed, to_build) = mpsc::unbounded_channel();
        Self {
            idle: Arc::new(Semaphore::new(0)),
            handed,
            to_build: Mutex::new(to_build),
            wanted: Notify::new(),
            built: broadcast::channel(BUILT_KEPT).0,
            presses: Presses::default(),
        }
    }

    /// A builder, when one is idle.
    pub(crate) fn take_builder(&self) -> Option<Builder> {
        let idle = Arc::clone(&self.idle).try_acquire_owned().ok()?;
        Some(Builder { _idle: idle })
    }

    /// Has a page built whose row is on its way; the file counts once it is told that the row is there.
    pub(crate) fn hand_over(&self, builder: Builder, page: PageToBuild) -> oneshot::Sender<()> {
        let (accept, accepted) = oneshot::channel();
        // There is a receiver for as long as there is a store.
        let _ = self.handed.send(Handed { page, accepted, builder });
        accept
    }

    /// Has someone look for pages that nobody has claimed.
    pub(crate) fn look(&self) {
        self.wanted.notify_one();
    }

    /// Keys of the pages that are built here from now on.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Arc<str>> {
        self.built.subscribe()
    }
}

impl Presses {
    fn take(&self) -> Result<Press> {
        self.idle().pop().map_or_else(Press::new, Ok)
    }

    fn give_back(&self, press: Press) {
        let mut idle = self.idle();
        if idle.len() < limits::PORTIONS_MAX && press.is_of_usual_size() {
            idle.push(press);
        }
    }

    /// Presses are put there and taken whole, so that a panic elsewhere leaves them whole.
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Press>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Builds pages until `stop`; those that were begun are finished.
    pub(crate) async fn build_pages(&self, stop: CancellationToken) {
        let mut to_build = self.builds().to_build.lock().await;
        self.builds().idle.add_permits(self.settings().page_builders.max(1));
        let mut under_way = JoinSet::new();
        let mut look = true;
        while !stop.is_cancelled() {
            if look {
                self.begin_unclaimed(&mut under_way).await;
            }
            look = true;
            tokio::select! {
                () = stop.cancelled() => {}
                Some(handed) = to_build.recv() => {
                    under_way.spawn(self.clone().build_handed(handed));
                    look = false;
                }
                Some(_) = under_way.join_next() => {}
                () = self.builds().wanted.notified() => {}
                () = tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)) => {}
            }
        }
        self.builds().idle.forget_permits(usize::MAX >> 3);
        while let Ok(handed) = to_build.try_recv() {
            under_way.spawn(self.clone().build_handed(handed));
        }
        while under_way.join_next().await.is_some() {}
    }

    async fn begin_unclaimed(&self, under_way: &mut JoinSet<()>) {
        while let Some(builder) = self.builds().take_builder() {
            match self.claim_page().await {
                Ok(Some(page)) => {
                    let store = self.clone();
                    under_way.spawn(async move {
                        tell(store.build_page(page, None).await);
                        drop(builder);
                    });
                }
                Ok(None) => return,
                Err(error) => return tell(Err(error)),
            }
        }
    }

    async fn build_handed(self, handed: Handed) {
        tell(self.build_page(handed.page, Some(handed.accepted)).await);
        drop(handed.builder);
    }

    /// Builds the page that has been wanted for longest; false when none is wanted.
    pub async fn build_wanted_page(&self) -> Result<bool> {
        let Some(page) = self.claim_page().await? else { return Ok(false) };
        self.build_page(page, None).await?;
        Ok(true)
    }

    /// Builds a page's file; where its row is on its way, waits for it before the file is made known.
    async fn build_page(&self, mut page: PageToBuild, accepted: Option<oneshot::Receiver<()>>) -> Result<()> {
        let object_key = keys::page_file(&page.key, self.random().uuid());
        let built = build(self, &mut page, object_key.clone()).await;
        if let Some(accepted) = accepted
            && accepted.await.is_err()
        {
            // The request failed, and was told so.
            let _ = self.objects().delete(&object_key).await;
            return Ok(());
        }
        let written = match built {
            Ok(written) => written,
            Err(error) => {
                sqlx::query("UPDATE page_files SET claimed_until = 0 WHERE key = $1")
                    .bind(&page.key)
                    .execute(self.catalog().write())
                    .await?;
                let _ = self.objects().delete(&object_key).await;
                return Err(error);
            }
        };
        if self.mark_built(&page.key, &object_key, &written).await? {
            // Nobody may be waiting.
            let _ = self.builds().built.send(page.key.into());
        } else {
            // Another builder was first, or the log was deleted meanwhile.
            self.objects().delete(&object_key).await?;
        }
        Ok(())
    }

    async fn claim_page(&self) -> Result<Option<PageToBuild>> {
        let now = self.now();
        let is_wanted: Option<i64> = sqlx::query_scalar(
            "SELECT CAST(1 AS BIGINT) FROM page_files WHERE built_at IS NULL AND claimed_until < $1 AND attempts < $2
             LIMIT 1",
        )
        .bind(now.as_millis())
        .bind(limits::PAGE_ATTEMPTS_MAX)
        .fetch_optional(self.catalog().read())
        .await?;
        if is_wanted.is_none() {
            return Ok(None);
        }
        let skip_locked = self.catalog().skip_locked();
        let row: Option<ClaimedRow> = sqlx::query_as(AssertSqlSafe(format!(
            "UPDATE page_files SET claimed_until = $2, attempts = attempts + 1
             WHERE key = (SELECT key FROM page_files
                          WHERE built_at IS NULL AND claimed_until < $1 AND attempts < $3
                          ORDER BY wanted_at LIMIT 1{skip_locked})
             RETURNING {CLAIMED_COLUMNS}"
        )))
        .bind(now.as_millis())
        .bind(now.plus_millis(limits::PAGE_CLAIM_MS).as_millis())
        .bind(limits::PAGE_ATTEMPTS_MAX)
        .fetch_optional(self.catalog().write())
        .await?;
        row.map(PageToBuild::try_from).transpose()
    }

    /// Has a page built whose file was lost.
    pub(crate) async fn build_again(&self, page_key: &str, lost: &Path) -> Result<()> {
        sqlx::query(
            "UPDATE page_files SET built_at = NULL, object_key = NULL, claimed_until = 0, attempts = 0
             WHERE key = $1 AND object_key = $2",
        )
        .bind(page_key)
        .bind(lost.as_ref())
        .execute(self.catalog().write())
        .await?;
        self.builds().look();
        match self.objects().delete(lost).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            deleted => Ok(deleted?),
        }
    }

    async fn mark_built(&self, page_key: &str, object_key: &Path, written: &WrittenPage) -> Result<bool> {
        let done = sqlx::query(
            "UPDATE page_files SET built_at = $2, object_key = $3, plain_bytes = $4, zstd_bytes = $5, frames = $6
             WHERE key = $1 AND built_at IS NULL
               AND log_epoch = (SELECT log_epoch FROM runs WHERE id = page_files.run_id)",
        )
        .bind(page_key)
        .bind(self.now().as_millis())
        .bind(object_key.as_ref())
        .bind(written.plain_bytes as i64)
        .bind(written.stored_bytes as i64)
        .bind(&written.frames)
        .execute(self.catalog().write())
        .await?;
        debug!(page.key = page_key, records_count = written.records, "a log file was built");
        Ok(done.rows_affected() == 1)
    }
}

impl TryFrom<ClaimedRow> for PageToBuild {
    type Error = Error;

    fn try_from(row: ClaimedRow) -> Result<Self> {
        let undecodable = |what: &str| Error::corrupt(format!("the {what} of page {} does not decode", row.key));
        let page = Scope {
            run_id: row.run_id.parse().map_err(|_| undecodable("run"))?,
            range: TimeRange {
                start: Some(Timestamp::clamped(row.first_ms)),
                end: Some(Timestamp::clamped(row.last_ms)),
            },
            arrivals: row.arrivals,
            // Slices may be replaced at any time; the records stay the same.
            state: LogState { log_epoch: row.log_epoch, log_version: 0 },
        };
        let format = row.file_format.parse().map_err(|_| undecodable("form"))?;
        let order = row.record_order.parse().map_err(|_| undecodable("order"))?;
        Ok(Self { page, format, order, records: row.records as u64, key: row.key, trail: None })
    }
}

fn tell(outcome: Result<()>) {
    match outcome {
        Ok(()) => {}
        // The log was deleted meanwhile, and with it the request.
        Err(error) if error.kind() == ErrorKind::Conflict => debug!(%error, "a log file is not built"),
        Err(error) => error!(error = &error as &dyn std::error::Error, "a log file could not be built"),
    }
}

/// Writes the file of a page as an object.
async fn build(store: &Store, page: &mut PageToBuild, object_key: Path) -> Result<WrittenPage> {
    // Each thread has the same to do, twice.
    let portion = (page.records as usize).div_ceil(portions()).max(limits::PORTION_RECORDS);
    if let Some(trail) = page.trail.take()
        && let Some(rows) = trail.rows(store, &page.page, page.records, page.order, portion).await?
    {
        match write(store, page, Pieces::Known(rows), portion, object_key.clone()).await {
            // Slices may have been replaced, and their objects removed, since the page was cut.
            Err(error) if store.log_state(page.page.run_id, page.page.state).await? == page.page.state => {
                return Err(error);
            }
            Err(_) => {}
            written => return written,
        }
    }
    let state = store.log_state(page.page.run_id, page.page.state).await?;
    let merge = Merge::new(store, Scope { state, ..page.page }, page.order);
    write(store, page, Pieces::Merged(Box::new(merge)), limits::PORTION_RECORDS, object_key).await
}

/// How many portions are formatted at a time: as many as there are threads, and one for each that may have to wait for the
/// first.
fn portions() -> usize {
    (2 * std::thread::available_parallelism().map_or(1, usize::from)).min(limits::PORTIONS_MAX)
}

/// What a page is made of, in order.
enum Pieces {
    Known(VecDeque<SliceRows>),
    Merged(Box<Merge>),
}

impl Pieces {
    async fn next(&mut self) -> Result<Option<Piece>> {
        match self {
            Self::Known(rows) => Ok(rows.pop_front().map(Piece::Rows)),
            Self::Merged(merge) => merge.next_piece().await,
        }
    }

    /// The next ones, with at least so many records; none at the end.
    async fn next_portion(&mut self, records_min: usize) -> Result<Option<Vec<Piece>>> {
        let (mut portion, mut records) = (Vec::new(), 0);
        while records < records_min {
            let Some(piece) = self.next().await? else { break };
            records += piece.len();
            portion.push(piece);
        }
        Ok(if portion.is_empty() { None } else { Some(portion) })
    }
}

/// Writes the file of a page that is made of these pieces. Its records are read, formatted and compressed in portions,
/// several at a time, and written one after the other.
async fn write(
    store: &Store,
    page: &PageToBuild,
    mut pieces: Pieces,
    portion_records: usize,
    object_key: Path,
) -> Result<WrittenPage> {
    let form = PageForm { format: page.format, is_packed: !store.settings().links_by_bucket };
    let mut file = PageFileWriter::new(store.fleeting_objects().clone(), object_key, form);
    let (mut under_way, mut is_begin, presses) = (VecDeque::new(), true, &store.builds().presses);
    while let Some(portion) = pieces.next_portion(portion_records).await? {
        if under_way.len() >= portions()
            && let Some(first) = under_way.pop_front()
        {
            file.write(frames_of(first).await?).await?;
        }
        under_way.push_back(on_decoding_thread(format_portion(portion, form, is_begin, presses.clone())));
        is_begin = false;
    }
    for portion in under_way {
        file.write(frames_of(portion).await?).await?;
    }
    let (end, press) = file.end(presses.take()?)?;
    presses.give_back(press);
    file.write(end).await?;
    let written = file.finish().await?;
    match written.records == page.records {
        true => Ok(written),
        false => Err(Error::corrupt(format!(
            "page {} has {} records where its request counted {}",
            page.key, written.records, page.records
        ))),
    }
}

async fn frames_of(portion: tokio::task::JoinHandle<Result<PageFrames>>) -> Result<PageFrames> {
    portion.await?
}

async fn format_portion(portion: Vec<Piece>, form: PageForm, is_begin: bool, presses: Presses) -> Result<PageFrames> {
    let mut cutter = FrameCutter::new(form, is_begin, presses.take()?);
    for piece in portion {
        cutter.add(&piece.read_here().await?)?;
    }
    let (frames, press) = cutter.finish()?;
    presses.give_back(press);
    Ok(frames)
}
