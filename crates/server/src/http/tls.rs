//! TLS: the certificate of the service, which is reloaded when its files change, and optional client certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use axum_server::tls_rustls::RustlsConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::limits;

/// The protocols of the service.
pub(crate) const HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];

/// Clients do not negotiate a protocol.
pub(crate) const NO_PROTOCOL: &[&[u8]] = &[];

/// The PEM files of a certificate.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate with its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// CAs of client certificates; if set, a client without a valid certificate is rejected.
    pub client_authorities: Option<PathBuf>,
}

/// A certificate, a key or a CA that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {} for TLS: {what}", path.display())]
pub struct TlsError {
    path: PathBuf,
    what: String,
}

impl TlsFiles {
    /// Reads the files, for connections that speak one of these protocols.
    pub(crate) fn load(&self, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
        let certificates = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| wrong(&self.key, error))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&self.certificate, error))?;
        let builder = match &self.client_authorities {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut authorities = RootCertStore::empty();
                for authority in self::certificates(path)? {
                    authorities.add(authority).map_err(|error| wrong(path, error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| wrong(path, error))?)
            }
        };
        let mut config = builder.with_single_cert(certificates, key).map_err(|error| wrong(&self.key, error))?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// Reloads the files if one of them has changed. If they are invalid, this is logged, and the previous certificate
    /// remains in use.
    pub(crate) async fn keep_fresh(
        self,
        config: RustlsConfig,
        protocols: &'static [&'static [u8]],
        stop: CancellationToken,
    ) {
        let mut seen = self.changed_at();
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(limits::TLS_CHECK_INTERVAL) => {}
            }
            let changed = self.changed_at();
            if changed != seen {
                seen = changed;
                self.reload(&config, protocols);
            }
        }
    }

    fn reload(&self, config: &RustlsConfig, protocols: &[&[u8]]) {
        match self.load(protocols) {
            Ok(fresh) => {
                config.reload_from_config(fresh);
                info!("reloaded the certificate from {}", self.certificate.display());
            }
            Err(error) => warn!("{error}; the previous certificate stays in use"),
        }
    }

    fn changed_at(&self) -> Vec<Option<SystemTime>> {
        let files = [Some(&self.certificate), Some(&self.key), self.client_authorities.as_ref()];
        let time = |path: &PathBuf| std::fs::metadata(path).and_then(|file| file.modified()).ok();
        files.into_iter().flatten().map(time).collect()
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(path, error))?;
    let certificates = read.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(path, error))?;
    match certificates.is_empty() {
        true => Err(wrong(path, "it contains no certificate")),
        false => Ok(certificates),
    }
}

fn wrong(path: &Path, what: impl std::fmt::Display) -> TlsError {
    TlsError { path: path.to_owned(), what: what.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_changed_certificate_is_reloaded_and_an_invalid_one_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let make = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (first, second) = (make(), make());
        let files = TlsFiles {
            certificate: write(folder.path(), "cert.pem", &first.cert.pem()),
            key: write(folder.path(), "key.pem", &first.signing_key.serialize_pem()),
            client_authorities: None,
        };
        let config = RustlsConfig::from_config(files.load(HTTP).unwrap());
        let before = Arc::as_ptr(&config.get_inner());
        write(folder.path(), "cert.pem", "nonsense");
        files.reload(&config, HTTP);
        assert_eq!(Arc::as_ptr(&config.get_inner()), before);
        write(folder.path(), "cert.pem", &second.cert.pem());
        write(folder.path(), "key.pem", &second.signing_key.serialize_pem());
        files.reload(&config, HTTP);
        assert_ne!(Arc::as_ptr(&config.get_inner()), before);
    }

    #[test]
    fn an_invalid_tls_file_is_reported_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = write(folder.path(), "cert.pem", &made.cert.pem());
        let files = TlsFiles { certificate, key: folder.path().join("missing.pem"), client_authorities: None };
        let error = files.load(HTTP).unwrap_err().to_string();
        assert!(error.contains("missing.pem"), "{error}");
    }
}
