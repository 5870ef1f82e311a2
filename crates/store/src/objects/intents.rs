//! Intents: before an object is written, its key is recorded in the catalog.
//!
//! The transaction that adds the row of an object removes its intent, and fails if the intent is gone. The sweep does
//! not touch an object with an intent; it removes an intent that was not renewed for long, and then the object. So a
//! row never names an object that was swept, however long the writing takes and whatever the clocks say.

use std::sync::Arc;

use az::SaturatingAs;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use runlog_model::{Random, Timestamp};
use tracing::{info, warn};
use uuid::Uuid;

use crate::catalog::clock::CatalogClock;
use crate::catalog::database::Catalog;
use crate::catalog::sql::{Connection, Sql};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::objects::keys;

/// Intents of this node. Several are made ahead in one transaction, because each transaction waits for the disk.
pub(crate) struct Intents {
    catalog: Catalog,
    clock: CatalogClock,
    objects: Arc<dyn ObjectStore>,
    random: Arc<dyn Random>,
    ahead: tokio::sync::Mutex<Ahead>,
}

#[derive(Debug, Default)]
struct Ahead {
    unused: Vec<(Uuid, Path)>,
    made_at: Option<Timestamp>,
    /// How many were made at a time, last.
    count: usize,
}

impl Intents {
    pub(crate) fn new(
        catalog: Catalog,
        clock: CatalogClock,
        objects: Arc<dyn ObjectStore>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self { catalog, clock, objects, random, ahead: tokio::sync::Mutex::default() }
    }

    /// The id and the key of a segment to be written.
    pub(crate) async fn intend_segment(&self) -> Result<(Uuid, Path)> {
        let mut ahead = self.ahead.lock().await;
        let now = self.clock.node_now();
        let is_old = ahead.made_at.is_some_and(|at| now.millis_since(at).abs() > limits::INTENTS_UNUSED_MS);
        if is_old {
            let old: Vec<Path> = std::mem::take(&mut ahead.unused).into_iter().map(|(_, key)| key).collect();
            self.withdraw_intents(&old).await;
        }
        if ahead.unused.is_empty() {
            // A node that writes little makes few, one that writes much makes many.
            let count = if is_old { 1 } else { (2 * ahead.count).clamp(1, limits::INTENTS_AHEAD_MAX) };
            let made: Vec<(Uuid, Path)> =
                (0..count).map(|_| self.random.uuid()).map(|id| (id, keys::segment(id, now))).collect();
            self.intend(made.iter().map(|(_, key)| key)).await?;
            *ahead = Ahead { unused: made, made_at: Some(now), count };
        }
        ahead.unused.pop().ok_or_else(|| Error::corrupt("there is no intent for a segment"))
    }

    /// Makes the next segment get a new intent: those that were made ahead may have been swept.
    pub(crate) async fn discard_unused_intents(&self) {
        self.ahead.lock().await.unused.clear();
    }

    /// Records that objects are about to be written. Idempotent.
    pub(crate) async fn intend(&self, keys: impl IntoIterator<Item = &Path>) -> Result<()> {
        let now = self.clock.now().await?.as_millis();
        let mut noting = Sql::new("INSERT INTO intents (object_key, renewed_at) VALUES ");
        for (index, key) in keys.into_iter().enumerate() {
            noting.push(if index == 0 { "(" } else { ", (" });
            noting.push_bind(key.to_string()).push(", ").push_bind(now).push(")");
        }
        noting.push(" ON CONFLICT (object_key) DO UPDATE SET renewed_at = excluded.renewed_at");
        noting.build_query().execute(self.catalog.write()).await?;
        Ok(())
    }

    /// Renews the intents of objects that are still being written. Returns false when one is gone: their commit would
    /// fail.
    pub(crate) async fn renew_intents(&self, keys: &[Path]) -> Result<bool> {
        let now = self.clock.now().await?.as_millis();
        let mut renewed = 0;
        for some in keys.chunks(limits::GROUP_BATCHES_MAX) {
            let mut renewing = Sql::new("UPDATE intents SET renewed_at = ");
            renewing
                .push_bind(now)
                .push(" WHERE object_key IN (")
                .push_list(some.iter().map(Path::to_string))
                .push(")");
            renewed += renewing.build_query().execute(self.catalog.write()).await?.rows_affected();
        }
        Ok(renewed == keys.len() as u64)
    }

    /// Removes objects that will not be committed, and then their intents. Failures are left to the sweep.
    pub(crate) async fn remove_uncommitted(&self, keys: &[Path]) {
        for key in keys {
            match self.objects.delete(key).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => warn!(%error, object.key = %key, "an object that no row names is left to the sweep"),
            }
        }
        self.withdraw_intents(keys).await;
    }

    async fn withdraw_intents(&self, keys: &[Path]) {
        for some in keys.chunks(limits::GROUP_BATCHES_MAX) {
            let mut withdrawing = Sql::new("DELETE FROM intents WHERE object_key IN (");
            withdrawing.push_list(some.iter().map(Path::to_string)).push(")");
            if let Err(error) = withdrawing.build_query().execute(self.catalog.write()).await {
                warn!(%error, "intents of objects that no row names are left to the sweep");
            }
        }
    }

    /// Removes the intents that were not renewed for long, and their objects. Returns how many.
    pub(crate) async fn sweep_intents(&self) -> Result<u64> {
        let before = self.clock.now().await?.as_millis() - limits::ORPHAN_AGE_MS;
        let mut swept = 0;
        loop {
            let mut sweeping =
                Sql::new("DELETE FROM intents WHERE object_key IN (SELECT object_key FROM intents WHERE renewed_at < ");
            sweeping
                .push_bind(before)
                .push(" ORDER BY object_key LIMIT ")
                .push_bind(limits::GROUP_BATCHES_MAX.saturating_as::<i64>());
            sweeping.push(self.catalog.skip_locked()).push(") RETURNING object_key");
            let keys: Vec<String> = sweeping.build_query_scalar().fetch_all(self.catalog.write()).await?;
            if keys.is_empty() {
                break;
            }
            for key in keys {
                match self.objects.delete(&Path::from(key.as_str())).await {
                    // Most were never written: they were made ahead by a node that has ended.
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => swept += 1,
                    Err(error) => {
                        warn!(%error, object.key = key, "an object that no row names is left to the next sweep")
                    }
                }
            }
        }
        if swept > 0 {
            info!(intents_count = swept, "objects whose writing was broken off were swept");
        }
        Ok(swept)
    }
}

/// Removes the intents of objects whose rows are added by the same transaction. Returns false when one is gone: the
/// object may be swept, and the transaction must not be committed.
pub(crate) async fn fulfil(connection: &mut Connection, keys: &[&Path]) -> Result<bool> {
    let mut found = 0;
    for some in keys.chunks(limits::GROUP_BATCHES_MAX) {
        let mut fulfilling = Sql::new("DELETE FROM intents WHERE object_key IN (");
        fulfilling.push_list(some.iter().map(ToString::to_string)).push(")");
        found += fulfilling.build_query().execute(&mut *connection).await?.rows_affected();
    }
    Ok(found == keys.len() as u64)
}

/// The error for a writer whose intents are gone.
pub(crate) fn swept() -> Error {
    let hours = limits::ORPHAN_AGE_MS / 3_600_000;
    let message = format!(
        "the writing stood still for over {hours} hours, and what was written was swept; nothing of it is stored"
    );
    Error::new(ErrorKind::Unavailable, message)
}
