//! References to secrets. Settings never hold a secret itself.

use std::error::Error as StdError;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

/// The source of a secret.
// A value of another form is not shown: it may be the secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "a secret must be { env = \"…\" }, { file = \"…\" } or { command = \"…\" }, not the value itself"
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
    /// The command passed to the shell.
    pub command: String,
}

/// A text, or a reference to a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum TextOrSecret {
    /// The text itself.
    Text(String),
    /// Where it comes from.
    Secret(SecretSource),
}

/// Reads secrets from their sources.
pub trait SecretReader {
    /// Reads a secret. Errors contain `what` it is, such as `sink loki: token`, and its source, but never its value.
    fn read(&self, source: &SecretSource, what: &str) -> Result<SecretString, Box<dyn StdError + Send + Sync>>;
}

impl TextOrSecret {
    /// The text, or the secret that `read` reads from its source.
    pub fn read<E>(&self, read: impl FnOnce(&SecretSource) -> Result<SecretString, E>) -> Result<SecretString, E> {
        match self {
            Self::Text(text) => Ok(SecretString::from(text.clone())),
            Self::Secret(source) => read(source),
        }
    }
}
