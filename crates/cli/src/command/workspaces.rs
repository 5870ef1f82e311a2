//! `runlog tasks` and `runlog workspaces`: lists of tasks and workspaces.

use clap_complete::engine::ArgValueCompleter;
use runlog_model::TaskId;
use runlog_model::wire::workspaces::TaskItem;
use serde::Serialize;

use crate::arguments::candidates;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::names::WorkspaceRef;
use crate::exit::Outcome;
use crate::render::screen::Stream;
use crate::render::terminal::{note, result_json, result_line, table};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog tasks
  runlog tasks night --workspace sales     tasks of a workspace whose names start with a text
  runlog tasks --json | jq -r .id")]
pub(crate) struct TasksArgs {
    /// Only tasks whose names start with this text, case-insensitive
    name: Option<String>,
    /// Only tasks of this workspace: its ID or name
    #[arg(long, value_name = "WORKSPACE", add = ArgValueCompleter::new(candidates::workspaces))]
    workspace: Option<WorkspaceRef>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WorkspacesArgs {
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// A task as JSON: as the API has it, and with the field `id` that everything else has.
#[derive(Serialize)]
pub(crate) struct TaskJson<'t> {
    id: TaskId,
    #[serde(flatten)]
    pub(crate) task: &'t TaskItem,
}

impl<'t> From<&'t TaskItem> for TaskJson<'t> {
    fn from(task: &'t TaskItem) -> Self {
        Self { id: task.executable, task }
    }
}

/// Lists the tasks that the caller may view.
pub(crate) async fn tasks(args: TasksArgs) -> Outcome {
    let client = args.connect.client()?;
    let workspace = match &args.workspace {
        Some(workspace) => Some(workspace.resolve_abbreviated(&client).await?),
        None => None,
    };
    let mut tasks = client.tasks(workspace, args.name.as_deref()).await?;
    tasks.sort_by_cached_key(|task| (task.workspace.name.to_lowercase(), task.name.to_lowercase()));
    if args.json {
        return Ok(tasks.iter().map(TaskJson::from).try_for_each(|task| result_json(&task))?);
    }
    if tasks.is_empty() {
        note("no tasks found that you may view");
        return Ok(());
    }
    let shown = |text: &str| Stream::Result.shown_on_line(text).into_owned();
    let row = |task: &TaskItem| {
        let place = &task.workspace;
        vec![shown(&task.name), shown(&place.name), shown(&place.environment.name), task.executable.to_string()]
    };
    let rows = tasks.iter().map(row).collect();
    Ok(result_line(table(&["task", "workspace", "environment", "id"], &[], rows))?)
}

/// Lists the workspaces that the caller may view.
pub(crate) async fn workspaces(args: WorkspacesArgs) -> Outcome {
    let client = args.connect.client()?;
    let mut places = client.workspaces().await?;
    places.sort_by_cached_key(|place| (place.environment.name.to_lowercase(), place.name.to_lowercase()));
    if args.json {
        return Ok(places.iter().try_for_each(result_json)?);
    }
    if places.is_empty() {
        note("no workspaces found that you may view");
        return Ok(());
    }
    let shown = |text: &str| Stream::Result.shown_on_line(text).into_owned();
    let rows = places
        .iter()
        .map(|place| {
            let id = place.id.to_string();
            vec![shown(&place.name), shown(&place.environment.name), shown(&place.owner), id]
        })
        .collect();
    Ok(result_line(table(&["workspace", "environment", "owner", "id"], &[], rows))?)
}
