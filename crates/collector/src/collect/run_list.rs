//! Reads a list of runs or plan executions completely, although some are added and removed in the meantime.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use runlog_client::{Execution, ExecutionFilter, ExecutionScope, ListIds};
use tracing::{debug, warn};

use super::context::CollectContext;
use super::error::{CollectError, Result};
use super::range::Range;
use super::upstream::Upstream;

/// Number of runs per response: the maximum of the API.
const LIST_LIMIT: u64 = 100;
/// How often a list is read again if it changed while it was read.
const LIST_TRIES: u32 = 5;

/// The kind of objects in a list.
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

/// The contents of a list.
pub(super) struct Listed {
    /// All runs; if there is a problem, those that were seen.
    pub(super) runs: Vec<Execution>,
    /// Why runs may be missing.
    pub(super) problem: Option<CollectError>,
}

/// The runs or plan executions of a window; none if there are too many to be listed.
///
/// Each page starts with the last run of the previous one. If it does not, the list has changed, and it is read again
/// if runs may have been missed. The total of a service may be wrong: a list that has the same runs and the same end
/// twice is complete, even if its total differs.
pub(super) async fn read_list(
    context: &CollectContext,
    list: List,
    scope: ExecutionScope,
    window: Range,
    requests: &mut u64,
) -> Result<Option<Listed>> {
    let upstream = &context.upstream;
    let (mut repeats, mut ended_before, mut seen) = (None, None, Vec::new());
    for _ in 0..LIST_TRIES {
        let mut runs = Vec::new();
        let end = read_list_once(upstream, list, scope, window, requests, &mut runs).await?;
        let before = ended_before.take();
        match end {
            ListEnd::Whole => return Ok(Some(Listed { runs, problem: None })),
            ListEnd::TooLong => return Ok(None),
            ListEnd::Miscounted(total) => {
                let ids: Vec<String> = runs.iter().map(|run| run.id().to_owned()).collect();
                if before.as_ref() == Some(&ids) {
                    if !context.has_told_of_totals.swap(true, Ordering::Relaxed) {
                        let (upstream, count, what) = (&upstream.name, runs.len(), list.what());
                        warn!(
                            upstream,
                            total, count, "the upstream counts {total} {what}, but lists {count} each time"
                        );
                    }
                    return Ok(Some(Listed { runs, problem: None }));
                }
                ended_before = Some(ids);
            }
            ListEnd::Repeats(error) => repeats = Some(error),
            ListEnd::Moved => {}
        }
        add_unseen(&mut seen, runs);
        debug!(upstream = upstream.name, "a list changed while it was read; reading it again");
    }
    let unsteady = || CollectError::Unsteady { upstream: upstream.name.clone(), from: window.from, to: window.to };
    let problem = Some(repeats.map_or_else(unsteady, CollectError::from));
    Ok(Some(Listed { runs: seen, problem }))
}

/// Adds the runs that were not seen before.
fn add_unseen(seen: &mut Vec<Execution>, runs: Vec<Execution>) {
    let known: HashSet<String> = seen.iter().map(|run| run.id().to_owned()).collect();
    seen.extend(runs.into_iter().filter(|run| !known.contains(run.id())));
}

/// The outcome of reading a list.
enum ListEnd {
    Whole,
    /// There are more runs than may be read from one list.
    TooLong,
    /// The list ended, with fewer runs than this total.
    Miscounted(u64),
    /// The list has changed in the meantime.
    Moved,
    /// The service returned the same runs again.
    Repeats(runlog_client::Error),
}

/// Reads a list once, into `runs`.
async fn read_list_once(
    upstream: &Upstream,
    list: List,
    scope: ExecutionScope,
    window: Range,
    requests: &mut u64,
    runs: &mut Vec<Execution>,
) -> Result<ListEnd> {
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
        let (count, total) = (page.items.len() as u64, page.total);
        // The total of a list that ends with its first page is not used.
        let announced = total.filter(|_| count >= LIST_LIMIT).unwrap_or(0);
        if announced.max(runs.len() as u64) > upstream.settings.offset_max {
            return Ok(ListEnd::TooLong);
        }
        // The position of a run without an ID cannot be checked; it is accepted anywhere.
        let joins = |first: &Execution| first.id().is_empty() || ids.has(first.id());
        // If the service does not report the total, a page without items may be the end.
        let is_after_end = count == 0 && total.is_none();
        if offset > 0 && !is_after_end && !page.items.first().is_some_and(joins) {
            return Ok(ListEnd::Moved);
        }
        let is_only_last_again = count == 1 && page.items.first().map(Execution::id) == runs.last().map(Execution::id);
        let again = usize::from(offset > 0 && page.items.first().is_some_and(|first| first.id().is_empty()));
        let is_new: Vec<bool> = page.items.iter().map(|run| run.id().is_empty() || !ids.has(run.id())).collect();
        let named = page.items.iter().map(Execution::id).filter(|id| !id.is_empty());
        let new = match ids.take(list.what(), offset, LIST_LIMIT, named) {
            Ok(new) => new,
            // A service that ignores the limit has returned the whole list.
            Err(_) if total.is_some_and(|total| runs.len() as u64 >= total) => return Ok(ListEnd::Whole),
            Err(error) => return Ok(ListEnd::Repeats(error)),
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
            return Ok(ListEnd::Whole);
        }
        if let Some(total) = total.filter(|_| if offset == 0 { count < 2 } else { is_only_last_again }) {
            return Ok(ListEnd::Miscounted(total));
        }
        // Each page must bring something new.
        if total.is_some() && count < 2 || new == 0 && runs.len() == before {
            return Ok(ListEnd::Moved);
        }
        offset += (count - 1).max(u64::from(total.is_none()));
    }
}
