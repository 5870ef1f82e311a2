//! `[oidc]`: sign-in with an identity provider.

use std::path::PathBuf;
use std::time::Duration;

use runlog_client::HttpClientBuilder;
use runlog_collector::settings::{SecretSource, Time, TlsOptions};
use runlog_model::workspaces::Right;
use runlog_server::{AccessRule, OidcSettings};
use serde::Deserialize;
use url::Url;

use super::secret::{read, read_tls};
use crate::exit::{Exit, Failure, Outcome};

/// How long a request to the provider may take.
const TIME_MAX: Duration = Duration::from_secs(10);

/// The longest session, and the default. Sessions that were opened with a token last as long.
const SESSION_LIFE_MAX: Duration = Duration::from_secs(12 * 3_600);

/// How often the account of a session is checked, unless the settings say otherwise.
const CHECK_EVERY: Duration = Duration::from_secs(15 * 60);

/// How long personal tokens are accepted after the account was last confirmed, unless the settings say otherwise.
const TOKEN_LIFE: Duration = Duration::from_secs(7 * 86_400);

/// The identity provider.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OidcTable {
    issuer: String,
    client_id: String,
    client_secret: Option<SecretSource>,
    name: Option<String>,
    scopes: Option<Vec<String>>,
    name_claim: Option<String>,
    groups_claim: Option<String>,
    session: Option<Time>,
    check: Option<Time>,
    tokens: Option<Time>,
    authorities: Option<PathBuf>,
    client_certificate: Option<SecretSource>,
    #[serde(default)]
    access: Vec<AccessTable>,
}

/// A rule of access.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessTable {
    groups: Option<Vec<String>>,
    claim: Option<String>,
    values: Option<Vec<String>>,
    #[serde(default)]
    administrator: bool,
    #[serde(default)]
    environments: Vec<String>,
    #[serde(default)]
    workspaces: Vec<String>,
    #[serde(default)]
    rights: Vec<String>,
}

impl OidcTable {
    /// Errors that can be detected without asking the provider.
    pub(super) fn check(&self) -> Result<(), String> {
        let issuer: Url = self.issuer.parse().map_err(|error| format!("oidc.issuer is not a URL: {error}"))?;
        let is_loopback = match issuer.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if issuer.scheme() != "https" && !(issuer.scheme() == "http" && is_loopback) {
            return Err("oidc.issuer must start with https://".to_owned());
        }
        if issuer.query().is_some() || issuer.fragment().is_some() {
            return Err("oidc.issuer must be a URL without ? and #".to_owned());
        }
        if self.client_id.trim().is_empty() {
            return Err(
                "oidc.client_id is empty: set the ID under which Runlog is registered at the provider".to_owned()
            );
        }
        let life = |name: &str, time: Option<Time>, min: Duration, max: Duration| match time {
            Some(time) if time.0 < min || time.0 > max => {
                Err(format!("oidc.{name} must be between {} s and {} s", min.as_secs(), max.as_secs()))
            }
            _ => Ok(()),
        };
        let minute = Duration::from_secs(60);
        life("session", self.session, minute, SESSION_LIFE_MAX)?;
        life("check", self.check, minute, SESSION_LIFE_MAX)?;
        life("tokens", self.tokens, minute, Duration::from_secs(366 * 86_400))?;
        if self.access.is_empty() {
            let advice = "add [[oidc.access]] with groups = [\"…\"], workspaces = [\"*\"] and rights = [\"viewer\"]";
            return Err(format!("oidc has no access rule, so nobody could sign in: {advice}"));
        }
        for (index, access) in self.access.iter().enumerate() {
            access.rule("groups").map_err(|error| format!("oidc.access, rule {}: {error}", index + 1))?;
        }
        Ok(())
    }

    /// The settings of the service. Reads the secrets.
    pub(super) fn settings(&self) -> Outcome<OidcSettings> {
        let usage = |message: String| Failure::new(Exit::Usage, message);
        let tls = TlsOptions {
            authorities: self.authorities.as_deref(),
            client_certificate: self.client_certificate.as_ref(),
        };
        let http = HttpClientBuilder::new(&read_tls(tls, "oidc")?).timeout(TIME_MAX).build()?;
        let groups_claim = self.groups_claim.clone().unwrap_or_else(|| "groups".to_owned());
        let access = self.access.iter().map(|access| access.rule(&groups_claim)).collect::<Result<_, _>>();
        let mut scopes =
            self.scopes.clone().unwrap_or_else(|| ["openid", "profile", "email"].map(str::to_owned).to_vec());
        if !scopes.iter().any(|scope| scope == "openid") {
            scopes.insert(0, "openid".to_owned());
        }
        let host = self.issuer.parse::<Url>().ok().and_then(|url| url.host_str().map(str::to_owned));
        Ok(OidcSettings {
            name: self.name.clone().unwrap_or_else(|| host.unwrap_or_default()),
            issuer: self.issuer.clone(),
            client_id: self.client_id.trim().to_owned(),
            client_secret: self.client_secret.as_ref().map(|secret| read(secret, "oidc.client_secret")).transpose()?,
            scopes,
            name_claim: self.name_claim.clone(),
            groups_claim,
            access: access.map_err(|error| usage(format!("oidc.access: {error}")))?,
            session_life: self.session.map_or(SESSION_LIFE_MAX, |time| time.0),
            check_every: self.check.map_or(CHECK_EVERY, |time| time.0),
            token_life: self.tokens.map_or(TOKEN_LIFE, |time| time.0),
            http,
        })
    }
}

impl AccessTable {
    fn rule(&self, groups_claim: &str) -> Result<AccessRule, String> {
        let (claim, values) = match (&self.groups, &self.claim, &self.values) {
            (Some(groups), None, None) => (groups_claim, groups),
            (None, Some(claim), Some(values)) => (claim.as_str(), values),
            _ => return Err("set groups = [\"…\"], or claim = \"…\" and values = [\"…\"]".to_owned()),
        };
        if values.is_empty() {
            return Err("it names no group: nobody would match".to_owned());
        }
        let rights: Result<Vec<Right>, _> = self.rights.iter().map(|right| right.parse::<Right>()).collect();
        let rights = rights.map_err(|error| format!("rights: {error}"))?;
        if !self.administrator && (rights.is_empty() || self.workspaces.is_empty()) {
            return Err("set workspaces = [\"*\"] and rights = [\"viewer\"], or administrator = true".to_owned());
        }
        Ok(AccessRule {
            claim: claim.to_owned(),
            values: values.clone(),
            administrator: self.administrator,
            environments: self.environments.clone(),
            workspaces: self.workspaces.clone(),
            rights,
        })
    }
}
