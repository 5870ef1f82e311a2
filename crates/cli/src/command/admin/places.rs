//! Environments, workspaces and tasks.

use clap::Subcommand;
use runlog_client::Client;
use runlog_model::wire::admin::{NewEnvironment, NewTask, NewWorkspace};
use runlog_model::{EnvironmentId, TaskId, WorkspaceId};

use super::output::Output;
use crate::exit::Outcome;

#[derive(Debug, Subcommand)]
pub(super) enum Environments {
    /// Lists them
    List,
    /// Makes one
    Create {
        /// Its name, unique in the archive
        name: String,
        /// The id to give it, 24 hex digits [default: a new one]
        #[arg(long)]
        id: Option<EnvironmentId>,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Workspaces {
    /// Lists them
    List,
    /// Makes one
    Create {
        /// Its name, unique in its environment
        name: String,
        /// The environment it is in [default: the first one made]
        #[arg(long, value_name = "ID")]
        environment: Option<EnvironmentId>,
        /// The id to give it, 24 hex digits [default: a new one]
        #[arg(long)]
        id: Option<WorkspaceId>,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// The name of its owner [default: you]
        #[arg(long)]
        owner: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Tasks {
    /// Lists them
    List {
        /// Only those of this workspace
        #[arg(long, value_name = "ID")]
        workspace: Option<WorkspaceId>,
        /// Only those whose name begins so
        #[arg(long)]
        name: Option<String>,
    },
    /// Makes one
    Create {
        /// Its name
        name: String,
        /// The workspace it is in
        #[arg(long, value_name = "ID")]
        workspace: WorkspaceId,
        /// The id to give it, 24 hex digits [default: a new one]
        #[arg(long)]
        id: Option<TaskId>,
        /// Its version [default: 1.0]
        #[arg(long)]
        version: Option<String>,
        /// What it does
        #[arg(long)]
        description: Option<String>,
        /// A word to find it by; can be repeated
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
            output.made(&made, format!("environment {} has the id {}", made.name, made.id))
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
            output.made(&made, format!("workspace {} has the id {}", made.name, made.id))
        }
    }
}

pub(super) async fn tasks(client: &Client, command: Tasks, output: Output) -> Outcome {
    match command {
        Tasks::List { workspace, name } => {
            let list = client.tasks(workspace, name.as_deref()).await?;
            output.list(&["id", "name", "workspace", "environment"], &list, |it| {
                let place = &it.workspace;
                vec![it.executable.to_string(), it.name.clone(), place.name.clone(), place.environment.name.clone()]
            })
        }
        Tasks::Create { name, workspace, id, version, description, tags } => {
            let new = NewTask { id, workspace_id: workspace, name, version, description, tags };
            let made = client.create_task(&new).await?;
            output.made(&made, format!("task {} has the id {}", made.name, made.executable))
        }
    }
}
