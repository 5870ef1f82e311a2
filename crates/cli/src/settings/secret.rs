//! Reads secrets from a variable, a file or a command.

use std::process::{Command, Stdio};

use anyhow::Context;
use runlog_client::TlsSettings;
use runlog_collector::settings::{SecretReader, SecretSource, SettingsError, TlsOptions};
use secrecy::SecretString;

use crate::exit::{Exit, Failure, Outcome};
use crate::system::environment;

/// Reads secrets from the environment, files and commands of this machine.
pub(super) struct Secrets;

impl SecretReader for Secrets {
    fn read(
        &self,
        source: &SecretSource,
        what: &str,
    ) -> Result<SecretString, Box<dyn std::error::Error + Send + Sync>> {
        read(source, what).map_err(|failure| failure.error.into())
    }
}

/// Reads a secret. Errors name its source and never contain its value.
pub(super) fn read(source: &SecretSource, what: &str) -> Outcome<SecretString> {
    let denied = |error: anyhow::Error| Failure { exit: Exit::Denied, error };
    let text = match source {
        SecretSource::Environment(from) => environment(&from.env)
            .ok_or_else(|| denied(anyhow::anyhow!("{what}: the variable {} is not set", from.env)))?,
        SecretSource::File(from) => std::fs::read_to_string(&from.file)
            .with_context(|| format!("{what}: cannot read {}", from.file.display()))
            .map_err(denied)?,
        SecretSource::Command(from) => {
            let output = Command::new("sh").arg("-c").arg(&from.command).stderr(Stdio::inherit()).output();
            let output = output.with_context(|| format!("{what}: cannot run its command")).map_err(denied)?;
            if !output.status.success() {
                return Err(denied(anyhow::anyhow!("{what}: its command ended with {}", output.status)));
            }
            String::from_utf8(output.stdout)
                .map_err(|_| denied(anyhow::anyhow!("{what}: the output of its command is not text")))?
        }
    };
    match text.trim() {
        "" => Err(denied(anyhow::anyhow!("{what} is empty"))),
        text => Ok(SecretString::from(text.to_owned())),
    }
}

/// Reads the certificates of an `owner`, such as `upstream eu`.
pub(super) fn read_tls(options: TlsOptions<'_>, owner: &str) -> Outcome<TlsSettings> {
    options.read(&Secrets, owner).map_err(|error| match error {
        SettingsError::Secret(error) => Failure { exit: Exit::Denied, error: anyhow::Error::from_boxed(error) },
        error => Failure::new(Exit::Usage, format!("{owner}: {error}")),
    })
}
