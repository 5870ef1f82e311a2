//! `runlog admin`: places, people, tokens and rights of an archive.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use runlog_client::{Client, PermissionHolder};
use runlog_model::place::Right;
use runlog_model::wire::admin::{
    KeyPurpose, NewEnvironment, NewKey, NewServiceAccount, NewTask, NewToken, NewUser, NewWorkspace,
    ServiceAccountBody, TokenBody,
};
use runlog_model::{EnvironmentId, TaskId, WorkspaceId};
use runlog_store::{Store, StoreSettings};
use serde::Serialize;

use crate::admin_token::AdminTokenFile;
use crate::arguments::archive::{self, PlaceArgs, folder_without_archive};
use crate::arguments::connect::ConnectArgs;
use crate::arguments::span::Span;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::terminal::{self, STRONG, note, result_json, result_line, styled, table};

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

#[derive(Debug, Subcommand)]
enum Environments {
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
enum Workspaces {
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
enum Tasks {
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

#[derive(Debug, Subcommand)]
enum Keys {
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
enum Signed {
    /// The access tokens of service accounts
    AccessTokens,
    /// The links to files
    Links,
}

#[derive(Debug, Subcommand)]
enum Users {
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
enum Tokens {
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

#[derive(Debug, Subcommand)]
enum ServiceAccounts {
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
enum RightsCommand {
    /// Shows the rights of a user or a service account in a workspace
    Show {
        #[command(flatten)]
        holder: Holder,
    },
    /// Gives these rights, and only these
    Grant {
        #[command(flatten)]
        holder: Holder,
        /// author, viewer, executor, manager, publisher; reading logs needs the first three, pushing the last
        #[arg(required = true)]
        rights: Vec<Right>,
    },
    /// Takes all rights away
    Revoke {
        #[command(flatten)]
        holder: Holder,
    },
}

#[derive(Debug, Args)]
struct Holder {
    /// The workspace
    #[arg(long, value_name = "ID")]
    workspace: WorkspaceId,
    /// The user
    #[arg(long, value_name = "ID", required_unless_present = "service_account", conflicts_with = "service_account")]
    user: Option<String>,
    /// The service account
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

/// Does one thing, and prints what came of it.
pub(crate) async fn run(args: AdminArgs) -> Outcome {
    let shown = Shown { json: args.json };
    let subject = match args.subject {
        Subject::Recover { life, data, places } => return recover(life, &data, places).await,
        other => other,
    };
    let client = args.connect.client()?;
    match subject {
        Subject::Environments(command) => environments(&client, command, shown).await,
        Subject::Workspaces(command) => workspaces(&client, command, shown).await,
        Subject::Tasks(command) => tasks(&client, command, shown).await,
        Subject::Users(command) => users(&client, command, shown).await,
        Subject::Tokens(command) => tokens(&client, command, shown).await,
        Subject::Keys(command) => keys(&client, command, shown).await,
        Subject::ServiceAccounts(command) => service_accounts(&client, command, shown).await,
        Subject::Rights(command) => rights(&client, command, shown).await,
        Subject::Recover { life, data, places } => recover(life, &data, places).await,
    }
}

/// How results are printed.
#[derive(Clone, Copy)]
struct Shown {
    json: bool,
}

impl Shown {
    fn list<T: Serialize>(self, head: &[&str], items: &[T], row: impl Fn(&T) -> Vec<String>) -> Outcome {
        match self.json {
            true => items.iter().try_for_each(result_json)?,
            false => result_line(table(head, &[], items.iter().map(row).collect()))?,
        }
        Ok(())
    }

    fn made(self, item: &impl Serialize, text: String) -> Outcome {
        match self.json {
            true => result_json(item)?,
            false => result_line(text)?,
        }
        Ok(())
    }
}

async fn environments(client: &Client, command: Environments, shown: Shown) -> Outcome {
    match command {
        Environments::List => {
            let list = client.environments().await?;
            shown.list(&["id", "name", "description"], &list, |it| {
                vec![it.id.to_string(), it.name.clone(), it.description.clone().unwrap_or_default()]
            })
        }
        Environments::Create { name, id, description } => {
            let made = client.create_environment(&NewEnvironment { id, name, description }).await?;
            shown.made(&made, format!("environment {} has the id {}", made.name, made.id))
        }
    }
}

async fn workspaces(client: &Client, command: Workspaces, shown: Shown) -> Outcome {
    match command {
        Workspaces::List => {
            let list = client.workspaces().await?;
            shown.list(&["id", "name", "environment", "owner"], &list, |it| {
                vec![it.id.to_string(), it.name.clone(), it.environment.name.clone(), it.owner.clone()]
            })
        }
        Workspaces::Create { name, environment, id, description, owner } => {
            let new = NewWorkspace { id, environment_id: environment, name, description, owner };
            let made = client.create_workspace(&new).await?;
            shown.made(&made, format!("workspace {} has the id {}", made.name, made.id))
        }
    }
}

async fn tasks(client: &Client, command: Tasks, shown: Shown) -> Outcome {
    match command {
        Tasks::List { workspace, name } => {
            let list = client.tasks(workspace, name.as_deref()).await?;
            shown.list(&["id", "name", "workspace", "environment"], &list, |it| {
                let place = &it.workspace;
                vec![it.executable.to_string(), it.name.clone(), place.name.clone(), place.environment.name.clone()]
            })
        }
        Tasks::Create { name, workspace, id, version, description, tags } => {
            let new = NewTask { id, workspace_id: workspace, name, version, description, tags };
            let made = client.create_task(&new).await?;
            shown.made(&made, format!("task {} has the id {}", made.name, made.executable))
        }
    }
}

async fn users(client: &Client, command: Users, shown: Shown) -> Outcome {
    match command {
        Users::List => {
            let list = client.users().await?;
            shown.list(&["id", "name", "administrator"], &list, |it| {
                vec![it.id.clone(), it.name.clone(), if it.administrator { "yes" } else { "" }.to_owned()]
            })
        }
        Users::Create { name, administrator } => {
            let made = client.create_user(&NewUser { name, administrator }).await?;
            shown.made(&made, format!("user {} has the id {}", made.name, made.id))
        }
    }
}

async fn tokens(client: &Client, command: Tokens, shown: Shown) -> Outcome {
    match command {
        Tokens::List => {
            let list = client.tokens().await?;
            let used = |it: &TokenBody| it.last_used_date.map_or("never".to_owned(), |at| at.to_string());
            shown.list(&["id", "for", "user", "made", "last used"], &list, |it| {
                vec![it.id.clone(), it.name.clone(), it.user_id.clone(), it.created_date.to_string(), used(it)]
            })
        }
        Tokens::Create { name, user } => {
            let made = client.create_token(&NewToken { name, user_id: user }).await?;
            let token = made.token.as_deref().unwrap_or_default();
            shown.made(&made, format!("token {}, shown this once:\n{}", made.id, styled(STRONG, token)))
        }
        Tokens::Revoke { id } => {
            client.revoke_token(&id).await?;
            shown.made(&serde_json::json!({ "revoked": id }), format!("token {id} is no longer accepted"))
        }
    }
}

async fn keys(client: &Client, command: Keys, shown: Shown) -> Outcome {
    match command {
        Keys::List => {
            let list = client.keys().await?;
            shown.list(&["id", "made"], &list, |it| vec![it.id.clone(), it.created_date.to_string()])
        }
        Keys::Rotate { purpose, revoke_older } => {
            let purpose = match purpose {
                Signed::AccessTokens => KeyPurpose::AccessTokens,
                Signed::Links => KeyPurpose::Links,
            };
            let made = client.rotate_key(&NewKey { purpose, revoke_older }).await?;
            shown.made(&made, format!("{} signs from now on", made.id))
        }
    }
}

async fn service_accounts(client: &Client, command: ServiceAccounts, shown: Shown) -> Outcome {
    match command {
        ServiceAccounts::List => {
            let list = client.service_accounts().await?;
            let used = |it: &ServiceAccountBody| it.last_used_date.map_or("never".to_owned(), |at| at.to_string());
            shown.list(&["id", "name", "permissions", "last used"], &list, |it| {
                vec![it.id.clone(), it.name.clone(), it.permissions.join(" "), used(it)]
            })
        }
        ServiceAccounts::Create { name, permissions } => {
            let made = client.create_service_account(&NewServiceAccount { name, permissions }).await?;
            let secret = styled(STRONG, made.secret.as_deref().unwrap_or_default());
            shown.made(&made, format!("client id      {}\nclient secret  {secret}   (shown this once)", made.id))
        }
        ServiceAccounts::Delete { id } => {
            client.delete_service_account(&id).await?;
            shown.made(&serde_json::json!({ "deleted": id }), format!("service account {id} is deleted"))
        }
    }
}

async fn rights(client: &Client, command: RightsCommand, shown: Shown) -> Outcome {
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
    shown.made(&held, format!("{text} in workspace {workspace}"))
}

async fn recover(life: Span, data: &Path, places: PlaceArgs) -> Outcome {
    let settings = StoreSettings { catalog: places.catalog, objects: places.objects, ..StoreSettings::in_folder(data) };
    if let Some(folder) = folder_without_archive(&settings) {
        return Err(Failure::new(Exit::Usage, format!("there is no archive in {}", folder.display())));
    }
    // The file goes first: a token that cannot be written down would stay in the catalog, and nobody would know it.
    let file = AdminTokenFile::prepare(data)?;
    let store = archive::open(settings).await?;
    let outcome = make_token(&store, life, file).await;
    store.close().await;
    let (administrator, path) = outcome?;
    note(format!(
        "a new token of {administrator} is in {}, and is good for {}; older ones are still accepted. Make one that stays \
         with `runlog admin tokens create NAME`",
        path.display(),
        terminal::duration(life.as_millis())
    ));
    Ok(())
}

/// Makes a token of an administrator; gives their name, and the file that the token is in.
async fn make_token(store: &Store, life: Span, file: AdminTokenFile) -> Outcome<(String, PathBuf)> {
    let users = store.users().await?;
    let administrator = users.into_iter().find(|user| user.administrator).ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            "the archive has no administrator yet; `runlog serve` makes one at its first start",
        )
    })?;
    let made = store.create_passing_token(&administrator.id, "recovered on the machine", life.as_millis()).await?;
    match file.write(made.token.as_deref().unwrap_or_default()) {
        Ok(path) => Ok((administrator.name, path)),
        Err(failure) => {
            // What is left of a try that failed is good for a day at most.
            let _ = store.revoke_token(&made.id, None).await;
            Err(failure)
        }
    }
}
