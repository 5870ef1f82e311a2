//! `POST /iceberg/v1/aws/s3/sign`: signs requests of engines to the bucket, so that they need no credentials for it.
//!
//! A signature is given for GET and HEAD of exactly one object, which belongs to a table of a workspace that the caller
//! may read. It is a credential for fifteen minutes: neither it nor the request is logged.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use runlog_store::lakehouse::{ObjectRequest, RequestHeaders};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::links::base_url;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::json::JsonBody;
use crate::http::request::IcebergErrorBody;
use crate::routes::iceberg::error::{IcebergError, IcebergResult, check_is_on};

/// The path of this route below the catalog.
const ENDPOINT: &str = "v1/aws/s3/sign";

/// The header in which clients name how they want to access files.
const ACCESS_DELEGATION: &str = "x-iceberg-access-delegation";

/// A request that is to be signed; its region is that of the bucket, whichever the client names.
#[derive(Debug, Deserialize)]
pub(crate) struct SignRequest {
    /// `GET` or `HEAD`.
    method: String,
    /// The address of an object.
    uri: String,
    /// The headers of the request.
    #[serde(default)]
    headers: RequestHeaders,
}

/// Signs a request that reads an object of a table that the caller may read.
#[utoipa::path(
    post,
    path = "/iceberg/v1/aws/s3/sign",
    tag = "lakehouses",
    request_body(content = Value, description = "The `method` (`GET` or `HEAD`), the `uri` and the `headers` of the request, as the specification of the REST catalog has it"),
    responses(
        (status = 200, description = "The address and the headers of the signed request", body = Value),
        (status = 403, description = "The request is not a read of a file of such a table", body = IcebergErrorBody),
        (status = 501, description = "The service was started without `--iceberg`, or the archive is not in a bucket of S3", body = IcebergErrorBody),
    )
)]
pub(crate) async fn sign(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    JsonBody(request): JsonBody<SignRequest>,
) -> IcebergResult<Response> {
    check_is_on(&app)?;
    if app.store().lake().bucket_location().is_none() {
        return Err(IcebergError::has_no_signatures());
    }
    let readable = rights::readable_workspaces(app.store(), &caller).await?;
    let SignRequest { method, uri, headers } = &request;
    let signed = app.store().lake().sign(ObjectRequest { method, uri, headers }, readable.as_deref()).await?;
    app.metrics().lake.count_signature(signed.is_some());
    let signed = signed.ok_or_else(IcebergError::is_not_signed)?;
    let body = Json(json!({ "uri": signed.uri, "headers": signed.headers }));
    Ok(([(header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// The properties of a loaded table for access to its files: the endpoint, and the signer if the client requests
/// signing.
pub(super) fn config(app: &App, headers: &HeaderMap) -> Value {
    let wanted = headers.get_all(ACCESS_DELEGATION).iter().filter_map(|value| value.to_str().ok());
    let is_wanted = wanted.flat_map(|value| value.split(',')).any(|one| one.trim() == "remote-signing");
    let Some(place) = app.store().lake().bucket_location().filter(|_| is_wanted) else { return json!({}) };
    let catalog = format!("{}/iceberg", base_url(app.auth().settings(), headers).trim_end_matches('/'));
    json!({
        "s3.remote-signing-enabled": "true",
        // The name of PyIceberg for the same.
        "s3.signer": "S3V4RestSigner",
        "s3.signer.uri": catalog,
        "s3.signer.endpoint": ENDPOINT,
        "s3.endpoint": place.endpoint,
        "s3.region": place.region,
        "client.region": place.region,
        "s3.path-style-access": place.is_path_style.to_string(),
        "s3.force-virtual-addressing": (!place.is_path_style).to_string(),
    })
}
