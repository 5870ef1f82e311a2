//! Bodies of `/orchestration/…`: environments, workspaces and tasks.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::place::{Environment, Task, Workspace};
use crate::{EnvironmentId, TaskId, WorkspaceId};

/// An environment, as the list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentBody {
    /// Its id.
    pub id: EnvironmentId,
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// True for the environment that is used when none is named.
    pub default: bool,
}

/// A workspace, as the list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceBody {
    /// Its id.
    pub id: WorkspaceId,
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The name of its owner.
    pub owner: String,
    /// `shared`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The environment it is in.
    pub environment: EnvironmentBody,
}

/// A task, as the list of executables shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskItem {
    /// The id of the task.
    pub executable: TaskId,
    /// Its name.
    pub name: String,
    /// The workspace it is in.
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

/// A task by its id. Connections, parameters and resources are the vendor's business, and empty here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskBody {
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it runs. The archive knows no artifacts; the task stands in for its own.
    pub artifact: ArtifactBody,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The workspace it is in.
    pub workspace: WorkspaceBody,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Empty.
    pub connections: Map<String, Value>,
    /// Empty.
    pub parameters: Map<String, Value>,
    /// Empty.
    pub resources: Map<String, Value>,
}

/// What a task runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactBody {
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// Its version.
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
