//! The state of authentication and access control: the archive, the keys, the limits, and recently recorded reads.

use std::sync::Arc;
use std::time::Duration;

use runlog_model::{Clock, Random, Timestamp};
use runlog_store::Store;

use crate::auth::oidc::Oidc;
use crate::auth::oidc::settings::OidcSettings;
use crate::auth::rate_limit::{RateLimitSettings, RateLimits};
use crate::auth::recent_reads::RecentReads;
use crate::auth::signing_keys::{ACCESS_TOKENS, KeyRing, LINKS};
use crate::http::detached::DetachedTasks;

/// The settings of authentication.
#[derive(Debug, Clone)]
pub(crate) struct AuthSettings {
    /// The base URL for clients; none for that of the request.
    pub(crate) public_url: Option<String>,
    /// True if the service uses TLS itself.
    pub(crate) has_tls: bool,
    /// Lifetime of an access token. Unit: seconds.
    pub(crate) access_token_seconds: i64,
    /// Lifetime of a link. Unit: seconds.
    pub(crate) link_seconds: i64,
    /// The rate limits.
    pub(crate) rates: RateLimitSettings,
    /// Sign-in with an identity provider; none if it is not set up.
    pub(crate) oidc: Option<OidcSettings>,
}

/// The shared state of authentication. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Auth(Arc<Shared>);

struct Shared {
    store: Store,
    settings: AuthSettings,
    token_keys: KeyRing,
    link_keys: KeyRing,
    rate_limits: RateLimits,
    recent_reads: RecentReads,
    oidc: Option<Arc<Oidc>>,
    changes: DetachedTasks,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Auth {
    /// Reads the keys that sign tokens and links from the archive; they are the same on every node.
    pub(crate) async fn open(
        store: Store,
        settings: AuthSettings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> runlog_store::Result<Self> {
        let shared = Shared {
            token_keys: KeyRing::open(ACCESS_TOKENS, store.signing_keys().clone(), Arc::clone(&clock)).await?,
            link_keys: KeyRing::open(LINKS, store.signing_keys().clone(), Arc::clone(&clock)).await?,
            rate_limits: RateLimits::new(settings.rates, Arc::clone(&clock)),
            recent_reads: RecentReads::new(Arc::clone(&clock)),
            oidc: settings.oidc.clone().map(|oidc| Arc::new(Oidc::new(oidc, Arc::clone(&clock)))),
            changes: DetachedTasks::default(),
            store,
            settings,
            clock,
            random,
        };
        Ok(Self(Arc::new(shared)))
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn settings(&self) -> &AuthSettings {
        &self.0.settings
    }

    /// The keys of access tokens.
    pub(crate) fn token_keys(&self) -> &KeyRing {
        &self.0.token_keys
    }

    /// The keys of links.
    pub(crate) fn link_keys(&self) -> &KeyRing {
        &self.0.link_keys
    }

    pub(crate) fn rate_limits(&self) -> &RateLimits {
        &self.0.rate_limits
    }

    /// The recently recorded reads.
    pub(crate) fn recent_reads(&self) -> &RecentReads {
        &self.0.recent_reads
    }

    /// Sign-in with an identity provider; none if it is not set up.
    pub(crate) fn oidc(&self) -> Option<&Arc<Oidc>> {
        self.0.oidc.as_ref()
    }

    /// Changes in progress, some of them for clients that have disconnected.
    pub(crate) fn changes(&self) -> &DetachedTasks {
        &self.0.changes
    }

    pub(crate) fn random(&self) -> &dyn Random {
        self.0.random.as_ref()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The current time in seconds since 1970.
    pub(crate) fn now_seconds(&self) -> i64 {
        self.now().as_millis().div_euclid(1_000)
    }

    /// Lifetime of a link.
    pub(crate) fn link_time(&self) -> Duration {
        Duration::from_secs(self.0.settings.link_seconds.unsigned_abs())
    }
}
