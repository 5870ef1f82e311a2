//! `runlog push`: uploads a log from a file or a pipe.
//!
//! The log is first read to its end and kept compressed: if any of it is invalid, nothing is stored and no run is
//! started. `follow` is the exception: it stores the log of a running job.

mod batches;
mod folder;
mod follow;
mod job_output;
mod send;
mod source;
mod spool;
mod utf16;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};
use runlog_client::{Client, ErrorKind};
use runlog_formats::{DateOrder, FieldMap, FieldName, Layout, LogFormat, ReadSettings};
use runlog_model::wire::components::PutComponents;
use runlog_model::wire::push::{FinishRun, RefusedLine, StartRun};
use runlog_model::{Clock, ExecutionType, LogZone, RunId, RunStatus, TaskId, Timestamp};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub(crate) use batches::Batches;
use batches::{INVALID_KEPT_MAX, LogSummary, Prepared};
use folder::{EndMarker, FolderSettings, FollowedFormat, PathPattern};
use send::on_thread;
pub(crate) use send::{Pushed, push_log};

use crate::arguments::candidates;
use crate::arguments::connect::ConnectArgs;
use crate::arguments::moment::Moment;
use crate::arguments::names::TaskRef;
use crate::arguments::span::Span;
use crate::arguments::status::StatusArg;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::failure::report;
use crate::render::preferences::{shown_seconds, zone};
use crate::render::progress::Bar;
use crate::render::screen::Stream;
use crate::render::terminal::{counted, counted_are, counted_were, note, result_json, result_line};
use crate::system::{SystemClock, SystemRandom};

/// Maximum number of rejected lines listed in text output.
const REFUSED_TOLD_MAX: usize = 20;
/// Records dated further than this in the future have a different time zone or are from a wrong clock.
const FUTURE_MS_MAX: i64 = 60_000;

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Formats: NDJSON and JSON as `runlog fetch` writes them, or with the field names of other loggers; CSV with a header, as \
`runlog sql` writes it; text as loggers write it (log4j, logback, java.util.logging, Python, syslog, `runlog fetch --format \
text`), where lines without a time continue the previous record; and text without times. Compression (gzip, zstd, bzip2, \
xz) and UTF-16 are detected from the content, not from the file name.

If any part of the log is invalid, nothing is stored and no run is started: the first invalid lines are listed, and the \
exit code is 2. With --skip-invalid, the others are stored, and the exit code is 6. If the service fails during the upload, run \
the same command with --run again: records that are already stored are not duplicated.

Examples:
  runlog push nightly.log --task sales/nightly-orders --finish failed
  runlog push *.log --task nightly-orders --finish successful      each file becomes a separate run
  runlog push run.csv --task nightly-orders --map time=Datum --map message=Text --tz Europe/Berlin
  runlog push 6c0e5a34-… more.ndjson                        add records to a run
  runlog push job.log --task nightly-orders --pattern '%d{dd MMM HH:mm:ss} %t %p %c{1} %m%n'
  my-job | runlog push - --follow --task nightly-orders --finish successful
  runlog push --follow /var/log/talend                      all logs FOLDER/TASK/RUN.log, as jobs write them

Exit codes: the common ones; 6 if something was skipped with --skip-invalid and everything else is stored")]
pub(crate) struct PushArgs {
    /// Log files, or - for standard input. Each file becomes a separate run. The ID of a run (a UUID) may precede a single
    /// file; otherwise, an ID is generated and printed
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[arg(skip)]
    run_id: Option<RunId>,
    #[arg(skip)]
    file: PathBuf,
    /// True if it is one of several logs.
    #[arg(skip)]
    is_one_of_several: bool,
    /// ID of the run, instead of the argument before the file
    #[arg(long, value_name = "RUN_ID")]
    run: Option<RunId>,
    /// The task: its ID or name, such as sales/nightly-orders; starts the run if it does not exist in the archive
    #[arg(long, value_name = "TASK", add = ArgValueCompleter::new(candidates::tasks))]
    task: Option<TaskRef>,
    #[arg(skip)]
    task_id: Option<TaskId>,
    /// How the run was started: MANUAL, SCHEDULED, WEBHOOK or PLAN
    #[arg(long, value_name = "TYPE", requires = "task")]
    execution_type: Option<ExecutionType>,
    /// Start time of the run [default: the time of its first record; with --follow, now]
    #[arg(long = "started-at", value_name = "TIME", requires = "task", allow_hyphen_values = true)]
    start: Option<Moment>,
    #[arg(skip)]
    started_at: Option<Timestamp>,
    /// End the run with this status once the log is stored, such as successful or failed
    #[arg(long, value_name = "STATUS", add = ArgValueCandidates::new(candidates::statuses))]
    finish: Option<StatusArg>,
    /// End time of the run [default: the time of its last record; with --follow, now]
    #[arg(long = "finished-at", value_name = "TIME", requires = "finish", allow_hyphen_values = true)]
    end: Option<Moment>,
    #[arg(skip)]
    finished_at: Option<Timestamp>,
    /// Error message of the run
    #[arg(long, value_name = "TEXT", requires = "finish")]
    error_message: Option<String>,
    /// Format of the log
    #[arg(long, value_enum, default_value = "auto")]
    format: Format,
    /// Layout of the lines of text: a conversion pattern of log4j or logback, such as '%d{HH:mm:ss} [%t] %-5p %c - %m%n'
    /// [default: detect the parts of lines]
    #[arg(long, value_name = "PATTERN")]
    pattern: Option<Layout>,
    /// Field or column of the log to read a field of the records from: time, severity, message, logType, bundleName,
    /// bundleVersion or podName [default: the usual names]
    #[arg(long, value_name = "FIELD=COLUMN", value_parser = mapping)]
    map: Vec<(FieldName, String)>,
    /// Order of day and month in dates such as 03/04/2026: dmy or mdy
    #[arg(long, default_value = "dmy", value_name = "ORDER")]
    date_order: DateOrder,
    /// Date of the first line, for lines with a time of day only
    #[arg(long, value_name = "DATE")]
    date: Option<jiff::civil::Date>,
    /// Skip invalid records and report each with the reason, and exit with 6
    #[arg(long, alias = "skip-bad-lines")]
    skip_invalid: bool,
    /// Store records as they arrive, while the job is running; for NDJSON and text. With a folder: store all logs that are
    /// written to it, each in its own run, until the command is stopped
    #[arg(long)]
    follow: bool,
    /// With a folder: path pattern that contains the task and the run; * is any text within a name, **/ any folders.
    /// {task} is the ID or the name of the task. {run} is the ID of the run, or a text that an ID is derived from
    #[arg(long, value_name = "PATTERN", default_value = "{task}/{run}.log", requires = "follow")]
    paths: PathPattern,
    /// With a folder: file with the progress of each log [default: in ~/.local/state/runlog, by the folder]
    #[arg(long, value_name = "FILE", requires = "follow")]
    checkpoint: Option<PathBuf>,
    /// With a folder: a text whose line ends the run, and the status, such as 'Job finished=successful'; can be repeated
    #[arg(long, value_name = "TEXT=STATUS", requires = "follow", value_parser = end_marker)]
    end_marker: Vec<EndMarker>,
    /// With a folder and --finish: end a run after its files have not grown for this long, even if they were deleted
    #[arg(long, value_name = "TIME", default_value = "10m", requires = "follow")]
    quiet: Span,
    /// With a folder: polling interval
    #[arg(long, value_name = "TIME", default_value = "1s", requires = "follow")]
    interval: Span,
    /// JSON file with the component metrics of the run: `{"processes": […], "items": […]}` with the field names of Talend
    /// Cloud; replaces the existing ones of the run
    #[arg(long, value_name = "FILE", conflicts_with = "follow")]
    component_metrics: Option<PathBuf>,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Detect it from the beginning of the log
    Auto,
    /// One JSON object per line
    Ndjson,
    /// JSON objects that may have several lines, or arrays of them
    Json,
    /// A table with a header
    Csv,
    /// Lines that begin with a time; other lines continue the previous record
    #[value(alias = "log4j", alias = "logback", alias = "syslog")]
    Text,
    /// Lines without times; each is a record, with the time at which the file was last changed
    Plain,
}

fn end_marker(text: &str) -> Result<EndMarker, String> {
    let parts = text.rsplit_once('=').filter(|(marker, _)| !marker.is_empty());
    let (marker, status) = parts.ok_or_else(|| format!("{text:?} is not of the form TEXT=STATUS"))?;
    let StatusArg(status) = status.parse()?;
    match status.is_final() {
        true => Ok(EndMarker { text: marker.to_owned(), status }),
        false => Err(format!("{status} does not end a run")),
    }
}

fn mapping(text: &str) -> Result<(FieldName, String), String> {
    let (field, column) = text.split_once('=').ok_or_else(|| format!("{text:?} is not of the form FIELD=COLUMN"))?;
    Ok((field.parse()?, column.to_owned()))
}

/// The result of a push.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PushReport<'a> {
    run_id: RunId,
    /// The file, if several were pushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    format: &'static str,
    #[serde(flatten)]
    pushed: &'a Pushed,
    /// Lines and records that were not stored.
    #[serde(skip_serializing_if = "is_zero")]
    refused_lines: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<RefusedLine>,
    /// Texts that were not in UTF-8.
    #[serde(skip_serializing_if = "is_zero")]
    other_encoding: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A push in progress.
struct Push {
    args: PushArgs,
    client: Client,
    run: RunId,
    /// True if this command generated the ID of the run.
    has_made_id: bool,
    /// True once this command has started the run.
    has_started_run: bool,
    pushed: Pushed,
    components: Option<PutComponents>,
}

/// Reads component metrics; fails before anything is stored if they are invalid.
fn read_components(file: &Path) -> Outcome<PutComponents> {
    let wrong = |error: String| Failure::new(Exit::Usage, format!("component metrics in {}: {error}", file.display()));
    let text = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))
}

/// Pushes each of the logs. One that cannot be stored does not prevent the others, unless the service is the reason.
pub(crate) async fn run(mut args: PushArgs, stop: CancellationToken) -> Outcome {
    args.take_run_id()?;
    let files = std::mem::take(&mut args.files);
    let [file] = files.as_slice() else { return run_several(args, files, stop).await };
    args.file.clone_from(file);
    let follows_pipe = args.follows_pipe();
    let outcome = run_one(args, stop.clone()).await;
    if let Err(failure) = &outcome
        && follows_pipe
    {
        job_output::read_to_end(failure, &stop).await;
    }
    outcome
}

async fn run_several(args: PushArgs, files: Vec<PathBuf>, stop: CancellationToken) -> Outcome {
    for (is_given, what) in [
        (args.run_id.is_some() || args.run.is_some(), "the ID of a run"),
        (args.follow, "--follow"),
        (args.component_metrics.is_some(), "--component-metrics"),
        (files.iter().filter(|file| *file == Path::new("-")).count() > 1, "standard input twice"),
    ] {
        if is_given {
            let message = format!("several files are the logs of as many runs: {what} cannot be given with them");
            return Err(Failure::new(Exit::Usage, message));
        }
    }
    let (count, mut failed) = (files.len(), Vec::new());
    for file in files {
        let name = source::name_of(&file);
        let one = PushArgs { file, is_one_of_several: true, ..args.clone() };
        let Err(failure) = run_one(one, stop.clone()).await else { continue };
        match failure.exit {
            Exit::Interrupted | Exit::Unavailable | Exit::Denied | Exit::NotFound => {
                return Err(failure.while_doing(format!("cannot push {name} and the files after it")));
            }
            exit => {
                report(&failure.while_doing(format!("cannot push {name} completely")));
                failed.push(exit);
            }
        }
    }
    match failed.first() {
        None => Ok(()),
        Some(exit) => {
            let message = format!("{} of {count} files were not stored completely; see above", failed.len());
            Err(Failure::new(*exit, message))
        }
    }
}

/// Reads the log, starts the run if requested, sends its log, and ends it if requested.
async fn run_one(mut args: PushArgs, stop: CancellationToken) -> Outcome {
    let now = SystemClock.now();
    args.started_at = args.start.as_ref().map(|start| start.before(now));
    args.finished_at = args.end.as_ref().map(|end| end.before(now));
    if let (Some(start), Some(end)) = (args.started_at, args.finished_at)
        && end < start
    {
        return Err(Failure::new(Exit::Usage, format!("--finished-at {end} is before --started-at {start}")));
    }
    args.check_pattern()?;
    let client = args.connect.patient_client()?;
    if args.follow && args.file.is_dir() {
        if let Some(task) = &args.task {
            args.task_id = Some(task.resolve(&client).await?);
        }
        if args.run_id.is_some() || args.run.is_some() {
            let message = "a folder has many runs: leave out --run and the ID of a run";
            return Err(Failure::new(Exit::Usage, message));
        }
        return folder::follow(args.folder_settings(now), client, stop).await;
    }
    if args.follow && args.task.is_none() {
        return Err(Failure::new(Exit::Usage, "--follow of a single log needs --task"));
    }
    let given = args.run_id.or(args.run);
    if given.is_none() && args.task.is_none() {
        let advice = "name its task with --task, or an existing run with --run";
        return Err(Failure::new(Exit::Usage, format!("a new run needs a task; {advice}")));
    }
    let components = args.component_metrics.as_deref().map(read_components).transpose()?;
    // The log of a running job is read even if the service is unavailable.
    let following = match args.follow {
        true => {
            let source = source::open(&args.file)?;
            let settings = args.settings(source.written_at);
            Some((job_output::read_on(source, args.follows_pipe())?, settings))
        }
        false => None,
    };
    if let Some(task) = &args.task {
        args.task_id = Some(match &following {
            Some((spool, _)) => job_output::resolved(task, &client, spool, &stop).await?,
            None => task.resolve(&client).await?,
        });
    }
    let run = given.unwrap_or_else(|| RunId::random(&SystemRandom));
    let pushed = Pushed::default();
    let push = Push { args, client, run, has_made_id: given.is_none(), has_started_run: false, pushed, components };
    if let Some((spool, settings)) = following {
        return push.follow(spool, settings, stop).await;
    }
    let source = source::open(&push.args.file)?;
    let settings = push.args.settings(source.written_at);
    let (format, prepared) = tokio::select! {
        prepared = prepare(source, &push.args, settings) => prepared?,
        () = stop.cancelled() => {
            return Err(Failure::new(Exit::Interrupted, "interrupted before anything was stored"));
        }
    };
    push.all(format, prepared, stop).await
}

/// Reads a log to its end, on a thread that is not joined if the command is interrupted.
async fn prepare(source: source::Source, args: &PushArgs, settings: ReadSettings) -> Outcome<(LogFormat, Prepared)> {
    let bar = Bar::telling();
    bar.set_text("reading the log");
    let (name, format, skips_invalid) = (source::name_of(&args.file), args.log_format(), args.skip_invalid);
    let (is_auto, has_map) = (args.log_format().is_none(), !args.map.is_empty());
    on_thread(move || {
        let log = source::look(source.bytes, &name, format, settings)?;
        let format = log.format;
        if is_auto && !matches!(format, LogFormat::Ndjson | LogFormat::Json) {
            note(format!("{name} is read as {} (detected format; override with --format)", format.name()));
        }
        if has_map && matches!(format, LogFormat::Text | LogFormat::Plain) {
            let message = format!("--map is for CSV and JSON, and {name} is {}", format.name());
            return Err(Failure::new(Exit::Usage, message));
        }
        let prepared = Prepared::read(log, skips_invalid)
            .map_err(|failure| failure.while_doing(format!("cannot read {name} as {}", format.name())))?;
        Ok((format, prepared))
    })
    .await?
}

impl Format {
    fn log_format(self) -> Option<LogFormat> {
        match self {
            Self::Auto => None,
            Self::Ndjson => Some(LogFormat::Ndjson),
            Self::Json => Some(LogFormat::Json),
            Self::Csv => Some(LogFormat::Csv { separator: b',' }),
            Self::Text => Some(LogFormat::Text),
            Self::Plain => Some(LogFormat::Plain),
        }
    }
}

impl PushArgs {
    /// The format of the log; none: it is detected.
    fn log_format(&self) -> Option<LogFormat> {
        self.pattern.as_ref().map(|_| LogFormat::Text).or(self.format.log_format())
    }

    /// Fails if the pattern does not fit the other options.
    fn check_pattern(&self) -> Outcome {
        let Some(pattern) = &self.pattern else { return Ok(()) };
        if !matches!(self.format, Format::Auto | Format::Text) {
            return Err(Failure::new(Exit::Usage, "--pattern is for --format text"));
        }
        if pattern.is_without_date() && self.date.is_none() {
            let advice = "give that of the first line with --date";
            return Err(Failure::new(Exit::Usage, format!("times of --pattern have no date: {advice}")));
        }
        Ok(())
    }

    /// Takes the ID of a run that precedes a single file. Fails with `Usage` if there is no file, or if there are two
    /// IDs.
    fn take_run_id(&mut self) -> Outcome {
        let first = self.files.first().and_then(|file| file.to_str()?.parse::<RunId>().ok());
        let Some(run_id) = first else { return Ok(()) };
        if self.files.len() > 2 {
            let message = format!("run {run_id} has one log: give one file with the ID of a run, or several without");
            return Err(Failure::new(Exit::Usage, message));
        }
        if self.files.len() == 1 {
            let message = format!("give the log file of run {run_id}, or - for standard input");
            return Err(Failure::new(Exit::Usage, message));
        }
        if self.run.is_some() {
            return Err(Failure::new(Exit::Usage, "give the ID of the run once: before the file, or with --run"));
        }
        self.files.remove(0);
        self.run_id = Some(run_id);
        Ok(())
    }

    fn folder_settings(&self, now: Timestamp) -> FolderSettings {
        FolderSettings {
            folder: self.file.clone(),
            pattern: self.paths.clone(),
            checkpoint: self.checkpoint.clone(),
            task: self.task_id,
            read: self.settings(now),
            format: self.log_format().and_then(FollowedFormat::of),
            finish: self.finish.map(|status| status.0),
            end_markers: self.end_marker.clone(),
            quiet: self.quiet.duration(),
            interval: self.interval.duration(),
        }
    }

    fn settings(&self, written_at: Timestamp) -> ReadSettings {
        let mut fields = FieldMap::default();
        for (field, column) in &self.map {
            fields.insert(column.clone(), *field);
        }
        ReadSettings {
            zone: LogZone::from(zone()),
            date_order: self.date_order,
            first_date: self.date,
            fields,
            layout: self.pattern.clone(),
            ..ReadSettings::written_at(written_at)
        }
    }

    /// Returns the start and the end of a run from the times of its log; none if they are in the future.
    fn times_by_log(&self, summary: &LogSummary) -> Outcome<(Option<Timestamp>, Option<Timestamp>)> {
        let Some((first, last)) = summary.times else { return Ok((None, None)) };
        let latest = SystemClock.now().plus_millis(FUTURE_MS_MAX);
        if last > latest {
            let advice = "check its clock, or the time zone (--tz); the run ends now";
            note(format!("the last record is dated in the future, {last}: {advice}"));
        }
        if let Some(end) =
            self.finished_at.filter(|end| *end < first && self.started_at.is_none() && self.task.is_some())
        {
            let advice = "correct it, or give the start with --started-at";
            return Err(Failure::new(
                Exit::Usage,
                format!("--finished-at {end} is before the first record, {first}; {advice}"),
            ));
        }
        if let Some(start) =
            self.started_at.filter(|start| *start > last && self.finished_at.is_none() && self.finish.is_some())
        {
            let advice = "correct it, or give the end with --finished-at";
            return Err(Failure::new(
                Exit::Usage,
                format!("--started-at {start} is after the last record, {last}; {advice}"),
            ));
        }
        let past = |at: Timestamp| (at <= latest).then_some(at);
        Ok((past(first), past(last)))
    }
}

impl Push {
    /// Stores a log that was read to its end.
    async fn all(mut self, format: LogFormat, prepared: Prepared, stop: CancellationToken) -> Outcome {
        let mut prepared = prepared;
        let mut summary = std::mem::take(&mut prepared.summary);
        self.refuse_invalid(&mut summary)?;
        let (first, last) = self.args.times_by_log(&summary)?;
        let sent = tokio::select! {
            sent = self.send(first, prepared) => sent,
            () = stop.cancelled() => Err(Failure::new(Exit::Interrupted, "interrupted")),
        };
        if let Err(failure) = sent {
            let then = self.after_failure(failure.exit).await;
            return Err(failure.with_text_after(&then));
        }
        if let Some(components) = &self.components {
            self.client.put_components(self.run, components).await.map_err(|error| {
                let what = format!("the log is stored, but not the component metrics of run {}", self.run);
                Failure::from(error).while_doing(what)
            })?;
        }
        self.finish(last).await.map_err(|failure| {
            failure.while_doing(format!("the log is stored, but run {} could not be ended", self.run))
        })?;
        self.print_result(format, summary)
    }

    /// Fails if any part of the log is invalid, unless invalid parts are skipped.
    fn refuse_invalid(&self, summary: &mut LogSummary) -> Outcome {
        if summary.is_whole() || self.args.skip_invalid && summary.records > 0 {
            return Ok(());
        }
        for invalid in summary.invalid_kept.iter().take(REFUSED_TOLD_MAX) {
            note(format!("{}: {}", invalid.at, Stream::Note.shown_on_line(&invalid.reason)));
        }
        if let Some(failure) = summary.broken_off.take() {
            let advice = "nothing was stored; to store the records before, use --skip-invalid";
            return Err(failure.with_text_after(&format!(" ({advice})")));
        }
        let unit = match summary.invalid_kept.first().map(|first| first.at.unit) {
            Some(runlog_formats::Unit::Record) => "record",
            _ => "line",
        };
        let (of, records) = (source::name_of(&self.args.file), counted(summary.records, "valid record"));
        let invalid = counted(summary.invalid, unit);
        let message = match summary.records {
            0 => format!("{invalid} of {of} cannot be read, there is no valid record, and nothing was stored"),
            _ => format!(
                "{invalid} of {of} cannot be read, and nothing was stored; correct the log, or store its {records} with \
                 --skip-invalid"
            ),
        };
        Err(Failure::new(Exit::Usage, message))
    }

    async fn send(&mut self, first: Option<Timestamp>, prepared: Prepared) -> Outcome {
        self.start(first).await?;
        let skips_invalid = self.args.skip_invalid;
        push_log(&self.client, self.run, prepared, skips_invalid, &mut self.pushed).await
    }

    /// Starts the run, if requested. A run that is new starts with its first record, unless its start is given.
    async fn start(&mut self, first: Option<Timestamp>) -> Outcome {
        let Some(task) = self.args.task_id else { return Ok(()) };
        let start = StartRun {
            execution_type: self.args.execution_type,
            start_timestamp: self.args.started_at,
            ..StartRun::of_task(task)
        };
        self.has_started_run = self.client.start_run(self.run, &start).await?;
        if let Some(first) = first.filter(|_| self.has_started_run && self.args.started_at.is_none()) {
            let by_log = StartRun { start_timestamp: Some(first), trigger_timestamp: Some(first), ..start };
            self.client.start_run(self.run, &by_log).await?;
        }
        Ok(())
    }

    /// Ends the run, if requested: at the given time, or that of its last record.
    async fn finish(&self, last: Option<Timestamp>) -> Outcome {
        let Some(StatusArg(status)) = self.args.finish else { return Ok(()) };
        let finish = FinishRun {
            finish_timestamp: self.args.finished_at.or(last),
            error_message: self.args.error_message.clone(),
            ..FinishRun::with_status(status)
        };
        let expires = match self.client.finish_run(self.run, &finish).await {
            // The run was started elsewhere, later than the times in its log.
            Err(error) if error.kind() == ErrorKind::Invalid && self.args.finished_at.is_none() && last.is_some() => {
                let now = FinishRun { finish_timestamp: None, ..finish };
                self.client.finish_run(self.run, &now).await?
            }
            finished => finished?,
        };
        if let Some(expired) = expires.filter(|at| *at <= SystemClock.now()) {
            note(format!(
                "warning: by the retention of its workspace, the log of run {} has expired on {}, and is deleted by the next \
                 sweep, within minutes; to keep it, raise the retention or hold the run now: runlog archive hold {}",
                self.run,
                shown_seconds(expired),
                self.run
            ));
        }
        Ok(())
    }

    /// Returns the end of a message: the state of the run after its log could not be stored, and what to do. Ends a run
    /// that this command started under a generated ID, since its ID is not known elsewhere.
    async fn after_failure(&self, exit: Exit) -> String {
        let (run, stored) = (self.run, self.pushed.in_archive());
        if stored == 0 && !self.has_started_run {
            return String::new();
        }
        let message = Some("the log could not be stored".to_owned());
        let terminated = FinishRun { error_message: message, ..FinishRun::with_status(RunStatus::Terminated) };
        if stored == 0
            && self.has_made_id
            && exit != Exit::Unavailable
            && self.client.finish_run(run, &terminated).await.is_ok()
        {
            return format!("; nothing was stored, and run {run} is ended as {}", RunStatus::Terminated);
        }
        let again = match self.has_made_id {
            true => format!("run the same command again with --run {run}"),
            false => "run the same command again".to_owned(),
        };
        format!("; {} stored in run {run}; to continue, {again}", counted_are(stored, "record"))
    }

    fn print_result(&self, format: LogFormat, summary: LogSummary) -> Outcome {
        let Pushed { stored, repeated, repaired, refused_records, .. } = self.pushed;
        let mut refused: Vec<(String, RefusedLine)> = summary
            .invalid_kept
            .into_iter()
            .map(|invalid| (invalid.at.to_string(), RefusedLine { line: invalid.at.number, reason: invalid.reason }))
            .collect();
        refused.extend(self.pushed.refused.iter().map(|line| (format!("record {}", line.line), line.clone())));
        refused.truncate(INVALID_KEPT_MAX);
        let refused_lines = summary.invalid + refused_records;
        if self.args.json {
            let refused = refused.iter().map(|(_, line)| line.clone()).collect();
            let report = PushReport {
                run_id: self.run,
                file: self.args.is_one_of_several.then(|| source::name_of(&self.args.file)),
                format: format.name(),
                pushed: &self.pushed,
                refused_lines,
                refused,
                other_encoding: summary.invalid_texts,
            };
            result_json(&report)?;
        } else {
            let before = match repeated {
                0 => String::new(),
                _ => format!(", {repeated} {} stored already", if repeated == 1 { "was" } else { "were" }),
            };
            let file = match self.args.is_one_of_several {
                true => format!("{}: ", Stream::Result.shown_on_line(&source::name_of(&self.args.file))),
                false => String::new(),
            };
            result_line(format!("{file}stored {} of run {}{before}", counted(stored, "record"), self.run))?;
        }
        if repaired > 0 {
            note(format!("{} had invalid characters, which were replaced", counted(repaired, "text")));
        }
        if summary.invalid_texts > 0 {
            let texts = counted(summary.invalid_texts, "text");
            note(format!("{texts} in another encoding than UTF-8, read as Windows-1252 where that is possible"));
        }
        for (at, RefusedLine { reason, .. }) in refused.iter().take(REFUSED_TOLD_MAX) {
            note(format!("{at} was rejected: {}", Stream::Note.shown_on_line(reason)));
        }
        if let Some(failure) = summary.broken_off {
            let then = " (the records before are stored)";
            return Err(Failure { exit: Exit::Incomplete, ..failure }.with_text_after(then));
        }
        match refused_lines {
            0 => Ok(()),
            _ => {
                let units: BTreeMap<&str, ()> =
                    refused.iter().filter_map(|(at, _)| at.split(' ').next()).map(|unit| (unit, ())).collect();
                let unit = if units.contains_key("line") { "line" } else { "record" };
                let message = format!("{} rejected; the others are stored", counted_were(refused_lines, unit));
                Err(Failure::new(Exit::Incomplete, message))
            }
        }
    }
}
