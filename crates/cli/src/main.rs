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

use crate::exit::{Failure, Outcome};
use crate::render::failure::report;
use crate::render::screen::Stream;
use crate::render::terminal;
use crate::stop::{stop_on_signals, until_stopped};

/// An archive of run logs: keeps the logs of data-integration runs, serves them through the run-log API of Talend
/// Cloud, and brings whole logs back from there
#[derive(Debug, Parser)]
#[command(name = "runlog", version, after_help = exit::EXIT_CODES_HELP, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the whole path on real logs: serves, pushes, fetches back, compares
    Demo(command::demo::DemoArgs),
    /// Serves an archive
    Serve(Box<command::serve::ServeArgs>),
    /// Brings one run's log back, whole
    Fetch(command::fetch::FetchArgs),
    /// Lists the runs of a task
    Runs(command::runs::RunsArgs),
    /// Shows the newest records of a run, and goes on while it runs
    Tail(command::tail::TailArgs),
    /// Sends a log into an archive
    Push(command::push::PushArgs),
    /// Collects the runs of upstreams into an archive, again and again
    Collect(command::collect::CollectArgs),
    /// Collects the runs of a stretch of the past
    Backfill(command::backfill::BackfillArgs),
    /// Says how long a backfill would take
    Plan(command::plan::PlanArgs),
    /// Delivers archived logs to files, monitoring systems and webhooks
    Deliver(command::deliver::DeliverArgs),
    /// Shows how far collecting and delivering are
    Status(command::status::StatusArgs),
    /// Reads the settings, and tries everything that they name
    Check(command::check::CheckArgs),
    /// Sends known records on the whole path, and says what of them is missing, came twice, or came late
    Canary(command::canary::CanaryArgs),
    /// Tells what is worth knowing of a run, a task or a workspace
    Report(command::report::ReportArgs),
    /// Compares a run with another one: what is new, gone, more or less often
    Diff(command::diff::DiffArgs),
    /// Finds the newest records that hold some text
    Search(command::search::SearchArgs),
    /// Asks questions in SQL, of an archive itself or of a service
    Sql(Box<command::sql::SqlArgs>),
    /// Manages environments, workspaces, tasks, accounts, tokens and rights of an archive
    Admin(command::admin::AdminArgs),
    /// Looks after an archive itself: what is in it, whether it is whole, how long it is kept, copying it elsewhere
    Archive(command::archive::ArchiveArgs),
    /// Looks for what is wrong with an archive's places and its service, and says what to do
    Doctor(command::doctor::DoctorArgs),
    /// Says whether a service is ready, for probes
    Health(command::health::HealthArgs),
    /// Prints completions for a shell
    Completions(command::completions::CompletionsArgs),
}

fn main() -> ExitCode {
    memory::share_among_processors();
    std::panic::set_hook(Box::new(tell_of_panic));
    let arguments = Arguments::try_parse().unwrap_or_else(|error| tell_of_usage(&error));
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run(arguments.command)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if is_broken_pipe(&failure) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure);
            failure.exit.into()
        }
    }
}

async fn run(command: Command) -> Outcome {
    let stop = stop_on_signals()?;
    match command {
        Command::Demo(args) => command::demo::run(args, stop).await,
        Command::Serve(args) => command::serve::run(*args, stop).await,
        Command::Fetch(args) => until_stopped(command::fetch::run(args), stop).await,
        Command::Runs(args) => until_stopped(command::runs::run(args), stop).await,
        Command::Tail(args) => until_stopped(command::tail::run(args), stop).await,
        Command::Push(args) => until_stopped(command::push::run(args), stop).await,
        Command::Collect(args) => command::collect::run(args, stop).await,
        Command::Backfill(args) => command::backfill::run(args, stop).await,
        Command::Plan(args) => until_stopped(command::plan::run(args), stop).await,
        Command::Deliver(args) => command::deliver::run(args, stop).await,
        Command::Status(args) => until_stopped(command::status::run(args), stop).await,
        Command::Check(args) => command::check::run(args, stop).await,
        Command::Canary(args) => command::canary::run(args, stop).await,
        Command::Report(args) => until_stopped(command::report::run(args), stop).await,
        Command::Diff(args) => until_stopped(command::diff::run(args), stop).await,
        Command::Search(args) => until_stopped(command::search::run(args), stop).await,
        Command::Sql(args) => until_stopped(command::sql::run(*args), stop).await,
        Command::Admin(args) => until_stopped(command::admin::run(args), stop).await,
        Command::Archive(args) => until_stopped(command::archive::run(args), stop).await,
        Command::Doctor(args) => command::doctor::run(args, stop).await,
        Command::Health(args) => until_stopped(command::health::run(args), stop).await,
        Command::Completions(args) => command::completions::run(args, Arguments::command()),
    }
}

/// A reader that has seen enough (`| head`) is no failure.
fn is_broken_pipe(failure: &Failure) -> bool {
    let of_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    };
    failure.error.chain().any(of_pipe)
}

/// Shows the help or what is wrong with the command line, and ends the program. Arguments may come from elsewhere, such
/// as a list of names, and are shown as text.
fn tell_of_usage(error: &clap::Error) -> ! {
    let stream = if error.use_stderr() { Stream::Note } else { Stream::Result };
    let text = error.render();
    let text = if stream.has_colours() { text.ansi().to_string() } else { text.to_string() };
    let mut screen = stream.screen();
    // There is nobody left to tell when the output is closed.
    let _ = screen.write_all(text.as_bytes()).and_then(|()| screen.finish());
    std::process::exit(error.exit_code())
}

/// Tells of a fault of the program. The message may quote a log.
fn tell_of_panic(panic: &std::panic::PanicHookInfo<'_>) {
    terminal::note(Stream::Note.shown(&panic.to_string()));
    let backtrace = std::backtrace::Backtrace::capture();
    if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
        terminal::note(backtrace.to_string());
    }
}
