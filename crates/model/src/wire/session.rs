//! Bodies of `/runlog/v1/session`: the caller who has signed in with a browser.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::workspaces::Right;
use crate::{Timestamp, WorkspaceId};

/// `POST /runlog/v1/session`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSession {
    /// A personal access token, or an access token of a service account.
    #[schema(max_length = 4096)]
    pub token: String,
}

/// The caller and its rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionBody {
    /// ID of the user or the service account.
    pub id: String,
    /// Name.
    pub name: String,
    /// A person or a program.
    pub kind: SessionKind,
    /// True for an administrator, who has all rights.
    pub administrator: bool,
    /// Permissions for the whole archive.
    pub permissions: Vec<String>,
    /// The workspaces in which the caller has rights.
    pub workspaces: Vec<SessionWorkspace>,
    /// When the session expires; absent if the caller used a token instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The version of the service.
    pub version: String,
}

/// A person or a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SessionKind {
    /// A person.
    User,
    /// A program.
    ServiceAccount,
}

/// A workspace in which the caller has rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SessionWorkspace {
    /// ID.
    pub id: WorkspaceId,
    /// Name.
    pub name: String,
    /// Name of the environment.
    pub environment: String,
    /// The rights.
    pub rights: Vec<Right>,
}
