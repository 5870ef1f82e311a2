//! Errors in settings.

use std::error::Error as StdError;

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A setting is missing or wrong.
    #[error("{0}")]
    Invalid(String),
    /// A secret cannot be read. The message does not contain it.
    #[error(transparent)]
    Secret(Box<dyn StdError + Send + Sync>),
    /// The folder or bucket for files cannot be used.
    #[error(transparent)]
    Files(#[from] runlog_store::Error),
}

impl From<String> for SettingsError {
    fn from(message: String) -> Self {
        Self::Invalid(message)
    }
}

impl From<&str> for SettingsError {
    fn from(message: &str) -> Self {
        Self::Invalid(message.to_owned())
    }
}
