//! Environments, workspaces and tasks.

use clap::Subcommand;
use clap_complete::engine::ArgValueCompleter;
use runlog_client::Client;
use runlog_model::wire::admin::{NewEnvironment, NewTask, NewWorkspace};
use runlog_model::{EnvironmentId, TaskId, WorkspaceId};

use super::output::Output;
use crate::arguments::candidates;
use crate::arguments::names::WorkspaceRef;
use crate::command::places::TaskJson;
use crate::exit::Outcome;

#[derive(Debug, Subcommand)]
pub(super) enum Environments {
    /// List environments
    List,
    /// Create an environment
    Create {
        /// Name, unique in the archive
        name: String,
        /// ID, 24 hexadecimal digits [default: generated]
        #[arg(long)]
        id: Option<EnvironmentId>,
        /// Description
        #[arg(long)]
        description: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Workspaces {
    /// List workspaces
    List,
    /// Create a workspace
    Create {
        /// Name, unique in the environment
        name: String,
        /// ID of the environment [default: the oldest one]
        #[arg(long, value_name = "ID")]
        environment: Option<EnvironmentId>,
        /// ID, 24 hexadecimal digits [default: generated]
        #[arg(long)]
        id: Option<WorkspaceId>,
        /// Description
        #[arg(long)]
        description: Option<String>,
        /// Name of the owner [default: you]
        #[arg(long)]
        owner: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Tasks {
    /// List tasks
    List {
        /// Only tasks of this workspace: its ID or name
        #[arg(long, value_name = "WORKSPACE", add = ArgValueCompleter::new(candidates::workspaces))]
        workspace: Option<WorkspaceRef>,
        /// Only tasks whose names start with this text
        #[arg(long)]
        name: Option<String>,
    },
    /// Create a task
    Create {
        /// Name of the task
        name: String,
        /// The workspace: its ID or name
        #[arg(long, value_name = "WORKSPACE", add = ArgValueCompleter::new(candidates::workspaces))]
        workspace: WorkspaceRef,
        /// ID, 24 hexadecimal digits [default: generated]
        #[arg(long)]
        id: Option<TaskId>,
        /// Version [default: 1.0]
        #[arg(long)]
        version: Option<String>,
        /// Description
        #[arg(long)]
        description: Option<String>,
        /// Tag; can be repeated
        #[arg(long = "tag", value_name = "WORD")]
        tags: Vec<String>,
    },
}

pub(super) async fn environments(client: &Client, command: Environments, output: Output) -> Outcome {
    match command {
        Environments::List => {
            let list = client.environments().await?;
            output.list(&["id", "name", "description"], &list, |it| {
                vec![it.id.to_string(), it.name.clone(), it.description.clone().unwrap_or_default()]
            })
        }
        Environments::Create { name, id, description } => {
            let made = client.create_environment(&NewEnvironment { id, name, description }).await?;
            output.made(&made, format!("created environment {} with ID {}", made.name, made.id))
        }
    }
}

pub(super) async fn workspaces(client: &Client, command: Workspaces, output: Output) -> Outcome {
    match command {
        Workspaces::List => {
            let list = client.workspaces().await?;
            output.list(&["id", "name", "environment", "owner"], &list, |it| {
                vec![it.id.to_string(), it.name.clone(), it.environment.name.clone(), it.owner.clone()]
            })
        }
        Workspaces::Create { name, environment, id, description, owner } => {
            let new = NewWorkspace { id, environment_id: environment, name, description, owner };
            let made = client.create_workspace(&new).await?;
            output.made(&made, format!("created workspace {} with ID {}", made.name, made.id))
        }
    }
}

pub(super) async fn tasks(client: &Client, command: Tasks, output: Output) -> Outcome {
    match command {
        Tasks::List { workspace, name } => {
            let workspace = match workspace {
                Some(workspace) => Some(workspace.resolve(client).await?),
                None => None,
            };
            let list = client.tasks(workspace, name.as_deref()).await?;
            let list: Vec<_> = list.iter().map(TaskJson::from).collect();
            output.list(&["id", "name", "workspace", "environment"], &list, |it| {
                let (it, place) = (it.task, &it.task.workspace);
                vec![it.executable.to_string(), it.name.clone(), place.name.clone(), place.environment.name.clone()]
            })
        }
        Tasks::Create { name, workspace, id, version, description, tags } => {
            let workspace_id = workspace.resolve(client).await?;
            let new = NewTask { id, workspace_id, name, version, description, tags };
            let made = client.create_task(&new).await?;
            output.made(&TaskJson::from(&made), format!("created task {} with ID {}", made.name, made.executable))
        }
    }
}
