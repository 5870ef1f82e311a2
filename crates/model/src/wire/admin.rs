//! Bodies of Runlog's own administration: places, people, accounts and tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::place::Right;
use crate::{EnvironmentId, TaskId, Timestamp, WorkspaceId};

/// `POST /runlog/v1/environments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewEnvironment {
    /// Its id; a new one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<EnvironmentId>,
    /// Its name, unique in the archive.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// `POST /runlog/v1/workspaces`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewWorkspace {
    /// Its id; a new one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<WorkspaceId>,
    /// The environment it is in; the default one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_id: Option<EnvironmentId>,
    /// Its name, unique in its environment.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The name of its owner; the caller when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// `POST /runlog/v1/tasks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewTask {
    /// Its id; a new one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<TaskId>,
    /// The workspace it is in.
    pub workspace_id: WorkspaceId,
    /// Its name.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub name: String,
    /// Its version; `1.0` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Words to find it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// `POST /runlog/v1/users`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewUser {
    /// The name, unique in the archive.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub name: String,
    /// True for an administrator, who may do everything.
    #[serde(default)]
    pub administrator: bool,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserBody {
    /// The id, a UUID.
    pub id: String,
    /// The name.
    pub name: String,
    /// True for an administrator.
    pub administrator: bool,
}

/// `POST /runlog/v1/tokens`: a personal access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub name: String,
    /// Whose it is; the caller's when absent. Only administrators make tokens for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
}

/// A personal access token. The token itself is shown once, when it is made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenBody {
    /// The id, a UUID, to revoke it by.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// Whose it is.
    pub user_id: String,
    /// When it was made.
    pub created_date: Timestamp,
    /// When it was last used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_date: Option<Timestamp>,
    /// When it is no longer accepted; absent when it is good until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_date: Option<Timestamp>,
    /// The token, only in the answer that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// `POST /account/service-accounts`. Source: the vendor's service accounts file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewServiceAccount {
    /// The name, unique in the archive.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub name: String,
    /// Permissions for the whole archive, such as `EXECUTION_LOGS_DELETE`.
    #[serde(default)]
    pub permissions: Vec<String>,
}

/// A service account. The secret is shown once, when it is made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountBody {
    /// The id, a UUID; also the OAuth client id.
    pub id: String,
    /// The secret, only in the answer that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The name.
    pub name: String,
    /// Permissions for the whole archive.
    pub permissions: Vec<String>,
    /// When it was made.
    pub created_date: Timestamp,
    /// When it was last changed.
    pub last_modified_date: Timestamp,
    /// When it was last used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_date: Option<Timestamp>,
}

/// The body that gives rights: `POST` and `PUT` of `…/permissions`.
pub type RightsBody = Vec<Right>;

/// What someone may do in a workspace: `GET` of `…/permissions`. Source: `Permission` of the vendor's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionBody {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The user, or the service account.
    pub user_id: String,
    /// The rights.
    pub permissions: RightsBody,
}

/// What became of one part of a batch of permissions. Source: `PermissionResult` of the vendor's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PermissionResult {
    /// The HTTP status that the part alone would have had.
    pub status: u16,
    /// Why it was refused.
    pub message: String,
    /// The part.
    pub permission: PermissionBody,
}

/// What became of one part of a batch that takes rights away. Source: `PermissionDeleteResult` of the vendor's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionDeleteResult {
    /// The HTTP status that the part alone would have had.
    pub status: u16,
    /// Why it was refused.
    pub message: String,
    /// The part.
    pub permission_id: PermissionId,
}

/// Whose rights in which workspace. Source: `PermissionId` of the vendor's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionId {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The user, or the service account.
    pub user_id: String,
}

/// Answer to `GET /account/service-accounts/count`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CountBody {
    /// The account they are of.
    pub tenant_id: String,
    /// How many there are.
    pub count: u64,
}

/// Something that someone did: an entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who, by id; `-` for the holder of a link.
    pub caller_id: String,
    /// Who, by name.
    pub caller_name: String,
    /// What, such as `read log`.
    pub action: String,
    /// To what: a run, an account, a token, the file of a link.
    pub subject: String,
    /// How it was answered.
    pub status: u16,
    /// From where; empty when not known.
    pub address: String,
    /// The request, as the service's log has it.
    pub request_id: String,
}

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyPurpose {
    /// The access tokens of service accounts.
    AccessTokens,
    /// The links to files.
    Links,
}

/// `POST /runlog/v1/keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewKey {
    /// What it signs.
    pub purpose: KeyPurpose,
    /// True: what the older keys signed is refused, at once on this node and within a minute on others.
    #[serde(default)]
    pub revoke_older: bool,
}

/// A key for signing, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyBody {
    /// Its id, as tokens and links name it.
    pub id: String,
    /// What it signs.
    pub purpose: KeyPurpose,
    /// When it was made.
    pub created_date: Timestamp,
}
