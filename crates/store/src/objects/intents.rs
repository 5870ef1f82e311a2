//! Intents: records in the catalog of objects that are about to be written.
//!
//! The key of an object is recorded before the object is written. The transaction that adds the row of the object
//! removes its intent, and fails if the intent no longer exists. The sweep does not remove an object with an intent: it
//! converts an intent that was not renewed for a long time to a deletion, and then removes the object. Therefore, a row
//! never refers to an object that was swept, however long writing takes and however wrong the clocks are.

use std::collections::HashMap;
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
use crate::catalog::transaction::WriteTransaction;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::objects::keys;

/// The time of an intent whose commit the catalog may have lost. The intent is kept until a verification has compared
/// its object.
const SUSPECTED: i64 = 0;

/// Why an object with an intent is considered abandoned by its writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abandoned {
    /// The catalog has lost changes: the writer may have committed.
    Suspected,
    /// The writer has not renewed the intent for a long time.
    Old,
}

/// The intents of this node. Several are created in advance in one transaction, because each transaction waits for the
/// disk.
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
    /// Number of intents created by the last transaction.
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

    /// Returns the ID and the key of a segment to be written.
    pub(crate) async fn intend_segment(&self) -> Result<(Uuid, Path)> {
        let mut ahead = self.ahead.lock().await;
        let now = self.clock.node_now();
        let is_old = ahead.made_at.is_some_and(|at| now.millis_since(at).abs() > limits::INTENTS_UNUSED_MS);
        if is_old {
            let old: Vec<Path> = std::mem::take(&mut ahead.unused).into_iter().map(|(_, key)| key).collect();
            self.withdraw_intents(&old).await;
        }
        if ahead.unused.is_empty() {
            // The number grows with the rate of writes of this node.
            let count = if is_old { 1 } else { (2 * ahead.count).clamp(1, limits::INTENTS_AHEAD_MAX) };
            let made: Vec<(Uuid, Path)> =
                (0..count).map(|_| self.random.uuid()).map(|id| (id, keys::segment(id, now))).collect();
            self.intend(made.iter().map(|(_, key)| key)).await?;
            *ahead = Ahead { unused: made, made_at: Some(now), count };
        }
        ahead.unused.pop().ok_or_else(|| Error::corrupt("there is no intent for a segment"))
    }

    /// Discards the intents created in advance, so that the next segment gets a new one: they may have been swept.
    pub(crate) async fn discard_unused_intents(&self) {
        self.ahead.lock().await.unused.clear();
    }

    /// Records that objects are about to be written. Idempotent.
    pub(crate) async fn intend(&self, keys: impl IntoIterator<Item = &Path>) -> Result<()> {
        let now = self.clock.measured_now().await?.as_millis();
        let mut noting = Sql::new("INSERT INTO intents (object_key, renewed_at) VALUES ");
        for (index, key) in keys.into_iter().enumerate() {
            noting.push(if index == 0 { "(" } else { ", (" });
            noting.push_bind(key.to_string()).push(", ").push_bind(now).push(")");
        }
        noting.push(" ON CONFLICT (object_key) DO UPDATE SET renewed_at = excluded.renewed_at");
        noting.build_query().execute(self.catalog.write()).await?;
        Ok(())
    }

    /// Renews the intents of objects that are still being written. Returns false if an intent no longer exists, in
    /// which case the commit would fail.
    pub(crate) async fn renew_intents(&self, keys: &[Path]) -> Result<bool> {
        let now = self.clock.measured_now().await?.as_millis();
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

    /// Removes objects that will not be committed, and then their intents. Objects that cannot be removed are left to
    /// the sweep.
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
            if let Err(error) = self.cancel(some).await {
                warn!(%error, "intents of objects that no row names are left to the sweep");
            }
        }
    }

    /// Removes the intents of objects, if they exist. After that, the writers of the objects cannot commit them.
    pub(crate) async fn cancel(&self, keys: &[Path]) -> Result<()> {
        let mut cancelling = Sql::new("DELETE FROM intents WHERE object_key IN (");
        cancelling.push_list(keys.iter().map(Path::to_string)).push(")");
        cancelling.build_query().execute(self.catalog.write()).await?;
        Ok(())
    }

    /// Keeps all objects of records with an intent until a verification has compared them, because the catalog has lost
    /// changes, possibly their commits.
    pub(crate) async fn suspect_all(&self) -> Result<()> {
        let suspecting = "UPDATE intents SET renewed_at = $1 WHERE object_key LIKE $2 OR object_key LIKE $3";
        sqlx::query(suspecting)
            .bind(SUSPECTED)
            .bind(format!("{}/%", keys::SEGMENTS))
            .bind(format!("{}/%", keys::SEALED))
            .execute(self.catalog.write())
            .await?;
        Ok(())
    }

    /// Returns the abandoned ones of these objects according to their intents.
    pub(crate) async fn abandoned(&self, keys: impl Iterator<Item = String>) -> Result<HashMap<String, Abandoned>> {
        let before = self.clock.measured_now().await?.as_millis() - limits::INTENT_ABANDONED_MS;
        let mut query = Sql::new("SELECT object_key, renewed_at FROM intents WHERE renewed_at < ");
        query.push_bind(before).push(" AND object_key IN (").push_list(keys).push(")");
        let intents: Vec<(String, i64)> = query.build_query_as().fetch_all(self.catalog.read()).await?;
        let kind = |renewed_at| if renewed_at == SUSPECTED { Abandoned::Suspected } else { Abandoned::Old };
        Ok(intents.into_iter().map(|(key, renewed_at)| (key, kind(renewed_at))).collect())
    }

    /// Converts intents that were not renewed for a long time to deletions: their objects can no longer be committed,
    /// and their records are not reported as missing in logs. Returns the number of intents.
    pub(crate) async fn expire_intents(&self) -> Result<u64> {
        let before = self.clock.measured_now().await?.as_millis() - limits::ORPHAN_AGE_MS;
        let mut expired = 0;
        loop {
            let count =
                self.catalog.transact(self.random.as_ref(), |transaction| self.expire_some(transaction, before));
            match count.await? {
                0 => break,
                count => expired += count,
            }
        }
        if expired > 0 {
            info!(intents_count = expired, "incomplete objects are removed");
        }
        Ok(expired)
    }

    async fn expire_some(&self, mut transaction: WriteTransaction, before: i64) -> Result<u64> {
        let mut expiring =
            Sql::new("DELETE FROM intents WHERE object_key IN (SELECT object_key FROM intents WHERE renewed_at < ");
        expiring
            .push_bind(before)
            .push(" AND renewed_at > ")
            .push_bind(SUSPECTED)
            .push(" ORDER BY object_key LIMIT ")
            .push_bind(limits::GROUP_BATCHES_MAX.saturating_as::<i64>());
        expiring.push(self.catalog.skip_locked()).push(") RETURNING object_key");
        let keys: Vec<String> = expiring.build_query_scalar().fetch_all(&mut *transaction).await?;
        if keys.is_empty() {
            return Ok(0);
        }
        let count = keys.len() as u64;
        let mut noting = Sql::new("INSERT INTO deletions (object_key, bytes) VALUES ");
        for (index, key) in keys.into_iter().enumerate() {
            // The length is 0 because most of these objects were never written: their intents were created in advance
            // by a node that has ended.
            noting.push(if index == 0 { "(" } else { ", (" });
            noting.push_bind(key).push(", 0)");
        }
        noting.push(" ON CONFLICT (object_key) DO NOTHING");
        noting.build_query().execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(count)
    }
}

/// Removes the intents of objects whose rows are added by the same transaction. Returns false if an intent no longer
/// exists: the object may have been swept, and the transaction must not be committed.
pub(crate) async fn fulfil(connection: &mut Connection, keys: &[&Path]) -> Result<bool> {
    let mut found = 0;
    for some in keys.chunks(limits::GROUP_BATCHES_MAX) {
        let mut fulfilling = Sql::new("DELETE FROM intents WHERE object_key IN (");
        fulfilling.push_list(some.iter().map(ToString::to_string)).push(")");
        found += fulfilling.build_query().execute(&mut *connection).await?.rows_affected();
    }
    Ok(found == keys.len() as u64)
}

/// Returns the error for a writer whose intents no longer exist.
pub(crate) fn swept() -> Error {
    let hours = limits::ORPHAN_AGE_MS / 3_600_000;
    let message =
        format!("writing stalled for more than {hours} hours, and the written objects were swept: nothing is stored");
    Error::new(ErrorKind::Unavailable, message)
}
