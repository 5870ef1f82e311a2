//! The job that creates summaries: each sealed log is read once, by any node.

use std::time::Duration;

use runlog_model::{RecordOrder, Run, RunId, TimeRange};
use runlog_store::logs::Logs;
use runlog_store::problems::NewProblem;
use runlog_store::summaries::{ClaimedSummary, NewSummary, StoredSummary, Summaries};
use runlog_store::{Error, ErrorKind, Result};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::problem::problem_of_headline;
use super::run::{RunSummary, SUMMARY_VERSION, Summarizer, read_summary};

/// How often the job checks for logs without a summary. Unit: milliseconds.
const LOOK_EVERY_MS: u64 = 2_000;

/// How often it checks for logs without a valid summary that are not due: a node of an earlier version may have left some.
const INVALIDATE_EVERY: Duration = Duration::from_secs(3_600);

/// Creates summaries until `stop`; a summary in progress is completed.
pub async fn make_summaries(summaries: &Summaries, logs: &Logs, stop: CancellationToken) {
    let mut invalidated_at: Option<Instant> = None;
    while !stop.is_cancelled() {
        if invalidated_at.is_none_or(|at| at.elapsed() >= INVALIDATE_EVERY) && invalidate_older(summaries).await {
            invalidated_at = Some(Instant::now());
        }
        match summarize_due(summaries, logs).await {
            Ok(Some(_)) => continue,
            Ok(None) => {}
            Err(error) => {
                error!(error = &error as &dyn std::error::Error, "cannot create a summary; it will be retried")
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)) => {}
        }
    }
}

/// Creates every summary that is due, including those of an older version; returns their number.
pub async fn summarize_all(summaries: &Summaries, logs: &Logs) -> Result<u64> {
    summaries.invalidate_older(SUMMARY_VERSION).await?;
    let mut made = 0;
    loop {
        match summarize_due(summaries, logs).await? {
            None => return Ok(made),
            Some(more) => made += more,
        }
    }
}

/// Makes the summaries of an older version due again; false if that failed and must be repeated.
async fn invalidate_older(summaries: &Summaries) -> bool {
    match summaries.invalidate_older(SUMMARY_VERSION).await {
        Ok(0) => true,
        Ok(invalidated) => {
            debug!(runs = invalidated, "recomputing summaries of an older version");
            true
        }
        // Problems of the catalog are reported by the next attempt.
        Err(_) => false,
    }
}

/// Creates some of the due summaries; returns their number, or none if none is due.
pub async fn summarize_due(summaries: &Summaries, logs: &Logs) -> Result<Option<u64>> {
    let due = summaries.claim_due(SUMMARY_VERSION).await?;
    if due.is_empty() {
        return Ok(None);
    }
    let (summaries, logs) = (summaries.clone(), logs.clone());
    // A summary in progress is completed even if the caller is dropped.
    tokio::spawn(async move { summarize(&summaries, &logs, &due).await }).await.map_err(Error::from)?.map(Some)
}

async fn summarize(summaries: &Summaries, logs: &Logs, due: &[ClaimedSummary]) -> Result<u64> {
    let mut made = Vec::with_capacity(due.len());
    for due in due {
        match summarize_one(summaries, logs, due).await {
            Ok(summary) => made.push(summary),
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    run.id = %due.run_id,
                    "cannot summarise the log of run {}",
                    due.run_id
                );
                summaries.postpone(due).await?;
            }
        }
    }
    summaries.save_all(&made).await?;
    Ok(made.len() as u64)
}

async fn summarize_one(summaries: &Summaries, logs: &Logs, due: &ClaimedSummary) -> Result<NewSummary> {
    let failed = if due.has_failed { summaries.get(due.run_id).await? } else { None };
    // The summary is as it should be if only the problem of the run is looked for.
    let is_current = |kept: &&StoredSummary| kept.version == SUMMARY_VERSION && kept.log == due.log;
    let kept = failed.as_ref().and_then(|failed| failed.summary.as_ref()).filter(is_current);
    let summary = match kept {
        Some(kept) => read_summary(kept)?,
        None if due.log.records == 0 => Summarizer::default().finish(),
        None => summarize_log(logs, due.run_id).await?,
    };
    if summary.records != due.log.records {
        let message = format!("{} records were read where {} were expected", summary.records, due.log.records);
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    let body = serde_json::to_vec(&summary)
        .map_err(|error| Error::caused(ErrorKind::Corrupt, "a summary has no JSON form", error))?;
    let problem = match &failed {
        Some(failed) => Some(problem_of(summaries, &failed.run, &summary).await?),
        None => None,
    };
    Ok(NewSummary { of: *due, version: SUMMARY_VERSION, error_groups: summary.error_groups(), problem, body })
}

/// What a failed run has failed of.
async fn problem_of(summaries: &Summaries, run: &Run, summary: &RunSummary) -> Result<NewProblem> {
    let good = match summaries.previous_run(run, true).await? {
        Some(good) => summaries.get(good.id).await?.and_then(|good| good.summary),
        None => None,
    };
    // One that an earlier version made may not be readable; it is made again.
    let good = good.and_then(|good| read_summary(&good).ok());
    let headline = summary.headline(good.as_ref(), run.error_message.as_deref());
    Ok(problem_of_headline(run.workspace_id, run.task_id, headline.as_ref()))
}

/// Reads the current log of a run, and summarises it.
pub(crate) async fn summarize_log(logs: &Logs, run_id: RunId) -> Result<RunSummary> {
    let mut reader = logs.read_records(run_id, TimeRange::ALL, RecordOrder::Asc).await?;
    let (mut summarizer, mut is_more) = (Box::<Summarizer>::default(), true);
    while is_more {
        (summarizer, is_more) = reader.fold_next(summarizer, |so_far, record| so_far.add(record)).await?;
    }
    Ok(summarizer.finish())
}
