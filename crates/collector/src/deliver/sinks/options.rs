//! Settings that several kinds of sinks share.

use std::collections::BTreeMap;
use std::path::PathBuf;

use runlog_model::record::Severity;
use serde::Deserialize;
use url::Url;

use crate::settings::{SecretSource, TextOrSecret, Time};

/// Settings that kinds of sinks share; each kind says which of them it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// [`RecordOptions`].
    Records,
    /// [`HttpOptions`].
    Http,
    /// [`LoginOptions`].
    Login,
}

/// Of sinks that take records.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct RecordOptions {
    /// The least severity of a record.
    pub(crate) severity: Option<Severity>,
    pub(crate) batch_records: Option<usize>,
    /// Unit: bytes, before compression.
    pub(crate) batch_bytes: Option<usize>,
}

/// Of sinks that speak HTTP.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct HttpOptions {
    pub(crate) url: Option<Url>,
    pub(crate) headers: Option<BTreeMap<String, TextOrSecret>>,
    pub(crate) gzip: Option<bool>,
    /// How long a request may take.
    pub(crate) timeout: Option<Time>,
    /// Certificates, PEM, that are trusted besides those of the machine.
    pub(crate) authorities: Option<PathBuf>,
    /// A certificate with its private key, PEM, for a destination that asks who calls.
    pub(crate) client_certificate: Option<SecretSource>,
}

/// Of sinks that let in whoever has a token, or a user and a password.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct LoginOptions {
    pub(crate) token: Option<SecretSource>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<SecretSource>,
}
