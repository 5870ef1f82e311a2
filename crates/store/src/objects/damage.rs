//! Objects that were found damaged or missing when they were read. They are recorded in the catalog, so that `/metrics`
//! and `runlog doctor` of every node report them until a verification finds them intact.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runlog_model::Clock;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::catalog::pool::CatalogPool;
use crate::error::{Error, ErrorKind};
use crate::limits;

/// Records damaged objects in the catalog, each at most once a minute.
#[derive(Clone)]
pub(crate) struct Damage {
    catalog: CatalogPool,
    clock: Arc<dyn Clock>,
    /// When an object was last recorded, by key.
    recorded: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl Damage {
    pub(crate) fn new(catalog: CatalogPool, clock: Arc<dyn Clock>) -> Self {
        Self { catalog, clock, recorded: Arc::default() }
    }

    /// Records an object if the error means that it is damaged or missing. The catalog is written in the background.
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
                    let next = "`runlog archive verify` lists the runs in it";
                    warn!(object.key = key, problem, "an object with records is damaged or missing; {next}");
                }
                Err(error) => {
                    warn!(object.key = key, problem, %error, "a damaged or missing object could not be recorded");
                    damage.recorded.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
                }
            }
        });
    }

    /// Creates a recorder without a catalog, for tests that read damaged files without an archive.
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
        Self::new(CatalogPool::for_writing(pool, crate::limits::SQLITE_WAIT), Arc::new(Still))
    }

    /// Returns true if the object was not recorded recently, and marks it as recorded.
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
