//! Errors of alerts.

/// Why alerts could not be found or sent.
#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    /// The archive is unavailable.
    #[error("the archive did not respond")]
    Archive(#[from] runlog_store::Error),
    /// The destination did not accept the alert.
    #[error("{0}")]
    Refused(String),
    /// The message could not be created.
    #[error("{0}")]
    Unsendable(String),
}
