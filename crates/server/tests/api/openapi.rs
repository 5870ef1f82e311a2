//! The service's description of itself.

use crate::support::{Ask, Stage};
use axum::http::Method;

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

#[tokio::test]
async fn the_kept_description_is_the_one_that_is_served() {
    let stage = Stage::new().await;
    let served = stage.send(Method::GET, "/openapi.json", Ask::with(&[])).await.text();
    if std::env::var_os("RUNLOG_KEEP_OPENAPI").is_some() {
        std::fs::write(KEPT, &served).unwrap();
    }
    let kept = std::fs::read_to_string(KEPT).unwrap();
    assert!(kept == served, "docs/openapi.json is not what the handlers say; make it anew with `make openapi`");
}

#[tokio::test]
async fn every_route_is_described_once_with_how_it_refuses() {
    let document: serde_json::Value = serde_json::from_str(&runlog_server::document_text()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = std::collections::HashSet::new();
    for route in runlog_server::routes() {
        let method = route.method.as_str().to_ascii_lowercase();
        let operation = &document["paths"][&route.path][&method];
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {} is not there", route.path));
        assert!(ids.insert(id.to_owned()), "{id} twice");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{id} says nothing");
        let refuses = |status: &str| operation["responses"][status]["content"]["application/json"].is_object();
        assert!(refuses("500"), "{id}");
        let needs_token = matches!(route.access, runlog_server::Access::Token | runlog_server::Access::Administrator);
        let trades = matches!(route.access, runlog_server::Access::ClientSecret | runlog_server::Access::TokenInBody);
        assert_eq!(refuses("429"), needs_token || trades, "{id}");
    }
}

#[tokio::test]
async fn the_page_to_look_at_it_loads_nothing_from_elsewhere() {
    let stage = Stage::new().await;
    let page = stage.send(Method::GET, "/docs/index.html", Ask::with(&[])).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; script-src 'self'"));
    let parts = page.text();
    let parts: Vec<&str> = parts.split('"').filter(|part| part.ends_with(".js") || part.ends_with(".css")).collect();
    assert!(!parts.is_empty());
    for part in parts {
        assert!(!part.contains("//"), "{part}");
        let part = stage.send(Method::GET, &format!("/docs/{}", part.trim_start_matches("./")), Ask::with(&[])).await;
        assert_eq!(part.status, 200);
    }
    stage.send(Method::GET, "/docs/nothing.js", Ask::with(&[])).await.is_error(404, &["/docs"]);
}
