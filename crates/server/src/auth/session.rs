//! Browser sessions: the cookie stands for a token, so that no page ever contains the token itself.
//!
//! Two things keep other sites from acting with it: the browser sends the cookie only to requests that begin here
//! (`SameSite=Strict`), and a request that changes something must carry a header that no other site can add.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use runlog_store::accounts::Session;

use crate::auth::state::{Auth, AuthSettings};
use crate::http::error::{ApiError, ApiResult};

/// What a request must carry that changes something in the name of a cookie; its value does not matter.
pub(crate) const WEB_HEADER: HeaderName = HeaderName::from_static("x-runlog-web");

/// The name of the cookie. With TLS its prefix makes browsers take it from this host alone, over TLS alone.
fn cookie_name(settings: &AuthSettings) -> &'static str {
    if is_secure(settings) { "__Host-runlog_session" } else { "runlog_session" }
}

/// True when clients reach the service by TLS, its own or that of a proxy before it.
fn is_secure(settings: &AuthSettings) -> bool {
    let public = settings.public_url.as_deref().unwrap_or_default();
    settings.has_tls || public.starts_with("https://")
}

/// The cookie that carries a session for so many seconds.
pub(crate) fn cookie(settings: &AuthSettings, session: &str, seconds: i64) -> HeaderValue {
    let (name, secure) = (cookie_name(settings), if is_secure(settings) { "; Secure" } else { "" });
    let text = format!("{name}={session}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    // Our own sessions are plain letters and digits.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// The session in the cookie of a request; none when there is no cookie.
pub(crate) fn session_text(settings: &AuthSettings, headers: &HeaderMap) -> Option<String> {
    let name = cookie_name(settings);
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    cookies.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
}

/// The session of a request that shows a cookie; 401 when it has ended, 403 when another site may be behind the request.
pub(crate) async fn session(auth: &Auth, text: &str, method: &Method, headers: &HeaderMap) -> ApiResult<Session> {
    let session = auth.store().accounts().session(text).await?.ok_or_else(ended)?;
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
