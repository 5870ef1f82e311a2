//! Errors of requests to a service, classified by how the caller reacts to them.

use std::error::Error as StdError;
use std::fmt;

/// A failed call. `Display` says what happened and where; the cause is in `source`. Never holds a secret.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    is_unreachable: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request or the settings are wrong: change them.
    Invalid,
    /// The credentials are not accepted: give others.
    Unauthorized,
    /// The credentials are known and lack a right: have it granted.
    Forbidden,
    /// The run, task or page does not exist on the service.
    NotFound,
    /// The service limits requests and kept doing so: try later, or at a slower pace.
    Limited,
    /// The service is unavailable, failing or slow: retry later.
    Unavailable,
    /// The service cannot read what it has stored: restore it there; the message names the object.
    Damaged,
    /// The service violated its contract: check what it sent.
    Protocol,
    /// A download was refused by our own rules: check the link, or widen the rule.
    Refused,
    /// A local file or folder could not be read or written: check the disk.
    Storage,
}

/// The result of every call of the client.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure without a cause below it.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), is_unreachable: false, source: None }
    }

    /// A failure with the cause that explains it.
    pub fn caused(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { kind, message: message.into(), is_unreachable: false, source: Some(source.into()) }
    }

    /// Returns the error, marked as caused by a failure to connect to the service.
    #[must_use]
    pub fn unreachable(mut self) -> Self {
        self.is_unreachable = true;
        self
    }

    /// True if no connection to the service could be established.
    pub fn is_unreachable(&self) -> bool {
        self.is_unreachable
    }

    /// What the caller does next.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
