//! Failed requests for what runs are collected without: descriptions of tasks, details of runs, and the history of
//! runs.
//!
//! Each is in the debug log. One of each kind in an hour is logged as a warning; all are counted in the archive, where
//! `runlog status` and the metrics show them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use runlog_model::{Timestamp, error_chain};
use runlog_store::collection::Collection;
use tracing::{debug, warn};

/// How often a warning of one kind is logged. Unit: milliseconds.
const WARNED_EVERY_MS: i64 = 3_600_000;
/// How often failures are counted in the archive. Unit: milliseconds.
const STORED_EVERY_MS: i64 = 60_000;

/// The kind of detail that could not be requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Detail {
    /// The description, version and tags of a task.
    TaskDescription,
    /// The details that the upstream returns only for a single run, such as numbers of rows.
    Run,
    /// Artifacts, log levels and attempts of runs.
    History,
}

/// The failures of an upstream.
#[derive(Debug, Default)]
pub(super) struct DetailProblems(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    warned_at: BTreeMap<Detail, Timestamp>,
    stored_at: Option<Timestamp>,
    /// Failures that are not counted in the archive yet, and the reason of the last one.
    pending: Option<(u64, String)>,
}

impl Detail {
    fn words(self) -> &'static str {
        match self {
            Self::TaskDescription => "the description of a task",
            Self::Run => "the details of a run",
            Self::History => "the history of runs",
        }
    }

    /// Returns a description of the data that is missing in the archive without this detail.
    fn missing(self) -> &'static str {
        match self {
            Self::TaskDescription => "descriptions, versions and tags of tasks may be missing or outdated",
            Self::Run => "numbers of rows, kinds of failures and containers of runs may be missing",
            Self::History => "artifacts, log levels, attempts and plans of runs may be missing",
        }
    }
}

impl DetailProblems {
    /// Records a failed request.
    pub(super) async fn record(
        &self,
        collection: &Collection,
        upstream: &str,
        detail: Detail,
        error: &(dyn std::error::Error + Send + Sync + 'static),
        now: Timestamp,
    ) {
        let words = detail.words();
        debug!(upstream, error, "the upstream does not return {words}");
        let problem = format!("{words}: {}", error_chain(error));
        let is_to_be_stored = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.warned_at.get(&detail).is_none_or(|at| !is_within(*at, now, WARNED_EVERY_MS)) {
                state.warned_at.insert(detail, now);
                let missing = detail.missing();
                warn!(
                    upstream,
                    error,
                    "the upstream does not return {words}: {missing}; further failures are only counted for an hour"
                );
            }
            let failures = state.pending.take().map_or(0, |(failures, _)| failures);
            state.pending = Some((failures + 1, problem));
            state.stored_at.is_none_or(|at| !is_within(at, now, STORED_EVERY_MS))
        };
        if is_to_be_stored {
            self.store(collection, upstream, now).await;
        }
    }

    /// Counts in the archive what is not counted there yet.
    pub(super) async fn store(&self, collection: &Collection, upstream: &str, now: Timestamp) {
        let pending = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.stored_at = Some(now);
            state.pending.take()
        };
        let Some((failures, problem)) = pending else { return };
        let counted = collection.add_detail_failures(upstream, failures, &problem).await;
        if let Err(error) = &counted {
            debug!(upstream, %error, "failed requests for details cannot be counted in the archive yet");
        }
        if !counted.unwrap_or(false) {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.pending = match state.pending.take() {
                Some((since, newest)) => Some((failures + since, newest)),
                None => Some((failures, problem)),
            };
        }
    }
}

/// True if `at` is at most so long ago; a time in the future is of a clock that was ahead.
fn is_within(at: Timestamp, now: Timestamp, ms: i64) -> bool {
    (0..ms).contains(&now.millis_since(at))
}
