//! `runlog report`: a report on a run, a task or a workspace.

mod diff;
mod phrases;
mod run;
mod task;
mod workspace;

use std::path::{Path, PathBuf};

use anyhow::Context;
use runlog_client::{Client, ErrorKind};
use runlog_model::{RunId, TaskId, WorkspaceId};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use diff::document_of_diff;
pub(crate) use run::document_of_run;
use task::document_of_task;
use workspace::document_of_workspace;

use crate::arguments::connect::ConnectArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::document::Document;
use crate::render::terminal::{note, result_json, result_line};
use crate::render::{html, text};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A run: why it failed, what failed first, what is new compared with the last successful run of its task, and gaps in the log.
A task: outcomes, durations and their trend, kinds of errors with first and last occurrence, and flakiness.
A workspace: tasks that need attention.

Examples:
  runlog report 6c0e5a34-0000-4000-8000-000000000001
  runlog report 6c0e5a34-0000-4000-8000-000000000001 --brief
  runlog report 57f64991e4b0b689a64feed2 --last-days 90
  runlog report WORKSPACE_ID --html morning.html
  runlog report RUN_ID --json | jq .failure.first")]
pub(crate) struct ReportArgs {
    /// ID of a run (a UUID), or of a task or a workspace (24 hexadecimal digits)
    id: Subject,
    /// Number of days: the period of a task report [default: 30], or what counts as recent in a workspace report
    /// [default: 1]
    #[arg(long, value_name = "DAYS")]
    last_days: Option<u64>,
    /// Print a brief of a run as Markdown, at most 6,000 bytes: the cause, evidence with links to lines, what is new,
    /// what to try; for a message, a ticket, or an assistant
    #[arg(long, conflicts_with_all = ["html", "json", "last_days"])]
    brief: bool,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// In which form a report is wanted.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FormArgs {
    /// Write a self-contained HTML page with plots to this file, or to standard output with -
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    html: Option<PathBuf>,
    /// Print the report as returned by the service, as one line of JSON
    #[arg(long)]
    json: bool,
}

/// The subject of a report: IDs of tasks and workspaces look alike, so the service is queried.
#[derive(Debug, Clone, Copy)]
enum Subject {
    Run(RunId),
    TaskOrWorkspace(TaskId, WorkspaceId),
}

impl std::str::FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(run) = text.parse() {
            return Ok(Self::Run(run));
        }
        match (text.parse(), text.parse()) {
            (Ok(task), Ok(workspace)) => Ok(Self::TaskOrWorkspace(task, workspace)),
            _ => Err(format!(
                "{text:?} is neither the ID of a run (a UUID) nor of a task or a workspace (24 hexadecimal digits)"
            )),
        }
    }
}

/// Asks the service for the report, and shows it.
pub(crate) async fn run(args: ReportArgs) -> Outcome {
    let client = args.connect.client()?;
    match args.id {
        Subject::Run(id) if args.brief => Ok(result_line(client.run_brief(id).await?.trim_end())?),
        Subject::TaskOrWorkspace(..) if args.brief => {
            Err(Failure::new(Exit::Usage, "a brief is of a run: give the ID of a run (a UUID)"))
        }
        Subject::Run(id) => {
            let report = client.run_report(id).await?;
            tell(&args.form, report, args.connect.page(&format!("runs/{id}")), document_of_run)
        }
        Subject::TaskOrWorkspace(task, workspace) => match task_report(&client, task, args.last_days).await? {
            Some(report) => tell(&args.form, report, args.connect.page(&format!("tasks/{task}")), document_of_task),
            None => {
                let report = client.workspace_report(workspace, args.last_days).await.map_err(neither)?;
                let page = args.connect.page(&format!("?workspace={workspace}"));
                tell(&args.form, report, page, document_of_workspace)
            }
        },
    }
}

async fn task_report(client: &Client, task: TaskId, last_days: Option<u64>) -> Outcome<Option<Value>> {
    match client.task_report(task, last_days).await {
        Ok(report) => Ok(Some(report)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn neither(error: runlog_client::Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => Failure::new(Exit::NotFound, "there is neither a task nor a workspace with this ID"),
        _ => error.into(),
    }
}

/// Shows a report in the form that is wanted; a page links to `page` of the web UI.
pub(crate) fn tell<T: DeserializeOwned>(
    form: &FormArgs,
    report: Value,
    page: Option<String>,
    document: impl Fn(&T) -> Document,
) -> Outcome {
    if form.json {
        return Ok(result_json(&report)?);
    }
    let report: T = serde_json::from_value(report)
        .context("the report has an unknown format; does the service run another version?")
        .map_err(|error| Failure { exit: Exit::Refused, error })?;
    let document = Document { page, ..document(&report) };
    match &form.html {
        None => text::show(&document),
        Some(file) => write_page(file, &html::page(&document)),
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
