//! `runlog push`: a log from a file or a pipe, into an archive.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use runlog_client::{Client, ContentEncoding};
use runlog_model::wire::push::{FinishRun, StartRun, StoredBatch};
use runlog_model::{ExecutionType, RunId, RunStatus, TaskId, Timestamp};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::connection::ConnectArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::progress::Bar;
use crate::terminal::{self, result_json, result_line};

/// Most bytes of plain text in one batch: a part of memory, and what is sent again when a request breaks.
const BATCH_BYTES: usize = 8 << 20;
/// Longest line that is read: a file without line breaks would fill the memory.
///
/// Unit: MiB. Four times what a service takes unless its `--line-bytes` says more; the service names what it refuses.
const LINE_MIB_MAX: u64 = 64;
/// Level of zstd for batches: the network is seldom quicker than this.
const ZSTD_LEVEL: i32 = 1;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The log is NDJSON: one JSON object a line, with logTimestamp in epoch milliseconds, and, where known, severity, logType,
logMessage, bundleName, bundleVersion and podName. Files that end in .gz or .zst are unpacked. Sending the same log to
the same run again stores nothing twice.

Examples:
  runlog push 6c0e5a34-… run.ndjson --task 57f64991e4b0b689a64feed2 --finish execution_failed
  my-job | runlog push 6c0e5a34-… - --task 57f64991e4b0b689a64feed2")]
pub(crate) struct PushArgs {
    /// The run that the log is of, a UUID
    run_id: RunId,
    /// The log, or - for standard input
    file: PathBuf,
    /// The task that the run is of: starts the run if the archive does not know it
    #[arg(long, value_name = "TASK_ID")]
    task: Option<TaskId>,
    /// What started the run: MANUAL, SCHEDULED, WEBHOOK or PLAN
    #[arg(long, value_name = "TYPE", requires = "task")]
    execution_type: Option<ExecutionType>,
    /// When the run began [default: now]
    #[arg(long, value_name = "TIME", requires = "task")]
    started_at: Option<Timestamp>,
    /// Ends the run with this status once the log is stored, such as execution_successful or execution_failed
    #[arg(long, value_name = "STATUS")]
    finish: Option<RunStatus>,
    /// When the run ended [default: now]
    #[arg(long, value_name = "TIME", requires = "finish")]
    finished_at: Option<Timestamp>,
    /// Why it failed
    #[arg(long, value_name = "TEXT", requires = "finish")]
    error_message: Option<String>,
    /// Prints the result as one line of JSON
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
}

/// Starts the run if asked to, sends its log, and ends it if asked to.
pub(crate) async fn run(args: PushArgs) -> Outcome {
    let client = args.connect.client()?;
    // The log goes first: a run that was started for a file that cannot be read would go on for ever.
    let log = open(&args.file)?;
    if let Some(task) = args.task {
        let start = StartRun {
            execution_type: args.execution_type,
            start_timestamp: args.started_at,
            ..StartRun::of_task(task)
        };
        client.start_run(args.run_id, &start).await?;
    }
    let pushed = push_log(&client, args.run_id, log).await?;
    if let Some(status) = args.finish {
        let finish = FinishRun {
            finish_timestamp: args.finished_at,
            error_message: args.error_message,
            ..FinishRun::with_status(status)
        };
        client.finish_run(args.run_id, &finish).await?;
    }
    if args.json {
        return Ok(result_json(&pushed)?);
    }
    let repeated = match pushed.repeated {
        0 => String::new(),
        records => format!(", {} were there already", terminal::count(records)),
    };
    Ok(result_line(format!("stored {} records of run {}{repeated}", terminal::count(pushed.stored), args.run_id))?)
}

/// Sends a log in batches: one is read and sent while the one before is stored, and completed after it, so that records
/// arrive in their order.
pub(crate) async fn push_log(client: &Client, run: RunId, log: impl BufRead + Send + 'static) -> Outcome<Pushed> {
    let bar = Bar::counting("pushing", "records");
    let mut batches = Batches { log, number: 0, lines: 0 };
    let mut pushed = Pushed::default();
    let mut before: Option<Sending> = None;
    loop {
        let (next, rest) = tokio::task::spawn_blocking(move || (batches.next(), batches))
            .await
            .context("the log could not be read on")?;
        batches = rest;
        let sending = next?.map(|batch| {
            Sending::begin(client, run, batch, before.as_ref().map(|before| before.is_stored.subscribe()))
        });
        if let Some(before) = before {
            before.finish(&mut pushed).await?;
            bar.set(pushed.stored + pushed.repeated);
        }
        before = sending;
        if before.is_none() {
            return Ok(pushed);
        }
    }
}

/// A batch that is being sent.
struct Sending {
    answer: AbortOnDrop<Result<StoredBatch, runlog_client::Error>>,
    /// Says true once it is stored, so that the next one may be completed.
    is_stored: watch::Sender<bool>,
    first_line: u64,
    last_line: u64,
    bytes: u64,
}

/// A task that ends with whoever waits for it.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Sending {
    fn begin(client: &Client, run: RunId, batch: Batch, after: Option<watch::Receiver<bool>>) -> Self {
        let (client, id, body) = (client.clone(), batch.id, batch.body);
        let sending = async move { client.push_records(run, &id, body, ContentEncoding::Zstd, after).await };
        Self {
            answer: AbortOnDrop(tokio::spawn(sending)),
            is_stored: watch::Sender::new(false),
            first_line: batch.first_line,
            last_line: batch.last_line,
            bytes: batch.bytes,
        }
    }

    async fn finish(mut self, pushed: &mut Pushed) -> Outcome {
        let answer = (&mut self.answer.0).await.context("a batch could not be sent")?.map_err(|error| {
            let stored = terminal::count(pushed.stored + pushed.repeated);
            let (first, last) = (self.first_line, self.last_line);
            Failure::from(error).while_doing(format!(
                "the batch of lines {first} to {last} was not stored ({stored} records before it are); \
                 line numbers below count from {first}"
            ))
        })?;
        self.is_stored.send_replace(true);
        pushed.batches += 1;
        pushed.bytes += self.bytes;
        match answer.repeated {
            true => pushed.repeated += answer.stored,
            false => pushed.stored += answer.stored,
        }
        Ok(())
    }
}

/// Whole lines of a log, some megabytes at a time.
struct Batches<R> {
    log: R,
    number: u64,
    lines: u64,
}

struct Batch {
    id: String,
    /// Packed with zstd.
    body: Bytes,
    /// Plain.
    bytes: u64,
    first_line: u64,
    last_line: u64,
}

impl<R: BufRead> Batches<R> {
    fn next(&mut self) -> Outcome<Option<Batch>> {
        let mut text = Vec::with_capacity(BATCH_BYTES / 4);
        let mut lines = 0;
        while text.len() < BATCH_BYTES && self.read_line(self.lines + lines + 1, &mut text)? {
            lines += 1;
        }
        if text.is_empty() {
            return Ok(None);
        }
        // The same log sent again has the same ids; two equal stretches of one log have not, because of the number.
        let digest = Sha256::digest(&text);
        let id =
            format!("push-{}-{}", self.number, digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        self.number += 1;
        let first_line = self.lines + 1;
        self.lines += lines;
        let body = Bytes::from(zstd::encode_all(text.as_slice(), ZSTD_LEVEL).context("cannot pack a batch")?);
        Ok(Some(Batch { id, body, bytes: text.len() as u64, first_line, last_line: self.lines }))
    }

    /// Appends the line of this number; false at the end of the log.
    fn read_line(&mut self, number: u64, text: &mut Vec<u8>) -> Outcome<bool> {
        let bytes_max = LINE_MIB_MAX << 20;
        // One more, for the line break.
        let mut bounded = self.log.by_ref().take(bytes_max + 1);
        let read = bounded.read_until(b'\n', text).context("cannot read the log")? as u64;
        if read > bytes_max && !text.ends_with(b"\n") {
            let message = format!(
                "line {number} of the log is longer than {LINE_MIB_MAX} MiB: a log has one JSON object a line; break \
                 it into lines, or shorten that record, and push it again"
            );
            return Err(Failure::new(Exit::Usage, message));
        }
        Ok(read > 0)
    }
}

/// Opens a log and begins to read it, so that one that cannot be read or unpacked is told at once. A pipe is read
/// later: its first line may take long.
fn open(path: &Path) -> Outcome<Box<dyn BufRead + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    begin_to_read(path)
        .with_context(|| format!("cannot read {}", path.display()))
        .map_err(|error| Failure { exit: Exit::Usage, error })
}

fn begin_to_read(path: &Path) -> std::io::Result<Box<dyn BufRead + Send>> {
    let file = File::open(path)?;
    let is_pipe = file.metadata()?.file_type().is_fifo();
    let mut log = unpacked(path, file)?;
    if !is_pipe {
        log.fill_buf()?;
    }
    Ok(log)
}

fn unpacked(path: &Path, file: impl Read + Send + 'static) -> std::io::Result<Box<dyn BufRead + Send>> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    Ok(match ending {
        Some("zst") => Box::new(BufReader::new(zstd::Decoder::new(file)?)),
        Some("gz") => Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(file))),
        _ => Box::new(BufReader::with_capacity(1 << 16, file)),
    })
}
