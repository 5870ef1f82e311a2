//! Background jobs: page builds, sealing, the sweep and retention.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use runlog_model::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::catalog::sql::changed_in_parts;
use crate::error::{Error, ErrorKind, Result};
use crate::maintain::clock_check::ClockCheck;
use crate::maintain::delete::record_deletions;
use crate::maintain::maintenance::Maintenance;
use crate::maintain::seal::commit::free_segments;
use crate::objects::keys;
use crate::objects::read_error::{is_object_error, listed};
use crate::parts::Accounts;
use crate::{failpoint, limits};

impl Maintenance {
    /// Builds page files, seals, applies retention and sweeps until `stop` is cancelled and work in progress has
    /// finished. Each job is supervised separately: a job that fails or panics is restarted, and neither ends nor
    /// delays other jobs.
    pub async fn run_jobs(&self, stop: CancellationToken) {
        let supervisor = self.supervisor();
        let clock_check = Arc::new(Mutex::new(ClockCheck::default()));
        tokio::join!(
            supervisor.run("page builds", &stop, || {
                let (maintenance, stop) = (self.clone(), stop.clone());
                async move {
                    failpoint::reach("job-page-builds");
                    maintenance.pages().build_pages(stop).await;
                    Ok::<_, Error>(())
                }
            }),
            supervisor.run("sealing", &stop, || {
                let (maintenance, stop) = (self.clone(), stop.clone());
                async move {
                    failpoint::reach("job-sealing");
                    maintenance.seal_periodically(stop).await;
                    Ok::<_, Error>(())
                }
            }),
            supervisor.run("retention", &stop, || {
                let (maintenance, stop, clock_check) = (self.clone(), stop.clone(), Arc::clone(&clock_check));
                async move {
                    failpoint::reach("job-retention");
                    maintenance.apply_retention_periodically(stop, &clock_check).await;
                    Ok::<_, Error>(())
                }
            }),
            supervisor.run("sweep", &stop, || {
                let (maintenance, stop, clock_check) = (self.clone(), stop.clone(), Arc::clone(&clock_check));
                async move {
                    failpoint::reach("job-sweep");
                    maintenance.sweep_periodically(stop, &clock_check).await;
                    Ok::<_, Error>(())
                }
            }),
        );
    }

    async fn seal_periodically(&self, stop: CancellationToken) {
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

    async fn apply_retention_periodically(&self, stop: CancellationToken, clock_check: &Mutex<ClockCheck>) {
        while !stop.is_cancelled() {
            let applied = match self.doubts_clock(clock_check).await {
                Ok(true) => Ok(()),
                Ok(false) => self.apply_retention().await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = applied {
                error!(error = &error as &dyn std::error::Error, "retention failed and will be tried again");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(Duration::from_millis(limits::SWEEP_EVERY_MS)) => {}
            }
        }
    }

    async fn sweep_periodically(&self, stop: CancellationToken, clock_check: &Mutex<ClockCheck>) {
        let mut whole_at = self.core.now();
        while !stop.is_cancelled() {
            let swept = match self.doubts_clock(clock_check).await {
                Ok(true) => Ok(()),
                Ok(false) => self.sweep_if_due(&mut whole_at).await,
                Err(error) => Err(error),
            };
            if let Err(error) = swept {
                error!(error = &error as &dyn std::error::Error, "the sweep failed and will be tried again");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(Duration::from_millis(limits::SWEEP_EVERY_MS)) => {}
            }
        }
    }

    /// Sweeps all objects if that is due, otherwise only recently written ones.
    async fn sweep_if_due(&self, whole_at: &mut Timestamp) -> Result<()> {
        let is_whole = self.core.now() >= *whole_at;
        let swept = match is_whole {
            true => self.sweep_whole().await,
            false => self.sweep_folders(keys::recent_folders(self.core.now())).await,
        };
        if is_whole && swept.is_ok() {
            *whole_at = self.core.now().plus_millis(limits::SWEEP_ALL_EVERY_MS);
        }
        let bytes_freed = swept.and_then(SweepOutcome::into_bytes)?;
        if bytes_freed > 0 {
            info!(bytes_freed, "expired log files and orphan objects were swept");
        }
        Ok(())
    }

    /// Returns true while the clock is in doubt because it has jumped ahead and there is no second clock.
    async fn doubts_clock(&self, check: &Mutex<ClockCheck>) -> Result<bool> {
        if self.core.catalog().clock_ms().await?.is_some() {
            return Ok(false);
        }
        let now = self.core.now();
        // Times that were written by a wrong clock before a restart must not confirm that clock, so only times that are
        // older than the period of doubt are considered.
        let before = now.plus_millis(-runlog_model::millis(limits::CLOCK_DOUBT_TIME));
        let newest: Option<i64> = sqlx::query_scalar(
            "SELECT MAX(at) FROM (SELECT MAX(at) AS at FROM audit WHERE at <= $1
                 UNION ALL SELECT MAX(final_since) FROM runs WHERE final_since <= $1) newest",
        )
        .bind(before.as_millis())
        .fetch_one(self.core.catalog().read())
        .await?;
        let elapsed = self.core.elapsed();
        let mut check = check.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(doubt) = check.read(now, elapsed, newest.map(Timestamp::clamped)) {
            warn!(
                ahead_days = doubt.ahead_ms / limits::DAY_MS,
                "the clock of this machine is days ahead of what the archive expects: nothing is deleted for an hour, neither \
                 by retention nor because it has expired; if the time is wrong, set it now"
            );
        }
        Ok(check.is_doubted(elapsed))
    }

    /// Removes expired page files, tokens and batch IDs, and old objects to which no row refers. Returns the number of
    /// bytes removed. If an object cannot be removed, the sweep completes and then fails.
    pub async fn sweep(&self) -> Result<u64> {
        self.sweep_whole().await?.into_bytes()
    }
}

/// The result of a sweep.
#[derive(Default)]
struct SweepOutcome {
    /// Number of bytes removed.
    bytes: u64,
    /// Number of orphaned objects that could not be removed although the object store is available.
    left: u64,
    /// The first of these objects, and the error.
    first_left: Option<(Path, object_store::Error)>,
}

impl SweepOutcome {
    fn into_bytes(self) -> Result<u64> {
        let Some((key, error)) = self.first_left else { return Ok(self.bytes) };
        let message = format!("objects that no row names could not be removed: {}, such as {key}", self.left);
        Err(Error::caused(ErrorKind::Unavailable, message, error))
    }
}

impl Maintenance {
    async fn sweep_whole(&self) -> Result<SweepOutcome> {
        self.free_unreferenced_segments().await?;
        let written_before = self.core.now().plus_millis(-limits::ORPHAN_AGE_MS);
        let unfinished = self.core.remove_unfinished_objects(written_before).await?;
        let swept = self.sweep_folders(keys::FOLDERS.map(Path::from).into()).await?;
        Ok(SweepOutcome { bytes: swept.bytes + unfinished, ..swept })
    }

    /// Removes an object to which no row refers. Returns the error if the object store rejects the removal of this
    /// object, for example because it is locked.
    pub(crate) async fn remove_orphan(&self, key: &Path) -> Result<Option<object_store::Error>> {
        let error = match self.core.objects().delete(key).await {
            // Another process may have removed it first.
            Ok(()) | Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => error,
        };
        match is_object_error(self.core.objects(), &error).await {
            true => Ok(Some(error)),
            false => Err(error.into()),
        }
    }

    async fn sweep_folders(&self, folders: Vec<Path>) -> Result<SweepOutcome> {
        let now = self.core.earliest_now().await?.as_millis();
        // The row is deleted first, because a row must never refer to an object that no longer exists.
        sqlx::query("DELETE FROM page_files WHERE keep_until < $1")
            .bind(now)
            .execute(self.core.catalog().write())
            .await?;
        // An expired token is kept for a day, so that calls with it are answered with `Expired`.
        sqlx::query("DELETE FROM page_tokens WHERE expires_at < $1")
            .bind(now - 24 * 3_600_000)
            .execute(self.core.catalog().write())
            .await?;
        Accounts::new(&self.core).sweep_sessions().await?;
        self.delete_expired_batch_ids().await?;
        self.core.intents().expire_intents().await?;
        self.finish_deletions().await?;
        let mut swept = SweepOutcome { bytes: self.sweep_replaced().await?, ..SweepOutcome::default() };
        for folder in folders {
            let mut objects = listed(self.core.objects(), &folder).try_chunks(limits::OBJECT_LOOKUP_BATCH);
            while let Some(some) = objects.try_next().await.map_err(|stopped| stopped.1)? {
                for object in self.orphans(some).await? {
                    let refused = self.remove_orphan(&object.location).await?;
                    match refused {
                        None => swept.bytes += object.size,
                        Some(error) => {
                            swept.left += 1;
                            swept.first_left.get_or_insert((object.location, error));
                        }
                    }
                }
            }
        }
        Ok(swept)
    }

    /// Deletes IDs of batches that are so old that they will not be sent again.
    async fn delete_expired_batch_ids(&self) -> Result<()> {
        let before = self.core.earliest_now().await?.as_millis() - limits::BATCH_ID_RETENTION_MS;
        let forgetting = || {
            sqlx::query(
                "DELETE FROM batches WHERE (run_id, batch_id) IN
                    (SELECT run_id, batch_id FROM batches WHERE stored_at < $1 LIMIT $2)",
            )
            .bind(before)
            .bind(limits::ROWS_CHANGED_TOGETHER)
            .execute(self.core.catalog().write())
        };
        changed_in_parts(forgetting).await.map(drop)
    }

    /// Marks segments without slices as replaced. They can remain unmarked if two nodes remove the last slices of a
    /// segment at the same time, because each node still sees the slices that the other one removes.
    async fn free_unreferenced_segments(&self) -> Result<()> {
        let now = self.core.earliest_now().await?.as_millis();
        let mut after = String::new();
        loop {
            let some: Vec<(String, i64)> = sqlx::query_as(
                "SELECT g.id, CAST(CASE WHEN g.replaced_at IS NULL AND g.created_at < $2 AND NOT EXISTS (
                                       SELECT 1 FROM slices s WHERE s.segment_id = g.id) THEN 1 ELSE 0 END AS BIGINT)
                 FROM segments g WHERE g.id > $1 ORDER BY g.id LIMIT $3",
            )
            .bind(&after)
            .bind(now - limits::REPLACED_RETENTION_MS)
            .bind(limits::VIEW_ROWS_BATCH)
            .fetch_all(self.core.catalog().read())
            .await?;
            let Some((last, _)) = some.last() else { return Ok(()) };
            after.clone_from(last);
            let unreferenced: Vec<String> =
                some.into_iter().filter(|(_, is_unnamed)| *is_unnamed != 0).map(|(id, _)| id).collect();
            if !unreferenced.is_empty() {
                self.core
                    .transact(|transaction| async {
                        let mut transaction = transaction;
                        free_segments(&mut transaction, &unreferenced, now).await?;
                        transaction.commit().await
                    })
                    .await?;
            }
        }
    }

    /// Removes segments that were replaced some time ago and have no slices, and objects of lakehouse tables that were
    /// replaced some time ago. Returns the number of bytes removed.
    async fn sweep_replaced(&self) -> Result<u64> {
        let segments = self.delete_replaced(
            "DELETE FROM segments WHERE id IN (
                 SELECT id FROM segments g WHERE replaced_at < $1
                        AND NOT EXISTS (SELECT 1 FROM slices s WHERE s.segment_id = g.id) LIMIT 256)
             RETURNING object_key, bytes",
        );
        let lake_objects = self.delete_replaced(
            "DELETE FROM lake_objects WHERE object_key IN (
                 SELECT object_key FROM lake_objects WHERE replaced_at < $1 LIMIT 256)
             RETURNING object_key, bytes",
        );
        Ok(segments.await? + lake_objects.await?)
    }

    /// Deletes rows that were replaced some time ago, and then their objects, until none are left. `deleting` deletes
    /// some of the rows that were replaced before a time, and returns their objects and lengths. The objects are
    /// recorded for removal in the same transaction, so that their records are not reported as lost if the process ends
    /// before the objects are removed.
    async fn delete_replaced(&self, deleting: &'static str) -> Result<u64> {
        let before = self.core.earliest_now().await?.as_millis() - limits::REPLACED_RETENTION_MS;
        let mut bytes_freed = 0;
        loop {
            let removed = self.core.transact(|transaction| async {
                let mut transaction = transaction;
                let replaced: Vec<(String, i64)> =
                    sqlx::query_as(deleting).bind(before).fetch_all(&mut *transaction).await?;
                record_deletions(&mut transaction, &replaced).await?;
                transaction.commit().await?;
                Ok(replaced)
            });
            let replaced = removed.await?;
            if replaced.is_empty() {
                return Ok(bytes_freed);
            }
            bytes_freed += self.remove_deleted(replaced).await;
        }
    }
}
