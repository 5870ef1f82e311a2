//! Errors of alerts.

use std::time::Duration;

/// Why alerts could not be found or sent.
#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    /// The archive is unavailable.
    #[error("the archive did not respond")]
    Archive(#[from] runlog_store::Error),
    /// The destination did not accept the alert; it is tried again.
    #[error("{0}")]
    Refused(String),
    /// The destination is unavailable or limits requests.
    #[error("{problem}")]
    Busy {
        /// The cause.
        problem: String,
        /// The pause requested by the destination.
        after: Option<Duration>,
    },
    /// The destination will never accept this message.
    #[error("{0}")]
    Rejected(String),
    /// The message could not be created.
    #[error("{0}")]
    Unsendable(String),
}
