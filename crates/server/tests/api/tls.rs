//! The service behind TLS, with and without certificates of clients.

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

#[tokio::test]
async fn links_are_https_and_clients_without_a_certificate_are_not_heard() {
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().unwrap();
    let authority = CertifiedIssuer::self_signed(
        CertificateParams::new(["authority".to_owned()])
            .map(|mut params| {
                params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
                params
            })
            .unwrap(),
        KeyPair::generate().unwrap(),
    )
    .unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let tls = TlsFiles {
        certificate: write(folder.path(), "cert.pem", &certificate.pem()),
        key: write(folder.path(), "key.pem", &key.serialize_pem()),
        client_authorities: Some(write(folder.path(), "authority.pem", &authority.pem())),
    };
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

    let client = || {
        let authority = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
        reqwest::Client::builder().no_proxy().tls_certs_only([authority])
    };
    assert!(client().build().unwrap().get(&url).send().await.is_err(), "a client without a certificate");
    let identity = format!("{}{}", certificate.pem(), key.serialize_pem());
    let known = client().identity(reqwest::Identity::from_pem(identity.as_bytes()).unwrap()).build().unwrap();
    assert_eq!(known.get(&url).send().await.unwrap().text().await.unwrap(), "ok\n");
    drop(known);
    stop.cancel();
    service.await.unwrap().unwrap();
}
