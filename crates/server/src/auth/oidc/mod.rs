//! Sign-in with an identity provider (OpenID Connect): the authorisation code flow with PKCE for browsers, and the device
//! flow for `runlog login`.
//!
//! The ID token names the account; the rules of the settings map its claims to rights ([`access`]). A session keeps the
//! refresh token, encrypted with a key that only the browser's cookie yields, and the account is checked with it every
//! few minutes ([`check`]): the session ends when the provider refuses the refresh token.

pub(crate) mod access;
pub(crate) mod check;
pub(crate) mod id_token;
pub(crate) mod provider;
pub(crate) mod refresh_token;
pub(crate) mod settings;
pub(crate) mod sign_in;

use std::sync::Arc;

use runlog_model::Clock;
use tokio::sync::Mutex;

use crate::auth::oidc::provider::Provider;
use crate::auth::oidc::settings::OidcSettings;

/// Number of locks for checks of sessions; two sessions with the same lock are checked one after the other.
const CHECK_LOCKS: usize = 64;

/// Sign-in with an identity provider.
pub(crate) struct Oidc {
    settings: Arc<OidcSettings>,
    provider: Provider,
    /// A session is checked by one request at a time.
    checks: Vec<Mutex<()>>,
}

/// Reads the document and the keys of an identity provider. Returns what it offers; or why it cannot be used.
pub async fn test_identity_provider(settings: OidcSettings, clock: Arc<dyn Clock>) -> Result<String, String> {
    Provider::new(Arc::new(settings), clock).test().await.map_err(|error| error.to_string())
}

impl Oidc {
    pub(crate) fn new(settings: OidcSettings, clock: Arc<dyn Clock>) -> Self {
        let settings = Arc::new(settings);
        Self {
            provider: Provider::new(Arc::clone(&settings), clock),
            settings,
            checks: (0..CHECK_LOCKS).map(|_| Mutex::default()).collect(),
        }
    }

    pub(crate) fn settings(&self) -> &OidcSettings {
        &self.settings
    }

    pub(crate) fn provider(&self) -> &Provider {
        &self.provider
    }
}
