//! `runlog push`: uploads a log from a file or a pipe.

mod batches;
mod source;
mod utf16;

use std::path::PathBuf;

use anyhow::Context;
use runlog_client::{Client, ContentEncoding, PushBatch};
use runlog_model::wire::push::{FinishRun, RefusedLine, StartRun, StoredLines};
use runlog_model::{ExecutionType, RunId, RunStatus, TaskId, Timestamp};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use batches::Batch;
pub(crate) use batches::Batches;

use crate::arguments::connect::ConnectArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::progress::Bar;
use crate::render::screen::Stream;
use crate::render::terminal::{self, note, result_json, result_line};

/// Maximum number of rejected lines listed in JSON output, and in text output.
const REFUSED_LISTED_MAX: usize = 100;
const REFUSED_TOLD_MAX: usize = 20;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The log is NDJSON: one JSON object per line, with logTimestamp in epoch milliseconds and, where known, severity, logType, \
logMessage, bundleName, bundleVersion and podName. A JSON array of such objects and pretty-printed objects are accepted \
as well. Compression (gzip, zstd) and UTF-16 are detected from the content, not from the file name. Pushing the same log \
to the same run again does not duplicate records. A file that is not a log is rejected before the run is started.

The push stops at a line that cannot be parsed: the records before it are stored. With --finish, the run is ended \
nevertheless, because the job has ended; the corrected log can be pushed to it afterwards.

Examples:
  runlog push 6c0e5a34-… run.ndjson --task 57f64991e4b0b689a64feed2 --finish execution_failed
  my-job | runlog push 6c0e5a34-… - --task 57f64991e4b0b689a64feed2

Exit codes: the common ones; 6 if lines were skipped with --skip-bad-lines and all others are stored")]
pub(crate) struct PushArgs {
    /// ID of the run, a UUID
    run_id: RunId,
    /// The log file, or - for standard input
    file: PathBuf,
    /// ID of the task; starts the run if it does not exist in the archive
    #[arg(long, value_name = "TASK_ID")]
    task: Option<TaskId>,
    /// What started the run: MANUAL, SCHEDULED, WEBHOOK or PLAN
    #[arg(long, value_name = "TYPE", requires = "task")]
    execution_type: Option<ExecutionType>,
    /// Start time of the run [default: now]
    #[arg(long, value_name = "TIME", requires = "task")]
    started_at: Option<Timestamp>,
    /// End the run with this status once the log is stored, such as execution_successful or execution_failed
    #[arg(long, value_name = "STATUS")]
    finish: Option<RunStatus>,
    /// End time of the run [default: now]
    #[arg(long, value_name = "TIME", requires = "finish")]
    finished_at: Option<Timestamp>,
    /// Error message of the run
    #[arg(long, value_name = "TEXT", requires = "finish")]
    error_message: Option<String>,
    /// Skip lines that cannot be parsed, report each with the reason, and exit with 6
    #[arg(long)]
    skip_bad_lines: bool,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What was sent.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pushed {
    /// Records that the archive holds now and did not before.
    pub(crate) stored: u64,
    /// Records of batches that it had already.
    pub(crate) repeated: u64,
    batches: u64,
    bytes: u64,
    /// Number of texts with invalid characters that were repaired.
    #[serde(skip_serializing_if = "is_zero")]
    repaired: u64,
    /// Lines that were not stored.
    #[serde(skip_serializing_if = "is_zero")]
    refused_lines: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<RefusedLine>,
    /// What is counted, lines or records.
    #[serde(skip)]
    unit: &'static str,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Starts the run if requested, sends its log, and ends it if requested.
pub(crate) async fn run(args: PushArgs) -> Outcome {
    let client = args.connect.client()?;
    // The log is opened first: a run that was started for an unreadable file would stay open forever.
    let source = source::open(&args.file, args.skip_bad_lines)?;
    if let Some(task) = args.task {
        let start = StartRun {
            execution_type: args.execution_type,
            start_timestamp: args.started_at,
            ..StartRun::of_task(task)
        };
        client.start_run(args.run_id, &start).await?;
    }
    let batches = Batches::new(source, source::name_of(&args.file), args.skip_bad_lines);
    let pushed = match push_log(&client, args.run_id, batches).await {
        Ok(pushed) => pushed,
        Err(failure) => {
            let then = args.after_failure(&client, failure.exit).await;
            return Err(failure.with_text_after(&then));
        }
    };
    args.finish(&client).await?;
    args.tell(&pushed)
}

impl PushArgs {
    /// Ends the run, if requested.
    async fn finish(&self, client: &Client) -> Outcome {
        let Some(status) = self.finish else { return Ok(()) };
        let finish = FinishRun {
            finish_timestamp: self.finished_at,
            error_message: self.error_message.clone(),
            ..FinishRun::with_status(status)
        };
        Ok(client.finish_run(self.run_id, &finish).await?)
    }

    /// What becomes of the run when its log could not be stored, and what to do, as the end of a message.
    async fn after_failure(&self, client: &Client, exit: Exit) -> String {
        let run = self.run_id;
        let again = "records already stored are not duplicated";
        match (exit, self.finish) {
            (Exit::Denied | Exit::NotFound, _) => String::new(),
            (Exit::Unavailable, _) => format!("; run {run} is unchanged: run the same command again to resume"),
            (_, None) => format!(
                "; run {run} is unchanged: push the corrected log ({again}), or end the run with `--finish` and an \
                 empty log"
            ),
            // The run has ended, whatever happened to its log, and would otherwise look active forever.
            (_, Some(status)) => match self.finish(client).await {
                Ok(()) => {
                    format!("; run {run} is ended as {status} nevertheless: push the corrected log to it ({again})")
                }
                Err(failure) => format!("; run {run} could not be ended either: {:#}", failure.error),
            },
        }
    }

    fn tell(&self, pushed: &Pushed) -> Outcome {
        if self.json {
            result_json(pushed)?;
        } else {
            let repeated = match pushed.repeated {
                0 => String::new(),
                records => format!(", {} were stored already", terminal::count(records)),
            };
            let stored = terminal::count(pushed.stored);
            result_line(format!("stored {stored} records of run {}{repeated}", self.run_id))?;
        }
        if pushed.repaired > 0 {
            note(format!("{} texts had invalid characters, which were replaced", terminal::count(pushed.repaired)));
        }
        for RefusedLine { line, reason } in pushed.refused.iter().take(REFUSED_TOLD_MAX) {
            note(format!("{} {line} was rejected: {}", pushed.unit, Stream::Note.shown_on_line(reason)));
        }
        match pushed.refused_lines {
            0 => Ok(()),
            refused => {
                let (unit, count) = (pushed.unit, terminal::count(refused));
                Err(Failure::new(Exit::Incomplete, format!("{count} {unit}s were rejected; the others are stored")))
            }
        }
    }
}

/// Sends a log in batches: one is read and sent while the one before is stored, and completed after it, so that records
/// arrive in their order.
pub(crate) async fn push_log(client: &Client, run: RunId, mut batches: Batches) -> Outcome<Pushed> {
    let bar = Bar::counting("pushing", "records");
    let mut pushed = Pushed { unit: "line", ..Pushed::default() };
    let mut before: Option<Sending> = None;
    let skips_bad_lines = batches.takes_bad_lines();
    loop {
        let (next, rest) =
            tokio::task::spawn_blocking(move || (batches.next(), batches)).await.context("cannot read the log")?;
        batches = rest;
        // A log that cannot be read on is stored up to there.
        let (next, failure) = next.map_or_else(|failure| (None, Some(failure)), |next| (next, None));
        let sending = next.map(|batch| {
            let after = before.as_ref().map(|before| before.is_stored.subscribe());
            Sending::begin(client, run, batch, skips_bad_lines, after)
        });
        if let Some(before) = before {
            before.finish(&mut pushed).await?;
            bar.set(pushed.stored + pushed.repeated);
        }
        if let Some(failure) = failure {
            let stored = terminal::count(pushed.stored + pushed.repeated);
            return Err(failure.with_text_after(&format!(" ({stored} records before it are stored)")));
        }
        before = sending;
        if before.is_none() {
            return Ok(pushed);
        }
    }
}

/// A batch that is being sent.
struct Sending {
    answer: AbortOnDropHandle<Result<StoredLines, runlog_client::Error>>,
    /// Says true once it is stored, so that the next one may be completed.
    is_stored: watch::Sender<bool>,
    first_line: u64,
    last_line: u64,
    unit: &'static str,
    bytes: u64,
}

impl Sending {
    fn begin(
        client: &Client,
        run: RunId,
        batch: Batch,
        skips_bad_lines: bool,
        after: Option<watch::Receiver<bool>>,
    ) -> Self {
        let client = client.clone();
        let Batch { id, body, bytes, first_line, last_line, unit } = batch;
        let sending = async move {
            let batch = PushBatch { id: &id, body, encoding: ContentEncoding::Zstd, skips_bad_lines };
            client.push_records(run, batch, after).await
        };
        let answer = AbortOnDropHandle::new(tokio::spawn(sending));
        Self { answer, is_stored: watch::Sender::new(false), first_line, last_line, unit, bytes }
    }

    async fn finish(mut self, pushed: &mut Pushed) -> Outcome {
        let (first, last, unit) = (self.first_line, self.last_line, self.unit);
        let answer = (&mut self.answer).await.context("cannot send a batch")?.map_err(|error| {
            let stored = terminal::count(pushed.stored + pushed.repeated);
            Failure::from(error).while_doing(format!(
                "the batch of {unit}s {first} to {last} was not stored ({stored} records before it were); \
                 line numbers below count from {first}"
            ))
        })?;
        self.is_stored.send_replace(true);
        pushed.unit = unit;
        pushed.batches += 1;
        pushed.bytes += self.bytes;
        match answer.repeated {
            true => pushed.repeated += answer.stored,
            false => pushed.stored += answer.stored,
        }
        pushed.repaired += answer.repaired;
        pushed.refused_lines += answer.refused_lines;
        let room = REFUSED_LISTED_MAX.saturating_sub(pushed.refused.len());
        let here = |refused: RefusedLine| RefusedLine { line: first + refused.line.saturating_sub(1), ..refused };
        pushed.refused.extend(answer.refused.into_iter().take(room).map(here));
        Ok(())
    }
}
