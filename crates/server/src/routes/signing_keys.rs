//! `/runlog/v1/keys`: the keys that sign access tokens and links, and their rotation.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use runlog_model::wire::admin::{KeyBody, KeyPurpose, NewKey};
use runlog_store::accounts::SigningKey;

use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::auth::signing_keys::{ACCESS_TOKENS, LINKS};
use crate::http::error::ApiResult;
use crate::http::json::JsonBody;

/// `GET /runlog/v1/keys`: lists the accepted signing keys, without their key material.
#[utoipa::path(
    get,
    path = "/runlog/v1/keys",
    tag = "administration",
    responses((status = 200, description = "Keys of each purpose, newest first", body = Vec<KeyBody>))
)]
pub(crate) async fn list(State(app): State<App>) -> ApiResult<Json<Vec<KeyBody>>> {
    let tokens = app.store().signing_keys().list(ACCESS_TOKENS).await?;
    let links = app.store().signing_keys().list(LINKS).await?;
    let tokens = tokens.iter().map(|key| shown(key, KeyPurpose::AccessTokens));
    Ok(Json(tokens.chain(links.iter().map(|key| shown(key, KeyPurpose::Links))).collect()))
}

/// `POST /runlog/v1/keys`: creates a signing key; signatures of older keys remain valid unless they are revoked.
#[utoipa::path(
    post,
    path = "/runlog/v1/keys",
    tag = "administration",
    request_body(content = NewKey),
    responses(
        (status = 201, description = "The new signing key", body = KeyBody),
        (status = 409, description = "Another key was created at the same time", body = runlog_model::wire::ErrorBody)
    )
)]
pub(crate) async fn rotate(
    State(app): State<App>,
    change: AuditedChange,
    JsonBody(new): JsonBody<NewKey>,
) -> ApiResult<(StatusCode, Json<KeyBody>)> {
    let (name, keys) = match new.purpose {
        KeyPurpose::AccessTokens => (ACCESS_TOKENS, app.auth().token_keys()),
        KeyPurpose::Links => (LINKS, app.auth().link_keys()),
    };
    let key = change.store(StatusCode::CREATED).signing_keys().rotate(name, new.revoke_older).await?;
    keys.refresh().await?;
    Ok((StatusCode::CREATED, Json(shown(&key, new.purpose))))
}

fn shown(key: &SigningKey, purpose: KeyPurpose) -> KeyBody {
    KeyBody { id: key.id.clone(), purpose, created_date: key.created_at }
}
