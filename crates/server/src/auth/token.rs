//! Authentication: personal access tokens, and access tokens that service accounts receive in exchange for their
//! secret.

use std::borrow::Cow;
use std::net::IpAddr;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use runlog_model::Timestamp;
use runlog_store::accounts::{AccessToken, Caller, CallerKind, NewSession};
use serde::{Deserialize, Serialize};

use crate::auth::rate_limit::Credential;
use crate::auth::rights;
use crate::auth::session;
use crate::auth::state::Auth;
use crate::http::error::{ApiError, ApiResult};
use crate::http::parameters::Argument;
use crate::http::request::{CallerId, client_address};

/// The prefix of personal access tokens; everything else is treated as an access token.
const PERSONAL_TOKEN_PREFIX: &str = "rlp_";

/// The prefix of secrets of service accounts.
const ACCOUNT_SECRET_PREFIX: &str = "rls_";

/// The caller of this request. It is available in handlers of routes that require a token.
#[derive(Debug, Clone)]
pub(crate) struct Authenticated(pub(crate) Caller);

impl<S: Sync> FromRequestParts<S> for Authenticated {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        // A route that requires a caller but is listed as public is a bug, and must not grant access.
        parts.extensions.get::<Self>().cloned().ok_or_else(|| ApiError::unauthorized("this needs a token"))
    }
}

impl Argument for Authenticated {}

/// The caller of a request with a long-lived connection, and its credentials, which are checked again.
#[derive(Clone)]
pub(crate) struct StreamCaller {
    caller: Caller,
    /// The token or the cookie.
    headers: HeaderMap,
    from: Option<IpAddr>,
    is_operator: bool,
}

impl<S: Sync> FromRequestParts<S> for StreamCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let Authenticated(caller) = Authenticated::from_request_parts(parts, state).await?;
        let mut headers = HeaderMap::new();
        for name in [header::AUTHORIZATION, header::COOKIE] {
            for value in parts.headers.get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        let is_operator = parts.extensions.get::<LocalOperator>().is_some();
        Ok(Self { caller, headers, from: client_address(&parts.extensions), is_operator })
    }
}

impl Argument for StreamCaller {}

impl StreamCaller {
    /// As it was when it was last checked.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Checks it again: 401 when its token was revoked or has expired, or its session has ended. Its rights are those
    /// that it has now.
    pub(crate) async fn check(&mut self, auth: &Auth) -> ApiResult<()> {
        if !self.is_operator {
            self.caller = authenticate(auth, &Method::GET, &self.headers, self.from).await?;
        }
        Ok(())
    }
}

/// In the extensions of a request that was made in this process by who has opened the archive, and so may read all of
/// it anyway. Requests from outside have no extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalOperator;

impl LocalOperator {
    fn caller() -> Caller {
        Caller {
            kind: CallerKind::User,
            id: "-".to_owned(),
            name: "operator of this machine".to_owned(),
            administrator: true,
            permissions: Vec::new(),
        }
    }
}

/// Accepts a request with a valid token.
pub(crate) async fn require_token(State(auth): State<Auth>, mut request: Request, next: Next) -> Response {
    let from = client_address(request.extensions());
    let authenticated = match request.extensions().get::<LocalOperator>() {
        Some(_) => Ok(LocalOperator::caller()),
        None => authenticate(&auth, request.method(), request.headers(), from).await,
    };
    match authenticated {
        Ok(caller) => {
            if let Err(too_many) = auth.rate_limits().wait_for(&caller.id).await {
                return too_many.into_response();
            }
            let id = CallerId(caller.id.clone());
            request.extensions_mut().insert(Authenticated(caller));
            let mut response = next.run(request).await;
            response.extensions_mut().insert(id);
            response
        }
        // Only refused requests count against an address, so that callers behind the same proxy do not affect each
        // other.
        Err(error) if error.status == StatusCode::TOO_MANY_REQUESTS => error.into_response(),
        // Nor does what the archive could not check.
        Err(error) if error.status.is_server_error() => error.into_response(),
        Err(error) => match auth.rate_limits().check_anonymous(from) {
            Ok(()) => error.into_response(),
            Err(too_many) => too_many.into_response(),
        },
    }
}

/// Accepts a request unless its address has sent too many: for routes that exchange or check secrets.
pub(crate) async fn limit_anonymous(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    match auth.rate_limits().check_anonymous(client_address(request.extensions())) {
        Ok(()) => next.run(request).await,
        Err(too_many) => too_many.into_response(),
    }
}

/// A token takes precedence over a cookie: a program that sends one does so on purpose.
///
/// The catalog is not queried if the address has failed too often and the credential was not verified recently.
async fn authenticate(auth: &Auth, method: &Method, headers: &HeaderMap, from: Option<IpAddr>) -> ApiResult<Caller> {
    if !headers.contains_key(header::AUTHORIZATION)
        && let Some(text) = session::session_text(auth.settings(), headers)
    {
        auth.rate_limits().check_credential(from, Credential::Session(&text))?;
        let session = session::session(auth, &text, method, headers).await?;
        auth.rate_limits().note_verified(Credential::Session(&text));
        return Ok(session.caller);
    }
    caller_of(auth, &token_of(headers)?, from).await
}

/// True if a text is the secret of a service account, which is not a token but is exchanged for access tokens.
pub(crate) fn is_account_secret(text: &str) -> bool {
    text.starts_with(ACCOUNT_SECRET_PREFIX)
}

/// The caller with a token that came from an address.
pub(crate) async fn caller_of(auth: &Auth, token: &str, from: Option<IpAddr>) -> ApiResult<Caller> {
    let caller = if token.starts_with(PERSONAL_TOKEN_PREFIX) {
        auth.rate_limits().check_credential(from, Credential::Token(token))?;
        let caller = auth.store().accounts().authenticate_token(token).await?;
        if caller.is_some() {
            auth.rate_limits().note_verified(Credential::Token(token));
        }
        caller
    } else {
        let account = account_of(auth, token).await?.account;
        auth.store().accounts().caller(CallerKind::ServiceAccount, &account).await?
    };
    caller.ok_or_else(unknown_token)
}

/// Creates a session for a caller with a valid token.
pub(crate) async fn open_session(auth: &Auth, token: &str) -> ApiResult<NewSession> {
    if token.starts_with(PERSONAL_TOKEN_PREFIX) {
        return auth.store().accounts().open_session(token).await?.ok_or_else(unknown_token);
    }
    let verified = account_of(auth, token).await?;
    if auth.store().accounts().caller(CallerKind::ServiceAccount, &verified.account).await?.is_none() {
        return Err(unknown_token());
    }
    let expires_at = Timestamp::clamped(verified.expires_seconds.saturating_mul(1_000));
    let token = AccessToken { account_id: &verified.account, key_id: &verified.key_id, expires_at };
    Ok(auth.store().accounts().open_service_account_session(token).await?)
}

/// The next step for a caller whose token is not valid.
const UNKNOWN_TOKEN: &str = "this token is unknown, or was revoked; create one on the Access page of the web UI or with \
    `runlog admin tokens create`, and use that";

/// 401: the token is unknown.
pub(crate) fn unknown_token() -> ApiError {
    ApiError::unauthorized(UNKNOWN_TOKEN)
}

/// The token in the Authorization header: a bearer token, or the password of a client that supports only users and
/// passwords.
fn token_of(headers: &HeaderMap) -> ApiResult<Cow<'_, str>> {
    let value = headers.get(header::AUTHORIZATION).ok_or_else(|| {
        ApiError::unauthorized("a token is required").with_detail("send the header Authorization: Bearer <token>")
    })?;
    let text = value.to_str().unwrap_or_default().trim();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => {
            Ok(Cow::Borrowed(token.trim()))
        }
        _ if let Some((_, password)) = basic(text).filter(|(_, password)| !password.is_empty()) => {
            Ok(Cow::Owned(password))
        }
        _ => Err(ApiError::unauthorized("the Authorization header is not of the form Bearer <token>")),
    }
}

/// The user and the password of basic authentication. Source: RFC 7617.
pub(crate) fn basic(value: &str) -> Option<(String, String)> {
    let (scheme, encoded) = value.trim().split_once(' ')?;
    let decoded = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

#[derive(Serialize, Deserialize)]
struct Claims {
    /// The service account.
    sub: String,
    /// Seconds since 1970.
    iat: i64,
    /// Seconds since 1970.
    exp: i64,
    /// Distinguishes two tokens of the same second.
    jti: String,
}

/// A token of a service account (JWT, HS256) with this lifetime in seconds.
pub(crate) async fn issue(auth: &Auth, account: &str) -> ApiResult<String> {
    let (now, key) = (auth.now_seconds(), auth.token_keys().newest().await?);
    let claims = Claims {
        sub: account.to_owned(),
        iat: now,
        exp: now + auth.settings().access_token_seconds,
        jti: auth.random().uuid().to_string(),
    };
    let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::HS256) };
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&key.value)).map_err(|error| ApiError {
        cause: Some(std::sync::Arc::new(error)),
        ..ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "cannot create an access token")
    })
}

/// The claims of a valid access token.
struct VerifiedToken {
    account: String,
    key_id: String,
    /// Since 1970.
    expires_seconds: i64,
}

/// The service account that a token was issued to.
async fn account_of(auth: &Auth, token: &str) -> ApiResult<VerifiedToken> {
    let unknown = || ApiError::unauthorized(UNKNOWN_TOKEN);
    let key_id = jsonwebtoken::decode_header(token).ok().and_then(|header| header.kid).ok_or_else(unknown)?;
    let key = auth.token_keys().by_id(&key_id).await?.ok_or_else(unknown)?;
    let mut validation = Validation::new(Algorithm::HS256);
    // The library would use the system clock; this uses the injected clock.
    validation.validate_exp = false;
    validation.validate_aud = false;
    let claims = jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(&key.value), &validation)
        .map_err(|_| unknown())?
        .claims;
    match claims.exp > auth.now_seconds() {
        true => Ok(VerifiedToken { account: claims.sub, key_id, expires_seconds: claims.exp }),
        false => Err(ApiError::unauthorized("this access token has expired")
            .with_detail("request a new one with POST /security/oauth/token")),
    }
}

/// Accepts a request of an administrator.
pub(crate) async fn require_administrator(
    Authenticated(caller): Authenticated,
    request: Request,
    next: Next,
) -> Response {
    match rights::administrator(&caller) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}
