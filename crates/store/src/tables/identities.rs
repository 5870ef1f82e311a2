//! Users who sign in with an identity provider: their accounts there, and their sessions here.
//!
//! The provider decides who they are and, by the settings, what they may do: their rights are replaced at each sign-in and
//! each check, and cannot be changed here. Their personal tokens are accepted for a limited time after the provider has
//! last confirmed the account.

use runlog_model::workspaces::{Right, Rights};
use runlog_model::{Timestamp, WorkspaceId};
use sqlx::AssertSqlSafe;

use crate::catalog::columns::{checked_name, name_taken};
use crate::catalog::sql::Connection;
use crate::error::{ErrorKind, Result};
use crate::parts::Accounts;
use crate::secret;
use crate::tables::accounts::{Caller, CallerKind};
use crate::tables::sessions::NewSession;

/// An account at an identity provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The provider, by its URL.
    pub issuer: &'a str,
    /// The account, unique at the provider and never used for another one.
    pub subject: &'a str,
}

/// The access of an account according to the identity provider and the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityAccess {
    /// The name of its user.
    pub name: String,
    /// True when it has every right in every workspace.
    pub administrator: bool,
    /// Its rights; it has none in workspaces that are not listed.
    pub rights: Vec<(WorkspaceId, Rights)>,
    /// Until when personal tokens of the user are accepted.
    pub tokens_until: Timestamp,
}

/// A session to open for a user who has signed in with an identity provider.
#[derive(Debug, Clone, Copy)]
pub struct IdentitySession<'a> {
    /// The user.
    pub user_id: &'a str,
    /// The session at the provider (`sid`).
    pub provider_session: Option<&'a str>,
    /// When it expires.
    pub expires_at: Timestamp,
    /// When the account is checked next.
    pub check_at: Timestamp,
}

impl Accounts {
    /// Returns the user of an identity with this access, and creates it at the first sign-in.
    ///
    /// `Conflict`: another user has the name; the message says what to do.
    pub async fn sign_in(&self, identity: Identity<'_>, access: &IdentityAccess) -> Result<Caller> {
        let name = checked_name(&access.name)?;
        match self.apply_identity(identity, access, &name, true).await {
            // Another node has just created the user.
            Err(error) if error.kind() == ErrorKind::Conflict => {
                self.apply_identity(identity, access, &name, true).await
            }
            done => done,
        }
    }

    /// Like [`sign_in`](Self::sign_in), for an account that the provider has confirmed again: there is an audit entry only
    /// if its access has changed.
    pub async fn confirm_identity(&self, identity: Identity<'_>, access: &IdentityAccess) -> Result<Caller> {
        let name = checked_name(&access.name)?;
        self.apply_identity(identity, access, &name, false).await
    }

    async fn apply_identity(
        &self,
        identity: Identity<'_>,
        access: &IdentityAccess,
        name: &str,
        is_sign_in: bool,
    ) -> Result<Caller> {
        let locking = format!(
            "SELECT i.user_id, u.name, u.administrator FROM identities i JOIN users u ON u.id = i.user_id
             WHERE i.issuer = $1 AND i.subject = $2{}",
            self.core.catalog().for_update()
        );
        let (new_id, now) = (self.core.random().uuid().to_string(), self.core.now().as_millis());
        let administrator = i64::from(access.administrator);
        let (id, name) = self
            .core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let known: Option<(String, String, i64)> = sqlx::query_as(AssertSqlSafe(locking.clone()))
                    .bind(identity.issuer)
                    .bind(identity.subject)
                    .fetch_optional(&mut *transaction)
                    .await?;
                let (id, name, mut is_changed) = match known {
                    None => {
                        insert_user(&mut transaction, &new_id, name, administrator, now).await?;
                        (new_id.clone(), name.to_owned(), true)
                    }
                    Some((id, old_name, old)) => {
                        let name = free_name(&mut transaction, &id, name, old_name.clone()).await?;
                        let is_changed = name != old_name || old != administrator;
                        if is_changed {
                            sqlx::query("UPDATE users SET name = $2, administrator = $3 WHERE id = $1")
                                .bind(&id)
                                .bind(&name)
                                .bind(administrator)
                                .execute(&mut *transaction)
                                .await?;
                        }
                        (id, name, is_changed)
                    }
                };
                sqlx::query(
                    "INSERT INTO identities (issuer, subject, user_id, confirmed_at, tokens_until)
                     VALUES ($1, $2, $3, $4, $5)
                     ON CONFLICT (issuer, subject) DO UPDATE SET confirmed_at = excluded.confirmed_at,
                     tokens_until = excluded.tokens_until",
                )
                .bind(identity.issuer)
                .bind(identity.subject)
                .bind(&id)
                .bind(now)
                .bind(access.tokens_until.as_millis())
                .execute(&mut *transaction)
                .await?;
                is_changed |= replace_rights(&mut transaction, &id, &access.rights).await?;
                match is_sign_in || is_changed {
                    true => self.core.commit_change(transaction, Some(&id)).await?,
                    false => transaction.commit().await?,
                }
                Ok((id, name))
            })
            .await?;
        Ok(Caller { kind: CallerKind::User, id, name, administrator: access.administrator, permissions: Vec::new() })
    }

    /// Takes all access from the user of an identity, and ends its sessions: the settings no longer give it any. Does nothing
    /// for an identity that never signed in.
    pub async fn revoke_identity(&self, identity: Identity<'_>) -> Result<()> {
        let locking = format!(
            "SELECT user_id FROM identities WHERE issuer = $1 AND subject = $2{}",
            self.core.catalog().for_update()
        );
        let now = self.core.now().as_millis();
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let user: Option<String> = sqlx::query_scalar(AssertSqlSafe(locking.clone()))
                    .bind(identity.issuer)
                    .bind(identity.subject)
                    .fetch_optional(&mut *transaction)
                    .await?;
                let Some(id) = user else { return Ok(()) };
                for statement in [
                    "UPDATE users SET administrator = 0 WHERE id = $1",
                    "DELETE FROM sessions WHERE caller_kind = 'user' AND caller_id = $1",
                ] {
                    sqlx::query(statement).bind(&id).execute(&mut *transaction).await?;
                }
                sqlx::query("UPDATE identities SET tokens_until = $2 WHERE user_id = $1 AND tokens_until > $2")
                    .bind(&id)
                    .bind(now)
                    .execute(&mut *transaction)
                    .await?;
                replace_rights(&mut transaction, &id, &[]).await?;
                self.core.commit_change(transaction, Some(&id)).await
            })
            .await
    }

    /// Opens a session. `seal` receives its text, and returns the encrypted refresh token to keep.
    pub async fn open_identity_session(
        &self,
        new: IdentitySession<'_>,
        seal: impl FnOnce(&str) -> Option<String> + Send,
    ) -> Result<NewSession> {
        let text = secret::generate(secret::SESSION, self.core.random());
        let now = self.core.now().as_millis();
        sqlx::query(
            "INSERT INTO sessions (session_hash, caller_kind, caller_id, provider_session, refresh_token, created_at,
             confirmed_at, check_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8)",
        )
        .bind(secret::hash(&text))
        .bind(CallerKind::User.as_str())
        .bind(new.user_id)
        .bind(new.provider_session)
        .bind(seal(&text))
        .bind(now)
        .bind(new.check_at.as_millis())
        .bind(new.expires_at.as_millis())
        .execute(self.core.catalog().write())
        .await?;
        Ok(NewSession { text, expires_at: new.expires_at })
    }

    /// Reserves the check of the account of a session until a time; false if another node does it.
    pub async fn claim_session_check(&self, text: &str, due: Timestamp, until: Timestamp) -> Result<bool> {
        let done = sqlx::query("UPDATE sessions SET check_at = $3 WHERE session_hash = $1 AND check_at = $2")
            .bind(secret::hash(text))
            .bind(due.as_millis())
            .bind(until.as_millis())
            .execute(self.core.catalog().write())
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Keeps the next refresh token of a session, encrypted by the caller.
    pub async fn keep_refresh_token(&self, text: &str, refresh_token: &str) -> Result<()> {
        sqlx::query("UPDATE sessions SET refresh_token = $2 WHERE session_hash = $1")
            .bind(secret::hash(text))
            .bind(refresh_token)
            .execute(self.core.catalog().write())
            .await?;
        Ok(())
    }

    /// Records that the provider has confirmed the account of a session now.
    pub async fn confirm_session(&self, text: &str, check_at: Timestamp) -> Result<()> {
        sqlx::query("UPDATE sessions SET confirmed_at = $2, check_at = $3 WHERE session_hash = $1")
            .bind(secret::hash(text))
            .bind(self.core.now().as_millis())
            .bind(check_at.as_millis())
            .execute(self.core.catalog().write())
            .await?;
        Ok(())
    }

    /// Ends the sessions that the provider has ended: the one with this `sid`, or else all of the account. Returns how many.
    pub async fn close_provider_sessions(
        &self,
        issuer: &str,
        subject: Option<&str>,
        provider_session: Option<&str>,
    ) -> Result<u64> {
        let done = sqlx::query(
            "DELETE FROM sessions WHERE caller_kind = 'user'
             AND caller_id IN (SELECT user_id FROM identities WHERE issuer = $1 AND (CAST($2 AS TEXT) IS NULL OR subject = $2))
             AND (CAST($3 AS TEXT) IS NULL OR provider_session = $3)",
        )
        .bind(issuer)
        .bind(subject)
        .bind(provider_session)
        .execute(self.core.catalog().write())
        .await?;
        Ok(done.rows_affected())
    }
}

async fn insert_user(connection: &mut Connection, id: &str, name: &str, administrator: i64, now: i64) -> Result<()> {
    sqlx::query("INSERT INTO users (id, name, administrator, created_at) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(name)
        .bind(administrator)
        .bind(now)
        .execute(connection)
        .await
        .map_err(|error| name_taken(error, "user", name))?;
    Ok(())
}

/// The name at the provider, unless another user has it: then the previous one stays.
async fn free_name(connection: &mut Connection, id: &str, name: &str, old_name: String) -> Result<String> {
    if name == old_name {
        return Ok(old_name);
    }
    let other: Option<String> = sqlx::query_scalar("SELECT id FROM users WHERE name = $1 AND id <> $2")
        .bind(name)
        .bind(id)
        .fetch_optional(connection)
        .await?;
    Ok(if other.is_some() { old_name } else { name.to_owned() })
}

/// Replaces the rights of a user. Returns true if they were others.
async fn replace_rights(connection: &mut Connection, id: &str, rights: &[(WorkspaceId, Rights)]) -> Result<bool> {
    let mut held: Vec<(String, String)> =
        sqlx::query_as("SELECT workspace_id, rights FROM rights WHERE caller_kind = 'user' AND caller_id = $1")
            .bind(id)
            .fetch_all(&mut *connection)
            .await?;
    let mut wanted: Vec<(String, String)> = rights
        .iter()
        .filter(|(_, rights)| *rights != Rights::NONE)
        .map(|(workspace, rights)| {
            let names: Vec<&str> = rights.iter().map(Right::name).collect();
            (workspace.to_string(), names.join(","))
        })
        .collect();
    held.sort();
    wanted.sort();
    if held == wanted {
        return Ok(false);
    }
    sqlx::query("DELETE FROM rights WHERE caller_kind = 'user' AND caller_id = $1")
        .bind(id)
        .execute(&mut *connection)
        .await?;
    for (workspace, rights) in wanted {
        // A workspace that is deleted at this moment gets none.
        sqlx::query(
            "INSERT INTO rights (workspace_id, caller_kind, caller_id, rights)
             SELECT id, 'user', $2, $3 FROM workspaces WHERE id = $1",
        )
        .bind(workspace)
        .bind(id)
        .bind(rights)
        .execute(&mut *connection)
        .await?;
    }
    Ok(true)
}
