//! What runs beside the calls: page files are built, and what is no longer needed is swept.

use std::time::Duration;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use runlog_model::{RunId, TimeRange, Timestamp};
use sqlx::{AssertSqlSafe, FromRow};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::error::{Error, ErrorKind, Result};
use crate::merge::Merge;
use crate::page_file::{PageFileWriter, WrittenPage};
use crate::slices::{LogState, Scope};
use crate::store::Store;
use crate::{keys, limits};

/// How often a builder looks for pages that were wanted through another process. Unit: milliseconds.
const LOOK_EVERY_MS: u64 = 1_000;

#[derive(Debug, FromRow)]
struct WantedPage {
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

impl Store {
    /// Builds page files and sweeps until `stop`; what has been begun is finished first.
    pub async fn run_jobs(&self, stop: CancellationToken) {
        let builders = (0..self.settings().page_builders.max(1)).map(|_| self.build_pages(stop.clone()));
        tokio::join!(
            futures::future::join_all(builders),
            self.seal_now_and_then(stop.clone()),
            self.sweep_now_and_then(stop.clone())
        );
    }

    async fn seal_now_and_then(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.seal().await {
                Ok(sealed) if sealed.runs > 0 => continue,
                Ok(_) => {}
                Err(error) => {
                    error!(
                        error = &error as &dyn std::error::Error,
                        "a log could not be sealed and will be tried again"
                    )
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(Duration::from_millis(limits::SEAL_EVERY_MS)) => {}
            }
        }
    }

    async fn build_pages(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.build_wanted_page().await {
                Ok(true) => continue,
                Ok(false) => {}
                // The log was deleted meanwhile, and with it the request.
                Err(error) if error.kind() == ErrorKind::Conflict => debug!(%error, "a log file is not built"),
                Err(error) => error!(error = &error as &dyn std::error::Error, "a log file could not be built"),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.page_wanted().notified() => {}
                () = tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)) => {}
            }
        }
    }

    /// Builds the page that has been wanted for longest; false when none is wanted.
    pub async fn build_wanted_page(&self) -> Result<bool> {
        let Some(page) = self.claim_page().await? else { return Ok(false) };
        let key = keys::page_file(&page.key, self.random().uuid());
        let (store, object_key) = (self.clone(), key.clone());
        let page_key = page.key.clone();
        // Formatting and compressing would hold up the calls, so it has a thread of its own.
        let runtime = tokio::runtime::Handle::current();
        let built = tokio::task::spawn_blocking(move || runtime.block_on(build(&store, &page, object_key))).await?;
        let written = match built {
            Ok(written) => written,
            Err(error) => {
                sqlx::query("UPDATE page_files SET claimed_until = 0 WHERE key = $1")
                    .bind(&page_key)
                    .execute(self.catalog().write())
                    .await?;
                let _ = self.objects().delete(&key).await;
                return Err(error);
            }
        };
        if !self.mark_built(&page_key, &key, &written).await? {
            // Another builder took over and was first.
            self.objects().delete(&key).await?;
        }
        Ok(true)
    }

    async fn claim_page(&self) -> Result<Option<WantedPage>> {
        let now = self.now();
        let is_wanted: Option<i64> = sqlx::query_scalar(
            "SELECT CAST(1 AS BIGINT) FROM page_files WHERE built_at IS NULL AND claimed_until < $1 LIMIT 1",
        )
        .bind(now.as_millis())
        .fetch_optional(self.catalog().read())
        .await?;
        if is_wanted.is_none() {
            return Ok(None);
        }
        let skip_locked = self.catalog().skip_locked();
        let page = sqlx::query_as(AssertSqlSafe(format!(
            "UPDATE page_files SET claimed_until = $2, attempts = attempts + 1
             WHERE key = (SELECT key FROM page_files
                          WHERE built_at IS NULL AND claimed_until < $1 AND attempts < $3
                          ORDER BY wanted_at LIMIT 1{skip_locked})
             RETURNING key, run_id, first_ms, last_ms, arrivals, file_format, record_order, records, log_epoch"
        )))
        .bind(now.as_millis())
        .bind(now.plus_millis(limits::PAGE_CLAIM_MS).as_millis())
        .bind(limits::PAGE_ATTEMPTS_MAX)
        .fetch_optional(self.catalog().write())
        .await?;
        Ok(page)
    }

    async fn mark_built(&self, page_key: &str, object_key: &Path, written: &WrittenPage) -> Result<bool> {
        let done = sqlx::query(
            "UPDATE page_files SET built_at = $2, object_key = $3, plain_bytes = $4, zstd_bytes = $5, frames = $6
             WHERE key = $1 AND built_at IS NULL",
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

    async fn sweep_now_and_then(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.apply_retention().await {
                error!(error = &error as &dyn std::error::Error, "retention failed and will be tried again");
            }
            match self.sweep().await {
                Ok(0) => {}
                Ok(bytes_freed) => info!(bytes_freed, "expired log files and orphan objects were swept"),
                Err(error) => {
                    error!(error = &error as &dyn std::error::Error, "the sweep failed and will be tried again")
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(Duration::from_millis(limits::SWEEP_EVERY_MS)) => {}
            }
        }
    }

    /// Removes expired page files and tokens, and old objects that no row names. Tells the bytes freed.
    pub async fn sweep(&self) -> Result<u64> {
        let now = self.now().as_millis();
        // The row goes first here: a row must never name an object that is gone.
        sqlx::query("DELETE FROM page_files WHERE keep_until < $1").bind(now).execute(self.catalog().write()).await?;
        // An expired token is kept for a day, to say that it has expired.
        sqlx::query("DELETE FROM page_tokens WHERE expires_at < $1")
            .bind(now - 24 * 3_600_000)
            .execute(self.catalog().write())
            .await?;
        let mut bytes_freed = self.sweep_replaced_segments().await?;
        for folder in keys::FOLDERS {
            let mut objects = self.objects().list(Some(&Path::from(folder)));
            while let Some(object) = objects.try_next().await? {
                if self.is_orphan(&object).await? {
                    self.objects().delete(&object.location).await?;
                    bytes_freed += object.size;
                }
            }
        }
        Ok(bytes_freed)
    }
}

impl Store {
    /// Removes the segments from which the last slice was taken a while ago. Tells the bytes freed.
    async fn sweep_replaced_segments(&self) -> Result<u64> {
        let mut bytes_freed = 0;
        loop {
            let before = self.now().as_millis() - limits::REPLACED_KEEP_MS;
            let replaced: Vec<(String, i64)> = sqlx::query_as(
                "DELETE FROM segments WHERE id IN (SELECT id FROM segments WHERE replaced_at < $1 LIMIT 256)
                 RETURNING object_key, bytes",
            )
            .bind(before)
            .fetch_all(self.catalog().write())
            .await?;
            if replaced.is_empty() {
                return Ok(bytes_freed);
            }
            for (object_key, bytes) in replaced {
                match self.objects().delete(&Path::from(object_key.as_str())).await {
                    Ok(()) => bytes_freed += bytes as u64,
                    Err(error) => {
                        warn!(%error, object.key = object_key, "a replaced segment is left to the next sweep")
                    }
                }
            }
        }
    }
}

/// Writes the file of a page as an object.
async fn build(store: &Store, page: &WantedPage, object_key: Path) -> Result<WrittenPage> {
    let undecodable = |what: &str| Error::corrupt(format!("the {what} of page {} does not decode", page.key));
    let run_id: RunId = page.run_id.parse().map_err(|_| undecodable("run"))?;
    let format = page.file_format.parse().map_err(|_| undecodable("form"))?;
    let order = page.record_order.parse().map_err(|_| undecodable("order"))?;
    let range =
        TimeRange { start: Some(Timestamp::clamped(page.first_ms)), end: Some(Timestamp::clamped(page.last_ms)) };
    let state = store.log_state(run_id, LogState { log_epoch: page.log_epoch, log_version: 0 }).await?;
    let mut merge = Merge::new(store, Scope { run_id, range, arrivals: page.arrivals, state }, order);
    let objects = store.objects().clone();
    let mut file = match store.settings().links_by_bucket {
        true => PageFileWriter::plain(objects, object_key, format),
        false => PageFileWriter::packed(objects, object_key, format),
    };
    while let Some(stretch) = merge.next().await? {
        for (time, body) in stretch.read().await?.iter() {
            file.add(time, body)?;
            if file.is_frame_full() {
                file.flush_frame().await?;
            }
        }
    }
    let written = file.finish().await?;
    match written.records == page.records as u64 {
        true => Ok(written),
        false => Err(Error::corrupt(format!(
            "page {} has {} records where its request counted {}",
            page.key, written.records, page.records
        ))),
    }
}
