//! `runlog admin`: places, people, tokens and rights of an archive.

mod accounts;
mod keys;
mod output;
mod places;
mod recover;
mod rights;

use std::path::PathBuf;

use accounts::{ServiceAccounts, Tokens, Users, service_accounts, tokens, users};
use clap::{Args, Subcommand};
use keys::{Keys, keys};
use output::Output;
use places::{Environments, Tasks, Workspaces, environments, tasks, workspaces};
use recover::recover;
use rights::{RightsCommand, rights};

use crate::arguments::archive::PlaceArgs;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::span::Span;
use crate::exit::Outcome;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlog admin environments create production
  runlog admin workspaces create sales --environment ENVIRONMENT_ID
  runlog admin tasks create nightly-orders --workspace WORKSPACE_ID
  runlog admin service-accounts create monitoring
  runlog admin rights grant --workspace WORKSPACE_ID --service-account ID author viewer executor
  runlog admin tokens create 'laptop of Kim' --user USER_ID")]
pub(crate) struct AdminArgs {
    #[command(subcommand)]
    subject: Subject,
    /// Prints JSON: an object for what is made, one object a line for lists
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// Environments, which hold workspaces
    #[command(subcommand)]
    Environments(Environments),
    /// Workspaces, which hold tasks
    #[command(subcommand)]
    Workspaces(Workspaces),
    /// Tasks, whose runs are archived
    #[command(subcommand)]
    Tasks(Tasks),
    /// Users
    #[command(subcommand)]
    Users(Users),
    /// Personal access tokens of users
    #[command(subcommand)]
    Tokens(Tokens),
    /// Service accounts: programs with a client id and a secret
    #[command(subcommand)]
    ServiceAccounts(ServiceAccounts),
    /// What users and service accounts may do in a workspace
    #[command(subcommand)]
    Rights(RightsCommand),
    /// The keys that access tokens and links are signed with
    #[command(subcommand)]
    Keys(Keys),
    /// Makes a token for the administrator that is good for a while, where the archive can be opened, when all are lost
    Recover {
        /// How long the token is accepted: time to make another with `runlog admin tokens create`
        #[arg(long, default_value = "24h", value_name = "TIME")]
        life: Span,
        /// Folder that holds the archive, and gets the file with the token; made where the archive lies elsewhere
        #[arg(long, env = "RUNLOG_DATA", default_value = "runlog-data", value_name = "FOLDER")]
        data: PathBuf,
        #[command(flatten)]
        places: PlaceArgs,
    },
}

/// Does one thing, and prints what came of it.
pub(crate) async fn run(args: AdminArgs) -> Outcome {
    let output = Output { json: args.json };
    let subject = match args.subject {
        Subject::Recover { life, data, places } => return recover(life, &data, places).await,
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
        Subject::Recover { life, data, places } => recover(life, &data, places).await,
    }
}
