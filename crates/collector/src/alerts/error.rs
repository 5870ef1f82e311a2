//! What can go wrong with an alert.

/// Why an alert could not be sent, or looked for.
#[derive(Debug, thiserror::Error)]
pub enum AlertError {
    /// The archive is away.
    #[error("the archive did not respond")]
    Archive(#[from] runlog_store::Error),
    /// The destination did not take it.
    #[error("{0}")]
    Refused(String),
    /// What was to be sent could not be made.
    #[error("{0}")]
    Unsendable(String),
}
