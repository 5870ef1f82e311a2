//! The job that makes summaries: logs that were sealed are read once, by whichever node has time.

use std::time::Duration;

use runlog_model::{RecordOrder, RunId, TimeRange};
use runlog_store::summaries::{ClaimedSummary, NewSummary};
use runlog_store::{Error, ErrorKind, Result, Store};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::run::{RunSummary, SUMMARY_VERSION, Summarizer};

/// How often logs without a summary are looked for. Unit: milliseconds.
const LOOK_EVERY_MS: u64 = 2_000;

/// Makes summaries until `stop`; what has been begun is finished first.
pub async fn make_summaries(store: &Store, stop: CancellationToken) {
    let mut is_outdated_known = false;
    while !stop.is_cancelled() {
        if !is_outdated_known {
            is_outdated_known = outdate(store).await;
        }
        match summarize_due(store).await {
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
pub async fn summarize_all(store: &Store) -> Result<u64> {
    store.summaries().invalidate_older(SUMMARY_VERSION).await?;
    let mut made = 0;
    loop {
        match summarize_due(store).await? {
            None => return Ok(made),
            Some(more) => made += more,
        }
    }
}

async fn outdate(store: &Store) -> bool {
    match store.summaries().invalidate_older(SUMMARY_VERSION).await {
        Ok(0) => true,
        Ok(outdated) => {
            debug!(runs = outdated, "recomputing summaries of an older version");
            true
        }
        // Problems of the catalog are reported by the next attempt.
        Err(_) => false,
    }
}

/// Creates some of the summaries that are due; returns their number, 0 if none is due.
pub async fn summarize_due(store: &Store) -> Result<Option<u64>> {
    let due = store.summaries().claim_due(SUMMARY_VERSION).await?;
    if due.is_empty() {
        return Ok(None);
    }
    let store = store.clone();
    // A summary in progress is completed even if the caller is dropped.
    tokio::spawn(async move { summarize(&store, &due).await }).await.map_err(Error::from)?.map(Some)
}

async fn summarize(store: &Store, due: &[ClaimedSummary]) -> Result<u64> {
    let mut made = Vec::with_capacity(due.len());
    for due in due {
        match summarize_one(store, due).await {
            Ok(summary) => made.push(summary),
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    run.id = %due.run_id,
                    "cannot summarise the log of run {}",
                    due.run_id
                );
                store.summaries().postpone(due).await?;
            }
        }
    }
    store.summaries().save_all(&made).await?;
    Ok(made.len() as u64)
}

async fn summarize_one(store: &Store, due: &ClaimedSummary) -> Result<NewSummary> {
    let summary = summarize_log(store, due.run_id).await?;
    if summary.records != due.log.records {
        let message = format!("{} records were read where {} were expected", summary.records, due.log.records);
        return Err(Error::new(ErrorKind::Conflict, message));
    }
    let body = serde_json::to_vec(&summary)
        .map_err(|error| Error::caused(ErrorKind::Corrupt, "a summary has no JSON form", error))?;
    Ok(NewSummary { of: *due, version: SUMMARY_VERSION, problems: summary.problems(), body })
}

/// Reads the log of a run as it is now, and summarises it.
pub(crate) async fn summarize_log(store: &Store, run_id: RunId) -> Result<RunSummary> {
    let mut reader = store.logs().read_records(run_id, TimeRange::ALL, RecordOrder::Asc).await?;
    let (mut summarizer, mut is_more) = (Box::<Summarizer>::default(), true);
    while is_more {
        (summarizer, is_more) = reader.fold_next(summarizer, |so_far, record| so_far.add(record)).await?;
    }
    Ok(summarizer.finish())
}
