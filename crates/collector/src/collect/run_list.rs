//! Reads a list of runs to its end, although runs come and go while it is read.

use runlog_client::{Execution, ExecutionFilter, ExecutionScope, ListIds};
use tracing::debug;

use super::error::{CollectError, Result};
use super::range::Range;
use super::upstream::Upstream;

/// Runs in one answer, as many as the API gives.
const LIST_LIMIT: u64 = 100;
/// How often a list is read again that moved while it was read.
const LIST_TRIES: u32 = 5;

/// The runs of a window; none when they are too many to be listed.
///
/// Each page begins with the last run of the one before it. Where it does not, runs have come or gone while the list
/// was read, and as long as something may have been passed over, it is read again.
pub(super) async fn read_list(
    upstream: &Upstream,
    scope: ExecutionScope,
    window: Range,
    requests: &mut u64,
) -> Result<Option<Vec<Execution>>> {
    let mut repeats = None;
    for _ in 0..LIST_TRIES {
        match read_list_once(upstream, scope, window, requests).await? {
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

/// How reading a list came out.
enum Listing {
    Whole(Vec<Execution>),
    /// It has more runs than are read of one.
    TooLong,
    /// Runs have come or gone meanwhile.
    Moved,
    /// The service gave the same runs again.
    Repeats(runlog_client::Error),
}

async fn read_list_once(
    upstream: &Upstream,
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
        let page = upstream.client.executions(scope, &filter).await?;
        if page.total.max(runs.len() as u64) > upstream.settings.offset_max {
            return Ok(Listing::TooLong);
        }
        let (count, total) = (page.items.len() as u64, page.total);
        // A run without an id tells nothing of where it stood, and counts wherever it stands.
        let joins = |first: &Execution| first.id().is_empty() || ids.has(first.id());
        if offset > 0 && !page.items.first().is_some_and(joins) {
            return Ok(Listing::Moved);
        }
        let again = usize::from(offset > 0 && page.items.first().is_some_and(|first| first.id().is_empty()));
        let is_new: Vec<bool> = page.items.iter().map(|run| run.id().is_empty() || !ids.has(run.id())).collect();
        let named = page.items.iter().map(Execution::id).filter(|id| !id.is_empty());
        let new = match ids.take("runs", offset, LIST_LIMIT, named) {
            Ok(new) => new,
            // A service that gives all at once, whatever is asked for, has given all.
            Err(_) if runs.len() as u64 >= total => return Ok(Listing::Whole(runs)),
            Err(error) => return Ok(Listing::Repeats(error)),
        };
        let kept = page.items.into_iter().zip(is_new).skip(again).filter(|(_, is_new)| *is_new).map(|(run, _)| run);
        let before = runs.len();
        runs.extend(kept);
        // Where the service does not tell how many there are, a full page is not the last.
        if count < LIST_LIMIT && runs.len() as u64 >= total {
            return Ok(Listing::Whole(runs));
        }
        // Fewer than were asked for are the end, unless the service gives fewer at a time.
        if count < 2 || new == 0 && runs.len() == before {
            return Ok(Listing::Moved);
        }
        offset += count - 1;
    }
}
