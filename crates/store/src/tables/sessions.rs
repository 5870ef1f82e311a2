//! Sessions of browsers.
//!
//! A session is bound to the token that it was opened with and is never valid for longer: revoking the token, or the
//! key that signed it, ends the session. Sessions of users who sign in with an identity provider are opened in
//! `identities.rs`.

use runlog_model::Timestamp;
use sqlx_macros::FromRow;

use crate::catalog::columns::instant;
use crate::error::{Error, Result};
use crate::parts::Accounts;
use crate::tables::accounts::{Caller, CallerKind};
use crate::{limits, secret};

/// A session that was just opened.
#[derive(Clone)]
pub struct NewSession {
    /// The secret that the browser presents; the archive keeps a hash.
    pub text: String,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// A valid session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The caller that it belongs to.
    pub caller: Caller,
    /// The key that signed the access token that it was opened with; `None` for a personal access token.
    pub key_id: Option<String>,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Data of the sign-in with an identity provider; `None` if the session was opened with a token.
    pub provider: Option<ProviderSession>,
}

/// The data of a sign-in with an identity provider that a session keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSession {
    /// The provider.
    pub issuer: String,
    /// The account.
    pub subject: String,
    /// The refresh token, encrypted by the caller of the archive.
    pub refresh_token: Option<String>,
    /// When the provider last confirmed the account for this session.
    pub confirmed_at: Timestamp,
    /// When the account is checked next.
    pub check_at: Timestamp,
}

/// The row of a session.
#[derive(FromRow)]
struct StoredSession {
    caller_kind: String,
    caller_id: String,
    key_id: Option<String>,
    expires_at: i64,
    refresh_token: Option<String>,
    confirmed_at: Option<i64>,
    check_at: Option<i64>,
    issuer: Option<String>,
    subject: Option<String>,
    tokens_until: Option<i64>,
}

/// A verified access token.
#[derive(Debug, Clone, Copy)]
pub struct AccessToken<'a> {
    /// The service account it was issued to.
    pub account_id: &'a str,
    /// The key that signed it.
    pub key_id: &'a str,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// The row of a new session.
struct SessionRow<'a> {
    kind: CallerKind,
    caller_id: &'a str,
    token_id: Option<&'a str>,
    key_id: Option<&'a str>,
    expires_at: Timestamp,
}

impl Accounts {
    /// Opens a session with a personal access token; `None` when the token is not known.
    pub async fn open_session(&self, token: &str) -> Result<Option<NewSession>> {
        if !secret::is_well_formed(secret::TOKEN, token) {
            return Ok(None);
        }
        let now = self.core.now();
        let row: Option<(String, String, Option<i64>)> = sqlx::query_as(
            "SELECT t.id, t.user_id, t.expires_at FROM tokens t LEFT JOIN identities i ON i.user_id = t.user_id
             WHERE t.token_hash = $1 AND (t.expires_at IS NULL OR t.expires_at > $2)
             AND (i.user_id IS NULL OR i.tokens_until > $2)",
        )
        .bind(secret::hash(token))
        .bind(now.as_millis())
        .fetch_optional(self.core.catalog().read())
        .await?;
        let Some((token_id, user_id, token_expires)) = row else { return Ok(None) };
        let expires_at = now.plus_millis(limits::SESSION_TTL_MS);
        let new = SessionRow {
            kind: CallerKind::User,
            caller_id: &user_id,
            token_id: Some(&token_id),
            key_id: None,
            expires_at: token_expires.map(instant).transpose()?.map_or(expires_at, |token| token.min(expires_at)),
        };
        self.write_session(&new).await.map(Some)
    }

    /// Opens a session with the access token of a service account; it expires with the token.
    pub async fn open_service_account_session(&self, token: AccessToken<'_>) -> Result<NewSession> {
        let new = SessionRow {
            kind: CallerKind::ServiceAccount,
            caller_id: token.account_id,
            token_id: None,
            key_id: Some(token.key_id),
            expires_at: token.expires_at,
        };
        self.write_session(&new).await
    }

    async fn write_session(&self, new: &SessionRow<'_>) -> Result<NewSession> {
        let text = secret::generate(secret::SESSION, self.core.random());
        sqlx::query(
            "INSERT INTO sessions (session_hash, caller_kind, caller_id, token_id, key_id, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(secret::hash(&text))
        .bind(new.kind.as_str())
        .bind(new.caller_id)
        .bind(new.token_id)
        .bind(new.key_id)
        .bind(self.core.now().as_millis())
        .bind(new.expires_at.as_millis())
        .execute(self.core.catalog().write())
        .await?;
        Ok(NewSession { text, expires_at: new.expires_at })
    }

    /// Returns the session with this secret unless it has ended.
    pub async fn session(&self, text: &str) -> Result<Option<Session>> {
        if !secret::is_well_formed(secret::SESSION, text) {
            return Ok(None);
        }
        let row: Option<StoredSession> = sqlx::query_as(
            "SELECT s.caller_kind, s.caller_id, s.key_id, s.expires_at, s.refresh_token, s.confirmed_at, s.check_at, i.issuer,
             i.subject, i.tokens_until
             FROM sessions s LEFT JOIN identities i ON s.caller_kind = 'user' AND i.user_id = s.caller_id
             WHERE s.session_hash = $1 AND s.expires_at > $2",
        )
        .bind(secret::hash(text))
        .bind(self.core.now().as_millis())
        .fetch_optional(self.core.catalog().read())
        .await?;
        let Some(row) = row else { return Ok(None) };
        // Opened with a personal token of a user whose account the provider has not confirmed for too long.
        let is_of_token = row.check_at.is_none();
        if is_of_token && row.tokens_until.is_some_and(|until| until <= self.core.now().as_millis()) {
            return Ok(None);
        }
        let kind = CallerKind::read(&row.caller_kind);
        let kind = kind.ok_or_else(|| Error::corrupt("the caller of a session does not decode"))?;
        let Some(caller) = self.caller(kind, &row.caller_id).await? else { return Ok(None) };
        let provider = match (row.check_at, row.issuer.zip(row.subject)) {
            (None, _) => None,
            // The user is no longer one of the provider.
            (Some(_), None) => return Ok(None),
            (Some(check_at), Some((issuer, subject))) => Some(ProviderSession {
                issuer,
                subject,
                refresh_token: row.refresh_token,
                confirmed_at: instant(row.confirmed_at.unwrap_or_default())?,
                check_at: instant(check_at)?,
            }),
        };
        Ok(Some(Session { caller, key_id: row.key_id, expires_at: instant(row.expires_at)?, provider }))
    }

    /// Ends a session. Idempotent.
    pub async fn close_session(&self, text: &str) -> Result<()> {
        sqlx::query("DELETE FROM sessions WHERE session_hash = $1")
            .bind(secret::hash(text))
            .execute(self.core.catalog().write())
            .await?;
        Ok(())
    }

    /// Deletes expired sessions and tokens.
    pub(crate) async fn sweep_sessions(&self) -> Result<()> {
        let now = self.core.earliest_now().await?.as_millis();
        for statement in ["DELETE FROM sessions WHERE expires_at < $1", "DELETE FROM tokens WHERE expires_at < $1"] {
            sqlx::query(statement).bind(now).execute(self.core.catalog().write()).await?;
        }
        Ok(())
    }
}
