//! `runlog demo`: the main job on real logs. A service is started, ten logs are pushed into it, and each is fetched
//! back by a client that knows only the contract, and compared record by record.

mod folder;
mod guide;
mod samples;
mod stage;
mod verify;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context;
use runlog_analysis::Summary;
use runlog_model::RunStatus;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::open::open;
use super::report::document_of_run;
use crate::arguments::connect::LOCAL_SERVICE;
use crate::arguments::status::status_word;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::progress::Bar;
use crate::render::terminal::{self, BAD, FAINT, GOOD, STRONG, note, result_json, result_line, styled, table};
use crate::render::text;

use folder::DemoFolder;
use guide::Guide;
use samples::{NIGHTLY, SAMPLES};
use stage::Stage;
use verify::{Fetched, fetch_and_verify};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog demo             print the results and the report of a failed run
  runlog demo --open      keep serving, and open the browser
  runlog demo --keep      also print the guide's scenarios as commands, and keep serving
  runlog demo --clean     remove the archives and logs of earlier demonstrations
  runlog demo --json      print one line of JSON for scripts; with --keep, once the service is ready")]
pub(crate) struct DemoArgs {
    /// Leave the service running until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Leave the service running until Ctrl-C, and open the run that failed in the browser
    #[arg(long)]
    open: bool,
    /// Remove the archives and logs of earlier demonstrations, and do nothing else
    #[arg(long, conflicts_with_all = ["keep", "open", "json"])]
    clean: bool,
    /// Print one line of JSON instead: url, token, clientId, clientSecret, environmentId, workspaceId, taskId, runs
    #[arg(long)]
    json: bool,
}

/// The line of `--json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    url: &'a str,
    token: &'a str,
    client_id: &'a str,
    client_secret: &'a str,
    environment_id: String,
    workspace_id: String,
    task_id: String,
    runs: Vec<ShownRun<'a>>,
}

#[derive(Serialize)]
struct ShownRun<'a> {
    id: &'a str,
    status: &'a str,
    records: u64,
    pages: u32,
    file: &'a Path,
}

/// Runs the demonstration; fails if a fetched log differs from what was pushed.
pub(crate) async fn run(args: DemoArgs, stop: CancellationToken) -> Outcome {
    if args.clean {
        return folder::remove_old();
    }
    let folder = DemoFolder::create()?;
    let stage = Stage::set(folder.path(), stop.clone()).await?;
    let played = play(&args, &stage).await;
    if played.is_ok() && (args.keep || args.open) {
        stop.cancelled().await;
        note("stopping…");
    }
    stage.clear().await?;
    played
}

async fn play(args: &DemoArgs, stage: &Stage) -> Outcome {
    let (mut fetched, mut nightly) = (Vec::new(), Vec::new());
    let count = SAMPLES.len() + NIGHTLY.len();
    // One client for all: it learns how soon a page is ready.
    let client = stage.stranger()?;
    for (number, sample) in NIGHTLY.iter().chain(SAMPLES).enumerate() {
        let bar = Bar::telling();
        let step = format!("{} of {count}, {}", number + 1, sample.name);
        bar.set_text(format!("{step}: pushing"));
        stage.push(sample).await?;
        bar.set_text(format!("{step}: fetching and comparing"));
        let run = fetch_and_verify(stage, &client, sample).await?;
        if number < NIGHTLY.len() { &mut nightly } else { &mut fetched }.push(run);
    }
    match args.json {
        true => result_json(&shown(stage, &fetched))?,
        false => print_result(args, stage, &fetched, &nightly).await?,
    }
    match fetched.iter().chain(&nightly).filter(|run| run.difference.is_some()).count() {
        0 => Ok(()),
        different => {
            Err(Failure::new(Exit::Incomplete, format!("{different} fetched logs differ from what was pushed")))
        }
    }
}

fn shown<'a>(stage: &'a Stage, fetched: &'a [Fetched]) -> Shown<'a> {
    let runs = fetched.iter().map(|run| ShownRun {
        id: run.sample.run_id,
        status: run.status.as_str(),
        records: run.records,
        pages: run.pages,
        file: &run.file,
    });
    Shown {
        url: &stage.url,
        token: &stage.token,
        client_id: &stage.client_id,
        client_secret: &stage.client_secret,
        environment_id: stage.environment.to_string(),
        workspace_id: stage.workspace.to_string(),
        task_id: stage.task.to_string(),
        runs: runs.collect(),
    }
}

async fn print_result(args: &DemoArgs, stage: &Stage, fetched: &[Fetched], nightly: &[Fetched]) -> Outcome {
    let head = ["run", "log", "status", "pages", "records", "size", "fetched in", "verified"];
    result_line(table(&head, &[3, 4, 5, 6], fetched.iter().map(row).collect()))?;
    let verified = nightly.iter().filter(|run| run.difference.is_none()).count();
    result_line(format!(
        "and {} of {} of four tasks over five nights, generated, {} of them {}",
        terminal::counted(nightly.len() as u64, "run"),
        terminal::counted(nightly.iter().map(|run| run.records).sum(), "record"),
        terminal::count(verified as u64),
        styled(GOOD, "verified"),
    ))?;
    for run in fetched.iter().chain(nightly) {
        if let Some(difference) = &run.difference {
            result_line(styled(BAD, format!("{}: {difference}", run.sample.run_id)))?;
        }
    }
    if let Some(largest) = fetched.iter().max_by_key(|run| run.records) {
        result_line(format!("\nThe largest log: {}", sentence(&largest.summary)))?;
    }
    result_line(format!("The logs are in {}", stage.logs.display()))?;
    print_report(stage, nightly).await?;
    if args.keep || args.open {
        return print_next_steps(args, stage, fetched, nightly);
    }
    print_suggestions(stage, nightly)
}

fn row(run: &Fetched) -> Vec<String> {
    let verdict = match run.difference {
        None => styled(GOOD, "verified"),
        Some(_) => styled(BAD, "different"),
    };
    vec![
        run.sample.run_id.to_owned(),
        styled(FAINT, run.sample.name),
        status_word(run.status).to_owned(),
        run.pages.to_string(),
        terminal::count(run.records),
        terminal::bytes(run.bytes),
        terminal::duration(run.took_ms),
        verdict,
    ]
}

/// The first of the nightly runs that failed.
fn failed(nightly: &[Fetched]) -> Option<&Fetched> {
    nightly.iter().find(|run| run.status == RunStatus::Failed)
}

/// Its report, as `runlog report` shows it.
async fn print_report(stage: &Stage, nightly: &[Fetched]) -> Outcome {
    let Some(failed) = failed(nightly) else { return Ok(()) };
    let report = stage.report(failed.sample).await?;
    result_line(format!("\n{}\n", styled(FAINT, format!("$ runlog report {}", failed.sample.run_id))))?;
    text::show(&document_of_run(&report))
}

/// The first thing that an engineer on call wants to know about a log.
fn sentence(summary: &Summary) -> String {
    use runlog_model::Severity;
    let count = |severity| terminal::count(summary.severities.of(severity));
    let mut text = format!("{} errors and {} warnings", count(Severity::Error), count(Severity::Warn));
    if let Some(problem) = &summary.first_error {
        text += &format!("; the first error came at {}: {}", problem.time, terminal::shortened(&problem.message, 90));
    }
    if let Some(gap) = &summary.longest_gap {
        text += &format!("; nothing was logged for {} from {}", terminal::duration(gap.duration_ms), gap.start);
    }
    text
}

fn print_suggestions(stage: &Stage, nightly: &[Fetched]) -> Outcome {
    result_line(format!(
        "\n{}\n  runlog demo --open     the same, in the browser\n  \
         runlog demo --keep     the same, and the service keeps running: try curl, or any client of Talend Cloud\n  \
         runlog demo --clean    remove what demonstrations left behind: this one {} in {}\n  \
         runlog serve           an archive of your own, in ./runlog-data\n  \
         runlog fetch --help    download a log from Talend Cloud",
        styled(STRONG, "What to try next"),
        terminal::bytes(folder::size(stage.folder())),
        stage.folder().display(),
    ))?;
    let mut serve = format!("{} serve --data {}", program()?, stage.data.display());
    let url = match other_address()? {
        None => LOCAL_SERVICE.to_owned(),
        Some(address) => {
            serve += &format!(" --listen {address}");
            format!("http://{address}")
        }
    };
    print_address(stage, nightly, &url, &format!("To serve the archive again, run: {serve}\n"))
}

/// A free address of this machine, if something listens on the default one of a service: perhaps another Runlog, which does
/// not know the runs of the demonstration.
fn other_address() -> Outcome<Option<SocketAddr>> {
    let usual = LOCAL_SERVICE.trim_start_matches("http://");
    match TcpListener::bind(usual) {
        Ok(_) => Ok(None),
        Err(_) => {
            let free = TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?;
            Ok(Some(free.local_addr().context("the listener has no address")?))
        }
    }
}

/// Prints the address of the failed run.
fn print_address(stage: &Stage, nightly: &[Fetched], url: &str, when: &str) -> Outcome {
    let Some(failed) = failed(nightly) else { return Ok(()) };
    let (head, token) = (styled(STRONG, "The run that failed, in the browser"), stage.token_file());
    result_line(format!("\n{head}: {url}/runs/{}", failed.sample.run_id))?;
    result_line(format!("{when}Sign in with the token in {}", token.display()))?;
    Ok(())
}

fn program() -> Outcome<String> {
    Ok(std::env::current_exe().context("cannot determine the path of the program")?.display().to_string())
}

fn print_next_steps(args: &DemoArgs, stage: &Stage, fetched: &[Fetched], nightly: &[Fetched]) -> Outcome {
    let by_size = |a: &&Fetched, b: &&Fetched| a.records.cmp(&b.records);
    let (small, large) = (fetched.iter().min_by(by_size), fetched.iter().max_by(by_size));
    let (Some(small), Some(large)) = (small, large) else { return Ok(()) };
    let guide = Guide {
        url: &stage.url,
        token_command: format!("cat {}", stage.token_file().display()),
        small_run: small.sample.run_id,
        large_run: large.sample.run_id,
        program: program()?,
    };
    let parts = [
        ("The service is still running. Commands for bash, with curl and jq", guide.preparation()),
        ("Scenario 1 of the guide: a log of one page", guide.scenario_1()),
        ("Scenario 2: a log of several pages, joined in the order received", guide.scenario_2()),
        ("The same with Runlog", guide.with_runlog()),
    ];
    for (head, lines) in parts.into_iter().filter(|_| args.keep) {
        let indented: Vec<String> = lines.lines().map(|line| format!("  {line}")).collect();
        result_line(format!("\n{}\n{}", styled(STRONG, head), indented.join("\n")))?;
    }
    print_address(stage, nightly, &stage.url, "")?;
    if let (true, Some(failed)) = (args.open, failed(nightly)) {
        let url =
            Url::parse(&format!("{}/runs/{}", stage.url, failed.sample.run_id)).context("the service's address")?;
        if !open(&url) {
            note("no browser found; open the address above");
        }
    }
    result_line("\nPress Ctrl-C to stop")?;
    note("serving…");
    Ok(())
}
