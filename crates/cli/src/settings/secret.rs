//! Secrets, which settings name and do not hold.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context;
use secrecy::SecretString;
use serde::Deserialize;

use crate::exit::{Exit, Failure, Outcome};
use crate::system::environment;

/// Where a secret comes from.
// The given value is not shown, because it may be the secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "a secret must be { env = \"…\" }, { file = \"…\" } or { command = \"…\" }, not the value itself"
)]
pub(crate) enum Secret {
    Environment(FromEnvironment),
    File(FromFile),
    Command(FromCommand),
}

/// A variable that holds a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FromEnvironment {
    env: String,
}

/// A file that holds a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FromFile {
    file: PathBuf,
}

/// A command that prints a secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FromCommand {
    command: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum TextOrSecret {
    Text(String),
    Secret(Secret),
}

impl Secret {
    /// Reads the secret. Errors name where it should have come from, and never what came.
    pub(crate) fn read(&self, what: &str) -> Outcome<SecretString> {
        let denied = |error: anyhow::Error| Failure { exit: Exit::Denied, error };
        let text = match self {
            Self::Environment(FromEnvironment { env }) => environment(env)
                .ok_or_else(|| denied(anyhow::anyhow!("{what}: the environment variable {env} is not set")))?,
            Self::File(FromFile { file }) => std::fs::read_to_string(file)
                .with_context(|| format!("{what}: cannot read {}", file.display()))
                .map_err(denied)?,
            Self::Command(FromCommand { command }) => {
                let output = Command::new("sh").arg("-c").arg(command).stderr(Stdio::inherit()).output();
                let output = output.with_context(|| format!("{what}: cannot run its command")).map_err(denied)?;
                if !output.status.success() {
                    return Err(denied(anyhow::anyhow!("{what}: its command failed with {}", output.status)));
                }
                String::from_utf8(output.stdout)
                    .map_err(|_| denied(anyhow::anyhow!("{what}: the output of its command is not UTF-8")))?
            }
        };
        match text.trim() {
            "" => Err(denied(anyhow::anyhow!("{what} is empty"))),
            text => Ok(SecretString::from(text.to_owned())),
        }
    }
}
