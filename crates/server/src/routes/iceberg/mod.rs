//! The REST catalog of Apache Iceberg under `/iceberg/v1`, for engines of lakehouses. It is read only.
//!
//! ```text
//! warehouse   an environment; its ID is the prefix of all other paths
//! namespace   a workspace that the caller may read, by its name
//! table       `records`: the sealed logs of the workspace; `runs`, `tasks`, `component_metrics`: as in SQL
//! ```
//!
//! The metadata of a table comes with the answer, and names manifests and sealed files where they are stored: engines
//! read them from there. `config` lists what there is, so that clients do not try to write; what they try nevertheless
//! is answered with 404 or 405. An engine without credentials for the bucket has its requests signed here ([`sign`]).
//! Errors have the form of Iceberg ([`error`]).

mod error;
pub(super) mod sign;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Extensions, HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use runlog_model::wire::oauth::{TokenRequest, TokenResponse};
use runlog_model::workspaces::{Environment, Workspace};
use runlog_store::accounts::Caller;
use runlog_store::lakehouse::LakeTableKind;
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::ApiError;
use crate::http::parameters::{Query, query_parameters};
use crate::http::request::{IcebergErrorBody, OauthErrorBody, OauthErrorCode};
use crate::http::web::header_has;
use crate::routes::iceberg::error::{IcebergError, IcebergResult, check_is_on};
use crate::routes::oauth;

/// The endpoints that clients can call, as `config` lists them.
const ENDPOINTS: [&str; 7] = [
    "GET /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
];

query_parameters! {
    /// Parameters of the configuration.
    pub(crate) struct ConfigQuery {
        /// The name or the ID of an environment. Default: the default environment.
        warehouse: Option<String> = "warehouse",
    }
}

query_parameters! {
    /// Parameters of a list of namespaces.
    pub(crate) struct NamespacesQuery {
        /// The namespace whose parts are listed; there are none.
        parent: Option<String> = "parent",
    }
}

/// Returns the configuration for clients of the catalog: the prefix of its paths, and the available operations.
#[utoipa::path(
    get,
    path = "/iceberg/v1/config",
    tag = "lakehouses",
    responses(
        (status = 200, description = "As the REST catalog of Iceberg answers", body = Value),
        (status = 404, description = "There is no such warehouse", body = IcebergErrorBody),
        (status = 501, description = "The service was started without `--iceberg`", body = IcebergErrorBody),
    )
)]
pub(super) async fn config(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(query): Query<ConfigQuery>,
) -> IcebergResult<Json<Value>> {
    check_is_on(&app)?;
    let environments = app.store().workspaces().environments().await?;
    let wanted = |environment: &&Environment| match &query.warehouse {
        Some(warehouse) => environment.name == *warehouse || environment.id.to_string() == *warehouse,
        None => environment.is_default,
    };
    let mut found = environments.iter().find(wanted);
    // The name of one in which the caller may read nothing is as unknown as one that does not exist.
    if let Some(environment) = found
        && query.warehouse.is_some()
        && !caller.administrator
        && readable(&app, &caller, &environment.id.to_string()).await?.is_empty()
    {
        found = None;
    }
    let Some(environment) = found else {
        let message = match &query.warehouse {
            Some(warehouse) => format!("there is no environment {warehouse:?}: the warehouse is the name of one"),
            None => "this archive has no environment yet".to_owned(),
        };
        return Err(IcebergError::no_warehouse(message));
    };
    let overrides = json!({ "prefix": environment.id });
    Ok(Json(json!({ "defaults": {}, "overrides": overrides, "endpoints": ENDPOINTS })))
}

/// Exchanges a client ID and secret for an access token, where clients of the catalog ask for one.
#[utoipa::path(
    post,
    path = "/iceberg/v1/oauth/tokens",
    tag = "lakehouses",
    request_body(content = TokenRequest, description = "As JSON or as a form"),
    responses(
        (status = 200, description = "An access token", body = TokenResponse),
        (status = 400, description = "Malformed request", body = OauthErrorBody),
        (status = 401, description = "Missing or invalid client ID or secret", body = OauthErrorBody),
    )
)]
pub(super) async fn token(state: State<App>, headers: HeaderMap, extensions: Extensions, body: Body) -> Response {
    oauth::token(state, headers, extensions, body).await.unwrap_or_else(oauth_error)
}

/// An error of the token endpoint, as OAuth 2.0 has it. Source: RFC 6749, 5.2.
fn oauth_error(problem: ApiError) -> Response {
    let code = match problem.status {
        StatusCode::UNAUTHORIZED => "invalid_client",
        StatusCode::BAD_REQUEST if problem.message == oauth::UNSUPPORTED_GRANT => "unsupported_grant_type",
        StatusCode::BAD_REQUEST => "invalid_request",
        // Not an error of the client: it has the form of the other errors of the catalog.
        _ => return problem.into_response(),
    };
    let mut response = problem.into_response();
    response.extensions_mut().insert(OauthErrorCode(code));
    response
}

/// Returns the namespaces: the workspaces of the environment whose logs the caller may read.
#[utoipa::path(
    get,
    path = "/iceberg/v1/{prefix}/namespaces",
    tag = "lakehouses",
    params(("prefix" = String, Path, description = "The ID of an environment")),
    responses(
        (status = 200, description = "As the REST catalog of Iceberg answers", body = Value),
        (status = 404, description = "There is no such namespace", body = IcebergErrorBody),
        (status = 501, description = "The service was started without `--iceberg`", body = IcebergErrorBody),
    )
)]
pub(super) async fn namespaces(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(prefix): Path<String>,
    Query(query): Query<NamespacesQuery>,
) -> IcebergResult<Json<Value>> {
    check_is_on(&app)?;
    let workspaces = readable(&app, &caller, &prefix).await?;
    let names: Vec<Value> = match &query.parent {
        None => workspaces.iter().map(|workspace| json!([workspace.name])).collect(),
        Some(parent) => {
            named(workspaces, parent)?;
            Vec::new()
        }
    };
    Ok(Json(json!({ "namespaces": names, "next-page-token": null })))
}

/// Returns a namespace with its properties.
#[utoipa::path(
    get,
    path = "/iceberg/v1/{prefix}/namespaces/{namespace}",
    tag = "lakehouses",
    params(
        ("prefix" = String, Path, description = "The ID of an environment"),
        ("namespace" = String, Path, description = "The name of a workspace"),
    ),
    responses(
        (status = 200, description = "As the REST catalog of Iceberg answers", body = Value),
        (status = 404, description = "There is no such namespace", body = IcebergErrorBody),
        (status = 501, description = "The service was started without `--iceberg`", body = IcebergErrorBody),
    )
)]
pub(super) async fn namespace(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    method: Method,
    Path((prefix, namespace)): Path<(String, String)>,
) -> IcebergResult<Response> {
    let workspace = workspace(&app, &caller, &prefix, &namespace).await?;
    if method == Method::HEAD {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let properties = json!({
        "workspace-id": workspace.id,
        "environment": workspace.environment.name,
        "comment": workspace.description.unwrap_or_default(),
    });
    Ok(Json(json!({ "namespace": [workspace.name], "properties": properties })).into_response())
}

/// Returns the tables of a namespace: `records`, `runs`, `tasks` and `component_metrics`.
#[utoipa::path(
    get,
    path = "/iceberg/v1/{prefix}/namespaces/{namespace}/tables",
    tag = "lakehouses",
    params(
        ("prefix" = String, Path, description = "The ID of an environment"),
        ("namespace" = String, Path, description = "The name of a workspace"),
    ),
    responses(
        (status = 200, description = "As the REST catalog of Iceberg answers", body = Value),
        (status = 404, description = "There is no such namespace", body = IcebergErrorBody),
        (status = 501, description = "The service was started without `--iceberg`", body = IcebergErrorBody),
    )
)]
pub(super) async fn tables(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path((prefix, namespace)): Path<(String, String)>,
) -> IcebergResult<Json<Value>> {
    let workspace = workspace(&app, &caller, &prefix, &namespace).await?;
    let identifiers =
        LakeTableKind::ALL.map(|kind| json!({ "namespace": [workspace.name.as_str()], "name": kind.name() }));
    Ok(Json(json!({ "identifiers": identifiers, "next-page-token": null })))
}

/// Returns a table: its metadata, with its current snapshot. Of `records`, that shows all logs that are sealed now.
///
/// With the header `X-Iceberg-Access-Delegation: remote-signing`, the configuration of the table contains the endpoint
/// that signs requests to the bucket, if the archive is in an S3 bucket.
#[utoipa::path(
    get,
    path = "/iceberg/v1/{prefix}/namespaces/{namespace}/tables/{table}",
    tag = "lakehouses",
    params(
        ("prefix" = String, Path, description = "The ID of an environment"),
        ("namespace" = String, Path, description = "The name of a workspace"),
        ("table" = String, Path, description = "`records`, `runs`, `tasks` or `component_metrics`"),
    ),
    responses(
        (status = 200, description = "As the REST catalog of Iceberg answers", body = Value),
        (status = 304, description = "The table has not changed since the version in `If-None-Match`"),
        (status = 404, description = "There is no such table", body = IcebergErrorBody),
        (status = 501, description = "The service was started without `--iceberg`", body = IcebergErrorBody),
    )
)]
pub(super) async fn table(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    method: Method,
    headers: HeaderMap,
    Path((prefix, namespace, table)): Path<(String, String, String)>,
) -> IcebergResult<Response> {
    let (workspace, kind) = table_of(&app, &caller, &prefix, &namespace, &table).await?;
    // Checks that the table exists, without loading it.
    if method == Method::HEAD {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let begun = app.now();
    let loaded = app.store().lake().table(workspace.id, kind).await;
    app.metrics().lake.count_load(kind.name(), app.now().millis_since(begun), loaded.is_err());
    let table = loaded?;
    let etag = format!("\"{}\"", runlog_model::hex::encode(Sha256::digest(&table.metadata_location)));
    if header_has(&headers, header::IF_NONE_MATCH, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    // It was written as JSON; as such it goes into the answer.
    let metadata = RawValue::from_string(table.metadata).map_err(|error| {
        runlog_store::Error::caused(runlog_store::ErrorKind::Corrupt, "the metadata of a table", error)
    })?;
    let body =
        LoadedTable { metadata_location: table.metadata_location, metadata, config: sign::config(&app, &headers) };
    Ok(([(header::ETAG, etag)], Json(body)).into_response())
}

/// Takes what an engine reports of a scan, and does nothing with it: requests are counted anyway.
#[utoipa::path(
    post,
    path = "/iceberg/v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
    tag = "lakehouses",
    params(
        ("prefix" = String, Path, description = "The ID of an environment"),
        ("namespace" = String, Path, description = "The name of a workspace"),
        ("table" = String, Path, description = "`records`, `runs`, `tasks` or `component_metrics`"),
    ),
    request_body(content = Value, description = "A report; it is not read"),
    responses(
        (status = 204, description = "It was received"),
        (status = 404, description = "There is no such table", body = IcebergErrorBody),
        (status = 501, description = "The service was started without `--iceberg`", body = IcebergErrorBody),
    )
)]
pub(super) async fn report(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path((prefix, namespace, table)): Path<(String, String, String)>,
) -> IcebergResult<StatusCode> {
    table_of(&app, &caller, &prefix, &namespace, &table).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A table, as the specification has it.
#[derive(serde::Serialize)]
#[serde(rename_all = "kebab-case")]
struct LoadedTable {
    metadata_location: String,
    metadata: Box<RawValue>,
    config: Value,
}

/// The workspaces of an environment whose logs the caller may read.
async fn readable(app: &App, caller: &Caller, prefix: &str) -> IcebergResult<Vec<Workspace>> {
    let readable = rights::readable_workspaces(app.store(), caller).await?;
    let mut workspaces = app.store().workspaces().list().await?;
    workspaces.retain(|workspace| {
        let is_readable = readable.as_ref().is_none_or(|readable| readable.contains(&workspace.id));
        is_readable && workspace.environment.id.to_string() == prefix
    });
    Ok(workspaces)
}

/// The workspace that is a namespace. One that the caller may not read is as unknown as one that does not exist.
async fn workspace(app: &App, caller: &Caller, prefix: &str, namespace: &str) -> IcebergResult<Workspace> {
    check_is_on(app)?;
    named(readable(app, caller, prefix).await?, namespace)
}

/// The workspace of a table, and which of its tables it is.
async fn table_of(
    app: &App,
    caller: &Caller,
    prefix: &str,
    namespace: &str,
    table: &str,
) -> IcebergResult<(Workspace, LakeTableKind)> {
    let workspace = workspace(app, caller, prefix, namespace).await?;
    match LakeTableKind::by_name(table) {
        Some(kind) => Ok((workspace, kind)),
        None => {
            let names = LakeTableKind::ALL.map(LakeTableKind::name).join(", ");
            Err(IcebergError::no_table(format!("there is no table {table:?}: a namespace has the tables {names}")))
        }
    }
}

fn named(workspaces: Vec<Workspace>, namespace: &str) -> IcebergResult<Workspace> {
    workspaces.into_iter().find(|workspace| workspace.name == namespace).ok_or_else(|| {
        IcebergError::no_namespace(format!("there is no workspace {namespace:?} whose logs you may read"))
    })
}
