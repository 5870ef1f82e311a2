//! `runlog`: the archive of run logs, and its client, in one program.

mod admin_token;
mod arguments;
mod background;
mod command;
mod exit;
mod memory;
mod render;
mod settings;
mod stop;
mod system;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::arguments::candidates;
use crate::exit::{Failure, Outcome};
use crate::render::failure::report;
use crate::render::pager;
use crate::render::preferences::PreferenceArgs;
use crate::render::screen::Stream;
use crate::render::terminal;
use crate::stop::{CtrlC, stop_on_signals, until_stopped, until_stopped_and_resumed};

/// An archive of run logs: stores the logs of data-integration jobs, serves them through the run-log API of Qlik Talend
/// Cloud, and downloads whole logs from there
#[derive(Debug, Parser)]
#[command(name = "runlog", version, after_help = exit::EXIT_CODES_HELP, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    preferences: PreferenceArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a demonstration on real logs: serve, push, fetch and compare
    Demo(command::demo::DemoArgs),
    /// Serve an archive over HTTP
    Serve(Box<command::serve::ServeArgs>),
    /// Download the whole log of a run
    Fetch(command::fetch::FetchArgs),
    /// List the runs of a task, or of all tasks
    Runs(command::runs::RunsArgs),
    /// List tasks
    Tasks(command::workspaces::TasksArgs),
    /// List workspaces
    Workspaces(command::workspaces::WorkspacesArgs),
    /// Open a run, a task or the overview in the browser
    Open(command::open::OpenArgs),
    /// Print the newest records of a run, and optionally follow it
    Tail(command::tail::TailArgs),
    /// Print the records of a run around a line, such as a match of a search
    Show(command::show::ShowArgs),
    /// Upload a log to an archive
    Push(Box<command::push::PushArgs>),
    /// Collect the runs of upstreams into an archive, continuously
    Collect(command::collect::CollectArgs),
    /// Collect the runs of a past period
    Backfill(command::backfill::BackfillArgs),
    /// Estimate how long a backfill would take
    Plan(command::plan::PlanArgs),
    /// Deliver archived logs to files, monitoring systems and webhooks
    Deliver(command::deliver::DeliverArgs),
    /// Show the progress of collection and delivery
    Status(command::status::StatusArgs),
    /// Validate the settings and test every connection they name
    Check(command::check::CheckArgs),
    /// Push known records, fetch them, and report records that are missing, duplicated or late
    Canary(command::canary::CanaryArgs),
    /// Show a report on a run, a task, a workspace, or everything
    Report(command::report::ReportArgs),
    /// List problems, which are root causes of failed runs, and mute, resolve or reopen them
    Problems(Box<command::problems::ProblemsArgs>),
    /// List plan executions, and show the outcomes of their steps
    Plans(Box<command::plans::PlansArgs>),
    /// List the audit logs of the tenant: who did what in the consoles and APIs of Talend Cloud
    AuditLogs(Box<command::audit_logs::AuditLogsArgs>),
    /// List and mute alert rules, show what they would have reported, and test their destinations
    Alerts(Box<command::alerts::AlertsArgs>),
    /// Compare two runs: patterns that are new, gone, more frequent or less frequent
    Diff(command::diff::DiffArgs),
    /// Search the archive for the newest records that contain a text
    Search(command::search::SearchArgs),
    /// Run SQL queries, either on an archive directly or through a service
    Sql(Box<command::sql::SqlArgs>),
    /// Let assistants read an archive or a service: tools on standard input and output (MCP)
    Mcp(Box<command::mcp::McpArgs>),
    /// Verify a token of a service and store it for further commands
    Login(command::login::LoginArgs),
    /// Remove the token stored by `runlog login`
    Logout(command::login::LogoutArgs),
    /// Manage the environments, workspaces, tasks, accounts, tokens and rights of an archive
    Admin(command::admin::AdminArgs),
    /// Maintain an archive: statistics, verification, copies, retention and legal holds
    Archive(command::archive::ArchiveArgs),
    /// Diagnose problems with an archive or a service, and suggest how to fix them
    Doctor(command::doctor::DoctorArgs),
    /// Check whether a service is ready, for probes
    Health(command::health::HealthArgs),
    /// Print shell completions
    Completions(command::completions::CompletionsArgs),
    /// Write man pages, and print the reference of commands and settings
    #[command(hide = true)]
    Generate(command::generate::GenerateArgs),
}

impl Command {
    /// True if its result is to be read and may be longer than a screen.
    fn may_be_long(&self) -> bool {
        match self {
            Self::Runs(_)
            | Self::Tasks(_)
            | Self::Workspaces(_)
            | Self::Report(_)
            | Self::Problems(_)
            | Self::Plans(_)
            | Self::AuditLogs(_)
            | Self::Diff(_)
            | Self::Search(_)
            | Self::Show(_) => true,
            Self::Tail(args) => !args.follow,
            Self::Sql(args) => args.query.is_some(),
            _ => false,
        }
    }

    /// The effect of Ctrl-C.
    fn use_of_ctrl_c(&self) -> CtrlC {
        match self {
            Self::Sql(args) if args.has_prompt() => CtrlC::CancelsQuery,
            _ => CtrlC::Stops,
        }
    }

    /// Commands that open no archive: what they write is for the user, with the permissions of the user's umask.
    fn is_client(&self) -> bool {
        match self {
            Self::Fetch(_)
            | Self::Runs(_)
            | Self::Tasks(_)
            | Self::Workspaces(_)
            | Self::Open(_)
            | Self::Tail(_)
            | Self::Show(_)
            | Self::Push(_)
            | Self::Canary(_)
            | Self::Report(_)
            | Self::Problems(_)
            | Self::Plans(_)
            | Self::AuditLogs(_)
            | Self::Diff(_)
            | Self::Search(_)
            | Self::Health(_)
            | Self::Login(_)
            | Self::Logout(_)
            | Self::Completions(_)
            | Self::Generate(_) => true,
            Self::Demo(_)
            | Self::Serve(_)
            | Self::Collect(_)
            | Self::Backfill(_)
            | Self::Plan(_)
            | Self::Deliver(_)
            | Self::Status(_)
            | Self::Check(_)
            | Self::Sql(_)
            | Self::Mcp(_)
            | Self::Alerts(_)
            | Self::Admin(_)
            | Self::Archive(_)
            | Self::Doctor(_) => false,
        }
    }
}

fn main() -> ExitCode {
    memory::share_among_processors();
    std::panic::set_hook(Box::new(report_panic));
    candidates::answer(Arguments::command);
    let arguments = Arguments::try_parse().unwrap_or_else(|error| report_usage(&error));
    arguments.preferences.apply(arguments.command.may_be_long());
    let outcome =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::from).and_then(|runtime| {
            // A read of standard input or the terminal cannot be interrupted, and must not keep a stopped program running.
            let is_reading = matches!(arguments.command, Command::Mcp(_) | Command::Login(_));
            let outcome = runtime.block_on(run(arguments.command));
            if is_reading {
                runtime.shutdown_background();
            }
            outcome
        });
    pager::finish();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // A closed pipe (`| head`) is not a failure.
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure);
            failure.exit.into()
        }
    }
}

async fn run(command: Command) -> Outcome {
    let stop = stop_on_signals(command.use_of_ctrl_c())?;
    if !command.is_client() {
        runlog_store::permissions::keep_files_private();
    }
    match command {
        Command::Demo(args) => command::demo::run(args, stop).await,
        Command::Serve(args) => command::serve::run(*args, stop).await,
        Command::Fetch(args) => until_stopped_and_resumed(command::fetch::run(args), stop).await,
        Command::Runs(args) => until_stopped(command::runs::run(args), stop).await,
        Command::Tasks(args) => until_stopped(command::workspaces::tasks(args), stop).await,
        Command::Workspaces(args) => until_stopped(command::workspaces::workspaces(args), stop).await,
        Command::Open(args) => until_stopped(command::open::run(args), stop).await,
        Command::Tail(args) => until_stopped(command::tail::run(args), stop).await,
        Command::Show(args) => until_stopped(command::show::run(args), stop).await,
        Command::Push(args) => command::push::run(*args, stop).await,
        Command::Collect(args) => command::collect::run(args, stop).await,
        Command::Backfill(args) => command::backfill::run(args, stop).await,
        Command::Plan(args) => until_stopped(command::plan::run(args), stop).await,
        Command::Deliver(args) => command::deliver::run(args, stop).await,
        Command::Status(args) => until_stopped(command::status::run(args), stop).await,
        Command::Check(args) => command::check::run(args, stop).await,
        Command::Canary(args) => command::canary::run(args, stop).await,
        Command::Report(args) => until_stopped(command::report::run(args), stop).await,
        Command::Problems(args) => until_stopped(command::problems::run(*args), stop).await,
        Command::Plans(args) => until_stopped(command::plans::run(*args), stop).await,
        Command::AuditLogs(args) => until_stopped(command::audit_logs::run(*args), stop).await,
        Command::Alerts(args) => until_stopped(command::alerts::run(*args), stop).await,
        Command::Diff(args) => until_stopped(command::diff::run(args), stop).await,
        Command::Search(args) => until_stopped(command::search::run(args), stop).await,
        Command::Sql(args) => until_stopped(command::sql::run(*args), stop).await,
        Command::Mcp(args) => until_stopped(command::mcp::run(*args), stop).await,
        Command::Login(args) => until_stopped(command::login::login(args), stop).await,
        Command::Logout(args) => command::login::logout(args),
        Command::Admin(args) => until_stopped(command::admin::run(args), stop).await,
        Command::Archive(args) => until_stopped_and_resumed(command::archive::run(args), stop).await,
        Command::Doctor(args) => command::doctor::run(args, stop).await,
        Command::Health(args) => until_stopped(command::health::run(args), stop).await,
        Command::Completions(args) => command::completions::run(args),
        Command::Generate(args) => command::generate::run(args, Arguments::command()),
    }
}

/// Prints the help or the usage error, and ends the program. Arguments may come from untrusted input, such as a list of
/// names, so control characters are escaped.
fn report_usage(error: &clap::Error) -> ! {
    let stream = if error.use_stderr() { Stream::Note } else { Stream::Result };
    let text = error.render();
    let text = if stream.has_colours() { text.ansi().to_string() } else { text.to_string() };
    let mut screen = stream.screen();
    // Errors are ignored: the output may be closed.
    let _ = screen.write_all(text.as_bytes()).and_then(|()| screen.finish());
    std::process::exit(error.exit_code())
}

/// Reports a panic. The message may quote a log.
fn report_panic(panic: &std::panic::PanicHookInfo<'_>) {
    terminal::note(Stream::Note.shown(&panic.to_string()));
    let backtrace = std::backtrace::Backtrace::capture();
    if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
        terminal::note(backtrace.to_string());
    }
}
