//! Users and service accounts: how they authenticate, and which rights they have in a workspace.

use std::sync::Arc;

use runlog_model::wire::admin::{NewServiceAccount, NewUser, ServiceAccountBody, TokenBody, UserBody, UserUpdate};
use runlog_model::workspaces::{Right, Rights};
use runlog_model::{EnvironmentId, Timestamp, WorkspaceId};
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;
use subtle::ConstantTimeEq;
use tracing::debug;

use crate::catalog::columns::{checked_name, instant, json_of, name_taken, words};
use crate::catalog::filters::push_workspaces;
use crate::catalog::sql::{Connection, Sql};
use crate::error::{Error, ErrorKind, Result};
use crate::parts::{Accounts, Workspaces};
use crate::{limits, secret};

/// The user or service account that makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// User or service account.
    pub kind: CallerKind,
    /// The id, a UUID.
    pub id: String,
    /// The name.
    pub name: String,
    /// True when the caller has every right in every workspace.
    pub administrator: bool,
    /// Permissions that apply to the whole archive, such as `EXECUTION_LOGS_DELETE`.
    pub permissions: Vec<String>,
}

/// Whether a caller is a user or a service account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallerKind {
    /// A person, who authenticates with personal access tokens.
    User,
    /// A program, which authenticates with a client id and a secret.
    ServiceAccount,
}

/// Selects grants. An absent field does not restrict the selection.
#[derive(Debug, Clone, Default)]
pub struct GrantFilter {
    /// Grants in these workspaces.
    pub workspace_ids: Option<Vec<WorkspaceId>>,
    /// Grants in the workspaces of this environment.
    pub environment_id: Option<EnvironmentId>,
    /// Grants to this caller.
    pub caller_id: Option<String>,
}

/// The rights of one caller in one workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The id of the user or service account.
    pub caller_id: String,
    /// The rights.
    pub rights: Rights,
}

impl CallerKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::ServiceAccount => "service_account",
        }
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        [Self::User, Self::ServiceAccount].into_iter().find(|kind| kind.as_str() == text)
    }
}

impl Accounts {
    /// Creates the user `admin` with a token if the archive has no administrator yet, and returns the text of the
    /// token.
    pub async fn ensure_administrator(&self) -> Result<Option<String>> {
        if self.has_administrator().await? {
            return Ok(None);
        }
        let user = match self.create_user(&NewUser { name: "admin".to_owned(), administrator: true }).await {
            // Another node has created it at the same time.
            Err(error) if error.kind() == ErrorKind::Conflict && self.has_administrator().await? => return Ok(None),
            made => made?,
        };
        Ok(self.create_token(&user.id, "created at first start").await?.token)
    }

    async fn has_administrator(&self) -> Result<bool> {
        let found: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM users WHERE administrator = 1")
            .fetch_one(self.core.catalog().read())
            .await?;
        Ok(found > 0)
    }

    /// Returns the user that a personal access token belongs to.
    pub async fn authenticate_token(&self, token: &str) -> Result<Option<Caller>> {
        if !secret::is_well_formed(secret::TOKEN, token) {
            return Ok(None);
        }
        let row: Option<(String, Option<i64>, String, String, i64)> = sqlx::query_as(
            "SELECT t.id, t.last_used_at, u.id, u.name, u.administrator
             FROM tokens t JOIN users u ON u.id = t.user_id LEFT JOIN identities i ON i.user_id = u.id
             WHERE t.token_hash = $1 AND (t.expires_at IS NULL OR t.expires_at > $2)
             AND (i.user_id IS NULL OR i.tokens_until > $2)",
        )
        .bind(secret::hash(token))
        .bind(self.core.now().as_millis())
        .fetch_optional(self.core.catalog().read_quick())
        .await?;
        let Some((token_id, last_used_at, id, name, administrator)) = row else { return Ok(None) };
        if self.is_use_worth_noting(last_used_at) {
            self.note_use("UPDATE tokens SET last_used_at = $1 WHERE id = $2", token_id);
        }
        let (kind, administrator) = (CallerKind::User, administrator != 0);
        Ok(Some(Caller { kind, id, name, administrator, permissions: Vec::new() }))
    }

    /// Returns the service account with this id if the secret is correct.
    pub async fn authenticate_service_account(&self, client_id: &str, client_secret: &str) -> Result<Option<Caller>> {
        if !secret::is_well_formed(secret::ACCOUNT_SECRET, client_secret) {
            return Ok(None);
        }
        let row: Option<(String, Option<i64>)> =
            sqlx::query_as("SELECT secret_hash, last_used_at FROM service_accounts WHERE id = $1")
                .bind(client_id)
                .fetch_optional(self.core.catalog().read_quick())
                .await?;
        let Some((hash, last_used_at)) = row else { return Ok(None) };
        if !bool::from(hash.as_bytes().ct_eq(secret::hash(client_secret).as_bytes())) {
            return Ok(None);
        }
        if self.is_use_worth_noting(last_used_at) {
            self.note_use("UPDATE service_accounts SET last_used_at = $1 WHERE id = $2", client_id.to_owned());
        }
        self.caller(CallerKind::ServiceAccount, client_id).await
    }

    /// Returns the caller with this id.
    pub async fn caller(&self, kind: CallerKind, id: &str) -> Result<Option<Caller>> {
        let row: Option<(String, i64, String)> = sqlx::query_as(match kind {
            CallerKind::User => "SELECT name, administrator, '[]' FROM users WHERE id = $1",
            CallerKind::ServiceAccount => {
                "SELECT name, CAST(0 AS BIGINT), permissions FROM service_accounts WHERE id = $1"
            }
        })
        .bind(id)
        .fetch_optional(self.core.catalog().read_quick())
        .await?;
        let Some((name, administrator, permissions)) = row else { return Ok(None) };
        Ok(Some(Caller {
            kind,
            id: id.to_owned(),
            name,
            administrator: administrator != 0,
            permissions: words(&permissions)?,
        }))
    }

    /// Returns the rights of a caller in a workspace. An administrator has all of them.
    pub async fn rights(&self, caller: &Caller, workspace: WorkspaceId) -> Result<Rights> {
        match caller.administrator {
            true => Ok(Rights::ALL),
            false => self.granted_rights(workspace, caller.kind, &caller.id).await,
        }
    }

    /// Returns the rights that were granted to a caller in a workspace.
    pub async fn granted_rights(&self, workspace: WorkspaceId, kind: CallerKind, id: &str) -> Result<Rights> {
        let rights: Option<String> = sqlx::query_scalar(
            "SELECT rights FROM rights WHERE workspace_id = $1 AND caller_kind = $2 AND caller_id = $3",
        )
        .bind(workspace.to_string())
        .bind(kind.as_str())
        .bind(id)
        .fetch_optional(self.core.catalog().read_quick())
        .await?;
        rights.map_or(Ok(Rights::NONE), |rights| read_rights(&rights))
    }

    /// Replaces the rights of a caller in a workspace; `Rights::NONE` revokes them.
    ///
    /// Fails with `Conflict` if the user signs in with an identity provider: the settings then determine the user's
    /// rights.
    pub async fn set_rights(&self, workspace: WorkspaceId, kind: CallerKind, id: &str, rights: Rights) -> Result<()> {
        if Workspaces::new(&self.core).get(workspace).await?.is_none() {
            return Err(Error::not_found(format!("there is no workspace {workspace}")));
        }
        let names: Vec<&str> = rights.iter().map(Right::name).collect();
        let locking = format!(
            "SELECT id FROM {} WHERE id = $1{}",
            match kind {
                CallerKind::User => "users",
                CallerKind::ServiceAccount => "service_accounts",
            },
            self.core.catalog().for_update()
        );
        let insert_or_delete = || match rights == Rights::NONE {
            true => sqlx::query("DELETE FROM rights WHERE workspace_id = $1 AND caller_kind = $2 AND caller_id = $3"),
            false => sqlx::query(
                "INSERT INTO rights (workspace_id, caller_kind, caller_id, rights) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (workspace_id, caller_kind, caller_id) DO UPDATE SET rights = excluded.rights",
            ),
        };
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                // Locks the caller: rights of a caller that is deleted concurrently would remain.
                let holder: Option<String> = sqlx::query_scalar(AssertSqlSafe(locking.clone()))
                    .bind(id)
                    .fetch_optional(&mut *transaction)
                    .await?;
                if holder.is_none() {
                    return Err(no_holder(kind, id));
                }
                if kind == CallerKind::User {
                    refuse_managed(&mut transaction, id).await?;
                }
                let mut statement =
                    insert_or_delete().bind(workspace.to_string()).bind(kind.as_str()).bind(id.to_owned());
                if rights != Rights::NONE {
                    statement = statement.bind(names.join(","));
                }
                statement.execute(&mut *transaction).await?;
                self.core.commit_change(transaction, None).await
            })
            .await
    }

    /// Returns the grants to callers of one kind that match the filter, by workspace and caller.
    pub async fn grants(&self, kind: CallerKind, filter: &GrantFilter) -> Result<Vec<Grant>> {
        let mut query = Sql::new("SELECT workspace_id, caller_id, rights FROM rights WHERE caller_kind = ");
        query.push_bind(kind.as_str());
        push_workspaces(&mut query, "workspace_id", filter.workspace_ids.as_deref());
        if let Some(id) = filter.environment_id {
            query.push(" AND workspace_id IN (SELECT id FROM workspaces WHERE environment_id = ");
            query.push_bind(id.to_string()).push(")");
        }
        if let Some(id) = &filter.caller_id {
            query.push(" AND caller_id = ").push_bind(id.clone());
        }
        query.push(" ORDER BY workspace_id, caller_id");
        let rows: Vec<(String, String, String)> = query.build_query_as().fetch_all(self.core.catalog().read()).await?;
        let read = |(workspace, caller_id, rights): (String, String, String)| {
            let workspace_id = workspace.parse().map_err(|_| Error::corrupt("a workspace id does not decode"))?;
            Ok(Grant { workspace_id, caller_id, rights: read_rights(&rights)? })
        };
        rows.into_iter().map(read).collect()
    }

    /// Returns the workspaces in which the caller has `right`; `None` means all of them.
    pub async fn workspaces_with(&self, caller: &Caller, right: Right) -> Result<Option<Vec<WorkspaceId>>> {
        if caller.administrator {
            return Ok(None);
        }
        let rows: Vec<(String, String)> =
            sqlx::query_as("SELECT workspace_id, rights FROM rights WHERE caller_kind = $1 AND caller_id = $2")
                .bind(caller.kind.as_str())
                .bind(&caller.id)
                .fetch_all(self.core.catalog().read())
                .await?;
        let mut workspaces = Vec::new();
        for (workspace, rights) in rows {
            if read_rights(&rights)?.has(right) {
                workspaces.push(workspace.parse().map_err(|_| Error::corrupt("a workspace id does not decode"))?);
            }
        }
        Ok(Some(workspaces))
    }

    /// Creates a user. Fails with `Conflict` if the name is already in use.
    pub async fn create_user(&self, new: &NewUser) -> Result<UserBody> {
        let user = UserBody {
            id: self.core.random().uuid().to_string(),
            name: checked_name(&new.name)?,
            administrator: new.administrator,
            identity_provider: None,
        };
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                sqlx::query("INSERT INTO users (id, name, administrator, created_at) VALUES ($1, $2, $3, $4)")
                    .bind(&user.id)
                    .bind(&user.name)
                    .bind(i64::from(user.administrator))
                    .bind(self.core.now().as_millis())
                    .execute(&mut *transaction)
                    .await
                    .map_err(|error| name_taken(error, "user", &new.name))?;
                self.core.commit_change(transaction, Some(&user.id)).await
            })
            .await?;
        Ok(user)
    }

    /// Returns all users, by name.
    pub async fn users(&self) -> Result<Vec<UserBody>> {
        let rows: Vec<(String, String, i64, Option<String>)> = sqlx::query_as(
            "SELECT u.id, u.name, u.administrator, i.issuer FROM users u LEFT JOIN identities i ON i.user_id = u.id
             ORDER BY u.name",
        )
        .fetch_all(self.core.catalog().read())
        .await?;
        Ok(rows
            .into_iter()
            .map(|(id, name, administrator, identity_provider)| UserBody {
                id,
                name,
                administrator: administrator != 0,
                identity_provider,
            })
            .collect())
    }

    /// Changes the name of a user, and whether the user is an administrator. Tokens, sessions and rights are kept.
    ///
    /// `NotFound`: no such user. `Conflict`: another user has the name, no administrator would remain, or the user
    /// signs in with an identity provider.
    pub async fn update_user(&self, id: &str, update: &UserUpdate) -> Result<UserBody> {
        let user = UserBody {
            id: id.to_owned(),
            name: checked_name(&update.name)?,
            administrator: update.administrator,
            identity_provider: None,
        };
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                refuse_managed(&mut transaction, id).await?;
                if !user.administrator {
                    self.keep_an_administrator(&mut transaction, id).await?;
                }
                let done = sqlx::query("UPDATE users SET name = $2, administrator = $3 WHERE id = $1")
                    .bind(id)
                    .bind(&user.name)
                    .bind(i64::from(user.administrator))
                    .execute(&mut *transaction)
                    .await
                    .map_err(|error| name_taken(error, "user", &user.name))?;
                match done.rows_affected() {
                    0 => Err(Error::not_found("there is no user with this id")),
                    _ => self.core.commit_change(transaction, None).await,
                }
            })
            .await?;
        Ok(user)
    }

    /// Deletes a user, with the tokens, sessions, rights and saved queries of the user. Runs and audit entries keep the
    /// name.
    ///
    /// `NotFound`: no such user. `Conflict`: the user is the last administrator.
    pub async fn delete_user(&self, id: &str) -> Result<()> {
        let locking = format!("SELECT name FROM users WHERE id = $1{}", self.core.catalog().for_deletion());
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                self.keep_an_administrator(&mut transaction, id).await?;
                let name: Option<String> = sqlx::query_scalar(AssertSqlSafe(locking.clone()))
                    .bind(id)
                    .fetch_optional(&mut *transaction)
                    .await?;
                let name = name.ok_or_else(|| Error::not_found("there is no user with this id"))?;
                delete_owned_rows(&mut transaction, CallerKind::User, id).await?;
                for statement in ["DELETE FROM tokens WHERE user_id = $1", "DELETE FROM users WHERE id = $1"] {
                    sqlx::query(statement).bind(id).execute(&mut *transaction).await?;
                }
                self.core.commit_deletion(transaction, id, &name).await
            })
            .await
    }

    /// Fails with `Conflict` if this user is the only administrator. Locks the administrators until the transaction
    /// ends.
    async fn keep_an_administrator(&self, connection: &mut Connection, id: &str) -> Result<()> {
        let suffix = self.core.catalog().for_deletion();
        let locking = format!("SELECT id FROM users WHERE administrator = 1 ORDER BY id{suffix}");
        let administrators: Vec<String> = sqlx::query_scalar(AssertSqlSafe(locking)).fetch_all(connection).await?;
        match administrators.as_slice() {
            [last] if last == id => {
                Err(Error::conflict("this user is the last administrator: make another user an administrator first"))
            }
            _ => Ok(()),
        }
    }

    /// Creates a personal access token. Its text is only in the returned body: the archive keeps a hash.
    pub async fn create_token(&self, user_id: &str, name: &str) -> Result<TokenBody> {
        self.insert_token(user_id, name, None).await
    }

    /// Like [`create_token`](Self::create_token), with a lifetime in milliseconds.
    pub async fn create_expiring_token(&self, user_id: &str, name: &str, life_ms: i64) -> Result<TokenBody> {
        self.insert_token(user_id, name, Some(self.core.now().plus_millis(life_ms))).await
    }

    async fn insert_token(&self, user_id: &str, name: &str, expires: Option<Timestamp>) -> Result<TokenBody> {
        if self.caller(CallerKind::User, user_id).await?.is_none() {
            return Err(Error::not_found("there is no user with this id"));
        }
        let text = secret::generate(secret::TOKEN, self.core.random());
        let token = TokenBody {
            id: self.core.random().uuid().to_string(),
            name: checked_name(name)?,
            user_id: user_id.to_owned(),
            created_date: self.core.now(),
            last_used_date: None,
            expiration_date: expires,
            token: Some(text.clone()),
        };
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                sqlx::query(
                    "INSERT INTO tokens (id, user_id, name, token_hash, created_at, expires_at)
                     VALUES ($1, $2, $3, $4, $5, $6)",
                )
                .bind(&token.id)
                .bind(&token.user_id)
                .bind(&token.name)
                .bind(secret::hash(&text))
                .bind(token.created_date.as_millis())
                .bind(expires.map(Timestamp::as_millis))
                .execute(&mut *transaction)
                .await?;
                self.core.commit_change(transaction, Some(&token.id)).await
            })
            .await?;
        Ok(token)
    }

    /// Returns the tokens of a user, or of all users, oldest first.
    pub async fn tokens(&self, user_id: Option<&str>) -> Result<Vec<TokenBody>> {
        let rows: Vec<TokenRow> = sqlx::query_as(
            "SELECT id, name, user_id, created_at, last_used_at, expires_at FROM tokens
             WHERE $1 IS NULL OR user_id = $1 ORDER BY created_at, id",
        )
        .bind(user_id)
        .fetch_all(self.core.catalog().read())
        .await?;
        rows.into_iter().map(TokenRow::into_body).collect()
    }

    /// Revokes a token. With `user_id`, only if the token belongs to that user.
    pub async fn revoke_token(&self, token_id: &str, user_id: Option<&str>) -> Result<()> {
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let done = sqlx::query("DELETE FROM tokens WHERE id = $1 AND ($2 IS NULL OR user_id = $2)")
                    .bind(token_id)
                    .bind(user_id)
                    .execute(&mut *transaction)
                    .await?;
                match done.rows_affected() {
                    0 => Err(Error::not_found("there is no token with this id")),
                    _ => self.core.commit_change(transaction, None).await,
                }
            })
            .await
    }

    /// Creates a service account. Its secret is only in the returned body: the archive keeps a hash.
    pub async fn create_service_account(&self, new: &NewServiceAccount) -> Result<ServiceAccountBody> {
        let text = secret::generate(secret::ACCOUNT_SECRET, self.core.random());
        let account = ServiceAccountBody {
            id: self.core.random().uuid().to_string(),
            secret: Some(text.clone()),
            name: checked_name(&new.name)?,
            permissions: new.permissions.clone(),
            created_date: self.core.now(),
            last_modified_date: self.core.now(),
            last_used_date: None,
        };
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                sqlx::query(
                    "INSERT INTO service_accounts (id, name, secret_hash, permissions, created_at, modified_at)
                     VALUES ($1, $2, $3, $4, $5, $5)",
                )
                .bind(&account.id)
                .bind(&account.name)
                .bind(secret::hash(&text))
                .bind(json_of(&account.permissions))
                .bind(account.created_date.as_millis())
                .execute(&mut *transaction)
                .await
                .map_err(|error| name_taken(error, "service account", &new.name))?;
                self.core.commit_change(transaction, Some(&account.id)).await
            })
            .await?;
        Ok(account)
    }

    /// Returns all service accounts, by name.
    pub async fn service_accounts(&self) -> Result<Vec<ServiceAccountBody>> {
        let rows: Vec<AccountRow> = sqlx::query_as(
            "SELECT id, name, permissions, created_at, modified_at, last_used_at FROM service_accounts ORDER BY name",
        )
        .fetch_all(self.core.catalog().read())
        .await?;
        rows.into_iter().map(AccountRow::into_body).collect()
    }

    /// Returns the service account with this id.
    pub async fn service_account(&self, id: &str) -> Result<Option<ServiceAccountBody>> {
        let row: Option<AccountRow> = sqlx::query_as(
            "SELECT id, name, permissions, created_at, modified_at, last_used_at FROM service_accounts WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(self.core.catalog().read())
        .await?;
        row.map(AccountRow::into_body).transpose()
    }

    /// Changes the name and the permissions of a service account; its id and secret stay the same.
    pub async fn update_service_account(&self, id: &str, new: &NewServiceAccount) -> Result<()> {
        let name = checked_name(&new.name)?;
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let done = sqlx::query(
                    "UPDATE service_accounts SET name = $2, permissions = $3, modified_at = $4 WHERE id = $1",
                )
                .bind(id)
                .bind(&name)
                .bind(json_of(&new.permissions))
                .bind(self.core.now().as_millis())
                .execute(&mut *transaction)
                .await
                .map_err(|error| name_taken(error, "service account", &new.name))?;
                match done.rows_affected() {
                    0 => Err(Error::not_found("there is no service account with this id")),
                    _ => self.core.commit_change(transaction, None).await,
                }
            })
            .await
    }

    /// Deletes a service account and its rights.
    pub async fn delete_service_account(&self, id: &str) -> Result<()> {
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let done = sqlx::query("DELETE FROM service_accounts WHERE id = $1")
                    .bind(id)
                    .execute(&mut *transaction)
                    .await?;
                if done.rows_affected() == 0 {
                    return Err(Error::not_found("there is no service account with this id"));
                }
                delete_owned_rows(&mut transaction, CallerKind::ServiceAccount, id).await?;
                self.core.commit_change(transaction, None).await
            })
            .await
    }

    /// Records in the background that a token or an account is used now: a read must not wait for concurrent writes, or
    /// fail because the disk is full.
    fn note_use(&self, noting: &'static str, id: String) {
        let Ok(place) = Arc::clone(self.core.last_use_updates()).try_acquire_owned() else { return };
        let core = self.core.clone();
        tokio::spawn(async move {
            let _place = place;
            let now = core.now().as_millis();
            if let Err(error) = sqlx::query(noting).bind(now).bind(id).execute(core.catalog().write()).await {
                debug!(%error, "the last use of a token or an account could not be noted");
            }
        });
    }

    fn is_use_worth_noting(&self, last_used_at: Option<i64>) -> bool {
        last_used_at.is_none_or(|last| self.core.now().as_millis() - last >= limits::LAST_USE_UPDATE_MS)
    }
}

fn no_holder(kind: CallerKind, id: &str) -> Error {
    let id: String = id.chars().take(64).collect();
    Error::not_found(format!("there is no {} {id:?}", kind.as_str().replace('_', " ")))
}

/// `Conflict` if the access of a user follows the settings of an identity provider.
async fn refuse_managed(connection: &mut Connection, user_id: &str) -> Result<()> {
    let issuer: Option<String> = sqlx::query_scalar("SELECT issuer FROM identities WHERE user_id = $1")
        .bind(user_id)
        .fetch_optional(connection)
        .await?;
    match issuer {
        None => Ok(()),
        Some(issuer) => Err(Error::conflict(format!(
            "this user signs in with {issuer}, so its name and rights follow its account there: change its groups there, or \
             the rules [[oidc.access]] of the settings"
        ))),
    }
}

async fn delete_owned_rows(connection: &mut Connection, kind: CallerKind, id: &str) -> Result<()> {
    for table in ["rights", "sessions", "saved_queries"] {
        sqlx::query(AssertSqlSafe(format!("DELETE FROM {table} WHERE caller_kind = $1 AND caller_id = $2")))
            .bind(kind.as_str())
            .bind(id)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

#[derive(FromRow)]
struct TokenRow {
    id: String,
    name: String,
    user_id: String,
    created_at: i64,
    last_used_at: Option<i64>,
    expires_at: Option<i64>,
}

impl TokenRow {
    fn into_body(self) -> Result<TokenBody> {
        Ok(TokenBody {
            id: self.id,
            name: self.name,
            user_id: self.user_id,
            created_date: instant(self.created_at)?,
            last_used_date: self.last_used_at.map(instant).transpose()?,
            expiration_date: self.expires_at.map(instant).transpose()?,
            token: None,
        })
    }
}

#[derive(FromRow)]
struct AccountRow {
    id: String,
    name: String,
    permissions: String,
    created_at: i64,
    modified_at: i64,
    last_used_at: Option<i64>,
}

impl AccountRow {
    fn into_body(self) -> Result<ServiceAccountBody> {
        Ok(ServiceAccountBody {
            id: self.id,
            secret: None,
            name: self.name,
            permissions: words(&self.permissions)?,
            created_date: instant(self.created_at)?,
            last_modified_date: instant(self.modified_at)?,
            last_used_date: self.last_used_at.map(instant).transpose()?,
        })
    }
}

fn read_rights(rights: &str) -> Result<Rights> {
    rights
        .split(',')
        .map(|name| name.parse::<Right>())
        .collect::<Result<Rights, _>>()
        .map_err(|_| Error::corrupt("rights in the catalog do not decode"))
}
