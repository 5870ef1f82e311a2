//! The service with TLS, with and without client certificates.

use std::net::TcpListener;
use std::path::Path;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use runlog_server::{ServerSettings, TlsFiles, serve};
use tokio_util::sync::CancellationToken;

use crate::support::Stage;

fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A CA, and a certificate for `localhost` that it has signed.
pub(crate) struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(["authority".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        Self { authority, certificate, key }
    }

    /// The files of a service that requires no client certificate.
    pub(crate) fn files(&self, folder: &Path) -> TlsFiles {
        TlsFiles {
            certificate: write(folder, "cert.pem", &self.certificate.pem()),
            key: write(folder, "key.pem", &self.key.serialize_pem()),
            client_authorities: None,
        }
    }

    /// A client that trusts only this CA.
    pub(crate) fn client(&self) -> reqwest::ClientBuilder {
        let authority = reqwest::Certificate::from_pem(self.authority.pem().as_bytes()).unwrap();
        reqwest::Client::builder().no_proxy().tls_certs_only([authority])
    }
}

#[tokio::test]
async fn links_are_https_and_clients_need_a_certificate() {
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::new();
    let authorities = write(folder.path(), "authority.pem", &certificates.authority.pem());
    let tls = TlsFiles { client_authorities: Some(authorities), ..certificates.files(folder.path()) };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/healthz", listener.local_addr().unwrap().port());
    let stop = CancellationToken::new();
    let settings = ServerSettings { tls: Some(tls), ..ServerSettings::default() };
    let service = tokio::spawn(serve(
        listener,
        stage.store.clone(),
        settings,
        stage.clock.clone(),
        stage.random.clone(),
        stop.clone(),
    ));

    assert!(certificates.client().build().unwrap().get(&url).send().await.is_err(), "a client without a certificate");
    let identity = format!("{}{}", certificates.certificate.pem(), certificates.key.serialize_pem());
    let known =
        certificates.client().identity(reqwest::Identity::from_pem(identity.as_bytes()).unwrap()).build().unwrap();
    assert_eq!(known.get(&url).send().await.unwrap().text().await.unwrap(), "ok\n");
    drop(known);
    stop.cancel();
    service.await.unwrap().unwrap();
}
