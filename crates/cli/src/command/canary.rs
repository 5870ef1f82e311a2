//! `runlog canary`: pushes known records, and reports which are missing, duplicated or late.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap_complete::engine::ArgValueCompleter;
use runlog_client::{Client, ContentEncoding, ErrorKind, PushBatch};
use runlog_collector::{FetchError, FetchRequest, NoProgress, Output, fetch_run};
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{Clock, Random, Record, RunId, RunStatus};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::arguments::candidates;
use crate::arguments::connect::{ConnectArgs, service_url};
use crate::arguments::names::TaskRef;
use crate::arguments::number::between;
use crate::arguments::span::Span;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::terminal::{BAD, GOOD, count, duration, result_json, result_line, styled};
use crate::system::{SystemClock, SystemRandom, private_temporary_folder};

/// The interval between two polls for the records.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Starts a run of a task reserved for this purpose, pushes known records, ends the run, and fetches its log as any client \
would: from the same service, or from the one given with --through, which collects from it. A record that does not \
arrive is missing, a record that arrives again is a duplicate, and a log that takes longer than --late is late.

Examples:
  runlog canary --task canaries/canary --once
  runlog canary --task canaries/canary --every 5m \\
      --metrics-file /var/lib/node_exporter/runlog.prom
  RUNLOG_THROUGH_TOKEN=… runlog canary --task canaries/canary \\
      --through https://archive.example.com --late 7m --within 20m

Exit codes of --once: 0 all records arrived, 6 records are missing or duplicated, 5 the log was late or did not arrive \
in time")]
pub(crate) struct CanaryArgs {
    /// The task reserved for canary runs: its ID or name
    #[arg(long, value_name = "TASK", add = ArgValueCompleter::new(candidates::tasks))]
    task: TaskRef,
    /// Number of records per run
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = between(1_u64, 100_000))]
    records: u64,
    /// Interval between runs
    #[arg(long, value_name = "TIME", default_value = "5m", conflicts_with = "once")]
    every: Span,
    /// Run once, and exit
    #[arg(long)]
    once: bool,
    /// Time after which a log counts as late
    #[arg(long, value_name = "TIME", default_value = "1m")]
    late: Span,
    /// Time after which the canary gives up on a log; its records then count as missing
    #[arg(long, value_name = "TIME", default_value = "10m")]
    within: Span,
    /// Service to fetch the log from, if it is a different one; its token is in RUNLOG_THROUGH_TOKEN
    #[arg(long, value_name = "URL", value_parser = service_url)]
    through: Option<url::Url>,
    /// File to write the results to as metrics, for Prometheus' node_exporter
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
    /// Print one line of JSON per run
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    run_id: RunId,
    sent: u64,
    missing: u64,
    duplicates: u64,
    /// Records that were not sent.
    strange: u64,
    is_late: bool,
    /// From the end of the run until its log was there, or the canary gave up.
    took_ms: i64,
}

/// The results of all runs so far.
#[derive(Debug, Default)]
struct Totals {
    runs: u64,
    sent: u64,
    missing: u64,
    duplicates: u64,
    strange: u64,
    late: u64,
    failed: u64,
}

/// Runs the canary once or periodically.
pub(crate) async fn run(args: CanaryArgs, stop: CancellationToken) -> Outcome {
    let client = args.connect.patient_client()?;
    let through = match &args.through {
        Some(url) => args.connect.client_of(url.clone(), "RUNLOG_THROUGH_TOKEN")?,
        None => client.clone(),
    };
    let mut totals = Totals::default();
    loop {
        let outcome = tokio::select! {
            outcome = sing(&args, &client, &through) => outcome,
            () = stop.cancelled() => return Ok(()),
        };
        match &outcome {
            Ok(finding) => totals.add(finding),
            Err(_) => totals.failed += 1,
        }
        if let Some(file) = &args.metrics_file {
            write_metrics(file, &totals, outcome.as_ref().ok())?;
        }
        match outcome {
            Ok(finding) => {
                print_result(&args, &finding)?;
                if args.once {
                    return verdict(&finding);
                }
            }
            Err(failure) if args.once => return Err(failure),
            Err(failure) => result_line(format!("{} {:#}", styled(BAD, "failed:"), failure.error))?,
        }
        tokio::select! {
            () = tokio::time::sleep(args.every.duration()) => {}
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// One run: sent, fetched, compared.
async fn sing(args: &CanaryArgs, client: &Client, through: &Client) -> Outcome<Finding> {
    let run_id = RunId::random(&SystemRandom);
    let mark = SystemRandom.uuid().to_string();
    let task = args.task.resolve(client).await?;
    client.start_run(run_id, &StartRun::of_task(task)).await?;
    let mut log = Vec::new();
    for number in 0..args.records {
        let mut record = Record::at(SystemClock.now());
        record.severity = Some("INFO".to_owned());
        record.message = Some(message(&mark, number));
        serde_json::to_writer(&mut log, &record).context("a record has no JSON form")?;
        log.push(b'\n');
    }
    let body = Bytes::from(zstd::encode_all(log.as_slice(), 1)?);
    let batch = PushBatch { id: &mark, body, encoding: ContentEncoding::Zstd, skips_bad_lines: false };
    let pushed = client.push_records(run_id, batch, None).await;
    // A run whose records did not arrive has ended as well, and must not look active.
    let status = if pushed.is_ok() { RunStatus::Successful } else { RunStatus::Failed };
    let finished = client.finish_run(run_id, &FinishRun::with_status(status)).await;
    pushed?;
    finished?;

    let ended = SystemClock.now();
    let folder = private_temporary_folder("runlog-canary-")?;
    let file = folder.path().join("log.ndjson");
    let messages = loop {
        let waited = SystemClock.now().millis_since(ended);
        match fetched(through, run_id, &file).await {
            // Some records may not have arrived yet; only a complete log is compared, until the timeout.
            Ok(messages) if messages.len() as u64 >= args.records || waited >= args.within.as_millis() => {
                break messages;
            }
            Ok(_) => {}
            Err(error) if !is_not_there_yet(&error) => return Err(failure(error)),
            Err(_) if waited >= args.within.as_millis() => break Vec::new(),
            Err(_) => {}
        }
        through.sleep(LOOK_AGAIN).await;
    };
    let took_ms = SystemClock.now().millis_since(ended);
    let found = compared(run_id, &mark, args.records, &messages);
    Ok(Finding { run_id, took_ms, is_late: took_ms > args.late.as_millis(), ..found })
}

fn message(mark: &str, number: u64) -> String {
    format!("canary {mark} {number}")
}

async fn fetched(client: &Client, run_id: RunId, file: &Path) -> Result<Vec<String>, FetchError> {
    let request = FetchRequest {
        settle: Some(Duration::ZERO),
        allow_incomplete: true,
        ..FetchRequest::new(run_id, Output::File(file.to_owned()))
    };
    fetch_run(client, request, Arc::new(NoProgress)).await?;
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let message = |line: &str| serde_json::from_str::<Record>(line).ok()?.message;
    Ok(text.lines().map(|line| message(line).unwrap_or_default()).collect())
}

/// True while the run or its log may still be on its way.
fn is_not_there_yet(error: &FetchError) -> bool {
    match error {
        FetchError::Upstream(error) => matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unavailable),
        FetchError::NoLog | FetchError::Incomplete { .. } | FetchError::Uncounted { .. } => true,
        _ => false,
    }
}

fn failure(error: FetchError) -> Failure {
    let exit = match &error {
        FetchError::Upstream(error) => crate::exit::exit_of(error.kind()),
        FetchError::NoLog => Exit::NotFound,
        _ => Exit::Failed,
    };
    Failure { exit, error: error.into() }
}

fn compared(run_id: RunId, mark: &str, sent: u64, messages: &[String]) -> Finding {
    let mut times: HashMap<&str, u64> = HashMap::new();
    for message in messages {
        *times.entry(message).or_default() += 1;
    }
    let (mut missing, mut duplicates) = (0, 0);
    for number in 0..sent {
        match times.remove(message(mark, number).as_str()) {
            None => missing += 1,
            Some(count) => duplicates += count - 1,
        }
    }
    let strange = times.values().sum();
    Finding { run_id, sent, missing, duplicates, strange, is_late: false, took_ms: 0 }
}

fn print_result(args: &CanaryArgs, finding: &Finding) -> Outcome {
    if args.json {
        return Ok(result_json(finding)?);
    }
    let Finding { run_id, sent, missing, duplicates, strange, is_late, took_ms } = finding;
    let is_good = *missing + *duplicates + *strange == 0 && !is_late;
    let verdict = if is_good { styled(GOOD, "good") } else { styled(BAD, "bad ") };
    let late = if *is_late { ", late" } else { "" };
    Ok(result_line(format!(
        "{verdict}  run {run_id}: {} records sent, {} missing, {} duplicated, {} unexpected; arrived after {}{late}",
        count(*sent),
        count(*missing),
        count(*duplicates),
        count(*strange),
        duration(*took_ms)
    ))?)
}

fn verdict(finding: &Finding) -> Outcome {
    match (finding.missing + finding.duplicates + finding.strange, finding.is_late) {
        (0, false) => Ok(()),
        (0, true) => Err(Failure::new(Exit::Unavailable, "the log was late")),
        _ => Err(Failure::new(Exit::Incomplete, "the log differs from what was sent")),
    }
}

impl Totals {
    fn add(&mut self, finding: &Finding) {
        self.runs += 1;
        self.sent += finding.sent;
        self.missing += finding.missing;
        self.duplicates += finding.duplicates;
        self.strange += finding.strange;
        self.late += u64::from(finding.is_late);
    }
}

/// Replaces the file atomically, as its reader requires.
fn write_metrics(path: &Path, totals: &Totals, last: Option<&Finding>) -> Outcome {
    let counters = [
        ("runs", "Canary runs that were pushed and fetched", totals.runs),
        ("failures", "Canary runs that could not be pushed or fetched", totals.failed),
        ("records_sent", "Records that were sent", totals.sent),
        ("records_missing", "Records that did not arrive", totals.missing),
        ("records_duplicate", "Records that arrived more than once", totals.duplicates),
        ("records_strange", "Records that arrived but were not sent", totals.strange),
        ("runs_late", "Runs whose log was late", totals.late),
    ];
    let mut text = String::new();
    for (name, help, value) in counters {
        let name = format!("runlog_canary_{name}_total");
        text += &format!("# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n");
    }
    if let Some(last) = last {
        let name = "runlog_canary_last_seconds";
        let seconds = last.took_ms as f64 / 1_000.0;
        text +=
            &format!("# HELP {name} Time that the last log took to arrive\n# TYPE {name} gauge\n{name} {seconds}\n");
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new().permissions(readable()).tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.persist(path)?;
        Ok(())
    };
    Ok(write().with_context(|| format!("cannot write {}", path.display()))?)
}

/// Another program reads it, as another user.
fn readable() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_duplicate_and_unknown_records_are_counted() {
        let messages = [message("m", 0), message("m", 2), message("m", 2), message("n", 1)];
        let run_id = "00000000-0000-4000-8000-000000000001".parse().unwrap();
        let found = compared(run_id, "m", 3, &messages);
        assert_eq!((found.missing, found.duplicates, found.strange), (1, 1, 1));
    }
}
