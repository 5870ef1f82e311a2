//! `runlog admin`: workspaces, accounts, tokens and rights of an archive.

mod accounts;
mod keys;
mod output;
mod recover;
mod rights;
mod workspaces;

use std::path::PathBuf;

use accounts::{ServiceAccounts, Tokens, Users, service_accounts, tokens, users};
use clap::{Args, Subcommand};
use keys::{Keys, keys};
use output::Output;
use recover::recover;
use rights::{RightsCommand, rights};
use workspaces::{Environments, Tasks, Workspaces, environments, tasks, workspaces};

use crate::arguments::archive::LocationArgs;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::span::Span;
use crate::exit::Outcome;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlog admin environments create production
  runlog admin workspaces create sales --environment production
  runlog admin tasks create nightly-orders --workspace sales
  runlog admin tasks update nightly-orders --name orders
  runlog admin service-accounts create monitoring
  runlog admin rights grant --workspace sales --service-account monitoring author viewer executor
  runlog admin tokens create 'laptop of Kim' --user kim
  runlog admin users delete kim")]
pub(crate) struct AdminArgs {
    #[command(subcommand)]
    subject: Subject,
    /// Print JSON: an object for commands that create, change or delete, one object per line for lists
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// Manage environments, which contain workspaces
    #[command(subcommand)]
    Environments(Environments),
    /// Manage workspaces, which contain tasks
    #[command(subcommand)]
    Workspaces(Workspaces),
    /// Manage tasks, whose runs are archived
    #[command(subcommand)]
    Tasks(Tasks),
    /// Manage users
    #[command(subcommand)]
    Users(Users),
    /// Manage personal access tokens of users
    #[command(subcommand)]
    Tokens(Tokens),
    /// Manage service accounts: identities of programs, with a client ID and a secret
    #[command(subcommand)]
    ServiceAccounts(ServiceAccounts),
    /// Manage the rights of users and service accounts in a workspace
    #[command(subcommand)]
    Rights(RightsCommand),
    /// Manage the keys that sign access tokens and links
    #[command(subcommand)]
    Keys(Keys),
    /// Create a temporary administrator token if all others are lost; needs direct access to the archive
    Recover {
        /// Lifetime of the token: time to create a permanent one with `runlog admin tokens create`
        #[arg(long = "lifetime", alias = "life", default_value = "24h", value_name = "TIME")]
        life: Span,
        /// Data folder of the archive, where the file with the token is written; created if the archive is elsewhere
        #[arg(long, env = "RUNLOG_DATA", default_value = "runlog-data", value_name = "FOLDER")]
        data: PathBuf,
        /// Print the token instead of writing it to a file, for containers without a shell
        #[arg(long)]
        print: bool,
        #[command(flatten)]
        places: LocationArgs,
    },
}

/// Runs one command, and prints its result.
pub(crate) async fn run(args: AdminArgs) -> Outcome {
    let output = Output { json: args.json };
    let subject = match args.subject {
        Subject::Recover { life, data, print, places } => return recover(life, &data, print, places).await,
        other => other,
    };
    let client = args.connect.client()?;
    match subject {
        Subject::Environments(command) => environments(&client, command, output).await,
        Subject::Workspaces(command) => workspaces(&client, command, output).await,
        Subject::Tasks(command) => tasks(&client, command, output).await,
        Subject::Users(command) => users(&client, command, output).await,
        Subject::Tokens(command) => tokens(&client, command, output).await,
        Subject::Keys(command) => keys(&client, command, output).await,
        Subject::ServiceAccounts(command) => service_accounts(&client, command, output).await,
        Subject::Rights(command) => rights(&client, command, output).await,
        Subject::Recover { life, data, print, places } => recover(life, &data, print, places).await,
    }
}
