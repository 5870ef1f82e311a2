//! The API description of the service.

use axum::http::Method;
use serde_json::Value;

use crate::support::{Ask, RUN, Stage};

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
        let is_of_loki = |prefix: &&str| route.path.starts_with(*prefix);
        let is_plain_text = ["/loki/", "/api/prom/", "/prometheus/"].iter().any(is_of_loki);
        let media_type = if is_plain_text { "text/plain" } else { "application/json" };
        let refuses = |status: &str| operation["responses"][status]["content"][media_type].is_object();
        assert!(refuses("500"), "{id}");
        let schema = &operation["responses"]["500"]["content"][media_type]["schema"];
        match (is_plain_text, route.path.starts_with("/iceberg/")) {
            (true, _) => assert_eq!(schema["type"], "string", "{id}"),
            (_, true) => assert_eq!(schema["$ref"], "#/components/schemas/IcebergErrorBody", "{id}"),
            (_, false) => assert_eq!(schema["$ref"], "#/components/schemas/ErrorBody", "{id}"),
        }
        let needs_token = matches!(route.access, runlog_server::Access::Token | runlog_server::Access::Administrator);
        use runlog_server::Access::{ClientSecret, SignIn, TokenInBody};
        let trades = matches!(route.access, ClientSecret | TokenInBody | SignIn);
        assert_eq!(refuses("429"), needs_token || trades, "{id}");
    }
}

/// Links of doc comments and their line breaks mean nothing to those who read the description.
#[test]
fn texts_of_the_description_are_plain() {
    fn texts<'v>(value: &'v Value, found: &mut Vec<(&'v str, &'v str)>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(text) if name == "summary" || name == "description" => found.push((name, text)),
                        value => texts(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
            _ => {}
        }
    }
    let document: Value = serde_json::from_str(&runlog_server::document_text()).unwrap();
    let mut found = Vec::new();
    texts(&document, &mut found);
    assert!(found.len() > 1_000);
    for (name, text) in found {
        assert!(!text.contains("[`"), "a link of Rust: {text}");
        assert!(name != "summary" || text.trim() == text && !text.contains('\n'), "{text:?}");
    }
}

/// A value that a schema forbids; none if it allows every text.
fn forbidden(schema: &Value) -> Option<String> {
    let bound = |name: &str| schema[name].as_u64();
    match schema["type"].as_str()? {
        "array" => forbidden(&schema["items"]),
        "boolean" => Some("maybe".to_owned()),
        "integer" => Some(bound("maximum").map_or_else(|| "-1".to_owned(), |maximum| (maximum + 1).to_string())),
        _ if schema["enum"].is_array() || schema["format"].is_string() => Some("odd".to_owned()),
        // A value with a space matches none of the described patterns.
        _ if schema["pattern"].is_string() => Some("o%20dd".to_owned()),
        _ => schema["maxLength"].as_u64().map(|length| "x".repeat(usize::try_from(length).unwrap() + 1)),
    }
}

#[tokio::test]
async fn every_bound_of_a_query_parameter_that_is_described_is_enforced() {
    let stage = Stage::new().await;
    stage.start().await;
    let document: Value = serde_json::from_str(&runlog_server::document_text()).unwrap();
    let mut checked = 0;
    for route in runlog_server::routes().iter().filter(|route| route.access != runlog_server::Access::SignedLink) {
        let (task, workspace) = (stage.task.to_string(), stage.workspace.to_string());
        let path = route.path.replace("/tasks/{id}", &format!("/tasks/{task}"));
        let path = path.replace("/workspaces/{id}", &format!("/workspaces/{workspace}")).replace("{id}", RUN);
        let operation = &document["paths"][&route.path][&route.method.as_str().to_ascii_lowercase()];
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        for parameter in parameters.filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().unwrap();
            assert_ne!(parameter["description"], "", "{path}: {name}");
            if let Some(value) = forbidden(&parameter["schema"]) {
                let answer = stage.ask(route.method.clone(), &format!("{path}?{name}={value}"), "").await;
                assert_eq!(answer.status, 400, "{} {path}?{name}={value}: {}", route.method, answer.text());
                // Clients of Loki expect plain text.
                match route.path.starts_with("/loki/") {
                    true => assert!(answer.text().starts_with(&format!("{name}: ")), "{}", answer.text()),
                    false => answer.is_error(400, &[name]),
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 60, "{checked}");
}

/// Clients concatenate URLs. Those of service accounts were not found, nor were those at the top, such as `//healthz`.
#[tokio::test]
async fn every_path_of_the_api_is_found_with_doubled_and_trailing_slashes() {
    let stage = Stage::new().await;
    let mut checked = 0;
    // Clients of gRPC do not concatenate paths, and browsers load files of pages as the pages name them.
    let is_other = |path: &str| path.starts_with("/opentelemetry.") || path.starts_with("/docs/");
    let is_called_by_url = |path: &str| path != "/" && !is_other(path);
    for route in runlog_server::routes().iter().filter(|route| is_called_by_url(&route.path)) {
        let plain = stage.ask(Method::OPTIONS, &route.path, "").await;
        let allowed = plain.header("allow").to_owned();
        assert!(allowed.contains(route.method.as_str()), "{}: {} {allowed}", route.path, plain.status);
        let doubled = route.path.replace('/', "//");
        for path in [format!("{}/", route.path), format!("/{}", route.path), doubled] {
            let answer = stage.ask(Method::OPTIONS, &path, "").await;
            assert_eq!((answer.status, answer.header("allow")), (plain.status, &*allowed), "{path}");
        }
        checked += 1;
    }
    assert!(checked > 100, "{checked}");
}

#[tokio::test]
async fn the_api_page_loads_no_external_resources() {
    let stage = Stage::new().await;
    let page = stage.send(Method::GET, "/docs/index.html", Ask::with(&[])).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; script-src 'self'"));
    let parts = page.text();
    let parts: Vec<&str> = parts.split('"').filter(|part| part.ends_with(".js") || part.ends_with(".css")).collect();
    assert!(!parts.is_empty());
    for part in parts {
        assert!(!part.contains("//"), "{part}");
        // The choice of colours is shared with the web UI.
        let path = match part.strip_prefix("./") {
            Some(name) => format!("/docs/{name}"),
            None => part.to_owned(),
        };
        assert_eq!(stage.send(Method::GET, &path, Ask::with(&[])).await.status, 200, "{part}");
    }
    stage.send(Method::GET, "/docs/nothing.js", Ask::with(&[])).await.is_error(404, &["/docs"]);
}
