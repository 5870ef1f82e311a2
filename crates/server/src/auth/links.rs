//! Presigned links: URLs whose holder may download a page file for an hour, without a token.

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use runlog_model::hex;
use runlog_store::accounts::SigningKey;
use runlog_store::pages::PageFile;
use sha2::Sha256;
use tracing::warn;
use utoipa::openapi::path::Parameter;

use crate::auth::signing_keys::KeyRing;
use crate::auth::state::{Auth, AuthSettings};
use crate::http::error::{ApiError, ApiResult};
use crate::http::parameters::{Argument, Query, QueryParameters, query_parameters};
use crate::http::request::client_address;

/// Characters that need no escaping in a path segment.
const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The reason why a link is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It has expired.
    Expired,
    /// It was not signed by this service.
    Altered,
}

query_parameters! {
    /// The signed part of a link.
    pub(crate) struct LinkClaims {
        /// Part of the link: when it expires, in seconds since 1970.
        expires: Option<String> = "expires",
        /// Part of the link: the ID of the key that signed it.
        key: Option<String> = "key",
        /// Part of the link: its signature, in hexadecimal digits.
        signature: Option<String> = "signature",
    }
}

/// The file of the link of this request. It is available in handlers of routes that require a link.
#[derive(Debug, Clone)]
pub(crate) struct LinkedFile(pub(crate) PageFile);

impl<S: Sync> FromRequestParts<S> for LinkedFile {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        // A route that requires a link but is listed as public is a bug, and must not grant access.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Refusal::Altered.into())
    }
}

impl Argument for LinkedFile {
    fn query_parameters() -> Vec<Parameter> {
        LinkClaims::describe()
    }
}

/// Accepts a request whose link was signed by this service and has not expired. Other requests are not recorded: forged
/// links must not fill the archive.
pub(crate) async fn require_link(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    let from = client_address(request.extensions());
    let (mut parts, body) = request.into_parts();
    match linked(&auth, &mut parts).await {
        Ok(file) => {
            parts.extensions.insert(LinkedFile(file));
            next.run(Request::from_parts(parts, body)).await
        }
        // Only refused requests count against an address, as with tokens.
        Err(error) if error.status.is_server_error() => error.into_response(),
        Err(error) => match auth.rate_limits().check_anonymous(from) {
            Ok(()) => error.into_response(),
            Err(too_many) => too_many.into_response(),
        },
    }
}

async fn linked(auth: &Auth, parts: &mut Parts) -> ApiResult<PageFile> {
    // A path that cannot be parsed was not signed by this service, either.
    let Path((key, file_name)) =
        Path::<(String, String)>::from_request_parts(parts, auth).await.map_err(|_| Refusal::Altered)?;
    let Query(claims) = Query::<LinkClaims>::from_request_parts(parts, auth).await?;
    let file = PageFile { key, file_name };
    check(auth.link_keys(), &file, &claims, auth.now_seconds()).await?;
    Ok(file)
}

/// The link to a file: presigned by its bucket if the archive is configured that way, otherwise a link to this service.
pub(crate) async fn to_file(auth: &Auth, headers: &HeaderMap, file: &PageFile) -> ApiResult<String> {
    match auth.store().pages().page_link(file, auth.link_time()).await {
        Ok(Some(link)) => return Ok(link.into()),
        Ok(None) => {}
        Err(error) => {
            warn!(
                error = &error as &dyn std::error::Error,
                "the bucket cannot presign a link; the link points to this service"
            )
        }
    }
    let key = auth.link_keys().newest().await?;
    Ok(sign(&key, &base_url(auth.settings(), headers), file, auth.now_seconds() + auth.settings().link_seconds))
}

/// A link to a file that is valid until `expires` (seconds since 1970).
pub(crate) fn sign(key: &SigningKey, base: &str, file: &PageFile, expires: i64) -> String {
    let signature = hex::encode(mac(key, file, expires).finalize().into_bytes());
    let (name, id) = (utf8_percent_encode(&file.file_name, PATH_SEGMENT), &key.id);
    format!("{base}/runlog/v1/downloads/{}/{name}?expires={expires}&key={id}&signature={signature}", file.key)
}

/// Verifies the claims of a link against its signature, in constant time.
async fn check(keys: &KeyRing, file: &PageFile, claims: &LinkClaims, now: i64) -> ApiResult<()> {
    let key = match &claims.key {
        Some(id) => keys.by_id(id).await?,
        None => None,
    };
    key.ok_or(Refusal::Altered).and_then(|key| check_with(&key, file, claims, now)).map_err(ApiError::from)
}

fn check_with(key: &SigningKey, file: &PageFile, claims: &LinkClaims, now: i64) -> Result<(), Refusal> {
    let expires: i64 = claims.expires.as_ref().and_then(|text| text.parse().ok()).ok_or(Refusal::Altered)?;
    let signature = claims.signature.as_deref().and_then(hex::decode).ok_or(Refusal::Altered)?;
    mac(key, file, expires).verify_slice(&signature).map_err(|_| Refusal::Altered)?;
    if expires <= now { Err(Refusal::Expired) } else { Ok(()) }
}

fn mac(key: &SigningKey, file: &PageFile, expires: i64) -> Hmac<Sha256> {
    // HMAC takes keys of any length, so this cannot fail.
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&key.value).expect("a key of any length");
    // Neither a key nor a number contains a slash, so that no two links have the same text.
    mac.update(format!("GET/{}/{expires}/{}", file.key, file.file_name).as_bytes());
    mac
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let message = match refusal {
            Refusal::Expired => "this link has expired",
            Refusal::Altered => "this link was altered, or was not signed by this service",
        };
        Self::forbidden(message)
            .with_detail("request a new link with POST …/logs/status, or a new token with POST …/logs")
    }
}

/// The base URL of links.
pub(crate) fn base_url(settings: &AuthSettings, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
    let scheme = if settings.has_tls { "https" } else { "http" };
    settings.public_url.clone().unwrap_or_else(|| format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use runlog_model::Timestamp;

    use super::*;

    fn file(name: &str) -> PageFile {
        PageFile { key: "abc".to_owned(), file_name: name.to_owned() }
    }

    fn key(id: &str) -> SigningKey {
        SigningKey { id: id.to_owned(), value: vec![7; 32], created_at: Timestamp::clamped(0) }
    }

    fn signature(link: &str) -> &str {
        link.split_once("?expires=100&key=links-1&signature=").unwrap().1
    }

    #[test]
    fn a_link_is_accepted_until_it_expires_and_never_altered() {
        let link = sign(&key("links-1"), "http://h", &file("a b.log"), 100);
        assert!(link.starts_with("http://h/runlog/v1/downloads/abc/a%20b.log?"), "{link}");
        let signature = signature(&link);
        let check = |name: &str, expires: &str, signature: &str, now| {
            let (expires, signature) = (Some(expires.to_owned()), Some(signature.to_owned()));
            let claims = LinkClaims { expires, key: None, signature };
            check_with(&key("links-1"), &file(name), &claims, now)
        };
        assert_eq!(check("a b.log", "100", signature, 99), Ok(()));
        assert_eq!(check("a b.log", "100", signature, 100), Err(Refusal::Expired));
        assert_eq!(check("a b.log", "101", signature, 99), Err(Refusal::Altered));
        assert_eq!(check("b.log", "100", signature, 99), Err(Refusal::Altered));
        assert_eq!(check("a b.log", "100", &signature[1..], 99), Err(Refusal::Altered));
        assert_eq!(check("a b.log", "100", "", 99), Err(Refusal::Altered));
    }
}
