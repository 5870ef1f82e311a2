//! Common handling of every request: its ID, its line in the log, panics, and the bodies of errors.

use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use runlog_model::wire::error::ErrorBody;
use runlog_model::wire::logs::PACE_HEADER;
use runlog_model::{Clock, Random, error_chain};
use serde::Serialize;
use tracing::{error, info, warn};
use utoipa::ToSchema;

use crate::http::connections::ProxiedAddress;
use crate::http::error::{ApiError, ApiResult};
use crate::http::proxies::Proxies;
use crate::metrics::counters::Metrics;

/// The header with the ID of a request, in both directions.
pub(crate) const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request ID that is accepted from a client. Unit: bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The media type of a body, in lower case and without its parameters. Empty if there is none, or if several lines of
/// the header, or the parts of a list, name different ones.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let lines = headers.get_all(header::CONTENT_TYPE).iter().map(|value| value.to_str().unwrap_or("?"));
    let types = lines.flat_map(|line| line.split(',')).map(|one| one.split(';').next().unwrap_or_default().trim());
    let mut types = types.map(str::to_ascii_lowercase);
    let first = types.next().unwrap_or_default();
    if types.all(|other| other == first) { first } else { String::new() }
}

/// The context of every request.
pub(crate) struct RequestContext {
    /// The proxies that are trusted to pass on the client address.
    pub(crate) proxies: Proxies,
    pub(crate) metrics: Arc<Metrics>,
    /// The rate limit announced to clients.
    pub(crate) rate_limit: HeaderValue,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
}

/// The ID of the request, for inner handlers.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// In the extensions of a response: its error has the form of an Iceberg catalog, and is of this type there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IcebergErrorType(pub(crate) &'static str);

/// In the extensions of a response: its error has the form of OAuth 2.0, and has this code there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OauthErrorCode(pub(crate) &'static str);

/// The body of an error of the catalog for lakehouses. Source: `IcebergErrorResponse` of the REST catalog of Apache
/// Iceberg.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IcebergErrorBody {
    #[schema(inline)]
    error: IcebergErrorModel,
}

/// The content of `IcebergErrorBody`.
#[derive(Debug, Serialize, ToSchema)]
struct IcebergErrorModel {
    /// What happened, and what to do next.
    message: String,
    /// The type of the error, such as `NoSuchTableException`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The HTTP status.
    code: u16,
}

/// The body of an error of OAuth 2.0. Source: RFC 6749, 5.2.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OauthErrorBody {
    /// The code of the error, such as `invalid_client`.
    error: &'static str,
    /// What happened.
    error_description: String,
}

/// True for the paths whose errors have the form of an Iceberg catalog.
pub(crate) fn is_of_iceberg(path: &str) -> bool {
    path.starts_with("/iceberg/")
}

/// True for the paths of the read API of Loki, whose clients expect errors as plain text.
pub(crate) fn is_of_loki(path: &str) -> bool {
    ["/loki/", "/api/prom/", "/prometheus/"].iter().any(|prefix| path.starts_with(prefix))
}

/// The type of an error in an Iceberg catalog, if its handler names none.
fn iceberg_error_type(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "NotAuthorizedException",
        StatusCode::FORBIDDEN => "ForbiddenException",
        StatusCode::NOT_FOUND => "NotFoundException",
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => "UnsupportedOperationException",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => "ServiceUnavailableException",
        _ if status.is_client_error() => "BadRequestException",
        _ => "InternalServerError",
    }
}

/// The caller of the request, for the log; set by authentication.
#[derive(Debug, Clone)]
pub(crate) struct CallerId(pub(crate) String);

/// In the extensions of a response: its error body belongs to another protocol, and is left as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProtocolErrorBody;

/// In the extensions of a response: the error that it reports in the way of another protocol, for the log and the
/// metrics.
#[derive(Debug, Clone)]
pub(crate) struct ReportedError(pub(crate) ApiError);

/// Links are derived from the host, which is in the URI in HTTP/2, and in a header in HTTP/1.
fn name_host(request: &mut Request) {
    let host = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    if let Some(host) = host.filter(|_| !request.headers().contains_key(header::HOST)) {
        request.headers_mut().insert(header::HOST, host);
    }
}

/// The address of the client, if known.
#[derive(Debug, Clone, Copy)]
struct ClientAddress(Option<IpAddr>);

/// The client address of a request, as passed on by a trusted proxy.
pub(crate) fn client_address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ClientAddress>().and_then(|client| client.0)
}

fn find_client(proxies: &Proxies, request: &Request) -> Option<IpAddr> {
    if let Some(proxied) = request.extensions().get::<ProxiedAddress>() {
        return Some(proxied.0);
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>()?.0.ip().to_canonical();
    Some(proxies.client(peer, request.headers()))
}

/// 400 for a request without a host, or with several: intermediaries might interpret it differently.
fn hosts(request: &Request) -> ApiResult<()> {
    let mut named = request.headers().get_all(header::HOST).iter();
    match (request.version(), named.next(), named.next()) {
        (_, _, Some(_)) => Err(ApiError::invalid("the request has two hosts; send one Host header")),
        (Version::HTTP_11, None, None) => Err(ApiError::invalid("the request has no host; send a Host header")),
        _ => Ok(()),
    }
}

/// A request with a normalised path: without double slashes and without a trailing one. Clients concatenate URLs.
pub(crate) fn with_plain_path(mut request: Request) -> Request {
    let path = request.uri().path();
    if path == "/" || !(path.contains("//") || path.ends_with('/')) {
        return request;
    }
    let mut plain = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        plain.push('/');
        plain.push_str(part);
    }
    if plain.is_empty() {
        plain.push('/');
    }
    if let Some(query) = request.uri().query() {
        plain.push('?');
        plain.push_str(query);
    }
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = plain.parse().ok();
    if let Ok(uri) = axum::http::Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// Handles a request.
pub(crate) async fn handle_request(
    State(context): State<Arc<RequestContext>>,
    request: Request,
    next: Next,
) -> Response {
    let begun = context.clock.now();
    let id = request_id(request.headers()).unwrap_or_else(|| context.random.uuid().to_string());
    let method = request.method().clone();
    // The template instead of the path: paths of links contain a signature, and logs are searched by route.
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();

    let mut request = request;
    let (is_of_iceberg, is_of_loki) = (is_of_iceberg(request.uri().path()), is_of_loki(request.uri().path()));
    let hosts = hosts(&request);
    name_host(&mut request);
    request.extensions_mut().insert(RequestId(id.clone()));
    let client = find_client(&context.proxies, &request);
    request.extensions_mut().insert(ClientAddress(client));
    let handling = async {
        match hosts {
            Ok(()) => next.run(request).await,
            Err(error) => error.into_response(),
        }
    };
    let answer = AssertUnwindSafe(handling).catch_unwind().await;
    let mut response = answer.unwrap_or_else(|_| panicked());
    let problem = problem_of(&method, &response);
    if let Some(problem) = &problem {
        if is_of_iceberg {
            // Also those of others than its handlers: of authentication, limits, and unknown paths.
            response.extensions_mut().get_or_insert_with(|| IcebergErrorType(iceberg_error_type(problem.status)));
        }
        // Also of these all errors, and not only those of the handlers.
        let form = match (method == Method::HEAD, is_of_loki) {
            (true, _) => ErrorForm::Nothing,
            (false, true) => ErrorForm::PlainText,
            (false, false) => ErrorForm::Json,
        };
        response = with_error_body(response, problem, &id, form);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    response.headers_mut().insert(PACE_HEADER, context.rate_limit.clone());
    // Browsers must not guess content types.
    response.headers_mut().entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    let caller = response.extensions().get::<CallerId>().map(|caller| caller.0.as_str()).unwrap_or("-");
    let reported = response.extensions().get::<ReportedError>().map(|reported| &reported.0);
    let outcome = reported.map_or(response.status(), |error| error.status);
    let (status, duration_ms) = (outcome.as_u16(), context.clock.now().millis_since(begun));
    context.metrics.count_request(method.as_str(), &route, status, duration_ms);
    let cause = problem.as_ref().or(reported).and_then(|problem| problem.cause.as_deref());
    match (outcome.is_server_error(), cause) {
        (true, Some(cause)) => {
            let chain = error_chain(cause);
            error!(http.method = %method, http.route = %route, http.status = status, duration_ms, request.id = %id, caller.id = %caller, error = %chain, "request failed");
        }
        (true, None) => {
            warn!(http.method = %method, http.route = %route, http.status = status, duration_ms, request.id = %id, caller.id = %caller, "request failed");
        }
        _ => {
            info!(http.method = %method, http.route = %route, http.status = status, duration_ms, request.id = %id, caller.id = %caller, "request");
        }
    }
    response
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(&REQUEST_ID_HEADER)?.to_str().ok()?;
    let is_sane = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (!id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.bytes().all(is_sane)).then(|| id.to_owned())
}

/// When a caller may retry after the archive was unavailable or busy. Unit: seconds.
const RETRY_AFTER_SECONDS: &str = "2";

fn panicked() -> Response {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "an internal error occurred while handling this request")
        .into_response()
}

/// The error of a response, including those that the framework creates without a message.
fn problem_of(method: &Method, response: &Response) -> Option<ApiError> {
    if let Some(problem) = response.extensions().get::<ApiError>() {
        return Some(problem.clone());
    }
    let status = response.status();
    if response.extensions().get::<ProtocolErrorBody>().is_some() {
        return None;
    }
    let message = match status {
        StatusCode::METHOD_NOT_ALLOWED => format!("{method} is not allowed here; see the Allow header"),
        StatusCode::PAYLOAD_TOO_LARGE => "the body is too large".to_owned(),
        _ if status.is_client_error() || status.is_server_error() => {
            status.canonical_reason().unwrap_or("request failed").to_lowercase()
        }
        _ => return None,
    };
    Some(ApiError::new(status, message))
}

/// The message, and what to do next.
fn plain_text(problem: &ApiError) -> String {
    match &problem.detail {
        Some(detail) => format!("{}; {detail}", problem.message),
        None => problem.message.clone(),
    }
}

/// How the body of an error is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErrorForm {
    Nothing,
    PlainText,
    Json,
}

fn with_error_body(response: Response, problem: &ApiError, id: &str, form: ErrorForm) -> Response {
    let (mut parts, _) = response.into_parts();
    let body = ErrorBody {
        status: problem.status.as_u16(),
        message: Some(problem.message.clone()),
        // Some files of the vendor require it, so it is present even if it is empty.
        detail: Some(problem.detail.clone().unwrap_or_else(|| problem.message.clone())),
        request_id: Some(id.to_owned()),
        code: problem.code.map(str::to_owned),
    };
    let mut answer = match (parts.extensions.get::<OauthErrorCode>(), parts.extensions.get::<IcebergErrorType>()) {
        _ if form == ErrorForm::Nothing => ().into_response(),
        _ if form == ErrorForm::PlainText => plain_text(problem).into_response(),
        (Some(OauthErrorCode(code)), _) => {
            Json(OauthErrorBody { error: code, error_description: problem.message.clone() }).into_response()
        }
        (None, Some(IcebergErrorType(kind))) => {
            let error = IcebergErrorModel { message: plain_text(problem), kind, code: problem.status.as_u16() };
            Json(IcebergErrorBody { error }).into_response()
        }
        (None, None) => Json(body).into_response(),
    };
    for name in [header::CONTENT_LENGTH, header::CONTENT_TYPE] {
        parts.headers.remove(name);
    }
    answer.headers_mut().extend(parts.headers);
    *answer.status_mut() = parts.status;
    *answer.extensions_mut() = parts.extensions;
    if let Some(seconds) = problem.retry_after {
        answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    if parts.status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static(RETRY_AFTER_SECONDS));
    }
    if parts.status == StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}
