//! Users, service accounts, and their tokens.

use clap::Subcommand;
use clap_complete::engine::ArgValueCompleter;
use runlog_client::Client;
use runlog_model::wire::admin::{NewServiceAccount, NewToken, NewUser, ServiceAccountBody, TokenBody, UserUpdate};

use super::output::Output;
use crate::arguments::candidates;
use crate::arguments::names::UserRef;
use crate::exit::Outcome;
use crate::render::terminal::{STRONG, styled};

#[derive(Debug, Subcommand)]
pub(super) enum Users {
    /// List users
    List,
    /// Create a user
    Create {
        /// Name, unique in the archive
        name: String,
        /// Make the user an administrator, with all rights
        #[arg(long)]
        administrator: bool,
    },
    /// Change the name of a user, or whether the user is an administrator
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Update {
        /// The user: the ID or name
        #[arg(add = ArgValueCompleter::new(candidates::users))]
        user: UserRef,
        /// New name, unique in the archive
        #[arg(long, group = "change")]
        name: Option<String>,
        /// Make the user an administrator, with all rights
        #[arg(long, group = "change")]
        administrator: bool,
        /// Remove administrator rights from the user; rights in workspaces are kept
        #[arg(long, group = "change", conflicts_with = "administrator")]
        no_administrator: bool,
    },
    /// Delete a user, and revoke the user's tokens, sessions and rights
    Delete {
        /// The user: the ID or name
        #[arg(add = ArgValueCompleter::new(candidates::users))]
        user: UserRef,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ServiceAccounts {
    /// List service accounts
    List,
    /// Create a service account, and print its secret (shown only once)
    Create {
        /// Name, unique in the archive
        name: String,
        /// Permission for the whole archive; can be repeated
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
    },
    /// Delete a service account and revoke its tokens
    Delete {
        /// ID of the service account, which is also its client ID
        #[arg(add = ArgValueCompleter::new(candidates::service_account_ids))]
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Tokens {
    /// List tokens, without their secret values
    List,
    /// Create a token, and print it (shown only once)
    Create {
        /// Purpose of the token
        name: String,
        /// The user: the ID or name [default: you]
        #[arg(long, value_name = "USER", add = ArgValueCompleter::new(candidates::users))]
        user: Option<UserRef>,
    },
    /// Revoke a token
    Revoke {
        /// ID of the token, from the list
        id: String,
    },
}

pub(super) async fn users(client: &Client, command: Users, output: Output) -> Outcome {
    match command {
        Users::List => {
            let list = client.users().await?;
            output.list(&["id", "name", "administrator"], &list, |it| {
                vec![it.id.clone(), it.name.clone(), if it.administrator { "yes" } else { "" }.to_owned()]
            })
        }
        Users::Create { name, administrator } => {
            let made = client.create_user(&NewUser { name, administrator }).await?;
            output.made(&made, format!("created user {} with ID {}", made.name, made.id))
        }
        Users::Update { user, name, administrator, no_administrator } => {
            let known = user.find(client).await?;
            let administrator = administrator || (known.administrator && !no_administrator);
            let update = UserUpdate { name: name.unwrap_or(known.name), administrator };
            let changed = client.update_user(&known.id, &update).await?;
            output.changed("user", &changed.id, &changed.name, &changed)
        }
        Users::Delete { user } => {
            let known = user.find(client).await?;
            client.delete_user(&known.id).await?;
            output.deleted("user", &known.id, &known.name)
        }
    }
}

pub(super) async fn service_accounts(client: &Client, command: ServiceAccounts, output: Output) -> Outcome {
    match command {
        ServiceAccounts::List => {
            let list = client.service_accounts().await?;
            let used = |it: &ServiceAccountBody| it.last_used_date.map_or("never".to_owned(), |at| at.to_string());
            output.list(&["id", "name", "permissions", "last used"], &list, |it| {
                vec![it.id.clone(), it.name.clone(), it.permissions.join(" "), used(it)]
            })
        }
        ServiceAccounts::Create { name, permissions } => {
            let made = client.create_service_account(&NewServiceAccount { name, permissions }).await?;
            let secret = styled(STRONG, made.secret.as_deref().unwrap_or_default());
            output.made(&made, format!("client ID      {}\nclient secret  {secret}   (shown only once)", made.id))
        }
        ServiceAccounts::Delete { id } => {
            client.delete_service_account(&id).await?;
            output.made(&serde_json::json!({ "deleted": id }), format!("deleted service account {id}"))
        }
    }
}

pub(super) async fn tokens(client: &Client, command: Tokens, output: Output) -> Outcome {
    match command {
        Tokens::List => {
            let list = client.tokens().await?;
            let used = |it: &TokenBody| it.last_used_date.map_or("never".to_owned(), |at| at.to_string());
            output.list(&["id", "name", "user", "created", "last used"], &list, |it| {
                vec![it.id.clone(), it.name.clone(), it.user_id.clone(), it.created_date.to_string(), used(it)]
            })
        }
        Tokens::Create { name, user } => {
            let user_id = match user {
                Some(user) => Some(user.resolve(client).await?),
                None => None,
            };
            let made = client.create_token(&NewToken { name, user_id }).await?;
            let token = made.token.as_deref().unwrap_or_default();
            output.made(&made, format!("token {} (shown only once):\n{}", made.id, styled(STRONG, token)))
        }
        Tokens::Revoke { id } => {
            client.revoke_token(&id).await?;
            output.made(&serde_json::json!({ "revoked": id }), format!("revoked token {id}"))
        }
    }
}
