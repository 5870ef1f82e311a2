//! What every handler is given: the archive, the settings, the keys, the clock.

use std::sync::Arc;

use runlog_model::{Clock, Random, Timestamp};
use runlog_store::Store;

use crate::auth::AccessTokens;
use crate::links::Links;
use crate::metrics::Metrics;
use crate::pace::Paces;
use crate::settings::ServerSettings;

/// Everything that handlers share. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Shared>);

struct Shared {
    store: Store,
    settings: ServerSettings,
    access_tokens: AccessTokens,
    links: Links,
    paces: Paces,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl App {
    /// Reads the keys that tokens and links are signed with from the archive; every node of it has the same.
    pub async fn new(
        store: Store,
        settings: ServerSettings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> runlog_store::Result<Self> {
        let access_tokens = AccessTokens::new(&store.signing_key("access-tokens").await?);
        let links = Links::new(store.signing_key("links").await?);
        let paces = Paces::new(settings.requests_per_second, settings.stranger_requests_per_second, Arc::clone(&clock));
        let metrics = Metrics::new();
        Ok(Self(Arc::new(Shared { store, settings, access_tokens, links, paces, metrics, clock, random })))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn settings(&self) -> &ServerSettings {
        &self.0.settings
    }

    pub(crate) fn access_tokens(&self) -> &AccessTokens {
        &self.0.access_tokens
    }

    pub(crate) fn links(&self) -> &Links {
        &self.0.links
    }

    pub(crate) fn paces(&self) -> &Paces {
        &self.0.paces
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn random(&self) -> &dyn Random {
        self.0.random.as_ref()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The present second since 1970.
    pub(crate) fn now_seconds(&self) -> i64 {
        self.now().as_millis().div_euclid(1_000)
    }
}
