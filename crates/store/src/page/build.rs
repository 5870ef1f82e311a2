//! Building of page files: by the node that received the request if it has a free builder, otherwise by the node that
//! claims the page.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use az::SaturatingAs;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use runlog_model::{FileFormat, TimeRange, Timestamp};
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, warn};

use crate::cpu::CpuPool;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::log::merge::{Merge, MergedRows, SliceRows};
use crate::log::slices::{Scope, log_state};
use crate::objects::keys;
use crate::objects::keys::PageForm;
use crate::page::builders::Pages;
use crate::page::builders::{Builder, PageToBuild, QueuedPage};
use crate::page::compressor::CompressorPool;
use crate::page::file::{FrameCutter, PageFileWriter, PageFrames, WrittenPage};
use crate::tables::runs::LogState;

/// How often a node polls for pages that were requested through another node. Unit: milliseconds.
const POLL_INTERVAL_MS: u64 = 1_000;

/// The row of a claimed page.
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
    attempts_away: i64,
}

/// The columns of `page_files` for a [`ClaimedRow`].
const CLAIMED_COLUMNS: &str =
    "key, run_id, first_ms, last_ms, arrivals, file_format, record_order, records, log_epoch, attempts_away";

impl Pages {
    /// Builds pages until `stop` is cancelled; builds in progress are finished.
    pub(crate) async fn build_pages(&self, stop: CancellationToken) {
        let mut to_build = self.builds().to_build.lock().await;
        for places in [&self.builds().slots, &self.builds().long_slots] {
            places.add_permits(self.core.settings().page_builders.max(1));
        }
        let mut under_way = JoinSet::new();
        let mut look = true;
        while !stop.is_cancelled() {
            if look {
                self.begin_unclaimed(&mut under_way).await;
            }
            look = true;
            // `biased` makes simulations reproducible. No branch starves the others, because none remains ready for
            // long.
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                Some(_) = under_way.join_next() => {}
                Some(queue) = to_build.recv() => {
                    under_way.spawn(self.clone().build_queued(queue));
                    look = false;
                }
                () = self.builds().work_available.notified() => {}
                () = tokio::time::sleep(Duration::from_millis(POLL_INTERVAL_MS)) => {}
            }
        }
        for places in [&self.builds().slots, &self.builds().long_slots] {
            places.forget_permits(usize::MAX >> 3);
        }
        while let Ok(queue) = to_build.try_recv() {
            under_way.spawn(self.clone().build_queued(queue));
        }
        while under_way.join_next().await.is_some() {}
    }

    async fn begin_unclaimed(&self, under_way: &mut JoinSet<()>) {
        while let Some(builder) = self.builds().try_acquire_builder() {
            match self.claim_page(None).await {
                Ok(Some(page)) => {
                    under_way.spawn(self.clone().build_with(builder, page, None));
                }
                Ok(None) => return,
                Err(error) => return log_failure(Err(error)),
            }
        }
    }

    async fn build_queued(self, queue: QueuedPage) {
        self.build_with(queue.builder, queue.page, Some(queue.accepted)).await;
    }

    /// Builds a page. A long build moves to a slot for long builds if one is free, so that short builds do not wait for
    /// it.
    async fn build_with(self, builder: Builder, page: PageToBuild, accepted: Option<oneshot::Receiver<()>>) {
        let mut building = std::pin::pin!(self.build_page(page, accepted));
        let usual = Duration::from_millis(limits::PAGE_SHORT_BUILD_MS);
        if let Ok(outcome) = tokio::time::timeout(usual, &mut building).await {
            return log_failure(outcome);
        }
        let place = match Arc::clone(&self.builds().long_slots).try_acquire_owned() {
            Ok(place) => {
                drop(builder);
                // Another page may be waiting for the builder.
                self.builds().notify();
                Builder { _idle: place }
            }
            Err(_) => builder,
        };
        log_failure(building.await);
        drop(place);
    }

    /// Builds the page that was requested first. Returns false if there is none.
    pub async fn build_next_page(&self) -> Result<bool> {
        let Some(page) = self.claim_page(None).await? else { return Ok(false) };
        self.build_page(page, None).await?;
        Ok(true)
    }

    /// Builds a page that a caller waits for, unless another node holds its lease. After an error, the page is left to
    /// the next attempt. The build continues if the caller is cancelled.
    pub(crate) async fn build_if_needed(&self, page_key: &str) {
        let (pages, page_key) = (self.clone(), page_key.to_owned());
        let building = tokio::spawn(async move {
            // Only one such build runs at a time, because it does not take a builder slot.
            let _alone = pages.builds().rebuilding.lock().await;
            match pages.claim_page(Some(&page_key)).await {
                Ok(Some(page)) => log_failure(pages.build_page(page, None).await),
                Ok(None) => {}
                Err(error) => log_failure(Err(error)),
            }
        });
        // After a panic, which was logged, the row still records that the page is not built.
        let _ = building.await;
    }

    /// Builds the file of a page while renewing the lease. If the row of the page is still being committed, waits for
    /// the commit before publishing the file.
    async fn build_page(&self, mut page: PageToBuild, accepted: Option<oneshot::Receiver<()>>) -> Result<()> {
        let object_key = keys::page_file(&page.key, self.core.random().uuid(), self.page_form(page.format));
        let (built, is_accepted) = {
            let key = page.key.clone();
            let building = async {
                let built = build(self, &mut page, object_key.clone()).await;
                let is_accepted = match accepted {
                    Some(accepted) => accepted.await.is_ok(),
                    None => true,
                };
                (built, is_accepted)
            };
            tokio::select! {
                biased;
                built = building => built,
                never = self.hold_lease(&key) => match never {},
            }
        };
        if !is_accepted {
            // The request failed, and the error was returned to its caller.
            let _ = self.core.objects().delete(&object_key).await;
            return Ok(());
        }
        let written = match built {
            Ok(written) => written,
            Err(error) => {
                self.record_failure(&page, &error).await?;
                // If the bucket is unavailable, either no part of the file was stored, or the sweep removes it.
                if !is_outage(&error) {
                    let _ = self.core.objects().delete(&object_key).await;
                }
                return Err(error);
            }
        };
        let marked = match self.mark_built(&page.key, &object_key, &written).await {
            Ok(marked) => marked,
            Err(error) => {
                // The file is kept, because it is unknown whether the row refers to it.
                self.record_failure(&page, &error).await?;
                return Err(error);
            }
        };
        if marked {
            if page.attempts_away > 0 {
                self.expedite_pages().await?;
            }
            // Sending fails if there is no receiver.
            let _ = self.builds().built.send(page.key.into());
        } else {
            // Another builder was faster, or the log was deleted in the meantime.
            self.core.objects().delete(&object_key).await?;
        }
        Ok(())
    }

    /// Renews the lease of a page while it is built.
    async fn hold_lease(&self, page_key: &str) -> Infallible {
        loop {
            tokio::time::sleep(Duration::from_millis(limits::PAGE_LEASE_RENEW_MS)).await;
            if let Err(error) = self.renew_lease(page_key).await {
                warn!(page.key = page_key, %error, "the lease of a log file was not renewed; another node may build it too");
            }
        }
    }

    async fn renew_lease(&self, page_key: &str) -> Result<()> {
        let until = self.lease_now().await?.plus_millis(limits::PAGE_LEASE_MS);
        sqlx::query("UPDATE page_files SET claimed_until = $2 WHERE key = $1 AND built_at IS NULL")
            .bind(page_key)
            .bind(until.as_millis())
            .execute(self.core.catalog().write())
            .await?;
        Ok(())
    }

    /// Records a failed attempt and leaves the page to the next one. An attempt that failed because a dependency was
    /// unavailable is not counted.
    async fn record_failure(&self, page: &PageToBuild, error: &Error) -> Result<()> {
        let statement = match is_outage(error) {
            true => {
                let delay_ms = (1_000 << page.attempts_away.clamp(0, 10)).min(limits::PAGE_UNAVAILABLE_RETRY_MS_MAX);
                let retry_at = self.lease_now().await?.plus_millis(delay_ms);
                sqlx::query(
                    "UPDATE page_files SET claimed_until = 0, retry_at = $2, attempts_away = attempts_away + 1,
                            attempts = CASE WHEN attempts > 0 THEN attempts - 1 ELSE 0 END
                     WHERE key = $1 AND built_at IS NULL",
                )
                .bind(&page.key)
                .bind(retry_at.as_millis())
            }
            // The page was requested while its log was being deleted, and its row was added after the deletion, so it
            // can never be built.
            false if error.kind() == ErrorKind::Conflict && self.forget_page_of_deleted_log(&page.key).await? => {
                return Ok(());
            }
            false => sqlx::query(
                "UPDATE page_files SET claimed_until = 0, attempts_away = 0, damaged_object = $2
                 WHERE key = $1 AND built_at IS NULL",
            )
            .bind(&page.key)
            .bind(error.damaged_object()),
        };
        statement.execute(self.core.catalog().write()).await?;
        Ok(())
    }

    /// Removes a page and its tokens, as the deletion of its log would have done. Returns false if the log exists.
    async fn forget_page_of_deleted_log(&self, key: &str) -> Result<bool> {
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let removed = sqlx::query(
                    "DELETE FROM page_files WHERE key = $1 AND built_at IS NULL
                        AND log_epoch <> (SELECT log_epoch FROM runs WHERE id = page_files.run_id)",
                )
                .bind(key)
                .execute(&mut *transaction)
                .await?;
                if removed.rows_affected() == 0 {
                    return Ok(false);
                }
                sqlx::query("DELETE FROM page_tokens WHERE page_key = $1").bind(key).execute(&mut *transaction).await?;
                transaction.commit().await?;
                Ok(true)
            })
            .await
    }

    /// Makes all pages due whose builds failed because a dependency was unavailable. Called when the dependency is
    /// available again.
    async fn expedite_pages(&self) -> Result<()> {
        sqlx::query("UPDATE page_files SET retry_at = 0 WHERE built_at IS NULL AND attempts_away > 0")
            .execute(self.core.catalog().write())
            .await?;
        self.builds().notify();
        Ok(())
    }

    fn page_form(&self, format: FileFormat) -> PageForm {
        PageForm { format, is_compressed: !self.core.settings().links_by_bucket }
    }

    /// Returns the current time by the catalog's clock.
    pub(crate) async fn lease_now(&self) -> Result<Timestamp> {
        self.core.catalog_now().await
    }

    /// Claims the page that was requested first, or the page with this key. Returns `None` if there is nothing to
    /// build.
    async fn claim_page(&self, only: Option<&str>) -> Result<Option<PageToBuild>> {
        let now = self.lease_now().await?;
        let is_due = "built_at IS NULL AND claimed_until < $1 AND retry_at <= $1 AND (key = $2 OR $2 = '')";
        let is_wanted: Option<i64> = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT CAST(1 AS BIGINT) FROM page_files WHERE {is_due} LIMIT 1"
        )))
        .bind(now.as_millis())
        .bind(only.unwrap_or_default())
        .fetch_optional(self.core.catalog().read())
        .await?;
        if is_wanted.is_none() {
            return Ok(None);
        }
        let skip_locked = self.core.catalog().skip_locked();
        // The next attempt is delayed before this one begins, because the attempt may crash the process.
        let row: Option<ClaimedRow> = sqlx::query_as(AssertSqlSafe(format!(
            "UPDATE page_files SET claimed_until = $3, retry_at = $1 + $4 * attempts * attempts, attempts = attempts + 1
             WHERE key = (SELECT key FROM page_files WHERE {is_due} ORDER BY wanted_at LIMIT 1{skip_locked})
             RETURNING {CLAIMED_COLUMNS}"
        )))
        .bind(now.as_millis())
        .bind(only.unwrap_or_default())
        .bind(now.plus_millis(limits::PAGE_LEASE_MS).as_millis())
        .bind(limits::PAGE_RETRY_MS)
        .fetch_optional(self.core.catalog().write())
        .await?;
        row.map(PageToBuild::try_from).transpose()
    }

    /// Queues a page again if its file is lost or damaged. Does nothing if the page is already queued.
    pub(crate) async fn requeue_page(&self, page_key: &str, lost: &Path) -> Result<()> {
        sqlx::query(
            "UPDATE page_files SET built_at = NULL, object_key = NULL, claimed_until = 0, attempts = 0, retry_at = 0,
                    attempts_away = 0
             WHERE key = $1 AND object_key = $2",
        )
        .bind(page_key)
        .bind(lost.as_ref())
        .execute(self.core.catalog().write())
        .await?;
        self.builds().notify();
        match self.core.objects().delete(lost).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            deleted => Ok(deleted?),
        }
    }

    async fn mark_built(&self, page_key: &str, object_key: &Path, written: &WrittenPage) -> Result<bool> {
        let done = sqlx::query(
            "UPDATE page_files SET built_at = $2, object_key = $3, plain_bytes = $4, zstd_bytes = $5, frames = $6,
                    checks = $7
             WHERE key = $1 AND built_at IS NULL
               AND log_epoch = (SELECT log_epoch FROM runs WHERE id = page_files.run_id)",
        )
        .bind(page_key)
        .bind(self.core.now().as_millis())
        .bind(object_key.as_ref())
        .bind(written.plain_bytes.saturating_as::<i64>())
        .bind(written.stored_bytes.saturating_as::<i64>())
        .bind(&written.frames)
        .bind(&written.checks)
        .execute(self.core.catalog().write())
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
            // The version is not checked: slices may be replaced at any time, but the records stay the same.
            state: LogState { log_epoch: row.log_epoch, log_version: 0 },
        };
        let format = row.file_format.parse().map_err(|_| undecodable("form"))?;
        let order = row.record_order.parse().map_err(|_| undecodable("order"))?;
        Ok(Self {
            page,
            format,
            order,
            records: row.records.saturating_as::<u64>(),
            attempts_away: row.attempts_away,
            key: row.key,
            trace: None,
        })
    }
}

/// Returns true if the same build may succeed once a dependency is available again.
fn is_outage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Busy)
}

fn log_failure(outcome: Result<()>) {
    match outcome {
        Ok(()) => {}
        // The log was deleted in the meantime, together with the request.
        Err(error) if error.kind() == ErrorKind::Conflict => debug!(%error, "a log file is not built"),
        Err(error) if is_outage(&error) => {
            warn!(
                error = &error as &dyn std::error::Error,
                "a log file will be built later: a dependency is unavailable"
            );
        }
        Err(error) => error!(error = &error as &dyn std::error::Error, "a log file could not be built"),
    }
}

/// Builds the file of a page as an object.
async fn build(pages: &Pages, page: &mut PageToBuild, object_key: Path) -> Result<WrittenPage> {
    // The page is divided evenly: two work items of equal size for each thread.
    let work_item = page.records.saturating_as::<usize>().div_ceil(work_items_max()).max(limits::WORK_ITEM_RECORDS);
    if let Some(trace) = page.trace.take()
        && let Some(rows) = trace.rows(&pages.core, &page.page, page.records, page.order, work_item).await?
    {
        match write(pages, page, PageRows::Known(rows), work_item, object_key.clone()).await {
            // Slices may have been replaced, and their objects removed, since the end of the page was determined.
            Err(error) if log_state(&pages.core, page.page.run_id, page.page.state).await? == page.page.state => {
                return Err(error);
            }
            Err(_) => {}
            written => return written,
        }
    }
    let state = log_state(&pages.core, page.page.run_id, page.page.state).await?;
    let merge = Merge::new(&pages.core, Scope { state, ..page.page }, page.order);
    write(pages, page, PageRows::Merged(Box::new(merge)), limits::WORK_ITEM_RECORDS, object_key).await
}

/// Returns how many work items are formatted concurrently: one per thread, and as many again that may wait for earlier
/// ones to be written.
fn work_items_max() -> usize {
    (2 * std::thread::available_parallelism().map_or(1, usize::from)).min(limits::WORK_ITEMS_MAX)
}

/// The rows of a page, in order.
enum PageRows {
    Known(VecDeque<SliceRows>),
    Merged(Box<Merge>),
}

impl PageRows {
    async fn next(&mut self) -> Result<Option<MergedRows>> {
        match self {
            Self::Known(rows) => Ok(rows.pop_front().map(|rows| MergedRows::Rows(Box::new(rows)))),
            Self::Merged(merge) => merge.next_rows().await,
        }
    }

    /// Returns the next rows with at least this many records; `None` at the end.
    async fn next_work_item(&mut self, records_min: usize) -> Result<Option<Vec<MergedRows>>> {
        let (mut work_item, mut records) = (Vec::new(), 0);
        while records < records_min {
            let Some(rows) = self.next().await? else { break };
            records += rows.len();
            work_item.push(rows);
        }
        Ok(if work_item.is_empty() { None } else { Some(work_item) })
    }
}

/// Writes the file of a page with these rows. Records are read, formatted and compressed in concurrent work items, and
/// written in order.
async fn write(
    pages: &Pages,
    page: &PageToBuild,
    page_rows: PageRows,
    work_item_records: usize,
    object_key: Path,
) -> Result<WrittenPage> {
    let form = pages.page_form(page.format);
    let mut file = PageFileWriter::new(pages.core.rebuildable_objects().clone(), object_key, form);
    if let Err(error) = write_rows(pages, &mut file, form, page_rows, work_item_records).await {
        file.abort().await;
        return Err(error);
    }
    let written = file.finish().await?;
    match written.records == page.records {
        true => Ok(written),
        false => Err(Error::corrupt(format!(
            "page {} has {} records where its request counted {}",
            page.key, written.records, page.records
        ))),
    }
}

async fn write_rows(
    pages: &Pages,
    file: &mut PageFileWriter,
    form: PageForm,
    mut page_rows: PageRows,
    work_item_records: usize,
) -> Result<()> {
    let (mut under_way, mut is_begin, compressors) = (VecDeque::new(), true, &pages.builds().compressors);
    while let Some(work_item) = page_rows.next_work_item(work_item_records).await? {
        if under_way.len() >= work_items_max()
            && let Some(first) = under_way.pop_front()
        {
            file.write(frames_of(first).await?).await?;
        }
        let formatting = format_work_item(pages.core.cpu().clone(), work_item, form, is_begin, compressors.clone());
        under_way.push_back(AbortOnDropHandle::new(tokio::spawn(formatting)));
        is_begin = false;
    }
    for work_item in under_way {
        file.write(frames_of(work_item).await?).await?;
    }
    let (end, compressor) = file.end(compressors.take()?)?;
    compressors.release(compressor);
    file.write(end).await
}

async fn frames_of(work_item: AbortOnDropHandle<Result<PageFrames>>) -> Result<PageFrames> {
    work_item.await?
}

async fn format_work_item(
    cpu: CpuPool,
    work_item: Vec<MergedRows>,
    form: PageForm,
    is_begin: bool,
    compressors: CompressorPool,
) -> Result<PageFrames> {
    let mut cutter = FrameCutter::new(form, is_begin, compressors.take()?);
    for rows in work_item {
        let count = rows.len();
        let records = rows.read().await?;
        let adding = move || cutter.add(&records).map(|()| cutter);
        cutter = cpu.run_for(count, adding).await?;
    }
    let (frames, compressor) = cpu.run(move || cutter.finish()).await?;
    compressors.release(compressor);
    Ok(frames)
}
