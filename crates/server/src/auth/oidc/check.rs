//! Checks whether the account of a session still exists at the provider, and which rights it has now.

use std::sync::Arc;

use axum::http::StatusCode;
use runlog_model::Timestamp;
use runlog_store::accounts::{Identity, ProviderSession, Session};
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use crate::auth::oidc::Oidc;
use crate::auth::oidc::provider::OidcError;
use crate::auth::oidc::refresh_token;
use crate::auth::oidc::sign_in::{self, SignInError, SignInRequest, later};
use crate::auth::state::Auth;
use crate::http::error::{ApiError, ApiResult};
use crate::limits;

/// The session, after its account was checked if that is due. None if it has ended. 503 if the provider could not be
/// reached for too long.
pub(crate) async fn checked(auth: &Auth, text: &str, session: Session) -> ApiResult<Option<Session>> {
    let Some(kept) = &session.provider else { return Ok(Some(session)) };
    let Some(oidc) = auth.oidc().filter(|oidc| oidc.settings().issuer == kept.issuer) else {
        // The settings no longer name the provider.
        auth.store().accounts().close_session(text).await?;
        return Ok(None);
    };
    let now = auth.now();
    if now < kept.check_at && now < unchecked_until(oidc, kept) {
        return Ok(Some(session));
    }
    let (auth, oidc, text) = (auth.clone(), Arc::clone(oidc), text.to_owned());
    // A refresh token may be valid once only: a client that disconnects must not lose the next one.
    let tasks = auth.clone();
    tasks.changes().run(async move { check(&auth, &oidc, &text).await }).await
}

async fn check(auth: &Auth, oidc: &Oidc, text: &str) -> ApiResult<Option<Session>> {
    let lock = usize::from(Sha256::digest(text)[0]) % oidc.checks.len();
    let _one = oidc.checks[lock].lock().await;
    let accounts = auth.store().accounts();
    let Some(session) = accounts.session(text).await? else { return Ok(None) };
    let (now, Some(kept)) = (auth.now(), session.provider.clone()) else { return Ok(Some(session)) };
    // Another request has checked it meanwhile, or another node is doing so.
    if now < kept.check_at
        || !accounts.claim_session_check(text, kept.check_at, later(now, limits::OIDC_CHECK_TIME_MAX)).await?
    {
        return unchecked(oidc, session, &kept, now).map(Some);
    }
    match refresh(auth, oidc, text, &session, &kept).await {
        Ok(()) => Ok(accounts.session(text).await?),
        Err(SignInError::Archive(error)) => Err(error.into()),
        Err(SignInError::Provider(error)) if !ends_session(&error) => {
            warn!(error = %error, user = session.caller.name, "cannot check the account of a session");
            unchecked(oidc, session, &kept, now).map(Some)
        }
        Err(error) => {
            info!(reason = %error, user = session.caller.name, "a session ends: its account is not confirmed");
            accounts.close_session(text).await?;
            Ok(None)
        }
    }
}

/// Until when a session is used whose account cannot be checked.
fn unchecked_until(oidc: &Oidc, kept: &ProviderSession) -> Timestamp {
    later(kept.confirmed_at, oidc.settings().check_every.saturating_add(limits::OIDC_UNCHECKED_SESSION_LIFE))
}

/// A session whose account cannot be checked now. 503 if that is so for too long.
fn unchecked(oidc: &Oidc, session: Session, kept: &ProviderSession, now: Timestamp) -> ApiResult<Session> {
    if now < unchecked_until(oidc, kept) {
        return Ok(session);
    }
    let message = "your account cannot be checked: the identity provider does not respond";
    Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message)
        .with_detail("try again later, or sign in with a token")
        .retried_after(limits::OIDC_CHECK_TIME_MAX.as_secs()))
}

/// True if the provider refuses the account, and not only this request or its client.
fn ends_session(error: &OidcError) -> bool {
    const ENDED: [&str; 5] =
        ["invalid_grant", "access_denied", "login_required", "interaction_required", "consent_required"];
    matches!(error, OidcError::Refused { code, .. } if ENDED.contains(&code.as_str()))
}

async fn refresh(
    auth: &Auth,
    oidc: &Oidc,
    text: &str,
    session: &Session,
    kept: &ProviderSession,
) -> Result<(), SignInError> {
    let token = kept.refresh_token.as_deref().and_then(|token| refresh_token::decrypt(text, token));
    let token = token.ok_or_else(|| OidcError::Refused { code: "invalid_grant".to_owned(), description: None })?;
    let grant = [("grant_type", "refresh_token"), ("refresh_token", secrecy::ExposeSecret::expose_secret(&token))];
    let answer = oidc.provider().token(&grant).await?;
    let accounts = auth.store().accounts();
    let next = answer.refresh_token.as_ref().and_then(|token| refresh_token::encrypt(text, token, auth.random()));
    // First of all the next refresh token is kept: this one may have become invalid.
    if let Some(next) = next {
        accounts.keep_refresh_token(text, &next).await?;
    }
    if let Some(account) = sign_in::refreshed(auth, oidc, &answer, &kept.subject).await? {
        let (name, id) = (&session.caller.name, &session.caller.id);
        let store = sign_in::audited(auth, name, id, "change access", &SignInRequest::default());
        let identity = Identity { issuer: &kept.issuer, subject: &kept.subject };
        store.accounts().confirm_identity(identity, &account.access).await?;
    }
    Ok(accounts.confirm_session(text, later(auth.now(), oidc.settings().check_every)).await?)
}
