//! Secrets, which settings name and do not hold.

use std::error::Error as StdError;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use super::error::SettingsError;

/// Where a secret comes from.
// What stands there instead is not shown: it may be the secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "a secret is given as { env = \"…\" }, { file = \"…\" } or { command = \"…\" }, never itself"
)]
pub enum SecretSource {
    /// A variable that holds it.
    Environment(FromEnvironment),
    /// A file that holds it.
    File(FromFile),
    /// A command that prints it.
    Command(FromCommand),
}

/// A variable that holds a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromEnvironment {
    /// Its name.
    pub env: String,
}

/// A file that holds a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromFile {
    /// Its path.
    pub file: PathBuf,
}

/// A command that prints a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromCommand {
    /// What the shell is given.
    pub command: String,
}

/// A text that stands in the settings, or a secret that they name.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum TextOrSecret {
    /// The text itself.
    Text(String),
    /// Where it comes from.
    Secret(SecretSource),
}

/// Reads secrets from where the settings say they are.
pub trait SecretReader {
    /// The secret, which is `what`, such as `sink loki: token`. Errors name it and where it should have come from, and
    /// never what came.
    fn read(&self, source: &SecretSource, what: &str) -> Result<SecretString, Box<dyn StdError + Send + Sync>>;
}

impl TextOrSecret {
    /// The text, or the secret.
    pub fn read(&self, secrets: &dyn SecretReader, what: &str) -> Result<SecretString, SettingsError> {
        match self {
            Self::Text(text) => Ok(SecretString::from(text.clone())),
            Self::Secret(source) => secrets.read(source, what).map_err(SettingsError::Secret),
        }
    }
}
