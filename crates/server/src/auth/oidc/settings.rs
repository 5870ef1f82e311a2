//! The settings of sign-in with an identity provider.

use std::time::Duration;

use runlog_model::workspaces::Right;
use secrecy::SecretString;

/// Sign-in with an identity provider. Source: OpenID Connect Core 1.0 and Discovery 1.0.
#[derive(Debug, Clone)]
pub struct OidcSettings {
    /// The name of the provider, for the button in the web UI.
    pub name: String,
    /// The issuer, exactly as in its discovery document.
    pub issuer: String,
    /// The client ID under which Runlog is registered.
    pub client_id: String,
    /// The client secret; none for a public client.
    pub client_secret: Option<SecretString>,
    /// The scopes to request; `openid` is always among them.
    pub scopes: Vec<String>,
    /// The claim with the name of the user; none for the first of `preferred_username`, `email` and `sub`.
    pub name_claim: Option<String>,
    /// The claim that `groups` of a rule refers to.
    pub groups_claim: String,
    /// Which accounts have access, and what they may do; an account has the rights of all rules that match it.
    pub access: Vec<AccessRule>,
    /// Maximum lifetime of a session.
    pub session_life: Duration,
    /// Interval between checks of the account of a session.
    pub check_every: Duration,
    /// Time for which personal tokens of a user are accepted after the provider has last confirmed the account.
    pub token_life: Duration,
    /// The HTTP client for requests to the provider, with a time-out.
    pub http: reqwest::Client,
}

/// Accounts with these values in a claim have these rights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessRule {
    /// The claim: a name, or names separated by dots for a claim inside others.
    pub claim: String,
    /// The values, one of which the claim must have; `*` for any. The claim is a text or a list of texts.
    pub values: Vec<String>,
    /// True for all rights in all workspaces.
    pub administrator: bool,
    /// Only workspaces in these environments, by ID or name. Empty for all environments.
    pub environments: Vec<String>,
    /// The workspaces, by ID or name; `*` for all.
    pub workspaces: Vec<String>,
    /// The rights in these workspaces.
    pub rights: Vec<Right>,
}
