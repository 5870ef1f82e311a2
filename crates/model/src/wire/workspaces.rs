//! Bodies of `/orchestration/…`: environments, workspaces and tasks.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::workspaces::{Environment, Task, Workspace};
use crate::{EnvironmentId, TaskId, WorkspaceId};

/// An environment in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentBody {
    /// ID.
    pub id: EnvironmentId,
    /// Name.
    pub name: String,
    /// Description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// True for the default environment.
    pub default: bool,
}

/// A workspace in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceBody {
    /// ID.
    pub id: WorkspaceId,
    /// Name.
    pub name: String,
    /// Description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Name of the owner.
    pub owner: String,
    /// `shared`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The environment.
    pub environment: EnvironmentBody,
}

/// A task in the list of executables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskItem {
    /// ID of the task.
    pub executable: TaskId,
    /// Name.
    pub name: String,
    /// The workspace.
    pub workspace: WorkspaceBody,
}

impl From<&Environment> for EnvironmentBody {
    fn from(environment: &Environment) -> Self {
        Self {
            id: environment.id,
            name: environment.name.clone(),
            description: environment.description.clone(),
            default: environment.is_default,
        }
    }
}

impl From<&Workspace> for WorkspaceBody {
    fn from(workspace: &Workspace) -> Self {
        Self {
            id: workspace.id,
            name: workspace.name.clone(),
            description: workspace.description.clone(),
            owner: workspace.owner.clone(),
            kind: "shared".to_owned(),
            environment: (&workspace.environment).into(),
        }
    }
}

impl From<&Task> for TaskItem {
    fn from(task: &Task) -> Self {
        Self { executable: task.id, name: task.name.clone(), workspace: (&task.workspace).into() }
    }
}

/// A task. Connections, parameters and resources are not stored, and empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskBody {
    /// ID.
    pub id: TaskId,
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// The artifact. The archive has no artifacts; this is derived from the task.
    pub artifact: ArtifactBody,
    /// Description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The workspace.
    pub workspace: WorkspaceBody,
    /// Tags.
    pub tags: Vec<String>,
    /// Empty.
    pub connections: Map<String, Value>,
    /// Empty.
    pub parameters: Map<String, Value>,
    /// Empty.
    pub resources: Map<String, Value>,
}

/// The artifact of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactBody {
    /// ID.
    pub id: TaskId,
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
}

impl From<&Task> for TaskBody {
    fn from(task: &Task) -> Self {
        let (name, version) = (task.name.clone(), task.version.clone());
        Self {
            id: task.id,
            name: name.clone(),
            version: version.clone(),
            artifact: ArtifactBody { id: task.id, name, version },
            description: task.description.clone(),
            workspace: (&task.workspace).into(),
            tags: task.tags.clone(),
            connections: Map::new(),
            parameters: Map::new(),
            resources: Map::new(),
        }
    }
}
