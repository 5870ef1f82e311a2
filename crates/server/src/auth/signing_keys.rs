//! The keys that sign tokens and links: read from the archive and refreshed periodically, so that every node signs with
//! the newest and verifies with any.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use runlog_model::{Clock, Timestamp};
use runlog_store::accounts::{SigningKey, SigningKeys};

use crate::http::error::{ApiError, ApiResult};
use crate::limits;

/// The purpose of the keys of access tokens.
pub(crate) const ACCESS_TOKENS: &str = "access-tokens";

/// The purpose of the keys of links.
pub(crate) const LINKS: &str = "links";

/// The keys of one purpose.
pub(crate) struct KeyRing {
    purpose: &'static str,
    stored: SigningKeys,
    clock: Arc<dyn Clock>,
    known: Mutex<CachedKeys>,
}

struct CachedKeys {
    /// Newest first.
    keys: Arc<Vec<SigningKey>>,
    looked_at: Timestamp,
}

impl KeyRing {
    pub(crate) async fn open(
        purpose: &'static str,
        stored: SigningKeys,
        clock: Arc<dyn Clock>,
    ) -> runlog_store::Result<Self> {
        let keys = Arc::new(stored.list(purpose).await?);
        let known = Mutex::new(CachedKeys { keys, looked_at: clock.now() });
        Ok(Self { purpose, stored, clock, known })
    }

    /// The key for signing.
    pub(crate) async fn newest(&self) -> ApiResult<SigningKey> {
        let known = self.no_older_than(limits::KEYS_REFRESH_MS).await?;
        let newest = known.first().cloned();
        newest.ok_or_else(|| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the keys are being rotated; try again"))
    }

    /// The key with this ID. An unknown key may have been created by another node; a key that was revoked through
    /// another node is refused within a minute.
    pub(crate) async fn by_id(&self, id: &str) -> runlog_store::Result<Option<SigningKey>> {
        let find = |keys: &[SigningKey]| keys.iter().find(|key| key.id == id).cloned();
        match find(&self.no_older_than(limits::KEYS_REFRESH_MS).await?) {
            Some(key) => Ok(Some(key)),
            None => Ok(find(&self.no_older_than(limits::KEYS_RETRY_MS).await?)),
        }
    }

    /// Reads the keys again after a change through this node.
    pub(crate) async fn refresh(&self) -> runlog_store::Result<()> {
        self.no_older_than(-1).await.map(|_| ())
    }

    async fn no_older_than(&self, ms: i64) -> runlog_store::Result<Arc<Vec<SigningKey>>> {
        let now = self.clock.now();
        {
            let known = self.lock();
            if (0..=ms).contains(&now.millis_since(known.looked_at)) {
                return Ok(Arc::clone(&known.keys));
            }
        }
        let keys = Arc::new(self.stored.list(self.purpose).await?);
        *self.lock() = CachedKeys { keys: Arc::clone(&keys), looked_at: now };
        Ok(keys)
    }

    fn lock(&self) -> MutexGuard<'_, CachedKeys> {
        // No code between locking and unlocking can panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
