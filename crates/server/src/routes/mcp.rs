//! `/mcp`: tools for assistants, over the Model Context Protocol (streamable HTTP, without sessions).
//!
//! Each tool sends requests to the routes of this service, in this process, with the token of the caller. So rights, rate
//! limits, limits of concurrent requests and audit entries are those of the same requests from outside.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::{Extension, Router};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use runlog_mcp::{Answer, Api, Assistant, Connect, HttpEndpoint, HttpSettings, Question, Refusal, RefusalKind};
use runlog_model::Clock;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::sql::SqlQuestion;
use tower::ServiceExt;
use tracing::warn;

use crate::auth::links::base_url;
use crate::auth::state::AuthSettings;
use crate::auth::token::LocalOperator;
use crate::http::connections::ProxiedAddress;
use crate::http::error::{ApiError, ApiResult};
use crate::http::parameters::Argument;
use crate::http::request::{ProtocolErrorBody, REQUEST_ID_HEADER, RequestId, client_address, media_type};

/// The endpoint, created once with the router, and passed with every request.
pub(crate) type McpEndpoint = HttpEndpoint<InProcess>;

/// Maximum size of a refusal as text. Unit: bytes.
const REFUSAL_BYTES_MAX: usize = 4 << 10;

impl Argument for Request {}

/// `POST /mcp`: one message of the Model Context Protocol, JSON-RPC 2.0.
#[utoipa::path(
    post,
    path = "/mcp",
    tag = "assistants",
    request_body(content = serde_json::Value, description = "A request or notification of the Model Context Protocol"),
    responses(
        (status = 200, description = "The response", body = serde_json::Value),
        (status = 202, description = "A notification was accepted"),
        (status = 400, description = "The body is not a message of the protocol, or its version is not supported", body = serde_json::Value),
        (status = 403, description = "The host or the origin of the request is not allowed", body = ErrorBody),
        (status = 406, description = "`Accept` must contain `application/json` and `text/event-stream`", body = serde_json::Value),
        (status = 413, description = "The message is longer than 1 MiB", body = serde_json::Value),
        (status = 415, description = "`Content-Type` must be `application/json`", body = serde_json::Value),
        (status = 422, description = "The message is not a message of the protocol", body = serde_json::Value)
    )
)]
pub(crate) async fn answer(Extension(endpoint): Extension<Arc<McpEndpoint>>, request: Request) -> ApiResult<Response> {
    // A cookie is sent by a browser for any page; a token is sent on purpose.
    if !request.headers().contains_key(header::AUTHORIZATION) {
        return Err(ApiError::unauthorized("/mcp needs a token")
            .with_detail("send a personal access token in the header Authorization: Bearer …"));
    }
    let is_json_request = media_type(request.headers()) == "application/json";
    let response = endpoint.answer(request).await;
    if response.status() == StatusCode::FORBIDDEN {
        return Err(ApiError::forbidden("the host or the origin of this request is not allowed at /mcp").with_detail(
            "call it under the public URL of the service or a loopback address; further hosts are allowed with \
             --mcp-hosts, and web pages of no other origin",
        ));
    }
    let (parts, body) = response.into_parts();
    let is_json =
        parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if parts.status.is_client_error() && !is_json {
        // A request that is no message of the protocol is refused as text.
        let text = axum::body::to_bytes(Body::new(body), REFUSAL_BYTES_MAX).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        // The library responds so to a body that it cannot read as well.
        if parts.status == StatusCode::UNSUPPORTED_MEDIA_TYPE && is_json_request {
            let reason = text.trim_start_matches("fail to deserialize request body ");
            return Err(ApiError::invalid(format!("the body is not a message of the protocol: {reason}"))
                .with_detail("send one request or notification of JSON-RPC 2.0; batches are not supported"));
        }
        return Err(ApiError::new(parts.status, text));
    }
    let mut response = Response::from_parts(parts, Body::new(body));
    response.extensions_mut().insert(ProtocolErrorBody);
    Ok(response)
}

/// The endpoint of a service with these routes. `hosts`: names under which it is called, in addition to its public URL.
pub(crate) fn endpoint(
    router: Router,
    settings: &AuthSettings,
    hosts: &[String],
    clock: Arc<dyn Clock>,
) -> Arc<McpEndpoint> {
    let public = settings.public_url.as_deref().and_then(|url| url.parse::<axum::http::Uri>().ok());
    let mut allowed = HttpSettings { hosts: hosts.to_vec(), origins: Vec::new() };
    if let Some((scheme, authority)) = public.as_ref().and_then(|url| url.scheme_str().zip(url.authority())) {
        let port = authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        allowed.hosts.push(authority.host().to_owned());
        allowed.origins.push(format!("{scheme}://{}:{port}", authority.host()));
    }
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        allowed.origins.extend(["http", "https"].map(|scheme| format!("{scheme}://{host}:*")));
    }
    Arc::new(HttpEndpoint::new(Assistant::new(InProcess::new(router, settings.clone(), false), clock), allowed))
}

/// The routes of a service in this process.
#[derive(Clone)]
pub struct InProcess {
    router: Router,
    settings: AuthSettings,
    /// True if requests are of the operator of this machine, who may open the archive anyway.
    is_local: bool,
}

impl InProcess {
    pub(crate) fn new(router: Router, settings: AuthSettings, is_local: bool) -> Self {
        Self { router, settings, is_local }
    }
}

impl Connect for InProcess {
    type Api = InProcessApi;

    fn api(&self, request: Option<&Parts>) -> InProcessApi {
        let mut headers = HeaderMap::new();
        for name in [header::AUTHORIZATION, header::HOST] {
            if let Some(value) = request.and_then(|request| request.headers.get(&name)) {
                headers.insert(name, value.clone());
            }
        }
        headers.entry(header::HOST).or_insert(HeaderValue::from_static("localhost"));
        let id = request.and_then(|request| request.extensions.get::<RequestId>());
        if let Some(id) = id.and_then(|id| HeaderValue::from_str(&id.0).ok()) {
            headers.insert(REQUEST_ID_HEADER, id);
        }
        let client = request.and_then(|request| client_address(&request.extensions)).map(ProxiedAddress);
        InProcessApi { to: self.clone(), headers, client }
    }
}

/// The routes of a service on behalf of a caller.
pub struct InProcessApi {
    to: InProcess,
    headers: HeaderMap,
    client: Option<ProxiedAddress>,
}

impl Api for InProcessApi {
    async fn ask(&self, question: Question, bytes_max: usize) -> Result<Answer, Refusal> {
        let response = match self.to.router.clone().oneshot(self.request(question)?).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status();
        let mut body = response.into_body().into_data_stream();
        let (mut read, mut is_cut) = (BytesMut::new(), false);
        while let Some(part) = body.next().await {
            match part {
                Ok(part) => read.extend_from_slice(&part),
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "a response to a tool broke off");
                    is_cut = true;
                }
            }
            // The rest is not computed.
            if is_cut || read.len() > bytes_max {
                is_cut = true;
                read.truncate(bytes_max);
                break;
            }
        }
        match status.is_success() {
            true => Ok(Answer { body: read.freeze(), is_cut }),
            false => Err(refusal(status, &read.freeze())),
        }
    }

    fn web_url(&self) -> Option<String> {
        // A local archive has no web UI, unless a service runs.
        let is_known = !self.to.is_local;
        is_known.then(|| base_url(&self.to.settings, &self.headers).trim_end_matches('/').to_owned())
    }
}

impl InProcessApi {
    fn request(&self, question: Question) -> Result<Request, Refusal> {
        let (method, uri, body) = match question {
            Question::Get { path, query } => {
                let path: Vec<_> =
                    path.iter().map(|part| utf8_percent_encode(part, NON_ALPHANUMERIC).to_string()).collect();
                let query = serde_urlencoded::to_string(query)
                    .map_err(|_| Refusal::new(RefusalKind::Invalid, "the query cannot be encoded"))?;
                (Method::GET, format!("/{}?{query}", path.join("/")), Body::empty())
            }
            Question::Sql { query } => {
                let question = SqlQuestion { query, format: Some("ndjson".to_owned()) };
                let body = serde_json::to_vec(&question)
                    .map_err(|_| Refusal::new(RefusalKind::Invalid, "the query cannot be encoded"))?;
                (Method::POST, "/runlog/v1/sql".to_owned(), Body::from(body))
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse().map_err(|_| Refusal::new(RefusalKind::Invalid, "an argument is too long"))?;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(client) = self.client {
            request.extensions_mut().insert(client);
        }
        if self.to.is_local {
            request.extensions_mut().insert(LocalOperator);
        }
        Ok(request)
    }
}

/// The error of a response.
fn refusal(status: StatusCode, body: &Bytes) -> Refusal {
    let kind = match status {
        StatusCode::UNAUTHORIZED => RefusalKind::Unauthorized,
        StatusCode::FORBIDDEN => RefusalKind::Forbidden,
        StatusCode::NOT_FOUND | StatusCode::GONE => RefusalKind::NotFound,
        StatusCode::TOO_MANY_REQUESTS => RefusalKind::Unavailable,
        status if status.is_client_error() => RefusalKind::Invalid,
        _ => RefusalKind::Unavailable,
    };
    let error: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
    let message = error.message.unwrap_or_else(|| status.canonical_reason().unwrap_or("request failed").to_lowercase());
    let detail =
        error.detail.filter(|detail| *detail != message).map(|detail| format!("; {detail}")).unwrap_or_default();
    Refusal::new(kind, format!("{message}{detail}"))
}
