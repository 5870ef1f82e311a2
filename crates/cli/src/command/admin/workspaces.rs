//! Environments, workspaces and tasks.

use clap::Subcommand;
use clap_complete::engine::ArgValueCompleter;
use runlog_client::Client;
use runlog_model::wire::admin::{
    EnvironmentUpdate, NewEnvironment, NewTask, NewWorkspace, TaskUpdate, WorkspaceUpdate,
};
use runlog_model::{EnvironmentId, TaskId, WorkspaceId};

use super::output::{Output, description as changed_description};
use crate::arguments::candidates;
use crate::arguments::names::{EnvironmentRef, TaskRef, WorkspaceRef};
use crate::command::workspaces::TaskJson;
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
    /// Change the name or the description of an environment
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Update {
        /// The environment: its ID or name
        #[arg(add = ArgValueCompleter::new(candidates::environments))]
        environment: EnvironmentRef,
        /// New name, unique in the archive
        #[arg(long, group = "change")]
        name: Option<String>,
        /// New description; an empty one removes it
        #[arg(long, group = "change", value_name = "TEXT")]
        description: Option<String>,
    },
    /// Delete an environment without workspaces
    Delete {
        /// The environment: its ID or name
        #[arg(add = ArgValueCompleter::new(candidates::environments))]
        environment: EnvironmentRef,
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
        /// The environment: its ID or name [default: the default environment]
        #[arg(long, value_name = "ENVIRONMENT", add = ArgValueCompleter::new(candidates::environments))]
        environment: Option<EnvironmentRef>,
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
    /// Change the name, the description or the owner of a workspace
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Update {
        /// The workspace: its ID or name
        #[arg(add = ArgValueCompleter::new(candidates::workspaces))]
        workspace: WorkspaceRef,
        /// New name, unique in the environment
        #[arg(long, group = "change")]
        name: Option<String>,
        /// New description; an empty one removes it
        #[arg(long, group = "change", value_name = "TEXT")]
        description: Option<String>,
        /// Name of the new owner
        #[arg(long, group = "change")]
        owner: Option<String>,
    },
    /// Delete a workspace without tasks, and the rights in it
    Delete {
        /// The workspace: its ID or name
        #[arg(add = ArgValueCompleter::new(candidates::workspaces))]
        workspace: WorkspaceRef,
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
    /// Change the name, the version, the description or the tags of a task
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Update {
        /// The task: its ID or name
        #[arg(add = ArgValueCompleter::new(candidates::tasks))]
        task: TaskRef,
        /// New name
        #[arg(long, group = "change")]
        name: Option<String>,
        /// New version, for runs that do not specify one
        #[arg(long, group = "change")]
        version: Option<String>,
        /// New description; an empty one removes it
        #[arg(long, group = "change", value_name = "TEXT")]
        description: Option<String>,
        /// Tag, replacing the existing ones; can be repeated
        #[arg(long = "tag", group = "change", value_name = "WORD")]
        tags: Vec<String>,
        /// Remove all tags
        #[arg(long, group = "change", conflicts_with = "tags")]
        no_tags: bool,
    },
    /// Delete a task that has never run
    Delete {
        /// The task: its ID or name
        #[arg(add = ArgValueCompleter::new(candidates::tasks))]
        task: TaskRef,
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
        Environments::Update { environment, name, description } => {
            let known = environment.find(client).await?;
            let description = changed_description(description, known.description);
            let update = EnvironmentUpdate { name: name.unwrap_or(known.name), description };
            let changed = client.update_environment(known.id, &update).await?;
            output.changed("environment", changed.id, &changed.name, &changed)
        }
        Environments::Delete { environment } => {
            let known = environment.find(client).await?;
            client.delete_environment(known.id).await?;
            output.deleted("environment", known.id, &known.name)
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
            let environment_id = match environment {
                Some(environment) => Some(environment.resolve(client).await?),
                None => None,
            };
            let new = NewWorkspace { id, environment_id, name, description, owner };
            let made = client.create_workspace(&new).await?;
            output.made(&made, format!("created workspace {} with ID {}", made.name, made.id))
        }
        Workspaces::Update { workspace, name, description, owner } => {
            let known = workspace.body(client).await?;
            let description = changed_description(description, known.description);
            let owner = owner.unwrap_or(known.owner);
            let update = WorkspaceUpdate { name: name.unwrap_or(known.name), description, owner };
            let changed = client.update_workspace(known.id, &update).await?;
            output.changed("workspace", changed.id, &changed.name, &changed)
        }
        Workspaces::Delete { workspace } => {
            let known = workspace.body(client).await?;
            client.delete_workspace(known.id).await?;
            output.deleted("workspace", known.id, &known.name)
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
        Tasks::Update { task, name, version, description, tags, no_tags } => {
            let known = client.task(task.resolve(client).await?).await?;
            let update = TaskUpdate {
                name: name.unwrap_or(known.name),
                version: version.unwrap_or(known.version),
                description: changed_description(description, known.description),
                tags: if no_tags || !tags.is_empty() { tags } else { known.tags },
            };
            let changed = client.update_task(known.id, &update).await?;
            output.changed("task", changed.id, &changed.name, &changed)
        }
        Tasks::Delete { task } => {
            let known = client.task(task.resolve(client).await?).await?;
            client.delete_task(known.id).await?;
            output.deleted("task", known.id, &known.name)
        }
    }
}
