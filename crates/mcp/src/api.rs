//! Requests of tools to a Runlog service.

use std::fmt;

use bytes::Bytes;

/// A request that only reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// `GET` of a path, in parts that are not percent-encoded, with query parameters.
    Get {
        /// The parts of the path, such as `runlog`, `v1`, `runs`.
        path: Vec<String>,
        /// Names and values.
        query: Vec<(&'static str, String)>,
    },
    /// `POST /runlog/v1/sql`, answered as NDJSON.
    Sql {
        /// One SQL query.
        query: String,
    },
}

impl Question {
    /// `GET` of a path.
    pub(crate) fn get(path: &[&str], query: Vec<(&'static str, String)>) -> Self {
        Self::Get { path: path.iter().map(|part| (*part).to_owned()).collect(), query }
    }
}

/// The body of a successful response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The beginning of the body, up to the requested number of bytes.
    pub body: Bytes,
    /// True if the response is longer, or was interrupted.
    pub is_cut: bool,
}

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What the caller can do.
    pub kind: RefusalKind,
    /// What happened.
    pub message: String,
}

/// What the caller of a failed request can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// Change the arguments.
    Invalid,
    /// Give a valid token.
    Unauthorized,
    /// Obtain the missing right.
    Forbidden,
    /// Use another object: this one does not exist.
    NotFound,
    /// Try again later.
    Unavailable,
}

impl Refusal {
    /// A refusal.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Invalid, message)
    }

    /// Creates the error for a response that cannot be parsed.
    pub(crate) fn not_understood() -> Self {
        Self::new(
            RefusalKind::Unavailable,
            "the service responded in an unknown format; it may be a version that does not fit this program",
        )
    }

    /// What to do next, as a sentence.
    pub(crate) fn advice(&self) -> &'static str {
        match self.kind {
            RefusalKind::Invalid => "Correct the arguments and call the tool again.",
            RefusalKind::Unauthorized => {
                "The token is missing, invalid or revoked: the user has to give a valid one in the settings of the client."
            }
            RefusalKind::Forbidden => {
                "The owner of the token lacks the right. Do not retry; tell the user, who may ask an administrator for it."
            }
            RefusalKind::NotFound => "Check the ID or name; find_runs and find_problems list what you may read.",
            RefusalKind::Unavailable => "Nothing was changed. Wait a few seconds and call the tool again.",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}

/// Access to a Runlog service on behalf of a caller.
pub trait Api: Send + Sync {
    /// Sends a request, and returns at most so many bytes of the response.
    fn ask(&self, question: Question, bytes_max: usize) -> impl Future<Output = Result<Answer, Refusal>> + Send;

    /// The address of the web UI, without a slash at the end; none if it is unknown.
    fn web_url(&self) -> Option<String>;
}
