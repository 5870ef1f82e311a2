//! `/runlog/v1/session`: signing in and out with a browser, and the current caller.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use runlog_model::wire::ErrorBody;
use runlog_model::wire::session::{NewSession, SessionBody, SessionKind, SessionWorkspace};
use runlog_model::workspaces::{Right, Rights};
use runlog_model::{Timestamp, WorkspaceId};
use runlog_store::accounts::{Caller, CallerKind, GrantFilter};

use crate::app::App;
use crate::auth::session;
use crate::auth::token::{self, Authenticated};
use crate::http::error::{ApiError, ApiResult};
use crate::http::json::JsonBody;
use crate::http::parameters::Argument;
use crate::http::request::media_type;

/// `POST /runlog/v1/session`: creates a session from a token, with the same rights, for at most twelve hours.
#[utoipa::path(
    post,
    path = "/runlog/v1/session",
    tag = "sign-in",
    request_body(content = NewSession),
    responses((status = 200, description = "The session cookie is set", body = SessionBody, headers(("set-cookie" = String, description = "Session cookie"))), (status = 415, description = "The content type is not JSON", body = ErrorBody))
)]
pub(crate) async fn open(
    State(app): State<App>,
    _: RequiresJson,
    JsonBody(new): JsonBody<NewSession>,
) -> ApiResult<Response> {
    let opened = token::open_session(app.auth(), new.token.trim()).await?;
    let session = app.store().accounts().session(&opened.text).await?.ok_or_else(token::unknown_token)?;
    let seconds = opened.expires_at.millis_since(app.now()) / 1_000;
    let cookie = session::cookie(app.auth().settings(), &opened.text, seconds);
    let body = shown(&app, &session.caller, Some(opened.expires_at)).await?;
    Ok(([(header::SET_COOKIE, cookie)], [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// A request with a JSON content type. Pages of other sites can make a browser send other types without a preflight
/// request.
pub(crate) struct RequiresJson;

impl<S: Sync> FromRequestParts<S> for RequiresJson {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> ApiResult<Self> {
        match media_type(&parts.headers) == "application/json" {
            true => Ok(Self),
            false => {
                let message = "the token must be sent as JSON; send Content-Type: application/json";
                Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
            }
        }
    }
}

impl Argument for RequiresJson {}

/// `GET /runlog/v1/session`: returns the caller and its rights.
#[utoipa::path(
    get,
    path = "/runlog/v1/session",
    tag = "sign-in",
    responses((status = 200, description = "The caller", body = SessionBody))
)]
pub(crate) async fn one(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let expires_at = match session::session_text(app.auth().settings(), &headers) {
        Some(text) if !headers.contains_key(header::AUTHORIZATION) => {
            app.store().accounts().session(&text).await?.map(|session| session.expires_at)
        }
        _ => None,
    };
    let body = shown(&app, &caller, expires_at).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// `DELETE /runlog/v1/session`: ends the session of the cookie.
#[utoipa::path(
    delete,
    path = "/runlog/v1/session",
    tag = "sign-in",
    responses((status = 204, description = "The session has ended, or there was none"))
)]
pub(crate) async fn close(State(app): State<App>, headers: HeaderMap) -> ApiResult<Response> {
    if let Some(text) = session::session_text(app.auth().settings(), &headers) {
        app.store().accounts().close_session(&text).await?;
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, session::cookie(app.auth().settings(), "", 0))]).into_response())
}

async fn shown(app: &App, caller: &Caller, expires_at: Option<Timestamp>) -> ApiResult<SessionBody> {
    let filter = GrantFilter { caller_id: Some(caller.id.clone()), ..GrantFilter::default() };
    let grants = app.store().accounts().grants(caller.kind, &filter).await?;
    let granted: HashMap<WorkspaceId, Rights> =
        grants.into_iter().map(|grant| (grant.workspace_id, grant.rights)).collect();
    let rights = |id| match caller.administrator {
        true => Right::ALL.to_vec(),
        false => granted.get(&id).map(|rights| rights.iter().collect()).unwrap_or_default(),
    };
    let workspaces = app.store().workspaces().list().await?.into_iter().map(|workspace| SessionWorkspace {
        rights: rights(workspace.id),
        id: workspace.id,
        name: workspace.name,
        environment: workspace.environment.name,
    });
    Ok(SessionBody {
        id: caller.id.clone(),
        name: caller.name.clone(),
        kind: match caller.kind {
            CallerKind::User => SessionKind::User,
            CallerKind::ServiceAccount => SessionKind::ServiceAccount,
        },
        administrator: caller.administrator,
        permissions: caller.permissions.clone(),
        workspaces: workspaces.filter(|workspace| !workspace.rights.is_empty()).collect(),
        expires_at,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}
