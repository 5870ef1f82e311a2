//! Keys that sign access tokens and links.

use clap::Subcommand;
use runlog_client::Client;
use runlog_model::wire::admin::{KeyPurpose, NewKey};

use super::output::Output;
use crate::exit::Outcome;

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// List the keys that are accepted
    List,
    /// Create a new signing key; signatures of the older keys stay valid until they expire
    Rotate {
        /// Purpose of the key
        #[arg(value_enum)]
        purpose: SignedItem,
        /// Reject signatures of the older keys within a minute on every node, in case a key was exposed
        #[arg(long)]
        revoke_older: bool,
    },
}

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum SignedItem {
    /// Access tokens of service accounts.
    AccessTokens,
    /// Links to files.
    Links,
}

pub(super) async fn keys(client: &Client, command: Keys, output: Output) -> Outcome {
    match command {
        Keys::List => {
            let list = client.keys().await?;
            output.list(&["id", "created"], &list, |it| vec![it.id.clone(), it.created_date.to_string()])
        }
        Keys::Rotate { purpose, revoke_older } => {
            let purpose = match purpose {
                SignedItem::AccessTokens => KeyPurpose::AccessTokens,
                SignedItem::Links => KeyPurpose::Links,
            };
            let made = client.rotate_key(&NewKey { purpose, revoke_older }).await?;
            output.made(&made, format!("created key {}, which signs from now on", made.id))
        }
    }
}
