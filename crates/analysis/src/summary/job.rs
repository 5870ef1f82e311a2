//! The job that creates summaries: each sealed log is read once, by any node.

use std::convert::Infallible;
use std::time::Duration;

use runlog_model::{RecordOrder, Run, RunId, TimeRange};
use runlog_store::logs::Logs;
use runlog_store::problems::NewProblem;
use runlog_store::summaries::{ClaimedSummary, NewSummary, StoredSummary, Summaries};
use runlog_store::{Error, ErrorKind, Result, limits};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::problem::problem_of_headline;
use super::run::{RunSummary, SUMMARY_VERSION, Summarizer, read_summary};

/// How often the job checks for logs without a summary. Unit: milliseconds.
const LOOK_EVERY_MS: u64 = 2_000;

/// Maximum number of successful runs of a task whose errors are excluded as causes of a failure.
pub(crate) const GOOD_RUNS_MAX: u64 = 5;

/// How often the job checks for outdated summaries that are not due: a node of an earlier version may have created
/// some.
const INVALIDATE_EVERY: Duration = Duration::from_secs(3_600);

/// Creates summaries until `stop`; a summary in progress is completed.
pub async fn make_summaries(summaries: &Summaries, logs: &Logs, stop: CancellationToken) {
    let mut checked_at = None;
    while !stop.is_cancelled() {
        match make_some(summaries, logs, &mut checked_at).await {
            Ok(true) => continue,
            Ok(false) => {}
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

/// Creates some of the due summaries. If none is due, makes some of an older version due for later, unless there were none
/// at `checked_at`, a while ago. Returns false when nothing was due.
async fn make_some(summaries: &Summaries, logs: &Logs, checked_at: &mut Option<Instant>) -> Result<bool> {
    if summarize_due(summaries, logs).await?.is_some() {
        return Ok(true);
    }
    if checked_at.is_some_and(|at| at.elapsed() < INVALIDATE_EVERY) {
        return Ok(false);
    }
    match summaries.invalidate_older(SUMMARY_VERSION).await? {
        0 => *checked_at = Some(Instant::now()),
        invalidated => debug!(runs = invalidated, "recomputing summaries of an older version"),
    }
    Ok(false)
}

/// Creates every summary that is due, including those of an older version; returns their number.
pub async fn summarize_all(summaries: &Summaries, logs: &Logs) -> Result<u64> {
    let (mut made, mut is_first) = (0, true);
    loop {
        let mut was_due = false;
        while let Some(more) = summarize_due(summaries, logs).await? {
            (made, was_due) = (made + more, true);
        }
        // Another node may be processing the summaries that were made due.
        if (!was_due && !is_first) || summaries.invalidate_older(SUMMARY_VERSION).await? == 0 {
            return Ok(made);
        }
        is_first = false;
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
    let (made, mut failed) = tokio::select! {
        made = summarize_each(summaries, logs, due) => made,
        never = keep_claims(summaries, due) => match never {},
    };
    let mut stored = made.len() as u64;
    match summaries.save_all(&made).await {
        // A summary that cannot be stored must not prevent storing the others.
        Err(error) if made.len() > 1 && error.kind() != ErrorKind::Unavailable => {
            debug!(error = &error as &dyn std::error::Error, "summaries are stored one by one");
            for summary in &made {
                if let Err(error) = summaries.save_all(std::slice::from_ref(summary)).await {
                    warn_of(summary.of.run_id, &error);
                    failed.push(summary.of);
                    stored -= 1;
                }
            }
        }
        outcome => outcome?,
    }
    for due in &failed {
        summaries.postpone(due).await?;
    }
    Ok(stored)
}

/// Creates the claimed summaries; returns them, and the claims whose summaries could not be created.
async fn summarize_each(
    summaries: &Summaries,
    logs: &Logs,
    due: &[ClaimedSummary],
) -> (Vec<NewSummary>, Vec<ClaimedSummary>) {
    let (mut made, mut failed) = (Vec::with_capacity(due.len()), Vec::new());
    for due in due {
        match summarize_one(summaries, logs, due).await {
            Ok(summary) => made.push(summary),
            Err(error) => {
                warn_of(due.run_id, &error);
                failed.push(*due);
            }
        }
    }
    (made, failed)
}

fn warn_of(run_id: RunId, error: &Error) {
    warn!(error = error as &dyn std::error::Error, run.id = %run_id, "cannot summarise the log of run {run_id}");
}

/// Renews the claims while their summaries are created.
async fn keep_claims(summaries: &Summaries, claimed: &[ClaimedSummary]) -> Infallible {
    loop {
        tokio::time::sleep(Duration::from_millis(limits::SUMMARY_RENEW_MS)).await;
        if let Err(error) = summaries.renew_claims(claimed).await {
            debug!(error = &error as &dyn std::error::Error, "claims of summaries could not be renewed");
        }
    }
}

async fn summarize_one(summaries: &Summaries, logs: &Logs, due: &ClaimedSummary) -> Result<NewSummary> {
    let failed = if due.has_failed { summaries.get(due.run_id).await? } else { None };
    // A current summary is reused if only the problem of the run is needed.
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

/// Returns the problem of a failed run.
async fn problem_of(summaries: &Summaries, run: &Run, summary: &RunSummary) -> Result<NewProblem> {
    let good = summaries_of(summaries, &summaries.previous_runs(run, true, GOOD_RUNS_MAX).await?).await?;
    let headline = summary.headline(&good, run.failure_message());
    Ok(problem_of_headline(run.workspace_id, run.task_id, headline.as_ref()))
}

/// Returns the summaries of runs, in their order.
pub(crate) async fn summaries_of(summaries: &Summaries, runs: &[Run]) -> Result<Vec<RunSummary>> {
    let mut found = Vec::with_capacity(runs.len());
    for run in runs {
        let kept = summaries.get(run.id).await?.and_then(|found| found.summary);
        // A summary of an earlier version may be unreadable; it will be recreated.
        found.extend(kept.and_then(|kept| read_summary(&kept).ok()));
    }
    Ok(found)
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
