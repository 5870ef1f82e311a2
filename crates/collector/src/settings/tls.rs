//! Trusted authorities and client certificates.

use std::path::Path;

use runlog_client::TlsSettings;
use runlog_model::error_chain;
use secrecy::ExposeSecret;

use super::error::SettingsError;
use super::secret::{SecretReader, SecretSource};

/// `authorities` and `client_certificate` in the settings of an HTTPS client.
#[derive(Debug, Clone, Copy, Default)]
pub struct TlsOptions<'a> {
    /// PEM file with authorities that are trusted in addition to those of the machine.
    pub authorities: Option<&'a Path>,
    /// The client's certificate with its private key, as PEM.
    pub client_certificate: Option<&'a SecretSource>,
}

impl TlsOptions<'_> {
    /// Reads the certificates. Messages about secrets name their `owner`, such as `sink loki`.
    pub fn read(self, secrets: &dyn SecretReader, owner: &str) -> Result<TlsSettings, SettingsError> {
        let unreadable = |path: &Path, error: std::io::Error| {
            SettingsError::Invalid(format!("cannot read the authorities in {}: {error}", path.display()))
        };
        let authorities = self.authorities.map(|path| std::fs::read(path).map_err(|error| unreadable(path, error)));
        let what = format!("{owner}: client_certificate");
        let certificate = self.client_certificate.map(|source| secrets.read(source, &what));
        let certificate = certificate.transpose().map_err(SettingsError::Secret)?;
        let certificate = certificate.as_ref().map(|pem| pem.expose_secret().as_bytes());
        TlsSettings::from_pem(authorities.transpose()?.as_deref(), certificate).map_err(|error| {
            SettingsError::Invalid(format!("authorities and client_certificate name PEM: {}", error_chain(&error)))
        })
    }
}
