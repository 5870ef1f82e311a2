//! What can be wrong with settings.

use std::error::Error as StdError;

/// Why settings do not work.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A setting is missing or wrong.
    #[error("{0}")]
    Invalid(String),
    /// A secret could not be read. Never holds the secret.
    #[error(transparent)]
    Secret(Box<dyn StdError + Send + Sync>),
    /// Files cannot be written where the settings say.
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
