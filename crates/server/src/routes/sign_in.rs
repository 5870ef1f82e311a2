//! `/runlog/v1/sign-in`: signing in with an identity provider, in a browser or on another device.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::sign_in::{
    DeviceSignInBody, DeviceTokenBody, DeviceTokenRequest, IdentityProviderBody, SignInBody,
};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use crate::app::App;
use crate::auth::oidc::Oidc;
use crate::auth::oidc::provider::OidcError;
use crate::auth::oidc::sign_in::{self, SignInError, SignInRequest};
use crate::auth::session;
use crate::auth::state::Auth;
use crate::http::error::{ApiError, ApiResult};
use crate::http::json::{self, JsonBody};
use crate::http::parameters::{Query, query_parameters};
use crate::http::request::{RequestId, client_address};
use crate::limits;

/// The path that begins the sign-in of a browser.
const START_PATH: &str = "/runlog/v1/sign-in/oidc";

/// The path that the provider redirects browsers to.
const CALLBACK_PATH: &str = "/runlog/v1/sign-in/oidc/callback";

/// How often to ask whether the user has signed in, unless the provider says otherwise. Unit: seconds. Source: RFC
/// 8628, 3.2.
const DEVICE_INTERVAL: u64 = 5;

query_parameters! {
    /// The parameters of the start of a sign-in.
    pub(crate) struct StartQuery {
        /// The path of the web UI to return to
        to: Option<String> = "to",
    }
}

query_parameters! {
    /// The parameters of a redirect from the provider.
    pub(crate) struct CallbackQuery {
        /// The authorisation code
        code: Option<String> = "code",
        /// The state of the sign-in
        state: Option<String> = "state",
        /// The error code of the provider
        error: Option<String> = "error",
        /// The issuer, from providers that name themselves
        iss: Option<String> = "iss",
    }
}

/// The cookie of a browser that signs in.
struct Flow {
    state: String,
    nonce: String,
    verifier: String,
    /// The path to return to.
    to: String,
}

impl Flow {
    fn begin(auth: &Auth, to: Option<String>) -> Self {
        let secret = || {
            let mut bytes = [0; 32];
            auth.random().fill(&mut bytes);
            URL_SAFE_NO_PAD.encode(bytes)
        };
        Self { state: secret(), nonce: secret(), verifier: secret(), to: local_path(to.as_deref()) }
    }

    fn cookie_text(&self) -> String {
        [&self.state, &self.nonce, &self.verifier, &URL_SAFE_NO_PAD.encode(&self.to)].map(String::as_str).join(".")
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(str::to_owned);
        let (state, nonce, verifier) = (parts.next()?, parts.next()?, parts.next()?);
        let to = String::from_utf8(URL_SAFE_NO_PAD.decode(parts.next()?).ok()?).ok()?;
        Some(Self { state, nonce, verifier, to: local_path(Some(&to)) })
    }
}

/// A path of this service: a link to the sign-in must not lead to another host.
fn local_path(to: Option<&str>) -> String {
    let is_local = |path: &&str| {
        path.starts_with('/')
            && !path.starts_with("//")
            && path.len() <= 1_000
            && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    to.filter(is_local).unwrap_or("/").to_owned()
}

/// `GET /runlog/v1/sign-in`: lists the ways of signing in.
#[utoipa::path(
    get,
    path = "/runlog/v1/sign-in",
    tag = "sign-in",
    responses((status = 200, description = "The ways of signing in, besides tokens", body = SignInBody))
)]
pub(crate) async fn ways(State(app): State<App>) -> Json<SignInBody> {
    let provider = app
        .auth()
        .oidc()
        .map(|oidc| IdentityProviderBody { name: oidc.settings().name.clone(), path: START_PATH.to_owned() });
    Json(SignInBody { identity_provider: provider })
}

/// `GET /runlog/v1/sign-in/oidc`: sends a browser to the identity provider.
#[utoipa::path(
    get,
    path = "/runlog/v1/sign-in/oidc",
    tag = "sign-in",
    responses((status = 303, description = "To the identity provider"), (status = 404, description = "No identity provider is set up", body = ErrorBody))
)]
pub(crate) async fn start(State(app): State<App>, Query(query): Query<StartQuery>) -> ApiResult<Response> {
    let (auth, oidc) = (app.auth(), oidc(app.auth())?);
    let metadata = match oidc.provider().metadata().await {
        Ok(metadata) => metadata,
        Err(error) => {
            warn!(error = %error, "cannot send a browser to the identity provider");
            return Ok(redirect("/?sign_in=unavailable", None));
        }
    };
    let flow = Flow::begin(auth, query.to);
    let (settings, callback) = (oidc.settings(), callback_url(auth));
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&flow.verifier));
    let mut url = metadata.authorization_endpoint.clone();
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &settings.client_id)
        .append_pair("redirect_uri", &callback)
        .append_pair("scope", &settings.scopes.join(" "))
        .append_pair("state", &flow.state)
        .append_pair("nonce", &flow.nonce)
        .append_pair("code_challenge", &challenge)
        .append_pair("code_challenge_method", "S256");
    let cookie = session::sign_in_cookie(auth.settings(), &flow.cookie_text(), limits::OIDC_SIGN_IN_SECONDS_MAX);
    Ok(redirect(url.as_str(), Some(cookie)))
}

/// `GET /runlog/v1/sign-in/oidc/callback`: signs a browser in that returns from the identity provider.
#[utoipa::path(
    get,
    path = "/runlog/v1/sign-in/oidc/callback",
    tag = "sign-in",
    responses((status = 303, description = "To the web UI, with a session cookie if the account has access"), (status = 404, description = "No identity provider is set up", body = ErrorBody))
)]
pub(crate) async fn callback(
    State(app): State<App>,
    Query(query): Query<CallbackQuery>,
    headers: HeaderMap,
    extensions: Extensions,
) -> ApiResult<Response> {
    let (auth, oidc) = (app.auth().clone(), Arc::clone(oidc(app.auth())?));
    let flow = session::sign_in_text(auth.settings(), &headers).as_deref().and_then(Flow::read);
    // Another site, or a second sign-in of the same browser.
    let Some(flow) = flow.filter(|flow| query.state.as_deref() == Some(&flow.state)) else {
        return Ok(redirect("/?sign_in=expired", None));
    };
    if query.iss.as_deref().is_some_and(|issuer| issuer != oidc.settings().issuer) {
        warn!("a redirect of a sign-in is from another identity provider");
        return Ok(forget(&auth, "/?sign_in=failed"));
    }
    if let Some(error) = &query.error {
        let shown: String = error.chars().filter(|c| !c.is_control()).take(100).collect();
        info!(error = shown, "the identity provider has refused a sign-in");
        return Ok(forget(&auth, "/?sign_in=denied"));
    }
    let Some(code) = query.code else { return Ok(forget(&auth, "/?sign_in=failed")) };
    let (request, is_named) = (sign_in_request(&extensions), query.iss.is_some());
    let tasks = auth.clone();
    let signed_in = async move {
        let opened = open(&auth, &oidc, &flow, &code, is_named, &request).await;
        let response = match opened {
            Ok(opened) => {
                let seconds = opened.expires_at.millis_since(auth.now()) / 1_000;
                let mut response = forget(&auth, &flow.to);
                response
                    .headers_mut()
                    .append(header::SET_COOKIE, session::cookie(auth.settings(), &opened.text, seconds));
                response
            }
            Err(error) => {
                warn!(error = %error, "a sign-in with the identity provider has failed");
                sign_in::note_refusal(&auth, &error, &request).await;
                forget(&auth, &format!("/?sign_in={}", code_of(&error)))
            }
        };
        Ok(response)
    };
    // A code is valid once only.
    tasks.changes().run(signed_in).await
}

async fn open(
    auth: &Auth,
    oidc: &Oidc,
    flow: &Flow,
    code: &str,
    is_named: bool,
    request: &SignInRequest,
) -> Result<runlog_store::accounts::NewSession, SignInError> {
    if oidc.provider().metadata().await?.authorization_response_iss_parameter_supported && !is_named {
        return Err(OidcError::Invalid("its redirect has no iss".to_owned()).into());
    }
    let callback = callback_url(auth);
    let grant = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", callback.as_str()),
        ("code_verifier", flow.verifier.as_str()),
    ];
    let answer = oidc.provider().token(&grant).await?;
    let account = sign_in::account(auth, oidc, &answer, Some(&flow.nonce)).await?;
    sign_in::open_session(auth, oidc, &account, answer.refresh_token.as_ref(), request).await
}

/// `POST /runlog/v1/sign-in/device`: begins a sign-in of a program, which the user completes in any browser.
#[utoipa::path(
    post,
    path = "/runlog/v1/sign-in/device",
    tag = "sign-in",
    responses((status = 200, description = "The code for the user", body = DeviceSignInBody), (status = 404, description = "No identity provider is set up", body = ErrorBody), (status = 501, description = "The identity provider does not offer the device flow", body = ErrorBody))
)]
pub(crate) async fn device(State(app): State<App>) -> ApiResult<Response> {
    let oidc = oidc(app.auth())?;
    let begun = oidc.provider().device().await.map_err(refused)?.ok_or_else(|| {
        let message = "the identity provider does not offer the device flow";
        ApiError::new(StatusCode::NOT_IMPLEMENTED, message)
            .with_detail("allow it there for this client, or use a token")
    })?;
    let body = DeviceSignInBody {
        device_code: begun.device_code,
        user_code: begun.user_code,
        verification_uri: begun.verification_uri,
        verification_uri_complete: begun.verification_uri_complete,
        expires_in: begun.expires_in,
        interval: begun.interval.unwrap_or(DEVICE_INTERVAL),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// `POST /runlog/v1/sign-in/device/token`: returns a personal access token when the user has signed in.
#[utoipa::path(
    post,
    path = "/runlog/v1/sign-in/device/token",
    tag = "sign-in",
    request_body(content = DeviceTokenRequest),
    responses((status = 200, description = "A token, or that the user has not signed in yet", body = DeviceTokenBody), (status = 403, description = "The account has no access, or the user has refused", body = ErrorBody), (status = 404, description = "No identity provider is set up", body = ErrorBody), (status = 409, description = "Another user has the name", body = ErrorBody))
)]
pub(crate) async fn device_token(
    State(app): State<App>,
    extensions: Extensions,
    JsonBody(wanted): JsonBody<DeviceTokenRequest>,
) -> ApiResult<Response> {
    let (auth, oidc, request) = (app.auth().clone(), Arc::clone(oidc(app.auth())?), sign_in_request(&extensions));
    if wanted.name.trim().is_empty() || wanted.name.chars().count() > 200 {
        return Err(ApiError::invalid("name: must have 1 to 200 characters"));
    }
    let tasks = auth.clone();
    let exchange = async move {
        let grant = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", wanted.device_code.as_str()),
        ];
        let answer = match oidc.provider().token(&grant).await {
            Ok(answer) => answer,
            Err(OidcError::Refused { code, .. }) if code == "authorization_pending" => return Ok(pending(false)),
            Err(OidcError::Refused { code, .. }) if code == "slow_down" => return Ok(pending(true)),
            Err(error) => return Err(refused(error)),
        };
        let signed_in = async {
            let account = sign_in::account(&auth, &oidc, &answer, None).await?;
            sign_in::create_token(&auth, &oidc, &account, wanted.name.trim(), &request).await
        };
        match signed_in.await {
            Ok((caller, token)) => Ok(token_response(caller.name, token.token, token.expiration_date)),
            Err(error) => {
                warn!(error = %error, "a sign-in with the identity provider has failed");
                sign_in::note_refusal(&auth, &error, &request).await;
                Err(refusal(error))
            }
        }
    };
    // A device code is valid once only.
    tasks.changes().run(exchange).await
}

/// The form of a back-channel logout.
#[derive(Deserialize)]
struct LogoutForm {
    logout_token: Option<String>,
}

/// `POST /runlog/v1/sign-in/oidc/logout`: ends sessions at the request of the identity provider (back-channel logout).
#[utoipa::path(
    post,
    path = "/runlog/v1/sign-in/oidc/logout",
    tag = "sign-in",
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`logout_token`, signed by the provider"),
    responses((status = 204, description = "The sessions have ended, or there were none"), (status = 404, description = "No identity provider is set up", body = ErrorBody))
)]
pub(crate) async fn logout(State(app): State<App>, extensions: Extensions, body: Body) -> ApiResult<Response> {
    let oidc = oidc(app.auth())?;
    let body = json::read(body, app.settings().bounds.body_bytes_max).await?;
    let form: Option<LogoutForm> = serde_urlencoded::from_bytes(&body).ok();
    let token = form.and_then(|form| form.logout_token);
    let token = token.ok_or_else(|| ApiError::invalid("logout_token is missing; send it as a form"))?;
    let claims = oidc.provider().logout_token(&token).await.map_err(|error| match error {
        OidcError::Unavailable(_) => refused(error),
        _ => ApiError::invalid(format!("logout_token: {error}")),
    })?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let (subject, provider_session) = (text("sub"), text("sid"));
    let issuer = &oidc.settings().issuer;
    let ended = app.store().accounts().close_provider_sessions(issuer, subject, provider_session).await?;
    info!(
        sessions = ended,
        request.id = sign_in_request(&extensions).request_id,
        "the identity provider has ended sessions"
    );
    Ok((StatusCode::NO_CONTENT, [(header::CACHE_CONTROL, "no-store")]).into_response())
}

fn oidc(auth: &Auth) -> ApiResult<&Arc<Oidc>> {
    auth.oidc().ok_or_else(|| {
        ApiError::not_found("sign-in with an identity provider is not set up here").with_detail("sign in with a token")
    })
}

fn callback_url(auth: &Auth) -> String {
    format!("{}{CALLBACK_PATH}", auth.settings().public_url.as_deref().unwrap_or_default())
}

fn sign_in_request(extensions: &Extensions) -> SignInRequest {
    SignInRequest {
        address: client_address(extensions).map(|address| address.to_string()).unwrap_or_default(),
        request_id: extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default(),
    }
}

/// A redirect, which no cache keeps and whose query no other site learns.
fn redirect(to: &str, cookie: Option<HeaderValue>) -> Response {
    let location = HeaderValue::try_from(to).unwrap_or(HeaderValue::from_static("/"));
    let headers = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store")), (header::LOCATION, location)];
    let mut response = (StatusCode::SEE_OTHER, headers).into_response();
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// A redirect of a browser whose sign-in has ended.
fn forget(auth: &Auth, to: &str) -> Response {
    redirect(to, Some(session::sign_in_cookie(auth.settings(), "", 0)))
}

fn pending(slow_down: bool) -> Response {
    let body = DeviceTokenBody { pending: true, slow_down, token: None, user: None, expiration_date: None };
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

fn token_response(user: String, token: Option<String>, expiration_date: Option<runlog_model::Timestamp>) -> Response {
    let body = DeviceTokenBody { pending: false, slow_down: false, token, user: Some(user), expiration_date };
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// The options that the web UI shows.
fn code_of(error: &SignInError) -> &'static str {
    match error {
        SignInError::NoAccess(_) => "no-access",
        SignInError::NameTaken(_) => "name-taken",
        SignInError::Provider(OidcError::Unavailable(_)) | SignInError::Archive(_) => "unavailable",
        SignInError::Provider(OidcError::Refused { .. } | OidcError::Invalid(_)) => "failed",
    }
}

fn refusal(error: SignInError) -> ApiError {
    match error {
        SignInError::NoAccess(_) => ApiError::forbidden("your account has no access to this archive")
            .with_detail("an administrator can give it access in the settings, by a rule [[oidc.access]]"),
        SignInError::NameTaken(message) => ApiError::new(StatusCode::CONFLICT, message),
        SignInError::Provider(error) => refused(error),
        SignInError::Archive(error) => error.into(),
    }
}

fn refused(error: OidcError) -> ApiError {
    let message = error.to_string();
    match error {
        OidcError::Unavailable(_) => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).retried_after(10),
        OidcError::Refused { code, .. } if code == "access_denied" => ApiError::forbidden("the sign-in was refused"),
        OidcError::Refused { code, .. } if code == "expired_token" || code == "invalid_grant" => {
            ApiError::unauthorized("the code has expired, or was used already").with_detail("begin again")
        }
        OidcError::Refused { .. } | OidcError::Invalid(_) => {
            warn!(error = message, "the identity provider rejects all sign-ins");
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message)
                .with_detail("an administrator must correct the settings of the identity provider")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_returns_to_this_service_only() {
        for (to, expected) in [
            ("/runs/1?line=2", "/runs/1?line=2"),
            ("//evil.example/", "/"),
            ("/\\evil.example/", "/"),
            ("https://evil.example/", "/"),
            ("/a\r\nSet-Cookie: x=y", "/"),
            ("", "/"),
        ] {
            assert_eq!(local_path(Some(to)), expected);
        }
        assert_eq!(local_path(None), "/");
    }
}
