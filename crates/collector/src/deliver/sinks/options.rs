//! Settings that several kinds of sinks have in common.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use runlog_model::record::Severity;
use serde::Deserialize;
use url::Url;

use crate::settings::{SecretSource, TextOrSecret, Time};

/// A group of settings; each kind of sink lists the groups that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// [`RecordOptions`].
    Records,
    /// [`HttpOptions`].
    Http,
    /// [`LoginOptions`].
    Login,
}

/// Settings of sinks that receive records.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct RecordOptions {
    /// The minimum severity of a record.
    pub(crate) severity: Option<Severity>,
    /// Whether the audit logs of tenants are delivered, too.
    #[serde(default)]
    pub(crate) audit_logs: bool,
    pub(crate) batch_records: Option<usize>,
    /// Unit: bytes, before compression.
    pub(crate) batch_bytes: Option<usize>,
}

/// Settings of sinks that use HTTP.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct HttpOptions {
    pub(crate) url: Option<Url>,
    pub(crate) headers: Option<BTreeMap<String, TextOrSecret>>,
    pub(crate) gzip: Option<bool>,
    /// Timeout of a request.
    pub(crate) timeout: Option<Time>,
    /// PEM file with authorities that are trusted in addition to those of the machine.
    pub(crate) authorities: Option<PathBuf>,
    /// The client's certificate with its private key, as PEM.
    pub(crate) client_certificate: Option<SecretSource>,
}

/// Settings of sinks that authenticate with a token, or with a user and a password.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct LoginOptions {
    pub(crate) token: Option<SecretSource>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<SecretSource>,
}

/// The age from which on records are not sent: that of the settings, where zero means no limit, or else the default.
pub(crate) fn age_limit(max_age: Option<Time>, usual: Duration) -> Option<Duration> {
    Some(max_age.map_or(usual, |time| time.0)).filter(|age| !age.is_zero())
}
