//! Objects of records that readers found damaged or gone: recorded in the catalog, so that `/metrics` and `runlog doctor` of
//! every node tell of them until a verification finds them whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use runlog_model::Clock;
use tracing::{debug, warn};

use crate::catalog::pool::CatalogPool;
use crate::error::{Error, ErrorKind};
use crate::limits;

/// Notes damaged objects in the catalog, each once in a while.
#[derive(Clone)]
pub(crate) struct Damage {
    catalog: CatalogPool,
    clock: Arc<dyn Clock>,
    /// When an object was recorded last, by key.
    recorded: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl Damage {
    pub(crate) fn new(catalog: CatalogPool, clock: Arc<dyn Clock>) -> Self {
        Self { catalog, clock, recorded: Arc::default() }
    }

    /// Notes an object, when a reader failed because it is damaged or gone. Nobody waits for that.
    pub(crate) fn record(&self, key: &str, error: &Error) {
        if error.kind() != ErrorKind::Corrupt || !self.should_record(key) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (damage, key, problem) = (self.clone(), key.to_owned(), error.to_string());
        runtime.spawn(async move {
            let recorded = sqlx::query("UPDATE segments SET damaged_at = $2 WHERE object_key = $1")
                .bind(&key)
                .bind(damage.clock.now().as_millis())
                .execute(&damage.catalog)
                .await;
            match recorded {
                Ok(recorded) if recorded.rows_affected() == 0 => {
                    debug!(object.key = key, "a log was deleted while it was read")
                }
                Ok(_) => {
                    let next = "`runlog archive verify` tells which runs it holds";
                    warn!(object.key = key, problem, "an object of records is damaged or gone; {next}");
                }
                Err(error) => {
                    warn!(object.key = key, problem, %error, "an object is damaged or gone, and cannot be recorded so");
                    damage.recorded.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
                }
            }
        });
    }

    /// For tests that read damaged files without an archive.
    #[cfg(test)]
    pub(crate) fn unconnected() -> Self {
        struct Still;
        impl Clock for Still {
            fn now(&self) -> runlog_model::Timestamp {
                runlog_model::Timestamp::clamped(0)
            }
        }
        sqlx::any::install_default_drivers();
        let pool = sqlx::any::AnyPoolOptions::new().connect_lazy("sqlite::memory:").unwrap();
        Self::new(CatalogPool::for_writing(pool), Arc::new(Still))
    }

    /// True when the object was not recorded of late; then it is from now on.
    fn should_record(&self, key: &str) -> bool {
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        recorded.retain(|_, at| now.duration_since(*at) < Duration::from_millis(limits::DAMAGE_NOTED_MS));
        if recorded.len() >= limits::DAMAGE_NOTED_MAX || recorded.contains_key(key) {
            return false;
        }
        recorded.insert(key.to_owned(), now);
        true
    }
}
