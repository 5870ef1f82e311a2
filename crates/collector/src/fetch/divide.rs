//! Divides a log into parts that can be asked for at once, where asking for one page after another is slow.
//!
//! The end of each page stands in the answer to its request, so pages are asked for in a row. A service that answers at
//! once and builds later loses nothing by that; one that is slow to answer does. Its live endpoint tells at which times
//! the log can be cut: the record after so many others has a time. Any answer that does not fit ends the attempt, and
//! the pages are asked for in a row.

use std::time::Duration;

use futures::future::try_join_all;
use runlog_client::{Client, LiveQuery, RequestedPage};
use runlog_model::{RecordOrder, TimeRange, Timestamp};
use tracing::debug;

use super::journal::Part;
use super::request::FetchRequest;

/// How slow an answer is that makes dividing worth its requests.
const SLOW: Duration = Duration::from_millis(500);
/// Most records of a page, unless the service says that its own are smaller.
const PAGE_RECORDS: u64 = 100_000;
/// Fewest parts that are worth it, and most.
const PARTS: std::ops::RangeInclusive<u64> = 3..=1_000;

/// The parts of what is older than the first page, newest first; none where it is not worth it or cannot be done.
pub(crate) async fn divide(
    client: &Client,
    request: &FetchRequest,
    first: &RequestedPage,
    may_divide: bool,
) -> Option<Vec<Part>> {
    let next_end = first.page.next_end.as_ref()?;
    if !may_divide || first.page.took < SLOW || request.pages_in_flight < 2 {
        return None;
    }
    let range = TimeRange { start: request.range.start, end: Some(next_end.parse().ok()?) };
    // Somewhat fewer than a page holds, so that one page is enough in spite of cuts at whole seconds. A service may also
    // say bytes; those are more.
    let part_records = (first.page.size.unwrap_or(u64::MAX).min(PAGE_RECORDS) * 9 / 10).max(1);
    let cuts = match cuts(client, request, range, part_records).await {
        Ok(cuts) => cuts?,
        Err(error) => {
            debug!(%error, "the log cannot be divided; its pages are requested sequentially");
            return None;
        }
    };
    let starts = cuts.iter().copied().map(Some).chain([None]);
    let ends = [next_end.clone()].into_iter().chain(cuts.iter().map(|cut| cut.to_api_text()));
    Some(ends.zip(starts).map(|(end, start)| Part { start, end }).collect())
}

/// Times at which to cut, newest first.
async fn cuts(
    client: &Client,
    request: &FetchRequest,
    range: TimeRange,
    part_records: u64,
) -> runlog_client::Result<Option<Vec<Timestamp>>> {
    let ask = async |start_index| {
        let query = LiveQuery { range, order: RecordOrder::Desc, start_index, count: 1 };
        client.live_page(request.run_id, &query).await
    };
    let newest = ask(0).await?;
    let parts = newest.filtered.unwrap_or(newest.total).div_ceil(part_records);
    if !PARTS.contains(&parts) {
        return Ok(None);
    }
    let pages = try_join_all((1..parts).map(|part| ask(part * part_records))).await?;
    let times: Option<Vec<Timestamp>> =
        pages.iter().map(|page| page.records.first().map(|record| record.time.floor_to_second())).collect();
    let go_back = |times: &Vec<Timestamp>| {
        times.first().zip(range.end).is_some_and(|(first, end)| *first < end)
            && times.windows(2).all(|pair| pair[1] < pair[0])
    };
    Ok(times.filter(go_back))
}
