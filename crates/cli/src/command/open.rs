//! `runlog open`: a page of the web UI in the browser.

use std::process::{Command, Stdio};

use clap_complete::engine::ArgValueCompleter;
use runlog_client::Client;
use url::Url;

use crate::arguments::candidates;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::names::{RunRef, TaskRef};
use crate::exit::{Exit, Failure, Outcome};
use crate::render::terminal::{note, result_line};

/// Programs that open an address with the user's browser, in the order in which they are tried.
const OPENERS: [&str; 3] = ["xdg-open", "open", "wslview"];

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog open                              the overview
  runlog open 6c0e5a34                     a run
  runlog open --task sales/nightly-orders
  runlog open 6c0e5a34 --print             only the address")]
pub(crate) struct OpenArgs {
    /// ID of a run, or the beginning of it [default: the overview]
    #[arg(value_name = "RUN_ID", conflicts_with = "task", add = ArgValueCompleter::new(candidates::runs))]
    run: Option<RunRef>,
    /// A task: its ID or name
    #[arg(long, value_name = "TASK", add = ArgValueCompleter::new(candidates::tasks))]
    task: Option<TaskRef>,
    /// Print the address instead of opening it
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Opens the page, or prints its address where there is no browser.
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
    let path = match (&args.run, &args.task) {
        (Some(run), _) => format!("runs/{}", run.resolve(client).await?),
        (None, Some(task)) => format!("tasks/{}", task.resolve(client).await?),
        (None, None) => String::new(),
    };
    let mut base = client.settings().base_url.clone();
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", base.path()));
    }
    base.join(&path).map_err(|error| Failure::new(Exit::Usage, format!("{base}: {error}")))
}

/// Opens an address with the first program that is there; false if there is none.
pub(crate) fn open(url: &Url) -> bool {
    OPENERS.iter().any(|program| {
        let mut command = Command::new(program);
        command.arg(url.as_str()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}
