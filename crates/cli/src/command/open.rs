//! `runlog open`: a page of the web UI in the browser.

use std::process::{Command, Stdio};

use clap_complete::engine::ArgValueCompleter;
use runlog_client::Client;
use url::Url;

use crate::arguments::candidates;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::names::{LineReference, RunOrTask, RunOrTaskRef, TaskRef, newest_run};
use crate::exit::{Exit, Failure, Outcome};
use crate::render::terminal::{note, result_line};

/// Programs that open an address with the user's browser, in the order in which they are tried.
const OPENERS: [&str; 3] = ["xdg-open", "open", "wslview"];

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog open                              the overview
  runlog open 6c0e5a34                     a run, by the beginning of its ID
  runlog open 6c0e5a34#1204                a line of its log, such as a match of `runlog search`
  runlog open sales/nightly-orders         a task; `runlog open nightly` if only one begins with that
  runlog open nightly-orders --newest      its newest run
  runlog open --problem 3f2a
  runlog open 6c0e5a34 --print             only the address, to share it")]
pub(crate) struct OpenArgs {
    /// A run ID, with an optional line number after #, or the ID or name of a task; both can be abbreviated
    /// [default: the overview]
    #[arg(value_name = "RUN_OR_TASK", conflicts_with_all = ["task", "problem"],
          add = ArgValueCompleter::new(candidates::runs_and_tasks))]
    subject: Option<String>,
    /// A task: its ID or name
    #[arg(long, value_name = "TASK", conflicts_with = "problem", add = ArgValueCompleter::new(candidates::tasks))]
    task: Option<TaskRef>,
    /// A problem: its ID, or the first digits of it
    #[arg(long, value_name = "PROBLEM_ID", add = ArgValueCompleter::new(candidates::problems))]
    problem: Option<String>,
    /// The newest run of the task, instead of the task
    #[arg(long, conflicts_with = "problem")]
    newest: bool,
    /// Print the address instead of opening it
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Opens the page, or prints its address if there is no browser.
pub(crate) async fn run(args: OpenArgs) -> Outcome {
    let client = args.connect.client()?;
    let url = url_of(&client, &args).await?;
    if args.print {
        return Ok(result_line(url.as_str())?);
    }
    match open(&url) {
        true => note(format!("opened {url}")),
        false => {
            note("no browser found; open this address:");
            result_line(url.as_str())?;
        }
    }
    Ok(())
}

async fn url_of(client: &Client, args: &OpenArgs) -> Outcome<Url> {
    let path = path_of(client, args).await?;
    let mut base = client.settings().base_url.clone();
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", base.path()));
    }
    base.join(&path).map_err(|error| Failure::new(Exit::Usage, format!("{base}: {error}")))
}

/// The path of the page, and the line in it.
async fn path_of(client: &Client, args: &OpenArgs) -> Outcome<String> {
    let usage = |message: &str| Failure::new(Exit::Usage, message);
    if let Some(problem) = &args.problem {
        return Ok(format!("problems/{}", client.problem(problem).await?.problem.id));
    }
    let (subject, line) = match (&args.subject, &args.task) {
        (Some(text), _) => subject_of(client, text).await?,
        (None, Some(task)) => (RunOrTask::Task(task.resolve_abbreviated(client).await?), None),
        (None, None) if args.newest => return Err(usage("--newest needs a task")),
        (None, None) => return Ok(String::new()),
    };
    match (subject, line) {
        (RunOrTask::Run(_), _) if args.newest => Err(usage("--newest is for a task, and this is a run")),
        (RunOrTask::Run(run), Some(line)) => Ok(format!("runs/{run}#{line}")),
        (RunOrTask::Run(run), None) => Ok(format!("runs/{run}")),
        (RunOrTask::Task(task), _) if args.newest => Ok(format!("runs/{}", newest_run(client, task).await?)),
        (RunOrTask::Task(task), _) => Ok(format!("tasks/{task}")),
    }
}

/// Parses a text that names a task, whose name may contain a `#`, or a run and optionally one of its lines.
async fn subject_of(client: &Client, text: &str) -> Outcome<(RunOrTask, Option<u64>)> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    if let Ok(LineReference { run, line: Some(line) }) = text.parse() {
        return Ok((RunOrTask::Run(run.resolve(client).await?), Some(line)));
    }
    let subject: RunOrTaskRef = text.parse().map_err(usage)?;
    Ok((subject.resolve(client).await?, None))
}

/// Opens an address with the first available program; returns false if there is none.
pub(crate) fn open(url: &Url) -> bool {
    OPENERS.iter().any(|program| {
        let mut command = Command::new(program);
        command.arg(url.as_str()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}
