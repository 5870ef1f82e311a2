//! `runlog fetch`: the whole log of one run.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use clap_complete::engine::ArgValueCompleter;
use runlog_collector::{
    Completeness, FetchError, FetchReport, FetchRequest, LogOrder, Output, OutputFormat, fetch_run,
};
use runlog_model::{RunId, TimeRange};

use crate::arguments::candidates;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::names::RunRef;
use crate::arguments::number::between;
use crate::arguments::period::PeriodArgs;
use crate::arguments::span::Span;
use crate::arguments::status::{StatusArg, status_word};
use crate::exit::{Exit, Failure, Outcome};
use crate::render::progress::FetchBar;
use crate::render::screen::Stream;
use crate::render::terminal::{self, BAD, GOOD, note, styled_note};
use crate::system::private_temporary_folder;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Waits until the run has ended and its log has settled, requests the log page by page, joins the pages so that each \
record appears exactly as often as it was logged, compares the number of records with the service's count, and only then \
moves the file to its final name. If interrupted, run the same command again to resume.

Examples:
  export RUNLOG_TOKEN=…
  runlog fetch 6c0e5a34-… --region eu                       the log of a run, as 6c0e5a34-….ndjson
  runlog fetch 6c0e5a34-… --format text -o run.log
  runlog fetch 6c0e5a34-… -o - | jq -r 'select(.severity == \"ERROR\").logMessage'
  runlog fetch 6c0e5a34 --from '2026-11-01 07:00' --to '2026-11-01 08:00' --tz Europe/Berlin

Exit codes: 0 complete, 1 local failure (a full disk, a folder that is not writable), 2 wrong usage, 3 invalid \
credentials or missing rights, 4 no such run, 5 service unavailable (try again later), 6 incomplete, 7 service violated \
its contract or download refused, 130 interrupted")]
pub(crate) struct FetchArgs {
    /// ID of the run (task execution ID), or the beginning of it
    #[arg(value_name = "RUN_ID", add = ArgValueCompleter::new(candidates::runs))]
    run: RunRef,
    #[command(flatten)]
    period: PeriodArgs,
    /// Format of the output
    #[arg(long, value_enum, default_value = "ndjson")]
    format: Format,
    /// Output file, or - for standard output [default: RUN_ID with the extension of the format, in the current folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Order of the records
    #[arg(long, value_enum, default_value = "time")]
    order: Order,
    /// Fetch the records logged so far without waiting for the end of the run
    #[arg(long)]
    no_wait: bool,
    /// Settle delay: how long after its end a run may still receive records
    #[arg(long, default_value = "30s", value_name = "TIME")]
    settle: Span,
    /// Overlap of consecutive pages, for services that cut pages inexactly
    #[arg(long, value_name = "TIME")]
    overlap: Option<Span>,
    /// Write the file even if the number of records differs from the service's count; the exit code is still 6
    #[arg(long)]
    allow_incomplete: bool,
    /// Number of pages to build and download at the same time
    #[arg(long, default_value_t = 3, value_name = "COUNT", value_parser = between(1_u8, 16))]
    pages_in_flight: u8,
    /// Print the report as one line of JSON; goes to standard error if the log goes to standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON object per line.
    Ndjson,
    /// One JSON array, one record per line.
    Json,
    /// Human-readable lines.
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// By time, oldest first.
    Time,
    /// Page by page, as received.
    Received,
}

impl FetchArgs {
    fn request(&self, run: RunId, range: TimeRange) -> FetchRequest {
        let output = match self.output.as_deref() {
            Some(path) if path == Path::new("-") => Output::StandardOutput,
            Some(path) => Output::File(path.to_owned()),
            None => Output::File(PathBuf::from(format!("{run}.{}", self.format.ending()))),
        };
        FetchRequest {
            range,
            form: self.format.form(),
            order: self.order.log_order(),
            settle: (!self.no_wait).then(|| self.settle.duration()),
            overlap: self.overlap.map(Span::duration).unwrap_or_default(),
            allow_incomplete: self.allow_incomplete,
            pages_in_flight: usize::from(self.pages_in_flight),
            ..FetchRequest::new(run, output)
        }
    }
}

impl Format {
    fn form(self) -> OutputFormat {
        match self {
            Self::Ndjson => OutputFormat::Ndjson,
            Self::Json => OutputFormat::Json,
            Self::Text => OutputFormat::Text,
        }
    }

    fn ending(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Json => "json",
            Self::Text => "log",
        }
    }
}

impl Order {
    fn log_order(self) -> LogOrder {
        match self {
            Self::Time => LogOrder::Time,
            Self::Received => LogOrder::Received,
        }
    }
}

/// Fetches the log and reports the result.
pub(crate) async fn run(args: FetchArgs) -> Outcome {
    let range = args.period.range()?;
    let client = args.connect.patient_client()?;
    let run = args.run.resolve(&client).await?;
    let mut request = args.request(run, range);
    let output = request.output.clone();
    // On a terminal, the log is written through a screen, which shows control characters as text.
    let to_show = output == Output::StandardOutput && Stream::Result.is_terminal();
    let to_show = to_show.then(|| private_temporary_folder("runlog-fetch-")).transpose()?;
    if let Some(folder) = &to_show {
        request.output = Output::File(folder.path().join("log"));
    }
    let bar = Arc::new(FetchBar::new());
    let report = fetch_run(&client, request, bar.clone()).await.map_err(|error| failure(error, run))?;
    bar.clear();
    if let Some(folder) = &to_show {
        let mut screen = Stream::Result.screen();
        std::io::copy(&mut File::open(folder.path().join("log"))?, &mut screen)?;
        screen.finish()?;
    }
    print_result(&args, &output, &report)?;
    match report.completeness {
        Completeness::Different { .. } | Completeness::Unknown => {
            Err(Failure::new(Exit::Incomplete, "the log was written although it may be incomplete"))
        }
        Completeness::Verified | Completeness::SoFar { .. } => Ok(()),
    }
}

fn failure(error: FetchError, run: RunId) -> Failure {
    let exit = match &error {
        FetchError::Upstream(error) => crate::exit::exit_of(error.kind()),
        FetchError::NoLog => Exit::NotFound,
        FetchError::Incomplete { .. } | FetchError::Uncounted { .. } | FetchError::Gone { .. } => Exit::Incomplete,
        FetchError::OtherFetch { .. } => Exit::Usage,
        FetchError::Storage { .. } | FetchError::Broken(_) => Exit::Failed,
    };
    let advice = advice(&error);
    Failure { exit, error: error.into() }.while_doing(format!("cannot fetch run {run}{advice}"))
}

/// Returns the advice for a log that may be incomplete.
fn advice(error: &FetchError) -> &'static str {
    match error {
        FetchError::Incomplete { .. } => "; try again, or write it anyway with --allow-incomplete",
        FetchError::Uncounted { .. } | FetchError::Gone { .. } => {
            "; write the received records anyway with --allow-incomplete"
        }
        FetchError::Upstream(_)
        | FetchError::NoLog
        | FetchError::Storage { .. }
        | FetchError::OtherFetch { .. }
        | FetchError::Broken(_) => "",
    }
}

fn print_result(args: &FetchArgs, output: &Output, report: &FetchReport) -> Outcome {
    let is_in_pipe = matches!(output, Output::StandardOutput);
    if args.json {
        let line = serde_json::to_string(report).map_err(anyhow::Error::from)?;
        match is_in_pipe {
            true => note(line),
            false => terminal::result_line(line)?,
        }
        return Ok(());
    }
    let place = match output {
        Output::File(path) => format!(" in {}", path.display()),
        Output::StandardOutput => String::new(),
    };
    let records = terminal::counted(report.records, "record");
    let pages = terminal::counted(u64::from(report.pages), "page");
    let verdict = match report.completeness {
        Completeness::Verified => styled_note(GOOD, "verified: the service reports the same number of records"),
        Completeness::SoFar { before: Some(before) } => {
            format!("everything logged before {before}; the run may log more")
        }
        Completeness::SoFar { before: None } => "everything logged so far; the run may log more".to_owned(),
        Completeness::Different { expected } => {
            styled_note(BAD, format!("incomplete: the service reports {}", terminal::count(expected)))
        }
        Completeness::Unknown => styled_note(BAD, "completeness unknown: the service does not report a number"),
    };
    // An unknown status is shown as received.
    let status: Result<StatusArg, _> = report.status.parse();
    let status = status.as_ref().map_or(report.status.as_str(), |status| status_word(status.0));
    note(format!("{records} of run {} ({status}), from {pages}{place}; {verdict}", report.run_id));
    if report.records == 0 {
        note("the log is empty: the run logged nothing in this time range");
    }
    if report.pages_kept > 0 {
        let kept = terminal::counted(u64::from(report.pages_kept), "page");
        note(format!("{kept} already on disk, not fetched again"));
    }
    if report.repeated > 0 {
        note(format!("{} in two pages, written once", terminal::counted(report.repeated, "record")));
    }
    if report.records_without_time > 0 {
        let count = terminal::counted(report.records_without_time, "record");
        note(format!("{count} without a time, placed next to the neighbours"));
    }
    if report.records_mended > 0 {
        let count = terminal::counted(report.records_mended, "record");
        note(format!("{count} with invalid JSON, kept as closely as possible"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The advice was in the error itself, and therefore also shown for collected runs, where there is no such option.
    #[test]
    fn the_error_of_an_incomplete_fetch_names_the_option_to_accept_it() {
        let incomplete = FetchError::Incomplete { expected: 7, got: 5 };
        let source = runlog_client::Error::new(runlog_client::ErrorKind::Forbidden, "no right to count");
        for error in [incomplete, FetchError::Uncounted { got: 5, source }] {
            assert!(advice(&error).contains("--allow-incomplete"), "{error}");
            assert!(!error.to_string().contains("--"), "{error}");
        }
    }
}
