//! Rights in workspaces.

use clap::{Args, Subcommand};
use runlog_client::{Client, PermissionHolder};
use runlog_model::WorkspaceId;
use runlog_model::place::Right;

use super::output::Output;
use crate::exit::Outcome;

#[derive(Debug, Subcommand)]
pub(super) enum RightsCommand {
    /// Show the rights of a user or a service account in a workspace
    Show {
        #[command(flatten)]
        holder: Holder,
    },
    /// Set the rights of a user or a service account in a workspace, replacing the previous ones
    Grant {
        #[command(flatten)]
        holder: Holder,
        /// author, viewer, executor, manager, publisher; reading logs requires the first three, pushing requires
        /// publisher
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
    /// ID of the workspace
    #[arg(long, value_name = "ID")]
    workspace: WorkspaceId,
    /// ID of the user
    #[arg(long, value_name = "ID", required_unless_present = "service_account", conflicts_with = "service_account")]
    user: Option<String>,
    /// ID of the service account
    #[arg(long, value_name = "ID")]
    service_account: Option<String>,
}

impl Holder {
    fn permission_holder(&self) -> PermissionHolder<'_> {
        match (&self.service_account, &self.user) {
            (Some(id), _) => PermissionHolder::ServiceAccount(id),
            (None, user) => PermissionHolder::User(user.as_deref().unwrap_or_default()),
        }
    }
}

pub(super) async fn rights(client: &Client, command: RightsCommand, output: Output) -> Outcome {
    let (RightsCommand::Show { holder } | RightsCommand::Grant { holder, .. } | RightsCommand::Revoke { holder }) =
        &command;
    let (workspace, of) = (holder.workspace, holder.permission_holder());
    match &command {
        RightsCommand::Show { .. } => {}
        RightsCommand::Grant { rights, .. } => client.set_permissions(workspace, of, rights).await?,
        RightsCommand::Revoke { .. } => client.delete_permissions(workspace, of).await?,
    }
    let held = client.permissions(workspace, of).await?;
    let names: Vec<&str> = held.iter().map(|right| right.console_name()).collect();
    let text = if names.is_empty() { "no rights".to_owned() } else { names.join(", ") };
    output.made(&held, format!("{text} in workspace {workspace}"))
}
