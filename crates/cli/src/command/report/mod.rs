//! `runlog report`: a report on a run, a task or a workspace.

mod components;
mod diff;
mod phrases;
mod plan;
mod run;
mod task;
mod workspace;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap_complete::engine::ArgValueCompleter;
use runlog_analysis::report::WorkspaceReport;
use runlog_client::{Client, ErrorKind};
use runlog_model::{RunId, TaskId, WorkspaceId};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use diff::document_of_diff;
pub(crate) use plan::document_of_plan as plan_document;
pub(crate) use run::document_of_run;
use task::document_of_task;
use workspace::{document_of_workspace, document_of_workspaces};

use crate::arguments::candidates;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::names::{RunRef, TaskRef, WorkspaceRef};
use crate::command::missing_rights::note_left_out;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::document::Document;
use crate::render::terminal::{note, result_json, result_line};
use crate::render::{html, text};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A run: why it failed, what failed first, what is new compared with the last successful run of its task, and gaps in the log.
A task: outcomes, durations and their trend, kinds of errors with first and last occurrence, and flakiness.
A workspace: tasks that need attention.
A plan execution: what failed, what was not started because of it, error handlers that ran, and earlier executions.
Without an argument: the workspaces that you may view, each with its tasks that need attention.

Examples:
  runlog report                                        the tasks that need attention, in every workspace
  runlog report 6c0e5a34                               why a run failed
  runlog report 6c0e5a34 --brief
  runlog report sales/nightly-orders --last-days 90    a task
  runlog report --workspace sales --html morning.html
  runlog report --plan 7fb48c7a-5ea5-4cb9-9333-e345f28d9dd5
  runlog report 6c0e5a34 --json | jq .failure.first")]
pub(crate) struct ReportArgs {
    /// A run ID, or the ID or name of a task or a workspace; all can be abbreviated [default: all workspaces]
    #[arg(value_name = "RUN_TASK_OR_WORKSPACE", conflicts_with_all = ["task", "workspace"],
          add = ArgValueCompleter::new(candidates::runs_tasks_and_workspaces))]
    subject: Option<String>,
    /// A task, by its ID or name, such as sales/nightly-orders
    #[arg(long, value_name = "TASK", conflicts_with = "workspace", add = ArgValueCompleter::new(candidates::tasks))]
    task: Option<TaskRef>,
    /// A workspace, by its ID or name
    #[arg(long, value_name = "WORKSPACE", add = ArgValueCompleter::new(candidates::workspaces))]
    workspace: Option<WorkspaceRef>,
    /// A plan execution, by its ID; `runlog plans` lists them
    #[arg(long, value_name = "PLAN_EXECUTION_ID", conflicts_with_all = ["subject", "task", "workspace", "last_days"],
          add = ArgValueCompleter::new(candidates::plan_executions))]
    plan: Option<String>,
    /// Number of days: the period of a task report [default: 30], or what counts as recent in a workspace report
    /// [default: 1]
    #[arg(long, value_name = "DAYS")]
    last_days: Option<u64>,
    /// Print a brief of a run as Markdown, at most 6,000 bytes: the cause, evidence with links to lines, what is new, and
    /// what to try; for a message, a ticket, or an assistant
    #[arg(long, conflicts_with_all = ["html", "json", "last_days"])]
    brief: bool,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// The output format of a report.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FormArgs {
    /// Write a self-contained HTML page with plots to this file, or to standard output with -
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    html: Option<PathBuf>,
    /// Print the report as returned by the service, as one line of JSON
    #[arg(long)]
    json: bool,
}

/// The subject of a report.
enum Subject {
    Run(RunId),
    Task(TaskId),
    Workspace(WorkspaceId),
    /// IDs of tasks and workspaces look alike, so the service is queried.
    TaskOrWorkspace(TaskId, WorkspaceId),
    Everything,
}

/// Asks the service for the report, and shows it.
pub(crate) async fn run(args: ReportArgs) -> Outcome {
    let client = args.connect.client()?;
    if let Some(id) = &args.plan {
        if args.brief {
            return Err(Failure::new(Exit::Usage, "a brief is of a run: give the ID of a run (a UUID)"));
        }
        let page = args.connect.page(&format!("plans/{id}"));
        return print_report(&args.form, client.plan_view(id).await?, page, plan_document);
    }
    let subject = subject_of(&client, &args).await?;
    match subject {
        Subject::Run(_) if args.last_days.is_some() => {
            Err(Failure::new(Exit::Usage, "--last-days is for reports on tasks and workspaces, not on runs"))
        }
        Subject::Run(id) if args.brief => Ok(result_line(client.run_brief(id).await?.trim_end())?),
        _ if args.brief => Err(Failure::new(Exit::Usage, "a brief is of a run: give the ID of a run (a UUID)")),
        Subject::Run(id) => {
            let page = args.connect.page(&format!("runs/{id}"));
            print_report(&args.form, client.run_report(id).await?, page, document_of_run)
        }
        Subject::Task(id) => {
            let page = args.connect.page(&format!("tasks/{id}"));
            print_report(&args.form, client.task_report(id, args.last_days).await?, page, document_of_task)
        }
        Subject::Workspace(id) => {
            let page = args.connect.page(&format!("?workspace={id}"));
            print_report(&args.form, client.workspace_report(id, args.last_days).await?, page, document_of_workspace)
        }
        Subject::TaskOrWorkspace(task, workspace) => match client.task_report(task, args.last_days).await {
            Ok(report) => {
                print_report(&args.form, report, args.connect.page(&format!("tasks/{task}")), document_of_task)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let report = client.workspace_report(workspace, args.last_days).await.map_err(neither)?;
                let page = args.connect.page(&format!("?workspace={workspace}"));
                print_report(&args.form, report, page, document_of_workspace)
            }
            Err(error) => Err(error.into()),
        },
        Subject::Everything => everything(&client, &args).await,
    }
}

fn neither(error: runlog_client::Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => Failure::new(Exit::NotFound, "there is neither a task nor a workspace with this ID"),
        _ => error.into(),
    }
}

async fn subject_of(client: &Client, args: &ReportArgs) -> Outcome<Subject> {
    if let Some(task) = &args.task {
        return Ok(Subject::Task(task.resolve_abbreviated(client).await?));
    }
    if let Some(workspace) = &args.workspace {
        return Ok(Subject::Workspace(workspace.resolve_abbreviated(client).await?));
    }
    let Some(text) = &args.subject else { return Ok(Subject::Everything) };
    if let Ok(run) = text.parse() {
        return Ok(Subject::Run(run));
    }
    if let (Ok(task), Ok(workspace)) = (text.parse(), text.parse()) {
        return Ok(Subject::TaskOrWorkspace(task, workspace));
    }
    let usage = |message: String| Failure::new(Exit::Usage, message);
    let (task, workspace): (TaskRef, WorkspaceRef) = (text.parse().map_err(usage)?, text.parse().map_err(usage)?);
    if let Some(task) = task.find(client).await? {
        return Ok(Subject::Task(task));
    }
    if let Some(workspace) = workspace.find(client).await? {
        return Ok(Subject::Workspace(workspace));
    }
    if let Ok(run) = text.parse::<RunRef>()
        && let Some(run) = run.find(client).await?
    {
        return Ok(Subject::Run(run));
    }
    if let Some(task) = task.find_abbreviated(client).await? {
        return Ok(Subject::Task(task));
    }
    workspace.find_abbreviated(client).await?.map(Subject::Workspace).ok_or_else(|| {
        let message = format!(
            "no task and no workspace that you may view has a name that begins with {text:?}, and no run has an ID that \
             begins with {text:?}; `runlog tasks` and `runlog runs` list them"
        );
        Failure::new(Exit::NotFound, message)
    })
}

/// The reports of all workspaces, the worst first, as one document or as a line of JSON each.
async fn everything(client: &Client, args: &ReportArgs) -> Outcome {
    let (mut reports, mut left_out): (Vec<WorkspaceReport>, Vec<String>) = (Vec::new(), Vec::new());
    for workspace in client.workspaces().await? {
        let report: Value = match client.workspace_report(workspace.id, args.last_days).await {
            Ok(report) => report,
            Err(error) if error.kind() == ErrorKind::Forbidden => {
                left_out.push(workspace.name);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        match args.form.json {
            true => result_json(&report)?,
            false => reports.push(understood(report)?),
        }
    }
    note_left_out(left_out.iter().map(String::as_str).collect());
    if args.form.json {
        return Ok(());
    }
    reports.sort_by_key(|report| std::cmp::Reverse(report.tasks_to_check.len()));
    show(&args.form, &Document { page: args.connect.page(""), ..document_of_workspaces(&reports) })
}

/// Shows a report in the requested format; an HTML page links to `page` of the web UI.
pub(crate) fn print_report<T: DeserializeOwned>(
    form: &FormArgs,
    report: Value,
    page: Option<String>,
    document: impl Fn(&T) -> Document,
) -> Outcome {
    if form.json {
        return Ok(result_json(&report)?);
    }
    show(form, &Document { page, ..document(&understood(report)?) })
}

fn understood<T: DeserializeOwned>(report: Value) -> Outcome<T> {
    serde_json::from_value(report)
        .context("the report has an unknown format; does the service run another version?")
        .map_err(|error| Failure { exit: Exit::Refused, error })
}

fn show(form: &FormArgs, document: &Document) -> Outcome {
    match &form.html {
        None => text::show(document),
        Some(file) => write_page(file, &html::page(document)),
    }
}

fn write_page(file: &Path, page: &str) -> Outcome {
    if file == Path::new("-") {
        return Ok(crate::render::terminal::result_line(page.trim_end())?);
    }
    std::fs::write(file, page).with_context(|| format!("cannot write {}", file.display()))?;
    note(format!("wrote {}", file.display()));
    Ok(())
}
