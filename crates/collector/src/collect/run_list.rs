//! Reads a list of runs or plan executions completely, although some are added and removed in the meantime.

use runlog_client::{Execution, ExecutionFilter, ExecutionScope, ListIds};
use tracing::debug;

use super::error::{CollectError, Result};
use super::range::Range;
use super::upstream::Upstream;

/// Number of runs per response: the maximum of the API.
const LIST_LIMIT: u64 = 100;
/// How often a list is read again if it changed while it was read.
const LIST_TRIES: u32 = 5;

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// Runs.
    Runs,
    /// Plan executions.
    Plans,
}

impl List {
    fn what(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Plans => "plan executions",
        }
    }
}

/// The runs or plan executions of a window; none if there are too many to be listed.
///
/// Each page starts with the last run of the previous one. If it does not, the list has changed, and it is read again
/// if runs may have been missed.
pub(super) async fn read_list(
    upstream: &Upstream,
    list: List,
    scope: ExecutionScope,
    window: Range,
    requests: &mut u64,
) -> Result<Option<Vec<Execution>>> {
    let mut repeats = None;
    for _ in 0..LIST_TRIES {
        match read_list_once(upstream, list, scope, window, requests).await? {
            Listing::Whole(runs) => return Ok(Some(runs)),
            Listing::TooLong => return Ok(None),
            Listing::Repeats(error) => repeats = Some(error),
            Listing::Moved => {}
        }
        debug!(upstream = upstream.name, "a list changed while it was read; reading it again");
    }
    match repeats {
        Some(error) => Err(error.into()),
        None => Err(CollectError::Unsteady { upstream: upstream.name.clone(), from: window.from, to: window.to }),
    }
}

/// The result of reading a list.
enum Listing {
    Whole(Vec<Execution>),
    /// There are more runs than may be read from one list.
    TooLong,
    /// The list has changed in the meantime.
    Moved,
    /// The service returned the same runs again.
    Repeats(runlog_client::Error),
}

async fn read_list_once(
    upstream: &Upstream,
    list: List,
    scope: ExecutionScope,
    window: Range,
    requests: &mut u64,
) -> Result<Listing> {
    let mut runs: Vec<Execution> = Vec::new();
    let (mut ids, mut offset) = (ListIds::default(), 0);
    loop {
        let filter = ExecutionFilter {
            from: Some(window.from),
            to: Some(window.to),
            tags: upstream.selection.tags.clone(),
            limit: LIST_LIMIT,
            offset,
            ..ExecutionFilter::default()
        };
        *requests += 1;
        let page = match list {
            List::Runs => upstream.client.executions(scope, &filter).await?,
            List::Plans => upstream.client.plan_executions(scope, &filter).await?,
        };
        if page.total.unwrap_or(0).max(runs.len() as u64) > upstream.settings.offset_max {
            return Ok(Listing::TooLong);
        }
        let (count, total) = (page.items.len() as u64, page.total);
        // The position of a run without an ID cannot be checked; it is accepted anywhere.
        let joins = |first: &Execution| first.id().is_empty() || ids.has(first.id());
        // If the service does not report the total, a page without items may be the end.
        let is_after_end = count == 0 && total.is_none();
        if offset > 0 && !is_after_end && !page.items.first().is_some_and(joins) {
            return Ok(Listing::Moved);
        }
        let again = usize::from(offset > 0 && page.items.first().is_some_and(|first| first.id().is_empty()));
        let is_new: Vec<bool> = page.items.iter().map(|run| run.id().is_empty() || !ids.has(run.id())).collect();
        let named = page.items.iter().map(Execution::id).filter(|id| !id.is_empty());
        let new = match ids.take(list.what(), offset, LIST_LIMIT, named) {
            Ok(new) => new,
            // A service that ignores the limit has returned the whole list.
            Err(_) if total.is_some_and(|total| runs.len() as u64 >= total) => return Ok(Listing::Whole(runs)),
            Err(error) => return Ok(Listing::Repeats(error)),
        };
        let kept = page.items.into_iter().zip(is_new).skip(again).filter(|(_, is_new)| *is_new).map(|(run, _)| run);
        let before = runs.len();
        runs.extend(kept);
        let is_last = match total {
            Some(total) => count < LIST_LIMIT && runs.len() as u64 >= total,
            // A page that is not full need not be the last: the service may have a smaller page size.
            None => count == 0 || offset > 0 && new == 0,
        };
        if is_last {
            return Ok(Listing::Whole(runs));
        }
        // Each page must bring something new.
        if total.is_some() && count < 2 || new == 0 && runs.len() == before {
            return Ok(Listing::Moved);
        }
        offset += (count - 1).max(u64::from(total.is_none()));
    }
}
