//! Browser sessions: the cookie replaces the token, so that no page ever contains the token itself.
//!
//! Other sites cannot use it for two reasons: the browser sends the cookie only with requests of the same site
//! (`SameSite=Strict`), and a request that changes something must have a header that no other site can add.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use runlog_store::accounts::Session;

use crate::auth::oidc::check;
use crate::auth::state::{Auth, AuthSettings};
use crate::http::error::{ApiError, ApiResult};

/// The header that changing requests with a cookie must have; its value does not matter.
pub(crate) const WEB_HEADER: HeaderName = HeaderName::from_static("x-runlog-web");

/// The name of the cookie. With TLS, its prefix restricts it to this host and to TLS.
fn cookie_name(settings: &AuthSettings) -> &'static str {
    if is_secure(settings) { "__Host-runlog_session" } else { "runlog_session" }
}

/// True if clients use TLS, either of the service or of a proxy.
fn is_secure(settings: &AuthSettings) -> bool {
    let public = settings.public_url.as_deref().unwrap_or_default();
    settings.has_tls || public.starts_with("https://")
}

/// The cookie of a session that is valid for this number of seconds.
pub(crate) fn cookie(settings: &AuthSettings, session: &str, seconds: i64) -> HeaderValue {
    let (name, secure) = (cookie_name(settings), if is_secure(settings) { "; Secure" } else { "" });
    let text = format!("{name}={session}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    // Sessions consist of letters and digits only.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// The name of the cookie of a browser that is signing in at the identity provider.
fn sign_in_cookie_name(settings: &AuthSettings) -> &'static str {
    if is_secure(settings) { "__Host-runlog_sign_in" } else { "runlog_sign_in" }
}

/// The cookie of a browser that is signing in at the identity provider; an empty text deletes it. It is sent with the
/// redirect from there, too (`SameSite=Lax`).
pub(crate) fn sign_in_cookie(settings: &AuthSettings, text: &str, seconds: i64) -> HeaderValue {
    let (name, secure) = (sign_in_cookie_name(settings), if is_secure(settings) { "; Secure" } else { "" });
    let text = format!("{name}={text}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// The text of the cookie of a browser that is signing in.
pub(crate) fn sign_in_text(settings: &AuthSettings, headers: &HeaderMap) -> Option<String> {
    cookie_text(sign_in_cookie_name(settings), headers)
}

/// The session in the cookie of a request; none if there is no cookie.
pub(crate) fn session_text(settings: &AuthSettings, headers: &HeaderMap) -> Option<String> {
    cookie_text(cookie_name(settings), headers)
}

fn cookie_text(name: &str, headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    cookies.find(|(found, _)| found.trim() == name).map(|(_, value)| value.to_owned())
}

/// The session of a request with a cookie; 401 if it has expired, 403 if the request may come from another site.
pub(crate) async fn session(auth: &Auth, text: &str, method: &Method, headers: &HeaderMap) -> ApiResult<Session> {
    let session = auth.store().accounts().session(text).await?.ok_or_else(ended)?;
    let session = check::checked(auth, text, session).await?.ok_or_else(ended)?;
    if let Some(key_id) = &session.key_id
        && auth.token_keys().by_id(key_id).await?.is_none()
    {
        return Err(ended());
    }
    if !method.is_safe() && !headers.contains_key(WEB_HEADER) {
        let message =
            format!("a request that changes something needs the header {WEB_HEADER} in addition to the cookie");
        return Err(ApiError::forbidden(message).with_detail("programs send a token instead of a cookie"));
    }
    Ok(session)
}

fn ended() -> ApiError {
    ApiError::unauthorized("this session has ended").with_detail("sign in again")
}
