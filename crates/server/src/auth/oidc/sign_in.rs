//! The end of a sign-in, after the provider has named an account: its user, its rights, and a session or a token.

use axum::http::StatusCode;
use runlog_model::Timestamp;
use runlog_model::wire::admin::{AuditEntry, TokenBody};
use runlog_store::Store;
use runlog_store::accounts::{Caller, Identity, IdentityAccess, IdentitySession, NewSession};
use runlog_store::audit::AuditContext;
use secrecy::SecretString;
use serde_json::Value;
use tracing::warn;

use crate::auth::oidc::Oidc;
use crate::auth::oidc::access::{self, Claims};
use crate::auth::oidc::provider::{OidcError, TokenAnswer};
use crate::auth::oidc::refresh_token;
use crate::auth::state::Auth;
use crate::limits;

/// The request that signs in, for its audit entry.
#[derive(Debug, Clone, Default)]
pub(crate) struct SignInRequest {
    pub(crate) address: String,
    pub(crate) request_id: String,
}

/// The reason why an account cannot sign in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignInError {
    #[error(transparent)]
    Provider(#[from] OidcError),
    /// No rule of the settings matches.
    #[error("no rule [[oidc.access]] of the settings matches the account {0:?}")]
    NoAccess(String),
    /// Its name is that of another user.
    #[error("{0}")]
    NameTaken(String),
    #[error(transparent)]
    Archive(#[from] runlog_store::Error),
}

/// A verified account, with what the settings say of it.
pub(crate) struct Account {
    pub(crate) subject: String,
    provider_session: Option<String>,
    pub(crate) access: IdentityAccess,
}

/// The account of a response with an ID token. If the claim with the groups is not in it, the user information is read.
pub(crate) async fn account(
    auth: &Auth,
    oidc: &Oidc,
    answer: &TokenAnswer,
    nonce: Option<&str>,
) -> Result<Account, SignInError> {
    let token = answer.id_token.as_ref();
    let token =
        token.ok_or_else(|| OidcError::Invalid("it contains no ID token; is the scope openid allowed?".to_owned()))?;
    let claims = oidc.provider().id_token(token, nonce).await?;
    let subject = text(&claims, "sub").unwrap_or_default();
    let claims = with_user_info(oidc, claims, answer.access_token.as_ref(), &subject).await?;
    account_of(auth, oidc, subject, &claims).await
}

/// The account of a refreshed session; none if the response does not name it.
pub(crate) async fn refreshed(
    auth: &Auth,
    oidc: &Oidc,
    answer: &TokenAnswer,
    subject: &str,
) -> Result<Option<Account>, SignInError> {
    let claims = match (&answer.id_token, &answer.access_token) {
        (Some(token), access) => {
            let claims = oidc.provider().id_token(token, None).await?;
            if text(&claims, "sub").as_deref() != Some(subject) {
                let description = Some("the refreshed ID token is about another account".to_owned());
                return Err(OidcError::Refused { code: "invalid_grant".to_owned(), description }.into());
            }
            Some(with_user_info(oidc, claims, access.as_ref(), subject).await?)
        }
        (None, Some(access)) => oidc.provider().user_info(access, subject).await?,
        (None, None) => None,
    };
    match claims {
        Some(claims) => account_of(auth, oidc, subject.to_owned(), &claims).await.map(Some),
        None => Ok(None),
    }
}

/// The claims, with those of the user information unless the ID token has every claim that a rule refers to.
async fn with_user_info(
    oidc: &Oidc,
    claims: Claims,
    access_token: Option<&SecretString>,
    subject: &str,
) -> Result<Claims, OidcError> {
    let settings = oidc.settings();
    let is_there =
        |name: &String| claims.contains_key(name.split('.').next().unwrap_or_default()) || claims.contains_key(name);
    let is_complete = settings.name_claim.iter().chain(settings.access.iter().map(|rule| &rule.claim)).all(is_there);
    let Some(token) = access_token.filter(|_| !is_complete || settings.name_claim.is_none()) else { return Ok(claims) };
    let Some(mut all) = oidc.provider().user_info(token, subject).await? else { return Ok(claims) };
    // The signed ones take precedence.
    all.extend(claims);
    Ok(all)
}

async fn account_of(auth: &Auth, oidc: &Oidc, subject: String, claims: &Claims) -> Result<Account, SignInError> {
    let settings = oidc.settings();
    let name = access::user_name(settings, claims).unwrap_or_else(|| subject.clone());
    let workspaces = auth.store().workspaces().list().await?;
    let Some(allowed) = access::access(&settings.access, claims, &workspaces) else {
        // Rights of former groups end now, not when tokens expire.
        let store = audited(auth, &name, "-", "revoke access", &SignInRequest::default());
        store.accounts().revoke_identity(Identity { issuer: &settings.issuer, subject: &subject }).await?;
        return Err(SignInError::NoAccess(name));
    };
    Ok(Account {
        provider_session: text(claims, "sid"),
        access: IdentityAccess {
            name,
            administrator: allowed.administrator,
            rights: allowed.rights,
            tokens_until: later(auth.now(), settings.token_life),
        },
        subject,
    })
}

/// Signs an account in, and opens a session.
pub(crate) async fn open_session(
    auth: &Auth,
    oidc: &Oidc,
    account: &Account,
    refresh_token: Option<&SecretString>,
    request: &SignInRequest,
) -> Result<NewSession, SignInError> {
    let (settings, now) = (oidc.settings(), auth.now());
    let caller = sign_in(auth, oidc, account, request).await?;
    // Without a refresh token the account cannot be checked: the session ends when the check would be due.
    let life = match refresh_token {
        Some(_) => settings.session_life,
        None => settings.session_life.min(limits::OIDC_UNCHECKED_SESSION_LIFE),
    };
    let session = IdentitySession {
        user_id: &caller.id,
        provider_session: account.provider_session.as_deref(),
        expires_at: later(now, life),
        check_at: later(now, if refresh_token.is_some() { settings.check_every } else { life }),
    };
    let seal = |text: &str| refresh_token.and_then(|token| refresh_token::encrypt(text, token, auth.random()));
    Ok(auth.store().accounts().open_identity_session(session, seal).await?)
}

/// Signs an account in, and creates a personal token for it.
pub(crate) async fn create_token(
    auth: &Auth,
    oidc: &Oidc,
    account: &Account,
    name: &str,
    request: &SignInRequest,
) -> Result<(Caller, TokenBody), SignInError> {
    let caller = sign_in(auth, oidc, account, request).await?;
    let store = audited(auth, &caller.name, &caller.id, "create token", request);
    let life_ms = i64::try_from(oidc.settings().token_life.as_millis()).unwrap_or(i64::MAX);
    let token = store.accounts().create_expiring_token(&caller.id, name, life_ms).await?;
    Ok((caller, token))
}

async fn sign_in(auth: &Auth, oidc: &Oidc, account: &Account, request: &SignInRequest) -> Result<Caller, SignInError> {
    let identity = Identity { issuer: &oidc.settings().issuer, subject: &account.subject };
    let store = audited(auth, &account.access.name, "-", "sign in", request);
    let signed_in = store.accounts().sign_in(identity, &account.access).await;
    signed_in.map_err(|error| match error.kind() {
        runlog_store::ErrorKind::Conflict => SignInError::NameTaken(format!(
            "a user named {:?} who does not sign in with the identity provider exists already: an administrator can rename or \
             delete that user",
            account.access.name
        )),
        _ => error.into(),
    })
}

/// Writes an audit entry of an attempt that was refused.
pub(crate) async fn note_refusal(auth: &Auth, error: &SignInError, request: &SignInRequest) {
    let name = match error {
        SignInError::NoAccess(name) => name.as_str(),
        _ => "-",
    };
    let entry = AuditEntry { status: StatusCode::FORBIDDEN.as_u16(), ..entry(auth, name, "-", "sign in", request) };
    if let Err(error) = auth.store().audit().record(entry).await {
        warn!(error = &error as &dyn std::error::Error, "cannot write an audit entry");
    }
}

/// The archive, with an audit entry of this action for what is changed.
pub(crate) fn audited(auth: &Auth, name: &str, id: &str, action: &str, request: &SignInRequest) -> Store {
    auth.store().with_audit(AuditContext::new(entry(auth, name, id, action, request)))
}

fn entry(auth: &Auth, name: &str, id: &str, action: &str, request: &SignInRequest) -> AuditEntry {
    AuditEntry {
        at: auth.now(),
        caller_id: id.to_owned(),
        caller_name: name.to_owned(),
        action: action.to_owned(),
        subject: String::new(),
        status: StatusCode::OK.as_u16(),
        address: request.address.clone(),
        request_id: request.request_id.clone(),
    }
}

fn text(claims: &Claims, name: &str) -> Option<String> {
    claims.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// A time after another.
pub(crate) fn later(time: Timestamp, by: std::time::Duration) -> Timestamp {
    time.plus_millis(i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
}
