//! Keys that sign access tokens and links.

use clap::Subcommand;
use runlog_client::Client;
use runlog_model::wire::admin::{KeyPurpose, NewKey};

use super::output::Output;
use crate::exit::Outcome;

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Lists those that are accepted
    List,
    /// Makes another, which signs from now on; what the older ones signed stays good until it expires
    Rotate {
        /// What it signs
        #[arg(value_enum)]
        purpose: Signed,
        /// Refuses what the older ones signed, within a minute on every node: for a key that someone may have seen
        #[arg(long)]
        revoke_older: bool,
    },
}

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Signed {
    /// The access tokens of service accounts
    AccessTokens,
    /// The links to files
    Links,
}

pub(super) async fn keys(client: &Client, command: Keys, output: Output) -> Outcome {
    match command {
        Keys::List => {
            let list = client.keys().await?;
            output.list(&["id", "made"], &list, |it| vec![it.id.clone(), it.created_date.to_string()])
        }
        Keys::Rotate { purpose, revoke_older } => {
            let purpose = match purpose {
                Signed::AccessTokens => KeyPurpose::AccessTokens,
                Signed::Links => KeyPurpose::Links,
            };
            let made = client.rotate_key(&NewKey { purpose, revoke_older }).await?;
            output.made(&made, format!("{} signs from now on", made.id))
        }
    }
}
