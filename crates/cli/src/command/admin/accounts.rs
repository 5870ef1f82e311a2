//! Users, service accounts, and their tokens.

use clap::Subcommand;
use runlog_client::Client;
use runlog_model::wire::admin::{NewServiceAccount, NewToken, NewUser, ServiceAccountBody, TokenBody};

use super::output::Output;
use crate::exit::Outcome;
use crate::render::terminal::{STRONG, styled};

#[derive(Debug, Subcommand)]
pub(super) enum Users {
    /// Lists them
    List,
    /// Makes one
    Create {
        /// The name, unique in the archive
        name: String,
        /// May do everything
        #[arg(long)]
        administrator: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ServiceAccounts {
    /// Lists them
    List,
    /// Makes one, and shows its secret this once
    Create {
        /// The name, unique in the archive
        name: String,
        /// A permission for the whole archive; can be repeated
        #[arg(long = "permission", value_name = "PERMISSION")]
        permissions: Vec<String>,
    },
    /// Deletes one; its tokens end with it
    Delete {
        /// The id, which is also the client id
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Tokens {
    /// Lists them, without the tokens themselves
    List,
    /// Makes one, and shows it this once
    Create {
        /// What it is for
        name: String,
        /// Whose it is [default: yours]
        #[arg(long, value_name = "ID")]
        user: Option<String>,
    },
    /// Ends one
    Revoke {
        /// The id of the token, from the list
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
            output.made(&made, format!("user {} has the id {}", made.name, made.id))
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
            output.made(&made, format!("client id      {}\nclient secret  {secret}   (shown this once)", made.id))
        }
        ServiceAccounts::Delete { id } => {
            client.delete_service_account(&id).await?;
            output.made(&serde_json::json!({ "deleted": id }), format!("service account {id} is deleted"))
        }
    }
}

pub(super) async fn tokens(client: &Client, command: Tokens, output: Output) -> Outcome {
    match command {
        Tokens::List => {
            let list = client.tokens().await?;
            let used = |it: &TokenBody| it.last_used_date.map_or("never".to_owned(), |at| at.to_string());
            output.list(&["id", "for", "user", "made", "last used"], &list, |it| {
                vec![it.id.clone(), it.name.clone(), it.user_id.clone(), it.created_date.to_string(), used(it)]
            })
        }
        Tokens::Create { name, user } => {
            let made = client.create_token(&NewToken { name, user_id: user }).await?;
            let token = made.token.as_deref().unwrap_or_default();
            output.made(&made, format!("token {}, shown this once:\n{}", made.id, styled(STRONG, token)))
        }
        Tokens::Revoke { id } => {
            client.revoke_token(&id).await?;
            output.made(&serde_json::json!({ "revoked": id }), format!("token {id} is no longer accepted"))
        }
    }
}
