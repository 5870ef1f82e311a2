//! The OpenAPI 3.1 description of the service, generated from its handlers. It is the same on every node.

use utoipa::PartialSchema;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, Info, License, OpenApi, OpenApiBuilder, Paths, Ref, RefOr, ResponseBuilder,
};

use runlog_model::wire::ErrorBody;

use crate::http::request::{IcebergErrorBody, is_of_iceberg, is_of_loki};
use crate::routes::{Access, Route, routes};

/// The groups of the API, in the order of the description.
const TAGS: [(&str, &str); 19] = [
    ("run logs", "Pages of a log as files, and live: the run-log API of Talend Cloud"),
    ("runs", "Executions of tasks"),
    ("plans", "Plans and their executions, as upstreams describe them, or derived from runs"),
    ("history", "Search of runs and plan executions"),
    ("workspaces", "Environments, workspaces, tasks"),
    ("sign-in", "Access tokens"),
    ("accounts", "Service accounts"),
    ("rights", "Rights of users and service accounts in workspaces"),
    ("reports", "Patterns, failures and changes"),
    ("problems", "Root causes of failed runs, and their states"),
    ("tenant audit logs", "What users did in the consoles and APIs of the upstreams"),
    ("push", "Pushing runs and their logs"),
    ("web", "Extension of Runlog: the data of the web UI, also for programs"),
    ("analysis", "SQL queries and search"),
    ("assistants", "Extension of Runlog: tools for assistants, over the Model Context Protocol"),
    ("loki", "Extension of Runlog: the read API of Grafana Loki, for Grafana and other clients of Loki"),
    ("administration", "Extension of Runlog: workspaces, users, tokens, the audit log"),
    ("service", "Health and metrics"),
    ("documents", "This description"),
];

/// The whole description.
pub fn document() -> OpenApi {
    let mut paths = Paths::new();
    let mut components = ComponentsBuilder::new();
    for route in routes() {
        for (name, schema) in &route.schemas {
            components = components.schema(name.clone(), schema.clone());
        }
        let mut item = route.operation.clone();
        each_operation(&mut item, |operation| complete(operation, &route));
        match paths.paths.get_mut(&route.path) {
            Some(known) => known.merge_operations(item),
            None => drop(paths.paths.insert(route.path.clone(), item)),
        }
    }
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let basic = SecurityScheme::Http(Http::new(HttpAuthScheme::Basic));
    components = components
        .schema("ErrorBody", ErrorBody::schema())
        .schema("IcebergErrorBody", IcebergErrorBody::schema())
        .security_scheme("token", bearer)
        .security_scheme("clientSecret", basic);
    let mut info = Info::new("Runlog", env!("CARGO_PKG_VERSION"));
    info.description = Some("An archive of run logs, served through the run-log API of Qlik Talend Cloud.".to_owned());
    info.license = Some(License::new("Apache-2.0"));
    let tags = TAGS.map(|(name, text)| TagBuilder::new().name(name).description(Some(text)).build());
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components.build())).tags(Some(tags)).build()
}

/// The description as text, as it is served and kept in `docs/openapi.json`.
pub fn document_text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

fn each_operation(item: &mut PathItem, mut change: impl FnMut(&mut Operation)) {
    let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
    operations.into_iter().flatten().for_each(&mut change);
}

/// Adds what all operations of a kind have in common: required access, and error responses.
fn complete(operation: &mut Operation, route: &Route) {
    operation.operation_id = Some(operation_id(route));
    if let Some(summary) = &operation.summary {
        operation.summary = Some(sentence(summary));
    }
    let mut refusals = vec![(500, "Internal error"), (503, "The archive is unavailable or busy")];
    match route.access {
        Access::Public | Access::SignedLink => operation.security = Some(Vec::new()),
        Access::ClientSecret => {
            operation.security = Some(vec![SecurityRequirement::new::<&str, [&str; 0], &str>("clientSecret", [])]);
            refusals.extend([
                (400, "Malformed request"),
                (401, "Missing or invalid client ID or secret"),
                (429, "Rate limit exceeded"),
            ]);
        }
        Access::TokenInBody | Access::SignIn => {
            operation.security = Some(Vec::new());
            refusals.extend([(400, "Malformed request"), (401, "Invalid token"), (429, "Rate limit exceeded")]);
        }
        Access::Token | Access::Administrator => {
            operation.security = Some(vec![SecurityRequirement::new::<&str, [&str; 0], &str>("token", [])]);
            refusals.extend([
                (400, "Malformed request; see the message"),
                (401, "Missing or invalid token"),
                (403, "Missing right, named in the message"),
                (429, "Rate limit exceeded; retry after `Retry-After`"),
            ]);
        }
    }
    if route.path.contains('{') && route.access != Access::SignedLink {
        refusals.push((404, "Not found in the archive"));
    }
    if route.path.contains('{') && route.access == Access::SignedLink {
        refusals.push((400, "Malformed request"));
    }
    if operation.request_body.is_some() {
        refusals.extend([(408, "Timeout while receiving the body"), (413, "The body is too large")]);
    }
    let (media_type, schema) = match route.path.as_str() {
        path if is_of_iceberg(path) => ("application/json", RefOr::Ref(Ref::from_schema_name("IcebergErrorBody"))),
        path if is_of_loki(path) => ("text/plain", String::schema()),
        _ => ("application/json", RefOr::Ref(Ref::from_schema_name("ErrorBody"))),
    };
    for (status, text) in refusals {
        let content = ContentBuilder::new().schema(Some(schema.clone())).build();
        let refusal = || RefOr::T(ResponseBuilder::new().description(text).content(media_type, content).build());
        operation.responses.responses.entry(status.to_string()).or_insert_with(refusal);
    }
}

/// A unique name for an operation, from its method and path: `getProcessingExecutionsId`.
fn operation_id(route: &Route) -> String {
    let words = route.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let capitalised = words.map(|word| word[..1].to_ascii_uppercase() + &word[1..]);
    route.method.as_str().to_ascii_lowercase() + &capitalised.collect::<String>()
}

/// The first sentence of a handler's doc comment without the method and path at its start.
fn sentence(summary: &str) -> String {
    // A doc comment is wrapped into lines.
    let summary = summary.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = match summary.strip_prefix('`').and_then(|rest| rest.split_once('`')) {
        Some((address, rest)) => match rest.trim_start_matches([':', '.', ',']).trim() {
            "" => address,
            rest => rest,
        },
        None => summary.as_str(),
    };
    let mut characters = text.trim_end_matches('.').chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}
