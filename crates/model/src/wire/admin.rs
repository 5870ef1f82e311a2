//! Bodies of the administration API of Runlog: workspaces, users, accounts and tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::workspaces::Right;
use crate::{EnvironmentId, TaskId, Timestamp, WorkspaceId};

/// `POST /runlog/v1/environments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewEnvironment {
    /// ID; default: generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<EnvironmentId>,
    /// Name, unique in the archive.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub name: String,
    /// Description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// `POST /runlog/v1/workspaces`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewWorkspace {
    /// ID; default: generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<WorkspaceId>,
    /// ID of the environment; default: the default environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_id: Option<EnvironmentId>,
    /// Name, unique in the environment.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub name: String,
    /// Description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Name of the owner; default: the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// `POST /runlog/v1/tasks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewTask {
    /// ID; default: generated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<TaskId>,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// Name.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub name: String,
    /// Version; default `1.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// `POST /runlog/v1/users`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewUser {
    /// Name, unique in the archive.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub name: String,
    /// True for an administrator, who has all rights.
    #[serde(default)]
    pub administrator: bool,
}

/// `PUT /runlog/v1/environments/{id}`: replaces its name and description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvironmentUpdate {
    /// Name, unique in the archive.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub name: String,
    /// Description; absent for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// `PUT /runlog/v1/workspaces/{id}`: replaces its name, description and owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkspaceUpdate {
    /// Name, unique in the environment.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub name: String,
    /// Description; absent for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Name of the owner.
    pub owner: String,
}

/// `PUT /runlog/v1/tasks/{id}`: replaces its name, version, description and tags. The task stays in its workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskUpdate {
    /// Name.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub name: String,
    /// Version, which runs have that do not name one.
    pub version: String,
    /// Description; absent for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tags; absent for none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// `PUT /runlog/v1/users/{id}`: replaces the name of a user, and whether the user is an administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserUpdate {
    /// Name, unique in the archive.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub name: String,
    /// True for an administrator, who has all rights.
    pub administrator: bool,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserBody {
    /// ID, a UUID.
    pub id: String,
    /// Name.
    pub name: String,
    /// True for an administrator.
    pub administrator: bool,
    /// The URL of the identity provider that the user signs in with, and that decides on its rights; absent for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_provider: Option<String>,
}

/// `POST /runlog/v1/tokens`: creates a personal access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewToken {
    /// Description.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    pub name: String,
    /// ID of the user; default: the caller. Only administrators can create tokens for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
}

/// A personal access token. The token itself is shown only once, when it is created.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenBody {
    /// ID, a UUID, by which it can be revoked.
    pub id: String,
    /// Description.
    pub name: String,
    /// ID of the user.
    pub user_id: String,
    /// When it was created.
    pub created_date: Timestamp,
    /// When it was last used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_date: Option<Timestamp>,
    /// When it expires; absent if it is valid until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_date: Option<Timestamp>,
    /// The token, only in the response that created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// `POST /account/service-accounts`. Source: the vendor's service accounts file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewServiceAccount {
    /// Name, unique in the archive.
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

/// A service account. The secret is shown only once, when the account is created.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountBody {
    /// ID, a UUID, which is also the OAuth client ID.
    pub id: String,
    /// The secret, only in the response that created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Name.
    pub name: String,
    /// Permissions for the whole archive.
    pub permissions: Vec<String>,
    /// When it was created.
    pub created_date: Timestamp,
    /// When it was last changed.
    pub last_modified_date: Timestamp,
    /// When it was last used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_date: Option<Timestamp>,
}

/// Rights in a workspace: `GET` of `…/permissions`. Source: `Permission` of the vendor's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionBody {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The user or the service account.
    pub user_id: String,
    /// The rights.
    pub permissions: Vec<Right>,
}

/// The result of one item of a batch of permissions. Source: `PermissionResult` of the vendor's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PermissionResult {
    /// The HTTP status that the item would have received on its own.
    pub status: u16,
    /// Why it was refused.
    pub message: String,
    /// The item.
    pub permission: PermissionBody,
}

/// The result of one item of a batch that revokes rights. Source: `PermissionDeleteResult` of the vendor's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionDeleteResult {
    /// The HTTP status that the item would have received on its own.
    pub status: u16,
    /// Why it was refused.
    pub message: String,
    /// The item.
    pub permission_id: PermissionId,
}

/// A workspace, and a user or service account. Source: `PermissionId` of the vendor's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionId {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The user or the service account.
    pub user_id: String,
}

/// Response of `GET /account/service-accounts/count`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CountBody {
    /// The account to which they belong.
    pub tenant_id: String,
    /// Number of items.
    pub count: u64,
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// The time.
    pub at: Timestamp,
    /// ID of the caller; `-` for the user of a link.
    pub caller_id: String,
    /// Name of the caller.
    pub caller_name: String,
    /// The action, such as `read log`.
    pub action: String,
    /// The object of the action: a run, an account, a token, or the file of a link.
    pub subject: String,
    /// HTTP status of the response.
    pub status: u16,
    /// The client address; empty if unknown.
    pub address: String,
    /// ID of the request, as in the log of the service.
    pub request_id: String,
}

/// The purpose of a key.
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
    /// If true, signatures of older keys are rejected, immediately on this node and within a minute on others.
    #[serde(default)]
    pub revoke_older: bool,
}

/// A signing key, without its key material.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyBody {
    /// ID, as contained in tokens and links.
    pub id: String,
    /// What it signs.
    pub purpose: KeyPurpose,
    /// When it was created.
    pub created_date: Timestamp,
}
