//! `POST /security/oauth/token`: an access token for a service account.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use runlog_model::wire::oauth::{TokenRequest, TokenResponse};
use serde::Deserialize;

use crate::app::App;
use crate::auth::rate_limit::Credential;
use crate::auth::token::{self, basic};
use crate::http::error::{ApiError, ApiResult};
use crate::http::json;
use crate::http::request::client_address;

/// The refusal of a grant other than client credentials.
pub(super) const UNSUPPORTED_GRANT: &str = "grant_type: only client_credentials is supported";

/// The body, as JSON or as a form. Unknown fields are ignored.
#[derive(Deserialize, Default)]
struct TokenForm {
    grant_type: Option<String>,
    audience: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

/// Exchanges a client ID and secret for an access token that is valid for half an hour.
#[utoipa::path(
    post,
    path = "/security/oauth/token",
    tag = "sign-in",
    request_body(content = TokenRequest, description = "As JSON or as a form"),
    responses((status = 200, description = "An access token", body = TokenResponse))
)]
pub(crate) async fn token(
    State(app): State<App>,
    headers: HeaderMap,
    extensions: Extensions,
    body: Body,
) -> ApiResult<Response> {
    let body = json::read(body, app.settings().bounds.body_bytes_max).await?;
    let form = token_form(&body)?;
    let (id, secret) = credentials(&headers, &form)?;
    let from = client_address(&extensions);
    app.auth().rate_limits().check_account(&id, from)?;
    let Some(account) = app.store().accounts().authenticate_service_account(&id, &secret).await? else {
        app.auth().rate_limits().note_failure(&id);
        return Err(ApiError::unauthorized("invalid client ID or secret"));
    };
    app.auth().rate_limits().note_verified(Credential::Secret(&id, from));
    check_request(&app, &form)?;

    let seconds = app.settings().access_token_seconds;
    let access_token = token::issue(app.auth(), &account.id).await?;
    let expires_in = match app.settings().expires_in_as_string {
        true => seconds.to_string().into(),
        false => seconds.into(),
    };
    let body = TokenResponse { access_token, token_type: "Bearer".to_owned(), expires_in };
    Ok((StatusCode::OK, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// Parses either form according to the body: clients send both with the wrong `Content-Type`.
fn token_form(body: &[u8]) -> ApiResult<TokenForm> {
    match body.trim_ascii().first() {
        None => Ok(TokenForm::default()),
        Some(b'{') => json::parse(body),
        Some(_) => serde_urlencoded::from_bytes(body).map_err(|_| {
            ApiError::invalid("the body is neither JSON nor a form; it must contain grant_type and audience")
        }),
    }
}

fn credentials(headers: &HeaderMap, form: &TokenForm) -> ApiResult<(String, String)> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let pair = value.to_str().ok().and_then(basic);
        return pair.ok_or_else(|| {
            ApiError::unauthorized("the Authorization header is not of the form Basic <base64 of id:secret>")
        });
    }
    match (&form.client_id, &form.client_secret) {
        (Some(id), Some(secret)) => Ok((id.clone(), secret.clone())),
        _ => Err(ApiError::unauthorized("client ID and secret are required")
            .with_detail("send them as Basic credentials, or as client_id and client_secret in the form")),
    }
}

fn check_request(app: &App, form: &TokenForm) -> ApiResult<()> {
    match form.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => return Err(ApiError::invalid(UNSUPPORTED_GRANT)),
        None => return Err(ApiError::invalid("grant_type is missing; send client_credentials")),
    }
    let without_slash = |url: &str| url.trim_end_matches('/').to_owned();
    match (&form.audience, &app.settings().public_url) {
        (Some(audience), Some(url)) if without_slash(audience) != without_slash(url) => {
            Err(ApiError::invalid(format!("audience: this service is {url}")))
        }
        _ => Ok(()),
    }
}
