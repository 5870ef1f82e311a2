//! The CAs that the client trusts for HTTPS, and the certificate that it presents to services that require one.

use crate::error::{Error, ErrorKind, Result};

/// Authorities that are trusted besides those of the machine, and the client's own certificate. Default: neither.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    authorities: Vec<reqwest::Certificate>,
    identity: Option<reqwest::Identity>,
}

impl TlsSettings {
    /// Reads PEM: the certificates of authorities; and the client's certificate, with its private key.
    pub fn from_pem(authorities: Option<&[u8]>, identity: Option<&[u8]>) -> Result<Self> {
        let unreadable = |what: &str, error: reqwest::Error| {
            Error::caused(ErrorKind::Invalid, format!("{what} cannot be parsed as PEM"), error)
        };
        let read = |pem: &[u8]| -> Result<Vec<reqwest::Certificate>> {
            let certificates =
                reqwest::Certificate::from_pem_bundle(pem).map_err(|error| unreadable("the CA certificates", error))?;
            match certificates.is_empty() {
                true => Err(Error::new(ErrorKind::Invalid, "the file contains no CA certificate in PEM format")),
                false => Ok(certificates),
            }
        };
        let authorities = authorities.map(read).transpose()?.unwrap_or_default();
        let identity = identity
            .map(reqwest::Identity::from_pem)
            .transpose()
            .map_err(|error| unreadable("the client certificate with its private key", error))?;
        Ok(Self { authorities, identity })
    }

    /// Begins a client of HTTP that keeps to them.
    pub(super) fn begin(&self) -> reqwest::ClientBuilder {
        let mut http = reqwest::Client::builder();
        // Certificates are only merged where there are some: otherwise the machine's own verifier is left as it is.
        if !self.authorities.is_empty() {
            http = http.tls_certs_merge(self.authorities.iter().cloned());
        }
        match &self.identity {
            Some(identity) => http.identity(identity.clone()),
            None => http,
        }
    }
}
