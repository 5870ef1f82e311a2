//! The service behind a proxy: the audit log contains the client address, however the proxy passes it on.

use std::net::SocketAddr;

use reqwest::Client;
use runlog_server::{ClientAddressSource, Proxies, ServerSettings, TlsFiles};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Live, Stage};
use crate::tls::Certificates;

const CLIENT: &str = "198.51.100.7";

fn behind(client_address_source: ClientAddressSource, tls: Option<TlsFiles>) -> ServerSettings {
    let proxies = Proxies { trusted: vec!["127.0.0.0/8".parse().unwrap()], client_address_source };
    ServerSettings { proxies, tls, ..ServerSettings::default() }
}

/// A proxy that starts each connection with the PROXY protocol, and then forwards bytes.
async fn proxy_before(service: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut service = TcpStream::connect(service).await.unwrap();
                let line = format!("PROXY TCP4 {CLIENT} 127.0.0.1 56324 443\r\n");
                service.write_all(line.as_bytes()).await.unwrap();
                tokio::io::copy_bidirectional(&mut client, &mut service).await
            });
        }
    });
    address
}

/// The client address in the audit entry of a created user.
async fn audited_address(stage: &Stage, client: &Client, url: &str, header: Option<(&str, &str)>) -> String {
    let mut request = client.post(format!("{url}/runlog/v1/users")).bearer_auth(&stage.admin);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let answer = request.json(&json!({ "name": "somebody" })).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    let page: Value = stage.get("/runlog/v1/audit").await.json();
    let entries = page["items"].as_array().unwrap();
    let made =
        entries.iter().find(|entry| entry["subject"].as_str().is_some_and(|subject| !subject.is_empty())).unwrap();
    made["address"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_header_of_the_proxy_names_the_client() {
    let stage = Stage::new().await;
    let live = Live::start(&stage, behind(ClientAddressSource::XForwardedFor, None));
    let client = Client::builder().no_proxy().build().unwrap();
    let header = Some(("x-forwarded-for", CLIENT));
    assert_eq!(audited_address(&stage, &client, &format!("http://{}", live.address), header).await, CLIENT);
}

#[tokio::test]
async fn the_proxy_protocol_names_the_client() {
    let stage = Stage::new().await;
    let live = Live::start(&stage, behind(ClientAddressSource::ProxyProtocol, None));
    let proxy = proxy_before(live.address).await;
    let client = Client::builder().no_proxy().build().unwrap();
    assert_eq!(audited_address(&stage, &client, &format!("http://{proxy}"), None).await, CLIENT);
}

#[tokio::test]
async fn the_proxy_protocol_comes_before_the_first_byte_of_tls() {
    let stage = Stage::new().await;
    let (folder, certificates) = (tempfile::tempdir().unwrap(), Certificates::new());
    let live = Live::start(&stage, behind(ClientAddressSource::ProxyProtocol, Some(certificates.files(folder.path()))));
    let proxy = proxy_before(live.address).await;
    let client = certificates.client().build().unwrap();
    assert_eq!(audited_address(&stage, &client, &format!("https://localhost:{}", proxy.port()), None).await, CLIENT);
}
