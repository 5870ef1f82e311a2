//! Rights in workspaces.

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use runlog_client::{Client, PermissionHolder};
use runlog_model::workspaces::Right;

use super::output::Output;
use crate::arguments::candidates;
use crate::arguments::names::{UserRef, WorkspaceRef};
use crate::exit::{Exit, Failure, Outcome};

#[derive(Debug, Subcommand)]
pub(super) enum RightsCommand {
    /// Show the rights of a user or a service account in a workspace
    Show {
        #[command(flatten)]
        holder: Holder,
    },
    /// Grant rights in a workspace to a user or a service account; existing rights are kept
    Grant {
        #[command(flatten)]
        holder: Holder,
        /// author, viewer, executor, manager, publisher; reading logs requires the first three, pushing requires
        /// publisher
        #[arg(required = true)]
        rights: Vec<Right>,
    },
    /// Set the rights of a user or a service account in a workspace, replacing the previous ones
    Set {
        #[command(flatten)]
        holder: Holder,
        /// author, viewer, executor, manager, publisher: exactly these
        #[arg(required = true)]
        rights: Vec<Right>,
    },
    /// Revoke all rights of a user or a service account in a workspace
    Revoke {
        #[command(flatten)]
        holder: Holder,
    },
}

#[derive(Debug, Args)]
pub(super) struct Holder {
    /// The workspace: its ID or name
    #[arg(long, value_name = "WORKSPACE", add = ArgValueCompleter::new(candidates::workspaces))]
    workspace: WorkspaceRef,
    /// The user: its ID or name
    #[arg(long, value_name = "USER", required_unless_present = "service_account", conflicts_with = "service_account",
          add = ArgValueCompleter::new(candidates::users))]
    user: Option<UserRef>,
    /// The service account: its ID or name
    #[arg(long, value_name = "ACCOUNT", add = ArgValueCompleter::new(candidates::service_accounts))]
    service_account: Option<String>,
}

impl Holder {
    /// The ID of the user or the service account.
    async fn id(&self, client: &Client) -> Outcome<String> {
        // A manager of a workspace may not list accounts, and gives their IDs.
        match (&self.service_account, &self.user) {
            (Some(id), _) if id.parse::<uuid::Uuid>().is_ok() => Ok(id.clone()),
            (Some(name), _) => {
                let found = client.service_accounts().await?.into_iter().find(|it| it.id == *name || it.name == *name);
                found.map(|it| it.id).ok_or_else(|| {
                    let message = format!("no service account has the ID or name {name:?}");
                    Failure::new(Exit::NotFound, message)
                })
            }
            (None, Some(user)) => user.resolve(client).await,
            (None, None) => Err(Failure::new(Exit::Usage, "give --user or --service-account")),
        }
    }
}

pub(super) async fn rights(client: &Client, command: RightsCommand, output: Output) -> Outcome {
    let (RightsCommand::Show { holder }
    | RightsCommand::Grant { holder, .. }
    | RightsCommand::Set { holder, .. }
    | RightsCommand::Revoke { holder }) = &command;
    let (workspace, id) = (holder.workspace.resolve(client).await?, holder.id(client).await?);
    let of = match holder.service_account {
        Some(_) => PermissionHolder::ServiceAccount(&id),
        None => PermissionHolder::User(&id),
    };
    match &command {
        RightsCommand::Show { .. } => {}
        RightsCommand::Grant { rights, .. } => {
            let mut all = client.permissions(workspace, of).await?;
            all.extend(rights.iter().copied().filter(|right| !all.contains(right)).collect::<Vec<_>>());
            client.set_permissions(workspace, of, &all).await?;
        }
        RightsCommand::Set { rights, .. } => client.set_permissions(workspace, of, rights).await?,
        RightsCommand::Revoke { .. } => client.delete_permissions(workspace, of).await?,
    }
    let held = client.permissions(workspace, of).await?;
    let names: Vec<&str> = held.iter().map(|right| right.console_name()).collect();
    let text = if names.is_empty() { "no rights".to_owned() } else { names.join(", ") };
    output.made(&held, format!("{text} in workspace {workspace}"))
}
